"""Nodes over QUIC: who each is by its key, hub and spokes, what is refused and how it is told, what dies and comes back,
and alknet over alknet://."""
import contextlib
import json
import os
import signal
import socket
import subprocess
import time

import pytest

from certificates import Authority, self_signed
from conftest import BIN, PATIENCE, ROOT, wait_for
from test_alknetd_connect import DEPUTY, Other, reload, sleeping

ALKNET = str(BIN / "alknet")
LISTEN = [{"host": "127.0.0.1", "port": 0}, {"quic": True, "host": "127.0.0.1", "port": 0}]
MINE = ["demo:*"]
QUICK = {"limits": {"quic_idle_ms": 1500, "quic_keep_alive_ms": 400, "drain_ms": 300}}
ALLOW = {"authority": {"label": "deputy", "scopes": MINE}, "allow": [{"peer": "*", "operations": ["demo/*", "ui/*"]}]}


def alknet(folder, *args, token=None, status=0):
    """What alknet says: (standard output, standard error)."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), **({"ALKNET_TOKEN": token} if token else {})}
    done = subprocess.run([ALKNET, *map(str, args)], env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=2 * PATIENCE, check=False)
    assert done.returncode == status, (args, done)
    return done.stdout, done.stderr


class Key:
    def __init__(self, folder, name):
        self.file = str(folder / f"{name}.key")
        self.fingerprint = alknet(folder, "keygen", self.file)[0].strip()


@pytest.fixture
def keys(tmp_path):
    """keys(name): a key, made when it is first asked for."""
    made = {}
    return lambda name: made.setdefault(name, None) or made.update({name: Key(tmp_path, name)}) or made[name]


class Hub(Other):
    """Clear text for the tests, QUIC for the others."""

    def __init__(self, folder, key, **config):
        super().__init__(folder, **{"listen": LISTEN, "node_key": key.file, "peers_call": ALLOW, **QUICK, **config})
        self.key = key

    @property
    def quic_port(self):
        return self.wait_event("listening", 2)["port"]

    def at(self, fingerprint=None):
        return f"alknet://127.0.0.1:{self.quic_port}#{fingerprint or self.key.fingerprint}"

    def stay(self):
        """At the same ports after the next start."""
        self.config["listen"] = [{"host": "127.0.0.1", "port": self.port}, {"quic": True, "host": "127.0.0.1", "port": self.quic_port}]
        self.write_config()


class Spoke(Other):
    def __init__(self, folder, key, hub, peers=True, connect=None, **config):
        to_hub = {"url": hub.at(), "peer": "hub", "name": "the hub", **(connect or {})}
        who = [{"peer_id": "hub", "fingerprints": [hub.key.fingerprint], "scopes": MINE}] if peers is True else peers
        super().__init__(folder, **{"node_key": key.file, "connect": [to_hub], "peers": who, "peers_call": ALLOW, **QUICK, **config})


def peer(name, key, **more):
    return {"peer_id": name, "fingerprints": [key.fingerprint], "scopes": MINE, **more}


# ---- hub and spokes ---------------------------------------------------------------------------------------------------

def test_keys_say_who_each_side_is(tmp_path, keys):
    """No token, no authority and no `websocket`: fingerprints in both directions."""
    with Hub(tmp_path, keys("hub"), peers=[peer("spoke", keys("spoke"))]) as hub, Spoke(tmp_path, keys("spoke"), hub) as spoke:
        assert spoke.wait_event("connect.ready")["message"] == "the hub"
        wait_for(lambda: hub.has("spoke", "demo/whoami"))
        assert hub.through("spoke", "demo/whoami").output["id"] == "hub"
        wait_for(lambda: spoke.has("hub", "demo/whoami"))
        assert spoke.through("hub", "demo/whoami").output["id"] == "spoke"
        assert [e["message"] for e in hub.events("tls.key")] == [hub.key.fingerprint]


def test_a_node_without_a_key_makes_one_and_keeps_it(tmp_path):
    with Other(tmp_path, listen=LISTEN) as node:
        made = node.folder / "alknetd.node.key"
        assert made.stat().st_mode & 0o777 == 0o600
        first = node.wait_event("tls.key")["message"]
        assert alknet(tmp_path, "fingerprint", made)[0].strip() == first
        node.stop()
        node.start()
        assert node.wait_event("tls.key")["message"] == first and not node.events("key.made")


def test_a_hub_is_added_by_a_reload_and_the_key_is_made_then(tmp_path, keys):
    """The first alknet:// of a node that had no need of a key; then the entry changes, and then it goes."""
    with Hub(tmp_path, keys("hub")) as hub, Other(tmp_path, **QUICK) as node:
        made = node.folder / "alknetd.node.key"
        assert not made.exists()
        reload(node, connect=[{"url": hub.at(), "peer": "hub"}], peers=[peer("hub", hub.key)])
        assert node.wait_event("key.made")["message"] == f"made {made}"
        fingerprint = alknet(tmp_path, "fingerprint", made)[0].strip()
        assert node.wait_event("tls.key")["message"].endswith(": " + fingerprint)
        assert "nobody known here has that key" in node.wait_event("dial.failed")["message"]
        reload(hub, peers=[{"peer_id": "node", "fingerprints": [fingerprint], "scopes": MINE}])
        wait_for(lambda: hub.has("node", "demo/sleep"))
        with sleeping(hub, 1500, peer="node") as reply:
            reload(node)
            assert reply().status == 200
        reload(node, connect=[{"url": hub.at(), "peer": "hub", "name": "the same"}])
        wait_for(lambda: hub.through("node", "demo/echo", 1).status == 200 and len(hub.events("session.close")) == 1)
        assert node.wait_event("connect.ready", 2)["message"] == "the same"
        reload(node, connect=[])
        hub.wait_event("session.close", 2)
        wait_for(lambda: hub.through("node", "demo/echo", 1).status == 404)
        assert len(node.events("dial.open")) == len(node.events("connect.closed")) == 2 and not node.events("dial.lost")


