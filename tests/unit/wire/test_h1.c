/* What requests the HTTP/1.1 engine takes and refuses. Each input is fed whole, in single bytes, and cut in
 * two at each place; all must give the same output. */
#include "h1_wire.h"

#define TEXT(s) s, sizeof s - 1
#define HOST "Host: a.example\r\n"
#define GET "GET / HTTP/1.1\r\n"
#define EMPTY_LINES "\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n"
#define POST "POST /p HTTP/1.1\r\n" HOST
#define CHUNKED POST "Transfer-Encoding: chunked\r\n\r\n"

/* step: bytes per feed after the first `first` bytes. */
static struct wire *fed(const char *p, size_t n, size_t first, size_t step)
{
    struct wire *w = wire_new(MODE_ECHO);

    ck_assert(wire_open(w));
    w->body_limit = 100;
    if (first)
        wire_feed(w, p, first);
    for (size_t at = first; at < n; at += step)
        wire_feed(w, p + at, n - at < step ? n - at : step);
    return w;
}

/* The wire after the input in one piece; every other way to cut it must look the same. */
static struct wire *fed_every_way(const char *p, size_t n)
{
    struct wire *whole = fed(p, n, n, 1), *other;

    for (size_t cut = 0; cut <= n; cut++) {
        other = fed(p, n, cut, cut ? n : 1);
        ck_assert_str_eq(wire_got(other), wire_got(whole));
        ck_assert_str_eq(wire_log(other), wire_log(whole));
        ck_assert_int_eq(other->e->closing, whole->e->closing);
        ck_assert_uint_eq(other->e->deadline, whole->e->deadline);
        wire_free(other);
    }
    return whole;
}

static const struct {
    const char *in;
    size_t n;
    const char *echo;
} good[] = {
    {TEXT(GET HOST "\r\n"), "GET / @a.example "},
    {TEXT("\r\n" GET HOST "\r\n"), "GET / @a.example "},
    {TEXT("\r\n\r\n\r\n" GET HOST "\r\n"), "GET / @a.example "},
    {TEXT("GET / HTTP/1.2\r\n" HOST "\r\n"), "GET / @a.example "},
    {TEXT("GET /x/y?a=b&c HTTP/1.1\r\nhOsT:\t a.example:8080 \t\r\n\r\n"),
     "GET /x/y ?a=b&c @a.example:8080 "},
    {TEXT("GET /? HTTP/1.1\r\n" HOST "\r\n"), "GET / ? @a.example "},
    {TEXT("GET //x/../%2e%00 HTTP/1.1\r\n" HOST "\r\n"), "GET //x/../%2e%00 @a.example "},
    {TEXT("GET http://b.example:1/q?r HTTP/1.1\r\n" HOST "\r\n"), "GET /q ?r @b.example:1 "},
    {TEXT("GET HTTP://b.example HTTP/1.1\r\n" HOST "\r\n"), "GET / @b.example "},
    {TEXT("GET https://b.example?r HTTP/1.1\r\n" HOST "\r\n"), "GET / ?r @b.example "},
    {TEXT("OPTIONS * HTTP/1.1\r\n" HOST "\r\n"), "OPTIONS * @a.example "},
    {TEXT("PATCH / HTTP/1.1\r\n" HOST "\r\n"), "PATCH / @a.example "},
    {TEXT(GET "Host: [::1]:80\r\n\r\n"), "GET / @[::1]:80 "},
    {TEXT(GET "Host: 127.0.0.1:\r\n\r\n"), "GET / @127.0.0.1: "},
    {TEXT(GET "Host: a%20b\r\n\r\n"), "GET / @a%20b "},
    {TEXT(GET HOST "X:\r\nY: \xc3\xa9\t1\r\n\r\n"), "GET / @a.example "},
    {TEXT(GET HOST "Content-Length: 0\r\n\r\n"), "GET / @a.example "},
    {TEXT("POST /p HTTP/1.1\r\ncontent-LENGTH:  005 \r\n" HOST "\r\nhello"),
     "POST /p @a.example hello"},
    {TEXT(POST "Content-Length: 5\t\r\n\r\nhello"), "POST /p @a.example hello"},
    {TEXT(POST "A: \t\r\nContent-Length:\t 5 \t \r\nB:\tb\r\n\r\nhello"),
     "POST /p @a.example hello"},
    {TEXT(POST "Transfer-Encoding:\tchunked\t\r\n\r\n5\r\nhello\r\n0\r\n\r\n"),
     "POST /p @a.example hello"},
    {TEXT(POST "Upgrade: x\t\r\nConnection: \tupgrade\t\r\nContent-Length: 5\r\n\r\nhello"),
     "POST /p @a.example hello"},
    {TEXT(POST "Transfer-Encoding: Chunked \r\n\r\n5\r\nhello\r\n00A\r\n, and more.\r\n0\r\n\r\n"),
     NULL}, /* eleven bytes behind 00A */
    {TEXT(CHUNKED "5\r\nhello\r\n00A\r\n, and more\r\n0\r\n\r\n"),
     "POST /p @a.example hello, and more"},
    {TEXT(CHUNKED "0\r\n\r\n"), "POST /p @a.example "},
    {TEXT(CHUNKED "3;a;b=c;d=\"x \\\" ;\"\r\nabc\r\n0;z\r\nTrailer: 1\r\nOther:2\r\n\r\n"),
     "POST /p @a.example abc"},
};

