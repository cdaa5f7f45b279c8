/* A plugin for alknetd: two operations, one that answers at once and one that answers later.
 *
 *     cc -shared -fPIC -I/usr/local/include -o hello.so plugin_hello.c
 *
 *     # in alknetd's configuration
 *     plugins:
 *       - path: hello.so
 *         config: {greeting: "Good morning"}
 *
 * hello/greet  {"name": "World"} -> {"text": "Good morning, World"} hello/later  {"name": "World",
 * "ms": 100} -> the same, after that time
 *
 * What a plugin keeps is in one place (struct hello), made when it registers and freed when its
 * last registration is gone. */
#include <alknet/plugin.h>
#include <alknet/uv.h>
#include <alknet/yyjson.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const uint32_t alk_plugin_abi = ALK_PLUGIN_ABI;

struct hello {
    int refs; /* one of each registration */
    char greeting[64];
};

/* A greeting that waits for its time. */
struct later {
    uv_timer_t timer;
    alk_call *call;
    const struct hello *hello;
};

static int answer(alk_call *call, const struct hello *h)
{
    char text[256]; /* holds a greeting and 32 characters */
    size_t len, n = (size_t)snprintf(text, sizeof text, "%s, ", h->greeting);
    const char *name = alk_value_string(alk_call_input(call), "/name", &len);
    int rc = ALK_ENOMEM;

    if (!name)
        return rc;
    memcpy(text + n, name, len);
    yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
    yyjson_mut_val *output = yyjson_mut_obj(doc);
    if (yyjson_mut_obj_add_strn(doc, output, "text", text, n + len))
        rc = alk_call_output_built(call, output);
    yyjson_mut_doc_free(doc);
    return rc;
}

static int greet(alk_call *call, void *ud)
{
    return answer(call, ud);
}

static void on_timer_closed(uv_handle_t *timer)
{
    free(timer->data);
}

/* Runs once however the call ends, also when its caller has gone away: the one place where the
 * timer is given up. */
static void on_end(alk_call *call, int why, const alk_fault *fault, void *ud)
{
    struct later *l = ud;
    (void)call;
    (void)why;
    (void)fault;
    uv_close((uv_handle_t *)&l->timer, on_timer_closed);
}

static void on_time(uv_timer_t *timer)
{
    struct later *l = timer->data;
    answer(l->call, l->hello);
}

static int greet_later(alk_call *call, void *ud)
{
    int64_t ms = alk_value_integer(alk_call_input(call), "/ms", 0);
    struct later *l = calloc(1, sizeof *l);

    if (!l)
        return ALK_ENOMEM;
    l->call = call;
    l->hello = ud;
    l->timer.data = l;
    uv_timer_init(alk_call_loop(call), &l->timer);
    uv_timer_start(&l->timer, on_time, (uint64_t)ms, 0);
    return alk_call_on_end(call, on_end, l);
}

static void unref(void *ud)
{
    struct hello *h = ud;
    if (--h->refs == 0)
        free(h);
}

static int read_config(struct hello *h, const char *config, size_t len, char *err, size_t err_size)
{
    yyjson_doc *doc = yyjson_read(config, len, 0);
    yyjson_val *greeting = yyjson_obj_get(yyjson_doc_get_root(doc), "greeting");
    int rc = ALK_OK;

    if (greeting && (!yyjson_is_str(greeting) || yyjson_get_len(greeting) >= sizeof h->greeting)) {
        snprintf(err, err_size, "greeting: must be a string of at most %zu bytes",
                 sizeof h->greeting - 1);
        rc = ALK_ECONFIG;
    } else {
        snprintf(h->greeting, sizeof h->greeting, "%s",
                 greeting ? yyjson_get_str(greeting) : "Hello");
    }
    yyjson_doc_free(doc);
    return rc;
}

int alk_plugin_register(alk_registry *reg, const char *config, size_t config_len, char *err,
                        size_t err_size)
{
    static const struct {
        const char *name, *description, *input_schema;
        alk_handler handler;
    } operations[] = {
        {"hello/greet", "Greets.",
         "{\"type\":\"object\",\"required\":[\"name\"],\"additionalProperties\":false,"
         "\"properties\":{\"name\":{\"type\":\"string\",\"maxLength\":32}}}",
         greet},
        {"hello/later", "Greets after ms milliseconds.",
         "{\"type\":\"object\",\"required\":[\"name\",\"ms\"],\"additionalProperties\":false,"
         "\"properties\":{\"name\":{\"type\":\"string\",\"maxLength\":32},"
         "\"ms\":{\"type\":\"integer\",\"minimum\":0,\"maximum\":60000}}}",
         greet_later},
    };
    struct hello *h = calloc(1, sizeof *h);

    if (!h)
        return ALK_ENOMEM;
    h->refs = 1;
    int rc = read_config(h, config, config_len, err, err_size);
    for (size_t i = 0; i < sizeof operations / sizeof *operations && rc == ALK_OK; i++) {
        alk_operation op;
        alk_operation_init(&op, sizeof op);
        op.name = operations[i].name;
        op.description = operations[i].description;
        op.input_schema = operations[i].input_schema;
        op.handler = operations[i].handler;
        op.ud = h;
        op.ud_free = unref; /* also called when alk_registry_add fails */
        h->refs++;
        rc = alk_registry_add(reg, &op);
    }
    unref(h);
    return rc;
}
