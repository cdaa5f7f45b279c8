"""POST /call and what all gateway routes have in common: who calls, which status a code gets, what every answer has."""
import datetime
import re
import signal
import subprocess
import time

import pytest

from conftest import key_for, wait_for
from rawhttp import ADMIN, DISABLED, EXPIRED, PEER, PLAIN, TRACE, UNKNOWN, Node, build_plugin, message

ROUTES = [("GET", "/search", None), ("GET", "/schema?name=demo/echo", None), ("GET", "/openapi.json", None),
          ("POST", "/call", {"operation": "/demo/echo", "input": 1}),
          ("POST", "/batch", [{"operation": "/demo/echo", "input": 1}]),
          ("POST", "/subscribe", {"operation": "/demo/clock", "input": {"count": 1}}),
          ("GET", "/subscribe?operation=demo/clock&input=%7B%22count%22%3A1%7D", None)]
NAMES = [f"{method} {target.split('?')[0]}" for method, target, _ in ROUTES]


@pytest.fixture(scope="module")
def node(tmp_path_factory):
    folder = tmp_path_factory.mktemp("calls")
    with Node(folder, plugins=[build_plugin(folder)], limits={"output_bytes": 100000, "auth_failures_per_minute": 0}) as it:
        yield it


@pytest.fixture
def wire(node):
    with node.wire() as it:
        yield it


# ---- the answer -------------------------------------------------------------------------------------------------------

def test_an_answer_has_request_id_result_and_output(wire):
    reply = wire.call("/demo/add", {"a": 2, "b": 3})
    said = reply.json()
    assert reply.status == 200 and list(said) == ["request_id", "result", "output"]
    assert said["result"] == "ok" and said["output"] == {"sum": 5}
    assert said["request_id"] == reply.header("x-request-id")


def test_a_name_is_accepted_with_and_without_leading_slash(wire):
    assert wire.call("/demo/echo", 1).output == 1
    assert wire.call("demo/echo", 1).output == 1
    assert wire.call("//demo/echo", 1).status == 404, "only one slash is stripped"


@pytest.mark.parametrize("value", [None, True, False, 0, -1, 1.5, "", "text", [], {}, [1, [2, {"a": None}]], {"": ""},
                                   "\u00e9\u4e2d\U0001f600", "\"\\\b\f\n\r\t"], ids=repr)
def test_any_json_value_comes_back_from_echo(wire, value):
    assert wire.call("demo/echo", value).output == value


def test_a_missing_input_is_an_empty_object(wire):
    assert wire.ask("POST", "/call", {"operation": "demo/echo"}).output == {}
    assert wire.ask("POST", "/call", {"operation": "demo/echo", "input": None}).output is None
    batch = wire.ask("POST", "/batch", [{"operation": "demo/echo"}, {"operation": "demo/echo", "input": None}])
    assert [item["output"] for item in batch.json()["results"]] == [{}, None]


def test_every_request_has_an_id_of_its_own(wire):
    ids = [wire.call("demo/echo").header("x-request-id") for _ in range(50)]
    assert len(set(ids)) == 50


def test_answers_are_not_compressed(wire):
    reply = wire.call("demo/echo", "x" * 5000, headers={"Accept-Encoding": "gzip, br, zstd, deflate"})
    assert reply.header("content-encoding") is None and reply.output == "x" * 5000


def test_curl_gets_the_answer(node):
    done = subprocess.run(["curl", "-sS", "-f", f"http://127.0.0.1:{node.port}/call", "-H",
                           "Content-Type: application/json",
                           "-H", "Authorization: Bearer " + ADMIN, "-d", '{"operation":"/demo/whoami"}'],
                          capture_output=True, timeout=20, check=True)
    assert b'"id":"' + ADMIN[:8].encode() + b'"' in done.stdout


# ---- fields that every answer has -------------------------------------------------------------------------------------

EVERY = ROUTES + [("GET", "/healthz", None), ("GET", "/readyz", None), ("POST", "/call", {"operation": "no/such"}),
                  ("POST", "/call", {"operation": "demo/whoami"}), ("POST", "/call", b"{"), ("POST", "/call", {}),
                  ("GET", "/schema?name=no/such", None), ("POST", "/subscribe", {"operation": "demo/echo"}),
                  ("POST", "/batch", {}), ("POST", "/call", {"operation": "demo/add", "input": 1})]


