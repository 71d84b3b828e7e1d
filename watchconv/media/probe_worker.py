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
from itertools import islice
from typing import TYPE_CHECKING, Any

import av
import av.container
import av.sidedata.encparams
import av.sidedata.motionvectors
import av.stream
import av.subtitles.codeccontext
import av.subtitles.stream  # PyAV imports these when a file has them: too late once confined

from watchconv.media import BARE, FORMATS
from watchconv.media.beginning import Beginning
from watchconv.media.duration import (
    OPEN_BYTES,
    Reader,
    Refused,
    Spent,
    has_whole_index,
    indexed_length,
    packets_of,
    scan_whole,
    tail_length,
)
from watchconv.media.facts import Examined, Facts
from watchconv.media.looking import look
from watchconv.media.opening import (
    UNANNOUNCED,
    announced_in,
    facts_of,
    lacks_parameters,
    open_input,
)
from watchconv.media.reading import Reading
from watchconv.media.rows import rows_of
from watchconv.media.shapes import Shapes
from watchconv.media.tracks import is_cover
from watchconv.media.transport import late_track
from watchconv.media.zeros import Zeros
from watchconv.process.sandbox.kernel import die_with_parent
from watchconv.process.sandbox.rules import confine_to_nothing

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    from av.container import InputContainer
    from av.packet import Packet
    from av.stream import Stream

    from watchconv.media.facts import Track

MIB = 1 << 20
WIDE_BYTES = 192 * MIB  # of a file to find its tracks in: the packets stay in memory meanwhile
PLACES, PLACE_PACKETS, PLACE_BYTES = 8, 200, 4 * MIB  # of a large file
LATE_BYTES = 8 * MIB  # behind the place where a late track was seen
PART_BYTES = 32 * 1024  # of a reply: the kernel takes no message that is much larger
REPLY_MOST_BYTES = 64 * MIB
LOOK_BYTES = 1 << 30
ADDRESS_SPACE_MIB = 1536
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
            case {"do": "probe", "salvage": bool(salvage), "whole": bool(whole)}:
                found = {"facts": rows_of(probe(reader, salvage=salvage, whole=whole))}
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


def probe(reader: Reader, *, salvage: bool, whole: bool) -> Facts:
    """Say which streams the file holds, what they are, and how long it is.

    salvage: be it not whole. whole: look for streams in as much of it as can be.
    """
    wide_bytes = min(reader.size, WIDE_BYTES) if whole else 0
    facts, missed_bytes = probe_once(reader, salvage=salvage, wide_bytes=wide_bytes)
    if missed_bytes > wide_bytes:
        wide_bytes = min(missed_bytes, WIDE_BYTES)
        facts, _ = probe_once(reader, salvage=salvage, wide_bytes=wide_bytes)
    return replace(facts, probe_bytes=wide_bytes)


def probe_once(reader: Reader, *, salvage: bool, wide_bytes: int) -> tuple[Facts, int]:
    """Return what is found by reading so much, and how much more it takes to find all."""
    reader.allow(OPEN_BYTES, float("inf"))
    with open_input(reader, FORMATS, wide_bytes=wide_bytes) as container:
        demuxer = container.format.name.split(",")[0]
        indexed = has_whole_index(demuxer, reader)
        streams = list(container.streams)
        if indexed and not salvage and any(ends_in_zeros(stream, reader) for stream in streams):
            reason = "the file is truncated: zeros stand where its last pictures should be"
            raise Refused(reason, "truncated")
        beginning = Beginning(container)
        beginning.decode()
        facts = facts_of(container, reader, beginning, indexed=indexed)
        duration, silent = None, frozenset[int]()
        shapes = [Shapes(stream) for stream in streams]
        if any(s.kind in ("video", "audio") and not s.attached_picture for s in facts.tracks):
            if indexed:
                duration = indexed_length(container, reader)
            if duration is None:
                packets = seen_by(shapes, beginning.packets())
                scan = scan_whole(container, reader, demuxer, packets)
                if scan is None:
                    duration = tail_length(container, reader, demuxer)
                    look_around(container, reader, shapes)
                else:
                    duration = scan.length
                    silent = frozenset(range(len(streams))) - scan.streams if scan.ended else silent
        tracks = tuple(
            replace(
                track,
                samples=0 if track.index in silent and sends(track) else track.samples,
                largest=seen.largest,
            )
            for track, seen in zip(facts.tracks, shapes, strict=True)
        )
        missed = missed_bytes(container, reader, tracks) if demuxer in UNANNOUNCED else 0
    return replace(facts, duration_seconds=duration, tracks=tracks), missed


