"""One budget for what remotes make a node hold: nobody takes what others need, and the process stays within it."""
import contextlib
import json
import pathlib
import socket

import pytest

import conftest
from conftest import ROOT, key_for, wait_for
from rawhttp import ADMIN, PEER, PLAIN, build_plugin, descriptors_wanted, message
from rawws import ERROR, SILENT, Fault, Socket, operation
from test_alknetd_connect import ALLOW, DEPUTY, KEYS, Other, PEERS

KIB, MIB = 1 << 10, 1 << 20
BESIDE = 64 * MIB  # of the process, beside what is counted
CROWD = [f"alk_c{n:03}" + "0123456789abcdef" * 2 for n in range(10)]
SECOND_DEPUTY = "alk_dpyA" + "9abcdef012345678" * 2


@pytest.fixture
def released(monkeypatch):
    """The memory of a process is measured without a sanitizer's part of it."""
    if "san" in pathlib.Path(conftest.ALKNETD).parts:
        monkeypatch.setattr(conftest, "ALKNETD", str(ROOT / "build/bin/alknetd"))


def node_of(folder, budget, **config):
    limits = {"message_budget": budget, "ping_ms": 0, **config.pop("limits", {})}
    return Other(folder, plugins=[build_plugin(folder)], limits=limits,
                 **{"keys": [*KEYS, key_for(ADMIN), key_for(SECOND_DEPUTY, "peers:call")], **config})


def echo(size):
    return {"operation": "demo/echo", "input": "x" * size}


def begin_body(node, size, sent, token=None, **kwargs):
    """A request whose body stops short."""
    wire = node.wire(**kwargs)
    whole = message("POST", "/call", echo(size), token=token, host=wire.host)
    wire.send(whole[:len(whole) - size + sent])
    return wire


def test_unfinished_bodies_of_strangers_keep_nobody_else_out(tmp_path):
    size = 200 * KIB
    with node_of(tmp_path, 8 * MIB) as node, contextlib.ExitStack() as open_ones:
        for _ in range(300):
            with contextlib.suppress(ConnectionError):
                open_ones.enter_context(begin_body(node, size, size - 1000))
        assert node.ask("POST", "/call", echo(size)).status == 503, "their address has its part"
        for _ in range(5):
            assert node.ask("POST", "/call", echo(size), token=PLAIN).output == "x" * size
        with node.wire(source="127.0.0.2") as other:
            assert other.ask("POST", "/call", echo(size)).status == 200
        with Socket(node.port, PLAIN) as session:
            assert session.call("demo/echo", "x" * size) == "x" * size


def test_strangers_of_many_addresses_have_a_half(tmp_path):
    size = 200 * KIB
    with node_of(tmp_path, 8 * MIB) as node, contextlib.ExitStack() as open_ones:
        for n in range(300):
            with contextlib.suppress(ConnectionError):
                open_ones.enter_context(begin_body(node, size, size - 1000, source=f"127.0.1.{n % 100 + 1}"))
        with node.wire(source="127.0.0.2") as other:
            assert other.ask("POST", "/call", echo(size)).status == 503
        for _ in range(5):
            assert node.ask("POST", "/call", echo(size), token=PLAIN).output == "x" * size


def test_a_session_waits_for_room_and_is_not_closed(tmp_path):
    keys = [key_for(PLAIN), *map(key_for, CROWD)]
    with node_of(tmp_path, 8 * MIB, keys=keys) as node, Socket(node.port, PLAIN) as session:
        holders = [begin_body(node, 950 * KIB, 940 * KIB, token) for token in CROWD[:8]]
        wait_for(lambda: node.ask("POST", "/call", echo(600 * KIB), token=CROWD[8]).status == 503)
        asked = session.request("demo/whoami", "x" * 600 * KIB)
        session.sock.settimeout(1)
        with pytest.raises(socket.timeout):
            session.next_of(asked)
        session.sock.settimeout(15)
        for wire in holders:
            wire.close()
        assert session.output(asked)["id"] == PLAIN[:8]
        assert node.ask("POST", "/call", echo(600 * KIB), token=CROWD[8]).status == 200
        assert session.call("demo/echo", 1) == 1 and not node.find(event="session.close")


