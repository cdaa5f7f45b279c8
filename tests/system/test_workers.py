"""alknetd with several workers: peers and sessions are on whichever of them has accepted their connection, and are called from
all of them, as if there were one.
"""
import contextlib
import http.client
import json
import signal
import threading

import pytest

from conftest import PATIENCE, key_for, new_token, wait_for
from rawhttp import PEER, Closed
from rawws import SILENT, Fault, Over, Socket, operation
from test_alknet_cli import OK
from test_alknet_cli import double, home  # pylint: disable=unused-import
from test_alknet_peers import CLEAR_AND_TLS, Network
from test_alknetd_connect import DEPUTY, PEERS, Other, token_file
from test_metrics import Scrape

SPOKES = 6
TOKENS = [new_token() for _ in range(SPOKES)]
ENTRIES = [{"peer_id": f"p{n}", "auth_token_hashes": [key_for(token)["hash"]], "scopes": [], "websocket": True}
           for n, token in enumerate(TOKENS)]
MANY = 24  # connections: the kernel spreads them over the workers


class Workers(Other):
    """Three workers, and the peers p0 to p5."""

    def __init__(self, folder, **config):
        super().__init__(folder, **{"workers": 3, "peers": ENTRIES, "metrics": {"listen": {"port": 0}}, **config})
        self.tokens += TOKENS
        self.metrics_port = self.wait_event("metrics.listening")["port"]

    def scrape(self):
        connection = http.client.HTTPConnection("127.0.0.1", self.metrics_port, timeout=PATIENCE)
        with contextlib.closing(connection):
            connection.request("GET", "/metrics")
            return Scrape(connection.getresponse().read().decode())

    def crossed(self):
        return self.scrape()["calls_started_total kind=crossed"]


class Spoke:
    """Serves ui/who, ui/echo, ui/silent and ui/refuse on a session of its own, until it is told to stop or loses it."""

    def __init__(self, node, n):
        self.n, self.asked, self.over = n, [], None
        self.socket = Socket(node.port, TOKENS[n], timeout=0.2)
        self.stopping = threading.Event()

        def refuse(value):
            raise Fault("REFUSED", f"by p{n}", True, {"value": value})
        self.operations = {**operation("ui/who", lambda _: f"p{n}"), **operation("ui/echo", lambda value: value),
                           **operation("ui/silent", lambda _: SILENT), **operation("ui/refuse", refuse)}
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        try:
            self.socket.request("services/announce", {})
            while not self.stopping.is_set():
                with contextlib.suppress(TimeoutError):
                    while not self.socket.requests:
                        self.socket.pull()
                if self.socket.requests:
                    ident, payload = self.socket.requests.popleft()
                    self.asked.append(payload)
                    self.socket.answer(ident, payload, self.operations)
        except (Over, Closed, OSError) as over:
            self.over = over

    def stop(self):
        self.stopping.set()
        self.thread.join(PATIENCE)
        assert not self.thread.is_alive()
        self.socket.close()

    def aborted(self):
        return len(self.socket.aborts)


@pytest.fixture(name="node")
def node_of_three(tmp_path):
    with Workers(tmp_path) as node:
        yield node


@contextlib.contextmanager
def spokes_of(node):
    spokes = [Spoke(node, n) for n in range(SPOKES)]
    try:
        wait_for(lambda: all(node.has(f"p{n}", "ui/refuse") for n in range(SPOKES)))
        yield spokes
    finally:
        for spoke in spokes:
            spoke.stop()


@pytest.fixture(name="spokes")
def spokes_there(node):
    with spokes_of(node) as spokes:
        yield spokes


def body(peer, name, value=None, deputy="peers/call"):
    return {"operation": deputy, "input": {"peer": peer, "operation": name, "input": value}}