START_TEST(a_good_request_is_understood)
{
    struct wire *w = fed_every_way(good[_i].in, good[_i].n);
    const char *body = strstr(wire_got(w), "\r\n\r\n");

    if (good[_i].echo) {
        ck_assert_msg(!strncmp(wire_got(w), "HTTP/1.1 200 OK\r\n", 17), "%s", wire_got(w));
        ck_assert_str_eq(body + 4, good[_i].echo);
        ck_assert_int_eq(w->e->closing, ENGINE_OPEN);
        ck_assert_uint_eq(w->mem.live, 1);
    } else {
        ck_assert_msg(!strncmp(wire_got(w), "HTTP/1.1 400 ", 13), "%s", wire_got(w));
    }
    wire_free(w);
}
END_TEST

static const struct {
    int status;
    const char *in;
    size_t n;
} bad[] = {
    /* Host */
    {400, TEXT(GET "\r\n")},
    {400, TEXT(GET HOST HOST "\r\n")},
    {400, TEXT(GET HOST "X: 1\r\nhost: a.example\r\n\r\n")},
    {400, TEXT("GET / HTTP/1.0\r\n" HOST HOST "\r\n")},
    {400, TEXT("GET http://b.example/ HTTP/1.1\r\n\r\n")},
    {400, TEXT(GET "Host:\r\n\r\n")},
    {400, TEXT(GET "Host: a b\r\n\r\n")},
    {400, TEXT(GET "Host: a,b\x01\r\n\r\n")},
    {400, TEXT(GET "Host: a/b\r\n\r\n")},
    {400, TEXT(GET "Host: u@a\r\n\r\n")},
    {400, TEXT(GET "Host: a:80:80\r\n\r\n")},
    {400, TEXT(GET "Host: a:65536\r\n\r\n")},
    {400, TEXT(GET "Host: a:8x\r\n\r\n")},
    {400, TEXT(GET "Host: :80\r\n\r\n")},
    {400, TEXT(GET "Host: [::1\r\n\r\n")},
    {400, TEXT(GET "Host: []\r\n\r\n")},
    {400, TEXT(GET "Host: [127.0.0.1]\r\n\r\n")},
    {400, TEXT(GET "Host: [1::2::3]\r\n\r\n")},
    {400, TEXT(GET "Host: [:]\r\n\r\n")},
    {400, TEXT(GET "Host: [a.example]\r\n\r\n")},
    {400, TEXT(GET "Host: [::1]x\r\n\r\n")},
    {400, TEXT(GET "Host: a%2\r\n\r\n")},
    {400, TEXT(GET "Host: \xc3\xa9\r\n\r\n")},
    /* lengths and codings */
    {400, TEXT(POST "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")},
    {400, TEXT(POST "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n")},
    {400, TEXT(POST "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")},
    {400, TEXT("POST / HTTP/1.0\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n")},
    {400, TEXT(POST "Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello")},
    {400, TEXT(POST "Content-Length: 5, 5\r\n\r\nhello")},
    {400, TEXT(POST "Content-Length: +5\r\n\r\nhello")},
    {400, TEXT(POST "Content-Length: -5\r\n\r\nhello")},
    {400, TEXT(POST "Content-Length: 5 5\r\n\r\nhello")},
    {400, TEXT(POST "Content-Length: 0x5\r\n\r\nhello")},
    {400, TEXT(POST "Content-Length:\r\n\r\n")},
    {400, TEXT(POST "Content-Length: 18446744073709551616\r\n\r\n")},
    {413, TEXT(POST "Content-Length: 18446744073709551615\r\n\r\n")},
    {413, TEXT(POST "Content-Length: 101\r\n\r\n")},
    {501, TEXT(POST "Transfer-Encoding: gzip, chunked\r\n\r\n")},
    {501, TEXT(POST "Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n")},
    {400, TEXT(POST "Transfer-Encoding: gzip\r\n\r\n")},
    {400, TEXT(POST "Transfer-Encoding: identity\r\n\r\n")},
    {400, TEXT(POST "Transfer-Encoding: chunked, gzip\r\n\r\n")},
    {400, TEXT(POST "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n")},
    {400, TEXT(POST "Transfer-Encoding: chunked\r\nTransfer-Encoding: gzip\r\n\r\n")},
    {400, TEXT(POST "Transfer-Encoding: chunked, chunked\r\n\r\n")},
    {400, TEXT(POST "Transfer-Encoding: chunked;q=1\r\n\r\n")},
    {400, TEXT(POST "Transfer-Encoding: chunked,\r\n\r\n")},
    {400, TEXT(POST "Transfer-Encoding: ,chunked\r\n\r\n")},
    {400, TEXT(POST "Transfer-Encoding: \x0b"
                    "chunked\r\n\r\n")},
    {400, TEXT(POST "Transfer-Encoding: \"chunked\"\r\n\r\n")},
    {400, TEXT(POST "Transfer-Encoding: xchunked\r\n\r\n")},
    {400, TEXT(POST "Transfer-Encoding:\r\n\r\n")},
    {400, TEXT(POST "Transfer-Encoding : chunked\r\n\r\n")},
    /* chunks */
    {400, TEXT(CHUNKED "5;\r\nhello\r\n0\r\n\r\n")},
    {400, TEXT(CHUNKED "5;;\r\nhello\r\n0\r\n\r\n")},
    {400, TEXT(CHUNKED "5;=x\r\nhello\r\n0\r\n\r\n")},
    {400, TEXT(CHUNKED "5;a=\r\nhello\r\n0\r\n\r\n")},
    {400, TEXT(CHUNKED "5;a=;b\r\nhello\r\n0\r\n\r\n")},
    {400, TEXT(CHUNKED "5;a=b\"c\"\r\nhello\r\n0\r\n\r\n")},
    {400, TEXT(CHUNKED "5;a=\"c\"d\r\nhello\r\n0\r\n\r\n")},
    {400, TEXT(CHUNKED "5;a=\"c\r\nhello\r\n0\r\n\r\n")},
    {400, TEXT(CHUNKED "5;a\nhello\r\n0\r\n\r\n")},
    {400, TEXT(CHUNKED "5;a=b\nhello\r\n0\r\n\r\n")},
    {400, TEXT(CHUNKED "5;a=\"b\"\nhello\r\n0\r\n\r\n")},
    {400, TEXT(CHUNKED "5;a\rX\nhello\r\n0\r\n\r\n")},
    {400, TEXT(CHUNKED "5; a\r\nhello\r\n0\r\n\r\n")},
    {400, TEXT(CHUNKED "5;\x01\r\nhello\r\n0\r\n\r\n")},
    {400, TEXT(CHUNKED "5 \r\nhello\r\n0\r\n\r\n")},
    {400, TEXT(CHUNKED " 5\r\nhello\r\n0\r\n\r\n")},
    {400, TEXT(CHUNKED "5\nhello\r\n0\r\n\r\n")},
    {400, TEXT(CHUNKED "5\r\nhello\n0\r\n\r\n")},
    {400, TEXT(CHUNKED "5\r\nhello0\r\n\r\n")},
    {400, TEXT(CHUNKED "5\r\nhelloX\r\n0\r\n\r\n")},
    {400, TEXT(CHUNKED "0x5\r\nhello\r\n0\r\n\r\n")},
    {400, TEXT(CHUNKED "-1\r\nhello\r\n0\r\n\r\n")},
    {400, TEXT(CHUNKED "\r\nhello\r\n0\r\n\r\n")},
    {400, TEXT(CHUNKED "g\r\nhello\r\n0\r\n\r\n")},
    {400, TEXT(CHUNKED "10000000000000000\r\n")},
    {413, TEXT(CHUNKED "ffffffffffffffff\r\n")},
    {413, TEXT(CHUNKED "65\r\n")},
    {400, TEXT(CHUNKED "0\r\nBad Trailer: 1\r\n\r\n")},
    {400, TEXT(CHUNKED "0\r\nT: 1\n\r\n")},
    {400, TEXT(CHUNKED "0\r\nT: \x01\r\n\r\n")},
    {400, TEXT(CHUNKED "0\r\nT: 1\r\n folded\r\n\r\n")},
    {400, TEXT(CHUNKED "0\r\n\n")},
    /* fields */
    {400, TEXT(GET HOST "X: a\r\n b\r\n\r\n")},
    {400, TEXT(GET HOST "X: a\r\n\tb\r\n\r\n")},
    {400, TEXT(GET HOST "X:\r\n b\r\n\r\n")},
    {400, TEXT(GET " X: a\r\n" HOST "\r\n")},
    {400, TEXT(GET HOST "X: a\n\r\n")},
    {400, TEXT(GET HOST "X: a\r\n\n")},
    {400, TEXT(GET HOST "X: a\r\n\rX\r\n")},
    {400, TEXT(GET HOST "X: a\rb\r\n\r\n")},
    {400, TEXT(GET HOST "X: a\0b\r\n\r\n")},
    {400, TEXT(GET HOST "X: a\x1f\r\n\r\n")},
    {400, TEXT(GET HOST "X: a\x7f\r\n\r\n")},
    {400, TEXT(GET HOST "X : a\r\n\r\n")},
    {400, TEXT(GET HOST "X\t: a\r\n\r\n")},
    {400, TEXT(GET HOST ": a\r\n\r\n")},
    {400, TEXT(GET HOST "X\r\n\r\n")},
    {400, TEXT(GET HOST "X(y): a\r\n\r\n")},
    {400, TEXT(GET HOST "\xc3\xa9: a\r\n\r\n")},
    {400, TEXT(GET HOST "Content-Length : 5\r\n\r\nhello")},
    {400, TEXT(GET HOST "Content-Length\t: 5\r\n\r\nhello")},
    {400, TEXT(POST "Content-Length: 1\t1\r\n\r\nhello world")},
    {400, TEXT(POST "Content-Length: \t\r\n\r\n")},
    {400, TEXT(GET HOST "Connection: close\r\n\tx\r\n\r\n")},
    {400, TEXT(GET HOST "Content_Length\0: 5\r\n\r\nhello")},
    {417, TEXT(POST "Content-Length: 5\r\nExpect: 200-ok\r\n\r\nhello")},
    {417, TEXT(POST "Content-Length: 5\r\nExpect: 100-continue, x\r\n\r\nhello")},
    /* request line */
    {400, TEXT("GET / HTTP/1.1\n" HOST "\r\n")},
    {400, TEXT("\n" GET HOST "\r\n")},
    {400, TEXT(EMPTY_LINES "\r\n" GET HOST "\r\n")},
    {400, TEXT("GET /\r\n")},
    {400, TEXT("GET  / HTTP/1.1\r\n")},
    {400, TEXT("GET /  HTTP/1.1\r\n")},
    {400, TEXT("GET / HTTP/1.1 \r\n")},
    {400, TEXT(" GET / HTTP/1.1\r\n")},
    {400, TEXT("GET\t/ HTTP/1.1\r\n")},
    {400, TEXT("GET / HTTP/1.1\r\r\n")},
    {400, TEXT("GET / http/1.1\r\n")},
    {400, TEXT("GET / HTTP/1\r\n")},
    {400, TEXT("GET / HTTP/11\r\n")},
    {400, TEXT("GET / HTTP/1.x\r\n")},
    {400, TEXT("GET / HTTP/1.10\r\n")},
    {400, TEXT("GET / RTSP/1.0\r\n")},
    {400, TEXT("SOURCE / ICE/1.0\r\n")},
    {400, TEXT("GET HTTP/1.1\r\n")},
    {400, TEXT("\r\r\n")},
    {400, TEXT("X\n")},
    {400, TEXT("G(T / HTTP/1.1\r\n")},
    {400, TEXT("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\n")},
    {505, TEXT("GET / HTTP/0.9\r\n")},
    {505, TEXT("GET / HTTP/2.0\r\n")},
    {505, TEXT("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")},
    {501, TEXT("PRI * HTTP/1.1\r\n\r\nSM\r\n\r\n")},
    {501, TEXT("BREW / HTTP/1.1\r\n")},
    {501, TEXT("get / HTTP/1.1\r\n")},
    {501, TEXT("DESCRIBE / HTTP/1.1\r\n")},
    {501, TEXT("CONNECT a.example:80 HTTP/1.1\r\n")},
    {501, TEXT("CONNECT / HTTP/1.1\r\n")},
    {400, TEXT("GET a.example:80 HTTP/1.1\r\n" HOST "\r\n")},
    {400, TEXT("GET a HTTP/1.1\r\n" HOST "\r\n")},
    {400, TEXT("GET * HTTP/1.1\r\n" HOST "\r\n")},
    {400, TEXT("OPTIONS *x HTTP/1.1\r\n" HOST "\r\n")},
    {400, TEXT("GET ?a HTTP/1.1\r\n" HOST "\r\n")},
    {400, TEXT("GET /a#b HTTP/1.1\r\n" HOST "\r\n")},
    {400, TEXT("GET /a?b#c HTTP/1.1\r\n" HOST "\r\n")},
    {400, TEXT("GET /a\x01 HTTP/1.1\r\n" HOST "\r\n")},
    {400, TEXT("GET /a\0 HTTP/1.1\r\n" HOST "\r\n")},
    {400, TEXT("GET /a\x7f HTTP/1.1\r\n" HOST "\r\n")},
    {400, TEXT("GET /\xc3\xa9 HTTP/1.1\r\n" HOST "\r\n")},
    {400, TEXT("GET /a\tb HTTP/1.1\r\n" HOST "\r\n")},
    {400, TEXT("GET ftp://a.example/ HTTP/1.1\r\n" HOST "\r\n")},
    {400, TEXT("GET http:///x HTTP/1.1\r\n" HOST "\r\n")},
    {400, TEXT("GET http://u@a.example/ HTTP/1.1\r\n" HOST "\r\n")},
    {400, TEXT("GET http://a:b/ HTTP/1.1\r\n" HOST "\r\n")},
    {400, TEXT("GET http:/x HTTP/1.1\r\n" HOST "\r\n")},
};

