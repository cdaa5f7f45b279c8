"""The rows about QUIC: calls on one stream and on one each, handshakes, one call at a time, idle connections, calls through a hub. A part of run.py's
Bench."""

import json
import subprocess

from measure import Failed, Row, compare, loaded, memory_kib, run_json, spawn, stop
from peers import INPUT_BYTES, Alknetd, Hub, Nats, build_msquic, call_input, certificate

CALLS = 50_000
IDLE = 1000
IDLE_KIB = 48
# ours, theirs, least or most of the ratio
ROWS = {"QUIC 1 x 64, one stream | bare ngtcp2": ("shared", "bare_shared", 0.5), "QUIC 1 x 64, a stream each | bare": ("each", "bare_each", 0.5),
        "QUIC full mutual handshakes | bare": ("handshake", "bare_handshake", 0.85)}
ONE_FACTOR, ONE_MORE_NS = 1.5, 15_000
HUB_NATS = 1.5
MSQUIC = {"QUIC 1 x 64, a stream each | msquic": ("each", 2), "QUIC 1 x 64, one stream | msquic": ("shared", None)}


class QuicRows:
    """Uses what Bench has: options, programs, cores, printing."""

    def quic(self):
        """The program runs both sides in turn, each with its client and server on one core, and prints CPU times."""
        lines = run_json([self.programs / "quic", self.options.pairs, CALLS], self.server_cores, 600)
        for name, (ours, theirs, target) in ROWS.items():
            row = Row(name, "1/s", ">=", target)
            for line in lines:
                row.add({"rate": 1e9 / line[ours]}, {"rate": 1e9 / line[theirs]})
            self.show(row, "rate", lambda v: f"{v:.0f}/s")
            self.keep(row, "rate")
        # The target has a sum in it: so the other side of the row is what is allowed.
        row = Row("QUIC one at a time, p50 | allowed", "ns", "<=", 1)
        for line in lines:
            row.add({"ns": line["one"]}, {"ns": ONE_FACTOR * line["udp"] + ONE_MORE_NS})
        self.show(row, "ns", lambda v: f"{v / 1000:.1f} us")
        self.keep(row, "ns")

    def msquic(self):
        """Both programs have client and server on one core, and print CPU times."""
        try:
            echo = build_msquic(self.programs)
        except Failed as e:
            print(f"QUIC | msquic: not measured, {e}")
            return
        pair = certificate(self.folder)
        runs = compare(Row("", "ns"), self.options.pairs, lambda: run_json([self.programs / "quic", 1, CALLS], self.server_cores, 120)[0],
                       lambda: run_json([echo, pair[0], pair[1], CALLS], self.server_cores, 120)[0])
        for name, (key, target) in MSQUIC.items():
            row = Row(name, "1/s", ">=", target)
            for ours, theirs in zip(runs.ours, runs.theirs):
                row.add({"rate": 1e9 / ours[key]}, {"rate": 1e9 / theirs[key]})
            self.show(row, "rate", lambda v: f"{v:.0f}/s")
            self.keep(row, "rate")

    def quicidle(self):
        """After 50 connections, which have made what all share."""
        count = self.descriptors_for(IDLE)
        alknetd = Alknetd(self.folder, self.server_cores, quic=True)
        try:
            alknetd.answer()
            held = [self.hold(alknetd, 50)]
            before = memory_kib(alknetd.child.pid, "Rss")
            held.append(self.hold(alknetd, count))
            each = (memory_kib(alknetd.child.pid, "Rss") - before) / count
            for holder, wanted in zip(held, (50, count)):
                left, _ = holder.communicate()
                if json.loads(left or "{}").get("open") != wanted:
                    raise Failed(f"not all of {wanted} idle connections stayed open")
            self.line(f"resident, each of {count} QUIC", f"{each:.2f} KiB", "", "", "", f"<= {IDLE_KIB}", "ok" if each <= IDLE_KIB else "MISSED")
            self.results.append({"name": "idle QUIC", "count": count, "kib": each})
        finally:
            stop(alknetd.child)

    def hold(self, server, count):
        holder = spawn([self.programs / "load_peer", "idle", server.quic_url, count], self.load_cores, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                       text=True)
        if json.loads(holder.stdout.readline() or "{}").get("held") != count:
            raise Failed(f"not all of {count} connections came about")
        return holder

    # ---- through a hub ----

    def load_hub(self, hub, in_flight):
        return loaded(hub.child, [self.programs / "load_peer", "call", hub.url, hub.key, hub.operation, hub.input, call_input(), in_flight, self.warmup,
                                  self.options.seconds], self.load_cores, self.options.seconds)

    def load_nats(self, nats, in_flight):
        measured = [in_flight, self.warmup, self.options.seconds]
        if nats.echo:
            command = [nats.echo, "ask", nats.port, INPUT_BYTES, *measured]
        else:
            body = self.folder / "input"
            body.write_text(call_input())
            command = [self.programs / "load_nats", "--port", nats.port, "--input", body, "--in-flight", in_flight, "--warmup", self.warmup,
                       "--seconds", self.options.seconds]
        return loaded(nats.child, command, self.load_cores, self.options.seconds)

    def hub(self):
        """Caller and spoke share the load's cores, as those do who ask the broker and answer."""
        hub = Hub(self.folder, self.server_cores, self.load_cores)
        try:
            hub.answer()
            for name, client in (("NATS", False), ("NATS, C client", True)):
                try:
                    nats = Nats(self.folder, self.programs, self.server_cores, self.load_cores, client)
                except Failed as e:
                    print(f"through a hub | {name}: not measured, {e}")
                    continue
                try:
                    for in_flight in (1, 64):
                        row = compare(Row(f"hub 1 x {in_flight} | {name}", "calls/s", ">=", HUB_NATS), self.options.pairs,
                                      lambda: self.load_hub(hub, in_flight), lambda: self.load_nats(nats, in_flight))
                        self.show(row, "rate", lambda v: f"{v:.0f}/s")
                        self.show_cpu(row)
                        self.keep(row, "rate")
                finally:
                    nats.stop()
        finally:
            hub.stop()
