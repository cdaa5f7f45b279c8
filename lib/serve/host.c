/* A host's life, and its main thread. Everything is opened by the thread that asks for the start,
 * so that what fails is said there; then the main thread runs the service until it has stopped, and
 * its last act is the last event. */
#include "serve/host_int.h"

#include "base/abi.h"
#include "base/buf.h"
#include "core/registry.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* ---- what is logged, and other events of the main thread ------------------------------------- */

static int put_text(struct buf *b, const char *name, const char *value, size_t len)
{
    if (!value)
        return 0;
    return buf_printf(b, ",\"%s\":", name) | buf_json_string(b, value, len);
}

static int put_member(struct buf *b, const char *name, const char *value)
{
    return value ? put_text(b, name, value, strlen(value)) : 0;
}

static int put_number(struct buf *b, const char *name, uint64_t value)
{
    return value ? buf_printf(b, ",\"%s\":%llu", name, (unsigned long long)value) : 0;
}

static int put_log(struct buf *b, const alk_log_event *e)
{
    int rc = buf_puts(b, "{\"event\":") | buf_json_string(b, e->event, strlen(e->event));

    rc |= put_text(b, "message", e->message, e->message_len);
    rc |= put_text(b, "request_id", e->request_id, e->request_id_len);
    rc |= put_member(b, "identity", e->identity);
    rc |= put_text(b, "operation", e->operation, e->operation_len);
    rc |= put_text(b, "outcome", e->outcome, e->outcome_len);
    rc |= put_member(b, "remote", e->remote);
    rc |= e->claim ? buf_puts(b, ",\"claim\":") | buf_puts(b, e->claim) : 0;
    rc |= put_number(b, "duration_us", e->duration_us) | put_number(b, "count", e->count);
    rc |= put_member(b, "address", e->address) | put_number(b, "port", e->port);
    rc |= put_number(b, "code", e->code) | put_member(b, "tenant", e->tenant);
    return rc | put_member(b, "traceparent", e->traceparent) | buf_puts(b, "}");
}

/* On any thread, in the middle of other work. */
static void on_log(void *ud, const alk_log_event *e)
{
    alk_host *h = ud;
    struct event *ev = NULL;
    struct mem mem;
    struct buf b;

    mem_init(&mem, NULL, NULL);
    buf_init(&b, &mem);
    if (!put_log(&b, e))
        ev = event_new(ALK_HOST_LOG, buf_at(&b), b.len);
    buf_fini(&b);
    if (!ev)
        return;
    ev->e.rc = (int32_t)e->level;
    events_put_log(&h->events, ev);
}

static void on_listening(void *ud, const char *address, int port, const char *scheme)
{
    alk_host *h = ud;
    bool v6 = strchr(address, ':') != NULL;
    struct event *ev = NULL;
    struct mem mem;
    struct buf b;
    int rc;

    mem_init(&mem, NULL, NULL);
    buf_init(&b, &mem);
    if (!port) {
        rc = buf_puts(&b, "{\"path\":") | buf_json_string(&b, address, strlen(address));
    } else {
        rc = buf_puts(&b, "{\"address\":") | buf_json_string(&b, address, strlen(address));
        rc |= buf_printf(&b, ",\"port\":%d,\"scheme\":\"%s\",\"url\":\"%s://%s%s%s:%d\"", port,
                         scheme, scheme, v6 ? "[" : "", address, v6 ? "]" : "", port);
    }
    if (!(rc | buf_puts(&b, "}")))
        ev = event_new(ALK_HOST_LISTENING, buf_at(&b), b.len);
    buf_fini(&b);
    if (ev)
        events_put_one(&h->events, ev);
}

/* ---- the main thread ------------------------------------------------------------------------- */

/* Without its message, out of memory. */
static void tell_reload(alk_host *h, struct command *c, int rc, const char *message)
{
    struct event *ev = NULL;
    struct mem mem;
    struct buf b;

    mem_init(&mem, NULL, NULL);
    buf_init(&b, &mem);
    if (*message && !(buf_puts(&b, "{\"message\":") |
                      buf_json_string(&b, message, strlen(message)) | buf_puts(&b, "}")))
        ev = event_new(ALK_HOST_RELOADED, buf_at(&b), b.len);
    buf_fini(&b);
    if (!ev) {
        ev = c->told;
        c->told = NULL;
    }
    ev->e.rc = rc;
    events_put_one(&h->events, ev);
}

static int read_config(struct config **out, const alk_host *h, const char *text, size_t len,
                       struct config_error *err)
{
    const struct config_source s = {.file = h->file,
                                    .text = text,
                                    .len = len,
                                    .workers = h->o.workers,
                                    .cores = uv_available_parallelism(),
                                    .embedded = !h->o.daemon};

