/* Streams of a QUIC connection: frames in, frames out.
 *
 * Out: ngtcp2 keeps no copy of what it sends, so bytes stay in a chain of blocks until they are
 * acknowledged. A stream is in `sending` while it has something to send that its window allows;
 * packets are filled from these by turns.
 *
 * In: bytes go into the frame decoder, which hands whole frames on. What cannot be handed on, since
 * the stream is paused or there is no room, is kept, and the stream's window is not given back for
 * it: so the remote is held back on this stream alone. The connection's window is given back as
 * long as somebody pays for what is kept, or else one stream would hold up all others.
 *
 * What is to be told of a stream and may not be told now, inside of ngtcp2 or of a call from above,
 * puts it into `look`, and is told by quic_streams_settle. */
#include "wire/quic_int.h"

#include <assert.h>
#include <string.h>

#define VECTORS 16
#define RETRY_NS 50000000u /* of a frame that found no room */

static void look(struct quic_stream *s)
{
    list_del(&s->look);
    list_push(&s->c->look, &s->look);
    quic_note(s->c);
}

/* ---- life ------------------------------------------------------------------------------------ */

static int on_frame(void *ud, const char *data, size_t len)
{
    struct quic_stream *s = ud;
    struct quic_conn *c = s->c;
    int rc;

    if (s->dead || quic_leaves(c))
        return QUIC_BROKEN;
    if (s->paused)
        return FRAME_LATER;
    rc = c->events->frame(c->ud, (uint64_t)s->id, data, len);
    s->spoken |= rc == QUIC_TAKEN;
    if (rc == QUIC_TAKEN)
        frame_set_limit(&s->in, c->events->limit(c->ud));
    return rc == QUIC_LATER ? FRAME_LATER : rc;
}

/* Mostly it is the same one again. */
static struct quic_stream *find(struct quic_conn *c, uint64_t id)
{
    struct map_node *n;

    if (c->recent && (uint64_t)c->recent->id == id)
        return c->recent;
    n = map_find(&c->streams, (const char *)&id, sizeof id);
    if (!n)
        return NULL;
    c->recent = container_of(n, struct quic_stream, node);
    return c->recent;
}

static bool pending(const struct quic_stream *s)
{
    return s->held || s->kept.len;
}

/* Of the remote's streams, one on which a frame has begun and does not come on, or on which there
 * never was one, is of no use to anybody and holds memory. */
static bool waits(const struct quic_stream *s)
{
    return !s->dead && !s->fin_came && !pending(s) &&
           (s->in.head_have || (!s->spoken && !ngtcp2_conn_is_local_stream2(s->c->ng, s->id)));
}

static void sweep_soon(struct quic_stream *s)
{
    struct quic_conn *c = s->c;

    if (c->sweep_at || !waits(s))
        return;
    c->sweep_at = c->now + c->q->limits->frame_timeout;
}

struct quic_stream *quic_stream_new(struct quic_conn *c, int64_t id)
{
    struct mem *mem = c->q->mem;
    struct quic_stream *s = mem_zalloc(mem, sizeof *s);

    if (!s)
        return NULL;
    s->c = c;
    s->id = id;
    s->node.key = (const char *)&s->id;
    s->node.len = sizeof s->id;
    list_init(&s->all);
    list_init(&s->sending);
    list_init(&s->look);
    list_init(&s->blocks);
    buf_init(&s->kept, mem);
    s->kept.secret = true;
    buf_charge(&s->kept, c->meter);
    frame_init(&s->in, mem, 0, on_frame, s);
    frame_charge(&s->in, c->meter);
    if (map_add(&c->streams, &s->node)) {
        mem_free(mem, s);
        return NULL;
    }
    list_push(&c->all, &s->all);
    quic_charge_stream(c, true);
    s->heard = true;
    sweep_soon(s);
    return s;
}

