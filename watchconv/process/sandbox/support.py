"""What this machine can do to confine a child, found by doing it in a thread that then ends.

``support`` is a fact of the running kernel and the installed packages: tried once, remembered.
``ready`` turns it into what the setting ``sandbox`` asks for.

Does not confine anybody who stays.

Errors: ``ConfigError`` from ``ready`` for ``require``.
"""

from __future__ import annotations

import errno
import functools
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from watchconv.errors import ConfigError
from watchconv.process.sandbox import kernel, landlock, seccomp

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Support:
    """What can be had here; ``missing`` holds a sentence for each thing that cannot."""

    landlock_abi: int  # 0: none
    seccomp: bool
    missing: tuple[str, ...]


@functools.cache
def support() -> Support:
    """Try Landlock and seccomp, each in a throw-away thread; tens of ms the first time."""
    version, no_landlock = _landlock()
    no_seccomp = _seccomp(version)
    missing = []
    if no_landlock:
        missing.append(f"No Landlock: {no_landlock}. ffmpeg can touch every file that we can.")
    if no_seccomp:
        missing.append(f"No seccomp filter: {no_seccomp}. {_left_open(version)}")
    return Support(version, not no_seccomp, tuple(missing))


def ready(mode: str) -> tuple[str, ...]:
    """Say what cannot be had: sentences to be said once under ``auto``, none under ``off``.

    Raises ConfigError under ``require`` when anything is missing.
    """
    if mode == "off":
        return ()
    missing = support().missing
    if missing and mode == "require":
        raise ConfigError(
            "sandbox: require cannot be met on this machine, so watchconv does not start. "
            + " ".join(missing)
            + " Use `sandbox: auto` to run with less."
        )
    return missing


def in_throwaway_thread(act: Callable[[], T]) -> T:
    """Run in a thread that ends before this returns, and with it what it did to itself."""
    with ThreadPoolExecutor(max_workers=1) as pool:
        return pool.submit(act).result()


def _landlock() -> tuple[int, str]:
    try:
        in_throwaway_thread(_try_landlock)
        return landlock.abi(), ""
    except OSError as why:
        reasons = {
            errno.ENOSYS: "this kernel is older than 5.13 or built without it",
            errno.EOPNOTSUPP: "it is off; add landlock to the kernel's lsm= boot parameter",
        }
        return 0, reasons.get(why.errno or 0, f"the kernel refuses it ({why.strerror})")


def _try_landlock() -> None:
    kernel.forbid_new_privileges()
    landlock.restrict(())


def _seccomp(landlock_abi: int) -> str:
    try:
        instructions = seccomp.child_filter(landlock_abi)
        seccomp.worker_filter()
        in_throwaway_thread(lambda: _try_seccomp(instructions))
    except seccomp.FilterMissing as why:
        return str(why)
    except OSError as why:
        return f"the kernel refuses it ({why.strerror})"
    return ""


def _try_seccomp(instructions: bytes) -> None:
    kernel.forbid_new_privileges()
    seccomp.install(instructions)


def _left_open(landlock_abi: int) -> str:
    network = "UDP and the sockets of other programs" if landlock_abi >= 4 else "the network"
    files = "" if landlock_abi >= 3 else ", and can cut files that it may not write"
    return f"ffmpeg can reach {network}, can change modes and times of our files{files}."
