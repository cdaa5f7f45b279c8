"""Text of a remote arrives whole, U+0000 included: a spoke's errors, descriptions and names, by every way out of the node."""
import contextlib
import json
import threading

import pytest

from conftest import key_for, new_token, wait_for
from mcp_rig import Stateless
from rawhttp import Closed, Node
from rawws import Fault, Over, Socket, operation
from test_alknet_cli import REMOTE, Client
from test_alknet_cli import home  # pylint: disable=unused-import

TEXT = "a\0b"
CODE = "SPOKE\0NO"
FAULT = {"code": CODE, "message": TEXT, "retryable": False, "details": {"c\0": "\0"}}
PEERS, KEY = new_token(), new_token()


def fail(_):
    raise Fault(CODE, TEXT, False, FAULT["details"])


SERVED = operation("ui/fail", fail, description=TEXT, error_schemas=[{"code": CODE, "description": TEXT, "schema": None, "http_status": 409}])


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    """A hub, and a peer that serves ui/fail."""
    with Node(tmp_path_factory.mktemp("nul"), log={"format": "json", "level": "debug"},
              peers=[{"peer_id": "spoke", "auth_token_hashes": [key_for(PEERS)["hash"]], "websocket": True, "scopes": []}],
              keys=[key_for(KEY, "peers:*", description="of the tests")],
              peers_call={"authority": {"label": "hub", "scopes": []}, "allow": [{"peer": "*", "operations": ["ui/*"]}]}) as it:
        with Socket(it.port, PEERS) as socket:
            socket.announce(SERVED)
            def serve():
                with contextlib.suppress(Over, Closed, OSError):
                    while True:
                        socket.pull()
                        while socket.requests:
                            socket.answer(*socket.requests.popleft(), SERVED)
            threading.Thread(target=serve, daemon=True).start()
            yield it


CALL = {"operation": "peers/call", "input": {"peer": "spoke", "operation": "ui/fail", "input": {}}}


def test_over_http(hub):
    with hub.wire() as wire:
        assert wire.call("peers/call", CALL["input"], token=KEY).json() == FAULT
        answer = wire.ask("POST", "/batch", [CALL, {"operation": "no\0pe"}], token=KEY).json()
        assert answer["results"][0]["error"] == FAULT
        assert answer["results"][1]["error"]["message"] == "operation not found: no\0pe"
        spec = wire.ask("GET", "/schema?name=ui/fail&peer=spoke", token=KEY).json()["output"]
        assert spec["description"] == TEXT
        assert [(e["code"], e["description"]) for e in spec["error_schemas"]] == [(CODE, TEXT)]


def test_over_websocket(hub):
    with Socket(hub.port, KEY) as socket:
        assert socket.fault("peers/call", CALL["input"]).payload() == FAULT
        (_, peer) = socket.call("services/list-peers", {})["peers"]
        assert peer["operations"][0]["description"] == TEXT
        assert socket.fault("no\0pe").payload()["message"] == "operation not found: no\0pe"


def test_over_mcp(hub):
    with Stateless(hub, KEY) as client:
        assert client.tool("call", CALL).fault == FAULT


def test_in_the_log(hub):
    with Socket(hub.port, KEY) as socket:
        socket.request("peers/call", CALL["input"], ident="id\0x")
        assert socket.next_of("id\0x")[1] == FAULT
    said = wait_for(lambda: [e for e in hub.events("call") if e.get("request_id") == "id\0x"])
    assert (said[0]["message"], said[0]["outcome"]) == (TEXT, CODE)


def test_with_alknet(hub, home):
    client = Client(home, hub.url, KEY)
    assert client.output("ls", "--peer", "spoke", "B").split() == ["/ui/fail", "query", "a\\u0000b"]
    assert "a\\u0000b" in client.output("describe", "--peer", "spoke", "ui/fail")
    for url in (hub.url, hub.url.replace("http", "ws")):
        done = Client(home, url, KEY)("call", "peers/call", json.dumps(CALL["input"]))
        assert done.status == REMOTE and done.err.startswith("SPOKE\\u0000NO: a\\u0000b\n"), done.err
