/* Implements udp.h: drives a QUIC endpoint (wire/quic.h) from one UDP socket.
 *
 * Datagrams are read in batches (recvmmsg) into the loop's one buffer, with the address that they
 * came to and their ECN marks. What the endpoint has to say is pulled behind the turn, in batches
 * of packets for one path, each of which the kernel cuts (UDP_SEGMENT), or this file where it
 * cannot. What the socket does not take is kept, and nothing more is pulled until it has been sent.
 *
 * A listener's socket is there until its last connection is over. What belongs to none of these may
 * be another loop's (udp_group.h). A dialled connection has a connected socket of its own: so the
 * system can tell that nobody listens there. */
#include "uv/udp.h"

#include "uv/udp_group.h"

#include "core/dispatcher.h"
#include "core/node.h"

#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif

#define BATCH 32u         /* datagrams of one read */
#define DATAGRAM 2048u    /* the largest that is read: no packet of ours allows larger ones */
#define SEND_BYTES 65000u /* of one batch: what the kernel sends of one segmented datagram */
#define SOCKET_BYTES (2 << 20)
#define PULLS 64u /* batches of one turn: what is left waits for the next */

struct udp {
    uv_poll_t poll;
    struct alk_loop *l;
    struct list link;
    struct heap_node deadline;
    struct quic *q;
    struct quic_app app;
    struct quic_limits limits;
    struct service *service;           /* of a listener; NULL: it dials */
    struct udp_place *place;           /* likewise */
    struct quic_address local, remote; /* remote: of a connected one */
    void (*refused)(void *ud, int rc);
    void *refused_ud;
    int fd;
    bool leaving, closing, polling_out, no_gso, connected, held;
    struct quic_batch batch; /* what the socket has not taken, in out; held */
    size_t sent;             /* of it */
    uint8_t *out;
};

/* ---- sockets --------------------------------------------------------------------------------- */

static int complain(char *err, size_t size, int rc, const char *what, const char *why)
{
    if (err && size)
        snprintf(err, size, "%s: %s", what, why);
    return rc;
}

static void take_address(struct quic_address *to, const void *sa)
{
    const struct sockaddr *a = sa;

    to->len = a->sa_family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);
    memset(to->bytes, 0, sizeof to->bytes);
    memcpy(to->bytes, sa, to->len);
}

static const struct sockaddr *address_of(const struct quic_address *a)
{
    return (const struct sockaddr *)(const void *)a->bytes;
}

/* Packets are not cut on their way: the path's MTU is found out with them (RFC 9000, 14.3). What a
 * system lacks of all this costs speed alone. */
static void set_options(int fd, int family)
{
    int one = 1, size = SOCKET_BYTES, mtu = IP_PMTUDISC_PROBE, mtu6 = IPV6_PMTUDISC_PROBE;

    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
    setsockopt(fd, IPPROTO_IP, IP_PKTINFO, &one, sizeof one);
    setsockopt(fd, IPPROTO_IP, IP_RECVTOS, &one, sizeof one);
    setsockopt(fd, IPPROTO_IP, IP_MTU_DISCOVER, &mtu, sizeof mtu);
    if (family != AF_INET6)
        return;
    setsockopt(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, &one, sizeof one);
    setsockopt(fd, IPPROTO_IPV6, IPV6_RECVTCLASS, &one, sizeof one);
    setsockopt(fd, IPPROTO_IPV6, IPV6_MTU_DISCOVER, &mtu6, sizeof mtu6);
}

