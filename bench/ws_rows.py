"""The rows about WebSocket: calls, floods, idle sessions, a publisher with many subscribers. A part of run.py's Bench."""

import subprocess

from measure import Failed, Row, compare, loaded, run_json, spawn, stop
from peers import INPUT_BYTES, Alknetd, Grpc, Publisher, WsEcho, call_input

AGAINST_BARE = {"1 x 1": None, "64 x 1": 0.9, "1 x 64": 0.6}
AGAINST_STREAM = {"queue": 15, "threads": None}
SESSION_KIB = 8
TICK_MS = 20
SUBSCRIBERS = 1000
SLOW_READER = 1.5
FLOODS = 2  # connections, each of which keeps the most in flight that load.h can
FLOOD_CALLS = 4096
FLOOD_LIMITS = {"connection_calls": 2 * FLOOD_CALLS, "message_budget": "1000MiB"}


class WebSocketRows:
    """Uses what Bench has: options, programs, cores, shapes, printing."""

    def load_ws(self, server, shape, more=()):
        connections, in_flight, threads, spin = self.shapes[shape]
        command = self.ws_command(server) + [*more, "--connections", connections, "--in-flight", in_flight, "--threads", threads,
                                             "--warmup", self.warmup, "--seconds", self.options.seconds]
        return loaded(server.child, command + ["--spin"] * spin, self.load_cores[-threads:], self.options.seconds)

    def ws_command(self, server, token=None):
        path = self.folder / "input"
        path.write_text(call_input())
        return [self.programs / "load_ws", "--port", server.port, "--token", token or server.token, "--input", path]

    def load_stream(self, grpc, client):
        command = [grpc.stream, grpc.port, 64, client, self.warmup, self.options.seconds, INPUT_BYTES]
        return loaded(grpc.child, command, self.load_cores, self.options.seconds)

    def ws_row(self, name, target, ours, theirs):
        row = compare(Row(name, "calls/s", ">=", target), self.options.pairs, ours, theirs)
        self.show(row, "rate", lambda v: f"{v:.0f}/s")
        self.show_cpu(row)
        self.keep(row, "rate")

    def ws(self):
        alknetd = Alknetd(self.folder, self.server_cores)
        try:
            bare = WsEcho(self.programs, self.server_cores)
            try:
                for shape, target in AGAINST_BARE.items():
                    self.ws_row(f"WS {shape} | bare wslay", target,
                                lambda: self.load_ws(alknetd, shape), lambda: self.load_ws(bare, shape))
            finally:
                stop(bare.child)
            try:
                grpc = Grpc(self.programs / "grpc", self.server_cores)
            except Failed as e:
                print(f"WebSocket | gRPC stream: not measured, {e}")
                return
            try:
                for client, target in AGAINST_STREAM.items():
                    self.ws_row(f"WS 1 x 64 | gRPC stream, {client}", target,
                                lambda: self.load_ws(alknetd, "1 x 64"), lambda: self.load_stream(grpc, client))
            finally:
                stop(grpc.child)
        finally:
            stop(alknetd.child)

    # ---- floods ----

    def echo_beside(self, server, echo, flood):
        """The commands are without times: the flood begins before the echo and ends behind it."""
        seconds = 2 * self.warmup + self.options.seconds + 1
        child = spawn(flood + ["--connections", FLOODS, "--in-flight", FLOOD_CALLS, "--seconds", seconds], self.load_cores,
                      stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        try:
            line = self.echo_alone(server, echo)
            if child.poll() is not None:
                raise Failed(f"the flood ended too early: {child.communicate()[1].strip()}")
            return line
        finally:
            stop(child)

    def echo_alone(self, server, echo):
        command = echo + ["--warmup", self.warmup, "--seconds", self.options.seconds]
        return loaded(server.child, command, self.load_cores[-1:], self.options.seconds)

    def flood(self):
        server = Alknetd(self.folder, self.server_cores, limits=FLOOD_LIMITS)
        echo = self.ws_command(server, server.other_token)
        floods = {"WS": self.ws_command(server), "HTTP": [self.programs / "load", "--port", server.port, "--request", server.request,
                                                          "--tail", server.tail]}
        try:
            for name, flood in floods.items():
                row = compare(Row(f"echo beside {FLOODS} {name} floods | alone", "us"), self.options.pairs,
                              lambda: self.echo_beside(server, echo, flood), lambda: self.echo_alone(server, echo))
                self.show(row, "p99_us", lambda v: f"{v:.0f} us", "p99")
                self.line("  the longest of all runs", *(f"{max(x['max_us'] for x in side):.0f} us" for side in (row.ours, row.theirs)))
                self.keep(row, "p99_us")
        finally:
            stop(server.child)

    # ---- idle sessions ----

    def sessions(self):
        count = self.descriptors_for(self.options.sessions)
        each = []
        for start in (lambda: Alknetd(self.folder, self.server_cores), lambda: WsEcho(self.programs, self.server_cores)):
            server = start()
            try:
                self.load_ws(server, "1 x 1")
                each.append(self.held(server, self.ws_command(server), count))
            finally:
                stop(server.child)
        self.line(f"resident, each of {count} sessions", f"{each[0]:.2f} KiB", f"{each[1]:.2f} KiB", f"{each[0] / each[1]:.2f}",
                  target=f"<= {SESSION_KIB}", verdict="ok" if each[0] <= SESSION_KIB else "MISSED")
        self.results.append({"name": "sessions", "count": count, "ours_kib": each[0], "bare_kib": each[1]})

    # ---- fan-out ----

    def fanout(self):
        """The program pairs by itself: the same subscribers with and without a slow reader beside them."""
        count = self.descriptors_for(SUBSCRIBERS)
        publisher = Publisher(self.programs, self.server_cores, TICK_MS)
        o = self.options
        try:
            lines = run_json([self.programs / "fanout", "--port", publisher.port, "--token", publisher.token, "--subscribers",
                              count, "--pairs", o.pairs, "--seconds", o.seconds], self.load_cores, 60 + o.pairs * (3 + 2 * o.seconds))
        finally:
            stop(publisher.child)
        for key, target in (("p99_us", SLOW_READER), ("p50_us", None)):
            row = Row(f"{count} subscribers, slow | none: {key[:3]}", "us", "<=", target)
            for line in lines:
                row.add(line["slow"], line["alone"])
            self.show(row, key, lambda v: f"{v:.0f} us")
            self.keep(row, key)