    return config_load(out, &s, err);
}

/* Its id: what the file holds now is to be taken. */
static void reload(alk_host *h, struct command *c)
{
    struct config_error err;
    struct config *cfg;
    char changed[256] = "";
    int rc = read_config(&cfg, h, c->id ? NULL : c->text, c->len, &err);

    if (rc == 0)
        rc = service_reload(h->service, cfg, changed, sizeof changed, &err);
    tell_reload(h, c, rc ? ALK_ECONFIG : ALK_OK, rc ? err.text : changed);
}

static void stop(alk_host *h)
{
    uint32_t asked = __atomic_exchange_n(&h->stop, 0, __ATOMIC_ACQ_REL);

    h->stops_now |= (asked & HOST_STOP_NOW) != 0;
    if (asked)
        service_stop(h->service, (asked & HOST_STOP_NOW) != 0);
}

static void on_main(uv_async_t *async)
{
    alk_host *h = async->data;
    struct event *room;
    struct list now;

    list_init(&now);
    room = inbox_take(&h->main_in, &now);
    stop(h);
    while (!list_empty(&now)) {
        struct command *c = container_of(now.next, struct command, link);

        list_del(&c->link);
        if (h->stops_now)
            tell_reload(h, c, ALK_ECLOSED, "it is stopping");
        else
            reload(h, c);
        command_free(c);
        stop(h);
    }
    if (room)
        events_put_one(&h->events, room);
}

static void on_stopped(void *ud)
{
    alk_host *h = ud;
    struct list late;

    list_init(&late);
    inbox_close(&h->main_in, &late);
    while (!list_empty(&late)) {
        struct command *c = container_of(late.next, struct command, link);

        list_del(&c->link);
        tell_reload(h, c, ALK_ECLOSED, "it has stopped");
        command_free(c);
    }
}

static void run(void *ud)
{
    alk_host *h = ud;

    uv_run(&h->loop, UV_RUN_DEFAULT);
    __atomic_store_n(&h->state, HOST_STOPPED, __ATOMIC_RELEASE);
    events_put_last(&h->events, h->last);
}

/* ---- the start ------------------------------------------------------------------------------- */

int host_complain(char *err, size_t size, int rc, const char *text)
{
    if (err)
        snprintf(err, size, "%s", text);
    return rc;
}

static void fill_service(alk_host *h, struct service_options *o)
{
    *o = (struct service_options){.cfg = h->cfg,
                                  .reg = h->reg,
                                  .loop = &h->loop,
                                  .sockets = h->o.sockets,
                                  .on_worker = work_open,
                                  .on_net = work_net,
                                  .on_gone = work_gone,
                                  .on_listening = on_listening,
                                  .on_draining = work_draining,
                                  .on_drained = work_drained,
                                  .on_stopped = on_stopped,
                                  .ud = h};
    o->log.log = h->o.log ? h->o.log : h->o.log_events ? on_log : NULL;
    o->log.ud = h->o.log ? h->o.log_ud : h;
    o->log.level = h->cfg->log.level;
    uv_mutex_lock(&h->lock);
    h->cfg = NULL;
    h->reg = NULL;
    /* Who neither hears of sessions nor serves anything has no use for their ids. */
    if (h->o.sessions || h->serves)
        o->on_session = work_session;
    uv_mutex_unlock(&h->lock);
}

/* What the start has opened on the main loop, when it fails. */
static void close_loop(alk_host *h, bool has_inbox)
{
    struct list none;

    list_init(&none);
    if (has_inbox)
        inbox_close(&h->main_in, &none);
    uv_run(&h->loop, UV_RUN_DEFAULT);
    uv_loop_close(&h->loop);
}

static int open_service(alk_host *h, struct config_error *err)
{
    struct service_options o;

    fill_service(h, &o);
    __atomic_store_n(&h->state, HOST_STARTING, __ATOMIC_RELEASE);
    if (service_open(&h->service, &o, err) < 0) {
        __atomic_store_n(&h->state, HOST_STOPPED, __ATOMIC_RELEASE);
        return -1;
    }
    __atomic_store_n(&h->state, HOST_RUNNING, __ATOMIC_RELEASE);
    if (!uv_thread_create(&h->thread, run, h)) {
        h->has_thread = true;
        return 0;
    }
    __atomic_store_n(&h->state, HOST_STOPPED, __ATOMIC_RELEASE);
    service_stop(h->service, 1);
    uv_run(&h->loop, UV_RUN_DEFAULT);
    service_free(h->service);
    h->service = NULL;
    return config_fail(err, "host", 0, "", "cannot start a thread");
}

