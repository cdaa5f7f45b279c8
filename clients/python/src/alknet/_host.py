"""One run of a node: a host of the library, and the events of it on one asyncio loop.

All of it belongs to the thread of that loop, but `stop` and `abort`, which any thread may call. The library's host is freed
when the last reference to it goes, so that no thread can be inside one of its functions then.

What has an id is an entry from its beginning to its event END. A call that a plain function has answered at once is none.
"""

from __future__ import annotations

import array
import asyncio
import atexit
import concurrent.futures
import contextvars
import functools
import logging
import math
import os
import sys
import time
import weakref
from collections import deque
from typing import Any, AsyncIterator, Callable, Coroutine, Iterable, Mapping, Optional, Sequence, TypeVar

from . import _json
from ._errors import (
    PROTOCOL_CODES,
    CallError,
    ClosedError,
    ConfigError,
    ConnectError,
    DomainError,
    fault_text,
    of_fault,
)
from ._native import ffi, lib
from ._operation import Operation, native_text

log = logging.getLogger("alknet")

EVENTS = 256  # of one batch, between which the loop runs what else is ready
ANSWERS = 32  # of a batch that go out together
EVENT_SIZE = ffi.sizeof("alk_host_event")
ERROR_SIZE = 1024
HIGH, LOW = 64, 16  # values of a subscription that nobody has taken: it is paused, and goes on
SLICE = 128  # values of a generator that does not wait, after which the loop runs what else is ready
EXIT_SECONDS = 2.0
LEVELS = {
    lib.ALK_LOG_ERROR: logging.ERROR,
    lib.ALK_LOG_WARN: logging.WARNING,
    lib.ALK_LOG_INFO: logging.INFO,
    lib.ALK_LOG_DEBUG: logging.DEBUG,
}
INTERNAL = b'{"code":"INTERNAL","message":"internal error"}'
CLOSED = b'{"code":"CLOSED","message":"closed","retryable":false}'
STREAM = ffi.new("alk_host_call_options *", {"size": ffi.sizeof("alk_host_call_options"), "stream": 1})
EAGER: dict[str, Any] = {"eager_start": True} if sys.version_info >= (3, 12) else {}
DONE = object()
T = TypeVar("T")


def string(pointer: Any) -> Optional[bytes]:
    return ffi.string(pointer) if pointer else None


def checked(rc: int, error: Any = None) -> None:
    """Raises what a code of the library stands for."""
    if rc == 0:
        return
    text = (ffi.string(error) if error else b"").decode(errors="replace") or ffi.string(lib.alk_strerror(rc)).decode()
    if rc in (lib.ALK_ECLOSED, lib.ALK_EENDED):
        raise ClosedError("the node does not run" if rc == lib.ALK_ECLOSED else "the call or the connection is over")
    if rc == lib.ALK_ENOMEM:
        raise MemoryError(text)
    if rc == lib.ALK_ESYSTEM:
        raise OSError(text)
    raise ConfigError(text) if error else ValueError(text)


def milliseconds(timeout: Optional[float]) -> int:
    if timeout is None:
        return 0
    if timeout == math.inf:
        return lib.ALK_NO_TIMEOUT  # type: ignore[no-any-return]
    if not timeout >= 0:
        raise ValueError(f"a timeout is a number of seconds from 0 on, not {timeout!r}")
    longest: int = lib.ALK_NO_TIMEOUT - 1
    return min(max(1, math.ceil(timeout * 1000)), longest)


class Pending:
    """A call of the program that has one result."""

    __slots__ = ("future",)

    def __init__(self, future: asyncio.Future[tuple[int, bytes]]) -> None:
        self.future = future

    def ended(self, rc: int, text: bytes) -> None:
        if not self.future.done():
            self.future.set_result((rc, text))


