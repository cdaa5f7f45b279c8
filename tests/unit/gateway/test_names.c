/* Entries of hosts, origins and trusted_proxies: which could match a request, and what they match. */
#include "gateway/names.h"

#include "support/suite.h"

static const struct {
    place_read *read;
    const char *entry;
    bool good;
} entries[] = {
    {host_entry, "app.example", true},
    {host_entry, "App_1.example.", true},
    {host_entry, "app.example:8443", true},
    {host_entry, "xn--bcher-kva.example", true},
    {host_entry, "192.0.2.1", true},
    {host_entry, "192.0.2.1:80", true},
    {host_entry, "::1", true},
    {host_entry, "[::1]", true},
    {host_entry, "[::1]:4780", true},
    {host_entry, "1.example", true},
    {host_entry, "", false},
    {host_entry, " ", false},
    {host_entry, ".", false},
    {host_entry, "a..b", false},
    {host_entry, ".a", false},
    {host_entry, "https://app.example", false},
    {host_entry, "app.example/", false},
    {host_entry, "app.example:", true},
    {host_entry, "app.example:0", false},
    {host_entry, "app.example:080", false},
    {host_entry, "app.example:65536", false},
    {host_entry, "app.example:http", false},
    {host_entry, "*.example", false},
    {host_entry, "a b", false},
    {host_entry, "u@a", false},
    {host_entry,
     "b\xc3\xbc"
     "cher.example",
     false},
    {host_entry, "[192.0.2.1]", false},
    {host_entry, "[::1", false},
    {host_entry, "[::g]", false},
    {host_entry, "192.0.2", false},
    {host_entry, "192.0.2.256", false},
    {host_entry, "192.0.2.1.", false},
    {host_entry, "a.1", false},
    {origin_entry, "https://app.example", true},
    {origin_entry, "HTTPS://App.example:8443", true},
    {origin_entry, "http://[::1]:3000", true},
    {origin_entry, "chrome-extension://abcdefghijklmnop", true},
    {origin_entry, "", false},
    {origin_entry, "*", false},
    {origin_entry, "null", false},
    {origin_entry, "app.example", false},
    {origin_entry, "https://", false},
    {origin_entry, "https:app.example", false},
    {origin_entry, "://app.example", false},
    {origin_entry, "1https://app.example", false},
    {origin_entry, "https://app.example/", false},
    {origin_entry, "https://app.example/x", false},
    {origin_entry, "https://app.example?", false},
    {origin_entry, "https://u@app.example", false},
    {origin_entry, "https://app.example:0", false},
    {origin_entry, "https://*.example", false},
    {origin_entry, "https://::1", false},
    {origin_entry, "https://[::1", false},
    {origin_entry, "wss://app.example", false},
    {origin_entry, " https://app.example", false},
    {proxy_entry, "192.0.2.1", true},
    {proxy_entry, "192.0.2.0/24", true},
    {proxy_entry, "192.0.2.1/32", true},
    {proxy_entry, "0.0.0.0/0", true},
    {proxy_entry, "2001:db8::/32", true},
    {proxy_entry, "::/0", true},
    {proxy_entry, "::1/128", true},
    {proxy_entry, "unix", true},
    {proxy_entry, "", false},
    {proxy_entry, "*", false},
    {proxy_entry, "/", false},
    {proxy_entry, "localhost", false},
    {proxy_entry, "unix/1", false},
    {proxy_entry, "192.0.2.1/", false},
    {proxy_entry, "192.0.2.1/33", false},
    {proxy_entry, "192.0.2.1/024", false},
    {proxy_entry, "192.0.2.1/24", false},
    {proxy_entry, "192.0.2.0/-1", false},
    {proxy_entry, "192.0.2.0/24/1", false},
    {proxy_entry, "192.0.2.1:80", false},
    {proxy_entry, "2001:db8::1/129", false},
    {proxy_entry, "2001:db8::1/64", false},
    {proxy_entry, "[::1]", false},
};

START_TEST(an_entry_that_could_never_match_is_refused)
{
    for (size_t i = 0; i < sizeof entries / sizeof entries[0]; i++) {
        struct place p;
        const char *fault = entries[i].read(str_of(entries[i].entry), &p);

        ck_assert_msg(!fault == entries[i].good, "\"%s\": %s", entries[i].entry, fault);
    }
}
END_TEST

static struct name_list list_of(struct place *p, place_read *read, const char *entry)
{
    ck_assert_ptr_null(read(str_of(entry), p));
    return (struct name_list){.places = p, .count = 1};
}

START_TEST(a_host_is_compared_as_what_it_is)
{
    static const struct {
        const char *entry, *host;
        bool listed;
    } rows[] = {
        {"app.example", "APP.Example", true},
        {"app.example", "app.example:99", true},
        {"app.example", "app.example2", false},
        {"app.example", "xapp.example", false},
        {"app.example:8443", "app.example:8443", true},
        {"app.example:8443", "app.example:8444", false},
        {"app.example:8443", "app.example", false},
        {"app.example:443", "app.example", true},
        {"app.example:80", "app.example", true},
        {"app.example:80", "app.example:443", false},
        {"app.example:", "app.example:7", true},
        {"[::1]:80", "[0::1]:80", true},
        {"::1", "[0:0::1]", true},
        {"::1", "[::2]", false},
        {"192.0.2.1", "[::ffff:192.0.2.1]", true},
        {"192.0.2.1", "192.0.2.1:1", true},
    };

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct place p, host;
        struct name_list l = list_of(&p, host_entry, rows[i].entry);

        ck_assert(place_of_host(str_of(rows[i].host), &host));
        ck_assert_msg(host_listed(&l, &host) == rows[i].listed, "%s %s", rows[i].entry,
                      rows[i].host);
    }
}
END_TEST

START_TEST(a_proxy_is_one_by_its_address_or_its_net)
{
    static const struct {
        const char *entry, *address;
        bool listed;
    } rows[] = {
        {"192.0.2.1", "192.0.2.1", true},
        {"192.0.2.1", "192.0.2.10", false},
        {"192.0.2.0/24", "192.0.2.255", true},
        {"192.0.2.0/24", "192.0.3.0", false},
        {"0.0.0.0/0", "198.51.100.1", true},
        {"0.0.0.0/0", "::1", false},
        {"::/0", "198.51.100.1", false},
        {"::/0", "2001:db8::1", true},
        {"2001:DB8::/32", "2001:db8:ffff::", true},
        {"::ffff:192.0.2.0/120", "192.0.2.7", true},
        {"unix", "unix", true},
        {"unix", "127.0.0.1", false},
        {"0.0.0.0/0", "unix", false},
    };

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct place p;
        struct name_list l = list_of(&p, proxy_entry, rows[i].entry);

        ck_assert_msg(proxy_listed(&l, rows[i].address) == rows[i].listed, "%s %s", rows[i].entry,
                      rows[i].address);
    }
}
END_TEST

MAIN("names", an_entry_that_could_never_match_is_refused, a_host_is_compared_as_what_it_is,
     a_proxy_is_one_by_its_address_or_its_net)
