"""alknet over ws:// URLs, and what it serves.

What is said over http:// is said over ws:// in the same words, so most of the first part compares the two against one
alknetd. What a hub does not do unless it is broken is played by `Hub`, another implementation of WebSocket that answers as a
test tells it. `serve` is called by way of a hub's peers/call.
"""
import contextlib
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import threading
import time
import types

import pytest

import rawws  # pylint: disable=unused-import  # makes `websockets` importable
import websockets.sync.server
from conftest import PATIENCE, Daemon, key_for, new_token, wait_for
from rawhttp import build_plugin
from test_alknet_cli import (ALKNET, CONNECTION, OK, REMOTE, TOKEN, USAGE, Client, Double, answer,
                             refused_port, secret_file)
from test_alknet_cli import home, alone  # pylint: disable=unused-import

UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def over_ws(url):
    return url.replace("http://", "ws://")


@pytest.fixture(scope="module")
def daemon(tmp_path_factory):
    folder = tmp_path_factory.mktemp("daemon")
    one = Daemon(folder, {"plugins": [build_plugin(folder)]}).start()
    yield one
    one.stop()


@pytest.fixture
def http(home, daemon):
    return Client(home, daemon.url, daemon.token)


@pytest.fixture
def alknet(home, daemon):
    return Client(home, over_ws(daemon.url), daemon.token)


# ---- as over HTTP ---------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("args, text", [
    (["ls"], b""),
    (["ls", "-o", "raw"], b""),
    (["ls", "-o", "json", "-N", "demo", "-T", "query", "echo"], b""),
    (["describe", "demo/add"], b""),
    (["describe", "demo/nothing"], b""),
    (["call", "demo/echo", '{"a": [1, 1.10, 1e400, "x\\u001b"]}'], b""),
    (["call", "demo/echo", "-o", "raw", '"x\\ny"'], b""),
    (["call", "demo/echo", "-", "-o", "json"], b"[1,2]"),
    (["call", "demo/echo", "--", "-123456789012345678901234567890"], b""),
    (["call", "demo/add", "a=wrong"], b""),
    (["call", "demo/fail", "status=429", "message=no"], b""),
    (["call", "demo/nothing"], b""),
    (["call", "demo//nothing at all"], b""),
    (["call", "demo/secret"], b""),
    (["call", "demo/clock"], b""),
    (["call", "demo/whoami"], b""),
    (["call", "fail/negative"], b""),
    (["subscribe", "demo/echo"], b""),
    (["subscribe", "demo/nothing"], b""),
    (["subscribe", "fail/now"], b""),
    (["subscribe", "fail/later", '{"at": 1.10}'], b""),
    (["subscribe", "flood/values", "[10, 500]"], b""),
    (["subscribe", "flood/values", "[10, 2]", "-o", "pretty"], b""),
    (["call", "demo/sleep", "ms=20000", "--timeout", "0.2"], b""),
    (["subscribe", "demo/clock", "count=1", "interval_ms=1", "-o", "raw", "--timeout", "20"], b""),
    (["batch", "-"], b'[{"operation":"demo/echo","input":1.10},{"operation":"/demo/none"},{"operation":5},7]'),
    (["batch", "-", "-o", "json"], b'{"calls":[{"operation":"/demo/echo"},{"operation":"demo/fail"}]}'),
    (["batch", "-", "-o", "raw"], b'[{"operation":"demo/echo","input":"a\\nb"},{"operation":"demo/add"}]'),
    (["batch", "-"], b"[]"),
    (["call", "demo/echo", "{"], b""),
])
def test_what_is_said_is_what_is_said_over_http(alknet, http, args, text):
    def said(client):
        done = client(*args, stdin=text)
        out = re.sub(r'"unix_ms":\d+', '"unix_ms":0', done.out)
        return done.status, UUID.sub("ID", out), UUID.sub("ID", done.err)
    ours, theirs = said(alknet), said(http)
    if args[0] == "batch":  # an entry without a name has no request
        ours, theirs = ((s, re.sub(r'\s*"request_id": ?"ID",', "", o), e) for s, o, e in (ours, theirs))
    assert ours == theirs


def test_a_batch_may_be_larger_than_a_request_of_http(alknet):
    calls = json.dumps([{"operation": "demo/echo", "input": n} for n in range(1000)]).encode()
    assert alknet.output("batch", "-", "-o", "raw", stdin=calls) == "".join(f"{n}\n" for n in range(1000))


def test_ping_prints_round_trips_over_one_session(alknet, daemon):
    before = len(daemon.events("session.open"))
    lines = alknet.output("ping", "-n", "3", "-i", "0.01").splitlines()
    assert len(lines) == 4 and lines[3].startswith("3 of 3 answered, min/avg/max ")
    wait_for(lambda: len(daemon.events("session.open")) > before)
    assert len(daemon.events("session.open")) == before + 1


def test_the_session_is_closed_as_it_should_be(alknet, daemon):
    before = len(daemon.events("session.close"))
    alknet.output("call", "demo/echo")
    assert daemon.wait_event("session.close", before + 1)["code"] == 1000


def test_the_token_comes_from_where_it_does_over_http(home, daemon, tmp_path):
    url, args = over_ws(daemon.url), ["call", "demo/whoami", "-o", "json"]
    want = Client(home, url, daemon.token).output(*args)
    file = secret_file(tmp_path / "token", daemon.token + "\n")
    assert Client(home).output(*args, "-u", url, "-F", file) == want
    secret_file(home / ".config/alknet/config", f"url = {url}\ntoken = {daemon.token}\n")
    assert Client(home).output(*args) == want
    secret_file(home / ".config/alknet/config", f"url = {daemon.url}\ntoken = {daemon.token}\n")
    assert Client(home)(*args, "-u", url).status == REMOTE, "the token is for another URL"


