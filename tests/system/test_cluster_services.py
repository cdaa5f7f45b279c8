"""What a hub offers to clients of a real NATS broker: they call by requests, and find what there is by $SRV, as its other
services' clients do. The hub may do no more at the broker than the document says, and the client no more than it needs."""
import contextlib
import json
import os
import re
import signal
import socket
import threading
import time
import types

import pytest

from conftest import PATIENCE, ROOT, Daemon, key_for, new_token, wait_for
from nats_rig import Broker, Network, Stranger

TEXT = (ROOT / "docs/scale.md").read_text()
PERMITTED = re.findall(r"\{user: north.*?\}\}", TEXT, re.S)[-1].replace("…", "north")
BROKER = f"""authorization {{
  users: [
    {PERMITTED}
    {{user: client, password: client, permissions: {{publish: ["alknet.services.>", "$SRV.>"], subscribe: "_INBOX.>"}}}}
    {{user: denied, password: denied, permissions: {{
      publish: {{allow: ["alknet.services.>"], deny: ["alknet.services.north.demo.>"]}}, subscribe: "_INBOX.>"}}}}
    {{user: other, password: other}}
  ]
}}
"""
ENDPOINT = {"name", "subject", "queue_group"}
STANDARD = {"type", "name", "id", "version", "metadata"}


class Client(Stranger):
    """Who knows of NATS alone. An answer is (None, JSON), or ((number, text), JSON) of a failure; None: nobody is there."""

    def __init__(self, broker, user="client"):
        super().__init__(broker, json.dumps({"verbose": False, "headers": True, "no_responders": True, "user": user, "pass": user}))
        self.count, self.inbox = 0, f"_INBOX.{os.urandom(4).hex()}"
        self.subscribe(self.inbox + ".*")

    def send_request(self, subject, payload=b""):
        self.count += 1
        self.send(f"PUB {subject} {self.inbox}.{self.count} {len(payload)}\r\n".encode() + payload + b"\r\n")
        return f"{self.inbox}.{self.count}"

    def answer(self, inbox, seconds=PATIENCE):
        end = time.monotonic() + seconds
        while True:
            subject, payload = self.next(max(end - time.monotonic(), 0)) or (None, None)
            if not subject:
                raise TimeoutError(f"no answer to {inbox}")
            if subject == inbox:
                break
        if not payload.startswith(b"NATS/1.0"):
            return None, json.loads(payload)
        head, payload = payload.split(b"\r\n\r\n", 1)
        lines = head.decode().split("\r\n")
        if lines[0].startswith("NATS/1.0 503"):
            return None
        fields = dict(line.split(": ", 1) for line in lines[1:])
        return (int(fields["Nats-Service-Error-Code"]), fields["Nats-Service-Error"]), json.loads(payload)

    def ask(self, subject, payload=b""):
        return self.answer(self.send_request(subject, payload if isinstance(payload, bytes) else json.dumps(payload).encode()))

    def call(self, name, payload=b""):
        return self.ask(f"alknet.services.north.{name}", payload)

    def is_served(self):
        """None: not known, as what comes while a hub leaves has no answer."""
        with contextlib.suppress(TimeoutError):
            return self.answer(self.send_request("$SRV.PING.north"), 1) is not None
        return None


class Hub(Daemon):
    def __init__(self, folder, broker, **cluster):
        folder.mkdir()
        self.broker = broker
        (folder / "password").write_text("north\n")
        (folder / "password").chmod(0o600)
        super().__init__(folder, {"node_key": "node.key", "cluster": {
            "name": "north", "nats": {"servers": [broker.url], "user": "north", "password_file": "password"}, "services": True, **cluster}})

    def up(self, times=1):
        """The broker knows what it subscribes to."""
        wait_for(lambda: len(self.events("services.up")) == times)
        with contextlib.closing(Client(self.broker)) as client:
            wait_for(client.is_served)


@contextlib.contextmanager
def running(hub, **kwargs):
    hub.start(**kwargs)
    try:
        yield hub
    finally:
        if hub.proc:
            hub.stop()


