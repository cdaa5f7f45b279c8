/* The addresses that a name has, in the order in which they are tried (RFC 8305). */
#ifndef ALK_UV_ADDRESSES_H
#define ALK_UV_ADDRESSES_H

#include <netdb.h>
#include <stdint.h>
#include <sys/socket.h>

#define ADDRESSES_MAX 16u /* of a name that are tried */
/* From one attempt to the next, if it has not failed before (RFC 8305, 5: Connection Attempt
 * Delay). Both families of a name come in one answer here, so there is no Resolution Delay. */
#define ADDRESS_NEXT_MS 250u

struct addresses {
    unsigned count, next; /* next: the first that was not tried yet */
    struct sockaddr_storage list[ADDRESSES_MAX];
};

/* As the resolver has sorted them, but the families by turns. */
void addresses_take(struct addresses *a, const struct addrinfo *all);
/* NULL: none is left. */
const struct sockaddr *addresses_next(struct addresses *a);

#endif
