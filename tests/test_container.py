"""The container's word on whether a file is whole, by cutting files."""

from __future__ import annotations

import contextlib
import os
import random
import subprocess
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.clips import FFMPEG, MEDIA
from watchconv.media.container import ContainerEnd, Ending, container_end

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

WHOLE, INCOMPLETE, NO_WORD = Ending.WHOLE, Ending.INCOMPLETE, Ending.NO_WORD


@contextlib.contextmanager
def opened(path: Path | str) -> Iterator[int]:
    number = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        yield number
    finally:
        os.close(number)


@contextlib.contextmanager
def in_memory(content: bytes) -> Iterator[int]:
    number = os.memfd_create("clip")
    try:
        os.write(number, content)
        yield number
    finally:
        os.close(number)


def end_of(content: bytes) -> ContainerEnd:
    """Ask about these bytes, and see that the offset of the descriptor stays where it was."""
    with in_memory(content) as number:
        os.lseek(number, 3, os.SEEK_SET)
        end = container_end(number, len(content))

        assert os.lseek(number, 0, os.SEEK_CUR) == 3
    return end


def box(name: bytes, body: bytes = b"body") -> bytes:
    return (8 + len(body)).to_bytes(4, "big") + name + body


def long_box(name: bytes, body: bytes = b"body") -> bytes:
    return b"\0\0\0\1" + name + (16 + len(body)).to_bytes(8, "big") + body


def open_box(name: bytes, body: bytes = b"body") -> bytes:
    return bytes(4) + name + body


def element(name: str, body: bytes = b"body", width: int = 8) -> bytes:
    length = len(body) | 1 << 7 * width
    return bytes.fromhex(name) + length.to_bytes(width, "big") + body


def riff(form: bytes, body: bytes = b"body") -> bytes:
    return b"RIFF" + (4 + len(body)).to_bytes(4, "little") + form + body


FTYP, MOOV, MDAT = box(b"ftyp", b"isom\0\0\2\0isom"), box(b"moov", b"index" * 9), box(b"mdat")
MOOF, MFRA = box(b"moof", b"fragment"), box(b"mfra", b"index")
HEADER, SEGMENT = element("1a45dfa3", b"\x42\x82\x84webm", 1), element("18538067", b"cluster" * 9)
VOID, CRC = element("ec", b"", 1), element("bf", b"1234", 1)
OPEN_SEGMENT = bytes.fromhex("1853806701ffffffffffffff") + b"cluster"
AVI, AVIX = riff(b"AVI ", b"pictures" * 9), riff(b"AVIX", b"more" * 9)
STRANGER = box(b"odd?")
NOISE = random.Random(7).randbytes(10_000)
ZEROS = bytes(10_000)
AVI_ENDING_IN_JUNK = riff(
    b"AVI ",
    b"movi"
    + (5).to_bytes(4, "little")
    + b"12345\0JUNK"
    + (9000).to_bytes(4, "little")
    + ZEROS[:9000],
)


@pytest.mark.parametrize(
    "content",
    [
        FTYP + MDAT + MOOV,
        FTYP + MOOV + MDAT,
        FTYP + box(b"free", b"") + long_box(b"mdat") + MOOV,
        box(b"wide", b"") + MDAT + MOOV,
        MDAT + MOOV + box(b"uuid") + box(b"free", ZEROS + b"."),
        FTYP + MOOV + MOOF + MDAT + MOOF + MDAT + MFRA,
        HEADER + SEGMENT,
        HEADER + VOID + SEGMENT + CRC + VOID,
        HEADER + SEGMENT + HEADER + SEGMENT,
        HEADER + element("18538067", b"x" * 100, 1),
        AVI,
        AVI + AVIX + AVIX,
    ],
)
def test_a_whole_file_is_whole(content: bytes) -> None:
    assert end_of(content) == ContainerEnd(WHOLE, "")


