/* The client's side of the handshake: which answers open, which are refused with which words, and that its owner hears of
 * the outcome once, however the connection ends. Each answer comes whole and in single bytes. */
#include "support/memory.h"
#include "support/suite.h"
#include "wire/ws_handshake.h"
#include "wire/ws_opening.h"

#include <stdio.h>
#include <string.h>

#define UPGRADE "HTTP/1.1 101 Switching Protocols\r\n"
#define FIELDS "Upgrade: websocket\r\nConnection: Upgrade\r\n"
#define ACCEPT "Sec-WebSocket-Accept: @\r\n" /* the right value is put in */

/* The session behind the handshake. */
static struct successor {
    struct engine e;
    char got[100];
    size_t len;
} successor;

static void successor_feed(struct engine *e, const char *data, size_t len, uint64_t now)
{
    (void)now;
    ck_assert_ptr_eq(e, &successor.e);
    ck_assert_uint_lt(successor.len + len, sizeof successor.got);
    memcpy(successor.got + successor.len, data, len);
    successor.len += len;
}

static const struct engine_ops successor_ops = {.feed = successor_feed};

struct opening_rig {
    struct memory memory;
    struct mem mem;
    struct engine *e;
    int opened, refused, finis, status;
    bool no_successor;
    char what[100], body[100];
    char accept[WS_ACCEPT_SIZE + 1];
};

static struct engine *on_opened(void *ud, uint64_t now)
{
    struct opening_rig *r = ud;

    (void)now;
    r->opened++;
    if (r->no_successor)
        return NULL;
    memset(&successor, 0, sizeof successor);
    successor.e.ops = &successor_ops;
    return &successor.e;
}

static void on_refused(void *ud, int status, const char *what, const char *body)
{
    struct opening_rig *r = ud;

    r->refused++;
    r->status = status;
    snprintf(r->what, sizeof r->what, "%s", what);
    snprintf(r->body, sizeof r->body, "%s", body);
}

static void on_fini(void *ud)
{
    ((struct opening_rig *)ud)->finis++;
}

static const struct ws_opening_app app = {on_opened, on_refused, on_fini};

static bool rig_open(struct opening_rig *r, const char *token, long fail_in)
{
    const struct ws_request rq = {.host = "a.example:1",
                                  .path = "/alknet/call",
                                  .protocol = "alknet.call.v1",
                                  .token = token,
                                  .answer_bytes = 400};
    const char *key;

    memset(r, 0, sizeof *r);
    r->memory.fail_in = fail_in;
    mem_init(&r->mem, memory_realloc, &r->memory);
    r->e = ws_opening_new(&r->mem, &rq, &app, r);
    if (!r->e)
        return false;
    ck_assert_int_eq(buf_append(&r->e->out, "", 1), 0);
    key = strstr(buf_at(&r->e->out), "Sec-WebSocket-Key: ");
    ck_assert_ptr_nonnull(key);
    ws_accept(key + 19, r->accept);
    buf_truncate(&r->e->out, r->e->out.len - 1);
    return true;
}

static void sent(struct opening_rig *r)
{
    buf_consume(&r->e->out, r->e->out.len);
}

static void rig_close(struct opening_rig *r)
{
    bool gone = !r->e->successor;

    r->e->ops->fini(r->e);
    ck_assert_int_eq(r->finis, gone);
    ck_assert_int_eq(r->opened + r->refused, 1);
    ck_assert_uint_eq(r->mem.live, 0);
    ck_assert_uint_eq(r->memory.live, 0);
}

/* Feeds an answer, in which @ stands for the right value. */
static void answer(struct opening_rig *r, const char *text, size_t step)
{
    char whole[2000];
    const char *at = strchr(text, '@');
    size_t n = (size_t)snprintf(whole, sizeof whole, "%.*s%s%s",
                                (int)(at ? (size_t)(at - text) : strlen(text)), text,
                                at ? r->accept : "", at ? at + 1 : "");

    for (size_t i = 0; i < n && !r->e->successor; i += step)
        r->e->ops->feed(r->e, whole + i, n - i < step ? n - i : step, 1);
}

