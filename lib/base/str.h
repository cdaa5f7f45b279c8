/* A slice of text: bytes that somebody else owns, not ended by NUL, which may be any bytes. The one
 * type for it in the library; {NULL, 0} is "there is none", which is not the same as the empty
 * text. */
#ifndef ALK_BASE_STR_H
#define ALK_BASE_STR_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

struct str {
    const char *p;
    size_t n;
};

#define STR_NONE ((struct str){NULL, 0})

/* Of a text that ends with NUL; NULL is STR_NONE. */
static inline struct str str_of(const char *s)
{
    return s ? (struct str){s, strlen(s)} : STR_NONE;
}

static inline bool str_eq(struct str a, struct str b)
{
    return a.n == b.n && (a.n == 0 || !memcmp(a.p, b.p, a.n));
}

/* Whether s is the text that ends with NUL; for a literal, the compiler knows the length. */
static inline bool str_is(struct str s, const char *text)
{
    return str_eq(s, (struct str){text, strlen(text)});
}

/* Of texts that end with NUL, or are not there (NULL). */
static inline bool str_same(const char *a, const char *b)
{
    return a && b ? !strcmp(a, b) : a == b;
}

static inline bool str_starts(struct str s, const char *prefix)
{
    size_t n = strlen(prefix);

    return s.n >= n && !memcmp(s.p, prefix, n);
}

#endif
