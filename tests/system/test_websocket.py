"""Sessions: calls both ways over one WebSocket, what an independent client finds, and how a session ends."""
import contextlib
import json
import signal
import time

import pytest

from conftest import wait_for
from rawhttp import ADMIN, PEER, PLAIN, TRACE, UNKNOWN, Closed, together
from rawws import (BINARY, COMPLETED, CONTINUATION, ERROR, PING, PONG, PROTOCOL, REQUESTED, RESPONDED, SILENT, Fault, Hub,
                   Over, bearer, binary, close_frame, frame, independent, operation)
from test_http_routes import DEMO

MIB = 1 << 20


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    with Hub(tmp_path_factory.mktemp("sessions")) as it:
        yield it


@pytest.fixture
def socket(hub):
    with hub.socket() as it:
        yield it
        it.sock.settimeout(15)
        assert it.call("demo/echo", "at the end") == "at the end"
        it.bye()


# ---- an independent client --------------------------------------------------------------------------------------------

STYLES = {"header": {"additional_headers": {"Authorization": "Bearer " + PLAIN}},
          "subprotocol": {"subprotocols": [PROTOCOL, bearer(PLAIN)]},
          "both": {"additional_headers": {"Authorization": "Bearer " + PLAIN}, "subprotocols": [PROTOCOL, bearer(PLAIN)]}}


def envelope(operation_id, value=None, ident="1", kind=REQUESTED):
    payload = {"operationId": operation_id, "input": value} if kind == REQUESTED else value
    return json.dumps({"type": kind, "id": ident, "payload": payload}).encode()


@pytest.fixture(params=STYLES)
def other(hub, request):
    with independent.connect(f"ws://127.0.0.1:{hub.port}/alknet/call", open_timeout=10, close_timeout=10,
                             **STYLES[request.param]) as it:
        assert it.subprotocol == (None if request.param == "header" else PROTOCOL)
        assert not it.protocol.extensions, "it offers compression, and gets none"
        yield it


def receive(other):
    text = other.recv(timeout=10)
    assert isinstance(text, bytes)
    return json.loads(text)


def test_an_independent_client_calls_and_closes(other):
    other.send(envelope("/demo/add", {"a": 1, "b": 2}))
    assert receive(other) == {"type": RESPONDED, "id": "1", "payload": {"output": {"sum": 3}}}
    other.send(envelope("/no/such", ident="2"))
    assert receive(other)["payload"]["code"] == "NOT_FOUND"
    other.close(1000, "done")
    assert other.close_code == 1000


def test_an_independent_client_subscribes(other):
    other.send(envelope("/demo/clock", {"interval_ms": 1, "count": 5}))
    said = [receive(other) for _ in range(6)]
    assert [e["payload"]["output"]["tick"] for e in said[:5]] == [1, 2, 3, 4, 5]
    assert said[5] == {"type": COMPLETED, "id": "1", "payload": {}}


def test_an_independent_client_sends_a_message_in_fragments(other):
    data = envelope("/demo/echo", "\u00e9\u4e16\U0001f600" * 100)
    other.send([data[i:i + 7] for i in range(0, len(data), 7)])
    assert receive(other)["payload"]["output"] == "\u00e9\u4e16\U0001f600" * 100


def test_an_independent_client_sends_4_mib_in_fragments_of_1024_bytes(other):
    """As clients do whose buffer for writing has that size."""
    text = "x" * ((4 << 20) - 200)
    data = envelope("/demo/add", {"a": text, "b": 1})
    other.send([data[i:i + 1024] for i in range(0, len(data), 1024)])
    assert receive(other)["payload"]["code"] == "INVALID_INPUT", "it has been read"


def test_an_independent_client_sends_and_gets_a_large_message(other):
    other.send(envelope("/demo/echo", "x" * (1 << 19)))
    assert receive(other)["payload"]["output"] == "x" * (1 << 19)


def test_an_independent_client_pings(other):
    pongs = [other.ping(data) for data in (b"", b"hello", b"x" * 125)]
    assert all(pong.wait(10) for pong in pongs)


def test_an_independent_client_that_sends_text_is_closed_with_1002(other):
    other.send(envelope("/demo/echo").decode())
    with pytest.raises(Exception) as closed:
        other.recv(timeout=10)
    assert other.close_code == 1002, closed


