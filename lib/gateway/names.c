/* Implements names.h.
 *
 * What an entry is read from comes from a person. One that no request could ever match is refused
 * with the reason, since it would otherwise be looked for in vain: an origin with a path, a name
 * with a scheme, a network that has bits beyond its prefix. */
#include "gateway/names.h"

#include <string.h>

#define PORT_NONE (-1)
#define PORT_HTTP 80
#define PORT_HTTPS 443
#define PORT_MAX 65535

/* Not tolower: the locale has no say in a protocol. */
static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c + 'a' - 'A') : c;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_letter(char c)
{
    return lower(c) >= 'a' && lower(c) <= 'z';
}

/* Names of hosts and of header fields are the same in any case (RFC 9110, 4.2.3 and 5.1). */
bool gate_same_name(struct str a, struct str b)
{
    if (a.n != b.n)
        return false;
    for (size_t i = 0; i < a.n; i++) {
        if (lower(a.p[i]) != lower(b.p[i]))
            return false;
    }
    return true;
}

static bool same(struct str a, const char *b)
{
    return gate_same_name(a, str_of(b));
}

/* ---- reading --------------------------------------------------------------------------------- */

/* Decimal, of at most five digits and without leading zeros; -1 when it is none. */
static int32_t number(struct str s)
{
    int32_t value = 0;

    if (!s.n || s.n > 5 || (s.n > 1 && *s.p == '0'))
        return -1;
    for (size_t i = 0; i < s.n; i++) {
        if (!is_digit(s.p[i]))
            return -1;
        value = value * 10 + s.p[i] - '0';
    }
    return value;
}

/* "" or ":" is none; otherwise ":" and a number. */
static bool read_port(struct str s, int32_t *out)
{
    *out = PORT_NONE;
    if (!s.n || *s.p != ':')
        return !s.n;
    if (s.n > 1)
        *out = number((struct str){s.p + 1, s.n - 1});
    return s.n == 1 || (*out >= 0 && *out <= PORT_MAX);
}

bool place_of_host(struct str s, struct place *out)
{
    const char *end;
    size_t n;

    *out = (struct place){.port = PORT_NONE};
    if (s.n && *s.p == '[') {
        end = memchr(s.p, ']', s.n);
        out->name = (struct str){s.p + 1, end ? (size_t)(end - s.p - 1) : 0};
        if (!out->name.n || !memchr(out->name.p, ':', out->name.n))
            return false;
        out->is_ip = ip_parse(out->name, &out->ip);
        if (!out->is_ip)
            return false;
        n = out->name.n + 2;
    } else {
        end = s.n ? memchr(s.p, ':', s.n) : NULL;
        n = end ? (size_t)(end - s.p) : s.n;
        out->name = (struct str){s.p, n};
        out->is_ip = ip_parse(out->name, &out->ip);
    }
    return n && read_port((struct str){s.p + n, s.n - n}, &out->port);
}

/* A name that a browser would send: of letters, digits, '-' and '_', in labels. One whose last
 * label is a number is an address to browsers, and a wrong one, or it would have been read as
 * one. */
static bool is_name(struct str s)
{
    size_t label = 0;
    bool digits = true; /* and nothing else in this label, so far */

    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] == '.') {
            if (i == label)
                return false;
            label = i + 1;
            digits = digits || label < s.n;
        } else if (is_digit(s.p[i]) || is_letter(s.p[i]) || s.p[i] == '-' || s.p[i] == '_') {
            digits = digits && is_digit(s.p[i]);
        } else {
            return false;
        }
    }
    return s.n && !digits;
}

const char *host_entry(struct str s, struct place *out)
{
    struct ip whole;

    /* An IPv6 address may stand without brackets, where there is no port. */
    if (ip_parse(s, &whole)) {
        *out = (struct place){.name = s, .ip = whole, .is_ip = true, .port = PORT_NONE};
        return NULL;
    }
    if (s.n && memchr(s.p, '/', s.n))
        return "must be a host, without scheme and path, such as app.example or app.example:8443";
    if (!place_of_host(s, out) || !out->port || (!out->is_ip && !is_name(out->name)))
        return "must be the name or the numeric address of a host, with or without its port, "
               "or \"*\"";
    return NULL;
}

static int32_t port_of(struct str scheme)
{
    return same(scheme, "http") ? PORT_HTTP : same(scheme, "https") ? PORT_HTTPS : PORT_NONE;
}

