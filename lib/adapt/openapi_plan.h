/* How one operation of an OpenAPI document becomes a request: made once by the import, and only read
 * by calls, on any thread. All of it lies in one block with the operation's user data.
 *
 * The origin of every request is that of `base`, which is configuration. A document and an input
 * fill in what follows: each value is encoded so that it stays in its place, a path's in its
 * segment. */
#ifndef ALK_ADAPT_OPENAPI_PLAN_H
#define ALK_ADAPT_OPENAPI_PLAN_H

#include "base/buf.h"
#include "base/str.h"

#include <yyjson.h>

enum { IN_PATH, IN_QUERY, IN_HEADER, IN_COOKIE, IN_QUERYSTRING };
/* STYLE_JSON: the value's JSON text, of a parameter with `content`. STYLE_COOKIE (3.2): form, but
 * with "; " between and nothing encoded. */
enum {
    STYLE_SIMPLE,
    STYLE_LABEL,
    STYLE_MATRIX,
    STYLE_FORM,
    STYLE_SPACE,
    STYLE_PIPE,
    STYLE_DEEP,
    STYLE_JSON,
    STYLE_COOKIE
};

struct oas_param {
    struct str name;   /* as the service knows it */
    struct str member; /* of the input */
    uint8_t in, style;
    bool explode;
    bool reserved; /* RFC 3986's reserved characters go as they are (allowReserved); in a query,
                    * but for those that would change it */
    bool required;
};

/* A piece of the path: a literal, percent-encoded already and without '?', '#' and dot segments, or
 * a parameter. */
struct oas_piece {
    struct str literal;
    int param; /* its index; -1: literal */
};

/* BODY_JSON, BODY_TEXT: of any such media type. BODY_BINARY: the input has base64. */
enum { BODY_NONE, BODY_JSON, BODY_FORM, BODY_MULTIPART, BODY_TEXT, BODY_BINARY };

/* How one property of a form or multipart body is written, where the document says (`encoding`, or
 * its schema). Others: scalars as text, objects as JSON text, and each item of an array for
 * itself. */
struct oas_part {
    struct str name;
    struct str content_type; /* p NULL: by the value */
    uint8_t style;           /* of a form */
    bool explode, reserved;
    bool binary; /* the input has base64: a file */
    bool json;   /* the whole value is written as JSON text */
};

/* How a secret is shown; SHOW_NOTHING: it is a client certificate, and none of a plan's. */
enum { SHOW_BEARER, SHOW_BASIC, SHOW_KEY, SHOW_NOTHING };

struct oas_credential {
    uint8_t show;
    uint8_t in;            /* of SHOW_KEY: IN_HEADER, IN_QUERY, IN_COOKIE */
    struct str name;       /* likewise */
    const char *scheme;    /* NAMESPACE/SCHEME: the capability that is looked for first */
    const char *otherwise; /* and then: NAMESPACE; NULL: nothing else */
};

/* All of them have to be shown. None: no credential is needed, which is what happens when none of
 * the others can be used. */
struct oas_requirement {
    const struct oas_credential *credentials;
    size_t count;
};

struct oas_plan {
    const char *method;
    struct str base; /* "https://host:8443/v1": scheme, host, path without a slash at its end */
    const struct oas_piece *pieces;
    size_t piece_count;
    const struct oas_param *params;
    size_t param_count;
    const struct oas_part *parts;
    size_t part_count;
    struct str content_type; /* of the body */
    struct str headers;      /* "Name: value\r\n" lines that every request has */
    /* The first alternative whose secrets are there is used; when none is and there are some, the
     * request goes without, and the service says what it thinks of that. */
    const struct oas_requirement *security;
    size_t security_count;
    uint32_t response_bytes;
    uint8_t body; /* BODY_ */
    bool idempotent, stream, private_addresses;
};

/* What of an input cannot be sent, for INVALID_INPUT. */
struct oas_complaint {
    char path[128]; /* JSON pointer into the input; of a secret that cannot be sent, "" */
    char text[160]; /* goes behind the pointer: "is required" */
};

/* Where secrets come from: the call's capabilities. NULL: there is none of that name. */
typedef const char *(*oas_secret_fn)(void *ud, const char *name, size_t *len);

/* What is sent; its memory may hold secrets and is wiped. */
struct oas_request {
    struct buf url;     /* ends with a NUL, which is counted */
    struct buf headers; /* "Name: value\r\n" lines */
    struct buf body;    /* may be empty, and then has never held a byte, where has_body is true */
    bool has_body;
};

/* Whether a parameter may be a header of that name: it is one, and none by which a document could
 * change how the request is framed or routed, or what only we say of the caller. Names that are the
 * client's own (Accept-Encoding, User-Agent) are none either. */
bool oas_header_allowed(struct str name);

void oas_request_init(struct oas_request *rq, struct mem *mem);
void oas_request_fini(struct oas_request *rq);
/* openapi_request.c: rq is new; input: the call's, of any type, NULL: none; random: for a boundary.
 * The URL, the headers and the body stay below OAS_URL_MAX, OAS_HEADERS_MAX and OAS_BODY_MAX: a
 * short input can be long when names are repeated. 0, ALK_EINVAL (with a complaint) or
 * ALK_ENOMEM. */
#define OAS_URL_MAX 65536u
#define OAS_HEADERS_MAX 65536u
#define OAS_BODY_MAX (64u << 20)
int oas_request_build(struct oas_request *rq, const struct oas_plan *plan, yyjson_val *input,
                      oas_secret_fn secret, void *secret_ud, const uint8_t random[16],
                      struct oas_complaint *why);

#endif
