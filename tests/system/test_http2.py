"""HTTP/2 as a client sees it: what every client may do, what none may, and what a flood costs others."""
import json
import os
import socket
import struct
import subprocess
import threading
import time

import pytest

from conftest import PATIENCE, wait_for
from rawhttp2 import CANCEL, ENHANCE_YOUR_CALM, FLOW_CONTROL_ERROR, NO_ERROR, PREFACE, PROTOCOL_ERROR, REFUSED_STREAM, STREAM_CLOSED, Gone, Http2, clear, f, hpack


@pytest.fixture
def client(daemon):
    made = []

    def make(**kwargs):
        made.append(clear(daemon, **kwargs))
        return made[-1]
    yield make
    for c in made:
        c.close()


def good(daemon):
    """Another client's call goes through."""
    c = clear(daemon)
    stream = c.call("demo/echo", 1)
    c.close()
    return stream.status == 200


# ---- what every client may do -----------------------------------------------------------------------

def test_a_call(client):
    stream = client().call("demo/echo", {"a": [1, "ä"]})
    assert stream.status == 200 and stream.json()["output"] == {"a": [1, "ä"]}
    assert stream.header("content-type") == "application/json" and stream.header("date") and stream.header("x-request-id")
    assert int(stream.header("content-length")) == len(stream.body)


@pytest.mark.parametrize("path, status", [("/healthz", 200), ("/readyz", 200), ("/search?q=echo", 200), ("/schema?name=demo/echo", 200), ("/nothing", 404),
                                          ("/schema?name=no/such", 404),
                                          ("/openapi.json?version=3.2", 200), ("/openapi.json?version=2", 400)])
def test_the_routes(client, path, status):
    assert client().get(path).status == status


def test_a_batch(client):
    c = client()
    stream = c.wait(c.post("/batch", [{"operation": "demo/echo", "input": i} for i in range(100)]))
    assert [r["output"] for r in stream.json()["results"]] == list(range(100))


def test_head_has_no_body(client):
    c = client()
    stream = c.wait(c.open(c.fields("HEAD", "/healthz")))
    assert stream.status == 200 and not stream.body and stream.header("content-length") == "2"


def test_many_calls_run_beside_each_other(client):
    c = client()
    slow = c.post("/call", {"operation": "demo/sleep", "input": {"ms": 60000}})
    numbers = [c.post("/call", {"operation": "demo/echo", "input": i}) for i in range(90)]
    for i, n in enumerate(numbers):
        assert c.wait(n).json()["output"] == i
    assert not c.streams[slow].ended


def test_a_subscription_is_a_stream_of_events(client):
    c = client()
    number = c.post("/subscribe", {"operation": "demo/clock", "input": {"interval_ms": 10, "count": 3}})
    stream = c.wait(number)
    assert stream.header("content-type") == "text/event-stream" and stream.reset is None
    assert stream.body.count(b"data: ") == 3


def test_a_reset_aborts_the_call(daemon, client):
    c = client()
    number = c.post("/call", {"operation": "demo/sleep", "input": {"ms": 60000}})
    time.sleep(0.2)
    c.send(f.RstStreamFrame(number, CANCEL))
    wait_for(lambda: [e for e in daemon.events("call") if e.get("outcome") == "aborted"])
    assert c.call("demo/echo", 1).status == 200


def test_a_lost_connection_aborts_its_calls(daemon, client):
    c = client()
    for _ in range(5):
        c.post("/call", {"operation": "demo/sleep", "input": {"ms": 60000}})
    assert c.call("demo/echo", 1).status == 200
    c.close()
    wait_for(lambda: len([e for e in daemon.events("call") if e.get("outcome") == "aborted"]) == 5)


def test_a_large_body_both_ways(client):
    value = "x" * 2_000_000
    stream = client().call("demo/echo", value)
    assert stream.json()["output"] == value


def test_large_settings_of_the_client(client):
    c = client(settings={f.SettingsFrame.MAX_FRAME_SIZE: 1 << 20, f.SettingsFrame.INITIAL_WINDOW_SIZE: (1 << 31) - 1, f.SettingsFrame.HEADER_TABLE_SIZE: 1 << 20})
    assert c.call("demo/echo", 1).status == 200


