/* `bench`: each worker is a thread with a connection of its own, which calls, waits for the answer,
 * and calls again. They begin together, once each has its connection, and end when the time is over
 * or the calls are done. The signals are left as they are: Ctrl-C ends the program at once. */
#include "bench.h"
#include "commands.h"
#include "input.h"
#include "width.h"

#include <alknet/uv.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define NO_ANSWER "no answer"
#define LOST_PAUSE_US 100000 /* before a worker asks again that had no answer */
#define DEFAULT_MS 10000     /* where neither a number nor a duration is given */
#define ROWS 16u
#define WORKERS_MAX 128u
#define BAR_MIN 10
#define BAR_MAX 60

struct bench {
    struct cli *cli;
    struct buffer op, input;
    pthread_barrier_t ready;
    atomic_uint_fast64_t left; /* calls to begin */
    atomic_bool failed;        /* a worker has no connection: nothing begins */
    uint64_t end_ns;           /* UINT64_MAX: none */
    uint64_t began_ns;
};

struct worker {
    struct bench *bench;
    pthread_t thread;
    struct remote *remote;
    struct bench_times times;
    struct bench_errors errors;
    struct reply first; /* why there is no connection */
    int outcome;
};

/* Takes one of the calls that are left. */
static bool another(struct bench *b)
{
    uint_fast64_t left = atomic_load(&b->left);

    while (left && !atomic_compare_exchange_weak(&b->left, &left, left - 1))
        ;
    return left && uv_hrtime() < b->end_ns;
}

static void call_once(struct worker *w)
{
    struct bench *b = w->bench;
    struct reply reply = {0};
    uint64_t began = uv_hrtime();
    int rc = w->remote->ops->call(w->remote, buffer_text(&b->op), &b->input, &reply);
    const char *code = yyjson_get_str(yyjson_obj_get(reply.fault, "code"));

    if (rc == OUTCOME_OK)
        bench_time(&w->times, (uv_hrtime() - began) / 1000);
    else
        bench_error(&w->errors, rc == OUTCOME_REMOTE && code ? code : NO_ANSWER, 1);
    reply_free(&reply);
    if (rc == OUTCOME_CONNECTION)
        usleep(LOST_PAUSE_US);
}

/* A ping makes the connection. */
static void *work(void *ud)
{
    struct worker *w = ud;
    struct bench *b = w->bench;
    int64_t us;

    w->outcome = w->remote->ops->ping(w->remote, &us, &w->first);
    if (w->outcome != OUTCOME_OK)
        atomic_store(&b->failed, true);
    if (pthread_barrier_wait(&b->ready) == PTHREAD_BARRIER_SERIAL_THREAD) {
        b->began_ns = uv_hrtime();
        if (b->end_ns != UINT64_MAX)
            b->end_ns += b->began_ns;
    }
    pthread_barrier_wait(&b->ready);
    while (!atomic_load(&b->failed) && another(b))
        call_once(w);
    return NULL;
}

/* ---- the report ------------------------------------------------------------------------------ */

static const struct {
    const char *name;
    double share;
} quantiles[] = {{"p50", 0.5}, {"p90", 0.9}, {"p99", 0.99}};

static double ms(uint64_t us)
{
    return (double)us / 1000;
}

/* Rows from the least to the greatest duration, each as many times the one before. */
static void plot(struct buffer *out, const struct bench_times *t, int columns)
{
    uint64_t counts[ROWS] = {0}, most = 0, from[ROWS] = {0};
    unsigned classes[2] = {BENCH_CLASSES, 0}, step, rows = 0;
    int bar = columns ? columns - 24 : BAR_MAX;

    bar = bar < BAR_MIN ? BAR_MIN : bar > BAR_MAX ? BAR_MAX : bar;
    for (unsigned i = 0; i < BENCH_CLASSES; i++) {
        if (!t->classes[i])
            continue;
        classes[0] = classes[0] < i ? classes[0] : i;
        classes[1] = i;
    }
    step = (classes[1] - classes[0]) / ROWS + 1;
    for (unsigned i = classes[0]; i <= classes[1]; i++) {
        rows = (i - classes[0]) / step;
        if ((i - classes[0]) % step == 0)
            from[rows] = bench_class_from(i);
        counts[rows] += t->classes[i];
        most = most > counts[rows] ? most : counts[rows];
    }
    for (unsigned i = 0; i <= rows; i++) {
        int len = (int)(counts[i] * (uint64_t)bar / most);

        buffer_printf(out, "%10.3f ms ", ms(from[i]));
        for (int k = 0; k < (counts[i] && !len ? 1 : len); k++)
            buffer_puts(out, "#");
        buffer_printf(out, " %" PRIu64 "\n", counts[i]);
    }
}

static int print_pretty(struct cli *cli, const struct bench_times *t, const struct bench_errors *e,
                        double seconds)
{
    struct buffer *out = &cli->printer.text;

    buffer_printf(out, "%" PRIu64 " calls in %.2f s, %.1f a second, %u at a time\n", t->count,
                  seconds, (double)t->count / seconds, cli->options->concurrency);
    if (t->count) {
        buffer_printf(out, "min %.3f", ms(t->min));
        for (size_t i = 0; i < sizeof quantiles / sizeof *quantiles; i++)
            buffer_printf(out, "  %s %.3f", quantiles[i].name,
                          ms(bench_quantile(t, quantiles[i].share)));
        buffer_printf(out, "  max %.3f ms\n", ms(t->max));
        plot(out, t, cli->printer.terminal ? width_of_terminal() : 0);
    }
    for (unsigned i = 0; i < e->known; i++) {
        buffer_printf(out, "%" PRIu64 " ended with ", e->of[i].count);
        print_plain(out, e->of[i].code, strlen(e->of[i].code));
        buffer_puts(out, "\n");
    }
    return print_flush(&cli->printer);
}

