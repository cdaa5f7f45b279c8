/* How many descriptors the daemon itself will need is an estimate, on the safe side: what is open
 * when it is made, what each loop opens, and OTHERS for what comes and goes. */
#include "process.h"

#include <alknet/gateway.h>
#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#define SPARES 4         /* a file, the log, the service manager's socket, and one more */
#define LOOP 8           /* of libuv's loop, its wake-ups and its reserve */
#define OTHERS 16        /* names that are resolved, plugins, connections that are turned away */
#define SEARCHED 65536ul /* higher ones are not looked for */

static int spares[SPARES] = {-1, -1, -1, -1};

int process_hold_streams(void)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", O_RDWR) != fd)
            return -1;
    }
    return 0;
}

void process_core_dumps(int allowed)
{
    prctl(PR_SET_DUMPABLE, allowed);
}

void process_hold_spares(void)
{
    for (int i = 0; i < SPARES; i++) {
        if (spares[i] < 0)
            spares[i] = open("/dev/null", O_RDONLY | O_CLOEXEC);
    }
}

void process_give_spares(void)
{
    for (int i = 0; i < SPARES; i++) {
        if (spares[i] >= 0)
            close(spares[i]);
        spares[i] = -1;
    }
}

uint64_t process_raise_descriptor_limit(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        return 0;
    if (limit.rlim_cur != limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
        getrlimit(RLIMIT_NOFILE, &limit);
    }
    return limit.rlim_cur;
}

uint32_t process_room(uint64_t limit, const struct config *cfg, int sockets)
{
    uint64_t used = 0;
    uint64_t listeners = sockets ? (uint64_t)sockets : cfg->listen.count;

    for (unsigned long fd = 0; fd < limit && fd < SEARCHED; fd++)
        used += fcntl((int)fd, F_GETFD) >= 0;
    used += cfg->workers * (LOOP + listeners) + cfg->has_metrics + OTHERS;
    if (limit <= used)
        return 0;
    /* Each connection may have a file of the site open. */
    uint64_t room = (limit - used) / (cfg->gateway.decoy == ALK_DECOY_STATIC_SITE ? 2 : 1);
    return room < UINT32_MAX ? (uint32_t)room : UINT32_MAX;
}
