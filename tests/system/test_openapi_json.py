"""GET /openapi.json: the document is valid, and it is true. Each route in it is asked in the way that its examples say, and
in every way that ends in an error; the status must be one that stands there, with the headers and a body that it describes."""
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import threading
import urllib.parse

import pytest

from conftest import BIN, PATIENCE, ROOT, wait_for
from rawhttp import ADMIN, PEER, PLAIN, TRACE, UNKNOWN, Node, Stream, message
from rawhttp2 import Http2

CALLERS = [None, PLAIN, PEER, ADMIN]
VERSIONS = {"": "3.1.0", "?version=3.1": "3.1.0", "?version=3.2": "3.2.0"}
METHODS = ("get", "post")


@pytest.fixture(scope="module")
def node(tmp_path_factory):
    with Node(tmp_path_factory.mktemp("openapi"), limits={"auth_failures_per_minute": 0}) as it:
        yield it


def fetch(node, token=None, query=""):
    reply = node.ask("GET", "/openapi.json" + query, token=token)
    assert reply.status == 200, reply
    return reply.json()


@pytest.fixture(scope="module")
def judge(tmp_path_factory):
    """judge(documents, values): what tests/openapi/judge.mjs complains about."""
    folder = tmp_path_factory.mktemp("judge")
    shutil.copy(ROOT / "tests/openapi/judge.mjs", folder)
    (folder / "node_modules").symlink_to(ROOT / "build/deps/node/node_modules")

    def ask(documents, values=()):
        done = subprocess.run(["node", "judge.mjs"], cwd=folder, input=json.dumps({"documents": documents, "values": list(values)}),
                              capture_output=True, text=True, timeout=6 * PATIENCE)
        assert done.returncode == 0, done.stderr
        said = json.loads(done.stdout)
        return [complaint for each in said["documents"] for complaint in each] + [v for v in said["values"] if v]

    return ask


# ---- the document -----------------------------------------------------------------------------------------------------

def test_it_is_valid_for_everybody_in_both_versions(node, judge):
    documents = []
    for token in CALLERS:
        for query, version in VERSIONS.items():
            documents.append(fetch(node, token, query))
            assert documents[-1]["openapi"] == version and documents[-1]["info"]["version"] == "1.0.0"
    assert judge(documents) == []


def test_the_judge_finds_faults(node, judge):
    document = fetch(node)
    del document["info"]["title"]
    document["paths"]["/call"]["post"]["responses"]["401"]["$ref"] += "x"
    fault = {"code": "X", "message": "", "retryable": False}
    values = [{"document": 0, "schema": "#/components/schemas/Error", "value": value} for value in (fault, {"code": "X"})]
    assert len(judge([document], values)) == 3


@pytest.mark.parametrize("token,sees", [(None, set()), (PLAIN, {"demo/whoami"}), (PEER, {"demo/secret", "demo/whoami"}),
                                        (ADMIN, {"demo/secret", "demo/whoami"})])
def test_it_names_what_its_reader_may_call(node, token, sees):
    schemas = fetch(node, token)["components"]["schemas"]
    names, streams = schemas["OperationName"]["examples"], schemas["SubscriptionName"]["examples"]
    listed = node.ask("GET", "/search", token=token).output["operations"]
    assert names == [op["name"] for op in listed if op["op_type"] != "subscription"]
    assert streams == [op["name"] for op in listed if op["op_type"] == "subscription"] == ["demo/clock"]
    assert sees == {"demo/secret", "demo/whoami"} & set(names)


def test_it_lists_the_errors_of_what_its_reader_may_call(node):
    def codes(token):
        answers = fetch(node, token)["paths"]["/call"]["post"]["responses"]["409"]["content"]["application/json"]["schema"]["anyOf"]
        return {each["title"] for each in answers if "title" in each}

    assert codes(None) == {"DEMO_CONFLICT", "NO_CONNECTION"}
    assert codes(PLAIN) == codes(None)  # services/announce has the code of demo/callback


