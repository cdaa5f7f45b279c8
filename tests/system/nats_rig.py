"""A NATS broker for tests, the network between it and its clients, and somebody else who is at the broker too.

`Broker` is a nats-server of its own on a port that the kernel chose. `Network` stands before it: what passes is taken apart
into frames, which can be lost, doubled, held up or overtaken by their subject, and the connections can be cut, stalled and
refused. `Stranger` says and hears what he likes, by plain text on a socket.
"""
import asyncio
import fnmatch
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import threading
import time

from conftest import PATIENCE, ROOT, wait_for


def program():
    found = shutil.which("nats-server", path=os.pathsep.join([os.environ["PATH"], "/usr/sbin", str(ROOT / "build/deps/bin")]))
    assert found, "nats-server is missing"
    return found


class Broker:
    """`config`: the text of its configuration. After `kill` it can be started again, on the same port."""

    def __init__(self, folder, config=""):
        self.folder = pathlib.Path(folder) / f"nats-{os.urandom(4).hex()}"
        self.folder.mkdir()
        (self.folder / "config").write_text(config)
        self.port, self.child = -1, None

    def start(self):
        with open(self.folder / "log", "a") as log:
            self.child = subprocess.Popen([program(), "-a", "127.0.0.1", "-p", str(self.port), "--ports_file_dir", self.folder, "-c", self.folder / "config"],
                                          stdout=log, stderr=log)
        ports = self.folder / f"nats-server_{self.child.pid}.ports"

        def listens():
            assert self.child.poll() is None, (self.folder / "log").read_text()
            return ports.exists() and ports.read_text().rstrip().endswith("}")

        wait_for(listens)
        self.port = int(ports.read_text().split("127.0.0.1:")[1].split('"')[0])
        return self

    @property
    def url(self):
        return f"nats://127.0.0.1:{self.port}"

    def signal(self, number):
        self.child.send_signal(number)

    def kill(self):
        if self.child:
            self.child.kill()
            self.child.wait()
        self.child = None

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.kill()


class Frame:
    """`op`: PUB or MSG (with headers HPUB or HMSG), or what else a line begins with. `subject` and `payload`: of those alone."""

    def __init__(self, line, body=b""):
        words = line.split()
        self.op = words[0].decode(errors="replace").upper() if words else ""
        self.subject = words[1].decode(errors="replace") if body else ""
        self.payload = body[:-2]
        self.raw = line + body


class Frames:
    """Takes a stream apart."""

    def __init__(self):
        self.buffer = b""

    def feed(self, data):
        self.buffer += data
        while (end := self.buffer.find(b"\n")) >= 0:
            line = self.buffer[:end + 1]
            words = line.split()
            length = int(words[-1]) + 2 if words and words[0].upper() in (b"PUB", b"HPUB", b"MSG", b"HMSG") else 0
            if len(self.buffer) < len(line) + length:
                return
            yield Frame(line, self.buffer[len(line):len(line) + length])
            self.buffer = self.buffer[len(line) + length:]


class Rule:
    """What happens to frames of that op whose subject fits `pattern`: to `count` of them (None: all), behind the first `skip`."""

    def __init__(self, what, pattern, op, count, skip, seconds):
        self.what, self.pattern, self.op, self.count, self.skip, self.seconds = what, pattern, op, count, skip, seconds
        self.hits = 0

    def fits(self, frame):
        if frame.op.lstrip("H") != self.op or not fnmatch.fnmatchcase(frame.subject, self.pattern) or self.count == 0:
            return False
        if self.skip:
            self.skip -= 1
            return False
        self.count = None if self.count is None else self.count - 1
        self.hits += 1
        return True


