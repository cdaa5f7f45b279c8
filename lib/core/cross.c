/* Implements cross.h. A crossing has a side at each dispatcher. The asking side is there from the
 * start until its call has heard of its end, whoever ends it. The running side begins with the
 * delivery of the request and says END once, after which it says nothing. Each side has a reference,
 * and so has each parcel that is under way; parcels stay in order.
 *
 * All that is under way is memory of the crossing's own, charged to who asked: either dispatcher
 * may go first. */
#include "core/cross.h"

#include "core/connection.h"
#include "core/fault.h"
#include "core/overlay.h"
#include "core/resolve.h"

#include <assert.h>
#include <string.h>

/* One value on its way back; its text is behind it. */
struct passed {
    struct parcel parcel;
    struct crossing *x; /* a reference */
    size_t len;
    char text[];
};

struct crossing {
    int refs; /* atomic */
    struct port *from, *to;
    struct hold payer;

    /* Written before it is sent, and read where it arrives. */
    struct parcel request;
    /* What serves it, as of the call; of an operation of the registry all are NULL. References. */
    struct member *member;
    struct line *line;
    struct overlay *set;
    struct line *by; /* a reference: of the connection that it came by; NULL: none, or unknown */
    const struct operation *op;
    struct errand errand; /* with references */
    struct str id, name, traceparent, parent_id, claim;
    const char *remote; /* NULL: nothing is known */
    char *input;        /* until it is delivered */
    size_t own;         /* bytes of this and of its strings, charged */
    size_t input_len, window;

    /* Of the asking side. */
    alk_call *call;      /* a reference; NULL: it has ended */
    struct list waiting; /* values that it has no room for */
    struct parcel abort, room, alone;
    bool told;         /* the end has come */
    bool is_let_alone; /* `alone` has been sent */

    /* Of the running side. */
    alk_call *run; /* NULL: not begun, or ended */
    size_t paid;   /* of what is under way, charged */

    /* Of both, atomic. */
    size_t under_way; /* memory of values that the asking side has not taken */
    bool waits;       /* the running side, for room; who resets it lets it go on */

    /* The end, written by the running side before it is sent. */
    struct parcel end;
    alk_fault fault;
    char *texts; /* of the fault */
    int why;

    char strings[]; /* id, name, traceparent, parent_id, claim, remote */
};

static void value_arrives(struct parcel *p, struct alk_dispatcher *d);

/* ---- life ------------------------------------------------------------------------------------ */

static struct crossing *ref(struct crossing *x)
{
    __atomic_fetch_add(&x->refs, 1, __ATOMIC_RELAXED);
    return x;
}

static void free_input(struct crossing *x)
{
    struct mem plain;

    mem_init(&plain, NULL, NULL);
    mem_free(&plain, x->input);
    if (x->input)
        hold_give(&x->payer, x->input_len);
    x->input = NULL;
}

static void unref(struct crossing *x)
{
    struct mem plain;

    if (__atomic_fetch_sub(&x->refs, 1, __ATOMIC_ACQ_REL) != 1)
        return;
    assert(!x->call && !x->run && list_empty(&x->waiting));
    mem_init(&plain, NULL, NULL);
    free_input(x);
    hold_give(&x->payer, x->paid);
    hold_give(&x->payer, x->own);
    mem_free(&plain, x->texts);
    alk_identity_unref(x->errand.identity);
    alk_identity_unref(x->errand.originator);
    alk_registry_unref(x->errand.session);
    overlay_unref(x->set);
    member_unref(x->member);
    line_unref(x->line);
    line_unref(x->by);
    hold_drop(&x->payer);
    port_unref(x->from);
    port_unref(x->to);
    mem_free(&plain, x);
}

static void free_passed(struct passed *v)
{
    struct crossing *x = v->x;
    struct mem plain;

    mem_init(&plain, NULL, NULL);
    mem_free(&plain, v);
    unref(x);
}

/* Nobody is there for what it says any more. */
static void send(struct crossing *x, struct port *to, struct parcel *p, struct alk_dispatcher *d)
{
    if (port_send(to, p, d->now, &d->wakes) == PORT_CLOSED)
        unref(x);
}

/* ---- the running side ------------------------------------------------------------------------ */

/* There is nothing that could run. The end takes the reference of this side along. */
static void end_with(struct crossing *x, const alk_fault *fault, struct alk_dispatcher *d)
{
    x->why = ALK_END_FAULT;
    x->fault = *fault;
    send(x, x->from, &x->end, d);
}

