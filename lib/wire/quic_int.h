/* Shared by the files of the QUIC engine: quic.c (the endpoint), quic_conn.c (a connection),
 * quic_callbacks.c (what ngtcp2 asks of it), quic_stream.c (streams and their buffers),
 * quic_charge.c (who pays for these). */
#ifndef ALK_WIRE_QUIC_INT_H
#define ALK_WIRE_QUIC_INT_H

#include "base/heap.h"
#include "base/map.h"
#include "wire/frame.h"
#include "wire/quic.h"
#include "wire/quic_tls.h"

#define CID_BYTES 12u
#define FAREWELL_MAX 1200u
#define REPLIES_MAX 64u
#define REPLY_BYTES 512u
/* Codes of streams that are reset (docs/protocol.md). */
#define RESET_PROTOCOL 1u
#define RESET_LIMIT 2u

/* A connection id by which packets find their connection, or the token at the end of a stateless
 * reset, which ends it. */
struct quic_cid {
    struct map_node node;
    struct list link; /* of the connection's */
    struct quic_conn *c;
    uint8_t bytes[NGTCP2_MAX_CIDLEN];
};

/* A packet that belongs to no connection: version negotiation, Retry, a reset. */
struct quic_reply {
    struct list link;
    struct quic_address local, remote;
    size_t len;
    uint8_t data[REPLY_BYTES];
};

struct quic {
    struct mem *mem;
    ngtcp2_mem ng_mem; /* the same for ngtcp2, which keeps a pointer to it */
    const struct host *host;
    const struct quic_app *app;
    const struct quic_limits *limits;
    alk_tls *tls;
    struct map cids;
    uint64_t seed[2];
    struct list conns;
    struct list ready;   /* connections that may have something to send */
    struct list replies; /* struct quic_reply */
    unsigned reply_count;
    struct heap deadlines;
    unsigned handshakes; /* of clients, under way */
    uint64_t resets_at;  /* stateless resets: a bucket that fills with time */
    unsigned resets;
    struct list tokens; /* of servers that were connected to: struct quic_token */
    unsigned token_count;
    uint8_t mark;
    bool draining, inside;
};

/* OPEN: the events' `ready` has been told. CLOSING: a close is on its way and is repeated;
 * DRAINING: the remote has closed. In both ngtcp2's connection is gone. */
enum { QUIC_HANDSHAKE, QUIC_OPEN, QUIC_CLOSING, QUIC_DRAINING };

struct quic_conn {
    struct quic *q;
    struct list link, ready;
    struct heap_node timer;
    struct list cids;
    ngtcp2_conn *ng;
    struct quic_tls *tls;
    const struct quic_events *events;
    void *ud;
    struct meter *meter;
    struct meter_sum small;     /* of what streams hold */
    struct map streams;         /* by id */
    struct quic_stream *recent; /* of these, the one that was asked for last; NULL: none */
    struct list all;            /* of them */
    struct list sending;        /* streams with something to send that are not blocked */
    struct list look;           /* streams of which something is to be told, or taken again */
    struct list late; /* streams whose next frame found no room; they are looked at again */
    uint64_t retry_at, sweep_at; /* 0: not */
    uint64_t now;                /* of the last step */
    struct quic_address local, remote;
    size_t mark, queued; /* bytes not on their way */
    uint64_t flying;     /* bytes on their way */
    uint64_t progress;   /* bytes that were acknowledged */
    uint8_t state;
    bool server, counted; /* counted: among the handshakes */
    bool fresh;           /* ready is to be told */
    bool more_streams;    /* streams is */
    bool close_asked, dropped, told, say_again;
    int failed; /* an error of ngtcp2's, which is to be said; 0: none */
    ngtcp2_ccerr error;
    uint64_t close_code;
    uint64_t paced_to; /* when all that was sent may have left */
    uint64_t held_to;  /* what is on streams waits until then; 0: it does not */
    uint8_t secret[32];
    char why[160];
    char *host; /* client: for whom a token is kept */
    uint8_t *farewell;
    uint16_t farewell_len;
    uint32_t strays, answer_at; /* packets that came for a closed one; the next that is answered */
};

/* Bytes of a stream on their way out, until they are acknowledged: ngtcp2 keeps no copy. */
struct quic_block {
    struct list link;
    uint32_t len, cap;
    uint8_t data[];
};

