"""QUIC with a stack that is not ours: alknetd and alknet speak with tests/interop/aioquic_peer.py, in both directions.

What each side does is looked at from the other: which close code, which stream, which keys. What the transport must do by
itself (Retry, version negotiation, migration, stateless reset) is named by its section of RFC 9000.
"""
import asyncio
import functools
import json
import os
import signal
import struct
import sys

import pytest

from certificates import self_signed
from conftest import BIN, PATIENCE, ROOT, Daemon

sys.path.insert(0, str(ROOT / "tests/interop"))
from aioquic_peer import LOCAL, Fault, dial, frame, serve  # noqa: E402  pylint: disable=wrong-import-position

V1, V2, RESERVED = 1, 0x6b3343cf, 0x1a2a3a4a
ALERT = 0x100  # RFC 9001, 4.8
STREAM_LIMIT_ERROR = 4


def case(coroutine):
    """A test of it, on an event loop of its own."""
    @functools.wraps(coroutine)
    def run(*args, **kwargs):
        asyncio.run(asyncio.wait_for(coroutine(*args, **kwargs), 2 * PATIENCE))
    return run


@pytest.fixture(scope="module", name="pairs")
def make_pairs(tmp_path_factory):
    """Certificates: of the server, of a client that it knows, and of a stranger."""
    folder = tmp_path_factory.mktemp("pairs")
    return {name: self_signed(folder, name) for name in ("server", "me", "stranger")}


def make_node(folder, pairs, **config):
    entry = {"peer_id": "me", "fingerprints": [pairs["me"].fingerprint], "scopes": ["demo:*"]}
    node = Daemon(folder, {"listen": [{"quic": True, "host": LOCAL, "port": 0}], "peers": [entry],
                           "tls": {"certificates": [pairs["server"].entry()]}, **config})
    return node.start()


@pytest.fixture(scope="module", name="node")
def shared_node(tmp_path_factory, pairs):
    node = make_node(tmp_path_factory.mktemp("node"), pairs, limits={"quic_streams": 16, "drain_ms": 300})
    yield node
    node.stop()


@pytest.fixture(name="own_node")
def make_own_node(tmp_path, pairs):
    """own_node(**config): one whose limits or end are the test's own."""
    made = []

    def make(**config):
        made.append(make_node(tmp_path, pairs, **{"limits": {"drain_ms": 300}, **config}))
        return made[-1]

    yield make
    for node in made:
        node.stop()


# ---- aioquic dials ----------------------------------------------------------------------------------------------------

@case
async def test_a_handshake_and_an_echo(node, pairs):
    async with dial(node.port, authority=pairs["server"].certificate) as peer:
        assert await peer.call("demo/echo", {"x": [1, "two", None]}) == {"x": [1, "two", None]}
        assert peer.alpn == "alknet/call" and peer.version == V1 and not peer.retries


@case
async def test_a_certificate_says_who_calls(node, pairs):
    async with dial(node.port, pair=pairs["me"]) as peer:
        assert (await peer.call("demo/whoami"))["id"] == "me"
    async with dial(node.port) as peer:
        with pytest.raises(Fault, match="authentication required"):
            await peer.call("demo/whoami")
        assert (await peer.call("demo/whoami", auth_token=node.token))["id"] == node.token[:8]


@case
async def test_answers_that_are_not_taken_end_the_connection_when_memory_is_short(own_node, pairs):
    node = own_node(limits={"drain_ms": 300, "evict_ms": 300, "message_budget": 8 << 20})
    async with dial(node.port, authority=pairs["server"].certificate, pair=pairs["me"], max_stream_data=0) as peer:
        for _ in range(100):
            stream = peer.new_stream()
            for _ in range(4):
                peer.request("demo/echo", "x" * 12000, stream)
            await asyncio.sleep(0.01)
        await peer.until(lambda: peer.over)
        assert peer.over.error_code == 2
    assert "memory is short, and the remote reads slowly" in [e.get("message") for e in node.events("connection.close")]


@case
async def test_streams_of_which_more_may_be_opened_as_others_end(node):
    """Ten times as many as may be open at a time; each ends behind its request, and is ended behind the answer."""
    async with dial(node.port) as peer:
        assert await asyncio.gather(*(peer.call("demo/echo", n) for n in range(160))) == list(range(160))
        assert set(peer.streams.values()) == {4 * n for n in range(160)}, "each answer on the stream of its request"
        await peer.until(lambda: len(peer.ended) == 160)
        assert not peer.resets and not peer.stops