# ---- calls ------------------------------------------------------------------------------------------------------------

def test_a_query_is_answered_once(socket):
    ident = socket.request("demo/add", {"a": 20, "b": 22})
    assert socket.next_of(ident) == (RESPONDED, {"output": {"sum": 42}})
    assert socket.quiet()


def test_the_answer_is_compact_and_has_three_members(socket):
    socket.send(binary({"payload": {"operationId": "demo/echo", "input": [1, {"a": " "}]}, "id": "x y", "type": REQUESTED}))
    assert socket.message() == b'{"type":"call.responded","id":"x y","payload":{"output":[1,{"a":" "}]}}'


@pytest.mark.parametrize("text", ['1.10', '1e400', '12345678901234567890123', '-0', '"\\u0000\\ud83d\\ude00"', '""', "[]", "{}",
                                  "null", "true", '{"":{"":[]}}', '"\u00e9\u4e16\U0001f600\u2028"'])
def test_a_value_comes_back_as_it_came(socket, text):
    socket.send(binary('{"type":"call.requested","id":"v","payload":{"operationId":"/demo/echo","input":' + text + "}}"))
    said = socket.message().decode()
    assert said.startswith('{"type":"call.responded","id":"v","payload":{"output":')
    assert json.loads(said)["payload"]["output"] == json.loads(text) and ("1.10" not in text or "1.10" in said)


def test_a_missing_input_is_null(socket):
    socket.put(REQUESTED, "a", {"operationId": "/demo/echo"})
    assert socket.output("a") is None


@pytest.mark.parametrize("ident", ["x", "x" * 256, "\u00e9" * 128, "\U0001f600" * 64, " ", "\n\t\"\\", "\0", "-1",
                                   "call.aborted"],
                         ids=range(9))
def test_any_id_of_1_to_256_bytes_comes_back(socket, ident):
    assert socket.call("demo/echo", 1, ident=ident) == 1


def test_errors_are_told_with_all_their_parts(socket):
    fault = socket.fault("demo/fail", {"message": "no \u00e9", "retryable": True})
    assert (fault.code, fault.message, fault.retryable, fault.details) == ("DEMO_CONFLICT", "no \u00e9", True,
                                                                           {"holder": "nobody"})
    fault = socket.fault("demo/add", {"a": 1, "c": 2})
    assert fault.code == "INVALID_INPUT" and not fault.retryable and fault.details["errors"]
    assert {e["keyword"] for e in fault.details["errors"]} == {"required", "additionalProperties"}
    fault = socket.fault("no/such")
    assert (fault.code, fault.message) == ("NOT_FOUND", "operation not found: no/such")
    assert socket.fault("demo/internal", 1).code == "NOT_FOUND"
    fault = socket.fault("demo/secret")
    assert fault.code == "FORBIDDEN" and fault.message != "authentication required"
    assert socket.fault("fail/negative").message == "internal error"
    assert socket.fault("fail/BUSY").code == "INTERNAL", "a protocol code is not a handler's to use"
    assert socket.fault("fail/APP_UNDECLARED", {"x": 1}).details == {"x": 1}


def test_what_a_token_may_is_what_its_session_may(hub):
    with hub.socket(ADMIN) as admin:
        assert admin.call("demo/secret")["secret"]
        assert "demo/secret" in {op["name"] for op in admin.call("services/list", {})["operations"]}


def test_an_auth_token_replaces_the_identity_of_one_request(socket):
    assert socket.call("demo/whoami", auth_token=ADMIN)["id"] == ADMIN[:8]
    assert socket.call("demo/secret", auth_token=ADMIN)["secret"]
    assert socket.call("demo/whoami", auth_token=PEER)["id"] == "peer-a"
    assert socket.call("demo/whoami")["id"] == PLAIN[:8] and socket.fault("demo/secret").code == "FORBIDDEN"
    assert socket.call("demo/whoami", auth_token=UNKNOWN)["id"] == PLAIN[:8], "one that does not resolve changes nothing"


def test_the_gateways_routes_do_not_exist_in_a_session(socket):
    for name in ("call", "batch", "search", "subscribe", "healthz"):
        assert socket.fault(name).code == "NOT_FOUND"


def test_a_slow_call_blocks_none_behind_it(socket):
    slow = socket.request("demo/sleep", {"ms": 60000})
    assert [socket.call("demo/echo", i) for i in range(50)] == list(range(50))
    assert not socket.answers[slow]


