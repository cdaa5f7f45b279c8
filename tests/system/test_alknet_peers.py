"""alknet and the peers of a node: what it lists, describes and calls there, what it says when that cannot be, and what
`serve` says of who can call it. An alknetd is the hub, `alknet serve` its spokes.
"""
import contextlib
import json
import os
import re
import signal
import subprocess
import threading

import pytest

from conftest import PATIENCE, Daemon, key_for, new_token, wait_for
from test_alknet_cli import ALKNET, CONNECTION, OK, REMOTE, USAGE, Client, complete, ok
from test_alknet_cli import alone, double, home  # pylint: disable=unused-import

NOT_ENABLED = "peers/call is not enabled there: peers_call in the configuration of alknetd does that"
SCOPE = "to call peers takes the scope peers:call, of an entry of keys or peers in the configuration of alknetd"
LIST_SCOPE = "to see peers takes the scope peers:list, of an entry of keys or peers in the configuration of alknetd"


CLEAR_AND_TLS = [{"host": "127.0.0.1", "port": 0}, {"host": "127.0.0.1", "port": 0, "tls": True}]


def over_ws(url):
    return url.replace("http://", "ws://")


class Hub(Daemon):
    """With the peers `spoke` and `other`, a peer `plain` that may not be one over WebSocket, and keys of several scopes."""

    def __init__(self, folder, **config):
        names = ("spoke", "other", "plain", "full", "listing", "calling", "none")
        self.of = {name: new_token() for name in names}
        scopes = {"full": ["demo:*", "peers:*"], "listing": ["peers:list"], "calling": ["peers:call"], "none": []}
        super().__init__(folder, {
            "peers": [{"peer_id": name, "auth_token_hashes": [key_for(self.of[name])["hash"]], "websocket": name != "plain",
                       "scopes": []} for name in names[:3]],
            "keys": [{**key_for(self.of[name], *scopes[name]), "description": name} for name in scopes],
            "peers_call": {"authority": {"label": "hub", "scopes": []},
                           "allow": [{"peer": "*", "operations": ["ui/*"]}]}, **config})
        if self.config["peers_call"] is None:
            del self.config["peers_call"]
            self.write_config()
        self.tokens += self.of.values()


class Network:
    """The hub, clients of it by the name of their token, and what serves there."""

    def __init__(self, folder, home_folder, **config):
        self.hub, self.home, self.serving = Hub(folder, **config).start(), home_folder, []

    def client(self, name="full", ws=False):
        return Client(self.home, over_ws(self.hub.url) if ws else self.hub.url, self.hub.of.get(name))

    def serve(self, name, *args, url=None):
        """A running `alknet serve`, once it has said who can call it; what it says is in `.said`."""
        client = self.client(name, ws=True)
        if url:
            client.env["ALKNET_URL"] = url
        process = client.start("serve", *args)
        process.said = []

        def collect():
            for line in process.stderr:
                process.said.append(line.decode())
        threading.Thread(target=collect, daemon=True).start()
        self.serving.append(process)
        wait_for(lambda: len(process.said) > 2 or process.poll() is not None)
        assert process.poll() is None, process.said
        return process

    def end(self):
        for process in self.serving:
            if process.poll() is None:
                process.terminate()
            assert process.wait(PATIENCE) == OK, process.said
            assert not re.search("Sanitizer|runtime error|alk_", "".join(process.said)), process.said
        self.hub.stop()


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """`spoke` serves ui/echo, ui/ticks and hidden/x; `other` serves ui/echo."""
    one = Network(tmp_path_factory.mktemp("hub"), tmp_path_factory.mktemp("home"))
    one.serve("spoke", "ui/echo", "ui/ticks:subscription", "hidden/x", "-d", "Of the spoke.", "--", "cat")
    one.serve("other", "ui/echo", "--", "echo", '"other"')
    yield one
    one.end()