@case
async def test_calls_that_share_a_stream_do_not_wait_for_each_other(node):
    async with dial(node.port) as peer:
        stream = peer.new_stream()
        slow = peer.request("demo/sleep", {"ms": 60000}, stream)
        assert [await peer.call("demo/echo", n, stream, fin=False) for n in range(5)] == list(range(5))
        peer.abort(slow, stream)
        last = peer.request("demo/sleep", {"ms": 100}, stream, fin=True)
        assert (await peer.next(last))["slept_ms"] == 100, "the end of the stream cancels nothing"
        await peer.until(lambda: stream in peer.ended)
        assert set(peer.streams.values()) == {stream} and slow not in peer.streams


@case
async def test_more_than_the_windows_hold(node, pairs):
    """Both ways at once, on several streams, some forty times what a stream may have on its way."""
    async with dial(node.port, pair=pairs["me"], max_data=100000, max_stream_data=50000) as peer:
        texts = [c * (2 << 20) for c in "abc"]
        assert await asyncio.gather(*(peer.call("demo/echo", t) for t in texts)) == texts


@case
async def test_a_subscription_and_its_end(node):
    async with dial(node.port) as peer:
        name = peer.request("demo/clock", {"interval_ms": 1, "count": 50}, fin=True)
        assert [(await peer.next(name))["tick"] for _ in range(50)] == list(range(1, 51))
        assert await peer.next(name) is None


@pytest.mark.parametrize("how", ["abort", "abort on another stream", "stop sending", "reset"])
@case
async def test_a_subscription_is_aborted(own_node, how):
    node = own_node()
    async with dial(node.port) as peer:
        stream = peer.new_stream()
        name = peer.request("demo/clock", {"interval_ms": 5}, stream)
        assert "tick" in await peer.next(name)
        if how == "abort":
            peer.abort(name, stream)
        elif how == "abort on another stream":
            peer.abort(name, peer.new_stream())
        elif how == "stop sending":
            peer.stop_sending(stream)
        else:
            peer.reset(stream)
        await asyncio.to_thread(node.wait_event, "call")
        assert [(e["operation"], e["outcome"]) for e in node.events("call")] == [("demo/clock", "aborted")]
        assert await peer.call("demo/echo", 1) == 1
        assert peer.over is None


@case
async def test_the_server_calls_its_client(node, pairs):
    """On a stream that it opens itself."""
    async with dial(node.port, pair=pairs["me"]) as peer:
        await peer.announce()
        assert await peer.call("demo/callback", {"operation": "ui/echo", "input": {"n": 5}}) == {"n": 5}
        assert 1 in peer.partial, "the first stream of a server"


async def asked(peer):
    """The server asks for ui/echo, and nothing answers by itself: (id of our call, id of its call, the stream of that)."""
    came = asyncio.get_running_loop().create_future()

    async def hold(stream, name, _):
        came.set_result((name, stream))

    await peer.announce()
    peer.serve = hold
    mine = peer.request("demo/callback", {"operation": "ui/echo", "input": 1})
    return mine, *await came


@case
async def test_a_caller_takes_the_answer_from_any_stream(node, pairs):
    async with dial(node.port, pair=pairs["me"]) as peer:
        mine, theirs, stream = await asked(peer)
        other = peer.new_stream()
        assert other != stream
        peer.send(other, frame({"type": "call.responded", "id": theirs, "payload": {"output": 2}}))
        assert await peer.next(mine) == 2


@pytest.mark.parametrize("how", ["reset", "stop_sending"])
@case
async def test_what_was_asked_on_a_stream_fails_with_it_and_nothing_else_does(node, pairs, how):
    async with dial(node.port, pair=pairs["me"]) as peer:
        mine, _, stream = await asked(peer)
        running = peer.request("demo/sleep", {"ms": 300})
        getattr(peer, how)(stream)
        with pytest.raises(Fault) as failed:
            await peer.next(mine)
        assert failed.value.args[0]["details"]["code"] == "INTERNAL"
        assert (await peer.next(running))["slept_ms"] == 300 and peer.over is None


