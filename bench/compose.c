/* What composition costs, beside what it is made of:  compose [PAIRS [CALLS]]
 *
 *   nested invoke      one alk_call_invoke of an echo from a running handler, result included; beside a call.requested envelope of the
 *                      same input, fed to a connection and answered. Memory is counted by the node's own hook.
 *   abort of a tree    call.aborted for a call with 1,000 calls below it, until all hooks have run; beside 1,000 times the same for
 *                      a call with one below it
 *   forwarded call     client, hub and spoke in one process: the hub's handler (or peers/call) calls the spoke's echo for the client;
 *                      beside a client that is connected to the spoke
 *
 * Each row is measured in turns, PAIRS times, each side first every other time, in CPU time of this thread. Printed are the medians in
 * nanoseconds, and the median, the least and the greatest of the pairs' ratios; where those two lie further apart than 30 % of the
 * median, the row is noisy. Every answer is checked. Exit status 1: an answer was wrong. */
#include "measure.h"

#include <alknet/alknet.h>

#include <string.h>

#define INPUT                                                                                      \
    "{\"text\":"                                                                                   \
    "\"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"       \
    "xxxxxxxxxx\"}"
#define LEAVES 1000
#define PAIRS_MAX 99
#define NOISY 0.30

/* ---- nodes ------------------------------------------------------------------------------------- */

static unsigned long allocations;

static void *counted_realloc(void *ud, void *p, size_t size)
{
    (void)ud;
    if (!size) {
        free(p);
        return NULL;
    }
    allocations++;
    return realloc(p, size);
}

static uint64_t now = 1000000000;

static void turn(alk_dispatcher *d)
{
    alk_dispatcher_turn(d, now += 1000);
}

static alk_dispatcher *node_of(alk_registry *reg)
{
    alk_node_options o;
    alk_dispatcher *d = NULL;
    alk_node *node = NULL;

    alk_node_options_init(&o, sizeof o);
    o.realloc = counted_realloc;
    check(!alk_registry_freeze(reg) && !alk_node_new(&node, reg, &o) &&
              !alk_dispatcher_new(&d, node),
          "no node");
    alk_node_unref(node);
    alk_registry_unref(reg);
    return d;
}

static void add(alk_registry *reg, const char *name, uint32_t type, alk_handler handler, void *ud)
{
    alk_operation op;

    alk_operation_init(&op, sizeof op);
    op.name = name;
    op.type = type;
    op.handler = handler;
    op.ud = ud;
    op.environment = "{\"allowed_ops\":[\"b/*\"]}";
    check(!alk_registry_add(reg, &op), alk_registry_error(reg));
}

static int echo(alk_call *call, void *ud)
{
    size_t len;
    const char *text = alk_value_text(alk_call_input(call), &len);

    (void)ud;
    return alk_call_reply(call, text, len);
}

/* ---- the far end of a wire --------------------------------------------------------------------- */

struct sink {
    unsigned long count, bytes;
};

static int sink_send(void *ud, uint64_t stream, const char *envelope, size_t len)
{
    struct sink *s = ud;

    (void)stream;
    (void)envelope;
    s->count++;
    s->bytes += len;
    return ALK_OK;
}

static void sink_close(void *ud, int code)
{
    (void)ud;
    (void)code;
}

static alk_connection *open_sink(alk_dispatcher *d, struct sink *s)
{
    alk_link link = {.size = sizeof link, .send = sink_send, .close = sink_close, .ud = s};
    alk_connection_options o = {.size = sizeof o};
    alk_connection *c;

    check(!alk_connection_open(&c, d, &link, &o), "no connection");
    return c;
}

static void request(alk_connection *c, unsigned id, const char *operation, const char *input)
{
    char text[400];
    int n = snprintf(text, sizeof text,
                     "{\"type\":\"call.requested\",\"id\":\"2f1c6b3d-4b5e-4d0a-8c6f-7e9a%08x\","
                     "\"payload\":{\"operationId\":\"/%s\",\"input\":%s}}",
                     id, operation, input);

    check(!alk_connection_feed(c, 0, text, (size_t)n), "an envelope was refused");
}

static void abort_call(alk_connection *c, unsigned id)
{
    char text[200];
    int n = snprintf(
        text, sizeof text,
        "{\"type\":\"call.aborted\",\"id\":\"2f1c6b3d-4b5e-4d0a-8c6f-7e9a%08x\",\"payload\":{}}",
        id);

    check(!alk_connection_feed(c, 0, text, (size_t)n), "an envelope was refused");
}

/* ---- nested invoke ----------------------------------------------------------------------------- */

static struct {
    alk_dispatcher *d;
    alk_connection *c;
    struct sink sink;
    alk_call *parent;
    unsigned id;
    unsigned long ends, bytes;
} nest;

