"""A raw HTTP/1.1 client, and alknetd with a configuration of the test's own.

The client sends bytes as given and reads strictly: what the framing of an answer leaves open is an error here, so that a
server that only a lenient client understands fails. Every wait has an end.
"""
import contextlib
import json
import os
import pathlib
import resource
import socket
import subprocess
import tempfile
import threading
import time

from conftest import PATIENCE, ROOT, Daemon, key_for, wait_for

ADMIN = "alk_adm1" + "0123456789abcdef" * 2
PLAIN = "alk_pln2" + "123456789abcdef0" * 2
EXPIRED = "alk_exp3" + "23456789abcdef01" * 2
PEER = "alk_per4" + "3456789abcdef012" * 2
DISABLED = "alk_off5" + "456789abcdef0123" * 2
UNKNOWN = "alk_unk6" + "56789abcdef01234" * 2
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Closed(Exception):
    """The server closed the connection before the end of what was read."""


class Reply:
    def __init__(self, status, reason, headers, head):
        self.status, self.reason, self.headers, self.head = status, reason, headers, head
        self.body = b""

    def all(self, name):
        return [value for key, value in self.headers if key == name.lower()]

    def header(self, name):
        """The value of a field that occurs once at most; None without it."""
        values = self.all(name)
        assert len(values) <= 1, f"{name} occurs {len(values)} times"
        return values[0] if values else None

    def json(self):
        assert self.header("content-type") == "application/json", self.head
        return json.loads(self.body)

    @property
    def output(self):
        assert self.status == 200, f"{self.status}: {self.body[:500]}"
        said = self.json()
        assert said["result"] == "ok"
        return said["output"]

    def error(self):
        """The error object; checks its form."""
        said = self.json()
        assert set(said) - {"details"} == {"code", "message", "retryable"}, said
        assert isinstance(said["code"], str) and isinstance(said["message"], str) and said["message"]
        assert isinstance(said["retryable"], bool)
        return said

    def __repr__(self):
        return f"<{self.status} {self.headers} {self.body[:300]}>"


def message(method, target, body=None, headers=(), token=None, host="127.0.0.1", version="1.1"):
    """The bytes of a request. Fields of `headers` replace the ones made here; a value of None leaves the field out."""
    fields = {"host": ("Host", host)}
    if token is not None:
        fields["authorization"] = ("Authorization", "Bearer " + token if isinstance(token, str) else b"Bearer " + token)
    if body is not None:
        if not isinstance(body, bytes):
            body = json.dumps(body).encode()
        fields["content-type"] = ("Content-Type", "application/json")
        fields["content-length"] = ("Content-Length", str(len(body)))
    extra = list(headers.items()) if isinstance(headers, dict) else list(headers)
    for name, _ in extra:
        fields.pop(name.lower(), None)
    out = f"{method} {target} HTTP/{version}\r\n".encode("latin-1")
    for name, value in [*fields.values(), *extra]:
        if value is not None:
            out += name.encode("latin-1") + b": " + (value if isinstance(value, bytes)
                                                     else value.encode("latin-1")) + b"\r\n"
    return out + b"\r\n" + (body or b"")


