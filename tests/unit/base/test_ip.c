/* Addresses: what is one, how it is written, and which net it is in; against the C library. */
#include "base/ip.h"

#include "support/suite.h"

#include <arpa/inet.h>
#include <stdlib.h>

static bool parse(const char *text, struct ip *out)
{
    return ip_parse(str_of(text), out);
}

START_TEST(an_address_has_one_text_whichever_it_came_as)
{
    static const char *const rows[][2] = {
        {"127.0.0.1", "127.0.0.1"},
        {"0.0.0.0", "0.0.0.0"},
        {"255.255.255.255", "255.255.255.255"},
        {"::ffff:192.0.2.1", "192.0.2.1"},
        {"::FFFF:C000:0201", "192.0.2.1"},
        {"::", "::"},
        {"::1", "::1"},
        {"0:0:0:0:0:0:0:1", "::1"},
        {"2001:DB8::0001", "2001:db8::1"},
        {"2001:db8:0:0:1:0:0:1", "2001:db8::1:0:0:1"},
        {"2001:db8:0:1:1:1:1:1", "2001:db8:0:1:1:1:1:1"},
        {"1:2:3:4:5:6:7::", "1:2:3:4:5:6:7:0"},
        {"::2:3:4:5:6:7:8", "0:2:3:4:5:6:7:8"},
        {"1::", "1::"},
        {"64:ff9b::192.0.2.33", "64:ff9b::c000:221"},
        {"1:2:3:4:5:6:1.2.3.4", "1:2:3:4:5:6:102:304"},
        {"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"},
    };

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char text[IP_TEXT_SIZE];
        struct ip a, again;

        ck_assert_msg(parse(rows[i][0], &a), "%s", rows[i][0]);
        ip_text(&a, text);
        ck_assert_str_eq(text, rows[i][1]);
        ck_assert(parse(text, &again) && ip_equal(&a, &again));
    }
}
END_TEST

START_TEST(what_is_no_address_is_refused)
{
    static const char *const rows[] = {
        "",
        ".",
        "1.2.3",
        "1.2.3.4.5",
        "1.2.3.4.",
        "01.2.3.4",
        "1.2.3.256",
        "1.2.3.-4",
        "1.2.3.4 ",
        " 1.2.3.4",
        "0x7f.0.0.1",
        "127.1",
        "1..2.3",
        "1.2.3.999",
        "1.2.3.0004",
        ":",
        ":::",
        "1:",
        ":1",
        "1::2::3",
        "12345::",
        "1:2:3:4:5:6:7",
        "g::",
        "1:2:3:4:5:6:7:8:9",
        "[::1]",
        "::1%lo",
        "::1.2.3",
        "1.2.3.4::",
        "::1.2.3.4:5",
        "1:2:3:4:5:6:7:1.2.3.4",
        "1:::2",
        "::1:",
        "1::2:",
        "localhost",
        "1:2:3:4::5:6:7:8",
    };

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct ip a;

        ck_assert_msg(!parse(rows[i], &a), "%s", rows[i]);
    }
}
END_TEST

/* Texts that are nearly addresses, of the characters that they have. */
START_TEST(what_is_an_address_is_one_for_the_c_library_too)
{
    static const char alphabet[] = "::::....0123fF";
    unsigned good = 0;

    srand(1);
    for (unsigned round = 0; round < 400000; round++) {
        char text[16];
        size_t n = 1 + (size_t)rand() % 12;
        uint8_t theirs[16];
        struct ip a, b;
        bool is;

        for (size_t i = 0; i < n; i++)
            text[i] = alphabet[(size_t)rand() % (sizeof alphabet - 1)];
        text[n] = 0;
        is = inet_pton(AF_INET6, text, theirs) == 1;
        if (is)
            memcpy(b.b, theirs, sizeof b.b);
        else if ((is = inet_pton(AF_INET, text, theirs) == 1))
            b = ip_of_v4(theirs);
        ck_assert_msg(parse(text, &a) == is, "%s", text);
        ck_assert(!is || ip_equal(&a, &b));
        good += is;
    }
    ck_assert_uint_gt(good, 1000);
}
END_TEST

START_TEST(a_net_has_the_addresses_of_its_prefix)
{
    static const struct {
        const char *a, *net;
        unsigned bits;
        bool within;
    } rows[] = {
        {"10.1.2.3", "10.0.0.0", IP_V4_BITS + 8, true},
        {"11.0.0.0", "10.0.0.0", IP_V4_BITS + 8, false},
        {"::ffff:10.1.2.3", "10.0.0.0", IP_V4_BITS + 8, true},
        {"192.0.2.127", "192.0.2.0", IP_V4_BITS + 25, true},
        {"192.0.2.128", "192.0.2.0", IP_V4_BITS + 25, false},
        {"192.0.2.1", "192.0.2.1", IP_BITS, true},
        {"192.0.2.2", "192.0.2.1", IP_BITS, false},
        {"8.8.8.8", "0.0.0.0", IP_V4_BITS, true},
        {"8.8.8.8", "::", 0, false},
        {"::1", "0.0.0.0", IP_V4_BITS, false},
        {"2001:db8::1", "::", 0, true},
        {"2001:db8:1::", "2001:db8::", 32, true},
        {"2001:db9::", "2001:db8::", 32, false},
        {"2001:db8:0:1::", "2001:db8::", 63, true},
    };

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct ip a, net;

        ck_assert(parse(rows[i].a, &a) && parse(rows[i].net, &net));
        ck_assert_msg(ip_within(&a, &net, rows[i].bits) == rows[i].within, "%s %s", rows[i].a,
                      rows[i].net);
    }
}
END_TEST

START_TEST(loopback_is_a_net_of_ipv4_and_one_address_of_ipv6)
{
    static const struct {
        const char *a;
        bool is;
    } rows[] = {{"127.0.0.1", true},   {"127.255.0.9", true}, {"::ffff:127.0.0.1", true},
                {"::1", true},         {"128.0.0.1", false},  {"::2", false},
                {"::127.0.0.1", false}};

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct ip a;

        ck_assert(parse(rows[i].a, &a));
        ck_assert_msg(ip_is_loopback(&a) == rows[i].is, "%s", rows[i].a);
    }
}
END_TEST

MAIN("ip", an_address_has_one_text_whichever_it_came_as, what_is_no_address_is_refused,
     what_is_an_address_is_one_for_the_c_library_too, a_net_has_the_addresses_of_its_prefix,
     loopback_is_a_net_of_ipv4_and_one_address_of_ipv6)
