"""alknetd and MCP servers whose tools it imports: what becomes of them, who may call it, what reaches the server, what a reload
and a server that comes and goes change while calls run."""
import contextlib
import json
import time

import pytest

from conftest import key_for, wait_for
from import_upstream import Upstream, document
from mcp_rig import Session, Stateless
from mcp_upstream import PIXEL, SESSIONS, STATELESS, McpServer, failure, image, structured, tool
from rawhttp import ADMIN, PLAIN, Neighbour
from test_alknetd_imports import ACCESS, OTHER, SECRET, Importer, never_starts, put, secret

ERAS = [STATELESS, SESSIONS]


@pytest.fixture(params=ERAS)
def up(request):
    """A server of either era."""
    with McpServer(request.param) as server:
        yield server


@pytest.fixture
def new():
    """Of the newer one, where that makes no difference."""
    with McpServer() as server:
        yield server


def entry(up, prefix="up", **more):
    """Of `imports`; a member that is None is left out."""
    return {k: v for k, v in {"mcp": getattr(up, "url", up), "prefix": prefix, "access": ACCESS, **more}.items() if v is not None}


class Node(Importer):
    """What is imported is there, unless it is not waited for."""

    def __init__(self, folder, *imports, waits=True, **config):
        super().__init__(folder, *imports, **config)
        if waits:
            wait_for(lambda: self.ready() == 200)

    def imported(self, prefix="up"):
        return [n for n in self.names() if n.startswith(prefix + "/")]

    def gives(self, name, value=None, token=ADMIN):
        return self.call_up(name, value, token).output

    def fault(self, name, value=None):
        return self.call_up(name, value).error()


# ---- what is called ---------------------------------------------------------------------------------------------------

def test_tools_are_called_listed_and_described_under_the_prefix(tmp_path, up):
    with Node(tmp_path, entry(up)) as node:
        assert node.gives("up/say", {"text": "ä"}) == {"version": 1, "text": "ä"}
        assert node.imported() == ["up/say", "up/slow"]
        described = node.ask("GET", "/schema?name=up/say", token=ADMIN).output
        assert described["op_type"] == "mutation" and described["description"] == "of the tests"
        assert described["input_schema"]["properties"] == {"text": {"type": "string"}}
        assert node.call_up("up/say", {"text": 1}).status == 422, "by the tool's own schema"
        assert len(up.of("tools/call")) == 1, "and the server is not asked"
        assert node.events("imports.ready")[0]["message"] == f"up: 2 operations of {up.url}, 0 warnings"


@pytest.mark.parametrize("mode", ["direct", "fixed"])
def test_the_tools_of_another_alknetd_are_imported(tmp_path, mode):
    """With direct tools as they are, with fixed ones as the four that front its registry."""
    with Importer(tmp_path, mcp={"tools": mode}) as far, Node(tmp_path, entry(f"{far.url}/mcp", prefix="far")) as node:
        if mode == "direct":
            assert node.gives("far/demo_echo", {"a": 1}) == {"a": 1}
            assert node.gives("far/demo_add", {"a": 1, "b": 2}) == {"sum": 3}
        else:
            assert node.imported("far") == ["far/batch", "far/call", "far/schema", "far/search"]
            assert node.gives("far/call", {"operation": "demo/add", "input": {"a": 1, "b": 2}}) == {"sum": 3}


def test_a_tool_that_fails_says_why_and_a_picture_is_blocks(tmp_path, up):
    up.tools.update(picture=tool(image), fails=tool(failure))
    with Node(tmp_path, entry(up)) as node:
        assert node.gives("up/picture") == image()["content"]
        fault = node.fault("up/fails")
        assert (fault["code"], fault["message"], fault["details"]) == ("MCP_TOOL_ERROR", "no such city", failure()["content"])


def test_progress_is_a_subscription_where_the_entry_says_so(tmp_path, up):
    up.tools["work"] = tool(lambda _: structured({"done": True}), progress=True)
    with Node(tmp_path, entry(up, progress=True), entry(up, prefix="plain")) as node, node.wire() as wire:
        assert node.call_up("plain/work/progress").status == 404
        assert "up/work/progress" in [o["name"] for o in node.ask("GET", "/search?limit=500", token=ADMIN).output["operations"]]
        values = [data for _, data in wire.subscribe("up/work/progress", {}, token=ADMIN).rest()]
        assert values[:3] == [{"progress": 1, "total": 2, "message": "step 1"}, {"progress": 2, "total": 2, "message": "step 2"},
                              {"result": {"done": True}}]


