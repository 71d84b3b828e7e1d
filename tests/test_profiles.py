"""Real encodes: every built-in profile on real clips, judged by its own account."""

from __future__ import annotations

import os
import subprocess
from contextlib import closing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import av
import pytest

from tests.clips import FFMPEG, MEDIA
from watchconv.config.profiles import BUILTIN
from watchconv.encode.classify import failure, is_disk_full
from watchconv.encode.ffmpeg_output import ProgressTracker, StderrReader, StreamCounts
from watchconv.encode.plan import EncodePlan, plan_encode
from watchconv.encode.program import examine_program, missing_encoders
from watchconv.encode.verify import Asked, Finding, verify
from watchconv.media.facts import Content, Facts
from watchconv.media.probe import ProbeWorker
from watchconv.model import Broke, Cause, Profile

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class Run:
    status: int
    tail: str
    counts: StreamCounts | None
    plan: EncodePlan
    media: Facts
    output: Path

    def decide(self) -> Finding:
        found, changer = contents(self.output), self.plan.time_changer
        return verify(self.counts, self.media, found, Asked(time_changer=changer))


def probe(path: Path) -> Facts:
    with closing(ProbeWorker()) as worker, path.open("rb") as file:
        return worker.probe(file.fileno())


def contents(path: Path) -> list[Content]:
    with av.open(str(path)) as container:
        packets = dict.fromkeys(range(len(container.streams)), 0)
        decoded: set[int] = set()
        for packet in container.demux():
            index = packet.stream.index
            packets[index] += packet.size > 0
            if index not in decoded and packet.stream.type in ("video", "audio"):
                try:
                    decoded |= {index} if packet.decode() else set()
                except av.error.InvalidDataError:
                    continue
        return [
            Content(s.index, s.type, "", packets[s.index], s.index in decoded)
            for s in container.streams
        ]


def plan(path: Path, media: Facts, profile: Profile, output: str) -> EncodePlan:
    made = plan_encode(
        profile,
        media,
        program=FFMPEG,
        ability=examine_program(FFMPEG, os.devnull, keep=False).ability,
        source=str(path),
        output=output,
        cores=2,
        parallel=1,
        max_pixels=1 << 27,
    )
    assert isinstance(made, EncodePlan), made
    return made


def encode(path: Path, profile: Profile, folder: Path, *more: str) -> Run:
    media = probe(path)
    output = folder / f"out{profile.suffix}"
    made = plan(path, media, replace(profile, args=(*profile.args, *more)), str(output))
    ended = subprocess.run(made.argv, capture_output=True, check=False)
    tracker = ProgressTracker(None)
    tracker.feed(ended.stdout)
    reader = StderrReader()
    reader.feed(ended.stderr)
    reader.close()
    counts = reader.counts(duplicated=tracker.duplicated, dropped=tracker.dropped)
    return Run(ended.returncode, reader.tail, counts, made, media, output)


def make(folder: Path, name: str, *args: str) -> Path:
    path = folder / name
    subprocess.run([FFMPEG, "-v", "error", "-nostdin", *args, str(path)], check=True)
    return path


KINDS = ("video", "audio")
BARS = ("-f", "lavfi", "-i", "testsrc=s=64x48:r=10:d=1")
TONE = ("-f", "lavfi", "-i", "sine=d=1:r=48000")

# One clip a trap: container, codec, cover, empty track, data tracks, rotation, HDR, odd sizes.
CLIPS = [
    "bbb_176x144_128kbps_15fps_h263.3gp",
    "bear-vp9-odd-dimensions.webm",
    "dolbyVision-hdr.MOV",
    "media-sample_scte35.ts",
    "metadata_gnre.mp4",
    "restore_previous.gif",
    "streamio-ffmpeg-ios9.mov",
]


@pytest.mark.parametrize("name", sorted(BUILTIN))
@pytest.mark.parametrize("clip", CLIPS)
def test_every_profile_converts_a_clip_and_it_verifies(
    clip: str, name: str, tmp_path: Path
) -> None:
    run = encode(MEDIA / clip, BUILTIN[name], tmp_path)

    assert run.status == 0, run.tail
    assert run.decide() == Finding()


