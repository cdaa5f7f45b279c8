/* Each operation shows one way of answering: at once, later, many times, with a declared error, not
 * at all.
 *
 * What answers later owns a timer on the call's loop. The timer and its state go when the call
 * ends, for whatever reason, in one place (alk_call_on_end), which is also where cancellation
 * shows. Inputs have been checked against the schemas below before a handler sees them. */
#include "demo.h"

#include <alknet/uv.h>
#include <alknet/yyjson.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Of demo/sleep, shared by all loops. */
struct sleeps {
    struct log *log;
    uint64_t cancelled; /* atomic */
};

struct timed {
    uv_timer_t timer;
    alk_call *call; /* valid until on_end has run */
    struct sleeps *sleeps;
    uint64_t ms;
    uint64_t tick, count; /* count 0: without end */
};

static yyjson_val *member(const alk_call *call, const char *name)
{
    return yyjson_obj_get(alk_value_yyjson(alk_call_input(call)), name);
}

static uint64_t number_or(const alk_call *call, const char *name, uint64_t otherwise)
{
    yyjson_val *value = member(call, name);

    return value ? (uint64_t)alk_value_double(value) : otherwise;
}

/* ---- at once --------------------------------------------------------------------------------- */

static int echo(alk_call *call, void *ud)
{
    (void)ud;
    return alk_call_output_yyjson(call, alk_value_yyjson(alk_call_input(call)));
}

static bool fits_int64(yyjson_val *number)
{
    return yyjson_is_sint(number) ||
           (yyjson_is_uint(number) && yyjson_get_uint(number) <= INT64_MAX);
}

/* Whole numbers stay exact; what does not fit 64 bits is added as doubles. */
static int add(alk_call *call, void *ud)
{
    (void)ud;
    static const alk_fault overflow = {.size = sizeof overflow,
                                       .code = "DEMO_OVERFLOW",
                                       .message = "the sum is beyond what a double can hold"};
    yyjson_val *a = member(call, "a"), *b = member(call, "b");
    long long whole;
    double sum = alk_value_double(a) + alk_value_double(b);
    if (sum - sum != 0)
        return alk_call_fail(call, &overflow);
    yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
    yyjson_mut_val *reply = yyjson_mut_obj(doc);
    bool ok;
    if (fits_int64(a) && fits_int64(b) &&
        !__builtin_add_overflow(yyjson_get_sint(a), yyjson_get_sint(b), &whole))
        ok = yyjson_mut_obj_add_sint(doc, reply, "sum", whole);
    else
        ok = yyjson_mut_obj_add_real(doc, reply, "sum", sum);
    int rc = ok ? alk_call_output_built(call, reply) : ALK_ENOMEM;
    yyjson_mut_doc_free(doc);
    return rc;
}

/* Without a chosen status the declared error; with one, the code that stands for it. */
static int fail(alk_call *call, void *ud)
{
    (void)ud;
    char code[16] = "DEMO_CONFLICT";
    unsigned status = (unsigned)number_or(call, "status", 0);
    yyjson_val *message = member(call, "message");
    if (status)
        snprintf(code, sizeof code, "HTTP_%u", status);
    alk_fault fault = {.size = sizeof fault,
                       .retryable = yyjson_get_bool(member(call, "retryable")),
                       .code = code,
                       .message = message ? yyjson_get_str(message) : "failed as asked",
                       .details = status == 429 || status == 503 ? "{\"retry_after\":1}"
                                                                 : "{\"holder\":\"nobody\"}"};
    return alk_call_fail(call, &fault);
}

static int whoami(alk_call *call, void *ud)
{
    (void)ud;
    size_t len;
    const char *json = alk_identity_json(alk_call_identity(call), &len);
    return json ? alk_call_reply(call, json, len) : ALK_ENOMEM;
}