class Feed:
    """A subscription of the program: what has come and was not taken."""

    __slots__ = ("host", "id", "values", "end", "waiter", "paused", "batch")

    def __init__(self, host: Host) -> None:
        self.host = host
        self.id = 0
        self.values: deque[bytes] = deque()
        self.end: Optional[tuple[int, bytes]] = None
        self.waiter: Optional[asyncio.Future[None]] = None
        self.paused = False
        self.batch = 0

    def wake(self) -> None:
        if self.waiter is not None and not self.waiter.done():
            self.waiter.set_result(None)

    def value(self, text: bytes, batch: int) -> None:
        # What the batches before have brought, whoever reads has had the time to take.
        if self.batch != batch:
            self.batch = batch
            if len(self.values) > HIGH and not self.paused:
                self.pause(True)
        self.values.append(text)
        self.wake()

    def pause(self, paused: bool) -> None:
        self.paused = paused
        self.host.pause(self.id, paused)

    def ended(self, rc: int, text: bytes) -> None:
        self.end = rc, text
        self.wake()


class Running:
    """A call to the program that a task works on."""

    __slots__ = ("host", "operation", "task", "room")

    def __init__(self, host: Host, operation: Operation) -> None:
        self.host = host
        self.operation = operation
        self.task: Optional[asyncio.Task[None]] = None
        self.room: Optional[asyncio.Future[None]] = None

    def ended(self, rc: int, text: bytes) -> None:
        # BUSY: a graceful stop, which is no fault of anybody's.
        if rc == lib.ALK_END_FAULT and not text.startswith(b'{"code":"BUSY"'):
            log.error("%s was ended: %s", self.operation.name, text.decode())
        if self.task is not None:
            self.host.cancelled.add(self.task)
            self.task.add_done_callback(self.host.cancelled.discard)
            self.task.cancel()


class Link:
    """A connection that the program has dialled."""

    def __init__(self, loop: asyncio.AbstractEventLoop, url: str) -> None:
        self.url = url
        self.id = 0
        self.up = False
        self.identity: Optional[bytes] = None
        self.address: Optional[bytes] = None
        self.opened: asyncio.Future[None] = loop.create_future()
        self.closed: asyncio.Future[int] = loop.create_future()

    def came_up(self, identity: Optional[bytes], address: Optional[bytes], text: bytes) -> None:
        self.up, self.identity, self.address = True, identity, address
        if text != b"null":
            log.warning("%s is open, but what was to be imported or announced is not: %s", self.url, text.decode())
        if not self.opened.done():
            self.opened.set_result(None)

    def failed(self, text: bytes) -> None:
        if not self.opened.done():
            fault = of_fault(text if text != b"null" else CLOSED)
            self.opened.set_exception(ConnectError(fault.code, f"{self.url}: {fault.message}", None, fault.retryable))

    def went_down(self, text: bytes) -> None:
        self.up = False
        self.failed(text)

    def ended(self, rc: int, text: bytes) -> None:
        self.up = False
        self.failed(text)
        if not self.closed.done():
            self.closed.set_result(rc)


class Request:
    """A call to be made: what the library is given."""

    __slots__ = ("name", "input", "options", "held")

    def __init__(
        self,
        operation: str,
        input: Any,
        *,
        stream: bool = False,
        timeout: Optional[float] = None,
        identity: Optional[Mapping[str, Any]] = None,
        peer: Optional[str] = None,
        connection: int = 0,
        parent: int = 0,
        traceparent: Optional[str] = None,
        continue_running: bool = False,
    ) -> None:
        self.name = operation.encode()
        self.input = _json.encode(input)
        self.held: list[Any] = []
        given = (timeout, identity, peer, traceparent) != (None, None, None, None)
        if not (given or connection or parent or continue_running):
            self.options = STREAM if stream else ffi.NULL
            return
        o = self.options = ffi.new("alk_host_call_options *")
        o.size = ffi.sizeof("alk_host_call_options")
        o.stream = stream
        o.timeout_ms = milliseconds(timeout)
        o.connection = connection
        o.parent = parent
        o.policy = lib.ALK_CONTINUE_RUNNING if continue_running else 0
        if peer is not None:
            o.peer = self.hold(native_text(peer, "a peer"))
        if traceparent is not None:
            o.traceparent = self.hold(native_text(traceparent, "a traceparent"))
        if identity is not None:
            o.identity = self.hold(_json.encode({"scopes": [], "resources": {}, **identity}))

    def hold(self, text: bytes) -> Any:
        self.held.append(ffi.new("char[]", text))
        return self.held[-1]


