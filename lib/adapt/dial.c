/* A dialer: connects, upgrades where the scheme of the URL has it so, opens a session, and begins
 * again after each end, later and later while it fails.
 *
 *   WAITING     a timer is set
 *   CONNECTING  the transport works; `connecting` is its handle
 *   OPENING     the handshake's engine is on the stream
 *   OPEN        a session is on the stream
 *   ENDED       what has ended will be told in the coming turn, which decides how it goes on
 * What the application is told, it is told from one task, in order; nothing new begins before an
 * end has been told. So its callbacks may do anything, closing the dialer included, and never find
 * a state that is already the next.
 *
 * Engines, sessions and callbacks end when it suits them, often after the dialer has given them up.
 * Each holds a reference, and what comes from one that was given up is recognised by the state (or
 * the connection) being another. The public handle is the first reference: it goes in the turn
 * after alk_dialer_close. */
#include "adapt/dial_int.h"

#include "base/time.h"
#include "base/utf8.h"
#include "core/fault.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define LOOK_NS SECOND /* how soon it is announced again when more can be called */

/* ---- the end of an attempt ------------------------------------------------------------------- */

/* Copied at once: what is told later may come from a message or a buffer that is gone by then. */
void dial_say(struct alk_dialer *x, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(x->message, sizeof x->message, fmt, ap);
    va_end(ap);
}

/* Also the end of what READY was waiting for: nobody is told that a lost connection is ready. */
void dial_ended(struct alk_dialer *x)
{
    x->state = ENDED;
    x->to_end = true;
    x->imports = x->announces = false;
    timer_clear(&x->d->schedule, &x->timer);
    task_post(&x->d->schedule, &x->task);
}

/* The URL as it was given, without its path, and who the remote is here: what a person knows it
 * by. */
static void log_state(const struct alk_dialer *x, uint32_t level, const char *event)
{
    alk_log_event e = {.size = sizeof e, .level = level, .event = event};

    e.message = *x->message ? x->message : NULL;
    e.remote = x->url.remote;
    e.identity = x->by ? x->by->who->id.p : x->o.peer_id;
    node_log(x->d->node, &e);
}

/* Half of the time that is due, and a random part of the other half: when a server restarts, its
 * clients lose it at one moment and must not come back at one moment. The time doubles from failure
 * to failure and starts anew after a connection that has held for longer than the last wait. Just
 * being accepted is not enough: a server that accepts and closes at once would be dialled at the
 * shortest interval for ever. */
static uint64_t next_delay(struct alk_dialer *x, bool was_open)
{
    uint64_t least = x->o.retry_min_ms * MILLI, most = x->o.retry_max_ms * MILLI, random = 0;
    uint64_t delay;

    if (was_open && x->d->now - x->opened_at > x->delay)
        x->delay = 0;
    x->delay = !x->delay ? least : x->delay * 2 > most ? most : x->delay * 2;
    x->d->node->host->random(&random, sizeof random);
    if (was_open && x->o.spread_ms)
        return random % (x->o.spread_ms * MILLI + 1);
    delay = x->delay / 2;
    return delay + random % (x->delay - delay + 1);
}

/* ud_free last, when nothing of the dialer is left that could call. The dispatcher's reference goes
 * after the memory that was taken from it. */
static void destroy(struct alk_dialer *x)
{
    struct alk_dispatcher *d = x->d;
    void (*ud_free)(void *) = x->o.ud_free;
    void *ud = x->o.ud;

    assert(!x->connecting && !x->connecting_quic && !x->opening && !x->conn &&
           !timer_is_set(&x->timer) && list_empty(&x->task.link) && list_empty(&x->dialing.link));
    credential_unref(x->by);
    dial_options_fini(&x->o);
    arena_fini(&x->arena);
    ws_pool_fini(&x->pool);
    mem_free(&d->mem, x);
    dispatcher_unref(d);
    if (ud_free)
        ud_free(ud);
}

void dialer_unref(struct alk_dialer *x)
{
    if (--x->refs == 0)
        destroy(x);
}

/* ---- after connecting: import, announce ------------------------------------------------------ */

/* Both may be under way, and either may fail without the other: READY comes once, when neither
 * is. */
static void ready_soon(struct alk_dialer *x)
{
    if (x->state != OPEN || x->imports || x->announces)
        return;
    x->to_ready = true;
    task_post(&x->d->schedule, &x->task);
}

/* A failed import is told with READY and does not end the connection: calls by name are possible
 * without it. */
