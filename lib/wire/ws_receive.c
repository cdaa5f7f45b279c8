/* Bytes into frames, frames into messages.
 *
 * The length that a frame announces is looked at before wslay gets the frame, so that a frame too
 * large is refused at its head. The payload is unmasked on its way into wslay, by words. Everything
 * else about frames is wslay's affair, or is judged on what it reports. A frame goes into wslay
 * whole or in the pieces in which it comes, never with bytes of the next one, so at each border of
 * frames the context is empty and belongs to whoever comes next. */
#include "wire/ws_int.h"

#include "base/time.h"
#include "base/utf8.h"

#include <stdio.h>
#include <string.h>

#define ALIVE_BYTES 1024u /* of a long frame: as good as a frame */
#define WHOLE_MAX 4096u   /* what wslay may hand on in one piece */
#define SMALL_BYTES 512u  /* below it a fragment is counted */

/* RFC 6455, section 7.4: codes that may be on the wire, with those registered at IANA since. 1005
 * and 1006 only exist inside a program. */
static bool code_valid(int code)
{
    return (code >= 1000 && code <= 1014 && code != 1004 && code != 1005 && code != 1006) ||
           (code >= 3000 && code <= 4999);
}

/* Beyond a limit, which it names. */
static void __attribute__((format(printf, 3, 0)))
fail_at(struct ws *w, int code, const char *fmt, uint32_t limit)
{
    char reason[WS_REASON_MAX + 1];

    snprintf(reason, sizeof reason, fmt, limit);
    ws_fail(w, code, reason);
}

/* The code is echoed (section 5.5.1), without the reason. One byte is no code, and a reason must be
 * UTF-8. */
static void on_close_frame(struct ws *w, const uint8_t *p, size_t n)
{
    int code = n >= 2 ? p[0] << 8 | p[1] : WS_NO_STATUS;
    bool open = w->state == WS_OPEN;

    if (n == 1 || (n >= 2 && !code_valid(code))) {
        ws_fail(w, WS_PROTOCOL, "a close frame without a valid code");
        return;
    }
    if (n > 2 && !utf8_valid((const char *)p + 2, n - 2)) {
        ws_fail(w, WS_BAD_TEXT, "a close frame whose reason is not UTF-8");
        return;
    }
    if (open)
        ws_send_close(w, code, "", 0);
    ws_over(w);
    if (open)
        w->app->on_close(w, code, (struct str){(const char *)p + 2, n > 2 ? n - 2 : 0}, w->ud);
}

/* Control frames may come within a message and cost an answer each: counted for each minute, close
 * frames aside, since there is only one. A pong is only a sign of life, which every frame is. */
static void on_control(struct ws *w, uint8_t opcode, const uint8_t *p, size_t n)
{
    if (w->now - w->minute >= 60 * SECOND) {
        w->minute = w->now;
        w->controls = 0;
    }
    if (opcode == WSLAY_CONNECTION_CLOSE)
        on_close_frame(w, p, n);
    else if (++w->controls > w->limits->controls)
        fail_at(w, WS_POLICY, "more than %u control frames in a minute", w->limits->controls);
    else if (opcode == WSLAY_PING && w->state == WS_OPEN &&
             ws_send_frame(w, WSLAY_PONG, (const char *)p, n))
        ws_fail(w, WS_INTERNAL, WS_NO_MEMORY);
}

/* The message becomes the engine's own again, to be offered later. data lies in it, or in memory of
 * wslay, and then it is short. */
static void take_back(struct ws *w, struct buf *message, const char *data, size_t n)
{
    if (message->len) {
        buf_charge(message, w->message.meter);
        w->message = *message;
    } else {
        buf_fini(message);
        if (buf_append(&w->message, data, n)) {
            ws_fail(w, WS_TRY_AGAIN, WS_NO_MEMORY);
            return;
        }
    }
    w->offered = true;
    ws_starve(w);
}

/* data may lie in w->message, and must outlive a ws_close in on_message. It is not counted
 * meanwhile: it changes hands, and must not be in the way of what is made of it. */
static void deliver(struct ws *w, const char *data, size_t n)
{
    struct buf message = w->message;
    uint8_t type = w->type;

    if (type == WSLAY_TEXT_FRAME && !w->offered && !utf8_valid(data, n)) {
        ws_fail(w, WS_BAD_TEXT, "a text message that is not UTF-8");
        return;
    }
    buf_init(&w->message, message.mem);
    w->message.meter = message.meter;
    w->message.secret = w->message.begins = true;
    w->offered = false;
    w->type = 0;
    w->fragments = 0;
    buf_charge(&message, NULL);
    if (!w->app->on_message(w, type == WSLAY_TEXT_FRAME, data, n, w->ud) || w->state != WS_OPEN) {
        buf_fini(&message);
        return;
    }
    w->type = type;
    take_back(w, &message, data, n);
}

