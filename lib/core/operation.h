/* One registration: spec, handler, what the handler may do. Immutable once made. Registered ones
 * live as long as their registry, imported ones as long as their overlay's generation. */
#ifndef ALK_CORE_OPERATION_H
#define ALK_CORE_OPERATION_H

#include "base/arena.h"
#include "base/host.h"
#include "base/map.h"
#include "core/identity.h"

/* Names go into log lines, faults and fixed buffers. */
#define NAME_MAX_BYTES 256u
#define PEER_ID_MAX_BYTES 64u

/* In an output schema: the values are lists of MCP's blocks of content, for people and models. */
#define OPERATION_BLOCKS "x-mcp-content"

struct schema;

/* The parsed rule. Empty lists and strings are parts that were not given; without any part,
 * everybody may call. */
struct access {
    const struct str *scopes, *any;
    size_t scope_count, any_count;
    struct str resource_type, resource_action;
    bool authenticated;
};

/* An error that the operation declares. Its details are checked nowhere in the core: the gateway
 * takes the status from here, listings the rest. */
struct error_spec {
    struct str code;
    int http_status; /* 0: none declared */
    struct str description;
    const char *schema_json;
    size_t schema_json_len;
};

/* allowed_ops and peer_pinned as given: exact names, or "ns/" + '*' stored as the prefix with its
 * slash. */
struct environment {
    const struct str *allowed, *pinned;
    size_t allowed_count, pinned_count;
};

/* Overwritten by whoever frees it (capabilities.c). Calls that were handed one have a pointer to
 * it, so it must not move while its operation lives. */
struct secret {
    struct str name;
    char *data;
    size_t len;
};

struct alk_capabilities {
    struct mem mem;
    struct secret *secrets;
    size_t count;
};

/* Whoever calls keeps it alive by what it came from: the node's registry, one that was discovered,
 * a session's, or the overlay. */
struct operation {
    /* The key lies in the arena and ends with a NUL, so that it can be shown as it is. */
    struct map_node by_name; /* key is the name without leading slash */
    uint32_t namespace_len;
    uint8_t type, visibility, provenance;
    bool forwards; /* its handler may pass on protocol codes */
    bool blocks;   /* OPERATION_BLOCKS */
    bool at_home;  /* it runs at the dispatcher that the node has for such (alk_node.home) */
    bool bare;     /* its input is never an object, by its schema's type */
    /* NULL: none; UTF-8, as it goes into JSON. */
    const char *description;
    size_t description_len;
    struct access access;
    struct str resource_id_path; /* p NULL: none */
    /* NULL: everything fits. Also of an import whose schema does not compile here; an import's
     * output is only shown. */
    struct schema *input, *output;
    struct error_spec *errors;
    size_t error_count;
    alk_identity *authority; /* NULL: a leaf */
    struct environment *env; /* NULL: nothing is reachable */
    alk_capabilities *caps;  /* NULL: none */
    /* NULL with ALK_FROM_JSONSCHEMA alone: described, and not to be run. */
    alk_handler handler;
    void *ud;
    void (*ud_free)(void *ud);
    struct str spec_json; /* what services/schema answers */
    struct str list_json; /* its entry in services/list */
    struct arena arena;   /* holds this struct's own data */
};

static inline struct str op_name(const struct operation *op)
{
    return (struct str){op->by_name.key, op->by_name.len};
}

/* The name of ALK_QUERY, ALK_MUTATION or ALK_SUBSCRIPTION in specifications, and the type of such
 * a name; 0: it is none. */
const char *operation_type_name(uint32_t type);
uint32_t operation_type(struct str name);
/* All of them, as the members of an array in a schema. */
#define OPERATION_TYPES_JSON "\"query\",\"mutation\",\"subscription\""

/* The rules of an operation's name; s without its leading slash. */
bool name_valid(const char *s, size_t len);
/* Whether its namespace is the library's own: services or peers. */
bool name_reserved(struct str name);
/* [A-Za-z0-9_.-]{1,64}, not "local". */
bool peer_id_valid(const char *s, size_t len);
/* Of two struct operation *, for qsort: bytewise, which is the order that cursors compare in. */
int operation_by_name(const void *a, const void *b);
/* Drops one leading slash. */
struct str name_strip(const char *s, size_t len);

struct op_diag {
    char text[512];
};

/* Makes an operation from the public description. On failure (ALK_E code) diag has the reason,
 * nothing is kept, and ud_free has not been called. imported: described by somebody else; an
 * input schema that does not compile here is then kept for display, and diag says so although the
 * operation is made. Its other schemas are for display in any case. */
int operation_new(struct operation **out, const alk_operation *in, const struct host *host,
                  struct mem *mem, bool imported, struct op_diag *diag);
/* operation_json.c: fills spec_json and list_json. input and output: the schemas, NULL: none. 0, or
 * ALK_ENOMEM. */
int operation_write(struct operation *op, yyjson_val *input, yyjson_val *output, struct mem *mem,
                    struct arena *scratch);
/* The bytes that it keeps, compiled schemas included. */
size_t operation_memory(const struct operation *op);
/* Calls ud_free. */
void operation_free(struct operation *op, struct mem *mem);

const struct secret *capabilities_get(const alk_capabilities *caps, const char *name, size_t len);
/* *out is NULL for none. ALK_ENOMEM. */
int capabilities_copy(alk_capabilities **out, const alk_capabilities *caps);

/* UNAUTHENTICATED: there is nobody to check. It says nothing of whether somebody would pass. */
enum { ACCESS_OK, ACCESS_UNAUTHENTICATED, ACCESS_DENIED };

/* Whether who may call the operation with that input: the only place where access is decided, for
 * callers of every kind. who may be NULL, which is nobody; so may ownership, and then the resources
 * that stand in the identity decide. */
int access_check(const struct operation *op, const alk_identity *who, yyjson_val *input,
                 const alk_ownership_provider *ownership);
/* Whether a listing shows it to who: the same rules where they need no input. */
bool access_may_call(const struct operation *op, const alk_identity *who,
                     const alk_ownership_provider *ownership);

#endif