static int secret(alk_call *call, void *ud)
{
    (void)ud;
    static const char json[] = "{\"secret\":\"the key is under the mat\"}";
    return alk_call_reply(call, json, sizeof json - 1);
}

/* ---- later ----------------------------------------------------------------------------------- */

static void on_timer_closed(uv_handle_t *handle)
{
    free(handle->data);
}

static void on_timed_end(alk_call *call, int why, const alk_fault *fault, void *ud)
{
    struct timed *t = ud;

    (void)fault;
    if (t->sleeps && why != ALK_END_OK) {
        uint64_t n = __atomic_add_fetch(&t->sleeps->cancelled, 1, __ATOMIC_RELAXED);

        if (t->sleeps->log)
            log_say(t->sleeps->log, ALK_LOG_INFO, "demo.sleep.cancelled",
                    "sleep %.64s of %llu ms was cancelled, %llu so far", alk_call_id(call),
                    (unsigned long long)t->ms, (unsigned long long)n);
    }
    uv_close((uv_handle_t *)&t->timer, on_timer_closed);
}

static int start_timed(alk_call *call, struct timed **out)
{
    uv_loop_t *loop = alk_call_loop(call);
    struct timed *t = loop ? calloc(1, sizeof *t) : NULL;

    if (!t)
        return loop ? ALK_ENOMEM : ALK_EINVAL;
    uv_timer_init(loop, &t->timer);
    t->timer.data = t;
    t->call = call;
    int rc = alk_call_on_end(call, on_timed_end, t);
    if (rc < 0)
        uv_close((uv_handle_t *)&t->timer, on_timer_closed);
    *out = t;
    return rc;
}

static void on_awake(uv_timer_t *timer)
{
    struct timed *t = timer->data;
    char json[96];
    int n = snprintf(json, sizeof json, "{\"slept_ms\":%llu,\"cancelled\":%llu}",
                     (unsigned long long)t->ms,
                     (unsigned long long)__atomic_load_n(&t->sleeps->cancelled, __ATOMIC_RELAXED));

    alk_call_reply(t->call, json, (size_t)n);
}

static int do_sleep(alk_call *call, void *ud)
{
    struct timed *t;
    int rc = start_timed(call, &t);

    if (rc < 0)
        return rc;
    t->sleeps = ud;
    t->ms = number_or(call, "ms", 0);
    uv_timer_start(&t->timer, on_awake, t->ms, 0);
    return 0;
}

static void on_tick(uv_timer_t *timer);

static void on_reader_back(alk_call *call, void *ud)
{
    struct timed *t = ud;

    (void)call;
    uv_timer_start(&t->timer, on_tick, 0, t->ms);
}

/* A tick that the reader has no room for is not lost: the clock stands still until there is. */
static void on_tick(uv_timer_t *timer)
{
    struct timed *t = timer->data;
    uv_timeval64_t now = {0};
    char json[96];

    uv_gettimeofday(&now);
    int n = snprintf(json, sizeof json, "{\"tick\":%llu,\"unix_ms\":%lld}",
                     (unsigned long long)(t->tick + 1),
                     (long long)now.tv_sec * 1000 + now.tv_usec / 1000);
    int rc = alk_call_emit(t->call, json, (size_t)n);
    if (rc == ALK_EAGAIN) {
        uv_timer_stop(timer);
        alk_call_on_drain(t->call, on_reader_back, t);
    } else if (rc < 0) {
        uv_timer_stop(timer);
    } else if (++t->tick == t->count) {
        uv_timer_stop(timer);
        alk_call_complete(t->call);
    }
}

static int tick_on(alk_call *call, void *ud)
{
    struct timed *t;

    (void)ud;
    int rc = start_timed(call, &t);
    if (rc < 0)
        return rc;
    t->ms = number_or(call, "interval_ms", 1000);
    t->count = number_or(call, "count", 0);
    uv_timer_start(&t->timer, on_tick, 0, t->ms);
    return 0;
}

/* ---- by calling back ------------------------------------------------------------------------- */

