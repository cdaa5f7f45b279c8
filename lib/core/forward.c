/* Implements forward.h, and alk_connection_register_imported, which makes such operations by
 * hand. A forwarded call is an ordinary call whose handler makes an outgoing one as its child and
 * relays what comes, so the cascade of an abort across nodes, deadlines and backpressure need no
 * code of their own here. */
#include "core/forward.h"

#include "base/buf.h"
#include "core/connection.h"
#include "core/overlay.h"
#include "core/relay.h"

#include <string.h>

/* What the remote cannot be asked for ends the call here: a connection that has closed meanwhile,
 * or one with too many calls. Other failures are the node's own, and are told as an internal
 * error. */
int forward_over(alk_call *call, alk_connection *c, struct str operation, struct str input)
{
    struct outgoing out = {
        .operation = operation, .parent = call, .input = input.p, .input_len = input.n};
    struct relay *relay;
    alk_call_options o;
    alk_call *child = NULL;
    int rc = relay_new(&relay, call, &o);

    if (rc)
        return rc;
    out.o = &o;
    rc = connection_call(c, &out, &child);
    if (!rc) {
        relay_begin(relay, child);
        return ALK_OK;
    }
    relay_free(relay);
    if (rc == ALK_EJSON) {
        call_refuse(call, ALK_INVALID_INPUT, "too large or too deep for the remote");
        return ALK_OK;
    }
    if (rc != ALK_ECLOSED && rc != ALK_ELIMIT)
        return rc;
    call_end(call, ALK_END_FAULT, rc == ALK_ECLOSED ? &fault_closed : &fault_busy);
    return ALK_OK;
}

static int forward_as(alk_call *call, struct str name)
{
    struct str input;

    input.p = alk_value_text(&call->input, &input.n);
    return input.p ? forward_over(call, call->via, name, input) : ALK_ENOMEM;
}

int forward(alk_call *call, void *ud)
{
    return forward_as(call, str_of(ud));
}

/* A valid name stands in an envelope as it is. */
static int forward_by_name(alk_call *call, void *ud)
{
    (void)ud;
    return forward_as(call, call->name);
}

const struct operation *forward_unknown(bool stream)
{
    static const struct operation single = {.type = ALK_MUTATION,
                                            .provenance = ALK_FROM_CALL,
                                            .forwards = true,
                                            .handler = forward_by_name},
                                  many = {.type = ALK_SUBSCRIPTION,
                                          .provenance = ALK_FROM_CALL,
                                          .forwards = true,
                                          .handler = forward_by_name};

    return stream ? &many : &single;
}

/* As it stands between the quotes of an envelope: the remote has chosen it, and may know names that
 * cannot be any here. On the C library's allocator, since ud_free is not told which one it was. */
char *forward_name(struct str remote)
{
    struct mem plain;
    struct buf b;
    char *name = NULL;

    mem_init(&plain, NULL, NULL);
    buf_init(&b, &plain);
    if (!buf_json_string(&b, remote.p, remote.n))
        name = mem_dup(&plain, buf_at(&b) + 1, b.len - 2);
    buf_fini(&b);
    return name;
}

void forward_name_free(void *ud)
{
    struct mem plain;

    mem_init(&plain, NULL, NULL);
    mem_free(&plain, ud);
}

/* ---- by hand --------------------------------------------------------------------------------- */

/* The program's operations lie as far apart as its struct is large. */
static const alk_operation *nth(const alk_operation *ops, size_t n)
{
    return (const void *)((const char *)ops + n * ops->size);
}

static int make_registered(alk_connection *c, const alk_operation *in, struct mem *mem,
                           struct operation **out)
{
    struct op_diag diag;
    alk_operation op, converted;
    int rc;
    bool own;

    /* A handler of the program's own keeps its ud until all of them are made: the caller frees it
     * if any fails. */
    in = node_take(c->d->node, &abi_operation, &converted, in);
    if (!in)
        return ALK_EINVAL;
    op = *in;
    own = !in->handler && in->name;
    /* Whatever the program says, it is a remote that serves it: no secret is handed down to it. */
    op.provenance = ALK_FROM_CALL;
    if (own) {
        struct str name = name_strip(in->name, strlen(in->name));

        op.handler = forward;
        op.ud = forward_name(name);
        op.ud_free = forward_name_free;
        if (!op.ud)
            return ALK_ENOMEM;
    }
    rc = operation_new(out, &op, c->d->node->host, mem, true, &diag);
    if (rc && own)
        forward_name_free(op.ud);
    if (!rc && name_reserved(op_name(*out))) {
        (*out)->ud_free = in->handler ? NULL : (*out)->ud_free;
        operation_free(*out, mem);
        return ALK_EINVAL;
    }
    if (!rc)
        (*out)->forwards = true;
    return rc;
}

/* All or none: a program that has half of what it wanted would find out call by call. */
int alk_connection_register_imported(alk_connection *c, const alk_operation *ops, size_t count)
{
    struct operation **all;
    struct overlay *set;
    size_t n = 0;
    int rc = ALK_OK;

    if (c->closing >= 0)
        return ALK_ECLOSED;
    /* Once: a second set would have to be merged with the first, while calls run by it. */
    if (c->registered)
        return ALK_EEXIST;
    /* One more, so that none is no failure of the allocator. */
    all = mem_alloc(&c->d->mem, (count + 1) * sizeof *all);
    set = all ? overlay_new(&c->d->mem, c->d->node->seed) : NULL;
    if (!set) {
        mem_free(&c->d->mem, all);
        return ALK_ENOMEM;
    }
    while (!rc && n < count) {
        rc = make_registered(c, nth(ops, n), &set->mem, &all[n]);
        n += !rc;
    }
    if (!rc)
        rc = overlay_fill(set, all, count, NULL, 0);
    if (!rc) {
        c->registered = set;
        connection_serves(c);
    }
    /* A ud of the program's own stays its own when nothing was taken. */
    while (rc && n--) {
        all[n]->ud_free = nth(ops, n)->handler ? NULL : all[n]->ud_free;
        operation_free(all[n], &set->mem);
    }
    if (rc)
        overlay_unref(set);
    mem_free(&c->d->mem, all);
    return rc;
}
