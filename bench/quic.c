/* QUIC in one process on one core:  quic PAIRS CALLS
 *
 * Client and server are on one loop and speak over loopback. Beside the library's runs, in turn with them, there are those of
 * bare ngtcp2 with GnuTLS, with the same keys, batches and sockets, which echoes bytes of the length of the library's
 * envelopes on one stream or on one for each echo, and knows of no call; and a UDP echo on libuv. What a line says is CPU time
 * of both sides together, since they share the core, and for one call at a time the median of its time. Handshakes are full and
 * mutual with raw keys, in memory, without a socket. A line of JSON for each pair. */
#include "quic_bare.h"

#include "wire/quic.h"

#include <alknet/uv.h>

static char folder[64], server_key[96], client_key[96];

static int compare_times(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return x < y ? -1 : x > y;
}

static void make_keys(void)
{
    alk_tls_options o;
    char err[200];

    snprintf(folder, sizeof folder, "/tmp/alknet-bench.XXXXXX");
    must(mkdtemp(folder));
    snprintf(server_key, sizeof server_key, "%s/server", folder);
    snprintf(client_key, sizeof client_key, "%s/client", folder);
    if (alk_key_new(server_key, server_print, err, sizeof err) ||
        alk_key_new(client_key, client_print, err, sizeof err))
        fail("%s", err);
    alk_tls_options_init(&o, sizeof o);
    o.raw_key = server_key;
    if (alk_tls_new(&server_tls, &o, err, sizeof err))
        fail("%s", err);
    o.raw_key = client_key;
    o.client = 1;
    o.pin = server_print;
    if (alk_tls_new(&client_tls, &o, err, sizeof err))
        fail("%s", err);
    unlink(server_key);
    unlink(client_key);
    rmdir(folder);
}

/* ---- the library ----------------------------------------------------------------------------- */

static struct ours {
    uv_loop_t uv;
    alk_loop *server, *client;
    alk_connection *conn;
    uint64_t begun, *times;
    int calls, done, total, in_flight;
} ours;

static int echo(alk_call *call, void *ud)
{
    size_t len;
    const char *text = alk_value_text(alk_call_input(call), &len);

    (void)ud;
    return alk_call_reply(call, text, len);
}

static void begin_call(void);

static void on_end(alk_call *call, int why, const alk_fault *fault, void *ud)
{
    (void)call;
    (void)why;
    (void)ud;
    if (fault)
        fail("%s: %s", fault->code, fault->message);
    if (ours.times)
        ours.times[ours.done] = now_ns() - ours.begun;
    ours.done++;
    if (ours.calls < ours.total)
        begin_call();
}

static void begin_call(void)
{
    alk_call_options o = {.size = sizeof o};

    o.on_end = on_end;
    ours.calls++;
    ours.begun = ours.times ? now_ns() : 0;
    if (alk_connection_call(ours.conn, "demo/echo", 9, INPUT, sizeof INPUT - 1, &o, NULL))
        fail("a call does not begin");
}

static void on_dial(alk_dialer *x, const alk_dial_event *e, void *ud)
{
    (void)x;
    (void)ud;
    if (e->state == ALK_DIAL_FAILED)
        fail("%s", e->message);
    if (e->state == ALK_DIAL_OPEN)
        ours.conn = e->connection;
}

