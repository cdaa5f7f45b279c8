/* Connections as the program sees them: those that it has dialled, and the sessions that others
 * have opened. */
#include "serve/host_int.h"

#include "core/connection.h"

#include <string.h>

/* Close codes (RFC 6455, 7.4.1) of what the program closes, and of what ends with the host. */
#define NORMAL 1000
#define GOING_AWAY 1001

/* ---- which is which -------------------------------------------------------------------------- */

/* Out of memory, calls that come by it have no connection to call back: known is false. */
static void know(struct subject *s, struct line *l)
{
    if (!l)
        return;
    s->line = line_ref(l);
    s->by_line.key = (const char *)&s->line;
    s->by_line.len = sizeof s->line;
    s->known = map_add(&s->h->connections, &s->by_line) == 0;
}

static void forget(struct subject *s)
{
    if (!s->line)
        return;
    if (s->known)
        map_del(&s->h->connections, &s->by_line);
    line_unref(s->line);
    s->line = NULL;
    s->known = s->told = false;
}

uint64_t work_line_id(alk_host *h, const struct line *l)
{
    struct map_node *n = l ? map_find(&h->connections, (const char *)&l, sizeof l) : NULL;

    return n ? subject_id(container_of(n, struct subject, by_line)) : 0;
}

struct line *work_line(alk_host *h, uint64_t id)
{
    uint64_t word;
    struct subject *s = subject_find(&h->subjects, id, &word);

    return s ? s->line : NULL;
}

static void tell_up(struct subject *s, const alk_identity *who, const char *address,
                    const char *text)
{
    size_t len = text ? strlen(text) : 0, n = address ? strlen(address) : 0;
    struct event *ev = event_new(ALK_HOST_UP, NULL, len + 1 + n);

    if (!ev)
        return;
    ev->e.id = subject_id(s);
    ev->e.tag = s->tag;
    ev->e.connection = subject_id(s);
    if (text) {
        ev->e.text = memcpy(ev->text, text, len + 1);
        ev->e.text_len = len;
    }
    if (address)
        ev->e.address = memcpy(ev->text + len + 1, address, n + 1);
    ev->e.identity = event_show(&ev->identities[0], who);
    s->told = true;
    work_post(s->h, ev);
}

/* A session, of which its worker and the program's loop tell each other; both may be one. Each
 * message has a reference, and so have the line of a session that is there, and its subject. */
struct visit {
    int refs; /* atomic */
    struct parcel come, gone, dismissed;
    alk_host *h;
    struct line *line;  /* a reference */
    alk_identity *who;  /* likewise; NULL: nobody */
    char *remote;       /* NULL: not known */
    int code;           /* of its end; written before `gone` is sent */
    int dismissed_with; /* a close code; written before `dismissed` is sent */
    struct subject *s;  /* of the program's loop alone; NULL: nobody has been told of it */
};

static void visit_unref(struct visit *v)
{
    if (__atomic_sub_fetch(&v->refs, 1, __ATOMIC_ACQ_REL))
        return;
    line_unref(v->line);
    alk_identity_unref(v->who);
    host_free(v->remote);
    host_free(v);
}

/* From the thread of `here`; to its own, at once. begins: what a loop that is held up does not take.
 * false: it is not told, and never will be. */
static bool tell(struct visit *v, struct port *to, struct parcel *p, alk_dispatcher *here,
                 bool begins)
{
    int rc = PORT_OK;

    __atomic_fetch_add(&v->refs, 1, __ATOMIC_RELAXED);
    if (to == here->port)
        p->deliver(p, here);
    else
        rc = (begins ? port_ask : port_send)(to, p, here->now, NULL);
    if (rc != PORT_OK)
        visit_unref(v);
    return rc == PORT_OK;
}

static void dismissed_arrives(struct parcel *p, alk_dispatcher *d)
{
    struct visit *v = container_of(p, struct visit, dismissed);

    (void)d;
    if (v->line->conn)
        alk_connection_close(v->line->conn, v->dismissed_with);
    visit_unref(v);
}

