"""Bytes of a pipe, cut into lines; any chunking gives the same lines, in bounded memory."""

from __future__ import annotations

import re

LINE_BYTES = 4096


class Lines:
    """Cuts bytes into lines: over-long ones are cut, carriage returns overwrite."""

    def __init__(self) -> None:
        self._line = bytearray()
        self._returned = False  # a \r was seen: the next text starts the line again

    def feed(self, chunk: bytes) -> list[str]:
        """Return the lines that this chunk completes."""
        lines: list[str] = []
        for part in re.split(rb"([\r\n])", chunk):
            if part == b"\n":
                lines.append(self.close())
            elif part == b"\r":
                self._returned = True
            elif part:
                if self._returned:
                    self._line.clear()
                    self._returned = False
                self._line += part[: LINE_BYTES - len(self._line)]
        return lines

    def close(self) -> str:
        """Return what the last line holds so far, and begin anew."""
        line = self._line.decode("utf-8", "replace")
        self._line.clear()
        self._returned = False
        return line
