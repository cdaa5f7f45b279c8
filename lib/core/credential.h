/* Whether a credential still proves what it did. Whoever keeps something open for an identity asks
 * this when the provider's answers may have changed: a call connection, a client of an event
 * gateway, a response that is on its way. */
#ifndef ALK_CORE_CREDENTIAL_H
#define ALK_CORE_CREDENTIAL_H

#include "core/node.h"

#define KIND_MASK 0xfu /* of ALK_KIND_; flags are above it */

struct credential {
    struct str token, fingerprint; /* one of them; the other is STR_NONE */
};

enum credential_state {
    CREDENTIAL_GONE,     /* it proves nobody, somebody else, or another kind of identity */
    CREDENTIAL_SAME,     /* the same id and kind; its rights may be others */
    CREDENTIAL_REFLAGGED /* likewise, but with other flags beside the kind */
};

/* Unless it is gone, *who (a reference for a reference) and *kind become what it proves now. *who
 * may be NULL: nobody, which no credential proves. */
enum credential_state credential_recheck(const alk_node *n, const struct credential *c,
                                         alk_identity **who, uint32_t *kind);

#endif
