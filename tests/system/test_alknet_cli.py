"""alknet, the command-line client, from outside.

The ordinary cases run against alknetd (one for all of them: the fixture `daemon`). What a gateway does not do unless
it is broken, slow or not one at all is played by `Double`, which answers a request with whatever bytes a test gives it.
"""
import contextlib
import hashlib
import json
import os
import pathlib
import pty
import re
import select
import shlex
import shutil
import signal
import socket
import subprocess
import threading
import time
import types

import pytest

from conftest import Daemon

ROOT = pathlib.Path(__file__).resolve().parents[2]
ALKNET = os.path.join(os.environ.get("ALKNET_BIN", ROOT / "build/san/bin"), "alknet")
OK, REMOTE, USAGE, CONNECTION = 0, 1, 2, 3
TOKEN = "alk_" + "0123456789abcdef" * 3
COMMANDS = ["ls", "peers", "describe", "call", "subscribe", "serve", "batch", "ping", "bench", "openapi", "mcp", "token", "keygen", "fingerprint", "context", "help", "version"]
REMOTE_COMMANDS = [["ls"], ["peers"], ["describe", "a/b"], ["call", "a/b"], ["subscribe", "a/b"], ["ping"], ["openapi", "--export"]]


# ---- running it ---------------------------------------------------------------------------------------------------

@pytest.fixture
def home(tmp_path):
    path = tmp_path / "home"
    path.mkdir()
    return path


class Client:
    """Runs alknet with nothing in its environment but what a test puts there."""

    def __init__(self, home, url=None, token=None):
        self.env = {"PATH": os.environ["PATH"], "HOME": str(home), "TERM": "xterm", "LC_ALL": "C.UTF-8"}
        for name in ("ASAN_OPTIONS", "UBSAN_OPTIONS", "LSAN_OPTIONS"):
            if name in os.environ:
                self.env[name] = os.environ[name]
        if url:
            self.env["ALKNET_URL"] = url
        if token:
            self.env["ALKNET_TOKEN"] = token

    def start(self, *args, **kwargs):
        for stream in ("stdin", "stdout", "stderr"):
            kwargs.setdefault(stream, subprocess.DEVNULL if stream == "stdin" else subprocess.PIPE)
        return subprocess.Popen([ALKNET, *args], env=self.env, **kwargs)

    def __call__(self, *args, stdin=b"", env=None, **kwargs):
        done = subprocess.run([ALKNET, *args], env={**self.env, **(env or {})}, input=stdin, capture_output=True,
                              timeout=60, check=False, **kwargs)
        assert b"Sanitizer" not in done.stderr and b"runtime error" not in done.stderr, done.stderr.decode()
        return types.SimpleNamespace(status=done.returncode, out=done.stdout.decode(), err=done.stderr.decode(),
                                     json=lambda: json.loads(done.stdout))

    def output(self, *args, **kwargs):
        done = self(*args, **kwargs)
        assert done.status == OK, done.err
        return done.out

    def on_terminal(self, *args, streams=("stdout", "stderr"), env=None):
        """What it writes when these streams are a terminal, and its status."""
        master, slave = pty.openpty()
        try:
            kwargs = {s: slave if s in streams else subprocess.DEVNULL for s in ("stdin", "stdout", "stderr")}
            process = subprocess.Popen([ALKNET, *args], env={**self.env, **(env or {})}, **kwargs)
            os.close(slave)
            slave = -1
            seen = b""
            with contextlib.suppress(OSError):  # the terminal's end is an error
                while select.select([master], [], [], 30)[0]:
                    data = os.read(master, 65536)
                    if not data:
                        break
                    seen += data
            return process.wait(10), seen.decode().replace("\r\n", "\n")
        finally:
            os.close(master)
            if slave >= 0:
                os.close(slave)


@pytest.fixture
def alone(home):
    """A client that knows no remote."""
    return Client(home)


@pytest.fixture(scope="module")
def daemon(tmp_path_factory):
    one = Daemon(tmp_path_factory.mktemp("daemon")).start()
    yield one
    one.stop()


@pytest.fixture
def alknet(home, daemon):
    return Client(home, daemon.url, daemon.token)


# ---- the double ---------------------------------------------------------------------------------------------------

def answer(status, body, content_type="application/json", *headers):
    body = body if isinstance(body, bytes) else json.dumps(body).encode()
    head = [f"HTTP/1.1 {status} Said", f"Content-Length: {len(body)}", f"Content-Type: {content_type}", *headers]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


def ok(output):
    return answer(200, b'{"request_id":"r","result":"ok","output":' + output.encode() + b"}")


def error(status, code, message, **more):
    return answer(status, {"code": code, "message": message, "retryable": False, **more})


STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
END = b"0\r\n\r\n"


def chunk(data):
    return b"%x\r\n%s\r\n" % (len(data), data)


def stream(*parts):
    return STREAM + b"".join(chunk(part) for part in parts) + END


class Double:
    """Answers each request with `said`: bytes, or a function of the request and the socket that returns bytes, or None to
    close. What came is in `requests`."""

    def __init__(self, said, path=None):
        self.said = said
        self.requests = []
        self.sockets = []
        if path:
            self.listener = socket.socket(socket.AF_UNIX)
            self.listener.bind(path)
        else:
            self.listener = socket.socket()
            self.listener.bind(("127.0.0.1", 0))
        self.listener.listen(16)
        self.url = f"unix:{path}" if path else f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self.listener.accept()
                self.sockets.append(sock)
                threading.Thread(target=self.serve, args=(sock,), daemon=True).start()

    def serve(self, sock):
        try:
            self.converse(sock)
        except (OSError, ValueError):
            pass  # a client that speaks TLS, or has gone
        finally:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def converse(self, sock):
        with sock:
            if sock.family == socket.AF_INET:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            reader = sock.makefile("rb")
            while True:
                line = reader.readline().split()
                if not line:
                    return
                headers = {}
                while (field := reader.readline().strip()):
                    name, value = field.decode().split(":", 1)
                    headers[name.lower()] = value.strip()
                if headers.get("expect"):
                    sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
                body = reader.read(int(headers.get("content-length", 0)))
                request = types.SimpleNamespace(method=line[0].decode(), target=line[1].decode(), headers=headers,
                                                body=body)
                self.requests.append(request)
                said = self.said(request, sock) if callable(self.said) else self.said
                if said is None:
                    return
                sock.sendall(said)

    def close(self):
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for sock in self.sockets:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def double(home):
    """double(said, ...) starts one and returns it with a client of it as .alknet."""
    with contextlib.ExitStack() as stack:
        def start(said, token=None, path=None):
            one = Double(said, path)
            stack.callback(one.close)
            one.alknet = Client(home, one.url, token)
            return one
        yield start


def refused_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


# ---- against alknetd: operations ------------------------------------------------------------------------------------

def test_ls_lists_names_types_and_descriptions(alknet):
    lines = alknet.output("ls").splitlines()
    rows = {line.split()[0]: line.split(None, 2)[1:] for line in lines}
    assert rows["/demo/echo"][0] == "query" and rows["/demo/clock"][0] == "subscription"
    assert len(rows["/demo/echo"]) == 2, "a description follows the type"
    assert "/demo/internal" not in rows
    assert [line.split()[0] for line in lines] == sorted(rows)
    assert len({line.index(rows[line.split()[0]][0]) for line in lines if len(line.split()[0]) < 12}) == 1, "aligned"


def test_ls_raw_prints_bare_names(alknet):
    names = alknet.output("ls", "-o", "raw").splitlines()
    assert "/demo/echo" in names and all(re.fullmatch(r"/[A-Za-z0-9_.~/-]+", name) for name in names)


def test_ls_json_is_one_line_with_every_operation(alknet):
    out = alknet.output("ls", "-o", "json")
    assert out.count("\n") == 1
    names = ["/" + op["name"].lstrip("/") for op in json.loads(out)["operations"]]
    assert names == alknet.output("ls", "-o", "raw").splitlines()


@pytest.mark.parametrize("args, want", [
    (["ECHO"], {"/demo/echo"}),
    (["--type", "subscription", "--namespace", "demo"], {"/demo/clock"}),
    (["-T", "query", "-N", "services", "schema"], {"/services/schema"}),
    (["no such thing"], set()),
])
def test_ls_filters(alknet, args, want):
    names = set(alknet.output("ls", "-o", "raw", *args).splitlines())
    assert want <= names and len(names) <= len(want) + 1


def test_describe_prints_the_whole_specification(alknet):
    spec = json.loads(alknet.output("describe", "demo/add"))
    assert spec["name"].lstrip("/") == "demo/add" and spec["op_type"] == "query"
    assert {"input_schema", "output_schema", "error_schemas", "access_control", "visibility"} <= set(spec)
    assert json.loads(alknet.output("describe", "/demo/add")) == spec


def templates(double, schema):
    """What describe --template prints of an input schema."""
    server = double(ok(json.dumps({"name": "a/b", "input_schema": schema})))
    return server.alknet.output("describe", "a/b", "--template", "-o", "json")


def test_a_template_is_an_input_to_edit(alknet, double):
    assert json.loads(alknet.output("describe", "demo/add", "--template")) == {"a": 0, "b": 0}
    schema = {"type": "object", "required": ["s", "n", "b", "e", "x", "l", "m", "o", "r", "c", "u", "t", "\u001b"], "properties": {
        "s": {"type": "string"}, "n": {"type": "number"}, "b": {"type": "boolean"}, "e": {"enum": ["one", "two"]},
        "x": {"type": "string", "examples": ["ex"]}, "l": {"type": "array", "items": {"type": "integer"}},
        "m": {"type": "array", "items": {"type": "string"}, "minItems": 1}, "c": {"const": 7}, "t": {"type": ["null", "string"]},
        "o": {"allOf": [{"required": ["p"], "properties": {"p": {"type": "string"}}}, {"$ref": "#/$defs/q"}]},
        "r": {"$ref": "#/$defs/q"}, "optional": {"type": "string"}, "d": {"default": 1.50}, "u": {"oneOf": [{"type": "string"}]}},
        "$defs": {"q": {"type": "object", "required": ["z"], "properties": {"z": {"type": "null"}}}}}
    assert json.loads(templates(double, schema)) == {
        "s": "", "n": 0, "b": False, "e": "one", "x": "ex", "l": [], "m": [""], "o": {"p": "", "z": None}, "r": {"z": None}, "d": 1.5,
        "c": 7, "u": "", "t": "", "\x1b": None}
    assert templates(double, True) == "null\n" and templates(double, {"$ref": "http://x/"}) == "null\n"


def test_a_template_of_a_schema_that_loops_and_branches_has_an_end(double):
    names = [f"n{i}" for i in range(30)]
    schema = {"type": "object", "required": names, "properties": {name: {"$ref": "#"} for name in names}}
    assert len(templates(double, schema)) < 200000
    assert templates(double, {"$ref": "#"}) == "null\n"
    assert templates(double, {"allOf": [{"$ref": "#"}] * 30}) == "{}\n"
    schema["$defs"] = {"much": {"default": "x" * 300000}}
    schema["properties"] = {name: {"$ref": "#/$defs/much"} for name in names}
    assert len(templates(double, schema)) < 2000000


def test_a_template_of_a_schema_that_takes_long_is_made_in_seconds(double):
    """Each reference goes past 400,000 names, fifteen times."""
    chain = {f"k{i}": {"$ref": f"#/$defs/k{i + 1}"} for i in range(14)}
    many = {f"n{i}": {"$ref": "#/$defs/k0"} for i in range(1900)}
    schema = {"type": "object", "required": [*many], "properties": many,
              "$defs": {**{f"{i:06}": 1 for i in range(400000)}, **chain, "k14": {"type": "string"}}}
    start = time.monotonic()
    made = json.loads(templates(double, schema))
    assert time.monotonic() - start < 9 and made["n0"] == "" and set(made.values()) <= {"", None}


def test_the_nearest_name_is_looked_for_in_seconds(double):
    pages = iter([error(404, "NOT_FOUND", "x"), *[ok('{"operations":[{"name":"x/z"}],"next_cursor":"c"}')] * 1000])

    def said(*_):
        time.sleep(1)
        return next(pages)
    server = double(said)
    start = time.monotonic()
    assert "did you mean 'x/z'?" in server.alknet("call", "x/y").err and time.monotonic() - start < 10


