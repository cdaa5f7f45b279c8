/* What a server is sent whatever comes of it: notifications, and answers to requests of its own. Each
 * owns itself until the server has taken it, or the loop closes. */
#include "adapt/mcp_client.h"

struct note {
    struct mcp_exchange x;
    struct mcp_server *server;
};

static void note_free(struct note *n)
{
    struct mem *mem = &n->x.d->mem;

    mcp_exchange_fini(&n->x);
    __atomic_fetch_sub(&n->server->notes, 1, __ATOMIC_RELAXED);
    mcp_server_unref(n->server);
    mem_free(mem, n);
}

static void on_noted(void *ud, const struct mcp_answer *a)
{
    (void)a;
    note_free(ud);
}

/* NULL: out of memory, or too many are under way. */
static struct note *note_new(struct mcp_server *server, struct alk_dispatcher *d)
{
    bool many = __atomic_add_fetch(&server->notes, 1, __ATOMIC_RELAXED) > MCP_NOTES;
    struct note *n = many ? NULL : mem_zalloc(&d->mem, sizeof *n);

    if (!n) {
        __atomic_fetch_sub(&server->notes, 1, __ATOMIC_RELAXED);
        return NULL;
    }
    n->server = mcp_server_ref(server);
    mcp_exchange_init(&n->x, server, d, NULL, n);
    n->x.on_answer = on_noted;
    return n;
}

void mcp_notify(struct mcp_server *server, struct alk_dispatcher *d, const char *method,
                const char *params)
{
    struct note *n = note_new(server, d);
    struct mcp_era era;

    if (!n)
        return;
    mcp_server_era(server, &era);
    if (mcp_begin(&n->x, MCP_NOTE, &era, method, false) || buf_puts(&n->x.body, params) ||
        mcp_send(&n->x, d->now + MCP_NOTE_NS, MCP_NOTE_BYTES, false, NULL))
        note_free(n);
}

static int put_reply(struct buf *b, struct str method, yyjson_val *id)
{
    int rc;

    buf_consume(b, b->len);
    rc = buf_puts(b, "{\"jsonrpc\":\"2.0\",\"id\":");
    if (yyjson_is_str(id))
        rc |= buf_json_string(b, yyjson_get_str(id), yyjson_get_len(id));
    else if (yyjson_is_uint(id))
        rc |= buf_printf(b, "%llu", (unsigned long long)yyjson_get_uint(id));
    else
        rc |= buf_printf(b, "%lld", (long long)yyjson_get_sint(id));
    return rc | buf_puts(b, str_is(method, "ping")
                                ? ",\"result\":{"
                                : ",\"error\":{\"code\":-32601,\"message\":\"not known here\"");
}

/* However many a server sends, few are answered. */
void mcp_reply(struct mcp_exchange *x, struct str method, yyjson_val *id)
{
    struct mcp_era era;
    struct note *n;

    if (x->replied_at && x->d->now < x->replied_at + MCP_REPLY_NS)
        return;
    x->replied_at = x->d->now;
    n = note_new(x->server, x->d);
    if (!n)
        return;
    mcp_server_era(x->server, &era);
    if (mcp_begin(&n->x, MCP_NOTE, &era, "", false) || put_reply(&n->x.body, method, id) ||
        mcp_send(&n->x, x->d->now + MCP_NOTE_NS, MCP_NOTE_BYTES, false, NULL))
        note_free(n);
}
