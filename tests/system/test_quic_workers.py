"""QUIC with several workers behind one UDP port: a packet comes to the worker that has its connection, from wherever it is sent.

`steered`: the kernel chooses the socket by the connection id. `passed on`: it must not, and the workers hand packets to each other.
"""
import asyncio
import contextlib
import ctypes
import errno
import os
import signal
import socket
import struct

import pytest

from certificates import self_signed
from conftest import PATIENCE, Daemon
from test_quic_aioquic import LOCAL, case, dial, first

WORKERS = 3
CLIENTS = 40  # by chance alone, no worker is left out
SO_ATTACH_REUSEPORT_CBPF = 51
SETSOCKOPT = {"x86_64": 54, "aarch64": 208}.get(os.uname().machine)
PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, FILTER = 38, 22, 2
LOAD, JUMP_EQUAL, RETURN, ALLOW, FAIL = 0x20, 0x15, 0x06, 0x7FFF0000, 0x00050000
NUMBER, THIRD_ARGUMENT = 0, 32  # offsets in struct seccomp_data


def refuse_steering():
    """In the child: the system call that hands the program to the kernel fails, as in a sandbox."""
    code = [(LOAD, 0, 0, NUMBER), (JUMP_EQUAL, 0, 3, SETSOCKOPT), (LOAD, 0, 0, THIRD_ARGUMENT),
            (JUMP_EQUAL, 0, 1, SO_ATTACH_REUSEPORT_CBPF), (RETURN, 0, 0, FAIL | errno.EPERM), (RETURN, 0, 0, ALLOW)]
    packed = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *line) for line in code))
    program = ctypes.create_string_buffer(struct.pack("@HP", len(code), ctypes.addressof(packed)))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.prctl(PR_SET_SECCOMP, FILTER, program, 0, 0):
        raise OSError(ctypes.get_errno(), "seccomp")


def start(node, how):
    return node.start(preexec_fn=refuse_steering if how == "passed on" else None)


@pytest.fixture(scope="module", name="config")
def make_config(tmp_path_factory):
    pair = self_signed(tmp_path_factory.mktemp("pair"), "server")
    return {"listen": [{"quic": True, "host": LOCAL, "port": 0}], "tls": {"certificates": [pair.entry()]}, "workers": WORKERS,
            "limits": {"drain_ms": 300, "anonymous_bytes": 64 << 20}}


@pytest.fixture(scope="module", name="node", params=["steered", "passed on"])
def shared_node(request, tmp_path_factory, config):
    node = start(Daemon(tmp_path_factory.mktemp("node"), config), request.param)
    yield node
    node.stop()


def worker(peer):
    """The one that has the connection: the first byte of the ids that it gives."""
    return peer._quic._peer_cid.cid[0]


@contextlib.asynccontextmanager
async def dial_all(node, count=CLIENTS):
    async with contextlib.AsyncExitStack() as stack:
        yield [await stack.enter_async_context(dial(node.port)) for _ in range(count)]


async def call_on_all(peers, value):
    assert await asyncio.gather(*(p.call("demo/echo", value) for p in peers)) == [value] * len(peers)


@pytest.mark.parametrize("new_id", [False, True], ids=["rebound", "migrated"])
@case
async def test_all_workers_serve_and_clients_may_come_from_other_ports(node, new_id):
    """RFC 9000, 9: by the same id, as behind a NAT, or by another."""
    async with dial_all(node) as peers:
        await call_on_all(peers, 1)
        at_first = [worker(p) for p in peers]
        assert set(at_first) == set(range(WORKERS))
        for n in range(2):
            for p in peers:
                await p.rebind(new_id)
            await call_on_all(peers, n)
            await asyncio.gather(*(p.ping() for p in peers))
            assert [worker(p) for p in peers] == at_first and not any(p.over for p in peers)


@case
async def test_much_goes_through_wherever_it_comes_from(node):
    """More than a queue between two workers holds: what finds no room there is sent again."""
    async with dial_all(node, 4) as peers:
        name = peers[0].request("demo/clock", {"interval_ms": 1})
        for p in peers:
            await p.rebind()
        texts = [c * (2 << 20) for c in "abcd"]
        assert await asyncio.gather(*(p.call("demo/echo", t) for p, t in zip(peers, texts))) == texts
        assert "tick" in await peers[0].next(name)


def stray(mark):
    return b"\x40" + bytes([mark]) + os.urandom(60)


@case
async def test_a_packet_of_no_connection_is_answered_once(node):
    """Whichever worker it names, and the one that it comes to first."""
    loop = asyncio.get_running_loop()
    for mark in (*range(WORKERS), WORKERS, 255):
        for _ in range(4):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
                s.setblocking(False)
                s.connect((LOCAL, node.port))
                s.send(stray(mark))
                reset = await asyncio.wait_for(loop.sock_recv(s, 2000), PATIENCE)
                assert reset[0] & 0xc0 == 0x40 and 21 <= len(reset) <= 42
                # What comes behind it has been answered by whom both would have come to.
                s.send(stray(mark))
                assert len(await asyncio.wait_for(loop.sock_recv(s, 2000), PATIENCE)) == 42
                await asyncio.sleep(0.01)
                with pytest.raises(BlockingIOError):
                    s.recv(2000)


@case
async def test_a_client_proves_its_address_to_the_worker_that_asked(tmp_path, config):
    """By a Retry, and by the token of an earlier connection, which another worker may have given."""
    node, tokens = start(Daemon(tmp_path, {**config, "limits": {"quic_handshakes": 1, "drain_ms": 300}}), "steered"), []
    try:
        workers = set()
        for _ in range(CLIENTS):
            async with dial(node.port, token_handler=tokens.append) as peer:
                assert await peer.call("demo/echo", 1) == 1 and peer.retries == 1
                workers.add(worker(peer))
                await peer.until(lambda: tokens)
        assert workers == set(range(WORKERS))
        for _ in range(CLIENTS):
            async with dial(node.port, token=tokens[0]) as peer:
                assert await peer.call("demo/echo", 2) == 2 and peer.retries == 0
    finally:
        node.stop()


@pytest.mark.parametrize("how", ["steered", "passed on"])
@case
async def test_a_node_that_is_new_is_known_as_such(tmp_path, config, how):
    """All workers have the key of stateless resets, and a client hears of it also from where it has not been before."""
    node = start(Daemon(tmp_path, config), how)
    try:
        async with dial_all(node, 8) as peers:
            await call_on_all(peers, 1)
            node.config["listen"][0]["port"] = node.port
            node.write_config()
            node.signal(signal.SIGKILL)
            node.proc.wait()
            node.proc = None
            await asyncio.to_thread(start, node, how)
            for p in peers:
                came, usual = [], p.datagram_received
                p.datagram_received = lambda data, addr, came=came, usual=usual: (came.append(data), usual(data, addr))
                await p.rebind()
                p.request("demo/echo", 2)
                token = await asyncio.wait_for(first(came), PATIENCE)
                assert token[-16:] == p.reset_token
    finally:
        node.stop()


def test_a_port_of_quic_is_one_process_s(tmp_path, config):
    """Two would end each other's connections with stateless resets."""
    folders = [tmp_path / "1", tmp_path / "2"]
    for folder in folders:
        folder.mkdir()
    node = start(Daemon(folders[0], config), "steered")
    try:
        other = Daemon(folders[1], {**config, "listen": [{"quic": True, "host": LOCAL, "port": node.port}]}).start(wait=False)
        other.ended(1)
        assert "address already in use" in other.log_text().lower()
    finally:
        node.stop()
