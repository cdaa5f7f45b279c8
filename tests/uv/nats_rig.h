/* A broker of NATS in a process of its own, and buses on a rig's loop that write down what they hear. */
#ifndef TESTS_UV_NATS_RIG_H
#define TESTS_UV_NATS_RIG_H

#include "support/suite.h"
#include "uv/nats.h"
#include "uv/rig.h"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/wait.h>

struct broker {
    pid_t pid;
    int port; /* 0: the kernel's choice at the first start, and the same at each later one */
    const char *config; /* the text of its configuration */
    char dir[64], url[64];
};

static inline void broker_run(const struct broker *b, const char *file, char *port)
{
    char path[4096];
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    dup2(null, STDIN_FILENO);
    dup2(null, STDOUT_FILENO);
    dup2(null, STDERR_FILENO);
    snprintf(path, sizeof path, "/usr/sbin:/usr/bin:%s/build/deps/bin", getenv("ALKNET_ROOT"));
    setenv("PATH", path, 1);
    execlp("nats-server", "nats-server", "-a", "127.0.0.1", "-p", port, "--ports_file_dir", b->dir,
           "-c", file, NULL);
    _exit(127);
}

/* It writes down its ports when it listens: {"nats":["nats://127.0.0.1:4222"], …}. */
static inline void broker_ports(struct broker *b)
{
    char name[128], text[256];

    snprintf(name, sizeof name, "%s/nats-server_%d.ports", b->dir, (int)b->pid);
    for (uint64_t since = now_ms();; usleep(1000)) {
        FILE *f = fopen(name, "r");
        size_t len = f ? fread(text, 1, sizeof text - 1, f) : 0;
        char *at;

        if (f)
            fclose(f);
        text[len] = 0;
        at = strstr(text, "127.0.0.1:");
        if (at && strchr(at, '"')) {
            b->port = atoi(strchr(at, ':') + 1);
            break;
        }
        if (now_ms() > since + CLIENT_PATIENCE || waitpid(b->pid, NULL, WNOHANG))
            ck_abort_msg("nats-server does not start");
    }
    unlink(name);
}

static inline void broker_start(struct broker *b)
{
    char file[128], port[16];
    FILE *f;

    if (!*b->dir) {
        strcpy(b->dir, "/tmp/alknet-nats-XXXXXX");
        ck_assert_ptr_nonnull(mkdtemp(b->dir));
    }
    snprintf(file, sizeof file, "%s/config", b->dir);
    f = fopen(file, "w");
    ck_assert_ptr_nonnull(f);
    fputs(b->config ? b->config : "", f);
    fclose(f);
    snprintf(port, sizeof port, "%d", b->port ? b->port : -1);
    b->pid = fork();
    ck_assert_int_ge(b->pid, 0);
    if (!b->pid)
        broker_run(b, file, port);
    broker_ports(b);
    snprintf(b->url, sizeof b->url, "nats://127.0.0.1:%d", b->port);
}

static inline void broker_kill(struct broker *b)
{
    if (b->pid > 0) {
        kill(b->pid, SIGKILL);
        waitpid(b->pid, NULL, 0);
    }
    b->pid = 0;
}

static inline void broker_free(struct broker *b)
{
    char file[128];

    broker_kill(b);
    snprintf(file, sizeof file, "%s/config", b->dir);
    unlink(file);
    rmdir(b->dir);
}

/* ---- buses ------------------------------------------------------------------------------------- */

#define HEARD_MAX 100000

struct listener {
    struct rig *r;
    struct bus *b;
    struct nats_options o;
    const char *servers[2];
    unsigned ups, downs, messages;
    size_t bytes;
    char why[300], subject[64], last[64];
    size_t last_len;
    bool up;
    bool ordered; /* each message begins with its number */
    bool close_on_message, close_on_state;
    const char *drop; /* a subject that is unsubscribed by the next message */
};

static inline void listener_message(void *ud, const char *subject, const void *data, size_t len)
{
    struct listener *l = ud;

    must(l->b);
    snprintf(l->subject, sizeof l->subject, "%s", subject);
    l->last_len = len;
    len = len < sizeof l->last ? len : sizeof l->last - 1;
    memcpy(l->last, data, len);
    l->last[len] = 0;
    if (l->ordered)
        must(strtoul(l->last, NULL, 10) == l->messages);
    l->messages++;
    l->bytes += l->last_len;
    if (l->drop)
        l->b->ops->unsubscribe(l->b, l->drop);
    l->drop = NULL;
    if (l->close_on_message) {
        nats_close(l->b);
        l->b = NULL;
    }
}

static inline void listener_state(void *ud, bool up, const char *why)
{
    struct listener *l = ud;

    must(l->b && up == !why);
    l->up = up;
    l->ups += up;
    l->downs += !up;
    snprintf(l->why, sizeof l->why, "%s", why ? why : "");
    if (l->close_on_state) {
        nats_close(l->b);
        l->b = NULL;
    }
}

static inline void listener_init(struct listener *l, struct rig *r, const struct broker *b)
{
    memset(l, 0, sizeof *l);
    l->r = r;
    l->servers[0] = b->url;
    l->o.servers = l->servers;
    l->o.server_count = 1;
    l->o.name = "test";
}

static inline void listener_open(struct listener *l)
{
    char err[200] = "";

    ck_assert_msg(!nats_open(&l->b, l->r->l, &l->o, err, sizeof err), "%s", err);
    l->b->on_message = listener_message;
    l->b->on_state = listener_state;
    l->b->ud = l;
}

static inline void listener_up(struct listener *l, struct rig *r, const struct broker *b)
{
    listener_init(l, r, b);
    listener_open(l);
    rig_until(r, l->up);
}

static inline int say(struct listener *l, const char *subject, const char *text)
{
    return l->b->ops->publish(l->b, subject, text, strlen(text));
}

/* Until the broker knows of it: a message comes back. */
static inline void listener_subscribe(struct listener *l, const char *subject)
{
    unsigned before = l->messages;

    ck_assert_int_eq(l->b->ops->subscribe(l->b, subject), 0);
    ck_assert_int_eq(say(l, subject, "known?"), 0);
    rig_until(l->r, l->messages > before);
    l->messages = before;
    l->bytes = 0;
}

#endif
