/* A server's side of HTTP/2 (RFC 9113) on nghttp2, as an engine.
 *
 * Each stream is an exchange (wire/http.h) with an output of its own, or, after an extended CONNECT
 * (RFC 8441) that was granted, carries another engine as if it were a connection. Priorities of
 * clients are ignored (RFC 9218 allows that): streams take turns.
 *
 * What is wrong with a request's content is answered by on_error and ends its stream alone; what
 * nghttp2 finds malformed is reset by it and never seen by the application. A client whose streams
 * end in error too often (http_limits.resets), or who sends frames that carry nothing, gets GOAWAY
 * with ENHANCE_YOUR_CALM. The output of streams waits in their own buffers; `out` is filled by
 * flush, up to H2_OUT_HIGH. eof from the client ends the connection and all that runs on it.
 *
 * An idle connection holds struct h2 and the session of nghttp2, about 26 KiB, of which 16 KiB are
 * a frame's buffer that is not touched but for long header blocks. */
#ifndef ALK_WIRE_H2_H
#define ALK_WIRE_H2_H

#include "wire/engine.h"
#include "wire/http.h"

/* Unsent bytes from which on flush adds no more. */
#define H2_OUT_HIGH 65536u

struct h2;

/* As h1_new, see wire/h1.h; limits->streams is read here and not again, since clients are told. */
struct h2 *h2_new(struct mem *mem, const struct http_app *app, void *ud,
                  void (*conn_fini)(void *ud), const struct http_limits *limits, uint64_t now);
struct engine *h2_engine(struct h2 *h);
/* Who pays from here on for heads, for input that waits, for the memory of nghttp2, and for what is
 * in `out`. m outlives the engine, or the next call; NULL: nobody counts. */
void h2_charge(struct h2 *h, struct meter *m);

#endif
