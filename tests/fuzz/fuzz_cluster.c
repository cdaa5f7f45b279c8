/* Fuzzes what a hub of a cluster hears: announcements, questions, states, and what it fetches.
 *
 * The input is lines. The first character says what happens: a hub that is known says something, by
 * the rest of the line, on one of the subjects (the head, with what must be right, is put before
 * it, and it is signed); so does one with our own name; a stranger says raw bytes; the pair with a
 * hub is there, answers, or goes; an own peer comes or goes; time passes; the bus goes and comes;
 * memory fails; a hub is no peer any more, or is again. It must hold: the directory and the peer
 * table agree; what is held is bounded; in the end a hub that says its state is known by just that;
 * and all memory comes back. */
#include "adapt/cluster_int.h"
#include "base/host.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MUST(x)                                                                                    \
    do {                                                                                           \
        if (!(x)) {                                                                                \
            fprintf(stderr, "%s:%d: %s does not hold\n", __FILE__, __LINE__, #x);                  \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

#define SPEAKERS 3 /* b, c, and another a */
#define OWN_PEERS 4
#define HELD_MAX 16000000u

static const char *const names[SPEAKERS] = {"b", "c", "a"};
static const char *const boots[2] = {"00112233445566778899aabbccddeeff",
                                     "ffeeddccbbaa99887766554433221100"};

static struct {
    struct bus bus;
    struct cluster *cl;
    alk_dispatcher *d;
    uint64_t now, said;
    long fail_in;
    size_t live, bytes;
    int subscribed;
    bool failed;
    alk_connection *own[OWN_PEERS], *pair[2];
    char request[2][64]; /* the id of the last one that went out by the pair */
} f;

static alk_node *node;
static alk_identities *known;
static struct pair_identity *keys[SPEAKERS];
static char entries[2][300];
static uint64_t noise_state;

/* ---- what the library is given ----------------------------------------------------------------- */

static void *counting_realloc(void *ud, void *p, size_t n)
{
    size_t *block = p ? (size_t *)p - 2 : NULL;

    (void)ud;
    if (n && f.fail_in && !--f.fail_in) {
        f.failed = true;
        return NULL;
    }
    f.bytes -= block ? *block : 0;
    f.live -= block != NULL;
    if (!n) {
        free(block);
        return NULL;
    }
    block = realloc(block, n + 2 * sizeof *block);
    MUST(block);
    *block = n;
    f.bytes += n;
    f.live++;
    return block + 2;
}

/* The same in each run. */
static int steady(void *out, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        noise_state = noise_state * 6364136223846793005u + 1442695040888963407u;
        ((uint8_t *)out)[i] = (uint8_t)(noise_state >> 56);
    }
    return 0;
}

static int publish(struct bus *b, const char *subject, const void *data, size_t len)
{
    (void)b;
    MUST(*subject && data && len && len <= SAID_MAX);
    return f.cl && !f.cl->up ? ALK_ECLOSED : ALK_OK;
}

static int subscribe(struct bus *b, const char *subject)
{
    (void)b;
    (void)subject;
    f.subscribed++;
    return ALK_OK;
}

static void unsubscribe(struct bus *b, const char *subject)
{
    (void)b;
    (void)subject;
    f.subscribed--;
}

static const struct bus_ops bus_ops = {
    .publish = publish, .subscribe = subscribe, .unsubscribe = unsubscribe};

/* ---- connections ------------------------------------------------------------------------------- */

static int on_send(void *ud, uint64_t stream, const char *envelope, size_t len)
{
    char *id = ud;
    const char *at = memmem(envelope, len, "\"id\":\"", 6), *end = envelope + len;

    (void)stream;
    if (id && at && memmem(envelope, len, "call.requested", 14))
        snprintf(id, 64, "%.*s",
                 (int)((const char *)memchr(at + 6, '"', (size_t)(end - at - 6)) - at - 6), at + 6);
    return ALK_OK;
}

static void on_close(void *ud, int code)
{
    (void)ud;
    (void)code;
}

static alk_connection *open_connection(const char *who, char *id)
{
    const alk_link link = {.size = sizeof link, .send = on_send, .close = on_close, .ud = id};
    alk_connection_options o = {.size = sizeof o, .kind = ALK_KIND_PEER, .no_auto_import = 1};
    alk_connection *c = NULL;
    char json[100];
    alk_identity *identity;

    snprintf(json, sizeof json, "{\"id\":\"%s\",\"scopes\":[]}", who);
    identity = alk_identity_new(json, strlen(json));
    MUST(identity);
    o.identity = identity;
    if (alk_connection_open(&c, f.d, &link, &o))
        c = NULL;
    alk_identity_unref(identity);
    return c;
}

static void close_connection(alk_connection **c)
{
    if (*c) {
        alk_connection_lost(*c);
        alk_connection_unref(*c);
    }
    *c = NULL;
}

static void toggle_own(unsigned i)
{
    static const char *const ids[OWN_PEERS] = {"p0", "p1", "own2", "own3"};
    alk_operation op;

    if (f.own[i]) {
        close_connection(&f.own[i]);
        return;
    }
    f.own[i] = open_connection(ids[i], NULL);
    alk_operation_init(&op, sizeof op);
    op.name = "t/query";
    if (f.own[i] && i % 2)
        alk_connection_register_imported(f.own[i], &op, 1);
}

static struct other *hub(int i)
{
    return other_find(f.cl, str_of(names[i]));
}

static void pair_goes(int i)
{
    if (!f.pair[i])
        return;
    if (hub(i))
        other_paired(hub(i), NULL);
    close_connection(&f.pair[i]);
}

static void pair_comes(int i)
{
    pair_goes(i);
    if (!hub(i) || hub(i)->conn)
        return;
    f.pair[i] = open_connection("some-hub", f.request[i]);
    if (f.pair[i])
        other_paired(hub(i), f.pair[i]);
}

/* Of what was asked for last, for the set that is fetched. */
static void pair_answers(int i, struct str rest)
{
    char text[4000];
    struct other *h = hub(i);
    int n;

    if (!f.pair[i] || !h || !h->fetching)
        return;
    n = snprintf(text, sizeof text,
                 "{\"type\":\"call.responded\",\"id\":\"%s\",\"payload\":{\"output\":{\"hash\":"
                 "\"%s\"%.*s}}}",
                 f.request[i], h->fetching->hash, (int)rest.n, rest.p);
    if (n < (int)sizeof text && alk_connection_feed(f.pair[i], 0, text, (size_t)n) < 0)
        return;
}

/* ---- words ------------------------------------------------------------------------------------- */

static void hear_bytes(const char *subject, const void *data, size_t len)
{
    void *copy;

    if (!f.cl->up)
        return;
    copy = malloc(len + !len);
    MUST(copy);
    memcpy(copy, data, len);
    f.bus.on_message(f.bus.ud, subject, copy, len);
    free(copy);
}

static const char *subject_of(unsigned i)
{
    const char *const subjects[] = {f.cl->announce, f.cl->ask, f.cl->state_subject};

    return subjects[i % 3];
}

static void say_text(int key, const char *subject, struct str text)
{
    static uint8_t message[PAIR_SIGNATURE + PAIR_KEY + 4000];

    MUST(pair_sign(keys[key], text, message));
    memcpy(message + PAIR_SIGNATURE, pair_identity_public(keys[key]), PAIR_KEY);
    memcpy(message + PAIR_SIGNATURE + PAIR_KEY, text.p, text.n);
    hear_bytes(subject, message, PAIR_SIGNATURE + PAIR_KEY + text.n);
}

static void say(int who, unsigned boot, unsigned subject, struct str rest)
{
    const struct other *h = who < 2 ? hub(who) : NULL;
    char text[4000];
    int n = snprintf(
        text, sizeof text,
        "{\"hub\":\"%s\",\"boot\":\"%s\",\"to\":\"a\",\"nonce\":\"%s\",\"said\":%llu%.*s}",
        names[who], boots[boot % 2], h && *h->nonce ? h->nonce : "0123456789abcdef0123456789abcdef",
        (unsigned long long)++f.said, (int)rest.n, rest.p);

    if (n < (int)sizeof text)
        say_text(who, subject_of(subject), (struct str){text, (size_t)n});
}

static void know(int which)
{
    char json[1000];

    snprintf(json, sizeof json, "{\"peers\":[%s%s%s]}", which & 1 ? entries[0] : "",
             which == 3 ? "," : "", which & 2 ? entries[1] : "");
    MUST(!alk_identities_load(known, json, strlen(json), 0, NULL, NULL, 0));
}

/* ---- what must hold ---------------------------------------------------------------------------- */

static void check(void)
{
    size_t peers = 0;

    list_each(l, &f.cl->list)
    {
        struct other *h = container_of(l, struct other, link);
        size_t sets = 0, served = 0, n = 0;

        list_each(e, &h->entry_list)
        {
            const struct entry *x = container_of(e, struct entry, link);

            MUST(x->m->of && x->m->hub == h->label);
            MUST(x->m->sets[1] == (x->set ? x->set->shared.ops : NULL));
            served += x->set != NULL;
            n++;
        }
        MUST(n == h->entries.count);
        MUST(!n || *h->boot);
        peers += n;
        sets = h->sets.count;
        MUST(sets <= served && sets <= HUB_SETS_MAX);
        MUST(!h->fetching || h->fetching->made);
        MUST(!h->fetching || h->conn);
    }
    MUST(peers == f.cl->peers);
    MUST(f.bytes < HELD_MAX);
}

static void turn(void)
{
    int turns = 0;

    while (alk_dispatcher_turn(f.d, f.now) <= f.now)
        MUST(++turns < 10000);
    check();
}

static void pass(uint64_t ms)
{
    for (uint64_t step; ms; ms -= step) {
        step = ms < 200 ? ms : 200;
        f.now += step * MILLI;
        turn();
    }
}

/* ---- one run ----------------------------------------------------------------------------------- */

static void line(struct str s)
{
    char what = s.p[0];
    struct str rest = {s.p + 1, s.n - 1};
    unsigned n = rest.n ? (uint8_t)rest.p[0] : 0;

    if (what >= 'A' && what <= 'R') /* who, boot, subject */
        say((what - 'A') % 3, (unsigned)(what - 'A') / 9, (unsigned)(what - 'A') / 3, rest);
    else if (what == 's')
        hear_bytes(subject_of(n), rest.p, rest.n);
    else if (what == 'w')
        say_text(n % SPEAKERS, subject_of(n / 4), rest);
    else if (what == 'p')
        pair_comes(n & 1);
    else if (what == 'g')
        pair_goes(n & 1);
    else if (what == 'b' || what == 'c')
        pair_answers(what - 'b', rest);
    else if (what == 'o')
        toggle_own(n % OWN_PEERS);
    else if (what == 't')
        pass(n * 100);
    else if (what == 'u')
        f.bus.on_state(f.bus.ud, n & 1, n & 1 ? NULL : "gone");
    else if (what == 'm')
        f.fail_in = (long)n + 1;
    else if (what == 'k')
        know(n & 3);
    turn();
}

static void make_node(void)
{
    static struct host host;
    static struct mem own;
    char pem[200], print[ALK_TLS_FINGERPRINT];
    alk_registry *reg = alk_registry_new();
    alk_identity_provider provider;
    alk_node_options no;

    host = *host_default();
    host.random = steady;
    mem_init(&own, NULL, NULL);
    for (int i = 0; i < SPEAKERS; i++) {
        const char *body[] = {"IAEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEB",
                              "IAICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgIC",
                              "IAMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMD"};

        snprintf(pem, sizeof pem,
                 "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIE%s\n-----END PRIVATE KEY-----\n",
                 body[i]);
        MUST(!pair_identity_new(&keys[i], &own, pem, strlen(pem)));
        pair_fingerprint(pair_identity_public(keys[i]), print);
        if (i < 2)
            snprintf(entries[i], sizeof entries[i],
                     "{\"peer_id\":\"%s\",\"fingerprints\":[\"%s\"],\"scopes\":[\"peers:*\"]}",
                     names[i], print);
    }
    known = alk_identities_new();
    MUST(known && reg && !alk_registry_freeze(reg));
    know(3);
    alk_identities_provider(known, &provider, sizeof provider);
    alk_node_options_init(&no, sizeof no);
    no.realloc = counting_realloc;
    no.identities = &provider;
    MUST(!node_new(&node, reg, &no, &host));
    alk_registry_unref(reg);
}

static void begin(void)
{
    struct cluster_options o = {.bus = &f.bus, .name = "a", .prefix = "x"};

    if (!node)
        make_node();
    know(3);
    memset(&f, 0, sizeof f);
    noise_state = 1;
    o.identity = keys[2];
    f.bus.ops = &bus_ops;
    f.now = 1000 * MILLI;
    MUST(!alk_dispatcher_new(&f.d, node));
    alk_dispatcher_turn(f.d, f.now);
    MUST(!cluster_new(&f.cl, f.d, &o));
    f.bus.on_state(f.bus.ud, true, NULL);
    pass(2200);
    MUST(f.cl->state == CLUSTER_JOINED);
}

/* However it went, what b says in the end is what is known of it. */
static void recover(void)
{
    struct other *h;

    f.fail_in = 0;
    know(3);
    if (!f.cl->up)
        f.bus.on_state(f.bus.ud, true, NULL);
    for (int i = 0; i < OWN_PEERS; i++)
        close_connection(&f.own[i]);
    pair_goes(0);
    pair_goes(1);
    pass(70000);
    MUST(!f.cl->peers || f.cl->state != CLUSTER_JOINED);
    if (f.cl->state != CLUSTER_JOINED)
        return;
    say(0, 0, 0, str_of(",\"kind\":\"beat\",\"version\":5"));
    say(0, 0, 2,
        str_of(",\"kind\":\"state\",\"version\":5,\"part\":0,\"parts\":1,"
               "\"peers\":[[\"p1\",\"\"],[\"p2\",\"0123456789abcdef0123456789abcdef\"]]"));
    turn();
    h = hub(0);
    MUST(h && f.cl->peers == 2 && h->entries.count == 2 && h->sets.count == 1 && !*h->nonce);
    pair_comes(0);
    pass(1200);
    MUST(h->fetching);
    pair_answers(0, str_of(",\"operations\":[{\"name\":\"t/echo\",\"op_type\":\"query\"}]"));
    turn();
    MUST(!h->fetching && list_empty(&h->wanted));
    pair_goes(0);
}

static void finish(void)
{
    pair_goes(0);
    pair_goes(1);
    cluster_close(f.cl);
    f.cl = NULL;
    MUST(f.subscribed == 0);
    alk_dispatcher_turn(f.d, f.now);
    alk_dispatcher_free(f.d);
    MUST(f.live == 0 && f.bytes == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *p = (const char *)data, *end = p + size;

    if (size > 3000)
        return 0;
    begin();
    while (p < end) {
        const char *stop = memchr(p, '\n', (size_t)(end - p));
        size_t n = (size_t)((stop ? stop : end) - p);

        if (n)
            line((struct str){p, n});
        p += n + 1;
    }
    recover();
    finish();
    return 0;
}
