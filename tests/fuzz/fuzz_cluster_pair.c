/* Fuzzes pairs of hubs: two hubs, and a bus on which the input decides what becomes of each message.
 *
 * The input is commands: a hub wants the other, calls it, ends a call or its connection; the oldest
 * or another message arrives, is lost, arrives twice, or changed; one that was said long ago is said
 * again; a stranger says raw bytes, or a hub bytes that it seals; time passes; the bus goes away,
 * comes back, refuses; memory fails. It must hold: up and gone are told in turn; each call ends
 * once, and is done at most once; what is held is bounded; once the bus is good again, both hubs
 * have the same pair, and it carries calls; and all memory comes back. */
#include "adapt/cluster_pair_int.h"
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

#define MS UINT64_C(1000000)
#define PENDING_MAX 64
#define CALLS_MAX 60
#define HELD_MAX 16000000u

struct message {
    int from;
    char subject[SUBJECT_MAX];
    uint8_t *data;
    size_t len;
};

struct end {
    struct bus bus;
    struct fuzz *f;
    struct pairs *p;
    alk_dispatcher *d;
    uint64_t now;
    alk_connection *conn;
    char subjects[200][SUBJECT_MAX];
    int subscribed, refuses;
    int done; /* calls that ran here */
    bool up;  /* the bus */
};

struct fuzz {
    struct end end[2];
    struct message pending[PENDING_MAX], old[PENDING_MAX];
    int count, kept;
    long fail_in;
    size_t live, bytes;
    bool failed, cheated; /* cheated: a hub has said what it should not */
    int calls, ended;
    alk_call *open[CALLS_MAX]; /* references; NULL: ended */
    const uint8_t *in;
    size_t n;
};

static struct fuzz *f_now;
static alk_node *nodes[2];
static struct pair_identity *identities[2];
static alk_identities *known;
static uint64_t noise_state;

static const char *const names[] = {"a", "b"};
static const char *const keys[] = {
    "-----BEGIN PRIVATE "
    "KEY-----\nMC4CAQAwBQYDK2VwBCIEIAEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEB\n"
    "-----END PRIVATE KEY-----\n",
    "-----BEGIN PRIVATE "
    "KEY-----\nMC4CAQAwBQYDK2VwBCIEIAICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgIC\n"
    "-----END PRIVATE KEY-----\n",
};

/* ---- what the library is given ----------------------------------------------------------------- */

