"""alknetd and other nodes, and what `alknet serve` serves, over TLS and Unix-domain sockets: who each is to the other,
certificates that do not fit, reloads."""
import contextlib
import json
import os
import signal
import socket
import struct
import subprocess

import pytest

from certificates import Authority, self_signed
from conftest import ALKNETD, BIN, PATIENCE, key_for, wait_for
from rawhttp import PEER, PLAIN
from test_alknetd_connect import Other, token_file
from test_tls import Frames

LISTEN = [{"host": "127.0.0.1", "port": 0}, {"host": "127.0.0.1", "port": 0, "tls": True}]
MINE = ["demo:*"]


@pytest.fixture
def ca(tmp_path):
    folder = tmp_path / "ca"
    folder.mkdir()
    return Authority(folder)


@pytest.fixture
def spoke_pair(ca):
    return self_signed(ca.folder, "spoke")


def secure_port(node):
    return node.wait_event("listening", 2)["port"]


class Hub(Other):
    """Clear text for the tests, TLS for the spokes."""

    def __init__(self, folder, pair, **config):
        super().__init__(folder, listen=LISTEN, tls={"certificates": [pair.entry()]}, **config)

    def at(self, scheme="alknet+tls", name="localhost"):
        return f"{scheme}://{name}:{secure_port(self)}"

    def is_back(self, port):
        """Started again where it was."""
        self.config["listen"] = [LISTEN[0], {**LISTEN[1], "port": port}]
        self.write_config()
        self.start()


def peer(name, pair, **more):
    return {"peer_id": name, "fingerprints": [pair.fingerprint], "scopes": MINE, **more}


def test_certificates_say_who_each_side_is(tmp_path, ca, spoke_pair):
    """No token, no `peer` and no `websocket`: the fingerprints are enough, in both directions."""
    pair = ca.sign("hub")
    with Hub(tmp_path, pair, peers=[peer("spoke", spoke_pair)]) as hub:
        to_hub = {"url": hub.at(), "ca_file": ca.file, "certificate": spoke_pair.certificate, "key": spoke_pair.key, "name": "the hub"}
        with Other(tmp_path, connect=[to_hub], peers=[peer("hub", pair)]) as spoke:
            assert spoke.wait_event("connect.ready")["message"] == "the hub"
            wait_for(lambda: hub.has("spoke", "demo/whoami"))
            assert hub.through("spoke", "demo/whoami").output["id"] == "hub"
            wait_for(lambda: spoke.has("hub", "demo/whoami"))
            assert spoke.through("hub", "demo/whoami").output["id"] == "spoke"
            told = [e["message"] for e in spoke.events("tls.certificate")]
            assert told and told[0].startswith(f"the hub: {spoke_pair.fingerprint}, valid until "), told


def test_a_pinned_hub_is_found_again_and_the_entry_says_who_it_is(tmp_path, ca, spoke_pair):
    """The pin stands in place of authority and name, and `peer` in place of a fingerprint."""
    pair = self_signed(ca.folder, "hub", ("other.example",))
    with Hub(tmp_path, pair, peers=[peer("spoke", spoke_pair)]) as hub:
        port = secure_port(hub)
        to_hub = {"url": hub.at(), "pin": pair.fingerprint, "certificate": spoke_pair.certificate, "key": spoke_pair.key, "peer": "hub"}
        with Other(tmp_path, connect=[to_hub], peers=[{"peer_id": "hub", "scopes": MINE}]) as spoke:
            wait_for(lambda: hub.has("spoke", "demo/whoami"))
            hub.proc.kill()
            hub.ended(-signal.SIGKILL)
            spoke.wait_event("dial.failed")
            hub.is_back(port)
            wait_for(lambda: hub.has("spoke", "demo/whoami"))
            assert hub.through("spoke", "demo/whoami").output["id"] == "hub"
            assert len(spoke.events("dial.open")) == 2