/* An empty one has no memory to point to. */
void ws_offer(struct ws *w)
{
    deliver(w, w->message.len ? buf_at(&w->message) : "", w->message.len);
}

/* Room for the payload that has come, before wslay sees it: it cannot be asked twice. What is only
 * announced takes nothing. Below WHOLE_MAX no meter counts, and mostly nothing has to be kept. */
static bool make_room(struct ws *w, size_t n)
{
    if (w->message.len + n <= WHOLE_MAX || buf_reserve(&w->message, n))
        return true;
    if (w->message.refused)
        ws_starve(w);
    else
        ws_fail(w, WS_TRY_AGAIN, WS_NO_MEMORY);
    return false;
}

static bool keep(struct ws *w, const uint8_t *p, size_t n)
{
    if (!buf_append(&w->message, p, n))
        return true;
    ws_fail(w, WS_TRY_AGAIN, WS_NO_MEMORY);
    return false;
}

/* The rules for a frame's head that wslay leaves to us: RFC 6455, sections 5.1 (masks), 5.2
 * (reserved bits, opcodes) and 5.4 (fragments). */
static const char *head_fault(const struct ws *w, const struct wslay_frame_iocb *f)
{
    if (f->rsv)
        return "a frame with reserved bits";
    if (w->masked == w->client)
        return w->client ? "a masked frame from a server" : "an unmasked frame from a client";
    switch (f->opcode) {
    case WSLAY_CONTINUATION_FRAME:
        return w->type ? NULL : "a continuation frame of no message";
    case WSLAY_TEXT_FRAME:
        if (w->app->binary_only)
            return "a text message, where envelopes are binary messages";
        /* fallthrough */
    case WSLAY_BINARY_FRAME:
        return w->type ? "a message that begins within another" : NULL;
    case WSLAY_CONNECTION_CLOSE:
    case WSLAY_PING:
    case WSLAY_PONG:
        return NULL;
    default:
        return "a frame with an unknown opcode";
    }
}

/* Once for each frame, with its first payload byte or, when there is none, its end. */
static bool frame_begins(struct ws *w, const struct wslay_frame_iocb *f)
{
    const char *fault = head_fault(w, f);

    w->begun = true;
    if (fault) {
        ws_fail(w, WS_PROTOCOL, fault);
        return false;
    }
    if (wslay_is_ctrl_frame(f->opcode))
        return true;
    if (f->opcode)
        w->type = f->opcode;
    /* Of those with something in them, the message's size bounds the number. */
    if (f->payload_length < SMALL_BYTES && ++w->fragments > w->limits->fragments) {
        fail_at(w, WS_POLICY, "a message in more than %u fragments of less than 512 bytes",
                w->limits->fragments);
        return false;
    }
    return true;
}

/* A piece of a frame's payload; last: the frame ends with it. */
static void take_piece(struct ws *w, const struct wslay_frame_iocb *f, bool last)
{
    struct ws_codec *c = w->codec;

    if (wslay_is_ctrl_frame(f->opcode)) {
        memcpy(c->control + c->control_len, f->data, f->data_length);
        c->control_len += (uint8_t)f->data_length;
        if (last)
            on_control(w, f->opcode, c->control, c->control_len);
        return;
    }
    /* After our close frame, data is read only to find the remote's. */
    if (w->state == WS_CLOSING) {
        if (last && f->fin)
            ws_drop_message(w);
        return;
    }
    /* A message of one frame that came whole is handed on where it lies, without a copy. */
    if (last && f->fin && !w->message.len)
        deliver(w, (const char *)f->data, f->data_length);
    else if (keep(w, f->data, f->data_length) && last && f->fin)
        deliver(w, buf_at(&w->message), w->message.len);
}

/* From the second byte alone: section 5.2 has the length and the mask bit there. */
static size_t head_size(const uint8_t *h)
{
    size_t length = h[1] & 0x7f;

    return 2 + (length == 126 ? 2u : length == 127 ? 8u : 0u) + (h[1] & 0x80 ? 4u : 0u);
}

