/* Shared by the files of a cluster: cluster.c (its life, the bus), cluster_say.c (what this hub
 * announces), cluster_hear.c (what others do), cluster_directory.c (other hubs and what their peers
 * serve), cluster_call.c (calls to these). */
#ifndef ALK_ADAPT_CLUSTER_INT_H
#define ALK_ADAPT_CLUSTER_INT_H

#include "adapt/cluster.h"
#include "adapt/cluster_pair.h"
#include "base/time.h"
#include "core/overlay.h"
#include "core/peers.h"

#define HEX_MAX 33u /* of a boot, a nonce or a hash, with its NUL */
#define CLUSTER_SUBJECT (BUS_PREFIX_MAX + 10u + HUB_NAME_MAX + 1u)
#define SAID_MAX 65536u /* bytes of an announcement, signature and key included */
#define SAID_PEERS 500u /* in one */
#define BEAT_EVERY (10 * SECOND)
#define UNHEARD_MAX (30 * SECOND)   /* a hub is gone then */
#define CHANGES_EVERY (100 * MILLI) /* changes of that time are one announcement */
#define JOIN_TIME (2 * SECOND)      /* in which a hub of our name may object */
#define ASK_AGAIN (2 * SECOND)      /* for a state that has not come whole */
#define WARN_EVERY (60 * SECOND)    /* of one hub */
#define PAIR_PATIENCE (3 * SECOND)  /* that a call waits for a pair */
#define HUBS_MAX 1024u
#define PAST_BOOTS 8u        /* of one hub, that are remembered */
#define PEERS_MAX 262144u    /* of all hubs */
#define HUB_SETS_MAX 4096u   /* of one hub: different sets of operations */
#define HUB_PER_SECOND 100u  /* signatures that are looked at, of one hub */
#define TWINS_PER_SECOND 50u /* and of others with our own name */

enum cluster_state { CLUSTER_JOINING, CLUSTER_JOINED, CLUSTER_REFUSED };

struct bucket {
    uint64_t full_at;
};

struct cluster {
    alk_dispatcher *d;
    struct bus *bus;
    struct pairs *pairs;
    const struct pair_identity *identity;
    void (*on_joined)(void *ud, bool yes); /* may be NULL */
    void *ud;
    char name[HUB_NAME_MAX + 1], prefix[BUS_PREFIX_MAX + 1], boot[HEX_MAX];
    char announce[CLUSTER_SUBJECT], ask[CLUSTER_SUBJECT], state_subject[CLUSTER_SUBJECT];
    uint64_t begun; /* when the bus was up first; 0: it has not been */
    enum cluster_state state;
    bool up; /* the bus */
    bool subscribed;

    /* What this hub says. */
    struct map own;       /* struct own_peer, by id */
    struct list own_list; /* the same */
    uint64_t version;     /* of own */
    uint64_t said;        /* announcements so far */
    struct news *news;
    struct timer change, beat, joining, check;
    struct buf out, json;

    /* What it hears. */
    struct map hubs; /* struct other, by name */
    struct list list;
    size_t peers;         /* of all of them */
    struct arena arena;   /* of a message */
    uint64_t dropped;     /* messages */
    uint64_t quiet_until; /* of strangers in the log */

    /* Of other hubs with our name. */
    struct bucket twins;
    char nonce[HEX_MAX]; /* who answers to it speaks now */
    char told[HEX_MAX];  /* the boot that was told to go; "": none */
    uint64_t named;      /* when they were last asked */
    /* What the metrics have been told of, of this and of the pairs. */
    uint64_t dropped_told, refused_told, lost_told;
};

/* That something has changed among the peers which are attached here. It may be under way when the
 * cluster goes. */
struct news {
    struct parcel parcel;
    struct cluster *cl; /* NULL: it has gone */
};

/* A peer that is attached here, as it was announced. */
struct own_peer {
    struct map_node by_id;
    struct list link;
    char hash[HEX_MAX]; /* of what it serves; "": nothing */
    size_t len;
    char id[];
};

/* Another hub. */
struct other {
    struct cluster *cl;
    struct map_node by_name;
    struct list link;
    struct other_hub *label; /* a reference */
    struct credential *by;   /* a reference; NULL: not heard yet */
    struct bucket bucket;

