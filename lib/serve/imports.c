/* A document of a file is imported anew by each reload, with all files that it refers to, and so is
 * the text that came from a URL, since the entry may say something else of it now. Then URLs are
 * fetched, with back-off until that works, and what is another text than before takes its place.
 *
 * The loop is opened for the first document that has to be fetched. A fetch cannot be called off:
 * what it was for may be gone when it ends. */
#include "serve/imports.h"
#include "base/str.h"
#include "config/secret.h"
#include "serve/try_mcp.h"

#include <alknet/mcp.h>
#include <alknet/openapi.h>
#include <alknet/uv.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DOCUMENT_MAX (64u << 20) /* bytes that come from a URL */
#define REMARKS_MAX 32u          /* of one import: more are counted */
#define RETRY_MIN_MS 1000u
#define RETRY_MAX_MS 60000u
#define AT_ONCE 1u
#define TEXTS 9

struct remark {
    const char *event;
    char *text;
};

/* What has become of a document, before anybody can call it. */
struct made {
    alk_registry *reg; /* NULL: nothing */
    size_t count;
    const char *prefix;
    struct remark remarks[REMARKS_MAX];
    size_t shown, seen; /* of the remarks */
};

struct fetching {
    struct import *import; /* NULL: nobody waits for it any more */
    struct importer *importer;
};

struct import {
    alk_openapi_options o; /* its texts are those of texts */
    char *texts[TEXTS];
    size_t text_count;
    alk_capabilities *secrets;
    char *token;          /* for the URL; NULL: none */
    const char *document; /* a file, or a URL */
    bool url;
    bool mcp, progress; /* the URL is of an MCP server, whose client is this */
    alk_mcp *client;    /* NULL: not opened */
    bool listed;        /* its tools are here */
    struct importer *importer;
    char *body; /* what came from the URL; NULL: nothing yet */
    size_t len;
    struct made made; /* for who takes the list */
    uint64_t due;     /* when it is fetched, in the loop's time; 0: not */
    uint32_t failures;
    struct fetching *fetching; /* NULL: it is not under way */
};

struct imports {
    struct import *items;
    size_t count;
};

struct importer {
    struct importer_options o;
    struct imports *list;
    alk_loop *net; /* NULL: not opened */
    bool closed;
};

/* ---- one import ------------------------------------------------------------------------------ */

static void made_fini(struct made *m)
{
    for (size_t i = 0; i < m->shown; i++)
        free(m->remarks[i].text);
    alk_registry_unref(m->reg);
    *m = (struct made){0};
}

/* Without memory for it, it is only counted. */
static void remark(struct made *m, const char *event, const char *at, const char *text)
{
    size_t size = strlen(m->prefix) + strlen(at) + strlen(text) + 8;
    char *line = m->shown < REMARKS_MAX ? malloc(size) : NULL;

    m->seen++;
    if (!line)
        return;
    snprintf(line, size, "%s: %s%s%s", m->prefix, at, *at ? ": " : "", text);
    m->remarks[m->shown++] = (struct remark){event, line};
}

static void on_warning(void *ud, const char *pointer, const char *text)
{
    remark(ud, "imports.warning", pointer, text);
}

/* body NULL: from its file. 0, or the code with the reason in why; then there is nothing to free. */
static int make(struct made *m, const struct import *im, const char *body, size_t len, char *why,
                size_t size)
{
    alk_openapi_options o = im->o;
    int rc;

    *m = (struct made){.prefix = o.namespace_prefix};
    o.on_warning = on_warning;
    o.ud = m;
    m->reg = alk_registry_new();
    if (!m->reg)
        rc = ALK_ENOMEM;
    else if (body)
        rc = alk_registry_import_openapi(m->reg, body, len, &o, &m->count, why, size);
    else
        rc = alk_registry_import_openapi(m->reg, NULL, 0, &o, &m->count, why, size);
    if (!rc)
        rc = alk_registry_freeze(m->reg);
    if (rc) {
        if (!*why)
            snprintf(why, size, "%s", alk_strerror(rc));
        made_fini(m);
    }
    return rc;
}

