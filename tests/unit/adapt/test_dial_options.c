/* What a dialer is told: URLs taken apart or refused in words, and options that are kept when the caller's are gone. */
#include "adapt/dial_options.h"
#include "support/memory.h"
#include "support/suite.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define X10 "xxxxxxxxxx"
#define X50 X10 X10 X10 X10 X10
#define X255 X50 X50 X50 X50 X50 "xxxxx"

struct reading {
    struct memory memory;
    struct mem mem;
    struct arena arena;
    struct dial_url url;
    alk_dial_options own;
    char err[120];
    int rc;
};

static void read_options(struct reading *r, const alk_dial_options *o, long fail_in)
{
    memset(r, 0, sizeof *r);
    r->memory.fail_in = fail_in;
    mem_init(&r->mem, memory_realloc, &r->memory);
    arena_init(&r->arena, &r->mem, 64);
    r->rc = dial_options_read(&r->own, &r->url, &r->arena, o, r->err, sizeof r->err);
}

static void reading_fini(struct reading *r)
{
    dial_options_fini(&r->own);
    arena_fini(&r->arena);
    ck_assert_uint_eq(r->memory.live, 0);
}

static const struct {
    const char *url, *host, *host_field, *path;
    uint32_t port;
} good[] = {
    {"ws://a", "a", "a", "/alknet/call", 80},
    {"ws://a/", "a", "a", "/alknet/call", 80},
    {"ws://a.example:8080", "a.example", "a.example:8080", "/alknet/call", 8080},
    {"ws://a:1/x/y", "a", "a:1", "/x/y", 1},
    {"ws://a:65535", "a", "a:65535", "/alknet/call", 65535},
    {"ws://a:00080", "a", "a:00080", "/alknet/call", 80},
    {"ws://[::1]", "::1", "[::1]", "/alknet/call", 80},
    {"ws://[::1]:81/p", "::1", "[::1]:81", "/p", 81},
    {"ws://" X255, X255, X255, "/alknet/call", 80},
};

START_TEST(a_url_is_taken_apart)
{
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        alk_dial_options o;
        struct reading r;

        alk_dial_options_init(&o, sizeof o);
        o.url = good[i].url;
        read_options(&r, &o, 0);
        ck_assert_msg(r.rc == ALK_OK, "%s: %s", good[i].url, r.err);
        ck_assert_str_eq(r.url.to.host, good[i].host);
        ck_assert_str_eq(r.url.host_field, good[i].host_field);
        ck_assert_str_eq(r.url.remote, good[i].host_field);
        ck_assert_str_eq(r.url.path, good[i].path);
        ck_assert(!r.url.to.path && !r.url.framed);
        ck_assert_uint_eq(r.url.to.port, good[i].port);
        reading_fini(&r);
    }
}
END_TEST

START_TEST(a_path_of_a_socket_is_the_rest_of_the_url)
{
    static const struct {
        const char *url, *path;
        bool framed;
    } rows[] = {
        {"ws+unix:/run/a.sock", "/run/a.sock", false},
        {"ws+unix:a b#c?d@e:80/f", "a b#c?d@e:80/f", false},
        {"ws+unix://x", "//x", false},
        {"ws+unix:/" X50 X50 "123456", "/" X50 X50 "123456", false},
        {"alknet+unix:/run/a.sock", "/run/a.sock", true},
    };

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        alk_dial_options o;
        struct reading r;

        alk_dial_options_init(&o, sizeof o);
        o.url = rows[i].url;
        read_options(&r, &o, 0);
        ck_assert_msg(r.rc == ALK_OK, "%s: %s", rows[i].url, r.err);
        ck_assert_str_eq(r.url.to.path, rows[i].path);
        ck_assert_str_eq(r.url.remote, rows[i].path);
        ck_assert_str_eq(r.url.host_field, "localhost");
        ck_assert_str_eq(r.url.path, "/alknet/call");
        ck_assert_int_eq(r.url.framed, rows[i].framed);
        reading_fini(&r);
    }
}
END_TEST

