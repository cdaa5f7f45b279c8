/* A plugin for the tests of MCP: the operations that, as tools of their own, are those which the conformance suite asks a
 * server for, and some that behave badly.
 *
 *   test/NAME, json/NAME   tools of the suite, by its names for them
 *   test/tool_with_progress  subscription: three values that are progress, 50 ms between them
 *   nest/outer    invokes nest/inner, which never answers; nest/counters says how many have begun and how many have ended
 *   count/numbers, count/objects  subscriptions, {"count": N, "bytes": B}: 0 to N - 1, as numbers or in {"n"} with B bytes more, as
 *                 fast as they are taken; count/counters says how often nothing was taken, how many have begun and ended
 *   odd/...       names and schemas that do not fit what clients of MCP expect
 *   many/NNNN     as many as the plugin's configuration says, {"many": N}: the input comes back */
#include <alknet/plugin.h>
#include <alknet/uv.h>
#include <alknet/yyjson.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const uint32_t alk_plugin_abi = ALK_PLUGIN_ABI;

/* ---- what is known beforehand ---- */

#define PIXEL                                                                                      \
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8DwHwAFBQIAX8jx0gAAAABJRU5E"     \
    "rkJggg=="
#define SILENCE "UklGRiQAAABXQVZFZm10IBAAAAABAAEAQB8AAEAfAAABAAgAZGF0YQAAAAA="
#define TEXT(words) "{\"type\":\"text\",\"text\":\"" words "\"}"
#define IMAGE "{\"type\":\"image\",\"data\":\"" PIXEL "\",\"mimeType\":\"image/png\"}"
#define AUDIO "{\"type\":\"audio\",\"data\":\"" SILENCE "\",\"mimeType\":\"audio/wav\"}"
#define RESOURCE(uri, type, text)                                                                  \
    "{\"type\":\"resource\",\"resource\":{\"uri\":\"" uri "\",\"mimeType\":\"" type                \
    "\",\"text\":\"" text "\"}}"
#define BLOCKS "{\"type\":\"array\",\"x-mcp-content\":true}"
#define NOTHING "{\"type\":\"object\",\"properties\":{},\"additionalProperties\":false}"

static const struct {
    const char *name, *description, *blocks;
} known[] = {
    {"test/simple_text", "Answers with a text.",
     "[" TEXT("This is a simple text response for testing.") "]"},
    {"test/image_content", "Answers with an image.", "[" IMAGE "]"},
    {"test/audio_content", "Answers with sound.", "[" AUDIO "]"},
    {"test/embedded_resource", "Answers with a resource.",
     "[" RESOURCE("test://embedded-resource", "text/plain",
                  "This is an embedded resource content.") "]"},
    {"test/multiple_content_types", "Answers with a text, an image and a resource.",
     "[" TEXT("Multiple content types test:") "," IMAGE "," RESOURCE(
         "test://mixed-content-resource", "application/json",
         "{\\\"test\\\":\\\"data\\\",\\\"value\\\":123}") "]"},
    {"test/logging_tool", "Logs nothing that its caller would see.",
     "[" TEXT("Nobody asked for a log.") "]"},
    {"test/streaming_elicitation", "Asks its caller nothing.",
     "[" TEXT("Nothing needs to be asked.") "]"},
};

static int tell(alk_call *call, void *ud)
{
    return alk_call_reply(call, ud, strlen(ud));
}

static int echo(alk_call *call, void *ud)
{
    size_t len;
    const char *text = alk_value_text(alk_call_input(call), &len);

    (void)ud;
    return text ? alk_call_reply(call, text, len) : ALK_ENOMEM;
}

static int fail(alk_call *call, void *ud)
{
    alk_fault fault = {.size = sizeof fault, .code = "MCP_TOOL_ERROR", .message = "it failed"};

    fault.details = ud;
    return alk_call_fail(call, &fault);
}

/* ---- values in their time ---- */

struct progress {
    uv_timer_t timer;
    alk_call *call;
    int done;
};

static void on_timer_closed(uv_handle_t *timer)
{
    free(timer->data);
}