static int new_socket(int family)
{
    int fd = socket(family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    if (fd >= 0)
        set_options(fd, family);
    return fd;
}

static void on_poll(uv_poll_t *p, int status, int events);

static void poll_for(struct udp *u, bool out)
{
    u->polling_out = out;
    uv_poll_start(&u->poll, UV_READABLE | (out ? UV_WRITABLE : 0), on_poll);
}

static void wake(void *ud)
{
    (void)ud; /* each turn ends with a look at all of them */
}

static bool accept_conn(void *ud, struct quic_conn *c, const char *address,
                        const struct quic_events **events, void **conn_ud, uint64_t now)
{
    struct udp *u = ud;

    return u->service->accept_quic(u->service, c, address, events, conn_ud, now);
}

static bool pass(void *ud, const struct quic_datagram *d, unsigned mark, bool begins)
{
    struct udp *u = ud;

    return udp_group_pass(u->place, d, mark, begins);
}

static void on_passed(void *ud, const struct quic_datagram *d)
{
    struct udp *u = ud;

    quic_feed(u->q, d, uv_hrtime());
}

static void read_limits(struct udp *u)
{
    const alk_node *n = u->l->d->node;

    u->limits = (struct quic_limits){
        .handshakes = LIMIT(n, quic_handshakes),
        .streams = LIMIT(n, quic_streams),
        .stream_window = LIMIT(n, quic_stream_window),
        .window = LIMIT(n, quic_window),
        .handshake_timeout = LIMIT(n, header_timeout_ms) * MILLI,
        .idle_timeout = LIMIT(n, quic_idle_ms) * MILLI,
        .keep_alive =
            LIMIT(n, quic_keep_alive_ms) ? LIMIT(n, quic_keep_alive_ms) * MILLI : UINT64_MAX,
        .frame_timeout = LIMIT(n, body_timeout_ms) * MILLI,
    };
}

static int start(struct udp *u, alk_tls *tls)
{
    struct alk_loop *l = u->l;
    struct quic_options o = {.mem = &l->mem,
                             .host = l->d->node->host,
                             .app = &u->app,
                             .limits = &u->limits,
                             .tls = tls,
                             .mark = u->place ? udp_place_mark(u->place) : 0};

    u->app = (struct quic_app){
        .accept = accept_conn, .wake = wake, .pass = u->place ? pass : NULL, .ud = u};
    read_limits(u);
    u->q = quic_new(&o);
    u->out = mem_alloc(&l->mem, SEND_BYTES);
    if (!u->q || !u->out || uv_poll_init(l->uv, &u->poll, u->fd))
        return ALK_ENOMEM;
    u->poll.data = u;
    l->open_udps++;
    list_push(&l->udps, &u->link);
    poll_for(u, false);
    return ALK_OK;
}

/* How a listener listens. */
struct listening {
    alk_tls *tls;
    struct quic_address local;
    bool shared; /* the socket was handed over */
};

/* Takes fd over in any case. how NULL: it dials. As udp_group_join. */
static int udp_new(struct udp **out, struct alk_loop *l, int fd, const struct listening *how)
{
    struct udp *u = *out = mem_zalloc(&l->mem, sizeof *u);
    int rc = ALK_OK;

    if (!u) {
        close(fd);
        return ALK_ENOMEM;
    }
    u->l = l;
    u->fd = fd;
    heap_node_init(&u->deadline);
    if (how)
        rc = udp_group_join(&u->place, l, &how->local, fd, how->shared, on_passed, u);
    if (!rc && !(rc = start(u, how ? how->tls : NULL)))
        return ALK_OK;
    if (u->place)
        udp_group_quit(u->place);
    quic_free(u->q);
    mem_free(&l->mem, u->out);
    mem_free(&l->mem, u);
    close(fd);
    return rc;
}

static void on_closed(uv_handle_t *h)
{
    struct udp *u = h->data;
    struct alk_loop *l = u->l;

    close(u->fd);
    mem_free(&l->mem, u->out);
    mem_free(&l->mem, u);
    l->open_udps--;
    loop_check_end(l);
}

static void udp_close(struct udp *u)
{
    if (u->closing)
        return;
    u->closing = true;
    list_del(&u->link);
    heap_remove(&u->l->deadlines, &u->deadline);
    if (u->place)
        udp_group_quit(u->place);
    quic_free(u->q);
    u->q = NULL;
    uv_close((uv_handle_t *)&u->poll, on_closed);
}

/* ---- receiving ------------------------------------------------------------------------------- */

struct incoming {
    struct mmsghdr heads[BATCH];
    struct iovec parts[BATCH];
    struct sockaddr_storage from[BATCH];
    struct {
        _Alignas(struct cmsghdr) char bytes[256];
    } control[BATCH];
};

/* The kernel says to which of this machine's addresses it came, and with which mark. */
static void read_control(struct quic_datagram *d, struct msghdr *m, const struct udp *u)
{
    d->local = u->local;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
        if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO &&
            d->local.len == sizeof(struct sockaddr_in)) {
            struct in_pktinfo info;

            memcpy(&info, CMSG_DATA(c), sizeof info);
            memcpy(d->local.bytes + offsetof(struct sockaddr_in, sin_addr), &info.ipi_addr,
                   sizeof info.ipi_addr);
        } else if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO) {
            struct in6_pktinfo info;

            memcpy(&info, CMSG_DATA(c), sizeof info);
            memcpy(d->local.bytes + offsetof(struct sockaddr_in6, sin6_addr), &info.ipi6_addr,
                   sizeof info.ipi6_addr);
        } else if ((c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_TOS) ||
                   (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_TCLASS)) {
            d->ecn = *CMSG_DATA(c) & 3u;
        }
    }
}

