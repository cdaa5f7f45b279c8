/* What streams of QUIC hold, and who pays for it.
 *
 * What is sent lies in blocks until it is acknowledged. They are charged and not asked for: what
 * is to be said has been made already, and whoever makes it has asked. */
#include "wire/quic_int.h"

#define BLOCK_LEAST 480u
#define BLOCK_MOST 32768u

struct quic_block *quic_block_add(struct quic_stream *s, size_t want)
{
    size_t cap = want < BLOCK_LEAST ? BLOCK_LEAST : want > BLOCK_MOST ? BLOCK_MOST : want;
    struct quic_block *b = mem_alloc(s->c->q->mem, sizeof *b + cap);

    if (!b)
        return NULL;
    meter_move(NULL, s->c->meter, cap);
    b->len = 0;
    b->cap = (uint32_t)cap;
    list_init(&b->link);
    list_push(&s->blocks, &b->link);
    return b;
}

void quic_block_drop(struct quic_stream *s, struct quic_block *b)
{
    list_del(&b->link);
    meter_move(s->c->meter, NULL, b->cap);
    mem_wipe(b->data, b->len);
    mem_free(s->c->q->mem, b);
}

void quic_charge(struct quic_conn *c, struct meter *m)
{
    c->meter = m;
    list_each(l, &c->all)
    {
        struct quic_stream *s = container_of(l, struct quic_stream, all);

        buf_charge(&s->kept, m);
        frame_charge(&s->in, m);
    }
}
