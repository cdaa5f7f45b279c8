"""The rows about hosts in other languages: what it costs to serve and to call from Python and from Go, beside grpc.aio, FastAPI and grpc-go. A part of
run.py's Bench."""

import json
import statistics
from contextlib import contextmanager

from hosts_peers import FastApi, Go, GoNode, GrpcAio, GrpcGo, Python, PythonNode
from measure import Failed, Row, compare, loaded, memory_kib, run_json, stop
from peers import INPUT_BYTES, Alknetd, Grpc, announced, build_grpc, call_body, call_input

# in flight, on one connection
PYTHON, GO = 256, 64
GRPC_AIO, FASTAPI, GRPC_GO = 4, 8, 2
ONE_FACTOR, ONE_MORE_US = 1.3, 60
IDLE_KIB = 5 * 1024
VALUES = 150_000
# operation, input, output; and what the gRPC client is told
ECHO = ("/demo/echo", call_input(), call_input()), INPUT_BYTES
ADD = ("/demo/add", '{"a":1,"b":2}', "3"), "add"


@contextmanager
def running(server):
    try:
        yield server
    finally:
        stop(server.child)


def url(server):
    return f"ws://127.0.0.1:{server.port}"


class HostsRows:
    """Uses what Bench has: options, programs, cores, printing."""

    def hosts(self):
        for name, make, part in (("Python", Python, self.python_host), ("Go", Go, self.go_host)):
            try:
                language = make(self.programs / "hosts")
                client = build_grpc(self.programs / "grpc")[1]
            except Failed as e:
                print(f"hosts in {name}: not measured, {e}")
                continue
            language.build_ours()
            part(language, client)

    def per_core(self, name, target, ours, theirs, whose="the server"):
        """Calls for each second of CPU time of those who serve, or call."""
        row = compare(Row(name, "calls/s", ">=", target), self.options.pairs, ours, theirs)
        for line in row.ours + row.theirs:
            line["core"] = 1e6 / line["cpu_us"]
        self.show(row, "core", lambda v: f"{v:.0f}/s")
        self.show_cpu(row, whose)
        self.keep(row, "core")

    # ---- those who call, and those who are called ----

    def window(self):
        return [self.warmup, self.options.seconds]

    def load_node(self, node, in_flight, call):
        """Over one WebSocket."""
        operation, given, wanted = call
        files = [self.folder / "input", self.folder / "output"]
        for path, text in zip(files, (given, wanted)):
            path.write_text(text)
        command = [self.programs / "load_ws", "--port", node.port, "--token", node.token, "--operation", operation, "--input", files[0], "--output", files[1],
                   "--in-flight", in_flight, "--warmup", self.warmup, "--seconds", self.options.seconds, "--spin"]
        return loaded(node.child, command, self.load_cores[-1:], self.options.seconds)

    def load_unary(self, server, client, in_flight, what):
        return loaded(server.child, [client, server.port, 1, in_flight, 1, *self.window(), what], self.load_cores[-1:], self.options.seconds)

    def load_posts(self, server, path, token, body, answer):
        """Connections with a request each, since answers over HTTP/1.1 keep the order of the requests."""
        request, tail = self.folder / "post.request", self.folder / "post.tail"
        who = f"Authorization: Bearer {token}\r\n" if token else ""
        request.write_text(f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n{who}Content-Type: application/json\r\n"
                           f"Content-Length: {len(body)}\r\n\r\n{body}")
        tail.write_text(answer)
        command = [self.programs / "load", "--port", server.port, "--request", request, "--tail", tail, "--connections", PYTHON, "--warmup", self.warmup,
                   "--seconds", self.options.seconds]
        return loaded(server.child, command, self.load_cores[-1:], self.options.seconds)

    def caller(self, command):
        """A line that the caller prints, alone on the server's core."""
        return run_json(command, self.server_cores, self.options.seconds + 30)[-1]

    def serves(self, name, target, in_flight, client, node, peer):
        for more, (ours, theirs) in ((name, ECHO), ("  a sum", ADD)):
            self.per_core(more, target, lambda: self.load_node(node, in_flight, ours), lambda: self.load_unary(peer, client, in_flight, theirs))

    # ---- Python ----

    def python_host(self, python, client):
        self.python_serves(python, client)
        with running(Alknetd(self.folder, self.load_cores)) as alknetd:
            self.python_calls(python, alknetd)
            self.python_one(python, alknetd)
        self.python_values(python)
        self.python_memory(python)

    def python_serves(self, python, client):
        def fastapi_posts():
            return self.load_posts(fastapi, "/echo", None, call_input(), call_input())

        with running(PythonNode(python, self.server_cores, "asyncio")) as node:
            with running(GrpcAio(python, self.server_cores)) as aio:
                self.serves(f"Python serves 1 x {PYTHON} | grpc.aio", GRPC_AIO, PYTHON, client, node, aio)
                with running(PythonNode(python, self.server_cores, "uvloop")) as faster:
                    self.per_core("  on uvloop", GRPC_AIO, lambda: self.load_node(faster, PYTHON, ECHO[0]),
                                  lambda: self.load_unary(aio, client, PYTHON, ECHO[1]))
            with running(FastApi(python, self.folder, self.server_cores)) as fastapi:
                self.per_core(f"Python serves 1 x {PYTHON} | FastAPI", FASTAPI, lambda: self.load_node(node, PYTHON, ECHO[0]), fastapi_posts)
                self.per_core(f"  POST /call {PYTHON} x 1 | FastAPI", FASTAPI,
                              lambda: self.load_posts(node, "/call", node.token, call_body(), f'"output":{call_input()}}}'), fastapi_posts)

    def python_caller(self, python, alknetd, in_flight):
        return self.caller(python.script("alknet_client", url(alknetd), alknetd.token, call_input(), in_flight, *self.window()))

    def python_calls(self, python, alknetd):
        with running(Grpc(self.programs / "grpc", self.load_cores)) as grpc:
            self.per_core(f"Python calls 1 x {PYTHON} | grpc.aio", GRPC_AIO, lambda: self.python_caller(python, alknetd, PYTHON),
                          lambda: self.caller(python.script("grpc_aio_client", grpc.port, PYTHON, *self.window(), INPUT_BYTES)), "the caller")

    def python_one(self, python, alknetd):
        command = [self.programs / "load_peer", "call", url(alknetd), f"token:{alknetd.token}", *ECHO[0], 1, *self.window()]
        row = compare(Row("Python calls 1 x 1, p50 | in C", "us"), self.options.pairs, lambda: self.python_caller(python, alknetd, 1),
                      lambda: self.caller(command))
        self.show(row, "p50_us", lambda v: f"{v:.1f} us")
        # The target has a sum in it: so the other side of the row is what is allowed.
        allowed = Row("  | allowed", "us", "<=", 1)
        for ours, theirs in zip(row.ours, row.theirs):
            allowed.add(ours, {"p50_us": ONE_FACTOR * theirs["p50_us"] + ONE_MORE_US})
        self.show(allowed, "p50_us", lambda v: f"{v:.1f} us")
        self.keep(row, "p50_us")

    def python_values(self, python):
        runs = Row("Python, values of a generator", "1/s", ">=", VALUES)
        for _ in range(self.options.pairs):
            runs.add(self.caller(python.script("alknet_values", *self.window())), {"rate": 1})
        least, middle, greatest = runs.ratios("rate")
        self.line(runs.name, f"{middle:.0f}/s", "", "", f"{least:.0f} .. {greatest:.0f}", f">= {VALUES}", runs.verdict("rate"))
        self.line("  CPU time for each", f"{statistics.median(run['cpu_us'] for run in runs.ours):.2f} us")
        self.keep(runs, "rate")

    def python_memory(self, python):
        """One run each."""
        kib = {how: self.idle_python(python, how) for how in ("bare", "node", "annotated")}
        for how, most in (("node", IDLE_KIB), ("annotated", None)):
            for field, ours in kib[how].items():
                bare = kib["bare"][field]
                self.line(f"idle, {how}, {field} | bare", f"{ours} KiB", f"{bare} KiB", "", f"+ {ours - bare} KiB", f"<= {most}" if most else "",
                          "" if not most else "ok" if ours - bare <= most else "MISSED")
        self.results.append({"name": "an idle node in Python", **kib})

    def idle_python(self, python, how):
        child, _ = announced("an idle interpreter", python.script("idle", how), self.server_cores)
        try:
            return {field: memory_kib(child.pid, field) for field in ("Rss", "Pss", "Private_Dirty")}
        finally:
            stop(child)

    # ---- Go ----

    def go_host(self, go, client):
        with running(GoNode(go, self.server_cores)) as node, running(GrpcGo(go, self.server_cores)) as peer:
            self.serves(f"Go serves 1 x {GO} | grpc-go", GRPC_GO, GO, client, node, peer)
        with running(Alknetd(self.folder, self.load_cores)) as alknetd, running(Grpc(self.programs / "grpc", self.load_cores)) as grpc:
            self.per_core(f"Go calls 1 x {GO} | grpc-go", GRPC_GO,
                          lambda: self.caller(go.program("alknet_client", url(alknetd), alknetd.token, json.loads(call_input())["text"], GO, *self.window())),
                          lambda: self.caller(go.program("grpc_client", grpc.port, GO, *self.window(), INPUT_BYTES)), "the caller")
