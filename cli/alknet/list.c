/* `ls`: services/list, page after page, then all of them at once: a table, one JSON object, or bare
 * names. */
#include "commands.h"
#include "input.h"

#include <stdlib.h>
#include <string.h>

#define NAME_WIDTH_MAX 40

static void member(struct buffer *out, const char *name, const char *value, size_t len)
{
    buffer_printf(out, "%s\"%s\":", out->len > 1 ? "," : "", name);
    buffer_json_string(out, value, len);
}

/* The input for the page that begins at cursor; NULL: the first. */
static void list_input(struct buffer *out, const struct options *o, yyjson_val *cursor)
{
    buffer_truncate(out, 0);
    buffer_puts(out, "{");
    if (o->operand_count)
        member(out, "q", o->operands[0], strlen(o->operands[0]));
    if (o->name_space)
        member(out, "namespace", o->name_space, strlen(o->name_space));
    if (o->type)
        member(out, "op_type", o->type, strlen(o->type));
    if (cursor)
        member(out, "cursor", yyjson_get_str(cursor), yyjson_get_len(cursor));
    buffer_puts(out, "}");
}

/* Of the pages that came. */
struct list {
    struct reply *pages;
    size_t count;
    size_t bytes, values; /* of all pages */
    int width;            /* of the longest name, within reason */
};

static const char *name_of(yyjson_val *op, size_t *len)
{
    yyjson_val *name = yyjson_obj_get(op, "name");
    const char *text = yyjson_is_str(name) ? yyjson_get_str(name) : "";

    *len = strlen(text);
    return text;
}

static void put_name(struct buffer *out, yyjson_val *op)
{
    size_t len;
    const char *name = name_of(op, &len);

    if (*name != '/')
        buffer_puts(out, "/");
    print_plain(out, name, len);
}

static void put_row(struct buffer *out, yyjson_val *op, int width)
{
    yyjson_val *type = yyjson_obj_get(op, "op_type"), *text = yyjson_obj_get(op, "description");
    const char *description = yyjson_is_str(text) ? yyjson_get_str(text) : "";
    size_t start = out->len;
    int used;

    put_name(out, op);
    used = (int)(out->len - start);
    buffer_printf(out, "%*s  ", used < width ? width - used : 0, "");
    start = out->len;
    print_plain(out, yyjson_is_str(type) ? yyjson_get_str(type) : "",
                yyjson_is_str(type) ? yyjson_get_len(type) : 0);
    if (*description) {
        used = (int)(out->len - start);
        buffer_printf(out, "%*s  ", used < 12 ? 12 - used : 0, "");
        print_plain(out, description, strcspn(description, "\r\n"));
    }
}

/* Names and rows, a line for each. */
static int print_lines(struct cli *cli, const struct list *list)
{
    for (size_t i = 0; i < list->count; i++) {
        yyjson_val *ops = yyjson_obj_get(list->pages[i].output, "operations"), *op;
        size_t at, n;

        yyjson_arr_foreach(ops, at, n, op)
        {
            if (cli->printer.format == FORMAT_RAW)
                put_name(&cli->printer.text, op);
            else
                put_row(&cli->printer.text, op, list->width);
            buffer_puts(&cli->printer.text, "\n");
        }
    }
    return print_flush(&cli->printer);
}

static int print_object(struct cli *cli, const struct list *list)
{
    struct buffer text = {0};
    yyjson_doc *doc;
    char why[WHY_SIZE];
    bool first = true;
    int rc = -1;

    buffer_puts(&text, "{\"operations\":[");
    for (size_t i = 0; i < list->count; i++) {
        yyjson_val *ops = yyjson_obj_get(list->pages[i].output, "operations"), *op;
        size_t at, n, len;

        yyjson_arr_foreach(ops, at, n, op)
        {
            char *json = yyjson_val_write(op, 0, &len);

            buffer_puts(&text, first ? "" : ",");
            buffer_append(&text, json, json ? len : 0);
            free(json);
            first = false;
        }
    }
    buffer_puts(&text, "]}");
    doc = json_read(buffer_text(&text), text.len, why);
    if (doc)
        rc = print_value(&cli->printer, yyjson_doc_get_root(doc));
    yyjson_doc_free(doc);
    buffer_free(&text);
    return rc;
}

static void measure(struct list *list, yyjson_val *ops)
{
    size_t i, n, len;
    yyjson_val *op;

    yyjson_arr_foreach(ops, i, n, op)
    {
        len = 0;
        if (*name_of(op, &len) != '/')
            len++;
        if (len <= NAME_WIDTH_MAX && (int)len > list->width)
            list->width = (int)len;
    }
}

/* Fetches one page; *next is the cursor behind it, or NULL. */
static int fetch(struct cli *cli, struct list *list, const struct buffer *input, yyjson_val **next)
{
    struct reply *page;
    int rc;

    list->pages = xrealloc(list->pages, (list->count + 1) * sizeof *list->pages);
    page = &list->pages[list->count++];
    *page = (struct reply){0};
    rc = cli->remote->ops->call(cli->remote, "/services/list", input, page);
    *next = yyjson_obj_get(page->output, "next_cursor");
    if (!yyjson_is_str(*next) || !yyjson_get_len(*next))
        *next = NULL;
    command_report(rc, page);
    if (rc == OUTCOME_OK && page->output &&
        !yyjson_is_arr(yyjson_obj_get(page->output, "operations"))) {
        complain("the remote's list has no \"operations\"");
        return OUTCOME_CONNECTION;
    }
    list->bytes += page->text.len;
    list->values += page->doc ? yyjson_doc_get_val_count(page->doc) : 0;
    measure(list, yyjson_obj_get(page->output, "operations"));
    return rc;
}

/* Whether to give up before the next page. */
static bool is_endless(const struct list *list)
{
    if (list->count >= LIST_PAGES_MAX)
        complain("the remote's list has more than %u pages", LIST_PAGES_MAX);
    else if (list->bytes >= ANSWER_MAX || list->values >= VALUES_MAX)
        complain("the remote's list is larger than %u bytes or %u values", ANSWER_MAX, VALUES_MAX);
    else
        return false;
    return true;
}

static int print_list(struct cli *cli, const struct list *list)
{
    if (!list->pages[0].output)
        return OUTCOME_OK;
    if (cli->printer.format == FORMAT_JSON)
        return print_object(cli, list) ? OUTCOME_CONNECTION : OUTCOME_OK;
    return print_lines(cli, list) ? OUTCOME_CONNECTION : OUTCOME_OK;
}

int command_ls(struct cli *cli)
{
    struct list list = {0};
    struct buffer input = {0};
    yyjson_val *cursor = NULL;
    int rc;

    do {
        list_input(&input, cli->options, cursor);
        rc = fetch(cli, &list, &input, &cursor);
        if (rc == OUTCOME_OK && cursor && is_endless(&list))
            rc = OUTCOME_CONNECTION;
    } while (rc == OUTCOME_OK && cursor);
    if (rc == OUTCOME_OK)
        rc = print_list(cli, &list);
    for (size_t i = 0; i < list.count; i++)
        reply_free(&list.pages[i]);
    free(list.pages);
    buffer_free(&input);
    return rc;
}