def test_calls_end_in_the_order_of_their_ends(socket):
    idents = [socket.request("demo/sleep", {"ms": ms}) for ms in (300, 150, 20)]
    ended = []
    while len(ended) < 3:
        ended.append(socket.envelope()[1])
    assert ended == idents[::-1]


def test_sixty_four_in_flight(socket):
    start = time.monotonic()
    idents = [socket.request("demo/sleep", {"ms": 200}) for _ in range(64)]
    assert all(socket.output(ident)["slept_ms"] == 200 for ident in idents)
    assert time.monotonic() - start < 64 * 0.2 / 4


def test_a_batch_is_several_requests_in_one_write(socket):
    idents = [f"b{i}" for i in range(1000)]
    socket.send(b"".join(binary({"type": REQUESTED, "id": ident, "payload": {"operationId": "/demo/echo", "input": i}})
                         for i, ident in enumerate(idents)))
    assert [socket.output(ident) for ident in idents] == list(range(1000))


def test_too_many_running_calls_are_busy(tmp_path):
    with Hub(tmp_path, limits={"connection_calls": 4}) as hub, hub.socket() as socket, hub.socket() as other:
        running = [socket.request("demo/sleep", {"ms": 300}) for _ in range(4)]
        fault = socket.fault("demo/echo", 1)
        assert fault.code == "BUSY" and fault.retryable
        assert other.call("demo/echo", 1) == 1, "the limit is a connection's own"
        assert all(socket.output(ident) for ident in running)
        assert socket.call("demo/echo", 1) == 1


def test_a_timeout_ends_the_call_here(hub, socket):
    before, start = hub.cancelled(), time.monotonic()
    fault = socket.fault("demo/sleep", {"ms": 60000}, timeout_ms=100)
    assert fault.code == "TIMEOUT" and fault.retryable and 0.09 < time.monotonic() - start < 5
    assert hub.cancelled() == before + 1
    assert socket.call("demo/sleep", {"ms": 50}, timeout_ms=5000)["slept_ms"] == 50


def test_a_timeout_does_not_prolong_the_deadline(tmp_path):
    with Hub(tmp_path, limits={"deadline_ms": 100}) as hub, hub.socket() as socket:
        assert socket.fault("demo/sleep", {"ms": 60000}, timeout_ms=60000).code == "TIMEOUT"
        clock = socket.request("demo/clock", {"interval_ms": 1, "count": 200})
        assert [socket.output(clock)["tick"] for _ in range(200)] == list(range(1, 201)), "a subscription has no deadline"
        assert socket.next_of(clock) == (COMPLETED, {})


def test_an_abort_cancels_at_once_and_is_not_answered(hub, socket):
    before = hub.cancelled()
    ident = socket.request("demo/sleep", {"ms": 60000})
    socket.call("demo/echo")
    socket.abort(ident)
    assert socket.quiet() and hub.cancelled() == before + 1
    socket.abort(ident)
    assert socket.quiet(0.05)


def test_a_subscription_delivers_in_order_and_completes(socket):
    idents = [socket.request("demo/clock", {"interval_ms": 1, "count": 50}) for _ in range(5)]
    for ident in idents:
        assert [socket.output(ident)["tick"] for _ in range(50)] == list(range(1, 51))
        assert socket.next_of(ident) == (COMPLETED, {})
    assert socket.quiet()


def test_a_subscription_may_fail(socket):
    assert socket.fault("fail/now").message == "failed as asked"
    ident = socket.request("fail/later")
    assert (socket.output(ident), socket.output(ident)) == (1, 2)
    assert socket.next_of(ident)[0] == ERROR


def test_a_subscription_that_is_aborted_falls_silent(socket):
    ident = socket.request("demo/clock", {"interval_ms": 1})
    assert socket.output(ident)["tick"] == 1
    socket.abort(ident)
    socket.call("demo/echo")
    socket.answers[ident].clear()
    assert socket.quiet()


def test_a_flood_that_is_read_comes_whole(hub, socket):
    ident = socket.request("flood/values", [1000, 5000])
    assert [socket.output(ident)["n"] for _ in range(5000)] == list(range(5000))
    assert socket.next_of(ident) == (COMPLETED, {})


