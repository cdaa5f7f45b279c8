/* `alknet complete WORD...`, which the completions of the shells ask: the words behind the name of
 * the program, the last of them, which may be empty, as far as it is typed. A line is a word that
 * may stand in its place, whole; `:files PREFIX` says that behind PREFIX a file may be named.
 *
 * What a remote sends becomes a candidate only when no shell would see anything in it but letters.
 * Nothing is said on standard error: whoever types would have it in the line. */
#include "complete.h"
#include "context.h"
#include "describe.h"
#include "input.h"
#include "names.h"
#include "peers.h"
#include "table.h"

#include <alknet/alknet.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define WORDS_MAX 1000
#define OFFERED_MAX 5000
#define SECONDS_MAX 5 /* whoever typed waits: then there is nothing to offer */
#define LETTERS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
/* The options that say where the remote is, and who we are. */
#define CONNECTION "uWFCAEKPk"

struct line {
    enum command command;
    char *operands[WORDS_MAX];
    int operand_count;
    char *connection[WORDS_MAX]; /* allocated: options with their arguments */
    int connection_count;
    const char *peer;
    bool any_peer, named, behind;      /* there is a command; there was -- */
    const struct option_spec *pending; /* the current word is its argument */
    const char *current;
    unsigned offered;
    struct printer *printer;
};

/* ---- candidates ------------------------------------------------------------------------------ */

/* [prefix] name [suffix], when it is what the current word begins. */
static void offer(struct line *l, const char *prefix, const char *name, const char *suffix)
{
    struct buffer word = {0};

    buffer_printf(&word, "%s%s%s", prefix, name, suffix);
    if (!strncmp(buffer_text(&word), l->current, strlen(l->current)) && l->offered++ < OFFERED_MAX)
        buffer_printf(&l->printer->text, "%s\n", buffer_text(&word));
    buffer_free(&word);
}

static void offer_all(struct line *l, const char *prefix, const char *const *words)
{
    for (; *words; words++)
        offer(l, prefix, *words, "");
}

/* len: of what stands before the path. */
static void offer_files(struct line *l, size_t len)
{
    buffer_printf(&l->printer->text, ":files %.*s\n", (int)len, l->current);
}

static void offer_commands(struct line *l)
{
    for (int i = 0; i < COMMAND_COUNT; i++)
        offer(l, "", command_specs[i].name, "");
}

static void offer_options(struct line *l)
{
    unsigned mask = l->command < COMMAND_COUNT ? BIT(l->command) : BIT(COMMAND_CALL);

    if (l->command == COMMAND_OPENAPI)
        mask = l->operand_count ? DOCUMENT : mask | DOCUMENT;
    for (size_t i = 0; i < option_spec_count; i++) {
        if (option_specs[i].commands & mask)
            offer(l, "--", option_specs[i].name, "");
    }
}

/* ---- the remote ------------------------------------------------------------------------------ */

static bool is_plain(const char *text, const char *more)
{
    while (*text && (strchr(LETTERS, *text) || strchr(more, *text)))
        text++;
    return !*text;
}

/* As is_plain, and neither an option nor somebody's home. */
static bool is_plain_name(const char *name, const char *more)
{
    return *name && *name != '-' && *name != '~' && is_plain(name, more);
}

static void offer_operation(struct line *l, const char *name, const char *type)
{
    bool stream = !strcmp(type, "subscription");

    name += *name == '/';
    if (!is_plain_name(name, "_.~/-") || (l->command == COMMAND_SUBSCRIBE && !stream) ||
        ((l->command == COMMAND_CALL || l->command == COMMAND_BENCH) && stream))
        return;
    offer(l, l->current[0] == '/' ? "/" : "", name, "");
}

static void take_name(void *ud, const char *name, const char *type)
{
    offer_operation(ud, name, type);
}

static void offer_operations_of(struct line *l, yyjson_val *peer)
{
    yyjson_val *op;
    size_t i, n;

    yyjson_arr_foreach(yyjson_obj_get(peer, "operations"), i, n, op)
    {
        const char *name = yyjson_get_str(yyjson_obj_get(op, "name"));
        const char *type = yyjson_get_str(yyjson_obj_get(op, "op_type"));

        if (name)
            offer_operation(l, name, type ? type : "");
    }
}