@pytest.fixture
def made(tmp_path, home):
    with contextlib.ExitStack() as stack:
        def make(**config):
            one = Network(tmp_path, home, **config)
            stack.callback(one.end)
            return one
        yield make


@pytest.fixture(params=["http", "ws"])
def ws(request):
    return request.param == "ws"


# ---- ls -------------------------------------------------------------------------------------------------------------

def test_ls_lists_what_peers_serve_and_which_peer(network, ws):
    lines = network.client(ws=ws).output("ls", "echo").splitlines()
    assert lines == ["/demo/echo  query         -      Returns its input.",
                     "/ui/echo    query         spoke  Of the spoke.",
                     "/ui/echo    query         other"]


def test_ls_json_has_one_member_more(network, ws):
    client = network.client(ws=ws)
    own = client("ls", "--local", "-o", "json").json()
    all_of_it = client("ls", "-o", "json").json()
    assert list(own) == ["operations"] and list(all_of_it) == ["operations", "peers"]
    assert all_of_it["operations"] == own["operations"] == client("call", "services/list", "-o", "json").json()["operations"]
    listed = client("call", "services/list-peers", "-o", "json").json()["peers"]
    assert all_of_it["peers"] == [p for p in listed if p["peer_id"] != "local"] and len(all_of_it["peers"]) == 2


def test_ls_raw_has_the_peer_behind_a_tab(network):
    client = network.client()
    assert client.output("ls", "-o", "raw", "echo") == "/demo/echo\n/ui/echo\tspoke\n/ui/echo\tother\n"
    assert client.output("ls", "-o", "raw", "echo", "-l") == "/demo/echo\n"


@pytest.mark.parametrize("args, names", [
    ([], ["/hidden/x", "/ui/echo", "/ui/ticks"]),
    (["UI/"], ["/ui/echo", "/ui/ticks"]),
    (["/ui/e"], ["/ui/echo"]),
    (["of the SPOKE"], ["/hidden/x", "/ui/echo", "/ui/ticks"]),
    (["nothing"], []),
    (["-N", "ui"], ["/ui/echo", "/ui/ticks"]),
    (["-N", "u"], []),
    (["-T", "subscription"], ["/ui/ticks"]),
    (["-T", "query", "-N", "ui", "echo"], ["/ui/echo"]),
])
def test_ls_of_a_peer_has_its_operations_alone_and_the_same_filters(network, args, names):
    client = network.client()
    assert client.output("ls", "--peer", "spoke", "-o", "raw", *args).splitlines() == names
    one = client("ls", "--peer", "spoke", "-o", "json", *args).json()
    assert one["peer_id"] == "spoke" and ["/" + op["name"] for op in one["operations"]] == names
    assert [line.split()[0] for line in client.output("ls", "-p", "spoke", *args).splitlines()] == names
    assert not any("  spoke  " in line for line in client.output("ls", "-p", "spoke", *args).splitlines())


def test_ls_without_the_scope_lists_the_nodes_own_in_silence(network, ws):
    for name in ("calling", "none"):
        client = network.client(name, ws)
        done = client("ls", "-o", "json")
        assert (done.status, done.err, list(done.json())) == (OK, "", ["operations"])
        done = client("ls", "echo")
        assert (done.status, done.err, done.out) == (OK, "", "/demo/echo  query         Returns its input.\n")


def test_ls_of_a_peer_without_the_scope_says_which(network, ws):
    done = network.client("calling", ws)("ls", "--peer", "spoke")
    assert (done.status, done.out) == (REMOTE, "")
    assert done.err == f"FORBIDDEN: not allowed to call services/list-peers\nalknet: {LIST_SCOPE}\n"


def test_a_peer_that_is_not_connected_is_not_found(network):
    done = network.client()("ls", "--peer", "absent")
    assert (done.status, done.out, done.err) == (REMOTE, "", "alknet: no peer 'absent' is connected\n")