@pytest.mark.parametrize("method,target,body", EVERY)
def test_every_answer_has_a_request_id_and_the_traceparent_of_the_request(node, method, target, body):
    with node.wire() as wire:
        wire.send(message(method, target, body, {"traceparent": TRACE}, host=wire.host))
        reply = wire.head()
        assert reply.header("x-request-id") and reply.header("traceparent") == TRACE
    with node.wire() as wire:
        wire.send(message(method, target, body, host=wire.host))
        reply = wire.head()
        assert reply.header("x-request-id") and reply.header("traceparent") is None


@pytest.mark.parametrize("extra", [{"Content-Type": "text/plain"}, {"Authorization": "Bearer " + UNKNOWN},
                                   {"Content-Encoding": "gzip"}, {"Origin": "https://evil.example"}], ids=str)
def test_a_refusal_has_them_too(wire, extra):
    reply = wire.ask("POST", "/call", {"operation": "demo/echo"}, {"traceparent": TRACE, **extra})
    assert reply.status >= 400 and reply.header("x-request-id") and reply.header("traceparent") == TRACE


@pytest.mark.parametrize("bad", ["", "x", TRACE.replace("00-", "ff-"), TRACE.upper(), TRACE + "0", TRACE[:-1],
                                 "00-" + "0" * 32 + "-b7ad6b7169203331-01", "00-0af7651916cd43dd8448eb211c80319c-"
                                 + "0" * 16 + "-01"])
def test_a_malformed_traceparent_is_ignored(wire, bad):
    reply = wire.ask("POST", "/call", {"operation": "demo/echo"}, {"traceparent": bad})
    assert reply.status == 200 and reply.header("traceparent") is None


# ---- who calls --------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("method,target,body", ROUTES, ids=NAMES)
@pytest.mark.parametrize("given", [
    [("Authorization", "Bearer " + UNKNOWN)], [("Authorization", "Bearer " + EXPIRED)],
    [("Authorization", "Bearer " + DISABLED)],
    [("Authorization", "Bearer short")], [("Authorization", "Bearer " + ADMIN[:-1])],
                                   [("Authorization", "Bearer " + ADMIN + "0")],
    [("Authorization", "Bearer " + ADMIN.upper())], [("Authorization", "Bearer " + ADMIN + ", Bearer " + PLAIN)],
    [("Authorization", "Bearer " + ADMIN), ("Authorization", "Bearer " + ADMIN)],
    [("Authorization", "Bearer " + ADMIN), ("Authorization", "Bearer " + PLAIN)],
    [("Authorization", b"Bearer \xff\xfe\x80" + b"a" * 40)], [("Authorization", b"Bearer alk_adm1\xc3(" + b"0" * 32)],
    [("Authorization", "Bearer " + "x" * 20000)]],
    ids=["unknown", "expired", "disabled", "short", "cut", "longer", "upper case", "list", "twice", "two", "not UTF-8",
         "broken UTF-8", "huge"])
def test_a_token_that_does_not_resolve_is_refused_on(wire, method, target, body, given):
    reply = wire.ask(method, target, body, given)
    assert reply.status == 401
    assert reply.header("www-authenticate") == 'Bearer error="invalid_token"'
    assert reply.error()["retryable"] is False
    assert ADMIN.encode() not in reply.body


@pytest.mark.parametrize("value", ["Basic YWxhZGRpbjpvcGVu", "Bearer", "Bearer ", "Digest x", ADMIN, "Bearer\t"])
def test_another_authorization_is_not_taken_for_none(wire, value):
    """Who presents a credential must not be served as anonymous by surprise."""
    reply = wire.ask("POST", "/call", {"operation": "demo/echo"}, {"Authorization": value})
    assert reply.status == 401 and reply.header("www-authenticate").startswith("Bearer")


def test_the_scheme_is_case_insensitive(wire):
    for scheme in ("Bearer", "bearer", "BEARER"):
        reply = wire.ask("POST", "/call", {"operation": "demo/whoami"}, {"Authorization": f"{scheme} {PLAIN}"})
        assert reply.output["id"] == PLAIN[:8]


def test_more_than_one_space_may_stand_before_the_token(wire):
    """RFC 6750, 2.1: 1*SP."""
    for value in ("Bearer  " + PLAIN, "Bearer    " + PLAIN + " \t"):
        assert wire.ask("POST", "/call", {"operation": "demo/whoami"}, {"Authorization": value}).output["id"] == PLAIN[:8]