START_TEST(a_bad_request_gets_its_status_and_closes)
{
    struct wire *w = fed_every_way(bad[_i].in, bad[_i].n);
    const char *got = wire_got(w), *error = strstr(wire_log(w), "error ");
    char line[32];

    snprintf(line, sizeof line, "HTTP/1.1 %d ", bad[_i].status);
    ck_assert_msg(!strncmp(got, line, strlen(line)), "%d: %s\n%s", bad[_i].status, bad[_i].in, got);
    ck_assert_ptr_nonnull(strstr(got, "\r\nConnection: close\r\n"));
    ck_assert_ptr_nonnull(error);
    ck_assert_uint_gt(strcspn(error, "\n"), 12);
    ck_assert_ptr_null(strstr(error + 1, "error "));
    ck_assert_int_eq(w->e->closing, ENGINE_FLUSH_AND_CLOSE);
    ck_assert_uint_eq(w->e->deadline, 0);
    wire_forget(w);
    wire_text(w, GET HOST "\r\n");
    ck_assert_str_eq(wire_log(w), "");
    ck_assert_uint_eq(w->e->out.len, 0);
    wire_free(w);
}
END_TEST

/* ---- limits ---- */

static int status_of(struct wire *w)
{
    return atoi(wire_got(w) + 9);
}

