/* A client of one MCP server: finds out which era it speaks, lists its tools, and begins again
 * later: after a failure, at longer and longer intervals, and when the server says that its tools
 * have changed.
 *
 *   WAITING       for the timer, if it is set, or for a change
 *   DISCOVERING   server/discover is under way: does it speak 2026-07-28?
 *   GREETING      it does not: a session is being opened
 *   LISTING       tools/list, page after page
 *
 * What is being listed takes the place of what was listed when it is whole. The struct goes when its
 * owner has closed it, and no callback of his is on the stack; the loop may be gone before. */
#include "adapt/mcp_client.h"

#include "base/abi.h"

#include <stdio.h>
#include <string.h>

static void discover(struct alk_mcp *m);
static void list(struct alk_mcp *m, struct str cursor);

/* ---- telling, and waiting ---------------------------------------------------------------------- */

static void unref(struct alk_mcp *m)
{
    struct alk_dispatcher *d = m->d;

    if (--m->refs)
        return;
    mcp_listen_fini(m);
    mcp_list_fini(&m->next);
    mcp_list_fini(&m->list);
    mcp_exchange_fini(&m->hello.x);
    mcp_exchange_fini(&m->x);
    mcp_server_unref(m->server);
    arena_fini(&m->arena);
    mem_free(&d->mem, m);
    dispatcher_unref(d);
}

/* The last thing that is done with m. */
static void tell(struct alk_mcp *m, int rc, const char *why)
{
    m->refs++;
    if (m->o.on_tools)
        m->o.on_tools(m->o.ud, m, rc, why);
    unref(m);
}

static void wait_until(struct alk_mcp *m, uint64_t at)
{
    m->state = MCP_WAITING;
    timer_set(&m->d->schedule, &m->timer, at);
}

static void failed(struct alk_mcp *m, int rc, const char *why, uint64_t at_least)
{
    uint64_t delay = mcp_next_delay(m->d, &m->delay);
    char text[MCP_WHY];

    snprintf(text, sizeof text, "%s", why);
    mcp_list_fini(&m->next);
    m->known = m->again = m->insisted = false;
    m->failed = true;
    wait_until(m, m->d->now + (delay > at_least ? delay : at_least));
    tell(m, rc, text);
}

static void failed_answer(struct alk_mcp *m, const struct mcp_answer *a, const char *asked)
{
    char why[MCP_WHY];
    int rc = mcp_failure(a, asked, why);

    failed(m, rc, why, a->kind == MCP_HELD ? a->retry_after_ms * MILLI : 0);
}

static void no_memory(struct alk_mcp *m)
{
    failed(m, ALK_ENOMEM, "out of memory", 0);
}

/* However often a server says so, its tools are listed once in a while. */
void mcp_changed(struct alk_mcp *m)
{
    uint64_t at = m->d->now + MCP_CHANGE_NS;

    if (m->state != MCP_WAITING || !m->known) {
        m->again = true;
        return;
    }
    if (at < m->listed_at + MCP_LIST_NS)
        at = m->listed_at + MCP_LIST_NS;
    if (!timer_is_set(&m->timer))
        wait_until(m, at);
}

void mcp_look_later(struct alk_mcp *m)
{
    if (m->state == MCP_WAITING && !timer_is_set(&m->timer))
        wait_until(m, m->d->now + MCP_LOOK_NS);
}

/* Nothing is begun while the node drains. */
static void on_timer(struct timer *t, uint64_t now)
{
    struct alk_mcp *m = container_of(t, struct alk_mcp, timer);

    (void)now;
    if (m->d->draining)
        return;
    if (m->known)
        list(m, STR_NONE);
    else
        discover(m);
}

/* ---- listing ----------------------------------------------------------------------------------- */

