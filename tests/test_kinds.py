"""What becomes of each property of a film, in every built-in profile, with both ffmpegs.

A property is kept, or a warning of the job says that it is not, or the job is refused with a reason
that is named here. Outputs are read with ffprobe and shown by ffmpeg, not by what made and proved
them. ``WATCHCONV_FAULTS=all`` tries all; by default each property meets one profile of each ffmpeg.

    WATCHCONV_FAULTS=all python -m pytest tests/test_kinds.py -s      # prints the table
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import zlib
from collections import Counter
from operator import eq
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from tests.clips import FFMPEG
from tests.daemon import Place
from watchconv.config.profiles import BUILTIN
from watchconv.model import WarningCause as Said

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

PROGRAMS = {"system": shutil.which("ffmpeg") or FFMPEG, "embedded": FFMPEG}
EVERYTHING = os.environ.get("WATCHCONV_FAULTS") == "all"
UNLIKE = 650.0  # of colours from 0 to 255, squared: 20 dB

Probe = dict[str, Any]


def film(source: str = "testsrc2=s=320x240:r=25:d=1", *more: str) -> list[str]:
    return ["-f", "lavfi", "-i", source, *more]


def tone(layout: str = "stereo", rate: int = 48000, seconds: float = 1) -> list[str]:
    return ["-f", "lavfi", "-i", f"anoisesrc=r={rate}:d={seconds}:a=0.1,aformat=cl={layout}"]


H264 = ["-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-threads", "1"]
AAC = ["-c:a", "aac"]
FLAC = ["-c:a", "flac", "-sample_fmt", "s16"]  # 5.1 decodes no more bits
FFV1 = ["-c:v", "ffv1"]


# what is read of a file


def streams(probe: Probe, kind: str) -> list[Any]:
    found = [s for s in probe["streams"] if s["codec_type"] == kind]
    if kind == "video":
        found = [s for s in found if not s["disposition"]["attached_pic"]]
    return found


def picture(field: str) -> Callable[[Probe], Any]:
    return lambda probe: streams(probe, "video")[0].get(field)


def shown_size(probe: Probe) -> tuple[int, int]:
    """Give the size of the first picture as a player shows it, lines made even."""
    video = streams(probe, "video")[0]
    turns = [d["rotation"] for d in video.get("side_data_list", []) if "rotation" in d]
    width, height = (-(-video[name] // 2) * 2 for name in ("width", "height"))
    return (height, width) if turns and turns[0] % 180 else (width, height)


def frames(probe: Probe) -> int:
    return int(streams(probe, "video")[0]["nb_read_frames"])


def bits(probe: Probe) -> int:
    return 10 if "10" in streams(probe, "video")[0]["pix_fmt"] else 8


def chroma(probe: Probe) -> str:
    name = streams(probe, "video")[0]["pix_fmt"]
    return next((c for c in ("420", "422", "444") if c in name), "rgb")


def alpha(probe: Probe) -> bool:
    video = streams(probe, "video")[0]
    tags = {key.lower(): value for key, value in video.get("tags", {}).items()}
    letters = ("yuva", "argb", "rgba", "bgra", "gbrap", "ya8")
    return tags.get("alpha_mode") == "1" or video["pix_fmt"].startswith(letters)


def colors(probe: Probe) -> str:
    """Give the matrix that a player takes."""
    video = streams(probe, "video")[0]
    if chroma(probe) == "rgb":
        return "right"
    wanted = "bt709" if video["height"] >= 720 else "601"
    tag = video.get("color_space", "unknown").replace("smpte170m", "601").replace("bt470bg", "601")
    return "right" if tag in (wanted, "bt709", "601") else f"{tag}, not {wanted}"


def aspect(probe: Probe) -> float:
    video = streams(probe, "video")[0]
    above, below = map(int, video.get("sample_aspect_ratio", "1:1").split(":"))
    shape: float = video["width"] * above / below / video["height"]
    return round(shape, 1)


def sounds(field: str) -> Callable[[Probe], Any]:
    return lambda probe: [s.get(field) for s in streams(probe, "audio")]


def tags_of_tracks(kind: str, tag: str) -> Callable[[Probe], Any]:
    return lambda probe: [s.get("tags", {}).get(tag) for s in streams(probe, kind)]


def flags(probe: Probe) -> list[list[str]]:
    names = ("comment", "hearing_impaired", "forced")
    return [[n for n in names if s["disposition"][n]] for s in probe["streams"]]


def layouts(probe: Probe) -> list[str]:
    rows = streams(probe, "audio")
    return [s.get("channel_layout", f"{s['channels']} channels") for s in rows]


# behind and beside the listener is one place where there is only one of them
SPEAKERS = {
    "mono": "FC",
    "2.1": "FL FR LFE",
    "3.0": "FL FR FC",
    "4.0": "FL FR FC BC",
    "quad": "FL FR BL BR",
    "5.1": "FL FR FC LFE BL BR",
    "5.1(side)": "FL FR FC LFE BL BR",
    "6.1": "FL FR FC LFE BC BL BR",
    "6.1(back)": "FL FR FC LFE BC BL BR",
    "7.1": "FL FR FC LFE BL BR SL SR",
    "7 channels": "FL FR FC LFE BC BL BR",  # how an ffprobe 5.1 names the 6.1 of AAC
}


def has_speakers(wanted: list[str], found: list[str]) -> bool:
    """Tell whether each sound has a speaker for each channel; silent ones more are no loss."""
    pairs = list(zip(wanted, found, strict=True))
    return all(set(SPEAKERS[a].split()) <= set(SPEAKERS.get(b, "").split()) for a, b in pairs)


def count_of(kind: str) -> Callable[[Probe], Any]:
    return lambda probe: len(streams(probe, kind))


def covers(probe: Probe) -> int:
    return sum(s["disposition"]["attached_pic"] for s in probe["streams"])


def chapters(probe: Probe) -> list[float]:
    return [round(float(c["start_time"]), 1) for c in probe["chapters"]]


def tag(*names: str) -> Callable[[Probe], Any]:
    def read(probe: Probe) -> str | None:
        tags = {k.lower(): v for k, v in probe["format"].get("tags", {}).items()}
        return next((tags[name][:10] for name in names if name in tags), None)

    return read


def timecode(probe: Probe) -> str | None:
    found = [s.get("tags", {}).get("timecode") for s in probe["streams"]]
    found.append({k.lower(): v for k, v in probe["format"].get("tags", {}).items()}.get("timecode"))
    return next(filter(None, found), None)


def delay(probe: Probe) -> float:
    first = float(streams(probe, "video")[0].get("start_time", 0))
    return round(float(streams(probe, "audio")[0].get("start_time", 0)) - first, 1)


def field_order(probe: Probe) -> bool:
    return streams(probe, "video")[0].get("field_order", "unknown") in ("tt", "bb", "tb", "bt")


class Kind(NamedTuple):
    """A property: a film that has it, what is read of it, and what may be said where it is lost."""

    suffix: str
    made: Sequence[str]
    read: Callable[[Probe], Any]
    said: frozenset[Said] = frozenset()
    refusal: str = ""  # what a reason holds that is right
    then: Sequence[str] = ()  # arguments of a second step, which copies
    holds: Callable[[Any, Any], bool] = eq  # what is found has all of what is wanted


LEFT = Said.TRACK_LEFT_OUT
PQ = [
    *("-c:v", "libx265", "-preset", "ultrafast", "-pix_fmt", "yuv420p10le"),
    *("-x265-params", "log-level=none:colorprim=9:transfer=16:colormatrix=9:range=limited:hdr10=1"
      ":master-display=G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,50)"
      ":max-cll=1000,400"),
    *("-color_primaries", "bt2020", "-color_trc", "smpte2084", "-colorspace", "bt2020nc"),
]  # fmt: skip
ASS = "[Script Info]\nScriptType: v4.00+\n[V4+ Styles]\nFormat: Name, Fontname, Fontsize\n"
ASS += "Style: S,Arial,20\n[Events]\nFormat: Start, End, Style, Text\n"
ASS += "Dialogue: 0:00:00.10,0:00:00.80,S,{\\i1}Hello\n"
TEXTS = {
    "a.srt": "1\n00:00:00,100 --> 00:00:00,800\nHello\n",
    "a.ass": ASS,
    "a.ttf": "\0\1\0\0" + "x" * 200,
    "a.meta": ";FFMETADATA1\n"
    + "".join(
        f"[CHAPTER]\nTIMEBASE=1/10\nSTART={n * 5}\nEND={n * 5 + 5}\ntitle=c{n}\n" for n in (0, 1)
    ),
}
KINDS: dict[str, Kind] = {
    "turned by 90": Kind(
        ".mov", [*film(), *H264], shown_size, refusal="turned", then=["-display_rotation", "90"]
    ),
    "turned by 180": Kind(
        ".mov", [*film(), *H264], shown_size, refusal="turned", then=["-display_rotation", "180"]
    ),
    "cut by an edit list": Kind(
        ".mp4", [*film(), *H264, "-g", "50"], frames, refusal="cut", then=["-ss", "0.5"]
    ),
    "variable frame rate": Kind(
        ".mkv",
        [*film(), *tone(), "-vf", "select=not(mod(n\\,4))+lt(n\\,9)", "-fps_mode", "vfr",
         *H264, *AAC],
        frames,
    ),
    "two frame rates": Kind(".mkv", [*film("testsrc2=r=24000/1001:d=1"), *H264], frames),
    "fields": Kind(
        ".ts",
        [*film("testsrc2=s=320x240:r=50:d=1,tinterlace=interleave_top,setfield=tff"), *tone(),
         "-c:v", "mpeg2video", "-flags", "+ildct+ilme", "-b:v", "2M", "-c:a", "mp2"],
        field_order,
        frozenset({Said.DEINTERLACED}),
    ),
    "RGB": Kind(
        ".mov", [*film("testsrc2=s=1280x720:r=5:d=1"), "-c:v", "qtrle", "-pix_fmt", "rgb24"],
        colors,
    ),
    "HDR": Kind(
        ".mkv", [*film(), *PQ], picture("color_transfer"), frozenset({Said.TONE_MAPPED})
    ),
    "10 bits": Kind(
        ".mkv", [*film(), *FFV1, "-pix_fmt", "yuv420p10le"], bits, frozenset({Said.DEPTH})
    ),
    "4:4:4": Kind(
        ".mkv", [*film(), *FFV1, "-pix_fmt", "yuv444p"], chroma, frozenset({Said.CHROMA})
    ),
    "4:2:2": Kind(
        ".mov", [*film(), "-c:v", "prores", "-pix_fmt", "yuv422p10le"], chroma,
        frozenset({Said.CHROMA}),
    ),
    "transparent": Kind(
        ".mov", [*film("testsrc2=s=320x240:r=10:d=1,format=argb,colorchannelmixer=aa=0.5"),
                 "-c:v", "qtrle"],
        alpha, frozenset({Said.ALPHA}),
    ),
    "full range": Kind(".mkv", [*film(), "-c:v", "mjpeg", "-q:v", "3", "-pix_fmt", "yuvj420p"],
                       frames),
    "anamorphic": Kind(".mkv", [*film(), "-vf", "setsar=64/45", *H264], aspect),
    "odd size": Kind(
        ".mkv", [*film("testsrc2=s=321x241:r=25:d=1"), *FFV1, "-pix_fmt", "yuv444p"], shown_size
    ),
    "languages": Kind(
        ".mkv",
        [*film(), *tone(), *tone("mono"), "-map", "0", "-map", "1", "-map", "2", *H264, *AAC,
         "-metadata:s:a:0", "language=jpn", "-metadata:s:a:1", "language=eng"],
        tags_of_tracks("audio", "language"),
    ),
    "commentary": Kind(
        ".mkv",
        [*film(), *tone(), *tone("mono"), "-map", "0", "-map", "1", "-map", "2", *H264, *AAC,
         "-disposition:a:1", "comment"],
        flags,
        frozenset({Said.FLAGS}),
    ),
    **{
        layout: Kind(
            ".mkv", [*film(), *tone(layout), *H264, *FLAC], layouts, frozenset({Said.LAYOUT}),
            holds=has_speakers,
        )
        for layout in ("mono", "2.1", "3.0", "4.0", "quad", "5.1(side)", "6.1", "7.1")
    },
    "96 kHz": Kind(
        ".mkv", [*film(), *tone(rate=96000), *H264, *FLAC], sounds("sample_rate"),
        frozenset({Said.SAMPLE_RATE}),
    ),
    "text subtitles": Kind(
        ".mkv", [*film(), "-i", "a.srt", "-map", "0", "-map", "1", *H264, "-c:s", "srt"],
        count_of("subtitle"),
    ),
    "styled subtitles": Kind(
        ".mkv", [*film(), "-i", "a.ass", "-map", "0", "-map", "1", *H264, "-c:s", "ass"],
        lambda probe: [s["codec_name"] for s in streams(probe, "subtitle")],
        frozenset({Said.STYLE}),
    ),
    "fonts": Kind(
        ".mkv",
        [*film(), *H264, "-attach", "a.ttf", "-metadata:s:t:0", "mimetype=font/ttf",
         "-metadata:s:t:0", "filename=a.ttf"],
        count_of("attachment"),
        frozenset({LEFT, Said.FONTS}),
    ),
    "cover": Kind(
        ".mp4",
        [*film(), *film("color=red:s=64x64:r=1:d=1"), "-map", "0", "-map", "1", *H264,
         "-c:v:1", "mjpeg", "-disposition:v:1", "attached_pic"],
        covers,
        frozenset({LEFT, Said.COVER}),
    ),
    "chapters": Kind(
        ".mkv", [*film(), "-i", "a.meta", "-map", "0", "-map_chapters", "1", *H264], chapters,
        frozenset({Said.CHAPTERS}),
    ),
    "date": Kind(
        ".mp4", [*film(), *H264, "-metadata", "creation_time=2019-07-14T10:20:30Z"],
        tag("creation_time", "date"), frozenset({Said.DATE}),
    ),
    "title": Kind(
        ".mp4", [*film(), *H264, "-metadata", "title=A day"], tag("title"), frozenset({Said.TAGS})
    ),
    "place": Kind(
        ".mov", [*film(), *H264, "-movflags", "use_metadata_tags", "-metadata",
                 "com.apple.quicktime.location.ISO6709=+10.0000+020.0000/"],
        tag("com.apple.quicktime.location.iso6709", "location", "location-eng"),
        frozenset({Said.PLACE}),
    ),
    "timecode": Kind(
        ".mov", [*film(), *H264, "-timecode", "01:02:03:04"], timecode,
        frozenset({Said.TIMECODE}),
    ),
    "late sound": Kind(
        ".mkv", [*film(), "-itsoffset", "0.4", *tone(seconds=0.6), *H264, *FLAC], delay
    ),
    "longer sound": Kind(".mkv", [*film(), *tone(seconds=2), *H264, *FLAC], count_of("audio")),
    "two pictures": Kind(
        ".mkv",
        [*film(), *film("testsrc=s=160x120:r=25:d=1"), "-map", "0", "-map", "1", *H264],
        count_of("video"), frozenset({LEFT}),
    ),
    "GIF": Kind(".gif", film("testsrc2=s=160x120:r=10:d=1"), frames),
}  # fmt: skip


def make(kind: Kind, folder: Path, name: str) -> Path:
    path = folder / f"{name}{kind.suffix}"
    first = folder / f"first{kind.suffix}" if kind.then else path
    _ffmpeg(folder, *kind.made, first.name)
    if kind.then:
        _ffmpeg(folder, *kind.then, "-i", first.name, "-c", "copy", path.name)
    return path


def _ffmpeg(folder: Path, *words: str) -> None:
    argv = [FFMPEG, "-v", "error", "-nostdin", "-y", *words]
    subprocess.run(argv, cwd=folder, check=True, timeout=60)


def read(path: Path) -> Probe:
    argv = ["ffprobe", "-v", "error", "-of", "json", "-count_frames", "-show_streams"]
    argv += ["-show_format", "-show_chapters", str(path)]
    answer = subprocess.run(argv, check=True, capture_output=True, timeout=60).stdout
    found: Probe = json.loads(answer)
    return found


def look(path: Path) -> list[bytes]:
    """Give the pictures around the middle, as they are shown, in 16x16 colours."""
    where = "scale=flags=accurate_rnd+full_chroma_int,format=rgb24,scale=16:16:flags=area"
    argv = [FFMPEG, "-v", "error", "-i", str(path), "-map", "0:v:0", "-vf", where]
    argv += ["-f", "rawvideo", "-"]
    shown = subprocess.run(argv, check=True, capture_output=True, timeout=60).stdout
    pictures = [shown[at : at + 768] for at in range(0, len(shown), 768)]
    middle = len(pictures) // 2
    return pictures[max(0, middle - 2) : middle + 3]


def unlike(before: Sequence[bytes], after: Sequence[bytes]) -> float:
    """Give the least mean square of the differences of any two pictures."""
    return min(
        sum((a - b) ** 2 for a, b in zip(one, other, strict=True)) / len(one)
        for one in before
        for other in after
    )


def judge(kind: Kind, profile: str, original: Path, job: dict[str, Any], outbox: Path) -> str:
    """Say what became of a property; what begins with LOST or WRONG is a fault."""
    if job["state"] != "done":
        is_named = kind.refusal and kind.refusal in job["reason"]
        return "refused" if is_named else f"WRONG: {job['state']}: {job['reason']}"
    output = outbox / job["outputs"][0]
    causes = {warning["cause"] for warning in job["warnings"]}
    before, after = read(original), read(output)
    are_tones_same = Said.TONE_MAPPED not in causes and Said.ALPHA not in causes
    is_steady = not alpha(before) and shown_size(before) == shown_size(after)
    if are_tones_same and is_steady and unlike(look(original), look(output)) > UNLIKE:
        return "WRONG: another picture"
    wanted, found = kind.read(before), kind.read(after)
    if kind.holds(wanted, found):
        return "kept" if wanted == found else f"converted ({wanted} to {found})"
    if said := causes & kind.said:
        return f"said ({', '.join(sorted(said))})"
    return f"LOST: {wanted} became {found}; said were {sorted(causes) or 'no losses'}"


def chosen(name: str, program: str) -> list[str]:
    """Choose the profiles that a property meets: by its name, not by chance."""
    profiles = list(BUILTIN)
    if EVERYTHING:
        return profiles
    return [profiles[zlib.crc32(f"{name} {program}".encode()) % len(profiles)]]


@pytest.mark.skipif(not shutil.which("ffprobe"), reason="needs ffprobe, which comes with ffmpeg")
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("program", PROGRAMS)
def test_no_property_of_a_film_is_lost_in_silence(tmp_path: Path, program: str) -> None:
    made = tmp_path / "made"
    made.mkdir()
    for name, text in TEXTS.items():
        (made / name).write_text(text, encoding="latin-1")
    settings = {"min_free": 0, "settle_seconds": 0.2, "max_attempts": 1, "on_success": "keep"}
    place = Place(tmp_path / "videos", {**settings, "ffmpeg": PROGRAMS[program]})
    originals = {name: make(kind, made, name.replace(":", "")) for name, kind in KINDS.items()}
    for name, path in originals.items():
        for profile in chosen(name, program):
            target = place.inbox / profile / f"{name.replace(':', '')}{KINDS[name].suffix}"
            target.parent.mkdir(exist_ok=True)
            shutil.copyfile(path, target)
    place.run("run", "--once", seconds=1700)
    jobs = {job["source"]: job for job in place.jobs()}
    found = {
        (name, profile): judge(
            kind,
            profile,
            originals[name],
            jobs[f"{profile}/{originals[name].name}"],
            place.outbox,
        )
        for name, kind in KINDS.items()
        for profile in chosen(name, program)
    }
    for (name, profile), verdict in found.items():
        print(f"{program:9} {name:20} {profile:6} {verdict}")
    print(Counter(verdict.split()[0] for verdict in found.values()))
    faults = {spot: v for spot, v in found.items() if v.startswith(("LOST", "WRONG"))}
    assert faults == {}
