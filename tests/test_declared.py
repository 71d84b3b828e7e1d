"""What a declared profile asks for in vain is told at its key, with what to write instead."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest

from watchconv.config.load import load_config
from watchconv.config.wish import Declared, Video
from watchconv.errors import ConfigError


def complaints(folder: Path, profile: str) -> list[str]:
    path = folder / "config.yaml"
    path.write_text(f"profiles:\n  p: {profile}\n")
    with pytest.raises(ConfigError) as caught:
        load_config(str(path))
    return [line.partition(":2: profiles.p.")[2] for line in str(caught.value).split("\n")]


MKV, MP4 = "{container: mkv, video: ", "{container: mp4, video: "
VAIN = [
    ("{container: mkv}", "container: says nothing of the picture; write video: too"),
    (f"{MKV}{{codec: gif}}}}", "video.codec: mkv holds no gif; write one of h264, hevc,"),
    (f"{MP4}{{codec: prores}}}}", "video.codec: mp4 holds no prores; write one of h264, hevc"),
    (f"{MKV}{{codec: vp8, hdr: keep}}}}", "video.hdr: vp8 has 8 bits, in which HDR cannot be kept"),
    (f"{MKV}{{codec: h264, hdr: keep}}}}", "video.hdr: h264 has 8 bits where none else are"),
    (f"{MKV}{{codec: hevc, hdr: keep, depth: 8}}}}", "video.hdr: HDR cannot be kept in 8 bits"),
    (f"{MKV}{{codec: vp8, depth: 10}}}}", "video.depth: vp8 has 8 bits; write 8, or another"),
    (f"{MKV}{{codec: hevc, alpha: keep}}}}", "video.alpha: hevc in mkv has no transparency"),
    (f"{MP4}{{codec: vp9, alpha: keep}}}}", "video.alpha: vp9 in mp4 has no transparency"),
    (f"{MKV}{{codec: hevc, preset: fats}}}}", "video.preset: 'fats' is none of hevc; write one"),
    (f"{MKV}{{codec: ffv1, preset: fast}}}}", "video.preset: ffv1 has none; remove it"),
    (f"{MKV}{{codec: ffv1, quality: 3}}}}", "video.quality: ffv1 has no such scale; remove it"),
    (f"{MKV}{{codec: hevc, quality: 52}}}}", "video.quality: 52 is out of the range of libx265"),
    (
        f"{MKV}{{codec: hevc, quality: {{libx264: 20}}}}}}",
        "video.quality.libx264: libx264 is not among the encoders; did you mean libx265?",
    ),
    (
        f"{MKV}{{codec: hevc, quality: 20, bitrate: 4M}}}}",
        "video.bitrate: quality is set too; keep one of the two",
    ),
    (f"{MKV}{{codec: prores, bitrate: 4M}}}}", "video.bitrate: prores takes none; remove it"),
    (
        f"{MKV}{{codec: hevc, encoders: [h264_nvenc]}}}}",
        "video.encoders[0]: h264_nvenc does not make hevc; write one such as libx265",
    ),
    (
        f"{MP4}{{codec: h264}}, audio: {{codec: vorbis}}}}",
        "audio.codec: mp4 holds no vorbis; write one of aac, opus",
    ),
    (
        f"{MKV}{{codec: h264}}, audio: {{codec: flac, kbit_per_channel: 64}}}}",
        "audio.kbit_per_channel: flac keeps all and takes none; remove it",
    ),
    (
        f"{MKV}{{codec: h264}}, audio: {{codec: mp3, max_channels: 6}}}}",
        "audio.max_channels: mp3 has at most 2 channels; write 2, or another codec",
    ),
    (
        "{container: gif, video: {codec: gif}, audio: {codec: aac}}",
        "audio: gif holds no sound; write none",
    ),
]


@pytest.mark.parametrize(("profile", "expected"), VAIN)
def test_what_cannot_be_had_is_refused_at_its_key(
    tmp_path: Path, profile: str, expected: str
) -> None:
    [line] = complaints(tmp_path, profile)

    assert line[: len(expected)] == expected


MISTAKES = [
    ("{contaner: mkv, video: copy}", ["container: is missing", "contaner: unknown key; did you"]),
    ("{container: mkv, vdeo: copy}", ["vdeo: unknown key; did you mean video?"]),
    (f"{MKV}{{codec: hvc}}}}", ["video.codec: 'hvc' is not possible; write one of h264, hevc"]),
    (
        f"{MKV}copy, audio: {{codec: aac, languages: [english]}}}}",
        ["audio.languages[0]: 'english' is no language; write three letters such as eng"],
    ),
    (f"{MKV}{{codec: hevc, bitrate: 4}}}}", ["video.bitrate: '4' is out of range; write bits"]),
    (
        f"{MKV}{{codec: hevc, copy_when: {{codec: hevc}}}}}}",
        ["video.copy_when.codec: 'hevc' is no list; write a list such as"],
    ),
    (f"{MKV}copy, keep: [chapter]}}", ["keep[0]: 'chapter' is not possible; write one of chap"]),
]


@pytest.mark.parametrize(("profile", "expected"), MISTAKES)
def test_a_mistake_in_a_declared_profile_is_told_like_any_other(
    tmp_path: Path, profile: str, expected: list[str]
) -> None:
    lines = complaints(tmp_path, profile)

    assert [line[: len(start)] for line, start in zip(lines, expected, strict=True)] == expected


def test_a_contradiction_is_told_together_with_what_else_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(
        "profiles:\n  a: {container: mkv, video: {codec: vp8, depth: 10}}\n  b: {suffix: mkv}\n"
        "nice: 99\n"
    )
    with pytest.raises(ConfigError) as caught:
        load_config(str(path))

    assert [line.partition("config.yaml:")[2][:20] for line in str(caught.value).split("\n")] == [
        "2: profiles.a.video.",
        "3: profiles.b.suffix",
        "4: nice: '99' is out",
    ]


@pytest.mark.parametrize(
    ("profile", "suffix"),
    [
        (f"{MKV}copy}}", ".mkv"),
        ("{container: mov, suffix: .qt, video: copy}", ".qt"),
        ("{container: mkv, args: -c:v mpeg4}", ".mkv"),
        ("{suffix: .avi, args: -c:v mpeg4}", ".avi"),
    ],
)
def test_a_profile_is_declared_or_written_as_arguments(
    tmp_path: Path, profile: str, suffix: str
) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(f"profiles:\n  p: {profile}\n")

    made = load_config(str(path)).all_profiles["p"]

    assert made.suffix == suffix
    assert isinstance(made, Declared) is ("container" in profile)


EXAMPLE = Path(__file__).parents[1] / "config.example.yaml"


def test_the_example_declares_a_profile_with_every_key(tmp_path: Path) -> None:
    _, mark, lines = EXAMPLE.read_text(encoding="utf-8").partition("  # library:\n")
    path = tmp_path / "config.yaml"
    path.write_text(f"profiles:\n  library:\n{re.sub('(?m)^  # ', '  ', lines)}")

    made = load_config(str(path)).all_profiles["library"]

    assert mark
    assert isinstance(made, Declared)
    assert isinstance(made.wish.video, Video)
    for group in (made.wish, made.wish.video, made.wish.audio, made.wish.subtitles):
        for key in fields(group):  # type: ignore[arg-type]
            if key.name not in ("verify", "incomplete"):  # explained above it
                assert re.search(rf"\b{key.name}:|or {key.name}:", lines), key.name