/* With its first loop, libuv opens a pipe for signals, and ends the process when there are no
 * descriptors for that. So it is seen before whether there are some. */
static int open_loop(alk_host *h, struct config_error *err)
{
    uv_file fds[2][2];
    int rc = uv_pipe(fds[0], 0, 0);

    if (!rc) {
        rc = uv_pipe(fds[1], 0, 0);
        for (int i = 0; i < 2 && !rc; i++)
            close(fds[1][i]);
        for (int i = 0; i < 2; i++)
            close(fds[0][i]);
    }
    if (!rc)
        rc = uv_loop_init(&h->loop);
    return rc ? config_fail(err, "libuv", 0, "", "%s", uv_strerror(rc)) : 0;
}

static int start(alk_host *h, struct config_error *err)
{
    if (open_loop(h, err) < 0)
        return -1;
    if (inbox_open(&h->main_in, &h->loop, on_main, h)) {
        close_loop(h, false);
        return config_fail(err, "libuv", 0, "", "cannot open a handle");
    }
    uv_unref((uv_handle_t *)&h->main_in.async); /* the service keeps the loop alive */
    if (open_service(h, err) < 0) {
        close_loop(h, h->main_in.open);
        return -1;
    }
    return 0;
}

static int try_it(alk_host *h, struct config_error *err)
{
    struct service_options o;
    int rc;

    if (open_loop(h, err) < 0)
        return -1;
    fill_service(h, &o);
    rc = service_check(&o, err);
    close_loop(h, false);
    return rc;
}

/* Threads inherit the mask: none of the library's takes a signal of the program's. Those of a fault
 * are the fault's. */
static void block_signals(sigset_t *before)
{
    static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS};
    sigset_t all;

    sigfillset(&all);
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++)
        sigdelset(&all, faults[i]);
    pthread_sigmask(SIG_SETMASK, &all, before);
}

int alk_host_start(alk_host *h, char *err, size_t err_size)
{
    struct config_error why = {""};
    sigset_t before;
    int rc;

    if (!host_is_here(h))
        return host_complain(err, err_size, ALK_ECLOSED, "this process has been forked");
    uv_mutex_lock(&h->lock);
    bool first = h->cfg != NULL && !h->started;
    h->started = true;
    uv_mutex_unlock(&h->lock);
    if (!first)
        return host_complain(err, err_size, ALK_EINVAL, "it has been started before");
    block_signals(&before);
    rc = h->o.check ? try_it(h, &why) : start(h, &why);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (rc < 0)
        events_drop(&h->events);
    return rc < 0 ? host_complain(err, err_size, ALK_ECONFIG, why.text) : ALK_OK;
}

/* ---- before ---------------------------------------------------------------------------------- */

const char *alk_host_config(alk_host *h, const char *member, size_t *len)
{
    struct kept_text *t = NULL;
    yyjson_val *v;
    char *text = NULL;

    *len = 0;
    if (!host_is_here(h))
        return NULL;
    uv_mutex_lock(&h->lock);
    v = h->cfg ? yyjson_obj_get(yyjson_doc_get_root(h->cfg->text.doc), member) : NULL;
    if (v && (text = yyjson_val_write(v, 0, len)) && (t = host_alloc(sizeof *t + *len + 1))) {
        memcpy(t->text, text, *len + 1);
        list_push(&h->texts, &t->link);
    }
    uv_mutex_unlock(&h->lock);
    free(text);
    return t ? t->text : NULL;
}

alk_registry *alk_host_registry(alk_host *h)
{
    return host_is_here(h) ? h->reg : NULL;
}

int alk_host_add(alk_host *h, const alk_operation *op, uint64_t tag, char *err, size_t err_size)
{
    struct host_operation *own;
    alk_operation with;
    bool open;
    int rc;

    if (!host_is_here(h))
        return host_complain(err, err_size, ALK_ECLOSED, "this process has been forked");
    op = abi_take(&abi_operation, &with, op, NULL, 0);
    if (!op || op->handler)
        return host_complain(err, err_size, ALK_EINVAL,
                             "alk_operation: begun by alk_operation_init, and without a handler");
    own = host_alloc(sizeof *own);
    if (!own)
        return host_complain(err, err_size, ALK_ENOMEM, "out of memory");
    *own = (struct host_operation){h, tag};
    with = *op;
    with.handler = work_serve;
    with.ud = own;
    with.ud_free = host_free;
    uv_mutex_lock(&h->lock);
    open = h->reg && !h->started;
    rc = open ? registry_add_at_home(h->reg, &with) : ALK_EFROZEN;
    h->serves |= rc == ALK_OK;
    if (!open) {
        host_free(own);
        host_complain(err, err_size, rc, "it has been started before");
    } else if (rc) {
        host_complain(err, err_size, rc,
                      *alk_registry_error(h->reg) ? alk_registry_error(h->reg) : alk_strerror(rc));
    }
    uv_mutex_unlock(&h->lock);
    return rc;
}

