/* A load generator for calls over WebSocket:  load_ws --port P --token T --operation NAME --input FILE [options]; see usage below, and
 * load.h.
 *
 * Each request is a call.requested envelope with an id that never comes again, in a binary message that is masked with a key of its own.
 * Answers may come in any order. Each one is compared byte for byte with the call.responded envelope, compact as writers emit it, of
 * a request in flight: id, output and all. So the id says which one: slot and number stand in it. */
#include "load.h"
#include "ws_client.h"

#define MESSAGE_MAX 65536u
#define ID_LEN 36u
#define SLOT_AT 9u
#define SLOT_DIGITS 4u
#define NUMBER_AT 24u
#define NUMBER_DIGITS 12u

static const char *token = "", *path = "/alknet/call", *operation = "/demo/echo";

/* An envelope with room for the id: what is before it and what is behind it. */
static struct form {
    struct text all;
    size_t id_at;
} asked, answered;

static _Thread_local struct text mine; /* a copy of asked, into which ids are written */
static _Thread_local uint32_t key;

static void write_hex(char *to, uint64_t v, unsigned digits)
{
    while (digits--) {
        to[digits] = "0123456789abcdef"[v & 15];
        v >>= 4;
    }
}

/* UINT64_MAX when one of them is no digit. */
static uint64_t read_hex(const char *p, unsigned digits)
{
    uint64_t v = 0;

    for (; digits--; p++) {
        unsigned d = *p >= '0' && *p <= '9'   ? (unsigned)(*p - '0')
                     : *p >= 'a' && *p <= 'f' ? (unsigned)(*p - 'a') + 10
                                              : 16;
        if (d > 15)
            return UINT64_MAX;
        v = v << 4 | d;
    }
    return v;
}

static void make_form(struct form *f, const char *before, const char *between, const char *value,
                      const char *after)
{
    text_add(&f->all, before, strlen(before));
    f->id_at = f->all.len;
    text_add(&f->all, "a1c0b57e-0000-4a1c-8b2d-000000000000", ID_LEN);
    text_add(&f->all, between, strlen(between));
    text_add(&f->all, value, strlen(value));
    text_add(&f->all, after, strlen(after));
    if (f->all.len > MESSAGE_MAX)
        fail("the message is too long");
    text_add(&f->all, "\0\0\0\0\0\0\0", 8); /* ws_write reads by 8 bytes */
    f->all.len -= 8;
}

static void make_forms(const char *input, const char *output)
{
    char between[400];

    if (snprintf(between, sizeof between, "\",\"payload\":{\"operationId\":\"%s\",\"input\":",
                 operation) >= (int)sizeof between)
        fail("the operation's name is too long");
    make_form(&asked, "{\"type\":\"call.requested\",\"id\":\"", between, input, "}}");
    make_form(&answered, "{\"type\":\"call.responded\",\"id\":\"",
              "\",\"payload\":{\"output\":", output, "}}");
}

/* ---- the protocol ------------------------------------------------------------------------------ */

static int open_connection(void)
{
    return ws_dial(options.port, path, token, 0);
}

static struct text make_batch(void)
{
    mine.at = must(malloc(asked.all.len + 8));
    memcpy(mine.at, asked.all.at, asked.all.len + 8);
    mine.len = asked.all.len;
    key = (uint32_t)now_ns() | 1;
    return (struct text){must(malloc(options.in_flight * (asked.all.len + WS_ROOM))), 0};
}

static struct text requests(struct worker *w, const struct connection *c, const unsigned *slots,
                            unsigned count)
{
    char *id = mine.at + asked.id_at;

    w->batch.len = 0;
    for (unsigned i = 0; i < count; i++) {
        key = key * 1664525u + 1013904223u;
        write_hex(id + SLOT_AT, slots[i], SLOT_DIGITS);
        write_hex(id + NUMBER_AT, c->made + 1 + i, NUMBER_DIGITS);
        w->batch.len += ws_write(w->batch.at + w->batch.len, WS_BINARY, mine.at, mine.len, key);
    }
    return w->batch;
}

/* The slot that an envelope answers. */
static unsigned check(const struct connection *c, const char *p, size_t len)
{
    const char *form = answered.all.at, *id = p + answered.id_at;
    size_t behind = answered.id_at + ID_LEN;
    uint64_t slot, number;

    if (len != answered.all.len || memcmp(p, form, answered.id_at + SLOT_AT) ||
        memcmp(id + SLOT_AT + SLOT_DIGITS, form + answered.id_at + SLOT_AT + SLOT_DIGITS,
               NUMBER_AT - SLOT_AT - SLOT_DIGITS) ||
        memcmp(p + behind, form + behind, len - behind))
        fail("not an answer to a request of ours: %.*s", (int)(len < 400 ? len : 400), p);
    slot = read_hex(id + SLOT_AT, SLOT_DIGITS);
    number = read_hex(id + NUMBER_AT, NUMBER_DIGITS);
    if (slot >= options.in_flight || !number || c->flights[slot].number != number)
        fail("an answer to a request that is not in flight: %.*s", (int)len, p);
    return (unsigned)slot;
}

static size_t answer(struct worker *w, struct connection *c, const char *p, size_t len,
                     unsigned *slot)
{
    struct ws_frame frame;
    size_t all = ws_read(p, len, &frame);
    char pong[WS_PONG_MAX];

    if (!all)
        return 0;
    if (frame.opcode == WS_BINARY) {
        *slot = check(c, frame.at, frame.len);
        return all;
    }
    *slot = NO_SLOT;
    send_text(w, c, (struct text){pong, ws_other(&frame, pong)});
    return all;
}

/* ---- options ----------------------------------------------------------------------------------- */

static const char usage[] = "load_ws --port P --token T --operation NAME --input FILE [options]\n"
                            "  --input FILE       JSON, compact\n"
                            "  --output FILE      what the operation answers with; the input\n"
                            "  --operation NAME   /demo/echo\n"
                            "  --path PATH        /alknet/call\n"
                            "  --token TOKEN      sent as Authorization: Bearer\n" LOAD_USAGE;

int main(int argc, char **argv)
{
    static const struct option known[] = {
        LOAD_OPTIONS,
        {"token", 1, NULL, 't'},
        {"operation", 1, NULL, 'o'},
        {"input", 1, NULL, 'j'},
        {"output", 1, NULL, 'O'},
        {"path", 1, NULL, 'P'},
        {NULL, 0, NULL, 0},
    };
    struct text input = {NULL, 0}, output = {NULL, 0};
    int c, at = 0;

    while ((c = getopt_long(argc, argv, "", known, &at)) != -1) {
        if (c == 't')
            token = optarg;
        else if (c == 'o')
            operation = optarg;
        else if (c == 'j')
            input = read_file(optarg);
        else if (c == 'O')
            output = read_file(optarg);
        else if (c == 'P')
            path = optarg;
        else if (!load_option(c, known[at].name, optarg))
            fail("%s", usage);
    }
    if (optind < argc || !options.port || !input.len)
        fail("%s", usage);
    make_forms(input.at, output.len ? output.at : input.at);
    load();
    return 0;
}
