/* A node with a gateway on a libuv loop of its own, and operations to call there. All of its memory is
 * counted; rig_free asserts that everything came back, that on_closed ran once and that the loop can be closed.
 *
 * The test drives the loop in one of two ways: in its own thread, step by step (rig_until, clients with uv),
 * or with rig_script, which runs the loop as an application does while the clients are in another thread. */
#ifndef TESTS_UV_RIG_H
#define TESTS_UV_RIG_H

#include "support/world.h"
#include "uv/client.h"
#include "uv/plumbing.h"

#include <alknet/uv.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>

#define RIG_TOKEN "alk_token_of_the_tests"
#define POST_HEAD(path, n)                                                                         \
    "POST " path                                                                                   \
    " HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: " n "\r\n"
#define CALL_LATER POST_HEAD("/call", "23") "\r\n{\"operation\":\"t/later\"}"
#define CALL_ECHO POST_HEAD("/call", "32") "\r\n{\"operation\":\"t/echo\",\"input\":7}"
#define SUBSCRIBE_STREAM POST_HEAD("/subscribe", "24") "\r\n{\"operation\":\"t/stream\"}"
#define GET(path) "GET " path " HTTP/1.1\r\nHost: localhost\r\n\r\n"

/* A subscription that emits as fast as it may. */
struct flood {
    alk_call *call;
    size_t size; /* of a value */
    long left, emitted, refused;
    int drains, ends, why;
    bool from_timer; /* begins in a callback of the loop, not in the handler */
    uv_timer_t timer;
};

struct rig {
    atomic_long live;   /* blocks of memory */
    atomic_bool starve; /* every allocation fails */
    uv_loop_t uv;
    alk_registry *reg;
    alk_limits limits;
    alk_node_options options;
    alk_gateway_options gate;
    alk_server_options listen;
    alk_node *node;
    alk_dispatcher *d;
    alk_loop *l;
    alk_gateway *g;
    alk_server *s;
    int port;
    bool closing;
    int closed, drained;
    int drained_at_close; /* what drained was when on_closed ran */
    struct served later, stream;
    struct flood flood;
    alk_identity *who;
    uv_async_t stop;
    void (*script)(struct rig *r);
    void *ud; /* the test's */
};

static inline void *rig_realloc(void *ud, void *p, size_t size)
{
    struct rig *r = ud;
    void *q;

    if (!size) {
        if (p)
            atomic_fetch_sub(&r->live, 1);
        free(p);
        return NULL;
    }
    q = atomic_load(&r->starve) ? NULL : realloc(p, size);
    if (q && !p)
        atomic_fetch_add(&r->live, 1);
    return q;
}

/* ---- operations -------------------------------------------------------------------------------- */

static inline void flood_go(alk_call *call, void *ud)
{
    struct flood *f = ud;
    char *value = malloc(f->size);
    int rc = ALK_OK;

    ck_assert_ptr_nonnull(value);
    memset(value, 'x', f->size);
    value[0] = value[f->size - 1] = '"';
    while (f->left && !(rc = alk_call_emit(call, value, f->size))) {
        f->left--;
        f->emitted++;
    }
    free(value);
    must(rc == ALK_OK || rc == ALK_EAGAIN);
    if (rc)
        f->refused++;
    else
        must(!alk_call_complete(call));
}

static inline void flood_drained(alk_call *call, void *ud)
{
    ((struct flood *)ud)->drains++;
    flood_go(call, ud);
}

static inline void flood_ended(alk_call *call, int why, const alk_fault *fault, void *ud)
{
    struct flood *f = ud;

    (void)fault;
    f->ends++;
    f->why = why;
    if (f->from_timer)
        uv_close((uv_handle_t *)&f->timer, NULL);
    alk_call_unref(call);
}

static inline void flood_tick(uv_timer_t *t)
{
    struct flood *f = t->data;

    flood_go(f->call, f);
}

static inline int serve_flood(alk_call *call, void *ud)
{
    struct flood *f = ud;

    f->call = alk_call_ref(call);
    must(!alk_call_on_end(call, flood_ended, f));
    must(!alk_call_on_drain(call, flood_drained, f));
    if (!f->from_timer) {
        flood_go(call, f);
        return ALK_OK;
    }
    uv_timer_init(alk_call_loop(call), &f->timer);
    f->timer.data = f;
    return uv_timer_start(&f->timer, flood_tick, 20, 0);
}

/* A string of so many bytes as the input says. */
static inline int serve_big(alk_call *call, void *ud)
{
    size_t len, n = strtoul(alk_value_text(alk_call_input(call), &len), NULL, 10);
    char *s = malloc(n + 2);
    int rc;

    (void)ud;
    must(s);
    memset(s, 'b', n + 2);
    s[0] = s[n + 1] = '"';
    rc = alk_call_reply(call, s, n + 2);
    free(s);
    return rc;
}

