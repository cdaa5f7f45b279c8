/* libuv's loop is embedded as its documentation says: its descriptor and its timeout are waited
 * for together with the signals and the outlet, then it is run without waiting. So nothing runs
 * behind a command's back, and every command is written as a sequence of steps.
 *
 * Signals are blocked while a session works and read from a descriptor, so that none arrives
 * between looking for it and waiting. */
#include "hub.h"
#include "http.h"
#include "print.h"
#include "tls.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#define MILLI UINT64_C(1000000)

static void need(int rc)
{
    if (rc) {
        complain("%s", rc == ALK_ENOMEM ? "out of memory" : alk_strerror(rc));
        exit(OUTCOME_CONNECTION);
    }
}

/* ---- signals --------------------------------------------------------------------------------- */

static void fill_signals(sigset_t *set)
{
    static const int numbers[] = {SIGINT, SIGTERM, SIGHUP};
    struct sigaction old;

    sigemptyset(set);
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        if (sigaction(numbers[i], NULL, &old) == 0 && old.sa_handler != SIG_IGN)
            sigaddset(set, numbers[i]);
    }
}

static void watch_signals(struct hub *h)
{
    fill_signals(&h->signals);
    h->signal_fd = signalfd(-1, &h->signals, SFD_NONBLOCK | SFD_CLOEXEC);
    need(h->signal_fd < 0 ? ALK_ESYSTEM : 0);
    signal(SIGPIPE, SIG_IGN);
}

static void on_early(int number)
{
    (void)number;
    _exit(OUTCOME_OK);
}

void hub_end_by_signals(void)
{
    sigset_t set;

    fill_signals(&set);
    for (int number = 1; number < NSIG; number++) {
        if (sigismember(&set, number) == 1)
            signal(number, on_early);
    }
}

void hub_guard(struct hub *h)
{
    if (!h->guarded)
        sigprocmask(SIG_BLOCK, &h->signals, &h->before);
    h->guarded = true;
}

void hub_release(struct hub *h)
{
    sigprocmask(SIG_SETMASK, &h->before, NULL);
    h->guarded = false;
}

static void take_signal(struct hub *h)
{
    struct signalfd_siginfo info;

    if (read(h->signal_fd, &info, sizeof info) == sizeof info)
        h->caught = (int)info.ssi_signo;
}

/* ---- stepping -------------------------------------------------------------------------------- */

static int sooner(int a, int b)
{
    return a < 0 || (b >= 0 && b < a) ? b : a;
}

void hub_step(struct hub *h, struct outlet *out, int max_ms)
{
    bool full = out && outlet_full(out);
    struct pollfd fds[] = {
        {.fd = h->signal_fd, .events = POLLIN},
        {.fd = full ? -1 : uv_backend_fd(&h->uv), .events = POLLIN},
        {.fd = out ? out->fd : -1, .events = (short)(out && out->waiting.len ? POLLOUT : 0)},
    };

    if (!full)
        max_ms = sooner(max_ms, uv_backend_timeout(&h->uv));
    poll(fds, sizeof fds / sizeof *fds, max_ms);
    if (fds[0].revents)
        take_signal(h);
    /* A reader that has gone is noticed before there is something for it. */
    if (fds[2].revents & POLLERR && !out->error)
        out->error = EPIPE;
    if (fds[2].revents & POLLOUT)
        outlet_flush(out);
    if (!full)
        uv_run(&h->uv, UV_RUN_NOWAIT);
}

static uint64_t clock_ms(void)
{
    return uv_hrtime() / MILLI;
}

void hub_pause(struct hub *h, int ms)
{
    uint64_t end = clock_ms() + (uint64_t)ms, now;

    while (!h->caught && (now = clock_ms()) < end)
        hub_step(h, NULL, (int)(end - now));
}

/* ---- dialling -------------------------------------------------------------------------------- */

static void on_dial(alk_dialer *dialer, const alk_dial_event *e, void *ud)
{
    struct hub *h = ud;

    if (dialer != h->dialer)
        return;
    if (e->state == ALK_DIAL_OPEN) {
        h->state = HUB_OPEN;
        h->opened = true;
        h->status = 0;
    } else if (e->state != ALK_DIAL_READY) {
        h->state = e->retry_ms == UINT64_MAX ? HUB_DOWN : HUB_DIALLING;
        h->failures++;
        h->status = e->status;
        h->retry_ms = e->retry_ms;
        snprintf(h->message, sizeof h->message, "%s", e->message);
    }
    if (h->on_event)
        h->on_event(h->ud, e);
}