def test_who_may_call_is_said_by_the_entry(tmp_path, new):
    rules = {"ruled": {}, "free": {"access": None, "public": True}, "inner": {"access": None}, "any": {"access": {"authenticated": True}}}
    with Node(tmp_path, *[entry(new, prefix=p, **more) for p, more in rules.items()]) as node:
        may = {p: [node.call_up(f"{p}/say", token=t).status for t in (None, PLAIN, ADMIN)] for p in rules}
        assert may == {"ruled": [401, 403, 200], "free": [200, 200, 200], "inner": [404, 404, 404], "any": [401, 200, 200]}
        assert {n.split("/")[0] for n in node.names(PLAIN)} & set(rules) == {"free", "any"}


def test_tools_are_chosen_by_their_names(tmp_path, new):
    new.tools.update({n: tool(new.say) for n in ("get_a", "get_b", "drop_a")})
    with Node(tmp_path, entry(new, operations={"include": ["get_*", "s*"], "exclude": ["*_b", "slow"]})) as node:
        assert node.imported() == ["up/get_a", "up/say"]


def test_a_schema_that_does_not_compile_leaves_out_that_tool_only(tmp_path, up):
    up.tools.update(bad=tool(up.say, schema={"type": "no such type"}), **{"a b": tool(up.say)})
    with Node(tmp_path, entry(up)) as node:
        assert node.imported() == ["up/say", "up/slow"]
        said = sorted(e["message"] for e in node.events("imports.warning"))
        assert len(said) == 2 and said[0].startswith("up: a b: ") and said[1].startswith("up: bad: ")
        assert node.events("imports.ready")[0]["message"].endswith("2 warnings")


def test_names_of_the_node_are_kept_and_that_is_said(tmp_path, new):
    new.tools["echo"] = tool(new.say)
    with Node(tmp_path, entry(new, prefix="demo")) as node:
        assert node.gives("demo/echo", [1]) == [1]
        assert node.gives("demo/say")["version"] == 1
        assert not new.of("tools/call", "echo")
        assert [(e["operation"], e["message"]) for e in node.events("discovered.shadowed")] == [("demo/echo", "the node itself has that name, and keeps it")]


# ---- servers that are not there ---------------------------------------------------------------------------------------

@pytest.mark.parametrize("era", ERAS)
def test_a_server_that_cannot_be_reached_at_start_is_asked_until_it_can(tmp_path, era):
    with McpServer(era) as first:
        port = first.port
    with Node(tmp_path, entry(first), waits=False) as node:
        assert f"up: {first.url}: " in node.wait_event("imports.failed")["message"]
        assert node.ready() == 503 and node.says() == 404
        assert node.ask("GET", "/healthz").status == 200
        with McpServer(era, port):
            wait_for(lambda: node.ready() == 200)
            assert node.says() == 1


@pytest.mark.parametrize("era", ERAS)
def test_a_server_that_dies_and_comes_back_is_called_again(tmp_path, era):
    """In an era with sessions that of before is not known any more."""
    with McpServer(era) as first, Node(tmp_path, entry(first)) as node:
        assert node.says() == 1
        first.listened()
        first.__exit__()
        assert node.fault("up/say")["code"] == "INTERNAL"
        assert node.ready() == 200 and node.imported(), "what was imported stays"
        with McpServer(era, first.port, fresh=tool(structured)) as second:
            second.version = 2
            second.sessions.add("of nobody")
            assert node.says() == 2
            wait_for(lambda: "up/fresh" in node.imported())


def test_a_tool_that_is_too_large_to_be_listed_is_none_and_the_others_are_there(tmp_path, new):
    schema = {"type": "object", "properties": {"a": {"type": "string", "description": "x" * (17 << 20)}}}
    new.change(big=tool(structured, schema=schema), last=tool(structured))
    with Node(tmp_path, entry(new), mcp={"tools": "direct"}) as node, Stateless(node, ADMIN) as client:
        names = {t["name"] for t in client.tools()}
        assert {"up_last", "up_say", "search"} <= names and "up_big" not in names
        assert client.tool("up_big", {"a": "b"}).error
        assert client.tool("call", {"operation": "up/big", "input": {"a": "b"}}).value == {"a": "b"}


