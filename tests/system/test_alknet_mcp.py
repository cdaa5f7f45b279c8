"""alknet mcp URL: the tools of an MCP server, and calls of them."""
import json
import re
import socket
import time

import pytest

from certificates import Authority
from conftest import Daemon, key_for
from import_upstream import Upstream
from mcp_upstream import PIXEL, SESSIONS, STATELESS, McpServer, failure, image, structured, tool
from test_alknet_cli import CONNECTION, OK, REMOTE, TOKEN, USAGE, complete, refused_port
from test_alknet_cli import alone, home  # pylint: disable=unused-import

NASTY = "\x1b[31mred\x1b]0;title\x07\x9b31m \x7f‮end"


@pytest.fixture(params=[STATELESS, SESSIONS])
def up(request):
    with McpServer(request.param) as server:
        yield server


@pytest.fixture
def new():
    with McpServer() as server:
        yield server


@pytest.fixture
def gateway(tmp_path):
    """Another alknetd as the server."""
    folder = tmp_path / "gateway"
    folder.mkdir()
    node = Daemon(folder, {"mcp": {"tools": "direct"}, "keys": [key_for(TOKEN, "demo:*")]}).start()
    yield f"{node.url}/mcp"
    node.stop()


# ---- the list ---------------------------------------------------------------------------------------------------------

def test_tools_are_listed_as_a_table_as_json_and_as_names(alone, up):
    up.tools = {"say": tool(up.say, "says it\nand more", annotations={"readOnlyHint": True}), "a_longer_name": tool(up.say, "")}
    assert [line.split() for line in alone.output("mcp", up.url).splitlines()] == [["a_longer_name", "mutation"], ["say", "query", "says", "it"]]
    assert alone.output("mcp", up.url, "-o", "raw") == "a_longer_name\nsay\n"
    said = json.loads(alone.output("mcp", up.url, "-o", "json"))["tools"]
    assert [t["name"] for t in said] == ["a_longer_name", "say"] and said[1]["description"] == "says it\nand more"
    assert set(said[1]) == {"name", "description", "op_type"}
    assert not up.of("tools/call")


def test_columns_are_aligned(alone, new):
    new.tools = {"a": tool(new.say, "x"), "a_longer_name": tool(new.say, "x")}
    assert len({line.index("mutation") for line in alone.output("mcp", new.url).splitlines()}) == 1


def test_a_server_without_tools_has_an_empty_list(alone, new):
    new.tools = {}
    assert alone.output("mcp", new.url) == "" and alone("mcp", new.url, "-o", "json").json() == {"tools": []}


def test_many_tools_are_all_listed(alone, new):
    new.tools = {f"tool{n:04}": tool(new.say) for n in range(1500)}
    assert alone.output("mcp", new.url, "-o", "raw").split() == sorted(new.tools)


def test_a_tool_that_cannot_be_called_is_a_warning(alone, new):
    new.tools["bad"] = tool(new.say, schema={"type": "no such type"})
    said = alone("mcp", new.url, "-o", "raw")
    assert (said.status, said.out) == (OK, "say\nslow\n") and re.match("^warning: bad: .+\n$", said.err)


# ---- calls ------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("args,stdin,sent", [
    ([], b"", {}), (["text=a b"], b"", {"text": "a b"}), (["n=1.50", "text=1"], b"", {"n": 1.5, "text": 1}),
    (['{"text":"ä"}'], b"", {"text": "ä"}), (["-"], b'{"text":"x"}', {"text": "x"})])
def test_a_tool_is_called_with_an_input_as_by_call(alone, up, args, stdin, sent):
    up.tools["say"] = tool(up.say)
    assert json.loads(alone.output("mcp", up.url, "say", *args, "-o", "json", stdin=stdin)) == {"version": 1, **sent}
    assert up.of("tools/call")[0].params["arguments"] == sent


def test_blocks_of_content_are_printed(alone, up):
    up.tools["picture"] = tool(image)
    assert json.loads(alone.output("mcp", up.url, "picture")) == image()["content"]


def test_a_tool_that_fails_says_so_and_is_status_1(alone, up):
    up.tools["fails"] = tool(failure)
    said = alone("mcp", up.url, "fails")
    assert said.status == REMOTE and not said.out
    assert "MCP_TOOL_ERROR" in said.err and "no such city" in said.err and PIXEL in said.err


def test_the_tools_of_alknetd_are_called(alone, gateway):
    assert "demo_add" in alone.output("mcp", gateway, "-o", "raw").split()
    assert json.loads(alone.output("mcp", gateway, "demo_add", "a=1", "b=2")) == {"sum": 3}
    assert json.loads(alone.output("mcp", gateway, "call", '{"operation":"demo/add","input":{"a":1,"b":2}}')) == {"sum": 3}
    assert alone("mcp", gateway, "call", "operation=demo/none").status == REMOTE
    assert alone("mcp", gateway, "demo_none").status == REMOTE


# ---- what goes wrong --------------------------------------------------------------------------------------------------

def test_a_tool_that_is_not_there_or_an_input_that_is_not_right_is_status_1_and_not_asked(alone, up):
    assert alone("mcp", up.url, "none").status == REMOTE
    said = alone("mcp", up.url, "say", "text=1")
    assert said.status == REMOTE and "INVALID_INPUT" in said.err
    assert not up.of("tools/call")


@pytest.mark.parametrize("args", [[], ["ftp://x/mcp"], ["http://"], ["http://h/ mcp"], ["URL", "say", "{"], ["URL", "say", "-"],
                                  ["URL", "say", "a=1", "{}"], ["URL", "--no-such-option"], ["URL", "--cacert", "/none.pem"]])
