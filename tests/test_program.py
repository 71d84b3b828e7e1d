"""The ffmpeg that runs: what it answers, and what arguments want of it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.clips import FFMPEG
from watchconv.config.keys import Config, RawProfile
from watchconv.encode.program import (
    Ability,
    _examine,
    choose_program,
    encoders_named,
    examine_program,
    uses_hardware,
    version_of,
)
from watchconv.errors import ConfigError, MissingExtra

if TYPE_CHECKING:
    from pathlib import Path

SCRIPT = """#!/bin/sh
echo asked >> {asked}
case "$*" in
-version) echo 'ffmpeg version 5.1.9-0+deb12u1 Copyright' ;;
*-encoders) printf ' V..... = Video\\n ------\\n V....D libx264   H.264\\n A..X.. opus   Opus\\n' ;;
*-codecs) printf ' D..... = Decoding\\n -------\\n DEV.LS h264  H.264 (encoders: x )\\n'
  printf ' ..V.L. h266  H.266\\n DEV.L. vp8  VP8 (decoders: vp8 libvpx ) (encoders: libvpx )\\n' ;;
esac
"""


def program(folder: Path, text: str = SCRIPT) -> str:
    path = folder / "ffmpeg"
    path.write_text(text.format(asked=folder / "asked"))
    path.chmod(0o755)
    return str(path)


def test_what_an_ffmpeg_answers_is_asked_once_for_each_program_file(tmp_path: Path) -> None:
    path = program(tmp_path)

    first = examine_program(path, str(tmp_path))
    asked = (tmp_path / "asked").read_text()

    assert (first.path, first.ability.version) == (path, "5.1.9-0+deb12u1")
    assert first.ability.encoders == {"libx264", "opus"}
    assert (tmp_path / "ffmpeg.json").exists()
    assert examine_program(path, str(tmp_path)) == first
    assert (tmp_path / "asked").read_text() == asked

    program(tmp_path, SCRIPT.replace("libx264", "libx265"))

    assert examine_program(path, str(tmp_path)).ability.encoders == {"libx265", "opus"}


def test_a_question_need_not_leave_a_trace(tmp_path: Path) -> None:
    examine_program(program(tmp_path), str(tmp_path), keep=False)

    assert not (tmp_path / "ffmpeg.json").exists()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("#!/bin/sh\necho sh 1.0\n", "is no ffmpeg"),
        ("#!/bin/sh\necho no library >&2\nexit 3\n", "does not run: no library"),
        ("#!/bin/sh\nexit 3\n", "does not run: it ends with status 3"),
        ("#!/nowhere/sh\n", "does not run: No such file"),
    ],
)
def test_what_is_no_ffmpeg_or_does_not_run_is_told(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        version_of(program(tmp_path, text))


def test_the_codecs_that_it_decodes_are_read(tmp_path: Path) -> None:
    ability = examine_program(program(tmp_path), str(tmp_path)).ability

    assert ability.decodes == {"h264", "vp8"}
    assert ability.decoders == {"h264", "vp8", "libvpx"}


@pytest.mark.parametrize("path", sorted({FFMPEG, shutil.which("ffmpeg") or FFMPEG}))
def test_what_a_real_one_can_do_is_tried(path: str, tmp_path: Path) -> None:
    """Each answer is compared with what the program makes of the words that follow from it."""
    ability = examine_program(path, str(tmp_path)).ability
    clip = ["-f", "lavfi", "-i", "testsrc2=size=64x64:duration=0.1"]

    assert {"libx264", "libvpx", "aac"} <= ability.encoders
    assert {"h264", "libvpx", "libvpx-vp9"} <= ability.decoders
    assert {"h264", "vp9", "subrip"} <= ability.decodes
    assert ability.libavcodec > (58,)
    assert encodes(path, *clip, "-enc_time_base", ability.demux_time_base)
    assert encodes(path, *clip, "-lavfi", "split[a][b];[a][b]libvmaf") is ability.has_vmaf
    # this came in the years between 5.1 and 9.0
    assert ability.writes_matroska_rotation is (ability.libavcodec > (61,))


def test_what_a_real_one_can_do_is_kept_as_it_was_found(tmp_path: Path) -> None:
    first = examine_program(FFMPEG, str(tmp_path))
    _examine.cache_clear()

    assert examine_program(FFMPEG, str(tmp_path)) == first
    assert _examine.cache_info().misses == 0


# libavcodec of PATH's and of the embedded one, what profiles name, and which one is taken
OLD, NEW, GIT = "59. 37.100", "63.  1.102", "62. 99.100"
CHOICES = [
    (OLD, NEW, "-c:v libx264", "embedded"),
    (NEW, OLD, "-c:v libx264", "path"),
    (NEW, NEW, "-c:v libx264", "path"),
    (GIT, NEW, "-c:v libx264", "embedded"),
    (OLD, NEW, "-c:v h264_vaapi", "path"),
    (OLD, NEW, "-vf hwupload -c:v libx264", "path"),
    (OLD, NEW, "-c:v libx264 -c:a libfdk_aac", "path"),  # which the embedded one lacks
    (OLD, None, "-c:v libx264", "path"),
    (None, NEW, "-c:v libx264", "embedded"),
    (None, NEW, "-c:v h264_vaapi", "embedded"),
    ("broken", NEW, "-c:v libx264", "embedded"),
    (OLD, "broken", "-c:v libx264", "path"),
]
CHOOSABLE = """#!/bin/sh
test broken = '{library}' && exit 1
case "$*" in
-version) printf 'ffmpeg version N-1-gabc Copyright\\nlibavcodec     {library} / {library}\\n' ;;
*-encoders) printf ' V....D libx264  H.264\\n V....D h264_vaapi x\\n{more}' ;;
*) exit 1 ;;
esac
"""


def place_of(
    folder: Path, monkeypatch: pytest.MonkeyPatch, libraries: dict[str, str | None]
) -> None:
    """Put an ffmpeg on PATH and another into the package that brings one."""
    homes = {"path": folder / "path", "embedded": folder / "imageio_ffmpeg" / "binaries"}
    for which, home in homes.items():
        home.mkdir(parents=True)
        if library := libraries[which]:
            more = " A..... libfdk_aac x\\n" if which == "path" else ""
            name = "ffmpeg" if which == "path" else "ffmpeg-linux-x86_64-v1"
            (home / name).write_text(CHOOSABLE.format(library=library, more=more))
            (home / name).chmod(0o755)
    (folder / "imageio_ffmpeg" / "__init__.py").touch()
    monkeypatch.setenv("PATH", str(homes["path"]))
    monkeypatch.syspath_prepend(folder)
    monkeypatch.delitem(sys.modules, "imageio_ffmpeg", raising=False)


@pytest.mark.parametrize(("path", "embedded", "args", "chosen"), CHOICES)
def test_auto_is_the_newer_one_that_can_do_what_profiles_name(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    path: str | None,
    embedded: str | None,
    args: str,
    chosen: str,
) -> None:
    place_of(tmp_path, monkeypatch, {"path": path, "embedded": embedded})
    mine = RawProfile(".mp4", tuple(args.split()))
    config = Config(state=str(tmp_path), profile="mine", profiles={"mine": mine})

    found = choose_program(config).path

    assert found.startswith(str(tmp_path / ("path" if chosen == "path" else "imageio_ffmpeg")))


def test_a_named_program_is_taken_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place_of(tmp_path, monkeypatch, {"path": OLD, "embedded": NEW})
    named = str(tmp_path / "path" / "ffmpeg")

    assert choose_program(Config(state=str(tmp_path), ffmpeg=named)).path == named
    with pytest.raises(ConfigError, match="no program that can be run"):
        choose_program(Config(state=str(tmp_path), ffmpeg=str(tmp_path)))


@pytest.mark.parametrize(("path", "error"), [("broken", ConfigError), (None, MissingExtra)])
def test_none_that_runs_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str | None, error: type[Exception]
) -> None:
    place_of(tmp_path, monkeypatch, {"path": path, "embedded": None})

    with pytest.raises(error):
        choose_program(Config(state=str(tmp_path)))


def test_the_answers_of_several_programs_are_kept(tmp_path: Path) -> None:
    paths = []
    for name in "abcdef":
        (tmp_path / name).mkdir()
        paths.append(program(tmp_path / name))
        examine_program(paths[-1], str(tmp_path))
    _examine.cache_clear()
    for path in paths[-2:]:
        examine_program(path, str(tmp_path))

    assert _examine.cache_info().misses == 0


def test_what_an_ffmpeg_cannot_do_is_said() -> None:
    assert Ability().gaps == ()
    assert len(Ability(writes_matroska_rotation=False, has_vmaf=False).gaps) == 2


def encodes(path: str, *words: str) -> bool:
    command = [path, "-v", "error", *words, "-f", "null", "-"]
    ended = subprocess.run(command, capture_output=True, check=False)
    return ended.returncode == 0 and b"Unrecognized" not in ended.stderr


def test_encoders_are_found_in_every_spelling() -> None:
    args = ["-c:v", "libx264", "-c:a:0", "aac", "-c:a:1", "copy", "-vcodec", "x"]
    args += ["-codec:s", "srt", "-c", "flac", "-crf", "libvpx"]

    assert encoders_named(args) == {"libx264", "aac", "x", "srt", "flac"}


@pytest.mark.parametrize(
    ("args", "hardware"),
    [
        ("-c:v h264_nvenc -preset p5", True),
        ("-vaapi_device /dev/dri/renderD128 -vf format=nv12,hwupload -c:v hevc_vaapi", True),
        ("-vf scale_cuda=1280:-2 -c:v libx264", True),
        ("-init_hw_device qsv=q -c:v av1_qsv", True),
        ("-c:v h264_v4l2m2m", True),
        ("-c:v libx264 -c:a aac -metadata title=hwaccel", False),
        ("-c:v libvpx-vp9 -vf format=yuv420p", False),
    ],
)
def test_encoders_in_hardware_are_recognised(args: str, hardware: bool) -> None:
    assert uses_hardware(args.split()) is hardware