def test_an_answer_may_be_as_large_as_a_message(socket):
    assert len(socket.call("big/value", 4 * MIB - 200)) == 4 * MIB - 200
    fault = socket.fault("big/value", 5 * MIB)
    assert (fault.code, fault.message) == ("INTERNAL", "output too large")


def test_several_sessions_do_not_meet(hub):
    def work(i):
        with hub.socket() as socket:
            for n in range(50):
                assert socket.call("demo/echo", [i, n], ident=f"same-{n}") == [i, n]
            socket.bye()
    together([lambda i=i: work(i) for i in range(16)])


def test_calls_over_http_go_on_beside(hub, socket):
    running = socket.request("demo/sleep", {"ms": 300})
    with hub.wire() as wire:
        assert [wire.call("demo/echo", i).output for i in range(100)] == list(range(100))
        assert wire.ask("GET", "/search", token=PLAIN).status == 200
    assert socket.output(running)["slept_ms"] == 300


def test_the_log_has_each_call_with_its_identity(hub, socket):
    ident = f"logged-{time.monotonic_ns()}"
    socket.call("demo/echo", 1, ident=ident, traceparent=TRACE)
    event = hub.await_log(event="call", request_id=ident)
    assert event["identity"] == PLAIN[:8] and event["operation"] == "demo/echo" and event["outcome"] == "ok"


# ---- discovery --------------------------------------------------------------------------------------------------------

def test_services_list_says_what_the_caller_may_call(hub, socket):
    listed = socket.call("services/list", {})
    names = [op["name"] for op in listed["operations"]]
    assert names == sorted(names) and "next_cursor" not in listed
    assert [name for name in names if name.startswith("demo/")] == [name for name in DEMO if name != "demo/secret"]
    with hub.wire() as wire:
        assert listed == wire.ask("GET", "/search", token=PLAIN).output
    assert [op["name"] for op in socket.call("services/list", {"q": "TICK"})["operations"]] == ["demo/clock"]


def test_services_schema_describes(hub, socket):
    spec = socket.call("services/schema", {"name": "demo/callback"})
    assert spec["op_type"] == "mutation" and {e["code"] for e in spec["error_schemas"]} == {"CALLBACK_FAILED", "NO_CONNECTION"}
    with hub.wire() as wire:
        assert spec == wire.ask("GET", "/schema?name=demo/callback", token=PLAIN).output
    assert socket.fault("services/schema", {"name": "demo/secret"}).code == "NOT_FOUND"


# ---- calls from the server's side -------------------------------------------------------------------------------------

def double(value):
    return value * 2


def fail_as_told(value):
    raise Fault(*value)


SERVED = {**operation("ui/echo", lambda value: value), **operation("ui/double", double, op_type="mutation"),
          **operation("ui/fail", fail_as_told), **operation("ui/silent", lambda value: SILENT),
          **operation("ui/strict", double, input_schema={"type": "integer"}),
          **operation("ui/guarded", double, access_control={"required_scopes": ["ui:write"]}),
          **operation("ui/closed", double, access_control={"required_scopes": ["admin:all"]}),
          **operation("chat/say", double)}


@pytest.fixture
def serving(socket):
    socket.announce(SERVED)
    return socket


def callback(socket, name, value=None, **more):
    return socket.serve(SERVED, socket.request("demo/callback", {"operation": name, "input": value}, **more))


def callback_fault(socket, name, value=None, **more):
    with pytest.raises(Fault) as caught:
        callback(socket, name, value, **more)
    return caught.value


def test_announce_imports_what_the_client_serves(socket):
    before = callback_fault(socket, "ui/echo", 1)
    assert before.code == "CALLBACK_FAILED" and before.details["code"] == "NOT_FOUND"
    socket.announce(SERVED)
    assert socket.described == {"services/list", *SERVED}
    assert callback(socket, "ui/echo", [1, "\u00e9", None]) == [1, "\u00e9", None]
    assert callback(socket, "ui/double", 21) == 42
    assert callback(socket, "/ui/double", 4) == 8, "a leading slash is stripped"


