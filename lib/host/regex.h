/* Regular expressions of JSON Schema: ECMA-262 with the u flag, unanchored, run by PCRE2's
 * interpreter.
 *
 * A pattern is parsed by the rules of ECMA-262 and written anew for PCRE2 (regex_ecma.h), so
 * nothing that only PCRE2 knows gets through. Known differences, all of them in what few schemas
 * use: a lookbehind needs alternatives of fixed length, a repeat count ends at 65,535, captures of
 * an earlier round of a repeated group stay set, and Unicode data is PCRE2's version. Objects are
 * immutable: any thread may match. */
#ifndef ALK_HOST_REGEX_H
#define ALK_HOST_REGEX_H

#include <stddef.h>
#include <stdint.h>

#define REGEX_ERROR_MAX 128u
#define REGEX_MAX_PATTERN 16384u  /* bytes of a pattern */
#define REGEX_MAX_HEAP_KIB 32768u /* memory of one match, however large its effort */
/* Of what a pattern is translated to, which is up to 20 times as long. PCRE2 refuses code of 64 KiB,
 * but takes 20 bytes for each of the text before it knows: a MiB and a half at most. */
#define REGEX_MAX_TRANSLATED 65536u
/* A compiled pattern may take this much and so many times its length; repeated groups multiply. */
#define REGEX_MAX_CODE 4096u
#define REGEX_MAX_CODE_RATIO 128u

/* The functions of struct host (base/host.h). regex_new returns a struct regex; err says what is
 * wrong and where. */
void *regex_new(const char *pattern, size_t len, char err[REGEX_ERROR_MAX]);
/* HOST_REGEX_*. A unit of effort is 5 to 60 ns; memory is at most 128 bytes a unit, and
 * REGEX_MAX_HEAP_KIB. */
int regex_match(const void *regex, const char *subject, size_t len, uint32_t effort);
size_t regex_size(const void *regex);
void regex_free(void *regex);

#endif
