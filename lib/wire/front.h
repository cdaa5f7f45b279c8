/* The first bytes of an accepted stream: an engine that finds out who is at the other end and what
 * he speaks, and then gives way to the engine that speaks it.
 *
 * First, where the stream comes from a proxy that has to say so, the header of the PROXY protocol;
 * then whether the client begins with the preface of HTTP/2 (RFC 9113, 3.4). It answers nothing
 * itself and reads no further than it must: the successor gets every byte that is not the proxy's,
 * from the first on. */
#ifndef ALK_WIRE_FRONT_H
#define ALK_WIRE_FRONT_H

#include "wire/engine.h"

struct front_app {
    /* The header is there. address: numeric, without port; valid during the call. NULL: it names
     * none, and the connection's own counts. false: he is not wanted, and the stream is reset. */
    bool (*client)(void *ud, const char *address, uint64_t now);
    /* The engine that goes on, on the same struct mem. NULL: the stream is reset. */
    struct engine *(*chosen)(void *ud, bool h2, uint64_t now);
    /* There is no header, or a wrong one; the stream is reset. why: static. */
    void (*refused)(void *ud, const char *why);
    /* The stream is gone, and nothing was chosen. */
    void (*fini)(void *ud);
};

/* At least one of the two is asked for: proxy_header, a header must come first; sniff_h2, the
 * preface is looked for behind it, not so where TLS follows. deadline: for all of it. NULL: out of
 * memory. */
struct engine *front_new(struct mem *mem, bool proxy_header, bool sniff_h2,
                         const struct front_app *app, void *ud, uint64_t deadline);

#endif
