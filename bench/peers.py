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
MCP = HERE.parent / "build" / "deps" / "mcp-server"
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

    def __init__(self, folder, cores, programs=None, limits=None, tls=None, quic=False, more=None, under=()):
        self.secure = tls is not None
        program = pathlib.Path(programs or os.environ["ALKNET_BIN"]) / "alknetd"
        self.token, self.other_token = ("alk_" + secrets.token_hex(24) for _ in range(2))
        self.config = {"demo": True, "log": {"level": "warn"},
                       "keys": [{"prefix": token[:8], "hash": hashlib.sha256(token.encode()).hexdigest(), "scopes": ["demo:*"],
                                 "description": "bench"} for token in (self.token, self.other_token)]}
        self.config.update(more or {})
        if limits:
            self.config["limits"] = limits
        if tls:
            self.config["tls"] = {"certificates": [{"certificate": str(tls[0]), "key": str(tls[1])}]}
        path = folder / "alknetd.json"

        def command(port):
            self.config["listen"] = [{"host": "127.0.0.1", "port": port, "tls": self.secure}]
            if quic:  # the same number of UDP
                key, fingerprint = make_key(folder, "node.key")
                self.quic_url = f"alknet://127.0.0.1:{port}#{fingerprint}"
                self.config["listen"].append({"quic": True, "host": "127.0.0.1", "port": port})
                self.config["node_key"] = str(key)
            path.write_text(json.dumps(self.config))
            path.chmod(0o600)
            return [*under, program, "--config", path]

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


def make_key(folder, name):
    """(file, fingerprint)."""
    path = folder / name
    path.unlink(missing_ok=True)
    made = subprocess.run([pathlib.Path(os.environ["ALKNET_BIN"]) / "alknet", "keygen", path], check=True, capture_output=True, text=True)
    return path, made.stdout.strip()


class Hub:
    """Two of alknetd over QUIC, as docs/peers.md has them: a hub on the server's core, and a spoke that serves the demo operations, on the
    load's. The third key is a caller's."""

    operation = "peers/call"

    def __init__(self, folder, server_cores, load_cores):
        program = pathlib.Path(os.environ["ALKNET_BIN"]) / "alknetd"
        (hub_key, hub), (spoke_key, spoke), (self.key, caller) = (make_key(folder, f"{name}.key") for name in ("hub", "spoke", "caller"))
        self.input = '{"peer":"spoke","operation":"demo/echo","input":%s}' % call_input()

        def write(name, config):
            path = folder / f"{name}.json"
            path.write_text(json.dumps({"log": {"level": "warn"}, **config}))
            path.chmod(0o600)
            return [program, "--config", path]

        def command(port):
            self.url = f"alknet://127.0.0.1:{port}#{hub}"
            return write("hub", {"node_key": str(hub_key),
                                 "listen": [{"host": "127.0.0.1", "port": port}, {"quic": True, "host": "127.0.0.1", "port": port}],
                                 "peers": [{"peer_id": "spoke", "fingerprints": [spoke]},
                                           {"peer_id": "caller", "fingerprints": [caller], "scopes": ["peers:call", "demo:*"]}],
                                 "peers_call": {"authority": {"label": "deputy", "scopes": ["demo:*"]},
                                                "allow": [{"peer": "*", "operations": ["demo/*"]}]}})

        self.child, _ = started("hub", folder, command, server_cores)
        self.spoke = spawn(write("spoke", {"node_key": str(spoke_key), "demo": True, "listen": [{"unix": str(folder / "spoke.sock")}],
                                           "peers": [{"peer_id": "hub", "fingerprints": [hub], "scopes": ["demo:*"]}],
                                           "connect": [{"url": self.url, "peer": "hub"}]}), load_cores, stdin=subprocess.DEVNULL,
                           stderr=subprocess.DEVNULL)

    def answer(self, seconds=10):
        """Of one call, as soon as the hub knows what the spoke serves."""
        until = time.monotonic() + seconds
        while True:
            done = subprocess.run([pathlib.Path(os.environ["ALKNET_BIN"]) / "alknet", "-u", self.url, "--key", self.key, "call", "-o", "json",
                                   self.operation, self.input], capture_output=True, text=True, timeout=seconds, check=False)
            if not done.returncode and json.loads(done.stdout) == json.loads(call_input()):
                return
            if time.monotonic() > until:
                raise Failed(f"the hub answers {done.stdout}{done.stderr}")
            time.sleep(0.1)

    def stop(self):
        stop(self.spoke)
        stop(self.child)