@pytest.mark.parametrize("target", ["/call", "/subscribe"])
def test_an_unknown_member_is_400_and_named(wire, target):
    for member in ("inptu", "auth_token", "operation2", "input\0", "a" * 5000):
        reply = wire.ask("POST", target, {"operation": "demo/echo", member: 1})
        assert reply.status == 400 and reply.error()["code"] == "INVALID_INPUT"
        shown = member.replace("\0", "\\u0000")[:64]
        assert reply.error()["message"] == f"/{shown}: unknown member"


def test_a_missing_input_is_an_empty_object(wire):
    assert wire.ask("POST", "/call", {"operation": "demo/echo"}).output == {}
    assert wire.ask("POST", "/call", {"operation": "demo/echo", "input": None}).output is None


def test_a_key_and_a_peer_are_who_they_are(wire):
    assert wire.call("demo/whoami", token=ADMIN).output == {
        "id": ADMIN[:8], "scopes": ["demo:secret", "peers:list"], "resources": {}}
    assert wire.call("demo/whoami", token=PEER).output["id"] == "peer-a"


def test_identity_is_asked_anew_for_each_request_of_a_connection(wire):
    assert wire.call("demo/whoami", token=ADMIN).output["id"] == ADMIN[:8]
    assert wire.call("demo/whoami", token=PLAIN).output["id"] == PLAIN[:8]
    assert wire.call("demo/whoami").status == 401
    assert wire.ask("GET", "/search", token=UNKNOWN).status == 401
    assert wire.call("demo/whoami", token=ADMIN).output["id"] == ADMIN[:8]


@pytest.mark.parametrize("headers,target", [({"Cookie": "token=" + ADMIN}, "/call"), ({"X-Api-Key": ADMIN}, "/call"),
                                            ({"Proxy-Authorization": "Bearer " + ADMIN}, "/call"),
                                            ({}, "/call?access_token=" + ADMIN), ({}, "/call?token=" + ADMIN)])
def test_a_token_is_taken_from_authorization_only(wire, headers, target):
    assert wire.ask("POST", target, {"operation": "demo/whoami"}, headers).status == 401


def test_no_identity_where_one_is_needed_is_401_bearer(wire):
    for operation in ("demo/whoami", "demo/secret", "services/list-peers"):
        reply = wire.call(operation)
        assert reply.status == 401 and reply.header("www-authenticate") == "Bearer"
        assert reply.error() == {"code": "FORBIDDEN", "message": "authentication required", "retryable": False}


def test_an_identity_without_the_scope_is_403(wire):
    reply = wire.call("demo/secret", token=PLAIN)
    assert reply.status == 403 and reply.header("www-authenticate") == 'Bearer error="insufficient_scope"'
    assert reply.error()["code"] == "FORBIDDEN" and reply.error()["message"] != "authentication required"
    assert wire.call("demo/secret", token=ADMIN).status == 200
    assert wire.call("demo/secret", token=PEER).status == 200, "demo:* holds demo:secret"


def test_access_is_decided_before_operation_type_and_input(wire):
    assert wire.ask("POST", "/subscribe", {"operation": "demo/secret", "input": 1}).status == 401
    reply = wire.call("demo/clock", {"interval_ms": "wrong"})
    assert reply.error()["code"] == "INVALID_OPERATION_TYPE", "type before input"
    reply = wire.ask("POST", "/subscribe", {"operation": "demo/internal"}, token=ADMIN)
    assert reply.error()["code"] == "NOT_FOUND", "visibility before type"


def test_a_token_that_is_revoked_or_expires_is_refused_on_kept_connections_too(tmp_path):
    """What a connection remembers of its last token must not outlive the configuration."""
    soon = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=2)
    keys = [key_for(ADMIN), key_for(PLAIN), key_for(EXPIRED, expires_at=soon.strftime("%Y-%m-%dT%H:%M:%SZ"))]
    with Node(tmp_path, keys=keys, peers=[]) as node, node.wire() as wire, node.wire() as other, node.wire() as third:
        for _ in range(2):
            assert wire.call("demo/whoami", token=PLAIN).output["id"] == PLAIN[:8]
            assert other.call("demo/whoami", token=EXPIRED).output["id"] == EXPIRED[:8]
            assert third.call("demo/whoami", token=ADMIN).output["id"] == ADMIN[:8]
        node.write_config(keys=[keys[0], keys[2]])
        node.signal(signal.SIGHUP)
        node.await_log(event="reload")
        assert wire.ask("GET", "/search", token=PLAIN).status == 401
        wait_for(lambda: other.ask("GET", "/search", token=EXPIRED).status == 401, seconds=10, every=0.1)
        assert third.call("demo/whoami", token=ADMIN).output["id"] == ADMIN[:8]


