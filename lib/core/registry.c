/* Implements registry.h. A registry has two lives. While it is built, one thread owns it and every
 * failure has a text. Once it is frozen it may be shared between threads, so nothing in it is
 * written but the reference count; not even the text of a failure.
 *
 * The node's calls find operations by hash, listings walk the sorted array: both are there for as
 * long as the registry, so a page of a listing costs no sorting. */
#include "core/registry.h"

#include "base/json.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* On the C library's allocator, since it is older than any node and may outlive all of them. */
alk_registry *registry_new(const struct host *host)
{
    struct mem plain;
    alk_registry *reg;

    mem_init(&plain, NULL, NULL);
    reg = mem_zalloc(&plain, sizeof *reg);
    if (!reg)
        return NULL;
    reg->refs = 1;
    reg->host = host;
    mem_init(&reg->mem, NULL, NULL);
    map_init(&reg->by_name, &reg->mem, reg->seed);
    if (host->random(reg->seed, sizeof reg->seed)) {
        alk_registry_unref(reg);
        return NULL;
    }
    /* Nobody reads what strangers send before there is a registry. */
    json_seed(reg->seed);
    return reg;
}

alk_registry *alk_registry_ref(alk_registry *reg)
{
    __atomic_fetch_add(&reg->refs, 1, __ATOMIC_RELAXED);
    return reg;
}

void alk_registry_unref(alk_registry *reg)
{
    struct mem plain;
    struct map_node *n;

    if (!reg || __atomic_fetch_sub(&reg->refs, 1, __ATOMIC_ACQ_REL) != 1)
        return;
    while ((n = map_any(&reg->by_name))) {
        map_del(&reg->by_name, n);
        operation_free(container_of(n, struct operation, by_name), &reg->mem);
    }
    map_fini(&reg->by_name);
    mem_free(&reg->mem, reg->sorted);
    /* Whatever an operation allocated is counted here, so a leak shows in any test that frees a
     * registry. */
    assert(reg->mem.live == 0);
    mem_init(&plain, NULL, NULL);
    mem_free(&plain, reg);
}

static const alk_operation operation_defaults = {
    .size = sizeof(alk_operation), .type = ALK_QUERY, .visibility = ALK_EXTERNAL};
const struct abi abi_operation = ABI(alk_operation, ud_free, &operation_defaults);

void alk_operation_init(alk_operation *op, size_t size)
{
    abi_fill(&abi_operation, op, size, &operation_defaults);
}

/* Whose handler it is, by what it may do that others may not: the library's own have reserved
 * names; both they and forwarders may fail with a protocol's code, since they pass on what a remote
 * says. */
enum owner { PROGRAM, HOST, FORWARDER, LIBRARY };

/* ud is taken over in any case: ud_free runs once, here or when the registration goes, so that a
 * caller need not know how far this came. */
static int add(alk_registry *reg, const alk_operation *in, enum owner owner)
{
    struct operation *op = NULL;
    int rc;

    /* A frozen registry is shared between threads: nothing of it may be written. */
    if (reg->frozen) {
        rc = ALK_EFROZEN;
        goto fail;
    }
    reg->diag.text[0] = 0;
    /* Descriptions that others have written (OpenAPI, MCP) may have schemas that do not compile
     * here: those are shown, and not enforced. */
    rc = operation_new(&op, in, reg->host, &reg->mem,
                       in->provenance >= ALK_FROM_OPENAPI && in->provenance <= ALK_FROM_CALL,
                       &reg->diag);
    if (rc)
        goto fail;
    op->forwards = owner >= FORWARDER;
    op->at_home = owner == HOST;
    if (owner != LIBRARY && name_reserved(op_name(op))) {
        snprintf(reg->diag.text, sizeof reg->diag.text,
                 "operation %s: services/ and peers/ are reserved", op->by_name.key);
        rc = ALK_EINVAL;
        goto fail;
    }
    if (map_find(&reg->by_name, op->by_name.key, op->by_name.len)) {
        snprintf(reg->diag.text, sizeof reg->diag.text, "operation %s: the name is taken",
                 op->by_name.key);
        rc = ALK_EEXIST;
        goto fail;
    }
    if (map_add(&reg->by_name, &op->by_name)) {
        snprintf(reg->diag.text, sizeof reg->diag.text, "out of memory");
        rc = ALK_ENOMEM;
        goto fail;
    }
    return ALK_OK;
fail:
    if (op)
        operation_free(op, &reg->mem);
    else if (in->ud_free)
        in->ud_free(in->ud);
    return rc;
}

int alk_registry_add(alk_registry *reg, const alk_operation *op)
{
    char *why = reg->frozen ? NULL : reg->diag.text;
    alk_operation own;
    const alk_operation *in = abi_take(&abi_operation, &own, op, why, sizeof reg->diag.text);

    if (in)
        return add(reg, in, PROGRAM);
    /* Refused for what a newer program has set and this library does not know; ud_free it does
     * know. */
    if (own.ud_free)
        own.ud_free(own.ud);
    return ALK_EINVAL;
}

/* The structs of these three are of this library's own build, so there is no size to look at. */
int registry_add_builtin(alk_registry *reg, const alk_operation *op)
{
    return add(reg, op, LIBRARY);
}

int registry_add_forwarder(alk_registry *reg, const alk_operation *op)
{
    return add(reg, op, FORWARDER);
}

int registry_add_at_home(alk_registry *reg, const alk_operation *op)
{
    return add(reg, op, HOST);
}

void registry_remove(alk_registry *reg, const char *name, size_t len)
{
    struct map_node *n = map_find(&reg->by_name, name, len);

    assert(!reg->frozen && n);
    map_del(&reg->by_name, n);
    operation_free(container_of(n, struct operation, by_name), &reg->mem);
}

int alk_registry_freeze(alk_registry *reg)
{
    size_t n = 0;

    if (reg->frozen)
        return ALK_OK;
    reg->sorted = mem_alloc(&reg->mem, (reg->by_name.count + 1) * sizeof *reg->sorted);
    if (!reg->sorted)
        return ALK_ENOMEM;
    for (size_t i = 0; i <= reg->by_name.mask; i++) {
        for (struct map_node *m = reg->by_name.slots[i]; m; m = m->next)
            reg->sorted[n++] = container_of(m, struct operation, by_name);
    }
    qsort(reg->sorted, n, sizeof *reg->sorted, operation_by_name);
    reg->frozen = true;
    return ALK_OK;
}

const char *alk_registry_error(const alk_registry *reg)
{
    return reg->diag.text;
}

/* Without a lock, from any thread: a frozen map does not change. */
const struct operation *registry_find(const alk_registry *reg, const char *name, size_t len)
{
    struct map_node *n = map_find(&reg->by_name, name, len);

    return n ? container_of(n, struct operation, by_name) : NULL;
}

bool registry_has_authority(const alk_registry *reg, const char *id, size_t len)
{
    for (size_t i = 0; i <= reg->by_name.mask; i++) {
        for (struct map_node *m = reg->by_name.slots[i]; m; m = m->next) {
            const alk_identity *who = container_of(m, struct operation, by_name)->authority;

            if (who && who->id.n == len && !memcmp(who->id.p, id, len))
                return true;
        }
    }
    return false;
}
