/* `openapi FILE`: what alknetd would import of a document, and what it would leave out. It is
 * imported, into a registry that nobody uses. A URL is fetched as alknetd would, but for addresses
 * that are not public: whoever names one here means it. */
#include "commands.h"
#include "input.h"

#include <alknet/openapi.h>
#include <alknet/uv.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#define WHY_MAX 600
#define NAME_WIDTH_MAX 40

struct operation {
    char *name, *method, *base, *path;
    uint32_t type;
};

struct warning {
    char *pointer, *text;
};

/* What became of a document. */
struct found {
    struct operation *operations;
    struct warning *warnings;
    size_t operation_count, warning_count;
};

static char *copy(const char *text)
{
    return xstrndup(text, strlen(text));
}

static void on_warning(void *ud, const char *pointer, const char *text)
{
    struct found *f = ud;

    f->warnings = xrealloc(f->warnings, (f->warning_count + 1) * sizeof *f->warnings);
    f->warnings[f->warning_count++] = (struct warning){copy(pointer), copy(text)};
}

static void on_operation(void *ud, const char *name, uint32_t type, const char *method,
                         const char *base, const char *path)
{
    struct found *f = ud;

    f->operations = xrealloc(f->operations, (f->operation_count + 1) * sizeof *f->operations);
    f->operations[f->operation_count++] =
        (struct operation){copy(name), copy(method), copy(base), copy(path), type};
}

static void found_free(struct found *f)
{
    for (size_t i = 0; i < f->operation_count; i++) {
        free(f->operations[i].name);
        free(f->operations[i].method);
        free(f->operations[i].base);
        free(f->operations[i].path);
    }
    for (size_t i = 0; i < f->warning_count; i++) {
        free(f->warnings[i].pointer);
        free(f->warnings[i].text);
    }
    free(f->operations);
    free(f->warnings);
}

/* ---- options --------------------------------------------------------------------------------- */

/* "a,b" as strings of a list. */
static void put_words(struct buffer *out, const char *words, bool *first)
{
    while (*words) {
        size_t n = strcspn(words, ",");

        if (n) {
            buffer_puts(out, *first ? "" : ",");
            buffer_json_string(out, words, n);
            *first = false;
        }
        words += n + (words[n] == ',');
    }
}

/* A list of all that was given by that letter; nothing where it was not. */
static void put_choices(struct buffer *out, const struct options *o, int letter, const char *name)
{
    bool split = letter == 'M' || letter == 'G', first = true, any = false;

    for (size_t i = 0; i < o->choice_count; i++)
        any |= o->choices[i].letter == letter;
    if (!any)
        return;
    buffer_printf(out, "%s\"%s\":[", out->len > 1 ? "," : "", name);
    for (size_t i = 0; i < o->choice_count; i++) {
        const char *value = o->choices[i].value;

        if (o->choices[i].letter != letter)
            continue;
        if (split) {
            put_words(out, value, &first);
        } else {
            buffer_puts(out, first ? "" : ",");
            buffer_json_string(out, value, strlen(value));
            first = false;
        }
    }
    buffer_puts(out, "]");
}

static void put_filter(struct buffer *out, const struct options *o)
{
    buffer_puts(out, "{");
    put_choices(out, o, 'I', "include");
    put_choices(out, o, 'X', "exclude");
    put_choices(out, o, 'M', "methods");
    put_choices(out, o, 'G', "tags");
    buffer_puts(out, "}");
}

static void put_variables(struct buffer *out, const struct options *o)
{
    buffer_puts(out, "{");
    for (size_t i = 0; i < o->choice_count; i++) {
        const char *value = o->choices[i].value, *eq = strchr(value, '=');

        if (o->choices[i].letter != 'S')
            continue;
        buffer_puts(out, out->len > 1 ? "," : "");
        buffer_json_string(out, value, (size_t)(eq - value));
        buffer_puts(out, ":");
        buffer_json_string(out, eq + 1, strlen(eq + 1));
    }
    buffer_puts(out, "}");
}

/* ---- the document ---------------------------------------------------------------------------- */

/* One that is fetched. */
struct fetched {
    alk_loop *loop;
    struct buffer body;
    char why[WHY_MAX];
};

static void on_fetched(void *ud, int rc, const char *body, size_t len, const char *why)
{
    struct fetched *f = ud;

    buffer_append(&f->body, body, len);
    snprintf(f->why, sizeof f->why, "%s", !rc ? "" : why ? why : alk_strerror(rc));
    alk_loop_close(f->loop, NULL, NULL);
}

