/* Messages to the MCP server. One URL has both eras, and each message says of which it is: by its
 * _meta, or by a header. In the stateless revision its headers say again what its body says, for
 * those between; what they say otherwise is refused, since somebody may have decided by them.
 *
 * Errors of the form are told by a status as well, in the stateless revision those of the method,
 * too; what a tool says is an answer, with 200. */
#include "adapt/mcp_serve.h"

#include "base/base64.h"
#include "base/json.h"
#include "base/utf8.h"

#include <stdlib.h>
#include <string.h>

#define VERSIONS "[\"" MCP_STATELESS "\",\"" MCP_SESSIONS "\",\"" MCP_SESSIONS_OLD "\"]"
#define NAME_BYTES 1024u /* of a header that says a name again */

/* ---- headers --------------------------------------------------------------------------------- */

/* p NULL: there is none, or more than one. */
static struct str header(const struct mcp *x, const char *name)
{
    const struct http_header *h = request_field(&x->r->x->req, name);

    return h ? h->value : STR_NONE;
}

/* What HTTP has no characters for is base64 in brackets, with its padding. false: it is not. */
static bool decode(struct str value, char out[NAME_BYTES], struct str *text)
{
    static const char open[] = "=?base64?", close[] = "?=";
    size_t n = sizeof open - 1, m = sizeof close - 1, len;

    *text = value;
    if (value.n < n + m || memcmp(value.p, open, n) || memcmp(value.p + value.n - m, close, m))
        return true;
    if ((value.n - n - m) % 4 || BASE64_BYTES(value.n - n - m) > NAME_BYTES ||
        !base64_decode(out, &len, value.p + n, value.n - n - m))
        return false;
    *text = (struct str){out, len};
    return true;
}

static bool says(struct str text, yyjson_val *body)
{
    char number[64];

    if (yyjson_is_str(body))
        return str_eq(text, json_string(body));
    if (yyjson_is_bool(body))
        return str_is(text, yyjson_is_true(body) ? "true" : "false");
    if (!json_is_number(body) || text.n >= sizeof number)
        return false;
    memcpy(number, text.p, text.n);
    number[text.n] = 0;
    return text.n && strspn(number, "+-.0123456789eE") == text.n &&
           strtod(number, NULL) == json_double(body);
}

bool mcp_mirrored(struct mcp *x, const char *name, yyjson_val *body)
{
    struct str value = header(x, name), text;
    char room[NAME_BYTES];

    if (value.p && decode(value, room, &text) && says(text, body))
        return true;
    mcp_answer_error(x, 400, MCP_HEADER_MISMATCH, NULL, "%s: %s what the body says", name,
                     value.p ? "is not" : "is missing, and must be");
    return false;
}

/* ---- eras ------------------------------------------------------------------------------------ */

/* A header may have any bytes. */
static void refuse_version(struct mcp *x, struct str version)
{
    struct buf b;
    int rc;

    buf_init(&b, &x->r->g->mem);
    rc = buf_puts(&b, "{\"supported\":" VERSIONS);
    if (utf8_valid(version.p, version.n))
        rc |= buf_puts(&b, ",\"requested\":") | buf_json_string(&b, version.p, version.n);
    rc |= buf_append(&b, "}", 2);
    mcp_answer_error(x, 400, MCP_UNSUPPORTED_VERSION, rc ? NULL : buf_at(&b),
                     "this revision of the protocol is not supported");
    buf_fini(&b);
}

/* The order is that of the official server: what is missing in the body, the version, then what the
 * headers say of the rest. */