def test_no_other_query_is_taken(node):
    for query in ("?version=3.0", "?version=4", "?v=3.1", "?version=3.1&x=1", "?version"):
        reply = node.ask("GET", "/openapi.json" + query)
        assert reply.status == 400 and reply.error()["code"] == "INVALID_INPUT"
        assert "version=3.1" in reply.error()["message"] and "version=3.2" in reply.error()["message"]


def test_it_is_an_answer_like_others(node):
    reply = node.ask("GET", "/openapi.json", headers={"traceparent": TRACE})
    assert reply.header("x-request-id") and reply.header("traceparent") == TRACE
    assert reply.header("cache-control") == "no-store" and reply.header("content-type") == "application/json"
    head = node.ask("HEAD", "/openapi.json")
    assert head.status == 200 and head.header("content-length") == str(len(reply.body)) and not head.body
    assert node.find(event="call", operation="openapi.json", request_id=reply.header("x-request-id"))


def test_it_is_the_same_by_http_2(node):
    with socket.create_connection(("127.0.0.1", node.port), PATIENCE) as sock:
        client = Http2(sock, token=ADMIN)
        got = client.get("/openapi.json")
        assert got.status == 200 and got.json() == fetch(node, ADMIN)
        assert client.wait(client.open(client.fields("HEAD", "/openapi.json"))).body == b""


def test_the_rate_of_a_caller_counts_it(tmp_path):
    with Node(tmp_path, limits={"calls_per_second": 2}) as node:
        statuses = [node.ask("GET", "/openapi.json", token=PLAIN).status for _ in range(8)]
        assert statuses[0] == 200 and 429 in statuses
        assert node.ask("GET", "/openapi.json").status == 200


def test_in_stealth_it_says_that_a_token_is_wanted(tmp_path):
    with Node(tmp_path, gateway={"stealth": True}) as node:
        assert fetch(node, PLAIN)["security"] == [{"bearer": []}]
        hidden, nothing = node.ask("GET", "/openapi.json"), node.ask("GET", "/nothing")
        assert hidden.status == nothing.status == 404 and hidden.body == nothing.body


# ---- what its routes answer -------------------------------------------------------------------------------------------

class Observer:
    """Sends requests to the routes of a document, and holds the answers against it."""

    def __init__(self, node, document):
        self.node, self.document = node, document
        self.values = []  # for the judge
        self.seen = {(path, method): set() for path, item in document["paths"].items() for method in item if method in METHODS}

    def answer(self, path, method, status):
        """(pointer, object) of the response; a reference is followed."""
        responses = self.document["paths"][path][method]["responses"]
        name = str(status) if str(status) in responses else "default"
        assert name in responses, f"{method} {path} answers {status}, of which nothing is said"
        if "$ref" in responses[name]:
            pointer = responses[name]["$ref"]
            return pointer, self.document["components"]["responses"][pointer.rpartition("/")[2]]
        return f"#/paths/{path.replace('/', '~1')}/{method}/responses/{name}", responses[name]

    def note(self, path, method, reply, body=True):
        pointer, answer = self.answer(path, method, reply.status)
        documented = {name.lower() for name in answer["headers"]}
        assert reply.header("x-request-id")
        for name in ("www-authenticate", "retry-after", "traceparent"):
            assert reply.header(name) is None or name in documented, f"{name} of {method} {path} {reply.status}"
        if body:
            assert list(answer["content"]) == [reply.header("content-type")]
            self.values.append({"document": 0, "schema": pointer + "/content/application~1json/schema", "value": reply.json()})
        self.seen[path, method].add(str(reply.status))

    def send(self, path, method, query="", body=None, status=None, **kwargs):
        version = kwargs.get("version", "1.1")
        with self.node.wire() as wire:
            kwargs.setdefault("host", wire.host)
            wire.send(message(method.upper(), path + query, body, **kwargs))
            reply = wire.reply(method.upper())
            assert status is None or reply.status == status, f"{method} {path}{query} by {version}: {reply}"
            self.note(path, method, reply)
            return reply

    def example(self, path, method):
        """(query, body) as the document shows them."""
        spec = self.document["paths"][path][method]
        query = {}
        for parameter in spec["parameters"]:
            if "example" in parameter:
                query[parameter["name"]] = parameter["example"]
            elif "content" in parameter:
                query[parameter["name"]] = json.dumps(parameter["content"]["application/json"]["example"])
        body = spec["requestBody"]["content"]["application/json"]["example"] if "requestBody" in spec else None
        return "?" + urllib.parse.urlencode(query) if query else "", body