def test_a_search_gives_so_much_and_says_that_there_is_more(tmp_path, new):
    new.change(**{f"t{n:03}": tool(structured, description="word " * 3000) for n in range(100)})
    with Node(tmp_path, entry(new)) as node, Stateless(node, ADMIN) as client:
        some = client.tool("search", {"query": "word"}).value
        assert some["more"] is True and 60 < len(some["operations"]) < 100
        assert [op["name"] for op in some["operations"]] == [f"up/t{n:03}" for n in range(len(some["operations"]))]
        assert "more" not in client.tool("search", {"query": "t099 word"}).value


def test_a_server_that_hangs_harms_no_neighbour(tmp_path, new):
    with McpServer() as mute, contextlib.ExitStack() as stack:
        node = stack.enter_context(Node(tmp_path, entry(new), entry(mute, prefix="mute"), limits={"deadline_ms": 1000}))
        with McpServer() as silent:
            silent.mute.add("server/discover")
            mute.mute.add("tools/call")
            node.reload(imports=[entry(new), entry(mute, prefix="mute"), entry(silent, prefix="silent")])
            silent.wait("server/discover")
            with Neighbour(node):
                assert node.says() == 1
                with node.wire() as wire:
                    assert wire.ask("POST", "/call", {"operation": "mute/say", "input": {}}, token=ADMIN).error()["code"] == "TIMEOUT"
                assert node.says() == 1
            assert node.ready() == 200 and node.says("silent/say") == 404


def test_it_stops_while_a_server_does_not_answer(tmp_path):
    with McpServer() as up:
        up.mute.add("tools/list")
        with Node(tmp_path, entry(up), waits=False) as node:
            up.wait("tools/list")
            node.reload()
            up.wait("tools/list", 2)
            node.stop()


# ---- changes of the list ----------------------------------------------------------------------------------------------

def test_a_change_of_the_list_changes_the_operations_while_calls_run(tmp_path, up):
    with Node(tmp_path, entry(up)) as node, node.wire() as slow:
        up.listened()
        slow.send(ask_slow(slow))
        up.wait("tools/call", name="slow")
        up.change(fresh=tool(structured), slow=None)
        wait_for(lambda: node.imported() == ["up/fresh", "up/say"])
        assert node.says() == 1 and node.says("up/slow") == 404
        up.go_on.set()
        assert slow.reply().output == {"version": 1}
        assert len(node.events("imports.ready")) == 2
        listed = len(up.of("tools/list"))
        up.change()
        up.wait("tools/list", listed + 1)
        up.change(last=tool(structured))
        wait_for(lambda: "up/last" in node.imported())
        assert len(node.events("imports.ready")) == 3, "the list that was the same is not told"


def ask_slow(wire, name="up/slow"):
    body = json.dumps({"operation": name, "input": {}}).encode()
    return (f"POST /call HTTP/1.1\r\nHost: {wire.host}\r\nAuthorization: Bearer {ADMIN}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n").encode() + body


# ---- reload -----------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("workers", [1, 2])
def test_entries_are_removed_changed_and_added_while_calls_run(tmp_path, up, workers):
    with Node(tmp_path, entry(up), entry(up, prefix="gone"), workers=workers) as node, node.wire() as slow:
        slow.send(ask_slow(slow))
        up.wait("tools/call", name="slow")
        node.reload(imports=[entry(up, operations={"exclude": ["nothing"]}), entry(up, prefix="other")])
        assert [node.says("gone/say") for _ in range(4)] == [404] * 4
        assert [e["message"] for e in node.events("imports.gone")][-1:] == ["gone"]
        wait_for(lambda: [node.says("other/say") for _ in range(4)] == [1] * 4)
        wait_for(lambda: [node.says() for _ in range(4)] == [1] * 4)
        up.go_on.set()
        assert slow.reply().output == {"version": 1}
        node.reload(imports=[])
        assert node.says() == 404 and node.ready() == 200


def test_an_entry_that_stays_is_called_all_the_while(tmp_path, up):
    with Node(tmp_path, entry(up)) as node:
        for n in range(3):
            node.reload()
            assert [node.says() for _ in range(10)] == [1] * 10
            node.wait_event("imports.ready", n + 2)
        assert not node.events("imports.gone")


