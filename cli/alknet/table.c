/* The tables of commands and options, and the help that is made from them. */
#include "table.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#define ALL ((1u << COMMAND_COUNT) - 1)
#define MCP BIT(COMMAND_MCP)
#define ALONE                                                                                      \
    (BIT(COMMAND_TOKEN) | BIT(COMMAND_KEYGEN) | BIT(COMMAND_FINGERPRINT) | BIT(COMMAND_CONTEXT) |  \
     BIT(COMMAND_HELP) | BIT(COMMAND_VERSION))
#define CONTEXT BIT(COMMAND_CONTEXT)
#define REMOTE (ALL & ~(ALONE | MCP))
#define ASKING (REMOTE & ~BIT(COMMAND_SERVE))
#define BENCH BIT(COMMAND_BENCH)
#define PASSING (BIT(COMMAND_CALL) | BIT(COMMAND_SUBSCRIBE))

const struct command_spec command_specs[COMMAND_COUNT] = {
    [COMMAND_LS] = {"ls", "[TEXT]", "list the operations that you may call", 0, 1,
                    "With TEXT, only those whose name or description contains it. What peers of "
                    "the node serve is\n"
                    "listed too, with the peer, if you have the scope peers:list.\n"
                    "With -o raw, names alone, one on each line; behind one of a peer a tab and "
                    "the peer."},
    [COMMAND_PEERS] = {"peers", "", "list the peers of the node", 0, 0,
                       "Each with the number of operations that it serves and you may call. That "
                       "takes the scope peers:list.\n"
                       "With -o raw, their names alone, one on each line."},
    [COMMAND_DESCRIBE] =
        {"describe", "OP", "print the whole specification of an operation", 1, 1,
         "With --template, an input for call: the members that are required or have "
         "defaults."},
    [COMMAND_CALL] =
        {"call", "OP [JSON | - | @FILE | KEY=VALUE...]", "call an operation and print its output",
         1, -1,
         "The input is one JSON text, or read from standard input with -, or from FILE, or an "
         "object made of\n"
         "KEY=VALUE: a VALUE that is JSON is taken as JSON, any other as a string. KEY:=VALUE\n"
         "insists on JSON. A.B=VALUE is a member of the object A. KEY=@FILE is the text of FILE, "
         "KEY:=@FILE\n"
         "its JSON. Without an input it is {}. What starts with - stands behind --."},
    [COMMAND_SUBSCRIBE] = {"subscribe", "OP [JSON | - | @FILE | KEY=VALUE...]",
                           "print the values of a subscription as they come", 1, -1,
                           "The input is given as for call. Each value is a line, unless -o pretty "
                           "is given. Ends with\n"
                           "status 0 when the subscription has completed, and quietly on Ctrl-C."},
    [COMMAND_SERVE] =
        {"serve", "NAME[:TYPE]... -- COMMAND...", "serve operations by running a command", 1, -1,
         "For each call of one of the NAMEs the COMMAND is run, without a shell: input "
         "on its standard input,\n"
         "output on its standard output, both JSON. Another exit status than 0 is an "
         "error, whose message is\n"
         "the last line on standard error. TYPE is query (default), mutation or "
         "subscription: each line is a\n"
         "value. Stays connected to the URL, that of a session, until Ctrl-C. The COMMAND finds "
         "ALKNET_OPERATION,\n"
         "ALKNET_REQUEST_ID and ALKNET_IDENTITY in its environment."},
    [COMMAND_BATCH] = {"batch", "FILE | -", "run many calls in one request", 1, 1,
                       "FILE holds [{\"operation\":OP,\"input\":JSON},...] or {\"calls\":[...]}. "
                       "With -o json a result is\n"
                       "a line; with -o raw an output is, and errors go to standard error."},
    [COMMAND_PING] = {"ping", "", "measure the round trip to the server", 0, 0,
                      "The first round trip includes making the connection."},
    [COMMAND_BENCH] =
        {"bench", "OP [JSON | - | @FILE | KEY=VALUE...]",
         "call an operation again and again, and measure it", 1, -1,
         "The input is given as for call. Each of --concurrency connections calls, waits for the "
         "answer, and calls\n"
         "again, for --duration seconds (10) or until there were --count calls. Printed are the "
         "rate, the latency\n"
         "of the calls that succeeded with its distribution, and how many ended with which error."},
    [COMMAND_OPENAPI] =
        {"openapi", "[FILE | URL | -]", "what a document would import, or the node's", 0, 1,
         "With FILE, URL or -, standard input: the operations that alknetd would import of that "
         "OpenAPI\n"
         "document, with name, type, method and path, and what would be left out, where and why. "
         "No node is\n"
         "asked. With -o raw, names alone, one on each line.\n"
         "With --export, the document that describes the HTTP routes of the node for you: what "
         "you may call\n"
         "there, and with which errors it ends. The URL of the node is one of HTTP."},
    [COMMAND_MCP] =
        {"mcp", "URL [TOOL [JSON | - | @FILE | KEY=VALUE...]]",
         "list the tools of an MCP server, or call one", 1, -1,
         "The URL is the server's endpoint, as https://HOST/mcp. TOOL is called as by call: what "
         "the server\nanswers is structured content, or the blocks of content. With -o raw, the "
         "list is names alone."},
    [COMMAND_TOKEN] =
        {"token", "new | hash", "make a token, or the hash of one, for the configuration", 1, 1,
         "new prints a token, and on standard error its hash and prefix; hash reads a token from\n"
         "standard input and prints its hash, and on standard error its prefix."},
    [COMMAND_KEYGEN] = {"keygen", "FILE", "make a node's key, and print its fingerprint", 1, 1,
                        "FILE must not exist yet. It gets an Ed25519 private key, PKCS #8 in PEM, "
                        "and mode 0600."},
    [COMMAND_FINGERPRINT] =
        {"fingerprint", "FILE | URL", "print the fingerprint of a key, a certificate or a server",
         1, 1,
         "FILE holds a private or public Ed25519 key, or a certificate, in PEM. "
         "URL is alknet://,\nalknet+tls://, https:// or wss://: what the server "
         "there shows is printed, and not verified."},
    [COMMAND_CONTEXT] =
        {"context", "[use | add | set | show | remove] [NAME]", "name the nodes that you work with",
         0, 2,
         "Alone, lists the contexts. add NAME --url URL makes one, with the token file and the "
         "options of TLS\n"
         "that are given; set changes it; use makes it the one that commands are for, unless "
         "--url, --context,\n"
         "ALKNET_URL or ALKNET_CONTEXT say otherwise. Tokens stay in their files."},
    [COMMAND_HELP] = {"help", "[COMMAND]", "print this help, or that of a command", 0, 1, NULL},
    [COMMAND_VERSION] = {"version", "", "print the version", 0, 0, NULL},
};