static void listed(struct alk_mcp *m)
{
    bool news = !m->has || m->failed || !mcp_list_same(&m->list, &m->next);

    mcp_list_fini(&m->list);
    m->list = m->next;
    mcp_list_init(&m->next, &m->d->mem);
    m->has = true;
    m->failed = m->expired = m->insisted = false;
    m->delay = 0;
    m->state = MCP_WAITING;
    mcp_exchange_fini(&m->x);
    mcp_listen(m);
    if (m->again) {
        m->again = false;
        mcp_changed(m);
    } else if (!m->changes) {
        mcp_look_later(m);
    }
    if (news)
        tell(m, ALK_OK, NULL);
}

/* A session that has expired is no failure, once. */
static void on_page(void *ud, const struct mcp_answer *a)
{
    struct alk_mcp *m = ud;
    char why[MCP_WHY];
    struct str next;
    int rc;

    if (a->status == 404 && m->x.in_session && !m->expired) {
        m->expired = true;
        discover(m);
        return;
    }
    if (a->kind != MCP_RESULT) {
        failed_answer(m, a, "tools/list");
        return;
    }
    rc = mcp_list_add(&m->next, m->server, a->result, &m->d->scratch, &next, why);
    if (rc)
        failed(m, rc, why, 0);
    else if (next.p)
        list(m, next);
    else
        listed(m);
}

/* cursor: p NULL: from the beginning. */
static void list(struct alk_mcp *m, struct str cursor)
{
    struct mcp_era era;
    int rc;

    if (!cursor.p) {
        mcp_list_fini(&m->next);
        mcp_list_init(&m->next, &m->d->mem);
        m->listed_at = m->d->now;
        m->again = false;
    }
    m->state = MCP_LISTING;
    mcp_server_era(m->server, &era);
    m->x.on_answer = on_page;
    rc = mcp_begin(&m->x, MCP_REQUEST, &era, "tools/list", false);
    if (!rc && cursor.p &&
        (buf_puts(&m->x.body, ",\"cursor\":") || buf_json_string(&m->x.body, cursor.p, cursor.n)))
        rc = ALK_ENOMEM;
    if (rc || mcp_send(&m->x, m->d->now + MCP_ANSWER_NS,
                       m->o.response_bytes ? m->o.response_bytes : MCP_LIST_BYTES, true, NULL))
        no_memory(m);
}

/* ---- negotiation ------------------------------------------------------------------------------- */

static void on_hello(void *ud, int rc, const char *why)
{
    struct alk_mcp *m = ud;

    if (rc) {
        failed(m, rc, why, 0);
        return;
    }
    m->known = true;
    m->changes = m->hello.changes;
    list(m, STR_NONE);
}

static void greet(struct alk_mcp *m)
{
    m->state = MCP_GREETING;
    if (mcp_hello_start(&m->hello))
        no_memory(m);
}

static bool has_stateless(yyjson_val *versions)
{
    yyjson_arr_iter it = yyjson_arr_iter_with(versions);
    yyjson_val *item;

    while ((item = yyjson_arr_iter_next(&it))) {
        if (str_is(json_string(item), MCP_STATELESS))
            return true;
    }
    return false;
}

/* Servers before 2026-07-28 say in many ways that they do not know what was asked: in an error of
 * JSON-RPC, or in a status below 500. That they want a token, or are too busy, is another thing. */
static bool is_older(const struct mcp_answer *a)
{
    if (a->kind == MCP_RESULT)
        return true;
    if (a->status == 401 || a->status == 403 || a->status == 429 || a->status >= 500)
        return false;
    return a->kind == MCP_ERROR || (a->kind == MCP_STATUS && a->status >= 400);
}

static void on_discovered(void *ud, const struct mcp_answer *a)
{
    struct mcp_era era = {.kind = ERA_STATELESS, .version = MCP_STATELESS};
    struct alk_mcp *m = ud;

    if (a->kind == MCP_RESULT && has_stateless(yyjson_obj_get(a->result, "supportedVersions"))) {
        mcp_server_set_era(m->server, &era);
        m->known = true;
        m->changes = mcp_tells_changes(yyjson_obj_get(a->result, "capabilities"));
        list(m, STR_NONE);
    } else if (a->kind == MCP_ERROR && a->code == MCP_UNSUPPORTED_VERSION && !m->insisted &&
               has_stateless(yyjson_obj_get(a->data, "supported"))) {
        m->insisted = true;
        discover(m);
    } else if (is_older(a)) {
        greet(m);
    } else {
        failed_answer(m, a, "server/discover");
    }
}

