/* What a request and its answer cost through a broker of NATS:  bus [PAIRS [REQUESTS [BYTES]]]
 *
 *   one, many   the bus of a cluster (adapt/bus.h): a message of BYTES (100) to another bus, and one back; one at a time, or 64 in
 *               flight. Both buses are on one loop, and each has its connection
 *   bare_one, bare_many   libnats as its documentation has it: two connections, answers and requests from the callbacks of their
 *               subscriptions, which run on threads of libnats'. What is published leaves at once
 *   gathered_many   the same, but what is published is gathered by a thread of libnats' (its default)
 *
 * Printed is a line of JSON for each pair: the CPU time of the process, which is both ends, for each request, in nanoseconds, user
 * and kernel; and how long one took. The broker is a process of its own and is not counted. Every message is checked. */
#include "base/time.h"
#include "measure.h"
#include "uv/nats.h"

#include <nats/nats.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define BYTES_MAX 65536
#define IN_FLIGHT 64
#define QUESTION "bench.question"
#define ANSWER "bench.answer"

static char url[64];
static char payload[BYTES_MAX];
static size_t bytes = 100;

/* ---- the broker -------------------------------------------------------------------------------- */

static pid_t broker;

static void stop_broker(void)
{
    kill(broker, SIGKILL);
    waitpid(broker, NULL, 0);
}

/* It writes its ports into a file when it listens. */
static void start_broker(void)
{
    char dir[] = "/tmp/alknet-bench.XXXXXX", file[96], text[256] = "";
    char *at = NULL;

    check(mkdtemp(dir) != NULL, "no temporary folder");
    broker = fork();
    if (!broker) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        execlp("nats-server", "nats-server", "-a", "127.0.0.1", "-p", "-1", "--ports_file_dir", dir,
               "-l", "/dev/null", NULL);
        _exit(127);
    }
    check(broker > 0, "no process");
    atexit(stop_broker);
    snprintf(file, sizeof file, "%s/nats-server_%d.ports", dir, (int)broker);
    for (int i = 0; i < 5000 && !(at && strchr(at, '"')); i++) {
        FILE *f = fopen(file, "r");

        if (f) {
            text[fread(text, 1, sizeof text - 1, f)] = 0;
            fclose(f);
        }
        at = strstr(text, "127.0.0.1:");
        check(!waitpid(broker, NULL, WNOHANG), "nats-server does not run");
        usleep(1000);
    }
    check(at != NULL, "nats-server does not listen");
    snprintf(url, sizeof url, "nats://%.*s", (int)strcspn(at, "\""), at);
    unlink(file);
    rmdir(dir);
}

/* ---- a run ------------------------------------------------------------------------------------- */

static struct {
    long left, coming; /* to be asked, to be answered */
    pthread_mutex_t lock;
    pthread_cond_t done;
} run = {.lock = PTHREAD_MUTEX_INITIALIZER, .done = PTHREAD_COND_INITIALIZER};

static void check_message(const void *data, size_t len)
{
    check(len == bytes && !memcmp(data, payload, bytes), "a wrong message");
}

struct figures {
    double cpu, took;
};

/* ---- the bus ----------------------------------------------------------------------------------- */

static uv_loop_t uv;
static struct bus *asking, *answering;
static int ups;

static void say(struct bus *b, const char *subject)
{
    check(!b->ops->publish(b, subject, payload, bytes), "a message is not taken");
}

static void on_question(void *ud, const char *subject, const void *data, size_t len)
{
    (void)ud;
    (void)subject;
    check_message(data, len);
    say(answering, ANSWER);
}

static void on_answer(void *ud, const char *subject, const void *data, size_t len)
{
    (void)ud;
    (void)subject;
    check_message(data, len);
    run.coming--;
    if (run.left) {
        run.left--;
        say(asking, QUESTION);
    }
}

static void on_state(void *ud, bool up, const char *why)
{
    (void)ud;
    check(up, why);
    ups++;
}

static struct bus *ours_open_one(alk_loop *l, const char *subject,
                                 void (*fn)(void *, const char *, const void *, size_t))
{
    const char *const servers[] = {url};
    struct nats_options o = {.servers = servers, .server_count = 1, .name = "bench"};
    struct bus *b;
    char err[200];

    check(!nats_open(&b, l, &o, err, sizeof err), err);
    b->on_message = fn;
    b->on_state = on_state;
    check(!b->ops->subscribe(b, subject), "no memory");
    return b;
}

/* For so long, or until all answers have come. */
static void ours_wait(uint64_t ns, bool all)
{
    for (uint64_t until = uv_hrtime() + ns; uv_hrtime() < until && !(all && run.coming <= 0);) {
        uv_run(&uv, UV_RUN_NOWAIT);
        usleep(1000);
    }
}

static void ours_open(void)
{
    alk_registry *reg = alk_registry_new();
    alk_node *node;
    alk_dispatcher *d;
    alk_loop *l;

    uv_loop_init(&uv);
    check(!alk_registry_freeze(reg) && !alk_node_new(&node, reg, NULL) &&
              !alk_dispatcher_new(&d, node) && !alk_loop_open(&l, &uv, d),
          "no loop");
    asking = ours_open_one(l, ANSWER, on_answer);
    answering = ours_open_one(l, QUESTION, on_question);
    while (ups < 2)
        uv_run(&uv, UV_RUN_ONCE);
    /* Until the broker knows both subscriptions: what is published before is lost. */
    for (run.coming = 1; run.coming > 0;) {
        say(asking, QUESTION);
        ours_wait(SECOND, true);
    }
    ours_wait(SECOND / 10, false); /* and no late answer to one of these comes */
}

