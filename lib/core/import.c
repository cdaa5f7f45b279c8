/* from_call: makes what a remote serves callable here. The remote's list is read page by page,
 * then the specifications, several at a time; the overlay changes once, when all is there. Who
 * calls meanwhile finds the old set or the new one, never a half.
 *
 * What a remote says is bounded in count and bytes, and is made into operations of the least kind:
 * internal, so that nobody from outside gets through this node to the remote unless an operation
 * of this node lets him (peers/call, or a handler's environment). */
#include "core/import.h"

#include "base/buf.h"
#include "base/utf8.h"
#include "core/announce.h"
#include "core/connection.h"
#include "core/fault.h"
#include "core/forward.h"
#include "core/overlay.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

/* These are what one remote can make this node keep. They also end a list whose pages never end. */
#define LISTED_EXTRA 64u /* of the remote's own services, which are not imported */
#define SPEC_MAX 65536u

/* A key is anybody whom a token was given to, a peer is a part of one's own network. kept: bytes of
 * the operations as they are kept here, compiled; a short pattern can be long then. */
static const struct allowance {
    size_t operations, bytes, kept;
} of_key = {256, 1u << 20, 4u << 20}, of_peer = {4096, 8u << 20, 32u << 20};

#define AGAIN SECOND /* between two imports that a remote asks for */

/* Lives until nothing is in flight any more: the calls' callbacks have pointers to it and to
 * its fetches. So a failure is only noted (rc), nothing new is begun, and the last answer
 * finishes it. */
struct import {
    alk_connection *c; /* a reference */
    struct arena arena;
    struct str prefix;
    struct str *filter; /* NULL: all */
    size_t filter_count;
    struct str *names; /* remote names to fetch */
    size_t name_count, listed, next, inflight, bytes;
    const struct allowance *most;
    size_t kept;         /* charged to the connection's account for ops */
    struct overlay *set; /* that is being made; has the memory of ops */
    struct operation **ops;
    size_t op_count;
    struct list announced; /* calls that wait for it */
    int rc;                /* why it fails, once nothing is in flight */
    char message[512];
    void (*on_done)(alk_connection *c, int rc, size_t count, const char *message, void *ud);
    void *ud;
};

struct fetch {
    struct import *im;
    size_t index;
};

static const struct abi abi_import_options = ABI_PLAIN(alk_import_options, operation_filter);

/* ---- the end --------------------------------------------------------------------------------- */

/* The first reason is the one that says something. A connection that closes makes every call fail;
 * then that is the reason. */
static void fail(struct import *im, int rc, const char *what, struct str name)
{
    int n;

    if (im->rc)
        return;
    im->rc = im->c->closing >= 0 ? ALK_ECLOSED : rc;
    n = snprintf(im->message, sizeof im->message, "%s%s", what, name.n ? ": " : "");
    if (n < (int)sizeof im->message)
        utf8_show(im->message + n, sizeof im->message - (size_t)n, name.p, name.n);
}

/* By the remote's own words, where there are any. */
static void fail_remote(struct import *im, const alk_fault *fault, const char *otherwise,
                        struct str name)
{
    struct str said = fault ? fault_message(fault) : str_of(otherwise);
    char what[sizeof im->message];

    utf8_show(what, sizeof what, said.p, said.n);
    fail(im, ALK_EREMOTE, what, name);
}

static void fail_count(struct import *im, const char *what, size_t most)
{
    char text[80];

    snprintf(text, sizeof text, "more than %zu %s", most, what);
    fail(im, ALK_ELIMIT, text, (struct str){"", 0});
}

/* Charged as soon as it is there, and freed by `finish` if that is too much. */
static void keep(struct import *im, struct operation *op)
{
    size_t kept = im->kept + operation_memory(op);

    im->ops[im->op_count++] = op;
    if (kept > im->most->kept)
        fail_count(im, "bytes of compiled operations", im->most->kept);
    else if (!account_keep(im->c->account, im->kept, kept))
        fail(im, ALK_ELIMIT, "the message budget is used up", (struct str){"", 0});
    else
        im->kept = kept;
}

