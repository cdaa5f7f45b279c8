"""TLS as a client sees it: Python's ssl, curl and openssl against alknetd; and alknet against servers that are not as they should be."""
import contextlib
import http.client
import json
import os
import re
import select
import socket
import ssl
import struct
import subprocess
import threading
import time

import pytest

from certificates import Authority, self_signed
from conftest import ALKNETD, BIN, PATIENCE, Answer, wait_for

ALKNET = str(BIN / "alknet")
LISTEN = [{"host": "127.0.0.1", "port": 0, "tls": True}]


@pytest.fixture
def ca(tmp_path):
    folder = tmp_path / "ca"
    folder.mkdir()
    return Authority(folder)


@pytest.fixture
def secure(make_daemon, ca):
    """make(pairs…, **config): alknetd with TLS and these certificates; without any, one of localhost."""
    def make(*pairs, **config):
        pairs = pairs or (ca.sign("server"),)
        return make_daemon({"listen": LISTEN, "tls": {"certificates": [p.entry() for p in pairs]}, **config}).start()
    return make


def context(cafile=None, alpn=None, **kwargs):
    c = ssl.create_default_context(cafile=cafile)
    if not cafile:
        c.check_hostname, c.verify_mode = False, ssl.CERT_NONE
    if alpn:
        c.set_alpn_protocols(alpn)
    for name, value in kwargs.items():
        setattr(c, name, value)
    return c


def connect(daemon, c, name="localhost", **kwargs):
    return c.wrap_socket(socket.create_connection((daemon.host, daemon.port), PATIENCE), server_hostname=name, **kwargs)


def ask(tls, daemon, operation="demo/echo", value=1):
    """A call over HTTP/1.1 on that connection."""
    body = json.dumps({"operation": operation, "input": value})
    tls.sendall(f"POST /call HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {daemon.token}\r\nContent-Type: application/json\r\n"
                f"Content-Length: {len(body)}\r\n\r\n{body}".encode())
    response = http.client.HTTPResponse(tls)
    response.begin()
    answer = Answer(response)
    assert answer.status == 200, answer.body
    return answer.json()["output"]


def fingerprint(tls):
    import hashlib
    return "SHA256:" + hashlib.sha256(tls.getpeercert(True)).hexdigest()


# ---- what is agreed on ------------------------------------------------------------------------------

@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("kind", ["ec", "rsa"])
def test_a_call_over_tls(secure, ca, version, kind):
    daemon = secure(ca.sign("one", kind=kind))
    c = context(ca.file, minimum_version=version, maximum_version=version)
    with connect(daemon, c) as tls:
        assert ask(tls, daemon, value={"a": [1, 2]}) == {"a": [1, 2]}
        assert ask(tls, daemon) == 1, "the connection goes on"
        assert "GCM" in tls.cipher()[0] or "CHACHA20" in tls.cipher()[0]


@pytest.mark.parametrize("offered, chosen", [
    (None, None), (["http/1.1"], "http/1.1"), (["h2"], "h2"), (["h2", "http/1.1"], "h2"), (["http/1.1", "h2"], "h2"), (["alknet/call"], "alknet/call"),
    (["spdy/3", "http/1.1"], "http/1.1"), (["alknet/call", "h2"], "alknet/call")])
def test_what_is_spoken_is_agreed_on(secure, ca, offered, chosen):
    daemon = secure()
    with connect(daemon, context(ca.file, offered)) as tls:
        assert tls.selected_alpn_protocol() == chosen
        if chosen in (None, "http/1.1"):
            assert ask(tls, daemon) == 1


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_client_that_speaks_nothing_of_ours_gets_the_alert(secure, ca, version):
    daemon = secure()
    with pytest.raises(ssl.SSLError, match="(?i)no.application.protocol"):
        connect(daemon, context(ca.file, ["spdy/3", "h3"], maximum_version=version)).recv(1)


def test_in_stealth_nobody_is_told_of_calls(secure, ca):
    daemon = secure(gateway={"stealth": True})
    with connect(daemon, context(ca.file, ["alknet/call", "h2"])) as tls:
        assert tls.selected_alpn_protocol() == "h2"
    with pytest.raises(ssl.SSLError, match="(?i)no.application.protocol"):
        connect(daemon, context(ca.file, ["alknet/call"], maximum_version=ssl.TLSVersion.TLSv1_2))