/* Says what it has become, and lets it be called. */
static void install(const struct importer *p, const struct import *im, struct made *m)
{
    const struct sayer *sayer = p->o.sayer;
    int rc = alk_node_set_discovered(p->o.node, m->prefix, m->reg);

    for (size_t i = 0; i < m->shown && !rc; i++)
        say(sayer, ALK_LOG_WARN, m->remarks[i].event, "%s", m->remarks[i].text);
    if (!rc && m->seen > m->shown)
        say(sayer, ALK_LOG_WARN, "imports.warning", "%s: and %zu more", m->prefix,
            m->seen - m->shown);
    if (rc)
        say(sayer, ALK_LOG_ERROR, "imports.failed", "%s: %s", m->prefix, alk_strerror(rc));
    else
        say(sayer, ALK_LOG_INFO, "imports.ready", "%s: %zu operation%s of %.*s, %zu warning%s",
            m->prefix, m->count, m->count == 1 ? "" : "s", (int)strcspn(im->document, "?"),
            im->document, m->seen, m->seen == 1 ? "" : "s");
    made_fini(m);
}

/* ---- lists ----------------------------------------------------------------------------------- */

static bool keep(struct import *im, const char **to, const char *text)
{
    if (!text)
        return true;
    *to = strdup(text);
    if (*to)
        im->texts[im->text_count++] = (char *)*to;
    return *to != NULL;
}

static bool fill(struct import *im, struct config_import *from)
{
    alk_openapi_options *o = &im->o;

    *o = (alk_openapi_options){.size = sizeof *o};
    o->is_public = from->is_public;
    o->private_addresses = from->private_addresses;
    o->response_bytes = from->response_bytes;
    im->url = from->url;
    im->mcp = from->mcp != NULL;
    im->progress = from->progress != 0;
    im->secrets = from->secrets;
    im->token = from->token;
    from->secrets = NULL;
    from->token = NULL;
    o->capabilities = im->secrets;
    return keep(im, &im->document, from->document) &&
           keep(im, &o->namespace_prefix, from->prefix) && keep(im, &o->base_url, from->base_url) &&
           keep(im, &o->auth, from->auth) && keep(im, &o->operation_filter, from->operations) &&
           keep(im, &o->access_control, from->access) &&
           keep(im, &o->default_headers, from->headers) &&
           keep(im, &o->server_variables, from->variables);
}

static struct import *find(const struct imports *list, const char *prefix)
{
    for (size_t i = 0; list && i < list->count; i++) {
        if (!strcmp(list->items[i].o.namespace_prefix, prefix))
            return &list->items[i];
    }
    return NULL;
}

/* The one before whose document is of the same URL; NULL: there is none, or it has not come. */
static struct import *find_same(const struct imports *before, const struct import *im)
{
    struct import *same = find(before, im->o.namespace_prefix);

    return same && im->url && !im->mcp && same->body && !strcmp(same->document, im->document)
               ? same
               : NULL;
}

/* Likewise of a client of the same server, which may not have listed its tools. What came under
 * another rule does not stay until the server has been asked again: that may take long. */
static const struct import *find_server(const struct imports *before, const struct import *im)
{
    const struct import *old = im->mcp ? find(before, im->o.namespace_prefix) : NULL;

    return old && old->mcp && !strcmp(old->document, im->document) &&
                   old->o.is_public == im->o.is_public &&
                   str_same(old->o.access_control, im->o.access_control) &&
                   str_same(old->o.operation_filter, im->o.operation_filter)
               ? old
               : NULL;
}

/* What the importer complains about, as the line of the file where it stands. */
static int complain(const struct config *cfg, size_t i, const struct import *im, const char *why,
                    struct config_error *err)
{
    static const char *const members[][2] = {{"base_url", "base_url"},
                                             {"operation_filter", "operations"},
                                             {"default_headers", "headers"},
                                             {"server_variables", "variables"},
                                             {"auth", "auth"},
                                             {"namespace_prefix", "prefix"},
                                             {"document_url", "openapi"},
                                             {"url", "mcp"},
                                             {"tool_filter", "operations"},
                                             {"headers", "headers"},
                                             {"capabilities", "auth"}};
    const char *member = NULL, *text = strstr(why, ": ");
    char pointer[64], place[64], message[sizeof err->text];
    size_t n = strcspn(why, ":/");

