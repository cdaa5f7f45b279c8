/* The two protocols of a service manager: readiness over a datagram socket, and listening sockets
 * that it hands over. */
#ifndef ALK_CLI_ALKNETD_SYSTEMD_H
#define ALK_CLI_ALKNETD_SYSTEMD_H

/* Sends state ("READY=1") to $NOTIFY_SOCKET; does nothing without one. */
void systemd_notify(const char *state);
/* "RELOADING=1" with the time that its receiver wants. */
void systemd_notify_reloading(void);
/* How many sockets are handed over, beginning with SYSTEMD_FIRST_FD; -1 when what $LISTEN_FDS says
 * is not there. Once only: the variables are for this process and go. */
int systemd_sockets(void);
#define SYSTEMD_FIRST_FD 3
#define SYSTEMD_SOCKETS_MAX 64

#endif
