"""The edges of docs/protocol.md, on TLS: each sentence that says what is dropped, ignored, remembered, or ends the connection,
against a client that was written from that page alone."""
import pytest

from certificates import Authority, self_signed
from conftest import Daemon, key_for, new_token, wait_for
from rawcall import ABORTED, COMPLETED, ERROR, REQUESTED, RESPONDED, Caller, envelope, frame

MIB = 1 << 20
LISTED = {"operations": [{"name": "ui/echo", "namespace": "ui", "op_type": "query"}, {"name": "ui/feed", "namespace": "ui", "op_type": "subscription"}]}
SCHEMA = {"visibility": "external", "input_schema": {}, "output_schema": None, "error_schemas": [], "access_control": {"required_scopes": []}}


class Hub(Daemon):
    """alknetd with TLS, that knows the certificate of one spoke, and lets it be called by itself."""

    def __init__(self, folder):
        self.ca = Authority(folder)
        self.spoke = self_signed(folder, "spoke")
        super().__init__(folder, {
            "listen": [{"host": "127.0.0.1", "port": 0, "tls": True}], "tls": {"certificates": [self.ca.sign("server").entry()]},
            "auto_import": False, "limits": {"auth_failures_per_minute": 0},
            "peers": [{"peer_id": "spoke", "fingerprints": [self.spoke.fingerprint], "scopes": ["demo:*", "peers:call", "peers:list"]}],
            "peers_call": {"authority": {"label": "deputy", "scopes": []}, "allow": [{"peer": "*", "operations": ["ui/*"]}]}})

    def nobody(self):
        return Caller(self.port, self.ca.file)

    def peer(self):
        return Caller(self.port, self.ca.file, self.spoke)

    def settled(self):
        """Every connection of before has ended: how many closes and calls the log has."""
        wait_for(lambda: len(self.events("session.open")) == len(self.events("session.close")))
        return len(self.events("session.close")), len(self.events("call"))


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    it = Hub(tmp_path_factory.mktemp("edges"))
    it.start()
    yield it
    it.stop()


@pytest.fixture
def nobody(hub):
    with hub.nobody() as it:
        yield it


@pytest.fixture
def caller(hub):
    """The spoke, as a caller. Its connection must be as good as new at the end."""
    with hub.peer() as it:
        yield it
        assert it.call("demo/echo", "at the end") == "at the end"
        assert not any(it.answers.values()) and not it.requests and not it.aborts


@pytest.fixture
def serving(caller):
    """The spoke, which serves ui/echo and ui/feed."""
    ident = caller.request("services/announce", {})
    caller.put(RESPONDED, caller.asked("services/list")[0], {"output": LISTED})
    for _ in LISTED["operations"]:
        theirs, payload = caller.asked("services/schema")
        about = next(o for o in LISTED["operations"] if o["name"] == payload["input"]["name"])
        caller.put(RESPONDED, theirs, {"output": {**SCHEMA, **about}})
    assert caller.output(ident)["imported"] == 2
    return caller


def begin(serving, value=None):
    """The hub asks us for ui/echo: (the id of our peers/call, the id of its call)."""
    ident = serving.request("peers/call", {"peer": "spoke", "operation": "ui/echo", "input": value})
    return ident, serving.asked("ui/echo")[0]


# ---- calls ----------------------------------------------------------------------------------------------------------

def test_what_is_on_the_page_is_answered_as_on_the_page(caller):
    assert caller.call("demo/add", {"a": 1, "b": 2}) == {"sum": 3}
    assert caller.fault(caller.request("demo/nothing")) == {"code": "NOT_FOUND", "message": "operation not found: demo/nothing", "retryable": False}
    ident = caller.request("demo/clock", {"interval_ms": 5, "count": 2})
    assert [caller.answer(ident)[0] for _ in range(3)] == [RESPONDED, RESPONDED, COMPLETED] and caller.answers[ident] == []


def test_a_missing_input_is_null_and_a_slash_may_be_left_out(caller):
    caller.put(REQUESTED, "a", {"operationId": "demo/echo"})
    assert caller.answer("a") == (RESPONDED, {"output": None})
    assert caller.fault(caller.request("/demo/echo"))["code"] == "NOT_FOUND", "two slashes are one too many"


