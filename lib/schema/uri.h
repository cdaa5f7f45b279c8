/* URI references as schemas use them: RFC 3986, section 5. */
#ifndef ALK_SCHEMA_URI_H
#define ALK_SCHEMA_URI_H

#include "schema/text.h"

#include <stdbool.h>

/* Cuts the fragment off; *fragment is what follows the '#', or empty. */
struct text uri_split(struct text uri, struct text *fragment);
/* Resolves ref, which has no fragment, against base into out; false when cap is not enough. */
bool uri_resolve(struct text base, struct text ref, char *out, size_t cap, size_t *len);
/* Decodes %XX in place; the new length. */
size_t uri_decode(char *s, size_t len);
bool text_is(struct text t, const char *s);

#endif
