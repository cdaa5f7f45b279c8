/* What a call costs that crosses from one loop of a node to another:  crossing [PAIRS [CALLS]]
 *
 * A hub has two loops, each on a thread of its own, and a spoke is attached to the second one. The caller asks peers/call for an
 * echo of 100 bytes. Caller and spoke are no more than links within the process, on the thread of their loop, so that no socket is in
 * the figures.
 *
 *   here_one, here_many       the caller is on the second loop: nothing crosses; one at a time, or 64 in flight
 *   across_one, across_many   the caller is on the first loop: request and answer cross, and each wakes the other loop
 *
 * Printed is a line of JSON for each pair: the CPU time of the process for each call, user and kernel, in nanoseconds, and how long
 * one took. Every answer is checked. */
#include "measure.h"

#include <alknet/uv.h>

#include <pthread.h>
#include <string.h>

#define BYTES 100
#define IN_FLIGHT 64

static char text[BYTES + 1]; /* the echo's input */

/* ---- the far ends ------------------------------------------------------------------------------ */

/* A connection of the hub whose far end is here, on the same thread: what is sent to it is answered from the loop, with all else
 * that came since. */
struct end {
    alk_connection *c;
    uv_idle_t idle;
    int waiting;
    char ids[IN_FLIGHT][48]; /* of the requests that wait, at the spoke */
};

static struct {
    long left, coming; /* to be asked, to be answered */
    pthread_mutex_t lock;
    pthread_cond_t done;
} run = {.lock = PTHREAD_MUTEX_INITIALIZER, .done = PTHREAD_COND_INITIALIZER};

static bool ends_with(const char *envelope, size_t len, const char *closing)
{
    size_t n = strlen(closing);

    return len > n + BYTES && !memcmp(envelope + len - n, closing, n) &&
           !memcmp(envelope + len - n - BYTES, text, BYTES);
}

static void feed(struct end *e, const char *form, const char *id)
{
    char envelope[600];
    int n = snprintf(envelope, sizeof envelope, form, id, text);

    check(!alk_connection_feed(e->c, 0, envelope, (size_t)n), "an envelope was refused");
}

static void ask(uv_idle_t *idle)
{
    struct end *e = idle->data;

    for (; e->waiting; e->waiting--) {
        char id[48];

        snprintf(id, sizeof id, "2f1c6b3d-4b5e-4d0a-8c6f-7e9a%08lx", run.left--);
        feed(e,
             "{\"type\":\"call.requested\",\"id\":\"%s\",\"payload\":{\"operationId\":"
             "\"/peers/call\",\"input\":{\"peer\":\"spoke\",\"operation\":\"b/"
             "echo\",\"input\":%s}}}",
             id);
    }
    uv_idle_stop(idle);
}

static int to_caller(void *ud, uint64_t stream, const char *envelope, size_t len)
{
    struct end *e = ud;

    (void)stream;
    check(ends_with(envelope, len, "}}"), "a wrong answer");
    if (run.left > e->waiting) {
        e->waiting++;
        uv_idle_start(&e->idle, ask);
    }
    if (--run.coming)
        return ALK_OK;
    pthread_mutex_lock(&run.lock);
    pthread_cond_signal(&run.done);
    pthread_mutex_unlock(&run.lock);
    return ALK_OK;
}

static void answer(uv_idle_t *idle)
{
    struct end *e = idle->data;

    while (e->waiting)
        feed(e, "{\"type\":\"call.responded\",\"id\":\"%s\",\"payload\":{\"output\":%s}}",
             e->ids[--e->waiting]);
    uv_idle_stop(idle);
}

static int to_spoke(void *ud, uint64_t stream, const char *envelope, size_t len)
{
    static const char before[] = "{\"type\":\"call.requested\",\"id\":\"";
    const size_t at = sizeof before - 1;
    struct end *e = ud;
    const char *id = envelope + at;
    size_t n = 0;

    (void)stream;
    while (at + n < len && id[n] != '"')
        n++;
    check(e->waiting < IN_FLIGHT && n < sizeof e->ids[0] && !memcmp(envelope, before, at) &&
              memmem(envelope, len, text, BYTES),
          "a wrong request");
    memcpy(e->ids[e->waiting], id, n);
    e->ids[e->waiting++][n] = 0;
    uv_idle_start(&e->idle, answer);
    return ALK_OK;
}

static void on_close(void *ud, int code)
{
    (void)ud;
    (void)code;
    check(false, "a connection was closed");
}

/* ---- the hub ----------------------------------------------------------------------------------- */

struct side {
    uv_loop_t uv;
    uv_async_t awake; /* keeps the loop running */
    pthread_t thread;
    alk_dispatcher *d;
    alk_loop *l;
    struct end caller;
};

