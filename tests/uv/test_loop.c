/* The life of a loop: it can be closed at every moment, on_closed comes once and last, everything comes back;
 * what is posted runs exactly once. */
#include "support/suite.h"
#include "uv/rig.h"

static struct client a, b;

START_TEST(a_loop_without_a_server_keeps_nothing_alive)
{
    struct rig *r = rig_new();

    rig_start_bare(r);
    ck_assert_int_eq(uv_run(&r->uv, UV_RUN_DEFAULT), 0);
    rig_free(r);
}
END_TEST

START_TEST(a_loop_is_closed_before_it_has_run)
{
    struct rig *r = rig_new();

    rig_start(r);
    rig_close(r);
    ck_assert_int_eq(r->closed, 0);
    rig_free(r);
}
END_TEST

START_TEST(on_closed_may_be_missing)
{
    struct rig *r = rig_new();

    rig_start(r);
    alk_loop_close(r->l, NULL, NULL);
    ck_assert_int_eq(uv_run(&r->uv, UV_RUN_DEFAULT), 0);
    r->closing = true;
    r->closed = 1;
    rig_free(r);
}
END_TEST

START_TEST(closing_ends_idle_connections)
{
    struct rig *r = rig_new();
    struct client many[20];

    rig_start(r);
    for (int i = 0; i < 20; i++) {
        rig_client(r, &many[i]);
        if (i % 2) {
            client_send(&many[i], GET("/healthz"));
            ck_assert_int_eq(client_answer(&many[i]), 200);
        }
    }
    rig_steps(r, 5);
    rig_close(r);
    for (int i = 0; i < 20; i++) {
        client_ended(&many[i]);
        client_close(&many[i]);
    }
    rig_free(r);
}
END_TEST

static const char *const pieces[] = {
    "G",
    "GET /healthz HTTP/1.1\r\nHost: local",
    POST_HEAD("/call", "23") "\r\n",
    POST_HEAD("/call", "23") "\r\n{\"operation\":",
    POST_HEAD("/call", "23") "Expect: 100-continue\r\n\r\n",
    ("POST /call HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
     "Transfer-Encoding: chunked\r\n\r\n5\r\n{\"op"),
};

START_TEST(closing_in_the_middle_of_a_request)
{
    struct rig *r = rig_new();

    rig_start(r);
    rig_client(r, &a);
    client_send(&a, pieces[_i]);
    rig_steps(r, 5);
    rig_close(r);
    client_ended(&a);
    client_close(&a);
    rig_free(r);
}
END_TEST

START_TEST(closing_while_a_handler_waits)
{
    struct rig *r = rig_new();

    rig_start(r);
    rig_client(r, &a);
    client_send(&a, CALL_LATER CALL_ECHO);
    rig_until(r, r->later.starts);
    rig_close(r);
    ck_assert_int_eq(r->later.ends, 1);
    /* Its connection is gone before the dispatcher is. */
    ck_assert_int_eq(r->later.why, ALK_END_ABORTED);
    ck_assert_int_eq(alk_call_reply(r->later.call, TEXT("1")), ALK_EENDED);
    client_ended(&a);
    ck_assert_uint_eq(a.len, 0);
    client_close(&a);
    rig_free(r);
}
END_TEST

START_TEST(a_call_outlives_its_loop_as_an_ended_one)
{
    struct rig *r = rig_new();
    alk_call *call;

    rig_start(r);
    rig_client(r, &a);
    client_send(&a, CALL_LATER);
    rig_until(r, r->later.starts);
    call = alk_call_ref(r->later.call);
    ck_assert_ptr_eq(alk_call_loop(call), &r->uv);
    rig_close(r);
    rig_until(r, r->closed);
    ck_assert_ptr_null(alk_call_loop(call));
    ck_assert_int_eq(alk_call_reply(call, TEXT("1")), ALK_EENDED);
    ck_assert_str_eq(alk_call_operation(call), "t/later");
    alk_call_unref(call);
    client_close(&a);
    rig_free(r);
}
END_TEST

