"""A small scripted MCP server of either era, which writes down all that reaches it."""
import contextlib
import http.server
import json
import socket
import socketserver
import threading

from import_upstream import PATIENCE

STATELESS, SESSIONS = "2026-07-28", "2025-11-25"
META = "io.modelcontextprotocol/"
PIXEL = "iVBORw0KGgo="  # all that anybody looks at


def tool(do, description="of the tests", schema=None, **more):
    """Of `tools`: what is listed, and what is done; it returns the result, or what is structured of one."""
    return {"description": description, "inputSchema": schema or {"type": "object"}, **more}, do


def structured(value):
    return {"structuredContent": value, "content": [{"type": "text", "text": json.dumps(value)}]}


def image(_=None):
    return {"content": [{"type": "image", "data": PIXEL, "mimeType": "image/png"}, {"type": "text", "text": "a picture"}]}


def failure(_=None):
    return {"content": [{"type": "text", "text": "no such city"}, {"type": "image", "data": PIXEL, "mimeType": "image/png"}], "isError": True}


class Seen:
    """One request."""

    def __init__(self, handler, said):
        self.method = said.get("method") if isinstance(said, dict) else None
        self.params = said.get("params", {}) if isinstance(said, dict) else {}
        self.headers = {k.lower(): v for k, v in handler.headers.items()}


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, status, said=None, kind="application/json", headers=()):
        body = b"" if said is None else said if isinstance(said, bytes) else json.dumps(said).encode()
        self.send_response(status)
        for name, value in dict(headers).items():
            self.send_header(name, value)
        if body:
            self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def complete(self, result):
        return {"resultType": "complete", **result} if self.server.up.era == STATELESS else result

    def result(self, ident, result, headers=()):
        self.answer(200, {"jsonrpc": "2.0", "id": ident, "result": self.complete(result)}, headers=headers)

    def error(self, ident, code, message, status=200):
        self.answer(status, {"jsonrpc": "2.0", "id": ident, "error": {"code": code, "message": message}})

    def begin_events(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True

    def event(self, said):
        self.wfile.write(f"data: {json.dumps({'jsonrpc': '2.0', **said})}\n\n".encode())
        self.wfile.flush()

    def listen(self):
        """Tells of each change from here on."""
        up = self.server.up
        with up.told:
            seen = up.changes
            up.listening += 1
            up.told.notify_all()
        self.begin_events()
        while True:
            with up.told:
                up.told.wait_for(lambda: up.changes > seen or up.over, PATIENCE)
                if up.over:
                    return
                seen = up.changes
            self.event({"method": "notifications/tools/list_changed"})

    def call(self, ident, params):
        up = self.server.up
        found = up.tools.get(params.get("name"))
        if not found:
            return self.error(ident, -32602, "there is no such tool")
        token = params.get("_meta", {}).get("progressToken")
        if token is not None and found[0].get("progress"):
            self.begin_events()
            for n in (1, 2):
                params = {"progressToken": token, "progress": n, "total": 2, "message": f"step {n}"}
                self.event({"method": "notifications/progress", "params": params})
            return self.event({"id": ident, "result": self.complete(found[1]({}))})
        return self.result(ident, found[1](params.get("arguments", {})))

    def refused(self, seen):
        """Whether it has been answered already: with a status, or never."""
        up = self.server.up
        if up.token and seen.headers.get("authorization") != f"Bearer {up.token}":
            self.answer(401, {"error": "a token"}, headers={"WWW-Authenticate": "Bearer"})
            return True
        if seen.method in up.pages:
            status, body, kind = up.pages[seen.method]
            headers = body if status == 307 else {}
            self.answer(status, b"" if headers else body, kind, headers)
            return True
        if seen.method in up.mute:
            up.go_on.wait(PATIENCE)
        return False

    def in_session(self, seen):
        """As that era has it: only an id that was given is one."""
        up = self.server.up
        if up.era == STATELESS or seen.method in ("initialize", "server/discover"):
            return True
        return seen.headers.get("mcp-session-id") in up.sessions

    def do_GET(self):
        seen = Seen(self, {"method": "GET"})
        self.server.up.write_down(seen)
        if self.refused(seen):
            return None
        if self.server.up.era == STATELESS or not self.in_session(seen):
            return self.answer(405)
        return self.listen()

    def do_POST(self):
        up = self.server.up
        said = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        seen, ident = Seen(self, said), said.get("id")
        up.write_down(seen)
        if self.refused(seen):
            return None
        if not self.in_session(seen):
            return self.error(ident, -32001, "there is no such session", 404)
        if ident is None:
            return self.answer(202)
        if seen.method in up.errors:
            return self.error(ident, -32000, up.errors[seen.method])
        capabilities = {"tools": {"listChanged": up.tells}}
        if seen.method == "server/discover" and up.era == STATELESS:
            return self.result(ident, {"supportedVersions": [STATELESS], "capabilities": capabilities})
        if seen.method == "initialize" and up.era != STATELESS:
            return self.result(ident, {"protocolVersion": up.era, "capabilities": capabilities, "serverInfo": {"name": "up", "version": "1"}},
                               {"Mcp-Session-Id": up.new_session()})
        if seen.method == "subscriptions/listen" and up.era == STATELESS:
            return self.listen()
        if seen.method == "tools/list":
            tools = [{"name": n, **{k: v for k, v in t[0].items() if k != "progress"}} for n, t in up.tools.items()]
            return self.result(ident, {"tools": tools})
        if seen.method == "tools/call":
            return self.call(ident, seen.params)
        return self.error(ident, -32601, "there is no such method")


class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, *args):
        self.open = set()
        super().__init__(*args)

    def process_request(self, request, client_address):
        self.open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request):
        self.open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request, client_address):
        pass  # clients that are gone


