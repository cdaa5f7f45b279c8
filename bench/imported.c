/* What imported operations cost those who call:  imported FILE [PAIRS [CALLS [KIND]]]
 *
 * FILE is GitHub's document, imported whole. Beside it is a registry without it, with the input schema of one of its operations
 * (issues/create) as a person writes it. Measured are
 *
 *   schema     the check of an input of that operation by the imported schema, and by the one written by hand
 *   find       the lookup of a name of our own in the registry with the imports, and in the one without; of the imported
 *              names, each after the other
 *   call       a call.requested envelope for an operation of our own, answered, of 64 in one turn: with the imports in the
 *              node's registry, in one that was discovered, without them; and of an operation of the discovered registry
 *
 * All are measured in turns, PAIRS times, each side first every other time, in CPU time of this thread; one line of JSON for each
 * pair, in nanoseconds, of which each is ROUNDS times CALLS calls. Every answer is counted, every check's verdict is looked at. With a
 * KIND (a name in those lines) only that is run, in the function measured(), for a tool that counts instructions in it. */
#include "core/node.h"
#include "measure.h"
#include "schema/schema.h"

#include <alknet/openapi.h>
#include <alknet/yyjson.h>

#include <string.h>

#define TOGETHER 64
#define ROUNDS 8
#define PREFIX "github"
#define ISSUE "issues/create"
#define DIGITS 8 /* of an envelope's id, which change from call to call */

/* As a call of it might be. */
static const char issue[] =
    "{\"owner\":\"octocat\",\"repo\":\"hello-world\",\"body\":{\"title\":\"Found a bug\",\"body\":"
    "\"I'm having a problem with this, and here is how to see it in three steps.\",\"assignees\":"
    "[\"octocat\",\"hubot\"],\"milestone\":1,\"labels\":[\"bug\",{\"name\":\"urgent\",\"color\":"
    "null}],\"issue_field_values\":[{\"field_id\":123,\"value\":\"Critical\"},{\"field_id\":456,"
    "\"value\":3}],\"type\":null}}";

static const char by_hand[] =
    "{\"type\":\"object\",\"properties\":{\"owner\":{\"type\":\"string\"},\"repo\":{\"type\":"
    "\"string\"},\"body\":{\"type\":\"object\",\"properties\":{"
    "\"title\":{\"oneOf\":[{\"type\":\"string\"},{\"type\":\"integer\"}]},"
    "\"body\":{\"type\":\"string\"},"
    "\"assignee\":{\"type\":[\"string\",\"null\"]},"
    "\"milestone\":{\"oneOf\":[{\"type\":\"string\"},{\"type\":\"integer\"},{\"type\":\"null\"}]},"
    "\"labels\":{\"type\":\"array\",\"items\":{\"oneOf\":[{\"type\":\"string\"},{\"type\":"
    "\"object\",\"properties\":{\"id\":{\"type\":\"integer\"},\"name\":{\"type\":\"string\"},"
    "\"description\":{\"type\":[\"string\",\"null\"]},\"color\":{\"type\":[\"string\",\"null\"]}}}"
    "]}},"
    "\"assignees\":{\"type\":\"array\",\"items\":{\"type\":\"string\"}},"
    "\"issue_field_values\":{\"type\":\"array\",\"items\":{\"type\":\"object\",\"properties\":{"
    "\"field_id\":{\"type\":\"integer\"},\"value\":{\"oneOf\":[{\"type\":\"string\"},{\"type\":"
    "\"number\"},{\"type\":\"array\",\"items\":{\"type\":\"string\"}}]}},\"required\":[\"field_"
    "id\","
    "\"value\"],\"additionalProperties\":false}},"
    "\"type\":{\"type\":[\"string\",\"null\"]}},\"required\":[\"title\"]}},"
    "\"required\":[\"owner\",\"repo\",\"body\"],\"additionalProperties\":false}";

/* ---- registries ---------------------------------------------------------------------------------- */

static int echo(alk_call *call, void *ud)
{
    (void)ud;
    return alk_call_output_yyjson(call, alk_value_yyjson(alk_call_input(call)));
}

static void add(alk_registry *reg, const char *name, const char *input_schema)
{
    alk_operation op;

    alk_operation_init(&op, sizeof op);
    op.name = name;
    op.handler = echo;
    op.input_schema = input_schema;
    check(!alk_registry_add(reg, &op), alk_registry_error(reg));
}

static void import(alk_registry *reg, const char *file)
{
    char why[512] = "no registry";
    alk_openapi_options o = {.size = sizeof o};
    size_t count;

    o.namespace_prefix = PREFIX;
    o.base_url = "https://service.example";
    o.file = file;
    o.is_public = 1;
    check(reg && !alk_registry_import_openapi(reg, NULL, 0, &o, &count, why, sizeof why), why);
    check(count > 1000, "these are not GitHub's operations");
}

