"""alknetd from outside: its command line, start, reload, drain, log, plugins, sockets, and the demo operations."""
import contextlib
import fcntl
import hashlib
import http.client
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import threading
import time

import pytest

from conftest import ALKNETD, PATIENCE, ROOT, Answer, UnixConnection, key_for, new_token, wait_for

EXAMPLES = pathlib.Path(os.environ.get("ALKNET_EXAMPLES", pathlib.Path(ALKNETD).parents[1] / "examples"))
PLUGIN = EXAMPLES / "plugin_hello.so"


def alknetd(*args, **kwargs):
    return subprocess.run([ALKNETD, *map(str, args)], capture_output=True, text=True, timeout=60, check=False, **kwargs)


def check(path, text, *args):
    """What --check says about a configuration with that text: exit status and its one line."""
    path.write_text(text)
    done = alknetd("--config", path, "--check", *args)
    assert "Sanitizer" not in done.stderr, done.stderr
    return done.returncode, (done.stdout + done.stderr).strip()


class Background(threading.Thread):
    """Runs fn; .result() waits for what it returned."""

    def __init__(self, fn, *args, **kwargs):
        super().__init__(daemon=True)
        self.fn, self.args, self.kwargs, self.value, self.error = fn, args, kwargs, None, None
        self.start()

    def run(self):
        try:
            self.value = self.fn(*self.args, **self.kwargs)
        except Exception as error:  # handed on by result
            self.error = error

    def result(self):
        self.join(PATIENCE)
        assert not self.is_alive(), "no answer"
        if self.error:
            raise self.error
        return self.value


class Calls:
    """How many of a daemon's calls run, besides those that ran when this was made."""

    def __init__(self, daemon):
        self.daemon, self.before = daemon, 0
        self.before = self.number()

    def number(self):
        listed = self.daemon.output("metrics/list", {})["metrics"]
        return sum(m["value"] for m in listed if m["name"] == "calls_running") - self.before

    def wait(self, number):
        wait_for(lambda: self.number() == number)


# ---- the command line ---------------------------------------------------------------------------------------------

def test_version_and_help_go_to_standard_output():
    done = alknetd("--version")
    assert (done.returncode, done.stderr) == (0, "") and re.fullmatch(r"alknetd \d+\.\d+\.\d+\n", done.stdout)
    done = alknetd("--help")
    assert (done.returncode, done.stderr) == (0, "") and "--workers" in done.stdout and "SIGHUP" in done.stdout


@pytest.mark.parametrize("args", [[], ["--check"], ["--nonsense"], ["--config"], ["--config", "x", "y"],
                                  ["--config", "x", "--workers", "0"], ["--config", "x", "--workers", "2x"],
                                  ["--config", "x", "--workers", "-1"], ["--config", "x", "--workers", "257"]])
def test_wrong_usage_is_status_2_and_goes_to_standard_error(args):
    done = alknetd(*args)
    assert done.returncode == 2 and done.stdout == "" and done.stderr


def test_a_missing_configuration_says_which(tmp_path):
    done = alknetd("--config", tmp_path / "none.yaml")
    assert done.returncode == 1
    assert done.stderr == f"alknetd: {tmp_path}/none.yaml: No such file or directory\n"


# ---- --check ------------------------------------------------------------------------------------------------------

GOOD = """
listen:
  - host: 127.0.0.1
    port: 4780
  - unix: alknet.sock
    mode: "0660"
workers: 1
demo: true
debug_outputs: true
core_dumps: true
gateway:
  decoy: {kind: redirect, target: "https://example.org/"}
  stealth: true
  health_path: /alive
  hosts: [api.example.org]
  origins: ["https://app.example.org"]
  websocket: true
  tenant_header: X-Tenant
forwarded_for: full
auto_import: true
announce_scope: hub:serve
peers_call:
  authority: {label: deputy, scopes: ["fs:read"], resources: {room: [one]}}
  allow: [{peer: "*", operations: ["fs/*", "demo/echo"]}]
metrics: {listen: {host: "::1", port: 9464}}
connect:
  - {url: "ws://127.0.0.1:4781", name: hub, peer: spoke}
  - {url: "ws://[::1]:4782/other", import: {namespace_prefix: other, operations: [fs/read]}}
log: {format: json, level: debug}
limits: {body_bytes: 1MiB, deadline_ms: 5s, calls_per_second: 100, ping_ms: 0, websocket_sessions: 10}
peers:
  - peer_id: spoke
    websocket: true
    fingerprints: ["ed25519:%s"]
    scopes: [a]
    resources: {room: [one]}
keys:
  - prefix: alk_abcd
    hash: %s
    scopes: ["demo:*"]
    expires_at: 2030-01-01T00:00:00Z
""" % ("ab" * 32, "cd" * 32)


def test_check_accepts_a_configuration_with_everything(tmp_path):
    path = tmp_path / "good.yaml"
    assert check(path, GOOD) == (0, f"{path}: OK")


WRONG = [
    ("listen:\n  - port: 99999\n", 2, "listen[0].port: must be a whole number between 0 and 65535"),
    ("demo: true\nlisten:\n  - prot: 1\n", 3, 'listen[0]: there is no member "prot"; did you mean "port"?'),
    ("demo: yes\n", 1, "demo: must be true or false"),
    ("a: [1\n", 1, "a list whose \"]\", or a comma, is missing"),
    ("keys:\n  - prefix: alk_abcd\n    hash: beef\n", 3, "keys[0].hash: "),
    ("keys:\n  - prefix: short\n    hash: " + "ab" * 32 + "\n", 2, "keys[0].prefix: "),
    ("peers:\n  - peer_id: local\n", 2, "peers[0].peer_id: "),
    ("peers:\n  - peer_id: a\n  - peer_id: a\n", 3, "peers[1].peer_id: "),
    ("keys:\n  - prefix: alk_abcd\n    hash: %s\n    expires_at: tomorrow\n" % ("ab" * 32), 4, "keys[0].expires_at: "),
    ("connect:\n- url: http://a\n", 2, 'connect[0].url: must begin with alknet://, ws://, wss://'),
    ("connect:\n- url: ws://a\n  peer: b\n", 3, "connect[0].peer: is none of the peers"),
    ("connect:\n- url: ws://a\n- url: ws://a:0\n", 3, "connect[1]: url: the port must be 1 to 65535"),
    ("connect:\n- url: alknet://a#b\n", 2, "connect[0]: url: behind # must be ed25519: or SHA256:"),
    ("demo: true\npeers_call: {authority: {label: a}, allow: [{peer: b, operations: ['*']}]}\n", 2,
     "peers_call: an operation is neither a name nor NAMESPACE/*"),
    ("peers_call: {authority: {label: a}, allow: [{peer: b}]}\n", 1, 'peers_call.allow[0]: member "operations" is missing'),
    ("metrics: {port: 1}\n", 1, 'metrics: there is no member "port"'),
    ("a: &a [x,x,x,x,x,x,x,x]\n" + "".join(
        f"{chr(98 + i)}: &{chr(98 + i)} [{','.join(['*' + chr(97 + i)] * 8)}]\n" for i in range(8)), 5,
     "aliases stand for more than 10000 values"),
]


