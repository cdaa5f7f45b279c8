/* Bytes are collected to lines and lines to events, so that it does not matter how the stream was
 * cut. A line that ends in CR is ended at once and an LF right behind it is skipped: waiting for
 * it would hold an event back for as long as the remote says nothing. */
#include "events.h"

#include <string.h>

void events_init(struct events *e, size_t max,
                 int (*on_event)(void *ud, const char *name, struct buffer *data), void *ud)
{
    memset(e, 0, sizeof *e);
    e->max = max;
    e->on_event = on_event;
    e->ud = ud;
}

void events_fini(struct events *e)
{
    buffer_free(&e->line);
    buffer_free(&e->data);
}

static bool named(const char *line, size_t len, const char *name)
{
    return len == strlen(name) && memcmp(line, name, len) == 0;
}

static int end_event(struct events *e)
{
    int rc = e->has_data ? e->on_event(e->ud, e->name, &e->data) : 0;

    buffer_truncate(&e->data, 0);
    e->has_data = false;
    e->name[0] = 0;
    return rc;
}

static int end_line(struct events *e)
{
    const char *line = buffer_text(&e->line), *colon, *value;
    size_t len = e->line.len, name_len, value_len;

    if (!e->started && len >= 3 && memcmp(line, "\xEF\xBB\xBF", 3) == 0) {
        line += 3;
        len -= 3;
    }
    e->started = true;
    if (!len)
        return end_event(e);
    colon = memchr(line, ':', len);
    name_len = colon ? (size_t)(colon - line) : len;
    value = colon ? colon + 1 : line + len;
    value_len = (size_t)(line + len - value);
    if (value_len && *value == ' ') {
        value++;
        value_len--;
    }
    if (named(line, name_len, "data")) {
        if (e->has_data)
            buffer_append(&e->data, "\n", 1);
        buffer_append(&e->data, value, value_len);
        e->has_data = true;
    } else if (named(line, name_len, "event")) {
        if (value_len >= sizeof e->name)
            value_len = sizeof e->name - 1;
        memcpy(e->name, value, value_len);
        e->name[value_len] = 0;
    }
    return 0;
}

int events_feed(struct events *e, const char *bytes, size_t len)
{
    const char *end = bytes + len;

    while (bytes < end) {
        const char *at = bytes;
        int rc;

        if (e->after_cr && *bytes == '\n') {
            e->after_cr = false;
            bytes++;
            continue;
        }
        e->after_cr = false;
        while (at < end && *at != '\n' && *at != '\r')
            at++;
        if (e->line.len + e->data.len + (size_t)(at - bytes) > e->max)
            return EVENTS_TOO_LARGE;
        buffer_append(&e->line, bytes, (size_t)(at - bytes));
        if (at == end)
            return 0;
        e->after_cr = *at == '\r';
        bytes = at + 1;
        rc = end_line(e);
        buffer_truncate(&e->line, 0);
        if (rc)
            return rc;
    }
    return 0;
}

bool events_at_boundary(const struct events *e)
{
    return !e->has_data && !e->line.len;
}