START_TEST(closing_while_an_event_stream_runs)
{
    struct rig *r = rig_new();

    rig_start(r);
    rig_client(r, &a);
    client_send(&a, SUBSCRIBE_STREAM);
    rig_until(r, r->stream.starts);
    served_emit(&r->stream, "1");
    ck_assert_int_eq(client_head(&a), 200);
    client_body_until(&a, "data: 1\n\n");
    served_emit(&r->stream, "2"); /* not yet written */
    rig_close(r);
    ck_assert_int_eq(r->stream.ends, 1);
    client_ended(&a);
    /* Anything but the proper end of the body is loss. */
    ck_assert_ptr_null(strstr(a.in, "0\r\n\r\n"));
    client_close(&a);
    rig_free(r);
}
END_TEST

/* An answer that the client does not read: of one value (0), of a stream (1). */
START_TEST(closing_while_an_answer_waits_in_the_socket)
{
    struct rig *r = rig_new();

    r->flood.left = 1000000;
    rig_start(r);
    rig_narrow_client(r, &a, false);
    client_send(&a,
                _i ? POST_HEAD("/subscribe", "23") "\r\n{\"operation\":\"t/flood\"}"
                   : POST_HEAD("/call", "37") "\r\n{\"operation\":\"t/big\",\"input\":9000000}");
    if (_i)
        rig_until(r, r->flood.refused);
    rig_steps(r, 20);
    rig_close(r);
    rig_until(r, r->closed);
    if (_i)
        ck_assert_int_eq(r->flood.ends, 1);
    client_ended(&a);
    client_close(&a);
    rig_free(r);
}
END_TEST