/* In the order of the network. wslay refuses a length that has a shorter form. */
static uint64_t announced(const uint8_t *h)
{
    unsigned n = h[1] & 0x7f, bytes = n == 126 ? 2 : n == 127 ? 8 : 0;
    uint64_t length = 0;

    for (unsigned i = 0; i < bytes; i++)
        length = length << 8 | h[2 + i];
    return bytes ? length : n;
}

/* Of a masked frame wslay gets the head without the key. */
static void start_frame(struct ws *w, uint64_t length)
{
    uint32_t key = 0;

    w->codec = ws_codec_take(w->pool);
    if (!w->codec) {
        ws_fail(w, WS_TRY_AGAIN, WS_NO_MEMORY);
        return;
    }
    w->masked = w->head[1] & 0x80;
    if (w->masked) {
        memcpy(&key, w->head + w->head_len - 4, 4);
        w->head[1] &= 0x7f;
        w->head_len -= 4;
    }
    w->codec->mask = (uint64_t)key << 32 | key;
    w->codec->in[0] = (const char *)w->head;
    w->codec->left[0] = w->head_len;
    w->frame_left = length;
    w->begun = false;
}

/* Takes bytes of a frame's head; when it is whole, the frame is begun. */
static size_t take_head(struct ws *w, const char *p, size_t n)
{
    size_t used = 0, need = w->head_len < 2 ? 2 : head_size(w->head);
    uint64_t length;
    bool control;

    /* Mostly all of it is here. */
    if (!w->head_len && n >= WS_HEAD_MAX) {
        need = head_size((const uint8_t *)p);
        memcpy(w->head, p, WS_HEAD_MAX);
        w->head_len = (uint8_t)need;
        used = need;
    }
    while (used < n && w->head_len < need) {
        w->head[w->head_len++] = (uint8_t)p[used++];
        if (w->head_len >= 2)
            need = head_size(w->head);
    }
    if (w->head_len < need)
        return used;
    length = announced(w->head);
    /* A control frame and a length of 64 bits with its top bit set are wslay's to refuse. */
    control = w->head[0] & 0x8;
    if (!control && length <= INT64_MAX && length + w->message.len > w->limits->message_bytes) {
        fail_at(w, WS_TOO_BIG, "a message of more than %u bytes", w->limits->message_bytes);
        return used;
    }
    start_frame(w, length);
    return used;
}

/* A whole frame, of any kind, is a sign of life. */
static void frame_ends(struct ws *w)
{
    w->head_len = 0;
    w->quiet = 0;
    w->seen = w->now;
    ws_codec_give(w, true);
}

/* Takes bytes of the frame that is under way; none when there is no room for them. One frame may
 * need several rounds: wslay gives what it has, and only r bytes at a time. */
static size_t take_frame(struct ws *w, const char *p, size_t n)
{
    struct ws_codec *c = w->codec;
    size_t most = w->frame_left < n ? (size_t)w->frame_left : n;
    bool last = false, control = w->head[0] & 0x8;

    if (!control && w->state == WS_OPEN && !make_room(w, most))
        return w->state == WS_OVER ? n : 0;
    c->in[1] = p;
    c->left[1] = most;
    while (!last && w->state != WS_OVER) {
        struct wslay_frame_iocb f;
        ssize_t r = wslay_frame_recv(c->ctx, &f);

        if (r == WSLAY_ERR_WANT_READ)
            break;
        if (r < 0) {
            ws_fail(w, WS_PROTOCOL, "a malformed frame");
            break;
        }
        if (!w->begun && !frame_begins(w, &f))
            break;
        w->frame_left -= (uint64_t)r;
        last = w->frame_left == 0;
        w->quiet += (uint32_t)r;
        if (w->quiet >= ALIVE_BYTES) {
            w->quiet %= ALIVE_BYTES;
            w->seen = w->now;
        }
        take_piece(w, &f, last);
    }
    if (w->state == WS_OVER)
        return n;
    most -= c->left[1];
    if (last)
        frame_ends(w); /* and c with it */
    return most;
}

/* A frame without payload has to go through even when there is no input left: its head is in the
 * codec. The application may hold or close it within on_message, so that is looked at before each
 * step, and so is whether there is room. */
size_t ws_take(struct ws *w, const char *p, size_t n)
{
    size_t used = 0;

    while (w->state != WS_OVER && !w->held && !w->starved && !w->e.closing) {
        if (w->codec) {
            if (used == n && !w->codec->left[0])
                break;
            used += take_frame(w, p + used, n - used);
        } else {
            if (used == n)
                break;
            used += take_head(w, p + used, n - used);
        }
        if (w->codec && used == n && !w->codec->left[0])
            break;
    }
    return w->state == WS_OVER ? n : used;
}