ROUTES = [("/search", "get"), ("/schema", "get"), ("/call", "post"), ("/batch", "post"), ("/subscribe", "post"), ("/subscribe", "get")]


def test_the_routes_are_these(node):
    paths = fetch(node)["paths"]
    assert {(path, method) for path in paths for method in paths[path]} == set(ROUTES)


@pytest.mark.parametrize("token", CALLERS, ids=["nobody", "key", "peer", "admin"])
def test_the_examples_work_and_are_answered_as_described(node, judge, token):
    observer = Observer(node, fetch(node, token, "?version=3.2"))
    for path, method in ROUTES:
        query, body = observer.example(path, method)
        if path != "/subscribe":
            observer.send(path, method, query, body, status=200, token=token, headers={"traceparent": TRACE})
            continue
        with node.wire() as wire:
            wire.send(message(method.upper(), path + query, body, token=token, host=wire.host))
            stream = Stream(wire)
            observer.note(path, method, stream.reply, body=False)
            pointer, answer = observer.answer(path, method, 200)
            assert list(answer["content"]) == ["text/event-stream"]
            _, value = stream.event()
            observer.values.append({"document": 0, "schema": pointer + "/content/text~1event-stream/itemSchema",
                                    "value": {"data": json.dumps(value)}})
    assert judge([observer.document], observer.values) == []


def everywhere(observer):
    """What every route refuses."""
    for path, method in ROUTES:
        query, body = observer.example(path, method)
        ask = {"query": query, "body": body}
        observer.send(path, method, **ask, token=UNKNOWN, status=401)
        observer.send(path, method, **ask, headers={"Origin": "https://evil.example"}, status=403)
        observer.send(path, method, **ask, headers={"Content-Length": str(1 << 30)}, status=413)
        observer.send(path, method, query="?" + "x" * 9000, body=body, status=414)
        observer.send(path, method, **ask, headers={"Content-Encoding": "gzip"}, status=415)
        observer.send(path, method, **ask, headers={"Expect": "wonders"}, status=417)
        observer.send(path, method, **ask, host="evil.example", status=421)
        observer.send(path, method, **ask, headers={"X": "x" * 40000}, status=431)
        observer.send(path, method, **ask, headers={"Content-Length": None, "Transfer-Encoding": "gzip, chunked"}, status=501)
        observer.send(path, method, **ask, version="3.0", status=505)
        if method == "get":
            observer.send(path, method, query="?%zz", status=400)
        else:
            observer.send(path, method, body=b"{", status=400)


def call(observer, operation, value=None, path="/call", **kwargs):
    return observer.send(path, "post", body={"operation": operation, "input": value}, **kwargs)


def refusals(observer):
    """Of the dispatcher."""
    observer.send("/search", "get", "?limit=0", status=422)
    observer.send("/schema", "get", status=422)
    observer.send("/schema", "get", "?name=no/such", status=404)
    call(observer, "demo/add", {"a": "1"}, status=422)
    call(observer, "no/such", status=404)
    call(observer, "demo/clock", status=400)
    call(observer, "demo/whoami", status=401)
    call(observer, "demo/secret", token=PLAIN, status=403)
    call(observer, "demo/sleep", {"ms": 60000}, headers={"X-Timeout-Ms": "20"}, status=504)
    call(observer, "demo/clock", {"count": 0}, path="/subscribe", status=422)
    call(observer, "no/such", path="/subscribe", status=404)
    call(observer, "demo/echo", path="/subscribe", status=400)
    call(observer, "demo/clock", path="/subscribe", version="1.0", status=505)
    observer.send("/subscribe", "get", "?operation=demo/clock&input=%7B%22count%22%3A0%7D", status=422)
    observer.send("/subscribe", "get", "?operation=no/such", status=404)
    observer.send("/subscribe", "get", "?operation=demo/echo", status=400)
    observer.send("/subscribe", "get", status=400)
    observer.send("/batch", "post", body=[{"operation": "demo/echo"}] * 129, status=400)
    observer.send("/batch", "post", body={"calls": [{"operation": "no/such"}, {"operation": "demo/fail"}, 5]}, status=200)


