/* Listeners: TCP, Unix-domain sockets, sockets handed over; what alk_server_open says when it cannot; one node on
 * several loops. */
#include "support/suite.h"
#include "uv/rig.h"

#include <fcntl.h>
#include <sys/stat.h>

static struct client a;
static char dir[64], path[96];

static void echo(struct client *c)
{
    client_send(c, CALL_ECHO);
    ck_assert_int_eq(client_answer(c), 200);
    ck_assert_ptr_nonnull(strstr(c->body, "\"output\":7}"));
}

static struct rig *rig_bare(void)
{
    struct rig *r = rig_new();

    rig_start_bare(r);
    return r;
}

/* The code, and err must be exactly this text; %u in it is the port. */
static void refuse(struct rig *r, int rc, const char *text)
{
    alk_server *s = (alk_server *)r;
    char err[200] = "unset", expected[200];

    snprintf(expected, sizeof expected, text, (unsigned)r->listen.port);
    ck_assert_int_eq(alk_server_open(&s, r->l, &r->listen, err, sizeof err), rc);
    ck_assert_str_eq(err, expected);
    ck_assert_ptr_null(s);
    /* It says so to those who do not want to know as well, and within the room that there is. */
    ck_assert_int_eq(alk_server_open(&s, r->l, &r->listen, NULL, 0), rc);
    memset(err, '!', sizeof err);
    ck_assert_int_eq(alk_server_open(&s, r->l, &r->listen, err, 5), rc);
    ck_assert_uint_eq(strlen(err), 4);
}

static void make_dir(void)
{
    strcpy(dir, "/tmp/alknet-uv-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/socket", dir);
}

static bool exists(void)
{
    struct stat st;

    return lstat(path, &st) == 0;
}

/* ---- TCP --------------------------------------------------------------------------------------- */

START_TEST(the_kernel_chooses_a_port_on_loopback)
{
    struct rig *r = rig_bare();
    alk_server *second;

    ck_assert_str_eq(r->listen.host, "127.0.0.1");
    ck_assert_uint_eq(r->listen.port, 0);
    rig_serve(r);
    ck_assert_int_gt(r->port, 0);
    ck_assert_int_eq(alk_server_open(&second, r->l, &r->listen, NULL, 0), ALK_OK);
    ck_assert_int_ne(alk_server_port(second), r->port);
    client_open(&a, &r->uv, alk_server_port(second));
    echo(&a);
    client_close(&a);
    rig_client(r, &a);
    echo(&a);
    client_close(&a);
    rig_free(r);
}
END_TEST

START_TEST(dual_stack_serves_both_families)
{
    struct rig *r = rig_bare();
    struct sockaddr_in6 to = {.sin6_family = AF_INET6, .sin6_addr = in6addr_loopback};
    int fd = socket(AF_INET6, SOCK_STREAM, 0);

    if (fd < 0 || bind(fd, (struct sockaddr *)&to, sizeof to)) {
        puts("SKIP: no IPv6 loopback");
        rig_free(r);
        return;
    }
    close(fd);
    r->listen.host = "::";
    rig_serve(r);
    rig_client(r, &a);
    echo(&a);
    client_close(&a);
    client_init(&a, &r->uv, AF_INET6);
    to.sin6_port = htons((uint16_t)r->port);
    ck_assert_int_eq(connect(a.fd, (struct sockaddr *)&to, sizeof to), 0);
    echo(&a);
    client_close(&a);
    rig_free(r);
}
END_TEST

START_TEST(wrong_options_are_named)
{
    struct rig *r = rig_bare();

    r->listen.host = "localhost";
    refuse(r, ALK_EINVAL, "host \"localhost\": must be a numeric address");
    r->listen.host = "";
    refuse(r, ALK_EINVAL, "host \"\": must be a numeric address");
    r->listen.host = "127.0.0.1";
    r->listen.port = 65536;
    refuse(r, ALK_EINVAL, "port %u: must be 0 to 65535");
    r->listen.port = 0;
    r->listen.gateway = NULL;
    refuse(r, ALK_EINVAL, "a server needs a gateway and something to listen on");
    r->listen.gateway = r->g;
    r->listen.host = NULL;
    refuse(r, ALK_EINVAL, "a server needs a gateway and something to listen on");
    rig_free(r);
}
END_TEST

