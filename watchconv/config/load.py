"""Find the configuration, read it, and say everything that is wrong with it at once.

Guarantees: a ``Config`` without conflicts, or one ``ConfigError`` with all problems in the order
of the file, each ``FILE:LINE: dotted.key: what is wrong; what to write instead``.

Does not look at what may heal by itself: whether folders exist, whether ffmpeg has an encoder.

Errors: ``ConfigError`` only.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from watchconv.config.conflicts import FOLDERS, find_conflicts
from watchconv.config.document import LARGEST_BYTES, Document, Path, Problem, Unreadable, parse
from watchconv.config.keys import Config, ProfileKeys, TimeLimit
from watchconv.config.values import show
from watchconv.errors import ConfigError
from watchconv.names import printable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pydantic import BaseModel
    from pydantic_core import ErrorDetails

# Looks at what is sound, in a configuration whose other keys are broken, for what else is wrong.
Demands = Callable[[Config, Collection[str]], Iterable[tuple[Path, str]]]


def nothing_more(config: Config, broken: Collection[str]) -> Iterable[tuple[Path, str]]:
    """Demand nothing of a configuration but that it is sound in itself."""
    return ()


VARIABLE = "WATCHCONV_CONFIG"
PLACES = ("config.yaml", "~/.config/watchconv/config.yaml", "/etc/watchconv/config.yaml")
# Left without a value, these say "nothing of mine"; any other key says nothing at all.
_MAY_BE_EMPTY = frozenset({"profiles", "ignore"})


class NoConfigError(ConfigError):
    """Nothing was said, and there is nothing at any of the usual places."""


def find_config(environ: Mapping[str, str], places: tuple[str, ...] = PLACES) -> str:
    """Give the path of the configuration: $WATCHCONV_CONFIG, else the first place that is there."""
    if chosen := environ.get(VARIABLE):
        if not os.path.lexists(chosen):
            raise ConfigError(
                f"no configuration: ${VARIABLE} names {chosen}, and there is no such file;"
                " correct it, or unset it"
            )
        return chosen
    home = environ.get("HOME") or os.path.expanduser("~")
    for place in places:
        path = home + place[1:] if place.startswith("~") else place
        if os.path.lexists(path):
            return path
    named = ", ".join(f"./{place}" if place[0] not in "~/" else place for place in places)
    raise NoConfigError(
        f"no configuration: ${VARIABLE} is not set, and there is none of {named}; "
        "write one (config.example.yaml shows every key), or use --root DIR"
    )


def load_config(path: str, demands: Demands = nothing_more) -> Config:
    """Read a file; relative paths in it are relative to the folder that it is in.

    demands looks for more that is wrong, and is told together with the rest.
    """
    try:
        document = parse(_read(path))
    except Unreadable as error:
        raise _refuse(path, [error.problem]) from error
    folder = os.path.dirname(os.path.abspath(path))
    return _build(document, path, folder, demands)


def config_for_root(root: str, demands: Demands = nothing_more) -> Config:
    """Give the configuration of ``--root DIR``: its five folders, everything else by default."""
    if os.path.lexists(root) and not os.path.isdir(root):
        raise _refuse(root, [Problem((), "is not a folder; --root takes one, or makes it")])
    try:
        # Absolute, so that a DIR named ~ is not taken for somebody's home.
        folder = os.path.abspath(root)
    except OSError as error:
        raise _refuse(root, [Problem((), f"cannot be found ({error.strerror})")]) from error
    values = {key: os.path.join(folder, key) for key in FOLDERS}
    values["state"] = os.path.join(folder, ".state")
    return _build(Document(values), root, "/", demands)


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(LARGEST_BYTES + 1)
    except IsADirectoryError as error:
        raise Unreadable(None, "is a folder; name the file in it, or use --root") from error
    except FileNotFoundError as error:
        raise Unreadable(None, "there is no such file; name another, or use --root DIR") from error
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise Unreadable(None, f"cannot be read ({why}); check its name and rights") from error


def _build(document: Document, where: str, folder: str, demands: Demands) -> Config:
    values = dict(document.values)
    problems = document.problems + list(_empty(document, values))
    try:
        config = Config.model_validate(values, context={"folder": folder})
    except ValidationError as error:
        problems += [_explain(detail) for detail in error.errors(include_url=False)]
        # What is sound is looked at all the same: a person is told everything at once.
        sound = {key: values[key] for key in values.keys() - _keys(problems)}
        sound["profiles"] = _sound_profiles(values.get("profiles"), problems)
        sound.setdefault("state", "/")
        config = Config.model_validate(sound, context={"folder": folder})
    written = values.get("profiles")
    names = written if isinstance(written, dict) else ()
    problems += find_conflicts(config, _keys(problems), names)
    problems += [Problem(*found) for found in demands(config, _keys(problems))]
    if problems:
        raise _refuse(where, problems, document)
    return config


def _sound_profiles(written: object, problems: list[Problem]) -> dict[str, Any]:
    wrong = {problem.path[:2] for problem in problems}
    if not isinstance(written, dict) or ("profiles",) in wrong:
        return {}
    return {name: keys for name, keys in written.items() if ("profiles", name) not in wrong}


def _empty(document: Document, values: dict[str, Any]) -> Iterator[Problem]:
    for path in document.empty:
        if len(path) == 1 and path[0] in _MAY_BE_EMPTY:
            del values[str(path[0])]
        else:
            yield Problem(path, "has no value; write one, or remove the line")


def _keys(problems: list[Problem]) -> set[str]:
    return {str(problem.path[0]) for problem in problems if problem.path}


def _explain(detail: ErrorDetails) -> Problem:
    """Make a sentence of one of pydantic's errors."""
    path = detail["loc"]
    if detail["type"] == "value_error" and path[-1] == "[key]":
        path = path[:-1]  # about the name of a profile, not about a key of that name
    match detail["type"]:
        case "value_error":
            text = str(detail["ctx"]["error"])
        case "extra_forbidden":
            text = _unknown_key(path)
        case "missing":
            text = f"is missing; write it ({ProfileKeys.model_fields[str(path[-1])].description})"
        case "model_type" | "mapping_type" | "dict_type":
            text = f"{show(detail['input'])} is no group of keys; write key: value lines under it"
        case _:
            text = f"{detail['msg']}; see config.example.yaml"
    return Problem(path, text)


def _unknown_key(path: Path) -> str:
    from difflib import get_close_matches

    groups: dict[str, type[BaseModel]] = {"profiles": ProfileKeys, "time_limit": TimeLimit}
    group = groups.get(str(path[0]), Config)
    names = list(group.model_fields)
    word = str(path[-1]).lower().replace("-", "_")
    longer = [name for name in names if name.startswith(f"{word}_")]
    if near := longer or get_close_matches(word, names, 1):
        return f"unknown key; did you mean {near[0]}?"
    known = "config.example.yaml names them all" if group is Config else f"write {', '.join(names)}"
    return f"unknown key; {known}"


def _refuse(where: str, problems: list[Problem], document: Document | None = None) -> ConfigError:
    """Write the problems in the order of the file, those without a line last; one for each key."""
    rows: dict[tuple[float, Path], str] = {}
    for problem in problems:
        line = problem.line or (document.line(problem.path) if document else None)
        parts = [f"{where}:{line}" if line else where, problem.key, problem.text]
        row = printable(": ".join(part for part in parts if part))
        rows.setdefault((line or float("inf"), problem.path), row)
    ordered = sorted(rows.items(), key=lambda item: item[0][0])
    return ConfigError("\n".join(row for _, row in ordered))