def test_another_url_is_another_server(tmp_path, new):
    with McpServer(only=tool(structured)) as other, Node(tmp_path, entry(new)) as node:
        other.version = 2
        other.mute.add("server/discover")
        node.reload(imports=[entry(other)])
        assert node.says() == 404, "which has not been asked yet"
        other.go_on.set()
        wait_for(lambda: node.says() == 2)
        assert "up/only" in node.imported()


def test_what_the_entry_says_of_callers_holds_at_once_and_with_the_server_gone(tmp_path, new):
    """Who may call no more may not until the server comes back either."""
    with Node(tmp_path, entry(new, access=None, public=True)) as node:
        assert node.says(token=None) == 1
        new.__exit__()
        node.reload(imports=[entry(new)])
        assert node.call_up("up/say", token=None).status in (401, 404)


def test_an_entry_of_a_document_becomes_one_of_a_server_and_back(tmp_path, new):
    with Upstream() as service, Node(tmp_path, entry(new)) as node:
        file = put(tmp_path, document(both=("get", "/both")))
        by_file = {"openapi": file, "prefix": "up", "base_url": service.url, "access": ACCESS}
        node.reload(imports=[by_file])
        assert node.gives("up/both")["path"] == "/both" and node.imported() == ["up/both", "up/events", "up/item", "up/say", "up/slow"]
        node.reload(imports=[entry(new)])
        wait_for(lambda: node.imported() == ["up/say", "up/slow"])
        assert node.gives("up/say", {"text": "x"}) == {"version": 1, "text": "x"}


# ---- the token --------------------------------------------------------------------------------------------------------

def test_the_token_reaches_the_server_and_nothing_of_the_caller_does(tmp_path, up):
    """With each request, and it is in no log and in no description."""
    up.token = SECRET
    with Node(tmp_path, entry(up, auth={"file": secret(tmp_path)}, headers={"X-Mine": "2"}), log={"format": "json", "level": "debug"}) as node:
        answer = node.ask("POST", "/call", {"operation": "up/say", "input": {}}, token=ADMIN, headers={"Cookie": "mine=1", "X-His": "1"})
        assert answer.output == {"version": 1}
        assert {s.headers.get("x-mine") for s in up.seen} == {"2"}
        assert {s.headers.get("authorization") for s in up.seen} == {f"Bearer {SECRET}"}
        assert not {"cookie", "x-his", "forwarded", "origin"} & {k for s in up.seen for k in s.headers}
        assert SECRET.encode() not in node.ask("GET", "/schema?name=up/say", token=ADMIN).body


def test_a_server_that_wants_another_token_says_so(tmp_path, up):
    """To the log at start; to the caller, as an error of its own, when that comes later."""
    up.token = SECRET
    wrong = entry(up, auth={"file": secret(tmp_path, "another", "wrong")})
    with Node(tmp_path, wrong, waits=False) as node:
        assert "401" in node.wait_event("imports.failed")["message"]
        assert node.ready() == 503
        node.reload(imports=[entry(up, auth={"file": secret(tmp_path)})])
        wait_for(lambda: node.ready() == 200)
        assert node.says() == 1
        up.token = "changed"
        answer = node.call_up("up/say")
        assert (answer.status, answer.error()["code"]) == (502, "UNAUTHORIZED")
        up.token = SECRET
        assert node.says() == 1


def test_a_token_in_the_url_is_not_told(tmp_path, new):
    with McpServer() as dead:
        pass
    with Node(tmp_path, entry(new.url + "?key=s3cr3t"), entry(dead.url + "?key=s3cr3t", prefix="dead"), waits=False) as node:
        node.wait_event("imports.ready")
        node.wait_event("imports.failed")
        assert "s3cr3t" not in node.log_text()


def test_a_redirection_does_not_take_the_token_along(tmp_path, new):
    """Nor is another server taken for the one that is configured."""
    new.token = SECRET
    with Upstream() as elsewhere:
        for method in ("server/discover", "initialize"):
            new.pages[method] = (307, {"Location": elsewhere.page("/mcp", {})}, "application/json")
        with Node(tmp_path, entry(new, auth={"file": secret(tmp_path)}), waits=False) as node:
            assert f"a redirect leads elsewhere: {elsewhere.url}" in node.wait_event("imports.failed")["message"]
        assert not elsewhere.seen


