/* Everything is asked as the user that runs this. Addresses are asked for with any port: whether one
 * is free can only be told by taking it. */
#include "serve/places.h"

#include <alknet/gateway.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define LINKS_MAX 40 /* the kernel follows no more */

static int blame(const struct config *cfg, const char *pointer, const char *path, const char *why,
                 struct config_error *err)
{
    config_fail(err, path, 0, "", "%s", why);
    return config_blame(cfg, pointer, err);
}

/* Whether a file can be made there. */
static int check_folder_of(const struct config *cfg, const char *pointer, const char *path,
                           struct config_error *err)
{
    const char *slash = strrchr(path, '/');
    char folder[4096];

    snprintf(folder, sizeof folder, "%.*s", slash ? (int)(slash - path) + 1 : 1,
             slash ? path : ".");
    if (faccessat(AT_FDCWD, folder, W_OK | X_OK, AT_EACCESS) < 0)
        return blame(cfg, pointer, folder, strerror(errno), err);
    return 0;
}

/* What is to be made, where it is not there yet: a link to nothing is in its way. */
static int check_made(const struct config *cfg, const char *pointer, const char *path,
                      struct config_error *err)
{
    struct stat st;

    if (access(path, F_OK) == 0 || errno != ENOENT)
        return 0;
    if (lstat(path, &st) == 0)
        return blame(cfg, pointer, path, "is a link to a file that is not there", err);
    return check_folder_of(cfg, pointer, path, err);
}

/* The log is made where the links lead to. */
static int check_log_made(const struct config *cfg, struct config_error *err)
{
    char path[4096], to[4096];
    ssize_t n;

    snprintf(path, sizeof path, "%s", cfg->log.file);
    for (int i = 0; i < LINKS_MAX && (n = readlink(path, to, sizeof to - 1)) >= 0; i++) {
        const char *slash = strrchr(path, '/');
        size_t folder = *to == '/' || !slash ? 0 : (size_t)(slash - path) + 1;

        if (folder + (size_t)n >= sizeof path)
            return blame(cfg, "/log/file", path, strerror(ENAMETOOLONG), err);
        memcpy(path + folder, to, (size_t)n);
        path[folder + (size_t)n] = 0;
    }
    return check_folder_of(cfg, "/log/file", path, err);
}

static int check_log(const struct config *cfg, struct config_error *err)
{
    int fd = open(cfg->log.file, O_WRONLY | O_APPEND | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);

    if (fd < 0 && errno == ENOENT)
        return check_log_made(cfg, err);
    if (fd < 0)
        return blame(cfg, "/log/file", cfg->log.file, strerror(errno), err);
    close(fd);
    return 0;
}

/* An old socket is replaced, another file is not. */
static int check_socket(const struct config *cfg, const char *pointer, const char *path,
                        struct config_error *err)
{
    struct stat st;

    if (lstat(path, &st) == 0 && !S_ISSOCK(st.st_mode))
        return blame(cfg, pointer, path, "is there, and is no socket", err);
    return check_folder_of(cfg, pointer, path, err);
}

/* Whether this machine has the address; any port will do. */
static int check_host(const struct config *cfg, const char *pointer, const char *host,
                      struct config_error *err)
{
    struct addrinfo *info, hints = {.ai_flags = AI_NUMERICHOST, .ai_socktype = SOCK_STREAM};
    int rc = getaddrinfo(host, "0", &hints, &info), fd;

    if (rc)
        return blame(cfg, pointer, host, gai_strerror(rc), err);
    fd = socket(info->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    rc = fd < 0 || bind(fd, info->ai_addr, info->ai_addrlen) < 0 ? errno : 0;
    if (fd >= 0)
        close(fd);
    freeaddrinfo(info);
    return rc ? blame(cfg, pointer, host, strerror(rc), err) : 0;
}

static int check_listen(const struct config *cfg, const char *at, const struct config_listen *l,
                        struct config_error *err)
{
    char pointer[48];

    snprintf(pointer, sizeof pointer, "%s/%s", at, l->unix_path ? "unix" : "host");
    return l->unix_path ? check_socket(cfg, pointer, l->unix_path, err)
                        : check_host(cfg, pointer, l->host, err);
}

static int check_listens(const struct config *cfg, struct config_error *err)
{
    const struct config_listen *items = cfg->listen.items;
    char at[32];

    for (size_t i = 0; i < cfg->listen.count; i++) {
        snprintf(at, sizeof at, "/listen/%zu", i);
        if (check_listen(cfg, at, &items[i], err) < 0)
            return -1;
    }
    return cfg->has_metrics ? check_listen(cfg, "/metrics/listen", &cfg->metrics, err) : 0;
}

/* Neither of the two is written over. */
static int check_certificate(const struct config *cfg, const struct config_certificate *own,
                             struct config_error *err)
{
    struct stat st;

    if (access(own->certificate, F_OK) < 0 && errno == ENOENT && lstat(own->key, &st) == 0)
        return blame(cfg, "/tls", own->key, "is there, and its certificate is not", err);
    return check_made(cfg, "/tls", own->certificate, err);
}

int places_check(const struct config *cfg, struct config_error *err)
{
    const struct config_certificate *own = cfg->tls.items.items;

    if ((cfg->log.file && check_log(cfg, err) < 0) || check_listens(cfg, err) < 0)
        return -1;
    if (cfg->tls.used && cfg->tls.self_signed && check_certificate(cfg, own, err) < 0)
        return -1;
    return cfg->node_key_used ? check_made(cfg, "/node_key", cfg->node_key, err) : 0;
}

int places_check_site(const struct config *cfg, struct config_error *err)
{
    struct stat st;

    if (cfg->gateway.decoy != ALK_DECOY_STATIC_SITE)
        return 0;
    if (stat(cfg->gateway.target, &st) < 0)
        return blame(cfg, "/gateway/decoy/target", cfg->gateway.target, strerror(errno), err);
    if (!S_ISDIR(st.st_mode))
        return blame(cfg, "/gateway/decoy/target", cfg->gateway.target, "is no folder", err);
    return 0;
}