def test_a_node_has_the_key_of_its_start(tmp_path, keys):
    """Also for connections that come with another node_key, which is said to be read at start."""
    with Hub(tmp_path, keys("hub"), peers=[peer("spoke", keys("spoke"))]) as hub, Spoke(tmp_path, keys("spoke"), hub) as spoke:
        spoke.wait_event("connect.ready")
        entry = {**spoke.config["connect"][0], "name": "anew"}
        reload(spoke, node_key=keys("other").file, connect=[entry])
        assert spoke.wait_event("reload.partial")["message"].endswith(": node_key")
        assert spoke.wait_event("connect.ready", 2)["message"] == "anew"
        assert not hub.events("auth.failed") and not spoke.events("dial.failed")


def test_no_other_key_takes_the_place_of_one_that_is_gone(tmp_path, keys):
    with Hub(tmp_path, keys("hub"), anonymous_peers=True) as hub, Other(tmp_path, **QUICK) as node:
        made = node.folder / "alknetd.node.key"
        reload(node, connect=[{"url": hub.at(), "name": "the hub"}])
        node.wait_event("dial.open")
        made.unlink()
        node.write_config(connect=[{"url": hub.at(), "name": "anew"}])
        node.reload_fails("alknetd.node.key: is gone")
        node.write_config(connect=[{"url": hub.at(), "name": "the hub"}])
        node.reload_fails("alknetd.node.key")
        assert not made.exists() and not node.events("connect.closed")


def test_any_spoke_or_a_named_one(tmp_path, keys):
    with Hub(tmp_path, keys("hub"), peers=[peer("one", keys("one")), peer("two", keys("two"))]) as hub:
        with Spoke(tmp_path, keys("one"), hub), Spoke(tmp_path, keys("two"), hub, demo=False) as two:
            wait_for(lambda: hub.has("one", "demo/echo"))
            two.wait_event("connect.ready")
            assert hub.through("one", "demo/echo", [1]).output == [1]
            assert hub.through("two", "demo/echo", [1]).status == 404, "a name is never another peer's"
            asked = hub.ask("POST", "/call", {"operation": "peers/call", "input": {"operation": "demo/echo", "input": 2}}, token=DEPUTY)
            assert asked.output == 2, "whoever serves it"


