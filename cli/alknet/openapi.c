/* `openapi --export`: the document that a node has of itself. */
#include "commands.h"

#include <errno.h>
#include <string.h>

/* Into the file that was asked for, or to standard output. */
static int print_document(struct cli *cli, yyjson_val *document)
{
    const char *path = cli->options->file;
    struct printer to_file;
    FILE *file;
    int error;

    if (!path)
        return print_value(&cli->printer, document) ? OUTCOME_CONNECTION : OUTCOME_OK;
    file = fopen(path, "w");
    if (!file) {
        complain("cannot write %s: %s", path, strerror(errno));
        return OUTCOME_USAGE;
    }
    print_open(&to_file, file, cli->printer.format);
    print_value(&to_file, document);
    print_close(&to_file);
    error = fclose(file) ? errno : to_file.error;
    if (error)
        complain("cannot write %s: %s", path, strerror(error));
    return error ? OUTCOME_CONNECTION : OUTCOME_OK;
}

int command_openapi(struct cli *cli)
{
    const struct options *o = cli->options;
    struct buffer route = {0};
    struct reply reply = {0};
    int rc;

    if (!o->export) {
        complain("which document: give a FILE or a URL, or --export for that of the node");
        return OUTCOME_USAGE;
    }
    if (!cli->remote->ops->get) {
        complain("%s: the document of a node is asked for over http, https or unix",
                 cli->settings->url);
        return OUTCOME_USAGE;
    }
    buffer_printf(&route, "/openapi.json%s%s", o->openapi ? "?version=" : "",
                  o->openapi ? o->openapi : "");
    rc = command_report(cli->remote->ops->get(cli->remote, buffer_text(&route), &reply), &reply);
    if (rc == OUTCOME_OK && reply.output) {
        if (yyjson_is_str(yyjson_obj_get(reply.output, "openapi")))
            rc = print_document(cli, reply.output);
        else
            rc = command_report(
                reply_problem(&reply, "%s has no OpenAPI document", cli->settings->url), &reply);
    }
    reply_free(&reply);
    buffer_free(&route);
    return rc;
}
