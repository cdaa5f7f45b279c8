/* Bytes are collected to lines and lines to events, so that it does not matter how the stream was
 * cut; a line that lies whole in what is fed is read where it is. One that ends in CR is ended at
 * once, and an LF right behind it skipped: waiting for it would hold an event back for as long as
 * the server says nothing. */
#include "wire/sse.h"

void sse_init(struct sse *s, struct mem *mem, size_t max,
              int (*on_event)(void *ud, struct str name, struct str data), void *ud)
{
    *s = (struct sse){.max = max, .on_event = on_event, .ud = ud};
    buf_init(&s->line, mem);
    buf_init(&s->name, mem);
    buf_init(&s->data, mem);
    buf_init(&s->id, mem);
    buf_init(&s->next_id, mem);
}

void sse_fini(struct sse *s)
{
    buf_fini(&s->line);
    buf_fini(&s->name);
    buf_fini(&s->data);
    buf_fini(&s->id);
    buf_fini(&s->next_id);
}

static struct str bytes_of(const struct buf *b)
{
    return b->len ? (struct str){buf_at(b), b->len} : (struct str){"", 0};
}

static void empty(struct buf *b)
{
    buf_truncate(b, 0);
    buf_shrink(b);
}

static int end_event(struct sse *s)
{
    bool stop;

    if (s->has_id)
        buf_swap(&s->id, &s->next_id);
    s->has_id = false;
    stop = s->has_data && s->on_event(s->ud, bytes_of(&s->name), bytes_of(&s->data));
    empty(&s->name);
    empty(&s->data);
    s->has_data = false;
    return stop ? SSE_STOPPED : SSE_OK;
}

static int put(struct buf *b, struct str s)
{
    return buf_append(b, s.p, s.n) ? SSE_ENOMEM : SSE_OK;
}

static int add_data(struct sse *s, struct str value)
{
    int rc = s->has_data ? put(&s->data, str_of("\n")) : SSE_OK;

    s->has_data = true;
    return rc ? rc : put(&s->data, value);
}

static int keep_id(struct sse *s, struct str id)
{
    if (id.n > SSE_ID_BYTES || memchr(id.p, 0, id.n))
        return SSE_OK;
    s->has_id = true;
    buf_truncate(&s->next_id, 0);
    return put(&s->next_id, id);
}

static void keep_retry(struct sse *s, struct str digits)
{
    uint32_t ms = 0;

    for (size_t i = 0; i < digits.n; i++) {
        if (digits.p[i] < '0' || digits.p[i] > '9')
            return;
        ms = ms * 10 + (uint32_t)(digits.p[i] - '0');
        ms = ms < SSE_RETRY_MAX_MS ? ms : SSE_RETRY_MAX_MS;
    }
    s->retry_ms = digits.n ? ms : s->retry_ms;
}

static int end_line(struct sse *s, struct str line)
{
    const char *colon;
    struct str name, value;

    if (!s->begun && str_starts(line, "\xEF\xBB\xBF"))
        line = (struct str){line.p + 3, line.n - 3};
    s->begun = true;
    if (!line.n)
        return end_event(s);
    colon = memchr(line.p, ':', line.n);
    name = (struct str){line.p, colon ? (size_t)(colon - line.p) : line.n};
    value = (struct str){line.p + name.n + (colon != NULL), line.n - name.n - (colon != NULL)};
    if (str_starts(value, " "))
        value = (struct str){value.p + 1, value.n - 1};
    if (str_is(name, "data"))
        return add_data(s, value);
    if (s->keeps_ids && str_is(name, "id"))
        return keep_id(s, value);
    if (s->keeps_ids && str_is(name, "retry"))
        keep_retry(s, value);
    if (!str_is(name, "event"))
        return SSE_OK;
    buf_truncate(&s->name, 0);
    return put(&s->name, value);
}

/* More of the present line; whether it ends with that. */
static int add(struct sse *s, struct str more, bool ends)
{
    int rc;

    if (s->name.len + s->data.len + s->line.len + more.n > s->max)
        return SSE_TOO_LARGE;
    if (ends && !s->line.len)
        return end_line(s, more);
    rc = put(&s->line, more);
    if (rc || !ends)
        return rc;
    rc = end_line(s, bytes_of(&s->line));
    empty(&s->line);
    return rc;
}

int sse_feed(struct sse *s, const char *bytes, size_t len, size_t *taken)
{
    size_t at = 0;
    int rc = s->error;

    while (!rc && at < len) {
        size_t end = at;

        if (s->after_cr && bytes[at] == '\n') {
            s->after_cr = false;
            at++;
            continue;
        }
        s->after_cr = false;
        while (end < len && bytes[end] != '\n' && bytes[end] != '\r')
            end++;
        s->after_cr = end < len && bytes[end] == '\r';
        rc = add(s, (struct str){bytes + at, end - at}, end < len);
        at = end + (end < len);
    }
    *taken = at;
    if (rc != SSE_STOPPED)
        s->error = rc;
    return rc;
}

bool sse_at_boundary(const struct sse *s)
{
    return !s->has_data && !s->line.len && !s->name.len;
}
