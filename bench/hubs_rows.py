"""The rows about two hubs that are joined over NATS: what crossing to the other hub adds to a call. A part of run.py's Bench."""

import time

from measure import Failed, Row, compare, cpu_seconds, run_json
from peers import Cluster, call_input

HUBS_CPU, HUBS_RATE = 1.6, 0.8
HUBS_CORES = 6  # from which on the caller, two hubs, spoke and broker have one each
HUBS_QUESTIONS = 20_000


class HubsRows:
    """Uses what Bench has: options, programs, printing."""

    def hubs(self):
        try:
            cluster = Cluster(self.folder)
        except Failed as e:
            print(f"calls through two hubs: not measured, {e}")
            return
        try:
            cluster.answer()
            for in_flight in (1, 64):
                self.crossing_hubs(cluster, in_flight)
        finally:
            cluster.stop()

    def load_hubs(self, cluster, name, in_flight):
        """Of the first hub's caller, to the spoke of that name; with the CPU time of both hubs for each call."""
        call, echo = self.folder / f"call-{name}", self.folder / "echo"
        call.write_text(cluster.input(name))
        echo.write_text(call_input())

        def used():
            return sum(cpu_seconds(child.pid) for child, _ in cluster.hubs)
        before = used()
        line = run_json([self.programs / "load_ws", "--port", cluster.port, "--token", cluster.token, "--operation", cluster.operation, "--input", call,
                         "--output", echo, "--in-flight", in_flight, "--warmup", self.warmup, "--seconds", self.options.seconds], (),
                        self.options.seconds + 30)[-1]
        return {**line, "cpu_us": (used() - before) * 1e6 / line["total"]}

    def crossing_hubs(self, cluster, in_flight):
        begun = cluster.said()
        remote = self.load_hubs(cluster, "b", in_flight)
        time.sleep(1)  # what the broker says of itself may be as old
        messages, size = (b - a for a, b in zip(begun, cluster.said()))
        size = round(size / messages)
        print(f"(two hubs, {in_flight} in flight: {messages / remote['total']:.2f} messages a call, of {size} bytes)")

        def ours():
            far, near = self.load_hubs(cluster, "b", in_flight), self.load_hubs(cluster, "a", in_flight)
            return {"rate": far["rate"], "ns": 1000 * (far["cpu_us"] - near["cpu_us"]), "far": far, "near": near}

        runs = compare(Row("", "ns"), self.options.pairs, ours,
                       lambda: run_json([self.programs / "bus", 1, HUBS_QUESTIONS, size], (), 120)[0])
        bare = [("libnats", "bare_one"), ("bus", "one")] if in_flight == 1 else [("libnats", "bare_many"), ("libnats, gathered", "gathered_many"),
                                                                                ("bus", "many")]
        for name, key in bare:
            row = Row(f"other hub, {in_flight} in flight | {name}", "ns", "<=", None if name == "bus" else HUBS_CPU)
            rate = Row("  calls/s", "calls/s", ">=", HUBS_RATE if in_flight == 64 and len(self.server_cores + self.load_cores) >= HUBS_CORES and
                       name != "bus" else None)
            for a, b in zip(runs.ours, runs.theirs):
                row.add({"ns": a["ns"]}, {"ns": b[key]})
                rate.add(a, {"rate": 1e9 / b[key + "_took"]})
            self.show(row, "ns", lambda v: f"{v / 1000:.1f} us")
            self.show(rate, "rate", lambda v: f"{v:.0f}/s")
            self.keep(row, "ns")
            self.keep(rate, "rate")
        row = Row("  both hubs, other | own spoke", "us")
        for a in runs.ours:
            row.add(a["far"], a["near"])
        self.show(row, "cpu_us", lambda v: f"{v:.1f} us")
        self.show(row, "rate", lambda v: f"{v:.0f}/s")
        self.keep(row, "cpu_us")
