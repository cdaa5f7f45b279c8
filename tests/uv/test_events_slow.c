/* Event gateways: clients that do not read, and clients that say nothing. */
#include "support/suite.h"
#include "uv/events_rig.h"

static struct client a, b, c;

static void send_number(struct feed *f, int n, size_t size)
{
    char *text = malloc(size + 40);
    int head;

    must(text);
    head = sprintf(text, "[%d,\"", n);
    memset(text + head, 'x', size);
    strcpy(text + head + size, "\"]");
    must(!alk_events_send_all(f->ev, TEXT("n"), TEXT(text), NULL));
    free(text);
}

static void expect_number(struct client *who, int n)
{
    char head[40];

    snprintf(head, sizeof head, "{\"event\":\"n\",\"data\":[%d,", n);
    must(wsc_next(who) == WSC_TEXT);
    must(!strncmp(who->body, head, strlen(head)));
}

static void narrow_connect(struct feed *f, struct client *who)
{
    rig_narrow_client(f->r, who, false);
    client_send(who, CONNECT);
    ck_assert_int_eq(client_head(who), 101);
}

/* ---- slow readers ------------------------------------------------------------------------------ */

#define QUEUE 4000000
#define SIZE 50000
#define KERNEL 1000000 /* more than it takes of a narrow client */

START_TEST(one_that_does_not_read_is_evicted_and_the_others_get_everything)
{
    struct feed *f = feed_new();
    int n = 0;

    f->o.queue_bytes = QUEUE;
    feed_serve(f);
    feed_connect(f, &a, CONNECT);
    narrow_connect(f, &b);
    feed_connect(f, &c, CONNECT);
    client_reset(&c); /* dead, and nobody has noticed yet */
    while (!strstr(f->said, "2 disconnect 1013\n")) {
        must(n * SIZE < QUEUE + KERNEL);
        send_number(f, n, SIZE);
        expect_number(&a, n++);
    }
    ck_assert_int_gt(n, QUEUE / SIZE);
    for (int i = 0; i < 10; i++) {
        send_number(f, n, SIZE);
        expect_number(&a, n++);
    }
    ck_assert_int_eq(f->disconnects, 2);
    ck_assert_uint_eq(alk_events_count(f->ev), 1);
    ck_assert_uint_eq(f->r->d->counts.metrics.ws_evictions, 1);
    ck_assert_str_eq(f->log, "client.evicted - -\n");
    client_close(&a);
    client_close(&b);
    feed_free(f);
}
END_TEST

START_TEST(an_evicted_client_that_reads_after_all_sees_why)
{
    struct feed *f = feed_new();
    int n = 0, opcode;

    f->o.queue_bytes = 1000;
    feed_serve(f);
    narrow_connect(f, &b);
    while (!f->disconnects && n < 3000) {
        send_number(f, n++, 10000);
        rig_steps(f->r, 1);
    }
    ck_assert_str_eq(f->said, "1 connect\n1 disconnect 1013\n");
    while ((opcode = wsc_next(&b)) == WSC_TEXT)
        n--;
    ck_assert_int_eq(opcode, WSC_CLOSE);
    ck_assert_int_eq((uint8_t)b.body[0] << 8 | (uint8_t)b.body[1], 1013);
    ck_assert_int_eq(n, 1); /* the one that was too much */
    client_close(&b);
    feed_free(f);
}
END_TEST

START_TEST(one_message_always_fits)
{
    struct feed *f = feed_new();

    f->o.queue_bytes = 1;
    feed_serve(f);
    narrow_connect(f, &a);
    for (int n = 0; n < 3; n++) {
        send_number(f, n, 3000000);
        rig_steps(f->r, 5);
        expect_number(&a, n);
        ck_assert_uint_eq(a.body_len, 3000000 + strlen(EVENT("n", "[0,\"\"]")));
    }
    client_close(&a);
    feed_free(f);
}
END_TEST