@pytest.mark.parametrize("payload", [None, 5, "x", [], {}, {"operationId": None}, {"operationId": 5}, {"operation": "/demo/echo"}], ids=str)
def test_a_request_without_a_name_is_invalid_input(caller, payload):
    caller.put(REQUESTED, "a", payload)
    fault = caller.fault("a")
    assert fault["code"] == "INVALID_INPUT" and fault["retryable"] is False


def test_an_id_may_be_in_use_on_both_sides(serving):
    ident, theirs = begin(serving)
    serving.request("demo/echo", 7, ident=theirs)
    assert serving.output(theirs) == 7
    serving.put(RESPONDED, theirs, {"output": 8})
    assert serving.output(ident) == 8


def test_a_request_with_an_id_that_is_running_is_dropped(caller):
    caller.request("demo/sleep", {"ms": 200}, ident="twice")
    caller.request("demo/echo", "second", ident="twice")
    assert caller.output("twice")["slept_ms"] == 200


def test_an_abort_ends_a_call_and_nothing_more_is_said(hub, caller):
    ended = len(hub.events("call"))
    ident = caller.request("demo/clock", {"interval_ms": 1})
    caller.answer(ident)
    caller.put(ABORTED, ident, {})
    wait_for(lambda: [e for e in hub.events("call")[ended:] if e["operation"] == "demo/clock" and e["outcome"] == "aborted"])
    caller.call("demo/echo")
    caller.answers[ident].clear()
    caller.call("demo/echo")


def test_an_abort_that_overtakes_its_request_prevents_it(caller):
    caller.put(ABORTED, "early", {})
    caller.request("demo/echo", ident="early")
    assert caller.call("demo/echo", 1) == 1


def test_256_of_such_aborts_are_remembered(caller):
    caller.raw(b"".join(frame(envelope(ABORTED, f"early{i}", {})) for i in range(257)))
    for i in range(257):
        caller.request("demo/echo", i, ident=f"early{i}")
    caller.call("demo/echo")
    assert [i for i in range(257) if caller.answers[f"early{i}"]] == [0]
    assert caller.output("early0") == 0


@pytest.mark.parametrize("payload", [None, 5, "x", [], {"more": 1}], ids=str)
def test_the_payload_of_an_abort_is_not_looked_at(caller, payload):
    caller.put(ABORTED, "early", payload)
    caller.request("demo/echo", ident="early")
    assert caller.call("demo/echo", 1) == 1


def test_an_abort_for_what_the_receiver_asked_fails_it(serving):
    ident, theirs = begin(serving)
    serving.put(ABORTED, theirs, {})
    assert serving.fault(ident) == {"code": "INTERNAL", "message": "aborted by the remote", "retryable": False}


def test_an_abort_is_for_the_senders_own_call_first(serving):
    ident, theirs = begin(serving)
    serving.request("demo/sleep", {"ms": 60000}, ident=theirs)
    serving.put(ABORTED, theirs, {})
    serving.put(RESPONDED, theirs, {"output": 8})
    assert serving.output(ident) == 8 and not serving.answers[theirs]


@pytest.mark.parametrize("kind", [RESPONDED, COMPLETED, ERROR])
@pytest.mark.parametrize("payload", [None, 5, {}, {"output": 1}, {"code": "X", "message": "x", "retryable": False}], ids=str)
def test_answers_for_ids_that_are_not_pending_are_dropped(caller, kind, payload):
    running = caller.request("demo/sleep", {"ms": 50})
    for ident in ("never", running, "x" * 256):
        caller.put(kind, ident, payload)
    assert caller.output(running)["slept_ms"] == 50


@pytest.mark.parametrize("payload", [None, 5, "x", [], {}, {"code": "X"}, {"message": "m"}, {"code": 1, "message": "m", "retryable": False},
                                     {"code": "X", "message": 1, "retryable": False}, {"code": "X", "message": "m"},
                                     {"code": "X", "message": "m", "retryable": 0}, {"code": "", "message": "m", "retryable": False}], ids=str)
def test_a_malformed_error_counts_as_internal(serving, payload):
    ident, theirs = begin(serving)
    serving.put(ERROR, theirs, payload)
    fault = serving.fault(ident)
    assert fault["code"] == "INTERNAL" and fault["retryable"] is False


def test_an_unknown_code_is_passed_on_unchanged(serving):
    ident, theirs = begin(serving)
    fault = {"code": "SOMETHING_NEW", "message": "\u00e9", "retryable": True, "details": [1]}
    serving.put(ERROR, theirs, fault)
    assert serving.fault(ident) == fault