/* Of peers, their names; or, with operations, what they serve. */
static void offer_peers(struct line *l, struct cli *cli, bool operations)
{
    struct reply reply = {0};
    yyjson_val *peers, *peer;
    size_t i, n;

    peers_fetch(cli, &reply, &peers);
    yyjson_arr_foreach(peers, i, n, peer)
    {
        const char *id = peers_id(peer);

        if (!operations && is_plain_name(id, "_.-") && strcmp(id, "local"))
            offer(l, "", id, "");
        else if (operations && (l->peer ? !strcmp(id, l->peer) : strcmp(id, "local") != 0))
            offer_operations_of(l, peer);
    }
    reply_free(&reply);
}

static void offer_operations(struct line *l, struct cli *cli)
{
    if (l->peer || l->any_peer)
        offer_peers(l, cli, true);
    else
        names_each(cli->remote, take_name, l);
}

/* ---- members --------------------------------------------------------------------------------- */

/* The schema of the member that a key without escapes leads to. */
static yyjson_val *member_schema(yyjson_val *root, const char *key, size_t len)
{
    yyjson_val *at = schema_resolve(root, root);

    while (at && len) {
        size_t n = strcspn(key, ".=:");

        n = n < len ? n : len;
        at = schema_resolve(root, yyjson_obj_getn(yyjson_obj_get(at, "properties"), key, n));
        n += n < len;
        key += n;
        len -= n;
    }
    return at;
}

/* A string that looks like JSON would have to stand in quotes, and one with @ is a file. */
static void offer_value(struct line *l, const char *prefix, yyjson_val *value, bool json)
{
    char why[WHY_SIZE], *text;
    yyjson_doc *doc = NULL;
    size_t len;

    if (yyjson_is_str(value)) {
        const char *s = yyjson_get_str(value);

        doc = json_read(s, strlen(s), why);
        if (!json && !doc && *s && *s != '@' && is_plain(s, "_.~/:@%+,-"))
            offer(l, prefix, s, "");
        yyjson_doc_free(doc);
    } else if (!yyjson_is_ctn(value)) {
        text = yyjson_val_write(value, 0, &len);
        if (text && is_plain(text, ".+-"))
            offer(l, prefix, text, "");
        free(text);
    }
}

/* For KEY=, or KEY:= with json. */
static void offer_values(struct line *l, yyjson_val *schema, const char *prefix, bool json)
{
    static const char *const booleans[] = {"true", "false", NULL};
    yyjson_val *value;
    size_t i, n;

    yyjson_arr_foreach(yyjson_obj_get(schema, "enum"), i, n, value)
        offer_value(l, prefix, value, json);
    value = yyjson_obj_get(schema, "const");
    if (value)
        offer_value(l, prefix, value, json);
    if (yyjson_equals_str(yyjson_obj_get(schema, "type"), "boolean"))
        offer_all(l, prefix, booleans);
}

static bool is_given(const struct line *l, const char *key)
{
    size_t len = strlen(key);

    for (int i = 1; i < l->operand_count; i++) {
        const char *operand = l->operands[i];

        if (!strncmp(operand, key, len) &&
            (operand[len] == '=' || !strncmp(operand + len, ":=", 2)))
            return true;
    }
    return false;
}

static void offer_keys(struct line *l, yyjson_val *root, yyjson_val *schema, const char *prefix)
{
    yyjson_obj_iter it = yyjson_obj_iter_with(yyjson_obj_get(schema, "properties"));
    yyjson_val *key;

    while ((key = yyjson_obj_iter_next(&it))) {
        yyjson_val *member = schema_resolve(root, yyjson_obj_iter_get_val(key));
        bool nested = yyjson_obj_size(yyjson_obj_get(member, "properties")) > 0;
        const char *name = yyjson_get_str(key);
        struct buffer whole = {0};

        buffer_puts(&whole, prefix);
        buffer_append(&whole, name, yyjson_get_len(key));
        if (is_plain_name(name, "_-") && !is_given(l, buffer_text(&whole)))
            offer(l, buffer_text(&whole), "", nested ? "." : "=");
        buffer_free(&whole);
    }
}

static void offer_members(struct line *l, struct cli *cli)
{
    const char *eq = strchr(l->current, '='), *dot = strrchr(l->current, '.');
    bool json = eq && eq > l->current && eq[-1] == ':';
    size_t len = eq ? (size_t)(eq - l->current) - json : dot ? (size_t)(dot - l->current) : 0;
    char *prefix = xstrndup(l->current, eq ? (size_t)(eq - l->current) + 1 : len + (dot != NULL));
    struct reply reply = {0};
    struct buffer op = {0};
    yyjson_val *root, *schema;

    buffer_printf(&op, "%s%s", l->operands[0][0] == '/' ? "" : "/", l->operands[0]);
    describe_fetch(cli->remote, buffer_text(&op), l->peer, &reply);
    root = yyjson_obj_get(reply.output, "input_schema");
    schema = member_schema(root, l->current, len);
    if (eq)
        offer_values(l, schema, prefix, json);
    else
        offer_keys(l, root, schema, prefix);
    reply_free(&reply);
    buffer_free(&op);
    free(prefix);
}