static int print_json(struct cli *cli, const struct bench_times *t, const struct bench_errors *e,
                      double seconds)
{
    struct buffer text = {0};

    buffer_printf(&text,
                  "{\"calls\":%" PRIu64 ",\"seconds\":%.3f,\"rate\":%.1f,\"concurrency\":%u,"
                  "\"latency_ms\":",
                  t->count, seconds, (double)t->count / seconds, cli->options->concurrency);
    if (t->count) {
        buffer_printf(&text, "{\"min\":%.3f", ms(t->min));
        for (size_t i = 0; i < sizeof quantiles / sizeof *quantiles; i++)
            buffer_printf(&text, ",\"%s\":%.3f", quantiles[i].name,
                          ms(bench_quantile(t, quantiles[i].share)));
        buffer_printf(&text, ",\"max\":%.3f}", ms(t->max));
    } else {
        buffer_puts(&text, "null");
    }
    buffer_puts(&text, ",\"errors\":{");
    for (unsigned i = 0; i < e->known; i++) {
        buffer_puts(&text, i ? "," : "");
        buffer_json_string(&text, e->of[i].code, strlen(e->of[i].code));
        buffer_printf(&text, ":%" PRIu64, e->of[i].count);
    }
    buffer_puts(&text, "}}");
    return print_made(&cli->printer, &text);
}

static int report(struct bench *b, struct worker *workers, double seconds)
{
    struct bench_times *times = xcalloc(1, sizeof *times);
    struct bench_errors errors = {0};
    struct cli *cli = b->cli;
    int rc;

    for (uint32_t i = 0; i < cli->options->concurrency; i++) {
        struct bench_errors *e = &workers[i].errors;

        bench_merge(times, &workers[i].times);
        for (unsigned k = 0; k < e->known; k++)
            bench_error(&errors, e->of[k].code, e->of[k].count);
    }
    rc = cli->printer.format == FORMAT_PRETTY ? print_pretty(cli, times, &errors, seconds)
                                              : print_json(cli, times, &errors, seconds);
    if (rc == 0)
        rc = !errors.count ? OUTCOME_OK : OUTCOME_REMOTE;
    else
        rc = OUTCOME_CONNECTION;
    free(times);
    return rc;
}

/* ---- running --------------------------------------------------------------------------------- */

static int run(struct bench *b, struct worker *workers)
{
    uint32_t n = b->cli->options->concurrency;
    int rc = OUTCOME_OK;

    pthread_barrier_init(&b->ready, NULL, n);
    for (uint32_t i = 0; i < n; i++) {
        if (!pthread_create(&workers[i].thread, NULL, work, &workers[i]))
            continue;
        /* Those that have begun wait for the others. */
        complain("cannot start %u threads", n);
        exit(OUTCOME_CONNECTION);
    }
    for (uint32_t i = 0; i < n; i++)
        pthread_join(workers[i].thread, NULL);
    pthread_barrier_destroy(&b->ready);
    for (uint32_t i = 0; i < n && rc == OUTCOME_OK; i++)
        rc = command_report(workers[i].outcome, &workers[i].first);
    if (rc == OUTCOME_OK)
        rc = report(b, workers, (double)(uv_hrtime() - b->began_ns) / 1e9);
    return rc;
}

static int with_workers(struct bench *b)
{
    const struct options *o = b->cli->options;
    struct worker *workers = xcalloc(o->concurrency, sizeof *workers);
    int rc = OUTCOME_OK;

    for (uint32_t i = 0; i < o->concurrency && rc == OUTCOME_OK; i++) {
        workers[i].bench = b;
        rc = remote_open(&workers[i].remote, o, b->cli->settings, &b->cli->printer);
    }
    if (rc == OUTCOME_OK)
        rc = run(b, workers);
    for (uint32_t i = 0; i < o->concurrency; i++) {
        if (workers[i].remote)
            workers[i].remote->ops->close(workers[i].remote);
        reply_free(&workers[i].first);
    }
    free(workers);
    return rc;
}

int command_bench(struct cli *cli)
{
    const struct options *o = cli->options;
    struct bench b = {.cli = cli, .end_ns = UINT64_MAX};
    int rc = command_operation(&b.op, o->operands[0]);

    if (rc == 0)
        rc = input_operands(&b.input, o->operands + 1, o->operand_count - 1);
    atomic_init(&b.left, o->count ? o->count : UINT64_MAX);
    if (o->duration_ms || !o->count)
        b.end_ns = (uint64_t)(o->duration_ms ? o->duration_ms : DEFAULT_MS) * 1000000;
    if (rc == 0 && o->concurrency > WORKERS_MAX) {
        complain("bench has at most %u connections", WORKERS_MAX);
        rc = OUTCOME_USAGE;
    }
    if (rc == 0)
        rc = with_workers(&b);
    buffer_free(&b.op);
    buffer_free(&b.input);
    return rc;
}
