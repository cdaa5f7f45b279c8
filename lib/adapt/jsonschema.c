/* from_jsonschema: operations that are described and have no handler, in the form in which
 * services/schema describes them, so that its answers can be pasted. The text is the program's own
 * and not a remote's: what is misspelled, or of a wrong type, is an error that names its place.
 *
 * All or nothing: what was added is taken back when a later one is refused. */
#include "base/json.h"
#include "core/import.h"
#include "core/registry.h"

#include <alknet/openapi.h>
#include <stdarg.h>
#include <stdio.h>

static const struct json_limits limits = {128, 10000000};

/* Returns ALK_EINVAL, so that a refusal is one line where it happens. */
static int bad(alk_registry *reg, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static int bad(alk_registry *reg, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(reg->diag.text, sizeof reg->diag.text, fmt, ap);
    va_end(ap);
    return ALK_EINVAL;
}

/* Registration takes texts that end with NUL. null is the same as absent, as services/schema has
 * it. */
static int check_strings(alk_registry *reg, size_t at, yyjson_val *v)
{
    static const char *const members[] = {"name",       "namespace",   "op_type",
                                          "visibility", "description", "resource_id_path"};

    for (size_t i = 0; i < sizeof members / sizeof members[0]; i++) {
        yyjson_val *text = yyjson_obj_get(v, members[i]);

        if (text && !yyjson_is_null(text) &&
            (!yyjson_is_str(text) || memchr(yyjson_get_str(text), 0, yyjson_get_len(text))))
            return bad(reg, "/%zu/%s: must be a string without NUL", at, members[i]);
    }
    return ALK_OK;
}

/* What import_spec passes over, since remotes may say more than is known here. */
static int check_errors(alk_registry *reg, size_t at, yyjson_val *errors)
{
    static const char *const known[] = {"code", "description", "schema", "http_status", NULL};
    yyjson_val *e;
    size_t i, n;

    if (!errors || yyjson_is_null(errors))
        return ALK_OK;
    if (!yyjson_is_arr(errors))
        return bad(reg, "/%zu/error_schemas: must be an array", at);
    yyjson_arr_foreach(errors, i, n, e)
    {
        yyjson_val *unknown = json_unknown_member(e, known);
        char shown[JSON_SHOWN];

        if (unknown)
            return bad(reg, "/%zu/error_schemas/%zu/%s: unknown member", at, i,
                       json_show(unknown, shown));
    }
    return ALK_OK;
}

static int check(alk_registry *reg, size_t at, yyjson_val *v)
{
    static const char *const known[] = {"name",
                                        "namespace",
                                        "op_type",
                                        "visibility",
                                        "description",
                                        "input_schema",
                                        "output_schema",
                                        "error_schemas",
                                        "access_control",
                                        "resource_id_path",
                                        NULL};
    struct str type = json_string(yyjson_obj_get(v, "op_type"));
    struct str visibility = json_string(yyjson_obj_get(v, "visibility"));
    yyjson_val *unknown;
    char shown[JSON_SHOWN];
    int rc;

    if (!yyjson_is_obj(v))
        return bad(reg, "/%zu: must be an object", at);
    unknown = json_unknown_member(v, known);
    if (unknown)
        return bad(reg, "/%zu/%s: unknown member", at, json_show(unknown, shown));
    if ((rc = check_strings(reg, at, v)) ||
        (rc = check_errors(reg, at, yyjson_obj_get(v, "error_schemas"))))
        return rc;
    if (!json_string(yyjson_obj_get(v, "name")).p)
        return bad(reg, "/%zu/name: missing", at);
    if (type.p && !operation_type(type))
        return bad(reg, "/%zu/op_type: must be query, mutation or subscription", at);
    if (visibility.p && !str_is(visibility, "internal") && !str_is(visibility, "external"))
        return bad(reg, "/%zu/visibility: must be internal or external", at);
    return ALK_OK;
}

static struct str name_of(yyjson_val *v)
{
    struct str name = json_string(yyjson_obj_get(v, "name"));

    return name_strip(name.p, name.n);
}

/* It is derived, so it can only be said wrongly. */
static int check_namespace(alk_registry *reg, size_t at, yyjson_val *v)
{
    struct str given = json_string(yyjson_obj_get(v, "namespace")), name = name_of(v);
    const char *slash = memchr(name.p, '/', name.n);

    if (slash)
        name.n = (size_t)(slash - name.p);
    return given.p && !str_eq(given, name)
               ? bad(reg, "/%zu/namespace: must be the first segment of the name", at)
               : ALK_OK;
}

/* External only together with a rule, as everything that is imported; one that lets everybody call
 * is a rule. */
static int add(alk_registry *reg, struct mem *mem, size_t at, yyjson_val *v)
{
    alk_operation op;
    struct arena a;
    int rc = check(reg, at, v);

    rc = rc ? rc : check_namespace(reg, at, v);
    if (rc)
        return rc;
    arena_init(&a, mem, 4096);
    alk_operation_init(&op, sizeof op);
    if (!import_spec(&a, v, &op)) {
        bad(reg, "out of memory");
        rc = ALK_ENOMEM;
    } else {
        op.name = yyjson_get_str(yyjson_obj_get(v, "name"));
        op.type = op.type ? op.type : ALK_QUERY;
        op.provenance = ALK_FROM_JSONSCHEMA;
        if (!op.access_control || !str_is(json_string(yyjson_obj_get(v, "visibility")), "external"))
            op.visibility = ALK_INTERNAL_ONLY;
        rc = alk_registry_add(reg, &op);
    }
    arena_fini(&a);
    return rc;
}

static int add_all(alk_registry *reg, struct mem *mem, yyjson_val *list)
{
    size_t i, k, n, done = 0;
    yyjson_val *v;
    int rc = ALK_OK;

    if (!yyjson_is_arr(list))
        return bad(reg, "must be an array of operations");
    yyjson_arr_foreach(list, i, n, v)
    {
        if ((rc = add(reg, mem, i, v)))
            break;
        done++;
    }
    if (!rc)
        return ALK_OK;
    yyjson_arr_foreach(list, k, n, v)
    {
        struct str name = name_of(v);

        if (k == done)
            break;
        registry_remove(reg, name.p, name.n);
    }
    return rc;
}

int alk_registry_import_jsonschema(alk_registry *reg, const char *json, size_t len)
{
    struct json_error je;
    struct mem mem;
    struct arena a;
    yyjson_alc alc;
    yyjson_doc *doc;
    char *copy;
    int rc;

    if (reg->frozen)
        return ALK_EFROZEN;
    reg->diag.text[0] = 0;
    mem_init(&mem, NULL, NULL);
    arena_init(&a, &mem, 4096);
    alc = arena_alc(&a);
    copy = arena_alloc(&a, len + JSON_PADDING);
    if (copy) {
        memcpy(copy, json, len);
        rc = json_parse(copy, len, &limits, &alc, &doc, &je);
        if (rc)
            bad(reg, "%s", je.text);
        rc = rc ? json_err(rc) : add_all(reg, &mem, yyjson_doc_get_root(doc));
    } else {
        bad(reg, "out of memory");
        rc = ALK_ENOMEM;
    }
    arena_fini(&a);
    return rc;
}
