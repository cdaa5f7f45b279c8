/* One node with two dispatchers, on one thread. Callers are on the first, and a peer, in the test's hand, is on the first too
 * or on the second: what callers and peer see, and what the log says, must be the same. `out` has all of it as text. */
#ifndef TESTS_SIM_CROSS_H
#define TESTS_SIM_CROSS_H

#include "sim/compose.h"

#define REQUESTS_MAX 64
#define DEPUTY                                                                                     \
    "{\"authority\":{\"label\":\"deputy\",\"scopes\":[\"p:*\"]},\"allow\":[{\"peer\":\"*\","       \
    "\"operations\":[\"p/*\"]}]}"

struct rig {
    struct world *near, *far;   /* far is near where nothing crosses */
    struct wire *client, *peer; /* on near; on far */
    struct served root, hand;  /* x/root, which may call p/; p/hand, which runs here for the peer */
    char *asked[REQUESTS_MAX]; /* ids of what the peer was asked, in order */
    size_t asks;
    struct buf out;
    alk_registry *session; /* of the client: s/own, which echoes */
};

/* A dispatcher more of w's node, as a world of its own. */
static inline struct world *view_new(const struct world *w)
{
    struct world *v = malloc(sizeof *v);

    ck_assert_ptr_nonnull(v);
    *v = *w;
    ck_assert_int_eq(alk_dispatcher_new(&v->d, w->node), ALK_OK);
    return v;
}

static inline void view_free(struct world *v)
{
    alk_dispatcher_free(v->d);
    free(v);
}

/* Without a turn, also after the end of its dispatcher. */
static inline void wire_forget(struct wire *r)
{
    for (size_t i = 0; i < r->count; i++)
        free(r->sent[i]);
    free(r->sent);
    free(r->streams);
    free(r);
}

/* With what the far end serves, registered by hand: p/query, p/mutate, p/stream go to it, p/hand is
 * s's. */
static inline void serve_by_hand(alk_connection *c, struct served *s)
{
    static const char *const names[] = {"p/query", "p/mutate", "p/stream", "p/hand"};
    static const uint32_t types[] = {ALK_QUERY, ALK_MUTATION, ALK_SUBSCRIPTION, ALK_QUERY};
    alk_operation ops[4];

    for (size_t i = 0; i < 4; i++)
        op_fill(
            &ops[i],
            &(struct op){.name = names[i],
                         .type = types[i],
                         .handler = i == 3 ? serve_later : NULL,
                         .ud = i == 3 ? s : NULL,
                         .authority = i == 3 ? "{\"label\":\"hand\",\"scopes\":[\"p:use\"]}" : NULL,
                         .environment = i == 3 ? "{\"allowed_ops\":[\"p/*\",\"s/*\"]}" : NULL,
                         .access = "{\"required_scopes\":[\"p:use\"]}"});
    ck_assert_int_eq(alk_connection_register_imported(c, ops, 4), ALK_OK);
}

static inline struct wire *wire_of(struct world *w, const struct side *s, bool with_streams)
{
    alk_connection_options o;
    struct wire *r;

    side_options(&o, s);
    r = with_streams ? wire_open_streams(w, &o) : wire_open(w, &o);
    alk_identity_unref(o.identity);
    return r;
}

static const struct side peer_side = {.id = "spoke", .kind = ALK_KIND_PEER};

static inline struct rig *rig_prepare(void)
{
    struct rig *r = calloc(1, sizeof *r);

    ck_assert_ptr_nonnull(r);
    r->near = world_new();
    buf_init(&r->out, &r->near->mem);
    ck_assert_int_eq(alk_registry_enable_peers(r->near->reg, TEXT(DEPUTY)), ALK_OK);
    add_op(r->near, &(struct op){.name = "x/root",
                                 .handler = serve_later,
                                 .ud = &r->root,
                                 .authority = "{\"label\":\"composer\",\"scopes\":[\"p:use\"]}",
                                 .environment = "{\"allowed_ops\":[\"p/*\"]}"});
    return r;
}

static inline void rig_start(struct rig *r, bool crosses, bool with_streams)
{
    alk_connection_options o;
    alk_operation own;

    op_fill(&own, &(struct op){.name = "s/own", .handler = serve_echo});
    r->session = alk_registry_new();
    ck_assert_int_eq(alk_registry_add(r->session, &own), ALK_OK);
    ck_assert_int_eq(alk_registry_freeze(r->session), ALK_OK);
    world_start(r->near);
    r->far = crosses ? view_new(r->near) : r->near;
    r->peer = wire_of(r->far, &peer_side, with_streams);
    serve_by_hand(r->peer->conn, &r->hand);
    side_options(&o, &(struct side){.id = "client",
                                    .scopes = "[\"p:use\",\"peers:*\"]",
                                    .kind = ALK_KIND_PEER | ALK_PEER_MAY_FORWARD,
                                    .session = r->session});
    r->client = wire_open(r->near, &o);
    alk_identity_unref(o.identity);
}

