"""The PROXY protocol, versions 1 and 2: whose a connection is when a trusted proxy says so, and that nobody else can say it."""
import http.client
import json
import socket
import ssl
import struct
import time

import pytest

from certificates import Authority
from conftest import PATIENCE, Answer, wait_for
from rawhttp2 import Http2

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"


def v1(source, family="TCP4"):
    return f"PROXY {family} {source} {'::1' if ':' in source else '127.0.0.1'} 4711 80\r\n".encode()


def v2(source=None, tlv=b"", command=1):
    if source is None:
        return SIGNATURE + struct.pack(">BBH", 0x20 | command, 0, len(tlv)) + tlv
    six = ":" in source
    family = socket.AF_INET6 if six else socket.AF_INET
    body = socket.inet_pton(family, source) + socket.inet_pton(family, "::1" if six else "127.0.0.1") + struct.pack(">HH", 4711, 80) + tlv
    return SIGNATURE + struct.pack(">BBH", 0x20 | command, 0x21 if six else 0x11, len(body)) + body


@pytest.fixture
def proxied(make_daemon):
    def make(trusted=("127.0.0.1",), tls=None, **config):
        listen = {"host": "127.0.0.1", "port": 0, "proxy_protocol": True, **({"tls": True} if tls else {})}
        gateway = {"trusted_proxies": list(trusted), "hosts": ["*"]}
        return make_daemon({"listen": [listen], "gateway": gateway, **({"tls": {"certificates": [tls.entry()]}} if tls else {}), **config}).start()
    return make


def connect(daemon, header=b""):
    s = socket.create_connection((daemon.host, daemon.port), PATIENCE)
    s.sendall(header)
    return s


def ask(s, daemon, operation="demo/echo", headers=""):
    body = json.dumps({"operation": operation, "input": 1})
    s.sendall(f"POST /call HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {daemon.token}\r\nContent-Type: application/json\r\n{headers}"
              f"Content-Length: {len(body)}\r\n\r\n{body}".encode())
    response = http.client.HTTPResponse(s)
    response.begin()
    return Answer(response)


def last_remote(daemon):
    return wait_for(lambda: daemon.events("call"))[-1]["remote"]


@pytest.mark.parametrize("header, remote", [
    (v1("192.0.2.7"), "192.0.2.7"), (v1("2001:db8::7", "TCP6"), "2001:db8::7"), (b"PROXY UNKNOWN\r\n", "127.0.0.1"), (v2("192.0.2.7"), "192.0.2.7"),
    (v2("2001:db8::7"), "2001:db8::7"), (v2("192.0.2.7", b"\x04\x00\x10" + bytes(16)), "192.0.2.7"), (v2(None, command=0), "127.0.0.1"),
    (v2("::ffff:192.0.2.9"), "192.0.2.9")])
def test_a_connection_is_whose_the_proxy_says(proxied, header, remote):
    daemon = proxied()
    with connect(daemon, header) as s:
        assert ask(s, daemon).status == 200
        assert last_remote(daemon) == remote
        assert ask(s, daemon).status == 200, "once is enough"


def test_a_header_in_single_bytes(proxied):
    daemon = proxied()
    with connect(daemon) as s:
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in v2("192.0.2.7"):
            s.sendall(bytes([byte]))
        assert ask(s, daemon).status == 200
        assert last_remote(daemon) == "192.0.2.7"


def ended(s):
    try:
        while s.recv(4096):
            pass
    except ConnectionError:
        pass
    return True


@pytest.mark.parametrize("header", [b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n", b"PROXY TCP4 192.0.2.7\r\n", b"PROXY TCP4 999.0.0.1 1.1.1.1 1 2\r\n",
                                    b"PROXY " + b"x" * 200, SIGNATURE + b"\x31\x11\x00\x0c" + bytes(12), SIGNATURE + b"\x21\x11\x00\x04" + bytes(4),
                                    SIGNATURE + b"\x21\x11\xff\xff", b"\r\n\r\n\0\r\nQUIX\n" + bytes(16)])
def test_a_header_that_is_none_ends_the_connection(proxied, header):
    daemon = proxied()
    with connect(daemon, header) as s:
        assert ended(s)
    with connect(daemon, v1("192.0.2.7")) as s:
        assert ask(s, daemon).status == 200


def test_whoever_says_nothing_is_ended(proxied):
    daemon = proxied(limits={"header_timeout_ms": "500ms"})
    begin = time.monotonic()
    with connect(daemon, v1("192.0.2.7")[:9]) as s:
        assert ended(s)
    assert time.monotonic() - begin < PATIENCE


def test_nobody_else_can_say_it(proxied):
    daemon = proxied(trusted=["10.0.0.0/8"])
    probe = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    for header in (v1("192.0.2.7"), v2("192.0.2.7"), b""):
        with connect(daemon) as s:
            said = b""
            try:
                s.sendall(header + probe)
                while piece := s.recv(4096):
                    said += piece
            except ConnectionError:
                pass
            assert not said
    assert not daemon.events("call")


def test_the_client_behind_it_is_no_proxy(proxied):
    daemon = proxied()
    with connect(daemon, v1("192.0.2.7")) as s:
        assert ask(s, daemon, headers="Forwarded: for=198.51.100.1\r\n").status == 200
        assert last_remote(daemon) == "192.0.2.7"


def test_limits_count_for_the_client(proxied):
    daemon = proxied(limits={"connections_per_address": 2})
    kept = [connect(daemon, v1("192.0.2.7")) for _ in range(2)]
    for s in kept:
        assert ask(s, daemon).status == 200
    with connect(daemon, v1("192.0.2.7")) as s:
        assert ended(s)
    with connect(daemon, v1("192.0.2.8")) as s:
        assert ask(s, daemon).status == 200
    for s in kept:
        s.close()
    wait_for(lambda: reopened(daemon))


def reopened(daemon):
    try:
        with connect(daemon, v1("192.0.2.7")) as s:
            return ask(s, daemon).status == 200
    except (ConnectionError, http.client.HTTPException):
        return False


def test_tls_comes_behind_it(proxied, tmp_path):
    ca = Authority(tmp_path)
    daemon = proxied(tls=ca.sign("server"))
    c = ssl.create_default_context(cafile=ca.file)
    with c.wrap_socket(connect(daemon, v2("192.0.2.7")), server_hostname="localhost") as s:
        assert ask(s, daemon).status == 200
        assert last_remote(daemon) == "192.0.2.7"


def test_http2_comes_behind_it(proxied):
    daemon = proxied()
    c = Http2(connect(daemon, v2("192.0.2.7")), daemon.token)
    assert c.call("demo/echo", 1).status == 200
    assert last_remote(daemon) == "192.0.2.7"
    c.close()