class Host:
    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        operations: Sequence[Operation],
        config: Mapping[str, Any],
        workers: int,
        queue_events: int,
        queue_bytes: int,
        context: Callable[[Host, Operation, Any], Any],
    ) -> None:
        self.loop = loop
        self.context = context
        self.operations = operations
        self.entries: dict[int, Any] = {}
        self.failed: set[int] = set()  # calls that have failed by the program's own word
        self.cancelled: set[asyncio.Task[None]] = set()  # which still clean up
        self.waiting: deque[asyncio.Future[None]] = deque()  # for room for calls
        self.reloads: deque[asyncio.Future[None]] = deque()
        self.listening: list[dict[str, Any]] = []
        self.stopped: asyncio.Future[None] = loop.create_future()
        self.draining = False
        self.why_closed = "the node does not run"
        self.events = ffi.new("alk_host_event[]", EVENTS)
        self.next = self.count = self.batch = 0
        self.answers = array.array("Q")  # ids and lengths
        self.texts: list[bytes] = []
        self.id = ffi.new("uint64_t *")
        error = ffi.new("char[]", ERROR_SIZE)
        out = ffi.new("alk_host **")
        text = _json.encode(config)
        held = ffi.from_buffer(text)
        o = ffi.new("alk_host_options *")
        o.size = ffi.sizeof("alk_host_options")
        o.config, o.config_len = held, len(text)
        o.workers, o.queue_events, o.queue_bytes = workers, queue_events, queue_bytes
        o.log_events = 1
        checked(lib.alk_host_new(out, o, error, ERROR_SIZE), error)
        self.h: Any = ffi.gc(out[0], lib.alk_host_free)
        for tag, operation in enumerate(operations):
            op, held = operation.struct()
            checked(lib.alk_host_add(self.h, op, tag, error, ERROR_SIZE), error)
        checked(lib.alk_host_start(self.h, error, ERROR_SIZE), error)
        loop.add_reader(lib.alk_host_fd(self.h), self.readable)
        _hosts.add(self)

    # ---- events --------------------------------------------------------------------------------

    def readable(self) -> None:
        h = self.h
        if h is None:
            return
        events = self.events
        if self.next == self.count:
            self.count = lib.alk_host_drain(h, events, EVENT_SIZE, EVENTS)
            self.next = 0
            self.batch += 1
        count = self.count
        i = self.next
        try:
            while i < count:
                event = events[i]
                i += 1
                KINDS.get(event.kind, Host.on_other)(self, h, event)
        finally:
            if self.texts:
                self.answer(h)
            # What was raised through here (by Ctrl-C, by SystemExit of a handler) loses nothing of the batch.
            self.next = i
            if i < count:
                self.loop.call_soon(self.readable)
            else:
                self.next = self.count = 0
                lib.alk_host_release(h, events, EVENT_SIZE, count)

    def on_call(self, h: Any, event: Any) -> None:
        operation = self.operations[event.tag]
        id = event.id
        try:
            value = operation.load(ffi.unpack(event.text, event.text_len))
        except BaseException as error:
            self.fail(h, id, operation, refused(error) if isinstance(error, (ValueError, RecursionError)) else error)
            if not isinstance(error, Exception):
                raise
            return
        context = self.context(self, operation, event) if operation.context else None
        if operation.direct:
            try:
                text = operation.dump(operation.invoke(value, context))
            except BaseException as error:
                self.fail(h, id, operation, error)
                if not isinstance(error, Exception):
                    raise
            else:
                self.answers.extend((id, len(text)))
                self.texts.append(text)
                if len(self.texts) == ANSWERS:
                    self.answer(h)
            return
        running = self.entries[id] = Running(self, operation)
        work = self.stream if operation.kind == lib.ALK_SUBSCRIPTION else self.single
        running.task = asyncio.Task(work(h, id, running, value, context), loop=self.loop, **EAGER)

    def answer(self, h: Any) -> None:
        answers, texts = self.answers, self.texts
        self.answers, self.texts = array.array("Q"), []
        lib.reply_all(h, ffi.from_buffer("uint64_t[]", answers), len(texts), b"".join(texts))

    def on_value(self, h: Any, event: Any) -> None:
        feed = self.entries.get(event.id)
        if feed is not None:
            feed.value(ffi.unpack(event.text, event.text_len), self.batch)

    def on_end(self, h: Any, event: Any) -> None:
        id = event.id
        entry = self.entries.pop(id, None)
        if entry is not None:
            entry.ended(event.rc, text_of(event))
        elif id in self.failed:
            self.failed.remove(id)
        elif event.rc == lib.ALK_END_FAULT:
            log.error("%s: its answer was refused: %s", self.operations[event.tag].name, text_of(event).decode())

    def on_room(self, h: Any, event: Any) -> None:
        if event.id == 0:
            waiting, self.waiting = self.waiting, deque()
            for future in waiting:
                if not future.done():
                    future.set_result(None)
            return
        running = self.entries.get(event.id)
        if running is not None and running.room is not None and not running.room.done():
            running.room.set_result(None)

    def on_up(self, h: Any, event: Any) -> None:
        link = self.entries.get(event.id)
        if link is not None:
            link.came_up(string(event.identity), string(event.address), text_of(event))

    def on_down(self, h: Any, event: Any) -> None:
        link = self.entries.get(event.id)
        if link is not None:
            link.went_down(text_of(event))

    def on_listening(self, h: Any, event: Any) -> None:
        self.listening.append(_json.decode(text_of(event)))
        log.info("listening on %s", where(self.listening[-1]))

    def on_log(self, h: Any, event: Any) -> None:
        if event.tag:
            log.warning("%d events of the log are missing", event.tag)
        fields = _json.decode(text_of(event))
        said = " ".join(f"{name}={value}" for name, value in fields.items() if name != "event")
        log.log(LEVELS.get(event.rc, logging.INFO), "%s %s", fields.get("event"), said, extra={"alknet": fields})

    def on_reloaded(self, h: Any, event: Any) -> None:
        if self.reloads:
            future = self.reloads.popleft()
            if not future.done():
                if event.rc == 0:
                    future.set_result(None)
                else:
                    future.set_exception(ConfigError(_json.decode(text_of(event))["message"]))

    def on_draining(self, h: Any, event: Any) -> None:
        self.draining = True

    def on_other(self, h: Any, event: Any) -> None:
        pass

    def on_stopped(self, h: Any, event: Any) -> None:
        self.loop.remove_reader(lib.alk_host_fd(h))
        self.close("the node has stopped")
        for future in [*self.waiting, *self.reloads]:
            if not future.done():
                future.set_exception(ClosedError(self.why_closed))
                future.exception()  # whoever waits is told; nobody has to
        if not self.stopped.done():
            self.stopped.set_result(None)

    # ---- calls to the program ------------------------------------------------------------------

    async def single(self, h: Any, id: int, running: Running, value: Any, context: Any) -> None:
        operation = running.operation
        try:
            if operation.blocking:
                result = await in_thread(self.loop, operation.invoke, value, context)
            else:
                result = await operation.invoke(value, context)
            text = operation.dump(result)
        except BaseException as error:
            self.give_up(h, id, operation, error)
            if not isinstance(error, Exception):
                raise
        else:
            lib.alk_host_reply(h, id, text, len(text))
        finally:
            self.entries.pop(id, None)

    async def stream(self, h: Any, id: int, running: Running, value: Any, context: Any) -> None:
        operation = running.operation
        count = 0
        try:
            values = operation.invoke(value, context)
            if operation.waits:
                values = await values
            values = values if hasattr(values, "__aiter__") else each(self.loop, values, operation.blocking)
            try:
                async for value in values:
                    text = operation.dump(value)
                    rc = lib.alk_host_emit(h, id, text, len(text))
                    while rc == lib.ALK_EAGAIN:
                        running.room = self.loop.create_future()
                        await running.room
                        rc = lib.alk_host_emit(h, id, text, len(text))
                    if rc != 0:
                        break
                    count += 1
                    if count % SLICE == 0:
                        await asyncio.sleep(0)
            finally:
                close = getattr(values, "aclose", None)
                if close is not None:
                    await close()
        except BaseException as error:
            self.give_up(h, id, operation, error)
            if not isinstance(error, Exception):
                raise
        else:
            lib.alk_host_complete(h, id)
        finally:
            self.entries.pop(id, None)

    def give_up(self, h: Any, id: int, operation: Operation, error: BaseException) -> None:
        """Fails a call that has not ended already: then it is its end that has cancelled the task."""
        if id in self.entries:
            self.fail(h, id, operation, error)

    def fail(self, h: Any, id: int, operation: Operation, error: BaseException) -> None:
        text = INTERNAL
        if isinstance(error, InvalidInput) or isinstance(error, CallError) and error.code not in PROTOCOL_CODES:
            try:
                text = fault_text(error)
            except Exception as worse:
                log.error("%s failed with details that are no JSON", operation.name, exc_info=worse)
        elif isinstance(error, Exception):
            log.error("%s failed", operation.name, exc_info=error)
        if lib.alk_host_fail(h, id, text, len(text)) == 0:
            self.failed.add(id)

    # ---- calls of the program ------------------------------------------------------------------

    def submit(self, request: Request, entry: Any) -> int:
        """The id of a call that has begun; 0: there is no room for it now."""
        h = self.h
        if h is None:
            raise ClosedError(self.why_closed)
        if asyncio.get_running_loop() is not self.loop:
            raise RuntimeError("the node runs on another loop; from other threads there is call_sync")
        name, input = request.name, request.input
        rc = lib.alk_host_call(h, name, len(name), input, len(input), request.options, self.id)
        if rc == lib.ALK_EAGAIN:
            return 0
        checked(rc)
        id: int = self.id[0]
        self.entries[id] = entry
        return id

    async def room(self) -> None:
        future = self.loop.create_future()
        self.waiting.append(future)
        await future

    async def call(self, request: Request, errors: Iterable[type[DomainError]], keep: bool = False) -> Any:
        future: asyncio.Future[tuple[int, bytes]] = self.loop.create_future()
        pending = Pending(future)
        id = self.submit(request, pending)
        while not id:
            await self.room()
            id = self.submit(request, pending)
        try:
            rc, text = await future
        except BaseException:
            if not keep:
                self.abort(id)
            raise
        if rc == lib.ALK_END_OK:
            return _json.decode(text)
        raise of_fault(text, errors)

    def abort(self, id: int) -> None:
        h = self.h
        if h is not None:
            lib.alk_host_abort(h, id)

    def pause(self, id: int, paused: bool) -> None:
        h = self.h
        if h is not None:
            lib.alk_host_pause(h, id, paused)

    async def dial(self, entry: Mapping[str, Any], timeout: Optional[float]) -> Link:
        h = self.h
        if h is None:
            raise ClosedError(self.why_closed)
        if asyncio.get_running_loop() is not self.loop:
            raise RuntimeError("the node runs on another loop")
        link = Link(self.loop, entry["url"])
        text = _json.encode(entry)
        error = ffi.new("char[]", ERROR_SIZE)
        checked(lib.alk_host_dial(h, text, len(text), 0, self.id, error, ERROR_SIZE), error)
        link.id = self.id[0]
        self.entries[link.id] = link
        try:
            await asyncio.wait([link.opened], timeout=timeout)
            if not link.opened.done():
                raise ConnectError("TIMEOUT", f"{link.url}: not open after {timeout} s", None, True)
            link.opened.result()
        except BaseException:
            link.opened.cancel()
            self.abort(link.id)
            raise
        return link

    async def reload(self, config: Mapping[str, Any]) -> None:
        h = self.h
        if h is None:
            raise ClosedError(self.why_closed)
        text = _json.encode(config)
        checked(lib.alk_host_reload(h, text, len(text)))
        future: asyncio.Future[None] = self.loop.create_future()
        self.reloads.append(future)
        await future

    # ---- the end -------------------------------------------------------------------------------

    def stop(self, graceful: bool) -> None:
        h = self.h
        if h is not None:
            lib.alk_host_stop(h, graceful)

    def close(self, why: str) -> None:
        self.why_closed = why
        self.h = None

    def at_exit(self) -> None:
        """Ends the library's threads before the process frees what they use."""
        h = self.h
        if h is None:
            return
        lib.alk_host_stop(h, 0)
        end = time.monotonic() + EXIT_SECONDS
        if self.loop.is_running():  # on another thread, which sees to the events
            while self.h is not None and time.monotonic() < end:
                time.sleep(0.002)
        else:
            stopped = False
            while not stopped and time.monotonic() < end:
                lib.alk_host_wait(h, 100)
                count = lib.alk_host_drain(h, self.events, EVENT_SIZE, EVENTS)
                stopped = any(self.events[i].kind == lib.ALK_HOST_STOPPED for i in range(count))
                lib.alk_host_release(h, self.events, EVENT_SIZE, count)
        self.close("the process ends")


