/* What most tests of the core begin with: a world with three operations and one connection in the
 * test's hand. t/query and t/stream answer when the test says so, t/echo (a mutation) at once. */
#ifndef TESTS_SUPPORT_NODE_H
#define TESTS_SUPPORT_NODE_H

#include "support/wire.h"

struct node {
    struct world *w;
    struct wire *r;
    struct served query, stream; /* the calls that ran last */
};

/* Before node_start more operations can be added, options and limits changed. */
void node_add(struct node *n);
void node_start(struct node *n);
/* Both. */
void node_init(struct node *n);
void node_fini(struct node *n);
/* The remote requests t/query or t/stream with that id; its handler has run. */
void node_serve(struct node *n, const char *id, const char *operation);
/* We ask the remote for x/y; the id of the request that went out is in id. */
void node_ask(struct node *n, struct asked *a, bool stream, char id[64]);
/* The remote sends an envelope of that type and id. */
void node_feed(struct node *n, const char *type, const char *id, const char *payload);

/* before, then piece so many times, then behind; to be freed. */
char *repeated(const char *piece, size_t times, const char *before, const char *behind);

#endif
