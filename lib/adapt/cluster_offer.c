/* Implements cluster_offer.h. What comes is anybody's: how many calls run is bounded, and how often
 * the listings are made, which have all there is. Who asks without a subject for the answer would not
 * hear of it, and is not heard. */
#include "adapt/cluster_offer.h"

#include "adapt/cluster_int.h"
#include "base/utf8.h"
#include "core/call.h"
#include "core/fault.h"
#include "core/services.h"
#include "gateway/gateway_int.h"

#include <stdio.h>
#include <time.h>

#define COUNTED_MAX 16384u /* operations */
#define PATTERNS 10u
#define PATTERN_SIZE (BUS_PREFIX_MAX + HUB_NAME_MAX + HEX_MAX + 32u)
#define LISTING_END 64u /* what stands behind the last operation */
#define DOT "%2E"       /* of an operation's name, as a subject has it */
#define REMOTE "nats"   /* in the log, and in whose name strangers' messages are paid for */

enum verb { PING, INFO, STATS, VERBS };
static const char *const subjects[VERBS] = {"$SRV.PING", "$SRV.INFO", "$SRV.STATS"};
static const char *const types[VERBS] = {"ping", "info", "stats"};

struct counted {
    struct map_node by_name; /* of the operation */
    uint64_t requests, errors, nanoseconds;
    char last_error[80];
    char name[];
};

struct offering {
    alk_dispatcher *d;
    struct bus *bus;
    bool up, begun;
    bool unproved; /* the token does not resolve, as the log has it */
    char name[HUB_NAME_MAX + 1], id[HEX_MAX], started[32];
    char subject[BUS_PREFIX_MAX + HUB_NAME_MAX + 16u]; /* of all operations, with its last dot */
    size_t subject_len, prefix_len;                    /* prefix_len: the cluster's, with its dot */
    char *token;                                       /* NULL: who calls is nobody */
    struct credential *by;                             /* what it proved last; a reference */
    struct account *strangers;
    struct list calls; /* struct request_of */
    unsigned running;
    struct bucket listings;
    struct map counted;
};

/* A request, while its call runs. */
struct request_of {
    struct list link;
    struct offering *of;
    alk_call *call; /* NULL: it is being started */
    uint64_t began;
    char reply[];
};

static uint64_t clock_of(const alk_dispatcher *d)
{
    return d->clock ? d->clock() : d->now;
}

static void tell(const struct offering *of, uint32_t level, const char *event, const char *message)
{
    alk_log_event e = {.size = sizeof e, .level = level, .event = event, .message = message};

    node_log(of->d->node, &e);
}

/* ---- answers --------------------------------------------------------------------------------- */

/* Its headers say most of it, so they go without the whole where that does not fit. */
static void answer_fault(const struct offering *of, const char *reply, int status,
                         const alk_fault *f)
{
    struct str code = fault_code(f), message = fault_message(f);
    char text[300];
    struct bus_error e = {.number = status, .text = text};
    struct buf b;

    snprintf(text, sizeof text, "%.*s: %.*s", (int)utf8_cut(code.p, code.n, 64), code.p,
             (int)utf8_cut(message.p, message.n, 200), message.p);
    buf_init(&b, &of->d->mem);
    if (buf_puts(&b, "{") | fault_put(&b, f) | buf_puts(&b, "}") ||
        of->bus->ops->answer(of->bus, reply, &e, buf_at(&b), b.len) == ALK_ELIMIT)
        of->bus->ops->answer(of->bus, reply, &e, "", 0);
    buf_fini(&b);
}

static void refuse(const struct offering *of, const char *reply, int status, const char *code,
                   const char *message)
{
    const alk_fault f = {.size = sizeof f, .code = code, .message = message};

    answer_fault(of, reply, status, &f);
}

/* ---- calls ----------------------------------------------------------------------------------- */

static struct counted *counted_get(struct offering *of, struct str name)
{
    struct map_node *n = map_find(&of->counted, name.p, name.n);
    struct counted *c = n ? container_of(n, struct counted, by_name) : NULL;

