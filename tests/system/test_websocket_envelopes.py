"""An envelope for every wrong state: each is discarded, or ends no more than the call that it belongs to. The session, its
other calls and its neighbours go on."""
import contextlib
import itertools
import time

import pytest

from conftest import wait_for
from rawhttp import ADMIN, PEER, PLAIN, UNKNOWN
from rawhttp import Neighbour as HttpNeighbour
from rawws import (ABORTED, COMPLETED, ERROR, REQUESTED, RESPONDED, Fault, Hub, Neighbour, Over, binary, operation)

SERVED = {**operation("ui/echo", lambda value: value)}
FAILED = {"code": "X", "message": "x", "retryable": False}
ENDS = {"responded": (RESPONDED, {"output": 1}), "completed": (COMPLETED, {}), "error": (ERROR, FAILED),
        "aborted": (ABORTED, {})}
unique = itertools.count()


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    with Hub(tmp_path_factory.mktemp("envelopes"), limits={"auth_failures_per_minute": 0}) as it:
        yield it


@pytest.fixture(autouse=True)
def neighbours(hub):
    with Neighbour(hub) as session, HttpNeighbour(hub) as http:
        wait_for(lambda: all(n.made or n.trouble for n in (session, http)))
        yield
        made = session.made
        wait_for(lambda: session.made > made or session.trouble)
    assert session.slowest < 5 and http.slowest < 5


@pytest.fixture
def socket(hub):
    """It must be as good as new at the end."""
    with hub.socket() as it:
        yield it
        assert it.call("demo/echo", "at the end") == "at the end"
        it.bye()


@pytest.fixture
def serving(socket):
    socket.announce(SERVED)
    return socket


def begin_callback(socket, **more):
    """A demo/callback whose call of ui/echo has come: (our id, the id of its call)."""
    ident = socket.request("demo/callback", {"operation": "ui/echo", "input": 1}, **more)
    return ident, socket.requested("ui/echo")[0]


def ended(socket, ident):
    """("output", value) or ("fault", details) of the callback."""
    try:
        return "output", socket.output(ident)
    except Fault as fault:
        assert fault.code == "CALLBACK_FAILED", fault
        return "fault", fault.details


# ---- ids that nobody has used -----------------------------------------------------------------------------------------

@pytest.mark.parametrize("end", ENDS)
def test_an_answer_to_a_call_never_made_is_discarded(socket, end):
    kind, payload = ENDS[end]
    running = socket.request("demo/sleep", {"ms": 150})
    for ident in ("never", "x" * 256, "\u00e9", "00000000-0000-4000-8000-000000000000"):
        socket.put(kind, ident, payload)
        socket.put(kind, ident, payload)
    assert socket.output(running)["slept_ms"] == 150 and socket.quiet(0.05)


@pytest.mark.parametrize("payload", [None, 0, "x", [], {}, {"output": 1, "more": 2}, {"code": 1}, True], ids=str)
def test_an_answer_with_any_payload_to_a_call_never_made_is_discarded(socket, payload):
    for kind, _ in ENDS.values():
        socket.put(kind, f"never-{kind}", payload)
    assert socket.quiet(0.05)


@pytest.mark.parametrize("end", ["responded", "completed", "error"])
def test_an_answer_under_the_id_of_ones_own_call_ends_nothing(hub, socket, end):
    """The call runs here; an answer belongs to calls of the other direction."""
    ident = socket.request("demo/sleep", {"ms": 200})
    socket.put(ENDS[end][0], ident, ENDS[end][1])
    assert socket.output(ident)["slept_ms"] == 200


def test_ten_thousand_answers_to_nothing_are_discarded_without_memory(hub, socket):
    size = hub.memory()
    for n in range(20):
        socket.send(b"".join(binary({"type": kind, "id": f"{n}-{i}", "payload": payload})
                             for i in range(125) for kind, payload in ENDS.values()))
        socket.call("demo/echo", n)
    assert hub.memory() - size < 8 << 20 and socket.quiet(0.05)


# ---- answers to what was asked ----------------------------------------------------------------------------------------

