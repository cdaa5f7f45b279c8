/* A node with one composing operation, x/root, whose handler answers later, and a client that has called it: the test makes
 * the nested calls and sees every step. Beside it, what tests of streams share. */
#ifndef TESTS_SIM_COMPOSER_H
#define TESTS_SIM_COMPOSER_H

#include "sim/compose.h"

#define EVERYTHING "{\"allowed_ops\":[\"x/*\",\"y/*\"]}"
#define COMPOSER "{\"label\":\"composer\",\"scopes\":[\"x:use\"]}"

struct composer {
    struct world *w;
    struct wire *client;
    struct served root; /* of the operation x/root, which may reach all of x/ and y/ */
};

/* One node with x/root; more operations are added by the test before node_start. */
static inline struct composer *composer_new(void)
{
    struct composer *n = calloc(1, sizeof *n);

    ck_assert_ptr_nonnull(n);
    n->w = world_new();
    add_op(n->w, &(struct op){.name = "x/root",
                              .handler = serve_later,
                              .ud = &n->root,
                              .authority = COMPOSER,
                              .environment = EVERYTHING});
    return n;
}

/* Starts it and calls x/root as a client of its own. */
static inline void composer_start(struct composer *n, const char *extra)
{
    alk_connection_options o;

    world_start(n->w);
    side_options(
        &o, &(struct side){.id = "client", .scopes = "[\"client:only\"]", .kind = ALK_KIND_KEY});
    n->client = wire_open(n->w, &o);
    alk_identity_unref(o.identity);
    wire_request_with(n->client, "root", "x/root", "null", extra ? extra : "");
    world_turn(n->w);
    ck_assert_int_eq(n->root.starts, 1);
}

static inline void composer_free(struct composer *n)
{
    wire_free(n->client);
    served_free(&n->root);
    expect_idle(n->w);
    world_free(n->w);
    free(n);
}

static inline void expect_nested(struct composer *n, const char *operation,
                                 const alk_call_options *o, const char *outcome)
{
    struct asked a;

    nest(&a, &n->root, operation, "null", o);
    world_turn(n->w);
    ck_assert_str_eq(asked_outcome(&a), outcome);
    asked_free(&a);
}

static inline void stream_options(alk_call_options *o)
{
    *o = (alk_call_options){.size = sizeof *o};
    o->stream = 1;
}

static inline char *big(size_t n)
{
    char *s = malloc(n + 1);

    ck_assert_ptr_nonnull(s);
    memset(s, 'x', n);
    s[0] = s[n - 1] = '"';
    s[n] = 0;
    return s;
}

static inline void pause_itself(struct asked *a)
{
    alk_call_pause(a->call, 1);
}

static inline void feed_value(struct wire *r, uint64_t stream, const char *id, const char *text)
{
    size_t size = strlen(text) + strlen(id) + 100;
    char *e = malloc(size);

    snprintf(e, size, "{\"type\":\"call.responded\",\"id\":\"%s\",\"payload\":{\"output\":%s}}", id,
             text);
    wire_feed_on(r, stream, e);
    free(e);
}

#endif
