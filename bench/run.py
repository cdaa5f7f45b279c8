"""make bench: measures libalknet beside others and prints the ratios. README.md says what each row means and when not to believe it.

    python3 bench/run.py [--only PART,...] [--pairs 7] [--seconds 1] [--idle 5000] [--slow 4000] [--sessions 10000]
                         [--before BUILD] [--json FILE]

ALKNET_BIN and ALKNET_BENCH name the folders of the programs; make bench sets them. Exit status 0: everything that could be measured
here was; what could not is named. 1: an answer was wrong, or a program of this tree does not run."""

import argparse
import json
import os
import pathlib
import resource
import subprocess
import sys
import tempfile

from measure import Failed, Row, compare, instructions, loaded, memory_kib, run_json, spawn, split_cores, stop
from peers import INPUT_BYTES, Alknetd, Grpc, Nginx
from before import BeforeRows
from hosts_rows import HostsRows
from hubs_rows import HubsRows
from loops_rows import LoopsRows
from mcp_rows import McpRows
from openapi_rows import OpenapiRows
from quic_rows import QuicRows
from slow_rows import SlowRows
from tls_rows import TlsRows
from ws_rows import WebSocketRows

WARMUP = 0.3
DISPATCH_CALLS = 200_000
DISPATCH = 2.3
COUNTED_CALLS = 6400
# connections, in flight on each, threads of the load generator, whether it spins
SHAPES = {"1 x 1": (1, 1, 1, True), "64 x 1": (64, 1, 2, False), "1 x 64": (1, 64, 1, True)}
AGAINST_NGINX = {"1 x 1": 0.9, "64 x 1": 0.9, "1 x 64": 5}
AGAINST_GRPC = {"1 x 1": None, "64 x 1": 6, "1 x 64": None}
AGAINST_GRPC_THREADS = {"64 x 1": None}
FETCHES, COUNTED_FETCHES, FETCH = 10_000, 2000, 1.3
QUESTIONS = 20_000
REST_KIB = 3 * 1024
IDLE_KIB = 4
DESCRIPTORS_SPARE = 200


