/* What other hubs say. The bus carries what anybody likes to put on it, so a message is looked at in
 * the order of what that costs: its form, whether the key is that of a peer of that name, how many
 * there have been from that, and last the signature.
 *
 * What a hub announces counts for the start of it (boot) that has answered our question, with the
 * nonce of that. So old announcements are worth nothing, nor are those of a start that is over. */
#include "adapt/cluster_int.h"

#include "base/json.h"

#include <stdio.h>
#include <string.h>

#define HUB_SCOPE "peers:list"
#define VALUES_MAX 8192u
#define HEAD (PAIR_SIGNATURE + PAIR_KEY)
#define ANSWER_EVERY (SECOND / 2)   /* states for one hub */
#define ANSWER_STRANGE (2 * SECOND) /* likewise, for a start of it that is not known */

struct said {
    const uint8_t *signature, *key;
    struct str text, kind, hub, boot, to, nonce, re;
    bool go;
    uint64_t age_ms, said, version, from, part, parts;
    yyjson_val *peers, *gone;
};

static uint64_t number(yyjson_val *root, const char *name)
{
    yyjson_val *v = yyjson_obj_get(root, name);

    return yyjson_is_uint(v) ? yyjson_get_uint(v) : 0;
}

static struct str string(yyjson_val *root, const char *name)
{
    return json_string(yyjson_obj_get(root, name));
}

static bool is_hex(struct str s)
{
    for (size_t i = 0; i < s.n; i++) {
        if (!((s.p[i] >= '0' && s.p[i] <= '9') || (s.p[i] >= 'a' && s.p[i] <= 'f')))
            return false;
    }
    return s.n == HEX_MAX - 1;
}

static bool read_said(struct cluster *cl, const char *data, size_t len, struct said *s)
{
    static const struct json_limits limits = {4, VALUES_MAX};
    yyjson_alc alc;
    yyjson_doc *doc;
    yyjson_val *root;
    char *copy;

    if (len <= HEAD || len > SAID_MAX)
        return false;
    arena_reset(&cl->arena);
    alc = arena_alc(&cl->arena);
    copy = arena_alloc(&cl->arena, len - HEAD + JSON_PADDING);
    if (!copy)
        return false;
    memcpy(copy, data + HEAD, len - HEAD);
    if (json_parse(copy, len - HEAD, &limits, &alc, &doc, NULL))
        return false;
    root = yyjson_doc_get_root(doc);
    *s = (struct said){.signature = (const uint8_t *)data,
                       .key = (const uint8_t *)data + PAIR_SIGNATURE,
                       .text = {data + HEAD, len - HEAD},
                       .kind = string(root, "kind"),
                       .hub = string(root, "hub"),
                       .boot = string(root, "boot"),
                       .to = string(root, "to"),
                       .nonce = string(root, "nonce"),
                       .re = string(root, "re"),
                       .go = yyjson_is_true(yyjson_obj_get(root, "go")),
                       .age_ms = number(root, "age_ms"),
                       .said = number(root, "said"),
                       .version = number(root, "version"),
                       .from = number(root, "from"),
                       .part = number(root, "part"),
                       .parts = number(root, "parts"),
                       .peers = yyjson_obj_get(root, "peers"),
                       .gone = yyjson_obj_get(root, "gone")};
    return s->kind.p && s->hub.p && is_hex(s->boot) && s->hub.n <= HUB_NAME_MAX &&
           !memchr(s->hub.p, 0, s->hub.n) && hub_name_good(s->hub.p);
}

/* Once in a while, whoever they are. */
static void log_stranger(struct cluster *cl, const struct said *s)
{
    char text[HUB_NAME_MAX + 100];
    alk_log_event e = {.size = sizeof e, .level = ALK_LOG_WARN, .event = "cluster.refused"};

    if (cl->d->now < cl->quiet_until)
        return;
    cl->quiet_until = cl->d->now + WARN_EVERY;
    snprintf(text, sizeof text, "%s: no peer of that name has its key and the scope " HUB_SCOPE,
             s->hub.p);
    e.message = text;
    node_log(cl->d->node, &e);
}

/* By the key of a peer of that name, which may be a hub: a spoke that got at the bus could take the
 * calls to others. Of our own name our key is good as well. */
