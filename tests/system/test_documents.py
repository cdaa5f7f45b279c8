"""What documents print works: each block of README.md, docs/ and clients/*/README.md, fenced or indented by four blanks, is run here,
or by the test that ELSEWHERE names. A block for which there is no way fails.

Commands run in a folder that looks as they expect, on one alknetd for all. Of what they print, what the document says of it
(`# {"sum": 3}`) is compared. Hosts and ports of documents become those of that alknetd."""
import contextlib
import hashlib
import json
import os
import pathlib
import re
import shlex
import shutil
import signal
import socket
import subprocess

import pytest

from certificates import self_signed
from conftest import ALKNETD, BIN, PATIENCE, ROOT, Daemon, key_for, new_token, wait_for

import websockets.sync.client

pytest_plugins = "browser"

BUILD = pathlib.Path(os.environ.get("ALKNET_BUILD", ROOT / "build"))
EXAMPLES = pathlib.Path(os.environ.get("ALKNET_EXAMPLES", BUILD / "san/examples"))
DOCUMENTS = sorted(["README.md", *(str(p.relative_to(ROOT)) for p in [*ROOT.glob("docs/*.md"), *ROOT.glob("clients/*/README.md")])])
PETS = """
openapi: 3.1.0
info: {title: pets, version: "1"}
servers: [{url: "https://pets.example/v1"}]
paths:
  /pets: {get: {operationId: list, responses: {"200": {description: all, content: {application/json: {schema: {type: array}}}}}}}
  /pets/{id}:
    parameters: [&id {name: id, in: path, required: true, schema: {type: string}}]
    get: {operationId: get, responses: {"200": {description: one, content: {application/json: {schema: {type: object}}}}}}
  /pets/events: {get: {operationId: watch, responses: {"200": {description: news, content: {text/event-stream: {}}}}}}
  /pets/{id}/photo: {parameters: [*id], put: {operationId: photo, requestBody: {content: {}}, responses: {"204": {description: done}}}}
"""

# ---- the blocks -------------------------------------------------------------------------------------------------------


class Block:
    def __init__(self, document, line, language, text):
        self.document, self.line, self.language, self.text = document, line, language, text

    def __str__(self):
        return f"{self.document}:{self.line}"


def blocks_of(document):
    """A fence may be indented, within a list; what is only indented has a blank line before it."""
    lines = (ROOT / document).read_text().split("\n")
    found, at = [], 0
    while at < len(lines):
        first = at
        if fence := re.match(r"( *)```(\w*)$", lines[at]):
            end = next(i for i in range(at + 1, len(lines)) if lines[i].strip() == "```")
            text, language, at = lines[at + 1:end], fence[2] or "text", end
        elif lines[at].startswith("    ") and not lines[at - 1].strip():
            while lines[at].startswith("    ") or (not lines[at] and lines[at + 1:at + 2][0:1] and lines[at + 1].startswith("    ")):
                at += 1
            text, language = lines[first:at], "indented"
        at += 1
        if at > first + 1:
            indent = min(len(line) - len(line.lstrip()) for line in text if line)
            found.append(Block(document, first + 1, language, "".join(line[indent:] + "\n" for line in text)))
    return found


BLOCKS = {document: blocks_of(document) for document in DOCUMENTS}

# Where the blocks of a language are run by a test of their own, which takes them from the document.
ELSEWHERE = {
    ("README.md", "c"): "tests/check_install.sh",
    ("README.md", "cmake"): "tests/check_install.sh",
    ("clients/go/README.md", "go"): "clients/go/readme_test.go",
    ("clients/python/README.md", "python"): "clients/python/tests/test_readme.py",
    ("docs/deploy.md", "caddyfile"): "tests/system/test_deploy.py",
    ("docs/deploy.md", "haproxy"): "tests/system/test_deploy.py",
    ("docs/deploy.md", "logrotate"): "tests/system/test_deploy.py",
    ("docs/deploy.md", "nginx"): "tests/system/test_deploy.py",
    ("docs/guide.md", "c"): "tests/system/test_guide.py",
    ("docs/guide.md", "text"): "tests/system/test_guide.py",
    ("docs/peers.md", "sh"): "tests/system/test_peers_doc.py",
    ("docs/protocol.md", "python"): "tests/system/test_protocol_doc.py",
    ("docs/scale.md", "sh"): "tests/system/test_cluster.py",
    ("docs/scale.md", "text"): "tests/system/test_cluster.py",
    ("docs/scale.md", "yaml"): "tests/system/test_cluster.py",
}


