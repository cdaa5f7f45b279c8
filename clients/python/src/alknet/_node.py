"""Nodes: what serves operations, calls them, and opens connections."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from typing import Any, AsyncIterator, Awaitable, Callable, Generator, Mapping, Optional, Sequence, TypeVar, Union

from ._caller import NOTHING, Connecting, Connection, Context, Errors, Remote, Subscription
from ._errors import ClosedError
from ._host import Host, Request, blocking_call, milliseconds, shielded, where
from ._native import ffi, lib
from ._operation import Access, Environment, Operation, Schema

F = TypeVar("F", bound=Callable[..., Any])
Listen = Union[str, Mapping[str, Any]]
Config = Mapping[str, Any]

PREFIX = 8  # characters of a token by which its key is known
TOKEN_MIN = 24
HASH_SIZE = 65


class Node:
    """Operations, and a host of the library that serves and calls them while it runs.

    config: members of alknetd's configuration, which start may override. workers: loops that serve. queue_events and
    queue_bytes: what may wait for this program, before new calls get BUSY.
    """

    def __init__(
        self, config: Optional[Config] = None, *, workers: int = 0, queue_events: int = 0, queue_bytes: int = 0
    ) -> None:
        self._config = dict(config or {})
        self._sizes = workers, queue_events, queue_bytes
        self._operations: dict[str, Operation] = {}
        self._host: Optional[Host] = None

    # ---- what it serves ------------------------------------------------------------------------

    def _decorator(self, type: int, name: str, **options: Any) -> Callable[[F], F]:
        def decorate(function: F) -> F:
            operation = Operation(type, name, function, **options)
            if operation.name in self._operations:
                raise ValueError(f"{operation.name} is served already")
            if self.is_running:
                raise RuntimeError(f"{operation.name}: the node runs already")
            self._operations[operation.name] = operation
            return function

        return decorate

    def query(
        self,
        name: str,
        *,
        description: Optional[str] = None,
        input_schema: Optional[Schema] = None,
        output_schema: Optional[Schema] = None,
        errors: Errors = (),
        access: Optional[Access] = None,
        visibility: str = "external",
        authority: Optional[Mapping[str, Any]] = None,
        environment: Optional[Environment] = None,
        resource_id_path: Optional[str] = None,
        blocking: bool = False,
    ) -> Callable[[F], F]:
        """Serves a function under that name, as a query: it changes nothing.

        Schemas are those of the annotations unless given; the description is the docstring. errors: the subclasses of
        DomainError that it raises. access: scopes that a caller must have, or the whole rule. visibility: external, or
        internal: for operations of this node alone. authority, environment: as whom the handler calls others, and which.
        blocking: a plain function that may block runs in the loop's executor.
        """
        return self._decorator(
            lib.ALK_QUERY,
            name,
            description=description,
            input_schema=input_schema,
            output_schema=output_schema,
            errors=errors,
            access=access,
            visibility=visibility,
            authority=authority,
            environment=environment,
            resource_id_path=resource_id_path,
            blocking=blocking,
        )

    def mutation(
        self,
        name: str,
        *,
        description: Optional[str] = None,
        input_schema: Optional[Schema] = None,
        output_schema: Optional[Schema] = None,
        errors: Errors = (),
        access: Optional[Access] = None,
        visibility: str = "external",
        authority: Optional[Mapping[str, Any]] = None,
        environment: Optional[Environment] = None,
        resource_id_path: Optional[str] = None,
        blocking: bool = False,
    ) -> Callable[[F], F]:
        """As query, for what changes something."""
        return self._decorator(
            lib.ALK_MUTATION,
            name,
            description=description,
            input_schema=input_schema,
            output_schema=output_schema,
            errors=errors,
            access=access,
            visibility=visibility,
            authority=authority,
            environment=environment,
            resource_id_path=resource_id_path,
            blocking=blocking,
        )

    def subscription(
        self,
        name: str,
        *,
        description: Optional[str] = None,
        input_schema: Optional[Schema] = None,
        output_schema: Optional[Schema] = None,
        errors: Errors = (),
        access: Optional[Access] = None,
        visibility: str = "external",
        authority: Optional[Mapping[str, Any]] = None,
        environment: Optional[Environment] = None,
        resource_id_path: Optional[str] = None,
        blocking: bool = False,
    ) -> Callable[[F], F]:
        """As query, for what has any number of values: a generator, or a function that returns something to iterate over."""
        return self._decorator(
            lib.ALK_SUBSCRIPTION,
            name,
            description=description,
            input_schema=input_schema,
            output_schema=output_schema,
            errors=errors,
            access=access,
            visibility=visibility,
            authority=authority,
            environment=environment,
            resource_id_path=resource_id_path,
            blocking=blocking,
        )

    # ---- its life ------------------------------------------------------------------------------

    async def start(
        self,
        *,
        listen: Sequence[Listen] = (),
        tokens: Optional[Mapping[str, Mapping[str, Any]]] = None,
        config: Optional[Config] = None,
    ) -> None:
        """Starts it on the running loop: opens what it listens on, and what the configuration says to connect to.

        listen: "HOST:PORT", "unix:PATH", or entries of the configuration. tokens: who may call, {token: {"scopes": [...]}};
        with "id" or "resources", an entry of peers, else of keys.
        """
        if self.is_running:
            raise RuntimeError("the node runs already")
        operations = list(self._operations.values())
        for operation in operations:
            operation.prepare(Context)
        host = Host(
            asyncio.get_running_loop(), operations, self._configured(listen, tokens, config), *self._sizes, Context
        )
        self._host = host
        host.readable()

    def _configured(
        self,
        listen: Sequence[Listen],
        tokens: Optional[Mapping[str, Mapping[str, Any]]],
        config: Optional[Config],
    ) -> dict[str, Any]:
        made = {**self._config, **(config or {})}
        # At the level of alknetd, each call would be a line.
        made["log"] = {"level": "warn", **made.get("log", {})}
        if listen:
            made["listen"] = [*made.get("listen", ()), *map(_listen, listen)]
        for token, who in (tokens or {}).items():
            member, entry = _token(token, who)
            made[member] = [*made.get(member, ()), entry]
        return made

    async def serve(
        self,
        *,
        listen: Sequence[Listen] = (),
        tokens: Optional[Mapping[str, Mapping[str, Any]]] = None,
        config: Optional[Config] = None,
    ) -> None:
        """Starts it and waits until it has stopped. Cancelling this stops it at once."""
        await self.start(listen=listen, tokens=tokens, config=config)
        try:
            await self.wait_stopped()
        except BaseException:
            await self.stop(graceful=False)
            raise

    @contextlib.asynccontextmanager
    async def running(
        self,
        *,
        listen: Sequence[Listen] = (),
        tokens: Optional[Mapping[str, Mapping[str, Any]]] = None,
        config: Optional[Config] = None,
    ) -> AsyncIterator[Node]:
        """Runs it within `async with`. It stops gracefully at the end, and at once when that is an exception."""
        await self.start(listen=listen, tokens=tokens, config=config)
        try:
            yield self
        except BaseException:
            await self.stop(graceful=False)
            raise
        await self.stop()

    def run(
        self,
        *,
        listen: Sequence[Listen] = (),
        tokens: Optional[Mapping[str, Mapping[str, Any]]] = None,
        config: Optional[Config] = None,
    ) -> None:
        """Runs it on a loop of its own until it is stopped: gracefully by SIGINT (Ctrl-C) or SIGTERM, at once by a
        second one."""

        async def main() -> None:
            loop = asyncio.get_running_loop()
            await self.start(listen=listen, tokens=tokens, config=config)
            with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):  # no main thread has no signals
                for number in (signal.SIGINT, signal.SIGTERM):
                    loop.add_signal_handler(number, self._signalled)
            try:
                await self.wait_stopped()
            except BaseException:
                await self.stop(graceful=False)
                raise

        asyncio.run(main())

    def _signalled(self) -> None:
        host = self._host
        if host is not None:
            self.stop(graceful=not host.draining)

    def stop(self, *, graceful: bool = True) -> Awaitable[None]:
        """Stops it: gracefully, so that what runs may end within limits.drain_ms; or at once.

        It begins with the call, from whichever thread. Awaiting what this returns waits until it has stopped; a handler
        whose node stops gracefully would wait for itself.
        """
        host = self._host
        if host is not None:
            host.stop(graceful)
        return _Stopped(host)

    async def wait_stopped(self) -> None:
        """Until it has stopped."""
        await _Stopped(self._host)

    async def reload(
        self,
        *,
        listen: Sequence[Listen] = (),
        tokens: Optional[Mapping[str, Mapping[str, Any]]] = None,
        config: Optional[Config] = None,
    ) -> None:
        """Takes another configuration. ConfigError: nothing has changed. Listeners, among others, stay as they are."""
        await self._running().reload(self._configured(listen, tokens, config))

    @property
    def is_running(self) -> bool:
        return self._host is not None and self._host.h is not None

    @property
    def listening(self) -> list[str]:
        """Where it listens: URLs, and unix:PATH."""
        host = self._host
        return [where(entry) for entry in host.listening] if host is not None and host.h is not None else []

    def _running(self) -> Host:
        if self._host is None:
            raise ClosedError("the node does not run")
        if self._host.h is None:
            raise ClosedError(self._host.why_closed)
        return self._host

    # ---- calls ---------------------------------------------------------------------------------

    async def call(
        self,
        operation: str,
        input: Any = NOTHING,
        *,
        timeout: Optional[float] = None,
        identity: Optional[Mapping[str, Any]] = None,
        peer: Optional[str] = None,
        connection: Optional[Remote] = None,
        traceparent: Optional[str] = None,
        errors: Errors = (),
    ) -> Any:
        """Calls an operation, and gives its result; CallError when it fails.

        What is called: what this node serves, and then what its peers serve; or what that peer serves, or the remote of
        that connection. timeout: seconds; limits.deadline_ms (30 s) where none is given, math.inf for none. identity: as
        whom, {"id", "scopes", "resources"}; None: as nobody. errors: subclasses of DomainError that are to be raised for
        their codes. Cancelling the task aborts the call.
        """
        request = Request(
            operation,
            input,
            timeout=timeout,
            identity=identity,
            peer=peer,
            connection=connection._id if connection else 0,
            traceparent=traceparent,
        )
        return await self._running().call(request, errors)

    def call_sync(self, operation: str, input: Any = NOTHING, **options: Any) -> Any:
        """As call, from another thread than the loop's."""
        return blocking_call(self._running().loop, self.call(operation, input, **options))

    def subscribe(
        self,
        operation: str,
        input: Any = NOTHING,
        *,
        timeout: Optional[float] = None,
        identity: Optional[Mapping[str, Any]] = None,
        peer: Optional[str] = None,
        connection: Optional[Remote] = None,
        traceparent: Optional[str] = None,
        errors: Errors = (),
    ) -> Subscription:
        """The values of a subscription, for `async for`. Options are those of call; where no timeout is given, there is
        none."""
        request = Request(
            operation,
            input,
            stream=True,
            timeout=timeout,
            identity=identity,
            peer=peer,
            connection=connection._id if connection else 0,
            traceparent=traceparent,
        )
        return Subscription(self._running(), request, errors)

    def connect(
        self,
        url: str,
        *,
        token: Optional[str] = None,
        key: Optional[str] = None,
        certificate: Optional[str] = None,
        ca: Optional[str] = None,
        pin: Optional[str] = None,
        peer: Optional[str] = None,
        imports: Optional[Mapping[str, Any]] = None,
        reconnect: bool = True,
        spread: Optional[float] = None,
        timeout: Optional[float] = 10.0,
    ) -> Connecting:
        """Opens a connection, over which this node also serves; see alknet.connect.

        peer: who the remote is here, one of the configuration's peers. imports: {"namespace_prefix", "operations"}: what it
        serves becomes operations of this node.
        """
        entry = _entry(url, token, key, certificate, ca, pin, peer, imports, reconnect, spread)

        async def open() -> Connection:
            host = self._running()
            return Connection(host, await host.dial(entry, timeout))

        return Connecting(open)


