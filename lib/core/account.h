/* Who pays for what a remote makes this node hold: messages being received, parsed, kept, and
 * waiting to be sent. There is one budget, alk_limits.message_budget, and marks on it, so that
 * nobody takes what others need:
 *   all of it      for everybody together
 *   a half         for strangers, who have no identity: the other half is kept for those who have
 *   an eighth      for one identity, or for one address of strangers. At a half of that they begin
 *                  nothing new, so that what has begun can be finished. It is looked at before a
 *                  block is taken: the last one may pass it, as far as limits of messages allow.
 * An identity is the same on all its connections and all loops of the node, and an address is
 * (IPv6: its /64), so more connections give nobody more.
 *
 * A share is what is counted, for the whole node. An account is one dispatcher's hold on a share,
 * and the meter that buffers and arenas are given. */
#ifndef ALK_CORE_ACCOUNT_H
#define ALK_CORE_ACCOUNT_H

#include "base/map.h"
#include "base/meter.h"
#include "base/str.h"

#include <stdint.h>

/* The longest text of an address, and its key. */
#define ADDRESS_MAX_BYTES 64u

#define SHARE_SLOTS 1024u

struct share {
    struct share *next;
    uint64_t hash;
    uint32_t refs;   /* under the table's lock */
    uint32_t open;   /* atomic; connections from an address */
    uint64_t bytes;  /* atomic; messages and what waits to be sent */
    uint64_t kept;   /* atomic; what is kept of a remote beyond its messages */
    bool identified; /* of an identity, not of an address */
    size_t len;
    char name[];
};

/* Of a node. Its shares are in a table of fixed size with chains: nothing is allocated while its
 * lock is held. */
struct budget {
    const uint32_t *limit;     /* may change at any time; read with atomics */
    uint64_t bytes, strangers; /* atomic: what is taken, and how much of that without identity */
    char lock;
    const uint64_t *seed;
    struct share *slots[SHARE_SLOTS];
};

/* A dispatcher's, one for each share that it has to do with. */
struct accounts {
    struct budget *budget;
    struct mem *mem;
    struct map addresses, identities; /* by name */
};

struct account {
    struct meter meter; /* first */
    struct accounts *of;
    struct map_node by_name;
    struct share *share;
    struct list starts; /* calls that wait for their start, in order */
    struct list link;   /* among those of its dispatcher with some */
    int refs;
};

/* limit and seed outlive it. */
void budget_init(struct budget *b, const uint32_t *limit, const uint64_t *seed);

/* The key by which an address is counted; returns its length. */
size_t address_key(const char *address, char out[ADDRESS_MAX_BYTES]);

/* b and mem outlive it. */
void accounts_init(struct accounts *all, struct budget *b, struct mem *mem);
void accounts_fini(struct accounts *all);
/* For an identity's id, or for an address; a reference. NULL: out of memory. */
struct account *account_get(struct accounts *all, bool identified, struct str name);
struct account *account_ref(struct account *a);
/* NULL is fine. */
void account_unref(struct account *a);
/* One more connection from its address, at most limit (0: any number). */
bool account_open(struct account *a, uint32_t limit);
void account_close(struct account *a);
/* What is kept for long, as the operations that a remote serves, of `from` bytes becomes one of
 * `to`. It has an eighth of its own: a remote that serves much must still be able to speak. */
bool account_keep(struct account *a, size_t from, size_t to);

/* A hold on the account's share alone, for what goes from thread to thread; NULL of NULL. */
struct hold {
    struct budget *budget;
    struct share *share; /* a reference; NULL: nobody pays */
};
void hold_take(struct hold *h, const struct account *a);
void hold_drop(struct hold *h);
/* The account of that share at another dispatcher; a reference. false: out of memory; *out is NULL
 * where nobody pays. */
bool hold_account(const struct hold *h, struct accounts *all, struct account **out);
/* A block is there, and is gone. Small ones are not counted. */
void hold_force(const struct hold *h, size_t bytes);
void hold_give(const struct hold *h, size_t bytes);
/* What was kept is gone. */
void hold_unkeep(const struct hold *h, size_t bytes);
/* Whether so many bytes could be charged to it now. */
bool account_has_room(const struct account *a, size_t bytes);
bool hold_has_room(const struct hold *h, size_t bytes);

#endif
