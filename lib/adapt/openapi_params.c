/* The parameters of an operation: which there are, what they are called in the input, and how each
 * is sent. Both sides are made in one walk, so that there is no property without a place in the
 * request, and no place that nothing fills. */
#include "adapt/openapi_build.h"

#include "base/json.h"

#include <string.h>
#include <strings.h>

/* ---- parameters ------------------------------------------------------------------------------ */

static int place_of(struct str in)
{
    static const char *const places[] = {[IN_PATH] = "path",
                                         [IN_QUERY] = "query",
                                         [IN_HEADER] = "header",
                                         [IN_COOKIE] = "cookie",
                                         [IN_QUERYSTRING] = "querystring"};

    for (int i = 0; i <= IN_QUERYSTRING; i++) {
        if (str_is(in, places[i]))
            return i;
    }
    return -1;
}

static bool same_name(int in, struct str a, struct str b)
{
    return in == IN_HEADER ? a.n == b.n && !strncasecmp(a.p, b.p, a.n) : str_eq(a, b);
}

/* The credential has that place. */
static bool is_credential(const struct oas_plan *plan, int in, struct str name)
{
    for (size_t i = 0; i < plan->security_count; i++) {
        for (size_t k = 0; k < plan->security[i].count; k++) {
            const struct oas_credential *c = &plan->security[i].credentials[k];

            if (c->show == SHOW_KEY && c->in == in && same_name(in, c->name, name))
                return true;
        }
    }
    return false;
}

/* What OpenAPI has importers ignore, and what a request has of itself. */
static bool taken(struct oas_build *b, const struct oas_build_param *p)
{
    static const char *const ignored[] = {"accept", "content-type", "authorization"};

    if (is_credential(&b->own->plan, p->in, p->name))
        return true;
    for (size_t i = 0; p->in == IN_HEADER && i < 3; i++) {
        if (same_name(IN_HEADER, p->name, str_of(ignored[i])))
            return true;
    }
    if ((p->in == IN_HEADER && !oas_header_allowed(p->name)) ||
        (p->in == IN_COOKIE && !oas_token_valid(p->name))) {
        oas_warn(b->im, &p->at, "a parameter of that name cannot be sent");
        return true;
    }
    return false;
}

/* Those of the operation come behind those of its path, and take the place of one that is the
 * same. */
int oas_collect_params(struct oas_build *b, const struct oas_place *of)
{
    struct oas_place list, at;
    yyjson_arr_iter it;
    yyjson_val *item;

    if (!oas_member(b->im, of, "parameters", &list))
        return ALK_OK;
    it = yyjson_arr_iter_with(list.val);
    while (oas_look(b->im) && (item = yyjson_arr_iter_next(&it))) {
        struct oas_build_param p;
        size_t i = 0;

        at = (struct oas_place){list.doc, item};
        if (!oas_follow(b->im, &at, &p.at))
            return ALK_EINVAL;
        p.name = oas_get_string(b->im, &p.at, "name");
        p.in = place_of(oas_get_string(b->im, &p.at, "in"));
        if (!p.name.p && p.in == IN_QUERYSTRING)
            p.name = str_of("querystring");
        if (!p.name.n || p.in < 0)
            return oas_left_out(b, &p.at,
                                "a parameter needs a name and one of the known places (in)");
        if (taken(b, &p))
            continue;
        while (i < b->count &&
               !(b->params[i].in == p.in && same_name(p.in, b->params[i].name, p.name)))
            i++;
        if (i == OAS_PARAMS)
            return oas_left_out(b, &list, "has too many parameters");
        b->params[i] = p;
        b->count += i == b->count;
    }
    return ALK_OK;
}

static bool member_taken(const struct oas_build *b, size_t before, struct str member)
{
    if (str_is(member, "body") && b->has_body)
        return true;
    for (size_t i = 0; i < before; i++) {
        if (str_eq(b->params[i].member, member))
            return true;
    }
    return false;
}

/* Its name, or, when another has that, "query_name". */
static int name_members(struct oas_build *b)
{
    static const char *const prefixes[] = {"path_", "query_", "header_", "cookie_", "query_"};

    for (size_t i = 0; i < b->count; i++) {
        struct oas_build_param *p = &b->params[i];

        p->member = p->name;
        while (member_taken(b, i, p->member)) {
            size_t n = strlen(prefixes[p->in]);
            char *text = arena_alloc(&b->im->scratch, n + p->member.n + 1);

            if (!text)
                return ALK_ENOMEM;
            memcpy(text, prefixes[p->in], n);
            memcpy(text + n, p->member.p, p->member.n);
            text[n + p->member.n] = 0;
            p->member = (struct str){text, n + p->member.n};
        }
    }
    return ALK_OK;
}

