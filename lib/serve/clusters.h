/* What a configuration says of the cluster, as its loop takes it: at the start, and at a reload that
 * says something else. */
#ifndef ALK_SERVE_CLUSTERS_H
#define ALK_SERVE_CLUSTERS_H

#include "config/config.h"
#include "serve/say.h"

#include <alknet/cluster.h>

struct membership;

/* A copy of what cfg says, which may be nothing. NULL: out of memory. */
struct membership *membership_new(const struct config *cfg, const struct sayer *sayer);
/* NULL is fine. */
void membership_free(struct membership *m);
/* Joins; net's own thread, or before it has one. 0, or -1 with the reason in err. */
int membership_join(struct membership *m, alk_loop *net, struct config_error *err);
/* Takes the place of *now, from any thread: the loop leaves by that and joins by next. Where they say
 * the same, *now stays, unless it could not join, and next is gone. ALK_ECLOSED, ALK_ENOMEM: *now
 * stays, and next is the caller's. */
int membership_replace(struct membership **now, struct membership *next, alk_loop *net);
/* The loop is about to close, and has what was joined. On its thread. */
void membership_over(struct membership *m);

#endif
