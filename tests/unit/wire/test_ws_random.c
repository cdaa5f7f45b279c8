/* Properties of the WebSocket engine over random sequences, the same in each run: whatever a remote says,
 * in whatever fragments and however the bytes are cut, the messages arrive whole, once and in order, and
 * its pings are answered in order; and so it is between two engines back to back. */
#include "support/suite.h"
#include "unit/wire/ws_wire.h"

#define ROUNDS 300
#define MESSAGES_MAX 200

static uint64_t seed;

static uint32_t any(uint32_t below)
{
    seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)((seed >> 33) % below);
}

static size_t any_length(void)
{
    static const size_t edges[] = {0, 1, 125, 126, 127, 4096, 16383, 16384, 65535, 65536};

    switch (any(10)) {
    case 0:
        return edges[any(sizeof edges / sizeof *edges)];
    case 1:
        return any(40000);
    case 2:
    case 3:
        return any(2000);
    default:
        return any(130);
    }
}

static uint64_t hash(int kind, const char *p, size_t n)
{
    uint64_t h = UINT64_C(14695981039346656037) + (uint64_t)kind;

    for (size_t i = 0; i < n; i++)
        h = (h ^ (uint8_t)p[i]) * UINT64_C(1099511628211);
    return h;
}

/* What is on its way to an engine. */
struct expected {
    uint64_t messages[MESSAGES_MAX];
    size_t said, heard;
};

static struct expected to_server, to_client;

static void on_its_way(struct expected *e, bool text, const char *p, size_t n)
{
    must(e->said < MESSAGES_MAX);
    e->messages[e->said++] = hash(text, p, n);
}

/* Each message that comes is the next one; now and then the engine is held, by its own application. */
static void expect(struct ws_wire *w, const char *data, size_t len)
{
    struct expected *e = w->client ? &to_client : &to_server;

    must(e->heard < e->said && e->messages[e->heard++] == hash(w->last_text, data, len));
    buf_truncate(&w->log, 0);
    if (!any(8))
        ws_hold(w->ws, true);
}

/* UTF-8 with characters of every length, or any bytes. */
static char *any_payload(bool text, size_t *n)
{
    static const char *const characters[] = {"a", "\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x98\x80"};
    size_t len = any_length(), at = 0;
    char *p = malloc(len + 4);

    must(p);
    while (at < len) {
        const char *c = characters[any(4)];
        char byte = (char)any(256);

        if (text)
            memcpy(p + at, c, strlen(c));
        else
            p[at] = byte;
        at += text ? strlen(c) : 1;
    }
    *n = at;
    return p;
}

/* ---- a remote that fragments at random --------------------------------------------------------- */

static void put_control(struct ws_wire *w, struct buf *b, struct buf *pongs)
{
    char payload[125];
    size_t n = any(4) ? any(4) : any(126);
    bool ping = any(2);

    memset(payload, 'a' + (int)any(26), n);
    put_remote(w, b, FIN | (ping ? PING : PONG), payload, n);
    if (ping)
        buf_printf(pongs, "pong%s%.*s\n", n ? " " : "", (int)n, payload);
}

static void put_message(struct ws_wire *w, struct buf *b, struct buf *pongs)
{
    bool text = any(2);
    size_t n, at = 0, frames = any(3) ? 1 : 1 + any(9);
    char *p = any_payload(text, &n);

    on_its_way(w->client ? &to_client : &to_server, text, p, n);
    for (size_t i = 0; i < frames; i++) {
        bool last = i + 1 == frames;
        size_t take = last ? n - at : any((uint32_t)(n - at) + 1);

        put_remote(w, b, (last ? FIN : 0) | (i ? CONT : text ? TEXT : BINARY), p + at, take);
        at += take;
        if (!any(4))
            put_control(w, b, pongs);
    }
    free(p);
}

static void go_on(struct ws_wire *w)
{
    for (int i = 0; w->e->closing == ENGINE_OPEN && (w->pending.len || !w->e->reading); i++) {
        must(i < 1000000);
        ws_hold(w->ws, false);
        w->cut = any(3) ? 1 + any(20) : 1 + any(20000);
        ws_wire_go_on(w);
    }
}

START_TEST(messages_arrive_whole_once_and_in_order)
{
    seed = 1;
    for (int round = 0; round < ROUNDS; round++) {
        struct ws_wire *w = ws_wire_open(ws_wire_new(any(2)));
        struct buf b, pongs;
        size_t idle = w->bytes;

        to_server = to_client = (struct expected){.said = 0};
        w->limits.controls = 1000;
        w->then = expect;
        buf_init(&b, &w->own);
        buf_init(&pongs, &w->own);
        for (uint32_t n = any(20); n; n--)
            put_message(w, &b, &pongs);
        w->cut = 1 + any(2000);
        ws_feed(w, b.len ? buf_at(&b) : "", b.len);
        go_on(w);
        ck_assert_uint_eq(to_server.heard + to_client.heard, to_server.said + to_client.said);
        ck_assert_str_eq(sent(w), text_of(&pongs));
        ck_assert_uint_eq(w->bytes, idle);
        ck_assert_uint_eq(w->charged, 0);
        buf_fini(&b);
        buf_fini(&pongs);
        ws_wire_free(w);
    }
}
END_TEST

