"""MCP while a node lives: tools that come and go, HTTP/2, slow readers, and the end of a node."""
import signal
import socket

import pytest

from conftest import PATIENCE, wait_for
from import_upstream import Upstream, document
from mcp_rig import VALUES, Answer, Session, Stateless, build_fixture
from rawhttp import PLAIN, Node, message
from rawhttp2 import CANCEL, Http2, f
from test_alknetd_imports import Importer, entry, put

META = "io.modelcontextprotocol/"
CHANGED = "notifications/tools/list_changed"
DIRECT = {"tools": "direct"}
BEFORE_A_BEAT = 10  # seconds: a stream on which nothing comes is not waited for for ever


@pytest.fixture
def up():
    with Upstream() as upstream:
        yield upstream


def names(client):
    return {tool["name"] for tool in client.tools()}


# ---- tools that come and go -------------------------------------------------------------------------------------------

def public(folder, up):
    return {**entry(folder, up), "access": {"authenticated": True}}


def changed_document():
    return document(fresh=("get", "/fresh"))


@pytest.mark.parametrize("era", ["stateless", "session"])
def test_clients_that_listen_hear_that_tools_have_changed(tmp_path, up, era):
    with Importer(tmp_path, public(tmp_path, up), mcp=DIRECT) as node:
        if era == "session":
            with Session(node, PLAIN) as client, Session(node, PLAIN, handshake=False, timeout=BEFORE_A_BEAT) as listener:
                listener.session = client.session
                assert client.hello.result["capabilities"]["tools"] == {"listChanged": True}
                stream = listener.raw("GET", {**listener.own(), "Accept": "text/event-stream"})
                assert "up_say" in names(client) and "up_fresh" not in names(client)
                put(tmp_path, changed_document())
                node.reload()
                assert stream.note() == {"jsonrpc": "2.0", "method": CHANGED}
                assert "up_fresh" in names(client)
        else:
            with Stateless(node, PLAIN) as client, Stateless(node, PLAIN, timeout=BEFORE_A_BEAT) as listener:
                assert client.ask("server/discover").result["capabilities"]["tools"] == {"listChanged": True}
                stream = listener.begin("subscriptions/listen", {"notifications": {"toolsListChanged": True, "promptsListChanged": True}})
                first = stream.note()
                assert first["method"] == "notifications/subscriptions/acknowledged"
                assert first["params"]["notifications"] == {"toolsListChanged": True}
                assert first["params"]["_meta"][META + "subscriptionId"] == listener.last
                put(tmp_path, changed_document())
                node.reload()
                told = stream.note()
                assert told["method"] == CHANGED and told["params"]["_meta"][META + "subscriptionId"] == listener.last
                assert "up_fresh" in names(client)


def test_a_listener_hears_what_it_asked_for_only(tmp_path, up):
    with Importer(tmp_path, public(tmp_path, up), mcp=DIRECT, limits={"heartbeat_ms": 100}) as node:
        with Stateless(node, PLAIN) as quiet, Stateless(node, PLAIN) as listener:
            silent = quiet.begin("subscriptions/listen", {"notifications": {"promptsListChanged": True}})
            assert silent.note()["params"]["notifications"] == {}
            stream = listener.begin("subscriptions/listen", {"notifications": {"toolsListChanged": True}})
            stream.note()
            put(tmp_path, changed_document())
            node.reload()
            assert stream.note()["method"] == CHANGED
            heard = silent.stream.block()
            assert heard == [heard[0]] and heard[0].startswith(":"), "a sign of life, and nothing else"


@pytest.mark.parametrize("wanted", [None, [], "x", 1, True], ids=repr)
def test_to_listen_one_says_to_what(tmp_path, wanted):
    with Node(tmp_path, mcp=DIRECT) as node, Stateless(node) as client:
        assert client.ask("subscriptions/listen", {"notifications": wanted}).error["code"] == -32602
        assert client.ask("subscriptions/listen").error["code"] == -32602


def test_a_tool_that_is_gone_is_not_there_and_a_call_of_it_ends(tmp_path, up):
    with Importer(tmp_path, public(tmp_path, up), mcp=DIRECT) as node, Stateless(node, PLAIN) as client:
        assert client.tool("up_say", {"text": "x"}).status == 200
        put(tmp_path, {**document(), "paths": {}})
        node.reload()
        assert not {name for name in names(client) if name.startswith("up_")}
        assert client.tool("up_say", {"text": "x"}).error["code"] == -32602


def test_the_list_goes_on_while_it_changes(tmp_path, up):
    """A cursor from before a change is good for a page behind it, or is refused; nothing is told twice."""
    with Importer(tmp_path, public(tmp_path, up), mcp=DIRECT, plugins=[build_fixture(tmp_path, many=250)]) as node, Stateless(node, PLAIN) as client:
        page = client.ask("tools/list").result
        put(tmp_path, {**document(), "paths": {}})
        node.reload()
        rest = client.ask("tools/list", {"cursor": page["nextCursor"]})
        if "result" in rest.said:
            assert not {tool["name"] for tool in page["tools"]} & {tool["name"] for tool in rest.result["tools"]}
        else:
            assert rest.error["code"] == -32602