@pytest.mark.parametrize(
    ("content", "detail"),
    [
        (b"", "the file is empty"),
        (FTYP, "the mp4 box moov is missing"),
        (FTYP + MDAT, "the mp4 box moov is missing"),
        (FTYP + MDAT + MOOV[:7], "the mp4 box moov is missing"),
        (FTYP + open_box(b"mdat"), "the mp4 box moov is missing"),
        (FTYP + ZEROS, "only zeros stand where the mp4 box moov should be"),
        (FTYP + MDAT + ZEROS, "only zeros stand where the mp4 box moov should be"),
        (FTYP + MDAT + MOOV[:-1], "the mp4 box moov needs 1 byte more than the file has"),
        (FTYP + MOOV + MDAT[:9], "the mp4 box mdat needs 3 bytes more than the file has"),
        (
            FTYP + long_box(b"mdat", ZEROS)[:-5000],
            "the mp4 box mdat needs 5,000 bytes more than the file has",
        ),
        (
            FTYP + MOOV + long_box(b"mdat")[:11],
            "the mp4 box mdat needs 5 bytes more than the file has",
        ),
        (
            FTYP + MOOV + b"\0\0\0\1mdat" + b"\x7f" + b"\xff" * 7,
            f"the mp4 box mdat needs {2**63 - 17:,} bytes more than the file has",
        ),
        (
            FTYP + MOOV + MOOF + MDAT + MOOF[:-1],
            "the mp4 box moof needs 1 byte more than the file has",
        ),
        (
            FTYP + MOOV + MOOF + MDAT + MOOF + MDAT[:-2],
            "the mp4 box mdat needs 2 bytes more than the file has",
        ),
        (STRANGER.join([FTYP, MDAT[:-2]]), "the mp4 box mdat needs 2 bytes more than the file has"),
        (HEADER[:-1], "the Matroska header needs 1 byte more than the file has"),
        (HEADER + SEGMENT[:-20], "the Matroska segment needs 20 bytes more than the file has"),
        (HEADER + SEGMENT[:6], "the Matroska segment needs 6 bytes more than the file has"),
        (AVI[:-7], "the AVI file needs 7 bytes more than the file has"),
        (AVI + AVIX[:-7], "the AVI continuation needs 7 bytes more than the file has"),
    ],
)
def test_what_is_missing_is_said_in_a_sentence(content: bytes, detail: str) -> None:
    assert end_of(content) == ContainerEnd(INCOMPLETE, detail)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"\0", id="one byte"),
        pytest.param(NOISE, id="noise"),
        pytest.param(b"\x47" + NOISE, id="a transport stream"),
        pytest.param(box(b"ftyp")[:7], id="too short for a magic"),
        pytest.param(b"\0\0\0\7ftyp" + NOISE, id="a box smaller than its header"),
        pytest.param(FTYP + NOISE, id="noise instead of moov"),
        pytest.param(FTYP + b"\0\0\0\1mdat" + (15).to_bytes(8, "big"), id="64 bits too small"),
        pytest.param(FTYP + STRANGER + MDAT, id="no moov, but who knows the stranger"),
        pytest.param(FTYP + STRANGER[:-1], id="a stranger runs past the end"),
        pytest.param(FTYP + MOOV, id="moov without content"),
        pytest.param(FTYP + MOOV + open_box(b"mdat"), id="mdat open to the end"),
        pytest.param(FTYP + open_box(b"moov"), id="moov open to the end"),
        pytest.param(FTYP + MOOV + MDAT + NOISE, id="mp4, then noise"),
        pytest.param(FTYP + MOOV + MDAT + ZEROS, id="mp4, then zeros"),
        pytest.param(FTYP + MOOV + MDAT + b"\0\0\1\0" + ZEROS, id="mp4, then a number and zeros"),
        pytest.param(FTYP + MOOV + MDAT + b"\0\0", id="mp4, then two bytes"),
        pytest.param(FTYP + MOOV + MDAT + STRANGER, id="mp4, then a stranger"),
        pytest.param(FTYP + MOOV + MOOF + MDAT, id="there may be another fragment"),
        pytest.param(box(b"styp") + MOOF + MDAT, id="a DASH segment"),
        pytest.param(HEADER, id="Matroska header alone"),
        pytest.param(HEADER + OPEN_SEGMENT, id="live Matroska"),
        pytest.param(HEADER + SEGMENT[:4] + bytes(9), id="a Matroska size that is no number"),
        pytest.param(HEADER + SEGMENT + NOISE, id="Matroska, then noise"),
        pytest.param(HEADER + SEGMENT + b"\xec\xc0", id="Matroska, then noise like a filler"),
        pytest.param(HEADER + bytes(4000), id="Matroska header, then some zeros"),
        pytest.param(AVI_ENDING_IN_JUNK, id="AVI that ends in a filler"),
        pytest.param(AVI + NOISE, id="AVI, then noise"),
        pytest.param(AVI + b"\0", id="AVI, then a padding byte"),
        pytest.param(AVI + riff(b"WAVE"), id="AVI, then another RIFF"),
        pytest.param(b"RIFF" + bytes(4) + AVI[8:], id="AVI that was never finished"),
        pytest.param(b"RIFF" + b"\xff" * 4 + AVI[8:], id="AVI from a pipe"),
        pytest.param(riff(b"WAVE")[:-1], id="a RIFF that is no AVI"),
    ],
)
def test_where_the_format_is_silent_there_is_no_word(content: bytes) -> None:
    assert end_of(content) == ContainerEnd(NO_WORD, "")