def test_a_callback_says_for_whom_it_is_and_how_far_it_went(serving):
    ident = serving.request("demo/callback", {"operation": "ui/echo", "input": {"a": 1}}, timeout_ms=5000, hops=3)
    theirs, payload = serving.requested("ui/echo")
    assert theirs != ident
    assert payload.pop("input") == {"a": 1} and payload.pop("hops") == 4 and 0 < payload.pop("timeout_ms") <= 5000
    assert payload.pop("forwarded_for") == {"id": PLAIN[:8], "scopes": [], "resources": {}}
    assert payload == {"operationId": "/ui/echo"}
    serving.put(RESPONDED, theirs, {"output": "back"})
    assert serving.output(ident) == "back"


def test_a_callback_fails_as_the_client_says(serving):
    fault = callback_fault(serving, "ui/fail", ["UI_BROKEN", "broken \u00e9", True])
    assert fault.code == "CALLBACK_FAILED" and fault.retryable
    assert fault.details == {"code": "UI_BROKEN", "message": "broken \u00e9"}


def test_what_is_out_of_the_handlers_reach_is_not_found(serving):
    for name in ("chat/say", "demo/echo", "services/list", "no/such", "ui/none"):
        assert callback_fault(serving, name, 1).details["code"] == "NOT_FOUND"


def test_the_clients_access_control_is_checked_against_the_handlers_authority(serving):
    assert callback(serving, "ui/guarded", 1) == 2
    assert callback_fault(serving, "ui/closed", 1).details["code"] == "FORBIDDEN"


def test_the_clients_schema_is_enforced_before_it_is_asked(serving):
    assert callback(serving, "ui/strict", 1) == 2
    assert callback_fault(serving, "ui/strict", "x").details["code"] == "INVALID_INPUT"


def test_another_sessions_operations_are_out_of_reach(hub, serving):
    with hub.socket() as other:
        assert other.fault("demo/callback", {"operation": "ui/echo", "input": 1}).details["code"] == "NOT_FOUND"
        other.announce(operation("ui/echo", lambda value: "other"))
        mine = serving.request("demo/callback", {"operation": "ui/echo", "input": "mine"})
        theirs = other.request("demo/callback", {"operation": "ui/echo", "input": "theirs"})
        assert other.serve(operation("ui/echo", lambda value: "other"), theirs) == "other"
        assert serving.serve(SERVED, mine) == "mine"


def test_a_client_never_takes_over_a_name_of_the_registry(socket):
    socket.announce({**operation("demo/echo", lambda value: "stolen"), **operation("ui/echo", lambda value: value)})
    assert socket.call("demo/echo", 1) == 1


def test_a_second_announcement_swaps_the_set(serving):
    time.sleep(1.05)
    serving.announce(operation("ui/new", double))
    new = operation("ui/new", double)
    assert serving.serve(new, serving.request("demo/callback", {"operation": "ui/new", "input": 2})) == 4
    assert callback_fault(serving, "ui/echo", 1).details["code"] == "NOT_FOUND"


def test_announce_needs_a_call_connection(hub):
    with hub.wire() as wire:
        assert wire.call("services/announce", {}, PLAIN).status >= 400
        assert wire.call("demo/callback", {"operation": "ui/echo"}, PLAIN).json()["code"] == "NO_CONNECTION"


def test_sixty_four_callbacks_at_once_in_any_order(serving):
    idents = [serving.request("demo/callback", {"operation": "ui/echo", "input": i}) for i in range(64)]
    asked = [serving.requested("ui/echo") for _ in idents]
    assert len({ident for ident, _ in asked}) == 64
    for ident, payload in reversed(asked):
        serving.put(RESPONDED, ident, {"output": payload["input"] * 3})
    assert [serving.output(ident) for ident in idents] == [i * 3 for i in range(64)]


def test_both_sides_may_use_the_same_id(serving):
    outer = serving.request("demo/callback", {"operation": "ui/echo", "input": 1})
    theirs, _ = serving.requested("ui/echo")
    assert serving.call("demo/echo", "mine", ident=theirs) == "mine"
    serving.put(RESPONDED, theirs, {"output": "theirs"})
    assert serving.output(outer) == "theirs"


def test_an_abort_of_an_id_of_both_sides_ends_the_senders_own_call(hub, serving):
    before = hub.cancelled()
    outer = serving.request("demo/callback", {"operation": "ui/echo", "input": 1})
    theirs, _ = serving.requested("ui/echo")
    serving.request("demo/sleep", {"ms": 60000}, ident=theirs)
    serving.call("demo/echo", "it sleeps")
    serving.abort(theirs)
    wait_for(lambda: hub.cancelled() == before + 1)
    serving.put(RESPONDED, theirs, {"output": "still here"})
    assert serving.output(outer) == "still here"


