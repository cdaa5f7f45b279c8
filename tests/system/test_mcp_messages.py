"""MCP at /mcp: the forms of messages, in both eras. What is not as the revision says is refused by its status and code, with
the id of the request, and costs the connection nothing."""
import base64
import json
import re

import pytest

from mcp_rig import (HEADER_MISMATCH, INVALID_PARAMS, INVALID_REQUEST, META, METHOD_NOT_FOUND, PARSE_ERROR, SESSIONS, SESSIONS_OLD,
                     STATELESS, UNSUPPORTED_VERSION, Session, Stateless, build_fixture)
from rawhttp import ADMIN, PLAIN, UNKNOWN, Neighbour, Node, message

MIB = 1 << 20
FRIEND = "https://app.example"


@pytest.fixture(scope="module")
def node(tmp_path_factory):
    folder = tmp_path_factory.mktemp("messages")
    with Node(folder, {"ASAN_OPTIONS": "detect_leaks=1:quarantine_size_mb=1"}, plugins=[build_fixture(folder)],
              gateway={"origins": [FRIEND]}, limits={"auth_failures_per_minute": 0}) as it:
        yield it


@pytest.fixture(params=[Stateless, Session], ids=["stateless", "session"])
def client(request, node):
    with request.param(node) as it:
        yield it


@pytest.fixture
def stateless(node):
    with Stateless(node) as it:
        yield it


def serves(client):
    """The connection is good for a next request."""
    assert client.call("demo/add", {"a": 1, "b": 2}).value == {"sum": 3}


# ---- JSON-RPC ---------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("ident", [0, 1, -1, 2**53, 2**63 - 1, -2**63, 2**64 - 1, "", "a", "1", "\u00e9\U0001f600", "\"\\\n", "x" * 500],
                         ids=lambda ident: repr(ident)[:24])
def test_an_id_that_is_a_string_or_an_integer_comes_back_as_it_was(client, ident):
    answer = client.ask("tools/list", ident=ident)
    assert answer.status == 200 and answer.said["id"] == ident and type(answer.said["id"]) is type(ident)


@pytest.mark.parametrize("ident", [None, True, False, [], [1], {}, {"a": 1}, 1.5], ids=repr)
def test_an_id_of_another_type_is_refused(client, ident):
    answer = client.post({"jsonrpc": "2.0", "id": ident, "method": "tools/list", "params": {"_meta": Stateless.meta()}}
                         if isinstance(client, Stateless) else {"jsonrpc": "2.0", "id": ident, "method": "tools/list"},
                         client.headers("tools/list", None) if isinstance(client, Stateless) else client.own())
    answer.refused(400, INVALID_REQUEST)
    serves(client)


@pytest.mark.parametrize("text", [b"", b"{", b"nonsense", b"{\"jsonrpc\":\"2.0\",}", b"\xff\xfe", b"[1", b"{\"a\":\"\xed\xa0\x80\"}",
                                  b"{\"a\":1}{}", b"[" * 100000, b"{\"a\":\"\\ud800\"}"], ids=lambda text: repr(text[:20]))
def test_what_is_not_json_is_a_parse_error(client, text):
    headers = client.headers("tools/list", None) if isinstance(client, Stateless) else client.own()
    answer = client.post(text, headers)
    assert answer.status == 400 and answer.error["code"] == PARSE_ERROR and answer.said.get("id") is None
    serves(client)


def test_a_member_twice_is_refused(client):
    headers = client.headers("tools/list", None) if isinstance(client, Stateless) else client.own()
    answer = client.post(b'{"jsonrpc":"2.0","id":1,"method":"tools/list","method":"tools/call"}', headers)
    assert answer.status == 400 and answer.error["code"] in (PARSE_ERROR, INVALID_REQUEST)
    serves(client)


