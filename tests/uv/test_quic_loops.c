/* Several loops, each on a thread of its own, serve one UDP port: a packet comes to the loop that has
 * its connection, chosen by the kernel or passed on. Also run with the thread sanitizer. */
#include "core/dispatcher.h"
#include "support/suite.h"
#include "uv/rig.h"
#include "uv/udp_group.h"

#include <linux/filter.h>
#include <alknet/dial.h>
#include <pthread.h>

#define LOOPS 2
#define LINES 16 /* by chance alone, no loop is left without one */

struct serving {
    uv_loop_t uv;
    alk_loop *l;
    alk_gateway *g;
    alk_server *s;
    pthread_t thread;
    uv_sem_t held, go;
    bool over;
};

/* A connection of the test's. */
struct line {
    alk_dialer *x;
    int readies, losses, ends, faults;
    int loop; /* of the server's */
    size_t bytes;
};

static struct scene {
    struct rig *r;
    struct serving loops[LOOPS];
    struct line lines[LINES];
    alk_tls *server, *client;
    char url[120];
    int freed, dialled;
} t;

static int serve_where(alk_call *call, void *ud)
{
    char text[2] = "0";

    (void)ud;
    for (int i = 0; i < LOOPS; i++)
        text[0] = (char)(alk_call_loop(call) == &t.loops[i].uv ? '0' + i : text[0]);
    return alk_call_reply(call, text, 1);
}

/* ---- the server ------------------------------------------------------------------------------ */

static alk_tls *make_tls(bool client, char fingerprint[ALK_TLS_FINGERPRINT])
{
    char file[60] = "/tmp/alknet-loops.XXXXXX", err[200];
    alk_tls_options o;
    alk_tls *out;

    ck_assert_ptr_nonnull(mkdtemp(file));
    strcat(file, "/key");
    ck_assert_msg(!alk_key_new(file, fingerprint, err, sizeof err), "%s", err);
    alk_tls_options_init(&o, sizeof o);
    o.client = client;
    o.raw_key = client ? NULL : file;
    ck_assert_msg(!alk_tls_new(&out, &o, err, sizeof err), "%s", err);
    remove(file);
    *strrchr(file, '/') = 0;
    remove(file);
    return out;
}

/* fd -1: it shares the port of the first, or has the first one. */
static void open_loop(struct serving *v, int fd)
{
    alk_gateway_options g;
    alk_server_options o;
    alk_dispatcher *d;
    char err[200];

    ck_assert_int_eq(uv_loop_init(&v->uv), 0);
    ck_assert_int_eq(alk_dispatcher_new(&d, t.r->node), ALK_OK);
    alk_gateway_options_init(&g, sizeof g);
    ck_assert_msg(!alk_gateway_new(&v->g, d, &g, err, sizeof err), "%s", err);
    ck_assert_int_eq(alk_loop_open(&v->l, &v->uv, d), ALK_OK);
    alk_server_options_init(&o, sizeof o);
    o.gateway = v->g;
    o.tls = t.server;
    o.quic = 1;
    o.reuse_port = 1;
    o.fd = fd;
    if (v != t.loops)
        o.port = (uint32_t)alk_server_port(t.loops[0].s);
    ck_assert_msg(!alk_server_open(&v->s, v->l, &o, err, sizeof err), "%s", err);
    uv_sem_init(&v->held, 0);
    uv_sem_init(&v->go, 0);
}

static void *run_loop(void *ud)
{
    uv_run(&((struct serving *)ud)->uv, UV_RUN_DEFAULT);
    return NULL;
}