def test_peers_are_reached_from_every_worker(node, spokes):  # pylint: disable=unused-argument
    """On connections of their own; and more than half of the calls must have crossed."""
    for n in range(MANY):
        peer = f"p{n % SPOKES}"
        with node.wire() as wire:
            assert wire.ask("POST", "/call", body(peer, "ui/who"), token=DEPUTY).output == peer
            assert wire.ask("POST", "/call", body(peer, "ui/echo", [n, {"a": "x" * 100000}]), token=DEPUTY).output == [
                n, {"a": "x" * 100000}]
            refused = wire.ask("POST", "/call", body(peer, "ui/refuse", n), token=DEPUTY).error()
            assert refused == {"code": "REFUSED", "message": f"by {peer}", "retryable": True, "details": {"value": n}}
            listed = wire.ask("POST", "/call", {"operation": "services/list-peers", "input": {}}, token=DEPUTY).output["peers"]
            assert sorted(p["peer_id"] for p in listed) == ["local", *sorted(f"p{i}" for i in range(SPOKES))]
            assert wire.ask("GET", f"/schema?name=ui/who&peer={peer}", token=DEPUTY).output["name"] == "ui/who"
            absent = wire.ask("POST", "/call", body("p9", "ui/who"), token=DEPUTY)
            assert (absent.status, absent.error()["message"]) == (404, "operation not found: ui/who")
    seen = node.scrape()
    assert 3 * MANY / 4 < seen["calls_started_total kind=crossed"] <= 3 * MANY
    assert seen["calls_ended_total kind=crossed outcome=ok"] == 2 * seen["calls_started_total kind=crossed"] / 3
    assert seen["calls_running kind=crossed"] == 0
    logged = [e for e in node.events("call") if e["operation"] == "ui/who" and e.get("identity") == "handler:deputy"]
    assert len(logged) == MANY, "each has one line"


def test_an_abort_crosses_and_what_is_pending_is_counted(node, spokes):
    """Of one session each call is aborted, the other goes."""
    with Socket(node.port, DEPUTY) as first, Socket(node.port, DEPUTY) as second:
        asked = [(socket, socket.request("peers/call", {"peer": f"p{n}", "operation": "ui/silent", "input": n}))
                 for socket in (first, second) for n in range(SPOKES)]
        for n in range(SPOKES):
            wait_for(lambda n=n: node.scrape()[f"peer_calls_pending peer=p{n}"] == 2)
        for socket, ident in asked[:SPOKES]:
            socket.abort(ident)
        wait_for(lambda: all(spoke.aborted() == 1 for spoke in spokes))
        second.bye()
        wait_for(lambda: all(spoke.aborted() == 2 for spoke in spokes))
        first.bye()
    seen = node.scrape()
    assert all(seen[f"peer_calls_pending peer=p{n}"] == 0 for n in range(SPOKES))
    assert seen["calls_running kind=crossed"] == 0


def test_sessions_of_all_workers_call_peers_and_deadlines_hold(node, spokes):
    for n in range(SPOKES):
        with Socket(node.port, DEPUTY) as socket:
            asked = {"peer": f"p{n}", "operation": "ui/silent", "input": None}
            first = socket.request("peers/call", asked)
            assert socket.fault("peers/call", asked, timeout_ms=200).code == "TIMEOUT"
            assert socket.call("peers/call", {**asked, "operation": "ui/who"}) == f"p{n}"
            socket.abort(first)
            socket.bye()
    wait_for(lambda: all(spoke.aborted() == 2 for spoke in spokes))
    assert all(p["hops"] == 1 and p["forwarded_for"]["id"] == DEPUTY[:8] for spoke in spokes for p in spoke.asked
               if p["operationId"].startswith("/ui/"))
    assert all(150 < p["timeout_ms"] <= 30000 for spoke in spokes for p in spoke.asked if p["operationId"] == "/ui/silent")