def failures(observer):
    """Of operations: with codes that they declare, and with others."""
    call(observer, "demo/fail", status=409)
    call(observer, "demo/add", {"a": 1e308, "b": 1e308}, status=422)
    call(observer, "demo/callback", {"operation": "ui/x"}, status=409)
    for status, answered in ((400, 400), (404, 404), (418, 502), (401, 502), (429, 429), (451, 451), (410, 410), (500, 500),
                             (501, 501), (503, 503), (504, 504), (505, 505), (599, 599)):
        call(observer, "demo/fail", {"status": status}, status=answered)


def too_slow(observer, folder):
    with Node(folder, limits={"header_timeout_ms": 300, "body_timeout_ms": 300}) as observer.node:
        for path, method in ROUTES:
            query, body = observer.example(path, method)
            whole = message(method.upper(), path + query, body, host="127.0.0.1")
            with observer.node.wire() as wire:
                wire.send(whole[:-1] if body else whole[:-2])
                observer.note(path, method, wire.reply(method.upper()))


def too_often(observer, folder):
    with Node(folder, limits={"auth_failures_per_minute": 1}) as observer.node:
        assert observer.node.ask("GET", "/search", token=UNKNOWN).status == 401
        for path, method in ROUTES:
            query, body = observer.example(path, method)
            observer.send(path, method, query, body, token=UNKNOWN, status=429)


def draining(observer, folder):
    """What began before, and is whole when nothing new is started any more. /batch says it of each of its calls."""
    with Node(folder, limits={"drain_ms": 10_000}) as observer.node, contextlib.ExitStack() as stack:
        waiting = []
        for path, method in ROUTES:
            query, body = observer.example(path, method)
            text = message(method.upper(), path + query, body or {}, host="127.0.0.1")
            if path != "/batch":
                waiting.append((stack.enter_context(observer.node.wire()), path, method, text[-1:]))
                waiting[-1][0].send(text[:-1])
        held = stack.enter_context(observer.node.wire())  # what the node waits for
        held.begin(message("POST", "/call", {"operation": "demo/sleep", "input": {"ms": 2000}}, host=held.host))
        observer.node.signal(signal.SIGTERM)
        wait_for(lambda: not observer.node.serves())
        for wire, path, method, rest in waiting:
            wire.send(rest)
            observer.note(path, method, wire.reply(method.upper()))


# What nothing from outside leads to: no memory, a failure of the node itself.
UNSEEN = {("/search", "get"): {"500", "504"}, ("/schema", "get"): {"500", "504"}, ("/call", "post"): {"default"},
          ("/batch", "post"): {"503"}, ("/subscribe", "post"): {"500"}, ("/subscribe", "get"): {"500"}}


def test_every_status_that_is_described_is_real_and_no_other_is_met(node, judge, tmp_path):
    observer = Observer(node, fetch(node))
    everywhere(observer)
    refusals(observer)
    failures(observer)
    too_slow(observer, tmp_path)
    too_often(observer, tmp_path)
    draining(observer, tmp_path)
    assert judge([observer.document], observer.values) == []
    for (path, method), seen in observer.seen.items():
        described = set(observer.document["paths"][path][method]["responses"])
        missing = described - seen - {"200"}
        assert missing == UNSEEN[path, method], f"{method} {path}"


