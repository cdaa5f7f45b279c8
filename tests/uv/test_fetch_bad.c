/* The loop's HTTP client and servers that do not do as they should: too much, too long, nothing, or no HTTP. Each of their
 * answers ends as what it is, in bounded memory, and none becomes that of another request. */
#include "support/suite.h"
#include "uv/fetch_rig.h"
#include "uv/gzip.h"

static struct upstream up;
static struct got a, b;

static struct rig *begin(const char *script)
{
    struct rig *r = fetch_rig_new();

    up_start(&up, r, script);
    return r;
}

static struct rig *begin_with(const alk_http_options *o, const char *script)
{
    struct rig *r = fetch_rig_new();

    fetch_options(r, o);
    up_start(&up, r, script);
    return r;
}

static void end(struct rig *r)
{
    got_free(&a);
    got_free(&b);
    up_stop(&up);
    rig_free(r);
}

/* A GET that is sent once. */
static void get(struct rig *r, const char *path)
{
    struct fetch_request rq = asking("GET", up_url(&up, path));

    got_all(&a, r, &rq);
}

/* Sent with the text that the test has put there, then closed. */
static const char *text;
static size_t text_len;

static void answer_text(struct up_conn *c)
{
    up_send_then(c, text, text_len ? text_len : strlen(text), up_close);
}

static struct rig *begin_closing(const char *answer)
{
    struct rig *r = begin(NULL);

    up.answer = answer_text;
    text = answer;
    text_len = 0;
    return r;
}

/* ---- no HTTP ----------------------------------------------------------------------------------- */

