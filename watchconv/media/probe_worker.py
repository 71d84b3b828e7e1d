"""The probe worker's own side: read a file through PyAV and say what it is.

Runs as a child of the daemon (see ``probe``), which hands it open descriptors over a socket, one at
a time. Nothing else of watchconv imports this module, for ``av`` costs 30 MB and 90 ms, and it
imports next to nothing of watchconv: each import delays its start.

After its imports it can open no file and no network; the container's format is found by content
among ``FORMATS``; what a container refers to outside itself is never opened. It ends when the
daemon does, however busy it is; its time is the daemon's to limit. What is wrong with a file is an
answer ("refused"), and so is trouble in reading it ("trouble"). Anything else ends the process, and
the daemon draws its conclusion.
"""

from __future__ import annotations

import gc
import json
import os
import resource
import socket
import stat
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NoReturn

import av
import av.container
import av.logging
import av.sidedata.encparams
import av.sidedata.motionvectors
import av.stream
import av.subtitles.codeccontext
import av.subtitles.stream  # PyAV imports these when a file has them: too late once confined

from watchconv.media import FORMATS
from watchconv.media.announced import Announced, read_announced
from watchconv.media.beginning import Beginning
from watchconv.media.duration import (
    Reader,
    Refused,
    Spent,
    has_whole_index,
    indexed_length,
    scan_whole,
    tail_length,
)
from watchconv.media.facts import Chapter, Examined, Facts
from watchconv.media.looking import look
from watchconv.media.reading import BARE, Reading
from watchconv.media.rows import rows_of
from watchconv.media.tracks import describe, is_cover, printable
from watchconv.media.zeros import Zeros
from watchconv.process.sandbox.kernel import die_with_parent
from watchconv.process.sandbox.rules import confine_to_nothing

if TYPE_CHECKING:
    from collections.abc import Collection

    from av.container import InputContainer
    from av.stream import Stream

    from watchconv.media.facts import Track

MIB = 1 << 20
MOST_TRACKS = 4096
MOST_OF_ANYTHING = 100_000
PART_BYTES = 32 * 1024  # of a reply: the kernel takes no message that is much larger
REPLY_MOST_BYTES = 64 * MIB
LOOK_BYTES = 1 << 30
ADDRESS_SPACE_MIB = 1536
# tags that are no UTF-8 must not fail the file; from 19 on PyAV sees to that by itself
FORGIVING: dict[str, Any] = (
    {} if int(av.__version__.split(".")[0]) >= 19 else {"metadata_errors": "replace"}
)
Answer = dict[str, object]


