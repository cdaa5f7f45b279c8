"""docs/deploy.md, where TLS is alknetd's own: alone, and behind HAProxy that hands on bytes and says whose they are."""
import json
import socket
import ssl
import subprocess

import pytest

from certificates import Authority
from conftest import PATIENCE, wait_for
from rawhttp2 import Http2
from test_deploy import NAME, Proxy, blocks, clear_haproxy, swap

ALONE, BEHIND = (text for text in blocks("yaml") if "tls: true" in text)
TCP = next(text for text in blocks("haproxy") if "mode tcp" in text)


@pytest.fixture
def make(make_daemon, tmp_path):
    """The document's configuration, with a port of the kernel's, and what a test has to have besides."""
    def make(text):
        ca = Authority(tmp_path)
        pair = ca.sign("app", (NAME,))
        daemon = make_daemon(name="alknetd.yaml")
        (daemon.folder / "tls").mkdir()
        pem, key = daemon.folder / "tls/app.example.pem", daemon.folder / "tls/app.example.key"
        pem.write_text(open(pair.certificate, encoding="ascii").read())
        key.write_text(open(pair.key, encoding="ascii").read())
        key.chmod(0o600)
        own = {k: v for k, v in daemon.config.items() if k not in ("listen", "gateway")}
        text = swap(text, ("port: 4780", "port: 0"))
        if "certificates" not in text:
            text += "tls: {certificates: [{certificate: tls/app.example.pem, key: tls/app.example.key}]}\n"
        daemon.config_path.write_text(text + "".join(f"{k}: {json.dumps(v)}\n" for k, v in own.items()))
        daemon.start()
        daemon.ca = ca
        return daemon
    return make


def speak(daemon, port, alpn):
    context = ssl.create_default_context(cafile=daemon.ca.file)
    context.set_alpn_protocols([alpn])
    return context.wrap_socket(socket.create_connection(("127.0.0.1", port), PATIENCE), server_hostname=NAME)


def check(daemon, port, remote):
    c = Http2(speak(daemon, port, "h2"), daemon.token, authority=NAME, scheme="https")
    assert c.call("demo/echo", 1).json()["output"] == 1
    c.close()
    assert remote(wait_for(lambda: daemon.events("call"))[-1]["remote"])
    done = subprocess.run(["curl", "-sS", "--http1.1", "--cacert", daemon.ca.file, "--resolve", f"{NAME}:{port}:127.0.0.1", f"https://{NAME}:{port}/healthz"],
                          capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.stdout == "ok", done.stderr
    with speak(daemon, port, "alknet/call") as tls:
        assert tls.selected_alpn_protocol() == "alknet/call"


def test_alone_it_does_tls_and_both_versions_of_http(make):
    daemon = make(ALONE)
    check(daemon, daemon.port, lambda remote: remote == "127.0.0.1")


def test_behind_a_proxy_of_bytes_clients_are_who_they_are(make):
    daemon = make(BEHIND)
    with Proxy(clear_haproxy, daemon, TCP, tls=False) as front:
        check(daemon, front.port, lambda remote: remote == "127.0.0.1")
        context = ssl.create_default_context(cafile=daemon.ca.file)
        context.set_alpn_protocols(["h2"])
        other = socket.create_connection(("127.0.0.1", front.port), PATIENCE, source_address=("127.0.0.2", 0))
        c = Http2(context.wrap_socket(other, server_hostname=NAME), daemon.token, authority=NAME, scheme="https")
        assert c.call("demo/echo", 2).status == 200
        c.close()
        wait_for(lambda: daemon.events("call")[-1]["remote"] == "127.0.0.2")


@pytest.mark.parametrize("taken", [" send-proxy-v2", ", proxy_protocol: true"])
def test_one_alone_of_the_two_is_no_connection(make, taken):
    daemon = make(BEHIND.replace(taken, ""))
    with Proxy(clear_haproxy, daemon, TCP.replace(taken, ""), tls=False) as front:
        with pytest.raises((ssl.SSLError, ConnectionError)):
            speak(daemon, front.port, "h2")
