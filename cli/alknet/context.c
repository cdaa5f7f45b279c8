/* Implements context.h. The file is written beside itself and moved into its place; where that is a
 * link, the file that the link leads to is. */
#include "context.h"
#include "input.h"
#include "near.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_MAX 1048576u
#define LINKS_MAX 40 /* the kernel follows no more */

/* The members of a context, and the options that they stand for. */
static const struct {
    const char *name;
    size_t offset;
    bool path;
} members[] = {
    {"url", offsetof(struct options, url), false},
    {"token_file", offsetof(struct options, token_file), true},
    {"cacert", offsetof(struct options, ca_file), true},
    {"cert", offsetof(struct options, certificate), true},
    {"key", offsetof(struct options, key), true},
    {"pin", offsetof(struct options, pin), false},
};
#define MEMBERS (sizeof members / sizeof *members)

/* ---- the file -------------------------------------------------------------------------------- */

static int wrong(const struct contexts *c, const char *what)
{
    complain("%s: %s", c->path, what);
    return OUTCOME_USAGE;
}

static int take(struct contexts *c, const struct buffer *text)
{
    char why[WHY_SIZE];
    yyjson_doc *doc = json_read(buffer_text(text), text->len, why);
    yyjson_mut_obj_iter it;
    yyjson_mut_val *key;

    if (!doc)
        return wrong(c, why);
    yyjson_mut_doc_free(c->doc);
    c->doc = yyjson_doc_mut_copy(doc, NULL);
    yyjson_doc_free(doc);
    c->root = yyjson_mut_doc_get_root(c->doc);
    c->all = yyjson_mut_obj_get(c->root, "contexts");
    if (!yyjson_mut_is_obj(c->all))
        return wrong(c, "expected {\"contexts\":{...}}");
    it = yyjson_mut_obj_iter_with(c->all);
    while ((key = yyjson_mut_obj_iter_next(&it))) {
        yyjson_mut_val *context = yyjson_mut_obj_iter_get_val(key);

        if (!yyjson_mut_is_str(yyjson_mut_obj_get(context, "url")))
            return wrong(c, "expected a \"url\" in each context");
        for (size_t i = 0; i < MEMBERS; i++) {
            yyjson_mut_val *value = yyjson_mut_obj_get(context, members[i].name);

            if (value && !yyjson_mut_is_str(value))
                return wrong(c, "expected texts as the members of each context");
        }
    }
    return 0;
}

int contexts_load(struct contexts *c)
{
    struct buffer text = {0};
    int rc = 0;

    *c = (struct contexts){.path = settings_path("contexts.json"), .doc = yyjson_mut_doc_new(NULL)};
    c->root = yyjson_mut_obj(c->doc);
    c->all = yyjson_mut_obj_add_obj(c->doc, c->root, "contexts");
    yyjson_mut_doc_set_root(c->doc, c->root);
    if (!c->path || (access(c->path, F_OK) && (errno == ENOENT || errno == ENOTDIR)))
        return 0;
    rc = input_file(&text, c->path, FILE_MAX, true);
    if (rc == 0)
        rc = take(c, &text);
    buffer_free(&text);
    return rc;
}

void contexts_free(struct contexts *c)
{
    yyjson_mut_doc_free(c->doc);
    free(c->path);
}

static int make_folders(char *path)
{
    for (char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        int rc;

        *slash = 0;
        rc = mkdir(path, 0700);
        *slash = '/';
        if (rc && errno != EEXIST)
            return -1;
    }
    return 0;
}

/* What a name stands for, be it there or not; for free. */
static char *behind_links(const char *name)
{
    char *path = xstrndup(name, strlen(name)), to[PATH_MAX];
    ssize_t n;

    for (int i = 0; i < LINKS_MAX && (n = readlink(path, to, sizeof to)) >= 0; i++) {
        int folder = *to == '/' ? 0 : (int)(strrchr(path, '/') + 1 - path);
        struct buffer next = {0};

        buffer_printf(&next, "%.*s%.*s", folder, path, (int)n, to);
        free(path);
        path = next.data;
    }
    return path;
}

static int write_file(const struct contexts *c, const char *text, size_t len)
{
    struct buffer path = {0};
    int fd = -1, rc = make_folders(c->path);
    char *file = behind_links(c->path);

    buffer_printf(&path, "%s.XXXXXX", file);
    if (rc == 0)
        fd = mkstemp(path.data);
    if (fd < 0 || write(fd, text, len) != (ssize_t)len || fsync(fd) || rename(path.data, file)) {
        complain("cannot write %s: %s", c->path, strerror(errno));
        if (fd >= 0)
            unlink(path.data);
        rc = -1;
    }
    if (fd >= 0)
        close(fd);
    buffer_free(&path);
    free(file);
    return rc ? OUTCOME_USAGE : OUTCOME_OK;
}