@pytest.mark.parametrize("body", [None, 1, "tools/list", True, {}, {"jsonrpc": "2.0"}, {"jsonrpc": "2.0", "id": 7},
                                  {"id": 7, "method": "tools/list"}, {"jsonrpc": "1.0", "id": 7, "method": "tools/list"},
                                  {"jsonrpc": 2.0, "id": 7, "method": "tools/list"}, {"jsonrpc": "2.0", "id": 7, "method": 1},
                                  {"jsonrpc": "2.0", "id": 7, "method": None}], ids=repr)
def test_a_message_that_is_no_request_is_refused(client, body):
    headers = client.headers("tools/list", None) if isinstance(client, Stateless) else client.own()
    answer = client.post(json.dumps(body).encode(), headers)
    assert answer.status == 400 and answer.error["code"] == INVALID_REQUEST, answer
    serves(client)


@pytest.mark.parametrize("params", [[], [1], "x", 1, None, True], ids=repr)
def test_params_are_an_object(client, params):
    headers = client.headers("tools/list", None) if isinstance(client, Stateless) else client.own()
    answer = client.post({"jsonrpc": "2.0", "id": 7, "method": "tools/list", "params": params}, headers)
    assert answer.status == 400 and answer.error["code"] in (INVALID_PARAMS, INVALID_REQUEST), answer
    serves(client)


@pytest.mark.parametrize("batch", [[], [{"jsonrpc": "2.0", "id": 1, "method": "tools/list"}],
                                   [{"jsonrpc": "2.0", "id": 1, "method": "ping"}, {"jsonrpc": "2.0", "id": 2, "method": "ping"}],
                                   [{"jsonrpc": "2.0", "method": "notifications/initialized"}]], ids=len)
def test_a_batch_is_refused(client, batch):
    headers = client.headers("tools/list", None) if isinstance(client, Stateless) else client.own()
    answer = client.post(json.dumps(batch).encode(), headers)
    assert answer.status == 400 and answer.error["code"] == INVALID_REQUEST and answer.said.get("id") is None
    serves(client)


def test_a_batch_of_requests_with_what_the_stateless_revision_wants_is_refused(stateless):
    request = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {"_meta": stateless.meta()}}
    answer = stateless.post([request, {**request, "id": 2}], stateless.headers("tools/list", None))
    assert answer.status == 400 and answer.error["code"] == INVALID_REQUEST


