"""The rows about TLS and HTTP/2: calls, WebSocket, handshakes, idle connections, floods. A part of run.py's Bench."""

import re
import shutil
import socket
import ssl
import statistics
import subprocess

from measure import Failed, Row, compare, loaded_by, memory_kib, run_json, spawn, stop
from peers import Alknetd, H2o, Nginx, call_body, certificate

IN_FLIGHT = 64
H2_NGINX, H2_H2O, WSS_CLEAR = 3, 0.8, 0.35
HANDSHAKES = {"full, TLS 1.3 | bare mbedTLS": ("full13", "bare13", 0.9), "full, TLS 1.2 | bare mbedTLS": ("full12", "bare12", 0.9),
              "resumed, TLS 1.3 | full": ("resumed13", "full13", 1.4), "resumed, TLS 1.2 | full": ("resumed12", "full12", 4)}
IDLE = 2000
IDLE_TLS_KIB = 24
FLOOD_WAYS = {"reset": "rapid reset", "settings": "SETTINGS", "ping": "PING", "hello": "ClientHellos"}
FLOOD_RATE, FLOOD_P99 = 0.8, 2


class TlsRows:
    """Uses what Bench has: options, programs, cores, printing."""

    # ---- HTTP/2 ----

    def load_h2(self, server, method):
        """h2load says what came: every answer must be 200 and have the body's length."""
        body = self.folder / "body"
        body.write_text(call_body())
        seconds = max(1, round(self.options.seconds))
        command = ["h2load", "-c", 1, "-m", IN_FLIGHT, "-t", 1, "-D", seconds, "-H", f"authorization: Bearer {server.token}"]
        if method == "POST":
            command += ["-d", body, "-H", "content-type: application/json"]

        def run():
            child = spawn(command + [f"https://127.0.0.1:{server.port}/call"], self.load_cores, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True)
            text = child.communicate(timeout=seconds + 30)[0]
            done, data = re.search(r" (\d+) done, ", text), re.search(r"\((\d+)\) data", text)
            ok = re.search(r"status codes: (\d+) 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx", text)
            if not (done and ok and data) or "TLS Protocol: TLSv1.3" not in text or "protocol: h2" not in text:
                raise Failed(f"h2load: {text.strip()[-300:]}")
            total = int(done[1])
            if not total or any(int(n) for n in ok.groups()[1:]) or int(data[1]) < (int(ok[1]) - IN_FLIGHT) * server.answer_bytes:
                raise Failed(f"not every answer is right: {text.strip()[-300:]}")
            return {"total": total, "rate": total / seconds}
        return loaded_by(server.child, run)

    def h2_row(self, name, target, ours, theirs):
        row = compare(Row(name, "calls/s", ">=", target), self.options.pairs, ours, theirs)
        self.show(row, "rate", lambda v: f"{v:.0f}/s")
        self.show_cpu(row)
        self.keep(row, "rate")

    def h2(self):
        if not shutil.which("h2load"):
            print("HTTP/2 over TLS: not measured, h2load is not installed")
            return
        pair = certificate(self.folder)
        alknetd = Alknetd(self.folder, self.server_cores, tls=pair)
        try:
            body = alknetd.answer()
            alknetd.answer_bytes = len(body)
            for make, method, target in ((Nginx, "POST", H2_NGINX), (H2o, "GET", H2_H2O)):
                try:
                    peer = make(self.folder, self.server_cores, body, alknetd.token, tls=pair)
                except Failed as e:
                    print(f"h2 over TLS | {make.__name__}: not measured, {e}")
                    continue
                peer.token, peer.answer_bytes = alknetd.token, len(body)
                try:
                    self.h2_row(f"h2 over TLS 1 x {IN_FLIGHT} | {make.__name__.lower()}, {method}", target,
                                lambda: self.load_h2(alknetd, "POST"), lambda: self.load_h2(peer, method))
                finally:
                    stop(peer.child)
        finally:
            stop(alknetd.child)

    # ---- WebSocket ----

    def wss(self):
        """Two servers, since a port is either clear or not."""
        folders = [self.folder / name for name in ("secure", "clear")]
        for folder in folders:
            folder.mkdir()
        secure = Alknetd(folders[0], self.server_cores, tls=certificate(self.folder))
        try:
            clear = Alknetd(folders[1], self.server_cores)
            try:
                self.ws_row("WS 1 x 64 over TLS | clear", WSS_CLEAR, lambda: self.load_ws(secure, "1 x 64", ["--tls"]),
                            lambda: self.load_ws(clear, "1 x 64"))
            finally:
                stop(clear.child)
        finally:
            stop(secure.child)

    # ---- handshakes ----

    def handshakes(self):
        """The program runs its servers in turn and prints a line of nanoseconds of the server for each turn."""
        pair = certificate(self.folder)
        lines = run_json([self.programs / "handshake", pair[0], pair[1], self.options.pairs], self.server_cores, 300)
        for name, (ours, theirs, target) in HANDSHAKES.items():
            row = Row(f"handshakes: {name}", "1/s", ">=", target)
            for line in lines:
                row.add({"rate": 1e9 / line[ours]}, {"rate": 1e9 / line[theirs]})
            self.show(row, "rate", lambda v: f"{v:.0f}/s")
            self.keep(row, "rate")

    # ---- idle connections ----

    def idle_kib(self, server, version, count):
        """After one request each; those before them have made what all share."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.minimum_version = context.maximum_version = version
        request = server.request.read_bytes()

        def one():
            tls = context.wrap_socket(socket.create_connection(("127.0.0.1", server.port), 10))
            tls.sendall(request)
            if b" 200 " not in tls.recv(65536)[:20]:
                raise Failed("an idle connection's one answer was wrong")
            return tls
        held = [one() for _ in range(50)]
        before = memory_kib(server.child.pid, "Rss")
        held += [one() for _ in range(count)]
        each = (memory_kib(server.child.pid, "Rss") - before) / count
        for tls in held:
            tls.close()
        return each

    def idle(self):
        count = self.descriptors_for(IDLE)
        pair = certificate(self.folder)
        for name, version in (("1.3", ssl.TLSVersion.TLSv1_3), ("1.2", ssl.TLSVersion.TLSv1_2)):
            alknetd = Alknetd(self.folder, self.server_cores, tls=pair)
            try:
                body = alknetd.answer()
                ours = self.idle_kib(alknetd, version, count)
            finally:
                stop(alknetd.child)
            self.line(f"resident, each of {count} TLS {name}", f"{ours:.2f} KiB", self.idle_nginx(body, alknetd.token, pair, version, count), "", "",
                      f"<= {IDLE_TLS_KIB}", "ok" if ours <= IDLE_TLS_KIB else "MISSED")
            self.results.append({"name": f"idle TLS {name}", "count": count, "kib": ours})

    def idle_nginx(self, body, token, pair, version, count):
        try:
            nginx = Nginx(self.folder, self.server_cores, body, token, tls=pair)
        except Failed:
            return ""
        try:
            return f"{self.idle_kib(nginx, version, count):.2f} KiB"
        finally:
            stop(nginx.child)

    # ---- floods ----

    def beside_h2_flood(self, servers, way):
        """Good clients call over HTTP/1.1, or TLS where that is flooded, while one flooder does nothing else."""
        server = servers["tls" if way == "hello" else "clear"]
        # Where it has to share a core with the good clients, it takes what they leave: what is measured is the server.
        flood = spawn(["nice", "-n", 19, self.programs / "flood", server.port, way, self.options.seconds + 2 * self.warmup + 1], self.load_cores[:1],
                      stdout=subprocess.PIPE, text=True)
        try:
            line = self.load_good_clients(server)
            if flood.poll() is not None:
                raise Failed(f"the flood of {way} ended too early")
        finally:
            said = flood.communicate(timeout=30)[0]
        if not said.strip().isdigit() or int(said) < 100:
            raise Failed(f"the flood of {way} did not flood: {said}")
        return {**line, "flood": int(said)}

    def load_good_clients(self, server):
        return run_json([self.programs / "load", "--port", server.port, "--request", server.request, "--tail", server.tail, "--connections", 8,
                         "--warmup", self.warmup, "--seconds", self.options.seconds] + ["--tls"] * server.secure, self.load_cores[-1:], 60)[-1]

    def h2flood(self):
        folders = {name: self.folder / name for name in ("clear", "tls")}
        pair, servers = certificate(self.folder), {}
        try:
            for name, folder in folders.items():
                folder.mkdir()
                servers[name] = Alknetd(folder, self.server_cores, tls=pair if name == "tls" else None)
            for way, name in FLOOD_WAYS.items():
                server = servers["tls" if way == "hello" else "clear"]
                row = compare(Row(f"8 good beside {name} | alone", "calls/s", ">=", FLOOD_RATE), self.options.pairs,
                              lambda: self.beside_h2_flood(servers, way), lambda: self.load_good_clients(server))
                self.show(row, "rate", lambda v: f"{v:.0f}/s")
                late = Row("  their p99", "us", "<=", FLOOD_P99)
                late.ours, late.theirs = row.ours, row.theirs
                self.show(late, "p99_us", lambda v: f"{v:.0f} us")
                self.line("  the flood", f"{statistics.median(x['flood'] for x in row.ours):.0f}")
                self.keep(row, "rate")
                self.keep(late, "p99_us")
        finally:
            for server in servers.values():
                stop(server.child)
