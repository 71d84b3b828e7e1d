"""pydantic's errors as sentences: where, what is wrong with it, and what to write instead.

What to write is taken from the JSON Schema of the place, so that a key says by its declaration
alone: its range, its words, its group of keys, and the names that a wrong one may have meant.
"""

from __future__ import annotations

import json
from collections import defaultdict
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
_ENDS = {"minimum": "from", "exclusiveMinimum": "above"}
_ENDS |= {"maximum": "to", "exclusiveMaximum": "below"}


def explain(
    errors: Iterable[ErrorDetails], written: dict[str, Any], schema: dict[str, Any]
) -> list[Problem]:
    """Return one problem for each place that something is wrong with."""
    told = [(_steps(detail, written, schema), detail) for detail in errors]
    return [Problem(path, _sentence(path, found, schema)) for path, found in _by_place(told)]


class _Branch(str):
    """A step of pydantic's into one of the types of a union, which nobody has written."""

    __slots__ = ()


_Steps = tuple[str | int, ...]
_Told = list[tuple[_Steps, "ErrorDetails"]]


def _steps(detail: ErrorDetails, written: object, schema: dict[str, Any]) -> _Steps:
    """Return where an error is, the steps that are none in what was written marked as such."""
    steps: list[str | int] = []
    here: Any = written
    path = detail["loc"]
    if path[-1:] == ("[key]",) and detail["type"] not in _UNKNOWN:
        path = path[:-1]  # about the name of a group, not about a key of that name
    for step in path:
        place = tuple(one for one in steps if not isinstance(one, _Branch))
        keys = {name for node in _nodes(schema, place) for name in node.get("properties", ())}
        if isinstance(here, dict) and (step in here or step in keys):  # missing, or a default
            here = here.get(step)
            steps.append(step)
        elif isinstance(here, list) and isinstance(step, int):
            here = here[step] if step < len(here) else None
            steps.append(step)
        else:
            steps.append(_Branch(step))
    return tuple(steps)


def _by_place(told: _Told) -> Iterator[tuple[Path, list[ErrorDetails]]]:
    """Yield every place with its errors: several where each type of a union has refused a value.

    Of a union that holds groups or lists only the type that was probably meant is heard: the one
    that went into the value and found the least wrong with it.
    """
    unions: dict[_Steps, dict[_Branch, _Told]] = defaultdict(lambda: defaultdict(list))
    for steps, detail in told:
        at = next((n for n, step in enumerate(steps) if isinstance(step, _Branch)), None)
        if at is None:
            yield steps, [detail]
        else:
            branch = _Branch(steps[at])
            unions[steps[:at]][branch].append((steps[:at] + steps[at + 1 :], detail))
    for place, branches in unions.items():
        entered = [
            found
            for found in branches.values()
            if any(not isinstance(step, _Branch) for s, _ in found for step in s[len(place) :])
        ]
        if entered:
            yield from _by_place(min(entered, key=len))
        else:
            yield place, [detail for found in branches.values() for _, detail in found]


def _sentence(path: Path, found: Sequence[ErrorDetails], schema: dict[str, Any]) -> str:
    """Say what is wrong with one value, and what to write instead."""
    verdicts = [_verdict(detail) for detail in found]
    if _RANGE in verdicts:  # of the types of a union, the one that came closest
        at = verdicts.index(_RANGE)
        found, verdicts = [found[at]], [_RANGE]
    detail = next((one for one in found if one["type"] == "value_error"), found[0])
    kind = detail["type"]
    if kind == "value_error":
        return str(detail["ctx"]["error"])
    if kind in _UNKNOWN:
        known = [name for node in _nodes(schema, path[:-1]) for name in node.get("properties", ())]
        if near := near_miss(str(path[-1]), known):
            return f"unknown key; did you mean {near}?"
        names = (
            "config.example.yaml names them all" if not path[1:] else f"write {', '.join(known)}"
        )
        return f"unknown key; {names}"
    nodes = _nodes(schema, path)
    if kind == "missing":
        about = next((node["description"] for node in nodes if "description" in node), None)
        return f"is missing; write it ({about or _wanted(nodes)})"
    verdict = "is not possible" if len(set(verdicts)) > 1 else verdicts[0]
    return f"{show(detail['input'])} {verdict}; write {_wanted(nodes)}"


def _verdict(detail: ErrorDetails) -> str:
    known = _VERDICTS.get(detail["type"]) or _VERDICTS.get(detail["type"].partition("_")[0])
    return known or f"is not possible ({detail['msg']})"


def _wanted(nodes: Iterable[dict[str, Any]]) -> str:
    """Say what can be written, from what the schema says of it."""
    words: list[str] = []
    kinds: list[str] = []
    for node in nodes:
        if "const" in node or "enum" in node:
            words += map(str, node.get("enum") or [node["const"]])
        else:
            kinds.append(_kind(node))
    if words:
        kinds.append(words[0] if len(words) == 1 else f"one of {', '.join(words)}")
    return ", or ".join(kinds)


def _kind(node: dict[str, Any]) -> str:
    names = {"integer": "a whole number", "number": "a number", "boolean": "true or false"}
    names |= {"string": "a text", "array": "a list", "object": "key: value lines under it"}
    said = names.get(node.get("type", ""), "a value")
    if "examples" in node:
        shown = (json.dumps(one) if isinstance(one, list) else str(one) for one in node["examples"])
        return f"{said} such as {', '.join(shown)}"
    if "properties" in node:
        return f"{said} ({', '.join(node['properties'])})"
    ends = [f"{word} {node[end]:.12g}" for end, word in _ENDS.items() if end in node]
    return " ".join([said, *ends])


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
