/* A rig with one event gateway at /feed whose callbacks write down what they are told. The clients are numbered in the
 * order of their on_connect; "2 say 5" is: the second one's event say with the data 5. */
#ifndef TESTS_UV_EVENTS_RIG_H
#define TESTS_UV_EVENTS_RIG_H

#include "core/dispatcher.h"
#include "uv/ws_client.h"

#include <stdarg.h>

#define CONNECT WS_UPGRADE("/feed", "")
#define CONNECT_AS_TESTER WS_UPGRADE("/feed", "Authorization: Bearer " RIG_TOKEN "\r\n")
#define EVENT(name, data) "{\"event\":\"" name "\",\"data\":" data "}"
#define FEED_CLIENTS 8
#define FEED_NOTES 8000

struct feed {
    struct rig *r;
    alk_events *ev;
    alk_events_options o;
    alk_client *clients[FEED_CLIENTS + 1]; /* by number, while they are connected */
    int connects, disconnects;
    char said[FEED_NOTES]; /* lines */
    char log[FEED_NOTES];  /* of the node: "event outcome operation" */
    const alk_value *data; /* of the last event */
    /* What the test wants done: */
    void (*at_connect)(struct feed *f, alk_client *c);
    void (*at_event)(struct feed *f, alk_client *c);
    void (*at_disconnect)(struct feed *f, alk_client *c);
    int rc; /* what the handler of "say" returns */
    void *ud;
};

static inline int feed_number(const alk_client *c)
{
    return (int)(intptr_t)alk_client_data(c);
}

static inline void feed_note(char *to, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static inline void feed_note(char *to, const char *fmt, ...)
{
    size_t n = strlen(to);
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(to + n, FEED_NOTES - n, fmt, ap);
    va_end(ap);
}

static inline void feed_on_connect(alk_client *c, void *ud)
{
    struct feed *f = ud;

    must(f->connects < FEED_CLIENTS && !alk_client_data(c));
    alk_client_set_data(c, (void *)(intptr_t)++f->connects);
    f->clients[f->connects] = c;
    must(alk_events_find(f->ev, TEXT(alk_client_id(c))) == c);
    feed_note(f->said, "%d connect\n", feed_number(c));
    if (f->at_connect)
        f->at_connect(f, c);
}

static inline alk_session feed_session(const alk_client *c)
{
    alk_session s;

    alk_client_session(c, &s, sizeof s);
    return s;
}

static inline void feed_on_disconnect(alk_client *c, int code, void *ud)
{
    struct feed *f = ud;

    f->disconnects++;
    f->clients[feed_number(c)] = NULL;
    must(alk_events_find(f->ev, TEXT(alk_client_id(c))) == c);
    must(alk_client_send(c, TEXT("x"), TEXT("1")) == ALK_ECLOSED);
    must(alk_client_next(c) == ALK_ECLOSED);
    must(alk_client_touch(c) == ALK_ECLOSED);
    must(alk_client_close(c, 1000) == ALK_ECLOSED);
    feed_note(f->said, "%d disconnect %d\n", feed_number(c), code);
    if (f->at_disconnect)
        f->at_disconnect(f, c);
}

static inline void feed_write_down(struct feed *f, alk_client *c, const char *event,
                                   const alk_value *data)
{
    size_t len;

    f->data = data;
    feed_note(f->said, "%d %s %.60s\n", feed_number(c), event, alk_value_text(data, &len));
}

static inline int feed_on_say(alk_client *c, const alk_value *data, void *ud)
{
    struct feed *f = ud;

    feed_write_down(f, c, "say", data);
    if (f->at_event)
        f->at_event(f, c);
    return f->rc;
}

static inline int feed_on_later(alk_client *c, const alk_value *data, void *ud)
{
    feed_write_down(ud, c, "later", data);
    return ALK_EAGAIN;
}

static inline int feed_on_echo(alk_client *c, const alk_value *data, void *ud)
{
    size_t len;
    const char *text = alk_value_text(data, &len);

    (void)ud;
    return alk_client_send(c, TEXT("echo"), text, len);
}

static inline void feed_log(void *ud, const alk_log_event *e)
{
    struct feed *f = ud;

    if (strncmp(e->event, "client.", 7) && strncmp(e->event, "event.", 6))
        return;
    must(!e->message || !strstr(e->message, RIG_TOKEN));
    feed_note(f->log, "%s %s %s\n", e->event, e->outcome ? e->outcome : "-",
              e->operation ? e->operation : "-");
}

/* Options and limits can be changed until feed_serve; other routes added as well. */
static inline struct feed *feed_new(void)
{
    struct feed *f = calloc(1, sizeof *f);

    must(f);
    f->r = rig_new();
    f->r->options.log = feed_log;
    f->r->options.log_ud = f;
    f->r->options.log_level = ALK_LOG_WARN;
    f->o = (alk_events_options){.size = sizeof f->o};
    f->o.path = "/feed";
    f->o.on_connect = feed_on_connect;
    f->o.on_disconnect = feed_on_disconnect;
    f->o.ud = f;
    return f;
}

static inline void feed_add(struct feed *f)
{
    rig_start_bare(f->r);
    ck_assert_int_eq(alk_gateway_add_events(&f->ev, f->r->g, &f->o), ALK_OK);
    ck_assert_int_eq(alk_events_on(f->ev, "say", feed_on_say, f), ALK_OK);
    ck_assert_int_eq(alk_events_on(f->ev, "later", feed_on_later, f), ALK_OK);
    ck_assert_int_eq(alk_events_on(f->ev, "echo", feed_on_echo, f), ALK_OK);
}

static inline void feed_serve(struct feed *f)
{
    feed_add(f);
    rig_serve(f->r);
}

static inline struct feed *feed_start(void)
{
    struct feed *f = feed_new();

    feed_serve(f);
    return f;
}

static inline void feed_free(struct feed *f)
{
    rig_free(f->r);
    ck_assert_int_eq(f->connects, f->disconnects);
    free(f);
}

/* Connects with that request; on_connect has run. */
static inline void feed_connect(struct feed *f, struct client *c, const char *request)
{
    int before = f->connects;

    ck_assert_int_eq(wsc_try(f->r, c, request), 101);
    ck_assert_int_eq(f->connects, before + 1);
}

static inline alk_stats feed_stats(const struct feed *f)
{
    alk_stats s;

    alk_dispatcher_stats(f->r->d, &s, sizeof s);
    return s;
}

#define feed_until(f, n, event) rig_until((f)->r, strstr((f)->said, #n " " event "\n"))

#endif
