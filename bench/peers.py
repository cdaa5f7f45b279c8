"""The servers that are measured: alknetd and a publisher, and beside them nginx, a gRPC echo and a bare WebSocket echo. Each is a child process on the server's core, with
its files in a folder that the caller removes, on a port of loopback that the kernel chose, and is ended by whoever started it."""

import hashlib
import http.client
import json
import os
import pathlib
import secrets
import shutil
import socket
import ssl
import string
import subprocess
import time

from measure import Failed, spawn, stop

HERE = pathlib.Path(__file__).resolve().parent
INPUT_BYTES = 100
ATTEMPTS = 3


def free_port():
    """A port that nothing listens on at this moment."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def answers(port, child, seconds=10):
    """Waits until a server takes connections; False: it has ended."""
    until = time.monotonic() + seconds
    while child.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return True
        except OSError:
            if time.monotonic() > until:
                stop(child)
                raise Failed(f"nothing listens on port {port}") from None
            time.sleep(0.02)
    return False


def started(name, folder, make, cores):
    """Starts a server; make(port) gives its command. Another program may take the port first, so again if it ends."""
    log = folder / f"{name}.log"
    for _ in range(ATTEMPTS):
        port = free_port()
        command = make(port)
        with open(log, "wb") as f:
            child = spawn(command, cores, stdin=subprocess.DEVNULL, stdout=f, stderr=f)
        if answers(port, child):
            return child, port
    raise Failed(f"{name} does not start: {log.read_text(errors='replace').strip()[-500:]}")


# ---- the request ------------------------------------------------------------------------------------

def call_input():
    """INPUT_BYTES of JSON."""
    text = "".join(string.ascii_letters[i % 52] for i in range(INPUT_BYTES - len('{"text":""}')))
    return json.dumps({"text": text}, separators=(",", ":"))


def call_body():
    """A call of demo/echo with that input."""
    return '{"operation":"/demo/echo","input":%s}' % call_input()


def write_request(folder, name, port, token):
    """The bytes of one POST /call, and what its answer's body must end in: the input, echoed."""
    body = call_body()
    request, tail = folder / f"{name}.request", folder / f"{name}.tail"
    request.write_text(f"POST /call HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAuthorization: Bearer {token}\r\n"
                       f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}")
    tail.write_text('"output":' + body.split('"input":', 1)[1])
    return request, tail


def certificate(folder):
    """(certificate, key): an ECDSA one for loopback, in files of that folder, made once."""
    pair = folder / "bench.crt", folder / "bench.key"
    if not pair[0].exists():
        try:
            subprocess.run(["openssl", "req", "-x509", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "30",
                            "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", pair[1], "-out", pair[0]],
                           check=True, capture_output=True)
        except OSError:
            raise Failed("openssl is not installed") from None
        pair[1].chmod(0o600)
    return pair


# ---- alknetd ----------------------------------------------------------------------------------------

class Alknetd:
    """As it comes, with the demo operations, an API key, another one of somebody else, and no line in the log per call (nginx writes
    none either)."""

    def __init__(self, folder, cores, programs=None, limits=None, tls=None, quic=False):
        self.secure = tls is not None
        program = pathlib.Path(programs or os.environ["ALKNET_BIN"]) / "alknetd"
        self.token, self.other_token = ("alk_" + secrets.token_hex(24) for _ in range(2))
        self.config = {"demo": True, "log": {"level": "warn"},
                       "keys": [{"prefix": token[:8], "hash": hashlib.sha256(token.encode()).hexdigest(), "scopes": ["demo:*"],
                                 "description": "bench"} for token in (self.token, self.other_token)]}
        if limits:
            self.config["limits"] = limits
        if tls:
            self.config["tls"] = {"certificates": [{"certificate": str(tls[0]), "key": str(tls[1])}]}
        path = folder / "alknetd.json"

        def command(port):
            self.config["listen"] = [{"host": "127.0.0.1", "port": port, "tls": self.secure}]
            if quic:  # the same number of UDP
                key = folder / "node.key"
                key.unlink(missing_ok=True)
                made = subprocess.run([pathlib.Path(os.environ["ALKNET_BIN"]) / "alknet", "keygen", key], check=True, capture_output=True, text=True)
                self.quic_url = f"alknet://127.0.0.1:{port}#{made.stdout.strip()}"
                self.config["listen"].append({"quic": True, "host": "127.0.0.1", "port": port})
                self.config["node_key"] = str(key)
            path.write_text(json.dumps(self.config))
            path.chmod(0o600)
            return [program, "--config", path]

        self.child, self.port = started("alknetd", folder, command, cores)
        self.request, self.tail = write_request(folder, "alknetd", self.port, self.token)

    def answer(self):
        """The body of one answer, after looking at all of it."""
        connection = http.client.HTTPSConnection("127.0.0.1", self.port, timeout=10, context=ssl._create_unverified_context()) if self.secure \
            else http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        body = call_body()
        connection.request("POST", "/call", body, {"Content-Type": "application/json",
                                                   "Authorization": f"Bearer {self.token}"})
        reply = connection.getresponse()
        text = reply.read().decode()
        connection.close()
        value = json.loads(text)
        if reply.status != 200 or value.get("result") != "ok" or value.get("output") != json.loads(body)["input"]:
            raise Failed(f"alknetd answers {reply.status} {text}")
        return text


# ---- nginx ------------------------------------------------------------------------------------------

