/* alknet, the command-line client: options, settings, a remote, one command, an exit status.
 *
 * When memory runs out, the program ends, so no other file has to check for that. Ctrl-C ends the
 * program at once: the system closes its connection, and the remote aborts what was running. Only
 * while a WebSocket session works, Ctrl-C is caught (hub.h). */
#include "commands.h"
#include "complete.h"
#include "context.h"
#include "hub.h"

#include <alknet/alknet.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

static int run(struct cli *cli)
{
    static int (*const runs[COMMAND_COUNT])(struct cli *) = {
        [COMMAND_LS] = command_ls,
        [COMMAND_PEERS] = command_peers,
        [COMMAND_DESCRIBE] = command_describe,
        [COMMAND_CALL] = command_call,
        [COMMAND_SUBSCRIBE] = command_subscribe,
        [COMMAND_BATCH] = command_batch,
        [COMMAND_PING] = command_ping,
        [COMMAND_BENCH] = command_bench,
        [COMMAND_OPENAPI] = command_openapi,
        [COMMAND_MCP] = command_mcp,
        [COMMAND_TOKEN] = command_token,
        [COMMAND_SERVE] = command_serve,
        [COMMAND_KEYGEN] = command_keygen,
        [COMMAND_FINGERPRINT] = command_fingerprint,
        [COMMAND_CONTEXT] = command_context,
    };

    return runs[cli->options->command](cli);
}

static int run_with_remote(struct cli *cli, struct options *options)
{
    struct settings settings;
    struct contexts contexts = {0};

    if (cli->options->command == COMMAND_SERVE)
        hub_end_by_signals();
    int rc = contexts_apply(&contexts, options);

    memset(&settings, 0, sizeof settings);
    cli->settings = &settings;
    if (rc == 0)
        rc = settings_load(&settings, options);
    if (rc == 0 && options->command != COMMAND_SERVE && options->command != COMMAND_MCP &&
        options->command != COMMAND_BENCH)
        rc = remote_open(&cli->remote, cli->options, &settings, &cli->printer);
    if (rc == 0)
        rc = run(cli);
    if (cli->remote)
        cli->remote->ops->close(cli->remote);
    settings_fini(&settings);
    contexts_free(&contexts);
    return rc;
}

static enum format format_of(const struct options *o)
{
    if (o->format != FORMAT_DEFAULT)
        return o->format;
    return o->command == COMMAND_SUBSCRIBE ? FORMAT_JSON : FORMAT_PRETTY;
}

/* A reader that has gone ends the program as it does any other. */
static void report_output(int error)
{
    if (error == EPIPE) {
        signal(SIGPIPE, SIG_DFL);
        raise(SIGPIPE);
    }
    complain("cannot write the output: %s", strerror(error));
}

/* A standard stream that is closed would give its number to a socket: what is opened instead fails
 * when it is used. */
static void hold_standard_streams(void)
{
    for (int fd = 0; fd <= 2; fd++) {
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", fd == 0 ? O_WRONLY : O_RDONLY) != fd)
            exit(OUTCOME_CONNECTION);
    }
}

int main(int argc, char **argv)
{
    struct options options;
    struct cli cli = {.options = &options};
    int rc;

    hold_standard_streams();
    if (argc > 1 && !strcmp(argv[1], "complete"))
        return command_complete(argc - 2, argv + 2);
    rc = options_parse(&options, argc, argv);
    if (rc) {
        free(options.choices);
        return rc;
    }
    print_open(&cli.printer, stdout, format_of(&options));
    if (options.version) {
        buffer_printf(&cli.printer.text, "alknet %s\n", alk_version());
        print_flush(&cli.printer);
    } else if (options.help) {
        options_help(options.command);
        print_flush(&cli.printer);
    } else if (options.command == COMMAND_TOKEN || options.command == COMMAND_KEYGEN ||
               options.command == COMMAND_FINGERPRINT || options.command == COMMAND_CONTEXT) {
        rc = run(&cli);
    } else if (options_document(&options)) {
        rc = command_import(&cli);
    } else {
        rc = run_with_remote(&cli, &options);
    }
    print_close(&cli.printer);
    free(options.choices);
    if (cli.printer.error) {
        report_output(cli.printer.error);
        rc = OUTCOME_CONNECTION;
    }
    return rc;
}
