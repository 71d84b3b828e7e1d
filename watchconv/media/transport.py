"""What MPEG's streams say of themselves where ffmpeg does not listen.

Programme tables name sounds that nothing decodes; a program stream names nothing ahead, so its
tracks are looked for in pieces of the whole file. Bounded: a few MiB are read.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from watchconv.media.container import Pread

MIB = 1 << 20
TABLES_BYTES = 2 * MIB
MOST_TABLES = 64
PIECES = 24
PIECE_BYTES = MIB
# by the four letters that a descriptor registers, and by the tags of DVB's own descriptors
_REGISTERED = {
    b"AC-4": "ac4", b"AC-3": "ac3", b"EAC3": "eac3", b"DTS1": "dts", b"DTS2": "dts",
    b"DTS3": "dts", b"DTSU": "dts", b"Opus": "opus", b"BSSD": "s302m", b"mlpa": "truehd",
    b"AV3A": "av3a",
}  # fmt: skip
_DVB = {0x6A: "ac3", 0x7A: "eac3", 0x7B: "dts", 0x7C: "aac"}
_DVB_EXTENDED = {0x15: "ac4", 0x0E: "dts", 0x20: "dts", 0x21: "dts"}
_TYPES = {0x2D: "mpegh_3d_audio", 0x2E: "mpegh_3d_audio", 0x1C: "aac", 0x88: "dts", 0xA0: "av3a"}
_PES = re.compile(rb"\x00\x00\x01([\xbd\xc0-\xef])..[\x80-\xbf].(.)", re.DOTALL)
_PRIVATE = 0xBD


def announced_sounds(pread: Pread, size: int) -> dict[int, str]:
    """Return the codecs of the sounds that a transport stream's tables announce, by their PID."""
    data = pread(min(size, TABLES_BYTES), 0)
    found: dict[int, str] = {}
    tables: set[int] = set()
    for pid, section in _sections(data):
        if pid == 0 and section[:1] == b"\0" and len(tables) < MOST_TABLES:
            entries = section[8:-4]
            for at in range(0, len(entries) - 3, 4):
                if entries[at : at + 2] != b"\0\0":  # 0 is the network's
                    tables.add(_pid(entries, at + 2))
        elif pid in tables and section[:1] == b"\2":
            at = 12 + (int.from_bytes(section[10:12], "big") & 0xFFF)
            while at + 5 <= len(section) - 4:
                length = int.from_bytes(section[at + 3 : at + 5], "big") & 0xFFF
                codec = _sound(section[at], section[at + 5 : at + 5 + length])
                if codec:
                    found[_pid(section, at + 1)] = codec
                at += 5 + length
    return found


def _pid(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 2], "big") & 0x1FFF


def _sections(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Give the tables of a transport stream, put together from its packets, with their PID."""
    length = next((n for n in (188, 192, 204) if _is_in_step(data, n)), 0)
    if not length:
        return
    begun: dict[int, bytearray] = {}
    for at in range(data.find(b"\x47"), len(data) - 187, length):
        packet = data[at : at + 188]
        pid = _pid(packet, 1)
        payload = 4 + (1 + packet[4] if packet[3] & 0x20 else 0)
        if not packet[3] & 0x10 or payload >= 188 or pid == 0x1FFF:
            continue
        if packet[1] & 0x40:
            pointer = payload + 1 + packet[payload]
            # a packet of pictures begins otherwise: 0, 0, 1
            begun[pid] = bytearray(packet[pointer:])
        elif pid in begun:
            begun[pid] += packet[payload:]
        section = begun.get(pid, b"")
        wanted = 3 + (int.from_bytes(section[1:3], "big") & 0xFFF)
        if len(section) >= wanted > 12:
            yield pid, bytes(section[:wanted])
            del begun[pid]
        elif len(section) > 4096:
            del begun[pid]


def _is_in_step(data: bytes, length: int) -> bool:
    first = data.find(b"\x47")
    return first >= 0 and data[first : first + 5 * length : length] == b"\x47" * 5


def _sound(stream_type: int, descriptors: bytes) -> str:
    at = 0
    while at + 2 <= len(descriptors):
        tag, length = descriptors[at], descriptors[at + 1]
        content = descriptors[at + 2 : at + 2 + length]
        codec = _REGISTERED.get(content[:4], "") if tag == 5 else _DVB.get(tag, "")
        if tag == 0x7F and content:
            codec = _DVB_EXTENDED.get(content[0], "")
        if codec:
            return codec
        at += 2 + length
    return _TYPES.get(stream_type, "")


def late_track(pread: Pread, size: int, known: Collection[int]) -> int | None:
    """Return a place in a program stream behind which a track was seen that is not known.

    known are the ids of its streams, as ffmpeg counts them.
    """
    seen = {one & 0xFF for one in known}
    for piece in range(PIECES):
        at = max(0, size - PIECE_BYTES) * piece // (PIECES - 1)
        for found in _PES.finditer(pread(PIECE_BYTES, at)):
            number = found[1][0]
            if number == _PRIVATE:
                place = at + found.end() + found[2][0]
                number = (pread(1, place) or b"\0")[0]
                if not 0x20 <= number <= 0xAF:
                    continue
            if number not in seen:
                return at + found.end()
    return None
