"""Hubs that are joined over a real NATS broker: peers of one are called through another, whatever happens to the hubs, to the
broker and to the network between them. Three hubs serve most of the tests, one of them with two workers; each test leaves
them as it found them, but for those that end a hub, which come last."""
import collections
import concurrent.futures
import contextlib
import itertools
import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import textwrap
import threading
import time

import pytest

from certificates import Authority
from conftest import BIN, PATIENCE, ROOT, Daemon, key_for, new_token, wait_for
from nats_rig import Broker, Network, Stranger, pause, resume
from rawhttp import Closed, build_plugin
from rawws import SILENT, Over, Socket, operation

ADMIN = new_token()
TOKENS = collections.defaultdict(new_token)  # of spokes, by their ids
NAMES = ("a", "b", "c")
GUARD = {"required_scopes": ["demo:guarded"], "required_scopes_any": None, "resource_type": None, "resource_action": None}
TEXT = (ROOT / "docs/scale.md").read_text()
# Hubs may do no more there than what the document says, and others everything.
PERMITTED = re.search(r"\{user: north.*?\}\}", TEXT, re.S)[0].replace("…", "NAME").replace("north", "NAME")
BROKER = f"""max_pending: 4MB
write_deadline: "2s"
no_auth_user: stranger
authorization {{
  users: [
    {{user: stranger, password: stranger}}
    {chr(10).join(PERMITTED.replace("NAME", name) for name in NAMES)}
  ]
}}
"""
QUIET = {"ASAN_OPTIONS": "detect_leaks=1:quarantine_size_mb=1"}  # the memory of a process is that which is in use
BUSY_HERE = {"code": "BUSY", "message": "the peer's hub cannot be reached now", "retryable": True}


def keygen(path):
    return subprocess.run([BIN / "alknet", "keygen", path], check=True, capture_output=True, text=True).stdout.strip()


class Hub(Daemon):
    """One of a cluster; `prints`: the fingerprint of each hub's key, by name."""

    def __init__(self, folder, name, nats, prints, **config):
        folder.mkdir(exist_ok=True)
        self.name, self.prints = name, prints
        super().__init__(folder, {
            "listen": [{"host": "127.0.0.1", "port": 0}, {"quic": True, "host": "127.0.0.1", "port": 0}],
            "peers": self.entries(), "node_key": "node.key",
            "keys": [key_for(ADMIN, "peers:*", "demo:*", "metrics:list")],
            "peers_call": {"authority": {"label": "deputy", "scopes": ["demo:*"]},
                           "allow": [{"peer": "*", "operations": ["demo/*", "flood/*", "t/*"]}]},
            "cluster": {"name": name, "nats": nats}, "log": {"format": "json", "level": "debug"}, **config})
        self.tokens += [ADMIN, *TOKENS.values()]

    def entries(self, without=None, scopes=()):
        hubs = [{"peer_id": name, "fingerprints": [self.prints[name]], "scopes": ["peers:list", "peers:call", *scopes], "may_forward": True}
                for name in NAMES if name in self.prints and name not in (self.name, without)]
        return hubs + [{"peer_id": spoke, "auth_token_hashes": [key_for(TOKENS[spoke])["hash"]], "scopes": ["demo:*"], "websocket": True,
                        "fingerprints": [self.prints[spoke]] if spoke in self.prints else []}
                       for spoke in (f"spoke-{self.name}-0", f"spoke-{self.name}-1", "roamer")]

    def ask(self, operation_, input_=None):
        """(status, output or error)."""
        answer = self.request("POST", "/call", {"operation": operation_, "input": input_}, token=ADMIN)
        said = answer.json()
        return answer.status, said.get("output") if answer.status == 200 else said.get("error", said)

    def through(self, peer, operation_, input_=None):
        return Hub.ask(self, "peers/call", {"peer": peer, "operation": operation_, "input": input_})

    def reaches(self, peer, operation_="demo/echo"):
        return self.through(peer, operation_, "?") == (200, "?")

    def peers(self):
        status, said = self.ask("services/list-peers", {})
        assert status == 200, said
        return {p["peer_id"]: p for p in said["peers"]}

    def sees(self, *spokes):
        """What each of them serves is known."""
        peers = self.peers()
        return all(peers.get(spoke, {}).get("operations") for spoke in spokes)

    def metrics(self):
        return {m["name"]: m["value"] for m in self.ask("metrics/list", {})[1]["metrics"] if "labels" not in m}

    def socket(self, timeout=PATIENCE):
        """A session of the one who may call."""
        return Socket(self.port, ADMIN, timeout=timeout)


class Hand:
    """A spoke of the test's own, on a thread. `counts`: how often t/count ran with that input; t/hold never answers."""

    def __init__(self, hub, peer, namespace="t"):
        self.counts, self.held = collections.Counter(), []
        self.operations = {**operation(f"{namespace}/count", self.count, "mutation"), **operation(f"{namespace}/hold", self.hold),
                           **operation(f"{namespace}/guarded", self.count, access_control=GUARD),
                           **(operation("t/roam", self.count) if peer == "roamer" else {})}
        self.socket = Socket(hub.port, TOKENS[peer], timeout=600)
        self.socket.announce(self.operations)
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def count(self, value):
        self.counts[value] += 1
        return value

    def hold(self, value):
        self.held.append(value)
        return SILENT

    def serve(self):
        with contextlib.suppress(Closed, Over, OSError, ValueError):
            while True:
                while self.socket.requests:
                    self.socket.answer(*self.socket.requests.popleft(), self.operations)
                self.socket.pull()
        self.socket.close()

    def close(self):
        with contextlib.suppress(OSError):
            self.socket.sock.shutdown(socket.SHUT_RDWR)
        self.thread.join(PATIENCE)