@pytest.fixture(scope="module")
def broker(tmp_path_factory):
    with Broker(tmp_path_factory.mktemp("broker"), BROKER) as started:
        yield started


@pytest.fixture(scope="module")
def hub(broker, tmp_path_factory):
    with running(Hub(tmp_path_factory.mktemp("hub") / "north", broker)) as started:
        started.up()
        yield started


@pytest.fixture
def own(tmp_path):
    """A broker, and a hub that is not started."""
    with Broker(tmp_path, BROKER) as started:
        yield started, Hub(tmp_path / "north", started)


@pytest.fixture
def client(broker):
    with contextlib.closing(Client(broker)) as made:
        yield made


def test_a_request_is_a_call(hub, client):
    assert client.call("demo.echo", {"text": "\u00e4\u0000"}) == (None, {"text": "\u00e4\u0000"})
    assert client.call("demo.echo") == (None, {})
    assert client.call("demo.add", {"a": 1, "b": 2}) == (None, {"sum": 3})
    line = wait_for(lambda: [e for e in hub.events("call") if e["operation"] == "demo/add"])[-1]
    assert line["remote"] == "nats" and line["outcome"] == "ok" and "identity" not in line


def test_what_fails_says_why_in_headers_and_payload(hub, client):
    def fault(number, code, message, **more):
        return (number, f"{code}: {message}"), {"code": code, "message": message, "retryable": False, **more}

    assert client.call("demo.nothing", {}) == fault(404, "NOT_FOUND", "operation not found: demo/nothing")
    assert client.call("demo.whoami", {}) == fault(401, "FORBIDDEN", "authentication required")
    assert client.call("demo.clock", {}) == fault(400, "INVALID_OPERATION_TYPE", "demo/clock is a subscription")
    assert client.call("demo.echo", b"{") == fault(400, "INVALID_INPUT", "payload: unexpected end of data at byte 1")
    (number, text), said = client.call("demo.add", {"a": 1})
    assert number == 422 and text.startswith("INVALID_INPUT: ") and said["details"]["errors"][0]["keyword"] == "required"
    lines = "two\r\nNats-Service-Error-Code: 200"
    (number, text), said = client.call("demo.fail", {"message": lines})
    assert number == 409 and text == "DEMO_CONFLICT: " + lines.replace("\r\n", "  ") and said["message"] == lines


def test_the_calls_of_others_go_on_beside_a_slow_one(hub, client):
    slow = client.send_request("alknet.services.north.demo.sleep", b'{"ms":4000}')
    begun = time.monotonic()
    assert client.call("demo.echo", 1) == (None, 1)
    assert time.monotonic() - begun < 4
    client.come.clear()
    assert client.answer(slow)[0] is None


def test_what_there_is_is_found_as_services_of_nats_are(hub, client):
    _, ping = client.ask("$SRV.PING")
    assert set(ping) == STANDARD and ping["name"] == "north" and ping["type"] == "io.nats.micro.v1.ping_response"
    assert re.fullmatch(r"\d+\.\d+\.\d+", ping["version"]) and ping["metadata"] == {}
    for where in ("", ".north", f".north.{ping['id']}"):
        assert client.ask("$SRV.PING" + where) == (None, ping)
        _, info = client.ask("$SRV.INFO" + where)
        assert set(info) == STANDARD | {"description", "endpoints"} and info["id"] == ping["id"]
        by_name = {e["metadata"]["operation"]: e for e in info["endpoints"]}
        assert by_name["demo/echo"] == {"name": "demo-echo", "subject": "alknet.services.north.demo.echo", "queue_group": "north", "metadata": {
            "operation": "demo/echo", "op_type": "query", "description": "Returns its input."}}
        assert "demo/clock" not in by_name and "demo/whoami" not in by_name
        _, stats = client.ask("$SRV.STATS" + where)
        assert set(stats) == STANDARD | {"started", "endpoints"}
        assert [e["subject"] for e in stats["endpoints"]] == [e["subject"] for e in info["endpoints"]]
        assert all(set(e) == ENDPOINT | {"num_requests", "num_errors", "last_error", "processing_time", "average_processing_time"}
                   for e in stats["endpoints"])
        assert time.strptime(stats["started"], "%Y-%m-%dT%H:%M:%SZ")
    for endpoint in info["endpoints"]:
        assert re.fullmatch(r"[a-zA-Z0-9_-]+", endpoint["name"])
    assert client.ask("$SRV.PING.south") is None and client.ask("$SRV.PING.north.id") is None


