/* Options of imports that are text of JSON: an object of few members. One place for what they may
 * be, and for what may go into a header. */
#ifndef ALK_ADAPT_OPTIONS_H
#define ALK_ADAPT_OPTIONS_H

#include "base/arena.h"
#include "base/json.h"

#define OPTION_WHY_SIZE 160u

/* The object that text is, copied into a; NULL for no text. known: its members, up to a NULL; NULL
 * for any. ALK_OK, ALK_ENOMEM, or ALK_EINVAL and why, of OPTION_WHY_SIZE bytes, which begins with
 * the option's name. */
int option_object(struct arena *a, const char *name, const char *text, const char *const *known,
                  yyjson_val **out, char *why);
/* The same, and each of its known members is an array of strings. */
int option_lists(struct arena *a, const char *name, const char *text, const char *const *known,
                 yyjson_val **out, char *why);
/* Not empty, and without control characters (RFC 9110, 5.5). */
bool option_header_value(struct str value);

#endif
