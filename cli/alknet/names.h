/* The names of what a node serves. */
#ifndef ALK_CLI_ALKNET_NAMES_H
#define ALK_CLI_ALKNET_NAMES_H

#include "commands.h"

/* Of a list that is only looked through: how many pages, and how long before the last of them. */
#define NAMES_PAGES_MAX 64u
#define NAMES_NS UINT64_C(3000000000)

/* Tells take of each operation, as far as the pages are read; an outcome, and no message. */
int names_each(struct remote *r, void (*take)(void *ud, const char *name, const char *type),
               void *ud);
/* After the report of a failure of the operation: what may have been meant. name: as it was
 * written. */
void names_suggest(struct cli *cli, const char *name, const struct reply *failed);

#endif
