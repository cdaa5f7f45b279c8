/* What streams of QUIC hold, and who pays for it.
 *
 * A remote may have a thousand streams, with little on each: so the sum of what is small is
 * charged, and above a little of that no more streams of the remote begin while memory is short.
 *
 * What is sent lies in blocks until it is acknowledged. They are charged and not asked for: what
 * is to be said has been made already, and whoever makes it has asked. */
#include "wire/quic_int.h"

#define BLOCK_LEAST 480u
#define BLOCK_MOST 32768u
/* Of a stream, here and in ngtcp2, with the one block that holds what came out of order. */
#define STREAM_BYTES 10240u

static void charge_block(struct quic_conn *c, uint32_t from, uint32_t to)
{
    if (from + to < METER_MIN)
        meter_add(&c->small, c->meter, from, to);
    else
        meter_move(from ? c->meter : NULL, to ? c->meter : NULL, from + to);
}

struct quic_block *quic_block_add(struct quic_stream *s, size_t want)
{
    size_t cap = want < BLOCK_LEAST ? BLOCK_LEAST : want > BLOCK_MOST ? BLOCK_MOST : want;
    struct quic_block *b = mem_alloc(s->c->q->mem, sizeof *b + cap);

    if (!b)
        return NULL;
    b->len = 0;
    b->cap = (uint32_t)cap;
    charge_block(s->c, 0, b->cap);
    list_init(&b->link);
    list_push(&s->blocks, &b->link);
    return b;
}

void quic_block_drop(struct quic_stream *s, struct quic_block *b)
{
    list_del(&b->link);
    charge_block(s->c, b->cap, 0);
    mem_wipe(b->data, b->len);
    mem_free(s->c->q->mem, b);
}

void quic_charge_stream(struct quic_conn *c, bool begins)
{
    meter_add(&c->small, c->meter, begins ? 0 : STREAM_BYTES, begins ? STREAM_BYTES : 0);
}

static uint32_t uncounted(size_t bytes)
{
    return bytes < METER_MIN ? (uint32_t)bytes : 0;
}

void quic_charge_input(struct quic_stream *s)
{
    uint32_t small = uncounted(s->in.cap) + uncounted(s->kept.cap);

    if (small == s->small)
        return;
    meter_add(&s->c->small, s->c->meter, s->small, small);
    s->small = small;
}

bool quic_has_room(struct quic_conn *c)
{
    return !c->small.paid || meter_has_room(c->meter);
}

void quic_charge(struct quic_conn *c, struct meter *m)
{
    meter_move(c->meter, m, c->small.paid);
    c->meter = m;
    list_each(l, &c->all)
    {
        struct quic_stream *s = container_of(l, struct quic_stream, all);

        buf_charge(&s->kept, m);
        frame_charge(&s->in, m);
    }
}