def test_a_wrong_command_line_is_status_2_and_nobody_is_asked(alone, new, args):
    said = alone("mcp", *[new.url if a == "URL" else a for a in args], stdin=b"{")
    assert said.status == USAGE and said.err.startswith("alknet: ") and not said.out, said
    assert not new.of("tools/call")


def test_a_server_that_is_not_there_is_status_3_at_once(alone):
    started = time.monotonic()
    said = alone("mcp", f"http://127.0.0.1:{refused_port()}/mcp")
    assert said.status == CONNECTION and "cannot be reached" in said.err and said.err.count("\n") == 1
    assert time.monotonic() - started < 15


@pytest.mark.parametrize("page", [(200, b"<html>", "text/html"), (404, b"", "text/plain"), (200, b"{}", "application/json"),
                                  (200, b"[1", "application/json"), (500, b"no", "text/plain"), (200, b"", "text/event-stream")])
def test_what_is_no_mcp_server_is_status_3(alone, page):
    with Upstream() as web:
        web.pages["/mcp"] = page
        said = alone("mcp", f"{web.url}/mcp")
        assert said.status == CONNECTION and said.err.startswith(f"alknet: {web.url}/mcp: ") and said.err.count("\n") == 1, said
        assert alone("mcp", f"{web.url}/mcp", "say").status == CONNECTION


def test_a_server_that_hangs_up_is_status_3(alone, new):
    new.tools["die"] = tool(lambda _: 1 / 0)
    assert alone("mcp", new.url, "die").status in (REMOTE, CONNECTION)


def test_a_call_that_takes_too_long_ends(alone, up):
    started = time.monotonic()
    said = alone("mcp", up.url, "slow", "--timeout", "0.5")
    assert said.status == REMOTE and "TIMEOUT" in said.err
    assert time.monotonic() - started < 10


def test_a_server_that_says_nothing_is_given_up(alone):
    with socket.create_server(("127.0.0.1", 0)) as mute:
        started = time.monotonic()
        said = alone("mcp", f"http://127.0.0.1:{mute.getsockname()[1]}/mcp", "--timeout", "1")
        assert said.status == CONNECTION and time.monotonic() - started < 10


# ---- the token --------------------------------------------------------------------------------------------------------

def test_the_token_is_that_of_the_file_or_of_the_environment(alone, tmp_path, up):
    up.token = TOKEN
    file = tmp_path / "token"
    file.write_text(TOKEN + "\n")
    file.chmod(0o600)
    assert alone.output("mcp", up.url, "say", "--token-file", str(file))
    assert alone.output("mcp", up.url, "say", env={"ALKNET_TOKEN": TOKEN})
    assert {s.headers["authorization"] for s in up.seen} == {f"Bearer {TOKEN}"}


def test_a_token_that_is_missing_or_wrong_is_status_3_and_not_shown(alone, up):
    up.token = TOKEN
    for env in ({}, {"ALKNET_TOKEN": TOKEN[::-1]}):
        said = alone("mcp", up.url, env=env)
        assert said.status == CONNECTION and "401" in said.err and TOKEN[::-1] not in said.err, said
    assert alone("mcp", up.url, "--token-file", "/none").status == USAGE


def test_no_token_goes_to_another_machine_in_the_clear(alone):
    said = alone("mcp", "http://mcp.example/mcp", env={"ALKNET_TOKEN": TOKEN})
    assert said.status == USAGE and "--clear" in said.err


def test_an_authority_of_ones_own_is_trusted_where_it_is_named(alone, tmp_path):
    authority = Authority(tmp_path)
    with Upstream(tls=authority.sign("server")) as web:
        web.pages["/mcp"] = (404, b"", "text/plain")
        assert "404" not in alone("mcp", f"{web.url}/mcp").err
        assert "404" in alone("mcp", f"{web.url}/mcp", "--cacert", authority.file).err


# ---- what a server says -----------------------------------------------------------------------------------------------

def clean(text):
    return not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f‮]", text.replace("\r\n", "\n"))


@pytest.mark.parametrize("args", [[], ["-o", "raw"], ["say"], ["fails"], ["picture"]])
def test_control_characters_do_not_reach_the_terminal(alone, new, args):
    new.tools = {"say": tool(lambda _: structured({NASTY: NASTY}), NASTY, schema={"type": "object", "title": NASTY}),
                 "bad": tool(new.say, NASTY, schema={"type": NASTY, NASTY: {"$ref": NASTY}}), NASTY: tool(new.say),
                 "fails": tool(lambda _: {"content": [{"type": "text", "text": NASTY}], "isError": True}),
                 "picture": tool(lambda _: {"content": [{"type": "text", "text": NASTY}]})}
    _, seen = alone.on_terminal("mcp", new.url, *args, env={"NO_COLOR": "1"})
    assert "end" in seen and clean(seen), repr(seen)


@pytest.mark.parametrize("era,wrong", [(STATELESS, "tools/list"), (SESSIONS, "initialize"), (NASTY, None)])
def test_nor_do_those_of_its_errors(alone, era, wrong):
    with McpServer(era) as up:
        up.errors = {wrong: NASTY}
        status, seen = alone.on_terminal("mcp", up.url, env={"NO_COLOR": "1"})
        assert status == CONNECTION and "end" in seen and clean(seen), repr(seen)


# ---- help -------------------------------------------------------------------------------------------------------------

def test_help_and_completion_know_it(alone):
    assert alone.output("mcp", "--help").startswith("Usage: alknet mcp [options] URL [TOOL ")
    assert "--token-file" in complete(alone, "alknet mcp --")
