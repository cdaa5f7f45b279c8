/* Where requests may go. Names are compared as RFC 6454 has it, addresses as what they are: what a
 * name leads to is looked at when the socket is opened, with the address that is then used, so that
 * no answer of a name server can come in between. */
#include "uv/http_int.h"

#include "wire/http_head.h"

#include <string.h>
#include <strings.h>

struct held {
    struct map_node by_origin;
    struct list link;
    uint64_t until;
    char origin[ORIGIN_MAX];
};

/* ---- origins --------------------------------------------------------------------------------- */

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c + 'a' - 'A') : c;
}

/* 0: it is none. */
static unsigned port_of(const char *p, const char *end)
{
    unsigned port = 0;

    for (; p < end && *p >= '0' && *p <= '9' && port <= 65535; p++)
        port = port * 10 + (unsigned)(*p - '0');
    return p == end && port <= 65535 ? port : 0;
}

bool origin_of(const char *url, char out[ORIGIN_MAX], struct str *host)
{
    bool tls = !strncasecmp(url, "https://", 8);
    const char *p = url + (tls ? 8 : 7),
               *end = p + (tls || !strncasecmp(url, "http://", 7) ? strcspn(p, "/?#") : 0);
    const char *colon = end;
    unsigned port = tls ? 443 : 80;
    size_t n, name;

    if (end == p || memchr(p, '@', (size_t)(end - p)) || memchr(p, '\\', (size_t)(end - p)) ||
        (size_t)(end - p) > ORIGIN_MAX - 16)
        return false;
    for (const char *q = end; q > p && q[-1] != ']' && colon == end; q--) {
        if (q[-1] == ':')
            colon = q - 1;
    }
    if (colon < end - 1)
        port = port_of(colon + 1, end);
    n = name = (size_t)(stpcpy(out, tls ? "https://" : "http://") - out);
    for (const char *q = p; q < colon; q++)
        out[n++] = lower(*q);
    if (n > name + 1 && out[n - 1] == '.')
        n--;
    *host = (struct str){out + name, n - name};
    out[n++] = ':';
    *http_put_decimal(out + n, port) = 0;
    return host->n && port;
}

/* A list as curl and others have it: names, with all below them; '*' is everything. */
bool origin_without_proxy(const char *no_proxy, struct str host)
{
    for (const char *p = no_proxy; p && *p; p += strspn(p, ", ")) {
        struct str name = {p, strcspn(p, ", ")};

        p += name.n;
        if (str_is(name, "*"))
            return true;
        if (name.n && *name.p == '.')
            name = (struct str){name.p + 1, name.n - 1};
        if (name.n && host.n >= name.n && !strncasecmp(host.p + host.n - name.n, name.p, name.n) &&
            (host.n == name.n || host.p[host.n - name.n - 1] == '.'))
            return true;
    }
    return false;
}

/* ---- addresses ------------------------------------------------------------------------------- */

bool origin_may_lead(struct str host, const struct ip *to)
{
    struct ip own;

    if (ip_parse_host(host, &own))
        return ip_equal(&own, to);
    return ip_host_is_local(host) ? ip_is_loopback(to) : ip_is_public(to);
}

/* ---- pauses ---------------------------------------------------------------------------------- */

static void forget(struct http_client *c, struct held *h)
{
    map_del(&c->held, &h->by_origin);
    list_del(&h->link);
    mem_free(&c->l->mem, h);
}

uint64_t held_until(struct http_client *c, const char *origin, uint64_t now)
{
    struct map_node *n = c->held.count ? map_find(&c->held, origin, strlen(origin)) : NULL;
    struct held *h = n ? container_of(n, struct held, by_origin) : NULL;

    if (h && h->until > now)
        return h->until;
    if (h)
        forget(c, h);
    return 0;
}

/* The latest word counts. A table that is full forgets what was noted first. */
void held_note(struct http_client *c, const char *origin, uint64_t until)
{
    struct map_node *n = map_find(&c->held, origin, strlen(origin));
    struct held *h;

    if (n)
        forget(c, container_of(n, struct held, by_origin));
    if (c->held.count == HELD_MAX)
        forget(c, container_of(c->held_order.next, struct held, link));
    h = mem_zalloc(&c->l->mem, sizeof *h);
    if (!h)
        return;
    snprintf(h->origin, sizeof h->origin, "%s", origin);
    h->by_origin.key = h->origin;
    h->by_origin.len = strlen(h->origin);
    h->until = until;
    list_init(&h->link);
    if (map_add(&c->held, &h->by_origin)) {
        mem_free(&c->l->mem, h);
        return;
    }
    list_push(&c->held_order, &h->link);
}

void held_fini(struct http_client *c)
{
    while (!list_empty(&c->held_order))
        forget(c, container_of(c->held_order.next, struct held, link));
    map_fini(&c->held);
}
