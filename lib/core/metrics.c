/* Implements metrics.h. One table says what there is; all forms are written from it, so they
 * cannot differ. Its texts are such that no form has to escape anything: names, helps and
 * labels are all from here, and none comes from a remote. That is also what keeps the number of
 * time series fixed, whatever is asked of the node. */
#include "core/metrics.h"

#include "base/spin.h"

#include <string.h>

/* An operation may have any code of its own, and a remote too: all of those are one label, or
 * strangers could make time series. */
static const char *const fault_codes[FAULT_CLASSES] = {
    ALK_NOT_FOUND, ALK_FORBIDDEN, ALK_INVALID_INPUT, ALK_INVALID_OPERATION_TYPE,
    ALK_TIMEOUT,   ALK_BUSY,      ALK_INTERNAL,      "other"};

unsigned metrics_fault_class(struct str code)
{
    unsigned i = 0;

    while (i < FAULT_OTHER && !str_is(code, fault_codes[i]))
        i++;
    return i;
}

/* ---- adding up ------------------------------------------------------------------------------- */

/* By words, since there is nothing but counters in it. In the order of the struct: what is over is
 * read first. */
static void add(struct metrics *to, const struct metrics *from)
{
    uint64_t *sum = (uint64_t *)(void *)to;
    const uint64_t *one = (const uint64_t *)(const void *)from;

    for (size_t i = 0; i < sizeof *to / sizeof *sum; i++)
        sum[i] += __atomic_load_n(&one[i], __ATOMIC_RELAXED);
}

/* The sum is over several dispatchers, which go on meanwhile: a gauge below 0 would be shown as a
 * huge number. */
static uint64_t difference(uint64_t begun, uint64_t over)
{
    return begun > over ? begun - over : 0;
}

/* Under the lock, so that no dispatcher goes meanwhile; counting goes on. It is held for as long
 * as it takes to add up a few hundred words for each dispatcher. */
void metrics_collect(struct census *all, struct totals *out)
{
    memset(out, 0, sizeof *out);
    spin_lock(&all->lock);
    out->sum = all->departed;
    list_each(l, &all->dispatchers)
    {
        const struct counts *c = container_of(l, struct counts, of_node);

        add(&out->sum, &c->metrics);
        out->queued += __atomic_load_n(&c->queued, __ATOMIC_RELAXED) +
                       __atomic_load_n(&c->http_queued, __ATOMIC_RELAXED);
    }
    spin_unlock(&all->lock);
    out->connections = difference(out->sum.connections, out->sum.connections_closed);
    out->http_connections = difference(out->sum.http_connections, out->sum.http_closed);
    out->http_client_running =
        difference(out->sum.http_client_requests, out->sum.http_client_ended);
    for (size_t k = 0; k < CALL_KINDS; k++) {
        uint64_t ended = 0;

        for (size_t i = 0; i < OUTCOMES; i++)
            ended += out->sum.ended[k][i];
        out->running[k] = difference(out->sum.calls[k], ended);
    }
}

/* The counts lie in the dispatcher, so that they are near to what counts; only this list makes
 * them the node's. */
void metrics_join(struct census *all, struct counts *c)
{
    spin_lock(&all->lock);
    list_push(&all->dispatchers, &c->of_node);
    spin_unlock(&all->lock);
}

/* Both under the lock, so that no sum has the counts twice, or not at all. */
void metrics_leave(struct census *all, struct counts *c)
{
    spin_lock(&all->lock);
    list_del(&c->of_node);
    add(&all->departed, &c->metrics);
    spin_unlock(&all->lock);
}

/* ---- what there is --------------------------------------------------------------------------- */

const uint64_t metrics_bounds_ns[DURATIONS] = {1000000,    5000000,     25000000,
                                               100000000,  250000000,   1000000000,
                                               5000000000, 30000000000, UINT64_MAX};
static const char *const bounds[DURATIONS] = {"0.001", "0.005", "0.025", "0.1", "0.25",
                                              "1.0",   "5.0",   "30.0",  "+Inf"};

enum { PLAIN, SECONDS, BUILD, BY_KIND, BY_OUTCOME, DURATION };

