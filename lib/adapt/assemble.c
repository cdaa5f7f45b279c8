/* Constructors that hand the table of hash, randomness and regular expressions to the core. */
#include "core/node.h"
#include "core/services.h"

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
    alk_node_options defaults;

    alk_node_options_init(&defaults);
    return node_new(out, reg, o ? o : &defaults, host_default());
}