static void on_imported(alk_connection *c, int rc, size_t count, const char *message, void *ud)
{
    struct alk_dialer *x = ud;

    (void)count;
    (void)c;
    if (x->state == OPEN && x->imports) {
        x->imports = false;
        if (rc)
            snprintf(x->ready_message, sizeof x->ready_message, "import: %s",
                     message ? message : alk_strerror(rc));
        ready_soon(x);
    }
    dialer_unref(x);
}

static void on_announce_answer(alk_call *call, const alk_value *value, void *ud)
{
    struct alk_dialer *x = ud;
    size_t len;
    const char *text = alk_value_text(value, &len);

    (void)call;
    if (text && len <= ANNOUNCED_MAX)
        memcpy(x->announced, text, len + 1);
}

static void say_announce(struct alk_dialer *x, struct str said)
{
    static const char what[] = "announce: ";

    memcpy(x->ready_message, what, sizeof what);
    utf8_show(x->ready_message + sizeof what - 1, sizeof x->ready_message - sizeof what + 1, said.p,
              said.n);
}

/* The remote answers when it has imported what is served here, so READY means that it can call,
 * too. */
static void on_announced(alk_call *call, int why, const alk_fault *fault, void *ud)
{
    struct alk_dialer *x = ud;

    (void)call;
    (void)why;
    if (x->state == OPEN && x->announces) {
        x->announces = false;
        if (fault)
            say_announce(x, fault_message(fault));
        ready_soon(x);
    }
    dialer_unref(x);
}

static int announce(struct alk_dialer *x)
{
    alk_call_options co = {.size = sizeof co};
    int rc;

    co.on_event = on_announce_answer;
    co.on_end = on_announced;
    co.ud = x;
    x->discovered = discovery_changes(&x->d->node->discovery);
    x->refs++;
    rc = alk_connection_call(x->conn, "services/announce", 17, "{}", 2, &co, NULL);
    x->announces = !rc;
    x->refs -= rc != 0;
    return rc;
}

/* What is found outside while the node runs is served here as well: the remote imports again. */
static void look(struct alk_dialer *x)
{
    timer_set(&x->d->schedule, &x->timer, x->d->now + LOOK_NS);
    if (x->announces || x->imports || x->discovered == discovery_changes(&x->d->node->discovery))
        return;
    *x->ready_message = *x->announced = 0;
    announce(x);
}

/* The callbacks of an earlier connection have all run before the next one opens: its end came
 * first, and they run before the task that is told of it. */
static void prepare_connection(struct alk_dialer *x)
{
    alk_import_options io = {.size = sizeof io};
    int rc = 0;

    *x->ready_message = *x->announced = 0;
    if (x->o.import) {
        io.namespace_prefix = x->o.namespace_prefix;
        io.operation_filter = x->o.operation_filter;
        x->refs++;
        rc = alk_connection_import(x->conn, &io, on_imported, x);
        x->imports = !rc;
        x->refs -= rc != 0;
    }
    if (!rc && x->o.announce) {
        rc = announce(x);
        timer_set(&x->d->schedule, &x->timer, x->d->now + LOOK_NS);
    }
    if (rc)
        snprintf(x->ready_message, sizeof x->ready_message, "%s", alk_strerror(rc));
    ready_soon(x);
}

/* One timer for both, since a dialer either waits or tries. While the dispatcher drains nothing is
 * begun; there is nothing to tell either, since retry_ms was only ever a promise "unless it
 * drains". */
static void on_timer(struct timer *t, uint64_t now)
{
    struct alk_dialer *x = container_of(t, struct alk_dialer, timer);

    (void)now;
    if (x->state == WAITING) {
        if (!x->d->draining)
            dial_attempt(x);
        return;
    }
    if (x->state == OPEN) {
        look(x);
        return;
    }
    dial_stop(x);
    dial_say(x, "timed out");
    dial_ended(x);
}

/* ---- telling --------------------------------------------------------------------------------- */

static void tell(struct alk_dialer *x, alk_dial_event *e)
{
    e->size = sizeof *e;
    if (x->o.on_event)
        x->o.on_event(x, e, x->o.ud);
}

/* Everything is in its new state before the callback: it may close the dialer, and it may ask for
 * the present connection, of which there is none. The connection that ended is valid until it
 * returns. */
