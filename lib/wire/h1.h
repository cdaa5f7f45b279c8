/* A server's side of HTTP/1.1 (RFC 9112) on llhttp in its strict mode, as an engine.
 *
 * Requests of one connection run strictly one after the other; what a client pipelines waits,
 * bounded. Whatever on_error answers is the last response. After an eof, what has come whole is
 * answered, and the connection ends; a client that waits is sent 100 Continue then, which shows
 * whether it is there. A request that has begun to arrive when drain is called is still served. When
 * the engine is closing it takes no more input, and `reading` is true so that the transport can read
 * and drop what is left. After an upgrade conn_fini is not called: what belongs to the connection is
 * the successor's. An idle connection holds its struct h1 and no other memory; one that waits, at
 * most 16 KiB beyond what it has sent of a head or ahead. */
#ifndef ALK_WIRE_H1_H
#define ALK_WIRE_H1_H

#include "wire/engine.h"
#include "wire/http.h"

struct h1;

/* The engine of one accepted connection; NULL when out of memory. now starts the header time-out.
 * app and limits outlive it; ud is handed to each of app's functions. conn_fini(ud) is called last
 * in fini. */
struct h1 *h1_new(struct mem *mem, const struct http_app *app, void *ud,
                  void (*conn_fini)(void *ud), const struct http_limits *limits, uint64_t now);
struct engine *h1_engine(struct h1 *h);
/* Who pays from here on for what comes: heads, and input that waits. m outlives the engine, or the
 * next call; NULL: nobody counts. A head that finds no room is refused with 503. */
void h1_charge(struct h1 *h, struct meter *m);

#endif
