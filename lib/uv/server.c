/* Listeners: TCP, Unix-domain sockets, sockets handed over (by systemd, or by a process that is
 * being replaced).
 *
 * A listener is made in one go or not at all, and says in words what was wrong: ports and paths
 * come from a person. As soon as libuv has its handle it can only go by uv_close, so a failure
 * halfway closes it like any other, in a later turn; handle.data tells whether it has come that
 * far. */
#include "uv/conn.h"
#include "uv/udp.h"
#include "wire/tls.h"

#include "base/abi.h"
#include "core/dispatcher.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

/* Connections that wait for a turn of the loop. The kernel cuts it down to its own limit; with a
 * short queue it drops connects of a burst, and clients try again after a second. */
#define BACKLOG 4096

static const alk_server_options options_defaults = {.size = sizeof(alk_server_options),
                                                    .host = "127.0.0.1",
                                                    .fd = -1,
                                                    .backlog = BACKLOG,
                                                    .unix_mode = 0600};
static const struct abi abi_server_options = ABI(alk_server_options, gateway, &options_defaults);

void alk_server_options_init(alk_server_options *o, size_t size)
{
    abi_fill(&abi_server_options, o, size, &options_defaults);
}

static int complain(char *err, size_t size, int rc, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

static int complain(char *err, size_t size, int rc, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    if (err && size)
        vsnprintf(err, size, fmt, ap);
    va_end(ap);
    return rc;
}

static void on_closed(uv_handle_t *h)
{
    struct alk_server *s = h->data;
    struct alk_loop *l = s->l;

    list_del(&s->link);
    alk_tls_unref(s->tls);
    mem_free(&l->mem, s->unlink_path);
    mem_free(&l->mem, s);
    loop_check_end(l);
}

static void name_listener(const struct alk_server *s, char *out, size_t size)
{
    struct sockaddr_storage a;
    char host[64] = "";
    int n = sizeof a;

    memset(&a, 0, sizeof a);
    if (s->is_pipe) {
        snprintf(out, size, "%s", s->unlink_path ? s->unlink_path : "a Unix-domain socket");
        return;
    }
    uv_tcp_getsockname(&s->h.tcp, (struct sockaddr *)&a, &n);
    uv_ip_name((struct sockaddr *)&a, host, sizeof host);
    snprintf(out, size, "%s port %d", host, s->port);
}

/* A flood of connections is no flood of lines: all are counted, one in a second is told. */
void server_accept_failed(struct alk_server *s, int rc)
{
    alk_log_event e = {.size = sizeof e, .level = ALK_LOG_WARN, .event = "accept.failed"};
    uint64_t now = uv_hrtime();
    char name[128], text[200];

    COUNT(s->l->d, accepts_failed);
    if (s->complained_at && now - s->complained_at < SECOND)
        return;
    s->complained_at = now;
    name_listener(s, name, sizeof name);
    snprintf(text, sizeof text, "listening on %s: %s", name, uv_strerror(rc));
    e.message = text;
    node_log(s->l->d->node, &e);
}

/* status is an error when there is nothing to take. A listener that closes leaves what waits to the
 * kernel. */
static void on_connection(uv_stream_t *stream, int status)
{
    struct alk_server *s = stream->data;

    if (s->closing)
        return;
    if (status)
        server_accept_failed(s, status);
    else
        conn_accept(s);
}

/* A numeric address only: a name may have several, and a listener that is on the wrong one, or on
 * fewer than meant, is found too late. The socket is made before libuv would make it, since
 * SO_REUSEPORT has to be set before bind. libuv keeps a bind's "address in use" for uv_listen, so
 * both have one message. The port is asked for again, since 0 leaves it to the kernel. */
static int bind_tcp(struct alk_server *s, const alk_server_options *o, char *err, size_t size)
{
    struct sockaddr_storage a;
    int one = 1, rc, n = sizeof a;
    uv_os_fd_t fd;

    memset(&a, 0, sizeof a);
    if (o->port > 65535)
        return complain(err, size, ALK_EINVAL, "port %u: must be 0 to 65535", o->port);
    if (uv_ip4_addr(o->host, (int)o->port, (struct sockaddr_in *)&a) &&
        uv_ip6_addr(o->host, (int)o->port, (struct sockaddr_in6 *)&a))
        return complain(err, size, ALK_EINVAL, "host \"%s\": must be a numeric address", o->host);
    rc = uv_tcp_init_ex(s->l->uv, &s->h.tcp, a.ss_family);
    if (rc)
        return complain(err, size, ALK_ESYSTEM, "socket: %s", uv_strerror(rc));
    s->h.handle.data = s;
    if (o->reuse_port && (uv_fileno(&s->h.handle, &fd) ||
                          setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof one)))
        return complain(err, size, ALK_ESYSTEM, "SO_REUSEPORT: %s", strerror(errno));
    rc = uv_tcp_bind(&s->h.tcp, (struct sockaddr *)&a, 0);
    if (!rc)
        rc = uv_listen(&s->h.stream, (int)o->backlog, on_connection);
    if (rc)
        return complain(err, size, ALK_ESYSTEM, "listening on %s port %u: %s", o->host, o->port,
                        uv_strerror(rc));
    if (!uv_tcp_getsockname(&s->h.tcp, (struct sockaddr *)&a, &n))
        s->port = ntohs(a.ss_family == AF_INET ? ((struct sockaddr_in *)&a)->sin_port
                                               : ((struct sockaddr_in6 *)&a)->sin6_port);
    return ALK_OK;
}

