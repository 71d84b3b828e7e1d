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

import json
import os
import resource
import socket
import stat
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NoReturn

import av
import av.container
import av.sidedata.encparams
import av.sidedata.motionvectors
import av.stream
import av.subtitles.codeccontext
import av.subtitles.stream  # PyAV imports these when a file has them: too late once confined

from watchconv.media import FORMATS, KINDS
from watchconv.media.duration import (
    Reader,
    Refused,
    Spent,
    has_whole_index,
    is_cover,
    packets_of,
    prove_duration,
)
from watchconv.process.sandbox.kernel import die_with_parent
from watchconv.process.sandbox.rules import confine_to_nothing

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.stream import Stream

MIB = 1 << 20
STREAMS_MOST = 64
DECODE_TRIES = 100  # packets
ADDRESS_SPACE_MIB = 1536
# tags that are no UTF-8 must not fail the file; from 19 on PyAV sees to that by itself
FORGIVING: dict[str, Any] = (
    {} if int(av.__version__.split(".")[0]) >= 19 else {"metadata_errors": "replace"}
)
# decoders of pixels as they are: black is zeros
BARE_PIXELS = (
    "raw", "v210", "v308", "v408", "v410", "r10k", "r210", "avrp", "ayuv", "y41p", "yuv4",
)  # fmt: skip

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
    channel.send(json.dumps({"ready": missing}).encode())
    while True:
        request, fds = b"", [-1]
        with suppress(TimeoutError):
            request, fds, _flags, _address = socket.recv_fds(channel, 64, 1)
        if not request:
            return
        reply = json.dumps(answer(request, fds[0])).encode()
        os.close(fds[0])  # before the answer: the caller may want to unmount after it
        channel.send(reply)


def answer(request: bytes, fd: int) -> Answer:
    """Do what was asked with the open file."""
    reader, reason, cause = Reader(fd), "", "unreadable"
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise Refused("it is no regular file", cause)
        found = probe(reader) if request == b"probe" else examine(reader)
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
    options = {"protocol_whitelist": "none"}
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
    return container


def probe(reader: Reader) -> Answer:
    """Say which streams the file holds and how long it is."""
    with open_input(reader, FORMATS) as container:
        demuxer = container.format.name.split(",")[0]
        indexed = has_whole_index(demuxer, reader)
        streams = list(container.streams)[:STREAMS_MOST]
        if indexed and any(ends_in_zeros(stream, reader) for stream in streams):
            reason = "the file is truncated: zeros stand where its last pictures should be"
            raise Refused(reason, "truncated")
        rows = [[*describe(stream), *describe_input(stream, indexed)] for stream in streams]
        duration_seconds = prove_duration(container, reader, demuxer, indexed)
    return {"media": {"demuxer": demuxer, "duration": duration_seconds, "streams": rows}}


def describe(stream: Stream) -> list[object]:
    """Return a stream's index, its kind, and its codec, which is not the decoder that reads it."""
    context = stream.codec_context
    kind = stream.type if stream.type in KINDS else "data"  # what ffmpeg cannot name either
    return [stream.index, kind, "unknown" if context is None else context.codec.canonical_name]


def describe_input(stream: Stream, indexed: bool) -> list[object]:
    """Return the rest of a row about an input's stream, in the order of ``model.Stream``."""
    sized = stream.codec_context if stream.type == "video" else None
    language = stream.language or ""
    return [
        len(stream.index_entries) if indexed and not is_cover(stream) else None,
        getattr(sized, "width", 0),
        getattr(sized, "height", 0),
        getattr(sized, "pix_fmt", None) or "",
        is_cover(stream),
        language if language.isascii() and language.isalnum() and len(language) <= 8 else "",
    ]


def ends_in_zeros(stream: Stream, reader: Reader) -> bool:
    """Return whether a video's last picture was never written; only bare pixels may be zeros."""
    codec = stream.codec_context
    if stream.type != "video" or codec is None or is_cover(stream):
        return False
    entries = stream.index_entries
    last = next((entry for entry in reversed(entries) if entry.size > 1), None)
    if last is None or codec.name.startswith(BARE_PIXELS):
        return False
    picture = reader.peek(min(last.size, MIB), last.pos)
    return bool(picture) and not any(picture)


def examine(reader: Reader) -> Answer:
    """Read every packet, and decode of each stream until the first frame."""
    with open_input(reader, "") as container:
        reader.allow(1 << 62, float("inf"))
        packets = [0] * len(container.streams)
        tries = [DECODE_TRIES if s.type in ("video", "audio") else 0 for s in container.streams]
        decodes = [not wanted for wanted in tries]
        for packet in packets_of(container, list(container.streams)):
            at = packet.stream_index
            packets[at] += packet.dts is not None or packet.size > 0
            if not decodes[at] and tries[at]:
                tries[at] -= 1
                with suppress(av.FFmpegError):  # damage in it is no frame
                    decodes[at] = bool(packet.decode())
        streams = list(container.streams)[:STREAMS_MOST]
        rows = [[*describe(s), packets[s.index], decodes[s.index]] for s in streams]
    return {"contents": rows}
