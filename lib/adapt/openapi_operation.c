/* One operation of a document becomes a registration: the schema of its input, and the plan by which
 * that becomes a request. Both are made in one walk over the parameters, so that there is no
 * property without a place in the request, and no place that nothing fills. */
#include "adapt/openapi_build.h"
#include "adapt/openapi_style.h"
#include "base/json.h"

#include <string.h>

int oas_left_out(struct oas_build *b, const struct oas_place *at, const char *why)
{
    oas_warn(b->im, at, "%s", why);
    return ALK_EINVAL;
}

int oas_put_property(struct oas_build *b, struct str name)
{
    struct buf *out = &b->im->input;
    int rc = buf_puts(out, b->first ? "" : ",") | buf_json_string(out, name.p, name.n) |
             buf_puts(out, ":");

    b->first = false;
    return rc ? ALK_ENOMEM : ALK_OK;
}

bool oas_token_valid(struct str s)
{
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] <= ' ' || s.p[i] > '~' || strchr("()<>@,;:\\\"/[]?={}", s.p[i]))
            return false;
    }
    return s.n > 0;
}

/* ---- path ------------------------------------------------------------------------------------ */

static int param_index(const struct oas_build *b, struct str name)
{
    for (size_t i = 0; i < b->count; i++) {
        if (b->params[i].in == IN_PATH && str_eq(b->params[i].name, name))
            return (int)i;
    }
    return -1;
}

/* A literal of the path as it goes into a URL. Escapes that are there stay. */
static struct str encoded(struct oas_import *im, struct str s)
{
    static const char digits[] = "0123456789ABCDEF";
    char *text = arena_alloc(&im->service->arena, 3 * s.n + 1), *p = text;

    for (size_t i = 0; text && i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];

        if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
            (c && strchr("-._~!$&'()*+,;=:@/%", c))) {
            *p++ = (char)c;
            continue;
        }
        *p++ = '%';
        *p++ = digits[c >> 4];
        *p++ = digits[c & 15];
    }
    if (text)
        *p = 0;
    return (struct str){text, text ? (size_t)(p - text) : 0};
}

/* A parameter of the template that the document does not have: a string. */
static int forgotten(struct oas_build *b, struct str name)
{
    struct oas_build_param *p = &b->params[b->count];

    if (b->count == OAS_PARAMS || !name.n)
        return oas_left_out(b, &b->item->op,
                            "the path has a parameter without a name, or too many");
    oas_warn(b->im, &b->item->op, "the path's parameter %.*s is not described",
             name.n < 64 ? (int)name.n : 64, name.p);
    *p = (struct oas_build_param){.at = {b->item->op.doc, NULL}, .name = name, .in = IN_PATH};
    b->count++;
    return ALK_OK;
}

/* Cuts the template into pieces, in the path's order; params has all of its parameters then. */
static int cut_path(struct oas_build *b, struct oas_piece *pieces, size_t *count)
{
    struct str path = b->item->path;
    const char *fragment = memchr(path.p, '#', path.n);
    size_t start = 0;
    int rc;

    /* Some tell operations of one path apart by it; it is never sent. */
    if (fragment)
        path.n = (size_t)(fragment - path.p);

    *count = 0;
    for (size_t i = 0; i <= path.n; i++) {
        const char *end;
        struct str name;

        if (i < path.n && path.p[i] == '?')
            return oas_left_out(b, &b->item->op, "the path has a query");
        if (i < path.n && path.p[i] != '{')
            continue;
        if (i > start) {
            struct str literal = encoded(b->im, (struct str){path.p + start, i - start});

            if (!literal.p)
                return ALK_ENOMEM;
            pieces[(*count)++] = (struct oas_piece){literal, -1};
        }
        if (i == path.n)
            break;
        end = memchr(path.p + i, '}', path.n - i);
        if (!end)
            return oas_left_out(b, &b->item->op, "the path has a brace that does not end");
        name = (struct str){path.p + i + 1, (size_t)(end - path.p) - i - 1};
        if (param_index(b, name) < 0 && (rc = forgotten(b, name)))
            return rc;
        pieces[(*count)++] = (struct oas_piece){STR_NONE, param_index(b, name)};
        i += name.n + 1;
        start = i + 1;
    }
    return ALK_OK;
}

