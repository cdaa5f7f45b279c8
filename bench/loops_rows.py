"""The rows about several loops of one node: calls, calls that cross from one to another, a broadcast. A part of run.py's Bench. Server and load have
all cores: with one for the server, two loops would be no more than one."""

from measure import Failed, Row, compare, loaded, run_json, stop
from peers import Alknetd, call_input

CONNECTIONS = 64
CPU, RATE = 1.1, 1.7
CORES = 4  # from which on two loops and the load have one each
CROSSING_CALLS = 50_000
CROSSING_NS = 2500
BROADCAST = 1.5
BROADCAST_CLIENTS = 10_000


class LoopsRows:
    """Uses what Bench has: options, programs, cores, printing."""

    def loops(self):
        self.two_workers()
        self.crossing()
        self.broadcast()

    def two_workers(self):
        """Two workers beside one."""
        cores = self.server_cores + self.load_cores
        servers = []
        try:
            for count in (2, 1):
                folder = self.folder / f"workers-{count}"
                folder.mkdir()
                servers.append(Alknetd(folder, cores, more={"workers": count}))
                servers[-1].answer()
            path = self.folder / "input"
            path.write_text(call_input())
            for name, command in (("POST /call", lambda s: [self.programs / "load", "--port", s.port, "--request", s.request, "--tail", s.tail]),
                                  ("WS", lambda s: [self.programs / "load_ws", "--port", s.port, "--token", s.token, "--input", path])):
                self.workers_row(name, command, servers, cores)
        finally:
            for server in servers:
                stop(server.child)

    def workers_row(self, name, command, servers, cores):
        def run(server):
            return loaded(server.child, [*command(server), "--connections", CONNECTIONS, "--threads", 2, "--warmup", self.warmup, "--seconds",
                                         self.options.seconds], cores, self.options.seconds)

        row = compare(Row(f"{name} {CONNECTIONS} x 1, 2 loops | 1", "calls/s", ">=", RATE if len(cores) >= CORES else None), self.options.pairs,
                      lambda: run(servers[0]), lambda: run(servers[1]))
        self.show(row, "rate", lambda v: f"{v:.0f}/s")
        self.keep(row, "rate")
        cpu = Row("  CPU time of the server per call", "us", "<=", CPU)
        cpu.ours, cpu.theirs = row.ours, row.theirs
        self.show(cpu, "cpu_us", lambda v: f"{v:.2f} us")
        self.keep(cpu, "cpu_us")

    def crossing(self):
        """The target is a difference: so the other side of the row is what is allowed."""
        lines = run_json([self.programs / "crossing", self.options.pairs, CROSSING_CALLS], self.server_cores + self.load_cores, 600)
        for name, kind in (("call that crosses | allowed", "one"), ("  64 in flight | allowed", "many")):
            row = Row(name, "ns", "<=", 1)
            for line in lines:
                row.add({"ns": line["across_" + kind]}, {"ns": line["here_" + kind] + CROSSING_NS})
            self.show(row, "ns", lambda v: f"{v / 1000:.2f} us")
            self.keep(row, "ns")

    def broadcast(self):
        count = self.descriptors_for(2 * BROADCAST_CLIENTS) // 2
        lines = run_json([self.programs / "broadcast", self.options.pairs, count], self.server_cores + self.load_cores, 600)
        if any(line["clients"] != count for line in lines):
            raise Failed(f"not all of {count} clients took part")
        for name, key, target in ((f"event to {count} clients, 2 loops | 1", "", BROADCAST), ("  CPU time of the server per client", "_cpu", None)):
            row = Row(name, "1/s", ">=", target)
            for line in lines:
                row.add({"rate": count * 1e9 / line["two" + key], "ns": line["two" + key] / count},
                        {"rate": count * 1e9 / line["one" + key], "ns": line["one" + key] / count})
            if key:
                self.show(row, "ns", lambda v: f"{v / 1000:.2f} us")
            else:
                self.show(row, "rate", lambda v: f"{count / v * 1000:.0f} ms")
            self.keep(row, "ns" if key else "rate")