/* Each offset is that of a uint64_t, or of an array of them. SECONDS: it has microseconds. */
static const struct family {
    const char *name, *type, *help;
    size_t at;
    int labels;
} families[] = {
#define COUNTER(name, member, help)                                                                \
    {                                                                                              \
        name, "counter", help, offsetof(struct totals, sum.member), PLAIN                          \
    }
#define GAUGE(name, member, help)                                                                  \
    {                                                                                              \
        name, "gauge", help, offsetof(struct totals, member), PLAIN                                \
    }
    COUNTER("connections_total", connections, "Call connections opened"),
    GAUGE("connections_open", connections, "Call connections that are open"),
    COUNTER("http_connections_total", http_connections, "HTTP connections accepted"),
    GAUGE("http_connections_open", http_connections,
          "HTTP connections that are open, without WebSockets"),
    COUNTER("http_connections_refused_total", http_refused,
            "HTTP connections closed at once, by a limit or for want of memory"),
    COUNTER("http2_connections_total", http2_connections, "Of them, those that speak HTTP/2"),
    COUNTER("tls_handshakes_total", tls_handshakes, "TLS handshakes completed with clients"),
    COUNTER("tls_handshakes_failed_total", tls_failures, "TLS handshakes that failed"),
    COUNTER("accepts_failed_total", accepts_failed,
            "Connections that could not be accepted, or had to be closed for the last descriptor"),
    COUNTER("dials_lost_total", dials_lost, "Connections opened from here that were lost"),
    COUNTER("imports_failed_total", imports_failed, "Imports of a remote's operations that failed"),
    COUNTER("ws_upgrades_total", ws_upgrades, "Upgrades to WebSocket that were granted"),
    COUNTER("ws_upgrades_refused_total", ws_refused, "Upgrades to WebSocket that were refused"),
    GAUGE("ws_sessions", sessions, "WebSockets of clients that are open"),
    COUNTER("ws_messages_in_total", ws_messages_in, "Messages received over WebSocket"),
    COUNTER("ws_messages_out_total", ws_messages_out, "Messages sent over WebSocket"),
    COUNTER("ws_evictions_total", ws_evictions,
            "WebSockets closed because the client did not read"),
    COUNTER("slow_consumers_total", slow_consumers,
            "Connections closed because the client read too slowly, WebSockets included"),
    COUNTER("ws_handler_errors_total", ws_handler_errors, "Handlers of event gateways that failed"),
    COUNTER("http_client_requests_total", http_client_requests, "Requests to other services"),
    GAUGE("http_client_running", http_client_running, "Of them, those that have not ended"),
    COUNTER("http_client_failures_total", http_client_failures,
            "Of them, those without a whole answer"),
    COUNTER("http_client_retries_total", http_client_retries, "Requests that were sent again"),
    COUNTER("http_client_refused_total", http_client_refused,
            "Requests that would have gone where they may not"),
    COUNTER("http_client_held_total", http_client_held,
            "Requests not sent, since the service had asked for a pause"),
    {"calls_started_total", "counter", "Calls begun", offsetof(struct totals, sum.calls), BY_KIND},
    {"calls_running", "gauge", "Calls that have not ended", offsetof(struct totals, running),
     BY_KIND},
    {"calls_ended_total", "counter", "Calls ended", offsetof(struct totals, sum.ended), BY_OUTCOME},
    {"call_duration_seconds", "histogram", "How long calls with a single result took",
     offsetof(struct totals, sum.took), DURATION},
    COUNTER("calls_refused_total", calls_refused, "Calls that failed before their handler ran"),
    COUNTER("handler_errors_total", handler_errors, "Handlers that returned an error code"),
    COUNTER("auth_failures_total", auth_failures, "Tokens presented that belong to nobody"),
    COUNTER(
        "envelopes_discarded_total", discarded,
        "Envelopes for no pending call, requests with a used id, claims not believed, events that "
        "nobody handles"),
    GAUGE("cluster_bus_up", cluster.up, "1: connected to the broker of the cluster"),
    GAUGE("cluster_hubs", cluster.hubs, "Other hubs of the cluster that are heard"),
    GAUGE("cluster_pairs", cluster.pairs, "Connections to other hubs that are up"),
    GAUGE("cluster_peers", cluster.peers, "Peers that are attached to other hubs"),
    GAUGE("cluster_unsent_bytes", cluster.unsent, "Bytes that wait to leave for the broker"),
    GAUGE("cluster_under_way_bytes", cluster.under_way,
          "Bytes sent to other hubs that these have not said to have taken"),
    {"cluster_lag_seconds", "gauge",
     "Time since the last message of a hub that a connection is up with, of the longest",
     offsetof(struct totals, cluster.lag_us), SECONDS},
    COUNTER("cluster_messages_dropped_total", cluster_dropped,
            "Messages of the broker that were a stranger's, damaged, or repeated"),
    COUNTER("cluster_openings_refused_total", cluster_refused,
            "Connections that strangers, or hubs too often, have asked for in a hub's name"),
    COUNTER("cluster_pairs_lost_total", cluster_lost,
            "Connections to other hubs that ended since a message was missing or none came"),
    GAUGE("queued_bytes", queued, "Bytes that wait for remotes to read, measured once a second"),
    GAUGE("tls_certificate_expires_seconds", tls_expires,
          "Unix time at which the first of the certificates ends"),
    GAUGE("message_bytes", message_bytes, "Bytes held of the message budget"),
    {"build_info", "gauge", "1, and the version", offsetof(struct totals, build), BUILD},
    {"process_start_time_seconds", "gauge", "Unix time at which the process began",
     offsetof(struct totals, process.start_us), SECONDS},
    {"process_cpu_seconds_total", "counter", "Time of processors used by the process",
     offsetof(struct totals, process.cpu_us), SECONDS},
    GAUGE("process_resident_memory_bytes", process.resident_bytes, "Memory of the process"),
    GAUGE("process_open_fds", process.open_fds, "Descriptors that are open"),
    GAUGE("process_max_fds", process.max_fds, "The limit of descriptors"),
#undef COUNTER
#undef GAUGE
};
#define FAMILIES (sizeof families / sizeof families[0])

