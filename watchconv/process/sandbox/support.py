"""What this machine can do to confine a child, found by doing it in a thread that then ends."""

from __future__ import annotations

import errno
import functools
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, TypeVar

from watchconv.errors import ConfigError
from watchconv.process.sandbox import kernel, seccomp

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


class SandboxMode(StrEnum):
    """How much confinement is asked for: the values of the setting ``sandbox``."""

    AUTO = "auto"  # what this machine can do
    REQUIRE = "require"
    OFF = "off"


@dataclass(frozen=True, slots=True)
class Support:
    """What can be had here; ``missing`` holds a sentence for each thing that cannot."""

    landlock_abi: int  # 0: none
    seccomp: bool
    missing: tuple[str, ...]


@functools.cache
def support() -> Support:
    """Try Landlock and seccomp, once: a fact of this kernel and these packages. Tens of ms."""
    version, no_seccomp, missing = 0, "", []
    try:
        found = kernel.landlock_abi()
        in_throwaway_thread(lambda: kernel.landlock((), found))
        version = found
    except OSError as why:
        reasons = {
            errno.ENOSYS: "this kernel is older than 5.13 or built without it",
            errno.EOPNOTSUPP: "it is off; add landlock to the kernel's lsm= boot parameter",
        }
        reason = reasons.get(why.errno or 0, f"the kernel refuses it ({why.strerror})")
        missing.append(f"No Landlock: {reason}. ffmpeg can touch every file that we can.")
    try:
        instructions = seccomp.child_filter(version)
        seccomp.worker_filter()
        in_throwaway_thread(lambda: seccomp.install(instructions))
    except seccomp.FilterMissing as why:
        no_seccomp = str(why)
    except OSError as why:
        no_seccomp = f"the kernel refuses it ({why.strerror})"
    if no_seccomp:
        network = "UDP and the sockets of other programs" if version >= 4 else "the network"
        files = "" if version >= 3 else ", and can cut files that it may not write"
        missing.append(
            f"No seccomp filter: {no_seccomp}. ffmpeg can reach {network}, "
            f"can change modes and times of our files{files}."
        )
    return Support(version, not no_seccomp, tuple(missing))


def ready(mode: str) -> tuple[str, ...]:
    """Return sentences on what is missing of a ``SandboxMode``, to be told once; none for OFF.

    Raises ConfigError for REQUIRE when anything is missing.
    """
    if mode == SandboxMode.OFF:
        return ()
    missing = support().missing
    if missing and mode == SandboxMode.REQUIRE:
        raise ConfigError(
            "sandbox: require cannot be met on this machine, so watchconv does not start. "
            + " ".join(missing)
            + " Use `sandbox: auto` to run with less."
        )
    return missing


def in_throwaway_thread(act: Callable[[], T]) -> T:
    """Run in a thread that ends before this returns, and with it what it did to itself.

    It has given up the ways to gain privileges, as whoever confines itself must.
    """
    with ThreadPoolExecutor(1, initializer=kernel.forbid_new_privileges) as pool:
        return pool.submit(act).result()
