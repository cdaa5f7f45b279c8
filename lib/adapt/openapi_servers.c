/* Of an import: where the service is, and how secrets are shown there. Both are configuration first:
 * a base URL that is configured is the only place that is reached, whatever servers the document,
 * a path or an operation names; without one, all that is taken from the document is one origin,
 * which is the one that the document itself came from, or a public one. */
#include "adapt/openapi_int.h"

#include "adapt/options.h"
#include "base/ip.h"

#include <stdio.h>
#include <strings.h>

#define SERVER_BYTES 4096u

/* ---- options --------------------------------------------------------------------------------- */

static int read_object(struct oas_import *im, const char *name, const char *text,
                       const char *const *known, yyjson_val **out)
{
    char why[OPTION_WHY_SIZE];
    int rc = option_object(&im->arena, name, text, known, out, why);

    return rc == ALK_EINVAL ? oas_fail(im, rc, "%s", why) : rc;
}

static int read_filter(struct oas_import *im)
{
    static const char *const known[] = {"include", "exclude", "methods", "tags", NULL};
    char why[OPTION_WHY_SIZE];
    int rc = option_lists(&im->arena, "operation_filter", im->o->operation_filter, known,
                          &im->filter, why);

    return rc == ALK_EINVAL ? oas_fail(im, rc, "%s", why) : rc;
}

/* Accept may be configured: some services tell their versions apart by it. */
static int read_headers(struct oas_import *im)
{
    yyjson_val *all, *key;
    yyjson_obj_iter it;
    struct buf *b = &im->text;
    int rc = read_object(im, "default_headers", im->o->default_headers, NULL, &all);

    if (rc || !all)
        return rc;
    buf_consume(b, b->len);
    it = yyjson_obj_iter_with(all);
    while ((key = yyjson_obj_iter_next(&it))) {
        struct str name = json_string(key), value = json_string(yyjson_obj_iter_get_val(key));
        bool accept = name.n == 6 && !strncasecmp(name.p, "accept", 6);

        if (!accept && !oas_header_allowed(name))
            return oas_fail(im, ALK_EINVAL, "default_headers: \"%.64s\" cannot be set", name.p);
        if (!value.p || !option_header_value(value))
            return oas_fail(im, ALK_EINVAL,
                            "default_headers/%.64s: must be text without control characters",
                            name.p);
        im->accepts |= accept;
        if (buf_append(b, name.p, name.n) || buf_puts(b, ": ") || buf_append(b, value.p, value.n) ||
            buf_puts(b, "\r\n"))
            return ALK_ENOMEM;
    }
    if (b->len)
        im->headers = oas_keep(im, (struct str){buf_at(b), b->len});
    return b->len && !im->headers.p ? ALK_ENOMEM : ALK_OK;
}

static struct oas_requirement *requirement(struct oas_import *im, size_t count,
                                           struct oas_credential **credentials)
{
    struct oas_requirement *r = arena_zalloc(&im->service->arena, sizeof *r);

    *credentials = arena_zalloc(&im->service->arena, (count + 1) * sizeof(struct oas_credential));
    if (!r || !*credentials)
        return NULL;
    r->credentials = *credentials;
    r->count = count;
    return r;
}

static int place_of(struct str in)
{
    return str_is(in, "header")   ? IN_HEADER
           : str_is(in, "query")  ? IN_QUERY
           : str_is(in, "cookie") ? IN_COOKIE
                                  : -1;
}

/* Of an api key. It may be shown as Authorization, which parameters may not be. */
static bool key_name_valid(int in, struct str name)
{
    if (!name.n || name.n > 256 || !option_header_value(name))
        return false;
    if (in == IN_QUERY || (name.n == 13 && !strncasecmp(name.p, "authorization", 13)))
        return true;
    return in == IN_COOKIE ? oas_token_valid(name) : oas_header_allowed(name);
}

/* NAMESPACE/SCHEME, or NAMESPACE. */
static const char *capability(struct oas_import *im, struct str scheme)
{
    struct str prefix = str_of(im->o->namespace_prefix);
    char *name = arena_alloc(&im->service->arena, prefix.n + 1 + scheme.n + 1);

    if (!name)
        return NULL;
    memcpy(name, prefix.p, prefix.n + 1);
    if (scheme.n) {
        name[prefix.n] = '/';
        memcpy(name + prefix.n + 1, scheme.p, scheme.n);
        name[prefix.n + 1 + scheme.n] = 0;
    }
    return name;
}