@pytest.mark.parametrize("second", ENDS)
@pytest.mark.parametrize("first", ENDS)
def test_the_first_answer_counts_and_a_second_is_discarded(serving, first, second):
    ident, theirs = begin_callback(serving)
    serving.put(ENDS[first][0], theirs, ENDS[first][1])
    serving.put(ENDS[second][0], theirs, ENDS[second][1])
    kind, value = ended(serving, ident)
    if first == "responded":
        assert (kind, value) == ("output", 1)
    else:
        assert kind == "fault" and value == {
            "completed": {"code": "INTERNAL", "message": "no result"}, "error": {"code": "X", "message": "x"},
            "aborted": {"code": "INTERNAL", "message": "aborted by the remote"}}[first]
    if (first, second) == ("responded", "responded"):
        serving.abort_of(theirs)
    time.sleep(0.05)
    serving.call("demo/echo", "what came before has been read")
    assert not serving.answers[ident] and not serving.requests


def test_a_call_that_is_answered_on_and_on_is_aborted_once(serving):
    """Whom we call may believe that we subscribe."""
    ident, theirs = begin_callback(serving)
    for i in range(5):
        serving.put(RESPONDED, theirs, {"output": i})
    assert serving.output(ident) == 0
    serving.abort_of(theirs)
    serving.put(RESPONDED, theirs, {"output": 6})
    serving.put(COMPLETED, theirs, {})
    assert serving.quiet() and not serving.aborts


@pytest.mark.parametrize("payload", [None, {}, [], "x", {"code": "X"}, {"message": "m"}, {"code": 1, "message": "m",
    "retryable": False},
                                     {"code": "X", "message": None, "retryable": False}, {"code": "", "message": "m",
                                         "retryable": True},
                                     {"code": "X", "message": "m"}, {"code": "X", "message": "m", "retryable": "no"},
                                     {"code": "X", "message": "m", "retryable": 1}], ids=str)
def test_a_malformed_error_counts_as_internal(serving, payload):
    ident, theirs = begin_callback(serving)
    serving.put(ERROR, theirs, payload)
    kind, details = ended(serving, ident)
    assert kind == "fault" and details["code"] == "INTERNAL"


def test_an_unknown_error_code_is_passed_on(serving):
    ident, theirs = begin_callback(serving)
    serving.put(ERROR, theirs, {"code": "SOMETHING_NEW", "message": "\u00e9", "retryable": True, "details": [1], "more": 2})
    assert ended(serving, ident) == ("fault", {"code": "SOMETHING_NEW", "message": "\u00e9"})


@pytest.mark.parametrize("payload", [None, {}, [], "x", 5, {"Output": 1}], ids=str)
def test_an_answer_without_output_is_null(serving, payload):
    ident, theirs = begin_callback(serving)
    serving.put(RESPONDED, theirs, payload)
    assert ended(serving, ident) == ("output", None)


@pytest.mark.parametrize("end", ["responded", "completed", "error"])
def test_an_answer_after_the_abort_is_discarded(serving, end):
    ident, theirs = begin_callback(serving)
    serving.abort(ident)
    serving.abort_of(theirs)
    serving.put(ENDS[end][0], theirs, ENDS[end][1])
    assert serving.quiet(0.05) and not serving.answers[ident]


def test_an_answer_after_the_timeout_is_discarded(serving):
    ident, theirs = begin_callback(serving, timeout_ms=50)
    serving.abort_of(theirs)
    for kind, payload in ENDS.values():
        serving.put(kind, theirs, payload)
    with pytest.raises(Fault):
        serving.output(ident)
    assert serving.quiet(0.05)


def test_answers_may_come_in_one_write_with_everything_else(serving):
    """Request, its abort, the answer to a call back, an abort of nothing, in one TCP segment."""
    ident, theirs = begin_callback(serving)
    serving.send(binary({"type": REQUESTED, "id": "s", "payload": {"operationId": "/demo/sleep", "input": {"ms": 60000}}})
                 + binary({"type": ABORTED, "id": "s", "payload": {}}) + binary({"type": RESPONDED, "id": theirs,
                     "payload": {"output": "a"}})
                 + binary({"type": ABORTED, "id": ident, "payload": {}})
                 + binary({"type": REQUESTED, "id": "e", "payload": {"operationId": "/demo/echo", "input": "last"}}))
    assert serving.output("e") == "last"
    serving.answers[ident].clear()
    assert serving.quiet(0.05) and not serving.answers["s"]


# ---- aborts -----------------------------------------------------------------------------------------------------------

def test_an_abort_after_the_end_changes_nothing(socket):
    ident = socket.request("demo/echo", 1)
    assert socket.output(ident) == 1
    socket.abort(ident)
    socket.abort(ident)
    assert socket.quiet(0.05)