@pytest.mark.parametrize("text,line,message", WRONG)
def test_check_names_file_line_and_place(tmp_path, text, line, message):
    path = tmp_path / "wrong.yaml"
    status, said = check(path, text)
    assert status == 1 and said.startswith(f"alknetd: {path}:{line}: ") and message in said


def test_check_names_the_line_in_json_too(tmp_path):
    path = tmp_path / "wrong.json"
    assert check(path, '{\n "listen": [\n  {"port": "x"}\n ]\n}\n') == (
        1, f"alknetd: {path}:3: listen[0].port: must be a whole number between 0 and 65535")
    assert check(path, '{\n "demo": true,\n}\n')[1].startswith(f"alknetd: {path}:2: ")


@pytest.mark.parametrize("member,entry", [("hosts", "https://app.example"), ("hosts", "*.example"), ("origins", "https://app.example/"),
                                          ("origins", "app.example"), ("origins", "*"), ("trusted_proxies", "10.0.0.1/8"),
                                          ("trusted_proxies", "proxy.example")])
def test_an_entry_that_could_never_match_is_named_with_its_line(tmp_path, member, entry):
    path = tmp_path / "c.yaml"
    good = {"hosts": "b.example:8443", "origins": "http://b.example", "trusted_proxies": "10.0.0.0/8"}[member]
    status, said = check(path, f"gateway:\n  {member}:\n  - {good!r}\n  - {entry!r}\n")
    assert status == 1 and said.startswith(f"alknetd: {path}:4: gateway.{member}[1]: "), said


def test_check_judges_the_gateway(tmp_path):
    status, said = check(tmp_path / "c.yaml", "gateway: {decoy: {kind: redirect, target: \"/a\\nb\"}}\n")
    assert status == 1 and "gateway: " in said


NO_PLACE = [
    ("gateway: {decoy: {kind: static_site, target: none}}", "gateway.decoy.target: {0}/none: No such file or directory"),
    ("gateway: {decoy: {kind: static_site, target: c.yaml}}", "gateway.decoy.target: {0}/c.yaml: is no folder"),
    ("log: {file: none/alknetd.log}", "log.file: {0}/none/: No such file or directory"),
    ("log: {file: c.yaml/alknetd.log}", "log.file: {0}/c.yaml/alknetd.log: Not a directory"),
    ("log: {file: /}", "log.file: /: Is a directory"),
    ("listen: [{unix: none/s}]", "listen[0].unix: {0}/none/: No such file or directory"),
    ("listen: [{unix: c.yaml}]", "listen[0].unix: {0}/c.yaml: is there, and is no socket"),
    ("listen: [{host: 192.0.2.1}]", "listen[0].host: 192.0.2.1: Cannot assign requested address"),
    ("metrics: {listen: {host: 192.0.2.1, port: 1}}", "metrics.listen.host: 192.0.2.1: Cannot assign requested address"),
    ("metrics: {listen: {unix: none/s}}", "metrics.listen.unix: {0}/none/: No such file or directory"),
    ("listen: [{port: 1, quic: true}]\ntls: {certificates: [{certificate: none.crt, key: none.key}]}", "tls: {0}/none.crt: No such file or directory"),
    ("listen: [{port: 1}]\ntls: {certificates: [{certificate: none.crt, key: none.key}]}", "tls: {0}/none.crt: No such file or directory"),
    ("node_key: c.yaml\nlisten: [{port: 1}]", "node_key: {0}/c.yaml: can be read or written by others than its owner: chmod 600 mends that"),
    ("node_key: c.yaml/key\nlisten: [{port: 1, quic: true}]", "node_key: {0}/c.yaml/key: Not a directory"),
    ("listen: [{unix: a.sock}, {unix: ./a.sock}]", "listen[1]: its address is that of listen[0] already"),
    ("listen: [{unix: a.sock}]\nmetrics: {listen: {unix: \"../{1}/a.sock\"}}", "metrics.listen: its address is that of listen[0] already"),
    ("node_key: none/key\nlisten: [{port: 1, quic: true}]", "node_key: {0}/none/: No such file or directory"),
]


@pytest.mark.parametrize("text,message", NO_PLACE)
def test_check_sees_what_has_no_place(tmp_path, text, message):
    """What a start would need of the file system; nothing is made by looking."""
    status, said = check(tmp_path / "c.yaml", text.replace("{1}", tmp_path.name))
    assert status == 1 and re.sub(r":\d+: ", ": ", said, count=1) == f"alknetd: {tmp_path}/c.yaml: {message.format(tmp_path)}"
    assert [p.name for p in tmp_path.iterdir()] == ["c.yaml"]


LINKS = [
    ({"a.log": "b.log", "b.log": "none/c.log"}, "log: {file: a.log}", "log.file: {0}/none/: No such file or directory"),
    ({"a.log": "b.log", "b.log": "c.log"}, "log: {file: a.log}", None),
    ({"k": "none"}, "node_key: k\nlisten: [{port: 1, quic: true}]", "node_key: {0}/k: is a link to a file that is not there"),
    ({"alknetd.crt": "none"}, "listen: [{port: 1, tls: true}]", "tls: {0}/alknetd.crt: is a link to a file that is not there"),
    ({"alknetd.key": "none"}, "listen: [{port: 1, tls: true}]", "tls: {0}/alknetd.key: is there, and its certificate is not"),
]


@pytest.mark.parametrize("links,text,message", LINKS)
def test_check_sees_where_links_lead(tmp_path, links, text, message):
    for link, target in links.items():
        (tmp_path / link).symlink_to(target)
    said = check(tmp_path / "c.yaml", text)
    assert said == ((1, f"alknetd: {tmp_path}/c.yaml:1: {message.format(tmp_path)}") if message else (0, f"{tmp_path}/c.yaml: OK"))
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(["c.yaml", *links])


def test_a_key_that_nothing_needs_yet_is_good_or_ends_the_start(tmp_path, make_daemon):
    (tmp_path / "k").write_text("no key")
    (tmp_path / "k").chmod(0o600)
    daemon = make_daemon({"node_key": str(tmp_path / "k")})
    daemon.start(wait=False).ended(status=1)
    assert f"node_key: {tmp_path}/k: " in daemon.log_text()
    (tmp_path / "k").unlink()
    daemon.start().stop()
    assert not (tmp_path / "k").exists()


def test_check_sees_a_key_whose_certificate_is_gone(tmp_path):
    (tmp_path / "alknetd.key").touch()
    said = check(tmp_path / "c.yaml", "listen: [{port: 1, tls: true}]")
    assert said == (1, f"alknetd: {tmp_path}/c.yaml:1: tls: {tmp_path}/alknetd.key: is there, and its certificate is not")


