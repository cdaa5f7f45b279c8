/* /batch: the calls of an array, some at a time, their results in its order, in one answer.
 *
 * A batch is freed when its last item has settled, or when the client leaves, whichever is first;
 * items that run then find r->batch NULL. Each item that started has a call, whose reference on the
 * request keeps the request itself. */
#include "gateway/gateway_int.h"

#include "base/buf.h"
#include "core/fault.h"

#include <stdio.h>
#include <string.h>

/* So that one request does not take all the calls that a node may run, and others get their
 * turn. */
#define AT_ONCE 32u

/* The id is its own: each call has a line in the log. */
struct item {
    struct alk_request *r;
    alk_call *call; /* a reference, while it runs */
    char *result;   /* JSON of this item; in the batch's arena */
    size_t len;
    char id[ID_SIZE];
};

struct batch {
    struct arena arena; /* charged to who asked */
    yyjson_val *next;   /* the next item to start, in the request's message */
    size_t count, started, done, bytes;
    bool starting;
    batch_done *told;
    struct item items[];
};

static void proceed(struct alk_request *r);

/* Items refer to the batch by their request only, so nothing dangles. */
static void free_batch(struct alk_request *r)
{
    struct batch *b = r->batch;

    arena_fini(&b->arena);
    mem_free(&r->g->mem, b);
    r->batch = NULL;
}

/* Results are looked at in sum: many small ones are memory like a large one. */
static bool has_room(const struct alk_request *r, size_t more)
{
    return r->batch->arena.bytes + more < METER_MIN || account_has_room(r->payer, more);
}

/* Keeps an item's result: its output's text, or its fault. Written out at once, since the call and
 * its message go; without memory, or room in the budget, the item stays without a result, and the
 * whole answer becomes 503 in finish. */
static void settle(struct item *it, const char *text, size_t len, const alk_fault *f)
{
    struct alk_request *r = it->r;
    struct buf b;
    int rc;

    buf_init(&b, &r->g->mem);
    buf_charge(&b, &r->payer->meter);
    rc = buf_puts(&b, "{\"request_id\":\"") | buf_puts(&b, it->id);
    if (f)
        rc |= buf_puts(&b, "\",\"result\":\"error\",\"error\":{") | fault_put(&b, f) |
              buf_puts(&b, "}");
    else
        rc |= buf_puts(&b, "\",\"result\":\"ok\",\"output\":") | buf_append(&b, text, len);
    rc |= buf_puts(&b, "}");
    if (!rc && has_room(r, b.len)) {
        it->len = b.len;
        it->result = arena_dup(&r->batch->arena, buf_at(&b), b.len);
    }
    buf_fini(&b);
}

/* The sum of all outputs is bounded as one output is: otherwise a small request could ask for batch
 * times output_bytes of memory. */
static int item_value(alk_call *c, const char *text, size_t len, bool final)
{
    static const alk_fault too_large = {
        .size = sizeof too_large, .code = ALK_INTERNAL, .message = "output too large"};
    struct item *it = c->sink_ud;
    struct batch *b = it->r->batch;

    (void) final;
    c->values++;
    if (!b)
        return ALK_OK;
    if (b->bytes + len > LIMIT(c->d->node, output_bytes)) {
        settle(it, NULL, 0, &too_large);
        return ALK_OK;
    }
    b->bytes += len;
    settle(it, text, len, NULL);
    return ALK_OK;
}

/* r->batch may be freed in proceed, by the last item: nothing of `it` is touched behind it. */
static void item_end(alk_call *c)
{
    struct item *it = c->sink_ud;
    struct alk_request *r = it->r;

    if (r->batch) {
        if (!it->result && c->why != ALK_END_OK)
            settle(it, NULL, 0, c->fault.code ? &c->fault : &fault_internal);
        if (it->call)
            alk_call_unref(it->call);
        it->call = NULL;
        r->batch->done++;
        proceed(r);
    }
    c->sink_ud = NULL;
    request_unref(r);
}

static const struct call_sink sink_item = {NULL, item_value, item_end};

/* Before there is a call: settled at once, from within proceed, which goes on with the next. */
static void item_refuse(struct item *it, const char *message)
{
    const alk_fault f = {.size = sizeof f, .code = ALK_INVALID_INPUT, .message = message};

    settle(it, NULL, 0, &f);
    it->r->batch->done++;
}

/* Each call owns its input, since it may outlive the batch: it is written out of the batch's
 * message and read into its own. The names are checked by call_start, as everyone's. */
