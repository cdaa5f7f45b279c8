/* `ls`: services/list, page after page, then what peers serve, then all of it at once: a table, one
 * JSON object, or bare names. `peers`: who they are.
 *
 * What the node itself serves is filtered by it, what peers serve is filtered here. Who may not see
 * peers gets the rest; only what was asked for by name is missed. */
#include "commands.h"
#include "input.h"
#include "peers.h"
#include "width.h"

#include <stdlib.h>
#include <string.h>

#define NAME_WIDTH_MAX 40
#define DESCRIPTION_WIDTH_MIN 8 /* columns that a description has, however narrow the terminal */

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

/* What came. */
struct list {
    struct reply *pages; /* of the node's own */
    size_t count;
    size_t bytes, values; /* of all pages */
    struct reply seen;
    yyjson_val *peers;     /* in seen; NULL: they are not shown */
    int width, peer_width; /* of the longest name, within reason; peer_width 0: no column */
    int columns;           /* of the terminal; 0: there is none */
};

static const char *text_of(yyjson_val *object, const char *name)
{
    const char *text = yyjson_get_str(yyjson_obj_get(object, name));

    return text ? text : "";
}

/* ---- what of peers is shown ------------------------------------------------------------------ */

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c + 'a' - 'A') : c;
}

/* ASCII only, as services/list does it. */
static bool contains(yyjson_val *text, const char *part)
{
    const char *at = yyjson_get_str(text);
    size_t n = strlen(part), len = yyjson_get_len(text), i;

    for (; len >= n; at++, len--) {
        for (i = 0; i < n && lower(at[i]) == lower(part[i]);)
            i++;
        if (i == n)
            return true;
    }
    return false;
}

static bool matches(const struct options *o, yyjson_val *op)
{
    const char *part = o->operand_count ? o->operands[0] : "";

    part += *part == '/';
    return (!o->name_space || !strcmp(text_of(op, "namespace"), o->name_space)) &&
           (!o->type || !strcmp(text_of(op, "op_type"), o->type)) &&
           (contains(yyjson_obj_get(op, "name"), part) ||
            contains(yyjson_obj_get(op, "description"), part));
}

/* The node itself is in the list of peers, too. */
static bool is_shown(const struct options *o, yyjson_val *peer)
{
    bool named = !strcmp(peers_id(peer), o->peer ? o->peer : "local");

    return o->peer ? named : !named;
}

/* ---- printing -------------------------------------------------------------------------------- */

static void put_name(struct buffer *out, yyjson_val *op)
{
    const char *name = text_of(op, "name");

    if (*name != '/')
        buffer_puts(out, "/");
    print_plain(out, name, strlen(name));
}

/* What follows begins behind the column, which starts there. */
static void pad(struct buffer *out, size_t start, int width)
{
    int used = (int)(out->len - start);

    buffer_printf(out, "%*s  ", used < width ? width - used : 0, "");
}

/* Cuts the description, which stands from there to the end of a row, to what the terminal has
 * left. */
static void cut(struct buffer *out, size_t row, size_t description, int columns)
{
    int used, left;
    size_t fits;

    width_fit(buffer_text(out) + row, description - row, columns, &used);
    left = columns - used > DESCRIPTION_WIDTH_MIN ? columns - used : DESCRIPTION_WIDTH_MIN;
    fits = width_fit(buffer_text(out) + description, out->len - description, left, &used);
    if (fits == out->len - description)
        return;
    fits = width_fit(buffer_text(out) + description, out->len - description, left - 1, &used);
    buffer_truncate(out, description + fits);
    buffer_puts(out, "…");
}

static void put_row(struct buffer *out, yyjson_val *op, const struct list *list, const char *peer)
{
    const char *type = text_of(op, "op_type");
    yyjson_val *description = yyjson_obj_get(op, "description");
    size_t start = out->len, row = start;

    put_name(out, op);
    pad(out, start, list->width);
    start = out->len;
    print_plain(out, type, strlen(type));
    if (list->peer_width) {
        pad(out, start, 12);
        start = out->len;
        print_plain(out, peer, strlen(peer));
    }
    if (yyjson_get_len(description)) {
        pad(out, start, list->peer_width ? list->peer_width : 12);
        start = out->len;
        print_first_line(out, description);
        if (list->columns)
            cut(out, row, start, list->columns);
    }
}