class Wire:
    """One connection. `receive_buffer` makes a small window, for a reader that can be slow."""

    def __init__(self, port, timeout=15, receive_buffer=0, source=None):
        self.host = f"127.0.0.1:{port}"
        self.sock = socket.socket()
        if receive_buffer:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.sock.settimeout(timeout)
        if source:
            self.sock.bind((source, 0))
        self.sock.connect(("127.0.0.1", port))
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.seen = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.sock.close()

    def reset(self):
        """Goes away without a farewell."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.sock.close()

    def hurry(self):
        """A reader with a small window reads fast from now on."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)

    # ---- bytes ----

    def send(self, data):
        self.sock.sendall(data)

    def more(self):
        try:
            data = self.sock.recv(1 << 16)
        except ConnectionResetError:
            data = b""
        if not data:
            raise Closed(f"after {self.seen[-200:]!r}")
        self.seen += data

    def exactly(self, n):
        parts, have = [], 0
        while have + len(self.seen) < n:
            parts.append(self.seen)
            have += len(self.seen)
            self.seen = b""
            self.more()
        parts.append(self.seen[:n - have])
        self.seen = self.seen[n - have:]
        return b"".join(parts)

    def line(self):
        while b"\n" not in self.seen:
            self.more()
        line, _, self.seen = self.seen.partition(b"\n")
        assert line.endswith(b"\r"), f"a line ends with a bare LF: {line!r}"
        return line[:-1]

    def ended(self, timeout=10):
        """True when the server closes without another byte."""
        self.sock.settimeout(timeout)
        try:
            return not self.seen and self.sock.recv(1) == b""
        except ConnectionResetError:
            return True
        except socket.timeout:
            return False

    # ---- messages ----

    def head(self):
        start = self.line()
        version, status, reason = start.decode("latin-1").split(" ", 2)
        assert version == "HTTP/1.1", start
        lines, headers = [start], []
        while True:
            line = self.line()
            if not line:
                break
            lines.append(line)
            name, colon, value = line.decode("latin-1").partition(":")
            assert colon and name and name == name.strip(), line
            headers.append((name.lower(), value.strip(" \t")))
        return Reply(int(status), reason, headers, b"\r\n".join(lines))

    def chunk(self):
        """The data of the next chunk; b"" at the end of the body."""
        size = self.line()
        data = self.exactly(int(size, 16))
        assert self.line() == b""
        return data

    def reply(self, method="GET"):
        reply = self.head()
        coding, length = reply.header("transfer-encoding"), reply.header("content-length")
        assert not (coding and length), reply.head
        if reply.status < 200 or reply.status in (204, 304):
            assert not coding and not length, reply.head
        elif method == "HEAD":
            pass
        elif coding:
            assert coding == "chunked"
            while True:
                data = self.chunk()
                if not data:
                    break
                reply.body += data
        elif length is not None:
            assert length.isdigit()
            reply.body = self.exactly(int(length))
        else:
            assert reply.header("connection") == "close", f"no end in sight: {reply.head}"
            with contextlib.suppress(Closed):
                while True:
                    self.more()
            reply.body, self.seen = self.seen, b""
        return reply

    def ask(self, method, target, body=None, headers=(), token=None, **kwargs):
        kwargs.setdefault("host", self.host)
        self.send(message(method, target, body, headers, token, **kwargs))
        return self.reply(method)

    def call(self, operation, value=None, token=None, headers=()):
        return self.ask("POST", "/call", {"operation": operation, "input": value}, headers, token)

    def begin(self, data):
        """Sends a request whose answer is not awaited, and returns when the server has begun with it: it goes out
        behind another one in one write, and answers leave when all of what came together has been looked at."""
        self.send(message("GET", "/healthz", host=self.host) + data)
        assert self.reply().status == 200

    def subscribe(self, operation, value=None, token=None, headers=()):
        self.send(message("POST", "/subscribe", {"operation": operation, "input": value}, headers, token,
                          host=self.host))
        return Stream(self)


class Stream:
    """A text/event-stream answer, read event by event."""

    def __init__(self, wire):
        self.wire = wire
        self.reply = wire.head()
        assert self.reply.status == 200, wire.exactly(int(self.reply.header("content-length") or 0))
        assert self.reply.header("content-type").split(";")[0] == "text/event-stream"
        assert self.reply.header("transfer-encoding") == "chunked" and not self.reply.header("content-length")
        self.text = b""
        self.comments = 0
        self.ended = False

    def block(self):
        """The lines up to the next empty one; None at the proper end of the body."""
        while b"\n\n" not in self.text:
            data = self.wire.chunk()
            if not data:
                assert not self.text, f"the body ends inside of an event: {self.text!r}"
                self.ended = True
                return None
            self.text += data
        block, _, self.text = self.text.partition(b"\n\n")
        return block.decode().split("\n")

    def event(self):
        """(type, data) of the next event, None at the end. Comments are counted on the way."""
        while True:
            block = self.block()
            if block is None:
                return None
            kind, data = "message", []
            for line in block:
                if line.startswith(":"):
                    self.comments += 1
                    continue
                name, _, value = line.partition(":")
                value = value[1:] if value.startswith(" ") else value
                assert name in ("event", "data"), f"unexpected field: {line!r}"
                if name == "event":
                    kind = value
                else:
                    data.append(value)
            if data:
                return kind, json.loads("\n".join(data))

    def rest(self):
        events = []
        while (event := self.event()) is not None:
            events.append(event)
        return events


# ---- alknetd ----------------------------------------------------------------------------------------------------------

IDENTITIES = {
    "keys": [key_for(ADMIN, "demo:secret", "peers:list"), key_for(PLAIN),
             key_for(EXPIRED, expires_at="2020-01-01T00:00:00Z")],
    "peers": [{"peer_id": "peer-a", "auth_token_hashes": [key_for(PEER)["hash"]], "scopes": ["demo:*"]},
              {"peer_id": "peer-off", "auth_token_hashes": [key_for(DISABLED)["hash"]], "enabled": False}],
}


