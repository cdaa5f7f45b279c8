/* The Model Context Protocol (modelcontextprotocol.io), over Streamable HTTP: the tools of a server as
 * operations. The other way round, a gateway serves the registry as tools at /mcp (gateway.h).
 *
 * Both eras are spoken: revision 2026-07-28, in which each request stands for itself, and the
 * sessions of 2025-11-25 and 2025-06-18, with servers that know no other.
 *
 * What a server may have: 16,384 tools on 1,000 pages, with 32 MiB of text. A session that it does not
 * know any more is opened again, once for all calls that wait for it; each of these is then made a
 * second time.
 *
 * A call fails with MCP_TOOL_ERROR when the tool says so, its blocks of content as details; with
 * UNAUTHORIZED when the server wants another token; and in other ways as operations of OpenAPI do.
 *
 * What a server says of its tools is text of that server, which whoever shows it to a language model
 * should trust as far as the server. */
#ifndef ALKNET_MCP_H
#define ALKNET_MCP_H

#include <alknet/alknet.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct alk_loop alk_loop;
typedef struct alk_mcp alk_mcp;

typedef struct alk_mcp_options {
    uint32_t size; /* sizeof(alk_mcp_options) */
    /* 1: anybody may call what is imported; else access_control says who; without both it can be
     * called by other operations only. */
    uint32_t is_public;
    const char *namespace_prefix; /* "tickets": a tool is the operation tickets/TOOL */
    const char *url;              /* of the server's endpoint: "https://host/mcp" */
    const char *access_control;   /* as in alk_operation */
    /* {"include":["pattern"],"exclude":["pattern"]}, both optional: of tools' names, with stars.
     * NULL: all. */
    const char *tool_filter;
    const char *headers; /* {"Name":"value"}: sent with each request; NULL: none */
    /* The secret NAMESPACE is shown as a bearer token. Copied. */
    const alk_capabilities *capabilities;
    uint32_t private_addresses; /* 1: the host's name may lead to addresses that are not public */
    uint32_t response_bytes;    /* of one answer; 0: the HTTP client's limit */
    /* 1: each tool also as a subscription, tickets/TOOL/progress, whose values are the tool's
     * progress, {"progress","total"?,"message"?}, and as the last {"result"}. */
    uint32_t progress;
    /* The list of tools is there, or is another one than before: rc 0, and
     * alk_registry_import_mcp takes it. Else why it could not be had: ALK_EREMOTE,
     * ALK_ECONFIG (the server wants another token), ALK_ELIMIT, ALK_ENOMEM; it is asked again, with
     * back-off. Runs from the loop; may close m. */
    void (*on_tools)(void *ud, alk_mcp *m, int rc, const char *why);
    void *ud;
} alk_mcp_options;

/* A client of the server, which begins to ask for its tools, and asks again when it says that they
 * have changed. Of the loop's thread. err (may be NULL) says what is wrong. ALK_EINVAL, ALK_ENOMEM,
 * ALK_ECLOSED (the loop closes). */
ALK_API int alk_mcp_open(alk_mcp **out, alk_loop *l, const alk_mcp_options *o, char *err,
                         size_t err_size);
/* No on_tools follows. What has been imported goes on to work. Also for a loop that has closed. */
ALK_API void alk_mcp_close(alk_mcp *m);
/* Adds the tools that m has listed, each as one operation: a mutation, or a query where the tool is
 * said to be read-only; without environment and authority. Its output is the tool's
 * structuredContent, else its blocks of content. A tool whose schema does not compile, or whose name
 * cannot be one here, is left out: on_warning (may be NULL) says which and why. All of the others
 * or, on failure, nothing. count (may be NULL): how many. ALK_EINVAL (nothing has been listed),
 * ALK_EEXIST, ALK_EFROZEN, ALK_ELIMIT, ALK_ENOMEM. Of the loop's thread. */
ALK_API int alk_registry_import_mcp(alk_registry *reg, alk_mcp *m, size_t *count,
                                    void (*on_warning)(void *ud, const char *tool,
                                                       const char *text),
                                    void *ud, char *err, size_t err_size);

#ifdef __cplusplus
}
#endif

#endif
