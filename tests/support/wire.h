/* The far end of a connection, in the test's hand: what the connection sends is kept as text,
 * envelope by envelope, and what the remote says is fed as text. It can be slow (takes so many
 * envelopes and then says ALK_EAGAIN). */
#ifndef TESTS_SUPPORT_WIRE_H
#define TESTS_SUPPORT_WIRE_H

#include "support/world.h"

#define WIRE_STREAMS 1000u /* numbers of streams that the link opens begin here */

struct wire {
    struct world *world;
    alk_connection *conn; /* a reference */
    char **sent;
    uint64_t *streams;
    size_t count, read;
    long room;      /* envelopes that it takes; -1: any number */
    int send_error; /* what send answers, when not 0 */
    int flushes, closes, close_code;
    int pauses, resumes;
    int paused;           /* stream 0 */
    uint64_t last_paused; /* the stream of the last pause */
    bool with_streams;    /* opens a stream for each subscription */
    uint64_t opened;
};

/* A connection of w's dispatcher; o NULL: without identity. */
struct wire *wire_open(struct world *w, const alk_connection_options *o);
/* As wire_open, with a link that opens streams. */
struct wire *wire_open_streams(struct world *w, const alk_connection_options *o);
/* Opens without pause, flush and open_stream. */
struct wire *wire_open_plain(struct world *w, const alk_connection_options *o);
/* The connection is closed if it is not. */
void wire_free(struct wire *r);

/* Feeds one message, exactly these bytes, on stream 0. The code of alk_connection_feed. */
int wire_feed(struct wire *r, const char *envelope);
int wire_feed_on(struct wire *r, uint64_t stream, const char *envelope);
int wire_feed_bytes(struct wire *r, const void *data, size_t len);
/* The remote requests; extra is more members of the payload (",\"hops\":1") or "". */
void wire_request(struct wire *r, const char *id, const char *operation, const char *input);
void wire_request_with(struct wire *r, const char *id, const char *operation, const char *input,
                       const char *extra);
void wire_abort(struct wire *r, const char *id);

/* Turns the world, then the next envelope that was sent, or NULL. */
const char *wire_next(struct wire *r);
/* The id within an envelope that was sent. Static buffer. */
const char *wire_id(const char *envelope);

/* The next envelope is exactly this. */
#define wire_expect(r, text)                                                                       \
    do {                                                                                           \
        const char *next_ = wire_next(r);                                                          \
        ck_assert_ptr_nonnull(next_);                                                              \
        ck_assert_str_eq(next_, text);                                                             \
    } while (0)
/* Nothing was sent that has not been looked at. */
#define wire_expect_nothing(r) ck_assert_ptr_null(wire_next(r))
/* The next envelope is an error of that id and code; its message is exactly this. */
#define wire_expect_error(r, id, code, message)                                                    \
    ck_assert_str_eq(wire_error(r), id " " code ": " message)
/* The next envelope as "ID CODE: MESSAGE" when it is an error, else itself. Static buffer. */
const char *wire_error(struct wire *r);

#define RESPONDED(id, output)                                                                      \
    "{\"type\":\"call.responded\",\"id\":\"" id "\",\"payload\":{\"output\":" output "}}"
#define COMPLETED(id) "{\"type\":\"call.completed\",\"id\":\"" id "\",\"payload\":{}}"
#define ABORTED(id) "{\"type\":\"call.aborted\",\"id\":\"" id "\",\"payload\":{}}"
#define FAULT(id, code, message, retryable)                                                        \
    "{\"type\":\"call.error\",\"id\":\"" id "\",\"payload\":{\"code\":\"" code                     \
    "\",\"message\":\"" message "\",\"retryable\":" retryable "}}"

#endif