def test_a_head_in_pieces(client):
    c = client()
    block = c.encoder.encode(c.fields("GET", "/healthz", [("x-filler", "y" * 3000)]))
    c.send(f.HeadersFrame(1, block[:10], flags=["END_STREAM"]), f.ContinuationFrame(1, block[10:1000]), f.ContinuationFrame(1, block[1000:], flags=["END_HEADERS"]))
    assert c.wait(1).status == 200


def test_bytes_one_by_one(daemon):
    s = socket.create_connection((daemon.host, daemon.port), PATIENCE)
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    c = Http2(s, daemon.token, start=False)
    fields = c.encoder.encode(c.fields("GET", "/healthz"))
    data = PREFACE + f.SettingsFrame(0).serialize() + f.HeadersFrame(1, fields, flags=["END_HEADERS", "END_STREAM"]).serialize()
    for i in range(len(data)):
        c.raw(data[i:i + 1])
    assert c.wait(1).status == 200
    c.close()


def test_padding_and_priorities_change_nothing(client):
    c = client()
    c.send(f.PriorityFrame(1, depends_on=0, stream_weight=5))
    fields = c.encoder.encode(c.fields("POST", "/call", [("content-type", "application/json"), ("priority", "u=1, i")]))
    c.send(f.HeadersFrame(3, fields, flags=["END_HEADERS", "PADDED", "PRIORITY"], pad_length=20, depends_on=1, stream_weight=1, exclusive=True))
    c.send(f.DataFrame(3, b'{"operation":"demo/echo","input":7}', flags=["PADDED", "END_STREAM"], pad_length=100))
    c.raw(struct.pack(">HBBBI", 0, 8, 0x10, 0, 0) + struct.pack(">I", 3) + b"u=2,")  # PRIORITY_UPDATE (RFC 9218)
    assert c.wait(3).json()["output"] == 7


def test_the_extended_connect_is_announced(client):
    c = client()
    c.call("demo/echo", 1)
    assert c.settings[f.SettingsFrame.ENABLE_CONNECT_PROTOCOL] == 1
    assert c.settings[f.SettingsFrame.MAX_CONCURRENT_STREAMS] == 128


@pytest.mark.parametrize("expect", [True, False])
def test_a_client_may_wait_for_leave(client, expect):
    c = client()
    body = b'{"operation":"demo/echo","input":1}'
    number = c.open(c.fields("POST", "/call", [("content-type", "application/json")] + [("expect", "100-continue")] * expect), end=False)
    if expect:
        c.until(lambda: c.streams[number].informational)
        assert dict(c.streams[number].informational[0])[":status"] == "100"
    c.data(number, body)
    assert c.wait(number).status == 200


# ---- identities, names, limits ----------------------------------------------------------------------

def test_each_request_has_its_own_identity(daemon, client):
    c = client()
    mine = c.wait(c.post("/call", {"operation": "demo/whoami"}))
    assert mine.json()["output"]["id"] == daemon.token[:8]
    c.token = None
    assert c.wait(c.post("/call", {"operation": "demo/whoami"})).status == 401
    c.token = "alk_" + "0" * 40
    assert c.wait(c.post("/call", {"operation": "demo/echo"})).status == 401
    c.token = daemon.token
    assert c.wait(c.post("/call", {"operation": "demo/whoami"})).status == 200


def test_origins_and_hosts_are_asked_as_over_http1(client):
    c = client()
    assert c.get("/healthz", headers=[("origin", "https://evil.example")]).status == 403
    assert c.get("/healthz", pseudo={":authority": "evil.example"}).status == 421
    assert c.get("/healthz", pseudo={":authority": None}, headers=[("host", "localhost")]).status == 200


@pytest.mark.parametrize("headers, pseudo, status", [
    ([("host", "other.example")], {}, 400), ([("host", "localhost"), ("host", "localhost")], {}, 400), ([], {":authority": None}, 400),
    ([], {":authority": "user@localhost"}, 400), ([], {":authority": ""}, 400), ([], {":path": "nothing"}, 400)])
