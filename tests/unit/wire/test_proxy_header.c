/* The PROXY protocol's header: what it says, where it ends, and that every malformed one is a fault; in all cuts. */
#include "wire/proxy_header.h"

#include "support/suite.h"

#include <stdlib.h>

#define TEXT(s) s, sizeof(s) - 1
#define V2 "\r\n\r\n\0\r\nQUIT\n"
#define FOUR "\xc0\0\2\1\x7f\0\0\1\x12\x34\0\x50"
#define SIX                                                                                        \
    "\x20\1\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\7"                                                       \
    "\x20\1\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x08\x12\x34\0\x50"
#define TLV_512 TLV_64 TLV_64 TLV_64 TLV_64 TLV_64 TLV_64 TLV_64 TLV_64
#define TLV_64 "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define PATH_216 TLV_64 TLV_64 TLV_64 "0123456789abcdef01234567"

/* Fed in pieces of `step` bytes, each in a block of its own size; *used in all. */
static int fed(struct proxy_header *h, const char *in, size_t n, size_t step, size_t *used)
{
    int rc = PROXY_MORE;

    memset(h, 0, sizeof *h);
    *used = 0;
    for (size_t at = 0, took; at < n && rc == PROXY_MORE; at += step) {
        size_t piece = step < n - at ? step : n - at;
        char *copy = malloc(piece);

        memcpy(copy, in + at, piece);
        rc = proxy_header_feed(h, copy, piece, &took);
        *used += took;
        ck_assert(took == piece || rc != PROXY_MORE);
        free(copy);
    }
    return rc;
}

static const struct {
    const char *in;
    size_t n;
    const char *source; /* NULL: none */
} good[] = {
    {TEXT("PROXY TCP4 192.0.2.1 127.0.0.1 56324 443\r\n"), "192.0.2.1"},
    {TEXT("PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n"), "255.255.255.255"},
    {TEXT("PROXY TCP4 192.0.2.1 127.0.0.1 0 0\r\n"), "192.0.2.1"},
    {TEXT("PROXY TCP6 2001:DB8::7 ::1 1 2\r\n"), "2001:db8::7"},
    {TEXT("PROXY TCP6 ::ffff:192.0.2.1 ::1 1 2\r\n"), "192.0.2.1"},
    {TEXT("PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff "
          "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n"),
     "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"},
    {TEXT("PROXY UNKNOWN\r\n"), NULL},
    {TEXT("PROXY UNKNOWN whatever 1 2 \x80\r\n"), NULL},
    {TEXT("PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff "
          "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n"),
     NULL},
    {TEXT(V2 "\x21\x11\0\x0c" FOUR), "192.0.2.1"},
    {TEXT(V2 "\x21\x11\0\x10" FOUR "\4\0\1x"), "192.0.2.1"},
    {TEXT(V2 "\x21\x21\0\x24" SIX), "2001:db8::7"},
    {TEXT(V2 "\x21\x21\0\x28" SIX "\4\0\1x"), "2001:db8::7"},
    {TEXT(V2 "\x21\x11\2\x0c" FOUR TLV_512), "192.0.2.1"},
    {TEXT(V2 "\x21\x31\0\xd8" PATH_216), NULL},
    {TEXT(V2 "\x21\x31\2\xd8" PATH_216 TLV_512), NULL},
    {TEXT(V2 "\x20\0\0\0"), NULL},
    {TEXT(V2 "\x20\x11\0\x0c" FOUR), NULL},
    {TEXT(V2 "\x20\x11\0\3abc"), NULL},
    {TEXT(V2 "\x21\0\0\0"), NULL},
    {TEXT(V2 "\x21\0\0\5abcde"), NULL},
};

START_TEST(a_header_says_whose_connection_it_is_in_any_cuts)
{
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        char *more = malloc(good[i].n + 5);

        memcpy(more, good[i].in, good[i].n);
        memcpy(more + good[i].n, "PROXY", 5);
        for (size_t step = 1; step <= good[i].n + 5; step++) {
            struct proxy_header h;
            size_t used;

            ck_assert_msg(fed(&h, more, good[i].n + 5, step, &used) == PROXY_DONE, "%zu: %s", i,
                          h.fault);
            ck_assert_msg(used == good[i].n, "%zu", i);
            ck_assert_int_eq(h.has_source, good[i].source != NULL);
            if (h.has_source) {
                char text[IP_TEXT_SIZE];

                ip_text(&h.source, text);
                ck_assert_str_eq(text, good[i].source);
            }
        }
        free(more);
    }
}
END_TEST

START_TEST(a_header_that_is_not_whole_waits_for_more)
{
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        for (size_t n = 0; n < good[i].n; n++) {
            struct proxy_header h;
            size_t used;

            ck_assert_int_eq(fed(&h, good[i].in, n, n ? n : 1, &used), PROXY_MORE);
            ck_assert_uint_eq(used, n);
        }
    }
}
END_TEST

