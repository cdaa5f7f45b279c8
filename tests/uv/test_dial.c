/* Dialling out: a loop that dials its own server, and servers that answer wrongly. What a dialer tells is logged as one
 * line per event; whatever its state, it can be closed, drained and torn down. */
#include <alknet/openapi.h>
#include "core/connection.h"
#include "core/overlay.h"
#include "support/suite.h"
#include "uv/conn.h"
#include "uv/rig.h"
#include "wire/ws_handshake.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

struct dialled {
    struct rig *r;
    alk_dialer *x;
    alk_dial_options o;
    char log[2000], message[200], announced[200];
    uint64_t retry_ms[64];
    int opens, readies, losses, failures, freed, answers, faults, ends;
    int code, status;
    alk_connection *server_side; /* a reference */
    int connects, disconnects, disconnect_code;
    uint32_t close_in; /* the dialer, from the callback of that state */
    bool close_loop;   /* the loop in its place */
};

static void note(struct dialled *t, const char *what)
{
    if (strlen(t->log) + strlen(what) + 2 < sizeof t->log)
        strcat(strcat(t->log, what), " ");
}

static void on_dial(alk_dialer *x, const alk_dial_event *e, void *ud)
{
    static const char *const names[] = {"", "open", "ready", "lost", "failed"};
    struct dialled *t = ud;

    must(e->size == sizeof *e && e->state >= ALK_DIAL_OPEN && e->state <= ALK_DIAL_FAILED);
    must(!e->connection == (e->state == ALK_DIAL_FAILED));
    must((e->state != ALK_DIAL_READY) || alk_dialer_connection(x) == e->connection);
    note(t, names[e->state]);
    t->opens += e->state == ALK_DIAL_OPEN;
    t->readies += e->state == ALK_DIAL_READY;
    if (e->state == ALK_DIAL_FAILED && t->failures < 64)
        t->retry_ms[t->failures] = e->retry_ms;
    t->losses += e->state == ALK_DIAL_LOST;
    t->failures += e->state == ALK_DIAL_FAILED;
    t->code = e->code;
    t->status = e->status;
    snprintf(t->message, sizeof t->message, "%s", e->message ? e->message : "");
    snprintf(t->announced, sizeof t->announced, "%s", e->announced ? e->announced : "");
    if (e->state == t->close_in && t->close_loop)
        rig_close(t->r);
    else if (e->state == t->close_in)
        alk_dialer_close(x);
}

static void on_free(void *ud)
{
    ((struct dialled *)ud)->freed++;
}

static void on_connect(void *ud, const alk_session *s)
{
    struct dialled *t = ud;

    must(!strcmp(alk_identity_id(s->identity), "tester") && !strcmp(s->remote, "127.0.0.1"));
    t->connects++;
    alk_connection_unref(t->server_side);
    t->server_side = alk_connection_ref(s->connection);
}

static void on_disconnect(void *ud, const alk_session *s, int code)
{
    struct dialled *t = ud;

    must(s->connection != NULL);
    t->disconnects++;
    t->disconnect_code = code;
}

static struct dialled *start(void)
{
    struct dialled *t = calloc(1, sizeof *t);

    ck_assert_ptr_nonnull(t);
    t->r = rig_new();
    t->r->gate.on_connect = on_connect;
    t->r->gate.on_disconnect = on_disconnect;
    t->r->gate.session_ud = t;
    t->r->limits.close_ms = 300;
    alk_dial_options_init(&t->o, sizeof t->o);
    t->o.token = RIG_TOKEN;
    t->o.retry_min_ms = 20;
    t->o.retry_max_ms = 160;
    t->o.on_event = on_dial;
    t->o.ud_free = on_free;
    t->o.ud = t;
    return t;
}

static void dial_port(struct dialled *t, int port)
{
    char url[64], err[200];

    snprintf(url, sizeof url, "ws://127.0.0.1:%d", port);
    t->o.url = url;
    ck_assert_msg(!alk_dial(&t->x, t->r->l, &t->o, err, sizeof err), "%s", err);
}

static void dial(struct dialled *t)
{
    rig_start(t->r);
    dial_port(t, t->r->port);
}

static void finish(struct dialled *t)
{
    alk_connection_unref(t->server_side);
    t->server_side = NULL;
    rig_free(t->r);
    ck_assert_int_eq(t->freed, 1);
    ck_assert_int_eq(t->connects, t->disconnects);
    free(t);
}

