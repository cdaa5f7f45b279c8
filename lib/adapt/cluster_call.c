/* Calls to peers of other hubs, on the cluster's thread: an operation of theirs has far_forward for
 * its handler, which calls peers/call or peers/subscribe of their hub over the pair with it. And
 * cluster/operations, by which hubs learn what each other's peers serve. */
#include "adapt/cluster_int.h"

#include "core/forward.h"

#include <alknet/cluster.h>
#include <stdio.h>
#include <string.h>

#define PAGE_BYTES 131072u

/* One that waits for the pair; in its call's memory. */
struct waiting {
    struct list link;
    alk_call *call;
    uint64_t until;
};

static const alk_fault fault_no_pair = {.size = sizeof fault_no_pair,
                                        .retryable = 1,
                                        .code = ALK_BUSY,
                                        .message = "the peer's hub cannot be reached now"};

static void call_over(struct other *h, alk_call *call)
{
    struct peer *p = call->member->of;
    bool stream = call->op->type == ALK_SUBSCRIPTION;
    struct str input;
    struct buf b;
    int rc;

    if (!p) {
        call_end(call, ALK_END_FAULT, &fault_closed);
        return;
    }
    input.p = alk_value_text(&call->input, &input.n);
    buf_init(&b, &call->d->mem);
    if (call->msg->payer)
        buf_charge(&b, &call->msg->payer->meter);
    rc = buf_puts(&b, "{\"peer\":") | buf_json_string(&b, p->id, p->len) |
         buf_puts(&b, ",\"operation\":\"") | buf_puts(&b, call->op->ud) |
         buf_puts(&b, "\",\"input\":") | buf_append(&b, input.p, input.n) | buf_puts(&b, "}");
    rc = rc || !input.p ? ALK_ENOMEM
                        : forward_over(call, h->conn,
                                       stream ? str_of("peers/subscribe") : str_of("peers/call"),
                                       (struct str){buf_at(&b), b.len});
    if (rc)
        call_end(call, ALK_END_FAULT,
                 b.refused || call->msg->arena.refused ? &fault_full : &fault_internal);
    buf_fini(&b);
}

static void on_end(alk_call *call, int why, const alk_fault *fault, void *ud)
{
    struct waiting *w = ud;

    (void)call;
    (void)why;
    (void)fault;
    list_del(&w->link);
}

int far_forward(alk_call *call, void *ud)
{
    struct other *h = call->member->hub->agent;
    struct waiting *w;

    (void)ud;
    if (!h || !h->cl->up) {
        call_end(call, ALK_END_FAULT, &fault_no_pair);
        return ALK_OK;
    }
    if (h->conn) {
        call_over(h, call);
        return ALK_OK;
    }
    other_put_last(h, call->member, call->op);
    w = arena_zalloc(&call->msg->arena, sizeof *w);
    if (!w)
        return ALK_ENOMEM;
    w->call = call;
    w->until = call->d->now + PAIR_PATIENCE;
    if (list_empty(&h->waiting))
        timer_set(&call->d->schedule, &h->patience, w->until);
    list_push(&h->waiting, &w->link);
    alk_call_on_end(call, on_end, w);
    pairs_want(h->cl->pairs, h->name);
    return ALK_OK;
}

static struct waiting *first(const struct other *h)
{
    return container_of(h->waiting.next, struct waiting, link);
}

static alk_call *take(struct other *h)
{
    struct waiting *w = first(h);

    list_del(&w->link);
    return w->call;
}

void far_flush(struct other *h)
{
    timer_clear(&h->cl->d->schedule, &h->patience);
    while (h->conn && !list_empty(&h->waiting)) {
        alk_call *call = take(h);

        if (!call_ended(call))
            call_over(h, call);
    }
}

void far_give_up(struct other *h)
{
    timer_clear(&h->cl->d->schedule, &h->patience);
    while (!list_empty(&h->waiting))
        call_end(take(h), ALK_END_FAULT, &fault_no_pair);
}

void far_patience(struct timer *t, uint64_t now)
{
    struct other *h = container_of(t, struct other, patience);

    while (!list_empty(&h->waiting) && first(h)->until <= now)
        call_end(take(h), ALK_END_FAULT, &fault_no_pair);
    if (!list_empty(&h->waiting))
        timer_set(&h->cl->d->schedule, t, first(h)->until);
}

/* ---- cluster/operations ---------------------------------------------------------------------- */

static bool served_before(struct overlay *const *sets, size_t before, struct str name)
{
    for (size_t i = 0; i < before; i++) {
        if (overlay_find(sets[i], name))
            return true;
    }
    return false;
}

/* From behind `after`, which is a place: the set and the operation in it. *next: where the page
 * ends; false: that is the end of all. */
static bool put_page(struct buf *b, struct overlay *const *sets, size_t count, uint32_t after[2],
                     int *rc)
{
    bool first = true;

    for (size_t i = after[0]; i < count; i++, after[1] = 0) {
        for (size_t k = after[1]; k < sets[i]->by_name.count; k++) {
            const struct operation *op = sets[i]->sorted[k];

            if (served_before(sets, i, op_name(op)))
                continue;
            if (b->len > PAGE_BYTES) {
                after[0] = (uint32_t)i;
                after[1] = (uint32_t)k;
                return true;
            }
            *rc |= (first ? 0 : buf_puts(b, ",")) | buf_append(b, op->spec_json.p, op->spec_json.n);
            first = false;
        }
    }
    return false;
}

static int operations(alk_call *call, void *ud)
{
    struct peer_table *peers = &call->d->node->peers;
    struct str id = json_string(yyjson_obj_get(call->input.val, "peer"));
    struct str after = json_string(yyjson_obj_get(call->input.val, "after"));
    struct overlay *sets[2 * PEER_NEWEST];
    struct peer *p = peers_find(peers, id);
    uint32_t at[2] = {0, 0};
    size_t count = 0;
    char hash[HEX_MAX];
    struct buf b;
    int rc = 0;

    (void)ud;
    if (after.p && sscanf(after.p, "%u.%u", &at[0], &at[1]) != 2)
        at[0] = at[1] = 0;
    if (p) {
        count = peer_sets_here(peers, p, sets);
        peers_release(peers, p);
    }
    buf_init(&b, &call->d->mem);
    rc = !say_hash(call->d, sets, count, hash);
    rc |= buf_printf(&b, "{\"hash\":\"%s\",\"operations\":[", hash);
    if (put_page(&b, sets, count, at, &rc))
        rc |= buf_printf(&b, "],\"next\":\"%u.%u\"}", at[0], at[1]);
    else
        rc |= buf_puts(&b, "]}");
    for (size_t i = 0; i < count; i++)
        overlay_unref(sets[i]);
    rc = rc ? ALK_ENOMEM : alk_call_reply(call, buf_at(&b), b.len);
    buf_fini(&b);
    return rc == ALK_ELIMIT ? ALK_OK : rc;
}

int alk_registry_enable_cluster(alk_registry *reg)
{
    alk_operation op;

    alk_operation_init(&op, sizeof op);
    op.name = "cluster/operations";
    op.description = "What a peer serves that is attached to this hub, for the other hubs";
    op.input_schema = "{\"type\":\"object\",\"additionalProperties\":false,\"required\":[\"peer\"],"
                      "\"properties\":{\"peer\":{\"type\":\"string\"},\"after\":{\"type\":"
                      "\"string\",\"description\":\"next of the page before\"}}}";
    op.access_control = "{\"required_scopes\":[\"peers:list\"]}";
    op.handler = operations;
    return alk_registry_add(reg, &op);
}
