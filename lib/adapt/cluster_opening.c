/* How a pair is opened: OPEN to the hub's control subject, ACCEPT and CONFIRM to the subjects of the
 * two tokens.
 *
 * OPEN is not signed: anybody can say it in the name of a hub that is known. It costs a signature
 * and a record for a while, both bounded, and changes nothing that is there. A newer one pushes the
 * oldest record out, and hundreds in a second are answered, so that who says many keeps nobody from
 * opening. ACCEPT and CONFIRM sign all that was said before, with fresh nonces of both sides in it,
 * so that none is of use a second time.
 *
 * When both open at once, the hub of the smaller name goes on with its own attempt and ignores the
 * other's; the other answers, and gives its own up when CONFIRM comes. Once there is a pair, what is
 * older than it is of no use, and what was answered least of all: its CONFIRM may be on its way
 * still. */
#include "adapt/cluster_pair_int.h"

#include <stdio.h>

#define VERSION 1u
#define ANSWERED_NS (5 * SECOND) /* in which CONFIRM must come */
#define OPENED_NS (1 * SECOND)   /* an attempt */
#define VERIFY_MAX 8u            /* signatures that one opening is worth */
#define HUB_RATE (SECOND / 250)  /* one opening of a hub is answered, on average */
#define HUB_BURST 64u            /* and so many at once */
#define ALL_RATE (SECOND / 500)  /* likewise of all hubs */
#define ALL_BURST 250u
#define QUIET_NS (60 * SECOND) /* between two lines on one name */
#define WINDOW_MIN 16384u      /* of the other's side; less would make no progress */

/* Each with its NUL. */
static const char accept_label[] = "alknet hub pair 1: accept";
static const char confirm_label[] = "alknet hub pair 1: confirm";
static const char opener_label[] = "alknet hub pair 1: from the opener";
static const char answer_label[] = "alknet hub pair 1: from the other";

/* What OPEN and ACCEPT say. */
struct hello {
    struct str opener, other; /* names */
    const uint8_t *key, *nonce, *ephemeral, *token;
    uint32_t window, largest;
};

/* ---- writing and reading --------------------------------------------------------------------- */

static uint8_t *put(uint8_t *to, const void *from, size_t n)
{
    memcpy(to, from, n);
    return to + n;
}

static uint8_t *put_name(uint8_t *to, struct str name)
{
    *to++ = (uint8_t)name.n;
    return put(to, name.p, name.n);
}

static size_t write_hello(uint8_t *to, uint8_t type, const struct hello *h)
{
    uint8_t *p = to;

    *p++ = type;
    *p++ = VERSION;
    p = put_name(put_name(p, h->opener), h->other);
    p = put(put(p, h->key, PAIR_KEY), h->nonce, NONCE_BYTES);
    p = put(put(p, h->ephemeral, PAIR_KEY), h->token, TOKEN_BYTES);
    write_be(p, h->window, 4);
    write_be(p + 4, h->largest, 4);
    return (size_t)(p + 8 - to);
}

static bool take_name(struct str *name, const uint8_t **p, const uint8_t *end)
{
    size_t n = *p < end ? *(*p)++ : 0;
    char text[HUB_NAME_MAX + 1];

    if (!n || n > HUB_NAME_MAX || n > (size_t)(end - *p))
        return false;
    memcpy(text, *p, n);
    text[n] = 0;
    *name = (struct str){(const char *)*p, n};
    *p += n;
    return hub_name_good(text);
}

static bool read_hello(struct hello *h, uint8_t type, const uint8_t *p, size_t len)
{
    const uint8_t *end = p + len;

    if (len < 2 || p[0] != type || p[1] != VERSION)
        return false;
    p += 2;
    if (!take_name(&h->opener, &p, end) || !take_name(&h->other, &p, end) ||
        end - p != 2 * PAIR_KEY + NONCE_BYTES + TOKEN_BYTES + 8)
        return false;
    h->key = p;
    h->nonce = h->key + PAIR_KEY;
    h->ephemeral = h->nonce + NONCE_BYTES;
    h->token = h->ephemeral + PAIR_KEY;
    h->window = (uint32_t)read_be(h->token + TOKEN_BYTES, 4);
    h->largest = (uint32_t)read_be(h->token + TOKEN_BYTES + 4, 4);
    return h->window >= WINDOW_MIN && h->largest;
}