def test_an_operation_that_is_not_there_is_answered_with_the_nearest(alknet, double):
    for word, meant in (("demo/ad", "demo/add"), ("add", "demo/add"), ("/demo/ehco", "demo/echo")):
        for command in ("call", "describe"):
            done = alknet(command, word)
            assert done.status == REMOTE and done.err.endswith(f"\nalknet: did you mean '{meant}'?\n"), done.err
    done = alknet("call", "nothing/like/it")
    assert done.status == REMOTE and "did you mean" not in done.err
    assert "perhaps 'alknet subscribe demo/clock' is meant" in alknet("call", "demo/clock").err
    assert "perhaps 'alknet call demo/add' is meant" in alknet("subscribe", "demo/add").err
    pages = iter([error(404, "NOT_FOUND", "x"), *[ok('{"operations":[{"name":"x\\u001b/y"}],"next_cursor":"c"}')] * 1000])
    server = double(lambda *_: next(pages))
    done = server.alknet("call", "x/y")
    assert "did you mean 'x\\u001b/y'?" in done.err and 1 < len(server.requests) <= 65


def test_ls_fits_the_terminal(double):
    ops = [{"name": "a/b", "op_type": "query", "description": "d" * 200},
           {"name": "a/c", "op_type": "query", "description": "\u4f60" * 100},
           {"name": "a/" + "e" * 60, "op_type": "query", "description": "long\u001b[31m" + "d" * 20}]
    server = double(ok(json.dumps({"operations": ops})))
    one, two, three = server.alknet.on_terminal("ls", "--local", env={"COLUMNS": "60"})[1].splitlines()
    assert one.endswith("d…") and len(one) == 60
    assert two.endswith("\u4f60…") and 59 <= len(two) + two.count("\u4f60") <= 60
    assert three.startswith("/a/" + "e" * 60) and three.endswith("long\\u0…")
    whole = server.alknet.output("ls", "--local", env={"COLUMNS": "60"})
    assert "d" * 200 in whole and "\u4f60" * 100 in whole and "…" not in whole
    assert "d" * 200 in server.alknet.on_terminal("ls", "--local", env={"COLUMNS": "1000"})[1]
    assert "d" * 200 in server.alknet.on_terminal("ls", "--local", "-o", "json", env={"COLUMNS": "60"})[1]


def test_describe_of_the_unknown_is_a_remote_error(alknet):
    done = alknet("describe", "demo/nothing")
    assert done.status == REMOTE and done.err.startswith("NOT_FOUND: operation not found: demo/nothing")


@pytest.mark.parametrize("operands, sent", [
    ([], {}),
    (['{"a": [1, 2]}'], {"a": [1, 2]}),
    (['  [1]'], [1]),
    (['"text"'], "text"),
    (["5"], 5),
    (["null"], None),
    (["--", "-5"], -5),
    (["a=1", "b=1.50", "c=true", "d=null"], {"a": 1, "b": 1.5, "c": True, "d": None}),
    (["a=text", "b=two words", "c="], {"a": "text", "b": "two words", "c": ""}),
    (['a={"x":[1]}', "b=[]"], {"a": {"x": [1]}, "b": []}),
    (['a="5"', "b=05", "c=+5", "d=True", "e=nan"], {"a": "5", "b": "05", "c": "+5", "d": "True", "e": "nan"}),
    (["a:=5", 'b:={"c":null}'], {"a": 5, "b": {"c": None}}),
    (["a=b=c", "d==e", "f=:=g"], {"a": "b=c", "d": "=e", "f": ":=g"}),
    (["x y=2", "ä=ö"], {"x y": 2, "ä": "ö"}),
    (["a.b=1", "a.c.d=text", "e=2", "a.c.f:=[1.50]"], {"a": {"b": 1, "c": {"d": "text", "f": [1.5]}}, "e": 2}),
    ([r"a\.b=1", r"a.b\.c=2", r"d\\.e=3", r"f\g=4"], {"a.b": 1, "a": {"b.c": 2}, "d\\": {"e": 3}, "f\\g": 4}),
    (["@type=x", "b.0=1"], {"@type": "x", "b": {"0": 1}}),
    (['a="@x"', "b=a@b"], {"a": "@x", "b": "a@b"}),
    (["a=[1", 'b="'], {"a": "[1", "b": '"'}),
])
def test_operands_make_the_input(alknet, operands, sent):
    assert json.loads(alknet.output("call", "demo/echo", *operands)) == sent


def test_a_dash_reads_the_input_from_standard_input(alknet):
    assert json.loads(alknet.output("call", "demo/echo", "-", stdin=b' {"a":\n[1]} ')) == {"a": [1]}


def test_an_at_sign_reads_the_input_or_a_value_from_a_file(alknet, tmp_path):
    text, value = tmp_path / "text", tmp_path / "value.json"
    text.write_text('two "lines"\nä\n')
    value.write_text('{"n": 1.50}\n')
    assert "1.50" in alknet.output("call", "demo/echo", f"@{value}", "-o", "json")
    assert json.loads(alknet.output("call", "demo/echo", f"a.b=@{text}", f"c:=@{value}")) == {
        "a": {"b": text.read_text()}, "c": {"n": 1.5}}
    assert json.loads(alknet.output("call", "demo/echo", "a=@-", stdin=b"5")) == {"a": "5"}
    text.write_bytes(b"\xff")
    for operand, why in ((f"@{text}", f"{text} is not JSON"), (f"a=@{text}", f"the text of {text} is not UTF-8"),
                         (f"a:=@{text}", f"{text} is not JSON"), ("a=@/no/such", "cannot read /no/such: No such file")):
        done = alknet("call", "demo/echo", operand)
        assert done.status == USAGE and why in done.err, operand


def test_standard_input_is_left_alone_without_a_dash(alknet):
    process = alknet.start("call", "demo/echo", stdin=subprocess.PIPE)
    assert process.communicate(timeout=30)[0] == b"{}\n"


@pytest.mark.parametrize("number", ["18446744073709551615", "-9223372036854775808", "123456789012345678901234567890",
                                    "1.10", "1e400", "0.1000000000000000055511151231257827", "-0", "1E+2"])
@pytest.mark.parametrize("form", ["pretty", "json", "raw"])
def test_numbers_survive_exactly(alknet, number, form):
    assert alknet.output("call", "demo/echo", "-o", form, "--", number) == number + "\n"
    assert f'"n":{number}' in alknet.output("call", "demo/echo", "-o", form, f"n={number}").replace(" ", "")


def test_a_slash_before_the_name_makes_no_difference(alknet):
    assert alknet.output("call", "/demo/echo", "1") == alknet.output("call", "demo/echo", "1")


def test_pretty_is_indented_json_is_one_line_raw_has_no_quotes(alknet):
    value = '{"a":[1,{}],"b":"x\\ny"}'
    assert alknet.output("call", "demo/echo", value) == alknet.output("call", "demo/echo", "-o", "pretty", value)
    assert alknet.output("call", "demo/echo", value) == json.dumps(json.loads(value), indent=2) + "\n"
    assert alknet.output("call", "demo/echo", "-o", "json", value) == value + "\n"
    assert alknet.output("call", "demo/echo", "-o", "raw", value) == value + "\n"
    assert alknet.output("call", "demo/echo", "-o", "raw", '"x\\ny"') == "x\ny\n"
    assert alknet.output("call", "demo/echo", "-o", "json", '"x\\ny"') == '"x\\ny"\n'


def test_a_remote_error_is_code_and_message_and_details_and_status_1(alknet):
    done = alknet("call", "demo/add", "a=wrong")
    assert done.status == REMOTE and done.out == ""
    first, _, details = done.err.partition("\n")
    assert re.fullmatch(r"INVALID_INPUT: .+", first)
    assert json.loads(details)["errors"][0]["keyword"]
    done = alknet("call", "demo/nothing")
    assert (done.status, done.out) == (REMOTE, "")
    assert done.err == "NOT_FOUND: operation not found: demo/nothing\n"


def test_a_declared_error_is_a_remote_error(alknet):
    done = alknet("call", "demo/fail")
    assert done.status == REMOTE and re.match(r"[A-Z_]+: .", done.err)


def test_a_subscription_is_not_called_and_a_query_not_subscribed_to(alknet):
    for args in (["call", "demo/clock"], ["subscribe", "demo/echo"]):
        done = alknet(*args)
        assert done.status == REMOTE and done.err.startswith("INVALID_OPERATION_TYPE: ")


def test_timeout_is_the_deadline_of_the_call(alknet):
    start = time.monotonic()
    done = alknet("call", "demo/sleep", "ms=20000", "--timeout", "0.3")
    assert done.status == REMOTE and done.err.startswith("TIMEOUT: ")
    assert time.monotonic() - start < 10


def test_a_subscription_prints_a_line_per_value_at_once(alknet):
    process = alknet.start("subscribe", "demo/clock", "interval_ms=50")
    try:
        for _ in range(3):
            assert isinstance(json.loads(process.stdout.readline()), (dict, int, str))
        assert process.poll() is None
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == -signal.SIGINT, "a shell calls this 130"
        assert process.stderr.read() == b"" and process.stdout.read().endswith((b"\n", b""))


def test_ctrl_c_aborts_the_call_at_the_remote(alknet):
    def cancelled():
        return json.loads(alknet.output("call", "demo/sleep", "ms=0"))["cancelled"]
    before = cancelled()
    process = alknet.start("call", "demo/sleep", "ms=30000", "-v")
    assert process.stderr.readline().startswith(b"> POST ")
    time.sleep(0.5)  # the request is on its way; when it has come, nobody tells us
    process.send_signal(signal.SIGINT)
    assert process.wait(10) == -signal.SIGINT
    for _ in range(100):
        if cancelled() > before:
            return
        time.sleep(0.05)
    pytest.fail("the call still runs")


def test_batch_prints_every_result_in_order(alknet, tmp_path):
    calls = [{"operation": "/demo/echo", "input": n} for n in range(3)]
    for text in (calls, {"calls": calls}):
        file = tmp_path / "calls.json"
        file.write_text(json.dumps(text))
        lines = alknet.output("batch", str(file), "-o", "json").splitlines()
        assert [json.loads(line)["output"] for line in lines] == [0, 1, 2]
        assert [r["output"] for r in json.loads(alknet.output("batch", str(file)))] == [0, 1, 2]
        assert alknet.output("batch", "-", "-o", "raw", stdin=file.read_bytes()) == "0\n1\n2\n"


def test_batch_with_a_failed_call_is_status_1_and_shows_the_others(alknet):
    calls = json.dumps([{"operation": "demo/echo", "input": 1}, {"operation": "demo/none", "input": 1}]).encode()
    done = alknet("batch", "-", "-o", "raw", stdin=calls)
    assert (done.status, done.out) == (REMOTE, "1\n")
    assert done.err == "2: NOT_FOUND: operation not found: demo/none\nalknet: 1 of 2 calls failed\n"
    done = alknet("batch", "-", stdin=calls)
    assert done.status == REMOTE and [r["result"] for r in done.json()] == ["ok", "error"]


def test_an_empty_batch_is_ok(alknet):
    assert alknet.output("batch", "-", stdin=b"[]") == "[]\n"


def test_ping_prints_round_trips(alknet):
    assert re.fullmatch(r"ok, \d+\.\d{3} ms\n", alknet.output("ping"))
    lines = alknet.output("ping", "-n", "3", "-i", "0.01").splitlines()
    assert len(lines) == 4 and re.fullmatch(r"3 of 3 answered, min/avg/max [\d./]+ ms", lines[3])
    least, mean, most = (float(x) for x in re.search(r"([\d.]+)/([\d.]+)/([\d.]+) ms", lines[3]).groups())
    assert 0 < least <= mean <= most
    assert float(alknet.output("ping", "-o", "raw")) > 0
    assert json.loads(alknet.output("ping", "-o", "json"))["status"] == "ok"


def test_ping_waits_between_pings(alknet):
    start = time.monotonic()
    alknet.output("ping", "--count", "2")
    assert time.monotonic() - start >= 1


# ---- against alknetd: URL and token ---------------------------------------------------------------------------------