/* Everything but the calls is made and unmade here; CPU time of the calls is what is returned. */
static uint64_t run_ours(int total, int in_flight, bool each, uint64_t *times)
{
    alk_registry *reg = alk_registry_new();
    alk_identities *ids = alk_identities_new();
    alk_identity_provider provider;
    alk_operation op;
    alk_node *node;
    alk_node_options no;
    alk_dispatcher *d[2];
    alk_gateway *gateway;
    alk_server *server;
    alk_server_options so;
    alk_dial_options o;
    alk_dialer *dialer;
    char json[256], url[160], err[200] = "";
    uint64_t cpu;

    memset(&ours, 0, sizeof ours);
    uv_loop_init(&ours.uv);
    alk_operation_init(&op, sizeof op);
    op.name = "demo/echo";
    op.handler = echo;
    snprintf(json, sizeof json, "{\"peers\":[{\"peer_id\":\"me\",\"fingerprints\":[\"%s\"]}]}",
             client_print);
    alk_node_options_init(&no, sizeof no);
    alk_server_options_init(&so, sizeof so);
    if (alk_registry_add(reg, &op) || alk_registry_freeze(reg) ||
        alk_identities_load(ids, json, strlen(json), 0, NULL, err, sizeof err))
        fail("the node: %s", err);
    alk_identities_provider(ids, &provider, sizeof provider);
    no.identities = &provider;
    if (alk_node_new(&node, reg, &no) || alk_dispatcher_new(&d[0], node) ||
        alk_dispatcher_new(&d[1], node) || alk_loop_open(&ours.server, &ours.uv, d[0]) ||
        alk_loop_open(&ours.client, &ours.uv, d[1]) ||
        alk_gateway_new(&gateway, d[0], NULL, NULL, 0))
        fail("the node");
    so.gateway = gateway;
    so.tls = server_tls;
    so.quic = 1;
    if (alk_server_open(&server, ours.server, &so, err, sizeof err))
        fail("%s", err);
    snprintf(url, sizeof url, "alknet://127.0.0.1:%d", alk_server_port(server));
    alk_dial_options_init(&o, sizeof o);
    o.url = url;
    o.tls = client_tls;
    o.on_event = on_dial;
    o.stream_per_call = each;
    if (alk_dial(&dialer, ours.client, &o, err, sizeof err))
        fail("%s", err);
    while (!ours.conn)
        uv_run(&ours.uv, UV_RUN_ONCE);
    /* Warm, and not counted. */
    ours.total = total / 10 + in_flight;
    for (int i = 0; i < in_flight; i++)
        begin_call();
    while (ours.done < ours.total)
        uv_run(&ours.uv, UV_RUN_ONCE);
    ours.calls = ours.done = 0;
    ours.total = total;
    ours.times = times;
    cpu = cpu_ns();
    for (int i = 0; i < in_flight; i++)
        begin_call();
    while (ours.done < ours.total)
        uv_run(&ours.uv, UV_RUN_ONCE);
    cpu = cpu_ns() - cpu;
    alk_loop_close(ours.client, NULL, NULL);
    alk_loop_close(ours.server, NULL, NULL);
    uv_run(&ours.uv, UV_RUN_DEFAULT);
    uv_loop_close(&ours.uv);
    alk_gateway_free(gateway);
    alk_node_unref(node);
    alk_identities_free(ids);
    alk_registry_unref(reg);
    return cpu;
}

/* ---- handshakes ------------------------------------------------------------------------------ */

struct shake {
    bool ready;
};

static void on_ready(void *ud, const char *fingerprint, uint64_t now)
{
    (void)now;
    ((struct shake *)ud)->ready = *fingerprint != 0;
}

static void on_over(void *ud, int64_t code, const char *why, uint64_t now)
{
    (void)ud;
    (void)code;
    (void)why;
    (void)now;
}

static void on_streams(void *ud)
{
    (void)ud;
}

static const struct quic_events shake_events = {
    .ready = on_ready, .streams = on_streams, .over = on_over};

static bool shake_accept(void *ud, struct quic_conn *c, const char *address,
                         const struct quic_events **events, void **conn_ud, uint64_t now)
{
    (void)c;
    (void)address;
    (void)now;
    *events = &shake_events;
    *conn_ud = ud;
    return true;
}

static void shake_wake(void *ud)
{
    (void)ud;
}

static void pass(struct quic *from, struct quic *to)
{
    static uint8_t buf[65536];
    struct quic_batch b;
    size_t n;

    while ((n = quic_pull(from, buf, sizeof buf, &b, stamp()))) {
        for (size_t at = 0; at < n; at += b.segment) {
            struct quic_datagram d = {.local = b.remote,
                                      .remote = b.local,
                                      .data = buf + at,
                                      .len = n - at < b.segment ? n - at : b.segment};

            quic_feed(to, &d, stamp());
        }
    }
}

static uint64_t our_handshakes(void)
{
    struct quic_limits limits = {1024,        1024,        256u << 10,  1u << 20,
                                 10 * SECOND, 30 * SECOND, 10 * SECOND, 30 * SECOND};
    struct shake there = {0};
    struct quic_app app = {shake_accept, shake_wake, &there};
    struct quic_options so = {&memory, host_default(), &app, &limits, server_tls},
                        co = {&memory, host_default(), &app, &limits, NULL};
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = 1},
                       b = {.sin_family = AF_INET, .sin_port = 2};
    struct quic_address local = {.len = sizeof a}, remote = {.len = sizeof b};
    struct quic *server = quic_new(&so);
    uint64_t cpu = cpu_ns();

    memcpy(local.bytes, &a, sizeof a);
    memcpy(remote.bytes, &b, sizeof b);
    for (int i = 0; i < HANDSHAKES; i++) {
        struct quic *client = quic_new(&co);
        struct shake here = {0};
        struct quic_target to = {&local, &remote, "127.0.0.1", server_print, false, client_tls};
        struct quic_conn *c = quic_connect(client, &to, &shake_events, &here, stamp());

        there.ready = false;
        while (!here.ready || !there.ready) {
            pass(client, server);
            pass(server, client);
        }
        quic_close(c, 0, "");
        pass(client, server);
        quic_free(client);
    }
    cpu = cpu_ns() - cpu;
    quic_free(server);
    return cpu;
}

