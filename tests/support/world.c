/* Implements world.h. */
#include "support/world.h"

#include <stdio.h>
#include <string.h>

#define TURNS_MAX 10000

static int ends; /* of all calls of the test, in their order */

/* ---- the node -------------------------------------------------------------------------------- */

static void on_log(void *ud, const alk_log_event *e)
{
    struct world *w = ud;

    ck_assert_ptr_nonnull(e->event);
    ck_assert(!buf_printf(&w->log, "%s %s %s %s %s %s\n", e->event,
                          e->operation ? e->operation : "-", e->outcome ? e->outcome : "-",
                          e->message ? e->message : "-", e->identity ? e->identity : "-",
                          e->claim ? e->claim : "-"));
}

struct world *world_new(void)
{
    struct world *w = calloc(1, sizeof *w);

    ck_assert_ptr_nonnull(w);
    mem_init(&w->mem, NULL, NULL);
    buf_init(&w->log, &w->mem);
    w->reg = alk_registry_new();
    ck_assert_ptr_nonnull(w->reg);
    alk_limits_init(&w->limits, sizeof w->limits);
    alk_node_options_init(&w->options, sizeof w->options);
    w->options.limits = &w->limits;
    w->options.realloc = memory_realloc;
    w->options.realloc_ud = &w->memory;
    w->options.log = on_log;
    w->options.log_ud = w;
    w->options.log_level = ALK_LOG_DEBUG;
    w->now = WORLD_NOW;
    return w;
}

void world_start(struct world *w)
{
    ck_assert_int_eq(alk_registry_freeze(w->reg), ALK_OK);
    ck_assert_int_eq(alk_node_new(&w->node, w->reg, &w->options), ALK_OK);
    ck_assert_int_eq(alk_dispatcher_new(&w->d, w->node), ALK_OK);
    world_turn(w);
}

void world_free(struct world *w)
{
    alk_dispatcher_free(w->d);
    alk_node_unref(w->node);
    alk_registry_unref(w->reg);
    ck_assert_uint_eq(w->memory.live, 0);
    buf_fini(&w->log);
    ck_assert_uint_eq(w->mem.live, 0);
    free(w);
}

void world_add_full(struct world *w, const alk_operation *op)
{
    int rc = alk_registry_add(w->reg, op);

    ck_assert_msg(rc == ALK_OK, "%s: %s", alk_err_name(rc), alk_registry_error(w->reg));
}

void world_add(struct world *w, const char *name, uint32_t type, alk_handler handler, void *ud)
{
    alk_operation op;

    alk_operation_init(&op, sizeof op);
    op.name = name;
    op.type = type;
    op.handler = handler;
    op.ud = ud;
    world_add_full(w, &op);
}

void world_turn(struct world *w)
{
    int i = 0;

    do {
        w->next = alk_dispatcher_turn(w->d, w->now);
    } while (w->next <= w->now && ++i < TURNS_MAX);
    must(i < TURNS_MAX);
}

void world_advance(struct world *w, uint64_t ms)
{
    w->now += ms * MS;
    world_turn(w);
}

static void same_time(struct world *a, struct world *b)
{
    if (a->now < b->now)
        a->now = b->now;
    b->now = a->now;
}

void world_settle(struct world *a, struct world *b)
{
    same_time(a, b);
    for (int i = 0; i < 20; i++) {
        world_turn(a);
        world_turn(b);
    }
}

void world_until(struct world *a, struct world *b, const int *what)
{
    same_time(a, b);
    for (int i = 0; !*what; i++) {
        must(i < TURNS_MAX);
        world_turn(a);
        world_turn(b);
    }
    world_settle(a, b);
}

alk_stats world_stats(const struct world *w)
{
    alk_stats s;

    alk_dispatcher_stats(w->d, &s, sizeof s);
    return s;
}

bool world_logged(const struct world *w, const char *text)
{
    size_t n = strlen(text);

    for (size_t i = 0; i + n <= w->log.len; i++) {
        if (!memcmp(buf_at(&w->log) + i, text, n))
            return true;
    }
    return false;
}

/* ---- the callee's side ----------------------------------------------------------------------- */

static void on_served_end(alk_call *call, int why, const alk_fault *fault, void *ud)
{
    struct served *s = ud;

    (void)call;
    s->ends++;
    s->why = why;
    s->order = ++ends;
    if (fault)
        snprintf(s->code, sizeof s->code, "%s", fault->code);
}

static void on_served_drain(alk_call *call, void *ud)
{
    (void)call;
    ((struct served *)ud)->drains++;
}

int serve_later(alk_call *call, void *ud)
{
    struct served *s = ud;

    alk_call_unref(s->call);
    s->call = alk_call_ref(call);
    s->starts++;
    s->code[0] = 0;
    ck_assert_int_eq(alk_call_on_end(call, on_served_end, s), ALK_OK);
    ck_assert_int_eq(alk_call_on_drain(call, on_served_drain, s), ALK_OK);
    return ALK_OK;
}