KINDS = {
    lib.ALK_HOST_CALL: Host.on_call,
    lib.ALK_HOST_VALUE: Host.on_value,
    lib.ALK_HOST_END: Host.on_end,
    lib.ALK_HOST_ROOM: Host.on_room,
    lib.ALK_HOST_UP: Host.on_up,
    lib.ALK_HOST_DOWN: Host.on_down,
    lib.ALK_HOST_LISTENING: Host.on_listening,
    lib.ALK_HOST_LOG: Host.on_log,
    lib.ALK_HOST_RELOADED: Host.on_reloaded,
    lib.ALK_HOST_DRAINING: Host.on_draining,
    lib.ALK_HOST_STOPPED: Host.on_stopped,
}


def text_of(event: Any) -> bytes:
    return ffi.unpack(event.text, event.text_len) if event.text else b"null"


def where(listening: Mapping[str, Any]) -> str:
    """The URL of what is listened on."""
    return f"unix:{listening['path']}" if "path" in listening else str(listening["url"])


class InvalidInput(CallError):
    """The input fits the schema, but not the type that stands for it."""


def refused(error: Exception) -> InvalidInput:
    errors = [{"path": "", "keyword": "", "message": str(error)}]
    of_pydantic = getattr(error, "errors", None)
    if of_pydantic is not None:
        errors = [
            {"path": "".join(f"/{part}" for part in e["loc"]), "keyword": e["type"], "message": e["msg"]}
            for e in of_pydantic(include_url=False, include_context=False, include_input=False)[:8]
        ]
    return InvalidInput("INVALID_INPUT", errors[0]["message"], {"errors": errors})


