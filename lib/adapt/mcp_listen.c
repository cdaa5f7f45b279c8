/* A client hears of changes on a stream that the server keeps open: the answer to a GET, in a
 * session, and to subscriptions/listen, in 2026-07-28. One that ends is opened again, later and
 * later if it ends soon; and since what happened meanwhile is not known, the tools are listed again
 * then. A server that has no such stream says so. */
#include "adapt/mcp_client.h"

static void on_message(void *ud, struct str method, yyjson_val *params)
{
    (void)params;
    if (str_is(method, "notifications/tools/list_changed"))
        mcp_changed(ud);
}

uint64_t mcp_next_delay(struct alk_dispatcher *d, uint64_t *delay)
{
    uint64_t random = 0;

    *delay = !*delay                         ? MCP_RETRY_MIN_NS
             : *delay * 2 > MCP_RETRY_MAX_NS ? MCP_RETRY_MAX_NS
                                             : *delay * 2;
    d->node->host->random(&random, sizeof random);
    return *delay / 2 + random % (*delay - *delay / 2 + 1);
}

static void on_ended(void *ud, const struct mcp_answer *a)
{
    struct alk_mcp *m = ud;

    /* Either the session has expired, which a listing finds out, or there is no such thing. */
    if (a->status == 404 && m->listen.in_session)
        mcp_changed(m);
    if (a->kind == MCP_ERROR || (a->kind == MCP_STATUS && a->status < 500 && a->status != 429)) {
        m->changes = false;
        mcp_look_later(m);
        return;
    }
    if (m->d->now - m->listened_at > m->listen_delay)
        m->listen_delay = 0;
    timer_set(&m->d->schedule, &m->reopen, m->d->now + mcp_next_delay(m->d, &m->listen_delay));
}

static void open_stream(struct alk_mcp *m)
{
    struct mcp_era era;
    int rc;

    mcp_server_era(m->server, &era);
    m->listened_at = m->d->now;
    if (era.kind == ERA_STATELESS) {
        rc = mcp_begin(&m->listen, MCP_LISTEN, &era, "subscriptions/listen", false);
        if (!rc && buf_puts(&m->listen.body, ",\"notifications\":{\"toolsListChanged\":true}"))
            rc = ALK_ENOMEM;
    } else {
        rc = mcp_begin(&m->listen, MCP_GET, &era, NULL, false);
    }
    if (rc || mcp_send(&m->listen, UINT64_MAX, MCP_NOTE_BYTES, false, NULL))
        timer_set(&m->d->schedule, &m->reopen, m->d->now + mcp_next_delay(m->d, &m->listen_delay));
}

static void on_reopen(struct timer *t, uint64_t now)
{
    struct alk_mcp *m = container_of(t, struct alk_mcp, reopen);

    (void)now;
    if (m->d->draining)
        return;
    open_stream(m);
    mcp_changed(m);
}

void mcp_listen_init(struct alk_mcp *m)
{
    mcp_exchange_init(&m->listen, m->server, m->d, NULL, m);
    m->listen.on_message = on_message;
    m->listen.on_answer = on_ended;
    timer_init(&m->reopen, on_reopen);
}

void mcp_listen(struct alk_mcp *m)
{
    if (m->changes && !m->listen.fetch && !timer_is_set(&m->reopen))
        open_stream(m);
}

void mcp_listen_stop(struct alk_mcp *m)
{
    mcp_exchange_stop(&m->listen);
    timer_clear(&m->d->schedule, &m->reopen);
}

void mcp_listen_fini(struct alk_mcp *m)
{
    mcp_exchange_fini(&m->listen);
}
