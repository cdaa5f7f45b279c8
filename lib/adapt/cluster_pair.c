/* Implements cluster_pair.h: which hubs there are, when to open a pair to one, and what is for
 * which pair. A hub is here as long as a pair to it is, or is wanted, and a while after. */
#include "adapt/cluster_pair_int.h"

#include <assert.h>
#include <stdio.h>

#define FIRST_NS (1 * SECOND) /* between attempts; doubled each time */
#define LAST_NS (30 * SECOND)
#define FORGET_NS (60 * SECOND) /* longer than a bucket needs to be full again */

/* ---- names ----------------------------------------------------------------------------------- */

static bool is_name_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '-';
}

static size_t token_length(const char *s)
{
    size_t n = 0;

    while (is_name_char(s[n]))
        n++;
    return n;
}

bool hub_name_good(const char *name)
{
    size_t n = token_length(name);

    return n && n <= HUB_NAME_MAX && !name[n];
}

bool bus_prefix_good(const char *prefix)
{
    const char *p = prefix;

    for (size_t n; (n = token_length(p)); p += n + 1) {
        if (!p[n])
            return (size_t)(p + n - prefix) <= BUS_PREFIX_MAX;
        if (p[n] != '.')
            return false;
    }
    return false;
}

void pair_subject(const struct pairs *p, char out[SUBJECT_MAX], const char *name,
                  const uint8_t token[TOKEN_BYTES])
{
    int n = snprintf(out, SUBJECT_MAX, "%s.pair.%s.", p->prefix, name);

    for (unsigned i = 0; i < TOKEN_BYTES; i++)
        n += snprintf(out + n, 3, "%02x", token[i]);
}

int pairs_prove(struct pairs *p, const uint8_t key[PAIR_KEY], const char *name,
                struct credential **by)
{
    char print[ALK_TLS_FINGERPRINT];
    int rc;

    pair_fingerprint(key, print);
    rc = credential_prove(by, p->d, PROOF_FINGERPRINT, str_of(print));
    if (rc)
        return rc;
    if (((*by)->kind & KIND_MASK) == ALK_KIND_PEER && str_is((*by)->who->id, name))
        return ALK_OK;
    credential_unref(*by);
    *by = NULL;
    return ALK_ENOENT;
}

/* ---- hubs ------------------------------------------------------------------------------------ */

struct pair *hub_up(const struct hub *h)
{
    list_each(l, &h->pairs)
    {
        struct pair *x = container_of(l, struct pair, of_hub);

        if (x->stage == PAIR_UP)
            return x;
    }
    return NULL;
}

struct pair *hub_attempt(const struct hub *h)
{
    list_each(l, &h->pairs)
    {
        struct pair *x = container_of(l, struct pair, of_hub);

        if (x->stage == PAIR_OPENED || x->stage == PAIR_CONFIRMED)
            return x;
    }
    return NULL;
}

static void hub_free(struct hub *h)
{
    timer_clear(&h->all->d->schedule, &h->timer);
    map_del(&h->all->hubs, &h->by_name);
    list_del(&h->link);
    mem_free(&h->all->d->mem, h);
}

/* Behind each change of what it waits for. */
static void settle(struct hub *h)
{
    struct pairs *p = h->all;

    if (h->wanted && p->up)
        timer_set(&p->d->schedule, &h->timer, h->not_before);
    else if (!h->wanted && list_empty(&h->pairs))
        timer_set(&p->d->schedule, &h->timer, p->d->now + FORGET_NS);
    else
        timer_clear(&p->d->schedule, &h->timer);
}

/* Between 0.75 and 1.25 of it, so that hubs that have lost the same bus do not all come at once. */
static uint64_t scattered(const struct pairs *p, uint64_t ns)
{
    uint16_t r = 32768;

    p->d->node->host->random(&r, sizeof r);
    return ns - ns / 4 + ns / 2 * r / 65536;
}

/* An attempt may still be under way: each is another one. */
static void attempt(struct hub *h, uint64_t now)
{
    struct pair *before = hub_attempt(h);
    uint64_t wait = LAST_NS;

    if (before)
        pair_free(before);
    if (h->failures < 5)
        wait = FIRST_NS << h->failures;
    h->not_before = now + scattered(h->all, wait);
    h->failures++;
    opening_begin(h);
}

static void hub_due(struct timer *t, uint64_t now)
{
    struct hub *h = container_of(t, struct hub, timer);
    struct pairs *p = h->all;

    if (!h->wanted) {
        hub_free(h);
        return;
    }
    h->wanted = !p->d->draining && (!h->failures || p->events->wanted(p->ud, h->name));
    if (h->wanted)
        attempt(h, now);
    settle(h);
}

struct hub *hub_get(struct pairs *p, struct str name)
{
    struct map_node *n = map_find(&p->hubs, name.p, name.n);
    struct hub *h;