def test_old_versions_are_refused(secure):
    daemon = secure()
    c = context(minimum_version=ssl.TLSVersion.TLSv1_1, maximum_version=ssl.TLSVersion.TLSv1_1)
    c.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.raises((ssl.SSLError, ConnectionError)):
        connect(daemon, c)
    assert wait_for(lambda: daemon.events("listening"))


@pytest.mark.parametrize("suites", ["AES128-SHA", "ECDHE-ECDSA-AES128-SHA256", "DHE-RSA-AES128-GCM-SHA256"])
def test_weak_suites_are_refused(secure, suites):
    daemon = secure()
    c = context(maximum_version=ssl.TLSVersion.TLSv1_2)
    c.set_ciphers(suites + ":@SECLEVEL=0")
    with pytest.raises((ssl.SSLError, ConnectionError)):
        connect(daemon, c)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_session_is_resumed(secure, ca, version):
    daemon = secure()
    c = context(ca.file, minimum_version=version, maximum_version=version)
    with connect(daemon, c) as tls:
        ask(tls, daemon)
        session = tls.session
        assert not tls.session_reused
    with connect(daemon, c, session=session) as tls:
        assert ask(tls, daemon) == 1
        assert tls.session_reused


def test_without_tickets_no_session_is_resumed(secure, ca):
    pair = ca.sign("server")
    daemon = secure(pair, tls={"certificates": [pair.entry()], "tickets": False})
    c = context(ca.file)
    with connect(daemon, c) as tls:
        ask(tls, daemon)
        session = tls.session
    if session:
        with connect(daemon, c, session=session) as tls:
            ask(tls, daemon)
            assert not tls.session_reused


def test_renegotiation_is_refused(secure, ca):
    daemon = secure()
    done = subprocess.run(["openssl", "s_client", "-connect", f"{daemon.host}:{daemon.port}", "-tls1_2", "-CAfile", ca.file],
                          input=b"R\n", capture_output=True, timeout=PATIENCE, check=False)
    assert b"RENEGOTIATING" in done.stdout + done.stderr
    assert b"no renegotiation" in done.stdout + done.stderr or done.returncode != 0
    with connect(daemon, context(ca.file)) as tls:
        assert ask(tls, daemon) == 1


# ---- certificates -----------------------------------------------------------------------------------

def test_each_name_has_its_certificate(secure, ca):
    one, two = ca.sign("one", ("one.example",)), ca.sign("two", ("two.example", "*.two.example"), "rsa")
    daemon = secure(one, two, gateway={"hosts": ["*"]})
    for name, pair in (("one.example", one), ("two.example", two), ("TWO.example", two), ("x.two.example", two), ("other.example", one),
                       ("x.y.two.example", one)):
        with connect(daemon, context(), name) as tls:
            assert fingerprint(tls) == pair.fingerprint, name
    with connect(daemon, context(), None) as tls:
        assert fingerprint(tls) == one.fingerprint, "who names none gets the first"


def test_a_certificate_is_made_at_the_first_start_and_kept(make_daemon):
    daemon = make_daemon({"listen": LISTEN}).start()
    crt, key = daemon.folder / "alknetd.crt", daemon.folder / "alknetd.key"
    assert key.stat().st_mode & 0o777 == 0o600
    for name in ("localhost", "127.0.0.1"):
        with connect(daemon, context(str(crt)), name) as tls:
            assert ask(tls, daemon) == 1
            first = fingerprint(tls)
    told = daemon.events("tls.certificate")[0]["message"]
    assert first in told and re.search(r"valid until \d{4}-\d\d-\d\d", told)
    before = crt.read_bytes(), key.read_bytes()
    daemon.restart()
    assert (crt.read_bytes(), key.read_bytes()) == before
    with connect(daemon, context(str(crt))) as tls:
        assert fingerprint(tls) == first


def test_its_names_are_those_of_the_configuration(make_daemon):
    daemon = make_daemon({"listen": LISTEN, "tls": {"names": ["hub.example", "192.0.2.7"]}, "gateway": {"hosts": ["*"]}}).start()
    crt = str(daemon.folder / "alknetd.crt")
    for name in ("hub.example", "192.0.2.7"):
        connect(daemon, context(crt), name).close()
    with pytest.raises(ssl.SSLCertVerificationError):
        connect(daemon, context(crt), "localhost")


