"""The rows about clients that make the server wait. A part of run.py's Bench."""

import json
import statistics
import subprocess

from measure import Failed, loaded, memory_kib, spawn, stop
from peers import Alknetd

SLOW_MS = 6000  # each time-out
SLOW_WAYS = {"drip": "headers dripping", "headers": "30 KB of headers", "announce": "body announced", "stall": "body stalled at 16 KB",
             "junk": "junk behind a call", "read": "slow read of 128 KB"}
SLOW_KIB = 16  # beyond what a client has sent
SLOW_P99 = 2
GOOD_CLIENTS = 8
LIMITS = {**dict.fromkeys(("header_timeout_ms", "body_timeout_ms", "write_timeout_ms", "deadline_ms"), SLOW_MS),
          "message_budget": "4000MiB"}


class SlowRows:
    """Uses what Bench has: options, programs, cores, printing."""

    def load_good(self, server):
        command = [self.programs / "load", "--port", server.port, "--request", server.request, "--tail", server.tail,
                   "--connections", GOOD_CLIENTS, "--warmup", self.warmup, "--seconds", self.options.seconds]
        return loaded(server.child, command, self.load_cores[-1:], self.options.seconds)["p99_us"]

    def beside_slow(self, way, count):
        """One run: a server of its own, good clients without and with the slow ones."""
        server = Alknetd(self.folder, self.server_cores, limits=LIMITS)
        try:
            alone = self.load_good(server)
            before = memory_kib(server.child.pid, "Rss")
            slow = spawn([self.programs / "slow", "--port", server.port, "--way", way, "--connections", count, "--token", server.token,
                          "--seconds", SLOW_MS / 1000 + 1], self.load_cores, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
            begun = json.loads(slow.stdout.readline() or "{}")
            if begun.get("held") != count:
                slow.kill()
                slow.communicate()
                raise Failed(f"{way}: {begun.get('held')} of {count} slow connections are there")
            beside = self.load_good(server)
            grown = (memory_kib(server.child.pid, "Rss") - before) / count
            ended = json.loads(slow.communicate(timeout=SLOW_MS / 1000 + 60)[0] or "{}")
            return {"alone_us": alone, "beside_us": beside, "kib": grown, "sent_kib": begun["sent"] / 1024, **ended}
        finally:
            stop(server.child)

    def slow(self):
        count = self.descriptors_for(self.options.slow)
        for way, name in SLOW_WAYS.items():
            runs = [self.beside_slow(way, count) for _ in range(min(3, self.options.pairs))]
            ratios = sorted(r["beside_us"] / r["alone_us"] for r in runs)
            beyond = statistics.median(r["kib"] - r["sent_kib"] for r in runs)
            left = max(count - r["cut"] for r in runs)
            middle = statistics.median(ratios)
            self.line(f"{count} slow: {name}", *(f"{statistics.median(r[k] for r in runs):.0f} us" for k in ("beside_us", "alone_us")),
                      f"{middle:.2f}", f"{ratios[0]:.2f} .. {ratios[-1]:.2f}", f"<= {SLOW_P99}", "ok" if middle <= SLOW_P99 else "MISSED")
            self.line("  resident, each, beyond what it sent", f"{beyond:.1f} KiB", target=f"<= {SLOW_KIB}",
                      verdict="ok" if beyond <= SLOW_KIB else "MISSED")
            self.line("  not cut a second after the time-out", str(left), target="<= 0", verdict=f"{'MISSED' if left else 'ok'}, the last "
                      f"after {max(r['latest_ms'] for r in runs)} ms")
            self.results.append({"name": f"slow {way}", "connections": count, "runs": runs})
