/* Short texts, eight bytes at a time: names, headers and JSON strings are often shorter than a
 * vector register is worth setting up for.
 *
 * The searches share one trick. (v - SWAR(c)) & ~v has the top bit of a byte set when that byte
 * is below c, for c up to 0x80. A borrow can set it falsely, but only in bytes above one that is
 * set rightly, so the answer to "is there any" is exact. Bytes above 0x7f never count as found. */
#ifndef ALK_BASE_SWAR_H
#define ALK_BASE_SWAR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define SWAR(byte) (UINT64_C(0x0101010101010101) * (byte))

/* Up to eight bytes as a word; what is missing is `fill`. memcpy, since texts lie at any
 * address. */
static inline uint64_t swar_load(const char *s, size_t n, uint64_t fill)
{
    uint64_t v = fill;
    char *to = (char *)&v;

    /* Fixed sizes, which are single loads; a variable one would be a call. */
    if (n >= 8) {
        memcpy(to, s, 8);
        return v;
    }
    if (n & 4) {
        memcpy(to, s, 4);
        to += 4;
        s += 4;
    }
    if (n & 2) {
        memcpy(to, s, 2);
        to += 2;
        s += 2;
    }
    if (n & 1)
        *to = *s;
    return v;
}

/* Any byte below c, which is at most 0x80. The bytes that the last word lacks count as none. */
static inline bool swar_has_below(const char *s, size_t n, uint8_t c)
{
    uint64_t found = 0, v;

    for (; n >= 8; s += 8, n -= 8) {
        memcpy(&v, s, 8);
        found |= (v - SWAR(c)) & ~v;
    }
    v = swar_load(s, n, SWAR(0x80));
    found |= (v - SWAR(c)) & ~v;
    return found & SWAR(0x80);
}

/* The top bits of what a JSON string has to escape. */
static inline uint64_t swar_json_escapes(uint64_t v)
{
    uint64_t quote = v ^ SWAR('"'), slash = v ^ SWAR('\\');

    return ((v - SWAR(0x20)) & ~v) | ((quote - SWAR(1)) & ~quote) | ((slash - SWAR(1)) & ~slash);
}

/* Nothing that a JSON string has to escape. */
static inline bool swar_json_plain(const char *s, size_t n)
{
    uint64_t found = 0, v;

    for (; n >= 8; s += 8, n -= 8) {
        memcpy(&v, s, 8);
        found |= swar_json_escapes(v);
    }
    found |= swar_json_escapes(swar_load(s, n, SWAR(0x20)));
    return !(found & SWAR(0x80));
}

/* ASCII letters become lower case. Each byte is looked at for itself, since no sum here carries
 * into the next: bytes of UTF-8 stay as they are. */
static inline void swar_lower(char *s, size_t n)
{
    for (size_t i = 0; i < n; i += 8) {
        uint64_t v = swar_load(s + i, n - i, 0), low = v & SWAR(0x7f);
        uint64_t upper = (low + SWAR(0x3f)) & ~(low + SWAR(0x25)) & ~v & SWAR(0x80);

        v |= upper >> 2;
        memcpy(s + i, &v, n - i < 8 ? n - i : 8);
    }
}

/* Whether equal, in a time that depends on n alone: for secrets, of which an early return would
 * tell a stranger how many bytes he has right. */
static inline bool swar_equal(const char *a, const char *b, size_t n)
{
    uint64_t diff = 0;

    for (size_t i = 0; i < n; i += 8) {
        diff |= swar_load(a + i, n - i, 0) ^ swar_load(b + i, n - i, 0);
        __asm__ volatile("" : "+r"(diff)); /* no early way out */
    }
    return diff == 0;
}

#endif
