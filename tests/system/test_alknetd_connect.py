"""alknetd and other nodes: connections that it opens, what it imports, whom it says it calls for, sessions in its log."""
import contextlib
import os
import pathlib
import signal
import time

import pytest

from conftest import PATIENCE, key_for, new_token, wait_for
from rawhttp import PEER, PLAIN, TRACE, Node, message
from rawws import Socket, ask_upgrade, operation, upgrade

DEPUTY = "alk_dep8" + "789abcdef0123456" * 2
PEERS = [{"peer_id": "peer-a", "auth_token_hashes": [key_for(PEER)["hash"]], "scopes": ["demo:*"], "websocket": True}]
SERVING = "alk_srv9" + "89abcdef01234567" * 2
KEYS = [key_for(PLAIN), key_for(SERVING, "hub:serve"), key_for(DEPUTY, "peers:call", "peers:list", "demo:secret")]
ALLOW = {"authority": {"label": "deputy", "scopes": ["demo:*"]}, "allow": [{"peer": "*", "operations": ["demo/*", "ui/*"]}]}
QUIET = {"limits": {"ping_ms": 0, "drain_ms": 300}}


class Other(Node):
    """keys and peers as above unless given; DEPUTY may call peers."""

    def __init__(self, folder, **config):
        super().__init__(folder, **{"keys": KEYS, "peers": PEERS, "peers_call": ALLOW, **config})
        self.tokens += [DEPUTY, SERVING]

    def through(self, peer, name, value=None):
        """peers/call, as the deputy."""
        return self.ask("POST", "/call", {"operation": "peers/call", "input": {"peer": peer, "operation": name, "input": value}},
                        token=DEPUTY)

    def has(self, peer, name):
        listed = self.ask("POST", "/call", {"operation": "services/list-peers", "input": {}}, token=DEPUTY).output["peers"]
        return any(o["name"] == name for p in listed if p["peer_id"] == peer for o in p["operations"])


def token_file(folder, token, mode=0o600):
    path = folder / ("token." + os.urandom(4).hex())
    path.write_text(token + "\n")
    path.chmod(mode)
    return str(path)


def test_a_spoke_is_called_through_its_hub(tmp_path):
    with Other(tmp_path) as hub:
        to_hub = {"url": f"ws://127.0.0.1:{hub.port}", "token_file": token_file(tmp_path, PEER), "name": "the hub"}
        with Other(tmp_path, connect=[to_hub]) as spoke:
            assert spoke.wait_event("connect.ready")["message"] == "the hub"
            wait_for(lambda: hub.has("peer-a", "demo/echo"))
            assert hub.through("peer-a", "demo/echo", [1]).output == [1]
            assert hub.through("peer-a", "demo/whoami").status == 404, "nobody may not call it, and the import did not see it"
            assert spoke.find(event="call", operation="demo/echo"), "it ran there"
        wait_for(lambda: hub.through("peer-a", "demo/echo", [1]).status == 404)
        assert hub.wait_event("session.close")["identity"] == "peer-a"


def test_a_hub_with_an_entry_is_somebody(tmp_path):
    """The hub's calls have the identity of the entry, and what it serves can be called from here."""
    with Other(tmp_path) as hub:
        entry = {"peer_id": "hub", "websocket": True, "scopes": ["demo:secret"]}
        to_hub = {"url": f"ws://127.0.0.1:{hub.port}", "token_file": token_file(tmp_path, PEER), "peer": "hub"}
        with Other(tmp_path, connect=[to_hub], peers=[entry]) as spoke:
            wait_for(lambda: spoke.has("hub", "demo/echo"))
            assert spoke.through("hub", "demo/echo", 5).output == 5
            wait_for(lambda: hub.has("peer-a", "demo/whoami"))
            assert hub.through("peer-a", "demo/whoami").output["id"] == "hub"


def test_a_lost_hub_is_dialled_again(tmp_path):
    with Other(tmp_path) as hub:
        port = hub.port
        to_hub = {"url": f"ws://127.0.0.1:{port}", "token_file": token_file(tmp_path, PEER)}
        with Other(tmp_path, connect=[to_hub]) as spoke:
            wait_for(lambda: hub.has("peer-a", "demo/echo"))
            hub.stop()
            spoke.wait_event("dial.failed")
            hub.config["listen"] = [{"host": "127.0.0.1", "port": port}]
            hub.write_config()
            hub.start()
            wait_for(lambda: hub.has("peer-a", "demo/echo"))
            assert len(spoke.events("dial.open")) == 2


