/* A connection joins the node: the only place where one becomes a peer, by its establishment
 * alone or by a configuration that has changed. A peer is whoever the identity provider calls
 * one, over WebSocket only when its entry says so; what it serves is imported by itself when the
 * node is made so. */
#include "core/connection.h"
#include "core/import.h"

#include <assert.h>
#include <string.h>

/* One that is shut serves nothing. */
static void show(alk_connection *c)
{
    const bool open = c->closing < 0;
    struct overlay *const sets[2] = {open ? c->registered : NULL, open ? c->imported : NULL};

    if (c->line)
        line_show(c->line, c->peer ? peer_id(c->peer->of) : STR_NONE, sets);
}

struct line *connection_line(alk_connection *c)
{
    if (c->line)
        return c->line;
    c->line = line_new(c->d->port, c, c->account);
    if (c->line && c->closing >= 0)
        line_shut(c->line);
    show(c);
    return c->line;
}

void connection_serves(alk_connection *c)
{
    struct overlay *const sets[2] = {c->registered, c->imported};

    if (c->peer)
        peers_update(&c->d->node->peers, c->peer, sets, c->d->now);
    show(c);
}

void connection_detach(alk_connection *c)
{
    if (c->peer)
        peers_detach(&c->d->node->peers, c->peer, c->d->now);
    c->peer = NULL;
    show(c);
}

/* A peer by its entry alone, and never by what it says of itself. Over WebSocket that is not
 * enough: a token that a browser or a script can hold must not make its holder serve operations,
 * so the entry has to say so. */
static bool is_peer(const alk_connection *c)
{
    uint32_t kind = c->by ? c->by->kind : ALK_KIND_NONE;

    return !c->of_hub && (kind & KIND_MASK) == ALK_KIND_PEER &&
           (!c->websocket || (kind & ALK_PEER_WEBSOCKET));
}

/* false: out of memory. */
static bool attach(alk_connection *c)
{
    struct overlay *const sets[2] = {c->registered, c->imported};
    struct alk_dispatcher *d = c->d;

    assert(c->closing < 0);
    if (!is_peer(c))
        return true;
    c->peer = peers_attach(&d->node->peers, c->by->who->id, d->port, c, sets, d->now);
    if (!c->peer)
        return false;
    show(c);
    connection_tell_pending(c);
    if (d->node->auto_import && !c->no_auto_import)
        import_soon(c);
    return true;
}

/* Without memory for the peer table there is no connection: a peer that is none would serve
 * nothing, and nobody would see why. */
int connection_open_by(alk_connection **out, alk_dispatcher *d, const alk_link *link,
                       const alk_connection_options *o, struct credential *by)
{
    int rc = connection_open(out, d, link, o, by);

    if (rc || attach(*out))
        return rc;
    connection_abandon(*out);
    *out = NULL;
    return ALK_ENOMEM;
}

/* Who was vouched for by whoever opens the connection has no credential that could be asked
 * about. */
int alk_connection_open(alk_connection **out, alk_dispatcher *d, const alk_link *link,
                        const alk_connection_options *o)
{
    struct credential *by = NULL;
    alk_connection_options own;
    int rc;

    *out = NULL;
    o = node_take(d->node, &abi_connection_options, &own, o);
    if (!o)
        return ALK_EINVAL;
    if (o->identity) {
        by = credential_known(d,
                              o->by_token         ? PROOF_TOKEN
                              : o->by_fingerprint ? PROOF_FINGERPRINT
                                                  : PROOF_VOUCHED,
                              str_of(o->by_token ? o->by_token : o->by_fingerprint), o->identity,
                              o->kind);
        if (!by)
            return ALK_ENOMEM;
    }
    rc = connection_open_by(out, d, link, o, by);
    credential_unref(by);
    return rc;
}

/* Calls that run go on with the identity that they were checked with, unless the credential is
 * gone: then all of them end. A connection that is shut watches no more. */
void connection_recheck(struct watcher *w, bool gone)
{
    alk_connection *c = container_of(w, alk_connection, on_by);

    assert(c->closing < 0);
    if (gone) {
        connection_shut(c, ALK_CLOSE_IDENTITY, "the credential no longer resolves");
        return;
    }
    /* A flag may have made it a peer or none; one that stays a peer is there all the while. Out of
     * memory, it is a peer at its next connection. */
    if (!is_peer(c))
        connection_detach(c);
    else if (!c->peer)
        attach(c);
}