static void begin(bool one_socket)
{
    char pin[ALK_TLS_FINGERPRINT], other[ALK_TLS_FINGERPRINT];

    t.r = rig_new();
    t.r->limits.anonymous_bytes = 64u << 20;
    rig_add(t.r, "t/where", ALK_QUERY, serve_where, NULL, NULL);
    rig_start_bare(t.r);
    t.server = make_tls(false, pin);
    t.client = make_tls(true, other);
    for (int i = 0; i < LOOPS; i++)
        open_loop(&t.loops[i], one_socket && i ? dup(alk_server_fd(t.loops[0].s)) : -1);
    snprintf(t.url, sizeof t.url, "alknet://127.0.0.1:%d#%s", alk_server_port(t.loops[0].s), pin);
    for (int i = 0; i < LOOPS; i++)
        ck_assert_int_eq(pthread_create(&t.loops[i].thread, NULL, run_loop, &t.loops[i]), 0);
}

static void do_close(void *ud)
{
    alk_loop_close(((struct serving *)ud)->l, NULL, NULL);
}

/* Its thread ends with it. */
static void end_loop(struct serving *v)
{
    if (v->over)
        return;
    v->over = true;
    ck_assert_int_eq(alk_loop_post(v->l, do_close, v), ALK_OK);
    ck_assert_int_eq(pthread_join(v->thread, NULL), 0);
    alk_gateway_free(v->g);
    ck_assert_int_eq(uv_loop_close(&v->uv), 0);
    uv_sem_destroy(&v->held);
    uv_sem_destroy(&v->go);
}

static void end(void)
{
    for (int i = 0; i < LOOPS; i++)
        end_loop(&t.loops[i]);
    rig_free(t.r);
    ck_assert_int_eq(t.freed, t.dialled);
    alk_tls_unref(t.server);
    alk_tls_unref(t.client);
}

static void do_leave(void *ud)
{
    alk_server_close(((struct serving *)ud)->s);
}

static void do_hold(void *ud)
{
    struct serving *v = ud;

    uv_sem_post(&v->held);
    uv_sem_wait(&v->go);
}

/* It does nothing until it is let go. */
static void hold(struct serving *v)
{
    ck_assert_int_eq(alk_loop_post(v->l, do_hold, v), ALK_OK);
    uv_sem_wait(&v->held);
}

static void let_go(struct serving *v)
{
    uv_sem_post(&v->go);
}

/* From here on, what has a short header comes to the wrong one of two loops. */
static void lead_astray(void)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 0), BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, 0x80, 0, 2),
        BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 6), BPF_STMT(BPF_RET | BPF_A, 0),
        BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 1), BPF_STMT(BPF_ALU | BPF_XOR | BPF_K, 1),
        BPF_STMT(BPF_RET | BPF_A, 0),
    };
    struct sock_fprog program = {sizeof code / sizeof code[0], code};

    ck_assert_int_eq(setsockopt(alk_server_fd(t.loops[0].s), SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF,
                                &program, sizeof program),
                     0);
}

/* ---- the clients ----------------------------------------------------------------------------- */

static void on_line(alk_dialer *x, const alk_dial_event *e, void *ud)
{
    struct line *n = ud;

    (void)x;
    n->readies += e->state == ALK_DIAL_READY;
    n->losses += e->state == ALK_DIAL_LOST || e->state == ALK_DIAL_FAILED;
}

static void on_line_gone(void *ud)
{
    (void)ud;
    t.freed++;
}

static void dial_line(struct line *n)
{
    alk_dial_options o;
    char err[200];

    alk_dial_options_init(&o, sizeof o);
    o.url = t.url;
    o.tls = t.client;
    o.reconnect = 0;
    o.on_event = on_line;
    o.ud_free = on_line_gone;
    o.ud = n;
    ck_assert_msg(!alk_dial(&n->x, t.r->l, &o, err, sizeof err), "%s", err);
    t.dialled++;
}

static void on_line_value(alk_call *call, const alk_value *value, void *ud)
{
    struct line *n = ud;
    const char *text = alk_value_text(value, &n->bytes);

    (void)call;
    if (n->bytes == 1)
        n->loop = *text - '0';
}

static void on_line_end(alk_call *call, int why, const alk_fault *fault, void *ud)
{
    struct line *n = ud;

    (void)call;
    (void)why;
    n->ends++;
    n->faults += fault != NULL;
}

