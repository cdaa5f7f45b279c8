/* What an operation answers: which of its answers is its result and with what schema, which media
 * types it is asked for, whether it is a stream of events, and which errors it declares. */
#include "adapt/openapi_int.h"

#include "base/json.h"

#include <stdio.h>
#include <string.h>

#define ACCEPT_MAX 1024u
#define TYPE_MAX 128u
#define ERRORS_MAX 256u

/* What is known of the answers when all have been seen. */
struct answers {
    struct oas_import *im;
    const struct oas_item *item;
    struct oas_operation *own;
    struct str *types;
    struct oas_place result, events; /* the best so far: schema of a media type */
    int rank, event_rank;            /* lower is better; 0: none */
    bool text, other;                /* the result is no JSON */
    bool has_events;
    struct buf *accept;
};

static bool digit(char c)
{
    return c >= '0' && c <= '9';
}

/* 200, 201, 2XX, any other of 2xx, default; 0: it is no success. */
static int success_rank(struct str status)
{
    if (str_is(status, "default"))
        return 5;
    if (status.n != 3 || status.p[0] != '2')
        return 0;
    return str_is(status, "200")                                               ? 1
           : str_is(status, "201")                                             ? 2
           : (status.p[1] == 'X' || status.p[1] == 'x') && !digit(status.p[2]) ? 3
                                                                               : 4;
}

/* Accept lists each once. */
static int note_type(struct answers *a, struct str type)
{
    struct oas_operation *own = a->own;

    for (size_t i = 0; i < own->type_count; i++) {
        if (str_eq(own->types[i], type))
            return ALK_OK;
    }
    if (own->type_count == OAS_TYPES)
        return ALK_OK;
    type = oas_keep(a->im, type);
    if (!type.p)
        return ALK_ENOMEM;
    a->types[own->type_count++] = type;
    return ALK_OK;
}

static bool type_valid(struct str t)
{
    const char *slash = memchr(t.p, '/', t.n);

    return slash && oas_token_valid((struct str){t.p, (size_t)(slash - t.p)}) &&
           oas_token_valid((struct str){slash + 1, t.n - (size_t)(slash - t.p) - 1});
}

/* What an event has in its data: 3.2 describes the fields of an event, of which data may have a
 * schema for what it is the text of. Before that, the schema beside text/event-stream is what
 * people describe their data with. */
static struct oas_place event_schema(struct answers *a, const struct oas_place *media)
{
    struct oas_place at = {media->doc, oas_get(a->im, media, "itemSchema")}, item, data, c;

    if (!at.val)
        return (struct oas_place){media->doc, oas_get(a->im, media, "schema")};
    if (!oas_follow(a->im, &at, &item) || !oas_member(a->im, &item, "properties", &data) ||
        !oas_member(a->im, &data, "data", &at))
        return (struct oas_place){media->doc, NULL};
    c = (struct oas_place){at.doc, oas_get(a->im, &at, "contentSchema")};
    return c.val ? c : at;
}

static int see_media(struct answers *a, int rank, struct str key, const struct oas_place *media)
{
    char lower[TYPE_MAX];
    struct str type = oas_media_type(key, lower, sizeof lower);
    bool json = oas_is_json(type) || str_is(type, "*/*");
    struct oas_place schema = {media->doc, oas_get(a->im, media, "schema")};

    if (!type_valid(type))
        return ALK_OK;
    if (str_is(type, "text/event-stream")) {
        /* Only of what is answered to a request that went well as it was made. */
        if (rank > 2)
            return ALK_OK;
        a->has_events = true;
        if (!a->event_rank || rank < a->event_rank)
            a->events = event_schema(a, media);
        a->event_rank = rank;
    } else if (json && (!a->rank || rank < a->rank || a->text || a->other)) {
        a->result = schema;
        a->rank = rank;
        a->text = a->other = false;
    } else if (!a->rank) {
        a->rank = rank;
        a->text = str_starts(type, "text/");
        a->other = !a->text;
    }
    return note_type(a, type);
}

