/* What the load generators share, whatever they speak: failing, time, options, connecting.
 *
 * A load generator ends at the first thing that is not as it must be, so nothing here returns an error. */
#ifndef BENCH_CLIENT_H
#define BENCH_CLIENT_H

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#define SECOND UINT64_C(1000000000)

struct text {
    char *at;
    size_t len;
};

static inline void fail(const char *fmt, ...) __attribute__((format(printf, 1, 2), noreturn));

static inline void fail(const char *fmt, ...)
{
    va_list ap;

    fprintf(stderr, "%s: ", program_invocation_short_name);
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fputc('\n', stderr);
    exit(1);
}

static inline void *must(void *memory)
{
    if (!memory)
        fail("out of memory");
    return memory;
}

static inline uint64_t now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * SECOND + (uint64_t)t.tv_nsec;
}

static inline void text_add(struct text *t, const char *p, size_t len)
{
    t->at = must(realloc(t->at, t->len + len + 1));
    memcpy(t->at + t->len, p, len);
    t->len += len;
    t->at[t->len] = 0;
}

static inline void text_drop(struct text *t)
{
    free(t->at);
    *t = (struct text){NULL, 0};
}

/* ---- options ----------------------------------------------------------------------------------- */

static inline struct text read_file(const char *path)
{
    struct text t = {NULL, 0};
    char part[4096];
    FILE *f = fopen(path, "rb");
    size_t n;

    if (!f)
        fail("%s: %s", path, strerror(errno));
    while ((n = fread(part, 1, sizeof part, f)) > 0)
        text_add(&t, part, n);
    fclose(f);
    return t;
}

static inline unsigned number(const char *name, const char *s, unsigned most)
{
    char *end;
    unsigned long v = strtoul(s, &end, 10);

    if (*end || end == s || v < 1 || v > most)
        fail("--%s must be 1 to %u", name, most);
    return (unsigned)v;
}

static inline double duration(const char *name, const char *s)
{
    char *end;
    double v = strtod(s, &end);

    if (*end || end == s || !(v > 0 && v <= 3600))
        fail("--%s must be a time in seconds", name);
    return v;
}

/* How bytes go: as they are, unless a program puts something in between (tls_client.h). open: NULL, or behind the
 * connecting. */
static struct {
    void (*open)(int fd);
    ssize_t (*send)(int fd, const void *data, size_t len, int flags);
    ssize_t (*recv)(int fd, void *to, size_t size, int flags);
} transport __attribute__((unused)) = {NULL, send, recv};

/* ---- connecting -------------------------------------------------------------------------------- */

/* receive_buffer: SO_RCVBUF, 0 for what the system gives. */
static inline int dial_port(int port, int receive_buffer)
{
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd >= 0 && receive_buffer)
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof receive_buffer);
    if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof to) < 0)
        fail("cannot connect to port %d: %s", port, strerror(errno));
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (transport.open)
        transport.open(fd);
    return fd;
}

#endif