/* ---- calls ------------------------------------------------------------------------------------- */

static void on_answer(alk_call *call, const alk_value *value, void *ud)
{
    size_t n;

    (void)call;
    must(!strcmp(alk_value_text(value, &n), "[7]"));
    ((struct dialled *)ud)->answers++;
}

static void on_end(alk_call *call, int why, const alk_fault *fault, void *ud)
{
    struct dialled *t = ud;

    (void)call;
    (void)why;
    t->ends++;
    if (fault) {
        t->faults++;
        snprintf(t->message, sizeof t->message, "%s: %s", fault->code, fault->message);
    }
}

static void call(struct dialled *t, alk_connection *c, const char *operation)
{
    alk_call_options o = {.size = sizeof o};

    o.on_event = on_answer;
    o.on_end = on_end;
    o.ud = t;
    ck_assert_int_eq(alk_connection_call(c, operation, strlen(operation), TEXT("[7]"), &o, NULL),
                     ALK_OK);
}

START_TEST(both_sides_call_each_other)
{
    struct dialled *t = start();

    dial(t);
    rig_until(t->r, t->readies);
    ck_assert_str_eq(t->log, "open ready ");
    call(t, alk_dialer_connection(t->x), "t/echo");
    rig_until(t->r, t->answers == 1);
    call(t, alk_dialer_connection(t->x), "t/secret");
    rig_until(t->r, t->answers == 2);
    call(t, t->server_side, "t/echo");
    rig_until(t->r, t->answers == 3);
    /* The remote is nobody to the side that dialled, which knows no credential of it. */
    call(t, t->server_side, "t/secret");
    rig_until(t->r, t->faults == 1);
    ck_assert_str_eq(t->message, "FORBIDDEN: authentication required");
    finish(t);
}
END_TEST

/* The dialled one and the one that was accepted. */
START_TEST(tcp_asks_whether_a_silent_remote_is_there)
{
    struct dialled *t = start();
    int ends = 0;

    dial(t);
    rig_until(t->r, t->readies);
    list_each(l, &t->r->l->conns)
    {
        struct conn *c = container_of(l, struct conn, link);
        int on = 0, idle = 0;
        socklen_t n = sizeof on;
        uv_os_fd_t fd;

        ck_assert(!uv_fileno(&c->h.handle, &fd));
        ck_assert(!getsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, &n) && on);
        ck_assert(!getsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, &n));
        ck_assert_int_eq(idle, KEEPALIVE_S);
        ends++;
    }
    ck_assert_int_eq(ends, 2);
    finish(t);
}
END_TEST

START_TEST(the_time_for_an_attempt_ends_with_it)
{
    struct dialled *t = start();

    t->o.connect_timeout_ms = 200;
    dial(t);
    rig_until(t->r, t->readies);
    rig_steps(t->r, 300);
    ck_assert_str_eq(t->log, "open ready ");
    finish(t);
}
END_TEST

START_TEST(the_remote_is_who_the_options_say)
{
    struct dialled *t = start();

    t->o.identity = t->r->who;
    t->o.kind = ALK_KIND_KEY;
    dial(t);
    rig_until(t->r, t->readies);
    call(t, t->server_side, "t/secret");
    rig_until(t->r, t->answers == 1);
    finish(t);
}
END_TEST

/* The peer that the dialled remote is, as the provider has it at the moment. */
static struct {
    const char *identity; /* NULL: unknown, or disabled */
    int kind;
} far;

static int far_by_peer(void *ud, const char *id, size_t len, alk_identity **out)
{
    (void)ud;
    must(len == 3 && !memcmp(id, "far", 3));
    if (!far.identity)
        return ALK_KIND_NONE;
    *out = alk_identity_new(far.identity, strlen(far.identity));
    return far.kind;
}

static uint64_t far_generation;

static uint64_t far_generation_of(void *ud)
{
    (void)ud;
    return far_generation;
}

static void far_becomes(const char *identity, int kind)
{
    far.identity = identity;
    far.kind = kind;
    far_generation++;
}

static struct dialled *start_far(void)
{
    static alk_identity_provider provider;
    struct dialled *t = start();

