"""Ask the kernel whether anybody writes a file, through a read lease.

The kernel grants a lease only while no one has the file open for writing, or mapped for it. It is
given back at once: a held lease would make a writer wait. Whether leases mean anything on this
file system (they do not behind NFS, SMB or FUSE) is for the caller to know.

The signal of a broken lease is set to SIGURG, which does nothing by default: ignoring SIGIO would
work only from the main thread, would hold for the whole process, and every ffmpeg would inherit it.
"""

from __future__ import annotations

import errno
import fcntl
import signal
from enum import StrEnum


class Writers(StrEnum):
    """What the kernel answers."""

    NONE = "none"  # proven: nobody has it open for writing
    SOME = "some"
    UNKNOWN = "unknown"  # no proof to be had


def writers(fd: int) -> Writers:
    """Return whether anybody has this file open for writing at this moment; any thread may ask.

    fd must be open with O_RDONLY, and O_NONBLOCK lest the open itself wait for another's lease
    (BlockingIOError from that open means the same as SOME). A writing descriptor of our own counts
    as SOME. A writer that opens the file in the microseconds of the lease waits for its end; only
    one that opens with O_NONBLOCK is turned away. Raises OSError for a closed descriptor.
    """
    try:
        # each time: giving a lease back puts its signal back to SIGIO
        fcntl.fcntl(fd, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except OSError as error:
        if error.errno == errno.EBADF:
            raise
        return Writers.SOME if error.errno == errno.EAGAIN else Writers.UNKNOWN
    fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    return Writers.NONE
