/* Descriptors 0 to 2 first, then those that are kept and given back. */
#include "process.h"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#define SPARES 4 /* a file, the log, the service manager's socket, and one more */

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

void process_raise_descriptor_limit(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        return;
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
}
