"""/subscribe: the event stream from its first byte to its proper end, and who is stopped when nobody reads."""
import json
import re
import signal
import subprocess
import time
import urllib.parse

import pytest

from conftest import wait_for
from rawhttp import ADMIN, PLAIN, TRACE, Closed, Node, Stream, build_plugin, message

MIB = 1 << 20
FLOOD = 16384  # bytes of one value


@pytest.fixture(scope="module")
def node(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stream")
    # Freed memory goes back at once, so that what the process holds is what it needs.
    calm = {"ASAN_OPTIONS": "detect_leaks=1:quarantine_size_mb=1"}
    with Node(folder, calm, plugins=[build_plugin(folder)], limits={"heartbeat_ms": 60}) as it:
        yield it


@pytest.fixture
def wire(node):
    with node.wire() as it:
        yield it


def counters(wire):
    return wire.call("flood/counters").output


def field(name):
    return urllib.parse.quote(json.dumps(name), safe="")


# ---- the stream -------------------------------------------------------------------------------------------------------

def test_values_come_in_order_and_the_body_ends_properly(wire):
    stream = wire.subscribe("demo/clock", {"interval_ms": 1, "count": 50})
    events = stream.rest()
    assert [kind for kind, _ in events] == ["message"] * 50
    assert [value["tick"] for _, value in events] == list(range(1, 51))
    assert stream.ended and wire.call("demo/echo", "again").output == "again", "the connection lives on"


def test_the_head_of_a_stream(wire):
    stream = wire.subscribe("demo/clock", {"interval_ms": 1, "count": 1}, headers={"traceparent": TRACE})
    reply = stream.reply
    assert reply.header("x-accel-buffering") == "no"
    assert reply.header("x-request-id") and reply.header("traceparent") == TRACE
    assert re.search("no-(store|cache)", reply.header("cache-control")) and reply.header("content-encoding") is None
    stream.rest()


def test_the_head_goes_out_before_the_first_value(wire):
    start = time.monotonic()
    stream = wire.subscribe("flood/values", [10, 0])
    assert stream.rest() == [] and stream.ended
    with wire:
        stream = wire.subscribe("demo/clock", {"interval_ms": 10000})
        assert stream.event()[1]["tick"] == 1 and time.monotonic() - start < 8, "the first tick is not held back"


def test_each_value_is_one_data_line_without_id(wire):
    wire.send(message("POST", "/subscribe", {"operation": "demo/clock", "input": {"interval_ms": 1, "count": 3}},
                      host=wire.host))
    text = wire.reply("POST").body.decode()
    blocks = [block for block in text.split("\n\n") if block and not block.startswith(":")]
    assert len(blocks) == 3 and all(re.fullmatch(r"data: \{[^\n]*\}", block) for block in blocks), text


def test_heartbeats_are_comments_in_a_silent_stream(wire):
    stream = wire.subscribe("demo/clock", {"interval_ms": 600, "count": 2})
    values = stream.rest()
    assert [value["tick"] for _, value in values] == [1, 2]
    assert 2 <= stream.comments <= 11, "about one each 60 ms of 600"


def test_heartbeats_end_with_the_stream(wire):
    stream = wire.subscribe("demo/clock", {"interval_ms": 1, "count": 2})
    assert len(stream.rest()) == 2
    time.sleep(0.2)
    assert wire.call("demo/echo", 1).output == 1, "no stray byte between two answers"


def test_an_error_is_an_event_and_then_the_proper_end(wire):
    stream = wire.subscribe("fail/later", {"why": "x"})
    events = stream.rest()
    assert events[:2] == [("message", 1), ("message", 2)] and stream.ended
    assert events[2:] == [("error", {"code": "later", "message": "failed as asked", "retryable": False,
                                     "details": {"why": "x"}})]


def test_a_handler_that_fails_at_once_has_started_all_the_same(wire):
    stream = wire.subscribe("fail/now")
    events = stream.rest()
    assert events == [("error", {"code": "now", "message": "failed as asked", "retryable": False})]


@pytest.mark.parametrize("operation,value,token,status,code", [
    ("no/such", None, None, 404, "NOT_FOUND"), ("demo/internal", None, PLAIN, 404, "NOT_FOUND"),
    ("demo/secret", None, None, 401, "FORBIDDEN"), ("demo/secret", None, PLAIN, 403, "FORBIDDEN"),
    ("demo/echo", 1, None, 400, "INVALID_OPERATION_TYPE"),
    ("demo/sleep", {"ms": 1}, None, 400, "INVALID_OPERATION_TYPE"),
    ("demo/clock", {"interval_ms": 0}, None, 422, "INVALID_INPUT"), ("demo/clock", [], None, 422, "INVALID_INPUT")])
@pytest.mark.parametrize("form", ["POST", "GET"])
def test_what_the_dispatcher_refuses_is_a_plain_error(wire, form, operation, value, token, status, code):
    if form == "POST":
        reply = wire.ask("POST", "/subscribe", {"operation": operation, "input": value}, token=token)
    else:
        reply = wire.ask("GET", f"/subscribe?operation={operation}&input={field(value)}", token=token)
    assert reply.status == status and reply.error()["code"] == code


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"{}", b'{"operation":1}', b'{"operation":"a","operation":"b"}'])
def test_a_body_that_is_no_subscription_is_400(wire, body):
    assert wire.ask("POST", "/subscribe", body).status == 400


