"""A foreign service on loopback, for tests of what calls such services: `Upstream` echoes what it receives, behaves as its
documents (upstream.yaml, upstream30.yaml, upstream32.yaml) say, and misbehaves on demand below /bad/. `Sink` is a place
where nothing may arrive: it counts what does.

    with Upstream() as up:
        up.url                  # "http://127.0.0.1:PORT/v1"
        up.document()           # upstream.yaml with the port in it; also at GET /openapi.yaml, /openapi30.yaml, /openapi32.yaml
        up.requests             # what came, in order

    python3 tests/system/upstream.py [PORT]     serves until it is stopped
"""
import base64
import http.server
import itertools
import json
import os
import pathlib
import socket
import struct
import sys
import threading
import time
import urllib.parse
import zlib
from http.cookies import SimpleCookie
from typing import NamedTuple

HERE = pathlib.Path(__file__).resolve().parent
BEARER, USER, PASSWORD = "bearer-secret-1", "user", "pass word:2"
KEY_IN_HEADER, KEY_IN_QUERY, KEY_IN_COOKIE = "header/secret+3", "query&secret=4", "cookie-secret-5"
SECRETS = {"bearer": BEARER, "basic": f"{USER}:{PASSWORD}", "key_in_header": KEY_IN_HEADER, "key_in_query": KEY_IN_QUERY,
           "key_in_cookie": KEY_IN_COOKIE}
NUMBERS = '[0, -0, 1.10, 1e400, 18446744073709551616, -9223372036854775808, 0.1]'
LONG = 600  # seconds for which what never ends goes on, when neither side ends it


