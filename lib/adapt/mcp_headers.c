/* Arguments that a tool wants to have as headers too (x-mcp-header in its input schema, revision
 * 2026-07-28), so that what stands between can route by them. Only scalar properties that can be
 * reached through `properties` alone may have one; a tool that says so elsewhere is not to be used.
 *
 * They are kept as text: for each the name and, as a pointer into the arguments, the place, both with
 * a NUL behind. */
#include "adapt/mcp_client.h"

#include "wire/http_head.h"

#include <stdio.h>
#include <strings.h>

#define HEADER "x-mcp-header"
#define HEADERS_MAX 64u /* of one tool */
#define NAME_BYTES 128u
#define POINTER_BYTES 1024u
#define INTEGER_MAX 9007199254740991.0 /* what a double holds exactly */

struct reading {
    struct buf *out;
    const char *why; /* static; NULL: all is well */
    size_t count;
    bool lost; /* out of memory */
    char pointer[POINTER_BYTES];
};

static bool is_taken(const struct reading *r, struct str name)
{
    const char *p = r->out->len ? buf_at(r->out) : NULL;

    for (size_t i = 0; i < r->count; i++) {
        if (strlen(p) == name.n && !strncasecmp(p, name.p, name.n))
            return true;
        p += strlen(p) + 1;
        p += strlen(p) + 1;
    }
    return false;
}

static void found(struct reading *r, yyjson_val *schema, yyjson_val *header, size_t at,
                  bool allowed)
{
    struct str name = json_string(header), type = json_string(yyjson_obj_get(schema, "type"));

    if (!allowed || !at)
        r->why = "x-mcp-header stands where it may not";
    else if (!name.n || name.n > NAME_BYTES || !http_is_token(name))
        r->why = "x-mcp-header is no name of a header";
    else if (!str_is(type, "string") && !str_is(type, "integer") && !str_is(type, "boolean"))
        r->why = "x-mcp-header is only for string, integer and boolean";
    else if (r->count == HEADERS_MAX)
        r->why = "x-mcp-header stands there more than 64 times";
    else if (is_taken(r, name))
        r->why = "x-mcp-header has a name twice";
    else if (buf_append(r->out, name.p, name.n) || buf_append(r->out, "", 1) ||
             buf_append(r->out, r->pointer, at) || buf_append(r->out, "", 1))
        r->lost = true;
    else
        r->count++;
}

/* The new length; 0: it is too long, or has a NUL. */
static size_t add_segment(struct reading *r, size_t at, struct str name)
{
    if (at + 2 * name.n + 1 > POINTER_BYTES || memchr(name.p, 0, name.n))
        return 0;
    r->pointer[at++] = '/';
    for (size_t i = 0; i < name.n; i++) {
        if (name.p[i] == '~' || name.p[i] == '/')
            r->pointer[at++] = '~';
        r->pointer[at++] = (char)(name.p[i] == '~' ? '0' : name.p[i] == '/' ? '1' : name.p[i]);
    }
    return at;
}

static void visit(struct reading *r, yyjson_val *schema, size_t at, bool allowed);

static void visit_all(struct reading *r, yyjson_val *of)
{
    yyjson_arr_iter items = yyjson_arr_iter_with(of);
    yyjson_obj_iter members = yyjson_obj_iter_with(of);
    yyjson_val *v;

    while (!r->why && (v = yyjson_arr_iter_next(&items)))
        visit(r, v, 0, false);
    while (!r->why && (v = yyjson_obj_iter_next(&members)))
        visit(r, yyjson_obj_iter_get_val(v), 0, false);
}

/* Its recursion is as deep as JSON may be. */
static void visit(struct reading *r, yyjson_val *schema, size_t at, bool allowed)
{
    /* Those of the second row have schemas by name. */
    static const char *const others[] = {"items",    "prefixItems",
                                         "contains", "additionalProperties",
                                         "oneOf",    "unevaluatedProperties",
                                         "anyOf",    "unevaluatedItems",
                                         "allOf",    "propertyNames",
                                         "not",      "if",
                                         "then",     "else"};
    static const char *const named[] = {"patternProperties", "dependentSchemas", "$defs",
                                        "definitions"};
    yyjson_val *header = yyjson_obj_get(schema, HEADER), *key, *v;
    yyjson_obj_iter it = yyjson_obj_iter_with(yyjson_obj_get(schema, "properties"));

    if (header)
        found(r, schema, header, at, allowed);
    while (!r->why && (key = yyjson_obj_iter_next(&it))) {
        size_t inside = allowed ? add_segment(r, at, json_string(key)) : 0;

        visit(r, yyjson_obj_iter_get_val(key), inside, allowed && inside);
    }
    for (size_t i = 0; !r->why && i < sizeof others / sizeof others[0]; i++) {
        v = yyjson_obj_get(schema, others[i]);
        if (yyjson_is_arr(v))
            visit_all(r, v);
        else if (v)
            visit(r, v, 0, false);
    }
    for (size_t i = 0; !r->why && i < sizeof named / sizeof named[0]; i++)
        visit_all(r, yyjson_obj_get(schema, named[i]));
}

int mcp_headers_read(struct buf *out, yyjson_val *schema, const char **why)
{
    struct reading r = {.out = out};

    visit(&r, schema, 0, true);
    *why = r.why;
    return r.lost ? ALK_ENOMEM : ALK_OK;
}

/* As text; p NULL: it is none that goes into a header. */
static struct str text_of(yyjson_val *v, char number[32])
{
    double d = json_double(v);

    if (yyjson_is_str(v))
        return json_string(v);
    if (yyjson_is_bool(v))
        return str_of(yyjson_get_bool(v) ? "true" : "false");
    if (!json_is_number(v) || !(d >= -INTEGER_MAX && d <= INTEGER_MAX) || d != (double)(int64_t)d)
        return STR_NONE;
    snprintf(number, 32, "%lld", (long long)d);
    return str_of(number);
}

int mcp_headers_put(struct mcp_exchange *x, struct str headers, yyjson_val *arguments)
{
    size_t at = 0;
    int rc = ALK_OK;

    while (!rc && at < headers.n) {
        struct str name = str_of(headers.p + at), pointer = str_of(name.p + name.n + 1), value;
        char number[32];

        at += name.n + 1 + pointer.n + 1;
        value = text_of(json_pointer(arguments, pointer.p, pointer.n), number);
        if (value.n > MCP_HEADER_BYTES)
            rc = ALK_EINVAL;
        else if (value.p)
            rc = mcp_put_header(x, "Mcp-Param-", name, value);
    }
    return rc;
}