def test_a_peer_that_a_reload_takes_away_is_gone_for_all_workers(node, spokes):
    """And one whose flags change is there all the while."""
    failed = []
    stopping = threading.Event()

    def keep_calling():
        while not stopping.is_set():
            with node.wire() as wire:
                said = wire.ask("POST", "/call", body("p1", "ui/who"), token=DEPUTY)
                if said.status != 200:
                    failed.append(said)
    callers = [threading.Thread(target=keep_calling) for _ in range(2)]
    for caller in callers:
        caller.start()
    for n in range(6):
        entries = [{**entry, "may_forward": n % 2 == 0} for entry in ENTRIES]
        node.write_config(peers=entries if n < 5 else entries[1:])
        node.signal(signal.SIGHUP)
        node.wait_event("reload", n + 1)
    stopping.set()
    for caller in callers:
        caller.join(PATIENCE)
    assert not failed
    wait_for(lambda: spokes[0].over)
    assert spokes[0].over.code == 1008
    for _ in range(MANY // 2):
        assert node.through("p0", "ui/who").status == 404
        assert node.through("p1", "ui/who").output == "p1"


@pytest.mark.parametrize("hard", [False, True])
def test_the_end_while_calls_cross(tmp_path, hard):
    """Each of them has an answer, or its connection an end; and the daemon ends in order."""
    outcomes, stopping = [], threading.Event()

    def keep_calling(node, name):
        while not stopping.is_set():
            try:
                with node.wire(timeout=PATIENCE) as wire:
                    said = wire.ask("POST", "/call", body(f"p{len(outcomes) % SPOKES}", name), token=DEPUTY)
                    outcomes.append((said.status, said.json().get("code"), said.json().get("message")))
            except (Closed, OSError):
                outcomes.append(None)

    with Workers(tmp_path, limits={"drain_ms": 500}) as node, spokes_of(node):
        callers = [threading.Thread(target=keep_calling, args=(node, name)) for name in ("ui/who", "ui/who", "ui/silent", "ui/silent")]
        for caller in callers:
            caller.start()
        wait_for(lambda: node.crossed() > 3)
        node.signal(signal.SIGTERM)
        if hard:
            node.signal(signal.SIGTERM)
        node.proc.wait(PATIENCE)
        stopping.set()
        for caller in callers:
            caller.join(PATIENCE)
            assert not caller.is_alive()
    said = {o for o in outcomes if o} - {(200, None, None)}
    assert (200, None, None) in outcomes
    assert said <= {(503, "BUSY", "shutting down"), (500, "INTERNAL", "connection closed"),
                    (404, "NOT_FOUND", "operation not found: ui/who"), (404, "NOT_FOUND", "operation not found: ui/silent")}, said


def test_connections_out_serve_all_workers_and_come_with_a_reload(tmp_path):
    """Both ends have three workers. What the one that dials finds at the other end can be called from all of its workers."""
    with Workers(tmp_path, peers=PEERS) as hub:
        entry = {"peer_id": "hub", "websocket": True, "scopes": ["demo:secret"]}
        to_hub = {"url": f"ws://127.0.0.1:{hub.port}", "token_file": token_file(tmp_path, PEER), "peer": "hub"}
        with Workers(tmp_path, peers=[entry]) as spoke:
            spoke.write_config(connect=[to_hub])
            spoke.signal(signal.SIGHUP)
            wait_for(lambda: spoke.has("hub", "demo/echo") and hub.has("peer-a", "demo/whoami"))
            for n in range(MANY):
                assert spoke.through("hub", "demo/echo", n).output == n
                assert hub.through("peer-a", "demo/whoami").output["id"] == "hub"
            assert spoke.crossed() and hub.crossed()
            spoke.write_config(connect=[])
            spoke.signal(signal.SIGHUP)
            wait_for(lambda: spoke.through("hub", "demo/echo", 1).status == 404)
            wait_for(lambda: hub.through("peer-a", "demo/whoami").status == 404)


def test_alknet_serves_and_calls_over_clear_and_tls(tmp_path, home):  # pylint: disable=redefined-outer-name
    network = Network(tmp_path, home, workers=3, listen=CLEAR_AND_TLS)
    try:
        secure = f"wss://127.0.0.1:{network.hub.events('listening')[1]['port']}"
        pin = network.client().output("fingerprint", secure).strip()
        network.serve("spoke", "ui/echo", "ui/ticks:subscription", "--pin", pin, "--", "cat", url=secure)
        network.serve("other", "ui/other", "--", "echo", '"other"')
        for n in range(6):
            client = network.client(ws=n % 2 == 1)
            done = client("call", "ui/echo", str(n), "--peer", "spoke", "-o", "raw")
            assert (done.status, done.out.strip()) == (OK, str(n)), done.err
            done = client("call", "ui/other", "--peer", "other", "-o", "raw")
            assert (done.status, done.out.strip()) == (OK, "other"), done.err
            listed = json.loads(client.output("ls", "-o", "json"))["peers"]
            assert [p["peer_id"] for p in listed] == ["spoke", "other"]
        done = network.client()("subscribe", "ui/ticks", "7", "--peer", "spoke", "-o", "raw")
        assert (done.status, done.out.strip()) == (OK, "7"), done.err
    finally:
        network.end()
