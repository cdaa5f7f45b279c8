/* What the program's threads call: each makes a command and puts it into an inbox. */
#include "serve/host_int.h"

#include "base/abi.h"
#include "core/call.h"

#include <string.h>

static uint32_t state_of(const alk_host *h)
{
    return host_is_here(h) ? __atomic_load_n(&h->state, __ATOMIC_ACQUIRE) : HOST_STOPPED;
}

bool host_runs(const alk_host *h)
{
    return state_of(h) == HOST_RUNNING;
}

static bool takes(const alk_host *h)
{
    uint32_t state = state_of(h);

    return state == HOST_STARTING || state == HOST_RUNNING;
}

/* ---- answers --------------------------------------------------------------------------------- */

static int find(alk_host *h, uint64_t id, struct subject **s, uint64_t *word)
{
    if (!takes(h))
        return ALK_ECLOSED;
    *s = subject_find(&h->subjects, id, word);
    return *s ? ALK_OK : ALK_EENDED;
}

/* A call to the program, of that type. */
static int find_called(alk_host *h, uint64_t id, bool stream, struct subject **s, uint64_t *word)
{
    int rc = find(h, id, s, word);

    if (rc)
        return rc;
    if (SUBJECT_KIND(*word) != SUBJECT_CALLED || stream != ((*word & SUBJECT_SUBSCRIPTION) != 0))
        return ALK_EINVAL;
    return ALK_OK;
}

static int put_answer(alk_host *h, struct subject *s, uint64_t id, uint64_t word,
                      enum command_kind kind, const char *text, size_t len)
{
    struct command *c = command_new(kind, id, text, len);
    int rc = c ? subject_answer(s, id, word) : ALK_ENOMEM;

    if (!rc)
        return inbox_put(h, &h->work_in, c, false);
    command_free(c);
    return rc;
}

int alk_host_reply(alk_host *h, uint64_t id, const char *json, size_t len)
{
    struct subject *s;
    uint64_t word;
    int rc = find_called(h, id, false, &s, &word);

    return rc ? rc : put_answer(h, s, id, word, COMMAND_REPLY, json, len);
}

/* A command is needed in both cases: to emit, or to be told of room. It stands behind all emits
 * that were taken, so when its turn comes those are gone, or wait for their reader. */
int alk_host_emit(alk_host *h, uint64_t id, const char *json, size_t len)
{
    struct command *c;
    struct subject *s;
    uint64_t word;
    int rc = find_called(h, id, true, &s, &word);

    if (rc)
        return rc;
    c = command_new(COMMAND_EMIT, id, json, len);
    if (!c)
        return ALK_ENOMEM;
    rc = subject_emit(s, id, word, len, inbox_full(h, &h->work_in));
    if (rc == SUBJECT_NOW_BLOCKED) {
        c->kind = COMMAND_ROOM;
        inbox_put(h, &h->work_in, c, false);
        return ALK_EAGAIN;
    }
    if (!rc)
        return inbox_put(h, &h->work_in, c, false);
    command_free(c);
    return rc;
}

int alk_host_complete(alk_host *h, uint64_t id)
{
    struct subject *s;
    uint64_t word;
    int rc = find_called(h, id, true, &s, &word);

    return rc ? rc : put_answer(h, s, id, word, COMMAND_COMPLETE, NULL, 0);
}

int alk_host_fail(alk_host *h, uint64_t id, const char *json, size_t len)
{
    struct subject *s;
    uint64_t word;
    int rc = find(h, id, &s, &word);

    if (rc)
        return rc;
    if (SUBJECT_KIND(word) != SUBJECT_CALLED)
        return ALK_EINVAL;
    return put_answer(h, s, id, word, COMMAND_FAIL, json, len);
}

/* ---- calls ----------------------------------------------------------------------------------- */

/* Mostly the same as the time before. */
static int take_identity(alk_host *h, const char *json, alk_identity **out)
{
    alk_identity *who;
    size_t len = strlen(json);
    char *text;

    uv_mutex_lock(&h->lock);
    *out = h->as_text && !strcmp(h->as_text, json) ? alk_identity_ref(h->as) : NULL;
    uv_mutex_unlock(&h->lock);
    if (*out)
        return ALK_OK;
    who = alk_identity_new(json, len);
    if (!who)
        return ALK_EJSON;
    text = host_alloc(len + 1);
    *out = who;
    if (!text)
        return ALK_OK;
    memcpy(text, json, len + 1);
    uv_mutex_lock(&h->lock);
    char *before_text = h->as_text;
    alk_identity *before = h->as;
    h->as_text = text;
    h->as = alk_identity_ref(who);
    uv_mutex_unlock(&h->lock);
    host_free(before_text);
    alk_identity_unref(before);
    return ALK_OK;
}

static int check_call(alk_host *h, const alk_host_call_options *o)
{
    uint64_t word;

    if (o->stream > 1 || o->policy > ALK_CONTINUE_RUNNING ||
        (o->traceparent && !traceparent_valid(str_of(o->traceparent))))
        return ALK_EINVAL;
    if (o->parent &&
        (!subject_find(&h->subjects, o->parent, &word) || SUBJECT_KIND(word) != SUBJECT_CALLED))
        return ALK_EENDED;
    if (o->connection &&
        (!subject_find(&h->subjects, o->connection, &word) ||
         (SUBJECT_KIND(word) != SUBJECT_DIAL && SUBJECT_KIND(word) != SUBJECT_SESSION)))
        return ALK_EENDED;
    return ALK_OK;
}