static const struct {
    const char *answer;
    int status; /* 0 with what NULL: it opens */
    const char *what, *body;
} answers[] = {
    {UPGRADE FIELDS ACCEPT "\r\n", 0, NULL, NULL},
    {UPGRADE
     "upgrade: h2c , WebSocket\t\r\nCONNECTION: keep-alive\r\nConnection:\t,upgrade\r\n" ACCEPT
     "X:\r\n\r\n",
     0, NULL, NULL},
    {UPGRADE FIELDS ACCEPT "Sec-WebSocket-Protocol: alknet.call.v1\r\n\r\n", 0, NULL, NULL},
    {UPGRADE FIELDS "Sec-WebSocket-Accept: x\r\n" ACCEPT "\r\n", 0, NULL, NULL},
    {"HTTP/1.1 100 Continue\r\n\r\n" UPGRADE FIELDS ACCEPT "\r\n", 0, NULL, NULL},
    {UPGRADE FIELDS "Sec-WebSocket-Accept: x\r\n\r\n", 101, "Sec-WebSocket-Accept is wrong", ""},
    {UPGRADE FIELDS "Sec-WebSocket-Accept:\r\n\r\n", 101, "Sec-WebSocket-Accept is wrong", ""},
    {UPGRADE FIELDS "\r\n", 101, "Sec-WebSocket-Accept is wrong", ""},
    {UPGRADE "Upgrade: websockets\r\nConnection: Upgrade\r\n" ACCEPT "\r\n", 101,
     "the answer does not upgrade to websocket", ""},
    {UPGRADE "Upgrade: web socket\r\nConnection: Upgrade\r\n" ACCEPT "\r\n", 101,
     "the answer does not upgrade to websocket", ""},
    {UPGRADE "Connection: Upgrade\r\n" ACCEPT "\r\n", 101,
     "the answer does not upgrade to websocket", ""},
    {UPGRADE "Upgrade: websocket\r\n" ACCEPT "\r\n", 101, "the answer's Connection has no upgrade",
     ""},
    {UPGRADE "Upgrade: websocket\r\nConnection: close, , keep-alive\r\n" ACCEPT "\r\n", 101,
     "the answer's Connection has no upgrade", ""},
    {UPGRADE FIELDS ACCEPT "Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n", 101,
     "an extension was not offered", ""},
    {UPGRADE FIELDS ACCEPT "Sec-WebSocket-Protocol: chat\r\n\r\n", 101,
     "the subprotocol was not offered", ""},
    {UPGRADE FIELDS ACCEPT "Sec-WebSocket-Protocol:\r\n\r\n", 101,
     "the subprotocol was not offered", ""},
    {"HTTP/1.1 401 Unauthorized\r\nContent-Length: 4\r\n\r\nbody", 401,
     "the server refused the upgrade", "body"},
    {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n", 200,
     "the server refused the upgrade", "ab"},
    {"HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n", 302, "the server refused the upgrade", ""},
    {"SSH-2.0-x\r\n", 0, "the answer is not HTTP/1.1", ""},
    {"HTTP/1.1 200 OK\nContent-Length: 0\n\n", 0, "the answer is not HTTP/1.1", ""},
    {"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n", 0,
     "the answer is not HTTP/1.1", ""},
};

START_TEST(an_answer_opens_or_is_refused_in_words)
{
    for (size_t i = 0; i < sizeof answers / sizeof answers[0]; i++) {
        for (size_t step = 1; step < 3000; step += 2500) {
            struct opening_rig r;

            ck_assert(rig_open(&r, NULL, 0));
            sent(&r);
            answer(&r, answers[i].answer, step);
            ck_assert_msg(r.opened == !answers[i].what, "%s: %s", answers[i].answer, r.what);
            if (answers[i].what) {
                ck_assert_msg(!strcmp(r.what, answers[i].what), "%s: %s", answers[i].answer,
                              r.what);
                ck_assert_int_eq(r.status, answers[i].status);
                ck_assert_str_eq(r.body, answers[i].body);
                ck_assert_int_eq(r.e->closing, ENGINE_FLUSH_AND_CLOSE);
            }
            rig_close(&r);
        }
    }
}
END_TEST

START_TEST(what_comes_behind_the_answer_is_the_sessions)
{
    struct opening_rig r;

    ck_assert(rig_open(&r, "secret", 0));
    ck_assert_ptr_nonnull(strstr(buf_at(&r.e->out), "\r\nAuthorization: Bearer secret\r\n"));
    sent(&r);
    answer(&r, UPGRADE FIELDS ACCEPT "\r\n\x81\x02hi", 3000);
    ck_assert_int_eq(r.opened, 1);
    ck_assert_uint_eq(successor.len, 4);
    ck_assert_mem_eq(successor.got, "\x81\x02hi", 4);
    rig_close(&r);
}
END_TEST