@pytest.mark.parametrize("payload", [None, {}, [], 5], ids=str)
def test_a_missing_output_is_null(serving, payload):
    ident, theirs = begin(serving)
    serving.put(RESPONDED, theirs, payload)
    assert serving.output(ident) is None


def test_what_ran_is_cancelled_when_the_connection_ends(hub):
    _, ended = hub.settled()
    with hub.peer() as caller:
        caller.request("demo/sleep", {"ms": 60000})
        caller.call("demo/echo")
    wait_for(lambda: [e for e in hub.events("call")[ended:] if e["operation"] == "demo/sleep" and e["outcome"] == "closed"])


def test_more_calls_than_may_run_are_busy(caller):
    sleeping = [caller.request("demo/sleep", {"ms": 60000}) for _ in range(1024)]
    fault = caller.fault(caller.request("demo/echo"))
    assert fault["code"] == "BUSY" and fault["retryable"] is True
    for ident in sleeping:
        caller.put(ABORTED, ident, {})


def test_a_completion_without_a_value_is_no_result(serving):
    ident, theirs = begin(serving)
    serving.put(COMPLETED, theirs, {})
    assert serving.fault(ident) == {"code": "INTERNAL", "message": "no result", "retryable": False}


def test_a_second_value_for_who_asked_for_one_is_aborted_once(serving):
    ident, theirs = begin(serving)
    for i in range(3):
        serving.put(RESPONDED, theirs, {"output": i})
    assert serving.output(ident) == 0
    serving.until(lambda: serving.aborts)
    serving.call("demo/echo")
    assert serving.aborts == [theirs]
    serving.aborts.clear()


def test_an_announcement_of_what_cannot_be_listed_fails(caller, nobody):
    ident = caller.request("services/announce", {})
    caller.put(ERROR, caller.asked("services/list")[0], {"code": "NOT_FOUND", "message": "no", "retryable": False})
    assert caller.fault(ident)["code"] == "IMPORT_FAILED"
    assert nobody.fault(nobody.request("services/announce", {}))["message"] == "authentication required"


def test_who_answers_without_an_identity_may_say_more_than_who_asks(hub, nobody):
    """While the receiver waits for an answer."""
    ident = nobody.request("services/announce", {}, auth_token=hub.token)
    theirs = nobody.asked("services/list")[0]
    nobody.raw(frame(envelope(RESPONDED, theirs, {"output": LISTED, "more": "x" * 2 * MIB})))
    for _ in LISTED["operations"]:
        theirs, payload = nobody.asked("services/schema")
        about = next(o for o in LISTED["operations"] if o["name"] == payload["input"]["name"])
        nobody.put(RESPONDED, theirs, {"output": {**SCHEMA, **about}})
    assert nobody.output(ident)["kind"] == "none"


def test_a_forwarder_says_for_whom_it_calls_and_adds_a_hop(serving):
    trace = "00-" + "1" * 32 + "-" + "2" * 16 + "-01"
    ident = serving.request("peers/subscribe", {"peer": "spoke", "operation": "ui/feed", "input": 3}, hops=3, timeout_ms=60000, traceparent=trace,
                            forwarded_for={"id": "somebody", "scopes": [], "resources": {}})
    theirs, payload = serving.asked("ui/feed")
    assert 0 < payload.pop("timeout_ms") <= 60000
    assert payload == {"operationId": "/ui/feed", "input": 3, "forwarded_for": {"id": "spoke", "scopes": [], "resources": {}}, "hops": 4, "traceparent": trace}
    serving.put(RESPONDED, theirs, {"output": 1})
    serving.put(COMPLETED, theirs, {})
    assert [serving.answer(ident) for _ in range(2)] == [(RESPONDED, {"output": 1}), (COMPLETED, {})]