/* Nothing more goes out. The blocks stay until ngtcp2 has forgotten the stream: it may have packets
 * in flight that point into them. */
static void stop_output(struct quic_stream *s)
{
    s->c->queued -= (size_t)(s->end - s->sent);
    s->c->flying -= s->sent - s->acked;
    s->acked = s->sent = s->end;
    list_del(&s->sending);
}

static void drop_output(struct quic_stream *s)
{
    stop_output(s);
    s->next = NULL;
    while (!list_empty(&s->blocks))
        quic_block_drop(s, container_of(s->blocks.next, struct quic_block, link));
}

static void stream_free(struct quic_stream *s)
{
    struct quic_conn *c = s->c;

    drop_output(s);
    if (c->recent == s)
        c->recent = NULL;
    list_del(&s->all);
    list_del(&s->look);
    map_del(&c->streams, &s->node);
    frame_fini(&s->in);
    buf_fini(&s->kept);
    quic_charge_input(s);
    quic_charge_stream(c, false);
    mem_free(c->q->mem, s);
}

void quic_streams_free(struct quic_conn *c)
{
    struct map_node *n;

    while ((n = map_any(&c->streams)))
        stream_free(container_of(n, struct quic_stream, node));
    map_fini(&c->streams);
}

/* A stream that ngtcp2 has forgotten stays until all of it has been handed on and told. Its place
 * is the remote's again then, if it was the remote's. */
static void release(struct quic_stream *s)
{
    struct quic_conn *c = s->c;
    bool remote = !ngtcp2_conn_is_local_stream2(c->ng, s->id);

    if (!s->forgotten || (s->dead ? !s->lost_told : pending(s) || (s->fin_came && !s->fin_told)))
        return;
    stream_free(s);
    if (remote) {
        ngtcp2_conn_extend_max_streams_bidi(c->ng, 1);
        quic_note(c);
    }
}

/* ---- in -------------------------------------------------------------------------------------- */

static void give_window(struct quic_stream *s, uint64_t stream, uint64_t conn)
{
    struct quic_conn *c = s->c;

    if (stream && !s->forgotten && !s->dead)
        ngtcp2_conn_extend_max_stream_offset(c->ng, s->id, stream);
    if (conn)
        ngtcp2_conn_extend_max_offset(c->ng, conn);
}

/* Nothing more is handed on, which the remote may take its time to hear. */
static void drop_input(struct quic_stream *s)
{
    give_window(s, 0, s->owed);
    s->owed = 0;
    s->held = false;
    buf_fini(&s->kept);
    frame_fini(&s->in);
    quic_charge_input(s);
}

/* It was broken here, and the other side is told so; not at once, since ngtcp2 lets go of what it has
 * of the stream then, which may be what is being read. */
static void break_off(struct quic_stream *s, uint64_t code)
{
    if (s->dead)
        return;
    s->dead = true;
    s->shutdown = true;
    s->code = code;
    stop_output(s);
    look(s);
}

static void sweep(struct quic_conn *c, uint64_t now)
{
    c->sweep_at = 0;
    list_each_safe(l, &c->all)
    {
        struct quic_stream *s = container_of(l, struct quic_stream, all);

        if (!waits(s))
            continue;
        if (!s->heard)
            break_off(s, RESET_LIMIT);
        s->heard = false;
        c->sweep_at = now + c->q->limits->frame_timeout;
    }
}

/* Returns how many bytes of data were taken; all of them when it is broken. */
static size_t hand_on(struct quic_stream *s, const void *data, size_t len)
{
    struct quic_conn *c = s->c;
    int rc;

    frame_set_limit(&s->in, c->events->limit(c->ud));
    rc = frame_feed(&s->in, data, len);
    s->held = rc == FRAME_LATER;
    if (s->held) {
        if (!s->paused) {
            list_del(&s->look);
            list_push(&c->late, &s->look);
        }
        return len - s->in.rest;
    }
    if (rc)
        break_off(s, rc == FRAME_ENOMEM ? RESET_LIMIT : RESET_PROTOCOL);
    return len;
}

