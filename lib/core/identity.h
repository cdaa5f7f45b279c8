/* Who is asking: an immutable identity, shared by reference count between threads. Always on the C
 * library's allocator, since it outlives dispatchers. A right that is taken away is another
 * identity: whoever holds this one goes on with it until it is looked up again (credential.h). */
#ifndef ALK_CORE_IDENTITY_H
#define ALK_CORE_IDENTITY_H

#include "base/str.h"

#include <alknet/alknet.h>

#include <stdbool.h>
#include <yyjson.h>

/* Scopes, types of resources and resources, together. A check of access looks at all of them, and a
 * peer that may forward says of anybody what it likes. */
#define IDENTITY_MAX_ENTRIES 4096u

/* What of one type the identity owns, or may do with all of that type: rules say which of the two
 * they mean. */
struct resource_list {
    struct str type;
    const struct str *ids;
    size_t count;
};

/* Public functions hand out pointers to what is in here, valid as long as a reference is held. */
struct alk_identity {
    int refs; /* atomic */
    struct str id;
    /* Sorted, since an operation may ask for many; json has them as they were given. */
    const struct str *scopes;
    size_t scope_count;
    const struct resource_list *resources;
    size_t resource_count;
    struct str json;
};

/* id, scopes, resources as in {"id","scopes","resources"}; scopes and resources may be absent.
 * NULL with a reason in err (static text) when malformed or out of memory. */
alk_identity *identity_make(const char *id, size_t id_len, yyjson_val *scopes,
                            yyjson_val *resources, const char **err);
const struct resource_list *identity_resources(const alk_identity *who, const char *type,
                                               size_t len);
bool identity_owns(const alk_identity *who, const char *type, size_t type_len, const char *id,
                   size_t id_len);

#endif