/* prefix, count times fill, suffix */
static int status_of_long(const char *prefix, char fill, size_t count, const char *suffix)
{
    size_t a = strlen(prefix), b = strlen(suffix);
    char *s = malloc(a + count + b);
    int status = 0, again;
    struct wire *w;

    memcpy(s, prefix, a);
    memset(s + a, fill, count);
    memcpy(s + a + count, suffix, b);
    for (size_t step = 1; step < (a + count + b) * 7; step *= 7) {
        w = fed(s, a + count + b, 0, step);
        again = status_of(w);
        ck_assert(!status || status == again);
        status = again;
        ck_assert_uint_lt(w->peak, 16384);
        wire_free(w);
    }
    free(s);
    return status;
}

START_TEST(the_url_limit_is_exact)
{
    ck_assert_int_eq(status_of_long("GET /", 'u', 255, " HTTP/1.1\r\n" HOST "\r\n"), 200);
    ck_assert_int_eq(status_of_long("GET /", 'u', 256, " HTTP/1.1\r\n" HOST "\r\n"), 414);
    ck_assert_int_eq(status_of_long("GET /", 'u', 100000, ""), 414);
    ck_assert_int_eq(status_of_long("", 'M', 100000, ""), 414);
}
END_TEST

START_TEST(the_header_limit_is_exact)
{
    size_t fixed = strlen(HOST "X: \r\n\r\n");

    ck_assert_int_eq(status_of_long(GET HOST "X: ", 'x', 4096 - fixed, "\r\n\r\n"), 200);
    ck_assert_int_eq(status_of_long(GET HOST "X: ", 'x', 4097 - fixed, "\r\n\r\n"), 431);
    ck_assert_int_eq(status_of_long(GET HOST "X:", ' ', 4096 - fixed, "x\r\n\r\n"), 200);
    ck_assert_int_eq(status_of_long(GET HOST "X:", ' ', 100000, ""), 431);
    ck_assert_int_eq(status_of_long(GET HOST, 'x', 100000, ""), 431);
}
END_TEST

