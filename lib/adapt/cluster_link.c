/* A pair that is up: its sealed and numbered messages, and the link of its connection.
 *
 * What is sent is counted in bytes of envelopes since the opening, and the other says how many that
 * may be: its window beyond what its connection has taken, told anew when a quarter of it has been.
 * So an envelope that is larger than what is left goes out as soon as less than a quarter is
 * unaccounted for: more credit would not come before. Both sides reckon alike, and who sends more
 * is cut.
 *
 * What the connection has no room for is kept, in order, and offered again. It was received within
 * the window, which is not granted anew meanwhile. A stream that one side does not read is held
 * back by the other; what of it is under way is no more than the window either.
 *
 * A number is used again only when the bus has not taken the message that had it. */
#include "adapt/cluster_pair_int.h"

#include <stdio.h>

#define HEAD 9u /* of a message: type and number */
#define STREAM_BYTES 4u
_Static_assert(PAIR_OVERHEAD == HEAD + STREAM_BYTES + PAIR_TAG, "what the header says");
#define RETRY_NS (50 * MILLI)    /* of what was refused */
#define BEAT_NS (500 * MILLI)    /* without a message of ours */
#define SILENT_NS (1750 * MILLI) /* without one of theirs */
#define IDLE_NS (60 * SECOND)    /* without a call or an envelope */
#define SCRATCH_MAX 65536u       /* memory that is kept for the next message */

static uint64_t now_of(const struct pair *x)
{
    return x->all->d->now;
}

static void wake_at(struct pair *x, uint64_t at)
{
    if (!timer_is_set(&x->timer) || at < x->timer.node.key)
        timer_set(&x->all->d->schedule, &x->timer, at);
}

static void retry_later(struct pair *x)
{
    if (x->retry_at)
        return;
    x->retry_at = now_of(x) + RETRY_NS;
    wake_at(x, x->retry_at);
}

static void trim(struct buf *b)
{
    buf_truncate(b, 0);
    if (b->cap > SCRATCH_MAX)
        buf_fini(b);
}

/* ---- out ------------------------------------------------------------------------------------- */

int link_say(struct pair *x, uint8_t type, struct str head, struct str body)
{
    struct pairs *p = x->all;
    size_t n = HEAD + head.n + body.n + PAIR_TAG;
    char *message = buf_reserve(&p->out, n);
    int rc = ALK_ENOMEM;

    if (!message)
        return rc;
    message[0] = (char)type;
    write_be((uint8_t *)message + 1, x->next_out, 8);
    if (pair_seal(x->seal, x->next_out, (struct str){message, HEAD}, head, body, message + HEAD))
        rc = p->bus->ops->publish(p->bus, x->to, message, n);
    trim(&p->out);
    if (rc)
        return rc;
    x->next_out++;
    x->sent_at = now_of(x);
    return ALK_OK;
}

static int say_number(struct pair *x, uint8_t type, uint64_t number, unsigned bytes)
{
    uint8_t text[8];

    write_be(text, number, bytes);
    return link_say(x, type, (struct str){(char *)text, bytes}, str_of(""));
}

/* One that cannot be said is found by the silence. */
void link_close_with(struct pair *x, int code)
{
    say_number(x, MSG_CLOSE, (uint64_t)code, 2);
}

/* What both sides reckon: len more, when so much may be sent and was. */
static bool fits(uint64_t may, uint64_t sent, uint32_t window, size_t len)
{
    return sent + len <= may || (sent <= may && may - sent > window - window / 4);
}

static bool has_credit(const struct pair *x, size_t len)
{
    return fits(x->may_send, x->sent, x->window, len);
}

/* ---- streams that are held back -------------------------------------------------------------- */

static struct lane *find_lane(const struct pair *x, uint32_t stream)
{
    struct map_node *n = map_find(&x->lanes, (const char *)&stream, sizeof stream);

    return n ? container_of(n, struct lane, by_stream) : NULL;
}

/* NULL: out of memory. */
static struct lane *get_lane(struct pair *x, uint32_t stream)
{
    struct lane *l = find_lane(x, stream);

    if (l || !(l = mem_zalloc(&x->all->d->mem, sizeof *l)))
        return l;
    l->stream = stream;
    list_init(&l->link);
    l->by_stream.key = (const char *)&l->stream;
    l->by_stream.len = sizeof l->stream;
    if (!map_add(&x->lanes, &l->by_stream))
        return l;
    mem_free(&x->all->d->mem, l);
    return NULL;
}