static int keep(alk_call *call, void *ud)
{
    *(alk_call **)ud = alk_call_ref(call);
    return ALK_OK;
}

static void nested_event(alk_call *call, const alk_value *value, void *ud)
{
    size_t len;

    (void)call;
    (void)ud;
    check(alk_value_text(value, &len) != NULL, "no text");
    nest.bytes += len;
}

static void nested_end(alk_call *call, int why, const alk_fault *fault, void *ud)
{
    (void)call;
    (void)fault;
    (void)ud;
    nest.ends += why == ALK_END_OK;
}

static void nest_open(void)
{
    alk_registry *reg = alk_registry_new();

    add(reg, "b/echo", ALK_QUERY, echo, NULL);
    add(reg, "b/keep", ALK_SUBSCRIPTION, keep, &nest.parent);
    nest.d = node_of(reg);
    nest.c = open_sink(nest.d, &nest.sink);
    request(nest.c, nest.id++, "b/keep", "null");
    turn(nest.d);
    check(nest.parent != NULL, "the handler did not run");
}

static double nested(unsigned calls)
{
    unsigned long ends = nest.ends, bytes = nest.bytes;
    alk_call_options o = {.size = sizeof o};
    double start, took;

    o.on_event = nested_event;
    o.on_end = nested_end;
    start = clock_ns(CLOCK_THREAD_CPUTIME_ID);
    for (unsigned i = 0; i < calls; i++) {
        check(!alk_call_invoke(nest.parent, "b/echo", 6, INPUT, sizeof INPUT - 1, &o, NULL),
              "not invoked");
        turn(nest.d);
    }
    took = clock_ns(CLOCK_THREAD_CPUTIME_ID) - start;
    check(nest.ends - ends == calls && nest.bytes - bytes == calls * (sizeof INPUT - 1),
          "answers are missing");
    return took / calls;
}

/* As it comes from a wire: the envelope is written beforehand, but for its id. */
static double direct(unsigned calls)
{
    static char text[400];
    static int n, digits;
    unsigned long count = nest.sink.count;
    double start, took;

    if (!n) {
        n = snprintf(text, sizeof text,
                     "{\"type\":\"call.requested\",\"id\":\"2f1c6b3d-4b5e-4d0a-8c6f-7e9a00000000\","
                     "\"payload\":{\"operationId\":\"/b/echo\",\"input\":%s}}",
                     INPUT);
        digits = (int)(strstr(text, "00000000\"") - text);
    }
    start = clock_ns(CLOCK_THREAD_CPUTIME_ID);
    for (unsigned i = 0; i < calls; i++) {
        unsigned id = nest.id++;

        for (int k = 0; k < 8; k++, id >>= 4)
            text[digits + k] = "0123456789abcdef"[id & 15];
        check(!alk_connection_feed(nest.c, 0, text, (size_t)n), "an envelope was refused");
        turn(nest.d);
    }
    took = clock_ns(CLOCK_THREAD_CPUTIME_ID) - start;
    check(nest.sink.count - count == calls, "answers are missing");
    return took / calls;
}

/* ---- abort of trees ---------------------------------------------------------------------------- */

static struct {
    alk_dispatcher *d;
    alk_connection *c;
    struct sink sink;
    unsigned id;
    unsigned long ends;
} tree;

static void leaf_end(alk_call *call, int why, const alk_fault *fault, void *ud)
{
    (void)call;
    (void)fault;
    (void)ud;
    tree.ends += why == ALK_END_ABORTED;
}

static int leaf(alk_call *call, void *ud)
{
    (void)ud;
    return alk_call_on_end(call, leaf_end, NULL);
}

/* Its input is the number of leaves. */
static int grow(alk_call *call, void *ud)
{
    size_t len;
    int n = atoi(alk_value_text(alk_call_input(call), &len)), rc = ALK_OK;
    alk_call_options o = {.size = sizeof o};

    (void)ud;
    while (n-- > 0 && !rc)
        rc = alk_call_invoke(call, "b/leaf", 6, "null", 4, &o, NULL);
    return rc;
}

static void tree_open(void)
{
    alk_registry *reg = alk_registry_new();

    add(reg, "b/leaf", ALK_QUERY, leaf, NULL);
    add(reg, "b/grow", ALK_QUERY, grow, NULL);
    tree.d = node_of(reg);
    tree.c = open_sink(tree.d, &tree.sink);
}

/* Per leaf; making them is not measured. */
static double abort_one(unsigned rounds)
{
    unsigned long ends = tree.ends;
    double start, took = 0;

    for (unsigned i = 0; i < rounds; i++) {
        request(tree.c, tree.id, "b/grow", "1000");
        turn(tree.d);
        start = clock_ns(CLOCK_THREAD_CPUTIME_ID);
        abort_call(tree.c, tree.id++);
        turn(tree.d);
        took += clock_ns(CLOCK_THREAD_CPUTIME_ID) - start;
    }
    check(tree.ends - ends == (unsigned long)rounds * LEAVES, "hooks are missing");
    return took / rounds / LEAVES;
}

