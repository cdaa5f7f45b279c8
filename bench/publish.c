/* The server of the fan-out rows, made with the public interface:  publish INTERVAL_MS
 *
 * bench/feed is a subscription: every INTERVAL_MS its subscribers get the same value of 100 bytes, with the number of the tick, the
 * time on the monotonic clock when it began, and how many floods stand still. A subscriber that has no room for a value misses it,
 * as with any publisher that does not wait for its slowest reader; whoever counts the ticks sees that.
 * bench/flood is 10,000 values of 1,000 bytes a second to whoever subscribes, as long as there is room.
 *
 * Prints "PORT TOKEN" and serves until it is killed. */
#include <alknet/uv.h>

#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FEED_BYTES 100
#define FLOOD_BYTES 1000
#define FLOOD_EVERY 100000u /* nanoseconds */
#define FLOOD_AT_ONCE 100u  /* at most; what is due beyond that is not made up for */

struct publisher;

struct subscriber {
    struct publisher *publisher;
    struct subscriber *next, **link;
    alk_call *call; /* valid until on_end has run */
    bool waits;     /* for room */
};

struct publisher {
    uv_timer_t timer;
    struct subscriber *first;
    const char *name;
    uint64_t interval_ms;
    void (*tick)(struct publisher *p);
    uint64_t number; /* of the last tick; of the last value of a flood that was due */
    unsigned *floods_waiting;
};

static _Noreturn void fail(const char *why)
{
    fprintf(stderr, "publish: %s\n", why);
    exit(1);
}

/* A JSON object of so many bytes: members (at most 90 bytes) and a text that fills it up. */
static void fill(char *to, size_t bytes, const char *members)
{
    int n = snprintf(to, bytes, "{%s\"text\":\"", members);

    memset(to + n, 'x', bytes - (size_t)n - 2);
    memcpy(to + bytes - 2, "\"}", 2);
}

static void on_room(alk_call *call, void *ud)
{
    struct subscriber *s = ud;

    (void)call;
    s->waits = false;
    --*s->publisher->floods_waiting;
}

static void flood(struct publisher *p)
{
    uint64_t due = uv_hrtime() / FLOOD_EVERY, count = due - p->number;
    char value[FLOOD_BYTES];

    p->number = due;
    count = count < FLOOD_AT_ONCE ? count : FLOOD_AT_ONCE;
    fill(value, sizeof value, "");
    for (struct subscriber *s = p->first; s; s = s->next) {
        for (unsigned i = 0; i < count && !s->waits; i++) {
            if (alk_call_emit(s->call, value, sizeof value) != ALK_EAGAIN)
                continue;
            s->waits = true;
            ++*p->floods_waiting;
            alk_call_on_drain(s->call, on_room, s);
        }
    }
}

static void feed(struct publisher *p)
{
    char members[90], value[FEED_BYTES];

    snprintf(members, sizeof members, "\"tick\":%llu,\"ns\":%llu,\"stalled\":%u,",
             (unsigned long long)++p->number, (unsigned long long)uv_hrtime(), *p->floods_waiting);
    fill(value, sizeof value, members);
    for (struct subscriber *s = p->first; s; s = s->next)
        alk_call_emit(s->call, value, sizeof value);
}

static void on_timer(uv_timer_t *timer)
{
    struct publisher *p = timer->data;

    p->tick(p);
}

static void on_end(alk_call *call, int why, const alk_fault *fault, void *ud)
{
    struct subscriber *s = ud;

    (void)call;
    (void)why;
    (void)fault;
    *s->link = s->next;
    if (s->next)
        s->next->link = s->link;
    *s->publisher->floods_waiting -= s->waits;
    free(s);
}

static int subscribe(alk_call *call, void *ud)
{
    struct publisher *p = ud;
    struct subscriber *s = calloc(1, sizeof *s);

    if (!s)
        return ALK_ENOMEM;
    *s = (struct subscriber){p, p->first, &p->first, call, false};
    if (s->next)
        s->next->link = &s->next;
    p->first = s;
    if (alk_call_on_end(call, on_end, s))
        fail("a call that has ended was started");
    return ALK_OK;
}

/* ---- the node ---------------------------------------------------------------------------------- */

static void add(alk_registry *reg, struct publisher *p)
{
    const alk_operation op = {.size = sizeof op,
                              .type = ALK_SUBSCRIPTION,
                              .visibility = ALK_EXTERNAL,
                              .name = p->name,
                              .handler = subscribe,
                              .ud = p};

    if (alk_registry_add(reg, &op))
        fail(alk_registry_error(reg));
}

static alk_identities *identities(char token[ALK_TOKEN_SIZE])
{
    alk_identities *ids = alk_identities_new();
    char hash[65], json[256], err[200] = "no token";
    int n;

    if (!ids || alk_token_new(token))
        fail(err);
    alk_token_hash(token, strlen(token), hash);
    n = snprintf(json, sizeof json,
                 "{\"keys\":[{\"prefix\":\"%.8s\",\"hash\":\"%s\",\"scopes\":[]}]}", token, hash);
    if (alk_identities_load(ids, json, (size_t)n, 0, NULL, err, sizeof err))
        fail(err);
    return ids;
}

static void start(struct publisher *p, uv_loop_t *loop)
{
    uv_timer_init(loop, &p->timer);
    p->timer.data = p;
    uv_timer_start(&p->timer, on_timer, p->interval_ms, p->interval_ms);
}

int main(int argc, char **argv)
{
    unsigned long ms = argc == 2 ? strtoul(argv[1], NULL, 10) : 0;
    unsigned floods_waiting = 0;
    struct publisher feeds = {.name = "bench/feed",
                              .interval_ms = ms,
                              .tick = feed,
                              .floods_waiting = &floods_waiting},
                     floods = {.name = "bench/flood",
                               .interval_ms = 1,
                               .tick = flood,
                               .floods_waiting = &floods_waiting};
    char token[ALK_TOKEN_SIZE], err[200] = "cannot start";
    uv_loop_t *loop = uv_default_loop();
    alk_registry *reg = alk_registry_new();
    alk_identity_provider provider;
    alk_node_options options;
    alk_server_options listen;
    alk_dispatcher *dispatcher;
    alk_gateway *gateway;
    alk_server *server;
    alk_node *node;
    alk_loop *l;

    if (!ms)
        fail("publish INTERVAL_MS");
    signal(SIGPIPE, SIG_IGN);
    if (!loop || !reg)
        fail(err);
    add(reg, &feeds);
    add(reg, &floods);
    alk_identities_provider(identities(token), &provider, sizeof provider);
    alk_node_options_init(&options, sizeof options);
    options.identities = &provider;
    options.log_level = ALK_LOG_WARN;
    if (alk_registry_freeze(reg) || alk_node_new(&node, reg, &options) ||
        alk_dispatcher_new(&dispatcher, node) || alk_loop_open(&l, loop, dispatcher) ||
        alk_gateway_new(&gateway, dispatcher, NULL, err, sizeof err))
        fail(err);
    alk_server_options_init(&listen, sizeof listen);
    listen.gateway = gateway;
    if (alk_server_open(&server, l, &listen, err, sizeof err))
        fail(err);
    start(&feeds, loop);
    start(&floods, loop);
    printf("%d %s\n", alk_server_port(server), token);
    fflush(stdout);
    return uv_run(loop, UV_RUN_DEFAULT);
}