static void release_lane(struct pair *x, struct lane *l)
{
    if (l->held || l->want || l->told)
        return;
    list_del(&l->link);
    map_del(&x->lanes, &l->by_stream);
    mem_free(&x->all->d->mem, l);
}

static void tell_lanes(struct pair *x)
{
    while (!list_empty(&x->untold)) {
        struct lane *l = container_of(x->untold.next, struct lane, link);
        uint8_t text[STREAM_BYTES + 1];

        write_be(text, l->stream, STREAM_BYTES);
        text[STREAM_BYTES] = l->want;
        if (l->want != l->told &&
            link_say(x, MSG_PAUSE, (struct str){(char *)text, sizeof text}, str_of(""))) {
            retry_later(x);
            return;
        }
        l->told = l->want;
        list_del(&l->link);
        release_lane(x, l);
    }
}

/* Out of memory, the stream just runs on: what comes is kept, and bounded there. */
static void link_pause(void *ud, uint64_t stream, int paused)
{
    struct pair *x = ud;
    struct lane *l = get_lane(x, (uint32_t)stream);

    if (!l)
        return;
    l->want = paused != 0;
    if (list_empty(&l->link))
        list_push(&x->untold, &l->link);
    tell_lanes(x);
}

/* The other holds as many as it has calls here. false: too many. */
static bool hold(struct pair *x, uint32_t stream)
{
    struct lane *l = get_lane(x, stream);

    if (!l)
        return false;
    x->held += !l->held;
    l->held = true;
    return x->held <= LIMIT(x->all->d->node, connection_calls);
}

static void let_go(struct pair *x, uint32_t stream)
{
    struct lane *l = find_lane(x, stream);

    if (!l || !l->held)
        return;
    l->held = false;
    x->held--;
    release_lane(x, l);
    queue_writable_on(&x->conn->queue, stream);
}

/* ---- the connection's link ------------------------------------------------------------------- */

static bool is_held(const struct pair *x, uint32_t stream)
{
    struct lane *l = x->held ? find_lane(x, stream) : NULL;

    return l && l->held;
}

/* One that waits for credit goes first when it comes: smaller ones would take it away for ever. */
static int link_send(void *ud, uint64_t stream, const char *envelope, size_t len)
{
    struct pair *x = ud;
    uint8_t head[STREAM_BYTES];
    int rc;

    if (x->stuck || x->needs || is_held(x, (uint32_t)stream))
        return ALK_EAGAIN;
    if (!has_credit(x, len)) {
        x->needs = len;
        return ALK_EAGAIN;
    }
    write_be(head, stream, STREAM_BYTES);
    rc = link_say(x, MSG_ENVELOPE, (struct str){(char *)head, sizeof head},
                  (struct str){envelope, len});
    if (rc == ALK_EAGAIN) {
        x->stuck = true;
        retry_later(x);
    }
    if (rc)
        return rc;
    x->sent += len;
    x->used_at = x->sent_at;
    return ALK_OK;
}

/* Odd from one hub, even from the other, so that the two never choose the same; 0 is the one that
 * all share. */
static uint64_t link_open_stream(void *ud)
{
    struct pair *x = ud;

    if (x->next_stream > UINT32_MAX - 2)
        return 0;
    return x->next_stream += 2;
}

static void link_close(void *ud, int code)
{
    struct pair *x = ud;
    char why[CLOSE_WHY_MAX + 1];

    snprintf(why, sizeof why, "%s", connection_why(x->conn));
    pair_end(x, code, *why ? why : "closed here");
}

