"""Services and documents that are wrong, on purpose or not: each ends as an error that names the cause, within bounds of memory
and time, and who has nothing to do with it is served meanwhile."""
import base64
import json
import math
import re

import pytest

from conftest import wait_for
from openapi_rig import Host, released, try_imports  # pylint: disable=unused-import
from rawhttp import Neighbour
from upstream import Upstream

MIB = 1 << 20
GROWTH = 64 * MIB
OK = {"200": {"description": "Fine."}}


@pytest.fixture(scope="module")
def up():
    with Upstream() as upstream:
        yield upstream


@pytest.fixture(scope="module")
def imported(tmp_path_factory, up):
    """Answers, values and events may have 1 MiB."""
    folder = tmp_path_factory.mktemp("bad")
    with Host(folder, {"document": up.document(), "response_bytes": MIB}, limits={"output_bytes": MIB},
              environment={"ASAN_OPTIONS": "detect_leaks=1:quarantine_size_mb=1"}) as node:
        yield node


@pytest.fixture
def host(imported, up):
    """Whose memory does not grow, and whose other callers do not wait."""
    up.forget()
    before = imported.memory()
    with Neighbour(imported) as neighbour:
        yield imported
        wait_for(lambda: not up.open_peers())
    assert neighbour.slowest < 2 and imported.memory() < before + GROWTH


def told(host, ident):
    """What the log has of that call's handler."""
    return " ".join(e["message"] for e in host.find(event="handler", request_id=ident))


# ---- services ---------------------------------------------------------------------------------------------------------

TOO_LARGE, NOT_JSON = "the service's answer is too large", "the service's answer is not JSON"
INCOMPLETE, NOTHING = "the service's answer is incomplete", "the service did not answer"


@pytest.mark.parametrize("what, code, message, requests", [
    ("endless", "INTERNAL", TOO_LARGE, 1), ("gzip-bomb", "INTERNAL", TOO_LARGE, 1), ("bad-gzip", "INTERNAL", INCOMPLETE, 1),
    ("headers", "INTERNAL", TOO_LARGE, 1), ("header", "INTERNAL", "", 1), ("early-hints", "INTERNAL", TOO_LARGE, 1),
    ("json", "INTERNAL", NOT_JSON, 1), ("json-deep", "INTERNAL", NOT_JSON, 1), ("json-twice", "INTERNAL", NOT_JSON, 1),
    ("json-utf8", "INTERNAL", NOT_JSON, 1), ("type", "INTERNAL", "the service answered text/html in place of JSON", 1),
    ("upgrade", "INTERNAL", NOTHING, 1), ("cut", "INTERNAL", INCOMPLETE, 1), ("cut-chunk", "INTERNAL", INCOMPLETE, 1),
    ("cut-head", "INTERNAL", NOTHING, 3), ("reset", "INTERNAL", NOTHING, 3), ("close", "INTERNAL", NOTHING, 3), ("garbage", "INTERNAL", NOTHING, 1),
    ("silent", "TIMEOUT", "", 1), ("slow-head", "TIMEOUT", "", 1), ("slow-body", "TIMEOUT", "", 1),
    ("error-endless", "HTTP_404", "the service answered 404", 1), ("error-cut", "HTTP_404", "the service answered 404", 1)])
def test_an_answer_that_is_none_ends_as_an_error_that_says_so(host, up, what, code, message, requests):
    reply = host.ask("POST", "/call", {"operation": "up/bad", "input": {"what": what, "n": 404} if "error" in what else {"what": what}},
                     {"X-Timeout-Ms": "1000"})
    error = reply.error()
    assert error["code"] == code and message in error["message"] and "details" not in error, error
    assert up.count() in (1, requests) and error["retryable"] == (code == "TIMEOUT")
    assert "127.0.0.1" not in error["message"] and (code == "TIMEOUT" or told(host, reply.header("x-request-id")))