@pytest.fixture
def pair(tmp_path, keys):
    """A hub and its spoke, which have found each other."""
    with Hub(tmp_path, keys("hub"), peers=[peer("spoke", keys("spoke"))]) as hub, Spoke(tmp_path, keys("spoke"), hub) as spoke:
        wait_for(lambda: hub.has("spoke", "demo/sleep"))
        spoke.wait_event("connect.ready")
        yield hub, spoke


def ended(node, operation, count=1):
    return wait_for(lambda: (e := [e for e in node.events("call") if e["operation"] == operation]) and len(e) >= count and e)


def test_a_subscription_through_the_hub_and_its_abort(pair):
    hub, spoke = pair
    connection = hub.connect()
    connection.request("POST", "/subscribe", json.dumps({"operation": "peers/subscribe", "input": {
        "peer": "spoke", "operation": "demo/clock", "input": {"interval_ms": 20}}}),
        {"Authorization": f"Bearer {DEPUTY}", "Content-Type": "application/json"})
    answer = connection.getresponse()
    assert answer.status == 200
    lines = [answer.readline() for _ in range(12)]
    assert any(b'"tick"' in line for line in lines)
    assert not [e for e in spoke.events("call") if e["operation"] == "demo/clock"], "it goes on"
    answer.close()
    connection.close()
    assert ended(spoke, "demo/clock")[0]["outcome"] == "aborted", "the abort has reached the spoke"


def start_sleepers(node, count, ms=60000):
    """Calls through the hub that do not end by themselves, each on a connection of its own."""
    body = json.dumps({"operation": "peers/call", "input": {"peer": "spoke", "operation": "demo/sleep", "input": {"ms": ms}}})
    sleepers = []
    for _ in range(count):
        c = node.connect(timeout=2 * PATIENCE)
        c.request("POST", "/call", body, {"Authorization": f"Bearer {DEPUTY}", "Content-Type": "application/json"})
        sleepers.append(c)
    return sleepers


@pytest.mark.parametrize("who", ["spoke", "hub"])
def test_a_side_that_is_killed_in_the_middle_of_calls(tmp_path, keys, who):
    """Pending calls fail, running ones are cancelled, within the idle time; and they find each other again."""
    with Hub(tmp_path, keys("hub"), peers=[peer("spoke", keys("spoke"))]) as hub, Spoke(tmp_path, keys("spoke"), hub) as spoke:
        wait_for(lambda: hub.has("spoke", "demo/sleep"))
        sleepers = start_sleepers(hub, 100)
        time.sleep(0.3)
        victim, other = (spoke, hub) if who == "spoke" else (hub, spoke)
        hub.stay()
        victim.proc.kill()
        victim.proc.wait()
        victim.proc = None
        if who == "spoke":
            for c in sleepers:
                answer = json.loads(c.getresponse().read())
                assert (answer["code"], answer["message"]) == ("INTERNAL", "connection closed")
        else:
            assert {e["outcome"] for e in ended(other, "demo/sleep", 100)} == {"closed"}
        for c in sleepers:
            c.close()
        victim.start()
        wait_for(lambda: hub.has("spoke", "demo/echo"))
        assert hub.through("spoke", "demo/echo", 1).output == 1


def test_a_hub_that_is_new_says_so_at_once(tmp_path, keys):
    """A stateless reset: the spoke does not wait for its idle time, which is a minute here."""
    slow = {"limits": {"quic_idle_ms": 60000, "quic_keep_alive_ms": 300, "drain_ms": 300}}
    with Hub(tmp_path, keys("hub"), peers=[peer("spoke", keys("spoke"))], **slow) as hub, Spoke(tmp_path, keys("spoke"), hub, **slow) as spoke:
        wait_for(lambda: hub.has("spoke", "demo/echo"))
        hub.stay()
        hub.proc.kill()
        hub.proc.wait()
        hub.proc = None
        hub.start()
        begin = time.monotonic()
        spoke.wait_event("dial.lost")
        assert time.monotonic() - begin < 10
        wait_for(lambda: hub.has("spoke", "demo/echo"))


