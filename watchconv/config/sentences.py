"""pydantic's errors as sentences: where, what is wrong with it, and what to write instead.

What to write is taken from the JSON Schema of the place, so that a key says by its declaration
alone: its range, its words, its group of keys, and the names that a wrong one may have meant.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from watchconv.config.problems import Problem, near_miss, show

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from pydantic_core import ErrorDetails

    from watchconv.config.problems import Path

_UNKNOWN = ("unexpected_keyword_argument", "extra_forbidden")
_RANGE = "is out of range"
_VERDICTS = {  # by the first word of a type of error
    **dict.fromkeys(("greater", "less", "multiple"), _RANGE),
    **dict.fromkeys(("list", "tuple", "set", "frozen"), "is no list"),
    **dict.fromkeys(("dataclass", "model", "dict"), "is no group of keys"),
    **dict.fromkeys(("enum", "literal"), "is not possible"),
    "int": "is no whole number",
    "float": "is no number",
    "finite": "is no finite number",
    "bool": "is neither",
    "string_type": "is no text",
}
_KINDS = {"integer": "a whole number", "number": "a number", "boolean": "true or false"}
_KINDS |= {"string": "a text", "array": "a list", "object": "key: value lines under it"}
_ENDS = {"minimum": "from", "exclusiveMinimum": "above"}
_ENDS |= {"maximum": "to", "exclusiveMaximum": "below"}


_Told = list[tuple["Path", "ErrorDetails"]]  # each with the steps that are left to its place


def explain(
    errors: Iterable[ErrorDetails], written: dict[str, Any], schema: dict[str, Any]
) -> list[Problem]:
    """Return one problem for each place that something is wrong with."""
    told: _Told = []
    for detail in errors:
        steps = detail["loc"]
        if steps[-1:] == ("[key]",) and detail["type"] not in _UNKNOWN:
            steps = steps[:-1]  # about the name of a group, not about a key of that name
        told.append((steps, detail))
    found = _by_place(told, written, (), schema)
    return [Problem(path, _sentence(path, details, schema)) for path, details in found]


def _by_place(
    told: _Told, here: Any, path: Path, schema: dict[str, Any]
) -> Iterator[tuple[Path, list[ErrorDetails]]]:
    """Yield every place with its errors: several where each type of a union has refused a value.

    Steps that nobody has written are pydantic's, into the types of a union. Of a union that holds
    groups or lists only the type that was probably meant is heard: the one that went into the value
    and found the least wrong with it.
    """
    inner: dict[str | int, _Told] = {}
    types: dict[str | int, _Told] = {}
    for (step, *rest), detail in (one for one in told if one[0]):
        if isinstance(here, dict):  # missing, or a default, where it is not in there
            is_written = step in here or step in _keys(schema, path)
        else:
            is_written = isinstance(here, list) and isinstance(step, int)
        (inner if is_written else types).setdefault(step, []).append((tuple(rest), detail))
    yield from ((path, [detail]) for steps, detail in told if not steps)
    for step, found in inner.items():
        value = dict(here if isinstance(here, dict) else enumerate(here)).get(step)
        yield from _by_place(found, value, (*path, step), schema)
    if entered := [found for found in types.values() if any(steps for steps, _ in found)]:
        yield from _by_place(min(entered, key=len), here, path, schema)
    elif types:
        yield path, [detail for found in types.values() for _, detail in found]


def _sentence(path: Path, found: Sequence[ErrorDetails], schema: dict[str, Any]) -> str:
    """Say what is wrong with one value, and what to write instead."""
    kinds = [detail["type"] for detail in found]
    verdicts = [_VERDICTS.get(kind) or _VERDICTS.get(kind.partition("_")[0]) for kind in kinds]
    if _RANGE in verdicts:  # of the types of a union, the one that came closest
        found, verdicts = [found[verdicts.index(_RANGE)]], [_RANGE]
    elif "value_error" in kinds:
        return str(found[kinds.index("value_error")]["ctx"]["error"])
    detail = found[0]
    if detail["type"] in _UNKNOWN:
        known = _keys(schema, path[:-1])
        if near := near_miss(str(path[-1]), known):
            return f"unknown key; did you mean {near}?"
        names = f"write {', '.join(known)}" if path[1:] else "config.example.yaml names them all"
        return f"unknown key; {names}"
    nodes = _nodes(schema, path)
    if detail["type"] == "missing":
        about = next((node["description"] for node in nodes if "description" in node), None)
        return f"is missing; write it ({about or _wanted(nodes)})"
    verdict = verdicts[0] or f"is not possible ({detail['msg']})"
    if len(set(verdicts)) > 1:
        verdict = "is not possible"
    return f"{show(detail['input'])} {verdict}; write {_wanted(nodes)}"


def _wanted(nodes: Iterable[dict[str, Any]]) -> str:
    """Say what can be written, from what the schema says of it."""
    words: list[str] = []
    kinds: list[str] = []
    for node in nodes:
        if "const" in node or "enum" in node:
            words += map(str, node.get("enum") or [node["const"]])
            continue
        said = _KINDS.get(node.get("type", ""), "a value")
        if "examples" in node:
            shown = [one if isinstance(one, str) else json.dumps(one) for one in node["examples"]]
            said += f" such as {', '.join(shown)}"
        elif "properties" in node:
            said += f" ({', '.join(node['properties'])})"
        else:
            ends = [f" {word} {node[end]:.12g}" for end, word in _ENDS.items() if end in node]
            said += "".join(ends)
        kinds.append(said)
    if words:
        kinds.append(words[0] if len(words) == 1 else f"one of {', '.join(words)}")
    return ", or ".join(kinds)


def _keys(schema: dict[str, Any], path: Path) -> list[str]:
    return [name for node in _nodes(schema, path) for name in node.get("properties", ())]


def _nodes(schema: dict[str, Any], path: Path) -> list[dict[str, Any]]:
    """Return what the schema says of a place: a node for each type that its value may have."""
    nodes = list(_types(schema, schema))
    for step in path:
        inner: list[dict[str, Any]] = []
        for node in nodes:
            if isinstance(step, int):
                places = node.get("prefixItems", ())
                found = places[step] if step < len(places) else node.get("items")
            else:
                found = node.get("properties", {}).get(step) or node.get("additionalProperties")
            if isinstance(found, dict):
                inner += _types(found, schema)
        nodes = inner
    return nodes


def _types(node: dict[str, Any], schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the types of a node; what the node says beside them, each of them says too."""
    if "$ref" in node:
        target = schema["$defs"][node["$ref"].rpartition("/")[2]]
        yield from _types({**target, **{k: v for k, v in node.items() if k != "$ref"}}, schema)
    elif (several := node.get("anyOf") or node.get("oneOf")) and "examples" not in node:
        about = {key: node[key] for key in ("description",) if key in node}
        for one in several:
            yield from _types({**one, **about}, schema)
    else:
        yield node