static int see_success(struct answers *a, int rank, const struct oas_place *answer)
{
    struct oas_place content, media;
    yyjson_obj_iter it;
    yyjson_val *key;
    int rc = ALK_OK;

    if (!oas_member(a->im, answer, "content", &content))
        return ALK_OK;
    it = yyjson_obj_iter_with(content.val);
    while (!rc && oas_look(a->im) && (key = yyjson_obj_iter_next(&it))) {
        media = (struct oas_place){content.doc, yyjson_obj_iter_get_val(key)};
        if (oas_follow(a->im, &media, &media))
            rc = see_media(a, rank, json_string(key), &media);
    }
    return rc;
}

/* ---- errors ---------------------------------------------------------------------------------- */

/* The schema of an answer's JSON; val NULL: it has none. */
static struct oas_place error_schema(struct answers *a, const struct oas_place *answer)
{
    struct oas_place content, media;
    yyjson_obj_iter it;
    yyjson_val *key;
    char lower[TYPE_MAX];

    if (oas_member(a->im, answer, "content", &content)) {
        it = yyjson_obj_iter_with(content.val);
        while (oas_look(a->im) && (key = yyjson_obj_iter_next(&it))) {
            media = (struct oas_place){content.doc, yyjson_obj_iter_get_val(key)};
            if (oas_is_json(oas_media_type(json_string(key), lower, sizeof lower)) &&
                oas_follow(a->im, &media, &media))
                return (struct oas_place){media.doc, oas_get(a->im, &media, "schema")};
        }
    }
    return (struct oas_place){answer->doc, NULL};
}

/* The schema with all that it reaches, in one text; what cannot be translated is left out with a
 * warning. A schema that is true or false says nothing worth having. */
static int put_schema(struct answers *a, const struct oas_place *schema, const char *before,
                      struct buf *out)
{
    size_t start = out->len;
    struct oas_closure c;
    int rc = ALK_ENOMEM;

    if (!yyjson_is_obj(schema->val))
        return ALK_OK;
    if (a->im->answers > OAS_ANSWERS_BYTES / 4 * 3) {
        oas_warn(a->im, &a->item->op,
                 "an answer's schema is left out, since those before it have taken all room");
        return ALK_OK;
    }
    oas_closure_init(&c, &a->im->schemas, OAS_ANSWER);
    if (!buf_puts(out, before) && !buf_puts(out, "{\"allOf\":["))
        rc = oas_schema_write(&c, schema, STR_NONE, false, out);
    if (!rc)
        rc = buf_puts(out, "]") ? ALK_ENOMEM : oas_closure_write(&c, out);
    if (!rc && buf_puts(out, "}"))
        rc = ALK_ENOMEM;
    if (!rc && *c.why) {
        oas_warn(a->im, &a->item->op, "an answer's schema is left out, since %s%s%s%s",
                 *c.where ? "at " : "", c.where, *c.where ? " " : "", c.why);
        buf_truncate(out, start);
    }
    oas_closure_fini(&c);
    return rc;
}

/* A status that no error may have in the protocol (3xx) is told by its code alone. */
static int put_error(struct answers *a, struct str status, const struct oas_place *answer,
                     unsigned at)
{
    struct str description =
        oas_cut(oas_get_string(a->im, answer, "description"), OAS_SUMMARY_BYTES);
    struct oas_place schema = error_schema(a, answer);
    struct buf *out = &a->im->errors;
    int rc = buf_printf(out, "%s{\"code\":\"HTTP_%.3s\"", at ? "," : "[", status.p);

    if (status.p[0] >= '4')
        rc |= buf_printf(out, ",\"http_status\":%.3s", status.p);
    if (description.n)
        rc |=
            buf_puts(out, ",\"description\":") | buf_json_string(out, description.p, description.n);
    if (rc)
        return ALK_ENOMEM;
    rc = put_schema(a, &schema, ",\"schema\":", out);
    return rc ? rc : buf_puts(out, "}") ? ALK_ENOMEM : ALK_OK;
}

static bool error_status(struct str s)
{
    return s.n == 3 && digit(s.p[1]) && digit(s.p[2]) && s.p[0] >= '3' && s.p[0] <= '5';
}