    for (size_t k = 0; text && k < sizeof members / sizeof *members; k++) {
        if (strlen(members[k][0]) == n && !memcmp(members[k][0], why, n))
            member = members[k][1];
    }
    /* What cannot be read is named by the importer. */
    if (member || !strncmp(why, im->document, strlen(im->document)))
        snprintf(message, sizeof message, "%s", member ? text + 2 : why);
    else
        snprintf(message, sizeof message, "%s: %s", im->document, why);
    if (!member)
        member = im->mcp ? "mcp" : "openapi";
    snprintf(pointer, sizeof pointer, "/imports/%zu/%s", i, member);
    snprintf(place, sizeof place, "imports[%zu].%s", i, member);
    return config_complain(cfg, pointer, place, message, err);
}

/* Whether it will be possible to import what is not there yet, as far as that does not depend on
 * the document. */
static int try_nothing(const struct import *im, char *why, size_t size)
{
    static const char nothing[] = "{\"openapi\":\"3.1.0\",\"info\":{},\"paths\":{}}";
    struct made m;
    int rc = make(&m, im, nothing, sizeof nothing - 1, why, size);

    made_fini(&m);
    return rc;
}

/* But for who is told. */
static void fill_mcp(alk_mcp_options *o, const struct import *im)
{
    *o = (alk_mcp_options){.size = sizeof *o};
    o->is_public = im->o.is_public;
    o->namespace_prefix = im->o.namespace_prefix;
    o->url = im->document;
    o->access_control = im->o.access_control;
    o->tool_filter = im->o.operation_filter;
    o->headers = im->o.default_headers;
    o->capabilities = im->secrets;
    o->private_addresses = im->o.private_addresses;
    o->response_bytes = im->o.response_bytes;
    o->progress = im->progress;
}

static int try_server(const struct import *im, char *why, size_t size)
{
    alk_mcp_options o;
    int rc;

    fill_mcp(&o, im);
    rc = try_mcp(&o, why, size);
    if (rc && !*why)
        snprintf(why, size, "%s", alk_strerror(rc));
    return rc;
}

static int make_first(struct import *im, const struct imports *before, char *why, size_t size)
{
    const struct import *same = find_same(before, im);

    if (im->mcp)
        return try_server(im, why, size);
    if (im->url)
        im->o.document_url = im->document;
    else
        im->o.file = im->document;
    if (im->url && !same)
        return try_nothing(im, why, size);
    return make(&im->made, im, same ? same->body : NULL, same ? same->len : 0, why, size);
}

int imports_new(struct imports **out, struct config *cfg, const struct imports *before,
                struct config_error *err)
{
    struct imports *list = calloc(1, sizeof *list);
    char why[512] = "";
    int rc = 0;

    *out = NULL;
    if (list)
        list->items = calloc(cfg->imports.count + 1, sizeof *list->items);
    if (!list || !list->items) {
        free(list);
        return config_fail(err, cfg->text.file, 0, "imports", "out of memory");
    }
    for (size_t i = 0; i < cfg->imports.count && rc == 0; i++) {
        struct import *im = &list->items[list->count++];

        if (!fill(im, (struct config_import *)cfg->imports.items + i))
            rc = config_fail(err, cfg->text.file, 0, "imports", "out of memory");
        else if (make_first(im, before, why, sizeof why))
            rc = complain(cfg, i, im, why, err);
    }
    if (rc < 0)
        imports_free(list);
    else
        *out = list;
    return rc;
}

void imports_free(struct imports *list)
{
    for (size_t i = 0; list && i < list->count; i++) {
        struct import *im = &list->items[i];

        if (im->fetching)
            im->fetching->import = NULL;
        if (im->client)
            alk_mcp_close(im->client);
        made_fini(&im->made);
        alk_capabilities_free(im->secrets);
        secret_free(im->token);
        free(im->body);
        for (size_t k = 0; k < im->text_count; k++)
            free(im->texts[k]);
    }
    if (list)
        free(list->items);
    free(list);
}

