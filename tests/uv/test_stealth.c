/* Stealth: which paths have WebSockets cannot be told by what a credential does there. Whatever is presented, in
 * Authorization or as a subprotocol, the answer is the same to the byte on every path, as many tokens are looked up,
 * and it is a failed authentication on all of them or on none. */
#include "core/dispatcher.h"
#include "support/suite.h"
#include "uv/ws_client.h"

#define OFFER(token) "Sec-WebSocket-Protocol: alknet.call.v1, alknet.bearer." token "\r\n"
#define RIGHT "YWxrX3Rva2VuX29mX3RoZV90ZXN0cw" /* that of the rig */
#define WRONG "YWxrX290aGVy"

static const char *const paths[] = {"/alknet/call", "/alknet/calx", "/", "/call", "/readyz"};

#define PATHS (sizeof paths / sizeof paths[0])

static struct client a;

struct door {
    struct rig *r;
    int lookups;
};

static int by_token(void *ud, const char *token, size_t len, alk_identity **out)
{
    struct door *o = ud;

    o->lookups++;
    return rig_by_token(o->r, token, len, out);
}

static void start(struct door *o, uint32_t failures_per_minute)
{
    static alk_identity_provider p;

    o->r = rig_new();
    o->lookups = 0;
    p = (alk_identity_provider){.size = sizeof(alk_identity_provider),
                                .by_token = by_token,
                                .by_fingerprint = rig_by_fingerprint,
                                .generation = rig_generation,
                                .ud = o};
    o->r->options.identities = &p;
    o->r->gate.stealth = 1;
    o->r->limits.auth_failures_per_minute = failures_per_minute;
    o->r->limits.header_bytes = 65536;
    rig_start(o->r);
}

/* An upgrade there, on a connection of its own, since one remembers what it has looked up. The answer is in text, without
 * its date, and told from others by the numbers of lookups and of failures that it took. */
static int try_at(struct door *o, const char *path, const char *fields, char text[2000])
{
    int lookups = o->lookups, failures = (int)o->r->d->counts.metrics.auth_failures;
    const char *date;

    rig_client(o->r, &a);
    client_send(&a, "GET ");
    client_send(&a, path);
    client_send(&a, " HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " WS_KEY "\r\n");
    client_send(&a, fields);
    client_send(&a, "\r\n");
    if (client_head(&a) == 101) {
        client_close(&a);
        return 101;
    }
    date = strstr(a.head, "Date: ");
    must(date && strstr(a.head, "Content-Length: ") && strlen(a.head) < 1000);
    client_fill(&a, strtoul(client_header(&a, "Content-Length"), NULL, 10), "a body");
    snprintf(text, 2000, "%.*s%s%.900s\nlookups %d, failures %d", (int)(date - a.head), a.head,
             strstr(date, "\r\n"), a.in, o->lookups - lookups,
             (int)o->r->d->counts.metrics.auth_failures - failures);
    client_close(&a);
    return 0;
}

/* The same on every path; what it took is in text. */
static void try_everywhere(struct door *o, const char *fields, char text[2000])
{
    ck_assert_int_ne(try_at(o, paths[0], fields, text), 101);
    for (size_t i = 1; i < PATHS; i++) {
        char other[2000];

        try_at(o, paths[i], fields, other);
        ck_assert_msg(!strcmp(text, other), "%s: %s\n%s: %s\n%s", paths[0], text, paths[i], other,
                      fields);
    }
}

