/* `token`: new ones, and the hashes by which a node's configuration knows them. Standard output has
 * what a script wants, standard error the rest, labelled. A token is never an argument. */
#include "commands.h"
#include "input.h"
#include "settings.h"

#include <alknet/alknet.h>
#include <string.h>

static int token_new(struct cli *cli)
{
    char token[ALK_TOKEN_SIZE], hash[65];

    if (alk_token_new(token)) {
        complain("the system gives no randomness");
        return OUTCOME_CONNECTION;
    }
    alk_token_hash(token, strlen(token), hash);
    buffer_printf(&cli->printer.text, "%s\n", token);
    if (print_flush(&cli->printer) == 0)
        fprintf(stderr, "hash: %s\nprefix: %.*s\n", hash, TOKEN_PREFIX_LENGTH, token);
    explicit_bzero(token, sizeof token);
    return cli->printer.error ? OUTCOME_CONNECTION : OUTCOME_OK;
}

static int hash_text(struct cli *cli, const char *token, size_t len)
{
    char hash[65];

    if (token_check(token, len)) {
        complain("standard input holds no token: one line of printable characters without spaces "
                 "is one");
        return OUTCOME_USAGE;
    }
    if (len < ALK_TOKEN_MIN) {
        complain("a token of less than %u characters is never accepted", ALK_TOKEN_MIN);
        return OUTCOME_USAGE;
    }
    alk_token_hash(token, len, hash);
    buffer_printf(&cli->printer.text, "%s\n", hash);
    if (print_flush(&cli->printer))
        return OUTCOME_CONNECTION;
    fprintf(stderr, "prefix: %.*s\n", TOKEN_PREFIX_LENGTH, token);
    return OUTCOME_OK;
}

static int token_hash(struct cli *cli)
{
    struct buffer text = {0};
    int rc;

    rc = input_file(&text, "-", ALK_TOKEN_MAX + 2, false);
    if (rc == 0) {
        size_t len = text.len;

        len -= len && buffer_text(&text)[len - 1] == '\n';
        len -= len && buffer_text(&text)[len - 1] == '\r';
        rc = hash_text(cli, buffer_text(&text), len);
    }
    buffer_wipe(&text);
    return rc;
}

int command_token(struct cli *cli)
{
    const char *what = cli->options->operands[0];

    if (strcmp(what, "new") == 0)
        return token_new(cli);
    if (strcmp(what, "hash") == 0)
        return token_hash(cli);
    complain("'token new' makes one, and 'token hash' reads one from standard input");
    return OUTCOME_USAGE;
}