/* Bound by us and not by libuv, which would remove the file at its close, whoever's it is by then.
 * Nobody can connect before listen, so the mode is right in time. */
static int bind_path(uv_pipe_t *pipe, const alk_server_options *o)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), rc = 0;

    if (fd < 0)
        return uv_translate_sys_error(errno);
    memcpy(a.sun_path, o->unix_path, strlen(o->unix_path));
    if (bind(fd, (struct sockaddr *)&a, sizeof a) || chmod(o->unix_path, (mode_t)o->unix_mode))
        rc = uv_translate_sys_error(errno);
    if (!rc)
        rc = uv_pipe_open(pipe, fd);
    if (rc)
        close(fd);
    return rc;
}

/* A socket file outlives its process when that is killed; whether anybody is behind it shows only
 * in an attempt to connect. */
static bool somebody_listens(const char *path)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), rc;

    if (fd < 0)
        return false;
    memcpy(a.sun_path, path, strlen(path));
    rc = connect(fd, (struct sockaddr *)&a, sizeof a);
    if (rc && errno == EAGAIN)
        rc = 0; /* its queue is full */
    close(fd);
    return rc == 0;
}

/* The path may be another process's by now: whoever removed our file may have begun anew there. Its
 * socket has another inode. */
static bool still_ours(const struct alk_server *s)
{
    struct stat st;

    return s->unlink_path && !lstat(s->unlink_path, &st) && (uint64_t)st.st_dev == s->device &&
           (uint64_t)st.st_ino == s->inode;
}

/* Only a socket is ever removed, and only one on which nobody listens: a mistyped path must not
 * cost a file, nor a second start the first one's clients. What the file is, to know it again at
 * the close, is asked for when it is there. */
static int bind_unix(struct alk_server *s, const alk_server_options *o, char *err, size_t size)
{
    struct stat st;
    int rc = uv_pipe_init(s->l->uv, &s->h.pipe, 0);

    if (rc)
        return complain(err, size, ALK_ESYSTEM, "socket: %s", uv_strerror(rc));
    s->h.handle.data = s;
    s->is_pipe = true;
    if (strlen(o->unix_path) >= sizeof((struct sockaddr_un *)0)->sun_path)
        return complain(err, size, ALK_EINVAL, "%s: the path is too long for a socket",
                        o->unix_path);
    if (!lstat(o->unix_path, &st) && S_ISSOCK(st.st_mode)) {
        if (somebody_listens(o->unix_path))
            return complain(err, size, ALK_ESYSTEM, "%s: another process listens on it",
                            o->unix_path);
        unlink(o->unix_path);
    }
    rc = bind_path(&s->h.pipe, o);
    if (!rc)
        rc = uv_listen(&s->h.stream, (int)o->backlog, on_connection);
    if (rc)
        return complain(err, size, ALK_ESYSTEM, "listening on %s: %s", o->unix_path,
                        uv_strerror(rc));
    if (!lstat(o->unix_path, &st)) {
        s->device = (uint64_t)st.st_dev;
        s->inode = (uint64_t)st.st_ino;
    }
    s->unlink_path = mem_dup(&s->l->mem, o->unix_path, strlen(o->unix_path));
    return ALK_OK;
}

/* Its maker has bound it, and perhaps listens already; listening again only sets the backlog. Its
 * file, when it is a Unix-domain socket, is its maker's as well and is left alone. */