START_TEST(a_malformed_header_is_not_judged_by_what_comes_behind_it)
{
    ck_assert_int_eq(status_of_long(GET HOST "X y: 1\r\n\r\n", 'x', 10000, ""), 400);
}
END_TEST

START_TEST(the_limit_of_header_fields_is_exact)
{
    for (int n = 40; n <= 41; n++) {
        struct wire *w;
        struct buf b;
        struct mem m;

        mem_init(&m, NULL, NULL);
        buf_init(&b, &m);
        buf_puts(&b, GET HOST);
        for (int i = 1; i < n; i++)
            buf_printf(&b, "x-%d: %d\r\n", i, i);
        buf_puts(&b, "\r\n");
        w = fed_every_way(buf_at(&b), b.len);
        ck_assert_int_eq(status_of(w), n == 40 ? 200 : 431);
        wire_free(w);
        buf_fini(&b);
    }
}
END_TEST

START_TEST(many_short_fields_cost_little_memory)
{
    struct wire *w;
    char fields[1000 * 4 + 1];

    for (int i = 0; i < 1000; i++)
        memcpy(fields + i * 4, "a:\r\n", 5);
    w = wire_new(MODE_ECHO);
    ck_assert(wire_open(w));
    wire_text(w, GET HOST);
    wire_text(w, fields);
    ck_assert_int_eq(status_of(w), 431);
    ck_assert_uint_lt(w->peak, 16384);
    wire_free(w);
}
END_TEST

