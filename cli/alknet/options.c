/* Two tables say everything: what a command takes and what an option means to which commands. The
 * parser, the help and the complaints are made from them, so that they cannot disagree.
 * getopt_long only splits the words; its own messages are off. */
#include "options.h"
#include "buffer.h"
#include "print.h"

#include <ctype.h>
#include <getopt.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BIT(command) (1u << (command))
#define ALL ((1u << COMMAND_COUNT) - 1)
#define MCP BIT(COMMAND_MCP)
#define REMOTE (ALL & ~(BIT(COMMAND_TOKEN) | BIT(COMMAND_KEYGEN) | BIT(COMMAND_FINGERPRINT) | MCP))
#define ASKING (REMOTE & ~BIT(COMMAND_SERVE))
/* `openapi` with an operand. */
#define DOCUMENT BIT(COMMAND_COUNT)
#define PASSING (BIT(COMMAND_CALL) | BIT(COMMAND_SUBSCRIBE))

static const struct command_spec {
    const char *name, *operands, *summary;
    int min, max; /* operands; max -1: any number */
    const char *text;
} commands[COMMAND_COUNT] = {
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
    [COMMAND_DESCRIBE] = {"describe", "OP", "print the whole specification of an operation", 1, 1,
                          NULL},
    [COMMAND_CALL] =
        {"call", "OP [JSON | - | KEY=VALUE...]", "call an operation and print its output", 1, -1,
         "The input is one JSON text, or read from standard input with -, or an object made of\n"
         "KEY=VALUE: a VALUE that is JSON is taken as JSON, any other as a string. KEY:=VALUE\n"
         "insists on JSON. Without an input it is {}. What starts with - stands behind --."},
    [COMMAND_SUBSCRIBE] = {"subscribe", "OP [JSON | - | KEY=VALUE...]",
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
        {"mcp", "URL [TOOL [JSON | - | KEY=VALUE...]]",
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
};

static const struct option_spec {
    int letter;
    const char *name, *argument;
    unsigned commands;
    const char *text;
} specs[] = {
    {'u', "url", "URL", REMOTE,
     "as https://, wss://, alknet://, unix:PATH; else ALKNET_URL, settings file"},
    {'F', "token-file", "FILE", REMOTE | MCP,
     "the token; else ALKNET_TOKEN, else the settings file"},
    {'C', "clear", NULL, REMOTE | MCP,
     "let the token go over http:// or ws:// to another machine, readable on the way"},
    {'A', "cacert", "FILE", REMOTE | DOCUMENT | MCP,
     "trust these certificates, in place of the system's"},
    {'E', "cert", "FILE", REMOTE, "the certificate that the server gets of us"},
    {'K', "key", "FILE", REMOTE, "its key; over alknet:// alone, the key that says who we are"},
    {'P', "pin", "FINGERPRINT", REMOTE,
     "of the server's key or certificate, in place of trust and name"},
    {'k', "insecure", NULL, REMOTE,
     "take any certificate: whoever is on the way can read and alter"},
    {'o', "output", "FORMAT", ASKING | DOCUMENT | MCP,
     "pretty, json (one line) or raw (strings without quotes)"},
    {'t', "timeout", "SECONDS", REMOTE | MCP, "deadline of the call and of the answer; 0: none"},
    {'c', "curl", NULL, ASKING, "print the equivalent curl command instead of running it"},
    {'v', "verbose", NULL, REMOTE, "tell on standard error what is sent where"},
    {'r', "reconnect", NULL, BIT(COMMAND_SUBSCRIBE), "subscribe again after a loss or a restart"},
    {'q', "quiet", NULL, BIT(COMMAND_SUBSCRIBE) | BIT(COMMAND_SERVE),
     "say nothing about the connection"},
    {'d', "description", "TEXT", BIT(COMMAND_SERVE), "what the operations do"},
    {'s', "input-schema", "FILE", BIT(COMMAND_SERVE), "the JSON Schema of their input"},
    {'j', "concurrency", "N", BIT(COMMAND_SERVE), "run so many at a time (16); others wait"},
    {'x', "text", NULL, BIT(COMMAND_SERVE), "the output is text, and becomes a JSON string"},
    {'a', "as", "SCOPES", BIT(COMMAND_SERVE),
     "who the hub is here: SCOPE,... or an identity in JSON (nobody)"},
    {'p', "peer", "ID", BIT(COMMAND_LS) | BIT(COMMAND_DESCRIBE) | PASSING,
     "what this peer of the node serves; a call needs the scope peers:call"},
    {'y', "any-peer", NULL, PASSING, "likewise, of the first peer that serves it"},
    {'l', "local", NULL, BIT(COMMAND_LS), "only what the node itself serves"},
    {'N', "namespace", "NAME", BIT(COMMAND_LS), "only operations of this namespace"},
    {'T', "type", "TYPE", BIT(COMMAND_LS), "only query, mutation or subscription"},
    {'n', "count", "N", BIT(COMMAND_PING), "ping so often (1)"},
    {'i', "interval", "SECONDS", BIT(COMMAND_PING), "between two pings (1)"},
    {'e', "export", NULL, BIT(COMMAND_OPENAPI), "print the document of the node"},
    {'w', "openapi", "VERSION", BIT(COMMAND_OPENAPI), "of OpenAPI: 3.1 (default) or 3.2"},
    {'f', "file", "FILE", BIT(COMMAND_OPENAPI), "write it there, once it has come whole"},
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
#define SPEC_COUNT (sizeof specs / sizeof *specs)
/* --token, which exists to be refused, and would be an abbreviation of --token-file otherwise. */
#define LETTER_TOKEN 2
#define LETTER_OPERAND 1 /* what getopt_long says of an operand, in the order of the line */

static int misuse(enum command command, const char *what, const char *value)
{
    complain(value ? "%s '%s'" : "%s", what, value);
    fprintf(stderr, "Try 'alknet%s%s --help'.\n", command < COMMAND_COUNT ? " " : "",
            command < COMMAND_COUNT ? commands[command].name : "");
    return OUTCOME_USAGE;
}

static int parse_seconds(const char *text, int64_t *ms)
{
    char *end;
    double seconds;

    if (!isdigit((unsigned char)text[0]) && text[0] != '.')
        return -1;
    seconds = strtod(text, &end);
    if (*end || !(seconds <= TIMEOUT_MAX_S))
        return -1;
    /* 0 has a meaning of its own. */
    *ms = (int64_t)ceil(seconds * 1000);
    return 0;
}

static int parse_count(const char *text, uint32_t most, uint32_t *count)
{
    char *end;
    unsigned long n;

    if (!isdigit((unsigned char)text[0]))
        return -1;
    n = strtoul(text, &end, 10);
    if (*end || n < 1 || n > most)
        return -1;
    *count = (uint32_t)n;
    return 0;
}

static int parse_format(const char *text, enum format *format)
{
    static const char *const names[] = {
        [FORMAT_PRETTY] = "pretty", [FORMAT_JSON] = "json", [FORMAT_RAW] = "raw"};

    for (int i = FORMAT_PRETTY; i <= FORMAT_RAW; i++) {
        if (strcmp(text, names[i]) == 0) {
            *format = (enum format)i;
            return 0;
        }
    }
    return -1;
}

/* As take, for the options that serve alone has, and those that go with sessions. */
static const char *take_serving(struct options *o, int letter, char *arg)
{
    switch (letter) {
    case 'q':
        o->quiet = true;
        return NULL;
    case 'r':
        o->reconnect = true;
        return NULL;
    case 'd':
        o->description = arg;
        return NULL;
    case 's':
        o->input_schema = arg;
        return NULL;
    case 'j':
        return parse_count(arg, CONCURRENCY_MAX, &o->concurrency)
                   ? "the concurrency is a whole number from 1 to 512, not"
                   : NULL;
    case 'x':
        o->text = true;
        return NULL;
    default:
        o->as = arg;
        return NULL;
    }
}

/* As take, for the options of TLS. */
static bool take_tls(struct options *o, int letter, const char *arg)
{
    switch (letter) {
    case 'A':
        o->ca_file = arg;
        return true;
    case 'E':
        o->certificate = arg;
        return true;
    case 'K':
        o->key = arg;
        return true;
    case 'P':
        o->pin = arg;
        return true;
    case 'k':
        o->insecure = true;
        return true;
    default:
        return false;
    }
}

/* As take, for the options that say of whom something is asked. */
static const char *take_peer(struct options *o, int letter, const char *arg)
{
    static const char allowed[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-";

    switch (letter) {
    case 'p':
        o->peer = arg;
        return !*arg || arg[strspn(arg, allowed)]
                   ? "the id of a peer is of letters, digits, '_', '.' and '-', not"
                   : NULL;
    case 'y':
        o->any_peer = true;
        return NULL;
    default:
        o->local = true;
        return NULL;
    }
}

/* As take, for the options of documents. */
static const char *take_openapi(struct options *o, int letter, const char *arg)
{
    switch (letter) {
    case 'e':
        o->export = true;
        return NULL;
    case 'w':
        o->openapi = arg;
        return strcmp(arg, "3.1") && strcmp(arg, "3.2")
                   ? "the version of OpenAPI is 3.1 or 3.2, not"
                   : NULL;
    case 'f':
        o->file = arg;
        return NULL;
    case 'R':
        o->prefix = arg;
        return NULL;
    case 'B':
        o->base_url = arg;
        return NULL;
    default:
        o->choices = xrealloc(o->choices, (o->choice_count + 1) * sizeof *o->choices);
        o->choices[o->choice_count++] = (struct choice){letter, arg};
        return letter == 'S' && (!strchr(arg, '=') || *arg == '=')
                   ? "a variable of a server is NAME=VALUE, not"
                   : NULL;
    }
}

/* What is wrong with the argument, or NULL. */
static const char *take(struct options *o, int letter, char *arg)
{
    switch (letter) {
    case 'u':
        o->url = arg;
        return NULL;
    case 'F':
        o->token_file = arg;
        return NULL;
    case 'o':
        return parse_format(arg, &o->format) ? "the output is pretty, json or raw, not" : NULL;
    case 't':
        return parse_seconds(arg, &o->timeout_ms) ? "the timeout is a number of seconds, not"
                                                  : NULL;
    case 'C':
        o->clear = true;
        return NULL;
    case 'c':
        o->curl = true;
        return NULL;
    case 'v':
        o->verbose = true;
        return NULL;
    case 'N':
        o->name_space = arg;
        return NULL;
    case 'T':
        o->type = arg;
        return strcmp(arg, "query") && strcmp(arg, "mutation") && strcmp(arg, "subscription")
                   ? "the type is query, mutation or subscription, not"
                   : NULL;
    case 'n':
        return parse_count(arg, PING_COUNT_MAX, &o->count)
                   ? "the count is a whole number from 1, not"
                   : NULL;
    case 'i':
        return parse_seconds(arg, &o->interval_ms) ? "the interval is a number of seconds, not"
                                                   : NULL;
    case 'p':
    case 'y':
    case 'l':
        return take_peer(o, letter, arg);
    case 'e':
    case 'w':
    case 'f':
    case 'R':
    case 'B':
    case 'S':
    case 'I':
    case 'X':
    case 'M':
    case 'G':
        return take_openapi(o, letter, arg);
    case 'h':
        o->help = true;
        return NULL;
    case 'V':
        o->version = true;
        return NULL;
    default:
        return take_tls(o, letter, arg) ? NULL : take_serving(o, letter, arg);
    }
}

static const struct option_spec *spec_of(int letter)
{
    for (size_t i = 0; i < SPEC_COUNT; i++) {
        if (specs[i].letter == letter)
            return &specs[i];
    }
    return NULL;
}

/* optopt is the letter of an option that lacks its argument, and of an unknown short one. */
static int refuse(const struct options *o, int got, const char *word)
{
    const struct option_spec *spec = spec_of(optopt);
    char text[4] = {'-', (char)optopt, 0, 0};

    if (got == ':' && spec)
        return misuse(o->command, "the last option lacks its argument", spec->argument);
    return misuse(o->command, "no such option", optopt && !spec ? text : word);
}

static void build_tables(char *letters, struct option *longs)
{
    *letters++ = '-';
    *letters++ = ':';
    for (size_t i = 0; i < SPEC_COUNT; i++) {
        *letters++ = (char)specs[i].letter;
        if (specs[i].argument)
            *letters++ = ':';
        longs[i] =
            (struct option){specs[i].name, specs[i].argument ? required_argument : no_argument,
                            NULL, specs[i].letter};
    }
    *letters = 0;
    longs[SPEC_COUNT] = (struct option){"token", optional_argument, NULL, LETTER_TOKEN};
    memset(&longs[SPEC_COUNT + 1], 0, sizeof *longs);
}

static int find_command(struct options *o)
{
    /* It may stand behind --, too. */
    if (!o->operand_count && o->rest_count) {
        o->operand_count = 1;
        o->rest++;
        o->rest_count--;
    }
    if (!o->operand_count)
        return o->help || o->version ? 0 : misuse(COMMAND_COUNT, "a command is missing", NULL);
    for (int i = 0; i < COMMAND_COUNT; i++) {
        if (strcmp(commands[i].name, o->operands[0]) == 0) {
            o->command = (enum command)i;
            o->operands++;
            o->operand_count--;
            return 0;
        }
    }
    return misuse(COMMAND_COUNT, "no such command", o->operands[0]);
}

/* What stands behind -- is kept apart for serve, and is more operands for the others. */
static int check_operands(struct options *o)
{
    const struct command_spec *c = &commands[o->command];

    if (o->command != COMMAND_SERVE)
        o->operand_count += o->rest_count;
    else if (!o->rest_count && o->operand_count)
        return misuse(o->command, "the command to run is missing", c->operands);

    if (o->operand_count < c->min)
        return misuse(o->command, "an operand is missing", c->operands);
    if (c->max >= 0 && o->operand_count > c->max)
        return misuse(o->command, "one operand too many",
                      o->command == COMMAND_TOKEN ? NULL : o->operands[c->max]);
    return 0;
}

bool options_document(const struct options *o)
{
    return o->command == COMMAND_OPENAPI && o->operand_count + o->rest_count > 0;
}

static int check_given(const struct options *o, uint64_t given)
{
    unsigned own = options_document(o) ? DOCUMENT : BIT(o->command);

    for (size_t i = 0; i < SPEC_COUNT; i++) {
        if (!(given & UINT64_C(1) << i) || specs[i].commands & own)
            continue;
        return misuse(o->command,
                      own == DOCUMENT ? "with a document this command does not take the option"
                      : specs[i].commands & DOCUMENT && o->command == COMMAND_OPENAPI
                          ? "without a document this command does not take the option"
                          : "this command does not take the option",
                      specs[i].name);
    }
    return 0;
}

int options_parse(struct options *o, int argc, char **argv)
{
    char letters[2 * SPEC_COUNT + 3];
    struct option longs[SPEC_COUNT + 2];
    uint64_t given = 0;
    int letter;

    *o = (struct options){
        .timeout_ms = TIMEOUT_UNSET, .interval_ms = 1000, .count = 1, .concurrency = 16};
    o->command = COMMAND_COUNT;
    o->operands = argv + 1;
    build_tables(letters, longs);
    opterr = 0;
    while ((letter = getopt_long(argc, argv, letters, longs, NULL)) != -1) {
        const char *wrong;

        /* To the front, over words that have been read. */
        if (letter == LETTER_OPERAND) {
            o->operands[o->operand_count++] = optarg;
            continue;
        }
        if (letter == '?' || letter == ':')
            return refuse(o, letter, argv[optind - 1]);
        if (letter == LETTER_TOKEN)
            return misuse(o->command,
                          "a token is never an argument, which others could read: see --token-file",
                          NULL);
        wrong = take(o, letter, optarg);
        if (wrong)
            return misuse(o->command, wrong, optarg);
        given |= UINT64_C(1) << (spec_of(letter) - specs);
    }
    /* What stands behind -- follows them, up to the NULL at the end. */
    o->rest = o->operands + o->operand_count;
    o->rest_count = argc - optind;
    memmove(o->rest, argv + optind, (size_t)(o->rest_count + 1) * sizeof *o->rest);
    if (find_command(o))
        return OUTCOME_USAGE;
    if (o->help || o->version)
        return 0;
    if (check_given(o, given))
        return OUTCOME_USAGE;
    if (o->peer && (o->any_peer || o->local))
        return misuse(o->command, "--peer cannot be given with",
                      o->local ? "--local" : "--any-peer");
    if (check_operands(o))
        return OUTCOME_USAGE;
    if (o->command == COMMAND_MCP) {
        o->url = *o->operands++;
        o->operand_count--;
    }
    return 0;
}

static void help_options(unsigned mask)
{
    for (size_t i = 0; i < SPEC_COUNT; i++) {
        char left[40];

        if (!(specs[i].commands & mask))
            continue;
        snprintf(left, sizeof left, "-%c, --%s%s%s", specs[i].letter, specs[i].name,
                 specs[i].argument ? " " : "", specs[i].argument ? specs[i].argument : "");
        printf("  %-26s %s\n", left, specs[i].text);
    }
}

void options_help(enum command command)
{
    if (command < COMMAND_COUNT) {
        const struct command_spec *c = &commands[command];

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
        printf("  %-10s %-28s %s\n", commands[i].name, commands[i].operands, commands[i].summary);
    printf("\nOptions of most commands (alknet COMMAND --help has all of one):\n");
    help_options(BIT(COMMAND_CALL));
    printf("\nExit status: 0 ok, 1 the remote answered with an error, 2 usage, 3 no answer.\n");
}
