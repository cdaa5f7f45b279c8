/* What the tests of composition share: worlds joined by in-process pairs, imports that say what came of them, nested calls
 * made through a handler that answers later, and turning of several worlds. */
#ifndef TESTS_SIM_COMPOSE_H
#define TESTS_SIM_COMPOSE_H

#include "support/suite.h"
#include "support/wire.h"

#include <stdio.h>
#include <string.h>

#define WORLDS_MAX 4
#define SETTLE_ROUNDS 48

struct imported {
    int done, rc;
    size_t count;
    char message[256];
};

/* What one side of a pair knows of the other. id NULL: no identity. */
struct side {
    const char *id, *scopes;
    uint32_t kind, websocket;
    const char *token, *by_token;
    alk_registry *session;
};

static inline void on_imported(alk_connection *c, int rc, size_t count, const char *message,
                               void *ud)
{
    struct imported *im = ud;

    (void)c;
    im->done++;
    im->rc = rc;
    im->count = count;
    snprintf(im->message, sizeof im->message, "%s", message ? message : "");
}

static inline void side_options(alk_connection_options *o, const struct side *s)
{
    *o = (alk_connection_options){.size = sizeof *o};
    o->kind = s->kind;
    o->websocket = s->websocket;
    o->token = s->token;
    o->by_token = s->by_token;
    o->session = s->session;
    o->remote = s->id ? s->id : "someone";
    o->identity = s->id ? identity_of(s->id, s->scopes ? s->scopes : "[]") : NULL;
}

/* Joins two worlds; of_b is what a knows of b. */
static inline void join(struct world *a, const struct side *of_b, alk_connection **to_b,
                        struct world *b, const struct side *of_a, alk_connection **to_a)
{
    alk_connection_options ao, bo;

    side_options(&ao, of_b);
    side_options(&bo, of_a);
    ck_assert_int_eq(alk_pair_open(a->d, &ao, to_b, b->d, &bo, to_a), ALK_OK);
    alk_identity_unref(ao.identity);
    alk_identity_unref(bo.identity);
}

/* Turns all until nothing can be left to do. All get the latest clock. */
static inline void settle(struct world *const *worlds, size_t n)
{
    uint64_t now = 0;

    for (size_t i = 0; i < n; i++)
        now = worlds[i]->now > now ? worlds[i]->now : now;
    for (size_t i = 0; i < n; i++)
        worlds[i]->now = now;
    for (int round = 0; round < SETTLE_ROUNDS; round++) {
        for (size_t i = 0; i < n; i++)
            world_turn(worlds[i]);
    }
}

static inline void settle_after(struct world *const *worlds, size_t n, uint64_t ms)
{
    worlds[0]->now += ms * MS;
    settle(worlds, n);
}

/* Imports what b serves to a through c, which must work. */
static inline void import_all(struct world *a, struct world *b, alk_connection *c, size_t count)
{
    struct world *both[] = {a, b};
    struct imported im = {0};
    alk_import_options o = {.size = sizeof o};

    ck_assert_int_eq(alk_connection_import(c, &o, on_imported, &im), ALK_OK);
    settle(both, 2);
    ck_assert_int_eq(im.done, 1);
    ck_assert_msg(im.rc == ALK_OK, "%s: %s", alk_err_name(im.rc), im.message);
    ck_assert_uint_eq(im.count, count);
}

/* A nested call of s's handler. o NULL: a single result, found in the layers. Its callbacks are filled in. */
static inline void nest(struct asked *a, const struct served *s, const char *operation,
                        const char *input, const alk_call_options *o)
{
    alk_call_options mine, callbacks;

    asked_options(a, &callbacks);
    mine = o ? *o : callbacks;
    mine.on_event = callbacks.on_event;
    mine.on_end = callbacks.on_end;
    mine.ud = a;
    ck_assert_int_eq(alk_call_invoke(s->call, TEXT(operation), TEXT(input), &mine, &a->call),
                     ALK_OK);
}

/* An operation with everything that matters here; NULL members are not given. */
struct op {
    const char *name;
    uint32_t type, visibility;
    alk_handler handler;
    void *ud;
    const char *access, *authority, *environment, *input;
    const alk_capabilities *capabilities;
    uint32_t provenance;
    const char *resource_id_path;
};

static inline void op_fill(alk_operation *out, const struct op *op)
{
    alk_operation_init(out, sizeof *out);
    out->name = op->name;
    if (op->type)
        out->type = op->type;
    if (op->visibility)
        out->visibility = op->visibility;
    out->provenance = op->provenance;
    out->handler = op->handler;
    out->ud = op->ud;
    out->access_control = op->access;
    out->authority = op->authority;
    out->environment = op->environment;
    out->input_schema = op->input;
    out->capabilities = op->capabilities;
    out->resource_id_path = op->resource_id_path;
}

static inline void add_op(struct world *w, const struct op *op)
{
    alk_operation full;

    op_fill(&full, op);
    world_add_full(w, &full);
}

/* No call of a world is alive. */
static inline void expect_idle(struct world *w)
{
    world_turn(w);
    ck_assert_uint_eq(world_stats(w).calls, 0);
}

#endif