@pytest.mark.parametrize("scheme", ["http", "ws"])
def test_bench_measures_calls(alknet, daemon, scheme):
    url = daemon.url.replace("http", scheme)
    done = alknet("bench", "demo/add", "a=1", "b=2", "-n", "200", "-j", "4", "-u", url)
    lines = done.out.splitlines()
    assert done.status == OK and re.fullmatch(r"200 calls in \d+\.\d\d s, \d+\.\d a second, 4 at a time", lines[0])
    assert re.fullmatch(r"min [\d.]+  p50 [\d.]+  p90 [\d.]+  p99 [\d.]+  max [\d.]+ ms", lines[1])
    rows = [re.fullmatch(r" *([\d.]+) ms (#*) (\d+)", line) for line in lines[2:]]
    assert 1 <= len(rows) <= 16 and sum(int(row[3]) for row in rows) == 200 and max(len(row[2]) for row in rows) == 60
    assert all(row[2] for row in rows if int(row[3])) and all(len(line) <= 100 for line in lines)
    said = alknet("bench", "demo/add", "a=1", "b=2", "-D", "0.3", "-u", url, "-o", "json").json()
    times = [said["latency_ms"][name] for name in ("min", "p50", "p90", "p99", "max")]
    assert times == sorted(times) and said["calls"] > 0 and said["concurrency"] == 8 and 0.3 <= said["seconds"] < 10 and not said["errors"]


def test_bench_counts_errors_by_code(alknet, double):
    done = alknet("bench", "demo/add", "a=x", "-n", "50", "-o", "json")
    assert done.status == REMOTE and done.json()["errors"] == {"INVALID_INPUT": 50} and done.json()["latency_ms"] is None
    said = iter(range(10 ** 6))

    def mixed(request, _):
        if request.target == "/healthz":
            return answer(200, b"ok", "text/plain")
        n = next(said)
        return ok("1") if n % 3 == 0 else error(500, "A\x1b" if n % 3 == 1 else f"CODE_{n}", "x")
    done = double(mixed).alknet("bench", "a/b", "-n", "150", "-j", "2")
    assert done.status == REMOTE and "50 calls in" in done.out and "50 ended with A\\u001b\n" in done.out
    assert "20 ended with others\n" in done.out and done.out.count(" ended with ") == 32


def test_bench_cuts_a_long_code_between_two_characters(double):
    code = "\u00e9" * 60

    def said(request, _):
        return answer(200, b"ok", "text/plain") if request.target == "/healthz" else error(500, code, "x")
    assert double(said).alknet("bench", "a/b", "-n", "40", "-j", "2", "-o", "json").json()["errors"] == {code[:31]: 40}


def test_bench_goes_on_without_an_answer(double):
    said = iter([answer(200, b"ok", "text/plain"), b"nonsense\r\n\r\n", ok("1")])
    done = double(lambda *_: next(said)).alknet("bench", "a/b", "-n", "2", "-j", "1", "-o", "json")
    assert done.status == REMOTE and done.json()["errors"] == {"no answer": 1} and done.json()["calls"] == 1


def test_bench_needs_a_connection_and_has_limits(alone, double):
    done = alone("bench", "a/b", "-u", f"http://127.0.0.1:{refused_port()}")
    assert (done.status, done.out) == (CONNECTION, "") and "Connection refused" in done.err
    for args, why in ((["-j", "129"], "at most 128 connections"), (["-D", "0"], "more than 0, not '0'"), (["-c"], "does not take the option 'curl'")):
        done = alone("bench", "a/b", *args)
        assert done.status == USAGE and why in done.err


def secret_file(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o600)
    return str(path)


def test_without_a_token_the_error_says_how_to_give_one(home, daemon):
    done = Client(home, daemon.url)("call", "demo/whoami")
    assert done.status == REMOTE
    assert done.err.splitlines() == ["FORBIDDEN: authentication required",
                                     "alknet: no token was sent: see --token-file and ALKNET_TOKEN"]


def test_a_wrong_token_is_a_remote_error_without_that_hint(home, daemon):
    done = Client(home, daemon.url, TOKEN)("call", "demo/echo")
    assert done.status == REMOTE and "no token was sent" not in done.err


def test_the_token_comes_from_environment_option_or_settings_file(home, daemon, tmp_path):
    args = ["call", "demo/whoami", "-o", "json"]
    want = Client(home, daemon.url, daemon.token).output(*args)
    file = secret_file(tmp_path / "token", daemon.token + "\n")
    assert Client(home, daemon.url).output(*args, "--token-file", file) == want
    assert Client(home, daemon.url, TOKEN).output(*args, "-F", file) == want, "the option is stronger"
    saved = secret_file(home / ".config/alknet/config", f"# mine\n\n url = {daemon.url}\ntoken={daemon.token}\n")
    assert Client(home).output(*args) == want
    assert Client(home, daemon.url).output(*args) == want, "the same URL"
    secret_file(home / ".config/alknet/config", f"\ufeffurl = {daemon.url}\r\ntoken = {daemon.token}\r\n")
    assert Client(home).output(*args) == want
    secret_file(tmp_path / "token", f"\ufeff{daemon.token}\r\n")
    assert Client(home, daemon.url).output(*args, "--token-file", file) == want
    other = home / "elsewhere/alknet/config"
    other.parent.mkdir(parents=True)
    os.rename(saved, other)
    assert Client(home).output(*args, env={"XDG_CONFIG_HOME": str(home / "elsewhere")}) == want


def test_the_option_is_stronger_than_the_environment_and_that_than_the_file(home, daemon):
    wrong = f"http://127.0.0.1:{refused_port()}"
    assert Client(home, wrong)("ping", "-u", daemon.url).status == OK
    secret_file(home / ".config/alknet/config", f"url = {wrong}\n")
    assert Client(home, daemon.url)("ping").status == OK
    assert Client(home)("ping").status == CONNECTION


def test_a_curl_command_does_the_same_when_it_is_run(alknet, daemon):
    if not shutil.which("curl"):
        pytest.skip("no curl")
    for args in (["call", "demo/echo", "text=it's \"$HOME\" \\ `x` ä", "n=1.10"], ["call", "demo/whoami"],
                 ["batch", "-"]):
        command = alknet.output(*args, "--curl", stdin=b'[{"operation":"demo/echo","input":"it\'s"}]')
        assert daemon.token not in command and "$ALKNET_TOKEN" in command
        done = subprocess.run(["sh", "-c", command], env=alknet.env, capture_output=True, timeout=30, check=True)
        said = json.loads(done.stdout)
        want = alknet("-o", "json", *args, stdin=b'[{"operation":"demo/echo","input":"it\'s"}]').json()
        if args[0] == "batch":
            assert said["results"][0]["output"] == want["output"] == "it's"
        else:
            assert said["output"] == want
    command = alknet.output("ping", "--curl")
    assert subprocess.run(["sh", "-c", command], capture_output=True, timeout=30, check=True).stdout.strip() == b"ok"


# ---- the double: what goes out --------------------------------------------------------------------------------------

def test_a_call_is_one_post_with_the_token_and_the_input_as_it_was_written(double):
    server = double(ok("null"), TOKEN)
    server.alknet.output("call", "a/b", '{"n": 1.10}', "--timeout", "1.5")
    (request,) = server.requests
    assert (request.method, request.target) == ("POST", "/call")
    assert request.body == b'{"operation":"/a/b","input":{"n": 1.10}}'
    assert request.headers["content-type"] == "application/json"
    assert request.headers["authorization"] == f"Bearer {TOKEN}"
    assert request.headers["x-timeout-ms"] == "1500"


def test_without_a_timeout_the_deadline_is_the_remotes(double):
    server = double(ok("null"))
    server.alknet.output("call", "a/b")
    server.alknet.output("call", "a/b", "--timeout", "0")
    assert all("x-timeout-ms" not in request.headers for request in server.requests)


def test_ping_sends_no_token(double):
    server = double(answer(200, b"ok\n", "text/plain"), TOKEN)
    server.alknet.output("ping")
    assert server.requests[0].target == "/healthz" and "authorization" not in server.requests[0].headers


def test_a_url_may_have_a_path(double):
    server = double(ok("null"))
    for url in (server.url + "/base/path", server.url + "/base/path/"):
        server.alknet.output("call", "a/b", "-u", url)
        assert server.requests[-1].target == "/base/path/call"


def test_a_unix_socket_is_a_url(double, tmp_path):
    path = str(tmp_path / "it's a socket")
    server = double(ok('"here"'), path=path)
    assert server.alknet.output("call", "a/b") == '"here"\n'
    assert server.requests[0].headers["host"] == "localhost"
    command = server.alknet.output("call", "a/b", "--curl")
    assert shlex.split(command)[shlex.split(command).index("--unix-socket") + 1] == path


def test_a_proxy_of_the_environment_is_not_asked_for_a_loopback_address(double):
    proxy = double(ok('"proxy"'))
    server = double(ok('"here"'), TOKEN)
    env = {"http_proxy": proxy.url, "HTTP_PROXY": proxy.url, "ALL_PROXY": proxy.url}
    assert server.alknet.output("call", "a/b", env=env) == '"here"\n'
    assert not proxy.requests


# ---- tokens in clear text -------------------------------------------------------------------------------------------

ELSEWHERE = ["192.0.2.1", "node.example", "127.0.0.1.example", "localhost.example", "notlocalhost", "[2001:db8::1]", "[::ffff:127.0.0.1]",
             "128.0.0.1", "0.0.0.0", "localhost.", "1270.0.0.1"]


@pytest.mark.parametrize("host", ELSEWHERE)
@pytest.mark.parametrize("scheme", ["http", "ws"])
@pytest.mark.parametrize("source", ["ALKNET_TOKEN", "--token-file", "settings file"])
def test_a_token_does_not_go_to_another_machine_in_clear_text(double, home, tmp_path, scheme, host, source):
    proxy = double(ok("1"))
    client = Client(home, f"{scheme}://{host}:9", TOKEN if source == "ALKNET_TOKEN" else None)
    args = ["-F", secret_file(tmp_path / "token", TOKEN)] if source == "--token-file" else []
    if source == "settings file":
        secret_file(home / ".config/alknet/config", f"url = {scheme}://{host}:9\ntoken = {TOKEN}\n")
    for command in (["call", "a/b"], ["ls"], ["call", "a/b", "--curl"]):
        done = client(*command, *args, env={"http_proxy": proxy.url, "all_proxy": proxy.url})
        assert done.status == USAGE and f"{scheme}://{host}:9 in clear text" in done.err and "--clear" in done.err, (command, done.err)
        assert TOKEN not in done.err + done.out
    assert not proxy.requests


@pytest.mark.parametrize("variable", ["http_proxy", "all_proxy", "ALL_PROXY"])
def test_a_proxy_is_never_given_a_token_in_clear_text(double, home, variable):
    proxy = double(ok('"proxy"'))
    env = {variable: proxy.url}
    done = Client(home, "http://192.0.2.1:9", TOKEN)("call", "a/b", "--clear", "-t", "0.2", env=env)
    assert done.status == CONNECTION and not proxy.requests
    assert "--noproxy '*'" in Client(home, "http://192.0.2.1:9", TOKEN).output("call", "a/b", "--clear", "--curl", env=env)
    assert Client(home, "http://192.0.2.1:9").output("call", "a/b", env=env) == '"proxy"\n', "without a token it is asked"
    assert "authorization" not in proxy.requests[0].headers


def test_with_clear_a_token_goes_where_it_is_told(double):
    server = double(ok('"here"'), TOKEN)
    url = server.url.replace("127.0.0.1", "0.0.0.0")  # which leads here, but does not look so
    assert server.alknet("call", "a/b", "-u", url).status == USAGE and not server.requests
    for option in ("--clear", "-C"):
        assert server.alknet.output("call", "a/b", "-u", url, option) == '"here"\n'
        assert server.requests[-1].headers["authorization"] == f"Bearer {TOKEN}"


def test_a_ping_has_no_token_that_could_be_read(double):
    server = double(answer(200, b"ok\n", "text/plain"), TOKEN)
    assert server.alknet("ping", "-u", server.url.replace("127.0.0.1", "0.0.0.0")).status == OK


