/* The header of the PROXY protocol, versions 1 and 2 (HAProxy's specification), with which a proxy
 * says before the first byte of a connection whose connection it is.
 *
 * Fed in whatever cuts the network makes, it takes exactly the bytes of the header, keeps no more
 * than an address needs, and is done or at fault; there is no third end but that bytes are missing.
 * The first byte that no header has is a fault at once. */
#ifndef ALK_WIRE_PROXY_HEADER_H
#define ALK_WIRE_PROXY_HEADER_H

#include "base/ip.h"

#define PROXY_V1_MAX 107u  /* with its line end; the specification's figure */
#define PROXY_V2_HEAD 16u  /* up to the length of the rest */
#define PROXY_V2_REST 728u /* the longest address, of a Unix-domain socket, and 512 bytes beyond */

enum { PROXY_MORE, PROXY_DONE, PROXY_FAULT };

struct proxy_header {
    char kept[PROXY_V1_MAX];
    size_t len;        /* bytes that have come */
    size_t total;      /* of version 2, once it is known */
    bool has_source;   /* when done; otherwise the connection's own address counts */
    struct ip source;  /* whose connection it is */
    const char *fault; /* static text */
};

/* h is all zeros at first. Takes the header's bytes from the front of data, *used of them. */
int proxy_header_feed(struct proxy_header *h, const char *data, size_t len, size_t *used);

#endif