LONG_NOISE = NOISE * (1 + 300_000 // len(NOISE))
TRANSPORT = b"".join(b"G" + LONG_NOISE[at : at + 187] for at in range(0, 280_000, 187))
BLURAY = b"".join(b"\0\0\0\0G" + LONG_NOISE[at : at + 187] for at in range(0, 280_000, 187))
SIZED = [
    pytest.param(FTYP + MOOV + box(b"mdat", LONG_NOISE), Ending.UNSURE, id="mp4"),
    pytest.param(HEADER + element("18538067", LONG_NOISE), INCOMPLETE, id="Matroska"),
    pytest.param(riff(b"AVI ", LONG_NOISE), INCOMPLETE, id="AVI"),
    pytest.param(TRANSPORT, INCOMPLETE, id="transport stream"),
    pytest.param(BLURAY, INCOMPLETE, id="transport stream with times"),
    pytest.param(b"FLV\1" + LONG_NOISE, INCOMPLETE, id="FLV"),
    pytest.param(b"OggS" + LONG_NOISE, INCOMPLETE, id="Ogg"),
    pytest.param(bytes.fromhex("3026b2758e66cf11") + LONG_NOISE, INCOMPLETE, id="ASF"),
    pytest.param(b"\0\0\1\xba" + LONG_NOISE, INCOMPLETE, id="program stream"),
]


@pytest.mark.parametrize(("content", "ending"), SIZED)
def test_a_half_filled_file_of_final_size_is_not_whole(content: bytes, ending: Ending) -> None:
    half = content[: len(content) // 2]

    assert end_of(content).ending in (WHOLE, NO_WORD)
    assert end_of(half.ljust(len(content), b"\0")) == ContainerEnd(
        ending, "it ends in zeros, for it got its size before its content"
    )


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(ZEROS, id="a file of which nothing was written yet"),
        pytest.param(FTYP + MOOV + ZEROS, id="an mp4 whose content is still to come"),
        pytest.param(b"\0\0\1\xba" + NOISE + bytes(100_000), id="a Video CD's empty sectors"),
        pytest.param(FTYP + MOOV + box(b"mdat", NOISE + ZEROS), id="a film that ends in silence"),
    ],
)
def test_zeros_that_a_whole_file_may_end_in_are_waited_for_not_condemned(content: bytes) -> None:
    assert end_of(content).ending is Ending.UNSURE


@pytest.mark.parametrize(
    ("parts", "silent"),
    [
        ([FTYP, MDAT, MOOV], {0: 8}),
        ([FTYP, box(b"free", b""), long_box(b"mdat"), MOOV], {0: 8}),
        ([FTYP, MOOV, MDAT], {0: 8, 2: 8}),
        (
            [FTYP, MOOV, MOOF, long_box(b"mdat"), MOOF, MDAT, MFRA],
            dict.fromkeys([0, *range(2, 7)], 8),
        ),
        ([HEADER, SEGMENT], {0: 4, 1: 4}),
        ([HEADER, VOID, SEGMENT], {0: 4, 1: 2, 2: 4}),
        ([AVI], {0: 12}),
        ([AVI, AVIX], {0: 12, 1: 12}),
    ],
)
def test_every_cut_through_a_known_part_is_seen(parts: list[bytes], silent: dict[int, int]) -> None:
    """silent: by part, how many of its first bytes do not yet tell what it is."""
    content, at = b"".join(parts), 0
    for number, part in enumerate(parts):
        for inside in range(len(part)):
            if at + inside == 0:
                continue
            ending = end_of(content[: at + inside]).ending

            if inside >= silent.get(number, 0):
                assert ending is INCOMPLETE, (number, inside)
            elif inside > 0 or number == 0:
                assert ending is NO_WORD, (number, inside)
            else:  # exactly between two parts: nothing is cut
                assert ending is not INCOMPLETE, (number, inside)
        at += len(part)
    assert end_of(content).ending is WHOLE


KNOWN_SUFFIXES = {".mp4", ".mov", ".3gp", ".mkv", ".webm", ".avi"}
TRUNCATED = {"broken.mp4", "file-type-fixture2.mkv"}
TWO_BYTES_TOO_LONG = "streamio-ffmpeg-ios9.mov"
CLIPS = [c for c in sorted(MEDIA.glob("*")) if c.suffix != ".tsv"]
KNOWN_CLIPS = [c for c in CLIPS if c.suffix.lower() in KNOWN_SUFFIXES and c.name not in TRUNCATED]


@pytest.mark.parametrize("path", CLIPS, ids=lambda path: path.name)
def test_real_clips_are_judged_as_they_are(path: Path) -> None:
    with opened(path) as number:
        end = container_end(number, path.stat().st_size)

    if path.name in TRUNCATED:
        assert end.ending is INCOMPLETE
    elif path in KNOWN_CLIPS and path.name != TWO_BYTES_TOO_LONG:
        assert end.ending is WHOLE
    else:
        assert end.ending is NO_WORD


