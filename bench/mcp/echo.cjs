/* The echo of the official MCP server for TypeScript:  node echo.cjs FOLDER adapter|bare
 *
 * FOLDER has its packages. With `adapter`, it is served as its documentation says, by its adapter for node:http; with `bare`, by the
 * least that does it, which reads the body, parses it, and writes the answer with its length. Prints its port. */
"use strict";

const http = require("node:http");
const { createRequire } = require("node:module");

const load = createRequire(process.argv[2] + "/");
const { McpServer, createMcpHandler } = load("@modelcontextprotocol/server");
const { toNodeHandler } = load("@modelcontextprotocol/node");
const { z } = load("zod");

const input = z.object({ text: z.string() });
const handler = createMcpHandler(() => {
    const server = new McpServer({ name: "echo", version: "1.0.0" });

    server.registerTool("echo", { description: "Returns its input.", inputSchema: input }, async (value) => ({
        content: [{ type: "text", text: JSON.stringify(value) }],
        structuredContent: value,
    }));
    return server;
});

async function answer(request, parts, response) {
    const url = `http://${request.headers.host}${request.url}`;
    const asked = new Request(url, { method: request.method, headers: request.headers });
    const reply = await handler.fetch(asked, { parsedBody: JSON.parse(Buffer.concat(parts)) });
    const text = Buffer.from(await reply.arrayBuffer());

    response.writeHead(reply.status, { ...Object.fromEntries(reply.headers), "content-length": text.length });
    response.end(text);
}

function bare(request, response) {
    const parts = [];

    request.on("data", (part) => parts.push(part));
    request.on("end", () => answer(request, parts, response));
}

const server = http.createServer(process.argv[3] === "bare" ? bare : toNodeHandler(handler));
server.keepAliveTimeout = 600_000;
server.listen(0, "127.0.0.1", () => console.log(server.address().port));
