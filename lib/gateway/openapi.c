/* Implements openapi.h. The document is one text (openapi_text.c) with marks in it, where this file
 * puts in what depends on the node or on the caller. Which statuses a route answers with is a
 * table, since nearly all of them can come from every route.
 *
 * It describes what is served, and so it changes with that: routes.c, batch.c, status.c, and what
 * request.c and the engines ask of each request. tests/system/test_openapi_json.py holds each of
 * its routes against what they answer. */
#include "gateway/openapi.h"

#include "core/services.h"
#include "gateway/gateway_int.h"

#define NAMES_MAX 100u /* of operations, as examples in one place */

static char version_31[] = "3.1.0", version_32[] = "3.2.0";

/* ---- statuses -------------------------------------------------------------------------------- */

enum {
    BAD_REQUEST,
    BAD_CALL,
    UNAUTHORIZED,
    FORBIDDEN,
    NOT_FOUND,
    REQUEST_TIMEOUT,
    TOO_LARGE,
    TARGET_TOO_LONG,
    UNSUPPORTED_TYPE,
    EXPECTATION_FAILED,
    MISDIRECTED,
    INVALID_INPUT,
    TOO_MANY,
    FIELDS_TOO_LARGE,
    INTERNAL,
    NOT_IMPLEMENTED,
    UNAVAILABLE,
    TIMEOUT,
    VERSION_UNSUPPORTED,
    ANSWER_COUNT
};

#define RETRY "'Retry-After':{'$ref':'#/components/headers/Retry-After'},"
#define CHALLENGE "'WWW-Authenticate':{'$ref':'#/components/headers/WWW-Authenticate'},"

/* In the order of their statuses. codes: of the gateway and the dispatcher. */
static const struct answer {
    int status;
    const char *name, *codes, *headers, *text;
} answers[ANSWER_COUNT] = {
    [BAD_REQUEST] = {400, "BadRequest", "'INVALID_INPUT'", "",
                     "The query, the body or the request itself is malformed"},
    [BAD_CALL] = {400, "BadCall", "'INVALID_INPUT','INVALID_OPERATION_TYPE'", "",
                  "The query, the body or the request itself is malformed, or the operation is "
                  "not of the type that is called here"},
    [UNAUTHORIZED] = {401, "Unauthorized", "'FORBIDDEN'", CHALLENGE,
                      "The token is not valid, or there is none and one is needed"},
    [FORBIDDEN] = {403, "Forbidden", "'FORBIDDEN'", CHALLENGE,
                   "The caller may not call the operation, or a page of that Origin may not ask"},
    [NOT_FOUND] = {404, "NotFound", "'NOT_FOUND'", "",
                   "There is no such operation that the caller may know of"},
    [REQUEST_TIMEOUT] = {408, "RequestTimeout", "'INVALID_INPUT'", "",
                         "The request took too long to arrive"},
    [TOO_LARGE] = {413, "TooLarge", "'INVALID_INPUT'", "",
                   "The body has more bytes or more values than are taken"},
    [TARGET_TOO_LONG] = {414, "TargetTooLong", "'INVALID_INPUT'", "", "The URL is too long"},
    [UNSUPPORTED_TYPE] = {415, "UnsupportedType", "'INVALID_INPUT'", "",
                          "The body is not application/json, or has a content coding"},
    [EXPECTATION_FAILED] = {417, "ExpectationFailed", "'INVALID_INPUT'", "",
                            "Expect says something other than 100-continue"},
    [MISDIRECTED] = {421, "Misdirected", "'INVALID_INPUT'", "",
                     "The host of the request is not served here"},
    [INVALID_INPUT] = {422, "InvalidInput", "'INVALID_INPUT'", "",
                       "The input does not match the schema of the operation, or checking it took "
                       "too much"},
    [TOO_MANY] = {429, "TooMany", "'BUSY'", RETRY,
                  "The caller has called too often, or its address has presented too many tokens "
                  "that are not valid"},
    [FIELDS_TOO_LARGE] = {431, "FieldsTooLarge", "'INVALID_INPUT'", "",
                          "The header fields are too large or too many"},
    [INTERNAL] = {500, "Internal", "'INTERNAL'", "", "The operation failed"},
    [NOT_IMPLEMENTED] = {501, "NotImplemented", "'INVALID_INPUT'", "",
                         "The transfer coding of the body is not supported"},
    [UNAVAILABLE] = {503, "Unavailable", "'BUSY'", RETRY,
                     "The node takes no new work at the moment"},
    [TIMEOUT] = {504, "Timeout", "'TIMEOUT'", "", "The deadline passed"},
    [VERSION_UNSUPPORTED] = {505, "VersionUnsupported", "'INVALID_INPUT'", "",
                             "The version of HTTP is not supported, or too old for an event "
                             "stream"},
};

