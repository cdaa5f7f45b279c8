/* Answers of the MCP server: each is one message of JSON-RPC, alone or as the last event of a stream
 * that has begun with progress. A value is shown twice, for programs and for those who read text;
 * a list of blocks is shown as it is. */
#include "adapt/mcp_serve.h"

#include "base/utf8.h"
#include "core/fault.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* ---- streams of events ----------------------------------------------------------------------- */

int mcp_answer_stream(struct mcp *x)
{
    static const struct http_header h[] = {
        {STR_INIT("Content-Type"), STR_INIT("text/event-stream")},
        {STR_INIT("Cache-Control"), STR_INIT("no-store")},
        {STR_INIT("X-Accel-Buffering"), STR_INIT("no")},
    };

    if (x->r->started)
        return 0;
    if (!reply_start(x->r, 200, h, sizeof h / sizeof h[0]))
        return 0;
    x->r->ended = true;
    x->r->x->ops->reset(x->r->x);
    return -1;
}

void mcp_answer_event(struct mcp *x, struct buf *b, int rc)
{
    struct http_exchange *e = x->r->x;

    if (!rc && !e->ops->write(e, "data: ", 6) && !e->ops->write(e, buf_at(b), b->len))
        e->ops->write(e, "\n\n", 2);
}

/* ---- messages -------------------------------------------------------------------------------- */

static int put_head(const struct mcp *x, struct buf *b, const char *member)
{
    return buf_puts(b, "{\"jsonrpc\":\"2.0\",\"id\":") |
           (x->id.p ? buf_append(b, x->id.p, x->id.n) : buf_puts(b, "null")) | buf_puts(b, member);
}

int mcp_answer_begin(struct mcp *x, struct buf *b)
{
    buf_init(b, &x->r->g->mem);
    buf_charge(b, &x->r->payer->meter);
    return put_head(x, b, ",\"result\":{");
}

/* The whole message is in b. */
static void send(struct mcp *x, struct buf *b, int rc, int status, const struct http_header *extra,
                 size_t n)
{
    struct alk_request *r = x->r;

    if (r->started) {
        r->ended = true;
        mcp_answer_event(x, b, rc);
        if (rc)
            r->x->ops->reset(r->x);
        else
            r->x->ops->end(r->x);
    } else if (rc) {
        reply_error(r, 503, "out of memory");
    } else {
        reply(r, status, JSON_TYPE, buf_at(b), b->len, extra, n);
    }
}

void mcp_answer_end(struct mcp *x, struct buf *b, int rc, const struct http_header *extra, size_t n)
{
    if (x->stateless)
        rc |= buf_puts(b, ",\"resultType\":\"complete\",\"_meta\":{\"" MCP_META
                          "serverInfo\":" MCP_SERVER_INFO "}");
    rc |= buf_puts(b, "}}");
    send(x, b, rc, 200, extra, n);
    buf_fini(b);
}

void mcp_answer_error(struct mcp *x, int status, int code, const char *data, const char *fmt, ...)
{
    char text[300];
    struct buf b;
    va_list ap;
    int rc;

    va_start(ap, fmt);
    if (vsnprintf(text, sizeof text, fmt, ap) >= (int)sizeof text)
        text[utf8_cut_end(text, sizeof text - 1)] = 0;
    va_end(ap);
    buf_init(&b, &x->r->g->mem);
    rc = put_head(x, &b, ",\"error\":{\"code\":") | buf_printf(&b, "%d,\"message\":", code) |
         buf_json_string(&b, text, utf8_cut_end(text, strlen(text)));
    if (data)
        rc |= buf_puts(&b, ",\"data\":") | buf_puts(&b, data);
    rc |= buf_puts(&b, "}}");
    send(x, &b, rc, status, NULL, 0);
    buf_fini(&b);
}

/* ---- results of tools ------------------------------------------------------------------------ */

static int put_text(struct buf *b, const char *text, size_t len)
{
    return buf_puts(b, "\"content\":[{\"type\":\"text\",\"text\":") |
           buf_json_string(b, text, len) | buf_puts(b, "}]");
}

/* Whether the copy that the wire makes has room beside it: else the client would see a connection
 * that is cut, and ask again. */
static bool fits(const struct mcp *x, const struct buf *b, int rc)
{
    return rc ? !b->refused : b->len < METER_MIN || account_has_room(x->r->payer, b->len);
}

