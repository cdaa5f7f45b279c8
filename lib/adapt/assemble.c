/* Constructors that hand lower rooms what they need of the rooms above them: to the core the table
 * of hash, randomness and regular expressions, to the gateway what an upgrade becomes. So neither
 * has to know who fills it in. */
#include "adapt/mcp_serve.h"
#include "adapt/session.h"
#include "core/node.h"
#include "core/services.h"
#include "gateway/gateway_int.h"

/* A registry without the operations that list it could be called but not discovered, so each has
 * them. */
alk_registry *alk_registry_new(void)
{
    alk_registry *reg = registry_new(host_default());

    if (reg && services_register(reg)) {
        alk_registry_unref(reg);
        return NULL;
    }
    return reg;
}

int alk_node_new(alk_node **out, alk_registry *reg, const alk_node_options *o)
{
    return node_new(out, reg, o, host_default());
}

int alk_gateway_new(alk_gateway **out, alk_dispatcher *d, const alk_gateway_options *o, char *err,
                    size_t err_size)
{
    static const struct gateway_above above = {serve_session, serve_calls, serve_quic,
                                               mcp_serve,     mcp_close,   mcp_free};

    return gateway_new(out, d, o, &above, err, err_size);
}
