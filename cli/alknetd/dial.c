/* The library keeps the connections and says in the log when one opens, is lost or cannot be had;
 * what was not imported or announced is said here. */
#include "dial.h"

#include <alknet/dial.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct dial {
    const struct config_connect *to;
    struct log *log;
};

static void on_event(alk_dialer *dialer, const alk_dial_event *e, void *ud)
{
    const struct dial *dial = ud;

    (void)dialer;
    if (e->state != ALK_DIAL_READY)
        return;
    if (e->message)
        log_say(dial->log, ALK_LOG_WARN, "connect.incomplete", "%s: %s", dial->to->name,
                e->message);
    else
        log_say(dial->log, ALK_LOG_INFO, "connect.ready", "%s", dial->to->name);
    if (e->announced)
        log_say(dial->log, ALK_LOG_INFO, "connect.announced", "%s: %s", dial->to->name,
                e->announced);
}

/* Whether the remote may learn who this node is. On a Unix-domain socket it can see that by
 * itself. */
static bool proves_itself(const struct config_connect *c)
{
    return c->token || c->own.certificate || c->local || c->quic;
}

static int open_one(alk_loop *net, const struct config_connect *c, struct log *log, char *why,
                    size_t size)
{
    alk_dialer *dialer;
    alk_dial_options o;
    struct dial *dial = malloc(sizeof *dial);
    int rc = ALK_ENOMEM;

    if (dial) {
        *dial = (struct dial){c, log};
        alk_dial_options_init(&o, sizeof o);
        o.url = c->url;
        if (c->framed)
            o.request_token = c->token;
        else
            o.token = c->token;
        o.tls = c->tls;
        o.peer_id = c->peer;
        o.spread_ms = c->spread_ms;
        o.import = c->import;
        o.namespace_prefix = c->prefix;
        o.operation_filter = c->operations;
        o.announce = proves_itself(c);
        o.on_event = on_event;
        o.ud_free = free;
        o.ud = dial;
        rc = alk_dial(&dialer, net, &o, why, size);
    }
    if (rc)
        free(dial);
    return rc;
}

int dials_open(alk_loop *net, const struct config *cfg, struct log *log, struct config_error *err)
{
    const struct config_connect *items = cfg->connect.items;

    for (size_t i = 0; i < cfg->connect.count; i++) {
        char why[200] = "", place[32];
        int rc = open_one(net, &items[i], log, why, sizeof why);

        snprintf(place, sizeof place, "connect[%zu]", i);
        if (rc)
            return config_fail(err, cfg->text.file, 0, place, "%s", *why ? why : alk_strerror(rc));
    }
    return 0;
}