def test_a_wrong_token_is_said_and_not_shown(tmp_path):
    wrong = new_token()
    with Other(tmp_path) as hub:
        with Other(tmp_path, connect=[{"url": f"ws://127.0.0.1:{hub.port}", "token_file": token_file(tmp_path, wrong)}]) as spoke:
            spoke.tokens.append(wrong)
            assert "401" in spoke.wait_event("dial.failed")["message"]


def test_an_import_that_fails_is_said(tmp_path):
    """The prefix makes a name that is reserved."""
    with Other(tmp_path) as hub:
        to_hub = {"url": f"ws://127.0.0.1:{hub.port}", "token_file": token_file(tmp_path, PLAIN), "name": "hub",
                  "import": {"namespace_prefix": "services"}}
        with Other(tmp_path, connect=[to_hub]) as spoke:
            assert spoke.wait_event("connect.incomplete")["message"].startswith("hub: ")


@pytest.mark.parametrize("mode", [0o640, 0o604])
def test_a_token_file_that_others_can_read_is_refused(make_daemon, tmp_path, mode):
    path = token_file(tmp_path, PEER, mode)
    daemon = make_daemon({"connect": [{"url": "ws://127.0.0.1:1", "token_file": path}]}).start(wait=False)
    daemon.ended(status=1)
    assert f"{path}: others may read it (mode {mode:04o})" in daemon.log_text() and PEER not in daemon.log_text()


# ---- what is imported, and what is said -------------------------------------------------------------------------------

@pytest.mark.parametrize("wanted", [True, False])
def test_what_a_peer_serves_is_imported_when_it_connects(tmp_path, wanted):
    with Other(tmp_path, auto_import=wanted, **QUIET) as node, Socket(node.port, PEER) as peer:
        if wanted:
            assert peer.requested("services/list")
        else:
            assert peer.quiet(0.3)


@pytest.mark.parametrize("token,scope,may", [
    (PLAIN, None, True), (PLAIN, "hub:serve", False), (SERVING, "hub:serve", True), (SERVING, "hub:server", False),
    (PEER, "hub:serve", True)])
def test_who_may_announce(tmp_path, token, scope, may):
    """Every key unless there is a scope for it, and a peer always."""
    asked = {} if scope is None else {"announce_scope": scope}
    mine = operation("ui/mine", lambda _: "me", access_control={"required_scopes": []})
    with Other(tmp_path, auto_import=False, **asked, **QUIET) as node, Socket(node.port, token) as socket:
        if may:
            socket.announce(mine)
        else:
            assert socket.fault("services/announce", {}).code == "FORBIDDEN"
            assert socket.quiet(), "it is not asked what it serves"


@pytest.mark.parametrize("mode,said", [
    (None, {"id": DEPUTY[:8], "scopes": [], "resources": {}}), ("id", {"id": DEPUTY[:8], "scopes": [], "resources": {}}), ("none", None),
    ("full", {"id": DEPUTY[:8], "scopes": ["demo:secret", "peers:call", "peers:list"], "resources": {}})])
def test_whom_a_call_is_for(tmp_path, mode, said):
    heard = []
    with Other(tmp_path, auto_import=False, **({"forwarded_for": mode} if mode else {}), **QUIET) as node:
        with Socket(node.port, PEER) as peer, node.wire() as wire:
            mine = operation("ui/who", lambda _: "me", access_control={"required_scopes": []})
            peer.announce(mine)
            wait_for(lambda: node.has("peer-a", "ui/who"))
            asked = {"operation": "peers/call", "input": {"peer": "peer-a", "operation": "ui/who"}}
            wire.send(message("POST", "/call", asked, token=DEPUTY, host=wire.host))
            ident, payload = peer.requested("ui/who")
            heard.append(payload.get("forwarded_for"))
            peer.answer(ident, payload, mine)
            assert wire.reply().output == "me"
    if heard[0]:
        heard[0]["scopes"].sort()
    assert heard == [said]


# ---- sessions ---------------------------------------------------------------------------------------------------------

