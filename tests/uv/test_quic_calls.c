/* Calls over QUIC from the dialler to the rig's server: on one stream and on a stream each, more of
 * them than there are streams, subscriptions that are paused by themselves, aborts, and the end of
 * either side in the middle of it all. */
#include "core/dispatcher.h"
#include "support/suite.h"
#include "uv/dial_rig.h"

struct scene {
    struct dialled *t;
    alk_tls *server, *client;
    int values, ends, faults;
    char code[32];
};

static alk_tls *tls_of(const struct dialled *t, const char *name, bool client,
                       char fingerprint[ALK_TLS_FINGERPRINT])
{
    char file[120], err[200];
    alk_tls_options o;
    alk_tls *out;

    snprintf(file, sizeof file, "%s/%s.key", t->dir, name);
    ck_assert_msg(!alk_key_new(file, fingerprint, err, sizeof err), "%s", err);
    alk_tls_options_init(&o, sizeof o);
    o.client = client;
    o.raw_key = client ? NULL : file;
    ck_assert_msg(!alk_tls_new(&out, &o, err, sizeof err), "%s", err);
    remove(file);
    return out;
}

/* evict_ms: 0 is the default. */
static struct scene *begin_evicting(uint32_t streams, uint32_t per_call, uint32_t evict_ms)
{
    struct scene *s = calloc(1, sizeof *s);
    char pin[ALK_TLS_FINGERPRINT], other[ALK_TLS_FINGERPRINT];
    struct dialled *t;

    ck_assert_ptr_nonnull(s);
    s->t = t = dialled_new();
    t->r->limits.quic_streams = streams;
    t->r->limits.anonymous_bytes = 16u << 20;
    if (evict_ms)
        t->r->limits.evict_ms = evict_ms;
    s->server = tls_of(t, "server", false, pin);
    s->client = tls_of(t, "client", true, other);
    rig_start_bare(t->r);
    t->r->listen.tls = s->server;
    t->r->listen.quic = 1;
    rig_serve(t->r);
    snprintf(t->url, sizeof t->url, "alknet://127.0.0.1:%d#%s", t->r->port, pin);
    t->o.tls = s->client;
    t->o.stream_per_call = per_call;
    t->o.reconnect = 0;
    dial(t);
    rig_until(t->r, strstr(t->log, "ready"));
    return s;
}

static struct scene *begin(uint32_t streams, uint32_t per_call)
{
    return begin_evicting(streams, per_call, 0);
}

static void end(struct scene *s)
{
    finish(s->t);
    alk_tls_unref(s->server);
    alk_tls_unref(s->client);
    free(s);
}

static void on_value(alk_call *call, const alk_value *value, void *ud)
{
    (void)call;
    (void)value;
    ((struct scene *)ud)->values++;
}

static void on_ended(alk_call *call, int why, const alk_fault *fault, void *ud)
{
    struct scene *s = ud;

    (void)call;
    (void)why;
    s->ends++;
    s->faults += fault != NULL;
    if (fault)
        snprintf(s->code, sizeof s->code, "%s", fault->code);
}

static alk_call *request(struct scene *s, const char *operation, const char *input, uint32_t stream)
{
    alk_call_options o = {.size = sizeof o};
    alk_call *call;

    o.on_event = on_value;
    o.on_end = on_ended;
    o.stream = stream;
    o.ud = s;
    ck_assert_int_eq(alk_connection_call(alk_dialer_connection(s->t->x), operation,
                                         strlen(operation), input, strlen(input), &o, &call),
                     ALK_OK);
    return call;
}

START_TEST(calls_come_back_whichever_stream_they_have)
{
    struct scene *s = begin(1024, (uint32_t)_i);

    for (int i = 0; i < 500; i++)
        alk_call_unref(request(s, "t/echo", "{\"n\":1}", 0));
    rig_until(s->t->r, s->ends == 500);
    ck_assert_int_eq(s->values, 500);
    ck_assert_int_eq(s->faults, 0);
    end(s);
}
END_TEST

/* Those that find no stream share one. */
START_TEST(more_calls_than_streams)
{
    struct scene *s = begin(4, 1);

    for (int round = 1; round <= 5; round++) {
        for (int i = 0; i < 100; i++)
            alk_call_unref(request(s, "t/echo", "{\"n\":1}", 0));
        rig_until(s->t->r, s->ends == 100 * round);
    }
    ck_assert_int_eq(s->values, 500);
    ck_assert_int_eq(s->faults, 0);
    end(s);
}
END_TEST

