/* A load generator for calls by the public interface:  load_peer call URL WHO OPERATION INPUT OUTPUT IN_FLIGHT WARMUP SECONDS
 * and idle connections:  load_peer idle URL COUNT
 *
 * INPUT is the call's input, OUTPUT what each answer must be, byte for byte; WHO calls is token:TOKEN, or a file with a peer's key. One
 * connection, and as many calls in flight on it. Prints the line of load.h. Idle: COUNT connections to URL, as nobody, which stay until standard
 * input ends. */
#include "client.h"
#include "histogram.h"

#include <alknet/uv.h>
#include <signal.h>
#include <stdbool.h>
#include <unistd.h>

static struct {
    uv_loop_t uv;
    alk_loop *loop;
    int open, failed; /* connections */
    alk_connection *conn;
    const char *operation, *input, *output;
    uint64_t window_begin, window_end;
    uint64_t window, total;
    unsigned in_flight;
    struct histogram latencies;
} peer;

struct flight {
    uint64_t begun;
    bool answered;
};

static void on_dial(alk_dialer *x, const alk_dial_event *e, void *ud)
{
    (void)x;
    (void)ud;
    if (e->state == ALK_DIAL_FAILED)
        fprintf(stderr, "load_peer: %s\n", e->message);
    if (e->state == ALK_DIAL_OPEN)
        peer.conn = e->connection;
    peer.open += e->state == ALK_DIAL_OPEN;
    peer.open -= e->state == ALK_DIAL_LOST;
    peer.failed += e->state == ALK_DIAL_FAILED;
}

static void open_loop(void)
{
    alk_registry *reg = alk_registry_new();
    alk_node *node;
    alk_dispatcher *d;

    signal(SIGPIPE, SIG_IGN);
    uv_loop_init(&peer.uv);
    if (alk_registry_freeze(reg) || alk_node_new(&node, reg, NULL) ||
        alk_dispatcher_new(&d, node) || alk_loop_open(&peer.loop, &peer.uv, d))
        fail("the node");
}

/* Returns when the connection is there, or has failed. */
static void dial(const char *url, alk_tls *tls, const char *token)
{
    alk_dial_options o;
    alk_dialer *x;
    char err[200];
    int before = peer.open + peer.failed;

    alk_dial_options_init(&o, sizeof o);
    o.url = url;
    o.tls = tls;
    o.token = token;
    o.reconnect = 0;
    o.on_event = on_dial;
    if (alk_dial(&x, peer.loop, &o, err, sizeof err))
        fail("%s", err);
    while (peer.open + peer.failed == before)
        uv_run(&peer.uv, UV_RUN_ONCE);
    if (peer.failed)
        exit(1);
}

/* ---- calls ----------------------------------------------------------------------------------- */

static void begin_call(struct flight *f);

static void on_answer(alk_call *call, const alk_value *value, void *ud)
{
    struct flight *f = ud;
    size_t len;
    const char *text = alk_value_text(value, &len);

    (void)call;
    f->answered = len == strlen(peer.output) && !memcmp(text, peer.output, len);
    if (!f->answered)
        fail("a wrong answer: %.*s", (int)len, text);
}

static void on_end(alk_call *call, int why, const alk_fault *fault, void *ud)
{
    struct flight *f = ud;
    uint64_t now = now_ns();

    (void)call;
    (void)why;
    if (fault)
        fail("%s: %s", fault->code, fault->message);
    if (!f->answered)
        fail("a call has ended without an answer");
    peer.total++;
    if (now >= peer.window_begin && now < peer.window_end) {
        histogram_add(&peer.latencies, now - f->begun);
        peer.window++;
    }
    if (now < peer.window_end)
        begin_call(f);
    else
        peer.in_flight--;
}

static void begin_call(struct flight *f)
{
    alk_call_options o = {.size = sizeof o};

    o.on_event = on_answer;
    o.on_end = on_end;
    o.ud = f;
    *f = (struct flight){.begun = now_ns()};
    if (alk_connection_call(peer.conn, peer.operation, strlen(peer.operation), peer.input,
                            strlen(peer.input), &o, NULL))
        fail("a call does not begin");
}

static void run_calls(unsigned in_flight, double warmup, double seconds)
{
    struct flight *flights = must(calloc(in_flight, sizeof *flights));

    peer.window_begin = now_ns() + (uint64_t)(warmup * (double)SECOND);
    peer.window_end = peer.window_begin + (uint64_t)(seconds * (double)SECOND);
    peer.in_flight = in_flight;
    for (unsigned i = 0; i < in_flight; i++)
        begin_call(&flights[i]);
    while (peer.in_flight) {
        uv_run(&peer.uv, UV_RUN_ONCE);
        if (!peer.open)
            fail("the connection was lost");
    }
    printf("{\"calls\":%llu,\"total\":%llu,\"rate\":%.1f,\"p50_us\":%.1f,\"p99_us\":%.1f}\n",
           (unsigned long long)peer.window, (unsigned long long)peer.total,
           (double)peer.window / seconds, histogram_at(&peer.latencies, 0.5) / 1000,
           histogram_at(&peer.latencies, 0.99) / 1000);
}

static alk_tls *tls_of(const char *key)
{
    alk_tls_options t;
    alk_tls *tls;
    char err[200];

    alk_tls_options_init(&t, sizeof t);
    t.client = 1;
    t.raw_key = key;
    if (alk_tls_new(&tls, &t, err, sizeof err))
        fail("%s", err);
    return tls;
}

static void call(char **arg)
{
    static const char token[] = "token:";

    open_loop();
    if (!strncmp(arg[1], token, sizeof token - 1))
        dial(arg[0], NULL, arg[1] + sizeof token - 1);
    else
        dial(arg[0], tls_of(arg[1]), NULL);
    peer.operation = arg[2];
    peer.input = arg[3];
    peer.output = arg[4];
    run_calls(number("in-flight", arg[5], 4096), duration("warmup", arg[6]),
              duration("seconds", arg[7]));
}

/* ---- idle ------------------------------------------------------------------------------------ */

static void hold(const char *url, unsigned count)
{
    char byte;

    open_loop();
    for (unsigned i = 0; i < count; i++)
        dial(url, NULL, NULL);
    for (uint64_t end = now_ns() + SECOND; now_ns() < end;)
        uv_run(&peer.uv, UV_RUN_NOWAIT);
    printf("{\"held\":%d}\n", peer.open);
    fflush(stdout);
    if (read(STDIN_FILENO, &byte, 1) < 0)
        fail("standard input: %s", strerror(errno));
    printf("{\"open\":%d}\n", peer.open);
}

int main(int argc, char **argv)
{
    if (argc == 10 && !strcmp(argv[1], "call"))
        call(argv + 2);
    else if (argc == 4 && !strcmp(argv[1], "idle"))
        hold(argv[2], number("count", argv[3], 100000));
    else
        fail("call URL WHO OPERATION INPUT OUTPUT IN_FLIGHT WARMUP SECONDS, or idle URL COUNT");
    return 0;
}
