"""What must not hurt a node with sessions: frames that are none, messages that are no envelopes, floods, silence, readers that
do not read. Each time neighbours on sessions and connections of their own work on, memory stays within its limits, and
whoever was bad gets the right close code where it can still read it, and an end in any case."""
import contextlib
import json
import random
import re
import time

import pytest

from conftest import wait_for
from rawhttp import PLAIN, Closed, Wire, descriptors_wanted
from rawhttp import Neighbour as HttpNeighbour
from rawws import (BINARY, CLOSE, CONTINUATION, PING, PONG, REQUESTED, TEXT, Fault, Hub, Neighbour, Over, ask_upgrade, binary,
                   close_frame, frame, operation, upgrade)

KIB, MIB = 1 << 10, 1 << 20
LIMIT = 256 * KIB  # of a message
MOST = 24 * MIB  # that the node may grow by, sanitizer and all
ECHO = {"type": REQUESTED, "id": "e", "payload": {"operationId": "/demo/echo", "input": None}}


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    with Hub(tmp_path_factory.mktemp("bad"), limits={"websocket_bytes": LIMIT, "close_ms": 300}) as it:
        yield it


@pytest.fixture(scope="module")
def hasty(tmp_path_factory):
    with Hub(tmp_path_factory.mktemp("hasty"), limits={
            "websocket_bytes": LIMIT, "ping_ms": 100, "idle_ms": 500, "close_ms": 200, "evict_ms": 400,
            "header_timeout_ms": 300, "keepalive_ms": 300, "queue_max": 128 * KIB, "queue_high": 64 * KIB}) as it:
        yield it


@pytest.fixture(autouse=True)
def unharmed(hub, hasty):
    """Beside each test; afterwards what was bad has left nothing behind."""
    hubs = [hub, hasty]
    for it in hubs:
        wait_for(lambda it=it: it.descriptors() <= idle.setdefault(it, it.descriptors()))
        it.forget_peak()
    sizes = [it.memory() for it in hubs]
    with contextlib.ExitStack() as stack:
        neighbours = [stack.enter_context(kind(it)) for it in hubs for kind in (Neighbour, HttpNeighbour)]
        wait_for(lambda: all(n.made or n.trouble for n in neighbours))
        yield
        made = [n.made for n in neighbours]
        wait_for(lambda: all(n.made > m or n.trouble for n, m in zip(neighbours, made)))
    assert all(n.slowest < 5 for n in neighbours), "a correct call waited for something bad"
    for it, size in zip(hubs, sizes):
        assert it.memory("VmHWM") - size < MOST, f"{(it.memory('VmHWM') - size) / MIB:.1f} MiB at the peak"
        wait_for(lambda it=it: it.descriptors() <= idle[it])


idle = {}


@pytest.fixture
def socket(hub):
    with hub.socket() as it:
        yield it


def send_all(socket, data):
    """Sends what the server still takes; whether it took all."""
    try:
        socket.send(data)
    except OSError:
        return False
    return True


# ---- frames that are none ---------------------------------------------------------------------------------------------

WHOLE = json.dumps(ECHO).encode()
FRAMES = {
    "unmasked": binary(ECHO, mask=None), "unmasked ping": frame(PING, mask=None), "unmasked close": close_frame(1000,
        mask=None),
    "unmasked and empty": frame(BINARY, mask=None),
    **{f"reserved bits {rsv}": binary(ECHO, rsv=rsv) for rsv in range(1, 8)},
    **{f"reserved bit {rsv} on a ping": frame(PING, rsv=rsv) for rsv in (1, 2, 4)},
    "reserved bit on a continuation": frame(BINARY, WHOLE[:9], fin=False) + frame(CONTINUATION, WHOLE[9:], rsv=4),
    **{f"opcode {opcode}": frame(opcode, WHOLE) for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)},
    "continuation of nothing": frame(CONTINUATION, WHOLE), "end of nothing": frame(CONTINUATION),
    "beginning of nothing": frame(CONTINUATION, WHOLE, fin=False),
    "continuation behind a whole message": binary(ECHO) + frame(CONTINUATION, WHOLE),
    "message within a message": frame(BINARY, WHOLE, fin=False) + binary(ECHO),
    "text within a message": frame(BINARY, WHOLE, fin=False) + frame(TEXT, WHOLE),
    "text": frame(TEXT, WHOLE), "empty text": frame(TEXT), "text in pieces": frame(TEXT, WHOLE[:5], fin=False),
    "text that is not UTF-8": frame(TEXT, b"\xff"), "beginning of a long text": frame(TEXT, b"x", announced=100000),
    "ping in pieces": frame(PING, b"x", fin=False), "close in pieces": close_frame(1000, fin=False),
    "pong in pieces": frame(PONG, fin=False), "ping of 126 bytes": frame(PING, b"x" * 126),
    "ping of 70000 bytes": frame(PING, b"x" * 70000), "pong of 4 GiB": frame(PONG, announced=1 << 32),
    "close of 126 bytes": frame(CLOSE, b"\x03\xe8" + b"x" * 124), "close of 1 byte": frame(CLOSE, b"\x03"),
    "length in two bytes that fits one": frame(BINARY, b"x" * 125, width=2),
    "length in eight bytes that fits one": frame(BINARY, b"x" * 10, width=8),
    "length in eight bytes that fits two": frame(BINARY, b"x" * 1000, width=8),
    "length 0 in eight bytes": frame(BINARY, width=8), "ping with a long length": frame(PING, b"x", width=2),
    "length with the highest bit": frame(BINARY, announced=1 << 63), "length of all bits": frame(BINARY,
        announced=(1 << 64) - 1),
    "zeros": b"\0" * 100, "ones": b"\xff" * 100, "HTTP": b"GET / HTTP/1.1\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc",
}
CLOSE_CODES = [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535]