static void ask_line(struct line *n, const char *operation, const char *input)
{
    alk_call_options o = {.size = sizeof o};

    o.on_event = on_line_value;
    o.on_end = on_line_end;
    o.ud = n;
    ck_assert_int_eq(alk_connection_call(alk_dialer_connection(n->x), operation, strlen(operation),
                                         input, strlen(input), &o, NULL),
                     ALK_OK);
}

static int sum(size_t offset)
{
    int n = 0;

    for (int i = 0; i < LINES; i++)
        n += *(int *)(void *)((char *)&t.lines[i] + offset);
    return n;
}

#define ALL(member) sum(offsetof(struct line, member))

static int on_loop(int loop)
{
    int n = 0;

    for (int i = 0; i < LINES; i++)
        n += t.lines[i].loop == loop;
    return n;
}

/* Each line asks for its loop. */
static void locate(void)
{
    int ends = ALL(ends);

    for (int i = 0; i < LINES; i++)
        ask_line(&t.lines[i], "t/where", "null");
    rig_until(t.r, ALL(ends) == ends + LINES);
    ck_assert_int_eq(ALL(faults), 0);
}

static void dial_lines(void)
{
    memset(t.lines, 0, sizeof t.lines);
    for (int i = 0; i < LINES; i++)
        dial_line(&t.lines[i]);
    rig_until(t.r, ALL(readies) == LINES);
    locate();
}

