/* Implements relay.h. Both calls are held until the child's end has been passed on, so either may
 * end at any moment: what is passed to one that has ended does nothing.
 *
 * Backpressure goes through without a buffer. A value that the call has no room for stays with the
 * child (untaken), which then fills up in turn, until its own source is held back. */
#include "core/relay.h"

struct relay {
    alk_call *call, *child; /* references */
};

/* Other failures end the call: a value that is left out without a word would make the rest
 * wrong. */
static void on_value(alk_call *child, const alk_value *value, void *ud)
{
    struct relay *r = ud;
    int rc = call_pass(r->call, value);

    child->untaken = rc == ALK_EAGAIN;
    if (rc && rc != ALK_EAGAIN)
        call_end(r->call, ALK_END_FAULT, &fault_internal); /* nothing, when it has ended */
}

/* The value that was refused is the first one that the child delivers again. */
static void on_room(alk_call *call, void *ud)
{
    struct relay *r = ud;

    (void)call;
    r->child->untaken = false;
    call_ready(r->child);
}

/* The fault goes on as it came: its code is the remote's, which operations that forward may use.
 * Without one the remote is gone, or has given up. Then the relay goes, and its on_drain before
 * it. */
static void on_end(alk_call *child, int why, const alk_fault *fault, void *ud)
{
    struct relay *r = ud;
    alk_call *call = r->call;

    (void)child;
    alk_call_on_drain(call, NULL, NULL);
    if (why == ALK_END_OK && call->op->type == ALK_SUBSCRIPTION)
        alk_call_complete(call);
    else if (fault)
        alk_call_fail(call, fault);
    else if (why != ALK_END_OK)
        call_end(call, ALK_END_FAULT, &fault_closed);
    /* What could not be passed on for want of memory; nothing, when it has ended. */
    if (why != ALK_END_OK || call->op->type == ALK_SUBSCRIPTION)
        call_end(call, ALK_END_FAULT, &fault_internal);
    relay_free(r);
}

int relay_new(struct relay **out, alk_call *call, alk_call_options *o)
{
    struct relay *r = mem_zalloc(&call->d->mem, sizeof *r);

    *out = r;
    if (!r)
        return ALK_ENOMEM;
    r->call = alk_call_ref(call);
    *o = (alk_call_options){.size = sizeof *o};
    o->stream = call->op->type == ALK_SUBSCRIPTION;
    o->on_event = on_value;
    o->on_end = on_end;
    o->ud = r;
    return ALK_OK;
}

void relay_begin(struct relay *r, alk_call *child)
{
    r->child = child;
    alk_call_on_drain(r->call, on_room, r);
}

/* The call goes last: it keeps the allocator valid. */
void relay_free(struct relay *r)
{
    struct mem *mem = &r->call->d->mem;
    alk_call *call = r->call;

    alk_call_unref(r->child);
    r->child = NULL;
    mem_free(mem, r);
    alk_call_unref(call);
}