    provider = *t->r->options.identities;
    provider.by_peer = far_by_peer;
    provider.generation = far_generation_of;
    t->r->options.identities = &provider;
    t->o.peer_id = "far";
    return t;
}

START_TEST(the_remote_is_what_its_peer_is_at_the_moment)
{
    struct dialled *t = start_far();

    far_becomes("{\"id\":\"far\",\"scopes\":[\"t:secret\"]}", ALK_KIND_PEER);
    dial(t);
    rig_until(t->r, t->readies);
    call(t, t->server_side, "t/secret");
    rig_until(t->r, t->answers == 1);
    far_becomes("{\"id\":\"far\"}", ALK_KIND_PEER);
    call(t, t->server_side, "t/secret");
    rig_until(t->r, t->faults == 1);
    ck_assert_str_eq(t->message, "FORBIDDEN: not allowed to call t/secret");
    ck_assert_str_eq(t->log, "open ready ");
    finish(t);
}
END_TEST

START_TEST(a_peer_that_is_disabled_is_closed_and_dialled_again_when_it_is_enabled)
{
    struct dialled *t = start_far();

    far_becomes(NULL, 0);
    dial(t);
    rig_until(t->r, t->failures == 2);
    ck_assert_str_eq(t->message, "the peer far is not known here, or disabled");
    ck_assert_int_eq(t->connects, 0);
    far_becomes("{\"id\":\"far\"}", ALK_KIND_PEER);
    rig_until(t->r, t->readies);
    far_becomes(NULL, 0);
    rig_until(t->r, t->losses && t->failures > 2);
    ck_assert_int_eq(t->code, 0);
    rig_until(t->r, t->disconnects);
    ck_assert_int_eq(t->disconnect_code, 1008);
    far_becomes("{\"id\":\"far\"}", ALK_KIND_PEER);
    rig_until(t->r, t->readies == 2);
    finish(t);
}
END_TEST

START_TEST(what_is_pending_fails_when_the_connection_is_lost)
{
    struct dialled *t = start();

    t->o.reconnect = 0;
    dial(t);
    rig_until(t->r, t->readies);
    call(t, alk_dialer_connection(t->x), "t/later");
    rig_until(t->r, t->r->later.call);
    alk_connection_close(t->server_side, ALK_CLOSE_SHUTDOWN);
    rig_until(t->r, t->losses && t->faults);
    ck_assert_int_eq(t->code, 1001);
    ck_assert_int_eq(t->disconnect_code, 1001);
    ck_assert_str_eq(t->log, "open ready lost ");
    rig_steps(t->r, 100);
    ck_assert_int_eq(t->opens, 1);
    finish(t);
}
END_TEST

START_TEST(it_comes_back_and_imports_again)
{
    struct dialled *t = start();

    t->o.import = 1;
    t->o.announce = 1;
    t->o.namespace_prefix = "far";
    dial(t);
    for (int i = 1; i <= 3; i++) {
        rig_until(t->r, t->readies == i);
        ck_assert_str_eq(t->message, "");
        ck_assert_ptr_nonnull(strstr(t->announced, "\"imported\":"));
        call(t, alk_dialer_connection(t->x), "t/echo");
        rig_until(t->r, t->answers == i);
        alk_connection_close(t->server_side, ALK_CLOSE_SHUTDOWN);
        rig_until(t->r, t->losses == i);
    }
    finish(t);
}
END_TEST

/* A hub would not hear of it else. */
START_TEST(what_is_found_later_is_announced_again)
{
    struct dialled *t = start();
    alk_registry *found = alk_registry_new();
    char before[sizeof t->announced];
    alk_operation op;

    t->o.announce = 1;
    dial(t);
    rig_until(t->r, t->readies == 1);
    memcpy(before, t->announced, sizeof before);
    alk_operation_init(&op, sizeof op);
    op.name = "found/one";
    op.type = ALK_QUERY;
    op.provenance = ALK_FROM_JSONSCHEMA;
    ck_assert_int_eq(alk_registry_add(found, &op), 0);
    ck_assert_int_eq(alk_registry_freeze(found), 0);
    ck_assert_int_eq(alk_node_set_discovered(t->r->node, "outside", found), 0);
    alk_registry_unref(found);
    rig_until(t->r, t->readies == 2);
    ck_assert_str_ne(t->announced, before);
    ck_assert_str_eq(t->message, "");
    finish(t);
}
END_TEST