def test_a_spoke_that_its_hub_revokes_is_closed(tmp_path, ca, spoke_pair):
    entry = peer("spoke", spoke_pair)
    with Hub(tmp_path, ca.sign("hub"), peers=[entry]) as hub:
        to_hub = {"url": hub.at(), "ca_file": ca.file, "certificate": spoke_pair.certificate, "key": spoke_pair.key}
        with Other(tmp_path, connect=[to_hub]) as spoke:
            wait_for(lambda: hub.has("spoke", "demo/echo"))
            hub.write_config(peers=[{**entry, "enabled": False}])
            hub.signal(signal.SIGHUP)
            spoke.wait_event("dial.lost")
            assert hub.through("spoke", "demo/echo", 1).status == 404


def test_a_session_over_tls_has_its_token(tmp_path, ca):
    with Hub(tmp_path, ca.sign("hub")) as hub:
        to_hub = {"url": hub.at("wss"), "ca_file": ca.file, "token_file": token_file(tmp_path, PEER)}
        with Other(tmp_path, connect=[to_hub]) as spoke:
            spoke.wait_event("connect.ready")
            wait_for(lambda: hub.has("peer-a", "demo/echo"))
            assert hub.through("peer-a", "demo/echo", [1]).output == [1]


def test_a_session_on_a_socket(tmp_path):
    """Its path is relative to the configuration."""
    with Other(tmp_path, listen=[LISTEN[0], {"unix": "hub.sock"}]) as hub:
        to_hub = {"url": f"ws+unix:../{hub.folder.name}/hub.sock", "token_file": token_file(tmp_path, PEER), "peer": "hub"}
        with Other(tmp_path, connect=[to_hub], peers=[{"peer_id": "hub", "websocket": True, "scopes": MINE}]) as spoke:
            spoke.wait_event("connect.ready")
            wait_for(lambda: spoke.has("hub", "demo/whoami"))
            assert spoke.through("hub", "demo/whoami").output["id"] == "peer-a"


