"""What the probe knows of a file: a row for each kind of fact, over files that ffmpeg makes."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.clips import FFMPEG, MEDIA
from tests.test_probe import examine, media_of, opened, working
from watchconv.media.announced import read_announced
from watchconv.media.facts import Chroma, Track
from watchconv.media.probe_protocol import ProbeFailed
from watchconv.media.transport import announced_sounds, late_track
from watchconv.model import Cause

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

PICTURE = ["-f", "lavfi", "-i", "testsrc2=s=64x48:r=25:d=0.4"]
SOUND = ["-f", "lavfi", "-i", "sine=d=0.4"]


def make(path: Path, *words: object) -> Path:
    subprocess.run([FFMPEG, "-v", "error", "-y", *map(str, words), str(path)], check=True)
    return path


def facts_of(track: Track, names: Any) -> dict[str, object]:
    return {name: getattr(track, name) for name in names}


HDR10 = (
    "hdr10=1:repeat-headers=1:colorprim=bt2020:transfer=smpte2084:colormatrix=bt2020nc:log-level=0:"
    "master-display=G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,1):"
    "max-cll=1000,400"
)
VIDEOS: dict[str, tuple[str, list[str], dict[str, object]]] = {
    "8 bits": (
        "mp4",
        ["-c:v", "libx264", "-pix_fmt", "yuv420p"],
        {"bits": 8, "chroma": Chroma.HALF, "alpha": False, "interlaced": False, "width": 64},
    ),
    "10 bits, 4:2:2": (
        "mkv",
        ["-c:v", "libx264", "-pix_fmt", "yuv422p10le"],
        {"bits": 10, "chroma": Chroma.WIDE, "pixel_format": "yuv422p10le"},
    ),
    "4:4:4": (
        "mkv",
        ["-c:v", "libx264", "-pix_fmt", "yuv444p"],
        {"bits": 8, "chroma": Chroma.FULL},
    ),
    "grey": ("mkv", ["-c:v", "ffv1", "-pix_fmt", "gray10le"], {"bits": 10, "chroma": Chroma.GRAY}),
    "RGB": ("mkv", ["-c:v", "libx264rgb"], {"chroma": Chroma.RGB, "matrix": "gbr"}),
    "transparent": ("mov", ["-c:v", "qtrle", "-pix_fmt", "argb"], {"alpha": True}),
    "transparent VP8": (
        "webm",
        ["-c:v", "libvpx", "-pix_fmt", "yuva420p", "-auto-alt-ref", "0"],
        {"alpha": True},
    ),
    "tagged colours": (
        "mp4",
        ["-c:v", "libx264", "-pix_fmt", "yuv420p", "-vf",
         "setparams=colorspace=bt709:color_primaries=bt709:color_trc=bt709:range=pc"],
        {"primaries": "bt709", "transfer": "bt709", "matrix": "bt709", "full_range": True},
    ),
    "HDR10": (
        "mkv",
        ["-c:v", "libx265", "-pix_fmt", "yuv420p10le", "-x265-params", HDR10],
        {
            "transfer": "smpte2084", "primaries": "bt2020", "matrix": "bt2020nc", "is_hdr": True,
            "mastering": (0.68, 0.32, 0.265, 0.69, 0.15, 0.06, 0.3127, 0.329, 0.0001, 1000.0),
            "light_level": (1000, 400),
        },
    ),
    "fields": (
        "mkv",
        ["-c:v", "libx264", "-pix_fmt", "yuv420p", "-vf", "setfield=tff", "-flags", "+ildct+ilme"],
        {"interlaced": True},
    ),
    "MPEG-2 in fields": (
        "ts",
        ["-c:v", "mpeg2video", "-vf", "setfield=tff", "-flags", "+ildct+ilme"],
        {"interlaced": True, "program": 1},
    ),
    "no square pixels": (
        "mp4",
        ["-c:v", "libx264", "-vf", "setsar=16/11"],
        {"sample_aspect": (16, 11)},
    ),
    "a title, a language, flags": (
        "mkv",
        ["-c:v", "libx264", "-metadata:s:0", "title=Angle 2", "-metadata:s:0", "language=ger",
         "-disposition:0", "forced+default"],
        {"title": "Angle 2", "language": "ger", "flags": ("default", "forced")},
    ),
    "a timecode": (
        "mov",
        ["-c:v", "mpeg4", "-timecode", "01:02:03:04"],
        {"timecode": "01:02:03:04"},
    ),
    "a rate": ("mp4", ["-c:v", "mpeg4", "-r", "30000/1001"], {"frame_rate": 30000 / 1001}),
}  # fmt: skip


@pytest.mark.parametrize("kind", [*VIDEOS])
def test_a_video_is_what_its_frames_say(tmp_path: Path, kind: str) -> None:
    container, words, wanted = VIDEOS[kind]
    track = media_of(make(tmp_path / f"a.{container}", *PICTURE, *words)).tracks[0]

    found = facts_of(track, wanted)
    if "mastering" in wanted:
        assert found.pop("mastering") == pytest.approx(wanted["mastering"], abs=1 / 50000)
    assert found == {name: value for name, value in wanted.items() if name in found}


@pytest.mark.parametrize("turned", [0, 90, 180, 270])
@pytest.mark.parametrize("flipped", [False, True])
def test_a_video_is_turned_as_a_player_turns_it(tmp_path: Path, turned: int, flipped: bool) -> None:
    plain = make(tmp_path / "plain.mp4", *PICTURE, "-c:v", "mpeg4")
    mirror = ["-display_hflip"] if flipped else []
    # the option turns the other way round, before it mirrors
    clip = make(tmp_path / "a.mp4", "-display_rotation", turned, *mirror, "-i", plain, "-c", "copy")
    track = media_of(clip).tracks[0]

    assert track.flipped is flipped
    assert track.rotation == (turned if flipped else -turned % 360)


SOUNDS = {
    "mono": ("mkv", "aac", "mono", "mono", 1),
    "5.1": ("mkv", "aac", "5.1", "5.1", 6),
    "the other 5.1": ("mkv", "ac3", "5.1(side)", "5.1(side)", 6),
    "7.1": ("mkv", "flac", "7.1", "7.1", 8),
    "2.1": ("mkv", "flac", "2.1", "2.1", 3),
    "an order that is not said": ("avi", "pcm_s16le", "stereo", "stereo", 2),
}


@pytest.mark.parametrize("kind", [*SOUNDS])
def test_a_sound_has_its_layout_and_its_rate(tmp_path: Path, kind: str) -> None:
    container, codec, layout, wanted, channels = SOUNDS[kind]
    clip = make(
        tmp_path / f"a.{container}", *PICTURE, *SOUND, "-c:v", "mpeg4", "-c:a", codec,
        "-af", f"aformat=channel_layouts={layout}:sample_rates=48000",
    )  # fmt: skip
    sound = media_of(clip).tracks[1]

    assert (sound.layout, sound.channels, sound.sample_rate) == (wanted, channels, 48000)
    assert sound.decodable


@pytest.mark.parametrize(
    ("name", "mime", "codec"),
    [
        ("a.ttf", "application/x-truetype-font", "ttf"),
        ("a.ttf", "font/ttf", "ttf"),
        ("a.ttf", "font/sfnt", "ttf"),
        ("a.ttf", "application/octet-stream", "ttf"),
        ("A.TTC", "application/octet-stream", "ttf"),
        ("a.otf", "font/otf", "otf"),
        ("a.otf", "application/vnd.ms-opentype", "otf"),
        ("a.otf", "application/octet-stream", "otf"),
        ("a.txt", "text/plain", "unknown"),
        ("a.bin", "application/octet-stream", "unknown"),
    ],
)
def test_an_attachment_is_told_by_its_type_or_its_name(
    tmp_path: Path, name: str, mime: str, codec: str
) -> None:
    (tmp_path / name).write_bytes(b"a font")
    clip = make(
        tmp_path / "a.mkv", *PICTURE, "-c:v", "mpeg4", "-attach", tmp_path / name,
        "-metadata:s:t", f"mimetype={mime}", "-metadata:s:t", f"filename={name}",
    )  # fmt: skip
    found = media_of(clip).tracks[1]

    assert (found.kind, found.codec) == ("attachment", codec)
    assert (found.file_name, found.mime_type) == (name, mime)


def test_the_file_has_its_chapters_and_its_tags(tmp_path: Path) -> None:
    notes = tmp_path / "notes.txt"
    notes.write_text(
        ";FFMETADATA1\ntitle=A film\nartist=Somebody\n"
        "[CHAPTER]\nTIMEBASE=1/1000\nSTART=0\nEND=200\ntitle=One\n"
        "[CHAPTER]\nTIMEBASE=1/1000\nSTART=200\nEND=400\ntitle=Two\n"
    )
    clip = make(
        tmp_path / "a.mkv", *PICTURE, "-i", notes, "-map_metadata", 1, "-c:v", "mpeg4",
        "-metadata", "creation_time=2019-07-14T10:20:30Z",
    )  # fmt: skip
    found = media_of(clip)

    assert [(c.start, c.end, c.title) for c in found.chapters] == [
        (0.0, 0.2, "One"),
        (0.2, 0.4, "Two"),
    ]
    assert found.tag("title") == "A film"
    assert found.tag("creation_time").startswith("2019-07-14T10:20:30")


def test_what_an_edit_list_hides_is_counted(tmp_path: Path) -> None:
    whole = make(tmp_path / "a.mp4", *PICTURE, "-c:v", "mpeg4", "-g", 10)
    cut = make(tmp_path / "b.mp4", "-ss", 0.2, "-i", whole, "-c", "copy")

    assert media_of(whole).tracks[0].discarded == 0
    assert media_of(cut).tracks[0].discarded == 5


def test_a_phones_clip_says_where_and_how_it_was_made() -> None:
    found = media_of(MEDIA / "dolbyVision-hdr.MOV")
    video = found.tracks[0]

    assert found.tag("com.apple.quicktime.location.iso6709") == "+51.5334-000.1255+026.756/"
    assert found.tag("com.apple.quicktime.model") == "iPhone 14 Pro"
    assert (video.dolby_vision, video.dolby_vision_profile, video.dolby_vision_base) == (True, 8, 4)
    assert (video.transfer, video.bits, video.rotation) == ("arib-std-b67", 10, 90)


def test_an_encrypted_file_is_told(tmp_path: Path) -> None:
    clip = make(
        tmp_path / "a.mp4", *PICTURE, "-c:v", "libx264", "-encryption_scheme", "cenc-aes-ctr",
        "-encryption_key", "76a6c65c5ea762046bd749a2e632ccbb",
        "-encryption_kid", "a7e61c373e219033c21091fa607bf3b8",
    )  # fmt: skip

    assert media_of(clip).encrypted


def test_programmes_are_told_apart(tmp_path: Path) -> None:
    clip = make(
        tmp_path / "a.ts", *PICTURE, *SOUND, "-map", "0:v", "-map", "1:a", "-map", "0:v",
        "-c:v", "mpeg2video", "-c:a", "mp2",
        "-program", "program_num=7:st=0:st=1", "-program", "program_num=9:st=2:st=1",
    )  # fmt: skip

    # a sound of two programmes is nobody's own
    assert [track.program for track in media_of(clip).tracks] == [7, None, 9]


def test_a_track_that_is_announced_and_sends_nothing_has_no_samples(tmp_path: Path) -> None:
    clip = make(
        tmp_path / "a.ts", *PICTURE, *SOUND, *SOUND, "-map", "0:v", "-map", "1:a", "-map", "2:a",
        "-c:v", "mpeg2video", "-c:a", "mp2", "-mpegts_start_pid", "256",
    )  # fmt: skip
    packets = [clip.read_bytes()[at : at + 188] for at in range(0, clip.stat().st_size, 188)]
    clip.write_bytes(b"".join(p for p in packets if int.from_bytes(p[1:3], "big") & 0x1FFF != 258))
    tracks = media_of(clip).tracks

    assert [track.samples for track in tracks] == [None, None, 0]
    assert tracks[2].channels == 0


@pytest.mark.parametrize(
    ("container", "words", "steps"),
    [("flv", ["-c:v", "flv"], 1), ("ts", ["-c:v", "mpeg2video"], 1)],
)
def test_a_clock_that_begins_anew_is_counted_and_its_time_added(
    tmp_path: Path, container: str, words: list[str], steps: int
) -> None:
    two = ["-f", "lavfi", "-i", "testsrc2=s=64x48:r=25:d=2"]
    clip = make(tmp_path / f"a.{container}", *two, *words)
    content = clip.read_bytes()
    clip.write_bytes(content + (content[13:] if container == "flv" else content))
    with working() as worker:
        examined = examine(worker, clip)
    (video,) = examined.contents

    assert (video.packets, video.steps_back) == (100, steps)
    assert video.seconds == pytest.approx(4, abs=0.1)
    assert video.gaps == ()


def test_a_gap_is_found_where_nothing_is_shown(tmp_path: Path) -> None:
    long = ["-f", "lavfi", "-i", "testsrc2=s=64x48:r=25:d=6"]
    clip = make(
        tmp_path / "a.mkv", *long, "-c:v", "mpeg4", "-vf", "select='not(between(t,2,3.99))'",
        "-fps_mode", "passthrough", "-g", 5,
    )  # fmt: skip
    with working() as worker:
        (video,) = examine(worker, clip).contents

    (gap,) = video.gaps
    assert gap.at == pytest.approx(2, abs=0.05)
    assert gap.seconds == pytest.approx(2, abs=0.05)
    assert video.seconds == pytest.approx(4, abs=0.1)


@pytest.mark.parametrize("container", ["mkv", "ts", "mp4"])
def test_a_hole_is_a_run_of_zeros_and_padding_is_none(tmp_path: Path, container: str) -> None:
    noise = ["-f", "lavfi", "-i", "nullsrc=s=320x240:r=25:d=2,geq=random(1)*255:128:128"]
    clip = make(tmp_path / f"a.{container}", *noise, "-c:v", "mpeg4", "-q:v", 2)
    content = bytearray(clip.read_bytes())
    with working() as worker:
        assert examine(worker, clip).zeros == ()
        begin, length = len(content) // 3, 100_000
        content[begin : begin + length] = bytes(length)
        clip.write_bytes(content)
        ((at, many),) = examine(worker, clip).zeros

    assert abs(at - begin) < 4 and abs(many - length) < 8


@pytest.mark.parametrize(("damage", "decodes"), [(0.0, True), (1.0, False)])
def test_a_track_that_is_named_is_decoded_wholly(
    tmp_path: Path, damage: float, decodes: bool
) -> None:
    """Damage behind the first packets is only found so."""
    long = ["-f", "lavfi", "-i", "sine=d=4"]
    clip = make(tmp_path / "a.mkv", *PICTURE, *long, "-c:v", "mpeg4", "-c:a", "flac")
    content = clip.read_bytes()
    begin = int(len(content) * 0.3)
    broken = bytes(b ^ 0x5A for b in content[begin:-2000]) if damage else content[begin:-2000]
    clip.write_bytes(content[:begin] + broken + content[-2000:])
    with working() as worker:
        first = examine(worker, clip, decode=())
        wholly = examine(worker, clip, decode=(1,))

    assert first.contents[1].decodes
    assert wholly.contents[1].decodes or not decodes


LATE = ["-f", "lavfi", "-i", "testsrc2=s=64x48:r=25:d=14"]
LATE_SOUND = ["-itsoffset", "11", "-f", "lavfi", "-i", "sine=d=2"]


@pytest.mark.parametrize(
    ("container", "words"),
    [
        ("mpg", ["-f", "dvd", "-c:v", "mpeg2video", "-c:a", "mp2"]),
        ("mpg", ["-f", "dvd", "-c:v", "mpeg2video", "-c:a", "ac3"]),
        ("ts", ["-c:v", "mpeg2video", "-c:a", "mp2"]),
        ("flv", ["-c:v", "flv", "-c:a", "aac"]),
    ],
)
def test_a_track_that_begins_late_is_found_and_known(
    tmp_path: Path, container: str, words: list[str]
) -> None:
    clip = make(tmp_path / f"a.{container}", *LATE, *LATE_SOUND, *words)
    found = media_of(clip)
    with working() as worker:
        contents = examine(worker, clip).contents
    sounds = [track for track in found.tracks if track.kind == "audio"]

    assert [(one.channels, one.sample_rate) for one in sounds] == [(1, 44100)]
    assert sounds[0].start_seconds is not None and sounds[0].start_seconds > 10
    assert found.probe_bytes in (0, clip.stat().st_size)
    assert [one.decodes for one in contents if one.kind == "audio"] == [True]


def test_as_much_as_can_be_is_read_on_wish() -> None:
    clip = MEDIA / "weird_aspect.small.mpg"
    with working() as worker, opened(clip) as fd:
        assert worker.probe(fd).probe_bytes == 0
        assert worker.probe(fd, whole=True).probe_bytes == clip.stat().st_size


@pytest.mark.parametrize("late", [False, True])
def test_a_program_stream_is_looked_through_for_tracks_that_nobody_announced(late: bool) -> None:
    def pes(number: int, private: bytes = b"") -> bytes:
        content = b"\x80\0\0" + private + bytes(200)
        return b"\0\0\1" + bytes([number]) + len(content).to_bytes(2, "big") + content

    film = pes(0xE0) + pes(0xC0) + pes(0xBE) + pes(0xBF) + pes(0xBD, b"\x80")
    content = film * 10_000 + (pes(0xBD, b"\x20") if late else b"") * 5000 + film * 10_000

    found = late_track(reading(content), len(content), [0x1E0, 0x1C0, 0x80])

    assert (found is not None) is late
    assert found is None or len(film) * 10_000 <= found < len(content) - len(film) * 10_000


def reading(content: bytes | bytearray) -> Callable[[int, int], bytes]:
    return lambda count, at: bytes(content[at : at + count])


def transport(*sections: tuple[int, bytes]) -> bytes:
    """Write tables as a transport stream, each from a packet of its own on."""
    packets = []
    for pid, section in sections:
        payload = b"\0" + section + b"\0\0\0\0"  # the check sum is nobody's concern
        for count, at in enumerate(range(0, len(payload), 184)):
            head = (0x4000 if at == 0 else 0) | pid
            packet = b"\x47" + head.to_bytes(2, "big") + bytes([0x10 | count])
            packets.append((packet + payload[at : at + 184]).ljust(188, b"\xff"))
    return b"".join(packets * 4)


def table(kind: int, body: bytes) -> bytes:
    rest = b"\0\1\xc1\0\0" + body
    return bytes([kind]) + (0xB000 | len(rest) + 4).to_bytes(2, "big") + rest


def programme(*streams: tuple[int, int, bytes]) -> bytes:
    body = b"\xe1\0\xf0\0"
    for kind, pid, descriptors in streams:
        body += bytes([kind]) + (0xE000 | pid).to_bytes(2, "big")
        body += (0xF000 | len(descriptors)).to_bytes(2, "big") + descriptors
    return table(2, body)


PAT = table(0, b"\0\0\xe0\x10" + b"\0\1\xf0\0")  # the network's, and a programme's at 0x1000


@pytest.mark.parametrize(
    ("descriptors", "codec"),
    [
        (b"\x05\x04AC-4", "ac4"),
        (b"\x0a\x04eng\0" + b"\x7f\x02\x15\0", "ac4"),
        (b"\x6a\x01\0", "ac3"),
        (b"\x05\x04HDMV", None),
        (b"", None),
        (b"\x05", None),
        (b"\x05\xffAC-4", "ac4"),
        (b"\x0a\x80" + bytes(128) + b"\x05\x04AC-4", "ac4"),
    ],
)
def test_a_programmes_table_names_its_sounds(descriptors: bytes, codec: str | None) -> None:
    pmt = programme((0x1B, 0x100, b""), (0x06, 0x101, descriptors))
    content = transport((0, PAT), (0x1000, pmt))
    for data in (content, b"junk" + content):
        found = announced_sounds(reading(data), len(data))
        assert found == ({0x101: codec} if codec else {})


@given(st.binary(max_size=2000), st.integers(0, 1500))
def test_tables_that_make_no_sense_name_nothing_and_fail_nothing(garbage: bytes, at: int) -> None:
    content = bytearray(transport((0, PAT), (0x1000, programme((6, 257, b"\x05\x04AC-4")))))
    content[at : at + len(garbage)] = garbage

    found = announced_sounds(reading(content), len(content))
    assert all(0 <= pid < 1 << 13 and codec.isalnum() for pid, codec in found.items())
    assert late_track(reading(content), len(content), []) is None or garbage


SHAPES = [("mpeg2video", "ts"), ("libx264", "ts"), ("libx265", "ts"), ("libvpx", "webm")]


@pytest.mark.parametrize(("codec", "container"), SHAPES)
@pytest.mark.parametrize(
    ("second", "largest"),
    [("s=128x96", (128, 96)), ("s=64x48,setsar=4/3", (64, 48)), ("s=64x48", None)],
)
def test_a_size_or_a_shape_that_changes_is_told(
    tmp_path: Path, codec: str, container: str, second: str, largest: tuple[int, int] | None
) -> None:
    if codec == "libvpx" and "setsar" in second:
        return  # it has no shape of its own
    names = []
    for name, source in (("one", "s=64x48"), ("two", second)):
        size, _, rest = source.partition(",")
        clip = tmp_path / f"{name}.{container}"
        make(
            clip, "-f", "lavfi", "-i", f"testsrc2={size}:r=25:d=0.4{',' * bool(rest)}{rest}",
            "-c:v", codec,
        )  # fmt: skip
        names.append(f"file {clip.name}\n")
    (tmp_path / "list").write_text("".join(names))
    both = make(
        tmp_path / f"both.{container}", "-f", "concat", "-i", tmp_path / "list", "-c", "copy"
    )

    assert media_of(both).tracks[0].largest == largest
    with working() as worker:
        assert examine(worker, both).facts.tracks[0].largest == largest


def test_tracks_beyond_any_film_are_refused_in_a_sentence(tmp_path: Path) -> None:
    clip = tmp_path / "a.mkv"
    clip.write_bytes(matroska_with(5000))
    with pytest.raises(ProbeFailed, match="tracks") as failed:
        media_of(clip)

    assert failed.value.cause is Cause.TOO_LARGE


def test_many_tracks_are_all_told(tmp_path: Path) -> None:
    clip = tmp_path / "a.mkv"
    clip.write_bytes(matroska_with(1500))

    assert len(media_of(clip).tracks) == 1500


def element(name: str, content: bytes) -> bytes:
    return bytes.fromhex(name) + (1 << 56 | len(content)).to_bytes(8, "big") + content


def matroska_with(tracks: int) -> bytes:
    """Write a Matroska file of so many subtitle tracks, none of which says anything."""
    header = element("1a45dfa3", element("4282", b"matroska"))
    entries = b"".join(
        element(
            "ae",
            element("d7", number.to_bytes(2, "big"))
            + element("73c5", number.to_bytes(2, "big"))
            + element("83", b"\x11")
            + element("86", b"S_TEXT/UTF8"),
        )
        for number in range(1, tracks + 1)
    )
    cluster = element("1f43b675", element("e7", b"\0") + element("a3", b"\x81\0\0\x80a"))
    return header + element("18538067", element("1654ae6b", entries) + cluster)


def test_what_ffmpegs_libraries_print_is_bounded_and_no_line_is_believed_that_is_not_theirs() -> (
    None
):
    dump = """\