def test_what_every_node_serves_has_the_members_of_the_page(serving):
    first = serving.call("services/list", {"limit": 1})
    assert [set(o) for o in first["operations"]] == [{"name", "namespace", "op_type", "description"}]
    rest = serving.call("services/list", {"cursor": first["next_cursor"]})
    assert set(rest) == {"operations"} and first["operations"][0] not in rest["operations"]
    feeds = serving.call("services/list", {"namespace": "demo", "op_type": "subscription", "q": "CLOCK"})
    assert [o["name"] for o in feeds["operations"]] == ["demo/clock"]
    about = {"name", "namespace", "op_type", "visibility", "input_schema", "output_schema", "error_schemas", "access_control"}
    assert set(serving.call("services/schema", {"name": "/demo/add"})) == about | {"description"}
    assert set(serving.call("services/schema", {"name": "ui/echo", "peer": "spoke"})) == about
    assert serving.fault(serving.request("services/schema", {"name": "demo/internal"}))["code"] == "NOT_FOUND"
    peers = serving.call("services/list-peers", {})["peers"]
    assert [p["peer_id"] for p in peers] == ["local", "spoke"] and peers[1] == {"peer_id": "spoke", **LISTED}


def test_an_input_that_does_not_match_is_told_where(caller):
    fault = caller.fault(caller.request("demo/add", {"a": 1, "b": "x", **{f"c{i}": 0 for i in range(20)}}))
    assert fault["code"] == "INVALID_INPUT" and len(fault["details"]["errors"]) == 8
    assert all(set(e) == {"path", "keyword", "message"} for e in fault["details"]["errors"])


# ---- optional members of a request ----------------------------------------------------------------------------------

def test_eight_hops_are_taken_and_nine_are_not(caller):
    assert caller.call("demo/echo", 1, hops=8) == 1
    fault = caller.fault(caller.request("demo/echo", 1, hops=9))
    assert fault == {"code": "NOT_FOUND", "message": "operation not found: demo/echo", "retryable": False}
    assert caller.fault(caller.request("demo/echo", 1, hops=1 << 62))["code"] == "NOT_FOUND"


@pytest.mark.parametrize("member, values", {
    "hops": [None, "9", -1, 9.5, 9.0, 1 << 64, True, [], {}],
    "timeout_ms": [None, "1", -1, 1.5, 1.0, 0, True, [], {}],
    "auth_token": [None, 5, True, [], {}],
    "forwarded_for": [None, 5, "x", [], {}, {"id": 5}, {"id": "x", "scopes": 5}, {"id": "x", "scopes": [5], "resources": {}}],
    "traceparent": [None, 5, "", "x", "00-00000000000000000000000000000000-0000000000000000-00", "ff-" + "1" * 32 + "-" + "1" * 16 + "-01", [], {}]}.items())
def test_a_malformed_optional_member_is_ignored(caller, member, values):
    for value in values:
        assert caller.call("demo/sleep", {"ms": 20}, **{member: value})["slept_ms"] == 20


def test_a_time_limit_shortens_a_call_of_either_kind(caller):
    fault = caller.fault(caller.request("demo/sleep", {"ms": 60000}, timeout_ms=30))
    assert fault["code"] == "TIMEOUT" and fault["retryable"] is True
    assert caller.call("demo/sleep", {"ms": 20}, timeout_ms=(1 << 64) - 1)["slept_ms"] == 20
    ident = caller.request("demo/clock", {"interval_ms": 60000}, timeout_ms=30)
    assert caller.answer(ident)[0] == RESPONDED and caller.fault(ident)["code"] == "TIMEOUT"


def test_a_token_is_who_asks_for_one_request(hub, nobody):
    assert nobody.fault(nobody.request("demo/whoami")) == {"code": "FORBIDDEN", "message": "authentication required", "retryable": False}
    assert nobody.call("demo/whoami", auth_token=hub.token)["id"] == hub.token[:8]
    assert nobody.fault(nobody.request("demo/whoami"))["code"] == "FORBIDDEN"


def test_the_tenth_token_of_nobody_closes_the_connection(hub, caller):
    with hub.peer() as it:
        for _ in range(9):
            assert it.call("demo/whoami", auth_token=new_token())["id"] == "spoke", "one changes nothing"
        it.request("demo/whoami", auth_token=new_token())
        assert it.ended()


# ---- envelopes ------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("kind", ["call.future", "", "CALL.REQUESTED", "call.requested ", "x" * 1000])
def test_an_envelope_of_another_type_is_ignored(caller, kind):
    caller.put(kind, "a", {"operationId": "/demo/echo", "input": 1})
    assert caller.call("demo/echo", 1) == 1


def test_further_members_are_ignored(caller):
    caller.put(REQUESTED, "a", {"operationId": "/demo/echo", "input": 1, "more": 2}, more={"deep": [3]}, output=4)
    assert caller.output("a") == 1


