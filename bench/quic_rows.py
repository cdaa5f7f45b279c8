"""The rows about QUIC: calls on one stream and on one each, handshakes, one call at a time, idle connections. A part of run.py's Bench."""

import json
import subprocess

from measure import Failed, Row, memory_kib, run_json, spawn, stop
from peers import Alknetd

CALLS = 50_000
IDLE = 1000
IDLE_KIB = 48
# ours, theirs, least or most of the ratio
ROWS = {"QUIC 1 x 64, one stream | bare ngtcp2": ("shared", "bare_shared", 0.5), "QUIC 1 x 64, a stream each | bare": ("each", "bare_each", 0.5),
        "QUIC full mutual handshakes | bare": ("handshake", "bare_handshake", 0.85)}
ONE_FACTOR, ONE_MORE_NS = 1.5, 15_000


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
        holder = spawn([self.programs / "quic", "idle", server.quic_url, count], self.load_cores, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                       text=True)
        if json.loads(holder.stdout.readline() or "{}").get("held") != count:
            raise Failed(f"not all of {count} connections came about")
        return holder