@case
async def test_an_abort_on_another_stream_may_overtake_its_request(node):
    async with dial(node.port) as peer:
        stream = peer.new_stream()
        peer.abort("early", stream)
        assert await peer.call("demo/echo", 1, stream, fin=False) == 1, "the abort has been read"
        late = peer.new_stream()
        peer.send(late, frame({"type": "call.requested", "id": "early", "payload": {"operationId": "/demo/echo", "input": 1}}), fin=True)
        await peer.until(lambda: late in peer.ended)
        assert "early" not in peer.streams


@pytest.mark.parametrize("bytes_", [b"\0\0", struct.pack(">I", 100) + b"{"], ids=["half a length", "half a frame"])
@case
async def test_a_frame_that_does_not_come_on_ends_its_stream_alone(own_node, bytes_):
    node = own_node(limits={"body_timeout_ms": 300, "drain_ms": 300})
    async with dial(node.port) as peer:
        stream = peer.new_stream()
        peer.send(stream, bytes_)
        await peer.until(lambda: stream in peer.resets and stream in peer.stops)
        assert (peer.resets, peer.stops) == ({stream: 2}, {stream: 2})
        assert await peer.call("demo/echo", 1) == 1


@case
async def test_a_client_proves_its_address_under_load(own_node):
    """RFC 9000, 8.1: by a Retry, and the next time by the token that the connection gave it."""
    node, tokens = own_node(limits={"quic_handshakes": 1}), []
    async with dial(node.port, token_handler=tokens.append) as peer:
        assert await peer.call("demo/echo", 1) == 1 and peer.retries == 1
        await peer.until(lambda: tokens)
    async with dial(node.port, token=tokens[-1]) as peer:
        assert await peer.call("demo/echo", 2) == 2 and peer.retries == 0
    async with dial(node.port, token=b"\x36" + os.urandom(60)) as peer:
        assert await peer.call("demo/echo", 3) == 3 and peer.retries == 1, "a token that is none of ours is none"


@case
async def test_keys_are_updated(node):
    """RFC 9001, 6. Each of ours follows, or nothing could be read any more."""
    async with dial(node.port) as peer:
        name = peer.request("demo/clock", {"interval_ms": 1})
        for phase in (1, 0, 1):
            # Not before the last one is acknowledged.
            assert await peer.call("demo/echo", phase) == phase
            await peer.ping()
            peer.request_key_update()
            assert await peer.call("demo/echo", phase) == phase
            assert peer.key_phase == phase and "tick" in await peer.next(name)


@pytest.mark.parametrize("new_id", [False, True], ids=["rebound", "migrated"])
@case
async def test_a_client_comes_from_another_port(node, new_id):
    """RFC 9000, 9: by the same id, as behind a NAT, or by another; twice, in the middle of a subscription."""
    async with dial(node.port) as peer:
        name = peer.request("demo/clock", {"interval_ms": 1})
        for n in range(2):
            before = peer.port
            await peer.rebind(new_id)
            assert peer.port != before
            assert await peer.call("demo/echo", n) == n
            await peer.ping()
            while not peer.answers[name].empty():
                await peer.next(name)
            assert "tick" in await peer.next(name)
        assert peer.over is None


@pytest.mark.parametrize("alpn", [["h3"], ["alknet/cal", "alknet/call2"]], ids=["other", "nearly"])
@case
async def test_another_protocol_is_refused(node, alpn):
    async with dial(node.port, connected=False, alpn=alpn) as peer:
        await peer.wait_closed()
        assert peer.over.error_code == ALERT + 120, "no_application_protocol"


@pytest.mark.parametrize("bytes_", [b"\0\0\0\0", b"\xff\xff\xff\xff", b"\0\0\0\2{]", b"\0\0\0\2[]",
                                    struct.pack(">I", 258) + b"[" * 129 + b"]" * 129, struct.pack(">I", 100) + b"{"],
                         ids=["empty", "long", "not JSON", "no envelope", "deep", "cut"])
@case
async def test_a_framing_error_ends_its_stream_alone(node, bytes_):
    async with dial(node.port) as peer:
        stream, other = peer.new_stream(), peer.new_stream()
        peer.send(stream, frame({"type": "call.requested", "id": "1", "payload": {"operationId": "/demo/sleep", "input": {"ms": 60000}}}))
        peer.send(stream, bytes_, fin=bytes_.endswith(b"{"))
        await peer.until(lambda: stream in peer.resets)
        assert peer.resets == {stream: 1} and peer.stops in ({stream: 1}, {} if bytes_.endswith(b"{") else None)
        assert await peer.call("demo/echo", 1, other) == 1