def test_an_address_that_fails_too_often_is_told_to_wait(tmp_path):
    with Node(tmp_path, limits={"auth_failures_per_minute": 5}) as node, node.wire() as wire:
        statuses = [wire.ask("GET", "/search", token=UNKNOWN).status for _ in range(8)]
        assert statuses == [401] * 5 + [429] * 3
        reply = wire.ask("GET", "/search", token=UNKNOWN)
        assert int(reply.header("retry-after")) >= 1 and reply.error()["code"] == "BUSY"
        assert wire.ask("GET", "/search").status == 200, "who presents nothing fails at nothing"
        assert wire.ask("GET", "/healthz").status == 200
        for _ in range(3):
            assert wire.call("demo/whoami", token=PLAIN).output["id"] == PLAIN[:8], "a good token is good from everywhere"
            assert wire.ask("GET", "/search", token=UNKNOWN).status == 429


def test_sixty_failures_in_a_minute_are_allowed_by_default(tmp_path):
    with Node(tmp_path) as node, node.wire() as wire:
        statuses = [wire.ask("GET", "/search", token=UNKNOWN).status for _ in range(80)]
        assert statuses[:60] == [401] * 60 and 429 in statuses[60:]


# ---- codes and statuses -----------------------------------------------------------------------------------------------

TABLE = [
    ("no/such", None, 404, "NOT_FOUND"), ("demo/internal", 1, 404, "NOT_FOUND"),
    ("demo/add", {"a": "x", "b": 1}, 422, "INVALID_INPUT"),
    ("demo/clock", {}, 400, "INVALID_OPERATION_TYPE"),
    ("fail/negative", None, 500, "INTERNAL"), ("big/value", 200000, 500, "INTERNAL"),
    ("fail/NOT_FOUND", None, 500, "INTERNAL"), ("fail/FORBIDDEN", None, 500, "INTERNAL"),
         ("fail/BUSY", None, 500, "INTERNAL"),
    ("fail/APP_UNDECLARED", None, 500, "APP_UNDECLARED"),
    ("demo/fail", None, 409, "DEMO_CONFLICT"), ("fail/DECLARED_423", None, 423, "DECLARED_423"),
    ("fail/DECLARED_429", None, 429, "DECLARED_429"), ("fail/DECLARED_418", None, 502, "DECLARED_418"),
    ("demo/add", {"a": 1e308, "b": 1e308}, 422, "DEMO_OVERFLOW"),
    ("fail/HTTP_200", None, 502, "HTTP_200"), ("fail/HTTP_302", None, 502, "HTTP_302"),
    *[("demo/fail", {"status": n}, n, f"HTTP_{n}") for n in (400, 403, 404, 409, 410, 412, 422, 423, 429, 451)],
    *[("demo/fail", {"status": n}, n, f"HTTP_{n}") for n in (500, 501, 502, 503, 504, 511, 599)],
    *[("demo/fail", {"status": n}, 502, f"HTTP_{n}")
      for n in (401, 402, 405, 406, 407, 408, 411, 413, 415, 418, 426, 428, 431, 499)],
]


@pytest.mark.parametrize("operation,value,status,code", TABLE, ids=[f"{o}-{c}-{s}" for o, _, s, c in TABLE])
def test_the_status_of_a_code(wire, operation, value, status, code):
    reply = wire.call(operation, value, token=PLAIN)
    said = reply.error()
    assert (reply.status, said["code"]) == (status, code)
    assert reply.header("www-authenticate") is None
    assert reply.header("connection") != "close", "a failed call is no reason to close"


@pytest.mark.parametrize("body", [b"", b"{", b"null", b"5", b'"demo/echo"', b"[]", b"{}", b'{"input":1}',
                                  b'{"operation":5}',
                                  b'{"operation":null}', b'{"operation":["demo/echo"]}', b'{"operation":"demo/echo"}x',
                                  b'{"operation":"demo/echo","operation":"demo/add"}',
                                  b'{"operation":"demo/echo","input":{"a":1,"a":2}}',
                                  b"\xef\xbb\xbf{}", b"{'operation':'demo/echo'}"])
def test_a_body_that_is_no_invocation_is_400(wire, body):
    reply = wire.ask("POST", "/call", body)
    said = reply.error()
    assert reply.status == 400 and said["code"] == "INVALID_INPUT"