def test_what_is_run_elsewhere_is_named_there():
    for (document, _), test in ELSEWHERE.items():
        assert re.search(rf"\b{pathlib.Path(document).stem}\b", (ROOT / test).read_text()), test


# ---- what they run on -------------------------------------------------------------------------------------------------


class Stage:
    """One alknetd, and folders in which commands find what they name."""

    def __init__(self, folder):
        self.folder, self.made, self.served = folder, 0, False
        self.peer_token = new_token()
        self.peers = [{"peer_id": "spoke", "auth_token_hashes": [hashlib.sha256(self.peer_token.encode()).hexdigest()], "scopes": ["demo:*"],
                       "websocket": True}]
        listen = {"host": "127.0.0.1", "port": 0}
        self.daemon = Daemon(folder, {
            "listen": [listen, {**listen, "tls": True}, {**listen, "quic": True}, {"unix": "alknetd.sock"}], "peers": self.peers, "anonymous_peers": True,
            "peers_call": {"authority": {"label": "deputy", "scopes": []}, "allow": [{"peer": "*", "operations": ["ui/*", "host/*", "files/*"]}]}})
        self.daemon.config["keys"][0]["scopes"] += ["peers:*", "demo:*"]
        self.daemon.write_config()
        self.daemon.start()
        ports = [e["port"] for e in self.daemon.wait_event("listening", 4) and self.daemon.events("listening") if "port" in e]
        self.places = [("127.0.0.1:4780", f"127.0.0.1:{ports[0]}"), ("localhost:4783", f"localhost:{ports[1]}"),
                       (r"hub\.example(:4780)?", f"127.0.0.1:{ports[2]}"), ("/run/alknet/alknetd.sock", str(folder / "alknetd.sock"))]
        self.quic = self.alknet("fingerprint", f"alknet://127.0.0.1:{ports[2]}").strip()
        self.env = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}", "ALKNET_URL": self.daemon.url, "ALKNET_TOKEN": self.daemon.token,
                    "TOKEN": self.daemon.token, "NO_COLOR": "1", "HOME": str(folder), "XDG_CONFIG_HOME": str(folder / "config")}

    def alknet(self, *args):
        return subprocess.run([BIN / "alknet", *args], capture_output=True, text=True, timeout=PATIENCE, check=True).stdout

    def here(self, text):
        for old, new in self.places:
            text = re.sub(old, new, text)
        return text.replace("ed25519:…", self.quic).replace("alk_…", self.daemon.token)

    def place(self):
        """A folder for one block."""
        self.made += 1
        folder = self.folder / f"block{self.made}"
        (folder / "build/run").mkdir(parents=True)
        (folder / "build/bin").symlink_to(BIN)
        (folder / "examples").symlink_to(ROOT / "examples")
        shutil.copy(self.folder / "alknetd.crt", folder / "build/run")
        for token in (folder / "token", folder / "build/run/token"):
            secret(token, self.daemon.token)
        (folder / "calls.json").write_text('[{"operation":"demo/echo","input":1}]')
        (folder / "input.json").write_text('{"type":"object"}')
        (folder / "pets.yaml").write_text(PETS)
        (folder / "files.py").write_text("#!/bin/sh\necho '[]'\n")
        (folder / "files.py").chmod(0o755)
        return folder

    def run(self, text, folder, **env):
        """Runs the commands of a text, one after the other; gives what each has said. Each must succeed."""
        commands = [c for c in text.replace("\\\n", " ").splitlines() if c.strip() and not c.lstrip().startswith("#")]
        marked = "".join(f"{self.here(c)}\nprintf '\\001'\n" for c in commands)
        done = subprocess.run(["bash", "-e", "-c", marked], cwd=folder, env={**self.env, **env}, stdin=subprocess.DEVNULL, capture_output=True,
                              text=True, timeout=3 * PATIENCE, check=False)
        said = done.stdout.split("\1")
        assert done.returncode == 0 and len(said) == len(commands) + 1, f"{commands[len(said) - 1]}: {done.stderr}{done.stdout}"
        for command, output in zip(commands, said):
            if promise := re.search(r"# (\{.*\}|\d+)$", command):
                assert json.loads(output) == json.loads(promise[1]), command
        return said[:-1]


