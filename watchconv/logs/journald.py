"""Send log records to systemd's journal with their fields: ``journalctl -u watchconv JOB_ID=17``.

The journal's own protocol: one datagram for each record, or, where that is too large, a sealed
memory file whose descriptor is sent. A record reaches the journal, or else the stream that it
would have gone to without one.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import socket
from array import array
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from watchconv.model import Job

PRIORITIES = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3}
ADDRESS = "/run/systemd/journal/socket"
_TOO_LARGE = (errno.EMSGSIZE, errno.ENOBUFS)
_SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE


def fields_of(record: logging.LogRecord) -> dict[str, object]:
    """Return a record's fields for those who ask by job; see ``format.log_job``."""
    job: Job | None = getattr(record, "job", None)
    if job is None:
        return {}
    fields = {"job": job.id, "profile": job.profile, "source": job.source}
    more = {"state": getattr(record, "state", None), "cause": job.cause}
    return fields | {name: value for name, value in more.items() if value}


class JournalSink(logging.Handler):
    """Sends each record to the journal; what the journal does not take goes to another sink."""

    def __init__(self, otherwise: logging.Handler, address: str = ADDRESS) -> None:
        super().__init__()
        self._otherwise, self._address = otherwise, address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)

    def emit(self, record: logging.LogRecord) -> None:
        """Send one record."""
        values = {
            "MESSAGE": self.format(record),
            "PRIORITY": str(PRIORITIES.get(record.levelno, 5)),
            "SYSLOG_IDENTIFIER": "watchconv",
        }
        for name, value in fields_of(record).items():
            values["JOB_ID" if name == "job" else name.upper()] = str(value)
        try:
            self._send(b"".join(_field(name, value) for name, value in values.items()))
        except OSError:  # it is not there, or is being restarted
            self._otherwise.handle(record)

    def _send(self, message: bytes) -> None:
        try:
            self._socket.sendto(message, self._address)
        except OSError as error:
            if error.errno not in _TOO_LARGE:
                raise
            descriptor = os.memfd_create("watchconv", os.MFD_ALLOW_SEALING | os.MFD_CLOEXEC)
            with open(descriptor, "wb", buffering=0) as file:
                file.write(message)
                fcntl.fcntl(file, fcntl.F_ADD_SEALS, _SEALS)
                # socket.send_fds leaves the address out (Python 3.11)
                number = array("i", [file.fileno()])
                rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, number)
                self._socket.sendmsg([], [rights], 0, self._address)

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()
        super().close()


def _field(name: str, value: str) -> bytes:
    """Return one field as sent; a value with line breaks is preceded by its length."""
    content = value.encode("utf-8", "backslashreplace")
    if b"\n" not in content:
        return b"%s=%s\n" % (name.encode(), content)
    return b"%s\n%s%s\n" % (name.encode(), len(content).to_bytes(8, "little"), content)