/* Calls that run hold the old set. */
static void swap(struct import *im)
{
    int rc;

    assert(im->c->closing < 0);
    rc = overlay_fill(im->set, im->ops, im->op_count, im->c->account, im->kept);
    if (rc) {
        fail(im, rc == ALK_EEXIST ? ALK_ECOLLISION : rc,
             rc == ALK_EEXIST ? "SAME_PEER_COLLISION: two operations get the same local name"
                              : "out of memory",
             (struct str){"", 0});
        return;
    }
    overlay_unref(im->c->imported);
    im->c->imported = im->set;
    im->set = NULL;
    connection_serves(im->c);
}

/* A connection that closed is told of by itself. Whoever asked for the import is told of its
 * failure, but nobody asked for an automatic one. */
static void import_failed(alk_connection *c, const char *why, bool tell)
{
    alk_log_event e = {.size = sizeof e, .level = ALK_LOG_WARN, .event = "import.failed"};

    COUNT(c->d, imports_failed);
    e.message = why;
    e.identity = c->by ? c->by->who->id.p : NULL;
    e.remote = connection_remote(c);
    if (tell)
        node_log(c->d->node, &e);
}

static void finish(struct import *im)
{
    alk_connection *c = im->c;
    size_t count = im->op_count;

    if (!im->rc && c->closing >= 0)
        fail(im, ALK_ECLOSED, "the connection is closed", (struct str){"", 0});
    if (!im->rc)
        swap(im);
    for (size_t i = 0; im->rc && i < im->op_count; i++)
        operation_free(im->ops[i], &im->set->mem);
    overlay_unref(im->set);
    if (im->rc)
        account_keep(c->account, im->kept, 0);
    if (im->rc && im->rc != ALK_ECLOSED)
        import_failed(c, im->message, !im->on_done);
    /* Before the functions of the application, which may import again at once. */
    c->import = NULL;
    if (im->rc)
        announce_failed(&im->announced, im->message);
    else
        announce_done(c, &im->announced);
    if (im->on_done)
        im->on_done(c, im->rc, im->rc ? 0 : count, im->message, im->ud);
    if (c->import_again)
        import_soon(c);
    arena_fini(&im->arena);
    mem_free(&c->d->mem, im);
    alk_connection_unref(c);
}

/* For what costs the import nothing but an operation, or a schema: nobody hears of it otherwise. */
static void warn(const struct import *im, const char *what)
{
    alk_log_event e = {.size = sizeof e, .level = ALK_LOG_WARN, .event = "import", .message = what};

    e.remote = connection_remote(im->c);
    node_log(im->c->d->node, &e);
}

/* ---- specifications -------------------------------------------------------------------------- */

int import_operation(struct operation **out, alk_dispatcher *d, struct overlay *set,
                     const struct imported *what, struct op_diag *diag)
{
    alk_operation op;
    bool whole;
    int rc;

    alk_operation_init(&op, sizeof op);
    op.name = what->name;
    op.visibility = ALK_INTERNAL_ONLY;
    op.provenance = ALK_FROM_CALL;
    /* The operation keeps copies. In an import's arena these texts would add up, until its account
     * had no room for the answers that are still to come. */
    arena_reset(&d->scratch);
    whole = import_spec(&d->scratch, what->spec, &op);
    op.handler = what->handler;
    op.ud = forward_name(what->remote);
    op.ud_free = forward_name_free;
    rc = whole && op.ud && op.name ? operation_new(out, &op, d->node->host, &set->mem, true, diag)
                                   : ALK_ENOMEM;
    if (rc)
        forward_name_free(op.ud);
    else
        (*out)->forwards = true; /* its faults are the remote's, protocol codes included */
    return rc;
}

/* A name that cannot be one here costs the remote that operation. A specification that is wrong
 * costs it the import: what it says about access must not be guessed at. */
