/* Shared by the files of the WebSocket engine: ws.c (its states, its times, its end), ws_receive.c
 * (bytes into frames and messages) and ws_codec.c (wslay's contexts, frames out). */
#ifndef ALK_WIRE_WS_INT_H
#define ALK_WIRE_WS_INT_H

#include "base/list.h"
#include "wire/ws.h"

#include <wslay/wslay.h>

#define WS_HEAD_MAX 14u     /* 2, a length of 8, a key of 4 (RFC 6455, section 5.2) */
#define WS_CONTROL_MAX 125u /* section 5.5 */
#define WS_NO_MEMORY "out of memory"

enum { WS_OPEN, WS_CLOSING, WS_OVER };

/* A wslay context with the bytes that it may read. It belongs to an engine from the head of a frame
 * to its end, and in between to the pool. */
struct ws_codec {
    wslay_frame_context_ptr ctx;
    const char *in[2]; /* what wslay may read now: the rest of the head, then of the payload */
    size_t left[2];
    uint64_t mask; /* the frame's key, twice, turned so that it begins with the next byte */
    uint8_t control[WS_CONTROL_MAX];
    uint8_t control_len;
};

struct ws {
    struct engine e;
    const struct ws_app *app;
    void *ud;
    struct ws_pool *pool;
    const struct ws_limits *limits;
    struct ws_codec *codec; /* while a frame is under way */
    struct buf message;     /* what has come of one that came in pieces */
    struct buf kept;        /* input that waits for the end of a hold, or for room */
    size_t frame_at;        /* of the frame that is being written: its place in the output */
    size_t low;             /* where on_writable is wanted */
    uint64_t now, seen, ping_at, minute;
    uint64_t retry_at;   /* of what found no room */
    uint64_t starve_end; /* and the last time for that; 0: nothing waits */
    uint64_t frame_left; /* payload bytes of the frame that is under way */
    uint32_t quiet;      /* and those that came since it was last taken as a sign of life */
    uint32_t fragments, controls;
    uint8_t head[WS_HEAD_MAX], head_len;
    uint8_t type; /* opcode of the message that is under way; 0: none */
    uint8_t state;
    uint8_t frame_head; /* and how long its head is taken to be */
    bool stalled;       /* why it was closed */
    bool notify;
    bool masked, client, running, woken, above, held, begun;
    bool starved; /* the message under way finds no room */
    bool offered; /* it is whole */
    bool rested;  /* the remote has not been read for a while: its silence does not count */
};

/* Bytes that are not on the wire yet. */
static inline size_t ws_unsent(const struct ws *w)
{
    return w->e.out.len + w->e.inflight;
}

/* ws.c */
/* Asks for the engine's next step, outside of one. */
void ws_wake(struct ws *w);
void ws_drop_message(struct ws *w);
/* Out of memory, the stream just ends. */
void ws_send_close(struct ws *w, int code, const char *reason, size_t n);
/* Nothing more is read; what is queued goes out. */
void ws_over(struct ws *w);
/* There is no room for what comes: it is tried again later. */
void ws_starve(struct ws *w);
/* The remote broke the rules: nothing that it sends can be made sense of any more. */
void ws_fail(struct ws *w, int code, const char *reason);

/* ws_receive.c */
/* Offers a message again that found no room. */
void ws_offer(struct ws *w);
/* Takes what it can of the input and returns how much; of one that is over, all. */
size_t ws_take(struct ws *w, const char *p, size_t n);

/* ws_codec.c */
struct ws_codec *ws_codec_take(struct ws_pool *p);
/* usable: it is at a border of frames. */
void ws_codec_give(struct ws *w, bool usable);
/* A frame of about that many bytes: append its payload to the output, then commit or undo. 0, or
 * -1: out of memory, and nothing is begun. One at a time. */
int ws_frame_begin(struct ws *w, size_t about);
int ws_frame_commit(struct ws *w, uint8_t opcode);
void ws_frame_undo(struct ws *w);
/* A whole one. 0, or -1: out of memory. */
int ws_send_frame(struct ws *w, uint8_t opcode, const char *data, size_t n);

#endif
