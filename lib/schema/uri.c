/* Implements uri.h. */
#include "schema/uri.h"

#include <string.h>

struct parts {
    struct text scheme, authority, path, query; /* at NULL: not there */
};

bool text_is(struct text t, const char *s)
{
    return strlen(s) == t.len && memcmp(t.at, s, t.len) == 0;
}

struct text uri_split(struct text uri, struct text *fragment)
{
    const char *hash = uri.len ? memchr(uri.at, '#', uri.len) : NULL;

    *fragment = (struct text){"", 0};
    if (hash) {
        *fragment = (struct text){hash + 1, uri.len - (size_t)(hash + 1 - uri.at)};
        uri.len = (size_t)(hash - uri.at);
    }
    return uri;
}

/* The first of the characters in set, or the end. */
static const char *until(const char *s, const char *end, const char *set)
{
    while (s < end && !(*s && strchr(set, *s)))
        s++;
    return s;
}

static struct parts parse(struct text uri)
{
    const char *s = uri.at, *end = s + uri.len, *stop = until(s, end, ":/?");
    struct parts p;

    memset(&p, 0, sizeof p);
    if (stop > s && stop < end && *stop == ':') {
        p.scheme = (struct text){s, (size_t)(stop - s)};
        s = stop + 1;
    }
    if (end - s >= 2 && s[0] == '/' && s[1] == '/') {
        stop = until(s + 2, end, "/?");
        p.authority = (struct text){s + 2, (size_t)(stop - s - 2)};
        s = stop;
    }
    stop = until(s, end, "?");
    p.path = (struct text){s, (size_t)(stop - s)};
    if (stop < end)
        p.query = (struct text){stop + 1, (size_t)(end - stop - 1)};
    return p;
}

/* Removes "." and ".." segments in place; the new length. */
static size_t remove_dots(char *path, size_t len)
{
    size_t in = 0, out = 0;

    while (in < len) {
        size_t next = in + 1, segment;

        while (next < len && path[next] != '/')
            next++;
        segment = next - in;
        if (segment == 2 && path[in + 1] == '.' && path[in] == '/') {
            if (next == len)
                path[out++] = '/';
        } else if (segment == 3 && memcmp(path + in, "/..", 3) == 0) {
            while (out && path[--out] != '/')
                ;
            if (next == len)
                path[out++] = '/';
        } else {
            memmove(path + out, path + in, segment);
            out += segment;
        }
        in = next;
    }
    return out;
}

static bool put(char *out, size_t cap, size_t *len, const char *s, size_t n)
{
    if (cap - *len < n)
        return false;
    if (n)
        memcpy(out + *len, s, n);
    *len += n;
    return true;
}

bool uri_resolve(struct text base, struct text ref, char *out, size_t cap, size_t *len)
{
    struct parts b = parse(base), r = parse(ref);
    struct text folder = {"", 0};
    size_t path;

    *len = 0;
    if (!r.scheme.at) {
        r.scheme = b.scheme;
        if (!r.authority.at) {
            r.authority = b.authority;
            if (r.path.len == 0) {
                r.path = b.path;
                if (!r.query.at)
                    r.query = b.query;
            } else if (r.path.at[0] != '/') {
                folder = b.path;
                while (folder.len && folder.at[folder.len - 1] != '/')
                    folder.len--;
                if (folder.len == 0 && b.authority.at)
                    folder = (struct text){"/", 1};
            }
        }
    }
    if (r.scheme.at &&
        !(put(out, cap, len, r.scheme.at, r.scheme.len) && put(out, cap, len, ":", 1)))
        return false;
    if (r.authority.at &&
        !(put(out, cap, len, "//", 2) && put(out, cap, len, r.authority.at, r.authority.len)))
        return false;
    path = *len;
    if (!put(out, cap, len, folder.at, folder.len) || !put(out, cap, len, r.path.at, r.path.len))
        return false;
    *len = path + remove_dots(out + path, *len - path);
    return !r.query.at ||
           (put(out, cap, len, "?", 1) && put(out, cap, len, r.query.at, r.query.len));
}

static int hex(char c)
{
    const char *digits = "0123456789abcdef",
               *at = c ? strchr(digits, c >= 'A' && c <= 'F' ? c + 32 : c) : NULL;

    return at ? (int)(at - digits) : -1;
}

size_t uri_decode(char *s, size_t len)
{
    size_t out = 0;

    for (size_t i = 0; i < len; i++) {
        if (s[i] == '%' && len - i > 2 && hex(s[i + 1]) >= 0 && hex(s[i + 2]) >= 0) {
            s[out++] = (char)(hex(s[i + 1]) << 4 | hex(s[i + 2]));
            i += 2;
        } else {
            s[out++] = s[i];
        }
    }
    return out;
}