def test_a_head_that_two_could_read_differently_is_refused(daemon, client, headers, pseudo, status):
    c = client()
    stream = c.get("/healthz", headers=headers, pseudo=pseudo)
    assert stream.reset is not None or stream.status == status
    assert good(daemon)


@pytest.mark.parametrize("name, value", [("Connection", "x"), ("connection", "close"), ("transfer-encoding", "chunked"), ("upgrade", "websocket"),
                                         ("keep-alive", "1"), ("proxy-connection", "close"), ("te", "gzip"), ("X-Upper", "1"), ("with space", "1"), ("", "1"),
                                         ("x-nul", "a\0b"), ("x-line", "a\r\nb: c"), (":unknown", "x"), (":status", "200")])
def test_fields_that_http2_forbids(daemon, client, name, value):
    c = client()
    block = c.encoder.encode(c.fields("GET", "/healthz")) + b"\x00" + bytes([len(name)]) + name.encode() + bytes([len(value)]) + value.encode()
    c.send(f.HeadersFrame(1, block, flags=["END_HEADERS", "END_STREAM"]))
    try:
        stream = c.wait(1)
        assert stream.reset == PROTOCOL_ERROR or stream.status == 400
    except Gone as gone:
        assert gone.code == PROTOCOL_ERROR
    assert good(daemon)


@pytest.mark.parametrize("missing", [":method", ":scheme", ":path"])
def test_a_head_without_what_it_needs(daemon, client, missing):
    c = client()
    stream = c.get("/healthz", pseudo={missing: None})
    assert stream.reset == PROTOCOL_ERROR or stream.status == 400
    assert good(daemon)


@pytest.mark.parametrize("announced, sent", [(10, b"123456789012"), (10, b"12345"), (0, b"1")])
def test_a_body_that_is_not_as_long_as_announced(daemon, client, announced, sent):
    c = client()
    number = c.open(c.fields("POST", "/call", [("content-type", "application/json"), ("content-length", str(announced))]), end=False)
    c.send(f.DataFrame(number, sent, flags=["END_STREAM"]))
    stream = c.wait(number)
    assert stream.reset == PROTOCOL_ERROR or stream.status == 400
    assert good(daemon)


@pytest.mark.parametrize("headers, path, status", [([("x-long", "y" * 40000)], "/healthz", 431), ([(f"x-{i}", "1") for i in range(150)], "/healthz", 431),
                                                   ([], "/" + "a" * 9000, 414)])
def test_a_head_above_a_limit(daemon, client, headers, path, status):
    c = client()
    block = c.encoder.encode(c.fields("GET", path, headers))
    pieces = [block[i:i + 16000] for i in range(0, len(block), 16000)]
    c.send(f.HeadersFrame(1, pieces[0], flags=["END_STREAM"] + ["END_HEADERS"] * (len(pieces) == 1)),
           *[f.ContinuationFrame(1, p, flags=["END_HEADERS"] * (p is pieces[-1])) for p in pieces[1:]])
    try:
        stream = c.wait(1)
        assert stream.reset is not None or stream.status == status
    except Gone as gone:
        assert gone.code in (PROTOCOL_ERROR, ENHANCE_YOUR_CALM)
    assert good(daemon)


def test_a_body_above_its_limit_is_413(make_daemon):
    daemon = make_daemon({"limits": {"body_bytes": 100000}}).start()
    c = clear(daemon)
    number = c.post("/call", {"operation": "demo/echo", "input": "x" * 200000}, end=True) if False else c.open(
        c.fields("POST", "/call", [("content-type", "application/json"), ("content-length", "200000")]), end=False)
    assert c.wait(number).status == 413
    assert c.call("demo/echo", 1).status == 200, "the connection goes on"
    c.close()


def test_more_streams_than_allowed_are_refused(make_daemon):
    daemon = make_daemon({"limits": {"http2_streams": 4}}).start()
    c = clear(daemon)
    c.get("/healthz")
    numbers = [c.post("/call", {"operation": "demo/sleep", "input": {"ms": 60000}}) for _ in range(8)]
    try:
        c.until(lambda: sum(c.streams[n].reset == REFUSED_STREAM for n in numbers) == 4)
    except Gone as gone:
        assert gone.code == PROTOCOL_ERROR
    assert len(daemon.events("call")) <= 4
    c.close()
    assert good(daemon)


