"""Call connections on aioquic, a QUIC stack that shares no line with ngtcp2: a client and a server of framed envelopes.

A Peer is one connection, of either side. It calls, and serves demo/echo, ui/echo and demo/clock. What came is public:
`over` (the close), `resets`, `stops` and `ended` by stream, `streams` (which stream each answer came on). aioquic has no
raw public keys (RFC 7250), so certificates are shown. It needs an event loop; tests run each case in one of its own.
"""
import asyncio
import collections
import contextlib
import json
import os
import ssl
import struct

from aioquic.asyncio import QuicConnectionProtocol
from aioquic.asyncio.server import QuicServer
from aioquic.buffer import encode_uint_var
from aioquic.quic import events
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from aioquic.tls import Epoch

ALPN = "alknet/call"
LOCAL = "127.0.0.1"
ECHOES = ("demo/echo", "ui/echo")
SERVED = (*ECHOES, "demo/clock")


def spec(name):
    return {"name": name, "namespace": name.split("/", maxsplit=1)[0], "op_type": "query" if name in ECHOES else "subscription",
            "visibility": "external", "input_schema": True, "output_schema": True, "error_schemas": [],
            "access_control": {"required_scopes": [], "required_scopes_any": None, "resource_type": None, "resource_action": None}}


def frame(envelope):
    body = json.dumps(envelope, separators=(",", ":")).encode()
    return struct.pack(">I", len(body)) + body


class Fault(Exception):
    """A call.error; its argument is the payload."""


class Connection(QuicConnection):
    """aioquic's, with transport parameters that nobody knows (RFC 9000, 18.1) if that is asked for."""
    unknown_parameters = ()

    def _serialize_transport_parameters(self):
        more = b"".join(encode_uint_var(number) + encode_uint_var(len(value)) + value for number, value in self.unknown_parameters)
        return super()._serialize_transport_parameters() + more


class Peer(QuicConnectionProtocol):
    def __init__(self, quic, stream_handler=None):
        super().__init__(quic, stream_handler)
        self.moving = False
        self.over, self.resets, self.stops, self.ended, self.streams = None, {}, {}, set(), {}
        self.came = asyncio.Event()  # something has
        self.partial = collections.defaultdict(bytes)
        self.answers = collections.defaultdict(asyncio.Queue)
        self.serving = {}
        self.aborted = []  # ids
        self.alpn = None

    # ---- the wire

    def quic_event_received(self, event):
        if isinstance(event, events.StreamDataReceived):
            self.data(event.stream_id, event.data)
            if event.end_stream:
                self.ended.add(event.stream_id)
                self.finish(event.stream_id)
        elif isinstance(event, events.StreamReset):
            self.resets[event.stream_id] = event.error_code
        elif isinstance(event, events.StopSendingReceived):
            self.stops[event.stream_id] = event.error_code
        elif isinstance(event, events.HandshakeCompleted):
            self.alpn = event.alpn_protocol
        elif isinstance(event, events.ConnectionTerminated):
            self.over = event
            for task, _ in self.serving.values():
                task.cancel()
        self.came.set()

    def data(self, stream, data):
        self.partial[stream] += data
        while len(self.partial[stream]) >= 4:
            size, = struct.unpack_from(">I", self.partial[stream])
            if len(self.partial[stream]) < 4 + size:
                return
            envelope = json.loads(self.partial[stream][4:4 + size])
            self.partial[stream] = self.partial[stream][4 + size:]
            self.envelope(stream, envelope)

    def envelope(self, stream, e):
        kind, name = e["type"], e["id"]
        if kind == "call.requested":
            self.serving[name] = asyncio.ensure_future(self.serve(stream, name, e["payload"])), stream
        elif kind == "call.aborted":
            self.aborted.append(name)
            if name in self.serving:
                self.serving[name][0].cancel()
        else:
            self.streams[name] = stream
            self.answers[name].put_nowait(e)

    async def until(self, what):
        while not what():
            self.came.clear()
            await self.came.wait()
        return what()

    def send(self, stream, data, fin=False):
        self._quic.send_stream_data(stream, data, fin)
        self.transmit()

    def stop_sending(self, stream):
        self._quic.stop_stream(stream, 0)
        self.transmit()

    def reset(self, stream):
        self._quic.reset_stream(stream, 0)
        self.transmit()

    def send_unidirectional(self, data):
        """As if the remote allowed it."""
        self._quic._remote_max_streams_uni, self._quic._remote_max_stream_data_uni = 1, len(data)
        self.send(self._quic.get_next_available_stream_id(is_unidirectional=True), data)

    # ---- calling

    def new_stream(self):
        stream = self._quic.get_next_available_stream_id()
        self._quic.send_stream_data(stream, b"")  # or the next one that asks gets the same
        return stream

    def request(self, operation, value, stream=None, fin=False, **more):
        """Sends the request: its id. Without a stream, on a new one."""
        name = os.urandom(8).hex()
        payload = {"operationId": "/" + operation, "input": value, **more}
        self.send(self.new_stream() if stream is None else stream, frame({"type": "call.requested", "id": name, "payload": payload}), fin)
        return name

    async def next(self, name):
        """The next value, or None when there are no more."""
        e = await self.answers[name].get()
        if e["type"] == "call.error":
            raise Fault(e["payload"])
        return e["payload"]["output"] if e["type"] == "call.responded" else None

    async def call(self, operation, value=None, stream=None, fin=True, **more):
        return await self.next(self.request(operation, value, stream, fin, **more))

    async def announce(self):
        """Tells what is served here; it can be called when that is answered."""
        return await self.call("services/announce", {})

    def abort(self, name, stream):
        self.send(stream, frame({"type": "call.aborted", "id": name, "payload": {}}))

    # ---- being called

    def finish(self, stream):
        """Our side of a stream of the remote's ends when its own has, and the last call there."""
        if stream % 2 == self._quic._is_client and stream in self.ended and all(s != stream for _, s in self.serving.values()):
            self.send(stream, b"", True)

    async def serve(self, stream, name, payload):
        try:
            await self.answer(stream, name, payload["operationId"].lstrip("/"), payload["input"])
        finally:
            del self.serving[name]
            if not self.over:
                self.finish(stream)

    async def answer(self, stream, name, operation, value):
        def say(kind, body):
            self.send(stream, frame({"type": kind, "id": name, "payload": body}))

        if operation in ECHOES:
            say("call.responded", {"output": value})
        elif operation == "services/announce":
            say("call.responded", {"output": {}})
        elif operation == "services/list":
            say("call.responded", {"output": {"operations": [spec(n) for n in SERVED]}})
        elif operation == "services/schema" and value["name"] in SERVED:
            say("call.responded", {"output": spec(value["name"])})
        elif operation == "demo/clock":
            for tick in range(value["count"]):
                say("call.responded", {"output": {"tick": tick + 1}})
                await asyncio.sleep(value["interval_ms"] / 1000)
            say("call.completed", {})
        else:
            say("call.error", {"code": "NOT_FOUND", "message": f"operation not found: {operation}", "retryable": False})

    # ---- the connection

    async def rebind(self, new_id=False):
        """Goes on from another port: what a NAT does that has forgotten a binding (RFC 9000, 9.3.3), or with the first
        packet under another id, as who moves by himself (9.5)."""
        old, self.moving = self._transport, True
        new, _ = await self._loop.create_datagram_endpoint(lambda: self, local_addr=(LOCAL, 0))
        self.moving, self._transport = False, new
        if new_id:
            self.change_connection_id()
        old.close()

    def connection_made(self, transport):
        if not self.moving:
            super().connection_made(transport)

    @property
    def port(self):
        return self._transport.get_extra_info("sockname")[1]

    @property
    def retries(self):
        """Retry packets that have come."""
        return self._quic._retry_count

    @property
    def version(self):
        return self._quic._version

    @property
    def negotiated(self):
        """The remote has been asked for another version before."""
        return self._quic._version_negotiated_incompatible

    @property
    def key_phase(self):
        return self._quic._cryptos[Epoch.ONE_RTT].recv.key_phase

    @property
    def reset_token(self):
        """That of the id by which the remote is spoken to."""
        return self._quic._peer_cid.stateless_reset_token

    @property
    def own_reset_token(self):
        """That of the id by which the remote speaks to this side."""
        return self._quic._host_cids[0].stateless_reset_token

    @property
    def retried(self):
        """The remote has come back from a Retry."""
        return self._quic._retry_source_connection_id is not None

    @property
    def remote(self):
        return self._quic._network_paths[0].addr

    @property
    def path_is_validated(self):
        return self._quic._network_paths[0].is_validated


