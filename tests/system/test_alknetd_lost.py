"""What is lost without anybody asking is said: in the log with peer or listener and reason, and in the metrics."""
import os
import resource
import socket

import pytest

from conftest import key_for, wait_for
from rawhttp import PEER, Wire
from rawws import ERROR, RESPONDED, Socket
from test_alknetd_connect import KEYS, Other, QUIET, token_file

MONITOR = "alk_mon8" + "123456789abcdef0" * 2


class Counted(Other):
    def __init__(self, folder, **config):
        super().__init__(folder, **{"keys": [*KEYS, key_for(MONITOR, "metrics:list")], **config})
        self.tokens.append(MONITOR)

    def counter(self, name):
        listed = self.ask("POST", "/call", {"operation": "metrics/list", "input": {}}, token=MONITOR).output["metrics"]
        return next(m["value"] for m in listed if m["name"] == name)


@pytest.mark.parametrize("kind,payload,why", [
    (RESPONDED, {"output": {"operations": 5}}, "services/list answered without operations"),
    (RESPONDED, {"output": {"operations": [{}]}}, "services/list has an operation without a name"),
    (ERROR, {"code": "NO", "message": "not \x1b[31mtoday", "retryable": False}, "not \x1b[31mtoday"),
])
def test_an_automatic_import_that_fails_names_the_peer(tmp_path, kind, payload, why):
    with Counted(tmp_path, **QUIET) as node, Socket(node.port, PEER) as peer:
        assert node.counter("imports_failed_total") == 0
        peer.put(kind, peer.requested("services/list")[0], payload)
        said = node.wait_event("import.failed")
        assert (said["level"], said["identity"], said["remote"]) == ("warn", "peer-a", "127.0.0.1") and why in said["message"]
        assert node.counter("imports_failed_total") == 1 and len(node.events("import.failed")) == 1
        assert "\x1b" not in node.log_text()


def test_an_import_whose_peer_goes_is_none_that_fails(tmp_path):
    with Counted(tmp_path, **QUIET) as node:
        with Socket(node.port, PEER) as peer:
            peer.requested("services/list")
        node.wait_event("session.close")
        assert node.counter("imports_failed_total") == 0 and not node.events("import.failed")


def test_a_lost_connection_names_the_peer_and_the_reason(tmp_path):
    with Other(tmp_path) as hub:
        to_hub = {"url": f"ws://127.0.0.1:{hub.port}", "token_file": token_file(tmp_path, PEER), "peer": "hub"}
        with Counted(tmp_path, connect=[to_hub], peers=[{"peer_id": "hub", "websocket": True}]) as spoke:
            spoke.wait_event("dial.open")
            assert spoke.counter("dials_lost_total") == 0
            hub.stop()
            said = spoke.wait_event("dial.lost")
            assert (said["level"], said["identity"], said["remote"]) == ("warn", "hub", f"127.0.0.1:{hub.port}")
            assert said["message"] == "closed with 1001: shutting down" and spoke.counter("dials_lost_total") == 1


@pytest.mark.parametrize("unix", [False, True])
def test_connections_for_which_there_is_no_descriptor_name_the_listener(tmp_path, unix):
    with Counted(tmp_path, listen=[{"host": "127.0.0.1", "port": 0}, {"unix": "own.sock"}]) as node:
        keeper = Wire(node.port)
        assert keeper.ask("GET", "/healthz").status == 200
        used = max(int(fd) for fd in os.listdir(f"/proc/{node.proc.pid}/fd")) + 1
        resource.prlimit(node.proc.pid, resource.RLIMIT_NOFILE, (used + 4, used + 4))  # after it has fitted its own limit
        path = str(node.folder / "own.sock")
        wires = [unix_socket(path) if unix else Wire(node.port) for _ in range(40)]
        said = node.wait_event("accept.failed")
        assert said["level"] == "warn"
        assert said["message"] == f"listening on {path if unix else f'127.0.0.1 port {node.port}'}: too many open files"
        metrics = {"operation": "metrics/list", "input": {}}

        def failed():
            listed = keeper.ask("POST", "/call", metrics, token=MONITOR).output["metrics"]
            return next(m["value"] for m in listed if m["name"] == "accepts_failed_total")
        wait_for(lambda: failed() >= 30)
        assert len(node.events("accept.failed")) < 5, "one in a second"
        for wire in wires:
            wire.close()
        keeper.close()
        wait_for(node.serves)


def unix_socket(path):
    one = socket.socket(socket.AF_UNIX)
    one.settimeout(10)
    one.connect(path)
    return one