/* Once: by the program, which aborts an id once, or where it has none. */
static void dismiss(struct visit *v, int code)
{
    v->dismissed_with = code;
    tell(v, v->line->at, &v->dismissed, v->h->d, false);
}

void work_dismiss(struct subject *s)
{
    dismiss(s->visit, ALK_CLOSE_SHUTDOWN);
}

/* Out of memory nobody hears of it, and so of no end either. */
static void enter(struct visit *v)
{
    alk_host *h = v->h;
    struct subject *s = subject_new(h, SUBJECT_SESSION, 0, 0);

    if (!s)
        return;
    know(s, v->line);
    if (h->o.sessions && s->known)
        tell_up(s, v->who, v->remote, NULL);
    if (!s->known || s->told != (h->o.sessions != 0)) {
        forget(s);
        subject_free(s);
        return;
    }
    __atomic_fetch_add(&v->refs, 1, __ATOMIC_RELAXED);
    s->visit = v;
    v->s = s;
}

static void come_arrives(struct parcel *p, alk_dispatcher *d)
{
    struct visit *v = container_of(p, struct visit, come);

    (void)d;
    /* Those that come and go would pile up where nobody fetches their events. */
    if (v->h->o.sessions && work_above(v->h))
        dismiss(v, ALK_CLOSE_LIMIT);
    else
        enter(v);
    visit_unref(v);
}

static void gone_arrives(struct parcel *p, alk_dispatcher *d)
{
    struct visit *v = container_of(p, struct visit, gone);
    struct subject *s = v->s;

    (void)d;
    if (s) {
        v->s = NULL;
        s->visit = NULL;
        forget(s);
        if (v->h->o.sessions)
            work_end(s, v->code, NULL);
        else
            subject_free(s);
        visit_unref(v);
    }
    visit_unref(v);
}

static struct visit *visit_new(alk_host *h, const alk_session *session)
{
    struct line *line = connection_line(session->connection);
    struct visit *v = line ? host_zalloc(sizeof *v) : NULL;
    size_t n = session->remote ? strlen(session->remote) + 1 : 0;

    if (!v)
        return NULL;
    v->refs = 1;
    v->come.deliver = come_arrives;
    v->gone.deliver = gone_arrives;
    v->dismissed.deliver = dismissed_arrives;
    v->h = h;
    v->line = line_ref(line);
    v->who = session->identity ? alk_identity_ref(session->identity) : NULL;
    v->remote = n ? host_alloc(n) : NULL;
    if (v->remote)
        memcpy(v->remote, session->remote, n);
    return v;
}

static void session_came(alk_host *h, const alk_session *session)
{
    alk_connection *c = session->connection;
    struct visit *v = visit_new(h, session);

    if (!v)
        return;
    c->line->ud = v;
    if (tell(v, c->d->node->home, &v->come, c->d, true))
        return;
    c->line->ud = NULL;
    visit_unref(v);
    connection_shut(c, ALK_CLOSE_LIMIT, "the loop that runs the program is held up");
}

static void session_gone(alk_connection *c, int code)
{
    struct visit *v = c->line ? c->line->ud : NULL;

    if (!v)
        return;
    c->line->ud = NULL;
    v->code = code;
    tell(v, c->d->node->home, &v->gone, c->d, false);
    visit_unref(v);
}

void work_session(void *ud, const alk_session *session, int code)
{
    if (code)
        session_gone(session->connection, code);
    else
        session_came(ud, session);
}

/* ---- dialled --------------------------------------------------------------------------------- */

/* What happened, as an error object; rc is the close code, or the status. Whether another attempt may
 * help is said by the reason, whoever makes it. */
