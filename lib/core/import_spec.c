/* From what a remote's services/schema says of an operation to what registration wants. All of
 * it is the remote's word: operation_new checks it as it checks a program's. A member of a
 * wrong type counts as absent here; schemas and the access rule are handed on as they are, and
 * judged there. */
#include "core/import.h"

#include "base/json.h"

#include <string.h>

/* The member as JSON text, NULL when absent or null; false: out of memory, which must not look
 * like absence. */
static bool text_of(struct arena *a, yyjson_val *spec, const char *member, const char **out)
{
    yyjson_val *v = yyjson_obj_get(spec, member);
    yyjson_alc alc = arena_alc(a);

    *out = NULL;
    if (!v || yyjson_is_null(v))
        return true;
    *out = yyjson_val_write_opts(v, 0, &alc, NULL, NULL);
    return *out != NULL;
}

/* What registration wants: http_status is absent where the remote has null. NULL: out of memory. */
static const char *errors_of(struct arena *a, yyjson_val *spec)
{
    yyjson_val *list = yyjson_obj_get(spec, "error_schemas"), *e;
    yyjson_alc alc = arena_alc(a);
    yyjson_mut_doc *doc = yyjson_mut_doc_new(&alc);
    yyjson_mut_val *out = yyjson_mut_arr(doc), *copy;
    static const char *const members[] = {"code", "description", "schema", "http_status"};
    bool whole = out != NULL;
    size_t i, n;

    yyjson_arr_foreach(list, i, n, e)
    {
        copy = yyjson_mut_obj(doc);
        for (size_t k = 0; k < 4; k++) {
            yyjson_val *v = yyjson_obj_get(e, members[k]);

            if (v && !yyjson_is_null(v))
                whole &= yyjson_mut_obj_add_val(doc, copy, members[k], yyjson_val_mut_copy(doc, v));
        }
        whole &= yyjson_mut_arr_append(out, copy);
    }
    return whole ? yyjson_mut_val_write_opts(out, 0, &alc, NULL, NULL) : NULL;
}

bool import_spec(struct arena *a, yyjson_val *spec, alk_operation *op)
{
    op->type = operation_type(json_string(yyjson_obj_get(spec, "op_type")));
    op->description = json_str(spec, "description", &op->description_len);
    op->resource_id_path = json_str(spec, "resource_id_path", &op->resource_id_path_len);
    op->error_schemas = errors_of(a, spec);
    return op->error_schemas && text_of(a, spec, "input_schema", &op->input_schema) &&
           text_of(a, spec, "output_schema", &op->output_schema) &&
           text_of(a, spec, "access_control", &op->access_control);
}

static bool name_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '.' || c == '~' || c == '-' || c == '/';
}

/* What cannot stand in a name becomes '_'. Two names may become one by that: the import fails, as
 * nobody could say which is meant. */
const char *import_name(struct arena *a, struct str prefix, struct str remote)
{
    char *s = arena_alloc(a, prefix.n + 1 + remote.n + 1), *p = s;

    if (!s)
        return NULL;
    if (prefix.n) {
        memcpy(p, prefix.p, prefix.n);
        p += prefix.n;
        *p++ = '/';
    }
    for (size_t i = 0; i < remote.n; i++)
        *p++ = name_char(remote.p[i]) ? remote.p[i] : '_';
    *p = 0;
    return s;
}
