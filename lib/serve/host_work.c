/* A host on the thread of its first worker: calls come to the program as events, and what the turn
 * of the loop has brought about is put into the queue when the loop is about to wait.
 *
 * That is told by a prepare handle which was started before the library's own, whose turn makes
 * them: libuv runs those first that were started last. */
#include "serve/host_int.h"

#include "base/buf.h"
#include "core/connection.h"
#include "core/cross.h"
#include "core/fault.h"

#include <string.h>

#define COMMANDS_AT_ONCE 1024u

/* ---- events ---------------------------------------------------------------------------------- */

void work_post(alk_host *h, struct event *ev)
{
    if (!ev)
        return;
    list_push(&h->staged, &ev->link);
    h->staged_count++;
    h->staged_bytes += ev->bytes;
}

static void publish(alk_host *h)
{
    if (h->staged_count == 0)
        return;
    events_put(&h->events, &h->staged, h->staged_count, h->staged_bytes);
    h->staged_count = h->staged_bytes = 0;
}

bool work_above(alk_host *h)
{
    return events_above(&h->events, h->staged_count, h->staged_bytes);
}

struct event *work_fault(uint32_t kind, const alk_fault *f)
{
    struct event *ev = NULL;
    struct mem mem;
    struct buf b;

    mem_init(&mem, NULL, NULL);
    buf_init(&b, &mem);
    if (!(buf_puts(&b, "{") | fault_put(&b, f) | buf_puts(&b, "}")))
        ev = event_new(kind, buf_at(&b), b.len);
    buf_fini(&b);
    return ev;
}

static void forget(struct subject *s)
{
    while (!list_empty(&s->held)) {
        struct command *c = container_of(s->held.next, struct command, link);

        list_del(&c->link);
        command_free(c);
    }
    list_del(&s->link);
    if (s->call)
        alk_call_unref(s->call);
    dial_unref(s->dial);
    subject_free(s);
}

/* The event that has been kept for it says it at the worst, without the details. */
void work_end(struct subject *s, int why, const alk_fault *fault)
{
    static const char plain[] =
        "{\"code\":\"INTERNAL\",\"message\":\"out of memory\",\"retryable\":false}";
    struct event *end = fault ? work_fault(ALK_HOST_END, fault) : NULL;
    alk_host *h = s->h;

    if (end) {
        end->e.id = s->end->e.id;
        end->e.tag = s->end->e.tag;
        event_free(s->end);
    } else {
        end = s->end;
        if (fault) {
            end->e.text = plain;
            end->e.text_len = sizeof plain - 1;
        }
    }
    s->end = NULL;
    end->e.rc = why;
    forget(s);
    work_post(h, end);
}

/* ---- calls to the program -------------------------------------------------------------------- */

static const alk_fault fault_aborted = {
    .size = sizeof fault_aborted, .code = "ABORTED", .message = "aborted"};

void work_end_call(struct subject *s, int why, const alk_fault *fault)
{
    if (!fault && why != ALK_END_OK)
        fault = why == ALK_END_ABORTED ? &fault_aborted : &fault_closed;
    work_end(s, why, fault);
}

static void on_served(alk_call *call, int why, const alk_fault *fault, void *ud)
{
    (void)call;
    work_end_call(ud, why, fault);
}

/* The texts that an event shows lie behind its own, one after the other. */
struct shown {
    const char **to;
    struct str from;
};

static struct event *call_event_new(alk_call *call, const char *input, size_t len)
{
    alk_host_event e = {0};
    struct shown texts[] = {{&e.operation, op_name(call->op)}, {&e.request_id, call->id},
                            {&e.parent_id, call->parent_id},   {&e.traceparent, call->traceparent},
                            {&e.forwarded_for, call->claim},   {&e.address, str_of(call->remote)}};
    const size_t count = sizeof texts / sizeof *texts;
    size_t size = len + 1;
    struct event *ev;
    char *at;

    for (size_t i = 0; i < count; i++) {
        size += texts[i].from.p ? texts[i].from.n + 1 : 0;
    }
    ev = event_new(ALK_HOST_CALL, NULL, size);
    if (!ev)
        return NULL;
    memcpy(ev->text, input, len);
    ev->text[len] = 0;
    at = ev->text + len + 1;
    for (size_t i = 0; i < count; i++) {
        if (!texts[i].from.p)
            continue;
        *texts[i].to = memcpy(at, texts[i].from.p, texts[i].from.n);
        at[texts[i].from.n] = 0;
        at += texts[i].from.n + 1;
    }
    e.kind = ALK_HOST_CALL;
    e.text = ev->text;
    e.text_len = len;
    e.request_id_len = call->id.n;
    e.parent_id_len = call->parent_id.p ? call->parent_id.n : 0;
    e.memory = ev;
    ev->e = e;
    return ev;
}