@pytest.mark.parametrize("host", ["localhost", "LocalHost", "node.localhost", "a.b.localhost"])
def test_names_of_this_machine_are_not_looked_up(double, daemon, host):
    server = double(ok('"here"'), TOKEN)
    port = server.url.rsplit(":", 1)[1]
    assert server.alknet.output("call", "a/b", "-u", f"http://{host}:{port}") == '"here"\n'
    assert server.requests[0].headers["host"].lower() == f"{host}:{port}".lower()
    assert server.requests[0].headers["authorization"] == f"Bearer {TOKEN}"
    client = Client(pathlib.Path(server.alknet.env["HOME"]), f"ws://{host}:{daemon.port}", daemon.token)
    assert client.output("call", "demo/echo", "1") == "1\n"
    command = server.alknet.output("call", "a/b", "-u", f"http://{host}:{port}", "--curl")
    words = shlex.split(command)
    assert words[words.index("--resolve") + 1].lower() == f"{host}:{port}:127.0.0.1,[::1]".lower()


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1", "127.200.3.4", "[::1]", "[0:0:0:0:0:0:0:1]"])
@pytest.mark.parametrize("scheme", ["http", "ws"])
def test_addresses_of_this_machine_may_have_the_token(home, scheme, host):
    done = Client(home, f"{scheme}://{host}:1", TOKEN)("call", "a/b", "-t", "2")
    assert done.status == CONNECTION, done.err


def test_the_token_is_not_left_in_the_environment(double):
    server = double(lambda _, sock: sock.sendall(STREAM + chunk(b"data: 1\n\n")) or time.sleep(2), TOKEN)
    process = server.alknet.start("subscribe", "a/b")
    assert process.stdout.readline() == b"1\n"
    assert TOKEN.encode() not in pathlib.Path(f"/proc/{process.pid}/environ").read_bytes()
    process.kill()
    process.communicate()


def test_pages_of_a_list_are_put_together(double):
    pages = {None: (["b/one", "/b/two"], "x"), "x": (["b/three"], "y\"z"), "y\"z": ([], None)}

    def said(request, _):
        names, cursor = pages[json.loads(request.body)["input"].get("cursor")]
        ops = [{"name": name, "namespace": "b", "op_type": "query", "exact": 0} for name in names]
        return ok(json.dumps({"operations": ops, **({"next_cursor": cursor} if cursor else {})}).replace(" 0", " 1.10"))
    server = double(said)
    assert server.alknet.output("ls", "--local", "-o", "raw") == "/b/one\n/b/two\n/b/three\n"
    out = server.alknet.output("ls", "--local", "-o", "json", "q", "-N", "b")
    assert len(json.loads(out)["operations"]) == 3 and out.count('"exact":1.10') == 3
    assert json.loads(server.requests[-1].body)["input"] == {"q": "q", "namespace": "b", "cursor": "y\"z"}


def test_a_list_without_end_is_given_up(double):
    server = double(ok('{"operations":[],"next_cursor":"again"}'))
    done = server.alknet("ls")
    assert done.status == CONNECTION and "more than 1000 pages" in done.err and len(server.requests) == 1000


def test_verbose_tells_what_is_sent_where_and_never_the_token(double):
    server = double(answer(200, b'{"result":"ok","output":1}', "application/json", "X-Request-Id: id-7"), TOKEN)
    done = server.alknet("call", "a/b", "-v")
    assert re.fullmatch(rf"> POST {server.url}/call, with a token\n< 200 application/json, [\d.]+ ms, request id-7\n",
                        done.err)
    assert TOKEN not in done.err + done.out


# ---- the double: subscriptions --------------------------------------------------------------------------------------

def events(double, said, *args):
    return double(said).alknet("subscribe", "a/b", *args)


def test_events_are_read_in_pieces_of_any_size(double):
    text = b": hi\r\n\r\ndata: 1\r\n\r\n:\r\nid: 4\r\nretry: 5\r\ndata: [2,\r\ndata: 3]\r\n\r\n" \
           b"data:\"\xc3\xa4\"\n\nevent: x\ndata: 5\n\n"

    def slowly(_, sock):
        sock.sendall(STREAM)
        for byte in text:
            sock.sendall(chunk(bytes([byte])))
        return END
    for said in (stream(text), slowly):
        done = events(double, said)
        assert (done.status, done.out, done.err) == (OK, '1\n[2,3]\n"ä"\n', "")


