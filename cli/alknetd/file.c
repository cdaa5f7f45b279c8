/* Opening a FIFO or a device would wait for whoever is at its other end, and with it a reload and
 * the signals behind it. */
#include "file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_MAX (4u << 20) /* bytes, as the library takes them */

/* What is wrong with it as a file to be trusted; NULL: nothing. */
static const char *fault_of(const struct stat *st, char text[128])
{
    unsigned mode = (unsigned)st->st_mode & 07777;

    if (S_ISDIR(st->st_mode))
        return "is a folder";
    if (!S_ISREG(st->st_mode))
        return "is not a file";
    if (st->st_uid != 0 && st->st_uid != geteuid()) {
        snprintf(text, 128, "belongs to user %u, who is neither root nor the one that runs this",
                 (unsigned)st->st_uid);
        return text;
    }
    if (mode & (S_IWGRP | S_IWOTH)) {
        snprintf(text, 128, "%s may write to it (mode %04o); chmod go-w",
                 mode & S_IWOTH ? "everyone" : "its group", mode);
        return text;
    }
    if (st->st_size > (off_t)FILE_MAX) {
        snprintf(text, 128, "larger than %u bytes", FILE_MAX);
        return text;
    }
    return NULL;
}

/* As large as it says, or the beginning of what somebody is writing there. -1: errno says why. */
static ssize_t read_all(int fd, char *data, size_t size)
{
    size_t n = 0;

    while (n < size) {
        ssize_t got = read(fd, data + n, size - n);

        if (got == 0)
            break;
        if (got < 0 && errno != EINTR)
            return -1;
        if (got > 0)
            n += (size_t)got;
    }
    return (ssize_t)n;
}

static char *read_open(const char *path, int fd, size_t *len, char *err, size_t err_size)
{
    const char *fault;
    char text[128], *data;
    struct stat st;
    ssize_t n = -1;

    if (fstat(fd, &st) < 0) {
        snprintf(err, err_size, "%s: %s", path, strerror(errno));
        return NULL;
    }
    fault = fault_of(&st, text);
    if (fault) {
        snprintf(err, err_size, "%s: %s", path, fault);
        return NULL;
    }
    *len = (size_t)st.st_size;
    data = malloc(*len + 1);
    if (data)
        n = read_all(fd, data, *len);
    if (n < 0) {
        snprintf(err, err_size, "%s: %s", path, strerror(errno));
        file_free(data, *len);
        return NULL;
    }
    *len = (size_t)n;
    return data;
}

char *file_read(const char *path, size_t *len, char *err, size_t err_size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);

    if (fd < 0) {
        snprintf(err, err_size, "%s: %s", path, strerror(errno));
        return NULL;
    }
    char *data = read_open(path, fd, len, err, err_size);
    close(fd);
    return data;
}

void file_free(char *data, size_t len)
{
    if (data)
        explicit_bzero(data, len);
    free(data);
}