@pytest.mark.parametrize("name", FRAMES)
def test_what_is_no_frame_closes_with_1002(hub, name):
    for behind in (b"", binary(ECHO) * 3):
        with hub.socket() as socket:
            socket.send(FRAMES[name] + behind)
            assert socket.closed(answer=not behind) == 1002


def test_how_malformed_frames_are_cut_changes_nothing(hub):
    for name, data in FRAMES.items():
        with hub.socket() as socket:
            for i in range(min(len(data), 20)):
                if not send_all(socket, data[i:i + 1]):
                    break
                time.sleep(0.0003)
            send_all(socket, data[20:])
            assert socket.closed() in (1002, None), name


CORRECT = {"short": binary(ECHO), "ping": frame(PING), "ping with payload": frame(PING, b"hello"), "pong": frame(PONG),
           "empty fragment": frame(BINARY, fin=False) + frame(CONTINUATION, WHOLE), "close": close_frame(1000),
           "empty close": close_frame(),
           "16 bits of length": binary(ECHO | {"z": "x" * 500}), "64 bits of length": binary(ECHO | {"z": "x" * 70000})}


@pytest.mark.parametrize("name", CORRECT)
def test_a_frame_cut_anywhere_in_its_head_is_the_same_frame(hub, name):
    """In two pieces, and byte by byte; behind it another call."""
    data, second = CORRECT[name], binary(ECHO | {"id": "second"})
    for cuts in [[cut] for cut in range(1, min(len(data), 16))] + [list(range(1, 16))]:
        with hub.socket() as socket:
            at = 0
            for cut in cuts:
                socket.send(data[at:cut])
                at = max(at, cut)
                time.sleep(0.001)
            socket.send(data[at:] + second)
            if "close" in name:
                assert socket.closed(answer=False) == (None if "empty" in name else 1000)
                continue
            if data[0] == 0x89:
                assert socket.pong() == (b"hello" if "payload" in name else b"")
            if "p" not in name[:1]:
                assert socket.output("e") is None
            assert socket.output("second") is None, cuts


@pytest.mark.parametrize("length", [LIMIT + 1, 1 << 32, (1 << 63) - 1])
def test_a_length_beyond_the_limit_is_seen_however_its_head_is_cut(hub, length):
    data = frame(BINARY, announced=length)
    for cut in range(1, len(data)):
        with hub.socket() as socket:
            socket.send(data[:cut])
            time.sleep(0.002)
            send_all(socket, data[cut:] + b"x" * 1000)
            assert socket.closed() == 1009, cut


@pytest.mark.parametrize("code", CLOSE_CODES)
def test_a_close_code_that_is_none_closes_with_1002(socket, code):
    socket.send(close_frame(code))
    assert socket.closed(answer=False) == 1002


@pytest.mark.parametrize("reason", [b"\xff", b"ok\xc3", b"\xed\xa0\x80", b"\xc0\xaf", b"\xf5\x80\x80\x80"])
def test_a_close_reason_that_is_not_utf8_closes_with_1007(socket, reason):
    socket.send(close_frame(1000, reason))
    assert socket.closed(answer=False) == 1007


def test_the_code_comes_first_and_then_the_end(hub):
    """Who broke the rules gets no second close, no answer to what it sends on, and an end without delay."""
    with hub.socket() as socket:
        socket.send(frame(TEXT, WHOLE))
        start = time.monotonic()
        assert socket.frame().payload[:2] == b"\x03\xea"
        send_all(socket, binary(ECHO) + frame(PING))
        assert socket.ended() and time.monotonic() - start < 5


# ---- messages that are no envelopes -----------------------------------------------------------------------------------

def said(text):
    return ('{"type":"call.requested","id":"x","payload":{"operationId":"/demo/echo","input":' + text + "}}").encode()


