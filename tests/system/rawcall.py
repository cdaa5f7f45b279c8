"""A client of the call protocol on TLS, written from docs/protocol.md alone: ssl and sockets, no code of alknet's.

It says whatever a test wants to be said, right or wrong, and keeps apart what comes back: answers by the id of our calls,
requests and aborts of the other side in the order of their coming. One thread; a read ends at its time limit.
"""
import collections
import json
import socket
import ssl
import struct
import time

PATIENCE = 20  # seconds for what takes milliseconds on an idle machine
REQUESTED, RESPONDED, COMPLETED, ABORTED, ERROR = "call.requested", "call.responded", "call.completed", "call.aborted", "call.error"


def envelope(kind, ident, payload, **more):
    return json.dumps({"type": kind, "id": ident, "payload": payload, **more}).encode()


def frame(data):
    """data: a message, or what should be one."""
    return struct.pack(">I", len(data)) + data


class Caller:
    def __init__(self, port, cafile, pair=None):
        context = ssl.create_default_context(cafile=cafile)
        context.set_alpn_protocols(["alknet/call"])
        if pair:
            context.load_cert_chain(pair.certificate, pair.key)
        self.tls = context.wrap_socket(socket.create_connection(("127.0.0.1", port), PATIENCE), server_hostname="localhost")
        assert self.tls.selected_alpn_protocol() == "alknet/call"
        self.have, self.next = bytearray(), 0
        self.answers = collections.defaultdict(list)  # by id: (type, payload)
        self.requests, self.aborts = [], []           # of the other side: (id, payload), id

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.tls.close()

    # ---- what is said

    def raw(self, data):
        self.tls.sendall(data)

    def put(self, kind, ident, payload, **more):
        self.raw(frame(envelope(kind, ident, payload, **more)))

    def request(self, operation, value=None, ident=None, **more):
        """Asks; the id."""
        if ident is None:
            self.next += 1
            ident = f"c{self.next}"
        self.put(REQUESTED, ident, {"operationId": "/" + operation, "input": value, **more})
        return ident

    def finish(self):
        """close_notify and FIN: nothing more comes from here."""
        try:
            self.tls.unwrap()
        except (OSError, ValueError):
            pass
        self.tls.close()

    # ---- what is heard

    def hear(self, seconds=PATIENCE):
        """Takes one envelope in. EOFError: the connection has ended; TimeoutError: nothing came."""
        end = time.monotonic() + seconds
        while len(self.have) < 4 or len(self.have) < 4 + struct.unpack(">I", self.have[:4])[0]:
            self.tls.settimeout(max(end - time.monotonic(), 0.001))
            try:
                piece = self.tls.recv(1 << 16)
            except (ssl.SSLEOFError, ConnectionError):
                piece = b""
            finally:
                self.tls.settimeout(PATIENCE)
            if not piece:
                assert not self.have, "it ended within a frame"
                raise EOFError
            self.have += piece
        length, = struct.unpack(">I", self.have[:4])
        message = json.loads(self.have[4:4 + length])
        del self.have[:4 + length]
        assert set(message) == {"type", "id", "payload"}
        kind, ident, payload = message["type"], message["id"], message["payload"]
        if kind == REQUESTED:
            self.requests.append((ident, payload))
        elif kind == ABORTED:
            self.aborts.append(ident)
        else:
            self.answers[ident].append((kind, payload))

    def until(self, true):
        end = time.monotonic() + PATIENCE
        while not (result := true()):
            self.hear(end - time.monotonic())
        return result

    def answer(self, ident):
        """The next (type, payload) of that call."""
        self.until(lambda: self.answers[ident])
        return self.answers[ident].pop(0)

    def output(self, ident):
        kind, payload = self.answer(ident)
        assert kind == RESPONDED, payload
        return payload["output"]

    def fault(self, ident):
        kind, payload = self.answer(ident)
        assert kind == ERROR, payload
        return payload

    def call(self, operation, value=None, **more):
        return self.output(self.request(operation, value, **more))

    def asked(self, operation):
        """The other side asks for that, or has: (id, payload)."""
        def it():
            return next((r for r in self.requests if r[1]["operationId"] == "/" + operation), None)
        found = self.until(it)
        self.requests.remove(found)
        return found

    def ended(self):
        """The connection ends, and nothing else came before."""
        try:
            while True:
                self.hear()
        except EOFError:
            return True