    if (c || of->counted.count == COUNTED_MAX)
        return c;
    c = mem_zalloc(&of->d->mem, sizeof *c + name.n);
    if (!c)
        return NULL;
    memcpy(c->name, name.p, name.n);
    c->by_name.key = c->name;
    c->by_name.len = name.n;
    if (!map_add(&of->counted, &c->by_name))
        return c;
    mem_free(&of->d->mem, c);
    return NULL;
}

/* f NULL: it went well. What the message of a fault says is between its caller and the operation;
 * here anybody reads. */
static void count(struct request_of *r, const alk_call *c, int status, const alk_fault *f)
{
    struct counted *n = c->op ? counted_get(r->of, op_name(c->op)) : NULL;

    if (!n)
        return;
    n->requests++;
    n->nanoseconds += clock_of(r->of->d) - r->began;
    if (!f)
        return;
    n->errors++;
    snprintf(n->last_error, sizeof n->last_error, "%d:%.*s", status,
             (int)utf8_cut(fault_code(f).p, fault_code(f).n, 64), fault_code(f).p);
}

static void drop(struct request_of *r)
{
    list_del(&r->link);
    r->of->running--;
    mem_free(&r->of->d->mem, r);
}

/* What cannot leave is lost, as everything may be on the way: the caller's own patience ends. */
static int value(alk_call *c, const char *text, size_t len, bool final)
{
    const struct request_of *r = c->sink_ud;
    struct bus *b = r->of->bus;

    (void) final;
    if (b->ops->answer(b, r->reply, NULL, text, len) == ALK_ELIMIT)
        return ALK_ELIMIT;
    c->values++;
    return ALK_OK;
}

static void end(alk_call *c)
{
    struct request_of *r = c->sink_ud;
    const alk_fault *f = c->why == ALK_END_OK ? NULL : c->fault.code ? &c->fault : &fault_internal;
    int status = f ? status_of_call(c, f, c->by != NULL) : 0;

    if (f)
        answer_fault(r->of, r->reply, status, f);
    count(r, c, status, f);
    c->sink_ud = NULL;
    drop(r);
}

static const struct call_sink sink = {NULL, value, end};

/* As whom they call. 0; ALK_ENOENT: a token is given, and does not resolve; ALK_ENOMEM. They do not
 * become strangers by that, who may be allowed other things. */
static int prove(struct offering *of)
{
    int rc;

    if (!of->token || (of->by && credential_good(of->by)))
        return ALK_OK;
    credential_unref(of->by);
    of->by = NULL;
    rc = credential_prove(&of->by, of->d, PROOF_TOKEN, str_of(of->token));
    if ((rc == ALK_ENOENT) != of->unproved && rc != ALK_ENOMEM) {
        of->unproved = rc == ALK_ENOENT;
        tell(of, of->unproved ? ALK_LOG_WARN : ALK_LOG_INFO, "services.token",
             of->unproved ? credential_why(str_of(of->token)) : "resolves");
    }
    return rc;
}

/* The operation's name, of the end of a subject. p NULL: out of memory; n 0: it is none. An operation
 * has one subject, so that the broker's rules for that hold: what begins with a dot or has two of
 * them in a row is none, nor what has a slash. */
static struct str name_of(struct arena *a, const char *at)
{
    char *name = arena_alloc(a, strlen(at) + 1), *to = name;
    bool slash = strchr(at, '/') != NULL;

    if (!name)
        return STR_NONE;
    for (; *at; at++) {
        bool dot = !strncmp(at, DOT, sizeof DOT - 1);

        *to++ = dot ? '.' : *at == '.' ? '/' : *at;
        at += dot ? sizeof DOT - 2 : 0;
    }
    return (struct str){name,
                        slash || !name_valid(name, (size_t)(to - name)) ? 0 : (size_t)(to - name)};
}