START_TEST(a_credential_does_the_same_on_every_path)
{
    static const struct {
        const char *fields, *took;
    } cases[] = {
        {"", "lookups 1, failures 0"},
        {OFFER(WRONG), "lookups 1, failures 1"},
        {"Authorization: Bearer alk_other\r\n", "lookups 1, failures 1"},
        {"Authorization: Bearer alk_other\r\n" OFFER(WRONG), "lookups 1, failures 1"},
        {"Authorization: Bearer alk_another\r\n" OFFER(WRONG), "lookups 1, failures 1"},
        {"Authorization: Bearer " RIG_TOKEN "\r\n" OFFER(WRONG), "lookups 1, failures 1"},
        {"Authorization: Basic YTpi\r\n", "lookups 1, failures 1"},
        {"Authorization: Basic YTpi\r\n" OFFER(RIGHT), "lookups 1, failures 1"},
        {OFFER("not base64url"), "lookups 1, failures 1"},
        {OFFER("a"), "lookups 1, failures 1"},
        {OFFER(""), "lookups 1, failures 0"},
        {OFFER(WRONG) OFFER(RIGHT), "lookups 1, failures 1"},
        {OFFER(WRONG) OFFER(WRONG), "lookups 1, failures 1"},
        {"Sec-WebSocket-Protocol: alknet.bearer." WRONG "\r\n", "lookups 1, failures 1"},
        {"Sec-WebSocket-Protocol: alknet.call.v1\r\n", "lookups 1, failures 0"},
        {"Sec-WebSocket-Protocol: soap\r\n", "lookups 1, failures 0"},
    };
    struct door o;
    char text[2000];

    start(&o, 0);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        try_everywhere(&o, cases[i].fields, text);
        ck_assert_msg(strstr(text, cases[i].took) != NULL, "%s%s", cases[i].fields, text);
    }
    rig_free(o.r);
}
END_TEST

/* One of 30 KB, and 1,500 in one field. */
START_TEST(a_credential_of_any_size_does_the_same_on_every_path)
{
    static char fields[60000];
    struct door o;
    char text[2000];

    start(&o, 0);
    strcpy(fields, "Sec-WebSocket-Protocol: alknet.call.v1");
    if (_i == 0) {
        strcat(fields, ", alknet.bearer.");
        memset(fields + strlen(fields), 'A', 30000);
    } else {
        for (int i = 0; i < 1500; i++)
            strcat(fields, ", alknet.bearer." WRONG);
    }
    strcat(fields, "\r\n");
    try_everywhere(&o, fields, text);
    ck_assert_ptr_nonnull(strstr(text, "lookups 1, failures 1"));
    rig_free(o.r);
}
END_TEST

/* It counts where it is for an upgrade only; elsewhere its holder is a stranger, and no failure. */
START_TEST(a_right_token_that_is_offered_elsewhere_shows_nothing)
{
    struct door o;
    char nobody[2000], text[2000];

    start(&o, 0);
    try_everywhere(&o, "", nobody);
    ck_assert_int_eq(try_at(&o, "/alknet/call", OFFER(RIGHT), text), 101);
    for (size_t i = 1; i < PATHS; i++) {
        try_at(&o, paths[i], OFFER(RIGHT), text);
        ck_assert_str_eq(text, nobody);
    }
    rig_free(o.r);
}
END_TEST

/* Who has failed too often is refused everywhere, with the same bytes; who has the right token goes in
 * from the same address. */
START_TEST(failures_on_any_path_are_failures_on_all)
{
    struct door o;
    char before[2000], text[2000];

    start(&o, 2);
    try_at(&o, "/", OFFER(WRONG), before);
    try_at(&o, paths[_i], OFFER(WRONG), text);
    ck_assert_str_eq(text, before);
    ck_assert_uint_eq(o.r->d->counts.metrics.auth_failures, 2);
    try_everywhere(&o, OFFER(WRONG), text);
    ck_assert_ptr_nonnull(strstr(text, "lookups 1, failures 1"));
    ck_assert_int_eq(try_at(&o, "/alknet/call", OFFER(RIGHT), text), 101);
    rig_free(o.r);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("stealth");
    TCase *t = tcase_create("stealth");
    SRunner *runner = srunner_create(suite);
    int failed;

    tcase_add_test(t, a_credential_does_the_same_on_every_path);
    tcase_add_loop_test(t, a_credential_of_any_size_does_the_same_on_every_path, 0, 2);
    tcase_add_test(t, a_right_token_that_is_offered_elsewhere_shows_nothing);
    tcase_add_loop_test(t, failures_on_any_path_are_failures_on_all, 0, (int)PATHS);
    suite_add_tcase(suite, t);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