def test_a_reload_takes_new_certificates_and_open_connections_go_on(secure, ca):
    pair = ca.sign("server")
    daemon = secure(pair)
    old = connect(daemon, context(ca.file))
    ask(old, daemon)
    before = fingerprint(old)
    after = ca.sign("next")
    os.replace(after.certificate, pair.certificate)
    os.replace(after.key, pair.key)
    daemon.signal(1)
    daemon.wait_event("reload")
    with connect(daemon, context(ca.file)) as tls:
        assert ask(tls, daemon) == 1
        assert fingerprint(tls) == pair.fingerprint != before
    assert ask(old, daemon) == 1
    old.close()
    assert pair.fingerprint in daemon.events("tls.certificate")[-1]["message"]


def test_a_reload_that_cannot_read_a_certificate_changes_nothing(secure, ca):
    pair = ca.sign("server")
    daemon = secure(pair)
    with open(pair.certificate, "w", encoding="ascii") as f:
        f.write("nothing")
    daemon.signal(1)
    event = daemon.wait_event("reload.failed")
    assert pair.certificate in (event[0] if isinstance(event, list) else event)["message"]
    with connect(daemon, context(ca.file)) as tls:
        assert ask(tls, daemon) == 1


def check(daemon):
    done = subprocess.run([ALKNETD, "--config", str(daemon.config_path), "--check"], capture_output=True, text=True, timeout=PATIENCE, check=False)
    return done.returncode, done.stderr


def test_a_key_that_others_can_read_is_refused(make_daemon, ca):
    pair = ca.sign("server")
    os.chmod(pair.key, 0o640)
    daemon = make_daemon({"listen": LISTEN, "tls": {"certificates": [pair.entry()]}})
    status, said = check(daemon)
    assert status == 1 and pair.key in said, said


def test_a_key_that_does_not_fit_is_named(make_daemon, ca):
    one, two = ca.sign("one"), ca.sign("two")
    daemon = make_daemon({"listen": LISTEN, "tls": {"certificates": [{"certificate": one.certificate, "key": two.key}]}})
    status, said = check(daemon)
    assert status == 1 and two.key in said, said


