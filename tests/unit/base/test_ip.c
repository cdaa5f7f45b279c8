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

static const struct {
    const char *address;
    bool is_public;
} addresses[] = {
    {"8.8.8.8", true},
    {"1.1.1.1", true},
    {"93.184.216.34", true},
    {"9.255.255.255", true},
    {"11.0.0.0", true},
    {"100.63.255.255", true},
    {"100.128.0.0", true},
    {"126.255.255.255", true},
    {"128.0.0.0", true},
    {"169.253.255.255", true},
    {"169.255.0.0", true},
    {"172.15.255.255", true},
    {"172.32.0.0", true},
    {"192.0.1.0", true},
    {"192.167.255.255", true},
    {"192.169.0.0", true},
    {"198.17.255.255", true},
    {"198.20.0.0", true},
    {"223.255.255.255", true},
    {"2001:4860:4860::8888", true},
    {"2606:4700:4700::1111", true},
    {"2a00::1", true},
    {"2001:200::1", true},
    {"3ffe::1", true},
    {"::ffff:8.8.8.8", true},
    {"64:ff9b::8.8.8.8", true},
    {"2002:808:808::1", true},
    {"0.0.0.0", false},
    {"0.1.2.3", false},
    {"10.0.0.0", false},
    {"10.255.255.255", false},
    {"100.64.0.0", false},
    {"100.127.255.255", false},
    {"127.0.0.1", false},
    {"127.255.255.255", false},
    {"169.254.0.0", false},
    {"169.254.169.254", false},
    {"169.254.255.255", false},
    {"172.16.0.0", false},
    {"172.31.255.255", false},
    {"192.0.0.0", false},
    {"192.0.0.255", false},
    {"192.0.2.1", false},
    {"192.88.99.1", false},
    {"192.168.0.0", false},
    {"192.168.255.255", false},
    {"198.18.0.0", false},
    {"198.19.255.255", false},
    {"198.51.100.1", false},
    {"203.0.113.1", false},
    {"224.0.0.1", false},
    {"239.255.255.255", false},
    {"240.0.0.1", false},
    {"255.255.255.255", false},
    {"::", false},
    {"::1", false},
    {"::ffff:127.0.0.1", false},
    {"::ffff:10.0.0.1", false},
    {"::ffff:169.254.169.254", false},
    {"::127.0.0.1", false},
    {"::10.0.0.1", false},
    {"::8.8.8.8", false},
    {"::ffff:0:127.0.0.1", false},
    {"64:ff9b::127.0.0.1", false},
    {"64:ff9b::10.1.2.3", false},
    {"64:ff9b:1::1", false},
    {"64:ff9b:1::8.8.8.8", false},
    {"100::1", false},
    {"2001::1", false},
    {"2001:0:808:808::1", false},
    {"2001:2::1", false},
    {"2001:10::1", false},
    {"2001:20::1", false},
    {"2001:db8::1", false},
    {"2001:db8:ffff::1", false},
    {"2002:7f00:1::1", false},
    {"2002:a00:1::1", false},
    {"2002:c0a8:101::1", false},
    {"2002:a9fe:a9fe::1", false},
    {"3fff::1", false},
    {"3fff:fff::1", false},
    {"4000::1", false},
    {"5f00::1", false},
    {"fc00::1", false},
    {"fd12:3456::1", false},
    {"fe80::1", false},
    {"febf::1", false},
    {"fec0::1", false},
    {"ff02::1", false},
    {"ff0e::1", false},
};

START_TEST(an_address_is_public_or_not)
{
    for (size_t i = 0; i < sizeof addresses / sizeof addresses[0]; i++) {
        struct ip ip;

        ck_assert_msg(parse(addresses[i].address, &ip), "%s", addresses[i].address);
        ck_assert_msg(ip_is_public(&ip) == addresses[i].is_public, "%s", addresses[i].address);
    }
}
END_TEST

START_TEST(a_host_of_a_url_is_an_address_a_name_of_this_machine_or_another)
{
    static const struct {
        const char *host;
        bool address, local;
    } rows[] = {{"127.0.0.1", true, false},
                {"[::1]", true, false},
                {"[::ffff:127.0.0.1]", true, false},
                {"localhost", false, true},
                {"a.localhost", false, true},
                {"a.b.localhost", false, true},
                {".localhost", false, false},
                {"notlocalhost", false, false},
                {"localhost.example", false, false},
                {"127.1", false, false},
                {"", false, false},
                {"[]", false, false}};

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct str host = str_of(rows[i].host);
        struct ip ip;

        ck_assert_msg(ip_parse_host(host, &ip) == rows[i].address, "%s", rows[i].host);
        ck_assert_msg(ip_host_is_local(host) == rows[i].local, "%s", rows[i].host);
    }
}
END_TEST

MAIN("ip", an_address_has_one_text_whichever_it_came_as, what_is_no_address_is_refused,
     what_is_an_address_is_one_for_the_c_library_too, a_net_has_the_addresses_of_its_prefix,
     loopback_is_a_net_of_ipv4_and_one_address_of_ipv6, an_address_is_public_or_not,
     a_host_of_a_url_is_an_address_a_name_of_this_machine_or_another)