def test_check_makes_nothing(tmp_path):
    status, said = check(tmp_path / "c.yaml", "log: {file: a.log}\nlisten: [{port: 1, quic: true}, {unix: s}, {port: 2, tls: true}]\n")
    assert status == 0, said
    assert [p.name for p in tmp_path.iterdir()] == ["c.yaml"]


def test_a_site_that_is_no_folder_ends_the_start(make_daemon):
    daemon = make_daemon({"gateway": {"decoy": {"kind": "static_site", "target": "none"}}}).start(wait=False)
    daemon.ended(status=1)
    assert "gateway.decoy.target: " in daemon.log_text()


def test_check_never_shows_a_value_of_a_key(tmp_path):
    token = new_token()
    status, said = check(tmp_path / "c.yaml", f"keys:\n- prefix: {token[:8]}\n  hash: {token}\n  token: {token}\n")
    assert status == 1 and token not in said and token[4:] not in said


def test_a_file_that_everyone_may_write_is_refused(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text("demo: true\n")
    path.chmod(0o666)
    done = alknetd("--config", path, "--check")
    assert done.returncode == 1 and "everyone may write to it (mode 0666)" in done.stderr


# ---- serving ------------------------------------------------------------------------------------------------------

def test_the_start_is_logged_with_address_and_port(daemon):
    line = daemon.events("listening")[0]
    assert line["address"] == "127.0.0.1" and isinstance(line["port"], int) and line["port"] > 0
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["time"])
    answer = daemon.get("/healthz", token=None)
    assert (answer.status, answer.body.strip()) == (200, b"ok")


def test_a_taken_port_is_named(make_daemon):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        daemon = make_daemon({"listen": [{"host": "127.0.0.1", "port": port}]}).start(wait=False)
        daemon.proc.wait(PATIENCE)
        assert f"127.0.0.1 port {port}: address already in use" in daemon.log_text()
        daemon.ended(status=1)


def test_several_addresses_are_served(make_daemon):
    daemon = make_daemon({"listen": [{"host": "127.0.0.1", "port": 0}, {"host": "127.0.0.2", "port": 0}]}).start()
    for line in daemon.events("listening"):
        daemon.host, daemon.port = line["address"], line["port"]
        assert daemon.get("/healthz", token=None).status == 200


@pytest.mark.parametrize("mode", [None, "0660"])
def test_a_unix_socket_is_served_with_its_mode(make_daemon, mode):
    entry = {"unix": "s.sock", **({"mode": mode} if mode else {})}
    daemon = make_daemon({"listen": [entry]}).start()
    path = daemon.folder / "s.sock"
    assert path.stat().st_mode & 0o777 == int(mode or "0600", 8)
    assert daemon.output("demo/echo", 7, connection=UnixConnection(str(path), PATIENCE)) == 7
    daemon.stop()
    assert not path.exists()


def test_an_old_socket_file_is_replaced_and_other_files_are_not(make_daemon):
    daemon = make_daemon({"listen": [{"unix": "s.sock"}]})
    path = daemon.folder / "s.sock"
    with socket.socket(socket.AF_UNIX) as old:
        old.bind(str(path))
    daemon.start()
    assert daemon.get("/healthz", token=None, connection=UnixConnection(str(path), PATIENCE)).status == 200
    daemon.stop()
    path.write_text("precious")
    daemon.start(wait=False)
    daemon.ended(status=1)
    assert path.read_text() == "precious"


def test_several_workers_share_one_port(make_daemon):
    daemon = make_daemon(args=["--workers", "3"]).start()
    assert len(daemon.events("listening")) == 1
    wait_for(lambda: len(os.listdir(f"/proc/{daemon.proc.pid}/task")) >= 4)  # three loops and the main thread
    answers = [Background(daemon.output, "demo/echo", n) for n in range(40)]
    assert [a.result() for a in answers] == list(range(40))


def test_several_workers_that_cannot_listen_say_so(make_daemon):
    daemon = make_daemon({"workers": 2, "listen": [{"host": "192.0.2.1", "port": 0}]}).start(wait=False)
    daemon.ended(status=1)
    assert "cannot serve" in daemon.log_text()


def test_several_workers_all_serve(make_daemon):
    """The kernel spreads connections over listeners by their addresses, so 64 connections miss none of two by chance."""
    daemon = make_daemon({"workers": 2}).start()
    sleepers = []
    for _ in range(64):
        connection = daemon.connect()
        connection.request("POST", "/call", json.dumps({"operation": "demo/sleep", "input": {"ms": 300}}),
                           {"Content-Type": "application/json"})
        sleepers.append(connection)
    assert all(Answer(c.getresponse()).status == 200 for c in sleepers)
    for connection in sleepers:
        connection.close()
    inodes = subprocess.run(["ss", "-Hltn", f"sport = :{daemon.port}"], capture_output=True, text=True, check=False) \
        if shutil.which("ss") else None
    if inodes and inodes.returncode == 0:
        assert len(inodes.stdout.splitlines()) == 2


def watched(pid):
    """The descriptors that each loop of the process looks at, by the descriptor of its epoll."""
    found = {}
    for fd in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(OSError):
            if os.readlink(f"/proc/{pid}/fd/{fd}") == "anon_inode:[eventpoll]":
                info = pathlib.Path(f"/proc/{pid}/fdinfo/{fd}").read_text()
                found[fd] = set(re.findall(r"^tfd: *(\d+)", info, re.M))
    return found


def test_several_workers_all_serve_a_unix_socket(make_daemon):
    daemon = make_daemon({"workers": 2, "listen": [{"unix": "s.sock"}]}).start()
    path = daemon.folder / "s.sock"
    before, connections = set(os.listdir(f"/proc/{daemon.proc.pid}/fd")), []

    def connect(body):
        connections.append(UnixConnection(str(path), PATIENCE))
        connections[-1].request("POST", "/call", json.dumps(body), {"Content-Type": "application/json"})

    def both_serve():
        """Whoever is busy with a batch leaves the next connections to the other."""
        for n in range(20):
            connect({"operation": "demo/echo", "input": [n] * 2000})
        for connection in connections[-20:]:
            assert Answer(connection.getresponse()).status == 200
        return sum(bool(fds - before) for fds in watched(daemon.proc.pid).values()) == 2

    wait_for(both_serve)
    for connection in connections:
        connection.close()
    daemon.stop()
    assert not path.exists()


def test_limits_of_the_configuration_hold(make_daemon):
    daemon = make_daemon({"limits": {"body_bytes": "64KiB", "deadline_ms": "200ms", "batch": 2}}).start()
    assert daemon.call("demo/echo", "x" * 70000).status == 413
    answer = daemon.call("demo/sleep", {"ms": 60000})
    assert (answer.status, answer.json()["code"]) == (504, "TIMEOUT")
    assert daemon.request("POST", "/batch", [{"operation": "demo/echo"}] * 3).status == 400