const struct option_spec option_specs[] = {
    {'u', "url", "URL", REMOTE | CONTEXT,
     "as https://, wss://, alknet://, unix:PATH; else ALKNET_URL, settings file"},
    {'W', "context", "NAME", REMOTE, "the node of that name: see alknet context"},
    {'F', "token-file", "FILE", REMOTE | MCP | CONTEXT,
     "the token; else ALKNET_TOKEN, else the settings file"},
    {'C', "clear", NULL, REMOTE | MCP,
     "let the token go over http:// or ws:// to another machine, readable on the way"},
    {'A', "cacert", "FILE", REMOTE | DOCUMENT | MCP | CONTEXT,
     "trust these certificates, in place of the system's"},
    {'E', "cert", "FILE", REMOTE | CONTEXT, "the certificate that the server gets of us"},
    {'K', "key", "FILE", REMOTE | CONTEXT,
     "its key; over alknet:// alone, the key that says who we are"},
    {'P', "pin", "FINGERPRINT", REMOTE | CONTEXT,
     "of the server's key or certificate, in place of trust and name"},
    {'k', "insecure", NULL, REMOTE,
     "take any certificate: whoever is on the way can read and alter"},
    {'o', "output", "FORMAT", ASKING | DOCUMENT | MCP | CONTEXT,
     "pretty, json (one line) or raw (strings without quotes)"},
    {'t', "timeout", "SECONDS", REMOTE | MCP, "deadline of the call and of the answer; 0: none"},
    {'c', "curl", NULL, ASKING & ~BENCH, "print the equivalent curl command instead of running it"},
    {'v', "verbose", NULL, REMOTE, "tell on standard error what is sent where"},
    {'r', "reconnect", NULL, BIT(COMMAND_SUBSCRIBE), "subscribe again after a loss or a restart"},
    {'q', "quiet", NULL, BIT(COMMAND_SUBSCRIBE) | BIT(COMMAND_SERVE),
     "say nothing about the connection"},
    {'d', "description", "TEXT", BIT(COMMAND_SERVE), "what the operations do"},
    {'s', "input-schema", "FILE", BIT(COMMAND_SERVE), "the JSON Schema of their input"},
    {'j', "concurrency", "N", BIT(COMMAND_SERVE) | BENCH,
     "how many at a time: serve 16, others wait; bench 8"},
    {'x', "text", NULL, BIT(COMMAND_SERVE), "the output is text, and becomes a JSON string"},
    {'a', "as", "SCOPES", BIT(COMMAND_SERVE),
     "who the hub is here: SCOPE,... or an identity in JSON (nobody)"},
    {'p', "peer", "ID", BIT(COMMAND_LS) | BIT(COMMAND_DESCRIBE) | PASSING,
     "what this peer of the node serves; a call needs the scope peers:call"},
    {'y', "any-peer", NULL, PASSING, "likewise, of the first peer that serves it"},
    {'l', "local", NULL, BIT(COMMAND_LS), "only what the node itself serves"},
    {'m', "template", NULL, BIT(COMMAND_DESCRIBE),
     "print an input to edit, made from the schema, in place of it"},
    {'N', "namespace", "NAME", BIT(COMMAND_LS), "only operations of this namespace"},
    {'T', "type", "TYPE", BIT(COMMAND_LS), "only query, mutation or subscription"},
    {'n', "count", "N", BIT(COMMAND_PING) | BENCH, "how often: ping 1, bench without a limit"},
    {'D', "duration", "SECONDS", BENCH, "how long: 10, unless --count is given"},
    {'i', "interval", "SECONDS", BIT(COMMAND_PING), "between two pings (1)"},
    {'e', "export", NULL, BIT(COMMAND_OPENAPI), "print the document of the node"},
    {'w', "openapi", "VERSION", BIT(COMMAND_OPENAPI), "of OpenAPI: 3.1 (default) or 3.2"},
    {'f', "file", "FILE", BIT(COMMAND_OPENAPI), "write it there, once it is whole"},
    {'R', "prefix", "PREFIX", DOCUMENT, "what the names of operations begin with (api)"},
    {'B', "base-url", "URL", DOCUMENT, "of the service, in place of the document's server"},
    {'S', "variable", "NAME=VALUE", DOCUMENT, "of the document's server; again for others"},
    {'I', "include", "PATTERN", DOCUMENT,
     "an operationId or 'METHOD /path', with stars; again for more"},
    {'X', "exclude", "PATTERN", DOCUMENT, "but not these"},
    {'M', "methods", "METHOD,...", DOCUMENT, "only operations of these methods"},
    {'G', "tags", "TAG,...", DOCUMENT, "only operations with one of these tags"},
    {'h', "help", NULL, ALL | DOCUMENT, "this text"},
    {'V', "version", NULL, ALL | DOCUMENT, "the version"},
};
const size_t option_spec_count = sizeof option_specs / sizeof *option_specs;
_Static_assert(sizeof option_specs / sizeof *option_specs <= OPTIONS_MAX, "one bit is for each");