def test_a_node_that_knows_no_list_of_peers_has_its_own(double):
    def said(request, _):
        if b"list-peers" in request.body:
            return answer_error("NOT_FOUND", "operation not found: services/list-peers")
        return ok('{"operations":[{"name":"a/b"}]}')
    server = double(said)
    assert server.alknet.output("ls", "-o", "raw") == "/a/b\n"
    done = server.alknet("peers")
    assert done.status == REMOTE and done.err == "NOT_FOUND: operation not found: services/list-peers\n"


def answer_error(code, message):
    body = json.dumps({"code": code, "message": message, "retryable": False}).encode()
    return b"HTTP/1.1 404 Not Found\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body) + body


@pytest.mark.parametrize("fault, status", [("BUSY", REMOTE), ("INTERNAL", REMOTE)])
def test_any_other_failure_of_the_list_of_peers_is_one_of_ls(double, fault, status):
    server = double(lambda request, _: answer_error(fault, "now") if b"list-peers" in request.body else ok('{"operations":[]}'))
    done = server.alknet("ls")
    assert (done.status, done.out, done.err) == (status, "", f"{fault}: now\n")


@pytest.mark.parametrize("said", ['{}', '[]', '{"peers":{}}', 'null'])
def test_a_list_of_peers_that_is_none_is_status_3(double, said):
    server = double(lambda request, _: ok(said if b"list-peers" in request.body else '{"operations":[]}'))
    for command in (["ls"], ["ls", "-p", "a"], ["peers"]):
        done = server.alknet(*command)
        assert (done.status, done.out, done.err) == (CONNECTION, "", 'alknet: the remote\'s list has no "peers"\n')


@pytest.mark.parametrize("kind", ["pretty", "json", "raw"])
@pytest.mark.parametrize("command", [["ls"], ["peers"]])
def test_a_remote_cannot_control_the_terminal_by_a_peers_name(double, command, kind):
    evil = "a\x1b]0;owned\x07\u202e\t\n\u009b31m"
    peers = json.dumps({"peers": [{"peer_id": evil, "operations": [{"name": evil, "description": evil}]}, {"operations": 5}, 7]})
    server = double(lambda request, _: ok(peers if b"list-peers" in request.body else '{"operations":[]}'))
    _, seen = server.alknet.on_terminal(*command, "-o", kind, env={"NO_COLOR": "1"})
    assert "owned" in seen and "\\u202e" in seen
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]", seen), seen


# ---- peers ----------------------------------------------------------------------------------------------------------

def test_peers_lists_them_with_the_number_of_their_operations(network, ws):
    client = network.client(ws=ws)
    assert client.output("peers") == "spoke  3 operations\nother  1 operation\n"
    assert client.output("peers", "-o", "raw") == "spoke\nother\n"
    assert client("peers", "-o", "json").json() == {"peers": client("ls", "-o", "json").json()["peers"]}


def test_peers_without_the_scope_says_which(network, ws):
    done = network.client("none", ws)("peers")
    assert (done.status, done.out) == (REMOTE, "")
    assert done.err == f"FORBIDDEN: not allowed to call services/list-peers\nalknet: {LIST_SCOPE}\n"


def test_a_node_without_peers_has_an_empty_list(made):
    client = made().client()
    assert client.output("peers") == client.output("peers", "-o", "raw") == ""
    assert client.output("peers", "-o", "json") == '{"peers":[]}\n'
    assert client("ls", "-o", "json").json()["peers"] == []
    assert "  -  " not in client.output("ls", "echo")


# ---- describe, call, subscribe ----------------------------------------------------------------------------------------

def test_describe_of_a_peers_operation(network, ws):
    for name in ("full", "listing", "calling"):
        spec = network.client(name, ws)("describe", "--peer", "spoke", "/ui/ticks", "-o", "json").json()
        assert (spec["name"], spec["op_type"], spec["description"]) == ("ui/ticks", "subscription", "Of the spoke.")


