/* Implements overlay.h: sets of imported operations, and the handler that forwards. */
#include "core/overlay.h"

#include "core/connection.h"
#include "core/relay.h"

#include <stdlib.h>
#include <string.h>

static int by_name(const void *a, const void *b)
{
    return strcmp((*(struct operation *const *)a)->by_name.key,
                  (*(struct operation *const *)b)->by_name.key);
}

int overlay_new(struct overlay **out, struct alk_dispatcher *d, struct operation **ops,
                size_t count)
{
    struct overlay *o = mem_zalloc(&d->mem, sizeof *o);
    struct map_node *n;
    int rc = ALK_OK;

    *out = NULL;
    if (!o)
        return ALK_ENOMEM;
    o->mem = &d->mem;
    o->refs = 1;
    map_init(&o->by_name, &d->mem, d->node->seed);
    o->sorted = mem_alloc(&d->mem, (count + 1) * sizeof *o->sorted);
    if (!o->sorted)
        rc = ALK_ENOMEM;
    for (size_t i = 0; !rc && i < count; i++) {
        struct map_node *key = &ops[i]->by_name;

        rc = map_find(&o->by_name, key->key, key->len) ? ALK_EEXIST
             : map_add(&o->by_name, key)               ? ALK_ENOMEM
                                                       : ALK_OK;
    }
    if (rc) {
        while ((n = map_any(&o->by_name)))
            map_del(&o->by_name, n);
        overlay_unref(o);
        return rc;
    }
    memcpy(o->sorted, ops, count * sizeof *ops);
    qsort(o->sorted, count, sizeof *ops, by_name);
    *out = o;
    return ALK_OK;
}

struct overlay *overlay_ref(struct overlay *o)
{
    o->refs++;
    return o;
}

void overlay_unref(struct overlay *o)
{
    struct map_node *n;

    if (!o || --o->refs)
        return;
    while ((n = map_any(&o->by_name))) {
        map_del(&o->by_name, n);
        operation_free(container_of(n, struct operation, by_name), o->mem);
    }
    map_fini(&o->by_name);
    mem_free(o->mem, o->sorted);
    mem_free(o->mem, o);
}

static const struct operation *overlay_find(const struct overlay *o, struct str name)
{
    struct map_node *n = o ? map_find(&o->by_name, name.p, name.n) : NULL;

    return n ? container_of(n, struct operation, by_name) : NULL;
}

bool connection_find(alk_connection *c, struct str name, struct target *out)
{
    struct overlay *sets[] = {c->registered, c->imported};

    for (size_t i = 0; c->closing < 0 && i < 2; i++) {
        const struct operation *op = overlay_find(sets[i], name);

        if (op) {
            *out = (struct target){.op = op, .via = c, .set = sets[i]};
            return true;
        }
    }
    return false;
}

/* ---- forwarding -------------------------------------------------------------------------------- */

int overlay_forward(alk_call *call, void *ud)
{
    struct outgoing out = {.operation = {ud, strlen(ud)}, .parent = call};
    struct relay *relay;
    alk_call_options o;
    alk_call *child = NULL;
    int rc = relay_new(&relay, call, &o);

    if (rc)
        return rc;
    out.o = &o;
    out.input = alk_value_text(&call->input, &out.input_len);
    rc = out.input ? connection_call(call->via, &out, &child) : ALK_ENOMEM;
    if (!rc) {
        relay_begin(relay, child);
        return ALK_OK;
    }
    relay_free(relay);
    if (rc != ALK_ECLOSED && rc != ALK_ELIMIT)
        return rc;
    call_end(call, ALK_END_FAULT, rc == ALK_ECLOSED ? &fault_closed : &fault_busy);
    return ALK_OK;
}

char *overlay_remote_name(const char *name, size_t len)
{
    struct mem plain;

    mem_init(&plain, NULL, NULL);
    return mem_dup(&plain, name, len);
}

void overlay_remote_name_free(void *ud)
{
    struct mem plain;

    mem_init(&plain, NULL, NULL);
    mem_free(&plain, ud);
}