/* ---- schemas and names ----------------------------------------------------------------------------- */

static yyjson_doc *input;

static double check_input(const struct operation *op, unsigned calls)
{
    struct arena scratch;
    unsigned valid = 0;
    struct mem mem;
    double start, took;

    mem_init(&mem, NULL, NULL);
    arena_init(&scratch, &mem, 4096);
    start = clock_ns(CLOCK_THREAD_CPUTIME_ID);
    for (unsigned i = 0; i < calls; i++) {
        valid += schema_check(op->input, yyjson_doc_get_root(input), 1000000, &scratch, NULL) ==
                 SCHEMA_OK;
        arena_reset(&scratch);
    }
    took = clock_ns(CLOCK_THREAD_CPUTIME_ID) - start;
    arena_fini(&scratch);
    check(valid == calls, "the input does not fit");
    return took / calls;
}

static double find_one(const alk_registry *reg, unsigned calls)
{
    static const char name[] = "bench/echo";
    unsigned found = 0;
    double start = clock_ns(CLOCK_THREAD_CPUTIME_ID), took;

    for (unsigned i = 0; i < calls; i++)
        found += registry_find(reg, name, sizeof name - 1) != NULL;
    took = clock_ns(CLOCK_THREAD_CPUTIME_ID) - start;
    check(found == calls, "a name is not found");
    return took / calls;
}

/* The names as callers have them, not as the registry does. */
static double find_each(const alk_registry *reg, char *const *names, size_t count, unsigned calls)
{
    unsigned found = 0;
    double start = clock_ns(CLOCK_THREAD_CPUTIME_ID), took;

    for (unsigned i = 0; i < calls; i++) {
        const char *name = names[i % count];

        found += registry_find(reg, name, strlen(name)) != NULL;
    }
    took = clock_ns(CLOCK_THREAD_CPUTIME_ID) - start;
    check(found == calls, "a name is not found");
    return took / calls;
}

static size_t copy_names(const alk_registry *reg, char ***out)
{
    size_t count = reg->by_name.count, n = 0;
    char **names = calloc(count, sizeof *names);

    check(names != NULL, "no memory");
    for (size_t i = 0; i < count; i++) {
        const struct map_node *node = &reg->sorted[i]->by_name;

        if (node->len > sizeof PREFIX && !memcmp(node->key, PREFIX "/", sizeof PREFIX))
            names[n++] = strndup(node->key, node->len);
    }
    *out = names;
    return n;
}

/* ---- calls ----------------------------------------------------------------------------------------- */

struct side {
    alk_dispatcher *dispatcher;
    alk_connection *connection;
    char envelope[256];
    size_t len, digits;
    unsigned number;
    uint64_t now;
    unsigned long answers;
};

static int take(void *ud, uint64_t stream, const char *envelope, size_t len)
{
    static const char good[] = "{\"type\":\"call.responded\"";
    struct side *s = ud;

    (void)stream;
    s->answers += len > sizeof good && !memcmp(envelope, good, sizeof good - 1);
    return ALK_OK;
}

static void on_close(void *ud, int code)
{
    (void)ud;
    (void)code;
}

static void open_side(struct side *s, alk_registry *reg, alk_registry *discovered,
                      const char *operation)
{
    alk_link link = {.size = sizeof link, .send = take, .close = on_close, .ud = s};
    alk_connection_options o = {.size = sizeof o};
    alk_node *node;
    int n;

    check(!alk_node_new(&node, reg, NULL) &&
              (!discovered || !alk_node_set_discovered(node, "github", discovered)) &&
              !alk_dispatcher_new(&s->dispatcher, node) &&
              !alk_connection_open(&s->connection, s->dispatcher, &link, &o),
          "no connection");
    alk_node_unref(node);
    n = snprintf(s->envelope, sizeof s->envelope,
                 "{\"type\":\"call.requested\",\"id\":\"2f1c6b3d-4b5e-4d0a-8c6f-7e9a00000000\","
                 "\"payload\":{\"operationId\":\"/%s\",\"input\":{\"text\":\"%064d\"}}}",
                 operation, 0);
    check(n > 0 && (size_t)n < sizeof s->envelope, "the envelope is too long");
    s->len = (size_t)n;
    s->digits = (size_t)(strstr(s->envelope, "00000000\"") - s->envelope);
}

static void close_side(struct side *s)
{
    alk_connection_unref(s->connection);
    alk_dispatcher_free(s->dispatcher);
}

static void next_id(struct side *s)
{
    unsigned n = s->number++;

    for (int i = 0; i < DIGITS; i++, n >>= 4)
        s->envelope[s->digits + (size_t)i] = "0123456789abcdef"[n & 15];
}