MESSAGES = {
    "empty": b"", "blank": b"  \n", "a word": b"hello", "NUL": b"\0", "an array": b"[]", "a string": b'"x"', "a number": b"1",
    "null": b"null", "an object": b"{}", "two objects": WHOLE + WHOLE, "something behind": WHOLE + b"x",
    "NUL behind": WHOLE + b"\0",
    "comma behind": WHOLE + b",", "byte order mark": b"\xef\xbb\xbf" + WHOLE, "UTF-16": WHOLE.decode().encode("utf-16"),
    "UTF-32": WHOLE.decode().encode("utf-32-le"), "length prefix": len(WHOLE).to_bytes(4, "big") + WHOLE,
    "gzip": b"\x1f\x8b\x08\0\0\0\0\0", "no type": b'{"id":"x","payload":{}}',
    "no id": b'{"type":"call.requested","payload":{}}',
    "no payload": b'{"type":"call.requested","id":"x"}', "type is a number": b'{"type":1,"id":"x","payload":{}}',
    "type is null": b'{"type":null,"id":"x","payload":{}}', "id is a number": b'{"type":"call.requested","id":1,"payload":{}}',
    "id is null": b'{"type":"call.requested","id":null,"payload":{}}',
    "id is empty": b'{"type":"call.requested","id":"","payload":{}}',
    "id of 257 bytes": b'{"type":"call.requested","id":"' + b"x" * 257 + b'","payload":{}}',
    "id of 129 letters of two bytes": '{"type":"call.requested","id":"'.encode() + "\u00e9".encode() * 129 + b'","payload":{}}',
    "unknown type without id": b'{"type":"call.unknown","payload":{}}',
    "unknown type without payload": b'{"type":"x","id":"x"}',
    "type twice": b'{"type":"call.requested","type":"call.requested","id":"x","payload":{}}',
    "id twice": b'{"type":"call.requested","id":"x","id":"y","payload":{}}',
    "payload twice": b'{"type":"call.requested","id":"x","payload":{},"payload":{}}',
    "unknown member twice": b'{"type":"call.requested","id":"x","payload":{},"z":1,"z":2}',
    "member twice, escaped": b'{"type":"call.requested","id":"x","payload":{"\\u0061":1,"a":2}}',
    "member of the payload twice": b'{"type":"call.requested","id":"x","payload":{"operationId":"/a/b","operationId":"/a/c"}}',
    "member of the input twice": said('{"a":1,"a":2}'), "member far down twice": said('[[{"x":{"a":1,"b":2,"a":3}}]]'),
    "lone high surrogate": said('"\\ud800"'), "lone low surrogate": said('"\\udc00"'), "surrogates in the wrong order":
    said('"\\udc00\\ud800"'), "high surrogate and a letter": said('"\\ud800x"'),
    "lone surrogate in a name": said('{"\\ud83d":1}'),
    "lone surrogate in the id": b'{"type":"call.requested","id":"\\ud800","payload":{}}',
    "not UTF-8": said('"') [:-2] + b'\xff"}}', "cut UTF-8": said('"')[:-2] + b'\xc3"}}',
    "overlong": said('"')[:-2] + b'\xc0\xaf"}}',
    "encoded surrogate": said('"')[:-2] + b'\xed\xa0\x80"}}', "beyond Unicode": said('"')[:-2] + b'\xf5\x80\x80\x80"}}',
    "not UTF-8 in the id": b'{"type":"call.requested","id":"\xff","payload":{}}',
    "not UTF-8 in a name": b'{"type":"call.requested","id":"x","payload":{},"\xff":1}',
    "not UTF-8 outside of strings": WHOLE + b"\xff", "line feed in a string": said('"a\nb"'), "NUL in a string": said('"a\0b"'),
    "trailing comma": said("[1,]"), "comment": said("1/* */"), "NaN": said("NaN"), "single quotes": said("'x'"),
    "01": said("01"),
    "deeper than the limit": said("[" * 127 + "]" * 127), "far deeper": said("[" * 100000 + "]" * 100000),
    "open and deep": b'{"type":' + b"[" * 200000, "objects deeper than the limit": said('{"a":' * 200 + "1" + "}" * 200),
    **{f"cut at {at}": WHOLE[:at] for at in (1, 8, 20, len(WHOLE) - 2, len(WHOLE) - 1)},
}


@pytest.mark.parametrize("name", MESSAGES)
def test_what_is_no_envelope_closes_with_1002(hub, name):
    data = MESSAGES[name]
    pieces = frame(BINARY, data[:3], fin=False) + frame(CONTINUATION, data[3:7], fin=False) + frame(CONTINUATION, data[7:])
    for sent in (binary(data), pieces):
        with hub.socket() as socket:
            assert socket.call("demo/echo", 1) == 1
            socket.send(sent)
            assert socket.closed() == 1002
            assert re.search(r"byte \d+|nested|envelope needs|duplicate member|empty message|UTF-8", socket.reason), socket.reason


def test_a_message_at_the_limits_of_depth_is_read(socket):
    """128 levels: the envelope's two, and 126 arrays."""
    value = json.loads("[" * 124 + "]" * 124)
    assert socket.call("demo/echo", value) == value