@case
async def test_a_stream_that_nobody_takes_is_an_error(node):
    """Unidirectional ones are not allowed, and the connection says so (RFC 9000, 4.6)."""
    async with dial(node.port) as peer:
        peer.send_unidirectional(b"x")
        await peer.wait_closed()
        assert peer.over.error_code == STREAM_LIMIT_ERROR and peer.over.frame_type is not None


@case
async def test_a_stranger_hears_that_he_is_refused(node, pairs):
    async with dial(node.port, pair=pairs["stranger"]) as peer:
        await peer.wait_closed()
        assert (peer.over.error_code, peer.over.frame_type) == (3, None)
        assert "nobody known here" in peer.over.reason_phrase


@case
async def test_a_revoked_client_and_a_stop_are_told_apart(own_node, pairs):
    node = own_node()
    async with dial(node.port, pair=pairs["me"]) as known, dial(node.port) as unknown:
        name = known.request("demo/sleep", {"ms": 60000})
        assert await known.call("demo/echo", 1) == await unknown.call("demo/echo", 1)
        node.write_config(peers=[])
        node.signal(signal.SIGHUP)
        await known.wait_closed()
        assert (known.over.error_code, known.over.frame_type) == (3, None) and name not in known.streams
        assert known.over.reason_phrase == "the credential no longer resolves"
        node.signal(signal.SIGTERM)
        await unknown.wait_closed()
        assert (unknown.over.error_code, unknown.over.frame_type) == (0, None)
        assert unknown.over.reason_phrase == "shutting down"


@pytest.mark.parametrize("code", [0, 1, 2, 3, 77])
@case
async def test_the_code_of_a_close_arrives(own_node, pairs, code):
    node = own_node()
    async with dial(node.port, pair=pairs["me"]) as peer:
        peer.request("demo/sleep", {"ms": 60000})
        assert await peer.call("demo/echo", 1) == 1
        peer.close(code, "enough")
        closed = await asyncio.to_thread(node.wait_event, "session.close")
        assert closed["identity"] == "me" and closed["code"] == {1: 1002, 2: 1013, 3: 1008}.get(code, 1001), closed
        assert [e["outcome"] for e in node.events("call") if e["operation"] == "demo/sleep"] == ["closed"]


@case
async def test_a_node_that_is_new_resets_what_it_does_not_know(own_node):
    """RFC 9000, 10.3: the token is the one that the client was given, also behind a restart. The packet is no longer than
    the one that it answers."""
    node = own_node()
    async with dial(node.port) as peer:
        assert await peer.call("demo/echo", 1) == 1
        await peer.ping()
        node.config["listen"][0]["port"] = node.port
        node.write_config()
        node.proc.kill()
        node.proc.wait()
        node.proc = None
        await asyncio.to_thread(node.start)
        came, usual = [], peer.datagram_received
        peer.datagram_received = lambda data, addr: (came.append(data), usual(data, addr))
        peer.request("demo/echo", 2)
        token = await asyncio.wait_for(first(came), PATIENCE)
        assert token[-16:] == peer.reset_token and token[0] & 0xc0 == 0x40 and 21 <= len(token) <= 42


async def first(came):
    while not came:
        await asyncio.sleep(0.01)
    return came[0]


@case
async def test_a_version_is_negotiated(node):
    """RFC 9000, 6, and RFC 9368: who has been told to take version 1 asks whether that was so."""
    async with dial(node.port, supported_versions=[RESERVED, V1]) as peer:
        assert await peer.call("demo/echo", 1) == 1
        assert peer.version == V1 and peer.negotiated


@case
async def test_version_2_will_do(node):
    """RFC 9369: the same with other constants."""
    async with dial(node.port, supported_versions=[V2]) as peer:
        assert await peer.call("demo/echo", 1) == 1
        assert peer.version == V2 and not peer.negotiated


@case
async def test_what_nobody_knows_is_passed_over(node):
    """Transport parameters, one of them longer than a packet (RFC 9000, 18.1), and protocols (RFC 8701)."""
    unknown = [(27 + 31 * 7, b""), (27 + 31 * 9999, os.urandom(20))]
    async with dial(node.port, alpn=["\x0a\x0a", "h3", "alknet/call", "\x1a\x1a"], unknown_parameters=unknown, quantum_readiness_test=True) as peer:
        assert await peer.call("demo/echo", 1) == 1


