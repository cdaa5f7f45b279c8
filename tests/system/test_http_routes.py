"""The routes beside /call: health, discovery, /batch; and that there are no others."""
import json
import subprocess
import time
import urllib.parse

import pytest

from conftest import wait_for
from rawhttp import ADMIN, PEER, PLAIN, Node, message, together

DEMO = ["demo/add", "demo/callback", "demo/clock", "demo/echo", "demo/fail", "demo/secret", "demo/sleep", "demo/whoami"]


@pytest.fixture(scope="module")
def node(tmp_path_factory):
    with Node(tmp_path_factory.mktemp("routes")) as it:
        yield it


@pytest.fixture
def wire(node):
    with node.wire() as it:
        yield it


def query(path, **fields):
    return path + "?" + urllib.parse.urlencode(fields)


# ---- health and what is no route --------------------------------------------------------------------------------------

def test_healthz_says_ok_to_anyone(wire):
    reply = wire.ask("GET", "/healthz")
    assert reply.status == 200 and reply.body.strip() == b"ok" and reply.header("content-type").startswith("text/plain")


def test_readyz_says_that_it_is_ready(wire):
    assert wire.ask("GET", "/readyz").status == 200


NOT_ROUTES = [("GET", "/"), ("PUT", "/mcp"), ("GET", "/mcp/"), ("POST", "/mcp/x"), ("DELETE", "/Mcp"), ("POST", "/openapi.json"),
              ("POST", "/alknet/call"), ("HEAD", "/alknet/call"), ("PUT", "/alknet/call"), ("OPTIONS", "/alknet/call"),
              ("GET", "/alknet/call/"), ("GET", "/alknet"), ("GET", "/alknet/Call"), ("GET", "/alknet/%63all"),
              ("GET", "/call"), ("PUT", "/call"), ("DELETE", "/call"), ("PATCH", "/call"), ("HEAD", "/call"),
              ("OPTIONS", "/call"),
              ("TRACE", "/call"), ("GET", "/batch"), ("POST", "/search"), ("POST", "/schema"), ("POST", "/healthz"),
              ("PUT", "/healthz"),
              ("HEAD", "/subscribe"), ("PUT", "/subscribe"), ("POST", "/demo/echo"), ("GET", "/demo/echo"),
              ("POST", "/call/"),
              ("POST", "//call"), ("POST", "/./call"), ("POST", "/x/../call"), ("POST", "/CALL"), ("POST", "/%63all"),
              ("POST", "/call%00"),
              ("POST", "/call;x"), ("POST", "/call/demo/echo"), ("GET", "/healthz/"), ("GET", "/services/list"),
              ("OPTIONS", "*")]


@pytest.mark.parametrize("method,target", NOT_ROUTES, ids=[f"{m} {t}" for m, t in NOT_ROUTES])
def test_this_is_no_route(node, method, target):
    """Whatever is no route looks the same, with a token too."""
    with node.wire() as wire:
        unknown = wire.ask("GET", "/no-such-page", token=ADMIN)
    body = b"{}" if method in ("POST", "PUT", "PATCH") else None
    for token in (None, ADMIN):
        with node.wire() as wire:
            reply = wire.ask(method, target, body, token=token)
            assert reply.status == unknown.status == 404
            assert reply.header("content-type") == unknown.header("content-type")
            assert reply.body == (b"" if method == "HEAD" else unknown.body)


def test_curl_is_answered_by_health(node):
    for version in ("--http1.0", "--http1.1"):
        done = subprocess.run(["curl", "-sS", "-i", version, f"http://127.0.0.1:{node.port}/healthz"],
                              capture_output=True, timeout=20,
                              check=True)
        assert done.stdout.startswith(b"HTTP/1.1 200 OK\r\n") and done.stdout.strip().endswith(b"ok")


# ---- /search ----------------------------------------------------------------------------------------------------------

def names(reply):
    """Of the operations that are not built in."""
    return [op["name"] for op in reply.output["operations"] if not op["name"].startswith("services/")]


def test_search_lists_what_the_caller_may_call_sorted(wire):
    found = [op["name"] for op in wire.ask("GET", "/search", token=ADMIN).output["operations"]]
    assert found == sorted(found) and [name for name in found if name.startswith("demo/")] == DEMO
    assert {"services/list", "services/schema", "services/list-peers"} <= set(found)


def test_search_hides_what_the_caller_may_not_call(wire):
    nobody = wire.ask("GET", "/search")
    assert names(nobody) == [name for name in DEMO if name not in ("demo/whoami", "demo/secret")]
    plain = wire.ask("GET", "/search", token=PLAIN)
    assert names(plain) == [name for name in DEMO if name != "demo/secret"]
    assert names(wire.ask("GET", "/search", token=PEER)) == DEMO
    for reply in (nobody, plain):
        assert "services/list-peers" not in [op["name"] for op in reply.output["operations"]]