def test_a_broken_message_cancels_what_runs(hub):
    before = hub.cancelled()
    with hub.socket() as socket:
        socket.request("demo/sleep", {"ms": 60000})
        socket.call("demo/echo", "it sleeps")
        socket.send(binary(b"{"))
        assert socket.closed() == 1002
    wait_for(lambda: hub.cancelled() == before + 1)


def test_a_message_never_gets_completed_by_what_was_there_before(hub):
    for cut in range(1, len(WHOLE)):
        with hub.socket() as socket:
            socket.send(binary(WHOLE))
            assert socket.output("e") is None
            socket.send(binary(WHOLE[:cut]))
            assert socket.closed() == 1002, cut


def test_too_many_values_close(tmp_path):
    with Hub(tmp_path, limits={"json_values": 100}) as hub:
        with hub.socket() as socket:
            assert socket.call("demo/echo", [1] * 50) == [1] * 50
            with contextlib.suppress(Over):
                socket.request("demo/echo", [1] * 200)
            assert socket.closed() in (1002, 1009)


def test_noise_never_harms(hub):
    dice = random.Random(11)
    correct = [binary(ECHO), frame(PING, b"x"), frame(BINARY, WHOLE[:20], fin=False) + frame(CONTINUATION, WHOLE[20:]),
               close_frame(1000, b"bye"), binary(said('{"a":[1,"\u00e9"]}'))]
    for i in range(400):
        data = bytearray(b"".join(dice.choice(correct) for _ in range(3)))
        if i % 10 == 0:
            data = bytearray(dice.randbytes(dice.randrange(1, 3000)))
        for _ in range(dice.randrange(1, 6)):
            at, action = dice.randrange(len(data)), dice.randrange(3)
            if action == 0:
                data[at] = dice.randrange(256)
            elif action == 1:
                data[at:at] = dice.randbytes(dice.randrange(1, 4))
            elif len(data) > 12:
                del data[at:at + dice.randrange(1, 10)]
        with hub.socket() as socket:
            send_all(socket, bytes(data))
            with contextlib.suppress(OSError):
                socket.sock.shutdown(1)
            code = socket.closed(answer=False)
            assert code is None or code in range(1000, 1004) or code in range(1007, 1015) or code in range(3000, 5000), code


# ---- sizes ------------------------------------------------------------------------------------------------------------

def exactly(size):
    """An envelope of that many bytes."""
    empty = len(said('""'))
    return said('"' + "x" * (size - empty) + '"')


def test_a_message_of_the_limit_is_read(socket):
    assert len(exactly(LIMIT)) == LIMIT
    socket.send(binary(exactly(LIMIT)))
    assert len(socket.output("x")) > LIMIT - 200
    data = exactly(LIMIT)
    socket.send(b"".join(frame(CONTINUATION if i else BINARY, data[i:i + 5000], fin=i + 5000 >= LIMIT)
                         for i in range(0, LIMIT, 5000)))
    assert len(socket.output("x")) > LIMIT - 200


def test_a_message_one_byte_above_the_limit_closes_with_1009(hub):
    with hub.socket() as socket:
        send_all(socket, binary(exactly(LIMIT + 1)))
        assert socket.closed() == 1009
    with hub.socket() as socket:
        data = exactly(LIMIT + 1)
        send_all(socket, b"".join(frame(CONTINUATION if i else BINARY, data[i:i + 5000], fin=i + 5000 > LIMIT)
                                  for i in range(0, LIMIT + 1, 5000)))
        assert socket.closed() == 1009


@pytest.mark.parametrize("length", [LIMIT + 1, 1 << 31, (1 << 32) - 1, 1 << 32, 1 << 40, (1 << 63) - 1])
def test_a_length_beyond_the_limit_closes_with_1009_at_its_head(hub, length):
    size = hub.memory()
    with hub.socket() as socket:
        start = time.monotonic()
        socket.send(frame(BINARY, announced=length))
        assert socket.closed() == 1009 and time.monotonic() - start < 5
    with hub.socket() as socket:
        socket.send(frame(BINARY, b"x" * 1000, fin=False) + frame(CONTINUATION, b"x", announced=length))
        assert socket.closed() == 1009
    assert hub.memory() - size < 4 * MIB


def test_lengths_that_are_announced_and_never_sent_take_no_memory(hub):
    """Each of them could be a message of the limit: what has not come must not be paid for."""
    size, number = hub.memory(), descriptors_wanted(400)
    sockets = []
    try:
        for _ in range(number):
            sockets.append(hub.socket())
            sockets[-1].send(frame(BINARY, b"{", announced=LIMIT))
        with hub.socket() as other:
            assert other.call("demo/echo", "x" * 10000) == "x" * 10000
        assert (hub.memory() - size) / number < 24 * KIB
    finally:
        for it in sockets:
            it.reset()


