/* Hubs that know each other's peers, over a broker of NATS: a call to a peer that is attached to
 * another hub goes there, and is authorized there again. NATS carries the messages and is trusted
 * with nothing else: hubs prove their Ed25519 node keys, and what they say to each other is sealed.
 *
 * Each hub is a peer of the others by configuration: an entry whose peer_id is the hub's name and
 * whose fingerprint is that of its key, with the scopes peers:list and peers:call. What may be
 * called through it is what alk_registry_enable_peers allows there. */
#ifndef ALKNET_CLUSTER_H
#define ALKNET_CLUSTER_H

#include <alknet/uv.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Adds cluster/operations, by which the other hubs learn what peers of this one serve. Before the
 * registry is frozen. ALK_EFROZEN, ALK_EEXIST, ALK_ENOMEM. */
ALK_API int alk_registry_enable_cluster(alk_registry *reg);

#ifdef __cplusplus
}
#endif

#endif