def test_the_decoy_is_as_configured(make_daemon):
    daemon = make_daemon({"gateway": {"decoy": {"kind": "static_site", "target": "site"}, "health_path": "/alive"}})
    (daemon.folder / "site").mkdir()
    (daemon.folder / "site/index.html").write_text("<p>nothing here</p>")
    daemon.start()
    assert daemon.get("/", token=None).body == b"<p>nothing here</p>"
    assert daemon.get("/alive", token=None).status == 200


def test_an_expired_key_is_refused(make_daemon):
    daemon = make_daemon()
    soon, never = new_token(), new_token()
    daemon.tokens += [soon, never]
    at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 2.5))
    daemon.config["keys"] += [key_for(soon, expires_at=at), key_for(never, expires_at="2020-01-01T00:00:00Z")]
    daemon.write_config()
    daemon.start()
    assert daemon.call("demo/whoami", token=never).status == 401
    assert daemon.call("demo/whoami", token=soon).status == 200
    wait_for(lambda: daemon.call("demo/whoami", token=soon).status == 401)


def test_identities_of_another_file_are_used(make_daemon):
    daemon = make_daemon({"keys": [], "identities_file": "ids.yaml"})
    (daemon.folder / "ids.yaml").write_text("keys: " + json.dumps([key_for(daemon.token)]))
    daemon.start()
    assert daemon.output("demo/whoami")["id"] == daemon.token[:8]


def test_yaml_is_served(make_daemon):
    daemon = make_daemon(name="alknetd.yaml")
    key = daemon.config["keys"][0]
    daemon.config_path.write_text(
        "# a comment\nlisten:\n- &first {host: 127.0.0.1, port: 0}\nlog: {format: json}\ndemo: true\n"
        f"keys:\n- prefix: {key['prefix']}\n  hash: {key['hash']}\n  scopes: ['demo:secret']\n")
    daemon.start()
    assert daemon.output("demo/whoami")["scopes"] == ["demo:secret"]


# ---- the demo operations ------------------------------------------------------------------------------------------

def test_demo_lists_what_the_caller_may_call(daemon):
    def names(**kwargs):
        return {o["name"] for o in daemon.get("/search?namespace=demo", **kwargs).json()["output"]["operations"]}
    public = {"demo/" + n for n in ("echo", "add", "callback", "clock", "sleep", "fail")}
    assert names(token=None) == public
    assert names() == public | {"demo/whoami", "demo/secret"}


@pytest.mark.parametrize("text", ['{"a":[1.10,1e400,12345678901234567890123,{"b":null}]}', '"\\u0000\\ud83d\\ude00"', "null", "[]"])
def test_demo_echo_returns_its_input_as_it_came(daemon, text):
    answer = daemon.request("POST", "/call", '{"operation":"demo/echo","input":' + text + "}")
    assert json.loads(answer.body)["output"] == json.loads(text)
    assert "1.10" not in text or b"1.10,1e400,12345678901234567890123" in answer.body


@pytest.mark.parametrize("a,b,total", [("1", "2", "3"), ("-5", "5", "0"), ("0.5", "0.25", "0.75"), ("1e3", "1", "1001.0"),
                                       ("9007199254740993", "1", "9007199254740994"),
                                       ("9223372036854775807", "-1", "9223372036854775806"),
                                       ("9223372036854775807", "1", "9223372036854775808.0"),
                                       ("18446744073709551615", "0", "18446744073709551615.0"),
                                       ("0.1", "0.2", "0.30000000000000004")])
def test_demo_add_adds(daemon, a, b, total):
    answer = daemon.request("POST", "/call", '{"operation":"demo/add","input":{"a":%s,"b":%s}}' % (a, b))
    text = re.search(rb'"sum":([^}]*)}', answer.body).group(1).decode()
    assert float(text) == float(total)
    if "." not in total and "e" not in total:
        assert text == total


@pytest.mark.parametrize("value,path", [({"a": 1}, ""), ({"a": 1, "b": "2"}, "/b"), ({"a": 1, "b": 2, "c": 3}, ""),
                                        (None, ""), ([1, 2], "")])
def test_demo_add_is_strict(daemon, value, path):
    answer = daemon.call("demo/add", value)
    assert answer.status == 422
    fault = answer.json()
    assert fault["code"] == "INVALID_INPUT"
    assert any(e["path"].startswith(path) for e in fault["details"]["errors"]), fault


def test_demo_add_fails_where_no_number_can_hold_the_sum(daemon):
    answer = daemon.call("demo/add", {"a": 1.7e308, "b": 1.7e308})
    assert (answer.status, answer.json()["code"]) == (422, "DEMO_OVERFLOW")


def read_events(response):
    """The events of a stream until it ends: (name, parsed data)."""
    name = None
    for raw in response:
        line = raw.decode().rstrip("\n")
        if line.startswith("event: "):
            name = line[7:]
        elif line.startswith("data: "):
            yield name, json.loads(line[6:])
            name = None


def subscribe(daemon, value, connection):
    connection.request("POST", "/subscribe", json.dumps({"operation": "demo/clock", "input": value}),
                       {"Content-Type": "application/json"})
    return connection.getresponse()


def test_demo_clock_ticks_count_times(daemon):
    connection = daemon.connect()
    start = time.monotonic()
    response = subscribe(daemon, {"interval_ms": 50, "count": 4}, connection)
    assert response.status == 200 and response.headers["Content-Type"].startswith("text/event-stream")
    ticks = list(read_events(response))
    assert [(name, t["tick"]) for name, t in ticks] == [(None, n) for n in (1, 2, 3, 4)]
    assert time.monotonic() - start >= 0.15
    assert ticks[-1][1]["unix_ms"] - ticks[0][1]["unix_ms"] >= 140
    connection.close()


def test_demo_clock_ends_when_the_client_goes(daemon):
    connection = daemon.connect()
    response = subscribe(daemon, {"interval_ms": 10}, connection)
    events = read_events(response)
    assert [next(events)[1]["tick"] for _ in range(3)] == [1, 2, 3]
    connection.sock.close()
    response.close()
    wait_for(lambda: [e for e in daemon.events("call") if e["operation"] == "demo/clock" and e["outcome"] == "aborted"])


def test_demo_clock_ends_with_busy_when_the_daemon_drains(daemon):
    """At once, and so that nobody takes a restart for the end of the ticks."""
    connection = http.client.HTTPConnection(daemon.host, daemon.port, timeout=20)
    answer = subscribe(daemon, {"interval_ms": 50}, connection)
    assert answer.status == 200 and answer.readline().startswith(b"data: ")
    start = time.monotonic()
    daemon.signal(signal.SIGTERM)
    rest = answer.read()
    connection.close()
    error = b'event: error\ndata: {"code":"BUSY","message":"shutting down","retryable":true}\n\n'
    assert rest.endswith(error), rest[-200:]
    daemon.ended()
    assert time.monotonic() - start < 10
    assert [e["outcome"] for e in daemon.events("call") if e["operation"] == "demo/clock"] == ["BUSY"]


