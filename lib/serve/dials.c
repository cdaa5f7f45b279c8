/* The library keeps the connections and says in the log when one opens, is lost or cannot be had;
 * what was not imported or announced, and what a reload closes, is said here.
 *
 * A dialer has a reference to its struct dial until the library lets go of it, which may be long
 * after it was closed; that of a list goes with the list, on the loop's thread when another has
 * taken its place. */
#include "serve/dials.h"
#include "base/str.h"
#include "config/secret.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void dial_unref(struct dial *dial)
{
    if (!dial || __atomic_sub_fetch(&dial->refs, 1, __ATOMIC_ACQ_REL))
        return;
    for (size_t i = 0; i < dial->text_count; i++)
        secret_free(dial->texts[i]);
    alk_tls_unref(dial->o.tls);
    free(dial);
}

/* ---- lists ----------------------------------------------------------------------------------- */

/* text is for free; NULL: out of memory. */
static bool own(struct dial *dial, const char **to, char *text)
{
    *to = text;
    if (text)
        dial->texts[dial->text_count++] = text;
    return text != NULL;
}

static bool keep(struct dial *dial, const char **to, const char *text)
{
    return !text || own(dial, to, strdup(text));
}

struct dial *dial_new(const struct config *cfg, size_t i, const struct sayer *sayer)
{
    const struct config_connect *c = (struct config_connect *)cfg->connect.items + i;
    struct dial *dial = calloc(1, sizeof *dial);
    yyjson_val *entry;

    if (!dial)
        return NULL;
    dial->refs = 1;
    dial->sayer = sayer;
    alk_dial_options_init(&dial->o, sizeof dial->o);
    dial->o.tls = c->tls ? alk_tls_ref(c->tls) : NULL;
    dial->o.spread_ms = c->spread_ms;
    dial->o.import = c->import;
    dial->o.announce = c->announce;
    dial->o.reconnect = c->reconnect;
    entry = yyjson_arr_get(yyjson_obj_get(yyjson_doc_get_root(cfg->text.doc), "connect"), i);
    if ((!entry || own(dial, &dial->entry, yyjson_val_write(entry, 0, NULL))) &&
        keep(dial, &dial->name, c->name) && keep(dial, &dial->o.url, c->url) &&
        keep(dial, c->framed ? &dial->o.request_token : &dial->o.token, c->token) &&
        keep(dial, &dial->o.peer_id, c->peer) && keep(dial, &dial->o.namespace_prefix, c->prefix) &&
        keep(dial, &dial->o.operation_filter, c->operations))
        return dial;
    dial_unref(dial);
    return NULL;
}

static bool has(const struct dials *list, const struct dial *dial)
{
    for (size_t i = 0; i < list->count; i++) {
        if (list->items[i] == dial)
            return true;
    }
    return false;
}

/* One that list has not taken yet: two entries may say the same. */
static struct dial *find_same(const struct dials *before, const struct dials *list,
                              const struct dial *dial)
{
    for (size_t i = 0; before && i < before->count; i++) {
        struct dial *d = before->items[i];

        if (str_same(d->entry, dial->entry) && str_same(d->o.token, dial->o.token) &&
            str_same(d->o.request_token, dial->o.request_token) && !has(list, d))
            return d;
    }
    return NULL;
}

int dials_new(struct dials **out, const struct config *cfg, const struct dials *before,
              const struct sayer *sayer, struct config_error *err)
{
    struct dials *list = calloc(1, sizeof *list);
    size_t i = 0;

    for (; list && i < cfg->connect.count; i++) {
        struct dial *dial = dial_new(cfg, i, sayer), *same;

        if (!dial)
            break;
        same = find_same(before, list, dial);
        if (same) {
            __atomic_add_fetch(&same->refs, 1, __ATOMIC_RELAXED);
            dial_unref(dial);
        }
        list->items[list->count++] = same ? same : dial;
    }
    *out = list;
    if (list && i == cfg->connect.count)
        return 0;
    dials_free(list);
    *out = NULL;
    return config_fail(err, cfg->text.file, 0, "connect", "out of memory");
}

void dials_free(struct dials *list)
{
    for (size_t i = 0; list && i < list->count; i++)
        dial_unref(list->items[i]);
    free(list);
}

/* ---- dialling -------------------------------------------------------------------------------- */

