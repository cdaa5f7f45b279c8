"""Services of NATS with NATS' own client for JavaScript: it finds a hub, and calls what that offers.

Run by tests/interop/run.sh, which installs it: NATS_CLIENT is its folder.
"""
import json
import os
import pathlib
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../system"))
from conftest import PATIENCE, Daemon, wait_for  # noqa: E402  pylint: disable=wrong-import-position
from nats_rig import Broker  # noqa: E402  pylint: disable=wrong-import-position

CLIENT = pathlib.Path(__file__).parent / "nats/client.mjs"


def test_its_own_client_finds_a_hub_and_calls_it(tmp_path):
    with Broker(tmp_path) as broker:
        hub = Daemon(tmp_path, {"node_key": "node.key", "cluster": {
            "name": "north", "nats": {"servers": [broker.url]}, "services": True}}).start()
        try:
            wait_for(lambda: hub.events("services.up"))
            done = subprocess.run(["node", CLIENT, broker.url, "north"], check=True, capture_output=True, text=True, timeout=PATIENCE)
        finally:
            hub.stop()
    said = json.loads(done.stdout)
    assert [p["name"] for p in said["ping"]] == ["north"] and said["named"] == said["ping"]
    info, stats = said["info"][0], said["stats"][0]
    assert {p["id"] for p in (*said["ping"], info, stats)} == {info["id"]}
    assert "demo/echo" in {e["metadata"]["operation"] for e in info["endpoints"]}
    assert said["echo"] == {"output": {"text": "\u00e4"}} and said["empty"] == {"output": {}}
    assert said["wrong"]["code"] == 422 and said["wrong"]["fault"]["code"] == "INVALID_INPUT"
    assert said["none"]["code"] == 404 and said["none"]["message"] == "NOT_FOUND: operation not found: demo/nothing"
    counted = next(e for e in stats["endpoints"] if e["name"] == "demo-echo")
    assert counted["num_requests"] == 2 and counted["num_errors"] == 0