class Bench(WebSocketRows, SlowRows, TlsRows, QuicRows, OpenapiRows, McpRows, HostsRows, LoopsRows, HubsRows,
            BeforeRows):
    shapes, warmup = SHAPES, WARMUP

    def __init__(self, options):
        self.options = options
        self.folder = None  # for the files of one part
        self.programs = pathlib.Path(os.environ["ALKNET_BENCH"])
        self.server_cores, self.load_cores = split_cores()
        self.results = []

    # ---- printing ----

    def head(self):
        o = self.options
        where = f"server on core {self.server_cores[0]}, load on {','.join(map(str, self.load_cores))}" \
            if self.server_cores else "one core for server and load: no ratio of calls/s means anything"
        print(f"{where}; {o.pairs} pairs of {o.seconds:g} s; load average {os.getloadavg()[0]:.1f}")
        print(f"\n{'':34}{'ours':>12}{'theirs':>12}  {'ratio':>6}  {'of all pairs':>13}  {'target':>7}  verdict")

    def line(self, name, ours, theirs="", ratio="", spread="", target="", verdict=""):
        print(f"{name:34}{ours:>12}{theirs:>12}  {ratio:>6}  {spread:>13}  {target:>7}  {verdict}".rstrip(), flush=True)

    def show(self, row, key, form, remark=None):
        """A line of the table; a remark stands in place of the verdict."""
        least, middle, greatest = row.ratios(key)
        ours, theirs = (form(v) for v in row.middles(key))
        self.line(row.name, ours, theirs, f"{middle:.2f}", f"{least:.2f} .. {greatest:.2f}",
                  f"{row.sense} {row.target:g}" if row.target else "", row.verdict(key) if remark is None else remark)

    def keep(self, row, key):
        self.results.append({"name": row.name.strip(), "key": key, "ratio": row.ratios(key)[1], "verdict": row.verdict(key),
                             "ours": row.ours, "theirs": row.theirs})

    def show_cpu(self, row, whose="the server"):
        """The same runs seen from the CPU time of the server, or of whom it is, which other programs disturb less; and the latencies."""
        cpu = Row(f"  CPU time of {whose} per call", "us")
        cpu.ours, cpu.theirs = row.ours, row.theirs
        busy = row.middles("busy")
        remark = f"busy {100 * busy[0]:.0f} | {100 * busy[1]:.0f} %"
        if "p50_us" in row.ours[0]:
            p50, p99 = (row.middles(key) for key in ("p50_us", "p99_us"))
            remark += f", p50 {p50[0]:.0f} | {p50[1]:.0f} us, p99 {p99[0]:.0f} | {p99[1]:.0f} us"
        self.show(cpu, "cpu_us", lambda v: f"{v:.2f} us", remark)

    # ---- what is measured ----

    def compose(self):
        """The program pairs and judges by itself."""
        done = subprocess.run(["taskset", "-c", ",".join(map(str, self.server_cores)), self.programs / "compose", str(self.options.pairs)],
                              capture_output=True, text=True, timeout=300, check=False)
        print(done.stdout + done.stderr, end="")
        if done.returncode:
            raise Failed(f"compose ended with {done.returncode}")

    def dispatch(self):
        lines = run_json([self.programs / "dispatch", self.options.pairs, DISPATCH_CALLS], self.server_cores, 120)
        for name, ours, theirs, target in (("dispatch of 200 bytes | yyjson", "call", "bare", DISPATCH),
                                           ("  answered as text", "text", "bare", DISPATCH),
                                           ("  64 in one turn", "together", "bare", None),
                                           ("  | yyjson without malloc", "call", "pool", None)):
            row = Row(name, "ns", "<=", target)
            for line in lines:
                row.add({"ns": line[ours]}, {"ns": line[theirs]})
            self.show(row, "ns", lambda v: f"{v:.0f} ns")
            self.keep(row, "ns")
        self.instructions()

    def instructions(self):
        """The same in instructions, which no neighbour disturbs: one run each."""
        counts = {}
        for kind in ("bare", "call", "text"):
            try:
                counts[kind] = instructions([self.programs / "dispatch", 1, COUNTED_CALLS, kind], "measured") / COUNTED_CALLS
            except FileNotFoundError:
                print("  instructions: not counted, valgrind is missing")
                return
        for name, kind in (("  in instructions", "call"), ("  in instructions, as text", "text")):
            ratio = counts[kind] / counts["bare"]
            self.line(name, f"{counts[kind]:.0f}", f"{counts['bare']:.0f}", f"{ratio:.2f}", "", f"<= {DISPATCH:g}",
                      "ok" if ratio <= DISPATCH else "MISSED")
            self.results.append({"name": name.strip(), "ratio": ratio, "ours": counts[kind], "theirs": counts["bare"]})

    def fetch(self):
        """Requests of the loop's HTTP client beside those of bare libcurl: CPU time of the client's thread, and instructions."""
        lines = run_json([self.programs / "fetch", self.options.pairs, FETCHES], self.server_cores, 300)
        for name, kind in (("request to a service | libcurl", "one"), ("  64 in flight | libcurl", "many")):
            row = Row(name, "ns", "<=", FETCH)
            for line in lines:
                row.add({"ns": line[kind]}, {"ns": line["bare_" + kind]})
            self.show(row, "ns", lambda v: f"{v / 1000:.1f} us")
            self.keep(row, "ns")
            try:
                ours, theirs = (instructions([self.programs / "fetch", 1, COUNTED_FETCHES, k], "measured") / COUNTED_FETCHES
                                for k in (kind, "bare_" + kind))
            except FileNotFoundError:
                print("  instructions: not counted, valgrind is missing")
                return
            self.line("  in instructions", f"{ours:.0f}", f"{theirs:.0f}", f"{ours / theirs:.2f}", "", f"<= {FETCH:g}",
                      "ok" if ours / theirs <= FETCH else "MISSED")
            self.results.append({"name": name.strip() + ", instructions", "ratio": ours / theirs, "ours": ours, "theirs": theirs})

    def bus(self):
        """A message and its answer through a broker of NATS: CPU time of both ends, the broker's not counted."""
        lines = run_json([self.programs / "bus", self.options.pairs, QUESTIONS], self.server_cores, 300)
        for name, ours, theirs in (("question through NATS | libnats", "one", "bare_one"), ("  64 in flight | libnats", "many", "bare_many"),
                                   ("  | libnats, gathered", "many", "gathered_many")):
            row = Row(name, "ns")
            for line in lines:
                row.add({"ns": line[ours]}, {"ns": line[theirs]})
            self.show(row, "ns", lambda v: f"{v / 1000:.1f} us")
            self.keep(row, "ns")

    def descriptors_for(self, wanted):
        """How many connections a server and its clients can have, of those wanted."""
        count = min(wanted, raise_descriptors(wanted + DESCRIPTORS_SPARE) - DESCRIPTORS_SPARE)
        if count < wanted:
            print(f"(the limit of descriptors allows {count} connections, not {wanted})")
        return count

    def load(self, server, shape):
        connections, in_flight, threads, spin = SHAPES[shape]
        command = [self.programs / "load", "--port", server.port, "--request", server.request, "--tail", server.tail,
                   "--connections", connections, "--in-flight", in_flight, "--threads", threads,
                   "--warmup", WARMUP, "--seconds", self.options.seconds]
        return loaded(server.child, command + ["--spin"] * spin, self.load_cores[-threads:], self.options.seconds)

    def load_grpc(self, server, shape, blocking=False):
        connections, in_flight, threads, _ = SHAPES[shape]
        threads = 0 if blocking else threads
        command = [server.client, server.port, connections, in_flight, threads, WARMUP, self.options.seconds, INPUT_BYTES]
        return loaded(server.child, command, self.load_cores, self.options.seconds)

    def against(self, name, alknetd, targets, theirs):
        for shape, target in targets.items():
            row = compare(Row(f"POST /call {shape} | {name}", "calls/s", ">=", target), self.options.pairs,
                          lambda: self.load(alknetd, shape), lambda: theirs(shape))
            self.show(row, "rate", lambda v: f"{v:.0f}/s")
            self.show_cpu(row)
            self.keep(row, "rate")

    def nginx(self):
        alknetd = Alknetd(self.folder, self.server_cores)
        try:
            body = alknetd.answer()
            try:
                nginx = Nginx(self.folder, self.server_cores, body, alknetd.token)
            except Failed as e:
                print(f"POST /call | nginx: not measured, {e}")
                return
            try:
                self.against("nginx", alknetd, AGAINST_NGINX, lambda shape: self.load(nginx, shape))
            finally:
                stop(nginx.child)
        finally:
            stop(alknetd.child)

    def grpc(self):
        try:
            grpc = Grpc(self.programs / "grpc", self.server_cores)
        except Failed as e:
            print(f"POST /call | gRPC: not measured, {e}")
            return
        try:
            alknetd = Alknetd(self.folder, self.server_cores)
            try:
                alknetd.answer()
                self.against("gRPC unary", alknetd, AGAINST_GRPC, lambda shape: self.load_grpc(grpc, shape))
                self.against("gRPC, threads", alknetd, AGAINST_GRPC_THREADS, lambda shape: self.load_grpc(grpc, shape, True))
            finally:
                stop(alknetd.child)
        finally:
            stop(grpc.child)

    def held(self, server, command, count):
        """KiB that a server's memory grows by for each of count idle connections of a load generator."""
        before = memory_kib(server.child.pid, "Rss")
        holder = spawn(command + ["--connections", count, "--hold"], self.load_cores, stdin=subprocess.PIPE,
                       stdout=subprocess.PIPE, text=True)
        held = json.loads(holder.stdout.readline() or "{}").get("held")
        after = memory_kib(server.child.pid, "Rss")
        left, _ = holder.communicate()
        if held != count or json.loads(left or "{}").get("open") != count:
            raise Failed(f"not all of {count} idle connections stayed open")
        return (after - before) / count

    def memory(self):
        count = self.descriptors_for(self.options.idle)
        alknetd = Alknetd(self.folder, self.server_cores)
        try:
            rest = memory_kib(alknetd.child.pid, "Private_Dirty")
            self.line("private dirty memory at rest", f"{rest} KiB", target=f"<= {REST_KIB}",
                      verdict="ok" if rest <= REST_KIB else "MISSED")
            self.load(alknetd, "1 x 1")
            each = self.held(alknetd, [self.programs / "load", "--port", alknetd.port, "--request", alknetd.request,
                                       "--tail", alknetd.tail], count)
            self.line(f"resident, each of {count} idle", f"{each:.2f} KiB", target=f"<= {IDLE_KIB}",
                      verdict="ok" if each <= IDLE_KIB else "MISSED")
            self.results.append({"name": "memory", "rest_kib": rest, "idle": count, "idle_kib": each})
        finally:
            stop(alknetd.child)


