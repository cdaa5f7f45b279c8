/* Implements metrics.h. One table says what there is; both forms are written from it, so they
 * cannot differ. Its texts are such that neither form has to escape anything: names, helps and
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

enum { PLAIN, BY_KIND, BY_OUTCOME };

/* Each offset is that of a uint64_t, or of an array of them. */
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
    GAUGE("connections", connections, "Call connections that are open"),
    COUNTER("http_connections_total", http_connections, "HTTP connections accepted"),
    GAUGE("http_connections", http_connections,
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
    COUNTER("calls_refused_total", calls_refused, "Calls that failed before their handler ran"),
    COUNTER("handler_errors_total", handler_errors, "Handlers that returned an error code"),
    COUNTER("auth_failures_total", auth_failures, "Tokens presented that belong to nobody"),
    COUNTER(
        "envelopes_discarded_total", discarded,
        "Envelopes for no pending call, requests with a used id, claims not believed, events that "
        "nobody handles"),
    GAUGE("queued_bytes", queued, "Bytes that wait for remotes to read, measured once a second"),
    GAUGE("tls_certificate_expires_seconds", tls_expires,
          "Unix time at which the first of the certificates ends"),
    GAUGE("message_bytes", message_bytes, "Bytes held of the message budget"),
#undef COUNTER
#undef GAUGE
};
#define FAMILIES (sizeof families / sizeof families[0])

/* ---- the two forms --------------------------------------------------------------------------- */

static const char *const kinds[CALL_KINDS] = {"incoming", "nested", "outgoing"};
/* NULL: never, or a fault. */
static const char *const outcomes[OUTCOME_FAULTS] = {"ok", NULL, "aborted", "timeout", "closed"};

struct form {
    int (*family)(struct buf *b, const struct family *f);
    /* label: of kind, outcome and code; NULL: it has none. */
    int (*value)(struct buf *b, const struct family *f, const char *const label[3], uint64_t v);
};

/* All combinations are written, also those that are 0: a series that begins with its first failure
 * has no rate before the second one. */
static int put_ended(struct buf *b, const struct form *form, const struct family *f,
                     const uint64_t *v, const char *kind)
{
    int rc = 0;

    for (unsigned i = 0; i < OUTCOMES; i++) {
        bool fault = i >= OUTCOME_FAULTS;
        const char *const label[3] = {kind, fault ? "fault" : outcomes[i],
                                      fault ? fault_codes[i - OUTCOME_FAULTS] : NULL};

        if (label[1])
            rc |= form->value(b, f, label, v[i]);
    }
    return rc;
}

static int put_family(struct buf *b, const struct form *form, const struct family *f,
                      const struct totals *t)
{
    const uint64_t *v = (const uint64_t *)(const void *)((const char *)t + f->at);
    const char *label[3] = {NULL, NULL, NULL};
    int rc = form->family(b, f);

    if (f->labels == PLAIN)
        return rc | form->value(b, f, label, *v);
    for (size_t k = 0; k < CALL_KINDS; k++) {
        label[0] = kinds[k];
        rc |= f->labels == BY_KIND ? form->value(b, f, label, v[k])
                                   : put_ended(b, form, f, v + k * OUTCOMES, kinds[k]);
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

static const char *const label_names[3] = {"kind", "outcome", "code"};

/* The labels that there are, each in the given form, with commas between and something around
 * them. The two forms differ in no more than that. */
static int put_labels(struct buf *b, const char *const label[3], const char *before,
                      const char *form, const char *behind)
{
    int rc = 0, n = 0;

    for (size_t i = 0; i < 3; i++) {
        if (!label[i])
            continue;
        rc |= buf_puts(b, n++ ? "," : before) | buf_printf(b, form, label_names[i], label[i]);
    }
    return n ? rc | buf_puts(b, behind) : rc;
}

static int text_family(struct buf *b, const struct family *f)
{
    return buf_printf(b, "# HELP alknet_%s %s\n# TYPE alknet_%s %s\n", f->name, f->help, f->name,
                      f->type);
}

static int text_value(struct buf *b, const struct family *f, const char *const label[3], uint64_t v)
{
    int rc = buf_printf(b, "alknet_%s", f->name) | put_labels(b, label, "{", "%s=\"%s\"", "}");

    return rc | buf_printf(b, " %llu\n", (unsigned long long)v);
}

/* The older of the two forms that Prometheus reads: every scraper knows it, and counters need
 * nothing that the newer one adds. */
int metrics_text(struct buf *b, const struct totals *t)
{
    static const struct form form = {text_family, text_value};

    return put_all(b, &form, t);
}

static int json_family(struct buf *b, const struct family *f)
{
    (void)b;
    (void)f;
    return 0;
}

/* Whether it is the first is to be seen from what stands before it. */
static int json_value(struct buf *b, const struct family *f, const char *const label[3], uint64_t v)
{
    int rc = buf_printf(b, "%s{\"name\":\"%s\",\"type\":\"%s\",\"help\":\"%s\",\"value\":%llu",
                        buf_at(b)[b->len - 1] == '[' ? "" : ",", f->name, f->type, f->help,
                        (unsigned long long)v);

    rc |= put_labels(b, label, ",\"labels\":{", "\"%s\":\"%s\"", "}");
    return rc | buf_puts(b, "}");
}

int metrics_json(struct buf *b, const struct totals *t)
{
    static const struct form form = {json_family, json_value};
    int rc = buf_puts(b, "{\"metrics\":[");

    return rc ? rc : put_all(b, &form, t) | buf_puts(b, "]}");
}
