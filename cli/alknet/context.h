/* Named contexts: URLs with what goes along with them. They are kept beside the settings file, in
 * contexts.json, which only its owner may read or write:
 * {"current": NAME, "contexts": {NAME: {"url", "token_file", "cacert", "cert", "key", "pin"}}}.
 *
 * A context is used as a whole: with another URL nothing of it is. Tokens are in files of their own. */
#ifndef ALK_CLI_ALKNET_CONTEXT_H
#define ALK_CLI_ALKNET_CONTEXT_H

#include "commands.h"

#define CONTEXT_NAME_MAX 64u
#define CONTEXTS_MAX 1000u

struct contexts {
    char *path;
    yyjson_mut_doc *doc;
    yyjson_mut_val *root, *all; /* all: name to context */
};

/* Reads them; none is fine. OUTCOME_USAGE after a message. In both cases contexts_free follows. */
int contexts_load(struct contexts *c);
void contexts_free(struct contexts *c);
/* Gives options what the context has that is chosen by option, environment or `context use`, as far
 * as they do not say it themselves. They refer to c. OUTCOME_USAGE after a message. */
int contexts_apply(struct contexts *c, struct options *o);
int command_context(struct cli *cli);

#endif
