/* Dialling out while the loop stops, and answers that are not simply the upgrade. A listener of the test's own takes the
 * place of the other side; the rig's server keeps a call running, so that the stop takes as long as the test wants. */
#include "core/dispatcher.h"
#include "support/suite.h"
#include "uv/conn.h"
#include "uv/rig.h"
#include "wire/ws_handshake.h"

#include <netinet/in.h>

struct dialled {
    struct rig *r;
    alk_dialer *x;
    alk_dial_options o;
    char log[400], message[200];
    int fd, port; /* a listener: nobody dials it but the dialer */
    int failures, freed, code;
    uint64_t retry_ms;
    struct client a,
        far; /* a: of the rig's server; far: what the dialer has opened to the listener */
};

static void on_dial(alk_dialer *x, const alk_dial_event *e, void *ud)
{
    static const char *const names[] = {"", "open ", "ready ", "lost ", "failed "};
    struct dialled *t = ud;

    (void)x;
    strcat(t->log, names[e->state]);
    t->failures += e->state == ALK_DIAL_FAILED;
    t->code = e->code;
    t->retry_ms = e->retry_ms;
    snprintf(t->message, sizeof t->message, "%s", e->message ? e->message : "");
}

static void on_free(void *ud)
{
    ((struct dialled *)ud)->freed++;
}

static int serve_noted(alk_call *call, void *ud)
{
    strcat(((struct dialled *)ud)->log, "call ");
    return alk_call_reply(call, "1", 1);
}

static struct dialled *prepare(bool listening)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    struct dialled *t = calloc(1, sizeof *t);
    socklen_t n = sizeof at;

    must(t);
    t->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(bind(t->fd, (struct sockaddr *)&at, sizeof at), 0);
    ck_assert_int_eq(getsockname(t->fd, (struct sockaddr *)&at, &n), 0);
    t->port = ntohs(at.sin_port);
    if (listening)
        ck_assert_int_eq(listen(t->fd, 8), 0);
    t->r = rig_new();
    t->r->limits.close_ms = 2000;
    rig_add(t->r, "t/noted", ALK_QUERY, serve_noted, t, NULL);
    alk_dial_options_init(&t->o, sizeof t->o);
    t->o.retry_min_ms = t->o.retry_max_ms = 100;
    t->o.on_event = on_dial;
    t->o.ud_free = on_free;
    t->o.ud = t;
    return t;
}

static struct dialled *start(bool listening)
{
    struct dialled *t = prepare(listening);

    rig_start(t->r);
    return t;
}

static void dial(struct dialled *t)
{
    char url[64], err[200];

    snprintf(url, sizeof url, "ws://127.0.0.1:%d", t->port);
    t->o.url = url;
    ck_assert_msg(!alk_dial(&t->x, t->r->l, &t->o, err, sizeof err), "%s", err);
}

static void finish(struct dialled *t)
{
    if (t->fd >= 0)
        close(t->fd);
    if (t->far.in)
        client_close(&t->far);
    rig_free(t->r);
    ck_assert_int_eq(t->freed, 1);
    free(t);
}

static void keep_a_call_running(struct dialled *t)
{
    rig_client(t->r, &t->a);
    client_send(&t->a, CALL_LATER);
    rig_until(t->r, t->r->later.call);
}

static void end_that_call(struct dialled *t)
{
    must(!alk_call_reply(t->r->later.call, "1", 1));
    ck_assert_int_eq(client_answer(&t->a), 200);
    client_close(&t->a);
}

/* ---- the listener's side ----------------------------------------------------------------------- */

static bool accepted(struct dialled *t)
{
    int fd = accept(t->fd, NULL, NULL);

    if (fd < 0)
        return false;
    client_init(&t->far, &t->r->uv, AF_INET);
    close(t->far.fd);
    t->far.fd = fd;
    return true;
}

