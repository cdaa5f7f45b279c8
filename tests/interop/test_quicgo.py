"""QUIC with quic-go: alknetd and alknet speak with tests/interop/quicgo, in both directions.

Run by tests/interop/run.sh, which builds it: QUICGO is the program. What a case does is in cases.go; here is what the other
side has to say of it.
"""
import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../system"))
from certificates import self_signed  # noqa: E402  pylint: disable=wrong-import-position
from conftest import BIN, PATIENCE, Daemon  # noqa: E402  pylint: disable=wrong-import-position

QUICGO = os.environ["QUICGO"]
LOCAL = "127.0.0.1"


class Program:
    """A running quicgo: `told()` is its next line, `order` gives it one."""

    def __init__(self, *args):
        self.process = subprocess.Popen([QUICGO, *map(str, args)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.lines = queue.Queue()
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        for line in self.process.stdout:
            self.lines.put(json.loads(line))

    def told(self):
        return self.lines.get(timeout=PATIENCE)

    def order(self, text):
        self.process.stdin.write(text + "\n")
        self.process.stdin.flush()

    def ends(self, told=False):
        """It was content. told: what it says last."""
        last = self.told() if told else None
        assert self.process.wait(2 * PATIENCE) == 0
        return last

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()


@pytest.fixture(scope="module", name="pairs")
def make_pairs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pairs")
    return {name: self_signed(folder, name) for name in ("server", "me", "stranger")}


@contextlib.contextmanager
def running(folder, pairs, **config):
    entry = {"peer_id": "me", "fingerprints": [pairs["me"].fingerprint], "scopes": ["demo:*"]}
    node = Daemon(folder, {"listen": [{"quic": True, "host": LOCAL, "port": 0}], "peers": [entry],
                           "tls": {"certificates": [pairs["server"].entry()]}, "limits": {"drain_ms": 300}, **config})
    node.start()
    try:
        yield node
    finally:
        node.stop()


@pytest.fixture(name="node")
def make_node(tmp_path, pairs):
    with running(tmp_path, pairs) as node:
        yield node


def client(node, case, pair=None):
    return Program("client", f"{LOCAL}:{node.port}", case, *([pair.certificate, pair.key] if pair else []))


# ---- quic-go dials ----------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("case", ["echo", "shared", "keys", "rebind", "migrate", "version 2", "framing"])
def test_case(node, case):
    with client(node, case) as program:
        program.ends()


def test_more_streams_than_may_be_open(tmp_path, pairs):
    with running(tmp_path, pairs, limits={"quic_streams": 16, "drain_ms": 300}) as node, client(node, "streams") as program:
        program.ends()


def test_an_address_is_proved_under_load(tmp_path, pairs):
    with running(tmp_path, pairs, limits={"quic_handshakes": 1, "drain_ms": 300}) as node, client(node, "retry") as program:
        program.ends()


def test_subscriptions_end_and_are_aborted(node):
    with client(node, "subscription") as program:
        program.ends()
    assert [e["outcome"] for e in node.events("call") if e["operation"] == "demo/clock"] == ["ok", "aborted", "aborted", "aborted"]


def test_who_is_known(node, pairs):
    with client(node, "whoami", pairs["me"]) as program:
        assert program.ends(told=True)["whoami"]["id"] == "me"
    with client(node, "called back", pairs["me"]) as program:
        program.ends()
    with client(node, "refused", pairs["stranger"]) as program:
        assert program.ends(told=True) == {"application": 3, "message": "nobody known here has that key"}


def test_another_protocol_is_refused(node):
    with client(node, "alpn") as program:
        assert program.ends(told=True)["transport"] == 0x178


def test_a_stop_and_a_revocation_are_told(tmp_path, pairs):
    with running(tmp_path, pairs) as node, client(node, "over", pairs["me"]) as known, client(node, "over") as unknown:
        assert known.told() == unknown.told() == {"open": True}
        node.write_config(peers=[])
        node.signal(signal.SIGHUP)
        assert known.ends(told=True)["application"] == 3
        node.signal(signal.SIGTERM)
        assert unknown.ends(told=True)["application"] == 0


def test_how_a_client_closes(node, pairs):
    with client(node, "close 2", pairs["me"]) as program:
        program.ends()
    assert node.wait_event("session.close")["code"] == 1013


def test_a_node_that_is_new_resets(node):
    with client(node, "stateless reset") as program:
        assert program.told() == {"open": True}
        node.config["listen"][0]["port"] = node.port
        node.write_config()
        node.proc.kill()
        node.proc.wait()
        node.proc = None
        node.start()
        program.order("go on")
        assert program.ends(told=True) == {"reset": True}


# ---- quic-go is dialled -----------------------------------------------------------------------------------------------

class Server(Program):
    def __init__(self, pairs, *options):
        super().__init__("server", pairs["server"].certificate, pairs["server"].key, *options)
        self.url = f"alknet://{LOCAL}:{self.told()['port']}#{pairs['server'].fingerprint}"


def alknet(folder, *args, status=0):
    done = subprocess.run([str(BIN / "alknet"), *args], env={"PATH": os.environ["PATH"], "HOME": str(folder)}, stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == status, done
    return done.stdout or done.stderr


@pytest.mark.parametrize("options", [(), ("retry",)], ids=["plain", "retry"])
def test_alknet_calls(tmp_path, pairs, options):
    with Server(pairs, *options) as server:
        assert json.loads(alknet(tmp_path, "-u", server.url, "call", "demo/echo", "x=1", "-o", "json")) == {"x": 1}
        assert server.told() == {"event": "open"}
        over = server.told()
        assert over["event"] == "over" and over["how"]["application"] == 0


def test_alknet_leaves_a_subscription(tmp_path, pairs):
    """quic-go drops what comes right before a close, and so may never see the abort."""
    with Server(pairs) as server:
        with subprocess.Popen([str(BIN / "alknet"), "-u", server.url, "subscribe", "demo/clock"], stdout=subprocess.PIPE,
                              env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)}, stdin=subprocess.DEVNULL, text=True) as process:
            assert "tick" in process.stdout.readline()
            process.send_signal(signal.SIGINT)
            process.communicate()
        events = [server.told(), server.told()]
        if events[1]["event"] == "aborted":
            events[1] = server.told()
        assert events[1]["event"] == "over" and events[1]["how"]["application"] == 0


@pytest.mark.parametrize("option,said", [("h3", "QUIC error 0x178"), ("v2", "other versions of QUIC")])
def test_a_server_without_our_protocol_or_version(tmp_path, pairs, option, said):
    with Server(pairs, option) as server:
        assert said in alknet(tmp_path, "-u", server.url, "ls", status=3)


@pytest.fixture(name="spoke")
def make_spoke(tmp_path, pairs):
    """spoke(server): an alknetd that dials it."""
    with contextlib.ExitStack() as stack:
        def make(server):
            entry = {"peer_id": "hub", "fingerprints": [pairs["server"].fingerprint], "scopes": ["demo:*"]}
            node = stack.enter_context(running(tmp_path, pairs, peers=[entry], connect=[{"url": server.url, "peer": "hub"}]))
            node.wait_event("connect.ready")
            assert server.told() == {"event": "open"}
            return node
        yield make


@pytest.mark.parametrize("code,closed", [(0, 1000), (1, 1002), (2, 1013), (3, 1008)])
def test_a_hub_calls_its_spoke_and_closes(pairs, spoke, code, closed):
    with Server(pairs) as server:
        node = spoke(server)
        server.order("call")
        assert server.told() == {"event": "answer", "output": 5, "error": "<nil>"}
        server.order(f"close {code}")
        assert node.wait_event("dial.lost")["message"] == f"closed with {closed}"
        node.wait_event("connect.ready", 2)


def test_a_server_that_is_new_is_believed(pairs, spoke):
    """Its stateless reset: the idle time, which is half a minute, is not waited for. quic-go sends one for a packet of more than
    41 bytes alone, so the spoke must be saying something."""
    with Server(pairs) as server:
        node = spoke(server)
        server.order("subscribe")
        assert server.told() == {"event": "subscribed"}
        server.order("restart")
        assert node.wait_event("dial.lost")["message"] == "the connection was lost"
        node.wait_event("connect.ready", 2)
