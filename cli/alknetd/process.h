/* What the daemon asks of the system for its process: standard streams, core dumps, descriptors. */
#ifndef ALK_CLI_ALKNETD_PROCESS_H
#define ALK_CLI_ALKNETD_PROCESS_H

/* Before anything else is opened: a standard stream that is closed becomes /dev/null, as its number
 * would be given to a socket or to a pipe of the loop's, and the log with it. 0 or -1. */
int process_hold_streams(void);
/* Whether memory, which has tokens in it, may go into a core dump or be read by other processes of
 * the user. */
void process_core_dumps(int allowed);

/* Descriptors that are kept for a reload, which must be possible when all others are used. Nothing
 * is done when they cannot be had. */
void process_hold_spares(void);
void process_give_spares(void);

/* A connection is a descriptor: raises the soft limit, whose usual 1,024 is a habit of select(2),
 * to the hard one. */
void process_raise_descriptor_limit(void);

#endif
