/* What is configured of an MCP server, checked once, and what was found out about it. The first is
 * only read; the second is copied in and out under a lock of a few instructions, since calls on
 * other threads than the client's ask and may change it. */
#include "adapt/mcp_client.h"

#include "adapt/openapi_plan.h"
#include "adapt/options.h"
#include "base/glob.h"
#include "base/spin.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

struct reading {
    struct mcp_server *s;
    char *err;
    size_t err_size;
};

static int fail(struct reading *r, int rc, const char *text)
{
    if (r->err && r->err_size)
        snprintf(r->err, r->err_size, "%s", text);
    return rc;
}

/* ---- options ----------------------------------------------------------------------------------- */

/* It goes into the head of a request, and its origin is where the token goes. */
static int read_url(struct reading *r, const char *url)
{
    size_t scheme = !url                               ? 0
                    : !strncasecmp(url, "http://", 7)  ? 7
                    : !strncasecmp(url, "https://", 8) ? 8
                                                       : 0;
    size_t host;

    if (!scheme)
        return fail(r, ALK_EINVAL, "url: must begin with http:// or https://");
    for (const char *p = url; *p; p++) {
        if (*p <= 0x20 || *p >= 0x7f || *p == '#')
            return fail(r, ALK_EINVAL,
                        "url: must be printable ASCII, without blanks and without a fragment");
    }
    host = strcspn(url + scheme, "/?");
    if (!host || memchr(url + scheme, '@', host))
        return fail(r, ALK_EINVAL, "url: must have a host, and no user");
    r->s->url = arena_dup(&r->s->arena, url, strlen(url));
    return r->s->url ? ALK_OK : ALK_ENOMEM;
}

static int read_prefix(struct reading *r, const char *prefix)
{
    if (!prefix || !name_valid(prefix, strlen(prefix)) || strlen(prefix) > NAME_MAX_BYTES / 2 ||
        name_reserved(str_of(prefix)))
        return fail(r, ALK_EINVAL,
                    "namespace_prefix: must be the beginning of a name, at most 128 bytes, and not "
                    "services or peers");
    r->s->prefix = arena_dup(&r->s->arena, prefix, strlen(prefix));
    return r->s->prefix ? ALK_OK : ALK_ENOMEM;
}

static int read_filter(struct reading *r, const char *text)
{
    static const char *const known[] = {"include", "exclude", NULL};
    char why[OPTION_WHY_SIZE];
    int rc = option_lists(&r->s->arena, "tool_filter", text, known, &r->s->filter, why);

    return rc == ALK_EINVAL ? fail(r, rc, why) : rc;
}

/* What the protocol says in headers is not configured. */
static bool header_name(struct str name)
{
    return oas_header_allowed(name) && !(name.n >= 4 && !strncasecmp(name.p, "mcp-", 4)) &&
           !(name.n == 13 && !strncasecmp(name.p, "last-event-id", 13));
}

static int put_line(struct buf *b, struct str name, const char *between, struct str value)
{
    return buf_append(b, name.p, name.n) || buf_puts(b, between) ||
                   buf_append(b, value.p, value.n) || buf_puts(b, "\r\n")
               ? ALK_ENOMEM
               : ALK_OK;
}

static int put_headers(struct reading *r, const alk_mcp_options *o, struct buf *b)
{
    const struct secret *token =
        o->capabilities ? capabilities_get(o->capabilities, r->s->prefix, strlen(r->s->prefix))
                        : NULL;
    yyjson_val *all, *key;
    yyjson_obj_iter it;
    char why[OPTION_WHY_SIZE];
    int rc = option_object(&r->s->arena, "headers", o->headers, NULL, &all, why);

    if (rc)
        return rc == ALK_EINVAL ? fail(r, rc, why) : rc;
    it = yyjson_obj_iter_with(all);
    while (!rc && (key = yyjson_obj_iter_next(&it))) {
        struct str name = json_string(key), value = json_string(yyjson_obj_iter_get_val(key));

        snprintf(why, sizeof why, "headers: \"%.64s\" cannot be set, or not to that", name.p);
        if (!header_name(name) || !value.p || !option_header_value(value))
            return fail(r, ALK_EINVAL, why);
        rc = put_line(b, name, ": ", value);
    }
    if (rc || !token)
        return rc;
    if (!option_header_value((struct str){token->data, token->len}))
        return fail(r, ALK_EINVAL, "capabilities: the token cannot be sent in a header");
    return put_line(b, str_of("Authorization"), ": Bearer ", (struct str){token->data, token->len});
}

