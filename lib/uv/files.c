/* Files for a static site, opened and read on libuv's thread pool: a disk, and more so a network's,
 * can make a read last as long as it likes, and the loop serves everybody else meanwhile. A path is
 * walked one segment at a time from the root's directory without following symbolic links, so that
 * no name leads out of it. The root is opened for each file, so a site that is replaced as a whole
 * is seen.
 *
 * While `busy`, fd, got, size and the piece are the worker's, and the loop's thread leaves them
 * alone; `events` is the loop's thread's at all times. So a reader that is closed while busy is
 * freed when the worker is done.
 *
 * There is one piece for each reader, and the next is read when it is asked for: a slow client
 * costs one piece, not a file. */
#include "uv/plumbing.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct file_reader {
    uv_work_t work;
    struct alk_loop *l;
    const struct file_events *events; /* NULL: closed, nobody wants to know */
    void *events_ud;
    char *root, *path, *piece;
    ssize_t got;
    uint64_t size;
    int fd;
    bool busy, opened;
};

/* Each name is looked up in a directory that is open already, so a link put in its place meanwhile
 * is not followed either. O_NONBLOCK, since opening a pipe would wait for its writer, and with it a
 * thread of the pool, of which there are few. */
static int open_below(const char *root, char *path)
{
    int dir = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC), next;
    char *segment = path, *slash;

    while (dir >= 0) {
        slash = strchr(segment, '/');
        if (slash)
            *slash = 0;
        next = openat(dir, segment,
                      O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK | (slash ? O_DIRECTORY : 0));
        close(dir);
        if (!slash)
            return next;
        dir = next;
        segment = slash + 1;
    }
    return -1;
}

/* The size is that of the open file, so it belongs to what will be read, whatever the name means by
 * then. Only regular files: a device may do things when it is read, and has no size. */
static void work_open(uv_work_t *w)
{
    struct file_reader *f = w->data;
    struct stat st;

    f->fd = open_below(f->root, f->path);
    if (f->fd < 0)
        return;
    if (fstat(f->fd, &st) || !S_ISREG(st.st_mode)) {
        close(f->fd);
        f->fd = -1;
        return;
    }
    f->size = (uint64_t)st.st_size;
}

/* 0 is the end of a file that has been cut meanwhile; an error is told in the same way: there is
 * nothing more. */
static void work_read(uv_work_t *w)
{
    struct file_reader *f = w->data;

    do {
        f->got = read(f->fd, f->piece, FILE_PIECE);
    } while (f->got < 0 && errno == EINTR);
}

/* Last, since the loop may have waited for this reader alone. */
static void destroy(struct file_reader *f)
{
    struct alk_loop *l = f->l;

    if (f->fd >= 0)
        close(f->fd);
    mem_free(&l->mem, f->root);
    mem_free(&l->mem, f->path);
    mem_free(&l->mem, f->piece);
    mem_free(&l->mem, f);
    l->open_files--;
    loop_check_end(l);
}

/* busy is cleared before the event, since its receiver asks for the next piece or closes. */
static void on_done(uv_work_t *w, int status)
{
    struct file_reader *f = w->data;

    f->busy = false;
    if (!f->events) {
        destroy(f);
        return;
    }
    if (!f->opened) {
        f->opened = true;
        f->events->opened(f->events_ud, status == 0 && f->fd >= 0, f->size);
    } else {
        f->events->piece(f->events_ud, f->piece, status == 0 && f->got > 0 ? (size_t)f->got : 0);
    }
}

static void queue(struct file_reader *f, uv_work_cb work)
{
    f->busy = true;
    f->work.data = f;
    /* It fails only without a callback. */
    uv_queue_work(f->l->uv, &f->work, work, on_done);
}

static struct file_reader *files_open(void *ud, const char *root, const char *path,
                                      const struct file_events *events, void *events_ud)
{
    struct alk_loop *l = ud;
    struct file_reader *f = mem_zalloc(&l->mem, sizeof *f);

    if (!f)
        return NULL;
    l->open_files++;
    f->l = l;
    f->fd = -1;
    f->events = events;
    f->events_ud = events_ud;
    f->root = mem_dup(&l->mem, root, strlen(root));
    f->path = mem_dup(&l->mem, path, strlen(path));
    f->piece = mem_alloc(&l->mem, FILE_PIECE);
    if (!f->root || !f->path || !f->piece) {
        destroy(f);
        return NULL;
    }
    queue(f, work_open);
    return f;
}

static void files_next(struct file_reader *f)
{
    queue(f, work_read);
}

/* Work that has begun cannot be stopped: the reader is freed when it is done. */
static void files_close(struct file_reader *f)
{
    f->events = NULL;
    if (!f->busy)
        destroy(f);
}

void files_init(struct alk_loop *l)
{
    l->files = (struct file_service){files_open, files_next, files_close, l};
}