/* One bit of what the remote says is wrong: what came before is whole still, and the engine lives or closes. */
START_TEST(a_wrong_bit_harms_nothing_before_it)
{
    seed = 2;
    for (int round = 0; round < ROUNDS; round++) {
        struct ws_wire *w = ws_wire_open(ws_wire_new(any(2)));
        struct buf b, pongs;
        size_t whole, at;

        to_server = to_client = (struct expected){.said = 0};
        w->limits.controls = 1000;
        buf_init(&b, &w->own);
        buf_init(&pongs, &w->own);
        for (uint32_t n = any(10); n; n--)
            put_message(w, &b, &pongs);
        whole = to_server.said + to_client.said;
        at = b.len;
        for (uint32_t n = 1 + any(3); n; n--)
            put_message(w, &b, &pongs);
        at += any((uint32_t)(b.len - at));
        b.data[b.head + at] ^= (char)(1 << any(8));
        w->cut = 1 + any(3000);
        ws_feed(w, buf_at(&b), b.len);
        ck_assert_int_ge(w->messages, (int)whole);
        ws_eof(w);
        ck_assert_int_ne(w->e->closing, ENGINE_OPEN);
        ck_assert_uint_eq(w->charged, 0);
        buf_fini(&b);
        buf_fini(&pongs);
        ws_wire_free(w);
    }
}
END_TEST

/* ---- two engines back to back ------------------------------------------------------------------ */

/* Some bytes go from one to the other, unless that one does not read. */
static void move(struct ws_wire *from, struct ws_wire *to)
{
    size_t n = any(3) ? 1 + any(300) : 1 + any(70000);
    char *p;

    ws_wire_turn(from);
    n = n < from->e->out.len ? n : from->e->out.len;
    if (!n || !to->e->reading || from->e->closing == ENGINE_RESET)
        return;
    p = malloc(n);
    must(p);
    memcpy(p, buf_at(&from->e->out), n);
    buf_consume(&from->e->out, n);
    from->e->ops->drained(from->e, from->now);
    ws_feed_piece(to, p, n);
    free(p);
}

static void act(struct ws_wire *w)
{
    bool text = any(2);
    size_t n;
    char *p;

    if (any(3) == 0)
        ws_hold(w->ws, false);
    if (any(4) || w->closed || w->over)
        return;
    p = any_payload(text, &n);
    on_its_way(w->client ? &to_server : &to_client, text, p, n);
    must(!ws_send(w->ws, text, p, n));
    free(p);
}

static void tick(struct ws_wire *w, uint64_t ns)
{
    w->now += ns;
    if (w->e->deadline && w->e->deadline <= w->now && !w->e->closing)
        w->e->ops->timeout(w->e, w->now);
}

static struct ws_wire *end_of_pair(bool client)
{
    struct ws_wire *w = ws_wire_new(client);

    w->limits.ping = any(2) ? 1000 * WS_MS : 0;
    w->limits.idle = 10000 * WS_MS;
    w->limits.close = 2000 * WS_MS;
    w->limits.write_high = 100000;
    w->stuck = true;
    w->then = expect;
    return ws_wire_open(w);
}

static void talk(struct ws_wire *a, struct ws_wire *b, uint32_t steps)
{
    for (; steps; steps--) {
        act(any(2) ? a : b);
        move(a, b);
        move(b, a);
        tick(a, 10 * WS_MS);
        tick(b, 10 * WS_MS);
    }
}

/* Until nothing is on its way. */
static void finish(struct ws_wire *a, struct ws_wire *b)
{
    for (int i = 0; a->e->out.len || b->e->out.len || a->woken || b->woken; i++) {
        must(i < 200000);
        ws_hold(a->ws, false);
        ws_hold(b->ws, false);
        move(a, b);
        move(b, a);
    }
    ws_hold(a->ws, false);
    ws_hold(b->ws, false);
    ws_wire_turn(a);
    ws_wire_turn(b);
}

START_TEST(two_engines_understand_each_other)
{
    seed = 3;
    for (int round = 0; round < ROUNDS; round++) {
        struct ws_wire *a = end_of_pair(true), *b = end_of_pair(false);
        struct ws_wire *first = any(2) ? a : b, *second = first == a ? b : a;

        to_server = to_client = (struct expected){.said = 0};
        talk(a, b, any(150));
        for (int i = 0; i < 3; i++)
            finish(a, b);
        ck_assert_uint_eq(to_server.heard, to_server.said);
        ck_assert_uint_eq(to_client.heard, to_client.said);
        ck_assert(!a->over && !b->over);
        talk(a, b, any(20));
        ws_app_closes(first, WS_GOING_AWAY, "bye");
        if (round % 4 == 0)
            ws_app_closes(second, WS_NORMAL, "");
        for (int i = 0; i < 10; i++)
            finish(a, b);
        ck_assert_int_eq(a->e->closing, ENGINE_FLUSH_AND_CLOSE);
        ck_assert_int_eq(b->e->closing, ENGINE_FLUSH_AND_CLOSE);
        ck_assert(!first->over && second->over == (round % 4 != 0));
        if (second->over) {
            const struct expected *e = second->client ? &to_client : &to_server;

            ck_assert_int_eq(second->code, WS_GOING_AWAY);
            ck_assert_uint_eq(e->heard, e->said); /* all that was said before the close */
        }
        ws_wire_free(a);
        ws_wire_free(b);
    }
}
END_TEST

MAIN("ws_random", messages_arrive_whole_once_and_in_order, a_wrong_bit_harms_nothing_before_it,
     two_engines_understand_each_other)