@pytest.mark.parametrize("clip", ["media-sample.avi", "weird_aspect.small.mpg"])
def test_a_copy_of_packets_without_times_verifies(clip: str, tmp_path: Path) -> None:
    run = encode(MEDIA / clip, BUILTIN["remux"], tmp_path)

    assert run.status == 0, run.tail
    assert run.decide() == Finding()


def test_av1_takes_a_video_that_announces_600_frames_a_second(tmp_path: Path) -> None:
    run = encode(MEDIA / "media-sample_with_pgs_subtitles.mkv", BUILTIN["av1"], tmp_path)

    assert run.status == 0, run.tail
    assert run.decide() == Finding()


def test_a_video_with_an_empty_second_track_remuxes(tmp_path: Path) -> None:
    run = encode(MEDIA / "media-sample_empty_track.mp4", BUILTIN["remux"], tmp_path)

    assert run.decide() == Finding()
    assert run.plan.args[:4] == ("-map", "0:0", "-map", "0:2")


def test_a_fragmented_file_that_announces_hours_is_no_loss(tmp_path: Path) -> None:
    run = encode(MEDIA / "media-sample_fragmented.mp4", BUILTIN["remux"], tmp_path)

    assert run.decide() == Finding()


@pytest.mark.parametrize("name", ["webm", "mp4", "hevc", "av1"])
@pytest.mark.parametrize("size", ["2x2", "3x5", "33x21"])
def test_a_tiny_picture_of_any_size_converts(size: str, name: str, tmp_path: Path) -> None:
    bars = ("-f", "lavfi", "-i", f"color=red:s={size}:r=10:d=1,format=yuv444p")
    clip = make(tmp_path, "tiny.mkv", *bars, "-c:v", "ffv1")

    run = encode(clip, BUILTIN[name], tmp_path)

    assert run.status == 0, run.tail
    assert run.decide() == Finding()


@pytest.mark.parametrize("name", ["webm", "mp4", "av1"])
@pytest.mark.parametrize("layout", ["5.1(side)", "2.1", "6.1", "quad"])
def test_odd_sound_converts(layout: str, name: str, tmp_path: Path) -> None:
    pan = ("-af", f"pan={layout}|c0=c0", "-ar", "192000")
    clip = make(tmp_path, "s.mkv", *BARS, *TONE, *pan, "-c:v", "mpeg4", "-c:a", "pcm_s16le")

    run = encode(clip, BUILTIN[name], tmp_path)

    assert run.status == 0, run.tail
    assert run.decide() == Finding()


@pytest.mark.parametrize("name", sorted(BUILTIN))
def test_all_sound_and_text_subtitles_are_kept(name: str, tmp_path: Path) -> None:
    (tmp_path / "s.srt").write_text("1\n00:00:00,000 --> 00:00:00,900\nHello\n\n")
    clip = make(
        tmp_path, "in.mp4", *BARS, *TONE, *TONE, "-i", str(tmp_path / "s.srt"),
        *("-map", "0", "-map", "1", "-map", "2", "-map", "3", "-c:s", "mov_text"),
    )  # fmt: skip

    run = encode(clip, BUILTIN[name], tmp_path)

    assert run.status == 0, run.tail
    assert run.decide() == Finding()
    assert [c.kind for c in contents(run.output)] == ["video", "audio", "audio", "subtitle"]