class Cluster:
    """Two hubs that are joined by a broker, and a spoke at each, which has dialled it over WebSocket and serves the demo operations.
    Nothing is pinned. The token is a caller's; a call is peers/call of demo/echo at one of the spokes."""

    operation = "/peers/call"

    def __init__(self, folder):
        broker = shutil.which("nats-server")
        if not broker:
            raise Failed("nats-server is not installed")
        self.folder, self.token, self.children = folder, "alk_" + secrets.token_hex(24), []
        monitor = free_port()
        keys = {name: make_key(folder, f"hub-{name}.key") for name in "ab"}
        spokes = {name: "alk_" + secrets.token_hex(24) for name in "ab"}
        try:
            child, port = started("nats-server", folder, lambda port: [broker, "-a", "127.0.0.1", "-p", port, "-m", monitor], ())
            self.children.append(child)
            self.monitor = monitor
            self.hubs = [self.hub(name, port, keys, spokes) for name in "ab"]
            for name, (_, at) in zip("ab", self.hubs):
                self.spoke(name, at, spokes[name])
        except Failed:
            self.stop()
            raise
        self.port = self.hubs[0][1]

    def write(self, name, config):
        path = self.folder / f"{name}.json"
        path.write_text(json.dumps({"log": {"level": "warn"}, **config}))
        path.chmod(0o600)
        return [pathlib.Path(os.environ["ALKNET_BIN"]) / "alknetd", "--config", path]

    def hub(self, name, broker, keys, spokes):
        others = [{"peer_id": other, "fingerprints": [key[1]], "scopes": ["peers:*"], "may_forward": True} for other, key in keys.items() if other != name]
        config = {"node_key": str(keys[name][0]),
                  "peers": [*others, {"peer_id": f"spoke-{name}", "auth_token_hashes": [sha256(spokes[name])], "scopes": [], "websocket": True}],
                  "keys": [{"prefix": self.token[:8], "hash": sha256(self.token), "scopes": ["peers:*"]}],
                  "peers_call": {"authority": {"label": "deputy", "scopes": ["demo:*"]}, "allow": [{"peer": "*", "operations": ["demo/*"]}]},
                  "cluster": {"name": name, "nats": {"servers": [f"nats://127.0.0.1:{broker}"]}}}
        child, port = started(f"hub-{name}", self.folder, lambda port: self.write(f"hub-{name}", {**config, "listen": [{"host": "127.0.0.1", "port": port}]}), ())
        self.children.append(child)
        return child, port

    def spoke(self, name, port, token):
        path = self.folder / f"spoke-{name}.token"
        path.write_text(token + "\n")
        path.chmod(0o600)
        config = {"demo": True, "listen": [{"unix": str(self.folder / f"spoke-{name}.sock")}],
                  "peers": [{"peer_id": "hub", "auth_token_hashes": [sha256(secrets.token_hex(24))], "scopes": ["demo:*"], "websocket": True}],
                  "connect": [{"url": f"ws://127.0.0.1:{port}/alknet/call", "token_file": str(path), "peer": "hub"}]}
        self.children.append(spawn(self.write(f"spoke-{name}", config), (), stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL))

    def input(self, name):
        return '{"peer":"spoke-%s","operation":"demo/echo","input":%s}' % (name, call_input())

    def answer(self, seconds=20):
        """Of a call to each spoke, as soon as the first hub knows what it serves."""
        until = time.monotonic() + seconds
        for name in "ab":
            while True:
                connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
                connection.request("POST", "/call", '{"operation":"/peers/call","input":%s}' % self.input(name),
                                   {"Content-Type": "application/json", "Authorization": f"Bearer {self.token}"})
                text = connection.getresponse().read().decode()
                connection.close()
                if json.loads(text).get("output") == json.loads(call_input()):
                    break
                if time.monotonic() > until:
                    raise Failed(f"the hub answers {text}")
                time.sleep(0.1)

    def said(self):
        """(messages, their bytes) that the broker has had."""
        connection = http.client.HTTPConnection("127.0.0.1", self.monitor, timeout=10)
        connection.request("GET", "/varz")
        values = json.loads(connection.getresponse().read())
        connection.close()
        return values["in_msgs"], values["in_bytes"]

    def stop(self):
        for child in reversed(self.children):
            stop(child)