def test_who_sends_on_after_a_1009_is_cut_off(hub):
    with hub.socket() as socket:
        socket.send(frame(BINARY, announced=1 << 40))
        start = time.monotonic()
        while time.monotonic() - start < 10 and send_all(socket, b"x" * MIB):
            time.sleep(0.001)
        assert time.monotonic() - start < 8


def test_the_budget_for_messages_that_come_in_is_the_nodes(tmp_path):
    """Those whose unfinished messages are together above it are told to try again; who comes later is served."""
    def answered(hub):
        with hub.socket() as socket:
            socket.send(binary(exactly(MIB)))
            try:
                return len(socket.output("x"))
            except (Over, Closed):
                return None

    with Hub(tmp_path, limits={"message_budget": 24 * MIB, "websocket_bytes": MIB, "body_timeout_ms": 300}) as hub:
        sockets, codes = [hub.socket() for _ in range(20)], []
        for socket in sockets:
            send_all(socket, frame(BINARY, exactly(MIB)[:900000], announced=MIB))
        for socket in sockets:
            socket.sock.settimeout(0.6)
            try:
                socket.message()
            except Over as over:
                codes.append(over.code)
            except TimeoutError:
                codes.append("waits")
        assert codes.count(1013) >= 12 and codes.count(1013) + codes.count("waits") == 20, codes
        for socket in sockets:
            socket.reset()
        assert wait_for(lambda: answered(hub)) > MIB - 200


# ---- floods -----------------------------------------------------------------------------------------------------------

def flood(socket, data, most):
    """Sends `data` again and again until the server has enough; how many bytes that took."""
    sent = 0
    while sent < most and send_all(socket, data):
        sent += len(data)
    return sent


@pytest.mark.parametrize("payload", [b"", b" "], ids=["empty", "blanks"])
def test_a_million_fragments_close_with_1008(hub, payload):
    with hub.socket() as socket:
        socket.send(frame(BINARY, payload, fin=False))
        flood(socket, frame(CONTINUATION, payload, fin=False) * 1000, 10 ** 6 * (6 + len(payload)))
        assert socket.closed(answer=False) in (1008, None)
    with hub.socket() as socket:
        send_all(socket, frame(BINARY, payload, fin=False) + frame(CONTINUATION, payload, fin=False) * 1024)
        assert socket.closed() == 1008


def test_fragments_up_to_their_limit_are_a_message(socket):
    data = binary(ECHO)[6:]
    assert len(data) < 1024
    socket.send(frame(BINARY, fin=False) + b"".join(
        frame(CONTINUATION, WHOLE[i:i + 1] if i < len(WHOLE) else b"", fin=i == 1022) for i in range(1023)))
    assert socket.output("e") is None


@pytest.mark.parametrize("opcode,payload", [(PING, b""), (PING, b"x" * 125), (PONG, b""), (PONG, b"x" * 125)])
def test_a_flood_of_control_frames_closes_with_1008(hub, opcode, payload):
    with hub.socket() as socket:
        flood(socket, frame(opcode, payload) * 1500, 10 ** 6 * 6)
        assert closed_among_pongs(socket) in (1008, None)
    with hub.socket() as socket:
        send_all(socket, frame(opcode, payload) * 1100)
        assert closed_among_pongs(socket) == 1008


def closed_among_pongs(socket):
    """closed(), with pongs before it."""
    socket.sock.settimeout(10)
    try:
        while True:
            got = socket.frame()
            if got.opcode == CLOSE:
                return int.from_bytes(got.payload[:2], "big")
            assert got.opcode == PONG
    except Closed:
        return None


def test_some_pings_a_second_are_no_flood(socket):
    for _ in range(3):
        socket.send(frame(PING, b"p") * 30)
        assert [socket.pong() for _ in range(30)] == [b"p"] * 30
        time.sleep(0.3)
    assert socket.call("demo/echo", 1) == 1


def test_pings_whose_pongs_nobody_reads_are_bounded(hub):
    with hub.socket(receive_buffer=4096) as socket:
        flood(socket, frame(PING, b"x" * 125) * 50, 4 * MIB)
    wait_for(hub.serves)


def test_a_flood_of_connections_without_upgrade_holds_nobody_up(hasty):
    """Silent ones, ones that begin an upgrade, and ones that are refused again and again."""
    start, wires = time.monotonic(), []
    half = upgrade("127.0.0.1", token=PLAIN)
    for i in range(descriptors_wanted(600)):
        wires.append(Wire(hasty.port))
        if i % 3:
            wires[-1].send(half[:-2] if i % 3 == 1 else upgrade("127.0.0.1"))
    with hasty.socket() as socket:
        for i in range(50):
            assert socket.call("demo/echo", i) == i
    assert time.monotonic() - start < 10
    for wire in wires:
        wire.sock.settimeout(10)
        with contextlib.suppress(Closed):
            while True:
                wire.more()
        assert wire.seen[9:12] in (b"408", b"401", b""), wire.seen[:50]
        wire.close()