class Spoke(Daemon):
    """A daemon that dials a hub over QUIC and announces its demo operations."""

    def __init__(self, folder, hub):
        port, print_ = hub.wait_event("listening", 2)["port"], hub.prints[hub.name]
        super().__init__(folder, {
            "node_key": "node.key",
            "peers": [{"peer_id": "hub", "fingerprints": [print_], "scopes": ["demo:*"], "may_forward": True}],
            "log": {"format": "json", "level": "debug"}, "plugins": [build_plugin(folder)],
            "connect": [{"url": f"alknet://127.0.0.1:{port}#{print_}", "peer": "hub"}]})


@contextlib.contextmanager
def running(daemon, **kwargs):
    daemon.start(**kwargs)
    try:
        yield daemon
    finally:
        if daemon.proc:
            daemon.stop()


class Cluster:
    """hubs, and spoke-a-0 … by which each is known: an alknetd at b, the test's own hands elsewhere."""

    def __init__(self, folder, stack):
        self.folder, self.stack = folder, stack
        self.broker = stack.enter_context(Broker(folder, BROKER))
        self.network = stack.enter_context(Network(self.broker))
        self.prints = {}
        for name in (*NAMES, "spoke-b-0"):
            (folder / name).mkdir()
            self.prints[name] = keygen(folder / name / "node.key").split()[0]
        self.hubs = {}
        for name in NAMES:
            hub = Hub(folder / name, name, self.nats(name), self.prints, workers=2 if name == "b" else 1)
            self.hubs[name] = stack.enter_context(running(hub, env=QUIET))
        self.spoke = stack.enter_context(running(Spoke(folder / "spoke-b-0", self.hubs["b"])))
        self.hands = {f"spoke-{name}-1": self.hand(hub, f"spoke-{name}-1") for name, hub in self.hubs.items()}
        self.wait_whole()

    def nats(self, name):
        password = self.folder / f"password-{name}"
        password.write_text(name + "\n")
        password.chmod(0o600)
        return {"servers": [self.network.url], "user": name, "password_file": str(password)}

    def hand(self, hub, peer):
        hand = Hand(hub, peer)
        self.stack.callback(hand.close)
        return hand

    def wait_whole(self, names=NAMES):
        """Each hub knows all spokes of the others, and reaches them."""
        spokes = [f"spoke-{name}-1" for name in names] + ["spoke-b-0"] * ("b" in names)
        for name in names:
            wait_for(lambda name=name: self.hubs[name].sees(*spokes), every=0.05)
            for other in names:
                wait_for(lambda name=name, other=other: self.hubs[name].through(f"spoke-{other}-1", "t/count", -1)[0] == 200,
                         every=0.05)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    with contextlib.ExitStack() as stack:
        yield Cluster(tmp_path_factory.mktemp("cluster"), stack)


def together(function, inputs, threads=8):
    with concurrent.futures.ThreadPoolExecutor(threads) as pool:
        return list(pool.map(function, inputs))


def later(function, *args):
    """Runs beside the test; `.result(seconds)` is what came of it."""
    future = concurrent.futures.Future()

    def run():
        try:
            future.set_result(function(*args))
        except BaseException as failed:  # pylint: disable=broad-except
            future.set_exception(failed)

    threading.Thread(target=run, daemon=True).start()
    return future


# ---- what goes through ------------------------------------------------------------------------------------------------

def test_a_peer_of_another_hub_is_listed_and_called(cluster):
    for name, hub in cluster.hubs.items():
        seen = hub.peers()
        for other in NAMES:
            assert seen[f"spoke-{other}-1"].get("hub") == (None if other == name else other)
            assert {o["name"] for o in seen[f"spoke-{other}-1"]["operations"]} == {"t/count", "t/guarded", "t/hold"}
            assert hub.through(f"spoke-{other}-1", "t/count", name) == (200, name)
    assert {h for hand in cluster.hands.values() for h in hand.counts} >= set(NAMES)


def test_the_program_shows_at_which_hub_a_peer_is(cluster):
    hub = cluster.hubs["a"]

    def alknet(*args):
        return subprocess.run([BIN / "alknet", "-u", hub.url, *args], env={**os.environ, "ALKNET_TOKEN": ADMIN}, check=True,
                              capture_output=True, text=True, timeout=PATIENCE).stdout

    rows = dict(line.split(maxsplit=1) for line in alknet("peers", "-o", "pretty").splitlines())
    assert rows["spoke-b-1"] == "3 operations, at hub b" and rows["spoke-a-1"] == "3 operations", rows
    for command in ("peers", "ls"):
        listed = {p["peer_id"]: p for p in json.loads(alknet(command, "-o", "json"))["peers"]}
        assert listed["spoke-c-1"]["hub"] == "c" and "hub" not in listed["spoke-a-1"]
        assert [o["name"] for o in listed["spoke-c-1"]["operations"]] == ["t/count", "t/guarded", "t/hold"]
    assert json.loads(alknet("describe", "--peer", "spoke-c-1", "t/guarded"))["access_control"]["required_scopes"] == ["demo:guarded"]
    assert json.loads(alknet("call", "--any-peer", "flood/counters"))["emitted"] >= 0


