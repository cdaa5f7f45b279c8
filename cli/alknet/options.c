/* The parser, over the tables of table.c. getopt_long only splits the words; its own messages are
 * off, and it gets no long option that is not spelled out. */
#include "options.h"
#include "buffer.h"
#include "near.h"
#include "print.h"
#include "table.h"

#include <ctype.h>
#include <getopt.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --token, which exists to be refused, and would be an abbreviation of --token-file otherwise. */
#define LETTER_TOKEN 2
#define LETTER_OPERAND 1 /* what getopt_long says of an operand, in the order of the line */

static int misuse(enum command command, const char *what, const char *value)
{
    complain(value ? "%s '%s'" : "%s", what, value);
    fprintf(stderr, "Try 'alknet%s%s --help'.\n", command < COMMAND_COUNT ? " " : "",
            command < COMMAND_COUNT ? command_specs[command].name : "");
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
    case 'W':
        o->context = arg;
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
    case 'm':
        o->template = true;
        return NULL;
    case 'n':
        return parse_count(arg, COUNT_MAX, &o->count) ? "the count is a whole number from 1, not"
                                                      : NULL;
    case 'D':
        return parse_seconds(arg, &o->duration_ms) || !o->duration_ms
                   ? "the duration is a number of seconds, more than 0, not"
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

static bool is_one_of(const char *word, const char *const *list)
{
    size_t len = strcspn(word, "=");

    while (*list && (strncmp(word, *list, len) || (*list)[len]))
        list++;
    return *list != NULL;
}

/* Whoever is used to curl gives an input, a header or a method as an option. 0: it is none of
 * these. */
static int refuse_curl(const struct options *o, const char *word)
{
    static const char *const inputs[] = {"-d",     "--data", "--data-raw", "--data-binary",
                                         "--json", NULL};
    static const char *const headers[] = {"-H", "--header", NULL};
    static const char *const methods[] = {"-X", "--request", NULL};
    const char *name = o->command < COMMAND_COUNT ? command_specs[o->command].name
                       : o->operand_count         ? o->operands[0]
                                                  : "";
    bool calls = !strcmp(name, "call") || !strcmp(name, "subscribe");

    if (calls && is_one_of(word, inputs))
        complain("the input is no option. It stands behind the name: alknet %s OP '{\"a\":1}', or "
                 "alknet %s OP a=1",
                 name, name);
    else if (is_one_of(word, headers))
        complain("there are no headers to give: a token comes from --token-file or ALKNET_TOKEN");
    else if (calls && is_one_of(word, methods))
        complain("a call has no method: alknet %s OP '{\"a\":1}', or alknet %s OP a=1", name, name);
    else
        return 0;
    return OUTCOME_USAGE;
}

/* optopt is the letter of an option that lacks its argument, and of an unknown short one. */
static int refuse(const struct options *o, int got, const char *word)
{
    const struct option_spec *spec = option_spec_of(optopt);
    char text[4] = {'-', (char)optopt, 0, 0};

    if (got == ':' && spec)
        return misuse(o->command, "the last option lacks its argument", spec->argument);
    if (refuse_curl(o, optopt && !spec ? text : word))
        return OUTCOME_USAGE;
    return misuse(o->command, "no such option", optopt && !spec ? text : word);
}

/* Of a long option that is not spelled out: getopt_long would guess. */
static int check_long(const struct options *o, const char *word)
{
    char name[NEAR_MAX + 1];
    size_t len = strcspn(word, "=") - 2;
    struct near near;

    if (option_spec_named(word + 2, len) || (len == 5 && !strncmp(word + 2, "token", 5)))
        return 0;
    if (refuse_curl(o, word))
        return OUTCOME_USAGE;
    snprintf(name, sizeof name, "%.*s", (int)len, word + 2);
    near_begin(&near, name);
    for (size_t i = 0; i < option_spec_count; i++)
        near_try(&near, option_specs[i].name);
    if (!near.name[0])
        return misuse(o->command, "no such option", word);
    /* The value may be a secret that was given to the wrong option. */
    complain("no such option '--%s': did you mean --%s?", name, near.name);
    return OUTCOME_USAGE;
}

static void build_tables(char *letters, struct option *longs)
{
    *letters++ = '-';
    *letters++ = ':';
    for (size_t i = 0; i < option_spec_count; i++) {
        *letters++ = (char)option_specs[i].letter;
        if (option_specs[i].argument)
            *letters++ = ':';
        longs[i] = (struct option){option_specs[i].name,
                                   option_specs[i].argument ? required_argument : no_argument, NULL,
                                   option_specs[i].letter};
    }
    *letters = 0;
    longs[option_spec_count] = (struct option){"token", optional_argument, NULL, LETTER_TOKEN};
    memset(&longs[option_spec_count + 1], 0, sizeof *longs);
}

/* What other programs call the commands. */
static const struct {
    const char *word;
    enum command command;
} habits[] = {
    {"list", COMMAND_LS},         {"search", COMMAND_LS},        {"operations", COMMAND_LS},
    {"invoke", COMMAND_CALL},     {"run", COMMAND_CALL},         {"exec", COMMAND_CALL},
    {"request", COMMAND_CALL},    {"post", COMMAND_CALL},        {"get", COMMAND_CALL},
    {"schema", COMMAND_DESCRIBE}, {"show", COMMAND_DESCRIBE},    {"info", COMMAND_DESCRIBE},
    {"watch", COMMAND_SUBSCRIBE}, {"follow", COMMAND_SUBSCRIBE}, {"stream", COMMAND_SUBSCRIBE},
    {"health", COMMAND_PING},     {"tools", COMMAND_MCP},
};

static int unknown_command(const char *word)
{
    struct near near;

    near_begin(&near, word);
    for (int i = 0; i < COMMAND_COUNT; i++)
        near_try(&near, command_specs[i].name);
    for (size_t i = 0; i < sizeof habits / sizeof *habits; i++) {
        if (!strcmp(word, habits[i].word))
            snprintf(near.name, sizeof near.name, "%s", command_specs[habits[i].command].name);
    }
    if (near.name[0])
        complain("no such command '%s': did you mean 'alknet %s'?", word, near.name);
    else if (strchr(word, '/'))
        complain("no such command '%s': to call an operation, say 'alknet call %s'", word, word);
    else
        complain("no such command '%s': 'alknet ls' lists the operations, and 'alknet call OP' "
                 "calls one",
                 word);
    fprintf(stderr, "Try 'alknet --help'.\n");
    return OUTCOME_USAGE;
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
    o->command = command_named(o->operands[0]);
    if (o->command == COMMAND_COUNT)
        return unknown_command(o->operands[0]);
    o->operands++;
    o->operand_count--;
    return 0;
}

/* `help` and `version` say in other words what the options do. */
static int take_words(struct options *o)
{
    o->version |= o->command == COMMAND_VERSION && !o->help;
    if (o->command != COMMAND_HELP || o->help)
        return 0;
    o->help = true;
    o->command = COMMAND_COUNT;
    return o->operand_count ? find_command(o) : 0;
}

/* What stands behind -- is kept apart for serve, and is more operands for the others. */
static int check_operands(struct options *o)
{
    const struct command_spec *c = &command_specs[o->command];

    if (o->command != COMMAND_SERVE)
        o->operand_count += o->rest_count;
    else if (!o->rest_count && o->operand_count)
        return misuse(o->command, "the command to run is missing:", c->operands);

    if (o->operand_count < c->min)
        return misuse(o->command, "an operand is missing:", c->operands);
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

    for (size_t i = 0; i < option_spec_count; i++) {
        if (!(given & UINT64_C(1) << i) || option_specs[i].commands & own)
            continue;
        if (refuse_curl(o, (char[]){'-', (char)option_specs[i].letter, 0}))
            return OUTCOME_USAGE;
        return misuse(o->command,
                      own == DOCUMENT ? "with a document this command does not take the option"
                      : option_specs[i].commands & DOCUMENT && o->command == COMMAND_OPENAPI
                          ? "without a document this command does not take the option"
                          : "this command does not take the option",
                      option_specs[i].name);
    }
    return 0;
}

int options_parse(struct options *o, int argc, char **argv)
{
    char letters[2 * OPTIONS_MAX + 3];
    struct option longs[OPTIONS_MAX + 2];
    uint64_t given = 0;
    int letter;

    *o = (struct options){.timeout_ms = TIMEOUT_UNSET, .interval_ms = 1000};
    o->command = COMMAND_COUNT;
    o->operands = argv + 1;
    build_tables(letters, longs);
    opterr = 0;
    for (;;) {
        const char *wrong, *word = optind < argc ? argv[optind] : "";

        if (!strncmp(word, "--", 2) && word[2] && check_long(o, word))
            return OUTCOME_USAGE;
        letter = getopt_long(argc, argv, letters, longs, NULL);
        if (letter == -1)
            break;

        /* To the front, over words that have been read. */
        if (letter == LETTER_OPERAND) {
            o->operands[o->operand_count++] = optarg;
            continue;
        }
        if (letter == '?' || letter == ':')
            return refuse(o, letter, argv[optind - 1]);
        if (letter == LETTER_TOKEN)
            return misuse(o->command,
                          "a token is never an argument: others could read it. See --token-file",
                          NULL);
        wrong = take(o, letter, optarg);
        if (wrong)
            return misuse(o->command, wrong, optarg);
        given |= UINT64_C(1) << (option_spec_of(letter) - option_specs);
    }
    /* What stands behind -- follows them, up to the NULL at the end. */
    o->rest = o->operands + o->operand_count;
    o->rest_count = argc - optind;
    memmove(o->rest, argv + optind, (size_t)(o->rest_count + 1) * sizeof *o->rest);
    if (find_command(o) || take_words(o))
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
    if (!o->concurrency)
        o->concurrency = o->command == COMMAND_BENCH ? BENCH_CONCURRENCY : SERVE_CONCURRENCY;
    if (o->command == COMMAND_MCP) {
        o->url = *o->operands++;
        o->operand_count--;
    }
    return 0;
}