static void tell_end(struct alk_dialer *x)
{
    alk_dial_event e = {.message = x->message, .code = x->code, .status = x->status};
    alk_connection *c = x->conn;
    bool again = x->o.reconnect && !x->d->draining;
    uint64_t delay = again ? next_delay(x, c != NULL) : 0;

    e.state = c ? ALK_DIAL_LOST : ALK_DIAL_FAILED;
    e.connection = c;
    e.retry_ms = again ? delay / MILLI : UINT64_MAX;
    if (c)
        COUNT(x->d, dials_lost);
    log_state(x, ALK_LOG_WARN, c ? "dial.lost" : "dial.failed");
    x->conn = NULL;
    x->state = WAITING;
    if (again)
        timer_set(&x->d->schedule, &x->timer, x->d->now + delay);
    tell(x, &e);
    alk_connection_unref(c);
}

/* Several things may have come together, as when a connection opens and is lost within one turn:
 * they are told in the order in which they happened. Each look at `closed` is for the callback
 * before it. A reference covers the whole, since the owner's may go in between. */
static void run(struct task *t)
{
    struct alk_dialer *x = container_of(t, struct alk_dialer, task);
    alk_dial_event e = {.connection = x->conn};

    if (x->closed) {
        x->t->hold(x->t, -1);
        dialer_unref(x);
        return;
    }
    x->refs++;
    if (x->to_open && !x->closed) {
        x->to_open = false;
        *x->message = 0;
        log_state(x, ALK_LOG_INFO, "dial.open");
        e.state = ALK_DIAL_OPEN;
        e.fingerprint = *x->fingerprint ? x->fingerprint : NULL;
        tell(x, &e);
        e.fingerprint = NULL;
        if (!x->closed && x->state == OPEN)
            prepare_connection(x);
    }
    if (x->to_ready && !x->closed) {
        x->to_ready = false;
        e.state = ALK_DIAL_READY;
        e.message = *x->ready_message ? x->ready_message : NULL;
        e.announced = *x->announced ? x->announced : NULL;
        tell(x, &e);
    }
    if (x->to_end && !x->closed) {
        x->to_end = false;
        tell_end(x);
    }
    dialer_unref(x);
}

/* ---- life ------------------------------------------------------------------------------------ */

/* From any callback, of its own too. The connection closes by itself, with its close frame; only
 * its end is not told. */
void alk_dialer_close(alk_dialer *x)
{
    if (x->closed)
        return;
    x->closed = true;
    list_del(&x->dialing.link);
    timer_clear(&x->d->schedule, &x->timer);
    dial_stop(x);
    if (x->conn)
        alk_connection_close(x->conn, ALK_CLOSE_SHUTDOWN);
    alk_connection_unref(x->conn);
    x->conn = NULL;
    x->state = WAITING;
    /* The owner's reference goes in the coming turn, so that no callback finds the dialer gone. */
    task_post(&x->d->schedule, &x->task);
}

/* The loop closes and does not ask the owner, who has its ud_free to hear of it. */
static void close_dialing(struct dialing *dialing)
{
    alk_dialer_close(container_of(dialing, struct alk_dialer, dialing));
}

/* The first attempt is a wait that is over at once: so it begins in a turn, when *out is set, and
 * no callback comes before alk_dial has returned. After a failure destroy finds no ud_free: ud is
 * still the caller's. */
int alk_dial(alk_dialer **out, alk_loop *l, const alk_dial_options *o, char *err, size_t err_size)
{
    struct transport *t = loop_transport(l);
    alk_dispatcher *d = t->d;
    struct alk_dialer *x;
    int rc;

    *out = NULL;
    if (err && err_size)
        *err = 0;
    if (t->leaving)
        return ALK_ECLOSED;
    x = mem_zalloc(&d->mem, sizeof *x);
    if (!x)
        return ALK_ENOMEM;
    d->refs++;
    x->d = d;
    x->t = t;
    x->refs = 1;
    arena_init(&x->arena, &d->mem, 512);
    timer_init(&x->timer, on_timer);
    task_init(&x->task, run);
    list_init(&x->dialing.link);
    x->dialing.close = close_dialing;
    ws_pool_init(&x->pool, t->mem);
    rc = dial_options_read(&x->o, &x->url, &x->arena, o, err, err_size);
    if (rc) {
        destroy(x);
        return rc;
    }
    list_push(&t->dialers, &x->dialing.link);
    t->hold(t, 1);
    timer_set(&d->schedule, &x->timer, d->now);
    *out = x;
    return ALK_OK;
}

/* In OPEN alone: after that the connection is kept only for LOST to hand out. */
alk_connection *alk_dialer_connection(const alk_dialer *x)
{
    return x->state == OPEN ? x->conn : NULL;
}