static const struct {
    const char *in;
    size_t n, used; /* used: at which byte it is seen; 0: at the last */
} bad[] = {
    {TEXT("GET / HTTP/1.1\r\n"), 1},
    {TEXT("\x16\x03\x01"), 1},
    {TEXT("PRI * HTTP/2.0\r\n"), 3},
    {TEXT("proxy TCP4 "), 1},
    {TEXT("PROXY\r\n"), 6},
    {TEXT("PROXY  TCP4 192.0.2.1 127.0.0.1 1 2\r\n"), 0},
    {TEXT("PROXY \r\n"), 0},
    {TEXT("PROXY TCP\r\n"), 0},
    {TEXT("PROXY TCP5 192.0.2.1 127.0.0.1 1 2\r\n"), 0},
    {TEXT("PROXY tcp4 192.0.2.1 127.0.0.1 1 2\r\n"), 0},
    {TEXT("PROXY UDP4 192.0.2.1 127.0.0.1 1 2\r\n"), 0},
    {TEXT("PROXY UNKNOWNX\r\n"), 0},
    {TEXT("PROXY TCP4 192.0.2.1 127.0.0.1 1 2\n"), 0},
    {TEXT("PROXY TCP4 192.0.2.1 127.0.0.1 1 2\r\r\n"), 0},
    {TEXT("PROXY TCP4 192.0.2.1 127.0.0.1 1 2 \r\n"), 0},
    {TEXT("PROXY TCP4 192.0.2.1 127.0.0.1 1 2 3\r\n"), 0},
    {TEXT("PROXY TCP4 192.0.2.1 127.0.0.1 1\r\n"), 0},
    {TEXT("PROXY TCP4 192.0.2.1 127.0.0.1 1 \r\n"), 0},
    {TEXT("PROXY TCP4 192.0.2.1 127.0.0.1\r\n"), 0},
    {TEXT("PROXY TCP4 192.0.2.1\r\n"), 0},
    {TEXT("PROXY TCP4\r\n"), 0},
    {TEXT("PROXY TCP4 192.0.2.1 127.0.0.1  1 2\r\n"), 0},
    {TEXT("PROXY TCP4\t192.0.2.1 127.0.0.1 1 2\r\n"), 0},
    {TEXT("PROXY TCP4 192.0.2.256 127.0.0.1 1 2\r\n"), 0},
    {TEXT("PROXY TCP4 192.0.2.01 127.0.0.1 1 2\r\n"), 0},
    {TEXT("PROXY TCP4 192.0.2.1 127.0.0 1 2\r\n"), 0},
    {TEXT("PROXY TCP4 ::1 127.0.0.1 1 2\r\n"), 0},
    {TEXT("PROXY TCP4 192.0.2.1 ::1 1 2\r\n"), 0},
    {TEXT("PROXY TCP6 192.0.2.1 ::1 1 2\r\n"), 0},
    {TEXT("PROXY TCP6 ::1 192.0.2.1 1 2\r\n"), 0},
    {TEXT("PROXY TCP6 [::1] ::1 1 2\r\n"), 0},
    {TEXT("PROXY TCP6 ::1%lo ::1 1 2\r\n"), 0},
    {TEXT("PROXY TCP4 192.0.2.1 127.0.0.1 65536 2\r\n"), 0},
    {TEXT("PROXY TCP4 192.0.2.1 127.0.0.1 1 99999999\r\n"), 0},
    {TEXT("PROXY TCP4 192.0.2.1 127.0.0.1 01 2\r\n"), 0},
    {TEXT("PROXY TCP4 192.0.2.1 127.0.0.1 -1 2\r\n"), 0},
    {TEXT("PROXY TCP4 192.0.2.1 127.0.0.1 1 2x\r\n"), 0},
    {TEXT("PROXY TCP4 192.0.2.1\0 127.0.0.1 1 2\r\n"), 0},
    {TEXT("PROXY UNKNOWN " TLV_64 "0123456789012345678901234567890123456789"), 107},
    {TEXT("\r\n\r\r"), 4},
    {TEXT("\r\n\r\n\0\r\nQUIX\n"), 11},
    {TEXT(V2 "\x11\x11\0\x0c"), 16},
    {TEXT(V2 "\x22\x11\0\x0c"), 16},
    {TEXT(V2 "\x31\x11\0\x0c"), 16},
    {TEXT(V2 "\0\x11\0\x0c"), 16},
    {TEXT(V2 "\x21\x12\0\x0c"), 16},
    {TEXT(V2 "\x21\x10\0\x0c"), 16},
    {TEXT(V2 "\x21\x41\0\x0c"), 16},
    {TEXT(V2 "\x20\xff\0\0"), 16},
    {TEXT(V2 "\x21\x11\0\x0b"), 16},
    {TEXT(V2 "\x21\x21\0\x23"), 16},
    {TEXT(V2 "\x21\x31\0\xd7"), 16},
    {TEXT(V2 "\x21\x11\0\0"), 16},
    {TEXT(V2 "\x21\x11\2\xd9"), 16},
    {TEXT(V2 "\x21\x11\xff\xff"), 16},
    {TEXT(V2 "\x20\x11\xff\xff"), 16},
};

START_TEST(a_malformed_header_is_a_fault_as_soon_as_it_shows)
{
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        for (size_t step = 1; step <= bad[i].n; step++) {
            struct proxy_header h;
            size_t used;
            int rc = fed(&h, bad[i].in, bad[i].n, step, &used);

            ck_assert_msg(rc == PROXY_FAULT && h.fault && *h.fault, "%zu: %d", i, rc);
            ck_assert_msg(used == (bad[i].used ? bad[i].used : bad[i].n), "%zu: %zu", i, used);
        }
    }
}
END_TEST

MAIN("proxy_header", a_header_says_whose_connection_it_is_in_any_cuts,
     a_header_that_is_not_whole_waits_for_more, a_malformed_header_is_a_fault_as_soon_as_it_shows)