def test_an_abort_cascades_to_the_call_back(serving):
    ident = serving.request("demo/callback", {"operation": "ui/silent", "input": 1})
    theirs, _ = serving.requested("ui/silent")
    serving.abort(ident)
    serving.abort_of(theirs)
    assert serving.quiet(0.05)


def test_a_timeout_cascades_to_the_call_back(serving):
    ident = serving.request("demo/callback", {"operation": "ui/silent", "input": 1}, timeout_ms=100)
    theirs, payload = serving.requested("ui/silent")
    assert payload["timeout_ms"] <= 100
    with pytest.raises(Fault) as caught:
        serving.output(ident)
    assert caught.value.code == "TIMEOUT" or caught.value.details["code"] == "TIMEOUT"
    serving.abort_of(theirs)


# ---- peers ------------------------------------------------------------------------------------------------------------

def test_a_peer_by_websocket_is_one_only_if_its_entry_says_so(tmp_path):
    def peers(admin):
        return [peer["peer_id"] for peer in admin.call("services/list-peers", {})["peers"]]

    with Hub(tmp_path) as hub, hub.socket(ADMIN) as admin, hub.socket(PEER) as peer:
        assert peer.call("demo/whoami")["id"] == "peer-a" and peers(admin) == ["local"]
        entries = [{**entry, "websocket": True} if entry["peer_id"] == "peer-a" else entry for entry in hub.config["peers"]]
        hub.write_config(peers=entries)
        hub.signal(signal.SIGHUP)
        wait_for(lambda: peers(admin) == ["local", "peer-a"])
        peer.close()
        wait_for(lambda: peers(admin) == ["local"])
        with hub.socket(PEER):
            wait_for(lambda: peers(admin) == ["local", "peer-a"])
        assert admin.fault("demo/callback", {"operation": "ui/x"}).details["code"] == "NOT_FOUND"


# ---- pings ------------------------------------------------------------------------------------------------------------

def test_pings_are_answered_in_order_with_their_payload(socket):
    payloads = [b"", b"x", bytes(range(125)), b"last"]
    socket.send(b"".join(frame(PING, payload) for payload in payloads))
    assert [socket.pong() for _ in payloads] == payloads


def test_a_ping_within_a_fragmented_message_is_answered_at_once(socket):
    data = json.dumps({"type": REQUESTED, "id": "f", "payload": {"operationId": "/demo/echo", "input": "whole"}}).encode()
    socket.send(frame(BINARY, data[:10], fin=False) + frame(PING, b"within"))
    assert socket.pong() == b"within"
    socket.send(frame(CONTINUATION, b"", fin=False) + frame(CONTINUATION, data[10:50], fin=False))
    socket.send(frame(PING, b"again"))
    assert socket.pong() == b"again"
    socket.send(frame(CONTINUATION, data[50:]))
    assert socket.output("f") == "whole"


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64])
def test_a_message_may_come_in_pieces_of_any_size(socket, size):
    data = json.dumps({"type": REQUESTED, "id": "f", "payload": {"operationId": "/demo/echo", "input": "p" * 400}}).encode()
    parts = [data[i:i + size] for i in range(0, len(data), size)]
    socket.send(b"".join(frame(CONTINUATION if i else BINARY, part, fin=i == len(parts) - 1) for i, part in enumerate(parts)))
    assert socket.output("f") == "p" * 400


def test_frames_may_come_byte_by_byte(socket):
    data = binary({"type": REQUESTED, "id": "f", "payload": {"operationId": "/demo/echo", "input": "bytes"}})
    for byte in frame(PING, b"p") + data:
        socket.send(bytes([byte]))
        time.sleep(0.0005)
    assert socket.pong() == b"p" and socket.output("f") == "bytes"


def test_an_unasked_pong_is_ignored(socket):
    socket.send(frame(PONG, b"nobody asked") + frame(PONG))
    assert socket.call("demo/echo", 1) == 1


# ---- the end ----------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("code", [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 4999])
def test_a_close_is_answered_with_its_code(hub, code):
    with hub.socket() as socket:
        socket.send(close_frame(code, b"\xc3\xa9" * 61))
        assert socket.closed(answer=False) == code