class McpServer(contextlib.AbstractContextManager):
    """Public: url, seen, tools {name: tool(…)}, version (which say tells), token (that is wanted), pages {method: (status, body, type)}
    (of 307 with headers in place of the body), errors {method: message}, mute (methods, "GET" too, which are answered with go_on),
    sessions (the ids that are known)."""

    def __init__(self, era=STATELESS, port=0, tells=True, **tools):
        self.era, self.tells, self.version = era, tells, 1
        self.tools = {"say": tool(self.say, schema={"type": "object", "properties": {"text": {"type": "string"}}}), "slow": tool(self.slow), **tools}
        self.seen, self.pages, self.errors, self.mute, self.sessions = [], {}, {}, set(), set()
        self.token, self.changes, self.listening, self.over = None, 0, 0, False
        self.told, self.go_on = threading.Condition(), threading.Event()
        self.server = Server(("127.0.0.1", port), Handler)
        self.server.up = self
        self.port = self.server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}/mcp"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def say(self, arguments):
        return structured({"version": self.version, **arguments})

    def slow(self, _):
        self.go_on.wait(PATIENCE)
        return structured({"version": self.version})

    def new_session(self):
        self.sessions.add(f"session-{len(self.sessions)}-of-{self.port}")
        return f"session-{len(self.sessions) - 1}-of-{self.port}"

    def write_down(self, seen):
        with self.told:
            self.seen.append(seen)
            self.told.notify_all()

    def change(self, **tools):
        """More tools, or none of that name any more where it is None; and whoever listens is told."""
        with self.told:
            self.tools = {n: t for n, t in {**self.tools, **tools}.items() if t}
            self.changes += 1
            self.told.notify_all()

    def listened(self):
        with self.told:
            assert self.told.wait_for(lambda: self.listening, PATIENCE), "nobody listens"

    def of(self, method, name=None):
        return [s for s in list(self.seen) if s.method == method and (name is None or s.params.get("name") == name)]

    def wait(self, method, count=1, name=None):
        with self.told:
            assert self.told.wait_for(lambda: len(self.of(method, name)) >= count, PATIENCE), f"no {method}"
        return self.of(method, name)[count - 1]

    def __exit__(self, *_):
        with self.told:
            self.over = True
            self.told.notify_all()
        self.go_on.set()
        self.server.shutdown()
        self.server.server_close()
        for request in list(self.server.open):
            with contextlib.suppress(OSError):
                request.shutdown(socket.SHUT_RDWR)
