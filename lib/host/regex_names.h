/* The property names that ECMA-262 has for \p{…}, as PCRE2 wants them. */
#ifndef ALK_HOST_REGEX_NAMES_H
#define ALK_HOST_REGEX_NAMES_H

#include "base/str.h"

/* Either set: the content of a class, and rest: that of its complement; or prefix and name for
 * PCRE2's \p{…}. */
/* The slice points into the pattern, or is static. */
struct regex_property {
    const char *set, *rest;
    const char *prefix;
    struct str name;
};

/* text is what stands between the braces. Script names are checked for their shape; PCRE2 knows the
 * list. */
bool regex_property(struct str text, struct regex_property *out);

#endif
