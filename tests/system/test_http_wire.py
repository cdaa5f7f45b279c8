"""HTTP/1.1 itself: connections, pipelining, bodies, HEAD, limits, time-outs, and the graceful stop."""
import contextlib
import json
import os
import pathlib
import random
import signal
import socket
import subprocess
import time

import pytest

from conftest import wait_for
from rawhttp import ADMIN, PLAIN, Node, Stream, build_plugin, message, together

MIB = 1 << 20
SHORT = {"header_timeout_ms": 200, "body_timeout_ms": 200, "keepalive_ms": 200, "write_timeout_ms": 200}
SOON, LATE = 0.15, 5  # seconds: a time-out of 200 ms is not seen before the one nor after the other


@pytest.fixture(scope="module")
def node(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wire")
    with Node(folder, plugins=[build_plugin(folder)]) as it:
        yield it


@pytest.fixture(scope="module")
def hasty(tmp_path_factory):
    with Node(tmp_path_factory.mktemp("hasty"), limits=SHORT) as it:
        yield it


@pytest.fixture
def wire(node):
    with node.wire() as it:
        yield it


def call_message(wire, operation, value=None, **kwargs):
    return message("POST", "/call", {"operation": operation, "input": value}, host=wire.host, **kwargs)


def chunked(*pieces, end=b"0\r\n\r\n"):
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + end


def refused(wire, status):
    """The next answer has this status, is the error object, and the connection closes behind it."""
    reply = wire.reply()
    assert reply.status == status, reply
    assert reply.error()["code"] == "INVALID_INPUT" and reply.header("x-request-id")
    assert reply.header("connection") == "close" and wire.ended()
    return reply


# ---- connections ------------------------------------------------------------------------------------------------------

def test_a_connection_is_kept(wire):
    for i in range(20):
        assert wire.call("demo/echo", i).output == i


def test_connection_close_is_obeyed(wire):
    reply = wire.ask("GET", "/healthz", headers={"Connection": "close"})
    assert reply.header("connection") == "close" and wire.ended()


def test_http_1_0_closes_unless_asked_to_keep(node):
    with node.wire() as wire:
        assert wire.ask("GET", "/healthz", version="1.0").header("connection") in ("close", None) and wire.ended()
    with node.wire() as wire:
        for _ in range(3):
            reply = wire.ask("GET", "/healthz", headers={"Connection": "keep-alive"}, version="1.0")
            assert reply.status == 200 and reply.header("connection").lower() == "keep-alive"


def test_http_1_0_needs_no_host(node):
    with node.wire() as wire:
        assert wire.ask("GET", "/healthz", headers={"Host": None}, version="1.0").status == 200


def test_an_answer_has_the_date(wire):
    assert wire.ask("GET", "/healthz").header("date").endswith(" GMT")


def test_head_is_get_without_body(wire):
    get, head = wire.ask("GET", "/healthz"), wire.ask("HEAD", "/healthz")
    assert head.status == 200 and head.header("content-length") == get.header("content-length") == str(len(get.body))
    assert head.header("content-type") == get.header("content-type")
    assert wire.call("demo/echo", 1).output == 1


def test_an_empty_line_before_a_request_is_skipped(wire):
    wire.send(b"\r\n" + message("GET", "/healthz", host=wire.host))
    assert wire.reply().status == 200


def test_a_request_may_come_byte_by_byte(wire):
    for byte in call_message(wire, "demo/echo", "slowly"):
        wire.send(bytes([byte]))
    assert wire.reply().output == "slowly"


def test_field_names_and_tokens_ignore_case(wire):
    body = b'{"operation":"demo/echo","input":1}'
    wire.send(b"POST /call HTTP/1.1\r\nhOST: %s\r\nCONTENT-TYPE: Application/JSON\r\nTransfer-encoding: CHUNKED\r\n"
              b"CONNECTION: Close\r\n\r\n" % wire.host.encode() + chunked(body))
    assert wire.reply().output == 1 and wire.ended()


@pytest.mark.parametrize("fields", [{"Connection": "Upgrade", "Upgrade": "websocket"},
                                    {"Connection": "Upgrade, HTTP2-Settings", "Upgrade": "h2c",
                                    "HTTP2-Settings": "AAMAAABkAAQAoAAAAAIAAAAA"}, {"Upgrade": "TLS/1.0"},
                                    {"Connection": "x, y"}], ids=str)
def test_an_upgrade_that_is_not_offered_is_ignored(wire, fields):
    wire.send(call_message(wire, "demo/echo", 1, headers=fields)
              + message("GET", "/healthz", None, fields, host=wire.host)
              + call_message(wire, "demo/echo", 2))
    assert wire.reply().output == 1
    assert wire.reply().body.strip() == b"ok"
    assert wire.reply().output == 2


@pytest.mark.parametrize("value", ["close", "Close", "keep-alive, close", "close, x", "x,close ", ",close",
                                   "close\t", "\tclose", "x\t,\tclose\t"])
def test_close_among_other_options_is_obeyed(node, value):
    with node.wire() as wire:
        reply = wire.ask("GET", "/healthz", headers={"Connection": value})
        assert reply.header("connection") == "close" and wire.ended()


@pytest.mark.parametrize("coding", [{}, {"Content-Length": None, "Transfer-Encoding": "chunked"}],
                         ids=["counted", "chunked"])
def test_a_body_where_none_belongs_does_not_shift_what_follows(node, coding):
    for target in ("/search", "/openapi.json", "/healthz", "/schema?name=demo/echo", "/nothing"):
        with node.wire() as wire:
            body = message("GET", "/healthz", host="evil.example")
            data = message("GET", target, body, coding, host=wire.host)
            if coding:
                data = data[:-len(body)] + chunked(body)
            wire.send(data + call_message(wire, "demo/echo", "next"))
            reply = wire.reply()
            assert reply.status in (200, 404, 413)
            if reply.header("connection") == "close":
                assert wire.ended()
            else:
                assert wire.reply().output == "next"


@pytest.mark.parametrize("length", ["%d\t", "\t%d", " \t %d \t "], ids=repr)
def test_tabs_around_a_length_are_white_space(wire, length):
    body = b'{"operation":"demo/echo","input":1}'
    assert wire.ask("POST", "/call", body, {"Content-Length": length % len(body)}).output == 1


def test_empty_lines_behind_a_body_are_no_request(wire):
    """As some clients send them (RFC 9112, 2.2)."""
    wire.send(call_message(wire, "demo/echo", 1) + b"\r\n\r\n\r\n" + call_message(wire, "demo/echo", 2) + b"\r\n\r\n\r\n")
    assert wire.reply().output == 1 and wire.reply().output == 2
    wire.sock.shutdown(socket.SHUT_WR)
    assert wire.ended()


def test_a_later_version_of_1_is_read_as_1_1(wire):
    assert wire.ask("GET", "/healthz", version="1.2").body.strip() == b"ok"
    assert wire.ask("GET", "/healthz").status == 200


def test_who_ends_its_side_after_asking_gets_the_answer(node):
    """As `nc -N` does."""
    for data in (message("GET", "/healthz", host="localhost"),
                 message("POST", "/call", {"operation": "demo/echo", "input": 1}, host="localhost")):
        with node.wire() as wire:
            wire.send(data)
            wire.sock.shutdown(socket.SHUT_WR)
            assert wire.reply().status == 200 and wire.ended()


def test_who_ends_its_side_gets_all_that_it_asked_for(node):
    with node.wire() as calls, node.wire() as stream, node.wire() as batch:
        calls.send(call_message(calls, "demo/sleep", {"ms": 600}) * 2 + call_message(calls, "demo/echo", "last"))
        batch.send(message("POST", "/batch", [{"operation": "demo/sleep", "input": {"ms": 1200}}] * 3, host=batch.host))
        stream.send(message("POST", "/subscribe", {"operation": "demo/clock", "input": {"interval_ms": 300, "count": 5}},
                            host=stream.host))
        for wire in (calls, stream, batch):
            wire.sock.shutdown(socket.SHUT_WR)
        assert [calls.reply().output["slept_ms"] for _ in range(2)] == [600, 600] and calls.reply().output == "last"
        assert [one["result"] for one in batch.reply().json()["results"]] == ["ok"] * 3
        assert [value["tick"] for _, value in Stream(stream).rest()] == [1, 2, 3, 4, 5]
        assert all(wire.ended() for wire in (calls, stream, batch))


def test_who_waits_long_is_asked_whether_it_is_there(node):
    """What HTTP/1.0 has no word for."""
    aborted = {"event": "call", "operation": "demo/sleep", "outcome": "aborted"}
    before = len(node.find(**aborted))
    with node.wire() as there, node.wire() as old:
        gone, ahead = node.wire(), node.wire()
        there.send(call_message(there, "demo/sleep", {"ms": 6000}))
        old.send(call_message(old, "demo/sleep", {"ms": 6000}, version="1.0"))
        gone.send(call_message(gone, "demo/sleep", {"ms": 60000}))
        there.sock.shutdown(socket.SHUT_WR)
        old.sock.shutdown(socket.SHUT_WR)
        ahead.send(call_message(ahead, "demo/sleep", {"ms": 60000}) * 2)
        gone.close()
        ahead.close()
        assert there.reply().status == 100 and there.reply().output["slept_ms"] == 6000 and there.ended()
        assert old.reply().output["slept_ms"] == 6000 and old.ended()
        node.await_log(before + 2, 5, **aborted)


def test_connections_beyond_the_limit_are_closed(tmp_path):
    with Node(tmp_path, limits={"connections": 4}) as node:
        wires = [node.wire() for _ in range(4)]
        assert all(wire.ask("GET", "/healthz").status == 200 for wire in wires)
        with node.wire() as one_more:
            assert one_more.ended()
        assert all(wire.ask("GET", "/healthz").status == 200 for wire in wires)
        wires.pop().close()
        wait_for(node.serves)
        for wire in wires:
            wire.close()


def test_connections_of_one_address_beyond_the_limit_are_closed(tmp_path):
    with Node(tmp_path, limits={"connections_per_address": 3}) as node:
        wires = [node.wire() for _ in range(3)]
        assert all(wire.ask("GET", "/healthz").status == 200 for wire in wires)
        with node.wire() as one_more:
            assert one_more.ended()
        with node.wire(source="127.0.0.2") as stranger:
            assert stranger.ask("GET", "/healthz").status == 200
        wires.pop().close()
        wait_for(node.serves)
        for wire in wires:
            wire.close()


# ---- pipelining -------------------------------------------------------------------------------------------------------

def test_many_requests_in_one_write_are_answered_in_order(wire):
    wire.send(b"".join(call_message(wire, "demo/echo", i) for i in range(300)))
    assert [wire.reply().output for _ in range(300)] == list(range(300))


def test_pipelined_routes_may_be_mixed(wire):
    wire.send(call_message(wire, "demo/sleep", {"ms": 100}) + message("GET", "/healthz", host=wire.host)
              + call_message(wire, "no/such")
              + message("HEAD", "/healthz", host=wire.host) + message("GET", "/nothing", host=wire.host)
              + message("POST", "/batch", [{"operation": "demo/echo"}], host=wire.host)
              + call_message(wire, "demo/echo", 7))
    assert wire.reply().output["slept_ms"] == 100
    assert wire.reply().body.strip() == b"ok"
    assert wire.reply().status == 404
    assert wire.reply("HEAD").status == 200
    assert wire.reply().status == 404
    assert wire.reply().json()["results"][0]["result"] == "ok"
    assert wire.reply().output == 7


def test_pipelined_posts_run_one_after_the_other(wire):
    start = time.monotonic()
    wire.send(b"".join(call_message(wire, "demo/sleep", {"ms": ms}) for ms in (200, 1, 200)))
    assert [wire.reply().output["slept_ms"] for _ in range(3)] == [200, 1, 200]
    assert time.monotonic() - start >= 0.4


def test_a_stream_in_a_pipeline_ends_before_the_next_answer(wire):
    wire.send(message("POST", "/subscribe", {"operation": "demo/clock", "input": {"interval_ms": 10, "count": 5}},
                      host=wire.host)
              + call_message(wire, "demo/echo", "after"))
    assert wire.reply().body.count(b"data:") == 5
    assert wire.reply().output == "after"


def test_pipelines_cut_anywhere_give_the_same_answers(node):
    with node.wire() as wire:
        data = b"".join(call_message(wire, "demo/echo", i) for i in range(3))
    for cut in range(1, len(data), 37):
        with node.wire() as wire:
            wire.send(data[:cut])
            time.sleep(0.001)
            wire.send(data[cut:])
            assert [wire.reply().output for _ in range(3)] == [0, 1, 2]


def test_a_bad_request_in_a_pipeline_does_not_hurt_those_before(wire):
    wire.send(call_message(wire, "demo/echo", 1) + b"GET / HTTP/1.1\r\n\r\n" + call_message(wire, "demo/echo", 2))
    assert wire.reply().output == 1
    refused(wire, 400)


def test_a_pipeline_whose_answers_nobody_reads_costs_little(node):
    """The server stops reading such a client, so what it sends ends in the kernel's buffers."""
    rss = node.memory()
    with node.wire(receive_buffer=4096) as wire, node.wire() as other:
        wire.sock.setblocking(False)
        data, sent, stuck = call_message(wire, "big/value", 20000) * 100, 0, 0
        while stuck < 20 and sent < 64 * MIB:
            try:
                sent += wire.sock.send(data[sent % len(data):])
                stuck = 0
            except BlockingIOError:
                stuck += 1
                time.sleep(0.02)
        assert stuck == 20, "it read all of it"
        assert node.memory() - rss < 48 * MIB
        assert other.call("demo/echo", 1).output == 1


# ---- bodies -----------------------------------------------------------------------------------------------------------

BODY = json.dumps({"operation": "demo/echo", "input": "x" * 1000}).encode()


@pytest.mark.parametrize("pieces", [[BODY], [BODY[:1], BODY[1:]], [BODY[i:i + 1] for i in range(len(BODY))],
                                    [BODY[:500], BODY[500:]]],
                         ids=["one", "two", "bytes", "halves"])
def test_chunked_requests(wire, pieces):
    for end in (b"0\r\n\r\n", b"000\r\n\r\n", b"0;last=1\r\n\r\n", b"0\r\nTrailer: x\r\nOther: y\r\n\r\n"):
        wire.send(message("POST", "/call", None, {"Content-Type": "application/json", "Transfer-Encoding": "chunked"},
                          host=wire.host)
                  + chunked(*pieces, end=end))
        assert wire.reply().output == "x" * 1000


def test_chunk_extensions_that_are_well_formed_are_skipped(wire):
    for extension in (b";a", b";a=b", b';a="b c"', b";a=b;c=d", b';a="\\""'):
        wire.send(message("POST", "/call", None, {"Content-Type": "application/json", "Transfer-Encoding": "chunked"},
                          host=wire.host)
                  + b"%x%s\r\n%s\r\n0\r\n\r\n" % (len(BODY), extension, BODY))
        assert wire.reply().output == "x" * 1000


def test_trailers_are_not_headers(wire):
    wire.send(message("POST", "/call", None, {"Content-Type": "application/json", "Transfer-Encoding": "chunked"},
                      host=wire.host)
              + chunked(b'{"operation":"demo/whoami"}', end=b"0\r\nAuthorization: Bearer " + ADMIN.encode()
                        + b"\r\n\r\n"))
    assert wire.reply().status == 401


def test_expect_100_continue_is_answered_before_the_body_comes(wire):
    head, body = call_message(wire, "demo/echo", "waited", headers={"Expect": "100-continue"}).split(b"\r\n\r\n")
    wire.send(head + b"\r\n\r\n")
    assert wire.head().status == 100
    wire.send(body)
    assert wire.reply().output == "waited"


@pytest.mark.parametrize("headers,token,status", [({"Content-Type": "text/plain"}, None, 415),
                                                  ({"Content-Length": str(1 << 30)}, None, 413),
                                                  ({}, "alk_wrong", 401),
                                                  ({"Origin": "https://evil.example"}, None, 403)])
def test_expect_100_continue_is_not_answered_when_the_body_is_not_wanted(wire, headers, token, status):
    wire.send(message("POST", "/call", b"{}", {"Expect": "100-continue", **headers}, token, host=wire.host)[:-2])
    reply = wire.reply()
    assert reply.status == status and reply.header("connection") == "close" and wire.ended()


def test_another_expectation_fails(wire):
    wire.send(call_message(wire, "demo/echo", 1, headers={"Expect": "200-ok"}))
    assert wire.reply().status == 417 and wire.ended()


def test_curl_sends_a_large_body_with_expect(node):
    """curl asks for 100 Continue on its own above 1 MiB and waits a second when it is not given."""
    body = json.dumps({"operation": "demo/echo", "input": "y" * (2 * MIB)}).encode()
    done = subprocess.run(["curl", "-sS", "-v", f"http://127.0.0.1:{node.port}/call", "-H",
                           "Content-Type: application/json", "-H",
                           "Authorization: Bearer " + PLAIN, "-H", "Expect: 100-continue", "--data-binary", "@-"],
                          input=body,
                          capture_output=True, timeout=30, check=True)
    assert b"HTTP/1.1 100 Continue" in done.stderr and done.stdout.count(b"y") >= 2 * MIB


def test_a_body_that_is_not_read_closes(wire):
    wire.send(message("POST", "/nothing", b"{}", host=wire.host) + message("GET", "/healthz", host=wire.host))
    reply = wire.reply()
    assert reply.status == 404 and reply.header("connection") == "close" and wire.ended()


# ---- limits -----------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("token,limit", [(None, MIB), (PLAIN, 4 * MIB)], ids=["anonymous", "with a token"])
@pytest.mark.parametrize("form", ["counted", "chunked"])
def test_body_limits(node, token, limit, form):
    frame = len(b'{"operation":"demo/echo","input":""}')
    for size, fits in ((limit, True), (limit + 1, False)):
        body = b'{"operation":"demo/echo","input":"' + b"z" * (size - frame) + b'"}'
        with node.wire() as wire:
            if form == "counted":
                data = message("POST", "/call", body, {}, token, host=wire.host)
            else:
                fields = {"Content-Type": "application/json", "Transfer-Encoding": "chunked"}
                data = message("POST", "/call", None, fields, token, host=wire.host) + chunked(
                    *(body[i:i + 65536] for i in range(0, size, 65536)))
            try:
                wire.send(data)
            except ConnectionError:
                assert not fits
            if fits:
                assert wire.reply().output == "z" * (size - frame)
            else:
                refused(wire, 413)


def test_a_token_that_does_not_resolve_has_no_larger_limit(wire):
    wire.send(message("POST", "/call", b"x" * 100, {"Content-Length": str(3 * MIB)}, "alk_" + "0" * 40, host=wire.host))
    assert wire.reply().status == 401 and wire.ended()


def test_url_limit(node):
    for size, status in ((8192, 400), (8193, 414)):
        with node.wire() as wire:
            wire.send(message("GET", "/search?x=" + "a" * (size - 10), host=wire.host))
            assert wire.reply().status == status
    with node.wire() as wire:
        wire.send(b"GET /" + b"a" * 200000)
        refused(wire, 414)


def test_header_limits(node):
    with node.wire() as wire:
        fields = [(f"X-{i}", "v") for i in range(98)]
        assert wire.ask("GET", "/healthz", headers=fields).status == 200
        wire.send(message("GET", "/healthz", headers=fields + [(f"Y-{i}", "v") for i in range(3)], host=wire.host))
        refused(wire, 431)
    with node.wire() as wire:
        assert wire.ask("GET", "/healthz", headers={"X-Long": "v" * 32000}).status == 200
        wire.send(message("GET", "/healthz", headers={"X-Long": "v" * 33000}, host=wire.host))
        refused(wire, 431)
    with node.wire() as wire:
        wire.send(b"GET /healthz HTTP/1.1\r\nHost: x\r\n" + b"A" * 100000)
        refused(wire, 431)


def test_smaller_limits_are_obeyed(tmp_path):
    limits = {"body_bytes": 2000, "anonymous_bytes": 1500, "url_bytes": 100, "header_bytes": 2000, "header_count": 10,
              "batch": 3,
              "json_values": 50, "json_depth": 10}
    with Node(tmp_path, limits=limits) as node:
        def status(*args, **kwargs):
            return node.ask(*args, **kwargs).status

        def call(value, token=PLAIN):
            return status("POST", "/call", {"operation": "demo/echo", "input": value}, token=token)

        assert (call("x" * 1900), call("x" * 2000)) == (200, 413)
        assert (call("x" * 1400, None), call("x" * 1600, None)) == (200, 413)
        assert (status("GET", "/search?q=" + "a" * 50), status("GET", "/search?q=" + "a" * 150)) == (200, 414)
        assert status("GET", "/healthz", headers={"X": "v" * 2100}) == 431
        assert status("GET", "/healthz", headers=[(f"X-{i}", "v") for i in range(12)]) == 431
        batch = [{"operation": "demo/echo"}] * 4
        assert (status("POST", "/batch", batch[:3]), status("POST", "/batch", batch)) == (200, 400)
        assert (call([0] * 20), call([0] * 60)) == (200, 413)
        assert (call([[[[[]]]]]), call([[[[[[[[[[[]]]]]]]]]]])) == (200, 400)


# ---- time-outs --------------------------------------------------------------------------------------------------------

def test_a_connection_that_says_nothing_is_closed(hasty):
    with hasty.wire() as wire:
        start = time.monotonic()
        assert wire.ended(LATE) and time.monotonic() - start > SOON


def test_an_idle_connection_is_closed(hasty):
    with hasty.wire() as wire:
        assert wire.ask("GET", "/healthz").status == 200
        start = time.monotonic()
        assert wire.ended(LATE) and time.monotonic() - start > SOON


@pytest.mark.parametrize("part", [b"G", b"GET /healthz HTTP/1.1\r\n", b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Y: z"])
def test_a_head_that_stops_half_way_is_408(hasty, part):
    with hasty.wire() as wire:
        start = time.monotonic()
        wire.send(part)
        refused(wire, 408)
        assert SOON < time.monotonic() - start < LATE


@pytest.mark.parametrize("sent", [b"", b'{"operation":'])
@pytest.mark.parametrize("form", ["counted", "chunked"])
def test_a_body_that_stops_half_way_is_408(hasty, form, sent):
    with hasty.wire() as wire:
        start = time.monotonic()
        if form == "counted":
            wire.send(message("POST", "/call", b"", {"Content-Length": "100"}, host=wire.host) + sent)
        else:
            wire.send(message("POST", "/call", b"", {"Content-Length": None, "Transfer-Encoding": "chunked"},
                              host=wire.host)
                      + b"40\r\n" + sent)
        refused(wire, 408)
        assert SOON < time.monotonic() - start < LATE


@pytest.mark.parametrize("head", [b"", message("POST", "/call", b"", {"Content-Length": "100000"})],
                         ids=["head", "body"])
def test_what_comes_byte_by_byte_is_408_all_the_same(hasty, head):
    with hasty.wire() as wire:
        wire.send(head)
        wire.sock.settimeout(0.03)
        start = time.monotonic()
        while not wire.seen:
            assert time.monotonic() - start < LATE
            wire.send(b"G")
            with contextlib.suppress(socket.timeout):
                wire.more()
        assert time.monotonic() - start > SOON
        wire.sock.settimeout(5)
        refused(wire, 408)


def test_the_next_head_of_a_kept_connection_has_its_time_out_too(hasty):
    with hasty.wire() as wire:
        start = time.monotonic()
        wire.begin(b"GET /heal")
        refused(wire, 408)
        assert SOON < time.monotonic() - start < LATE


def test_a_slow_handler_is_not_a_slow_client(hasty):
    with hasty.wire() as wire:
        assert wire.call("demo/sleep", {"ms": 700}).output["slept_ms"] == 700
        assert len(wire.subscribe("demo/clock", {"interval_ms": 350, "count": 3}).rest()) == 3


# ---- the graceful stop ------------------------------------------------------------------------------------------------

def test_draining_says_503_while_it_still_accepts(tmp_path):
    with Node(tmp_path, limits={"drain_delay_ms": 2000, "drain_ms": 2000}) as node:
        with node.wire() as kept:
            assert kept.ask("GET", "/healthz").status == 200
            node.signal(signal.SIGTERM)
            wait_for(lambda: node.ask("GET", "/healthz").status == 503)
            assert kept.ask("GET", "/healthz").status == 503
            assert node.ask("POST", "/call", {"operation": "demo/echo",
                                              "input": 1}).output == 1, "calls are still taken"
        node.ended()


def test_draining_finishes_what_runs_and_closes_what_is_idle(tmp_path):
    with Node(tmp_path, limits={"drain_ms": 10000}) as node:
        idle, running, streaming = node.wire(), node.wire(), node.wire()
        assert idle.call("demo/echo", 1).output == 1
        running.begin(call_message(running, "demo/sleep", {"ms": 700}))
        told = streaming.subscribe("demo/clock", {"interval_ms": 100})
        told.event()
        node.signal(signal.SIGTERM)
        assert idle.ended()
        wait_for(lambda: not can_connect(node))
        reply = running.reply()
        assert reply.output["slept_ms"] == 700 and reply.header("connection") == "close" and running.ended()
        *ticks, last = told.rest()
        assert [(kind, value["tick"]) for kind, value in ticks] == [("message", n + 2) for n in range(len(ticks))]
        assert last == ("error", {"code": "BUSY", "message": "shutting down", "retryable": True})
        assert told.ended and streaming.ended()
        for wire in (idle, running, streaming):
            wire.close()
        start = time.monotonic()
        node.ended()
        assert time.monotonic() - start < 5, "it ends with its last call, not at the time-out"


def test_a_request_that_arrives_during_the_drain_is_busy(tmp_path):
    with Node(tmp_path, plugins=[build_plugin(tmp_path)], limits={"drain_ms": 5000}) as node:
        begun, streaming = node.wire(), node.wire()
        streaming.subscribe("mute/values").event()
        data = call_message(begun, "demo/echo", 1)
        begun.begin(data[:-5])
        node.signal(signal.SIGTERM)
        wait_for(lambda: not can_connect(node))
        begun.send(data[-5:])
        reply = begun.reply()
        assert reply.status == 503 and reply.header("retry-after") == "1" and reply.header("connection") == "close"
        assert reply.error()["code"] == "BUSY" and reply.error()["retryable"] is True
        streaming.close()
        begun.close()
        node.ended()


def can_connect(node):
    try:
        node.wire().close()
        return True
    except OSError:
        return False


def test_the_drain_time_out_cancels_and_says_so(tmp_path):
    with Node(tmp_path, plugins=[build_plugin(tmp_path)], limits={"drain_ms": 300}) as node:
        running, streaming = node.wire(), node.wire()
        running.begin(call_message(running, "demo/sleep", {"ms": 60000}))
        stream = streaming.subscribe("mute/values")
        assert stream.event() == ("message", 1)
        start = time.monotonic()
        node.signal(signal.SIGTERM)
        reply = running.reply()
        assert reply.status == 503 and reply.error()["code"] == "BUSY" and reply.header("retry-after") == "1"
        assert time.monotonic() - start >= 0.25
        events = stream.rest()
        assert [(kind, value["code"]) for kind, value in events] == [("error", "BUSY")] and stream.ended
        node.ended()
        assert len(node.find(event="call")) == 2, "each call ends once"


def test_a_second_signal_stops_at_once(tmp_path):
    with Node(tmp_path, limits={"drain_ms": 60000}) as node:
        running = node.wire()
        running.begin(call_message(running, "demo/sleep", {"ms": 60000}))
        node.signal(signal.SIGTERM)
        wait_for(lambda: not can_connect(node))
        assert node.proc.poll() is None
        start = time.monotonic()
        node.signal(signal.SIGINT)
        assert running.reply().status == 503
        node.ended()
        assert time.monotonic() - start < 5


def test_a_drain_with_pipelines_and_batches_ends_clean(tmp_path):
    with Node(tmp_path, limits={"drain_ms": 200}) as node:
        wires = [node.wire() for _ in range(12)]
        for i, wire in enumerate(wires):
            if i % 3 == 0:
                wire.begin(call_message(wire, "demo/sleep", {"ms": 100}) * 20)
            elif i % 3 == 1:
                wire.begin(message("POST", "/batch", [{"operation": "demo/sleep", "input": {"ms": 60000}}] * 100,
                                   host=wire.host))
            else:
                wire.begin(call_message(wire, "demo/echo", "x" * 100000)[:50000])
        node.signal(signal.SIGTERM)
        replies = together([lambda wire=wire: wire.reply() for i, wire in enumerate(wires) if i % 3 < 2])
        for i, reply in enumerate(replies):
            if i % 2 == 0:
                assert reply.output["slept_ms"] == 100
            else:
                codes = {one["error"]["code"] for one in reply.json()["results"]}
                assert codes == {"BUSY"} and len(reply.json()["results"]) == 100
        node.ended()


# ---- all of it at once ------------------------------------------------------------------------------------------------

def test_waiting_for_others_takes_no_processor_time(tmp_path):
    """Whoever does not read, does not write, or is half gone, must not keep the loop awake."""
    def used():
        fields = pathlib.Path(f"/proc/{node.proc.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    with Node(tmp_path, plugins=[build_plugin(tmp_path)]) as node, contextlib.ExitStack() as stack:
        wires = [stack.enter_context(node.wire(receive_buffer=4096)) for _ in range(10)]
        wires[0].subscribe("flood/values", [16384, 100000])
        wires[1].subscribe("flood/values", [16384, 100000])
        wires[1].sock.shutdown(socket.SHUT_WR)
        wires[2].send(call_message(wires[2], "demo/sleep", {"ms": 60000}) + b"x" * 100000)
        wires[3].send(call_message(wires[3], "demo/sleep", {"ms": 60000}) + b"x" * 100000)
        wires[3].sock.shutdown(socket.SHUT_WR)
        wires[4].send(call_message(wires[4], "big/value", 8 * MIB) * 2)
        wires[5].send(call_message(wires[5], "big/value", 8 * MIB) * 2)
        wires[5].sock.shutdown(socket.SHUT_WR)
        wires[6].send(b"GET / HT")
        wires[7].send(message("POST", "/call", b"", {"Content-Length": "1000"}, host=wires[7].host) + b"{")
        wires[8].subscribe("mute/values")
        wires[9].send(message("POST", "/call", b"", {"Content-Length": str(1 << 40)}, host=wires[9].host))
        time.sleep(0.5)
        before = used()
        time.sleep(1)
        assert used() - before < 0.2


class Storm:
    """Clients that do what they like, and mostly leave in the middle of it. The dice are the same in each run."""

    def __init__(self, node, seed, seconds):
        self.node, self.dice, self.end = node, random.Random(seed), time.monotonic() + seconds

    def data(self, wire):
        dice = self.dice
        token = dice.choice([None, ADMIN, PLAIN, "alk_" + "0" * 40])
        return dice.choice([
            lambda: call_message(wire, "demo/echo", "x" * dice.randrange(1, 30000), token=token),
            lambda: call_message(wire, "demo/sleep", {"ms": dice.randrange(0, 300)}, token=token),
            lambda: call_message(wire, "demo/sleep", {"ms": 100}, token=token,
                                 headers={"X-Timeout-Ms": str(dice.randrange(1, 150))}),
            lambda: call_message(wire, "big/value", dice.randrange(1, 2 * MIB), token=token),
            lambda: message("POST", "/batch", dice.randrange(0, 129)
                            * [{"operation": "demo/sleep", "input": {"ms": dice.randrange(0, 50)}}],
                            host=wire.host, token=token),
            lambda: message("POST", "/subscribe",
                            {"operation": "demo/clock", "input": {"interval_ms": dice.randrange(1, 20), "count": 10}},
                            host=wire.host, token=token),
            lambda: message("POST", "/subscribe",
                            {"operation": "flood/values", "input": [dice.randrange(1, 20000), dice.randrange(0, 500)]},
                            host=wire.host, token=token),
            lambda: message("GET", "/search", host=wire.host, token=token),
            lambda: message("GET", "/nothing", host=wire.host),
            lambda: b"nonsense\r\n\r\n"])()

    def visit(self):
        dice = self.dice
        with self.node.wire(timeout=0.05, receive_buffer=dice.choice([0, 2048])) as wire:
            with contextlib.suppress(OSError):
                for _ in range(dice.randrange(1, 4)):
                    data = b"".join(self.data(wire) for _ in range(dice.randrange(1, 5)))
                    wire.send(data[:dice.randrange(1, len(data))] if dice.random() < 0.2 else data)
                    for _ in range(dice.randrange(0, 20)):
                        if not wire.sock.recv(65536):
                            break
            if dice.random() < 0.5:
                wire.reset()

    def run(self):
        while time.monotonic() < self.end:
            try:
                self.visit()
            except ConnectionError:
                assert self.node.proc.poll() is not None or not can_connect(self.node), "no more connections?"
                return


@pytest.mark.parametrize("workers", [1, 3])
def test_a_storm_of_clients_leaves_nothing_behind(tmp_path, workers):
    config = {"plugins": [build_plugin(tmp_path)], "limits": {"heartbeat_ms": 10}, "workers": workers, "peers": []}
    with Node(tmp_path, **config) as node, node.wire() as wire:
        assert wire.call("demo/echo", 1).output == 1
        before = node.descriptors()
        together([Storm(node, seed, 2.5).run for seed in range(8)])
        wait_for(lambda: node.descriptors() <= before)
        wait_for(lambda: wire.call("flood/counters").output["running"] == 0)
        assert wire.call("demo/echo", 1).output == 1
        ids = [event["request_id"] for event in node.find(event="call")]
        assert len(ids) == len(set(ids)) > 100, "each call ends once"


@pytest.mark.parametrize("drain_ms", [0, 150])
def test_a_stop_in_the_middle_of_a_storm_ends_clean(tmp_path, drain_ms):
    with Node(tmp_path, plugins=[build_plugin(tmp_path)], limits={"drain_ms": drain_ms}) as node:
        storms = [Storm(node, seed, 10) for seed in range(100, 106)]

        def stop():
            time.sleep(0.5)
            node.signal(signal.SIGHUP)
            time.sleep(0.2)
            node.signal(signal.SIGTERM)

        together([stop, *(storm.run for storm in storms)])
        node.ended()
        ids = [event["request_id"] for event in node.find(event="call")]
        assert len(ids) == len(set(ids)) > 20


def test_who_floods_behind_the_end_is_cut_off(wire):
    """A little is thrown away, so that the answer is not lost; no more."""
    wire.send(b"NONSENSE\r\n\r\n")
    wait_for(lambda: wire.sock.recv(1 << 16).startswith(b"HTTP/1.1 400 "))
    wire.send(bytes(MIB))
    with pytest.raises(ConnectionError):
        for _ in range(64):
            wire.send(bytes(MIB))
