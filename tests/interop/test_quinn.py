"""Raw Ed25519 keys (RFC 7250) with quinn and rustls, the one other stack that has them: alknetd and alknet speak with
tests/interop/quinnpeer.

Run by tests/interop/run.sh, which builds it: QUINNPEER is the program.
"""
import contextlib
import json
import os
import subprocess
import sys

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../system"))
from certificates import self_signed  # noqa: E402  pylint: disable=wrong-import-position
from conftest import BIN, PATIENCE, Daemon  # noqa: E402  pylint: disable=wrong-import-position

QUINN = os.environ["QUINNPEER"]
LOCAL = "127.0.0.1"


class Key:
    def __init__(self, folder, name):
        self.file = str(folder / name)
        subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", self.file], check=True, capture_output=True)
        os.chmod(self.file, 0o600)
        der = subprocess.run(["openssl", "pkey", "-in", self.file, "-pubout", "-outform", "DER"], check=True, capture_output=True).stdout
        self.public = der[-32:].hex()
        self.fingerprint = "ed25519:" + self.public


@pytest.fixture(scope="module", name="keys")
def make_keys(tmp_path_factory):
    folder = tmp_path_factory.mktemp("keys")
    return {name: Key(folder, name) for name in ("node", "me", "stranger")}


@contextlib.contextmanager
def running(folder, keys, **config):
    entry = {"peer_id": "me", "fingerprints": [keys["me"].fingerprint], "scopes": ["demo:*"]}
    node = Daemon(folder, {"listen": [{"quic": True, "host": LOCAL, "port": 0}], "peers": [entry], "node_key": keys["node"].file, **config})
    node.start()
    try:
        yield node
    finally:
        node.stop()


def call(node, public, operation, *key):
    """What quinn says of its one call."""
    done = subprocess.run([QUINN, "client", f"{LOCAL}:{node.port}", public, operation, *key], capture_output=True, text=True,
                          timeout=2 * PATIENCE, check=True)
    return done.stdout


def output(text):
    return json.loads(text)["payload"]["output"]


@pytest.mark.parametrize("both", [False, True], ids=["key alone", "certificate too"])
def test_quinn_dials(tmp_path, keys, both):
    tls = {"tls": {"certificates": [self_signed(tmp_path, "server").entry()]}} if both else {}
    with running(tmp_path, keys, **tls) as node:
        public = keys["node"].public
        assert output(call(node, public, "demo/echo")) == {"n": 5}, "nobody in particular"
        assert output(call(node, public, "demo/whoami", keys["me"].file))["id"] == "me"
        refused = call(node, public, "demo/echo", keys["stranger"].file)
        assert "error_code: 3" in refused and "nobody known here has that key" in refused
        assert "UnknownIssuer" in call(node, keys["stranger"].public, "demo/echo"), "it is another"


@contextlib.contextmanager
def quinn_server(keys):
    """(its URL, what it says)"""
    with subprocess.Popen([QUINN, "server", keys["node"].file], stdout=subprocess.PIPE, text=True) as server:
        try:
            yield f"alknet://{LOCAL}:{int(server.stdout.readline())}", server.stdout
        finally:
            server.kill()


def alknet(folder, *args, status=0):
    done = subprocess.run([str(BIN / "alknet"), *args], env={"PATH": os.environ["PATH"], "HOME": str(folder)}, stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == status, done
    return done.stdout or done.stderr


def test_quinn_is_dialled(tmp_path, keys):
    """It sees our key. One of ours without a key says nothing of client_certificate_type (RFC 7250, 4.1), which rustls refuses
    where it asks for raw keys alone."""
    mine = ["--key", keys["me"].file]
    with quinn_server(keys) as (url, says):
        pinned = f"{url}#{keys['node'].fingerprint}"
        assert alknet(tmp_path, "-u", pinned, *mine, "call", "demo/echo", "-o", "json").strip() == '"quinn"'
        assert says.readline().strip() == keys["me"].public
        assert "error_code: 0" in says.readline()
        said = alknet(tmp_path, "-u", pinned, "call", "demo/echo", status=3)
        assert "IncorrectCertificateTypeExtension" in said


def test_another_key_than_the_pinned_one_is_refused(tmp_path, keys):
    with quinn_server(keys) as (url, says):
        said = alknet(tmp_path, "-u", f"{url}#{keys['stranger'].fingerprint}", "--key", keys["me"].file, "call", "demo/echo", status=3)
        assert f"the server is another: {keys['node'].fingerprint}" in said
        assert "crypto(2a)" in says.readline(), "bad_certificate"