/* With the options of the dialler, not with none, and not twice. */
START_TEST(what_is_announced_later_is_imported_as_the_dialler_says)
{
    struct dialled *t = start();

    t->o.import = 1;
    t->o.namespace_prefix = "far";
    t->o.operation_filter = "[\"t/echo\"]";
    t->o.identity = t->r->who;
    t->o.kind = ALK_KIND_PEER | ALK_PEER_WEBSOCKET;
    t->r->options.auto_import = 1;
    dial(t);
    rig_until(t->r, t->readies);
    ck_assert_str_eq(t->message, "");
    for (int i = 0; i < 2; i++) {
        const struct overlay *o = alk_dialer_connection(t->x)->imported;

        ck_assert_uint_eq(o->by_name.count, 1);
        ck_assert_ptr_nonnull(map_find(&o->by_name, TEXT("far/t/echo")));
        if (i == 0) {
            alk_call_options co = {.size = sizeof co};

            co.on_end = on_end;
            co.ud = t;
            t->ends = 0;
            ck_assert_int_eq(
                alk_connection_call(t->server_side, TEXT("services/announce"), "{}", 2, &co, NULL),
                ALK_OK);
            rig_until(t->r, t->ends);
            ck_assert_int_eq(t->faults, 0);
        }
    }
    finish(t);
}
END_TEST

START_TEST(an_import_that_fails_is_told)
{
    struct dialled *t = start();

    t->o.import = 1;
    t->o.operation_filter = "7";
    dial(t);
    rig_until(t->r, t->readies);
    ck_assert_str_ne(t->message, "");
    finish(t);
}
END_TEST

/* ---- failing ----------------------------------------------------------------------------------- */

START_TEST(a_wrong_token_is_told_with_what_the_gateway_said)
{
    struct dialled *t = start();

    t->o.token = "alk_another_token_of_the_tests";
    dial(t);
    rig_until(t->r, t->failures == 6);
    ck_assert_int_eq(t->status, 401);
    ck_assert_str_eq(t->message, "HTTP 401: the presented token is not valid");
    ck_assert_int_eq(t->connects, 0);
    /* The time doubles up to its limit and is at least half of that. */
    for (int i = 0; i < 6; i++) {
        uint64_t most = i < 3 ? 20u << i : 160;

        ck_assert_uint_le(t->retry_ms[i], most);
        ck_assert_uint_ge(t->retry_ms[i], most / 2);
    }
    finish(t);
}
END_TEST

START_TEST(nobody_listens)
{
    struct dialled *t = start();

    rig_start(t->r);
    alk_server_close(t->r->s);
    rig_steps(t->r, 5);
    dial_port(t, t->r->port);
    rig_until(t->r, t->failures == 2);
    ck_assert_int_eq(t->status, 0);
    ck_assert_str_eq(t->message, "connection refused");
    finish(t);
}
END_TEST

START_TEST(a_name_that_does_not_exist)
{
    struct dialled *t = start();
    char err[200];

    rig_start(t->r);
    t->o.url = "ws://no-such-host.invalid:1/x";
    ck_assert_int_eq(alk_dial(&t->x, t->r->l, &t->o, err, sizeof err), ALK_OK);
    rig_until(t->r, t->failures == 1);
    ck_assert_str_ne(t->message, "");
    finish(t);
}
END_TEST

START_TEST(a_name_is_resolved)
{
    struct dialled *t = start();
    char url[64];

    rig_start(t->r);
    snprintf(url, sizeof url, "ws://localhost:%d/alknet/call", t->r->port);
    t->o.url = url;
    ck_assert_int_eq(alk_dial(&t->x, t->r->l, &t->o, NULL, 0), ALK_OK);
    rig_until(t->r, t->readies);
    finish(t);
}
END_TEST