/* peer: "-" for the node itself. */
static void put_line(struct cli *cli, const struct list *list, yyjson_val *op, const char *peer)
{
    struct buffer *text = &cli->printer.text;

    if (cli->printer.format != FORMAT_RAW) {
        put_row(text, op, list, peer);
    } else {
        put_name(text, op);
        if (list->peer_width && strcmp(peer, "-") != 0) {
            buffer_puts(text, "\t");
            print_plain(text, peer, strlen(peer));
        }
    }
    buffer_puts(text, "\n");
}

/* Names and rows, a line for each. */
static int print_lines(struct cli *cli, const struct list *list)
{
    yyjson_val *op, *peer;
    size_t at, n, i, peers;

    for (size_t page = 0; page < list->count; page++) {
        yyjson_val *ops = yyjson_obj_get(list->pages[page].output, "operations");

        yyjson_arr_foreach(ops, at, n, op) put_line(cli, list, op, "-");
    }
    yyjson_arr_foreach(list->peers, i, peers, peer)
    {
        yyjson_val *ops = is_shown(cli->options, peer) ? yyjson_obj_get(peer, "operations") : NULL;

        yyjson_arr_foreach(ops, at, n, op)
        {
            if (matches(cli->options, op))
                put_line(cli, list, op, peers_id(peer));
        }
    }
    return print_flush(&cli->printer);
}

/* o: those that match; NULL: all. */
static void put_array(struct buffer *out, const struct options *o, yyjson_val *ops, bool *first)
{
    size_t at, n, len;
    yyjson_val *op;

    yyjson_arr_foreach(ops, at, n, op)
    {
        char *json;

        if (o && !matches(o, op))
            continue;
        json = yyjson_val_write(op, 0, &len);
        buffer_puts(out, *first ? "" : ",");
        buffer_append(out, json, json ? len : 0);
        free(json);
        *first = false;
    }
}

static void put_peer(struct buffer *out, const struct options *o, yyjson_val *peer)
{
    const char *id = peers_id(peer), *hub = text_of(peer, "hub");
    bool first = true;

    buffer_puts(out, "{\"peer_id\":");
    buffer_json_string(out, id, strlen(id));
    if (*hub) {
        buffer_puts(out, ",\"hub\":");
        buffer_json_string(out, hub, strlen(hub));
    }
    buffer_puts(out, ",\"operations\":[");
    put_array(out, o, yyjson_obj_get(peer, "operations"), &first);
    buffer_puts(out, "]}");
}

static void put_peers(struct buffer *out, const struct options *o, yyjson_val *peers)
{
    bool first = true;
    yyjson_val *peer;
    size_t i, n;

    yyjson_arr_foreach(peers, i, n, peer)
    {
        if (!is_shown(o, peer))
            continue;
        buffer_puts(out, first ? "" : ",");
        put_peer(out, o, peer);
        first = false;
    }
}

/* Of one peer, its entry. */
static int print_object(struct cli *cli, const struct list *list)
{
    struct buffer text = {0};
    bool first = true;

    if (cli->options->peer) {
        put_peers(&text, cli->options, list->peers);
        return print_made(&cli->printer, &text);
    }
    buffer_puts(&text, "{\"operations\":[");
    for (size_t i = 0; i < list->count; i++)
        put_array(&text, NULL, yyjson_obj_get(list->pages[i].output, "operations"), &first);
    buffer_puts(&text, "]");
    if (list->peers) {
        buffer_puts(&text, ",\"peers\":[");
        put_peers(&text, cli->options, list->peers);
        buffer_puts(&text, "]");
    }
    buffer_puts(&text, "}");
    return print_made(&cli->printer, &text);
}

/* ---- asking ---------------------------------------------------------------------------------- */

static void widen(int *width, size_t len)
{
    if (len <= NAME_WIDTH_MAX && (int)len > *width)
        *width = (int)len;
}