@pytest.mark.parametrize("name, peer, operation", [("none", "spoke", "ui/echo"), ("full", "absent", "ui/echo"), ("full", "other", "ui/ticks")])
def test_describe_says_what_can_be_the_matter(network, name, peer, operation):
    done = network.client(name)("describe", "--peer", peer, operation)
    assert (done.status, done.out) == (REMOTE, "")
    assert done.err == (f"NOT_FOUND: operation not found: {operation}\nalknet: peer '{peer}' is not connected, or does not serve it, or you "
                        "may not see it: see the scopes peers:list and peers:call, and the rules of the operation\n")


def test_call_of_a_peer_keeps_the_input_and_the_output(network, ws):
    client = network.client("calling", ws)
    value = '{"a":[1.10,1e400,123456789012345678901234567890],"b":"\\u0000ü"}'
    assert client.output("call", "--peer", "spoke", "ui/echo", value, "-o", "json") == value.replace("\\u0000ü", "\\u0000ü") + "\n"
    assert client.output("call", "-p", "spoke", "/ui/echo", "-o", "json") == "{}\n"
    assert client.output("call", "-p", "other", "ui/echo", "x=1", "-o", "raw") == "other\n"


def test_any_peer_is_the_first_that_serves_it(network, ws):
    client = network.client(ws=ws)
    assert client.output("call", "--any-peer", "ui/echo", "5", "-o", "json") == "5\n"
    assert client.output("subscribe", "-y", "ui/ticks", "[5]") == "[5]\n"


def test_subscribe_to_a_peer(network, ws):
    client = network.client(ws=ws)
    assert client.output("subscribe", "--peer", "spoke", "ui/ticks", "[1,\n2]") == "[1,2]\n"


@pytest.mark.parametrize("command, operation", [("call", "peers/call"), ("subscribe", "peers/subscribe")])
def test_a_missing_scope_is_said(network, ws, command, operation):
    for which in (["--peer", "spoke"], ["--any-peer"]):
        done = network.client("listing", ws)(command, *which, "ui/echo")
        assert (done.status, done.out) == (REMOTE, "")
        assert done.err == f"FORBIDDEN: not allowed to call {operation}\nalknet: {SCOPE}\n"


@pytest.mark.parametrize("command, operation", [("call", "peers/call"), ("subscribe", "peers/subscribe")])
def test_a_node_that_does_not_pass_calls_on_is_told_from_an_absent_operation(made, ws, command, operation):
    client = made(peers_call=None).client(ws=ws)
    done = client(command, "--peer", "spoke", "ui/echo")
    assert done.status == REMOTE
    assert done.err == f"NOT_FOUND: operation not found: {operation}\nalknet: {NOT_ENABLED.replace('peers/call', operation)}\n"


@pytest.mark.parametrize("which, operation, why", [
    (["--peer", "absent"], "ui/echo", "peer 'absent' is not connected, or does not serve it, or you may not call it: see peers_call in"),
    (["--peer", "spoke"], "hidden/x", "peer 'spoke' is not connected, or does not serve it, or you may not call it: see peers_call in"),
    (["--any-peer"], "hidden/x", "no connected peer serves it, or you may not call it: see peers_call in"),
])
def test_what_no_peer_may_be_called_for_says_what_can_be_the_matter(network, ws, which, operation, why):
    done = network.client(ws=ws)("call", *which, operation)
    assert done.status == REMOTE
    assert done.err.startswith(f"NOT_FOUND: operation not found: {operation}\nalknet: {why}") and done.err.count("\n") == 2


def test_other_failures_and_the_nodes_own_operations_are_not_explained(network):
    client = network.client("none")
    assert client("call", "demo/none").err == "NOT_FOUND: operation not found: demo/none\n"
    done = network.client()("call", "-p", "spoke", "ui/echo", "--timeout", "5", "--", "5")
    assert (done.status, done.out) == (OK, "5\n")


