/* Access control: the identity that is checked, the operation's rule, and (for rules about a
 * resource) the input or the ownership provider.
 *
 * An operation without a rule is for everybody, also for callers without identity; each part of a
 * rule needs one. Whatever is not understood denies: an input of another form than the rule
 * expects, a resource that nobody knows. */
#include "core/operation.h"

#include "base/json.h"

#include <stdio.h>
#include <string.h>

/* All of the one list, and at least one of the other, if there is one. */
static bool has_scopes(const struct access *a, const alk_identity *who)
{
    for (size_t i = 0; i < a->scope_count; i++) {
        if (!alk_identity_has_scope(who, a->scopes[i].p, a->scopes[i].n))
            return false;
    }
    for (size_t i = 0; i < a->any_count; i++) {
        if (alk_identity_has_scope(who, a->any[i].p, a->any[i].n))
            return true;
    }
    return a->any_count == 0;
}

/* Any part of a rule asks for an identity, also "authenticated" alone. */
static bool restricted(const struct operation *op)
{
    const struct access *a = &op->access;

    return a->scope_count || a->any_count || a->resource_type.n || a->authenticated;
}

/* Some resource of the type, or with an action: the action held on the type. Without an input that
 * names one there is nothing else to ask. A provider's answer replaces what the identity says, and
 * is never added to it. */
static bool owns_some(const struct access *a, const alk_identity *who,
                      const alk_ownership_provider *ownership)
{
    const struct resource_list *r;

    if (ownership)
        return ownership->owns_any(ownership->ud, who, a->resource_type.p) == 1;
    if (a->resource_action.n)
        return identity_owns(who, a->resource_type.p, a->resource_type.n, a->resource_action.p,
                             a->resource_action.n);
    r = identity_resources(who, a->resource_type.p, a->resource_type.n);
    return r && r->count;
}

/* Runs before the schema has checked the input, so it takes nothing for granted: strings and
 * integers can name a resource, everything else denies. An integer is named by its decimal digits,
 * of which there is one form; 1.0 and 1e0 would be others of the same. */
static bool owns_named(const struct operation *op, const alk_identity *who, yyjson_val *input,
                       const alk_ownership_provider *ownership)
{
    const struct access *a = &op->access;
    yyjson_val *v = json_pointer(input, op->resource_id_path.p, op->resource_id_path.n);
    char number[24];
    const char *id = number;
    size_t len;

    if (yyjson_is_str(v)) {
        id = yyjson_get_str(v);
        len = yyjson_get_len(v);
        /* The provider gets a C string. It would judge "mine\0theirs" as "mine", and the handler
         * would act on the whole of it. */
        if (memchr(id, 0, len))
            return false;
    } else if (yyjson_is_uint(v)) {
        len =
            (size_t)snprintf(number, sizeof number, "%llu", (unsigned long long)yyjson_get_uint(v));
    } else if (yyjson_is_sint(v)) {
        len = (size_t)snprintf(number, sizeof number, "%lld", (long long)yyjson_get_sint(v));
    } else {
        return false;
    }
    if (ownership)
        return ownership->owns(ownership->ud, who, a->resource_type.p, id, a->resource_action.p) ==
               1;
    return identity_owns(who, a->resource_type.p, a->resource_type.n, id, len);
}

/* The two refusals differ for HTTP (401 and 403): with a token it may be worth while to come
 * again, or not. */
int access_check(const struct operation *op, const alk_identity *who, yyjson_val *input,
                 const alk_ownership_provider *ownership)
{
    if (!restricted(op))
        return ACCESS_OK;
    if (!who)
        return ACCESS_UNAUTHENTICATED;
    if (!has_scopes(&op->access, who))
        return ACCESS_DENIED;
    if (!op->access.resource_type.n)
        return ACCESS_OK;
    if (op->resource_id_path.p)
        return owns_named(op, who, input, ownership) ? ACCESS_OK : ACCESS_DENIED;
    return owns_some(&op->access, who, ownership) ? ACCESS_OK : ACCESS_DENIED;
}

/* For listings: some input could be allowed. That may show more than can be called, never less,
 * and decides nothing. */
bool access_may_call(const struct operation *op, const alk_identity *who,
                     const alk_ownership_provider *ownership)
{
    const struct resource_list *r;

    if (!restricted(op))
        return true;
    if (!who || !has_scopes(&op->access, who))
        return false;
    if (!op->access.resource_type.n)
        return true;
    if (!op->resource_id_path.p || ownership)
        return owns_some(&op->access, who, ownership);
    r = identity_resources(who, op->access.resource_type.p, op->access.resource_type.n);
    return r && r->count;
}