START_TEST(chunk_extensions_and_trailers_are_bounded)
{
    ck_assert_int_eq(status_of_long(CHUNKED "1;", 'x', 8000, "\r\na\r\n0\r\n\r\n"), 200);
    ck_assert_int_eq(status_of_long(CHUNKED "1;", 'x', 9000, "\r\na\r\n0\r\n\r\n"), 400);
    ck_assert_int_eq(status_of_long(CHUNKED "1;", 'x', 9000, "\n"), 400);
    ck_assert_int_eq(status_of_long(CHUNKED "ff;", 'x', 9000, "\r\n"), 400);
    ck_assert_int_eq(status_of_long(CHUNKED "", '0', 100000, ""), 400);
    ck_assert_int_eq(status_of_long(CHUNKED "1\r\na\r\n0\r\nT: ", 'x', 8000, "\r\n\r\n"), 200);
    ck_assert_int_eq(status_of_long(CHUNKED "1\r\na\r\n0\r\nT: ", 'x', 9000, "\r\n\r\n"), 400);
    ck_assert_int_eq(status_of_long(CHUNKED "1\r\na\r\n0\r\nT:", ' ', 100000, ""), 400);
}
END_TEST

START_TEST(a_body_may_have_exactly_the_limit)
{
    char a[100];

    memset(a, 'a', sizeof a);
    for (int chunked = 0; chunked < 2; chunked++) {
        struct wire *w = wire_new(MODE_ECHO);

        w->body_limit = 100;
        ck_assert(wire_open(w));
        wire_text(w, chunked ? CHUNKED "32\r\n" : POST "Content-Length: 100\r\n\r\n");
        wire_feed(w, a, 50);
        if (chunked)
            wire_text(w, "\r\n32\r\n");
        wire_feed(w, a, 50);
        if (chunked)
            wire_text(w, "\r\n0\r\n\r\n");
        ck_assert_int_eq(status_of(w), 200);
        ck_assert_uint_eq(w->body.len, 100);
        wire_free(w);
    }
}
END_TEST

