/* Name → operation. Built by one thread; after freezing nothing in it changes but its reference
 * count, so calls on any thread look names up without a lock, and pointers to its operations stay
 * valid for as long as somebody holds it. */
#ifndef ALK_CORE_REGISTRY_H
#define ALK_CORE_REGISTRY_H

#include "base/abi.h"
#include "core/operation.h"

struct alk_registry {
    int refs; /* atomic */
    bool frozen;
    const struct host *host;
    struct mem mem;
    struct map by_name;
    uint64_t seed[2];
    const struct operation **sorted; /* by name; made by freeze */
    struct op_diag diag;
};

extern const struct abi abi_operation;

/* An empty one, without the operations that every registry has (services.h). NULL: out of memory,
 * or no randomness, which the map's seed needs. */
alk_registry *registry_new(const struct host *host);
/* name without its leading slash; NULL when there is none. */
const struct operation *registry_find(const alk_registry *reg, const char *name, size_t len);
/* As alk_registry_add, for the library's own operations: reserved names and fault passing are
 * allowed. */
int registry_add_builtin(alk_registry *reg, const alk_operation *op);
/* As alk_registry_add, for operations whose handler passes on what somebody else answers: fault
 * passing is allowed. */
int registry_add_forwarder(alk_registry *reg, const alk_operation *op);
/* As alk_registry_add, for operations that run at the node's home dispatcher (alk_node.home). */
int registry_add_at_home(alk_registry *reg, const alk_operation *op);
/* Takes back what was added, while the registry is not frozen: of many, the first ones, when a
 * later one fails. */
void registry_remove(alk_registry *reg, const char *name, size_t len);
/* Whether an operation acts under that id. An identity of a configuration must not have the same
 * one: it would be taken for the handler in records. */
bool registry_has_authority(const alk_registry *reg, const char *id, size_t len);

#endif