#define BIT(answer) (1u << (answer))
/* Of every route: what the engines and request.c answer with. */
#define COMMON                                                                                     \
    (BIT(UNAUTHORIZED) | BIT(FORBIDDEN) | BIT(REQUEST_TIMEOUT) | BIT(TOO_LARGE) |                  \
     BIT(TARGET_TOO_LONG) | BIT(UNSUPPORTED_TYPE) | BIT(EXPECTATION_FAILED) | BIT(MISDIRECTED) |   \
     BIT(TOO_MANY) | BIT(FIELDS_TOO_LARGE) | BIT(NOT_IMPLEMENTED) | BIT(UNAVAILABLE) |             \
     BIT(VERSION_UNSUPPORTED))
/* Of those that make a call of it. */
#define CALLING (COMMON | BIT(INVALID_INPUT) | BIT(INTERNAL))

/* For the marks @1 to @4: /search, /schema, /batch, /subscribe. */
static const uint32_t of_routes[] = {
    CALLING | BIT(BAD_REQUEST) | BIT(TIMEOUT),
    CALLING | BIT(BAD_REQUEST) | BIT(NOT_FOUND) | BIT(TIMEOUT),
    COMMON | BIT(BAD_REQUEST),
    CALLING | BIT(BAD_CALL) | BIT(NOT_FOUND),
};
#define OF_CALL (CALLING | BIT(BAD_CALL) | BIT(NOT_FOUND) | BIT(TIMEOUT))

/* ---- writing --------------------------------------------------------------------------------- */

/* Of operations, as items of an array. */
struct names {
    struct buf text;
    size_t count, first; /* the length of the first item */
};

struct document {
    struct buf out;
    struct names single, streams;
    struct declared declared;
    const alk_call *call;
    const char *version;
};

static int put_mark(struct document *d, char mark);

/* Text of ours. */
static int put(struct document *d, const char *text)
{
    int rc = 0;

    while (*text) {
        size_t n = strcspn(text, "'@");

        rc |= buf_append(&d->out, text, n);
        text += n;
        if (*text == '\'')
            rc |= buf_puts(&d->out, "\"");
        else if (*text)
            rc |= put_mark(d, *++text);
        text += *text != 0;
    }
    return rc;
}

static int put_text(struct buf *b, const struct buf *text)
{
    return text->len ? buf_append(b, buf_at(text), text->len) : 0;
}

/* The error object with the answer's own codes. */
static int put_own(struct document *d, const struct answer *a)
{
    int rc =
        put(d, "{'allOf':[{'$ref':'#/components/schemas/Error'}],'properties':{'code':{'enum':[");

    rc |= put(d, a->codes) | put(d, "]}");
    if (a == &answers[INVALID_INPUT])
        rc |= put(d, ",'details':{'$ref':'#/components/schemas/InputErrors'}");
    return rc | put(d, "}}");
}

static int put_description(struct document *d, const char *text, const char *more,
                           const char *headers)
{
    int rc = put(d, "{'description':'") | put(d, text) | put(d, more);

    return rc | put(d, "','headers':{") | put(d, headers) |
           put(d, "@h},'content':{'application/json':{'schema':");
}

static int put_components(struct document *d)
{
    int rc = 0;

    for (const struct answer *a = answers; a < answers + ANSWER_COUNT; a++) {
        rc |= put(d, a == answers ? "'" : ",'") | put(d, a->name) | put(d, "':");
        rc |= put_description(d, a->text, "", a->headers) | put_own(d, a) | put(d, "}}}");
    }
    return rc;
}

static int put_reference(struct document *d, const struct answer *a)
{
    int rc = buf_printf(&d->out, ",\"%d\":", a->status);

    return rc | put(d, "{'$ref':'#/components/responses/") | put(d, a->name) | put(d, "'}");
}

static int put_answers(struct document *d, uint32_t set)
{
    int rc = 0;

    for (const struct answer *a = answers; a < answers + ANSWER_COUNT; a++)
        rc |= set & BIT(a - answers) ? put_reference(d, a) : 0;
    return rc;
}

/* The one of /call with the status; NULL: there is none. */
static const struct answer *answer_of_call(int status)
{
    for (const struct answer *a = answers; a < answers + ANSWER_COUNT; a++) {
        if (a->status == status && (OF_CALL & BIT(a - answers)))
            return a;
    }
    return NULL;
}

/* The last alternative is there since operations may fail with codes that they do not declare. */
static int put_merged(struct document *d, const struct answer *a, int status)
{
    bool declared = declared_any(&d->declared, status);
    struct buf *b = &d->out;
    int rc = buf_printf(&d->out, ",\"%d\":", status);

    rc |=
        put_description(d, a ? a->text : "What operations fail with",
                        a && declared ? "; or what operations fail with" : "", a ? a->headers : "");
    rc |= put(d, "{'anyOf':[");
    rc |= a ? put_own(d, a) | put(d, ",") : 0;
    rc |= declared_put(&d->declared, b, status);
    return rc | put(d, "{'$ref':'#/components/schemas/Error'}]}}}}");
}