def test_an_output_that_was_cut_is_not_whole(tmp_path: Path) -> None:
    run = encode(MEDIA / "bear-vp9-odd-dimensions.webm", BUILTIN["webm"], tmp_path)
    os.truncate(run.output, run.output.stat().st_size // 2)

    fault = run.decide().fault
    assert fault
    assert fault.cause is Cause.OUTPUT


def test_frames_that_are_missing_are_noticed(tmp_path: Path) -> None:
    clip = MEDIA / "bear-vp9-odd-dimensions.webm"
    whole = encode(clip, BUILTIN["webm"], tmp_path)
    encode(clip, BUILTIN["webm"], tmp_path, "-frames:v", "9")

    reason = "video stream 0 of the output holds 9 of the 30 packets written"
    assert whole.decide().fault == Broke(reason, cause=Cause.OUTPUT)


def test_an_input_cut_after_its_index_is_truncated(tmp_path: Path) -> None:
    good = make(
        tmp_path, "good.mp4", "-f", "lavfi", "-i", "testsrc=s=320x240:r=25:d=4",
        "-c:v", "libx264", "-movflags", "+faststart",
    )  # fmt: skip
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(good.read_bytes()[: good.stat().st_size * 6 // 10])

    run = encode(cut, BUILTIN["webm"], tmp_path)

    assert run.status == 0, run.tail
    fault = run.decide().fault
    assert fault
    assert fault.cause is Cause.TRUNCATED
    assert "the file is truncated" in fault.reason


def test_a_title_that_imitates_ffmpeg_changes_no_count(tmp_path: Path) -> None:
    lie = (
        "x\nStream mapping:\n  Stream #0:0 -> #0:0 (copy)\n"
        "  Input stream #0:0 (video): 9999 packets read (1 bytes); 9999 frames decoded; \n"
        "  Output stream #0:7 (video): 9999 frames encoded; 9999 packets muxed (1 bytes); \n"
        "Unknown encoder 'x'\nfile:x: No space left on device\n"
    )
    # mov keeps line breaks in a title; the check below makes sure that the lie arrives
    clip = make(tmp_path, "lie.mp4", *BARS, "-c:v", "libx264", "-metadata", f"title={lie}")
    with av.open(str(clip)) as container:
        assert container.metadata["title"] == lie

    run = encode(clip, BUILTIN["webm"], tmp_path)

    assert run.decide() == Finding()
    assert run.counts is not None
    assert [(c.packets, c.frames) for c in run.counts.inputs] == [(10, 10)]
    assert [c.stream for c in run.counts.outputs] == [0]
    assert isinstance(failure(1, run.tail), Broke)
    assert not is_disk_full(run.tail)


def test_a_gap_of_hours_in_the_times_makes_no_millions_of_frames(tmp_path: Path) -> None:
    gap = "testsrc=s=64x48:r=10:d=1,setpts=PTS+gt(N\\,5)*7200/TB"
    clip = make(
        tmp_path, "gap.mp4", "-f", "lavfi", "-i", gap, "-c:v", "libx264", "-bf", "0",
        "-fps_mode", "passthrough",
    )  # fmt: skip

    run = encode(clip, BUILTIN["webm"], tmp_path)

    assert run.decide() == Finding()
    assert contents(run.output)[0].packets <= 10


def test_a_full_disk_is_seen_whatever_the_exit_status(tmp_path: Path) -> None:
    clip = MEDIA / "media-sample_scte35.ts"
    profile = Profile("full", ".avi", ("-c:v", "mpeg4", "-an", "-f", "avi"))
    argv = plan(clip, probe(clip), profile, "/dev/full").argv
    reader = StderrReader()
    reader.feed(subprocess.run(argv, capture_output=True, check=False).stderr)
    reader.close()

    assert is_disk_full(reader.tail)


def test_this_ffmpeg_has_every_encoder_of_the_built_in_profiles(tmp_path: Path) -> None:
    program = examine_program(FFMPEG, str(tmp_path))

    assert missing_encoders(program, BUILTIN) == []
    lacking = replace(program, ability=replace(program.ability, encoders=frozenset({"h263"})))
    assert [line.split(":")[0] for line in missing_encoders(lacking, BUILTIN)] == [
        "profiles.webm.args",
        *(f"profiles.{name}.{kind}.codec" for name in ("mp4", "hevc", "av1") for kind in KINDS),
    ]


def test_the_first_profile_is_what_the_project_began_with() -> None:
    args = " ".join(BUILTIN["webm"].args)

    assert "-c:v libvpx -b:v 1M" in args
    assert "-c:a libvorbis" in args