def configuration(client=True, pair=None, authority=None, alpn=(ALPN,), **more):
    """pair: the certificate that is shown; authority: the file of who signs the other's, None: whatever it is."""
    c = QuicConfiguration(is_client=client, alpn_protocols=list(alpn), **more)
    if pair:
        c.load_cert_chain(pair.certificate, pair.key)
    if authority:
        c.load_verify_locations(authority)
        c.server_name = "localhost"
    elif client:
        c.verify_mode = ssl.CERT_NONE
    return c


@contextlib.asynccontextmanager
async def dial(port, connected=True, unknown_parameters=(), token_handler=None, **more):
    """A connection to that port. connected: it must come about."""
    quic = Connection(configuration=configuration(**more), token_handler=token_handler)
    quic.unknown_parameters = unknown_parameters
    _, peer = await asyncio.get_running_loop().create_datagram_endpoint(lambda: Peer(quic), local_addr=(LOCAL, 0))
    try:
        peer.connect((LOCAL, port))
        if connected:
            await peer.wait_connected()
        yield peer
    finally:
        peer.close()
        peer._transport.close()


class Server(QuicServer):
    """`peers`: the connections so far; `port`."""

    def __init__(self, **more):
        self.peers, self.arrived = [], asyncio.Event()
        super().__init__(create_protocol=self.open, **more)

    def open(self, quic, stream_handler=None):
        self.peers.append(Peer(quic, stream_handler))
        self.arrived.set()
        return self.peers[-1]

    async def peer(self):
        """The newest connection, when its handshake is over."""
        await self.arrived.wait()
        peer = self.peers[-1]
        await peer.until(lambda: peer.alpn)
        return peer

    def send(self, datagram, address):
        self._transport.sendto(datagram, address)

    @property
    def port(self):
        return self._transport.get_extra_info("sockname")[1]


@contextlib.asynccontextmanager
async def serve(pair, retry=False, **more):
    loop = asyncio.get_running_loop()
    _, server = await loop.create_datagram_endpoint(
        lambda: Server(configuration=configuration(client=False, pair=pair, **more), retry=retry), local_addr=(LOCAL, 0))
    try:
        yield server
    finally:
        server.close()