def test_what_the_broker_forbids_has_no_other_subject(hub, broker):
    with contextlib.closing(Client(broker, "denied")) as denied:
        for subject in ("demo/echo", "/demo.echo", "demo%2Fecho"):
            number, _ = denied.call(subject, 1)[0]
            assert number == 404, subject
        assert denied.call("services.list", {})[0] is None


def test_numbers_grow_with_requests(hub, client):
    def counts():
        return next(e for e in client.ask("$SRV.STATS.north")[1]["endpoints"] if e["name"] == "demo-fail")

    before = counts()
    assert client.call("demo.fail", {"status": 503})[0][0] == 503
    after = counts()
    assert after["num_requests"] == before["num_requests"] + 1 and after["num_errors"] == before["num_errors"] + 1
    assert after["last_error"].endswith("503:HTTP_503") and after["processing_time"] > before["processing_time"]


def test_a_flood_is_answered_busy_and_holds_nobody_else_up(hub, client, broker):
    with contextlib.closing(Client(broker)) as flooder:
        inboxes = [flooder.send_request("alknet.services.north.demo.sleep", b'{"ms":1500}') for _ in range(1500)]
        busy = [flooder.answer(inbox) for inbox in inboxes[1024:1034]]
        begun = time.monotonic()
        assert hub.request("POST", "/call", {"operation": "demo/echo", "input": 1}).json()["output"] == 1
        assert time.monotonic() - begun < 1.5
    assert all(answer == ((503, "BUSY: too many calls"), {"code": "BUSY", "message": "too many calls", "retryable": True}) for answer in busy)
    wait_for(lambda: client.call("demo.echo", 1) == (None, 1), every=0.1)


def test_a_second_hub_of_the_name_takes_no_request(hub, client, broker, tmp_path):
    second = Hub(tmp_path / "second", broker)
    second.config["node_key"] = str(hub.folder / "node.key")  # or it would be a stranger, and not be heard
    second.write_config()
    with running(second):
        second.wait_event("cluster.refused")
        for n in range(20):
            assert client.call("demo.echo", n) == (None, n)
        _, ping = client.ask("$SRV.PING")
        assert client.next(0.2) is None
        assert ping["id"] == client.ask("$SRV.PING.north")[1]["id"]
        assert not second.events("call") and not second.events("services.up")


def test_who_asks_is_whom_the_token_stands_for_and_another_one_after_a_reload(own):
    tokens = [new_token(), new_token()]
    broker, other = own
    folder = other.folder
    other.config["cluster"]["services_token_file"] = "token"
    other.tokens += tokens

    def write(token, keys):
        (folder / "token").write_text(token + "\n")
        (folder / "token").chmod(0o600)
        other.write_config(keys=keys)

    write(tokens[0], [key_for(tokens[0], "demo:*"), key_for(tokens[1], "demo:*")])
    with running(other), contextlib.closing(Client(broker)) as client:
        other.up()
        assert client.call("demo.whoami")[1]["id"] == tokens[0][:8]
        assert "demo/whoami" in {e["metadata"]["operation"] for e in client.ask("$SRV.INFO.north")[1]["endpoints"]}
        write(tokens[1], other.config["keys"])
        other.signal(signal.SIGHUP)
        other.up(2)
        assert client.call("demo.whoami")[1]["id"] == tokens[1][:8]
        write(tokens[1], [])  # the same cluster, and the key has gone
        other.signal(signal.SIGHUP)
        wait_for(lambda: client.call("demo.echo", 1) == ((403, "FORBIDDEN: the service's own token does not resolve"), {
            "code": "FORBIDDEN", "message": "the service's own token does not resolve", "retryable": False}))
        assert client.ask("$SRV.INFO.north")[1]["endpoints"] == []
        assert len(other.events("cluster.joined")) == 2  # a reload of the same leaves nothing
        del other.config["cluster"]["services_token_file"]
        other.config["cluster"]["services"] = False
        other.write_config()
        other.signal(signal.SIGHUP)
        wait_for(lambda: client.is_served() is False)