def test_a_revoked_peer_is_closed_in_the_middle_of_its_calls(pair):
    hub, spoke = pair
    sleepers = start_sleepers(hub, 20)
    wait_for(lambda: hub.through("spoke", "demo/echo", 1).output == 1)
    hub.write_config(peers=[])
    hub.signal(signal.SIGHUP)
    for c in sleepers:
        answer = json.loads(c.getresponse().read())
        assert answer["message"] == "connection closed"
        c.close()
    assert "1008" in spoke.wait_event("dial.lost")["message"]
    assert "nobody known here has that key" in spoke.wait_event("dial.failed")["message"]
    assert {e["outcome"] for e in ended(spoke, "demo/sleep", 20)} == {"closed"}


def test_an_abort_goes_through_three_nodes(tmp_path, keys):
    """a -> b -> c, 200 calls: all of them end at c soon after their callers have gone."""
    with Hub(tmp_path, keys("c")) as c, \
            Hub(tmp_path, keys("b"), peers=[peer("a", keys("a")), peer("c", keys("c"))],
                connect=[{"url": c.at(), "peer": "c"}]) as b:
        c.write_config(peers=[peer("b", keys("b"), scopes=[*MINE, "peers:call"])])
        c.signal(signal.SIGHUP)
        wait_for(lambda: b.has("c", "demo/sleep"))
        sleepers = []
        body = json.dumps({"operation": "peers/call", "input": {"peer": "c", "operation": "demo/sleep", "input": {"ms": 60000}}})
        for _ in range(200):
            s = b.connect()
            s.request("POST", "/call", body, {"Authorization": f"Bearer {DEPUTY}", "Content-Type": "application/json"})
            sleepers.append(s)
        time.sleep(0.5)
        for s in sleepers:
            s.close()
        assert len(ended(c, "demo/sleep", 200)) == 200


def test_a_call_in_a_circle_ends(tmp_path, keys):
    """Two hubs that dial each other: peers/call of each is called through the other until the hops are used up."""
    with Hub(tmp_path, keys("a")) as a, Hub(tmp_path, keys("b"), peers=[peer("a", keys("a"), scopes=["demo:*", "peers:call"])],
                                            connect=[{"url": a.at(), "peer": "a"}]) as b:
        a.write_config(peers=[peer("b", keys("b"), scopes=["demo:*", "peers:call"])], connect=[{"url": b.at(), "peer": "b"}])
        a.stay()
        a.stop()
        a.start()
        wait_for(lambda: a.has("b", "demo/echo") and b.has("a", "demo/echo"))
        value = {"peer": "b", "operation": "demo/echo", "input": "at last"}
        for n in range(12):
            value = {"peer": "ab"[n % 2], "operation": "peers/call", "input": value}
        answer = a.ask("POST", "/call", {"operation": "peers/call", "input": value}, token=DEPUTY)
        assert answer.status == 404, "peers/* is never resolved in a peer's overlay"


def test_the_demonstration_shows_what_it_says(tmp_path):
    done = subprocess.run([str(ROOT / "cli/alknetd/demo-hub.sh"), str(BIN), str(tmp_path / "demo")], stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, timeout=3 * PATIENCE, check=False)
    assert done.returncode == 0 and done.stdout.endswith("demo-hub: done\n"), done
    for part in ('"id": "hub"', '"sum": 3', '"tick":3', 'operation="demo/sleep" outcome="aborted"'):
        assert part in done.stdout, done.stdout


# ---- who is refused ---------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("fault,said", [
    ("unknown", "nobody known here has that key"), ("disabled", "nobody known here has that key"),
    ("pin", "the server is another: ed25519:"), ("certificate", "the server is another"), ("nothing", "a key that nothing vouches for: ed25519:")])
