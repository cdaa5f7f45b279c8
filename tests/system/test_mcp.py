"""MCP at /mcp: the four fixed tools and those that are operations; what calls answer, who may make them, how they tell of their
progress and how they end."""
import base64
import json
import re

import pytest

from conftest import wait_for
from mcp_rig import (INVALID_PARAMS, METHOD_NOT_FOUND, SESSIONS, SESSIONS_OLD, STATELESS, VALUES, Session, Stateless, build_fixture)
from rawhttp import ADMIN, PLAIN, TRACE, Neighbour, Node, build_plugin

MIB = 1 << 20
FIXED = ["search", "schema", "call", "batch"]
NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
ERAS = {"stateless": Stateless, "session": Session, "old session": lambda node, token=None: Session(node, token, SESSIONS_OLD)}


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """With the fixed tools, as without any configuration."""
    folder = tmp_path_factory.mktemp("fixed")
    with Node(folder, plugins=[build_fixture(folder), build_plugin(folder)], limits={"heartbeat_ms": 50}) as it:
        yield it


@pytest.fixture(scope="module")
def direct(tmp_path_factory):
    """Each operation is a tool."""
    folder = tmp_path_factory.mktemp("direct")
    with Node(folder, {"ASAN_OPTIONS": "detect_leaks=1:quarantine_size_mb=1"}, mcp={"tools": "direct"},
              plugins=[build_fixture(folder, many=250), build_plugin(folder)]) as it:
        yield it


@pytest.fixture(params=ERAS)
def client(request, plain):
    with ERAS[request.param](plain) as it:
        yield it


@pytest.fixture(params=ERAS)
def caller(request, direct):
    with ERAS[request.param](direct, PLAIN) as it:
        yield it


def names(client):
    return [tool["name"] for tool in client.tools()]


# ---- the four ---------------------------------------------------------------------------------------------------------

def test_there_are_four_tools(client):
    tools = client.tools()
    assert [tool["name"] for tool in tools] == FIXED
    for tool in tools:
        schema = tool["inputSchema"]
        assert tool["description"] and schema["type"] == "object" and isinstance(schema["properties"], dict)
        assert not {"oneOf", "anyOf", "allOf", "not", "if", "$ref"} & set(schema)
    assert "call" in tools[2]["name"] and tools[2]["inputSchema"]["required"] == ["operation"]


def test_search_finds_names_and_descriptions_but_no_subscriptions(client):
    found = {op["name"]: op for op in client.tool("search", {}).value["operations"]}
    assert found["demo/add"]["description"].startswith("Adds two numbers.")
    assert "demo/clock" not in found and "count/numbers" not in found and "demo/internal" not in found
    (only,) = client.tool("search", {"query": "aDDs TWO"}).value["operations"]
    assert only["name"] == "demo/add"
    assert client.tool("search", {"query": "zzz"}).value["operations"] == []
    assert client.tool("search", {"query": "add " * 32 + " " * 800}).value["operations"]
    for query in ("add " * 33, "a " * 10**5, "a" * 1025, " " * 1025):
        assert client.tool("search", {"query": query}).fault["code"] == "INVALID_INPUT"
    assert client.tool("search").value == client.tool("search", {}).value


def test_search_shows_what_its_caller_may_call(plain):
    for era in (Stateless, Session):
        for token, seen in ((None, set()), (PLAIN, {"demo/whoami"}), (ADMIN, {"demo/whoami", "demo/secret"})):
            with era(plain, token) as client:
                found = {op["name"] for op in client.tool("search", {"query": "demo/"}).value["operations"]}
                assert found & {"demo/whoami", "demo/secret"} == seen and "demo/add" in found


def test_schema_describes_an_operation(client):
    spec = client.tool("schema", {"name": "demo/add"}).value
    assert spec["name"] == "demo/add" and spec["input_schema"]["required"] == ["a", "b"]
    for name in ("nothing/there", "demo/internal", ""):
        assert client.tool("schema", {"name": name}).fault["code"] in ("NOT_FOUND", "INVALID_INPUT")
    for wrong in ({}, {"name": 1}):
        assert client.tool("schema", wrong).fault["code"] == "INVALID_INPUT"


