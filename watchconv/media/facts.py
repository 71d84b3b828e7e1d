"""What is known of a file's contents, originals and outputs alike, once the probe worker read it.

Names of codecs, colours, layouts and dispositions are ffmpeg's. Text is cut and printable. Times
are seconds on the file's own clock.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

HD_LINES = 720  # from here on players take BT.709 for a picture that has no tag, else BT.601


class Chroma(StrEnum):
    """How the colours of a picture are stored."""

    GRAY = "gray"
    RGB = "rgb"  # and palettes
    HALF = "420"
    WIDE = "422"
    FULL = "444"
    OTHER = "other"  # 411, 410, 440, Bayer


@dataclass(frozen=True, slots=True)
class Track:
    """One stream of a file. What belongs to another kind, or is not known, has its default."""

    index: int
    kind: str  # video, audio, subtitle, data, attachment
    codec: str  # the codec's name; "unknown" where ffmpeg has none
    samples: int | None  # packets that the container's own index lists; None: it has none
    width: int = 0
    height: int = 0
    pixel_format: str = ""
    attached_picture: bool = False
    language: str = ""
    # of every kind
    title: str = ""
    flags: tuple[str, ...] = ()  # dispositions, sorted: default, forced, comment, attached_pic, …
    decodable: bool = True  # there is a decoder for it in the probe worker's libraries
    program: int | None = None  # the one of a transport stream that it belongs to
    start_seconds: float | None = None  # when it begins, by its first packets
    bit_rate: int | None = None
    discarded: int = 0  # packets that an edit list hides
    # video: of the first decoded frame, else of the headers
    bits: int = 0  # of each component
    chroma: Chroma = Chroma.OTHER
    alpha: bool = False
    primaries: str = ""  # bt709, bt2020, smpte170m, …
    transfer: str = ""  # bt709, smpte2084 (PQ), arib-std-b67 (HLG), …
    matrix: str = ""  # bt709, bt2020nc, smpte170m, gbr, …
    full_range: bool | None = None
    sample_aspect: tuple[int, int] = (1, 1)
    rotation: int = 0  # degrees clockwise that a player turns it: 0, 90, 180, 270
    flipped: bool = False  # mirrored left to right before that
    interlaced: bool = False
    frame_rate: float | None = None  # the average
    captions: bool = False  # CEA-608 or 708 in the picture
    dolby_vision: bool = False
    dolby_vision_profile: int | None = None  # 5, 7, 8, 10, …
    dolby_vision_base: int | None = None  # what its base layer is: 0 nothing, 1 HDR10, 2 SDR, 4 HLG
    mastering: tuple[float, ...] = ()  # r, g, b, white (x, y each), least and most cd/m²
    light_level: tuple[int, int] | None = None  # MaxCLL, MaxFALL
    spherical: bool = False
    largest: tuple[int, int] | None = None  # size that occurs, where sizes or shapes change
    # audio
    channels: int = 0
    layout: str = ""  # stereo, 5.1(side), …
    sample_rate: int = 0
    # attachment
    file_name: str = ""
    mime_type: str = ""
    # video and data
    timecode: str = ""

    @property
    def is_hdr(self) -> bool:
        """Whether its pictures are PQ or HLG."""
        return self.transfer in ("smpte2084", "arib-std-b67")


@dataclass(frozen=True, slots=True)
class Chapter:
    """A chapter, in seconds."""

    start: float
    end: float
    title: str = ""


@dataclass(frozen=True, slots=True)
class Facts:
    """What the probe found in a file."""

    demuxer: str  # one name that ffmpeg's -f takes
    duration_seconds: float | None  # proven by packets, never what a header says; None: unknown
    tracks: tuple[Track, ...]
    chapters: tuple[Chapter, ...] = ()
    tags: tuple[tuple[str, str], ...] = ()  # of the file, keys in lower case
    encrypted: bool = False  # its samples cannot be decoded without a key
    clock_restarts: int = 0  # how often its clock is known to begin anew
    probe_bytes: int = 0  # what ffmpeg must read to find all tracks; 0: what it reads by itself

    @property
    def videos(self) -> tuple[Track, ...]:
        """The tracks that make this a video: no attached pictures."""
        return tuple(t for t in self.tracks if t.kind == "video" and not t.attached_picture)

    def tag(self, key: str) -> str:
        """Return a tag of the file; empty for one that it lacks."""
        return dict(self.tags).get(key, "")


@dataclass(frozen=True, slots=True)
class Gap:
    """A place of a track's timeline where nothing is shown."""

    at: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Content:
    """One track of a file that was read to its end."""

    index: int
    kind: str
    codec: str
    packets: int
    decodes: bool  # its first packets give at least one frame
    start: float | None = None  # when its first packet is shown; those that are discarded apart
    end: float | None = None  # when its last one is over
    gaps: tuple[Gap, ...] = ()  # the largest first, at most 10
    steps_back: int = 0  # how often its clock began anew behind what was there
    corrupt: int = 0  # packets that are zeros, or flagged as damaged
    seconds: float = 0.0  # how long it is shown: gaps apart, each new beginning of the clock added


@dataclass(frozen=True, slots=True)
class Examined:
    """What a file read to its end holds."""

    facts: Facts  # with the tracks that only begin in its middle
    contents: tuple[Content, ...]  # one for each track, in the order of facts.tracks
    zeros: tuple[tuple[int, int], ...] = ()  # runs of 64 KiB and more: at byte, bytes; at most 10


@dataclass(frozen=True, slots=True)
class Picture:
    """A moment of a video as a player shows it: 16x16 mean colours, row by row, RGB of 0 to 255.

    Turned upright, colours by the tags (without them BT.709 from 720 lines on, else BT.601).
    """

    at: float
    colors: bytes  # 768
