"""Schemas from annotations, and values between JSON and what is annotated. Both are pydantic's work, which is imported
when the first annotation asks for it."""

from __future__ import annotations

import copy
import dataclasses
import functools
import inspect
import typing
from typing import Any, Callable, Optional

NO_PYDANTIC = (
    "schemas come from annotations by pydantic, which cannot be imported: install it, or give the schemas by hand"
)


class Typed:
    """A type and its JSON."""

    def __init__(self, annotation: Any, *, output: bool) -> None:
        pydantic, generator = _pydantic()
        try:
            # Numbers that JSON cannot say are refused by the library, not made null.
            adapter = pydantic.TypeAdapter(annotation, config={"ser_json_inf_nan": "constants"})
        except pydantic.PydanticUserError as error:
            if error.code != "type-adapter-config-unused":
                raise
            adapter = pydantic.TypeAdapter(annotation)
        self.schema = adapter.json_schema(mode="serialization" if output else "validation", schema_generator=generator)
        self.load: Callable[[bytes], Any] = adapter.validate_json
        self.convert: Callable[[Any], Any] = adapter.validate_python
        self.dump: Callable[[Any], bytes] = functools.partial(adapter.dump_json, by_alias=True)


@functools.lru_cache(None)
def _pydantic() -> tuple[Any, Any]:
    try:
        import pydantic
        from pydantic.json_schema import GenerateJsonSchema
    except ImportError as error:
        raise ImportError(NO_PYDANTIC) from error

    class Generator(GenerateJsonSchema):
        """Without titles: those would say the names once more."""

        def field_title_should_be_set(self, schema: Any) -> bool:
            return False

    return pydantic, Generator


def _is_model(annotation: Any) -> bool:
    if typing.get_origin(annotation) is typing.Annotated:
        annotation = typing.get_args(annotation)[0]
    if not isinstance(annotation, type):
        return False
    return (
        dataclasses.is_dataclass(annotation)
        or hasattr(annotation, "__pydantic_validator__")
        or (issubclass(annotation, dict) and hasattr(annotation, "__total__"))
    )


def hints_of(function: Callable[..., Any]) -> dict[str, Any]:
    while isinstance(function, functools.partial):
        function = function.func
    if not (inspect.isroutine(function) or inspect.isclass(function)):
        function = type(function).__call__
    return typing.get_type_hints(function, include_extras=True)


class Parameters:
    """How the input becomes the arguments of a function.

    One parameter that is a model, a dataclass or a TypedDict is the whole input; so is the only parameter where the schema
    is given by hand. Otherwise each parameter is a member of the input.
    """

    def __init__(self, function: Callable[..., Any], hints: dict[str, Any], context: type, schema_given: bool) -> None:
        self.context: Optional[str] = None
        members: list[inspect.Parameter] = []
        for parameter in inspect.signature(function).parameters.values():
            if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD, parameter.POSITIONAL_ONLY):
                raise TypeError(
                    f"the parameter {parameter.name} can be no member of the input: it is not given by its name"
                )
            if hints.get(parameter.name) is context:
                if self.context:
                    raise TypeError("two parameters are the context")
                self.context = parameter.name
            else:
                members.append(parameter)
        self.whole: Optional[str] = None
        self.typed: Optional[Typed] = None
        self.schema: Any = None
        if len(members) == 1 and (schema_given or _is_model(hints.get(members[0].name))):
            self.whole = members[0].name
            if _is_model(hints.get(self.whole)):
                self.typed = Typed(hints[self.whole], output=False)
        elif members and not schema_given:
            self.typed = Typed(_of_members(members, hints), output=False)
            del self.typed.schema["title"]
        elif not members:
            self.schema = {"type": ["object", "null"], "maxProperties": 0}
        if self.typed:
            self.schema = self.typed.schema


def _of_members(members: list[inspect.Parameter], hints: dict[str, Any]) -> Any:
    """A dataclass of the parameters, without those of another name."""
    fields: list[Any] = []
    for parameter in sorted(members, key=lambda p: p.default is not p.empty):
        annotation = hints.get(parameter.name, Any)
        if parameter.default is parameter.empty:
            fields.append((parameter.name, annotation))
        elif type(parameter.default).__hash__ is not None:
            fields.append((parameter.name, annotation, parameter.default))
        else:
            copied = functools.partial(copy.copy, parameter.default)
            fields.append((parameter.name, annotation, dataclasses.field(default_factory=copied)))
    made = dataclasses.make_dataclass("Input", fields)
    made.__pydantic_config__ = {"extra": "forbid"}  # type: ignore[attr-defined]
    return made


def yielded(annotation: Any) -> Any:
    """T of AsyncIterator[T], Generator[T, None, None] and the like; Any if it says nothing of the values."""
    arguments = typing.get_args(annotation)
    return arguments[0] if arguments else Any


_details: dict[type, Optional[Typed]] = {}


def details_of(kind: type) -> Optional[Typed]:
    """What a subclass of CallError says of its details."""
    if kind not in _details:
        annotation = typing.get_type_hints(kind, include_extras=True)["details"]
        _details[kind] = None if annotation is Any else Typed(annotation, output=True)
    return _details[kind]