/* It is shown twice, which may be more than its caller may have where the value itself is not. */
void mcp_answer_value(struct mcp *x, const struct operation *op, const char *text, size_t len)
{
    struct buf b;
    int rc = mcp_answer_begin(x, &b);

    if (op->blocks && *text == '[') {
        rc |= buf_puts(&b, "\"content\":") | buf_append(&b, text, len);
    } else {
        rc |= put_text(&b, text, len) | buf_puts(&b, ",\"structuredContent\":") |
              (*text == '{' ? 0 : buf_puts(&b, "{\"result\":")) | buf_append(&b, text, len) |
              (*text == '{' ? 0 : buf_puts(&b, "}"));
    }
    if (fits(x, &b, rc)) {
        mcp_answer_end(x, &b, rc, NULL, 0);
    } else {
        buf_fini(&b);
        mcp_answer_fault(x, &fault_full);
    }
}

/* A tool of another server that has failed has said so in blocks. Details that find no room are left
 * out. */
void mcp_answer_fault(struct mcp *x, const alk_fault *f)
{
    bool blocks = str_is(fault_code(f), MCP_TOOL_ERROR) && f->details && *f->details == '[';
    alk_fault bare = *f;
    struct buf b, object;
    int rc = mcp_answer_begin(x, &b) | buf_puts(&b, "\"isError\":true,");

    buf_init(&object, &x->r->g->mem);
    buf_charge(&object, &x->r->payer->meter);
    if (blocks)
        rc |= buf_puts(&b, "\"content\":") | buf_puts(&b, f->details);
    else
        rc |= buf_puts(&object, "{") | fault_put(&object, f) | buf_puts(&object, "}");
    if (!blocks && !rc)
        rc = put_text(&b, buf_at(&object), object.len) | buf_puts(&b, ",\"structuredContent\":") |
             buf_append(&b, buf_at(&object), object.len);
    b.refused |= object.refused;
    buf_fini(&object);
    if (!f->details || fits(x, &b, rc)) {
        mcp_answer_end(x, &b, rc, NULL, 0);
    } else {
        buf_fini(&b);
        bare.details = NULL;
        mcp_answer_fault(x, &bare);
    }
}

/* ---- progress -------------------------------------------------------------------------------- */

/* What a value says of progress itself, in the members that the protocol has for it, as members of
 * an object; progress is their number. false: it says nothing. */
static bool own_progress(struct mcp *x, struct str value, struct buf *b, double *progress, int *rc)
{
    struct alk_dispatcher *d = x->r->g->d;
    static const struct json_limits limits = {64, 4096};
    static const char *const names[] = {"progress", "total", "message"};
    yyjson_alc alc = arena_alc(&d->scratch);
    yyjson_doc *doc;
    char *copy;

    if (!value.n || *value.p != '{')
        return false;
    arena_reset(&d->scratch);
    copy = arena_alloc(&d->scratch, value.n + JSON_PADDING);
    if (!copy)
        return false;
    memcpy(copy, value.p, value.n);
    if (json_parse(copy, value.n, &limits, &alc, &doc, NULL) ||
        !json_is_number(yyjson_obj_get(yyjson_doc_get_root(doc), names[0])))
        return false;
    *progress = json_double(yyjson_obj_get(yyjson_doc_get_root(doc), names[0]));
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        yyjson_val *v = yyjson_obj_get(yyjson_doc_get_root(doc), names[i]);
        bool fits = i < 2 ? json_is_number(v) : yyjson_is_str(v);
        size_t len;
        char *text = fits ? yyjson_val_write_opts(v, 0, &alc, &len, NULL) : NULL;

        if (fits)
            *rc |= text ? buf_printf(b, ",\"%s\":", names[i]) | buf_append(b, text, len) : -1;
    }
    return true;
}

/* It grows with each notification, or there is none: a comment keeps the stream. */
static bool grows(struct mcp *x, bool own, double progress)
{
    bool grows = own ? !x->tells || progress > x->told : !x->tells;

    x->told = !grows ? x->told : own ? progress : x->told + 1;
    x->tells |= own;
    return grows;
}

void mcp_answer_progress(struct mcp *x, struct str value)
{
    double progress = 0;
    struct buf b;
    bool own;
    int rc;

    if (mcp_answer_stream(x))
        return;
    buf_init(&b, &x->r->g->mem);
    rc = buf_puts(&b, "{\"jsonrpc\":\"2.0\",\"method\":\"notifications/progress\",\"params\":{"
                      "\"progressToken\":") |
         buf_append(&b, x->token.p, x->token.n);
    own = own_progress(x, value, &b, &progress, &rc);
    if (!grows(x, own, progress)) {
        buf_fini(&b);
        x->r->x->ops->write(x->r->x, ":\n\n", 3);
        return;
    }
    if (!own)
        rc |= buf_printf(&b, ",\"progress\":%.0f", x->told);
    rc |= buf_puts(&b, "}}");
    mcp_answer_event(x, &b, rc);
    buf_fini(&b);
}