def test_details_are_as_their_codes_declare(node, judge):
    """An answer fits the general error as well, so the alternative of its code is asked for here."""
    observer = Observer(node, fetch(node))
    replies = [call(observer, "demo/fail", status=409), call(observer, "demo/add", {"a": 1}, status=422)]
    observer.values.clear()
    for reply in replies:
        schema = observer.document["paths"]["/call"]["post"]["responses"][str(reply.status)]["content"]["application/json"]["schema"]
        code = reply.error()["code"]
        fitting = [i for i, each in enumerate(schema["anyOf"]) if
                   each.get("properties", {}).get("code", {}).get("const") == code or
                   code in each.get("properties", {}).get("code", {}).get("enum", [])]
        assert len(fitting) == 1 and "details" in schema["anyOf"][fitting[0]]["properties"]
        observer.values.append({"document": 0, "value": reply.json(), "schema":
                                f"#/paths/~1call/post/responses/{reply.status}/content/application~1json/schema/anyOf/{fitting[0]}"})
    assert judge([observer.document], observer.values) == []
    for value in observer.values:
        value["value"]["details"] = {"holder": 5, "errors": 5}
    assert len(judge([observer.document], observer.values)) == 2


# ---- alknet openapi ---------------------------------------------------------------------------------------------------

def export(node, *args, url=None, token=ADMIN):
    env = {**os.environ, "ALKNET_URL": url or node.url, "XDG_CONFIG_HOME": str(node.folder), "ALKNET_TOKEN": token}
    return subprocess.run([BIN / "alknet", "openapi", *args], env=env, capture_output=True, text=True, timeout=PATIENCE)


def test_alknet_prints_the_document(node):
    for args, query in (([], ""), (["--openapi", "3.2"], "?version=3.2"), (["-w", "3.1", "-o", "json"], "?version=3.1")):
        done = export(node, "--export", *args)
        assert done.returncode == 0 and done.stderr == ""
        assert json.loads(done.stdout) == fetch(node, ADMIN, query)
        assert (done.stdout.count("\n") == 1) == ("json" in args)
    assert json.loads(export(node, "--export", token="").stdout) == fetch(node)


def test_alknet_writes_the_document_into_a_file(node, tmp_path):
    target = tmp_path / "document.json"
    target.write_text("old" * 100_000)
    done = export(node, "--export", "--file", target)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "") and json.loads(target.read_text()) == fetch(node, ADMIN)
    kept = target.read_text()
    assert export(node, "--export", "--file", target, token=UNKNOWN).returncode == 1 and target.read_text() == kept
    done = export(node, "--export", "--file", tmp_path / "none/document.json")
    assert done.returncode == 2 and "document.json" in done.stderr
    done = export(node, "--export", "--file", "/dev/full")
    assert done.returncode == 3 and "/dev/full" in done.stderr


@pytest.mark.parametrize("args,status,says", [([], 2, "--export"), (["--export", "--openapi", "3.0"], 2, "3.1 or 3.2"),
                                              (["--export", "operand"], 2, "with a document")])
def test_alknet_says_what_is_wrong_with_the_line(node, args, status, says):
    done = export(node, *args)
    assert done.returncode == status and says in done.stderr and not done.stdout


def test_alknet_says_what_is_no_document(node):
    done = export(node, "--export", token=UNKNOWN)
    assert done.returncode == 1 and "FORBIDDEN" in done.stderr
    done = export(node, "--export", url=f"ws://127.0.0.1:{node.port}")
    assert done.returncode == 2 and "http" in done.stderr
    with socket.create_server(("127.0.0.1", 0)) as server:
        def answer():
            peer = server.accept()[0]
            peer.recv(4096)
            peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}")
            peer.close()
        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        done = export(node, "--export", url=f"http://127.0.0.1:{server.getsockname()[1]}")
        thread.join(PATIENCE)
    assert done.returncode == 3 and "no OpenAPI document" in done.stderr


def test_alknet_shows_the_curl_command(node):
    shown = export(node, "--export", "--openapi", "3.2", "--curl").stdout
    assert "/openapi.json?version=3.2'" in shown and ADMIN not in shown
    done = subprocess.run(["sh", "-c", shown], env={**os.environ, "ALKNET_TOKEN": ADMIN}, capture_output=True, timeout=PATIENCE)
    assert json.loads(done.stdout) == fetch(node, ADMIN, "?version=3.2")
