/* Implements announce.h. That operations have been imported does not say that anybody can call
 * them: peers/call and the environments of handlers lead to peers only, and whoever serves over the
 * wrong transport, or with a key, is none and would wait for calls in vain. So the announcer gets
 * the facts, from which it can tell what its operator has to change, and the log of this node has
 * the same for the operator of this one. */
#include "core/announce.h"

#include "base/buf.h"
#include "core/connection.h"
#include "core/deputy.h"
#include "core/overlay.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#define MESSAGE_MAX 160u

/* A call that waits. */
struct announce {
    struct list link;
    alk_call *call;
};

/* Who can call what a connection's remote serves. */
struct reach {
    size_t imported;
    int64_t by_peers_call; /* of them; -1: it is not enabled */
    const struct peer
        *peer; /* NULL: none, so its operations are reached over this connection alone */
};

static void reach_of(const alk_connection *c, struct reach *r)
{
    r->imported = c->imported->by_name.count;
    r->by_peers_call = deputy_reaches(c);
    r->peer = c->peer ? c->peer->of : NULL;
}

static const char *kind_name(const alk_connection *c)
{
    switch (c->by ? c->by->kind & KIND_MASK : ALK_KIND_NONE) {
    case ALK_KIND_PEER:
        return "peer";
    case ALK_KIND_KEY:
        return "key";
    default:
        return "none";
    }
}

static int put_reach(struct buf *b, const alk_connection *c, const struct reach *r)
{
    char number[32];
    int rc;

    snprintf(number, sizeof number, "%zu", r->imported);
    rc = buf_puts(b, "{\"imported\":") | buf_puts(b, number) | buf_puts(b, ",\"kind\":\"") |
         buf_puts(b, kind_name(c)) | buf_puts(b, "\",\"peer_id\":");
    rc |= r->peer ? buf_json_string(b, r->peer->id, r->peer->len) : buf_puts(b, "null");
    snprintf(number, sizeof number, "%lld", (long long)r->by_peers_call);
    return rc | buf_puts(b, ",\"peers_call\":") |
           buf_puts(b, r->by_peers_call < 0 ? "null" : number) | buf_puts(b, "}");
}

static void log_done(alk_connection *c, const struct reach *r)
{
    alk_log_event e = {.size = sizeof e, .level = ALK_LOG_INFO, .event = "import.done"};
    char message[MESSAGE_MAX] = "of no peer: only who has this connection calls them";

    if (r->peer && r->by_peers_call < 0)
        snprintf(message, sizeof message,
                 "of a peer: handlers with them in their environment; peers/call is not enabled");
    else if (r->peer)
        snprintf(message, sizeof message,
                 "of a peer: peers/call (%lld of %zu), handlers with them in their environment",
                 (long long)r->by_peers_call, r->imported);
    e.message = message;
    e.count = r->imported;
    e.identity = c->by ? c->by->who->id.p : NULL;
    e.remote = connection_remote(c);
    node_log(c->d->node, &e);
}

/* A call in the list has not been told of its end yet, since its on_end takes it out: so it is
 * still there, whether it has ended or not. */
static alk_call *take(struct list *announced)
{
    struct announce *a = container_of(announced->next, struct announce, link);

    list_del(&a->link);
    return a->call;
}

void announce_failed(struct list *announced, const char *why)
{
    alk_fault f = {.size = sizeof f, .code = "IMPORT_FAILED", .message = why};

    while (!list_empty(announced))
        alk_call_fail(take(announced), &f);
}

/* The answer is made before the first call gets it: what hears of a call's end may do anything. */
void announce_done(alk_connection *c, struct list *announced)
{
    struct reach r;
    struct buf b;

    reach_of(c, &r);
    log_done(c, &r);
    buf_init(&b, &c->d->mem);
    if (put_reach(&b, c, &r))
        announce_failed(announced, "out of memory");
    while (!list_empty(announced))
        alk_call_reply(take(announced), buf_at(&b), b.len);
    buf_fini(&b);
}

static void on_end(alk_call *call, int why, const alk_fault *fault, void *ud)
{
    struct announce *a = ud;

    (void)call;
    (void)why;
    (void)fault;
    list_del(&a->link);
}

/* The call runs on as one that answers later. The entry lies in its message, and its on_end takes
 * it out, however the call ends. */
int announce_wait(alk_call *call)
{
    struct announce *a = arena_alloc(&call->msg->arena, sizeof *a);

    assert(call->conn->closing < 0);
    if (!a)
        return ALK_ENOMEM;
    a->call = call;
    list_push(&call->conn->announced, &a->link);
    alk_call_on_end(call, on_end, a);
    return ALK_OK;
}
