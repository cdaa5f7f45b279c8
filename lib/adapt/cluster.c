/* Implements cluster.h: the life of a cluster's hub, and what the bus brings. */
#include "adapt/cluster_int.h"

#include <stdio.h>
#include <string.h>

bool bucket_take(struct bucket *b, uint32_t per_second, uint64_t now)
{
    uint64_t one = SECOND / per_second;

    if (b->full_at < now)
        b->full_at = now;
    if (b->full_at + one > now + SECOND)
        return false;
    b->full_at += one;
    return true;
}

void bucket_give(struct bucket *b, uint32_t per_second)
{
    b->full_at -= SECOND / per_second;
}

static void log_event(const struct cluster *cl, uint32_t level, const char *event,
                      const char *message)
{
    alk_log_event e = {.size = sizeof e, .level = level, .event = event, .message = message};

    node_log(cl->d->node, &e);
}

static void log_hub(const struct other *h, uint32_t level, const char *event, const char *what)
{
    char text[HUB_NAME_MAX + 200];

    snprintf(text, sizeof text, "%s: %s", h->name, what);
    log_event(h->cl, level, event, text);
}

void cluster_tell(const struct other *h, const char *what)
{
    log_hub(h, ALK_LOG_INFO, "cluster.hub", what);
}

void cluster_warn(struct other *h, const char *what)
{
    if (h->cl->d->now < h->quiet_until)
        return;
    h->quiet_until = h->cl->d->now + WARN_EVERY;
    log_hub(h, ALK_LOG_WARN, "cluster.incomplete", what);
}

/* ---- numbers --------------------------------------------------------------------------------- */

/* What has been counted since. */
static uint64_t since(uint64_t *told, uint64_t now)
{
    uint64_t more = now - *told;

    *told = now;
    return more;
}

static void tell_counts(struct cluster *cl)
{
    const struct pairs_stats *s = pairs_stats(cl->pairs);

    COUNT_MANY(cl->d, cluster_dropped,
               since(&cl->dropped_told, cl->dropped + s->strange + s->duplicates));
    COUNT_MANY(cl->d, cluster_refused, since(&cl->refused_told, s->refused + s->over));
    COUNT_MANY(cl->d, cluster_lost, since(&cl->lost_told, s->lost));
}

static void tell_gauges(struct cluster *cl)
{
    struct cluster_gauges now = {.up = cl->up,
                                 .pairs = pairs_stats(cl->pairs)->up,
                                 .peers = cl->peers,
                                 .unsent = cl->bus->unsent};

    pairs_measure(cl->pairs, &now.under_way, &now.lag_us);
    now.lag_us /= SECOND / 1000000;
    list_each(l, &cl->list) now.hubs += *container_of(l, struct other, link)->boot != 0;
    node_cluster_gauges(cl->d->node, &now);
}

/* ---- the bus --------------------------------------------------------------------------------- */

static void on_message(void *ud, const char *subject, const void *data, size_t len)
{
    struct cluster *cl = ud;

    if (!strcmp(subject, cl->announce) || !strcmp(subject, cl->ask) ||
        !strcmp(subject, cl->state_subject))
        hear(cl, subject, data, len);
    else if (cl->state == CLUSTER_JOINED)
        pairs_message(cl->pairs, subject, data, len);
}

/* A hub that was not heard while there was no bus may be there all the same. */
static void on_state(void *ud, bool up, const char *why)
{
    struct cluster *cl = ud;
    uint64_t now = cl->d->now;

    cl->up = up;
    log_event(cl, up ? ALK_LOG_INFO : ALK_LOG_WARN, up ? "cluster.up" : "cluster.down", why);
    pairs_bus_state(cl->pairs, up);
    list_each(l, &cl->list)
    {
        struct other *h = container_of(l, struct other, link);

        h->heard = now;
        if (!up)
            far_give_up(h);
    }
    tell_gauges(cl);
    if (!up)
        return;
    if (!cl->begun)
        cl->begun = now;
    if (cl->state == CLUSTER_JOINED) {
        timer_set(&cl->d->schedule, &cl->beat, now);
    } else if (cl->state == CLUSTER_JOINING) {
        say_name(cl, "", false);
        timer_set(&cl->d->schedule, &cl->joining, now + JOIN_TIME);
    }
}

static void on_joined(struct timer *t, uint64_t now)
{
    struct cluster *cl = container_of(t, struct cluster, joining);

    if (!cl->up)
        return;
    cl->state = CLUSTER_JOINED;
    log_event(cl, ALK_LOG_INFO, "cluster.joined", cl->name);
    timer_set(&cl->d->schedule, &cl->beat, now);
    if (cl->on_joined)
        cl->on_joined(cl->ud, true);
}

/* ---- pairs ----------------------------------------------------------------------------------- */

static bool on_wanted(void *ud, const char *name)
{
    const struct other *h = other_find(ud, str_of(name));

    return h && other_wants_pair(h);
}

static void on_pair(void *ud, const char *name, alk_connection *c)
{
    struct other *h = other_get(ud, name);

    if (h)
        other_paired(h, c);
}

static void on_gone(void *ud, const char *name, const char *why)
{
    struct other *h = other_find(ud, str_of(name));
    char text[HUB_NAME_MAX + 300];

    snprintf(text, sizeof text, "%s: %s", name, why);
    log_event(ud, ALK_LOG_INFO, "cluster.apart", text);
    if (h)
        other_paired(h, NULL);
}

static const struct pairs_events events = {on_wanted, on_pair, on_gone};

/* ---- life ------------------------------------------------------------------------------------ */