static int receive(struct udp *u, struct incoming *in)
{
    for (unsigned i = 0; i < BATCH; i++) {
        in->parts[i] = (struct iovec){u->l->read_buffer + (size_t)i * DATAGRAM, DATAGRAM};
        in->heads[i].msg_hdr = (struct msghdr){.msg_name = &in->from[i],
                                               .msg_namelen = sizeof in->from[i],
                                               .msg_iov = &in->parts[i],
                                               .msg_iovlen = 1,
                                               .msg_control = in->control[i].bytes,
                                               .msg_controllen = sizeof in->control[i]};
    }
    return recvmmsg(u->fd, in->heads, BATCH, MSG_DONTWAIT, NULL);
}

/* One batch: who floods this socket waits for the others' turn like everybody. */
static void read_batch(struct udp *u)
{
    _Static_assert(BATCH * DATAGRAM <= READ_BUFFER, "a batch fits into the loop's buffer");
    struct incoming in;
    uint64_t now = uv_hrtime();
    int n = receive(u, &in);

    if (n < 0 && errno != EAGAIN && errno != EINTR && u->refused)
        u->refused(u->refused_ud, uv_translate_sys_error(errno));
    for (int i = 0; i < n && !u->closing; i++) {
        struct quic_datagram d = {.data = in.parts[i].iov_base, .len = in.heads[i].msg_len};

        if (in.heads[i].msg_hdr.msg_flags & MSG_TRUNC)
            continue;
        take_address(&d.remote, &in.from[i]);
        read_control(&d, &in.heads[i].msg_hdr, u);
        quic_feed(u->q, &d, now);
    }
}

static void on_poll(uv_poll_t *p, int status, int events)
{
    struct udp *u = p->data;

    if (u->closing)
        return;
    /* libuv stops to poll where the system has an error to tell, as that of a datagram which nobody
     * took; reading it clears it. */
    if (status || (events & UV_WRITABLE))
        poll_for(u, false);
    if (status || (events & UV_READABLE))
        read_batch(u);
}

/* ---- sending --------------------------------------------------------------------------------- */

struct outgoing_control {
    _Alignas(struct cmsghdr) char bytes[128];
    size_t len;
};

static void add_control(struct outgoing_control *c, int level, int type, const void *data,
                        size_t len)
{
    struct cmsghdr *h = (struct cmsghdr *)(void *)(c->bytes + c->len);

    h->cmsg_level = level;
    h->cmsg_type = type;
    h->cmsg_len = CMSG_LEN(len);
    memcpy(CMSG_DATA(h), data, len);
    c->len += CMSG_SPACE(len);
}

static bool is_mapped(const struct quic_address *a)
{
    return a->len == sizeof(struct sockaddr_in6) &&
           IN6_IS_ADDR_V4MAPPED(&((const struct sockaddr_in6 *)(const void *)a->bytes)->sin6_addr);
}

/* From the address that the remote knows, with the mark that the endpoint wants, cut by the
 * kernel. */
static void write_control(struct outgoing_control *c, const struct udp *u, size_t len)
{
    const struct quic_batch *b = &u->batch;
    uint16_t segment = (uint16_t)b->segment;
    int ecn = (int)b->ecn;

    memset(c, 0, sizeof *c);
    if (!u->connected && b->local.len == sizeof(struct sockaddr_in)) {
        struct in_pktinfo info = {0};

        memcpy(&info.ipi_spec_dst, b->local.bytes + offsetof(struct sockaddr_in, sin_addr),
               sizeof info.ipi_spec_dst);
        add_control(c, IPPROTO_IP, IP_PKTINFO, &info, sizeof info);
    } else if (!u->connected) {
        struct in6_pktinfo info = {0};

        memcpy(&info.ipi6_addr, b->local.bytes + offsetof(struct sockaddr_in6, sin6_addr),
               sizeof info.ipi6_addr);
        add_control(c, IPPROTO_IPV6, IPV6_PKTINFO, &info, sizeof info);
    }
    if (ecn && (b->remote.len == sizeof(struct sockaddr_in) || is_mapped(&b->remote)))
        add_control(c, IPPROTO_IP, IP_TOS, &ecn, sizeof ecn);
    else if (ecn)
        add_control(c, IPPROTO_IPV6, IPV6_TCLASS, &ecn, sizeof ecn);
    if (len > b->segment)
        add_control(c, SOL_UDP, UDP_SEGMENT, &segment, sizeof segment);
}