static int style_of(struct oas_build *b, const struct oas_build_param *p)
{
    static const struct {
        const char *name;
        uint8_t style, places;
    } styles[] = {
        {"simple", STYLE_SIMPLE, 1u << IN_PATH | 1u << IN_HEADER},
        {"label", STYLE_LABEL, 1u << IN_PATH},
        {"matrix", STYLE_MATRIX, 1u << IN_PATH},
        {"form", STYLE_FORM, 1u << IN_QUERY | 1u << IN_COOKIE},
        {"spaceDelimited", STYLE_SPACE, 1u << IN_QUERY},
        {"pipeDelimited", STYLE_PIPE, 1u << IN_QUERY},
        {"deepObject", STYLE_DEEP, 1u << IN_QUERY},
        {"cookie", STYLE_COOKIE, 1u << IN_COOKIE},
    };
    int own = p->in == IN_PATH || p->in == IN_HEADER ? STYLE_SIMPLE : STYLE_FORM;
    struct str style = oas_get_string(b->im, &p->at, "style");

    for (size_t i = 0; style.p && i < sizeof styles / sizeof styles[0]; i++) {
        if (str_is(style, styles[i].name) && styles[i].places & 1u << p->in)
            return styles[i].style;
    }
    if (style.p)
        oas_warn(b->im, &p->at, "the style %.32s is none of its place: it is sent as without one",
                 style.p);
    return own;
}

/* The value of its first media type; *type: that. */
static bool content(struct oas_build *b, const struct oas_place *of, struct str *type,
                    struct oas_place *out)
{
    struct oas_place all;
    yyjson_obj_iter it;
    yyjson_val *key;

    if (!oas_member(b->im, of, "content", &all))
        return false;
    it = yyjson_obj_iter_with(all.val);
    key = yyjson_obj_iter_next(&it);
    if (!key)
        return false;
    *type = json_string(key);
    *out = (struct oas_place){all.doc, yyjson_obj_iter_get_val(key)};
    return oas_follow(b->im, out, out);
}

static int put_param(struct oas_build *b, const struct oas_build_param *p, struct oas_param *plan)
{
    struct oas_place schema = {p->at.doc, oas_get(b->im, &p->at, "schema")}, media;
    struct str type, description = oas_get_string(b->im, &p->at, "description");
    yyjson_val *explode = oas_get(b->im, &p->at, "explode");
    bool deprecated = oas_get_true(b->im, &p->at, "deprecated");
    char lower[64];
    int rc = oas_put_property(b, p->member);

    *plan = (struct oas_param){.name = oas_keep(b->im, p->name),
                               .member = oas_keep(b->im, p->member),
                               .in = (uint8_t)p->in};
    if (rc || !plan->name.p || !plan->member.p)
        return ALK_ENOMEM;
    plan->style = (uint8_t)style_of(b, p);
    plan->explode = explode ? yyjson_is_true(explode)
                            : plan->style == STYLE_FORM || plan->style == STYLE_COOKIE;
    plan->reserved = oas_get_true(b->im, &p->at, "allowReserved");
    plan->required = p->in == IN_PATH || oas_get_true(b->im, &p->at, "required");
    description = oas_cut(description, OAS_TEXT_BYTES);
    if (!schema.val && content(b, &p->at, &type, &media)) {
        schema = (struct oas_place){media.doc, oas_get(b->im, &media, "schema")};
        if (oas_is_json(oas_media_type(type, lower, sizeof lower)))
            plan->style = STYLE_JSON;
    }
    if (schema.val)
        return oas_schema_write(&b->closure, &schema, description, deprecated, &b->im->input);
    rc = buf_puts(&b->im->input, "{");
    if (description.p)
        rc |= buf_puts(&b->im->input, "\"description\":") |
              buf_json_string(&b->im->input, description.p, description.n);
    return rc | buf_puts(&b->im->input, "}") ? ALK_ENOMEM : ALK_OK;
}

int oas_build_params(struct oas_build *b)
{
    struct oas_plan *plan = &b->own->plan;
    struct oas_param *params =
        arena_zalloc(&b->im->service->arena, (b->count + 1) * sizeof(struct oas_param));
    int rc = params ? name_members(b) : ALK_ENOMEM;

    for (size_t i = 0; !rc && i < b->count; i++)
        rc = put_param(b, &b->params[i], &params[i]);
    plan->params = params;
    plan->param_count = b->count;
    return rc;
}