def serve(channel: socket.socket, idle_seconds: float) -> None:
    """Confine this process, say so, then answer until nothing more is asked, or not for a while."""
    die_with_parent()
    missing = confine_to_nothing()
    for limit, most in (
        (resource.RLIMIT_AS, ADDRESS_SPACE_MIB * MIB),
        (resource.RLIMIT_NOFILE, 32),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(limit, (most, most))
    channel.settimeout(idle_seconds)
    gc.freeze()  # so that a collection looks at little
    channel.send(json.dumps({"ready": missing}).encode())
    while True:
        request, fds = b"", [-1]
        with suppress(TimeoutError):
            request, fds, _flags, _address = socket.recv_fds(channel, PART_BYTES, 1)
        if not request:
            return
        reply = json.dumps(answer(json.loads(request), fds[0])).encode()
        os.close(fds[0])  # before the answer: the caller may want to unmount after it
        gc.collect()  # PyAV's frames and their side data hold each other, pictures and all
        if len(reply) > REPLY_MOST_BYTES:
            refusal = {"refused": "it holds too much to tell", "cause": "too-large"}
            reply = json.dumps(refusal).encode()
        for at in range(0, len(reply), PART_BYTES):
            more = at + PART_BYTES < len(reply)  # JSON holds no bytes of zero
            channel.send(b"\0" * more + reply[at : at + PART_BYTES])


def answer(request: dict[str, Any], fd: int) -> Answer:
    """Do what was asked with the open file."""
    zeros = Zeros() if request.get("do") == "examine" else None
    reader, reason, cause = Reader(fd, zeros), "", "unreadable"
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise Refused("it is no regular file", cause)
        found: Answer = {}
        match request:
            case {"do": "probe", "salvage": bool(salvage)}:
                found = {"facts": rows_of(probe(reader, salvage=salvage))}
            case {"do": "examine", "decode": decode}:
                found = {"examined": rows_of(examine(reader, frozenset(decode)))}
            case {"do": "look", "track": track, "moments": moments, "spread": spread}:
                with open_input(reader, "") as container:
                    reader.allow(LOOK_BYTES, float("inf"))
                    found = {"pictures": rows_of(look(container, track, moments, spread))}
    except Refused as verdict:
        reason, cause = str(verdict), verdict.cause
    except MemoryError:
        reason, cause = f"reading it takes more than {ADDRESS_SPACE_MIB} MiB of memory", "memory"
    except Spent:
        reason = "it takes too much reading to find out what it is"
    except av.FFmpegError as error:
        reason = f"it cannot be read: {error}"
    except OSError:
        if reader.trouble is None:
            raise
    if reader.trouble:
        return {"trouble": f"reading it failed: {reader.trouble.strerror}"}
    return {"refused": reason, "cause": cause} if reason else found


def refuse_to_open(url: str, flags: object, options: object) -> NoReturn:
    """Refuse whatever a container names outside itself."""
    raise PermissionError(f"not opened: {url}")


def open_input(reader: Reader, formats: str) -> InputContainer:
    """Find the format and the streams; formats is a whitelist, empty means any."""
    options = {"protocol_whitelist": "none", "max_streams": str(MOST_TRACKS + 1)}
    if formats:
        options["format_whitelist"] = formats
    try:
        container: InputContainer = av.open(
            reader, "r", options=options, io_open=refuse_to_open, **FORGIVING
        )
    except MemoryError:  # PyAV's own is an FFmpegError, too
        raise
    except av.FFmpegError as error:
        reason = "it is no video, or of a format that watchconv does not read"
        raise Refused(reason, "not-video") from error
    if reader.spent:
        raise Spent
    if not len(container.streams):
        raise Refused("it holds no streams", "not-video")
    if len(container.streams) > MOST_TRACKS:
        raise Refused(f"it holds more than {MOST_TRACKS:,} tracks", "too-large")
    return container


def probe(reader: Reader, *, salvage: bool) -> Facts:
    """Say which streams the file holds, what they are, and how long it is.

    salvage: be it not whole.
    """
    with open_input(reader, FORMATS) as container:
        demuxer = container.format.name.split(",")[0]
        indexed = has_whole_index(demuxer, reader)
        streams = list(container.streams)
        if indexed and not salvage and any(ends_in_zeros(stream, reader) for stream in streams):
            reason = "the file is truncated: zeros stand where its last pictures should be"
            raise Refused(reason, "truncated")
        beginning = Beginning(container)
        beginning.decode()
        facts = facts_of(container, demuxer, beginning, indexed=indexed)
        duration, silent = None, frozenset[int]()
        if any(s.kind in ("video", "audio") and not s.attached_picture for s in facts.tracks):
            if indexed:
                duration = indexed_length(container, reader)
            if duration is None:
                scan = scan_whole(container, reader, demuxer, beginning.packets())
                if scan is None:
                    duration = tail_length(container, reader, demuxer)
                else:
                    duration = scan.length
                    silent = frozenset(range(len(streams))) - scan.streams if scan.ended else silent
    return replace(
        facts,
        duration_seconds=duration,
        tracks=tuple(
            replace(track, samples=0) if track.index in silent and sends(track) else track
            for track in facts.tracks
        ),
    )


def sends(track: Track) -> bool:
    """Return whether a track of this kind must send packets to be one."""
    return track.kind in ("video", "audio") and not track.attached_picture


def facts_of(
    container: InputContainer, demuxer: str, beginning: Beginning, *, indexed: bool
) -> Facts:
    """Say what an open file holds, but not how long it is."""
    dump = dump_of(container)
    announced = read_announced(dump)
    tracks = tuple(
        describe(
            stream,
            announced.get(stream.index, Announced()),
            beginning.frames.get(stream.index, ()),
            indexed=indexed,
        )
        for stream in container.streams
    )
    chapters = container.chapters()
    if max(len(chapters), len(container.metadata)) >= MOST_OF_ANYTHING:
        raise Refused("it holds more chapters or tags than any film", "too-large")
    return Facts(
        demuxer,
        None,
        tracks,
        chapters=tuple(map(chapter, chapters)),
        tags=tuple((printable(k).lower(), printable(v)) for k, v in container.metadata.items()),
        encrypted=beginning.encrypted or any("enc_key_id" in s.metadata for s in container.streams),
    )


def chapter(found: Any) -> Chapter:
    """Understand one of PyAV's chapters."""
    unit = float(found["time_base"] or 0)
    title = printable(found["metadata"].get("title"))
    return Chapter(found["start"] * unit, found["end"] * unit, title)


def dump_of(container: InputContainer) -> str:
    """Have ffmpeg's libraries print what they know of an open file."""
    av.logging.set_skip_repeated(False)
    av.logging.set_level(av.logging.INFO)
    try:
        return str(container.dumps_format())  # type: ignore[attr-defined]
    finally:
        av.logging.set_level(None)


def ends_in_zeros(stream: Stream, reader: Reader) -> bool:
    """Return whether a video's last picture was never written; only bare pixels may be zeros."""
    codec = stream.codec_context
    if stream.type != "video" or codec is None or is_cover(stream):
        return False
    entries = stream.index_entries
    last = next((entry for entry in reversed(entries) if entry.size > 1), None)
    if last is None or codec.name.startswith(BARE):
        return False
    picture = reader.peek(min(last.size, MIB), last.pos)
    return bool(picture) and not any(picture)


def examine(reader: Reader, decode: Collection[int]) -> Examined:
    """Read every packet; decode the streams that are named wholly, of others the first frame."""
    with open_input(reader, "") as container:
        reader.allow(1 << 62, float("inf"))
        demuxer = container.format.name.split(",")[0]
        beginning = Beginning(container)
        beginning.decode()
        facts = facts_of(container, demuxer, beginning, indexed=False)
        beginning.rewind()
        readings = [
            Reading(s, whole=s.index in decode, decodes=bool(beginning.frames.get(s.index)))
            for s in container.streams
        ]
        for packet in beginning.packets():
            readings[packet.stream_index].see(packet)
        pairs = zip(readings, facts.tracks, strict=True)
        contents = tuple(reading.content(track) for reading, track in pairs)
    zeros = reader.zeros.runs(reader.peek, reader.size, demuxer) if reader.zeros else ()
    return Examined(facts, contents, zeros)