static void ended(struct quic_stream *s)
{
    struct quic_conn *c = s->c;

    if (!s->fin_came || s->fin_told || s->dead || pending(s) || quic_leaves(c))
        return;
    s->fin_told = true;
    if (frame_end(&s->in))
        break_off(s, RESET_PROTOCOL);
    else
        c->events->ended(c->ud, (uint64_t)s->id);
}

/* What is there must be kept: room is asked for with the windows. While nobody pays for what was
 * kept before, the spare room of its block is no reason to ask for more. */
static bool keep(struct quic_stream *s, const uint8_t *data, size_t len)
{
    struct meter *m = s->kept.meter;
    int rc;

    if (!s->owed && !buf_append(&s->kept, data, len)) {
        give_window(s, 0, len);
        return true;
    }
    buf_charge(&s->kept, NULL);
    rc = buf_append(&s->kept, data, len);
    buf_charge(&s->kept, m);
    s->owed += rc ? 0 : len;
    return !rc;
}

/* Takes what is kept, as far as that can be. */
static void take_kept(struct quic_stream *s)
{
    size_t n;
    uint64_t back;

    if (s->paused || s->dead || !pending(s)) {
        ended(s);
        return;
    }
    n = hand_on(s, s->kept.len ? buf_at(&s->kept) : "", s->kept.len);
    buf_consume(&s->kept, n);
    if (!s->kept.len)
        buf_fini(&s->kept);
    quic_charge_input(s);
    back = n < s->owed ? n : s->owed;
    s->owed -= back;
    give_window(s, n, back);
    ended(s);
}

void quic_stream_came(struct quic_stream *s, const uint8_t *data, size_t len, bool fin)
{
    size_t n = 0;

    s->heard = true;
    s->fin_came |= fin;
    if (s->dead) {
        give_window(s, 0, len);
        return;
    }
    /* What comes in one packet with the end of the handshake waits until that has been told. */
    if (s->c->state != QUIC_OPEN)
        look(s);
    else if (!s->paused && !pending(s))
        n = len ? hand_on(s, data, len) : 0;
    give_window(s, n, n);
    if (n < len && !keep(s, data + n, len - n)) {
        give_window(s, 0, len - n);
        break_off(s, RESET_LIMIT);
    }
    quic_charge_input(s);
    if (s->c->state == QUIC_OPEN)
        ended(s);
    sweep_soon(s);
}

void quic_stream_lost(struct quic_stream *s, uint64_t code)
{
    break_off(s, code);
}

/* Who has a whole request may answer it and never look for the end behind it: several stacks say so
 * when the stream's reader goes, and the answer still comes. */
void quic_stream_refused(struct quic_stream *s)
{
    if (!s->fin_sent)
        break_off(s, 0);
}

void quic_stream_forgotten(struct quic_stream *s)
{
    s->forgotten = true;
    drop_output(s);
    look(s);
}

void quic_pause(struct quic_conn *c, uint64_t stream)
{
    struct quic_stream *s = find(c, stream);

    if (s)
        s->paused = true;
}

void quic_resume(struct quic_conn *c, uint64_t stream)
{
    struct quic_stream *s = find(c, stream);

    if (!s || !s->paused)
        return;
    s->paused = false;
    look(s);
}

/* ---- telling --------------------------------------------------------------------------------- */

static void settle(struct quic_stream *s)
{
    struct quic_conn *c = s->c;

    if (s->shutdown && !s->forgotten)
        ngtcp2_conn_shutdown_stream(c->ng, 0, s->id, s->code);
    s->shutdown = false;
    if (!s->dead) {
        take_kept(s);
    } else if (!s->lost_told) {
        s->lost_told = true;
        c->events->lost(c->ud, (uint64_t)s->id);
    }
    if (s->dead)
        drop_input(s);
    release(s);
}

