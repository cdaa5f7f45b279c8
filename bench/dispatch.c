/* What a call costs inside one process:  dispatch [PAIRS [CALLS [KIND]]]
 *
 * A connection on a link of our own gets a call.requested envelope of 200 bytes for an operation that echoes its input, or
 * that answers with a text of the same size; the dispatcher takes a turn, and the link gets the call.responded envelope:
 * everything of a call but the transport. Beside it, the same envelope is read and written by yyjson alone (its plain
 * functions, malloc and free included). Each call has an id of its own.
 *
 * All are measured in turns, PAIRS times, over CALLS calls each, in CPU time of this thread, so that other programs on the
 * machine count less. One line of JSON per pair: nanoseconds per call. Every answer's length is checked, the first one's
 * content too. With a KIND (call, text, bare) only that is run, in the function measured(), for a tool that counts
 * instructions in it. */
#include "measure.h"

#include <alknet/yyjson.h>

#include <string.h>

#define ENVELOPE 200
#define DIGITS_AT 59 /* the end of the id, which changes from call to call */
#define TOGETHER 64
#define HEAD                                                                                       \
    "{\"type\":\"call.requested\",\"id\":\"2f1c6b3d-4b5e-4d0a-8c6f-7e9a00000000\","                \
    "\"payload\":{\"operationId\":\"/bench/echo\",\"input\":{\"text\":\""

struct sink {
    unsigned long long count, bytes;
    char first[512];
    size_t first_len;
};

struct bench {
    alk_dispatcher *dispatcher;
    alk_connection *connection;
    struct sink sink;
    char envelope[ENVELOPE + 1];
    char answer[ENVELOPE + 1]; /* the input, as text */
    unsigned number;           /* of the next call */
    uint64_t now;
};

/* ---- the node ---------------------------------------------------------------------------------- */

static int take(void *ud, uint64_t stream, const char *envelope, size_t len)
{
    struct sink *s = ud;

    (void)stream;
    if (!s->count && len < sizeof s->first) {
        memcpy(s->first, envelope, len);
        s->first_len = len;
    }
    s->count++;
    s->bytes += len;
    return ALK_OK;
}

static void on_close(void *ud, int code)
{
    (void)ud;
    (void)code;
}

static int echo(alk_call *call, void *ud)
{
    (void)ud;
    return alk_call_output_yyjson(call, alk_value_yyjson(alk_call_input(call)));
}

/* What a handler in another language has: the text of its answer, here the input's. */
static int text(alk_call *call, void *ud)
{
    const struct bench *b = ud;

    return alk_call_reply(call, b->answer, strlen(b->answer));
}

static void open_bench(struct bench *b)
{
    alk_link link = {.size = sizeof link, .send = take, .close = on_close, .ud = &b->sink};
    alk_registry *registry = alk_registry_new();
    alk_connection_options connection_options = {.size = sizeof connection_options};
    alk_node_options node_options;
    alk_operation op;
    alk_node *node;

    alk_operation_init(&op, sizeof op);
    op.name = "bench/echo";
    op.handler = echo;
    check(registry && !alk_registry_add(registry, &op), "no operation");
    op.name = "bench/text";
    op.handler = text;
    op.ud = b;
    alk_node_options_init(&node_options, sizeof node_options);
    check(!alk_registry_add(registry, &op) && !alk_registry_freeze(registry), "no registry");
    check(!alk_node_new(&node, registry, &node_options) &&
              !alk_dispatcher_new(&b->dispatcher, node) &&
              !alk_connection_open(&b->connection, b->dispatcher, &link, &connection_options),
          "no connection");
    alk_node_unref(node);
    alk_registry_unref(registry);
}

static void close_bench(struct bench *b)
{
    alk_connection_unref(b->connection);
    alk_dispatcher_free(b->dispatcher);
}

/* ---- the envelope ------------------------------------------------------------------------------ */

static void make_envelope(char out[ENVELOPE + 1])
{
    static const char head[] = HEAD, foot[] = "\"}}}";
    size_t text = ENVELOPE - (sizeof head - 1) - (sizeof foot - 1);

    memcpy(out, head, sizeof head - 1);
    memset(out + sizeof head - 1, 'x', text);
    memcpy(out + sizeof head - 1 + text, foot, sizeof foot);
    check(strlen(out) == ENVELOPE && !strncmp(out + DIGITS_AT, "00000000\"", 9),
          "a wrong envelope");
}

static void take_answer(struct bench *b)
{
    const char *input = strstr(b->envelope, "\"input\":") + 8;

    memcpy(b->answer, input, strlen(input) - 2);
}

static void choose(struct bench *b, const char *operation)
{
    memcpy(strstr(b->envelope, "/bench/") + 7, operation, 4);
}

static void next_id(struct bench *b)
{
    unsigned n = b->number++;
    char *digits = b->envelope + DIGITS_AT;

    for (int i = 0; i < 8; i++, n >>= 4)
        digits[i] = "0123456789abcdef"[n & 15];
}

/* ---- what is measured -------------------------------------------------------------------------- */