@pytest.mark.parametrize("value", [{"interval_ms": 0}, {"interval_ms": 1.5}, {"count": 0}, {"every": 1}, 5])
def test_demo_clock_checks_its_input(daemon, value):
    answer = daemon.request("POST", "/subscribe", {"operation": "demo/clock", "input": value})
    assert answer.status == 422


def test_demo_sleep_answers_later_and_others_go_on(daemon):
    start, calls = time.monotonic(), Calls(daemon)
    sleeper = Background(daemon.output, "demo/sleep", {"ms": 2000})
    calls.wait(1)
    assert daemon.output("demo/echo", 1) == 1 and sleeper.is_alive()
    assert sleeper.result() == {"slept_ms": 2000, "cancelled": 0}
    assert time.monotonic() - start >= 1.99


def test_demo_sleep_shows_that_it_was_cancelled(daemon):
    connection, calls = daemon.connect(), Calls(daemon)
    connection.request("POST", "/call", '{"operation":"demo/sleep","input":{"ms":60000}}', {"Content-Type": "application/json"})
    calls.wait(1)
    connection.close()
    line = daemon.wait_event("demo.sleep.cancelled")
    assert "60000 ms was cancelled, 1 so far" in line["message"]
    assert daemon.output("demo/sleep", {"ms": 0}) == {"slept_ms": 0, "cancelled": 1}


def test_demo_fail_fails_as_declared_or_as_chosen(daemon):
    answer = daemon.call("demo/fail")
    assert answer.status == 409
    assert answer.json() == {"code": "DEMO_CONFLICT", "message": "failed as asked", "retryable": False,
                             "details": {"holder": "nobody"}}
    answer = daemon.call("demo/fail", {"status": 451, "message": "no", "retryable": True})
    assert answer.status == 451 and answer.json()["code"] == "HTTP_451"
    assert answer.json()["message"] == "no" and answer.json()["retryable"] is True
    answer = daemon.call("demo/fail", {"status": 503})
    assert answer.status == 503 and answer.headers["Retry-After"] == "1"
    assert daemon.call("demo/fail", {"status": 200}).status == 422
    declared = daemon.get("/schema?name=demo/fail").json()["output"]["error_schemas"]
    assert [(e["code"], e["http_status"]) for e in declared] == [("DEMO_CONFLICT", 409)]


def test_demo_whoami_wants_any_identity_and_secret_a_scope(make_daemon):
    daemon = make_daemon()
    plain = new_token()
    daemon.tokens.append(plain)
    daemon.config["keys"].append(key_for(plain, "other"))
    daemon.write_config()
    daemon.start()
    assert daemon.call("demo/whoami", token=None).status == 401
    assert daemon.output("demo/whoami", token=plain) == {"id": plain[:8], "scopes": ["other"], "resources": {}}
    assert daemon.call("demo/secret", token=None).status == 401
    assert daemon.call("demo/secret", token=plain).status == 403
    assert "secret" in daemon.output("demo/secret")
    for token in (None, plain, True):
        answer = daemon.call("demo/internal", token=token)
        assert (answer.status, answer.json()["message"]) == (404, "operation not found: demo/internal")


def test_without_demo_there_are_no_demo_operations(make_daemon):
    daemon = make_daemon({"demo": False}).start()
    assert daemon.call("demo/echo").status == 404
    daemon.config.pop("demo")
    daemon.write_config()
    daemon.restart()
    assert daemon.call("demo/echo").status == 404


# ---- reload -------------------------------------------------------------------------------------------------------

def reload(daemon, event="reload"):
    before = len(daemon.events(event))
    daemon.signal(signal.SIGHUP)
    return daemon.wait_event(event, before + 1)


def test_reload_takes_new_keys_and_revokes_old_ones(daemon):
    fresh = new_token()
    daemon.tokens.append(fresh)
    open_connection = daemon.connect()
    assert daemon.call("demo/whoami", connection=open_connection).status == 200
    assert daemon.call("demo/whoami", token=fresh).status == 401
    daemon.write_config(keys=[key_for(fresh, "new")])
    reload(daemon)
    assert daemon.output("demo/whoami", token=fresh)["scopes"] == ["new"]
    assert daemon.call("demo/whoami").status == 401
    assert daemon.call("demo/whoami", connection=open_connection).status == 401, "on a connection that knew it, too"
    open_connection.close()


def test_reload_drops_no_connection_and_no_call(daemon):
    connection = daemon.connect()
    assert daemon.output("demo/echo", 1, connection=connection) == 1
    port = connection.sock.getsockname()
    sleeper = Background(daemon.output, "demo/sleep", {"ms": 800})
    stream = daemon.connect()
    ticks = read_events(subscribe(daemon, {"interval_ms": 20, "count": 60}, stream))
    assert next(ticks)[1]["tick"] == 1
    for n in range(5):
        daemon.write_config(keys=daemon.config["keys"] + [key_for(new_token())], limits={"batch": 10 + n})
        reload(daemon)
    assert daemon.output("demo/echo", 2, connection=connection) == 2
    assert connection.sock.getsockname() == port, "the same connection"
    assert sleeper.result()["slept_ms"] == 800
    assert [t["tick"] for _, t in ticks] == list(range(2, 61))
    connection.close()
    stream.close()


def test_reload_changes_limits(daemon):
    batch = [{"operation": "demo/echo", "input": 1}] * 3
    assert daemon.request("POST", "/batch", batch).status == 200
    daemon.write_config(limits={"batch": 2, "body_bytes": "2KiB", "anonymous_bytes": "2KiB", "deadline_ms": "150ms"})
    reload(daemon)
    assert daemon.request("POST", "/batch", batch).status == 400
    assert daemon.call("demo/echo", "x" * 3000).status == 413
    assert daemon.call("demo/sleep", {"ms": 5000}).status == 504
    daemon.write_config(limits={})
    reload(daemon)
    assert daemon.request("POST", "/batch", batch).status == 200, "what is no longer there is the default again"


@pytest.mark.parametrize("text,line", [("listen: [\n", 2), ("demo: true\nlimits:\n  batch: many\n", 3),
                                       ("keys:\n- prefix: alk_abcd\n  hash: xyz\n", 3), ("limits: {json_depth: 5000}\n", 1)])