def test_call_answers_structured_content_and_a_text_that_says_the_same(client):
    assert client.call("demo/add", {"a": 1, "b": 2}).value == {"sum": 3}
    assert client.call("/demo/add", {"a": 1, "b": 2}).value == {"sum": 3}


@pytest.mark.parametrize("value", [True, False, 0, -1.5, "", "text", [], [1, {"a": None}], "\u00e9\U0001f600\"\\\n", 2**63], ids=repr)
def test_an_output_that_is_no_object_is_wrapped(client, value):
    assert client.call("demo/echo", value).value == {"result": value}


def test_a_missing_input_is_an_empty_object_and_null_stays_null(client):
    assert client.tool("call", {"operation": "demo/echo"}).value == {}
    assert client.tool("call", {"operation": "demo/echo", "input": None}).value == {"result": None}


def test_numbers_come_back_as_they_were_written(client):
    headers = client.headers("tools/call", {"name": "call"}) if isinstance(client, Stateless) else client.own()
    meta = b',"_meta":' + json.dumps(Stateless.meta()).encode() if isinstance(client, Stateless) else b""
    answer = client.post(b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"call","arguments":'
                         b'{"operation":"demo/echo","input":{"n":[1.10,123456789012345678901234567890,1E5]}}' + meta + b"}}", headers)
    assert b"[1.10,123456789012345678901234567890,1E5]" in answer.reply.body


FAULTS = [("nothing/there", None, "NOT_FOUND"), ("demo/internal", None, "NOT_FOUND"), ("demo/add", {"a": 1}, "INVALID_INPUT"),
          ("demo/add", "text", "INVALID_INPUT"), ("demo/clock", {"count": 1}, "INVALID_OPERATION_TYPE"),
          ("demo/secret", None, "FORBIDDEN"), ("demo/fail", {"status": 429}, "HTTP_429"), ("demo/fail", {}, "DEMO_CONFLICT"),
          ("fail/APP_UNDECLARED", {"x": [1]}, "APP_UNDECLARED"), ("fail/negative", None, "INTERNAL"), ("fail/BUSY", None, "INTERNAL")]


@pytest.mark.parametrize("operation,value,code", FAULTS, ids=[f"{operation} {code}" for operation, _, code in FAULTS])
def test_a_failure_is_a_result_that_says_so_with_the_error_object(client, operation, value, code):
    fault = client.call(operation, value).fault
    assert fault["code"] == code
    with client.node.wire() as wire:
        assert wire.call(operation, {} if value is None else value).error() == fault, "as POST /call has it"


def test_call_wants_an_operation(client):
    for arguments in ({}, {"operation": 1}, {"operation": None}, {"operation": ["demo/add"]}):
        assert client.tool("call", arguments).fault["code"] == "INVALID_INPUT"


def test_batch_answers_in_order(client):
    calls = [{"operation": "demo/add", "input": {"a": n, "b": 1}} for n in range(5)]
    calls[2:2] = [{"operation": "nothing/there"}, {"operation": "demo/echo"}, {}]
    results = client.tool("batch", {"calls": calls}).value["results"]
    assert [item.get("output") for item in results] == [{"sum": 1}, {"sum": 2}, None, {}, None, {"sum": 3}, {"sum": 4}, {"sum": 5}]
    assert results[2]["error"]["code"] == "NOT_FOUND" and results[4]["result"] == "error"
    assert client.tool("batch", {"calls": []}).value == {"results": []}


@pytest.mark.parametrize("arguments", [{}, {"calls": 1}, {"calls": {}}, {"calls": None}, {"calls": [{"operation": "demo/echo"}] * 129},
                                       {"calls": [], "more": 1}],
                         ids=["none", "number", "object", "null", "too many", "more"])
def test_a_batch_that_is_none_is_invalid(client, arguments):
    assert client.tool("batch", arguments).fault["code"] == "INVALID_INPUT"