START_TEST(wrong_options_are_refused)
{
    static const struct {
        const char *url, *token, *says;
    } wrong[] = {
        {NULL, NULL,
         "url: must begin with alknet://, ws://, wss://, ws+unix:, alknet+tls:// or alknet+unix:"},
        {"http://x", NULL,
         "url: must begin with alknet://, ws://, wss://, ws+unix:, alknet+tls:// or alknet+unix:"},
        {"ws://", NULL, "url: the host is missing or too long"},
        {"ws://:80", NULL, "url: the host is missing or too long"},
        {"ws://[::1", NULL, "url: the host is missing or too long"},
        {"ws://[]:80", NULL, "url: the host is missing or too long"},
        {"ws://h:0", NULL, "url: the port must be 1 to 65535"},
        {"ws://h:65536", NULL, "url: the port must be 1 to 65535"},
        {"ws://h:", NULL, "url: the port must be 1 to 65535"},
        {"ws://[::1]x", NULL, "url: the port must be 1 to 65535"},
        {"ws://h/a b", NULL, "url: a blank, a fragment or a user does not belong there"},
        {"ws://h/\r\nX: y", NULL, "url: a blank, a fragment or a user does not belong there"},
        {"ws://u:p@h/", NULL, "url: a blank, a fragment or a user does not belong there"},
        {"ws://h/#f", NULL, "url: a blank, a fragment or a user does not belong there"},
        {"ws://h?token=x", NULL, "url: a query does not belong there"},
        {"ws://h/p?token=x", NULL, "url: a query does not belong there"},
        {"ws://h/p", "a b", "token: must be printable, without blanks"},
        {"ws://h/p", "", "token: must be printable, without blanks"},
        {"ws://h/p", "x\r\nY: z", "token: must be printable, without blanks"},
    };
    struct dialled *t = start();
    char err[200];

    rig_start(t->r);
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        t->o.url = wrong[i].url;
        t->o.token = wrong[i].token;
        ck_assert_int_eq(alk_dial(&t->x, t->r->l, &t->o, err, sizeof err), ALK_EINVAL);
        ck_assert_str_eq(err, wrong[i].says);
        ck_assert_ptr_null(t->x);
    }
    t->o.url = "ws://h";
    t->o.token = NULL;
    t->o.retry_max_ms = 1;
    ck_assert_int_eq(alk_dial(&t->x, t->r->l, &t->o, NULL, 0), ALK_EINVAL);
    ck_assert_int_eq(t->freed, 0);
    t->freed = 1;
    finish(t);
}
END_TEST

START_TEST(a_loop_that_drains_or_closes_dials_no_more)
{
    struct dialled *t = start();

    dial(t);
    rig_until(t->r, t->readies);
    alk_loop_drain(t->r->l, rig_on_drained, t->r);
    ck_assert_int_eq(alk_dial(&t->x, t->r->l, &t->o, NULL, 0), ALK_ECLOSED);
    rig_until(t->r, t->r->drained);
    ck_assert_int_eq(t->losses, 1);
    rig_steps(t->r, 100);
    ck_assert_int_eq(t->opens, 1);
    finish(t);
}
END_TEST

/* ---- servers that answer wrongly --------------------------------------------------------------- */

struct raw {
    int fd, port;
    const char *
        answer; /* "%s" is where the right Sec-WebSocket-Accept goes; NULL: nothing, the connection stays */
    char close;
    pthread_t thread;
    int served;
};

static void *raw_serve(void *ud)
{
    struct raw *s = ud;
    char in[4096] = "", out[20000], accepted[WS_ACCEPT_SIZE + 1] = "";
    const char *key;
    int fd = accept(s->fd, NULL, NULL);
    size_t n = 0;

    while (fd >= 0 && !strstr(in, "\r\n\r\n")) {
        ssize_t got = read(fd, in + n, sizeof in - 1 - n);

        if (got <= 0)
            break;
        n += (size_t)got;
    }
    if ((key = strstr(in, "Sec-WebSocket-Key: ")))
        ws_accept(key + 19, accepted);
    if (s->answer) {
        snprintf(out, sizeof out, s->answer, accepted);
        must(write(fd, out, strlen(out)) >= 0);
    }
    if (s->close)
        shutdown(fd, SHUT_WR);
    while (read(fd, in, sizeof in) > 0)
        ;
    close(fd);
    return NULL;
}

static void raw_start(struct raw *s, const char *answer, char close)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t n = sizeof a;

    *s = (struct raw){.fd = socket(AF_INET, SOCK_STREAM, 0), .answer = answer, .close = close};
    ck_assert_int_eq(bind(s->fd, (struct sockaddr *)&a, sizeof a), 0);
    ck_assert_int_eq(listen(s->fd, 1), 0);
    ck_assert_int_eq(getsockname(s->fd, (struct sockaddr *)&a, &n), 0);
    s->port = ntohs(a.sin_port);
    ck_assert_int_eq(pthread_create(&s->thread, NULL, raw_serve, s), 0);
}