static inline struct rig *rig_new(bool crosses)
{
    struct rig *r = rig_prepare();

    rig_start(r, crosses, false);
    return r;
}

/* A turn of each, as often as a few calls need. */
static inline void rig_settle(struct rig *r)
{
    uint64_t now = r->near->now > r->far->now ? r->near->now : r->far->now;

    r->near->now = r->far->now = now;
    for (int i = 0; i < 8; i++) {
        if (r->near->d)
            world_turn(r->near);
        if (r->far->d)
            world_turn(r->far);
    }
}

/* Ids that the node has made differ from run to run. */
static inline void put_line(struct buf *b, const char *who, const char *text)
{
    ck_assert(!buf_puts(b, who));
    while (*text) {
        size_t n = strspn(text, "0123456789abcdef-");

        if (n == 36 && text[8] == '-' && text[23] == '-') {
            ck_assert(!buf_puts(b, "UUID"));
        } else {
            n = n ? n : strcspn(text, "0123456789abcdef-");
            ck_assert(!buf_append(b, text, n));
        }
        text += n;
    }
    ck_assert(!buf_puts(b, "\n"));
}

static inline void put_sent(struct rig *r, struct wire *w, const char *who)
{
    for (; w->read < w->count; w->read++) {
        const char *e = w->sent[w->read];

        if (w == r->peer && strstr(e, "\"call.requested\"")) {
            ck_assert_uint_lt(r->asks, REQUESTS_MAX);
            r->asked[r->asks++] = strdup(wire_id(e));
        }
        put_line(&r->out, who, e);
    }
}

/* Settles, and writes down what client and peer were sent. */
static inline void see(struct rig *r)
{
    rig_settle(r);
    put_sent(r, r->peer, "peer ");
    put_sent(r, r->client, "client ");
    ck_assert(!buf_puts(&r->out, "--\n"));
}

static inline void see_after(struct rig *r, uint64_t ms)
{
    r->near->now += ms * MS;
    see(r);
}

/* The client calls, through the deputy. */
static inline void call(struct rig *r, const char *id, const char *operation, const char *input,
                        const char *extra)
{
    size_t size = strlen(input) + strlen(operation) + 100;
    char *text = malloc(size);

    snprintf(text, size, "{\"peer\":\"spoke\",\"operation\":\"%s\",\"input\":%s}", operation,
             input);
    wire_request_with(r->client, id,
                      strcmp(operation, "p/stream") ? "peers/call" : "peers/subscribe", text,
                      extra);
    free(text);
}

/* The peer says something of what it was asked as number n. */
static inline void answer(struct rig *r, size_t n, const char *type, const char *payload)
{
    size_t size = strlen(payload) + 400;
    char *text = malloc(size);

    ck_assert_uint_lt(n, r->asks);
    snprintf(text, size, "{\"type\":\"call.%s\",\"id\":\"%s\",\"payload\":%s}", type, r->asked[n],
             payload);
    wire_feed(r->peer, text);
    free(text);
}

static inline void answer_value(struct rig *r, size_t n, const char *output)
{
    size_t size = strlen(output) + 20;
    char *text = malloc(size);

    snprintf(text, size, "{\"output\":%s}", output);
    answer(r, n, "responded", text);
    free(text);
}

/* Nothing is charged to anybody any more, and no call is left. */
static inline void rig_idle(struct rig *r)
{
    rig_settle(r);
    if (r->near->d) {
        ck_assert_uint_eq(world_stats(r->near).calls, 0);
        ck_assert_uint_eq(world_stats(r->near).message_bytes, 0);
    }
    if (r->far->d) {
        ck_assert_uint_eq(world_stats(r->far).calls, 0);
        ck_assert_uint_eq(world_stats(r->far).message_bytes, 0);
    }
}

/* What the test has ended itself is NULL. */
static inline void rig_free(struct rig *r)
{
    served_free(&r->root);
    served_free(&r->hand);
    if (r->client)
        wire_free(r->client);
    rig_settle(r);
    if (r->peer)
        wire_free(r->peer);
    rig_idle(r);
    for (size_t i = 0; i < r->asks; i++)
        free(r->asked[i]);
    buf_fini(&r->out);
    if (r->far != r->near)
        view_free(r->far);
    world_free(r->near);
    alk_registry_unref(r->session);
    free(r);
}

#endif