/* The dialer's request has come; it is answered so: before, an upgrade (unless NULL), behind it. */
static void answer(struct dialled *t, const char *before, const char *upgrade, const char *behind)
{
    char key[WS_ACCEPT_SIZE + 1] = "", text[2000];

    rig_until(t->r, t->far.in || accepted(t));
    client_until(&t->far, "\r\n\r\n");
    ck_assert_ptr_nonnull(strstr(t->far.in, "Sec-WebSocket-Key: "));
    ws_accept(strstr(t->far.in, "Sec-WebSocket-Key: ") + 19, key);
    client_drop(&t->far, t->far.len);
    snprintf(text, sizeof text, upgrade ? upgrade : "%.0s", key);
    client_send(&t->far, before);
    client_send(&t->far, text);
    client_send(&t->far, behind);
}

#define UPGRADE                                                                                    \
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"            \
    "Sec-WebSocket-Accept: %s\r\n\r\n"

/* The code of the next frame, which is a close and masked. */
static int closed_with(struct client *c)
{
    const uint8_t *f;

    client_fill(c, 8, "a close frame");
    f = (const uint8_t *)c->in;
    ck_assert_uint_eq(f[0], 0x88);
    ck_assert_uint_ge(f[1], 0x82);
    return (f[6] ^ f[2]) << 8 | (f[7] ^ f[3]);
}

/* ---- while the loop drains --------------------------------------------------------------------- */

START_TEST(one_that_waits_does_not_dial_while_the_loop_drains)
{
    struct dialled *t = start(false);

    dial(t);
    rig_until(t->r, t->failures == 1);
    ck_assert_uint_le(t->retry_ms, 100);
    keep_a_call_running(t);
    alk_loop_drain(t->r->l, rig_on_drained, t->r);
    rig_until(t->r, t->r->d->draining);
    ck_assert_int_eq(listen(t->fd, 8), 0); /* it would succeed by now */
    rig_steps(t->r, 250);
    ck_assert(!accepted(t));
    ck_assert_int_eq(t->failures, 1); /* it has not tried */
    ck_assert_int_eq(t->r->drained, 0);
    end_that_call(t);
    rig_until(t->r, t->r->drained);
    rig_steps(t->r, 150);
    ck_assert(!accepted(t));
    finish(t);
}
END_TEST

static void occupy(uv_work_t *w)
{
    uv_sem_wait(w->data);
}

static void freed_again(uv_work_t *w, int status)
{
    (void)status;
    w->data = NULL;
}

/* What resolves names is busy until the loop drains. */
START_TEST(a_name_that_is_resolved_while_the_loop_drains_is_not_dialled)
{
    uv_work_t busy[4];
    uv_sem_t busy_until;
    struct dialled *t;

    setenv("UV_THREADPOOL_SIZE", "4", 1);
    t = start(true);
    uv_sem_init(&busy_until, 0);
    for (int i = 0; i < 4; i++) {
        busy[i].data = &busy_until;
        ck_assert_int_eq(uv_queue_work(&t->r->uv, &busy[i], occupy, freed_again), 0);
    }
    dial(t);
    rig_until(t->r, t->r->l->open_connects == 1);
    keep_a_call_running(t);
    alk_loop_drain(t->r->l, rig_on_drained, t->r);
    rig_until(t->r, t->r->d->draining);
    ck_assert_int_eq(t->r->l->open_connects, 1);
    for (int i = 0; i < 4; i++)
        uv_sem_post(&busy_until);
    rig_until(t->r, !busy[0].data && !busy[1].data && !busy[2].data && !busy[3].data);
    rig_until(t->r, t->failures == 1);
    rig_steps(t->r, 20);
    ck_assert(!accepted(t));
    ck_assert_uint_eq(t->retry_ms, UINT64_MAX);
    end_that_call(t);
    rig_until(t->r, t->r->drained);
    finish(t);
    uv_sem_destroy(&busy_until);
}
END_TEST

/* The listener's queue is full: what comes now is neither accepted nor refused. */
static void fill_queue(const struct dialled *t, int fds[8])
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)t->port)};

    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    ck_assert_int_eq(listen(t->fd, 0), 0);
    for (int i = 0; i < 8; i++) {
        fds[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        (void)!connect(fds[i], (struct sockaddr *)&at, sizeof at);
    }
}