def test_slow_readers_hold_no_more_than_the_budget(tmp_path, released):
    budget, size, wires, many = 32 * MIB, 2 * MIB, [], descriptors_wanted(1000)
    assert many >= 200
    with node_of(tmp_path, budget, limits={"json_values": 2 * MIB}) as node:
        for n in range(many):
            wires.append(node.wire(receive_buffer=4096, source=f"127.0.1.{n % 20 + 1}"))
            with contextlib.suppress(ConnectionError):
                wires[-1].send(message("POST", "/call", {"operation": "big/value", "input": size}, host=wires[-1].host))
        wait_for(lambda: len(node.find(event="call")) >= many, seconds=90, every=0.2)
        assert node.find(event="call", outcome="ok") and node.find(event="call", outcome="BUSY")
        for _ in range(5):
            assert len(node.ask("POST", "/call", {"operation": "big/value", "input": size}, token=PLAIN).output) == size
        assert node.memory("VmHWM") < budget + BESIDE
        for wire in wires:
            wire.close()
        assert len(node.ask("POST", "/call", {"operation": "big/value", "input": size}).output) == size


def patterns(count):
    return {f"p{n}": {"pattern": "((.)*){50}"} for n in range(count)}


@pytest.mark.parametrize("token", [PLAIN, PEER])
@pytest.mark.parametrize("in_one", [1, 40, 300, 1500])
def test_what_is_announced_is_kept_within_the_budget(tmp_path, released, token, in_one):
    """8 MiB of schemas that are longer compiled than written."""
    budget, many = 32 * MIB, {}
    schema = {"type": "object", "properties": patterns(in_one)}
    spec_bytes = len(json.dumps(operation("ui/n", None, input_schema=schema)["ui/n"][0]))
    for n in range(min(4096, 8 * MIB // spec_bytes)):
        many |= operation(f"ui/n{n}", lambda _: "me", input_schema=schema)
    with node_of(tmp_path, budget, auto_import=False) as node, Socket(node.port, token, timeout=60) as session:
        with pytest.raises(Fault) as refused:
            session.serve(many, session.request("services/announce", {}))
        assert refused.value.code == "IMPORT_FAILED"
        assert node.memory("VmHWM") < budget + BESIDE
        assert node.ask("POST", "/call", echo(100), token=ADMIN).status == 200
        assert session.call("demo/echo", 1) == 1


def test_one_caller_leaves_room_at_a_peer(tmp_path):
    """connection_calls is 1,024: an eighth is the node's own, and one caller has a half of the rest."""
    mine = {**operation("ui/feed", lambda _: SILENT, "subscription"), **operation("ui/ask", lambda _: "here")}
    calls = {"keys": [*KEYS, key_for(SECOND_DEPUTY, "peers:call")], "peers_call": {**ALLOW, "allow": [{"peer": "*", "operations": ["ui/*"]}]}}
    with Other(tmp_path, auto_import=False, peers=PEERS, **calls) as node:
        node.tokens.append(SECOND_DEPUTY)
        with Socket(node.port, PEER, lively=True) as peer, Socket(node.port, DEPUTY) as greedy, node.wire() as wire:
            peer.announce(mine)
            wait_for(lambda: node.has("peer-a", "ui/feed"))
            idents = [greedy.request("peers/subscribe", {"peer": "peer-a", "operation": "ui/feed"}) for _ in range(1024)]
            for _ in range(448):
                peer.requested("ui/feed")
            refused = [greedy.next_of(ident) for ident in idents[448:]]
            assert {(kind, said["code"]) for kind, said in refused} == {(ERROR, "BUSY")}
            assert not any(greedy.answers[ident] for ident in idents[:448])
            wire.send(message("POST", "/call", {"operation": "peers/call", "input": {"peer": "peer-a", "operation": "ui/ask"}},
                              token=SECOND_DEPUTY, host=wire.host))
            peer.answer(*peer.requested("ui/ask"), mine)
            assert wire.reply().output == "here"
            more = {**mine, **operation("ui/more", lambda _: "more")}
            peer.announce(more)
            wait_for(lambda: node.has("peer-a", "ui/more"))
