/* Implements fetch.h, as far as it is not the loop's. */
#include "wire/fetch.h"

struct str fetch_field(const struct fetch_head *h, const char *name)
{
    size_t n = strlen(name);
    const char *p = h->headers.p, *end = p + h->headers.n;

    while (p < end) {
        const char *line = memchr(p, '\n', (size_t)(end - p));
        size_t len = (size_t)((line ? line : end) - p);

        if (len > n && p[n] == ':' && !memcmp(p, name, n)) {
            struct str v = {p + n + 1, len - n - 1};

            while (v.n && (*v.p == ' ' || *v.p == '\t'))
                v = (struct str){v.p + 1, v.n - 1};
            while (v.n && (v.p[v.n - 1] == '\r' || v.p[v.n - 1] == ' '))
                v.n--;
            return v;
        }
        p += len + 1;
    }
    return STR_NONE;
}