static int read_auth(struct oas_import *im)
{
    static const char *const known[] = {"type", "in", "name", NULL};
    struct oas_credential *c;
    struct str type, name;
    yyjson_val *auth;
    int rc = read_object(im, "auth", im->o->auth, known, &auth), in;

    if (rc || !auth)
        return rc;
    im->auth = requirement(im, 1, &c);
    if (!im->auth || !(c->scheme = capability(im, STR_NONE)))
        return ALK_ENOMEM;
    type = json_string(yyjson_obj_get(auth, "type"));
    name = json_string(yyjson_obj_get(auth, "name"));
    in = place_of(json_string(yyjson_obj_get(auth, "in")));
    if (str_is(type, "bearer") || str_is(type, "basic")) {
        c->show = str_is(type, "basic") ? SHOW_BASIC : SHOW_BEARER;
        return ALK_OK;
    }
    if (!str_is(type, "api_key"))
        return oas_fail(im, ALK_EINVAL, "auth/type: must be bearer, basic or api_key");
    if (in < 0 || !name.n || !key_name_valid(in, name))
        return oas_fail(im, ALK_EINVAL,
                        "auth: an api_key needs \"in\" (header, query or cookie) and a \"name\"");
    c->show = SHOW_KEY;
    c->in = (uint8_t)in;
    c->name = oas_keep(im, name);
    return c->name.p ? ALK_OK : ALK_ENOMEM;
}

int oas_read_options(struct oas_import *im)
{
    int rc;

    if ((rc = read_filter(im)) || (rc = read_headers(im)) || (rc = read_auth(im)))
        return rc;
    return read_object(im, "server_variables", im->o->server_variables, NULL, &im->variables);
}

/* ---- servers --------------------------------------------------------------------------------- */

/* The value of a variable: configured, else the document's default; one of its enum, if it has
 * that. */
static struct str variable(struct oas_import *im, const struct oas_place *server, struct str name)
{
    struct oas_place all = {server->doc, oas_get(im, server, "variables")}, v = all;
    yyjson_val *configured = yyjson_obj_getn(im->variables, name.p, name.n), *item, *list;
    struct str value;
    yyjson_arr_iter it;

    if (oas_lookup_member(&all.doc->lookup, all.val, name, &v.val))
        im->lost = true;
    value = configured ? json_string(configured) : oas_get_string(im, &v, "default");
    list = oas_get(im, &v, "enum");
    if (!configured || !list)
        return value;
    it = yyjson_arr_iter_with(list);
    while (oas_look(im) && (item = yyjson_arr_iter_next(&it))) {
        if (str_eq(json_string(item), value))
            return value;
    }
    return STR_NONE;
}

/* The URL of a server with its variables filled in; n 0: with why. */
static size_t server_url(struct oas_import *im, const struct oas_place *server,
                         char out[SERVER_BYTES], char why[OAS_WHY])
{
    struct str url = oas_get_string(im, server, "url"), value;
    size_t n = 0;

    snprintf(why, OAS_WHY, "the server has no url, or a longer one than %u bytes", SERVER_BYTES);
    for (size_t i = 0; i < url.n; i++) {
        const char *end = url.p[i] == '{' ? memchr(url.p + i, '}', url.n - i) : NULL;

        value = (struct str){url.p + i, 1};
        if (end) {
            struct str name = {url.p + i + 1, (size_t)(end - url.p) - i - 1};

            value = variable(im, server, name);
            if (!value.p) {
                snprintf(why, OAS_WHY,
                         "the server's variable %.*s has no value, or none of its enum",
                         name.n < 64 ? (int)name.n : 64, name.p);
                return 0;
            }
            i += name.n + 1;
        }
        if (value.n > SERVER_BYTES - n)
            return 0;
        memcpy(out + n, value.p, value.n);
        n += value.n;
    }
    return n;
}