/* ---- asking ---------------------------------------------------------------------------------- */

static void ask(struct line *l, void (*offer_what)(struct line *l, struct cli *cli))
{
    struct options options;
    struct settings settings;
    struct contexts contexts = {0};
    struct cli cli = {.options = &options, .settings = &settings};
    static char program[] = "alknet", list[] = "ls", timeout[] = "--timeout=2";
    char *line[WORDS_MAX + 4] = {program, list, timeout};

    for (int i = 0; i < l->connection_count; i++)
        line[3 + i] = l->connection[i];
    if (options_parse(&options, 3 + l->connection_count, line) == 0) {
        memset(&settings, 0, sizeof settings);
        if (contexts_apply(&contexts, &options) == 0 && settings_load(&settings, &options) == 0 &&
            remote_open(&cli.remote, &options, &settings, &cli.printer) == 0) {
            offer_what(l, &cli);
            cli.remote->ops->close(cli.remote);
        }
        settings_fini(&settings);
        contexts_free(&contexts);
    }
    free(options.choices);
}

static void offer_ids(struct line *l, struct cli *cli)
{
    offer_peers(l, cli, false);
}

static void offer_contexts(struct line *l, const char *prefix)
{
    struct contexts c;

    if (contexts_load(&c) == 0) {
        yyjson_mut_obj_iter it = yyjson_mut_obj_iter_with(c.all);
        yyjson_mut_val *key;

        while ((key = yyjson_mut_obj_iter_next(&it))) {
            if (is_plain(yyjson_mut_get_str(key), "_.-"))
                offer(l, prefix, yyjson_mut_get_str(key), "");
        }
    }
    contexts_free(&c);
}

/* ---- the line -------------------------------------------------------------------------------- */

/* prefix: what of the current word stands before the argument, as --type=. */
static void offer_arguments(struct line *l, const struct option_spec *spec, const char *prefix)
{
    static const char *const formats[] = {"pretty", "json", "raw", NULL};
    static const char *const types[] = {"query", "mutation", "subscription", NULL};
    static const char *const versions[] = {"3.1", "3.2", NULL};

    if (!strcmp(spec->argument, "FILE"))
        offer_files(l, strlen(prefix));
    else if (spec->letter == 'o')
        offer_all(l, prefix, formats);
    else if (spec->letter == 'T')
        offer_all(l, prefix, types);
    else if (spec->letter == 'w')
        offer_all(l, prefix, versions);
    else if (spec->letter == 'W')
        offer_contexts(l, prefix);
    else if (spec->letter == 'p' && !*prefix)
        ask(l, offer_ids);
}

static void offer_operand(struct line *l)
{
    static const char *const types[] = {"query", "mutation", "subscription", NULL};
    static const char *const token[] = {"new", "hash", NULL};
    static const char *const verbs[] = {"list", "use", "add", "set", "show", "remove", NULL};
    const char *colon = strchr(l->current, ':');
    char *prefix;

    switch (l->command) {
    case COMMAND_DESCRIBE:
        if (!l->operand_count)
            ask(l, offer_operations);
        return;
    case COMMAND_CALL:
    case COMMAND_BENCH:
    case COMMAND_SUBSCRIBE: {
        const char *at = l->current[0] == '@' ? l->current : strstr(l->current, "=@");

        if (!l->operand_count)
            ask(l, offer_operations);
        else if (at)
            offer_files(l, (size_t)(strchr(at, '@') + 1 - l->current));
        else
            ask(l, offer_members);
        return;
    }
    case COMMAND_SERVE:
        if (l->behind) {
            offer_files(l, 0);
        } else if (colon) {
            prefix = xstrndup(l->current, (size_t)(colon + 1 - l->current));
            offer_all(l, prefix, types);
            free(prefix);
        }
        return;
    case COMMAND_TOKEN:
        if (!l->operand_count)
            offer_all(l, "", token);
        return;
    case COMMAND_CONTEXT:
        if (!l->operand_count)
            offer_all(l, "", verbs);
        else if (l->operand_count == 1 && strcmp(l->operands[0], "add"))
            offer_contexts(l, "");
        return;
    case COMMAND_HELP:
        if (!l->operand_count)
            offer_commands(l);
        return;
    case COMMAND_BATCH:
    case COMMAND_OPENAPI:
    case COMMAND_KEYGEN:
    case COMMAND_FINGERPRINT:
        if (!l->operand_count)
            offer_files(l, 0);
        return;
    default:
        return;
    }
}

