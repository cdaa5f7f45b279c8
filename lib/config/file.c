/* Reading files that decide who may do what: whoever can write one rules the node, whoever can
 * read a secret one has it. */
#include "config/config_int.h"
#include "config/secret.h"
#include "base/utf8.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int config_check_file(const char *path, const struct stat *st, int secret, struct config_error *err)
{
    unsigned mode = (unsigned)st->st_mode & 07777;

    if (S_ISDIR(st->st_mode))
        return config_fail(err, path, 0, "", "is a folder");
    if (!S_ISREG(st->st_mode))
        return config_fail(err, path, 0, "", "is not a file");
    if (st->st_uid != 0 && st->st_uid != geteuid())
        return config_fail(
            err, path, 0, "",
            "belongs to user %u: it must be root's or that of the user who runs this",
            (unsigned)st->st_uid);
    if (mode & (S_IWGRP | S_IWOTH))
        return config_fail(err, path, 0, "", "%s may write to it (mode %04o); chmod go-w",
                           mode & S_IWOTH ? "everyone" : "its group", mode);
    if (secret && (mode & (S_IRWXG | S_IRWXO)))
        return config_fail(err, path, 0, "", "others may read it (mode %04o); chmod 0600", mode);
    return 0;
}

static int read_all(const char *path, int fd, size_t size, char **data, size_t *len,
                    struct config_error *err)
{
    size_t n = 0;
    char *bytes = malloc(size);

    while (bytes) {
        ssize_t got = read(fd, bytes + n, size - n);

        if (got == 0) {
            bytes[n] = 0;
            *data = bytes;
            *len = utf8_drop_bom(bytes, n);
            return 0;
        }
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0) {
            secret_free(bytes);
            return config_fail(err, path, 0, "", "%s", strerror(errno));
        }
        n += (size_t)got;
        if (n > CONFIG_FILE_MAX) {
            secret_free(bytes);
            return config_fail(err, path, 0, "", "larger than %u bytes", CONFIG_FILE_MAX);
        }
        if (n == size) {
            char *more = secret_realloc(bytes, 2 * size);

            if (!more)
                secret_free(bytes);
            bytes = more;
            size *= 2;
        }
    }
    return config_fail(err, path, 0, "", "out of memory");
}

/* Opening a FIFO or a device would wait for whoever is at its other end, and with it a reload and
 * the signals behind it. The file is as large as it says, unless somebody writes to it. */
int config_read_file(const char *path, int secret, char **data, size_t *len,
                     struct config_error *err)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);

    if (fd < 0 || fstat(fd, &st) < 0) {
        int error = errno;

        if (fd >= 0)
            close(fd);
        return config_fail(err, path, 0, "", "%s", strerror(error));
    }
    int rc = config_check_file(path, &st, secret, err);
    if (rc == 0 && st.st_size > (off_t)CONFIG_FILE_MAX)
        rc = config_fail(err, path, 0, "", "larger than %u bytes", CONFIG_FILE_MAX);
    if (rc == 0)
        rc = read_all(path, fd, (size_t)st.st_size + 1, data, len, err);
    close(fd);
    return rc;
}

int config_format_of(const char *path)
{
    size_t len = strlen(path);

    return len >= 5 && strcmp(path + len - 5, ".json") == 0 ? CONFIG_JSON : CONFIG_YAML;
}
