/* SIGTERM and SIGINT: the first asks the daemon to drain, the second to stop at once. SIGHUP: a
 * reload, and nothing where none is possible any more. */
#ifndef ALK_CLI_ALKNETD_SIGNALS_H
#define ALK_CLI_ALKNETD_SIGNALS_H

/* From here on a signal is counted, and what this returns becomes readable; -1 with errno. Less
 * than a second after the second one that stops it the process ends, with status 128 + its number,
 * wherever it is then: a handler that computes for ever holds up nobody. */
int signals_watch(void);
/* It is readable for the next signal only. */
void signals_seen(void);
/* How many that stop it have come; *last: the last one. */
int signals_count(int *last);
/* Whether SIGHUP has come since this was asked last. */
int signals_take_hangup(void);
/* What is left is the end of the program. */
void signals_end(void);

#endif