def test_search_answers_like_call(wire):
    reply = wire.ask("GET", "/search", token=ADMIN)
    assert list(reply.json()) == ["request_id", "result", "output"] and list(reply.output) == ["operations"]
    assert reply.json()["request_id"] == reply.header("x-request-id")
    for op in reply.output["operations"]:
        assert set(op) - {"description"} == {"name", "namespace", "op_type"}
        assert op["namespace"] == op["name"].split("/")[0]
    assert reply.output == wire.call("services/list", {}, token=ADMIN).output


@pytest.mark.parametrize("fields,wanted", [
    ({"q": "SECRET"}, ["demo/secret"]), ({"q": "tick"}, ["demo/clock"]), ({"q": "Adds Two"}, ["demo/add"]),
                                           ({"q": "no such thing"}, []),
    ({"q": ""}, None), ({"namespace": "demo"}, DEMO), ({"namespace": "dem"}, []),
                                           ({"op_type": "subscription"}, ["demo/clock"]),
    ({"op_type": "mutation"}, ["demo/callback", "demo/sleep"]), ({"namespace": "demo", "op_type": "query", "q": "a"}, None),
    ({"namespace": "demo", "q": "/echo", "op_type": "query"}, ["demo/echo"]), ({"q": "\u00e9"}, [])], ids=str)
def test_search_filters(wire, fields, wanted):
    everything = wire.ask("GET", "/search", token=ADMIN).output["operations"]
    if wanted is None:
        wanted = [op["name"] for op in everything
                  if op["namespace"] != "services" and fields.get("namespace") in (None, op["namespace"])
                  and fields.get("op_type") in (None, op["op_type"])
                  and fields.get("q", "").lower() in (op["name"] + "\n" + op.get("description", "")).lower()]
    assert names(wire.ask("GET", query("/search", **fields), token=ADMIN)) == wanted


def test_search_pages_join_to_the_whole(wire):
    whole = [op["name"] for op in wire.ask("GET", "/search", token=ADMIN).output["operations"]]
    for limit in (1, 3, len(whole) - 1, len(whole), len(whole) + 1):
        pages, cursor = [], None
        for _ in range(len(whole) + 2):
            fields = {"limit": limit} if cursor is None else {"limit": limit, "cursor": cursor}
            output = wire.ask("GET", query("/search", **fields), token=ADMIN).output
            pages.append([op["name"] for op in output["operations"]])
            cursor = output.get("next_cursor")
            if cursor is None:
                break
        assert sum(pages, []) == whole and all(len(page) == limit for page in pages[:-1])
        assert 0 < len(pages[-1]) <= limit, "no empty page at the end"


@pytest.mark.parametrize("target", ["/search?limit=0", "/search?limit=-1", "/search?limit=x", "/search?limit=1.5",
                                    "/search?limit=",
                                    "/search?op_type=query2", "/search?op_type=", "/schema", "/schema?peer=local"])
def test_a_wrong_field_of_the_query_is_invalid_input(wire, target):
    reply = wire.ask("GET", target, token=ADMIN)
    assert reply.status == 422 and reply.error()["code"] == "INVALID_INPUT"


@pytest.mark.parametrize("target", ["/search?q=%", "/search?q=%zz", "/search?q=%f", "/search?q=%ff",
                                    "/search?q=%ed%a0%80",
                                    "/schema?name=%c0%80"])
def test_a_query_that_does_not_decode_is_400(wire, target):
    reply = wire.ask("GET", target, token=ADMIN)
    assert reply.status == 400 and reply.error()["code"] == "INVALID_INPUT"
    parameter = "name" if "name" in target else "q"
    assert reply.error()["message"] == f"query: {parameter}: malformed, or not UTF-8"


def test_a_wrong_parameter_of_the_query_is_named(wire):
    for query, said in (("limits=1", "limits: unknown parameter"), ("q=a&q=b", "q: more than one"),
                        ("%ff=1", "the name of a parameter is malformed")):
        reply = wire.ask("GET", "/search?" + query)
        assert reply.status == 400 and reply.error()["message"] == "query: " + said


def test_plus_and_percent_are_decoded(wire):
    for target in ("/search?q=adds+two", "/search?q=%61dds%20two", "/search?%71=adds%20tw%6F"):
        assert names(wire.ask("GET", target)) == ["demo/add"]


# ---- /schema ----------------------------------------------------------------------------------------------------------