static void ours(long count, int in_flight)
{
    run.coming = count;
    run.left = count - in_flight;
    for (int i = 0; i < in_flight; i++)
        say(asking, QUESTION);
    while (run.coming)
        uv_run(&uv, UV_RUN_ONCE);
}

/* ---- libnats ----------------------------------------------------------------------------------- */

static natsConnection *asker[2], *answerer[2]; /* at once, and gathered */

static void must(natsStatus s)
{
    check(s == NATS_OK, natsStatus_GetText(s));
}

static void bare_question(natsConnection *c, natsSubscription *s, natsMsg *m, void *ud)
{
    (void)s;
    (void)ud;
    check_message(natsMsg_GetData(m), (size_t)natsMsg_GetDataLength(m));
    natsMsg_Destroy(m);
    must(natsConnection_Publish(c, ud, payload, (int)bytes));
}

static void bare_answer(natsConnection *c, natsSubscription *s, natsMsg *m, void *ud)
{
    (void)s;
    check_message(natsMsg_GetData(m), (size_t)natsMsg_GetDataLength(m));
    natsMsg_Destroy(m);
    if (run.left) {
        run.left--;
        must(natsConnection_Publish(c, ud, payload, (int)bytes));
    }
    if (--run.coming)
        return;
    pthread_mutex_lock(&run.lock);
    pthread_cond_signal(&run.done);
    pthread_mutex_unlock(&run.lock);
}

static natsConnection *bare_open_one(bool at_once, const char *subject, natsMsgHandler fn,
                                     const char *to)
{
    natsOptions *o;
    natsConnection *c;
    natsSubscription *s;

    must(natsOptions_Create(&o));
    must(natsOptions_SetURL(o, url));
    must(natsOptions_SetSendAsap(o, at_once));
    must(natsConnection_Connect(&c, o));
    natsOptions_Destroy(o);
    must(natsConnection_Subscribe(&s, c, subject, fn, (void *)to));
    must(natsConnection_Flush(c));
    return c;
}

static const char *const bare_subjects[][2] = {{"bare.question", "bare.answer"},
                                               {"gathered.question", "gathered.answer"}};

static void bare_open(int k)
{
    const char *const *names = bare_subjects[k];

    asker[k] = bare_open_one(!k, names[1], bare_answer, names[0]);
    answerer[k] = bare_open_one(!k, names[0], bare_question, names[1]);
}

/* The callbacks of one subscription come one at a time, so they need no lock once all are asked. */
static void bare(int k, long count, int in_flight)
{
    run.coming = count;
    run.left = count - in_flight;
    pthread_mutex_lock(&run.lock);
    for (int i = 0; i < in_flight; i++)
        must(natsConnection_Publish(asker[k], bare_subjects[k][0], payload, (int)bytes));
    pthread_cond_wait(&run.done, &run.lock);
    pthread_mutex_unlock(&run.lock);
}

/* ---- pairs ------------------------------------------------------------------------------------- */

enum { ONE, BARE_ONE, MANY, BARE_MANY, GATHERED_MANY, KINDS };

static struct figures measure(int kind, long count)
{
    int in_flight = kind >= MANY ? IN_FLIGHT : 1;
    double cpu = clock_ns(CLOCK_PROCESS_CPUTIME_ID), begun = clock_ns(CLOCK_MONOTONIC);

    if (kind == ONE || kind == MANY)
        ours(count, in_flight);
    else
        bare(kind == GATHERED_MANY, count, in_flight);
    return (struct figures){(clock_ns(CLOCK_PROCESS_CPUTIME_ID) - cpu) / (double)count,
                            (clock_ns(CLOCK_MONOTONIC) - begun) / (double)count};
}

int main(int argc, char **argv)
{
    static const char *const names[] = {"one", "bare_one", "many", "bare_many", "gathered_many"};
    long pairs = argc > 1 ? atol(argv[1]) : 1, count = argc > 2 ? atol(argv[2]) : 20000;

    bytes = argc > 3 ? strtoul(argv[3], NULL, 10) : bytes;
    check(pairs > 0 && count >= 10 * IN_FLIGHT && bytes && bytes <= BYTES_MAX,
          "PAIRS, REQUESTS, at least 640, and BYTES, at most 65536");
    signal(SIGPIPE, SIG_IGN);
    memset(payload, 'x', sizeof payload);
    start_broker();
    ours_open();
    bare_open(0);
    bare_open(1);
    for (int k = 0; k < KINDS; k++)
        measure(k, 10 * IN_FLIGHT);
    for (long i = 0; i < pairs; i++) {
        struct figures f[KINDS];

        for (int k = 0; k < KINDS; k++) {
            int which = i % 2 ? KINDS - 1 - k : k;

            f[which] = measure(which, which >= MANY ? count : count / 4);
        }
        for (int k = 0; k < KINDS; k++)
            printf("%s\"%s\":%.0f,\"%s_took\":%.0f", k ? "," : "{", names[k], f[k].cpu, names[k],
                   f[k].took);
        puts("}");
        fflush(stdout);
    }
    return 0;
}
