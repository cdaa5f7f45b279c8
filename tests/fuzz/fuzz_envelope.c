/* Fuzzes a call connection: a remote that says anything at any time, over a link that is slow or
 * fails, while time passes, memory runs out, and the node calls, pauses, aborts and answers.
 *
 * The input is a list of commands, a byte each with its arguments behind it; what is fed is
 * either raw bytes or an envelope put together from lists of ids, operations, inputs and extra
 * members, so that most of it makes sense. Randomness is a counter, so that a run can be
 * repeated.
 *
 * It must hold: every envelope that leaves is strict JSON with exactly the members of its type;
 * there are never more final answers for an id than requests with it; each call of ours ends
 * once, and no value comes behind its end; what the link does not take stays within its bound;
 * all memory and every call comes back. */
#include "core/node.h"
#include "core/services.h"
#include "support/memory.h"

#include <alknet/alknet.h>

#include <stdio.h>
#include <string.h>

#define MUST(x)                                                                                    \
    do {                                                                                           \
        if (!(x)) {                                                                                \
            fprintf(stderr, "%s:%d: %s does not hold\n", __FILE__, __LINE__, #x);                  \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { IDS = 6, HELD = 64, CALLS = 64, STEPS_MAX = 400 };
#define MS UINT64_C(1000000)

static const char *const ids[IDS] = {
    "a", "b", "\\u0000", "\xc3\xa9", "an-id-of-some-length-0123456789", "c"};
static const char *const operations[] = {
    "/t/echo",  "t/later", "t/stream", "t/count", "t/strict",      "t/scoped",
    "t/hidden", "t/fail",  "t/none",   "t/call",  "services/list", "services/schema"};
static const char *const inputs[] = {
    "null",
    "{}",
    "{\"a\":1}",
    "[1,2.50,\"x\"]",
    "{\"name\":\"t/echo\"}",
    "\"x\"",
    "{\"q\":\"t\",\"limit\":2}",
    "{\"a\":[[[[[[[[[[]]]]]]]]]]}",
    "1e400",
};
static const char *const extras[] = {
    "",
    ",\"timeout_ms\":50",
    ",\"hops\":9",
    ",\"hops\":3",
    ",\"auth_token\":\"alk_known_token_of_somebody\"",
    ",\"auth_token\":\"alk_other\"",
    ",\"auth_token\":5",
    ",\"traceparent\":\"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\"",
    ",\"forwarded_for\":{\"id\":\"x\",\"scopes\":[],\"resources\":{}}",
    ",\"timeout_ms\":-1,\"hops\":\"x\",\"traceparent\":1,\"forwarded_for\":[]",
};
static const char *const payloads[] = {
    "{\"output\":1}",
    "{}",
    "null",
    "{\"output\":[{\"a\":1.0}]}",
    "{\"code\":\"E\",\"message\":\"m\",\"retryable\":true,\"details\":{\"x\":[1]}}",
    "{\"code\":\"NOT_FOUND\",\"message\":\"\",\"retryable\":false}",
    "{\"code\":5}",
    "[]",
};
static const char *const types[] = {"call.requested", "call.responded", "call.completed",
                                    "call.aborted",   "call.error",     "call.other"};

#define PICK(list, byte) list[(byte) % (sizeof(list) / sizeof(list[0]))]

struct our_call {
    struct fuzz *f;
    alk_call *call; /* a reference, while it has not ended */
    bool used, ended, stream;
    int values;
};

struct fuzz {
    const uint8_t *at, *end;
    struct memory memory;
    alk_node *node;
    alk_dispatcher *d;
    alk_connection *c;
    uint64_t now, generation;
    bool known;   /* the token resolves */
    uint8_t room; /* envelopes that the link takes; 255: any number */
    bool broken, closed, draining;
    size_t requests, finals;
    size_t requests_of[IDS], finals_of[IDS];
    alk_call *held[HELD]; /* references of calls that wait for an answer */
    size_t held_count, held_ends, held_starts;
    size_t to_emit; /* what t/count may still emit, in all */
    struct our_call calls[CALLS];
    size_t call_count;
    char sent_ids[CALLS][40]; /* of our requests, as they left */
    size_t sent_count;
};

static uint8_t next(struct fuzz *f)
{
    return f->at < f->end ? *f->at++ : 0;
}

/* ---- host and identities --------------------------------------------------------------------- */

static uint64_t random_state;

static int counted_random(void *out, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        random_state = random_state * 6364136223846793005u + 1442695040888963407u;
        ((uint8_t *)out)[i] = (uint8_t)(random_state >> 56);
    }
    return 0;
}

static int by_token(void *ud, const char *token, size_t len, alk_identity **out)
{
    const struct fuzz *f = ud;

    if (!f->known || len != 27 || memcmp(token, "alk_known_token_of_somebody", 27))
        return ALK_KIND_NONE;
    *out = alk_identity_new("{\"id\":\"somebody\",\"scopes\":[\"s\"]}", 32);
    return *out ? ALK_KIND_PEER | ALK_PEER_MAY_FORWARD : ALK_KIND_NONE;
}

static int by_fingerprint(void *ud, const char *print, size_t len, alk_identity **out)
{
    (void)ud;
    (void)print;
    (void)len;
    (void)out;
    return ALK_KIND_NONE;
}

static uint64_t generation(void *ud)
{
    return ((struct fuzz *)ud)->generation;
}

/* ---- handlers -------------------------------------------------------------------------------- */

/* The registry is made once and outlives the runs; what its handlers work on is this. */
static struct fuzz *current;

static void on_held_end(alk_call *call, int why, const alk_fault *fault, void *ud)
{
    struct fuzz *f = ud;

    MUST((fault != NULL) == (why == ALK_END_FAULT || why == ALK_END_TIMEOUT));
    MUST(alk_call_reply(call, "1", 1) == ALK_EENDED);
    f->held_ends++;
}

static int later(alk_call *call, void *ud)
{
    struct fuzz *f = current;

    (void)ud;
    MUST(alk_call_on_end(call, on_held_end, f) == ALK_OK);
    f->held_starts++;
    if (f->held_count < HELD)
        f->held[f->held_count++] = alk_call_ref(call);
    return ALK_OK;
}

static int echo(alk_call *call, void *ud)
{
    size_t len;
    const char *text = alk_value_text(alk_call_input(call), &len);

    (void)ud;
    return text ? alk_call_reply(call, text, len) : ALK_ENOMEM;
}

static void go_on(alk_call *call, void *ud)
{
    struct fuzz *f = current;
    int rc = ALK_OK;

    (void)ud;
    for (int i = 0; i < 50 && !rc && f->to_emit; i++, f->to_emit--)
        rc = alk_call_emit(call, "[\"0123456789\"]", 14);
    if (rc == ALK_OK || !f->to_emit)
        alk_call_complete(call);
}

static int count(alk_call *call, void *ud)
{
    MUST(alk_call_on_drain(call, go_on, ud) == ALK_OK);
    go_on(call, ud);
    return ALK_OK;
}

static int failing(alk_call *call, void *ud)
{
    const alk_fault f = {.size = sizeof f,
                         .retryable = 1,
                         .code = "OWN",
                         .message = "mine \xff",
                         .details = "{\"a\":[1.0]}"};

    (void)ud;
    return alk_call_fail(call, &f);
}

static struct our_call *our_call(struct fuzz *f, bool stream, alk_call_options *o);

/* Calls the remote from within a handler. */
static int calling(alk_call *call, void *ud)
{
    struct fuzz *f = current;
    alk_call_options o;
    struct our_call *mine = our_call(f, false, &o);

    (void)ud;
    if (mine && f->c && alk_connection_call(f->c, "x/y", 3, "1", 1, &o, &mine->call) != ALK_OK)
        mine->used = false;
    return alk_call_reply(call, "true", 4);
}

/* ---- what leaves ----------------------------------------------------------------------------- */

static void check_members(yyjson_val *v, const char *const *names, size_t least)
{
    size_t i, n, at = 0, found = 0;
    yyjson_val *key, *val;

    MUST(yyjson_is_obj(v));
    yyjson_obj_foreach(v, i, n, key, val)
    {
        (void)val;
        while (names[at] && !yyjson_equals_str(key, names[at]))
            at++;
        MUST(names[at]);
        found += at < least;
        at++;
    }
    MUST(found == least);
}

static void final_for(struct fuzz *f, yyjson_val *id)
{
    f->finals++;
    MUST(f->finals <= f->requests);
    for (size_t i = 0; i < IDS; i++) {
        bool nul = i == 2;

        if (nul ? yyjson_get_len(id) == 1 && !*yyjson_get_str(id) : yyjson_equals_str(id, ids[i]))
            MUST(++f->finals_of[i] <= f->requests_of[i]);
    }
}

static int on_send(void *ud, uint64_t stream, const char *envelope, size_t len)
{
    static const char *const whole[] = {"type", "id", "payload", NULL};
    static const char *const requested[] = {"operationId",   "input", "auth_token",
                                            "forwarded_for", "hops",  "timeout_ms",
                                            "traceparent",   NULL};
    static const char *const error[] = {"code", "message", "retryable", "details", NULL};
    static const char *const output[] = {"output", NULL}, *const none[] = {NULL};
    struct fuzz *f = ud;
    yyjson_doc *doc;
    yyjson_val *root, *type, *id, *payload;

    (void)stream;
    MUST(!f->closed);
    if (f->broken)
        return ALK_ESYSTEM;
    if (!f->room)
        return ALK_EAGAIN;
    f->room -= f->room != 255;
    doc = yyjson_read(envelope, len, YYJSON_READ_NUMBER_AS_RAW);
    MUST(doc);
    root = yyjson_doc_get_root(doc);
    check_members(root, whole, 3);
    type = yyjson_obj_get(root, "type");
    id = yyjson_obj_get(root, "id");
    payload = yyjson_obj_get(root, "payload");
    MUST(yyjson_get_len(id) >= 1 && yyjson_get_len(id) <= 256);
    if (yyjson_equals_str(type, "call.requested")) {
        check_members(payload, requested, 2);
        if (f->sent_count < CALLS)
            snprintf(f->sent_ids[f->sent_count++], sizeof f->sent_ids[0], "%s", yyjson_get_str(id));
    } else if (yyjson_equals_str(type, "call.responded")) {
        check_members(payload, output, 1);
    } else if (yyjson_equals_str(type, "call.completed")) {
        check_members(payload, none, 0);
        final_for(f, id);
    } else if (yyjson_equals_str(type, "call.error")) {
        check_members(payload, error, 3);
        MUST(yyjson_get_len(yyjson_obj_get(payload, "code")) &&
             yyjson_is_str(yyjson_obj_get(payload, "message")) &&
             yyjson_is_bool(yyjson_obj_get(payload, "retryable")));
        final_for(f, id);
    } else {
        MUST(yyjson_equals_str(type, "call.aborted"));
        check_members(payload, none, 0);
    }
    yyjson_doc_free(doc);
    return ALK_OK;
}

static void on_close(void *ud, int code)
{
    struct fuzz *f = ud;

    MUST(!f->closed && code >= ALK_CLOSE_SHUTDOWN && code <= ALK_CLOSE_IDENTITY);
    f->closed = true;
}

/* ---- our calls ------------------------------------------------------------------------------- */

static void on_value(alk_call *call, const alk_value *value, void *ud)
{
    struct our_call *mine = ud;
    size_t len;

    MUST(mine->used && !mine->ended && (mine->stream || !mine->values));
    mine->values++;
    alk_value_text(value, &len);
    if (mine->values == 5)
        alk_call_abort(call);
}

static void on_end(alk_call *call, int why, const alk_fault *fault, void *ud)
{
    struct our_call *mine = ud;

    (void)call;
    MUST(mine->used && !mine->ended);
    MUST((fault != NULL) == (why == ALK_END_FAULT || why == ALK_END_TIMEOUT));
    mine->ended = true;
}

static struct our_call *our_call(struct fuzz *f, bool stream, alk_call_options *o)
{
    struct our_call *mine = f->call_count < CALLS ? &f->calls[f->call_count] : NULL;

    if (!mine)
        return NULL;
    f->call_count++;
    *mine = (struct our_call){.f = f, .used = true, .stream = stream};
    *o = (alk_call_options){.size = sizeof *o};
    o->stream = stream;
    o->on_event = on_value;
    o->on_end = on_end;
    o->ud = mine;
    return mine;
}

static void start_call(struct fuzz *f)
{
    alk_call_options o;
    uint8_t how = next(f);
    struct our_call *mine = our_call(f, how & 1, &o);
    const char *input = PICK(inputs, how >> 4);

    if (!mine)
        return;
    o.timeout_ms = how & 2 ? 30 : 0;
    if (alk_connection_call(f->c, "x/y", 3, input, strlen(input), &o, &mine->call) != ALK_OK)
        mine->used = false;
}

/* ---- commands -------------------------------------------------------------------------------- */

static void feed(struct fuzz *f, uint64_t stream, const char *text, size_t len)
{
    /* Of its own, so that a byte read behind it is seen. */
    char *copy = malloc(len + !len);
    int rc;

    MUST(copy);
    memcpy(copy, text, len);
    rc = alk_connection_feed(f->c, stream, copy, len);
    MUST(rc == ALK_OK || rc == ALK_ECLOSED || rc == ALK_EJSON || rc == ALK_ELIMIT);
    free(copy);
}

/* A raw message may be a request, with one of the ids. */
static void feed_raw(struct fuzz *f)
{
    size_t n = next(f);

    n = n < (size_t)(f->end - f->at) ? n : (size_t)(f->end - f->at);
    f->requests++;
    for (size_t i = 0; i < IDS; i++)
        f->requests_of[i]++;
    feed(f, 0, (const char *)f->at, n);
    f->at += n;
}

static void feed_envelope(struct fuzz *f)
{
    char text[2000];
    uint8_t what = next(f), which = next(f), how = next(f);
    const char *type = PICK(types, what), *id = ids[which % IDS];
    uint64_t stream = what >> 6;
    int n;

    if (f->sent_count && which >= 128 && type != types[0])
        id = f->sent_ids[which % f->sent_count];
    if (type == types[0]) {
        f->requests++;
        f->requests_of[which % IDS]++;
        n = snprintf(text, sizeof text,
                     "{\"type\":\"call.requested\",\"id\":\"%s\",\"payload\":{\"operationId\":\"%"
                     "s\",\"input\":%s%s}}",
                     id, PICK(operations, how), PICK(inputs, which / IDS), PICK(extras, next(f)));
    } else {
        n = snprintf(text, sizeof text, "{\"id\":\"%s\",\"type\":\"%s\",\"payload\":%s}", id, type,
                     PICK(payloads, how));
    }
    MUST(n > 0 && n < (int)sizeof text);
    feed(f, stream, text, (size_t)n);
}

static void answer_held(struct fuzz *f)
{
    uint8_t how = next(f);
    const char *text = PICK(inputs, how >> 3);
    const alk_fault fault = {.size = sizeof fault, .code = "OWN", .message = "m"};
    alk_call *call;

    if (!f->held_count)
        return;
    call = f->held[how % f->held_count];
    switch (next(f) % 5) {
    case 0:
        alk_call_reply(call, text, strlen(text));
        break;
    case 1:
        alk_call_emit(call, text, strlen(text));
        break;
    case 2:
        alk_call_complete(call);
        break;
    case 3:
        alk_call_fail(call, &fault);
        break;
    default:
        alk_call_unref(call);
        how %= f->held_count--;
        f->held[how] = f->held[f->held_count];
    }
}

static void steer_call(struct fuzz *f)
{
    uint8_t how = next(f);
    struct our_call *mine;

    if (!f->call_count)
        return;
    mine = &f->calls[how % f->call_count];
    if (!mine->call)
        return;
    switch (next(f) % 4) {
    case 0:
        alk_call_abort(mine->call);
        break;
    case 1:
        alk_call_pause(mine->call, 1);
        break;
    case 2:
        alk_call_pause(mine->call, 0);
        break;
    default:
        alk_call_unref(mine->call);
        mine->call = NULL;
    }
}

static void turn(struct fuzz *f)
{
    uint64_t next_at = 0;

    for (int i = 0; i < 200 && next_at <= f->now; i++)
        next_at = alk_dispatcher_turn(f->d, f->now);
    MUST(next_at > f->now);
}

static void command(struct fuzz *f, uint8_t what)
{
    switch (what % 16) {
    case 0:
    case 1:
    case 2:
    case 3:
        feed_envelope(f);
        break;
    case 4:
        feed_raw(f);
        break;
    case 5:
    case 6:
        turn(f);
        break;
    case 7:
        f->now += next(f) * MS * (what & 16 ? 1000 : 1);
        turn(f);
        break;
    case 8:
        start_call(f);
        break;
    case 9:
    case 10:
        answer_held(f);
        break;
    case 11:
        steer_call(f);
        break;
    case 12:
        f->room = next(f);
        alk_connection_writable(f->c);
        break;
    case 13:
        f->memory.failed = false;
        f->memory.fail_in = next(f);
        break;
    case 14:
        f->known = what & 16;
        f->generation += (what & 32) != 0;
        break;
    default:
        switch (next(f) % 8) {
        case 0:
            alk_connection_close(f->c, next(f) % 4);
            break;
        case 1:
            alk_connection_lost(f->c);
            f->closed = true;
            break;
        case 2:
            f->broken = true;
            break;
        case 3:
            dispatcher_cancel_all(f->d);
            break;
        case 4:
            alk_dispatcher_drain(f->d);
            f->draining = true;
            break;
        default:
            break;
        }
    }
}

/* ---- the node -------------------------------------------------------------------------------- */

static void add(alk_registry *reg, const char *name, uint32_t type, alk_handler handler,
                const char *access, const char *schema)
{
    alk_operation op;

    alk_operation_init(&op, sizeof op);
    op.name = name;
    op.type = type;
    op.handler = handler;
    op.access_control = access;
    op.input_schema = schema;
    op.visibility = strcmp(name, "t/hidden") ? ALK_EXTERNAL : ALK_INTERNAL_ONLY;
    MUST(!alk_registry_add(reg, &op));
}

static alk_registry *make_registry(const struct host *host)
{
    alk_registry *reg = registry_new(host);

    MUST(reg && !services_register(reg));
    add(reg, "t/echo", ALK_QUERY, echo, NULL, NULL);
    add(reg, "t/later", ALK_QUERY, later, NULL, NULL);
    add(reg, "t/stream", ALK_SUBSCRIPTION, later, NULL, NULL);
    add(reg, "t/count", ALK_SUBSCRIPTION, count, NULL, NULL);
    add(reg, "t/strict", ALK_MUTATION, echo, NULL, "{\"type\":\"object\",\"required\":[\"a\"]}");
    add(reg, "t/scoped", ALK_QUERY, later, "{\"required_scopes\":[\"s\"]}", NULL);
    add(reg, "t/hidden", ALK_QUERY, echo, NULL, NULL);
    add(reg, "t/fail", ALK_QUERY, failing, NULL, NULL);
    add(reg, "t/call", ALK_QUERY, calling, NULL, NULL);
    MUST(!alk_registry_freeze(reg));
    return reg;
}

static void open_node(struct fuzz *f)
{
    static alk_registry *reg;
    static struct host host;
    alk_identity_provider p = {.size = sizeof(alk_identity_provider),
                               .by_token = by_token,
                               .by_fingerprint = by_fingerprint,
                               .generation = generation,
                               .ud = f};
    alk_node_options o;
    alk_limits l;

    host = *host_default();
    host.random = counted_random;
    if (!reg)
        reg = make_registry(&host);
    alk_limits_init(&l, sizeof l);
    l.connection_calls = 20;
    l.queue_high = 1000;
    l.queue_max = 20000;
    l.frame_bytes = 9000;
    l.json_depth = 30;
    l.json_values = 2000;
    l.deadline_ms = 100;
    alk_node_options_init(&o, sizeof o);
    o.realloc = memory_realloc;
    o.realloc_ud = &f->memory;
    o.limits = &l;
    o.identities = &p;
    random_state = 0;
    MUST(!node_new(&f->node, reg, &o, &host));
    MUST(!alk_dispatcher_new(&f->d, f->node));
}

static void open_connection(struct fuzz *f)
{
    alk_link link = {.size = sizeof link, .send = on_send, .close = on_close, .ud = f};
    alk_connection_options o = {.size = sizeof o};

    if (next(f) & 1) {
        f->known = true;
        o.kind = ALK_KIND_PEER | ALK_PEER_MAY_FORWARD;
        o.identity = alk_identity_new("{\"id\":\"somebody\",\"scopes\":[\"s\"]}", 32);
        o.by_token = "alk_known_token_of_somebody";
        o.token = "alk_token";
    }
    MUST(!alk_connection_open(&f->c, f->d, &link, &o));
    alk_identity_unref(o.identity);
}

static void close_all(struct fuzz *f)
{
    alk_stats s = {.size = sizeof s};

    f->memory.failed = false;
    f->memory.fail_in = 0;
    alk_dispatcher_stats(f->d, &s, sizeof s);
    /* Two messages beyond the bound: one that is let in below it, one that the allocator rounds
     * up. */
    MUST(s.message_bytes <= 1 << 20);
    while (f->held_count)
        alk_call_unref(f->held[--f->held_count]);
    for (size_t i = 0; i < f->call_count; i++)
        alk_call_unref(f->calls[i].call);
    alk_dispatcher_free(f->d);
    MUST(f->held_ends == f->held_starts);
    for (size_t i = 0; i < f->call_count; i++)
        MUST(f->calls[i].ended == f->calls[i].used);
    alk_connection_unref(f->c);
    alk_node_unref(f->node);
    MUST(f->memory.live == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz *f;

    if (size < 4)
        return 0;
    f = calloc(1, sizeof *f);
    MUST(f);
    f->at = data;
    f->end = data + size;
    f->now = 1000000 * MS;
    f->room = 255;
    f->to_emit = 500;
    current = f;
    open_node(f);
    open_connection(f);
    for (int i = 0; i < STEPS_MAX && f->at < f->end; i++)
        command(f, next(f));
    turn(f);
    close_all(f);
    free(f);
    return 0;
}
