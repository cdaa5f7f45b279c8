/* The body of an operation's requests: of which of its media types it is, what a caller gives for it,
 * and how the parts of a form are sent. */
#include "adapt/openapi_build.h"

#include "base/json.h"

#include <string.h>

static int body_kind(struct str type)
{
    if (oas_is_json(type) || str_is(type, "*/*"))
        return BODY_JSON;
    if (str_is(type, "multipart/form-data"))
        return BODY_MULTIPART;
    if (str_is(type, "application/x-www-form-urlencoded"))
        return BODY_FORM;
    return str_starts(type, "text/") ? BODY_TEXT : BODY_BINARY;
}

/* The media type that says most about the body: JSON, then forms, then text. */
static bool choose_body(struct oas_build *b, const struct oas_place *body, struct str *type,
                        struct oas_place *media)
{
    struct oas_plan *plan = &b->own->plan;
    struct oas_place all;
    yyjson_obj_iter it;
    yyjson_val *key;
    char lower[128];

    if (!oas_member(b->im, body, "content", &all))
        return false;
    it = yyjson_obj_iter_with(all.val);
    while (oas_look(b->im) && (key = yyjson_obj_iter_next(&it))) {
        struct str t = json_string(key);
        int kind = body_kind(oas_media_type(t, lower, sizeof lower));

        if (plan->body && kind >= plan->body)
            continue;
        plan->body = (uint8_t)kind;
        *type = t;
        *media = (struct oas_place){all.doc, yyjson_obj_iter_get_val(key)};
    }
    return plan->body && oas_follow(b->im, media, media);
}

/* As files are described: format binary (3.0), or content of some type that is not encoded. */
static bool is_file(struct oas_import *im, const struct oas_place *schema)
{
    struct str format = oas_get_string(im, schema, "format");

    return str_is(format, "binary") || str_is(format, "base64") ||
           (oas_get(im, schema, "contentMediaType") && !oas_get(im, schema, "contentSchema")) ||
           oas_get(im, schema, "contentEncoding");
}

static struct str first_type(struct str types)
{
    const char *comma = types.p ? memchr(types.p, ',', types.n) : NULL;

    return comma ? (struct str){types.p, (size_t)(comma - types.p)} : types;
}

static bool printable(struct str s)
{
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] < 0x20 || s.p[i] > 0x7e)
            return false;
    }
    return s.n > 0;
}

/* How one property of a form is written. */
static int build_part(struct oas_build *b, const struct oas_place *property, struct str name,
                      const struct oas_place *encoding, struct oas_part *part)
{
    yyjson_val *explode = oas_get(b->im, encoding, "explode");
    struct str style = oas_get_string(b->im, encoding, "style");
    struct str type = first_type(oas_get_string(b->im, encoding, "contentType"));
    struct oas_place items = {property->doc, oas_get(b->im, property, "items")};
    char lower[64];

    *part = (struct oas_part){.name = oas_keep(b->im, name), .style = STYLE_FORM};
    if (str_is(style, "spaceDelimited"))
        part->style = STYLE_SPACE;
    else if (str_is(style, "pipeDelimited"))
        part->style = STYLE_PIPE;
    else if (str_is(style, "deepObject"))
        part->style = STYLE_DEEP;
    part->explode = explode ? yyjson_is_true(explode) : part->style == STYLE_FORM;
    part->reserved = oas_get_true(b->im, encoding, "allowReserved");
    part->binary = is_file(b->im, property) || is_file(b->im, &items);
    if (!type.p && part->binary) {
        type = oas_get_string(b->im, property, "contentMediaType");
        type = type.p ? type : str_of("application/octet-stream");
    }
    if (type.p && printable(type)) {
        part->content_type = oas_keep(b->im, type);
        part->json = oas_is_json(oas_media_type(type, lower, sizeof lower));
    }
    return part->name.p && (part->content_type.p || !type.p || !printable(type)) ? ALK_OK
                                                                                 : ALK_ENOMEM;
}