START_TEST(a_large_call_goes_both_ways)
{
    struct scene *s = begin(1024, (uint32_t)_i);
    size_t n = 3u << 20;
    char *text = malloc(n + 3);

    ck_assert_ptr_nonnull(text);
    memset(text, 'x', n + 2);
    text[0] = text[n + 1] = '"';
    text[n + 2] = 0;
    alk_call_unref(request(s, "t/echo", text, 0));
    rig_until(s->t->r, s->ends == 1);
    ck_assert_int_eq(s->values, 1);
    free(text);
    end(s);
}
END_TEST

/* The flood is held back on its own stream by the windows; calls go on meanwhile. */
START_TEST(a_paused_subscription_holds_back_itself_alone)
{
    struct scene *s = begin(1024, 0);
    struct flood *f = &s->t->r->flood;
    alk_call *flood;
    int values, emitted;

    f->left = 20000;
    f->size = 1000;
    flood = request(s, "t/flood", "{}", 1);
    rig_until(s->t->r, s->values > 0);
    alk_call_pause(flood, 1);
    rig_until(s->t->r, f->refused > 0);
    rig_steps(s->t->r, 100);
    emitted = f->emitted;
    values = s->values;
    ck_assert_int_lt(emitted, 20000);
    rig_steps(s->t->r, 100);
    ck_assert_int_eq(f->emitted, emitted);
    ck_assert_int_eq(s->values, values);
    for (int i = 0; i < 50; i++)
        alk_call_unref(request(s, "t/echo", "{\"n\":1}", 0));
    rig_until(s->t->r, s->ends == 50);
    alk_call_pause(flood, 0);
    rig_until(s->t->r, s->ends == 51);
    ck_assert_int_eq(s->values, 20000 + 50);
    ck_assert_int_eq(f->emitted, 20000);
    ck_assert_int_eq(s->faults, 0);
    alk_call_unref(flood);
    end(s);
}
END_TEST

/* What waits for a window of its own stream alone is no sign of a remote that does not read. */
START_TEST(subscriptions_stay_paused_for_longer_than_a_reader_may_stand_still)
{
    struct scene *s = begin_evicting(1024, 0, 200);
    struct flood *f = &s->t->r->flood;
    alk_call *floods[3];

    f->left = 30000;
    f->size = 1000;
    for (int i = 0; i < 3; i++) {
        floods[i] = request(s, "t/flood", "{}", 1);
        alk_call_pause(floods[i], 1);
    }
    rig_until(s->t->r, f->refused >= 3);
    rig_steps(s->t->r, 1000);
    ck_assert_int_eq(s->ends, 0);
    for (int i = 0; i < 3; i++)
        alk_call_pause(floods[i], 0);
    rig_until(s->t->r, s->ends == 3);
    ck_assert_int_eq(s->values, 30000);
    ck_assert_int_eq(s->faults, 0);
    for (int i = 0; i < 3; i++)
        alk_call_unref(floods[i]);
    end(s);
}
END_TEST

START_TEST(an_abort_reaches_the_handler)
{
    struct scene *s = begin(1024, (uint32_t)_i);
    struct flood *f = &s->t->r->flood;
    alk_call *flood;

    f->left = 1 << 30;
    f->size = 1000;
    flood = request(s, "t/flood", "{}", 1);
    rig_until(s->t->r, s->values > 10);
    alk_call_abort(flood);
    rig_until(s->t->r, f->ends == 1);
    ck_assert_int_eq(f->why, ALK_END_ABORTED);
    alk_call_unref(request(s, "t/echo", "{}", 0));
    rig_until(s->t->r, s->ends >= 1 && s->code[0] == 0);
    alk_call_unref(flood);
    end(s);
}
END_TEST

/* Whoever goes: calls fail, handlers are told, nothing is left. */
START_TEST(either_side_may_go_in_the_middle)
{
    struct scene *s = begin(1024, (uint32_t)(_i & 1));
    struct flood *f = &s->t->r->flood;

    f->left = 1 << 30;
    f->size = 1000;
    alk_call_unref(request(s, "t/flood", "{}", 1));
    rig_until(s->t->r, s->values > 10);
    if (_i & 2)
        alk_connection_close(alk_dialer_connection(s->t->x), ALK_CLOSE_SHUTDOWN);
    else
        alk_dialer_close(s->t->x);
    rig_until(s->t->r, s->ends == 1 && f->ends == 1);
    ck_assert_int_eq(s->faults, 1);
    ck_assert_str_eq(s->code, "INTERNAL");
    ck_assert_int_eq(f->why, ALK_END_CLOSED);
    end(s);
}
END_TEST

START_TEST(the_loop_may_close_in_the_middle)
{
    struct scene *s = begin(1024, (uint32_t)_i);

    s->t->r->flood.left = 1 << 30;
    s->t->r->flood.size = 1000;
    alk_call_unref(request(s, "t/flood", "{}", 1));
    for (int i = 0; i < 100; i++)
        alk_call_unref(request(s, "t/echo", "{}", 0));
    rig_steps(s->t->r, 5);
    end(s);
}
END_TEST