/* What is signed: the label, OPEN, and so much of ACCEPT. */
struct signed_text {
    char text[sizeof confirm_label + 2 * HELLO_MAX + PAIR_SIGNATURE];
};

static struct str text_to_sign(struct signed_text *t, const char *label, size_t label_len,
                               const struct opening *o, size_t accept_len)
{
    char *p = t->text;

    memcpy(p, label, label_len);
    memcpy(p + label_len, o->open, o->open_len);
    memcpy(p + label_len + o->open_len, o->accept, accept_len);
    return (struct str){p, label_len + o->open_len + accept_len};
}

static uint32_t largest(const struct pairs *p)
{
    uint32_t most = LIMIT(p->d->node, frame_bytes);
    size_t carried = p->bus->largest;

    return carried > PAIR_OVERHEAD && carried - PAIR_OVERHEAD < most
               ? (uint32_t)(carried - PAIR_OVERHEAD)
               : most;
}

/* Fills in what is ours, and keeps the ephemeral secret. false: no randomness, or out of memory. */
static bool speak(struct pair *x, uint8_t type, struct str opener, struct str other)
{
    struct opening *o = x->opening;
    struct pairs *p = x->all;
    uint8_t nonce[NONCE_BYTES], ephemeral[PAIR_KEY], token[TOKEN_BYTES];
    struct hello h = {.opener = opener,
                      .other = other,
                      .key = pair_identity_public(p->identity),
                      .nonce = nonce,
                      .ephemeral = ephemeral,
                      .token = token,
                      .window = PAIR_WINDOW,
                      .largest = largest(p)};

    if (p->d->node->host->random(nonce, sizeof nonce) || !pair_ephemeral(o->secret, ephemeral))
        return false;
    for (unsigned i = 0; i < TOKEN_BYTES; i++) {
        unsigned byte;

        sscanf(x->token + (size_t)2 * i, "%2x", &byte);
        token[i] = (uint8_t)byte;
    }
    if (type == MSG_OPEN)
        o->open_len = write_hello(o->open, type, &h);
    else
        o->accept_len = write_hello(o->accept, type, &h);
    return true;
}

/* What the other's hello is good for. */
static void heed(struct pair *x, const struct hello *h)
{
    uint32_t most = largest(x->all);

    pair_subject(x->all, x->to, x->hub->name, h->token);
    memcpy(x->key, h->key, PAIR_KEY);
    x->window = h->window;
    x->may_send = h->window;
    x->largest = h->largest < most ? h->largest : most;
}

/* ---- keys ------------------------------------------------------------------------------------ */

static struct pair_cipher *make_cipher(struct pair *x, const uint8_t *shared, struct str salt,
                                       const char *label, struct str names)
{
    char info[sizeof opener_label + 2 * (1 + HUB_NAME_MAX)];
    size_t n = strlen(label) + 1;
    uint8_t key[PAIR_KEY];
    struct pair_cipher *c = NULL;

    memcpy(info, label, n);
    memcpy(info + n, names.p, names.n);
    if (pair_derive(shared, salt, (struct str){info, n + names.n}, key))
        c = pair_cipher_new(&x->all->d->mem, key);
    mem_wipe(key, sizeof key);
    return c;
}

/* Both hellos are good. The opening is over. */
static bool make_keys(struct pair *x, bool opener)
{
    struct opening *o = x->opening;
    struct hello open, accept;
    uint8_t shared[PAIR_KEY];
    char salt[2 * NONCE_BYTES];
    struct str with = {salt, sizeof salt}, names;

    if (!read_hello(&open, MSG_OPEN, o->open, o->open_len) ||
        !read_hello(&accept, MSG_ACCEPT, o->accept, o->accept_len - PAIR_SIGNATURE) ||
        !pair_agree(o->secret, opener ? accept.ephemeral : open.ephemeral, shared))
        return false;
    memcpy(salt, open.nonce, NONCE_BYTES);
    memcpy(salt + NONCE_BYTES, accept.nonce, NONCE_BYTES);
    /* With their lengths, as they stand in OPEN. */
    names = (struct str){open.opener.p - 1, (size_t)((const char *)open.key - open.opener.p) + 1};
    x->seal = make_cipher(x, shared, with, opener ? opener_label : answer_label, names);
    x->open = make_cipher(x, shared, with, opener ? answer_label : opener_label, names);
    mem_wipe(shared, sizeof shared);
    opening_free(x);
    return x->seal && x->open;
}