    if (n)
        return container_of(n, struct hub, by_name);
    h = mem_zalloc(&p->d->mem, sizeof *h);
    if (!h)
        return NULL;
    h->all = p;
    memcpy(h->name, name.p, name.n);
    h->by_name.key = h->name;
    h->by_name.len = name.n;
    list_init(&h->pairs);
    timer_init(&h->timer, hub_due);
    if (map_add(&p->hubs, &h->by_name)) {
        mem_free(&p->d->mem, h);
        return NULL;
    }
    list_push(&p->list, &h->link);
    settle(h);
    return h;
}

int pairs_want(struct pairs *p, const char *name)
{
    struct hub *h;

    if (!hub_name_good(name) || !strcmp(name, p->name))
        return ALK_EINVAL;
    h = hub_get(p, str_of(name));
    if (!h)
        return ALK_ENOMEM;
    if (!h->wanted && !hub_up(h)) {
        h->wanted = true;
        settle(h);
    }
    return ALK_OK;
}

void pairs_heard(struct pairs *p, const char *name)
{
    struct map_node *n = map_find(&p->hubs, name, strlen(name));
    struct hub *h = n ? container_of(n, struct hub, by_name) : NULL;

    if (!h || !h->failures)
        return;
    h->failures = 0;
    h->not_before = p->d->now;
    settle(h);
}

/* ---- a pair ---------------------------------------------------------------------------------- */

static void pair_due(struct timer *t, uint64_t now)
{
    struct pair *x = container_of(t, struct pair, timer);

    if (x->stage == PAIR_UP)
        link_due(x, now);
    else
        pair_free(x);
}

static void own_subject(const struct pair *x, char out[SUBJECT_MAX])
{
    snprintf(out, SUBJECT_MAX, "%.*s%s", (int)(SUBJECT_MAX - sizeof x->token), x->all->data,
             x->token);
}

static bool subscribe(struct pair *x)
{
    struct pairs *p = x->all;
    char subject[SUBJECT_MAX];
    uint8_t token[TOKEN_BYTES];

    if (p->d->node->host->random(token, sizeof token))
        return false;
    pair_subject(p, subject, p->name, token);
    memcpy(x->token, subject + strlen(subject) - TOKEN_DIGITS, sizeof x->token);
    x->by_token.key = x->token;
    x->by_token.len = TOKEN_DIGITS;
    if (map_add(&p->tokens, &x->by_token))
        return false;
    if (!p->bus->ops->subscribe(p->bus, subject))
        return true;
    map_del(&p->tokens, &x->by_token);
    return false;
}

struct pair *pair_new(struct hub *h, enum stage stage)
{
    struct pairs *p = h->all;
    struct mem *mem = &p->d->mem;
    struct pair *x = mem_zalloc(mem, sizeof *x);

    if (!x)
        return NULL;
    x->all = p;
    x->hub = h;
    x->stage = stage;
    x->opening = mem_zalloc(mem, sizeof *x->opening);
    map_init(&x->lanes, mem, p->d->node->seed);
    list_init(&x->untold);
    buf_init(&x->kept, mem);
    timer_init(&x->timer, pair_due);
    if (!x->opening || !subscribe(x)) {
        mem_free(mem, x->opening);
        mem_free(mem, x);
        return NULL;
    }
    list_push(&h->pairs, &x->of_hub);
    p->stats.half_open += stage == PAIR_ANSWERED;
    settle(h);
    return x;
}

void pair_free(struct pair *x)
{
    struct pairs *p = x->all;
    struct hub *h = x->hub;
    char subject[SUBJECT_MAX];

    own_subject(x, subject);
    p->bus->ops->unsubscribe(p->bus, subject);
    p->stats.half_open -= x->stage == PAIR_ANSWERED;
    p->stats.up -= x->stage == PAIR_UP;
    timer_clear(&p->d->schedule, &x->timer);
    map_del(&p->tokens, &x->by_token);
    list_del(&x->of_hub);
    opening_free(x);
    pair_cipher_free(x->seal);
    pair_cipher_free(x->open);
    link_fini(x);
    mem_free(&p->d->mem, x);
    settle(h);
}

void pair_make_room(struct pair *x)
{
    bool older = true;

    list_each_safe(l, &x->hub->pairs)
    {
        struct pair *other = container_of(l, struct pair, of_hub);

        if (other == x)
            older = false;
        else if (other->stage == PAIR_UP)
            pair_end(other, ALK_CLOSE_SHUTDOWN, "the other hub has opened another pair");
        else if (older || x->stage == PAIR_CONFIRMED || other->stage != PAIR_ANSWERED)
            pair_free(other);
    }
}

void pair_risen(struct pair *x)
{
    struct pairs *p = x->all;
    struct hub *h = x->hub;

    p->stats.half_open -= x->stage == PAIR_ANSWERED;
    p->stats.up++;
    x->stage = PAIR_UP;
    h->wanted = false;
    h->failures = 0;
    h->not_before = p->d->now + FIRST_NS;
    settle(h);
    p->events->up(p->ud, h->name, x->conn);
}

