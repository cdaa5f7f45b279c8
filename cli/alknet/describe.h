/* What an operation takes, as its schema says. */
#ifndef ALK_CLI_ALKNET_DESCRIBE_H
#define ALK_CLI_ALKNET_DESCRIBE_H

#include "commands.h"

#define SCHEMA_DEPTH_MAX 16u /* of a schema that is followed, its references included */

/* Asks for the specification of an operation; op has its leading slash, peer may be NULL. */
int describe_fetch(struct remote *r, const char *op, const char *peer, struct reply *reply);
/* Where a schema, a part of root, leads by its local references; NULL: to no object. */
yyjson_val *schema_resolve(yyjson_val *root, yyjson_val *schema);

#endif
