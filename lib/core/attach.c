/* A connection joins the node: the only place where one becomes a peer, by its establishment alone or by a configuration that
 * has changed. A peer is whoever the identity provider calls one, over WebSocket only when its entry says so; what it serves
 * is imported by itself when the node is made so. */
#include "core/connection.h"
#include "core/import.h"

#include <string.h>

#define KIND_MASK 0xfu

void alk_connection_options_init(alk_connection_options *o)
{
    memset(o, 0, sizeof *o);
    o->size = sizeof *o;
}

/* false: out of memory. */
static bool attach(alk_connection *c)
{
    struct alk_dispatcher *d = c->d;

    if ((c->kind & KIND_MASK) != ALK_KIND_PEER || !c->identity ||
        (c->websocket && !(c->kind & ALK_PEER_WEBSOCKET)))
        return true;
    if (!peers_attach(&d->peers, &c->peer, c->identity->id))
        return false;
    if (d->node->auto_import && !c->no_auto_import)
        import_soon(c);
    return true;
}

int alk_connection_open(alk_connection **out, alk_dispatcher *d, const alk_link *link,
                        const alk_connection_options *o)
{
    int rc = connection_open(out, d, link, o);

    if (rc || attach(*out))
        return rc;
    connection_abandon(*out);
    *out = NULL;
    return ALK_ENOMEM;
}

static void change_kind(alk_connection *c, uint32_t kind)
{
    c->kind = kind;
    peers_detach(&c->d->peers, &c->peer);
    /* Out of memory, it is a peer again at its next connection. */
    attach(c);
}

void connections_recheck(struct alk_dispatcher *d)
{
    const alk_identity_provider *p = &d->node->identities;

    list_each(l, &d->connections)
    {
        alk_connection *c = container_of(l, alk_connection, all);
        alk_identity *now = NULL;
        uint32_t kind;
        bool same;

        if (c->closing >= 0 || (!c->by_token && !c->by_fingerprint))
            continue;
        kind = (uint32_t)(c->by_token ? p->by_token(p->ud, c->by_token, strlen(c->by_token), &now)
                                      : p->by_fingerprint(p->ud, c->by_fingerprint,
                                                          strlen(c->by_fingerprint), &now));
        same = now && c->identity && !strcmp(now->id.p, c->identity->id.p) &&
               (kind & KIND_MASK) == (c->kind & KIND_MASK);
        if (same) {
            alk_identity_unref(c->identity);
            c->identity = now;
            if (kind != c->kind)
                change_kind(c, kind);
            continue;
        }
        alk_identity_unref(now);
        connection_shut(c, ALK_CLOSE_IDENTITY, "the credential no longer resolves");
    }
}