@pytest.mark.parametrize("what", ["reset", "close", "silent"])
def test_what_may_have_been_done_is_not_done_again(host, up, what):
    host.ask("POST", "/call", {"operation": "up/bad_post", "input": {"what": what}}, {"X-Timeout-Ms": "500"}).error()
    assert up.count() == 1


@pytest.mark.parametrize("what, n, output", [("json-empty", 0, None), ("type-missing", 0, {"a": 1}), ("no-content", 0, None)])
def test_what_is_unusual_is_taken(host, up, what, n, output):
    assert host.ask("POST", "/call", {"operation": "up/bad", "input": {"what": what, "n": n}}).output == output


def test_interim_answers_are_passed_over(host):
    assert host.ask("POST", "/call", {"operation": "up/bad", "input": {"what": "early-hints", "n": 100}}).output["method"] == "GET"


def test_a_body_behind_an_answer_that_has_none_is_nobodys(host):
    for n in range(20):
        assert host.ask("POST", "/call", {"operation": "up/bad", "input": {"what": "no-content"}}).output is None
        assert host.ask("POST", "/call", {"operation": "up/query_form", "input": {"v": n}}).output["target"] == f"/v1/query/form?v={n}"


@pytest.mark.parametrize("what, n", [("endless-until-close", 0), ("large", MIB + 1)])
def test_text_is_bounded_too(host, what, n):
    assert host.ask("POST", "/call", {"operation": "up/bad_text", "input": {"what": what, "n": n}}).error()["message"] == TOO_LARGE


def test_an_answer_of_just_the_limit_is_taken(host):
    assert len(host.ask("POST", "/call", {"operation": "up/bad_text", "input": {"what": "large", "n": MIB - 2}}).output) == MIB - 2


@pytest.mark.parametrize("what, n, values, code, message", [
    ("stream-stops", 0, [{"n": 0}], "TIMEOUT", ""), ("stream-cut", 0, [{"n": 0}], "INTERNAL", INCOMPLETE),
    ("stream-half", 0, [{"n": 0}], "INTERNAL", "the service's stream ended within an event"),
    ("stream-line", 0, [], "INTERNAL", "an event of the service is too large"), ("stream-event", 0, [], "INTERNAL", "an event of the service is too large"),
    ("stream-comments", None, [], "TIMEOUT", ""), ("stream-comments", 5000, [{"n": 0}], None, None),
    ("type", 0, [], "INTERNAL", "the service answered text/html in place of events"), ("type-wrong-events", 0, [{"not": "events"}], None, None),
    ("endless", 0, [], "INTERNAL", TOO_LARGE), ("error-endless", 418, [], "HTTP_418", "the service answered 418"), ("cut", 0, [], "INTERNAL", INCOMPLETE)])
def test_a_stream_that_goes_wrong_ends_with_an_error_behind_its_values(host, what, n, values, code, message):
    given = {"what": what} if n is None else {"what": what, "n": n}
    with host.wire() as wire:
        events = wire.subscribe("up/bad_events", given, headers={"X-Timeout-Ms": "1000" if code == "TIMEOUT" else "15000"}).rest()
    assert events[:len(values)] == [("message", value) for value in values]
    if code:
        (kind, error), = events[len(values):]
        assert kind == "error" and error["code"] == code and message in error["message"], error
    else:
        assert len(events) == len(values)


def answer(status, kind, body, *fields):
    """The input for `raw`: an answer with these."""
    body = body.encode() if isinstance(body, str) else body
    lines = [f"HTTP/1.1 {status} Reason", *([f"Content-Type: {kind}"] if kind is not None else []), f"Content-Length: {len(body)}", "Connection: close", *fields]
    return {"what": "raw", "to": base64.b64encode("\r\n".join(lines).encode() + b"\r\n\r\n" + body).decode()}


DEEP = "[" * 500 + "]" * 500