START_TEST(a_scheme_says_what_is_spoken)
{
    static const struct {
        const char *url, *host, *path;
        uint32_t port;
        bool tls, framed;
    } rows[] = {
        {"ws://a", "a", "/alknet/call", 80, false, false},
        {"wss://a", "a", "/alknet/call", 443, true, false},
        {"wss://[::1]:8443/x", "::1", "/x", 8443, true, false},
        {"alknet+tls://a.example", "a.example", "/alknet/call", 4780, true, true},
        {"alknet+tls://a:1", "a", "/alknet/call", 1, true, true},
    };
    alk_tls_options to;
    alk_tls *tls;

    alk_tls_options_init(&to, sizeof to);
    to.client = to.insecure = 1;
    ck_assert_int_eq(alk_tls_new(&tls, &to, NULL, 0), ALK_OK);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        alk_dial_options o;
        struct reading r;

        alk_dial_options_init(&o, sizeof o);
        o.url = rows[i].url;
        o.tls = tls;
        read_options(&r, &o, 0);
        ck_assert_msg(r.rc == ALK_OK, "%s: %s", rows[i].url, r.err);
        ck_assert_str_eq(r.url.to.host, rows[i].host);
        ck_assert_str_eq(r.url.path, rows[i].path);
        ck_assert_uint_eq(r.url.to.port, rows[i].port);
        ck_assert_int_eq(r.url.tls, rows[i].tls);
        ck_assert_int_eq(r.url.framed, rows[i].framed);
        ck_assert_ptr_eq(r.own.tls, tls);
        reading_fini(&r);
    }
    alk_tls_unref(tls);
}
END_TEST

START_TEST(a_token_needs_an_upgrade)
{
    alk_dial_options o;
    struct reading r;

    alk_dial_options_init(&o, sizeof o);
    o.url = "alknet+unix:/run/a.sock";
    o.request_token = "t";
    read_options(&r, &o, 0);
    ck_assert_int_eq(r.rc, ALK_OK);
    reading_fini(&r);
    o.token = "t";
    read_options(&r, &o, 0);
    ck_assert_int_eq(r.rc, ALK_EINVAL);
    ck_assert_str_eq(r.err, "token: there is no upgrade that could carry it");
    reading_fini(&r);
}
END_TEST

#define HEX64 "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define FRAGMENT "url: behind # must be ed25519: or SHA256: and 64 hexadecimal digits in lower case"
#define SCHEME                                                                                     \
    "url: must begin with alknet://, ws://, wss://, ws+unix:, alknet+tls:// or alknet+unix:"
#define NO_PATH "url: a path does not belong there"
#define PATH "url: the path of the socket is missing or too long"
#define BLANK "url: a blank, a fragment or a user does not belong there"
#define PORT "url: the port must be 1 to 65535"
#define HOST "url: the host is missing or too long"
#define QUERY "url: a query does not belong there"

static const struct {
    const char *url, *err;
} bad[] = {
    {NULL, SCHEME},
    {"", SCHEME},
    {"https://a", SCHEME},
    {"ws:/a", SCHEME},
    {"ws://a b", BLANK},
    {"ws://a\r\nX: 1", BLANK},
    {"ws://a\x7f", BLANK},
    {"ws://\xc3\xa4", BLANK},
    {"ws://a/#b", BLANK},
    {"ws://user@a", BLANK},
    {"ws://a?b", QUERY},
    {"ws://a/b?c", QUERY},
    {"ws://", HOST},
    {"ws:///p", HOST},
    {"ws://:80", HOST},
    {"ws://[]", HOST},
    {"ws://[", HOST},
    {"ws://[::1", HOST},
    {"ws://[/]", HOST},
    {"ws://" X255 "x", HOST},
    {"ws://a:", PORT},
    {"ws://a:0", PORT},
    {"ws://a:65536", PORT},
    {"ws://a:100000", PORT},
    {"ws://a:8x", PORT},
    {"ws://a:+1", PORT},
    {"ws://a:1:2", PORT},
    {"ws://[::1]x", PORT},
    {"ws://[::1]80", PORT},
    {"ws+unix:", PATH},
    {"ws+unix:/" X50 X50 "1234567", PATH},
    {"alknet+unix:", PATH},
    {"wss://user@a", BLANK},
    {"wss://a:0", PORT},
    {"alknet+tls://", HOST},
    {"alknet+tls://a:x", PORT},
    {"alknet+tls://a/", NO_PATH},
    {"alknet+tls://a/alknet/call", NO_PATH},
    {"alknet:a", SCHEME},
    {"alknet://a/b", "url: a path does not belong there"},
    {"alknet://a#", FRAGMENT},
    {"alknet://a#ed25519:00", FRAGMENT},
    {"alknet://#ed25519:" HEX64, "url: the host is missing or too long"},
    {"alknet+tls://a#ed25519:" HEX64, "url: a blank, a fragment or a user does not belong there"},
};

