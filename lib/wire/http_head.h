/* The head of a request, as both versions of HTTP keep and judge it: the memory of its fields and
 * their text, and the rules of RFC 9110 on what may stand in them. A rule that holds for HTTP/1.1
 * and for HTTP/2 is decided here and nowhere else. Nothing here allocates but http_head_grow. */
#ifndef ALK_WIRE_HTTP_HEAD_H
#define ALK_WIRE_HTTP_HEAD_H

#include "base/mem.h"
#include "base/meter.h"
#include "wire/http.h"

/* `slots` header fields, then `room` bytes of text, in one block, so that a request costs one
 * allocation as a rule. There may be a token in it: it is wiped before it is freed. */
struct http_head {
    uint32_t slots, room;
    uint32_t count; /* fields in use; their slices point into the text */
    uint32_t len;   /* bytes of text in use */
    struct http_header headers[];
};

static inline char *http_head_text(struct http_head *head)
{
    return (char *)(head->headers + head->slots);
}

size_t http_head_bytes(const struct http_head *head);
/* Makes sure of so much room and so many slots in all, of which more than `most` are never made;
 * *head may be NULL. A head that grows moves, with its fields. HTTP_HEAD_REFUSED: its meter has no
 * room. */
enum { HTTP_HEAD_GROWN, HTTP_HEAD_REFUSED, HTTP_HEAD_NO_MEMORY };
int http_head_grow(struct http_head **head, struct mem *mem, struct meter *m, size_t room,
                   size_t slots, size_t most);
/* *head may be NULL, and is NULL then. */
void http_head_free(struct http_head **head, struct mem *mem, struct meter *m);

/* ---- rules ----------------------------------------------------------------------------------- */

/* lower is in lower case. ASCII only: field values are bytes. */
bool http_starts_folded(struct str s, const char *lower);
bool http_is_folded(struct str s, const char *lower);
/* Takes OWS off around a value (RFC 9110, section 5.5). */
void http_trim(struct str *s);
/* RFC 9110, section 5.6.2: at least one character. */
bool http_is_token(struct str s);
/* uri-host [":" port]: a name, an IPv4 address, or an IPv6 address in brackets (RFC 9110, section
 * 7.2). An empty one is none: only targets without an authority have it, and we serve none. */
bool http_is_host(struct str s);
/* No byte that is in no URI, and no fragment, which is not sent (RFC 9110, section 7.1). */
bool http_is_target(struct str s);
/* We are no proxy; PRI is the preface of HTTP/2 (RFC 9113, section 3.4). */
bool http_serves_method(struct str s);
/* Fills path and query from an origin-form or "*"; r has its method. false: it is neither. What is
 * before the path of an absolute-form has been taken off; then an empty path is "/". */
bool http_split_target(struct http_request *r, struct str t);

/* ---- of answers ------------------------------------------------------------------------------ */

#define HTTP_DECIMAL_MAX 20u

/* No body bytes go out, whatever is written. */
bool http_is_bare(const struct http_request *r, int status);
/* These write into room that has been made, and return its new begin. A line break in a field would
 * let its author write the rest of the response (RFC 9110, section 5.5): it becomes a space. */
char *http_put_field(char *to, struct str s);
char *http_put_decimal(char *to, uint64_t v);

#endif