/* What is sent at once to one that reads is no reason (0), up to a point (1). */
START_TEST(the_loop_gets_the_time_to_write_what_is_sent_at_once)
{
    struct feed *f = feed_new();
    int n = _i ? 100 : 60;

    f->o.queue_bytes = 10000;
    feed_serve(f);
    feed_connect(f, &a, CONNECT);
    for (int i = 0; i < n; i++)
        send_number(f, i, 1000);
    for (int i = 0; i < 60; i++)
        expect_number(&a, i);
    rig_steps(f->r, 10);
    ck_assert_int_eq(f->disconnects, _i);
    ck_assert_uint_eq(f->r->d->counts.metrics.ws_evictions, _i);
    client_close(&a);
    feed_free(f);
}
END_TEST

START_TEST(one_that_takes_nothing_for_too_long_is_evicted)
{
    struct feed *f = feed_new();

    f->r->limits.queue_high = 1000;
    f->r->limits.evict_ms = 60;
    feed_serve(f);
    feed_connect(f, &a, CONNECT);
    narrow_connect(f, &b);
    send_number(f, 0, 900000);
    send_number(f, 1, 900000);
    send_number(f, 2, 900000);
    send_number(f, 3, 900000);
    for (int i = 0; i < 4; i++)
        expect_number(&a, i);
    feed_until(f, 2, "disconnect 1013");
    ck_assert_int_eq(f->disconnects, 1);
    ck_assert_uint_eq(f->r->d->counts.metrics.ws_evictions, 1);
    client_close(&a);
    client_close(&b);
    feed_free(f);
}
END_TEST

/* ---- time -------------------------------------------------------------------------------------- */

START_TEST(a_silent_client_is_closed_and_a_touched_one_is_not)
{
    struct feed *f = feed_new();
    uint64_t since;

    f->r->limits.ping_ms = 0;
    f->r->limits.idle_ms = 150;
    feed_serve(f);
    feed_connect(f, &a, CONNECT);
    feed_connect(f, &b, CONNECT);
    since = now_ms();
    while (now_ms() < since + 500) {
        ck_assert_int_eq(alk_client_touch(f->clients[2]), ALK_OK);
        rig_steps(f->r, 10);
    }
    ck_assert_str_eq(f->said, "1 connect\n2 connect\n1 disconnect 1001\n");
    ck_assert_int_eq(wsc_closed(&a), 1001);
    feed_until(f, 2, "disconnect 1001");
    client_close(&a);
    client_close(&b);
    feed_free(f);
}
END_TEST

START_TEST(pings_keep_a_client_that_answers)
{
    struct feed *f = feed_new();

    f->r->limits.ping_ms = 40;
    f->r->limits.idle_ms = 150;
    feed_serve(f);
    feed_connect(f, &a, CONNECT);
    for (int i = 0; i < 8; i++) {
        ck_assert_int_eq(wsc_next(&a), WSC_PING);
        wsc_frame(&a, 0x80 | WSC_PONG, "", 0);
    }
    ck_assert_int_eq(f->disconnects, 0);
    while (!f->disconnects)
        rig_steps(f->r, 5);
    ck_assert_str_eq(f->said, "1 connect\n1 disconnect 1001\n");
    client_close(&a);
    feed_free(f);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("events_slow");
    TCase *t = tcase_create("events_slow");
    SRunner *runner = srunner_create(suite);
    int failed;

    tcase_add_test(t, one_that_does_not_read_is_evicted_and_the_others_get_everything);
    tcase_add_test(t, an_evicted_client_that_reads_after_all_sees_why);
    tcase_add_test(t, one_message_always_fits);
    tcase_add_loop_test(t, the_loop_gets_the_time_to_write_what_is_sent_at_once, 0, 2);
    tcase_add_test(t, one_that_takes_nothing_for_too_long_is_evicted);
    tcase_add_test(t, a_silent_client_is_closed_and_a_touched_one_is_not);
    tcase_add_test(t, pings_keep_a_client_that_answers);
    suite_add_tcase(suite, t);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