@pytest.mark.parametrize("what", ["missing", "empty", "no certificate"])
def test_a_certificate_that_is_none_is_named(make_daemon, ca, what):
    pair = ca.sign("server")
    if what == "missing":
        os.remove(pair.certificate)
    else:
        with open(pair.certificate, "w", encoding="ascii") as f:
            f.write("" if what == "empty" else "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    daemon = make_daemon({"listen": LISTEN, "tls": {"certificates": [pair.entry()]}})
    status, said = check(daemon)
    assert status == 1 and pair.certificate in said, said


def test_the_end_of_a_certificate_is_in_the_metrics(make_daemon, ca):
    pair = ca.sign("server")
    daemon = make_daemon({"listen": LISTEN, "tls": {"certificates": [pair.entry()]}, "metrics": {"listen": {"host": "127.0.0.1", "port": 0}}}).start()
    with connect(daemon, context(ca.file)) as tls:
        ask(tls, daemon)
    with pytest.raises(ssl.SSLError):
        connect(daemon, context(ca.file, ["h3"])).recv(1)
    port = daemon.wait_event("metrics.listening")["port"]

    def metrics():
        c = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
        c.request("GET", "/metrics")
        return dict(line.rsplit(" ", 1) for line in c.getresponse().read().decode().splitlines() if not line.startswith("#"))
    end = wait_for(lambda: float(metrics().get("alknet_tls_certificate_expires_seconds", 0)))
    assert abs(end - (time.time() + 30 * 86400)) < 86400
    now = metrics()
    assert int(now["alknet_tls_handshakes_total"]) == 1
    assert int(now["alknet_tls_handshakes_failed_total"]) == 1


# ---- clients that are not as they should be ---------------------------------------------------------

def test_plain_http_on_the_port_of_tls_is_told_so(secure):
    daemon = secure()
    with socket.create_connection((daemon.host, daemon.port), PATIENCE) as s:
        s.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        said = b""
        while piece := s.recv(4096):
            said += piece
    assert said.startswith(b"HTTP/1.1 400 ") and b"TLS" in said


def hello():
    """The bytes of a ClientHello."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context().wrap_bio(incoming, outgoing, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    return outgoing.read()


@pytest.mark.parametrize("how", ["nothing", "half", "whole", "drip"])
def test_a_handshake_that_stops_is_ended(secure, ca, how):
    daemon = secure(limits={"header_timeout_ms": "1s"})
    with socket.create_connection((daemon.host, daemon.port), PATIENCE) as s:
        start = time.monotonic()
        if how == "half":
            s.sendall(hello()[:100])
        elif how == "whole":
            s.sendall(hello())
        s.settimeout(0.05)
        data = hello()
        while time.monotonic() - start < PATIENCE:
            try:
                if how == "drip" and data:
                    s.sendall(data[:1])
                    data = data[1:]
                if not s.recv(65536):
                    break
            except TimeoutError:
                continue
            except ConnectionError:
                break
        took = time.monotonic() - start
    assert 0.5 < took < PATIENCE
    with connect(daemon, context(ca.file)) as tls:
        assert ask(tls, daemon) == 1


def test_garbage_ends_a_connection_and_nothing_else(secure, ca):
    daemon = secure()
    kept = connect(daemon, context(ca.file))
    for garbage in (os.urandom(2000), b"\x16\x03\x01\xff\xff" + os.urandom(5000), b"\x15\x03\x03\x00\x02\x02\x28", b"\x17\x03\x03\x00\x10" + bytes(16),
                    hello() + os.urandom(300), hello()[:-5] + bytes(5)):
        with socket.create_connection((daemon.host, daemon.port), PATIENCE) as s:
            s.sendall(garbage)
            s.shutdown(socket.SHUT_WR)
            try:
                while s.recv(65536):
                    pass
            except ConnectionError:
                pass
    assert ask(kept, daemon) == 1
    kept.close()


def test_a_record_that_was_altered_ends_the_connection(secure, ca):
    daemon = secure()
    raw = socket.create_connection((daemon.host, daemon.port), PATIENCE)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context(ca.file).wrap_bio(incoming, outgoing, server_hostname="localhost")
    while True:
        try:
            tls.do_handshake()
            break
        except ssl.SSLWantReadError:
            raw.sendall(outgoing.read())
            incoming.write(raw.recv(65536))
    raw.sendall(outgoing.read())
    tls.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
    data = bytearray(outgoing.read())
    data[-1] ^= 1
    raw.sendall(data)
    said = b""
    try:
        while piece := raw.recv(65536):
            said += piece
    except ConnectionError:
        pass
    raw.close()
    incoming.write(said)
    with pytest.raises(ssl.SSLError, match="BAD_RECORD_MAC|bad record"):
        while True:
            tls.read(100)


def test_many_half_handshakes_do_not_hold_up_others(secure, ca):
    daemon = secure(limits={"header_timeout_ms": "3s"})
    held = [socket.create_connection((daemon.host, daemon.port), PATIENCE) for _ in range(200)]
    for s in held:
        s.sendall(hello()[:60])
    with connect(daemon, context(ca.file)) as tls:
        for i in range(20):
            assert ask(tls, daemon, value=i) == i
    for s in held:
        s.close()


def test_large_bodies_pass_both_ways(secure, ca):
    daemon = secure()
    value = "x" * 3_000_000
    with connect(daemon, context(ca.file)) as tls:
        assert ask(tls, daemon, value=value) == value


@pytest.mark.parametrize("fin", [False, True], ids=["close_notify", "FIN too"])
def test_who_says_goodbye_after_asking_gets_the_answer(secure, ca, fin):
    daemon = secure()
    coming, going = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context(ca.file).wrap_bio(coming, going, server_hostname="localhost")
    with socket.create_connection((daemon.host, daemon.port), PATIENCE) as s:
        def until_done(step):
            while True:
                try:
                    done = step()
                except ssl.SSLWantReadError:
                    done = None
                if out := going.read():
                    s.sendall(out)
                if done is not None:
                    return done
                coming.write(s.recv(65536))
        until_done(lambda: tls.do_handshake() or True)
        body = b'{"operation":"demo/sleep","input":{"ms":700}}'
        tls.write(b"POST /call HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
                  % len(body) + body)
        s.sendall(going.read())
        with contextlib.suppress(ssl.SSLWantReadError):
            tls.unwrap()
        s.sendall(going.read())
        if fin:
            s.shutdown(socket.SHUT_WR)
        assert until_done(lambda: tls.read(65536)).startswith(b"HTTP/1.1 200 OK")


def test_a_client_that_leaves_aborts_its_call(secure, ca):
    daemon = secure()
    with connect(daemon, context(ca.file)) as tls:
        body = json.dumps({"operation": "demo/sleep", "input": {"ms": 60000}})
        tls.sendall(f"POST /call HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {daemon.token}\r\nContent-Type: application/json\r\n"
                    f"Content-Length: {len(body)}\r\n\r\n{body}".encode())
        time.sleep(0.3)
    wait_for(lambda: [e for e in daemon.events("call") if e.get("outcome") == "aborted"])


# ---- the call protocol ------------------------------------------------------------------------------

class Frames:
    """Envelopes behind four bytes of length, over a connection that has agreed on alknet/call."""

    def __init__(self, tls):
        self.tls, self.have = tls, b""

    def send(self, **envelope):
        data = json.dumps(envelope).encode()
        self.tls.sendall(struct.pack(">I", len(data)) + data)

    def _take(self, n):
        while len(self.have) < n:
            piece = self.tls.recv(65536)
            if not piece:
                raise EOFError
            self.have += piece
        taken, self.have = self.have[:n], self.have[n:]
        return taken

    def receive(self):
        return json.loads(self._take(struct.unpack(">I", self._take(4))[0]))

    def call(self, operation, value=None, token=None, id="1"):
        payload = {"operationId": operation, "input": value}
        if token:
            payload["auth_token"] = token
        self.send(type="call.requested", id=id, payload=payload)
        answer = self.receive()
        assert answer["id"] == id, answer
        return answer


def test_calls_in_frames(secure, ca):
    daemon = secure()
    with connect(daemon, context(ca.file, ["alknet/call"])) as tls:
        frames = Frames(tls)
        assert frames.call("/demo/whoami")["payload"]["code"] == "FORBIDDEN"
        assert frames.call("/demo/echo", {"a": 1}, daemon.token, "2") == {"type": "call.responded", "id": "2", "payload": {"output": {"a": 1}}}
        frames.send(type="call.requested", id="3", payload={"operationId": "/demo/sleep", "input": {"ms": 60000}, "auth_token": daemon.token})
        assert frames.call("/demo/echo", 4, daemon.token, "4")["payload"] == {"output": 4}, "a slow call holds up no other"
        frames.send(type="call.aborted", id="3", payload={})
        assert frames.call("/demo/echo", 5, daemon.token, "5")["payload"] == {"output": 5}


@pytest.mark.parametrize("bytes_", [bytes(4), b"\xff\xff\xff\xff", struct.pack(">I", 5) + b"nojso", struct.pack(">I", 2) + b"{}"])
def test_a_broken_frame_ends_the_connection(secure, ca, bytes_):
    daemon = secure()
    with connect(daemon, context(ca.file, ["alknet/call"])) as tls:
        tls.sendall(bytes_)
        with pytest.raises((EOFError, ssl.SSLError, ConnectionError)):
            Frames(tls).receive()


def test_a_client_with_a_certificate_is_the_peer_of_its_fingerprint(secure, ca):
    spoke = self_signed(ca.folder, "spoke")
    daemon = secure(peers=[{"peer_id": "spoke", "fingerprints": [spoke.fingerprint], "scopes": ["demo:*", "peers:list"]}])
    c = context(ca.file, ["alknet/call"])
    c.load_cert_chain(spoke.certificate, spoke.key)
    with connect(daemon, c) as tls:
        frames = Frames(tls)
        frames.send(type="call.requested", id="a", payload={"operationId": "/demo/whoami", "input": None})
        while (answer := frames.receive()).get("id") != "a":
            pass
        assert answer["payload"]["output"]["id"] == "spoke"
    stranger = self_signed(ca.folder, "stranger")
    c = context(ca.file, ["alknet/call"])
    c.load_cert_chain(stranger.certificate, stranger.key)
    with pytest.raises((EOFError, ssl.SSLError, ConnectionError)):
        with connect(daemon, c) as tls:
            Frames(tls).call("/demo/echo", 1)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_client_with_a_certificate_comes_back_as_who_it_is(secure, ca, version):
    spoke = self_signed(ca.folder, "spoke")
    daemon = secure(peers=[{"peer_id": "spoke", "fingerprints": [spoke.fingerprint], "scopes": ["demo:*"]}])
    c = context(ca.file, ["alknet/call"], minimum_version=version, maximum_version=version)
    c.load_cert_chain(spoke.certificate, spoke.key)
    session = None
    for _ in range(3):
        with connect(daemon, c, session=session) as tls:
            frames = Frames(tls)
            frames.send(type="call.requested", id="a", payload={"operationId": "/demo/whoami", "input": None})
            while (answer := frames.receive()).get("id") != "a":
                pass
            assert answer["payload"]["output"]["id"] == "spoke"
            session = tls.session


def test_a_revoked_certificate_ends_its_connection(secure, ca):
    spoke = self_signed(ca.folder, "spoke")
    peers = [{"peer_id": "spoke", "fingerprints": [spoke.fingerprint], "scopes": ["demo:*"]}]
    daemon = secure(peers=peers)
    c = context(ca.file, ["alknet/call"])
    c.load_cert_chain(spoke.certificate, spoke.key)
    with connect(daemon, c) as tls:
        frames = Frames(tls)
        frames.send(type="call.requested", id="a", payload={"operationId": "/demo/whoami", "input": None})
        while frames.receive().get("id") != "a":
            pass
        daemon.write_config(peers=[{**peers[0], "enabled": False}])
        daemon.signal(1)
        with pytest.raises((EOFError, ssl.SSLError, ConnectionError)):
            while True:
                frames.receive()


def test_a_certificate_is_asked_of_callers_alone(secure, ca):
    daemon = secure()
    for alpn, asked in (("alknet/call", True), ("http/1.1", False)):
        done = subprocess.run(["openssl", "s_client", "-connect", f"{daemon.host}:{daemon.port}", "-alpn", alpn, "-CAfile", ca.file, "-tls1_2"],
                              input=b"", capture_output=True, timeout=PATIENCE, check=False)
        assert (b"Client Certificate Types" in done.stdout) == asked, alpn


# ---- alknet -----------------------------------------------------------------------------------------

def alknet(daemon, scheme, *options, operation=("call", "demo/echo", "x=1"), host="localhost"):
    return subprocess.run([ALKNET, "-u", f"{scheme}://{host}:{daemon.port}", *options, *operation], env={**os.environ, "ALKNET_TOKEN": daemon.token},
                          capture_output=True, text=True, timeout=PATIENCE * 2, check=False)


SCHEMES = ["https", "wss", "alknet+tls"]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_alknet_calls_over_tls(secure, ca, scheme):
    daemon = secure()
    done = alknet(daemon, scheme, "--cacert", ca.file)
    assert (done.returncode, json.loads(done.stdout)) == (0, {"x": 1}), done.stderr


@pytest.mark.parametrize("scheme", SCHEMES)
def test_alknet_subscribes_over_tls(secure, ca, scheme):
    daemon = secure()
    done = alknet(daemon, scheme, "--cacert", ca.file, operation=("subscribe", "demo/clock", "interval_ms=10", "count=3"))
    assert done.returncode == 0 and len(done.stdout.splitlines()) == 3, done.stderr


@pytest.mark.parametrize("scheme", SCHEMES)
def test_alknet_takes_the_pinned_certificate_alone(secure, ca, scheme):
    pair = ca.sign("server", ("other.example",))
    daemon = secure(pair)
    done = alknet(daemon, scheme, "--pin", pair.fingerprint)
    assert done.returncode == 0, done.stderr
    done = alknet(daemon, scheme, "--pin", pair.fingerprint, operation=("ping", "-n", "3", "-i", "0.01"))
    assert done.returncode == 0 and done.stdout.count("ok,") == 3, done.stderr
    done = alknet(daemon, scheme, "--pin", "SHA256:" + "0" * 64)
    assert done.returncode == 3 and "pin" in done.stderr, done.stderr
    assert not [e for e in daemon.events("call") if e.get("operation") == "demo/echo"][1:], "nothing was sent"


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("fault, said", [("stranger", "trust|issuer|self|unknown|verif"), ("name", "name|match"), ("expired", "expired"), ("future", "not yet|activ|future")])
def test_alknet_refuses_a_certificate_and_says_why(secure, ca, scheme, fault, said):
    pair = {"stranger": lambda: self_signed(ca.folder, "stranger", ("localhost",)), "name": lambda: ca.sign("n", ("other.example",)),
            "expired": lambda: ca.sign("e", begin="200101000000Z", end="200201000000Z"),
            "future": lambda: ca.sign("f", begin="400101000000Z", end="410101000000Z")}[fault]()
    daemon = secure(pair)
    done = alknet(daemon, scheme, "--cacert", ca.file)
    if scheme == "https":
        said = "the server's certificate is not trusted: .*(verif|match).*\n.*--pin"  # libcurl's words
    assert done.returncode == 3 and re.search(said, done.stderr, re.I), done.stderr
    assert not daemon.events("call"), "nothing was sent"
    done = alknet(daemon, scheme, "--insecure")
    assert done.returncode == 0 and "not verified" in done.stderr, done.stderr


def test_alknet_is_a_peer_by_its_certificate(secure, ca):
    me = self_signed(ca.folder, "me")
    daemon = secure(peers=[{"peer_id": "me", "fingerprints": [me.fingerprint], "scopes": ["demo:*"]}])
    done = subprocess.run([ALKNET, "-u", f"alknet+tls://localhost:{daemon.port}", "--cacert", ca.file, "--cert", me.certificate, "--key", me.key,
                           "-o", "json", "call", "demo/whoami"], env={k: v for k, v in os.environ.items() if k != "ALKNET_TOKEN"} | {"HOME": str(ca.folder)},
                          capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0 and json.loads(done.stdout)["id"] == "me", done.stderr


def test_alknet_wants_options_that_fit(secure):
    daemon = secure()
    assert "https://" in alknet(daemon, "http", "--pin", "SHA256:" + "0" * 64).stderr
    for options in (["--cert", "x"], ["--pin", "abc"], ["--pin", "SHA256:" + "0" * 64, "--insecure"]):
        assert alknet(daemon, "https", *options).returncode == 2


def serve_once(pair, answer):
    """A server that reads a request, says that much of an answer and ends without close_notify."""
    listener = socket.create_server(("127.0.0.1", 0))
    c = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    c.load_cert_chain(pair.certificate, pair.key)

    def run():
        s, _ = listener.accept()
        try:
            tls = c.wrap_socket(s, server_side=True)
            select.select([tls], [], [], PATIENCE)
            tls.recv(65536)
            tls.sendall(answer)
            os.close(tls.detach())
        except OSError:
            pass
    threading.Thread(target=run, daemon=True).start()
    return listener


@pytest.mark.parametrize("head", ["Content-Length: 100\r\n", "Transfer-Encoding: chunked\r\n", ""])
def test_a_cut_body_is_loss(ca, head):
    pair = ca.sign("server")
    listener = serve_once(pair, f"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n{head}\r\n".encode() + b"data: 1\n\n")
    done = subprocess.run([ALKNET, "-u", f"https://localhost:{listener.getsockname()[1]}", "--cacert", ca.file, "subscribe", "x/y"],
                          env={**os.environ, "ALKNET_TOKEN": "alk_" + "0" * 40}, capture_output=True, text=True, timeout=PATIENCE, check=False)
    listener.close()
    assert done.returncode == 3, done.stdout


def test_curl_speaks_http2_and_http1(secure, ca):
    daemon = secure()
    for option, version in (("--http2", "2"), ("--http1.1", "1.1")):
        done = subprocess.run(["curl", "-sS", option, "--cacert", ca.file, "-w", "\n%{http_version}", f"https://localhost:{daemon.port}/healthz"],
                              capture_output=True, text=True, timeout=PATIENCE, check=False)
        assert done.stdout == f"ok\n{version}", done.stderr


@pytest.mark.parametrize("scheme, status", [("https", 200), ("http", 403)])
def test_a_page_that_came_in_clear_is_of_another_origin(secure, ca, scheme, status):
    daemon = secure()
    with connect(daemon, context(ca.file)) as tls:
        host = f"localhost:{daemon.port}"
        tls.sendall(f"GET /healthz HTTP/1.1\r\nHost: {host}\r\nOrigin: {scheme}://{host}\r\n\r\n".encode())
        response = http.client.HTTPResponse(tls)
        response.begin()
        assert response.status == status


def test_a_target_of_https_is_what_it_says_over_tls(secure, ca):
    daemon = secure()
    with connect(daemon, context(ca.file)) as tls:
        tls.sendall(b"GET https://localhost/healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        response = http.client.HTTPResponse(tls)
        response.begin()
        assert response.status == 200