def test_a_password_that_changes_in_its_file_is_taken_by_a_reload(own):
    broker, other = own
    (other.folder / "password").write_text("wrong\n")
    with running(other), contextlib.closing(Client(broker)) as client:
        other.wait_event("cluster.down")
        assert client.call("demo.echo", 1) is None
        (other.folder / "password").write_text("north\n")
        other.signal(signal.SIGHUP)
        other.up()
        assert client.call("demo.echo", 1) == (None, 1)


def test_a_broker_that_goes_is_served_again_when_it_is_back(own):
    broker, other = own
    with running(other):
        other.up()
        broker.kill()
        other.wait_event("services.down")
        broker.start()
        other.up(2)
        with contextlib.closing(Client(broker)) as client:
            assert client.call("demo.echo", 1) == (None, 1)


def test_calls_that_run_when_the_hub_stops_are_answered(own):
    broker, other = own
    other.config["limits"] = {"drain_ms": 300}
    other.write_config()
    with running(other), contextlib.closing(Client(broker)) as client:
        other.up()
        inbox = client.send_request("alknet.services.north.demo.sleep", b'{"ms":20000}')
        assert client.ask("$SRV.PING.north")  # so it has come
        other.stop()
        number, text = client.answer(inbox)[0]
        assert number in (500, 503) and ("connection closed" in text or "shutting down" in text), text
        wait_for(lambda: client.is_served() is False)


def test_an_answer_goes_to_no_subject_of_the_cluster(hub, broker):
    with contextlib.closing(Client(broker, "other")) as asks, contextlib.closing(Client(broker, "other")) as hears:
        hears.subscribe("alknet.>")
        for reply in ("alknet.announce", "alknet.services.south.demo.echo", "$SYS.REQ.SERVER.PING", "not.of.the.cluster"):
            asks.send(f"PUB alknet.services.north.demo.echo {reply} 3\r\n789\r\n".encode())
        assert asks.call("demo.echo", 2) == (None, 2)
        hears.subscribe("not.of.the.cluster")
        asks.send(b"PUB alknet.services.north.demo.echo not.of.the.cluster 3\r\n789\r\n")
        wait_for(lambda: (hears.flush(), any(subject == "not.of.the.cluster" for subject, _ in hears.come))[1])
        assert {subject for subject, payload in hears.come if payload == b"789"} == {"alknet.services.north.demo.echo", "not.of.the.cluster"}


def refused_503(client, subject, times=300):
    """As a broker says that nobody is there; anybody can say so."""
    head = b"NATS/1.0 503\r\n\r\n"
    client.send((f"HPUB {subject} {client.inbox}.x {len(head)} {len(head)}\r\n".encode() + head + b"\r\n") * times)
    client.flush()


def test_who_says_that_nobody_is_there_holds_nobody_up(hub, client, broker):
    with contextlib.closing(Client(broker)) as other:
        refused_503(other, "alknet.services.north.demo.echo")
    begun = time.monotonic()
    for n in range(5):
        assert client.call("demo.echo", n) == (None, n)
    assert time.monotonic() - begun < 2


def test_nor_does_he_keep_hubs_from_hearing_each_other(own, tmp_path):
    broker, one = own
    two = Hub(tmp_path / "two", broker)
    two.config["node_key"] = str(one.folder / "node.key")
    two.write_config()
    with running(one):
        one.up()
        with contextlib.closing(Client(broker, "other")) as other:
            for subject in ("alknet.announce", "alknet.ask.north"):
                refused_503(other, subject)
        with running(two):
            wait_for(lambda: one.events("cluster.refused") or two.events("cluster.refused"))