def test_notifications_and_answers_are_accepted_without_a_word(client):
    headers = client.headers("notifications/cancelled", None) if isinstance(client, Stateless) else client.own()
    meta = {"_meta": Stateless.meta()} if isinstance(client, Stateless) else {}
    for body in ({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 99, **meta}},
                 {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {**meta}},
                 {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": {"a": []}, **meta}}):
        answer = client.post(body, headers)
        assert answer.status == 202 and not answer.reply.body and answer.reply.header("content-type") is None, answer
    if isinstance(client, Session):
        for body in ({"jsonrpc": "2.0", "method": "notifications/roots/list_changed"}, {"jsonrpc": "2.0", "method": "notifications/x"},
                     {"jsonrpc": "2.0", "id": 5, "result": {}},
                     {"jsonrpc": "2.0", "id": 5, "error": {"code": -1, "message": "no"}}):
            assert client.post(body, headers).status == 202, body
    serves(client)


def test_an_unknown_method_is_not_found(client):
    for method in ("unknown/method", "", "tools", "tools/list/", "TOOLS/LIST", "prompts/list", "resources/list", "prompts/get",
                   "resources/templates/list", "completion/complete", "logging/setLevel", "tools/call\0"):
        headers = {"Mcp-Method": None} if "\0" in method or not method else {}
        if headers and isinstance(client, Stateless):
            continue
        answer = client.ask(method, headers=headers)
        assert answer.error["code"] == METHOD_NOT_FOUND and answer.said["id"] == client.last, method
        assert answer.status == 404 or isinstance(client, Session), method
    serves(client)


# ---- what the stateless revision wants in each message ----------------------------------------------------------------

def test_discover_says_which_versions_and_what_there_is(stateless):
    result = stateless.ask("server/discover").result
    assert result["supportedVersions"][0] == STATELESS and len(set(result["supportedVersions"])) == len(result["supportedVersions"])
    assert set(result["capabilities"]) == {"tools"} and isinstance(result["capabilities"]["tools"], dict)
    assert result["resultType"] == "complete"
    assert type(result["ttlMs"]) is int and result["ttlMs"] >= 0 and result["cacheScope"] in ("public", "private")
    server = result["_meta"][META + "serverInfo"]
    assert server["name"] == "alknet" and re.fullmatch(r"\d+\.\d+\.\d+\S*", server["version"])


META_FAULTS = {
    "no params": None, "no _meta": {}, "null": {"_meta": None}, "text": {"_meta": "x"}, "list": {"_meta": []}, "empty": {"_meta": {}},
    "no version": {"_meta": {META + "clientCapabilities": {}}},
    "no capabilities": {"_meta": {META + "protocolVersion": STATELESS}},
    "version is a number": {"_meta": {META + "protocolVersion": 20260728, META + "clientCapabilities": {}}},
    "version is null": {"_meta": {META + "protocolVersion": None, META + "clientCapabilities": {}}},
    "capabilities are a list": {"_meta": {META + "protocolVersion": STATELESS, META + "clientCapabilities": []}},
    "capabilities are null": {"_meta": {META + "protocolVersion": STATELESS, META + "clientCapabilities": None}},
    "other names": {"_meta": {"protocolVersion": STATELESS, "clientCapabilities": {}}},
}


@pytest.mark.parametrize("method", ["server/discover", "tools/list", "tools/call", "unknown/method"])
@pytest.mark.parametrize("fault", META_FAULTS)
def test_meta_that_is_missing_or_wrong_is_refused(stateless, fault, method):
    params = META_FAULTS[fault]
    if method == "tools/call" and params is not None:
        params = {"name": "search", "arguments": {}, **params}
    body = {"jsonrpc": "2.0", "id": 41, "method": method, **({} if params is None else {"params": params})}
    stateless.post(body, stateless.headers(method, params)).refused(400, INVALID_PARAMS, 41)
    serves(stateless)


def test_meta_without_the_clients_name_is_served(stateless):
    meta = {META + "protocolVersion": STATELESS, META + "clientCapabilities": {}}
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {"_meta": meta}}
    assert stateless.post(body, stateless.headers("tools/list", None)).result["tools"]


def test_unknown_members_of_meta_are_served(stateless):
    assert stateless.ask("tools/list", meta={"other.example/x": [1], "a": None, META + "other": {}}).result["tools"]


@pytest.mark.parametrize("version", ["v999.0.0", "2026-07-29", "2025-11-26", "", "x" * 200, "2026-07-28 ", "2026-07"], ids=repr)
def test_an_unknown_version_is_refused_with_those_that_are_served(stateless, version):
    body = {"jsonrpc": "2.0", "id": 42, "method": "tools/list", "params": {"_meta": stateless.meta(version=version)}}
    answer = stateless.post(body, stateless.headers("tools/list", None, {"MCP-Protocol-Version": version}))
    if version != version.strip() or not version:  # as a header this is another value, or none
        assert answer.status == 400 and answer.error["code"] in (HEADER_MISMATCH, UNSUPPORTED_VERSION)
        return
    data = answer.refused(400, UNSUPPORTED_VERSION, 42)["data"]
    assert data["requested"] == version and STATELESS in data["supported"]
    assert data["supported"] == stateless.ask("server/discover").result["supportedVersions"]


@pytest.mark.parametrize("version", [None, "", "2025-11-25", "2026-07-29", "v999.0.0", "2026-07-28, 2026-07-28"], ids=repr)
def test_a_version_in_the_header_that_is_not_the_bodys_is_refused(stateless, version):
    stateless.ask("tools/list", headers={"MCP-Protocol-Version": version}).refused(400, HEADER_MISMATCH, stateless.last)
    serves(stateless)


