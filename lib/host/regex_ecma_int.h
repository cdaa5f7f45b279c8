/* Shared by the two files of the translation: regex_ecma.c (names, groups, quantifiers, the order
 * of things) and regex_chars.c (characters, escapes and classes, in and out).
 *
 * Once failed is set, err has the first fault, and everything that reads or writes may be called
 * without harm; the translation ends at its next look at the flag. Functions that return int return
 * 0, or -1 with failed set. */
#ifndef ALK_HOST_REGEX_ECMA_INT_H
#define ALK_HOST_REGEX_ECMA_INT_H

#include "base/str.h"
#include "host/regex_ecma.h"

#define LAST "\xf4\x8f\xbf\xbf" /* U+10FFFF in UTF-8 */
/* A class that matches nothing. PCRE2 knows "[]" for it, but does not let it be repeated. */
#define NEVER "[^\\000-" LAST "]"

enum { IN_PATTERN, IN_CLASS };

struct name {
    struct str text;
    uint32_t group;
};

struct reader {
    const char *pattern;
    size_t len, pos;
    char *out;
    size_t out_len, out_cap;
    char *err;
    bool failed;
    bool refers_back;
    uint32_t groups, names, depth, max_repeat;
    uint8_t open[ECMA_MAX_NESTING];
    struct name name[ECMA_MAX_GROUPS];
};

int ecma_fail(struct reader *r, size_t at, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
void ecma_put(struct reader *r, const char *s, size_t n);
void ecma_puts(struct reader *r, const char *s);
/* Writes one character that stands for itself. */
void ecma_put_char(struct reader *r, uint32_t c, int where);

/* The byte that is so far ahead; -1 behind the end. */
static inline int ecma_peek(const struct reader *r, size_t ahead)
{
    return r->pos + ahead < r->len ? (unsigned char)r->pattern[r->pos + ahead] : -1;
}
bool ecma_take(struct reader *r, const char *s);
/* The next character of the pattern, decoded. */
int ecma_read_char(struct reader *r, uint32_t *c);
int ecma_read_escape(struct reader *r, int where, uint32_t *c);
bool ecma_put_set(struct reader *r, int where);
int ecma_read_class(struct reader *r);

static inline bool ecma_is_surrogate(uint32_t c)
{
    return c >= 0xD800 && c <= 0xDFFF;
}

#endif