def test_an_unknown_argument_of_a_call_is_named(client):
    fault = client.tool("call", {"operation": "demo/echo", "inptu": 1}).fault
    assert fault["code"] == "INVALID_INPUT" and fault["message"] == "/inptu: unknown member"
    results = client.tool("batch", {"calls": [{"operation": "demo/echo", "inptu": 1}]}).value["results"]
    assert results[0]["error"]["message"] == "/inptu: unknown member"


def test_the_deadline_of_a_caller_is_kept(client):
    fault = client.call("demo/sleep", {"ms": 30000}, headers={"X-Timeout-Ms": "50"}).fault
    assert fault["code"] == "TIMEOUT" and fault["retryable"] is True


def test_each_answer_has_a_request_id_and_the_trace(client):
    answer = client.call("demo/add", {"a": 1, "b": 2}, headers={"traceparent": TRACE})
    assert answer.reply.header("x-request-id") and answer.reply.header("traceparent") == TRACE
    assert answer.reply.header("content-type") == "application/json"


def test_operations_are_no_tools_unless_asked_for(client):
    for name in ("demo_add", "demo/add", "test_simple_text"):
        assert client.tool(name, {"a": 1, "b": 2}, headers={"Mcp-Name": name} if isinstance(client, Stateless) else {}
                           ).error["code"] == INVALID_PARAMS


def test_too_many_calls_of_an_identity_are_refused(tmp_path):
    with Node(tmp_path, limits={"calls_per_second": 2}) as node:
        for era in (Stateless, Session):
            with era(node, PLAIN) as client:
                answers = [client.call("demo/add", {"a": 1, "b": 2}) for _ in range(8)]
                refused = [answer for answer in answers if answer.status != 200 or answer.result.get("isError")]
                assert refused
                for answer in refused:
                    assert answer.status == 429 and answer.reply.header("retry-after") or answer.fault["code"] == "BUSY", answer


# ---- an operation is a tool -------------------------------------------------------------------------------------------

def test_the_list_has_each_operation_that_the_caller_may_call_once_and_in_one_order(caller):
    tools = caller.tools()
    found = [tool["name"] for tool in tools]
    assert found[:4] == FIXED and len(set(found)) == len(found) and names(caller) == found
    assert all(NAME.fullmatch(name) for name in found), found
    assert {"demo_add", "demo_clock", "demo_whoami", "test_simple_text", "json_schema_2020_12_tool", "many_0000", "many_0249"} <= set(found)
    assert not {"demo_secret", "demo_internal", "nest_inner"} & set(found)
    with type(caller)(caller.node, ADMIN) as admin:
        assert set(names(admin)) == set(found) | {"demo_secret"}


def test_the_list_comes_in_pages(direct):
    with Stateless(direct) as client:
        page, seen, cursors = client.ask("tools/list").result, [], set()
        while "nextCursor" in page:
            assert page["tools"] and page["nextCursor"] not in cursors
            cursors.add(page["nextCursor"])
            seen += page["tools"]
            assert client.ask("tools/list", {"cursor": page["nextCursor"]}).result == client.ask(
                "tools/list", {"cursor": page["nextCursor"]}).result
            page = client.ask("tools/list", {"cursor": page["nextCursor"]}).result
        assert len(cursors) >= 2 and seen + page["tools"] == client.tools()


@pytest.mark.parametrize("cursor", [1, None, {}, [], True], ids=repr)
def test_a_cursor_that_is_no_text_is_invalid(caller, cursor):
    answer = caller.ask("tools/list", {"cursor": cursor})
    assert answer.error["code"] == INVALID_PARAMS


@pytest.mark.parametrize("cursor", ["", "x", "\0", "many/0100", "demo/secret", "nest/inner", "\u00e9", "x" * 5000, "/", "zzz"],
                         ids=lambda cursor: repr(cursor)[:20])
def test_a_cursor_that_was_never_given_out_is_refused_or_harmless(caller, cursor):
    answer = caller.ask("tools/list", {"cursor": cursor})
    if answer.said and "result" in answer.said:
        assert not {"demo_secret", "nest_inner"} & {tool["name"] for tool in answer.result["tools"]}
    else:
        assert answer.error["code"] == INVALID_PARAMS