/* The first of a list of servers; without any it is "/". */
static int read_server(struct oas_import *im, const struct oas_place *servers, struct oas_url *out,
                       char why[OAS_WHY])
{
    struct oas_place server = {servers->doc, yyjson_arr_get_first(servers->val)};
    char url[SERVER_BYTES] = "/";
    size_t n = server.val ? server_url(im, &server, url, why) : 1;
    const char *reason;
    int rc;

    if (!n)
        return ALK_EINVAL;
    rc = oas_url_resolve(out, &im->service->arena, str_of(im->o->document_url),
                         (struct str){url, n}, &reason);
    if (rc == ALK_EINVAL)
        snprintf(why, OAS_WHY, "the server's URL %.*s %s", n < 256 ? (int)n : 256, url, reason);
    return rc;
}

/* A document says nothing of the network that it is read in: that would be a way into it. */
static bool is_private(struct str host)
{
    struct ip address;

    return ip_parse_host(host, &address) ? !ip_is_public(&address) : ip_host_is_local(host);
}

int oas_read_base(struct oas_import *im)
{
    struct oas_place root = {im->docs.root, im->docs.root->root}, servers = root;
    struct oas_url document;
    char why[OAS_WHY];
    const char *reason;
    int rc;

    if (im->o->document_url) {
        rc = oas_url_resolve(&document, &im->arena, str_of(im->o->document_url), str_of("."),
                             &reason);
        if (rc == ALK_EINVAL)
            return oas_fail(im, rc, "document_url: %s", reason);
        if (rc)
            return rc;
    }
    if (im->o->base_url) {
        rc = oas_url_read(&im->base, &im->service->arena, str_of(im->o->base_url), &reason);
        return rc == ALK_EINVAL ? oas_fail(im, rc, "base_url: %s", reason) : rc;
    }
    servers.val = oas_get(im, &root, "servers");
    rc = read_server(im, &servers, &im->base, why);
    if (rc == ALK_EINVAL)
        return oas_fail(im, rc, "base_url: is needed, since %s", why);
    if (!rc && im->o->document_url && !str_eq(im->base.origin, document.origin))
        return oas_fail(im, ALK_EINVAL,
                        "base_url: is needed, since the document of %.*s names a server elsewhere: "
                        "%.*s",
                        (int)document.origin.n, document.origin.p, (int)im->base.origin.n,
                        im->base.origin.p);
    if (!rc && !im->o->document_url && !im->o->private_addresses && is_private(im->base.host))
        return oas_fail(im, ALK_EINVAL,
                        "base_url: is needed, since the document's own server is not public: %.*s",
                        (int)im->base.origin.n, im->base.origin.p);
    return rc;
}

int oas_operation_base(struct oas_import *im, const struct oas_item *item, struct str *base)
{
    struct oas_place own = {item->op.doc, oas_get(im, &item->op, "servers")};
    struct oas_url url = im->base;
    char why[OAS_WHY];
    int rc = ALK_OK;

    if (!own.val)
        own.val = oas_get(im, &item->path_item, "servers");
    if (own.val && !im->o->base_url) {
        rc = read_server(im, &own, &url, why);
        if (rc == ALK_EINVAL) {
            oas_warn(im, &item->op, "%s", why);
            return rc;
        }
        if (!rc && !str_eq(url.origin, im->base.origin)) {
            oas_warn(im, &item->op, "its server is elsewhere: %.*s", (int)url.origin.n,
                     url.origin.p);
            return ALK_EINVAL;
        }
    }
    /* The path lies behind the origin. */
    *base = (struct str){url.origin.p, url.origin.n + url.path.n};
    return rc;
}

/* ---- security -------------------------------------------------------------------------------- */

/* false: it cannot be shown, and why is a warning. Nothing is to be shown where show is
 * SHOW_NOTHING: a client certificate. */
static bool read_scheme(struct oas_import *im, const struct oas_place *at, struct str name,
                        struct oas_credential *c)
{
    struct oas_place root = {im->docs.root, im->docs.root->root}, components, schemes, scheme;
    struct str type, value;
    int in;

