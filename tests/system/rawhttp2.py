"""A raw HTTP/2 client: it sends any frames and any header fields, and reads strictly. Every wait has an end."""
import collections
import json
import socket
import time

from conftest import PATIENCE, ROOT  # pylint: disable=unused-import

import hpack  # pylint: disable=wrong-import-position
from hyperframe import frame as f  # pylint: disable=wrong-import-position

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
NO_ERROR, PROTOCOL_ERROR, INTERNAL_ERROR, FLOW_CONTROL_ERROR, STREAM_CLOSED, REFUSED_STREAM, CANCEL, ENHANCE_YOUR_CALM = 0, 1, 2, 3, 5, 7, 8, 11


class Gone(Exception):
    """The connection has ended; code: of the GOAWAY, None without one."""

    def __init__(self, code):
        super().__init__(f"GOAWAY {code}")
        self.code = code


class Stream:
    def __init__(self):
        self.headers, self.body, self.ended, self.reset, self.informational = None, b"", False, None, []

    @property
    def status(self):
        return int(dict(self.headers)[":status"])

    def header(self, name):
        values = [v for k, v in self.headers if k == name]
        assert len(values) <= 1
        return values[0] if values else None

    def json(self):
        return json.loads(self.body)


class Http2:
    """auto: window updates are sent for what comes."""

    def __init__(self, sock, token=None, authority="localhost", scheme="http", settings=None, auto=True, start=True):
        self.sock, self.token, self.authority, self.scheme, self.auto = sock, token, authority, scheme, auto
        self.encoder, self.decoder = hpack.Encoder(), hpack.Decoder()
        self.streams = collections.defaultdict(Stream)
        self.have, self.next, self.settings, self.goaway, self.pongs, self.acks = b"", 1, {}, None, [], 0
        self.windows = collections.defaultdict(lambda: 65535)
        if start:
            self.raw(PREFACE)
            self.send(f.SettingsFrame(0, settings=settings or {}))

    def raw(self, data):
        self.sock.sendall(data)

    def send(self, *frames):
        self.raw(b"".join(x.serialize() for x in frames))

    def close(self):
        self.sock.close()

    # ---- requests

    def fields(self, method="GET", path="/", headers=(), pseudo=()):
        own = {":method": method, ":scheme": self.scheme, ":authority": self.authority, ":path": path, **dict(pseudo)}
        fields = [(k, v) for k, v in own.items() if v is not None]
        if self.token:
            fields.append(("authorization", f"Bearer {self.token}"))
        return fields + list(headers)

    def open(self, fields, end=True, stream=None):
        """Sends a head; the stream's number."""
        stream = stream or self.next
        self.next = max(self.next, stream + 2)
        flags = ["END_HEADERS"] + ["END_STREAM"] * end
        self.send(f.HeadersFrame(stream, self.encoder.encode(fields), flags=flags))
        return stream

    def post(self, path, value, headers=(), end=True):
        body = value if isinstance(value, bytes) else json.dumps(value).encode()
        stream = self.open(self.fields("POST", path, [("content-type", "application/json"), *headers]), end=False)
        self.data(stream, body, end)
        return stream

    def data(self, stream, body, end=True):
        for at in range(0, max(len(body), 1), 16384):
            piece = body[at:at + 16384]
            while self.windows[stream] < len(piece) or self.windows[0] < len(piece):
                self.step()
            self.windows[stream] -= len(piece)
            self.windows[0] -= len(piece)
            last = at + 16384 >= len(body)
            self.send(f.DataFrame(stream, piece, flags=["END_STREAM"] * (end and last)))

    def call(self, operation, value=None, **kwargs):
        return self.wait(self.post("/call", {"operation": operation, "input": value}, **kwargs))

    def get(self, path, **kwargs):
        return self.wait(self.open(self.fields("GET", path, **kwargs)))

    # ---- what comes

    def _take(self, n):
        while len(self.have) < n:
            try:
                piece = self.sock.recv(65536)
            except ConnectionError:
                piece = b""
            if not piece:
                raise Gone(self.goaway)
            self.have += piece
        taken, self.have = self.have[:n], self.have[n:]
        return taken

    def step(self):
        """Takes one frame."""
        frame, length = f.Frame.parse_frame_header(memoryview(self._take(9)))
        assert length <= 16384
        frame.parse_body(memoryview(self._take(length)))
        stream = self.streams[frame.stream_id] if frame.stream_id else None
        if isinstance(frame, f.SettingsFrame):
            if "ACK" in frame.flags:
                self.acks += 1
            else:
                change = frame.settings.get(f.SettingsFrame.INITIAL_WINDOW_SIZE, 65535) - self.settings.get(f.SettingsFrame.INITIAL_WINDOW_SIZE, 65535)
                old = dict(self.windows)
                self.settings.update(frame.settings)
                initial = self.settings.get(f.SettingsFrame.INITIAL_WINDOW_SIZE, 65535)
                self.windows = collections.defaultdict(lambda: initial, {k: v + (change if k else 0) for k, v in old.items()})
                self.windows.setdefault(0, 65535)
                self.send(f.SettingsFrame(0, flags=["ACK"]))
        elif isinstance(frame, f.PingFrame):
            if "ACK" in frame.flags:
                self.pongs.append(frame.opaque_data)
            else:
                self.send(f.PingFrame(0, frame.opaque_data, flags=["ACK"]))
        elif isinstance(frame, f.WindowUpdateFrame):
            self.windows[frame.stream_id] += frame.window_increment
        elif isinstance(frame, f.GoAwayFrame):
            self.goaway = frame.error_code
        elif isinstance(frame, f.RstStreamFrame):
            stream.reset = frame.error_code
        elif isinstance(frame, f.HeadersFrame):
            assert "END_HEADERS" in frame.flags
            assert not stream.ended, "a head after the end"
            fields = [(str(k), str(v)) for k, v in self.decoder.decode(frame.data)]
            assert all(k == k.lower() for k, _ in fields), fields
            assert not {k for k, _ in fields} & {"connection", "upgrade", "keep-alive", "transfer-encoding", "proxy-connection"}, fields
            if dict(fields)[":status"].startswith("1"):
                stream.informational.append(fields)
            else:
                stream.headers = fields
            stream.ended |= "END_STREAM" in frame.flags
        elif isinstance(frame, f.DataFrame):
            assert stream.headers is not None and not stream.ended
            stream.body += frame.data
            stream.ended |= "END_STREAM" in frame.flags
            if self.auto and length:
                self.send(f.WindowUpdateFrame(0, length), f.WindowUpdateFrame(frame.stream_id, length))
        return frame

    def until(self, what, seconds=PATIENCE):
        end = time.monotonic() + seconds
        self.sock.settimeout(seconds)
        while not what():
            assert time.monotonic() < end
            self.step()

    def wait(self, number, seconds=PATIENCE):
        """The stream, when it has ended."""
        stream = self.streams[number]
        self.until(lambda: stream.ended or stream.reset is not None, seconds)
        return stream

    def ended(self, seconds=PATIENCE):
        """The connection has ended, or does: the code of its GOAWAY."""
        try:
            self.until(lambda: False, seconds)
        except Gone as gone:
            return gone.code


def clear(daemon, **kwargs):
    """With prior knowledge, in clear."""
    return Http2(socket.create_connection((daemon.host, daemon.port), PATIENCE), daemon.token, **kwargs)