def test_a_bad_file_changes_nothing_and_says_why(make_daemon, text, line):
    daemon = make_daemon({"limits": {"batch": 3}}, name="alknetd.yaml").start()
    daemon.config_path.write_text(text)
    said = reload(daemon, "reload.failed")
    assert said["level"] == "error" and f"alknetd.yaml:{line}: " in said["message"]
    assert daemon.output("demo/whoami")["id"] == daemon.token[:8]
    assert daemon.request("POST", "/batch", [{"operation": "demo/echo"}] * 3).status == 200
    assert daemon.request("POST", "/batch", [{"operation": "demo/echo"}] * 4).status == 400
    daemon.write_config(limits={"batch": 4})
    reload(daemon)
    assert daemon.request("POST", "/batch", [{"operation": "demo/echo"}] * 4).status == 200


def test_a_missing_file_changes_nothing(daemon):
    daemon.config_path.unlink()
    assert "No such file" in reload(daemon, "reload.failed")["message"]
    assert daemon.call("demo/whoami").status == 200


def test_reload_says_what_needs_a_restart(daemon):
    daemon.write_config(demo=False, log={"format": "json", "level": "debug"}, limits={"batch": 3})
    reload(daemon)
    assert daemon.wait_event("reload.partial")["message"].endswith("at start: log, demo")
    assert daemon.output("demo/echo", 1) == 1


def test_reload_with_several_workers_reaches_all(make_daemon):
    daemon = make_daemon({"workers": 3}).start()
    fresh = new_token()
    daemon.tokens.append(fresh)
    daemon.write_config(keys=[key_for(fresh)])
    reload(daemon)
    for _ in range(30):
        assert daemon.call("demo/whoami").status == 401
        assert daemon.call("demo/whoami", token=fresh).status == 200


def test_a_log_file_that_was_moved_is_opened_anew_at_reload(make_daemon):
    daemon = make_daemon({"log": {"format": "json", "file": "a.log"}})
    log = daemon.folder / "a.log"
    daemon.start(wait=False)
    wait_for(lambda: log.exists() and "listening" in log.read_text())
    log.rename(daemon.folder / "a.log.1")
    daemon.signal(signal.SIGHUP)
    wait_for(lambda: log.exists() and '"event":"reload"' in log.read_text())
    assert "reload" not in (daemon.folder / "a.log.1").read_text()


# ---- drain --------------------------------------------------------------------------------------------------------

def test_sigterm_lets_running_calls_end_and_refuses_new_ones(make_daemon):
    daemon = make_daemon({"limits": {"drain_delay_ms": "2s", "drain_ms": "20s"}}).start()
    kept, calls = daemon.connect(), Calls(daemon)
    assert daemon.output("demo/echo", 1, connection=kept) == 1
    sleeper = Background(daemon.output, "demo/sleep", {"ms": 4000})
    calls.wait(1)
    assert daemon.get("/healthz", token=None).status == 200
    daemon.signal(signal.SIGTERM)
    wait_for(lambda: daemon.get("/healthz", token=None).status == 503)
    assert sleeper.is_alive()

    def refused():
        try:
            return daemon.call("demo/echo", 1, connection=kept).status == 503
        except (OSError, http.client.HTTPException):
            return True  # the connection has ended with its last call
    wait_for(refused)
    with pytest.raises(OSError):  # nobody accepts
        wait_for(lambda: daemon.get("/healthz", token=None).status != 503)
    assert sleeper.result() == {"slept_ms": 4000, "cancelled": 0}
    kept.close()
    daemon.ended()


def test_what_does_not_end_in_time_is_cancelled(make_daemon):
    daemon = make_daemon({"limits": {"drain_ms": "300ms"}}).start()
    calls = Calls(daemon)
    sleeper = Background(daemon.call, "demo/sleep", {"ms": 60000})
    calls.wait(1)
    start = time.monotonic()
    daemon.stop()
    assert 0.25 < time.monotonic() - start < 10
    answer = sleeper.result()
    assert (answer.status, answer.json()["code"], answer.json()["message"]) == (503, "BUSY", "shutting down")
    assert len(daemon.events("demo.sleep.cancelled")) == 1


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_at_once(make_daemon, second, workers):
    daemon = make_daemon({"workers": workers}).start()
    calls = Calls(daemon)
    sleepers = [Background(daemon.call, "demo/sleep", {"ms": 60000}) for _ in range(4)]
    calls.wait(4)
    daemon.signal(signal.SIGINT)
    daemon.wait_event("drain")
    time.sleep(0.3)
    assert daemon.proc.poll() is None, "it waits for the running calls"
    start = time.monotonic()
    daemon.signal(second)
    daemon.ended()
    assert time.monotonic() - start < 5
    for sleeper in sleepers:
        assert sleeper.result().status == 503


def test_many_signals_do_no_harm(make_daemon):
    daemon = make_daemon({"workers": 2}).start()
    for _ in range(20):
        for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGINT):
            if daemon.proc.poll() is None:
                daemon.signal(number)
    daemon.ended()


def test_an_idle_daemon_ends_without_waiting_for_idle_connections(daemon):
    connection = daemon.connect()
    assert daemon.output("demo/echo", 1, connection=connection) == 1
    start = time.monotonic()
    daemon.stop()
    assert time.monotonic() - start < 8
    connection.close()


# ---- the log ------------------------------------------------------------------------------------------------------

def test_a_call_is_one_line_with_all_that_matters(daemon):
    request_id = daemon.call("demo/sleep", {"ms": 20}).json()["request_id"]
    line = wait_for(lambda: [e for e in daemon.events("call") if e["request_id"] == request_id])[0]
    assert line["operation"] == "demo/sleep" and line["outcome"] == "ok" and line["identity"] == daemon.token[:8]
    assert line["remote"].startswith("127.0.0.1") and line["level"] == "info" and line["duration_ms"] >= 10
    daemon.call("demo/fail", token=None)
    line = wait_for(lambda: [e for e in daemon.events("call") if e["operation"] == "demo/fail"])[0]
    assert line["outcome"] == "DEMO_CONFLICT" and "identity" not in line


def test_no_token_is_in_the_log(make_daemon):
    """Good and bad ones, in every place where one may put them; the fixture looks at the log at the end."""
    daemon = make_daemon({"log": {"format": "json", "level": "debug"}}).start()
    bad = new_token()
    daemon.tokens.append(bad)
    for token in (daemon.token, bad):
        daemon.call("demo/whoami", token=token)
        daemon.call("demo/echo", {"auth_token": token}, token=None)
        daemon.get(f"/search?q=x&token={token}", token=None)
        daemon.get(f"/{token}", token=None)
        daemon.get("/healthz", token=None, headers={"Authorization": f"Basic {token}", "Cookie": token})
        daemon.get("/healthz", token=None, headers={"Authorization": f"Bearer {token} {token}"})
    assert len(daemon.events("call")) >= 3
    assert daemon.events("auth.failed")
    daemon.stop()


def test_the_log_says_why_a_token_was_refused(daemon):
    for header, why in [("Bearer " + "a" * 23, "the presented token is too short to be a token"), ("Bearer " + "a" * 24, "the presented token does not resolve"),
                        ("Basic eDp5", "what was presented is no bearer token")]:
        before = len(daemon.events("auth.failed"))
        assert daemon.get("/search", token=None, headers={"Authorization": header}).status == 401
        assert daemon.wait_event("auth.failed", before + 1)["message"] == why