def test_who_does_not_fit_is_refused_and_told(tmp_path, keys, fault, said):
    entry = {"unknown": [], "disabled": [peer("spoke", keys("spoke"), enabled=False)]}.get(fault, [peer("spoke", keys("spoke"))])
    with Hub(tmp_path, keys("hub"), peers=entry) as hub:
        url = {"pin": hub.at(keys("other").fingerprint), "certificate": hub.at("SHA256:" + "0" * 64),
               "nothing": hub.at().split("#")[0]}.get(fault, hub.at())
        with Spoke(tmp_path, keys("spoke"), hub, connect={"url": url}) as spoke:
            message = spoke.wait_event("dial.failed")["message"]
            # Who pins a certificate wants no raw key, and TLS already says that there is no other.
            assert said in message or (fault == "certificate" and "QUIC error 0x1" in message), message
            assert not spoke.events("dial.open"), "it is connected when the server has judged it"
            if fault in ("unknown", "disabled"):
                assert keys("spoke").fingerprint in hub.wait_event("auth.failed")["message"]
        assert not [e for e in hub.events("session.open") if e.get("identity")]


def test_anonymous_peers_are_taken_where_that_is_said(tmp_path, keys):
    with Hub(tmp_path, keys("hub"), anonymous_peers=True) as hub:
        out, _ = alknet(tmp_path, "-u", hub.at(), "--key", keys("x").file, "call", "demo/echo", "x=1", "-o", "json")
        assert json.loads(out) == {"x": 1}
        _, said = alknet(tmp_path, "-u", hub.at(), "--key", keys("x").file, "call", "demo/whoami", status=1)
        assert "FORBIDDEN: authentication required" in said


def test_certificates_serve_as_well(tmp_path, keys):
    """A server with both shows whichever the client takes; a client with a certificate is whom it belongs to."""
    folder = tmp_path / "ca"
    folder.mkdir()
    ca = Authority(folder)
    pair, mine = ca.sign("hub", ("localhost",)), self_signed(folder, "me")
    entry = {"peer_id": "me", "fingerprints": [mine.fingerprint], "scopes": MINE}
    with Hub(tmp_path, keys("hub"), peers=[entry], tls={"certificates": [pair.entry()]}) as hub:
        own = ["--cert", mine.certificate, "--key", mine.key]
        for url in (hub.at(), hub.at(pair.fingerprint)):
            out, _ = alknet(tmp_path, "-u", url, *own, "call", "demo/whoami", "-o", "json")
            assert json.loads(out)["id"] == "me"
        name = f"alknet://localhost:{hub.quic_port}"
        out, _ = alknet(tmp_path, "-u", name, "--cacert", ca.file, *own, "call", "demo/whoami", "-o", "json")
        assert json.loads(out)["id"] == "me"
        _, said = alknet(tmp_path, "-u", name, *own, "call", "demo/whoami", status=3)
        assert "The certificate is NOT trusted" in said
        _, said = alknet(tmp_path, "-u", f"alknet://127.0.0.1:{hub.quic_port}", "--cacert", ca.file, *own, "ls", status=3)
        assert "does not match" in said, "it is for another name"


@pytest.mark.parametrize("mode", [0o640, 0o604])
def test_a_key_that_others_can_read_is_refused(make_daemon, keys, mode):
    os.chmod(keys("open").file, mode)
    daemon = make_daemon({"listen": LISTEN, "node_key": keys("open").file}).start(wait=False)
    daemon.ended(status=1)
    assert f"{keys('open').file}: can be read or written by others" in daemon.log_text()


# ---- strangers --------------------------------------------------------------------------------------------------------

def test_garbage_harms_nobody(pair):
    """Datagrams of all lengths and beginnings: nothing that comes back is longer, and calls go on."""
    hub, _ = pair
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.connect(("127.0.0.1", hub.quic_port))
        s.settimeout(0.2)
        for n in (0, 1, 7, 20, 43, 1200, 1452, 9000):
            for first in (0x00, 0x40, 0x80, 0xC0, 0xE0, 0xFF):
                s.send((bytes([first]) + os.urandom(n))[:n] if n else b"")
        back = []
        with contextlib.suppress(TimeoutError):
            while True:
                back.append(len(s.recv(65536)))
    assert all(n <= 1200 for n in back)
    assert hub.through("spoke", "demo/echo", 1).output == 1