class Request(NamedTuple):
    """One request as it came. target: as it stood in the request line."""
    method: str
    target: str
    headers: list
    body: bytes

    @property
    def path(self):
        return self.target.partition("?")[0]

    @property
    def query(self):
        """The bytes behind the question mark; None without one."""
        return self.target.partition("?")[2] if "?" in self.target else None

    def all(self, name):
        return [value for key, value in self.headers if key.lower() == name.lower()]

    def header(self, name):
        values = self.all(name)
        assert len(values) <= 1, f"{name} came {len(values)} times"
        return values[0] if values else None


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "upstream"
    disable_nagle_algorithm = True  # heads and bodies are written one by one

    def __getattr__(self, name):
        if name.startswith("do_"):  # any method at all
            return self.serve
        raise AttributeError(name)

    def log_message(self, format, *args):  # pylint: disable=redefined-builtin
        pass

    # ---- what came

    def read_body(self):
        if self.headers.get("transfer-encoding", "").lower() == "chunked":
            body = b""
            while True:
                size = int(self.rfile.readline().split(b";")[0], 16)
                body += self.rfile.read(size)
                self.rfile.readline()
                if not size:
                    return body
        return self.rfile.read(int(self.headers.get("content-length", 0)))

    def serve(self):
        # Not self.path, from which the library takes a slash of two.
        target = self.raw_requestline.split(b" ")[1].decode("latin-1")
        self.request_now = Request(self.command, target, list(self.headers.items()), self.read_body())
        self.server.upstream.note(self.request_now)
        path = self.request_now.path
        for base in ("/v1", "/v2"):
            if path.startswith(base + "/"):
                path = path[len(base):]
        parts = path.split("/")
        if parts[1] in ("bad", "bad-text", "bad-events") and len(parts) == 3:
            self.misbehave(parts[2], urllib.parse.parse_qs(self.request_now.query or ""))
            return
        route = {"security": self.security, "errors": self.errors, "answers": self.answers, "events": self.events,
                 "schemas": self.same}.get(parts[1], self.echo)
        if parts[1] in self.server.upstream.documents:
            self.answer(200, "application/yaml", self.server.upstream.document(parts[1]).encode())
        else:
            route("/".join(parts[2:]))

    # ---- answers

    def answer(self, status, content_type, body, **headers):
        self.send_response(status)
        if content_type:
            self.send_header("Content-Type", content_type)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        if status not in (204, 304):
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD" and status != 204:
            self.wfile.write(body)

    def say(self, status, value, content_type="application/json", **headers):
        self.answer(status, content_type, json.dumps(value).encode(), **headers)

    def echo_of(self):
        r = self.request_now
        return {"method": r.method, "target": r.target, "headers": r.headers, "body": base64.b64encode(r.body).decode()}

    def echo(self, _=None):
        if self.command == "DELETE":
            self.answer(204, None, b"")
        else:
            self.say(200, self.echo_of())

    def same(self, _):
        self.answer(200, "application/json", self.request_now.body)

    def errors(self, status):
        status = int(status)
        problem = {"title": f"It\0is {status}.", "status": status}
        if status == 422:
            self.say(422, {"fields": ["a", "b"]})
        elif status == 429:
            self.say(429, problem, Retry_After="1")
        elif status == 409:
            self.say(409, problem, "application/problem+json")
        elif status >= 500:
            self.answer(status, "text/plain", b"broken")
        elif status == 304:
            self.answer(304, None, b"")
        elif status == 200:
            self.echo()
        else:
            self.say(status, problem)

    def answers(self, what):
        if what == "text":
            self.answer(200, "text/plain; charset=utf-8", "Text: \u00e9\u20ac\n".encode())
        elif what == "latin1":
            self.answer(200, "text/plain; charset=iso-8859-1", b"Text: \xe9\n")
        elif what == "binary":
            self.answer(200, "application/octet-stream", bytes(range(256)))
        elif what == "created":
            self.say(201, self.echo_of())
        elif what == "nothing":
            self.answer(204, None, b"")
        elif what == "several" and "status=202" in (self.request_now.query or ""):
            self.say(202, {"ticket": 7})
        elif what == "range":
            self.say(203, self.echo_of())
        elif what == "gzip":
            packed = zlib.compressobj(wbits=31)
            self.answer(200, "application/json", packed.compress(json.dumps(self.echo_of()).encode()) + packed.flush(),
                        Content_Encoding="gzip")
        elif what == "numbers":
            self.answer(200, "application/json; charset=utf-8", NUMBERS.encode())
        else:
            self.echo()

    def proofs(self):
        """The names of the credentials that came right."""
        r = self.request_now
        basic = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        query = urllib.parse.parse_qs(r.query or "", keep_blank_values=True)
        cookies = SimpleCookie("; ".join(r.all("cookie")))
        right = {"bearer": r.all("authorization") == ["Bearer " + BEARER], "basic": r.all("authorization") == [basic],
                 "header": r.all("x-key") == [KEY_IN_HEADER], "query": query.get("key") == [KEY_IN_QUERY],
                 "cookie": "sid" in cookies and cookies["sid"].value == KEY_IN_COOKIE}
        return {name for name, is_right in right.items() if is_right}

    def security(self, what):
        wanted = {"both": {"header", "query"}, "oauth": {"bearer"}, "optional": set(), "either": set(),
                  "overridden": {"header", "query", "cookie"}}.get(what, {what})
        proofs = self.proofs()
        if wanted <= proofs and (what != "either" or proofs & {"header", "bearer"}):
            self.say(200, self.echo_of())
        else:
            self.say(401, {"title": "Not you."}, WWW_Authenticate="Bearer")

    def begin_events(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Cache-Control", "no-store")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()

    def chunk(self, data):
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.flush()

    def events(self, what):
        query = urllib.parse.parse_qs(self.request_now.query or "")
        self.begin_events()
        if what == "mixed":
            self.chunk(b": hello\r\n\r\nid: 1\r\nretry: 10\r\ndata: plain text\r\n\r\ndata: two\rdata: lines\r\r"
                       b"event: named\ndata: {\"n\":1}\n\nevent: error\ndata: {\"title\":\"an error\"}\n\ndata\n\n")
        else:
            for n in range(int(query.get("count", ["3"])[0])):
                self.chunk(b"data: %s\n\n" % json.dumps({"n": n}).encode())
                self.server.upstream.stopping.wait(int(query.get("gap_ms", ["0"])[0]) / 1000)
        self.chunk(b"")

    # ---- what it does wrong

    def raw(self, data):
        self.close_connection = True
        self.wfile.write(data)
        self.wfile.flush()

    def goes_on(self):
        """Counts until the other side or the test has had enough."""
        end = time.monotonic() + LONG
        for n in itertools.count():
            if self.server.upstream.stopping.is_set() or time.monotonic() > end:
                return
            yield n

    def hold(self):
        """Says nothing until the other side closes."""
        self.close_connection = True
        self.connection.settimeout(0.1)
        for _ in self.goes_on():
            try:
                if not self.connection.recv(4096):
                    return
            except TimeoutError:
                pass

    def misbehave(self, what, query):
        bad = getattr(self, "bad_" + what.replace("-", "_"), None)
        if not bad:
            self.say(404, {"title": "No such misbehaviour."})
            return
        up, peer = self.server.upstream, self.client_address[1]
        with up.lock:
            up.held.add(peer)
        try:
            bad({name: values[0] for name, values in query.items()})
        except OSError:  # the other side has had enough
            self.close_connection = True
        finally:
            with up.lock:
                up.held.discard(peer)

    def bad_endless(self, _):
        self.raw(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n")
        for n in self.goes_on():
            self.chunk(b"[" * 65536 if n == 0 else b" " * 65536)

    def bad_endless_until_close(self, _):
        self.raw(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n")
        for _ in self.goes_on():
            self.raw(b"x" * 65536)

    def bad_large(self, query):
        """n bytes of text, honestly announced."""
        self.answer(200, "text/plain", b"x" * int(query.get("n", "1000000")))

    def bad_gzip_bomb(self, query):
        """n MiB of blanks (256), of which each takes about 1 KiB."""
        mib, blanks = int(query.get("n", "256")), b" " * (1 << 20)
        packed, crc, body = zlib.compressobj(9, wbits=-15), 0, bytearray(b"\x1f\x8b\x08\0\0\0\0\0\0\xff")
        block = packed.compress(blanks) + packed.flush(zlib.Z_FULL_FLUSH)  # depends on nothing before it
        for _ in range(mib):
            body += block
            crc = zlib.crc32(blanks, crc)
        body += packed.flush() + struct.pack("<II", crc, (mib << 20) & 0xffffffff)
        self.answer(200, "application/json", bytes(body), Content_Encoding="gzip")

    def bad_bad_gzip(self, _):
        self.answer(200, "application/json", b"\x1f\x8b\x08\0 this is not gzip", Content_Encoding="gzip")

    def bad_headers(self, _):
        self.raw(b"HTTP/1.1 200 OK\r\n")
        for n in self.goes_on():
            self.raw(b"".join(b"X-%d-%d: %s\r\n" % (n, i, b"x" * 100) for i in range(100)))

    def bad_header(self, _):
        self.raw(b"HTTP/1.1 200 OK\r\nX-Long: ")
        for _ in self.goes_on():
            self.raw(b"x" * 65536)

    def bad_json(self, _):
        self.answer(200, "application/json", b'{"a": 1, "b": [2, 3')

    def bad_json_deep(self, query):
        n = int(query.get("n", "100000"))
        self.answer(200, "application/json", b"[" * n + b"]" * n)

    def bad_json_twice(self, _):
        self.answer(200, "application/json", b'{"a":1,"a":2}')

    def bad_json_utf8(self, _):
        self.answer(200, "application/json", b'"\xff\xfe"')

    def bad_json_empty(self, _):
        self.answer(200, "application/json", b"")

    def bad_type(self, _):
        self.answer(200, "text/html", b"<p>not what was promised</p>")

    def bad_type_missing(self, _):
        self.answer(200, None, b'{"a":1}')

    def bad_type_wrong_events(self, _):
        self.answer(200, "application/json", b'{"not":"events"}')

    def bad_early_hints(self, query):
        """n interim answers before the real one; without n no end of them."""
        storm = b"HTTP/1.1 103 Early Hints\r\nLink: </x>; rel=preload\r\n\r\n"
        if "n" in query:
            self.wfile.write(storm * int(query["n"]))
            self.echo()
            return
        for _ in self.goes_on():
            self.raw(storm * 100)

    def bad_upgrade(self, _):
        self.raw(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\nwhatever")

    def bad_stream_stops(self, _):
        self.begin_events()
        self.chunk(b'data: {"n":0}\n\n')
        self.hold()

    def bad_stream_cut(self, _):
        """Ends within an event, and within the chunked body."""
        self.begin_events()
        self.chunk(b'data: {"n":0}\n\ndata: {"n":')
        self.close_connection = True

    def bad_stream_half(self, _):
        """Ends within an event, in good order."""
        self.begin_events()
        self.chunk(b'data: {"n":0}\n\ndata: {"n":1}\n')
        self.chunk(b"")

    def bad_stream_line(self, _):
        self.begin_events()
        self.chunk(b"data: ")
        for _ in self.goes_on():
            self.chunk(b"x" * 65536)

    def bad_stream_event(self, _):
        self.begin_events()
        for _ in self.goes_on():
            self.chunk(b"data: xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\n" * 1000)

    def bad_stream_comments(self, query):
        """n comments and one event; without n comments for ever."""
        self.begin_events()
        for n in self.goes_on():
            if "n" in query and n >= int(query["n"]):
                break
            self.chunk(b": still there\n\n")
        self.chunk(b'data: {"n":0}\n\n')
        self.chunk(b"")

    def bad_stream_flood(self, _):
        self.begin_events()
        for n in self.goes_on():
            self.chunk(b"".join(b'data: {"n":%d}\n\n' % (n * 1000 + i) for i in range(1000)))
            self.server.upstream.flooded = (n + 1) * 1000

    def bad_no_content(self, _):
        """204 with a body, which is the begin of the next answer to who does not know better."""
        self.wfile.write(b"HTTP/1.1 204 No Content\r\nContent-Type: application/json\r\nContent-Length: 7\r\n\r\n{\"a\":1}")

    def bad_cut(self, _):
        self.raw(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{\"a\":1}")

    def bad_raw(self, query):
        """What is in `to`, in base64, and the end."""
        self.raw(base64.b64decode(query["to"]))

    def bad_error_large(self, query):
        """404 with n bytes of text, each of which takes six as JSON."""
        self.answer(404, "text/plain", bytes(int(query.get("n", "1000000"))))

    def bad_error_endless(self, query):
        """An error, n (500), that goes on and on about it."""
        self.raw(b"HTTP/1.1 %d Wrong\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n" % int(query.get("n", "500")))
        for _ in self.goes_on():
            self.raw(b"x" * 65536)

    def bad_error_cut(self, query):
        self.raw(b"HTTP/1.1 %d Wrong\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{" % int(query.get("n", "500")))

    def bad_cut_chunk(self, _):
        self.raw(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n100\r\n{\"a\":")

    def bad_cut_head(self, _):
        self.raw(b"HTTP/1.1 200 OK\r\nContent-Ty")

    def bad_reset(self, _):
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        os.close(self.connection.detach())  # before the library says goodbye

    def bad_close(self, _):
        self.close_connection = True

    def bad_garbage(self, _):
        self.raw(b"\x16\x03\x01 this is no HTTP\r\n\r\n")

    def bad_two_lengths(self, _):
        self.raw(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\nContent-Length: 7\r\n\r\n{\"a\":1}")

    def bad_silent(self, _):
        self.hold()

    def bad_slow_head(self, _):
        """A byte of the head now and then, for ever."""
        self.close_connection = True
        for c in itertools.chain(b"HTTP/1.1 200 OK\r\nX-Slow: ", itertools.repeat(0x78)):
            self.raw(bytes([c]))
            if self.server.upstream.stopping.wait(0.05):
                return

    def bad_slow_body(self, _):
        self.raw(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 1000000\r\n\r\n")
        for _ in self.goes_on():
            self.raw(b"x")
            self.server.upstream.stopping.wait(0.05)

    def redirect(self, status, to):
        self.answer(status, "text/plain", b"elsewhere", Location=to)

    def bad_redirect(self, query):
        """To a URL, or to something relative; n is the status."""
        self.redirect(int(query.get("n", "302")), query.get("to", "/v1/json"))

    def bad_redirect_loop(self, _):
        self.redirect(302, self.request_now.target)

    def bad_redirect_chain(self, query):
        """n redirects within the origin, and then an answer."""
        n = int(query.get("n", "3"))
        if n:
            self.redirect(307, f"{self.request_now.path}?n={n - 1}")
        else:
            self.echo()

    def bad_flaky(self, query):
        """503 for the first n requests (2), and then an answer."""
        if self.server.upstream.count(self.request_now.path) <= int(query.get("n", "2")):
            self.answer(503, "text/plain", b"try again")
        else:
            self.echo()

    def bad_busy(self, query):
        """503, and to be left alone for n seconds."""
        self.answer(503, "text/plain", b"busy", Retry_After=query.get("n", "1"))


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, upstream, address):
        self.upstream = upstream
        super().__init__(address, Handler)

    def process_request(self, request, client_address):
        self.upstream.opened(request)
        super().process_request(request, client_address)

    def handle_error(self, request, client_address):
        """Connections end as they like here."""


class Upstream:
    """The service. Public: port host url requests connections flooded documents."""

    documents = {"openapi.yaml": "upstream.yaml", "openapi30.yaml": "upstream30.yaml", "openapi32.yaml": "upstream32.yaml"}

    def __init__(self, host="127.0.0.1", port=0, tls=None):
        """tls: an ssl.SSLContext of a server."""
        self.lock = threading.Lock()
        self.stopping = threading.Event()
        self.requests, self.connections, self.flooded, self.held = [], 0, 0, set()
        self.sockets = []
        self.server = Server(self, (host, port))
        if tls:
            self.server.socket = tls.wrap_socket(self.server.socket, server_side=True, do_handshake_on_connect=False)
        self.host, self.port = self.server.server_address[:2]
        self.origin = f"http{'s' if tls else ''}://{host}:{self.port}"
        self.url = self.origin + "/v1"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        self.stopping.set()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()
        with self.lock:
            sockets, self.sockets = self.sockets, []
        for s in sockets:
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def opened(self, s):
        with self.lock:
            self.connections += 1
            self.sockets = [old for old in self.sockets if old.fileno() >= 0] + [s]

    def note(self, request):
        with self.lock:
            self.requests.append(request)

    def count(self, path=None):
        """How many requests came, or came with that path."""
        with self.lock:
            return sum(path is None or r.path == path for r in self.requests)

    def open_peers(self):
        """The ports of those to whom something below /bad/ is being done."""
        with self.lock:
            return list(self.held)

    def forget(self):
        with self.lock:
            self.requests, self.connections = [], 0

    @property
    def last(self):
        with self.lock:
            return self.requests[-1]

    def document(self, name="openapi.yaml"):
        """The text of a document, in which the port is this one's."""
        text = (HERE / self.documents[name]).read_text(encoding="utf-8")
        assert text.count('port: {default: "1"}') == 1
        return text.replace('port: {default: "1"}', f'port: {{default: "{self.port}"}}')


class Sink:
    """A listener to which nobody has reason to connect: it takes everything, counts it and answers nothing.

    Public: host port url connections bytes. `quiet()` asserts that nothing came.
    """

    def __init__(self, host="127.0.0.1", answer=b""):
        """answer: said to each connection once something has come."""
        self.answer = answer
        self.lock = threading.Lock()
        self.peers, self.bytes, self.received = [], 0, []  # peers: the port of each who connected
        self.sockets, self.closing = [], False
        self.listener = socket.create_server((host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
        self.host, self.port = self.listener.getsockname()[:2]
        self.url = f"http://{f'[{host}]' if ':' in host else host}:{self.port}"
        self.thread = threading.Thread(target=self.accept, daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        with self.lock:
            self.closing = True
            sockets = [self.listener, *self.sockets]
        for s in sockets:
            try:
                s.shutdown(socket.SHUT_RDWR)  # wakes who waits in it
            except OSError:
                pass
            s.close()
        self.thread.join()

    def accept(self):
        while True:
            try:
                s, peer = self.listener.accept()
            except OSError:
                return
            with self.lock:
                if self.closing:
                    s.close()
                    return
                self.peers.append(peer[1])
                self.sockets.append(s)
            threading.Thread(target=self.take, args=(s,), daemon=True).start()

    def take(self, s):
        try:
            while data := s.recv(65536):
                with self.lock:
                    self.bytes += len(data)
                    if len(self.received) < 100:
                        self.received.append(data)
                if self.answer:
                    s.sendall(self.answer)
        except OSError:
            pass

    @property
    def connections(self):
        with self.lock:
            return len(self.peers)

    def quiet(self):
        """Nothing has come, also nothing that is still in the queue: connections are accepted in order, so all that were
        made before one of our own are there when that is."""
        with socket.create_connection((self.host, self.port), timeout=20) as own:
            port, end = own.getsockname()[1], time.monotonic() + 20
            while port not in self.peers:
                assert time.monotonic() < end, "the sink does not accept"
                time.sleep(0.001)
        with self.lock:
            self.peers.remove(port)
            assert not self.peers and not self.bytes, f"{len(self.peers)} came and said {self.received}"


if __name__ == "__main__":
    with Upstream(port=int(sys.argv[1]) if len(sys.argv) > 1 else 0) as serving:
        print(serving.url, f"{serving.origin}/openapi.yaml", flush=True)
        threading.Event().wait()
