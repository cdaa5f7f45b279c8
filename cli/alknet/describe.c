/* Schemas may loop and branch: how deep they are followed and how many values come of it is
 * bounded. */
#include "describe.h"
#include "names.h"
#include "peers.h"

#include <stdlib.h>
#include <string.h>
#include <uv.h>

/* What is looked at for a template, bytes of it before the last value, and how long that may take;
 * null stands for more. */
#define TEMPLATE_VALUES_MAX 2000u
#define TEMPLATE_BYTES_MAX 1048576u
#define TEMPLATE_NS UINT64_C(2000000000)

struct template
{
    struct buffer *out;
    yyjson_val *root;
    unsigned values;
    uint64_t end;
};

int describe_fetch(struct remote *r, const char *op, const char *peer, struct reply *reply)
{
    struct buffer input = {0};
    int rc;

    buffer_puts(&input, "{\"name\":");
    buffer_json_string(&input, op, strlen(op));
    if (peer) {
        buffer_puts(&input, ",\"peer\":");
        buffer_json_string(&input, peer, strlen(peer));
    }
    buffer_puts(&input, "}");
    rc = r->ops->call(r, "/services/schema", &input, reply);
    buffer_free(&input);
    return rc;
}

yyjson_val *schema_resolve(yyjson_val *root, yyjson_val *schema)
{
    for (unsigned i = 0; i < SCHEMA_DEPTH_MAX && yyjson_is_obj(schema); i++) {
        yyjson_val *ref = yyjson_obj_get(schema, "$ref");

        if (!yyjson_is_str(ref))
            return schema;
        if (yyjson_get_str(ref)[0] != '#')
            return NULL;
        schema = yyjson_get_len(ref) == 1
                     ? root
                     : yyjson_ptr_getn(root, yyjson_get_str(ref) + 1, yyjson_get_len(ref) - 1);
    }
    return NULL;
}

static void put_value(struct template *t, yyjson_val *schema, unsigned depth);

/* Whether there is room for one more value. */
static bool another(struct template *t)
{
    return t->values++ < TEMPLATE_VALUES_MAX && t->out->len < TEMPLATE_BYTES_MAX &&
           uv_hrtime() < t->end;
}

/* What the schema itself gives as a value. */
static yyjson_val *given(yyjson_val *schema)
{
    yyjson_val *value = yyjson_obj_get(schema, "default");

    if (!value)
        value = yyjson_obj_get(schema, "const");
    if (!value)
        value = yyjson_arr_get_first(yyjson_obj_get(schema, "examples"));
    if (!value)
        value = yyjson_arr_get_first(yyjson_obj_get(schema, "enum"));
    return value;
}

static bool is_required(yyjson_val *schema, yyjson_val *key)
{
    yyjson_val *name;
    size_t i, n;

    yyjson_arr_foreach(yyjson_obj_get(schema, "required"), i, n, name)
    {
        if (i >= TEMPLATE_VALUES_MAX)
            break;
        if (yyjson_equals(name, key))
            return true;
    }
    return false;
}

static void put_member(struct template *t, yyjson_val *key, yyjson_val *schema, unsigned depth,
                       bool *first)
{
    buffer_puts(t->out, *first ? "" : ",");
    buffer_json_string(t->out, yyjson_get_str(key), yyjson_get_len(key));
    buffer_puts(t->out, ":");
    put_value(t, schema, depth + 1);
    *first = false;
}

/* The members that the schema has itself, and those of its allOf; a name that more than one part
 * has is given by the first. */
static void put_members(struct template *t, yyjson_val *schema, unsigned depth,
                        yyjson_mut_doc *seen, bool *first)
{
    yyjson_mut_val *names = yyjson_mut_doc_get_root(seen);
    yyjson_obj_iter it = yyjson_obj_iter_with(yyjson_obj_get(schema, "properties"));
    yyjson_val *key, *value;
    size_t i, n;

    while ((key = yyjson_obj_iter_next(&it)) && another(t)) {
        value = schema_resolve(t->root, yyjson_obj_iter_get_val(key));
        if ((!is_required(schema, key) && !yyjson_obj_get(value, "default")) ||
            yyjson_mut_obj_getn(names, yyjson_get_str(key), yyjson_get_len(key)))
            continue;
        yyjson_mut_obj_add(names, yyjson_mut_strn(seen, yyjson_get_str(key), yyjson_get_len(key)),
                           yyjson_mut_true(seen));
        put_member(t, key, value, depth, first);
    }
    yyjson_arr_foreach(yyjson_obj_get(schema, "required"), i, n, key)
    {
        if (!another(t))
            break;
        if (!yyjson_is_str(key) ||
            yyjson_mut_obj_getn(names, yyjson_get_str(key), yyjson_get_len(key)))
            continue;
        yyjson_mut_obj_add(names, yyjson_mut_strn(seen, yyjson_get_str(key), yyjson_get_len(key)),
                           yyjson_mut_true(seen));
        put_member(t, key, NULL, depth, first);
    }
    if (depth >= SCHEMA_DEPTH_MAX)
        return;
    yyjson_arr_foreach(yyjson_obj_get(schema, "allOf"), i, n, value)
    {
        yyjson_val *part;

        if (!another(t))
            break;
        part = schema_resolve(t->root, value);
        if (part)
            put_members(t, part, depth + 1, seen, first);
    }
}