static void on_called_back(alk_call *nested, const alk_value *value, void *ud)
{
    (void)nested;
    alk_call_output_yyjson(ud, alk_value_yyjson(value));
}

/* The callee's code may be one that only the library makes, so it goes into the details. */
static void on_callback_end(alk_call *nested, int why, const alk_fault *fault, void *ud)
{
    (void)nested;
    (void)why;
    if (!fault)
        return; /* answered, or aborted because the caller has gone */
    yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
    yyjson_mut_val *details = yyjson_mut_obj(doc);
    yyjson_mut_obj_add_strn(doc, details, "code", fault->code, fault->code_len);
    yyjson_mut_obj_add_strn(doc, details, "message", fault->message, fault->message_len);
    yyjson_mut_doc_set_root(doc, details);
    char *text = yyjson_mut_write(doc, 0, NULL);
    alk_fault failed = {.size = sizeof failed,
                        .retryable = fault->retryable,
                        .code = "CALLBACK_FAILED",
                        .message = "the operation that was called back failed",
                        .details = text};
    alk_call_fail(ud, &failed);
    free(text);
    yyjson_mut_doc_free(doc);
}

static int call_back(alk_call *call, void *ud)
{
    (void)ud;
    static const alk_fault none = {.size = sizeof none,
                                   .code = "NO_CONNECTION",
                                   .message = "only a call connection can be called back"};
    alk_call_options o = {.size = sizeof o};
    o.selector = ALK_SELECT_CONNECTION;
    o.connection = alk_call_connection(call);
    o.on_event = on_called_back;
    o.on_end = on_callback_end;
    o.ud = call;
    if (!o.connection)
        return alk_call_fail(call, &none);
    yyjson_val *name = member(call, "operation"), *value = member(call, "input");
    char *input = value ? yyjson_val_write(value, 0, NULL) : NULL;
    int rc = alk_call_invoke(call, yyjson_get_str(name), yyjson_get_len(name),
                             input ? input : "null", input ? strlen(input) : 4, &o, NULL);
    free(input);
    return rc;
}

/* ---- registration ---------------------------------------------------------------------------- */

#define OBJECT(properties) "{\"type\":\"object\",\"properties\":{" properties "}"
#define STRICT ",\"additionalProperties\":false}"
#define STRING "{\"type\":\"string\"}"

