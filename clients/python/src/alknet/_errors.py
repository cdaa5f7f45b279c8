"""What can go wrong, and how operations say so."""

from __future__ import annotations

from typing import Any, ClassVar, Iterable, Optional

from . import _annotations, _json

PROTOCOL_CODES = frozenset(
    ["NOT_FOUND", "FORBIDDEN", "INVALID_INPUT", "INVALID_OPERATION_TYPE", "TIMEOUT", "BUSY", "INTERNAL"]
)


class Error(Exception):
    """What this package raises on its own account. Wrong arguments are TypeError and ValueError."""


class ConfigError(Error, ValueError):
    """The configuration, or what an operation was registered with, is wrong; the message says where."""


class ClosedError(Error):
    """The node does not run, or the connection or the call is over."""


class CallError(Error):
    """A call has failed. A handler that raises one fails its call with it, unless the code is one of the protocol's."""

    code: str
    message: str
    details: Any
    retryable: bool

    def __init__(self, code: str, message: str = "", details: Any = None, retryable: bool = False) -> None:
        super().__init__(code, message, details, retryable)
        self.code = code
        self.message = message
        self.details = details
        self.retryable = retryable

    def __str__(self) -> str:
        return f"{self.code}: {self.message}" if self.message else self.code


class ConnectError(CallError, ConnectionError):
    """A connection could not be opened, or was closed for good."""


class DomainError(CallError):
    """The base of errors that operations declare. A subclass says its code, and raising it fails the call with that.

        class NotEnough(alknet.DomainError):
            '''There is not enough of it.'''
            code = "NOT_ENOUGH"
            http_status = 409
            details: Shortage

    `details`, where it is annotated, has that type on both sides; `details_schema` is a schema given by hand.
    """

    code: str = ""
    http_status: ClassVar[Optional[int]] = None
    retryable: bool = False
    details_schema: ClassVar[Any] = None

    def __init__(self, message: str = "", details: Any = None, *, retryable: Optional[bool] = None) -> None:
        kind = type(self)
        if not kind.code:
            raise TypeError(f"{kind.__qualname__} has no code")
        super().__init__(kind.code, message, details, kind.retryable if retryable is None else retryable)

    def __reduce__(self) -> Any:
        return _domain_error, (type(self), self.message, self.details, self.retryable)


def _domain_error(kind: type[DomainError], message: str, details: Any, retryable: bool) -> DomainError:
    return kind(message, details, retryable=retryable)


def error_schema(kind: type[DomainError]) -> dict[str, Any]:
    """The entry of error_schemas."""
    if not kind.code:
        raise TypeError(f"{kind.__qualname__} has no code")
    details = _annotations.details_of(kind)
    schema = kind.details_schema
    if schema is None:
        schema = details.schema if details else {}
    description = kind.__dict__.get("__doc__") or kind.code
    spec = {"code": kind.code, "description": description.strip(), "schema": schema}
    if kind.http_status is not None:
        spec["http_status"] = kind.http_status
    return spec


def fault_text(error: CallError) -> bytes:
    """What a call fails with."""
    fault: dict[str, Any] = {"code": error.code, "message": error.message, "retryable": bool(error.retryable)}
    if error.details is None:
        return _json.encode(fault)
    details = _annotations.details_of(type(error))
    text = details.dump(error.details) if details else _json.encode(error.details)
    return _json.encode(fault)[:-1] + b',"details":' + text + b"}"


def of_fault(text: bytes, declared: Iterable[type[DomainError]] = ()) -> CallError:
    """What the caller gets for the fault of a call."""
    fault = _json.decode(text)
    code, message = fault["code"], fault["message"]
    details, retryable = fault.get("details"), fault.get("retryable", False)
    for kind in declared:
        if kind.code == code:
            typed = _annotations.details_of(kind)
            if typed and details is not None:
                try:
                    details = typed.convert(details)
                except ValueError:
                    break
            return kind(message, details, retryable=retryable)
    return CallError(code, message, details, retryable)
