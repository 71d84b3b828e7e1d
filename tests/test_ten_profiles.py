"""The ten profiles of the README, each on two inputs with both ffmpegs: what comes out of them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from contextlib import closing
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

from tests.clips import FFMPEG
from watchconv.config.load import load_config
from watchconv.encode.plan import EncodePlan, plan_encode
from watchconv.encode.program import examine_program
from watchconv.media.probe import ProbeWorker
from watchconv.model import Rejected, WarningCause

if TYPE_CHECKING:
    from collections.abc import Iterator

    from watchconv.media.facts import Facts
    from watchconv.model import Profile

README = Path(__file__).parents[1] / "README.md"
PROGRAMS = {"system": shutil.which("ffmpeg") or FFMPEG, "embedded": FFMPEG}

BARS = "testsrc=s=320x240:r=10:d=1"
TONE = ("-f", "lavfi", "-i", "sine=d=1:r=48000")
SURROUND = ("-f", "lavfi", "-i", "anullsrc=cl=5.1:r=48000:d=1")
PLACE = ("-metadata", "location=+10.0000+020.0000/", "-metadata", "title=A day")
DATE = ("-metadata", "creation_time=2019-07-14T10:20:30Z")
H264 = ("-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p")
HDR: tuple[str, ...] = ("-c:v", "libx265", "-preset", "ultrafast", "-pix_fmt", "yuv420p10le")
HDR += ("-color_primaries", "bt2020", "-color_trc", "smpte2084", "-colorspace", "bt2020nc")
HDR += ("-x265-params", "hdr10=1:repeat-headers=1:colorprim=9:transfer=16:colormatrix=9")


def bars(source: str = BARS) -> tuple[str, ...]:
    return ("-f", "lavfi", "-i", source)


# name of the input -> how it is made
INPUTS = {
    "film.mkv": (
        *bars(), *TONE, *SURROUND, "-map", "0", "-map", "2", "-map", "1", *H264,
        "-c:a:0", "ac3", "-c:a:1", "aac", "-metadata:s:a:0", "language=eng",
    ),
    "hdr.mkv": (*bars(), *TONE, *HDR, "-c:a", "flac"),
    "clip.mp4": (*bars(), *TONE, *H264, "-c:a", "aac", *PLACE, *DATE),
    "large.mp4": (*bars("testsrc=s=2560x1440:r=5:d=1"), *TONE, *H264, "-c:a", "aac", *PLACE, *DATE),
    "edit.mov": (*bars(), *TONE, *H264, "-c:a", "aac", "-timecode", "01:02:03:04"),
    "fields.ts": (
        *bars("testsrc=s=320x240:r=50:d=1,tinterlace=interleave_top,setfield=tff"), *TONE,
        "-c:v", "mpeg2video", "-flags", "+ildct+ilme", "-pix_fmt", "yuv420p", "-c:a", "ac3",
    ),
    "whole.ts": (*bars(), *TONE, *H264, "-c:a", "mp2"),
    "anime.mkv": (
        *bars(), *TONE, *TONE, *TONE, "-map", "0", "-map", "1", "-map", "2", "-map", "3", *H264,
        "-c:a:0", "aac", "-c:a:1", "flac", "-c:a:2", "aac", "-metadata:s:a:0", "language=fra",
        "-metadata:s:a:1", "language=eng", "-metadata:s:a:2", "language=jpn",
    ),
    "turned.mov": (*bars(), *TONE, *H264, "-c:a", "aac"),
    "loop.gif": (*bars("testsrc=s=480x320:r=10:d=1"),),
    "glass.mov": (
        *bars(f"{BARS},format=argb,colorchannelmixer=aa=0.5"), "-c:v", "qtrle",
    ),
    "screen.mov": (*bars("testsrc=s=1280x720:r=5:d=1,format=rgb24"), "-c:v", "qtrle"),
}  # fmt: skip


@pytest.fixture(scope="module")
def profiles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Profile]:
    """Load the block of the README that declares them."""
    found = re.search("```yaml\n(profiles:\n  library:.*?)```", README.read_text(), re.DOTALL)
    assert found
    path = tmp_path_factory.mktemp("ten") / "config.yaml"
    path.write_text(found[1])
    config = load_config(str(path))
    return {name: config.all_profiles[name] for name in config.profiles}


@pytest.fixture(scope="module")
def worker() -> Iterator[ProbeWorker]:
    with closing(ProbeWorker()) as made:
        yield made


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("inputs")


@cache
def make_input(folder: Path, name: str) -> Path:
    path = folder / name
    command = [FFMPEG, "-v", "error", "-nostdin", "-y", *INPUTS[name], "-shortest", str(path)]
    subprocess.run(command, check=True)
    if name == "turned.mov":  # a quarter turn, as phones write it
        content = path.read_bytes()
        one, none = (1 << 16).to_bytes(4, "big"), bytes(4)
        minus = (-1 << 16).to_bytes(4, "big", signed=True)
        upright = one + bytes(12) + one + bytes(12) + (1 << 30).to_bytes(4, "big")
        turned = none + one + none + minus + bytes(12) + none + (1 << 30).to_bytes(4, "big")
        at = content.index(upright, content.index(b"tkhd"))
        path.write_bytes(content[:at] + turned + content[at + len(upright) :])
    return path


class Wanted(NamedTuple):
    """What a profile makes of an input; None: that is not looked at."""

    picture: tuple[str, int, int, int] | None  # codec, size, bits
    sounds: tuple[tuple[str, str, str], ...] = ()  # codec, layout, language
    warned: frozenset[WarningCause] = frozenset()
    also: str = ""  # what else: an expression over the output's facts


def wanted(
    picture: tuple[str, int, int, int] | None, *sounds: tuple[str, str, str],
    warned: tuple[WarningCause, ...] = (), also: str = "True",
) -> Wanted:  # fmt: skip
    return Wanted(picture, sounds, frozenset(warned), also)


STEREO = ("aac", "stereo", "und")
MONO = ("aac", "mono", "und")
DATED = "facts.tag('creation_time').startswith('2019-07-14T10:20:30')"
PLACED = "'+10.0000+020.0000' in facts.tag('location')"
CASES = {
    ("library", "film.mkv"): wanted(
        ("hevc", 320, 240, 8), ("ac3", "5.1(side)", "eng"), ("aac", "mono", "")
    ),
    ("library", "hdr.mkv"): wanted(
        ("hevc", 320, 240, 10), ("opus", "mono", ""), also="video.transfer == 'smpte2084'"
    ),
    ("phone", "clip.mp4"): wanted(("hevc", 320, 240, 8), MONO, also=f"{DATED} and {PLACED}"),
    ("phone", "large.mp4"): wanted(("hevc", 1920, 1080, 8), MONO, also=f"{DATED} and {PLACED}"),
    ("web", "clip.mp4"): wanted(("h264", 320, 240, 8), MONO, also=DATED),
    ("web", "hdr.mkv"): wanted(
        ("h264", 320, 240, 8), MONO, warned=(WarningCause.TONE_MAPPED,),
        also="video.transfer == 'bt709' and not video.mastering",
    ),
    ("proxy", "edit.mov"): wanted(
        ("prores", 320, 240, 10), ("pcm_s16le", "mono", ""),
        also="any(t.timecode.startswith('01:02:03') for t in facts.tracks)",
    ),
    ("proxy", "large.mp4"): wanted(("prores", 1280, 720, 10), ("pcm_s16le", "mono", "")),
    ("broadcast", "fields.ts"): wanted(
        ("h264", 320, 240, 8), ("ac3", "mono", "und"), warned=(WarningCause.DEINTERLACED,),
        also="not video.interlaced and video.samples == 50",
    ),
    ("broadcast", "whole.ts"): wanted(("h264", 320, 240, 8), MONO, also="video.samples == 10"),
    ("anime", "anime.mkv"): wanted(
        ("av1", 320, 240, 10), ("opus", "mono", "jpn"), ("flac", "mono", "eng")
    ),
    ("anime", "film.mkv"): wanted(
        ("av1", 320, 240, 10), ("opus", "5.1", "eng"), ("opus", "mono", "")
    ),
    ("remuxed", "film.mkv"): wanted(
        ("h264", 320, 240, 8), ("ac3", "5.1(side)", "eng"), ("aac", "mono", "")
    ),
    ("remuxed", "turned.mov"): wanted(
        ("h264", 320, 240, 8), ("aac", "mono", ""), also="video.rotation"
    ),
    ("loop", "loop.gif"): wanted(None, warned=(WarningCause.UNPROVEN,)),
    ("loop", "glass.mov"): wanted(None, warned=(WarningCause.UNPROVEN,)),
    ("overlay", "glass.mov"): wanted(
        ("vp9", 320, 240, 8), warned=(WarningCause.CHROMA,), also="video.alpha"
    ),
    ("overlay", "clip.mp4"): wanted(
        ("vp9", 320, 240, 8), ("opus", "mono", ""), also=f"not video.alpha and {DATED}"
    ),
    ("small", "screen.mov"): wanted(
        ("h264", 1280, 720, 8), warned=(WarningCause.CHROMA,), also="video.matrix == 'bt709'"
    ),
    ("small", "clip.mp4"): wanted(
        ("h264", 320, 240, 8), MONO, also=f"{DATED} and not facts.tag('location')"
    ),
}  # fmt: skip


def test_the_readme_has_ten_profiles_each_tried_on_two_inputs(profiles: dict[str, Profile]) -> None:
    tried = [name for name, _ in CASES]

    assert len(profiles) == 10
    assert sorted(tried) == sorted([*profiles, *profiles])


@pytest.mark.parametrize("version", sorted(PROGRAMS))
@pytest.mark.parametrize("case", CASES, ids="-".join)
def test_a_profile_makes_of_an_input_what_it_says(
    case: tuple[str, str],
    version: str,
    profiles: dict[str, Profile],
    worker: ProbeWorker,
    inputs: Path,
    tmp_path: Path,
) -> None:
    program, (name, source) = PROGRAMS[version], case
    path = make_input(inputs, source)
    ability = examine_program(program, str(inputs)).ability
    output = tmp_path / f"out{profiles[name].suffix}"
    plan = plan_encode(
        profiles[name],
        probe(worker, path),
        program=program,
        ability=ability,
        source=str(path),
        output=str(output),
        cores=2,
        parallel=1,
        max_pixels=1 << 27,
    )
    if source == "turned.mov" and not ability.writes_matroska_rotation:
        assert isinstance(plan, Rejected)
        assert "turned" in plan.reason
        return
    assert isinstance(plan, EncodePlan), plan

    ended = subprocess.run(plan.argv, capture_output=True, check=False, text=True)

    assert ended.returncode == 0, ended.stderr[-3000:]
    expected = CASES[case]
    assert {warning.cause for warning in plan.warnings} == expected.warned
    if expected.picture is None:  # a moving WebP, which no reader here reads back
        assert output.read_bytes()[8:16] == b"WEBPVP8X"
        assert output.read_bytes().count(b"ANMF") > 1
        return
    facts = probe(worker, output)
    video = facts.videos[0]
    assert (video.codec, video.width, video.height, video.bits) == expected.picture
    sounds = [t for t in facts.tracks if t.kind == "audio"]
    assert tuple((t.codec, t.layout, t.language) for t in sounds) == expected.sounds
    assert eval(expected.also, {"facts": facts, "video": video})  # an expression of this table


def probe(worker: ProbeWorker, path: Path) -> Facts:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return worker.probe(descriptor, sandbox="off")
    finally:
        os.close(descriptor)