def test_a_completed_subscription_without_values_is_ok(double):
    for said in (stream(), stream(b": nothing\n\n"),
                 b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nContent-Length: 0\r\n\r\n"):
        done = events(double, said)
        assert (done.status, done.out, done.err) == (OK, "", "")


def test_a_value_is_printed_before_the_next_one_comes(double):
    more = threading.Event()

    def said(_, sock):
        sock.sendall(STREAM + chunk(b"data: 1\n\n"))
        return chunk(b"data: 2\n\n") + END if more.wait(30) else None
    process = double(said).alknet.start("subscribe", "a/b")
    assert process.stdout.readline() == b"1\n"
    more.set()
    assert process.communicate(timeout=30) == (b"2\n", b"") and process.returncode == OK


def test_pretty_values_of_a_subscription_are_indented_only_when_asked(double):
    said = stream(b'data: {"a":1}\n\n')
    assert events(double, said).out == '{"a":1}\n'
    assert events(double, said, "-o", "pretty").out == '{\n  "a": 1\n}\n'
    assert events(double, stream(b'data: "x"\n\n'), "-o", "raw").out == "x\n"


def test_an_error_event_is_a_remote_error_after_the_values(double):
    fault = b'event: error\ndata: {"code":"GONE","message":"no more","retryable":false,"details":{"at":1.10}}\n\n'
    done = events(double, stream(b"data: 1\n\n", fault, b"data: 2\n\n"))
    assert (done.status, done.out) == (REMOTE, "1\n")
    assert done.err == 'GONE: no more\n{\n  "at": 1.10\n}\n'


def test_a_refused_subscription_is_a_remote_error(double):
    done = events(double, error(404, "NOT_FOUND", "operation not found: a/b"))
    assert (done.status, done.out, done.err) == (REMOTE, "", "NOT_FOUND: operation not found: a/b\n")


@pytest.mark.parametrize("said", [
    STREAM + chunk(b"data: 1\n\n"),  # cut between two chunks
    STREAM + b"20\r\ndata: 1\n\n",  # cut in a chunk
    STREAM + chunk(b"data: 1\n\n") + chunk(b"data: 2") + END,  # ends in an event
    STREAM + chunk(b"data: 1\n\n") + chunk(b"data: 2\n") + END,
    STREAM + chunk(b"data: 1\n\n") + b"zz\r\n",  # no chunk
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n",  # ends with the connection
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: 50\r\n\r\ndata: 1\n\n",
])
def test_an_end_without_completion_is_no_success(double, said):
    def cut(_, sock):
        sock.sendall(said)
    done = events(double, cut)
    assert (done.status, done.out) == (CONNECTION, "1\n")
    assert done.err.startswith("alknet: the subscription ended early, without completion")


@pytest.mark.parametrize("first, told", [
    (STREAM + chunk(b"data: 1\n\n"), "the subscription ended early, without completion"),
    (STREAM + chunk(b"data: 1\n\n") + chunk(b"data: 2") + END, "the subscription ended early, without completion"),
    (stream(b'data: 1\n\nevent: error\ndata: {"code":"BUSY","message":"shutting down","retryable":true}\n\n'), "is busy: shutting down"),
    (error(503, "BUSY", "shutting down", retryable=True), "is busy: shutting down"),
    (answer(502, b"<html>", "text/html"), "answered 502 with text/html"),
])
def test_reconnecting_makes_up_for_losses_and_restarts(double, first, told):
    rounds = []

    def said(_, sock):
        rounds.append(1)
        if len(rounds) == 1:
            sock.sendall(first)
            return None
        return stream(b"data: 2\n\n")
    done = events(double, said, "--reconnect")
    assert (done.status, done.out) == (OK, "1\n2\n" if b"data: 1" in first else "2\n")
    assert told in done.err and "; trying again in 0." in done.err and done.err.count("\n") == 1
    rounds.clear()
    assert events(double, said, "-rq").err == ""


def test_reconnecting_to_what_is_busy_at_once_is_asked_less_and_less(double):
    rounds = []

    def said(*_):
        rounds.append(1)
        return stream(b"data: 1\n\n") if len(rounds) == 4 else stream(b'event: error\ndata: {"code":"BUSY"}\n\n')
    done = events(double, said, "--reconnect")
    pauses = [float(pause) for pause in re.findall(r"is busy: it does not say why; trying again in ([\d.]+) s", done.err)]
    assert done.status == OK and len(pauses) == 3 and pauses[0] < 0.6 and 0.9 < pauses[2] < 2.1


@pytest.mark.parametrize("said, status", [
    (error(404, "NOT_FOUND", "operation not found: a/b"), REMOTE), (error(401, "FORBIDDEN", "authentication required"), REMOTE),
    (answer(404, b"<html>", "text/html"), CONNECTION), (stream(b"data: {\n\n"), CONNECTION),
    (stream(b'event: error\ndata: {"code":"X","message":"","retryable":true}\n\n'), REMOTE),
])
def test_reconnecting_does_not_make_up_for_the_rest(double, said, status):
    done = events(double, said, "--reconnect")
    assert done.status == status and "trying again" not in done.err


def test_a_subscription_cut_before_its_first_value_ended_early_too(double):
    def cut(_, sock):
        sock.sendall(STREAM)
    done = events(double, cut)
    assert done.status == CONNECTION and "ended early, without completion" in done.err


@pytest.mark.parametrize("said, why", [
    (stream(b"data: 1\n\ndata: {\n\n"), "a value of the subscription is not JSON"),
    (stream(b"data: 1\n\ndata: {\"a\":1,\"a\":2}\n\n"), 'duplicate member "a"'),
    (stream(b"data: 1\n\nevent: error\ndata: 5\n\n"), "an error event that says nothing"),
    (stream(b"data: 1\n\nevent: error\ndata: x\n\n"), "an error event that says nothing"),
    (stream(b"data: 1\n\ndata: \"" + b"x" * (17 << 20)), "larger than 16777216 bytes"),
])
def test_values_that_make_no_sense_end_the_subscription(double, said, why):
    done = events(double, said)
    assert (done.status, done.out) == (CONNECTION, "1\n") and why in done.err


@pytest.mark.parametrize("said", [ok("1"), answer(200, b"data: 1\n\n", "text/plain"), answer(200, b"", "text/html")])
def test_a_200_that_is_no_event_stream_is_no_subscription(double, said):
    done = events(double, said)
    assert done.status == CONNECTION and "no answer of an alknet gateway" in done.err


def test_a_silent_subscription_outlives_the_answer_timeout_only_without_timeout(double):
    def silent(_, sock):
        sock.sendall(STREAM + chunk(b"data: 1\n\n"))
        time.sleep(20)
    start = time.monotonic()
    done = events(double, silent, "--timeout", "0.2")
    assert (done.status, done.out) == (CONNECTION, "1\n") and time.monotonic() - start < 10


# ---- the double: answers that are none ------------------------------------------------------------------------------

@pytest.mark.parametrize("said, why", [
    (answer(404, b"<html>", "text/html"), "answered 404 with text/html, which is no answer of an alknet gateway"),
    (answer(200, b"<html>", "text/html"), "answered 200 with text/html"),
    (answer(200, b"", "application/json"), "is not JSON"),
    (answer(200, b"{", "application/json"), "is not JSON"),
    (answer(200, b"[" * 100000, "application/json"), "is not JSON"),
    (answer(200, b"[" * 100000 + b"]" * 100000, "application/json"), "nested too deep"),
    (answer(200, b"[]", "application/json"), 'has no "output"'),
    (answer(200, b'{"output":1,"output":2}', "application/json"), "duplicate member"),
    (answer(200, b'"\xff"', "application/json"), "is not JSON"),
    (answer(500, {"oops": 1}), "answered 500 with application/json"),
    (answer(500, {"code": 5, "message": "x"}), "answered 500"),
    (b"HTTP/1.1 204 No Content\r\n\r\n", "answered 204 with nothing"),
    (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", "no whole answer"),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\nContent-Type: application/json\r\n\r\n{", "no whole answer"),
    (b"HTTP/1.1 200 OK\r\n" + b"X-A: " + b"a" * 60000 + b"\r\nX-B: " + b"b" * 60000 + b"\r\n\r\n",
     "headers of the answer of"),
    (b"", "no whole answer"),
])
def test_what_is_no_answer_of_a_gateway_is_status_3(double, said, why):
    def then_close(_, sock):
        sock.sendall(said)
    server = double(then_close)
    done = server.alknet("call", "a/b")
    assert (done.status, done.out) == (CONNECTION, "") and why in done.err and server.url in done.err
    assert all(line.startswith("alknet: perhaps") for line in done.err.splitlines()[1:])


def test_endless_headers_are_cut_off(double):
    def said(_, sock):
        sock.sendall(b"HTTP/1.1 200 OK\r\n")
        for _ in range(100000):
            sock.sendall(b"X-More: and more\r\n" * 100)
    done = double(said).alknet("call", "a/b")
    assert done.status == CONNECTION and "larger than 65536 bytes" in done.err


@pytest.mark.parametrize("framing", [b"Content-Length: 100000000000\r\n", b"Transfer-Encoding: chunked\r\n", b""])
def test_an_answer_over_the_limit_is_cut_off(double, framing):
    sent = []

    def said(_, sock):
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n" + framing + b"\r\n")
        block = b" " * (1 << 20)
        for _ in range(1000):
            sock.sendall(chunk(block) if b"chunked" in framing else block)
            sent.append(1)
    done = double(said).alknet("call", "a/b")
    assert done.status == CONNECTION and "larger than 67108864 bytes" in done.err
    assert 60 < len(sent) < 200


def test_an_answer_of_too_many_values_is_refused(double):
    done = double(ok("[" + "0," * 10_000_000 + "0]")).alknet("call", "a/b")
    assert (done.status, done.out) == (CONNECTION, "") and "too many values" in done.err


def test_a_deep_answer_is_printed_without_growing_in_memory(double):
    server = double(ok("[" * 1000 + "0," * 500_000 + "0" + "]" * 1000))
    with open("/dev/null", "wb") as null:
        process = server.alknet.start("call", "a/b", stdout=null, stderr=null)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == OK and usage.ru_maxrss < 400_000, "in KiB; all of it in memory would be 1 GB"
    deep = "[" * 1000 + "1" + "]" * 1000
    assert re.sub(r"\s", "", double(ok(deep)).alknet.output("call", "a/b")) == deep


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(double, status):
    target = double(ok("1"))
    server = double(answer(status, b"", "text/html", f"Location: {target.url}/call"), TOKEN)
    done = server.alknet("call", "a/b")
    assert done.status == CONNECTION and f"{status}, a redirect to '{target.url}/call'" in done.err
    assert not target.requests


def test_a_remote_that_cannot_be_reached_is_status_3(alone, tmp_path):
    urls = [f"http://127.0.0.1:{refused_port()}", f"unix:{tmp_path}/none", "http://[::1]:1", "https://127.0.0.1:1"]
    for url in urls:
        for command in REMOTE_COMMANDS:
            done = alone(*command, "-u", url)
            assert (done.status, done.out) == (CONNECTION, ""), (url, command)
            assert done.err.startswith(f"alknet: cannot reach {url}: ")


def test_what_cannot_be_reached_is_named_with_its_reason(alone, tmp_path):
    port = refused_port()
    (tmp_path / "file").touch()
    for url, why, hint in ((f"unix:{tmp_path}/none", f"the socket {tmp_path}/none: No such file", "is that its path?"),
                           (f"ws+unix:{tmp_path}/none", "no such file", "is that its path?"),
                           (f"unix:{tmp_path}/file", f"the socket {tmp_path}/file: Connection refused", "nothing listens there"),
                           (f"http://127.0.0.1:{port}", "Connection refused", "nothing listens there"),
                           (f"ws://127.0.0.1:{port}", "connection refused", "nothing listens there"),
                           (f"https://127.0.0.1:{port}", "Connection refused", "nothing listens there")):
        done = alone("call", "a/b", "-u", url, env={"ALKNET_TOKEN": TOKEN})
        first, second = done.err.splitlines()
        assert done.status == CONNECTION and first.startswith(f"alknet: cannot reach {url}: {why}") and hint in second
        assert "localhost" not in done.err
    assert alone("fingerprint", f"https://127.0.0.1:{port}").err == f"alknet: https://127.0.0.1:{port}: Connection refused\n"
    done = alone("ls", "-u", "http://name.invalid")
    assert done.status == CONNECTION and "cannot reach http://name.invalid: " in done.err and "is it spelled right?" in done.err


def test_clear_text_and_tls_are_told_apart(make_daemon, home):
    daemon = make_daemon({"listen": [{"host": "127.0.0.1", "port": 0}, {"host": "127.0.0.1", "port": 0, "tls": True}]}).start()
    clear, tls = (e["port"] for e in daemon.events("listening"))
    alknet = Client(home, None, daemon.token)
    for url in (f"http://127.0.0.1:{tls}", f"ws://127.0.0.1:{tls}"):
        done = alknet("call", "demo/echo", "-u", url)
        assert done.status == CONNECTION and "perhaps the server speaks TLS there" in done.err
    for url in (f"https://127.0.0.1:{clear}", f"wss://127.0.0.1:{clear}", f"alknet+tls://127.0.0.1:{clear}"):
        done = alknet("call", "demo/echo", "-u", url)
        assert done.status == CONNECTION and "perhaps the server speaks no TLS there" in done.err


def test_an_answer_that_does_not_come_is_given_up_after_the_timeout(double):
    def silent(_, __):
        time.sleep(20)
    start = time.monotonic()
    server = double(silent)
    done = server.alknet("call", "a/b", "--timeout", "0.2")
    assert done.status == CONNECTION and done.err == f"alknet: no answer from {server.url} within 1.2 s\n"
    done = server.alknet("ping", "--timeout", "0.2")
    assert done.status == CONNECTION and done.err == f"alknet: no answer from {server.url} within 0.2 s\n"
    assert time.monotonic() - start < 10


def test_a_connection_that_is_not_accepted_is_given_up_after_10_seconds(alone):
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(3):  # one waits in the queue, the others before it
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        start = time.monotonic()
        done = alone("call", "a/b", "-u", url)
        assert done.status == CONNECTION and done.err.startswith(f"alknet: cannot reach {url}: ")
        assert 9.5 < time.monotonic() - start < 20
        start = time.monotonic()
        assert alone("ping", "-u", url, "-t", "0.1").status == CONNECTION and time.monotonic() - start < 5


def test_an_https_url_is_not_answered_by_plain_http(double):
    server = double(ok("1"), TOKEN)
    done = server.alknet("call", "a/b", "-u", server.url.replace("http", "https"))
    assert done.status == CONNECTION and not any(TOKEN in str(request) for request in server.requests)


def test_a_draining_remote_fails_the_ping(double):
    done = double(answer(503, b"draining\n", "text/plain")).alknet("ping")
    assert done.status == REMOTE and "is draining" in done.err


def test_pings_go_on_after_one_that_failed(double):
    said = iter([None, answer(200, b"ok", "text/plain"), answer(200, b"ok", "text/plain")])
    done = double(lambda *_: next(said)).alknet("ping", "-n", "3", "-i", "0")
    assert done.status == CONNECTION and done.out.count("ok, ") == 2 and "\n2 of 3 answered" in done.out


# ---- the terminal ---------------------------------------------------------------------------------------------------

def test_colours_only_on_a_terminal(double):
    server = double(ok('{"a":[1,"x",null]}'))
    status, seen = server.alknet.on_terminal("call", "a/b")
    assert status == OK and "\x1b[" in seen
    plain = re.sub(r"\x1b\[[0-9;]*m", "", seen)
    assert json.loads(plain) == {"a": [1, "x", None]} and plain == server.alknet.output("call", "a/b")
    assert "\x1b" in server.alknet.on_terminal("call", "a/b", "-o", "json")[1]


@pytest.mark.parametrize("env, args", [({"NO_COLOR": "1"}, []), ({"TERM": "dumb"}, []), ({}, ["-o", "raw"])])
def test_no_colours_where_they_are_not_wanted(double, env, args):
    server = double(ok('{"a":[1,"x",null]}'))
    assert "\x1b" not in server.alknet.on_terminal("call", "a/b", *args, env=env)[1]


def test_an_empty_no_color_means_nothing(double):
    assert "\x1b" in double(ok("1")).alknet.on_terminal("call", "a/b", env={"NO_COLOR": ""})[1]


def test_each_stream_is_coloured_for_itself(double):
    server = double(error(500, "BROKEN", "it is", details={"a": 1}))
    assert "\x1b" in server.alknet.on_terminal("call", "a/b", streams=["stderr"])[1]
    assert server.alknet.on_terminal("call", "a/b", streams=["stdout"])[1] == ""


def test_a_remote_cannot_send_control_characters_to_the_terminal(double):
    evil = "\x1b]0;owned\x07\x9b31m\x7f\r\n\x00\u0085"
    servers = [
        (ok(json.dumps({evil: evil})), ["call", "a/b"]),
        (ok(json.dumps({evil: evil})), ["call", "a/b", "-o", "json"]),
        (error(500, "A" + evil, evil, details=evil), ["call", "a/b"]),
        (ok(json.dumps({"operations": [{"name": evil, "op_type": evil, "description": "x" + evil}]})), ["ls", "-l"]),
        (ok(json.dumps({"operations": [{"name": evil}]})), ["ls", "-l", "-o", "raw"]),
        (answer(404, b"x", "text/\x1b[31mhtml\x07"), ["call", "a/b"]),
        (answer(302, b"x", "text/html", "Location: \x1b[31m\x07"), ["call", "a/b"]),
        (answer(200, b'{"output":1}', "application/json", "X-Request-Id: \x1b[31m\x07"), ["call", "a/b", "-v"]),
    ]
    for said, args in servers:
        _, seen = double(said).alknet.on_terminal(*args, env={"NO_COLOR": "1"})
        assert seen and not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", seen), (args, seen)


TURNING = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f\u061c"


@pytest.mark.parametrize("kind", ["pretty", "json", "raw"])
def test_a_remote_cannot_turn_the_direction_of_what_a_terminal_shows(double, kind):
    evil = "a" + TURNING + "\x1b[31m\u009b\x7f\r\0z"
    operations = json.dumps({"operations": [{"name": evil, "op_type": "query", "description": evil}]})
    for said, args in ((ok(json.dumps(evil)), ["call", "a/b"]), (ok(json.dumps({evil: [evil]})), ["call", "a/b"]), (ok(operations), ["ls", "-l"]),
                       (error(500, "A", evil), ["call", "a/b"])):
        _, seen = double(said).alknet.on_terminal(*args, "-o", kind, env={"NO_COLOR": "1"})
        assert "\\u202e" in seen and not re.search(f"[\x00-\x09\x0b-\x1f\x7f-\x9f{TURNING}]", seen), (args, seen)


def test_raw_strings_go_to_a_program_as_they_are_and_keep_their_lines_on_a_terminal(double):
    text = "one\ttwo\nthree \u202e\x1b[31m\u0085"
    server = double(ok(json.dumps(text)))
    assert server.alknet.output("call", "a/b", "-o", "raw") == text + "\n"
    assert server.alknet.on_terminal("call", "a/b", "-o", "raw", streams=["stdout"])[1].expandtabs() == (
        "one\ttwo\nthree \\u202e\\u001b[31m\\u0085\n".expandtabs())


def test_a_curl_command_on_a_terminal_is_harmless(double):
    seen = double(ok("1")).alknet.on_terminal("call", "a/b", "--curl", "text=a" + TURNING + "\x7f\u009b")[1]
    assert "\\u202e" in seen and not re.search(f"[\x7f-\x9f{TURNING}]", seen)


def test_escaped_control_characters_are_still_the_same_json(double):
    value = {"\x7f\x9f": "\x00\x1f\x80\u2028\U0001f600\\\"/"}
    out = double(ok(json.dumps(value, ensure_ascii=False))).alknet.output("call", "a/b")
    assert json.loads(out) == value and "\x7f" not in out


@pytest.mark.parametrize("args", [["call", "a/b", "-"], ["subscribe", "a/b", "-"], ["batch", "-"], ["token", "hash"],
                                  ["ls", "-F", "/dev/stdin"]])
def test_nothing_is_ever_read_from_a_terminal(double, args):
    server = double(ok("1"))
    status, seen = server.alknet.on_terminal(*args, streams=["stdin", "stderr"])
    assert status == USAGE and "is a terminal" in seen and not server.requests


# ---- writing --------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("args", [["call", "a/b"], ["call", "a/b", "--curl"], ["--help"], ["token", "new"]])
def test_output_that_cannot_be_written_is_said(double, args):
    server = double(ok("1"))
    with open("/dev/full", "wb") as full:
        process = server.alknet.start(*args, stdout=full)
        assert b"cannot write the output: No space left" in process.communicate(timeout=30)[1]
        assert process.returncode == CONNECTION


def test_a_closed_standard_output_is_never_the_connection(double):
    server = double(ok('"here"'))
    done = subprocess.run(["sh", "-c", f"{shlex.quote(ALKNET)} call a/b >&-"], env=server.alknet.env, timeout=30,
                          capture_output=True, check=False)
    assert done.returncode == CONNECTION and b"cannot write the output: Bad file descriptor" in done.stderr
    done = subprocess.run(["sh", "-c", f"{shlex.quote(ALKNET)} call a/b - <&-"], env=server.alknet.env, timeout=30,
                          capture_output=True, check=False)
    assert done.returncode == USAGE and b"cannot read standard input: Bad file descriptor" in done.stderr


@pytest.mark.parametrize("closed", [(0,), (1,), (2,), (0, 1), (0, 2), (1, 2), (0, 1, 2)])
def test_a_closed_standard_stream_is_nobody_elses(double, closed):
    """What would be written there reaches no socket."""
    server = double(ok('"' + "x" * 100 + '"'), TOKEN)
    process = server.alknet.start("call", "a/b", "-v", "text=y", preexec_fn=lambda: [os.close(fd) for fd in closed])
    out, err = process.communicate(timeout=30)
    assert process.returncode == (CONNECTION if 1 in closed else OK)
    assert len(server.requests) == 1 and server.requests[0].headers["authorization"] == f"Bearer {TOKEN}"
    assert json.loads(server.requests[0].body)["input"] == {"text": "y"}
    assert (out != b"") == (1 not in closed) and (err != b"") == (2 not in closed)


@pytest.mark.parametrize("ignored", [False, True])
def test_a_subscription_ends_quietly_when_its_reader_goes(double, ignored):
    def said(_, sock):
        sock.sendall(STREAM)
        for _ in range(10000):
            sock.sendall(chunk(b"data: 1\n\n"))
            time.sleep(0.001)
    process = double(said).alknet.start("subscribe", "a/b", restore_signals=not ignored)  # Python ignores SIGPIPE
    assert process.stdout.readline() == b"1\n"
    process.stdout.close()
    assert process.wait(30) == -signal.SIGPIPE and process.stderr.read() == b""


# ---- usage ----------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("args, why", [
    ([], "a command is missing"),
    (["nothing"], "no such command 'nothing'"),
    (["call"], "an operand is missing: 'OP"),
    (["describe"], "an operand is missing"),
    (["describe", "a/b", "c/d"], "one operand too many 'c/d'"),
    (["ping", "x"], "one operand too many"),
    (["call", ""], "the name of an operation is empty"),
    (["call", "/"], "the name of an operation is empty"),
    (["call", b"a/\xff"], "is not UTF-8"),
    (["call", "a/b", "{"], "the input is not JSON"),
    (["call", "a/b", ""], "the input is not JSON"),
    (["call", "a/b", "word"], "the input is not JSON"),
    (["call", "a/b", '{"a":1,"a":2}'], 'duplicate member "a"'),
    (["call", "a/b", "[" * 2000 + "]" * 2000], "nested too deep"),
    (["call", "a/b", "1", "2"], "'2' is one too many"),
    (["call", "a/b", "{}", "a=1"], "'a=1' is one too many"),
    (["call", "a/b", "-", "a=1"], "'a=1' is one too many"),
    (["call", "a/b", "a=1", "{}"], "'{}' is not KEY=VALUE"),
    (["call", "a/b", "a=1", "a=2"], 'duplicate member "a"'),
    (["call", "a/b", "a.b=1", "a.b=2"], 'duplicate member "b"'),
    (["call", "a/b", "a=1", "a.b=2"], "'a' has a value already"),
    (["call", "a/b", "a={}", "a.b=2"], "'a' has a value already"),
    (["call", "a/b", "a.b=2", "a=1"], "'a' has members already"),
    (["call", "a/b", "a..b=1"], "has an empty name in its key"),
    (["call", "a/b", "a.=1"], "has an empty name in its key"),
    (["call", "a/b", ".a=1"], "has an empty name in its key"),
    (["call", "a/b", "a." * 2000 + "b=1"], "nested too deep"),
    (["call", "a/b", "@/no/such/file"], "cannot read /no/such/file: No such file"),
    (["call", "a/b", "@x", "a=1"], "'a=1' is one too many"),
    (["call", "a/b", "=1"], "has no key"),
    (["call", "a/b", ":=1"], "has no key"),
    (["call", "a/b", "a:=word"], "the value of 'a' is not JSON"),
    (["call", "a/b", b"a=\xff"], "is not UTF-8"),
    (["call", "a/b", b'a="\xff"'], "is not UTF-8"),
    (["call", "a/b", "-5"], "no such option '-5'"),
    (["call", "a/b", "-"], "standard input is not JSON"),
    (["batch", "-"], "standard input is not JSON"),
    (["batch", "/no/such/file"], "cannot read /no/such/file: No such file"),
    (["batch", "/"], "it is a directory"),
    (["ls", "--nothing"], "no such option '--nothing'"),
    (["ls", "-o", "yaml"], "pretty, json or raw, not 'yaml'"),
    (["ls", "-T", "thing"], "query, mutation or subscription, not 'thing'"),
    (["ls", "--timeout", "-1"], "number of seconds, not '-1'"),
    (["ls", "--timeout", "1s"], "number of seconds, not '1s'"),
    (["ls", "--timeout", "1e9"], "number of seconds, not '1e9'"),
    (["ls", "--timeout"], "lacks its argument 'SECONDS'"),
    (["ping", "-n", "0"], "whole number from 1, not '0'"),
    (["ping", "-n", "1.5"], "whole number from 1, not '1.5'"),
    (["ping", "-i", "x"], "number of seconds, not 'x'"),
    (["call", "a/b", "-n", "2"], "does not take the option 'count'"),
    (["token", "new", "-u", "http://x"], "does not take the option 'url'"),
    (["call", "a/b", "-q"], "does not take the option 'quiet'"),
    (["serve", "a/b", "--", "cat"], "serve needs a session, as ws://HOST:PORT has"),
    (["serve", "a/b"], "the command to run is missing"),
    (["serve", "--", "cat"], "an operand is missing"),
    (["serve", "a/b", "-o", "json", "--", "cat"], "does not take the option 'output'"),
    (["serve", "a/b", "-j", "0", "--", "cat"], "whole number from 1 to 512, not '0'"),
    (["serve", "a/b", "-j", "513", "--", "cat"], "whole number from 1 to 512, not '513'"),
    (["token"], "an operand is missing"),
    (["token", "old"], "'token new' makes one"),
    (["token", "hash", TOKEN], "one operand too many\n"),
    (["cal", "a/b"], "did you mean 'alknet call'?"),
    (["decsribe", "a/b"], "did you mean 'alknet describe'?"),
    (["list"], "did you mean 'alknet ls'?"),
    (["watch", "a/b"], "did you mean 'alknet subscribe'?"),
    (["foo"], "'alknet ls' lists the operations, and 'alknet call OP' calls one"),
    (["demo/add", "a=1"], "say 'alknet call demo/add'"),
    (["x" * 5000], "no such command"),
    (["help", "cal"], "did you mean 'alknet call'?"),
    (["call", "a/b", "-d", "{}"], """alknet call OP '{"a":1}', or alknet call OP a=1"""),
    (["call", "a/b", "--data={}"], """alknet call OP '{"a":1}', or alknet call OP a=1"""),
    (["subscribe", "a/b", "--json", "{}"], "alknet subscribe OP a=1"),
    (["call", "a/b", "-H", "a: b"], "a token comes from --token-file or ALKNET_TOKEN"),
    (["call", "a/b", "-XPOST"], "a call has no method"),
    (["ls", "--tok"], "no such option '--tok': did you mean --token-file?"),
    (["ls", f"--tok={TOKEN}"], "no such option '--tok': did you mean --token-file?"),
    (["ls", "--outptu=raw"], "no such option '--outptu': did you mean --output?"),
    (["ls", "--verb"], "no such option '--verb': did you mean --verbose?"),
    (["ls", "--token", TOKEN], "a token is never an argument"),
    (["ls", f"--token={TOKEN}"], "a token is never an argument"),
])
def test_wrong_usage_is_status_2_and_sends_nothing(double, args, why):
    server = double(ok("1"))
    done = server.alknet(*args)
    assert (done.status, done.out) == (USAGE, "") and done.err.startswith("alknet: ") and why in done.err
    assert not server.requests and TOKEN not in done.err