def raise_descriptors(wanted):
    """Raises the limit for us and our children as far as wanted and allowed; returns what it is."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for limit in ((wanted, max(wanted, hard)), (min(wanted, hard), hard)):
        if soft >= wanted:
            break
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, limit)
            soft = limit[0]
        except (ValueError, OSError):
            pass
    return soft


def main():
    parts = ["before", "dispatch", "compose", "nginx", "grpc", "memory", "slow", "ws", "flood", "sessions", "fanout", "h2", "wss", "handshakes", "idle",
             "h2flood", "quic", "msquic", "quicidle", "hub", "imports", "imported", "forward", "fetch", "bus", "loops", "hubs", "mcp", "hosts"]
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--only", default=",".join(parts), help="which parts, with commas: " + ", ".join(parts))
    p.add_argument("--pairs", type=int, default=7)
    p.add_argument("--seconds", type=float, default=1.0, help="of each run")
    p.add_argument("--idle", type=int, default=5000, help="connections")
    p.add_argument("--slow", type=int, default=4000, help="connections that make the server wait")
    p.add_argument("--sessions", type=int, default=10000, help="idle WebSocket sessions")
    p.add_argument("--before", help="another build's folder, to compare this one with, in the part `before`")
    p.add_argument("--json", help="where to write every single run")
    options = p.parse_args()
    chosen = options.only.split(",")
    if not options.before and options.only == ",".join(parts):
        chosen.remove("before")
    if set(chosen) - set(parts) or options.pairs < 1:
        p.error("--only takes " + ", ".join(parts) + "; --pairs at least 1")
    bench, status = Bench(options), 0
    bench.head()
    for part in (part for part in parts if part in chosen):
        with tempfile.TemporaryDirectory(prefix="alknet-bench.") as folder:
            bench.folder = pathlib.Path(folder)
            try:
                getattr(bench, part)()
            except Failed as e:
                print(f"{part}: {e}")
                status = 1
    if options.json:
        pathlib.Path(options.json).write_text(json.dumps(bench.results, indent=1) + "\n", encoding="utf-8")
    return status


if __name__ == "__main__":
    sys.exit(main())
