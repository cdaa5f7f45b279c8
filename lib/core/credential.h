/* A credential: a secret or a fingerprint, what it proves, and everybody who relies on that. There
 * is one object for each time that one is presented. Connections, requests, calls, clients and
 * dialers hold it; what is decided is decided by it, and not by an identity that was kept beside
 * it.
 *
 * It is asked about again at each start of something (credential_good), and for all of them in the
 * turn that finds the provider's generation changed (credentials_sweep): whoever watches is told
 * then. One that has gone stays gone, also when the next configuration has it again. */
#ifndef ALK_CORE_CREDENTIAL_H
#define ALK_CORE_CREDENTIAL_H

#include "core/dispatcher.h"

#define KIND_MASK 0xfu /* of ALK_KIND_; flags are above it */

/* VOUCHED: by whoever opened the connection; there is nobody to ask. UID: a uint32_t, as the kernel
 * says it. */
enum proof { PROOF_VOUCHED, PROOF_TOKEN, PROOF_FINGERPRINT, PROOF_PEER, PROOF_UID };

struct credential {
    struct alk_dispatcher *d;
    struct list link;        /* in the dispatcher's list */
    struct list watchers;    /* struct watcher, told in the order in which they came */
    struct account *account; /* of the identity */
    alk_identity *who;       /* what it proves, or proved before it was gone */
    uint64_t generation;     /* of the provider, when it was last asked */
    uint32_t kind;           /* of who, with its flags */
    int refs;
    uint8_t proof;
    bool gone;
    size_t len;
    char secret[]; /* wiped when it is freed */
};

/* A member of who has to hear of it when the credential is gone, or its kind has other flags. */
struct watcher {
    struct list link;
    void (*changed)(struct watcher *w, bool gone);
};

/* Asks the provider. 0; ALK_ENOENT: it proves nobody; ALK_ENOMEM. */
int credential_prove(struct credential **out, struct alk_dispatcher *d, enum proof proof,
                     struct str secret);

/* What the log says of one that does not resolve; it shows nothing of it. */
static inline const char *credential_why(struct str token)
{
    return token.n < ALK_TOKEN_MIN ? "the presented token is too short to be a token"
                                   : "the presented token does not resolve";
}

/* One whose answer is known. NULL: out of memory. */
struct credential *credential_known(struct alk_dispatcher *d, enum proof proof, struct str secret,
                                    const alk_identity *who, uint32_t kind);
struct credential *credential_ref(struct credential *c);
/* NULL is fine. */
void credential_unref(struct credential *c);
/* Whether it is of that token; takes the same time whatever differs. */
bool credential_is(const struct credential *c, struct str token);
/* Whether something may be started by it now. NULL, which is nobody, is always good. */
bool credential_good(struct credential *c);
void credential_watch(struct credential *c, struct watcher *w);
/* From the turn: the provider's answers may have changed. */
void credentials_sweep(struct alk_dispatcher *d);
/* One was presented, from that address, that proves nobody: it is counted and charged to the
 * address (NULL: to nobody). false: there have been too many. */
bool credential_failed(struct alk_dispatcher *d, const char *address);

static inline alk_identity *credential_identity(const struct credential *c)
{
    return c ? c->who : NULL;
}

#endif