/* In one block, as the call goes and its texts with it. Out of memory the caller learns less. */
static void keep_fault(struct crossing *x, const alk_fault *f)
{
    struct str code = fault_code(f), message = fault_message(f);
    size_t details = f->details ? strlen(f->details) + 1 : 0;
    struct mem plain;
    char *p;

    mem_init(&plain, NULL, NULL);
    x->texts = p = mem_alloc(&plain, code.n + message.n + 2 + details);
    if (!p) {
        x->fault = fault_internal;
        return;
    }
    x->fault = *f;
    x->fault.code = memcpy(p, code.p, code.n);
    x->fault.code_len = code.n;
    p += code.n;
    *p++ = 0;
    x->fault.message = memcpy(p, message.p, message.n);
    x->fault.message_len = message.n;
    p += message.n;
    *p++ = 0;
    if (details)
        x->fault.details = memcpy(p, f->details, details);
}

static size_t under_way(const struct crossing *x)
{
    return __atomic_load_n(&x->under_way, __ATOMIC_SEQ_CST);
}

/* In large steps: all threads write what is counted there. */
static void pay(struct crossing *x)
{
    size_t bytes = under_way(x), steps = bytes / METER_STEP * METER_STEP;

    if (steps > x->paid)
        hold_force(&x->payer, steps - x->paid);
    else if (!bytes || steps + METER_STEP < x->paid)
        hold_give(&x->payer, x->paid - steps);
    else
        return;
    x->paid = steps;
}

/* One value is taken whatever its size and who pays, or it could never pass. */
static bool is_full(const struct crossing *x, size_t most)
{
    size_t bytes = under_way(x);

    return bytes > most || (bytes && !hold_has_room(&x->payer, 0));
}

/* What the asking side takes from when it is said that this one waits, it tells of. What it has taken
 * before is looked at once more. */
static bool must_wait(struct crossing *x)
{
    if (!is_full(x, x->window))
        return false;
    __atomic_store_n(&x->waits, true, __ATOMIC_SEQ_CST);
    return is_full(x, x->window / 2) || !__atomic_exchange_n(&x->waits, false, __ATOMIC_SEQ_CST);
}

static int run_value(alk_call *run, const char *text, size_t len, bool final)
{
    struct crossing *x = run->sink_ud;
    struct mem plain;
    struct passed *v;

    if (!final && must_wait(x))
        return ALK_EAGAIN;
    mem_init(&plain, NULL, NULL);
    v = mem_alloc(&plain, sizeof *v + len);
    if (!v)
        return ALK_ENOMEM;
    run->values++;
    v->parcel.deliver = value_arrives;
    v->x = ref(x);
    v->len = len;
    memcpy(v->text, text, len);
    __atomic_fetch_add(&x->under_way, sizeof *v + len, __ATOMIC_SEQ_CST);
    pay(x);
    if (port_send(x->from, &v->parcel, run->d->now, &run->d->wakes) == PORT_CLOSED)
        free_passed(v);
    return ALK_OK;
}

static void run_end(alk_call *run)
{
    struct crossing *x = run->sink_ud;

    x->run = NULL;
    x->why = run->why;
    if (run->fault.code)
        keep_fault(x, &run->fault);
    send(x, x->from, &x->end, run->d);
}

static const struct call_sink sink_crossing = {NULL, run_value, run_end};

static bool copy(struct arena *a, struct str s, struct str *out)
{
    *out = (struct str){s.p ? arena_dup(a, s.p, s.n) : NULL, s.n};
    return !s.p || out->p;
}

/* It was let in where it came from, so it is taken whatever its payer has. NULL: out of memory. */
static struct msg *request_here(struct crossing *x, struct alk_dispatcher *d, struct request *rq)
{
    struct account *payer;
    struct msg *m;
    bool whole;

    if (!hold_account(&x->payer, &d->accounts, &payer))
        return NULL;
    m = msg_new(&d->messages, NULL);
    whole = m && copy(&m->arena, (struct str){x->input, x->input_len}, &rq->text) &&
            copy(&m->arena, x->id, &rq->id) && copy(&m->arena, x->name, &rq->name) &&
            copy(&m->arena, x->traceparent, &rq->traceparent) &&
            copy(&m->arena, x->parent_id, &rq->parent_id) && copy(&m->arena, x->claim, &rq->claim);
    if (whole) {
        free_input(x);
        msg_charge(m, payer);
    } else if (m) {
        msg_free(m);
        m = NULL;
    }
    account_unref(payer);
    return m;
}

