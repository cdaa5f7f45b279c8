/* Hubs that know each other's peers, over a broker of NATS: a call to a peer that is attached to
 * another hub goes there, and is authorized there again. NATS carries the messages and is trusted
 * with nothing else: hubs prove their Ed25519 node keys, and what they say to each other is sealed.
 *
 * Each hub is a peer of the others by configuration: an entry whose peer_id is the hub's name and
 * whose fingerprint is that of its key, with the scopes peers:list and peers:call. A peer without
 * peers:list is no hub, and is not heard as one. What may be called through it is what
 * alk_registry_enable_peers allows there. */
#ifndef ALKNET_CLUSTER_H
#define ALKNET_CLUSTER_H

#include <alknet/uv.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct alk_cluster alk_cluster;

/* Strings are copied. */
typedef struct alk_cluster_options {
    uint32_t size;              /* sizeof(alk_cluster_options) */
    uint32_t tls;               /* 1: TLS, also for nats:// */
    const char *name;           /* of this hub: 1 to 64 of A-Z a-z 0-9 _ - */
    const char *prefix;         /* of subjects; NULL: "alknet" */
    const char *node_key;       /* a file with its Ed25519 key, as alk_key_new writes it */
    const char *const *servers; /* nats:// and tls:// URLs */
    uint32_t server_count;
    /* How the broker knows this hub; all NULL: it need not. */
    const char *user, *password;
    const char *token;
    const char *credentials; /* a file with a JWT and a seed */
    const char *nkey_seed;   /* a file with the seed of a user's NKey */
    const char *ca;          /* a file; NULL: whom the system trusts */
    const char *certificate, *key;
    /* 1: what this hub serves is offered to clients of NATS too, as a service (ADR-32 of NATS); a
     * request for PREFIX.services.NAME.demo.echo is a call of demo/echo. Who asks is nobody, or whom
     * services_token stands for (NULL: nobody), whoever it is: access rules decide by that. */
    uint64_t services;
    const char *services_token;
} alk_cluster_options;

/* Adds cluster/operations, by which the other hubs learn what peers of this one serve. Before the
 * registry is frozen. ALK_EFROZEN, ALK_EEXIST, ALK_ENOMEM. */
ALK_API int alk_registry_enable_cluster(alk_registry *reg);

/* Joins, and goes on trying as long as the broker cannot be reached; the log says how it goes
 * (cluster.up, cluster.down, cluster.joined; services.up, services.down, services.failed,
 * services.token), which hubs come and go (cluster.hub), when a connection to one ends
 * (cluster.apart), and what of them cannot be had (cluster.incomplete). A hub whose name another
 * one has, which is older, refuses to join (cluster.refused). The loop goes on as long as it is
 * open. One for a node: its loops share what it knows. ALK_EINVAL (name, prefix or key),
 * ALK_ESYSTEM (no libnats, no randomness), ALK_ECLOSED (the loop drains or closes), ALK_ENOMEM;
 * err, when given, says why. */
ALK_API int alk_cluster_open(alk_cluster **out, alk_loop *l, const alk_cluster_options *o,
                             char *err, size_t err_size);
/* The others are told, and calls through it end. Its loop closes it as well, if nobody has. */
ALK_API void alk_cluster_close(alk_cluster *c);

#ifdef __cplusplus
}
#endif

#endif