def test_schema_is_the_whole_spec_exactly(wire):
    spec = wire.ask("GET", "/schema?name=demo/add").output
    assert set(spec) - {"description"} == {"name", "namespace", "op_type", "visibility", "input_schema",
                                           "output_schema", "error_schemas", "access_control"}
    assert (spec["name"], spec["namespace"]) == ("demo/add", "demo")
    assert (spec["op_type"], spec["visibility"]) == ("query", "external")
    assert spec["input_schema"] == {"type": "object", "properties": {"a": {"type": "number"}, "b": {"type": "number"}},
                                    "required": ["a", "b"], "additionalProperties": False}
    assert spec["access_control"] == {"required_scopes": [], "required_scopes_any": None, "resource_type": None,
                                      "resource_action": None}
    assert [set(e) for e in spec["error_schemas"]] == [{"code", "description", "schema", "http_status"}]
    assert spec["error_schemas"][0]["code"] == "DEMO_OVERFLOW" and spec["error_schemas"][0]["http_status"] == 422


def test_schema_says_null_for_what_is_absent(wire):
    spec = wire.ask("GET", "/schema?name=demo/echo").output
    assert spec["input_schema"] is None and spec["output_schema"] is None and spec["error_schemas"] in ([], None)
    spec = wire.ask("GET", "/schema?name=demo/whoami", token=PLAIN).output
    assert spec["access_control"] == {"required_scopes": [], "required_scopes_any": None, "resource_type": None,
                                      "resource_action": None,
                                      "authenticated": True}
    spec = wire.ask("GET", "/schema?name=demo/secret", token=ADMIN).output
    assert spec["access_control"]["required_scopes"] == ["demo:secret"] and spec["op_type"] == "query"


def test_schema_takes_a_leading_slash_and_the_peer_local(wire):
    spec = wire.ask("GET", "/schema?name=demo/clock").output
    assert spec["op_type"] == "subscription"
    assert wire.ask("GET", "/schema?name=/demo/clock").output == spec
    assert wire.ask("GET", "/schema?name=%2Fdemo%2Fclock&peer=local").output == spec


@pytest.mark.parametrize("fields,token", [({"name": "no/such"}, ADMIN), ({"name": "demo/internal"}, ADMIN),
                                          ({"name": "demo/secret"}, PLAIN),
                                          ({"name": "demo/whoami"}, None),
                                          ({"name": "demo/echo", "peer": "peer-a"}, ADMIN),
                                          ({"name": ""}, ADMIN)], ids=str)
def test_schema_of_what_one_may_not_see_is_not_found(wire, fields, token):
    reply = wire.ask("GET", query("/schema", **fields), token=token)
    assert reply.status == 404
    assert reply.error() == {"code": "NOT_FOUND", "message": "operation not found: " + fields["name"],
                             "retryable": False}


def test_list_peers_has_the_local_operations(wire):
    output = wire.call("services/list-peers", {}, token=ADMIN).output
    assert [peer["peer_id"] for peer in output["peers"]][0] == "local"
    everything = wire.ask("GET", "/search", token=ADMIN).output["operations"]
    listed = output["peers"][0]["operations"]
    assert [op if isinstance(op, str) else op["name"] for op in listed] == [op["name"] for op in everything]


# ---- /batch -----------------------------------------------------------------------------------------------------------

def item(operation, value=None):
    return {"operation": operation, "input": value}


def results(reply):
    assert reply.status == 200 and list(reply.json()) == ["results"]
    for one in reply.json()["results"]:
        assert set(one) == ({"request_id", "result", "output"} if one["result"] == "ok"
                            else {"request_id", "result", "error"})
    return reply.json()["results"]


def test_batch_answers_in_order_whatever_ends_first(wire):
    waits = [300, 0, 200, 1, 100, 0]
    got = results(wire.ask("POST", "/batch", [item("demo/sleep", {"ms": ms}) for ms in waits]))
    assert [one["output"]["slept_ms"] for one in got] == waits


def test_batch_runs_its_calls_at_the_same_time(wire):
    start = time.monotonic()
    got = results(wire.ask("POST", "/batch", [item("demo/sleep", {"ms": 300})] * 16))
    assert len(got) == 16 and time.monotonic() - start < 16 * 0.3 / 2


def test_batch_calls_have_request_ids_of_their_own(wire):
    got = results(wire.ask("POST", "/batch", [item("demo/echo", i) for i in range(128)]))
    assert len({one["request_id"] for one in got}) == 128


def test_batch_takes_both_forms(wire):
    calls = [item("demo/echo", 1), item("/demo/add", {"a": 1, "b": 1})]
    for body in (calls, {"calls": calls}):
        assert [one["output"] for one in results(wire.ask("POST", "/batch", body))] == [1, {"sum": 2}]
    assert results(wire.ask("POST", "/batch", [])) == [] == results(wire.ask("POST", "/batch", {"calls": []}))
    assert wire.ask("POST", "/batch", {"calls": [], "more": 1}).error()["message"] == "/more: unknown member"
    assert results(wire.ask("POST", "/batch", [{"operation": "demo/echo"}]))[0]["output"] == {}