/* o: as in put_array. */
static bool measure(struct list *list, const struct options *o, yyjson_val *ops)
{
    bool some = false;
    yyjson_val *op;
    size_t i, n;

    yyjson_arr_foreach(ops, i, n, op)
    {
        const char *name = text_of(op, "name");

        if (o && !matches(o, op))
            continue;
        widen(&list->width, strlen(name) + (*name != '/'));
        some = true;
    }
    return some;
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
    measure(list, NULL, yyjson_obj_get(page->output, "operations"));
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

static int fetch_local(struct cli *cli, struct list *list)
{
    struct buffer input = {0};
    yyjson_val *cursor = NULL;
    int rc;

    do {
        list_input(&input, cli->options, cursor);
        rc = fetch(cli, list, &input, &cursor);
        if (rc == OUTCOME_OK && cursor && is_endless(list))
            rc = OUTCOME_CONNECTION;
    } while (rc == OUTCOME_OK && cursor);
    buffer_free(&input);
    return rc;
}

static int find_peer(const struct options *o, yyjson_val *peers)
{
    yyjson_val *peer;
    size_t i, n;

    yyjson_arr_foreach(peers, i, n, peer)
    {
        if (is_shown(o, peer))
            return OUTCOME_OK;
    }
    complain("no peer '%s' is connected", o->peer);
    return OUTCOME_REMOTE;
}

/* A node that knows no peers, or that does not let us see them, has none to show. */
static int fetch_peers(struct cli *cli, struct list *list)
{
    const struct options *o = cli->options;
    int rc = peers_fetch(cli, &list->seen, &list->peers);
    yyjson_val *peer;
    size_t i, n;

    if (rc == OUTCOME_REMOTE && !o->peer &&
        (peers_failed_by(&list->seen, "FORBIDDEN") || peers_failed_by(&list->seen, "NOT_FOUND")))
        return OUTCOME_OK;
    command_report(rc, &list->seen);
    peers_explain_list(&list->seen);
    if (list->peers && o->peer)
        rc = find_peer(o, list->peers);
    yyjson_arr_foreach(list->peers, i, n, peer)
    {
        if (!is_shown(o, peer) || !measure(list, o, yyjson_obj_get(peer, "operations")) || o->peer)
            continue;
        widen(&list->peer_width, 1);
        widen(&list->peer_width, strlen(peers_id(peer)));
    }
    return rc;
}

static int print_list(struct cli *cli, const struct list *list)
{
    int rc;

    /* With --curl there is none. */
    if (cli->options->curl)
        return OUTCOME_OK;
    rc = cli->printer.format == FORMAT_JSON ? print_object(cli, list) : print_lines(cli, list);
    return rc ? OUTCOME_CONNECTION : OUTCOME_OK;
}

int command_ls(struct cli *cli)
{
    const struct options *o = cli->options;
    struct list list = {.columns = cli->printer.terminal ? width_of_terminal() : 0};
    int rc = OUTCOME_OK;

    if (!o->peer)
        rc = fetch_local(cli, &list);
    if (rc == OUTCOME_OK && !o->local && (o->peer || !o->curl))
        rc = fetch_peers(cli, &list);
    if (rc == OUTCOME_OK)
        rc = print_list(cli, &list);
    for (size_t i = 0; i < list.count; i++)
        reply_free(&list.pages[i]);
    reply_free(&list.seen);
    free(list.pages);
    return rc;
}

/* ---- peers ----------------------------------------------------------------------------------- */

static int print_peers(struct cli *cli, yyjson_val *peers)
{
    struct buffer *out = &cli->printer.text, text = {0};
    yyjson_val *peer;
    int width = 0;
    size_t i, n;

    if (cli->printer.format == FORMAT_JSON) {
        buffer_puts(&text, "{\"peers\":[");
        put_peers(&text, cli->options, peers);
        buffer_puts(&text, "]}");
        return print_made(&cli->printer, &text);
    }
    yyjson_arr_foreach(peers, i, n, peer) widen(&width, strlen(peers_id(peer)));
    yyjson_arr_foreach(peers, i, n, peer)
    {
        size_t start = out->len, ops = yyjson_arr_size(yyjson_obj_get(peer, "operations"));
        const char *hub = text_of(peer, "hub");

        if (!is_shown(cli->options, peer))
            continue;
        print_plain(out, peers_id(peer), strlen(peers_id(peer)));
        if (cli->printer.format == FORMAT_PRETTY) {
            pad(out, start, width);
            buffer_printf(out, "%zu operation%s", ops, ops == 1 ? "" : "s");
            if (*hub) {
                buffer_puts(out, ", at hub ");
                print_plain(out, hub, strlen(hub));
            }
        }
        buffer_puts(out, "\n");
    }
    return print_flush(&cli->printer);
}

int command_peers(struct cli *cli)
{
    struct reply reply = {0};
    yyjson_val *peers;
    int rc = peers_fetch(cli, &reply, &peers);

    command_report(rc, &reply);
    peers_explain_list(&reply);
    if (peers && print_peers(cli, peers))
        rc = OUTCOME_CONNECTION;
    reply_free(&reply);
    return rc;
}
