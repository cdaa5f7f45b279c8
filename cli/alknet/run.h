/* Handlers that run a command for each call: the input on its standard input, its standard output
 * is the output.
 *
 * A job is a call and the command that runs for it; it goes when both have ended. At most `most`
 * commands run, the other calls wait in the order of their coming, with their deadlines. A command
 * is the leader of a process group of its own, which gets SIGTERM when its call ends first, and
 * SIGKILL RUN_GRACE_MS later; so does what it leaves behind. */
#ifndef ALK_CLI_ALKNET_RUN_H
#define ALK_CLI_ALKNET_RUN_H

#include "buffer.h"

#include <alknet/uv.h>
#include <stdbool.h>
#include <sys/queue.h>

/* Bytes of an output, or of a line of a subscription: with its envelope it is a message of at most
 * 4 MiB. */
#define RUN_OUTPUT_MAX ((4u << 20) - 4096)
#define RUN_MESSAGE_MAX 400u /* bytes of a line of standard error that are kept */
#define RUN_GRACE_MS 2000
/* What commands fail with, as error_schemas of an operation. */
#define RUN_ERRORS                                                                                 \
    "[{\"code\":\"COMMAND_FAILED\",\"description\":\"The command could not be run, or ended "      \
    "with another status than 0.\",\"schema\":{\"type\":\"object\",\"properties\":{\"status\":"    \
    "{\"type\":\"integer\"},\"signal\":{\"type\":\"integer\"}}},\"http_status\":502},"             \
    "{\"code\":\"BAD_OUTPUT\",\"description\":\"What the command wrote is not JSON, or too "       \
    "large.\",\"schema\":true,\"http_status\":502}]"

struct runner {
    char **command;     /* ends with NULL */
    char **environment; /* what every command gets */
    size_t variables;
    bool text; /* the output is a string as it is */
    bool quiet, verbose;
    unsigned most, running;
    TAILQ_HEAD(, job) waiting, jobs;
};

void runner_init(struct runner *r, char **command);
void runner_fini(struct runner *r);
/* What a command gets for that call; ends with NULL. */
char **runner_environment(const struct runner *r, const alk_call *call);
void runner_environment_free(const struct runner *r, char **environment);
/* Whether the command can be found. */
bool runner_finds_command(const struct runner *r);
/* Handlers; ud is the runner. */
int run_single(alk_call *call, void *ud);
int run_stream(alk_call *call, void *ud);
/* Kills what runs, at once. */
void runner_kill(struct runner *r);

#endif