def test_curl_prints_what_goes_to_the_peer(network):
    client = network.client()
    done = client.output("call", "-p", "spoke", "ui/echo", "a=1", "--curl", "-o", "json")
    assert subprocess.run(["sh", "-c", done], env={**client.env, "ALKNET_TOKEN": network.hub.of["full"]}, capture_output=True,
                          check=True).stdout.endswith(b'"output":{"a":1}}')
    assert client.output("ls", "--curl").count("curl") == 1 and "list-peers" not in client.output("ls", "--curl")
    assert "list-peers" in client.output("ls", "-p", "spoke", "--curl") and "list-peers" in client.output("peers", "--curl")


@pytest.mark.parametrize("args, why", [
    (["ls", "-p", "a b"], "the id of a peer is of letters, digits, '_', '.' and '-', not 'a b'"),
    (["ls", "-p", ""], "the id of a peer is of letters, digits, '_', '.' and '-', not ''"),
    (["call", "-p", "a/b", "x/y"], "the id of a peer is of letters, digits, '_', '.' and '-', not 'a/b'"),
    (["ls", "-p", "a", "-l"], "--peer cannot be given with '--local'"),
    (["call", "-p", "a", "-y", "x/y"], "--peer cannot be given with '--any-peer'"),
    (["describe", "-y", "x/y"], "this command does not take the option 'any-peer'"),
    (["batch", "-p", "a", "-"], "this command does not take the option 'peer'"),
    (["peers", "-p", "a"], "this command does not take the option 'peer'"),
    (["peers", "a"], "one operand too many 'a'"),
])
def test_wrong_usage_is_status_2(alone, args, why):
    done = alone(*args)
    assert (done.status, done.out) == (USAGE, "") and why in done.err, done.err


# ---- completion -----------------------------------------------------------------------------------------------------

def test_completion_of_peers_and_of_what_they_serve(network):
    client = network.client()
    assert complete(client, "alknet call --peer ") == ["spoke", "other"]
    assert complete(client, "alknet ls -p s") == ["spoke"]
    assert complete(client, "alknet call --peer spoke ") == ["hidden/x", "ui/echo"]
    assert complete(client, "alknet describe -p spoke /ui/") == ["/ui/echo", "/ui/ticks"]
    assert complete(client, "alknet subscribe --peer=spoke ") == ["ui/ticks"]
    assert complete(client, "alknet call -p other ui/") == ["ui/echo"]
    assert complete(client, "alknet subscribe --any-peer ui/t") == ["ui/ticks"] and complete(client, "alknet call -y ui/t") == []
    assert set(complete(client, "alknet call -y ")) == {"hidden/x", "ui/echo"}
    assert complete(client, "alknet call ui/") == [], "without --peer it would not be found"
    assert complete(network.client("none"), "alknet call --peer ") == []


def test_completion_never_runs_what_a_remote_says_of_peers(double, tmp_path):
    mark = tmp_path / "mark"
    ids = [f"$(touch {mark})", f"`touch {mark}`", "a;b", "*", "good", "\x1b[31m"]
    peers = {"peers": [{"peer_id": i, "operations": [{"name": "x/" + i}, {"name": "x/y"}]} for i in ids]}
    server = double(lambda request, _: ok(json.dumps(peers if b"list-peers" in request.body else {"operations": []})))
    assert complete(server.alknet, "alknet call --peer ") == ["good"]
    assert complete(server.alknet, "alknet call --peer good x/") == ["x/good", "x/y"]
    assert complete(server.alknet, f"alknet call --peer $(touch${{IFS}}{mark}) x/") == []
    assert not mark.exists()


# ---- serve ----------------------------------------------------------------------------------------------------------

def told(process):
    """What it says behind `serving`, without the URL."""
    return process.said[2].split(": ", 2)[2].rstrip("\n")


def test_serve_says_as_which_peer_it_is_called(made):
    network = made()
    assert told(network.serve("spoke", "ui/x", "--", "cat")) == (
        "it is peer 'spoke' there: who has the scope peers:call can call it (--peer spoke)")
    assert network.client("calling").output("call", "--peer", "spoke", "ui/x", "5") == "5\n"
    assert network.hub.wait_event("import.done")["message"] == (
        "of a peer: peers/call (1 of 1), handlers with them in their environment")
    assert network.hub.events("import.done")[0]["identity"] == "spoke" and network.hub.events("import.done")[0]["count"] == 1


