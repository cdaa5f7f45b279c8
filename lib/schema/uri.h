/* URI references as schemas use them: RFC 3986, section 5. */
#ifndef ALK_SCHEMA_URI_H
#define ALK_SCHEMA_URI_H

#include "base/str.h"

/* Cuts the fragment off; *fragment is what follows the '#', or empty. */
struct str uri_split(struct str uri, struct str *fragment);
/* Resolves ref, which has no fragment, against base into out; false when cap is not enough. */
bool uri_resolve(struct str base, struct str ref, char *out, size_t cap, size_t *len);
/* Decodes %XX in place; the new length. An incomplete one stays. */
size_t uri_decode(char *s, size_t len);

#endif