def secret(path, text):
    path.touch(0o600)
    path.write_text(text + "\n")


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    stage = Stage(tmp_path_factory.mktemp("stage"))
    yield stage
    stage.daemon.stop()


# ---- docs/tutorial.md -------------------------------------------------------------------------------------------------


def commands_of(text):
    """Each with its lines: what is written by `<<WORD` belongs to its command."""
    lines = iter(text.splitlines())
    for line in lines:
        command = [line]
        if word := re.search(r"<<(\w+)", line):
            command += iter(lines.__next__, word[1])
            command.append(word[1])
        yield "\n".join(command)


def put(folder, text):
    """A block that begins with the name of a file is that file, or a piece that stands in it before a line."""
    name, before, piece = re.match(r"(?:/\*|#|<!--) ([\w./]+)(?:, before ([\w.]+))?(?: \*/| -->)?\n(.*)", text, re.S).groups()
    if before:
        piece = re.sub(rf"^ *{re.escape(before)}", lambda m: piece + m[0], (folder / name).read_text(), count=1, flags=re.M)
    (folder / name).write_text(piece)


class Shell:
    """The reader's terminal. A command that is to fail says by which code: `# FORBIDDEN: …`."""

    def __init__(self, home, ports):
        self.ports = ports
        env = {name: value for name, value in os.environ.items() if not name.startswith(("ALKNET_", "XDG_"))}
        self.shell = subprocess.Popen(["bash"], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                      env={**env, "HOME": str(home), "B": str(BUILD), "ALKNET_URL": f"http://127.0.0.1:{ports[0]}",
                                           "LD_LIBRARY_PATH": str(home / ".local/lib")}, start_new_session=True)

    def say(self, command):
        self.shell.stdin.write(f"{self.here(command)}\nprintf '\\1%s\\n' $?\n")
        self.shell.stdin.flush()
        said = ""
        while "\1" not in said:
            line = self.shell.stdout.readline()
            assert line, f"{command}: {said}"
            said += line
        said, status = said.split("\1")
        promise = (re.search(r"  # (.*)$", command) or [None, ""])[1]
        code = re.match(r"[A-Z_]+:", promise)
        assert int(status) == bool(code), f"{command}: {said}"
        if code:
            assert code[0] in said, f"{command}: {said}"
        elif promise[:1] in ('"', "{"):
            assert json.loads(said) == json.loads(promise), command
        return said

    def here(self, text):
        return re.sub(r"4780", lambda m: str(self.ports[0]), text)

    def end(self):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.shell.pid, signal.SIGTERM)
        self.shell.stdin.close()
        self.shell.wait(PATIENCE)
        self.shell.stdout.close()


READY = {"node.log": "listening", "spoke.log": "connect.ready"}


def greets(page, shell, folder):
    page.goto(shell.here("http://127.0.0.1:4780/index.html"))
    page.fill("#token", (folder / "ada.token").read_text().strip())
    page.click("button")
    page.wait_for_function("document.getElementById('said').textContent == 'Hello, Ada!'")


def test_the_tutorial_is_walked_from_end_to_end(tmp_path, page):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        ports = [free.getsockname()[1]]
    shell, folder = Shell(tmp_path, ports), tmp_path / "greet"
    try:
        for block in BLOCKS["docs/tutorial.md"]:
            if block.language != "sh":
                put(folder, shell.here(block.text))
                continue
            for command in commands_of(block.text):
                if command.startswith("sleep"):
                    continue  # what the log says is waited for
                started = re.search(r"2>(\w+\.log) &", command)
                if started:
                    (folder / started[1]).unlink(missing_ok=True)
                said = shell.say(command)
                if started:
                    wait_for(lambda log=folder / started[1]: log.exists() and re.search(READY[log.name], log.read_text()))
                if command == "cat ada.token":
                    greets(page, shell, folder)
                elif command.startswith("curl"):
                    assert '"output":"Hello!"' in said or "<title>greet</title>" in said
    finally:
        shell.end()