# ---- a WebSocket within -----------------------------------------------------------------------------

def ws_fields(c, **pseudo):
    return c.fields("CONNECT", "/alknet/call", [("sec-websocket-version", "13"), ("sec-websocket-protocol", "alknet.call.v1")], {":protocol": "websocket", **pseudo})


def ws_frame(payload, opcode=2):
    size = bytes([0x80 | len(payload)]) if len(payload) < 126 else bytes([0x80 | 126]) + struct.pack(">H", len(payload))
    return bytes([0x80 | opcode]) + size + bytes(4) + payload


def envelope(id, operation, value):
    return json.dumps({"type": "call.requested", "id": id, "payload": {"operationId": operation, "input": value}}).encode()


def ws_messages(body):
    found = []
    while len(body) >= 2:
        size, at = body[1] & 127, 2
        if size == 126:
            size, at = struct.unpack(">H", body[2:4])[0], 4
        elif size == 127:
            size, at = struct.unpack(">Q", body[2:10])[0], 10
        if len(body) < at + size:
            break
        found.append((body[0] & 15, body[at:at + size]))
        body = body[at + size:]
    return found


def test_a_websocket_in_a_stream(daemon, client):
    c = client()
    number = c.open(ws_fields(c), end=False)
    c.until(lambda: c.streams[number].headers)
    assert c.streams[number].status == 200 and c.streams[number].header("sec-websocket-protocol") == "alknet.call.v1"
    assert c.streams[number].header("sec-websocket-accept") is None
    c.data(number, ws_frame(envelope("a", "/demo/echo", {"n": 1})), end=False)
    c.until(lambda: ws_messages(c.streams[number].body))
    assert json.loads(ws_messages(c.streams[number].body)[0][1])["payload"] == {"output": {"n": 1}}
    assert c.call("demo/echo", 2).json()["output"] == 2, "calls run beside it"
    c.data(number, ws_frame(struct.pack(">H", 1000), 8), end=False)
    stream = c.wait(number)
    assert ws_messages(stream.body)[-1] == (8, struct.pack(">H", 1000)) and stream.reset is None
    assert c.call("demo/echo", 3).json()["output"] == 3, "and after it"
    wait_for(lambda: daemon.events("session.close"))


def test_two_websockets_in_one_connection_are_two_sessions(daemon, client):
    c = client()
    numbers = [c.open(ws_fields(c), end=False) for _ in range(2)]
    for n in numbers:
        c.until(lambda n=n: c.streams[n].headers)
    c.send(f.RstStreamFrame(numbers[0], CANCEL))
    wait_for(lambda: len(daemon.events("session.close")) == 1)
    c.data(numbers[1], ws_frame(envelope("a", "/demo/echo", 5)), end=False)
    c.until(lambda: ws_messages(c.streams[numbers[1]].body))
    c.close()
    wait_for(lambda: len(daemon.events("session.close")) == 2)


def test_a_websocket_in_a_stream_is_a_connection_of_its_address(make_daemon):
    daemon = make_daemon({"limits": {"connections_per_address": 3}}).start()
    c = clear(daemon)
    numbers = [c.open(ws_fields(c), end=False) for _ in range(5)]
    for n in numbers:
        c.until(lambda n=n: c.streams[n].headers)
    assert [c.streams[n].status for n in numbers] == [200, 200, 503, 503, 503]
    c.send(f.RstStreamFrame(numbers[0], CANCEL))
    wait_for(lambda: daemon.events("session.close"))
    number = c.open(ws_fields(c), end=False)
    c.until(lambda: c.streams[number].headers)
    assert c.streams[number].status == 200, "a place that is free again is taken"
    c.close()


@pytest.mark.parametrize("pseudo, status", [({":protocol": "tcp"}, 426), ({":path": "/call"}, None), ({":path": "/healthz"}, None)])
def test_an_extended_connect_of_something_else(client, pseudo, status):
    c = client()
    number = c.open(ws_fields(c, **pseudo), end=False)
    stream = c.streams[number]
    c.until(lambda: stream.headers or stream.reset is not None)
    assert stream.reset is not None or (stream.status == status if status else stream.status >= 200)
    assert c.call("demo/echo", 1).status == 200