    bool here;              /* as the log has it */
    char boot[HEX_MAX];     /* of what is known of it; "": nothing */
    uint64_t version, said; /* likewise */
    uint64_t heard;
    char nonce[HEX_MAX];            /* of the state that was asked for; "": none was */
    char word[HEX_MAX];             /* the boot for whose first word it was; "": for none */
    char past[PAST_BOOTS][HEX_MAX]; /* those that are over, the last ones */
    unsigned pasts;
    uint64_t asked;
    uint64_t part;        /* of it, that comes next */
    uint64_t coming;      /* its version */
    uint32_t round;       /* of states; members of earlier ones are gone */
    uint64_t question;    /* the last one of this boot that was answered */
    uint64_t answered;    /* when that was */
    uint64_t quiet_until; /* warnings */

    struct map entries; /* struct entry, by peer id */
    struct list entry_list;
    struct map sets;    /* struct far_set, by hash */
    struct list wanted; /* sets to be fetched */
    struct far_set *fetching;
    struct timer fetch_again;

    alk_connection *conn; /* a reference; NULL: no pair */
    struct list waiting;  /* calls */
    struct timer patience;
    char name[HUB_NAME_MAX + 1];
};

/* A peer that is attached to another hub. */
struct entry {
    struct map_node by_id; /* its key is the peer's */
    struct list link, of_set;
    struct member *m;
    struct far_set *set; /* NULL: it serves nothing */
    uint32_t round;
};

/* What peers of one hub serve, one for all with the same hash. */
struct far_set {
    struct map_node by_hash;
    struct list link; /* in wanted */
    struct other *of;
    struct list entries;
    struct shared_set shared; /* ops NULL: not fetched yet */
    /* While it is fetched. */
    struct overlay *made;
    struct operation **ops;
    size_t count, kept, bytes;
    alk_call *call; /* a reference */
    char hash[HEX_MAX];
};

/* Takes one; false: there have been too many. */
bool bucket_take(struct bucket *b, uint32_t per_second, uint64_t now);
/* One that was taken does not count. */
void bucket_give(struct bucket *b, uint32_t per_second);

/* false: there is no randomness. */
bool cluster_random(const struct host *host, char out[HEX_MAX]);
/* It has come, or gone. */
void cluster_tell(const struct other *h, const char *what);
/* Once in a while: something of that hub is not here. */
void cluster_warn(struct other *h, const char *what);

/* cluster_say.c */
/* Begins to announce. false: out of memory. */
bool say_begin(struct cluster *cl);
void say_beat(struct timer *t, uint64_t now);
void say_leave(struct cluster *cl);
/* A question to that hub, for its state. */
void say_ask(struct cluster *cl, const char *to, const char *nonce);
/* The answer. */
void say_state(struct cluster *cl, const char *to, const char *nonce);
/* To other hubs with our name. re: the nonce that it answers to; "": none. go: leave it to us. */
void say_name(struct cluster *cl, const char *re, bool go);
/* Of these sets together. "": they are empty. false: out of memory. */
bool say_hash(alk_dispatcher *d, struct overlay *const *sets, size_t count, char hash[HEX_MAX]);
void say_free(struct cluster *cl);

/* cluster_hear.c */
void hear(struct cluster *cl, const char *subject, const void *data, size_t len);
/* Asks for it, from its beginning. */
void hear_state_of(struct other *h);

/* cluster_directory.c */
/* NULL: out of memory, or too many. */
struct other *other_get(struct cluster *cl, const char *name);
struct other *other_find(struct cluster *cl, struct str name);
void other_free(struct other *h);
/* Nothing is known of its peers any more. why: for the log; NULL: it is not told. */
void other_forget(struct other *h, const char *why);
/* false: out of memory. What is too much is left out, with a warning. */
bool other_serves(struct other *h, struct str id, struct str hash);
void other_lost(struct other *h, struct str id);
/* The next call to that peer goes to another hub, if there is one, and so does one of that
 * operation to any peer. */
void other_put_last(struct other *h, struct member *m, const struct operation *op);
/* Those that the present round has not named are gone. */
void other_sweep(struct other *h);
/* The pair is there, or gone. */
void other_paired(struct other *h, alk_connection *c);
bool other_wants_pair(const struct other *h);

/* cluster_call.c */
int far_forward(alk_call *call, void *ud);
void far_flush(struct other *h);
void far_patience(struct timer *t, uint64_t now);
/* BUSY for all that wait. */
void far_give_up(struct other *h);

#endif