static void on_progress_end(alk_call *call, int why, const alk_fault *fault, void *ud)
{
    struct progress *p = ud;

    (void)call;
    (void)why;
    (void)fault;
    uv_close((uv_handle_t *)&p->timer, on_timer_closed);
}

static void on_time(uv_timer_t *timer)
{
    struct progress *p = timer->data;
    char text[64];
    int n = snprintf(text, sizeof text, "{\"progress\":%d,\"total\":100,\"message\":\"%d of 100\"}",
                     p->done, p->done);

    if (alk_call_emit(p->call, text, (size_t)n) < 0)
        return;
    p->done += 50;
    if (p->done > 100)
        alk_call_complete(p->call);
}

static int progress(alk_call *call, void *ud)
{
    struct progress *p = calloc(1, sizeof *p);

    (void)ud;
    if (!p)
        return ALK_ENOMEM;
    p->call = call;
    p->timer.data = p;
    uv_timer_init(alk_call_loop(call), &p->timer);
    uv_timer_start(&p->timer, on_time, 0, 50);
    return alk_call_on_end(call, on_progress_end, p);
}

struct count {
    unsigned long long n, count;
    size_t bytes;
    int objects;
    char *text;
};

/* Of all calls on all threads; only atomic operations touch them. */
static struct {
    unsigned long long begun, ended, stalls;
} counting;
static struct {
    unsigned long long begun, ended;
} inner;

#define COUNT(what) __atomic_add_fetch(&(what), 1, __ATOMIC_RELAXED)
#define READ(what) __atomic_load_n(&(what), __ATOMIC_RELAXED)

static void on_count_end(alk_call *call, int why, const alk_fault *fault, void *ud)
{
    struct count *c = ud;

    (void)call;
    (void)why;
    (void)fault;
    COUNT(counting.ended);
    free(c->text);
    free(c);
}

static void on_room(alk_call *call, void *ud);

static int count_on(alk_call *call, struct count *c)
{
    for (; c->n < c->count; c->n++) {
        int len = snprintf(c->text, 48, c->objects ? "{\"n\":%llu,\"pad\":\"" : "%llu", c->n);

        if (c->objects && c->bytes) {
            memset(c->text + len, 'x', c->bytes);
            len += (int)c->bytes;
            len += snprintf(c->text + len, 3, "\"}");
        } else if (c->objects) {
            len = snprintf(c->text, 48, "{\"n\":%llu}", c->n);
        }
        int rc = alk_call_emit(call, c->text, (size_t)len);

        if (rc == ALK_EAGAIN) {
            COUNT(counting.stalls);
            return alk_call_on_drain(call, on_room, c);
        }
        if (rc < 0)
            return rc;
    }
    return alk_call_complete(call);
}

static void on_room(alk_call *call, void *ud)
{
    count_on(call, ud);
}

/* One value, which is large, and not as compact as it is sent. */
static int tell_spaced(alk_call *call, void *ud)
{
    static char text[100000];
    int n = snprintf(text, sizeof text,
                     "{\"progress\": 7, \"message\": \"seven\", \"pad\": \"%0*d\"}", 99000, 0);
    int rc = alk_call_emit(call, text, (size_t)n);

    (void)ud;
    return rc ? rc : alk_call_complete(call);
}

static int count(alk_call *call, void *ud)
{
    yyjson_val *input = alk_value_yyjson(alk_call_input(call));
    struct count *c = calloc(1, sizeof *c);

    if (!c)
        return ALK_ENOMEM;
    c->count = yyjson_get_uint(yyjson_obj_get(input, "count"));
    c->bytes = yyjson_get_uint(yyjson_obj_get(input, "bytes"));
    c->objects = ud != NULL;
    c->text = malloc(c->bytes + 64);
    if (!c->text || alk_call_on_end(call, on_count_end, c) < 0) {
        free(c->text);
        free(c);
        return ALK_ENOMEM;
    }
    COUNT(counting.begun);
    int rc = count_on(call, c);
    return rc == ALK_EENDED ? 0 : rc;
}

