"""What an ffmpeg needs to run: itself, its libraries, fonts, devices, and for a script much more.

The list is of paths that exist, none below another. A compiled ffmpeg may execute itself (and
setpriv, which starts it), nothing of /usr/bin. A script gets its interpreter, followed through
links, ``env`` and further scripts, the programs that it names by absolute path, and those of the
system.

Why so narrow outside the system's folders: beside a program only ``lib`` and ``lib64`` are
opened, in its own folder or next to ``bin``, for an ffmpeg in somebody's home folder must not
open that home. A wrapper's neighbour is reached when the wrapper names it in full.

Errors: none; what cannot be read is left out, and the child then says what it misses.
"""

from __future__ import annotations

import os
import re
import shutil
from glob import glob
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_LIBRARIES = (
    "/usr/lib", "/usr/lib32", "/usr/lib64", "/usr/local/lib", "/usr/local/lib64",
    "/lib", "/lib32", "/lib64", "/nix/store", "/gnu/store", "/home/linuxbrew/.linuxbrew/Cellar",
    "/home/linuxbrew/.linuxbrew/lib", "/usr/share", "/usr/local/share",
    "/etc/ld.so.cache", "/etc/ld.so.preload",
)  # fmt: skip
_SETTINGS = (
    "/etc/fonts", "/var/cache/fontconfig", "/etc/localtime", "/etc/OpenCL", "/etc/vulkan",
    "/sys/devices/system/cpu", "/sys/devices/system/node", "/proc/cpuinfo", "/proc/meminfo",
)  # fmt: skip
_DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")
# video10-19 are the Raspberry Pi's codecs; the numbers below are cameras.
_ACCELERATORS = (
    "/dev/dri", "/dev/kfd", "/dev/nvidia*", "/dev/mali*", "/dev/mpp_service", "/dev/rga",
    "/dev/dma_heap", "/dev/video1[0-9]",
)  # fmt: skip
_ACCELERATOR_FACTS = ("/sys/devices", "/sys/dev/char", "/sys/class/drm", "/proc/driver/nvidia")
_PROGRAMS = ("/usr/bin", "/usr/sbin", "/usr/libexec", "/bin", "/sbin", "/usr/local/bin")
_BESIDE = ("lib", "lib64")
# pyenv and its kin put a script in shims/ that looks up which interpreter it stands for.
_VERSION_CHOOSER = ("bin", "libexec", "plugins", "version", "versions")

_SCRIPT_BYTES = 65536
_ABSOLUTE_PATH = re.compile(r"/[^\s'\"`$;&|()<>=,]+")


def system_reads(program: str) -> tuple[str, ...]:
    """List what this program may read and execute; what is below /dev it may also write.

    Ask again when the program changes, not for every child (about 3 ms).
    """
    wanted = [*_LIBRARIES, *_linker_folders(), *_SETTINGS, *_DEVICES, *_accelerators()]
    for start in (program, "setpriv"):
        if found := shutil.which(start):
            wanted += _needs(os.path.abspath(found), set())
    return _outermost({os.path.realpath(path) for path in wanted if os.path.exists(path)})


def _outermost(paths: set[str]) -> tuple[str, ...]:
    """Leave out what lies below another one: each costs every child a rule."""
    return tuple(sorted(path for path in paths if paths.isdisjoint(map(str, Path(path).parents))))


def _linker_folders() -> Iterator[str]:
    """Name the folders that the dynamic linker was told of, by its files or the environment."""
    for path in ("/etc/ld.so.conf", *sorted(glob("/etc/ld.so.conf.d/*.conf"))):
        yield from (line for line in _text(path).splitlines() if line.startswith("/"))
    told = os.environ.get("LD_LIBRARY_PATH", "").split(":")
    yield from (folder for folder in told if folder.startswith("/"))


def _accelerators() -> list[str]:
    devices = [path for pattern in _ACCELERATORS for path in glob(pattern)]
    return [*devices, *_ACCELERATOR_FACTS] if devices else []


def _needs(program: str, seen: set[str]) -> Iterator[str]:
    """Name the program, what lies beside it, and, if it is a script, the same for all it runs."""
    real = os.path.realpath(program)
    if program in seen:
        return
    seen.add(program)
    yield real
    for place in (program, real):
        yield from _libraries_beside(place)
    if text := _script(real):
        yield from _PROGRAMS
        for further in _programs_named(text):
            yield from _needs(further, seen)


def _libraries_beside(program: str) -> Iterator[str]:
    folder, prefix = os.path.dirname(program), os.path.dirname(os.path.dirname(program))
    yield from (f"{folder}/{name}" for name in _BESIDE)
    if os.path.basename(folder) == "bin":
        yield from (f"{prefix}/{name}" for name in (*_BESIDE, "pyvenv.cfg"))
    if os.path.basename(folder) == "shims":
        yield from (f"{prefix}/{name}" for name in _VERSION_CHOOSER)


def _programs_named(script: str) -> Iterator[str]:
    """Name the executables in a script's text: absolute paths, and what its first line looks up."""
    first_line = script.partition("\n")[0].removeprefix("#!").split()
    for word in (*first_line[1:], *_ABSOLUTE_PATH.findall(script)):
        if found := shutil.which(word):
            yield os.path.abspath(found)


def _script(path: str) -> str:
    text = _text(path)
    return text if text.startswith("#!") else ""


def _text(path: str) -> str:
    try:
        with Path(path).open("rb") as file:
            return os.fsdecode(file.read(_SCRIPT_BYTES))
    except OSError:
        return ""
