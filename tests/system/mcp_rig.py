"""Clients of MCP that speak by hand, one for each era, over the raw client of rawhttp.py; and the fixture of tests/mcp.

What is asked is sent as given, so that a test can leave anything out; what comes back is read strictly.
"""
import itertools
import json
import os
import pathlib
import subprocess
import time

from conftest import PATIENCE, ROOT
from rawhttp import Stream, message

STATELESS, SESSIONS, SESSIONS_OLD = "2026-07-28", "2025-11-25", "2025-06-18"
META = "io.modelcontextprotocol/"
VALUES = "io.alknet/values"
PARSE_ERROR, INVALID_REQUEST, METHOD_NOT_FOUND, INVALID_PARAMS = -32700, -32600, -32601, -32602
HEADER_MISMATCH, MISSING_CAPABILITY, UNSUPPORTED_VERSION = -32020, -32021, -32022


def build_fixture(folder, **config):
    """An entry of `plugins`: the shared object of tests/mcp/fixture.c."""
    target = pathlib.Path(folder) / "mcp_fixture.so"
    if not target.exists():
        subprocess.run([os.environ.get("CC", "cc"), "-std=c11", "-D_GNU_SOURCE", "-O1", "-g", "-shared", "-fPIC",
                        f"-I{ROOT / 'include'}", f"-isystem{ROOT / 'build/deps/include'}", "-o", target,
                        ROOT / "tests/mcp/fixture.c"], check=True)
    return {"path": str(target), "config": config}


class Events(Stream):
    """A stream on which only signs of life come has an end as well."""

    def __init__(self, wire, reply):  # pylint: disable=super-init-not-called
        self.wire, self.reply, self.text, self.comments, self.ended = wire, reply, b"", 0, False
        self.until = time.monotonic() + 2 * PATIENCE

    def block(self):
        assert time.monotonic() < self.until, "nothing but signs of life"
        return super().block()


class Answer:
    """What came back. Public: status headers(reply) said (the message, None without one) notes (notifications before it) stream."""

    def __init__(self, wire, method="POST"):
        self.reply = wire.head()
        self.status, self.notes, self.said, self.stream = self.reply.status, [], None, None
        kind = (self.reply.header("content-type") or "").split(";")[0]
        if kind == "text/event-stream":
            self.stream = Events(wire, self.reply)
            return
        self.reply.body = b""
        length = self.reply.header("content-length")
        if self.reply.header("transfer-encoding"):
            while data := wire.chunk():
                self.reply.body += data
        elif length and method != "HEAD":
            self.reply.body = wire.exactly(int(length))
        if kind == "application/json" and self.reply.body:
            self.said = json.loads(self.reply.body)

    def note(self):
        """The next notification of the stream; None when the answer itself has come, or the end."""
        event = self.stream.event()
        if event is None:
            return None
        assert event[0] == "message", event
        if "method" not in event[1]:
            self.said = event[1]
            return None
        assert event[1]["jsonrpc"] == "2.0" and "id" not in event[1], event
        self.notes.append(event[1])
        return event[1]

    def finish(self):
        """Reads a stream to its end, which follows on the answer."""
        if self.stream and not self.stream.ended:
            while self.note():
                pass
            assert self.stream.event() is None
        return self

    @property
    def result(self):
        assert self.status == 200 and self.said and "result" in self.said, self
        assert set(self.said) == {"jsonrpc", "id", "result"} and self.said["jsonrpc"] == "2.0", self.said
        return self.said["result"]

    @property
    def error(self):
        assert self.said and "error" in self.said, self
        assert set(self.said) - {"id"} == {"jsonrpc", "error"} and self.said["jsonrpc"] == "2.0", self.said
        assert set(self.said["error"]) - {"data"} == {"code", "message"}, self.said
        assert isinstance(self.said["error"]["message"], str) and self.said["error"]["message"]
        return self.said["error"]

    def refused(self, status, code, ident=None):
        """That status and that code, and the id of the request."""
        assert (self.status, self.error["code"]) == (status, code), self
        assert self.said.get("id") == ident and type(self.said.get("id")) is type(ident), self.said
        return self.error

    # ---- what a tool has said

    @property
    def value(self):
        """The structured content, which the text says as well."""
        result = self.result
        assert not result.get("isError"), result
        return self.checked(result)

    @property
    def fault(self):
        """The error object of a tool that has failed."""
        result = self.result
        assert result.get("isError") is True, result
        fault = self.checked(result)
        assert set(fault) - {"details"} == {"code", "message", "retryable"}, fault
        return fault

    @staticmethod
    def checked(result):
        """What is no object is the member "result" of one, but not in the text."""
        (block,) = result["content"]
        text, value = json.loads(block["text"]), result["structuredContent"]
        assert block["type"] == "text" and value == (text if isinstance(text, dict) else {"result": text}), result
        return value

    def __repr__(self):
        return f"<{self.status} {self.said or self.reply.body[:300]} {self.reply.headers}>"


