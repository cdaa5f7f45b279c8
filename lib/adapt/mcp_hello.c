/* Opens a session with a server of the revisions that have them: initialize, whose answer says which
 * revision it is and may name the session, and a notification that all is well. The client does so
 * at first, and a call when the session has expired meanwhile. */
#include "adapt/mcp_client.h"

#include <stdio.h>

bool mcp_tells_changes(yyjson_val *capabilities)
{
    return yyjson_is_true(yyjson_obj_get(yyjson_obj_get(capabilities, "tools"), "listChanged"));
}

static void done(struct mcp_hello *h, int rc, const char *why)
{
    h->on_done(h->ud, rc, why);
}

/* Some servers have no answer to it, and say so. */
static void on_greeted(void *ud, const struct mcp_answer *a)
{
    struct mcp_hello *h = ud;
    char why[MCP_WHY];
    int rc = ALK_OK;

    if (a->kind != MCP_RESULT && a->kind != MCP_ERROR)
        rc = mcp_failure(a, "notifications/initialized", why);
    if (!rc)
        mcp_server_set_era(h->x.server, &h->era);
    done(h, rc, rc ? why : NULL);
}

static int greet(struct mcp_hello *h)
{
    int rc = mcp_begin(&h->x, MCP_NOTE, &h->era, "notifications/initialized", false);

    h->x.on_answer = on_greeted;
    return rc ? rc : mcp_send(&h->x, h->x.d->now + MCP_ANSWER_NS, MCP_NOTE_BYTES, false, NULL);
}

static void on_initialized(void *ud, const struct mcp_answer *a)
{
    struct mcp_hello *h = ud;
    struct str version = json_string(yyjson_obj_get(a->result, "protocolVersion"));
    char why[MCP_WHY];
    int rc;

    if (a->kind != MCP_RESULT) {
        rc = mcp_failure(a, "initialize", why);
        done(h, rc, why);
        return;
    }
    if (!str_is(version, MCP_SESSIONS) && !str_is(version, MCP_SESSIONS_OLD)) {
        snprintf(why, sizeof why,
                 "the server speaks revision %.*s, and neither " MCP_STATELESS ", " MCP_SESSIONS
                 " nor " MCP_SESSIONS_OLD,
                 version.n < 32 ? (int)version.n : 32, version.p ? version.p : "");
        done(h, ALK_EREMOTE, why);
        return;
    }
    snprintf(h->era.version, sizeof h->era.version, "%.*s", (int)version.n, version.p);
    snprintf(h->era.session, sizeof h->era.session, "%.*s", (int)h->x.session.len,
             h->x.session.len ? buf_at(&h->x.session) : "");
    h->changes = mcp_tells_changes(yyjson_obj_get(a->result, "capabilities"));
    if (greet(h))
        done(h, ALK_ENOMEM, "out of memory");
}

int mcp_hello_start(struct mcp_hello *h)
{
    int rc;

    h->era = (struct mcp_era){.kind = ERA_SESSIONS};
    h->x.on_answer = on_initialized;
    rc = mcp_begin(&h->x, MCP_REQUEST, &h->era, "initialize", false);
    if (!rc && buf_puts(&h->x.body, ",\"protocolVersion\":\"" MCP_SESSIONS
                                    "\",\"capabilities\":{},\"clientInfo\":{\"name\":\"alknet\","
                                    "\"version\":\"" ALK_VERSION "\"}"))
        rc = ALK_ENOMEM;
    return rc ? rc : mcp_send(&h->x, h->x.d->now + MCP_ANSWER_NS, MCP_NOTE_BYTES, false, NULL);
}
