/* A bus (wire/bus.h) over NATS. */
#ifndef ALK_UV_NATS_H
#define ALK_UV_NATS_H

#include "wire/bus.h"
#include "uv/plumbing.h"

#define NATS_UNSENT_MAX (8u << 20) /* bytes of messages that wait to leave */

/* Connects at once, and again and again where that fails or the connection is lost, each time to the
 * next server; on_state says how it goes. The loop goes on as long as it is open. ALK_ENOMEM, ALK_ESYSTEM (err says why). */
int nats_open(struct bus **out, struct alk_loop *l, const struct nats_options *o, char *err,
              size_t size);
/* No callback comes any more. What was published leaves as far as the socket takes it. Also from
 * within a callback of the bus. */
void nats_close(struct bus *b);

/* For the turn: what has come, and what is to leave. */
void nats_step(struct alk_loop *l);
void nats_flush(struct alk_loop *l);
/* Whether n is of a bus; it is taken out of the deadlines then. */
bool nats_deadline(struct alk_loop *l, struct heap_node *n);
void nats_close_all(struct alk_loop *l);
/* The loop can open one. */
void nats_init(struct alk_loop *l);

#endif
