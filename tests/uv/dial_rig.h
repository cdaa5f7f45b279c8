/* A loop that dials itself: streams of framed envelopes come to a hub of the test's, which takes
 * the place of a gateway and makes each stream a session. What the dialer tells is in a log. */
#ifndef TESTS_UV_DIAL_RIG_H
#define TESTS_UV_DIAL_RIG_H

#include "adapt/framed.h"
#include "support/suite.h"
#include "uv/conn.h"
#include "uv/rig.h"

#include <sys/stat.h>

struct dialled {
    struct service hub; /* first: it takes the place of a gateway */
    struct rig *r;
    alk_dialer *x;
    alk_dial_options o;
    char dir[40], path[80], url[120], log[400], message[200];
    int answers, faults, freed, opened, gone, code, said_code;
    size_t answered; /* bytes */
    struct session *there;
};

struct accepted {
    struct session s;
    struct dialled *t;
};

static inline void on_dial(alk_dialer *x, const alk_dial_event *e, void *ud)
{
    static const char *const names[] = {"", "open ", "ready ", "lost ", "failed "};
    struct dialled *t = ud;

    (void)x;
    if (strlen(t->log) < sizeof t->log - 10)
        strcat(t->log, names[e->state]);
    t->code = e->code;
    snprintf(t->message, sizeof t->message, "%s", e->message ? e->message : "");
}

static inline void on_free(void *ud)
{
    ((struct dialled *)ud)->freed++;
}

/* ---- the hub --------------------------------------------------------------------------------- */

static inline void on_over(struct session *s, struct str why)
{
    struct accepted *a = container_of(s, struct accepted, s);

    (void)why;
    a->t->said_code = s->code;
    a->t->there = NULL;
}

static inline void on_gone(struct session *s)
{
    struct accepted *a = container_of(s, struct accepted, s);

    a->t->gone++;
    session_fini(s);
    mem_free(&a->t->r->l->mem, a);
}

static inline struct engine *hub_session(struct dialled *t, struct credential *by)
{
    struct mem *mem = &t->r->l->mem;
    struct accepted *a = mem_zalloc(mem, sizeof *a);
    alk_connection_options o = {.size = sizeof o};

    must(a);
    *a = (struct accepted){.s = {.d = t->r->d, .on_over = on_over, .on_gone = on_gone}, .t = t};
    must(!framed_open(&a->s, mem, &o, by));
    t->there = &a->s;
    t->opened++;
    return a->s.engine;
}

static inline struct engine *hub_accept(struct service *hub, struct mem *mem,
                                        const struct peer_info *p, uint64_t now)
{
    (void)mem;
    (void)p;
    (void)now;
    return hub_session((struct dialled *)(void *)hub, NULL);
}

static inline void hub_tick(struct service *hub, const char *date, uint64_t now)
{
    (void)hub;
    (void)date;
    (void)now;
}

static inline struct mem *hub_mem(struct service *hub)
{
    return &((struct dialled *)(void *)hub)->r->l->mem;
}

/* ---- the rig --------------------------------------------------------------------------------- */

/* The URL is the test's to make. */
static inline struct dialled *dialled_new(void)
{
    struct dialled *t = calloc(1, sizeof *t);

    ck_assert_ptr_nonnull(t);
    t->hub = (struct service){.accept = hub_accept, .tick = hub_tick, .mem = hub_mem};
    snprintf(t->dir, sizeof t->dir, "/tmp/alknet-dial.XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(t->dir));
    t->r = rig_new();
    alk_dial_options_init(&t->o, sizeof t->o);
    t->o.url = t->url;
    t->o.retry_min_ms = 20;
    t->o.retry_max_ms = 40;
    t->o.on_event = on_dial;
    t->o.ud_free = on_free;
    t->o.ud = t;
    return t;
}

static inline void dial(struct dialled *t)
{
    char err[200];

    ck_assert_msg(!alk_dial(&t->x, t->r->l, &t->o, err, sizeof err), "%s", err);
}

/* Instead of rig_start. */
static inline void start_hub(struct dialled *t)
{
    rig_start_bare(t->r);
    t->r->listen.gateway = (alk_gateway *)(void *)&t->hub;
    rig_serve(t->r);
}

static inline void finish(struct dialled *t)
{
    rig_free(t->r);
    ck_assert_int_eq(t->freed, 1);
    ck_assert_int_eq(t->opened, t->gone);
    ck_assert_int_eq(rmdir(t->dir), 0);
    free(t);
}

static inline void on_answer(alk_call *call, const alk_value *value, void *ud)
{
    struct dialled *t = ud;

    (void)call;
    must(alk_value_text(value, &t->answered));
    t->answers++;
}

static inline void on_end(alk_call *call, int why, const alk_fault *fault, void *ud)
{
    struct dialled *t = ud;

    (void)call;
    (void)why;
    if (fault)
        snprintf(t->message, sizeof t->message, "%s: %s", fault->code, fault->message);
    t->faults += fault != NULL;
}

static inline void call(struct dialled *t, alk_connection *c, const char *operation,
                        const char *input)
{
    alk_call_options o = {.size = sizeof o};

    o.on_event = on_answer;
    o.on_end = on_end;
    o.ud = t;
    ck_assert_int_eq(
        alk_connection_call(c, operation, strlen(operation), input, strlen(input), &o, NULL),
        ALK_OK);
}

#endif
