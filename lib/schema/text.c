/* Messages and JSON pointers into buffers of fixed size.
 *
 * Texts of schemas and values come from strangers: they are cut between characters, so that a
 * message is always UTF-8, and a NUL in them becomes U+FFFD, as a message ends with one. When
 * something did not fit, the writer closes: a later, shorter piece must not stand where the missing
 * one belongs. */
#include "schema/text.h"

#include "base/utf8.h"

#include <stdio.h>
#include <string.h>

#define ELLIPSIS "\xe2\x80\xa6"
#define REPLACEMENT "\xef\xbf\xbd"

/* The only function that writes: so the cut is made in one place, and a writer without room (cap 0)
 * takes everything and keeps nothing. */
void write_bytes(struct writer *w, const char *s, size_t len)
{
    size_t n = utf8_cut(s, len, w->cap - w->len);

    memcpy(w->at + w->len, s, n);
    w->len += n;
    if (n < len)
        w->cap = w->len;
}

void write_string(struct writer *w, const char *s)
{
    write_bytes(w, s, strlen(s));
}

/* NUL has no place in a text that ends in one; in a pointer ~ and / are escaped. */
static void write_escaped(struct writer *w, const char *s, size_t len, const char *special)
{
    size_t from = 0;

    for (size_t i = 0; i < len; i++) {
        if (s[i] && !strchr(special, s[i]))
            continue;
        write_bytes(w, s + from, i - from);
        write_string(w, s[i] == '~' ? "~0" : s[i] ? "~1" : REPLACEMENT);
        from = i + 1;
    }
    write_bytes(w, s + from, len - from);
}

/* Cut before it is escaped, so that the cut never goes through an escape. */
void write_name(struct writer *w, struct str s)
{
    size_t n = utf8_cut(s.p, s.n, TEXT_NAME_MAX);

    write_escaped(w, s.p, n, "");
    if (n < s.n)
        write_string(w, ELLIPSIS);
}

/* RFC 6901, section 3. */
void write_step(struct writer *w, yyjson_val *key, size_t index)
{
    char text[24];

    write_string(w, "/");
    if (key) {
        write_escaped(w, unsafe_yyjson_get_str(key), unsafe_yyjson_get_len(key), "~/");
    } else {
        snprintf(text, sizeof text, "%zu", index);
        write_string(w, text);
    }
}