@pytest.mark.parametrize("ident", ["x", "x" * 256, "\u00e9" * 128, "\U0001f600" * 64, "\u0000", " \"\\/\n"], ids=len)
def test_an_id_of_1_to_256_bytes_comes_back_as_it_was(caller, ident):
    caller.request("demo/echo", 1, ident=ident)
    assert caller.output(ident) == 1


GOOD = b'{"type":"call.requested","id":"a","payload":{"operationId":"/demo/echo","input":"here"}}'
MIXED = {
    "spaces": b" \t\r\n" + GOOD.replace(b":", b" : ") + b"\n ", "order": b'{"payload":{"input":"here","operationId":"/demo/echo"},"id":"a","type":"call.requested"}',
    "escapes": GOOD.replace(b"call.requested", b"\\u0063all.requested").replace(b'"id"', b'"\\u0069d"').replace(b"/demo/echo", b"\\/demo\\/echo"),
    "pair": GOOD.replace(b"here", b"\\ud83d\\ude00"), "twice in two objects": GOOD.replace(b'"here"', b'[{"a":1},{"a":1}]'),
    "name of nothing": GOOD.replace(b'"here"', b'{"":1}')}


@pytest.mark.parametrize("name", MIXED)
def test_json_may_be_written_as_one_likes(caller, name):
    caller.raw(frame(MIXED[name]))
    assert caller.answer("a")[0] == RESPONDED


WRONG = {
    "no UTF-8": GOOD.replace(b"here", b"\xff"), "a surrogate in UTF-8": GOOD.replace(b"here", b"\xed\xa0\x80"), "overlong": GOOD.replace(b"here", b"\xc0\xaf"),
    "beyond Unicode": GOOD.replace(b"here", b"\xf4\x90\x80\x80"), "cut": GOOD[:-1], "two": GOOD + GOOD, "comma": GOOD[:-1] + b",}", "BOM": b"\xef\xbb\xbf" + GOOD,
    "NaN": GOOD.replace(b'"here"', b"NaN"), "comment": GOOD + b"/**/", "control": GOOD.replace(b"here", b"\x01"), "NUL behind": GOOD + b"\0", "space": b" ",
    "lone high": GOOD.replace(b"here", b"\\ud800"), "lone low": GOOD.replace(b"here", b"\\udc00"), "reversed": GOOD.replace(b"here", b"\\ude00\\ud83d"),
    "high twice": GOOD.replace(b"here", b"\\ud83d\\ud83d\\ude00"), "lone in a name": GOOD.replace(b'"here"', b'{"\\ud800":1}'),
    "lone in the id": GOOD.replace(b'"a"', b'"\\ud800"'), "lone in another member": GOOD[:-1] + b',"x":"\\ud800"}',
    "id twice": GOOD[:-1] + b',"id":"a"}', "other twice": GOOD[:-1] + b',"x":1,"x":1}', "input twice": GOOD.replace(b'"here"', b'1,"input":1'),
    "twice in the input": GOOD.replace(b'"here"', b'[{"a":1,"b":2,"a":3}]'), "twice by an escape": GOOD.replace(b'"here"', b'{"a":1,"\\u0061":2}'),
    "array": b"[" + GOOD + b"]", "null": b"null", "string": b'"call.requested"', "nothing in it": b"{}",
    "no type": b'{"id":"a","payload":{}}', "no id": b'{"type":"call.aborted","payload":{}}', "no payload": b'{"type":"call.aborted","id":"a"}',
    "type is a number": b'{"type":1,"id":"a","payload":{}}', "id is a number": b'{"type":"call.aborted","id":1,"payload":{}}',
    "empty id": envelope(ABORTED, "", {}), "257 bytes of id": envelope(ABORTED, "x" * 257, {}), "258 bytes of id": envelope(ABORTED, "\u00e9" * 129, {}),
    "another type without id": b'{"type":"call.future","payload":{}}', "another type without payload": b'{"type":"call.future","id":"a"}'}


@pytest.mark.parametrize("who", ["nobody", "peer"])
@pytest.mark.parametrize("name", WRONG)
def test_what_is_no_envelope_ends_the_connection(hub, who, name):
    with getattr(hub, who)() as it:
        it.raw(frame(WRONG[name]))
        assert it.ended() and not it.answers


