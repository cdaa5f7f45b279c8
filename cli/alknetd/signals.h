/* SIGTERM and SIGINT: the first asks the daemon to drain, the second to stop at once. SIGHUP: a
 * reload, and nothing where none is possible any more. */
#ifndef ALK_CLI_ALKNETD_SIGNALS_H
#define ALK_CLI_ALKNETD_SIGNALS_H

#include <uv.h>

/* From here on a signal is counted and wakes the loop by that handle. Less than a second
 * after the second one the process ends, with status 128 + its number, wherever it is then: a
 * handler that computes for ever holds up nobody. */
void signals_watch(uv_async_t *wake);
/* How many that stop it have come; *last: the last one. */
int signals_count(int *last);
/* Whether SIGHUP has come since this was asked last. */
int signals_take_hangup(void);
/* Nobody is to be woken any more, since the handle goes; the rest stays. */
void signals_end_wake(void);
/* What is left is the end of the program. */
void signals_end(void);

#endif