@pytest.mark.parametrize("text", [b"5", b'{"calls":5}', b'{"a":[]}', b'"x"'])
def test_a_batch_is_an_array_or_has_calls(double, text):
    server = double(ok("1"))
    done = server.alknet("batch", "-", stdin=text)
    assert done.status == USAGE and "neither an array of calls nor" in done.err and not server.requests


def test_standard_input_over_the_limit_is_refused(double):
    server = double(ok("1"))
    done = server.alknet("call", "a/b", "-", stdin=b" " * ((64 << 20) + 1))
    assert done.status == USAGE and "standard input is larger than 67108864 bytes" in done.err


def test_operands_over_the_limit_are_refused(double):
    done = double(ok("1")).alknet("call", "a/b", *(f"k{i}=1" for i in range(10001)))
    assert done.status == USAGE and "more than 10000 operands" in done.err and "@FILE" in done.err


def test_options_stand_before_and_behind_the_command(double):
    server = double(ok('"x"'))
    for args in (["-o", "raw", "call", "a/b"], ["call", "-oraw", "a/b"], ["call", "a/b", "--output=raw", "a=1"]):
        assert server.alknet.output(*args) == "x\n"


@pytest.mark.parametrize("url, why", [
    ("127.0.0.1:80", "the URL has no scheme"),
    ("", "the URL has no scheme"),
    ("http://", "malformed"),
    ("http://a b/", "malformed"),
    ("http://a:99999/", "malformed"),
    ("ftp://host", "the scheme of a URL is http, https, unix, alknet, ws, wss"),
    ("file:///etc/passwd", "the scheme of a URL is http, https, unix, alknet, ws, wss"),
    (f"http://user:{TOKEN}@host", "a URL with a user or a password is refused"),
    (f"http://{TOKEN}@host", "a URL with a user or a password is refused"),
    (f"http://host/?token={TOKEN}", "a URL with a query or a fragment is refused"),
    ("http://host/#x", "a URL with a query or a fragment is refused"),
    ("unix:", "the path of unix: URLs has 1 to 107 bytes"),
    ("unix:/" + "x" * 107, "the path of unix: URLs has 1 to 107 bytes"),
    ("ws+unix:", "the path of ws+unix: URLs has 1 to 107 bytes"),
    ("alknet+unix:/" + "x" * 107, "the path of alknet+unix: URLs has 1 to 107 bytes"),
    ("http://host/" + "x" * 3000, "longer than 2048 bytes"),
])
def test_a_wrong_url_is_wrong_usage(alone, url, why):
    done = alone("ls", "-u", url)
    assert done.status == USAGE and why in done.err and TOKEN not in done.err
    if url:
        done = alone("ls", env={"ALKNET_URL": url})
        assert done.status == USAGE and why in done.err


def test_the_default_url_is_the_default_port_on_loopback(alone):
    assert "'http://127.0.0.1:4780/call'" in alone.output("ls", "--curl")


@pytest.mark.parametrize("command", [[], *([name] for name in COMMANDS)])
def test_help_is_on_standard_output_and_names_every_option(alone, command):
    done = alone(*command, "--help")
    assert (done.status, done.err) == (OK, "") and done.out.startswith("Usage: alknet")
    assert re.search(r"^  -h, --help\s", done.out, re.M)
    if not command:
        assert all(re.search(rf"^  {name}\s", done.out, re.M) for name in COMMANDS)
    assert all(len(line) <= 110 for line in done.out.splitlines())


def test_help_and_version_are_commands_too(alone):
    assert alone.output("help") == alone.output("--help") and alone.output("help", "call") == alone.output("call", "--help")
    assert alone.output("version") == alone.output("--version")


def test_version(alone):
    assert re.fullmatch(r"alknet \d+\.\d+\.\d+\n", alone.output("--version"))
    assert alone.output("ls", "--version") == alone.output("-V")


def help_options(alone):
    return {option for name in COMMANDS for option in re.findall(r"--[a-z-]+", alone.output(name, "--help"))}


