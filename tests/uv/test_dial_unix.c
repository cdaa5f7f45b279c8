/* Dialling over Unix-domain sockets: a WebSocket to the rig's own gateway, and framed envelopes to a service of the test's,
 * which makes each stream a session. */
#include "adapt/framed.h"
#include "support/suite.h"
#include "uv/conn.h"
#include "uv/rig.h"

#include <sys/stat.h>

struct dialled {
    struct service hub; /* first: it takes the place of a gateway */
    struct rig *r;
    alk_dialer *x;
    alk_dial_options o;
    char dir[40], path[80], url[120], log[400], message[200];
    int answers, faults, freed, opened, gone, code, said_code;
    size_t answered; /* bytes */
    struct session *there;
};

struct accepted {
    struct session s;
    struct dialled *t;
};

static void on_dial(alk_dialer *x, const alk_dial_event *e, void *ud)
{
    static const char *const names[] = {"", "open ", "ready ", "lost ", "failed "};
    struct dialled *t = ud;

    (void)x;
    if (strlen(t->log) < sizeof t->log - 10)
        strcat(t->log, names[e->state]);
    t->code = e->code;
    snprintf(t->message, sizeof t->message, "%s", e->message ? e->message : "");
}

static void on_free(void *ud)
{
    ((struct dialled *)ud)->freed++;
}

/* ---- the hub --------------------------------------------------------------------------------- */

static void on_over(struct session *s)
{
    struct accepted *a = container_of(s, struct accepted, s);

    a->t->said_code = s->code;
    a->t->there = NULL;
}

static void on_gone(struct session *s)
{
    struct accepted *a = container_of(s, struct accepted, s);

    a->t->gone++;
    session_fini(s);
    mem_free(&a->t->r->l->mem, a);
}

static struct engine *hub_accept(struct service *hub, struct mem *mem, const struct peer_info *p,
                                 uint64_t now)
{
    struct dialled *t = (struct dialled *)(void *)hub;
    struct accepted *a = mem_zalloc(mem, sizeof *a);
    alk_connection_options o;

    (void)now;
    must(a);
    alk_connection_options_init(&o, sizeof o);
    o.remote = p->address;
    *a = (struct accepted){.s = {.d = t->r->d, .on_over = on_over, .on_gone = on_gone}, .t = t};
    must(!framed_open(&a->s, mem, &o, NULL));
    t->there = &a->s;
    t->opened++;
    return a->s.engine;
}

static void hub_tick(struct service *hub, const char *date, uint64_t now)
{
    (void)hub;
    (void)date;
    (void)now;
}

static struct mem *hub_mem(struct service *hub)
{
    return &((struct dialled *)(void *)hub)->r->l->mem;
}

/* ---- the rig --------------------------------------------------------------------------------- */

static struct dialled *start(const char *scheme)
{
    struct dialled *t = calloc(1, sizeof *t);

