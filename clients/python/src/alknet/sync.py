"""For programs without asyncio: connections whose calls block. They share one loop on a thread of this module."""

from __future__ import annotations

import asyncio
import os
import threading
from typing import Any, Iterator, Optional

from . import _caller, _node
from ._caller import NOTHING, Errors
from ._host import blocking_call

__all__ = ["Connection", "connect"]

_lock = threading.Lock()
_loop: Optional[asyncio.AbstractEventLoop] = None


def _running_loop() -> asyncio.AbstractEventLoop:
    global _loop
    with _lock:
        if _loop is None:
            started = threading.Event()
            loop = asyncio.new_event_loop()
            loop.call_soon(started.set)
            threading.Thread(target=loop.run_forever, name="alknet.sync", daemon=True).start()
            started.wait()
            _loop = loop
        return _loop


def _forked() -> None:
    global _lock, _loop
    _lock, _loop = threading.Lock(), None


os.register_at_fork(after_in_child=_forked)


class Connection:
    """As that of alknet.connect, for any thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop, connection: _caller.Connection) -> None:
        self._loop = loop
        self._connection = connection

    @property
    def connected(self) -> bool:
        return self._connection.connected

    def call(
        self,
        operation: str,
        input: Any = NOTHING,
        *,
        timeout: Optional[float] = None,
        traceparent: Optional[str] = None,
        errors: Errors = (),
    ) -> Any:
        call = self._connection.call(operation, input, timeout=timeout, traceparent=traceparent, errors=errors)
        return blocking_call(self._loop, call)

    def subscribe(
        self,
        operation: str,
        input: Any = NOTHING,
        *,
        timeout: Optional[float] = None,
        traceparent: Optional[str] = None,
        errors: Errors = (),
    ) -> Iterator[Any]:
        async def begin() -> _caller.Subscription:
            return self._connection.subscribe(operation, input, timeout=timeout, traceparent=traceparent, errors=errors)

        async def take() -> Optional[list[Any]]:
            try:
                return await subscription.take()
            except StopAsyncIteration:
                return None

        subscription = blocking_call(self._loop, begin())
        try:
            while (values := blocking_call(self._loop, take())) is not None:
                yield from values
        finally:
            blocking_call(self._loop, subscription.aclose())

    def close(self) -> None:
        blocking_call(self._loop, self._connection.close())

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


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
) -> Connection:
    """As alknet.connect."""
    loop = _running_loop()

    async def open() -> _caller.Connection:
        return await _node.connect(
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

    return Connection(loop, blocking_call(loop, open()))