static double abort_many(unsigned rounds)
{
    unsigned long ends = tree.ends;
    double start, took = 0;

    for (unsigned i = 0; i < rounds; i++) {
        unsigned first = tree.id;

        for (unsigned k = 0; k < LEAVES; k++)
            request(tree.c, tree.id++, "b/grow", "1");
        turn(tree.d);
        start = clock_ns(CLOCK_THREAD_CPUTIME_ID);
        for (unsigned k = 0; k < LEAVES; k++) {
            abort_call(tree.c, first + k);
            turn(tree.d);
        }
        took += clock_ns(CLOCK_THREAD_CPUTIME_ID) - start;
    }
    check(tree.ends - ends == (unsigned long)rounds * LEAVES, "hooks are missing");
    return took / rounds / LEAVES;
}

/* ---- forwarding -------------------------------------------------------------------------------- */

enum { CLIENT, HUB, SPOKE, NODES };

static struct {
    alk_dispatcher *d[NODES];
    alk_connection *c[6];
    alk_connection *to_hub, *to_spoke;
    unsigned long ends, bytes;
} net;

static void hub_event(alk_call *child, const alk_value *value, void *ud)
{
    size_t len;
    const char *text = alk_value_text(value, &len);

    (void)child;
    alk_call_reply(ud, text, len);
}

static int hub_echo(alk_call *call, void *ud)
{
    alk_call_options o = {.size = sizeof o};
    size_t len;
    const char *text = alk_value_text(alk_call_input(call), &len);

    (void)ud;
    o.selector = ALK_SELECT_PEER;
    o.peer = "spoke";
    o.on_event = hub_event;
    o.ud = call;
    return alk_call_invoke(call, "b/echo", 6, text, len, &o, NULL);
}

static void client_event(alk_call *call, const alk_value *value, void *ud)
{
    size_t len;

    (void)call;
    (void)ud;
    check(alk_value_text(value, &len) != NULL, "no text");
    net.bytes += len;
}

static void client_end(alk_call *call, int why, const alk_fault *fault, void *ud)
{
    (void)call;
    (void)fault;
    (void)ud;
    net.ends += why == ALK_END_OK;
}

static void pair(int a, const char *b_id, int b, const char *a_id, alk_connection **to_b,
                 alk_connection **to_a)
{
    alk_connection_options ao = {.size = sizeof ao}, bo = {.size = sizeof bo};

    ao.kind = bo.kind = ALK_KIND_PEER;
    ao.identity = alk_identity_new(b_id, strlen(b_id));
    bo.identity = alk_identity_new(a_id, strlen(a_id));
    check(!alk_pair_open(net.d[a], &ao, to_b, net.d[b], &bo, to_a), "no pair");
    alk_identity_unref(ao.identity);
    alk_identity_unref(bo.identity);
}

static void turn_all(int first, int last)
{
    for (int i = first; i <= last; i++)
        turn(net.d[i]);
    for (int i = last - 1; i >= first; i--)
        turn(net.d[i]);
}

static void net_open(void)
{
    static const char config[] = "{\"authority\":{\"label\":\"deputy\"},\"allow\":[{\"peer\":\"*\","
                                 "\"operations\":[\"b/*\"]}]}";
    static const char client[] = "{\"id\":\"client\",\"scopes\":[\"peers:call\"]}";
    alk_import_options all = {.size = sizeof all};
    alk_registry *reg[NODES];

    for (int i = 0; i < NODES; i++)
        reg[i] = alk_registry_new();
    add(reg[HUB], "hub/echo", ALK_QUERY, hub_echo, NULL);
    add(reg[SPOKE], "b/echo", ALK_QUERY, echo, NULL);
    check(!alk_registry_enable_peers(reg[HUB], config, sizeof config - 1), "no peers/call");
    for (int i = 0; i < NODES; i++)
        net.d[i] = node_of(reg[i]);
    pair(CLIENT, "{\"id\":\"hub\"}", HUB, client, &net.to_hub, &net.c[0]);
    pair(CLIENT, "{\"id\":\"spoke\"}", SPOKE, client, &net.to_spoke, &net.c[1]);
    pair(HUB, "{\"id\":\"spoke\"}", SPOKE, "{\"id\":\"hub\"}", &net.c[2], &net.c[3]);
    check(!alk_connection_import(net.c[2], &all, NULL, NULL), "no import");
    for (int i = 0; i < 10; i++)
        turn_all(CLIENT, SPOKE);
}

