/* What services/list and services/schema say of an operation, written once when it is made: both
 * are answered by copying. Schemas, and parts of an access rule, that are not given are null
 * there. The secrets, the authority and the environment do not stand there: they are how the
 * operation works, and nobody's business outside. */
#include "core/operation.h"

#include "base/buf.h"

#include <string.h>

static int put_names(struct buf *b, const struct str *s, size_t n)
{
    int rc = buf_puts(b, "[");

    for (size_t i = 0; i < n; i++)
        rc |= (i ? buf_puts(b, ",") : 0) | buf_json_string(b, s[i].p, s[i].n);
    return rc | buf_puts(b, "]");
}

static int put_text(struct buf *b, const char *before, const struct str *s)
{
    int rc = buf_puts(b, before);

    return rc | (s->n ? buf_json_string(b, s->p, s->n) : buf_puts(b, "null"));
}

/* Written from what was parsed, so it is compact whatever the program's text looked like. */
static int put_value(struct buf *b, const char *before, yyjson_val *v, struct arena *scratch)
{
    yyjson_alc alc = arena_alc(scratch);
    size_t len = 4;
    const char *text = v ? yyjson_val_write_opts(v, 0, &alc, &len, NULL) : "null";

    return !text ? -1 : buf_puts(b, before) | buf_append(b, text, len);
}

/* What both have in common, so that an entry of a list is a part of the whole. */
static int put_head(struct buf *b, const struct operation *op)
{
    struct str name = op_name(op);
    int rc = buf_puts(b, "{\"name\":") | buf_json_string(b, name.p, name.n);

    rc |= buf_puts(b, ",\"namespace\":") | buf_json_string(b, name.p, op->namespace_len);
    return rc | buf_printf(b, ",\"op_type\":\"%s\"", operation_type_name(op->type));
}

static int put_access(struct buf *b, const struct access *a)
{
    int rc = buf_puts(b, ",\"access_control\":{\"required_scopes\":");

    rc |= put_names(b, a->scopes, a->scope_count) | buf_puts(b, ",\"required_scopes_any\":");
    rc |= a->any_count ? put_names(b, a->any, a->any_count) : buf_puts(b, "null");
    rc |= put_text(b, ",\"resource_type\":", &a->resource_type);
    rc |= put_text(b, ",\"resource_action\":", &a->resource_action);
    return rc | buf_puts(b, a->authenticated ? ",\"authenticated\":true}" : "}");
}

static int put_errors(struct buf *b, const struct operation *op)
{
    int rc = buf_puts(b, ",\"error_schemas\":[");

    for (size_t i = 0; i < op->error_count; i++) {
        const struct error_spec *e = &op->errors[i];

        rc |= buf_puts(b, i ? ",{\"code\":" : "{\"code\":") |
              buf_json_string(b, e->code.p, e->code.n);
        rc |= buf_puts(b, ",\"description\":");
        rc |= buf_json_string(b, e->description.p, e->description.n);
        rc |= buf_puts(b, ",\"schema\":");
        rc |= e->schema_json ? buf_append(b, e->schema_json, e->schema_json_len)
                             : buf_puts(b, "null");
        rc |= e->http_status ? buf_printf(b, ",\"http_status\":%d}", e->http_status)
                             : buf_puts(b, ",\"http_status\":null}");
    }
    return rc | buf_puts(b, "]");
}

static int put_tail(struct buf *b, const struct operation *op)
{
    int rc = 0;

    if (op->description_len) {
        rc |= buf_puts(b, ",\"description\":");
        rc |= buf_json_string(b, op->description, op->description_len);
    }
    return rc | buf_puts(b, "}");
}

/* One buffer for both: it is emptied, and its memory used again. */
static int keep(struct operation *op, struct buf *b, struct str *out)
{
    *out = (struct str){arena_dup(&op->arena, buf_at(b), b->len), b->len};
    buf_consume(b, b->len);
    return out->p ? 0 : -1;
}

int operation_write(struct operation *op, yyjson_val *input, yyjson_val *output, struct mem *mem,
                    struct arena *scratch)
{
    static const char *const visibilities[] = {"", "internal", "external"};
    struct buf b;
    int rc;

    buf_init(&b, mem);
    rc = put_head(&b, op) | put_tail(&b, op);
    rc |= rc ? 0 : keep(op, &b, &op->list_json);
    rc |= put_head(&b, op) | buf_printf(&b, ",\"visibility\":\"%s\"", visibilities[op->visibility]);
    rc |= put_value(&b, ",\"input_schema\":", input, scratch);
    rc |= put_value(&b, ",\"output_schema\":", output, scratch);
    rc |= put_errors(&b, op) | put_access(&b, &op->access);
    if (op->resource_id_path.p) {
        rc |= buf_puts(&b, ",\"resource_id_path\":");
        rc |= buf_json_string(&b, op->resource_id_path.p, op->resource_id_path.n);
    }
    rc |= put_tail(&b, op);
    rc |= rc ? 0 : keep(op, &b, &op->spec_json);
    buf_fini(&b);
    return rc ? ALK_ENOMEM : ALK_OK;
}