/* Each is taken out of the front of a list of its own: what is put back meanwhile is for the next
 * time. */
void quic_streams_settle(struct quic_conn *c, uint64_t now)
{
    struct list batch;

    if (c->sweep_at && now >= c->sweep_at)
        sweep(c, now);
    list_init(&batch);
    list_splice(&batch, &c->look);
    if (c->retry_at && now >= c->retry_at) {
        c->retry_at = 0;
        list_splice(&batch, &c->late);
    }
    while (!list_empty(&batch)) {
        struct quic_stream *s = container_of(batch.next, struct quic_stream, look);

        list_del(&s->look);
        if (!quic_leaves(c))
            settle(s);
    }
    if (!list_empty(&c->late) && !c->retry_at)
        c->retry_at = now + RETRY_NS;
}

/* ---- out ------------------------------------------------------------------------------------- */

/* As much as one block takes of it; grow: how much is still to come. */
static size_t append_some(struct quic_stream *s, const void *data, size_t len, size_t grow)
{
    struct quic_block *b =
        list_empty(&s->blocks) ? NULL : container_of(s->blocks.prev, struct quic_block, link);
    size_t n;

    if ((!b || b->len == b->cap) && !(b = quic_block_add(s, grow)))
        return 0;
    if (!s->next) {
        s->next = b;
        s->next_base = s->end - b->len;
    }
    n = b->cap - b->len < len ? b->cap - b->len : len;
    memcpy(b->data + b->len, data, n);
    b->len += (uint32_t)n;
    s->end += n;
    s->c->queued += n;
    return n;
}

static int append(struct quic_stream *s, const void *data, size_t len, size_t behind)
{
    const uint8_t *p = data;

    while (len) {
        /* On a stream that goes on, small messages share larger blocks. */
        size_t n = append_some(s, p, len, s->base ? 4096 + len + behind : len + behind);

        if (!n)
            return -1;
        p += n;
        len -= n;
    }
    return 0;
}

static void send_soon(struct quic_stream *s)
{
    if (list_empty(&s->sending))
        list_push(&s->c->sending, &s->sending);
    quic_note(s->c);
}

/* What memory has no room for in the middle of a frame makes the stream worthless. */
int quic_send(struct quic_conn *c, uint64_t stream, const char *data, size_t len)
{
    struct quic_stream *s = find(c, stream);
    uint8_t head[FRAME_HEAD];

    if (!s || s->dead || s->forgotten || s->fin_asked)
        return -1;
    frame_encode(head, len);
    if (append(s, head, sizeof head, len) || append(s, data, len, 0)) {
        break_off(s, RESET_LIMIT);
        return -1;
    }
    s->above |= s->end - s->sent > c->mark;
    send_soon(s);
    return 0;
}

void quic_finish(struct quic_conn *c, uint64_t stream)
{
    struct quic_stream *s = find(c, stream);

    if (!s || s->dead || s->forgotten || s->fin_asked)
        return;
    s->fin_asked = true;
    send_soon(s);
}

void quic_reset(struct quic_conn *c, uint64_t stream, uint64_t code)
{
    struct quic_stream *s = find(c, stream);

    if (!s)
        return;
    s->lost_told = true;
    break_off(s, code);
}

size_t quic_queued(struct quic_conn *c, uint64_t stream)
{
    const struct quic_stream *s = find(c, stream);

    return s ? (size_t)(s->end - s->sent) : 0;
}

void quic_stream_acked(struct quic_stream *s, uint64_t to)
{
    if (to > s->acked) { /* or its output was stopped meanwhile */
        s->c->progress += to - s->acked;
        s->c->flying -= to - s->acked;
        s->acked = to;
    }
    while (!list_empty(&s->blocks)) {
        struct quic_block *b = container_of(s->blocks.next, struct quic_block, link);

        if (s->base + b->len > to)
            break;
        s->base += b->len;
        if (s->next == b) {
            s->next = b->link.next == &s->blocks
                          ? NULL
                          : container_of(b->link.next, struct quic_block, link);
            s->next_base = s->base;
        }
        quic_block_drop(s, b);
    }
}