@pytest.mark.parametrize("method", [None, "", "tools/call", "TOOLS/LIST", "tools/list/", "tools", "=?base64?dG9vbHMvY2FsbA==?="], ids=repr)
def test_a_method_in_the_header_that_is_not_the_bodys_is_refused(stateless, method):
    stateless.ask("tools/list", headers={"Mcp-Method": method}).refused(400, HEADER_MISMATCH, stateless.last)
    serves(stateless)


@pytest.mark.parametrize("name", [None, "", "schema", "Search", "search search", "=?base64?c2NoZW1h?=", "=?base64?c2VhcmNo", "=?base64?!!?=",
                                  "=?base64?c2VhcmN?="], ids=repr)
def test_a_name_in_the_header_that_is_not_the_bodys_is_refused(stateless, name):
    stateless.tool("search", {}, headers={"Mcp-Name": name}).refused(400, HEADER_MISMATCH, stateless.last)
    serves(stateless)


@pytest.mark.parametrize("headers", [{"mcp-method": "tools/call"}, {"MCP-METHOD": "tools/call"}, {"Mcp-Name": "  search \t"},
                                     {"Mcp-Name": "=?base64?c2VhcmNo?="}, {"MCP-PROTOCOL-VERSION": STATELESS}], ids=str)
def test_headers_are_compared_as_http_has_it(stateless, headers):
    assert "demo/add" in json.dumps(stateless.tool("search", {}, headers=headers).value)


def test_a_header_twice_is_refused(stateless):
    fields = [*stateless.headers("tools/list", None).items(), ("Mcp-Method", "tools/list")]
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {"_meta": stateless.meta()}}
    stateless.wire.send(message("POST", "/mcp", body, fields, host=stateless.wire.host))
    reply = stateless.wire.reply()
    assert reply.status == 400 and json.loads(reply.body)["error"]["code"] == HEADER_MISMATCH


@pytest.mark.parametrize("method", ["initialize", "ping", "logging/setLevel", "resources/subscribe", "resources/unsubscribe",
                                    "notifications/initialized", "tasks/get"])
def test_a_removed_method_is_not_found(stateless, method):
    stateless.ask(method).refused(404, METHOD_NOT_FOUND, stateless.last)
    serves(stateless)


def test_the_stateless_revision_has_neither_get_nor_delete(stateless):
    for method in ("GET", "DELETE"):
        for headers in ({"MCP-Protocol-Version": STATELESS, "Accept": "text/event-stream"}, {"Accept": "text/event-stream"}):
            answer = stateless.raw(method, headers)
            assert answer.status in ((405,) if "MCP-Protocol-Version" in headers else (400, 405)), answer
            assert answer.status != 405 or "POST" in answer.reply.header("allow")
    serves(stateless)


def test_the_stateless_revision_gives_out_no_session(stateless):
    answer = stateless.ask("server/discover", headers={"Mcp-Session-Id": "something"})
    assert answer.status == 200 and answer.reply.header("mcp-session-id") is None


def test_every_result_of_the_stateless_revision_says_that_it_is_complete(stateless):
    for answer in (stateless.ask("server/discover"), stateless.ask("tools/list"), stateless.call("demo/add", {"a": 1, "b": 2}),
                   stateless.call("nothing/there")):
        assert answer.result["resultType"] == "complete", answer
    listed = stateless.ask("tools/list").result
    assert type(listed["ttlMs"]) is int and listed["ttlMs"] >= 0 and listed["cacheScope"] == "private"


def test_results_of_the_session_era_have_nothing_of_the_other(node):
    with Session(node) as client:
        for answer in (client.ask("tools/list"), client.call("demo/add", {"a": 1, "b": 2})):
            assert not {"resultType", "ttlMs", "cacheScope"} & set(answer.result)


# ---- who asks, and from where -----------------------------------------------------------------------------------------

