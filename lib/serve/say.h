/* What a service tells whoever runs it, for a log: it writes none itself. */
#ifndef ALK_SERVE_SAY_H
#define ALK_SERVE_SAY_H

#include <alknet/alknet.h>

struct sayer {
    /* As in alk_node_options; on any thread. NULL: nobody is told. */
    void (*log)(void *ud, const alk_log_event *event);
    void *ud;
    uint32_t level; /* ALK_LOG_: what matters less is not told */
};

/* Sets e->size. */
void say_event(const struct sayer *s, alk_log_event *e);
/* An event that has a message alone. */
void say(const struct sayer *s, uint32_t level, const char *event, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

#endif