static struct event *lost(uint32_t kind, const struct subject *s, const alk_dial_event *e)
{
    alk_fault f = {.size = sizeof f,
                   .code = e->status == 401 ? "UNAUTHORIZED" : ALK_INTERNAL,
                   .message = e->message ? e->message : "connection closed",
                   .retryable = e->status < 400 || e->status >= 500};
    struct event *ev = work_fault(kind, &f);

    if (!ev)
        return NULL;
    ev->e.id = subject_id(s);
    ev->e.tag = s->tag;
    ev->e.rc = e->state == ALK_DIAL_LOST ? e->code : e->status;
    ev->e.timeout_ms = e->retry_ms < UINT32_MAX ? (uint32_t)e->retry_ms : UINT32_MAX;
    return ev;
}

/* One that is not tried again is over, for the reason that is told last. */
static void on_lost(struct subject *s, const alk_dial_event *e)
{
    bool last = e->retry_ms == UINT64_MAX;
    struct event *ev = lost(last ? ALK_HOST_END : ALK_HOST_DOWN, s, e);

    forget(s);
    if (!last) {
        work_post(s->h, ev);
        return;
    }
    if (ev) {
        event_free(s->end);
        s->end = ev;
    }
    if (s->dialer)
        alk_dialer_close(s->dialer);
}

static void on_event(alk_dialer *dialer, const alk_dial_event *e, void *ud)
{
    struct subject *s = ud;

    s->dialer = dialer;
    switch (e->state) {
    case ALK_DIAL_OPEN:
        know(s, connection_line(e->connection));
        break;
    case ALK_DIAL_READY:
        if (s->told)
            break; /* it was announced anew */
        tell_up(s, alk_connection_identity(e->connection), connection_remote(e->connection),
                e->message);
        /* Out of memory: what cannot be told of is no use. */
        if (!s->told)
            alk_connection_close(e->connection, ALK_CLOSE_LIMIT);
        break;
    default:
        on_lost(s, e);
        break;
    }
}

static void on_gone(void *ud)
{
    struct subject *s = ud;

    forget(s);
    s->dialer = NULL;
    if (s->end->e.rc || s->end->e.text)
        work_end(s, s->end->e.rc, NULL);
    else
        work_end(s, GOING_AWAY, &fault_closed);
}

void work_dial(struct subject *s)
{
    alk_dial_options o = s->dial->o;
    char why[200] = "";
    int rc;

    o.on_event = on_event;
    o.ud_free = on_gone;
    o.ud = s;
    rc = alk_dial(&s->dialer, s->h->net, &o, why, sizeof why);
    if (rc) {
        alk_fault f = {
            .size = sizeof f, .code = ALK_INTERNAL, .message = *why ? why : alk_strerror(rc)};

        work_end(s, 0, &f);
    }
}

void work_hang_up(struct subject *s)
{
    s->end->e.rc = NORMAL;
    alk_dialer_close(s->dialer);
}

/* ---- the program's side ---------------------------------------------------------------------- */

int alk_host_dial(alk_host *h, const char *json, size_t len, uint64_t tag, uint64_t *id, char *err,
                  size_t err_size)
{
    struct config_error why = {""};
    struct dial *dial;
    struct command *c;
    struct subject *s;
    int rc;

    if (!host_runs(h))
        return host_complain(err, err_size, ALK_ECLOSED, "the host does not run");
    if (service_dial(h->service, json, len, &dial, &why) < 0)
        return host_complain(err, err_size, ALK_ECONFIG, why.text);
    s = subject_new(h, SUBJECT_DIAL, 0, tag);
    c = s ? command_new(COMMAND_DIAL, subject_id(s), NULL, 0) : NULL;
    if (!c) {
        if (s)
            subject_free(s);
        dial_unref(dial);
        return host_complain(err, err_size, ALK_ENOMEM, "out of memory");
    }
    s->dial = dial;
    *id = c->id;
    rc = inbox_put(h, &h->work_in, c, true);
    if (!rc)
        return ALK_OK;
    subject_free(s);
    dial_unref(dial);
    return host_complain(err, err_size, rc, alk_strerror(rc));
}