def test_documents_show_no_hash_of_a_word():
    """A token has 24 bytes or more: the hash of a shorter one could never match."""
    words = {hashlib.sha256(word.encode()).hexdigest() for word in ("", "a", "test", "token", "secret", "hello", "foo", "password", "alk_", "alk_3f2a", "hi")}
    files = [ROOT / "README.md", *ROOT.glob("docs/**/*.*"), *ROOT.glob("include/alknet/*.h"), *ROOT.glob("clients/*/README.md"), *ROOT.glob("examples/**/*.*")]
    for file in files:
        assert not words & set(re.findall(r"\b[0-9a-f]{64}\b", file.read_text(errors="replace"))), file


def test_control_characters_are_escaped_in_the_log(make_daemon):
    daemon = make_daemon({"log": {"format": "human", "level": "debug"}})
    daemon.start(wait=False)
    port = wait_for(lambda: re.search(r'listening address="127.0.0.1" port=(\d+)', daemon.log_text())).group(1)
    daemon.host, daemon.port = "127.0.0.1", int(port)
    daemon.call("demo/\x1b[31mred\nsecond line\u202e\x7f", 1)
    wait_for(lambda: "demo/" in daemon.log_text())
    daemon.stop()
    log = daemon.log_text()
    assert "\x1b" not in log and "\u202e" not in log and "\x7f" not in log
    assert all(re.match(r"\d{4}-", line) for line in log.splitlines())


def test_the_level_of_the_log_is_kept(make_daemon):
    daemon = make_daemon({"listen": [{"unix": "s"}], "log": {"format": "json", "level": "warn"}}).start(wait=False)
    path = daemon.folder / "s"
    wait_for(path.exists)

    def answers():
        try:
            return daemon.call("demo/echo", 1, connection=UnixConnection(str(path), PATIENCE)).status == 200
        except OSError:
            return False
    wait_for(answers)
    daemon.get("/search", token=new_token(), connection=UnixConnection(str(path), PATIENCE))
    assert daemon.wait_event("auth.failed")["level"] == "warn"
    daemon.stop()
    assert {e["level"] for e in daemon.log_lines()} <= {"warn", "error"}


def test_a_log_that_nobody_reads_stops_no_call_and_says_what_is_missing(make_daemon):
    daemon = make_daemon({"listen": [{"unix": "s"}]})
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    daemon.proc = subprocess.Popen([ALKNETD, "--config", str(daemon.config_path)], stdin=subprocess.DEVNULL, stderr=writer)
    os.close(writer)
    daemon.log_path.write_text("")
    path = daemon.folder / "s"
    wait_for(path.exists)
    connection = UnixConnection(str(path), PATIENCE)
    wait_for(lambda: _connects(connection))
    for n in range(200):
        assert daemon.output("demo/echo", n, connection=connection) == n
    os.set_blocking(reader, False)
    text = os.read(reader, 1 << 20)
    assert daemon.output("demo/echo", 1, connection=connection) == 1
    wait_for(lambda: _readable(reader))
    os.set_blocking(reader, True)
    connection.close()
    daemon.signal(signal.SIGTERM)
    while True:
        more = os.read(reader, 1 << 20)
        if not more:
            break
        text += more
    os.close(reader)
    lines = [json.loads(line) for line in text.decode().splitlines()]
    dropped = sum(line["count"] for line in lines if line["event"] == "log.dropped")
    calls = sum(line["event"] == "call" for line in lines)
    assert dropped > 100 and dropped + calls >= 201
    daemon.ended()


def _connects(connection):
    try:
        connection.connect()
        return True
    except OSError:
        return False


def _readable(fd):
    try:
        return bool(os.read(fd, 0) == b"" and fcntl.ioctl(fd, 0x541B, b"\0\0\0\0") != b"\0\0\0\0")
    except OSError:
        return False


# ---- plugins ------------------------------------------------------------------------------------------------------

def test_a_plugin_registers_operations(make_daemon):
    daemon = make_daemon({"plugins": [{"path": str(PLUGIN), "config": {"greeting": "Good morning"}}]}).start()
    assert daemon.output("hello/greet", {"name": "Ada\0"}) == {"text": "Good morning, Ada\0"}
    start = time.monotonic()
    assert daemon.output("hello/later", {"name": "Ada", "ms": 100}) == {"text": "Good morning, Ada"}
    assert time.monotonic() - start >= 0.09
    assert daemon.call("hello/greet", {"name": 1}).status == 422
    connection = daemon.connect()
    connection.request("POST", "/call", '{"operation":"hello/later","input":{"name":"x","ms":60000}}',
                       {"Content-Type": "application/json"})
    time.sleep(0.1)
    connection.close()  # its timer must go with it, which the end of the daemon proves


def test_a_plugins_path_is_relative_to_the_configuration(make_daemon, tmp_path):
    daemon = make_daemon({"plugins": [{"path": "p/hello.so"}]})
    (daemon.folder / "p").mkdir()
    shutil.copy(PLUGIN, daemon.folder / "p/hello.so")
    daemon.start(cwd=tmp_path)
    assert daemon.output("hello/greet", {"name": "Ada"}) == {"text": "Hello, Ada"}


def test_a_plugins_private_file_is_given_to_it_and_must_be_private(make_daemon):
    daemon = make_daemon({"plugins": [{"path": str(PLUGIN), "config_file": "secret.yaml"}]})
    secret = daemon.folder / "secret.yaml"
    secret.write_text("greeting: Psst\n")
    secret.chmod(0o644)
    daemon.start(wait=False)
    daemon.proc.wait(PATIENCE)
    assert "secret.yaml: others may read it (mode 0644); chmod 0600" in daemon.log_text()
    daemon.ended(status=1)
    secret.chmod(0o600)
    daemon.start()
    assert daemon.output("hello/greet", {"name": "Ada"}) == {"text": "Psst, Ada"}


def built(tmp_path, source, name="p.so"):
    """A shared object from that source."""
    include = pathlib.Path(__file__).resolve().parents[2] / "include"
    (tmp_path / "p.c").write_text(source)
    subprocess.run(["cc", "-shared", "-fPIC", f"-I{include}", "-o", tmp_path / name, tmp_path / "p.c"], check=True)
    return name


