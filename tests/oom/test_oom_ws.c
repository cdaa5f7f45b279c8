/* Each allocation fails in turn: WebSocket engines in either role, from the upgrade to the close. The
 * codecs that wslay takes from the C library itself fail as well. What was promised is kept, the end comes
 * exactly once, and nothing is lost. */
#include "oom/oom.h"

#include <wslay/wslay.h>

/* ---- wslay's own memory ------------------------------------------------------------------------ */

static int oom_context_init(wslay_frame_context_ptr *ctx,
                            const struct wslay_frame_callbacks *callbacks, void *ud)
{
    int rc;

    if (memory_fails(&memory))
        return WSLAY_ERR_NOMEM;
    rc = wslay_frame_context_init(ctx, callbacks, ud);
    memory.live += rc == 0;
    return rc;
}

static void oom_context_free(wslay_frame_context_ptr ctx)
{
    memory.live -= ctx != NULL;
    wslay_frame_context_free(ctx);
}

#define wslay_frame_context_init oom_context_init
#define wslay_frame_context_free oom_context_free
#include "wire/ws_codec.c"
#undef wslay_frame_context_init
#undef wslay_frame_context_free

#include "wire/h1.h"

#define NOW UINT64_C(1000000000000)
#define MILLI UINT64_C(1000000)

/* ---- one engine and its remote ----------------------------------------------------------------- */

struct rig {
    struct meter meter;
    struct mem mem;
    struct ws_pool pool;
    struct ws *ws;
    struct engine *e;
    uint64_t now;
    size_t charged, len;
    int messages, closes, finis, code;
    bool closed, woken, upgraded;
    char last[40], got[200];
};

static int on_text(struct ws *w, bool text, const char *data, size_t len, void *ud)
{
    struct rig *r = ud;

    must(text && !r->closes && !r->closed);
    r->messages++;
    snprintf(r->last, sizeof r->last, "%.*s of %zu", len < 6 ? (int)len : 6, data, len);
    if (len < 100 && ws_send(w, true, data, len))
        must(failed());
    return 0;
}

static void force(struct meter *m, size_t n)
{
    container_of(m, struct rig, meter)->charged += n;
}

static bool take(struct meter *m, size_t n, bool begun)
{
    (void)begun;
    force(m, n);
    return true;
}

static void give(struct meter *m, size_t n)
{
    struct rig *r = container_of(m, struct rig, meter);

    must(r->charged >= n);
    r->charged -= n;
}

static const struct meter_ops meter_ops = {.take = take, .force = force, .give = give};

static void on_event(struct ws *w, void *ud)
{
    (void)w;
    (void)ud;
}

static void on_over(struct ws *w, int code, struct str reason, void *ud)
{
    struct rig *r = ud;

    (void)w;
    (void)reason;
    must(!r->closes++ && !r->closed);
    r->code = code;
}

static void on_gone(void *ud)
{
    struct rig *r = ud;

    must(!r->finis++ && (r->closes || r->closed) && !r->charged);
}

static const struct ws_app rig_app = {.on_message = on_text,
                                      .on_writable = on_event,
                                      .on_drain = on_event,
                                      .on_close = on_over,
                                      .fini = on_gone};

static const struct ws_limits rig_limits = {.message_bytes = 100000,
                                            .fragments = 10,
                                            .controls = 100,
                                            .write_high = 100000,
                                            .ping = 10 * MILLI,
                                            .idle = 100 * MILLI,
                                            .close = 20 * MILLI};

static void on_wake(struct engine *e, void *ud)
{
    (void)e;
    ((struct rig *)ud)->woken = true;
}

static void run(struct rig *r)
{
    for (int i = 0; i < 20; i++) {
        if (r->e->successor) {
            r->e = engine_succeed(r->e);
            r->upgraded = true;
        }
        if (r->e->out.len && r->e->closing != ENGINE_RESET) {
            must(r->len + r->e->out.len < sizeof r->got);
            memcpy(r->got + r->len, buf_at(&r->e->out), r->e->out.len);
            r->len += r->e->out.len;
            buf_consume(&r->e->out, r->e->out.len);
            r->woken = true;
        }
        if (!r->woken)
            break;
        r->woken = false;
        r->e->ops->drained(r->e, r->now);
    }
}

static bool rig_open(struct rig *r, bool client)
{
    memset(r, 0, sizeof *r);
    r->now = NOW;
    mem_init(&r->mem, NULL, NULL);
    arm();
    ws_pool_init(&r->pool, &r->mem);
    r->ws = ws_new(&r->mem, &r->pool, client, &rig_app, r, &rig_limits, r->now);
    if (!r->ws) {
        must(failed());
        return false;
    }
    r->meter.ops = &meter_ops;
    ws_charge(r->ws, &r->meter);
    r->e = ws_engine(r->ws);
    r->e->wake = on_wake;
    r->e->wake_ud = r;
    return true;
}