# ---- a way for each language ------------------------------------------------------------------------------------------


def yaml(block, stage):
    """It is a good configuration once the files that it names are there, and what is left out (…) is written."""
    folder, numbers = stage.place(), iter(range(1, 100))

    def digits(_):
        return hashlib.sha256(f"{block} {next(numbers)}".encode()).hexdigest()

    text = re.sub(r"(?<=ed25519:)…", digits, re.sub(r'(?<=hash: ")…', digits, block.text))
    text = text.replace("8f0e…", digits(None))
    assert "…" not in text
    for member, name in re.findall(r"\b(\w+): ([\w/.-]+)", text):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if member == "certificate":
            pair = self_signed(folder, "made")
            shutil.copy(pair.certificate, path)
            shutil.copy(pair.key, folder / re.search(rf"certificate: {name}\W+key: ([\w/.-]+)", text)[1])
        elif member == "node_key":
            stage.alknet("keygen", path)
        elif name.endswith((".token", ".secret.yaml")):
            secret(path, "{}" if name.endswith("yaml") else stage.daemon.token)
        elif member == "path" and name.endswith(".so"):
            plugin(path)
        elif member == "target":
            path.mkdir()
    if "peer: hub" in text and "peers:" not in text:
        text += f'peers: [{{peer_id: hub, fingerprints: ["SHA256:{digits(None)}"], scopes: [], websocket: true}}]\n'
    (folder / "alknetd.yaml").write_text(text)
    done = subprocess.run([ALKNETD, "--check", "--config", folder / "alknetd.yaml"], capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stderr


def plugin(path):
    """One that registers nothing."""
    subprocess.run(["cc", "-shared", "-fPIC", f"-I{ROOT}/include", "-o", path, "-xc", "-"], timeout=PATIENCE, check=True, text=True, input="""
        #include <alknet/plugin.h>
        const uint32_t alk_plugin_abi = ALK_PLUGIN_ABI;
        int alk_plugin_register(alk_registry *r, const char *c, size_t n, char *e, size_t m) { return (void)r, (void)c, (void)n, (void)e, (void)m, 0; }
    """)
    path.chmod(0o755)


def speaks_mcp(stage, url, headers):
    request = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}}
    arguments = [word for name, value in headers.items() for word in ("-H", f"{name}: {value}")]
    done = subprocess.run(["curl", "-sS", "-H", "Content-Type: application/json", *arguments, "-d", json.dumps(request), url],
                          capture_output=True, text=True, timeout=PATIENCE, check=True)
    assert "demo" not in done.stdout and '"search"' in done.stdout and stage.daemon.url in url


def settings_of_an_assistant(block, stage):
    (servers,) = [value for name, value in json.loads(stage.here(block.text).replace("${input:token}", stage.daemon.token)).items()
                  if name.lower().endswith("servers")]
    speaks_mcp(stage, servers["alknet"]["url"], servers["alknet"]["headers"])


def added_to_an_assistant(block, stage):
    words = shlex.split(stage.here(block.text).replace("$TOKEN", stage.daemon.token))
    assert words[:3] == ["claude", "mcp", "add"]
    speaks_mcp(stage, words[6], dict([words[words.index("--header") + 1].split(": ")]))


def event(block, _stage):
    assert set(json.loads(block.text)) == {"event", "data"}


FRAGMENTS = {
    "docs/events.md": ("gateway.h", "alk_events *events, alk_gateway *gateway, void (*on_connect)(alk_client *, void *), "
                       "void (*on_disconnect)(alk_client *, int, void *), alk_event_handler on_say"),
    "docs/openapi.md": ("openapi.h", "alk_registry *registry, int rc"),
}