/* Whether it has segments that would be resolved away on the way, or by a service that decodes
 * more than once. */
static int check_segments(struct oas_build *b, struct str path)
{
    struct oas_complaint unused;
    struct buf *text = &b->im->text;
    struct oas_writer w = {.out = text, .most = OAS_PATH_BYTES, .why = &unused};

    buf_consume(text, text->len);
    oas_put(&w, path);
    if (!oas_leaves(&w, 0))
        return ALK_OK;
    return w.rc ? w.rc : oas_left_out(b, &b->item->op, "the path has dot segments");
}

static int build_path(struct oas_build *b)
{
    struct oas_plan *plan = &b->own->plan;
    size_t most = 1, count;
    struct oas_piece *pieces;
    int rc;

    for (size_t i = 0; i < b->item->path.n; i++)
        most += 2 * (b->item->path.p[i] == '{');
    if ((rc = check_segments(b, b->item->path)))
        return rc;
    if (most > 4 * OAS_PARAMS)
        return oas_left_out(b, &b->item->op, "the path has too many parameters");
    pieces = arena_alloc(&b->im->service->arena, most * sizeof *pieces);
    if (!pieces)
        return ALK_ENOMEM;
    rc = cut_path(b, pieces, &count);
    plan->pieces = pieces;
    plan->piece_count = count;
    return rc;
}

/* ---- the whole ------------------------------------------------------------------------------- */

static int put_required(struct oas_build *b, bool body)
{
    const struct oas_plan *plan = &b->own->plan;
    struct buf *out = &b->im->input;
    bool first = true;
    int rc = buf_puts(out, "},\"required\":[");

    for (size_t i = 0; i < plan->param_count; i++) {
        if (!plan->params[i].required)
            continue;
        rc |= buf_puts(out, first ? "" : ",") |
              buf_json_string(out, plan->params[i].member.p, plan->params[i].member.n);
        first = false;
    }
    if (body)
        rc |= buf_puts(out, first ? "\"body\"" : ",\"body\"");
    return rc | buf_puts(out, "],\"additionalProperties\":false") ? ALK_ENOMEM : ALK_OK;
}

/* The whole text of the operation stands here, where who calls it looks; listings have the
 * summary. */
static int put_head(struct oas_build *b)
{
    const struct oas_place *op = &b->item->op;
    struct str description = oas_cut(oas_get_string(b->im, op, "description"), OAS_TEXT_BYTES);
    struct buf *out = &b->im->input;
    int rc = buf_puts(out, "{\"type\":\"object\"");

    if (description.p)
        rc |=
            buf_puts(out, ",\"description\":") | buf_json_string(out, description.p, description.n);
    if (oas_get_true(b->im, op, "deprecated"))
        rc |= buf_puts(out, ",\"deprecated\":true");
    return rc | buf_puts(out, ",\"properties\":{") ? ALK_ENOMEM : ALK_OK;
}

static int build_input(struct oas_build *b)
{
    struct oas_place body;
    struct buf *out = &b->im->input;
    int rc;

    b->has_body = oas_get(b->im, &b->item->op, "requestBody") != NULL;
    if (b->has_body && !oas_member(b->im, &b->item->op, "requestBody", &body))
        return ALK_EINVAL;
    if ((rc = oas_collect_params(b, &b->item->path_item)) ||
        (rc = oas_collect_params(b, &b->item->op)) || (rc = build_path(b)) || (rc = put_head(b)) ||
        (rc = oas_build_params(b)))
        return rc;
    if (b->has_body && (rc = oas_build_body(b, &body)))
        return rc;
    if ((rc = put_required(b, b->has_body && oas_get_true(b->im, &body, "required"))) ||
        (rc = oas_closure_write(&b->closure, out)))
        return rc;
    if (*b->closure.why) {
        oas_warn(b->im, &b->item->op, "is left out, since %s%s%s%s", *b->closure.where ? "at " : "",
                 b->closure.where, *b->closure.where ? " " : "", b->closure.why);
        return ALK_EINVAL;
    }
    return buf_append(out, "}", 2) ? ALK_ENOMEM : ALK_OK;
}