def test_not_found_names_the_operation_without_slash(wire):
    assert wire.call("/no/such").error() == {"code": "NOT_FOUND", "message": "operation not found: no/such",
                                             "retryable": False}


@pytest.mark.parametrize("name", ["", "/", ".", "..", "demo", "demo/", "demo//echo", "demo/../demo/echo", "demo/./echo",
                                  "demo/ec ho",
                                  "demo/echo\0", "demo\\echo", "DEMO/ECHO", "demo/echo?x", "d\u00e9mo/echo",
                                  "services/*"])
def test_a_name_that_cannot_exist_is_not_found(wire, name):
    reply = wire.call(name, 1, token=ADMIN)
    assert reply.status == 404 and reply.error()["code"] == "NOT_FOUND"


def test_invalid_input_names_pointer_and_keyword(wire):
    reply = wire.call("demo/add", {"a": 1, "b": "two"})
    said = reply.error()
    assert "/b" in said["message"] and "type" in said["message"]
    assert set(said["details"]) == {"errors"}
    errors = said["details"]["errors"]
    assert [(e["path"], e["keyword"]) for e in errors] == [("/b", "type")]
    assert set(errors[0]) == {"path", "keyword", "message"}
    said = wire.call("demo/add", {"a": 1}).error()
    assert [(e["path"], e["keyword"]) for e in said["details"]["errors"]] == [("", "required")]
    assert "b" in said["message"]


def test_at_most_eight_errors_are_listed(wire):
    errors = wire.call("demo/add", {f"x{i}": i for i in range(50)}).error()["details"]["errors"]
    assert 1 <= len(errors) <= 8


def test_a_negative_return_says_nothing_to_the_caller_and_all_to_the_log(wire, node):
    reply = wire.call("fail/negative")
    assert reply.error() == {"code": "INTERNAL", "message": "internal error", "retryable": False}
    event = node.await_log(event="call", operation="fail/negative", request_id=reply.header("x-request-id"))
    assert event["outcome"] == "INTERNAL" and "SYSTEM" in event["message"], "the log has the whole"


def test_output_beyond_the_limit_is_internal(wire):
    assert wire.call("big/value", 200000).error() == {"code": "INTERNAL", "message": "output too large",
                                                      "retryable": False}
    assert wire.call("big/value", 90000).output == "x" * 90000


def test_a_handlers_message_and_details_go_out(wire):
    said = wire.call("demo/fail", {"message": "no \u00e9", "retryable": True}).error()
    assert said == {"code": "DEMO_CONFLICT", "message": "no \u00e9", "retryable": True, "details": {"holder": "nobody"}}
    assert wire.call("fail/APP_UNDECLARED").error() == {
        "code": "APP_UNDECLARED", "message": "failed as asked", "retryable": False}


# ---- Retry-After ------------------------------------------------------------------------------------------------------

DATE = "Sun, 06 Nov 1994 08:49:37 GMT"


@pytest.mark.parametrize("code", ["HTTP_429", "HTTP_503", "DECLARED_429"])
@pytest.mark.parametrize("given,sent", [(120, "120"), (0, "0"), (86400, "86400"), (DATE, DATE)])
def test_retry_after_comes_from_details(wire, code, given, sent):
    assert wire.call("fail/" + code, {"retry_after": given}).header("retry-after") == sent


@pytest.mark.parametrize("given", [86401, -1, 1e300, "soon", "120", "", None, [], {}, True, "1\r\nX-Injected: yes", DATE
                                   + "\r\nX-Injected: 1",
                                   "Xyz, 99 Abc 9999 99:99:99 GMT", "Sun, 31 Feb 1994 08:49:37 GMT"], ids=repr)
def test_retry_after_is_sent_only_when_it_is_one(wire, given):
    reply = wire.call("fail/HTTP_503", {"retry_after": given})
    assert reply.status == 503 and reply.header("retry-after") is None and reply.header("x-injected") is None


@pytest.mark.parametrize("given", ["Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"])
def test_an_obsolete_date_is_sent_in_the_one_form_or_not(wire, given):
    assert wire.call("fail/HTTP_503", {"retry_after": given}).header("retry-after") in (DATE, None)


def test_a_fraction_of_a_second_is_sent_as_whole_seconds(wire):
    assert re.fullmatch(r"[12]", wire.call("fail/HTTP_503", {"retry_after": 1.5}).header("retry-after"))