def test_requests_go_by_the_proxy(tmp_path):
    """Which answers itself here, since it need not know more than the target."""
    with Upstream() as proxy:
        proxy.pages["/mcp"] = (404, b"", "text/plain")
        with Node(tmp_path, entry("http://mcp.example/mcp"), waits=False, http={"proxy": proxy.url}) as node:
            assert "404" in node.wait_event("imports.failed")["message"]
            assert proxy.seen[0].target == "http://mcp.example/mcp"


def test_an_answer_larger_than_the_entry_allows_fails(tmp_path, up):
    up.tools["much"] = tool(lambda _: structured("x" * 5000))
    with Node(tmp_path, entry(up, response_bytes="4KiB"), entry(up, prefix="big")) as node:
        assert node.fault("up/much")["message"] == "the server's answer is too large"
        assert node.gives("big/much") == "x" * 5000


# ---- chains -----------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("client", [Stateless, Session])
def test_a_gateway_in_front_of_a_server_passes_blocks_and_failures_as_they_are(tmp_path, up, client):
    up.tools.update(picture=tool(image), fails=tool(failure))
    with Node(tmp_path, entry(up), mcp={"tools": "direct"}) as node, client(node, ADMIN) as ai:
        tools = {t["name"]: t for t in ai.tools()}
        assert {"up_say", "up_picture", "up_fails"} <= set(tools)
        said = ai.tool("up_picture").result
        assert said["content"][0] == {"type": "image", "data": PIXEL, "mimeType": "image/png"}
        assert said["content"] == image()["content"] and not said.get("isError")
        said = ai.tool("up_fails").result
        assert said["isError"] is True and said["content"] == failure()["content"]
        assert ai.tool("up_say", {"text": "x"}).result["structuredContent"] == {"version": 1, "text": "x"}


def test_a_chain_of_three_nodes_is_a_chain_of_tools(tmp_path, up):
    up.tools["picture"] = tool(image)
    with Node(tmp_path, entry(up), mcp={"tools": "direct"}, keys=[key_for(OTHER, "up:call")]) as near:
        near.tokens.append(OTHER)
        rule = entry(f"{near.url}/mcp", prefix="mid", auth={"file": secret(tmp_path, OTHER)}, operations={"include": ["up_*"]})
        with Node(tmp_path, rule, mcp={"tools": "direct"}) as far:
            far.tokens.append(OTHER)
            assert far.imported("mid") == ["mid/up_picture", "mid/up_say", "mid/up_slow"]
            assert far.gives("mid/up_picture") == image()["content"]
            with Stateless(far, ADMIN) as ai:
                assert ai.tool("mid_up_picture").result["content"] == image()["content"]


def test_a_change_of_a_node_that_has_nothing_else_to_do_is_told(tmp_path, new):
    """Soon after its client has come, so that what is done once a second has just been done."""
    rule = {"access": None, "public": True}
    with Node(tmp_path, entry(new, **rule), mcp={"tools": "direct"}, limits={"heartbeat_ms": 600000}) as near:
        time.sleep(1.3)
        with Node(tmp_path, entry(f"{near.url}/mcp", prefix="mid", **rule)) as far:
            near.reload(imports=[entry(new, **rule), entry(new, prefix="more", **rule)])
            wait_for(lambda: "mid/more_say" in far.imported("mid"), 6)


def test_several_servers_side_by_side_are_each_its_own(tmp_path):
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(McpServer(ERAS[n % 2], **{f"only{n}": tool(structured)})) for n in range(6)]
        for n, server in enumerate(servers):
            server.version = n
        node = stack.enter_context(Node(tmp_path, *[entry(s, prefix=f"s{n}") for n, s in enumerate(servers)], workers=2))
        for n, server in enumerate(servers):
            assert node.says(f"s{n}/say") == n and f"s{n}/only{n}" in node.imported(f"s{n}")
        servers[0].__exit__()
        assert node.fault("s0/say")["code"] == "INTERNAL"
        assert [node.says(f"s{n}/say") for n in range(1, 6)] == [1, 2, 3, 4, 5]
        servers[1].listened()
        servers[1].change(more=tool(structured))
        wait_for(lambda: "s1/more" in node.imported("s1"))
        assert [len(node.imported(f"s{n}")) for n in range(6)] == [3, 4, 3, 3, 3, 3]


# ---- what is refused --------------------------------------------------------------------------------------------------

