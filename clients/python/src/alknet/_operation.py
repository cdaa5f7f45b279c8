"""An operation that a node serves: a function, and what is said of it."""

from __future__ import annotations

import inspect
from typing import Any, Callable, Iterable, Mapping, Optional, Sequence, Union

from . import _annotations, _json
from ._errors import ConfigError, DomainError, error_schema
from ._native import ffi, lib

Schema = Union[Mapping[str, Any], bool]
Access = Union[Mapping[str, Any], Sequence[str]]
Environment = Union[Mapping[str, Any], Sequence[str]]

VISIBILITY = {"external": lib.ALK_EXTERNAL, "internal": lib.ALK_INTERNAL_ONLY}


def native_text(text: str, what: str) -> bytes:
    """For members of structs, which end with NUL."""
    if "\0" in text:
        raise ValueError(f"{what} has a NUL in it: {text!r}")
    return text.encode()


class Operation:
    kind: int
    direct: bool  # answers when it is called

    def __init__(
        self,
        kind: int,
        name: str,
        function: Callable[..., Any],
        *,
        description: Optional[str],
        input_schema: Optional[Schema],
        output_schema: Optional[Schema],
        errors: Iterable[type[DomainError]],
        access: Optional[Access],
        visibility: str,
        authority: Optional[Mapping[str, Any]],
        environment: Optional[Environment],
        resource_id_path: Optional[str],
        blocking: bool,
    ) -> None:
        if visibility not in VISIBILITY:
            raise ValueError(f"{name}: visibility is external or internal, not {visibility!r}")
        called = function if inspect.isroutine(function) else getattr(function, "__call__")
        generates = inspect.isgeneratorfunction(called) or inspect.isasyncgenfunction(called)
        waits = inspect.iscoroutinefunction(called) or inspect.iscoroutinefunction(function)
        if generates and kind != lib.ALK_SUBSCRIPTION:
            raise TypeError(f"{name}: a query or mutation has one result; what yields is a subscription")
        if blocking and (waits or inspect.isasyncgenfunction(called)):
            raise TypeError(f"{name}: blocking is for plain functions")
        self.kind = kind
        self.name = native_text(name, "the name of an operation").decode().lstrip("/")
        self.function = function
        if description is None and inspect.isroutine(function):
            description = inspect.getdoc(function)
        self.description = description
        self.input_schema = input_schema
        self.output_schema = output_schema
        self.errors = list(errors)
        self.access = access
        self.visibility = visibility
        self.authority = authority
        self.environment = environment
        self.resource_id_path = resource_id_path
        self.blocking = blocking
        self.waits = waits
        self.direct = not (waits or blocking or kind == lib.ALK_SUBSCRIPTION)
        self.prepared = False

    def prepare(self, context: type) -> None:
        """Looks at the annotations. Not before the node starts, so that they may name what is defined later."""
        if self.prepared:
            return
        try:
            self._prepare(context)
        except Exception as error:
            raise ConfigError(f"{self.name}: {error}") from error
        self.prepared = True

    def _prepare(self, context: type) -> None:
        hints = _annotations.hints_of(self.function)
        parameters = _annotations.Parameters(self.function, hints, context, self.input_schema is not None)
        self.context = parameters.context is not None
        self.load = parameters.typed.load if parameters.typed else _json.decode
        if self.input_schema is None:
            self.input_schema = parameters.schema
        self.invoke = _invoke(self.function, parameters)
        returned = hints.get("return", Any)
        if self.kind == lib.ALK_SUBSCRIPTION:
            returned = _annotations.yielded(returned)
        self.dump: Callable[[Any], bytes] = _json.encode
        if self.output_schema is None and returned is not Any:
            typed = _annotations.Typed(returned, output=True)
            self.output_schema = typed.schema
            self.dump = typed.dump
        self.error_schemas = [error_schema(kind) for kind in self.errors]

    def members(self) -> dict[str, Optional[bytes]]:
        """Of the struct alk_operation."""
        access, environment = self.access, self.environment
        if access is not None and not isinstance(access, Mapping):
            access = {"required_scopes": list(access)}
        if environment is not None and not isinstance(environment, Mapping):
            environment = {"allowed_ops": list(environment)}

        def text(value: Any) -> Optional[bytes]:
            return None if value is None else _json.encode(value)

        return {
            "name": self.name.encode(),
            "description": self.description.encode() if self.description else None,
            "input_schema": text(self.input_schema),
            "output_schema": text(self.output_schema),
            "error_schemas": text(self.error_schemas or None),
            "access_control": text(access),
            "resource_id_path": self.resource_id_path.encode() if self.resource_id_path else None,
            "authority": text(self.authority),
            "environment": text(environment),
        }

    def struct(self) -> tuple[Any, Any]:
        """It, and what has to live as long as it."""
        o = ffi.new("alk_operation *")
        lib.alk_operation_init(o, ffi.sizeof("alk_operation"))
        o.type = self.kind
        o.visibility = VISIBILITY[self.visibility]
        held = []
        for member, text in self.members().items():
            if text is not None:
                held.append(ffi.new("char[]", text))
                setattr(o, member, held[-1])
                if member in ("description", "resource_id_path"):
                    setattr(o, f"{member}_len", len(text))
        return o, held


def _invoke(function: Callable[..., Any], parameters: _annotations.Parameters) -> Callable[[Any, Any], Any]:
    """A function of the input and the context."""
    whole, context = parameters.whole, parameters.context
    if parameters.typed and not whole:
        if context:
            return lambda value, given: function(**vars(value), **{context: given})
        return lambda value, given: function(**vars(value))
    if whole:
        if context:
            return lambda value, given: function(**{whole: value, context: given})
        return lambda value, given: function(**{whole: value})
    if context:
        return lambda value, given: function(**(value or {}), **{context: given})
    return lambda value, given: function(**(value or {}))