def test_every_tool_has_a_schema_that_assistants_take(caller):
    for tool in caller.tools():
        assert isinstance(tool.get("description"), str) and tool["description"], tool
        schema = tool["inputSchema"]
        assert schema["type"] == "object" and isinstance(schema["properties"], dict), tool
        if isinstance(caller, Session):
            assert not {"oneOf", "anyOf", "allOf", "not", "$ref"} & set(schema), tool
        if "outputSchema" in tool:
            assert tool["outputSchema"]["type"] == "object", tool


def test_names_that_would_be_one_are_told_apart(caller):
    found = names(caller)
    for prefix, count in (("odd_one_name", 2), ("odd_0123456789", 2)):
        mine = [name for name in found if name.startswith(prefix)]
        assert len(mine) == count and len(set(mine)) == count, mine
        for name in mine:
            assert caller.tool(name, {"me": name}).value == {"me": name}
    described = {tool["name"]: tool["description"] for tool in caller.tools()}
    assert sorted(described[name] for name in found if name.startswith("odd_one_name")) == [
        "First of two with one name.", "Second of two with one name."]


def test_names_are_the_same_for_whoever_asks_and_in_each_process(direct, tmp_path):
    with Stateless(direct, PLAIN) as one, Node(tmp_path, mcp={"tools": "direct"},
                                               plugins=[build_fixture(tmp_path), build_plugin(tmp_path)]) as other:
        with Stateless(other, ADMIN) as two:
            assert [name for name in names(one) if not name.startswith("many_")] == [name for name in names(two) if name != "demo_secret"]


@pytest.mark.parametrize("tool,value", [("odd_text", "text"), ("odd_list", [1, 2]), ("odd_anything", {"a": 1}), ("odd_nothing_said", {"a": 1}),
                                        ("odd_either", {"a": 1})])
def test_a_schema_that_is_no_plain_object_can_be_met(caller, tool, value):
    """What the list says of the input is what a call takes."""
    (listed,) = [entry for entry in caller.tools() if entry["name"] == tool]
    wrapped = set(listed["inputSchema"]["properties"]) == {"input"}
    assert wrapped or isinstance(value, dict)
    answer = caller.tool(tool, {"input": value} if wrapped else value)
    assert answer.value == (value if isinstance(value, dict) else {"result": value})


def test_an_output_schema_is_that_of_the_structured_content(caller):
    tools = {tool["name"]: tool for tool in caller.tools()}
    assert tools["demo_add"].get("outputSchema", {"properties": {"sum": 0}})["properties"].keys() == {"sum"}
    assert caller.tool("odd_output").value == {"result": [1, 2, 3]}
    schema = tools["odd_output"].get("outputSchema")
    assert schema is None or "result" in schema["properties"]
    assert "outputSchema" not in tools["test_simple_text"], "blocks of content have no structured form"


def test_blocks_of_content_are_the_content(caller):
    result = caller.tool("test_multiple_content_types", {}).result
    assert [block["type"] for block in result["content"]] == ["text", "image", "resource"] and "structuredContent" not in result
    assert base64.b64decode(result["content"][1]["data"])[1:4] == b"PNG" and not result.get("isError")
    result = caller.tool("test_error_handling", {}).result
    assert result["isError"] is True and "structuredContent" not in result
    assert result["content"] == [{"type": "text", "text": "This tool intentionally returns an error for testing"}]
    assert caller.tool("test_error_without_blocks", {}).fault["details"] == {"why": "no array"}


def test_a_direct_tool_fails_like_a_call(caller):
    assert caller.tool("demo_add", {"a": 1, "b": 2}).value == {"sum": 3}
    assert caller.tool("demo_add", {"a": 1}).fault["code"] == "INVALID_INPUT"
    assert caller.tool("demo_add").fault["code"] == "INVALID_INPUT"
    assert caller.tool("demo_fail", {}).fault["code"] == "DEMO_CONFLICT"
    assert caller.tool("fail_negative", {}).fault == {"code": "INTERNAL", "message": "internal error", "retryable": False}
    assert caller.call("demo/add", {"a": 1, "b": 2}).value == {"sum": 3}, "the four are there as well"