def test_an_abort_before_its_request_keeps_it_from_starting(hub, socket):
    before, ident = hub.cancelled(), f"early-{next(unique)}"
    socket.abort(ident)
    socket.request("demo/sleep", {"ms": 60000}, ident=ident)
    socket.abort("early-echo")
    socket.request("demo/echo", 1, ident="early-echo")
    assert socket.quiet() and not socket.answers["early-echo"]
    assert hub.cancelled() == before and not hub.find(event="call", request_id=ident)


def test_an_abort_of_another_sessions_call_is_an_abort_of_nothing(hub, socket):
    with hub.socket() as other:
        ident = other.request("demo/sleep", {"ms": 200}, ident="of the other")
        other.call("demo/echo")
        socket.abort(ident)
        socket.put(RESPONDED, ident, {"output": "stolen"})
        assert other.output(ident)["slept_ms"] == 200


def test_a_hundred_thousand_aborts_of_nothing_take_no_memory(hub, socket):
    size = hub.memory()
    for n in range(50):
        socket.send(b"".join(binary({"type": ABORTED, "id": f"{n}-{i}", "payload": {}}) for i in range(2000)))
        socket.call("demo/echo", n, ident=f"between {n}")
    assert hub.memory() - size < 8 << 20


@pytest.mark.parametrize("payload", [None, 1, "x", [], {"reason": "because"}], ids=str)
def test_an_abort_needs_nothing_in_its_payload(hub, socket, payload):
    before = hub.cancelled()
    socket.request("demo/sleep", {"ms": 60000}, ident=f"p-{payload}")
    socket.call("demo/echo")
    socket.put(ABORTED, f"p-{payload}", payload)
    wait_for(lambda: hub.cancelled() == before + 1)


# ---- requests ---------------------------------------------------------------------------------------------------------

def test_a_second_request_with_an_id_in_use_is_dropped_and_the_first_goes_on(hub, socket):
    ident = f"twice-{next(unique)}"
    socket.request("demo/sleep", {"ms": 200}, ident=ident)
    socket.request("demo/echo", "the second", ident=ident)
    socket.request("no/such", None, ident=ident)
    assert socket.output(ident)["slept_ms"] == 200
    assert socket.quiet(0.05) and not socket.answers[ident]
    assert hub.find(event="request.dropped")


def test_a_second_request_with_the_id_of_a_subscription_is_dropped(socket):
    ident = socket.request("demo/clock", {"interval_ms": 5, "count": 20})
    socket.request("demo/echo", "the second", ident=ident)
    assert [socket.output(ident)["tick"] for _ in range(20)] == list(range(1, 21))
    assert socket.next_of(ident) == (COMPLETED, {})


@pytest.mark.parametrize("payload", [None, True, 5, "x", [], {}, {"operationId": None}, {"operationId": 5},
                                     {"operationId": ["/demo/echo"]},
                                     {"operation": "/demo/echo"}, {"input": 1}, {"OperationId": "/demo/echo"}], ids=str)
def test_a_request_without_a_string_operation_is_invalid_input(socket, payload):
    ident = f"no-operation-{next(unique)}"
    socket.put(REQUESTED, ident, payload)
    with pytest.raises(Fault) as caught:
        socket.output(ident)
    assert caught.value.code == "INVALID_INPUT" and "operationId" in caught.value.message and not caught.value.retryable


@pytest.mark.parametrize("name", ["", "/", "//demo/echo", "demo//echo", "demo/echo/", "/demo/./echo",
                                  "demo/../demo/echo", "demo echo",
                                  "demo/echo\0", "demo/\u00e9", "demo/echo?x=1", "demo%2fecho", "DEMO/echo",
                                  "x" * 257, "x/" * 5000,
                                  "demo/internal", "demo", "*", "services", "peers/call"], ids=lambda n: repr(n[:20]))
def test_a_name_that_is_none_is_not_found(socket, name):
    socket.put(REQUESTED, f"n-{next(unique)}", {"operationId": name, "input": 1})
    kind, _, payload = socket.envelope()
    assert kind == ERROR and payload["code"] == "NOT_FOUND" and payload["message"].startswith("operation not found")


@pytest.mark.parametrize("name", ["demo/echo", "/demo/echo"])
def test_a_name_may_have_a_leading_slash(socket, name):
    socket.put(REQUESTED, name, {"operationId": name, "input": 1})
    assert socket.output(name) == 1


@pytest.mark.parametrize("kind", ["call.unknown", "", "call.Requested", "CALL.REQUESTED", "call.requested ", "ping",
                                  "x" * 10000, "\0"],
                         ids=lambda k: repr(k[:20]))
