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
static void know(struct subject *s, alk_connection *c)
{
    s->connection = alk_connection_ref(c);
    s->by_connection.key = (const char *)&s->connection;
    s->by_connection.len = sizeof s->connection;
    s->known = map_add(&s->h->connections, &s->by_connection) == 0;
}

static void forget(struct subject *s)
{
    if (!s->connection)
        return;
    if (s->known)
        map_del(&s->h->connections, &s->by_connection);
    alk_connection_unref(s->connection);
    s->connection = NULL;
    s->told = false;
}

uint64_t work_connection_id(alk_host *h, const alk_connection *c)
{
    struct map_node *n = c ? map_find(&h->connections, (const char *)&c, sizeof c) : NULL;

    return n ? subject_id(container_of(n, struct subject, by_connection)) : 0;
}

alk_connection *work_connection(alk_host *h, uint64_t id)
{
    uint64_t word;
    struct subject *s = subject_find(&h->subjects, id, &word);

    return s ? s->connection : NULL;
}

/* ---- sessions -------------------------------------------------------------------------------- */

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

void work_session(void *ud, const alk_session *session, int code)
{
    alk_host *h = ud;
    uint64_t id = code ? work_connection_id(h, session->connection) : 0, word;
    struct subject *s;

    /* Those that come and go would pile up where nobody fetches their events. */
    if (!code && h->o.sessions && work_above(h)) {
        alk_connection_close(session->connection, ALK_CLOSE_LIMIT);
        return;
    }
    s = code ? subject_find(&h->subjects, id, &word) : subject_new(h, SUBJECT_SESSION, 0, 0);
    if (!s)
        return;
    if (code) {
        forget(s);
        if (h->o.sessions)
            work_end(s, code, NULL);
        else
            subject_free(s);
        return;
    }
    know(s, session->connection);
    if (h->o.sessions && s->known)
        tell_up(s, session->identity, session->remote, NULL);
    if (s->known && (s->told || !h->o.sessions))
        return;
    /* Out of memory: nobody hears of it, and so of no end either. */
    forget(s);
    subject_free(s);
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
        know(s, e->connection);
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
