/* Implements credential.h.
 *
 * A peer and a key of one name are two identities: a key has no fingerprint, takes no forwarded
 * calls and is no peer of the table. So who was one must not go on as the other. The flags of a
 * peer are rights like its scopes, and may change. */
#include "core/credential.h"

#include "base/swar.h"

#include <assert.h>
#include <string.h>

#define MINUTE (UINT64_C(60) * SECOND)

/* A credential is asked about each time and never remembered with its answer: the provider alone
 * knows what it is worth now. */
static uint32_t ask(const alk_node *n, uint8_t proof, struct str secret, alk_identity **out)
{
    const alk_identity_provider *p = &n->identities;
    uint32_t uid;

    /* A provider that says nothing leaves it so. */
    *out = NULL;
    if (!n->has_identities)
        return ALK_KIND_NONE;
    switch (proof) {
    case PROOF_TOKEN:
        return (uint32_t)p->by_token(p->ud, secret.p, secret.n, out);
    case PROOF_FINGERPRINT:
        return (uint32_t)p->by_fingerprint(p->ud, secret.p, secret.n, out);
    case PROOF_UID:
        memcpy(&uid, secret.p, sizeof uid);
        return p->by_uid ? (uint32_t)p->by_uid(p->ud, uid, out) : ALK_KIND_NONE;
    default:
        return p->by_peer ? (uint32_t)p->by_peer(p->ud, secret.p, secret.n, out) : ALK_KIND_NONE;
    }
}

static uint64_t generation(const alk_node *n)
{
    return n->has_identities ? n->identities.generation(n->identities.ud) : 0;
}

/* The generation is read before the provider is asked: what changes in between is asked about
 * again. */
static struct credential *make(struct alk_dispatcher *d, enum proof proof, struct str secret,
                               const alk_identity *who, uint32_t kind, uint64_t at)
{
    struct credential *c = mem_alloc(&d->mem, sizeof *c + secret.n + 1);

    if (!c)
        return NULL;
    memset(c, 0, sizeof *c);
    c->account = account_get(&d->accounts, true, who->id);
    if (!c->account) {
        mem_free(&d->mem, c);
        return NULL;
    }
    c->d = d;
    c->refs = 1;
    c->proof = (uint8_t)proof;
    c->who = alk_identity_ref(who);
    c->kind = kind;
    c->generation = at;
    c->len = secret.n;
    if (secret.n)
        memcpy(c->secret, secret.p, secret.n);
    c->secret[secret.n] = 0;
    list_init(&c->watchers);
    list_push(&d->credentials, &c->link);
    return c;
}

int credential_prove(struct credential **out, struct alk_dispatcher *d, enum proof proof,
                     struct str secret)
{
    uint64_t at = generation(d->node);
    alk_identity *who;
    uint32_t kind = ask(d->node, (uint8_t)proof, secret, &who);

    *out = NULL;
    if (!who)
        return ALK_ENOENT;
    *out = make(d, proof, secret, who, kind, at);
    alk_identity_unref(who);
    return *out ? ALK_OK : ALK_ENOMEM;
}

struct credential *credential_known(struct alk_dispatcher *d, enum proof proof, struct str secret,
                                    const alk_identity *who, uint32_t kind)
{
    return make(d, proof, secret, who, kind, d->generation);
}

struct credential *credential_ref(struct credential *c)
{
    c->refs++;
    return c;
}

void credential_unref(struct credential *c)
{
    if (!c || --c->refs)
        return;
    assert(list_empty(&c->watchers));
    list_del(&c->link);
    alk_identity_unref(c->who);
    account_unref(c->account);
    mem_wipe(c->secret, c->len);
    mem_free(&c->d->mem, c);
}

/* In constant time: the token that is held may be another's, behind one proxy. */
bool credential_is(const struct credential *c, struct str token)
{
    return c->proof == PROOF_TOKEN && c->len == token.n && swar_equal(c->secret, token.p, token.n);
}

/* Each watcher goes back to the list before it is told, so that it may take itself out, and others
 * of the list too. */
static void tell(struct credential *c)
{
    struct list due;

    list_init(&due);
    list_splice(&due, &c->watchers);
    while (!list_empty(&due)) {
        struct watcher *w = container_of(due.next, struct watcher, link);

        list_del(&w->link);
        list_push(&c->watchers, &w->link);
        w->changed(w, c->gone);
    }
}

/* The same id and kind with other rights is the same caller, and whoever holds the credential has
 * these rights from now on. */
static void ask_again(struct credential *c, uint64_t at)
{
    alk_identity *now;
    uint32_t kind;
    bool reflagged;

    if (c->generation == at || c->gone || c->proof == PROOF_VOUCHED)
        return;
    c->generation = at;
    kind = ask(c->d->node, c->proof, (struct str){c->secret, c->len}, &now);
    reflagged = kind != c->kind;
    c->gone = !now || !str_eq(now->id, c->who->id) || (kind & KIND_MASK) != (c->kind & KIND_MASK);
    if (c->gone) {
        alk_identity_unref(now);
    } else {
        alk_identity_unref(c->who);
        c->who = now;
        c->kind = kind;
    }
    if (c->gone || reflagged) {
        credential_ref(c);
        tell(c);
        credential_unref(c);
    }
}

bool credential_good(struct credential *c)
{
    if (!c)
        return true;
    ask_again(c, generation(c->d->node));
    return !c->gone;
}

void credential_watch(struct credential *c, struct watcher *w)
{
    list_push(&c->watchers, &w->link);
}

/* As in tell: any of them may be freed by what is told of another. */
void credentials_sweep(struct alk_dispatcher *d)
{
    uint64_t at = generation(d->node);
    struct list due;

    if (at == d->generation)
        return;
    d->generation = at;
    list_init(&due);
    list_splice(&due, &d->credentials);
    while (!list_empty(&due)) {
        struct credential *c = container_of(due.next, struct credential, link);

        list_del(&c->link);
        list_push(&d->credentials, &c->link);
        ask_again(c, at);
    }
}

/* Only who fails is counted, and only who fails hears of it: a good token is good from wherever it
 * comes, or one wrong client would lock out all others behind its address. */
bool credential_failed(struct alk_dispatcher *d, const char *address)
{
    uint32_t limit = LIMIT(d->node, auth_failures_per_minute);
    char key[ADDRESS_MAX_BYTES];

    COUNT(d, auth_failures);
    return !limit || !address ||
           rate_take(&d->node->failures, key, address_key(address, key), limit, MINUTE, d->now);
}
