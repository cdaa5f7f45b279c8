"""Hubs that are joined over a real NATS broker: peers of one are called through another."""
import contextlib
import json
import os
import signal
import subprocess
import time

import pytest

from conftest import BIN, Daemon, key_for, new_token, wait_for
from nats_rig import Broker

ADMIN = new_token()


def keygen(path):
    return subprocess.run([BIN / "alknet", "keygen", path], check=True, capture_output=True, text=True).stdout.strip()


class Hub(Daemon):
    """One of a cluster; `prints`: the fingerprint of each hub's key, by name."""

    def __init__(self, folder, name, broker, prints, workers=1, **config):
        folder.mkdir(exist_ok=True)
        self.name = name
        peers = [{"peer_id": other, "fingerprints": [print_], "scopes": ["peers:*"], "may_forward": True}
                 for other, print_ in prints.items() if other != name]
        peers += [{"peer_id": f"spoke-{name}-{i}", "auth_token_hashes": [key_for(spoke_token(name, i))["hash"]], "scopes": [], "websocket": True}
                  for i in range(2)]
        super().__init__(folder, {
            "workers": workers, "peers": peers, "node_key": "node.key", "demo": True,
            "keys": [key_for(ADMIN, "peers:*", "demo:*", "metrics:list")],
            "peers_call": {"authority": {"label": "deputy", "scopes": ["demo:*"]}, "allow": [{"peer": "*", "operations": ["demo/*"]}]},
            "cluster": {"name": name, "nats": {"servers": [broker.url]}}, **config})
        self.tokens.append(ADMIN)

    def call(self, operation, input_=None, expect=200):
        answer = self.request("POST", "/call", {"operation": operation, "input": input_}, token=ADMIN)
        assert answer.status == expect, (answer.status, answer.body)
        return answer.json()

    def peers(self):
        return {p["peer_id"]: p for p in self.call("services/list-peers", {})["output"]["peers"]}


TOKENS = {}


def spoke_token(hub, i):
    return TOKENS.setdefault((hub, i), new_token())


class Spoke(Daemon):
    """A daemon that dials a hub and announces its demo operations."""

    def __init__(self, folder, hub, i):
        folder.mkdir(exist_ok=True)
        token = folder / "token"
        token.write_text(spoke_token(hub.name, i) + "\n")
        token.chmod(0o600)
        super().__init__(folder, {
            "peers": [{"peer_id": "hub", "auth_token_hashes": [key_for(new_token())["hash"]], "scopes": ["demo:*"], "websocket": True}],
            "connect": [{"url": f"ws://{hub.host}:{hub.port}/alknet/call", "token_file": str(token), "peer": "hub"}]})


@contextlib.contextmanager
def running(daemon):
    daemon.start()
    try:
        yield daemon
    finally:
        if daemon.proc:
            daemon.stop()


@pytest.fixture()
def cluster(tmp_path):
    names = ["a", "b", "c"]
    with contextlib.ExitStack() as stack:
        broker = stack.enter_context(Broker(tmp_path))
        prints = {}
        for name in names:
            (tmp_path / name).mkdir()
            prints[name] = keygen(tmp_path / name / "node.key").split()[0]
        hubs = {name: stack.enter_context(running(Hub(tmp_path / name, name, broker, prints, workers=2 if name == "b" else 1))) for name in names}
        spokes = {name: stack.enter_context(running(Spoke(tmp_path / f"spoke-{name}", hubs[name], 0))) for name in names}
        yield broker, hubs, spokes


def test_a_peer_of_another_hub_is_listed_and_called(cluster):
    broker, hubs, spokes = cluster
    for hub in hubs.values():
        wait_for(lambda: len([p for p in hub.peers().values() if p["operations"]]) >= 4)
    seen = hubs["a"].peers()
    assert seen["spoke-b-0"]["hub"] == "b" and "hub" not in seen["spoke-a-0"]
    assert {o["name"] for o in seen["spoke-b-0"]["operations"]} >= {"demo/echo"}
    for name, hub in hubs.items():
        for other in hubs:
            out = hub.call("peers/call", {"peer": f"spoke-{other}-0", "operation": "demo/echo", "input": {"from": name}})
            assert out["output"] == {"from": name}