static int tell_counting(alk_call *call, void *ud)
{
    char text[96];
    int n = snprintf(text, sizeof text, "{\"begun\":%llu,\"ended\":%llu,\"stalls\":%llu}",
                     READ(counting.begun), READ(counting.ended), READ(counting.stalls));

    (void)ud;
    return alk_call_reply(call, text, (size_t)n);
}

/* ---- calls that never end by themselves ---- */

static void on_inner_end(alk_call *call, int why, const alk_fault *fault, void *ud)
{
    (void)call;
    (void)why;
    (void)fault;
    (void)ud;
    COUNT(inner.ended);
}

static int never_answer(alk_call *call, void *ud)
{
    (void)ud;
    COUNT(inner.begun);
    return alk_call_on_end(call, on_inner_end, NULL);
}

static int invoke_inner(alk_call *call, void *ud)
{
    alk_call_options o = {.size = sizeof o};

    (void)ud;
    return alk_call_invoke(call, "nest/inner", strlen("nest/inner"), "{}", 2, &o, NULL);
}

static int tell_counters(alk_call *call, void *ud)
{
    char text[96];
    int n = snprintf(text, sizeof text, "{\"begun\":%llu,\"ended\":%llu}", READ(inner.begun),
                     READ(inner.ended));

    (void)ud;
    return alk_call_reply(call, text, (size_t)n);
}

/* ---- */

#define COUNT_SCHEMA                                                                               \
    "{\"type\":\"object\",\"properties\":{\"count\":{\"type\":\"integer\"},"                       \
    "\"bytes\":{\"type\":\"integer\",\"minimum\":0,\"maximum\":1000000}},"                         \
    "\"required\":[\"count\"]}"
#define KEYWORDS                                                                                   \
    "{\"$schema\":\"https://json-schema.org/draft/2020-12/schema\",\"type\":\"object\","           \
    "\"$defs\":{\"address\":{\"$anchor\":\"addressDef\",\"type\":\"object\","                      \
    "\"properties\":{\"street\":{\"type\":\"string\"},\"city\":{\"type\":\"string\"}}}},"          \
    "\"properties\":{\"name\":{\"type\":\"string\"},\"address\":{\"$ref\":\"#/$defs/address\"},"   \
    "\"contactMethod\":{\"type\":\"string\",\"enum\":[\"phone\",\"email\"]},"                      \
    "\"phone\":{\"type\":\"string\"},\"email\":{\"type\":\"string\"}},"                            \
    "\"allOf\":[{\"anyOf\":[{\"required\":[\"phone\"]},{\"required\":[\"email\"]}]}],"             \
    "\"if\":{\"properties\":{\"contactMethod\":{\"const\":\"phone\"}},"                            \
    "\"required\":[\"contactMethod\"]},\"then\":{\"required\":[\"phone\"]},"                       \
    "\"else\":{\"required\":[\"email\"]},\"additionalProperties\":false}"
#define HEADERS                                                                                    \
    "{\"type\":\"object\",\"properties\":{\"region\":{\"type\":\"string\","                        \
    "\"description\":\"Also in a header.\",\"x-mcp-header\":\"Region\"},"                          \
    "\"size\":{\"type\":\"integer\",\"x-mcp-header\":\"Size\"}}}"
#define HUNDRED                                                                                    \
    "0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567"     \
    "890123456789"

