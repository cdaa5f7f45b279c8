/* Writing messages and JSON pointers of bounded size, cut between characters. */
#ifndef ALK_SCHEMA_TEXT_H
#define ALK_SCHEMA_TEXT_H

#include <stddef.h>
#include <yyjson.h>

#define TEXT_NAME_MAX 48u /* bytes of a name or value in a message */

struct text {
    const char *at;
    size_t len;
};

/* Once something did not fit, cap is len and nothing more is taken. */
struct writer {
    char *at;
    size_t len, cap;
};

/* The largest length up to max at which s is not cut inside a character. */
size_t text_cut(const char *s, size_t len, size_t max);
void write_bytes(struct writer *w, const char *s, size_t len);
void write_string(struct writer *w, const char *s);
/* A string from a document: shortened to TEXT_NAME_MAX, NULs replaced. */
void write_name(struct writer *w, const char *s, size_t len);
/* "/" and a member name or, with key NULL, an index: a step of a JSON pointer. */
void write_step(struct writer *w, yyjson_val *key, size_t index);

#endif
