/* The tools that a client has listed, as operations. What is wrong with one of them is a warning and
 * leaves out that one; what is wrong with the registry undoes all. */
#include "adapt/mcp_client.h"

#include "base/utf8.h"

#include <stdio.h>
#include <string.h>

#define WARNINGS 1000u /* that are told one by one */

/* A block of content (ContentBlock of the revisions). */
#define CONTENT                                                                                    \
    "{\"type\":\"array\",\"" OPERATION_BLOCKS                                                      \
    "\":true,\"description\":\"Blocks of content\",\"items\":{\"type\":\"object\",\"required\":["  \
    "\"type\"],\"properties\":{\"type\":{\"enum\":[\"text\",\"image\",\"audio\",\"resource_link\"" \
    ",\"resource\"]},\"text\":{\"type\":\"string\"},\"data\":{\"type\":\"string\","                \
    "\"contentEncoding\":\"base64\"},\"mimeType\":{\"type\":\"string\"},\"uri\":{\"type\":"        \
    "\"string\"},\"name\":{\"type\":\"string\"},\"resource\":{\"type\":\"object\"}}}}"

static const char errors[] =
    "[{\"code\":\"" MCP_TOOL_ERROR
    "\",\"description\":\"The tool failed, and says why in the blocks of content\",\"schema\":"
    "{\"type\":\"array\",\"" OPERATION_BLOCKS "\":true}},{\"code\":\"" MCP_UNAUTHORIZED
    "\",\"description\":\"The tool's server does not accept the token that it is shown\","
    "\"http_status\":502}]";

static const char progress_output[] =
    "{\"type\":\"object\",\"description\":\"Progress, and as the last value the result\","
    "\"properties\":{\"progress\":{\"type\":\"number\"},\"total\":{\"type\":\"number\"},"
    "\"message\":{\"type\":\"string\"},\"result\":{}}}";

struct import {
    alk_registry *reg;
    struct alk_mcp *m;
    char *err;
    size_t err_size;
    void (*on_warning)(void *ud, const char *tool, const char *text);
    void *ud;
    unsigned warnings;
    size_t count;
    uint32_t number; /* of this import, among the client's */
    bool stateless;  /* headers have a meaning */
    char name[NAME_MAX_BYTES + 1];
};

static int fail(struct import *im, int rc, const char *text)
{
    if (im->err && im->err_size)
        snprintf(im->err, im->err_size, "%s", text);
    return rc;
}

static void warn(struct import *im, const struct mcp_entry *e, const char *text)
{
    im->warnings++;
    if (im->on_warning && im->warnings <= WARNINGS)
        im->on_warning(im->ud, e->name.p, text);
}

static void tool_free(void *ud)
{
    struct mcp_tool *tool = ud;
    struct mem plain;

    mcp_server_unref(tool->server);
    mem_init(&plain, NULL, NULL);
    mem_free(&plain, tool);
}

static struct mcp_tool *tool_new(const struct import *im, const struct mcp_entry *e)
{
    struct mcp_tool *tool;
    struct mem plain;

    mem_init(&plain, NULL, NULL);
    tool = mem_zalloc(&plain, sizeof *tool + e->name.n + 1 + e->headers.n);
    if (!tool)
        return NULL;
    memcpy(tool + 1, e->name.p, e->name.n + 1);
    tool->name = (const char *)(tool + 1);
    if (e->headers.n) {
        memcpy((char *)(tool + 1) + e->name.n + 1, e->headers.p, e->headers.n);
        tool->headers = (struct str){tool->name + e->name.n + 1, e->headers.n};
    }
    tool->read_only = e->read_only;
    tool->import = im->number;
    tool->server = mcp_server_ref(im->m->server);
    return tool;
}

/* PREFIX/TOOL and what follows; false: that cannot be a name. */
static bool make_name(struct import *im, const struct mcp_entry *e, const char *suffix)
{
    size_t prefix = strlen(im->m->server->prefix), n = strlen(suffix);

    if (prefix + 1 + e->name.n + n > NAME_MAX_BYTES)
        return false;
    memcpy(im->name, im->m->server->prefix, prefix);
    im->name[prefix] = '/';
    memcpy(im->name + prefix + 1, e->name.p, e->name.n);
    memcpy(im->name + prefix + 1 + e->name.n, suffix, n + 1);
    return name_valid(im->name, prefix + 1 + e->name.n + n);
}

/* Whether the name in im->name is that of one that this import has added. */
static bool is_mine(struct import *im)
{
    const struct operation *op = registry_find(im->reg, im->name, strlen(im->name));
    const struct mcp_tool *tool = op && op->handler == mcp_tool_call ? op->ud : NULL;

    return tool && tool->server == im->m->server && tool->import == im->number;
}