/* Whether an encoding changes how a property of a form is written. What only names headers, or
 * nothing, does not. */
static bool says(struct oas_import *im, const struct oas_place *encoding)
{
    static const char *const members[] = {"contentType", "style", "explode", "allowReserved"};

    for (size_t i = 0; i < sizeof members / sizeof members[0]; i++) {
        if (oas_get(im, encoding, members[i]))
            return true;
    }
    return false;
}

static int build_parts(struct oas_build *b, const struct oas_place *schema,
                       const struct oas_place *encodings)
{
    struct oas_plan *plan = &b->own->plan;
    struct oas_place props, object;
    struct oas_part *parts;
    size_t most;
    yyjson_obj_iter it;
    yyjson_val *key;
    int rc = ALK_OK;

    if (!schema->val || !oas_follow(b->im, schema, &object) ||
        !oas_member(b->im, &object, "properties", &props))
        return ALK_OK;
    most = yyjson_obj_size(props.val);
    most = most < OAS_ENCODINGS ? most : OAS_ENCODINGS;
    parts = arena_zalloc(&b->im->service->arena, (most + 1) * sizeof *parts);
    if (!parts)
        return ALK_ENOMEM;
    it = yyjson_obj_iter_with(props.val);
    while (!rc && (key = yyjson_obj_iter_next(&it))) {
        struct oas_place property = {props.doc, yyjson_obj_iter_get_val(key)};
        struct oas_place encoding = {encodings->doc,
                                     oas_get(b->im, encodings, yyjson_get_str(key))};
        struct str name = json_string(key);

        if (plan->part_count == OAS_ENCODINGS) {
            oas_warn(b->im, &props, "has too many properties: the rest is sent as text");
            break;
        }
        if (plan->body == BODY_FORM && !says(b->im, &encoding))
            continue;
        if (oas_follow(b->im, &property, &property))
            rc = build_part(b, &property, name, &encoding, &parts[plan->part_count++]);
    }
    plan->parts = parts;
    return rc;
}

int oas_build_body(struct oas_build *b, const struct oas_place *body)
{
    struct oas_plan *plan = &b->own->plan;
    struct str description = oas_get_string(b->im, body, "description"), type;
    struct oas_place media, schema, encodings;
    int rc;

    if (!choose_body(b, body, &type, &media))
        return oas_left_out(b, body, "its body has no content that is known");
    if (str_is(type, "*/*"))
        type = str_of("application/json");
    if (!printable(type) || memchr(type.p, '*', type.n))
        type = plan->body == BODY_TEXT ? str_of("text/plain") : str_of("application/octet-stream");
    plan->content_type = oas_keep(b->im, type);
    schema = (struct oas_place){media.doc, oas_get(b->im, &media, "schema")};
    encodings = (struct oas_place){media.doc, oas_get(b->im, &media, "encoding")};
    rc = plan->content_type.p ? oas_put_property(b, str_of("body")) : ALK_ENOMEM;
    if (rc)
        return rc;
    if (plan->body == BODY_BINARY)
        return buf_puts(&b->im->input, "{\"type\":\"string\",\"contentEncoding\":\"base64\"}")
                   ? ALK_ENOMEM
                   : ALK_OK;
    if (plan->body == BODY_FORM || plan->body == BODY_MULTIPART)
        rc = build_parts(b, &schema, &encodings);
    if (rc)
        return rc;
    if (!schema.val || plan->body == BODY_TEXT)
        return buf_puts(&b->im->input, plan->body == BODY_JSON   ? "{}"
                                       : plan->body == BODY_TEXT ? "{\"type\":\"string\"}"
                                                                 : "{\"type\":\"object\"}")
                   ? ALK_ENOMEM
                   : ALK_OK;
    return oas_schema_write(&b->closure, &schema, oas_cut(description, OAS_TEXT_BYTES), false,
                            &b->im->input);
}
