/* A growable byte buffer with a read end: bytes are appended at one side and consumed at the other.
 * Append never shrinks; buf_fini gives the memory back, so that idle owners hold none. */
#ifndef ALK_BASE_BUF_H
#define ALK_BASE_BUF_H

#include "base/mem.h"
#include "base/meter.h"

#include <stdint.h>

struct buf {
    struct mem *mem;
    struct meter *meter; /* NULL: nobody counts; see buf_charge */
    char *data;
    size_t head, len, cap; /* live bytes are data[head, head + len) */
    bool refused;          /* why a reserve failed: not memory, but its meter */
};

/* No memory is taken before the first append. mem outlives the buffer. */
void buf_init(struct buf *b, struct mem *mem);
void buf_fini(struct buf *b);
/* From here on m pays, also for what it holds already; m outlives the memory. */
void buf_charge(struct buf *b, struct meter *m);
/* Not of a buffer that has never held a byte. Valid until the next append, consume or fini. */
static inline const char *buf_at(const struct buf *b)
{
    return b->data + b->head;
}
/* Room for more bytes behind the live ones; NULL when out of memory, or when its meter has no more.
 * Follow with buf_commit. */
char *buf_reserve(struct buf *b, size_t more);
static inline void buf_commit(struct buf *b, size_t n)
{
    b->len += n;
}
/* 0, or -1 when out of memory with nothing appended. */
int buf_append(struct buf *b, const void *src, size_t n);
int buf_puts(struct buf *b, const char *s);
int buf_printf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Appends s as a JSON string literal with its quotes. s is UTF-8. */
int buf_json_string(struct buf *b, const char *s, size_t n);
/* Both of one struct mem. Meters stay where they are. */
static inline void buf_swap(struct buf *a, struct buf *b)
{
    struct meter *of_a = a->meter, *of_b = b->meter;
    struct buf t = *a;

    *a = *b;
    *b = t;
    a->meter = of_a;
    b->meter = of_b;
    meter_move(of_b, of_a, a->cap);
    meter_move(of_a, of_b, b->cap);
}
/* Forgets the first n live bytes. */
void buf_consume(struct buf *b, size_t n);
/* Gives back what a large buffer has consumed, once that is a quarter of it; moves the bytes. */
void buf_shrink(struct buf *b);
/* Cuts the live bytes to their first n. */
static inline void buf_truncate(struct buf *b, size_t n)
{
    b->len = n;
}

#endif
