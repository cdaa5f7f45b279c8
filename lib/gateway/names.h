/* Names of hosts, origins and networks, as configuration and requests have them: read once, and
 * compared as what they mean (RFC 6454, 4): schemes and hosts without case, addresses as addresses,
 * an absent port as that of the scheme. */
#ifndef ALK_GATEWAY_NAMES_H
#define ALK_GATEWAY_NAMES_H

#include "base/ip.h"

/* A host, an origin or a network, by who has read it. */
struct place {
    struct str scheme; /* of an origin */
    struct str name;   /* of the host, without the brackets of an address; "unix" */
    struct ip ip;
    bool is_ip;
    uint8_t bits; /* of a network */
    int32_t port; /* -1: not said */
};

/* any: all are on it, having "*". */
struct name_list {
    struct place *places;
    size_t count;
    bool any;
};

/* What is in an entry of a list; NULL, or what is wrong with it: that it could never match is. */
typedef const char *place_read(struct str s, struct place *out);
place_read host_entry, origin_entry, proxy_entry;

/* Host = uri-host [":" port] of a request, whose form the engine has looked at. */
bool place_of_host(struct str s, struct place *out);
/* Of the field Origin. */
bool place_of_origin(struct str s, struct place *out);

/* Equal but for the case of ASCII letters. */
bool gate_same_name(struct str a, struct str b);
bool host_listed(const struct name_list *l, const struct place *host);
bool origin_listed(const struct name_list *l, const struct place *origin);
/* Whether a page of the origin is one of that host; tls: which speaks TLS here. */
bool origin_is_of_host(const struct place *origin, const struct place *host, bool tls);
/* address: as in struct peer_info. */
bool proxy_listed(const struct name_list *l, const char *address);

#endif
