/* Constructors that hand the table of hash, randomness and regular expressions to the core. */
#include "core/node.h"
#include "core/registry.h"

alk_registry *alk_registry_new(void)
{
    return registry_new(host_default());
}

int alk_node_new(alk_node **out, alk_registry *reg, const alk_node_options *o)
{
    return node_new(out, reg, o, host_default());
}
