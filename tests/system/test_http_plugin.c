/* A plugin for the tests of the HTTP gateway: operations that produce faster than anyone reads, fail in every way, answer
 * with as much as is asked for. Inputs are read as their JSON text; tests send what is expected here.
 *
 *   flood/values    subscription, [bytes, count]: values {"n":0,...} of about that size, as fast as they are taken
 *   flood/counters  what flood/values has done so far, of all calls
 *   fail/CODE       fails with that code; the input is its details
 *   fail/negative   returns a negative value without an answer
 *   fail/now        subscription that fails at once; fail/later after two values
 *   mute/values     subscription: one value, then nothing until it is cancelled
 *   big/value       N: answers with a string of N characters */
#include <alknet/plugin.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const uint32_t alk_plugin_abi = ALK_PLUGIN_ABI;

struct flood {
    unsigned long long count, n;
    size_t bytes;
    char *value;
};

/* Of all calls on all threads; only atomic operations touch it. */
static struct {
    unsigned long long emitted, stalls, started, ended, cut;
} counters;

#define COUNT(what) __atomic_add_fetch(&counters.what, 1, __ATOMIC_RELAXED)
#define READ(what) __atomic_load_n(&counters.what, __ATOMIC_RELAXED)

static void on_flood_end(alk_call *call, int why, const alk_fault *fault, void *ud)
{
    struct flood *f = ud;

    (void)call;
    (void)fault;
    COUNT(ended);
    if (why != ALK_END_OK)
        COUNT(cut);
    free(f->value);
    free(f);
}

static void on_room(alk_call *call, void *ud);

static int pour(alk_call *call, struct flood *f)
{
    while (f->n < f->count) {
        int head = snprintf(f->value, f->bytes + 64, "{\"n\":%llu,\"pad\":\"", f->n);

        memset(f->value + head, 'x', f->bytes);
        memcpy(f->value + head + f->bytes, "\"}", 2);
        int rc = alk_call_emit(call, f->value, (size_t)head + f->bytes + 2);
        if (rc == ALK_EAGAIN) {
            COUNT(stalls);
            return alk_call_on_drain(call, on_room, f);
        }
        if (rc < 0)
            return rc;
        COUNT(emitted);
        f->n++;
    }
    return alk_call_complete(call);
}

static void on_room(alk_call *call, void *ud)
{
    pour(call, ud);
}

static int flood(alk_call *call, void *ud)
{
    struct flood *f = calloc(1, sizeof *f);
    size_t len;

    (void)ud;
    if (!f || sscanf(alk_value_text(alk_call_input(call), &len), "[%zu,%llu]", &f->bytes,
                     &f->count) != 2) {
        free(f);
        return ALK_EINVAL;
    }
    f->value = malloc(f->bytes + 128);
    if (!f->value || alk_call_on_end(call, on_flood_end, f) < 0) {
        free(f->value);
        free(f);
        return ALK_ENOMEM;
    }
    COUNT(started);
    int rc = pour(call, f);
    return rc == ALK_EENDED ? 0 : rc;
}

static int tell(alk_call *call, void *ud)
{
    char text[200];

    (void)ud;
    int n = snprintf(text, sizeof text,
                     "{\"emitted\":%llu,\"stalls\":%llu,\"running\":%llu,\"cut\":%llu}",
                     READ(emitted), READ(stalls), READ(started) - READ(ended), READ(cut));
    return alk_call_reply(call, text, (size_t)n);
}

static int fail(alk_call *call, void *ud)
{
    const char *details = alk_value_text(alk_call_input(call), &(size_t){0});
    alk_fault fault = {.size = sizeof fault, .code = strchr(alk_call_operation(call), '/') + 1};

    (void)ud;
    fault.message = "failed as asked";
    fault.details = strcmp(details, "null") ? details : NULL;
    return alk_call_fail(call, &fault);
}

static int fail_negative(alk_call *call, void *ud)
{
    (void)call;
    (void)ud;
    return ALK_ESYSTEM;
}

static int fail_later(alk_call *call, void *ud)
{
    (void)ud;
    alk_call_emit(call, "1", 1);
    alk_call_emit(call, "2", 1);
    return fail(call, NULL);
}

static int mute(alk_call *call, void *ud)
{
    (void)ud;
    return alk_call_emit(call, "1", 1);
}

static int big(alk_call *call, void *ud)
{
    size_t len, n = strtoul(alk_value_text(alk_call_input(call), &len), NULL, 10);
    char *text = malloc(n + 2);

    (void)ud;
    if (!text)
        return ALK_ENOMEM;
    memset(text, 'x', n + 2);
    text[0] = text[n + 1] = '"';
    int rc = alk_call_reply(call, text, n + 2);
    free(text);
    return rc == ALK_ELIMIT ? 0 : rc;
}

#define DECLARED(status)                                                                           \
    "[{\"code\":\"DECLARED_" #status                                                               \
    "\",\"description\":\"d\",\"schema\":true,\"http_status\":" #status "}]"

static const alk_operation operations[] = {
    {.name = "flood/values", .type = ALK_SUBSCRIPTION, .handler = flood},
    {.name = "flood/counters", .type = ALK_QUERY, .handler = tell},
    {.name = "fail/now", .type = ALK_SUBSCRIPTION, .handler = fail},
    {.name = "fail/later", .type = ALK_SUBSCRIPTION, .handler = fail_later},
    {.name = "fail/negative", .type = ALK_QUERY, .handler = fail_negative},
    {.name = "fail/APP_UNDECLARED", .type = ALK_QUERY, .handler = fail},
    {.name = "fail/NOT_FOUND", .type = ALK_QUERY, .handler = fail},
    {.name = "fail/FORBIDDEN", .type = ALK_QUERY, .handler = fail},
    {.name = "fail/BUSY", .type = ALK_QUERY, .handler = fail},
    {.name = "fail/HTTP_200", .type = ALK_QUERY, .handler = fail},
    {.name = "fail/HTTP_302", .type = ALK_QUERY, .handler = fail},
    {.name = "fail/HTTP_429", .type = ALK_QUERY, .handler = fail},
    {.name = "fail/HTTP_503", .type = ALK_QUERY, .handler = fail},
    {.name = "fail/DECLARED_423",
     .type = ALK_QUERY,
     .error_schemas = DECLARED(423),
     .handler = fail},
    {.name = "fail/DECLARED_429",
     .type = ALK_QUERY,
     .error_schemas = DECLARED(429),
     .handler = fail},
    {.name = "fail/DECLARED_418",
     .type = ALK_QUERY,
     .error_schemas = DECLARED(418),
     .handler = fail},
    {.name = "mute/values", .type = ALK_SUBSCRIPTION, .handler = mute},
    {.name = "big/value", .type = ALK_QUERY, .handler = big},
};

int alk_plugin_register(alk_registry *reg, const char *config, size_t config_len, char *err,
                        size_t err_size)
{
    int rc = 0;

    (void)config;
    (void)config_len;
    (void)err;
    (void)err_size;
    for (size_t i = 0; rc == 0 && i < sizeof operations / sizeof *operations; i++) {
        alk_operation op = operations[i];
        op.size = sizeof op;
        op.visibility = ALK_EXTERNAL;
        rc = alk_registry_add(reg, &op);
    }
    return rc;
}