def test_the_manual_names_every_command_and_option_and_no_other(alone):
    text = (ROOT / "docs/man/alknet.1").read_text().replace("\\-", "-")
    assert set(re.findall(r"--[a-z-]+", text)) - {"--"} == help_options(alone)
    for name in COMMANDS:
        assert re.search(rf"^\.B {name}\b|^\.BI? \"?{name}\b", text, re.M), name
    for variable in ("ALKNET_URL", "ALKNET_TOKEN", "XDG_CONFIG_HOME", "NO_COLOR"):
        assert variable in text


def test_the_manual_is_laid_out_without_a_warning():
    if not shutil.which("groff"):
        pytest.skip("no groff")
    done = subprocess.run(["groff", "-man", "-Tutf8", "-ww", "-z", ROOT / "docs/man/alknet.1"], capture_output=True,
                          check=False, timeout=30)
    assert (done.returncode, done.stderr) == (0, b"")


# ---- files with secrets ---------------------------------------------------------------------------------------------

@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o644, 0o666])
def test_a_file_that_others_can_read_is_refused(double, home, tmp_path, mode):
    server = double(ok("1"))
    file = pathlib.Path(secret_file(tmp_path / "token", TOKEN))
    file.chmod(mode)
    done = server.alknet("ls", "-F", str(file))
    assert done.status == USAGE and f"{file} is refused, because others" in done.err and "chmod 600" in done.err
    saved = pathlib.Path(secret_file(home / ".config/alknet/config", f"token = {TOKEN}\n"))
    saved.chmod(mode)
    done = server.alknet("ls")
    assert done.status == USAGE and f"{saved} is refused, because others" in done.err
    assert not server.requests and TOKEN not in done.err


def test_a_settings_file_that_is_not_needed_is_not_opened(double, home):
    pathlib.Path(secret_file(home / ".config/alknet/config", "nonsense")).chmod(0o666)
    assert double(ok("1"), TOKEN).alknet("call", "a/b").status == OK


def test_a_token_file_may_be_a_pipe(double):
    server = double(ok("1"))
    done = subprocess.run(["bash", "-c", f"{shlex.quote(ALKNET)} call a/b -F <(echo {TOKEN})"], env=server.alknet.env,
                          capture_output=True, timeout=30, check=False)
    assert done.returncode == OK, done.stderr
    assert server.requests[0].headers["authorization"] == f"Bearer {TOKEN}"


@pytest.mark.parametrize("text", ["", "\n", "two words\n", "two\nlines", "tab\there", "nul\0nul", "ä", "x" * 5000])
def test_a_token_that_cannot_be_one_is_refused(double, tmp_path, text):
    server = double(ok("1"))
    done = server.alknet("ls", "-F", secret_file(tmp_path / "token", text))
    assert done.status == USAGE and f"{tmp_path}/token holds no token" in done.err
    if text.strip() and "\0" not in text:
        done = server.alknet("ls", env={"ALKNET_TOKEN": text})
        assert done.status == USAGE and "ALKNET_TOKEN holds no token" in done.err
    assert not server.requests


def test_a_missing_token_file_is_wrong_usage(alone):
    done = alone("ls", "-F", "/no/such/file")
    assert done.status == USAGE and "cannot read /no/such/file" in done.err


def test_the_token_of_the_settings_file_goes_only_where_it_belongs(double, home):
    mine, other = double(ok("1")), double(ok("1"))
    secret_file(home / ".config/alknet/config", f"url = {mine.url}/\ntoken = {TOKEN}\n")
    for url in (other.url, mine.url + "/elsewhere", mine.url.replace("127.0.0.1", "localhost")):
        done = other.alknet("call", "a/b", "-v", "-u", url)
        assert done.status == OK and f"is for {mine.url}, and is not sent to {url}" in done.err
        assert TOKEN not in done.err
    assert all("authorization" not in request.headers for request in mine.requests + other.requests)
    mine.alknet.output("call", "a/b")
    assert mine.requests[-1].headers["authorization"] == f"Bearer {TOKEN}"


def test_the_token_of_a_settings_file_without_url_is_for_the_default_one(double, home):
    server = double(ok("1"))
    secret_file(home / ".config/alknet/config", f"token = {TOKEN}\n")
    assert server.alknet("call", "a/b").status == OK
    assert "authorization" not in server.requests[0].headers
    assert "$ALKNET_TOKEN" in Client(home).output("call", "a/b", "--curl")
    assert "$ALKNET_TOKEN" not in server.alknet.output("call", "a/b", "--curl")


@pytest.mark.parametrize("text, line", [
    ("url\n", 1), ("# x\n\nname = x\n", 3), ("url = http://a\nurl = http://b\n", 2), ("token =\n", 1),
    (f"{TOKEN}\n", 1), ("= x\n", 1),
])
def test_a_wrong_line_of_the_settings_file_is_named_and_not_shown(alone, home, text, line):
    saved = secret_file(home / ".config/alknet/config", text)
    done = alone("ls")
    assert done.status == USAGE and f"{saved}:{line}: expected" in done.err and TOKEN not in done.err


def test_a_home_that_is_none_means_no_settings_file(double):
    server = double(ok("1"))
    del server.alknet.env["HOME"]
    assert server.alknet("call", "a/b").status == OK
    assert server.alknet("call", "a/b", env={"HOME": "/dev/null"}).status == OK


# ---- contexts -------------------------------------------------------------------------------------------------------

@pytest.fixture
def two(double, home, tmp_path):
    """Two nodes, a client that has both as contexts, and the file they are in."""
    nodes = types.SimpleNamespace(one=double(ok('"one"')), two=double(ok('"two"')), alknet=Client(home))
    nodes.file = home / ".config/alknet/contexts.json"
    secret_file(tmp_path / "token", TOKEN)
    nodes.alknet.output("context", "add", "one", "-u", nodes.one.url, "-F", "token", cwd=tmp_path)
    nodes.alknet.output("context", "add", "two", "-u", nodes.two.url)
    return nodes


def test_a_context_is_a_url_with_what_goes_along_with_it(two, tmp_path):
    call, said = ("call", "a/b", "-o", "raw"), {"one": "one\n", "two": "two\n"}
    for name in ("one", "two"):
        assert two.alknet.output(*call, "--context", name) == said[name]
        assert two.alknet.output(*call, env={"ALKNET_CONTEXT": name}) == said[name]
    two.alknet.output("context", "use", "two")
    assert two.alknet.output(*call) == "two\n" and two.alknet.output(*call, "-W", "one") == "one\n"
    assert two.alknet.output(*call, "-u", two.one.url) == "one\n"
    assert two.alknet.output(*call, env={"ALKNET_URL": two.one.url}) == "one\n"
    assert two.alknet.output("context") == f"  one           {two.one.url}\n* two           {two.two.url}\n"
    assert two.alknet.output("context", "list", "-o", "raw") == "one\ntwo\n"
    assert json.loads(two.alknet.output("context", "show", "one")) == {"url": two.one.url, "token_file": f"{tmp_path}/token"}
    assert json.loads(two.alknet.output("context", "-o", "json"))["current"] == "two"
    assert two.file.stat().st_mode & 0o777 == 0o600 and TOKEN not in two.file.read_text()
    assert [f.name for f in two.file.parent.iterdir()] == ["contexts.json"]


def test_the_token_of_a_context_goes_to_its_own_url_only(two):
    two.alknet.output("context", "use", "one")
    two.alknet.output("call", "a/b")
    two.alknet.output("call", "a/b", env={"ALKNET_TOKEN": "another"})
    assert [request.headers["authorization"] for request in two.one.requests] == [f"Bearer {TOKEN}"] * 2
    two.alknet.output("call", "a/b", "--context", "two")
    two.alknet.output("call", "a/b", "-u", two.two.url)
    two.alknet.output("call", "a/b", "-u", two.one.url + "/elsewhere")
    two.alknet.output("call", "a/b", env={"ALKNET_URL": two.one.url})
    assert all("authorization" not in request.headers for request in two.two.requests + two.one.requests[2:])


def test_the_token_of_the_environment_goes_to_no_other_nodes_context(two):
    def sent(*args, **env):
        two.alknet("call", "a/b", *args, env={"ALKNET_TOKEN": "another" * 4, **env})
        return two.two.requests[-1].headers.get("authorization")
    two.alknet.output("context", "use", "two")
    assert sent() is None and sent("--context", "two", ALKNET_URL=two.one.url) is None
    assert sent("--context", "two", ALKNET_CONTEXT="one") is None
    token = f"Bearer {'another' * 4}"
    assert sent(ALKNET_CONTEXT="two") == sent("--context", "two", ALKNET_URL=two.two.url + "/") == sent("-u", two.two.url) == token


def test_who_is_refused_without_the_environments_token_is_told_why(home, daemon):
    alknet = Client(home)
    alknet.output("context", "add", "here", "-u", daemon.url)
    done = alknet("call", "demo/whoami", "--context", "here", env={"ALKNET_TOKEN": daemon.token})
    assert done.status == REMOTE and done.err.endswith(
        "no token was sent: ALKNET_TOKEN is not for a context: 'alknet context set NAME --token-file FILE'\n")


@pytest.mark.parametrize("there", [True, False])
def test_a_link_to_the_contexts_stays_one(two, tmp_path, there):
    kept = tmp_path / "kept"
    kept.mkdir()
    two.file.rename(kept / "contexts.json")
    two.file.symlink_to(os.path.relpath(kept / "link", two.file.parent))
    (kept / "link").symlink_to("contexts.json")
    if not there:
        (kept / "contexts.json").unlink()
    two.alknet.output("context", "add", "three", "-u", two.one.url)
    assert two.file.is_symlink() and (kept / "link").is_symlink()
    assert sorted(p.name for p in kept.iterdir()) == ["contexts.json", "link"]
    assert ("three" in json.loads((kept / "contexts.json").read_text())["contexts"]) and len(list(two.file.parent.iterdir())) == 1


def test_contexts_are_changed_and_removed(two):
    two.alknet.output("context", "set", "one", "-u", two.two.url)
    assert json.loads(two.alknet.output("context", "show", "one")).keys() == {"url", "token_file"}
    two.alknet.output("context", "use", "one")
    two.alknet.output("context", "remove", "one")
    assert two.alknet.output("context", "-o", "raw") == "two\n"
    assert two.alknet("context", "show").status == USAGE


@pytest.mark.parametrize("args, why", [
    (["context", "use", "tow"], "there is no context 'tow': did you mean 'two'?"),
    (["ls", "--context", "nothing"], "there is no context 'nothing': 'alknet context' lists them"),
    (["context", "remove", "nothing"], "there is no context 'nothing'"),
    (["context", "add", "one", "-u", "http://a"], "the context 'one' is there already"),
    (["context", "add", "x"], "a context needs a URL"),
    (["context", "set", "x"], "a context needs a URL"),
    (["context", "add", "a b", "-u", "http://a"], "the name of a context has at most 64 letters"),
    (["context", "add", "x" * 65, "-u", "http://a"], "the name of a context has at most 64 letters"),
    (["context", "add", "x", "-u", f"http://{TOKEN}@host"], "a URL with a user or a password is refused"),
    (["context", "add", "x", "-u", "host"], "the URL has no scheme"),
    (["context", "nothing"], "contexts: alknet context [list], use NAME"),
    (["context", "use"], "contexts: alknet context [list], use NAME"),
    (["context", "add", "x", "--token", TOKEN], "a token is never an argument"),
    (["ls", "--context", "one", "-u", "http://a"], "--url and --context both say where the node is"),
])
def test_wrong_contexts_are_wrong_usage(two, args, why):
    before = two.file.read_text()
    done = two.alknet(*args)
    assert (done.status, done.out) == (USAGE, "") and why in done.err and TOKEN not in done.err
    assert two.file.read_text() == before and not two.one.requests + two.two.requests


def test_two_variables_that_name_a_node_are_refused(two):
    done = two.alknet("ls", env={"ALKNET_URL": two.one.url, "ALKNET_CONTEXT": "two"})
    assert done.status == USAGE and "ALKNET_URL and ALKNET_CONTEXT both say" in done.err


@pytest.mark.parametrize("text, why", [("{", "contexts.json: "), ("{}", 'expected {"contexts":{...}}'),
                                       ('{"contexts":{"a":{}}}', 'expected a "url" in each context'),
                                       ('{"contexts":{"a":{"url":"https://a","pin":5}}}', "expected texts as the members"), (None, "others than its owner")])