/* The server's drain ends the connection when its last call has ended. */
START_TEST(a_server_that_closes_serves_its_connections_on)
{
    struct scene *s = begin(1024, 0);

    alk_server_close(s->t->r->s);
    for (int i = 0; i < 20; i++)
        alk_call_unref(request(s, "t/echo", "{}", 0));
    rig_until(s->t->r, s->ends == 20);
    ck_assert_int_eq(s->faults, 0);
    end(s);
}
END_TEST

/* ---- many ------------------------------------------------------------------------------------ */

#define SPOKES 100
#define SPREAD_MS 1500u

static uint64_t back_at[SPOKES];
static int there, back;

static void on_spoke(alk_dialer *x, const alk_dial_event *e, void *ud)
{
    int i = (int)(intptr_t)ud;

    (void)x;
    if (e->state != ALK_DIAL_OPEN)
        return;
    if (there++ >= SPOKES) {
        back_at[i] = now_ms();
        back++;
    }
}

static void close_all(struct dialled *t)
{
    list_each_safe(l, &t->r->d->connections)
    {
        alk_connection *c = container_of(l, alk_connection, all);

        if (c->by)
            alk_connection_close(c, ALK_CLOSE_SHUTDOWN);
    }
}

/* A hub that restarts loses all of them at one moment. */
START_TEST(whom_a_hub_loses_come_back_spread_over_the_time)
{
    struct dialled *t = dialled_new();
    alk_dialer *spokes[SPOKES];
    char pin[ALK_TLS_FINGERPRINT], other[ALK_TLS_FINGERPRINT], err[200];
    alk_tls *server = tls_of(t, "server", false, pin), *client = tls_of(t, "client", true, other);
    unsigned parts[5] = {0};
    uint64_t begin;

    there = back = 0;
    rig_start_bare(t->r);
    t->r->listen.tls = server;
    t->r->listen.quic = 1;
    rig_serve(t->r);
    snprintf(t->url, sizeof t->url, "alknet://127.0.0.1:%d#%s", t->r->port, pin);
    t->o.tls = client;
    t->o.spread_ms = SPREAD_MS;
    t->o.on_event = on_spoke;
    t->o.identity = t->r->who; /* by which the test knows its connections */
    t->o.kind = ALK_KIND_KEY;
    t->o.ud_free = NULL;
    for (int i = 0; i < SPOKES; i++) {
        t->o.ud = (void *)(intptr_t)i;
        ck_assert_msg(!alk_dial(&spokes[i], t->r->l, &t->o, err, sizeof err), "%s", err);
    }
    rig_until(t->r, there == SPOKES);
    begin = now_ms();
    close_all(t);
    rig_until(t->r, back == SPOKES);
    for (int i = 0; i < SPOKES; i++) {
        uint64_t after = back_at[i] - begin;

        parts[after * 5 / SPREAD_MS < 5 ? after * 5 / SPREAD_MS : 4]++;
        alk_dialer_close(spokes[i]);
    }
    for (int i = 0; i < 5; i++)
        ck_assert_msg(parts[i] >= 4 && parts[i] <= 50, "part %d: %u", i, parts[i]);
    t->freed = 1;
    finish(t);
    alk_tls_unref(server);
    alk_tls_unref(client);
}
END_TEST

int main(void)
{
    TCase *two = tcase_create("ways"), *four = tcase_create("ends"), *one = tcase_create("one");
    Suite *suite = suite_create("quic_calls");
    SRunner *runner = srunner_create(suite);
    int failed;

    tcase_add_loop_test(two, calls_come_back_whichever_stream_they_have, 0, 2);
    tcase_add_loop_test(two, a_large_call_goes_both_ways, 0, 2);
    tcase_add_loop_test(two, an_abort_reaches_the_handler, 0, 2);
    tcase_add_loop_test(two, the_loop_may_close_in_the_middle, 0, 2);
    tcase_add_loop_test(four, either_side_may_go_in_the_middle, 0, 4);
    tcase_add_test(one, more_calls_than_streams);
    tcase_add_test(one, a_paused_subscription_holds_back_itself_alone);
    tcase_add_test(one, subscriptions_stay_paused_for_longer_than_a_reader_may_stand_still);
    tcase_add_test(one, a_server_that_closes_serves_its_connections_on);
    tcase_add_test(one, whom_a_hub_loses_come_back_spread_over_the_time);
    tcase_set_timeout(two, 60);
    tcase_set_timeout(four, 60);
    tcase_set_timeout(one, 60);
    suite_add_tcase(suite, two);
    suite_add_tcase(suite, four);
    suite_add_tcase(suite, one);
    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
