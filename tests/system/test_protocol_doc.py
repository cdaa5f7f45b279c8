"""docs/protocol.md: the client in it is run as it stands there, and its tables are those of the code."""
import asyncio
import pathlib
import re

import pytest

from conftest import BIN, wait_for  # noqa: F401  (its path makes the clients of the tests known)
from rawhttp import PEER
from test_alknetd_connect import DEPUTY, Other

import websockets

ROOT = pathlib.Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs/protocol.md").read_text()
HEADER = (ROOT / "include/alknet/alknet.h").read_text()
BLOCK = re.search(r"^```python\n(.*?)^```", TEXT, re.S | re.M).group(1)


def test_it_has_at_most_forty_lines():
    assert len(BLOCK.strip().splitlines()) <= 41, "an import and forty lines"


@pytest.fixture
def speak(tmp_path):
    """speak(what): runs the coroutine function what(node, hub) over a session of PEER."""
    space = {}
    exec(compile(BLOCK, "docs/protocol.md", "exec"), space)

    async def schema(_):
        return {"name": "ui/double", "namespace": "ui", "op_type": "query", "visibility": "external", "input_schema": {"type": "number"},
                "output_schema": None, "error_schemas": [], "access_control": {"required_scopes": []}}

    async def listed(_):
        return {"operations": [{"name": "ui/double", "namespace": "ui", "op_type": "query"}]}

    async def double(n):
        if n == 13:
            raise ValueError("unlucky")
        return 2 * n

    async def go(what, hub):
        async with websockets.connect(f"ws://127.0.0.1:{hub.port}/alknet/call", additional_headers={"Authorization": f"Bearer {PEER}"}) as socket:
            node = space["Node"](socket, {"services/list": listed, "services/schema": schema, "ui/double": double})
            reader = asyncio.ensure_future(node.run())
            try:
                await asyncio.wait_for(what(node, hub), 20)
            finally:
                reader.cancel()

    with Other(tmp_path, auto_import=False) as hub:
        yield lambda what: asyncio.run(go(what, hub))


def test_it_calls_and_hears_errors(speak):
    async def what(node, _):
        assert await node.call("demo/add", {"a": 1, "b": 2}) == {"sum": 3}
        assert (await node.call("demo/whoami"))["id"] == "peer-a"
        for operation, value, said in (("demo/nothing", None, "NOT_FOUND: operation not found: demo/nothing"),
                                       ("demo/add", {"a": "x"}, "INVALID_INPUT: "), ("demo/fail", {}, "DEMO_CONFLICT: ")):
            with pytest.raises(RuntimeError, match=said):
                await node.call(operation, value)
    speak(what)


def test_it_subscribes_to_the_end_and_aborts(speak):
    async def what(node, hub):
        assert [v["tick"] async for v in node.subscribe("demo/clock", {"interval_ms": 5, "count": 3})] == [1, 2, 3]
        values = node.subscribe("demo/clock", {"interval_ms": 5})
        assert (await values.__anext__())["tick"] == 1
        await values.aclose()
        await asyncio.to_thread(wait_for, lambda: [e for e in hub.events("call") if e["operation"] == "demo/clock" and e["outcome"] == "aborted"])
    speak(what)


def test_it_serves(speak):
    async def what(node, hub):
        await node.call("services/announce", {})
        answer = await asyncio.to_thread(hub.through, "peer-a", "ui/double", 21)
        assert answer.output == 42
        answer = await asyncio.to_thread(hub.through, "peer-a", "ui/double", 13)
        assert answer.status == 500
    speak(what)


def test_the_codes_are_those_of_the_header():
    table = TEXT.split("### Codes")[1].split("\n\n")[1]
    assert sorted(re.findall(r"^\| `(\w+)` \|", table, re.M)) == sorted(re.findall(r'^#define ALK_\w+ "([A-Z_]+)"$', HEADER, re.M))


def test_the_close_codes_are_those_of_the_header():
    table = TEXT.split("| close code of the application | |")[1].split("\n\n")[0]
    assert [int(n, 16) for n in re.findall(r"^\| 0x(\d)", table, re.M)] == [int(n) for n in re.findall(r"^#define ALK_CLOSE_\w+ (\d)", HEADER, re.M)]


def test_the_envelopes_are_those_that_are_read():
    table = TEXT.split("## Envelopes")[1].split("\n\n")[2]
    assert sorted(re.findall(r"^\| `(call\.\w+)`", table, re.M)) == sorted(set(re.findall(
        r'IS\("(call\.\w+)"\)', (ROOT / "lib/core/inbound.c").read_text())))


def test_the_frame_that_it_shows_has_that_length():
    line = next(line for line in TEXT.splitlines() if line.startswith("> "))[2:]
    n, length = re.search(r"(\d+) bytes of JSON: `00 00 00 (\w\w) ", TEXT).groups()
    assert len(line) == int(n) == int(length, 16)


def test_the_limits_are_the_defaults():
    source = (ROOT / "lib/core/limits.c").read_text()
    for name, value in (("frame_bytes", "16u << 20"), ("websocket_bytes", "4u << 20"), ("anonymous_bytes", "1u << 20"), ("json_depth", "128"),
                        ("json_values", "1000000"), ("connection_calls", "1024"), ("deadline_ms", "30000"), ("header_timeout_ms", "10000"),
                        ("body_timeout_ms", "30000")):
        assert f".{name} = {value}," in source
    assert DEPUTY
