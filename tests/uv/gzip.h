/* Makes gzip of what repeats itself, with nothing but matches of the greatest length at one distance: a byte in 158, and of
 * that again. With the sum that a reader checks. */
#ifndef TESTS_UV_GZIP_H
#define TESTS_UV_GZIP_H

#include "support/must.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

struct gzip {
    unsigned char *p;
    size_t n, cap;
    uint64_t bits;
    unsigned count;
};

static inline void gzip_byte(struct gzip *z, unsigned b)
{
    if (z->n == z->cap) {
        z->cap = 2 * z->cap + 4096;
        z->p = realloc(z->p, z->cap);
        must(z->p);
    }
    z->p[z->n++] = (unsigned char)b;
}

static inline void gzip_bits(struct gzip *z, unsigned value, unsigned count)
{
    z->bits |= (uint64_t)value << z->count;
    for (z->count += count; z->count >= 8; z->count -= 8, z->bits >>= 8)
        gzip_byte(z, z->bits & 255);
}

/* Codes of Huffman begin with their highest bit (RFC 1951, 3.1.1). */
static inline void gzip_code(struct gzip *z, unsigned code, unsigned count)
{
    while (count--)
        gzip_bits(z, code >> count & 1, 1);
}

static inline void gzip_literal(struct gzip *z, unsigned b)
{
    if (b < 144)
        gzip_code(z, 0x30 + b, 8);
    else
        gzip_code(z, 0x190 + b - 144, 9);
}

static inline void gzip_match(struct gzip *z, unsigned distance)
{
    unsigned code = 0, base = 1, extra = 0;

    while (distance >= base + (1u << extra)) {
        base += 1u << extra;
        code++;
        extra = code < 4 ? 0 : code / 2 - 1;
    }
    gzip_code(z, 0xc5, 8);
    gzip_code(z, code, 5);
    gzip_bits(z, distance - base, extra);
}

static inline uint32_t gzip_crc(const unsigned char *in, size_t n)
{
    static uint32_t table[256];
    uint32_t crc = ~UINT32_C(0);

    for (uint32_t i = 0; !table[255] && i < 256; i++) {
        table[i] = i;
        for (int k = 0; k < 8; k++)
            table[i] = table[i] >> 1 ^ (table[i] & 1 ? UINT32_C(0xedb88320) : 0);
    }
    for (size_t i = 0; i < n; i++)
        crc = crc >> 8 ^ table[(crc ^ (in ? in[i] : 0)) & 255];
    return ~crc;
}

/* in NULL: zeros. To be freed; *len: of what comes out. */
static inline char *gzip(const char *in, size_t n, unsigned distance, size_t *len)
{
    static const unsigned char head[10] = {31, 139, 8, 0, 0, 0, 0, 0, 0, 255};
    const unsigned char *p = (const unsigned char *)in;
    struct gzip z = {0};
    uint32_t crc = gzip_crc(p, n);

    for (int i = 0; i < 10; i++)
        gzip_byte(&z, head[i]);
    gzip_bits(&z, 3, 3);
    for (size_t i = 0; i < n;) {
        if (i >= distance && n - i >= 258 && (!p || !memcmp(p + i, p + i - distance, 258))) {
            gzip_match(&z, distance);
            i += 258;
        } else {
            gzip_literal(&z, p ? p[i] : 0);
            i++;
        }
    }
    gzip_code(&z, 0, 7);
    if (z.count)
        gzip_bits(&z, 0, 8 - z.count);
    for (int i = 0; i < 4; i++)
        gzip_byte(&z, crc >> 8 * i & 255);
    for (int i = 0; i < 4; i++)
        gzip_byte(&z, (unsigned)(n >> 8 * i) & 255);
    *len = z.n;
    return (char *)z.p;
}

#endif
