"""JSON as it goes to the library and comes from it: UTF-8, whole numbers of any size, no NaN."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

_scan = getattr(json.JSONDecoder(), "scan_once")


def _other(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if hasattr(value, "__pydantic_serializer__"):
        return getattr(value, "model_dump")(mode="json", by_alias=True)
    raise TypeError(f"{type(value).__qualname__} is nothing that JSON can say")


_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_other).encode


def encode(value: Any) -> bytes:
    """TypeError, ValueError or RecursionError for what JSON cannot say."""
    return _encode(value).encode()


def decode(text: bytes) -> Any:
    """Of text that the library has made. ValueError for numbers that are too long for Python."""
    return _scan(text.decode(), 0)[0]