def test_a_close_without_a_code_is_answered_likewise(hub):
    with hub.socket() as socket:
        socket.send(close_frame())
        assert socket.closed(answer=False) is None and socket.seen == b""


def test_what_comes_behind_a_close_is_ignored(hub):
    before = len(hub.find(event="call", request_id="late"))
    with hub.socket() as socket:
        socket.send(close_frame(1000) + binary({"type": REQUESTED, "id": "late", "payload": {"operationId": "/demo/echo"}}))
        assert socket.closed(answer=False) == 1000
    assert len(hub.find(event="call", request_id="late")) == before


@pytest.mark.parametrize("end", ["bye", "close", "reset", "half"])
def test_the_end_of_the_socket_cancels_its_calls(hub, end):
    before = hub.cancelled()
    with hub.socket() as socket:
        for _ in range(5):
            socket.request("demo/sleep", {"ms": 60000})
        clock = socket.request("demo/clock", {"interval_ms": 3600000})
        assert socket.output(clock)["tick"] == 1
        if end == "half":
            socket.sock.shutdown(1)
            assert socket.ended()
        else:
            getattr(socket, end)()
    wait_for(lambda: hub.cancelled() == before + 5)


def test_a_call_back_of_a_client_that_vanishes_fails(hub):
    """Both ends of the cascade: the call that ran for the client, and the one pending on it."""
    with hub.socket() as socket:
        socket.announce(SERVED)
        ident = socket.request("demo/callback", {"operation": "ui/silent", "input": 1}, ident=f"v{time.monotonic_ns()}")
        theirs, _ = socket.requested("ui/silent")
        socket.reset()
    assert hub.await_log(event="call", request_id=ident)["outcome"] != "ok"
    assert hub.await_log(event="call", request_id=theirs)["outcome"] != "ok"


def test_a_session_leaves_nothing_behind(hub):
    before, memory = hub.descriptors(), None
    for turn in range(3):
        for _ in range(50):
            with hub.socket() as socket:
                for _ in range(3):
                    socket.request("demo/sleep", {"ms": 60000})
                socket.request("demo/clock", {"interval_ms": 1})
                socket.call("demo/echo", "x" * 10000)
                socket.reset()
        wait_for(lambda: hub.descriptors() <= before)
        memory = memory or hub.memory()
        assert hub.memory() - memory < 8 * MIB, turn


# ---- reload and stop --------------------------------------------------------------------------------------------------

def test_a_key_that_is_removed_closes_its_sessions_with_1008(tmp_path):
    with Hub(tmp_path) as hub, hub.socket(ADMIN) as admin, hub.socket(PLAIN) as plain, \
            hub.socket(None, [("Sec-WebSocket-Protocol", f"{PROTOCOL}, {bearer(PLAIN)}")]) as other:
        plain.request("demo/sleep", {"ms": 60000})
        assert plain.call("demo/echo", 1) == other.call("demo/echo", 1) == 1
        hub.write_config(keys=[key for key in hub.config["keys"] if key["prefix"] != PLAIN[:8]])
        start = time.monotonic()
        hub.signal(signal.SIGHUP)
        assert plain.closed() == 1008 and other.closed() == 1008
        assert time.monotonic() - start < 5, "it is noticed though nothing else happens"
        assert admin.call("demo/sleep", {"ms": 0})["cancelled"] == 1 and admin.call("demo/whoami")["id"] == ADMIN[:8]
        with hub.wire() as wire:
            assert wire.call("demo/whoami", None, PLAIN).status == 401
        admin.bye()


def test_new_scopes_hold_for_a_session_that_is_there(tmp_path):
    with Hub(tmp_path) as hub, hub.socket(PLAIN) as socket:
        assert socket.fault("demo/secret").code == "FORBIDDEN"
        hub.write_config(keys=[{**key, "scopes": ["demo:*"]} for key in hub.config["keys"]])
        hub.signal(signal.SIGHUP)

        def allowed():
            with contextlib.suppress(Fault):
                return socket.call("demo/secret")
            return None
        wait_for(allowed)
        socket.bye()


def stopping(hub):
    hub.signal(signal.SIGTERM)
    hub.wait_event("drain")