def seen_by(
    shapes: Sequence[Shapes], packets: Iterable[Packet[Stream]]
) -> Iterator[Packet[Stream]]:
    """Let each video's shapes see its packets on their way."""
    for packet in packets:
        shapes[packet.stream.index].see(packet)
        yield packet


def look_around(container: InputContainer, reader: Reader, shapes: Sequence[Shapes]) -> None:
    """Let the shapes see some packets of a few places of a large file that may change them."""
    start, length = container.start_time, container.duration
    if container.format.name not in UNANNOUNCED or start is None or not length:
        return
    reader.allow(PLACES * PLACE_BYTES, 1.0)
    for place in range(PLACES):
        with suppress(av.FFmpegError, Spent):
            container.seek(start + length * place // PLACES)
            for packet in islice(packets_of(container, list(container.streams)), PLACE_PACKETS):
                shapes[packet.stream.index].see(packet)


def missed_bytes(container: InputContainer, reader: Reader, tracks: Sequence[Track]) -> int:
    """Return how much of the file must be read to find all of its tracks; 0: all are known."""
    if len(announced_in(container)) > len(tracks) or any(map(lacks_parameters, tracks)):
        return reader.size
    if container.format.name == "mpeg":
        ids = [stream.id for stream in container.streams]
        if at := late_track(reader.peek, reader.size, ids):
            return min(reader.size, at + LATE_BYTES)
    return 0


def sends(track: Track) -> bool:
    """Return whether a track of this kind must send packets to be one."""
    return track.kind in ("video", "audio") and not track.attached_picture


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
    examined, missed = examine_once(reader, decode, wide_bytes=0)
    if missed:
        examined, _ = examine_once(reader, decode, wide_bytes=min(reader.size, WIDE_BYTES))
    return examined


def examine_once(
    reader: Reader, decode: Collection[int], *, wide_bytes: int
) -> tuple[Examined, bool]:
    """Return what the streams hold that are found by reading so much, and whether some were not."""
    reader.allow(1 << 62, float("inf"))
    with open_input(reader, "", wide_bytes=wide_bytes) as container:
        demuxer = container.format.name.split(",")[0]
        beginning = Beginning(container)
        beginning.decode()
        facts = facts_of(container, reader, beginning, indexed=False)
        beginning.rewind()
        readings = [
            Reading(s, whole=s.index in decode, decodes=bool(beginning.frames.get(s.index)))
            for s in container.streams
        ]
        shapes = [Shapes(stream) for stream in container.streams]
        for packet in seen_by(shapes, beginning.packets()):
            readings[packet.stream.index].see(packet)
        tracks = tuple(
            replace(track, largest=seen.largest)
            for track, seen in zip(facts.tracks, shapes, strict=True)
        )
        facts = replace(facts, tracks=tracks, probe_bytes=wide_bytes)
        pairs = zip(readings, facts.tracks, strict=True)
        contents = tuple(reading.content(track) for reading, track in pairs)
        sent = tuple(t for t, c in zip(facts.tracks, contents, strict=True) if c.packets)
        missed = len(announced_in(container)) > len(contents) or any(map(lacks_parameters, sent))
    zeros = reader.zeros.runs(reader.peek, reader.size, demuxer) if reader.zeros else ()
    return Examined(facts, contents, zeros), missed