START_TEST(a_taken_port_is_named)
{
    struct rig *r = rig_bare();

    rig_serve(r);
    r->listen.port = (uint32_t)r->port;
    refuse(r, ALK_ESYSTEM, "listening on 127.0.0.1 port %u: address already in use");
    /* Both must want to share. */
    r->listen.reuse_port = 1;
    refuse(r, ALK_ESYSTEM, "listening on 127.0.0.1 port %u: address already in use");
    rig_client(r, &a);
    echo(&a);
    client_close(&a);
    rig_free(r);
}
END_TEST

START_TEST(an_address_that_is_not_ours_is_named)
{
    struct rig *r = rig_bare();

    r->listen.host = "192.0.2.1"; /* TEST-NET-1: nobody's */
    refuse(r, ALK_ESYSTEM, "listening on 192.0.2.1 port %u: address not available");
    rig_free(r);
}
END_TEST

START_TEST(a_closed_server_leaves_its_connections)
{
    struct rig *r = rig_new();
    struct client late;

    rig_start(r);
    rig_client(r, &a);
    echo(&a);
    alk_server_close(r->s);
    rig_steps(r, 2);
    ck_assert_int_ne(client_try(&late, &r->uv, r->port, 0), 0);
    client_close(&late);
    echo(&a);
    /* The port is free again. */
    r->listen.port = (uint32_t)r->port;
    rig_serve(r);
    ck_assert_int_eq(r->port, (int)r->listen.port);
    rig_client(r, &late);
    echo(&late);
    client_close(&late);
    client_close(&a);
    rig_free(r);
}
END_TEST

/* ---- Unix-domain sockets ----------------------------------------------------------------------- */

START_TEST(a_unix_socket_has_its_mode_and_goes_with_its_server)
{
    static const unsigned modes[] = {0, 0660, 0600, 0666};
    struct rig *r = rig_bare();
    struct stat st;

    make_dir();
    umask(022);
    r->listen.unix_path = path;
    if (modes[_i])
        r->listen.unix_mode = modes[_i];
    rig_serve(r);
    ck_assert_int_eq(r->port, 0);
    ck_assert_int_eq(lstat(path, &st), 0);
    ck_assert(S_ISSOCK(st.st_mode));
    ck_assert_uint_eq(st.st_mode & 07777, modes[_i] ? modes[_i] : 0600);
    ck_assert_int_eq(client_try_unix(&a, &r->uv, path), 0);
    echo(&a);
    if (_i % 2) {
        alk_server_close(r->s);
        ck_assert(!exists());
        echo(&a);
    }
    rig_close(r);
    ck_assert(!exists());
    client_close(&a);
    rig_free(r);
    ck_assert_int_eq(rmdir(dir), 0);
}
END_TEST

START_TEST(a_stale_socket_is_replaced)
{
    struct rig *r = rig_bare();
    struct sockaddr_un old = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);

    make_dir();
    strcpy(old.sun_path, path);
    ck_assert_int_eq(bind(fd, (struct sockaddr *)&old, sizeof old), 0);
    close(fd);
    ck_assert(exists());
    r->listen.unix_path = path;
    rig_serve(r);
    ck_assert_int_eq(client_try_unix(&a, &r->uv, path), 0);
    echo(&a);
    client_close(&a);
    rig_close(r);
    ck_assert(!exists());
    rig_free(r);
    rmdir(dir);
}
END_TEST

START_TEST(a_socket_that_somebody_listens_on_is_not_taken_away)
{
    struct rig *r = rig_bare();
    char expected[200];

    make_dir();
    r->listen.unix_path = path;
    rig_serve(r);
    snprintf(expected, sizeof expected, "%s: another process listens on it", path);
    refuse(r, ALK_ESYSTEM, expected);
    ck_assert_int_eq(client_try_unix(&a, &r->uv, path), 0);
    echo(&a);
    client_close(&a);
    rig_free(r);
    ck_assert(!exists());
    rmdir(dir);
}
END_TEST

START_TEST(a_path_that_has_become_somebody_elses_is_left)
{
    struct rig *r = rig_bare();
    int fd;

    make_dir();
    r->listen.unix_path = path;
    rig_serve(r);
    ck_assert_int_eq(unlink(path), 0);
    ck_assert_int_ge(fd = open(path, O_CREAT | O_WRONLY | O_EXCL, 0600), 0);
    close(fd);
    rig_free(r);
    ck_assert(exists());
    unlink(path);
    rmdir(dir);
}
END_TEST