@pytest.mark.parametrize("code", ["HTTP_200", "APP_UNDECLARED", "DECLARED_423"])
def test_other_statuses_have_no_retry_after(wire, code):
    assert wire.call("fail/" + code, {"retry_after": 120}).header("retry-after") is None


def test_too_many_calls_of_an_identity_are_429_with_retry_after(tmp_path):
    with Node(tmp_path, limits={"calls_per_second": 2}) as node, node.wire() as wire:
        replies = [wire.call("demo/echo", 1, token=PLAIN) for _ in range(20)]
        refused = [reply for reply in replies if reply.status != 200]
        assert refused and {reply.status for reply in refused} == {429}
        for reply in refused:
            assert reply.error()["code"] == "BUSY" and reply.error()["retryable"] is True
            assert int(reply.header("retry-after")) >= 1


# ---- deadlines --------------------------------------------------------------------------------------------------------

def test_x_timeout_ms_shortens_the_deadline_and_cancels_the_handler(node, wire):
    before = wire.call("demo/sleep", {"ms": 0}).output["cancelled"]
    start = time.monotonic()
    reply = wire.call("demo/sleep", {"ms": 60000}, headers={"X-Timeout-Ms": "150"})
    took = time.monotonic() - start
    assert reply.status == 504 and 0.1 < took < 5
    assert reply.error()["code"] == "TIMEOUT" and reply.error()["retryable"] is True
    assert wire.call("demo/sleep", {"ms": 0}).output["cancelled"] == before + 1
    assert node.await_log(event="call", operation="demo/sleep", outcome="TIMEOUT")


def test_x_timeout_ms_does_not_lengthen_the_deadline(tmp_path):
    with Node(tmp_path, limits={"deadline_ms": 200}) as node, node.wire() as wire:
        start = time.monotonic()
        assert wire.call("demo/sleep", {"ms": 60000}, headers={"X-Timeout-Ms": "50000"}).status == 504
        assert wire.call("demo/sleep", {"ms": 60000}).status == 504
        assert time.monotonic() - start < 5
        assert wire.call("demo/sleep", {"ms": 1}, headers={"X-Timeout-Ms": "50000"}).status == 200
        stream = wire.subscribe("demo/clock", {"interval_ms": 50, "count": 8})
        assert [kind for kind, _ in stream.rest()] == ["message"] * 8, "a subscription has no default deadline"


@pytest.mark.parametrize("value", ["", "abc", "-1", "1.5", "0x10", "999999999999999999999", "1 2", "+5"])
def test_a_malformed_x_timeout_ms_is_ignored(wire, value):
    assert wire.call("demo/sleep", {"ms": 20}, headers={"X-Timeout-Ms": value}).status == 200


def test_x_timeout_ms_ends_a_subscription_with_an_error_event(wire):
    stream = wire.subscribe("demo/clock", {"interval_ms": 40}, headers={"X-Timeout-Ms": "150"})
    events = stream.rest()
    assert events[-1][0] == "error" and events[-1][1]["code"] == "TIMEOUT"
    assert len(events) >= 2 and all(kind == "message" for kind, _ in events[:-1])


def test_a_client_that_goes_away_cancels_its_call(node):
    with node.wire() as counter:
        before = counter.call("demo/sleep", {"ms": 0}).output["cancelled"]
        for leave in ("close", "reset"):
            wire = node.wire()
            wire.begin(message("POST", "/call", {"operation": "demo/sleep", "input": {"ms": 60000}}, host=wire.host))
            getattr(wire, leave)()
        wait_for(lambda: counter.call("demo/sleep", {"ms": 0}).output["cancelled"] == before + 2)
    assert node.await_log(event="call", operation="demo/sleep", outcome="aborted", count=2)


# ---- the log ----------------------------------------------------------------------------------------------------------

def test_a_call_is_one_line_of_the_log(node, wire):
    reply = wire.call("demo/add", {"a": 1, "b": 2}, token=PLAIN)
    event = node.await_log(event="call", request_id=reply.header("x-request-id"))
    assert event["operation"] == "demo/add" and event["identity"] == PLAIN[:8] and event["outcome"] == "ok"
    assert event["duration_ms"] >= 0 and len(node.find(request_id=reply.header("x-request-id"))) == 1


def test_a_wrong_token_is_logged_without_the_token(node, wire):
    reply = wire.call("demo/echo", token=UNKNOWN)
    event = node.await_log(event="auth.failed", request_id=reply.header("x-request-id"))
    assert event["remote"].startswith("127.0.0.1") and UNKNOWN not in node.log_text()
