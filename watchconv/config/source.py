"""Where a configuration comes from: a file that is named or found, or the folder of ``--root``.

Neither pydantic nor yaml is loaded for it. ``load_apart`` has a child of its own read the file, so
that the process that asked stays small, and is not held by a file on a disk that does not answer.
"""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress

from watchconv.config.conflicts import FOLDERS, find_conflicts
from watchconv.config.keys import Config
from watchconv.config.problems import Problem, refuse
from watchconv.errors import ConfigError

# Looks at what is sound, in a configuration whose other keys are broken, for what else is wrong.
Demands = Callable[[Config, Collection[str]], Iterable[Problem]]

VARIABLE = "WATCHCONV_CONFIG"
PLACES = ("config.yaml", "~/.config/watchconv/config.yaml", "/etc/watchconv/config.yaml")
# for the file and for what an ffmpeg is asked, which has a limit of 30 s for each answer
READ_SECONDS = 100.0
# finds what we find, which -m alone and a PYTHONPATH for ffmpeg too would not do
_CHILD = "import sys; sys.path[:] = sys.argv[4:]; from runpy import run_module; "
_CHILD += "run_module('watchconv.config', run_name='__main__')"


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


def load_apart(
    path: str, demands: Demands = nothing_more, *, seconds: float = READ_SECONDS
) -> Config:
    """Return what ``load.load_config`` returns or raises, by way of a child that ends with it.

    demands is a function that can be imported by its name.
    """
    name = f"{demands.__module__}:{demands.__qualname__}"
    child = subprocess.Popen(
        [sys.executable, "-B", "-c", _CHILD, path, name, f"{seconds + 10:.0f}", *sys.path],
        stdout=subprocess.PIPE,
        close_fds=False,  # the file may be one that was opened for us: /dev/fd/63
        process_group=0,  # to be ended together with the ffmpeg that it asks
    )
    assert child.stdout
    try:
        answer, _ = child.communicate(timeout=seconds)
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
    result: Config | ConfigError = pickle.loads(answer)  # noqa: S301 (our own child's)
    if isinstance(result, ConfigError):
        raise result
    return result
