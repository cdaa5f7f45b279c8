/* Without this, connections could use up all descriptors: a reload or a log file would find none,
 * and those that come would be closed by libuv without a word. How many the rest will need is an
 * estimate, on the safe side: what is open when it is made, what each loop opens, and OTHERS for
 * what comes and goes. */
#include "serve/descriptors.h"

#include <alknet/gateway.h>
#include <fcntl.h>
#include <sys/resource.h>

#define LOOP 8           /* of libuv's loop, its wake-ups and its reserve */
#define OTHERS 16        /* names that are resolved, plugins, connections that are turned away */
#define SEARCHED 65536ul /* higher ones are not looked for */

static uint32_t room_within(uint64_t limit, const struct config *cfg, uint32_t sockets)
{
    uint64_t used = 0, listeners = sockets ? sockets : cfg->listen.count;

    for (unsigned long fd = 0; fd < limit && fd < SEARCHED; fd++)
        used += fcntl((int)fd, F_GETFD) >= 0;
    used += cfg->workers * (LOOP + listeners) + cfg->has_metrics + OTHERS;
    if (limit <= used)
        return 0;
    /* Each connection may have a file of the site open. */
    uint64_t room = (limit - used) / (cfg->gateway.decoy == ALK_DECOY_STATIC_SITE ? 2 : 1);
    return room < UINT32_MAX ? (uint32_t)room : UINT32_MAX;
}

int descriptors_count(struct descriptors *d, const struct config *cfg, uint32_t sockets,
                      struct config_error *err)
{
    struct rlimit limit;

    d->limit = getrlimit(RLIMIT_NOFILE, &limit) < 0 ? 0 : limit.rlim_cur;
    d->room = room_within(d->limit, cfg, sockets);
    return d->room
               ? 0
               : config_fail(err, "the limit of descriptors", 0, "",
                             "%llu leave no room for connections", (unsigned long long)d->limit);
}

/* Connections to other services: each import has one host. They have at most half of the room. */
static uint32_t outbound(const struct descriptors *d, const struct config *cfg,
                         const struct config *start)
{
    const alk_http_options *o = &start->http.o;
    uint64_t loop = (uint64_t)cfg->imports.count * o->host_connections;
    uint64_t all = (loop < o->connections ? loop : o->connections) * start->workers;

    return all < d->room / 2 ? (uint32_t)all : d->room / 2;
}

void descriptors_fit(const struct descriptors *d, struct config *cfg, const struct config *start,
                     const struct sayer *sayer)
{
    uint32_t dialled = (uint32_t)cfg->connect.count + outbound(d, cfg, start);
    uint32_t room = d->room > dialled ? d->room - dialled : 1;

    if (cfg->limits.connections > room)
        say(sayer, ALK_LOG_WARN, "limits.lowered",
            "limits.connections: %u are too many for %llu descriptors: lowered to %u",
            cfg->limits.connections, (unsigned long long)d->limit, room);
    if (cfg->limits.connections == 0 || cfg->limits.connections > room)
        cfg->limits.connections = room;
}
