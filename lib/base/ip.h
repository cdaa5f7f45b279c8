/* Addresses of the Internet Protocol as values, so that they are compared as what they are and not
 * as one of the texts that they can be written as.
 *
 * An IPv4 address is held as the IPv6 address that stands for it (RFC 4291, 2.5.5.2), and one that
 * comes so is the same: a client has one address, whichever kind of socket it came by. */
#ifndef ALK_BASE_IP_H
#define ALK_BASE_IP_H

#include "base/str.h"

#include <stdint.h>

#define IP_TEXT_SIZE 46u /* of the longest text, with its NUL */
#define IP_BITS 128u
#define IP_V4_BITS 96u /* before those of an IPv4 address */

struct ip {
    uint8_t b[16];
};

/* Of four bytes in the order of the network. */
struct ip ip_of_v4(const uint8_t b[4]);
/* The whole of s, without brackets, port and zone. IPv4 has four decimal numbers without leading
 * zeros: what else some programs take for one is read differently by others. */
bool ip_parse(struct str s, struct ip *out);
bool ip_is_v4(const struct ip *a);
bool ip_equal(const struct ip *a, const struct ip *b);
bool ip_is_loopback(const struct ip *a);
/* Whether the first `bits` are those of net. An IPv4 address is in no net of IPv6. */
bool ip_within(const struct ip *a, const struct ip *net, unsigned bits);
/* Whether it is one of the Internet's, and not of a network or a machine alone (RFC 6890). */
bool ip_is_public(const struct ip *a);
/* Of the host of a URL, in which IPv6 has brackets. */
bool ip_parse_host(struct str host, struct ip *out);
/* A name that is this machine's wherever it is looked up (RFC 6761, 6.3); in lower case. */
bool ip_host_is_local(struct str host);
/* The text that RFC 5952 recommends, of IPv4 the usual one. */
void ip_text(const struct ip *a, char out[IP_TEXT_SIZE]);

#endif