static void request_arrives(struct parcel *p, struct alk_dispatcher *d)
{
    struct crossing *x = container_of(p, struct crossing, request);
    struct member *m = x->member;
    struct line *l = x->line;
    struct target t = {.op = x->op,
                       .via = l   ? l->conn
                              : m ? m->conn
                                  : NULL,
                       .member = m,
                       .line = l,
                       .set = x->set};
    struct request rq = {.target = &t,
                         .errand = &x->errand,
                         .sink = &sink_crossing,
                         .sink_ud = x,
                         .remote = x->remote};
    alk_call *run;

    if (d->closing || (l && !l->conn) || (m && !t.via && !(m->hub && m->hub->agent))) {
        end_with(x, d->draining ? &fault_shutdown : &fault_closed, d);
        return;
    }
    rq.msg = request_here(x, d, &rq);
    if (!rq.msg) {
        free_input(x);
        end_with(x, &fault_internal, d);
        return;
    }
    /* Of a call of the node's own the remote pays for what it sends, as without a crossing. */
    if (l && !x->payer.share) {
        hold_take(&x->payer, l->conn->account);
        hold_force(&x->payer, x->own);
    }
    /* One that is refused has said so when call_start returns, and the crossing may be gone. */
    ref(x);
    run = call_start(d, &rq);
    if (!run)
        end_with(x, &fault_internal, d);
    else if (!call_ended(run))
        x->run = run;
    unref(x);
}

static void abort_arrives(struct parcel *p, struct alk_dispatcher *d)
{
    struct crossing *x = container_of(p, struct crossing, abort);

    (void)d;
    if (x->run)
        call_end(x->run, ALK_END_ABORTED, NULL);
    unref(x);
}

static void room_arrives(struct parcel *p, struct alk_dispatcher *d)
{
    struct crossing *x = container_of(p, struct crossing, room);

    (void)d;
    pay(x);
    if (x->run)
        call_make_room(x->run);
    unref(x);
}

static void alone_arrives(struct parcel *p, struct alk_dispatcher *d)
{
    struct crossing *x = container_of(p, struct crossing, alone);

    (void)d;
    if (x->run) {
        x->run->tie = TIE_NONE;
        call_alone(x->run);
    }
    unref(x);
}

/* ---- the asking side ------------------------------------------------------------------------- */

/* Below half, and not just below it: see deliver_events. */
static void tell_room(struct crossing *x, size_t bytes)
{
    size_t left = __atomic_sub_fetch(&x->under_way, bytes, __ATOMIC_SEQ_CST);

    if (left <= x->window / 2 && __atomic_load_n(&x->waits, __ATOMIC_SEQ_CST) &&
        __atomic_exchange_n(&x->waits, false, __ATOMIC_SEQ_CST))
        send(ref(x), x->to, &x->room, x->call->d);
}

/* false: it has no room. Another failure ends the call: a value that is left out without a word
 * would make the rest wrong. */
static bool pass(struct crossing *x, struct passed *v)
{
    struct alk_value value = {.text = v->text, .len = v->len};
    int rc = call_pass(x->call, &value);

    if (rc == ALK_EAGAIN)
        return false;
    if (rc)
        call_end(x->call, ALK_END_FAULT, &fault_internal); /* nothing, when it has ended */
    tell_room(x, sizeof *v + v->len);
    free_passed(v);
    return true;
}

static void drop_waiting(struct crossing *x)
{
    while (!list_empty(&x->waiting)) {
        struct list *first = x->waiting.next;

        list_del(first);
        free_passed(container_of(first, struct passed, parcel.link));
    }
}

/* As it ended there, behind the values that came before. */
static void finish(struct crossing *x)
{
    alk_call *call = x->call;

    if (x->why == ALK_END_OK && call->op->type == ALK_SUBSCRIPTION)
        alk_call_complete(call);
    else if (x->why == ALK_END_TIMEOUT)
        call_end(call, ALK_END_TIMEOUT, &fault_timeout);
    else if (x->fault.code)
        call_fail(call, &x->fault, FAULT_OF_LOOP);
    else
        call_end(call, ALK_END_FAULT, &fault_closed);
    /* What could not be passed on for want of memory; nothing, when it has ended. */
    call_end(call, ALK_END_FAULT, &fault_internal);
}

static void on_room(alk_call *call, void *ud)
{
    struct crossing *x = ud;

    (void)call;
    while (!list_empty(&x->waiting)) {
        struct passed *v = container_of(x->waiting.next, struct passed, parcel.link);

        list_del(&v->parcel.link);
        if (!pass(x, v)) {
            list_push_front(&x->waiting, &v->parcel.link);
            return;
        }
    }
    if (x->told && !call_ended(x->call))
        finish(x);
}

static void value_arrives(struct parcel *p, struct alk_dispatcher *d)
{
    struct passed *v = container_of(p, struct passed, parcel);
    struct crossing *x = v->x;

    (void)d;
    if (!x->call || call_ended(x->call))
        free_passed(v);
    else if (!list_empty(&x->waiting) || !pass(x, v))
        list_push(&x->waiting, &p->link);
}