/* All clients' sockets get other ports, as by a NAT that has forgotten them. */
static void move_lines(void)
{
    struct sockaddr_in a, nobody = {.sin_family = AF_UNSPEC};
    int moved = 0;

    for (int fd = 0; fd < 1024; fd++) {
        socklen_t n = sizeof a;

        if (getpeername(fd, (struct sockaddr *)&a, &n) || a.sin_family != AF_INET ||
            ntohs(a.sin_port) != alk_server_port(t.loops[0].s))
            continue;
        ck_assert_int_eq(connect(fd, (struct sockaddr *)&nobody, sizeof nobody), 0);
        ck_assert_int_eq(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
        moved++;
    }
    ck_assert_int_eq(moved, LINES);
}

/* As much as several queues between loops hold. */
static void talk_much(void)
{
    size_t size = 3u << 20;
    char *text = malloc(size + 1);
    int ends = ALL(ends);

    ck_assert_ptr_nonnull(text);
    memset(text, 'x', size);
    text[0] = text[size - 1] = '"';
    text[size] = 0;
    for (int i = 0; i < 2; i++)
        ask_line(&t.lines[i], "t/echo", text);
    rig_until(t.r, ALL(ends) == ends + 2);
    ck_assert_int_eq(ALL(faults), 0);
    ck_assert_uint_eq(t.lines[0].bytes, size);
    free(text);
}

/* ---- tests ----------------------------------------------------------------------------------- */

START_TEST(the_kernel_brings_each_packet_to_its_loop)
{
    begin(false);
    dial_lines();
    ck_assert(on_loop(0) && on_loop(1));
    for (int held = 0; held < LOOPS; held++) {
        int ends = ALL(ends);

        hold(&t.loops[held]);
        move_lines();
        for (int i = 0; i < LINES; i++) {
            if (t.lines[i].loop != held)
                ask_line(&t.lines[i], "t/echo", "true");
        }
        rig_until(t.r, ALL(ends) == ends + on_loop(1 - held));
        let_go(&t.loops[held]);
    }
    talk_much();
    ck_assert_int_eq(ALL(faults), 0);
    end();
}
END_TEST

START_TEST(what_comes_to_another_loop_is_passed_on)
{
    begin(false);
    lead_astray();
    dial_lines();
    ck_assert(on_loop(0) && on_loop(1));
    for (int round = 0; round < 20; round++)
        locate();
    talk_much();
    end();
}
END_TEST

/* A packet is read by whichever loop is first. */
START_TEST(loops_that_read_one_socket_pass_on_what_is_not_theirs)
{
    begin(true);
    dial_lines();
    for (int round = 0; round < 20; round++)
        locate();
    talk_much();
    end();
}
END_TEST

static void close_and_go_on(bool astray)
{
    int kept, lost;

    begin(false);
    if (astray)
        lead_astray();
    dial_lines();
    lost = on_loop(0);
    kept = on_loop(1);
    end_loop(&t.loops[0]);
    rig_until(t.r, ALL(losses) == lost);
    for (int i = 0; i < LINES; i++) {
        if (t.lines[i].loop == 1)
            ask_line(&t.lines[i], "t/echo", "true");
    }
    rig_until(t.r, ALL(ends) == LINES + kept);
    ck_assert_int_eq(ALL(faults), 0);
    dial_lines();
    ck_assert_int_eq(on_loop(1), LINES);
    end();
}

START_TEST(a_loop_is_closed_while_another_goes_on)
{
    close_and_go_on(_i == 1);
}
END_TEST

/* Its connections stay, whose packets come to either loop, and nobody new comes to it. */
START_TEST(a_server_is_closed_while_another_goes_on)
{
    struct line before[LINES];
    int ends;

    begin(_i == 1);
    if (_i == 2)
        lead_astray();
    dial_lines();
    memcpy(before, t.lines, sizeof before);
    ck_assert_int_eq(alk_loop_post(t.loops[0].l, do_leave, &t.loops[0]), ALK_OK);
    /* A post that comes behind it shows that it has been done. */
    hold(&t.loops[0]);
    let_go(&t.loops[0]);
    ends = ALL(ends);
    locate();
    ck_assert_int_eq(ALL(ends), ends + LINES);
    for (int i = 0; i < LINES; i++) {
        ck_assert_int_eq(t.lines[i].loop, before[i].loop);
        alk_dialer_close(t.lines[i].x);
    }
    rig_until(t.r, t.freed == LINES);
    dial_lines();
    ck_assert_int_eq(on_loop(1), LINES);
    end();
}
END_TEST

/* Clients come and go, and packets are led astray, until both loops end at some moment. */
START_TEST(loops_end_in_the_middle_of_it_all)
{
    begin(_i & 1);
    if (!(_i & 1))
        lead_astray();
    dial_lines();
    for (int i = 0; i < 200; i++)
        ask_line(&t.lines[i % LINES], "t/echo", "\"some text that is not short\"");
    rig_steps(t.r, (uint64_t)(_i / 2));
    end();
}
END_TEST

/* ---- the group ------------------------------------------------------------------------------- */

static unsigned fed, fed_bytes;

static void count_fed(void *ud, const struct quic_datagram *d)
{
    must(d->passed && *(unsigned *)ud <= 9);
    fed++;
    fed_bytes += (unsigned)d->len;
}

struct group_scene {
    struct rig *r;
    struct udp_place *p[3];
    unsigned marks[3];
};

static struct group_scene *group_new(bool shared)
{
    struct group_scene *s = calloc(1, sizeof *s);
    struct quic_address a = {.len = 16};

    ck_assert_ptr_nonnull(s);
    s->r = rig_new();
    rig_start(s->r);
    fed = fed_bytes = 0;
    for (unsigned i = 0; i < 3; i++) {
        ck_assert_int_eq(udp_group_join(&s->p[i], s->r->l, &a, -1, shared, count_fed, &s->marks[i]),
                         ALK_OK);
        ck_assert_uint_eq(s->marks[i] = udp_place_mark(s->p[i]), i);
    }
    return s;
}

static void group_free(struct group_scene *s)
{
    for (unsigned i = 0; i < 3; i++) {
        if (s->p[i])
            udp_group_quit(s->p[i]);
    }
    rig_free(s->r);
    free(s);
}

static bool pass_on(struct udp_place *p, size_t len, unsigned mark, bool begins)
{
    static const uint8_t bytes[2000];
    struct quic_datagram d = {.data = bytes, .len = len};

    return udp_group_pass(p, &d, mark, begins);
}

START_TEST(a_packet_is_passed_to_its_place_and_to_no_other)
{
    struct group_scene *s = group_new(false);

    ck_assert(pass_on(s->p[0], 100, 1, false));
    rig_until(s->r, fed == 1);
    ck_assert(!pass_on(s->p[0], 100, 0, false));
    ck_assert(!pass_on(s->p[0], 100, 3, false));
    ck_assert(!pass_on(s->p[0], 100, 255, false));
    /* What begins a connection stays, unless its id is one of ours. */
    ck_assert(!pass_on(s->p[0], 100, 77, true));
    ck_assert(pass_on(s->p[0], 100, 2, true));
    rig_until(s->r, fed == 2);
    udp_group_leave(s->p[0]);
    ck_assert(pass_on(s->p[0], 100, 77, true));
    ck_assert(pass_on(s->p[1], 100, 0, false));
    ck_assert(!pass_on(s->p[1], 100, 0, true));
    rig_until(s->r, fed == 4);
    udp_group_quit(s->p[0]);
    s->p[0] = NULL;
    ck_assert(!pass_on(s->p[1], 100, 0, false));
    ck_assert(!pass_on(s->p[1], 100, 0, true));
    udp_group_leave(s->p[1]);
    udp_group_leave(s->p[2]);
    ck_assert(!pass_on(s->p[1], 100, 77, true));
    group_free(s);
}
END_TEST

START_TEST(who_reads_one_socket_agrees_on_whose_a_new_connection_is)
{
    struct group_scene *s = group_new(true);
    unsigned own[3] = {0}, passed = 0;

    for (unsigned mark = 0; mark < 256; mark++) {
        unsigned owners = 0;

        for (unsigned i = 0; i < 3; i++) {
            bool own_one = !pass_on(s->p[i], 10, mark, true);

            owners += own_one;
            own[i] += own_one;
            passed += !own_one;
        }
        ck_assert_uint_eq(owners, 1);
    }
    for (unsigned i = 0; i < 3; i++)
        ck_assert_uint_ge(own[i], 80);
    rig_until(s->r, fed == passed);
    group_free(s);
}
END_TEST

START_TEST(the_queue_of_a_place_has_limits)
{
    struct group_scene *s = group_new(false);

    for (unsigned i = 0; i < 5000; i++)
        ck_assert(pass_on(s->p[0], 10, 1, false));
    rig_until(s->r, fed == 1024);
    rig_steps(s->r, 20);
    ck_assert_uint_eq(fed, 1024);
    for (unsigned i = 0; i < 5000; i++)
        ck_assert(pass_on(s->p[0], 2000, 1, false));
    fed_bytes = 0;
    rig_until(s->r, fed == 1024 + (1u << 20) / 2000);
    rig_steps(s->r, 20);
    ck_assert_uint_eq(fed, 1024 + (1u << 20) / 2000);
    /* One that quits leaves nothing behind. */
    for (unsigned i = 0; i < 100; i++)
        ck_assert(pass_on(s->p[0], 2000, 2, false));
    udp_group_quit(s->p[2]);
    s->p[2] = NULL;
    rig_steps(s->r, 20);
    ck_assert_uint_eq(fed, 1024 + (1u << 20) / 2000);
    group_free(s);
}
END_TEST

START_TEST(a_group_has_256_places)
{
    static struct udp_place *p[UDP_PLACES];
    struct group_scene *s = group_new(false);
    struct quic_address a = {.len = 16}, b = {.len = 16, .bytes = {1}};
    struct udp_place *other;

    for (unsigned i = 3; i < UDP_PLACES; i++)
        ck_assert_int_eq(udp_group_join(&p[i], s->r->l, &a, -1, false, count_fed, &s->marks[0]),
                         ALK_OK);
    ck_assert_int_eq(udp_group_join(&other, s->r->l, &a, -1, false, count_fed, &s->marks[0]),
                     ALK_EINVAL);
    ck_assert(udp_group_exists(s->r->node, &a) && !udp_group_exists(s->r->node, &b));
    ck_assert_int_eq(udp_group_join(&other, s->r->l, &b, -1, false, count_fed, &s->marks[0]),
                     ALK_OK);
    ck_assert_uint_eq(udp_place_mark(other), 0);
    udp_group_quit(other);
    ck_assert(!udp_group_exists(s->r->node, &b));
    udp_group_quit(p[100]);
    ck_assert_int_eq(udp_group_join(&p[100], s->r->l, &a, -1, false, count_fed, &s->marks[0]),
                     ALK_OK);
    ck_assert_uint_eq(udp_place_mark(p[100]), 100);
    for (unsigned i = 3; i < UDP_PLACES; i++)
        udp_group_quit(p[i]);
    group_free(s);
}
END_TEST

START_TEST(a_port_is_one_nodes)
{
    struct rig *r;
    char err[200];

    begin(false);
    r = rig_new();
    rig_start_bare(r);
    r->listen.tls = t.server;
    r->listen.quic = 1;
    r->listen.reuse_port = 1;
    r->listen.port = (uint32_t)alk_server_port(t.loops[0].s);
    ck_assert_int_eq(alk_server_open(&r->s, r->l, &r->listen, err, sizeof err), ALK_ESYSTEM);
    ck_assert_str_eq(err, "127.0.0.1: Address already in use");
    rig_free(r);
    end();
}
END_TEST

static long fail_in;

static void *realloc_that_fails(void *ud, void *p, size_t size)
{
    return size && fail_in && !--fail_in ? NULL : rig_realloc(ud, p, size);
}

START_TEST(a_listener_without_memory_leaves_nothing)
{
    struct rig *r = rig_new();
    char pin[ALK_TLS_FINGERPRINT], err[200];
    int rc = ALK_ENOMEM;
    unsigned failures = 0;

    r->options.realloc = realloc_that_fails;
    rig_start_bare(r);
    r->listen.tls = make_tls(false, pin);
    r->listen.quic = 1;
    r->listen.reuse_port = 1;
    for (long i = 1; rc; i++) {
        fail_in = i;
        rc = alk_server_open(&r->s, r->l, &r->listen, err, sizeof err);
        fail_in = 0;
        ck_assert(rc == ALK_OK || rc == ALK_ENOMEM);
        failures += rc != ALK_OK;
    }
    ck_assert_uint_ge(failures, 4);
    alk_tls_unref(r->listen.tls);
    rig_free(r);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("quic loops");
    TCase *c = tcase_create("loops");
    SRunner *runner = srunner_create(s);
    int failed;

    tcase_set_timeout(c, 120);
    tcase_add_test(c, the_kernel_brings_each_packet_to_its_loop);
    tcase_add_test(c, what_comes_to_another_loop_is_passed_on);
    tcase_add_test(c, loops_that_read_one_socket_pass_on_what_is_not_theirs);
    tcase_add_loop_test(c, a_loop_is_closed_while_another_goes_on, 0, 2);
    tcase_add_loop_test(c, a_server_is_closed_while_another_goes_on, 0, 3);
    tcase_add_loop_test(c, loops_end_in_the_middle_of_it_all, 0, 10);
    tcase_add_test(c, a_packet_is_passed_to_its_place_and_to_no_other);
    tcase_add_test(c, who_reads_one_socket_agrees_on_whose_a_new_connection_is);
    tcase_add_test(c, the_queue_of_a_place_has_limits);
    tcase_add_test(c, a_group_has_256_places);
    tcase_add_test(c, a_port_is_one_nodes);
    tcase_add_test(c, a_listener_without_memory_leaves_nothing);
    suite_add_tcase(s, c);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