/* A file (0), a folder (1), a link to a socket (2): none of them is a socket file. */
START_TEST(nothing_but_a_socket_is_replaced)
{
    struct rig *r = rig_bare();
    char expected[200], target[128];
    int fd;

    make_dir();
    snprintf(target, sizeof target, "%s/target", dir);
    if (_i == 0)
        ck_assert_int_ge(fd = open(path, O_CREAT | O_WRONLY, 0600), 0);
    else if (_i == 1)
        ck_assert_int_eq(mkdir(path, 0700), 0);
    else
        ck_assert_int_eq(symlink(target, path), 0);
    r->listen.unix_path = path;
    snprintf(expected, sizeof expected, "listening on %s: address already in use", path);
    refuse(r, ALK_ESYSTEM, expected);
    ck_assert(exists());
    rig_free(r);
    ck_assert(exists());
    ck_assert(!remove(path));
    rmdir(dir);
}
END_TEST

START_TEST(a_path_that_cannot_be_is_named)
{
    struct rig *r = rig_bare();
    char longer[200], expected[300], err[300];
    alk_server *s;

    make_dir();
    snprintf(path, sizeof path, "%s/no/socket", dir);
    r->listen.unix_path = path;
    ck_assert_int_eq(alk_server_open(&s, r->l, &r->listen, err, sizeof err), ALK_ESYSTEM);
    ck_assert_msg(strstr(err, path) != NULL, "%s", err);
    memset(longer, 'p', sizeof longer - 1);
    longer[0] = '/';
    longer[sizeof longer - 1] = 0;
    r->listen.unix_path = longer;
    snprintf(expected, sizeof expected, "%s: the path is too long for a socket", longer);
    ck_assert_int_eq(alk_server_open(&s, r->l, &r->listen, err, sizeof err), ALK_EINVAL);
    ck_assert_str_eq(err, expected);
    rig_free(r);
    rmdir(dir);
}
END_TEST

/* ---- sockets handed over ----------------------------------------------------------------------- */

static int listening(int *port)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof at;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    ck_assert_int_eq(bind(fd, (struct sockaddr *)&at, sizeof at), 0);
    ck_assert_int_eq(listen(fd, 16), 0);
    ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&at, &n), 0);
    *port = ntohs(at.sin_port);
    return fd;
}

START_TEST(a_listening_socket_is_taken_over_with_who_waits_on_it)
{
    struct rig *r = rig_bare();
    int port, fd = listening(&port);

    r->listen.fd = fd;
    client_open(&a, &r->uv, port); /* before there is a server */
    client_send(&a, CALL_ECHO);
    rig_serve(r);
    ck_assert_int_eq(r->port, port);
    ck_assert_int_eq(client_answer(&a), 200);
    client_close(&a);
    rig_free(r);
    ck_assert_int_eq(fcntl(fd, F_GETFD), -1); /* it was given away */
}
END_TEST

START_TEST(a_unix_socket_is_taken_over_and_its_file_left)
{
    struct rig *r = rig_bare();
    struct sockaddr_un at = {.sun_family = AF_UNIX};

    make_dir();
    strcpy(at.sun_path, path);
    r->listen.fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(bind(r->listen.fd, (struct sockaddr *)&at, sizeof at), 0);
    ck_assert_int_eq(listen(r->listen.fd, 16), 0);
    rig_serve(r);
    ck_assert_int_eq(r->port, 0);
    ck_assert_int_eq(client_try_unix(&a, &r->uv, path), 0);
    echo(&a);
    client_close(&a);
    rig_free(r);
    ck_assert(exists()); /* whoever made it will want it again */
    unlink(path);
    rmdir(dir);
}
END_TEST