START_TEST(a_url_that_is_none_is_refused_in_words)
{
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        alk_dial_options o;
        struct reading r;

        alk_dial_options_init(&o, sizeof o);
        o.url = bad[i].url;
        read_options(&r, &o, 0);
        ck_assert_msg(r.rc == ALK_EINVAL, "%s", bad[i].url);
        ck_assert_msg(!strcmp(r.err, bad[i].err), "%s: %s", bad[i].url, r.err);
        ck_assert_int_eq(dial_options_read(&r.own, &r.url, &r.arena, &o, NULL, 0), ALK_EINVAL);
        ck_assert_int_eq(dial_options_read(&r.own, &r.url, &r.arena, &o, r.err, 0), ALK_EINVAL);
        reading_fini(&r);
    }
}
END_TEST

START_TEST(times_and_tokens_make_sense_or_are_refused)
{
    static const struct {
        uint32_t connect, least, most;
        const char *token;
        int rc;
    } rows[] = {
        {1, 1, 1, NULL, ALK_OK},
        {1, 1, 2, "t", ALK_OK},
        {0, 1, 1, NULL, ALK_EINVAL},
        {1, 0, 1, NULL, ALK_EINVAL},
        {1, 2, 1, NULL, ALK_EINVAL},
        {1, 1, 1, "", ALK_EINVAL},
        {1, 1, 1, "a b", ALK_EINVAL},
        {1, 1, 1, "a\r\n", ALK_EINVAL},
        {1, 1, 1, "t\xc3\xb6", ALK_EINVAL},
    };

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        alk_dial_options o;
        struct reading r;

        alk_dial_options_init(&o, sizeof o);
        o.url = "ws://a";
        o.connect_timeout_ms = rows[i].connect;
        o.retry_min_ms = rows[i].least;
        o.retry_max_ms = rows[i].most;
        o.token = rows[i].token;
        read_options(&r, &o, 0);
        ck_assert_msg(r.rc == rows[i].rc, "%zu: %s", i, r.err);
        reading_fini(&r);
    }
}
END_TEST

/* Whichever allocation fails, what was kept so far can be given back. */
START_TEST(options_are_kept_whole_or_there_is_no_memory)
{
    alk_identity *who = alk_identity_new("{\"id\":\"a\"}", 10);
    bool failed = true;

    for (long nth = 1; failed; nth++) {
        char url[100], token[100], request[100], prefix[100], filter[100];
        alk_dial_options o;
        struct reading r;

        ck_assert_int_lt(nth, 50);
        snprintf(url, sizeof url, "ws://" X50 "/" X10);
        snprintf(token, sizeof token, "t" X50);
        snprintf(request, sizeof request, "r" X50);
        snprintf(prefix, sizeof prefix, "p" X50);
        snprintf(filter, sizeof filter, "[\"" X50 "\"]");
        alk_dial_options_init(&o, sizeof o);
        o.url = url;
        o.token = token;
        o.request_token = request;
        o.namespace_prefix = prefix;
        o.operation_filter = filter;
        o.identity = who;
        read_options(&r, &o, nth);
        url[6] = token[0] = request[0] = prefix[0] = filter[0] = '!';
        failed = r.memory.failed;
        ck_assert_int_eq(r.rc, failed ? ALK_ENOMEM : ALK_OK);
        if (!r.rc) {
            ck_assert_str_eq(r.url.to.host, X50);
            ck_assert_str_eq(r.own.token, "t" X50);
            ck_assert_str_eq(r.own.request_token, "r" X50);
            ck_assert_str_eq(r.own.namespace_prefix, "p" X50);
            ck_assert_str_eq(r.own.operation_filter, "[\"" X50 "\"]");
        }
        reading_fini(&r);
    }
    alk_identity_unref(who);
}
END_TEST

MAIN("dial_options", a_url_is_taken_apart, a_path_of_a_socket_is_the_rest_of_the_url,
     a_scheme_says_what_is_spoken, a_token_needs_an_upgrade, a_url_that_is_none_is_refused_in_words,
     times_and_tokens_make_sense_or_are_refused, options_are_kept_whole_or_there_is_no_memory)