class Nginx:
    """One worker that answers every request with the same bytes that alknetd answers with; over TLS, by HTTP/2 too."""

    CONFIG = """daemon off;
worker_processes 1;
pid nginx.pid;
error_log stderr warn;
events { worker_connections 20000; }
http {
    access_log off;
    client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;
    keepalive_timeout 600s;
    keepalive_requests 1000000000;
    server {
        listen 127.0.0.1:PORT TLS
        default_type application/json;
        location / { return 200 'BODY'; }
    }
}
"""

    def __init__(self, folder, cores, body, token, tls=None):
        program = shutil.which("nginx")
        if not program:
            raise Failed("nginx is not installed")
        listen = f"ssl http2; ssl_protocols TLSv1.2 TLSv1.3; ssl_certificate {tls[0]}; ssl_certificate_key {tls[1]};" if tls else ";"
        prefix = folder / "nginx"
        prefix.mkdir(exist_ok=True)
        folder.chmod(0o755)
        path = prefix / "nginx.conf"

        def command(port):
            path.write_text(self.CONFIG.replace("PORT", str(port)).replace("TLS", listen).replace("BODY", body))
            return [program, "-p", f"{prefix}/", "-e", "stderr", "-c", path]

        self.child, self.port = started("nginx", folder, command, cores)
        self.request, self.tail = write_request(folder, "nginx", self.port, token)


# ---- h2o ----------------------------------------------------------------------------------------------

class H2o:
    """One thread that answers with a file of the same bytes. It takes no POST for a file: what is asked with is GET."""

    def __init__(self, folder, cores, body, token, tls):
        program = shutil.which("h2o")
        if not program:
            raise Failed("h2o is not installed")
        files = folder / "h2o"
        files.mkdir()
        (files / "call").write_text(body)
        path = folder / "h2o.conf"

        def command(port):
            path.write_text(json.dumps({"num-threads": 1, "http2-idle-timeout": 600, **({"user": "root"} if os.getuid() == 0 else {}),
                                        "listen": {"host": "127.0.0.1", "port": port, "ssl": {"certificate-file": str(tls[0]), "key-file": str(tls[1])}},
                                        "hosts": {"default": {"paths": {"/": {"file.dir": str(files)}}}}}))
            return [program, "-c", path]

        self.child, self.port = started("h2o", folder, command, cores)
        self.token = token


# ---- gRPC -------------------------------------------------------------------------------------------

def build_grpc(out):
    """Builds server and client of grpc/ into out, unless they are newer than their sources."""
    programs = [out / "server", out / "client", out / "stream"]
    sources = [HERE / "grpc" / "echo.proto", HERE / "histogram.h"] + [HERE / "grpc" / f"{p.name}.cc" for p in programs]
    plugin = shutil.which("grpc_cpp_plugin")
    if not (plugin and shutil.which("protoc") and shutil.which("g++")):
        raise Failed("gRPC for C++ is not installed")
    newest = max(p.stat().st_mtime for p in sources)
    if all(p.exists() and p.stat().st_mtime > newest for p in programs):
        return programs
    out.mkdir(parents=True, exist_ok=True)

    def run(command):
        done = subprocess.run([str(c) for c in command], capture_output=True, text=True, check=False)
        if done.returncode:
            raise Failed(f"gRPC does not build: {done.stderr.strip()[-500:]}")
        return done.stdout.split()

    flags = run(["pkg-config", "--cflags", "grpc++", "protobuf"])
    libraries = run(["pkg-config", "--libs", "grpc++", "protobuf"])
    run(["protoc", f"-I{HERE / 'grpc'}", f"--cpp_out={out}", f"--grpc_out={out}", f"--plugin=protoc-gen-grpc={plugin}",
         sources[0]])
    for name in ("echo.pb", "echo.grpc.pb"):
        run(["g++", "-std=c++17", "-O2", f"-I{out}", *flags, "-c", "-o", out / f"{name}.o", out / f"{name}.cc"])
    for program in programs:
        run(["g++", "-std=c++17", "-O2", f"-I{out}", *flags, "-o", program, HERE / "grpc" / f"{program.name}.cc",
             out / "echo.pb.o", out / "echo.grpc.pb.o", *libraries])
    return programs


def announced(name, command, cores):
    """Starts a server that prints its port, and perhaps more, as its first line; returns it and the words."""
    child = spawn(command, cores, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    words = child.stdout.readline().split()
    if not words or not words[0].isdigit():
        stop(child)
        raise Failed(f"{name} does not start")
    return child, words


class Grpc:
    """An echo of INPUT_BYTES on the callback API, unary and as a bidirectional stream."""

    def __init__(self, out, cores):
        server, self.client, self.stream = build_grpc(out)
        self.child, words = announced("the gRPC server", [server], cores)
        self.port = int(words[0])


# ---- WebSocket --------------------------------------------------------------------------------------

class WsEcho:
    """The bare wslay and yyjson echo of ws_echo.c."""

    token = "none"

    def __init__(self, programs, cores):
        self.child, words = announced("ws_echo", [programs / "ws_echo"], cores)
        self.port = int(words[0])


class Publisher:
    """publish.c, which is libalknet with one feed."""

    def __init__(self, programs, cores, interval_ms):
        self.child, words = announced("publish", [programs / "publish", interval_ms], cores)
        self.port, self.token = int(words[0]), words[1]