/* ---- life ------------------------------------------------------------------------------------ */

/* A child finds the page wiped, whoever forks, and no lock is looked at before. */
static int mark_process(alk_host *h)
{
    void *page = mmap(NULL, (size_t)sysconf(_SC_PAGESIZE), PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (page == MAP_FAILED)
        return ALK_ENOMEM;
    h->here = page;
    *h->here = 1;
#ifdef MADV_WIPEONFORK
    madvise(page, (size_t)sysconf(_SC_PAGESIZE), MADV_WIPEONFORK);
#endif
    return ALK_OK;
}

static int init(alk_host *h)
{
    list_init(&h->texts);
    list_init(&h->commands);
    list_init(&h->staged);
    list_init(&h->streams);
    mem_init(&h->mem, NULL, NULL);
    if (mark_process(h))
        return ALK_ENOMEM;
    if (uv_mutex_init(&h->lock))
        goto page;
    if (inbox_init(&h->main_in))
        goto lock;
    if (inbox_init(&h->work_in))
        goto main_in;
    if (subjects_init(&h->subjects))
        goto work_in;
    if (events_init(&h->events, &h->o))
        goto subjects;
    return ALK_OK;
subjects:
    subjects_fini(&h->subjects);
work_in:
    inbox_fini(&h->work_in);
main_in:
    inbox_fini(&h->main_in);
lock:
    uv_mutex_destroy(&h->lock);
page:
    munmap(h->here, (size_t)sysconf(_SC_PAGESIZE));
    return ALK_ENOMEM;
}

static void fini(alk_host *h)
{
    while (!list_empty(&h->texts)) {
        struct kept_text *t = container_of(h->texts.next, struct kept_text, link);

        list_del(&t->link);
        host_free(t);
    }
    map_fini(&h->connections);
    events_fini(&h->events);
    subjects_fini(&h->subjects);
    inbox_fini(&h->work_in);
    inbox_fini(&h->main_in);
    uv_mutex_destroy(&h->lock);
    munmap(h->here, (size_t)sysconf(_SC_PAGESIZE));
    alk_identity_unref(h->as);
    host_free(h->as_text);
}

static const struct abi abi_host_options = ABI_PLAIN(alk_host_options, log_ud);

static int fill(alk_host *h, struct config_error *err)
{
    const alk_host_options *o = &h->o;
    const char *text = o->config || o->file ? o->config : "{}";
    size_t len = o->config ? o->config_len : 2;

    h->reg = alk_registry_new();
    h->last = event_new(ALK_HOST_STOPPED, NULL, 0);
    h->file = o->file ? mem_dup(&h->mem, o->file, strlen(o->file)) : NULL;
    if (!h->reg || !h->last || (o->file && !h->file))
        return config_fail(err, "host", 0, "", "out of memory");
    h->o.config = h->o.file = NULL;
    return read_config(&h->cfg, h, text, len, err);
}

int alk_host_new(alk_host **out, const alk_host_options *o, char *err, size_t err_size)
{
    static const alk_host_options defaults = {.size = sizeof defaults};
    struct config_error why = {""};
    alk_host_options own;
    alk_host *h;

    *out = NULL;
    o = abi_take(&abi_host_options, &own, o ? o : &defaults, err, err_size);
    if (!o)
        return ALK_EINVAL;
    h = host_zalloc(sizeof *h);
    if (!h)
        return host_complain(err, err_size, ALK_ENOMEM, "out of memory");
    h->o = *o;
    if (init(h)) {
        host_free(h);
        return host_complain(err, err_size, ALK_ENOMEM, "out of memory, or of descriptors");
    }
    map_init(&h->connections, &h->mem, h->seed);
    if (fill(h, &why) < 0) {
        alk_host_free(h);
        return host_complain(err, err_size, ALK_ECONFIG, why.text);
    }
    *out = h;
    return ALK_OK;
}

void alk_host_free(alk_host *h)
{
    if (!h || !host_is_here(h))
        return;
    alk_host_stop(h, 0);
    if (h->has_thread)
        uv_thread_join(&h->thread);
    else
        event_free(h->last);
    if (h->service) {
        service_free(h->service);
        uv_loop_close(&h->loop);
    }
    config_free(h->cfg);
    alk_registry_unref(h->reg);
    mem_free(&h->mem, h->file);
    fini(h);
    host_free(h);
}