def test_a_version_that_is_not_known_is_negotiated(tmp_path, keys):
    with Hub(tmp_path, keys("hub")) as hub, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.connect(("127.0.0.1", hub.quic_port))
        s.settimeout(PATIENCE)
        s.send(b"\xc0" + b"\x1a\x2a\x3a\x4a" + b"\x08" + b"D" * 8 + b"\x04" + b"S" * 4 + b"\0" * 1200)
        answer = s.recv(65536)
        assert answer[0] & 0x80 and answer[1:5] == b"\0\0\0\0", "RFC 9000, 17.2.1"
        assert answer[5:5 + 1 + 4 + 1 + 8] == b"\x04SSSS\x08DDDDDDDD" and b"\0\0\0\x01" in answer[19:]


# ---- alknet -----------------------------------------------------------------------------------------------------------

def test_trust_on_first_use_is_never_silent(tmp_path, keys):
    """Without a pin the fingerprint is said, and nothing is sent; a pin, or the file of known peers, goes on."""
    with Hub(tmp_path, keys("hub")) as hub:
        bare = hub.at().split("#")[0]
        out, said = alknet(tmp_path, "-u", bare, "call", "demo/echo", "x=1", status=3)
        assert not out and hub.key.fingerprint in said and "--pin" in said and "known_peers" in said
        assert not hub.events("call")
        assert json.loads(alknet(tmp_path, "-u", bare, "--pin", hub.key.fingerprint, "call", "demo/echo", "x=1")[0]) == {"x": 1}
        known = tmp_path / ".config/alknet/known_peers"
        known.parent.mkdir(parents=True)
        known.write_text(f"# mine\n{bare[9:]} {hub.key.fingerprint}\n")
        known.chmod(0o644)
        assert "chmod" in alknet(tmp_path, "-u", bare, "ls", status=2)[1]
        known.chmod(0o600)
        assert json.loads(alknet(tmp_path, "-u", bare, "call", "demo/echo", "x=2")[0]) == {"x": 2}
        known.write_bytes(f"\ufeff{bare[9:]} {hub.key.fingerprint}\r\n".encode())
        assert json.loads(alknet(tmp_path, "-u", bare, "call", "demo/echo", "x=2")[0]) == {"x": 2}
        known.write_text(f"{bare[9:]} {keys('other').fingerprint}\n")
        assert "somebody else answers" in alknet(tmp_path, "-u", bare, "call", "demo/echo", "x=1", status=3)[1]
        known.write_text("nonsense\n")
        assert "known_peers:1: expected 'HOST:PORT FINGERPRINT'" in alknet(tmp_path, "-u", bare, "ls", status=2)[1]


def test_every_command_over_quic(tmp_path, keys):
    with Hub(tmp_path, keys("hub"), peers=[peer("me", keys("me"))]) as hub:
        to = ["-u", hub.at(), "--key", keys("me").file]
        assert "/demo/add" in alknet(tmp_path, *to, "ls")[0]
        assert json.loads(alknet(tmp_path, *to, "describe", "demo/add")[0])["name"] == "demo/add"
        assert json.loads(alknet(tmp_path, *to, "call", "demo/add", "a=1", "b=2")[0]) == {"sum": 3}
        assert len(alknet(tmp_path, *to, "subscribe", "demo/clock", "count=3", "interval_ms=10")[0].splitlines()) == 3
        batch = tmp_path / "batch.json"
        batch.write_text(json.dumps([{"operation": "demo/echo", "input": n} for n in range(20)]))
        assert alknet(tmp_path, *to, "batch", batch, "-o", "raw")[0].split() == [str(n) for n in range(20)]
        assert "3 of 3 answered" in "".join(alknet(tmp_path, *to, "ping", "-n", "3", "-i", "0.01"))
        # A megabyte each way.
        big = tmp_path / "big.json"
        big.write_text(json.dumps("x" * (3 << 20)))
        with open(big, "rb") as f:
            done = subprocess.run([ALKNET, *to, "call", "demo/echo", "-", "-o", "json"], stdin=f, capture_output=True, timeout=PATIENCE,
                                  env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)}, check=True)
        assert done.stdout.strip() == big.read_bytes()