/* ---- fetching -------------------------------------------------------------------------------- */

/* A random time, so that many nodes do not come back at one moment. */
static void try_later(const struct importer *p, struct import *im, const char *why)
{
    uint32_t most = RETRY_MIN_MS << (im->failures < 6 ? im->failures : 6), random = 0;

    most = most < RETRY_MAX_MS ? most : RETRY_MAX_MS;
    uv_random(NULL, NULL, &random, sizeof random, 0, NULL);
    most = most / 2 + random % (most / 2 + 1);
    im->failures++;
    im->due = uv_now(p->o.loop) + most;
    say(p->o.sayer, ALK_LOG_WARN, "imports.failed", "%s: %.*s: %s; next attempt in %u s",
        im->o.namespace_prefix, (int)strcspn(im->document, "?"), im->document, why,
        (most + 999) / 1000);
}

/* The text is kept: the next reload may say something else of it. */
static void take_document(const struct importer *p, struct import *im, const char *body, size_t len)
{
    char why[512] = "", *copy;
    struct made m;

    if (im->body && im->len == len && !memcmp(im->body, body, len)) {
        im->failures = 0;
        return;
    }
    copy = malloc(len + 1);
    if (!copy) {
        try_later(p, im, alk_strerror(ALK_ENOMEM));
        return;
    }
    memcpy(copy, body, len);
    if (make(&m, im, body, len, why, sizeof why)) {
        free(copy);
        try_later(p, im, why);
        return;
    }
    free(im->body);
    im->body = copy;
    im->len = len;
    im->failures = 0;
    install(p, im, &m);
    p->o.on_come(p->o.ud);
}

static void on_fetched(void *ud, int rc, const char *body, size_t len, const char *why)
{
    struct fetching *f = ud;
    struct import *im = f->import;

    if (im) {
        im->fetching = NULL;
        if (!rc)
            take_document(f->importer, im, body, len);
        else if (rc != ALK_ECLOSED)
            try_later(f->importer, im, why ? why : alk_strerror(rc));
    }
    free(f);
}

static int open_net(struct importer *p, char *why, size_t size)
{
    alk_dispatcher *d;
    int rc = p->net ? ALK_OK : alk_dispatcher_new(&d, p->o.node);

    if (rc || p->net)
        return rc;
    rc = alk_loop_open(&p->net, p->o.loop, d);
    if (rc) {
        alk_dispatcher_free(d);
        return rc;
    }
    rc = alk_loop_set_http(p->net, p->o.http, why, size);
    if (rc) {
        alk_loop_close(p->net, NULL, NULL);
        p->net = NULL;
    }
    return rc;
}

/* ---- MCP servers ----------------------------------------------------------------------------- */

/* One that says nothing new of what is here already is not told again. */
static void on_tools(void *ud, alk_mcp *client, int rc, const char *why)
{
    struct import *im = ud;
    struct importer *p = im->importer;
    char text[512] = "";
    struct made m = {.prefix = im->o.namespace_prefix};

    if (!rc)
        m.reg = alk_registry_new();
    if (!rc && !m.reg)
        rc = ALK_ENOMEM;
    if (!rc)
        rc = alk_registry_import_mcp(m.reg, client, &m.count, on_warning, &m, text, sizeof text);
    if (!rc)
        rc = alk_registry_freeze(m.reg);
    if (rc) {
        say(p->o.sayer, ALK_LOG_WARN, "imports.failed", "%s: %.*s: %s", m.prefix,
            (int)strcspn(im->document, "?"), im->document,
            *text ? text
            : why ? why
                  : alk_strerror(rc));
        made_fini(&m);
        return;
    }
    im->listed = true;
    install(p, im, &m);
    p->o.on_come(p->o.ud);
}