/* Calls that arrive together share a turn. */
static double dispatch(struct bench *b, unsigned calls, unsigned together)
{
    unsigned long long before = b->sink.count, bytes = b->sink.bytes, each = b->sink.first_len;
    double start = clock_ns(CLOCK_THREAD_CPUTIME_ID), took;

    for (unsigned i = 0; i < calls; i += together) {
        for (unsigned j = 0; j < together; j++) {
            next_id(b);
            check(!alk_connection_feed(b->connection, 0, b->envelope, ENVELOPE),
                  "an envelope was refused");
        }
        b->now += 1000;
        alk_dispatcher_turn(b->dispatcher, b->now);
    }
    took = clock_ns(CLOCK_THREAD_CPUTIME_ID) - start;
    check(b->sink.count - before == calls && b->sink.bytes - bytes == calls * each,
          "answers are missing");
    return took / calls;
}

static double bare(struct bench *b, unsigned calls)
{
    unsigned long long bytes = 0;
    double start = clock_ns(CLOCK_THREAD_CPUTIME_ID), took;

    for (unsigned i = 0; i < calls; i++) {
        yyjson_doc *doc;
        size_t len = 0;
        char *text;

        next_id(b);
        doc = yyjson_read(b->envelope, ENVELOPE, 0);
        text = yyjson_write(doc, 0, &len);
        bytes += len;
        free(text);
        yyjson_doc_free(doc);
    }
    took = clock_ns(CLOCK_THREAD_CPUTIME_ID) - start;
    check(bytes == (unsigned long long)calls * ENVELOPE, "yyjson wrote something else");
    return took / calls;
}

/* The same with memory that is given out from a fixed block and never freed one by one. */
static double bare_pool(struct bench *b, unsigned calls)
{
    static char memory[1 << 16];
    unsigned long long bytes = 0;
    double start = clock_ns(CLOCK_THREAD_CPUTIME_ID), took;

    for (unsigned i = 0; i < calls; i++) {
        yyjson_doc *doc;
        yyjson_alc alc;
        size_t len = 0;

        next_id(b);
        yyjson_alc_pool_init(&alc, memory, sizeof memory);
        doc = yyjson_read_opts(b->envelope, ENVELOPE, 0, &alc, NULL);
        check(yyjson_write_opts(doc, 0, &alc, &len, NULL) != NULL, "yyjson wrote nothing");
        bytes += len;
    }
    took = clock_ns(CLOCK_THREAD_CPUTIME_ID) - start;
    check(bytes == (unsigned long long)calls * ENVELOPE, "yyjson wrote something else");
    return took / calls;
}

__attribute__((noinline)) static void measured(struct bench *b, const char *kind, unsigned calls)
{
    if (!strcmp(kind, "bare"))
        bare(b, calls);
    else
        dispatch(b, calls, 1);
}

/* Once without being counted, so that memory is there. */
static void run_one(struct bench *b, const char *kind, unsigned calls)
{
    if (!strcmp(kind, "text"))
        choose(b, "text");
    dispatch(b, TOGETHER, 1);
    measured(b, kind, calls);
}

static void first_call(struct bench *b)
{
    check(!alk_connection_feed(b->connection, 0, b->envelope, ENVELOPE), "an envelope was refused");
    alk_dispatcher_turn(b->dispatcher, ++b->now);
    check(b->sink.count == 1 && b->sink.first_len, "no answer");
}

static void check_answer(const struct bench *b)
{
    yyjson_doc *asked = yyjson_read(b->envelope, ENVELOPE, 0);
    yyjson_doc *got = yyjson_read(b->sink.first, b->sink.first_len, 0);
    yyjson_val *q = yyjson_doc_get_root(asked), *a = yyjson_doc_get_root(got);

    check(yyjson_equals_str(yyjson_obj_get(a, "type"), "call.responded") &&
              yyjson_equals(yyjson_obj_get(a, "id"), yyjson_obj_get(q, "id")) &&
              yyjson_equals(yyjson_ptr_get(a, "/payload/output"),
                            yyjson_ptr_get(q, "/payload/input")),
          "the first answer is wrong");
    yyjson_doc_free(asked);
    yyjson_doc_free(got);
}

int main(int argc, char **argv)
{
    unsigned pairs = argc > 1 ? (unsigned)atoi(argv[1]) : 7;
    unsigned calls = argc > 2 ? (unsigned)atoi(argv[2]) / TOGETHER * TOGETHER : 64 * 1024;
    static struct bench b;

    check(pairs && calls, "usage: dispatch [PAIRS [CALLS [KIND]]]");
    make_envelope(b.envelope);
    take_answer(&b);
    open_bench(&b);
    first_call(&b);
    check_answer(&b);
    if (argc > 3) {
        run_one(&b, argv[3], calls);
        close_bench(&b);
        return 0;
    }
    dispatch(&b, calls, 1);
    bare(&b, calls);
    for (unsigned i = 0; i < pairs; i++) {
        double one = dispatch(&b, calls, 1), plain = bare(&b, calls);
        double many = dispatch(&b, calls, TOGETHER), pool = bare_pool(&b, calls), as_text;

        choose(&b, "text");
        as_text = dispatch(&b, calls, 1);
        choose(&b, "echo");
        printf("{\"call\":%.1f,\"bare\":%.1f,\"together\":%.1f,\"pool\":%.1f,\"text\":%.1f}\n", one,
               plain, many, pool, as_text);
    }
    close_bench(&b);
    return 0;
}