def test_frames_on_a_socket(tmp_path):
    """The token goes along with each request, and `peer` needs no `websocket`."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "hub.sock"))
        listener.listen()
        listener.settimeout(PATIENCE)
        to_hub = {"url": "alknet+unix:../hub.sock", "token_file": token_file(tmp_path, PLAIN), "peer": "hub"}
        with Other(tmp_path, connect=[to_hub], peers=[{"peer_id": "hub", "scopes": MINE}]) as spoke:
            stream, _ = listener.accept()
            with stream:
                stream.settimeout(PATIENCE)
                frames = Frames(stream)
                asked = [frames.receive()["payload"] for _ in range(2)]
                assert {p["operationId"] for p in asked} == {"/services/announce", "/services/list"}
                assert all(p["auth_token"] == PLAIN for p in asked)
                assert frames.call("/demo/whoami")["payload"]["output"]["id"] == "hub"
            spoke.wait_event("dial.lost")


@pytest.mark.parametrize("scheme", ["alknet+tls", "wss"])
@pytest.mark.parametrize("fault,said", [
    ("self", "is signed by itself, and is not trusted"), ("stranger", "by an authority that is trusted here"), ("name", "is for another name"),
    ("pin", "is not the pinned one"), ("expired", "has expired")])
def test_a_certificate_that_does_not_fit_is_said(tmp_path, ca, scheme, fault, said):
    pair = {"self": lambda: self_signed(ca.folder, "self"), "stranger": lambda: Authority(ca.folder, "other").sign("hub"),
            "name": lambda: ca.sign("hub", ("other.example",)), "pin": lambda: ca.sign("hub"),
            "expired": lambda: ca.sign("hub", begin="200101000000Z", end="200201000000Z")}[fault]()
    trust = {"pin": "SHA256:" + "0" * 64} if fault == "pin" else {"ca_file": ca.file}
    with Hub(tmp_path, pair) as hub:
        with Other(tmp_path, connect=[{"url": hub.at(scheme), **trust, "token_file": token_file(tmp_path, PEER)}]) as spoke:
            assert said in spoke.wait_event("dial.failed")["message"]
            assert not hub.events("call"), "nothing was sent"


def test_a_reload_reads_the_certificates_of_connections_again(tmp_path, ca):
    """The hub moves to another authority, the spoke to another certificate."""
    next_ca, old, new = Authority(ca.folder, "next"), self_signed(ca.folder, "old"), self_signed(ca.folder, "new")
    pair, trusted = ca.sign("hub"), tmp_path / "trusted.pem"
    trusted.write_bytes(open(ca.file, "rb").read())
    trusted.chmod(0o644)
    mine = tmp_path / "mine.crt", tmp_path / "mine.key"

    def take(files):
        for path, source, mode in zip(mine, (files.certificate, files.key), (0o644, 0o600)):
            path.write_bytes(open(source, "rb").read())
            path.chmod(mode)

    take(old)
    with Hub(tmp_path, pair, peers=[peer("old", old), peer("new", new)]) as hub:
        port = secure_port(hub)
        to_hub = {"url": hub.at(), "ca_file": str(trusted), "certificate": str(mine[0]), "key": str(mine[1])}
        with Other(tmp_path, connect=[to_hub], peers=[{"peer_id": "hub", "fingerprints": [pair.fingerprint], "scopes": MINE}]) as spoke:
            wait_for(lambda: hub.has("old", "demo/whoami"))
            mine[1].chmod(0o640)
            spoke.reload_fails(f"{mine[1]}: ")
            take(new)
            trusted.write_bytes(b"".join(open(c.file, "rb").read() for c in (ca, next_ca)))
            spoke.signal(signal.SIGHUP)
            spoke.wait_event("reload")
            assert new.fingerprint in spoke.events("tls.certificate")[-1]["message"]
            assert hub.has("old", "demo/whoami"), "the open connection goes on"
            hub.stop()
            moved = next_ca.sign("moved")
            hub.config["tls"] = {"certificates": [moved.entry()]}
            hub.is_back(port)
            wait_for(lambda: hub.has("new", "demo/echo"))
            assert len(spoke.events("dial.open")) == 2


@pytest.mark.parametrize("entry,said", [
    ({"ca_file": "none.pem"}, "connect[0]: none.pem: "),
    ({"ca_file": "text"}, "connect[0]: text: "),
    ({"certificate": "mine.crt", "key": "open.key"}, "connect[0]: open.key: "),
    ({"certificate": "mine.crt", "key": "other.key"}, "connect[0]: "),
    ({"certificate": "mine.crt"}, "connect[0].certificate: does not go alone"),
    ({"pin": "SHA256:00"}, "connect[0]: pin: must be SHA256:"),
    ({"pin": "SHA256:" + "0" * 64}, None)])
def test_a_check_names_what_is_wrong(tmp_path, entry, said):
    mine, _ = self_signed(tmp_path, "mine"), self_signed(tmp_path, "other")
    (tmp_path / "text").write_text("no certificate\n")
    (tmp_path / "open.key").write_text(open(mine.key, encoding="ascii").read())
    (tmp_path / "open.key").chmod(0o640)
    (tmp_path / "c.json").write_text(json.dumps({"connect": [{"url": "alknet+tls://localhost", **entry}]}))
    done = subprocess.run([ALKNETD, "--config", "c.json", "--check"], cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert (done.returncode, said is None or said in done.stderr) == (int(said is not None), True), done.stderr


# ---- alknet -----------------------------------------------------------------------------------------------------------

@contextlib.contextmanager
def client(folder, url, *args, token=None):
    """A running alknet; what it says is in the file `said`."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), **({"ALKNET_TOKEN": token} if token else {})}
    with open(folder / "said", "wb") as said:
        process = subprocess.Popen([str(BIN / "alknet"), "-u", url, *args], env=environment, stdin=subprocess.DEVNULL, stdout=said, stderr=said)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
        process.wait(PATIENCE)


def said(folder):
    return (folder / "said").read_text()