def test_a_plain_connect_is_refused(client):
    c = client()
    number = c.open(c.fields("CONNECT", pseudo={":scheme": None, ":path": None}), end=False)
    stream = c.streams[number]
    c.until(lambda: stream.headers or stream.reset is not None)
    assert stream.reset is not None or stream.status >= 400


def test_a_websocket_reader_that_stops_holds_up_nobody(client):
    c = client(auto=False)
    number = c.open(ws_fields(c), end=False)
    c.until(lambda: c.streams[number].headers)
    for i in range(20):
        c.data(number, ws_frame(envelope(str(i), "/demo/echo", "x" * 10000)), end=False)
    c.until(lambda: len(c.streams[number].body) >= 65535)
    c.send(f.WindowUpdateFrame(0, 1 << 20))
    assert c.call("demo/echo", 1).status == 200
    c.send(f.WindowUpdateFrame(number, 1 << 20))
    c.until(lambda: len(ws_messages(c.streams[number].body)) == 20)


def test_a_websocket_that_ignores_flow_control_ends_the_connection(daemon, client):
    c = client()
    number = c.open(ws_fields(c), end=False)
    c.until(lambda: c.streams[number].headers)
    try:
        for _ in range(400):
            c.send(f.DataFrame(number, os.urandom(16384)))
        assert c.ended() in (FLOW_CONTROL_ERROR, None, NO_ERROR, PROTOCOL_ERROR)
    except OSError:
        pass
    assert good(daemon)


# ---- floods -----------------------------------------------------------------------------------------

class Neighbour:
    """Calls all the time beside a flood."""

    def __init__(self, daemon):
        self.daemon, self.times, self.failed, self.stop = daemon, [], None, False
        self.thread = threading.Thread(target=self.run, daemon=True)

    def run(self):
        try:
            c = clear(self.daemon)
            while not self.stop:
                begin = time.monotonic()
                assert c.call("demo/echo", 1).status == 200
                self.times.append(time.monotonic() - begin)
            c.close()
        except Exception as error:  # pylint: disable=broad-except
            self.failed = error

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        wait_for(lambda: self.times or self.failed)
        self.stop = True
        self.thread.join(PATIENCE)
        assert self.failed is None, self.failed
        assert self.times


def flood(daemon, send, seconds=1.5, codes=(ENHANCE_YOUR_CALM,)):
    """Sends for a while, or until the connection goes: with one of these codes."""
    c = clear(daemon)
    c.get("/healthz")
    end = time.monotonic() + seconds
    code = None
    c.sock.settimeout(0.2)
    with Neighbour(daemon):
        try:
            while time.monotonic() < end:
                send(c)
                c.sock.setblocking(False)
                try:
                    while True:
                        c.step()
                except BlockingIOError:
                    c.sock.setblocking(True)
                    c.sock.settimeout(0.2)
        except Gone as gone:
            code = gone.code
        except OSError:
            code = c.goaway
    c.close()
    assert code in codes, code
    assert good(daemon)


def rapid(c):
    for _ in range(50):
        n = c.open(c.fields("POST", "/call", [("content-type", "application/json")]), end=False)
        c.send(f.RstStreamFrame(n, CANCEL))


def test_rapid_reset(daemon):
    flood(daemon, rapid)


def test_made_you_reset(daemon):
    """Each request is valid, and what follows it makes the server reset the stream while its call runs."""
    def send(c):
        for _ in range(50):
            n = c.post("/call", {"operation": "demo/sleep", "input": {"ms": 60000}})
            c.send(f.WindowUpdateFrame(n, 1), f.DataFrame(n, b"late"))
    flood(daemon, send, codes=(ENHANCE_YOUR_CALM, STREAM_CLOSED))
    assert len(daemon.events("call")) < 3000


def test_resets_by_window_overflow(daemon):
    def send(c):
        for _ in range(50):
            n = c.post("/call", {"operation": "demo/sleep", "input": {"ms": 60000}})
            c.send(f.WindowUpdateFrame(n, (1 << 31) - 1))
    flood(daemon, send, codes=(ENHANCE_YOUR_CALM, PROTOCOL_ERROR, FLOW_CONTROL_ERROR))