START_TEST(a_chunked_body_above_the_limit_is_refused_as_it_grows)
{
    struct wire *w = wire_new(MODE_ECHO);

    w->body_limit = 100;
    ck_assert(wire_open(w));
    wire_text(w, CHUNKED "5\r\nhello\r\n5f\r\n");
    ck_assert_str_eq(wire_got(w), "");
    wire_free(w);

    w = wire_new(MODE_ECHO);
    w->body_limit = 99;
    ck_assert(wire_open(w));
    wire_text(w, CHUNKED "5\r\nhello\r\n5f\r\n");
    ck_assert_int_eq(status_of(w), 413);
    ck_assert_str_eq(wire_log(w), "head /p\nerror 413 body too large\nclose 1\n");
    wire_free(w);
}
END_TEST

/* ---- versions ---- */

static const struct {
    const char *version, *field;
    bool keep;
} persistence[] = {
    {"1.1", "", true},
    {"1.1", "Connection: close\r\n", false},
    {"1.1", "Connection: Close \r\n", false},
    {"1.1", "Connection: close\t\r\n", false},
    {"1.1", "Connection:\tclose\r\n", false},
    {"1.1", "Connection: \t close \t \r\n", false},
    {"1.1", "Connection: keep-alive\t,\tclose\t\r\n", false},
    {"1.1", "CONNECTION: x\tclose\r\n", true},
    {"1.1", "A: b\tc\r\nConnection: close\t\r\nD: \te\r\n", false},
    {"1.2", "", true},
    {"1.9", "Connection: close\r\n", false},
    {"1.0", "Connection: keep-alive\t\r\n", true},
    {"1.1", "Connection: upgrade,close\r\nUpgrade: x\r\n", false},
    {"1.1", "Connection: x\r\nConnection: close\r\n", false},
    {"1.1", "Connection: keep-alive, close\r\n", false},
    {"1.1", "Connection: closed\r\n", true},
    {"1.1", "Connection: Upgrade\r\nUpgrade: websocket\r\n", true},
    {"1.0", "", false},
    {"1.0", "Connection: keep-alive\r\n", true},
    {"1.0", "Connection: Keep-Alive\r\n", true},
    {"1.0", "Connection: keep-alive, close\r\n", false},
    {"1.0", "Connection: close\r\n", false},
};

