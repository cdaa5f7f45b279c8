/* The QUIC listeners of one node on one UDP address, each on a loop of its own, and how a packet comes
 * to the one that has its connection.
 *
 * Each listener has a place, and its number is the first byte of the connection ids that it chooses. A
 * program in the kernel chooses the socket by that byte. A packet that comes to another loop, as where
 * the kernel takes no such program, or where all read one socket that was handed over, is passed on:
 * once, through a queue with limits. Functions are for the listener's own loop. */
#ifndef ALK_UV_UDP_GROUP_H
#define ALK_UV_UDP_GROUP_H

#include "uv/plumbing.h"
#include "wire/quic.h"

#define UDP_PLACES 256u /* in a group: what one byte tells apart */

struct udp_place;

bool udp_group_exists(const alk_node *node, const struct quic_address *local);
/* fd is bound to local, as the last of the group's; shared: others read it, too. feed is called from the loop
 * with what others pass on. ALK_EINVAL: all places are taken; ALK_ENOMEM. */
int udp_group_join(struct udp_place **out, struct alk_loop *l, const struct quic_address *local,
                   int fd, bool shared, void (*feed)(void *ud, const struct quic_datagram *d),
                   void *ud);
uint8_t udp_place_mark(const struct udp_place *p);
/* As quic_app.pass. */
bool udp_group_pass(struct udp_place *p, const struct quic_datagram *d, unsigned mark, bool begins);
/* It accepts no more: others get what begins a connection. */
void udp_group_leave(struct udp_place *p);
/* Its socket is about to be closed, and feed is not called any more. */
void udp_group_quit(struct udp_place *p);

#endif
