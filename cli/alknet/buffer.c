/* Growth doubles, so that appending costs the same however much is there; consumed bytes are given
 * up only when those behind them fit in their place, for the same reason. */
#include "buffer.h"
#include "options.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yyjson.h>

#define CAP_MIN 512u

static void *need(void *memory)
{
    if (!memory) {
        fputs("alknet: out of memory\n", stderr);
        exit(OUTCOME_CONNECTION);
    }
    return memory;
}

void *xcalloc(size_t count, size_t size)
{
    return need(calloc(count, size));
}

void *xrealloc(void *memory, size_t size)
{
    return need(realloc(memory, size));
}

char *xstrndup(const char *text, size_t len)
{
    char *copy = need(malloc(len + 1));

    memcpy(copy, text, len);
    copy[len] = 0;
    return copy;
}

void buffer_free(struct buffer *b)
{
    free(b->data);
    *b = (struct buffer){0};
}

void buffer_wipe(struct buffer *b)
{
    if (b->data)
        explicit_bzero(b->data, b->cap);
    buffer_free(b);
}

char *buffer_reserve(struct buffer *b, size_t more)
{
    if (b->head && b->head >= b->len) {
        memcpy(b->data, b->data + b->head, b->len);
        b->head = 0;
    }
    if (b->cap - b->head - b->len <= more) {
        size_t cap = b->cap ? b->cap : CAP_MIN;

        while (cap - b->head - b->len <= more)
            cap *= 2;
        b->data = xrealloc(b->data, cap);
        b->cap = cap;
    }
    return b->data + b->head + b->len;
}

void buffer_commit(struct buffer *b, size_t n)
{
    b->len += n;
    b->data[b->head + b->len] = 0;
}

void buffer_append(struct buffer *b, const void *bytes, size_t n)
{
    char *end = buffer_reserve(b, n);

    if (n)
        memcpy(end, bytes, n);
    buffer_commit(b, n);
}

void buffer_puts(struct buffer *b, const char *text)
{
    buffer_append(b, text, strlen(text));
}

void buffer_printf(struct buffer *b, const char *format, ...)
{
    va_list ap;
    int n;

    va_start(ap, format);
    n = vsnprintf(NULL, 0, format, ap);
    va_end(ap);
    if (n <= 0)
        return;
    va_start(ap, format);
    vsnprintf(buffer_reserve(b, (size_t)n), (size_t)n + 1, format, ap);
    va_end(ap);
    buffer_commit(b, (size_t)n);
}

void buffer_json_string(struct buffer *b, const char *text, size_t n)
{
    yyjson_val value = {0};
    size_t len;
    char *json;

    yyjson_set_strn(&value, text, n);
    json = need(yyjson_val_write(&value, YYJSON_WRITE_ALLOW_INVALID_UNICODE, &len));
    buffer_append(b, json, len);
    free(json);
}

void buffer_consume(struct buffer *b, size_t n)
{
    b->head += n;
    b->len -= n;
}

void buffer_truncate(struct buffer *b, size_t n)
{
    b->len = n;
    if (b->data)
        b->data[b->head + n] = 0;
}