START_TEST(the_connection_lives_as_the_request_says)
{
    bool keep = persistence[_i].keep, old = persistence[_i].version[2] == '0';
    char request[256], want[256];
    struct wire *w;

    snprintf(request, sizeof request, "GET / HTTP/%s\r\n%s%s\r\n", persistence[_i].version,
             persistence[_i].field, HOST);
    w = fed_every_way(request, strlen(request));
    snprintf(want, sizeof want,
             "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 17\r\n%s\r\nGET / "
             "@a.example ",
             !keep ? "Connection: close\r\n"
             : old ? "Connection: keep-alive\r\n"
                   : "");
    ck_assert_str_eq(wire_got(w), want);
    ck_assert_int_eq(w->e->closing, keep ? ENGINE_OPEN : ENGINE_FLUSH_AND_CLOSE);
    wire_free(w);
}
END_TEST

START_TEST(version_1_0_needs_no_host)
{
    struct wire *w = fed_every_way(TEXT("GET /x HTTP/1.0\r\n\r\n"));

    ck_assert_str_eq(strstr(wire_got(w), "\r\n\r\n") + 4, "GET /x @ ");
    wire_free(w);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("h1");
    TCase *t = tcase_create("requests");

    suite_add_tcase(s, t);
    tcase_add_loop_test(t, a_good_request_is_understood, 0, (int)(sizeof good / sizeof *good));
    tcase_add_loop_test(t, a_bad_request_gets_its_status_and_closes, 0,
                        (int)(sizeof bad / sizeof *bad));
    tcase_add_test(t, the_url_limit_is_exact);
    tcase_add_test(t, the_header_limit_is_exact);
    tcase_add_test(t, a_malformed_header_is_not_judged_by_what_comes_behind_it);
    tcase_add_test(t, the_limit_of_header_fields_is_exact);
    tcase_add_test(t, many_short_fields_cost_little_memory);
    tcase_add_test(t, chunk_extensions_and_trailers_are_bounded);
    tcase_add_test(t, a_body_may_have_exactly_the_limit);
    tcase_add_test(t, a_chunked_body_above_the_limit_is_refused_as_it_grows);
    tcase_add_loop_test(t, the_connection_lives_as_the_request_says, 0,
                        (int)(sizeof persistence / sizeof *persistence));
    tcase_add_test(t, version_1_0_needs_no_host);
    return run_suite(s);
}