class Node(Daemon):
    """A started alknetd on whose connections tests speak by hand. A context manager that also judges how it ends."""

    def __init__(self, folder, environment=None, most_descriptors=None, **config):
        identities = {**IDENTITIES, "limits": {"drain_ms": 300, **config.pop("limits", {})}}
        super().__init__(pathlib.Path(tempfile.mkdtemp(prefix="node.", dir=folder)), {**identities, **config})
        self.tokens = [ADMIN, PLAIN, EXPIRED, PEER, DISABLED, UNKNOWN]
        if most_descriptors:
            most = (most_descriptors, most_descriptors)
            self.start(environment, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, most))
        else:
            self.start(environment)

    # ---- the log ----

    def find(self, **wanted):
        """The events with these members."""
        return [event for event in self.log_lines() if all(event.get(key) == value for key, value in wanted.items())]

    def await_log(self, count=1, seconds=PATIENCE, **wanted):
        """The last of `count` such events."""
        return wait_for(lambda: len(found := self.find(**wanted)) >= count and found, seconds)[-1]

    # ---- speaking with it ----

    def wire(self, **kwargs):
        return Wire(self.port, **kwargs)

    def ask(self, *args, **kwargs):
        """One request on a connection of its own."""
        with self.wire() as wire:
            return wire.ask(*args, **kwargs)

    def serves(self):
        """Whether a new connection is served."""
        with contextlib.suppress(Closed, ConnectionError):
            return self.ask("GET", "/healthz").status == 200
        return False

    # ---- the process ----

    def memory(self, name="VmRSS"):
        """Bytes, from /proc/PID/status."""
        status = pathlib.Path(f"/proc/{self.proc.pid}/status").read_text()
        return int(next(line.split()[1] for line in status.split("\n") if line.startswith(name + ":"))) * 1024

    def forget_peak(self):
        """VmHWM counts from now on."""
        pathlib.Path(f"/proc/{self.proc.pid}/clear_refs").write_text("5")

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.proc.pid}/fd"))

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if kind is None:
            self.stop()
        elif self.proc:
            self.proc.kill()
            self.proc.wait()


class Neighbour:
    """Makes correct calls on a connection of its own, one after the other, for as long as a test does something bad.
    Each must succeed; how long the slowest took is kept."""

    def __init__(self, node):
        self.node, self.made, self.slowest, self.trouble = node, 0, 0.0, None
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)

    def once(self, wire):
        start = time.monotonic()
        reply = wire.call("demo/add", {"a": self.made, "b": 1}, token=PLAIN)
        assert reply.output == {"sum": self.made + 1}, reply
        self.slowest = max(self.slowest, time.monotonic() - start)
        self.made += 1

    def run(self):
        try:
            with self.node.wire(timeout=30) as wire:
                while not self.stopping.is_set():
                    self.once(wire)
                    self.stopping.wait(0.005)
                self.once(wire)
        except Exception as trouble:  # pylint: disable=broad-except
            self.trouble = trouble

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stopping.set()
        self.thread.join(60)
        assert not self.thread.is_alive(), "the neighbour's call was never answered"
        if self.trouble:
            raise AssertionError(f"the neighbour's call {self.made} failed") from self.trouble


def build_plugin(folder):
    """The shared object of test_http_plugin.c: operations that alknetd's own demo does not have."""
    target = pathlib.Path(folder) / "test_http_plugin.so"
    if not target.exists():
        subprocess.run([os.environ.get("CC", "cc"), "-std=c11", "-D_GNU_SOURCE", "-O1", "-g", "-shared", "-fPIC",
                        f"-I{ROOT / 'include'}", "-o", target, ROOT / "tests/system/test_http_plugin.c"], check=True)
    return {"path": str(target)}


def descriptors_wanted(n):
    """How many connections of n this process can hold, after asking for all it may have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return min(n, hard - 256) if hard != resource.RLIM_INFINITY else n


def together(functions):
    """Runs them at once; returns their results in order, raises the first failure."""
    results, troubles = [None] * len(functions), []

    def run(i, function):
        try:
            results[i] = function()
        except BaseException as trouble:  # pylint: disable=broad-except
            troubles.append(trouble)

    threads = [threading.Thread(target=run, args=item, daemon=True) for item in enumerate(functions)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive(), "one never came back"
    if troubles:
        raise troubles[0]
    return results
