/* SIGTERM and SIGINT: the first asks the daemon to drain, the second to stop at once; one that comes
 * during the start ends it. SIGHUP: a reload, and nothing where none is possible any more. SIGUSR1,
 * SIGUSR2 and SIGPIPE do nothing. */
#ifndef ALK_CLI_ALKNETD_SIGNALS_H
#define ALK_CLI_ALKNETD_SIGNALS_H

/* The first of all: a signal waits, and does no more. */
void signals_hold(void);
/* It does what signals_watch has asked for, or what it does in any program. */
void signals_release(void);
/* From here on a signal is counted, and what this returns becomes readable; -1 with errno. Less
 * than a second after the second one that stops it the process ends, with status 128 + its number,
 * wherever it is then: a handler that computes for ever holds up nobody. One that stops it during
 * the start has that time too, and then status 0. */
int signals_watch(void);
/* The start begins, and it is over when fd is readable or signals_started is called. */
void signals_start(int fd);
void signals_started(void);
/* Whether one that stops it came before the start was over. */
int signals_early(void);
/* It is readable for the next signal only. */
void signals_seen(void);
/* How many that stop it have come; *last: the last one. */
int signals_count(int *last);
/* Whether SIGHUP has come since this was asked last. */
int signals_take_hangup(void);
/* What is left is the end of the program. */
void signals_end(void);

#endif
