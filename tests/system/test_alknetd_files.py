"""Which files alknetd trusts: regular ones of root or of its user, which nobody else may write to."""
import json
import os
import shutil
import socket
import subprocess

import pytest

from conftest import ALKNETD, PATIENCE, wait_for
from test_alknetd import PLUGIN, new_token


def refused(config, *, what):
    done = subprocess.run([ALKNETD, "--config", str(config), "--check"], capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 1 and what in done.stderr, done.stderr


def no_file(path, kind):
    """Puts something there that is not a file; returns what has to stay alive."""
    path.unlink(missing_ok=True)
    if kind == "fifo":
        os.mkfifo(path, 0o600)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "folder":
        path.mkdir()
    else:
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(path))
        path.chmod(0o600)
        return listener
    return None


KINDS = {"fifo": "is not a file", "device": "is not a file", "folder": "is a folder", "socket": "No such device or address"}


def configuration(folder, member):
    """The path of a configuration that names `file` there in that member, or is that file."""
    file = folder / "file"
    config = {"configuration": None,
              "identities_file": {"identities_file": "file"},
              "token_file": {"connect": [{"url": "ws://127.0.0.1:1", "token_file": "file"}]},
              "config_file": {"plugins": [{"path": str(PLUGIN), "config_file": "file"}]},
              "plugin": {"plugins": [{"path": "file"}]}}[member]
    if config is None:
        return file, file
    path = folder / "c.json"
    path.write_text(json.dumps(config))
    return path, file


MEMBERS = ["configuration", "identities_file", "token_file", "config_file", "plugin"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("member", MEMBERS)
def test_what_is_no_file_is_refused_at_once_and_named(tmp_path, monkeypatch, kind, member):
    monkeypatch.chdir(tmp_path)  # a socket's path is short
    path, file = configuration(tmp_path, member)
    alive = no_file(file.relative_to(tmp_path), kind)
    what = "is not a file" if (member, kind) == ("plugin", "socket") else KINDS[kind]
    refused(path, what=f"{file}: {what}")
    del alive


@pytest.mark.parametrize("kind", ["fifo", "device"])
def test_a_reload_of_what_is_no_file_fails_and_signals_go_on(make_daemon, kind):
    daemon = make_daemon().start()
    good = daemon.config_path.read_text()
    no_file(daemon.config_path, kind)
    daemon.reload_fails("is not a file")
    daemon.config_path.unlink()
    daemon.config_path.write_text(good)
    daemon.signal(1)
    daemon.wait_event("reload")


def test_a_large_file_is_refused_before_it_is_read(tmp_path):
    path = tmp_path / "c.yaml"
    path.touch()
    os.truncate(path, 1 << 40)
    refused(path, what=f"{path}: larger than 4194304 bytes")


# ---- who may write to them ------------------------------------------------------------------------------------------

def good_file(member, file):
    if member == "plugin":
        shutil.copy(PLUGIN, file)
    else:
        file.write_text({"token_file": new_token()}.get(member, "{}"))
    file.chmod(0o600)


@pytest.mark.parametrize("member", MEMBERS)
@pytest.mark.parametrize("mode,who", [(0o620, "its group"), (0o602, "everyone"), (0o622, "everyone")])
def test_a_file_that_others_may_write_is_refused(tmp_path, member, mode, who):
    path, file = configuration(tmp_path, member)
    good_file(member, file)
    assert subprocess.run([ALKNETD, "--config", path, "--check"], capture_output=True, timeout=PATIENCE, check=False).returncode == 0
    file.chmod(mode)
    refused(path, what=f"{file}: {who} may write to it (mode {mode:04o}); chmod go-w")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
@pytest.mark.parametrize("member", MEMBERS)
def test_a_file_of_another_user_is_refused(tmp_path, member):
    path, file = configuration(tmp_path, member)
    good_file(member, file)
    os.chown(file, 12345, -1)
    refused(path, what=f"{file}: belongs to user 12345: it must be root's or that of the user who runs this")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_file_of_root_is_good_for_every_user(tmp_path):
    for folder in [tmp_path, *tmp_path.parents][:4]:
        folder.chmod(folder.stat().st_mode | 0o055)
    path = tmp_path / "c.yaml"
    path.write_text("{}")
    done = subprocess.run([ALKNETD, "--config", path, "--check"], capture_output=True, text=True, timeout=PATIENCE, check=False, user=65534)
    assert done.returncode == 0, done.stderr


def test_a_reload_refuses_a_file_that_others_may_write(make_daemon):
    daemon = make_daemon().start()
    token = daemon.token
    daemon.write_config(keys=[])
    daemon.config_path.chmod(0o664)
    daemon.reload_fails("its group may write to it (mode 0664); chmod go-w; nothing has changed")
    assert daemon.output("demo/whoami", token=token)["id"] == token[:8]
    daemon.config_path.chmod(0o644)
    daemon.signal(1)
    wait_for(lambda: daemon.call("demo/whoami").status == 401)


# ---- what editors add ---------------------------------------------------------------------------------------------

def edited(path, text):
    """As an editor of Windows leaves it: with a byte order mark, and CR LF."""
    path.write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    path.chmod(0o600)


@pytest.mark.parametrize("form", ["yaml", "json"])
def test_a_byte_order_mark_and_cr_lf_change_nothing(make_daemon, form):
    daemon = make_daemon(name=f"alknetd.{form}")
    keys = daemon.config.pop("keys")
    daemon.config.update({"identities_file": f"ids.{form}", "plugins": [{"path": str(PLUGIN), "config_file": f"plugin.{form}"}],
                          "connect": [{"url": "ws://127.0.0.1:1", "token_file": "token"}],
                          "imports": [{"openapi": f"api.{form}", "prefix": "api", "public": True, "private_addresses": True,
                                       "auth": {"type": "bearer", "file": "token"}}]})
    document = {"openapi": "3.1.0", "info": {"title": "t", "version": "1"}, "servers": [{"url": "http://127.0.0.1:1"}],
                "paths": {"/a": {"get": {"operationId": "a", "responses": {"200": {"description": "ok"}}}}}}
    for name, value in [(daemon.config_path.name, daemon.config), (f"ids.{form}", {"keys": keys}), (f"plugin.{form}", {"greeting": "Psst"}),
                        (f"api.{form}", document)]:
        lines = json.dumps(value, indent=1) if form == "json" else "".join(f"{k}: {json.dumps(v)}\n" for k, v in value.items())
        edited(daemon.folder / name, lines)
    edited(daemon.folder / "token", new_token() + "\n")
    daemon.start()
    assert daemon.output("hello/greet", {"name": "Ada"}) == {"text": "Psst, Ada"}
    assert daemon.output("demo/whoami")["id"] == daemon.token[:8]
    assert daemon.get("/schema?name=api/a").status == 200
