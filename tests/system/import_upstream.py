"""A service that an OpenAPI document describes, which writes down all that reaches it; and a proxy before it."""
import contextlib
import http.server
import json
import socketserver
import ssl
import threading
import urllib.parse
import urllib.request

PATIENCE = 20


def document(url=None, extra=(), security=None, schemes=None, **paths):
    """say, slow, events and item, and what else is given as name=(method, path)."""
    operations = {"say": ("get", "/say"), "slow": ("get", "/slow"), "events": ("get", "/events"), "item": ("put", "/items/{id}"), **paths}
    doc = {"openapi": "3.1.0", "info": {"title": "of the tests", "version": "1"}, "paths": {}, "components": {"securitySchemes": schemes or {}}}
    for name, (method, path) in operations.items():
        media = "text/event-stream" if path == "/events" else "application/json"
        operation = {"operationId": name, "tags": [name], "summary": f"what {name} does",
                     "responses": {"200": {"description": "ok", "content": {media: {}}}}}
        if path == "/say":
            operation["parameters"] = [{"name": "text", "in": "query", "schema": {"type": "string"}}]
        if path.endswith("{id}"):
            operation["parameters"] = [{"name": "id", "in": "path", "required": True, "schema": {"type": "string"}}]
            operation["requestBody"] = {"content": {"application/json": {"schema": {"type": "object"}}}}
        doc["paths"].setdefault(path, {})[method] = operation
    if url:
        doc["servers"] = [{"url": url}]
    if security is not None:
        doc["security"] = security
    for path, item in dict(extra).items():
        doc["paths"][path] = item
    return doc


class Seen:
    """One request."""

    def __init__(self, handler, body):
        self.method, self.target, self.body = handler.command, handler.path, body
        self.headers = {k.lower(): v for k, v in handler.headers.items()}
        self.path = urllib.parse.urlsplit(handler.path).path


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, status, body, kind="application/json"):
        body = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def events(self):
        """A value at once, and one more each time that something is told."""
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        up, sent = self.server.up, 0
        while True:
            with up.told:
                if not up.told.wait_for(lambda: up.values > sent or up.over, PATIENCE) or up.over:
                    return
            sent += 1
            self.wfile.write(f"data: {{\"n\":{sent}}}\n\n".encode())
            self.wfile.flush()

    def serve(self):
        up = self.server.up
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        seen = Seen(self, body)
        page = up.pages.get(seen.path)
        with up.told:
            up.seen.append(seen)
            up.told.notify_all()
        if page:
            return self.answer(*page)
        if seen.path == "/events":
            return self.events()
        if seen.path == "/slow":
            up.go_on.wait(PATIENCE)
        return self.answer(200, {"version": up.version, "path": seen.path, "body": body.decode()})

    do_GET = do_PUT = do_POST = serve


class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, request, client_address):
        pass  # clients that are gone


class Upstream(contextlib.AbstractContextManager):
    """Public: url, seen (what has come), pages {path: (status, body, type)}, version, go_on (an Event: slow answers then)."""

    def __init__(self, tls=None, port=0):
        self.seen, self.pages, self.version = [], {}, 1
        self.values, self.over = 1, False
        self.told, self.go_on = threading.Condition(), threading.Event()
        self.server = Server(("127.0.0.1", port), Handler)
        self.server.up = self
        self.port = self.server.server_address[1]
        self.url = f"http{'s' if tls else ''}://127.0.0.1:{self.port}"
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(tls.certificate, tls.key)
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def page(self, path, what, status=200, kind="application/json"):
        self.pages[path] = (status, what if isinstance(what, bytes) else json.dumps(what).encode(), kind)
        return self.url + path

    def tell(self):
        """One more value to each who listens to /events."""
        with self.told:
            self.values += 1
            self.told.notify_all()

    def at(self, path):
        return [s for s in list(self.seen) if s.path == path]

    def wait(self, path, count=1):
        with self.told:
            assert self.told.wait_for(lambda: len(self.at(path)) >= count, PATIENCE), f"nothing came to {path}"
        return self.at(path)[count - 1]

    def __exit__(self, *_):
        with self.told:
            self.over = True
            self.told.notify_all()
        self.go_on.set()
        self.server.shutdown()
        self.server.server_close()


class ProxyHandler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        self.server.seen.append((self.path, dict(self.headers)))
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(self.path, timeout=PATIENCE) as answer:
            body = answer.read()
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.headers["Content-Type"])
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class Proxy(contextlib.AbstractContextManager):
    """seen: [(target, headers)]."""

    def __init__(self):
        self.server = Server(("127.0.0.1", 0), ProxyHandler)
        self.server.seen = self.seen = []
        self.address = f"127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()