static int save(struct contexts *c)
{
    size_t len;
    char *text;
    int rc;

    if (!c->path) {
        complain("there is no place for contexts: neither HOME nor XDG_CONFIG_HOME is set");
        return OUTCOME_USAGE;
    }
    text = yyjson_mut_write(c->doc, YYJSON_WRITE_PRETTY | YYJSON_WRITE_NEWLINE_AT_END, &len);
    if (len > FILE_MAX || yyjson_mut_obj_size(c->all) > CONTEXTS_MAX)
        rc = wrong(c, "these are too many contexts");
    else
        rc = write_file(c, text, len);
    free(text);
    return rc;
}

/* ---- using one ------------------------------------------------------------------------------- */

static const char *current_of(const struct contexts *c)
{
    return yyjson_mut_get_str(yyjson_mut_obj_get(c->root, "current"));
}

static yyjson_mut_val *find(const struct contexts *c, const char *name)
{
    yyjson_mut_val *found = yyjson_mut_obj_get(c->all, name), *key;
    yyjson_mut_obj_iter it;
    struct near near;

    if (found)
        return found;
    near_begin(&near, name);
    it = yyjson_mut_obj_iter_with(c->all);
    while ((key = yyjson_mut_obj_iter_next(&it)))
        near_try(&near, yyjson_mut_get_str(key));
    complain(near.name[0] ? "there is no context '%s': did you mean '%s'?"
                          : "there is no context '%s': 'alknet context' lists them",
             name, near.name);
    return NULL;
}

int contexts_apply(struct contexts *c, struct options *o)
{
    const char *url = getenv("ALKNET_URL"), *name = getenv("ALKNET_CONTEXT");
    yyjson_mut_val *context;

    if (o->context && o->url) {
        complain("--url and --context both say where the node is: give one");
        return OUTCOME_USAGE;
    }
    if (o->url)
        return 0;
    if (!o->context && url && *url && name && *name) {
        complain("ALKNET_URL and ALKNET_CONTEXT both say where the node is: set one");
        return OUTCOME_USAGE;
    }
    if (o->context)
        name = o->context;
    else if (url && *url)
        return 0;
    if (contexts_load(c))
        return OUTCOME_USAGE;
    if (!name || !*name)
        name = current_of(c);
    if (!name)
        return 0;
    context = find(c, name);
    o->in_context = name;
    for (size_t i = 0; context && i < MEMBERS; i++) {
        const char **option = (const char **)((char *)o + members[i].offset);

        if (!*option)
            *option = yyjson_mut_get_str(yyjson_mut_obj_get(context, members[i].name));
    }
    return context ? OUTCOME_OK : OUTCOME_USAGE;
}

/* ---- the command ----------------------------------------------------------------------------- */

static void put(struct contexts *c, yyjson_mut_val *object, const char *name, const char *value)
{
    yyjson_mut_obj_remove_key(object, name);
    yyjson_mut_obj_add(object, yyjson_mut_strcpy(c->doc, name), yyjson_mut_strcpy(c->doc, value));
}

static int print_all(struct cli *cli, struct contexts *c)
{
    struct buffer *out = &cli->printer.text, text = {0};
    yyjson_mut_obj_iter it = yyjson_mut_obj_iter_with(c->all);
    const char *current = current_of(c);
    yyjson_mut_val *key;
    char *json;

    if (cli->printer.format == FORMAT_JSON) {
        json = yyjson_mut_write(c->doc, 0, NULL);
        buffer_puts(&text, json);
        free(json);
        return print_made(&cli->printer, &text);
    }
    while ((key = yyjson_mut_obj_iter_next(&it))) {
        const char *name = yyjson_mut_get_str(key);
        yyjson_mut_val *url = yyjson_mut_obj_get(yyjson_mut_obj_iter_get_val(key), "url");
        bool is_current = current && !strcmp(current, name);

        if (cli->printer.format == FORMAT_PRETTY)
            buffer_puts(out, is_current ? "* " : "  ");
        print_plain(out, name, strlen(name));
        if (cli->printer.format == FORMAT_PRETTY) {
            buffer_printf(out, "%*s  ", (int)(strlen(name) < 12 ? 12 - strlen(name) : 0), "");
            print_plain(out, yyjson_mut_get_str(url), yyjson_mut_get_len(url));
        }
        buffer_puts(out, "\n");
    }
    return print_flush(&cli->printer);
}