/* m is taken over. 0, ALK_ENOMEM. */
static int start(struct offering *of, struct msg *m, const char *subject, const char *reply)
{
    size_t size = strlen(reply) + 1;
    char *id = arena_alloc(&m->arena, ID_SIZE);
    struct request_of *r = mem_zalloc(&of->d->mem, sizeof *r + size);
    struct request rq = {.msg = m,
                         .name = name_of(&m->arena, subject + of->subject_len),
                         .input = m->value.val,
                         .by = of->by,
                         .sink = &sink,
                         .sink_ud = r,
                         .unattended = true,
                         .remote = REMOTE,
                         .want = WANT_SINGLE};
    alk_call *c;

    if (!id || !r || !rq.name.p) {
        mem_free(&of->d->mem, r);
        msg_free(m);
        return ALK_ENOMEM;
    }
    if (!rq.name.n) {
        refuse(of, reply, 404, ALK_NOT_FOUND,
               "operation not found: this is no operation's subject");
        mem_free(&of->d->mem, r);
        msg_free(m);
        return ALK_OK;
    }
    dispatcher_id(of->d, id);
    rq.id = (struct str){id, ID_SIZE - 1};
    r->of = of;
    r->began = clock_of(of->d);
    memcpy(r->reply, reply, size);
    list_push(&of->calls, &r->link);
    of->running++;
    c = call_start(of->d, &rq);
    if (!c) {
        drop(r);
        return ALK_ENOMEM;
    }
    if (c->refused)
        call_done(c);
    else if (!call_ended(c)) /* r is there */
        r->call = c;
    return ALK_OK;
}

/* The message of a request; NULL: it has been answered. */
static struct msg *read(const struct offering *of, const char *reply, const void *data, size_t len)
{
    struct msg *m = msg_new(&of->d->messages, of->by ? of->by->account : of->strangers);
    struct json_error je = {.status = JSON_OK};
    char why[sizeof je.text + 16];
    int status, rc = !m ? ALK_ENOMEM : msg_parse(m, len ? data : "{}", len ? len : 2, &je);

    if (!rc)
        return m;
    if (m)
        msg_free(m);
    status = status_of_text(rc, &je);
    snprintf(why, sizeof why, "payload: %s", je.text);
    if (status == 503)
        answer_fault(of, reply, 503, &fault_full);
    else
        refuse(of, reply, status, ALK_INVALID_INPUT, why);
    return NULL;
}

static void on_call(struct offering *of, const char *subject, const char *reply, const void *data,
                    size_t len)
{
    int rc = prove(of);
    struct msg *m;

    if (of->running == SERVICE_CALLS_MAX)
        answer_fault(of, reply, 503, &fault_busy);
    else if (rc == ALK_ENOENT)
        refuse(of, reply, 403, ALK_FORBIDDEN, "the service's own token does not resolve");
    else if (rc)
        answer_fault(of, reply, 503, &fault_full);
    else if (len > body_limit(of->d->node, of->by != NULL))
        refuse(of, reply, 413, ALK_INVALID_INPUT, "payload: too large");
    else if ((m = read(of, reply, data, len)) && start(of, m, subject, reply))
        answer_fault(of, reply, 503, &fault_full);
}

/* ---- listings -------------------------------------------------------------------------------- */

struct listing {
    struct offering *of;
    struct buf *b;
    enum verb verb;
    size_t most;
    bool some, cut;
};

/* Names of endpoints have fewer characters than those of operations; who has to be exact looks at
 * the subject, or at the metadata. */
static int put_names(struct buf *b, const struct offering *of, struct str name)
{
    char text[(sizeof DOT - 1) * NAME_MAX_BYTES + 1], *to = text;

    for (size_t i = 0; i < name.n; i++)
        *to++ = strchr("/.~", name.p[i]) ? '-' : name.p[i];
    *to = 0;
    if (buf_printf(b, "{\"name\":\"%s\",\"subject\":\"%s", text, of->subject))
        return -1;
    to = text;
    for (size_t i = 0; i < name.n; i++) {
        if (name.p[i] == '.') {
            memcpy(to, DOT, sizeof DOT - 1);
            to += sizeof DOT - 1;
        } else {
            *to++ = name.p[i] == '/' ? '.' : name.p[i];
        }
    }
    *to = 0;
    return buf_printf(b, "%s\",\"queue_group\":\"%s\",", text, of->name);
}

static int put_metadata(struct buf *b, const struct operation *op)
{
    int rc = buf_printf(b, "\"metadata\":{\"operation\":\"%s\",\"op_type\":\"%s\"", op_name(op).p,
                        operation_type_name(op->type));

    if (op->description)
        rc |= buf_puts(b, ",\"description\":") |
              buf_json_string(b, op->description, op->description_len);
    return rc | buf_puts(b, "}}");
}