/* *why: why it is left out; NULL: it is there. */
static int add(struct import *im, const struct mcp_entry *e, alk_operation *op, const char **why)
{
    int rc;

    *why = NULL;
    if (is_mine(im)) {
        *why = "the name is taken by another tool of the list";
        return ALK_OK;
    }
    op->ud = tool_new(im, e);
    op->ud_free = tool_free;
    if (!op->ud)
        return ALK_ENOMEM;
    rc = registry_add_forwarder(im->reg, op);
    if (rc == ALK_EEXIST || rc == ALK_EFROZEN || rc == ALK_ENOMEM)
        return fail(im, rc, alk_registry_error(im->reg));
    /* It is there, and says what is wrong with its schema. */
    if (!rc && *alk_registry_error(im->reg))
        registry_remove(im->reg, im->name, strlen(im->name));
    if (*alk_registry_error(im->reg))
        *why = alk_registry_error(im->reg);
    return ALK_OK;
}

static void remove_tool(struct import *im, const struct mcp_entry *e)
{
    static const char *const suffixes[] = {"", "/progress"};

    for (size_t i = 0; i < sizeof suffixes / sizeof suffixes[0]; i++) {
        if (make_name(im, e, suffixes[i]) && is_mine(im))
            registry_remove(im->reg, im->name, strlen(im->name));
    }
}

static int add_tool(struct import *im, const struct mcp_entry *e)
{
    const alk_mcp_options *o = &im->m->o;
    alk_operation op;
    const char *why;
    int rc;

    alk_operation_init(&op, sizeof op);
    op.name = im->name;
    op.type = e->read_only ? ALK_QUERY : ALK_MUTATION;
    op.description = e->description.p;
    op.description_len = e->description.n;
    op.input_schema = e->input ? e->input : "{\"type\":\"object\"}";
    op.output_schema = e->output ? e->output : CONTENT;
    op.error_schemas = errors;
    op.provenance = ALK_FROM_MCP;
    op.visibility = o->is_public || o->access_control ? ALK_EXTERNAL : ALK_INTERNAL_ONLY;
    op.access_control = o->access_control;
    op.handler = mcp_tool_call;
    if (!make_name(im, e, "")) {
        warn(im, e, "is left out, since its name cannot be that of an operation");
        return ALK_OK;
    }
    if (im->stateless && e->wrong) {
        warn(im, e, e->wrong);
        return ALK_OK;
    }
    if ((rc = add(im, e, &op, &why)))
        return rc;
    if (why) {
        warn(im, e, why);
        return ALK_OK;
    }
    im->count++;
    if (!o->progress)
        return ALK_OK;
    op.type = ALK_SUBSCRIPTION;
    op.output_schema = progress_output;
    if (!make_name(im, e, "/progress"))
        why = "its progress is left out, since the name cannot be that of an operation";
    else if ((rc = add(im, e, &op, &why)))
        return rc;
    if (why)
        warn(im, e, why);
    return ALK_OK;
}

static int add_all(struct import *im)
{
    const struct mcp_list *l = &im->m->list;
    int rc = ALK_OK;

    for (size_t i = 0; !rc && i < l->count; i++)
        rc = add_tool(im, &l->entries[i]);
    for (size_t i = 0; rc && i < l->count; i++)
        remove_tool(im, &l->entries[i]);
    if (im->warnings > WARNINGS && im->on_warning) {
        char text[64];

        snprintf(text, sizeof text, "and %u more", im->warnings - WARNINGS);
        im->on_warning(im->ud, "", text);
    }
    return rc;
}

int alk_registry_import_mcp(alk_registry *reg, alk_mcp *m, size_t *count,
                            void (*on_warning)(void *ud, const char *tool, const char *text),
                            void *ud, char *err, size_t err_size)
{
    struct import im = {
        .reg = reg, .m = m, .err = err, .err_size = err_size, .on_warning = on_warning, .ud = ud};
    struct mcp_era era;
    int rc;

    if (count)
        *count = 0;
    if (reg->frozen)
        return fail(&im, ALK_EFROZEN, alk_strerror(ALK_EFROZEN));
    if (!m->has)
        return fail(&im, ALK_EINVAL, "no tools have been listed yet");
    im.number = ++m->imports;
    mcp_server_era(m->server, &era);
    im.stateless = era.kind == ERA_STATELESS;
    fail(&im, ALK_OK, "");
    rc = add_all(&im);
    if (rc == ALK_ENOMEM)
        fail(&im, rc, "out of memory");
    if (count && !rc)
        *count = im.count;
    return rc;
}