@pytest.mark.parametrize("config, why", [
    ({"peers_call": None}, "but peers/call is not enabled (peers_call in the hub's configuration): only handlers of the hub can call it"),
    ({}, "but peers_call in the hub's configuration leads to 1 of 2 operations"),
    ({"peers_call": {"authority": {"label": "hub", "scopes": []}, "allow": [{"peer": "other", "operations": ["ui/*", "a/*"]}]}},
     "but peers_call in the hub's configuration leads to 0 of 2 operations"),
])
def test_serve_says_why_a_peer_is_not_called(made, config, why):
    assert told(made(**config).serve("spoke", "ui/x", "a/x", "--", "cat")) == f"it is peer 'spoke' there, {why}"


@pytest.mark.parametrize("name, why", [
    ("full", "the token is of one of the hub's keys, and not of a peer"),
    ("plain", "over WebSocket a peer needs websocket: true in its entry in the hub's configuration"),
])
def test_serve_says_why_it_is_no_peer(made, name, why):
    network = made()
    assert told(network.serve(name, "ui/x", "--", "cat")) == (
        f"only operations that are called in this session can call it: {why}")
    assert network.client()("call", "--any-peer", "ui/x").status == REMOTE
    assert network.hub.wait_event("import.done")["message"] == "of no peer: only who has this connection calls them"


def test_a_token_over_a_framed_stream_makes_no_peer(made, alone):
    network = made(listen=CLEAR_AND_TLS)
    url = f"alknet+tls://127.0.0.1:{network.hub.events('listening')[1]['port']}"
    process = network.serve("spoke", "ui/x", "--pin", alone.output("fingerprint", url).strip(), "--", "cat", url=url)
    assert told(process) == ("only operations that are called in this session can call it: a token makes no peer here, a "
                             "certificate or a key does")
    said = network.client()("call", "peers/call", "operation=ui/x")
    assert said.status == REMOTE and said.err == "NOT_FOUND: operation not found: ui/x\n"


def test_a_key_without_the_scope_to_announce_is_told_so(made):
    network = made(announce_scope="announce")
    done = network.client("none", ws=True)("serve", "ui/x", "--", "cat")
    assert done.status == REMOTE
    assert "announce: not allowed to call services/announce\nalknet: that takes a peer's token, or the scope that announce_scope" in done.err


def test_a_connected_alknetd_says_who_can_call_it_there(made, make_daemon, tmp_path):
    network = made(peers_call={"authority": {"label": "hub", "scopes": []}, "allow": [{"peer": "spoke", "operations": ["demo/echo"]}]})
    file = tmp_path / "token"
    file.write_text(network.hub.of["spoke"])
    file.chmod(0o600)
    folder = tmp_path / "spoke"
    folder.mkdir()
    spoke = Daemon(folder, {"connect": [{"url": over_ws(network.hub.url), "token_file": str(file), "name": "the hub"}]}).start()
    try:
        message = spoke.wait_event("connect.announced")["message"]
        assert message.startswith("the hub: ")
        said = json.loads(message.removeprefix("the hub: "))
        assert (said["kind"], said["peer_id"], said["peers_call"]) == ("peer", "spoke", 1) and said["imported"] > 1
    finally:
        spoke.stop()


# ---- keys -----------------------------------------------------------------------------------------------------------

