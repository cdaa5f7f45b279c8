/* Implements files.h. A path is opened once, and what is asked is asked of what was opened, so that
 * nobody can change it in between. Below a folder it is walked one segment at a time, each in a
 * directory that is open already: a link that is put in a segment's place meanwhile is not followed
 * either. */
#include "host/files.h"

#include "base/mem.h"
#include "base/utf8.h"

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
static const char *judge(const struct stat *st, int secret)
{
    if (!S_ISREG(st->st_mode))
        return "is no regular file";
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

/* Not blocking: it may be a FIFO. */
#define OPEN_FILE (O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY)

/* Of what has been opened; fd is closed. */
static int read_open(int fd, const char *path, int secret, size_t most, char **data, size_t *len,
                     char *err, size_t err_size)
{
    const char *fault;
    char large[64];
    struct stat st;
    int rc = ALK_OK;

    if (fstat(fd, &st)) {
        rc = complain(err, err_size, path, strerror(errno), ALK_ESYSTEM);
    } else if ((fault = judge(&st, secret))) {
        rc = complain(err, err_size, path, fault, ALK_EINVAL);
    } else if ((uint64_t)st.st_size > most) {
        snprintf(large, sizeof large, "is larger than %zu bytes", most);
        rc = complain(err, err_size, path, large, ALK_EINVAL);
    } else if (!(*data = malloc((size_t)st.st_size + 1))) {
        rc = ALK_ENOMEM;
    } else if (read_all(fd, *data, (size_t)st.st_size)) {
        rc = complain(err, err_size, path, "cannot be read whole", ALK_ESYSTEM);
        file_free(*data, (size_t)st.st_size);
        *data = NULL;
    } else {
        (*data)[st.st_size] = 0;
        *len = utf8_drop_bom(*data, (size_t)st.st_size);
    }
    close(fd);
    return rc;
}

int file_read(const char *path, int secret, size_t most, char **data, size_t *len, char *err,
              size_t err_size)
{
    int fd = open(path, OPEN_FILE);

    *data = NULL;
    *len = 0;
    if (fd < 0)
        return complain(err, err_size, path, strerror(errno), ALK_ESYSTEM);
    return read_open(fd, path, secret, most, data, len, err, err_size);
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

/* ---- below a folder ---- */

int folder_open(struct folder *f, const char *path, char *err, size_t err_size)
{
    f->fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return f->fd < 0 ? complain(err, err_size, path, strerror(errno), ALK_ESYSTEM) : ALK_OK;
}

void folder_close(struct folder *f)
{
    close(f->fd);
}

/* Appends the segments of path to out, which holds *len bytes. */
static const char *add_segments(struct str path, char out[FOLDER_PATH_MAX], size_t *len)
{
    const char *s = path.p, *end = s + path.n, *stop;

    for (; s < end; s = stop + (stop < end)) {
        size_t n;

        for (stop = s; stop < end && *stop != '/'; stop++)
            ;
        n = (size_t)(stop - s);
        if (n == 0 || (n == 1 && *s == '.'))
            continue;
        if (n == 2 && s[0] == '.' && s[1] == '.') {
            if (*len == 0)
                return "leads out of the folder";
            while (*len && out[--*len] != '/')
                ;
            continue;
        }
        if (n + 2 > FOLDER_PATH_MAX - *len)
            return "is too long";
        if (*len)
            out[(*len)++] = '/';
        memcpy(out + *len, s, n);
        *len += n;
    }
    return NULL;
}

static bool ends_as_folder(struct str path)
{
    struct str last = path;

    for (size_t i = 0; i < path.n; i++) {
        if (path.p[i] == '/')
            last = (struct str){path.p + i + 1, path.n - i - 1};
    }
    return last.n == 0 || str_is(last, ".") || str_is(last, "..");
}

const char *folder_path(struct str from, struct str path, char out[FOLDER_PATH_MAX])
{
    const char *fault;
    size_t len = 0;

    if (path.n && path.p[0] == '/')
        return "is an absolute path";
    if (!utf8_valid(path.p, path.n))
        return "is not UTF-8";
    for (size_t i = 0; i < path.n; i++) {
        if ((unsigned char)path.p[i] < 0x20 || path.p[i] == 0x7f || path.p[i] == '\\')
            return "has a backslash or a control character";
    }
    if (ends_as_folder(path))
        return "names no file";
    while (from.n && from.p[from.n - 1] != '/')
        from.n--;
    if ((fault = add_segments(from, out, &len)) || (fault = add_segments(path, out, &len)))
        return fault;
    out[len] = 0;
    return NULL;
}

/* Why dir has no such file, or no such folder, that could be opened. */
static const char *reason(int dir, const char *segment)
{
    int error = errno;
    struct stat st;

    if ((error == ELOOP || error == ENOTDIR) && !fstatat(dir, segment, &st, AT_SYMLINK_NOFOLLOW) &&
        S_ISLNK(st.st_mode))
        return "symbolic links are not followed";
    return strerror(error);
}

/* path is cut to its segments. -1: *why says why. */
static int open_below(int root, char *path, const char **why)
{
    int dir = root, next;
    char *segment = path, *slash;

    for (;;) {
        slash = strchr(segment, '/');
        if (slash)
            *slash = 0;
        next = openat(dir, segment, OPEN_FILE | O_NOFOLLOW | (slash ? O_DIRECTORY : 0));
        if (next < 0)
            *why = reason(dir, segment);
        if (dir != root)
            close(dir);
        if (next < 0 || !slash)
            return next;
        dir = next;
        segment = slash + 1;
    }
}

int folder_read(const struct folder *f, const char *path, size_t most, char **data, size_t *len,
                char *err, size_t err_size)
{
    char segments[FOLDER_PATH_MAX];
    const char *fault = folder_path(STR_NONE, str_of(path), segments);
    int fd;

    *data = NULL;
    *len = 0;
    if (fault)
        return complain(err, err_size, path, fault, ALK_EINVAL);
    fd = open_below(f->fd, segments, &fault);
    if (fd < 0)
        return complain(err, err_size, path, fault, ALK_ESYSTEM);
    return read_open(fd, path, 0, most, data, len, err, err_size);
}
