/* Translates a pattern of ECMA-262 (u flag) to one for PCRE2 that matches the same strings. The two
 * look alike and differ in many corners: what PCRE2 would take and ECMA-262 does not is an error
 * here, so that a schema means the same to us and to a browser. */
#ifndef ALK_HOST_REGEX_ECMA_H
#define ALK_HOST_REGEX_ECMA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bounds of the translator's own arrays; the largest patterns of real schemas stay far below. */
#define ECMA_MAX_NESTING 64u   /* groups in groups */
#define ECMA_MAX_GROUPS 200u   /* capturing ones */
#define ECMA_MAX_REPEAT 65535u /* PCRE2's limit */

struct ecma {
    char *text; /* malloc'd */
    size_t len;
    uint32_t captures;   /* groups that capture; 0 when nothing refers back to one */
    uint32_t max_repeat; /* the largest n of an {n} or {n,m} */
};

/* 0 with out filled, or -1 with err: what is wrong, and the byte where. */
int ecma_translate(const char *pattern, size_t len, struct ecma *out, char err[128]);

#endif