START_TEST(closing_while_a_file_is_read)
{
    struct rig *r = rig_new();
    char dir[] = "/tmp/alknet-uv-XXXXXX", path[64];
    FILE *f;

    ck_assert_ptr_nonnull(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/page.html", dir);
    ck_assert_ptr_nonnull(f = fopen(path, "w"));
    for (int i = 0; i < 200000; i++)
        fputs("<p>a line of it</p>\n", f);
    fclose(f);
    r->gate.decoy = ALK_DECOY_STATIC_SITE;
    r->gate.decoy_target = dir;
    rig_start(r);
    for (int i = 0; i < 8; i++) {
        rig_client(r, i % 2 ? &b : &a);
        client_send(i % 2 ? &b : &a, GET("/page.html"));
        if (i == 7)
            break;
        for (int k = 0; k < i; k++)
            uv_run(&r->uv, UV_RUN_NOWAIT);
        client_close(i % 2 ? &b : &a);
    }
    for (int k = 0; k < _i; k++)
        uv_run(&r->uv, UV_RUN_NOWAIT);
    rig_close(r);
    rig_until(r, r->closed);
    client_close(&b);
    unlink(path);
    rmdir(dir);
    rig_free(r);
}
END_TEST

/* ---- closing from within ----------------------------------------------------------------------- */

static int close_by_post(alk_call *call, void *ud)
{
    struct rig *r = ud;

    must(!alk_loop_post(r->l, rig_close, r));
    return alk_call_reply(call, TEXT("true"));
}

START_TEST(a_handler_closes_by_posting)
{
    struct rig *r = rig_new();

    rig_add(r, "t/stop", ALK_MUTATION, close_by_post, r, NULL);
    rig_start(r);
    rig_client(r, &a);
    client_send(&a, CALL_LATER);
    rig_until(r, r->later.starts);
    rig_client(r, &b);
    client_send(&b, POST_HEAD("/call", "22") "\r\n{\"operation\":\"t/stop\"}");
    rig_until(r, r->closed);
    ck_assert_int_eq(r->later.ends, 1);
    client_ended(&a);
    client_ended(&b);
    client_close(&a);
    client_close(&b);
    rig_free(r);
}
END_TEST

static void close_from_async(uv_async_t *async)
{
    rig_close(async->data);
    uv_close((uv_handle_t *)async, NULL);
}

START_TEST(an_async_of_the_application_closes)
{
    struct rig *r = rig_new();
    uv_async_t async;

    rig_start(r);
    rig_client(r, &a);
    client_send(&a, CALL_LATER);
    rig_until(r, r->later.starts);
    uv_async_init(&r->uv, &async, close_from_async);
    async.data = r;
    uv_async_send(&async);
    rig_until(r, r->closed);
    ck_assert_int_eq(r->later.ends, 1);
    client_close(&a);
    rig_free(r);
}
END_TEST

/* ---- answers from elsewhere on the loop -------------------------------------------------------- */

struct later_by_timer {
    uv_timer_t timer;
    alk_call *call;
    int closed;
};

static void timer_gone(uv_handle_t *h)
{
    struct later_by_timer *t = h->data;

    t->closed++;
}

static void timer_fires(uv_timer_t *timer)
{
    struct later_by_timer *t = timer->data;

    must(!alk_call_reply(t->call, TEXT("\"from a timer\"")));
}

static void timer_call_ends(alk_call *call, int why, const alk_fault *fault, void *ud)
{
    struct later_by_timer *t = ud;

    (void)why;
    (void)fault;
    uv_close((uv_handle_t *)&t->timer, timer_gone);
    alk_call_unref(call);
}

static int serve_by_timer(alk_call *call, void *ud)
{
    struct later_by_timer *t = ud;
    size_t len;

    uv_timer_init(alk_call_loop(call), &t->timer);
    t->timer.data = t;
    t->call = alk_call_ref(call);
    must(!alk_call_on_end(call, timer_call_ends, t));
    return uv_timer_start(&t->timer, timer_fires,
                          strtoul(alk_value_text(alk_call_input(call), &len), NULL, 10), 0);
}

#define CALL_TIMER(ms) POST_HEAD("/call", "34") "\r\n{\"operation\":\"t/timer\",\"input\":" ms "}"

static void ask_timer(struct rig *r)
{
    client_open(&a, NULL, r->port);
    client_send(&a, CALL_TIMER("10"));
    ck_assert_int_eq(client_answer(&a), 200);
    ck_assert_ptr_nonnull(strstr(a.body, "\"output\":\"from a timer\"}"));
    client_close(&a);
}

START_TEST(a_handler_answers_from_a_timer)
{
    struct rig *r = rig_new();
    struct later_by_timer t = {.closed = 0};

    rig_add(r, "t/timer", ALK_QUERY, serve_by_timer, &t, NULL);
    rig_start(r);
    rig_script(r, ask_timer);
    ck_assert_int_eq(t.closed, 1);
    rig_free(r);
}
END_TEST

START_TEST(closing_stops_the_timer_of_a_handler)
{
    struct rig *r = rig_new();
    struct later_by_timer t = {.closed = 0};

    rig_add(r, "t/timer", ALK_QUERY, serve_by_timer, &t, NULL);
    rig_start(r);
    rig_client(r, &a);
    client_send(&a, POST_HEAD("/call", "37") "\r\n{\"operation\":\"t/timer\",\"input\":60000}");
    rig_until(r, t.call);
    rig_close(r);
    rig_until(r, r->closed && t.closed);
    client_close(&a);
    rig_free(r);
}
END_TEST

static void ask_with_deadline(struct rig *r)
{
    uint64_t since = now_ms(), took;

    client_open(&a, NULL, r->port);
    client_send(&a,
                POST_HEAD("/call", "23") "X-Timeout-Ms: 150\r\n\r\n{\"operation\":\"t/later\"}");
    ck_assert_int_eq(client_answer(&a), 504);
    took = now_ms() - since;
    ck_assert_uint_ge(took, 149);
    ck_assert_uint_lt(took, 5000);
    ck_assert_ptr_nonnull(strstr(a.body, "\"TIMEOUT\""));
    client_close(&a);
}

START_TEST(a_deadline_fires_on_an_idle_loop)
{
    struct rig *r = rig_new();

    rig_start(r);
    rig_script(r, ask_with_deadline);
    ck_assert_int_eq(r->later.why, ALK_END_TIMEOUT);
    rig_free(r);
}
END_TEST

/* ---- posting ----------------------------------------------------------------------------------- */

#define POSTERS 4

struct poster {
    struct rig *r;
    pthread_t thread;
    long accepted;  /* by alk_loop_post */
    long ran, last; /* written by the loop's thread */
    bool out_of_order;
    atomic_bool refused;
};

struct letter {
    struct poster *from;
    long number;
};

static void read_letter(void *ud)
{
    struct letter *l = ud;

    l->from->out_of_order |= l->number <= l->from->last;
    l->from->last = l->number;
    l->from->ran++;
    free(l);
}

static void *post_on(void *ud)
{
    struct poster *p = ud;

    for (;;) {
        struct letter *l = malloc(sizeof *l);

        *l = (struct letter){p, p->accepted + 1};
        if (alk_loop_post(p->r->l, read_letter, l)) {
            free(l);
            atomic_store(&p->refused, true);
            return NULL;
        }
        p->accepted++;
        /* A loop that is posted to without pause never gets to anything else. */
        if (p->accepted % 64 == 0)
            usleep(100);
    }
}

START_TEST(what_is_posted_while_closing_runs_once_or_is_refused)
{
    struct rig *r = rig_new();
    struct poster posters[POSTERS];

    rig_start(r);
    memset(posters, 0, sizeof posters);
    for (int i = 0; i < POSTERS; i++) {
        posters[i].r = r;
        ck_assert_int_eq(pthread_create(&posters[i].thread, NULL, post_on, &posters[i]), 0);
    }
    rig_until(r, posters[0].ran > 500 && posters[POSTERS - 1].ran > 500);
    rig_close(r);
    /* The loop's own memory lives until on_closed, which needs the loop to run on. */
    for (int i = 0; i < POSTERS; i++)
        ck_assert_int_eq(pthread_join(posters[i].thread, NULL), 0);
    for (int i = 0; i < POSTERS; i++) {
        ck_assert(atomic_load(&posters[i].refused));
        ck_assert_int_eq(posters[i].ran, posters[i].accepted);
        ck_assert(!posters[i].out_of_order);
    }
    ck_assert_int_eq(alk_loop_post(r->l, read_letter, NULL), ALK_ECLOSED);
    rig_free(r);
}
END_TEST

static int steps;

static void post_again(void *ud)
{
    struct rig *r = ud;

    if (++steps < 1000)
        must(!alk_loop_post(r->l, post_again, r));
}

START_TEST(a_posted_function_that_posts_itself_starves_nobody)
{
    struct rig *r = rig_new();

    rig_start(r);
    steps = 0;
    ck_assert_int_eq(alk_loop_post(r->l, post_again, r), ALK_OK);
    rig_client(r, &a);
    client_send(&a, CALL_ECHO);
    ck_assert_int_eq(client_answer(&a), 200);
    ck_assert_int_lt(steps, 1000);
    rig_until(r, steps == 1000);
    client_close(&a);
    rig_free(r);
}
END_TEST

static void take_note(void *ud)
{
    int *note = ud;

    *note = ++steps;
}

START_TEST(what_was_posted_behind_a_close_still_runs_in_order)
{
    struct rig *r = rig_new();
    int before = 0, behind = 0;

    rig_start(r);
    steps = 0;
    ck_assert_int_eq(alk_loop_post(r->l, take_note, &before), ALK_OK);
    ck_assert_int_eq(alk_loop_post(r->l, rig_close, r), ALK_OK);
    ck_assert_int_eq(alk_loop_post(r->l, take_note, &behind), ALK_OK);
    rig_until(r, r->closed);
    ck_assert_int_eq(before, 1);
    ck_assert_int_eq(behind, 2);
    rig_free(r);
}
END_TEST

static void reply_later(struct rig *r)
{
    served_reply(&r->later, "\"posted\"");
}

static void ask_and_post(struct rig *r)
{
    client_open(&a, NULL, r->port);
    client_send(&a, CALL_LATER);
    client_nothing(&a, 50);
    rig_do(r, reply_later);
    ck_assert_int_eq(client_answer(&a), 200);
    ck_assert_ptr_nonnull(strstr(a.body, "\"output\":\"posted\"}"));
    client_close(&a);
}

START_TEST(an_answer_that_is_posted_leaves_at_once)
{
    struct rig *r = rig_new();

    rig_start(r);
    rig_script(r, ask_and_post);
    rig_free(r);
}
END_TEST

/* ---- memory ------------------------------------------------------------------------------------ */

START_TEST(a_listener_survives_a_shortage_of_memory)
{
    struct rig *r = rig_new();
    struct client refused[4];

    rig_start(r);
    rig_steps(r, 2);
    for (int i = 0; i < 4; i++)
        rig_client(r, &refused[i]);
    atomic_store(&r->starve, true);
    rig_steps(r, 20);
    atomic_store(&r->starve, false);
    rig_client(r, &a);
    client_send(&a, CALL_ECHO);
    ck_assert_int_eq(client_answer(&a), 200);
    for (int i = 0; i < 4; i++)
        client_close(&refused[i]);
    client_close(&a);
    rig_free(r);
}
END_TEST

START_TEST(a_shortage_of_memory_costs_a_connection_at_most)
{
    struct rig *r = rig_new();

    rig_start(r);
    rig_client(r, &a);
    rig_steps(r, 2);
    atomic_store(&r->starve, true);
    client_send(&a, CALL_ECHO);
    rig_steps(r, 20);
    atomic_store(&r->starve, false);
    rig_client(r, &b);
    client_send(&b, CALL_ECHO);
    ck_assert_int_eq(client_answer(&b), 200);
    client_close(&a);
    client_close(&b);
    rig_free(r);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("loop");
    TCase *t = tcase_create("loop");
    SRunner *runner = srunner_create(suite);
    int failed;

    tcase_add_test(t, a_loop_without_a_server_keeps_nothing_alive);
    tcase_add_test(t, a_loop_is_closed_before_it_has_run);
    tcase_add_test(t, on_closed_may_be_missing);
    tcase_add_test(t, closing_ends_idle_connections);
    tcase_add_loop_test(t, closing_in_the_middle_of_a_request, 0, sizeof pieces / sizeof pieces[0]);
    tcase_add_test(t, closing_while_a_handler_waits);
    tcase_add_test(t, a_call_outlives_its_loop_as_an_ended_one);
    tcase_add_test(t, closing_while_an_event_stream_runs);
    tcase_add_loop_test(t, closing_while_an_answer_waits_in_the_socket, 0, 2);
    tcase_add_loop_test(t, closing_while_a_file_is_read, 0, 12);
    tcase_add_test(t, a_handler_closes_by_posting);
    tcase_add_test(t, an_async_of_the_application_closes);
    tcase_add_test(t, a_handler_answers_from_a_timer);
    tcase_add_test(t, closing_stops_the_timer_of_a_handler);
    tcase_add_test(t, a_deadline_fires_on_an_idle_loop);
    tcase_add_test(t, what_is_posted_while_closing_runs_once_or_is_refused);
    tcase_add_test(t, a_posted_function_that_posts_itself_starves_nobody);
    tcase_add_test(t, what_was_posted_behind_a_close_still_runs_in_order);
    tcase_add_test(t, an_answer_that_is_posted_leaves_at_once);
    tcase_add_test(t, a_listener_survives_a_shortage_of_memory);
    tcase_add_test(t, a_shortage_of_memory_costs_a_connection_at_most);
    suite_add_tcase(suite, t);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
