/* The commands of alknet. Each returns the exit status; what went wrong has been printed. */
#ifndef ALK_CLI_ALKNET_COMMANDS_H
#define ALK_CLI_ALKNET_COMMANDS_H

#include "print.h"
#include "remote.h"

#define LIST_PAGES_MAX 1000u  /* of one `ls` */
#define TOKEN_PREFIX_LENGTH 8 /* what the configuration knows a key by */

/* What a command works with. */
struct cli {
    const struct options *options;
    const struct settings *settings; /* NULL for a command without a URL */
    struct remote *remote;           /* likewise, and for those that open their own */
    struct printer printer;          /* to standard output */
};

/* Prints why a request has no output; returns outcome. */
int command_report(int outcome, const struct reply *reply);
/* The name as it goes over the wire; OUTCOME_USAGE after a message. */
int command_operation(struct buffer *out, const char *name);
int command_ls(struct cli *cli);
int command_peers(struct cli *cli);
int command_describe(struct cli *cli);
int command_call(struct cli *cli);
int command_subscribe(struct cli *cli);
int command_serve(struct cli *cli);
int command_batch(struct cli *cli);
int command_ping(struct cli *cli);
int command_bench(struct cli *cli);
int command_openapi(struct cli *cli);
int command_import(struct cli *cli);
int command_mcp(struct cli *cli);
int command_token(struct cli *cli);
int command_keygen(struct cli *cli);
int command_fingerprint(struct cli *cli);

#endif