/* ---- the whole ------------------------------------------------------------------------------- */

static int see_all(struct answers *a, unsigned *errors)
{
    struct oas_place all, answer;
    yyjson_obj_iter it;
    yyjson_val *key;
    int rc = ALK_OK;

    if (!oas_member(a->im, &a->item->op, "responses", &all))
        return ALK_OK;
    it = yyjson_obj_iter_with(all.val);
    while (!rc && oas_look(a->im) && (key = yyjson_obj_iter_next(&it))) {
        struct str status = json_string(key);
        int rank = success_rank(status);

        answer = (struct oas_place){all.doc, yyjson_obj_iter_get_val(key)};
        if (!(rank || (error_status(status) && *errors < ERRORS_MAX)) ||
            !oas_follow(a->im, &answer, &answer))
            continue;
        rc = rank ? see_success(a, rank, &answer) : put_error(a, status, &answer, (*errors)++);
    }
    return rc;
}

/* Anything is accepted behind what is known, so that a service which checks does not refuse. */
static int put_accept(struct answers *a)
{
    struct oas_plan *plan = &a->own->plan;
    struct buf *b = &a->im->text;
    int rc;

    plan->headers = a->im->headers;
    if (a->im->accepts)
        return ALK_OK;
    buf_consume(b, b->len);
    rc = a->im->headers.n ? buf_append(b, a->im->headers.p, a->im->headers.n) : 0;
    rc |= buf_puts(b, "Accept: ");
    if (a->has_events)
        rc |= buf_puts(b, "text/event-stream, ");
    for (size_t i = 0; i < a->own->type_count && b->len < ACCEPT_MAX; i++) {
        struct str t = a->own->types[i];

        if (!str_is(t, "text/event-stream") && !str_is(t, "*/*"))
            rc |= buf_append(b, t.p, t.n) | buf_puts(b, ", ");
    }
    rc |= buf_puts(b, "*/*;q=0.1\r\n");
    if (rc)
        return ALK_ENOMEM;
    plan->headers = oas_keep(a->im, (struct str){buf_at(b), b->len});
    return plan->headers.p ? ALK_OK : ALK_ENOMEM;
}

#define BYTES_SCHEMA                                                                               \
    "{\"type\":\"object\",\"properties\":{\"content_type\":{\"type\":\"string\"},"                 \
    "\"base64\":{\"type\":\"string\",\"contentEncoding\":\"base64\"}}}"

static int put_output(struct answers *a, alk_operation *op)
{
    const struct oas_place *schema = a->has_events ? &a->events : &a->result;
    struct buf *out = &a->im->output;
    int rc;

    if (!a->has_events && (a->text || a->other))
        rc = buf_puts(out, a->text ? "{\"type\":\"string\"}" : BYTES_SCHEMA) ? ALK_ENOMEM : ALK_OK;
    else
        rc = put_schema(a, schema, "", out);
    if (rc || !out->len)
        return rc;
    if (buf_append(out, "", 1))
        return ALK_ENOMEM;
    op->output_schema = buf_at(out);
    return ALK_OK;
}

int oas_build_answers(struct oas_import *im, const struct oas_item *item, alk_operation *op,
                      struct oas_operation *own)
{
    struct answers a = {.im = im, .item = item, .own = own};
    unsigned errors = 0;
    int rc;

    a.types = arena_alloc(&im->service->arena, OAS_TYPES * sizeof *a.types);
    if (!a.types)
        return ALK_ENOMEM;
    own->types = a.types;
    if ((rc = see_all(&a, &errors)) || (rc = put_accept(&a)) || (rc = put_output(&a, op)))
        return rc;
    if (errors) {
        if (buf_append(&im->errors, "]", 2))
            return ALK_ENOMEM;
        op->error_schemas = buf_at(&im->errors);
    }
    own->plan.stream = a.has_events;
    op->type = a.has_events                                                  ? ALK_SUBSCRIPTION
               : str_is(item->method, "GET") || str_is(item->method, "HEAD") ? ALK_QUERY
                                                                             : ALK_MUTATION;
    return ALK_OK;
}