    if (!oas_member(im, &root, "components", &components) ||
        !oas_member(im, &components, "securitySchemes", &schemes) ||
        !oas_member(im, &schemes, name.p, &scheme)) {
        oas_warn(im, at, "there is no security scheme %.64s", name.p);
        return false;
    }
    type = oas_get_string(im, &scheme, "type");
    if (str_is(type, "oauth2") || str_is(type, "openIdConnect")) {
        c->show = SHOW_BEARER;
        return true;
    }
    if (str_is(type, "mutualTLS")) {
        c->show = SHOW_NOTHING;
        return true;
    }
    if (str_is(type, "http")) {
        value = oas_get_string(im, &scheme, "scheme");
        if (value.n == 6 && !strncasecmp(value.p, "bearer", 6)) {
            c->show = SHOW_BEARER;
            return true;
        }
        if (value.n == 5 && !strncasecmp(value.p, "basic", 5)) {
            c->show = SHOW_BASIC;
            return true;
        }
    }
    value = oas_get_string(im, &scheme, "name");
    in = place_of(oas_get_string(im, &scheme, "in"));
    if (str_is(type, "apiKey") && in >= 0 && value.n && key_name_valid(in, value)) {
        c->show = SHOW_KEY;
        c->in = (uint8_t)in;
        c->name = oas_keep(im, value);
        return true;
    }
    oas_warn(im, &scheme, "a secret cannot be shown in this way");
    return false;
}

/* One alternative; false: it cannot be satisfied. */
static bool read_alternative(struct oas_import *im, const struct oas_place *at,
                             struct oas_requirement *out, int *rc)
{
    yyjson_obj_iter it = yyjson_obj_iter_with(at->val);
    size_t most = yyjson_obj_size(at->val);
    struct oas_credential *list;
    yyjson_val *key;

    most = most < OAS_REQUIREMENTS ? most : OAS_REQUIREMENTS;
    list = arena_zalloc(&im->service->arena, (most + 1) * sizeof *list);
    if (!list)
        *rc = ALK_ENOMEM;
    *out = (struct oas_requirement){.credentials = list};
    while (!*rc && oas_look(im) && (key = yyjson_obj_iter_next(&it))) {
        struct oas_credential *c = &list[out->count];
        struct str name = json_string(key);

        if (out->count == OAS_REQUIREMENTS || !read_scheme(im, at, name, c))
            return false;
        if (c->show == SHOW_NOTHING)
            continue;
        c->scheme = capability(im, name);
        c->otherwise = capability(im, STR_NONE);
        if (!c->scheme || !c->otherwise || (c->show == SHOW_KEY && !c->name.p))
            *rc = ALK_ENOMEM;
        out->count++;
    }
    return !*rc;
}

static int read_alternatives(struct oas_import *im, const struct oas_place *at,
                             struct oas_security *out)
{
    yyjson_arr_iter it = yyjson_arr_iter_with(at->val);
    struct oas_requirement *list;
    yyjson_val *item;
    int rc = ALK_OK;

    *out = (struct oas_security){NULL, 0};
    list = arena_zalloc(&im->service->arena, (OAS_REQUIREMENTS + 1) * sizeof *list);
    if (!list)
        return ALK_ENOMEM;
    while (oas_look(im) && (item = yyjson_arr_iter_next(&it)) && out->count < OAS_REQUIREMENTS) {
        struct oas_place v = {at->doc, item};

        if (yyjson_is_obj(item) && read_alternative(im, &v, &list[out->count], &rc))
            out->count++;
    }
    out->list = list;
    return rc;
}

/* The document's own is read once, however many operations it is for. */
int oas_read_security(struct oas_import *im, const struct oas_item *item, struct oas_plan *plan)
{
    struct oas_place root = {im->docs.root, im->docs.root->root}, at = {item->op.doc, NULL};
    struct oas_security s = {im->auth, im->auth ? 1 : 0};
    int rc = ALK_OK;

    if (!im->auth && (at.val = oas_get(im, &item->op, "security"))) {
        rc = read_alternatives(im, &at, &s);
    } else if (!im->auth) {
        at = (struct oas_place){root.doc, oas_get(im, &root, "security")};
        if (!im->security.list)
            rc = read_alternatives(im, &at, &im->security);
        s = im->security;
    }
    plan->security = s.list;
    plan->security_count = s.count;
    return rc;
}
