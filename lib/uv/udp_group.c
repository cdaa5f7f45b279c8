/* Implements udp_group.h. What the loops share is under one lock: they take it for packets that
 * belong to none of their own connections, which are the first ones and those that went astray. It is
 * the C library's memory, since those of the loops belong to their threads. */
#include "uv/udp_group.h"

#include "core/dispatcher.h"

#include <linux/filter.h>
#include <pthread.h>
#include <string.h>
#include <sys/socket.h>

#define QUEUE_PACKETS 1024u    /* passed on and not taken yet, of a place */
#define QUEUE_BYTES (1u << 20) /* likewise; what finds no room is lost, as it may be in a network */
#define BATCH 32u              /* taken in one go: other sockets have their turns */

struct packet {
    struct list link;
    struct quic_datagram d;
    uint8_t data[];
};

struct udp_place {
    uv_async_t async;
    struct alk_loop *l;
    struct group *g;
    unsigned number;
    void (*feed)(void *ud, const struct quic_datagram *d);
    void *ud;
    /* Under the lock. */
    bool accepts;
    struct list queue;
    unsigned packets;
    size_t bytes;
};

struct group {
    struct list link;
    const alk_node *node;
    struct quic_address local;
    unsigned count;
    bool shared; /* one socket is read by several */
    bool moved;  /* a socket was closed, and the kernel counts them otherwise than we do */
    struct udp_place *places[UDP_PLACES];
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct list groups = {&groups, &groups};

static void *c_alloc(size_t size)
{
    struct mem mem;

    mem_init(&mem, NULL, NULL);
    return mem_zalloc(&mem, size);
}

static void c_free(void *p)
{
    struct mem mem;

    mem_init(&mem, NULL, NULL);
    mem_free(&mem, p);
}

/* ---- groups ---------------------------------------------------------------------------------- */

static struct group *find_group(const alk_node *node, const struct quic_address *local)
{
    list_each(n, &groups)
    {
        struct group *g = container_of(n, struct group, link);

        if (g->node == node && g->local.len == local->len &&
            !memcmp(g->local.bytes, local->bytes, local->len))
            return g;
    }
    return NULL;
}

bool udp_group_exists(const alk_node *node, const struct quic_address *local)
{
    bool found;

    pthread_mutex_lock(&lock);
    found = find_group(node, local) != NULL;
    pthread_mutex_unlock(&lock);
    return found;
}

static struct group *group_new(const alk_node *node, const struct quic_address *local)
{
    struct group *g = c_alloc(sizeof *g);

    if (!g)
        return NULL;
    g->node = node;
    g->local = *local;
    list_init(&g->link);
    list_push(&groups, &g->link);
    return g;
}

/* ALK_EINVAL: there is none. */
static int take_place(struct udp_place *p, const struct quic_address *local, bool shared)
{
    const alk_node *node = p->l->d->node;
    struct group *g = find_group(node, local);

    if (!g && !(g = group_new(node, local)))
        return ALK_ENOMEM;
    if (g->count == UDP_PLACES)
        return ALK_EINVAL;
    while (g->places[p->number])
        p->number++;
    g->places[p->number] = p;
    g->count++;
    g->shared |= shared;
    p->g = g;
    return ALK_OK;
}

static void give_place(struct udp_place *p)
{
    struct group *g = p->g;

    g->places[p->number] = NULL;
    g->moved = true;
    if (--g->count)
        return;
    list_del(&g->link);
    c_free(g);
}

/* The kernel counts the sockets of an address in the order in which they were bound. The id begins at
 * offset 6 of a packet with a long header and at 1 of one with a short header (RFC 8999, 5); what
 * names no socket goes by the hash of its addresses. Where the kernel refuses, packets are passed
 * on. */
static void steer(int fd)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 0), BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, 0x80, 0, 2),
        BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 6), BPF_STMT(BPF_RET | BPF_A, 0),
        BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 1), BPF_STMT(BPF_RET | BPF_A, 0),
    };
    struct sock_fprog program = {sizeof code / sizeof code[0], code};

    setsockopt(fd, SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, &program, sizeof program);
}

/* ---- passing on ------------------------------------------------------------------------------ */