static uint32_t left_ms(const alk_call *call)
{
    uint64_t now = call->d->now, ms;

    if (call->deadline == UINT64_MAX)
        return UINT32_MAX;
    ms = call->deadline > now ? (call->deadline - now + MILLI - 1) / MILLI : 0;
    return ms < UINT32_MAX ? (uint32_t)ms : UINT32_MAX - 1;
}

int work_serve(alk_call *call, void *ud)
{
    const struct host_operation *op = ud;
    alk_host *h = op->h;
    bool stream = call->op->type == ALK_SUBSCRIPTION;
    struct event *ev;
    struct subject *s;
    size_t len;
    const char *input;

    if (work_above(h)) {
        call_end(call, ALK_END_FAULT, &fault_busy);
        return ALK_OK;
    }
    input = alk_value_text(alk_call_input(call), &len);
    ev = input ? call_event_new(call, input, len) : NULL;
    s = ev ? subject_new(h, SUBJECT_CALLED, stream ? SUBJECT_SUBSCRIPTION : 0, op->tag) : NULL;
    if (!s) {
        event_free(ev);
        return ALK_ENOMEM;
    }
    ev->e.id = subject_id(s);
    ev->e.tag = op->tag;
    ev->e.type = call->op->type;
    ev->e.timeout_ms = left_ms(call);
    ev->e.connection = work_line_id(h, cross_line(call));
    ev->e.identity = event_show(&ev->identities[0], call->identity);
    ev->e.originator = event_show(&ev->identities[1], call->originator);
    s->call = alk_call_ref(call);
    alk_call_on_end(call, on_served, s);
    work_post(h, ev);
    return ALK_OK;
}

/* ---- life ------------------------------------------------------------------------------------ */

static void on_prepare(uv_prepare_t *p)
{
    publish(p->data);
}

/* As many as a turn of the dispatcher has time for, so that sockets have theirs. While the loop
 * closes there are no turns any more: what comes then is left for work_gone. */
static void on_wake(uv_async_t *async)
{
    alk_host *h = async->data;

    if (!dispatcher_loop(h->d))
        return;
    work_post(h, inbox_take(&h->work_in, &h->commands));
    for (unsigned i = 0; i < COMMANDS_AT_ONCE && !list_empty(&h->commands); i++) {
        struct command *c = container_of(h->commands.next, struct command, link);

        list_del(&c->link);
        work_do(h, c);
    }
    inbox_again(&h->work_in, !list_empty(&h->commands));
    if (__atomic_exchange_n(&h->low, 0, __ATOMIC_ACQ_REL))
        work_pause_all(h, false);
}

int work_open(void *ud, uv_loop_t *loop, alk_dispatcher *d)
{
    alk_host *h = ud;
    int rc = inbox_open(&h->work_in, loop, on_wake, h);

    if (rc)
        return rc;
    d->node->host->random(h->seed, sizeof h->seed);
    h->d = d;
    d->node->home = port_ref(d->port);
    uv_prepare_init(loop, &h->prepare);
    uv_prepare_start(&h->prepare, on_prepare);
    uv_unref((uv_handle_t *)&h->prepare);
    uv_unref((uv_handle_t *)&h->work_in.async);
    h->prepare.data = h;
    return ALK_OK;
}

void work_net(void *ud, alk_loop *net)
{
    alk_host *h = ud;

    h->net = net;
}

void work_draining(void *ud)
{
    work_post(ud, event_new(ALK_HOST_DRAINING, NULL, 0));
}

void work_drained(void *ud)
{
    work_post(ud, event_new(ALK_HOST_DRAINED, NULL, 0));
}

/* Every call has ended, and every connection. What was submitted too late for any of them to begin
 * has its end here. */
void work_gone(void *ud)
{
    alk_host *h = ud;

    inbox_close(&h->work_in, &h->commands);
    uv_close((uv_handle_t *)&h->prepare, NULL);
    while (!list_empty(&h->commands)) {
        struct command *c = container_of(h->commands.next, struct command, link);
        uint64_t word;
        struct subject *s = subject_find(&h->subjects, c->id, &word);

        list_del(&c->link);
        if (s && (c->kind == COMMAND_CALL || c->kind == COMMAND_DIAL))
            work_end(s, ALK_END_CLOSED, &fault_closed);
        command_free(c);
    }
    h->net = NULL;
    h->d = NULL;
    publish(h);
}