def test_128_levels_are_taken_and_one_more_ends_the_connection(hub, caller):
    """The first is the envelope."""
    caller.raw(frame(GOOD[:-1] + b',"more":' + b"[" * 127 + b"]" * 127 + b"}"))
    assert caller.output("a") == "here"
    with hub.peer() as it:
        it.raw(frame(GOOD[:-1] + b',"more":' + b"[" * 128 + b"]" * 128 + b"}"))
        assert it.ended() and not it.answers


def test_an_output_of_125_levels_is_answered_and_a_deeper_one_is_too_large(caller):
    caller.raw(frame(GOOD.replace(b'"here"', b"[" * 125 + b"]" * 125)))
    assert caller.answer("a")[0] == RESPONDED
    caller.raw(frame(GOOD.replace(b'"a"', b'"b"').replace(b'"here"', b"[" * 126 + b"]" * 126)))
    assert caller.fault("b") == {"code": "INTERNAL", "message": "output too large", "retryable": False}


def test_a_million_values_are_taken_and_many_more_end_the_connection(hub, caller):
    caller.raw(frame(GOOD.replace(b'"here"', b"[" + b"1," * 999_000 + b"1]")))
    assert len(caller.output("a")) == 999_001
    with hub.peer() as it:
        it.raw(frame(GOOD.replace(b'"here"', b"[" + b"1," * 1_000_000 + b"1]")))
        assert it.ended() and not it.answers


# ---- frames ---------------------------------------------------------------------------------------------------------

def test_frames_may_come_in_any_pieces(caller):
    for byte in frame(GOOD):
        caller.raw(bytes((byte,)))
    assert caller.output("a") == "here"
    caller.raw(b"".join(frame(GOOD.replace(b'"a"', b'"m%d"' % i)) for i in range(100)))
    assert [caller.output(f"m{i}") for i in range(100)] == ["here"] * 100


@pytest.mark.parametrize("length", [b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x80\0\0\0", b"\x01\0\0\x01"], ids=bytes.hex)
def test_a_length_of_nothing_or_above_the_limit_ends_the_connection(hub, length):
    with hub.peer() as it:
        it.raw(length)
        assert it.ended(), "at once, and not when that many bytes have come"


def sized(bytes_):
    return GOOD.replace(b"here", b"x" * (bytes_ - len(GOOD) + 4))


def test_a_frame_of_16_mib_is_taken(caller):
    caller.raw(frame(sized(16 * MIB)))
    kind, payload = caller.answer("a")
    assert kind == RESPONDED and len(payload["output"]) == 16 * MIB - len(GOOD) + 4


def test_a_frame_of_1_mib_is_taken_of_nobody_and_one_byte_more_is_not(nobody):
    nobody.raw(frame(sized(MIB)))
    assert nobody.answer("a")[0] == RESPONDED
    nobody.raw((MIB + 1).to_bytes(4, "big"))
    assert nobody.ended()


@pytest.mark.parametrize("part", [1, 3, 4, 5, len(GOOD) + 3])
def test_half_a_frame_and_then_the_end_is_wrong(hub, part):
    closes, _ = hub.settled()
    it = hub.peer()
    it.call("demo/echo")
    it.raw(frame(GOOD)[:part])
    it.finish()
    assert wait_for(lambda: hub.events("session.close")[closes:])[0]["code"] == 1002


def test_the_end_of_one_direction_is_that_of_the_connection(hub):
    """Also with a request before it, unlike on a stream of QUIC."""
    closes, calls = hub.settled()
    it = hub.peer()
    it.request("demo/sleep", {"ms": 60000})
    it.finish()
    assert wait_for(lambda: hub.events("session.close")[closes:])[0]["code"] == 1005
    assert [(e["operation"], e["outcome"]) for e in hub.events("call")[calls:]] == [("demo/sleep", "closed")]


def test_who_says_nothing_or_stops_within_a_frame_is_not_waited_for(hub, tmp_path):
    it = Hub(tmp_path)
    it.write_config(limits={"header_timeout_ms": 1000, "body_timeout_ms": 1000})
    it.start()
    try:
        with it.peer() as somebody, it.nobody() as spoken:
            assert spoken.call("demo/echo", 1) == 1
            with it.nobody() as silent:
                assert silent.ended()
            spoken.call("demo/sleep", {"ms": 1100})
            assert spoken.call("demo/echo", 2) == somebody.call("demo/echo", 2) == 2, "one frame is enough, and whose certificate is known needs none"
            for one in (spoken, somebody):
                one.raw(frame(GOOD)[:10])
                assert one.ended()
    finally:
        it.stop()
