/* The other hubs, and what their peers serve. A peer's operations are known by a hash of them, and
 * fetched once for all peers of a hub that have the same, over the pair with it. Until then such a
 * peer is there and serves nothing. */
#include "adapt/cluster_int.h"

#include "core/import.h"

#include <alknet/yyjson.h>

#include <assert.h>
#include <stdio.h>
#include <string.h>

/* What one peer can make this hub keep, as a peer that is attached here. */
#define SET_OPERATIONS 4096u
#define SET_BYTES (8u << 20)
#define SET_KEPT (32u << 20)
#define FETCH_AGAIN SECOND

static struct peer_table *table(const struct other *h)
{
    return &h->cl->d->node->peers;
}

/* ---- sets ------------------------------------------------------------------------------------ */

static void fetch_next(struct other *h);

static void set_abandon(struct far_set *s)
{
    for (size_t i = 0; i < s->count; i++)
        operation_free(s->ops[i], &s->made->mem);
    overlay_unref(s->made);
    mem_free(&s->of->cl->d->mem, s->ops);
    account_keep(s->of->by->account, s->kept, 0);
    s->made = NULL;
    s->ops = NULL;
    s->count = s->kept = s->bytes = 0;
}

static void set_free(struct far_set *s)
{
    struct other *h = s->of;

    assert(list_empty(&s->entries));
    if (h->fetching == s) {
        h->fetching = NULL;
        timer_set(&h->cl->d->schedule, &h->fetch_again, h->cl->d->now);
    }
    if (s->made)
        set_abandon(s);
    if (s->call) {
        alk_call_abort(s->call);
        s->call->result_ud = NULL;
        s->call->on_event = NULL;
        s->call->on_result = NULL;
        alk_call_unref(s->call);
    }
    if (s->shared.ops)
        peers_drop_set(table(h), &s->shared);
    overlay_unref(s->shared.ops);
    map_del(&h->sets, &s->by_hash);
    list_del(&s->link);
    mem_free(&h->cl->d->mem, s);
}

static struct far_set *set_find(struct other *h, struct str hash)
{
    struct map_node *n = map_find(&h->sets, hash.p, hash.n);

    return n ? container_of(n, struct far_set, by_hash) : NULL;
}

static struct far_set *set_new(struct other *h, struct str hash)
{
    struct far_set *s = mem_zalloc(&h->cl->d->mem, sizeof *s);

    if (!s)
        return NULL;
    s->of = h;
    memcpy(s->hash, hash.p, hash.n);
    s->by_hash.key = s->hash;
    s->by_hash.len = hash.n;
    list_init(&s->entries);
    if (map_add(&h->sets, &s->by_hash)) {
        mem_free(&h->cl->d->mem, s);
        return NULL;
    }
    list_push(&h->wanted, &s->link);
    fetch_next(h);
    return s;
}

/* ---- entries --------------------------------------------------------------------------------- */

static struct entry *entry_find(struct other *h, struct str id)
{
    struct map_node *n = map_find(&h->entries, id.p, id.n);

    return n ? container_of(n, struct entry, by_id) : NULL;
}

static void entry_leave(struct entry *e)
{
    struct far_set *s = e->set;

    e->set = NULL;
    list_del(&e->of_set);
    if (s && list_empty(&s->entries))
        set_free(s);
}

static void entry_free(struct other *h, struct entry *e)
{
    map_del(&h->entries, &e->by_id);
    h->cl->peers--;
    list_del(&e->link);
    peers_detach(table(h), e->m, h->cl->d->now);
    entry_leave(e);
    mem_free(&h->cl->d->mem, e);
}

static struct entry *entry_new(struct other *h, struct str id)
{
    struct entry *e = mem_zalloc(&h->cl->d->mem, sizeof *e);

    if (!e)
        return NULL;
    e->m = peers_attach_elsewhere(table(h), id, h->cl->d->port, h->label);
    if (!e->m) {
        mem_free(&h->cl->d->mem, e);
        return NULL;
    }
    /* The peer's own copy of the id, which is there as long as its member is. */
    e->by_id.key = e->m->of->id;
    e->by_id.len = e->m->of->len;
    list_init(&e->of_set);
    list_push(&h->entry_list, &e->link);
    if (!map_add(&h->entries, &e->by_id)) {
        h->cl->peers++;
        return e;
    }
    list_del(&e->link);
    peers_detach(table(h), e->m, h->cl->d->now);
    mem_free(&h->cl->d->mem, e);
    return NULL;
}

bool other_serves(struct other *h, struct str id, struct str hash)
{
    struct entry *e = entry_find(h, id);
    struct far_set *s = NULL;

    if (!e && h->cl->peers >= PEERS_MAX) {
        cluster_warn(h, "it has more peers than there is room for");
        return true;
    }
    if (!e && !(e = entry_new(h, id)))
        return false;
    e->round = h->round;
    if (e->set ? str_is(hash, e->set->hash) : !hash.n)
        return true;
    if (hash.n && !(s = set_find(h, hash))) {
        if (h->sets.count >= HUB_SETS_MAX)
            cluster_warn(h, "what its peers serve is too various");
        else if (!(s = set_new(h, hash)))
            return false;
    }
    /* In this order: a peer serves the new ones as soon as it does not serve the old ones. */
    peers_serve_elsewhere(table(h), e->m, s && s->shared.ops ? &s->shared : NULL);
    entry_leave(e);
    e->set = s;
    if (s)
        list_push(&s->entries, &e->of_set);
    return true;
}

