/* A bus (adapt/bus.h) over NATS. */
#ifndef ALK_UV_NATS_H
#define ALK_UV_NATS_H

#include "adapt/bus.h"
#include "uv/plumbing.h"

#define NATS_UNSENT_MAX (8u << 20) /* bytes of messages that wait to leave */

/* All is copied. Who the program is there: user and password, or a token, or credentials, or a
 * seed, or nothing. */
struct nats_options {
    const char *const *servers; /* URLs: nats:// or tls://, without users */
    size_t server_count;        /* at least 1 */
    const char *name;           /* of the connections, for the broker's own lists */
    const char *user, *password;
    const char *token;
    const char *credentials;       /* a file with a JWT and a seed, read for each connection */
    const char *nkey_seed;         /* a file with the seed of a user's NKey, likewise */
    bool tls;                      /* for nats:// too */
    const char *ca;                /* a file; NULL: whom the system trusts */
    const char *certificate, *key; /* files; NULL: none is shown */
};

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

#endif
