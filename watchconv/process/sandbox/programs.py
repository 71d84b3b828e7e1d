"""What an ffmpeg needs to run: itself, its libraries, fonts and devices.

A compiled ffmpeg may execute itself (and setpriv, which starts it), nothing of /usr/bin. A wrapper
script may start the system's programs and those that it names by absolute path, its interpreter
among them. Beside a program only ``lib`` and ``lib64`` are opened, in its own folder or next to
``bin``: an ffmpeg in somebody's home must not open that home. What cannot be read is left out.
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
_SCRIPT_BYTES = 65536
_ABSOLUTE_PATH = re.compile(r"/[^\s'\"`$;&|()<>=,]+")


def system_reads(program: str) -> tuple[str, ...]:
    """List the paths that this program may read and execute, none of them below another.

    Those below /dev it may also write. Ask again when the program changes, not for every child
    (about 3 ms).
    """
    wanted = [*_LIBRARIES, *_SETTINGS, *_DEVICES]
    # the folders that the dynamic linker was told of, by its files or the environment
    told = os.environ.get("LD_LIBRARY_PATH", "").split(":")
    for file in ("/etc/ld.so.conf", *glob("/etc/ld.so.conf.d/*.conf")):
        told += _text(file).splitlines()
    wanted += [folder for folder in told if folder.startswith("/")]
    if accelerators := [path for pattern in _ACCELERATORS for path in glob(pattern)]:
        wanted += [*accelerators, *_ACCELERATOR_FACTS]
    if setpriv := shutil.which("setpriv"):
        wanted += _with_libraries(setpriv)
    if found := shutil.which(program):
        wanted += _with_libraries(os.path.abspath(found))
        if (script := _text(found)).startswith("#!"):
            wanted += _PROGRAMS
            for named in set(filter(shutil.which, _ABSOLUTE_PATH.findall(script))):
                wanted += _with_libraries(named)
    paths = {os.path.realpath(path) for path in wanted if os.path.exists(path)}
    # what lies below another one would cost every child a rule
    return tuple(sorted(path for path in paths if paths.isdisjoint(map(str, Path(path).parents))))


def _with_libraries(program: str) -> Iterator[str]:
    """List a program and the libraries beside it, by this name and by the one it is a link to."""
    for path in {program, os.path.realpath(program)}:
        yield path
        folder = os.path.dirname(path)
        yield from (f"{folder}/lib", f"{folder}/lib64")
        if os.path.basename(folder) == "bin":
            prefix = os.path.dirname(folder)
            yield from (f"{prefix}/lib", f"{prefix}/lib64", f"{prefix}/pyvenv.cfg")


def _text(path: str) -> str:
    try:
        with Path(path).open("rb") as file:
            return os.fsdecode(file.read(_SCRIPT_BYTES))
    except OSError:
        return ""