@case
async def test_the_fixed_bit_may_be_any(node, monkeypatch):
    """RFC 9287: a node says so, and then takes it."""
    async with dial(node.port) as peer:
        assert await peer.call("demo/echo", 1) == 1
        monkeypatch.setattr("aioquic.quic.packet_builder.PACKET_FIXED_BIT", 0)
        for n in range(10):
            assert await peer.call("demo/echo", n) == n


# ---- aioquic is dialled -----------------------------------------------------------------------------------------------

def at(port, pairs):
    return f"alknet://{LOCAL}:{port}#{pairs['server'].fingerprint}"


async def start_alknet(folder, *args):
    return await asyncio.create_subprocess_exec(str(BIN / "alknet"), *args, env={"PATH": os.environ["PATH"], "HOME": str(folder)},
                                                stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE)


async def alknet(folder, *args, status=0):
    """What alknet says: (standard output, standard error)."""
    process = await start_alknet(folder, *args)
    out, err = (text.decode() for text in await process.communicate())
    assert process.returncode == status, (args, out, err)
    return out, err


@case
async def test_alknet_calls_a_server(tmp_path, pairs):
    """By the fingerprint of its certificate, and by who has signed it for its name."""
    async with serve(pairs["server"]) as server:
        out, _ = await alknet(tmp_path, "-u", at(server.port, pairs), "call", "demo/echo", "x=1", "-o", "json")
        assert json.loads(out) == {"x": 1}
        trusted = ["-u", f"alknet://localhost:{server.port}", "--cacert", pairs["server"].certificate]
        out, _ = await alknet(tmp_path, *trusted, "call", "demo/echo", "x=2", "-o", "json")
        assert json.loads(out) == {"x": 2}
        for peer in server.peers:
            await peer.wait_closed()
            assert (peer.over.error_code, peer.over.frame_type) == (0, None)
        _, said = await alknet(tmp_path, "-u", f"alknet://{LOCAL}:{server.port}#{pairs['me'].fingerprint}", "call", "demo/echo", status=3)
        assert f"the server is another: {pairs['server'].fingerprint}" in said
        await server.peers[-1].wait_closed()
        assert server.peers[-1].over.error_code & ~0xff == ALERT


@case
async def test_a_server_that_wants_an_address_proved(tmp_path, pairs):
    async with serve(pairs["server"], retry=True) as server:
        assert (await alknet(tmp_path, "-u", at(server.port, pairs), "call", "demo/echo", "x=1", "-o", "raw"))[0].strip() == '{"x":1}'
        assert [p.retried for p in server.peers] == [True]


@case
async def test_a_server_without_our_protocol_or_version(tmp_path, pairs):
    async with serve(pairs["server"], alpn=["h3"]) as server:
        _, said = await alknet(tmp_path, "-u", at(server.port, pairs), "ls", status=3)
        assert "QUIC error 0x178" in said
    async with serve(pairs["server"], supported_versions=[V2]) as server:
        _, said = await alknet(tmp_path, "-u", at(server.port, pairs), "ls", status=3)
        assert "the server speaks other versions of QUIC alone" in said and not server.peers


@case
async def test_alknet_aborts_a_subscription(tmp_path, pairs):
    async with serve(pairs["server"]) as server:
        process = await start_alknet(tmp_path, "-u", at(server.port, pairs), "subscribe", "demo/clock", "interval_ms=2", "count=100000")
        assert b"tick" in await process.stdout.readline()
        peer = await server.peer()
        process.send_signal(signal.SIGINT)
        await process.communicate()
        await peer.wait_closed()
        assert len(peer.aborted) == 1 and peer.over.error_code == 0


@pytest.fixture(name="spoke")
def make_spoke(own_node, pairs):
    """await spoke(server): (an alknetd that dials it, its connection there)."""
    async def make(server, port=None, **config):
        entry = {"peer_id": "hub", "fingerprints": [pairs["server"].fingerprint], "scopes": ["demo:*"]}
        node = await asyncio.to_thread(lambda: own_node(peers=[entry], connect=[{"url": at(port or server.port, pairs), "peer": "hub"}], **config))
        await asyncio.to_thread(node.wait_event, "connect.ready")
        return node, await server.peer()
    return make