static void add_operation(struct import *im, struct str remote, yyjson_val *spec)
{
    const struct imported what = {import_name(&im->arena, im->prefix, remote), remote, spec,
                                  forward};
    struct operation *made;
    struct op_diag diag;
    int rc;

    if (what.name && !name_valid(what.name, strlen(what.name))) {
        warn(im, "an operation of the remote has a name that cannot be one here");
        return;
    }
    rc = import_operation(&made, im->c->d, im->set, &what, &diag);
    if (!rc) {
        keep(im, made);
        if (diag.text[0])
            warn(im, diag.text);
        return;
    }
    if (rc == ALK_ENOMEM)
        fail(im, ALK_ENOMEM, "out of memory", (struct str){"", 0});
    else
        fail(im, ALK_EREMOTE, diag.text, (struct str){"", 0});
}

static void fetch_more(struct import *im);

/* Its size is that of its text, which is what operations keep of it. */
static void on_spec(alk_call *call, const alk_value *value, void *ud)
{
    struct fetch *f = ud;
    struct import *im = f->im;
    struct str name = im->names[f->index];
    size_t len;

    (void)call;
    if (im->rc || !alk_value_text(value, &len))
        return;
    im->bytes += len;
    if (len > SPEC_MAX)
        fail(im, ALK_ELIMIT, "a specification of more than 64 KiB", name);
    else if (im->bytes > im->most->bytes)
        fail_count(im, "bytes of specifications", im->most->bytes);
    else
        add_operation(im, name, value->val);
}

static void on_spec_end(alk_call *call, int why, const alk_fault *fault, void *ud)
{
    struct fetch *f = ud;
    struct import *im = f->im;

    (void)call;
    im->inflight--;
    /* One that has gone since it was listed is no failure. */
    if (why != ALK_END_OK && !(fault && str_is(fault_code(fault), ALK_NOT_FOUND)))
        fail_remote(im, fault, "services/schema failed", im->names[f->index]);
    fetch_more(im);
}

/* By index and not by pointer: the names are the import's. */
static int fetch_one(struct import *im, size_t index)
{
    struct fetch *f = arena_alloc(&im->arena, sizeof *f);
    alk_call_options o = {.size = sizeof o};
    struct buf b;
    int rc;

    if (!f)
        return ALK_ENOMEM;
    *f = (struct fetch){im, index};
    o.on_event = on_spec;
    o.on_end = on_spec_end;
    o.ud = f;
    buf_init(&b, &im->c->d->mem);
    rc = buf_puts(&b, "{\"name\":") | buf_json_string(&b, im->names[index].p, im->names[index].n) |
         buf_puts(&b, "}");
    rc = rc ? ALK_ENOMEM
            : alk_connection_call(im->c, "services/schema", 15, buf_at(&b), b.len, &o, NULL);
    buf_fini(&b);
    return rc;
}

/* Several at a time, as each is a round trip; not all at once, since the remote has limits as
 * well. May free the import: the last thing that its callers do. */
static void fetch_more(struct import *im)
{
    uint32_t fanout = LIMIT(im->c->d->node, import_fanout);
    int rc;

    while (!im->rc && im->next < im->name_count && im->inflight < (fanout ? fanout : 1)) {
        rc = fetch_one(im, im->next);
        /* So many calls wait on this connection that it may have no more: goes on with the next
         * answer. */
        if (rc == ALK_ELIMIT && im->inflight)
            return;
        if (rc) {
            fail(im, rc, alk_strerror(rc), (struct str){"", 0});
            break;
        }
        im->next++;
        im->inflight++;
    }
    if (!im->inflight && (im->rc || im->next == im->name_count))
        finish(im);
}

/* ---- the list -------------------------------------------------------------------------------- */

/* services/ and peers/ of the remote stay its own: here, those names mean this node's, and
 * peers/call would reach through the remote to whatever it can reach. */
static bool wanted(const struct import *im, struct str name)
{
    if (name_reserved(name))
        return false;
    for (size_t i = 0; i < im->filter_count; i++) {
        if (im->filter[i].n == name.n && !memcmp(im->filter[i].p, name.p, name.n))
            return true;
    }
    return !im->filter;
}

static void start_list(struct import *im, struct str cursor);

