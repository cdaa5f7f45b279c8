/* One block with the live bytes somewhere in it: head is where they begin.
 *
 * Consuming only moves head, so a writer that sends a piece at a time copies nothing. Room comes
 * first from the end, then from the consumed part, by moving the live bytes to the front; only then
 * from a block twice as large. They are moved only when the hole is at least as long as they are,
 * so that each byte is moved once on average, however many small pieces are consumed. A failed
 * allocation leaves the buffer as it was. */
#include "base/buf.h"

#include "base/swar.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* One response head, or a few short messages. */
#define MIN_CAP 512u
#define LARGE 65536u
#define PAGE 4096u

void buf_init(struct buf *b, struct mem *mem)
{
    memset(b, 0, sizeof *b);
    b->mem = mem;
}

static void drop_block(struct buf *b)
{
    if (b->secret && b->data)
        mem_wipe(b->data, b->cap);
    mem_free(b->mem, b->data);
}

void buf_fini(struct buf *b)
{
    drop_block(b);
    meter_resize(b->meter, b->cap, 0);
    b->data = NULL;
    b->head = b->len = b->cap = 0;
}

void buf_charge(struct buf *b, struct meter *m)
{
    meter_move(b->meter, m, b->cap);
    b->meter = m;
}

/* Moves the live bytes to a block of cap bytes; both blocks are counted while there are two. */
static bool replace(struct buf *b, size_t cap)
{
    size_t both = b->cap + cap;
    char *p;

    b->refused = !meter_grow(b->meter, b->cap, both, b->begins);
    if (b->refused)
        return false;
    p = mem_alloc(b->mem, cap);
    if (!p) {
        meter_resize(b->meter, both, b->cap);
        return false;
    }
    if (b->len)
        memcpy(p, b->data + b->head, b->len);
    drop_block(b);
    meter_resize(b->meter, both, cap);
    b->data = p;
    b->head = 0;
    b->cap = cap;
    return true;
}

/* What is longer than all that there is room for gets its size and no power of two, unless it is
 * small: what comes behind a long message is mostly nothing. */
static size_t next_cap(const struct buf *b, size_t more)
{
    size_t cap = b->cap ? b->cap : MIN_CAP;

    if (more > PAGE && more >= b->cap)
        return (b->len + more + PAGE - 1) & ~(size_t)(PAGE - 1);
    while (cap - b->len < more)
        cap *= 2;
    return cap;
}

char *buf_reserve(struct buf *b, size_t more)
{
    if (b->cap - b->head - b->len >= more)
        return b->data ? b->data + b->head + b->len : NULL;
    if (b->head && b->cap - b->len >= more && b->head >= b->len) {
        memcpy(b->data, b->data + b->head, b->len);
        b->head = 0;
        return b->data + b->len;
    }
    /* Keeps the doubling from wrapping around. */
    if (more > SIZE_MAX / 4 - b->head - b->len) {
        b->refused = false;
        return NULL;
    }
    return replace(b, next_cap(b, more)) ? b->data + b->len : NULL;
}

/* All or nothing, so that a message that ran out of memory leaves no half of it behind. */
int buf_append(struct buf *b, const void *src, size_t n)
{
    char *p;

    if (!n)
        return 0;
    p = buf_reserve(b, n);
    if (!p)
        return -1;
    memcpy(p, src, n);
    b->len += n;
    return 0;
}

int buf_puts(struct buf *b, const char *s)
{
    return buf_append(b, s, strlen(s));
}

/* Formats twice, to know the length first: what is written this way is short. */
int buf_printf(struct buf *b, const char *fmt, ...)
{
    va_list ap;
    int n;
    char *p;

    va_start(ap, fmt);
    n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    /* One more for vsnprintf's NUL, which does not count as content. */
    p = n < 0 ? NULL : buf_reserve(b, (size_t)n + 1);
    if (!p)
        return -1;
    va_start(ap, fmt);
    vsnprintf(p, (size_t)n + 1, fmt, ap);
    va_end(ap);
    b->len += (size_t)n;
    return 0;
}

/* How many bytes more a byte takes in a string of JSON: what RFC 8259, section 7, demands to be
 * escaped, and nothing else; the rest goes through as the UTF-8 it is. */
static const uint8_t escape[256] = {
    5, 5, 5, 5, 5, 5, 5, 5, 5, 1, 1, 5, 5, 1, 5, 5,         5,
    5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, ['"'] = 1, ['\\'] = 1,
};

static char *put_escape(char *q, unsigned char c)
{
    static const char hex[] = "0123456789abcdef";

    *q++ = '\\';
    if (escape[c] == 1) {
        *q++ = (char)(c == '\n' ? 'n' : c == '\r' ? 'r' : c == '\t' ? 't' : c);
        return q;
    }
    memcpy(q, "u00", 3);
    q[3] = hex[c >> 4];
    q[4] = hex[c & 15];
    return q + 5;
}

/* Most strings have nothing to escape: a look at eight bytes a time settles that, and then it is one
 * copy. Of others it is counted first how much room they need. */
int buf_json_string(struct buf *b, const char *s, size_t n)
{
    size_t more = 2, from = 0;
    char *p, *q;

    if (!swar_json_plain(s, n)) {
        for (size_t i = 0; i < n; i++)
            more += escape[(unsigned char)s[i]];
    }
    p = q = n < SIZE_MAX / 6 - 2 ? buf_reserve(b, n + more) : NULL;
    if (!p)
        return -1;
    *q++ = '"';
    for (size_t i = 0; more > 2 && i < n; i++) {
        if (!escape[(unsigned char)s[i]])
            continue;
        memcpy(q, s + from, i - from);
        q = put_escape(q + (i - from), (unsigned char)s[i]);
        from = i + 1;
    }
    memcpy(q, s + from, n - from);
    q[n - from] = '"';
    buf_commit(b, n + more);
    return 0;
}

void buf_consume(struct buf *b, size_t n)
{
    /* An emptied buffer begins at its start again, so that the whole block is room. */
    b->len -= n;
    b->head = b->len ? b->head + n : 0;
}

/* A quarter of the block may stay unused: the bytes that are left move three times on average. It
 * is cut where it lies, since there may be no room for a second block. */
void buf_shrink(struct buf *b)
{
    size_t cap = b->len ? (b->len + PAGE - 1) & ~(size_t)(PAGE - 1) : MIN_CAP;
    char *p;

    if (b->cap <= LARGE || cap > b->cap / 4 * 3)
        return;
    if (b->head)
        memmove(b->data, b->data + b->head, b->len);
    b->head = 0;
    p = mem_realloc(b->mem, b->data, cap);
    if (!p)
        return;
    meter_resize(b->meter, b->cap, cap);
    b->data = p;
    b->cap = cap;
}