START_TEST(one_that_connects_does_not_hold_the_drain_up)
{
    struct dialled *t = start(false);
    int fds[8];

    fill_queue(t, fds);
    t->o.connect_timeout_ms = 60000;
    dial(t);
    rig_until(t->r, !list_empty(&t->r->l->conns)); /* under way */
    keep_a_call_running(t);
    alk_loop_drain(t->r->l, rig_on_drained, t->r);
    rig_until(t->r, t->failures == 1);
    ck_assert_uint_eq(t->retry_ms, UINT64_MAX);
    end_that_call(t);
    rig_until(t->r, t->r->drained);
    for (int i = 0; i < 8; i++)
        close(fds[i]);
    finish(t);
}
END_TEST

/* It has no answer yet. */
START_TEST(one_that_upgrades_does_not_hold_the_drain_up)
{
    struct dialled *t = start(true);

    t->o.connect_timeout_ms = 60000;
    dial(t);
    rig_until(t->r, accepted(t));
    client_until(&t->far, "\r\n\r\n");
    alk_loop_drain(t->r->l, rig_on_drained, t->r);
    rig_until(t->r, t->r->drained);
    client_drop(&t->far, t->far.len);
    client_ended(&t->far);
    ck_assert_str_eq(t->log, "failed ");
    finish(t);
}
END_TEST

/* ---- how it ends ------------------------------------------------------------------------------- */

/* alk_dialer_close says 1000, a graceful stop says 1001. */
START_TEST(the_close_code_says_why)
{
    struct dialled *t = start(true);

    dial(t);
    answer(t, "", UPGRADE, "");
    rig_until(t->r, strstr(t->log, "open "));
    if (_i)
        alk_loop_drain(t->r->l, rig_on_drained, t->r);
    else
        alk_dialer_close(t->x);
    ck_assert_int_eq(closed_with(&t->far), _i ? 1001 : 1000);
    client_send_bytes(&t->far, _i ? "\x88\x02\x03\xe9" : "\x88\x02\x03\xe8", 4);
    client_close(&t->far);
    if (_i)
        rig_until(t->r, t->r->drained);
    else
        rig_until(t->r, t->freed);
    ck_assert_int_eq(t->code, _i ? 1001 : 0); /* who closed it is not told */
    finish(t);
}
END_TEST

/* Its peer at the moment; generation 1: none. */
static uint64_t generation;

static int by_peer(void *ud, const char *id, size_t len, alk_identity **out)
{
    (void)ud, (void)id, (void)len;
    if (generation)
        return ALK_KIND_NONE;
    *out = alk_identity_new(TEXT("{\"id\":\"far\"}"));
    return ALK_KIND_PEER;
}

static uint64_t generation_of(void *ud)
{
    (void)ud;
    return generation;
}

/* Known when it was dialled, and not any more when it answers. */
START_TEST(a_peer_that_is_disabled_meanwhile_is_not_spoken_with)
{
    struct dialled *t = prepare(true);
    alk_identity_provider provider = *t->r->options.identities;

    generation = 0;
    provider.by_peer = by_peer;
    provider.generation = generation_of;
    t->r->options.identities = &provider;
    t->o.peer_id = "far";
    rig_start(t->r);
    dial(t);
    rig_until(t->r, accepted(t));
    client_until(&t->far, "\r\n\r\n");
    generation = 1;
    /* Noticed before the answer (0), or with it (1). */
    rig_steps(t->r, _i ? 0 : 20);
    answer(t, "", UPGRADE, "");
    rig_until(t->r, *t->log);
    ck_assert_str_eq(t->log, "failed ");
    ck_assert_str_eq(t->message, "the peer far is not known here, or disabled");
    finish(t);
}
END_TEST

/* ---- answers ----------------------------------------------------------------------------------- */

#define CONTINUE "HTTP/1.1 100 Continue\r\n\r\n"
#define HINTS "HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\nUpgrade: h2c\r\n\r\n"

START_TEST(what_is_informational_comes_before_the_upgrade)
{
    static const char *const before[] = {CONTINUE, HINTS, CONTINUE HINTS HINTS};

    for (size_t i = 0; i < sizeof before / sizeof before[0]; i++) {
        struct dialled *t = start(true);

        dial(t);
        answer(t, before[i], UPGRADE, "");
        rig_until(t->r, *t->log);
        ck_assert_msg(!strncmp(t->log, "open ", 5), "%zu: %s", i, t->message);
        finish(t);
    }
}
END_TEST