static const alk_operation others[] = {
    {.name = "test/error_handling",
     .description = "Always fails.",
     .input_schema = NOTHING,
     .handler = fail,
     .ud = (char *)"[" TEXT("This tool intentionally returns an error for testing") "]"},
    {.name = "test/error_without_blocks",
     .description = "Fails with details that are no content.",
     .input_schema = NOTHING,
     .handler = fail,
     .ud = (char *)"{\"why\":\"no array\"}"},
    {.name = "test/tool_with_progress",
     .description = "Takes 100 ms, and tells how far it is.",
     .type = ALK_SUBSCRIPTION,
     .input_schema = NOTHING,
     .handler = progress},
    {.name = "test/custom_headers",
     .description = "Has parameters that are headers as well.",
     .input_schema = HEADERS,
     .handler = echo},
    {.name = "json/schema_2020_12_tool",
     .description = "Tool with JSON Schema 2020-12 features",
     .input_schema = KEYWORDS,
     .handler = echo},
    {.name = "nest/outer",
     .description = "Calls what never answers.",
     .environment = "{\"allowed_ops\":[\"nest/inner\"]}",
     .authority = "{\"label\":\"nest\"}",
     .handler = invoke_inner},
    {.name = "nest/inner", .visibility = ALK_INTERNAL_ONLY, .handler = never_answer},
    {.name = "nest/counters", .description = "How many began and ended.", .handler = tell_counters},
    {.name = "count/numbers",
     .description = "Counts.",
     .type = ALK_SUBSCRIPTION,
     .input_schema = COUNT_SCHEMA,
     .handler = count},
    {.name = "count/objects",
     .description = "Counts, in objects.",
     .type = ALK_SUBSCRIPTION,
     .input_schema = COUNT_SCHEMA,
     .handler = count,
     .ud = (char *)"objects"},
    {.name = "count/counters", .description = "How it went.", .handler = tell_counting},
    {.name = "odd/one.name", .description = "First of two with one name.", .handler = echo},
    {.name = "odd/one~name", .description = "Second of two with one name.", .handler = echo},
    {.name = "odd/" HUNDRED, .description = "A long name.", .handler = echo},
    {.name = "odd/" HUNDRED "1", .description = "Another that begins like it.", .handler = echo},
    {.name = "odd/nothing_said", .handler = echo},
    {.name = "odd/spaced", .type = ALK_SUBSCRIPTION, .description = "d", .handler = tell_spaced},
    {.name = "odd/anything", .description = "d", .input_schema = "true", .handler = echo},
    {.name = "odd/text",
     .description = "d",
     .input_schema = "{\"type\":\"string\"}",
     .handler = echo},
    {.name = "odd/list",
     .description = "d",
     .input_schema = "{\"type\":\"array\",\"items\":{\"type\":\"integer\"}}",
     .handler = echo},
    {.name = "odd/either",
     .description = "d",
     .input_schema = "{\"oneOf\":[{\"type\":\"object\",\"required\":[\"a\"]},"
                     "{\"type\":\"object\",\"required\":[\"b\"]}]}",
     .handler = echo},
    {.name = "odd/output",
     .description = "d",
     .input_schema = NOTHING,
     .output_schema = "{\"type\":\"array\",\"items\":{\"type\":\"integer\"}}",
     .handler = tell,
     .ud = (char *)"[1,2,3]"},
};

static int add(alk_registry *reg, alk_operation op)
{
    op.size = sizeof op;
    if (!op.visibility)
        op.visibility = ALK_EXTERNAL;
    if (!op.type)
        op.type = ALK_QUERY;
    return alk_registry_add(reg, &op);
}

int alk_plugin_register(alk_registry *reg, const char *config, size_t config_len, char *err,
                        size_t err_size)
{
    yyjson_doc *doc = yyjson_read(config, config_len, 0);
    int many = yyjson_get_int(yyjson_obj_get(yyjson_doc_get_root(doc), "many"));
    int rc = 0;

    (void)err;
    (void)err_size;
    yyjson_doc_free(doc);
    for (size_t i = 0; rc == 0 && i < sizeof known / sizeof *known; i++)
        rc = add(reg, (alk_operation){.name = known[i].name,
                                      .description = known[i].description,
                                      .input_schema = NOTHING,
                                      .output_schema = BLOCKS,
                                      .handler = tell,
                                      .ud = (char *)known[i].blocks});
    for (size_t i = 0; rc == 0 && i < sizeof others / sizeof *others; i++)
        rc = add(reg, others[i]);
    for (int i = 0; rc == 0 && i < many; i++) {
        char name[32];

        snprintf(name, sizeof name, "many/%04d", i);
        rc =
            add(reg, (alk_operation){.name = name, .description = "One of many.", .handler = echo});
    }
    return rc;
}