def test_alknet_serves_over_quic(tmp_path, keys):
    with Hub(tmp_path, keys("hub"), peers=[peer("me", keys("me"))]) as hub:
        environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
        with open(tmp_path / "said", "wb") as said:
            process = subprocess.Popen([ALKNET, "-u", hub.at(), "--key", keys("me").file, "serve", "ui/hello", "--", "echo", '"hello"'],
                                       env=environment, stdin=subprocess.DEVNULL, stdout=said, stderr=said)
        try:
            wait_for(lambda: hub.has("me", "ui/hello"))
            assert hub.through("me", "ui/hello").output == "hello"
        finally:
            process.terminate()
            assert process.wait(PATIENCE) == 0


def test_nobody_there_is_said_at_once(tmp_path, keys):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    begin = time.monotonic()
    _, said = alknet(tmp_path, "-u", f"alknet://127.0.0.1:{port}#{keys('x').fingerprint}", "ls", status=3)
    assert "connection refused" in said and time.monotonic() - begin < 5


@pytest.mark.parametrize("args,said", [
    (["-u", "alknet://h#x", "ls"], "behind # must be ed25519:"), (["-u", "alknet://h/p", "ls"], "a path does not belong there"),
    (["-u", "alknet://h", "--pin", "SHA256:1", "ls"], "a pin is ed25519: or SHA256:"),
    (["-u", "alknet://h", "--cert", "c", "ls"], "--cert and --key go together"), (["keygen"], "an operand is missing"),
    (["fingerprint", "/dev/null"], "/dev/null"), (["fingerprint", "ws://h"], "is not encrypted")])
def test_misuse_is_named(tmp_path, args, said):
    assert said in alknet(tmp_path, *args, status=2)[1]


def test_a_key_is_never_overwritten(tmp_path, keys):
    before = open(keys("k").file, encoding="ascii").read()
    assert "exists" in alknet(tmp_path, "keygen", keys("k").file, status=2)[1]
    assert open(keys("k").file, encoding="ascii").read() == before and os.stat(keys("k").file).st_mode & 0o777 == 0o600


def test_fingerprints_are_those_of_openssl(tmp_path, keys):
    """The 32 bytes of the public key, and of any form of the file."""
    der = subprocess.run(["openssl", "pkey", "-in", keys("k").file, "-pubout", "-outform", "DER"], check=True, capture_output=True).stdout
    assert keys("k").fingerprint == "ed25519:" + der[-32:].hex()
    public = tmp_path / "public.pem"
    subprocess.run(["openssl", "pkey", "-in", keys("k").file, "-pubout", "-out", str(public)], check=True)
    assert alknet(tmp_path, "fingerprint", public)[0].strip() == keys("k").fingerprint
    folder = tmp_path / "certificates"
    folder.mkdir()
    pair = self_signed(folder, "c")
    assert alknet(tmp_path, "fingerprint", pair.certificate)[0].strip() == pair.fingerprint
    other = subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519"], check=True, capture_output=True).stdout
    theirs = tmp_path / "theirs.key"
    theirs.write_bytes(other)
    theirs.chmod(0o600)
    assert alknet(tmp_path, "fingerprint", theirs)[0].startswith("ed25519:")


@pytest.mark.parametrize("scheme", ["alknet", "https", "wss", "alknet+tls"])
def test_the_fingerprint_of_a_server(tmp_path, keys, scheme):
    with Hub(tmp_path, keys("hub"), listen=[*LISTEN, {"host": "127.0.0.1", "port": 0, "tls": True}]) as hub:
        port = hub.quic_port if scheme == "alknet" else hub.wait_event("listening", 3)["port"]
        wanted = hub.key.fingerprint if scheme == "alknet" else hub.events("tls.certificate")[0]["message"].split(",")[0]
        assert alknet(tmp_path, "fingerprint", f"{scheme}://127.0.0.1:{port}")[0].strip() == wanted