static int open_loop(alk_loop **out, uv_loop_t *uv, const struct options *o, char *why, size_t size)
{
    alk_registry *reg = alk_registry_new();
    alk_dispatcher *d = NULL;
    alk_node *node = NULL;
    alk_http_options http;
    int rc = reg ? alk_registry_freeze(reg) : ALK_ENOMEM;

    *out = NULL;
    if (rc == ALK_OK)
        rc = alk_node_new(&node, reg, NULL);
    if (rc == ALK_OK)
        rc = alk_dispatcher_new(&d, node);
    if (rc == ALK_OK)
        rc = alk_loop_open(out, uv, d);
    if (rc && d)
        alk_dispatcher_free(d);
    alk_node_unref(node);
    alk_registry_unref(reg);
    alk_http_options_init(&http, sizeof http);
    http.ca_file = o->ca_file;
    return rc ? rc : alk_loop_set_http(*out, &http, why, size);
}

static int fetch(struct buffer *out, const char *url, const struct options *o)
{
    struct fetched f = {.why = ""};
    uv_loop_t uv;
    int rc;

    signal(SIGPIPE, SIG_IGN);
    if (uv_loop_init(&uv)) {
        complain("there is no loop");
        return OUTCOME_CONNECTION;
    }
    rc = open_loop(&f.loop, &uv, o, f.why, sizeof f.why);
    if (!rc)
        rc = alk_loop_fetch(f.loop, url, NULL, INPUT_MAX, 1, on_fetched, &f);
    if (rc) {
        complain("%s: %s", url, *f.why ? f.why : alk_strerror(rc));
        if (f.loop)
            alk_loop_close(f.loop, NULL, NULL);
    }
    uv_run(&uv, UV_RUN_DEFAULT);
    uv_loop_close(&uv);
    *out = f.body;
    if (rc)
        return OUTCOME_USAGE;
    if (*f.why)
        complain("%s: %s", url, f.why);
    return *f.why ? OUTCOME_CONNECTION : OUTCOME_OK;
}

static bool is_url(const char *path)
{
    return !strncmp(path, "https://", 8) || !strncmp(path, "http://", 7);
}

static int import(struct found *f, alk_openapi_options *o, const char *path,
                  const struct buffer *text)
{
    alk_registry *reg = alk_registry_new();
    char why[WHY_MAX] = "";
    int rc = ALK_ENOMEM;

    o->on_warning = on_warning;
    o->on_operation = on_operation;
    o->ud = f;
    if (reg && text)
        rc = alk_registry_import_openapi(reg, buffer_text(text), text->len, o, NULL, why,
                                         sizeof why);
    else if (reg)
        rc = alk_registry_import_openapi(reg, NULL, 0, o, NULL, why, sizeof why);
    if (rc && !strncmp(why, path, strlen(path)))
        complain("%s", why);
    else if (rc)
        complain("%s: %s", strcmp(path, "-") ? path : "standard input",
                 *why ? why : alk_strerror(rc));
    alk_registry_unref(reg);
    return rc ? OUTCOME_USAGE : OUTCOME_OK;
}

/* A file is read by the import, which knows how to read what it refers to. */
static int read_and_import(struct found *f, const struct options *options)
{
    const char *path = options->operands[0];
    struct buffer text = {0}, filter = {0}, variables = {0};
    bool input = !strcmp(path, "-"), url = is_url(path);
    alk_openapi_options o = {.size = sizeof o};
    int rc = input ? input_file(&text, path, INPUT_MAX, false)
             : url ? fetch(&text, path, options)
                   : 0;

    put_filter(&filter, options);
    put_variables(&variables, options);
    o.namespace_prefix = options->prefix ? options->prefix : "api";
    o.base_url = options->base_url;
    o.operation_filter = buffer_text(&filter);
    o.server_variables = buffer_text(&variables);
    if (url)
        o.document_url = path;
    else if (!input)
        o.file = path;
    if (rc == OUTCOME_OK)
        rc = import(f, &o, path, input || url ? &text : NULL);
    buffer_free(&text);
    buffer_free(&filter);
    buffer_free(&variables);
    return rc;
}

/* ---- printing -------------------------------------------------------------------------------- */

static const char *type_of(const struct operation *op)
{
    return op->type == ALK_QUERY          ? "query"
           : op->type == ALK_SUBSCRIPTION ? "subscription"
                                          : "mutation";
}

/* Where most requests go. */
static const char *base_of(const struct found *f)
{
    return f->operation_count ? f->operations[0].base : "";
}

