/* Words and numbers of the Model Context Protocol that both sides of it use here: the server
 * (mcp_serve*.c) and the client (mcp_client*.c).
 *
 * Revision 2026-07-28: no handshake, no session; each request has the version in its _meta, and in
 * a header. Before it: initialize, then a session that a header names. */
#ifndef ALK_ADAPT_MCP_H
#define ALK_ADAPT_MCP_H

#define MCP_STATELESS "2026-07-28"
#define MCP_SESSIONS "2025-11-25" /* the newest revision that has them */
#define MCP_SESSIONS_OLD "2025-06-18"

#define MCP_META "io.modelcontextprotocol/" /* before the names of ours in _meta */
#define MCP_META_VERSION MCP_META "protocolVersion"
#define MCP_META_CLIENT MCP_META "clientInfo"
#define MCP_META_CAPABILITIES MCP_META "clientCapabilities"

/* With it fails the operation of a tool that has failed; its details are the tool's content. */
#define MCP_TOOL_ERROR "MCP_TOOL_ERROR"

/* What calls of imported tools fail with: the tool says so itself; its server wants another token. */
#define MCP_TOOL_ERROR "MCP_TOOL_ERROR"
#define MCP_UNAUTHORIZED "UNAUTHORIZED"

/* Codes of errors, JSON-RPC's and those of 2026-07-28. */
enum {
    MCP_PARSE_ERROR = -32700,
    MCP_INVALID_REQUEST = -32600,
    MCP_METHOD_NOT_FOUND = -32601,
    MCP_INVALID_PARAMS = -32602,
    MCP_INTERNAL = -32603,
    MCP_HEADER_MISMATCH = -32020,
    MCP_MISSING_CAPABILITY = -32021,
    MCP_UNSUPPORTED_VERSION = -32022,
    MCP_NO_SESSION = -32001,
};

#endif