/* With the connection closed behind it. */
static const struct {
    const char *answer, *why; /* why: a part of it; NULL: it is an answer */
} answers[] = {
    {"", "mpty reply"},
    {"\r\n", "HTTP/0.9"},
    {"hello\n", "HTTP/0.9"},
    {"<html>an answer of long ago</html>\n", "HTTP/0.9"},
    {"SSH-2.0-OpenSSH\r\n", "HTTP/0.9"},
    {"HTTP", ""},
    {"HTTP/1.1", ""},
    {"HTTP/1.1 200", ""},
    {"HTTP/1.1 200 OK\r\nContent-", "within the answer's head"},
    {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n", ""},
    {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", "5 bytes remaining"},
    {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell", "1 bytes remaining"},
    {"HTTP/1.1 20 OK\r\n\r\n", ""},
    {"HTTP/1.1 2000 OK\r\n\r\n", "response code"},
    {"HTTP/1.1 099 OK\r\n\r\n", "response code"},
    {"HTTP/1.1 -20 OK\r\n\r\n", ""},
    {"HTTP/1.1 abc OK\r\n\r\n", "version"},
    {"HTTP/3.1 200 OK\r\n\r\n", ""},
    {"HTTP/9.9 200 OK\r\n\r\n", "version"},
    {"HTTP/1.1 200 OK\r\nno colon\r\n\r\n", "colon"},
    {"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\nhello", "Content-Length"},
    {"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nhello", "Content-Length"},
    {"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\nhello", "length"},
    {"HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\nhello", "length"},
    {"HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\nhello", "ength"},
    {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nz\r\nhello\r\n0\r\n\r\n", "chunked"},
    {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\nhello\r\n0\r\n\r\n", "chunked"},
    {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhelloXX0\r\n\r\n", "chunked"},
    {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n11111111111111111\r\nx", "chunked"},
    {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", "outstanding"},
    {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel", "outstanding"},
    {"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 5\r\n\r\nhello", "header"},
    {"HTTP/1.1 200 OK\r\nContent-Encoding: what\r\nContent-Length: 5\r\n\r\nhello", "encoding"},
    {"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n", "nobody asked for"},
    {"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nContent-Length: 2\r\n\r\nhi",
     "nobody asked for"},
    {"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
     "nobody asked for"},
    {"HTTP/1.1 100 Continue\r\n\r\n", ""},
    {"HTTP/1.1 200 OK\r\n\r\nhello", NULL},
    {"HTTP/1.0 200 OK\r\n\r\nhello", NULL},
    {"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nLink: x\r\n\r\nHTTP/1.1 200 "
     "OK\r\n\r\nhello",
     NULL},
    {"HTTP/1.1 200 OK\nContent-Length: 5\n\nhello", NULL},
    {"HTTP/1.1 200\r\nContent-Length: 5\r\n\r\nhello", NULL},
    {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhellohello", NULL},
    {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n0\r\nA: b\r\n\r\nmore",
     NULL},
};

START_TEST(an_answer_is_whole_or_says_what_is_wrong_with_it)
{
    struct rig *r = begin_closing(answers[_i].answer);

    get(r, "/?key=sesame");
    if (!answers[_i].why) {
        got_ok(&a, "hello");
        ck_assert_int_eq(a.heads, 1);
    } else {
        got_not(&a, FETCH_FAILED, answers[_i].why);
        ck_assert_str_ne(a.why, "");
    }
    ck_assert_ptr_null(strstr(a.why, "sesame"));
    ck_assert_int_eq(up.requests, 1);
    end(r);
}
END_TEST

/* Two lengths that differ: one of them is a lie, and what is behind the shorter might be taken for another answer. */
START_TEST(two_lengths_are_none)
{
    struct rig *r = begin("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 5\r\n\r\nhello");

    get(r, "/");
    got_not(&a, FETCH_FAILED, "length");
    up.script = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok";
    get(r, "/");
    got_ok(&a, "ok");
    ck_assert_int_eq(up.connections, 2);
    end(r);
}
END_TEST

START_TEST(what_comes_is_not_repeated_as_it_is)
{
    struct rig *r = begin_closing("HTTP/1.1 200 OK\r\nContent-Encoding: \x1b[31m\x07\r\n\r\nx");

    get(r, "/");
    ck_assert_int_eq(a.outcome, FETCH_FAILED);
    for (const char *p = a.why; *p; p++)
        ck_assert(*p >= 0x20 && *p < 0x7f);
    end(r);
}
END_TEST

/* In a trailer, or in the middle of a head, what looks like a status line is none. */
START_TEST(there_is_one_head_to_an_answer)
{
    static const char *const ones[] = {
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nHTTP/1.1 302 "
        "Found: x\r\n"
        "Location: /evil\r\n\r\n",
        "HTTP/1.1 200 OK\r\nHTTP/1.1 302 Found: x\r\nLocation: /evil\r\nContent-Length: "
        "5\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\n:\nHTTP/1.1 302 Found: x\r\nLocation: /evil\r\nContent-Length: "
        "5\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nContent-Type: "
        "evil\r\n\r\n",
    };
    struct rig *r = begin(NULL);

    for (size_t i = 0; i < sizeof ones / sizeof ones[0]; i++) {
        up.script = ones[i];
        get(r, "/");
        got_ok(&a, "hello");
        ck_assert_int_eq(a.heads, 1);
        ck_assert_str_eq(a.type, "");
        ck_assert_ptr_null(strstr(a.headers, "evil") && i == 3 ? a.headers : NULL);
        ck_assert_ptr_null(strstr(up.last, "evil"));
    }
    end(r);
}
END_TEST

/* ---- answers of nobody ------------------------------------------------------------------------- */

#define EVIL "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"

static const struct {
    const char *method, *first;
    bool status_200;
} leftovers[] = {
    {"GET", "HTTP/1.1 204 No Content\r\nContent-Length: 42\r\n\r\n", false},
    {"GET", "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n", false},
    {"GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 42\r\n\r\n", false},
    {"HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 42\r\n\r\n", true},
};

static struct up_conn *talker;

static void answer_leftover(struct up_conn *c)
{
    if (c->u->requests == 1) {
        talker = c;
        up_send(c, text);
    } else {
        up_send(c, OK("2", "ok"));
    }
}

/* What a server sends where there can be no body: with the head, or just behind it, or when the next request waits. */
START_TEST(a_body_where_there_can_be_none_is_nobodys_answer)
{
    for (int when = 0; when < 3; when++) {
        struct rig *r = begin(NULL);
        struct fetch_request rq = asking(leftovers[_i].method, up_url(&up, "/"));
        char both[300];

        up.answer = answer_leftover;
        snprintf(both, sizeof both, "%s%s", leftovers[_i].first, when == 0 ? EVIL : "");
        text = both;
        got_all(&a, r, &rq);
        ck_assert_msg(a.outcome == FETCH_DONE && !a.body, "%s", a.why);
        if (when == 1)
            up_send(talker, EVIL);
        rq = asking("GET", up_url(&up, "/next"));
        got_free(&a);
        got_start(&a, r, &rq);
        if (when == 2)
            up_send(talker, EVIL);
        got_wait(&a);
        got_ok(&a, "ok");
        end(r);
    }
}
END_TEST

/* More than was said, at once or when the connection is idle. */
START_TEST(what_comes_behind_an_answer_is_nobodys)
{
    static const char *const firsts[] = {
        "HTTP/1.1 204 No Content\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nHTTP/2 200: "
        "x\r\n\r\n",
    };

    for (size_t i = 0; i < 5; i++) {
        struct rig *r = begin(NULL);
        char all[70000];

        up.answer = answer_leftover;
        /* libcurl reads 16 KiB at a time: there is more than that, and then a whole answer. */
        snprintf(all, sizeof all, "%s", firsts[i]);
        if (_i == 0) {
            size_t n = strlen(all);

            while (n < 60000)
                n += (size_t)snprintf(all + n, sizeof all - n, "%s", EVIL);
        }
        text = all;
        get(r, "/");
        ck_assert_int_eq(a.outcome, FETCH_DONE);
        if (_i == 1) {
            up_send(talker, EVIL);
            rig_steps(r, 20);
        }
        for (int k = 0; k < 3; k++) {
            get(r, "/next");
            got_ok(&a, "ok");
        }
        ck_assert_int_le(up.connections, 2);
        end(r);
    }
}
END_TEST

/* A server that closes an idle connection, and then a descriptor of somebody else's that gets its number. */
START_TEST(an_idle_connection_that_ends_gives_back_what_it_had)
{
    struct rig *r = begin(OK("2", "ok"));

    for (int i = 0; i < 10; i++) {
        get(r, "/");
        got_ok(&a, "ok");
        for (struct up_conn *c = up.all; c; c = c->next)
            i % 2 ? up_close(c) : up_reset(c);
        rig_steps(r, 3);
    }
    ck_assert_int_eq(up.connections, 10);
    end(r);
}
END_TEST

/* ---- too much ---------------------------------------------------------------------------------- */

static char *large;

static void answer_large(struct up_conn *c)
{
    up_send(c, large);
}

/* A body of that many bytes, framed in one of two ways. */
static void make_large(size_t n, bool chunked)
{
    char *p;

    free(large);
    large = p = malloc(n + 200);
    if (chunked)
        p += sprintf(p, OK_HEAD "Transfer-Encoding: chunked\r\n\r\n%zx\r\n", n);
    else
        p += sprintf(p, OK_HEAD "Content-Length: %zu\r\n\r\n", n);
    memset(p, 'x', n);
    strcpy(p + n, chunked ? "\r\n0\r\n\r\n" : "");
}

START_TEST(a_body_may_have_as_much_as_is_allowed_and_no_more)
{
    alk_http_options o = fetch_defaults();
    struct rig *r;
    struct fetch_request rq;

    o.response_bytes = 100000;
    r = begin_with(&o, NULL);
    up.answer = answer_large;
    for (int i = 0; i < 8; i++) {
        /* By the client's limit, or by the request's own. */
        size_t most = i & 4 ? 300000 : 100000;

        rq = asking("GET", up_url(&up, "/"));
        rq.response_bytes = i & 4 ? most : 0;
        make_large(most + (i & 1), i & 2);
        got_all(&a, r, &rq);
        if (i & 1) {
            got_not(&a, FETCH_TOO_LARGE, "larger than allowed");
            ck_assert_uint_le(a.len, most);
        } else {
            ck_assert_msg(a.outcome == FETCH_DONE, "%d %s", i, a.why);
            ck_assert_uint_eq(a.len, most);
        }
    }
    rq.stream = true;
    got_all(&a, r, &rq);
    ck_assert_int_eq(a.outcome, FETCH_DONE);
    ck_assert_uint_eq(a.len, 300001);
    free(large);
    end(r);
}
END_TEST

/* Sends the same again and again, as the client takes it. */
static const char *again;
static long sent;

static void send_again(struct up_conn *c)
{
    sent += (long)strlen(again);
    up_send_then(c, again, strlen(again), send_again);
}

static void answer_endless(struct up_conn *c)
{
    up_send(c, text);
    send_again(c);
}

static struct rig *begin_endless(const char *head, const char *rest)
{
    struct rig *r = begin(NULL);

    up.answer = answer_endless;
    text = head;
    again = rest;
    sent = 0;
    return r;
}

START_TEST(an_endless_body_ends_at_the_limit)
{
    char *block = malloc(65537);
    struct rig *r;

    memset(block, 'x', 65536);
    block[65536] = 0;
    r = begin_endless(OK_HEAD "\r\n", block);
    a.forget = true;
    {
        struct fetch_request rq = asking("GET", up_url(&up, "/"));

        got_start(&a, r, &rq);
        got_wait(&a);
    }
    got_not(&a, FETCH_TOO_LARGE, "larger than allowed");
    ck_assert_uint_le(a.len, 16u << 20);
    rig_until(r, !up.open);
    free(block);
    end(r);
}
END_TEST

/* Of lines, of one line, of 1xx answers, of trailers. Each would be 100 MB. */
START_TEST(endless_heads_end_at_the_limit)
{
    static const char *const heads[] = {
        OK_HEAD,
        OK_HEAD "X-Long: ",
        "",
        OK_HEAD "Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n",
        "HTTP/1.1 200 ",
        OK_HEAD "Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nX-Long: ",
        OK_HEAD "Transfer-Encoding: chunked\r\n\r\n2;"};
    static const char *const rests[] = {
        "X-Header: of a hundred megabytes\r\n", "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
        "HTTP/1.1 100 Continue\r\n\r\n",        "X-Trailer: of a hundred megabytes\r\n",
        "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",     "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
        "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"};
    char block[40000] = "";
    struct rig *r;
    size_t before;

    while (strlen(block) < sizeof block - 100)
        strcat(block, rests[_i]);
    r = begin_endless(heads[_i], block);
    before = memory_used();
    if (_i == 6) {
        /* Nothing of it is kept, and it ends with the time that one may take. */
        struct fetch_request rq = asking("GET", up_url(&up, "/"));

        rq.deadline = uv_hrtime() + SECOND / 2;
        got_all(&a, r, &rq);
        got_not(&a, FETCH_TIMED_OUT, "deadline");
    } else {
        get(r, "/");
        ck_assert_msg(a.outcome == FETCH_TOO_LARGE || (_i == 5 && a.outcome == FETCH_FAILED),
                      "%d: %s", a.outcome, a.why);
        ck_assert_int_lt(sent, 20 << 20);
    }
    ck_assert_uint_lt(memory_used(), before + (2u << 20));
    rig_until(r, !up.open);
    end(r);
}
END_TEST

START_TEST(the_heads_of_one_answer_are_limited_in_sum)
{
    alk_http_options o = fetch_defaults();
    char *head = malloc(4000), *p = head;
    struct rig *r;

    o.header_bytes = 1024;
    r = begin_with(&o, head);
    /* 25, 17 and, with its empty line, so many. */
    for (int more = 0; more < 2; more++) {
        p = head +
            sprintf(head,
                    "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\nX: ");
        memset(p, 'x', 1000);
        p = head + 1024 + more - 4;
        strcpy(p, "\r\n\r\nok");
        get(r, "/");
        if (more)
            got_not(&a, FETCH_TOO_LARGE, "larger");
        else
            got_ok(&a, "ok");
    }
    free(head);
    end(r);
}
END_TEST

/* ---- compressed -------------------------------------------------------------------------------- */

static char *packed;
static size_t packed_len;

/* So many zeros, compressed so many times. */
static void pack(size_t n, int times)
{
    static const unsigned distances[] = {1, 13, 15};
    char *in = NULL;

    free(packed);
    for (int i = 0; i < times; i++) {
        packed = gzip(in, i ? packed_len : n, distances[i], &packed_len);
        free(in);
        in = packed;
    }
}

static const char *packed_head;

static void answer_packed(struct up_conn *c)
{
    char head[300];

    snprintf(head, sizeof head, OK_HEAD "%sContent-Length: %zu\r\n\r\n", packed_head, packed_len);
    up_send(c, head);
    up_send_then(c, packed, packed_len, NULL);
}

static struct rig *begin_packed(const char *head, size_t n, int times)
{
    struct rig *r = begin(NULL);

    pack(n, times);
    packed_head = head;
    up.answer = answer_packed;
    return r;
}

START_TEST(a_compressed_body_is_counted_as_what_it_unfolds_to)
{
    struct rig *r = begin_packed("Content-Encoding: gzip\r\n", 16u << 20, 1);
    size_t before;

    a.forget = true;
    get(r, "/");
    ck_assert_msg(a.outcome == FETCH_DONE, "%s", a.why);
    ck_assert_uint_eq(a.len, 16u << 20);
    pack((16u << 20) + 1, 1);
    get(r, "/");
    got_not(&a, FETCH_TOO_LARGE, "larger");
    got_free(&a);
    /* 1 GB in 7 MB. */
    pack(1u << 30, 1);
    before = memory_used();
    a.forget = true;
    {
        struct fetch_request rq = asking("GET", up_url(&up, "/"));

        got_start(&a, r, &rq);
        got_wait(&a);
    }
    got_not(&a, FETCH_TOO_LARGE, "larger");
    rig_until(r, !up.open);
    ck_assert_uint_lt(memory_used(), before + (2u << 20));
    free(packed);
    packed = NULL;
    end(r);
}
END_TEST

START_TEST(nested_compression_is_no_way_around_the_limit)
{
    struct rig *r = begin_packed("Content-Encoding: gzip, gzip, gzip\r\n", 1u << 29, 3);
    size_t before = memory_used();
    struct fetch_request rq = asking("GET", up_url(&up, "/"));

    ck_assert_uint_lt(packed_len, 5000);
    a.forget = true;
    got_start(&a, r, &rq);
    got_wait(&a);
    got_not(&a, FETCH_TOO_LARGE, "larger");
    ck_assert_uint_lt(memory_used(), before + (2u << 20));
    got_free(&a);
    packed_head = "Content-Encoding: gzip, gzip, gzip, gzip, gzip, gzip, gzip\r\n";
    get(r, "/");
    got_not(&a, FETCH_FAILED, "");
    free(packed);
    packed = NULL;
    end(r);
}
END_TEST

/* What comes of a stream while nobody takes it waits where it is, and not unfolded in memory. */
START_TEST(a_stream_is_not_compressed)
{
    struct rig *r = begin_packed("Content-Encoding: gzip\r\n", 1u << 28, 1);
    struct fetch_request rq = asking("GET", up_url(&up, "/"));
    size_t before;

    rq.stream = true;
    a.refuse = true;
    got_start(&a, r, &rq);
    rig_until(r, up.connections);
    before = memory_used();
    rig_until(r, a.refusals);
    ck_assert_ptr_null(strcasestr(up.last, "accept-encoding"));
    rig_steps(r, 50);
    /* The server's own copy of what it has to write. */
    ck_assert_uint_lt(memory_used(), before + packed_len + (1u << 20));
    got_cancel(&a);
    free(packed);
    packed = NULL;
    end(r);
}
END_TEST

/* ---- nothing ----------------------------------------------------------------------------------- */

START_TEST(nothing_for_too_long_is_a_failure)
{
    alk_http_options o = fetch_defaults();
    static const char *const begins[] = {"", "HTTP/1.1 200", OK_HEAD "Content-Le",
                                         OK_HEAD "Content-Length: 5\r\n\r\nhel",
                                         OK_HEAD "Transfer-Encoding: chunked\r\n\r\n5\r\nhe"};
    struct rig *r;
    uint64_t since;

    o.idle_ms = 150;
    r = begin_with(&o, begins[_i]);
    since = now_ms();
    get(r, "/");
    got_not(&a, FETCH_FAILED, "nothing has come for too long");
    ck_assert_uint_ge(now_ms() - since, 149);
    ck_assert_uint_lt(now_ms() - since, 2000);
    rig_until(r, !up.open);
    end(r);
}
END_TEST

/* A byte now and then is something, for as long as the caller waits. */
static struct up_conn *slow_one;
static uv_timer_t slow_timer;

static void slow_byte(uv_timer_t *t)
{
    (void)t;
    up_send(slow_one, "x");
}

static void answer_slowly(struct up_conn *c)
{
    slow_one = c;
    up_send(c, OK_HEAD "Content-Length: 1000\r\n\r\n");
    uv_timer_start(&slow_timer, slow_byte, 20, 20);
}

START_TEST(a_slow_answer_ends_with_the_deadline)
{
    alk_http_options o = fetch_defaults();
    struct rig *r;
    struct fetch_request rq;

    o.idle_ms = 200;
    r = begin_with(&o, NULL);
    uv_timer_init(&r->uv, &slow_timer);
    up.answer = answer_slowly;
    rq = asking("GET", up_url(&up, "/"));
    rq.deadline = uv_hrtime() + 600 * MILLI;
    rq.idempotent = true;
    got_all(&a, r, &rq);
    got_not(&a, FETCH_TIMED_OUT, "deadline");
    ck_assert_uint_gt(a.len, 3);
    ck_assert_int_eq(up.requests, 1);
    uv_close((uv_handle_t *)&slow_timer, NULL);
    end(r);
}
END_TEST

/* To send takes its time as well. */
START_TEST(a_large_body_that_goes_slowly_is_something)
{
    alk_http_options o = fetch_defaults();
    struct rig *r;
    struct fetch_request rq;
    size_t n = 8u << 20;
    char *body = calloc(1, n);

    o.idle_ms = 300;
    r = begin_with(&o, OK("2", "ok"));
    rq = asking("POST", up_url(&up, "/"));
    rq.body = (struct str){body, n};
    got_start(&a, r, &rq);
    rig_until(r, up.connections == 1);
    /* The server reads for a moment, and then rests for a moment, five times. */
    for (int i = 0; i < 5; i++) {
        uv_read_stop((uv_stream_t *)&up.all->tcp);
        rig_steps(r, 200);
        uv_read_start((uv_stream_t *)&up.all->tcp, up_alloc, up_read);
        for (int k = 0; k < 8; k++)
            uv_run(&r->uv, UV_RUN_NOWAIT);
    }
    got_wait(&a);
    got_ok(&a, "ok");
    free(body);
    end(r);
}
END_TEST

#define COUNT_OF(list) (int)(sizeof list / sizeof list[0])

int main(void)
{
    Suite *suite = suite_create("fetch_bad");
    TCase *t = tcase_create("fetch_bad");
    SRunner *runner;
    int failed;

    suite_add_tcase(suite, t);
    tcase_set_timeout(t, 60);
    tcase_add_loop_test(t, an_answer_is_whole_or_says_what_is_wrong_with_it, 0, COUNT_OF(answers));
    tcase_add_test(t, two_lengths_are_none);
    tcase_add_test(t, what_comes_is_not_repeated_as_it_is);
    tcase_add_test(t, there_is_one_head_to_an_answer);
    tcase_add_loop_test(t, a_body_where_there_can_be_none_is_nobodys_answer, 0,
                        COUNT_OF(leftovers));
    tcase_add_loop_test(t, what_comes_behind_an_answer_is_nobodys, 0, 2);
    tcase_add_test(t, an_idle_connection_that_ends_gives_back_what_it_had);
    tcase_add_test(t, a_body_may_have_as_much_as_is_allowed_and_no_more);
    tcase_add_test(t, an_endless_body_ends_at_the_limit);
    tcase_add_loop_test(t, endless_heads_end_at_the_limit, 0, 7);
    tcase_add_test(t, the_heads_of_one_answer_are_limited_in_sum);
    tcase_add_test(t, a_compressed_body_is_counted_as_what_it_unfolds_to);
    tcase_add_test(t, nested_compression_is_no_way_around_the_limit);
    tcase_add_test(t, a_stream_is_not_compressed);
    tcase_add_loop_test(t, nothing_for_too_long_is_a_failure, 0, 5);
    tcase_add_test(t, a_slow_answer_ends_with_the_deadline);
    tcase_add_test(t, a_large_body_that_goes_slowly_is_something);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
