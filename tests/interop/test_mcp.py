"""MCP with the programs of others: the official SDKs as clients, the official Inspector, and the client leg of the conformance suite."""
import json
import os
import pathlib
import shutil
import subprocess
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "system"))
from conftest import PATIENCE, ROOT, wait_for  # noqa: E402  # pylint: disable=wrong-import-position
from mcp_rig import SESSIONS, STATELESS, build_fixture  # noqa: E402  # pylint: disable=wrong-import-position
from rawhttp import ADMIN, PLAIN, Node  # noqa: E402  # pylint: disable=wrong-import-position
from test_mcp_conformance import RUNTIME, SUITE  # noqa: E402  # pylint: disable=wrong-import-position

CLIENTS = pathlib.Path(os.environ["MCP_CLIENTS"])
CLIENT = pathlib.Path(os.environ["ALKNET_BUILD"]) / "san/tests/interop/mcp_client"


@pytest.fixture(scope="module")
def node(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mcp")
    with Node(folder, mcp={"tools": "direct"}, plugins=[build_fixture(folder, many=150)]) as it:
        yield it


def run(*command, **kwargs):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=6 * PATIENCE, check=False, **kwargs)
    return done.returncode, done.stdout, done.stderr


# ---- the SDKs ---------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("sdk,version", [("client", STATELESS), ("sdk", SESSIONS)])
def test_an_official_sdk_finds_and_calls_the_tools(node, sdk, version):
    shutil.copy(ROOT / "tests/interop/mcp/client.mjs", CLIENTS)  # where it finds its packages
    with node.wire() as wire:
        before = wire.call("nest/counters").output
    status, said, complaints = run(RUNTIME, CLIENTS / "client.mjs", sdk, node.url + "/mcp", PLAIN)
    assert status == 0, complaints
    said = json.loads(said)
    assert said["server"]["name"] == "alknet" and said["version"] == version and (said["session"] is None) == (version == STATELESS)
    assert said["tools"][:4] == ["search", "schema", "call", "batch"] and len(said["tools"]) > 160
    assert len(set(said["tools"])) == len(said["tools"]) and "demo_whoami" in said["tools"] and "demo_secret" not in said["tools"]
    assert said["sum"]["structuredContent"] == {"sum": 3} and not said["sum"].get("isError")
    assert [block["type"] for block in said["blocks"]["content"]] == ["text", "image", "resource"]
    assert said["failure"]["isError"] and said["failure"]["content"][0]["text"].startswith("This tool intentionally")
    assert said["invalid"]["isError"] and said["invalid"]["structuredContent"]["code"] == "INVALID_INPUT"
    assert said["fixed"]["structuredContent"] == {"text": "\u00e9\U0001f600"}
    assert said["headers"]["structuredContent"] == {"region": "z\u00fcrich"}
    assert said["progress"] == [0, 50, 100] and said["last"]["structuredContent"]["progress"] == 100
    assert said["aborted"] == "given up" and said["abortedAfter"] < 5000
    assert said["unknown"] == {"code": -32602} or said["unknown"].get("isError")

    def ended():
        with node.wire() as wire:
            return wire.call("nest/counters").output["ended"] == before["ended"] + 1

    wait_for(ended)


# ---- the Inspector ----------------------------------------------------------------------------------------------------

def inspect(node, folder, *options, token=PLAIN):
    header = ["--header", f"Authorization: Bearer {token}"] if token else []
    return run(RUNTIME, CLIENTS / "node_modules/.bin/mcp-inspector", "--cli", node.url + "/mcp", "--transport", "http", *options, *header,
               cwd=folder, env={**os.environ, "HOME": str(folder), "PATH": f"{pathlib.Path(RUNTIME).parent}:{os.environ['PATH']}"})


@pytest.mark.parametrize("token", [None, PLAIN, ADMIN], ids=["nobody", "plain", "admin"])
def test_the_inspector_finds_no_fault_with_the_schemas(node, tmp_path, token):
    status, said, complaints = inspect(node, tmp_path, "--method", "tools/list", "--strict", token=token)
    assert status == 0, complaints[-5000:]
    assert {"search", "demo_add"} <= {tool["name"] for tool in json.loads(said)["tools"]}


def test_the_inspector_calls_a_tool(node, tmp_path):
    status, said, complaints = inspect(node, tmp_path, "--method", "tools/call", "--tool-name", "demo_add", "--tool-arg", "a=1", "b=2")
    assert status == 0, complaints
    assert json.loads(said)["structuredContent"] == {"sum": 3}


def test_the_inspector_meets_the_fixed_tools(tmp_path):
    with Node(tmp_path) as plain:
        status, said, complaints = inspect(plain, tmp_path, "--method", "tools/list", "--strict")
        assert status == 0, complaints
        assert [tool["name"] for tool in json.loads(said)["tools"]] == ["search", "schema", "call", "batch"]


# ---- the suite's client leg -------------------------------------------------------------------------------------------

@pytest.mark.parametrize("revision", [STATELESS, SESSIONS])
def test_the_client_passes_what_the_suite_asks_of(revision, tmp_path):
    """But for what tests/mcp/expected-client-REVISION.yml says."""
    status, said, complaints = run(RUNTIME, SUITE, "client", "--command", CLIENT, "--requirements", revision, "-o", tmp_path,
                                   "--expected-failures", ROOT / f"tests/mcp/expected-client-{revision}.yml", cwd=tmp_path)
    assert status == 0, (said + complaints)[-20000:]