def test_a_wrong_file_of_contexts_is_named(two, text, why):
    if text is None:
        two.file.chmod(0o644)
    else:
        two.file.write_text(text)
    for args in (["context"], ["ls"], ["context", "set", "one", "-u", "http://a"]):
        done = two.alknet(*args)
        assert done.status == USAGE and str(two.file) in done.err and why in done.err


def test_contexts_are_completed(two):
    assert two.alknet.output("complete", "ls", "--context", "t") == "two\n"
    assert two.alknet.output("complete", "context", "use", "") == "one\ntwo\n"
    assert two.alknet.output("complete", "context", "s") == "set\nshow\n"


# ---- tokens ---------------------------------------------------------------------------------------------------------

def test_a_new_token_is_alone_on_standard_output_and_its_hash_is_labelled(alone):
    tokens = set()
    for _ in range(3):
        done = alone("token", "new")
        token = done.out.strip()
        assert done.status == OK and done.out == token + "\n" and re.fullmatch(r"alk_[A-Za-z0-9_-]{20,}", token)
        assert done.err == f"hash: {hashlib.sha256(token.encode()).hexdigest()}\nprefix: {token[:8]}\n"
        tokens.add(token)
    assert len(tokens) == 3


@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_token_hash_reads_standard_input(alone, end):
    done = alone("token", "hash", stdin=(TOKEN + end).encode())
    assert done.out == hashlib.sha256(TOKEN.encode()).hexdigest() + "\n" and done.err == f"prefix: {TOKEN[:8]}\n"


@pytest.mark.parametrize("text, why", [(b"", "holds no token"), (b"\n", "holds no token"), (b"a b", "holds no token"),
                                       (b"alk_short", "less than 24"), (b"x" * 5000, "larger than"),
                                       (TOKEN.encode() + b"\n\n", "holds no token")])
def test_what_cannot_be_a_token_has_no_hash(alone, text, why):
    done = alone("token", "hash", stdin=text)
    assert (done.status, done.out) == (USAGE, "") and why in done.err


# ---- completion -----------------------------------------------------------------------------------------------------

def complete(client, line):
    """What bash offers for the line, with the cursor at its end."""
    script = f"""
        source {shlex.quote(str(ROOT / 'cli/alknet/completion.bash'))}
        COMP_LINE={shlex.quote(line)} COMP_POINT=${{#COMP_LINE}}
        _alknet {shlex.quote(ALKNET)}
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    done = subprocess.run(["bash", "--norc", "-c", script], env=client.env, capture_output=True, timeout=60, check=True)
    assert done.stderr == b"", done.stderr
    return [name for name in done.stdout.decode().split("\n") if name]


def test_completion_offers_the_names_that_the_remote_has_now(alknet):
    assert complete(alknet, "alknet call demo/e") == ["demo/echo"]
    assert complete(alknet, "alknet call /demo/e") == ["/demo/echo"]
    assert complete(alknet, "alknet -o raw describe demo/wh") == ["demo/whoami"]
    assert complete(alknet, "alknet subscribe demo/") == ["demo/clock"]
    assert complete(alknet, "alknet call demo/echo ") == []
    assert {"demo/echo", "services/list"} <= set(complete(alknet, "alknet call "))


def test_completion_asks_the_remote_of_the_line(home, daemon, tmp_path):
    token = secret_file(tmp_path / "token", daemon.token)
    assert complete(Client(home), f"alknet -u {daemon.url} -F {token} call demo/ec") == ["demo/echo"]
    assert complete(Client(home), f"alknet call --url={daemon.url} --token-file={token} demo/ec") == ["demo/echo"]
    assert complete(Client(home, f"http://127.0.0.1:{refused_port()}"), "alknet call d") == []


def test_completion_of_commands_options_and_values(alone, tmp_path):
    assert complete(alone, "alknet ") == COMMANDS
    assert complete(alone, "alknet sub") == ["subscribe"]
    assert complete(alone, "alknet serve ui/x:mu") == ["mutation"], "bash takes what is behind the colon for a word"
    assert complete(alone, "alknet call -o ") == ["pretty", "json", "raw"]
    assert complete(alone, "alknet ls --type mu") == ["mutation"]
    assert complete(alone, "alknet token ") == ["new", "hash"]
    (tmp_path / "calls one.json").touch()
    assert complete(alone, f"alknet batch {tmp_path}/c") == [f"{tmp_path}/calls one.json"]
    offered = {o for name in COMMANDS for o in complete(alone, f"alknet {name} --")}
    assert offered == help_options(alone)


SHAPE = {"type": "object", "properties": {
    "colour": {"enum": ["red", "green", "5", "two words", "$(id)", None, 7]}, "count": {"type": "integer"}, "on": {"type": "boolean"},
    "place": {"$ref": "#/$defs/place"}, "bad name": {}, "a;b": {}, "esc\x1b": {}},
    "$defs": {"place": {"type": "object", "properties": {"x": {"type": "number"}, "side": {"enum": ["left", "right"]}}}}}


def shape(request, _):
    """A node with a query a/draw that takes SHAPE, and a subscription."""
    if json.loads(request.body)["operation"] == "/services/schema":
        return ok(json.dumps({"name": "a/draw", "op_type": "query", "input_schema": SHAPE}))
    return ok(json.dumps({"operations": [{"name": "a/draw", "op_type": "query"}, {"name": "a/watch", "op_type": "subscription"}]}))


@pytest.mark.parametrize("line, offered", [
    ("call ", ["a/draw"]), ("subscribe ", ["a/watch"]), ("describe ", ["a/draw", "a/watch"]), ("call -o raw a", ["a/draw"]),
    ("call a/draw ", ["colour=", "count=", "on=", "place."]), ("call a/draw co", ["colour=", "count="]),
    ("call a/draw colour=red ", ["count=", "on=", "place."]), ("call a/draw colour=", ["colour=red", "colour=green", "colour=null", "colour=7"]),
    ("call a/draw colour:=", ["colour:=null", "colour:=7"]), ("call a/draw colour=g", ["colour=green"]), ("call a/draw on=", ["on=true", "on=false"]),
    ("call a/draw place.", ["place.x=", "place.side="]), ("call a/draw place.side=l", ["place.side=left"]), ("call a/draw count=", []),
    ("call a/draw nothing=", []), ("call a/draw colour=@", [":files colour=@"]), ("call a/draw @x", [":files @"]), ("batch ", [":files "]),
    ("call --output=r", ["--output=raw"]), ("call -F ", [":files "]), ("call --token-file=", [":files --token-file="]),
    ("help ca", ["call"]), ("cal ", []), ("serve x/y:q", ["x/y:query"]), ("serve x/y -- ", [":files "]), ("call -vo ", ["pretty", "json", "raw"]),
])
def test_what_follows_is_said_by_the_program(double, line, offered):
    server = double(shape)
    done = server.alknet("complete", *line.split(" "))
    assert (done.status, done.err) == (OK, "") and done.out.splitlines() == offered


def test_nothing_is_said_where_nothing_can_be_asked(double, alone):
    assert alone("complete", "call", "-u", f"http://127.0.0.1:{refused_port()}", "").out == ""
    assert double(error(404, "NOT_FOUND", "x")).alknet("complete", "call", "a/b", "").out == ""
    assert double(ok("5")).alknet("complete", "call", "").out == ""
    assert alone("complete").status == USAGE


def typed(command, client, keys, want):
    """What a shell in a terminal shows after these keys."""
    master, slave = pty.openpty()
    env = {**client.env, "PATH": f"{pathlib.Path(ALKNET).parent}:{os.environ['PATH']}", "PS1": "> ", "TERM": "dumb"}
    process = subprocess.Popen(command, env=env, stdin=slave, stdout=slave, stderr=slave, start_new_session=True)
    os.close(slave)
    seen = ""
    try:
        os.write(master, keys[0].encode())
        end = time.monotonic() + 20
        while want not in seen and time.monotonic() < end:
            if select.select([master], [], [], 0.1)[0]:
                seen = re.sub("\x07|[^\x08]\x08", "", seen + os.read(master, 65536).decode(errors="replace"))
            if len(keys) > 1 and keys[1] in seen:
                os.write(master, keys[2].encode())
                keys = keys[:1]
        return seen
    finally:
        process.kill()
        process.wait()
        os.close(master)


@pytest.mark.parametrize("line, whole", [
    ("alknet call a/dr\tcol\tg\tend", "alknet call a/draw colour=green end"),
    ("alknet call a/draw place.s\tr\tend", "alknet call a/draw place.side=right end"),
    ("alknet serve ui/x:mu\tend", "alknet serve ui/x:mutation end"),
])
def test_tab_in_a_terminal_with_bash(double, line, whole):
    server = double(shape)
    start = f"source {ROOT}/cli/alknet/completion.bash; echo re''ady\n"
    assert whole in typed(["bash", "--norc", "--noprofile", "-i"], server.alknet, [start, "ready", line], whole)


@pytest.mark.skipif(not shutil.which("zsh"), reason="no zsh")
def test_tab_in_a_terminal_with_zsh(double, tmp_path):
    server = double(shape)
    shutil.copy(ROOT / "cli/alknet/completion.zsh", tmp_path / "_alknet")
    start = f"fpath=({tmp_path} $fpath); autoload -U compinit; compinit -D -u; echo re''ady\n"
    whole = "alknet call a/draw colour=green end"
    keys = [start, "ready", "alknet call a/dr\tcol\tg\tend"]
    assert whole in typed(["zsh", "-f", "-i"], server.alknet, keys, whole)


@pytest.mark.skipif(not shutil.which("fish"), reason="no fish")
def test_completion_with_fish(double, tmp_path):
    server = double(shape)
    (tmp_path / "some file").touch()

    def offered(line):
        script = f"source {ROOT}/cli/alknet/completion.fish; complete -C {shlex.quote(line)}"
        env = {**server.alknet.env, "PATH": f"{pathlib.Path(ALKNET).parent}:{os.environ['PATH']}"}
        done = subprocess.run(["fish", "--no-config", "-c", script], env=env, cwd=tmp_path, capture_output=True, timeout=60, check=True)
        return sorted(line.split("\t")[0] for line in done.stdout.decode().splitlines())
    assert offered("alknet call a/dr") == ["a/draw"] and offered("alknet subscribe ") == ["a/watch"]
    assert offered("alknet call a/draw co") == ["colour=", "count="]
    assert offered("alknet call a/draw colour=g") == ["colour=green"]
    assert offered("alknet batch so") == ["some file"] and offered("alknet call a/draw colour=@so") == ["colour=@some file"]


def test_completion_never_runs_what_a_remote_sends(double, tmp_path):
    mark = tmp_path / "mark"
    names = [f"a/$(touch {mark})", f"a/`touch {mark}`", "a/b;c", "a/$HOME", "a/*", "a/good", "a/\x1b[31m", "--clear", "-k", "~root/x"]
    server = double(ok(json.dumps({"operations": [{"name": name} for name in names]})))
    assert complete(server.alknet, "alknet call ") == complete(server.alknet, "alknet call a/") == ["a/good"]
    assert not mark.exists()
    server = double(ok(json.dumps({"input_schema": {"properties": {"-k": {}, "~": {}, "good": {}}}})))
    assert complete(server.alknet, "alknet call a/b ") == ["good="]


def test_completion_takes_a_line_of_any_options(double):
    server = double(shape)
    assert server.alknet.output("complete", "call", "-" + "C" * 3000, "") == "a/draw\n"
    assert double(shape).alknet.output("complete", "call", "-A", "", "-u", server.url, "a") == ""


def test_completion_offers_no_more_than_a_shell_can_take(double):
    schema = {"properties": {"a": {"enum": [f"v{n}" for n in range(6000)]}}}
    server = double(ok(json.dumps({"input_schema": schema})))
    assert server.alknet.output("complete", "call", "a/b", "a=").count("\n") == 5000
    assert server.alknet.output("complete", "call", "a/b", "a=v599").count("\n") == 11


def test_completion_ends_when_a_remote_never_does(double):
    def said(*_):
        time.sleep(0.5)
        return ok(json.dumps({"operations": [], "next_cursor": "more"}))
    began = time.monotonic()
    done = double(said).alknet("complete", "call", "")
    assert (done.status, done.out) == (OK, "") and time.monotonic() - began < 12