def test_of_a_tool_that_one_may_not_call_nobody_learns_that_it_is_there(direct):
    for era in (Stateless, Session):
        for token, hidden in ((None, ["demo_whoami", "demo_secret", "demo_internal", "nest_inner"]),
                              (PLAIN, ["demo_secret", "demo_internal", "nest_inner"])):
            with era(direct, token) as client:
                listed = names(client)
                unknown = client.tool("nothing_there", {})
                for name in hidden:
                    assert name not in listed
                    answer = client.tool(name, {})
                    assert answer.status == unknown.status
                    assert json.dumps(answer.error).replace(name, "?") == json.dumps(unknown.error).replace("nothing_there", "?"), name
    with Stateless(direct, ADMIN) as client:
        assert client.tool("demo_secret", {}).status == 200 and "secret" in client.tool("demo_secret", {}).value


def test_the_caller_of_a_tool_is_whose_token_it_is(direct):
    for era in (Stateless, Session):
        with era(direct, PLAIN) as client:
            assert client.tool("demo_whoami", {}).value["id"] == PLAIN[:8]


def test_parameters_that_are_headers_as_well_must_agree(direct):
    """x-mcp-header: whoever stands between decides by the header, so it must say what the body says."""
    with Stateless(direct) as client:
        hello = base64.b64encode(b"Hello").decode()
        good = [({"region": "eu"}, {"Mcp-Param-Region": "eu"}), ({"region": "Hello"}, {"Mcp-Param-Region": f"=?base64?{hello}?="}),
                ({"region": "eu", "size": 3}, {"mcp-param-region": " eu ", "MCP-PARAM-SIZE": "3"}), ({}, {}),
                ({"region": hello}, {"Mcp-Param-Region": hello})]
        for arguments, headers in good:
            assert client.tool("test_custom_headers", arguments, headers=headers).value == arguments, headers
        bad = [({"region": "eu"}, {}), ({"region": "eu"}, {"Mcp-Param-Region": "us"}), ({"region": "eu"}, {"Mcp-Param-Region": "EU"}),
               ({"region": "Hello"}, {"Mcp-Param-Region": "=?base64?SGVsbG8?="}), ({"region": "eu", "size": 3}, {"Mcp-Param-Region": "eu"}),
               ({"region": "eu", "size": 3}, {"Mcp-Param-Region": "eu", "Mcp-Param-Size": "4"})]
        for arguments, headers in bad:
            client.tool("test_custom_headers", arguments, headers=headers).refused(400, -32020, client.last)
    with Session(direct) as client:
        assert client.tool("test_custom_headers", {"region": "eu"}).value == {"region": "eu"}, "not in the era before"


# ---- progress, and values of subscriptions ----------------------------------------------------------------------------

def progress_of(answer, token):
    """What each notification of an answer says, without the token."""
    found = []
    for note in answer.notes:
        assert note["method"] == "notifications/progress" and note["params"].pop("progressToken") == token, note
        found.append({key: value for key, value in note["params"].items() if key != "_meta"})
    return found


@pytest.mark.parametrize("token", ["p", "", 0, 7, -1, 2**53, "\u00e9\"\\"], ids=repr)
def test_a_call_that_runs_tells_that_it_goes_on(client, token):
    answer = client.call("demo/sleep", {"ms": 230}, meta={"progressToken": token})
    assert answer.stream and answer.value["slept_ms"] >= 230
    told = [note["progress"] for note in progress_of(answer, token)]
    assert len(told) >= 2 and told == sorted(set(told)), told


def test_a_quick_call_tells_nothing(client):
    answer = client.call("demo/add", {"a": 1, "b": 2}, meta={"progressToken": "p"})
    assert answer.value == {"sum": 3} and not answer.notes


def test_without_a_token_nothing_is_told(client):
    answer = client.call("demo/sleep", {"ms": 500})
    assert answer.stream is None and answer.value["slept_ms"] >= 500


@pytest.mark.parametrize("token", [None, True, 1.5, [], {}], ids=repr)
def test_a_token_of_another_type_does_no_harm(client, token):
    answer = client.call("demo/add", {"a": 1, "b": 2}, meta={"progressToken": token})
    assert answer.status in (200, 400) and ("result" in answer.said or answer.error["code"] == INVALID_PARAMS)


