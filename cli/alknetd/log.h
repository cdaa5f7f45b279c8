/* The daemon's log: one line per event, JSON or human, each one write.
 *
 * A line is at most LOG_LINE_MAX bytes, which a pipe takes whole or not at all; longer fields are
 * cut. Control characters are escaped, also those that terminals act on. Writing never waits for a
 * reader: what a pipe, socket or terminal does not take is dropped and counted, and the count is a
 * line of its own once there is room again. Thread-safe. */
#ifndef ALK_CLI_ALKNETD_LOG_H
#define ALK_CLI_ALKNETD_LOG_H

#include <alknet/alknet.h>

#define LOG_LINE_MAX 4096

struct log;

/* json: 1 or 0. file: appended to, NULL: standard error. ALK_ESYSTEM with the reason in err;
 * ALK_ENOMEM. */
int log_open(struct log **out, uint32_t json, uint32_t level, const char *file, char *err,
             size_t err_size);
/* Opens the file anew, after it has been moved away; on failure the old one goes on. */
int log_reopen(struct log *log, char *err, size_t err_size);
/* Says how many lines are missing, if it can. NULL is no log. */
void log_close(struct log *log);

/* Of the library; ud is the log. */
void log_event(void *ud, const alk_log_event *event);
/* An event of the daemon itself. */
void log_say(struct log *log, uint32_t level, const char *event, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

#endif
