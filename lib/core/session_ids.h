/* Sessions of clients over HTTP that name them in each request, by whichever connection and thread
 * that comes. A session is an id, whose it is, and when it was used last: nothing else is kept, so a
 * client that opens many and forgets them costs a table of fixed size.
 *
 * The table has sets of ways by owner. In a set that is full, one more ends the one that was not used
 * for longest of the owner who has most there: who opens many ends his own, and whoever has fewer can
 * always have one more. An id is looked for in its owner's set only, so that of another's session
 * nobody learns that it is there. */
#ifndef ALK_CORE_SESSION_IDS_H
#define ALK_CORE_SESSION_IDS_H

#include "base/str.h"

#include <stdbool.h>
#include <stdint.h>

struct alk_node;

#define SESSION_SETS 64u
#define SESSION_WAYS 256u
#define SESSION_IDLE_MS 86400000u /* after so long without a request a session has ended */
#define SESSION_ID_BYTES 16u

struct session_id {
    uint64_t owner; /* hash; 0: free */
    uint64_t used;  /* ns */
    uint8_t id[SESSION_ID_BYTES];
};

struct session_ids {
    char lock;
    struct session_id sets[SESSION_SETS][SESSION_WAYS];
};

/* Any thread. 0, ALK_ENOMEM, ALK_ESYSTEM (no randomness). */
int http_session_open(struct alk_node *n, struct str owner, uint64_t now,
                      uint8_t id[SESSION_ID_BYTES]);
/* Whether that session is the owner's and has not ended; it is used now. */
bool http_session_find(struct alk_node *n, struct str owner, uint64_t now,
                       const uint8_t id[SESSION_ID_BYTES]);
/* Ends it. false: there is none. */
bool http_session_end(struct alk_node *n, struct str owner, uint64_t now,
                      const uint8_t id[SESSION_ID_BYTES]);
#endif