/* Where "://" is; 0: there is none behind a scheme (RFC 3986, 3.1). */
static size_t scheme_end(struct str s)
{
    size_t n = 0;

    while (n < s.n && (is_letter(s.p[n]) || (n && (is_digit(s.p[n]) || s.p[n] == '+' ||
                                                   s.p[n] == '-' || s.p[n] == '.'))))
        n++;
    return s.n - n > 3 && !memcmp(s.p + n, "://", 3) ? n : 0;
}

const char *origin_entry(struct str s, struct place *out)
{
    size_t n = s.n ? scheme_end(s) : 0;
    struct str scheme = {s.p, n}, rest;

    if (same(s, "null"))
        return "is what any page may say that hides where it is from";
    if (!n)
        return "must be a scheme and a host, such as https://app.example";
    if (same(scheme, "ws") || same(scheme, "wss"))
        return "must have the scheme of the page: https or http, also where it opens a WebSocket";
    rest = (struct str){s.p + n + 3, s.n - n - 3};
    if (memchr(rest.p, '/', rest.n))
        return "must end behind the host and its port: no origin has a path, or a slash at its end";
    if (!place_of_host(rest, out) || !out->port || (!out->is_ip && !is_name(out->name)))
        return "must have a host behind its scheme, with or without a port";
    out->scheme = scheme;
    if (out->port < 0)
        out->port = port_of(scheme);
    return NULL;
}

bool place_of_origin(struct str s, struct place *out)
{
    return !origin_entry(s, out);
}

const char *proxy_entry(struct str s, struct place *out)
{
    static const char what[] = "must be a numeric address, one with a prefix, such as 10.0.0.0/8, "
                               "or \"unix\"";
    const char *slash = s.n ? memchr(s.p, '/', s.n) : NULL;
    struct str address = {s.p, slash ? (size_t)(slash - s.p) : s.n};
    int32_t bits = IP_BITS;

    *out = (struct place){.name = address, .port = PORT_NONE};
    if (str_is(s, "unix"))
        return NULL;
    out->is_ip = ip_parse(address, &out->ip);
    if (slash) {
        bits = number((struct str){slash + 1, s.n - address.n - 1});
        /* The prefix is that of the form which the address is written in. */
        if (bits >= 0 && !memchr(address.p, ':', address.n))
            bits += IP_V4_BITS;
    }
    if (!out->is_ip || bits < 0 || bits > (int32_t)IP_BITS)
        return what;
    out->bits = (uint8_t)bits;
    for (unsigned i = out->bits; i < IP_BITS; i++) {
        if (out->ip.b[i / 8] & (0x80u >> i % 8))
            return "has bits beyond its prefix";
    }
    return NULL;
}

/* ---- comparing ------------------------------------------------------------------------------- */

static bool same_host(const struct place *a, const struct place *b)
{
    return a->is_ip && b->is_ip ? ip_equal(&a->ip, &b->ip)
                                : a->is_ip == b->is_ip && gate_same_name(a->name, b->name);
}

/* An entry without a port is served at each, since a proxy may have changed it. An absent port of a
 * request is that of either scheme, since TLS may end before us. */
bool host_listed(const struct name_list *l, const struct place *host)
{
    for (size_t i = 0; i < l->count; i++) {
        int32_t port = l->places[i].port;

        if (same_host(&l->places[i], host) &&
            (port < 0 || port == host->port ||
             (host->port < 0 && (port == PORT_HTTP || port == PORT_HTTPS))))
            return true;
    }
    return false;
}

bool origin_listed(const struct name_list *l, const struct place *origin)
{
    for (size_t i = 0; i < l->count; i++) {
        const struct place *p = &l->places[i];

        if (gate_same_name(p->scheme, origin->scheme) && same_host(p, origin) &&
            p->port == origin->port)
            return true;
    }
    return false;
}

/* The host's port, where it has none, is that of the scheme which the page came by. A page that
 * came in clear may be anybody's who was on the way. */
bool origin_is_of_host(const struct place *origin, const struct place *host, bool tls)
{
    int32_t port = port_of(origin->scheme);

    return port >= 0 && !(tls && port == PORT_HTTP) && same_host(origin, host) &&
           origin->port == (host->port < 0 ? port : host->port);
}

bool proxy_listed(const struct name_list *l, const char *address)
{
    struct ip ip;
    bool is_ip = ip_parse(str_of(address), &ip);

    for (size_t i = 0; i < l->count; i++) {
        const struct place *p = &l->places[i];

        if (is_ip && p->is_ip ? ip_within(&ip, &p->ip, p->bits)
                              : !is_ip && !p->is_ip && str_is(p->name, address))
            return true;
    }
    return false;
}