def test_verbose_tells_what_is_sent_where_and_never_the_token(alknet, daemon):
    done = alknet("call", "demo/echo", "-v")
    assert re.search(rf"^> call /demo/echo at {over_ws(daemon.url)}, with a token$", done.err, re.M)
    assert re.search(r"^< ok, [\d.]+ ms, request [0-9a-f-]{36}$", done.err, re.M)
    assert daemon.token not in done.err


def test_a_large_answer_comes_whole(alknet):
    assert alknet.output("call", "big/value", "4000000", "-o", "raw") == "x" * 4000000 + "\n"


def test_an_input_that_the_hub_finds_too_large_says_so(alknet):
    done = alknet("call", "demo/echo", "-", stdin=b'"' + b"x" * (5 << 20) + b'"')
    assert done.status == CONNECTION and "closed with 1009: a message of more than 4194304 bytes\n" in done.err


# ---- subscriptions, their reader, Ctrl-C ------------------------------------------------------------------------------

def flood(daemon):
    return daemon.output("flood/counters")


def sleeps(daemon):
    return daemon.output("demo/sleep", {"ms": 0})["cancelled"]


def test_values_are_printed_as_they_come_and_ctrl_c_ends_it_quietly(alknet):
    process = alknet.start("subscribe", "demo/clock", "interval_ms=50")
    for n in range(3):
        assert json.loads(process.stdout.readline())["tick"] == n + 1
    process.send_signal(signal.SIGINT)
    assert process.wait(10) == -signal.SIGINT and process.stderr.read() == b""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_aborts_the_call_at_the_hub(alknet, daemon, number):
    before = sleeps(daemon)
    process = alknet.start("call", "demo/sleep", "ms=30000", "-v")
    while b"/demo/sleep" not in process.stderr.readline():
        pass
    time.sleep(0.3)
    process.send_signal(number)
    assert process.wait(10) == -number and process.stdout.read() == b""
    wait_for(lambda: sleeps(daemon) > before)