def test_a_flood_of_upgrades_and_ends_leaves_no_session(hub):
    for _ in range(200):
        wire = Wire(hub.port)
        wire.send(upgrade(wire.host, token=PLAIN))
        wire.reset()
    for _ in range(200):
        with hub.wire() as wire:
            assert ask_upgrade(wire, token=PLAIN).status == 101


def test_requests_without_end_are_bounded(hub):
    """More at once than a connection may run: BUSY for the rest, and none is lost."""
    with hub.socket() as socket:
        socket.send(b"".join(binary({"type": REQUESTED, "id": f"r{i}", "payload": {"operationId": "/demo/sleep", "input":
                                                                                   {"ms": 300}}}) for i in range(3000)))
        codes = []
        for i in range(3000):
            try:
                codes.append(socket.output(f"r{i}")["slept_ms"])
            except Fault as fault:
                codes.append(fault.code)
        assert codes.count(300) == 1024 and codes.count("BUSY") == 3000 - 1024


# ---- silence ----------------------------------------------------------------------------------------------------------

def time_to_end(socket, **kwargs):
    start = time.monotonic()
    code = socket.closed(**kwargs)
    return code, time.monotonic() - start


@pytest.mark.parametrize("data", [b"", b"\x82", b"\x82\xfe\x01", frame(BINARY, announced=100)[:4], frame(BINARY, b"x",
    announced=100),
                                  frame(BINARY, WHOLE[:20], fin=False), frame(PING, b"x", announced=5),
                                  frame(CLOSE, b"\x03", announced=2), frame(BINARY, b"x" * 2000, announced=100000)],
                         ids=["nothing", "a byte", "half a head", "a head", "half a frame", "a fragment", "half a ping",
                              "half a close", "much of a frame"])
def test_silence_is_closed_after_the_idle_time(hasty, data):
    """lively: its pings are not answered. What never becomes a frame is no sign of life."""
    with hasty.socket(lively=False) as socket:
        if data:
            socket.send(data)
        code, seconds = time_to_end(socket, answer=False)
        assert code == 1001 and 0.45 < seconds < 5 and socket.pings >= 2


def test_a_frame_of_a_byte_now_and_then_is_closed_after_the_idle_time(hasty):
    sockets = [hasty.socket(lively=False) for _ in range(10)]
    data, start, open_ones = binary(exactly(200)), time.monotonic(), list(sockets)
    at = 0
    while open_ones and time.monotonic() - start < 8:
        for socket in list(open_ones):
            socket.sock.settimeout(0)
            try:
                socket.sock.send(data[at:at + 1])
                while True:
                    socket.more()
            except BlockingIOError:
                pass
            except (Closed, OSError):
                open_ones.remove(socket)
        at += 1
        time.sleep(0.05)
    assert not open_ones and time.monotonic() - start > 0.45
    for socket in sockets:
        socket.close()


def test_a_long_message_that_comes_slowly_but_comes_is_read(hasty):
    """In pieces, each of which is much: three times the idle time."""
    data = exactly(200 * KIB)
    with hasty.socket(lively=False) as socket:
        sent = frame(BINARY, data)
        for i in range(0, len(sent), 16 * KIB):
            socket.send(sent[i:i + 16 * KIB])
            time.sleep(0.12)
        assert len(socket.output("x")) > 199 * KIB


def test_who_answers_pings_lives(hasty):
    with hasty.socket() as socket:
        end = time.monotonic() + 1.5
        socket.sock.settimeout(0.05)
        while time.monotonic() < end:
            with contextlib.suppress(TimeoutError):
                socket.message()
        socket.sock.settimeout(10)
        assert socket.pings >= 5 and socket.call("demo/echo", 1) == 1
        socket.bye()


def test_who_sends_lives_without_answering_pings(hasty):
    with hasty.socket(lively=False) as socket:
        for i in range(15):
            assert socket.call("demo/echo", i) == i
            time.sleep(0.1)
        assert socket.pings >= 3


def test_who_only_listens_and_answers_no_ping_is_closed(hasty):
    """What the server sends is no sign of the client's life."""
    with hasty.socket(lively=False) as socket:
        clock = socket.request("demo/clock", {"interval_ms": 10})
        code, seconds = time_to_end(socket)
        assert code == 1001 and 0.45 < seconds < 5 and clock


def test_without_pings_and_idle_time_silence_is_no_end(tmp_path):
    with Hub(tmp_path, limits={"ping_ms": 0, "idle_ms": 0}) as hub, hub.socket(lively=False) as socket:
        time.sleep(1)
        assert socket.call("demo/echo", 1) == 1 and socket.pings == 0