static int read_headers(struct reading *r, const alk_mcp_options *o)
{
    struct buf b;
    int rc;

    buf_init(&b, &r->s->mem);
    b.secret = true;
    rc = put_headers(r, o, &b);
    if (!rc && b.len) {
        r->s->headers = (struct str){arena_dup(&r->s->arena, buf_at(&b), b.len), b.len};
        rc = r->s->headers.p ? ALK_OK : ALK_ENOMEM;
    }
    buf_fini(&b);
    return rc;
}

int mcp_server_new(struct mcp_server **out, const alk_mcp_options *o, char *err, size_t err_size)
{
    struct reading r = {.err = err, .err_size = err_size};
    struct mem plain;
    int rc;

    *out = NULL;
    mem_init(&plain, NULL, NULL);
    r.s = mem_zalloc(&plain, sizeof *r.s);
    if (!r.s)
        return ALK_ENOMEM;
    r.s->refs = 1;
    r.s->response_bytes = o->response_bytes;
    r.s->private_addresses = o->private_addresses != 0;
    mem_init(&r.s->mem, NULL, NULL);
    arena_init(&r.s->arena, &r.s->mem, 1024);
    if (!(rc = read_prefix(&r, o->namespace_prefix)) && !(rc = read_url(&r, o->url)) &&
        !(rc = read_filter(&r, o->tool_filter)) && !(rc = read_headers(&r, o)) && o->is_public &&
        o->access_control)
        rc = fail(&r, ALK_EINVAL, "is_public: there is an access rule");
    if (rc)
        mcp_server_unref(r.s);
    else
        *out = r.s;
    return rc;
}

/* ---- life -------------------------------------------------------------------------------------- */

struct mcp_server *mcp_server_ref(struct mcp_server *s)
{
    __atomic_fetch_add(&s->refs, 1, __ATOMIC_RELAXED);
    return s;
}

void mcp_server_unref(struct mcp_server *s)
{
    struct mem plain;

    if (__atomic_fetch_sub(&s->refs, 1, __ATOMIC_ACQ_REL) != 1)
        return;
    if (s->headers.p)
        mem_wipe((char *)s->headers.p, s->headers.n);
    arena_fini(&s->arena);
    mem_wipe(&s->era, sizeof s->era);
    mem_init(&plain, NULL, NULL);
    mem_free(&plain, s);
}

static bool listed(yyjson_val *list, struct str tool)
{
    yyjson_arr_iter it = yyjson_arr_iter_with(list);
    yyjson_val *item;

    while ((item = yyjson_arr_iter_next(&it))) {
        if (glob_match(json_string(item), tool))
            return true;
    }
    return false;
}

bool mcp_server_wants(const struct mcp_server *s, struct str tool)
{
    yyjson_val *include = yyjson_obj_get(s->filter, "include");

    return (!include || listed(include, tool)) &&
           !listed(yyjson_obj_get(s->filter, "exclude"), tool);
}

void mcp_server_era(struct mcp_server *s, struct mcp_era *out)
{
    spin_lock(&s->lock);
    *out = s->era;
    spin_unlock(&s->lock);
}

void mcp_server_set_era(struct mcp_server *s, const struct mcp_era *era)
{
    spin_lock(&s->lock);
    uint32_t generation = s->era.generation + 1;

    s->era = *era;
    s->era.generation = generation;
    spin_unlock(&s->lock);
}