static void on_event(alk_dialer *dialer, const alk_dial_event *e, void *ud)
{
    const struct dial *dial = ud;

    (void)dialer;
    if (e->state != ALK_DIAL_READY)
        return;
    if (e->message)
        say(dial->sayer, ALK_LOG_WARN, "connect.incomplete", "%s: %s", dial->name, e->message);
    else
        say(dial->sayer, ALK_LOG_INFO, "connect.ready", "%s", dial->name);
    if (e->announced)
        say(dial->sayer, ALK_LOG_INFO, "connect.announced", "%s: %s", dial->name, e->announced);
}

static void on_gone(void *ud)
{
    struct dial *dial = ud;

    dial->dialer = NULL;
    dial_unref(dial);
}

static int open_one(alk_loop *net, struct dial *dial, char *why, size_t size)
{
    alk_dial_options o = dial->o;
    int rc;

    o.on_event = on_event;
    o.ud_free = on_gone;
    o.ud = dial;
    rc = alk_dial(&dial->dialer, net, &o, why, size);
    if (rc == ALK_OK)
        __atomic_add_fetch(&dial->refs, 1, __ATOMIC_RELAXED);
    return rc;
}

int dials_open(alk_loop *net, const struct dials *list, struct config_error *err)
{
    for (size_t i = 0; i < list->count; i++) {
        char why[200] = "";
        int rc = open_one(net, list->items[i], why, sizeof why);

        if (rc)
            return config_fail(err, list->items[i]->name, 0, "", "%s",
                               *why ? why : alk_strerror(rc));
    }
    return 0;
}

/* On the loop's thread. What could not be dialled for want of memory is tried again after the next
 * reload; a loop that drains dials nobody. */
static void change(void *ud)
{
    const struct dials *next = ud;
    struct dials *before = next->before;

    for (size_t i = 0; i < before->count; i++) {
        struct dial *dial = before->items[i];

        if (has(next, dial) || !dial->dialer)
            continue;
        say(dial->sayer, ALK_LOG_INFO, "connect.closed", "%s", dial->name);
        alk_dialer_close(dial->dialer);
    }
    for (size_t i = 0; i < next->count; i++) {
        struct dial *dial = next->items[i];
        char why[200] = "";
        int rc = dial->dialer ? ALK_OK : open_one(next->net, dial, why, sizeof why);

        if (rc && rc != ALK_ECLOSED)
            say(dial->sayer, ALK_LOG_ERROR, "connect.failed", "%s: %s", dial->name,
                *why ? why : alk_strerror(rc));
    }
    dials_free(before);
}

int dials_replace(alk_loop *net, struct dials **list, struct dials *next)
{
    next->net = net;
    next->before = *list;
    int rc = alk_loop_post(net, change, next);
    if (rc == ALK_OK)
        *list = next;
    return rc;
}

/* ---- trying ---------------------------------------------------------------------------------- */

static int try_one(alk_loop *net, const struct config *cfg, size_t i, const struct dial *dial,
                   struct config_error *err)
{
    char why[200] = "", pointer[32], place[32];
    alk_dialer *dialer;
    int rc = alk_dial(&dialer, net, &dial->o, why, sizeof why);

    snprintf(pointer, sizeof pointer, "/connect/%zu", i);
    snprintf(place, sizeof place, "connect[%zu]", i);
    return rc ? config_complain(cfg, pointer, place, *why ? why : alk_strerror(rc), err) : 0;
}

/* A dialer begins in a turn of its loop, and this one closes before it has any. */
int dials_check(const struct config *cfg, alk_node *node, uv_loop_t *loop, struct config_error *err)
{
    struct dials *list;
    alk_dispatcher *d;
    alk_loop *net;
    int rc = dials_new(&list, cfg, NULL, NULL, err);

    if (rc < 0)
        return rc;
    rc = alk_dispatcher_new(&d, node);
    if (rc == ALK_OK && (rc = alk_loop_open(&net, loop, d)))
        alk_dispatcher_free(d);
    if (rc) {
        dials_free(list);
        return config_fail(err, cfg->text.file, 0, "connect", "%s", alk_strerror(rc));
    }
    for (size_t i = 0; i < list->count && rc == 0; i++)
        rc = try_one(net, cfg, i, list->items[i], err);
    alk_loop_close(net, NULL, NULL);
    dials_free(list);
    return rc;
}
