/* What the command line of alknet says: one table of commands, one of options, from which the
 * parser, the help texts and the messages are made. Options may stand before and behind the command
 * and its operands; `--` ends them. A command refuses the options that mean nothing to it. */
#ifndef ALK_CLI_ALKNET_OPTIONS_H
#define ALK_CLI_ALKNET_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The exit status of the program. */
enum outcome {
    OUTCOME_OK = 0,
    OUTCOME_REMOTE = 1, /* the remote answered with an error */
    OUTCOME_USAGE = 2, /* the command line, the input or the settings are wrong; nothing was sent */
    OUTCOME_CONNECTION = 3 /* no answer that counts, or it could not be written */
};

enum command {
    COMMAND_LS,
    COMMAND_PEERS,
    COMMAND_DESCRIBE,
    COMMAND_CALL,
    COMMAND_SUBSCRIBE,
    COMMAND_SERVE,
    COMMAND_BATCH,
    COMMAND_PING,
    COMMAND_BENCH,
    COMMAND_OPENAPI,
    COMMAND_MCP,
    COMMAND_TOKEN,
    COMMAND_KEYGEN,
    COMMAND_FINGERPRINT,
    COMMAND_CONTEXT,
    COMMAND_HELP,
    COMMAND_VERSION,
    COMMAND_COUNT /* none was given */
};

enum format {
    FORMAT_DEFAULT, /* pretty; of a subscription, json */
    FORMAT_PRETTY,
    FORMAT_JSON,
    FORMAT_RAW
};

#define TIMEOUT_UNSET (-1)
#define TIMEOUT_MAX_S 1000000.0
#define COUNT_MAX 1000000000u
#define CONCURRENCY_MAX 512u
#define SERVE_CONCURRENCY 16u /* where it is not given */
#define BENCH_CONCURRENCY 8u

/* What of a document is to be imported, in the order of the line. */
struct choice {
    int letter;
    const char *value;
};

struct options {
    enum command command;
    enum format format;
    const char *url, *token_file, *name_space, *type, *peer; /* NULL: not given */
    int64_t timeout_ms;                                      /* TIMEOUT_UNSET; 0: none */
    int64_t interval_ms, duration_ms;                        /* duration_ms 0: not given */
    uint32_t count;                                          /* 0: not given */
    uint32_t concurrency;
    const char *description, *input_schema, *as;   /* NULL: not given */
    const char *ca_file, *certificate, *key, *pin; /* likewise */
    const char *context;                           /* likewise */
    const char *in_context;                        /* whose the URL is; NULL: nobody's */
    bool insecure;
    bool clear, curl, verbose, help, version, quiet, reconnect, text;
    bool any_peer, local, template;
    bool export;
    const char *openapi, *file, *prefix, *base_url; /* NULL: not given */
    struct choice *choices;
    size_t choice_count;
    char **operands; /* without the command */
    int operand_count;
    char **rest; /* what stands behind --, for a command that keeps it apart */
    int rest_count;
};

/* Fills o; OUTCOME_USAGE after a message. With help or version set, operands are not checked; the
 * commands of these names are no others than the options. */
int options_parse(struct options *o, int argc, char **argv);
/* Whether `openapi` is about a document that somebody has, in place of a node's. */
bool options_document(const struct options *o);
/* To standard output: of one command, or, for COMMAND_COUNT, of the program. */
void options_help(enum command command);

#endif