def test_values_that_are_progress_are_told_as_they_are(caller):
    answer = caller.tool("test_tool_with_progress", {}, meta={"progressToken": "p", VALUES: 3})
    assert progress_of(answer, "p") == [{"progress": n, "total": 100, "message": f"{n} of 100"} for n in (0, 50, 100)]
    assert answer.value == {"progress": 100, "total": 100, "message": "100 of 100"}


@pytest.mark.parametrize("tool,last", [("count_numbers", {"result": 2}), ("count_objects", {"n": 2})])
@pytest.mark.parametrize("count", [3, 10, 100000])
def test_as_many_values_as_were_asked_for_are_told_and_the_last_is_the_result(caller, tool, last, count):
    answer = caller.tool(tool, {"count": count}, meta={"progressToken": 1, VALUES: 3})
    assert [told["progress"] for told in progress_of(answer, 1)] == [1, 2, 3]
    assert answer.value == last
    assert caller.tool(tool, {"count": count}, meta={VALUES: 3}).value == last, "also where nobody wants to be told"


def test_a_subscription_that_ends_before_has_its_last_value_as_the_result(caller):
    answer = caller.tool("count_numbers", {"count": 2}, meta={"progressToken": "p", VALUES: 5})
    assert len(answer.notes) == 2 and answer.value == {"result": 1}
    assert caller.tool("count_numbers", {"count": 0}, meta={VALUES: 5}).value == {"result": None}


@pytest.mark.parametrize("era", ERAS)
def test_a_value_that_finds_no_room_twice_is_a_failure_and_not_a_cut_connection(tmp_path, era):
    with Node(tmp_path, mcp={"tools": "direct"}, plugins=[build_fixture(tmp_path)], limits={"message_budget": 8 * MIB}) as node:
        with ERAS[era](node) as client:
            for meta in ({}, {"progressToken": 1, VALUES: 1}):
                codes = []
                for size in range(100000, 1000001, 100000):
                    result = client.tool("count_objects", {"count": 1, "bytes": size}, meta=meta)
                    codes.append(result.fault["code"] if result.said["result"].get("isError") else "")
                    assert client.tool("demo_add", {"a": 1, "b": 2}).value == {"sum": 3}
                assert codes == sorted(codes) and codes[0] == "" and codes[-1] == "BUSY", codes


@pytest.mark.parametrize("era", ERAS)
def test_a_failure_whose_details_find_no_room_is_one_without_them(tmp_path, era):
    with Node(tmp_path, mcp={"tools": "direct"}, plugins=[build_plugin(tmp_path)], limits={"message_budget": 8 * MIB}) as node:
        with ERAS[era](node) as client:
            there = []
            for size in (10000, 50000, 100000, 120000):
                fault = client.tool("fail_now", {"why": "x" * size}, meta={VALUES: 1}).fault
                assert (fault["code"], fault["message"]) == ("now", "failed as asked"), fault
                there.append("details" in fault)
                assert client.tool("demo_add", {"a": 1, "b": 2}).value == {"sum": 3}
            assert there == sorted(there, reverse=True) and there[0] and not there[-1], there


def test_a_large_value_that_is_made_compact_tells_of_its_progress(caller):
    answer = caller.tool("odd_spaced", {}, meta={"progressToken": "p", VALUES: 5})
    assert progress_of(answer, "p") == [{"progress": 7, "message": "seven"}]
    assert answer.value == {"progress": 7, "message": "seven", "pad": "0" * 99000}


def test_a_subscription_that_fails_is_a_failure(caller):
    for tool, told in (("fail_now", 0), ("fail_later", 2)):
        answer = caller.tool(tool, {"why": 1}, meta={"progressToken": "p", VALUES: 5})
        assert len(answer.notes) == told and answer.fault["details"] == {"why": 1}


