/* One UDP socket and the endpoint of QUIC that speaks on it. */
#ifndef ALK_UV_UDP_H
#define ALK_UV_UDP_H

#include "uv/plumbing.h"
#include "wire/quic.h"

#include <sys/socket.h>

struct udp;

/* Listens as o says; s->udp and s->port are set. As alk_server_open. */
int udp_listen(struct alk_server *s, const alk_server_options *o, char *err, size_t size);
/* No more connections are accepted; it goes with its last one. */
void udp_leave(struct udp *u);
int udp_fd(const struct udp *u);

/* A socket for one connection to there. NULL: *rc is an error of the system. */
struct udp *udp_connect(struct alk_loop *l, const struct sockaddr *to, int *rc);
struct quic *udp_quic(struct udp *u);
void udp_addresses(const struct udp *u, struct quic_address *local, struct quic_address *remote);
/* The system has said that nobody is there; from the loop. */
void udp_on_refused(struct udp *u, void (*fn)(void *ud, int rc), void *ud);

/* For the turn: what is to be sent, and what is due. */
void udp_flush(struct alk_loop *l, uint64_t now);
bool udp_deadline(struct alk_loop *l, struct heap_node *n, uint64_t now);
/* The loop closes: connections are told, as far as the sockets take it. */
void udp_close_all(struct alk_loop *l);

#endif
