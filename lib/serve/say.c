/* A message that is longer than what a line of a log can take is cut. */
#include "serve/say.h"

#include "core/node.h"

#include <stdarg.h>
#include <stdio.h>

void say_event(const struct sayer *s, alk_log_event *e)
{
    e->size = sizeof *e;
    log_lengths(e);
    if (s->log && e->level <= s->level)
        s->log(s->ud, e);
}

void say(const struct sayer *s, uint32_t level, const char *event, const char *format, ...)
{
    char message[1200];
    alk_log_event e = {.level = level, .event = event, .message = message};
    va_list args;

    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    say_event(s, &e);
}