    ck_assert_ptr_nonnull(t);
    t->hub = (struct service){.accept = hub_accept, .tick = hub_tick, .mem = hub_mem};
    snprintf(t->dir, sizeof t->dir, "/tmp/alknet-dial.XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(t->dir));
    snprintf(t->path, sizeof t->path, "%s/a socket", t->dir);
    snprintf(t->url, sizeof t->url, "%s:%s", scheme, t->path);
    t->r = rig_new();
    t->r->listen.unix_path = t->path;
    alk_dial_options_init(&t->o, sizeof t->o);
    t->o.url = t->url;
    t->o.retry_min_ms = 20;
    t->o.retry_max_ms = 40;
    t->o.on_event = on_dial;
    t->o.ud_free = on_free;
    t->o.ud = t;
    return t;
}

static void dial(struct dialled *t)
{
    char err[200];

    ck_assert_msg(!alk_dial(&t->x, t->r->l, &t->o, err, sizeof err), "%s", err);
}

static void start_hub(struct dialled *t)
{
    rig_start_bare(t->r);
    t->r->listen.gateway = (alk_gateway *)(void *)&t->hub;
    rig_serve(t->r);
    dial(t);
}

static void finish(struct dialled *t)
{
    rig_free(t->r);
    ck_assert_int_eq(t->freed, 1);
    ck_assert_int_eq(t->opened, t->gone);
    ck_assert_int_eq(rmdir(t->dir), 0);
    free(t);
}

static void on_answer(alk_call *call, const alk_value *value, void *ud)
{
    struct dialled *t = ud;

    (void)call;
    must(alk_value_text(value, &t->answered));
    t->answers++;
}

static void on_end(alk_call *call, int why, const alk_fault *fault, void *ud)
{
    struct dialled *t = ud;

    (void)call;
    (void)why;
    if (fault)
        snprintf(t->message, sizeof t->message, "%s: %s", fault->code, fault->message);
    t->faults += fault != NULL;
}

static void call(struct dialled *t, alk_connection *c, const char *operation, const char *input)
{
    alk_call_options o;

    alk_call_options_init(&o, sizeof o);
    o.on_event = on_answer;
    o.on_end = on_end;
    o.ud = t;
    ck_assert_int_eq(
        alk_connection_call(c, operation, strlen(operation), input, strlen(input), &o, NULL),
        ALK_OK);
}

/* ---- facts ----------------------------------------------------------------------------------- */

START_TEST(a_websocket_goes_over_a_unix_domain_socket)
{
    struct dialled *t = start("ws+unix");

    t->o.token = RIG_TOKEN;
    rig_start(t->r);
    dial(t);
    rig_until(t->r, strstr(t->log, "ready"));
    ck_assert_str_eq(t->log, "open ready ");
    call(t, alk_dialer_connection(t->x), "t/secret", "[7]");
    rig_until(t->r, t->answers == 1);
    finish(t);
}
END_TEST

START_TEST(framed_envelopes_go_both_ways_over_a_unix_domain_socket)
{
    struct dialled *t = start("alknet+unix");

    start_hub(t);
    rig_until(t->r, strstr(t->log, "ready"));
    ck_assert_str_eq(t->log, "open ready ");
    call(t, alk_dialer_connection(t->x), "t/echo", "[7]");
    rig_until(t->r, t->answers == 1);
    call(t, t->there->conn, "t/echo", "[8]");
    rig_until(t->r, t->answers == 2);
    call(t, t->there->conn, "t/secret", "[8]");
    rig_until(t->r, t->faults == 1);
    ck_assert_str_eq(t->message, "FORBIDDEN: authentication required");
    finish(t);
}
END_TEST

/* Above what a WebSocket takes, and in many pieces. */
START_TEST(a_large_value_comes_whole)
{
    struct dialled *t = start("alknet+unix");

    start_hub(t);
    rig_until(t->r, strstr(t->log, "ready"));
    call(t, alk_dialer_connection(t->x), "t/big", "9000000");
    rig_until(t->r, t->answers == 1);
    ck_assert_uint_eq(t->answered, 9000002);
    finish(t);
}
END_TEST

/* A stream that nobody reads fast enough gets its values in the end, and each of them. */
START_TEST(a_flood_comes_whole)
{
    struct dialled *t = start("alknet+unix");
    alk_call_options o;

    t->r->flood.left = 20000;
    start_hub(t);
    rig_until(t->r, strstr(t->log, "ready"));
    alk_call_options_init(&o, sizeof o);
    o.on_event = on_answer;
    o.on_end = on_end;
    o.ud = t;
    o.stream = 1;
    ck_assert_int_eq(
        alk_connection_call(alk_dialer_connection(t->x), "t/flood", 7, "1", 1, &o, NULL), ALK_OK);
    rig_until(t->r, t->answers == 20000);
    ck_assert_int_gt(t->r->flood.drains, 0);
    ck_assert_int_eq(t->faults, 0);
    finish(t);
}
END_TEST

START_TEST(a_connection_that_the_remote_closes_is_dialled_again)
{
    struct dialled *t = start("alknet+unix");

    start_hub(t);
    rig_until(t->r, strstr(t->log, "ready"));
    alk_connection_close(t->there->conn, ALK_CLOSE_SHUTDOWN);
    rig_until(t->r, strstr(t->log, "lost"));
    ck_assert_int_eq(t->said_code, 1001);
    ck_assert_int_eq(t->code, 1005);
    ck_assert_str_eq(t->message, "closed by the remote");
    rig_until(t->r, !strcmp(t->log, "open ready lost open ready "));
    ck_assert_int_eq(t->opened, 2);
    finish(t);
}
END_TEST

START_TEST(a_dialer_that_closes_ends_the_stream)
{
    struct dialled *t = start("alknet+unix");

    start_hub(t);
    rig_until(t->r, strstr(t->log, "ready"));
    alk_dialer_close(t->x);
    rig_until(t->r, t->gone == 1);
    ck_assert_int_eq(t->said_code, 1005);
    rig_until(t->r, t->freed == 1);
    ck_assert_str_eq(t->log, "open ready ");
    finish(t);
}
END_TEST

START_TEST(an_attempt_can_be_given_up_at_once)
{
    struct dialled *t = start("alknet+unix");

    start_hub(t);
    rig_until(t->r, !alk_dialer_connection(t->x));
    uv_run(&t->r->uv, UV_RUN_NOWAIT);
    alk_dialer_close(t->x);
    rig_until(t->r, t->freed == 1);
    finish(t);
}
END_TEST

START_TEST(why_there_is_no_connection_is_told)
{
    struct dialled *t = start("alknet+unix");

    rig_start_bare(t->r);
    dial(t);
    rig_until(t->r, strstr(t->log, "failed"));
    ck_assert_str_eq(t->message, "no such file or directory");
    /* It comes about when there is somebody. */
    t->r->listen.gateway = (alk_gateway *)(void *)&t->hub;
    rig_serve(t->r);
    rig_until(t->r, strstr(t->log, "ready"));
    finish(t);
}
END_TEST

START_TEST(without_memory_it_is_tried_again)
{
    struct dialled *t = start("alknet+unix");

    rig_start_bare(t->r);
    t->r->listen.gateway = (alk_gateway *)(void *)&t->hub;
    rig_serve(t->r);
    dial(t);
    atomic_store(&t->r->starve, true);
    rig_until(t->r, strstr(t->log, "failed"));
    ck_assert_str_eq(t->message, "out of memory");
    atomic_store(&t->r->starve, false);
    rig_until(t->r, strstr(t->log, "ready"));
    finish(t);
}
END_TEST

MAIN("dial_unix", a_websocket_goes_over_a_unix_domain_socket,
     framed_envelopes_go_both_ways_over_a_unix_domain_socket, a_large_value_comes_whole,
     a_flood_comes_whole, a_connection_that_the_remote_closes_is_dialled_again,
     a_dialer_that_closes_ends_the_stream, an_attempt_can_be_given_up_at_once,
     why_there_is_no_connection_is_told, without_memory_it_is_tried_again)
