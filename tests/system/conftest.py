"""What system tests share: an alknetd of their own.

`daemon` is a running alknetd with demo operations on a port that the kernel chose; `make_daemon` makes one with a given
configuration. Each is stopped by SIGTERM at the end of its test, which must give exit status 0, no report of a
sanitizer, and no token in its log.
"""
import copy
import hashlib
import http.client
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "build/deps/python"))  # clients that the system does not have
BIN = pathlib.Path(os.environ.get("ALKNET_BIN", ROOT / "build/san/bin"))
ALKNETD = str(BIN / "alknetd")
os.umask(0o022)  # alknetd refuses files that a group may write to
PATIENCE = 20  # seconds for what takes milliseconds on an idle machine
REPORTS = ("AddressSanitizer", "ThreadSanitizer", "LeakSanitizer", "runtime error:", "UndefinedBehaviorSanitizer")


def new_token():
    return "alk_" + os.urandom(24).hex()


def key_for(token, *scopes, **more):
    """An entry of `keys` for that token."""
    return {"prefix": token[:8], "hash": hashlib.sha256(token.encode()).hexdigest(), "scopes": list(scopes), **more}


def wait_for(what, seconds=PATIENCE, every=0.01):
    """Calls `what` until it returns something true, and returns that."""
    end = time.monotonic() + seconds
    while True:
        result = what()
        if result:
            return result
        assert time.monotonic() < end, f"waited {seconds} s in vain for {getattr(what, '__name__', what)}"
        time.sleep(every)


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path, timeout):
        super().__init__("localhost", timeout=timeout)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class Answer:
    def __init__(self, response):
        self.status = response.status
        self.headers = response.headers
        self.body = response.read()

    def json(self):
        return json.loads(self.body)


class Daemon:
    """alknetd with its files in a folder of its own. Public: url host port token config config_path log_path proc."""

    def __init__(self, folder, config=None, args=(), name="alknetd.json"):
        self.folder = folder
        self.token = new_token()
        self.tokens = [self.token]  # what must not be in the log
        self.config = {"listen": [{"host": "127.0.0.1", "port": 0}], "demo": True,
                       "keys": [key_for(self.token, "demo:*", "metrics:list", description="of the tests")],
                       "log": {"format": "json"},
                       "core_dumps": os.geteuid() != 0}  # or its descriptors in /proc are root's to see
        self.config.update(copy.deepcopy(config or {}))
        self.config_path = folder / name
        self.log_path = folder / "alknetd.log"
        self.args = list(args)
        self.host = self.port = self.url = self.proc = None
        self.write_config()

    def write_config(self, **changes):
        self.config.update(changes)
        self.config_path.write_text(json.dumps(self.config, indent=1))  # which is YAML as well

    def start(self, env=None, wait=True, **kwargs):
        assert self.proc is None
        with open(self.log_path, "wb") as log:
            self.proc = subprocess.Popen([ALKNETD, "--config", str(self.config_path), *self.args], stdin=subprocess.DEVNULL,
                                         stdout=log, stderr=log, env={**os.environ, **(env or {})}, **kwargs)
        if wait:
            self.wait_listening()
        return self

    def wait_listening(self):
        def listening():
            assert self.proc.poll() is None, f"alknetd ended with {self.proc.returncode}: {self.log_text()}"
            return self.events("listening")
        first = next((e for e in wait_for(listening) if "port" in e), None)
        if first:
            self.host, self.port = first["address"], first["port"]
            self.url = f"http://{self.host}:{self.port}"

    def signal(self, number):
        self.proc.send_signal(number)

    def stop(self, status=0):
        """Stops it and makes sure that it ended well."""
        if self.proc is None:
            return
        if self.proc.poll() is None:
            self.signal(signal.SIGTERM)
        self.ended(status)

    def ended(self, status=0):
        """It has been told to end, and does."""
        try:
            self.proc.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.proc.kill()
            self.proc.wait()
            pytest.fail(f"alknetd did not end: {self.log_text()[-4000:]}")
        finally:
            code, self.proc = self.proc.returncode, None
        log = self.log_text()
        assert code == status, f"exit status {code}: {log[-4000:]}"
        assert not any(report in log for report in REPORTS), log[-8000:]
        for token in self.tokens:
            assert token not in log and token[4:] not in log, "a token is in the log"

    def restart(self, **kwargs):
        self.stop()
        return self.start(**kwargs)

    # ---- its log

    def log_text(self):
        return self.log_path.read_text(errors="replace")

    def log_lines(self):
        """The lines of the log that are complete; each must be JSON unless it is not alknetd's own."""
        return [json.loads(line) for line in self.log_text().splitlines(keepends=True)
                if line.startswith("{") and line.endswith("\n")]

    def events(self, name):
        return [e for e in self.log_lines() if e["event"] == name]

    def wait_event(self, name, count=1):
        return wait_for(lambda: len(self.events(name)) >= count and self.events(name))[count - 1]

    def reload_fails(self, why):
        """A reload from here on fails for that reason."""
        before = len(self.events("reload.failed"))
        self.signal(signal.SIGHUP)
        assert why in self.wait_event("reload.failed", before + 1)["message"]

    # ---- requests

    def connect(self, timeout=PATIENCE):
        return http.client.HTTPConnection(self.host, self.port, timeout=timeout)

    def request(self, method, path, body=None, token=True, headers=None, connection=None):
        """token: True: this daemon's; None: none; else that."""
        headers = dict(headers or {})
        if token:
            headers["Authorization"] = f"Bearer {self.token if token is True else token}"
        if body is not None and not isinstance(body, (bytes, str)):
            body = json.dumps(body)
        if body is not None:
            headers.setdefault("Content-Type", "application/json")
        own = connection is None
        connection = connection or self.connect()
        try:
            connection.request(method, path, body, headers)
            return Answer(connection.getresponse())
        finally:
            if own:
                connection.close()

    def get(self, path, **kwargs):
        return self.request("GET", path, **kwargs)

    def call(self, operation, value=None, **kwargs):
        return self.request("POST", "/call", {"operation": operation, "input": value}, **kwargs)

    def output(self, operation, value=None, **kwargs):
        """The output of a call that must succeed."""
        answer = self.call(operation, value, **kwargs)
        assert answer.status == 200, answer.body
        return answer.json()["output"]


@pytest.fixture
def make_daemon(tmp_path):
    """make_daemon(config={...}, args=[...]): an alknetd that is not started yet."""
    made = []

    def make(config=None, args=(), **kwargs):
        folder = tmp_path / f"daemon{len(made)}"
        folder.mkdir()
        made.append(Daemon(folder, config, args, **kwargs))
        return made[-1]

    yield make
    for daemon in made:
        daemon.stop()


@pytest.fixture
def daemon(make_daemon):
    return make_daemon().start()
