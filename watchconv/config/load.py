"""Where a configuration comes from: the folder of ``--root``, or a file that is named or found.

The result is a ``Config`` without conflicts, or one ``ConfigError`` with all problems in the order
of the file, each ``FILE:LINE: dotted.key: what is wrong; what to write instead``. What may heal by
itself, whether the folders exist, is not looked at. pydantic and yaml are loaded only to read.
"""

from __future__ import annotations

import importlib
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from watchconv.config.conflicts import FOLDERS, find_conflicts
from watchconv.config.keys import Config
from watchconv.config.problems import Problem, refuse
from watchconv.config.wish import Wish
from watchconv.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from watchconv.config.document import Document

# Looks at what is sound, in a configuration whose other keys are broken, for what else is wrong.
Demands = Callable[[Config, Collection[str]], Iterable[Problem]]

VARIABLE = "WATCHCONV_CONFIG"
PLACES = ("config.yaml", "~/.config/watchconv/config.yaml", "/etc/watchconv/config.yaml")
# Left without a value, these say "nothing of mine"; any other key says nothing at all.
_MAY_BE_EMPTY = (("profiles",), ("ignore",))
# for the file and for what an ffmpeg is asked, which has a limit of 30 s for each answer
READ_SECONDS = 100.0
# finds what we find, which -m alone and a PYTHONPATH for ffmpeg too would not do
_CHILD = """import sys; sys.path[:] = sys.argv[3:]
from watchconv.config.load import answer; from {} import {} as demands
answer(sys.argv[1], demands, int(sys.argv[2]))"""


class NoConfigError(ConfigError):
    """Nothing was said, and there is nothing at any of the usual places."""


def nothing_more(config: Config, broken: Collection[str]) -> Iterable[Problem]:
    """Demand nothing of a configuration but that it is sound in itself."""
    return ()


def find_config(environ: Mapping[str, str], places: tuple[str, ...] = PLACES) -> str:
    """Return the path of the configuration: $WATCHCONV_CONFIG, else the first place that exists."""
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


def config_for_root(root: str, demands: Demands = nothing_more) -> Config:
    """Return the configuration of ``--root DIR``: its five folders, and the defaults."""
    if os.path.lexists(root) and not os.path.isdir(root):
        raise refuse(root, [Problem((), "is not a folder; --root takes one, or makes it")])
    try:
        folder = os.path.abspath(root)
    except OSError as why:
        raise refuse(root, [Problem((), f"cannot be found ({why.strerror})")]) from why
    inbox, outbox, done, error, state = (
        os.path.realpath(os.path.join(folder, name)) for name in (*FOLDERS, ".state")
    )
    config = Config(inbox, outbox, done, error, state)
    problems = find_conflicts(config)
    problems += demands(config, {str(problem.path[0]) for problem in problems})
    if problems:
        raise refuse(root, problems)
    return config


def load_config(path: str, demands: Demands = nothing_more) -> Config:
    """Read a file; relative paths in it are relative to the folder that it is in.

    demands looks for more that is wrong, and is told together with the rest.
    """
    from watchconv.config.schema import read

    document = _parse(path)
    values, problems = dict(document.values), list(document.problems)
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
    problems += demands(config, {str(problem.path[0]) for problem in problems if problem.path})
    if problems:
        raise refuse(path, problems, document.line)
    return config


def load_apart(
    path: str,
    demands: Demands = nothing_more,
    *,
    meanwhile: str | None = None,
    seconds: float = READ_SECONDS,
) -> Config:
    """Return what ``load_config`` returns or raises, by way of a child that ends with it.

    So the process that asks stays small, and is not held by a disk that does not answer. demands
    is a function that can be imported by its name. meanwhile is a module that is going to be needed
    here, which is imported while the child reads.
    """
    code = _CHILD.format(demands.__module__, demands.__qualname__)
    child = subprocess.Popen(
        [sys.executable, "-B", "-c", code, path, f"{seconds + 10:.0f}", *sys.path],
        stdout=subprocess.PIPE,
        close_fds=False,  # the file may be one that was opened for us: /dev/fd/63
        process_group=0,  # to be ended together with the ffmpeg that it asks
    )
    assert child.stdout
    try:
        if meanwhile:
            importlib.import_module(meanwhile)
        said, _ = child.communicate(timeout=seconds)
    except subprocess.TimeoutExpired as error:
        why = f"cannot be read: no answer within {seconds:g} s; does its disk answer?"
        raise refuse(path, [Problem((), why)]) from error
    finally:
        child.stdout.close()
        if child.returncode is None:
            with suppress(ProcessLookupError, subprocess.TimeoutExpired):
                os.killpg(child.pid, signal.SIGKILL)
                child.wait(1)  # a dead mount may hold it longer
    if child.returncode:
        raise RuntimeError(f"the reading of {path} ended with status {child.returncode}")
    result: Config | ConfigError = pickle.loads(said)  # noqa: S301 (our own child's)
    if isinstance(result, ConfigError):
        raise result
    return result


def answer(path: str, demands: Demands, seconds: int) -> None:
    """Write a pickle of the ``Config`` or of the ``ConfigError``, as the child of load_apart."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # who asked says what is to be said
    signal.alarm(seconds)  # where nobody is left who waits for us
    try:
        result: object = load_config(path, demands)
    except ConfigError as error:
        result = error
    sys.stdout.buffer.write(pickle.dumps(result))


def written_keys(path: str) -> frozenset[str]:
    """Return the keys that a file holds, for who must know whether a value is a default."""
    return frozenset(_parse(path).values)


def effective_yaml(config: Config) -> str:
    """Return YAML of every key with the value that is in effect, which can be loaded again."""
    import yaml

    from watchconv.config.schema import write

    shown = write(Config, config)
    return yaml.safe_dump(shown, sort_keys=False, default_flow_style=None, allow_unicode=True)


def declared_yaml(wish: Wish) -> str:
    """Return YAML of a declared profile as it would be written, without what goes by itself."""
    import yaml

    from watchconv.config.schema import write

    shown = write(Wish, wish, defaults=False)
    return yaml.safe_dump(shown, sort_keys=False, default_flow_style=None, allow_unicode=True)


def _parse(path: str) -> Document:
    from watchconv.config.document import LARGEST_BYTES, Unreadable, parse

    try:
        with open(path, "rb") as file:
            return parse(file.read(LARGEST_BYTES + 1))
    except Unreadable as error:
        line, why = error.line, str(error)
    except IsADirectoryError:
        line, why = None, "is a folder; name the file in it, or use --root"
    except FileNotFoundError:
        line, why = None, "there is no such file; name another, or use --root DIR"
    except (OSError, ValueError) as error:
        said = getattr(error, "strerror", None) or error
        line, why = None, f"cannot be read ({said}); check its name and rights"
    raise refuse(path, [Problem((), why, line)])


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