static int put_counts(struct buf *b, const struct offering *of, struct str name)
{
    static const struct counted none;
    struct map_node *at = map_find(&of->counted, name.p, name.n);
    const struct counted *n = at ? container_of(at, struct counted, by_name) : &none;

    return buf_printf(b,
                      "\"num_requests\":%llu,\"num_errors\":%llu,\"processing_time\":%llu,"
                      "\"average_processing_time\":%llu,\"last_error\":",
                      (unsigned long long)n->requests, (unsigned long long)n->errors,
                      (unsigned long long)n->nanoseconds,
                      (unsigned long long)(n->requests ? n->nanoseconds / n->requests : 0)) |
           buf_json_string(b, n->last_error, strlen(n->last_error)) | buf_puts(b, "}");
}

static bool answers_once(const struct operation *op, void *ud)
{
    (void)ud;
    return op->type != ALK_SUBSCRIPTION;
}

static int put_operation(const struct operation *op, void *ud)
{
    struct listing *l = ud;
    size_t before = l->b->len;
    int rc = (l->some ? buf_puts(l->b, ",") : 0) | put_names(l->b, l->of, op_name(op));

    rc |= l->verb == INFO ? put_metadata(l->b, op) : put_counts(l->b, l->of, op_name(op));
    l->some = true;
    if (rc || l->b->len <= l->most)
        return rc;
    buf_truncate(l->b, before);
    l->cut = true;
    return 1;
}

static int put_operations(struct offering *of, struct buf *b, enum verb verb)
{
    size_t most = of->bus->largest && of->bus->largest < SERVICE_LISTING_BYTES
                      ? of->bus->largest
                      : SERVICE_LISTING_BYTES;
    struct listing l = {
        .of = of, .b = b, .verb = verb, .most = most > LISTING_END ? most - LISTING_END : 0};
    int rc = buf_puts(b, ",\"endpoints\":[");

    if (!prove(of))
        rc |= services_each(of->d, credential_identity(of->by), STR_NONE, answers_once,
                            put_operation, &l) < 0;
    return rc | buf_puts(b, "]") |
           (l.cut ? buf_puts(b, ",\"metadata\":{\"incomplete\":\"true\"}")
                  : buf_puts(b, ",\"metadata\":{}"));
}

static void answer_listing(struct offering *of, const char *reply, enum verb verb)
{
    struct buf b;
    int rc;

    if (!bucket_take(&of->listings, SERVICE_LISTINGS, of->d->now))
        return;
    buf_init(&b, &of->d->mem);
    rc = buf_printf(&b,
                    "{\"type\":\"io.nats.micro.v1.%s_response\",\"name\":\"%s\",\"id\":\"%s\","
                    "\"version\":\"" ALK_VERSION "\"",
                    types[verb], of->name, of->id);
    if (verb == PING)
        rc |= buf_puts(&b, ",\"metadata\":{}");
    else if (verb == INFO)
        rc |= buf_printf(&b, ",\"description\":\"alknet hub %s\"", of->name);
    else
        rc |= buf_printf(&b, ",\"started\":\"%s\"", of->started);
    if (verb != PING)
        rc |= put_operations(of, &b, verb);
    if (!(rc | buf_puts(&b, "}")))
        of->bus->ops->answer(of->bus, reply, NULL, buf_at(&b), b.len);
    buf_fini(&b);
}

/* ---- the bus --------------------------------------------------------------------------------- */

/* Whoever asks chooses where the answer goes, and it goes there by this hub's rights at the broker:
 * not to other hubs, nor to what the broker itself listens to. */
static bool good_reply(const struct offering *of, const char *reply)
{
    return reply && *reply != '$' && strncmp(reply, of->subject, of->prefix_len) != 0;
}

static void on_request(void *ud, const char *subject, const char *reply, const void *data,
                       size_t len)
{
    struct offering *of = ud;

    if (!good_reply(of, reply))
        return;
    if (!strncmp(subject, of->subject, of->subject_len)) {
        on_call(of, subject, reply, data, len);
        return;
    }
    for (enum verb v = PING; v < VERBS; v++) {
        if (!strncmp(subject, subjects[v], strlen(subjects[v])))
            answer_listing(of, reply, v);
    }
}

static void tell_state(const struct offering *of, const char *why)
{
    if (of->up)
        tell(of, ALK_LOG_INFO, "services.up", of->name);
    else
        tell(of, ALK_LOG_WARN, "services.down", why);
}