static void raw_end(struct raw *s)
{
    pthread_join(s->thread, NULL);
    close(s->fd);
}

#define SWITCHING "HTTP/1.1 101 Switching Protocols\r\n"
#define UPGRADED "Upgrade: websocket\r\nConnection: Upgrade\r\n"
#define ACCEPTED "Sec-WebSocket-Accept: %s\r\n"

START_TEST(wrong_answers_are_refused)
{
    static const struct {
        const char *answer;
        char close;
        int status;
        const char *says;
    } wrong[] = {
        {SWITCHING "Connection: Upgrade\r\n" ACCEPTED "\r\n", 0, 101,
         "HTTP 101: the answer does not upgrade to websocket"},
        {SWITCHING "Upgrade: websocket\r\n" ACCEPTED "\r\n", 0, 101,
         "HTTP 101: the answer's Connection has no upgrade"},
        {SWITCHING UPGRADED "\r\n", 0, 101, "HTTP 101: Sec-WebSocket-Accept is wrong"},
        {SWITCHING UPGRADED "Sec-WebSocket-Accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA=\r\n\r\n", 0, 101,
         "HTTP 101: Sec-WebSocket-Accept is wrong"},
        {SWITCHING UPGRADED ACCEPTED "Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n", 0, 101,
         "HTTP 101: an extension was not offered"},
        {SWITCHING UPGRADED ACCEPTED "Sec-WebSocket-Protocol: soap\r\n\r\n", 0, 101,
         "HTTP 101: the subprotocol was not offered"},
        {"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", 0, 200,
         "HTTP 200: the server refused the upgrade"},
        {"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 17\r\n\r\n{\"message\":\"full\"}", 0,
         503, "HTTP 503: the server refused the upgrade"},
        {"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 18\r\n\r\n{\"message\":\"full\"}", 0,
         503, "HTTP 503: full"},
        {"HTTP/1.1 403 Forbidden\r\n\r\nno", 1, 403, "HTTP 403: the server refused the upgrade"},
        {"SSH-2.0-OpenSSH_9.2\r\n", 0, 0, "the answer is not HTTP/1.1"},
        {"", 1, 0, "the server closed the connection"},
        {SWITCHING "Upgr", 1, 0, "the server closed the connection"},
        {NULL, 0, 0, "timed out"},
    };

    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        struct dialled *t = start();
        struct raw s;

        t->o.reconnect = 0;
        t->o.connect_timeout_ms = wrong[i].answer ? 10000 : 60;
        rig_start(t->r);
        raw_start(&s, wrong[i].answer, wrong[i].close);
        dial_port(t, s.port);
        rig_until(t->r, t->failures);
        ck_assert_str_eq(t->message, wrong[i].says);
        ck_assert_int_eq(t->status, wrong[i].status);
        ck_assert_str_eq(t->log, "failed ");
        finish(t);
        raw_end(&s);
    }
}
END_TEST

START_TEST(an_endless_answer_is_cut)
{
    static char answer[18000];
    struct dialled *t = start();
    struct raw s;

    strcpy(answer, "HTTP/1.1 200 OK\r\nX: ");
    memset(answer + strlen(answer), 'x', sizeof answer - 100);
    t->o.reconnect = 0;
    t->r->limits.header_bytes = 8192;
    rig_start(t->r);
    raw_start(&s, answer, 0);
    dial_port(t, s.port);
    rig_until(t->r, t->failures);
    ck_assert_ptr_nonnull(strstr(t->message, "the answer is too long"));
    finish(t);
    raw_end(&s);
}
END_TEST

/* ---- frames right behind the answer ------------------------------------------------------------ */

START_TEST(frames_behind_the_answer_are_read)
{
    struct dialled *t = start();
    struct raw s;

    t->o.reconnect = 0;
    rig_start(t->r);
    raw_start(&s, SWITCHING UPGRADED ACCEPTED "\r\n\x88\x02\x03\xf3", 0);
    dial_port(t, s.port);
    rig_until(t->r, t->losses);
    ck_assert_str_eq(t->log, "open lost ");
    ck_assert_int_eq(t->code, 1011);
    finish(t);
    raw_end(&s);
}
END_TEST