static void on_dialer_gone(void *ud)
{
    struct hub *h = ud;

    h->dialers--;
}

void hub_dial_options(const struct hub *h, alk_dial_options *o)
{
    int64_t ms = h->options->timeout_ms;

    alk_dial_options_init(o, sizeof *o);
    o->url = h->settings->base;
    /* A framed stream has no upgrade that could carry it. */
    if (strncmp(h->settings->scheme, "alknet", 6))
        o->token = h->settings->token;
    else
        o->request_token = h->settings->token;
    o->tls = h->tls;
    o->connect_timeout_ms = CONNECT_TIMEOUT_MS;
    if (ms > 0 && ms + TIMEOUT_GRACE_MS < CONNECT_TIMEOUT_MS)
        o->connect_timeout_ms = (uint32_t)ms + TIMEOUT_GRACE_MS;
}

static void drop_dialer(struct hub *h)
{
    if (h->dialer)
        alk_dialer_close(h->dialer);
    h->dialer = NULL;
    h->state = HUB_DOWN;
}

int hub_dial(struct hub *h, alk_dial_options *o)
{
    char why[HUB_MESSAGE_MAX];
    int rc;

    drop_dialer(h);
    o->on_event = on_dial;
    o->ud_free = on_dialer_gone;
    o->ud = h;
    h->status = 0;
    rc = alk_dial(&h->dialer, h->loop, o, why, sizeof why);
    if (rc == ALK_EINVAL) {
        complain("%s", why);
        return OUTCOME_USAGE;
    }
    need(rc);
    h->dialers++;
    h->state = HUB_DIALLING;
    hub_step(h, NULL, 0);
    return OUTCOME_OK;
}

alk_connection *hub_connection(const struct hub *h)
{
    return h->dialer ? alk_dialer_connection(h->dialer) : NULL;
}

bool hub_refused(const struct hub *h)
{
    return h->status == 401 || h->status == 403 || (!h->opened && tls_hint(h->message));
}

/* ---- life ------------------------------------------------------------------------------------ */

void hub_init(struct hub *h, const struct options *o, const struct settings *s,
              alk_registry *registry, const alk_limits *limits)
{
    alk_node_options no;
    alk_dispatcher *d = NULL;

    memset(h, 0, sizeof *h);
    h->options = o;
    h->settings = s;
    h->registry = alk_registry_ref(registry);
    watch_signals(h);
    if (tls_spoken(s)) {
        h->tls = tls_client(o, s);
        if (!h->tls)
            exit(OUTCOME_USAGE);
    }
    alk_node_options_init(&no, sizeof no);
    no.limits = limits;
    need(alk_node_new(&h->node, registry, &no));
    need(alk_dispatcher_new(&d, h->node));
    need(uv_loop_init(&h->uv) ? ALK_ESYSTEM : 0);
    need(alk_loop_open(&h->loop, &h->uv, d));
}

void hub_hang_up(struct hub *h)
{
    drop_dialer(h);
    hub_step(h, NULL, 0);
}

static void leave(struct hub *h)
{
    uint64_t end = clock_ms() + HUB_CLOSE_MS, now;

    hub_hang_up(h);
    while (h->dialers && (now = clock_ms()) < end)
        hub_step(h, NULL, (int)(end - now));
}

static void on_closed(void *ud)
{
    struct hub *h = ud;

    h->closed = true;
}

void hub_fini(struct hub *h)
{
    leave(h);
    alk_loop_close(h->loop, on_closed, h);
    while (!h->closed)
        uv_run(&h->uv, UV_RUN_ONCE);
    uv_run(&h->uv, UV_RUN_DEFAULT);
    uv_loop_close(&h->uv);
    alk_tls_unref(h->tls);
    alk_node_unref(h->node);
    alk_registry_unref(h->registry);
    close(h->signal_fd);
}

void hub_die(struct hub *h)
{
    int number = h->caught;
    sigset_t one;

    leave(h);
    signal(number, SIG_DFL);
    raise(number);
    sigemptyset(&one);
    sigaddset(&one, number);
    sigprocmask(SIG_UNBLOCK, &one, NULL);
}