@pytest.mark.parametrize("how", ["bad envelope", "idle"])
@pytest.mark.parametrize("then", ["nothing", "messages", "pings", "bytes"])
def test_a_close_that_is_never_answered_ends_after_close_ms(hasty, how, then):
    with hasty.socket(lively=False) as socket:
        if how == "bad envelope":
            socket.send(binary(b"{"))
        socket.sock.settimeout(10)
        with pytest.raises(Over) as over:
            socket.message()
        assert over.value.code == (1002 if how == "bad envelope" else 1001)
        start, more = time.monotonic(), {"messages": binary(ECHO), "pings": frame(PING, b"x"), "bytes": frame(BINARY,
            b"x", announced=99999),
                                         "nothing": b""}[then]
        socket.sock.settimeout(0.02)
        while time.monotonic() - start < 5:
            try:
                if more:
                    socket.send(more)
                    more = b"x" if then == "bytes" else more
                if socket.sock.recv(1000) == b"":
                    break
            except TimeoutError:
                continue
            except OSError:
                break
        assert 0.1 < time.monotonic() - start < 3


def test_behind_a_close_of_the_server_nothing_is_sent(hasty):
    before = hasty.cancelled()
    with hasty.socket() as socket:
        socket.request("demo/sleep", {"ms": 60000})
        clock = socket.request("demo/clock", {"interval_ms": 1})
        assert socket.output(clock)["tick"] == 1
        socket.send(binary(b"{"))
        with pytest.raises(Over):
            while True:
                socket.message()
        socket.send(frame(PING, b"x") + binary(ECHO))
        assert socket.ended(3), "not even a pong"
    wait_for(lambda: hasty.cancelled() == before + 1)


# ---- readers that do not read -----------------------------------------------------------------------------------------

def evicted(hub, socket, seconds=5):
    """Waits until the server has given it up, which is seen without reading: what we send is no longer taken."""
    start = time.monotonic()
    while time.monotonic() - start < seconds:
        try:
            socket.send(frame(PONG))
        except OSError:
            return time.monotonic() - start
        time.sleep(0.02)
    raise AssertionError("it is still there")


@pytest.mark.parametrize("size,number", [(1000, 1), (100, 10), (60000, 2)])
def test_a_subscriber_that_stops_reading_is_evicted(hasty, size, number):
    """Within evict_ms from when nothing moves; 1013 is tried; what is sent to others goes on."""
    with hasty.socket(receive_buffer=4096) as socket:
        for _ in range(number):
            socket.request("flood/values", [size, 10 ** 7])
        assert 0.3 < evicted(hasty, socket) < 4
        socket.hurry()
        assert read_out(socket) in (1013, None)
    wait_for(lambda: running(hasty) == 0)


def read_out(socket):
    """The close code behind what had been sent before; None: it could not come through."""
    socket.sock.settimeout(10)
    try:
        while True:
            got = socket.frame()
            if got.opcode == CLOSE:
                return int.from_bytes(got.payload[:2], "big")
    except (Closed, OSError):
        return None


def counters(hub):
    with hub.socket() as socket:
        return socket.call("flood/counters")


def running(hub):
    return counters(hub)["running"]


def test_a_fast_subscription_of_one_that_stops_reading_is_bounded(hasty):
    """10,000 events a second and more: the producer is held up, and the node keeps no more than the high-water mark."""
    before = counters(hasty)
    with hasty.socket(receive_buffer=4096) as socket:
        socket.request("flood/values", [1000, 10 ** 7])
        evicted(hasty, socket)
    after = counters(hasty)
    emitted = after["emitted"] - before["emitted"]
    assert after["stalls"] > before["stalls"] and emitted * 1000 < 8 * MIB, emitted


def test_clocks_of_one_that_stops_reading_stand_still_and_it_is_evicted(tmp_path):
    """10,000 events a second from timers, none of which may pile up."""
    with Hub(tmp_path, limits={"evict_ms": 300, "queue_high": 16 * KIB, "close_ms": 200}) as hub, Neighbour(hub) as neighbour:
        size = hub.memory()
        with hub.socket(receive_buffer=2304) as socket:
            for _ in range(10):
                socket.request("demo/clock", {"interval_ms": 1})
            evicted(hub, socket, 8)
        assert hub.memory() - size < 8 * MIB
        assert neighbour.slowest < 2


def test_answers_that_nobody_reads_are_bounded(hasty):
    """Requests whose answers pile up: what is above queue_max and a message evicts without waiting."""
    size = hasty.memory()
    with hasty.socket(receive_buffer=4096) as socket:
        sent, start = 0, time.monotonic()
        data = b"".join(binary({"type": REQUESTED, "id": f"p{i}", "payload": {"operationId": "/big/value", "input": 50000}})
                        for i in range(10))
        while sent < 2000 and time.monotonic() - start < 8 and send_all(socket, data):
            sent += 10
            time.sleep(0.001)
        evicted(hasty, socket)
        assert hasty.memory() - size < MOST
        socket.hurry()
        assert read_out(socket) in (1013, None)


