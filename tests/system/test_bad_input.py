"""What must not hurt: each test does something bad while neighbours, on connections of their own, make correct calls,
all of which must succeed. Bad input gets its status, a message that helps, and nothing beyond its limit."""
import contextlib
import json
import os
import pathlib
import random
import re
import socket
import time

import pytest

from conftest import ROOT, key_for, wait_for
from rawhttp import (ADMIN, IDENTITIES, PLAIN, Closed, Neighbour, Node, Wire, build_plugin, descriptors_wanted, message, together)

MIB = 1 << 20
DATA = pathlib.Path(os.environ.get("ALKNET_TEST_DATA", ROOT.parent / "shared/data"))
ECHO = b'{"operation":"demo/echo","input":%s}'
POSTS = ["/call", "/batch", "/subscribe"]
CROWD = [f"alk_c{n:03}" + "0123456789abcdef" * 2 for n in range(20)]


@pytest.fixture(scope="module")
def node(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bad")
    # Freed memory goes back at once, so that what the process holds is what it needs.
    with Node(folder, {"ASAN_OPTIONS": "detect_leaks=1:quarantine_size_mb=1"}, plugins=[build_plugin(folder)],
              keys=[*IDENTITIES["keys"], *map(key_for, CROWD)]) as it:
        it.tokens += CROWD
        yield it


@pytest.fixture(scope="module")
def hasty(tmp_path_factory):
    with Node(tmp_path_factory.mktemp("hasty"), limits={"header_timeout_ms": 200, "body_timeout_ms": 200,
                                                        "write_timeout_ms": 200}) as it:
        yield it


@pytest.fixture(autouse=True)
def neighbours(node, hasty):
    with Neighbour(node) as one, Neighbour(hasty) as other:
        wait_for(lambda: one.made and other.made or one.trouble or other.trouble)
        yield
    assert one.slowest < 10 and other.slowest < 10, "a correct call waited for a bad one"


@pytest.fixture
def wire(node):
    with node.wire() as it:
        yield it


def refused(reply, *statuses):
    """Has one of these statuses and is an object that says why."""
    assert reply.status in statuses, reply
    said = reply.error()
    assert said["code"] == "INVALID_INPUT" and said["retryable"] is False and len(said["message"]) >= 5, said
    assert reply.header("x-request-id")
    return said["message"]


# ---- JSON that is none ------------------------------------------------------------------------------------------------

MALFORMED = [b"", b"nul", b"nulll", b"tru", b"NaN", b"Infinity", b"-Infinity", b"undefined", b"'a'", b'"', b'"abc',
             b'"\\', b'"\\u12', b'"\\x41"', b'"\\u00g0"',
             b'"a\tb"', b'"a\nb"', b'"a\0b"', b"01", b"-", b"+1", b".5", b"1.", b"1.e1", b"1e", b"1e+", b"0x10",
             b"1_000", b"--1", b"1 2", b"[", b"]", b"[1",
             b"[1,", b"[1,]", b"[,1]", b"[1 2]", b"[1}", b"{", b"}", b'{"a"}', b'{"a":}', b'{"a":1,}', b"{a:1}",
             b'{"a":1 "b":2}', b'{"a"::1}', b"{1:2}",
             b'{"a":1]', b"[1]]", b"// comment\n1", b"/* c */1", b"1;", b"\xff", b'"\xff"', b'"\xc0\xaf"',
             b'"\xe0\x80\xaf"', b'"\xed\xa0\x80"', b'"\xf5\x80\x80\x80"',
             b'"\xf0\x82\x82\xac"', b'"\xc3"', b'"\xe4\xb8"', b"\xef\xbb\xbf1", b"\x001", b"1\x00", b"\x0b1",
             b"\xc2\xa01"]


@pytest.mark.parametrize("text", MALFORMED, ids=repr)
def test_malformed_json_is_400_and_says_where(wire, text):
    said = refused(wire.ask("POST", "/call", ECHO % text), 400)
    assert "body" in said and re.search(r"\d", said), said
    assert wire.call("demo/echo", 1).output == 1, "the connection is as good as before"


@pytest.mark.parametrize("cut", range(0, 37))
def test_a_cut_body_is_never_completed_by_what_was_there_before(wire, cut):
    """Both bodies use the same memory: the rest of the first must not end the second."""
    whole = ECHO % b'"x"'
    assert wire.ask("POST", "/call", whole).output == "x"
    if cut < len(whole):
        refused(wire.ask("POST", "/call", whole[:cut]), 400)
    assert wire.ask("POST", "/batch", b"[" + whole + b"]").json()["results"][0]["output"] == "x"
    if cut < len(whole) + 1:
        refused(wire.ask("POST", "/batch", b"[" + whole[:cut]), 400)


@pytest.mark.parametrize("value", ["12345678", "-1", "1.5", "7", "1e5", "null", "tru", "true", "1", '"a"', "-", "nul",
                                   "0"])
def test_a_value_at_the_end_of_a_query_ends_there(wire, value):
    """GET /subscribe takes an input that nothing follows."""
    wire.ask("GET", "/subscribe?operation=no/such&input=99999999999999999999")
    with_brackets = wire.ask("GET", f"/subscribe?operation=demo/clock&input=[{value}]").status
    bare = wire.ask("GET", f"/subscribe?operation=demo/clock&input={value}").status
    assert bare == with_brackets == (400 if value in ("tru", "-", "nul") else 422)


def suite(prefix):
    folder = next(iter(sorted(DATA.glob("json-test-suite*/**/test_parsing"))), None) or next(
        iter(sorted({p.parent for p in DATA.glob("json-test-suite/**/n_*.json")})), None)
    return sorted(folder.glob(prefix + "*.json")) if folder else []


@pytest.mark.skipif(not suite("n_"), reason="JSONTestSuite is not there (ALKNET_TEST_DATA)")
def test_what_must_not_parse_is_refused_over_http(wire):
    files = suite("n_")
    assert len(files) > 100
    for file in files:
        text = file.read_bytes()
        refused(wire.ask("POST", "/call", text), 400)
        assert wire.ask("POST", "/call", ECHO % text).status == 400, file.name


@pytest.mark.skipif(not suite("y_"), reason="JSONTestSuite is not there (ALKNET_TEST_DATA)")
def test_what_must_parse_comes_back_over_http(wire):
    for file in suite("y_"):
        text = file.read_bytes()
        reply = wire.ask("POST", "/call", ECHO % text)
        if "duplicated_key" in file.name:
            refused(reply, 400)
        else:
            assert reply.output == json.loads(text), file.name


# ---- JSON that is too much --------------------------------------------------------------------------------------------

DEEP = 100000


@pytest.mark.parametrize("text", [b"[" * DEEP, b"[" * DEEP + b"]" * DEEP, b'{"a":' * DEEP, b'{"a":' * DEEP + b"1"
                                  + b"}" * DEEP, b'[{"a":' * DEEP,
                                  b"[[]," * DEEP, b"[" * 129 + b"]" * 129],
                         ids=["open", "closed", "objects", "closed objects", "mixed", "wide", "129"])
@pytest.mark.parametrize("path", POSTS)
def test_deep_nesting_is_refused_at_the_limit(node, path, text):
    with node.wire() as wire:
        start = time.monotonic()
        for body in (text, ECHO % text):
            message_text = refused(wire.ask("POST", path, body, token=PLAIN), 400, 413)
            assert re.search("deep|depth|nest|byte", message_text)
        assert time.monotonic() - start < 5


def test_depth_up_to_the_limit_is_served(wire):
    deep = b"[" * 120 + b"]" * 120
    assert wire.ask("POST", "/call", ECHO % deep).status == 200


def at_once(node, path, body, tokens):
    """All have sent nearly all before one may end."""
    wires = []
    for token in tokens:
        wires.append(node.wire(timeout=60))
        wires[-1].send(message("POST", path, body, {}, token, host=wires[-1].host)[:-1000])
    for wire in wires:
        wire.send(body[-1000:])
    replies = together([wire.reply for wire in wires])
    for wire in wires:
        wire.close()
    return replies


@pytest.mark.parametrize("path,wrap", [("/call", b"%s"), ("/call", ECHO), ("/batch", b"%s"),
                                       ("/batch", b"[" + ECHO + b"]"),
                                       ("/subscribe", ECHO)])
def test_zeros_of_four_mib_from_twenty_clients_cost_no_more_than_their_bytes(node, path, wrap):
    body = wrap % (b"[" + b"0," * (2 * MIB - 60) + b"0]")
    assert 4 * MIB - 200 < len(body) <= 4 * MIB
    node.forget_peak()
    before = node.memory("VmHWM")
    for reply in at_once(node, path, body, CROWD):
        assert "values" in refused(reply, 413)
    assert node.memory("VmHWM") - before < (20 * 4 + 16) * MIB


def test_twenty_clients_of_one_token_have_a_part_of_the_budget(node):
    """An eighth at most, and at a half of that they begin nothing new."""
    node.forget_peak()
    before = node.memory("VmHWM")
    replies = at_once(node, "/call", b"[" + b"0," * (2 * MIB - 60) + b"0]", [CROWD[0]] * 20)
    served = [reply for reply in replies if reply.status == 413]
    assert served
    for reply in replies:
        assert reply in served or reply.status == 503 and reply.error()["code"] == "BUSY" and reply.header("retry-after") == "1"
    assert node.memory("VmHWM") - before < (20 * 4 + 16) * MIB


def test_as_many_zeros_as_are_allowed_from_twenty_clients_stay_within_the_budget(node):
    body = ECHO % (b"[" + b"0," * 900000 + b"0]")
    node.forget_peak()
    before = node.memory("VmHWM")
    replies = at_once(node, "/call", body, CROWD)
    served = [reply for reply in replies if reply.status == 200]
    assert served and all(len(reply.body) > len(body) for reply in served)
    for reply in replies:
        if reply not in served:
            assert reply.status == 503 and reply.error()["code"] == "BUSY" and reply.header("retry-after") == "1"
    assert node.memory("VmHWM") - before < (256 + 32) * MIB


def test_declared_bodies_that_never_come_take_nothing_from_others(node):
    """What is promised and not sent costs nothing, so it must not use up what others need."""
    wires = [node.wire() for _ in range(400)]
    try:
        for wire in wires:
            wire.send(message("POST", "/call", b"", {"Content-Length": str(MIB)}, host=wire.host))
        with node.wire() as wire:
            for i in range(50):
                assert wire.call("demo/echo", i).output == i
                time.sleep(0.005)
            assert wire.call("demo/echo", "x" * 500000).status == 200
    finally:
        for wire in wires:
            wire.close()


def test_a_batch_of_large_outputs_stays_within_the_limit_of_one(node, wire):
    """16 MiB of output in all; what is beyond fails in its place."""
    node.forget_peak()
    before = node.memory("VmHWM")
    reply = wire.ask("POST", "/batch", [{"operation": "big/value", "input": MIB}] * 128)
    got = [one["result"] == "ok" and len(one["output"]) or one["error"]["message"] for one in reply.json()["results"]]
    assert got[:10] == [MIB] * 10 and set(got[20:]) == {"output too large"} and len(got) == 128
    assert node.memory("VmHWM") - before < 80 * MIB


def test_schemas_are_checked_within_a_budget(wire):
    """Many members that a strict schema forbids."""
    body = json.dumps({"operation": "demo/add", "input": {f"m{i}": i for i in range(40000)}}).encode()
    start = time.monotonic()
    reply = wire.ask("POST", "/call", body)
    assert reply.status == 422 and reply.error()["code"] == "INVALID_INPUT" and len(reply.body) < 20000
    assert time.monotonic() - start < 5


# ---- values that must survive -----------------------------------------------------------------------------------------

EXACT = ["9007199254740993", "-9007199254740993", "9223372036854775807", "9223372036854775808", "-9223372036854775808",
         "-9223372036854775809",
         "18446744073709551615", "18446744073709551616", "123456789012345678901234567890", "1.10", "1.0", "0.1",
         "1e400", "-1e400", "1E400", "1e-400", "-0",
         "-0.0", "0e0", "1E+2", "1e2", "100e-2", "3.141592653589793238462643383279502884197", "1" + "0" * 400]


@pytest.mark.parametrize("number", EXACT, ids=lambda n: n[:24])
def test_numbers_come_back_as_they_were_written(wire, number):
    text = number.encode()
    for value in (text, b"[" + text + b"]", b'{"a":[1,' + text + b',2]}'):
        reply = wire.ask("POST", "/call", ECHO % value)
        assert reply.status == 200 and b'"output":' + value + b"}" in reply.body
        reply = wire.ask("POST", "/batch", b"[" + ECHO % value + b"," + ECHO % value + b"]")
        assert reply.status == 200 and reply.body.count(b'"output":' + value + b"}") == 2


def test_integers_beyond_doubles_are_added_exactly(wire):
    assert wire.call("demo/add", {"a": 9007199254740993, "b": 2}).output["sum"] == 9007199254740995
    assert wire.call("demo/add", {"a": -(1 << 63), "b": 1}).output["sum"] == 1 - (1 << 63)
    reply = wire.ask("POST", "/call", b'{"operation":"demo/add","input":{"a":1e400,"b":1}}')
    assert reply.error()["code"] == "DEMO_OVERFLOW"


@pytest.mark.parametrize("text", ["\\ud800", "\\udc00", "\\ud800x", "\\udc00\\ud800", "\\ud800\\ud800", "\\uDBFF",
                                  "x\\udfff"])
@pytest.mark.parametrize("form", ['"%s"', '{"%s":1}', '[["%s"]]'])
def test_lone_surrogates_are_400(wire, text, form):
    said = refused(wire.ask("POST", "/call", ECHO % (form % text).encode()), 400)
    assert re.search("surrogate|escape|byte", said), said


def test_pairs_of_surrogates_are_a_character(wire):
    assert wire.ask("POST", "/call", ECHO % b'"\\ud83d\\ude00"').output == "\U0001f600"


@pytest.mark.parametrize("value", ["\0", "a\0b", "\0\0\0", {"\0": "\0"}, {"a\0b": 1, "a\0c": 2, "a": 3}], ids=repr)
def test_nul_in_strings_survives(wire, value):
    assert wire.call("demo/echo", value).output == value
    assert wire.ask("POST", "/batch", [{"operation": "demo/echo",
                                        "input": value}]).json()["results"][0]["output"] == value


def test_nul_does_not_cut_a_name(wire):
    for name in ("demo/echo\0", "demo/echo\0x", "\0demo/echo", "demo\0/echo"):
        assert wire.call(name, 1).error()["code"] == "NOT_FOUND"
    assert wire.ask("GET", "/schema?name=demo/echo%00").status == 404
    refused(wire.ask("POST", "/call", b'{"operation":"demo/echo","operation\\u0000":"demo/add","input":1}'), 400)
    said = wire.ask("POST", "/call", b'{"operation":"demo/echo","a\\u0000b":1}').error()
    assert said["message"] == "/a\\u0000b: unknown member"
    assert wire.ask("GET", "/schema?a%00b=1").error()["message"] == "query: a\\u0000b: unknown parameter"


@pytest.mark.parametrize("body,key", [(b'{"operation":"demo/echo","operation":"demo/echo"}', "operation"),
                                      (b'{"operation":"demo/echo","input":1,"input":2}', "input"),
                                      (ECHO % b'{"twice":1,"twice":2}', "twice"),
                                      (ECHO % b'[{"x":[{"deep":1,"b":2,"deep":3}]}]', "deep"),
                                      (ECHO % b'{"a":1,"\\u0061":2}', "a"), (ECHO % b'{"":1,"":2}', ""),
                                      (ECHO % (b"{" + b",".join(b'"k%d":1' % (i % 5000) for i in range(5001)) + b"}"),
                                       "k0")],
                         ids=["operation", "input", "twice", "deep", "escaped", "empty", "one of 5,000"])
def test_duplicate_members_are_400_and_named(wire, body, key):
    said = refused(wire.ask("POST", "/call", body), 400)
    assert "duplicate" in said and f'"{key}"' in said


# ---- names ------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("character", ["x", "\u00e9", "\u4e2d", "\U0001f600", "e\u0301"])
@pytest.mark.parametrize("shift", range(4))
@pytest.mark.parametrize("count", [300, 200000])
def test_a_long_name_is_cut_between_characters(wire, character, shift, count):
    name = "n/" + "a" * shift + character * count
    reply = wire.call(name, token=ADMIN)
    assert reply.status == 404 and len(reply.body) < 2000
    said = json.loads(reply.body.decode("utf-8", "strict"))["message"]
    start = "operation not found: "
    assert said.startswith(start) and len(said) > len(start) + 20
    shown = said[len(start):].rstrip(".\u2026")
    assert name.startswith(shown) and "\ufffd" not in said
    assert len(shown.encode()) > 200, "most of what is allowed is shown"


def test_a_name_with_control_characters_harms_neither_answer_nor_log(node, wire):
    name = 'a/\r\n{"event":"call","outcome":"ok"}\x1b[2J\u202e\u2028"\\'
    reply = wire.call(name, token=ADMIN)
    assert reply.status == 404 and reply.error()["message"] == "operation not found: " + name
    event = node.await_log(event="call", request_id=reply.header("x-request-id"))
    assert event["outcome"] == "NOT_FOUND"
    line = next(line for line in node.log_text().split("\n") if reply.header("x-request-id") in line)
    assert "\x1b" not in line and "\u202e" not in line


def test_a_wrong_type_is_422_and_names_the_pointer(wire):
    reply = wire.call("demo/add", {"a": "1", "b": 2})
    assert reply.status == 422
    said = reply.error()
    assert "/a" in said["message"]
    assert [(error["path"], error["keyword"]) for error in said["details"]["errors"]] == [("/a", "type")]


def test_an_unknown_operation_is_404(wire):
    assert wire.call("no/such").error() == {"code": "NOT_FOUND", "message": "operation not found: no/such",
                                            "retryable": False}


@pytest.mark.parametrize("token", [b"\xff" * 40, b"alk_\xc3\x28" + b"0" * 40, b"\x80", b"alk_adm1\xe4\xb8\xad"
                                   + b"0" * 30, "alk_\u00e9".encode() * 10])
def test_a_token_that_is_not_plain_text_is_401(wire, token):
    reply = wire.ask("GET", "/search", headers={"Authorization": b"Bearer " + token})
    assert reply.status == 401 and reply.header("www-authenticate") == 'Bearer error="invalid_token"' and reply.error()


def test_text_from_a_foreign_origin_is_403(wire):
    reply = wire.ask("POST", "/call", ECHO % b"1", {"Origin": "https://evil.example", "Content-Type": "text/plain"},
                     PLAIN)
    assert reply.status == 403 and reply.error()["code"] == "FORBIDDEN" and "origin" in reply.error()["message"].lower()


# ---- requests that are none -------------------------------------------------------------------------------------------

HOST = b"Host: localhost\r\n"
JSON = b"Content-Type: application/json\r\n"
POST = b"POST /call HTTP/1.1\r\n" + HOST + JSON
BODY = ECHO % b"1"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
CHUNK = b"%x\r\n%s\r\n" % (len(BODY), BODY)
REQUESTS = {
    "CL and TE": (400, POST + b"Content-Length: 35\r\nTransfer-Encoding: chunked\r\n\r\n" + CHUNK + b"0\r\n\r\n"),
    "TE and CL": (400, POST + b"Transfer-Encoding: chunked\r\nContent-Length: 35\r\n\r\n" + CHUNK + b"0\r\n\r\n"),
    "two CL": (400, POST + b"Content-Length: 35\r\nContent-Length: 36\r\n\r\n" + BODY),
    "CL list": (400, POST + b"Content-Length: 35, 36\r\n\r\n" + BODY),
    "CL sign": (400, POST + b"Content-Length: +35\r\n\r\n" + BODY),
    "CL negative": (400, POST + b"Content-Length: -1\r\n\r\n" + BODY),
    "CL hex": (400, POST + b"Content-Length: 0x23\r\n\r\n" + BODY),
    "CL words": (400, POST + b"Content-Length: many\r\n\r\n" + BODY),
    "CL empty": (400, POST + b"Content-Length: \r\n\r\n" + BODY),
    "CL space": (400, POST + b"Content-Length: 3 5\r\n\r\n" + BODY),
    "CL overflow": (400, POST + b"Content-Length: 18446744073709551652\r\n\r\n" + BODY),
    "CL overflow far": (400, POST + b"Content-Length: 99999999999999999999999999999\r\n\r\n" + BODY),
    "CL name space": (400, POST + b"Content-Length : 35\r\n\r\n" + BODY),
    "TE in 1.0": (400, b"POST /call HTTP/1.0\r\n" + HOST + JSON + b"Transfer-Encoding: chunked\r\n\r\n" + CHUNK
                  + b"0\r\n\r\n"),
    "TE twice chunked": (400, POST + b"Transfer-Encoding: chunked, chunked\r\n\r\n" + CHUNK + b"0\r\n\r\n"),
    "TE twice": (400, POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n" + CHUNK
                 + b"0\r\n\r\n"),
    "TE chunked not last": (400, POST + b"Transfer-Encoding: chunked, gzip\r\n\r\n" + CHUNK + b"0\r\n\r\n"),
    "TE identity": (400, POST + b"Transfer-Encoding: identity\r\n\r\n" + BODY),
    "TE xchunked": (400, POST + b"Transfer-Encoding: xchunked\r\n\r\n" + CHUNK),
    "TE quoted": (400, POST + b'Transfer-Encoding: "chunked"\r\n\r\n' + CHUNK),
    "TE vertical tab": (400, POST + b"Transfer-Encoding: \x0bchunked\r\n\r\n" + CHUNK),
    "TE name space": (400, POST + b"Transfer-Encoding : chunked\r\n\r\n" + CHUNK),
    "TE empty": (400, POST + b"Transfer-Encoding:\r\n\r\n" + CHUNK),
    "TE gzip": (501, POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n" + CHUNK),
    "no Host": (400, b"GET /healthz HTTP/1.1\r\n\r\n"),
    "two Hosts": (400, b"GET /healthz HTTP/1.1\r\n" + HOST + b"Host: evil.example\r\n\r\n"),
    "Host twice": (400, b"GET /healthz HTTP/1.1\r\n" + HOST + HOST + b"\r\n"),
    "empty Host": (400, b"GET /healthz HTTP/1.1\r\nHost:\r\n\r\n"),
    "Host with space": (400, b"GET /healthz HTTP/1.1\r\nHost: local host\r\n\r\n"),
    "Host with path": (400, b"GET /healthz HTTP/1.1\r\nHost: localhost/x\r\n\r\n"),
    "Host with user": (400, b"GET /healthz HTTP/1.1\r\nHost: a@localhost\r\n\r\n"),
    "Host list": (400, b"GET /healthz HTTP/1.1\r\nHost: localhost, evil.example\r\n\r\n"),
    "Host port": (400, b"GET /healthz HTTP/1.1\r\nHost: localhost:99999\r\n\r\n"),
    "Host port words": (400, b"GET /healthz HTTP/1.1\r\nHost: localhost:http\r\n\r\n"),
    "Host NUL": (400, b"GET /healthz HTTP/1.1\r\nHost: local\0host\r\n\r\n"),
    "absolute with user": (400, b"GET http://a@localhost/healthz HTTP/1.1\r\n" + HOST + b"\r\n"),
    "absolute without host": (400, b"GET http:///healthz HTTP/1.1\r\n" + HOST + b"\r\n"),
    "absolute ftp": (400, b"GET ftp://localhost/healthz HTTP/1.1\r\n" + HOST + b"\r\n"),
    "obs-fold": (400, b"GET /healthz HTTP/1.1\r\n" + HOST + b"X-A: b\r\n c\r\n\r\n"),
    "obs-fold tab": (400, b"GET /healthz HTTP/1.1\r\n" + HOST + b"X-A: b\r\n\tc\r\n\r\n"),
    "obs-fold first": (400, b"GET /healthz HTTP/1.1\r\n " + HOST + b"\r\n"),
    "bare LF": (400, b"GET /healthz HTTP/1.1\nHost: localhost\n\n"),
    "bare LF in fields": (400, b"GET /healthz HTTP/1.1\r\nHost: localhost\nX: y\r\n\r\n"),
    "bare LF at the end": (400, b"GET /healthz HTTP/1.1\r\n" + HOST + b"\n"),
    "bare CR": (400, b"GET /healthz HTTP/1.1\r\n" + HOST + b"X: a\rb\r\n\r\n"),
    "bare CR as line end": (400, b"GET /healthz HTTP/1.1\r\nHost: localhost\rX: y\r\n\r\n"),
    "bare CR at the end": (400, b"GET /healthz HTTP/1.1\r\n" + HOST + b"\r\r\n"),
    "CR CR LF": (400, b"GET /healthz HTTP/1.1\r\n" + HOST + b"X: a\r\r\n\r\n"),
    "NUL in value": (400, b"GET /healthz HTTP/1.1\r\n" + HOST + b"X: a\0b\r\n\r\n"),
    "control in value": (400, b"GET /healthz HTTP/1.1\r\n" + HOST + b"X: a\x01b\r\n\r\n"),
    "space in name": (400, b"GET /healthz HTTP/1.1\r\n" + HOST + b"X Y: z\r\n\r\n"),
    "space before colon": (400, b"GET /healthz HTTP/1.1\r\n" + HOST + b"X : z\r\n\r\n"),
    "no colon": (400, b"GET /healthz HTTP/1.1\r\n" + HOST + b"XYZ\r\n\r\n"),
    "empty name": (400, b"GET /healthz HTTP/1.1\r\n" + HOST + b": z\r\n\r\n"),
    "high byte in name": (400, b"GET /healthz HTTP/1.1\r\n" + HOST + b"X\xff: z\r\n\r\n"),
    "no version": (400, b"GET /healthz\r\n" + HOST + b"\r\n"),
    "two spaces": (400, b"GET  /healthz HTTP/1.1\r\n" + HOST + b"\r\n"),
    "tab": (400, b"GET\t/healthz\tHTTP/1.1\r\n" + HOST + b"\r\n"),
    "trailing space": (400, b"GET /healthz HTTP/1.1 \r\n" + HOST + b"\r\n"),
    "leading space": (400, b" GET /healthz HTTP/1.1\r\n" + HOST + b"\r\n"),
    "space in target": (400, b"GET /heal thz HTTP/1.1\r\n" + HOST + b"\r\n"),
    "high byte in target": (400, b"GET /\xff HTTP/1.1\r\n" + HOST + b"\r\n"),
    "control in target": (400, b"GET /\x01 HTTP/1.1\r\n" + HOST + b"\r\n"),
    "fragment": (400, b"GET /healthz#x HTTP/1.1\r\n" + HOST + b"\r\n"),
    "no slash": (400, b"GET healthz HTTP/1.1\r\n" + HOST + b"\r\n"),
    "star": (400, b"GET * HTTP/1.1\r\n" + HOST + b"\r\n"),
    "http lower case": (400, b"GET /healthz http/1.1\r\n" + HOST + b"\r\n"),
    "HTTP/1": (400, b"GET /healthz HTTP/1\r\n" + HOST + b"\r\n"),
    "HTTP/1.10": (400, b"GET /healthz HTTP/1.10\r\n" + HOST + b"\r\n"),
    "HTTP/2.0": (505, b"GET /healthz HTTP/2.0\r\n" + HOST + b"\r\n"),
    "HTTP/0.9": (505, b"GET /healthz HTTP/0.9\r\n" + HOST + b"\r\n"),
    "bad method": (400, b"G(T /healthz HTTP/1.1\r\n" + HOST + b"\r\n"),
    "unknown method": (501, b"FROBNICATE /healthz HTTP/1.1\r\n" + HOST + b"\r\n"),
    "lower-case method": (501, b"get /healthz HTTP/1.1\r\n" + HOST + b"\r\n"),
    "CONNECT": (501, b"CONNECT localhost:80 HTTP/1.1\r\n" + HOST + b"\r\n"),
    "TLS": (400, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(64)) + b"\r\n\r\n"),
    "zeros": (400, b"\0" * 5000 + b"\r\n"),
    "too many empty lines": (400, b"\r\n" * 17 + b"GET /healthz HTTP/1.1\r\n" + HOST + b"\r\n"),
    "a word": (400, b"hello\r\n"),
    "chunk size words": (400, CHUNKED + b"xyz\r\n"),
    "chunk size empty": (400, CHUNKED + b"\r\n" + BODY),
    "chunk size negative": (400, CHUNKED + b"-1\r\n" + BODY),
    "chunk size 0x": (400, CHUNKED + b"0x23\r\n" + BODY),
    "chunk size space": (400, CHUNKED + b"23 \r\n" + BODY + b"\r\n0\r\n\r\n"),
    "chunk size overflow": (400, CHUNKED + b"fffffffffffffffff\r\n"),
    "chunk size far": (400, CHUNKED + b"1" + b"0" * 40 + b"\r\n"),
    "chunk size huge": (413, CHUNKED + b"ffffffff\r\n"),
    "chunk size most": (413, CHUNKED + b"ffffffffffffffff\r\n"),
    "chunk bare LF": (400, CHUNKED + b"23\n" + BODY),
    "chunk bare CR": (400, CHUNKED + b"%x\r%s\r\n0\r\n\r\n" % (len(BODY), BODY)),
    "chunk data CR": (400, CHUNKED + b"%x\r\n%s\r0\r\n\r\n" % (len(BODY), BODY)),
    "chunk data without end": (400, CHUNKED + b"%x\r\n%s0\r\n\r\n" % (len(BODY), BODY)),
    "chunk longer": (400, CHUNKED + b"22\r\n" + BODY + b"\r\n0\r\n\r\n"),
    "chunk data LF": (400, CHUNKED + b"%x\r\n%s\n0\r\n\r\n" % (len(BODY), BODY)),
    "extension without name": (400, CHUNKED + b"23;\r\n" + BODY),
    "extension value without name": (400, CHUNKED + b"23;=x\r\n" + BODY),
    "extension open quote": (400, CHUNKED + b'23;a="b\r\n' + BODY),
    "extension LF": (400, CHUNKED + b"23;a=\nb\r\n" + BODY),
    "extension NUL": (400, CHUNKED + b"23;a\0\r\n" + BODY),
    "extension long": (400, CHUNKED + b"23;" + b"a" * 100000 + b"\r\n"),
    "trailers long": (400, CHUNKED + CHUNK + b"0\r\n" + b"X: y\r\n" * 20000 + b"\r\n"),
    "trailer bad": (400, CHUNKED + CHUNK + b"0\r\nX Y: z\r\n\r\n"),
    "method long": (414, b"A" * 100000),
    "header over": (431, b"GET /healthz HTTP/1.1\r\n" + HOST + (b"X: %s\r\n" % (b"v" * 1000)) * 40 + b"\r\n"),
    "header name long": (431, b"GET /healthz HTTP/1.1\r\n" + HOST + b"X" * 40000 + b": y\r\n\r\n"),
    "header endless": (431, b"GET /healthz HTTP/1.1\r\n" + HOST + b"X: " + b"y" * 200000),
    "header many": (431, b"GET /healthz HTTP/1.1\r\n" + HOST + b"X: y\r\n" * 5000 + b"\r\n"),
}


@pytest.mark.parametrize("name", REQUESTS)
def test_a_request_that_is_none_gets_its_status_and_closes(node, name):
    status, data = REQUESTS[name]
    for behind in (b"", message("GET", "/healthz", host="localhost")):
        with node.wire() as wire:
            wire.send(data + behind)
            reply = wire.reply()
            refused(reply, status)
            assert reply.header("connection") == "close" and wire.ended(), "what follows is not taken for a request"


def test_how_bytes_are_cut_changes_nothing(node):
    """Each in two pieces, at three places."""
    for name, (status, data) in REQUESTS.items():
        if len(data) > 1000:
            continue
        for cut in {1, len(data) // 2, len(data) - 1}:
            with node.wire() as wire:
                wire.send(data[:cut])
                time.sleep(0.001)
                with contextlib.suppress(ConnectionError):
                    wire.send(data[cut:])
                assert wire.reply().status == status, (name, cut)


def test_two_equal_lengths_are_one_or_refused(node):
    with node.wire() as wire:
        wire.send(POST + b"Content-Length: %d\r\nContent-Length: %d\r\n\r\n" % (len(BODY), len(BODY)) + BODY)
        reply = wire.reply()
        assert reply.status == 400 and wire.ended() or reply.output == 1


def test_what_only_begins_as_the_preface_of_http_2_is_answered_and_closed(node):
    with node.wire() as wire:
        wire.send(b"PRI * HTTP/2.0\r\n\r\nSMALL\r\n\r\n")
        with contextlib.suppress(Closed):
            assert wire.reply().status in (400, 501, 505)
        assert wire.ended()


def test_noise_never_harms(node):
    """Correct requests with a few bytes changed, and pure noise: an answer or an end, always."""
    dice = random.Random(4711)
    correct = [POST + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY, CHUNKED + CHUNK + b"0\r\n\r\n",
               message("GET", "/search?q=a", host="localhost"),
               message("POST", "/batch", [{"operation": "demo/echo", "input": "\u00e9"}], token=PLAIN,
                       host="localhost")]
    for i in range(400):
        data = bytearray(dice.choice(correct))
        if i % 10 == 0:
            data = bytearray(dice.randbytes(dice.randrange(1, 3000)))
        for _ in range(dice.randrange(1, 6)):
            at = dice.randrange(len(data))
            action = dice.randrange(3)
            if action == 0:
                data[at] = dice.randrange(256)
            elif action == 1:
                data[at:at + 1] = bytes([dice.choice(b"\r\n\0 :;,{}[]\"\\")]) * dice.randrange(1, 3)
            else:
                del data[at:at + dice.randrange(1, 10)]
        with node.wire(timeout=15) as wire:
            wire.send(bytes(data))
            wire.sock.shutdown(socket.SHUT_WR)
            with contextlib.suppress(Closed):
                while True:
                    assert 200 <= wire.reply().status < 600


# ---- bodies -----------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("path", POSTS)
@pytest.mark.parametrize("length", [1 << 30, 4 * MIB + 1, (1 << 63) - 1, (1 << 64) - 1])
def test_a_huge_content_length_is_413_at_once(node, path, length):
    rss = node.memory()
    with node.wire() as wire:
        start = time.monotonic()
        wire.send(message("POST", path, b"", {"Content-Length": str(length)}, PLAIN, host=wire.host))
        reply = wire.reply()
        refused(reply, 413)
        assert reply.header("connection") == "close" and time.monotonic() - start < 5
        assert node.memory() - rss < 16 * MIB


def test_a_body_that_is_refused_and_sent_all_the_same_is_cut_off(node):
    """For a moment what comes is thrown away, so that the answer is not lost to a reset, but not for ever."""
    rss = node.memory()
    with node.wire() as wire:
        wire.send(message("POST", "/call", b"", {"Content-Length": str(1 << 40)}, PLAIN, host=wire.host))
        start = time.monotonic()
        with pytest.raises(OSError):
            while time.monotonic() - start < 10:
                wire.send(b"x" * MIB)
                assert node.memory() - rss < 16 * MIB
                time.sleep(0.01)


def test_who_sends_a_refused_body_to_its_end_is_not_reset_meanwhile(node):
    """Many clients send all before they read; a reset would take the answer from them."""
    with node.wire() as wire:
        wire.send(message("POST", "/call", b"", {"Content-Length": str(5 * MIB)}, PLAIN, host=wire.host))
        for _ in range(20):
            wire.send(b"x" * (MIB // 4))
            time.sleep(0.02)
        refused(wire.reply(), 413)
        assert wire.ended()


@pytest.mark.parametrize("leave", ["close", "reset", "half"])
@pytest.mark.parametrize("data", [POST + b"Content-Length: 1000\r\n\r\n{", CHUNKED + b"400\r\n{", CHUNKED, CHUNKED
                                  + CHUNK, POST, b"POST"], ids=range(6))
def test_a_client_that_leaves_half_way_is_forgotten(node, data, leave):
    before = node.descriptors()
    for _ in range(5):
        wire = node.wire()
        wire.send(data)
        if leave == "half":
            wire.sock.shutdown(socket.SHUT_WR)
            with pytest.raises(Closed):
                while True:
                    assert wire.reply().status >= 400
            wire.close()
        else:
            getattr(wire, leave)()
    wait_for(lambda: node.descriptors() <= before)


@pytest.mark.parametrize("data", [b"GET /healthz HTT", POST + b"Content-Length: 100\r\n\r\n{", CHUNKED + b"40\r\n{"],
                         ids=["head", "body", "chunk"])
def test_what_stops_half_way_is_408(hasty, data):
    with hasty.wire() as wire:
        start = time.monotonic()
        wire.send(data)
        reply = wire.reply()
        refused(reply, 408)
        assert 0.15 < time.monotonic() - start < 5 and reply.header("connection") == "close" and wire.ended()


def test_a_body_in_one_byte_chunks_is_read(wire):
    body = ECHO % (b'"' + b"y" * 50000 + b'"')
    wire.send(CHUNKED + b"".join(b"1\r\n%c\r\n" % byte for byte in body) + b"0\r\n\r\n")
    assert wire.reply().output == "y" * 50000


def test_a_body_in_chunks_with_long_extensions_is_refused_or_read(node):
    """Bytes that are no body must not come without end."""
    body = ECHO % b'"x"'
    data = CHUNKED + b"".join(b"1;%s\r\n%c\r\n" % (b"e" * 8000, byte) for byte in body) + b"0\r\n\r\n"
    with node.wire() as wire:
        with contextlib.suppress(ConnectionError):
            wire.send(data)
        reply = wire.reply()
        assert reply.status == 400 or reply.output == "x"


# ---- the slow and the silent ------------------------------------------------------------------------------------------

def test_senders_of_a_byte_now_and_then_are_cut_and_hold_nobody_up(hasty):
    """A byte a second, thirty times as fast; the time-out counts from the beginning."""
    heads, bodies = [hasty.wire() for _ in range(20)], [hasty.wire() for _ in range(20)]
    for wire in bodies:
        wire.send(POST + b"Content-Length: 1000\r\n\r\n")
    start, open_ones = time.monotonic(), heads + bodies
    while open_ones and time.monotonic() - start < 5:
        for wire in list(open_ones):
            wire.sock.settimeout(0)
            try:
                wire.sock.send(b"G" if wire in heads else b" ")
                wire.more()
                open_ones.remove(wire)
            except BlockingIOError:
                pass
        time.sleep(0.03)
    assert not open_ones and time.monotonic() - start > 0.15
    for wire in heads + bodies:
        wire.sock.settimeout(10)
        assert wire.reply().status == 408
        wire.close()


def test_readers_of_a_byte_now_and_then_hold_nobody_up(node):
    rss = node.memory()
    wires = [node.wire(receive_buffer=4096) for _ in range(10)]
    for wire in wires:
        wire.send(message("POST", "/call", {"operation": "big/value", "input": 4 * MIB}, host=wire.host))
    start = time.monotonic()
    with node.wire() as other:
        while time.monotonic() - start < 1:
            for wire in wires:
                assert len(wire.sock.recv(1)) == 1
            assert other.call("demo/echo", 1).output == 1
            time.sleep(0.05)
    assert node.memory() - rss < 10 * 4 * MIB * 2
    for wire in wires:
        wire.close()


def test_a_reader_of_nothing_is_cut(hasty):
    body, before = ECHO % (b'"' + b"z" * (3 * MIB) + b'"'), hasty.descriptors()
    with hasty.wire(receive_buffer=4096) as wire:
        with contextlib.suppress(ConnectionError):
            wire.send(message("POST", "/call", body, {}, PLAIN, host=wire.host) * 3)
        wait_for(lambda: hasty.descriptors() <= before)
        with pytest.raises(Closed):
            for _ in range(3):
                wire.reply()


def test_five_thousand_silent_connections_leave_room_for_others(node, capsys):
    number = descriptors_wanted(5000)
    rss, before = node.memory(), node.descriptors()
    wires = []
    try:
        for _ in range(number):
            wires.append(Wire(node.port))
        wait_for(lambda: node.descriptors() >= before + number)
        with capsys.disabled():
            print(f" [{number} connections, {(node.memory() - rss) / number / 1024:.1f} KiB each] ", end="")
        start = time.monotonic()
        with node.wire() as wire:
            for i in range(100):
                assert wire.call("demo/echo", i).output == i
        for _ in range(20):
            assert node.ask("GET", "/healthz").status == 200
        assert time.monotonic() - start < 10
        assert (node.memory() - rss) / number < 32 * 1024
        assert wires[0].ask("GET", "/healthz").status == 200 and wires[-1].ask("GET", "/healthz").status == 200
    finally:
        for wire in wires:
            wire.reset()
    wait_for(lambda: node.descriptors() <= before + 1)


def test_running_out_of_descriptors_is_survived(tmp_path):
    with Node(tmp_path, most_descriptors=64) as node, Neighbour(node) as neighbour:
        wait_for(lambda: neighbour.made or neighbour.trouble)
        wires = [Wire(node.port) for _ in range(200)]
        made = neighbour.made
        wait_for(lambda: neighbour.made > made + 20 or neighbour.trouble)
        for wire in wires:
            wire.reset()
        wait_for(node.serves)


def test_silent_connections_are_cut_at_the_header_time_out(hasty):
    before = hasty.descriptors()
    start = time.monotonic()
    wires = [hasty.wire() for _ in range(500)]
    assert all(wire.ended() for wire in wires) and 0.15 < time.monotonic() - start < 10
    for wire in wires:
        wire.close()
    wait_for(lambda: hasty.descriptors() <= before)
