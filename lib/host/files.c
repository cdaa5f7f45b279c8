/* Implements files.h. A path is opened once, and what is asked is asked of what was opened, so that
 * nobody can change it in between. */
#include "host/files.h"

#include "base/mem.h"

#include <alknet/alknet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int complain(char *err, size_t err_size, const char *path, const char *what, int rc)
{
    if (err && err_size)
        snprintf(err, err_size, "%s: %s", path, what);
    return rc;
}

/* What is wrong with it, or NULL. */
static const char *judge(const struct stat *st, int secret, size_t most)
{
    if (!S_ISREG(st->st_mode))
        return "is no regular file";
    if ((uint64_t)st->st_size > most)
        return "is too large";
    if (secret && st->st_uid != 0 && st->st_uid != geteuid())
        return "belongs to another user";
    if (secret && (st->st_mode & (S_IRWXG | S_IRWXO)))
        return "can be read or written by others than its owner: chmod 600 mends that";
    return NULL;
}

static int read_all(int fd, char *to, size_t len)
{
    size_t have = 0;

    while (have < len) {
        ssize_t n = read(fd, to + have, len - have);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return -1;
        have += (size_t)n;
    }
    return 0;
}

int file_read(const char *path, int secret, size_t most, char **data, size_t *len, char *err,
              size_t err_size)
{
    /* Not blocking: it may be a FIFO. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    const char *fault;
    struct stat st;
    int rc = ALK_OK;

    *data = NULL;
    *len = 0;
    if (fd < 0 || fstat(fd, &st)) {
        rc = complain(err, err_size, path, strerror(errno), ALK_ESYSTEM);
    } else if ((fault = judge(&st, secret, most))) {
        rc = complain(err, err_size, path, fault, ALK_EINVAL);
    } else if (!(*data = malloc((size_t)st.st_size + 1))) {
        rc = ALK_ENOMEM;
    } else if (read_all(fd, *data, (size_t)st.st_size)) {
        rc = complain(err, err_size, path, "cannot be read whole", ALK_ESYSTEM);
        file_free(*data, (size_t)st.st_size);
        *data = NULL;
    } else {
        *len = (size_t)st.st_size;
        (*data)[*len] = 0;
    }
    if (fd >= 0)
        close(fd);
    return rc;
}

void file_free(char *data, size_t len)
{
    if (data)
        mem_wipe(data, len);
    free(data);
}

int file_write(const char *path, unsigned mode, const char *data, size_t len, char *err,
               size_t err_size)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, (mode_t)mode);
    int rc = ALK_OK;

    if (fd < 0)
        return complain(err, err_size, path, strerror(errno),
                        errno == EEXIST ? ALK_EEXIST : ALK_ESYSTEM);
    for (size_t have = 0; have < len && !rc;) {
        ssize_t n = write(fd, data + have, len - have);

        if (n < 0 && errno != EINTR)
            rc = complain(err, err_size, path, strerror(errno), ALK_ESYSTEM);
        have += n > 0 ? (size_t)n : 0;
    }
    if (close(fd) && !rc)
        rc = complain(err, err_size, path, strerror(errno), ALK_ESYSTEM);
    if (rc)
        unlink(path);
    return rc;
}