def test_sigterm_closes_idle_sessions_with_1001(tmp_path):
    with Hub(tmp_path, limits={"drain_ms": 10000}) as hub, hub.socket() as first, hub.socket() as second:
        start = time.monotonic()
        stopping(hub)
        assert first.closed() == second.closed() == 1001
        hub.ended()
        assert time.monotonic() - start < 5


def test_sigterm_waits_for_the_last_call_of_a_session(tmp_path):
    with Hub(tmp_path, limits={"drain_ms": 10000}) as hub, hub.socket() as socket, hub.wire() as wire:
        idents = [socket.request("demo/sleep", {"ms": ms}) for ms in (600, 900)]
        socket.call("demo/echo", 1)
        wire.send(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n")
        stopping(hub)

        def refused():
            try:
                return socket.call("demo/echo", 1) is None
            except Fault as fault:
                return fault.code == "BUSY" and fault.retryable
        wait_for(refused)
        assert [socket.output(ident)["slept_ms"] for ident in idents] == [600, 900]
        assert socket.closed() == 1001
        wire.close()
        hub.ended()


def test_sigterm_waits_for_a_callback(tmp_path):
    with Hub(tmp_path, limits={"drain_ms": 10000}) as hub, hub.socket() as socket:
        socket.announce(SERVED)
        ident = socket.request("demo/callback", {"operation": "ui/echo", "input": "late"})
        theirs, payload = socket.requested("ui/echo")
        stopping(hub)
        time.sleep(0.1)
        socket.answer(theirs, payload, SERVED)
        assert socket.output(ident) == "late" and socket.closed() == 1001
        hub.ended()


def test_sigterm_ends_subscriptions_with_busy_and_then_the_session(tmp_path):
    with Hub(tmp_path, limits={"drain_ms": 10000}) as hub, hub.socket() as socket:
        clock = socket.request("demo/clock", {"interval_ms": 3600000})
        assert socket.output(clock)["tick"] == 1
        stopping(hub)
        assert socket.next_of(clock) == (ERROR, {"code": "BUSY", "message": "shutting down", "retryable": True})
        assert socket.closed() == 1001 and socket.reason == "shutting down"
        hub.ended()


def test_the_drain_has_an_end(tmp_path):
    with Hub(tmp_path, limits={"drain_ms": 300}) as hub, hub.socket() as socket:
        ident = socket.request("demo/sleep", {"ms": 60000})
        socket.call("demo/echo", 1)
        start = time.monotonic()
        stopping(hub)
        assert socket.closed() == 1001 and 0.25 < time.monotonic() - start < 5
        kinds = [kind for kind, _ in socket.answers[ident]]
        assert kinds in ([], [ERROR])
        hub.ended()


def test_a_second_signal_ends_at_once(tmp_path):
    with Hub(tmp_path, limits={"drain_ms": 60000}) as hub, hub.socket() as socket:
        socket.request("demo/sleep", {"ms": 60000})
        socket.call("demo/echo", 1)
        start = time.monotonic()
        stopping(hub)
        hub.signal(signal.SIGTERM)
        assert socket.closed() in (1001, None)
        hub.ended()
        assert time.monotonic() - start < 5


def test_a_client_that_answers_no_close_holds_up_no_stop(tmp_path):
    with Hub(tmp_path, limits={"drain_ms": 10000, "close_ms": 200}) as hub, hub.socket() as socket:
        start = time.monotonic()
        stopping(hub)
        assert socket.closed(answer=False) == 1001
        hub.ended()
        assert time.monotonic() - start < 5


def test_sessions_that_work_while_it_stops_hear_of_every_call(tmp_path):
    """Each call is answered, or refused as BUSY, up to the close; only one that crossed the close is not."""
    with Hub(tmp_path, limits={"drain_ms": 10000}) as hub:
        counts = [0] * 8

        def work(i):
            with hub.socket() as socket:
                try:
                    for _ in range(100000):
                        with contextlib.suppress(Fault):
                            assert socket.call("demo/sleep", {"ms": 1})["slept_ms"] == 1
                        counts[i] += 1
                except Over as over:
                    return over.code
                except (Closed, OSError):
                    return None
            return "never closed"

        def stop():
            wait_for(lambda: min(counts) > 20)
            stopping(hub)

        assert together([lambda i=i: work(i) for i in range(8)] + [stop]) == [1001] * 8 + [None]
        hub.ended()
