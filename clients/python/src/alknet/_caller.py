"""Whom one calls: subscriptions, connections, and the call that a handler runs for."""

from __future__ import annotations

import warnings
from typing import Any, AsyncIterator, Awaitable, Callable, Generator, Iterable, Mapping, Optional

from . import _json
from ._errors import DomainError, of_fault
from ._host import LOW, Feed, Host, Link, Request, blocking_call, shielded
from ._native import ffi, lib
from ._operation import Operation

NOTHING: Any = {}  # the input where none is given
Errors = Iterable[type[DomainError]]


class Subscription(AsyncIterator[Any]):
    """The values of a subscription. The request goes out at once; `break`, `aclose` or dropping it abort the call.

    While more than 64 values wait here, the other side is paused.
    """

    def __init__(self, host: Host, request: Request, errors: Errors) -> None:
        self._host = host
        self._request = request
        self._errors = tuple(errors)
        self._feed = Feed(host)
        self._over = False
        self._feed.id = host.submit(request, self._feed)

    def __aiter__(self) -> Subscription:
        return self

    async def __anext__(self) -> Any:
        feed = self._feed
        if not feed.values:
            await self._wait()
        text = feed.values.popleft()
        if feed.paused and len(feed.values) <= LOW:
            feed.pause(False)
        return _json.decode(text)

    async def take(self) -> list[Any]:
        """All values that have come; waits for one."""
        feed = self._feed
        if not feed.values:
            await self._wait()
        values = [_json.decode(text) for text in feed.values]
        feed.values.clear()
        if feed.paused:
            feed.pause(False)
        return values

    async def _wait(self) -> None:
        """Until there is a value; raises what the end is."""
        feed, host = self._feed, self._host
        if feed.waiter is not None:
            raise RuntimeError("somebody waits for the next value already")
        while not feed.values:
            if self._over:
                raise StopAsyncIteration
            if feed.end is not None:
                self._over = True
                rc, text = feed.end
                if rc == lib.ALK_END_OK:
                    raise StopAsyncIteration
                raise of_fault(text, self._errors)
            if not feed.id:
                await host.room()
                feed.id = host.submit(self._request, feed)
                continue
            feed.waiter = host.loop.create_future()
            try:
                await feed.waiter
            finally:
                feed.waiter = None

    async def aclose(self) -> None:
        """Aborts the call, if it has not ended. What has come is dropped."""
        self._abort()

    async def __aenter__(self) -> Subscription:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._abort()

    def _abort(self) -> None:
        if not self._over:
            self._over = True
            self._feed.values.clear()
            self._feed.wake()
            if self._feed.id and self._feed.end is None:
                self._host.abort(self._feed.id)

    def __del__(self) -> None:
        # On whichever thread: nothing but what the library takes from any.
        feed = getattr(self, "_feed", None)
        if feed is not None and feed.id and feed.end is None and not self._over:
            self._host.abort(feed.id)


class Remote:
    """The other side of a connection, to be called."""

    def __init__(self, host: Host, id: int) -> None:
        self._host = host
        self._id = id

    async def call(
        self,
        operation: str,
        input: Any = NOTHING,
        *,
        timeout: Optional[float] = None,
        traceparent: Optional[str] = None,
        errors: Errors = (),
    ) -> Any:
        """Calls what the remote serves, and gives the result. timeout: seconds; 30 where none is given."""
        return await self._host.call(
            Request(operation, input, timeout=timeout, connection=self._id, traceparent=traceparent), errors
        )

    def subscribe(
        self,
        operation: str,
        input: Any = NOTHING,
        *,
        timeout: Optional[float] = None,
        traceparent: Optional[str] = None,
        errors: Errors = (),
    ) -> Subscription:
        """Subscribes to what the remote serves. There is no timeout where none is given."""
        request = Request(operation, input, stream=True, timeout=timeout, connection=self._id, traceparent=traceparent)
        return Subscription(self._host, request, errors)


class Connection(Remote):
    """A connection that this side has opened, and that is kept open: opened again when it is lost."""

    def __init__(self, host: Host, link: Link, owner: Optional[Callable[[bool], Awaitable[None]]] = None) -> None:
        super().__init__(host, link.id)
        self._link = link
        self._stop_owner = owner

    @property
    def connected(self) -> bool:
        return self._link.up

    @property
    def identity(self) -> Optional[dict[str, Any]]:
        """Who the remote is here; None: nobody."""
        text = self._link.identity
        return _json.decode(text) if text else None

    @property
    def address(self) -> Optional[str]:
        text = self._link.address
        return text.decode() if text else None

    async def wait_closed(self) -> int:
        """Until the connection is over for good; its close code (RFC 6455)."""
        return await shielded(self._link.closed)

    async def close(self) -> None:
        """Closes it. What was called over it fails."""
        self._host.abort(self._id)
        if self._stop_owner is not None:
            await self._stop_owner(False)
        elif not self._link.closed.done():
            await shielded(self._link.closed)

    async def __aenter__(self) -> Connection:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def __del__(self) -> None:
        if getattr(self, "_stop_owner", None) is not None and not self._link.closed.done():
            warnings.warn(f"the connection to {self._link.url} was not closed", ResourceWarning, source=self)
            self._host.stop(False)