static bool prove(struct cluster *cl, const struct said *s, struct credential **by)
{
    *by = NULL;
    if (str_is(s->hub, cl->name) && !memcmp(s->key, pair_identity_public(cl->identity), PAIR_KEY))
        return true;
    if (!pairs_prove(cl->pairs, s->key, s->hub.p, by) &&
        alk_identity_has_scope((*by)->who, HUB_SCOPE, strlen(HUB_SCOPE)))
        return true;
    credential_unref(*by);
    *by = NULL;
    log_stranger(cl, s);
    return false;
}

/* ---- a hub of our own name ------------------------------------------------------------------- */

static void refuse(struct cluster *cl)
{
    alk_log_event e = {.size = sizeof e,
                       .level = ALK_LOG_ERROR,
                       .event = "cluster.refused",
                       .message = "another hub has this name"};

    cl->state = CLUSTER_REFUSED;
    timer_clear(&cl->d->schedule, &cl->joining);
    while (!list_empty(&cl->list))
        other_free(container_of(cl->list.next, struct other, link));
    pairs_bus_state(cl->pairs, false);
    node_log(cl->d->node, &e);
    if (cl->on_joined)
        cl->on_joined(cl->ud, false);
}

/* Of two hubs with one name the younger goes. How old the other is, is as of when it has said so: the
 * two could differ over who is older. So the one with the smaller boot decides, once for each other
 * boot, and tells. Only what answers to our nonce is a reason to go, as the rest may be of the
 * past. */
static void on_name(struct cluster *cl, const struct said *s)
{
    bool ours = memcmp(cl->boot, s->boot.p, s->boot.n) < 0;
    bool answers = str_is(s->re, cl->nonce);
    bool go = ours && (str_is(s->boot, cl->told) || (cl->d->now - cl->begun) / MILLI >= s->age_ms);

    if (!is_hex(s->nonce))
        return;
    if (go)
        memcpy(cl->told, s->boot.p, s->boot.n);
    if (answers && !go && (ours || s->go))
        refuse(cl);
    else if (ours || !s->go)
        say_name(cl, s->nonce.p, go);
}

/* Its own messages come back to each hub, but not to here. */
static void same_name(struct cluster *cl, const struct said *s)
{
    if (cl->state == CLUSTER_REFUSED || str_is(s->kind, "leave"))
        return;
    if (str_is(s->kind, "name")) {
        on_name(cl, s);
    } else if (cl->d->now >= cl->named + SECOND) {
        cl->named = cl->d->now;
        say_name(cl, "", false);
    }
}

/* ---- others ---------------------------------------------------------------------------------- */

void hear_state_of(struct other *h)
{
    struct cluster *cl = h->cl;

    if (!cluster_random(cl->d->node->host, h->nonce))
        return;
    h->asked = cl->d->now;
    h->part = 0;
    say_ask(cl, h->name, h->nonce);
}

/* false: out of memory. What is no peer is left out. */
static bool add_peers(struct other *h, yyjson_val *peers)
{
    yyjson_val *v;
    size_t i, n;

    yyjson_arr_foreach(peers, i, n, v)
    {
        struct str id = json_string(yyjson_arr_get(v, 0)), hash = json_string(yyjson_arr_get(v, 1));

        if (id.p && hash.p && peer_id_valid(id.p, id.n) && (!hash.n || is_hex(hash)) &&
            !other_serves(h, id, hash))
            return false;
    }
    return true;
}

static void copy_hex(char to[HEX_MAX], struct str from)
{
    memcpy(to, from.p, from.n);
    to[from.n] = 0;
}

static bool is_past(const struct other *h, struct str boot)
{
    for (size_t i = 0; i < PAST_BOOTS; i++) {
        if (str_is(boot, h->past[i]))
            return true;
    }
    return false;
}

/* That start of it is over: what is said of it from here on is said by somebody else. */
static void boot_over(struct other *h, struct str boot)
{
    if (boot.n && !is_past(h, boot))
        copy_hex(h->past[h->pasts++ % PAST_BOOTS], boot);
}

/* Parts come in their order, or all of it is asked for again. Those that were asked for are not
 * counted against the hub, which may have many. What was known of an earlier start of it stays
 * until all of them are here. */
