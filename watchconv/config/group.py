"""How a table of keys is declared: a group is a plain frozen dataclass, a key one of its fields.

A group of keys inherits ``Group``; it may hold others, unions of them with words and numbers,
enums and lists, and needs nothing but its declaration. What may be written of a number in a
``Literal`` is its text: ``Literal["keep", "8", "10"]``.
"""

from __future__ import annotations

from dataclasses import field
from typing import Any, ClassVar


def key(default: Any, description: str, **limits: Any) -> Any:
    """Declare a key: its default (MISSING: it must be written), and what pydantic's Field takes."""
    kind = "default_factory" if callable(default) else "default"
    limits["validate_default"] = isinstance(default, str) or callable(default)  # as if written
    return field(**{kind: default}, metadata={"description": description, **limits})


class Group:
    """A group of keys: no others can be written in it."""

    __pydantic_config__: ClassVar = {"extra": "forbid", "allow_inf_nan": False, "defer_build": True}