class _Stopped(Awaitable[None]):
    def __init__(self, host: Optional[Host]) -> None:
        self._host = host

    def __await__(self) -> Generator[Any, None, None]:
        if self._host is not None:
            yield from shielded(self._host.stopped).__await__()


def connect(
    url: str,
    *,
    token: Optional[str] = None,
    key: Optional[str] = None,
    certificate: Optional[str] = None,
    ca: Optional[str] = None,
    pin: Optional[str] = None,
    reconnect: bool = True,
    spread: Optional[float] = None,
    timeout: Optional[float] = 10.0,
    node: Optional[Node] = None,
) -> Connecting:
    """Opens a connection to a node: `conn = await connect(...)`, or `async with connect(...) as conn`.

    url: ws://, wss://, alknet:// (QUIC), alknet+tls://, ws+unix:PATH, alknet+unix:PATH. key, certificate, ca: files in PEM;
    pin: the fingerprint of the remote. ConnectError when the first attempt fails, or has not succeeded in timeout seconds.
    A connection that was lost is opened again at some time within spread seconds (6), unless reconnect is False. node: whose
    operations are served over it; without one, the connection has a node of its own, which ends with it.
    """
    if node is not None:
        return node.connect(
            url,
            token=token,
            key=key,
            certificate=certificate,
            ca=ca,
            pin=pin,
            reconnect=reconnect,
            spread=spread,
            timeout=timeout,
        )
    # It serves nothing, and so has nothing to say to those who would import that.
    entry = {**_entry(url, token, key, certificate, ca, pin, None, None, reconnect, spread), "announce": False}

    async def open() -> Connection:
        own = Node({"log": {"level": "error"}})  # an attempt that fails is told by what is raised
        await own.start()
        try:
            host = own._running()
            return Connection(host, await host.dial(entry, timeout), lambda graceful: own.stop(graceful=graceful))
        except BaseException:
            await own.stop(graceful=False)
            raise

    return Connecting(open)