@case
async def test_a_hub_calls_its_spoke(pairs, spoke):
    """On streams that the server opens, more of them in all than may be open at a time."""
    async with serve(pairs["server"]) as server:
        node, peer = await spoke(server, limits={"quic_streams": 8, "drain_ms": 300})
        assert (await peer.call("demo/whoami"))["id"] == "hub"
        assert await asyncio.gather(*(peer.call("demo/echo", n) for n in range(40))) == list(range(40))
        assert all(s % 4 == 1 for s in peer.streams.values())
        node.signal(signal.SIGTERM)
        await peer.wait_closed()
        assert (peer.over.error_code, peer.over.frame_type) == (0, None)


@case
async def test_a_server_updates_its_keys_and_its_ids(pairs, spoke):
    async with serve(pairs["server"]) as server:
        _, peer = await spoke(server)
        name = peer.request("demo/clock", {"interval_ms": 1})
        for phase in (1, 0, 1):
            assert await peer.call("demo/echo", phase) == phase
            await peer.ping()
            peer.request_key_update()
            peer.change_connection_id()
            assert await peer.call("demo/echo", phase) == phase
            assert peer.key_phase == phase and "tick" in await peer.next(name)


class Nat(asyncio.DatagramProtocol):
    """Between a client and a server; `forget` gives the client another port."""

    def __init__(self, server):
        self.server, self.client, self.outer = (LOCAL, server), None, None

    @classmethod
    async def open(cls, server):
        loop = asyncio.get_running_loop()
        _, nat = await loop.create_datagram_endpoint(lambda: cls(server), local_addr=(LOCAL, 0))
        await nat.forget()
        return nat

    def connection_made(self, transport):
        self.inner = transport
        self.port = transport.get_extra_info("sockname")[1]

    def datagram_received(self, data, addr):
        self.client = addr
        self.outer.sendto(data)

    async def forget(self):
        nat = self

        class Outer(asyncio.DatagramProtocol):
            def datagram_received(self, data, addr):
                nat.inner.sendto(data, nat.client)

        if self.outer:
            self.outer.close()
        self.outer, _ = await asyncio.get_running_loop().create_datagram_endpoint(Outer, remote_addr=self.server)


@case
async def test_our_client_behind_a_nat_that_forgets(pairs, spoke):
    """The server asks whether it is still the same that comes from there (RFC 9000, 8.2), and hears that it is."""
    async with serve(pairs["server"]) as server:
        nat = await Nat.open(server.port)
        _, peer = await spoke(server, nat.port)
        name = peer.request("demo/clock", {"interval_ms": 1})
        assert "tick" in await peer.next(name), "it speaks first: nothing comes through to who is silent"
        for n in range(2):
            before = peer.remote
            await nat.forget()
            await peer.until(lambda: peer.remote != before and peer.path_is_validated)
            assert await peer.call("demo/echo", n) == n and "tick" in await peer.next(name)
        assert len(server.peers) == 1


@pytest.mark.parametrize("code,closed", [(0, 1000), (1, 1002), (2, 1013), (3, 1008), (77, 1000)])
@case
async def test_how_a_server_closes_is_told(pairs, spoke, code, closed):
    async with serve(pairs["server"]) as server:
        node, peer = await spoke(server)
        peer.close(code, "enough of it")
        lost = await asyncio.to_thread(node.wait_event, "dial.lost")
        assert lost["message"] == f"closed with {closed}: closed by the remote: enough of it"
        await asyncio.to_thread(node.wait_event, "connect.ready", 2)
        assert await server.peers[-1].call("demo/echo", 1) == 1, "it has come back"


@case
async def test_a_server_that_is_new_is_believed(pairs, spoke):
    """RFC 9000, 10.3.1: a stateless reset, made by hand, since aioquic sends none; one with a wrong token changes nothing."""
    async with serve(pairs["server"]) as server:
        node, peer = await spoke(server)
        head = b"\x40" + os.urandom(30)
        server.send(head + os.urandom(16), peer.remote)
        assert await peer.call("demo/echo", 1) == 1 and not node.events("dial.lost")
        server.send(head + peer.own_reset_token, peer.remote)
        assert "the connection was lost" in (await asyncio.to_thread(node.wait_event, "dial.lost"))["message"]