static void item_start(struct item *it, yyjson_val *v)
{
    struct alk_request *r = it->r;
    struct alk_dispatcher *d = r->g->d;
    yyjson_alc alc = arena_alc(&d->scratch);
    struct invocation i = {.id = it->id, .sink = &sink_item, .sink_ud = it, .want = WANT_SINGLE};
    size_t len;
    const char *text, *fault;
    char why[WHY_SIZE];
    struct msg *m;
    alk_call *c;

    dispatcher_id(d, it->id);
    fault = request_invocation(v, &i, why);
    if (fault) {
        item_refuse(it, fault);
        return;
    }
    arena_reset(&d->scratch);
    text = yyjson_val_write_opts(i.input, 0, &alc, &len, NULL);
    m = text ? msg_new(&d->messages, r->payer) : NULL;
    i.operation.p = m ? arena_dup(&m->arena, i.operation.p, i.operation.n) : NULL;
    if (!i.operation.p || msg_parse(m, text, len, NULL)) {
        settle(it, NULL, 0, &fault_busy);
        r->batch->done++;
        if (m)
            msg_free(m);
        return;
    }
    i.msg = m;
    i.input = m->value.val;
    c = request_start(r, &i);
    if (!c) {
        settle(it, NULL, 0, &fault_internal);
        r->batch->done++;
    } else if (!call_ended(c)) {
        it->call = alk_call_ref(c);
    }
}

/* The batch is freed before the answer goes out: what it held is in the text by now, and the engine
 * makes a copy of that. */
static void finish(struct alk_request *r)
{
    struct batch *b = r->batch;
    batch_done *told = b->told;
    struct buf out;
    int rc;

    buf_init(&out, &r->g->mem);
    buf_charge(&out, &r->payer->meter);
    rc = buf_puts(&out, "{\"results\":[");
    for (size_t i = 0; i < b->count; i++) {
        rc |= i ? buf_puts(&out, ",") : 0;
        rc |= b->items[i].result ? buf_append(&out, b->items[i].result, b->items[i].len) : -1;
    }
    rc |= buf_puts(&out, "]}");
    free_batch(r);
    if (r->x && !r->ended)
        told(r, rc ? NULL : buf_at(&out), out.len);
    buf_fini(&out);
}

/* Starts what may start. Items that are refused or answered at once end from inside item_start and
 * come back here: `starting` turns them away, and the loop goes on with its next one. So the depth
 * does not grow with the length of a batch. */
static void proceed(struct alk_request *r)
{
    struct batch *b = r->batch;

    if (b->starting)
        return;
    b->starting = true;
    while (b->started < b->count && b->started - b->done < AT_ONCE) {
        yyjson_val *v = b->next;

        b->next = unsafe_yyjson_get_next(v);
        item_start(&b->items[b->started++], v);
    }
    b->starting = false;
    if (b->done == b->count)
        finish(r);
}

/* A call may end its batch from inside its abort; the reference keeps it until the walk is past
 * it. */
void batch_abort(struct alk_request *r)
{
    struct batch *b = r->batch;

    b->starting = true; /* nothing more starts */
    for (size_t i = 0; i < b->count; i++) {
        alk_call *c = b->items[i].call;

        if (!c)
            continue;
        alk_call_ref(c);
        call_end(c, ALK_END_ABORTED, NULL);
        alk_call_unref(c);
    }
    free_batch(r);
}

/* An empty array is a batch as well: it is answered at once, from proceed. */
const char *batch_start(struct alk_request *r, yyjson_val *list, batch_done *done,
                        char why[WHY_SIZE])
{
    size_t n = yyjson_arr_size(list), most = LIMIT(r->g->d->node, batch);
    struct batch *b;

    if (!yyjson_is_arr(list))
        return "must be an array of calls";
    if (n > most) {
        snprintf(why, WHY_SIZE, "more than %zu calls", most);
        return why;
    }
    b = mem_zalloc(&r->g->mem, sizeof *b + n * sizeof b->items[0]);
    if (!b) {
        done(r, NULL, 0);
        return NULL;
    }
    r->batch = b;
    arena_init(&b->arena, &r->g->mem, 1024);
    arena_charge(&b->arena, &r->payer->meter);
    b->told = done;
    b->count = n;
    b->next = unsafe_yyjson_get_first(list);
    for (size_t i = 0; i < n; i++)
        b->items[i].r = r;
    proceed(r);
    return NULL;
}

static void reply_batch(struct alk_request *r, const char *json, size_t len)
{
    if (json)
        reply(r, 200, JSON_TYPE, json, len, NULL, 0);
    else
        reply_error(r, 503, "out of memory");
}

void serve_batch(struct alk_request *r)
{
    static const char *const known[] = {"calls", NULL};
    yyjson_val *list = parse_body(r);
    const char *wrong;
    char why[WHY_SIZE];

    if (!list)
        return;
    wrong = request_unknown(list, known, why);
    if (wrong) {
        reply_error(r, 400, "%s", wrong);
        return;
    }
    if (yyjson_is_obj(list))
        list = yyjson_obj_get(list, "calls");
    wrong = batch_start(r, list, reply_batch, why);
    if (wrong)
        reply_error(r, 400, "body: %s", wrong);
}