struct quic_stream {
    struct map_node node; /* of all, by id */
    struct list all;
    struct list sending; /* in the connection's list; unlinked: blocked, or nothing to send */
    struct list look;    /* in look or late */
    struct quic_conn *c;
    int64_t id;
    struct list blocks;
    struct quic_block *next;   /* of these, the one with what is sent next; NULL: none yet */
    uint64_t base, next_base;  /* offsets of the first byte of the first block, and of next */
    uint64_t acked, sent, end; /* offsets */
    struct frame_decoder in;
    struct buf kept; /* what has come and was not taken */
    uint64_t owed;   /* of kept: the connection's window was not given back for it */
    uint64_t code;   /* of shutdown */
    uint32_t small;  /* of in and kept: what meters do not count */
    bool paused;
    bool held; /* the last of what came was not taken: in kept, or a whole frame in `in` */
    bool fin_asked, fin_sent, fin_came, fin_told;
    bool dead;                 /* reset, by either side: nothing more is sent or handed on */
    bool shutdown;             /* ngtcp2 is to be told so, with this code */
    bool lost_told, forgotten; /* forgotten: by ngtcp2 */
    bool above;                /* `room` is to be told */
    bool heard;                /* something came since the last sweep */
    bool spoken;               /* a whole frame has come */
};

/* Its end is decided, and nothing is told of it before that. */
static inline bool quic_leaves(const struct quic_conn *c)
{
    return c->failed || c->close_asked || c->dropped;
}

/* quic.c */
void quic_note(struct quic_conn *c); /* it may have something to send */
/* Makes an id that packets will find us by; of a server's connection, with the endpoint's mark. -1:
 * there is no randomness. */
int quic_make_cid(const struct quic *q, bool server, uint8_t *to, size_t len);
bool quic_add_cid(struct quic_conn *c, const uint8_t *bytes, size_t len);
void quic_drop_cid(struct quic_cid *id);
void quic_token_keep(struct quic *q, const char *host, const uint8_t *token, size_t len);
ngtcp2_addr quic_ng_addr(const struct quic_address *a);

/* quic_callbacks.c */
extern const ngtcp2_callbacks quic_callbacks;
void quic_memory(struct quic *q);

/* quic_conn.c */
struct quic_conn *quic_conn_new(struct quic *q, const struct quic_address *local,
                                const struct quic_address *remote);
void quic_conn_free(struct quic_conn *c);
int quic_conn_serve(struct quic_conn *c, const ngtcp2_pkt_hd *hd, const ngtcp2_cid *odcid,
                    ngtcp2_token_type token_type, struct quic_keys *k, uint64_t now);
int quic_conn_dial(struct quic_conn *c, const struct quic_target *to, struct quic_keys *k,
                   const struct str *token, uint64_t now);
/* true: it is gone, and its client has to prove its address before it begins again. */
bool quic_conn_feed(struct quic_conn *c, const struct quic_datagram *d, uint64_t now);
size_t quic_conn_pull(struct quic_conn *c, uint8_t *buf, size_t size, struct quic_batch *out,
                      uint64_t now);
void quic_conn_expire(struct quic_conn *c, uint64_t now);
void quic_conn_over(struct quic_conn *c, int64_t code, const char *why, uint64_t now);

/* quic_charge.c */
/* NULL: out of memory. */
struct quic_block *quic_block_add(struct quic_stream *s, size_t want);
void quic_block_drop(struct quic_stream *s, struct quic_block *b);
/* A stream begins, or has ended. */
void quic_charge_stream(struct quic_conn *c, bool begins);
/* What has come of its frames, whenever that has changed. */
void quic_charge_input(struct quic_stream *s);
/* false: there is none for more than little. */
bool quic_has_room(struct quic_conn *c);

/* quic_stream.c */
struct quic_stream *quic_stream_new(struct quic_conn *c, int64_t id);
void quic_streams_free(struct quic_conn *c);
/* What ngtcp2 tells of one. */
void quic_stream_came(struct quic_stream *s, const uint8_t *data, size_t len, bool fin);
void quic_stream_acked(struct quic_stream *s, uint64_t to);
void quic_stream_lost(struct quic_stream *s, uint64_t code);
void quic_stream_refused(struct quic_stream *s); /* the remote takes nothing more of it */
void quic_stream_unblocked(struct quic_stream *s);
void quic_stream_forgotten(struct quic_stream *s);
/* Writes one packet: ngtcp2_write_pkt. */
ngtcp2_ssize quic_write_packet(ngtcp2_conn *ng, ngtcp2_path *path, ngtcp2_pkt_info *pi,
                               uint8_t *dest, size_t len, ngtcp2_tstamp ts, void *ud);
/* Tells and takes what waits for it, outside of ngtcp2. */
void quic_streams_settle(struct quic_conn *c, uint64_t now);

#endif
