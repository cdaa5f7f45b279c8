/* Fuzzes the engine of framed envelopes, as the side that accepts or the one that dialled, with a
 * remote, a clock and an application that the input steers.
 *
 * The first byte chooses the role, limits, and how the input is cut. The rest are commands: the
 * remote says raw bytes, or good envelopes whole or in part; time passes, output is taken, a
 * subscription emits, the connection is closed, the stream ends, stalls or drains, the budget
 * shrinks and grows, an allocation fails. It must hold: what goes out is whole frames of JSON;
 * nothing runs, and no output grows, behind the end; the end is told once and comes within its
 * time; what is held is bounded; all memory and every charge comes back; and unless something was
 * refused, the same input whole and in pieces has the same answers. */
#include "adapt/framed.h"
#include "wire/frame.h"

#include <alknet/yyjson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MUST(x)                                                                                    \
    do {                                                                                           \
        if (!(x)) {                                                                                \
            fprintf(stderr, "%s:%d: %s does not hold\n", __FILE__, __LINE__, #x);                  \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

#define MS UINT64_C(1000000)
#define FRAME_LIMIT 40000u
#define CLOSE_MS 40u
#define BUDGET 10000000u
#define FED_MAX 200000u   /* bytes of one run */
#define HELD_MAX 2000000u /* by an engine and its dispatcher */

struct fuzz {
    alk_dispatcher *d;
    alk_limits limits;
    struct mem mem, own;
    struct session s;
    struct engine *e;
    uint64_t now;
    long fail_in; /* > 0: the allocation that makes it 0 fails */
    size_t live, bytes, fed;
    bool in_pieces, failed, poor, refused; /* refused: room in the budget, or more time */
    bool woken, over, gone;
    int started;
    alk_call *stream; /* a reference; NULL: none */
    struct buf got;   /* by the remote */
    size_t answered;  /* bytes of it */
    const uint8_t *p; /* the commands to come */
    size_t n;
};

static alk_node *node;     /* of all runs */
static struct fuzz *f_now; /* the present run */

/* ---- memory ------------------------------------------------------------------------------------ */

static void *counting_realloc(void *ud, void *p, size_t n)
{
    struct fuzz *f = f_now;
    size_t *block = p ? (size_t *)p - 2 : NULL;

    (void)ud;
    if (n && f->fail_in && !--f->fail_in) {
        f->failed = true;
        return NULL;
    }
    f->bytes -= block ? *block : 0;
    f->live -= block != NULL;
    if (!n) {
        free(block);
        return NULL;
    }
    block = realloc(block, n + 2 * sizeof *block);
    MUST(block);
    *block = n;
    f->bytes += n;
    f->live++;
    return block + 2;
}

/* ---- the application --------------------------------------------------------------------------- */

static int serve_echo(alk_call *call, void *ud)
{
    struct fuzz *f = f_now;
    size_t n;
    const char *text = alk_value_text(alk_call_input(call), &n);

    (void)ud;
    MUST(!f->over && !f->gone);
    f->started++;
    return text ? alk_call_reply(call, text, n) : ALK_ENOMEM;
}

static int serve_stream(alk_call *call, void *ud)
{
    struct fuzz *f = f_now;

    (void)ud;
    MUST(!f->over && !f->gone);
    f->started++;
    alk_call_unref(f->stream);
    f->stream = alk_call_ref(call);
    return ALK_OK;
}

static void on_wake(struct engine *e, void *ud)
{
    (void)e;
    ((struct fuzz *)ud)->woken = true;
}

static void on_over(struct session *s, struct str why)
{
    struct fuzz *f = container_of(s, struct fuzz, s);

    (void)why;
    MUST(!f->over && !f->gone && s->code && f->e->closing);
    MUST(!s->conn->running.count && !s->conn->pending.count);
    f->over = true;
}

static void on_gone(struct session *s)
{
    struct fuzz *f = container_of(s, struct fuzz, s);

    MUST(f->over && !f->gone);
    f->gone = true;
}

/* ---- the transport ----------------------------------------------------------------------------- */

static void take(struct fuzz *f, size_t most)
{
    size_t n = f->e->out.len < most ? f->e->out.len : most;

    if (!n || f->e->closing == ENGINE_RESET)
        return;
    MUST(!buf_append(&f->got, buf_at(&f->e->out), n));
    buf_consume(&f->e->out, n);
    f->woken = true;
}

static void check_fields(struct fuzz *f)
{
    struct engine *e = f->e;

    MUST(e->closing || e->reading || e->deadline);
    MUST(!e->closing || (e->reading && e->patience == CLOSE_MS * MS && f->over));
    MUST(!e->deadline || e->deadline > f->now || f->s.conn->closing >= 0 || e->closing);
    MUST(e->out.len || !e->out.data);
    MUST(f->over == (e->closing != ENGINE_OPEN));
}

static void turn(struct fuzz *f)
{
    size_t left = f->over ? f->e->out.len : SIZE_MAX;

    for (int i = 0; i < 1000; i++) {
        uint64_t next = alk_dispatcher_turn(f->d, f->now);

        if (!f->woken && next > f->now) {
            MUST(f->e->out.len <= left);
            check_fields(f);
            return;
        }
        f->woken = false;
        f->e->ops->drained(f->e, f->now);
    }
    MUST(!"it never rests");
}

/* Copies of their own, so that a byte read behind one is seen. In pieces, a length comes byte by
 * byte. */
static void say(struct fuzz *f, const void *data, size_t n)
{
    size_t step;

    for (size_t at = 0; at < n && f->e->reading; at += step) {
        char *copy;

        step = !f->in_pieces ? n - at : at < 12 ? 1 : 997;
        step = step < n - at ? step : n - at;
        copy = malloc(step);
        MUST(copy);
        memcpy(copy, (const char *)data + at, step);
        f->e->ops->feed(f->e, copy, step, f->now);
        free(copy);
        f->fed += step;
    }
    f->refused |= !f->e->reading;
}

/* ---- commands ---------------------------------------------------------------------------------- */

static uint8_t byte(struct fuzz *f)
{
    if (!f->n)
        return 0;
    f->n--;
    return *f->p++;
}

/* part: so many bytes of 256 are said; 0: all. */
static void say_envelope(struct fuzz *f, uint8_t kind, uint8_t part)
{
    static const char *const texts[] = {
        "{\"type\":\"call.requested\",\"id\":\"%d\",\"payload\":{\"operationId\":\"t/"
        "echo\",\"input\":\"%s\"}}",
        "{\"type\":\"call.requested\",\"id\":\"%d\",\"payload\":{\"operationId\":\"t/"
        "stream\",\"input\":\"%s\"}}",
        "{\"type\":\"call.aborted\",\"id\":\"%d\",\"payload\":{\"x\":\"%s\"}}",
        "{\"type\":\"call.responded\",\"id\":\"%d\",\"payload\":{\"output\":\"%s\"}}",
        "{\"type\":\"other\",\"id\":\"%d\",\"payload\":\"%s\"}",
    };
    static const size_t sizes[] = {0, 10, 900, 5000, 17000, 30000, 39000, 45000};
    static char filler[50000], frame[FRAME_HEAD + 51000];
    size_t size = sizes[kind >> 5], n;

    memset(filler, 'x', size);
    filler[size] = 0;
    n = (size_t)snprintf(frame + FRAME_HEAD, sizeof frame - FRAME_HEAD, texts[(kind & 31) % 5],
                         kind & 3, filler);
    frame_encode((uint8_t *)frame, n);
    n += FRAME_HEAD;
    say(f, frame, part ? n * part / 256 : n);
}

static void pass_time(struct fuzz *f, uint64_t ms)
{
    uint64_t until = f->now + ms * MS;

    while (f->e->deadline && f->e->deadline <= until && f->e->closing != ENGINE_RESET) {
        uint64_t at = f->e->deadline;

        f->now = at > f->now ? at : f->now;
        f->e->ops->timeout(f->e, f->now);
        turn(f);
        f->refused |= f->over;
        MUST(f->e->deadline != at || f->e->closing == ENGINE_RESET);
    }
    f->now = until;
}

static void set_budget(struct fuzz *f, bool poor)
{
    f->poor = poor;
    f->limits.message_budget = poor ? 30000 : BUDGET;
    MUST(!alk_node_set_limits(node, &f->limits));
}

static void emit(struct fuzz *f, uint8_t size)
{
    char text[300];

    if (!f->stream)
        return;
    memset(text, 'e', sizeof text);
    text[0] = text[size + 1] = '"';
    for (int i = 0; i < 20; i++) {
        if (alk_call_emit(f->stream, text, size + 2u))
            return;
    }
}

static void command(struct fuzz *f)
{
    uint8_t what = byte(f), n;
    bool open;

    switch (what % 16) {
    case 0:
        n = byte(f);
        n = n < f->n ? n : (uint8_t)f->n;
        say(f, f->p, n);
        f->p += n;
        f->n -= n;
        break;
    case 1:
    case 2:
    case 3:
        say_envelope(f, byte(f), 0);
        break;
    case 4:
        n = byte(f);
        say_envelope(f, n, byte(f));
        break;
    case 5:
    case 6:
        take(f, SIZE_MAX);
        break;
    case 7:
        take(f, byte(f));
        break;
    case 8:
        pass_time(f, byte(f));
        break;
    case 9:
        emit(f, byte(f));
        break;
    case 10:
        alk_connection_close(f->s.conn, byte(f) % 4);
        break;
    case 11:
        f->e->ops->eof(f->e, f->now);
        break;
    case 12:
        open = !f->over;
        MUST(f->e->ops->stalled(f->e, f->now) == open && f->e->closing == ENGINE_RESET);
        break;
    case 13:
        set_budget(f, byte(f) & 1);
        break;
    case 14:
        f->fail_in = byte(f) + 1;
        break;
    default:
        alk_dispatcher_drain(f->d);
        f->e->ops->drain(f->e, f->now);
        connections_rest(f->d);
    }
    turn(f);
    /* What is being received, what is queued, what waits to be run. */
    MUST(f->bytes < HELD_MAX);
}

/* ---- one run ----------------------------------------------------------------------------------- */

/* Whole frames of JSON, but for the last when more was not taken. */
static void check_output(struct fuzz *f)
{
    size_t at = 0;

    while (f->got.len - at >= FRAME_HEAD) {
        const uint8_t *p = (const uint8_t *)f->got.data + f->got.head + at;
        size_t n = (size_t)p[0] << 24 | (size_t)p[1] << 16 | (size_t)p[2] << 8 | p[3];
        yyjson_doc *doc;

        MUST(n && n <= FRAME_LIMIT);
        if (f->got.len - at - FRAME_HEAD < n)
            break;
        doc = yyjson_read((const char *)p + FRAME_HEAD, n, 0);
        MUST(doc && yyjson_obj_size(yyjson_doc_get_root(doc)) == 3);
        yyjson_doc_free(doc);
        at += FRAME_HEAD + n;
    }
    MUST(at == f->got.len || f->e->out.len);
    buf_truncate(&f->got, at);
}

/* Once for all runs: it costs more than any of them. */
static void make_node(void)
{
    static struct fuzz maker;
    alk_registry *reg = alk_registry_new();
    alk_node_options no;
    alk_operation op;

    f_now = &maker;
    alk_operation_init(&op, sizeof op);
    op.name = "t/echo";
    op.type = ALK_QUERY;
    op.handler = serve_echo;
    MUST(reg && !alk_registry_add(reg, &op));
    op.name = "t/stream";
    op.type = ALK_SUBSCRIPTION;
    op.handler = serve_stream;
    MUST(!alk_registry_add(reg, &op) && !alk_registry_freeze(reg));
    alk_node_options_init(&no, sizeof no);
    no.realloc = counting_realloc;
    MUST(!alk_node_new(&node, reg, &no));
    alk_registry_unref(reg);
}

static void choose_limits(struct fuzz *f, uint8_t config)
{
    alk_limits *l = &f->limits;

    alk_limits_init(l, sizeof *l);
    l->frame_bytes = FRAME_LIMIT;
    l->anonymous_bytes = config & 8 ? 3000 : FRAME_LIMIT;
    l->queue_high = config & 16 ? 100 : 10000;
    l->queue_max = 30000;
    l->close_ms = CLOSE_MS;
    l->header_timeout_ms = config & 32 ? 50 : 10000;
    l->body_timeout_ms = config & 32 ? 100 : 30000;
    set_budget(f, false);
}

static void begin(struct fuzz *f, uint8_t config)
{
    struct credential *by = NULL;
    alk_connection_options o = {.size = sizeof o};
    alk_identity *who = NULL;

    if (!node)
        make_node();
    memset(f, 0, sizeof *f);
    f_now = f;
    f->now = 1000 * MS;
    mem_init(&f->mem, counting_realloc, f);
    mem_init(&f->own, NULL, NULL);
    buf_init(&f->got, &f->own);
    choose_limits(f, config);
    MUST(!alk_dispatcher_new(&f->d, node));
    alk_dispatcher_turn(f->d, f->now);
    f->in_pieces = config & 2;
    f->s.d = f->d;
    f->s.client = config & 1;
    f->s.on_over = on_over;
    f->s.on_gone = on_gone;
    if (config & 4) {
        who = alk_identity_new("{\"id\":\"a\"}", 10);
        MUST(who && (by = credential_known(f->d, PROOF_VOUCHED, STR_NONE, who, ALK_KIND_PEER)));
    }
    MUST(!framed_open(&f->s, &f->mem, &o, by));
    credential_unref(by);
    alk_identity_unref(who);
    f->e = f->s.engine;
    f->e->wake = on_wake;
    f->e->wake_ud = f;
    turn(f);
}

static void run(struct fuzz *f, const uint8_t *p, size_t n)
{
    f->p = p;
    f->n = n;
    while (f->n && f->fed < FED_MAX)
        command(f);
    f->fail_in = 0;
    set_budget(f, false);
    turn(f);
    alk_connection_close(f->s.conn, ALK_CLOSE_SHUTDOWN);
    turn(f);
    MUST(f->over && f->e->closing);
    take(f, SIZE_MAX);
    turn(f);
    if (f->e->closing != ENGINE_RESET) {
        MUST(f->e->deadline && f->e->deadline <= f->now + CLOSE_MS * MS);
        f->now = f->e->deadline;
        f->e->ops->timeout(f->e, f->now);
    }
    MUST(f->e->closing == ENGINE_RESET);
    check_output(f);
    f->answered = f->got.len;
}

static void finish(struct fuzz *f)
{
    alk_stats stats;

    f->e->ops->fini(f->e);
    MUST(f->gone && f->mem.live == 0);
    session_fini(&f->s);
    alk_call_unref(f->stream);
    alk_dispatcher_turn(f->d, f->now);
    stats.size = sizeof stats;
    alk_dispatcher_stats(f->d, &stats, sizeof stats);
    MUST(!stats.message_bytes && !stats.connections);
    alk_dispatcher_free(f->d);
    MUST(f->live == 0 && f->bytes == 0);
    buf_fini(&f->got);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct fuzz f, other;

    if (!size || size > 4096)
        return 0;
    begin(&f, data[0]);
    run(&f, data + 1, size - 1);
    finish(&f);
    begin(&other, data[0] ^ 2);
    run(&other, data + 1, size - 1);
    finish(&other);
    if (!f.failed && !other.failed && !f.refused && !other.refused)
        MUST(f.started == other.started && f.s.code == other.s.code &&
             f.answered == other.answered);
    return 0;
}