def c(block, _stage):
    """A piece of C: it compiles where its variables are."""
    header, variables = FRAGMENTS[block.document]
    text = f"#include <alknet/{header}>\nvoid piece({variables});\nvoid piece({variables})\n{{\n{block.text}}}\n"
    done = subprocess.run(["cc", "-std=c11", "-Wall", "-Wextra", "-Wno-unused", "-Werror", f"-I{ROOT}/include", "-fsyntax-only", "-xc", "-"], input=text,
                          capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stderr


def sh(block, stage):
    stage.run(block.text, stage.place())


def transcript(block, stage):
    """Who says what is behind > and <; without them the first line asks."""
    lines = [re.match(r"([<>]?) ?(.*)", line).groups() for line in block.text.splitlines()]
    with websockets.sync.client.connect(f"ws://127.0.0.1:{stage.daemon.port}/alknet/call",
                                        additional_headers={"Authorization": f"Bearer {stage.daemon.token}"}) as socket:
        for number, (who, said) in enumerate(lines):
            if who == ">" or not who and not number:
                socket.send(said.encode())
            else:
                assert re.sub(rb"\d{13}", b"", socket.recv(PATIENCE)) == re.sub(r"\d{13}", "", said).encode()


# ---- docs/cli.md ------------------------------------------------------------------------------------------------------


def settings(block, stage):
    folder = stage.place()
    (folder / "alknet").mkdir()
    secret(folder / "alknet/config", stage.here(block.text))
    env = {"XDG_CONFIG_HOME": str(folder), "ALKNET_URL": "", "ALKNET_TOKEN": ""}
    assert stage.daemon.token[:8] in stage.run('unset ALKNET_URL ALKNET_TOKEN; alknet call demo/whoami', folder, **env)[0]


def session(block, stage):
    """`$ ` begins a command, and below it stands what it prints."""
    for command, *said in [part.splitlines() for part in re.split(r"^\$ ", block.text, flags=re.M)[1:]]:
        folder = stage.place()
        done = subprocess.run(["bash", "-c", command], cwd=folder, env={**stage.env, "ALKNET_URL": "http://127.0.0.1:4780"}, capture_output=True,
                              text=True, timeout=PATIENCE, check=False)
        assert (done.stdout + done.stderr).splitlines() == said


def measured(block, stage):
    """The numbers are those of some machine; the form of the lines is not."""
    command, *printed = block.text.strip().splitlines()
    said = stage.run(command.removeprefix("$ ").replace("-n 10000", "-n 200"), stage.place())[0].splitlines()
    form = lambda line: re.sub(r"#+", "#", re.sub(r"[\d.]+", "0", line)).split()
    assert [form(line) for line in said[:3]] == [form(line) for line in printed[:3]]


def contexts(block, stage):
    folder = stage.place()
    (folder / ".secrets").mkdir()
    secret(folder / ".secrets/prod", stage.daemon.token)
    said = stage.run("unset ALKNET_URL ALKNET_TOKEN\n" + block.text, folder, HOME=str(folder), XDG_CONFIG_HOME=str(folder / "config"))
    assert "demo/add" in said[4] and re.search(r"\* *prod", said[5])


def tokens(block, stage):
    """The token is one of the node's before somebody calls with it."""
    folder = stage.place()
    (folder / "token").unlink()
    made, call = block.text.split("alknet call")
    assert stage.run(made, folder)[2].strip() == hashlib.sha256((folder / "token").read_text().strip().encode()).hexdigest()
    stage.daemon.config["keys"].append(key_for((folder / "token").read_text().strip()))
    stage.daemon.write_config()
    before = len(stage.daemon.events("reload"))
    stage.daemon.signal(signal.SIGHUP)
    stage.daemon.wait_event("reload", before + 1)
    stage.run("alknet call" + call, folder)


@contextlib.contextmanager
def serving(stage):
    """The commands of "Serving" run, as the peer `spoke`."""
    (block,) = [b for b in BLOCKS["docs/cli.md"] if "alknet serve ui/hello" in b.text]
    *before, one, two, three = stage.here(block.text).splitlines()
    running = []
    try:
        for line in (one, two, three):
            running.append(subprocess.Popen(["bash", "-ec", "\n".join([*before, f"exec {line}"])], cwd=stage.place(), stdout=subprocess.DEVNULL,
                                            stderr=subprocess.PIPE, text=True, env={**stage.env, "ALKNET_TOKEN": stage.peer_token}))
            said = next((said for said in running[-1].stderr if "serving " in said), None)
            assert said, line
        yield
    finally:
        for process in running:
            process.terminate()
        assert [process.wait(PATIENCE) for process in running] == [0] * len(running)


def served(_block, stage):
    """What they serve is called in the way of the section about peers, and completed; that proves three blocks, once."""
    if stage.served:
        return
    stage.served = True
    peers, completions = [next(b for b in BLOCKS["docs/cli.md"] if begin in b.text) for begin in ("alknet peers", "<TAB>")]
    with serving(stage):
        said = stage.run(peers.text.replace("host/load ", "host/load | head -n 1 "), stage.place())
        assert "spoke" in said[0] and "ui/hello" in said[1] and json.loads(said[3]) == "hello" and "procs" in said[4]
        assert stage.run("alknet call --peer spoke files/remove path=x -o json", stage.place()) == ["[]\n"]
        words = completions.text.replace("light/set colour", "services/list op_type")
        for line, offered in zip(words.splitlines(), ("demo/echo", "a=", "query", "ui/hello"), strict=True):
            said = stage.run(line.split("<TAB>")[0].replace("alknet ", "alknet complete ", 1), stage.place())
            assert offered in said[0], line


# ---- JavaScript -------------------------------------------------------------------------------------------------------


def node(text, folder, seconds=PATIENCE):
    modules = folder / "node_modules"
    modules.mkdir(exist_ok=True)
    (modules / "alknet").symlink_to(ROOT / "clients/js")
    (modules / "ws").mkdir()  # the package itself is there when the client's own tests run
    (modules / "ws/package.json").write_text('{"name": "ws", "type": "module", "exports": "./index.js"}')
    (modules / "ws/index.js").write_text("export const WebSocket = globalThis.WebSocket;\n")
    (folder / "block.mjs").write_text(text)
    return subprocess.Popen(["timeout", str(seconds), "node", "--no-warnings", "--experimental-websocket", "block.mjs"], cwd=folder,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def said_by(process):
    out, err = process.communicate(timeout=2 * PATIENCE)
    assert (process.returncode, err) == (0, ""), err
    return out


def js_client(block, stage):
    """What the block lacks of imports and variables stands before it."""
    url = stage.daemon.url.replace("http", "ws")
    text = re.sub(r"wss://hub\.example|ws://127\.0\.0\.1:8080", url, block.text).replace("alk_…", stage.daemon.token)
    after = "await new Promise(done => client.addEventListener('announced', done));" if "client.serve" in text else "await client.call('demo/echo');"
    said = said_by(node(f"{before(url, stage.daemon.token, text)}{text}\n{after}\nclient.close();\n", stage.place()))
    if "console.log(tick)" in text:
        assert said.split() == [str(n) for n in range(1, 11)]


def before(url, token, text):
    """What an excerpt stands behind."""
    return "".join(line + "\n" for name, line in (
        ("connect }", "import { connect, AlknetError } from 'alknet';"),
        ("const token", f"const url = '{url}', token = '{token}', fetch = async () => ({{ ok: true, text: async () => token, json: async () => ({{ token }}) }});"),
        ("client = await", f"const client = await connect('{url}', {{ token }});"),
        ("function show", "const show = async () => null, nextKey = async () => 'a', use = ({ tick }) => console.log(tick);"),
    ) if name not in text)


def js_losses(block, stage):
    """The loop goes on when its hub has been restarted, and when it has been killed."""
    folder = stage.place()
    hub = Daemon(folder)
    hub.start()
    hub.config["listen"][0]["port"] = hub.port
    hub.write_config()
    process = None
    try:
        loop = before(hub.url.replace("http", "ws"), hub.token, block.text) + block.text
        process = node(loop.replace("'demo/clock', {}", "'demo/clock', { interval_ms: 100 }"), folder, 3 * PATIENCE)
        assert [process.stdout.readline() for _ in range(2)] == ["1\n", "2\n"]
        hub.stop()
        hub.start()
        assert "demo/clock: " in process.stdout.readline()
        wait_for(lambda: process.stdout.readline() == "1\n", seconds=2 * PATIENCE)
        hub.proc.kill()
        hub.proc.wait()
        hub.proc = None
        hub.start()
        wait_for(lambda: process.stdout.readline() == "1\n", seconds=2 * PATIENCE)
    finally:
        if process:
            process.terminate()
            process.communicate()
        hub.stop()


def js_events(block, stage):
    """A page of the chat."""
    folder = stage.place()
    chat = subprocess.Popen([EXAMPLES / "07_chat", "0", folder], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
    try:
        port = re.search(r"\d+$", chat.stdout.readline().strip())[0]
        text = block.text.replace("…", "console.log(event); socket.close();").replace("socket.send", "socket.onopen = () => socket.send")
        text = (f"const location = {{ host: '127.0.0.1:{port}' }}, token = '';\nconst base64url = t => Buffer.from(t).toString('base64url');\n"
                + text.replace(', "alknet.bearer." + base64url(token)', ""))
        assert said_by(node(text, folder)).strip()
    finally:
        chat.terminate()
        chat.wait(PATIENCE)


# ---- README.md and others ---------------------------------------------------------------------------------------------


def targets(block, _stage):
    """The tests have no root and no hours: what the makefile offers is what is printed."""
    offered = set(re.findall(r"^  make ([\w-]+)", subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE, check=True).stdout, re.M))
    asked = re.findall(r"^make ([\w-]+)", block.text, re.M)
    assert asked and set(asked) <= offered


def readme_commands(block, stage):
    said = stage.run(block.text, stage.place())
    assert "demo/add" in said[0] and json.loads(said[1]) == {"sum": 3} and len(said[2].splitlines()) == 3


def readme_program(block, stage):
    """The library is installed, the program is compiled against it, serves, and answers."""
    folder = stage.place()
    text = block.text.replace("-o build/hello ", f"-o {folder}/hello ")
    before, curl = text.split("build/hello & sleep 1\n")
    hello = subprocess.Popen(["bash", "-ec", f"{before}exec {folder}/hello 0"], cwd=ROOT, env={**os.environ, "HOME": str(folder), "B": str(BUILD)},
                             stdout=subprocess.PIPE, text=True)
    try:
        port = hello.stdout.readline().split()[-1]
        done = subprocess.run(["bash", "-ec", curl.replace("4781", port)], capture_output=True, text=True, timeout=PATIENCE, check=True)
        assert json.loads(done.stdout)["output"] == "Ada"
    finally:
        hello.terminate()
        hello.wait(PATIENCE)


def message_of_check(block, stage):
    """The line is what the mistake that it names is answered with."""
    path, line, said = re.match(r"alknetd: (/[^:]*):(\d+): (.*)\n", block.text).groups()
    folder = stage.place()
    config = folder / pathlib.Path(path).name
    config.write_text("#\n" * (int(line) - 2) + "listen:\n  - port: 70000\n")
    done = subprocess.run([ALKNETD, "--check", "--config", config], capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.stderr == f"alknetd: {config}:{line}: {said}\n"


def host_functions(block, _stage):
    header = (ROOT / "include/alknet/host.h").read_text()
    names = set(re.findall(r"alk_host_\w+", block.text)) | {f"ALK_HOST_{n}" for n in re.findall(r"\b[A-Z]{2,}\b", block.text) if n not in ("JSON", "ALK")}
    assert len(names) > 12 and not [n for n in names if not re.search(rf"\b{n}\b", header)]


def go_module(block, _stage):
    assert block.text.split()[-1] == re.search(r"^module (\S+)", (ROOT / "clients/go/go.mod").read_text(), re.M)[1]


def npm(block, _stage):
    assert block.text == "npm install && npm test\n" and "test" in json.loads((ROOT / "clients/js/package.json").read_text())["scripts"]


def proved(test):
    """It is what that test does, word for word or by the same means."""
    def way(_block, _stage):
        assert (ROOT / test).exists()
    return way


# (document, language, how the block begins): the way. The longest beginning that fits is taken.
WAYS = {
    ("", "yaml", ""): yaml,
    ("", "c", ""): c,
    ("", "sh", ""): sh,
    ("README.md", "indented", "cc -o build/hello"): proved("tests/check_install.sh"),
    ("README.md", "indented", "make run"): targets,
    ("README.md", "indented", "build/bin/alknet"): readme_commands,
    ("README.md", "indented", "make install"): readme_program,
    ("clients/go/README.md", "indented", "go get"): go_module,
    ("clients/go/README.md", "indented", "curl"): sh,
    ("clients/js/README.md", "indented", "npm"): npm,
    ("clients/js/README.md", "js", ""): js_client,
    ("clients/js/README.md", "js", "client.addEventListener('resuming'"): js_losses,
    ("clients/python/README.md", "indented", "curl"): proved("clients/python/tests/test_readme.py"),
    ("clients/python/README.md", "indented", "pip install ./clients/python"): proved("tests/check_python.sh"),
    ("docs/cli.md", "sh", "alknet peers"): served,
    ("docs/cli.md", "sh", "export ALKNET_URL=ws://"): served,
    ("docs/cli.md", "sh", "umask 077"): tokens,
    ("docs/cli.md", "sh", "$ alknet"): session,
    ("docs/cli.md", "text", "# comments"): settings,
    ("docs/cli.md", "text", "alknet call de<TAB>"): served,
    ("docs/cli.md", "text", "alknet context"): contexts,
    ("docs/cli.md", "text", "$ alknet bench"): measured,
    ("docs/cli.md", "text", "$ alknet"): session,
    ("docs/configuration.md", "indented", "alknetd: "): message_of_check,
    ("docs/deploy.md", "indented", "make install"): proved("tests/check_install.sh"),
    ("docs/events.md", "js", ""): js_events,
    ("docs/events.md", "json", ""): event,
    ("docs/host.md", "text", "alk_host_new"): host_functions,
    ("docs/mcp.md", "indented", "claude mcp add"): added_to_an_assistant,
    ("docs/mcp.md", "json", ""): settings_of_an_assistant,
    ("docs/protocol.md", "text", "> "): transcript,
    ("docs/security.md", "js", ""): js_client,
    ("docs/websocket.md", "indented", "{"): transcript,
}


def way_of(block):
    fitting = [key for key in WAYS if key[0] in ("", block.document) and key[1] == block.language and block.text.startswith(key[2])]
    assert fitting, f"{block}: no test looks at this block of {block.language}"
    return WAYS[max(fitting, key=lambda key: (len(key[0]), len(key[2])))]


HERE = [b for blocks in BLOCKS.values() for b in blocks if (b.document, b.language) not in ELSEWHERE and b.document != "docs/tutorial.md"]


@pytest.mark.parametrize("block", HERE, ids=str)
def test_a_block_works(block, stage):
    way_of(block)(block, stage)


def test_no_way_is_for_nothing():
    used = {way_of(b) for b in HERE}
    assert set(WAYS.values()) <= used
    assert {(b.document, b.language) for blocks in BLOCKS.values() for b in blocks} >= set(ELSEWHERE)


# ---- docs/compare.md --------------------------------------------------------------------------------------------------


def test_what_is_compared_was_measured():
    measured = (ROOT / "bench/README.md").read_text()
    rows = re.findall(r"^\|.*\| (\d[^|]*) \| ([\d.]+ to [\d.]+)(?:, noisy)? \|$", (ROOT / "docs/compare.md").read_text(), re.M)
    assert len(rows) > 10
    for ratio, pairs in rows:
        assert re.search(rf"\| {re.escape(re.match(r'[0-9.]+', ratio)[0])}\b[^|]*\| {re.escape(pairs)}", measured), (ratio, pairs)