static double call(struct side *s, unsigned calls)
{
    unsigned long before = s->answers;
    double start = clock_ns(CLOCK_THREAD_CPUTIME_ID), took;

    for (unsigned i = 0; i < calls; i += TOGETHER) {
        for (unsigned k = 0; k < TOGETHER; k++) {
            next_id(s);
            check(!alk_connection_feed(s->connection, 0, s->envelope, s->len),
                  "an envelope was refused");
        }
        alk_dispatcher_turn(s->dispatcher, s->now += 1000);
    }
    took = clock_ns(CLOCK_THREAD_CPUTIME_ID) - start;
    check(s->answers - before == calls, "answers are missing");
    return took / calls;
}

/* ---- pairs ------------------------------------------------------------------------------------- */

/* What is compared is next to each other. */
enum {
    SCHEMA,
    BY_HAND,
    FIND,
    FIND_BARE,
    FIND_EACH,
    CALL,
    CALL_BARE,
    CALL_BESIDE,
    CALL_FOUND,
    KINDS
};

static const char *const kinds[KINDS] = {"schema",    "by_hand",     "find",
                                         "find_bare", "find_each",   "call",
                                         "call_bare", "call_beside", "call_found"};

static struct bench {
    alk_registry *plain, *full, *found;
    const struct operation *imported, *written;
    struct side sides[KINDS]; /* of those that are calls */
    char **names;
    size_t count;
} bench;

static void open_bench(const char *file)
{
    struct bench *b = &bench;

    b->plain = alk_registry_new();
    b->full = alk_registry_new();
    b->found = alk_registry_new();
    check(b->plain && b->full && b->found, "no registry");
    add(b->plain, "bench/echo", NULL);
    add(b->plain, "bench/issue", by_hand);
    add(b->full, "bench/echo", NULL);
    add(b->found, "bench/found", NULL);
    import(b->full, file);
    import(b->found, file);
    check(!alk_registry_freeze(b->plain) && !alk_registry_freeze(b->full) &&
              !alk_registry_freeze(b->found),
          "no registry");
    b->imported = registry_find(b->full, PREFIX "/" ISSUE, sizeof PREFIX "/" ISSUE - 1);
    b->written = registry_find(b->plain, "bench/issue", 11);
    check(b->imported && b->written, "there is no " ISSUE);
    input = yyjson_read(issue, sizeof issue - 1, 0);
    b->count = copy_names(b->full, &b->names);
    open_side(&b->sides[CALL], b->full, NULL, "bench/echo");
    open_side(&b->sides[CALL_BARE], b->plain, NULL, "bench/echo");
    open_side(&b->sides[CALL_BESIDE], b->plain, b->found, "bench/echo");
    open_side(&b->sides[CALL_FOUND], b->plain, b->found, "bench/found");
}

static void close_bench(void)
{
    struct bench *b = &bench;

    for (int i = CALL; i < KINDS; i++)
        close_side(&b->sides[i]);
    for (size_t i = 0; i < b->count; i++)
        free(b->names[i]);
    free(b->names);
    yyjson_doc_free(input);
    alk_registry_unref(b->plain);
    alk_registry_unref(b->full);
    alk_registry_unref(b->found);
}

__attribute__((noinline)) static double measured(int kind, unsigned calls)
{
    switch (kind) {
    case SCHEMA:
        return check_input(bench.imported, calls);
    case BY_HAND:
        return check_input(bench.written, calls);
    case FIND:
        return find_one(bench.full, calls);
    case FIND_BARE:
        return find_one(bench.plain, calls);
    case FIND_EACH:
        return find_each(bench.full, bench.names, bench.count, calls);
    default:
        return call(&bench.sides[kind], calls);
    }
}

/* In rounds, so that a processor that changes its speed meanwhile does so for all. */
static void pairs(unsigned count, unsigned calls)
{
    for (unsigned i = 0; i < count; i++) {
        double ns[KINDS] = {0};

        for (int k = 0; k < ROUNDS * KINDS; k++) {
            int kind = k / KINDS % 2 ? KINDS - 1 - k % KINDS : k % KINDS;

            ns[kind] += measured(kind, calls) / ROUNDS;
        }
        for (int k = 0; k < KINDS; k++)
            printf("%c\"%s\":%.2f", k ? ',' : '{', kinds[k], ns[k]);
        puts("}");
    }
}

int main(int argc, char **argv)
{
    unsigned count = argc > 2 ? (unsigned)atoi(argv[2]) : 7;
    unsigned calls = argc > 3 ? (unsigned)atoi(argv[3]) / TOGETHER * TOGETHER : 64 * 1024;

    check(argc > 1 && count && calls, "usage: imported FILE [PAIRS [CALLS [KIND]]]");
    open_bench(argv[1]);
    for (int k = 0; k < KINDS; k++) {
        if (argc > 4 && strcmp(argv[4], kinds[k]))
            continue;
        if (k >= CALL)
            call(&bench.sides[k], TOGETHER); /* so that memory is there */
        if (argc > 4)
            measured(k, calls);
    }
    if (argc <= 4)
        pairs(count, calls);
    close_bench();
    return 0;
}
