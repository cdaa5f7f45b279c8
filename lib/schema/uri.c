/* RFC 3986, section 5.2, without the parts that schemas have no use for: URIs are compared as
 * bytes, so nothing is normalised but dots in a path, and nothing is checked: a URI that is none
 * just resolves to nothing that is known. The result is written into a buffer of the caller; its
 * size bounds the work. */
#include "schema/uri.h"

#include "base/hex.h"

#include <string.h>

struct parts {
    struct str scheme, authority, path, query; /* p NULL: not there */
};

/* No fragment and an empty one are the same here: both name the whole resource. */
struct str uri_split(struct str uri, struct str *fragment)
{
    const char *hash = uri.n ? memchr(uri.p, '#', uri.n) : NULL;

    *fragment = (struct str){"", 0};
    if (hash) {
        *fragment = (struct str){hash + 1, uri.n - (size_t)(hash + 1 - uri.p)};
        uri.n = (size_t)(hash - uri.p);
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

/* Appendix B's expression by hand; the fragment has been cut off before. */
static struct parts parse(struct str uri)
{
    const char *s = uri.p, *end = s + uri.n, *stop = until(s, end, ":/?");
    struct parts p;

    memset(&p, 0, sizeof p);
    if (stop > s && stop < end && *stop == ':') {
        p.scheme = (struct str){s, (size_t)(stop - s)};
        s = stop + 1;
    }
    if (end - s >= 2 && s[0] == '/' && s[1] == '/') {
        stop = until(s + 2, end, "/?");
        p.authority = (struct str){s + 2, (size_t)(stop - s - 2)};
        s = stop;
    }
    stop = until(s, end, "?");
    p.path = (struct str){s, (size_t)(stop - s)};
    if (stop < end)
        p.query = (struct str){stop + 1, (size_t)(end - stop - 1)};
    return p;
}

/* Removes "." and ".." segments in place; the new length. Section 5.2.4, in one pass: output never
 * overtakes input. ".." at the top is dropped. */
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

/* What does not fit makes the whole fail: a URI that is cut would be another one. */
static bool put(char *out, size_t cap, size_t *len, const char *s, size_t n)
{
    if (cap - *len < n)
        return false;
    if (n)
        memcpy(out + *len, s, n);
    *len += n;
    return true;
}

/* Section 5.2.2, then 5.3. folder is what section 5.2.3 takes of the base's path for a relative
 * one. */
bool uri_resolve(struct str base, struct str ref, char *out, size_t cap, size_t *len)
{
    struct parts b = parse(base), r = parse(ref);
    struct str folder = {"", 0};
    size_t path;

    *len = 0;
    if (!r.scheme.p) {
        r.scheme = b.scheme;
        if (!r.authority.p) {
            r.authority = b.authority;
            if (r.path.n == 0) {
                r.path = b.path;
                if (!r.query.p)
                    r.query = b.query;
            } else if (r.path.p[0] != '/') {
                folder = b.path;
                while (folder.n && folder.p[folder.n - 1] != '/')
                    folder.n--;
                if (folder.n == 0 && b.authority.p)
                    folder = (struct str){"/", 1};
            }
        }
    }
    if (r.scheme.p && !(put(out, cap, len, r.scheme.p, r.scheme.n) && put(out, cap, len, ":", 1)))
        return false;
    if (r.authority.p &&
        !(put(out, cap, len, "//", 2) && put(out, cap, len, r.authority.p, r.authority.n)))
        return false;
    path = *len;
    if (!put(out, cap, len, folder.p, folder.n) || !put(out, cap, len, r.path.p, r.path.n))
        return false;
    *len = path + remove_dots(out + path, *len - path);
    return !r.query.p || (put(out, cap, len, "?", 1) && put(out, cap, len, r.query.p, r.query.n));
}

/* A '%' without two digits stays what it is: it then names nothing that is there. */
size_t uri_decode(char *s, size_t len)
{
    size_t out = 0;

    for (size_t i = 0; i < len; i++) {
        if (s[i] == '%' && len - i > 2 && hex_value(s[i + 1]) >= 0 && hex_value(s[i + 2]) >= 0) {
            s[out++] = (char)(hex_value(s[i + 1]) << 4 | hex_value(s[i + 2]));
            i += 2;
        } else {
            s[out++] = s[i];
        }
    }
    return out;
}
