/* From proc(5), which knows no more than the system lets it. */
#include "host/process.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define SECOND_US UINT64_C(1000000)
#define LISTED_EVERY 200u

/* The text of a small file of /proc; false: there is none. */
static int read_text(const char *path, char *out, size_t size)
{
    FILE *f = fopen(path, "re");
    size_t n = f ? fread(out, 1, size - 1, f) : 0;

    out[n] = 0;
    if (f)
        fclose(f);
    return n > 0;
}

static uint64_t us_of(clockid_t clock)
{
    struct timespec t;

    clock_gettime(clock, &t);
    return (uint64_t)t.tv_sec * SECOND_US + (uint64_t)t.tv_nsec / 1000;
}

/* The 22nd field is in ticks since the machine has started; the name, which is the second, may have
 * blanks and parentheses. */
static uint64_t start_of(void)
{
    char text[1024], *at;
    unsigned long long ticks = 0;

    if (!read_text("/proc/self/stat", text, sizeof text) || !(at = strrchr(text, ')')))
        return 0;
    if (sscanf(at + 1,
               " %*c %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %llu",
               &ticks) != 1)
        return 0;
    return us_of(CLOCK_REALTIME) - us_of(CLOCK_BOOTTIME) +
           ticks * SECOND_US / (uint64_t)sysconf(_SC_CLK_TCK);
}

static uint64_t resident(void)
{
    char text[256];
    unsigned long long pages = 0;

    if (!read_text("/proc/self/statm", text, sizeof text) || sscanf(text, "%*s %llu", &pages) != 1)
        return 0;
    return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

/* Without the one that looks. */
static uint64_t listed_fds(void)
{
    DIR *folder = opendir("/proc/self/fd");
    uint64_t n = 0;

    if (!folder)
        return 0;
    for (const struct dirent *e; (e = readdir(folder));)
        n += e->d_name[0] != '.';
    closedir(folder);
    return n - 1;
}

/* Linux 6.2 and later says it at once. Before, a list is read, which takes milliseconds for each
 * thousand; until LISTED_EVERY times that has gone by, what was counted holds. */
static uint64_t open_fds(void)
{
    static uint64_t count, again; /* atomic */
    struct stat st;

    if (stat("/proc/self/fd", &st) == 0 && st.st_size > 0)
        return (uint64_t)st.st_size;
    uint64_t begun = us_of(CLOCK_MONOTONIC);
    if (begun < __atomic_load_n(&again, __ATOMIC_ACQUIRE))
        return __atomic_load_n(&count, __ATOMIC_RELAXED);
    uint64_t n = listed_fds(), end = us_of(CLOCK_MONOTONIC);
    __atomic_store_n(&count, n, __ATOMIC_RELAXED);
    __atomic_store_n(&again, end + (end - begun) * LISTED_EVERY, __ATOMIC_RELEASE);
    return n;
}

void process_read(struct host_process *out)
{
    struct rlimit limit;

    *out = (struct host_process){.start_us = start_of(),
                                 .cpu_us = us_of(CLOCK_PROCESS_CPUTIME_ID),
                                 .resident_bytes = resident(),
                                 .open_fds = open_fds()};
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0)
        out->max_fds = limit.rlim_cur;
}
