"""The rows about MCP: a tool beside the official server for TypeScript, and beside our own POST /call; lists of many tools. A part of
run.py's Bench."""

import http.client
import json
import re
import shutil
import statistics

from measure import Failed, Row, compare, memory_kib, stop
from openapi_rows import DOCUMENTS, github_operations
from peers import Alknetd, McpSdk, call_input

STATELESS, SESSIONS = "2026-07-28", "2025-11-25"
META = {"io.modelcontextprotocol/protocolVersion": STATELESS, "io.modelcontextprotocol/clientCapabilities": {}}
# calls, in the first of which a server that compiles as it runs is several times as slow as later
SDK_WARM = 30_000
SDK_RATE, SDK_P99, SDK_MEMORY = 30, 0.1, 0.1
CALL_CPU = 1.5
WAYS = ("call", "demo_echo", "call, session")
DIRECT = {"mcp": {"tools": "direct"}}
SEARCH_MS, PAGE_MS = 2, 5
WORDS = "pull request review"


def echo(tool):
    """The parameters of a call of demo/echo, by a tool for it or by the one for all."""
    value = json.loads(call_input())
    return {"name": tool, "arguments": {"operation": "demo/echo", "input": value} if tool == "call" else value}


class Question:
    """A message to the MCP server of `server`; for the load generator it is a server that is asked nothing else. After ask(), each answer
    has to be the first one's bytes."""

    def __init__(self, folder, server, method, params, session=None):
        if not session:
            params = {**params, "_meta": META}
        self.server, self.child, self.port = server, server.child, server.port
        self.body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}, separators=(",", ":"))
        self.headers = {"Host": f"127.0.0.1:{server.port}", "Content-Type": "application/json", "Accept": "application/json, text/event-stream",
                        "MCP-Protocol-Version": SESSIONS if session else STATELESS, "Content-Length": str(len(self.body))}
        if server.token:
            self.headers["Authorization"] = f"Bearer {server.token}"
        if session:
            self.headers["Mcp-Session-Id"] = session
        else:
            self.headers["Mcp-Method"] = method
            if "name" in params:
                self.headers["Mcp-Name"] = params["name"]
        self.request, self.tail = folder / "mcp.request", folder / "mcp.tail"

    def ask(self):
        """The result."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        connection.request("POST", "/mcp", self.body, self.headers)
        reply = connection.getresponse()
        self.text = reply.read()
        self.session = reply.headers.get("Mcp-Session-Id")
        connection.close()
        result = json.loads(self.text).get("result") if self.text else None
        if reply.status != 200 or not isinstance(result, dict) or result.get("isError"):
            raise Failed(f"{self.body[:200]} is answered with {reply.status} {self.text.decode()[:300]}")
        return result

    def write(self):
        """The load generator's files: they are this question's until another one writes its own."""
        head = "".join(f"{name}: {value}\r\n" for name, value in self.headers.items())
        self.request.write_text(f"POST /mcp HTTP/1.1\r\n{head}\r\n{self.body}")
        self.tail.write_bytes(self.text)


class McpRows:
    """Uses what Bench has: options, programs, cores, printing."""

    def load_mcp(self, question, shape):
        question.write()
        return self.load(question, shape)

    def echo_question(self, server, tool, session=None):
        question = Question(self.folder, server, "tools/call", echo(tool), session)
        if question.ask().get("structuredContent") != json.loads(call_input()):
            raise Failed(f"the tool {tool} answers {question.text.decode()[:300]}")
        return question

    def new_session(self, server):
        """Its id."""
        opening = Question(self.folder, server, "initialize", {"protocolVersion": SESSIONS, "capabilities": {},
                                                               "clientInfo": {"name": "bench", "version": "1"}}, session="none")
        del opening.headers["Mcp-Session-Id"], opening.headers["MCP-Protocol-Version"]
        if opening.ask().get("protocolVersion") != SESSIONS or not opening.session:
            raise Failed(f"a session cannot be opened: {opening.text.decode()[:300]}")
        return opening.session

    # ---- beside the official server ----

    def warm(self, question):
        calls = 0
        while calls < SDK_WARM:
            calls += self.load_mcp(question, "64 x 1")["total"]

    def against_sdk(self, name, ours, theirs):
        row = compare(Row(name, "calls/s", ">=", SDK_RATE), self.options.pairs, lambda: self.load_mcp(ours, "64 x 1"),
                      lambda: self.load_mcp(theirs, "64 x 1"))
        self.show(row, "rate", lambda v: f"{v:.0f}/s")
        self.show_cpu(row)
        self.keep(row, "rate")
        slow = Row("  p99", "us", "<=", SDK_P99)
        slow.ours, slow.theirs = row.ours, row.theirs
        self.show(slow, "p99_us", lambda v: f"{v / 1000:.2f} ms")

    def mcp_sdk(self, alknetd, how, tools):
        try:
            sdk = McpSdk(self.server_cores, how)
        except Failed as e:
            print(f"tools/call | the official server: not measured, {e}")
            return
        try:
            theirs = self.echo_question(sdk, "echo")
            self.warm(theirs)
            for tool in tools:
                self.against_sdk(f"tools/call {tool} 64 x 1 | SDK" + (", bare" if how == "bare" else ""), self.echo_question(alknetd, tool), theirs)
            rss = [memory_kib(server.child.pid, "Rss") / 1024 for server in (alknetd, sdk)]
            self.line("  resident afterwards", f"{rss[0]:.1f} MB", f"{rss[1]:.1f} MB", f"{rss[0] / rss[1]:.3f}", "", f"<= {SDK_MEMORY}",
                      "ok" if rss[0] / rss[1] <= SDK_MEMORY else "MISSED")
            self.results.append({"name": f"resident after tools/call, SDK {how}", "ours": rss[0], "theirs": rss[1]})
        finally:
            stop(sdk.child)

    # ---- beside POST /call ----

    def ways(self, alknetd):
        """To call demo/echo."""
        call, direct = (self.echo_question(alknetd, tool) for tool in ("call", "demo_echo"))
        return dict(zip(WAYS, (call, direct, self.echo_question(alknetd, "call", self.new_session(alknetd)))))

    def mcp_call(self, alknetd):
        """CPU time of the same process, asked both ways in turn."""
        questions = self.ways(alknetd)
        for shape, target in (("64 x 1", CALL_CPU), ("1 x 64", None)):
            for name, question in questions.items():
                row = compare(Row(f"{name} {shape} | POST /call", "us", "<=", target), self.options.pairs,
                              lambda: self.load_mcp(question, shape), lambda: self.load(alknetd, shape))
                self.show(row, "cpu_us", lambda v: f"{v:.2f} us")
                self.keep(row, "cpu_us")

    def instructions_of(self, way):
        """(of a whole alknetd, how many calls a load of one connection has made); without a way, none."""
        out = self.folder / "callgrind"
        alknetd = Alknetd(self.folder, self.server_cores, more=DIRECT, under=("valgrind", "--tool=callgrind", f"--callgrind-out-file={out}"))
        try:
            ways, total = self.ways(alknetd), 0
            if way in ways:
                total = self.load_mcp(ways[way], "1 x 1")["total"]
            elif way:
                total = self.load(alknetd, "1 x 1")["total"]
        finally:
            stop(alknetd.child, 60)
        return int(re.search(r"^totals: (\d+)", out.read_text(), re.M)[1]), total

    def mcp_instructions(self):
        """Without the kernel's, which no neighbour disturbs: one run each."""
        if not shutil.which("valgrind"):
            print("  instructions: not counted, valgrind is missing")
            return
        before = self.instructions_of(None)[0]
        each = {}
        for way in ("POST /call", *WAYS):
            count, total = self.instructions_of(way)
            each[way] = (count - before) / total
        for way in WAYS:
            ratio = each[way] / each["POST /call"]
            self.line(f"  instr.: {way}", f"{each[way]:.0f}", f"{each['POST /call']:.0f}", f"{ratio:.2f}")
            self.results.append({"name": f"instructions, {way} | POST /call", "ratio": ratio, "ours": each[way], "theirs": each["POST /call"]})

    def mcp(self):
        alknetd = Alknetd(self.folder, self.server_cores, more=DIRECT)
        try:
            alknetd.answer()
            self.mcp_sdk(alknetd, "adapter", ("call", "demo_echo"))
            self.mcp_sdk(alknetd, "bare", ("call",))
            self.mcp_call(alknetd)
        finally:
            stop(alknetd.child)
        self.mcp_instructions()
        self.mcp_many()

    # ---- many tools ----

    def one_at_a_time(self, name, question, most):
        """Requests over one connection, as many as a run has time for: the median of the runs' medians."""
        runs = Row(name, "ms", "<=", most)
        for _ in range(self.options.pairs):
            run = self.load_mcp(question, "1 x 1")
            runs.add({"ms": run["p50_us"] / 1000, **run}, {"ms": 1})
        least, middle, greatest = runs.ratios("ms")
        self.line(f"{name}, {len(question.text) / 1024:.0f} KiB", f"{middle:.2f} ms", "", "", f"{least:.2f} .. {greatest:.2f}", f"<= {most}",
                  runs.verdict("ms"))
        self.line("  CPU time of the server", f"{statistics.median(run['cpu_us'] for run in runs.ours) / 1000:.2f} ms")
        self.keep(runs, "ms")

    def pages(self, server):
        """All of tools/list, as a client reads it."""
        found, params = [], {}
        while not found or params:
            question = Question(self.folder, server, "tools/list", params)
            result = question.ask()
            question.tools = len(result["tools"])
            params = {"cursor": result["nextCursor"]} if "nextCursor" in result else {}
            found.append(question)
        return found

    def mcp_many(self):
        github = DOCUMENTS / "github.json"
        if not github.exists():
            print("lists of many tools: not measured, the document is missing")
            return
        imports = [{"openapi": str(github), "prefix": "github", "base_url": "https://service.example", "public": True}]
        alknetd = Alknetd(self.folder, self.server_cores, more={**DIRECT, "imports": imports})
        try:
            count = github_operations()
            for name, arguments in (("search", {}), ("search, a query", {"query": WORDS})):
                question = Question(self.folder, alknetd, "tools/call", {"name": "search", "arguments": arguments})
                question.ask()
                self.one_at_a_time(name, question, SEARCH_MS)
            pages = self.pages(alknetd)
            if sum(page.tools for page in pages) < count:
                raise Failed(f"tools/list has {sum(page.tools for page in pages)} tools")
            for name, page in (("first", pages[0]), ("largest", max(pages, key=lambda page: len(page.text)))):
                self.one_at_a_time(f"tools/list, {name} page", page, PAGE_MS)
        finally:
            stop(alknetd.child)
