/* A WebSocket (RFC 6455) after its opening handshake, either side, as an engine on wslay's frame
 * layer.
 *
 * Frames become messages, messages become frames. Pings are answered, sent, and waited for; the
 * closing handshake has a time limit; sizes, fragments and control frames of the remote are
 * limited. Only while a payload is under way does an engine hold a wslay context (4 KiB, from the C
 * library's allocator); between frames it holds struct ws alone.
 *
 * Outgoing messages go straight into `out`, one frame each. No extension is negotiated. */
#ifndef ALK_WIRE_WS_H
#define ALK_WIRE_WS_H

#include "base/str.h"
#include "wire/engine.h"

#include <stddef.h>

enum {
    WS_NORMAL = 1000,
    WS_GOING_AWAY = 1001,
    WS_PROTOCOL = 1002,
    WS_NO_STATUS = 1005, /* never sent: the remote gave none */
    WS_LOST = 1006,      /* never sent: there was no closing handshake */
    WS_BAD_TEXT = 1007,
    WS_POLICY = 1008,
    WS_TOO_BIG = 1009,
    WS_INTERNAL = 1011,
    WS_TRY_AGAIN = 1013,
};

#define WS_REASON_MAX 123u /* bytes of what is said with a close code (RFC 6455, section 5.5) */

/* Read through the pointer at each use. Times in ns; 0: none. starve: how long a message may wait
 * for room. */
struct ws_limits {
    uint32_t message_bytes; /* of an incoming message */
    uint32_t fragments;     /* frames of less than 512 bytes of one message */
    uint32_t controls;      /* control frames in a minute */
    /* Unsent bytes. Once there are more, and until there are at most half as many, the remote has
     * to take some within evict. */
    uint32_t write_high;
    uint64_t ping, idle, close, evict, starve;
};

struct ws;

/* The functions run from the engine's own feed / timeout / drained / eof / stalled / drain /
 * fini. */
struct ws_app {
    bool binary_only; /* a text message is a protocol error, seen at its first frame */
    /* A whole message, valid during the call. Text has been checked to be UTF-8. 0; else
     * (ALK_EAGAIN) there is no room for it, nothing was taken, and it is offered again later. */
    int (*on_message)(struct ws *w, bool text, const char *data, size_t len, void *ud);
    void (*on_writable)(struct ws *w, void *ud); /* see ws_notify */
    /* Graceful stop: the application closes it now or later. */
    void (*on_drain)(struct ws *w, void *ud);
    /* The session is over, and not by ws_close: the code that the remote sent, that it was closed
     * with, or WS_LOST. reason: what was said with the code, for a person. Nothing but fini
     * follows. */
    void (*on_close)(struct ws *w, int code, struct str reason, void *ud);
    /* Always, last: w is gone. */
    void (*fini)(void *ud);
};

/* What the engines of one thread share; it outlives them. Contexts are large and needed for moments
 * only. */
struct ws_pool {
    struct mem *mem;
    struct ws_codec *spare;
    uint8_t random[256];
    size_t random_left;
};

void ws_pool_init(struct ws_pool *p, struct mem *mem);
void ws_pool_fini(struct ws_pool *p);

/* NULL: out of memory. The rest outlives it. client: frames out are masked, those in must not
 * be. */
struct ws *ws_new(struct mem *mem, struct ws_pool *pool, bool client, const struct ws_app *app,
                  void *ud, const struct ws_limits *limits, uint64_t now);
/* Undoes ws_new for an engine that no transport has; app->fini does not run. */
void ws_discard(struct ws *w);
struct engine *ws_engine(struct ws *w);
/* Who pays from here on for what it holds: messages that come, input that waits, output. m outlives
 * it, or the next call; NULL: nobody counts. A remote whose message finds no room is not read until
 * it does, and closed with 1013 after limits->starve. */
void ws_charge(struct ws *w, struct meter *m);
/* A binary message written in place: append it to what begin returns, then commit (0, or -1: out of
 * memory, and nothing was queued) or undo. about: its length as far as one knows. NULL: out of
 * memory, or after the end. */
struct buf *ws_begin(struct ws *w, size_t about);
int ws_commit(struct ws *w);
void ws_undo(struct ws *w);
/* A whole message. 0; -1: out of memory, nothing was queued. After the end it does nothing. */
int ws_send(struct ws *w, bool text, const char *data, size_t len);
/* Starts the closing handshake: what the application sends or gets afterwards is dropped. reason:
 * UTF-8, at most WS_REASON_MAX bytes. */
void ws_close(struct ws *w, int code, const char *reason);
/* No on_message until it is let go on again; the remote is held back. */
void ws_hold(struct ws *w, bool yes);
/* Counts as a sign of life of the remote. */
void ws_touch(struct ws *w, uint64_t now);
size_t ws_queued(const struct ws *w);
/* on_writable, once, when at most low bytes are unsent; until then the remote has to take some
 * within evict. */
void ws_notify(struct ws *w, size_t low);
/* It was closed because the remote took nothing of what is unsent. */
bool ws_stalled(const struct ws *w);

#endif