START_TEST(a_duplicate_of_a_servers_socket_is_served_by_another)
{
    struct rig *r = rig_bare();
    alk_server *other;
    alk_server_options o;

    make_dir();
    r->listen.unix_path = path;
    rig_serve(r);
    o = r->listen;
    o.fd = fcntl(alk_server_fd(r->s), F_DUPFD_CLOEXEC, 3);
    ck_assert_int_eq(alk_server_open(&other, r->l, &o, NULL, 0), ALK_OK);
    ck_assert_int_ne(alk_server_fd(other), alk_server_fd(r->s));
    alk_server_close(other);
    ck_assert_int_eq(alk_server_fd(other), -1);
    ck_assert(exists());
    ck_assert_int_eq(client_try_unix(&a, &r->uv, path), 0);
    echo(&a);
    client_close(&a);

    o.fd = fcntl(alk_server_fd(r->s), F_DUPFD_CLOEXEC, 3);
    ck_assert_int_eq(alk_server_open(&other, r->l, &o, NULL, 0), ALK_OK);
    ck_assert_int_eq(client_try_unix(&a, &r->uv, path), 0);
    alk_server_close(r->s); /* before it has accepted */
    ck_assert(!exists());
    echo(&a);
    client_close(&a);
    rig_free(r);
    ck_assert_int_eq(rmdir(dir), 0);
}
END_TEST

#define CALL_SECRET POST_HEAD("/call", "34") "\r\n{\"operation\":\"t/secret\",\"input\":7}"

static int users_asked;

static int by_uid(void *ud, uint32_t uid, alk_identity **out)
{
    struct rig *r = ud;

    ck_assert_uint_eq(uid, getuid());
    users_asked++;
    *out = alk_identity_ref(r->who);
    return ALK_KIND_KEY;
}

/* The user of a process that connects, once for the connection, where the listener is to know it. */
START_TEST(the_user_at_the_other_end_is_asked_for_where_that_is_an_option)
{
    struct rig *r = rig_new();
    alk_identity_provider p = *r->options.identities;

    make_dir();
    users_asked = 0;
    p.by_uid = by_uid;
    r->options.identities = &p;
    r->listen.unix_path = path;
    r->listen.peer_credentials = (uint32_t)_i;
    rig_start_bare(r);
    rig_serve(r);
    ck_assert_int_eq(client_try_unix(&a, &r->uv, path), 0);
    client_send(&a, CALL_SECRET);
    ck_assert_int_eq(client_answer(&a), _i ? 200 : 401);
    client_send(&a, CALL_SECRET);
    ck_assert_int_eq(client_answer(&a), _i ? 200 : 401);
    ck_assert_int_eq(users_asked, _i);
    client_close(&a);
    rig_free(r);
    ck_assert_int_eq(rmdir(dir), 0);
}
END_TEST

START_TEST(what_is_no_listening_socket_is_refused)
{
    struct rig *r = rig_bare();
    char err[200], expected[100];
    alk_server *s;
    int null = open("/dev/null", O_RDWR | O_CLOEXEC), udp = socket(AF_INET, SOCK_DGRAM, 0);

    r->listen.fd = null;
    snprintf(expected, sizeof expected, "descriptor %d is no socket", null);
    refuse(r, ALK_EINVAL, expected);
    close(null);
    refuse(r, ALK_EINVAL, expected);
    r->listen.fd = udp;
    ck_assert_int_lt(alk_server_open(&s, r->l, &r->listen, err, sizeof err), 0);
    ck_assert_ptr_nonnull(strstr(err, "descriptor"));
    rig_free(r);
}
END_TEST

/* ---- one node on two loops --------------------------------------------------------------------- */

#define WORKERS 2
#define CLIENTS 40

struct worker {
    struct rig *r; /* of the node */
    uv_loop_t uv;
    alk_dispatcher *d;
    alk_loop *l;
    alk_gateway *g;
    alk_server *s;
    pthread_t thread;
    int closed;
    alk_stats stats;
};

static void worker_start(struct worker *w)
{
    alk_server_options o;
    char err[200];

    ck_assert_int_eq(uv_loop_init(&w->uv), 0);
    ck_assert_int_eq(alk_dispatcher_new(&w->d, w->r->node), ALK_OK);
    ck_assert_int_eq(alk_loop_open(&w->l, &w->uv, w->d), ALK_OK);
    ck_assert_int_eq(alk_gateway_new(&w->g, w->d, NULL, NULL, 0), ALK_OK);
    alk_server_options_init(&o, sizeof o);
    o.reuse_port = 1;
    o.port = (uint32_t)w->r->port;
    o.gateway = w->g;
    ck_assert_msg(!alk_server_open(&w->s, w->l, &o, err, sizeof err), "%s", err);
    w->r->port = alk_server_port(w->s);
}

static void *worker_run(void *ud)
{
    struct worker *w = ud;

    uv_run(&w->uv, UV_RUN_DEFAULT);
    return NULL;
}