def test_sessions_are_logged_with_their_tenant(tmp_path):
    with Other(tmp_path, gateway={"tenant_header": "X-Tenant"}) as node:
        with Socket(node.port, PLAIN, {"X-Tenant": "acme", "traceparent": TRACE}) as socket:
            assert socket.call("demo/echo", 1) == 1
            said = node.wait_event("session.open")
            assert (said["tenant"], said["identity"], said["traceparent"], said["remote"]) == (
                "acme", PLAIN[:8], TRACE, "127.0.0.1")
            socket.bye(1000)
        said = node.wait_event("session.close")
        assert (said["tenant"], said["code"]) == ("acme", 1000)


@pytest.mark.parametrize("config,status", [({"gateway": {"websocket": False}}, 404), ({"workers": 2}, 101), ({}, 101)])
def test_websocket_can_be_off(tmp_path, config, status):
    with Other(tmp_path, **config) as node, node.wire() as wire:
        wire.send(upgrade(wire.host, token=PLAIN))
        assert wire.reply().status == status


# ---- reload -----------------------------------------------------------------------------------------------------------

def test_what_a_reload_leaves_alone_is_said(tmp_path):
    with Other(tmp_path) as node:
        node.write_config(forwarded_for="none", metrics={"listen": {"port": 0}},
                          auto_import=False, peers_call={**ALLOW, "allow": []})
        node.signal(signal.SIGHUP)
        said = node.wait_event("reload.partial")["message"]
        assert said.endswith(": metrics, forwarded_for, auto_import, peers_call"), said


def test_the_new_limits_are_reloaded(tmp_path):
    with Other(tmp_path) as node:
        node.write_config(limits={"websocket_sessions": 1, "drain_ms": 300})
        node.signal(signal.SIGHUP)
        node.wait_event("reload")
        with Socket(node.port, PLAIN) as socket, node.wire() as wire:
            assert socket.call("demo/echo", 1) == 1
            assert ask_upgrade(wire, token=PLAIN).status == 503


# ---- connections that a reload changes ----------------------------------------------------------------------------------

def reload(node, **changes):
    before = len(node.events("reload"))
    node.write_config(**changes)
    node.signal(signal.SIGHUP)
    node.wait_event("reload", before + 1)


def to(hub, folder, **more):
    return {"url": f"ws://127.0.0.1:{hub.port}", "token_file": token_file(folder, PEER), "name": "the hub", **more}


@pytest.fixture
def hub(tmp_path):
    with Other(tmp_path) as node:
        yield node


@pytest.fixture
def spoke(tmp_path, hub):
    """It has found the hub."""
    with Other(tmp_path, connect=[to(hub, tmp_path)], **QUIET) as node:
        node.wait_event("connect.ready")
        wait_for(lambda: hub.has("peer-a", "demo/echo"))
        yield node


@contextlib.contextmanager
def sleeping(hub, ms, peer="peer-a"):
    """A call through the hub that is running: its answer."""
    with hub.wire(timeout=PATIENCE) as wire:
        asked = {"operation": "peers/call", "input": {"peer": peer, "operation": "demo/sleep", "input": {"ms": ms}}}
        wire.send(message("POST", "/call", asked, token=DEPUTY, host=wire.host))
        time.sleep(0.2)
        yield wire.reply


def test_a_connection_is_added_and_taken_out_by_a_reload(tmp_path, hub):
    with Other(tmp_path, **QUIET) as node:
        reload(node, connect=[to(hub, tmp_path)])
        wait_for(lambda: hub.has("peer-a", "demo/echo"))
        assert hub.through("peer-a", "demo/echo", [1]).output == [1]
        with sleeping(hub, 60000) as reply:
            reload(node, connect=[])
            assert "connection closed" in reply().body.decode()
        assert [e["message"] for e in node.events("connect.closed")] == ["the hub"]
        assert hub.wait_event("session.close")["code"] == 1000
        assert hub.through("peer-a", "demo/echo", [1]).status == 404
        time.sleep(0.6)  # more than the first wait of who dials again
        assert len(node.events("dial.open")) == 1 and not node.events("dial.lost") and not node.events("dial.failed")
        assert not node.events("reload.partial")


def test_what_is_the_same_stays_with_its_calls(tmp_path, hub, spoke):
    """Wherever it is in the list, as often as that is read."""
    same = spoke.config["connect"][0]
    with Other(tmp_path) as other, sleeping(hub, 1500) as reply:
        reload(spoke, connect=[to(other, tmp_path, name="the other"), same])
        wait_for(lambda: other.has("peer-a", "demo/echo"))
        reload(spoke, connect=[same, to(other, tmp_path, name="the other")])
        reload(spoke, connect=[same])
        assert reply().status == 200
        assert {e["message"] for e in spoke.events("connect.closed")} == {"the other"}
        assert len(hub.events("session.open")) == 1 and not hub.events("session.close")