void other_lost(struct other *h, struct str id)
{
    struct entry *e = id.p ? entry_find(h, id) : NULL;

    if (e)
        entry_free(h, e);
}

void other_put_last(struct other *h, struct member *m, const struct operation *op)
{
    struct entry *e = m->of ? entry_find(h, peer_id(m->of)) : NULL;

    if (e && e->m == m)
        peers_put_last(table(h), m, e->set ? &e->set->shared : NULL, op);
}

void other_sweep(struct other *h)
{
    list_each_safe(l, &h->entry_list)
    {
        struct entry *e = container_of(l, struct entry, link);

        if (e->round != h->round)
            entry_free(h, e);
    }
}

/* ---- fetching -------------------------------------------------------------------------------- */

static void fetch_failed(struct far_set *s, const char *why)
{
    struct other *h = s->of;
    char text[160];

    snprintf(text, sizeof text, "what its peers serve cannot be fetched: %s", why);
    cluster_warn(h, text);
    set_abandon(s);
    h->fetching = NULL;
    list_del(&s->link);
    list_push(&h->wanted, &s->link);
    timer_set(&h->cl->d->schedule, &h->fetch_again, h->cl->d->now + FETCH_AGAIN);
}

static bool add_operation(struct far_set *s, yyjson_val *spec)
{
    struct str name = json_string(yyjson_obj_get(spec, "name"));
    const struct imported what = {name.p, name, spec, far_forward};
    struct operation *made;
    struct op_diag diag;
    size_t kept;

    if (!name.p || !name_valid(name.p, name.n) || s->count == SET_OPERATIONS ||
        import_operation(&made, s->of->cl->d, s->made, &what, &diag))
        return false;
    s->ops[s->count++] = made;
    kept = s->kept + operation_memory(made);
    if (kept > SET_KEPT || !account_keep(s->of->by->account, s->kept, kept))
        return false;
    s->kept = kept;
    return true;
}

static bool fetch_page(struct far_set *s, struct str after);

/* false: why says it. */
static bool take_page(struct far_set *s, const alk_value *value, const char **why)
{
    yyjson_val *root = alk_value_yyjson(value), *v;
    size_t i, n, len;

    *why = "out of memory";
    if (!alk_value_text(value, &len))
        return false;
    s->bytes += len;
    *why = "it changes";
    if (!str_is(json_string(yyjson_obj_get(root, "hash")), s->hash))
        return false;
    *why = "it is too much, or not to be understood";
    if (s->bytes > SET_BYTES)
        return false;
    yyjson_arr_foreach(yyjson_obj_get(root, "operations"), i, n, v)
    {
        if (!add_operation(s, v))
            return false;
    }
    return true;
}

static bool fetched(struct far_set *s)
{
    struct other *h = s->of;

    if (overlay_fill(s->made, s->ops, s->count, h->by->account, s->kept))
        return false;
    /* They are the set's from here on. */
    s->count = s->kept = 0;
    s->shared.ops = s->made;
    if (!peers_add_set(table(h), &s->shared)) {
        s->shared.ops = NULL;
        return false;
    }
    s->made = NULL;
    mem_free(&h->cl->d->mem, s->ops);
    s->ops = NULL;
    list_del(&s->link);
    h->fetching = NULL;
    list_each(l, &s->entries)
        peers_serve_elsewhere(table(h), container_of(l, struct entry, of_set)->m, &s->shared);
    fetch_next(h);
    return true;
}

/* What has been fetched of one that another page follows is no set yet. */
static void on_page(alk_call *call, const alk_value *value, void *ud)
{
    struct far_set *s = ud;
    struct str next = json_string(yyjson_obj_get(alk_value_yyjson(value), "next"));
    const char *why;
    size_t before = s->count;

    (void)call;
    if (!s->made)
        return;
    if (!take_page(s, value, &why))
        fetch_failed(s, why);
    else if (next.p && s->count == before)
        fetch_failed(s, "a page of it is empty");
    else if (next.p ? !fetch_page(s, next) : !fetched(s))
        fetch_failed(s, "out of memory");
}

/* Behind the last page there is nothing that is still made. */
static void on_page_end(alk_call *call, int why, const alk_fault *fault, void *ud)
{
    struct far_set *s = ud;

    (void)why;
    if (!s || s->call != call)
        return;
    alk_call_unref(call);
    s->call = NULL;
    if (s->made)
        fetch_failed(s, fault ? fault->message : "no answer");
}