static void discover(struct alk_mcp *m)
{
    struct mcp_era era = {.kind = ERA_STATELESS, .version = MCP_STATELESS};

    mcp_listen_stop(m);
    m->state = MCP_DISCOVERING;
    m->known = false;
    m->x.on_answer = on_discovered;
    if (mcp_begin(&m->x, MCP_REQUEST, &era, "server/discover", false) ||
        mcp_send(&m->x, m->d->now + MCP_ANSWER_NS, MCP_NOTE_BYTES, true, NULL))
        no_memory(m);
}

/* ---- life -------------------------------------------------------------------------------------- */

static const struct abi abi_mcp_options = ABI_PLAIN(alk_mcp_options, ud);

static void stop(struct alk_mcp *m)
{
    if (m->closed)
        return;
    m->closed = true;
    list_del(&m->dialing.link);
    timer_clear(&m->d->schedule, &m->timer);
    mcp_exchange_stop(&m->x);
    mcp_exchange_stop(&m->hello.x);
    mcp_listen_stop(m);
    m->t->hold(m->t, -1);
}

/* The loop closes. The owner still has his reference. */
static void close_dialing(struct dialing *dialing)
{
    stop(container_of(dialing, struct alk_mcp, dialing));
}

void alk_mcp_close(alk_mcp *m)
{
    stop(m);
    unref(m);
}

static int keep(struct alk_mcp *m, const alk_mcp_options *o)
{
    m->o = *o;
    m->o.namespace_prefix = m->server->prefix;
    m->o.url = m->server->url;
    m->o.tool_filter = m->o.headers = m->o.access_control = NULL;
    m->o.capabilities = NULL;
    if (o->access_control &&
        !(m->o.access_control = arena_dup(&m->arena, o->access_control, strlen(o->access_control))))
        return ALK_ENOMEM;
    return ALK_OK;
}

int alk_mcp_open(alk_mcp **out, alk_loop *l, const alk_mcp_options *o, char *err, size_t err_size)
{
    struct transport *t = loop_transport(l);
    struct mcp_server *server;
    alk_mcp_options own;
    struct alk_mcp *m;
    int rc;

    *out = NULL;
    if (err && err_size)
        *err = 0;
    o = abi_take(&abi_mcp_options, &own, o, err, err_size);
    if (!o)
        return ALK_EINVAL;
    if (t->leaving)
        return ALK_ECLOSED;
    if ((rc = mcp_server_new(&server, o, err, err_size)))
        return rc;
    m = mem_zalloc(&t->d->mem, sizeof *m);
    if (!m) {
        mcp_server_unref(server);
        return ALK_ENOMEM;
    }
    m->d = dispatcher_ref(t->d);
    m->t = t;
    m->server = server;
    m->refs = 1;
    arena_init(&m->arena, &m->d->mem, 256);
    mcp_exchange_init(&m->x, server, m->d, NULL, m);
    mcp_exchange_init(&m->hello.x, server, m->d, NULL, &m->hello);
    m->hello.on_done = on_hello;
    m->hello.ud = m;
    mcp_list_init(&m->list, &m->d->mem);
    mcp_list_init(&m->next, &m->d->mem);
    timer_init(&m->timer, on_timer);
    mcp_listen_init(m);
    list_init(&m->dialing.link);
    m->dialing.close = close_dialing;
    if ((rc = keep(m, o))) {
        unref(m);
        return rc;
    }
    list_push(&t->dialers, &m->dialing.link);
    t->hold(t, 1);
    wait_until(m, m->d->now);
    *out = m;
    return ALK_OK;
}
