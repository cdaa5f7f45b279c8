/* The configured identities, as one immutable table of what each credential proves. */
#ifndef ALK_ADAPT_IDENTITY_TABLE_H
#define ALK_ADAPT_IDENTITY_TABLE_H

#include "base/arena.h"
#include "base/list.h"
#include "base/map.h"

#include <alknet/alknet.h>

#define IDENTITY_PREFIX_LEN 8u /* of a key's token: by what it is found */

/* What one credential proves: a peer's token (key: its hash), an API key (its prefix), a
 * fingerprint, a user of this machine (its uint32_t). */
struct identity_entry {
    struct map_node node;
    struct list link; /* of the table's identities; the same entry stands for the id itself */
    uint8_t hash[32];
    int64_t expires;
    int kind; /* and flags */
    alk_identity *who;
};

struct identity_table {
    int refs; /* atomic */
    struct mem mem;
    struct arena arena;
    uint64_t seed[2];
    /* ids and hashes are what is taken while it is built; the others are looked up in. */
    struct map ids, hashes, peers, keys, prints, users;
    struct list owned; /* entries of ids, each with its reference */
};

/* Makes a table of JSON text, with one reference. reserved: whose authorities no id may be the same
 * as; NULL: nobody's. The result and err are those of alk_identities_load. */
int identity_table_load(struct identity_table **out, const char *json, size_t len,
                        const alk_registry *reserved, char *err, size_t err_size);
/* From any thread. NULL is harmless. */
void identity_table_unref(struct identity_table *t);

#endif