static int open_client(struct importer *p, struct import *im, char *why, size_t size)
{
    alk_mcp_options o;

    fill_mcp(&o, im);
    o.on_tools = on_tools;
    o.ud = im;
    im->importer = p;
    return alk_mcp_open(&im->client, p->net, &o, why, size);
}

static void begin(struct importer *p, struct import *im)
{
    char why[200] = "";
    int rc = open_net(p, why, sizeof why);

    im->due = 0;
    if (!rc)
        rc = open_client(p, im, why, sizeof why);
    if (rc)
        try_later(p, im, *why ? why : alk_strerror(rc));
}

/* ---- documents ------------------------------------------------------------------------------- */

static void fetch(struct importer *p, struct import *im)
{
    size_t size = im->token ? strlen(im->token) + 32 : 1;
    struct fetching *f = calloc(1, sizeof *f);
    char *headers = malloc(size), why[200] = "";
    int rc = f && headers ? open_net(p, why, sizeof why) : ALK_ENOMEM;

    if (rc == ALK_OK) {
        if (im->token)
            snprintf(headers, size, "Authorization: Bearer %s\r\n", im->token);
        *f = (struct fetching){im, p};
        im->due = 0;
        im->fetching = f;
        rc = alk_loop_fetch(p->net, im->document, im->token ? headers : NULL, DOCUMENT_MAX,
                            im->o.private_addresses, on_fetched, f);
    }
    secret_free(headers);
    if (rc) {
        im->fetching = NULL;
        free(f);
        try_later(p, im, *why ? why : alk_strerror(rc));
    }
}

/* ---- the importer ---------------------------------------------------------------------------- */

struct importer *importer_new(const struct importer_options *o)
{
    struct importer *p = calloc(1, sizeof *p);

    if (p)
        p->o = *o;
    return p;
}

const struct imports *importer_list(const struct importer *p)
{
    return p->list;
}

/* What there is no more of, and what is of another URL now, is taken away. */
static void drop(const struct importer *p, const struct imports *before, struct imports *list)
{
    for (size_t i = 0; before && i < before->count; i++) {
        const struct import *old = &before->items[i];
        const char *prefix = old->o.namespace_prefix;
        const struct import *im = find(list, prefix);

        if (im && (im->made.reg || find_server(before, im)))
            continue;
        if (alk_node_set_discovered(p->o.node, prefix, NULL))
            say(p->o.sayer, ALK_LOG_ERROR, "imports.failed", "%s: %s", prefix,
                alk_strerror(ALK_ENOMEM));
        else if (!old->url || old->body || old->listed)
            say(p->o.sayer, ALK_LOG_INFO, "imports.gone", "%s", prefix);
    }
}

void importer_take(struct importer *p, struct imports *list)
{
    struct imports *before = p->list;

    drop(p, before, list);
    p->list = list;
    for (size_t i = 0; i < list->count; i++) {
        struct import *im = &list->items[i], *same = find_same(before, im);
        const struct import *old = find_server(before, im);

        im->listed = old && old->listed;
        if (same) {
            im->body = same->body;
            im->len = same->len;
            same->body = NULL;
        }
        if (im->made.reg)
            install(p, im, &im->made);
        if (im->url)
            im->due = AT_ONCE;
    }
    imports_free(before);
}

void importer_tick(struct importer *p)
{
    uint64_t now = uv_now(p->o.loop);

    for (size_t i = 0; i < p->list->count && !p->closed; i++) {
        struct import *im = &p->list->items[i];

        if (im->due && im->due <= now && im->mcp)
            begin(p, im);
        else if (im->due && im->due <= now)
            fetch(p, im);
    }
}

bool importer_waits(const struct importer *p)
{
    for (size_t i = 0; i < p->list->count; i++) {
        const struct import *im = &p->list->items[i];

        if (im->mcp ? !im->listed : im->url && !im->body)
            return true;
    }
    return false;
}

void importer_close(struct importer *p)
{
    if (p->net && !p->closed)
        alk_loop_close(p->net, NULL, NULL);
    p->closed = true;
}

void importer_free(struct importer *p)
{
    if (p)
        imports_free(p->list);
    free(p);
}