static void *counting_realloc(void *ud, void *p, size_t n)
{
    struct fuzz *f = f_now;
    size_t *block = p ? (size_t *)p - 2 : NULL;

    (void)ud;
    if (n && f->fail_in && !--f->fail_in) {
        f->failed = true;
        return NULL;
    }
    f->bytes -= block ? *block : 0;
    f->live -= block != NULL;
    if (!n) {
        free(block);
        return NULL;
    }
    block = realloc(block, n + 2 * sizeof *block);
    MUST(block);
    *block = n;
    f->bytes += n;
    f->live++;
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

static int serve(alk_call *call, void *ud)
{
    struct fuzz *f = f_now;
    size_t n;
    const char *text = alk_value_text(alk_call_input(call), &n);

    f->end[*(int *)ud].done++;
    return text ? alk_call_reply(call, text, n) : ALK_ENOMEM;
}

/* ---- the bus ----------------------------------------------------------------------------------- */

static int publish(struct bus *b, const char *subject, const void *data, size_t len)
{
    struct end *e = container_of(b, struct end, bus);
    struct fuzz *f = e->f;
    struct message *m = &f->pending[f->count];

    if (!e->up)
        return ALK_ECLOSED;
    if (e->refuses) {
        e->refuses--;
        return ALK_EAGAIN;
    }
    if (f->count == PENDING_MAX)
        return ALK_EAGAIN;
    m->from = (int)(e - f->end);
    snprintf(m->subject, sizeof m->subject, "%s", subject);
    m->data = malloc(len);
    MUST(m->data && len);
    memcpy(m->data, data, len);
    m->len = len;
    f->count++;
    return ALK_OK;
}

static int find(const struct end *e, const char *subject)
{
    for (int i = 0; i < e->subscribed; i++) {
        if (!strcmp(e->subjects[i], subject))
            return i;
    }
    return -1;
}

static int subscribe(struct bus *b, const char *subject)
{
    struct end *e = container_of(b, struct end, bus);

    MUST(e->subscribed < 200 && find(e, subject) < 0);
    snprintf(e->subjects[e->subscribed++], SUBJECT_MAX, "%s", subject);
    return ALK_OK;
}

static void unsubscribe(struct bus *b, const char *subject)
{
    struct end *e = container_of(b, struct end, bus);
    int i = find(e, subject);

    MUST(i >= 0);
    memmove(e->subjects[i], e->subjects[--e->subscribed], SUBJECT_MAX);
}

static const struct bus_ops bus_ops = {
    .publish = publish, .subscribe = subscribe, .unsubscribe = unsubscribe};

static void say(struct fuzz *f, const char *subject, const void *data, size_t len)
{
    for (int i = 0; i < 2; i++) {
        struct end *e = &f->end[i];
        void *copy;

        if (!e->up || find(e, subject) < 0)
            continue;
        copy = malloc(len + !len);
        MUST(copy);
        memcpy(copy, data, len);
        pairs_message(e->p, subject, copy, len);
        free(copy);
    }
}

/* Out of those that wait; some are remembered. */
static struct message take(struct fuzz *f, int i)
{
    struct message m = f->pending[i];

    memmove(&f->pending[i], &f->pending[i + 1], (size_t)(--f->count - i) * sizeof f->pending[0]);
    return m;
}

static void done_with(struct fuzz *f, struct message *m)
{
    struct message *slot = &f->old[f->kept++ % PENDING_MAX];

    free(slot->data);
    *slot = *m;
}

/* ---- events ------------------------------------------------------------------------------------ */

static bool wanted(void *ud, const char *name)
{
    (void)ud;
    (void)name;
    return true;
}

static void on_up(void *ud, const char *name, alk_connection *c)
{
    struct end *e = ud;

    MUST(!e->conn && c->closing < 0 && !strcmp(name, names[e == e->f->end]));
    e->conn = c;
}

static void on_gone(void *ud, const char *name, const char *why)
{
    struct end *e = ud;

    (void)name;
    MUST(e->conn && *why && e->conn->closing >= 0);
    MUST(!e->conn->running.count && !e->conn->pending.count);
    e->conn = NULL;
}

static void on_end(alk_call *call, int why, const alk_fault *fault, void *ud)
{
    struct fuzz *f = f_now;
    alk_call **slot = ud;

    (void)call;
    (void)fault;
    MUST(why == ALK_END_OK || why == ALK_END_FAULT || why == ALK_END_ABORTED);
    f->ended++;
    alk_call_unref(*slot);
    *slot = NULL;
}

static void turn(struct fuzz *f)
{
    for (int i = 0; i < 2; i++) {
        struct end *e = &f->end[i];
        int turns = 0;

        while (alk_dispatcher_turn(e->d, e->now) <= e->now)
            MUST(++turns < 10000);
    }
    MUST(f->bytes < HELD_MAX && f->end[0].subscribed < 70 && f->end[1].subscribed < 70);
}

static void pass(struct fuzz *f, uint64_t ms)
{
    for (uint64_t step; ms; ms -= step) {
        step = ms < 200 ? ms : 200;
        f->end[0].now += step * MS;
        f->end[1].now += step * MS;
        turn(f);
    }
}

/* ---- commands ---------------------------------------------------------------------------------- */

static uint8_t byte(struct fuzz *f)
{
    if (!f->n)
        return 0;
    f->n--;
    return *f->in++;
}

static void call(struct fuzz *f, struct end *e, uint8_t size)
{
    alk_call_options o = {.size = sizeof o, .on_end = on_end};
    static char text[65536];
    size_t n = (size_t)size * size;

    if (!e->conn || f->calls == CALLS_MAX)
        return;
    memset(text, 'x', n + 2);
    text[0] = text[n + 1] = '"';
    o.ud = &f->open[f->calls];
    if (!alk_connection_call(e->conn, "t/echo", 6, text, n + 2, &o, &f->open[f->calls]))
        f->calls++;
}

static void arrive(struct fuzz *f, uint8_t which, uint8_t how)
{
    struct message m;

    if (!f->count)
        return;
    m = take(f, which % f->count);
    if (how & 1)
        m.data[(how >> 2) * 7u % m.len] ^= (uint8_t)(1 << (how >> 5));
    say(f, m.subject, m.data, m.len);
    if (how & 2)
        say(f, m.subject, m.data, m.len);
    done_with(f, &m);
}

static struct pair *side(struct end *e)
{
    struct hub *h;

    list_each(l, &e->p->list)
    {
        h = container_of(l, struct hub, link);
        if (hub_up(h))
            return hub_up(h);
    }
    return NULL;
}

static void bytes(struct fuzz *f, struct end *e, uint8_t n, bool sealed)
{
    static const char control[2][8] = {"x.hub.a", "x.hub.b"};
    struct pair *x = side(e);
    const uint8_t *p;

    n = n < f->n ? n : (uint8_t)f->n;
    p = f->in;
    f->in += n;
    f->n -= n;
    if (!n)
        return;
    if (sealed && x) {
        f->cheated = true;
        link_say(x, p[0] % 12, (struct str){(const char *)p + 1, n - 1u}, str_of(""));
    } else {
        say(f, x ? x->to : control[p[0] & 1], p, n);
    }
}

static void bus_state(struct end *e, bool up)
{
    e->up = up;
    pairs_bus_state(e->p, up);
}

static void command(struct fuzz *f)
{
    uint8_t what = byte(f);
    struct end *e = &f->end[what >> 7];
    struct message m;

    switch (what % 20) {
    case 0:
    case 1:
        pairs_want(e->p, names[e == f->end]);
        break;
    case 2:
    case 3:
        call(f, e, byte(f));
        break;
    case 4:
        for (int i = byte(f); i; i--) {
            turn(f);
            arrive(f, 0, 0);
        }
        break;
    case 5:
    case 6:
    case 7:
        arrive(f, 0, 0);
        break;
    case 8:
        arrive(f, byte(f), 0);
        break;
    case 9:
        arrive(f, byte(f), byte(f));
        break;
    case 10:
        if (f->count) {
            m = take(f, byte(f) % f->count);
            done_with(f, &m);
        }
        break;
    case 11:
        m = f->old[byte(f) % PENDING_MAX];
        if (m.data)
            say(f, m.subject, m.data, m.len);
        break;
    case 12:
        bytes(f, e, byte(f), false);
        break;
    case 13:
        bytes(f, e, byte(f), true);
        break;
    case 14:
        pass(f, byte(f) * 8u);
        break;
    case 15:
        bus_state(e, byte(f) & 1);
        break;
    case 16:
        e->refuses = byte(f) % 8;
        break;
    case 17:
        f->fail_in = byte(f) + 1;
        break;
    case 18:
        if (e->conn)
            alk_connection_close(e->conn, byte(f) % 4);
        break;
    default:
        for (int i = 0; i < f->calls; i++) {
            if (f->open[i]) {
                alk_call_abort(f->open[i]);
                break;
            }
        }
    }
    turn(f);
}

/* ---- one run ----------------------------------------------------------------------------------- */

static void make_nodes(void)
{
    static struct fuzz maker;
    static int index[2] = {0, 1};
    static struct host host;
    struct mem mem;
    char json[500], print[2][ALK_TLS_FINGERPRINT];
    alk_identity_provider provider;

    f_now = &maker;
    host = *host_default();
    host.random = steady;
    mem_init(&mem, NULL, NULL);
    for (int i = 0; i < 2; i++) {
        static struct mem own;

        mem_init(&own, NULL, NULL);
        MUST(!pair_identity_new(&identities[i], &own, keys[i], strlen(keys[i])));
        pair_fingerprint(pair_identity_public(identities[i]), print[i]);
    }
    snprintf(json, sizeof json,
             "{\"peers\":[{\"peer_id\":\"a\",\"fingerprints\":[\"%s\"]},"
             "{\"peer_id\":\"b\",\"fingerprints\":[\"%s\"]}]}",
             print[0], print[1]);
    known = alk_identities_new();
    MUST(known && !alk_identities_load(known, json, strlen(json), 0, NULL, NULL, 0));
    alk_identities_provider(known, &provider, sizeof provider);
    for (int i = 0; i < 2; i++) {
        alk_registry *reg = alk_registry_new();
        alk_node_options no;
        alk_operation op;

        alk_operation_init(&op, sizeof op);
        op.name = "t/echo";
        op.type = ALK_MUTATION;
        op.handler = serve;
        op.ud = &index[i];
        MUST(reg && !alk_registry_add(reg, &op) && !alk_registry_freeze(reg));
        alk_node_options_init(&no, sizeof no);
        no.realloc = counting_realloc;
        no.identities = &provider;
        MUST(!node_new(&nodes[i], reg, &no, &host));
        alk_registry_unref(reg);
    }
}

static void begin(struct fuzz *f)
{
    static const struct pairs_events events = {wanted, on_up, on_gone};

    if (!nodes[0])
        make_nodes();
    memset(f, 0, sizeof *f);
    f_now = f;
    noise_state = 1;
    for (int i = 0; i < 2; i++) {
        struct end *e = &f->end[i];
        struct pairs_options o = {.bus = &e->bus,
                                  .name = names[i],
                                  .prefix = "x",
                                  .identity = identities[i],
                                  .events = &events,
                                  .ud = e};

        e->f = f;
        e->bus.ops = &bus_ops;
        e->now = (1000 + (uint64_t)i * 3600000) * MS;
        MUST(!alk_dispatcher_new(&e->d, nodes[i]));
        alk_dispatcher_turn(e->d, e->now);
        MUST(!pairs_new(&e->p, e->d, &o));
        bus_state(e, true);
    }
}

/* A good bus, for a while: what went wrong before has ended by then. */
static void recover(struct fuzz *f)
{
    int ended, done;

    f->fail_in = 0;
    for (int i = 0; i < 2; i++) {
        f->end[i].refuses = 0;
        if (!f->end[i].up)
            bus_state(&f->end[i], true);
    }
    for (int i = 0; i < 400 && (i < 40 || f->end[0].p->stats.up + f->end[1].p->stats.up < 2); i++) {
        pairs_want(f->end[0].p, "b");
        pairs_want(f->end[1].p, "a");
        pass(f, 100);
        while (f->count) {
            arrive(f, 0, 0);
            turn(f);
        }
    }
    MUST(f->end[0].conn && f->end[1].conn);
    MUST(f->ended == f->calls);
    f->calls = f->ended = 0;
    ended = f->ended;
    done = f->end[1].done;
    call(f, &f->end[0], 9);
    for (int i = 0; i < 20; i++) {
        turn(f);
        arrive(f, 0, 0);
    }
    MUST(f->ended == ended + 1 && f->end[1].done == done + 1);
}

static void finish(struct fuzz *f)
{
    for (int i = 0; i < 2; i++) {
        pairs_close(f->end[i].p);
        MUST(f->end[i].subscribed == 0);
        alk_dispatcher_turn(f->end[i].d, f->end[i].now);
        alk_dispatcher_free(f->end[i].d);
    }
    MUST(f->live == 0 && f->bytes == 0);
    for (int i = 0; i < PENDING_MAX; i++)
        free(f->old[i].data);
    while (f->count)
        free(f->pending[--f->count].data);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct fuzz f;

    if (size > 1000)
        return 0;
    begin(&f);
    f.in = data;
    f.n = size;
    while (f.n)
        command(&f);
    MUST(f.cheated || f.end[0].done + f.end[1].done <= f.calls);
    recover(&f);
    finish(&f);
    return 0;
}
