/* The user at the other end of a Unix-domain socket as who asks: when he counts, and what a token or a change of configuration
 * makes of it. */
#include "http_rig.h"

#include "support/suite.h"

#define WRONG "Authorization: Bearer alk_ffffffffffffffffffffffffffffffff\r\n"
#define WHO REQUEST("GET /who", "")

static int say_who(alk_request *r, void *ud)
{
    const alk_identity *who = alk_request_identity(r);
    const char *id = who ? alk_identity_id(who) : "nobody";

    (void)ud;
    if (alk_response_start(r, 200, NULL, 0) || alk_response_write(r, id, strlen(id)))
        return ALK_ENOMEM;
    return alk_response_end(r);
}

static const uint32_t uid = 1000;

static void users(struct http *s, const char *list)
{
    char hash[65], config[300];

    alk_token_hash(TEXT(TOKEN), hash);
    snprintf(config, sizeof config,
             "{\"keys\":[{\"prefix\":\"alk_0123\",\"hash\":\"%s\"}],\"users\":[%s]}", hash, list);
    ck_assert_int_eq(alk_identities_load(s->ids, TEXT(config), 0, NULL, NULL, 0), ALK_OK);
}

static void start(struct http *s, const char *proxies)
{
    alk_route route = {.size = sizeof route, .method = "GET", .path = "/who", .handler = say_who};

    http_new(s);
    users(s, "{\"uid\":1000}");
    s->options.trusted_proxies = proxies;
    http_start(s);
    ck_assert_int_eq(alk_gateway_add_route(s->g, &route), ALK_OK);
}

#define asks_as(s, request, id)                                                                    \
    ck_assert_msg(strstr(http_say(s, request), "\r\n" id "\r\n") != NULL, "%s", http_got(s))

START_TEST(a_request_without_a_token_is_the_users)
{
    struct http s;

    start(&s, NULL);
    ck_assert(http_dial_as(&s, "unix", "unix", &uid));
    asks_as(&s, WHO, "unix:1000");
    asks_as(&s, WHO, "unix:1000");
    asks_as(&s, REQUEST("GET /who", BEARER), "alk_0123");
    asks_as(&s, WHO, "unix:1000");
    ck_assert_int_eq(http_status(http_say(&s, REQUEST("GET /who", WRONG))), 401);
    http_hang_up(&s);
    ck_assert(http_dial_from(&s, "unix", "unix"));
    asks_as(&s, WHO, "nobody");
    http_free(&s);
}
END_TEST

START_TEST(what_the_user_is_changes_with_the_configuration)
{
    struct http s;

    start(&s, NULL);
    ck_assert(http_dial_as(&s, "unix", "unix", &uid));
    asks_as(&s, WHO, "unix:1000");
    users(&s, "{\"uid\":1001}");
    asks_as(&s, WHO, "nobody");
    asks_as(&s, WHO, "nobody");
    users(&s, "{\"uid\":1000}");
    asks_as(&s, WHO, "unix:1000");
    http_free(&s);
}
END_TEST

START_TEST(a_proxy_lends_nobody_the_rights_of_its_user)
{
    struct http s;

    start(&s, "[\"unix\"]");
    ck_assert(http_dial_as(&s, "unix", "unix", &uid));
    asks_as(&s, WHO, "nobody");
    asks_as(&s, REQUEST("GET /who", BEARER), "alk_0123");
    http_free(&s);
}
END_TEST

static struct served later;

START_TEST(what_runs_for_a_user_who_is_taken_away_ends)
{
    struct http s;

    http_new(&s);
    users(&s, "{\"uid\":1000}");
    world_add(s.w, "t/later", ALK_QUERY, serve_later, &later);
    http_start(&s);
    ck_assert(http_dial_as(&s, "unix", "unix", &uid));
    http_post(&s, "/call", "", "{\"operation\":\"t/later\"}");
    ck_assert_int_eq(later.ends, 0);
    users(&s, "");
    ck_assert_int_eq(http_status(http_got(&s)), 401);
    ck_assert_int_eq(later.ends, 1);
    ck_assert_int_eq(later.why, ALK_END_ABORTED);
    served_free(&later);
    http_free(&s);
}
END_TEST

MAIN("user", a_request_without_a_token_is_the_users,
     what_the_user_is_changes_with_the_configuration, a_proxy_lends_nobody_the_rights_of_its_user,
     what_runs_for_a_user_who_is_taken_away_ends)