static void put_object(struct template *t, yyjson_val *schema, unsigned depth)
{
    yyjson_mut_doc *seen = yyjson_mut_doc_new(NULL);
    bool first = true;

    yyjson_mut_doc_set_root(seen, yyjson_mut_obj(seen));
    buffer_puts(t->out, "{");
    put_members(t, schema, depth, seen, &first);
    buffer_puts(t->out, "}");
    yyjson_mut_doc_free(seen);
}

static void put_array(struct template *t, yyjson_val *schema, unsigned depth)
{
    yyjson_val *least = yyjson_obj_get(schema, "minItems");

    buffer_puts(t->out, "[");
    if (least && !(yyjson_is_raw(least) && !strcmp(yyjson_get_raw(least), "0")))
        put_value(t, yyjson_obj_get(schema, "items"), depth + 1);
    buffer_puts(t->out, "]");
}

/* The first type that is not null. */
static const char *type_of(yyjson_val *schema)
{
    yyjson_val *type = yyjson_obj_get(schema, "type"), *one;
    size_t i, n;

    yyjson_arr_foreach(type, i, n, one)
    {
        if (yyjson_is_str(one) && !yyjson_equals_str(one, "null"))
            return yyjson_get_str(one);
    }
    if (yyjson_is_str(type))
        return yyjson_get_str(type);
    if (yyjson_obj_get(schema, "properties") || yyjson_obj_get(schema, "required") ||
        yyjson_obj_get(schema, "allOf"))
        return "object";
    return yyjson_obj_get(schema, "items") ? "array" : "null";
}

static void put_value(struct template *t, yyjson_val *schema, unsigned depth)
{
    yyjson_val *value, *choice;
    const char *type;
    size_t len;
    char *json;

    schema = schema_resolve(t->root, schema);
    if (!schema || depth > SCHEMA_DEPTH_MAX || !another(t)) {
        buffer_puts(t->out, "null");
        return;
    }
    value = given(schema);
    if (value) {
        json = yyjson_val_write(value, 0, &len);
        buffer_append(t->out, json ? json : "null", json ? len : 4);
        free(json);
        return;
    }
    type = type_of(schema);
    choice = yyjson_arr_get_first(yyjson_obj_get(schema, "oneOf"));
    if (!choice)
        choice = yyjson_arr_get_first(yyjson_obj_get(schema, "anyOf"));
    if (choice && !strcmp(type, "null"))
        put_value(t, choice, depth + 1);
    else if (!strcmp(type, "object"))
        put_object(t, schema, depth);
    else if (!strcmp(type, "array"))
        put_array(t, schema, depth);
    else
        buffer_puts(t->out, !strcmp(type, "string")                               ? "\"\""
                            : !strcmp(type, "integer") || !strcmp(type, "number") ? "0"
                            : !strcmp(type, "boolean")                            ? "false"
                                                                                  : "null");
}

/* The JSON of an input that somebody may edit: required members and those with defaults. */
static void template_put(struct buffer *out, yyjson_val *root)
{
    struct template t = {.out = out, .root = root, .end = uv_hrtime() + TEMPLATE_NS};

    put_value(&t, root, 0);
}

static int print(struct cli *cli, yyjson_val *spec)
{
    struct buffer text = {0};

    if (!cli->options->template)
        return print_value(&cli->printer, spec);
    template_put(&text, yyjson_obj_get(spec, "input_schema"));
    return print_made(&cli->printer, &text);
}

int command_describe(struct cli *cli)
{
    const struct options *o = cli->options;
    struct buffer name = {0};
    struct reply reply = {0};
    int rc;

    rc = command_operation(&name, o->operands[0]);
    if (rc == 0) {
        rc = describe_fetch(cli->remote, buffer_text(&name), o->peer, &reply);
        command_report(rc, &reply);
        peers_explain(cli, "/services/schema", &reply);
        names_suggest(cli, o->operands[0], &reply);
    }
    if (rc == OUTCOME_OK && reply.output && print(cli, reply.output))
        rc = OUTCOME_CONNECTION;
    reply_free(&reply);
    buffer_free(&name);
    return rc;
}