/* ---- the forms ------------------------------------------------------------------------------- */

static const char *const kinds[CALL_KINDS] = {"incoming", "nested", "outgoing", "crossed"};
/* NULL: never, or a fault. */
static const char *const outcomes[OUTCOME_FAULTS] = {"ok", NULL, "aborted", "timeout", "closed"};

#define LABELS 5u
static const char *const label_names[LABELS] = {"kind", "outcome", "code", "le", "version"};
enum { KIND, OUTCOME, CODE, BOUND, VERSION };

/* One value of a family. */
struct sample {
    const char *suffix;        /* behind the family's name */
    const char *label[LABELS]; /* NULL: it has none */
    uint64_t value;
    bool us; /* it has microseconds, and is told in seconds */
};

struct form {
    int (*family)(struct buf *b, const struct family *f);
    int (*value)(struct buf *b, const struct family *f, const struct sample *s);
};

/* All combinations are written, also those that are 0: a series that begins with its first failure
 * has no rate before the second one. */
static int put_ended(struct buf *b, const struct form *form, const struct family *f,
                     const uint64_t *v, const char *kind)
{
    int rc = 0;

    for (unsigned i = 0; i < OUTCOMES; i++) {
        bool fault = i >= OUTCOME_FAULTS;
        struct sample s = {"", {kind, fault ? "fault" : outcomes[i]}, v[i], false};

        s.label[CODE] = fault ? fault_codes[i - OUTCOME_FAULTS] : NULL;
        if (s.label[OUTCOME])
            rc |= form->value(b, f, &s);
    }
    return rc;
}

/* Each bucket has what those before it have. */
static int put_durations(struct buf *b, const struct form *form, const struct family *f,
                         const struct totals *t, size_t kind, unsigned why)
{
    struct sample s = {"_bucket", {kinds[kind], outcomes[why] ? outcomes[why] : "fault"}, 0, false};
    int rc = 0;

    for (unsigned i = 0; i < DURATIONS; i++) {
        s.label[BOUND] = bounds[i];
        s.value += t->sum.took[kind][why][i];
        rc |= form->value(b, f, &s);
    }
    s.label[BOUND] = NULL;
    s.suffix = "_count";
    rc |= form->value(b, f, &s);
    s.suffix = "_sum";
    s.value = t->sum.took_us[kind][why];
    s.us = true;
    return rc | form->value(b, f, &s);
}