/* Why it is gone; NULL: it is not. Without the bus nobody is heard, and all stay. */
static const char *is_over(const struct other *h, uint64_t now)
{
    if (*h->boot && !credential_good(h->by))
        return "is no peer any more";
    return *h->boot && h->cl->up && now >= h->heard + UNHEARD_MAX ? "is not heard any more" : NULL;
}

/* Once a second: who is not heard any more, or is no peer of ours any more, is gone. */
static void check(struct timer *t, uint64_t now)
{
    struct cluster *cl = container_of(t, struct cluster, check);

    timer_set(&cl->d->schedule, &cl->check, now + SECOND);
    list_each_safe(l, &cl->list)
    {
        struct other *h = container_of(l, struct other, link);
        const char *why = is_over(h, now);

        if (why)
            other_forget(h, why);
        else if (*h->nonce && now >= h->heard + UNHEARD_MAX)
            *h->nonce = 0;
        else if (!*h->boot && !*h->nonce && !h->conn && list_empty(&h->waiting) &&
                 now >= h->heard + UNHEARD_MAX)
            other_free(h);
        else if (cl->up && *h->nonce && now >= h->asked + ASK_AGAIN)
            hear_state_of(h);
    }
    tell_counts(cl);
    tell_gauges(cl);
}

bool cluster_random(const struct host *host, char out[HEX_MAX])
{
    uint8_t bytes[(HEX_MAX - 1) / 2];

    if (host->random(bytes, sizeof bytes))
        return false;
    for (size_t i = 0; i < sizeof bytes; i++)
        snprintf(out + 2 * i, 3, "%02x", bytes[i]);
    return true;
}

/* All or none. */
static int subscribe_all(struct cluster *cl)
{
    const char *const subjects[] = {cl->announce, cl->ask, cl->state_subject};

    snprintf(cl->announce, sizeof cl->announce, "%s.announce", cl->prefix);
    snprintf(cl->ask, sizeof cl->ask, "%s.ask.%s", cl->prefix, cl->name);
    snprintf(cl->state_subject, sizeof cl->state_subject, "%s.state.%s", cl->prefix, cl->name);
    for (size_t i = 0; i < sizeof subjects / sizeof *subjects; i++) {
        if (!cl->bus->ops->subscribe(cl->bus, subjects[i]))
            continue;
        while (i--)
            cl->bus->ops->unsubscribe(cl->bus, subjects[i]);
        return ALK_ENOMEM;
    }
    cl->subscribed = true;
    return ALK_OK;
}

static void unsubscribe_all(struct cluster *cl)
{
    cl->bus->ops->unsubscribe(cl->bus, cl->announce);
    cl->bus->ops->unsubscribe(cl->bus, cl->ask);
    cl->bus->ops->unsubscribe(cl->bus, cl->state_subject);
}

int cluster_new(struct cluster **out, alk_dispatcher *d, const struct cluster_options *o)
{
    struct pairs_options po = {.bus = o->bus,
                               .name = o->name,
                               .prefix = o->prefix,
                               .identity = o->identity,
                               .events = &events};
    struct cluster *cl = mem_zalloc(&d->mem, sizeof *cl);
    int rc = ALK_OK;

    *out = NULL;
    if (!cl)
        return ALK_ENOMEM;
    cl->d = d;
    cl->bus = o->bus;
    cl->identity = o->identity;
    cl->on_joined = o->on_joined;
    cl->ud = o->ud;
    snprintf(cl->name, sizeof cl->name, "%s", o->name);
    snprintf(cl->prefix, sizeof cl->prefix, "%s", o->prefix);
    map_init(&cl->own, &d->mem, d->node->seed);
    map_init(&cl->hubs, &d->mem, d->node->seed);
    list_init(&cl->own_list);
    list_init(&cl->list);
    arena_init(&cl->arena, &d->mem, 4096);
    buf_init(&cl->out, &d->mem);
    buf_init(&cl->json, &d->mem);
    timer_init(&cl->beat, say_beat);
    timer_init(&cl->joining, on_joined);
    timer_init(&cl->check, check);
    if (!cluster_random(d->node->host, cl->boot) || !cluster_random(d->node->host, cl->nonce))
        rc = ALK_ESYSTEM;
    po.ud = cl;
    if (!rc)
        rc = pairs_new(&cl->pairs, d, &po);
    if (!rc)
        rc = subscribe_all(cl);
    if (!rc && !say_begin(cl))
        rc = ALK_ENOMEM;
    if (rc) {
        cluster_close(cl);
        return rc;
    }
    cl->bus->on_message = on_message;
    cl->bus->on_state = on_state;
    cl->bus->ud = cl;
    timer_set(&d->schedule, &cl->check, d->now + SECOND);
    *out = cl;
    return ALK_OK;
}

void cluster_close(struct cluster *cl)
{
    struct alk_dispatcher *d = cl->d;
    struct timer *const timers[] = {&cl->beat, &cl->joining, &cl->check};

    if (cl->up && cl->state == CLUSTER_JOINED)
        say_leave(cl);
    node_cluster_gauges(d->node, &(struct cluster_gauges){0});
    if (cl->pairs)
        tell_counts(cl);
    while (!list_empty(&cl->list))
        other_free(container_of(cl->list.next, struct other, link));
    if (cl->pairs)
        pairs_close(cl->pairs);
    if (cl->subscribed)
        unsubscribe_all(cl);
    for (size_t i = 0; i < sizeof timers / sizeof *timers; i++)
        timer_clear(&d->schedule, timers[i]);
    say_free(cl);
    map_fini(&cl->hubs);
    arena_fini(&cl->arena);
    buf_fini(&cl->out);
    buf_fini(&cl->json);
    mem_free(&d->mem, cl);
}
