/* Shared by the files of pairs of hubs: cluster_pair.c (hubs, when to open, what is for whom),
 * cluster_opening.c (the three messages of an opening), cluster_link.c (the sealed messages, and
 * the link of the connection). */
#ifndef ALK_ADAPT_CLUSTER_PAIR_INT_H
#define ALK_ADAPT_CLUSTER_PAIR_INT_H

#include "adapt/cluster_pair.h"
#include "base/time.h"

#define TOKEN_BYTES 16u
#define NONCE_BYTES 32u
/* Type, version, two names with their lengths, key, nonce, ephemeral key, token, window, largest
 * envelope. */
#define HELLO_MAX (2 + 2 * (1 + HUB_NAME_MAX) + 2 * PAIR_KEY + NONCE_BYTES + TOKEN_BYTES + 4 + 4)
#define TOKEN_DIGITS (2 * TOKEN_BYTES)
/* PREFIX.pair.NAME.TOKEN and the NUL. */
#define SUBJECT_MAX (BUS_PREFIX_MAX + 6 + HUB_NAME_MAX + 1 + TOKEN_DIGITS + 1)

/* The first byte of each message. */
enum {
    MSG_OPEN = 1,
    MSG_ACCEPT,
    MSG_CONFIRM,
    MSG_ENVELOPE, /* stream (4), an envelope */
    MSG_CREDIT,   /* how many bytes may have been sent since the opening (8) */
    MSG_PING,
    MSG_CLOSE, /* an ALK_CLOSE code (2) */
    MSG_PAUSE, /* stream (4), 1: nothing more on it, 0: go on */
};

/* OPENED and CONFIRMED: an attempt of ours, before and after ACCEPT. ANSWERED: one of theirs. */
enum stage { PAIR_OPENED, PAIR_CONFIRMED, PAIR_ANSWERED, PAIR_UP };

struct pairs {
    alk_dispatcher *d;
    struct bus *bus;
    const struct pair_identity *identity;
    const struct pairs_events *events;
    void *ud;
    struct map hubs, tokens; /* struct hub by name, struct pair by token */
    struct list list;        /* of hubs */
    struct pairs_stats stats;
    uint64_t signatures;         /* when the bucket of all is full again */
    uint64_t quiet_until[16];    /* of refusals in the log, by the name's hash */
    struct buf in, out;          /* of the message under way */
    bool up;                     /* the bus */
    char name[HUB_NAME_MAX + 1]; /* ours */
    char prefix[BUS_PREFIX_MAX + 1];
    char control[SUBJECT_MAX]; /* PREFIX.hub.NAME */
    char data[SUBJECT_MAX];    /* PREFIX.pair.NAME. */
};

struct hub {
    struct map_node by_name;
    struct list link;
    struct pairs *all;
    struct list pairs;   /* in the order in which they began; at most one is up, one an attempt */
    struct timer timer;  /* of the next attempt; where none is wanted, when this is forgotten */
    uint64_t not_before; /* the next attempt */
    uint64_t signatures; /* when its bucket is full again */
    unsigned failures;   /* attempts since the last pair */
    bool wanted;
    char name[HUB_NAME_MAX + 1];
};

/* Until the keys are made. */
struct opening {
    uint8_t secret[PAIR_KEY]; /* of X25519 */
    uint8_t open[HELLO_MAX], accept[HELLO_MAX + PAIR_SIGNATURE];
    size_t open_len, accept_len;
    unsigned verified; /* signatures, good or not */
};

struct pair {
    struct map_node by_token;
    struct list of_hub;
    struct hub *hub;
    struct pairs *all;
    enum stage stage;
    struct timer timer;
    char token[TOKEN_DIGITS + 1]; /* ours */
    char to[SUBJECT_MAX];         /* the other hub's subject */
    struct opening *opening;      /* NULL: up */
    uint8_t key[PAIR_KEY];        /* the public one of the other hub */
    struct pair_cipher *seal, *open;
    uint64_t next_out, next_in; /* numbers */
    uint32_t largest;           /* envelope, in both directions */
    /* From here on: of one that is up. */
    alk_connection *conn;
    uint64_t heard_at, sent_at, used_at;
    uint64_t retry_at;       /* of what the bus, or the connection, has refused; 0: nothing */
    uint64_t starve_end;     /* of what the connection refuses; 0: it does not */
    uint64_t sent, may_send; /* bytes of envelopes since the opening */
    uint64_t taken, taken_in, may_take; /* by the connection; received; granted */
    uint32_t window;                    /* theirs */
    size_t needs;                       /* an envelope that waits for credit; 0: none */
    uint32_t next_stream;
    bool stuck;    /* the bus has refused an envelope */
    unsigned held; /* lanes that the other holds */
    struct map lanes;
    struct list untold; /* lanes of which the other does not know yet */
    struct buf kept;    /* what the connection has no room for: stream, length, envelope */
};

/* A stream that either side holds back. */
struct lane {
    struct map_node by_stream;
    struct list link; /* in untold */
    uint32_t stream;
    bool held;       /* the other reads no more of it */
    bool want, told; /* nor do we; and the other knows */
};

/* cluster_pair.c */
/* NULL: out of memory. */
struct hub *hub_get(struct pairs *p, struct str name);
struct pair *hub_attempt(const struct hub *h);
struct pair *hub_up(const struct hub *h);
/* With a token that is subscribed to. NULL: out of memory, or no randomness. */
struct pair *pair_new(struct hub *h, enum stage stage);
/* Without a word to anybody but the bus; one that is up has told its end. */
void pair_free(struct pair *x);
/* The end of one that is up: CLOSE with that code if it is not negative, and gone is told. */
void pair_end(struct pair *x, int code, const char *why);
/* What else there is of the two hubs goes: another attempt, an older pair, what was answered before
 * or during ours. Only what the other has begun behind x stays. */
void pair_make_room(struct pair *x);
/* It has become one that is up. */
void pair_risen(struct pair *x);
void pair_subject(const struct pairs *p, char out[SUBJECT_MAX], const char *name,
                  const uint8_t token[TOKEN_BYTES]);

/* cluster_opening.c */
void opening_begin(struct hub *h);
void opening_open(struct pairs *p, const uint8_t *data, size_t len);
void opening_accept(struct pair *x, const uint8_t *data, size_t len);
void opening_confirm(struct pair *x, const uint8_t *data, size_t len);
void opening_free(struct pair *x);

/* cluster_link.c */
/* false: there is no connection, and x is gone. */
bool link_open(struct pair *x);
void link_message(struct pair *x, const uint8_t *data, size_t len);
/* 0, or what the bus says; ALK_ENOMEM. */
int link_say(struct pair *x, uint8_t type, struct str head, struct str body);
void link_close_with(struct pair *x, int code);
void link_due(struct pair *x, uint64_t now);
void link_fini(struct pair *x);

static inline uint64_t read_be(const uint8_t *p, unsigned n)
{
    uint64_t v = 0;

    for (unsigned i = 0; i < n; i++)
        v = v << 8 | p[i];
    return v;
}

static inline void write_be(uint8_t *p, uint64_t v, unsigned n)
{
    while (n) {
        p[--n] = (uint8_t)v;
        v >>= 8;
    }
}

#endif