REFUSED = [
    ({"openapi": "up.json"}, "imports[0].openapi: does not go with \"mcp\""),
    ({"mcp": None}, "imports[0].prefix: needs \"openapi\", a document, or \"mcp\", a server, beside it"),
    ({"mcp": None, "openapi": "up.json", "progress": True}, "imports[0].progress: is for \"mcp\""),
    ({"base_url": "http://x"}, "imports[0].base_url: is for \"openapi\""),
    ({"credentials": {"k": "secret"}}, "imports[0].credentials: is for \"openapi\""),
    ({"variables": {"a": "b"}}, "imports[0].variables: is for \"openapi\""),
    ({"document_token_file": "secret"}, "imports[0].document_token_file: is for \"openapi\""),
    ({"auth": {"type": "bearer", "file": "secret"}}, "imports[0].auth.type: is for \"openapi\""),
    ({"auth": {}}, "imports[0].auth: "),
    ({"mcp": "up.json"}, "imports[0].mcp: must begin with https:// or http://"),
    ({"mcp": "ftp://127.0.0.1/mcp"}, "imports[0].mcp: must begin with https:// or http://"),
    ({"mcp": "http://me:pw@127.0.0.1/mcp"}, "imports[0].mcp: must be http[s]://HOST"),
    ({"mcp": "http:///mcp"}, "imports[0].mcp: must be http[s]://HOST"),
    ({"mcp": "http://127.0.0.1/mcp#x"}, "imports[0].mcp: must be http[s]://HOST"),
    ({"mcp": "http://127.0.0.1/m cp"}, "imports[0].mcp: must be printable ASCII"),
    ({"operations": {"methods": ["GET"]}}, "imports[0].operations.methods: is for \"openapi\""),
    ({"operations": {"tags": ["a"]}}, "imports[0].operations.tags: is for \"openapi\""),
    ({"prefix": "services"}, "imports[0].prefix: must be the beginning of a name"),
    ({"prefix": "a b"}, "imports[0].prefix: must be the beginning of a name"),
    ({"headers": {"Host": "x"}}, "imports[0].headers: \"Host\" cannot be set"),
    ({"headers": {"Mcp-Session-Id": "x"}}, "imports[0].headers: \"Mcp-Session-Id\" cannot be set"),
    ({"headers": {"X-A": "a\rb"}}, "imports[0].headers: \"X-A\" cannot be set"),
    ({"public": True}, "imports[0].public: does not go with \"access\""),
    ({"access": {"required_scopes": []}}, "imports[0].access: restricts nobody"),
]


@pytest.mark.parametrize("change,why", REFUSED)
def test_what_is_wrong_with_an_entry_is_refused_with_its_line(make_daemon, change, why):
    daemon = make_daemon({"imports": [entry("http://127.0.0.1:9/mcp", **change)]}, ["--check"]).start(wait=False)
    daemon.ended(status=1)
    said = daemon.log_text()
    assert why in said, said
    number = int(said.split("alknetd.json:")[1].split(":")[0])
    member = why.split(":")[0].replace("imports[0].", "").split(".")[-1]
    line = daemon.config_path.read_text().splitlines()[number - 1]
    assert f'"{member}"' in line or member == "auth", said


def test_the_same_is_refused_at_start_and_by_a_reload(make_daemon, tmp_path, new):
    bad = entry(new, headers={"Host": "x"})
    never_starts(make_daemon, "imports[0].headers: ", imports=[bad])
    with Node(tmp_path, entry(new)) as node:
        node.write_config(imports=[bad])
        node.reload_fails("imports[0].headers: ")
        assert node.says() == 1


def test_a_prefix_twice_is_refused(make_daemon, new):
    never_starts(make_daemon, "imports[1].prefix: is that of imports[0] already", imports=[entry(new)] * 2)


def test_a_secret_that_others_can_read_is_refused(make_daemon, tmp_path, new):
    path = secret(tmp_path, mode=0o644)
    never_starts(make_daemon, f"{path}: others may read it (mode 0644)", imports=[entry(new, auth={"file": path})])


def test_a_good_configuration_is_good_without_asking_anybody(make_daemon, tmp_path, new):
    good = [entry(new, auth={"file": secret(tmp_path)}, progress=True, headers={"X-A": "b"}, operations={"include": ["*"]}),
            entry("https://mcp.example/x?y=z", prefix="b", private_addresses=True, response_bytes="4KiB")]
    daemon = make_daemon({"imports": good}, ["--check"]).start(wait=False)
    daemon.ended()
    assert "OK" in daemon.log_text() and not new.seen
