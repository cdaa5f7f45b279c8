#ifndef ALK_SERVE_TRY_MCP_H
#define ALK_SERVE_TRY_MCP_H

#include <alknet/mcp.h>

/* Whether a client could be opened with these options, as far as that does not depend on the server,
 * which is not asked. As alk_mcp_open. */
int try_mcp(const alk_mcp_options *o, char *why, size_t size);

#endif