async def shielded(future: asyncio.Future[T]) -> T:
    """Waits for what others wait for, too."""
    return await asyncio.shield(future)


def blocking_call(loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, T]) -> T:
    """Waits on this thread for what runs on the loop of another one."""
    try:
        running: Optional[asyncio.AbstractEventLoop] = asyncio.get_running_loop()
    except RuntimeError:
        running = None
    if running is loop or not loop.is_running():
        coroutine.close()
        raise RuntimeError("this would block the loop that it waits for" if running else "the loop does not run")
    future = asyncio.run_coroutine_threadsafe(coroutine, loop)
    try:
        while True:
            try:
                return future.result(1.0)
            except concurrent.futures.TimeoutError:
                if future.done():
                    raise
                if not loop.is_running():
                    raise ClosedError("the loop has ended") from None
    except BaseException:
        future.cancel()
        raise


async def in_thread(loop: asyncio.AbstractEventLoop, function: Any, *arguments: Any) -> Any:
    call = functools.partial(contextvars.copy_context().run, function, *arguments)
    return await loop.run_in_executor(None, call)


async def each(loop: asyncio.AbstractEventLoop, values: Iterable[Any], blocking: bool) -> AsyncIterator[Any]:
    iterator = iter(values)
    try:
        if not blocking:
            for value in iterator:
                yield value
        else:
            while (value := await in_thread(loop, next, iterator, DONE)) is not DONE:
                yield value
    finally:
        close = getattr(iterator, "close", None)
        if close is not None:
            close()


_hosts: weakref.WeakSet[Host] = weakref.WeakSet()


@atexit.register
def _at_exit() -> None:
    for host in list(_hosts):
        host.at_exit()


def _forked() -> None:
    # The descriptors are those of the parent: nothing of its loop may be touched here.
    for host in list(_hosts):
        host.close("the node runs in the process that this one was forked from")
    _hosts.clear()


os.register_at_fork(after_in_child=_forked)
