/* Implements line.h. */
#include "core/line.h"

#include "base/spin.h"
#include "core/overlay.h"

#include <string.h>

struct line *line_new(struct port *at, struct alk_connection *conn, const struct account *payer)
{
    struct mem plain;
    struct line *l;

    mem_init(&plain, NULL, NULL);
    l = mem_zalloc(&plain, sizeof *l);
    if (!l)
        return NULL;
    l->refs = 1;
    l->at = port_ref(at);
    l->conn = conn;
    hold_take(&l->payer, payer);
    return l;
}

struct line *line_ref(struct line *l)
{
    __atomic_fetch_add(&l->refs, 1, __ATOMIC_RELAXED);
    return l;
}

void line_unref(struct line *l)
{
    struct mem plain;

    if (!l || __atomic_fetch_sub(&l->refs, 1, __ATOMIC_ACQ_REL) != 1)
        return;
    overlay_unref(l->sets[0]);
    overlay_unref(l->sets[1]);
    port_unref(l->at);
    hold_drop(&l->payer);
    mem_init(&plain, NULL, NULL);
    mem_free(&plain, l);
}

/* Only an id that can stand in an environment is of use. */
void line_show(struct line *l, struct str id, struct overlay *const sets[2])
{
    struct overlay *old[2];

    for (size_t i = 0; i < 2; i++) {
        if (sets[i])
            overlay_ref(sets[i]);
    }
    spin_lock(&l->lock);
    memcpy(old, l->sets, sizeof old);
    memcpy(l->sets, sets, sizeof old);
    memset(l->peer, 0, sizeof l->peer);
    if (id.p && id.n <= sizeof l->peer)
        memcpy(l->peer, id.p, id.n);
    spin_unlock(&l->lock);
    overlay_unref(old[0]);
    overlay_unref(old[1]);
}

void line_shut(struct line *l)
{
    l->conn = NULL;
    __atomic_store_n(&l->shut, true, __ATOMIC_RELEASE);
}

bool line_is_shut(const struct line *l)
{
    return __atomic_load_n(&l->shut, __ATOMIC_ACQUIRE);
}

bool line_is_of(struct line *l, struct str id)
{
    bool is;

    spin_lock(&l->lock);
    is = *l->peer && str_eq((struct str){l->peer, strnlen(l->peer, sizeof l->peer)}, id);
    spin_unlock(&l->lock);
    return is;
}

const struct operation *line_find(struct line *l, struct str name, struct overlay **set)
{
    const struct operation *op = NULL;
    struct overlay *sets[2];

    spin_lock(&l->lock);
    for (size_t i = 0; i < 2; i++)
        sets[i] = l->sets[i] ? overlay_ref(l->sets[i]) : NULL;
    spin_unlock(&l->lock);
    for (size_t i = 0; i < 2; i++) {
        if (!op && (op = overlay_find(sets[i], name)))
            *set = sets[i];
        else
            overlay_unref(sets[i]);
    }
    return op;
}
