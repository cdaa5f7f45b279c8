/* Shared by the files of the HTTP/1.1 engine: h1.c (order of events, exchanges, timers), h1_parse.c
 * (bytes in), h1_head.c (what a head must look like) and h1_write.c (responses out).
 *
 * Invariants:
 *  - `head` is NULL while the connection is idle, and so is the memory of `kept` and, once written,
 *    `out`. Both may hold a token: they are wiped before they are freed.
 *  - While an exchange is open its head does not move; bytes of later requests wait in `kept`.
 *  - The parser sees whole lines of a head only, so how the bytes were cut on the wire cannot
 *    change the outcome. Of a request it decodes the head and the chunked coding; a counted body
 *    does not pass it.
 *  - Parsing never calls on_error; it notes `error` and `what`, and h1.c raises them. */
#ifndef ALK_WIRE_H1_INT_H
#define ALK_WIRE_H1_INT_H

#include "base/list.h"
#include "wire/h1.h"
#include "wire/http_head.h"

#include <llhttp.h>

/* Which time-out runs. FRESH: the connection has not sent a byte yet. HALF_CLOSED: it has ended its
 * side and waits for an answer. */
enum { TIMER_NONE, TIMER_FRESH, TIMER_HEAD, TIMER_IDLE, TIMER_BODY, TIMER_HALF_CLOSED };
/* HELD: nobody has asked for it. ENDED: all of it is here, and on_body_end is due. DONE: that has
 * run, or nobody will be told. */
enum { BODY_HELD, BODY_ASKED, BODY_ENDED, BODY_DONE };
enum { RESPONSE_NONE, RESPONSE_BODY, RESPONSE_DONE };

struct h1 {
    struct engine e;
    struct http_exchange x;
    const struct http_app *app;
    void *ud;
    void (*conn_fini)(void *ud);
    const struct http_limits *limits;
    struct http_head *head;
    uint32_t line;    /* of it: length of the request line with its CRLF; 0: not complete */
    uint32_t parsed;  /* whole lines of it that the parser has seen */
    struct buf kept;  /* its meter pays for head as well */
    struct buf held;  /* a response whose length is not known yet */
    size_t held_head; /* of it: the head, without framing; the body is behind it */
    llhttp_t parser;
    const char *mark;       /* where, in the bytes that the parser has now, chunk framing began */
    const char *what;       /* why error is set */
    uint64_t body_left;     /* counted: bytes to come; chunked: bytes that the limit still allows */
    uint64_t response_left; /* of a response with a length: bytes to write */
    uint32_t framing;       /* bytes of chunk framing before mark since the last body byte */
    uint16_t error;         /* a status to raise; 0: none */
    uint8_t timer, body, response;
    uint8_t extension;   /* of a chunk: what its text is in the middle of */
    uint8_t empty_lines; /* that have come before a request line */
    bool open;           /* an exchange lives */
    bool keep;           /* the connection may outlive this exchange */
    bool half_closed;    /* the client has ended its side */
    bool probed;         /* and has been sent something since, to find out whether it is there */
    bool draining;
    bool running; /* inside feed, eof, timeout, drained, drain */
    bool woken;
    bool expects;       /* the client waits for 100 Continue */
    bool response_bare; /* no body bytes go out */
    bool response_chunked;
    bool response_held; /* until its length is known */
    bool above;         /* the output has been above limits->write_high */
};

/* Notes an error, and is false; the first one counts. */
static inline bool h1_fail(struct h1 *h, int status, const char *what)
{
    if (!h->error) {
        h->error = (uint16_t)status;
        h->what = what;
    }
    return false;
}

static inline bool h1_body_pending(const struct h1 *h)
{
    return h->x.req.has_body && h->body < BODY_ENDED;
}

void h1_parse_init(struct h1 *h);
/* Takes bytes of a head; returns how many. *complete: x.req is filled. Out of memory closes with
 * ENGINE_RESET. */
size_t h1_parse_head(struct h1 *h, const char *p, size_t n, bool *complete);
/* Takes bytes of a body and hands them to on_body; sets BODY_ENDED behind the last. */
size_t h1_parse_body(struct h1 *h, const char *p, size_t n);

/* h1_head.c. Both note an error when a rule is broken. */
/* line has n bytes and ends with LF. Comes before llhttp, which takes more forms of it. */
bool h1_judge_line(struct h1 *h, const char *line, size_t n);
/* Behind the last field: fills x.req, decides on the body's framing and on keep. */
void h1_judge_head(struct h1 *h);

extern const struct http_exchange_ops h1_exchange_ops;

/* Bytes of responses that are not on the wire yet. */
static inline size_t h1_unsent(const struct h1 *h)
{
    return h->e.out.len + h->e.inflight;
}

#endif