/* What the gateway alone says is as everywhere. */
static int put_call(struct document *d)
{
    int rc = 0;

    for (int status = STATUS_FIRST; status < STATUS_FIRST + STATUS_COUNT; status++) {
        const struct answer *a = answer_of_call(status);

        if (a && !status_passes(status))
            rc |= put_reference(d, a);
        else if (a || declared_any(&d->declared, status))
            rc |= put_merged(d, a, status);
    }
    rc |= put(d, ",'default':");
    rc |= put_description(d,
                          "What operations fail with and do not declare: a code HTTP_409 has "
                          "that status",
                          "", "");
    return rc | put(d, "{'$ref':'#/components/schemas/Error'}}}}");
}

/* In stealth, who shows no token gets no further than the decoy, unless his connection says who he
 * is. */
static const char *security(const struct alk_request *r)
{
    return r->g->stealth && r->token.p ? "[{'bearer':[]}]" : "[{},{'bearer':[]}]";
}

static int put_first(struct document *d, const struct names *n)
{
    return n->count ? buf_append(&d->out, buf_at(&n->text), n->first) : put(d, "'ns/stream'");
}

static int put_mark(struct document *d, char mark)
{
    struct buf *b = &d->out;

    switch (mark) {
    case 'v':
        return buf_puts(b, d->version);
    case 'c':
        return buf_puts(b, GATEWAY_CONTRACT);
    case 's':
        return put(d, security(d->call->sink_ud));
    case 'b':
        return buf_printf(b, "%u", (unsigned)LIMIT(d->call->d->node, batch));
    case 't':
        return buf_puts(b, OPERATION_TYPES_JSON);
    case 'o':
        return put_text(b, &d->single.text);
    case 'n':
        return put_text(b, &d->streams.text);
    case 'f':
        return put_first(d, &d->streams);
    case 'e':
        return put(d, d->version == version_32 ? openapi_stream_32 : openapi_stream_31);
    case 'p':
        return put(d, openapi_parameters);
    case 'h':
        return put(d, openapi_headers);
    case 'j':
        return put(d, openapi_json);
    case 'r':
        return put(d, openapi_result);
    case 'k':
        return put_call(d);
    case 'a':
        return put_components(d);
    case 'd':
        return put_text(b, &d->declared.components);
    default:
        return put_answers(d, of_routes[mark - '1']);
    }
}

static int add_name(struct names *n, struct str name)
{
    int rc;

    if (n->count == NAMES_MAX)
        return 0;
    rc = (n->count++ ? buf_puts(&n->text, ",") : 0) | buf_json_string(&n->text, name.p, name.n);
    n->first = n->count == 1 ? n->text.len : n->first;
    return rc;
}

/* What a subscription fails with is an event, and has no status. */
static int add_operation(const struct operation *op, void *ud)
{
    struct document *d = ud;

    if (op->type == ALK_SUBSCRIPTION)
        return add_name(&d->streams, op_name(op));
    return add_name(&d->single, op_name(op)) | declared_add(&d->declared, op);
}

/* As a listing: too large to be sent, the call has failed already, and this handler has not. */
static int write_document(alk_call *call, void *ud)
{
    struct alk_dispatcher *d = call->d;
    struct document doc = {.call = call, .version = ud};
    int rc;

    buf_init(&doc.out, &d->mem);
    buf_init(&doc.single.text, &d->mem);
    buf_init(&doc.streams.text, &d->mem);
    declared_init(&doc.declared, &d->mem, d->node->seed);
    rc = services_each(d, call->identity, STR_NONE, NULL, add_operation, &doc);
    for (size_t i = 0; openapi_text[i] && !rc; i++)
        rc = put(&doc, openapi_text[i]);
    rc = rc ? ALK_ENOMEM : alk_call_reply(call, buf_at(&doc.out), doc.out.len);
    declared_fini(&doc.declared);
    buf_fini(&doc.streams.text);
    buf_fini(&doc.single.text);
    buf_fini(&doc.out);
    return rc == ALK_ELIMIT ? ALK_OK : rc;
}

#define OPERATION(version_)                                                                        \
    {                                                                                              \
        .by_name = {.key = "openapi.json", .len = 12}, .type = ALK_QUERY,                          \
        .visibility = ALK_EXTERNAL, .handler = write_document, .ud = version_                      \
    }

const struct operation *openapi_find(struct str query)
{
    static const struct operation v31 = OPERATION(version_31), v32 = OPERATION(version_32);

    if (!query.n || str_is(query, "version=3.1"))
        return &v31;
    return str_is(query, "version=3.2") ? &v32 : NULL;
}