def sha256(text):
    return hashlib.sha256(text.encode()).hexdigest()


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


# ---- MCP --------------------------------------------------------------------------------------------

class McpSdk:
    """The official server for TypeScript with an echo, by its own adapter for node:http or without (mcp/echo.cjs). It looks nobody up."""

    token = None

    def __init__(self, cores, how):
        node = next(MCP.glob("node_modules/node-linux-*/bin/node"), None)
        if not node:
            raise Failed("it is missing")
        self.child, words = announced("the official MCP server", [node, HERE / "mcp" / "echo.cjs", MCP, how], cores)
        self.port = int(words[0])


# ---- NATS -------------------------------------------------------------------------------------------

class Nats:
    """A broker on the server's core, as it comes, and one who answers on the load's: by load_nats, or by NATS' client for C."""

    def __init__(self, folder, programs, server_cores, load_cores, client):
        broker = shutil.which("nats-server")
        if not broker:
            raise Failed("nats-server is not installed")
        echo = build_nats(programs) if client else None
        self.child, port = started("nats-server", folder, lambda port: [broker, "-a", "127.0.0.1", "-p", port], server_cores)
        answers = [echo, "answer", port] if client else [programs / "load_nats", "--port", port, "--answer"]
        self.answers = spawn(answers, load_cores, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.echo, self.port = echo, port
        if self.answers.stdout.readline() != "ready\n":
            self.stop()
            raise Failed("nobody answers at the broker")

    def stop(self):
        stop(self.answers)
        stop(self.child)


def build_nats(programs):
    """Builds nats/echo.c, unless it is newer than its source."""
    out, source = programs / "nats", HERE / "nats" / "echo.c"
    sources = [source, HERE / "client.h", HERE / "histogram.h"]
    if out.exists() and out.stat().st_mtime > max(p.stat().st_mtime for p in sources):
        return out
    flags = subprocess.run(["pkg-config", "--cflags", "--libs", "libnats"], capture_output=True, text=True, check=False)
    if flags.returncode:
        raise Failed("NATS' client for C is not installed")
    done = subprocess.run(["cc", "-std=gnu11", "-D_GNU_SOURCE", "-O2", "-o", out, source, *flags.stdout.split()], capture_output=True, text=True, check=False)
    if done.returncode:
        raise Failed(f"NATS' client does not build: {done.stderr.strip()[-500:]}")
    return out


# ---- msquic -----------------------------------------------------------------------------------------

def build_msquic(programs):
    """Builds msquic/echo.c, and before it msquic itself, with the TLS library in its crate, which takes minutes the first time."""
    out, source = programs / "msquic", HERE / "msquic"
    if not (shutil.which("cargo") and shutil.which("cmake")):
        raise Failed("cargo and cmake, which build it, are not installed")
    # In a copy: cargo writes down where it has found what.
    shutil.copytree(source, out / "crate", dirs_exist_ok=True)
    made = subprocess.run(["cargo", "build", "--release", "--message-format=json", "--manifest-path", out / "crate/Cargo.toml", "--target-dir",
                           out / "target"], capture_output=True, text=True, check=False)
    if made.returncode:
        raise Failed(f"it does not build: {made.stderr.strip()[-500:]}")
    said = [m for m in map(json.loads, made.stdout.splitlines()) if "msquic@" in m.get("package_id", "") and "bench-" not in m["package_id"]]
    library = pathlib.Path(next(m["out_dir"] for m in said if m["reason"] == "build-script-executed")) / "lib"
    crate = pathlib.Path(next(m["manifest_path"] for m in said if m["reason"] == "compiler-artifact")).parent
    done = subprocess.run(["cc", "-std=gnu11", "-D_GNU_SOURCE", "-O2", "-isystem", crate / "src" / "inc", "-o", out / "echo", source / "echo.c",
                           f"-L{library}", f"-Wl,-rpath,{library}", "-lmsquic", "-pthread"], capture_output=True, text=True, check=False)
    if done.returncode:
        raise Failed(f"its echo does not build: {done.stderr.strip()[-500:]}")
    return out / "echo"
