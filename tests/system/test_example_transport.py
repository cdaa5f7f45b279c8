"""examples/08_transport.c over a socket whose other end is here: the transport is one to copy, so it has to stand what sockets
and remotes do, in whatever pieces, and at whatever moment."""
import json
import os
import pathlib
import signal
import socket
import struct
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILT = pathlib.Path(os.environ.get("ALKNET_EXAMPLES", ROOT / "build/san/examples")) / "08_transport"
SECONDS = 60
MOST = 64 * 1024


def frame(envelope):
    text = json.dumps(envelope).encode()
    return struct.pack(">I", len(text)) + text


def requested(number, text):
    return frame({"type": "call.requested", "id": str(number), "payload": {"operationId": "/demo/echo", "input": text}})


class Remote:
    """The other end, and the example that runs on this one."""

    def __init__(self, small=False):
        self.sock, theirs = socket.socketpair()
        self.sock.settimeout(SECONDS)
        if small:  # so that it cannot write an answer at once
            theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        with theirs:
            self.example = subprocess.Popen([BUILT, str(theirs.fileno())], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                            stderr=subprocess.PIPE, text=True, pass_fds=[theirs.fileno()])

    def __enter__(self):
        self.call = self.receive()
        assert self.call["type"] == "call.requested"
        assert self.call["payload"] == {"operationId": "/demo/echo", "input": "hello"}
        return self

    def __exit__(self, *_):
        self.sock.close()
        if self.example.poll() is None:
            self.example.kill()
            self.example.communicate()

    def exactly(self, count):
        data = b""
        while len(data) < count:
            piece = self.sock.recv(count - len(data))
            assert piece, f"the stream ended after {len(data)} of {count} bytes"
            data += piece
        return data

    def receive(self):
        return json.loads(self.exactly(struct.unpack(">I", self.exactly(4))[0]))

    def answer(self, output="hello"):
        return frame({"type": "call.responded", "id": self.call["id"], "payload": {"output": output}})

    def ends(self, said, status):
        out, err = self.example.communicate(timeout=SECONDS)
        assert err == ""  # no report of a sanitizer either
        assert (out, self.example.returncode) == (said, status)


LOST = ("INTERNAL: connection closed\n", 1)


def test_it_calls_and_closes():
    with Remote() as remote:
        remote.sock.sendall(remote.answer("over there"))
        remote.ends('the answer is "over there"\n', 0)
        assert remote.sock.recv(1) == b""


def test_it_serves_whatever_the_pieces_are():
    with Remote() as remote:
        for byte in requested(1, "one byte at a time"):
            remote.sock.sendall(bytes([byte]))
        assert remote.receive()["payload"] == {"output": "one byte at a time"}
        many = b"".join(requested(i, "x" * i) for i in range(200))
        for at in range(0, len(many), 777):
            remote.sock.sendall(many[at:at + 777])
        assert [remote.receive()["payload"]["output"] for _ in range(200)] == ["x" * i for i in range(200)]
        remote.sock.sendall(remote.answer())
        remote.ends('the answer is "hello"\n', 0)


def test_a_reader_that_comes_late_gets_everything_in_order():
    """Answers of nearly the largest size, more than socket and link take: ALK_EAGAIN, then alk_connection_writable."""
    with Remote(small=True) as remote:
        for i in range(10):
            remote.sock.sendall(requested(i, str(i) * (MOST - 200)))
        assert [remote.receive()["payload"]["output"] for _ in range(10)] == [str(i) * (MOST - 200) for i in range(10)]
        remote.sock.sendall(remote.answer())
        remote.ends('the answer is "hello"\n', 0)


@pytest.mark.parametrize("size", [0, 2, 4, 30])
def test_the_other_side_dies_in_the_middle_of_an_envelope(size):
    with Remote() as remote:
        remote.sock.sendall(remote.answer()[:size])
        remote.sock.close()
        remote.ends(*LOST)


def test_the_other_side_dies_without_having_read():
    with Remote(small=True) as remote:
        for i in range(10):
            remote.sock.sendall(requested(i, "x" * (MOST - 200)))
        remote.exactly(10000)
        remote.sock.close()
        remote.ends(*LOST)


def test_what_the_other_side_said_last_counts_though_it_can_be_written_to_no_more():
    """More than one read takes, so that the answers to the requests fail to be written before our answer is read."""
    with Remote() as remote:
        remote.example.send_signal(signal.SIGSTOP)
        remote.sock.sendall(requested(1, "x" * (MOST - 200)) + requested(2, "x" * (MOST - 200)) + remote.answer("and good bye"))
        remote.sock.close()
        remote.example.send_signal(signal.SIGCONT)
        remote.ends('the answer is "and good bye"\n', 0)


@pytest.mark.parametrize("bytes_", [struct.pack(">I", 0), struct.pack(">I", MOST + 1), b"\xff\xff\xff\xff",
                                    struct.pack(">I", 5) + b"hello", frame({"type": "call.requested"})])
def test_what_is_no_envelope_closes_it(bytes_):
    with Remote() as remote:
        remote.sock.sendall(bytes_ + requested(1, "never looked at"))
        remote.ends(*LOST)


def test_what_came_before_the_fault_was_taken():
    with Remote() as remote:
        remote.sock.sendall(remote.answer("before") + b"\xff\xff\xff\xff")
        remote.ends('the answer is "before"\n', 0)


def test_an_answer_of_the_turn_in_which_it_closes_still_leaves():
    with Remote() as remote:
        unknown = {"type": "call.requested", "id": "1", "payload": {"operationId": "/demo/none", "input": None}}
        remote.sock.sendall(frame(unknown) + b"\xff\xff\xff\xff")
        assert remote.receive()["payload"]["code"] == "NOT_FOUND"
        assert remote.sock.recv(1) == b""
        remote.ends(*LOST)
