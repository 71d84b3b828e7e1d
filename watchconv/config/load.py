"""Read a configuration file, and say everything that is wrong with it at once.

Returns a ``Config`` without conflicts, or raises one ``ConfigError`` with all problems in the order
of the file, each ``FILE:LINE: dotted.key: what is wrong; what to write instead``. What may heal by
itself, whether the folders exist, is not looked at.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from watchconv.config.conflicts import find_conflicts
from watchconv.config.document import LARGEST_BYTES, Document, Unreadable, parse
from watchconv.config.keys import Config
from watchconv.config.problems import Problem, refuse
from watchconv.config.schema import describe, read, write
from watchconv.config.source import Demands, nothing_more

if TYPE_CHECKING:
    from collections.abc import Sequence

# Left without a value, these say "nothing of mine"; any other key says nothing at all.
_MAY_BE_EMPTY = (("profiles",), ("ignore",))


def load_config(path: str, demands: Demands = nothing_more) -> Config:
    """Read a file; relative paths in it are relative to the folder that it is in.

    demands looks for more that is wrong, and is told together with the rest.
    """
    try:
        document = _parse(path)
    except Unreadable as error:
        raise refuse(path, [error.problem]) from error
    values = dict(document.values)
    problems = list(document.problems)
    for empty in document.empty:
        if empty in _MAY_BE_EMPTY:
            del values[str(empty[0])]
        else:
            problems.append(Problem(empty, "has no value; write one, or remove the line"))
    folder = os.path.dirname(os.path.abspath(path))
    config, wrong = read(Config, values, folder)
    problems += wrong
    if config is None:
        # What is sound is looked at all the same: a person is told everything at once.
        config, _ = read(Config, _sound(values, problems), folder)
        assert config, "what is wrong was left out"
    written = values.get("profiles")
    broken = {str(problem.path[0]) for problem in problems if problem.path}
    problems += find_conflicts(config, broken, written if isinstance(written, dict) else ())
    problems += demands(config, {*broken, *(str(p.path[0]) for p in problems if p.path)})
    if problems:
        raise refuse(path, problems, document.line)
    return config


def written_keys(path: str) -> frozenset[str]:
    """Return the keys that a file holds, for who must know whether a value is a default."""
    return frozenset(_parse(path).values)


def effective_yaml(config: Config) -> str:
    """Return YAML of every key with the value that is in effect, which can be loaded again."""
    import yaml

    shown = write(Config, config)
    return yaml.safe_dump(shown, sort_keys=False, default_flow_style=None, allow_unicode=True)


def schema() -> dict[str, Any]:
    """Return the JSON Schema of the file, for editors."""
    return describe(Config)


def _parse(path: str) -> Document:
    try:
        with open(path, "rb") as file:
            return parse(file.read(LARGEST_BYTES + 1))
    except IsADirectoryError as error:
        raise Unreadable(None, "is a folder; name the file in it, or use --root") from error
    except FileNotFoundError as error:
        raise Unreadable(None, "there is no such file; name another, or use --root DIR") from error
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise Unreadable(None, f"cannot be read ({why}); check its name and rights") from error


def _sound(values: dict[str, Any], problems: Sequence[Problem]) -> dict[str, Any]:
    """Return what is left of the values without the keys and the profiles that are wrong."""
    wrong = {problem.path[:2] for problem in problems}
    keys = {path[0] for path in wrong if path}
    sound = {key: value for key, value in values.items() if key not in keys}
    profiles = values.get("profiles")
    if isinstance(profiles, dict) and ("profiles",) not in wrong:
        sound["profiles"] = {
            name: group for name, group in profiles.items() if ("profiles", name) not in wrong
        }
    if "state" in keys:
        sound["state"] = "/"  # the default may be what is wrong
    return sound
