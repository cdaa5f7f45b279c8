/* Writing messages and JSON pointers of bounded size, cut between characters. */
#ifndef ALK_SCHEMA_TEXT_H
#define ALK_SCHEMA_TEXT_H

#include "base/str.h"

#include <yyjson.h>

#define TEXT_NAME_MAX 48u /* bytes of a name or value in a message */

/* at has room for cap bytes, and for the NUL that the caller adds. Once something did not fit, cap
 * is len and nothing more is taken. */
struct writer {
    char *at;
    size_t len, cap;
};

void write_bytes(struct writer *w, const char *s, size_t len);
void write_string(struct writer *w, const char *s);
/* A string from a document: shortened to TEXT_NAME_MAX, NULs replaced. */
void write_name(struct writer *w, struct str s);
/* "/" and a member name or, with key NULL, an index: a step of a JSON pointer. */
void write_step(struct writer *w, yyjson_val *key, size_t index);

#endif
