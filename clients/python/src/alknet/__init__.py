"""libalknet for Python: operations with schemas and access control, served and called from asyncio."""

from ._version import __version__


def _check(version: str) -> None:
    if version != __version__:
        raise ImportError(
            f"the package alknet {__version__} needs libalknet {__version__}, and this is libalknet {version}"
        )


def _library() -> str:
    from ._native import ffi, lib

    return ffi.string(lib.alk_version()).decode()  # type: ignore[no-any-return]


_check(_library())

from . import sync  # noqa: E402
from ._caller import Connection, Context, Remote, Subscription  # noqa: E402
from ._errors import (  # noqa: E402
    CallError,
    ClosedError,
    ConfigError,
    ConnectError,
    DomainError,
    Error,
)
from ._node import Node, connect  # noqa: E402

__all__ = [
    "CallError",
    "ClosedError",
    "ConfigError",
    "ConnectError",
    "Connection",
    "Context",
    "DomainError",
    "Error",
    "Node",
    "Remote",
    "Subscription",
    "connect",
    "sync",
]