@pytest.mark.parametrize("target", ["/subscribe", "/subscribe?input=1", "/subscribe?operation=demo/clock&input=%7B",
                                    "/subscribe?operation=demo/clock&input=",
                                    "/subscribe?operation=demo/clock&input=%ff",
                                    "/subscribe?operation=demo/clock&operation=demo/clock",
                                    "/subscribe?operation=demo/clock&input=%7B%22count%22%3A1%2C%22count%22%3A2%7D"])
def test_a_query_that_is_no_subscription_is_400(wire, target):
    reply = wire.ask("GET", target)
    assert reply.status == 400 and reply.error()["code"] == "INVALID_INPUT"
    assert reply.error()["message"].startswith("query: ")


def test_the_get_form_streams_too(wire):
    for name in ("demo/clock", "/demo/clock", "%2Fdemo%2Fclock"):
        wire.send(message("GET", f"/subscribe?operation={name}&input={field({'interval_ms': 1, 'count': 3})}",
                          host=wire.host))
        *ticks, end = Stream(wire).rest()
        assert [value["tick"] for _, value in ticks] == [1, 2, 3]
        assert end == ("complete", {})


def test_only_the_get_form_says_that_it_is_complete_and_no_fault_is(wire):
    events = wire.subscribe("demo/clock", {"interval_ms": 1, "count": 2}).rest()
    assert [value["tick"] for _, value in events] == [1, 2]
    wire.send(message("GET", "/subscribe?operation=fail/now", host=wire.host))
    assert [name for name, _ in Stream(wire).rest()] == ["error"]


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_http_1_0_which_cannot_tell_an_end_from_a_loss_gets_no_stream(node, method):
    value = {"interval_ms": 1, "count": 3}
    body = {"operation": "demo/clock", "input": value} if method == "POST" else None
    query = "" if body else f"?operation=demo/clock&input={field(value)}"
    with node.wire() as wire:
        wire.send(message(method, "/subscribe" + query, body, host=wire.host, version="1.0"))
        reply = wire.reply()
        assert reply.status == 505 and "proxy_http_version" in reply.error()["message"]
        assert node.ask("GET", "/mcp", version="1.0").status == 505


def test_curl_shows_the_values(node):
    done = subprocess.run(["curl", "-sS", "-N", f"http://127.0.0.1:{node.port}/subscribe", "-H",
                           "Content-Type: application/json", "-d",
                           '{"operation":"demo/clock","input":{"interval_ms":1,"count":20}}'], capture_output=True,
                          timeout=20, check=True)
    assert done.stdout.count(b"data: {") == 20


def test_many_streams_at_once_do_not_mix(node):
    wires = [node.wire() for _ in range(30)]
    streams = [wire.subscribe("demo/clock", {"interval_ms": 2, "count": 10 + i}) for i, wire in enumerate(wires)]
    for i, stream in enumerate(streams):
        assert [value["tick"] for _, value in stream.rest()] == list(range(1, 11 + i))
    for wire in wires:
        wire.close()


# ---- who goes away ----------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("leave", ["close", "reset"])
@pytest.mark.parametrize("form", ["POST", "GET"])
def test_a_reader_that_leaves_cancels_the_handler(node, form, leave):
    wire = node.wire()
    if form == "POST":
        stream = wire.subscribe("demo/clock", {"interval_ms": 20})
    else:
        wire.send(message("GET", f"/subscribe?operation=demo/clock&input={field({'interval_ms': 20})}", host=wire.host))
        stream = Stream(wire)
    assert stream.event()[1]["tick"] == 1
    getattr(wire, leave)()
    request = stream.reply.header("x-request-id")
    event = node.await_log(event="call", request_id=request)
    assert event["outcome"] == "aborted" and event["operation"] == "demo/clock"


def test_a_reader_that_leaves_a_silent_stream_is_noticed_at_once(node):
    wire = node.wire()
    stream = wire.subscribe("demo/clock", {"interval_ms": 3600000})
    stream.event()
    wire.close()
    assert node.await_log(event="call", request_id=stream.reply.header("x-request-id"),
                          seconds=5)["outcome"] == "aborted"


def test_a_reader_whose_token_is_revoked_is_cut(tmp_path):
    with Node(tmp_path) as node, node.wire() as wire, node.wire() as other:
        stream = wire.subscribe("demo/clock", {"interval_ms": 20}, token=PLAIN)
        others = other.subscribe("demo/clock", {"interval_ms": 20}, token=ADMIN)
        assert stream.event() and others.event()
        node.write_config(keys=[key for key in node.config["keys"] if key["prefix"] != PLAIN[:8]])
        node.signal(signal.SIGHUP)
        with pytest.raises(Closed):
            while stream.event():
                pass
        event = node.await_log(event="call", request_id=stream.reply.header("x-request-id"))
        assert event["outcome"] != "ok" and event["identity"] == PLAIN[:8]
        first = others.event()[1]["tick"]
        assert others.event()[1]["tick"] == first + 1, "the others go on"