def test_entries_that_say_the_same_are_as_many_connections(tmp_path, hub, spoke):
    same = spoke.config["connect"][0]
    reload(spoke, connect=[same, same])
    spoke.wait_event("dial.open", 2)
    reload(spoke, connect=[same, same])
    reload(spoke, connect=[same])
    spoke.wait_event("connect.closed")
    hub.wait_event("session.close")
    time.sleep(0.2)
    assert len(spoke.events("dial.open")) == 2 and len(spoke.events("connect.closed")) == 1


@pytest.mark.parametrize("what", ["text", "token"])
def test_what_has_changed_is_dialled_anew(hub, spoke, what):
    """The text of its entry, or what its token_file holds."""
    entry = dict(spoke.config["connect"][0])
    if what == "text":
        entry["name"] = "the same hub"
    else:
        pathlib.Path(entry["token_file"]).write_text(SERVING + "\n")
    reload(spoke, connect=[entry])
    spoke.wait_event("dial.open", 2)
    hub.wait_event("session.close")
    opened = [e["identity"] for e in hub.events("session.open")]
    assert opened == ["peer-a", "peer-a" if what == "text" else SERVING[:8]]
    assert spoke.wait_event("connect.ready", 2)["message"] == entry["name"]
    assert [e["message"] for e in spoke.events("connect.closed")] == ["the hub"]


BAD = [({"url": "ws://127.0.0.1:65536"}, "connect[1]: url: the port must be 1 to 65535"),
       ({"url": "alknet://127.0.0.1#ed25519:12"}, "connect[1]: url: behind # must be"),
       ({"url": "ws+unix:" + 120 * "x"}, "connect[1]: url: the path of the socket is missing or too long"),
       ({"url": "ws://127.0.0.1:1", "token_file": "/nowhere"}, "/nowhere: "),
       ({"url": "wss://127.0.0.1:1", "ca_file": "/nowhere"}, "/nowhere"),
       ({"url": "ws://127.0.0.1:1", "peer": "nobody"}, "connect[1].peer: is none of the peers")]


@pytest.mark.parametrize("entry,said", BAD, ids=[said for _, said in BAD])
def test_a_bad_one_changes_nothing(tmp_path, hub, spoke, entry, said):
    """Neither the other connections nor what else the file says."""
    before = dict(spoke.config)
    spoke.write_config(connect=[to(hub, tmp_path, name="another"), entry], keys=[], node_key=str(tmp_path / "new.key"))
    spoke.reload_fails(said)
    assert hub.through("peer-a", "demo/echo", 1).output == 1
    assert spoke.ask("GET", "/search", token=DEPUTY).status == 200, "the keys are those of before"
    assert not spoke.events("connect.closed") and len(hub.events("session.open")) == 1
    assert not (tmp_path / "new.key").exists() and not spoke.events("key.made")
    reload(spoke, **before)
    assert hub.through("peer-a", "demo/echo", 1).output == 1 and len(hub.events("session.open")) == 1


@pytest.mark.parametrize("first", [signal.SIGHUP, signal.SIGTERM])
def test_a_reload_beside_the_end(tmp_path, hub, spoke, first):
    """Connections that come while the daemon ends are closed with the others."""
    spoke.write_config(connect=[to(hub, tmp_path, name=str(n)) for n in range(20)])
    for number in (first, signal.SIGHUP, signal.SIGTERM, signal.SIGHUP, signal.SIGTERM):
        spoke.signal(number)
    spoke.ended()


def test_many_reloads_leave_one_connection(tmp_path, hub, spoke):
    for n in range(60):
        spoke.write_config(connect=[to(hub, tmp_path, name=f"hub {n}")])
        spoke.signal(signal.SIGHUP)
    reload(spoke, connect=[to(hub, tmp_path, name="the last")])
    wait_for(lambda: any(e["message"] == "the last" for e in spoke.events("connect.ready")))
    wait_for(lambda: len(hub.events("session.open")) == len(hub.events("session.close")) + 1)
    assert hub.through("peer-a", "demo/echo", 1).output == 1