def test_a_signal_that_was_ignored_stays_so(alknet):
    process = subprocess.Popen(["sh", "-c", 'trap "" INT; exec "$0" call demo/sleep ms=1000 -v', ALKNET],
                               env=alknet.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    while b"/demo/sleep" not in process.stderr.readline():
        pass
    process.send_signal(signal.SIGINT)
    assert b"slept_ms" in process.communicate(timeout=30)[0] and process.returncode == OK


@pytest.mark.parametrize("ignored", [False, True])
def test_a_subscription_ends_quietly_when_its_reader_goes(alknet, ignored):
    process = alknet.start("subscribe", "demo/clock", "interval_ms=3600000", restore_signals=not ignored)
    assert process.stdout.readline()
    process.stdout.close()  # no second value is needed to notice
    assert process.wait(10) == -signal.SIGPIPE and process.stderr.read() == b""


def test_a_slow_reader_holds_the_hub_back_and_gets_everything(alknet, daemon):
    size, count = 2000, 40000
    before = flood(daemon)["emitted"]
    process = alknet.start("subscribe", "flood/values", json.dumps([size, count]))
    time.sleep(2)
    assert flood(daemon)["emitted"] - before < count / 2, "80 MB are on their way to nobody"
    with process.stdout:
        for n, line in enumerate(process.stdout):
            assert line.startswith(b'{"n":%d,' % n) and len(line) > size
    assert n == count - 1 and process.wait(30) == OK and process.stderr.read() == b""


def test_a_reader_that_stands_still_does_not_hold_up_ctrl_c(alknet, daemon):
    process = alknet.start("subscribe", "flood/values", "[2000, 100000000]")
    wait_for(lambda: flood(daemon)["running"] == 1)
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    assert process.wait(10) == -signal.SIGINT and process.stderr.read() == b""
    wait_for(lambda: flood(daemon)["running"] == 0)


@pytest.mark.parametrize("args", [["call", "demo/echo"], ["subscribe", "demo/clock", "count=1"]])
def test_output_that_cannot_be_written_is_said(alknet, args):
    with open("/dev/full", "wb") as full:
        process = alknet.start(*args, stdout=full)
        assert b"cannot write the output: No space left" in process.communicate(timeout=30)[1]
        assert process.returncode == CONNECTION


def test_a_closed_standard_output_is_never_the_connection(alknet):
    done = subprocess.run(["sh", "-c", f"{ALKNET} subscribe demo/clock count=1 >&-"], env=alknet.env, timeout=30,
                          capture_output=True, check=False)
    assert done.returncode == CONNECTION and b"cannot write the output: Bad file descriptor" in done.stderr


def test_a_subscription_goes_into_a_file(alknet, tmp_path):
    with open(tmp_path / "out", "wb") as out:
        assert alknet.start("subscribe", "flood/values", "[5000, 2000]", stdout=out).wait(60) == OK
    lines = (tmp_path / "out").read_text().splitlines()
    assert [json.loads(line)["n"] for line in lines] == list(range(2000))


# ---- a hub that is told what to do ------------------------------------------------------------------------------------

class Hub:
    """Speaks WebSocket and EventEnvelopes; `said(hub, socket, id, payload)` answers a request. What came is in `seen`."""

    def __init__(self, said, process_request=None):
        self.said, self.seen, self.codes = said, [], []
        self.server = websockets.sync.server.serve(self.converse, "127.0.0.1", 0, subprotocols=["alknet.call.v1"],
                                                   process_request=process_request)
        self.url = f"ws://127.0.0.1:{self.server.socket.getsockname()[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def converse(self, sock):
        try:
            for text in sock:
                envelope = json.loads(text)
                self.seen.append(envelope)
                if envelope["type"] != "call.requested":
                    continue
                payload = envelope["payload"]
                if payload["operationId"] == "/services/schema":
                    self.fault(sock, envelope["id"], "NOT_FOUND", "not described")
                elif self.said:
                    self.said(self, sock, envelope["id"], payload)
        finally:
            with contextlib.suppress(Exception):
                sock.close()
            self.codes.append(sock.protocol.close_rcvd.code if sock.protocol.close_rcvd else None)

    @staticmethod
    def put(sock, kind, ident, payload):
        sock.send(json.dumps({"type": kind, "id": ident, "payload": payload}).encode())

    def value(self, sock, ident, output):
        self.put(sock, "call.responded", ident, {"output": output})

    def fault(self, sock, ident, code, message, retryable=False):
        self.put(sock, "call.error", ident, {"code": code, "message": message, "retryable": retryable})

    def types(self):
        return [e["type"] for e in self.seen]


@pytest.fixture
def hub(home):
    with contextlib.ExitStack() as stack:
        def start(said=None, token=TOKEN, **kwargs):
            one = Hub(said, **kwargs)
            stack.callback(one.server.shutdown)
            one.alknet = Client(home, one.url, token)
            return one
        yield start


def test_ctrl_c_tells_the_hub_that_the_call_is_aborted_and_closes(hub):
    one = hub()
    for command in ("call", "subscribe"):
        one.seen.clear()
        process = one.alknet.start(command, "a/b")
        wait_for(lambda: one.types().count("call.requested") == 2)
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == -signal.SIGINT
        wait_for(lambda: one.types()[-1] == "call.aborted")
        assert one.seen[-1]["id"] == one.seen[-2]["id"]
    wait_for(lambda: one.codes == [1000, 1000])


def test_ctrl_c_aborts_what_runs_of_a_batch(hub):
    one = hub()
    process = one.alknet.start("batch", "-", stdin=subprocess.PIPE)
    process.stdin.write(json.dumps([{"operation": "a/b"}] * 50).encode())
    process.stdin.close()
    wait_for(lambda: one.types().count("call.requested") == 32)
    process.send_signal(signal.SIGINT)
    assert process.wait(10) == -signal.SIGINT
    wait_for(lambda: one.types().count("call.aborted") == 32)
    assert one.types().count("call.requested") == 32


def test_a_reader_that_goes_aborts_the_subscription(hub):
    one = hub(lambda h, sock, ident, _: h.value(sock, ident, 1))
    process = one.alknet.start("subscribe", "a/b")
    assert process.stdout.readline() == b"1\n"
    process.stdout.close()
    assert process.wait(10) == -signal.SIGPIPE
    wait_for(lambda: "call.aborted" in one.types())


def test_the_reason_of_a_close_is_shown_whole(hub):
    one = hub(lambda h, sock, ident, _: sock.close(1008, "a\0b"))
    assert "closed with 1008: a\\u0000b\n" in one.alknet("call", "a/b").err


def test_the_timeout_and_the_token_are_sent(hub):
    tokens = []

    def look(connection, request):
        tokens.append(request.headers.get("Authorization"))
    one = hub(lambda h, sock, ident, p: h.value(sock, ident, p.get("timeout_ms")), process_request=look)
    assert one.alknet.output("call", "a/b", "--timeout", "1.5") == "1500\n"
    assert one.alknet.output("call", "a/b") == one.alknet.output("call", "a/b", "--timeout", "0") == "null\n"
    assert tokens == [f"Bearer {TOKEN}"] * 3


def drop(_, sock, *__):
    sock.socket.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize("args, stdin, want", [
    (["call", "a/b"], b"", "alknet: no whole answer from {url}: the connection was lost\n"),
    (["ls"], b"", "alknet: no whole answer from {url}: the connection was lost\n"),
    (["batch", "-"], b'[{"operation":"a/b"}]', "alknet: no whole answer from {url}: the connection was lost\n"),
    (["subscribe", "a/b"], b"", "alknet: the subscription ended early, without completion: the connection was lost\n"),
])
def test_a_connection_that_is_lost_is_status_3(hub, args, stdin, want):
    one = hub(drop)
    done = one.alknet(*args, stdin=stdin)
    assert (done.status, done.out, done.err) == (CONNECTION, "", want.format(url=one.url))


def test_a_close_of_the_hub_is_told_with_its_code(hub):
    done = hub(lambda h, sock, *_: sock.close(4321)).alknet("call", "a/b")
    assert done.status == CONNECTION and "closed with 4321" in done.err


def test_pings_go_on_after_a_lost_connection(hub):
    lost = []

    def said(one, sock, ident, _):
        if lost:
            one.value(sock, ident, {"operations": []})
        else:
            lost.append(1)
            drop(one, sock)
    done = hub(said).alknet("ping", "-n", "3", "-i", "0")
    assert done.status == CONNECTION and "2 of 3 answered" in done.out


def once_then(first):
    """The first subscription gets 1 and then what `first` does to it, the second 2 and its end."""
    rounds = []

    def said(one, sock, ident, _):
        rounds.append(1)
        one.value(sock, ident, len(rounds))
        if len(rounds) > 1:
            one.put(sock, "call.completed", ident, {})
        else:
            time.sleep(0.2)
            first(one, sock, ident)
    return said


def busy(one, sock, ident):
    one.fault(sock, ident, "BUSY", "shutting down", True)


@pytest.mark.parametrize("first, told", [(drop, "the connection was lost; trying again in 0."), (busy, "is busy: shutting down; trying again in 1.0 s")])
def test_a_subscription_is_made_again_only_when_asked_for(hub, first, told):
    done = hub(once_then(first)).alknet("subscribe", "a/b")
    assert done.out == "1\n" and done.status == (REMOTE if first is busy else CONNECTION)
    done = hub(once_then(first)).alknet("subscribe", "a/b", "--reconnect")
    assert (done.status, done.out) == (OK, "1\n2\n") and told in done.err and done.err.count("\n") == 1
    done = hub(once_then(first)).alknet("subscribe", "a/b", "-rq")
    assert (done.status, done.out, done.err) == (OK, "1\n2\n", "")


def test_reconnecting_goes_on_until_the_hub_is_there_and_stops_when_it_refuses(home, make_daemon):
    hub_daemon = make_daemon().start()
    port, token = hub_daemon.port, hub_daemon.token
    hub_daemon.stop()
    process = Client(home, f"ws://127.0.0.1:{port}", token).start("subscribe", "demo/clock", "interval_ms=20", "-r")
    assert b"connection refused; trying again in 0." in process.stderr.readline()
    hub_daemon.write_config(listen=[{"host": "127.0.0.1", "port": port}])
    hub_daemon.start()
    assert json.loads(process.stdout.readline())["tick"] == 1
    hub_daemon.write_config(keys=[key_for(new_token())])
    hub_daemon.signal(signal.SIGHUP)
    err = process.communicate(timeout=30)[1].decode()
    assert process.returncode == REMOTE
    assert "refuses the session: HTTP 401" in err


def test_a_restart_does_not_end_a_subscription_that_reconnects(home, make_daemon):
    hub_daemon = make_daemon().start()
    port = hub_daemon.port
    hub_daemon.write_config(listen=[{"host": "127.0.0.1", "port": port}])
    urls = [over_ws(hub_daemon.url), hub_daemon.url]
    readers = [Client(home, url, hub_daemon.token).start("subscribe", "demo/clock", "interval_ms=20", "-r") for url in urls]
    without = [Client(home, url, hub_daemon.token).start("subscribe", "demo/clock", "interval_ms=20") for url in urls]
    for reader in readers + without:
        assert json.loads(reader.stdout.readline())["tick"] == 1
    hub_daemon.restart()
    for reader in without:
        err = reader.communicate(timeout=30)[1].decode()
        assert (reader.returncode, err) == (REMOTE, "BUSY: shutting down\n")
    for reader in readers:
        while json.loads(reader.stdout.readline())["tick"] != 1:
            pass
        reader.terminate()
        err = reader.communicate(timeout=30)[1].decode()
        assert "is busy: shutting down; trying again in " in err.splitlines()[0], err


# ---- no session -------------------------------------------------------------------------------------------------------

def test_without_a_token_the_error_says_how_to_give_one(home, daemon):
    url = over_ws(daemon.url)
    done = Client(home, url)("ls")
    assert done.status == REMOTE and done.err.splitlines() == [
        f"alknet: {url} refuses the session: HTTP 401: authentication required",
        "alknet: no token was sent: see --token-file and ALKNET_TOKEN"]
    done = Client(home, url, TOKEN)("ls")
    assert done.status == REMOTE and "HTTP 401" in done.err and "no token" not in done.err


def test_a_hub_that_cannot_be_reached_is_status_3(alone):
    for url in (f"ws://127.0.0.1:{refused_port()}", "ws://[::1]:1"):
        for command in (["ls"], ["describe", "a/b"], ["call", "a/b"], ["subscribe", "a/b"], ["ping"]):
            done = alone(*command, "-u", url)
            assert (done.status, done.out) == (CONNECTION, "") and done.err.startswith(f"alknet: cannot reach {url}: ")


@pytest.mark.parametrize("said, why", [
    (answer(404, b"<html>", "text/html"), "gives no session: HTTP 404: the server refused the upgrade"),
    (answer(200, b"{}"), "gives no session: HTTP 200"),
    (answer(302, b"", "text/html", "Location: http://127.0.0.1:1/"), "gives no session: HTTP 302"),
    (b"HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: x\r\n\r\n",
     "Sec-WebSocket-Accept is wrong"),
    (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", "the answer is not HTTP/1.1"),
    (None, "the server closed the connection"),
])
def test_what_is_no_hub_is_status_3(home, said, why):
    double = Double(said)
    try:
        done = Client(home, over_ws(double.url), TOKEN)("call", "a/b")
        assert (done.status, done.out) == (CONNECTION, "") and why in done.err and done.err.count("\n") == 1
        assert double.requests[0].target == "/alknet/call" if double.requests else True
    finally:
        double.close()


def test_a_silent_hub_is_given_up(home):
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(8)
        url = f"ws://127.0.0.1:{listener.getsockname()[1]}"
        start = time.monotonic()
        done = Client(home, url, TOKEN)("call", "a/b", "--timeout", "0.2")
        assert done.status == CONNECTION and done.err == f"alknet: cannot reach {url}: timed out\n"
        assert 1 < time.monotonic() - start < 8


@pytest.mark.parametrize("args, why", [
    (["call", "a/b", "--curl", "-u", "ws://127.0.0.1:1"], "curl has no command for that"),
    (["call", "a/b", "-u", "alknets://127.0.0.1:1"], "the scheme of a URL is http, https, unix, alknet, ws, wss"),
    (["serve", "a/b", "-u", "https://127.0.0.1:1", "--", "cat"], "serve needs a session"),
    (["call", "a/b", "-u", f"ws://user:{TOKEN}@host"], "a URL with a user or a password is refused"),
    (["call", "a/b", "-u", f"ws://host/?token={TOKEN}"], "a URL with a query or a fragment is refused"),
    (["serve", "a b", "-u", "ws://127.0.0.1:1", "--", "cat"], "a b: "),
    (["serve", "services/x", "-u", "ws://127.0.0.1:1", "--", "cat"], "services/x: "),
    (["serve", "a/b:thing", "-u", "ws://127.0.0.1:1", "--", "cat"], "query, mutation or subscription, not 'thing'"),
    (["serve", "a/b", "a/b", "-u", "ws://127.0.0.1:1", "--", "cat"], "a/b: is given twice"),
    (["serve", "a/b", "-u", "ws://127.0.0.1:1", "--", "no-such-command"], "there is no command 'no-such-command'"),
    (["serve", "a/b", "-u", "ws://127.0.0.1:1", "--", "/etc/passwd"], "there is no command '/etc/passwd'"),
    (["serve", "a/b", "-u", "ws://127.0.0.1:1", "-s", "/no/such", "--", "cat"], "cannot read /no/such"),
    (["serve", "a/b", "-u", "ws://127.0.0.1:1", "-s", __file__, "--", "cat"], "a/b: "),
    (["serve", "a/b", "-u", "ws://127.0.0.1:1", "-a", "{", "--", "cat"], "--as takes SCOPE"),
])
def test_wrong_usage_is_status_2(alone, args, why):
    done = alone(*args)
    assert (done.status, done.out) == (USAGE, "") and why in done.err and TOKEN not in done.err, done.err


# ---- serve ------------------------------------------------------------------------------------------------------------

class Spokes:
    """An alknetd that knows one peer, `spoke`, whose operations ui/... its own callers may call; and spokes of it."""

    def __init__(self, home, daemon, token):
        self.home, self.daemon, self.token, self.started = home, daemon, token, []

    def client(self):
        return Client(self.home, over_ws(self.daemon.url), self.token)

    def start(self, *args, wait=True, **kwargs):
        """A running `alknet serve`, once it serves; its standard error is collected in `.said`."""
        process = self.client().start("serve", *args, **kwargs)
        process.said = []

        def collect():
            for line in process.stderr:
                process.said.append(line.decode())
        threading.Thread(target=collect, daemon=True).start()
        self.started.append(process)
        if wait:
            wait_for(lambda: any(": serving " in line for line in process.said) or process.poll() is not None)
            assert process.poll() is None, process.said
        return process

    def call(self, operation, value=None, **kwargs):
        answered = self.daemon.call("peers/call", {"peer": "spoke", "operation": operation, "input": value}, **kwargs)
        return types.SimpleNamespace(status=answered.status, **answered.json())

    def output(self, operation, value=None):
        answered = self.call(operation, value)
        assert answered.status == 200, answered
        return answered.output

    def subscribe(self, operation, value=None, **kwargs):
        """A client that prints the values."""
        return Client(self.home, self.daemon.url, self.daemon.token).start(
            "subscribe", "peers/subscribe", json.dumps({"peer": "spoke", "operation": operation, "input": value}), **kwargs)

    def end(self):
        for process in self.started:
            if process.poll() is None:
                process.terminate()
            try:
                assert process.wait(PATIENCE) == OK, process.said
            finally:
                process.kill()
            text = "".join(process.said)
            assert "Sanitizer" not in text and "runtime error" not in text and self.token not in text, text


@pytest.fixture
def spokes(home, make_daemon):
    token = new_token()
    daemon = make_daemon({
        "auto_import": True,
        "peers": [{"peer_id": "spoke", "auth_token_hashes": [key_for(token)["hash"]], "websocket": True, "scopes": []}],
        "peers_call": {"authority": {"label": "hub", "scopes": []}, "allow": [{"peer": "spoke", "operations": ["ui/*"]}]}})
    daemon.write_config(keys=[key_for(daemon.token, "demo:*", "peers:call", "peers:list")])
    daemon.tokens.append(token)
    one = Spokes(home, daemon.start(), token)
    yield one
    one.end()


def alive(pid):
    """Whether that process runs; one that has ended but has not been waited for does not."""
    with contextlib.suppress(OSError):
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    return False


def pid_in(file):
    return int(wait_for(lambda: file.exists() and file.read_text().endswith("\n") and file.read_text()))


def test_a_call_runs_the_command_with_the_input_and_returns_its_output(spokes):
    process = spokes.start("ui/echo", "--", "cat")
    value = {"a": [1.5, None, "x y"]}
    assert spokes.output("ui/echo", value) == value
    raw = spokes.daemon.request("POST", "/call", '{"operation":"peers/call","input":{"peer":"spoke","operation":"ui/echo",'
                                                 '"input":[1.10,1e400,123456789012345678901234567890]}}')
    assert b"[1.10,1e400,123456789012345678901234567890]" in raw.body
    url = over_ws(spokes.daemon.url)
    told = wait_for(lambda: process.said[2:])
    assert process.said[:2] == [f"alknet: {url}: connected\n", f"alknet: {url}: serving ui/echo\n"]
    assert told == [f"alknet: {url}: it is peer 'spoke' there: who has the scope peers:call can call it (--peer spoke)\n"]


def test_the_command_is_run_without_a_shell(spokes):
    spokes.start("ui/args", "--", "python3", "-c", "import json,sys; print(json.dumps(sys.argv[1:]))", "a b", "$HOME", "",
                 "*", "--", "-u")
    assert spokes.output("ui/args") == ["a b", "$HOME", "", "*", "--", "-u"]


def test_the_command_finds_what_it_runs_for_in_its_environment(spokes):
    spokes.start("ui/a", "ui/b", "--as", "x:read,y:*", "--", "python3", "-c", "import json,os; print(json.dumps(dict(os.environ)))")
    seen = spokes.output("ui/b")
    assert seen["ALKNET_OPERATION"] == "ui/b" and UUID.fullmatch(seen["ALKNET_REQUEST_ID"])
    assert json.loads(seen["ALKNET_IDENTITY"]) == {"id": "hub", "scopes": ["x:read", "y:*"], "resources": {}}
    assert "PATH" in seen and "ALKNET_TOKEN" not in seen and spokes.token not in json.dumps(seen)
    assert spokes.output("ui/a")["ALKNET_OPERATION"] == "ui/a"


def test_nobody_is_null_and_an_identity_may_be_given_as_json(spokes):
    program = ("--", "sh", "-c", 'printf %s "$ALKNET_IDENTITY"')
    process = spokes.start("ui/who", *program)
    assert spokes.output("ui/who") is None
    process.terminate()
    assert process.wait(10) == OK
    spokes.start("ui/who", "--as", '{"id":"h","scopes":[],"resources":{"r":["1"]}}', *program)
    assert wait_for(lambda: spokes.call("ui/who").status == 200) and spokes.output("ui/who")["resources"] == {"r": ["1"]}


@pytest.mark.parametrize("script, message, details", [
    ("echo first >&2; echo 'the last one' >&2; echo >&2; echo '{}'; exit 3", "the last one", {"status": 3}),
    ("printf 'no newline' >&2; exit 1", "no newline", {"status": 1}),
    ("exit 7", "the command ended with status 7", {"status": 7}),
    ("kill -9 $$", "the command was ended by signal 9", {"signal": 9}),
    ("printf 'a\\033[31m\\377b\\n' >&2; exit 1", "a\\u001b[31m\\xffb", {"status": 1}),
    ("head -c 100000 /dev/zero | tr '\\0' x >&2; exit 1", "x" * 400, {"status": 1}),
])
def test_another_status_than_0_is_a_fault_with_the_last_line(spokes, script, message, details):
    process = spokes.start("ui/x", "--", "sh", "-c", script)
    failed = spokes.call("ui/x")
    assert (failed.code, failed.message, failed.details) == ("COMMAND_FAILED", message, details)
    wait_for(lambda: any(line.startswith("alknet: ui/x: ") for line in process.said))


@pytest.mark.parametrize("script, message", [
    ("echo '{'", "the output is not JSON"),
    ("echo 1 2", "the output is not JSON"),
    ("printf '\"\\377\"'", "the output is not JSON"),
    ("echo '\"'; head -c 5000000 /dev/zero | tr '\\0' x; echo '\"'", "the output is larger than 4 MiB"),
    ("yes", "the output is larger than 4 MiB"),
])
def test_output_that_is_none_is_a_fault(spokes, script, message):
    spokes.start("ui/x", "--", "sh", "-c", script)
    failed = spokes.call("ui/x")
    assert (failed.code, failed.message) == ("BAD_OUTPUT", message)


@pytest.mark.parametrize("args, script, want", [
    ([], "", None), ([], "printf ' \\n'", None), ([], "printf 5", 5),
    (["--text"], "printf 'a\\n\"b\"\\n\\n'", 'a\n"b"\n'), (["--text"], "", ""), (["-x"], "printf '{'", "{"),
])
def test_outputs(spokes, args, script, want):
    spokes.start("ui/x", *args, "--", "sh", "-c", script)
    assert spokes.output("ui/x") == want


def test_text_that_is_none_or_grows_too_large_is_a_fault(spokes):
    spokes.start("ui/x", "--text", "--", "sh", "-c", 'read -r what; if [ "$what" = 1 ]; then printf "\\377"; '
                 'else head -c 2000000 /dev/zero; fi')
    assert spokes.call("ui/x", 1).message == "the output is not UTF-8"
    assert spokes.call("ui/x", 2).message == "the output is larger than 4 MiB", "each NUL takes six bytes in JSON"


def test_the_largest_output_passes(spokes):
    size = (4 << 20) - 4096 - 2
    spokes.start("ui/x", "--text", "--", "sh", "-c", f"head -c {size} /dev/zero | tr '\\0' x")
    # The hub's own answer has the same limit, and a longer envelope is HTTP's affair.
    assert spokes.output("ui/x") == "x" * size


def test_a_command_need_not_read_its_input(spokes):
    spokes.start("ui/x", "--", "echo", "1")
    assert spokes.output("ui/x", "x" * 1000000) == 1


def test_a_large_input_comes_whole(spokes):
    spokes.start("ui/x", "--text", "--", "wc", "-c")
    assert spokes.output("ui/x", "x" * 1000000).strip() == str(1000000 + 3)


def test_a_subscription_passes_on_each_line_at_once(spokes, tmp_path):
    go = tmp_path / "go"
    os.mkfifo(go)
    spokes.start("ui/s:subscription", "--", "sh", "-c", f"echo '{{\"a\":1.10}}'; echo; read x <{go}; printf 2")
    reader = spokes.subscribe("ui/s")
    assert reader.stdout.readline() == b'{"a":1.10}\n'
    go.write_text("go\n")
    assert reader.communicate(timeout=30) == (b"2\n", b"") and reader.returncode == OK


def test_a_subscription_of_text_has_every_line_as_a_string(spokes):
    spokes.start("ui/s:subscription", "--text", "--", "printf", 'a"\\n\\nb')
    assert spokes.subscribe("ui/s").communicate(timeout=30)[0] == b'"a\\""\n""\n"b"\n'


@pytest.mark.parametrize("script, out, err", [
    ("echo 1; echo gone >&2; exit 4", b"1\n", b"COMMAND_FAILED: gone"),
    ("echo 1; echo x; sleep 60", b"1\n", b"BAD_OUTPUT: a line of the output is not JSON"),
    ("echo 1; head -c 5000000 /dev/zero; sleep 60", b"1\n", b"BAD_OUTPUT: a line of the output is larger than 4 MiB"),
])
def test_a_subscription_may_fail_after_values(spokes, script, out, err):
    spokes.start("ui/s:subscription", "--", "sh", "-c", script)
    reader = spokes.subscribe("ui/s")
    said = reader.communicate(timeout=30)
    assert said[0] == out and said[1].startswith(err) and reader.returncode == REMOTE


def test_a_hub_that_stops_reading_holds_the_command_back_and_gets_everything(hub, tmp_path):
    file, state = tmp_path / "count", types.SimpleNamespace()
    script = (f"for n in range(30000):\n print('[%d,\"%s\"]' % (n, 'x' * 1000))\n"
              f" n % 1000 or open({str(file)!r}, 'w').write(str(n))\n")

    def said(one, sock, ident, _):
        one.value(sock, ident, {})
        one.put(sock, "call.requested", "s1", {"operationId": "/ui/s", "input": None})
        wait_for(lambda: file.exists() and file.read_text())
        time.sleep(2)
        state.written = int(file.read_text())
    one = hub(said)
    process = one.alknet.start("serve", "ui/s:subscription", "--", "python3", "-c", script)
    try:
        wait_for(lambda: "call.completed" in one.types(), 60)
    finally:
        process.terminate()
        assert process.wait(10) == OK, process.stderr.read()
    assert state.written < 20000, "30 MB are on their way to nobody"
    values = [e["payload"]["output"][0] for e in one.seen if e["type"] == "call.responded"]
    assert values == list(range(30000))


def test_a_subscriber_that_leaves_ends_the_command_and_its_children(spokes, tmp_path):
    pids = [tmp_path / "one", tmp_path / "two"]
    spokes.start("ui/s:subscription", "--", "sh", "-c", f"echo $$ >{pids[0]}; sh -c 'echo $$ >{pids[1]}; sleep 60'; :")
    reader = spokes.subscribe("ui/s")
    running = [pid_in(file) for file in pids]
    assert all(map(alive, running))
    reader.send_signal(signal.SIGINT)
    wait_for(lambda: not any(map(alive, running)), 5)


def test_a_command_that_ignores_the_end_of_its_call_is_killed(spokes, tmp_path):
    file = tmp_path / "pid"
    spokes.start("ui/s:subscription", "--", "sh", "-c", f"trap '' TERM; echo $$ >{file}; while :; do sleep 1; done")
    reader = spokes.subscribe("ui/s")
    pid = pid_in(file)
    reader.send_signal(signal.SIGINT)
    reader.wait(10)
    time.sleep(0.5)
    assert alive(pid)
    wait_for(lambda: not alive(pid), 10)


def test_a_deadline_ends_the_command(spokes, tmp_path):
    file = tmp_path / "pid"
    spokes.start("ui/x", "--timeout", "0.7", "--", "sh", "-c", f"echo $$ >{file}; exec sleep 60")
    start = time.monotonic()
    failed = spokes.call("ui/x")
    assert failed.code == "TIMEOUT" and time.monotonic() - start < 5
    wait_for(lambda: not alive(pid_in(file)), 5)
    file.unlink()
    failed = spokes.call("ui/x", headers={"X-Timeout-Ms": "300"})
    assert failed.code == "TIMEOUT"
    wait_for(lambda: not alive(pid_in(file)), 5)


def test_who_keeps_the_output_open_does_not_keep_the_caller(spokes, tmp_path):
    file = tmp_path / "pid"
    spokes.start("ui/x", "--", "sh", "-c", f"sleep 60 & echo $! >{file}; echo 1")
    start = time.monotonic()
    assert spokes.output("ui/x") == 1 and time.monotonic() - start < 10
    wait_for(lambda: not alive(pid_in(file)), 5)


def test_as_many_run_at_a_time_as_is_said_and_others_wait(spokes, tmp_path):
    script = (f"d={tmp_path}; touch $d/run.$$; ls $d | grep -c run. >$d/seen.$$; sleep 0.3; rm $d/run.$$; echo 1")
    spokes.start("ui/x", "-j", "3", "--", "sh", "-c", script)
    calls = [{"operation": "peers/call", "input": {"peer": "spoke", "operation": "ui/x"}}] * 12
    results = spokes.daemon.request("POST", "/batch", calls).json()["results"]
    assert [r["result"] for r in results] == ["ok"] * 12
    seen = [int(file.read_text()) for file in tmp_path.glob("seen.*")]
    assert len(seen) == 12 and max(seen) == 3


def test_a_call_that_waits_keeps_its_deadline(spokes):
    spokes.start("ui/x", "-j", "1", "--timeout", "1", "--", "sleep", "30")
    calls = [{"operation": "peers/call", "input": {"peer": "spoke", "operation": "ui/x"}}] * 3
    start = time.monotonic()
    results = spokes.daemon.request("POST", "/batch", calls).json()["results"]
    assert [r["error"]["code"] for r in results] == ["TIMEOUT"] * 3 and time.monotonic() - start < 6


def test_the_input_is_checked_by_the_schema_and_the_description_is_seen(spokes, tmp_path):
    schema = tmp_path / "schema.json"
    schema.write_text('{"type":"object","required":["a"]}')
    spokes.start("ui/x:mutation", "ui/y", "-s", str(schema), "-d", "Does it.", "--", "cat")
    assert spokes.call("ui/x", {}).code == "INVALID_INPUT" and spokes.output("ui/x", {"a": 1}) == {"a": 1}
    peers = spokes.daemon.output("services/list-peers", {})["peers"]
    ops = {op["name"].lstrip("/"): op for op in next(p for p in peers if p["peer_id"] == "spoke")["operations"]}
    assert ops["ui/x"]["op_type"] == "mutation" and ops["ui/y"]["op_type"] == "query"
    assert ops["ui/x"]["description"] == "Does it."


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_and_what_runs(spokes, tmp_path, number):
    file = tmp_path / "pid"
    process = spokes.start("ui/s:subscription", "--", "sh", "-c", f"echo 1; echo $$ >{file}; exec sleep 60")
    reader = spokes.subscribe("ui/s")
    assert reader.stdout.readline() == b"1\n"
    pid = pid_in(file)
    process.send_signal(number)
    assert process.wait(10) == OK and not alive(pid)
    wait_for(lambda: process.said[-1].endswith(": closed with 1001: shutting down\n"))
    err = reader.communicate(timeout=10)[1]
    assert reader.returncode == REMOTE and b"BUSY: shutting down" in err
    assert spokes.daemon.wait_event("session.close")["code"] == 1001


def test_a_second_signal_does_not_wait_for_a_stubborn_command(spokes, tmp_path):
    file = tmp_path / "pid"
    process = spokes.start("ui/s:subscription", "--", "sh", "-c", f"trap '' TERM; echo $$ >{file}; while :; do sleep 60; done")
    reader = spokes.subscribe("ui/s")
    pid = pid_in(file)
    start = time.monotonic()
    process.send_signal(signal.SIGINT)
    reader.wait(10)  # the first one has ended its session
    assert alive(pid)
    process.send_signal(signal.SIGINT)
    assert process.wait(10) == OK and not alive(pid)
    assert time.monotonic() - start < 2, "after which it would have been killed anyway"


def test_a_hub_that_comes_back_is_served_again(spokes, tmp_path):
    file = tmp_path / "pid"
    process = spokes.start("ui/x", "ui/s:subscription", "--", "sh", "-c",
                           f"[ $ALKNET_OPERATION = ui/x ] && exec echo 5; echo $$ >{file}; echo 1; exec sleep 60")
    reader = spokes.subscribe("ui/s")
    assert reader.stdout.readline() == b"1\n"
    pid = pid_in(file)
    port = spokes.daemon.port
    spokes.daemon.write_config(listen=[{"host": "127.0.0.1", "port": port}], limits={"drain_ms": 100})
    spokes.daemon.proc.kill()
    spokes.daemon.proc.wait()
    spokes.daemon.proc = None
    wait_for(lambda: not alive(pid), 5)
    wait_for(lambda: any("trying again in " in line for line in process.said))
    spokes.daemon.start()
    wait_for(lambda: sum(": serving " in line for line in process.said) == 2)
    assert spokes.output("ui/x") == 5
    reader.wait(10)


def test_quiet_says_nothing(spokes):
    process = spokes.start("ui/x", "-q", "--", "false", wait=False)
    wait_for(lambda: spokes.call("ui/x").code == "COMMAND_FAILED")
    process.terminate()
    assert process.wait(10) == OK and process.said == []


def test_a_hub_that_refuses_ends_it_with_status_1(home, spokes):
    for token, more in ((TOKEN, ""), (None, "no token was sent")):
        done = Client(home, over_ws(spokes.daemon.url), token)("serve", "ui/x", "--", "cat")
        assert done.status == REMOTE and "refuses the session: HTTP 401" in done.err and more in done.err


def test_a_hub_that_does_not_take_the_operations_ends_it_with_status_1(hub):
    def said(one, sock, ident, _):
        one.fault(sock, ident, "IMPORT_FAILED", "not here")
    done = hub(said).alknet("serve", "ui/x", "--", "cat")
    assert done.status == REMOTE and "announce: not here" in done.err


def test_a_command_that_goes_away_is_a_fault(spokes, tmp_path):
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\necho 1\n")
    program.chmod(0o755)
    spokes.start("ui/x", "--", str(program))
    assert spokes.output("ui/x") == 1
    program.unlink()
    failed = spokes.call("ui/x")
    assert failed.code == "COMMAND_FAILED" and failed.message == f"cannot run {program}: no such file or directory"


def test_many_calls_leave_nothing_open(spokes):
    process = spokes.start("ui/x", "--", "cat")
    spokes.output("ui/x", 0)
    before = len(os.listdir(f"/proc/{process.pid}/fd"))
    for n in range(40):
        assert spokes.output("ui/x", n) == n
    wait_for(lambda: len(os.listdir(f"/proc/{process.pid}/fd")) == before)


def test_more_calls_than_may_wait_are_told_that_it_is_busy(hub):
    def said(one, sock, ident, _):
        one.value(sock, ident, {})
        for n in range(1030):
            one.put(sock, "call.requested", f"s{n}", {"operationId": "/ui/x", "input": n})
    one = hub(said)
    process = one.alknet.start("serve", "ui/x", "-j", "1", "--", "sleep", "60")
    try:
        wait_for(lambda: one.types().count("call.error") == 6)
        assert {e["payload"]["code"] for e in one.seen if e["type"] == "call.error"} == {"BUSY"}
    finally:
        process.terminate()
        assert process.wait(10) == OK, process.stderr.read()