/* What was not opened has no engine. good: as it comes out with enough memory. */
static bool rig_close(struct rig *r, bool good)
{
    must(good || failed());
    if (r->e)
        r->e->ops->fini(r->e);
    must(!r->e || r->finis == 1);
    ws_pool_fini(&r->pool);
    must(r->mem.live == 0);
    return good;
}

static void feed_text(struct rig *r, const char *p, size_t n, size_t cut)
{
    for (size_t at = 0; at < n; at += cut) {
        size_t piece = n - at < cut ? n - at : cut;

        r->e->ops->feed(r->e, p + at, piece, r->now);
        run(r);
        must(!r->e->closing || r->closes + r->closed == 1);
    }
}

/* Of a server, to a client: frames as literals; n bytes of payload follow. */
static void say(struct rig *r, uint8_t first, const char *p, size_t n, size_t cut)
{
    char frame[40000];
    size_t at = 2;

    frame[0] = (char)first;
    frame[1] = (char)(n < 126 ? n : 126);
    if (n > 125) {
        frame[at++] = (char)(n >> 8);
        frame[at++] = (char)n;
    }
    for (size_t i = 0; i < n; i++)
        frame[at + i] = p ? p[i] : 'a';
    feed_text(r, frame, at + n, cut);
}

/* ---- scenarios --------------------------------------------------------------------------------- */

SCENARIO(messages_come_or_the_session_ends)
{
    struct rig r;
    bool good = false;

    if (rig_open(&r, true)) {
        say(&r, 0x81, "hello", 5, 100);
        say(&r, 0x89, "ping", 4, 1);
        say(&r, 0x81, "again", 5, 2);
        good = r.messages == 2 && r.len == 11 + 10 + 11 && !r.closes;
        must(!r.closes || r.code == WS_TRY_AGAIN || r.code == WS_INTERNAL);
    }
    return rig_close(&r, good);
}

SCENARIO(fragments_become_a_message_or_the_session_ends)
{
    struct rig r;
    bool good = false;

    if (rig_open(&r, true)) {
        say(&r, 0x01, NULL, 20000, 3000);
        say(&r, 0x00, NULL, 30000, 7000);
        say(&r, 0x89, "x", 1, 1);
        say(&r, 0x80, NULL, 20000, 20000);
        good = r.messages == 1 && !strcmp(r.last, "aaaaaa of 70000") && r.len == 7;
        must(r.messages + r.closes == 1 || (good && !r.closes));
        must(r.charged == 0);
    }
    return rig_close(&r, good);
}

SCENARIO(what_is_held_comes_later_or_the_session_ends)
{
    struct rig r;
    bool good = false;

    if (rig_open(&r, true)) {
        ws_hold(r.ws, true);
        run(&r);
        say(&r, 0x81, "first", 5, 3);
        say(&r, 0x81, NULL, 2000, 500);
        ws_hold(r.ws, false);
        run(&r);
        good = r.messages == 2 && !strcmp(r.last, "aaaaaa of 2000");
    }
    return rig_close(&r, good);
}

SCENARIO(a_message_is_sent_or_the_sender_knows)
{
    struct rig r;
    bool good = false;

    for (int client = 0; client < 2; client++) {
        good = false;
        if (rig_open(&r, client)) {
            int rc = ws_send(r.ws, true, "out", 3);

            run(&r);
            must(rc == 0 || failed());
            must(rc == 0 ? r.len == (client ? 9 : 5) : r.len == 0);
            must(!r.e->closing);
            good = rc == 0;
        }
        if (!rig_close(&r, good))
            return false;
        disarm();
    }
    return true;
}

SCENARIO(pings_go_out_or_the_session_ends)
{
    struct rig r;
    bool good = false;

    if (rig_open(&r, false)) {
        for (int i = 0; i < 3 && !r.e->closing; i++) {
            r.now += 10 * MILLI;
            r.e->ops->timeout(r.e, r.now);
            run(&r);
        }
        good = r.len == 6 && !r.closes;
        must(!r.closes || r.code == WS_TRY_AGAIN);
    }
    return rig_close(&r, good);
}

