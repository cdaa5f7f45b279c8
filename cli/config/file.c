/* Reading files that decide who may do what: whoever can write one rules the daemon, whoever can
 * read a secret one has it. */
#include "parts.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int check_mode(const char *path, int fd, int secret, struct config_error *err)
{
    struct stat st;

    if (fstat(fd, &st) < 0)
        return config_fail(err, path, 0, "", "%s", strerror(errno));
    if (S_ISDIR(st.st_mode))
        return config_fail(err, path, 0, "", "is a folder");
    if (!S_ISREG(st.st_mode))
        return 0;
    if (st.st_mode & S_IWOTH)
        return config_fail(err, path, 0, "", "everyone may write to it (mode %04o); chmod o-w",
                           (unsigned)st.st_mode & 07777);
    if (secret && (st.st_mode & (S_IRWXG | S_IRWXO)))
        return config_fail(err, path, 0, "", "others may read it (mode %04o); chmod 0600",
                           (unsigned)st.st_mode & 07777);
    return 0;
}

static int read_all(const char *path, int fd, char **data, size_t *len, struct config_error *err)
{
    size_t size = 16384, n = 0;
    char *bytes = malloc(size);

    while (bytes) {
        ssize_t got = read(fd, bytes + n, size - n);

        if (got == 0) {
            *data = bytes;
            *len = n;
            return 0;
        }
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0) {
            free(bytes);
            return config_fail(err, path, 0, "", "%s", strerror(errno));
        }
        n += (size_t)got;
        if (n > CONFIG_FILE_MAX) {
            free(bytes);
            return config_fail(err, path, 0, "", "larger than %u bytes", CONFIG_FILE_MAX);
        }
        if (n == size) {
            char *more = realloc(bytes, 2 * size);

            if (!more)
                free(bytes);
            bytes = more;
            size *= 2;
        }
    }
    return config_fail(err, path, 0, "", "out of memory");
}

int config_read_file(const char *path, int secret, char **data, size_t *len,
                     struct config_error *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        return config_fail(err, path, 0, "", "%s", strerror(errno));
    int rc = check_mode(path, fd, secret, err);
    if (rc == 0)
        rc = read_all(path, fd, data, len, err);
    close(fd);
    return rc;
}

int config_format_of(const char *path)
{
    size_t len = strlen(path);

    return len >= 5 && strcmp(path + len - 5, ".json") == 0 ? CONFIG_JSON : CONFIG_YAML;
}
