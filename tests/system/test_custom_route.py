"""The example of an embedder's own route, run as a program: a webhook beside operations."""
import http.client
import json
import os
import pathlib
import socket
import subprocess

import pytest

from conftest import PATIENCE, REPORTS, ROOT

EXAMPLE = pathlib.Path(os.environ.get("ALKNET_EXAMPLES", ROOT / "build/san/examples")) / "05_custom_route"


class Shop:
    def __init__(self, *args):
        self.proc = subprocess.Popen([EXAMPLE, "0", *args], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                     stderr=subprocess.PIPE, text=True)
        line = self.proc.stdout.readline()
        assert line.startswith("listening on port "), line + self.proc.stderr.read()
        self.port = int(line.split()[-1])

    def post(self, path, body, **headers):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        try:
            connection.request("POST", path, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def count(self):
        status, body = self.post("/call", '{"operation":"orders/count"}', **{"Content-Type": "application/json"})
        assert status == 200, body
        return json.loads(body)["output"]

    def ended(self):
        out, err = self.proc.communicate(timeout=PATIENCE)
        assert not any(report in out + err for report in REPORTS), err
        return self.proc.returncode


@pytest.fixture
def shop():
    made = Shop()
    yield made
    assert made.proc.poll() is None, made.proc.stderr.read()
    made.proc.terminate()
    made.proc.communicate(timeout=PATIENCE)


def test_a_webhook_becomes_a_call(shop):
    assert shop.count() == 0
    assert shop.post("/hooks/paid", "order=17") == (200, '{"paid_so_far":1}\n')
    assert shop.post("/hooks/paid", "order=18") == (200, '{"paid_so_far":2}\n')
    assert shop.count() == 2


@pytest.mark.parametrize("body, status", [
    ("", 400), ("order=", 400), ("order=1x", 400), ("order=-1", 400), ("order=017", 400), ("Order=1", 400),
    ("order=1&order=2", 400), ("order=0", 422), ("order=1000000", 422), ("order=" + "9" * 400, 422),
])
def test_what_is_no_order_changes_nothing(shop, body, status):
    assert shop.post("/hooks/paid", body)[0] == status
    assert shop.count() == 0


def test_the_route_is_no_operation(shop):
    assert shop.post("/hooks/paid/", "order=1")[0] == 404
    connection = http.client.HTTPConnection("127.0.0.1", shop.port, timeout=PATIENCE)
    connection.request("GET", "/search")
    names = [o["name"] for o in json.loads(connection.getresponse().read())["output"]["operations"]]
    assert not any("hooks" in name for name in names), names
    connection.request("GET", "/hooks/paid")
    assert connection.getresponse().status == 404
    connection.close()


def test_senders_that_hang_up_do_no_harm(shop):
    for _ in range(50):
        with socket.create_connection(("127.0.0.1", shop.port)) as s:
            s.sendall(b"POST /hooks/paid HTTP/1.1\r\nHost: localhost\r\nContent-Length: 8\r\n\r\norder=17" * 20)
    assert shop.post("/hooks/paid", "order=1")[0] == 200


def test_once_serves_one_and_leaves_nothing():
    shop = Shop("--once")
    assert shop.post("/hooks/paid", "order=5") == (200, '{"paid_so_far":1}\n')
    assert shop.ended() == 0


def test_once_ends_after_a_refusal_too():
    shop = Shop("--once")
    assert shop.post("/hooks/paid", "nothing")[0] == 400
    assert shop.ended() == 0


def test_a_taken_port_is_named():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = subprocess.run([EXAMPLE, str(port)], capture_output=True, text=True, timeout=PATIENCE,
                                env={**os.environ, "ASAN_OPTIONS": "detect_leaks=0"})  # it ends without cleaning up
    assert result.returncode == 1
    assert result.stderr == f"listening on 127.0.0.1 port {port}: address already in use\n"