def test_an_envelope_of_unknown_type_is_ignored(socket, kind):
    for payload in (None, {}, {"operationId": "/demo/echo"}, [1]):
        socket.put(kind, "u", payload)
    assert socket.quiet(0.05)


def test_unknown_members_are_ignored(socket):
    socket.send(binary({"a": None, "type": REQUESTED, "b": [{}], "id": "m", "version": 9, "payload": {
        "x": 1, "operationId": "/demo/echo", "identity": {"id": ADMIN[:8]}, "input": "in", "internal": True,
        "y": {"z": []}}, "c": "d"}))
    assert socket.output("m") == "in"


def test_what_a_payload_says_of_identity_is_not_believed(socket):
    admin = {"id": ADMIN[:8], "scopes": ["demo:secret", "demo:*"], "resources": {}}
    for more in ({"identity": admin}, {"forwarded_for": admin}, {"originator": admin}, {"internal": True}):
        assert socket.fault("demo/secret", **more).code == "FORBIDDEN"
        assert socket.call("demo/whoami", **more)["id"] == PLAIN[:8]
    assert socket.fault("demo/internal", 1, internal=True).code == "NOT_FOUND"


# ---- members that are malformed ---------------------------------------------------------------------------------------

@pytest.mark.parametrize("token", [None, 5, True, [], {}, [ADMIN], {"token": ADMIN}], ids=str)
def test_a_token_that_is_no_string_is_ignored(socket, token):
    for _ in range(12):
        assert socket.call("demo/whoami", auth_token=token)["id"] == PLAIN[:8]


FORWARDED = [None, 5, "peer-a", [], {}, {"id": 5, "scopes": [], "resources": {}}, {"id": "x"}, {"id": "x",
    "scopes": "all", "resources": {}},
             {"id": "x", "scopes": [1], "resources": {}}, {"id": "x", "scopes": [], "resources": []}, {"id": "",
                 "scopes": [], "resources": {}},
             {"id": "x", "scopes": [], "resources": {}, "more": 1}, {"id": "x" * 100000, "scopes": ["s"] * 1000,
                                                                     "resources": {"a": ["b"] * 1000}}]


@pytest.mark.parametrize("claim", FORWARDED, ids=range(len(FORWARDED)))
def test_a_malformed_forwarded_for_is_ignored(hub, socket, claim):
    assert socket.call("demo/whoami", forwarded_for=claim)["id"] == PLAIN[:8]
    with hub.socket(PEER) as peer:
        assert peer.call("demo/whoami", forwarded_for=claim)["id"] == "peer-a"


def test_a_received_forwarded_for_is_never_passed_on(hub):
    with hub.socket(PEER) as peer:
        peer.announce(SERVED)
        ident = peer.request("demo/callback", {"operation": "ui/echo", "input": 1},
                             forwarded_for={"id": "somebody", "scopes": ["a"], "resources": {}})
        theirs, payload = peer.requested("ui/echo")
        assert payload["forwarded_for"] == {"id": "peer-a", "scopes": [], "resources": {}}
        peer.put(RESPONDED, theirs, {"output": 1})
        assert peer.output(ident) == 1


@pytest.mark.parametrize("hops", [0, 1, 7, 8])
def test_up_to_eight_hops_are_called(socket, hops):
    assert socket.call("demo/echo", hops, hops=hops) == hops


@pytest.mark.parametrize("hops", [9, 10, 1000, 1 << 31, 1 << 32, (1 << 32) + 1, (1 << 63) - 1, (1 << 64) - 1])
def test_more_than_eight_hops_are_not_found(socket, hops):
    fault = socket.fault("demo/echo", 1, hops=hops)
    assert (fault.code, fault.message) == ("NOT_FOUND", "operation not found: demo/echo")


def test_the_eighth_hop_ends_at_the_client(serving):
    ident = serving.request("demo/callback", {"operation": "ui/echo", "input": 1}, hops=7)
    theirs, payload = serving.requested("ui/echo")
    assert payload["hops"] == 8
    serving.put(RESPONDED, theirs, {"output": 1})
    assert serving.output(ident) == 1


@pytest.mark.parametrize("value", [None, "9", -1, 8.5, [], {}, True, [9]], ids=str)
def test_malformed_hops_are_ignored(socket, value):
    assert socket.call("demo/echo", 1, hops=value) == 1