class Network:
    """The way to a broker. PUB is what a client says, MSG what it hears; a rule is for one of the two. `seen`: every PUB that came, as
    (subject, payload). One line of a client's passes where another stands still: each direction of each connection is by itself."""

    def __init__(self, broker):
        self.broker, self.rules, self.seen, self.links = broker, [], [], set()
        self.refusing = self.stalled = False
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()
        self.server = self.run(asyncio.start_server(self.serve, "127.0.0.1", 0))
        self.port = self.server.sockets[0].getsockname()[1]

    def run(self, what):
        return asyncio.run_coroutine_threadsafe(what, self.loop).result(PATIENCE)

    @property
    def url(self):
        return f"nats://127.0.0.1:{self.port}"

    # ---- what a test says -------------------------------------------------------------------------------------------

    def rule(self, what, pattern, op, count, skip, seconds=0):
        made = Rule(what, pattern, op, count, skip, seconds)
        self.rules.append(made)
        return made

    def drop(self, pattern, op="PUB", count=None, skip=0):
        return self.rule("drop", pattern, op, count, skip)

    def duplicate(self, pattern, op="PUB", count=None, skip=0):
        return self.rule("duplicate", pattern, op, count, skip)

    def delay(self, pattern, seconds, op="PUB", count=None, skip=0):
        """The others overtake it."""
        return self.rule("delay", pattern, op, count, skip, seconds)

    def swap(self, pattern, op="PUB", count=1, skip=0):
        """It comes behind the next frame of its subject."""
        return self.rule("swap", pattern, op, count, skip)

    def cut_at(self, pattern, op="PUB", count=1, skip=0):
        """The connection ends in the middle of it."""
        return self.rule("cut", pattern, op, count, skip)

    def heal(self):
        """No rules, nothing refused or stalled; what was held up comes."""
        self.rules, self.refusing, self.stalled = [], False, False

    def cut(self):
        """Every connection ends."""
        self.run(self.cut_all())

    # ---- how it is done ---------------------------------------------------------------------------------------------

    async def cut_all(self):
        for writer in self.links:
            writer.transport.abort()

    async def serve(self, reader, writer):
        if self.refusing:
            writer.transport.abort()
            return
        try:
            to_reader, to_writer = await asyncio.open_connection("127.0.0.1", self.broker.port)
        except OSError:
            writer.transport.abort()
            return
        ends = {writer, to_writer}
        self.links |= ends
        ways = [asyncio.ensure_future(self.carry(reader, to_writer)), asyncio.ensure_future(self.carry(to_reader, writer))]
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)
        self.links -= ends
        for end in ends:
            end.close()

    async def carry(self, reader, writer):
        frames, swapped = Frames(), {}
        while data := await reader.read(65536):
            for frame in frames.feed(data):
                while self.stalled:
                    await asyncio.sleep(0.01)
                if frame.op in ("PUB", "HPUB"):
                    self.seen.append((frame.subject, frame.payload))
                what = next((rule for rule in self.rules if rule.fits(frame)), None)
                if not self.apply(what, frame, writer, swapped):
                    await writer.drain()
                    return
                await writer.drain()

    def apply(self, rule, frame, writer, swapped):
        """False: the connection ends."""
        what = rule.what if rule else "pass"
        if what == "swap" and frame.subject not in swapped:
            swapped[frame.subject] = frame
        elif what == "delay":
            self.loop.call_later(rule.seconds, writer.write, frame.raw)
        elif what == "cut":
            writer.write(frame.raw[:len(frame.raw) // 2])
            return False
        elif what != "drop":
            writer.write(frame.raw * (2 if what == "duplicate" else 1))
            if frame.subject in swapped:
                writer.write(swapped.pop(frame.subject).raw)
        return True

    def close(self):
        async def end():
            self.server.close()
            await self.cut_all()
            others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)

        self.run(end())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(PATIENCE)
        self.loop.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Stranger:
    """Somebody at the broker (or at the network before it); `connect` is the JSON of his CONNECT."""

    def __init__(self, where, connect="{\"verbose\":false}"):
        self.socket = socket.create_connection(("127.0.0.1", where.port), PATIENCE)
        self.frames, self.come, self.sids = Frames(), [], {}
        self.send(b"CONNECT " + connect.encode() + b"\r\n")
        self.flush()

    def send(self, data):
        self.socket.sendall(data)

    def subscribe(self, subject):
        """Wildcards too. Known to the broker when this returns."""
        self.sids[subject] = len(self.sids) + 1
        self.send(f"SUB {subject} {self.sids[subject]}\r\n".encode())
        self.flush()

    def publish(self, subject, payload):
        payload = payload.encode() if isinstance(payload, str) else payload
        self.send(f"PUB {subject} {len(payload)}\r\n".encode() + payload + b"\r\n")

    def flush(self):
        """What was said before has been heard."""
        self.send(b"PING\r\n")
        end = time.monotonic() + PATIENCE
        while "PONG" not in self.read(end):
            pass

    def read(self, end):
        """What one read brought, as ops; what was said of subjects is kept for `next`."""
        self.socket.settimeout(max(end - time.monotonic(), 0.001))
        data = self.socket.recv(65536)
        if not data:
            raise ConnectionError("the broker has closed the connection")
        ops = []
        for frame in self.frames.feed(data):
            ops.append(frame.op)
            if frame.op in ("MSG", "HMSG"):
                self.come.append((frame.subject, frame.payload))
            elif frame.op == "PING":
                self.send(b"PONG\r\n")
            elif frame.op == "-ERR":
                raise ConnectionError(frame.raw.decode().strip())
        return ops

    def next(self, seconds=PATIENCE):
        """(subject, payload) of the next message; None: there is none in that time."""
        end = time.monotonic() + seconds
        while not self.come:
            try:
                self.read(end)
            except TimeoutError:
                return None
        return self.come.pop(0)

    def close(self):
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def pause(broker):
    """It neither reads nor answers, and its connections stay."""
    broker.signal(signal.SIGSTOP)
    threads = pathlib.Path(f"/proc/{broker.child.pid}/task")
    wait_for(lambda: all(stat.read_text().rsplit(")", 1)[1].split()[0] == "T" for stat in threads.glob("*/stat")))


def resume(broker):
    broker.signal(signal.SIGCONT)
