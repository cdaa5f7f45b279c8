"""docs/deploy.md: its configurations are what is started here, real nginx, HAProxy and Caddy before alknetd. Ports and paths are others,
and what a distribution's own main file says stands around them."""
import contextlib
import grp
import json
import os
import pathlib
import pwd
import re
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import time

import pytest

from conftest import BIN, PATIENCE, ROOT, key_for, wait_for
from rawhttp import IDENTITIES, PLAIN, UNKNOWN, Wire, message
from rawws import Hub, Socket, ask_upgrade, operation

DOCUMENT = (ROOT / "docs/deploy.md").read_text()
NAME = "app.example"
MONITOR = "alk_mon7" + "6789abcdef012345" * 2
PATHS = os.pathsep.join([os.environ["PATH"], "/usr/sbin", str(ROOT / "build/deps/bin")])


def has_ipv6():
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET6) as probe:
        probe.bind(("::1", 0))
        return True
    return False


IPV6 = has_ipv6()


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```", DOCUMENT, re.S | re.M)


def swap(text, *pairs):
    """Each must be in the document, or something else than it would be tested."""
    for old, new in pairs:
        assert old in text, f"{old!r} is not in docs/deploy.md"
        text = text.replace(old, new)
    return text


def free_port():
    with socket.socket() as it:
        it.bind(("127.0.0.1", 0))
        return it.getsockname()[1]


def program(name):
    found = shutil.which(name, path=PATHS)
    assert found, f"{name} is missing: pkgconfig/deps.sh check"
    return found


def settings():
    """The document's alknetd.yaml, which is simple enough to be read so."""
    text = blocks("yaml")[0]
    return {name: re.findall(r"[\w.]+", re.search(rf"^  {name}: \[(.*)\]$", text, re.M).group(1)) for name in ("hosts", "trusted_proxies")}


# ---- proxies ----------------------------------------------------------------------------------------------------------

def nginx(text, port, upstream, folder):
    text = swap(text, ("listen 443", f"listen 127.0.0.1:{port}"), ("/etc/ssl", str(folder)), ("127.0.0.1:4780", upstream))
    text = text.replace("listen [::]:443", f"listen [::1]:{port}" if IPV6 else f"listen 127.0.0.2:{port}")
    temporary = "".join(f"{what}_temp_path {folder}/{what};\n" for what in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    main = (f"daemon off;\npid {folder}/pid;\nevents {{}}\nhttp {{\nsendfile on;\ntcp_nopush on;\ngzip on;\naccess_log off;\n"
            f"{temporary}{text}}}\n")
    return main, ["-e", "stderr", "-p", str(folder), "-c"]


def haproxy(text, port, upstream, folder):
    both = f"127.0.0.1:{port}" + (f",[::1]:{port}" if IPV6 else "")
    return swap(text, ("bind :443", f"bind {both}"), ("/etc/ssl", str(folder)), ("127.0.0.1:4780", upstream)), ["-db", "-f"]


def clear_haproxy(text, port, upstream, _):
    return swap(text, ("bind :443", f"bind 127.0.0.1:{port}"), ("127.0.0.1:4780", upstream)), ["-db", "-f"]


def caddy(text, port, upstream, folder):
    text = swap(text, ("app.example {", f"https://app.example:{port} {{\nbind 127.0.0.1{' ::1' if IPV6 else ''}\n"
                       f"tls {folder}/app.example.pem {folder}/app.example.key"), ("127.0.0.1:4780", upstream))
    main = "{\nadmin off\nauto_https disable_redirects\nservers {\nprotocols h1 h2\n}\n}\n"
    return main + text, ["run", "--adapter", "caddyfile", "--config"]


class Proxy:
    """One of them as an unprivileged process in a folder of its own."""

    def __init__(self, kind, hub, text, tls=True):
        self.tls = tls
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="deploy."))
        self.port, self.proc = free_port(), None
        try:
            self.make_certificate()
            main, arguments = kind(text, self.port, f"127.0.0.1:{hub.port}", self.folder)
            (self.folder / "main").write_text(main)
            self.start(program(kind.__name__.rpartition("_")[2]), [*arguments, str(self.folder / "main")])
        except BaseException:
            self.stop()
            raise

    def make_certificate(self):
        cert, key = self.folder / "app.example.pem", self.folder / "app.example.key"
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj",
                        f"/CN={NAME}", "-addext", f"subjectAltName=DNS:{NAME}", "-out", cert, "-keyout", key], check=True,
                       capture_output=True)
        (self.folder / "app.example.both.pem").write_text(cert.read_text() + key.read_text())
        self.context = ssl.create_default_context(cafile=cert)

    def start(self, path, arguments):
        as_whom = {}
        if os.geteuid() == 0:
            nobody = pwd.getpwnam("nobody")
            path = shutil.copy(path, self.folder)  # the tree may be where nobody else can look
            for entry in [self.folder, *self.folder.iterdir()]:
                os.chown(entry, nobody.pw_uid, nobody.pw_gid)
            as_whom = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
        with open(self.folder / "log", "wb") as log:
            self.proc = subprocess.Popen([path, *arguments], cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                         env={"HOME": str(self.folder), "XDG_DATA_HOME": str(self.folder), "PATH": os.environ["PATH"]}, **as_whom)

        def up():
            assert self.proc.poll() is None, self.log()
            with contextlib.suppress(OSError), self.wire():
                return True
            return False
        wait_for(up)

    def log(self):
        return (self.folder / "log").read_text(errors="replace")

    def stop(self):
        if self.proc:
            self.proc.terminate()
            try:
                self.proc.wait(5)
            except subprocess.TimeoutExpired:
                self.proc.kill()
                self.proc.wait()
        shutil.rmtree(self.folder)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    # ---- speaking with it ----

    def wire(self, **kwargs):
        wire = Tls(self.port, proxy=self, **kwargs) if self.tls else Wire(self.port, **kwargs)
        wire.host = f"{NAME}:{self.port}"
        return wire

    def ask(self, *args, **kwargs):
        with self.wire(source=kwargs.pop("source", None)) as wire:
            return wire.ask(*args, **kwargs)

    def curl(self, path, *arguments, body=None, token=PLAIN):
        """The command of curl, which speaks HTTP/2 with it."""
        address = next((a for a in arguments if a == "[::1]"), "127.0.0.1")
        command = ["curl", "-sS", "-N", "--http2", "--cacert", str(self.folder / "app.example.pem"), "--resolve", f"{NAME}:{self.port}:{address}",
                   "--max-time", "20", "-H", f"Authorization: Bearer {token}", *[a for a in arguments if a != "[::1]"]]
        if body is not None:
            command += ["-H", "Content-Type: application/json", "-d", json.dumps(body)]
        return [*command, f"https://{NAME}:{self.port}{path}"]

    def http2(self, path, *arguments, **kwargs):
        """(status, text) of an answer that came over HTTP/2."""
        done = subprocess.run(self.curl(path, *arguments, "-w", "\n%{http_version} %{http_code}", **kwargs), capture_output=True, text=True,
                              timeout=PATIENCE + 5, check=False)
        assert done.returncode == 0, done.stderr
        text, _, said = done.stdout.rpartition("\n")
        version, status = said.split()
        assert version == "2", said
        return int(status), text


class Tls(Wire):
    def __init__(self, port, proxy=None, source=None, **kwargs):
        super().__init__(port, source=source, **kwargs)
        try:
            self.sock = proxy.context.wrap_socket(self.sock, server_hostname=NAME)
        except BaseException:
            self.sock.close()
            raise


class TlsSocket(Socket, Tls):
    """A session through a proxy."""

    def __init__(self, port, **kwargs):
        super().__init__(port, headers=[("Host", f"{NAME}:{port}")], **kwargs)


def hub_with(folder, **config):
    keys = IDENTITIES["keys"] + [key_for(MONITOR, "metrics:list")]
    hub = Hub(folder, **{"gateway": settings(), "keys": keys, **config})
    hub.tokens.append(MONITOR)
    return hub


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    with hub_with(tmp_path_factory.mktemp("deploy")) as it:
        yield it


TUNED = {"nginx": (nginx, blocks("nginx")[1]), "haproxy": (haproxy, blocks("haproxy")[0]), "caddy": (caddy, blocks("caddyfile")[0])}


@pytest.fixture(scope="module", params=TUNED)
def front(request, hub):
    """Each proxy as the document recommends it."""
    with Proxy(TUNED[request.param][0], hub, TUNED[request.param][1]) as it:
        yield it


def metric(hub, name):
    metrics = hub.ask("POST", "/call", {"operation": "metrics/list", "input": {}}, token=MONITOR).output["metrics"]
    values = [m["value"] for m in metrics if m["name"] == name]
    assert values
    return sum(values)


def running(hub):
    return metric(hub, "calls_running")


def cancelled(hub):
    return hub.ask("POST", "/call", {"operation": "demo/sleep", "input": {"ms": 0}}, token=PLAIN).output["cancelled"]


@contextlib.contextmanager
def run_curl(command):
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL) as proc:
        try:
            yield proc
        finally:
            proc.kill()


# ---- what works through each of them ----------------------------------------------------------------------------------

def test_calls_and_searches_work_over_both_versions(front):
    body = {"operation": "demo/add", "input": {"a": 1, "b": 2}}
    assert front.ask("POST", "/call", body, token=PLAIN).output == {"sum": 3}
    status, text = front.http2("/call", body=body)
    assert status == 200 and json.loads(text)["output"] == {"sum": 3}
    status, text = front.http2("/search?q=clock")
    assert status == 200 and "demo/clock" in text
    assert "demo/clock" in str(front.ask("GET", "/search?q=clock", token=PLAIN).output)


def test_a_body_of_two_mebibytes_passes(front):
    value = "x" * (2 << 20)
    assert front.ask("POST", "/call", {"operation": "demo/echo", "input": value}, token=PLAIN).output == value


def connections_for_twenty_calls(proxy, hub):
    before = metric(hub, "http_connections_total")
    for n in range(20):
        assert proxy.ask("POST", "/call", {"operation": "demo/echo", "input": n}, token=PLAIN).output == n
    return metric(hub, "http_connections_total") - before - 1  # that of the question


def test_connections_to_alknetd_are_kept(front, hub):
    assert connections_for_twenty_calls(front, hub) < 10  # each of its threads has its own


CLOCK = {"operation": "demo/clock", "input": {"interval_ms": 1000, "count": 3}}


def check_prompt(values):
    """(when it was there, value): each before the next one was made."""
    assert [value["tick"] for _, value in values] == [1, 2, 3]
    late = [at - value["unix_ms"] / 1000 for at, value in values]
    assert max(late) < 0.9, late


def test_the_values_of_a_stream_come_one_by_one(front):
    for _ in range(3):
        with front.wire() as wire:
            stream = wire.subscribe(CLOCK["operation"], CLOCK["input"], token=PLAIN)
            values = []
            while (event := stream.event()) is not None:
                values.append((time.time(), event[1]))
            assert stream.ended
        # What the document says of Caddy: it has closed its own connection, and says so in its log.
        if len(values) == 3 or "aborting with incomplete response" not in front.log():
            break
    check_prompt(values)


def test_and_they_do_over_http2(front):
    with run_curl(front.curl("/subscribe", body=CLOCK)) as proc:
        check_prompt([(time.time(), json.loads(line[6:])) for line in proc.stdout if line.startswith(b"data: ")])


def test_a_session_carries_calls_both_ways(front):
    with TlsSocket(front.port, proxy=front) as session:
        assert session.call("demo/add", {"a": 1, "b": 2}) == {"sum": 3}
        clock = session.request("demo/clock", {"interval_ms": 10, "count": 3})
        assert [session.output(clock)["tick"] for _ in range(3)] == [1, 2, 3]
        mine = operation("ui/double", lambda value: value * 2)
        session.announce(mine)
        assert session.serve(mine, session.request("demo/callback", {"operation": "ui/double", "input": 21})) == 42
        session.bye()


def test_a_client_that_goes_away_ends_its_call(front, hub):
    before, calm = cancelled(hub), running(hub)
    with front.wire() as wire:
        wire.send(sleep(wire))
        wait_for(lambda: running(hub) > calm)
    wait_for(lambda: cancelled(hub) == before + 1)


def sleep(wire, ms=20000):
    body = json.dumps({"operation": "demo/sleep", "input": {"ms": ms}}).encode()
    return (f"POST /call HTTP/1.1\r\nHost: {wire.host}\r\nAuthorization: Bearer {PLAIN}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n").encode() + body


@pytest.mark.parametrize("path,body", [("/call", {"operation": "demo/sleep", "input": {"ms": 20000}}),
                                       ("/subscribe", {"operation": "demo/clock", "input": {"interval_ms": 20000}})])
def test_and_over_http2(front, hub, path, body):
    calm = running(hub)
    with run_curl(front.curl(path, body=body)):
        wait_for(lambda: running(hub) > calm)
    wait_for(lambda: running(hub) == calm)


@pytest.mark.parametrize("source", ["127.0.0.2", *(["::1"] if IPV6 else [])])
def test_the_log_names_the_client(front, hub, source):
    count = len(hub.find(event="call", remote=source))
    address = ["[::1]"] if source == "::1" else []
    status, _ = front.http2("/call", "--interface", source, "-H", "Forwarded: for=203.0.113.9", *address,
                            body={"operation": "demo/echo", "input": 1})
    assert status == 200
    hub.await_log(count + 1, event="call", remote=source)
    assert not hub.find(remote="203.0.113.9"), "what a client says of itself"


def test_wrong_tokens_are_counted_for_the_client(front, tmp_path, request):
    kind, text = TUNED[request.node.callspec.params["front"]]
    with hub_with(tmp_path, limits={"auth_failures_per_minute": 2}) as strict, Proxy(kind, strict, text) as proxy:
        assert [proxy.ask("GET", "/search", token=UNKNOWN, source="127.0.0.2").status for _ in range(3)] == [401, 401, 429]
        assert proxy.ask("GET", "/search", token=UNKNOWN, source="127.0.0.3").status == 401


def test_a_page_of_the_same_name_may_call_and_others_may_not(front):
    body = {"operation": "demo/echo", "input": 1}
    own = {"Origin": f"https://{NAME}:{front.port}"}
    assert front.ask("POST", "/call", body, own, token=PLAIN).output == 1
    assert front.ask("POST", "/call", body, {"Origin": "https://other.example"}, token=PLAIN).status == 403


def test_a_page_of_another_name_may_call_when_it_is_listed(tmp_path, request, front):
    kind, text = TUNED[request.node.callspec.params["front"]]
    origins = json.loads(re.search(r"`origins: (\[.*?\])`", DOCUMENT).group(1))
    with hub_with(tmp_path, gateway={**settings(), "origins": origins}) as open_one, Proxy(kind, open_one, text) as proxy:
        reply = proxy.ask("POST", "/call", {"operation": "demo/echo", "input": 1}, {"Origin": "https://other.example"}, token=PLAIN)
        assert reply.output == 1 and reply.header("access-control-allow-origin") == "https://other.example"


def test_a_name_that_is_not_listed_is_misdirected(tmp_path, request, front):
    kind, text = TUNED[request.node.callspec.params["front"]]
    with hub_with(tmp_path, gateway={**settings(), "hosts": ["another.example"]}) as other, Proxy(kind, other, text) as proxy:
        assert proxy.ask("GET", "/search", token=PLAIN).status == 421


def test_a_drain_lets_calls_end(tmp_path, request, front):
    kind, text = TUNED[request.node.callspec.params["front"]]
    with hub_with(tmp_path, limits={"drain_ms": 10000}) as leaving, Proxy(kind, leaving, text) as proxy, proxy.wire() as wire:
        calm = running(leaving)
        wire.send(sleep(wire, 3000))
        wait_for(lambda: running(leaving) > calm)
        leaving.signal(signal.SIGTERM)
        leaving.wait_event("drain")
        assert wait_for(lambda: (said := proxy.ask("GET", "/search", token=PLAIN).status) != 200 and said) in (502, 503)
        assert wire.reply().output == {"slept_ms": 3000, "cancelled": 0}


# ---- what the document says of the least that works, and of options ---------------------------------------------------

@pytest.fixture(scope="module")
def least(hub):
    with Proxy(nginx, hub, blocks("nginx")[0]) as it:
        yield it


def test_nginx_as_it_comes_carries_calls_and_searches(least):
    body = {"operation": "demo/add", "input": {"a": 1, "b": 2}}
    assert least.ask("POST", "/call", body, token=PLAIN).output == {"sum": 3}
    assert least.ask("POST", "/batch", [body, body], token=PLAIN).json()["results"][1]["output"] == {"sum": 3}
    assert least.http2("/search?q=clock")[0] == 200


def test_nginx_as_it_comes_carries_neither_streams_nor_sessions_nor_pages_nor_large_bodies(least):
    assert least.http2("/subscribe", body=CLOCK)[0] == 505
    with least.wire() as wire:
        assert ask_upgrade(wire, token=PLAIN).status == 426
    body = {"operation": "demo/echo", "input": 1}
    assert least.ask("POST", "/call", body, {"Origin": f"https://{NAME}:{least.port}"}, token=PLAIN).status == 403
    with least.wire() as wire:
        wire.send(message("POST", "/call", None, {"Content-Length": str(2 << 20)}, PLAIN, wire.host))
        refused = wire.reply()
    assert refused.status == 413 and b"nginx" in refused.body


def test_nginx_as_it_comes_makes_a_connection_for_each_request(least, hub):
    assert connections_for_twenty_calls(least, hub) == 20


def test_nginx_as_it_comes_hides_the_client(least, hub):
    before = len(hub.find(event="call", remote="127.0.0.1"))
    assert least.ask("POST", "/call", {"operation": "demo/echo", "input": 1}, token=PLAIN, source="127.0.0.4").output == 1
    hub.await_log(before + 1, event="call", remote="127.0.0.1")
    assert not hub.find(remote="127.0.0.4")


HAPROXY = blocks("haproxy")[0]


def without(option):
    return swap(HAPROXY, (f"    option {option}\n", ""))


FLUSHING = swap(blocks("caddyfile")[0], ("        transport http {", "        flush_interval -1\n        transport http {"))


@pytest.mark.parametrize("kind,text", [(haproxy, without("abortonclose")), (caddy, FLUSHING)], ids=["haproxy", "caddy"])
def test_without_abortonclose_or_with_flush_interval_calls_run_for_nobody(hub, kind, text):
    with Proxy(kind, hub, text) as proxy:
        calm, before = running(hub), cancelled(hub)
        with proxy.wire() as wire:
            wire.send(sleep(wire, 3000))
            wait_for(lambda: running(hub) > calm)
        start = time.monotonic()
        wait_for(lambda: running(hub) == calm)
        assert time.monotonic() - start > 1.5 and cancelled(hub) == before


def test_haproxy_without_http_reuse_makes_a_connection_for_each_client(hub):
    with Proxy(haproxy, hub, swap(HAPROXY, ("    http-reuse always\n", ""))) as proxy:
        assert connections_for_twenty_calls(proxy, hub) >= 20  # and those of its checks


def lateness(hub, text):
    """Seconds that the least late value but the last is late by, to a client without TLS."""
    text = swap(text, (" ssl crt /etc/ssl/app.example.both.pem alpn h2,http/1.1", ""))
    with Proxy(clear_haproxy, hub, text, tls=False) as proxy, proxy.wire() as wire:
        stream = wire.subscribe("demo/clock", {"interval_ms": 1000, "count": 4}, token=PLAIN)
        late = []
        while (event := stream.event()) is not None:
            late.append(time.time() - event[1]["unix_ms"] / 1000)
    return min(late[:-1])


def test_haproxy_without_http_no_delay_holds_values_back_from_clients_without_tls(hub):
    assert lateness(hub, HAPROXY) < 0.1 < lateness(hub, without("http-no-delay"))


def test_haproxy_leaves_a_draining_alknetd_while_it_still_accepts(tmp_path):
    with hub_with(tmp_path, limits={"drain_delay_ms": "10s"}) as leaving, Proxy(haproxy, leaving, HAPROXY) as proxy:
        assert proxy.ask("GET", "/search", token=PLAIN).status == 200
        leaving.signal(signal.SIGTERM)
        wait_for(lambda: proxy.ask("GET", "/search", token=PLAIN).status == 503)
        assert leaving.ask("GET", "/search", token=PLAIN).status == 200
        leaving.signal(signal.SIGTERM)
        leaving.ended()


# ---- the service ------------------------------------------------------------------------------------------------------

SERVICE = (ROOT / "pkgconfig/systemd/alknetd.service.in").read_text()


def test_the_configuration_of_the_document_is_good(tmp_path):
    (tmp_path / "alknetd.yaml").write_text(blocks("yaml")[0])
    done = subprocess.run([BIN / "alknetd", "--check", "--config", tmp_path / "alknetd.yaml"], capture_output=True, text=True,
                          timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stderr


def test_what_the_document_says_of_the_units_is_in_them():
    assert "LimitNOFILE=65536\n" in SERVICE and "65,536 descriptors" in DOCUMENT
    assert "LogsDirectory=alknet\n" in SERVICE and "/var/log/alknet/" in DOCUMENT
    assert "TimeoutStopSec=60\n" in SERVICE and "`TimeoutStopSec=` of the unit, 60 s" in DOCUMENT
    assert "--config /etc/alknet/alknetd.yaml\n" in SERVICE and "`/etc/alknet/alknetd.yaml`" in DOCUMENT
    assert "ListenStream=127.0.0.1:4780\n" in (ROOT / "pkgconfig/systemd/alknetd.socket").read_text()


def test_logrotate_leads_the_log_into_a_new_file(make_daemon, tmp_path):
    daemon = make_daemon({"log": {"format": "json", "level": "info", "file": "own.log"}})
    log = daemon.log_path = daemon.folder / "own.log"
    log.touch()
    daemon.proc = subprocess.Popen([BIN / "alknetd", "--config", daemon.config_path], stdin=subprocess.DEVNULL)
    daemon.wait_listening()
    whoami = pwd.getpwuid(os.geteuid()).pw_name
    group = grp.getgrgid(os.getegid()).gr_name
    snippet = swap(blocks("logrotate")[0], ("/var/log/alknet/alknetd.log", str(log)), ("su alknet alknet", f"su {whoami} {group}"),
                   ("systemctl kill --signal=HUP --kill-whom=main alknetd.service", f"kill -HUP {daemon.proc.pid}"))
    (tmp_path / "rotate.conf").write_text(snippet)
    assert daemon.output("demo/echo", "before") == "before"
    daemon.wait_event("call")
    done = subprocess.run([program("logrotate"), "--force", "--state", tmp_path / "state", tmp_path / "rotate.conf"], capture_output=True,
                          text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stderr
    daemon.wait_event("reload")
    old = (daemon.folder / "own.log.1").read_text()
    assert '"event":"call"' in old and not daemon.events("call")
    assert daemon.output("demo/echo", "after") == "after"
    daemon.wait_event("call")
    assert (daemon.folder / "own.log.1").read_text() == old