static struct side first, second;
static struct end spoke; /* of the second */

static void end_open(struct end *e, struct side *s, const char *who, uint32_t kind,
                     int (*send)(void *, uint64_t, const char *, size_t))
{
    const alk_link link = {.size = sizeof link, .send = send, .close = on_close, .ud = e};
    alk_connection_options o = {.size = sizeof o, .kind = kind, .no_auto_import = 1};

    o.identity = alk_identity_new(who, strlen(who));
    check(!alk_connection_open(&e->c, s->d, &link, &o), "no connection");
    alk_identity_unref(o.identity);
    uv_idle_init(&s->uv, &e->idle);
    e->idle.data = e;
}

static void on_awake(uv_async_t *a)
{
    (void)a;
}

static void side_open(struct side *s, alk_node *node)
{
    check(!uv_loop_init(&s->uv) && !uv_async_init(&s->uv, &s->awake, on_awake) &&
              !alk_dispatcher_new(&s->d, node) && !alk_loop_open(&s->l, &s->uv, s->d),
          "no loop");
    end_open(&s->caller, s, "{\"id\":\"caller\",\"scopes\":[\"peers:call\"]}", ALK_KIND_KEY,
             to_caller);
}

static void *run_side(void *ud)
{
    uv_run(&((struct side *)ud)->uv, UV_RUN_DEFAULT);
    return NULL;
}

static void open_all(void)
{
    static const char config[] = "{\"authority\":{\"label\":\"deputy\"},\"allow\":[{\"peer\":\"*\","
                                 "\"operations\":[\"b/*\"]}]}";
    alk_registry *reg = alk_registry_new();
    alk_operation op;
    alk_node *node;

    check(!alk_registry_enable_peers(reg, config, sizeof config - 1) && !alk_registry_freeze(reg) &&
              !alk_node_new(&node, reg, NULL),
          "no node");
    side_open(&first, node);
    side_open(&second, node);
    end_open(&spoke, &second, "{\"id\":\"spoke\"}", ALK_KIND_PEER, to_spoke);
    alk_operation_init(&op, sizeof op);
    op.name = "b/echo";
    op.type = ALK_QUERY;
    check(!alk_connection_register_imported(spoke.c, &op, 1) &&
              !pthread_create(&first.thread, NULL, run_side, &first) &&
              !pthread_create(&second.thread, NULL, run_side, &second),
          "no spoke");
}

/* ---- a run ------------------------------------------------------------------------------------- */

static void begin(void *ud)
{
    uv_idle_start(&((struct end *)ud)->idle, ask);
}

struct figures {
    double cpu, took;
};

static struct figures measure(struct side *s, long count, int in_flight)
{
    double cpu = clock_ns(CLOCK_PROCESS_CPUTIME_ID), begun = clock_ns(CLOCK_MONOTONIC);

    pthread_mutex_lock(&run.lock);
    run.left = run.coming = count;
    s->caller.waiting = in_flight;
    check(!alk_loop_post(s->l, begin, &s->caller), "not begun");
    pthread_cond_wait(&run.done, &run.lock);
    pthread_mutex_unlock(&run.lock);
    return (struct figures){(clock_ns(CLOCK_PROCESS_CPUTIME_ID) - cpu) / (double)count,
                            (clock_ns(CLOCK_MONOTONIC) - begun) / (double)count};
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        struct side *side;
        int in_flight;
    } kinds[] = {{"here_one", &second, 1},
                 {"across_one", &first, 1},
                 {"here_many", &second, IN_FLIGHT},
                 {"across_many", &first, IN_FLIGHT}};
    enum { KINDS = sizeof kinds / sizeof *kinds };
    long pairs = argc > 1 ? atol(argv[1]) : 1, count = argc > 2 ? atol(argv[2]) : 20000;

    check(pairs > 0 && count >= 10 * IN_FLIGHT, "PAIRS and CALLS, of these at least 640");
    memset(text, 'x', BYTES);
    text[0] = text[BYTES - 1] = '"';
    open_all();
    for (int k = 0; k < KINDS; k++)
        measure(kinds[k].side, 10 * IN_FLIGHT, kinds[k].in_flight);
    for (long i = 0; i < pairs; i++) {
        struct figures f[KINDS];

        for (int k = 0; k < KINDS; k++) {
            int which = i % 2 ? KINDS - 1 - k : k;

            f[which] = measure(kinds[which].side, count, kinds[which].in_flight);
        }
        for (int k = 0; k < KINDS; k++)
            printf("%s\"%s\":%.0f,\"%s_took\":%.0f", k ? "," : "{", kinds[k].name, f[k].cpu,
                   kinds[k].name, f[k].took);
        puts("}");
        fflush(stdout);
    }
    return 0;
}