static const char *append(char **at, const char *text, size_t len)
{
    char *start = *at;

    if (!text)
        return NULL;
    memcpy(start, text, len);
    start[len] = 0;
    *at += len + 1;
    return start;
}

static size_t length(const char *text)
{
    return text ? strlen(text) + 1 : 0;
}

static struct call_command *call_command_new(const alk_host_call_options *o, const char *operation,
                                             size_t len)
{
    struct call_command *k =
        host_alloc(sizeof *k + len + 1 + length(o->peer) + length(o->traceparent));
    char *at = (char *)(k + 1);

    if (!k)
        return NULL;
    *k = (struct call_command){.stream = o->stream,
                               .timeout_ms = o->timeout_ms,
                               .policy = o->policy,
                               .parent = o->parent,
                               .connection = o->connection};
    k->operation = (struct str){append(&at, operation, len), len};
    k->peer = append(&at, o->peer, o->peer ? strlen(o->peer) : 0);
    k->traceparent = append(&at, o->traceparent, o->traceparent ? strlen(o->traceparent) : 0);
    return k;
}

static const struct abi abi_host_call = ABI_PLAIN(alk_host_call_options, traceparent);

static int make_call(alk_host *h, const alk_host_call_options *o, struct str operation,
                     struct str input, struct command **out)
{
    alk_identity *who = NULL;
    struct command *c;
    int rc = check_call(h, o);

    if (!rc && o->identity && !o->parent)
        rc = take_identity(h, o->identity, &who);
    if (rc)
        return rc;
    c = command_new(COMMAND_CALL, 0, input.p, input.n);
    if (c)
        c->call = call_command_new(o, operation.p, operation.n);
    if (!c || !c->call) {
        alk_identity_unref(who);
        command_free(c);
        return ALK_ENOMEM;
    }
    c->call->identity = who;
    *out = c;
    return ALK_OK;
}

int alk_host_call(alk_host *h, const char *operation, size_t operation_len, const char *input,
                  size_t input_len, const alk_host_call_options *o, uint64_t *id)
{
    const struct str name = name_strip(operation, operation_len);
    alk_host_call_options own;
    struct command *c;
    struct subject *s;
    int rc;

    if (!takes(h))
        return ALK_ECLOSED;
    o = abi_take(&abi_host_call, &own, o, NULL, 0);
    if (!o || !name_valid(name.p, name.n))
        return ALK_EINVAL;
    rc = make_call(h, o, name, (struct str){input, input_len}, &c);
    if (rc)
        return rc;
    s = subject_new(h, SUBJECT_CALLING, o->stream ? SUBJECT_SUBSCRIPTION : 0, o->tag);
    if (!s) {
        command_free(c);
        return ALK_ENOMEM;
    }
    c->id = *id = subject_id(s);
    rc = inbox_put(h, &h->work_in, c, true);
    if (rc)
        subject_free(s);
    return rc;
}

int alk_host_pause(alk_host *h, uint64_t id, int paused)
{
    struct command *c;
    struct subject *s;
    uint64_t word;
    int rc = find(h, id, &s, &word);

    if (rc)
        return rc;
    if (SUBJECT_KIND(word) != SUBJECT_CALLING || !(word & SUBJECT_SUBSCRIPTION))
        return ALK_EINVAL;
    c = command_new(COMMAND_PAUSE, id, NULL, 0);
    if (!c)
        return ALK_ENOMEM;
    rc = subject_pause(s, id, word, paused != 0);
    if (rc == 1)
        return inbox_put(h, &h->work_in, c, false);
    command_free(c);
    return rc;
}

int alk_host_abort(alk_host *h, uint64_t id)
{
    struct subject *s;
    uint64_t word;
    int rc = find(h, id, &s, &word);

    if (rc)
        return rc;
    if (SUBJECT_KIND(word) == SUBJECT_CALLED)
        return ALK_EINVAL;
    return put_answer(h, s, id, word, COMMAND_ABORT, NULL, 0);
}

/* ---- the host itself ------------------------------------------------------------------------- */

int alk_host_reload(alk_host *h, const char *config, size_t len)
{
    struct command *c;

    if (!host_runs(h))
        return ALK_ECLOSED;
    if (!config && !h->file)
        return ALK_EINVAL;
    c = command_new(COMMAND_RELOAD, !config, config, config ? len : 0);
    if (c)
        c->told = event_new(ALK_HOST_RELOADED, NULL, 0);
    if (!c || !c->told) {
        command_free(c);
        return ALK_ENOMEM;
    }
    return inbox_put(h, &h->main_in, c, true);
}

/* It needs no memory, and asking again costs nothing. */
int alk_host_stop(alk_host *h, int graceful)
{
    if (!host_runs(h))
        return ALK_ECLOSED;
    __atomic_fetch_or(&h->stop, graceful ? HOST_STOP_GRACEFUL : HOST_STOP_NOW, __ATOMIC_ACQ_REL);
    inbox_wake(&h->main_in);
    return ALK_OK;
}

void host_low(alk_host *h)
{
    __atomic_store_n(&h->low, 1, __ATOMIC_RELEASE);
    inbox_wake(&h->work_in);
}