enum command command_named(const char *name)
{
    int i = 0;

    while (i < COMMAND_COUNT && strcmp(command_specs[i].name, name))
        i++;
    return (enum command)i;
}

const struct option_spec *option_spec_of(int letter)
{
    for (size_t i = 0; i < option_spec_count; i++) {
        if (option_specs[i].letter == letter)
            return &option_specs[i];
    }
    return NULL;
}

const struct option_spec *option_spec_named(const char *name, size_t len)
{
    for (size_t i = 0; i < option_spec_count; i++) {
        if (!strncmp(option_specs[i].name, name, len) && !option_specs[i].name[len])
            return &option_specs[i];
    }
    return NULL;
}

static void help_options(unsigned mask)
{
    for (size_t i = 0; i < option_spec_count; i++) {
        char left[40];

        if (!(option_specs[i].commands & mask))
            continue;
        snprintf(left, sizeof left, "-%c, --%s%s%s", option_specs[i].letter, option_specs[i].name,
                 option_specs[i].argument ? " " : "",
                 option_specs[i].argument ? option_specs[i].argument : "");
        printf("  %-26s %s\n", left, option_specs[i].text);
    }
}

void options_help(enum command command)
{
    if (command < COMMAND_COUNT) {
        const struct command_spec *c = &command_specs[command];

        printf("Usage: alknet %s [options]%s%s\n\n%c%s.\n", c->name, *c->operands ? " " : "",
               c->operands, toupper((unsigned char)c->summary[0]), c->summary + 1);
        if (c->text)
            printf("%s\n", c->text);
        printf("\nOptions:\n");
        help_options(BIT(command) | (command == COMMAND_OPENAPI ? DOCUMENT : 0));
        return;
    }
    printf(
        "Usage: alknet COMMAND [options] [operands]\n\nCalls the operations of an alknet node.\n\n"
        "Commands:\n");
    for (int i = 0; i < COMMAND_COUNT; i++)
        printf("  %-11s %-36s %s\n", command_specs[i].name, command_specs[i].operands,
               command_specs[i].summary);
    printf("\nOptions of most commands (alknet COMMAND --help has all of one):\n");
    help_options(BIT(COMMAND_CALL));
    printf("\nExit status: 0 ok, 1 the remote answered with an error, 2 usage, 3 no answer.\n");
}
