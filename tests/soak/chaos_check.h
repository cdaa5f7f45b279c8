/* What holds at any moment of a chaos test, and at the end of a life. */
#ifndef TESTS_SOAK_CHAOS_CHECK_H
#define TESTS_SOAK_CHAOS_CHECK_H

#include "soak/chaos.h"

static inline size_t length(const struct list *head)
{
    size_t n = 0;

    list_each(l, head)
    {
        CHECK(l->next->prev == l);
        n++;
    }
    return n;
}

static inline bool nobody_waits(const struct list *streams)
{
    list_each(l, streams)
    {
        if (!list_empty(&container_of(l, const struct stream, look)->waiters))
            return false;
    }
    return true;
}

static inline void check_connection(const alk_connection *c)
{
    bool open = c->closing < 0;

    CHECK(!c->ended && c->refs > 0);
    if (open) {
        CHECK(!c->peer || (c->by && !c->by->gone && str_eq(peer_id(c->peer->of), c->by->who->id)));
        CHECK(!c->peer || !c->websocket || (c->by->kind & ALK_PEER_WEBSOCKET));
        CHECK(!c->peer || (c->peer->conn == c && c->peer->at == c->d->port &&
                           c->peer->pending == c->pending.count));
        return;
    }
    CHECK(list_empty(&c->on_by.link) && !c->peer && !c->running.count && !c->pending.count &&
          nobody_waits(&c->queue.due) && nobody_waits(&c->queue.awaited));
    CHECK(list_empty(&c->backlog) && !timer_is_set(&c->import_timer));
    CHECK(!list_empty(&c->queue.dirty));
}

static inline void check_peers(struct peer_table *t)
{
    CHECK(list_empty(&t->elsewhere));
    list_each(l, &t->attached)
    {
        struct peer *p = container_of(l, struct peer, link);

        CHECK(peers_find(t, peer_id(p)) == p && p->holds == 1 && !list_empty(&p->members));
        peers_release(t, p);
        list_each(m, &p->members)
        {
            const struct member *member = container_of(m, struct member, link);

            CHECK(member->of == p && member->conn->peer == member && member->conn->closing < 0);
        }
    }
}

static inline void check_dispatcher(const alk_dispatcher *d, uint64_t running[CALL_KINDS])
{
    CHECK(length(&d->connections) == d->stats.connections);
    list_each(l, &d->connections) check_connection(container_of(l, alk_connection, all));
    CHECK(length(&d->calls) == d->stats.calls);
    list_each(l, &d->calls)
    {
        const alk_call *c = container_of(l, alk_call, link);

        running[c->kind] += !call_ended(c);
        CHECK(!call_ended(c) || (!c->conn && !timer_is_set(&c->timer)));
        CHECK(!c->conn || c->conn->closing < 0);
    }
}

/* Between steps: nothing is half done then. */
static inline void check(void)
{
    uint64_t running[CALL_KINDS] = {0};
    struct totals t;
    uint64_t connections = 0;

    for (unsigned i = 0; i < NODES; i++) {
        if (!here.d[i])
            continue;
        check_dispatcher(here.d[i], running);
        connections += here.d[i]->stats.connections;
    }
    check_peers(&here.node->peers);
    node_totals(here.node, &t);
    CHECK(t.connections == connections);
    for (unsigned i = 0; i < CALL_KINDS; i++)
        CHECK(t.running[i] == running[i]);
}

/* Every dispatcher is gone, and whatever has held one. */
static inline void node_down(void)
{
    struct totals t;

    node_totals(here.node, &t);
    CHECK(!t.connections && !t.http_connections && !t.sessions && !t.queued && !t.message_bytes);
    for (unsigned i = 0; i < CALL_KINDS; i++)
        CHECK(!t.running[i]);
    alk_node_unref(here.node);
    alk_registry_unref(here.reg);
    alk_identities_free(here.ids);
    CHECK(!here.memory.live);
}

#endif
