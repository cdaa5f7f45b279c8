"""Sessions of MCP's revisions before 2026-07-28: the handshake, whose they are, how they end, and the streams on which their
clients hear that the tools have changed."""
import re
import signal

import pytest

from conftest import wait_for
from mcp_rig import (INVALID_PARAMS, METHOD_NOT_FOUND, SESSIONS, SESSIONS_OLD, STATELESS, Answer, Session, Stateless, build_fixture)
from rawhttp import ADMIN, PEER, PLAIN, Neighbour, Node, message, together

MIB = 1 << 20
STREAM = {"Accept": "text/event-stream"}


@pytest.fixture(scope="module")
def node(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sessions")
    with Node(folder, {"ASAN_OPTIONS": "detect_leaks=1:quarantine_size_mb=1"}, plugins=[build_fixture(folder)]) as it:
        yield it


@pytest.fixture(params=[SESSIONS, SESSIONS_OLD])
def client(request, node):
    with Session(node, PLAIN, request.param) as it:
        yield it


def works(client):
    return client.ask("tools/list").status == 200


# ---- the handshake ----------------------------------------------------------------------------------------------------

def test_initialize_agrees_on_the_version_and_gives_out_a_session(client):
    result = client.hello.result
    assert result["protocolVersion"] == client.version and set(result["capabilities"]) == {"tools"}
    assert result["serverInfo"]["name"] == "alknet" and result["serverInfo"]["version"]
    assert re.fullmatch(r"[\x21-\x7e]{22,}", client.session), "at least 128 bits, visible"
    assert client.ask("ping").result == {}


@pytest.mark.parametrize("asked,given", [(SESSIONS, SESSIONS), (SESSIONS_OLD, SESSIONS_OLD), (STATELESS, SESSIONS), ("2025-03-26", SESSIONS),
                                         ("2024-11-05", SESSIONS), ("v999", SESSIONS), ("", SESSIONS), ("x" * 10000, SESSIONS)],
                         ids=lambda text: text[:12])
def test_a_version_that_is_not_served_is_answered_with_the_newest(node, asked, given):
    with Session(node, handshake=False) as client:
        answer = client.ask("initialize", {"protocolVersion": asked, "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}})
        assert answer.result["protocolVersion"] == given and answer.reply.header("mcp-session-id")


@pytest.mark.parametrize("params", [None, {}, {"protocolVersion": 1}, {"protocolVersion": None}, {"protocolVersion": {}}], ids=repr)
def test_initialize_without_a_version_is_invalid_and_opens_nothing(node, params):
    with Session(node, handshake=False) as client:
        answer = client.ask("initialize", params)
        assert answer.error["code"] == INVALID_PARAMS and answer.reply.header("mcp-session-id") is None


def test_initialize_takes_what_clients_say_of_themselves(node):
    with Session(node, handshake=False) as client:
        for extra in ({"capabilities": {"roots": {"listChanged": True}, "sampling": {}, "experimental": {"x": [1]}}}, {"clientInfo": {}}, {"x": None}):
            assert client.ask("initialize", {"protocolVersion": SESSIONS, "capabilities": {},
                                             "clientInfo": {"name": "t", "version": "1", "title": "T"}, **extra}).status == 200


def test_ids_of_sessions_are_never_the_same(node):
    seen = set()
    with Session(node, PLAIN, handshake=False) as client:
        for _ in range(200):
            seen.add(client.initialize().reply.header("mcp-session-id"))
    assert len(seen) == 200 and len({ident[:8] for ident in seen}) > 190, "no counters"


def test_a_session_is_good_on_any_connection_and_thread(tmp_path):
    with Node(tmp_path, workers=4, peers=[]) as node, Session(node, PLAIN) as client:
        for _ in range(24):
            with Session(node, PLAIN, handshake=False) as other:
                other.session = client.session
                assert works(other)
        assert client.raw("DELETE", client.own()).status in (200, 204)
        for _ in range(24):
            with Session(node, PLAIN, handshake=False) as other:
                other.session = client.session
                assert other.ask("tools/list").status == 404


def test_a_session_that_several_threads_serve_at_once_is_always_there(tmp_path):
    """Their clocks are not quite the same."""
    with Node(tmp_path, workers=4, peers=[]) as node, Session(node, PLAIN) as client:
        def hammer():
            with Session(node, PLAIN, handshake=False) as other:
                other.session = client.session
                return [other.ask("ping").status for _ in range(400)]

        assert {status for found in together([hammer] * 8) for status in found} == {200}


def test_a_request_without_a_session_is_refused_or_needs_none(node):
    with Session(node, PLAIN, handshake=False) as client:
        answer = client.ask("tools/list", headers={"MCP-Protocol-Version": SESSIONS})
        assert answer.status in (200, 400)


# ---- whose they are ---------------------------------------------------------------------------------------------------

def everything(client, session):
    """What each kind of request says of a session, without what differs each time."""
    said = []
    client.session = session
    for ask in (lambda: client.ask("tools/list", ident=1), lambda: client.ask("ping", ident=1), lambda: client.tool("search", {}, ident=1),
                lambda: client.notify("notifications/initialized"), lambda: client.raw("GET", {**client.own(), **STREAM}),
                lambda: client.raw("DELETE", client.own())):
        answer = ask()
        said.append((answer.status, str(answer.said), answer.reply.body,
                     sorted(name for name, _ in answer.reply.headers)))
    return said


@pytest.mark.parametrize("opener,other", [(PLAIN, ADMIN), (PLAIN, PEER), (PLAIN, None), (None, PLAIN), (PEER, PLAIN)],
                         ids=["key key", "key peer", "key nobody", "nobody key", "peer key"])
def test_a_session_with_another_token_is_one_that_was_never_there(node, opener, other):
    with Session(node, opener) as mine, Session(node, other, handshake=False) as thief:
        never = everything(thief, "0123456789abcdef" * 2)
        assert {status for status, *_ in never} == {404}
        assert everything(thief, mine.session) == never
        assert works(mine), "it has not ended by that"


@pytest.mark.parametrize("session", ["", "x", "0" * 31, "0" * 33, "g" * 32, "0" * 32, "0" * 3000, "a b", "\u00e9".encode()],
                         ids=lambda session: repr(session)[:12])
def test_a_session_that_is_not_there_is_not_found(node, session):
    with Session(node, PLAIN) as client:
        client.session = session
        answer = client.post({"jsonrpc": "2.0", "id": 5, "method": "tools/list"}, {"Mcp-Session-Id": session})
        assert answer.status in ((404,) if session else (400, 404)), answer
        assert "error" in answer.said


def test_two_sessions_named_at_once_are_none(node):
    with Session(node, PLAIN) as client, Session(node, PLAIN) as other:
        fields = [("Mcp-Session-Id", client.session), ("Mcp-Session-Id", other.session)]
        client.wire.send(message("POST", "/mcp", {"jsonrpc": "2.0", "id": 5, "method": "tools/list"}, fields, PLAIN, host=client.wire.host))
        assert Answer(client.wire).status in (400, 404)


def test_a_session_ends_with_its_key(tmp_path):
    """Whoever has no longer a token has no session either."""
    with Node(tmp_path) as node, Session(node, PLAIN) as client:
        node.write_config(keys=[key for key in node.config["keys"] if key["prefix"] != PLAIN[:8]])
        node.signal(signal.SIGHUP)

        def status():
            with Session(node, PLAIN, handshake=False) as again:
                again.session = client.session
                return again.ask("tools/list").status

        wait_for(lambda: status() == 401)


# ---- their end --------------------------------------------------------------------------------------------------------

def test_delete_ends_a_session(client):
    assert works(client)
    assert client.raw("DELETE", client.own()).status in (200, 204)
    answer = client.ask("tools/list")
    assert answer.status == 404 and answer.said["id"] == client.last
    assert client.notify("notifications/initialized").status == 404
    assert client.raw("GET", {**client.own(), **STREAM}).status == 404
    assert client.raw("DELETE", client.own()).status == 404
    fresh = client.initialize().reply.header("mcp-session-id")
    assert fresh != client.session
    client.session = fresh
    assert works(client)


def test_delete_without_a_session_is_refused(node):
    with Session(node, PLAIN) as client:
        assert client.raw("DELETE", {"MCP-Protocol-Version": SESSIONS}).status in (400, 405)
        assert works(client)


def test_ten_thousand_abandoned_sessions_cost_a_table_and_harm_nobody(node):
    """They are opened and never used again; who opens them loses his own."""
    with Session(node, ADMIN) as neighbour, Session(node, PLAIN) as first, Session(node, PLAIN, handshake=False) as client, Neighbour(node):
        for _ in range(100):
            client.initialize()
        before = node.memory()
        last = None
        for _ in range(10000):
            last = client.initialize().reply.header("mcp-session-id")
        assert node.memory() - before < 4 * MIB
        client.session = last
        assert works(client), "the newest is there"
        assert works(neighbour), "those of others are there"
        assert first.ask("tools/list").status == 404, "the oldest is not"


def test_ten_thousand_strangers_sessions_do_not_end_those_of_identities(node):
    with Session(node, PLAIN) as mine, Session(node, None, handshake=False) as stranger:
        for _ in range(2000):
            assert stranger.initialize().status == 200
        assert works(mine)


def test_a_session_that_is_used_outlives_those_that_are_not(node):
    with Session(node, PEER) as used, Session(node, PEER, handshake=False) as client:
        for _ in range(30):
            for _ in range(50):
                client.initialize()
            assert works(used)


# ---- streams ----------------------------------------------------------------------------------------------------------

def test_get_is_the_stream_of_a_session(client):
    answer = client.raw("GET", {**client.own(), **STREAM})
    assert answer.status == 200 and answer.stream
    assert answer.reply.header("cache-control") and answer.reply.header("x-accel-buffering") == "no"
    with Session(client.node, PLAIN, client.version, handshake=False) as other:
        other.session = client.session
        assert works(other), "requests go on beside it"


def test_get_without_a_session_is_refused(node):
    with Session(node, PLAIN) as client:
        answer = client.raw("GET", STREAM)
        assert answer.status in (400, 405) and (answer.status != 405 or "POST" in answer.reply.header("allow"))
        assert works(client)


def test_ending_a_session_is_no_end_of_the_node(node):
    """Its stream may go on or end; the next request is refused, and nothing else has happened."""
    with Session(node, PLAIN) as client, Session(node, PLAIN, handshake=False) as other:
        assert client.raw("GET", {**client.own(), **STREAM}).status == 200
        other.session = client.session
        assert other.raw("DELETE", other.own()).status in (200, 204)
        assert other.ask("tools/list").status == 404


def test_a_thousand_streams_that_nobody_reads_are_bounded(node):
    with Session(node, PLAIN) as client, Neighbour(node):
        streams = []
        for _ in range(100):
            other = Session(node, PLAIN, handshake=False)
            other.session = client.session
            streams.append(other)
            assert other.raw("GET", {**other.own(), **STREAM}).status in (200, 409, 429, 503)
        assert works(client)
        for other in streams:
            other.wire.reset()


# ---- the other era on the same connection -----------------------------------------------------------------------------

def test_both_eras_take_turns_on_one_connection(node):
    with Session(node, PLAIN) as old, Stateless(node, PLAIN) as new:
        new.wire.close()
        new.wire = old.wire
        for _ in range(3):
            assert works(old)
            assert new.ask("server/discover").result["supportedVersions"][0] == STATELESS
            assert new.call("demo/add", {"a": 1, "b": 2}).value == {"sum": 3}
            assert old.call("demo/add", {"a": 1, "b": 2}).value == {"sum": 3}


def test_discover_is_not_of_the_session_era(client):
    assert client.ask("server/discover").error["code"] == METHOD_NOT_FOUND
    assert client.ask("subscriptions/listen", {"notifications": {}}).error["code"] == METHOD_NOT_FOUND
