"""The ffmpeg that runs: what it answers, and what arguments want of it."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.clips import FFMPEG
from watchconv.encode.program import (
    _examine,
    encoders_named,
    examine_program,
    uses_hardware,
    version_of,
)
from watchconv.errors import ConfigError

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