static bool stateless_is_right(struct mcp *x, yyjson_val *method, yyjson_val *meta)
{
    static const char version_header[] = "mcp-protocol-version";
    yyjson_val *version = yyjson_obj_get(meta, MCP_META_VERSION), *name;

    if (!yyjson_is_str(version) || !yyjson_is_obj(yyjson_obj_get(meta, MCP_META_CAPABILITIES))) {
        mcp_answer_error(x, 400, MCP_INVALID_PARAMS, NULL, "params/_meta: needs %s, %s",
                         "\"" MCP_META_VERSION "\", a string",
                         "and \"" MCP_META_CAPABILITIES "\", an object");
        return false;
    }
    if (header(x, version_header).p && !mcp_mirrored(x, version_header, version))
        return false;
    if (!yyjson_equals_str(version, MCP_STATELESS)) {
        refuse_version(x, json_string(version));
        return false;
    }
    if (!mcp_mirrored(x, version_header, version) || !mcp_mirrored(x, "mcp-method", method))
        return false;
    name = yyjson_obj_get(x->params, "name");
    return !yyjson_equals_str(method, "tools/call") || !yyjson_is_str(name) ||
           mcp_mirrored(x, "mcp-name", name);
}

/* Without the header it is whichever the client has agreed on. */
static bool session_is_right(struct mcp *x, struct str method)
{
    struct str said = header(x, "mcp-protocol-version");
    bool begins = str_is(method, "initialize");

    if (said.p && !begins && !str_is(said, MCP_SESSIONS) && !str_is(said, MCP_SESSIONS_OLD)) {
        refuse_version(x, said);
        return false;
    }
    return begins || mcp_session(x);
}

/* ---- methods --------------------------------------------------------------------------------- */

static void discover(struct mcp *x)
{
    struct buf b;
    int rc = mcp_answer_begin(x, &b);

    rc |= buf_printf(&b,
                     "\"supportedVersions\":" VERSIONS ",\"capabilities\":{\"tools\":{%s}},"
                     "\"ttlMs\":3600000,\"cacheScope\":\"public\"",
                     x->r->g->mcp == ALK_MCP_DIRECT ? "\"listChanged\":true" : "");
    mcp_answer_end(x, &b, rc, NULL, 0);
}

static void ping(struct mcp *x)
{
    struct buf b;
    int rc = mcp_answer_begin(x, &b);

    mcp_answer_end(x, &b, rc, NULL, 0);
}

enum { STATELESS = 1, SESSIONS = 2 };

static const struct method {
    const char *name;
    unsigned eras;
    void (*serve)(struct mcp *x);
} methods[] = {
    {"tools/call", STATELESS | SESSIONS, mcp_tools_call},
    {"tools/list", STATELESS | SESSIONS, mcp_tools_list},
    {"server/discover", STATELESS, discover},
    {"subscriptions/listen", STATELESS, mcp_serve_listen},
    {"initialize", SESSIONS, mcp_serve_initialize},
    {"ping", SESSIONS, ping},
};

static void serve_method(struct mcp *x, struct str method)
{
    for (size_t i = 0; i < sizeof methods / sizeof methods[0]; i++) {
        if (str_is(method, methods[i].name) &&
            methods[i].eras & (x->stateless ? STATELESS : SESSIONS)) {
            methods[i].serve(x);
            return;
        }
    }
    mcp_answer_error(x, x->stateless ? 404 : 200, MCP_METHOD_NOT_FOUND, NULL,
                     "%.*s: no such method", (int)utf8_cut(method.p, method.n, 100), method.p);
}

/* ---- messages -------------------------------------------------------------------------------- */

static struct str as_json(struct mcp *x, yyjson_val *v)
{
    yyjson_alc alc = arena_alc(&x->r->msg->arena);
    struct str s = STR_NONE;

    s.p = yyjson_val_write_opts(v, 0, &alc, &s.n, NULL);
    return s;
}

static bool is_id(yyjson_val *v)
{
    return yyjson_is_str(v) || yyjson_is_int(v);
}

/* Notifications, and answers to what was never asked, get no answer of their own. */
static void accepted(struct mcp *x)
{
    reply(x->r, 202, NULL, NULL, 0, NULL, 0);
}

static void notified(struct mcp *x, struct str method)
{
    if (!x->stateless && !session_is_right(x, method))
        return;
    /* The stateless revision has no session, so whose the one of a header is has not been asked. */
    if (!x->stateless && str_is(method, "notifications/cancelled"))
        mcp_cancel(x);
    accepted(x);
}