static ssize_t send_piece(struct udp *u, size_t len)
{
    struct outgoing_control control;
    struct iovec part = {u->out + u->sent, len};
    struct msghdr m = {.msg_iov = &part, .msg_iovlen = 1};

    write_control(&control, u, len);
    if (control.len) {
        m.msg_control = control.bytes;
        m.msg_controllen = control.len;
    }
    if (!u->connected) {
        m.msg_name = (void *)(uintptr_t)address_of(&u->batch.remote);
        m.msg_namelen = u->batch.remote.len;
    }
    return sendmsg(u->fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL);
}

/* false: the socket takes no more now. A packet that cannot be sent at all is like one that was
 * lost. Where the kernel cannot cut, each packet is sent by itself from then on. */
static bool send_batch(struct udp *u)
{
    while (u->sent < u->batch.len) {
        size_t left = u->batch.len - u->sent, len = left;

        if (u->no_gso && len > u->batch.segment)
            len = u->batch.segment;
        if (send_piece(u, len) < 0) {
            if (errno == EAGAIN || errno == ENOBUFS) {
                poll_for(u, true);
                return false;
            }
            if (len > u->batch.segment && (errno == EIO || errno == EINVAL)) {
                u->no_gso = true;
                continue;
            }
        }
        u->sent += len;
    }
    u->held = false;
    return true;
}

static void rearm(struct udp *u)
{
    uint64_t at = quic_deadline(u->q);

    if (at == u->deadline.key)
        return;
    heap_remove(&u->l->deadlines, &u->deadline);
    if (at != UINT64_MAX)
        heap_insert(&u->l->deadlines, &u->deadline, at);
}

static bool flush(struct udp *u, uint64_t now)
{
    if (u->polling_out)
        return true;
    if (u->held && !send_batch(u))
        return true;
    for (unsigned i = 0; i < PULLS; i++) {
        size_t size = u->no_gso ? 1500 : SEND_BYTES;

        if (!quic_pull(u->q, u->out, size, &u->batch, now))
            return true;
        u->held = true;
        u->sent = 0;
        if (!send_batch(u))
            return true;
    }
    return !quic_wants(u->q);
}

void udp_flush(struct alk_loop *l, uint64_t now)
{
    list_each_safe(n, &l->udps)
    {
        struct udp *u = container_of(n, struct udp, link);

        if ((quic_wants(u->q) || u->held) && !flush(u, now))
            loop_again(l);
        rearm(u);
        if (u->leaving && !u->held && quic_empty(u->q))
            udp_close(u);
    }
}

bool udp_deadline(struct alk_loop *l, struct heap_node *n, uint64_t now)
{
    list_each(i, &l->udps)
    {
        struct udp *u = container_of(i, struct udp, link);

        if (&u->deadline == n) {
            read_limits(u);
            quic_timeout(u->q, now);
            rearm(u);
            return true;
        }
    }
    return false;
}

void udp_close_all(struct alk_loop *l)
{
    uint64_t now = uv_hrtime();

    while (!list_empty(&l->udps)) {
        struct udp *u = container_of(l->udps.next, struct udp, link);

        quic_drain(u->q);
        quic_close_all(u->q, 0, "");
        while (quic_wants(u->q) && !u->polling_out)
            flush(u, now);
        udp_close(u);
    }
}

/* ---- who uses it ----------------------------------------------------------------------------- */

/* The first of a group binds alone, and only then lets others in: the address is one process's. Two
 * would take each other's packets for those of connections that are gone, and say so to the remotes. */