bool link_open(struct pair *x)
{
    alk_dispatcher *d = x->all->d;
    const alk_link link = {.size = sizeof link,
                           .send = link_send,
                           .pause = link_pause,
                           .close = link_close,
                           .open_stream = link_open_stream,
                           .ud = x};
    alk_connection_options o = {.size = sizeof o, .message_bytes = x->largest};
    char remote[sizeof "nats:" + HUB_NAME_MAX];
    struct credential *by;
    int rc;

    pair_make_room(x);
    rc = pairs_prove(x->all, x->key, x->hub->name, &by);
    snprintf(remote, sizeof remote, "nats:%s", x->hub->name);
    o.remote = remote;
    if (!rc)
        rc = connection_open(&x->conn, d, &link, &o, by);
    credential_unref(by);
    if (rc) {
        link_close_with(x, rc == ALK_ENOENT    ? ALK_CLOSE_IDENTITY
                           : rc == ALK_ECLOSED ? ALK_CLOSE_SHUTDOWN
                                               : ALK_CLOSE_LIMIT);
        pair_free(x);
        return false;
    }
    x->conn->of_hub = true;
    x->may_take = PAIR_WINDOW;
    x->next_stream = strcmp(x->all->name, x->hub->name) < 0;
    x->heard_at = x->sent_at = x->used_at = d->now;
    timer_set(&d->schedule, &x->timer, d->now + BEAT_NS);
    if (x->stage == PAIR_ANSWERED)
        link_say(x, MSG_PING, str_of(""), str_of(""));
    pair_risen(x);
    return true;
}

void link_fini(struct pair *x)
{
    struct map_node *n;

    while ((n = map_any(&x->lanes))) {
        struct lane *l = container_of(n, struct lane, by_stream);

        l->held = l->want = l->told = false;
        release_lane(x, l);
    }
    map_fini(&x->lanes);
    buf_fini(&x->kept);
    alk_connection_unref(x->conn);
}

/* ---- in -------------------------------------------------------------------------------------- */

/* More is granted when a quarter of the window has been taken. */
static void grant(struct pair *x)
{
    uint64_t may = x->taken + PAIR_WINDOW;

    if (may < x->may_take + PAIR_WINDOW / 4)
        return;
    if (say_number(x, MSG_CREDIT, may, 8))
        retry_later(x);
    else
        x->may_take = may;
}

/* Received within the window, room or not. false: out of memory. */
static bool keep(struct pair *x, uint32_t stream, const char *envelope, size_t n)
{
    uint32_t head[2] = {stream, (uint32_t)n};
    bool good;

    buf_charge(&x->kept, NULL);
    good = !buf_append(&x->kept, head, sizeof head) && !buf_append(&x->kept, envelope, n);
    buf_charge(&x->kept, &x->conn->account->meter);
    return good;
}

/* false: it is to be offered again. What a connection that is shut is offered is of no use. */
static bool offer(struct pair *x, uint32_t stream, const char *envelope, size_t n)
{
    if (alk_connection_feed(x->conn, stream, envelope, n) == ALK_EAGAIN)
        return false;
    x->taken += n;
    x->starve_end = 0;
    return true;
}

/* A budget that is short will not stay so. */
static void starve(struct pair *x)
{
    if (!x->starve_end)
        x->starve_end = now_of(x) + LIMIT(x->all->d->node, body_timeout_ms) * MILLI;
    retry_later(x);
}

static void offer_kept(struct pair *x)
{
    while (x->kept.len) {
        const char *p = buf_at(&x->kept);
        uint32_t head[2];

        memcpy(head, p, sizeof head);
        if (!offer(x, head[0], p + sizeof head, head[1])) {
            starve(x);
            return;
        }
        buf_consume(&x->kept, sizeof head + head[1]);
    }
    buf_fini(&x->kept);
}

static void broken(struct pair *x)
{
    pair_end(x, ALK_CLOSE_PROTOCOL, "the other hub does not keep to the protocol");
}

static void on_envelope(struct pair *x, const char *p, size_t n)
{
    uint32_t stream = (uint32_t)read_be((const uint8_t *)p, STREAM_BYTES);

    p += STREAM_BYTES;
    n -= STREAM_BYTES;
    if (!fits(x->may_take, x->taken_in, PAIR_WINDOW, n)) {
        broken(x);
        return;
    }
    x->taken_in += n;
    x->used_at = now_of(x);
    if (!x->kept.len && offer(x, stream, p, n)) {
        grant(x);
    } else if (keep(x, stream, p, n)) {
        starve(x);
    } else {
        pair_end(x, ALK_CLOSE_LIMIT, "out of memory for a message");
    }
}

static void on_credit(struct pair *x, uint64_t may)
{
    if (may < x->may_send || may > x->sent + x->window) {
        broken(x);
        return;
    }
    x->may_send = may;
    if (!x->needs || !has_credit(x, x->needs))
        return;
    x->needs = 0;
    alk_connection_writable(x->conn);
}

