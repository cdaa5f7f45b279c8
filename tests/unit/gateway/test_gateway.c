/* What a gateway is made of: options that it takes and refuses, and whom its connections come from. */
#include "http_rig.h"

#include "support/suite.h"

static const struct {
    alk_gateway_options o;
    int rc;
    const char *err;
} refused[] = {
    {{.decoy = 3}, ALK_EINVAL, "decoy: unknown"},
    {{.decoy = ALK_DECOY_REDIRECT}, ALK_EINVAL, "decoy_target: missing"},
    {{.decoy = ALK_DECOY_STATIC_SITE, .decoy_target = ""}, ALK_EINVAL, "decoy_target: missing"},
    {{.decoy = ALK_DECOY_REDIRECT, .decoy_target = "/a\r\nb: c"},
     ALK_EINVAL,
     "decoy_target: has a control character"},
    {{.decoy = ALK_DECOY_REDIRECT, .decoy_target = "/a\x7f"},
     ALK_EINVAL,
     "decoy_target: has a control character"},
    {{.tenant_header = "Authorization"}, ALK_EINVAL, "tenant_header: that one may hold a token"},
    {{.tenant_header = "Sec-WebSocket-Protocol"},
     ALK_EINVAL,
     "tenant_header: that one may hold a token"},
    {{.health_path = "healthz"}, ALK_EINVAL, "health_path: must begin with '/'"},
    {{.hosts = "{}"}, ALK_EINVAL, "hosts: must be an array"},
    {{.hosts = "[\"a\",5]"}, ALK_EINVAL, "hosts/1: must be a string"},
    {{.hosts = "[12345678901234567890123]"}, ALK_EINVAL, "hosts/0: must be a string"},
    {{.origins = "[[1,2]]"}, ALK_EINVAL, "origins/0: must be a string"},
    {{.trusted_proxies = "[{\"a\":1}]"}, ALK_EINVAL, "trusted_proxies/0: must be a string"},
    {{.trusted_proxies = "[null]"}, ALK_EINVAL, "trusted_proxies/0: must be a string"},
    {{.hosts = "[\"a\""}, ALK_EJSON, "hosts: "},
    {{.hosts = "[\"a\",\"https://b\"]"}, ALK_EINVAL, "hosts/1: must be a host, without scheme"},
    {{.origins = "[\"https://a/\"]"}, ALK_EINVAL, "origins/0: must end behind the host"},
    {{.origins = "[\"*\"]"}, ALK_EINVAL, "origins/0: must be a scheme and a host"},
    {{.trusted_proxies = "[\"proxy.example\"]"}, ALK_EINVAL, "trusted_proxies/0: must be a num"},
};

START_TEST(a_wrong_option_is_refused_by_name)
{
    struct http s;
    alk_gateway *g;

    http_new(&s);
    http_start(&s);
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        alk_gateway_options o = refused[i].o;
        char err[100] = "";

        o.size = sizeof o;
        ck_assert_msg(alk_gateway_new(&g, s.w->d, &o, err, sizeof err) == refused[i].rc, "%zu: %s",
                      i, err);
        ck_assert_ptr_null(g);
        ck_assert_msg(!strncmp(err, refused[i].err, strlen(refused[i].err)), "%zu: %s", i, err);
        ck_assert_int_eq(alk_gateway_new(&g, s.w->d, &o, NULL, 0), refused[i].rc);
        ck_assert_int_eq(alk_gateway_new(&g, s.w->d, &o, err, 0), refused[i].rc);
    }
    http_free(&s);
}
END_TEST

START_TEST(names_are_compared_in_lower_case)
{
    struct http s;

    http_new(&s);
    s.options.hosts = "[\"Api.Example\"]";
    s.options.origins = "[\"https://App.Example\"]";
    s.options.health_path = "/Up";
    http_start(&s);
    ck_assert_int_eq(http_status(http_say(&s, "GET /Up HTTP/1.1\r\nHost: aPI.example\r\n\r\n")),
                     200);
    ck_assert_int_eq(http_status(http_say(&s, "GET /up HTTP/1.1\r\nHost: api.example\r\n\r\n")),
                     404);
    ck_assert_int_eq(http_status(http_say(&s, "GET /Up HTTP/1.1\r\nHost: other.example\r\n\r\n")),
                     421);
    ck_assert_int_eq(
        http_status(http_say(
            &s, "GET /Up HTTP/1.1\r\nHost: api.example\r\nOrigin: https://APP.example\r\n\r\n")),
        200);
    ck_assert_int_eq(
        http_status(http_say(
            &s, "GET /Up HTTP/1.1\r\nHost: api.example\r\nOrigin: https://app.example2\r\n\r\n")),
        403);
    http_free(&s);
}
END_TEST

static int status_of(struct http *s, const char *fields)
{
    char text[400];

    snprintf(text, sizeof text, "GET /healthz HTTP/1.1\r\n%s\r\n", fields);
    return http_status(http_say(s, text));
}