void quic_stream_unblocked(struct quic_stream *s)
{
    if (!s->dead && (s->sent < s->end || (s->fin_asked && !s->fin_sent)))
        send_soon(s);
}

/* What lies in the blocks from `sent` on. */
static size_t vectors(struct quic_stream *s, ngtcp2_vec v[VECTORS], bool *all)
{
    uint64_t at = s->next_base, total = 0;
    size_t n = 0;

    for (struct list *l = s->next ? &s->next->link : &s->blocks; l != &s->blocks && n < VECTORS;
         l = l->next) {
        struct quic_block *b = container_of(l, struct quic_block, link);
        uint64_t skip = s->sent > at ? s->sent - at : 0;

        at += b->len;
        if (skip >= b->len)
            continue;
        v[n].base = b->data + skip;
        v[n].len = b->len - (size_t)skip;
        total += v[n++].len;
    }
    *all = total == s->end - s->sent;
    return n;
}

static void passed_on(struct quic_stream *s, size_t n, bool fin)
{
    struct quic_conn *c = s->c;

    s->sent += n;
    /* The last one stays, as it may be filled further. */
    while (s->next && s->next_base + s->next->len <= s->sent && s->next->link.next != &s->blocks) {
        s->next_base += s->next->len;
        s->next = container_of(s->next->link.next, struct quic_block, link);
    }
    c->queued -= n;
    c->flying += n;
    s->fin_sent |= fin && s->sent == s->end;
    list_del(&s->sending);
    if (s->sent < s->end || (s->fin_asked && !s->fin_sent))
        list_push(&c->sending, &s->sending);
    if (s->above && s->end - s->sent <= c->mark / 2 && !quic_leaves(c)) {
        s->above = false;
        c->events->room(c->ud, (uint64_t)s->id);
    }
}

/* One after the other goes into the packet until it is full. */
ngtcp2_ssize quic_write_packet(ngtcp2_conn *ng, ngtcp2_path *path, ngtcp2_pkt_info *pi,
                               uint8_t *dest, size_t len, ngtcp2_tstamp ts, void *ud)
{
    struct quic_conn *c = ud;
    ngtcp2_vec v[VECTORS];
    ngtcp2_ssize n, taken;

    while (ts >= c->held_to && !list_empty(&c->sending)) {
        struct quic_stream *s = container_of(c->sending.next, struct quic_stream, sending);
        bool all, blocked = s->sent < s->end && !ngtcp2_conn_get_max_data_left2(ng);
        size_t count = vectors(s, v, &all);
        uint32_t flags = NGTCP2_WRITE_STREAM_FLAG_MORE;

        if (blocked)
            break;
        if (all && s->fin_asked)
            flags |= NGTCP2_WRITE_STREAM_FLAG_FIN;
        taken = -1;
        n = ngtcp2_conn_writev_stream(ng, path, pi, dest, len, &taken, flags, s->id, v, count, ts);
        if (taken >= 0)
            passed_on(s, (size_t)taken, flags & NGTCP2_WRITE_STREAM_FLAG_FIN);
        if (n == NGTCP2_ERR_STREAM_DATA_BLOCKED)
            list_del(&s->sending);
        else if (n == NGTCP2_ERR_STREAM_SHUT_WR || n == NGTCP2_ERR_STREAM_NOT_FOUND)
            stop_output(s);
        else if (n != NGTCP2_ERR_WRITE_MORE)
            return n;
    }
    return ngtcp2_conn_writev_stream(ng, path, pi, dest, len, NULL, NGTCP2_WRITE_STREAM_FLAG_NONE,
                                     -1, NULL, 0, ts);
}