def test_settings_flood(daemon):
    flood(daemon, lambda c: c.send(*[f.SettingsFrame(0)] * 2000), seconds=5, codes=(ENHANCE_YOUR_CALM, NO_ERROR, None))


def test_ping_flood(daemon):
    flood(daemon, lambda c: c.send(*[f.PingFrame(0, b"12345678")] * 2000), seconds=5, codes=(ENHANCE_YOUR_CALM, NO_ERROR, None))


def test_an_endless_head_is_ended(daemon):
    c = clear(daemon)
    c.get("/healthz")
    with Neighbour(daemon):
        try:
            c.send(f.HeadersFrame(c.next, c.encoder.encode(c.fields("GET", "/healthz"))))
            for _ in range(3000):
                c.send(f.ContinuationFrame(c.next, b"\x00\x01a\x7f\x80\x7e" + b"b" * 255))
            code = c.ended()
        except OSError:
            code = c.goaway
    assert code in (ENHANCE_YOUR_CALM, PROTOCOL_ERROR, None, 9), code
    assert good(daemon)


def test_a_bomb_of_small_fields_that_stand_for_large_ones(daemon):
    """A field of 4,000 bytes is put into the table and then named 30,000 times."""
    c = clear(daemon)
    c.get("/healthz")
    with Neighbour(daemon):
        block = c.encoder.encode(c.fields("GET", "/healthz")) + b"\x40\x01a\x7f" + bytes([0x80 | (4000 - 127) & 127, (4000 - 127) >> 7]) + b"b" * 4000 + b"\xbe" * 10000
        c.send(f.HeadersFrame(c.next, block[:16384], flags=["END_HEADERS", "END_STREAM"]))
        try:
            stream = c.wait(c.next)
            assert stream.reset is not None or stream.status == 431
        except Gone as gone:
            assert gone.code in (ENHANCE_YOUR_CALM, PROTOCOL_ERROR)
    assert good(daemon)


def test_empty_frames_without_end(daemon):
    c = clear(daemon)
    n = c.open(c.fields("POST", "/call", [("content-type", "application/json")]), end=False)
    with Neighbour(daemon):
        try:
            for _ in range(200):
                c.send(*[f.DataFrame(n, b"")] * 500)
        except OSError:
            pass
    c.close()
    assert good(daemon)


def test_windows_of_one_byte(daemon):
    """A large answer in pieces of a byte costs the client what it costs us, and nobody else anything."""
    c = clear(daemon, settings={f.SettingsFrame.INITIAL_WINDOW_SIZE: 0}, auto=False)
    n = c.post("/call", {"operation": "demo/echo", "input": "x" * 50000})
    with Neighbour(daemon):
        for _ in range(2000):
            c.send(f.WindowUpdateFrame(n, 1))
        c.until(lambda: len(c.streams[n].body) == 2000)
    c.send(f.WindowUpdateFrame(n, 1 << 20))
    assert c.wait(n).status == 200
    c.close()


def test_windows_that_go_up_and_down(daemon):
    c = clear(daemon, settings={f.SettingsFrame.INITIAL_WINDOW_SIZE: 0})
    numbers = [c.post("/call", {"operation": "demo/echo", "input": "x" * 1000}) for _ in range(50)]
    with Neighbour(daemon):
        try:
            for i in range(300):
                c.send(f.SettingsFrame(0, settings={f.SettingsFrame.INITIAL_WINDOW_SIZE: i % 2}))
            c.send(f.SettingsFrame(0, settings={f.SettingsFrame.INITIAL_WINDOW_SIZE: 1 << 20}))
            for n in numbers:
                assert c.wait(n).status == 200
        except Gone as gone:
            assert gone.code == ENHANCE_YOUR_CALM
    c.close()


