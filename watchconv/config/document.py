"""YAML as it was written: words, groups, lists, and the line of each.

YAML's guesses are not used: a scalar stays the text that stands in the file, so that ``off`` is a
word, ``0664`` keeps its zero and ``1080`` can name a profile; the keys decide the types. No file
can make this hang, crash or eat memory: size, depth and number of values are bounded, before the
recursive C composer sees them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import yaml

from watchconv.config.problems import Problem

if TYPE_CHECKING:
    from watchconv.config.problems import Path

LARGEST_BYTES = 1 << 20
DEEPEST = 20
MOST_VALUES = 20_000

# The C loader is ten times faster, and gives marks too; PyYAML may have been built without it.
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_TAG = "tag:yaml.org,2002:"
_TEXT = {_TAG + word for word in ("str", "timestamp", "value", "merge")}
_GUESSED = {_TAG + word for word in ("int", "float", "bool")}
_NULL = f"{_TAG}null"
_CONTROL = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_TOO_DEEP = f"is nested more than {DEEPEST} levels deep"
_HINTS = {
    **dict.fromkeys(("alias", "anchor"), "text that starts with * or & needs quotes around it"),
    "mapping values": "text with a colon and a space in it needs quotes around it",
    "cannot start any token": "indent with spaces, not tabs; text that starts with @, ` or % needs"
    " quotes around it",
    "quoted scalar": "a quote is not closed",
    "flow": "a bracket or brace is not closed",
    "another document": "keep one, without a second ---",
}


class Plain(str):
    """A scalar that YAML would have made a number or a truth value of."""


class Unreadable(Exception):  # noqa: N818 (a state of the file; load makes a ConfigError of it)
    """The text has no structure that could be looked at, from this line on."""

    def __init__(self, line: int | None, text: str) -> None:
        super().__init__(text)
        self.line = line


@dataclass(slots=True)
class Document:
    """What a YAML text says.

    ``lines`` holds the line (from 1) of every path in ``values``, ``empty`` the paths that are
    written without a value (nothing, ``~`` or ``null``); their value here is "".
    """

    values: dict[str, Any] = field(default_factory=dict)
    lines: dict[Path, int] = field(default_factory=dict)
    empty: list[Path] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    _room: int = MOST_VALUES

    def line(self, path: Path) -> int | None:
        """Return the line of a path, or of the nearest thing around it that has one."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path)

    def read(self, node: yaml.Node, path: Path) -> Any:
        """Return the value of a node; path is where it stands. Aliases are written out.

        Raises Unreadable for too much.
        """
        self._room -= 1
        if self._room < 0 or len(path) > DEEPEST:
            line = self.line(path[:1])
            raise Unreadable(line, "says too much; are there anchors inside anchors?")
        if isinstance(node, yaml.MappingNode):
            group: dict[str, Any] = {}
            for key, value in node.value:
                name, line = key.value, _line(key)
                if not isinstance(key, yaml.ScalarNode):
                    self._complain(path, line, "a list or a group cannot be a key; write a word")
                elif name in group:
                    first = self.lines[*path, name]
                    self._complain((*path, name), line, f"is already set in line {first}; keep one")
                else:
                    self.lines[*path, name] = line
                    group[name] = self.read(value, (*path, name))
            self._check_tag(node, path, f"{_TAG}map")
            return group
        if isinstance(node, yaml.SequenceNode):
            self._check_tag(node, path, f"{_TAG}seq")
            items = []
            for index, item in enumerate(node.value):
                self.lines[*path, index] = _line(item)
                items.append(self.read(item, (*path, index)))
            return items
        if node.tag in _GUESSED:
            return Plain(node.value)
        if node.tag == _NULL:
            self.empty.append(path)
            return ""
        self._check_tag(node, path, *_TEXT)
        if not node.value.isascii() and _CONTROL.search(node.value):
            self._complain(path, _line(node), "holds a character that is none (half of a pair)")
            return ""
        return node.value

    def _check_tag(self, node: yaml.Node, path: Path, *allowed: str) -> None:
        if node.tag not in allowed:
            tag = node.tag.replace(_TAG, "!!")
            self._complain(path, _line(node), f"the tag {tag} means nothing here; remove it")

    def _complain(self, path: Path, line: int, text: str) -> None:
        self.problems.append(Problem(path, text, line))


def parse(content: bytes) -> Document:
    """Read one YAML text whose outermost level holds keys. Raises Unreadable."""
    if len(content) > LARGEST_BYTES:
        raise Unreadable(None, f"is larger than {LARGEST_BYTES} bytes; is it a configuration?")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise Unreadable(line, "is not text in UTF-8; save it as UTF-8") from error
    if odd := _CONTROL.search(text):
        line = text.count("\n", 0, odd.start()) + 1
        raise Unreadable(line, f"holds the control character {odd[0]!r}; is it a text file?")
    try:
        node = _compose(text)
    except yaml.MarkedYAMLError as error:
        mark, said = error.problem_mark, ", ".join(filter(None, (error.context, error.problem)))
        hint = next((hint for word, hint in _HINTS.items() if word in said), "check its indent")
        if error.context_mark and hint.endswith("not closed"):
            mark = error.context_mark
        why = f"this is not YAML ({said}); {hint}"
        if "nesting depth" in said:  # newer libyamls count too, ahead of us
            why = _TOO_DEEP
        raise Unreadable(mark.line + 1 if mark else None, why) from error
    if node is None or node.tag == _NULL:
        raise Unreadable(None, "holds no keys; config.example.yaml shows them all")
    if not isinstance(node, yaml.MappingNode):
        raise Unreadable(_line(node), "holds no keys, only a list or a word; write key: value")
    document = Document()
    document.values = document.read(node, ())
    return document


def _compose(text: str) -> yaml.Node | None:
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > DEEPEST:  # it would overflow the composer's C stack (seen: a crash at 5000)
            raise Unreadable(_line(event), _TOO_DEEP)
    return yaml.compose(text, Loader=_Loader)


def _line(node: yaml.Node | yaml.Event) -> int:
    return (node.start_mark.line if node.start_mark else 0) + 1
