/* What poll calls writable takes PIPE_BUF bytes of a pipe without blocking, and no more is
 * promised; so no write is larger, and each is preceded by a poll. The flag O_NONBLOCK would do it
 * as well, but it belongs to the open file, which the shell and other programs share. */
#include "outlet.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_PIECE 65536u

void outlet_init(struct outlet *o, int fd)
{
    struct stat st;

    *o = (struct outlet){.fd = fd};
    /* A pipe that can be written to takes PIPE_BUF bytes; a file takes everything. */
    o->piece = fstat(fd, &st) == 0 && S_ISREG(st.st_mode) ? FILE_PIECE : PIPE_BUF;
}

void outlet_fini(struct outlet *o)
{
    buffer_free(&o->waiting);
}

void outlet_put(struct outlet *o, const char *bytes, size_t len)
{
    if (!o->error)
        buffer_append(&o->waiting, bytes, len);
}

void outlet_flush(struct outlet *o)
{
    while (o->waiting.len && !o->error) {
        struct pollfd p = {.fd = o->fd, .events = POLLOUT};
        ssize_t n;

        if (poll(&p, 1, 0) == 0)
            return;
        n = write(o->fd, buffer_text(&o->waiting),
                  o->waiting.len < o->piece ? o->waiting.len : o->piece);
        if (n >= 0)
            buffer_consume(&o->waiting, (size_t)n);
        else if (errno == EAGAIN)
            return;
        else if (errno != EINTR)
            o->error = errno;
    }
}
