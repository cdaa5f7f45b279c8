/* A connection joins the node: the only place where one becomes a peer, by its establishment
 * alone or by a configuration that has changed. A peer is whoever the identity provider calls
 * one, over WebSocket only when its entry says so; what it serves is imported by itself when the
 * node is made so. */
#include "core/connection.h"
#include "core/credential.h"
#include "core/import.h"

#include <assert.h>
#include <string.h>

/* A peer by its entry alone, and never by what it says of itself. Over WebSocket that is not
 * enough: a token that a browser or a script can hold must not make its holder serve operations,
 * so the entry has to say so. false: out of memory. */
static bool attach(alk_connection *c)
{
    struct alk_dispatcher *d = c->d;

    assert(c->closing < 0);
    if ((c->kind & KIND_MASK) != ALK_KIND_PEER || !c->identity ||
        (c->websocket && !(c->kind & ALK_PEER_WEBSOCKET)))
        return true;
    if (!peers_attach(&d->peers, &c->peer, c->identity->id))
        return false;
    if (d->node->auto_import && !c->no_auto_import)
        import_soon(c);
    return true;
}

/* Without memory for the peer table there is no connection: a peer that is none would serve
 * nothing, and nobody would see why. */
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

/* Who was vouched for by whoever opened the connection has no credential that could be asked
 * about. A shut connection stays in the list until it is buried, so the list holds still. Calls
 * that run go on with the identity that they were checked with, unless the credential is gone:
 * then all of them end. */
void connections_recheck(struct alk_dispatcher *d)
{
    list_each(l, &d->connections)
    {
        alk_connection *c = container_of(l, alk_connection, all);
        const struct credential by = {str_of(c->by_token), str_of(c->by_fingerprint)};

        if (c->closing >= 0 || (!by.token.p && !by.fingerprint.p))
            continue;
        switch (credential_recheck(d->node, &by, &c->identity, &c->kind)) {
        case CREDENTIAL_GONE:
            connection_shut(c, ALK_CLOSE_IDENTITY, "the credential no longer resolves");
            break;
        case CREDENTIAL_REFLAGGED:
            peers_detach(&d->peers, &c->peer);
            /* Joined anew: a flag may have made it a peer or none. Out of memory, it is a peer
             * again at its next connection. */
            attach(c);
            break;
        case CREDENTIAL_SAME:
            break;
        }
    }
}