static void end_arrives(struct parcel *p, struct alk_dispatcher *d)
{
    struct crossing *x = container_of(p, struct crossing, end);

    (void)d;
    x->told = true;
    if (x->call && !call_ended(x->call) && list_empty(&x->waiting))
        finish(x);
    unref(x);
}

/* However it ended: the other dispatcher is told, unless it was it that said so. */
static void on_end(alk_call *call, int why, const alk_fault *fault, void *ud)
{
    struct crossing *x = ud;

    (void)why;
    (void)fault;
    drop_waiting(x);
    x->call = NULL;
    if (!x->told)
        send(ref(x), x->to, &x->abort, call->d);
    alk_call_unref(call);
    unref(x);
}

static void on_alone(alk_call *call)
{
    struct crossing *x = call->on_end_ud;

    if (call_ended(call) || x->is_let_alone)
        return;
    x->is_let_alone = true;
    send(ref(x), x->to, &x->alone, call->d);
}

static struct str add(char **at, struct str s)
{
    char *p = *at;

    if (!s.p)
        return s;
    memcpy(p, s.p, s.n);
    p[s.n] = 0;
    *at += s.n + 1;
    return (struct str){p, s.n};
}

static struct crossing *make(alk_call *call, struct str input)
{
    struct str remote = call->remote ? str_of(call->remote) : STR_NONE;
    size_t size = call->id.n + call->name.n + call->traceparent.n + call->parent_id.n +
                  call->claim.n + remote.n + 6;
    struct crossing *x;
    struct mem plain;
    char *p;

    mem_init(&plain, NULL, NULL);
    x = mem_alloc(&plain, sizeof *x + size);
    if (!x)
        return NULL;
    *x = (struct crossing){.refs = 2,
                           .request.deliver = request_arrives,
                           .abort.deliver = abort_arrives,
                           .room.deliver = room_arrives,
                           .alone.deliver = alone_arrives,
                           .end.deliver = end_arrives,
                           .window = LIMIT(call->d->node, queue_high)};
    list_init(&x->waiting);
    hold_take(&x->payer, call->msg->payer);
    x->own = sizeof *x + size;
    hold_force(&x->payer, x->own);
    x->from = port_ref(call->d->port);
    x->to = port_ref(call->line     ? call->line->at
                     : call->member ? call->member->at
                                    : call->d->node->home);
    x->member = call->member ? member_ref(call->member) : NULL;
    x->line = call->line ? line_ref(call->line) : NULL;
    x->by = call->conn && call->conn->line ? line_ref(call->conn->line) : NULL;
    x->set = call->set ? overlay_ref(call->set) : NULL;
    x->op = call->op;
    x->errand = (struct errand){.deadline = call->deadline,
                                .hops = call->hops,
                                .depth = call->depth,
                                .policy = call->policy,
                                .nested = call->parent != NULL,
                                .drains = call->d->draining};
    x->errand.identity = call->identity ? alk_identity_ref(call->identity) : NULL;
    x->errand.originator = call->originator ? alk_identity_ref(call->originator) : NULL;
    x->errand.session = call->session ? alk_registry_ref(call->session) : NULL;
    p = x->strings;
    x->id = add(&p, call->id);
    x->name = add(&p, call->name);
    x->traceparent = add(&p, call->traceparent);
    x->parent_id = add(&p, call->parent_id);
    x->claim = add(&p, call->claim);
    x->remote = add(&p, remote).p;
    x->input = mem_dup(&plain, input.p, input.n);
    x->input_len = input.n;
    if (x->input) {
        hold_force(&x->payer, input.n);
        return x;
    }
    x->refs = 1;
    unref(x);
    return NULL;
}

struct line *cross_line(const alk_call *call)
{
    const struct crossing *x = call->sink_ud;

    return call->sink == &sink_crossing ? x->by : call->conn ? call->conn->line : NULL;
}

int cross(alk_call *call)
{
    static const alk_fault held_up = {.size = sizeof held_up,
                                      .retryable = 1,
                                      .code = ALK_BUSY,
                                      .message = "the loop that serves it is held up"};
    struct crossing *x;
    struct str input;
    int rc;

    input.p = alk_value_text(&call->input, &input.n);
    x = input.p ? make(call, input) : NULL;
    if (!x)
        return ALK_ENOMEM;
    rc = port_ask(x->to, &x->request, call->d->now, &call->d->wakes);
    if (rc != PORT_OK) {
        x->refs = 1;
        unref(x);
        call_end(call, ALK_END_FAULT,
                 rc == PORT_BUSY              ? &held_up
                 : call->member || call->line ? &fault_closed
                                              : &fault_shutdown);
        return ALK_OK;
    }
    x->call = alk_call_ref(call);
    alk_call_on_end(call, on_end, x);
    alk_call_on_drain(call, on_room, x);
    call->on_alone = on_alone;
    return ALK_OK;
}