def starts_of_parts(content: bytes) -> list[tuple[int, bytes]]:
    """Where the parts of a whole real clip begin, told in another way than the code does."""
    if content.startswith(b"RIFF"):
        return [(0, b"RIFF")]
    if content.startswith(b"\x1aE\xdf\xa3"):
        return [(0, b"header"), (content.index(b"\x18S\x80g"), b"segment")]
    starts, at = [], 0
    while at + 8 <= len(content):
        starts.append((at, content[at + 4 : at + 8]))
        at += int.from_bytes(content[at : at + 4], "big")
    return [*starts, (at, b"end")]


def may_be_silent(starts: list[tuple[int, bytes]], cut: int) -> bool:
    """Tell whether a cut falls where the format itself cannot show it."""
    at = max(start for start, _ in starts if start <= cut)
    before = {name for start, name in starts if start < at}
    match starts[0][1]:
        case b"RIFF":
            return cut < 12
        case b"header":
            return cut - at < 4
        case _:
            return cut < 8 or (b"moov" in before and cut - at < 8)


@pytest.mark.parametrize("path", KNOWN_CLIPS, ids=lambda path: path.name)
def test_a_real_clip_that_is_cut_anywhere_is_incomplete(path: Path) -> None:
    content = path.read_bytes()
    starts = starts_of_parts(content)
    near = {start + offset for start, _ in starts for offset in range(-20, 21)}
    cuts = (near | set(range(1, len(content), len(content) // 300))) & set(range(1, len(content)))
    with in_memory(content) as number:
        for cut in sorted(cuts, reverse=True):
            os.truncate(number, cut)
            ending = container_end(number, cut).ending

            assert (ending is INCOMPLETE) is not may_be_silent(starts, cut), cut


@pytest.mark.parametrize(
    ("clip_name", "arguments", "ending"),
    [
        ("media-sample_with_chapters.mkv", "-f matroska", NO_WORD),
        ("bbb_176x144_128kbps_15fps_h263.3gp", "-f avi", NO_WORD),
        ("hdr10-av1.mp4", "-f mp4 -movflags frag_keyframe+empty_moov", WHOLE),
    ],
)
def test_what_ffmpeg_writes_into_a_pipe_is_not_called_incomplete(
    clip_name: str, arguments: str, ending: Ending
) -> None:
    command = [FFMPEG, "-v", "error", "-nostdin", "-i", f"file:{MEDIA / clip_name}", "-c", "copy"]
    piped = subprocess.run(
        [*command, *arguments.split(), "pipe:1"], capture_output=True, check=True, timeout=60
    )

    assert end_of(piped.stdout).ending is ending


@contextlib.contextmanager
def counted_preads() -> Iterator[list[int]]:
    """Collect the length of every pread."""
    lengths: list[int] = []
    real: Callable[[int, int, int], bytes] = os.pread

    def pread(fd: int, length: int, offset: int) -> bytes:
        lengths.append(length)
        return real(fd, length, offset)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "pread", pread)
        yield lengths


PIECES = st.one_of(
    st.binary(max_size=40),
    st.sampled_from([FTYP, MOOV, MDAT, MOOF, MFRA, HEADER, SEGMENT, VOID, AVI, AVIX, STRANGER]),
    st.sampled_from(
        [OPEN_SEGMENT, open_box(b"mdat"), long_box(b"mdat"), b"\0\0\0\1mdat", bytes(16)]
    ),
)


@settings(deadline=None)
@given(pieces=st.lists(PIECES, max_size=12), size=st.none() | st.integers(0, 2**44))
def test_no_bytes_and_no_size_make_it_raise_or_read_much(
    pieces: list[bytes], size: int | None
) -> None:
    """A size that is not the content's: the file grew or shrank between fstat and pread."""
    content = b"".join(pieces)
    with in_memory(content) as number, counted_preads() as lengths:
        end = container_end(number, len(content) if size is None else size)

    assert bool(end.detail) == (end.ending in (INCOMPLETE, Ending.UNSURE))
    assert len(lengths) <= 2 * len(content) + 6
    assert sum(lengths) <= 32 * len(content) + 6000


@pytest.mark.parametrize("filler", [FTYP, HEADER, VOID, AVI])
def test_a_hostile_row_of_parts_is_given_up(filler: bytes) -> None:
    start = {VOID: HEADER}.get(filler, b"")
    content = start + filler * 5000 + filler[:-1]
    with in_memory(content) as number, counted_preads() as lengths:
        end = container_end(number, len(content))

    assert end.ending is NO_WORD
    assert len(lengths) <= 4096 + 2