static void on_state(void *ud, bool up, const char *why)
{
    struct offering *of = ud;

    of->up = up;
    if (of->begun)
        tell_state(of, why);
}

/* What is served by number n, and by whose queue (NULL: all who serve it are asked). */
static void pattern_of(const struct offering *of, unsigned n, char out[PATTERN_SIZE],
                       const char **queue)
{
    const char *listing = n ? subjects[(n - 1) / 3] : NULL;

    *queue = n ? NULL : of->name;
    if (!n)
        snprintf(out, PATTERN_SIZE, "%s>", of->subject);
    else if (n % 3 == 1)
        snprintf(out, PATTERN_SIZE, "%s", listing);
    else if (n % 3 == 2)
        snprintf(out, PATTERN_SIZE, "%s.%s", listing, of->name);
    else
        snprintf(out, PATTERN_SIZE, "%s.%s.%s", listing, of->name, of->id);
}

/* All or none. */
void offering_begin(struct offering *of)
{
    char pattern[PATTERN_SIZE];
    const char *queue;
    int rc = ALK_OK;

    for (unsigned n = 0; !rc && n < PATTERNS; n++) {
        pattern_of(of, n, pattern, &queue);
        rc = of->bus->ops->serve(of->bus, pattern, queue);
    }
    of->begun = true;
    if (rc) {
        offering_end(of);
        tell(of, ALK_LOG_ERROR, "services.failed", alk_strerror(rc));
    } else if (of->up) {
        tell_state(of, NULL);
    }
    prove(of); /* so that the log says it in time */
}

void offering_end(struct offering *of)
{
    char pattern[PATTERN_SIZE];
    const char *queue;

    for (unsigned n = 0; of->begun && n < PATTERNS; n++) {
        pattern_of(of, n, pattern, &queue);
        of->bus->ops->unsubscribe(of->bus, pattern);
    }
    of->begun = false;
}

/* ---- life ------------------------------------------------------------------------------------ */

static bool keep_token(struct offering *of, const char *token)
{
    size_t size = strlen(token) + 1;

    of->token = mem_alloc(&of->d->mem, size);
    return of->token && memcpy(of->token, token, size);
}

int offering_new(struct offering **out, alk_dispatcher *d, const struct offering_options *o)
{
    struct offering *of = mem_zalloc(&d->mem, sizeof *of);
    time_t now = time(NULL);
    struct tm tm;
    int rc = ALK_OK;

    *out = NULL;
    if (!of)
        return ALK_ENOMEM;
    of->d = d;
    of->bus = o->bus;
    list_init(&of->calls);
    map_init(&of->counted, &d->mem, d->node->seed);
    snprintf(of->name, sizeof of->name, "%s", o->name);
    of->prefix_len = strlen(o->prefix) + 1;
    of->subject_len =
        (size_t)snprintf(of->subject, sizeof of->subject, "%s.services.%s.", o->prefix, o->name);
    strftime(of->started, sizeof of->started, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &tm));
    of->strangers = account_get(&d->accounts, false, str_of(REMOTE));
    if (!of->strangers || (o->token && !keep_token(of, o->token)))
        rc = ALK_ENOMEM;
    if (!rc && !cluster_random(d->node->host, of->id))
        rc = ALK_ESYSTEM;
    if (rc) {
        offering_close(of);
        return rc;
    }
    of->bus->on_request = on_request;
    of->bus->on_state = on_state;
    of->bus->ud = of;
    *out = of;
    return ALK_OK;
}

void offering_close(struct offering *of)
{
    struct mem *mem = &of->d->mem;
    struct map_node *n;

    while (!list_empty(&of->calls))
        call_end(container_of(of->calls.next, struct request_of, link)->call, ALK_END_CLOSED,
                 &fault_closed);
    while ((n = map_any(&of->counted))) {
        map_del(&of->counted, n);
        mem_free(mem, container_of(n, struct counted, by_name));
    }
    map_fini(&of->counted);
    credential_unref(of->by);
    account_unref(of->strangers);
    if (of->token)
        mem_wipe(of->token, strlen(of->token));
    mem_free(mem, of->token);
    mem_free(mem, of);
}
