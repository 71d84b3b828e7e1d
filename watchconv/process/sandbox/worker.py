"""Confine the probe worker's process to nothing: what it may read is handed to it, open.

Afterwards no path can be opened, made, changed or removed, no process or socket made, no program
started, no other process signalled or looked into. Open descriptors go on working, and so do
threads: the decoders need them.

Does not reach threads that exist already: call it in the only one, with everything imported.

Errors: none are raised; what could not be applied is returned in sentences.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from watchconv.process.sandbox import kernel, landlock, seccomp

if TYPE_CHECKING:
    from collections.abc import Callable


def confine_to_nothing() -> tuple[str, ...]:
    """Take everything from this process that it does not hold open already, irrevocably.

    Returns a sentence for each part of the confinement that this machine does not have.
    """
    kernel.forbid_new_privileges()
    instructions, unfiltered = _compile_filter()  # reads libseccomp's file: before Landlock
    unlocked = _attempt("Landlock does not", lambda: landlock.restrict(()))
    if instructions:
        unfiltered = _attempt("No seccomp filter can", lambda: seccomp.install(instructions))
    return (*unlocked, *unfiltered)


def _compile_filter() -> tuple[bytes, tuple[str, ...]]:
    try:
        return seccomp.worker_filter(), ()
    except seccomp.FilterMissing as why:
        return b"", (f"No seccomp filter can confine the probe worker: {why}.",)


def _attempt(what: str, apply: Callable[[], None]) -> tuple[str, ...]:
    try:
        apply()
    except OSError as why:
        reason = "the kernel has none" if why.errno == errno.ENOSYS else str(why.strerror)
        return (f"{what} confine the probe worker: {reason}.",)
    return ()
