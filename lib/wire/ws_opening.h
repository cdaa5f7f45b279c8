/* The client's side of the opening handshake (RFC 6455, section 4.1), as an engine: it sends the
 * request, checks the answer, and gives the byte stream to its successor, with whatever frames came
 * behind the answer. */
#ifndef ALK_WIRE_WS_OPENING_H
#define ALK_WIRE_WS_OPENING_H

#include "wire/engine.h"

struct ws_request {
    const char *host; /* the Host field */
    const char *path;
    const char *token;     /* NULL: none */
    const char *protocol;  /* offered; the answer may leave it out */
    uint32_t answer_bytes; /* of the answer's head, and of the body of a refusal */
};

struct ws_opening_app {
    /* The answer is right. The engine that goes on; NULL: none, the stream is closed. */
    struct engine *(*opened)(void *ud, uint64_t now);
    /* It is not; status: of HTTP, 0: none came. body: of a refusal, NUL behind it. */
    void (*refused)(void *ud, int status, const char *what, const char *body);
    /* Always, last, unless opened gave a successor: the stream is gone. */
    void (*fini)(void *ud);
};

/* NULL: out of memory or no randomness. The app and ud outlive it; its owner's time-out is the
 * transport's. */
struct engine *ws_opening_new(struct mem *mem, const struct ws_request *rq,
                              const struct ws_opening_app *app, void *ud);

#endif