@pytest.mark.parametrize("operation, given, output", [
    ("bad", answer(200, "APPLICATION/JSON ; Charset=UTF-8", ' {"a" : 1} '), {"a": 1}), ("bad", answer(200, "application/vnd.x+JSON", "[1]"), [1]),
    ("bad", answer(201, "text/json", "1"), 1), ("bad", answer(206, "application/json", "2"), 2), ("bad", answer(205, None, ""), None),
    ("bad", answer(299, "application/json", '"x"'), "x"), ("bad", answer(200, "", '{"a":1}'), {"a": 1}), ("bad", answer(200, "application/json", ""), None),
    ("bad_text", answer(200, "text/plain; charset=x", b"a\xff\0b"), "a\ufffd\0b"), ("bad_text", answer(200, "Text/HTML", "<p>"), "<p>"),
    ("bad_text", answer(200, "application/json", "[1]"), [1]), ("bad_text", answer(200, "image/png", b"\0\1"), {"content_type": "image/png", "base64": "AAE="}),
    ("bad_text", answer(200, None, b"\0"), {"content_type": "", "base64": "AA=="}), ("bad_text", answer(200, "x" * 300, b"\0"), {"content_type": "x" * 128, "base64": "AA=="})])
def test_an_answer_is_what_its_type_says(host, operation, given, output):
    assert host.ask("POST", "/call", {"operation": "up/" + operation, "input": given}).output == output


@pytest.mark.parametrize("status, given, message, details", [
    (404, answer(404, "application/json", '[{"a": 1}]'), "the service answered 404", [{"a": 1}]),
    (404, answer(404, "application/json", '{"message": "m", "title": "t"}'), "m", {"message": "m", "title": "t"}),
    (404, answer(404, "application/json", '{"error": {"message": "m\\u0000\\n"}}'), "m\0\n", {"error": {"message": "m\0\n"}}),
    (404, answer(404, "application/json", '{"message": "", "detail": 7}'), "the service answered 404", {"message": "", "detail": 7}),
    (404, answer(404, "application/json", json.dumps({"detail": "\u00e9" * 1000})), "\u00e9" * 256, {"detail": "\u00e9" * 1000}),
    (404, answer(404, "application/json", "{no json"), "the service answered 404", "{no json"), (404, answer(404, None, "{}"), "the service answered 404", {}),
    (404, answer(404, "text/html", b"<p>\xff"), "the service answered 404", "<p>\ufffd"), (404, answer(404, None, ""), "the service answered 404", None),
    (404, answer(404, "image/png", b"\0"), "the service answered 404", {"content_type": "image/png", "base64": "AA=="}),
    (404, answer(404, "application/json", DEEP), "the service answered 404", DEEP), (404, {"what": "error-large", "n": 900000}, "the service answered 404", None),
    (429, answer(429, "application/json", "{}", "Retry-After: 0"), "the service answered 429", {"retry_after": 0}),
    (429, answer(429, "application/json", "[]", "Retry-After: 0"), "the service answered 429", []), (429, answer(429, None, "", "Retry-After: 0"), "the service answered 429", {"retry_after": 0}),
    (429, answer(429, "application/json", '{"retry_after": 3}', "Retry-After: 0"), "the service answered 429", {"retry_after": 3}),
    (502, answer(300, None, ""), "the service answered 300", None), (502, answer(302, None, ""), "the service answered 302", None),
    (502, answer(499, None, ""), "the service answered 499", None), (500, answer(600, None, ""), "the service answered 600", None)])
def test_an_error_is_what_its_status_says_with_the_details_that_can_be_told(host, status, given, message, details):
    reply = host.ask("POST", "/call", {"operation": "up/bad_post", "input": given})
    error = reply.error()
    assert (reply.status, error["message"], error.get("details")) == (status, message, details) and error["code"].startswith("HTTP_"), reply


@pytest.mark.parametrize("given, values", [
    (answer(200, "TEXT/Event-Stream;charset=utf-8", "data: 1\n\ndata:2\r\n\r\ndata\r\r: x\n\nretry: 5\ndata: [\ndata: 3]\n\n"), [1, 2, "", [3]]),
    (answer(201, "text/event-stream", b"\xef\xbb\xbfdata: \xff\0\n\nevent: x\n\ndata:  y\n\n"), ["\ufffd\0", " y"]), (answer(204, None, ""), []),
    (answer(200, "text/event-stream", ""), []), (answer(200, "application/json", "[1, 2]"), [[1, 2]]), (answer(200, None, ""), []),
    (answer(200, "text/event-stream", f"data: {DEEP}\n\ndata: 1e400\n\ndata: {{\n\n"), [DEEP, math.inf, "{"])])