static int take_over(struct alk_server *s, const alk_server_options *o, char *err, size_t size)
{
    struct sockaddr_storage a;
    socklen_t n = sizeof a;
    int rc;

    if (getsockname(o->fd, (struct sockaddr *)&a, &n))
        return complain(err, size, ALK_EINVAL, "descriptor %d is no socket", (int)o->fd);
    s->is_pipe = a.ss_family == AF_UNIX;
    rc = s->is_pipe ? uv_pipe_init(s->l->uv, &s->h.pipe, 0) : uv_tcp_init(s->l->uv, &s->h.tcp);
    if (!rc) {
        s->h.handle.data = s;
        rc = s->is_pipe ? uv_pipe_open(&s->h.pipe, o->fd) : uv_tcp_open(&s->h.tcp, o->fd);
    }
    if (!rc)
        rc = uv_listen(&s->h.stream, (int)o->backlog, on_connection);
    if (rc)
        return complain(err, size, ALK_ESYSTEM, "listening on descriptor %d: %s", (int)o->fd,
                        uv_strerror(rc));
    if (!s->is_pipe)
        s->port = ntohs(a.ss_family == AF_INET ? ((struct sockaddr_in *)&a)->sin_port
                                               : ((struct sockaddr_in6 *)&a)->sin6_port);
    return ALK_OK;
}

int alk_server_open(alk_server **out, alk_loop *l, const alk_server_options *o, char *err,
                    size_t err_size)
{
    alk_server_options own;
    struct alk_server *s;
    int rc;

    *out = NULL;
    if (err && err_size)
        *err = 0;
    o = abi_take(&abi_server_options, &own, o, err, err_size);
    if (!o)
        return ALK_EINVAL;
    if (!o->gateway || (o->fd < 0 && !o->unix_path && !o->host))
        return complain(err, err_size, ALK_EINVAL,
                        "a server needs a gateway and something to listen on");
    if (o->quic && (!o->tls || o->unix_path || o->proxy_protocol))
        return complain(err, err_size, ALK_EINVAL, "quic: needs tls, and is served on UDP alone");
    if (o->tls && !o->quic && !tls_has_streams(o->tls))
        return complain(err, err_size, ALK_EINVAL,
                        "tls: has no certificate, and a raw key is for "
                        "QUIC alone");
    if (l->closing || l->drain)
        return ALK_ECLOSED;
    s = mem_zalloc(&l->mem, sizeof *s);
    if (!s)
        return ALK_ENOMEM;
    s->l = l;
    s->service = gateway_service(o->gateway);
    s->peer_credentials = o->peer_credentials != 0;
    s->service->files = &l->files;
    s->tls = o->tls ? alk_tls_ref(o->tls) : NULL;
    s->proxy_header = o->proxy_protocol != 0;
    list_push(&l->servers, &s->link);
    rc = o->quic        ? udp_listen(s, o, err, err_size)
         : o->fd >= 0   ? take_over(s, o, err, err_size)
         : o->unix_path ? bind_unix(s, o, err, err_size)
                        : bind_tcp(s, o, err, err_size);
    /* The caller gets no handle to close after a failure. */
    if (rc) {
        if (s->h.handle.data) {
            alk_server_close(s);
        } else {
            list_del(&s->link);
            alk_tls_unref(s->tls);
            mem_free(&l->mem, s);
        }
        return rc;
    }
    /* What is accepted takes after its listener in this, without a call for each. */
    if (!s->is_pipe && !s->udp)
        uv_tcp_keepalive(&s->h.tcp, 1, KEEPALIVE_S);
    l->date_at = 0; /* the new one wants to know the date */
    *out = s;
    return ALK_OK;
}

int alk_server_port(const alk_server *s)
{
    return s->port;
}

int alk_server_fd(const alk_server *s)
{
    uv_os_fd_t fd;

    if (s->udp)
        return udp_fd(s->udp);
    return uv_fileno(&s->h.handle, &fd) ? -1 : fd;
}

/* The file goes while the socket still listens: until then nobody else takes the path, see
 * bind_unix. */
void alk_server_close(alk_server *s)
{
    if (s->closing)
        return;
    s->closing = true;
    list_del(&s->link);
    if (s->udp) {
        udp_leave(s->udp);
        alk_tls_unref(s->tls);
        mem_free(&s->l->mem, s);
        return;
    }
    list_push(&s->l->closing_servers, &s->link);
    if (still_ours(s))
        unlink(s->unlink_path);
    uv_close(&s->h.handle, on_closed);
}