int serve_echo(alk_call *call, void *ud)
{
    size_t len;
    const char *text = alk_value_text(alk_call_input(call), &len);

    (void)ud;
    return alk_call_reply(call, text, len);
}

void served_free(struct served *s)
{
    alk_call_unref(s->call);
    s->call = NULL;
}

alk_call_context context_of(const alk_call *call)
{
    alk_call_context x;

    alk_call_get_context(call, &x, sizeof x);
    return x;
}

void served_reply(struct served *s, const char *json)
{
    ck_assert_int_eq(alk_call_reply(s->call, TEXT(json)), ALK_OK);
}

void served_emit(struct served *s, const char *json)
{
    ck_assert_int_eq(alk_call_emit(s->call, TEXT(json)), ALK_OK);
}

int served_fail(struct served *s, const char *code, const char *message, const char *details)
{
    alk_fault f = {.size = sizeof f, .code = code, .message = message, .details = details};

    return alk_call_fail(s->call, &f);
}

/* ---- the caller's side ----------------------------------------------------------------------- */

static char *copy(const char *s)
{
    char *p = s ? malloc(strlen(s) + 1) : NULL;

    return p ? strcpy(p, s) : NULL;
}

static void on_event(alk_call *call, const alk_value *value, void *ud)
{
    struct asked *a = ud;
    size_t len;
    const char *text = alk_value_text(value, &len);

    (void)call;
    ck_assert_ptr_nonnull(text);
    ck_assert_int_eq(text[len], 0);
    ck_assert_int_eq(a->ends, 0);
    ck_assert(!buf_printf(&a->buf, a->values++ ? " %s" : "%s", text));
    *buf_reserve(&a->buf, 1) = 0;
    a->text = a->buf.data;
    if (a->on_value)
        a->on_value(a);
}

static void on_end(alk_call *call, int why, const alk_fault *fault, void *ud)
{
    struct asked *a = ud;

    (void)call;
    a->ends++;
    a->why = why;
    a->order = ++ends;
    if (!fault)
        return;
    a->code = copy(fault->code);
    a->message = copy(fault->message);
    a->details = copy(fault->details);
    a->retryable = (int)fault->retryable;
}

void asked_options(struct asked *a, alk_call_options *o)
{
    memset(a, 0, sizeof *a);
    mem_init(&a->mem, NULL, NULL);
    buf_init(&a->buf, &a->mem);
    a->text = "";
    *o = (alk_call_options){.size = sizeof *o};
    o->on_event = on_event;
    o->on_end = on_end;
    o->ud = a;
}

void ask(struct asked *a, alk_connection *c, const char *operation, const char *input)
{
    alk_call_options o;

    asked_options(a, &o);
    ck_assert_int_eq(alk_connection_call(c, TEXT(operation), TEXT(input), &o, &a->call), ALK_OK);
}

void ask_stream(struct asked *a, alk_connection *c, const char *operation, const char *input)
{
    alk_call_options o;

    asked_options(a, &o);
    o.stream = 1;
    ck_assert_int_eq(alk_connection_call(c, TEXT(operation), TEXT(input), &o, &a->call), ALK_OK);
}

void asked_free(struct asked *a)
{
    alk_call_unref(a->call);
    free(a->code);
    free(a->message);
    free(a->details);
    buf_fini(&a->buf);
    ck_assert_uint_eq(a->mem.live, 0);
    a->call = NULL;
    a->code = a->message = a->details = NULL;
}

void asked_drop(struct asked *a, struct world *w)
{
    alk_call_abort(a->call);
    world_turn(w);
    ck_assert_int_eq(a->ends, 1);
    asked_free(a);
}

const char *asked_outcome(const struct asked *a)
{
    static const char *const names[] = {"ok", "fault", "aborted", "timeout", "closed"};
    static char text[1024];
    int n;

    if (!a->ends)
        return "running";
    n = snprintf(text, sizeof text, "%s", names[a->why]);
    if (a->code)
        n += snprintf(text + n, sizeof text - (size_t)n, " %s: %s", a->code, a->message);
    if (*a->text)
        snprintf(text + n, sizeof text - (size_t)n, " %s", a->text);
    return text;
}

/* ---- identities ------------------------------------------------------------------------------ */

alk_identity *identity_of(const char *id, const char *scopes)
{
    char json[1024];
    alk_identity *who;

    snprintf(json, sizeof json, "{\"id\":\"%s\",\"scopes\":%s}", id, scopes);
    who = alk_identity_new(TEXT(json));
    ck_assert_ptr_nonnull(who);
    return who;
}