def _entry(
    url: str,
    token: Optional[str],
    key: Optional[str],
    certificate: Optional[str],
    ca: Optional[str],
    pin: Optional[str],
    peer: Optional[str],
    imports: Optional[Mapping[str, Any]],
    reconnect: bool,
    spread: Optional[float],
) -> dict[str, Any]:
    """Of the configuration's connect."""
    for wrong, right in (("http://", "ws://"), ("https://", "wss://")):
        if url.startswith(wrong):
            raise ValueError(f"{url}: a connection for calls is opened by {right}{url[len(wrong):]}")
    entry = {
        "url": url,
        "token": token,
        "key": key,
        "certificate": certificate,
        "ca_file": ca,
        "pin": pin,
        "peer": peer,
        "import": imports,
        "reconnect": reconnect,
        "spread": None if spread is None else milliseconds(spread),
    }
    return {member: value for member, value in entry.items() if value is not None}


def _listen(where: Listen) -> Mapping[str, Any]:
    if not isinstance(where, str):
        return where
    if where.startswith("unix:"):
        return {"unix": where[len("unix:") :]}
    host, colon, port = where.rpartition(":")
    if not colon or not port.isdecimal():
        raise ValueError(f"{where!r} is neither HOST:PORT nor unix:PATH")
    return {"host": host.strip("[]"), "port": int(port)}


def _token(token: str, who: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The member of the configuration, and its entry."""
    if len(token) < TOKEN_MIN:
        raise ValueError(f"a token has {TOKEN_MIN} characters at least")
    text, out = token.encode(), ffi.new("char[]", HASH_SIZE)
    lib.alk_token_hash(text, len(text), out)
    hashed = ffi.string(out).decode()
    entry = {"scopes": [], **who}
    if "id" in entry or "resources" in entry:
        entry["peer_id"] = entry.pop("id", token[:PREFIX])
        return "peers", {**entry, "auth_token_hashes": [hashed]}
    return "keys", {**entry, "prefix": token[:PREFIX], "hash": hashed}