void opening_free(struct pair *x)
{
    if (x->opening)
        mem_wipe(x->opening, sizeof *x->opening);
    mem_free(&x->all->d->mem, x->opening);
    x->opening = NULL;
}

/* ---- the opener ------------------------------------------------------------------------------ */

static int publish(struct pairs *p, const char *subject, const void *data, size_t n)
{
    return p->bus->ops->publish(p->bus, subject, data, n);
}

/* What fails is tried again by the hub's timer. */
void opening_begin(struct hub *h)
{
    struct pairs *p = h->all;
    struct pair *x = pair_new(h, PAIR_OPENED);
    char subject[SUBJECT_MAX];

    if (!x)
        return;
    timer_set(&p->d->schedule, &x->timer, p->d->now + OPENED_NS);
    snprintf(subject, sizeof subject, "%s.hub.%s", p->prefix, h->name);
    if (!speak(x, MSG_OPEN, str_of(p->name), str_of(h->name)) ||
        publish(p, subject, x->opening->open, x->opening->open_len))
        pair_free(x);
}

static bool confirm(struct pair *x)
{
    struct pairs *p = x->all;
    uint8_t message[1 + PAIR_SIGNATURE] = {MSG_CONFIRM};
    struct signed_text t;
    struct str text =
        text_to_sign(&t, confirm_label, sizeof confirm_label, x->opening, x->opening->accept_len);

    return pair_sign(p->identity, text, message + 1) && make_keys(x, true) &&
           !publish(p, x->to, message, sizeof message);
}

/* The names are compared with those of OPEN by what is signed, and here, as the key is looked up by
 * them. */
void opening_accept(struct pair *x, const uint8_t *data, size_t len)
{
    struct pairs *p = x->all;
    struct opening *o = x->opening;
    struct credential *by;
    struct signed_text t;
    struct hello h;

    if (len < PAIR_SIGNATURE || !read_hello(&h, MSG_ACCEPT, data, len - PAIR_SIGNATURE) ||
        !str_is(h.opener, p->name) || !str_is(h.other, x->hub->name) ||
        pairs_prove(p, h.key, x->hub->name, &by)) {
        p->stats.strange++;
        return;
    }
    credential_unref(by);
    memcpy(o->accept, data, len);
    o->accept_len = len;
    if (o->verified++ >= VERIFY_MAX ||
        !pair_verify(h.key,
                     text_to_sign(&t, accept_label, sizeof accept_label, o, len - PAIR_SIGNATURE),
                     data + len - PAIR_SIGNATURE)) {
        p->stats.strange++;
        return;
    }
    heed(x, &h);
    x->stage = PAIR_CONFIRMED;
    if (!confirm(x))
        pair_free(x);
}

/* ---- who is asked ---------------------------------------------------------------------------- */

/* A bucket is the time at which it is full again. */
static bool has_token(uint64_t full_at, uint64_t step, unsigned burst, uint64_t now)
{
    return full_at <= now + (burst - 1) * step;
}

static void take_token(uint64_t *full_at, uint64_t step, uint64_t now)
{
    *full_at = (*full_at > now ? *full_at : now) + step;
}

static void refuse(struct pairs *p, const char *name)
{
    alk_log_event e = {.size = sizeof e, .level = ALK_LOG_WARN, .event = "cluster.refused"};
    uint64_t hash = map_hash(p->d->node->seed, name, strlen(name));
    uint64_t *quiet = &p->quiet_until[hash % (sizeof p->quiet_until / sizeof *p->quiet_until)];
    char text[HUB_NAME_MAX + 64];

    p->stats.refused++;
    if (p->d->now < *quiet)
        return;
    *quiet = p->d->now + QUIET_NS;
    snprintf(text, sizeof text, "%s: not a key of the peer of that name", name);
    e.message = text;
    node_log(p->d->node, &e);
}