static void on_pause(struct pair *x, const uint8_t *p)
{
    uint32_t stream = (uint32_t)read_be(p, STREAM_BYTES);

    if (!stream || p[STREAM_BYTES] > 1)
        broken(x);
    else if (!p[STREAM_BYTES])
        let_go(x, stream);
    else if (!hold(x, stream))
        pair_end(x, ALK_CLOSE_LIMIT, "the other hub holds back too many streams");
}

static void take(struct pair *x, uint8_t type, const char *p, size_t n)
{
    const uint8_t *bytes = (const uint8_t *)p;

    if (type == MSG_ENVELOPE && n > STREAM_BYTES)
        on_envelope(x, p, n);
    else if (type == MSG_CREDIT && n == 8)
        on_credit(x, read_be(bytes, 8));
    else if (type == MSG_PAUSE && n == STREAM_BYTES + 1)
        on_pause(x, bytes);
    else if (type == MSG_CLOSE && n == 2)
        pair_end(x, -1, "the other hub has closed it");
    else if (type != MSG_PING || n)
        broken(x);
}

/* What is first heard makes an attempt a pair, unless the other could not open its side. */
static void taken_in_order(struct pair *x, uint8_t type, const char *p, size_t n)
{
    x->next_in++;
    if (x->stage == PAIR_CONFIRMED && type == MSG_CLOSE) {
        pair_free(x);
        return;
    }
    if (x->stage == PAIR_CONFIRMED && !link_open(x))
        return;
    x->heard_at = now_of(x);
    take(x, type, p, n);
}

static void missing(struct pair *x)
{
    x->all->stats.lost++;
    if (x->stage == PAIR_UP) {
        pair_end(x, ALK_CLOSE_PROTOCOL, "a message is missing");
        return;
    }
    link_close_with(x, ALK_CLOSE_PROTOCOL);
    pair_free(x);
}

/* A repetition is known by its number alone, and does not count as heard. Where there is no memory
 * for one, the next finds it missing. */
void link_message(struct pair *x, const uint8_t *data, size_t len)
{
    struct pairs *p = x->all;
    uint64_t number;
    char *plain;
    size_t n;

    if (len < HEAD + PAIR_TAG || len > PAIR_OVERHEAD + (size_t)x->largest) {
        p->stats.strange++;
        return;
    }
    n = len - HEAD - PAIR_TAG;
    number = read_be(data + 1, 8);
    if (number < x->next_in) {
        p->stats.duplicates++;
        return;
    }
    plain = buf_reserve(&p->in, n + 1);
    if (!plain)
        return;
    if (!pair_open(x->open, number, (struct str){(const char *)data, HEAD},
                   (struct str){(const char *)data + HEAD, n + PAIR_TAG}, plain))
        p->stats.strange++;
    else if (number > x->next_in)
        missing(x);
    else
        taken_in_order(x, data[0], plain, n);
    trim(&p->in);
}

/* ---- time ------------------------------------------------------------------------------------ */

static void retry(struct pair *x)
{
    x->retry_at = 0;
    offer_kept(x);
    grant(x);
    tell_lanes(x);
    if (x->stuck)
        alk_connection_writable(x->conn);
    x->stuck = false;
}

static bool idles(const struct pair *x, uint64_t now)
{
    return now >= x->used_at + IDLE_NS && !x->conn->running.count && !x->conn->pending.count;
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

void link_due(struct pair *x, uint64_t now)
{
    uint64_t beat;

    if (now >= x->heard_at + SILENT_NS) {
        x->all->stats.lost++;
        pair_end(x, ALK_CLOSE_SHUTDOWN, "nothing was heard of the other hub");
        return;
    }
    if (x->retry_at && now >= x->retry_at)
        retry(x);
    if (x->starve_end && now >= x->starve_end) {
        pair_end(x, ALK_CLOSE_LIMIT, "too many messages are being received");
        return;
    }
    if (idles(x, now)) {
        pair_end(x, ALK_CLOSE_SHUTDOWN, "it was not used");
        return;
    }
    beat = x->sent_at + BEAT_NS;
    if (now >= beat)
        beat = now + (link_say(x, MSG_PING, str_of(""), str_of("")) ? RETRY_NS : BEAT_NS);
    if (x->retry_at)
        beat = earlier(beat, x->retry_at);
    timer_set(&x->all->d->schedule, &x->timer, earlier(beat, x->heard_at + SILENT_NS));
}