static int bind_socket(int fd, const alk_node *node, const alk_server_options *o,
                       const struct sockaddr_storage *a, char *err, size_t size)
{
    struct quic_address to;
    int one = 1, off = 0;
    bool joins;

    take_address(&to, a);
    joins = o->reuse_port && udp_group_exists(node, &to);
    if (a->ss_family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
    if (joins && setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof one))
        return complain(err, size, ALK_ESYSTEM, "SO_REUSEPORT", strerror(errno));
    if (bind(fd, address_of(&to), to.len))
        return complain(err, size, ALK_ESYSTEM, o->host, strerror(errno));
    if (o->reuse_port && !joins && setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof one))
        return complain(err, size, ALK_ESYSTEM, "SO_REUSEPORT", strerror(errno));
    return ALK_OK;
}

static int listen_locked(struct alk_server *s, const alk_server_options *o, char *err, size_t size)
{
    struct listening how = {.tls = s->tls, .shared = o->fd >= 0};
    struct sockaddr_storage a;
    socklen_t n = sizeof a;
    int fd = o->fd, rc = ALK_OK;

    memset(&a, 0, sizeof a);
    if (fd < 0) {
        if (o->port > 65535 || (uv_ip4_addr(o->host, (int)o->port, (struct sockaddr_in *)&a) &&
                                uv_ip6_addr(o->host, (int)o->port, (struct sockaddr_in6 *)&a)))
            return complain(err, size, ALK_EINVAL, o->host,
                            "must be a numeric address, and the port 0 to 65535");
        fd = new_socket(a.ss_family);
        if (fd < 0)
            return complain(err, size, ALK_ESYSTEM, "socket", strerror(errno));
        rc = bind_socket(fd, s->l->d->node, o, &a, err, size);
    }
    if (!rc && getsockname(fd, (struct sockaddr *)&a, &n))
        rc = complain(err, size, ALK_EINVAL, "descriptor", "is no socket");
    if (rc) {
        if (o->fd < 0)
            close(fd);
        return rc;
    }
    if (o->fd >= 0)
        set_options(fd, a.ss_family);
    take_address(&how.local, &a);
    rc = udp_new(&s->udp, s->l, fd, &how);
    if (rc == ALK_EINVAL)
        return complain(err, size, rc, o->host, "256 loops listen there already");
    if (rc)
        return rc;
    s->udp->service = s->service;
    s->udp->local = how.local;
    s->port = ntohs(a.ss_family == AF_INET ? ((struct sockaddr_in *)&a)->sin_port
                                           : ((struct sockaddr_in6 *)&a)->sin6_port);
    return ALK_OK;
}

/* One loop after the other: so the order of a group's sockets is that of its places. */
int udp_listen(struct alk_server *s, const alk_server_options *o, char *err, size_t size)
{
    static pthread_mutex_t listening = PTHREAD_MUTEX_INITIALIZER;
    int rc;

    pthread_mutex_lock(&listening);
    rc = listen_locked(s, o, err, size);
    pthread_mutex_unlock(&listening);
    return rc;
}

void udp_leave(struct udp *u)
{
    udp_group_leave(u->place);
    u->leaving = true;
    u->service = NULL;
    quic_drain(u->q);
    /* Its connections keep the application's loop going, as those of TCP do; an empty one is closed
     * by the coming turn. */
}

int udp_fd(const struct udp *u)
{
    return u->fd;
}

struct udp *udp_connect(struct alk_loop *l, const struct sockaddr *to, int *rc)
{
    int fd = new_socket(to->sa_family);
    struct sockaddr_storage a;
    socklen_t n = sizeof a;
    struct udp *u;

    memset(&a, 0, sizeof a);
    if (fd < 0 ||
        connect(fd, to,
                to->sa_family == AF_INET6 ? sizeof(struct sockaddr_in6)
                                          : sizeof(struct sockaddr_in)) ||
        getsockname(fd, (struct sockaddr *)&a, &n)) {
        *rc = uv_translate_sys_error(errno);
        if (fd >= 0)
            close(fd);
        return NULL;
    }
    if (udp_new(&u, l, fd, NULL)) {
        *rc = UV_ENOMEM;
        return NULL;
    }
    u->connected = true;
    u->leaving = true; /* it goes with its connection */
    take_address(&u->local, &a);
    take_address(&u->remote, to);
    return u;
}

struct quic *udp_quic(struct udp *u)
{
    return u->q;
}

void udp_addresses(const struct udp *u, struct quic_address *local, struct quic_address *remote)
{
    *local = u->local;
    *remote = u->remote;
}

void udp_on_refused(struct udp *u, void (*fn)(void *ud, int rc), void *ud)
{
    u->refused = fn;
    u->refused_ud = ud;
}
