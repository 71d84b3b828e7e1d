"""Dataclasses as a schema: what was written becomes one of them, and it is written again.

Works for any dataclass that is declared as ``keys`` declares its own, however deep it nests.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

# looking for plugins means reading the metadata of every installed package: 15 ms for nothing
os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")

from pydantic import TypeAdapter, ValidationError
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import SchemaError, SchemaSerializer

from watchconv.config import values

if TYPE_CHECKING:
    from pydantic.json_schema import JsonSchemaValue
    from pydantic_core import core_schema

    from watchconv.config.problems import Problem

T = TypeVar("T")


def read(kind: type[T], written: dict[str, Any], folder: str) -> tuple[T | None, list[Problem]]:
    """Return the value that was written, or None and all that is wrong with it.

    folder is what relative paths are relative to.
    """
    try:
        value: T = _adapter(kind).validate_python(written, context={"folder": folder})
    except ValidationError as error:
        from watchconv.config.sentences import explain

        return None, explain(error.errors(include_url=False), written, describe(kind))
    return value, []


def write(kind: type[T], value: T, *, defaults: bool = True) -> Any:
    """Return plain values, as a person would write them; ``read`` makes the same of them.

    defaults: also where they say no more than their key's default.
    """
    written = _adapter(kind).dump_python(value, mode="json", exclude_defaults=not defaults)
    return _tidy(written)


def describe(kind: type[Any]) -> dict[str, Any]:
    """Return the JSON Schema of what can be written, the defaults as a person writes them."""
    return _adapter(kind).json_schema(schema_generator=_Written)


_adapters: dict[Any, TypeAdapter[Any]] = {}


def _adapter(kind: Any) -> TypeAdapter[Any]:
    """Have pydantic read a dataclass, whose annotations may name the types of ``values``."""
    if kind not in _adapters:
        _adapters[kind] = TypeAdapter(kind)
        _adapters[kind].rebuild(force=True, _types_namespace={"v": values})
    return _adapters[kind]


def _tidy(value: Any) -> Any:
    match value:
        case dict():
            return {key: _tidy(inner) for key, inner in value.items() if inner is not None}
        case list():
            return [_tidy(inner) for inner in value]
        case float() if value.is_integer():
            return int(value)
    return value


class _Written(GenerateJsonSchema):
    """Describes what can be written, where pydantic describes the finished values."""

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        """Write the default as its key would be; None that no word stands for is no default."""
        described = super().default_schema(schema)
        with suppress(KeyError, SchemaError):  # made later, or of a group that several keys have
            written = SchemaSerializer(schema["schema"]).to_python(schema["default"], mode="json")
            described["default"] = _tidy(written)
        if described.get("default", 0) is None:
            del described["default"]
        return described

    def nullable_schema(self, schema: core_schema.NullableSchema) -> JsonSchemaValue:
        """Leave null out: a key without a value is refused."""
        return self.generate_inner(schema["schema"])