/* ---- the rig ----------------------------------------------------------------------------------- */

static inline int rig_by_token(void *ud, const char *token, size_t len, alk_identity **out)
{
    struct rig *r = ud;

    if (len != strlen(RIG_TOKEN) || memcmp(token, RIG_TOKEN, len))
        return ALK_KIND_NONE;
    *out = alk_identity_ref(r->who);
    return ALK_KIND_KEY;
}

static inline int rig_by_fingerprint(void *ud, const char *fingerprint, size_t len,
                                     alk_identity **out)
{
    (void)ud;
    (void)fingerprint;
    (void)len;
    (void)out;
    return ALK_KIND_NONE;
}

static inline uint64_t rig_generation(void *ud)
{
    (void)ud;
    return 1;
}

static inline void rig_add(struct rig *r, const char *name, uint32_t type, alk_handler fn, void *ud,
                           const char *access)
{
    alk_operation op;

    alk_operation_init(&op, sizeof op);
    op.name = name;
    op.type = type;
    op.handler = fn;
    op.ud = ud;
    op.access_control = access;
    ck_assert_int_eq(alk_registry_add(r->reg, &op), ALK_OK);
}

static inline void rig_stop(uv_async_t *a)
{
    uv_stop(a->loop);
}

/* Options and limits can be changed until rig_start. */
static inline struct rig *rig_new(void)
{
    static alk_identity_provider provider;
    struct rig *r = calloc(1, sizeof *r);

    ck_assert_ptr_nonnull(r);
    /* libuv writes with write(2); an application on it ignores the signal. */
    signal(SIGPIPE, SIG_IGN);
    ck_assert_int_eq(uv_loop_init(&r->uv), 0);
    r->reg = alk_registry_new();
    r->who = alk_identity_new(TEXT("{\"id\":\"tester\",\"scopes\":[\"t:secret\"]}"));
    ck_assert(r->reg && r->who);
    rig_add(r, "t/echo", ALK_QUERY, serve_echo, NULL, NULL);
    rig_add(r, "t/later", ALK_QUERY, serve_later, &r->later, NULL);
    rig_add(r, "t/stream", ALK_SUBSCRIPTION, serve_later, &r->stream, NULL);
    rig_add(r, "t/flood", ALK_SUBSCRIPTION, serve_flood, &r->flood, NULL);
    rig_add(r, "t/big", ALK_QUERY, serve_big, NULL, NULL);
    rig_add(r, "t/secret", ALK_QUERY, serve_echo, NULL, "{\"required_scopes\":[\"t:secret\"]}");
    rig_add(r, "t/other", ALK_QUERY, serve_echo, NULL, "{\"required_scopes\":[\"t:other\"]}");
    r->flood.size = 1000;
    alk_limits_init(&r->limits, sizeof r->limits);
    alk_node_options_init(&r->options, sizeof r->options);
    provider = (alk_identity_provider){.size = sizeof(alk_identity_provider),
                                       .by_token = rig_by_token,
                                       .by_fingerprint = rig_by_fingerprint,
                                       .generation = rig_generation,
                                       .ud = r};
    r->options.identities = &provider;
    r->options.limits = &r->limits;
    r->options.realloc = rig_realloc;
    r->options.realloc_ud = r;
    alk_gateway_options_init(&r->gate, sizeof r->gate);
    alk_server_options_init(&r->listen, sizeof r->listen);
    return r;
}

/* Without a server. */
static inline void rig_start_bare(struct rig *r)
{
    char err[200];

    ck_assert_int_eq(alk_registry_freeze(r->reg), ALK_OK);
    ck_assert_int_eq(alk_node_new(&r->node, r->reg, &r->options), ALK_OK);
    ck_assert_int_eq(alk_dispatcher_new(&r->d, r->node), ALK_OK);
    ck_assert_int_eq(alk_loop_open(&r->l, &r->uv, r->d), ALK_OK);
    ck_assert_msg(!alk_gateway_new(&r->g, r->d, &r->gate, err, sizeof err), "%s", err);
    r->listen.gateway = r->g;
    uv_async_init(&r->uv, &r->stop, rig_stop);
    uv_unref((uv_handle_t *)&r->stop);
}

static inline void rig_serve(struct rig *r)
{
    char err[200];

    ck_assert_msg(!alk_server_open(&r->s, r->l, &r->listen, err, sizeof err), "%s", err);
    r->port = alk_server_port(r->s);
}