def test_the_caller_is_named_at_the_other_hub_and_the_hub_at_the_spoke(cluster):
    a, b = cluster.hubs["a"], cluster.hubs["b"]
    assert a.through("spoke-b-0", "demo/whoami") == (200, {"id": "hub", "scopes": ["demo:*"], "resources": {}})
    at_hub = wait_for(lambda: [e for e in b.events("call") if e.get("identity") == "a" and e.get("claim")])[-1]
    assert json.loads(at_hub["claim"])["id"] == ADMIN[:8] and at_hub["operation"] in ("peers/call", "cluster/operations")
    at_spoke = wait_for(lambda: [e for e in cluster.spoke.events("call") if e.get("operation") == "demo/whoami"])[-1]
    assert json.loads(at_spoke["claim"])["id"] == "a"


def test_what_a_hub_may_call_is_decided_at_the_other_one_again(cluster):
    """By the scopes that its entry has there, and at once when these change. The caller's do not count there."""
    a, b = cluster.hubs["a"], cluster.hubs["b"]
    hidden = (404, {"code": "NOT_FOUND", "message": "operation not found: t/guarded", "retryable": False})
    assert a.through("spoke-a-1", "t/guarded", 1) == (200, 1)
    assert a.through("spoke-b-1", "t/guarded", 1) == hidden
    for entries, said in ((b.entries(scopes=["demo:guarded"]), (200, 1)), (b.entries(), hidden)):
        b.write_config(peers=entries)
        b.signal(signal.SIGHUP)
        wait_for(lambda said=said: a.through("spoke-b-1", "t/guarded", 1) == said)


def test_an_abort_ends_the_call_at_the_spoke(cluster):
    for hub, spoke in (("a", "b"), ("b", "c")):
        hand = cluster.hands[f"spoke-{spoke}-1"]
        with cluster.hubs[hub].socket() as session:
            ident = session.request("peers/call", {"peer": f"spoke-{spoke}-1", "operation": "t/hold", "input": "abort"})
            wait_for(lambda hand=hand: "abort" in hand.held)
            before = len(hand.socket.aborts)
            session.abort(ident)
            wait_for(lambda hand=hand, before=before: len(hand.socket.aborts) > before)


def test_a_subscriber_that_does_not_read_holds_the_spoke_back_and_nobody_else(cluster):
    a = cluster.hubs["a"]
    with Socket(a.port, ADMIN, timeout=PATIENCE, receive_buffer=4096) as slow:
        flood = slow.request("peers/subscribe", {"peer": "spoke-b-0", "operation": "flood/values", "input": [20000, 10**8]})
        assert slow.output(flood)["n"] == 0
        counters = [{}]

        def stalled():
            assert a.through("spoke-b-1", "t/count", 0) == (200, 0)
            counters.append(a.through("spoke-b-0", "flood/counters")[1])
            return counters[-1] == counters[-2] and counters[-1]["stalls"]

        wait_for(stalled, every=0.3)
        assert counters[-1]["emitted"] * 20000 < 24 << 20
        slow.hurry()
        for n in range(1, counters[-1]["emitted"] + 100):
            assert slow.output(flood)["n"] == n
        slow.abort(flood)
    wait_for(lambda: a.through("spoke-b-0", "flood/counters")[1]["running"] == 0)


def test_what_is_larger_than_the_broker_carries_ends_that_call_alone(cluster):
    a, hand = cluster.hubs["a"], cluster.hands["spoke-b-1"]
    held = later(a.through, "spoke-b-1", "t/hold", "beside")
    wait_for(lambda: "beside" in hand.held)
    large = "x" * 1100000
    assert a.through("spoke-b-1", "t/count", large[:1000000]) == (200, large[:1000000])
    assert a.through("spoke-b-1", "t/count", large) == (
        422, {"code": "INVALID_INPUT", "message": "too large or too deep for the remote", "retryable": False})
    hand.operations["t/hold"] = (hand.operations["t/hold"][0], lambda value: large)
    assert a.through("spoke-b-1", "t/hold") == (500, {"code": "INTERNAL", "message": "output too large", "retryable": False})
    hand.operations["t/hold"] = (hand.operations["t/hold"][0], hand.hold)
    assert not held.done()


# ---- the network between ----------------------------------------------------------------------------------------------

def ended_well(said):
    """A call that has gone wrong says so in one of these two ways."""
    status, error = said
    return status == 200 or (status == 503 and error == BUSY_HERE) or (
        status == 500 and error == {"code": "INTERNAL", "message": "connection closed", "retryable": False})