SCENARIO(silence_ends_the_session_in_any_case)
{
    struct rig r;
    bool good = false;

    if (rig_open(&r, false)) {
        for (int i = 0; i < 20 && !r.e->closing; i++) {
            r.now += 10 * MILLI;
            r.e->ops->timeout(r.e, r.now);
            run(&r);
        }
        must(r.e->closing == ENGINE_RESET && r.closes == 1);
        good = r.code == WS_GOING_AWAY;
    }
    return rig_close(&r, good);
}

SCENARIO(our_close_ends_it_in_any_case)
{
    struct rig r;
    bool good = false;

    if (rig_open(&r, true)) {
        r.closed = true;
        ws_close(r.ws, WS_NORMAL, "done");
        run(&r);
        if (!r.e->closing)
            say(&r, 0x88, "\3\350", 2, 1);
        good = r.e->closing == ENGINE_FLUSH_AND_CLOSE;
        must(good || r.e->closing == ENGINE_RESET ||
             (r.e->deadline && r.e->deadline <= r.now + 20 * MILLI));
    }
    return rig_close(&r, good);
}

SCENARIO(the_remotes_close_ends_it_in_any_case)
{
    struct rig r;
    bool good = false;

    if (rig_open(&r, true)) {
        say(&r, 0x88, "\3\351bye", 5, 3);
        must(r.e->closing && r.closes == 1);
        good = r.code == WS_GOING_AWAY && r.e->closing == ENGINE_FLUSH_AND_CLOSE && r.len == 8;
    }
    return rig_close(&r, good);
}

/* ---- the upgrade ------------------------------------------------------------------------------- */

static void on_head(struct http_exchange *x, void *ud)
{
    struct rig *r = ud;

    r->ws = ws_new(&r->mem, &r->pool, false, &rig_app, r, &rig_limits, r->now);
    if (r->ws && !x->ops->upgrade(x, NULL, 0, ws_engine(r->ws)))
        return;
    must(failed());
    if (r->ws)
        ws_discard(r->ws);
    r->ws = NULL;
    if (x->ops->start(x, 503, NULL, 0, 0) == 0)
        x->ops->end(x);
}

static void on_body(struct http_exchange *x, const char *data, size_t len, void *ud)
{
    (void)x;
    (void)data;
    (void)len;
    (void)ud;
}

static void on_exchange(struct http_exchange *x, void *ud)
{
    (void)x;
    (void)ud;
}

static void on_error(struct http_exchange *x, int status, const char *what, void *ud)
{
    (void)what;
    (void)ud;
    if (x->ops->start(x, status, NULL, 0, 0) == 0)
        x->ops->end(x);
}

static void on_exchange_close(struct http_exchange *x, bool complete, void *ud)
{
    (void)x;
    (void)ud;
    must(complete || failed());
}

static void on_conn_fini(void *ud)
{
    struct rig *r = ud;

    must(!r->finis++ && !r->upgraded);
}

SCENARIO(an_upgrade_is_granted_or_refused)
{
    static const struct http_app app = {on_head,  on_body,     on_exchange,      on_exchange,
                                        on_error, on_exchange, on_exchange_close};
    static const struct http_limits limits = {
        .header_bytes = 4096, .header_count = 20, .url_bytes = 100, .write_high = 10000};
    static const char request[] = "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\n"
                                  "Upgrade: websocket\r\n\r\n",
                      frame[] = "\x81\x85\0\0\0\0hello";
    struct rig r;
    struct h1 *h;
    bool good = false;

    memset(&r, 0, sizeof r);
    r.now = NOW;
    mem_init(&r.mem, NULL, NULL);
    ws_pool_init(&r.pool, &r.mem);
    arm();
    h = h1_new(&r.mem, &app, &r, on_conn_fini, &limits, r.now);
    if (h) {
        r.e = h1_engine(h);
        r.e->wake = on_wake;
        r.e->wake_ud = &r;
        r.e->ops->feed(r.e, request, sizeof request - 1, r.now);
        run(&r);
        must(r.upgraded || r.e->closing || !memcmp(r.got, "HTTP/1.1 503", 12));
        if (r.upgraded)
            feed_text(&r, frame, sizeof frame - 1, 4);
        good = r.upgraded && r.messages == 1 && !memcmp(r.got + r.len - 7, "\x81\x05hello", 7);
    }
    return rig_close(&r, good);
}

MAIN("oom_ws", messages_come_or_the_session_ends, fragments_become_a_message_or_the_session_ends,
     what_is_held_comes_later_or_the_session_ends, a_message_is_sent_or_the_sender_knows,
     pings_go_out_or_the_session_ends, silence_ends_the_session_in_any_case,
     our_close_ends_it_in_any_case, the_remotes_close_ends_it_in_any_case,
     an_upgrade_is_granted_or_refused)