@pytest.mark.parametrize("method", ["POST", "GET", "DELETE"])
@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1.evil", "https://app.example:8443"])
def test_a_foreign_origin_is_refused(node, method, origin):
    with Stateless(node, ADMIN) as client:
        body = {"jsonrpc": "2.0", "id": 1, "method": "server/discover", "params": {"_meta": client.meta()}}
        answer = client.raw(method, {**client.headers("server/discover", None), "Origin": origin}, body=body if method == "POST" else None)
        assert answer.status == 403 and "supportedVersions" not in str(answer.said)


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "localhost.evil.example"])
def test_a_foreign_host_is_refused_as_anywhere(node, host):
    for era in (Stateless, Session):
        with era(node, PLAIN) as client, node.wire() as wire:
            answer = client.ask("tools/list", headers={"Host": host})
            assert answer.status == wire.call("demo/echo", 1, headers={"Host": host}).status and 400 <= answer.status < 500
            assert not answer.said or "result" not in answer.said


def test_pages_of_an_allowed_origin_can_speak_both_eras(node):
    with Stateless(node) as client:
        answer = client.ask("tools/list", headers={"Origin": FRIEND})
        assert answer.status == 200 and answer.reply.header("access-control-allow-origin") == FRIEND
        wanted = "authorization, content-type, mcp-protocol-version, mcp-method, mcp-name, mcp-session-id, last-event-id"
        for method in ("POST", "GET", "DELETE"):
            asked = client.raw("OPTIONS", {"Origin": FRIEND, "Access-Control-Request-Method": method,
                                           "Access-Control-Request-Headers": wanted})
            assert asked.status in (200, 204), asked
            methods = [text.strip() for text in asked.reply.header("access-control-allow-methods").split(",")]
            allowed = [text.strip().lower() for text in asked.reply.header("access-control-allow-headers").split(",")]
            assert method in methods and {"mcp-protocol-version", "mcp-method", "mcp-name", "mcp-session-id"} <= set(allowed), asked
    with Session(node, handshake=False) as client:
        body = {"protocolVersion": SESSIONS, "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
        answer = client.ask("initialize", body, headers={"Origin": FRIEND})
        shown = [text.strip().lower() for text in answer.reply.header("access-control-expose-headers").split(",")]
        assert "mcp-session-id" in shown


@pytest.mark.parametrize("era", [Stateless, Session], ids=["stateless", "session"])
def test_a_token_that_is_nobodys_is_401(node, era):
    for method in ("tools/list", "server/discover", "initialize"):
        with era(node) as client:
            answer = client.ask(method, token=UNKNOWN)
            assert answer.status == 401 and answer.reply.header("www-authenticate") == 'Bearer error="invalid_token"'


@pytest.mark.parametrize("era", [Stateless, Session], ids=["stateless", "session"])
def test_a_body_must_be_json_and_not_compressed(node, era):
    for headers in ({"Content-Type": "text/plain"}, {"Content-Type": "application/xml"}, {"Content-Encoding": "gzip"}):
        with era(node) as client:
            assert client.ask("tools/list", headers=headers).status == 415
    with era(node) as client:
        assert client.ask("tools/list", headers={"Content-Type": "application/json; charset=utf-8"}).status == 200


def test_other_methods_are_the_decoy(node):
    with node.wire() as wire:
        for method in ("PUT", "PATCH", "HEAD"):
            assert wire.ask(method, "/mcp").status in (404, 405)
        assert wire.ask("POST", "/mcp/", {}).status == 404


# ---- size -------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("era", [Stateless, Session], ids=["stateless", "session"])
def test_arguments_of_10_mb_are_refused_at_the_limit_and_neighbours_are_unharmed(node, era):
    padding = "x" * (10 * MIB)
    node.forget_peak()
    before = node.memory("VmHWM")
    with Neighbour(node):
        for token in (None, ADMIN):
            with era(node, token) as client:
                headers = client.headers("tools/call", {"name": "call"}) if era is Stateless else client.own()
                body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call",
                                   "params": {"name": "call", "arguments": {"operation": "demo/echo", "input": padding},
                                              "_meta": Stateless.meta()}}).encode()
                fields = {**headers, "Content-Type": "application/json", "Content-Length": str(len(body))}
                client.wire.send(message("POST", "/mcp", None, fields, token, host=client.wire.host) + body[:MIB // 4])
                assert client.wire.head().status == 413
    assert node.memory("VmHWM") - before < 24 * MIB


def test_arguments_of_2_mb_are_served_with_a_token(node):
    padding = "x" * (2 * MIB)
    for era in (Stateless, Session):
        with era(node, PLAIN) as client:
            assert client.call("demo/echo", {"a": padding}).value == {"a": padding}


def test_a_message_of_a_million_values_is_refused_or_served_and_the_connection_goes_on(node):
    with Session(node, PLAIN) as client:
        body = (b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"call","arguments":{"operation":"demo/echo","input":['
                + b"1," * 1_100_000 + b"1]}}}")
        answer = client.post(body, client.own())
        assert 400 <= answer.status < 500, answer
    with Session(node, PLAIN) as client:
        serves(client)


# ---- names ------------------------------------------------------------------------------------------------------------

NAMES = ["search\0", "\0", "", "call\0/demo/add", "../call", "demo/add", "Call", "call ", "x" * 10000, "\u00e9", "\U0001f600", "call\n"]


@pytest.mark.parametrize("name", NAMES, ids=lambda name: repr(name)[:20])
def test_a_tool_that_is_not_there_is_invalid_params(client, name):
    headers = {}
    if isinstance(client, Stateless):
        headers = {"Mcp-Name": f"=?base64?{base64.b64encode(name.encode()).decode()}?="}
    answer = client.tool(name, {}, headers=headers)
    if isinstance(client, Stateless) and len(name) > 1000:
        assert answer.status in (400, 431)
        return
    assert answer.error["code"] == INVALID_PARAMS and answer.said["id"] == client.last and answer.status in (200, 400, 404)
    serves(client)


@pytest.mark.parametrize("operation", ["demo/add\0", "\0", "demo/add\0/x", "", "//demo/add", "demo/../demo/add", "nothing/there", "x" * 10000],
                         ids=lambda name: repr(name)[:20])
def test_an_operation_that_is_not_there_is_not_found(client, operation):
    assert client.call(operation, {"a": 1, "b": 2}).fault["code"] in ("NOT_FOUND", "INVALID_INPUT")
    serves(client)


@pytest.mark.parametrize("params", [{}, {"name": 1}, {"name": None}, {"name": ["call"]}, {"name": "call", "arguments": []},
                                    {"name": "call", "arguments": "x"}, {"name": "call", "arguments": 1}], ids=repr)
def test_a_call_without_name_or_with_arguments_that_are_no_object_is_invalid(client, params):
    answer = client.ask("tools/call", params)
    assert answer.error["code"] in (INVALID_PARAMS, HEADER_MISMATCH) and answer.said["id"] == client.last, answer
    serves(client)


def test_revision_names_are_told_apart(node):
    """A message of the one era with the words of the other is refused, and not half understood."""
    with Session(node) as client:
        answer = client.post({"jsonrpc": "2.0", "id": 3, "method": "tools/list", "params": {}}, client.own({"MCP-Protocol-Version": STATELESS}))
        assert answer.status == 400 and answer.error["code"] in (INVALID_PARAMS, HEADER_MISMATCH)
        answer = client.post({"jsonrpc": "2.0", "id": 3, "method": "tools/list", "params": {}},
                             client.own({"MCP-Protocol-Version": "2024-01-01"}))
        assert answer.status == 400
        for version in (SESSIONS, SESSIONS_OLD):
            assert client.ask("tools/list", headers={"MCP-Protocol-Version": version}).status in (200, 400)
        assert client.ask("tools/list", headers={"MCP-Protocol-Version": None}).status == 200


@pytest.mark.parametrize("before", range(4))
def test_what_an_error_repeats_is_cut_between_characters(node, before):
    text = "x" * before + "\N{EURO SIGN}" * 120
    with Session(node, PLAIN) as client:
        error = client.ask(text).error
        assert error["code"] == METHOD_NOT_FOUND and error["message"].startswith(text[:30])
        fault = client.tool("search", {text: 1}).fault
        assert fault["code"] == "INVALID_INPUT" and fault["message"].startswith("/" + text[:20])
