/* Implements dispatcher.h and the turn. */
#include "core/dispatcher.h"

#include "core/call.h"
#include "core/connection.h"

#include <assert.h>
#include <string.h>

#define MSG_ARENA 3584u /* a small request, parsed, and its call */
#define SPARE_MAX 32u
#define RECHECK_NS UINT64_C(1000000000)
#define ROUNDS_MAX 16u /* of one turn: calls, tasks, sending */
#define SECOND UINT64_C(1000000000)

int alk_dispatcher_new(alk_dispatcher **out, alk_node *node)
{
    struct mem mem;
    struct alk_dispatcher *d;

    *out = NULL;
    mem_init(&mem, node->realloc, node->realloc_ud);
    d = mem_zalloc(&mem, sizeof *d);
    if (!d)
        return ALK_ENOMEM;
    mem_init(&d->mem, node->realloc, node->realloc_ud);
    d->refs = 1;
    d->node = alk_node_ref(node);
    list_init(&d->ready);
    list_init(&d->calls);
    list_init(&d->tasks);
    list_init(&d->observers);
    list_init(&d->connections);
    list_init(&d->peers);
    list_init(&d->dirty);
    list_init(&d->backlog);
    list_init(&d->spare);
    arena_init(&d->scratch, &d->mem, MSG_ARENA);
    buf_init(&d->spare_out, &d->mem);
    d->stats.size = sizeof d->stats;
    if (node->has_identities)
        d->generation = node->identities.generation(node->identities.ud);
    node->host->random(&d->id_counter, sizeof d->id_counter);
    metrics_join(d);
    *out = d;
    return ALK_OK;
}

void dispatcher_unref(struct alk_dispatcher *d)
{
    struct mem mem;

    if (--d->refs)
        return;
    list_each_safe(l, &d->spare)
    {
        struct msg *m = container_of(l, struct msg, link);

        arena_fini(&m->arena);
        mem_free(&d->mem, m);
    }
    arena_fini(&d->scratch);
    buf_fini(&d->spare_out);
    assert(d->mem.live == 0);
    metrics_leave(d);
    mem_init(&mem, d->node->realloc, d->node->realloc_ud);
    alk_node_unref(d->node);
    mem_free(&mem, d);
}

static void run_tasks(struct alk_dispatcher *d)
{
    struct list now;

    list_init(&now);
    list_splice(&now, &d->tasks);
    while (!list_empty(&now)) {
        struct task *t = container_of(now.next, struct task, link);

        list_del(&t->link);
        t->fn(t);
    }
}

void alk_dispatcher_free(alk_dispatcher *d)
{
    if (!d)
        return;
    d->draining = true;
    run_tasks(d);
    alk_dispatcher_cancel_all(d);
    connections_close_all(d);
    for (int i = 0; i < 100 && (!calls_run(d) || !list_empty(&d->tasks)); i++)
        run_tasks(d);
    assert(list_empty(&d->ready) && list_empty(&d->connections));
    dispatcher_unref(d);
}

void alk_dispatcher_drain(alk_dispatcher *d)
{
    if (d->draining)
        return;
    d->draining = true;
    list_each(l, &d->calls) call_shutdown(container_of(l, alk_call, link));
}

void alk_dispatcher_cancel_all(alk_dispatcher *d)
{
    /* Ended calls stay listed until their callbacks have run, so the list holds still. */
    list_each(l, &d->calls)
    {
        alk_call *c = container_of(l, alk_call, link);

        if (c->state != CALL_ENDED && !c->parent)
            call_end(c, ALK_END_CLOSED, &fault_shutdown);
        call_cancel_waiting(c);
    }
}