@pytest.mark.parametrize("value", [None, "1", -1, 0.5, [], {}, True, [1], 1 << 32, 1 << 64], ids=str)
def test_a_malformed_timeout_is_ignored(socket, value):
    assert socket.call("demo/sleep", {"ms": 30}, timeout_ms=value)["slept_ms"] == 30


@pytest.mark.parametrize("value", [None, 5, "", "x", "00-" + "0" * 32 + "-b7ad6b7169203331-01",
                                   "ff-" + "a" * 32 + "-" + "b" * 16 + "-01",
                                   "00-" + "A" * 32 + "-" + "B" * 16 + "-01",
                                   "00-" + "a" * 32 + "-" + "b" * 16 + "-01" * 100, [], {}],
                         ids=lambda v: str(v)[:12])
def test_a_malformed_traceparent_is_ignored(socket, value):
    assert socket.call("demo/echo", 1, traceparent=value) == 1


# ---- tokens that do not resolve ---------------------------------------------------------------------------------------

def test_ten_failed_tokens_close_with_1008(hub):
    before = hub.cancelled()
    with hub.socket() as socket:
        socket.request("demo/sleep", {"ms": 60000})
        for i in range(9):
            assert socket.call("demo/whoami", auth_token=UNKNOWN)["id"] == PLAIN[:8], i
        assert socket.call("demo/echo", "still open") == "still open"
        socket.request("demo/echo", 1, auth_token=UNKNOWN)
        assert socket.closed() == 1008 and socket.reason == "too many failed authentications"
    wait_for(lambda: hub.cancelled() == before + 1)


def test_nine_failed_tokens_and_good_ones_do_not_close(socket):
    for i in range(20):
        token = UNKNOWN if i < 9 else ADMIN
        assert socket.call("demo/whoami", auth_token=token)["id"] == (PLAIN if i < 9 else ADMIN)[:8]


@pytest.mark.parametrize("token", ["", "x", "x" * 100000, "\0", ADMIN[:-1], ADMIN + " ", ADMIN.upper()], ids=lambda t: t[:12])
def test_every_string_that_does_not_resolve_counts(hub, token):
    with hub.socket() as socket:
        try:
            for i in range(10):
                socket.request("demo/whoami", auth_token=token, ident=f"t{i}")
            assert all(socket.output(f"t{i}")["id"] == PLAIN[:8] for i in range(10))
        except Over as over:
            assert over.code == 1008
        else:
            raise AssertionError("the tenth does not close")


def test_failed_tokens_are_counted_by_connection(hub, socket):
    for _ in range(3):
        with hub.socket() as other:
            for _ in range(9):
                other.call("demo/whoami", auth_token=UNKNOWN)
    assert socket.call("demo/whoami", auth_token=UNKNOWN)["id"] == PLAIN[:8]


def test_failed_tokens_are_counted_by_address_too(tmp_path):
    with Hub(tmp_path, limits={"auth_failures_per_minute": 12}) as hub, hub.socket() as quiet:
        with hub.socket() as first:
            for _ in range(9):
                first.call("demo/whoami", auth_token=UNKNOWN)
        with hub.socket() as second:
            for _ in range(3):
                second.call("demo/whoami", auth_token=UNKNOWN)
            second.request("demo/whoami", auth_token=UNKNOWN)
            assert second.closed() == 1008
        assert quiet.call("demo/whoami", auth_token=ADMIN)["id"] == ADMIN[:8], "good ones go on"
        with hub.socket() as third:
            assert third.call("demo/echo", 1) == 1


# ---- all of it at once ------------------------------------------------------------------------------------------------

def test_a_session_that_does_everything_wrong_that_is_no_error_goes_on(hub, serving):
    """Some hundred rounds of it, beside calls that are in order; every one of those is answered once."""
    start = time.monotonic()
    for i in range(100):
        ident, theirs = begin_callback(serving)
        good = serving.request("demo/add", {"a": i, "b": 1})
        serving.put(RESPONDED, ident, {"output": "wrong direction"})
        serving.put(COMPLETED, good, {})
        serving.put("call.unknown", theirs, {})
        serving.abort(f"nothing-{i}")
        serving.put(ERROR, f"nothing-{i}", FAILED)
        serving.request("demo/echo", "dropped", ident=f"nothing-{i}")
        serving.put(RESPONDED, theirs, {"output": i})
        serving.put(ERROR, theirs, FAILED)
        assert serving.output(good) == {"sum": i + 1} and serving.output(ident) == i
        assert not serving.answers[f"nothing-{i}"] and not serving.answers[good]
    assert time.monotonic() - start < 20