static bool answered_already(const struct hub *h, const uint8_t *data, size_t len)
{
    list_each(l, &h->pairs)
    {
        const struct pair *x = container_of(l, struct pair, of_hub);

        if (x->stage == PAIR_ANSWERED && x->opening->open_len == len &&
            !memcmp(x->opening->open, data, len))
            return true;
    }
    return false;
}

/* While our own attempt is under way, the smaller name's goes on. */
static bool ours_goes_first(const struct hub *h)
{
    return hub_attempt(h) && strcmp(h->all->name, h->name) < 0;
}

static bool may_answer(const struct hub *h)
{
    const struct pairs *p = h->all;

    return has_token(h->signatures, HUB_RATE, HUB_BURST, p->d->now) &&
           has_token(p->signatures, ALL_RATE, ALL_BURST, p->d->now);
}

static void drop_oldest_answered(struct hub *h)
{
    struct pair *oldest = NULL;
    unsigned n = 0;

    list_each(l, &h->pairs)
    {
        struct pair *x = container_of(l, struct pair, of_hub);

        if (x->stage != PAIR_ANSWERED)
            continue;
        if (!n++)
            oldest = x;
    }
    if (n >= PAIR_HALF_OPEN)
        pair_free(oldest);
}

static bool accept(struct pair *x)
{
    struct opening *o = x->opening;
    struct signed_text t;
    struct str text = text_to_sign(&t, accept_label, sizeof accept_label, o, o->accept_len);

    if (!pair_sign(x->all->identity, text, o->accept + o->accept_len))
        return false;
    o->accept_len += PAIR_SIGNATURE;
    return !publish(x->all, x->to, o->accept, o->accept_len);
}

static void answer(struct hub *h, const struct hello *hello, const uint8_t *data, size_t len)
{
    struct pairs *p = h->all;
    struct pair *x;

    drop_oldest_answered(h);
    x = pair_new(h, PAIR_ANSWERED);
    if (!x)
        return;
    take_token(&h->signatures, HUB_RATE, p->d->now);
    take_token(&p->signatures, ALL_RATE, p->d->now);
    timer_set(&p->d->schedule, &x->timer, p->d->now + ANSWERED_NS);
    memcpy(x->opening->open, data, len);
    x->opening->open_len = len;
    heed(x, hello);
    if (!speak(x, MSG_ACCEPT, hello->opener, hello->other) || !accept(x))
        pair_free(x);
}

void opening_open(struct pairs *p, const uint8_t *data, size_t len)
{
    struct credential *by;
    char name[HUB_NAME_MAX + 1];
    struct hello h;
    struct hub *hub;
    int rc;

    if (len > HELLO_MAX || !read_hello(&h, MSG_OPEN, data, len) || !str_is(h.other, p->name) ||
        str_is(h.opener, p->name)) {
        p->stats.strange++;
        return;
    }
    memcpy(name, h.opener.p, h.opener.n);
    name[h.opener.n] = 0;
    if (p->d->draining)
        return;
    rc = pairs_prove(p, h.key, name, &by);
    if (rc == ALK_ENOENT)
        refuse(p, name);
    if (rc)
        return;
    credential_unref(by);
    hub = hub_get(p, h.opener);
    if (!hub || ours_goes_first(hub) || answered_already(hub, data, len))
        return;
    if (may_answer(hub))
        answer(hub, &h, data, len);
    else
        p->stats.over++;
}

void opening_confirm(struct pair *x, const uint8_t *data, size_t len)
{
    struct opening *o = x->opening;
    struct signed_text t;

    if (ours_goes_first(x->hub))
        return;
    if (len != 1 + PAIR_SIGNATURE || data[0] != MSG_CONFIRM || o->verified++ >= VERIFY_MAX ||
        !pair_verify(x->key,
                     text_to_sign(&t, confirm_label, sizeof confirm_label, o, o->accept_len),
                     data + 1)) {
        x->all->stats.strange++;
        return;
    }
    if (!make_keys(x, false)) {
        pair_free(x);
        return;
    }
    link_open(x);
}