START_TEST(a_page_is_of_the_host_whose_port_is_that_of_its_scheme)
{
    static const struct {
        const char *fields;
        int status;
    } rows[] = {
        {"Host: app.example:443\r\nOrigin: https://app.example\r\n", 200},
        {"Host: app.example\r\nOrigin: https://app.example:443\r\n", 200},
        {"Host: app.example\r\nOrigin: http://app.example\r\n", 200},
        {"Host: APP.example:80\r\nOrigin: HTTP://app.EXAMPLE\r\n", 200},
        {"Host: app.example:80\r\nOrigin: https://app.example\r\n", 403},
        {"Host: app.example:443\r\nOrigin: http://app.example\r\n", 403},
        {"Host: app.example\r\nOrigin: https://app.example:8443\r\n", 403},
        {"Host: app.example:8443\r\nOrigin: https://app.example:8443\r\n", 200},
        {"Host: app.example\r\nOrigin: ftp://app.example\r\n", 403},
        {"Host: [::1]:7\r\nOrigin: http://[0:0:0:0:0:0:0:1]:7\r\n", 200},
        {"Host: app.example\r\nOrigin: https://other.example\r\n", 200},
        {"Host: app.example\r\nOrigin: https://other.example:443\r\n", 200},
        {"Host: app.example\r\nOrigin: http://other.example\r\n", 403},
        {"Host: app.example\r\nOrigin: x-app://other.example\r\n", 200},
        {"Host: app.example\r\nOrigin: x-app://other.example:1\r\n", 403},
    };
    struct http s;

    http_new(&s);
    s.options.hosts = "[\"*\"]";
    s.options.origins = "[\"https://other.example\",\"x-app://OTHER.example\"]";
    http_start(&s);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        ck_assert_msg(status_of(&s, rows[i].fields) == rows[i].status, "%s", rows[i].fields);
    http_free(&s);
}
END_TEST

START_TEST(a_refusal_says_what_was_compared_and_what_adds_it)
{
    static const struct {
        const char *fields, *text;
    } rows[] = {
        {"Host: app.example:8443\r\n",
         "host: app.example:8443 is not served here; \\\"gateway.hosts\\\" adds it"},
        {"Host: localhost\r\nOrigin: https://App.example\r\n",
         "origin: https://App.example is not the host's, nor allowed; \\\"gateway.origins\\\" "
         "adds"},
        {"Host: localhost\r\nOrigin: null\r\n", "origin: not one of a site"},
        {"Host: localhost\r\nOrigin: http://a\r\nOrigin: http://a\r\n", "origin: more than one"},
    };
    struct http s;

    http_new(&s);
    http_start(&s);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char text[400];

        snprintf(text, sizeof text, "GET /healthz HTTP/1.1\r\n%s\r\n", rows[i].fields);
        ck_assert_msg(strstr(http_say(&s, text), rows[i].text) != NULL, "%s", http_got(&s));
    }
    ck_assert_ptr_nonnull(strstr(http_say(&s, "GET /subscribe?operation=a HTTP/1.1\r\n" HOST
                                              "Sec-Fetch-Site: cross-site\r\n\r\n"),
                                 "sec-fetch-site: "));
    http_free(&s);
}
END_TEST

START_TEST(https_in_clear_is_for_trusted_proxies_only)
{
    static const char request[] =
        "GET https://localhost/healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";
    struct http s;

    http_new(&s);
    s.options.trusted_proxies = "[\"192.0.2.0/24\"]";
    http_start(&s);
    ck_assert(http_dial_from(&s, "192.0.2.9", "127.0.0.1"));
    ck_assert_int_eq(http_status(http_say(&s, request)), 200);
    http_hang_up(&s);
    ck_assert(http_dial_from(&s, "192.0.3.9", "127.0.0.1"));
    ck_assert_int_eq(http_status(http_say(&s, request)), 421);
    ck_assert_int_eq(
        http_status(http_say(&s, "GET http://localhost/healthz HTTP/1.1\r\n" HOST "\r\n")), 200);
    http_free(&s);
}
END_TEST

/* An IPv4 client that comes by a socket of both families, or by one of its own, is the same client. */
START_TEST(localhost_is_a_name_where_the_listener_is_local)
{
    static const struct {
        const char *local;
        int status;
    } rows[] = {{"127.0.0.1", 200}, {"::1", 200},       {"::ffff:127.0.0.1", 200},
                {"unix", 200},      {"192.0.2.1", 421}, {"::ffff:192.0.2.1", 421},
                {"", 421}};
    struct http s;

    http_new(&s);
    s.options.hosts = "[]";
    http_start(&s);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        ck_assert(http_dial_from(&s, "192.0.2.9", rows[i].local));
        ck_assert_msg(http_status(http_say(&s, REQUEST("GET /healthz", ""))) == rows[i].status,
                      "%s", rows[i].local);
        http_hang_up(&s);
    }
    http_free(&s);
}
END_TEST

START_TEST(health_says_when_the_node_drains)
{
    struct http s;

    http_new(&s);
    http_start(&s);
    ck_assert_ptr_nonnull(strstr(http_say(&s, REQUEST("GET /healthz", "")), "\r\n\r\nok"));
    ck_assert_int_eq(http_status(http_say(&s, REQUEST("GET /readyz", ""))), 200);
    alk_gateway_set_ready(s.g, 0);
    ck_assert_int_eq(http_status(http_say(&s, REQUEST("GET /readyz", ""))), 503);
    alk_gateway_set_ready(s.g, 1);
    alk_dispatcher_drain(s.w->d);
    ck_assert_ptr_nonnull(strstr(http_say(&s, REQUEST("GET /healthz", "")), "\r\n\r\ndraining"));
    ck_assert_int_eq(http_status(http_say(&s, REQUEST("GET /readyz", ""))), 503);
    http_free(&s);
}
END_TEST

MAIN("gateway", a_wrong_option_is_refused_by_name, names_are_compared_in_lower_case,
     a_page_is_of_the_host_whose_port_is_that_of_its_scheme,
     a_refusal_says_what_was_compared_and_what_adds_it, https_in_clear_is_for_trusted_proxies_only,
     localhost_is_a_name_where_the_listener_is_local, health_says_when_the_node_drains)