def test_keygen_writes_a_key_that_nobody_else_can_read_and_prints_its_fingerprint(alone, tmp_path):
    file = tmp_path / "node.key"
    printed = alone.output("keygen", str(file))
    assert re.fullmatch(r"ed25519:[0-9a-f]{64}\n", printed) and file.stat().st_mode & 0o777 == 0o600
    public = subprocess.run(["openssl", "pkey", "-in", file, "-pubout", "-outform", "DER"], check=True, capture_output=True).stdout
    assert printed == f"ed25519:{public[-32:].hex()}\n", "as another implementation reads the key"
    pem = tmp_path / "public.pem"
    pem.write_bytes(subprocess.run(["openssl", "pkey", "-in", file, "-pubout"], check=True, capture_output=True).stdout)
    assert alone.output("fingerprint", str(file)) == alone.output("fingerprint", str(pem)) == printed


def test_keygen_never_overwrites(alone, tmp_path):
    file = tmp_path / "node.key"
    file.write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for path in (file, tmp_path / "link", tmp_path / "none" / "key"):
        done = alone("keygen", str(path))
        assert (done.status, done.out) == (USAGE, "") and str(path) in done.err, done.err
    assert file.read_text() == "mine" and not (tmp_path / "nowhere").exists()


def test_fingerprint_of_a_certificate_is_that_of_other_programs(alone, tmp_path):
    key, certificate = tmp_path / "c.key", tmp_path / "c.crt"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=x",
                    "-keyout", key, "-out", certificate], check=True, capture_output=True)
    said = subprocess.run(["openssl", "x509", "-in", certificate, "-noout", "-fingerprint", "-sha256"], check=True,
                          capture_output=True, text=True).stdout
    assert alone.output("fingerprint", str(certificate)) == "SHA256:" + said.split("=")[1].strip().replace(":", "").lower() + "\n"


def test_fingerprint_of_a_server_is_what_it_shows(alone, made, tmp_path):
    node_key = tmp_path / "node.key"
    printed = alone.output("keygen", str(node_key))
    network = made(listen=[*CLEAR_AND_TLS, {"host": "127.0.0.1", "port": 0, "quic": True}], node_key=str(node_key))
    tls, quic = (network.hub.wait_event("listening", n)["port"] for n in (2, 3))
    said = network.hub.events("tls.certificate")[0]["message"]
    for scheme in ("https", "wss", "alknet+tls"):
        shown = alone.output("fingerprint", f"{scheme}://127.0.0.1:{tls}")
        assert re.fullmatch(r"SHA256:[0-9a-f]{64}\n", shown) and shown.strip() in said
    assert alone.output("fingerprint", f"alknet://127.0.0.1:{quic}") == printed


@pytest.mark.parametrize("what, status, why", [
    ("/no/such/file", USAGE, "/no/such/file"), (__file__, USAGE, __file__), ("http://127.0.0.1:1", USAGE, "is not encrypted"),
    ("ws://127.0.0.1:1", USAGE, "is not encrypted"), ("https://127.0.0.1:1", CONNECTION, "127.0.0.1:1"),
    ("alknet+tls://127.0.0.1:1", CONNECTION, "127.0.0.1:1"), ("nothing://x", USAGE, "is not encrypted"),
])
def test_what_has_no_fingerprint_is_told(alone, what, status, why):
    done = alone("fingerprint", what)
    assert (done.status, done.out) == (status, "") and why in done.err, done.err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_while_serve_begins_ends_it_as_a_later_one(tmp_path, number):
    """It waits for its token, which is before there is a session."""
    token = tmp_path / "token"
    os.mkfifo(token, 0o600)
    process = subprocess.Popen([ALKNET, "-u", "ws://127.0.0.1:1", "-F", str(token), "serve", "a/b", "--", "cat"], stderr=subprocess.PIPE,
                               preexec_fn=lambda: signal.signal(number, signal.SIG_DFL))
    writer = wait_for(lambda: opened_by_its_reader(token))
    try:
        process.send_signal(number)
        assert process.wait(PATIENCE) == OK and not process.stderr.read()
    finally:
        os.close(writer)
        process.kill()
        process.wait()
        process.stderr.close()


def opened_by_its_reader(fifo):
    try:
        return os.open(fifo, os.O_WRONLY | os.O_NONBLOCK)
    except OSError:
        return None
