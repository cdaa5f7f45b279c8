/* Two connections back to back in one process: what one sends is fed to the other. The pair lives until one end
 * closes, which is the other's loss. */
#include "core/connection.h"

struct pair_end {
    struct pair *pair;
    alk_connection *conn; /* a reference */
    bool paused;
};

struct pair {
    struct mem mem;
    struct pair_end ends[2];
};

static struct pair_end *other(struct pair_end *e)
{
    return &e->pair->ends[e == e->pair->ends];
}

static int pair_send(void *ud, uint64_t stream, const char *envelope, size_t len)
{
    struct pair_end *to = other(ud);

    if (to->paused)
        return ALK_EAGAIN;
    /* What it thinks of the message is the other side's matter: it closes when it does not like it. */
    alk_connection_feed(to->conn, stream, envelope, len);
    return ALK_OK;
}

static void pair_pause(void *ud, uint64_t stream, int paused)
{
    struct pair_end *e = ud;

    (void)stream;
    e->paused = paused != 0;
    if (!paused)
        alk_connection_writable(other(e)->conn);
}

static void pair_close(void *ud, int code)
{
    struct pair_end *e = ud;
    struct pair *p = e->pair;
    struct mem mem = p->mem;

    (void)code;
    alk_connection_lost(other(e)->conn);
    alk_connection_unref(p->ends[0].conn);
    alk_connection_unref(p->ends[1].conn);
    mem_free(&mem, p);
}

int alk_pair_open(alk_dispatcher *a, const alk_connection_options *a_options,
                  alk_connection **a_out, alk_dispatcher *b,
                  const alk_connection_options *b_options, alk_connection **b_out)
{
    alk_link link = {.size = sizeof link, .send = pair_send, .pause = pair_pause, .close = pair_close};
    struct mem mem;
    struct pair *p;
    int rc;

    *a_out = *b_out = NULL;
    mem_init(&mem, NULL, NULL);
    p = mem_zalloc(&mem, sizeof *p);
    if (!p)
        return ALK_ENOMEM;
    p->mem = mem;
    p->ends[0].pair = p->ends[1].pair = p;
    link.ud = &p->ends[0];
    rc = alk_connection_open(&p->ends[0].conn, a, &link, a_options);
    if (rc) {
        mem_free(&mem, p);
        return rc;
    }
    link.ud = &p->ends[1];
    rc = alk_connection_open(&p->ends[1].conn, b, &link, b_options);
    if (rc) {
        connection_abandon(p->ends[0].conn);
        mem_free(&mem, p);
        return rc;
    }
    *a_out = alk_connection_ref(p->ends[0].conn);
    *b_out = alk_connection_ref(p->ends[1].conn);
    return ALK_OK;
}