void alk_dispatcher_stats(const alk_dispatcher *d, alk_stats *out)
{
    const struct metrics *m = &d->metrics;

    *out = d->stats;
    for (size_t k = 0; k < CALL_KINDS; k++) {
        out->calls_total += m->calls[k];
        for (size_t i = ALK_END_OK + 1; i < OUTCOMES; i++)
            out->calls_failed += m->ended[k][i];
    }
    out->calls_refused = m->calls_refused;
    out->discarded = m->discarded;
    out->auth_failures = m->auth_failures;
    out->memory_blocks = d->mem.live;
    out->message_bytes = __atomic_load_n(&d->node->message_bytes, __ATOMIC_RELAXED);
}

static char *put_hex(char *p, uint64_t v, int digits)
{
    for (int i = digits - 1; i >= 0; i--, v >>= 4)
        p[i] = "0123456789abcdef"[v & 15];
    p[digits] = '-';
    return p + digits + 1;
}

void dispatcher_id(struct alk_dispatcher *d, char out[ID_SIZE])
{
    uint64_t count = ++d->id_counter, a = map_hash(d->node->seed, &count, sizeof count);
    /* Unique is enough for the second half; a multiplication by an odd number never meets itself. */
    uint64_t b = (count ^ d->node->seed[1]) * UINT64_C(0x9e3779b97f4a7c15);
    char *p = put_hex(out, a >> 32, 8);

    p = put_hex(p, a >> 16, 4);
    p = put_hex(p, (a & 0xfff) | 0x4000, 4);
    p = put_hex(p, (b >> 48 & 0x3fff) | 0x8000, 4);
    put_hex(p, b, 12)[-1] = 0;
}

/* ---- messages ---------------------------------------------------------------------------------- */

struct msg *msg_new(struct alk_dispatcher *d)
{
    struct msg *m;

    if (!list_empty(&d->spare)) {
        m = container_of(d->spare.next, struct msg, link);
        list_del(&m->link);
        d->spare_count--;
    } else {
        m = mem_zalloc(&d->mem, sizeof *m);
        if (!m)
            return NULL;
        arena_init(&m->arena, &d->mem, MSG_ARENA);
        list_init(&m->link);
    }
    m->value = (struct alk_value){.arena = &m->arena};
    m->charged = 0;
    return m;
}

struct msg *msg_of_text(struct alk_dispatcher *d, const char *text, size_t len)
{
    struct msg *m = mem_zalloc(&d->mem, sizeof *m);

    if (!m)
        return NULL;
    arena_init(&m->arena, &d->mem, len + 1);
    list_init(&m->link);
    m->value = (struct alk_value){.arena = &m->arena, .len = len};
    m->value.text = arena_dup(&m->arena, text, len);
    if (!m->value.text) {
        msg_free(d, m);
        return NULL;
    }
    return m;
}

void msg_free(struct alk_dispatcher *d, struct msg *m)
{
    node_budget_give(d->node, m->charged);
    if (d->spare_count < SPARE_MAX && m->arena.keep == MSG_ARENA) {
        arena_reset(&m->arena);
        list_push_front(&d->spare, &m->link);
        d->spare_count++;
        return;
    }
    arena_fini(&m->arena);
    mem_free(&d->mem, m);
}

int msg_parse_in_place(struct alk_dispatcher *d, struct msg *m, char *data, size_t len,
                       struct json_error *err)
{
    const struct json_limits limits = {LIMIT(d->node, json_depth), LIMIT(d->node, json_values)};
    yyjson_alc alc = arena_alc(&m->arena);
    yyjson_doc *doc;
    int rc = json_parse(data, len, &limits, &alc, &doc, err);

    if (rc)
        return rc;
    m->value.val = yyjson_doc_get_root(doc);
    node_budget_give(d->node, m->charged);
    m->charged = 0;
    if (!node_budget_take(d->node, m->arena.bytes))
        return JSON_EBUDGET;
    m->charged = m->arena.bytes;
    return JSON_OK;
}

int msg_parse(struct alk_dispatcher *d, struct msg *m, const char *data, size_t len,
              struct json_error *err)
{
    char *copy;