@pytest.mark.parametrize("scheme", ["wss", "alknet+tls"])
def test_alknet_serves_over_tls(tmp_path, ca, spoke_pair, scheme):
    """As the peer of its token, or of its certificate."""
    with Hub(tmp_path, ca.sign("hub"), peers=[peer("spoke", spoke_pair, **({"auth_token_hashes": [key_for(PEER)["hash"]], "websocket": True}
                                                                          if scheme == "wss" else {}))]) as hub:
        port = secure_port(hub)
        mine = [] if scheme == "wss" else ["--cert", spoke_pair.certificate, "--key", spoke_pair.key]
        with client(tmp_path, hub.at(scheme), "serve", "demo/hello", "--cacert", ca.file, *mine, "--", "echo", '"hello"',
                    token=PEER if scheme == "wss" else None) as process:
            wait_for(lambda: hub.has("spoke", "demo/hello"))
            assert hub.through("spoke", "demo/hello").output == "hello"
            # A certificate that came later may be replaced.
            hub.stop()
            right, wrong = hub.config["tls"], self_signed(ca.folder, "wrong")
            hub.config["tls"] = {"certificates": [wrong.entry()]}
            hub.is_back(port)
            wait_for(lambda: "signed by itself, and is not trusted; trying again" in said(tmp_path))
            hub.stop()
            hub.config["tls"] = right
            hub.is_back(port)
            wait_for(lambda: hub.has("spoke", "demo/hello"))
            process.terminate()
            assert process.wait(PATIENCE) == 0, said(tmp_path)


@pytest.mark.parametrize("scheme", ["wss", "alknet+tls"])
@pytest.mark.parametrize("command", [["serve", "demo/hello", "--quiet", "--", "cat"], ["subscribe", "demo/clock", "--reconnect", "--quiet"],
                                     ["call", "demo/echo"]])
@pytest.mark.parametrize("fault,hint", [("authority", "--cacert"), ("name", "use a name that it is for"), ("pin", "somebody else answers"),
                                        ("expired", "needs a new certificate")])
def test_alknet_ends_on_a_certificate_that_will_never_do(tmp_path, ca, scheme, command, fault, hint):
    pair = {"authority": lambda: Authority(ca.folder, "other").sign("hub"), "name": lambda: ca.sign("hub", ("other.example",)),
            "pin": lambda: ca.sign("hub"), "expired": lambda: ca.sign("hub", begin="200101000000Z", end="200201000000Z")}[fault]()
    trust = ["--pin", "SHA256:" + "0" * 64] if fault == "pin" else ["--cacert", ca.file]
    with Hub(tmp_path, pair) as hub, client(tmp_path, hub.at(scheme), *trust, *command, token=PLAIN) as process:
        assert process.wait(PATIENCE) == 3 and hint in said(tmp_path), said(tmp_path)


def test_alknet_has_a_session_on_a_socket(tmp_path):
    with Other(tmp_path, listen=[LISTEN[0], {"unix": "hub.sock"}]) as hub:
        for scheme in ("unix", "ws+unix"):
            with client(tmp_path, f"{scheme}:{hub.folder}/hub.sock", "call", "demo/echo", "x=1", "-o", "json", token=PLAIN) as process:
                assert process.wait(PATIENCE) == 0 and said(tmp_path) == '{"x":1}\n', said(tmp_path)


def test_alknet_speaks_frames_on_a_socket(tmp_path):
    """The token goes along with the request."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen()
        listener.settimeout(PATIENCE)
        with client(tmp_path, f"alknet+unix:{tmp_path}/s", "call", "services/list", "-o", "json", token=PLAIN) as process:
            stream, _ = listener.accept()
            with stream:
                frames = Frames(stream)
                asked = frames.receive()
                assert asked["payload"]["auth_token"] == PLAIN
                frames.send(type="call.responded", id=asked["id"], payload={"output": {"operations": []}})
                assert process.wait(PATIENCE) == 0, said(tmp_path)
        assert said(tmp_path) == '{"operations":[]}\n'


@pytest.mark.parametrize("scheme", ["alknet+tls", "wss"])
def test_a_hub_that_resets_in_the_handshake_is_told_and_dialled_again(tmp_path, ca, scheme):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(PATIENCE)
        to_hub = {"url": f"{scheme}://localhost:{silent.getsockname()[1]}", "ca_file": ca.file, "token_file": token_file(tmp_path, PEER)}
        if scheme == "alknet+tls":
            del to_hub["token_file"]
            to_hub["peer"] = "hub"
        with Other(tmp_path, connect=[to_hub], peers=[{"peer_id": "hub", "scopes": MINE}]) as spoke:
            for n in range(2):
                stream = silent.accept()[0]
                assert stream.recv(1) == b"\x16", "a handshake begins"
                stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                stream.close()
                assert spoke.wait_event("dial.failed", n + 1)["message"] == "TLS: the connection was lost"