static void on_page(alk_call *call, const alk_value *value, void *ud)
{
    struct import *im = ud;
    yyjson_val *list = yyjson_obj_get(value->val, "operations"), *v;
    struct str cursor;
    size_t i, n;

    (void)call;
    if (!yyjson_is_arr(list)) {
        fail(im, ALK_EREMOTE, "services/list answered without operations", (struct str){"", 0});
        return;
    }
    yyjson_arr_foreach(list, i, n, v)
    {
        struct str name;

        name.p = json_str(v, "name", &name.n);
        if (!name.p) {
            fail(im, ALK_EREMOTE, "services/list has an operation without a name",
                 (struct str){"", 0});
            return;
        }
        name = name_strip(name.p, name.n);
        if (++im->listed > im->most->operations + LISTED_EXTRA) {
            fail_count(im, "operations", im->most->operations);
            return;
        }
        if (!name.n || name.n > NAME_MAX_BYTES) {
            warn(im, "services/list has an operation with a name that cannot be one");
            continue;
        }
        if (!wanted(im, name))
            continue;
        if (im->name_count == im->most->operations) {
            fail_count(im, "operations", im->most->operations);
            return;
        }
        name.p = arena_dup(&im->arena, name.p, name.n);
        if (!name.p) {
            fail(im, ALK_ENOMEM, "out of memory", (struct str){"", 0});
            return;
        }
        im->names[im->name_count++] = name;
    }
    cursor.p = json_str(value->val, "next_cursor", &cursor.n);
    /* An empty page ends the list whatever it says, or a remote could go on for ever without
     * coming to a limit. The next page is asked for before this call has ended, so that inflight
     * is 0 only behind the last one. */
    if (cursor.p && n)
        start_list(im, cursor);
}

/* The list is whole only now; specifications that were fetched before would be in vain if it
 * fails. */
static void on_page_end(alk_call *call, int why, const alk_fault *fault, void *ud)
{
    struct import *im = ud;

    (void)call;
    im->inflight--;
    if (why != ALK_END_OK)
        fail_remote(im, fault, "services/list failed", (struct str){"", 0});
    if (im->inflight)
        return;
    im->ops = arena_alloc(&im->arena, (im->name_count + 1) * sizeof(struct operation *));
    if (!im->ops)
        fail(im, ALK_ENOMEM, "out of memory", (struct str){"", 0});
    fetch_more(im);
}

static int call_list(struct import *im, struct str cursor)
{
    alk_call_options o = {.size = sizeof o};
    struct buf b;
    int rc;

    o.on_event = on_page;
    o.on_end = on_page_end;
    o.ud = im;
    buf_init(&b, &im->c->d->mem);
    rc = buf_puts(&b, "{");
    if (cursor.p)
        rc |= buf_puts(&b, "\"cursor\":") | buf_json_string(&b, cursor.p, cursor.n);
    rc |= buf_puts(&b, "}");
    rc = rc ? ALK_ENOMEM
            : alk_connection_call(im->c, "services/list", 13, buf_at(&b), b.len, &o, NULL);
    buf_fini(&b);
    if (!rc)
        im->inflight++;
    return rc;
}

static void start_list(struct import *im, struct str cursor)
{
    int rc = call_list(im, cursor);

    if (rc)
        fail(im, rc, alk_strerror(rc), (struct str){"", 0});
}

/* Before anything is asked of the remote, so that a mistake in it is the caller's to hear. */
static int read_filter(struct import *im, const char *json)
{
    struct alk_dispatcher *d = im->c->d;
    yyjson_val *v;
    struct msg *m;
    size_t i, n;
    int rc;

    if (!json)
        return ALK_OK;
    m = msg_new(&d->messages, NULL);
    if (!m)
        return ALK_ENOMEM;
    rc = msg_parse(m, json, strlen(json), NULL);
    rc = !rc && !yyjson_is_arr(m->value.val) ? ALK_EJSON : rc;
    im->filter = arena_alloc(&im->arena, (yyjson_arr_size(m->value.val) + 1) * sizeof *im->filter);
    if (!im->filter)
        rc = ALK_ENOMEM;
    yyjson_arr_foreach(rc ? NULL : m->value.val, i, n, v)
    {
        struct str s = {yyjson_get_str(v), yyjson_get_len(v)};

        if (!s.p) {
            rc = ALK_EJSON;
            break;
        }
        s = name_strip(s.p, s.n);
        s.p = arena_dup(&im->arena, s.p, s.n);
        rc = s.p ? rc : ALK_ENOMEM;
        im->filter[im->filter_count++] = s;
    }
    msg_free(m);
    return rc;
}