def test_a_hub_that_is_refused_later_serves_no_more(own, tmp_path):
    """Two of one name could not hear each other when they joined."""
    broker, one = own
    with Network(broker) as network:
        two = Hub(tmp_path / "two", network)
        two.config["node_key"] = str(one.folder / "node.key")
        two.write_config()
        with running(one), contextlib.closing(Client(broker)) as client:
            one.up()
            for subject in ("alknet.announce", "alknet.ask.north"):
                for op in ("PUB", "MSG"):
                    network.drop(subject, op)
            with running(two):
                wait_for(lambda: two.events("services.up"))
                network.heal()
                refused = wait_for(lambda: [hub for hub in (one, two) if hub.events("cluster.refused")])[0]
                stays = two if refused is one else one
                ids = {e["id"] for e in [client.ask("$SRV.PING.north")[1] for _ in range(5)]}
                wait_for(lambda: refused.request("GET", "/healthz").status == 200)  # it has unsubscribed by now
                before = len(refused.events("call"))
                for n in range(40):
                    assert client.call("demo.echo", n) == (None, n)
                assert len(refused.events("call")) == before and len(stays.events("call")) >= 40 and ids


def test_outputs_are_as_large_as_what_waits_may_be(tmp_path):
    with Broker(tmp_path, BROKER + "\nmax_payload: 33554432\nmax_pending: 67108864\n") as broker:
        hub = Hub(tmp_path / "north", broker)
        hub.config["limits"] = {"anonymous_bytes": 16 << 20, "body_bytes": 16 << 20}
        hub.write_config()
        with running(hub), contextlib.closing(Client(broker)) as client:
            hub.up()
            for size, outcome in ((7 << 20, None), (8 << 20, (500, "INTERNAL: output too large")), (1, None)):
                assert client.call("demo.echo", b'"' + b"x" * size + b'"')[0] == outcome


def test_a_broker_that_sends_what_it_was_not_asked_for_is_not_heard(tmp_path):
    answers, over = [], threading.Event()

    def serve(connection):
        connection.sendall(b'INFO {"server_id":"x","version":"2.9.10","go":"x","host":"127.0.0.1","port":1,"headers":true,'
                           b'"max_payload":1048576,"proto":1}\r\n')
        lines = connection.makefile("rb")
        with contextlib.suppress(OSError):
            while line := lines.readline():
                words = line.split()
                if words[0] == b"PING":
                    connection.sendall(b"PONG\r\n")
                elif words[0] == b"SUB" and words[1].endswith(b"services.north.>"):
                    for subject in (b"x", b"alknet.services.north", b"$SRV", b"alknet.services.north.demo.echo"):
                        connection.sendall(b"MSG %s %s _INBOX.%s 1\r\n1\r\n" % (subject, words[-1], subject))
                elif words[0] in (b"PUB", b"HPUB"):
                    lines.read(int(words[-1]) + 2)
                    if words[1].startswith(b"_INBOX."):
                        answers.append(words[1])
                        over.set()

    def accept():
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=accept, daemon=True).start()
        hub = Hub(tmp_path / "north", types.SimpleNamespace(url=f"nats://127.0.0.1:{listener.getsockname()[1]}"))
        with running(hub):
            assert over.wait(PATIENCE)
        listener.shutdown(socket.SHUT_RDWR)
    assert answers == [b"_INBOX.alknet.services.north.demo.echo"]


@pytest.mark.parametrize("wait", [0, 0.005])
def test_a_stop_right_behind_a_reload_ends_both_clusters_once(own, wait):
    _, hub = own
    with running(hub):
        hub.up()
        hub.config["cluster"]["prefix"] = "another"
        hub.write_config()
        hub.signal(signal.SIGHUP)
        time.sleep(wait)
        hub.stop()