def test_an_upload_that_stalls_is_ended_and_holds_up_nobody(make_daemon):
    daemon = make_daemon({"limits": {"body_timeout_ms": "1s"}}).start()
    c = clear(daemon)
    stalled = [c.open(c.fields("POST", "/call", [("content-type", "application/json")]), end=False) for _ in range(50)]
    for n in stalled:
        c.send(f.DataFrame(n, b"["))
    assert c.call("demo/echo", "x" * 200000).status == 200
    for n in stalled:
        stream = c.wait(n)
        assert stream.reset is not None or stream.status == 408
    assert c.call("demo/echo", 1).status == 200
    c.close()


@pytest.mark.parametrize("what", ["preface", "half a preface", "settings", "half a head"])
def test_a_client_that_stops_is_ended(make_daemon, what):
    daemon = make_daemon({"limits": {"header_timeout_ms": "1s"}}).start()
    c = Http2(socket.create_connection((daemon.host, daemon.port), PATIENCE), start=False)
    c.raw(PREFACE[:10] if what == "half a preface" else PREFACE)
    if what in ("settings", "half a head"):
        c.send(f.SettingsFrame(0))
    if what == "half a head":
        c.send(f.HeadersFrame(1, c.encoder.encode(c.fields("GET", "/healthz")), flags=["END_STREAM"]))
    if what == "half a preface":
        c.sock.settimeout(PATIENCE)
        while c.sock.recv(1000):
            pass
    elif what != "settings":  # an idle connection has keepalive_ms
        c.ended()
    c.close()


def test_an_idle_connection_is_sent_away(make_daemon):
    daemon = make_daemon({"limits": {"keepalive_ms": "1s"}}).start()
    c = clear(daemon)
    assert c.get("/healthz").status == 200
    assert c.ended() == NO_ERROR
    c.close()


def test_a_reader_that_stops_is_cut(make_daemon):
    daemon = make_daemon({"limits": {"write_timeout_ms": "1s"}}).start()
    c = clear(daemon, auto=False)
    n = c.post("/call", {"operation": "demo/echo", "input": "x" * 1_000_000})
    stream = c.streams[n]
    try:
        c.until(lambda: stream.reset is not None)
    except Gone:
        pass
    c.close()
    assert good(daemon)


@pytest.mark.parametrize("data", [b"\x00" * 100, os.urandom(200), struct.pack(">HBBBI", 0xffff, 0xff, 0, 0, 1) + bytes(100),
                                  f.DataFrame(1, b"x").serialize(), f.WindowUpdateFrame(0, 0x7fffffff).serialize() * 2,
                                  f.HeadersFrame(2, b"\x82", flags=["END_HEADERS"]).serialize(), f.PushPromiseFrame(1, 2, b"\x82", flags=["END_HEADERS"]).serialize(),
                                  f.HeadersFrame(1, b"\xff\xff\xff\xff\xff\xff", flags=["END_HEADERS"]).serialize()])
def test_garbage_ends_the_connection_with_a_reason(daemon, data):
    c = clear(daemon)
    c.get("/healthz")
    try:
        c.raw(data)
        c.sock.shutdown(socket.SHUT_WR)
    except OSError:
        pass
    c.ended()
    assert good(daemon)


# ---- the end ----------------------------------------------------------------------------------------

def test_a_drain_lets_running_calls_end(daemon, client):
    c = client()
    slow = c.post("/call", {"operation": "demo/sleep", "input": {"ms": 700}})
    c.get("/healthz")
    daemon.signal(15)
    c.until(lambda: c.goaway == NO_ERROR)
    assert c.wait(slow).status == 200
    assert c.ended() == NO_ERROR


def test_curl_speaks_it_by_prior_knowledge(daemon):
    done = subprocess.run(["curl", "-sS", "--http2-prior-knowledge", "-w", "\n%{http_version}", "-H", f"Authorization: Bearer {daemon.token}", "-H",
                           "Content-Type: application/json", "-d", '{"operation":"demo/echo","input":1}', daemon.url + "/call"],
                          capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.stdout.splitlines()[-1] == "2" and '"output":1' in done.stdout, done


def test_http1_goes_on_beside_it(daemon):
    assert daemon.call("demo/echo", 1).json()["output"] == 1
    with socket.create_connection((daemon.host, daemon.port), PATIENCE) as s:
        s.sendall(b"PRI / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert s.recv(100).startswith(b"HTTP/1.1 501")
    assert hpack