void pair_end(struct pair *x, int code, const char *why)
{
    struct pairs *p = x->all;
    struct hub *h = x->hub;

    if (code >= 0)
        link_close_with(x, code);
    alk_connection_lost(x->conn);
    pair_free(x);
    p->events->gone(p->ud, h->name, why);
}

/* ---- all of them ----------------------------------------------------------------------------- */

int pairs_new(struct pairs **out, alk_dispatcher *d, const struct pairs_options *o)
{
    struct pairs *p = mem_zalloc(&d->mem, sizeof *p);

    *out = NULL;
    if (!p)
        return ALK_ENOMEM;
    assert(hub_name_good(o->name) && bus_prefix_good(o->prefix));
    p->d = d;
    p->bus = o->bus;
    p->identity = o->identity;
    p->events = o->events;
    p->ud = o->ud;
    map_init(&p->hubs, &d->mem, d->node->seed);
    map_init(&p->tokens, &d->mem, d->node->seed);
    list_init(&p->list);
    buf_init(&p->in, &d->mem);
    buf_init(&p->out, &d->mem);
    snprintf(p->name, sizeof p->name, "%s", o->name);
    snprintf(p->prefix, sizeof p->prefix, "%s", o->prefix);
    snprintf(p->control, sizeof p->control, "%s.hub.%s", p->prefix, p->name);
    snprintf(p->data, sizeof p->data, "%s.pair.%s.", p->prefix, p->name);
    if (p->bus->ops->subscribe(p->bus, p->control)) {
        mem_free(&d->mem, p);
        return ALK_ENOMEM;
    }
    *out = p;
    return ALK_OK;
}

void pairs_close(struct pairs *p)
{
    struct mem *mem = &p->d->mem;

    while (!list_empty(&p->list)) {
        struct hub *h = container_of(p->list.next, struct hub, link);

        while (!list_empty(&h->pairs)) {
            struct pair *x = container_of(h->pairs.next, struct pair, of_hub);

            if (x->stage == PAIR_UP) {
                link_close_with(x, ALK_CLOSE_SHUTDOWN);
                alk_connection_lost(x->conn);
            }
            pair_free(x);
        }
        hub_free(h);
    }
    p->bus->ops->unsubscribe(p->bus, p->control);
    map_fini(&p->hubs);
    map_fini(&p->tokens);
    buf_fini(&p->in);
    buf_fini(&p->out);
    mem_free(mem, p);
}

/* What does not fit the pair's stage comes too late, or is a stranger's. */
static void to_pair(struct pair *x, const uint8_t *data, size_t len)
{
    if (x->stage == PAIR_OPENED)
        opening_accept(x, data, len);
    else if (x->stage == PAIR_ANSWERED)
        opening_confirm(x, data, len);
    else
        link_message(x, data, len);
}

void pairs_message(struct pairs *p, const char *subject, const void *data, size_t len)
{
    size_t n = strlen(p->data);
    struct map_node *found;

    if (!strcmp(subject, p->control)) {
        opening_open(p, data, len);
        return;
    }
    if (strncmp(subject, p->data, n))
        return;
    found = map_find(&p->tokens, subject + n, strlen(subject + n));
    if (found)
        to_pair(container_of(found, struct pair, by_token), data, len);
    else
        p->stats.strange++;
}

static void end_all(struct hub *h, int code, const char *why)
{
    struct pair *up = hub_up(h);

    if (up)
        pair_end(up, code, why);
    while (!list_empty(&h->pairs))
        pair_free(container_of(h->pairs.next, struct pair, of_hub));
}

/* What failed while the bus was away says nothing of the other hubs. */
void pairs_bus_state(struct pairs *p, bool up)
{
    p->up = up;
    list_each(l, &p->list)
    {
        struct hub *h = container_of(l, struct hub, link);

        end_all(h, up ? ALK_CLOSE_SHUTDOWN : -1,
                up ? "the bus may have lost messages" : "the bus is gone");
        if (up) {
            h->failures = 0;
            h->not_before = p->d->now;
        }
        settle(h);
    }
}

const struct pairs_stats *pairs_stats(const struct pairs *p)
{
    return &p->stats;
}

/* What was granted is what has been taken and a window more. */
void pairs_measure(const struct pairs *p, uint64_t *under_way, uint64_t *lag)
{
    *under_way = *lag = 0;
    list_each(l, &p->list)
    {
        const struct pair *x = hub_up(container_of(l, struct hub, link));
        uint64_t silent = x ? p->d->now - x->heard_at : 0;

        if (x)
            *under_way += x->sent + x->window - x->may_send;
        *lag = silent > *lag ? silent : *lag;
    }
}