static void put_row(struct buffer *out, const struct operation *op, const char *base, int width)
{
    size_t start = out->len;
    int used;

    buffer_puts(out, "/");
    print_plain(out, op->name, strlen(op->name));
    used = (int)(out->len - start);
    buffer_printf(out, "%*s  %-12s  ", used < width ? width - used : 0, "", type_of(op));
    print_plain(out, op->method, strlen(op->method));
    buffer_puts(out, " ");
    if (strcmp(op->base, base) != 0)
        print_plain(out, op->base, strlen(op->base));
    print_plain(out, op->path, strlen(op->path));
    buffer_puts(out, "\n");
}

static void put_rows(struct buffer *out, const struct found *f)
{
    const char *base = base_of(f);
    int width = 0;

    for (size_t i = 0; i < f->operation_count; i++) {
        size_t len = strlen(f->operations[i].name) + 1;

        if (len <= NAME_WIDTH_MAX && (int)len > width)
            width = (int)len;
    }
    for (size_t i = 0; i < f->operation_count; i++)
        put_row(out, &f->operations[i], base, width);
}

static void put_warning(struct buffer *out, const struct warning *w)
{
    buffer_puts(out, "warning: ");
    print_plain(out, w->pointer, strlen(w->pointer));
    buffer_puts(out, *w->pointer ? ": " : "");
    print_plain(out, w->text, strlen(w->text));
    buffer_puts(out, "\n");
}

static int print_table(struct cli *cli, const struct found *f)
{
    struct buffer *out = &cli->printer.text;

    put_rows(out, f);
    for (size_t i = 0; i < f->warning_count; i++)
        put_warning(out, &f->warnings[i]);
    buffer_printf(out, "%zu operation%s%s", f->operation_count, f->operation_count == 1 ? "" : "s",
                  f->operation_count ? " at " : "");
    print_plain(out, base_of(f), strlen(base_of(f)));
    if (f->warning_count)
        buffer_printf(out, ", %zu warning%s", f->warning_count, f->warning_count == 1 ? "" : "s");
    buffer_puts(out, "\n");
    return print_flush(&cli->printer);
}

static int print_names(struct cli *cli, const struct found *f)
{
    struct buffer *out = &cli->printer.text;

    for (size_t i = 0; i < f->operation_count; i++) {
        buffer_puts(out, "/");
        print_plain(out, f->operations[i].name, strlen(f->operations[i].name));
        buffer_puts(out, "\n");
    }
    for (size_t i = 0; i < f->warning_count; i++) {
        const struct warning *w = &f->warnings[i];

        remark("warning: %s%s%s", w->pointer, *w->pointer ? ": " : "", w->text);
    }
    return print_flush(&cli->printer);
}

static void put_member(struct buffer *out, const char *before, const char *name, const char *value)
{
    buffer_printf(out, "%s\"%s\":", before, name);
    buffer_json_string(out, value, strlen(value));
}

static int print_json(struct cli *cli, const struct found *f)
{
    struct buffer text = {0};

    buffer_puts(&text, "{\"operations\":[");
    for (size_t i = 0; i < f->operation_count; i++) {
        const struct operation *op = &f->operations[i];

        put_member(&text, i ? ",{" : "{", "name", op->name);
        put_member(&text, ",", "op_type", type_of(op));
        put_member(&text, ",", "method", op->method);
        put_member(&text, ",", "base_url", op->base);
        put_member(&text, ",", "path", op->path);
        buffer_puts(&text, "}");
    }
    buffer_puts(&text, "],\"warnings\":[");
    for (size_t i = 0; i < f->warning_count; i++) {
        put_member(&text, i ? ",{" : "{", "pointer", f->warnings[i].pointer);
        put_member(&text, ",", "text", f->warnings[i].text);
        buffer_puts(&text, "}");
    }
    buffer_puts(&text, "]}");
    return print_made(&cli->printer, &text);
}

int command_import(struct cli *cli)
{
    struct found f = {0};
    int rc = read_and_import(&f, cli->options);

    if (rc == OUTCOME_OK) {
        rc = cli->printer.format == FORMAT_JSON  ? print_json(cli, &f)
             : cli->printer.format == FORMAT_RAW ? print_names(cli, &f)
                                                 : print_table(cli, &f);
        rc = rc ? OUTCOME_CONNECTION : f.operation_count ? OUTCOME_OK : OUTCOME_REMOTE;
    }
    found_free(&f);
    return rc;
}