START_TEST(what_is_informational_comes_before_a_refusal)
{
    struct dialled *t = start(true);

    dial(t);
    answer(t, CONTINUE HINTS, NULL,
           "HTTP/1.1 404 Not Found\r\nContent-Length: 18\r\n\r\n{\"message\":\"none\"}");
    rig_until(t->r, t->failures);
    ck_assert_str_eq(t->message, "HTTP 404: none");
    finish(t);
}
END_TEST

START_TEST(what_is_informational_without_end_is_cut)
{
    struct dialled *t = start(true);
    uint64_t since = now_ms();

    t->o.reconnect = 0;
    t->o.connect_timeout_ms = 60000;
    dial(t);
    answer(t, "", NULL, "");
    while (!t->failures && now_ms() < since + CLIENT_PATIENCE) {
        (void)!send(t->far.fd, TEXT(HINTS), MSG_DONTWAIT | MSG_NOSIGNAL);
        uv_run(&t->r->uv, UV_RUN_NOWAIT);
    }
    ck_assert_int_eq(t->failures, 1);
    ck_assert_ptr_nonnull(strstr(t->message, "the answer is too long"));
    finish(t);
}
END_TEST

/* A request in the same bytes as the upgrade is answered behind the event. */
START_TEST(open_is_told_before_the_first_call)
{
    static const char request[] = "{\"type\":\"call.requested\",\"id\":\"1\",\"payload\":{"
                                  "\"operationId\":\"/t/noted\",\"input\":7}}";
    char behind[sizeof request + 2] = "\x82";
    struct dialled *t = start(true);
    char upgrade[sizeof UPGRADE + sizeof behind];

    must(strlen(request) < 126);
    behind[1] = (char)strlen(request);
    strcpy(behind + 2, request);
    snprintf(upgrade, sizeof upgrade, "%s%s", UPGRADE, behind);
    dial(t);
    answer(t, "", upgrade, "");
    rig_until(t->r, strstr(t->log, "call "));
    ck_assert_str_eq(t->log, "open ready call ");
    finish(t);
}
END_TEST

/* A ping in the same bytes as the upgrade is answered before the socket has the session's
 * engine. */
START_TEST(what_is_said_before_the_session_has_the_socket_goes_out)
{
    struct dialled *t = start(true);
    const uint8_t *f;

    dial(t);
    answer(t, "", UPGRADE "\x89\x02hi", "");
    client_fill(&t->far, 8, "a pong");
    f = (const uint8_t *)t->far.in;
    ck_assert_uint_eq(f[0], 0x8a);
    ck_assert_uint_eq(f[1], 0x82);
    ck_assert_int_eq(f[6] ^ f[2], 'h');
    ck_assert_int_eq(f[7] ^ f[3], 'i');
    finish(t);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("dial_life");
    TCase *c = tcase_create("dial_life");
    SRunner *runner = srunner_create(suite);
    int failed;

    tcase_add_test(c, one_that_waits_does_not_dial_while_the_loop_drains);
    tcase_add_test(c, a_name_that_is_resolved_while_the_loop_drains_is_not_dialled);
    tcase_add_test(c, one_that_connects_does_not_hold_the_drain_up);
    tcase_add_test(c, one_that_upgrades_does_not_hold_the_drain_up);
    tcase_add_loop_test(c, the_close_code_says_why, 0, 2);
    tcase_add_loop_test(c, a_peer_that_is_disabled_meanwhile_is_not_spoken_with, 0, 2);
    tcase_add_test(c, what_is_informational_comes_before_the_upgrade);
    tcase_add_test(c, what_is_informational_comes_before_a_refusal);
    tcase_add_test(c, what_is_informational_without_end_is_cut);
    tcase_add_test(c, open_is_told_before_the_first_call);
    tcase_add_test(c, what_is_said_before_the_session_has_the_socket_goes_out);
    suite_add_tcase(suite, c);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
