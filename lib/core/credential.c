/* A peer and a key of one name are two identities: a key has no fingerprint, takes no forwarded
 * calls and is no peer of the table. So who was one must not go on as the other. The flags of a
 * peer are rights like its scopes, and may change. */
#include "core/credential.h"

/* A credential is asked about each time and never remembered with its answer: the provider alone
 * knows what it is worth now. */
static uint32_t prove(const alk_node *n, const struct credential *c, alk_identity **out)
{
    const alk_identity_provider *p = &n->identities;

    /* A provider that says nothing leaves it so. */
    *out = NULL;
    if (!n->has_identities)
        return ALK_KIND_NONE;
    return (uint32_t)(c->token.p
                          ? p->by_token(p->ud, c->token.p, c->token.n, out)
                          : p->by_fingerprint(p->ud, c->fingerprint.p, c->fingerprint.n, out));
}

enum credential_state credential_recheck(const alk_node *n, const struct credential *c,
                                         alk_identity **who, uint32_t *kind)
{
    alk_identity *now;
    uint32_t now_kind = prove(n, c, &now);
    /* Before *kind is replaced. The flags are all that may differ when the kinds are the same. */
    bool reflagged = now_kind != *kind;

    if (!now || !*who || !str_eq(now->id, (*who)->id) ||
        (now_kind & KIND_MASK) != (*kind & KIND_MASK)) {
        alk_identity_unref(now);
        return CREDENTIAL_GONE;
    }
    alk_identity_unref(*who);
    *who = now;
    *kind = now_kind;
    return reflagged ? CREDENTIAL_REFLAGGED : CREDENTIAL_SAME;
}