/* RFC 9110, 9.2.2. */
static bool idempotent(struct str method)
{
    static const char *const methods[] = {"GET", "HEAD", "PUT", "DELETE", "OPTIONS", "QUERY"};

    for (size_t i = 0; i < sizeof methods / sizeof methods[0]; i++) {
        if (str_is(method, methods[i]))
            return true;
    }
    return false;
}

static int build(struct oas_build *b, alk_operation *op)
{
    struct oas_import *im = b->im;
    struct oas_plan *plan = &b->own->plan;
    struct str summary = oas_get_string(im, &b->item->op, "summary");
    int rc;

    plan->method = oas_keep(im, b->item->method).p;
    if (!plan->method)
        return ALK_ENOMEM;
    plan->idempotent = idempotent(b->item->method);
    plan->private_addresses = im->o->private_addresses != 0;
    plan->response_bytes = im->o->response_bytes;
    if ((rc = oas_operation_base(im, b->item, &plan->base)) ||
        (rc = oas_read_security(im, b->item, plan)) || (rc = build_input(b)) ||
        (rc = oas_build_answers(im, b->item, op, b->own)))
        return rc;
    if (!oas_look(im))
        return oas_left_out(b, &b->item->op, "is left out, since " OAS_TOO_MUCH);
    summary = summary.n ? summary : oas_get_string(im, &b->item->op, "description");
    summary = oas_cut(summary, OAS_SUMMARY_BYTES);
    if (summary.p && !(op->description = arena_dup(&im->scratch, summary.p, summary.n)))
        return ALK_ENOMEM;
    op->description_len = summary.n;
    im->inputs += summary.n + im->input.len;
    im->answers += im->output.len + im->errors.len;
    if (im->inputs > OAS_INPUTS_BYTES || im->answers > OAS_ANSWERS_BYTES)
        return oas_left_out(b, &b->item->op,
                            "is left out, since those before it have taken all room");
    op->name = b->item->name.p;
    op->input_schema = buf_at(&im->input);
    op->provenance = ALK_FROM_OPENAPI;
    op->visibility = im->o->is_public || im->o->access_control ? ALK_EXTERNAL : ALK_INTERNAL_ONLY;
    op->access_control = im->o->access_control;
    op->capabilities = im->o->capabilities;
    op->handler = oas_call;
    return ALK_OK;
}

int oas_build(struct oas_import *im, const struct oas_item *item, alk_operation *op)
{
    struct oas_build *b = arena_alloc(&im->scratch, sizeof *b);
    int rc;

    buf_consume(&im->input, im->input.len);
    buf_consume(&im->output, im->output.len);
    buf_consume(&im->errors, im->errors.len);
    alk_operation_init(op, sizeof *op);
    if (!b)
        return ALK_ENOMEM;
    b->im = im;
    b->item = item;
    b->count = 0;
    b->first = true;
    b->own = arena_zalloc(&im->service->arena, sizeof *b->own);
    if (!b->own)
        return ALK_ENOMEM;
    oas_closure_init(&b->closure, &im->schemas, OAS_REQUEST);
    rc = build(b, op);
    oas_closure_fini(&b->closure);
    if (rc)
        return rc;
    b->own->service = im->service;
    __atomic_fetch_add(&im->service->refs, 1, __ATOMIC_RELAXED);
    op->ud = b->own;
    op->ud_free = oas_operation_free;
    return ALK_OK;
}