# ---- HTTP/2 -----------------------------------------------------------------------------------------------------------

def http2(node):
    return Http2(socket.create_connection((node.host, node.port), PATIENCE), PLAIN)


def test_both_eras_go_over_http2(tmp_path):
    with Node(tmp_path, mcp=DIRECT, plugins=[build_fixture(tmp_path)]) as node:
        client = http2(node)
        params = {"name": "count_numbers", "arguments": {"count": 5}, "_meta": Stateless.meta({"progressToken": "p", VALUES: 3})}
        body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
        fields = [(name.lower(), value) for name, value in Stateless.headers("tools/call", params).items()]
        stream = client.wait(client.post("/mcp", body, fields))
        assert stream.status == 200 and stream.header("content-type").startswith("text/event-stream")
        assert stream.body.count(b"notifications/progress") == 3 and b'"structuredContent":{"result":2}' in stream.body
        hello = client.wait(client.post("/mcp", {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
            "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}}))
        session = [("mcp-session-id", hello.header("mcp-session-id"))]
        listed = client.wait(client.post("/mcp", {"jsonrpc": "2.0", "id": 2, "method": "tools/list"}, session))
        assert listed.status == 200 and b"demo_add" in listed.body
        ended = client.wait(client.open(client.fields("DELETE", "/mcp", session)))
        assert ended.status in (200, 204)
        client.close()


def test_a_stream_of_http2_that_is_reset_ends_the_call(tmp_path):
    with Node(tmp_path, plugins=[build_fixture(tmp_path)]) as node:
        def counters():
            return node.ask("POST", "/call", {"operation": "nest/counters"}).output

        client = http2(node)
        params = {"name": "call", "arguments": {"operation": "nest/outer"}, "_meta": Stateless.meta()}
        fields = [(name.lower(), value) for name, value in Stateless.headers("tools/call", params).items()]
        number = client.post("/mcp", {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}, fields)
        wait_for(lambda: counters()["begun"] == 1)
        client.send(f.RstStreamFrame(number, error_code=CANCEL))
        wait_for(lambda: counters()["ended"] == 1)
        client.close()


# ---- slow readers, and ends -------------------------------------------------------------------------------------------

def test_a_reader_that_takes_nothing_is_cut(tmp_path):
    with Node(tmp_path, mcp=DIRECT, plugins=[build_fixture(tmp_path)], limits={"write_timeout_ms": 300}) as node:
        def counters():
            return node.ask("POST", "/call", {"operation": "count/counters"}).output

        with Stateless(node, PLAIN, receive_buffer=4096) as client:
            params = {"name": "count_objects", "arguments": {"count": 10**12, "bytes": 1000},
                      "_meta": client.meta({"progressToken": "p", VALUES: 10**9})}
            client.send({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}, client.headers("tools/call", params))
            wait_for(lambda: counters()["stalls"] > 0)
            wait_for(lambda: counters()["ended"] == 1)


def test_a_node_that_ends_ends_its_streams(tmp_path):
    """Those that only listen do not keep it; a call gets its answer."""
    with Node(tmp_path, mcp=DIRECT, plugins=[build_fixture(tmp_path)], limits={"drain_ms": 5000}) as node:
        with Session(node, PLAIN) as client, Session(node, PLAIN, handshake=False) as listener, Stateless(node, PLAIN) as other, \
                Stateless(node, PLAIN) as busy:
            listener.session = client.session
            heard = listener.raw("GET", {**listener.own(), "Accept": "text/event-stream"})
            listening = other.begin("subscriptions/listen", {"notifications": {"toolsListChanged": True}})
            listening.note()
            params = {"name": "demo_sleep", "arguments": {"ms": 400}}
            full = {**params, "_meta": busy.meta()}
            busy.wire.begin(message("POST", "/mcp", {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": full},
                                    busy.headers("tools/call", full), PLAIN, host=busy.wire.host))
            node.signal(signal.SIGTERM)
            answer = Answer(busy.wire)
            assert answer.status == 200 and answer.said["result"]["structuredContent"]["slept_ms"] >= 400
            last = listening.stream.event()
            assert last[1]["id"] == 1 and last[1]["result"]["resultType"] == "complete"
            assert heard.stream.event() is None and listening.stream.event() is None, "ended as they should"
            node.ended()


def test_calls_that_do_not_end_are_busy_at_the_drain_time_out(tmp_path):
    with Node(tmp_path, plugins=[build_fixture(tmp_path)], limits={"drain_ms": 300, "heartbeat_ms": 50}) as node:
        with Stateless(node, PLAIN) as client:
            stream = client.begin("tools/call", {"name": "call", "arguments": {"operation": "nest/outer"}}, meta={"progressToken": 1})
            assert stream.note()["method"] == "notifications/progress"
            node.signal(signal.SIGTERM)
            stream.finish()
            assert stream.fault["code"] == "BUSY" and stream.fault["retryable"] is True
            node.ended()