/* ---- UDP ------------------------------------------------------------------------------------- */

static struct udp_run {
    uv_loop_t uv;
    uv_udp_t server, client;
    struct sockaddr_in to;
    uint64_t begun, *times;
    int done, total;
} udp;

static void udp_alloc(uv_handle_t *h, size_t size, uv_buf_t *out)
{
    static char buf[65536];

    (void)h;
    (void)size;
    *out = uv_buf_init(buf, sizeof buf);
}

static void udp_ask(void)
{
    uv_buf_t b = uv_buf_init((char *)payload, BYTES);

    udp.begun = now_ns();
    if (uv_udp_try_send(&udp.client, &b, 1, (struct sockaddr *)&udp.to) < 0)
        fail("UDP");
}

static void udp_received(uv_udp_t *h, ssize_t n, const uv_buf_t *buf, const struct sockaddr *from,
                         unsigned flags)
{
    uv_buf_t b = uv_buf_init(buf->base, (unsigned)(n > 0 ? n : 0));

    (void)flags;
    if (n <= 0)
        return;
    if (h == &udp.server) {
        uv_udp_try_send(h, &b, 1, from);
        return;
    }
    udp.times[udp.done++] = now_ns() - udp.begun;
    if (udp.done < udp.total)
        udp_ask();
    else
        uv_stop(&udp.uv);
}

static void run_udp(int total, uint64_t *times)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int n = sizeof udp.to;

    memset(&udp, 0, sizeof udp);
    udp.total = total;
    udp.times = times;
    uv_loop_init(&udp.uv);
    uv_udp_init(&udp.uv, &udp.server);
    uv_udp_init(&udp.uv, &udp.client);
    if (uv_udp_bind(&udp.server, (struct sockaddr *)&a, 0) ||
        uv_udp_bind(&udp.client, (struct sockaddr *)&a, 0) ||
        uv_udp_getsockname(&udp.server, (struct sockaddr *)&udp.to, &n))
        fail("UDP");
    uv_udp_recv_start(&udp.server, udp_alloc, udp_received);
    uv_udp_recv_start(&udp.client, udp_alloc, udp_received);
    udp_ask();
    uv_run(&udp.uv, UV_RUN_DEFAULT);
    uv_close((uv_handle_t *)&udp.server, NULL);
    uv_close((uv_handle_t *)&udp.client, NULL);
    uv_run(&udp.uv, UV_RUN_DEFAULT);
    uv_loop_close(&udp.uv);
}

static uint64_t median(uint64_t *times, int n)
{
    qsort(times, (size_t)n, sizeof *times, compare_times);
    return times[n / 2];
}

int main(int argc, char **argv)
{
    int pairs = argc > 1 ? atoi(argv[1]) : 7, calls = argc > 2 ? atoi(argv[2]) : 50000,
        few = calls / 10;
    uint64_t *times = must(calloc((size_t)few + 1, sizeof *times));

    mem_init(&memory, NULL, NULL);
    make_keys();
    for (int i = 0; i < pairs; i++) {
        double shared = (double)run_ours(calls, IN_FLIGHT, false, NULL) / calls,
               bare_shared = (double)run_bare(calls, false) / calls;
        double each = (double)run_ours(calls, IN_FLIGHT, true, NULL) / calls,
               bare_each = (double)run_bare(calls, true) / calls;
        double hand = (double)our_handshakes() / HANDSHAKES,
               bare_hand = (double)bare_handshakes() / HANDSHAKES;
        uint64_t one, plain;

        run_ours(few, 1, false, times);
        one = median(times, few);
        run_udp(few, times);
        plain = median(times, few);
        printf("{\"shared\":%.0f,\"bare_shared\":%.0f,\"each\":%.0f,\"bare_each\":%.0f,"
               "\"handshake\":%.0f,\"bare_handshake\":%.0f,"
               "\"one\":%llu,\"udp\":%llu}\n",
               shared, bare_shared, each, bare_each, hand, bare_hand, (unsigned long long)one,
               (unsigned long long)plain);
        fflush(stdout);
    }
    free(times);
    alk_tls_unref(server_tls);
    alk_tls_unref(client_tls);
    return 0;
}
