"""What a reload takes away ends at once: whatever runs by the token or the peer that is gone, and nothing else."""
import contextlib
import signal
import time

import pytest

from conftest import key_for, new_token, wait_for
from rawhttp import PEER, PLAIN, Closed, message
from rawws import ERROR, RESPONDED, Socket
from test_alknetd_connect import DEPUTY, KEYS, Other, QUIET, SERVING, token_file

SOON = 2.5  # seconds: a loop on which nothing happens looks once in a second; the rest is for a busy machine
OTHERS = [key for key in KEYS if key["prefix"] != PLAIN[:8]]
ENTRY = {"peer_id": "peer-a", "auth_token_hashes": [key_for(PEER)["hash"]], "scopes": ["demo:*"], "websocket": True}
CHANGES = {
    "the key is removed": (PLAIN, {"keys": OTHERS}),
    "the prefix is another token's": (PLAIN, {"keys": [*OTHERS, key_for(PLAIN[:8] + "another token" * 2)]}),
    "the key has expired": (PLAIN, {"keys": [*OTHERS, key_for(PLAIN, expires_at="2020-01-01T00:00:00Z")]}),
    "the peer is disabled": (PEER, {"peers": [{**ENTRY, "enabled": False}]}),
    "the peer's token is another": (PEER, {"peers": [{**ENTRY, "auth_token_hashes": [key_for(new_token())["hash"]]}]}),
}


@pytest.fixture(params=CHANGES)
def taken(tmp_path, request):
    """A node, a token that it knows, and what takes it away."""
    token, change = CHANGES[request.param]
    with Other(tmp_path, **QUIET) as node:
        yield node, token, lambda: reload(node, **change)


def reload(node, **change):
    before = len(node.events("reload"))
    node.write_config(**change)
    node.signal(signal.SIGHUP)
    node.wait_event("reload", before + 1)
    assert not node.events("reload.failed")


@contextlib.contextmanager
def soon():
    start = time.monotonic()
    yield
    assert time.monotonic() - start < SOON


def test_a_body_under_way_is_refused_and_calls_nothing(taken):
    node, token, take_away = taken
    whole = message("POST", "/call", {"operation": "demo/sleep", "input": {"ms": 0}}, token=token)
    with node.wire() as wire:
        wire.begin(whole[:-10])
        take_away()
        with soon():
            reply = wire.reply()
        assert (reply.status, reply.error()["code"]) == (401, "FORBIDDEN"), reply
        with contextlib.suppress(OSError):
            wire.send(whole[-10:])
        assert wire.ended()
    assert not node.find(event="call", operation="demo/sleep")
    assert node.find(event="request.revoked")


def test_an_event_stream_ends_without_a_proper_end(taken):
    node, token, take_away = taken
    with node.wire() as wire, node.wire() as other:
        stream = wire.subscribe("demo/clock", {"interval_ms": 20}, token=token)
        stays = other.subscribe("demo/clock", {"interval_ms": 20}, token=SERVING)
        assert stream.event()
        take_away()
        with soon(), pytest.raises(Closed):
            stream.rest()
        seen = stays.event()[1]["tick"]
        assert [stays.event()[1]["tick"] for _ in range(100)] == list(range(seen + 1, seen + 101))
    assert len(node.find(event="request.revoked")) == 1
    said = wait_for(lambda: [e for e in node.find(event="call", operation="demo/clock") if e["identity"] != SERVING[:8]])
    assert [e["outcome"] for e in said] == ["aborted"]


def test_a_session_is_closed_with_1008(taken):
    node, token, take_away = taken
    with Socket(node.port, token) as socket, Socket(node.port, SERVING) as stays:
        silent = socket.request("demo/sleep", {"ms": 20000})
        socket.request("demo/clock", {"interval_ms": 20})
        assert socket.next_of("call-2")[0] == RESPONDED
        take_away()
        with soon():
            assert socket.closed() == 1008 and socket.reason == "the credential no longer resolves"
        assert RESPONDED not in [kind for kind, _ in socket.answers[silent]]
        assert stays.call("demo/echo", 1) == 1
        assert stays.call("demo/sleep", {"ms": 0})["cancelled"] == 1


def test_a_call_by_a_token_of_its_own_ends_and_its_session_goes_on(taken):
    node, token, take_away = taken
    with Socket(node.port, SERVING) as socket:
        gone = socket.request("demo/clock", {"interval_ms": 50}, auth_token=token)
        stays = socket.request("demo/clock", {"interval_ms": 50})
        assert socket.next_of(gone)[0] == socket.next_of(stays)[0] == RESPONDED
        take_away()
        with soon():
            while (said := socket.next_of(gone))[0] == RESPONDED:
                pass
        assert said == (ERROR, {"code": "FORBIDDEN", "message": "the credential has been revoked", "retryable": False})
        socket.answers[stays].clear()
        assert socket.next_of(stays)[0] == RESPONDED
        assert socket.call("demo/whoami", auth_token=token)["id"] == SERVING[:8]


def test_a_batch_starts_no_more_of_its_items(taken):
    """32 of a batch run at a time."""
    node, token, take_away = taken
    with node.wire() as wire:
        wire.begin(message("POST", "/batch", [{"operation": "demo/sleep", "input": {"ms": 20000}}] * 100, token=token))
        take_away()
        with soon():
            assert wire.reply().status == 401
    slept = node.ask("POST", "/call", {"operation": "demo/sleep", "input": {"ms": 0}}, token=SERVING).output
    assert slept["cancelled"] == 32
    assert not [e for e in node.find(event="call", operation="demo/sleep", outcome="ok") if e.get("identity") != SERVING[:8]]


def test_a_peer_that_is_dialled_is_left_and_comes_back(tmp_path):
    entry = {"peer_id": "hub", "websocket": True, "scopes": []}
    with Other(tmp_path) as hub:
        to_hub = {"url": f"ws://127.0.0.1:{hub.port}", "token_file": token_file(tmp_path, PEER), "peer": "hub"}
        with Other(tmp_path, connect=[to_hub], peers=[entry], **QUIET) as node:
            wait_for(lambda: node.has("hub", "demo/echo"))
            with node.wire() as wire:
                asked = {"operation": "peers/call", "input": {"peer": "hub", "operation": "demo/sleep", "input": {"ms": 20000}}}
                wire.begin(message("POST", "/call", asked, token=DEPUTY))
                reload(node, peers=[{**entry, "enabled": False}])
                with soon():
                    reply = wire.reply()
                assert (reply.status, reply.error()["message"]) == (500, "connection closed")
            with soon():
                wait_for(lambda: not node.has("hub", "demo/echo"))
                assert hub.wait_event("session.close")["code"] == 1008
            assert node.through("hub", "demo/echo", 1).status == 404
            wait_for(lambda: any("hub is not known here, or disabled" in e["message"] for e in node.events("dial.failed")))
            assert len(hub.events("session.open")) == 1, "it is not dialled"
            reload(node, peers=[entry])
            wait_for(lambda: node.has("hub", "demo/echo"), seconds=10)
            assert node.through("hub", "demo/echo", 1).output == 1