static const alk_operation operations[] = {
    {.name = "demo/echo", .type = ALK_QUERY, .description = "Returns its input.", .handler = echo},
    {.name = "demo/add",
     .type = ALK_QUERY,
     .description = "Adds two numbers. Whole numbers are added exactly.",
     .input_schema =
         OBJECT("\"a\":{\"type\":\"number\"},\"b\":{\"type\":\"number\"}") ",\"required\":[\"a\","
                                                                           "\"b\"]" STRICT,
     .output_schema = OBJECT("\"sum\":{\"type\":\"number\"}") ",\"required\":[\"sum\"]" STRICT,
     .error_schemas = "[{\"code\":\"DEMO_OVERFLOW\",\"description\":\"The sum is too large.\","
                      "\"schema\":true,\"http_status\":422}]",
     .handler = add},
    {.name = "demo/clock",
     .type = ALK_SUBSCRIPTION,
     .description = "Ticks at once and then each interval_ms (1000), count times or until aborted.",
     .input_schema =
         OBJECT("\"interval_ms\":{\"type\":\"integer\",\"minimum\":1,\"maximum\":3600000},"
                "\"count\":{\"type\":\"integer\",\"minimum\":1,\"maximum\":1000000000}") STRICT,
     .output_schema = OBJECT(
         "\"tick\":{\"type\":\"integer\"},\"unix_ms\":{\"type\":\"integer\"}") ",\"required\":["
                                                                               "\"tick\",\"unix_"
                                                                               "ms\"]" STRICT,
     .handler = tick_on},
    {.name = "demo/sleep",
     .type = ALK_MUTATION,
     .description =
         "Answers after ms milliseconds. cancelled counts the sleeps that were ended early.",
     .input_schema =
         OBJECT("\"ms\":{\"type\":\"integer\",\"minimum\":0,\"maximum\":3600000}") ",\"required\":["
                                                                                   "\"ms\"]" STRICT,
     .output_schema = OBJECT("\"slept_ms\":{\"type\":\"integer\"},\"cancelled\":{\"type\":"
                             "\"integer\"}") ",\"required\":[\"slept_ms\",\"cancelled\"]" STRICT,
     .handler = do_sleep,
     .ud_free = free},
    {.name = "demo/fail",
     .type = ALK_QUERY,
     .description = "Fails: with DEMO_CONFLICT (HTTP 409), or with HTTP_<status>.",
     .input_schema = "{\"type\":[\"object\",\"null\"],\"properties\":{"
                     "\"status\":{\"type\":\"integer\",\"minimum\":400,\"maximum\":599},"
                     "\"message\":" STRING ",\"retryable\":{\"type\":\"boolean\"}}" STRICT,
     .error_schemas = "[{\"code\":\"DEMO_CONFLICT\",\"description\":\"What everyone gets.\","
                      "\"schema\":" OBJECT("\"holder\":" STRING) "},\"http_status\":409}]",
     .handler = fail},
    {.name = "demo/whoami",
     .type = ALK_QUERY,
     .description = "Returns the caller's identity.",
     .output_schema =
         OBJECT("\"id\":" STRING ",\"scopes\":{\"type\":\"array\",\"items\":" STRING "},"
                "\"resources\":{\"type\":\"object\"}") "}",
     .access_control = "{\"authenticated\":true}",
     .handler = whoami},
    {.name = "demo/secret",
     .type = ALK_QUERY,
     .description = "Returns a secret to those who have the scope demo:secret.",
     .output_schema = OBJECT("\"secret\":" STRING) STRICT,
     .access_control = "{\"required_scopes\":[\"demo:secret\"]}",
     .handler = secret},
    {.name = "demo/callback",
     .type = ALK_MUTATION,
     .description = "Calls back ui/... operations that the caller's own connection serves.",
     .input_schema = OBJECT("\"operation\":" STRING ",\"input\":true") ",\"required\":["
                                                                       "\"operation\"]" STRICT,
     .error_schemas = "[{\"code\":\"CALLBACK_FAILED\",\"description\":\"What it answered.\","
                      "\"schema\":" OBJECT(
                          "\"code\":" STRING
                          ",\"message\":" STRING) "},"
                                                  "\"http_status\":502},{\"code\":\"NO_"
                                                  "CONNECTION\",\"description\":"
                                                  "\"The caller cannot be "
                                                  "called.\",\"schema\":true,\"http_status\":409}]",
     .authority = "{\"label\":\"demo\",\"scopes\":[\"ui:*\"],\"resources\":{}}",
     .environment = "{\"allowed_ops\":[\"ui/*\"]}",
     .handler = call_back},
    {.name = "demo/internal",
     .type = ALK_QUERY,
     .visibility = ALK_INTERNAL_ONLY,
     .description = "Returns its input to other operations; nobody else can see it.",
     .handler = echo},
};

int demo_add(alk_registry *reg, struct log *log)
{
    for (size_t i = 0; i < sizeof operations / sizeof *operations; i++) {
        alk_operation op = operations[i];

        op.size = sizeof op;
        op.visibility = op.visibility ? op.visibility : ALK_EXTERNAL;
        if (op.handler == do_sleep) {
            struct sleeps *s = calloc(1, sizeof *s);

            if (!s)
                return ALK_ENOMEM;
            s->log = log;
            op.ud = s;
        }
        int rc = alk_registry_add(reg, &op);
        if (rc < 0)
            return rc;
    }
    return 0;
}