ENTRY = "int alk_plugin_register(alk_registry *reg, const char *c, size_t n, char *err, size_t size)"
BAD_PLUGINS = [
    ("int x;", "is no plugin: it has no alk_plugin_abi"),
    ("#include <alknet/plugin.h>\nconst uint32_t alk_plugin_abi = ALK_PLUGIN_ABI;", "it has no alk_plugin_register"),
    ("#include <alknet/plugin.h>\nconst uint32_t alk_plugin_abi = 99;\n" + ENTRY + " { return *(volatile int *)0; }",
     "is built for plugin ABI 99, this is 1"),
    ("#include <alknet/plugin.h>\n#include <stdio.h>\nconst uint32_t alk_plugin_abi = 1;\n" + ENTRY +
     ' { snprintf(err, size, "the moon is full"); return ALK_ECONFIG; }', "could not register: the moon is full"),
    ("#include <alknet/plugin.h>\nconst uint32_t alk_plugin_abi = 1;\n" + ENTRY +
     ' { alk_operation op; alk_operation_init(&op, sizeof op); op.name = "a/../b"; return alk_registry_add(reg, &op); }',
     "could not register: "),
    ("#include <alknet/plugin.h>\nconst uint32_t alk_plugin_abi = 1;\n" + ENTRY + " { return alk_nonsense(reg); }",
     "undefined symbol: alk_nonsense"),
]


@pytest.mark.parametrize("source,message", BAD_PLUGINS)
def test_a_bad_plugin_is_refused_with_a_reason(tmp_path, source, message):
    name = built(tmp_path, source.replace("return alk_nonsense", "extern int alk_nonsense(alk_registry *); return alk_nonsense"))
    status, said = check(tmp_path / "c.yaml", f"plugins: [{{path: {name}}}]\n")
    assert status == 1 and message in said and f"{tmp_path}/{name}: " in said


def test_a_missing_plugin_and_one_that_everyone_may_write_are_refused(tmp_path):
    status, said = check(tmp_path / "c.yaml", "plugins: [{path: none.so}]\n")
    assert (status, said) == (1, f"alknetd: {tmp_path}/c.yaml:1: plugins[0].path: {tmp_path}/none.so: No such file or directory")
    shutil.copy(PLUGIN, tmp_path / "open.so")
    (tmp_path / "open.so").chmod(0o777)
    status, said = check(tmp_path / "c.yaml", "plugins: [{path: open.so}]\n")
    assert status == 1 and "open.so: everyone may write to it (mode 0777)" in said


def test_two_plugins_cannot_have_one_name(tmp_path):
    shutil.copy(PLUGIN, tmp_path / "a.so")
    shutil.copy(PLUGIN, tmp_path / "b.so")
    status, said = check(tmp_path / "c.yaml", "plugins: [{path: a.so}, {path: b.so}]\n")
    assert status == 1 and f"{tmp_path}/b.so: could not register: " in said and "hello/greet" in said


def test_check_judges_a_plugins_configuration(tmp_path):
    path = tmp_path / "c.yaml"
    assert check(path, f"plugins: [{{path: {PLUGIN}, config: {{greeting: 5}}}}]\n") == (
        1, f"alknetd: {PLUGIN}: could not register: greeting: must be a string of at most 63 bytes")
    assert check(path, f"plugins: [{{path: {PLUGIN}}}]\n") == (0, f"{path}: OK")


# ---- a service manager --------------------------------------------------------------------------------------------

def test_a_service_manager_is_told(make_daemon):
    daemon = make_daemon()
    path = str(daemon.folder / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(path)
        manager.settimeout(PATIENCE)
        daemon.start(env={"NOTIFY_SOCKET": path})
        assert manager.recv(1000) == b"READY=1"
        daemon.signal(signal.SIGHUP)
        reloading = manager.recv(1000).split(b"\n")
        assert reloading[0] == b"RELOADING=1" and re.fullmatch(rb"MONOTONIC_USEC=\d+", reloading[1])
        assert manager.recv(1000) == b"READY=1"
        daemon.signal(signal.SIGTERM)
        assert manager.recv(1000) == b"STOPPING=1"
        daemon.ended()


def test_an_abstract_notify_socket_works_and_a_dead_one_does_no_harm(make_daemon):
    daemon = make_daemon()
    name = f"alknetd-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind("\0" + name)
        manager.settimeout(PATIENCE)
        daemon.start(env={"NOTIFY_SOCKET": "@" + name})
        assert manager.recv(1000) == b"READY=1"
        daemon.stop()
    daemon.start(env={"NOTIFY_SOCKET": "/nonexistent/socket"})
    assert daemon.output("demo/echo", 1) == 1


LAUNCH = """
import os, sys
for number, fd in enumerate(map(int, sys.argv[2].split(",")), 3):
    os.dup2(fd, number, inheritable=True)
os.environ["LISTEN_PID"] = str(os.getpid() + int(sys.argv[3]))
os.environ["LISTEN_FDS"] = sys.argv[4]
os.execv(sys.argv[1], [sys.argv[1], *sys.argv[5:]])
"""


def start_with_sockets(daemon, sockets, wrong_pid=0, count=None):
    """Starts it as a service manager does: the sockets are descriptors 3, 4, ..."""
    fds = [fcntl.fcntl(s.fileno(), fcntl.F_DUPFD, 50) for s in sockets]  # out of the way of 3, 4, ...
    command = ["python3", "-c", LAUNCH, ALKNETD, ",".join(map(str, fds)), str(wrong_pid), str(count or len(fds)),
               "--config", str(daemon.config_path), *daemon.args]
    with open(daemon.log_path, "wb") as log:
        daemon.proc = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=fds)
    for fd in fds:
        os.close(fd)


@pytest.mark.parametrize("workers", [1, 2])
def test_sockets_that_are_handed_over_are_served_in_place_of_listen(make_daemon, workers):
    daemon = make_daemon({"workers": workers})
    path = str(daemon.folder / "s.sock")
    with socket.create_server(("127.0.0.1", 0)) as tcp, socket.socket(socket.AF_UNIX) as unix:
        unix.bind(path)
        unix.listen()
        start_with_sockets(daemon, [tcp, unix])
        daemon.wait_listening()
        assert daemon.port == tcp.getsockname()[1]
        assert [e.get("path") for e in daemon.wait_event("listening", 2) and daemon.events("listening")] == [None, path]
    for n in range(20):
        assert daemon.output("demo/echo", n) == n
        assert daemon.output("demo/echo", n, connection=UnixConnection(path, PATIENCE)) == n
    daemon.stop()
    assert os.path.exists(path), "it belongs to who made it"


def test_sockets_for_another_process_are_left_alone(make_daemon):
    daemon = make_daemon()
    with socket.create_server(("127.0.0.1", 0)) as tcp:
        start_with_sockets(daemon, [tcp], wrong_pid=1)
        daemon.wait_listening()
        assert daemon.port != tcp.getsockname()[1]
        assert daemon.output("demo/echo", 1) == 1


def test_what_is_no_listening_socket_is_refused(make_daemon):
    daemon = make_daemon()
    with socket.socket() as plain:
        start_with_sockets(daemon, [plain])
        daemon.proc.wait(PATIENCE)
    assert "one of them is no listening socket" in daemon.log_text()
    daemon.ended(status=1)