@pytest.mark.parametrize("body", [{}, {"calls": {}}, {"calls": None}, None, 5, "x", item("demo/echo"),
                                  {"calls": [item("demo/echo")] * 129},
                                  [item("demo/echo")] * 129, [1] * 129], ids=lambda b: str(b)[:30])
def test_batch_of_something_else_or_too_many_is_400(wire, body):
    reply = wire.ask("POST", "/batch", json.dumps(body).encode())
    assert reply.status == 400 and reply.error()["code"] == "INVALID_INPUT"


@pytest.mark.parametrize("body", [b"", b"[", b"[}", b'[{"operation":"demo/echo","operation":"demo/echo"}]', b"[]]"])
def test_batch_that_is_no_json_is_400(wire, body):
    assert wire.ask("POST", "/batch", body).status == 400


def test_a_bad_item_fails_in_its_place(wire):
    body = [item("demo/echo", 1), 5, None, {}, {"operation": 1}, [], {"operation": "demo/echo", "inptu": 1}, item("no/such"),
            item("demo/add", {}),
            item("demo/secret"),
            item("demo/clock", {}), item("demo/fail", {"status": 503}), item("demo/internal", 1), item("demo/echo", 2)]
    got = results(wire.ask("POST", "/batch", body, token=PLAIN))
    codes = [one["error"]["code"] if one["result"] == "error" else "ok" for one in got]
    assert got[6]["error"]["message"] == "/inptu: unknown member"
    assert codes == ["ok"] + ["INVALID_INPUT"] * 6 + ["NOT_FOUND", "INVALID_INPUT", "FORBIDDEN",
                                                      "INVALID_OPERATION_TYPE", "HTTP_503",
                                                      "NOT_FOUND", "ok"]
    assert got[0]["output"] == 1 and got[-1]["output"] == 2 and got[8]["error"]["details"]["errors"]
    assert len({one["request_id"] for one in got}) == len(body)


def test_a_deadline_counts_for_each_item(wire):
    got = results(wire.ask("POST", "/batch", [item("demo/sleep", {"ms": 60000}), item("demo/sleep", {"ms": 1})],
                           {"X-Timeout-Ms": "200"}))
    assert got[0]["error"]["code"] == "TIMEOUT" and got[1]["output"]["slept_ms"] == 1


def test_a_batch_holds_128_of_any_kind(wire):
    body = [item("demo/sleep", {"ms": 5}) if i % 2 else item("no/such") for i in range(128)]
    assert [one["result"] for one in results(wire.ask("POST", "/batch", body))] == ["error", "ok"] * 64


def cancelled(wire):
    return wire.call("demo/sleep", {"ms": 0}).output["cancelled"]


def test_disconnect_aborts_the_whole_batch(node, wire):
    before, echoes = cancelled(wire), len(node.find(event="call", operation="demo/echo"))
    with node.wire() as other:
        other.send(message("POST", "/batch", [item("demo/sleep", {"ms": 60000})] * 20 + [item("demo/echo")],
                           host=other.host))
        node.await_log(echoes + 1, event="call", operation="demo/echo")
    wait_for(lambda: cancelled(wire) == before + 20)
    assert len(node.find(event="call", operation="demo/sleep", outcome="aborted")) >= 20


def test_disconnect_starts_none_of_the_calls_that_wait(node, wire):
    """A batch runs some of its calls at a time. Sleeps that would outlast the test fill it; those behind never run."""
    before, echoes, adds = (cancelled(wire), len(node.find(event="call", operation="demo/echo")),
                            len(node.find(event="call", operation="demo/add")))
    batch = [item("demo/add", {"a": 1, "b": 1}), *[item("demo/sleep", {"ms": 60000})] * 126, item("demo/echo")]
    with node.wire() as other:
        other.send(message("POST", "/batch", batch, host=other.host))
        node.await_log(adds + 1, event="call", operation="demo/add")
        time.sleep(0.1)
    wait_for(lambda: cancelled(wire) > before)
    time.sleep(0.2)
    ended = cancelled(wire)
    assert before < ended <= before + 126
    time.sleep(0.2)
    assert cancelled(wire) == ended, "nothing starts afterwards"
    assert ended == before + 126 or len(node.find(event="call", operation="demo/echo")) == echoes


def test_batches_of_many_clients_do_not_mix(node):
    def one(k):
        def run():
            with node.wire() as other:
                for _ in range(5):
                    got = results(other.ask("POST", "/batch", [item("demo/echo", [k, i]) for i in range(100)]))
                    assert [r["output"] for r in got] == [[k, i] for i in range(100)]
        return run

    together([one(k) for k in range(8)])