static int put_family(struct buf *b, const struct form *form, const struct family *f,
                      const struct totals *t)
{
    const uint64_t *v = (const uint64_t *)(const void *)((const char *)t + f->at);
    struct sample s = {"", {NULL}, *v, f->labels == SECONDS};
    int rc = form->family(b, f);

    s.label[VERSION] = f->labels == BUILD ? alk_version() : NULL;
    if (f->labels < BY_KIND)
        return rc | form->value(b, f, &s);
    for (size_t k = 0; k < CALL_KINDS; k++) {
        s.label[KIND] = kinds[k];
        s.value = v[k];
        if (f->labels == BY_KIND)
            rc |= form->value(b, f, &s);
        else if (f->labels == BY_OUTCOME)
            rc |= put_ended(b, form, f, v + k * OUTCOMES, kinds[k]);
        for (unsigned why = 0; why < OUTCOME_FAULTS && f->labels == DURATION; why++)
            rc |= put_durations(b, form, f, t, k, why);
    }
    return rc;
}

static int put_all(struct buf *b, const struct form *form, const struct totals *t)
{
    int rc = 0;

    for (size_t i = 0; i < FAMILIES; i++)
        rc |= put_family(b, form, &families[i], t);
    return rc;
}

/* The labels that there are, each in the given form, with commas between and something around
 * them. The two forms differ in no more than that. */
static int put_labels(struct buf *b, const char *const label[LABELS], const char *before,
                      const char *form, const char *behind)
{
    int rc = 0, n = 0;

    for (size_t i = 0; i < LABELS; i++) {
        if (!label[i])
            continue;
        rc |= buf_puts(b, n++ ? "," : before) | buf_printf(b, form, label_names[i], label[i]);
    }
    return n ? rc | buf_puts(b, behind) : rc;
}

static int put_value(struct buf *b, const struct sample *s)
{
    const unsigned long long v = s->value;

    return s->us ? buf_printf(b, "%llu.%06llu", v / 1000000, v % 1000000)
                 : buf_printf(b, "%llu", v);
}

/* The names of what is the process's are those that everyone has for it. */
static const char *prefix_of(const struct family *f)
{
    return strncmp(f->name, "process_", 8) ? "alknet_" : "";
}

/* len: of the name. */
static int put_head(struct buf *b, const struct family *f, size_t len)
{
    const char *prefix = prefix_of(f);

    return buf_printf(b, "# HELP %s%.*s %s\n# TYPE %s%.*s %s\n", prefix, (int)len, f->name, f->help,
                      prefix, (int)len, f->name, f->type);
}

static int text_family(struct buf *b, const struct family *f)
{
    return put_head(b, f, strlen(f->name));
}

/* A counter's samples end in _total, and its family does not. */
static int open_family(struct buf *b, const struct family *f)
{
    return put_head(b, f, strlen(f->name) - (strcmp(f->type, "counter") ? 0 : sizeof "_total" - 1));
}

static int text_value(struct buf *b, const struct family *f, const struct sample *s)
{
    int rc = buf_printf(b, "%s%s%s", prefix_of(f), f->name, s->suffix) |
             put_labels(b, s->label, "{", "%s=\"%s\"", "}");

    return rc | buf_puts(b, " ") | put_value(b, s) | buf_puts(b, "\n");
}

int metrics_text(struct buf *b, const struct totals *t)
{
    static const struct form form = {text_family, text_value};

    return put_all(b, &form, t);
}

int metrics_open(struct buf *b, const struct totals *t)
{
    static const struct form form = {open_family, text_value};

    return put_all(b, &form, t);
}

static int json_family(struct buf *b, const struct family *f)
{
    (void)b;
    (void)f;
    return 0;
}

/* Whether it is the first is to be seen from what stands before it. */
static int json_value(struct buf *b, const struct family *f, const struct sample *s)
{
    int rc =
        buf_printf(b, "%s{\"name\":\"%s%s\",\"type\":\"%s\",\"help\":\"%s\",\"value\":",
                   buf_at(b)[b->len - 1] == '[' ? "" : ",", f->name, s->suffix, f->type, f->help) |
        put_value(b, s);

    rc |= put_labels(b, s->label, ",\"labels\":{", "\"%s\":\"%s\"", "}");
    return rc | buf_puts(b, "}");
}

int metrics_json(struct buf *b, const struct totals *t)
{
    static const struct form form = {json_family, json_value};
    int rc = buf_puts(b, "{\"metrics\":[");

    return rc ? rc : put_all(b, &form, t) | buf_puts(b, "]}");
}