def test_what_the_network_does_to_messages_loses_no_call_silently_and_repeats_none(cluster):
    a, network, hand = cluster.hubs["a"], cluster.network, cluster.hands["spoke-b-1"]
    chance, over = random.Random(4), threading.Event()
    numbers = itertools.count(1000)
    said = {}

    def call_on():
        while not over.is_set():
            n = next(numbers)
            start = time.monotonic()
            said[n] = *a.through("spoke-b-1", "t/count", n), time.monotonic() - start

    callers = [later(call_on) for _ in range(6)]
    whats = [network.drop, network.duplicate, network.swap, lambda subject, **kw: network.delay(subject, 0.05, **kw)]
    rules = []
    for round_ in range(12):
        rules.append(whats[round_ % 4]("alknet.pair.*", count=1, skip=chance.randrange(6)))
        with contextlib.suppress(AssertionError):
            wait_for(lambda: rules[-1].hits, 3)
        time.sleep(0.2)
    network.heal()
    over.set()
    for caller in callers:
        caller.result(PATIENCE)
    assert sum(rule.hits for rule in rules) >= 10
    assert all(ended_well(answer[:2]) and answer[2] < 5 for answer in said.values()), [x for x in said.values() if not ended_well(x[:2])][:3]
    assert {status for status, _, _ in said.values()} >= {200, 500}
    assert [e for hub in cluster.hubs.values() for e in hub.events("cluster.apart") if e["message"].endswith(": a message is missing")]
    for n, (status, _, _) in said.items():
        assert hand.counts[n] <= 1 and (hand.counts[n] or status != 200), n
    cluster.wait_whole()


def test_a_hub_that_stands_still_is_given_up_within_two_seconds_and_comes_back(cluster):
    """And however much is sent to it meanwhile, it is no slow consumer of the broker's, since hubs give each other credit."""
    a, b, hand = cluster.hubs["a"], cluster.hubs["b"], cluster.hands["spoke-b-1"]
    held = later(a.through, "spoke-b-1", "t/hold", "still")
    wait_for(lambda: "still" in hand.held)
    b.signal(signal.SIGSTOP)
    try:
        start = time.monotonic()
        said = together(lambda n: a.through("spoke-b-1", "t/count", f"{n}" + "x" * 60000), range(30), 30)
        took = time.monotonic() - start
        assert held.result(PATIENCE)[0] == 500
        assert not [answer for answer in said if answer[0] == 200 or not ended_well(answer)]
        assert a.reaches("spoke-c-1", "t/count") and took < 6
        assert a.events("cluster.apart")[-1]["message"] == "b: nothing was heard of the other hub"
    finally:
        b.signal(signal.SIGCONT)
    cluster.wait_whole()
    assert "Slow Consumer" not in (cluster.broker.folder / "log").read_text()


def test_a_broker_that_goes_is_noticed_by_calls_to_other_hubs_alone(cluster):
    a, hand = cluster.hubs["a"], cluster.hands["spoke-a-1"]
    logs = {name: len(hub.log_lines()) for name, hub in cluster.hubs.items()}
    with a.socket() as session:
        local = session.request("peers/call", {"peer": "spoke-a-1", "operation": "t/hold", "input": "local"})
        far = session.request("peers/call", {"peer": "spoke-b-1", "operation": "t/hold", "input": "far"})
        wait_for(lambda: "local" in hand.held and "far" in cluster.hands["spoke-b-1"].held)
        cluster.broker.kill()
        start = time.monotonic()
        kind, fault = session.next_of(far)
        assert kind == "call.error" and fault == {"code": "INTERNAL", "message": "connection closed", "retryable": False}
        assert time.monotonic() - start < 2
        for hub in cluster.hubs.values():
            wait_for(lambda hub=hub: not hub.metrics().get("cluster_bus_up", 0))
            for other in NAMES:
                assert hub.through(f"spoke-{other}-1", "t/count", 0) == ((200, 0) if other == hub.name else (503, BUSY_HERE))
            assert hub.peers()["spoke-c-1"].get("hub") == (None if hub.name == "c" else "c")
        cluster.broker.start()
        cluster.wait_whole()
        assert not session.answers[local]
    for name, hub in cluster.hubs.items():
        events = {(e["event"], e.get("identity", "").startswith("spoke-")) for e in hub.log_lines()[logs[name]:]}
        assert events >= {("cluster.down", False), ("cluster.up", False), ("connection.close", False)}
        assert not events & {("connection.close", True), ("session.close", True)}


def test_a_broker_that_stands_still_is_as_one_that_is_gone(cluster):
    a, hand = cluster.hubs["a"], cluster.hands["spoke-b-1"]
    held = later(a.through, "spoke-b-1", "t/hold", "stands")
    wait_for(lambda: "stands" in hand.held)
    pause(cluster.broker)
    try:
        assert held.result(2.5) == (500, {"code": "INTERNAL", "message": "connection closed", "retryable": False})
        assert a.through("spoke-b-1", "t/count", 0) == (503, BUSY_HERE) and a.reaches("spoke-a-1", "t/count")
    finally:
        resume(cluster.broker)
    cluster.wait_whole()


# ---- somebody else at the broker --------------------------------------------------------------------------------------