def test_a_stream_is_what_its_events_say(host, given, values):
    with host.wire() as wire:
        assert wire.subscribe("up/bad_events", given).rest() == [("message", value) for value in values]


# ---- documents --------------------------------------------------------------------------------------------------------

def document(paths=None, components=None, **more):
    return {"openapi": "3.1.0", "info": {"title": "t", "version": "1"}, "servers": [{"url": "https://api.example/v1"}],
            "paths": {"/x": get("x")} if paths is None else paths, "components": components or {}, **more}


def get(ident, **more):
    return {"get": {"operationId": ident, "responses": OK, **more}}


def posts(n, **op):
    return {f"/p{i}": {"post": {"operationId": f"o{i}", "responses": OK, **op}} for i in range(n)}


def body_of(schema):
    return {"requestBody": {"content": {"application/json": {"schema": schema}}}}


def ref(to):
    return {"$ref": "#/components/" + to}


HEAD = "openapi: 3.1.0\ninfo: {title: t, version: '1'}\nservers: [{url: 'https://api.example'}]\npaths: {/x: {get: {operationId: x, responses: {}}}}\n"
LAUGHS = "x-0: &a0 [0, 0, 0, 0, 0, 0, 0, 0, 0, 0]\n" + "".join(f"x-{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 10))


NONE = [
    (HEAD + LAUGHS, "values"), (HEAD + "x-a: [" + ", ".join(f"&a{n} 1" for n in range(100000)) + "]\n", "anchors"),
    (HEAD + "x-a: &a [*a]\n", "line 5"), (HEAD + "x-a: " + "[" * 5000 + "]" * 5000 + "\n", "deep"), ("[1, 2]", "no OpenAPI"), ("", "nothing in it"),
    ("{", "unexpected end of data at byte 1"), ("openapi: 3.1.0\nopenapi: 3.1.0\n", 'duplicate member "openapi"'), ("\0", "control characters"),
    ("\xff\xfe", "octet"), ("swagger: '2.0'\n", "Swagger 2.0"), ("openapi: 4.0.0\n", "no OpenAPI"), ("openapi: 3.1.0\n\x1b[31mred\r\n", "control characters"),
    (json.dumps(document(servers=[{"url": "https://a\x1b[2J\r\nb/"}])), "base_url"), ('{"openapi": "3.1.0\\u001b[2J"', "unexpected end"),
    (json.dumps(document(servers=[{"url": "https://{\x1b[2J\r\n}/"}])), "base_url")]


def test_a_document_that_is_none_is_refused_with_the_reason_in_one_line(tmp_path):
    imports = []
    for n, (text, _) in enumerate(NONE):
        (tmp_path / f"{n}").write_bytes(text.encode("latin-1") if "\xff" in text else text.encode())
        imports.append({"file": str(tmp_path / f"{n}"), "namespace_prefix": f"n{n}"})
    for report, (_, why) in zip(try_imports(tmp_path, *imports), NONE):
        assert report.rc and not report.count and why in report.error and not re.search(r"[\x00-\x1f\x7f]", report.error), (why, report)
        assert report.cpu_ms < 3000


def test_circles_through_files_end_and_files_outside_are_not_read(tmp_path):
    (tmp_path / "outside.json").write_text('{"a": {"type": "string"}}')
    folder = tmp_path / "api"
    (folder / "sub").mkdir(parents=True)
    (folder / "sub" / "up").symlink_to(tmp_path)
    (folder / "link.json").symlink_to(tmp_path / "outside.json")
    (folder / "b.json").write_text('{"a": {"$ref": "c.json#/a"}, "t": {"properties": {"n": {"$ref": "c.json#/t"}}}}')
    (folder / "c.json").write_text('{"a": {"$ref": "b.json#/a"}, "t": {"properties": {"n": {"$ref": "b.json#/t"}}}}')
    refs = {"circle": "b.json#/a", "tree": "b.json#/t", "link": "link.json#/a", "up": "sub/up/outside.json#/a", "out": "../outside.json#/a"}
    paths = {f"/{name}": {"post": {"operationId": name, "responses": OK, **body_of({"$ref": to})}} for name, to in refs.items()}
    (folder / "api.json").write_text(json.dumps(document(paths)))
    report, = try_imports(tmp_path, {"file": str(folder / "api.json")})
    assert (report.rc, report.count) == (0, 1), report
    assert {pointer.split("/")[2] for pointer, _ in report.warnings} == {"~1circle", "~1link", "~1up", "~1out"}


def test_a_document_of_100_mb_is_refused_and_a_million_properties_are_not(tmp_path, released):
    large = tmp_path / "large.json"
    with large.open("wb") as out:
        out.write(json.dumps(document()).encode())
        out.truncate(100 * MIB)
    many = tmp_path / "many.json"
    many.write_text(json.dumps(document(posts(1, **body_of(ref("schemas/S"))), {"schemas": {"S": {"properties": {f"p{n}": {} for n in range(1000000)}}}})))
    first, second = try_imports(tmp_path, {"file": str(large)}, {"file": str(many)})
    assert first.rc and "larger than" in first.error and first.cpu_ms < 1000
    assert (second.rc, second.count) == (0, 0) and "larger than" in second.warnings[0][1] and second.cpu_ms < 4000 and second.peak < 600 * MIB, second


def test_what_a_document_calls_things_stays_what_it_is(tmp_path):
    odd = {"__proto__": {"type": "string"}, "constructor": {"type": "string"}, "toString": {}, "\x1b[31m\r\n\u0000": {}, "a/b~c": {}, "": {}}
    paths = {"/x": {"post": {"operationId": "x" * 10000, "responses": OK, **body_of({"properties": {**odd, "n": ref("schemas/__proto__")}})}},
             "/y": get("a" * 70 + "\r\n\x1b[31m"), "/z/{" + "\u00e9" * 40 + "\x1b}": get("z"), "/__proto__": get("__proto__"), "/b": get("a_b"), "/c": get("a b")}
    with Host(tmp_path, {"document": document(paths, {"schemas": odd})}) as host:
        report = host.reports[0]
        assert report.count == len(paths) and not re.search(r"[\x00-\x1f\x7f]", "".join(p + t for p, t in report.warnings)), report
        names = {e["name"] for e in host.ask("GET", "/search?namespace=up&limit=100").output["operations"]}
        assert {"up/__proto__", "up/a_b", "up/a_b_2"} <= names
        long = next(name for name in names if name.startswith("up/xxx"))
        schema = host.ask("GET", f"/schema?name={long}").output["input_schema"]
        assert list(schema["properties"]["body"]["properties"]) == [*odd, "n"] and schema["$defs"] == {"__proto__": {"type": "string"}}


# ---- what they cost ---------------------------------------------------------------------------------------------------

def union(n, k=300):
    schemas = {f"P{j}": {"oneOf": [ref(f"schemas/A{i}") for i in range(k)],
                         "discriminator": {"propertyName": "k", "mapping": {f"v{i}": f"#/components/schemas/A{i}" for i in range(k)}}} for j in range(n)}
    paths = {f"/x{j}": {"post": {"operationId": f"x{j}", "responses": OK, **body_of(ref(f"schemas/P{j}"))}} for j in range(n)}
    return document(paths, {"schemas": {**schemas, **{f"A{i}": {} for i in range(k)}}})


def all_of(n):
    """Seven levels of n references to the next."""
    schemas = {f"L{i}": {"required": ["a"], "properties": {"a": {}}, "allOf": [ref(f"schemas/L{i + 1}")] * n} for i in range(7)}
    return document(posts(1, **body_of(ref("schemas/L0"))), {"schemas": {**schemas, "L7": {"properties": {"a": {"readOnly": True}}}}})


def bases(n):
    """n schemas with all n properties of another."""
    schemas = {f"S{i}": {"required": ["p1"], "allOf": [ref("schemas/base")]} for i in range(n)}
    schemas["base"] = {"properties": {f"p{i}": {"readOnly": True} for i in range(n)}}
    return document(posts(1, **body_of({"anyOf": [ref(f"schemas/S{i}") for i in range(n)]})), {"schemas": schemas})


def item(n, extra, components=None):
    """n paths with one path item."""
    return document({f"/p{i}": ref("pathItems/I") for i in range(n)},
                    {"pathItems": {"I": {"get": {"operationId": "y", "responses": OK, **extra}}}, **(components or {})})


GROWING = {
    "parameters": (5000, lambda n: document({"/x": get("x", parameters=[{"name": f"p{i}", "in": "query"} for i in range(n)])})),
    "parameters_of_all": (2000, lambda n: document(posts(n, parameters=ref("parameters/all")), {"parameters": {"all": [{"name": "accept", "in": "header"}] * 20 * n}})),
    "a_large_parameter": (2000, lambda n: document(posts(n, parameters=[ref("parameters/P")]), {"parameters": {"P": {**{f"x-{i}": 1 for i in range(20 * n)}, "name": "v", "in": "query"}}})),
    "security_schemes": (2000, lambda n: document(posts(n, security=[{f"s{n - 1 - k}": [] for k in range(8)}] * 8), {
        "securitySchemes": {f"s{i}": {"type": "http", "scheme": "bearer"} for i in range(10 * n)}})),
    "members_of_the_root": (3000, lambda n: document(posts(n), **{f"x-{i}": 1 for i in range(20 * n)})),
    "servers": (1000, lambda n: document(posts(n, servers=[{"url": f"https://api.example/v1/{i}"} for i in range(20)]))),
    "all_of": (6, all_of), "bases": (2000, bases), "unions": (10, union),
    "enum": (20000, lambda n: document(posts(1, **body_of({"enum": [f"v{i}" for i in range(n)]})))),
    "required": (10000, lambda n: document(posts(1, **body_of({"required": [f"v{i}" for i in range(n)], "properties": {f"v{i}": {"readOnly": True} for i in range(n)}})))),
    "statuses": (500, lambda n: document({f"/p{i}": get(f"o{i}", responses=ref("responses")) for i in range(n)}, {
        "responses": {str(300 + i % 300) if i < 300 else f"x{i}": {"description": "d"} for i in range(n)}})),
    "media_types": (1000, lambda n: document({f"/p{i}": get(f"o{i}", responses={"200": ref("responses/R")}) for i in range(n)}, {
        "responses": {"R": {"content": {f"a/b{i}": {} for i in range(20 * n)}}}})),
    "media_types_of_bodies": (2000, lambda n: document(posts(n, requestBody=ref("requestBodies/R")), {"requestBodies": {"R": {"content": {f"a/b{i}": {} for i in range(20 * n)}}}})),
    "encodings": (500, lambda n: document(posts(n, requestBody=ref("requestBodies/R")), {"requestBodies": {"R": {"content": {"multipart/form-data": {
        "schema": {"properties": {f"p{i}": {} for i in range(200)}}, "encoding": {f"e{i}": {} for i in range(20 * n)}}}}}})),
    "properties_of_forms": (500, lambda n: document(posts(n, requestBody=ref("requestBodies/R")), {"requestBodies": {"R": {"content": {
        "multipart/form-data": {"schema": ref("schemas/S")}}}}, "schemas": {"S": {"properties": {f"p{i}": {} for i in range(5 * n)}}}})),
    "a_chain": (10000, lambda n: document(posts(3, **body_of(ref("schemas/S0"))), {"schemas": {f"S{i}": {"items": ref(f"schemas/S{(i + 1) % n}")} for i in range(n)}})),
    "names": (5000, lambda n: document(posts(1, **body_of({"anyOf": [ref(f"schemas/g{i}/a") for i in range(n)]})), {"schemas": {f"g{i}": {"a": {}} for i in range(n)}})),
    "a_long_summary": (200, lambda n: item(n, {"summary": "z" * 500000, "description": "d" * 500000, "operationId": "i" * 500000})),
    "a_long_description": (200, lambda n: item(n, {"responses": {"404": {"description": "x" * 1000000}}})),
    "a_long_name_of_a_scheme": (100, lambda n: item(n, {"security": [{"s" * 500000: []}]}, {"securitySchemes": {"s" * 500000: {"type": "http", "scheme": "bearer"}}})),
    "a_long_path": (200, lambda n: document({"/" + "p" * 500000: {"additionalOperations": {
        "M" + "".join(chr(65 + i // 26 ** k % 26) for k in range(3)): {"responses": OK} for i in range(n)}}})),
    "a_large_schema": (100, lambda n: item(n, {"parameters": [ref("parameters/P")]}, {"parameters": {"P": {"name": "v", "in": "query", "schema": {
        "properties": {f"p{i}": {"type": "string"} for i in range(10000)}}}}})),
    "a_large_closure": (300, lambda n: document(posts(n, **body_of(ref("schemas/S0"))), {"schemas": {
        f"S{i}": {"properties": {"n": ref(f"schemas/S{(i + 1) % 3000}")}, "description": "x" * 200} for i in range(3000)}})),
    "long_values": (30, lambda n: document({f"/x{j}": {"post": {"operationId": f"x{j}", "responses": OK, **body_of(ref(f"schemas/P{j}"))}} for j in range(n)}, {
        "schemas": {"A": {}, **{f"P{j}": {"oneOf": [ref("schemas/A")] * 400, "discriminator": {"propertyName": "k" * 1000}} for j in range(n)}}})),
}


@pytest.mark.parametrize("what", GROWING)
def test_an_import_costs_what_its_document_is_worth(tmp_path, released, what):
    """Twice as much of everything takes three times as long at most, where it takes any time; and never takes long."""
    n, make = GROWING[what]
    reports = []
    for size in (n, 2 * n):
        path = tmp_path / f"{size}.json"
        path.write_text(json.dumps(make(size)))
        reports.append(try_imports(tmp_path, {"file": str(path)}, seconds=60)[0])
    one, two = reports
    assert two.cpu_ms < max(3 * one.cpu_ms, 2500), reports
    assert two.peak < 450 * MIB, reports


@pytest.mark.parametrize("extra, components", [
    ({"parameters": [{"name": f"p{i}", "in": "query", "schema": {}} for i in range(256)]}, {}),
    ({"security": [{f"s{j}_{k}": [] for k in range(16)} for j in range(16)]}, {
        "securitySchemes": {f"s{j}_{k}": {"type": "apiKey", "in": "header", "name": f"X-{j}-{k}"} for j in range(16) for k in range(16)}}),
    ({"responses": {str(300 + i): {"description": "d"} for i in range(256)}}, {}),
    ({"parameters": [ref(f"parameters/P{i}_0") for i in range(256)]}, {"parameters": {
        f"P{i}_{k}": ref(f"parameters/P{i}_{k + 1}") if k < 60 else {"name": f"p{i}", "in": "query"} for i in range(256) for k in range(61)}}),
    ({}, {})], ids=["parameters", "security", "statuses", "chains", "nothing"])
def test_sixteen_thousand_operations_stay_within_bounds(tmp_path, released, extra, components):
    path = tmp_path / "api.json"
    path.write_text(json.dumps(item(16384, extra, components)))
    report, = try_imports(tmp_path, {"file": str(path)})
    assert report.cpu_ms < 12000 and report.peak < 450 * MIB, report
    assert (report.rc, report.count) == (0, 16384) if not extra else report.count < 16384, report
    assert not report.rc or (not report.count and report.error == f"what the document describes needs more than {128 * MIB} bytes"), report
    assert len(report.warnings) <= 1001 and math.isfinite(report.cpu_ms)
