/* Imports that nobody in this process asks for: because the remote has announced that it serves
 * something, or because the node is made so (auto_import). One at a time for each connection, and
 * at least a second apart. alk_connection_import (alknet/alknet.h) is the import itself. */
#ifndef ALK_CORE_IMPORT_H
#define ALK_CORE_IMPORT_H

#include "core/call.h"

/* As soon as that is allowed. */
void import_soon(alk_connection *c);

/* import_spec.c: fills op from a specification of a remote: type, description, schemas, errors,
 * access. false: out of memory. */
bool import_spec(struct arena *a, yyjson_val *spec, alk_operation *op);

struct imported {
    const char *name;  /* here; NULL: there was no memory for it */
    struct str remote; /* there, which handler gets as ud (forward.h) */
    yyjson_val *spec;
    alk_handler handler;
};
/* Makes it with the set's memory. 0; ALK_ENOMEM; otherwise diag says what is wrong with it. */
int import_operation(struct operation **out, alk_dispatcher *d, struct overlay *set,
                     const struct imported *what, struct op_diag *diag);
/* The local name of a remote's operation. NULL: out of memory. */
const char *import_name(struct arena *a, struct str prefix, struct str remote);

#endif