static void on_state(struct other *h, const struct said *s)
{
    if (!*h->nonce || !str_is(s->nonce, h->nonce) || s->part != h->part || s->part >= s->parts)
        return;
    if (s->part && (!str_is(s->boot, h->boot) || s->version != h->coming))
        return;
    if (!s->part) {
        if (!str_is(s->boot, h->boot)) {
            boot_over(h, str_of(h->boot));
            h->version = 0;
            h->question = s->said;
        }
        if (!str_is(s->boot, h->word))
            boot_over(h, str_of(h->word));
        *h->word = 0;
        copy_hex(h->boot, s->boot);
        h->coming = s->version;
        h->said = s->said;
        h->round++;
    }
    bucket_give(&h->bucket, HUB_PER_SECOND);
    h->heard = h->asked = h->cl->d->now;
    h->part++;
    if (!add_peers(h, s->peers)) {
        other_forget(h, "is given up, out of memory");
        return;
    }
    if (h->part < s->parts)
        return;
    *h->nonce = 0;
    h->version = h->coming;
    other_sweep(h);
    if (!h->here)
        cluster_tell(h, "is here");
    h->here = true;
    pairs_heard(h->cl->pairs, h->name);
}

static void on_change(struct other *h, const struct said *s)
{
    yyjson_val *v;
    size_t i, n;

    if (*h->nonce)
        return; /* the state that comes has it, or not, and then the next one tells */
    if (s->from != h->version || !add_peers(h, s->peers)) {
        hear_state_of(h);
        return;
    }
    yyjson_arr_foreach(s->gone, i, n, v) other_lost(h, json_string(v));
    h->version = s->version;
}

/* The first word of a start of it is a reason to ask, and to let it know that we are here. */
static void on_first_word(struct other *h, struct str boot)
{
    struct cluster *cl = h->cl;

    if (*h->nonce || is_past(h, boot))
        return;
    copy_hex(h->word, boot);
    hear_state_of(h);
    if (cl->state == CLUSTER_JOINED && cl->beat.node.key > cl->d->now + SECOND)
        timer_set(&cl->d->schedule, &cl->beat, cl->d->now + SECOND);
}

static void on_announced(struct other *h, const struct said *s)
{
    bool leaves = str_is(s->kind, "leave"), changes = str_is(s->kind, "change");

    if (!leaves && !changes && !str_is(s->kind, "beat"))
        return;
    if (!str_is(s->boot, h->boot)) {
        if (!leaves)
            on_first_word(h, s->boot);
        return;
    }
    if (s->said <= h->said)
        return;
    h->said = s->said;
    h->heard = h->cl->d->now;
    if (leaves) {
        other_forget(h, "has left");
        boot_over(h, s->boot);
    } else if (changes)
        on_change(h, s);
    else if (s->version != h->version && !*h->nonce)
        hear_state_of(h);
}

/* A question of a start that we do not know may be of the past. */
static void on_ask(struct other *h, const struct said *s)
{
    struct cluster *cl = h->cl;
    bool knows = str_is(s->boot, h->boot);

    if (cl->state != CLUSTER_JOINED || !str_is(s->kind, "ask") || !is_hex(s->nonce) ||
        (knows && s->said <= h->question) ||
        cl->d->now < h->answered + (knows ? ANSWER_EVERY : ANSWER_STRANGE))
        return;
    if (knows)
        h->question = s->said;
    h->answered = cl->d->now;
    say_state(cl, h->name, s->nonce.p);
}

static void take(struct other *h, const char *subject, const struct said *s, struct credential *by)
{
    struct cluster *cl = h->cl;

    credential_unref(h->by);
    h->by = credential_ref(by);
    if (!strcmp(subject, cl->announce))
        on_announced(h, s);
    else if (!str_is(s->to, cl->name))
        cl->dropped++;
    else if (!strcmp(subject, cl->ask))
        on_ask(h, s);
    else if (str_is(s->kind, "state"))
        on_state(h, s);
}

void hear(struct cluster *cl, const char *subject, const void *data, size_t len)
{
    struct credential *by = NULL;
    struct other *h = NULL;
    struct said s = {.signature = NULL};
    bool good = read_said(cl, data, len, &s), twin;

    /* What we have said ourselves. */
    if (good && str_is(s.hub, cl->name) && str_is(s.boot, cl->boot))
        return;
    if (cl->state == CLUSTER_REFUSED)
        return;
    good = good && prove(cl, &s, &by);
    twin = good && str_is(s.hub, cl->name);
    if (good && !twin)
        h = other_get(cl, s.hub.p);
    good = good && (twin ? bucket_take(&cl->twins, TWINS_PER_SECOND, cl->d->now)
                         : h && bucket_take(&h->bucket, HUB_PER_SECOND, cl->d->now));
    if (!good || !pair_verify(s.key, s.text, s.signature))
        cl->dropped++;
    else if (twin)
        same_name(cl, &s);
    else
        take(h, subject, &s, by);
    credential_unref(by);
}