@pytest.mark.parametrize("values", [0, -1, 1.5, "3", None, True, [], 2**64 - 1, 2**70], ids=repr)
def test_a_number_of_values_that_is_none_does_no_harm(caller, values):
    answer = caller.tool("count_numbers", {"count": 3}, meta={VALUES: values})
    assert answer.status in (200, 400) and (answer.said.get("error", {}).get("code") == INVALID_PARAMS or answer.value), answer


@pytest.mark.parametrize("era", ERAS)
def test_progress_never_goes_back(tmp_path, era):
    """Signs of life between values that say themselves how far they are."""
    with Node(tmp_path, mcp={"tools": "direct"}, plugins=[build_fixture(tmp_path)], limits={"heartbeat_ms": 15}) as node:
        with ERAS[era](node) as client:
            answer = client.tool("test_tool_with_progress", {}, meta={"progressToken": "p", VALUES: 3})
            told = [note["progress"] for note in progress_of(answer, "p")]
            assert told == sorted(set(told)) and {0, 50, 100} <= set(told), told


def test_a_subscription_without_a_number_of_values_ends(caller):
    """A client that knows nothing of subscriptions gets an answer also of one that goes on for ever."""
    assert "tick" in caller.tool("demo_clock", {"interval_ms": 20}).value


def test_a_subscription_is_no_operation_to_call(caller):
    assert caller.call("count/numbers", {"count": 3}).fault["code"] == "INVALID_OPERATION_TYPE"


# ---- ends -------------------------------------------------------------------------------------------------------------

def counters(node):
    with node.wire() as wire:
        return wire.call("nest/counters").output


@pytest.mark.parametrize("meta", [{}, {"progressToken": "p"}], ids=["plain", "with progress"])
@pytest.mark.parametrize("era", ERAS)
def test_closing_the_answer_ends_the_call_and_what_it_called(plain, era, meta):
    before = counters(plain)
    client = ERAS[era](plain)
    params = {"name": "call", "arguments": {"operation": "nest/outer"}, "_meta": {**(client.meta() if era == "stateless" else {}), **meta}}
    headers = client.headers("tools/call", params) if era == "stateless" else client.own()
    client.send({"jsonrpc": "2.0", "id": 9, "method": "tools/call", "params": params}, headers)
    wait_for(lambda: counters(plain)["begun"] == before["begun"] + 1)
    if meta:
        assert client.wire.head().status == 200
    assert counters(plain)["ended"] == before["ended"]
    client.wire.reset()
    wait_for(lambda: counters(plain)["ended"] == before["ended"] + 1)