static struct udp_place *who_accepts(const struct group *g, unsigned mark)
{
    for (unsigned i = 0; i < UDP_PLACES; i++) {
        struct udp_place *p = g->places[(mark % g->count + i) % UDP_PLACES];

        if (p && p->accepts)
            return p;
    }
    return NULL;
}

/* The first packets of a client have an id that it has chosen itself, and all of them must come to the
 * same listener: where each has its own socket the kernel sees to it. NULL: nobody's. */
static struct udp_place *whose(struct udp_place *p, unsigned mark, bool begins)
{
    struct udp_place *owner = p->g->places[mark];

    if (!begins || (owner && owner->accepts))
        return owner;
    return p->accepts && !p->g->shared ? p : who_accepts(p->g, mark);
}

static void put(struct udp_place *to, const struct quic_datagram *d)
{
    struct packet *k;

    if (to->packets >= QUEUE_PACKETS || to->bytes + d->len > QUEUE_BYTES ||
        !(k = c_alloc(sizeof *k + d->len)))
        return;
    memcpy(k->data, d->data, d->len);
    k->d = *d;
    k->d.data = k->data;
    k->d.passed = true;
    list_init(&k->link);
    list_push(&to->queue, &k->link);
    to->packets++;
    to->bytes += d->len;
    uv_async_send(&to->async); /* libuv joins them until it has been heard */
}

bool udp_group_pass(struct udp_place *p, const struct quic_datagram *d, unsigned mark, bool begins)
{
    struct udp_place *to;

    pthread_mutex_lock(&lock);
    to = whose(p, mark, begins);
    if (to && to != p)
        put(to, d);
    pthread_mutex_unlock(&lock);
    return to && to != p;
}

static struct packet *take(struct udp_place *p)
{
    struct packet *k = NULL;

    pthread_mutex_lock(&lock);
    if (p->packets) {
        k = container_of(p->queue.next, struct packet, link);
        list_del(&k->link);
        p->packets--;
        p->bytes -= k->d.len;
    }
    pthread_mutex_unlock(&lock);
    return k;
}

static void on_async(uv_async_t *a)
{
    struct udp_place *p = a->data;
    struct packet *k;

    for (unsigned i = 0; i < BATCH; i++) {
        if (!(k = take(p)))
            return;
        p->feed(p->ud, &k->d);
        c_free(k);
    }
    uv_async_send(a);
}

/* ---- places ---------------------------------------------------------------------------------- */

static void on_closed(uv_handle_t *h)
{
    struct udp_place *p = h->data;
    struct alk_loop *l = p->l;

    mem_free(&l->mem, p);
    l->open_udps--;
    loop_check_end(l);
}

int udp_group_join(struct udp_place **out, struct alk_loop *l, const struct quic_address *local,
                   int fd, bool shared, void (*feed)(void *ud, const struct quic_datagram *d),
                   void *ud)
{
    struct udp_place *p = mem_zalloc(&l->mem, sizeof *p);
    int rc;

    if (!p)
        return ALK_ENOMEM;
    if (uv_async_init(l->uv, &p->async, on_async)) {
        mem_free(&l->mem, p);
        return ALK_ENOMEM;
    }
    p->async.data = p;
    uv_unref((uv_handle_t *)&p->async);
    l->open_udps++;
    p->l = l;
    p->feed = feed;
    p->ud = ud;
    p->accepts = true;
    list_init(&p->queue);
    pthread_mutex_lock(&lock);
    rc = take_place(p, local, shared);
    if (!rc && p->g->count > 1 && !p->g->shared && !p->g->moved)
        steer(fd);
    pthread_mutex_unlock(&lock);
    if (rc)
        uv_close((uv_handle_t *)&p->async, on_closed);
    else
        *out = p;
    return rc;
}

uint8_t udp_place_mark(const struct udp_place *p)
{
    return (uint8_t)p->number;
}

void udp_group_leave(struct udp_place *p)
{
    pthread_mutex_lock(&lock);
    p->accepts = false;
    pthread_mutex_unlock(&lock);
}

void udp_group_quit(struct udp_place *p)
{
    struct packet *k;

    pthread_mutex_lock(&lock);
    give_place(p);
    pthread_mutex_unlock(&lock);
    while ((k = take(p)))
        c_free(k);
    uv_close((uv_handle_t *)&p->async, on_closed);
}
