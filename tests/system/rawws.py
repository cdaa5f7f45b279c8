"""A raw WebSocket client, and what speaks EventEnvelopes over it.

It sends any handshake and any frames, and reads strictly: what RFC 6455 forbids a server, and what an envelope must not be,
is an error here. Every wait has an end. `independent` is another implementation of the client's side.
"""
import base64
import collections
import contextlib
import hashlib
import itertools
import json
import threading
import time
from typing import NamedTuple

from conftest import ROOT
from rawhttp import PLAIN, Closed, Node, Wire, build_plugin, message

import websockets.sync.client as independent  # pylint: disable=unused-import,wrong-import-position

PATH = "/alknet/call"
PROTOCOL = "alknet.call.v1"
KEY = "dGhlIHNhbXBsZSBub25jZQ=="
CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
MASK = b"\x37\xfa\x21\x3d"
REQUESTED, RESPONDED, COMPLETED, ABORTED, ERROR = ("call." + name for name in (
    "requested", "responded", "completed", "aborted", "error"))
TYPES = {REQUESTED, RESPONDED, COMPLETED, ABORTED, ERROR}
SILENT = object()  # what an operation returns that does not answer


# ---- the handshake ----------------------------------------------------------------------------------------------------

def accept_of(key):
    digest = hashlib.sha1((key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest()
    return base64.b64encode(digest).decode()


def bearer(token):
    """The subprotocol that carries a token."""
    token = token if isinstance(token, bytes) else token.encode()
    return "alknet.bearer." + base64.urlsafe_b64encode(token).decode().rstrip("=")


def upgrade(host, headers=(), token=None, method="GET", target=PATH, **kwargs):
    """The bytes of an upgrade; `headers` replace fields of it, a value of None leaves one out."""
    given = list(headers.items()) if isinstance(headers, dict) else list(headers)
    names = {name.lower() for name, _ in given}
    own = [("Upgrade", "websocket"), ("Connection", "Upgrade"), ("Sec-WebSocket-Version", "13"),
           ("Sec-WebSocket-Key", KEY)]
    return message(method, target, None, [f for f in own if f[0].lower() not in names] + given, token, host, **kwargs)


def ask_upgrade(wire, headers=(), token=None, **kwargs):
    """The answer to an upgrade on that connection; a granted one is checked."""
    wire.send(upgrade(kwargs.pop("host", wire.host), headers, token, **kwargs))
    reply = wire.reply()
    assert reply.header("x-request-id"), reply
    if reply.status == 101:
        key = next((value for name, value in dict(headers).items() if name.lower() == "sec-websocket-key"), KEY)
        assert reply.header("upgrade").lower() == "websocket" and reply.header("connection").lower() == "upgrade", reply
        assert reply.header("sec-websocket-accept") == accept_of(key)
        assert not reply.all("sec-websocket-extensions"), reply
    return reply


# ---- frames -----------------------------------------------------------------------------------------------------------

def masked(data, mask):
    return bytes(a ^ b for a, b in zip(data, itertools.cycle(mask))) if len(data) < 4096 else (
        int.from_bytes(data, "big") ^ int.from_bytes((mask * (len(data) // 4 + 1))[:len(data)], "big")
    ).to_bytes(len(data), "big")


def frame(opcode, payload=b"", fin=True, mask=MASK, rsv=0, announced=None, width=None):
    """The bytes of a frame. announced: another length than the payload's; width: bytes of its extended length."""
    n = len(payload) if announced is None else announced
    if width is None:
        width = 0 if n < 126 else 2 if n < 1 << 16 else 8
    short = {0: n, 2: 126, 8: 127}[width]
    head = bytes([fin << 7 | rsv << 4 | opcode, (mask is not None) << 7 | short])
    head += n.to_bytes(width, "big") if width else b""
    return head + (mask + masked(payload, mask) if mask is not None else payload)


def close_frame(code=None, reason=b"", **kwargs):
    return frame(CLOSE, b"" if code is None else code.to_bytes(2, "big") + reason, **kwargs)


def binary(value, **kwargs):
    """A message of one frame: bytes, text or JSON."""
    if not isinstance(value, (bytes, str)):
        value = json.dumps(value)
    return frame(BINARY, value if isinstance(value, bytes) else value.encode(), **kwargs)


class Frame(NamedTuple):
    fin: bool
    opcode: int
    payload: bytes


class Over(Exception):
    """The server has sent a close frame; code is None when it says none."""

    def __init__(self, code, reason):
        super().__init__(f"closed with {code} {reason!r}")
        self.code, self.reason = code, reason


class Fault(Exception):
    """A call's call.error."""

    def __init__(self, code, text="", retryable=False, details=None):
        super().__init__(f"{code}: {text}")
        self.code, self.message, self.retryable, self.details = code, text, retryable, details

    def payload(self):
        return {"code": self.code, "message": self.message, "retryable": self.retryable,
                **({} if self.details is None else {"details": self.details})}


def unique(pairs):
    members = dict(pairs)
    assert len(members) == len(pairs), f"a member twice: {pairs}"
    return members


class Socket(Wire):
    """A WebSocket that has been granted. Pings are counted in `pings` and answered while `lively`."""

    def __init__(self, port, token=PLAIN, headers=(), lively=True, **kwargs):
        super().__init__(port, **kwargs)
        self.pings, self.lively = 0, lively
        self.ids = itertools.count(1)
        self.answers = collections.defaultdict(collections.deque)  # (type, payload) by the id of our call
        self.requests = collections.deque()  # (id, payload) of the server's
        self.aborts = []  # ids of the server's calls that it has aborted
        self.described = set()  # operations of which the server has been told
        try:
            self.reply = ask_upgrade(self, headers, token)
            assert self.reply.status == 101, self.reply
        except BaseException:
            self.close()
            raise

    # ---- frames ----

    def frame(self):
        first, second = self.exactly(2)
        fin, opcode, n = bool(first & 0x80), first & 0xf, second & 0x7f
        assert not first & 0x70, "a server that has negotiated no extension sets reserved bits"
        assert not second & 0x80, "a server's frame is masked"
        assert opcode in (CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG)
        if n >= 126:
            assert opcode < CLOSE, "a long control frame"
            least = 126 if n == 126 else 1 << 16
            n = int.from_bytes(self.exactly(2 if n == 126 else 8), "big")
            assert least <= n < 1 << 63, "a length that is not minimal"
        assert fin or opcode < CLOSE, "a control frame in pieces"
        return Frame(fin, opcode, self.exactly(n))

    def control(self, got):
        """What a control frame asks for."""
        if got.opcode == CLOSE:
            assert len(got.payload) != 1
            code = int.from_bytes(got.payload[:2], "big") if got.payload else None
            raise Over(code, got.payload[2:].decode())
        if got.opcode == PING:
            self.pings += 1
            if self.lively:
                self.send(frame(PONG, got.payload))

    def message(self):
        """The next whole message; Over, Closed or a time-out instead of it."""
        parts, kind = [], None
        while True:
            got = self.frame()
            if got.opcode >= CLOSE:
                self.control(got)
                continue
            assert (got.opcode == CONTINUATION) == bool(parts), "fragments out of order"
            kind = kind or got.opcode
            parts.append(got.payload)
            if got.fin:
                assert kind == BINARY, "an envelope is a binary message"
                return b"".join(parts)

    def pong(self):
        """The payload of the next pong; no message may come before it."""
        while True:
            got = self.frame()
            if got.opcode == PONG:
                return got.payload
            assert got.opcode == PING, got
            self.control(got)

    def closed(self, answer=True, seconds=10):
        """Reads on to the end of the connection; the code with which the server closed, None without a close frame.
        What it finds wrong with us it must say, in `reason`."""
        self.sock.settimeout(seconds)
        try:
            while True:
                self.message()
        except Over as over:
            code, self.reason = over.code, over.reason
            if answer:
                assert code in (None, 1000, 1001) or self.reason, over
                with contextlib.suppress(OSError):
                    self.send(close_frame(code))
        except Closed:
            self.close()
            return None
        assert self.ended(seconds), "the connection lives on after the close"
        self.close()
        return code

    def bye(self, code=1000):
        """Closes as a client should; the server must answer with the same code and end the connection."""
        self.send(close_frame(code))
        assert self.closed(answer=False) == code

    # ---- envelopes ----

    def put(self, kind, ident, payload):
        self.send(binary({"type": kind, "id": ident, "payload": payload}))

    def envelope(self):
        """The next one as (type, id, payload), checked for its form."""
        text = self.message().decode()
        said = json.loads(text, object_pairs_hook=unique)
        assert list(said) == ["type", "id", "payload"] or set(said) == {"type", "id", "payload"}, text
        kind, ident, payload = said["type"], said["id"], said["payload"]
        assert text[:8] == '{"type":' and kind in TYPES and isinstance(ident, str) and 1 <= len(ident.encode()) <= 256, text
        if kind == RESPONDED:
            assert set(payload) == {"output"}
        elif kind in (COMPLETED, ABORTED):
            assert payload == {}
        elif kind == ERROR:
            assert set(payload) - {"details"} == {"code", "message", "retryable"}, text
            assert payload["code"] and payload["message"] and isinstance(payload["retryable"], bool)
        else:
            assert set(payload) <= {"operationId", "input", "auth_token", "forwarded_for", "hops", "timeout_ms",
                                    "traceparent"}, text
            assert payload["operationId"][0] == "/"
        return kind, ident, payload

    def request(self, operation, value=None, ident=None, **more):
        """Sends a request, returns its id."""
        ident = ident or f"call-{next(self.ids)}"
        self.put(REQUESTED, ident, {"operationId": "/" + operation, "input": value, **more})
        return ident

    def pull(self):
        """Puts the next envelope where it belongs."""
        kind, ident, payload = self.envelope()
        if kind == REQUESTED:
            self.requests.append((ident, payload))
        elif kind == ABORTED:
            self.aborts.append(ident)
        else:
            self.answers[ident].append((kind, payload))

    def next_of(self, ident):
        """The next envelope that answers our call of that id, as (type, payload)."""
        while not self.answers[ident]:
            self.pull()
        return self.answers[ident].popleft()

    def output(self, ident):
        """The output of a call of ours, or its Fault."""
        kind, payload = self.next_of(ident)
        if kind == ERROR:
            raise Fault(payload["code"], payload["message"], payload["retryable"], payload.get("details"))
        assert kind == RESPONDED, kind
        return payload["output"]

    def call(self, operation, value=None, **more):
        return self.output(self.request(operation, value, **more))

    def fault(self, operation, value=None, **more):
        """The Fault of a call that must fail."""
        try:
            said = self.call(operation, value, **more)
        except Fault as fault:
            return fault
        raise AssertionError(f"{operation} succeeds: {said}")

    def abort(self, ident):
        self.put(ABORTED, ident, {})

    def quiet(self, seconds=0.2):
        """True when no envelope comes in that time beyond the answer to a call made now."""
        time.sleep(seconds)
        ident = self.request("demo/echo", "quiet?")
        kind, other, payload = self.envelope()
        assert (kind, other, payload) == (RESPONDED, ident, {"output": "quiet?"}), (kind, other, payload)
        return True

    # ---- operations that this side serves ----

    def requested(self, operation):
        """(id, payload) of the next request of the server, which must be for that operation."""
        while not self.requests:
            self.pull()
        ident, payload = self.requests.popleft()
        assert payload["operationId"] == "/" + operation, payload
        return ident, payload

    def abort_of(self, ident):
        """Waits for the server's call.aborted of its call."""
        while ident not in self.aborts:
            self.pull()
        self.aborts.remove(ident)

    def answer(self, ident, payload, operations):
        """Answers a request of the server as an ordinary node would."""
        name, value = payload["operationId"][1:], payload.get("input")
        try:
            if name == "services/list":
                self.described.add(name)
                out = {"operations": [{"name": n, "namespace": n.split("/")[0], "op_type": spec["op_type"]}
                                      for n, (spec, _) in operations.items()]}
            elif name == "services/schema" and value["name"].lstrip("/") in operations:
                self.described.add(value["name"].lstrip("/"))
                out = operations[value["name"].lstrip("/")][0]
            elif name in operations:
                out = operations[name][1](value)
            else:
                raise Fault("NOT_FOUND", "operation not found: " + name)
        except Fault as fault:
            self.put(ERROR, ident, fault.payload())
            return
        if out is not SILENT:
            self.put(RESPONDED, ident, {"output": out})

    def serve(self, operations, until):
        """Serves until our call of that id is answered; its output, or its Fault."""
        while not self.answers[until]:
            if self.requests:
                self.answer(*self.requests.popleft(), operations)
            else:
                self.pull()
        return self.output(until)

    def announce(self, operations):
        """Announces them, and serves until the server has imported them."""
        self.described.clear()
        self.serve(operations, self.request("services/announce", {}))
        while not self.described >= {"services/list", *operations}:
            while not self.requests:
                self.pull()
            self.answer(*self.requests.popleft(), operations)
        self.call("demo/echo", "what came before this has been taken in")


def operation(name, function, op_type="query", **more):
    """An entry for `announce`."""
    spec = {"name": name, "namespace": name.split("/")[0], "op_type": op_type, "visibility": "external",
            "input_schema": True, "output_schema": True, "error_schemas": [], "resource_id_path": None,
            "access_control": {"required_scopes": [], "required_scopes_any": None, "resource_type": None,
                               "resource_action": None}, **more}
    return {name: (spec, function)}


# ---- alknetd ----------------------------------------------------------------------------------------------------------

class Hub(Node):
    """An alknetd with the operations of test_http_plugin.c, that logs all it ever logs."""

    def __init__(self, folder, **config):
        super().__init__(folder, {"ASAN_OPTIONS": "detect_leaks=1:quarantine_size_mb=1"},
                         **{"plugins": [build_plugin(folder)], "log": {"format": "json", "level": "debug"}, **config})

    def socket(self, token=PLAIN, headers=(), **kwargs):
        return Socket(self.port, token, headers, **kwargs)

    def cancelled(self):
        """How many sleeps have been cancelled."""
        with self.socket() as socket:
            return socket.call("demo/sleep", {"ms": 0})["cancelled"]

    def stop(self, status=0):
        super().stop(status)
        log = self.log_text()
        for token in self.tokens:
            assert bearer(token)[len("alknet.bearer."):] not in log, "a token is in the log"
        assert KEY not in log


class Neighbour:
    """Calls and subscribes on a session of its own for as long as a test does something bad; all must succeed."""

    def __init__(self, hub):
        self.hub, self.made, self.slowest, self.trouble = hub, 0, 0.0, None
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)

    def once(self, socket, clock):
        start = time.monotonic()
        assert socket.call("demo/add", {"a": self.made, "b": 1}) == {"sum": self.made + 1}
        self.slowest = max(self.slowest, time.monotonic() - start)
        socket.answers[clock].clear()
        self.made += 1

    def run(self):
        try:
            with self.hub.socket(timeout=30) as socket:
                clock = socket.request("demo/clock", {"interval_ms": 20})
                assert socket.output(clock)["tick"] == 1
                while not self.stopping.is_set():
                    self.once(socket, clock)
                    self.stopping.wait(0.005)
                self.once(socket, clock)
                assert socket.output(clock)["tick"] > 1
                socket.abort(clock)
                socket.bye()
        except BaseException as trouble:  # pylint: disable=broad-except
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