def test_the_code_of_an_eviction_arrives_when_the_reader_comes_back(tmp_path):
    """Later than evict_ms, but before the socket is closed: all that had been sent, whole, and then 1013."""
    with Hub(tmp_path, limits={"evict_ms": 200, "close_ms": 5000, "queue_high": 64 * KIB}) as hub:
        with hub.socket(receive_buffer=4096) as socket:
            ident = socket.request("flood/values", [1000, 10 ** 7])
            time.sleep(0.8)
            socket.hurry()
            n = 0
            with pytest.raises(Over) as over:
                while True:
                    assert socket.output(ident)["n"] == n
                    n += 1
            assert over.value.code == 1013 and n > 10
            socket.send(close_frame(1013))
            assert socket.ended()


def test_a_reader_that_is_slow_but_reads_is_not_evicted(hasty):
    """Three times evict_ms, with more to send than there is room for all the time."""
    with hasty.socket(receive_buffer=4096) as socket:
        ident = socket.request("flood/values", [2000, 10 ** 6])
        end = time.monotonic() + 1.5
        while time.monotonic() < end:
            for _ in range(10):
                socket.sock.recv(1024)
                time.sleep(0.005)
            socket.send(frame(PONG))
        assert running(hasty) == 1 and ident
        socket.reset()
    wait_for(lambda: running(hasty) == 0)


def test_a_subscriber_that_pauses_for_less_than_evict_ms_misses_nothing(hub):
    with hub.socket(receive_buffer=4096) as socket:
        ident = socket.request("flood/values", [1000, 3000])
        time.sleep(0.5)
        socket.hurry()
        assert [socket.output(ident)["n"] for _ in range(3000)] == list(range(3000))


@pytest.mark.parametrize("limits,event", [({"queue_high": 16 * MIB}, "connection.close"), ({"evict_ms": 500}, "consumer.slow")],
                         ids=["too much", "too long"])
def test_a_client_that_serves_and_does_not_read_is_evicted(tmp_path, limits, event):
    """What the node asks of it piles up no more than what it answers. The budget has room for what the kernel takes."""
    with Hub(tmp_path, limits={"websocket_bytes": LIMIT, "queue_max": 128 * KIB, "close_ms": 200,
                               "message_budget": 512 * MIB, **limits}) as hub, \
            hub.socket(receive_buffer=4096) as socket:
        size = hub.memory()
        socket.announce(operation("ui/echo", lambda value: value))
        for i in range(400):
            if not send_all(socket, binary({"type": REQUESTED, "id": f"c{i}", "payload": {
                    "operationId": "/demo/callback", "input": {"operation": "ui/echo", "input": "x" * 50000}}})):
                break
        evicted(hub, socket)
        assert hub.memory("VmHWM") - size < 64 * MIB
        wait_for(lambda: hub.find(event=event, message="the remote does not read"))


# ---- leaving ----------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("end", ["close", "reset", "half"])
@pytest.mark.parametrize("data", [b"\x82", frame(BINARY, b"x", announced=100), frame(BINARY, WHOLE[:20], fin=False),
                                  frame(BINARY, b"x" * 20000, announced=LIMIT), frame(PING, b"x", announced=5),
                                  binary(ECHO)[:-1]],
                         ids=range(6))
def test_who_leaves_half_way_is_forgotten(hub, data, end):
    for _ in range(5):
        with hub.socket() as socket:
            socket.send(data)
            if end == "half":
                socket.sock.shutdown(1)
                assert socket.closed(answer=False) in (1002, 1006, None)
            else:
                getattr(socket, end)()


def test_running_out_of_descriptors_is_survived(tmp_path):
    with Hub(tmp_path, most_descriptors=64) as hub, Neighbour(hub) as neighbour:
        wait_for(lambda: neighbour.made or neighbour.trouble)
        wires, made = [], neighbour.made
        for _ in range(100):
            wires.append(Wire(hub.port))
            send_all(wires[-1], upgrade("127.0.0.1", token=PLAIN))
        wait_for(lambda: neighbour.made > made + 20 or neighbour.trouble)
        for wire in wires:
            wire.reset()
        wait_for(hub.serves)


def test_two_thousand_idle_sessions_leave_room_for_others(hub, capsys):
    number, size = descriptors_wanted(2000), hub.memory()
    sockets = []
    try:
        for _ in range(number):
            sockets.append(hub.socket())
        with capsys.disabled():
            print(f" [{number} idle sessions, {(hub.memory() - size) / number / KIB:.1f} KiB each] ", end="")
        start = time.monotonic()
        with hub.socket() as socket:
            for i in range(200):
                assert socket.call("demo/echo", i) == i
        assert time.monotonic() - start < 10
        assert (hub.memory() - size) / number < 24 * KIB, "with a sanitizer's red zones"
        assert sockets[0].call("demo/echo", 1) == sockets[-1].call("demo/echo", 1) == 1
        hub.forget_peak()
    finally:
        for it in sockets:
            it.reset()