static void worker_closed(void *ud)
{
    ((struct worker *)ud)->closed++;
}

static void worker_stop(void *ud)
{
    struct worker *w = ud;

    w->stats.size = sizeof w->stats;
    alk_dispatcher_stats(w->d, &w->stats, sizeof w->stats);
    alk_loop_close(w->l, worker_closed, w);
}

START_TEST(two_loops_in_two_threads_share_node_and_port)
{
    struct rig *r = rig_bare();
    struct worker workers[WORKERS];
    struct client clients[CLIENTS];

    memset(workers, 0, sizeof workers);
    for (int i = 0; i < WORKERS; i++) {
        workers[i].r = r;
        worker_start(&workers[i]);
    }
    for (int i = 0; i < WORKERS; i++)
        ck_assert_int_eq(pthread_create(&workers[i].thread, NULL, worker_run, &workers[i]), 0);
    for (int i = 0; i < CLIENTS; i++)
        client_open(&clients[i], NULL, r->port);
    for (int round = 0; round < 20; round++) {
        for (int i = 0; i < CLIENTS; i++)
            client_send(&clients[i], CALL_ECHO);
        for (int i = 0; i < CLIENTS; i++) {
            ck_assert_int_eq(client_answer(&clients[i]), 200);
            ck_assert_ptr_nonnull(strstr(clients[i].body, "\"output\":7}"));
        }
    }
    for (int i = 0; i < WORKERS; i++)
        ck_assert_int_eq(alk_loop_post(workers[i].l, worker_stop, &workers[i]), ALK_OK);
    for (int i = 0; i < WORKERS; i++) {
        ck_assert_int_eq(pthread_join(workers[i].thread, NULL), 0);
        ck_assert_int_eq(workers[i].closed, 1);
        alk_gateway_free(workers[i].g);
        ck_assert_int_eq(uv_loop_close(&workers[i].uv), 0);
    }
    /* The kernel spread them; all arrived. */
    ck_assert_uint_eq(workers[0].stats.calls_total + workers[1].stats.calls_total, 20 * CLIENTS);
    for (int i = 0; i < CLIENTS; i++)
        client_close(&clients[i]);
    rig_free(r);
}
END_TEST

START_TEST(a_node_bounds_its_connections)
{
    struct rig *r = rig_new();
    struct client second;

    r->limits.connections = 1;
    rig_start(r);
    rig_client(r, &a);
    echo(&a);
    rig_client(r, &second);
    client_ended(&second);
    client_close(&second);
    echo(&a);
    client_close(&a);
    rig_steps(r, 10);
    rig_client(r, &a);
    echo(&a);
    client_close(&a);
    rig_free(r);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("listen");
    TCase *t = tcase_create("listen");
    SRunner *runner = srunner_create(suite);
    int failed;

    tcase_add_test(t, the_kernel_chooses_a_port_on_loopback);
    tcase_add_test(t, dual_stack_serves_both_families);
    tcase_add_test(t, wrong_options_are_named);
    tcase_add_test(t, a_taken_port_is_named);
    tcase_add_test(t, an_address_that_is_not_ours_is_named);
    tcase_add_test(t, a_closed_server_leaves_its_connections);
    tcase_add_loop_test(t, a_unix_socket_has_its_mode_and_goes_with_its_server, 0, 4);
    tcase_add_test(t, a_stale_socket_is_replaced);
    tcase_add_test(t, a_socket_that_somebody_listens_on_is_not_taken_away);
    tcase_add_test(t, a_path_that_has_become_somebody_elses_is_left);
    tcase_add_loop_test(t, nothing_but_a_socket_is_replaced, 0, 3);
    tcase_add_test(t, a_path_that_cannot_be_is_named);
    tcase_add_test(t, a_listening_socket_is_taken_over_with_who_waits_on_it);
    tcase_add_test(t, a_unix_socket_is_taken_over_and_its_file_left);
    tcase_add_test(t, a_duplicate_of_a_servers_socket_is_served_by_another);
    tcase_add_loop_test(t, the_user_at_the_other_end_is_asked_for_where_that_is_an_option, 0, 2);
    tcase_add_test(t, what_is_no_listening_socket_is_refused);
    tcase_add_test(t, two_loops_in_two_threads_share_node_and_port);
    tcase_add_test(t, a_node_bounds_its_connections);
    suite_add_tcase(suite, t);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