def said_by(key, **said):
    """What the holder of that file announces: a signature, the key, and JSON."""
    text = json.dumps(said)
    with tempfile.NamedTemporaryFile("w") as file:
        file.write(text)
        file.flush()
        signature = subprocess.run(["openssl", "pkeyutl", "-sign", "-rawin", "-inkey", key, "-in", file.name], check=True, capture_output=True).stdout
    public = subprocess.run(["openssl", "pkey", "-in", key, "-pubout", "-outform", "DER"], check=True, capture_output=True).stdout
    return signature + public[-32:] + text.encode()


def test_a_stranger_at_the_broker_moves_nothing(cluster):
    hubs, network = cluster.hubs, cluster.network
    before = {name: hub.peers() for name, hub in hubs.items()}
    pairs = {name: len(hub.events("connection.open")) for name, hub in hubs.items()}
    mine = cluster.folder / "stranger.key"
    keygen(mine)
    with Stranger(cluster.broker) as stranger:
        recorded = []
        for kind in ("announce", "ask", "state", "hub", "pair"):
            of_kind = [(subject, data) for subject, data in network.seen if subject.startswith(f"alknet.{kind}")][-500:]
            assert of_kind, kind
            recorded += of_kind
        for subject, data in recorded:
            stranger.publish(subject, data)
            bit = random.Random(len(data)).randrange(8 * len(data))
            changed = bytearray(data)
            changed[bit // 8] ^= 1 << bit % 8
            stranger.publish(subject, bytes(changed))
        for hub in ("b", "a", "x"):
            for kind, more in (("beat", {}), ("change", {"from": 0, "peers": [["mine", "0" * 32]], "gone": ["spoke-b-1"]}), ("leave", {}),
                               ("state", {"to": "a", "nonce": "0" * 32, "part": 0, "parts": 1, "peers": []})):
                said = said_by(mine, kind=kind, hub=hub, boot="0" * 32, age_ms=10**9, said=10**6, version=1, **more)
                stranger.publish("alknet.announce", said)
                stranger.publish("alknet.state.a", said)
        for garbage in (b"", b"\0", b"{}", b"x" * 97, b"\1" * 300, b"[" * 60000, os.urandom(65537)):
            for subject in {subject for subject, _ in recorded[-50:]} | {"alknet.announce", "alknet.hub.a", "alknet.state.a"}:
                stranger.publish(subject, garbage)
        stranger.flush()
    for name, hub in hubs.items():
        wait_for(lambda hub=hub: hub.metrics()["cluster_messages_dropped_total"] > 20)
        assert hub.peers() == before[name]
        assert all(hub.reaches(f"spoke-{other}-1", "t/count") for other in NAMES)
    for name, hub in hubs.items():
        assert len(hub.events("connection.open")) == pairs[name], "no pair was replaced"


def test_who_says_many_openings_keeps_no_hub_from_opening(cluster):
    """In the names and with the keys of two hubs, while their connection is lost and opened anew."""
    a, b, over = cluster.hubs["a"], cluster.hubs["b"], threading.Event()

    def opening(name, other):
        key = bytes.fromhex(cluster.prints[name].removeprefix("ed25519:"))
        names = b"".join(bytes([len(n)]) + n.encode() for n in (name, other))
        return b"\1\1" + names + key + os.urandom(32 + 32 + 16) + 2 * (1 << 20).to_bytes(4, "big")

    def flood():
        with Stranger(cluster.broker) as stranger:
            while not over.is_set():
                stranger.publish("alknet.hub.a", opening("b", "a"))
                stranger.publish("alknet.hub.b", opening("a", "b"))
                stranger.flush()
                time.sleep(0.008)

    flooding = later(flood)
    b.signal(signal.SIGSTOP)
    time.sleep(2)
    b.signal(signal.SIGCONT)
    wait_for(lambda: a.events("cluster.apart")[-1]["message"].startswith("b: "))
    wait_for(lambda: a.reaches("spoke-b-1", "t/count"), 10)
    over.set()
    flooding.result(PATIENCE)
    cluster.wait_whole()


def test_a_flood_by_a_stranger_costs_no_memory_and_holds_nobody_up(cluster):
    a, over, slowest = cluster.hubs["a"], threading.Event(), [0]
    pair = next(subject for subject, _ in reversed(cluster.network.seen) if subject.startswith("alknet.pair.a."))
    open_ = next(data for subject, data in reversed(cluster.network.seen) if subject.startswith("alknet.hub.a"))
    resident = a.metrics()["process_resident_memory_bytes"]

    def call_on():
        while not over.is_set():
            start = time.monotonic()
            assert a.through("spoke-a-1", "t/count", 0) == (200, 0)
            said = a.through("spoke-b-1", "t/count", 0)
            assert ended_well(said), said
            slowest[0] = max(slowest[0], time.monotonic() - start)

    caller = later(call_on)
    with Stranger(cluster.broker) as stranger:
        for n in range(4000):
            for subject in ("alknet.announce", "alknet.ask.a", "alknet.state.a", pair):
                stranger.publish(subject, os.urandom(200))
            stranger.publish("alknet.hub.a", open_[:-40] + n.to_bytes(4, "big") + open_[-36:])
            if n % 100 == 0:
                stranger.flush()
        for _ in range(200):
            stranger.publish("alknet.announce", os.urandom(60000))
            stranger.publish(pair, os.urandom(900000) if _ < 20 else b"x")
        stranger.flush()
    over.set()
    caller.result(PATIENCE)
    assert slowest[0] < 5
    assert a.metrics()["process_resident_memory_bytes"] - resident < 64 << 20
    cluster.wait_whole()


def test_hubs_that_the_broker_cuts_off_as_slow_consumers_come_back(cluster):
    """What a stranger sends to hubs that read nothing piles up at the broker, which ends their connections."""
    log = cluster.broker.folder / "log"
    cluster.network.stalled = True
    with Stranger(cluster.broker) as stranger:
        def piled():
            for _ in range(20):
                stranger.publish("alknet.announce", os.urandom(60000))
            stranger.flush()
            return log.read_text().count("Slow Consumer") >= len(NAMES)

        wait_for(piled)
    cluster.network.heal()
    cluster.wait_whole()


# ---- what hubs are to each other --------------------------------------------------------------------------------------

def test_a_second_hub_of_a_name_refuses_to_join_and_serves_its_own(cluster):
    folder = cluster.folder / "second"
    folder.mkdir()
    shutil.copy(cluster.folder / "a" / "node.key", folder / "node.key")
    before = cluster.hubs["b"].peers()
    with running(Hub(folder, "a", cluster.nats("a"), cluster.prints)) as second:
        assert second.wait_event("cluster.refused")["message"] == "another hub has this name"
        hand = Hand(second, "spoke-a-0")
        try:
            assert second.through("spoke-a-0", "t/count", 1) == (200, 1)
            assert second.peers().keys() == {"local", "spoke-a-0"}
        finally:
            hand.close()
        assert cluster.hubs["b"].peers() == before
    cluster.wait_whole()
    assert not [e for hub in cluster.hubs.values() for e in hub.events("cluster.refused") if e["message"] == "another hub has this name"]


def test_a_peer_that_moves_to_another_hub_is_found_there_and_one_at_both_is_reached_at_either(cluster):
    a, b, c = cluster.hubs.values()
    at_b = cluster.hand(b, "roamer")
    wait_for(lambda: a.peers().get("roamer", {}).get("hub") == "b" and a.sees("roamer"))
    assert a.through("roamer", "t/count", 1) == (200, 1) and at_b.counts[1] == 1
    at_c = cluster.hand(c, "roamer")
    wait_for(lambda: c.peers()["roamer"].get("hub") is None and c.sees("roamer"))
    assert c.through("roamer", "t/count", 2) == (200, 2) and at_c.counts[2] == 1
    at_b.close()
    wait_for(lambda: a.peers()["roamer"].get("hub") == "c")
    assert a.through("roamer", "t/count", 3) == (200, 3) and at_c.counts[3] == 1
    at_c.close()
    wait_for(lambda: "roamer" not in a.peers() and "roamer" not in b.peers())
    assert a.through("roamer", "t/count", 4)[0] == 404


def test_a_hub_whose_entry_goes_is_cut_off_and_comes_back_with_it(cluster):
    a, b = cluster.hubs["a"], cluster.hubs["b"]
    held = later(a.through, "spoke-b-1", "t/hold", "cut")
    wait_for(lambda: "cut" in cluster.hands["spoke-b-1"].held)
    a.write_config(peers=a.entries(without="b"))
    a.signal(signal.SIGHUP)
    assert held.result(2) == (500, {"code": "INTERNAL", "message": "connection closed", "retryable": False})
    wait_for(lambda: not [p for p in a.peers().values() if p.get("hub") == "b"])
    assert a.through("spoke-b-1", "t/count", 0)[0] == 404 and a.reaches("spoke-c-1", "t/count")
    start = time.monotonic()
    assert b.through("spoke-a-1", "t/count", 0) == (503, BUSY_HERE) and time.monotonic() - start < 5
    wait_for(lambda: [e for e in a.events("cluster.refused") if e["message"].startswith("b: ")])  # once a minute
    wait_for(lambda: a.metrics()["cluster_openings_refused_total"])
    a.write_config(peers=a.entries())
    a.signal(signal.SIGHUP)
    cluster.wait_whole()


# ---- the end of a hub: in this order ----------------------------------------------------------------------------------

def test_the_numbers_of_the_cluster(cluster):
    a = cluster.hubs["a"]
    cluster.wait_whole()
    names = ("cluster_bus_up", "cluster_hubs", "cluster_peers", "cluster_pairs")
    wait_for(lambda: [a.metrics()[name] for name in names] == [1, 2, 3, 2], every=0.1)
    numbers = a.metrics()
    assert numbers["cluster_messages_dropped_total"] and numbers["cluster_pairs_lost_total"]
    assert 0 < numbers["cluster_lag_seconds"] < 1.75 and 0 <= numbers["cluster_under_way_bytes"] < 1 << 20


def test_a_drain_ends_no_call_that_runs_through_the_hub(cluster):
    a, b, c = cluster.hubs.values()
    running_calls = [later(hub.through, "spoke-b-0", "demo/sleep", {"ms": 1500}) for hub in (a, c)]
    wait_for(lambda: a.through("spoke-b-0", "demo/sleep", {"ms": 0})[0] == 200)
    time.sleep(0.3)
    b.signal(signal.SIGTERM)
    said = [call.result(PATIENCE) for call in running_calls]
    assert [status for status, _ in said] == [200, 200], said
    b.ended()
    for hub in (a, c):
        wait_for(lambda hub=hub: not [p for p in hub.peers().values() if p.get("hub") == "b"], 2)
        assert hub.through("spoke-b-1", "t/count", 0)[0] == 404
    assert a.reaches("spoke-c-1", "t/count") and c.reaches("spoke-a-1", "t/count")


def test_a_hub_that_starts_again_is_one_of_them_again(cluster):
    cluster.hubs["b"].start(env=QUIET)
    cluster.hands["spoke-b-1"] = cluster.hand(cluster.hubs["b"], "spoke-b-1")
    for hub in cluster.hubs.values():
        wait_for(lambda hub=hub: hub.sees("spoke-b-1") and hub.reaches("spoke-b-1", "t/count"), every=0.05)


def test_a_reload_leaves_one_cluster_and_joins_another(cluster):
    a, b = cluster.hubs["a"], cluster.hubs["b"]
    wait_for(lambda: "spoke-a-1" in b.peers() and "spoke-b-1" in a.peers())
    before = json.loads(json.dumps(a.config["cluster"]))
    joined = len(a.events("cluster.joined"))
    a.write_config(cluster={**before, "prefix": "elsewhere"})
    a.signal(signal.SIGHUP)
    wait_for(lambda: "spoke-a-1" not in b.peers() and "spoke-b-1" not in a.peers())
    assert a.reaches("spoke-a-1", "t/count")
    a.wait_event("cluster.joined", joined + 1)
    a.write_config(cluster=before)
    a.signal(signal.SIGHUP)
    wait_for(lambda: "spoke-a-1" in b.peers() and "spoke-b-1" in a.peers())
    wait_for(lambda: b.reaches("spoke-a-1", "t/count"), every=0.05)
    assert not a.events("reload.partial")


@pytest.fixture(scope="module")
def killed(cluster):
    """Hub c, with calls under way, while a peer of it is at b too: (when, the calls, the peer's hands at c and b)."""
    a, b, c = cluster.hubs.values()
    hands = [cluster.hand(hub, "roamer") for hub in (c, b)]
    wait_for(lambda: all(hub.sees("roamer") for hub in (a, b, c)))
    calls = [later(a.through, "spoke-c-1", "t/hold", f"killed {n}") for n in range(5)]
    wait_for(lambda: len([h for h in cluster.hands["spoke-c-1"].held if "killed" in str(h)]) == 5)
    c.proc.kill()
    c.proc.wait()
    c.proc = None
    return time.monotonic(), calls, hands


def test_a_hub_that_is_killed_is_noticed_within_two_seconds(cluster, killed):
    a, (_, calls, (at_c, at_b)) = cluster.hubs["a"], killed
    for call in calls:
        assert call.result(2) == (500, {"code": "INTERNAL", "message": "connection closed", "retryable": False})
    said = [a.through("roamer", "t/count", n) for n in range(4)]
    assert said[1:] == [(200, 1), (200, 2), (200, 3)] and said[0] in ((200, 0), (503, BUSY_HERE)), said
    assert not at_c.counts and at_b.counts[3] == 1
    said = [a.ask("peers/call", {"operation": "t/roam", "input": "any"}) for _ in range(3)]
    assert said[1:] == [(200, "any")] * 2 and said[0] in ((200, "any"), (503, BUSY_HERE)), said
    start = time.monotonic()
    assert a.through("spoke-c-1", "t/count", 0) == (503, BUSY_HERE) and 2 < time.monotonic() - start < 4


def test_the_demonstration_shows_what_it_says(tmp_path):
    """Also in a folder where it has been before."""
    (tmp_path / "demo/alpha").mkdir(parents=True)
    (tmp_path / "demo/alpha/log").write_text("listening\ncluster.joined\n")
    done = subprocess.run([str(ROOT / "cli/alknetd/demo-cluster.sh"), str(BIN), str(tmp_path / "demo")], stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, timeout=6 * PATIENCE, check=False)
    assert done.returncode == 0 and done.stdout.endswith("demo-cluster: done\n"), done
    parts = done.stdout.split("\n# ")
    assert "berlin  8 operations, at hub beta" in parts[1] and '"id":"hub"' in parts[2]
    assert "INTERNAL: connection closed" in parts[4]
    assert not [part for part in parts[3:] if not re.search("^athens at hub alpha: [1-9][0-9]* calls answered, 0 not$", part, re.M)]
    assert not [part for part in parts[3:5] if not re.search("^bergen at hub beta: [1-9][0-9]* calls answered, 0 not$", part, re.M)]
    assert re.search("^bergen at hub beta: [0-9]+ calls answered, [1-9][0-9]* not$", parts[5], re.M)
    assert "BUSY: the peer's hub cannot be reached now" in parts[5]
    assert re.search("^bergen at hub beta: [1-9][0-9]* calls answered", parts[6], re.M)


# ---- hubs of their own ------------------------------------------------------------------------------------------------

def test_how_a_hub_proves_itself_to_the_broker_and_the_broker_to_it(tmp_path):
    authority = Authority(tmp_path)
    pair = authority.sign("broker")
    config = f"""tls {{ cert_file: "{pair.certificate}", key_file: "{pair.key}" }}
        authorization {{ users: [{{user: good, password: secret-of-good}}] }}"""
    for name, text in (("right", "secret-of-good\n"), ("wrong", "guessed\n")):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o600)
    with contextlib.ExitStack() as stack:
        broker = stack.enter_context(Broker(tmp_path, config))
        tokens = stack.enter_context(Broker(tmp_path, "authorization { token: secret-of-good }"))
        ways = {
            "tls": ({"servers": [broker.url], "user": "good", "password_file": str(tmp_path / "right"), "tls": {"ca": authority.file}}, None),
            "distrust": ({"servers": [broker.url], "user": "good", "password_file": str(tmp_path / "right"), "tls": {}}, "certificate"),
            "guess": ({"servers": [broker.url], "user": "good", "password_file": str(tmp_path / "wrong"), "tls": {"ca": authority.file}},
                      "uthorization"),
            "token": ({"servers": [tokens.url], "token_file": str(tmp_path / "right")}, None),
            "nobody": ({"servers": [tokens.url]}, "uthorization"),
        }
        hubs = {}
        for name, (nats, _) in ways.items():
            (tmp_path / name).mkdir()
            keygen(tmp_path / name / "node.key")
            hubs[name] = stack.enter_context(running(Hub(tmp_path / name, name, nats, {})))
            hubs[name].tokens.append("secret-of-good")
        for name, (_, why) in ways.items():
            if why:
                assert why in hubs[name].wait_event("cluster.down")["message"], hubs[name].events("cluster.down")
                assert not hubs[name].events("cluster.up") and hubs[name].peers().keys() == {"local"}
            else:
                hubs[name].wait_event("cluster.up")