static bool fetch_page(struct far_set *s, struct str after)
{
    const struct entry *e = container_of(s->entries.next, struct entry, of_set);
    struct other *h = s->of;
    alk_call_options o = {.size = sizeof o, .on_event = on_page, .on_end = on_page_end, .ud = s};
    alk_call *call;
    struct buf b;
    int rc;

    buf_init(&b, &h->cl->d->mem);
    rc = buf_puts(&b, "{\"peer\":") | buf_json_string(&b, e->by_id.key, e->by_id.len);
    if (after.p)
        rc |= buf_puts(&b, ",\"after\":") | buf_json_string(&b, after.p, after.n);
    rc |= buf_puts(&b, "}");
    rc = rc ? ALK_ENOMEM
            : alk_connection_call(h->conn, "cluster/operations", 18, buf_at(&b), b.len, &o, &call);
    buf_fini(&b);
    if (rc)
        return false;
    alk_call_unref(s->call);
    s->call = call;
    return true;
}

/* One after the other: to know soon what few serve matters more than to know all at once. */
static void fetch_next(struct other *h)
{
    struct alk_dispatcher *d = h->cl->d;
    struct far_set *s;

    if (h->fetching || list_empty(&h->wanted) || timer_is_set(&h->fetch_again))
        return;
    if (!h->conn) {
        if (pairs_want(h->cl->pairs, h->name))
            timer_set(&d->schedule, &h->fetch_again, d->now + FETCH_AGAIN);
        return;
    }
    s = container_of(h->wanted.next, struct far_set, link);
    /* It has been made by the first peer that serves it, which comes behind that. */
    if (list_empty(&s->entries)) {
        timer_set(&d->schedule, &h->fetch_again, d->now);
        return;
    }
    h->fetching = s;
    s->made = overlay_new(&d->mem, d->node->seed);
    s->ops = mem_alloc(&d->mem, SET_OPERATIONS * sizeof *s->ops);
    if (!s->made || !s->ops || !fetch_page(s, STR_NONE))
        fetch_failed(s, "out of memory, or too many calls");
}

static void fetch_again(struct timer *t, uint64_t now)
{
    (void)now;
    fetch_next(container_of(t, struct other, fetch_again));
}

/* ---- hubs ------------------------------------------------------------------------------------ */

struct other *other_find(struct cluster *cl, struct str name)
{
    struct map_node *n = map_find(&cl->hubs, name.p, name.n);

    return n ? container_of(n, struct other, by_name) : NULL;
}

struct other *other_get(struct cluster *cl, const char *name)
{
    struct other *h = other_find(cl, str_of(name));

    if (h || cl->hubs.count >= HUBS_MAX)
        return h;
    h = mem_zalloc(&cl->d->mem, sizeof *h);
    if (!h)
        return NULL;
    h->cl = cl;
    memcpy(h->name, name, strlen(name));
    h->by_name.key = h->name;
    h->by_name.len = strlen(name);
    h->heard = cl->d->now;
    map_init(&h->entries, &cl->d->mem, cl->d->node->seed);
    map_init(&h->sets, &cl->d->mem, cl->d->node->seed);
    list_init(&h->entry_list);
    list_init(&h->wanted);
    list_init(&h->waiting);
    timer_init(&h->fetch_again, fetch_again);
    timer_init(&h->patience, far_patience);
    h->label = other_hub_new(str_of(name), h);
    if (h->label && !map_add(&cl->hubs, &h->by_name)) {
        list_push(&cl->list, &h->link);
        return h;
    }
    other_hub_unref(h->label);
    mem_free(&cl->d->mem, h);
    return NULL;
}

void other_forget(struct other *h, const char *why)
{
    if (h->here && why)
        cluster_tell(h, why);
    h->here = false;
    while (!list_empty(&h->entry_list))
        entry_free(h, container_of(h->entry_list.next, struct entry, link));
    assert(!h->sets.count);
    *h->boot = *h->nonce = *h->word = 0;
    memset(h->past, 0, sizeof h->past);
    h->heard = h->cl->d->now;
}

void other_free(struct other *h)
{
    struct alk_dispatcher *d = h->cl->d;

    h->label->agent = NULL;
    far_give_up(h);
    other_forget(h, NULL);
    other_hub_unref(h->label);
    timer_clear(&d->schedule, &h->fetch_again);
    timer_clear(&d->schedule, &h->patience);
    alk_connection_unref(h->conn);
    credential_unref(h->by);
    map_fini(&h->entries);
    map_fini(&h->sets);
    map_del(&h->cl->hubs, &h->by_name);
    list_del(&h->link);
    mem_free(&d->mem, h);
}

bool other_wants_pair(const struct other *h)
{
    return !list_empty(&h->wanted) || !list_empty(&h->waiting);
}

/* From inside of the pairs' own functions: what is to be done there comes in a turn of its own. */
void other_paired(struct other *h, alk_connection *c)
{
    alk_connection_unref(h->conn);
    h->conn = c ? alk_connection_ref(c) : NULL;
    if (!c)
        return;
    far_flush(h);
    timer_set(&h->cl->d->schedule, &h->fetch_again, h->cl->d->now);
}