START_TEST(a_masked_frame_from_a_server_is_a_protocol_error)
{
    struct dialled *t = start();
    struct raw s;

    t->o.reconnect = 0;
    rig_start(t->r);
    raw_start(&s, SWITCHING UPGRADED ACCEPTED "\r\n\x82\x81\x01\x01\x01\x01{", 0);
    dial_port(t, s.port);
    rig_until(t->r, t->losses);
    ck_assert_int_eq(t->code, 1002);
    finish(t);
    raw_end(&s);
}
END_TEST

/* ---- ends -------------------------------------------------------------------------------------- */

START_TEST(closing_in_any_state_frees_once)
{
    for (int i = 0; i < 60; i++) {
        struct dialled *t = start();

        dial(t);
        for (int k = 0; k < i / 2; k++) {
            uv_run(&t->r->uv, UV_RUN_NOWAIT);
            usleep(100);
        }
        if (i % 2) {
            int told = (int)strlen(t->log);

            alk_dialer_close(t->x);
            alk_dialer_close(t->x);
            rig_until(t->r, t->freed);
            ck_assert_int_eq((int)strlen(t->log), told);
            rig_steps(t->r, 3);
        }
        finish(t);
    }
}
END_TEST

START_TEST(draining_in_any_state_ends)
{
    for (int i = 0; i < 30; i++) {
        struct dialled *t = start();

        dial(t);
        for (int k = 0; k < i; k++) {
            uv_run(&t->r->uv, UV_RUN_NOWAIT);
            usleep(100);
        }
        alk_loop_drain(t->r->l, rig_on_drained, t->r);
        rig_until(t->r, t->r->drained);
        finish(t);
    }
}
END_TEST

static void close_in(uint32_t state, bool loop, int port)
{
    struct dialled *t = start();

    t->close_in = state;
    t->close_loop = loop;
    if (state == ALK_DIAL_FAILED) {
        rig_start(t->r);
        dial_port(t, port);
    } else {
        dial(t);
    }
    if (state == ALK_DIAL_LOST) {
        rig_until(t->r, t->readies);
        alk_connection_close(t->server_side, ALK_CLOSE_SHUTDOWN);
    }
    rig_until(t->r, t->freed);
    finish(t);
}

START_TEST(closing_from_each_callback)
{
    for (uint32_t state = ALK_DIAL_OPEN; state <= ALK_DIAL_FAILED; state++) {
        close_in(state, false, 1);
        close_in(state, true, 1);
    }
}
END_TEST

START_TEST(the_loop_runs_as_long_as_a_dialer_is_there)
{
    struct dialled *t = start();
    int rounds = 0;

    rig_start(t->r);
    alk_server_close(t->r->s);
    dial_port(t, t->r->port);
    while (t->failures < 3 && uv_run(&t->r->uv, UV_RUN_ONCE))
        ck_assert_int_lt(rounds++, 10000);
    ck_assert_int_eq(t->failures, 3);
    alk_dialer_close(t->x);
    ck_assert_int_eq(uv_run(&t->r->uv, UV_RUN_DEFAULT), 0);
    ck_assert_int_eq(t->freed, 1);
    finish(t);
}
END_TEST

MAIN("dial", both_sides_call_each_other, tcp_asks_whether_a_silent_remote_is_there,
     the_time_for_an_attempt_ends_with_it, the_remote_is_who_the_options_say,
     the_remote_is_what_its_peer_is_at_the_moment,
     a_peer_that_is_disabled_is_closed_and_dialled_again_when_it_is_enabled,
     what_is_pending_fails_when_the_connection_is_lost, it_comes_back_and_imports_again,
     what_is_announced_later_is_imported_as_the_dialler_says,
     what_is_found_later_is_announced_again, an_import_that_fails_is_told,
     a_wrong_token_is_told_with_what_the_gateway_said, nobody_listens, a_name_that_does_not_exist,
     a_name_is_resolved, wrong_options_are_refused, a_loop_that_drains_or_closes_dials_no_more,
     wrong_answers_are_refused, an_endless_answer_is_cut, frames_behind_the_answer_are_read,
     a_masked_frame_from_a_server_is_a_protocol_error, closing_in_any_state_frees_once,
     draining_in_any_state_ends, closing_from_each_callback,
     the_loop_runs_as_long_as_a_dialer_is_there)