# ---- who does not read ------------------------------------------------------------------------------------------------

def still(wire):
    """Waits until the flood has stopped growing, and returns its counters."""
    last, since = counters(wire), time.monotonic()
    end = since + 15
    while time.monotonic() - since < 0.4:
        assert time.monotonic() < end, "the flood does not stop"
        time.sleep(0.05)
        now = counters(wire)
        if now["emitted"] != last["emitted"]:
            last, since = now, time.monotonic()
    return last


def test_a_slow_reader_pauses_the_producer_and_memory_stays_bounded(node, wire):
    before, rss = counters(wire), node.memory()
    with node.wire(receive_buffer=4096) as slow:
        stream = slow.subscribe("flood/values", [FLOOD, 100000])
        stopped = still(wire)
        kept = (stopped["emitted"] - before["emitted"]) * FLOOD
        assert stopped["stalls"] > before["stalls"] and stopped["running"] == 1
        assert kept < 16 * MIB, "what the kernel's buffers and the high-water mark hold, not more"
        assert node.memory() - rss < 24 * MIB
        slow.hurry()
        got = [stream.event()[1]["n"] for _ in range(1500)]
        assert got == list(range(1500)), "nothing is lost and nothing comes twice"
        assert counters(wire)["emitted"] > stopped["emitted"], "the producer goes on"
        assert node.memory() - rss < 24 * MIB
    wait_for(lambda: counters(wire)["running"] == 0)
    assert counters(wire)["cut"] == before["cut"] + 1


def test_a_flood_that_is_read_comes_whole(node, wire):
    with node.wire() as reader:
        stream = reader.subscribe("flood/values", [FLOOD, 1000])
        events = stream.rest()
        assert [value["n"] for _, value in events] == list(range(1000)) and stream.ended
        assert all(len(value["pad"]) == FLOOD for _, value in events)
    assert counters(wire)["running"] == 0


def test_many_slow_readers_cost_no_more_than_the_mark_each(node, wire):
    before, rss = counters(wire), node.memory()
    slow = [node.wire(receive_buffer=4096) for _ in range(16)]
    for one in slow:
        one.send(message("POST", "/subscribe", {"operation": "flood/values", "input": [FLOOD, 100000]}, host=one.host))
    stopped = still(wire)
    assert stopped["running"] == 16 and stopped["stalls"] >= before["stalls"] + 16
    assert node.memory() - rss < 16 * 2 * MIB, "a quarter of a MiB waits for each, as much again is being written"
    for one in slow:
        one.close()
    wait_for(lambda: counters(wire)["running"] == 0)


def test_a_stalled_stream_gets_no_heartbeats_that_pile_up(node, wire):
    before = counters(wire)["emitted"]
    with node.wire(receive_buffer=4096) as slow:
        stream = slow.subscribe("flood/values", [FLOOD, 100000])
        waiting = still(wire)["emitted"] - before
        time.sleep(1)
        slow.hurry()
        while stream.event()[1]["n"] < waiting + 50:
            pass
        assert stream.comments <= 3, "of the 17 and more that a second is long"


def test_a_reader_that_takes_nothing_is_cut_and_its_call_ends(tmp_path):
    calm = {"ASAN_OPTIONS": "detect_leaks=1:quarantine_size_mb=1"}
    with Node(tmp_path, calm, plugins=[build_plugin(tmp_path)],
              limits={"write_timeout_ms": 200, "heartbeat_ms": 50}) as node:
        with node.wire() as wire, node.wire() as idle, node.wire(receive_buffer=4096) as slow, \
                node.wire(receive_buffer=4096) as late:
            silent = idle.subscribe("demo/clock", {"interval_ms": 3600000})
            stream = slow.subscribe("flood/values", [FLOOD, 100000])
            start = time.monotonic()
            wait_for(lambda: counters(wire)["cut"] == 1, seconds=20)
            assert time.monotonic() - start > 0.15
            assert node.await_log(event="call", operation="flood/values")["outcome"] == "aborted"
            with pytest.raises(Closed):
                while stream.event():
                    pass
            late.send(message("POST", "/call", {"operation": "big/value", "input": 12 * MIB}, host=late.host))
            descriptors = node.descriptors()
            wait_for(lambda: node.descriptors() < descriptors, seconds=20)
            assert late.head().status == 200
            with pytest.raises(Closed):
                late.exactly(12 * MIB)
            assert silent.event()[1]["tick"] == 1, "a silent stream whose reader listens is not cut"
            assert wire.call("demo/echo", 1).output == 1
            assert silent.block() == [":"], "its heart beats"