START_TEST(without_memory_for_a_session_the_connection_is_reset)
{
    struct opening_rig r;

    ck_assert(rig_open(&r, NULL, 0));
    sent(&r);
    r.no_successor = true;
    answer(&r, UPGRADE FIELDS ACCEPT "\r\n", 3000);
    ck_assert_int_eq(r.e->closing, ENGINE_RESET);
    r.e->ops->feed(r.e, "x", 1, 1);
    rig_close(&r);
}
END_TEST

START_TEST(an_answer_before_the_request_is_an_answer_to_another)
{
    struct opening_rig r;

    for (int i = 0; i < 2; i++) {
        ck_assert(rig_open(&r, NULL, 0));
        if (i) {
            r.e->inflight = r.e->out.len;
            sent(&r);
        }
        answer(&r, UPGRADE FIELDS ACCEPT "\r\n", 3000);
        ck_assert_str_eq(r.what, "an answer came before the request was sent");
        rig_close(&r);
    }
}
END_TEST

START_TEST(an_answer_has_a_length_that_is_read)
{
    char text[1000] = "HTTP/1.1 503 Busy\r\nX: ";
    struct opening_rig r;

    memset(text + strlen(text), 'x', 500);
    for (size_t step = 1; step < 3000; step += 2500) {
        ck_assert(rig_open(&r, NULL, 0));
        sent(&r);
        answer(&r, text, step);
        ck_assert_str_eq(r.what, "the answer is too long");
        ck_assert_int_eq(r.status, 503);
        rig_close(&r);
    }
}
END_TEST

START_TEST(the_end_of_the_connection_ends_a_body_or_the_attempt)
{
    struct opening_rig r;

    ck_assert(rig_open(&r, NULL, 0));
    sent(&r);
    answer(&r, "HTTP/1.1 500 Oh\r\n\r\nno length", 1);
    ck_assert_int_eq(r.refused, 0);
    r.e->ops->eof(r.e, 1);
    ck_assert_int_eq(r.status, 500);
    ck_assert_str_eq(r.body, "no length");
    rig_close(&r);
    ck_assert(rig_open(&r, NULL, 0));
    answer(&r, "HTTP/1.1 500 Oh\r\n", 1);
    r.e->ops->eof(r.e, 1);
    ck_assert_str_eq(r.what, "the server closed the connection");
    r.e->ops->eof(r.e, 1);
    rig_close(&r);
    ck_assert(rig_open(&r, NULL, 0));
    r.e->ops->timeout(r.e, 1);
    r.e->ops->drained(r.e, 1);
    r.e->ops->drain(r.e, 1);
    ck_assert_str_eq(r.what, "shutting down");
    ck_assert_int_eq(r.e->closing, ENGINE_RESET);
    rig_close(&r);
    ck_assert(rig_open(&r, NULL, 0));
    r.e->ops->fini(r.e);
    ck_assert_str_eq(r.what, "the connection was lost");
    ck_assert_int_eq(r.finis, 1);
    ck_assert_uint_eq(r.memory.live, 0);
}
END_TEST

/* Whichever allocation fails: nothing is opened that was not agreed on, and the owner hears of it once. */
START_TEST(each_failing_allocation_refuses)
{
    bool failed = true;

    for (long nth = 1; failed; nth++) {
        struct opening_rig r;
        bool made;

        ck_assert_int_lt(nth, 50);
        made = rig_open(&r, "secret", nth);
        ck_assert(made || r.memory.failed);
        if (made) {
            sent(&r);
            answer(
                &r,
                "HTTP/1.1 401 No\r\nX-Long-Name-Of-A-Field: value\r\nContent-Length: 4\r\n\r\nbody",
                1);
            ck_assert_int_eq(r.refused, 1);
            rig_close(&r);
        }
        ck_assert_uint_eq(r.memory.live, 0);
        failed = r.memory.failed;
    }
}
END_TEST

MAIN("ws_opening", an_answer_opens_or_is_refused_in_words,
     what_comes_behind_the_answer_is_the_sessions,
     without_memory_for_a_session_the_connection_is_reset,
     an_answer_before_the_request_is_an_answer_to_another, an_answer_has_a_length_that_is_read,
     the_end_of_the_connection_ends_a_body_or_the_attempt, each_failing_allocation_refuses)