# ---- docs/scale.md ----------------------------------------------------------------------------------------------------

def test_the_limits_of_the_document_are_those_of_the_code():
    code = "".join(file.read_text() for file in [*ROOT.glob("lib/adapt/cluster*.h"), ROOT / "lib/uv/nats.h"])
    units = {"KiB": 1024, "MiB": 1 << 20, "s": 1000}  # milliseconds
    limits = TEXT[TEXT.index("## Limits"):]
    rows = re.findall(r"([\d.,]+) ?(\w*) \(`([A-Z_]+)`\)", limits)
    assert len(rows) == len(re.findall(r"`[A-Z_]+`", limits)) > 12
    for number, unit, name in rows:
        means = re.search(rf"^#define {name} (.*?) *(/\*.*)?$", code, re.M)[1]
        value = eval(re.sub(r"\b(\d+)u\b", r"\1", means), {"SECOND": 1000, "MILLI": 1})  # pylint: disable=eval-used
        assert value == float(number.replace(",", "")) * units.get(unit, 1), (number, unit, name, means)


def test_the_hubs_of_the_document_work_as_they_stand_there(tmp_path):
    keys, north, south = (textwrap.dedent(text) for text in re.findall(r"^   ```(?:sh|yaml)\n(.*?)^   ```", TEXT, re.S | re.M))
    prints = {}
    for line in keys.splitlines():
        program, command, file = line.split()[:3]
        assert (program, command) == ("alknet", "keygen")
        prints[file] = keygen(tmp_path / file)
    assert north == south.replace("south", "SOUTH").replace("north", "south").replace("SOUTH", "north")
    with contextlib.ExitStack() as stack:
        broker = stack.enter_context(Broker(tmp_path))
        hubs = {}
        for name, text in (("north", north), ("south", south)):
            text = re.sub(r"ed25519:…(.*# of (\w+\.key))", lambda m: prints[m[2]] + m[1], text)
            text = text.replace("nats://broker.example:4222", broker.url)
            text = text.replace('{quic: true, host: "::", port: 4780}', "{host: 127.0.0.1, port: 0}\n  - {quic: true, host: 127.0.0.1, port: 0}")
            text = text.replace("peers:\n", f"peers:\n  - {{peer_id: spoke-{name}, auth_token_hashes: [{key_for(TOKENS[f'spoke-{name}'])['hash']}], "
                                            "scopes: [\"demo:*\"], websocket: true}\n")
            hub = Daemon(tmp_path, name=f"{name}.yaml")
            hub.log_path = tmp_path / f"{name}.log"
            hub.config_path.write_text(text + f"keys: {json.dumps([key_for(ADMIN, 'peers:*', 'demo:*')])}\nlog: {{format: json}}\ndemo: true\n")
            hubs[name] = stack.enter_context(running(hub))
            stack.callback(Hand(hub, f"spoke-{name}", "demo").close)
        for hub in hubs.values():
            hub.wait_event("cluster.joined")
            for name in hubs:
                wait_for(lambda hub=hub, name=name: Hub.through(hub, f"spoke-{name}", "demo/guarded", 1) == (200, 1), every=0.05)


# ---- the last word on the hub that was killed, which takes its time ---------------------------------------------------

def test_a_hub_that_was_killed_is_forgotten_within_thirty_seconds(cluster, killed):
    a = cluster.hubs["a"]

    def gone():
        assert a.reaches("spoke-a-1", "t/count")
        return "spoke-c-1" not in a.peers()

    wait_for(gone, 40, every=0.2)
    assert 15 < time.monotonic() - killed[0] < 60
    assert a.through("spoke-c-1", "t/count", 0)[0] == 404