@pytest.mark.parametrize("version", [SESSIONS, SESSIONS_OLD])
@pytest.mark.parametrize("meta", [{}, {"progressToken": "p"}], ids=["plain", "with progress"])
def test_a_call_of_a_session_is_cancelled_by_a_notification(plain, version, meta):
    before = counters(plain)
    with Session(plain, version=version) as client:
        client.send({"jsonrpc": "2.0", "id": "nine", "method": "tools/call",
                     "params": {"name": "call", "arguments": {"operation": "nest/outer"}, "_meta": meta}}, client.own())
        wait_for(lambda: counters(plain)["begun"] == before["begun"] + 1)
        for headers, ident in ((client.own(), 9), (client.own(), "nin"), (client.own({"Mcp-Session-Id": "0" * 32}), "nine")):
            with Session(plain, handshake=False) as other:
                assert other.post({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": ident}},
                                  headers).status in (202, 404)
        with Session(plain) as other:
            assert other.notify("notifications/cancelled", {"requestId": "nine"}).status == 202
        with Stateless(plain) as other:
            params = {"requestId": "nine", "_meta": other.meta()}
            for headers in ({"Mcp-Session-Id": client.session}, {"Mcp-Session-Id": client.session, "MCP-Protocol-Version": STATELESS}):
                assert other.post({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params}, headers).status == 202
        assert counters(plain)["ended"] == before["ended"], "somebody else has cancelled it"
        with Session(plain, handshake=False) as other:
            assert other.post({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": "nine", "reason": "r"}},
                              client.own()).status == 202
        wait_for(lambda: counters(plain)["ended"] == before["ended"] + 1)


@pytest.mark.parametrize("values", [10**6, 10**15])
def test_a_client_that_never_reads_its_progress_costs_no_more_than_a_window(direct, values):
    def counting():
        with direct.wire() as wire:
            return wire.call("count/counters").output

    direct.forget_peak()
    memory, before = direct.memory("VmHWM"), counting()
    with Neighbour(direct):
        slow = [Stateless(direct, PLAIN, receive_buffer=4096) for _ in range(4)]
        for client in slow:
            params = {"name": "count_objects", "arguments": {"count": 10**12, "bytes": 5000},
                      "_meta": client.meta({"progressToken": "p" * 10000, VALUES: values})}
            client.send({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}, client.headers("tools/call", params))
        wait_for(lambda: counting()["stalls"] >= before["stalls"] + 4)
        assert counting()["begun"] == before["begun"] + 4 and counting()["ended"] == before["ended"]
        for client in slow:
            client.wire.reset()
        wait_for(lambda: counting()["ended"] == before["ended"] + 4)
    assert direct.memory("VmHWM") - memory < 24 * MIB


@pytest.mark.parametrize("meta", [{}, {VALUES: 3}, {VALUES: 10**15}, {"progressToken": 1, VALUES: 3}], ids=repr)
def test_a_subscription_that_is_not_shown_is_held_back_for_others(direct, meta):
    def counting():
        with direct.wire() as wire:
            return wire.call("count/counters").output

    before = counting()
    with Neighbour(direct), Stateless(direct, PLAIN) as client:
        params = {"name": "count_numbers", "arguments": {"count": 10**12}, "_meta": client.meta(meta)}
        client.send({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}, client.headers("tools/call", params))
        wait_for(lambda: counting()["stalls"] > before["stalls"])
        client.wire.reset()
        wait_for(lambda: counting()["ended"] > before["ended"])


# ---- where it is not --------------------------------------------------------------------------------------------------

def test_it_is_not_there_where_the_configuration_says_so(tmp_path):
    with Node(tmp_path, mcp={"tools": "none"}) as node, node.wire() as wire:
        decoy = wire.ask("POST", "/nothing", {})
        for method, body in (("POST", {"jsonrpc": "2.0", "id": 1, "method": "ping"}), ("GET", None), ("DELETE", None)):
            reply = node.ask(method, "/mcp", body, token=ADMIN)
            assert (reply.status, reply.body) == (decoy.status, decoy.body)


@pytest.mark.parametrize("config", [{"tools": "all"}, {"tools": 1}, {"tools": None}, {"tool": "fixed"}, "fixed", []], ids=repr)
def test_a_wrong_configuration_is_named(make_daemon, config):  # noqa: F811
    daemon = make_daemon({"mcp": config})
    daemon.start(wait=False)
    daemon.proc.wait(20)
    assert "mcp" in daemon.log_text()
    daemon.ended(daemon.proc.returncode)
    assert "mcp" in daemon.log_text()


def test_a_stealthy_node_hides_it_from_whoever_has_no_token(tmp_path):
    with Node(tmp_path, gateway={"stealth": True}) as node:
        decoy = node.ask("GET", "/nothing")
        body = {"jsonrpc": "2.0", "id": 1, "method": "server/discover", "params": {"_meta": Stateless.meta()}}
        fields = Stateless.headers("server/discover", None)
        for method, sent in (("POST", body), ("GET", None), ("DELETE", None), ("OPTIONS", None)):
            other = node.ask(method, "/nothing", sent, fields)
            mine = node.ask(method, "/mcp", sent, fields)
            assert (mine.status, mine.body, [field for field in mine.headers if field[0] != "date"]) == (
                other.status, other.body, [field for field in other.headers if field[0] != "date"]), method
        assert decoy.status == 404
        with Stateless(node, ADMIN) as client:
            assert client.call("demo/add", {"a": 1, "b": 2}).value == {"sum": 3}
        with Session(node, ADMIN) as client:
            assert names(client) == FIXED


def test_methods_of_what_is_not_served_are_not_found(caller):
    for method in ("prompts/list", "resources/list", "resources/templates/list", "completion/complete"):
        assert caller.ask(method).error["code"] == METHOD_NOT_FOUND
