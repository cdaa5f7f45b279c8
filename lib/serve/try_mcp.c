/* Implements try_mcp.h: a client is opened on a loop of its own and closed before it runs. What is
 * wrong with an entry is so said by the library alone, and before anything is served. */
#include "serve/try_mcp.h"

#include <alknet/uv.h>

int try_mcp(const alk_mcp_options *o, char *why, size_t size)
{
    alk_registry *reg = alk_registry_new();
    alk_node *node = NULL;
    alk_dispatcher *d;
    alk_loop *loop = NULL;
    alk_mcp *client = NULL;
    uv_loop_t uv;
    int rc = reg ? alk_registry_freeze(reg) : ALK_ENOMEM;

    if (!rc)
        rc = alk_node_new(&node, reg, NULL);
    alk_registry_unref(reg);
    if (rc)
        return rc;
    if (uv_loop_init(&uv)) {
        alk_node_unref(node);
        return ALK_ESYSTEM;
    }
    rc = alk_dispatcher_new(&d, node);
    if (!rc && (rc = alk_loop_open(&loop, &uv, d)))
        alk_dispatcher_free(d);
    if (!rc)
        rc = alk_mcp_open(&client, loop, o, why, size);
    if (client)
        alk_mcp_close(client);
    if (loop)
        alk_loop_close(loop, NULL, NULL);
    uv_run(&uv, UV_RUN_DEFAULT);
    uv_loop_close(&uv);
    alk_node_unref(node);
    return rc;
}