static double ask(alk_connection *c, const char *operation, const char *input, size_t extra,
                  unsigned calls, bool hub)
{
    unsigned long ends = net.ends, bytes = net.bytes;
    size_t name_len = strlen(operation), len = strlen(input);
    alk_call_options o = {.size = sizeof o};
    double start, took;

    o.on_event = client_event;
    o.on_end = client_end;
    start = clock_ns(CLOCK_THREAD_CPUTIME_ID);
    for (unsigned i = 0; i < calls; i++) {
        check(!alk_connection_call(c, operation, name_len, input, len, &o, NULL), "not called");
        if (hub) {
            turn_all(CLIENT, SPOKE);
        } else {
            turn(net.d[CLIENT]);
            turn(net.d[SPOKE]);
            turn(net.d[CLIENT]);
        }
    }
    took = clock_ns(CLOCK_THREAD_CPUTIME_ID) - start;
    check(net.ends - ends == calls && net.bytes - bytes == calls * (len - extra),
          "answers are missing");
    return took / calls;
}

static double to_spoke(unsigned calls)
{
    return ask(net.to_spoke, "b/echo", INPUT, 0, calls, false);
}

static double by_handler(unsigned calls)
{
    return ask(net.to_hub, "hub/echo", INPUT, 0, calls, true);
}

static double by_deputy(unsigned calls)
{
    static const char head[] = "{\"peer\":\"spoke\",\"operation\":\"b/echo\",\"input\":",
                      input[] = INPUT;
    char text[400];

    snprintf(text, sizeof text, "%s%s}", head, input);
    return ask(net.to_hub, "peers/call", text, sizeof head, calls, true);
}

/* ---- pairs ------------------------------------------------------------------------------------- */

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static double median(double *v, unsigned n)
{
    qsort(v, n, sizeof *v, ascending);
    return n % 2 ? v[n / 2] : (v[n / 2 - 1] + v[n / 2]) / 2;
}

static void row(const char *name, double (*ours)(unsigned), double (*theirs)(unsigned),
                unsigned pairs, unsigned calls, double target)
{
    static double a[PAIRS_MAX], b[PAIRS_MAX], ratio[PAIRS_MAX];
    double middle;

    ours(calls);
    theirs(calls);
    for (unsigned i = 0; i < pairs; i++) {
        if (i % 2)
            b[i] = theirs(calls);
        a[i] = ours(calls);
        if (!(i % 2))
            b[i] = theirs(calls);
        ratio[i] = a[i] / b[i];
    }
    middle = median(ratio, pairs);
    printf("%-34s %9.1f ns %9.1f ns   %.2f   %.2f .. %.2f   <= %.1f   %s\n", name, median(a, pairs),
           median(b, pairs), middle, ratio[0], ratio[pairs - 1], target,
           (ratio[pairs - 1] - ratio[0]) / middle > NOISY ? "noisy"
           : middle <= target                             ? "met"
                                                          : "MISSED");
}

static void count_allocations(unsigned calls)
{
    unsigned long before;

    nested(calls);
    before = allocations;
    nested(calls);
    printf("%-34s %9.4f each                                   0   %s\n",
           "allocations of a nested invoke", (double)(allocations - before) / calls,
           allocations == before ? "met" : "MISSED");
}

int main(int argc, char **argv)
{
    unsigned pairs = argc > 1 ? (unsigned)atoi(argv[1]) : 9;
    unsigned calls = argc > 2 ? (unsigned)atoi(argv[2]) : 100000;

    check(pairs && pairs <= PAIRS_MAX && calls >= 1000,
          "usage: compose [PAIRS [CALLS]], CALLS at least 1000");
    nest_open();
    tree_open();
    net_open();
    printf("%-34s %12s %12s  %s\n", "", "ours", "beside",
           "ratio   of all pairs   target   verdict");
    row("nested invoke / direct dispatch", nested, direct, pairs, calls, 1.2);
    count_allocations(calls);
    row("abort: tree of 1000 / 1000 of one", abort_one, abort_many, pairs, calls / LEAVES, 1.0);
    row("forwarded by a handler / direct", by_handler, to_spoke, pairs, calls / 4, 3.0);
    row("forwarded by peers/call / direct", by_deputy, to_spoke, pairs, calls / 4, 3.0);
    alk_call_unref(nest.parent);
    alk_connection_unref(nest.c);
    alk_connection_unref(tree.c);
    alk_connection_unref(net.to_hub);
    alk_connection_unref(net.to_spoke);
    for (int i = 0; i < 4; i++)
        alk_connection_unref(net.c[i]);
    alk_dispatcher_free(nest.d);
    alk_dispatcher_free(tree.d);
    for (int i = 0; i < NODES; i++)
        alk_dispatcher_free(net.d[i]);
    return 0;
}
