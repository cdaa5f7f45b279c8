"""Peer credentials: who connects to a Unix-domain socket is the user that `users` name, as far as nothing else says who asks."""
import base64
import json
import os
import socket
import subprocess

import pytest

from conftest import ALKNETD, PATIENCE, UnixConnection, new_token

ME = os.getuid()
OTHER = ME + 4711


@pytest.fixture
def serve(make_daemon):
    def start(users, **listen):
        daemon = make_daemon({"users": users, "listen": [{"unix": "s.sock", "mode": "0666", **listen}]}).start()
        daemon.folder.chmod(0o711)
        return daemon
    return start


def ask(daemon, token=None):
    """The status and the id that demo/whoami gives."""
    answer = daemon.call("demo/whoami", token=token, connection=UnixConnection(str(daemon.folder / "s.sock"), PATIENCE))
    return answer.status, (answer.json().get("output") or {}).get("id")


def ask_as(daemon, uid):
    """The same, asked by a process of another user, which may use nothing but the socket."""
    body = json.dumps({"operation": "demo/whoami"})
    request = ("POST /call HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\n"
               f"Content-Length: {len(body)}\r\n\r\n{body}")
    ours, theirs = socket.socketpair()
    child = os.fork()
    if child == 0:
        try:
            os.chdir(daemon.folder)
            os.setuid(uid)
            with socket.socket(socket.AF_UNIX) as s:
                s.connect("s.sock")
                s.sendall(request.encode())
                for data in iter(lambda: s.recv(65536), b""):
                    theirs.sendall(data)
        finally:
            os._exit(0)  # pylint: disable=protected-access
    theirs.close()
    with ours:
        ours.settimeout(PATIENCE)
        head, _, body = b"".join(iter(lambda: ours.recv(65536), b"")).partition(b"\r\n\r\n")
    os.waitpid(child, 0)
    return int(head.split()[1]), (json.loads(body).get("output") or {}).get("id")


def test_a_user_of_the_list_is_who_asks(serve):
    daemon = serve([{"uid": ME}], peer_credentials=True)
    assert ask(daemon) == (200, f"unix:{ME}")
    assert ask(daemon, token=daemon.token)[1] == daemon.token[:8], "a token says who asks"
    assert ask(daemon, token=new_token())[0] == 401, "a wrong one does so too"
    assert ask(daemon) == (200, f"unix:{ME}")


def test_each_user_is_himself_and_others_are_nobody(serve):
    daemon = serve([{"uid": OTHER}], peer_credentials=True)
    assert ask_as(daemon, OTHER) == (200, f"unix:{OTHER}")
    assert ask_as(daemon, OTHER + 1)[0] == 401
    assert ask(daemon)[0] == 401


def test_nobody_is_asked_without_the_option(serve):
    daemon = serve([{"uid": ME}])
    assert ask(daemon)[0] == 401


def test_a_proxy_is_not_its_user(make_daemon):
    daemon = make_daemon({"users": [{"uid": ME}], "listen": [{"unix": "s.sock", "peer_credentials": True}],
                          "gateway": {"trusted_proxies": ["unix"]}}).start()
    assert ask(daemon)[0] == 401


def test_a_reload_takes_a_user_away_and_ends_his_session(serve):
    daemon = serve([{"uid": ME}], peer_credentials=True)
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(PATIENCE)
        s.connect(str(daemon.folder / "s.sock"))
        key = base64.b64encode(os.urandom(16)).decode()
        s.sendall(f"GET /alknet/call HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: {key}\r\n"
                  "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: alknet.call.v1\r\n\r\n".encode())
        got = s.recv(65536)
        assert got.startswith(b"HTTP/1.1 101 ")
        assert daemon.wait_event("session.open")["identity"] == f"unix:{ME}"
        before = len(daemon.events("reload"))
        daemon.write_config(users=[])
        daemon.signal(1)
        daemon.wait_event("reload", before + 1)
        while (1008).to_bytes(2, "big") not in got.partition(b"\r\n\r\n")[2]:
            data = s.recv(65536)
            assert data, "closed without a close frame"
            got += data
    assert ask(daemon)[0] == 401
    daemon.write_config(users=[{"uid": ME}])
    daemon.signal(1)
    daemon.wait_event("reload", before + 2)
    assert ask(daemon) == (200, f"unix:{ME}")


@pytest.mark.parametrize("config,message", [
    ({"listen": [{"port": 0, "peer_credentials": True}]}, "listen[0].peer_credentials: belongs to \"unix\""),
    ({"metrics": {"listen": {"unix": "m", "peer_credentials": True}}}, "there is no member \"peer_credentials\""),
    ({"users": [{"uid": 1}, {"uid": 1}]}, "users[1].uid: the id is taken"),
    ({"users": [{"uid": 65534}]}, "users[0].uid: must be the number of a user, and not 65534"),
    ({"users": [{"scopes": []}]}, "users[0]: member \"uid\" is missing")])
def test_what_could_not_be_meant_is_refused(tmp_path, config, message):
    (tmp_path / "c.json").write_text(json.dumps(config))
    done = subprocess.run([ALKNETD, "--config", tmp_path / "c.json", "--check"], capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 1 and message in done.stderr, done.stderr