    if (!node_budget_take(d->node, len))
        return JSON_EBUDGET;
    m->charged = len;
    copy = arena_alloc(&m->arena, len + JSON_PADDING);
    if (!copy)
        return json_no_memory(err);
    memcpy(copy, data, len);
    return msg_parse_in_place(d, m, copy, len, err);
}

/* ---- values ------------------------------------------------------------------------------------ */

const char *alk_value_text(const alk_value *value, size_t *len)
{
    alk_value *v = (alk_value *)value;
    yyjson_alc alc = arena_alc(v->arena);

    if (!v->text)
        v->text = yyjson_val_write_opts(v->val, 0, &alc, &v->len, NULL);
    *len = v->text ? v->len : 0;
    return v->text;
}

yyjson_val *value_parsed(const alk_value *value)
{
    static const struct json_limits any = {JSON_MAX_DEPTH, UINT32_MAX};
    alk_value *v = (alk_value *)value;
    yyjson_alc alc = arena_alc(v->arena);
    yyjson_doc *doc;
    char *copy;

    if (!v->val && (copy = arena_alloc(v->arena, v->len + JSON_PADDING))) {
        memcpy(copy, v->text, v->len);
        if (!json_parse(copy, v->len, &any, &alc, &doc, NULL))
            v->val = yyjson_doc_get_root(doc);
    }
    return v->val;
}

/* ---- timers and the turn ----------------------------------------------------------------------- */

void timer_set(struct alk_dispatcher *d, struct timer *t, uint64_t at)
{
    heap_remove(&d->timers, &t->node);
    /* One that sets itself again from its own expiry waits for the next turn. */
    if (d->expiring && at <= d->now)
        at = d->now + 1;
    if (at != HEAP_NONE)
        heap_insert(&d->timers, &t->node, at);
}

void timer_clear(struct alk_dispatcher *d, struct timer *t)
{
    heap_remove(&d->timers, &t->node);
}

static void expire(struct alk_dispatcher *d)
{
    struct heap_node *n;

    d->expiring = true;
    while ((n = d->timers.root) && n->key <= d->now) {
        struct timer *t = container_of(n, struct timer, node);

        heap_remove(&d->timers, n);
        t->fn(t, d->now);
    }
    d->expiring = false;
}

/* Measures the queues when that is due; returns when it is due again: while there is something in them. */
static uint64_t sample(struct alk_dispatcher *d)
{
    if (d->sampled_at + SECOND <= d->now)
        metrics_sample(d);
    return list_empty(&d->backlog) && !d->queued ? UINT64_MAX : d->sampled_at + SECOND;
}

uint64_t alk_dispatcher_turn(alk_dispatcher *d, uint64_t now)
{
    uint64_t next = UINT64_MAX;
    bool more = true;

    d->now = now;
    d->turns++;
    if (d->node->has_identities) {
        uint64_t generation = d->node->identities.generation(d->node->identities.ud);

        if (generation != d->generation) {
            d->generation = generation;
            connections_recheck(d);
            list_each_safe(l, &d->observers)
            {
                struct observer *o = container_of(l, struct observer, link);

                o->fn(o);
            }
        }
    }
    expire(d);
    for (unsigned i = 0; more && i < ROUNDS_MAX; i++) {
        /* Tasks first: a connection is told of before its first call. */
        run_tasks(d);
        more = !calls_run(d);
        connections_flush(d);
        more |= !list_empty(&d->ready) || !list_empty(&d->tasks);
    }
    if (!list_empty(&d->backlog) || d->queued)
        next = sample(d);
    /* A credential that is taken away has an effect soon, also where nothing else happens. */
    if (d->node->has_identities &&
        (!list_empty(&d->connections) || !list_empty(&d->calls) ||
         __atomic_load_n(&d->node->sessions, __ATOMIC_RELAXED)) &&
        next > now + RECHECK_NS)
        next = now + RECHECK_NS;
    if (more || !list_empty(&d->dirty))
        return now;
    return d->timers.root && d->timers.root->key < next ? d->timers.root->key : next;
}