class Connecting:
    """What connect returns: to be awaited, or entered by `async with`."""

    def __init__(self, open: Callable[[], Awaitable[Connection]]) -> None:
        self._open = open
        self._connection: Optional[Connection] = None

    def __await__(self) -> Generator[Any, None, Connection]:
        return self._open().__await__()

    async def __aenter__(self) -> Connection:
        self._connection = await self._open()
        return self._connection

    async def __aexit__(self, *_: object) -> None:
        if self._connection is not None:
            await self._connection.close()


class Context:
    """The call that a handler runs for. A parameter that is annotated with this class gets it.

    What it calls, it calls as its operation: under the authority and within the environment of that, and not for longer
    than this call.
    """

    def __init__(self, host: Host, operation: Operation, event: Any) -> None:
        timeout: int = event.timeout_ms
        self._host = host
        self._id: int = event.id
        self._connection: int = event.connection
        self._identity = _string(event.identity)
        self._originator = _string(event.originator)
        self._forwarded_for = _string(event.forwarded_for)
        self.operation = operation.name
        #: As the caller chose it.
        self.request_id = _text(event.request_id, event.request_id_len)
        #: The request_id of the call that has made this one; None: it came from outside.
        self.parent_id = _text(event.parent_id, event.parent_id_len)
        #: W3C trace context, as it came.
        self.traceparent = _string(event.traceparent)
        #: When the call times out, in the time of the loop; None: never.
        self.deadline: Optional[float] = None
        if timeout != lib.ALK_NO_TIMEOUT:
            self.deadline = host.loop.time() + timeout / 1000

    @property
    def identity(self) -> Optional[dict[str, Any]]:
        """Who calls, as access control sees it: {"id", "scopes", "resources"}; None: nobody."""
        return _json.decode(self._identity.encode()) if self._identity else None

    @property
    def originator(self) -> Optional[dict[str, Any]]:
        """Who began it all: for records, not for decisions."""
        return _json.decode(self._originator.encode()) if self._originator else None

    @property
    def forwarded_for(self) -> Optional[dict[str, Any]]:
        """For whom a peer says that it calls: for records, not for decisions."""
        return _json.decode(self._forwarded_for.encode()) if self._forwarded_for else None

    @property
    def timeout(self) -> Optional[float]:
        """The seconds that are left."""
        return None if self.deadline is None else max(0.0, self.deadline - self._host.loop.time())

    @property
    def draining(self) -> bool:
        """The node is stopping gracefully: time to finish."""
        return self._host.draining

    @property
    def connection(self) -> Optional[Remote]:
        """By which the call came, to call its other side back; None: by none."""
        return Remote(self._host, self._connection) if self._connection else None

    async def call(
        self,
        operation: str,
        input: Any = NOTHING,
        *,
        timeout: Optional[float] = None,
        peer: Optional[str] = None,
        connection: Optional[Remote] = None,
        traceparent: Optional[str] = None,
        continue_running: bool = False,
        errors: Errors = (),
    ) -> Any:
        """Calls another operation, and gives its result.

        peer: what that peer serves. connection: what its remote serves, and was imported. continue_running: it is not
        aborted when this call ends.
        """
        request = Request(
            operation,
            input,
            timeout=timeout,
            peer=peer,
            connection=connection._id if connection else 0,
            parent=self._id,
            traceparent=traceparent,
            continue_running=continue_running,
        )
        return await self._host.call(request, errors, keep=continue_running)

    def call_sync(self, operation: str, input: Any = NOTHING, **options: Any) -> Any:
        """As call, from another thread: from a handler that is blocking."""
        return blocking_call(self._host.loop, self.call(operation, input, **options))

    def subscribe(
        self,
        operation: str,
        input: Any = NOTHING,
        *,
        timeout: Optional[float] = None,
        peer: Optional[str] = None,
        connection: Optional[Remote] = None,
        traceparent: Optional[str] = None,
        errors: Errors = (),
    ) -> Subscription:
        request = Request(
            operation,
            input,
            stream=True,
            timeout=timeout,
            peer=peer,
            connection=connection._id if connection else 0,
            parent=self._id,
            traceparent=traceparent,
        )
        return Subscription(self._host, request, errors)


def _text(pointer: Any, length: int) -> Optional[str]:
    return ffi.buffer(pointer, length)[:].decode() if pointer else None


def _string(pointer: Any) -> Optional[str]:
    return ffi.string(pointer).decode() if pointer else None