class Client:
    """What both eras have in common: one connection, and ids that are never used twice."""

    def __init__(self, node, token=None, **kwargs):
        self.node, self.token = node, token
        self.wire = node.wire(**kwargs)
        self.ids = itertools.count(1)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.wire.close()

    def post(self, body, headers=(), token=True, target="/mcp"):
        """Any body; the answer, whose stream is not read yet."""
        self.send(body, headers, token, target)
        return Answer(self.wire)

    def send(self, body, headers=(), token=True, target="/mcp"):
        fields = {"Accept": "application/json, text/event-stream", **dict(headers)}
        self.wire.send(message("POST", target, body, fields, self.token if token is True else token, host=self.wire.host))

    def raw(self, method, headers=(), token=True, body=None):
        self.wire.send(message(method, "/mcp", body, dict(headers), self.token if token is True else token,
                               host=self.wire.host))
        return Answer(self.wire, method)

    def ask(self, method, params=None, **kwargs):
        """The whole answer to a request."""
        answer = self.begin(method, params, **kwargs).finish()
        if answer.said and "result" in answer.said:
            assert answer.said["id"] == self.last, answer
        return answer

    def tool(self, name, arguments=None, **kwargs):
        """The whole answer of a tool."""
        params = {"name": name, **({} if arguments is None else {"arguments": arguments})}
        return self.ask("tools/call", params, **kwargs)

    def call(self, operation, value=None, **kwargs):
        """The whole answer of an operation that is called by the tool for that."""
        arguments = {"operation": operation, **({} if value is None else {"input": value})}
        return self.tool("call", arguments, **kwargs)

    def tools(self):
        """All of the list, page by page."""
        found, params = [], {}
        for _ in range(1000):
            page = self.ask("tools/list", params).result
            found += page["tools"]
            if "nextCursor" not in page:
                return found
            params = {"cursor": page["nextCursor"]}
        raise AssertionError("the list has no end")


class Stateless(Client):
    """Of 2026-07-28: each request stands for itself."""

    @staticmethod
    def meta(more=None, version=STATELESS):
        return {META + "protocolVersion": version, META + "clientInfo": {"name": "test", "version": "1"},
                META + "clientCapabilities": {}, **(more or {})}

    @staticmethod
    def headers(method, params, more=(), version=STATELESS):
        """Those that belong to the request; of `more` each replaces one of them, None leaves it out."""
        fields = {"mcp-protocol-version": ("MCP-Protocol-Version", version), "mcp-method": ("Mcp-Method", method)}
        if isinstance(params, dict) and isinstance(params.get("name"), str):
            fields["mcp-name"] = ("Mcp-Name", params["name"])
        for name, value in dict(more).items():
            fields[name.lower()] = (name, value)
        return dict(fields.values())

    def begin(self, method, params=None, meta=None, headers=(), ident=None, token=True, version=STATELESS):
        self.last = next(self.ids) if ident is None else ident
        params = {**(params or {}), "_meta": self.meta(meta, version)}
        return self.post({"jsonrpc": "2.0", "id": self.last, "method": method, "params": params},
                         self.headers(method, params, headers, version), token)


class Session(Client):
    """Of the revisions before: a handshake, and a session that a header names."""

    def __init__(self, node, token=None, version=SESSIONS, handshake=True, **kwargs):
        super().__init__(node, token, **kwargs)
        self.version, self.session = version, None
        if handshake:
            self.hello = self.initialize()
            assert self.hello.status == 200, self.hello
            self.session = self.hello.reply.header("mcp-session-id")
            assert self.notify("notifications/initialized").status == 202

    def initialize(self, version=None):
        return self.ask("initialize", {"protocolVersion": version or self.version, "capabilities": {},
                                       "clientInfo": {"name": "test", "version": "1"}})

    def own(self, headers=()):
        fields = {"Mcp-Session-Id": self.session, "MCP-Protocol-Version": self.version} if self.session else {}
        return {**fields, **dict(headers)}

    def begin(self, method, params=None, meta=None, headers=(), ident=None, token=True):
        self.last = next(self.ids) if ident is None else ident
        if meta:
            params = {**(params or {}), "_meta": meta}
        return self.post({"jsonrpc": "2.0", "id": self.last, "method": method, **({} if params is None else {"params": params})},
                         self.own(headers), token)

    def notify(self, method, params=None, **kwargs):
        return self.post({"jsonrpc": "2.0", "method": method, **({} if params is None else {"params": params})},
                         self.own(), **kwargs)