/* An option that has its argument, NULL: it takes none. */
static void take_option(struct line *l, const struct option_spec *spec, char *argument)
{
    const char *home = getenv("HOME");
    struct buffer word = {0};

    if (spec->letter == 'p')
        l->peer = argument;
    l->any_peer |= spec->letter == 'y';
    if (!strchr(CONNECTION, spec->letter) || l->connection_count == WORDS_MAX)
        return;
    buffer_printf(&word, "--%s%s", spec->name, argument ? "=" : "");
    if (argument && !strncmp(argument, "~/", 2) && home)
        buffer_printf(&word, "%s%s", home, argument + 1);
    else if (argument)
        buffer_puts(&word, argument);
    l->connection[l->connection_count++] = xstrndup(buffer_text(&word), word.len);
    buffer_free(&word);
}

/* A word that begins with -; next may be its argument, NULL: the current word is. Returns whether
 * next was. */
static bool take_dashed(struct line *l, char *word, char *next)
{
    const struct option_spec *spec;
    char *argument;

    if (word[1] == '-') {
        argument = strchr(word, '=');
        spec = option_spec_named(word + 2, strcspn(word + 2, "="));
        argument = argument ? argument + 1 : NULL;
    } else {
        for (word++; (spec = option_spec_of(*word)) && !spec->argument && word[1]; word++)
            take_option(l, spec, NULL);
        argument = spec && spec->argument && word[1] ? word + 1 : NULL;
    }
    if (!spec)
        return false;
    if (!spec->argument || argument) {
        take_option(l, spec, spec->argument ? argument : NULL);
        return false;
    }
    if (!next)
        l->pending = spec;
    else
        take_option(l, spec, next);
    return next != NULL;
}

static void read_line(struct line *l, char **words, int count)
{
    l->current = words[count - 1];
    for (int i = 0; i < count - 1; i++) {
        if (!l->behind && !strcmp(words[i], "--")) {
            l->behind = true;
        } else if (!l->behind && words[i][0] == '-' && words[i][1]) {
            i += take_dashed(l, words[i], i + 1 < count - 1 ? words[i + 1] : NULL);
        } else if (!l->named) {
            l->named = true;
            l->command = command_named(words[i]);
        } else {
            l->operands[l->operand_count++] = words[i];
        }
    }
}

static void offer_word(struct line *l)
{
    const struct option_spec *spec = NULL;
    const char *eq = strchr(l->current, '=');
    char *prefix;

    if (l->pending) {
        offer_arguments(l, l->pending, "");
    } else if (!l->behind && !strncmp(l->current, "--", 2) && eq) {
        spec = option_spec_named(l->current + 2, (size_t)(eq - l->current) - 2);
        prefix = xstrndup(l->current, (size_t)(eq - l->current) + 1);
        if (spec && spec->argument)
            offer_arguments(l, spec, prefix);
        free(prefix);
    } else if (!l->behind && l->current[0] == '-') {
        offer_options(l);
    } else if (!l->named) {
        offer_commands(l);
    } else {
        offer_operand(l);
    }
}

static void on_alarm(int number)
{
    (void)number;
    _exit(OUTCOME_OK);
}

int command_complete(int count, char **words)
{
    struct printer printer;
    struct line *l;
    int null = open("/dev/null", O_WRONLY | O_CLOEXEC);

    if (count < 1 || count > WORDS_MAX)
        return OUTCOME_USAGE;
    dup2(null, STDERR_FILENO);
    close(null);
    signal(SIGALRM, on_alarm);
    alarm(SECONDS_MAX);
    print_open(&printer, stdout, FORMAT_RAW);
    l = xcalloc(1, sizeof *l);
    l->command = COMMAND_COUNT;
    l->printer = &printer;
    read_line(l, words, count);
    offer_word(l);
    print_flush(&printer);
    print_close(&printer);
    for (int i = 0; i < l->connection_count; i++)
        free(l->connection[i]);
    free(l);
    return OUTCOME_OK;
}