Input #0, matroska,webm, from '':
  Metadata:
    title           : a film
                    :   Stream #0:7: Audio: forged
  Program 3
    Metadata:
      service_name    : Two
  Stream #0:0[0x101](eng): Video: hevc (Main 10) (hvc1 / 0x31637668), yuv420p10le(tv), 320x180
    Metadata:
      DOVI configuration record: version: 1.0, profile: 9, compatibility id: 9
    Side data:
      DOVI configuration record: version: 1.0, profile: 5, level: 1, compatibility id: 0, x: 0
      Display Matrix: rotation of -90.00 degrees
      spherical: equirectangular (0.0/0.0/0.0)
  No Program
  Stream #0:1: Audio: ac4 ([6][0][0][0] / 0x0006), 0 channels
"""
    found = read_announced(dump)

    assert sorted(found) == [0, 1]
    assert (found[0].codec, found[0].programs, found[0].rotation) == ("hevc", {3}, 90)
    assert found[0].dolby_vision == (5, 0)
    assert found[0].spherical
    assert (found[1].codec, found[1].programs, found[1].dolby_vision) == ("ac4", set(), None)


@pytest.mark.parametrize("frames", [1, 2])
def test_a_film_that_ends_before_it_is_known_is_probed_beside_tracks_that_do_not_decode(
    tmp_path: Path, frames: int
) -> None:
    """What ends the streams is a packet for each, and all of them bear the first one's number."""
    (tmp_path / "a.ttf").write_bytes(b"a font")
    clip = make(
        tmp_path / "a.mkv", *PICTURE, "-frames:v", frames, "-c:v", "mpeg2video",
        "-attach", tmp_path / "a.ttf", "-metadata:s:t", "mimetype=font/ttf",
    )  # fmt: skip

    assert [track.codec for track in media_of(clip).tracks] == ["mpeg2video", "ttf"]
    with working() as worker:
        assert [one.decodes for one in examine(worker, clip).contents] == [True, True]