static int show(struct cli *cli, struct contexts *c, const char *name)
{
    struct buffer text = {0};
    yyjson_mut_val *context;
    char *json;

    if (!name)
        name = current_of(c);
    if (!name) {
        complain("no context is in use: 'alknet context use NAME' chooses one");
        return OUTCOME_USAGE;
    }
    context = find(c, name);
    if (!context)
        return OUTCOME_USAGE;
    json = yyjson_mut_val_write(context, 0, NULL);
    buffer_puts(&text, json);
    free(json);
    return print_made(&cli->printer, &text) ? OUTCOME_CONNECTION : OUTCOME_OK;
}

static bool is_name(const char *name)
{
    size_t len = strlen(name);

    return len && len <= CONTEXT_NAME_MAX &&
           strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-") == len;
}

/* Paths hold wherever the program is started. */
static void put_option(struct contexts *c, yyjson_mut_val *context, size_t i, const char *value)
{
    char *here = members[i].path && *value != '/' ? getcwd(NULL, 0) : NULL;
    struct buffer whole = {0};

    if (here)
        buffer_printf(&whole, "%s/", here);
    buffer_puts(&whole, value);
    put(c, context, members[i].name, buffer_text(&whole));
    buffer_free(&whole);
    free(here);
}

/* fresh: it must not be there yet. */
static int set(struct contexts *c, const struct options *o, const char *name, bool fresh)
{
    yyjson_mut_val *context = yyjson_mut_obj_get(c->all, name);

    if (!is_name(name)) {
        complain("the name of a context has at most %u letters, digits, '_', '.' and '-', not '%s'",
                 CONTEXT_NAME_MAX, name);
        return OUTCOME_USAGE;
    }
    if (fresh && context) {
        complain("the context '%s' is there already: 'alknet context set %s' changes it", name,
                 name);
        return OUTCOME_USAGE;
    }
    if (!context && !o->url) {
        complain("a context needs a URL: alknet context add %s --url URL", name);
        return OUTCOME_USAGE;
    }
    if (o->url && settings_check_url(o->url))
        return OUTCOME_USAGE;
    if (!context) {
        context = yyjson_mut_obj(c->doc);
        yyjson_mut_obj_add(c->all, yyjson_mut_strcpy(c->doc, name), context);
    }
    for (size_t i = 0; i < MEMBERS; i++) {
        const char *value = *(const char *const *)((const char *)o + members[i].offset);

        if (value && !is_utf8(value, strlen(value))) {
            complain("the %s of the context is not UTF-8", members[i].name);
            return OUTCOME_USAGE;
        }
        if (value)
            put_option(c, context, i, value);
    }
    return save(c);
}

static int use(struct contexts *c, const char *name)
{
    if (!find(c, name))
        return OUTCOME_USAGE;
    put(c, c->root, "current", name);
    return save(c);
}

static int drop(struct contexts *c, const char *name)
{
    const char *current = current_of(c);

    if (!find(c, name))
        return OUTCOME_USAGE;
    if (current && !strcmp(current, name))
        yyjson_mut_obj_remove_key(c->root, "current");
    yyjson_mut_obj_remove_key(c->all, name);
    return save(c);
}

static int run(struct cli *cli, struct contexts *c)
{
    const struct options *o = cli->options;
    const char *verb = o->operand_count ? o->operands[0] : "list";
    const char *name = o->operand_count > 1 ? o->operands[1] : NULL;

    if (!strcmp(verb, "list") && !name)
        return print_all(cli, c) ? OUTCOME_CONNECTION : OUTCOME_OK;
    if (!strcmp(verb, "show"))
        return show(cli, c, name);
    if (name && !strcmp(verb, "use"))
        return use(c, name);
    if (name && !strcmp(verb, "remove"))
        return drop(c, name);
    if (name && (!strcmp(verb, "add") || !strcmp(verb, "set")))
        return set(c, o, name, !strcmp(verb, "add"));
    complain(
        "contexts: alknet context [list], use NAME, add NAME --url URL, set NAME, show [NAME] or "
        "remove NAME");
    return OUTCOME_USAGE;
}

int command_context(struct cli *cli)
{
    struct contexts contexts;
    int rc = contexts_load(&contexts);

    if (rc == 0)
        rc = run(cli, &contexts);
    contexts_free(&contexts);
    return rc;
}
