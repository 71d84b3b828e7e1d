"""The configuration shown: as YAML with every value in effect, as JSON Schema for editors.

Guarantees: what ``effective_yaml`` gives can be loaded again and means the same, where every
path is UTF-8. Does not repeat the built-in profiles: ``watchconv profiles`` shows them.

Errors: none.
"""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

import yaml
from pydantic.json_schema import GenerateJsonSchema

from watchconv.config.keys import Config

if TYPE_CHECKING:
    from collections.abc import Mapping

    from watchconv.config.keys import ProfileKeys

# What a person writes where the finished value is None.
_WORDS = {
    "extensions": "any",
    "scan_seconds": "auto",
    "ffmpeg": "auto",
    "owner": "inherit",
    "group": "inherit",
    "mode": "inherit",
    "directory_mode": "inherit",
}
_UNITS = ("", "KiB", "MiB", "GiB", "TiB", "PiB")


def effective_yaml(config: Config) -> str:
    """Write every key with the value that is in effect."""
    shown = {key: _show(key, getattr(config, key)) for key in Config.model_fields}
    return yaml.safe_dump(shown, sort_keys=False, default_flow_style=None, allow_unicode=True)


def schema() -> dict[str, Any]:
    """Give the JSON Schema of the file, with the defaults as a person writes them."""
    document = Config.model_json_schema(schema_generator=_Schema)
    for key, word in {**_WORDS, "jobs": "auto"}.items():
        if document["properties"][key].get("default") is None:
            document["properties"][key]["default"] = word
    return document


class _Schema(GenerateJsonSchema):
    ignored_warning_kinds = {"skipped-choice", "non-serializable-default"}  # noqa: RUF012 (theirs)


def _show(key: str, value: Any) -> Any:
    match key:
        case _ if value is None:
            return _WORDS[key]
        case "mode" | "directory_mode":
            return f"{value:04o}"
        case "min_free" | "max_output" | "address_space":
            return _size(value)
        case "time_limit":
            return {part: _show(part, number) for part, number in value}
        case "profiles":
            return _profiles(value)
    match value:
        case str():
            return str(value)
        case tuple():
            return list(value)
        case float() if value.is_integer():
            return int(value)
    return value


def _profiles(profiles: Mapping[str, ProfileKeys]) -> dict[str, dict[str, str]]:
    return {
        name: {"suffix": keys.suffix, "args": shlex.join(keys.args), "verify": str(keys.verify)}
        for name, keys in profiles.items()
    }


def _size(count: int) -> str | int:
    power = 0
    while count and count % 1024 == 0 and power < len(_UNITS) - 1:
        count //= 1024
        power += 1
    return f"{count}{_UNITS[power]}" if power else count
