/* Where a service is: the URL that all requests of an import begin with. It comes from the
 * configuration, or from a document's servers. RFC 3986. */
#ifndef ALK_ADAPT_OPENAPI_URL_H
#define ALK_ADAPT_OPENAPI_URL_H

#include "base/arena.h"
#include "base/str.h"

struct oas_url {
    struct str origin; /* "https://host:8443": lower case, no port where it is the scheme's */
    struct str host;   /* of that; IPv6 in brackets */
    struct str path;   /* "", or "/v1": without a slash at its end */
};

/* Reads an absolute URL of http or https: no user, no query, no fragment, no dot segments; what
 * must be encoded is. The parts lie in one piece, one behind the other, with a NUL. why: static.
 * ALK_EINVAL, ALK_ENOMEM. */
int oas_url_read(struct oas_url *out, struct arena *a, struct str url, const char **why);
/* Of a reference as servers have it: absolute, or relative to base ("" and "/v1" and "v1" and
 * "../v1" and "//host"), which is that of the document itself; NULL: there is none. */
int oas_url_resolve(struct oas_url *out, struct arena *a, struct str base, struct str ref,
                    const char **why);

#endif