int alk_connection_import(alk_connection *c, const alk_import_options *o,
                          void (*on_done)(alk_connection *c, int rc, size_t count,
                                          const char *message, void *ud),
                          void *ud)
{
    struct alk_dispatcher *d = c->d;
    alk_import_options own;
    struct import *im;
    int rc;

    if (c->closing >= 0)
        return ALK_ECLOSED;
    if (c->import)
        return ALK_EAGAIN;
    o = node_take(d->node, &abi_import_options, &own, o);
    if (!o)
        return ALK_EINVAL;
    if (o->namespace_prefix &&
        (!name_valid(o->namespace_prefix, strlen(o->namespace_prefix)) ||
         name_reserved((struct str){o->namespace_prefix, strlen(o->namespace_prefix)})))
        return ALK_EINVAL;
    im = mem_zalloc(&d->mem, sizeof *im);
    if (!im)
        return ALK_ENOMEM;
    arena_init(&im->arena, &d->mem, 4096);
    im->c = alk_connection_ref(c);
    im->on_done = on_done;
    im->ud = ud;
    list_init(&im->announced);
    if (o->namespace_prefix)
        im->prefix =
            (struct str){arena_dup(&im->arena, o->namespace_prefix, strlen(o->namespace_prefix)),
                         strlen(o->namespace_prefix)};
    im->most = c->by && (c->by->kind & KIND_MASK) == ALK_KIND_KEY ? &of_key : &of_peer;
    arena_charge(&im->arena, &c->account->meter);
    /* At once, in place of growing it page by page: 64 KiB, and for as long as the import takes. */
    im->names = arena_alloc(&im->arena, im->most->operations * sizeof *im->names);
    im->set = overlay_new(&d->mem, d->node->seed);
    rc = !im->names || !im->set || (im->prefix.n && !im->prefix.p)
             ? ALK_ENOMEM
             : read_filter(im, o->operation_filter);
    if (!rc)
        rc = call_list(im, (struct str){NULL, 0});
    if (rc) {
        overlay_unref(im->set);
        arena_fini(&im->arena);
        mem_free(&d->mem, im);
        alk_connection_unref(c);
        return rc == ALK_ELIMIT ? ALK_EAGAIN : rc;
    }
    c->import = im;
    c->import_at = d->now;
    return ALK_OK;
}

/* ---- announced ------------------------------------------------------------------------------- */

/* An import by hand may be under way: it may have begun before the announcement, so there is
 * another one behind it. */
static void import_due(struct timer *t, uint64_t now)
{
    alk_connection *c = container_of(t, alk_connection, import_timer);
    alk_import_options o = {.size = sizeof o};
    int rc;

    assert(c->closing < 0);
    o.namespace_prefix = c->import_prefix;
    o.operation_filter = c->import_filter;
    rc = alk_connection_import(c, &o, NULL, NULL);
    if (!rc) {
        list_splice(&c->import->announced, &c->announced);
    } else if (rc == ALK_EAGAIN && c->import) {
        c->import_again = true;
    } else if (rc == ALK_EAGAIN || rc == ALK_ENOMEM) {
        timer_set(&c->d->schedule, t, now + AGAIN);
    } else {
        import_failed(c, alk_strerror(rc), true);
        announce_failed(&c->announced, alk_strerror(rc));
    }
}

/* A remote may announce as often as it likes, and each import is thousands of calls: so they are a
 * second apart, and what is announced meanwhile has the next one in common. */
void import_soon(alk_connection *c)
{
    uint64_t at = c->import_at ? c->import_at + AGAIN : c->d->now;

    c->import_again = c->import != NULL;
    if (c->import || c->closing >= 0)
        return;
    c->import_timer.fn = import_due;
    timer_set(&c->d->schedule, &c->import_timer, at > c->d->now ? at : c->d->now);
}
