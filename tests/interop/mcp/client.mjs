// A client on an official SDK, which is found where this program has been copied to:  node client.mjs SDK URL [TOKEN]
// SDK is "client" (2.x, which agrees on the newest revision) or "sdk" (1.x, which opens a session). Writes one JSON object that says
// how it went.
const [which, url, token] = process.argv.slice(2);
const options = token ? { requestInit: { headers: { Authorization: `Bearer ${token}` } } } : {};

async function connect() {
    const info = { name: "interop", version: "1.0.0" };
    if (which === "client") {
        const { Client, StreamableHTTPClientTransport } = await import("@modelcontextprotocol/client");
        const client = new Client(info, { versionNegotiation: { mode: "auto" } });
        const transport = new StreamableHTTPClientTransport(new URL(url), options);
        await client.connect(transport);
        return { client, transport, call: (params, more) => client.callTool(params, more) };
    }
    const { Client } = await import("@modelcontextprotocol/sdk/client/index.js");
    const { StreamableHTTPClientTransport } = await import("@modelcontextprotocol/sdk/client/streamableHttp.js");
    const client = new Client(info);
    const transport = new StreamableHTTPClientTransport(new URL(url), options);
    await client.connect(transport);
    return { client, transport, call: (params, more) => client.callTool(params, undefined, more) };
}

const said = {};
const { client, transport, call } = await connect();
said.server = client.getServerVersion();
said.version = client.getNegotiatedProtocolVersion?.() ?? transport.protocolVersion;
said.session = transport.sessionId ?? null;

said.tools = [];
let cursor;
do {
    const page = await client.listTools(cursor ? { cursor } : {});
    said.tools.push(...page.tools.map((tool) => tool.name));
    cursor = page.nextCursor;
} while (cursor);

said.sum = await call({ name: "demo_add", arguments: { a: 1, b: 2 } });
said.blocks = await call({ name: "test_multiple_content_types", arguments: {} });
said.failure = await call({ name: "test_error_handling", arguments: {} });
said.invalid = await call({ name: "demo_add", arguments: { a: "x" } });
said.fixed = await call({ name: "call", arguments: { operation: "demo/echo", input: { text: "\u00e9\u{1f600}" } } });
said.headers = await call({ name: "test_custom_headers", arguments: { region: "z\u00fcrich" } });

said.progress = [];
said.last = await call({ name: "test_tool_with_progress", arguments: {}, _meta: { "io.alknet/values": 3 } },
    { onprogress: (progress) => said.progress.push(progress.progress) });

// What is given up ends here at once, and there as well.
const controller = new AbortController();
const begun = Date.now();
setTimeout(() => controller.abort(), 200);
said.aborted = await call({ name: "nest_outer", arguments: {} }, { signal: controller.signal }).then(() => "an answer", () => "given up");
said.abortedAfter = Date.now() - begun;

said.unknown = await call({ name: "nothing_there", arguments: {} }).then((result) => result, (error) => ({ code: error.code }));
if (transport.terminateSession && said.session)
    await transport.terminateSession();
await client.close();
process.stdout.write(JSON.stringify(said));
process.exit(0);
