/* The tools of a server as it listed them, page by page. What is needed of each is kept as text, so
 * that memory is what the texts have, however many values they are as JSON. */
#include "adapt/mcp_client.h"

#include "base/utf8.h"

#include <stdio.h>
#include <string.h>

void mcp_list_init(struct mcp_list *l, struct mem *mem)
{
    memset(l, 0, sizeof *l);
    arena_init(&l->arena, mem, 16384);
}

void mcp_list_fini(struct mcp_list *l)
{
    arena_fini(&l->arena);
}

struct adding {
    struct mcp_list *l;
    struct arena *scratch;
    struct buf headers;
    char *why;
    int rc;
};

static void fail(struct adding *a, int rc, const char *why)
{
    if (a->rc)
        return;
    a->rc = rc;
    snprintf(a->why, MCP_WHY, "tools/list: %s", why);
}

static const char *keep(struct adding *a, const char *p, size_t n)
{
    const char *copy = NULL;

    if (n > MCP_LIST_BYTES - a->l->bytes)
        fail(a, ALK_ELIMIT, "the tools have more text than 32 MiB");
    else if (!(copy = arena_dup(&a->l->arena, p, n)))
        fail(a, ALK_ENOMEM, "out of memory");
    else
        a->l->bytes += n + 1 < MCP_LIST_BYTES - a->l->bytes ? n + 1 : n;
    return copy;
}

/* yyjson takes several times what it then fills. */
static const char *keep_json(struct adding *a, yyjson_val *v)
{
    yyjson_alc alc = arena_alc(a->scratch);
    size_t n;
    char *text;

    if (!v)
        return NULL;
    arena_reset(a->scratch);
    text = yyjson_val_write_opts(v, 0, &alc, &n, NULL);
    if (!text)
        fail(a, ALK_ENOMEM, "out of memory");
    return text ? keep(a, text, n) : NULL;
}

static void *grown(struct adding *a, void *old, size_t count, size_t *cap, size_t size)
{
    size_t more = *cap ? 2 * *cap : 64;
    void *p = old;

    if (count < *cap)
        return old;
    p = arena_realloc(&a->l->arena, old, *cap * size, more * size);
    if (p)
        *cap = more;
    else
        fail(a, ALK_ENOMEM, "out of memory");
    return p ? p : old;
}

static void keep_headers(struct adding *a, yyjson_val *schema, struct mcp_entry *e)
{
    buf_truncate(&a->headers, 0);
    if (mcp_headers_read(&a->headers, schema, &e->wrong))
        fail(a, ALK_ENOMEM, "out of memory");
    else if (!e->wrong && a->headers.len)
        e->headers = (struct str){keep(a, buf_at(&a->headers), a->headers.len), a->headers.len};
}

/* A description, or what the tool is called for people. */
static struct str text_of(yyjson_val *tool, yyjson_val *annotations)
{
    struct str s = json_string(yyjson_obj_get(tool, "description"));

    if (!s.n)
        s = json_string(yyjson_obj_get(tool, "title"));
    if (!s.n)
        s = json_string(yyjson_obj_get(annotations, "title"));
    return s;
}

static void add_tool(struct adding *a, const struct mcp_server *server, yyjson_val *tool)
{
    struct mcp_list *l = a->l;
    struct str name = json_string(yyjson_obj_get(tool, "name"));
    yyjson_val *annotations = yyjson_obj_get(tool, "annotations");
    struct str text = text_of(tool, annotations);
    struct mcp_entry e = {.name = name};

    if (!name.p) {
        fail(a, ALK_EREMOTE, "a tool has no name");
        return;
    }
    if (!mcp_server_wants(server, name))
        return;
    if (l->count == MCP_TOOLS) {
        fail(a, ALK_ELIMIT, "there are more than 16384 tools");
        return;
    }
    e.name.p = keep(a, name.p, name.n);
    if (text.n)
        e.description.n = utf8_cut(text.p, text.n, MCP_TEXT_BYTES);
    e.description.p = text.n ? keep(a, text.p, e.description.n) : NULL;
    e.input = keep_json(a, yyjson_obj_get(tool, "inputSchema"));
    e.output = keep_json(a, yyjson_obj_get(tool, "outputSchema"));
    keep_headers(a, yyjson_obj_get(tool, "inputSchema"), &e);
    e.read_only = yyjson_is_true(yyjson_obj_get(annotations, "readOnlyHint"));
    l->entries = grown(a, l->entries, l->count, &l->cap, sizeof *l->entries);
    if (!a->rc)
        l->entries[l->count++] = e;
}

/* A cursor that was there before would lead in a circle. */
static void add_cursor(struct adding *a, struct str cursor, struct str *next)
{
    struct mcp_list *l = a->l;

    for (size_t i = 0; i < l->pages; i++) {
        if (str_eq(l->cursors[i], cursor)) {
            fail(a, ALK_EREMOTE, "the server's pages lead in a circle");
            return;
        }
    }
    if (cursor.n > MCP_CURSOR_BYTES)
        fail(a, ALK_ELIMIT, "a cursor has more than 16384 bytes");
    else if (l->pages + 1 >= MCP_PAGES)
        fail(a, ALK_ELIMIT, "there are more than 1000 pages");
    l->cursors = grown(a, l->cursors, l->pages, &l->cursor_cap, sizeof *l->cursors);
    if (a->rc)
        return;
    next->p = keep(a, cursor.p, cursor.n);
    next->n = cursor.n;
    if (!a->rc)
        l->cursors[l->pages++] = *next;
}

int mcp_list_add(struct mcp_list *l, const struct mcp_server *server, yyjson_val *result,
                 struct arena *scratch, struct str *next, char why[MCP_WHY])
{
    struct adding a = {.l = l, .scratch = scratch, .why = why};
    yyjson_val *tools = yyjson_obj_get(result, "tools"), *tool;
    struct str cursor = json_string(yyjson_obj_get(result, "nextCursor"));
    yyjson_arr_iter it = yyjson_arr_iter_with(tools);

    *next = STR_NONE;
    buf_init(&a.headers, l->arena.mem);
    if (!yyjson_is_arr(tools))
        fail(&a, ALK_EREMOTE, "the answer has no tools");
    while (!a.rc && (tool = yyjson_arr_iter_next(&it)))
        add_tool(&a, server, tool);
    if (!a.rc && cursor.p)
        add_cursor(&a, cursor, next);
    buf_fini(&a.headers);
    return a.rc;
}

static bool same(const char *a, const char *b)
{
    return a && b ? !strcmp(a, b) : a == b;
}

bool mcp_list_same(const struct mcp_list *a, const struct mcp_list *b)
{
    if (a->count != b->count)
        return false;
    for (size_t i = 0; i < a->count; i++) {
        const struct mcp_entry *x = &a->entries[i], *y = &b->entries[i];

        if (!str_eq(x->name, y->name) || !str_eq(x->description, y->description) ||
            !same(x->input, y->input) || !same(x->output, y->output) ||
            x->read_only != y->read_only)
            return false;
    }
    return true;
}