static inline void rig_start(struct rig *r)
{
    rig_start_bare(r);
    rig_serve(r);
}

/* The loop's steps, until it holds. */
#define rig_until(r, condition)                                                                    \
    do {                                                                                           \
        uint64_t since_ = now_ms();                                                                \
        while (!(condition)) {                                                                     \
            uv_run(&(r)->uv, UV_RUN_NOWAIT);                                                       \
            if (now_ms() > since_ + CLIENT_PATIENCE)                                               \
                ck_abort_msg("waited in vain for %s", #condition);                                 \
            usleep(200);                                                                           \
        }                                                                                          \
    } while (0)

/* Some steps of the loop, for what must not happen. */
static inline void rig_steps(struct rig *r, uint64_t ms)
{
    for (uint64_t since = now_ms(); now_ms() < since + ms; usleep(500))
        uv_run(&r->uv, UV_RUN_NOWAIT);
}

static inline void rig_on_closed(void *ud)
{
    struct rig *r = ud;

    r->closed++;
    r->drained_at_close = r->drained;
}

static inline void rig_on_drained(void *ud)
{
    ((struct rig *)ud)->drained++;
}

static inline void rig_close(void *ud)
{
    struct rig *r = ud;

    r->closing = true;
    alk_loop_close(r->l, rig_on_closed, r);
}

static inline void *rig_run_script(void *ud)
{
    struct rig *r = ud;

    r->script(r);
    uv_async_send(&r->stop);
    return NULL;
}

/* Runs the loop until the script, which is in a thread of its own, has ended, or nothing is left on the loop. */
static inline void rig_script(struct rig *r, void (*script)(struct rig *r))
{
    pthread_t t;

    r->script = script;
    ck_assert_int_eq(pthread_create(&t, NULL, rig_run_script, r), 0);
    uv_run(&r->uv, UV_RUN_DEFAULT);
    ck_assert_int_eq(pthread_join(t, NULL), 0);
}

struct rig_deed {
    struct rig *r;
    void (*fn)(struct rig *r);
    uv_sem_t done;
};

static inline void rig_run_deed(void *ud)
{
    struct rig_deed *deed = ud;

    deed->fn(deed->r);
    uv_sem_post(&deed->done);
}

/* From a script: runs fn in the loop's thread and waits for that. */
static inline void rig_do(struct rig *r, void (*fn)(struct rig *r))
{
    struct rig_deed deed = {.r = r, .fn = fn};

    uv_sem_init(&deed.done, 0);
    ck_assert_int_eq(alk_loop_post(r->l, rig_run_deed, &deed), ALK_OK);
    uv_sem_wait(&deed.done);
    uv_sem_destroy(&deed.done);
}

/* Ends the loop, unless the test has done so, and asserts that nothing is left. */
static inline void rig_free(struct rig *r)
{
    if (!r->closing)
        rig_close(r);
    for (int i = 0; !r->closed && i < 3; i++)
        uv_run(&r->uv, UV_RUN_DEFAULT);
    ck_assert_int_eq(r->closed, 1);
    served_free(&r->later);
    served_free(&r->stream);
    uv_close((uv_handle_t *)&r->stop, NULL);
    for (int i = 0; i < 3; i++)
        uv_run(&r->uv, UV_RUN_DEFAULT);
    ck_assert_int_eq(r->closed, 1);
    alk_gateway_free(r->g);
    alk_node_unref(r->node);
    alk_registry_unref(r->reg);
    alk_identity_unref(r->who);
    ck_assert_int_eq(uv_loop_close(&r->uv), 0);
    ck_assert_int_eq(atomic_load(&r->live), 0);
    free(r);
}

/* A client of the rig's own thread. */
static inline void rig_client(struct rig *r, struct client *c)
{
    client_open(c, &r->uv, r->port);
}

/* The size of the buffers of connections that come from now on, which have those of the listener: the kernel has no say in
 * what it takes of an answer (SO_SNDBUF), or holds of what is not read (SO_RCVBUF). */
static inline void rig_buffer(struct rig *r, int which, int size)
{
    uv_os_fd_t fd;

    ck_assert_int_eq(uv_fileno(&r->s->h.handle, &fd), 0);
    ck_assert(!setsockopt(fd, SOL_SOCKET, which, &size, sizeof size));
}

/* A client that takes little before its server has to wait: 200 kilobytes fill both sockets. */
static inline void rig_narrow_client(struct rig *r, struct client *c, bool own_thread)
{
    rig_buffer(r, SO_SNDBUF, 65536);
    ck_assert_int_eq(client_try(c, own_thread ? NULL : &r->uv, r->port, 4096), 0);
}

#endif