static void requested(struct mcp *x, yyjson_val *name, yyjson_val *id, yyjson_val *meta)
{
    struct str method = json_string(name);
    yyjson_val *token = yyjson_obj_get(meta, "progressToken");

    if (!is_id(id)) {
        mcp_answer_error(x, 400, MCP_INVALID_REQUEST, NULL, "id: must be a string or an integer");
        return;
    }
    x->id = as_json(x, id);
    if (is_id(token))
        x->token = as_json(x, token);
    if (!x->id.p || (is_id(token) && !x->token.p))
        reply_error(x->r, 503, "out of memory");
    else if (x->params && !yyjson_is_obj(x->params))
        mcp_answer_error(x, 400, MCP_INVALID_PARAMS, NULL, "params: must be an object");
    else if (x->stateless ? stateless_is_right(x, name, meta) : session_is_right(x, method))
        serve_method(x, method);
}

static void posted(struct mcp *x, yyjson_val *body)
{
    yyjson_val *method = yyjson_obj_get(body, "method"), *id = yyjson_obj_get(body, "id"), *meta;

    if (!yyjson_is_obj(body)) {
        mcp_answer_error(x, 400, MCP_INVALID_REQUEST, NULL,
                         yyjson_is_arr(body) ? "batches are not part of the protocol"
                                             : "must be an object");
        return;
    }
    if (!yyjson_equals_str(yyjson_obj_get(body, "jsonrpc"), "2.0")) {
        mcp_answer_error(x, 400, MCP_INVALID_REQUEST, NULL, "jsonrpc: must be \"2.0\"");
        return;
    }
    x->params = yyjson_obj_get(body, "params");
    meta = yyjson_obj_get(x->params, "_meta");
    x->stateless = yyjson_obj_get(meta, MCP_META_VERSION) ||
                   str_is(header(x, "mcp-protocol-version"), MCP_STATELESS);
    if (yyjson_is_str(method) && !id)
        notified(x, json_string(method));
    else if (yyjson_is_str(method))
        requested(x, method, id, meta);
    else if (!x->stateless && yyjson_obj_get(body, "result"))
        accepted(x);
    else if (!x->stateless && yyjson_obj_get(body, "error"))
        accepted(x);
    else
        mcp_answer_error(x, 400, MCP_INVALID_REQUEST, NULL, "method: must be a string");
}

static void serve_post(struct mcp *x)
{
    struct alk_request *r = x->r;
    struct json_error why;
    int rc = r->body_len ? msg_parse_in_place(r->msg, r->body, r->body_len, &why) : ALK_EJSON;

    if (rc == ALK_ENOMEM || rc == ALK_ELIMIT)
        reply_error(r, 503, "too many messages are being received");
    else if (rc && r->body_len && why.status == JSON_EVALUES)
        mcp_answer_error(x, 413, MCP_PARSE_ERROR, NULL, "%s", why.text);
    else if (rc)
        mcp_answer_error(x, 400, MCP_PARSE_ERROR, NULL, "%s",
                         r->body_len ? why.text : "no message");
    else
        posted(x, r->msg->value.val);
}

void mcp_serve(struct alk_request *r)
{
    struct mcp *x = arena_zalloc(&r->msg->arena, sizeof *x);

    if (!x || !mcp_service(r->g)) {
        reply_error(r, 503, "out of memory");
        return;
    }
    x->r = r;
    buf_init(&x->last, &r->g->mem);
    list_init(&x->stream);
    r->mcp = x;
    if (str_is(r->x->req.method, "POST"))
        serve_post(x);
    else if (str_is(r->x->req.method, "GET"))
        mcp_serve_get(x);
    else
        mcp_serve_delete(x);
}

/* Its call, if there was one, has ended before. */
void mcp_close(struct alk_request *r)
{
    struct mcp *x = r->mcp;

    r->mcp = NULL;
    mcp_forget(x);
    list_del(&x->stream);
    buf_fini(&x->last);
}
