"""docs/peers.md: its hub and its spoke are started as they stand there, its commands are run, and its defaults are those of the code."""
import contextlib
import json
import re
import shlex
import signal
import subprocess

import pytest

from conftest import ALKNETD, PATIENCE, ROOT, Daemon, wait_for
from test_quic import Hub, Key, Spoke, alknet, peer

TEXT = (ROOT / "docs/peers.md").read_text()
HUB, SPOKE = re.findall(r"^```yaml\n(.*?)^```", TEXT, re.S | re.M)
KEYGEN, CALL = re.findall(r"^```sh\n(.*?)^```", TEXT, re.S | re.M)


class Documented(Daemon):
    """One whose configuration is a text."""

    def __init__(self, folder, name, text):
        super().__init__(folder, name=f"{name}.yaml")
        self.log_path = folder / f"{name}.log"
        self.config_path.write_text(text + "log: {format: json}\n")


def filled(text, fingerprints, **more):
    """With the fingerprint of the key that the comment names, and what the machine of the test has in place of the example's."""
    lines = [re.sub(r"ed25519:…", fingerprints[m[1]], line) if (m := re.search(r"# of (\w+\.key)", line)) else line for line in text.splitlines(True)]
    text = "".join(lines)
    for old, new in more.values():
        assert old in text
        text = text.replace(old, new)
    assert "…" not in text
    return text


@pytest.fixture
def nodes(tmp_path):
    """The hub and the spoke: (hub, spoke, fingerprints)."""
    fingerprints = {}
    for line in KEYGEN.splitlines():
        command = shlex.split(line, comments=True)
        assert command[:2] == ["alknet", "keygen"]
        fingerprints[command[2]] = alknet(tmp_path, "keygen", tmp_path / command[2])[0].strip()
    with contextlib.ExitStack() as stack:
        hub = Documented(tmp_path, "hub", filled(HUB, fingerprints, host=('host: "::", port: 4780', "host: 127.0.0.1, port: 0")))
        stack.callback(hub.stop)
        hub.start()
        spoke = Documented(tmp_path, "spoke", filled(SPOKE, fingerprints, at=("hub.example:4780", f"127.0.0.1:{hub.port}")))
        stack.callback(spoke.stop)
        spoke.start()
        spoke.wait_event("connect.ready")
        yield hub, spoke, fingerprints


def test_the_hub_the_spoke_and_the_call_work_as_they_stand_there(nodes, tmp_path):
    hub, spoke, fingerprints = nodes
    wait_for(lambda: hub.events("import.done"))
    line, said = CALL.split("    # ")
    command = shlex.split(line.replace("hub.example:4780", f"127.0.0.1:{hub.port}").replace("ed25519:…", fingerprints["hub.key"]))
    command = [str(tmp_path / word) if word.endswith(".key") else word for word in command]
    assert command[0] == "alknet"
    assert json.loads(alknet(tmp_path, *command[1:])[0]) == json.loads(said)
    assert wait_for(lambda: [e for e in spoke.events("call") if e["operation"] == "demo/add"])[0]["identity"] == "hub"
    listed = alknet(tmp_path, *command[1:command.index("call")], "peers")[0]
    assert "paris" in listed


def test_its_limits_are_the_defaults():
    source = (ROOT / "lib/core/limits.c").read_text()
    for name, value in (("quic_handshakes", "1024"), ("quic_streams", "1024"), ("quic_stream_window", "256u << 10"), ("quic_window", "1u << 20"),
                        ("quic_idle_ms", "30000"), ("quic_keep_alive_ms", "10000")):
        assert f".{name} = {value}," in source and f"`{name}`" in TEXT


def test_alknetd_listens_somewhere_always(tmp_path):
    (tmp_path / "c.json").write_text('{"listen": []}')
    done = subprocess.run([ALKNETD, "--config", tmp_path / "c.json"], capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode and "listen" in done.stderr


def reload(node, count=1, **changes):
    node.write_config(**changes)
    node.signal(signal.SIGHUP)
    node.wait_event("reload", count)


def test_a_spokes_key_is_rotated_without_a_moment_in_which_it_is_nobody(tmp_path):
    old, new, of_hub = (Key(tmp_path, name) for name in ("old", "new", "hub"))
    both = peer("spoke", old)
    with Hub(tmp_path, of_hub, peers=[both]) as hub, Spoke(tmp_path, old, hub) as spoke:
        spoke.wait_event("connect.ready")
        both["fingerprints"].append(new.fingerprint)
        reload(hub, peers=[both])
        assert spoke.through("hub", "demo/echo", 1).output == 1
        spoke.stop()
        spoke.write_config(node_key=new.file)
        spoke.start()
        spoke.wait_event("connect.ready")
        reload(hub, 2, peers=[peer("spoke", new)])
        assert spoke.through("hub", "demo/whoami").output["id"] == "spoke"
        with Spoke(tmp_path, old, hub) as late:
            assert "nobody known here has that key" in late.wait_event("dial.failed")["message"]
        assert spoke.through("hub", "demo/whoami").output["id"] == "spoke" and not spoke.events("dial.lost")


def test_a_hubs_key_is_rotated_with_the_urls_of_its_spokes(tmp_path):
    old, new, of_spoke = (Key(tmp_path, name) for name in ("old", "new", "spoke"))
    with Hub(tmp_path, old, peers=[peer("spoke", of_spoke)]) as hub, Spoke(tmp_path, of_spoke, hub) as spoke:
        spoke.wait_event("connect.ready")
        hub.stay()
        hub.stop()
        hub.write_config(node_key=new.file)
        hub.start()
        assert f"the server is another: {new.fingerprint}" in spoke.wait_event("dial.failed")["message"]
        reload(spoke, connect=[{**spoke.config["connect"][0], "url": hub.at(new.fingerprint)}], peers=[peer("hub", new)])
        spoke.wait_event("connect.ready", 2)
        wait_for(lambda: hub.has("spoke", "demo/whoami"))
        assert hub.through("spoke", "demo/whoami").output["id"] == "hub"
