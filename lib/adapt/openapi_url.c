/* Implements openapi_url.h. What is taken is narrow on purpose: a host is letters, digits, dots and
 * dashes, or an address in brackets, so that no two readers of the URL can see different hosts in
 * it. */
#include "adapt/openapi_url.h"

#include "schema/uri.h"

#include <alknet/alknet.h>
#include <stdio.h>
#include <strings.h>

#define URL_MAX 4096u

static int invalid(const char **why, const char *text)
{
    *why = text;
    return ALK_EINVAL;
}

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c + 'a' - 'A') : c;
}

static bool host_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '-' || c == '_';
}

static bool hex(char c)
{
    return (c >= '0' && c <= '9') || (lower(c) >= 'a' && lower(c) <= 'f');
}

static bool host_valid(struct str h)
{
    if (h.n > 2 && h.p[0] == '[' && h.p[h.n - 1] == ']') {
        for (size_t i = 1; i + 1 < h.n; i++) {
            if (!hex(h.p[i]) && h.p[i] != ':' && h.p[i] != '.')
                return false;
        }
        return true;
    }
    for (size_t i = 0; i < h.n; i++) {
        if (!host_char(h.p[i]))
            return false;
    }
    return h.n > 0 && h.p[0] != '.';
}

/* Of pchar (RFC 3986, 3.3) and '/'; an escape is whole. */
static bool path_valid(struct str path)
{
    for (size_t i = 0; i < path.n; i++) {
        char c = path.p[i];

        if (c == '%' ? i + 2 >= path.n || !hex(path.p[i + 1]) || !hex(path.p[i + 2])
                     : !host_char(lower(c)) && !strchr("~!$&'()*+,;=:@/", c))
            return false;
    }
    return true;
}

/* "." and ".." also where their dots are escaped, which readers of URLs take for the same. */
static bool dots(const char *s, size_t n)
{
    size_t count = 0;

    for (size_t i = 0; i < n; count++) {
        if (s[i] == '.')
            i++;
        else if (n - i >= 3 && s[i] == '%' && s[i + 1] == '2' && lower(s[i + 2]) == 'e')
            i += 3;
        else
            return false;
    }
    return count == 1 || count == 2;
}

static bool has_dot_segments(struct str path)
{
    size_t start = 0;

    for (size_t i = 0; i <= path.n; i++) {
        if (i < path.n && path.p[i] != '/')
            continue;
        if (dots(path.p + start, i - start))
            return true;
        start = i + 1;
    }
    return false;
}

/* "host", "host:port"; *port 0: the scheme's. */
static bool split_port(struct str authority, struct str *host, unsigned *port)
{
    const char *end = authority.p + authority.n, *colon = NULL;

    for (const char *p = authority.p; p < end && *p != ']'; p++)
        colon = NULL;
    for (const char *p = end; p > authority.p && p[-1] != ']'; p--) {
        if (p[-1] == ':') {
            colon = p - 1;
            break;
        }
    }
    *port = 0;
    *host = colon ? (struct str){authority.p, (size_t)(colon - authority.p)} : authority;
    if (!colon)
        return true;
    if (colon + 1 == end)
        return true;
    for (const char *p = colon + 1; p < end; p++) {
        if (*p < '0' || *p > '9' || (*port = *port * 10 + (unsigned)(*p - '0')) > 65535)
            return false;
    }
    return *port > 0;
}

int oas_url_read(struct oas_url *out, struct arena *a, struct str url, const char **why)
{
    bool tls = url.n >= 8 && !strncasecmp(url.p, "https://", 8);
    size_t skip = tls ? 8 : 7, at, n;
    char copy[URL_MAX], *text;
    struct str host, path;
    unsigned port;

    if (!tls && (url.n < 7 || strncasecmp(url.p, "http://", 7)))
        return invalid(why, "must begin with http:// or https://");
    if (url.n >= URL_MAX)
        return invalid(why, "is too long");
    for (at = skip; at < url.n && !strchr("/?#", url.p[at]); at++)
        copy[at - skip] = lower(url.p[at]);
    if (memchr(url.p + skip, '@', at - skip))
        return invalid(why, "must not have a user or a password");
    if (!split_port((struct str){copy, at - skip}, &host, &port))
        return invalid(why, "has no valid port");
    /* A dot at the end of a name says that it is absolute: the same host. */
    if (host.n > 1 && host.p[host.n - 1] == '.')
        host.n--;
    if (!host_valid(host))
        return invalid(why, "has no valid host");
    path = (struct str){url.p + at, url.n - at};
    if (memchr(path.p, '?', path.n) || memchr(path.p, '#', path.n))
        return invalid(why, "must not have a query or a fragment");
    if (!path_valid(path))
        return invalid(why, "has characters that must be percent-encoded");
    if (has_dot_segments(path))
        return invalid(why, "must not have dot segments");
    while (path.n && path.p[path.n - 1] == '/')
        path.n--;
    text = arena_alloc(a, url.n + 16);
    if (!text)
        return ALK_ENOMEM;
    n = (size_t)snprintf(text, url.n + 16, "%s://%.*s", tls ? "https" : "http", (int)host.n,
                         host.p);
    out->host = (struct str){text + n - host.n, host.n};
    if (port && port != (tls ? 443 : 80))
        n += (size_t)snprintf(text + n, 8, ":%u", port);
    out->origin = (struct str){text, n};
    memcpy(text + n, path.p, path.n);
    text[n + path.n] = 0;
    out->path = (struct str){text + n, path.n};
    return ALK_OK;
}

int oas_url_resolve(struct oas_url *out, struct arena *a, struct str base, struct str ref,
                    const char **why)
{
    struct str fragment;
    char whole[URL_MAX];
    size_t len;

    if (!base.p)
        return oas_url_read(out, a, ref, why);
    base = uri_split(base, &fragment);
    if (memchr(ref.p, '#', ref.n) || !uri_resolve(base, ref, whole, sizeof whole, &len))
        return invalid(why, "is no URL");
    return oas_url_read(out, a, (struct str){whole, len}, why);
}
