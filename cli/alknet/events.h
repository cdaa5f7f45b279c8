/* Reads text/event-stream as it comes, in pieces of any size: lines end in LF, CR or CRLF; data
 * lines of one event are joined by LF; comments, ids, retry and unknown fields are nothing; a blank
 * line ends the event. */
#ifndef ALK_CLI_ALKNET_EVENTS_H
#define ALK_CLI_ALKNET_EVENTS_H

#include "buffer.h"

#include <stdbool.h>

#define EVENTS_TOO_LARGE (-1000)

struct events {
    struct buffer line, data;
    size_t max;    /* bytes of an event, its current line included */
    char name[32]; /* of the event; a longer one is none that we know, and is cut */
    bool has_data, after_cr, started;
    /* Anything but 0 ends the feed. Bytes [0, data->len) are the data; they may be changed and
     * taken. */
    int (*on_event)(void *ud, const char *name, struct buffer *data);
    void *ud;
};

void events_init(struct events *e, size_t max,
                 int (*on_event)(void *ud, const char *name, struct buffer *data), void *ud);
void events_fini(struct events *e);
/* 0, EVENTS_TOO_LARGE, or what on_event returned: nothing may be fed after that. */
int events_feed(struct events *e, const char *bytes, size_t len);
/* Whether the stream may end here: not within an event. */
bool events_at_boundary(const struct events *e);

#endif
