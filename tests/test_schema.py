"""A nested model needs its declaration alone: ranges, words, unions, near misses, lines, schema.

The model is the profile language that is to come, written as ``config.keys`` writes its own.
"""

from __future__ import annotations

import re
from dataclasses import MISSING, dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Literal

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from watchconv.config.document import parse
from watchconv.config.group import Group, key
from watchconv.config.problems import refuse
from watchconv.config.schema import describe, read, write
from watchconv.errors import ConfigError

if TYPE_CHECKING:
    from watchconv.config import values as v


class Codec(StrEnum):
    H264 = "h264"
    HEVC = "hevc"
    AV1 = "av1"


@dataclass(frozen=True)
class Target(Group):
    vmaf: float = key(MISSING, "how near to the original", ge=0, le=100)
    between: tuple[int, int] = key((16, 34), "on the encoder's own scale")


@dataclass(frozen=True)
class CopyWhen(Group):
    codec: tuple[Codec, ...] = key((), "one of these")
    max_mbit: float | None = key(None, "at most so much", gt=0)


@dataclass(frozen=True)
class Bitrate(Group):
    bitrate: v.Size = key(MISSING, "a second")


@dataclass(frozen=True)
class Video(Group):
    codec: Codec = key(MISSING, "of the output")
    quality: int | Target | Bitrate = key(22, "the encoder's own scale, or a target")
    depth: Literal["keep", "8", "10"] = key("keep", "bits of a sample")
    copy_when: CopyWhen | None = key(None, "absent: never")
    also_when: CopyWhen = key(CopyWhen((Codec.AV1,)), "a group that is used twice")


@dataclass(frozen=True)
class Sprite(Group):
    sprite: v.Seconds = key(10, "every so many seconds")


@dataclass(frozen=True)
class Wish(Group):
    container: Literal["mkv", "mp4"] = key(MISSING, "what the output is")
    video: Literal["copy", "none"] | Video = key("copy", "or how it is encoded")
    languages: Literal["all"] | tuple[str, ...] = key("all", "in this order")
    also: tuple[Literal["poster"] | Sprite, ...] = key((), "further files")
    loop: bool = key(False, "for ever")


@dataclass(frozen=True)
class Everything(Group):
    profiles: dict[v.ProfileName, Wish] = key(dict, "by name")


def load(text: str) -> Everything:
    document = parse(text.encode())
    value, problems = read(Everything, document.values, "/")
    if value is None:
        raise refuse("f", problems, document.line)
    return value


def complaints(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(text)
    return str(caught.value).split("\n")


WHOLE = """\
profiles:
  library:
    container: mkv
    video:
      codec: hevc
      quality: {vmaf: 95, between: [16, 34]}
      depth: 10
      copy_when: {codec: [hevc, av1], max_mbit: 12}
    languages: [jpn, eng]
    also: [poster, {sprite: 5}]
    loop: yes
  small: {container: mp4, video: {codec: h264, quality: 30}}
  least: {container: mp4}
  rate: {container: mp4, video: {codec: h264, quality: {bitrate: 4MB}}}
"""


def test_what_is_written_becomes_nested_values() -> None:
    profiles = load(WHOLE).profiles

    assert profiles["library"] == Wish(
        "mkv",
        Video(Codec.HEVC, Target(95, (16, 34)), "10", CopyWhen((Codec.HEVC, Codec.AV1), 12)),
        ("jpn", "eng"),
        ("poster", Sprite(5)),
        loop=True,
    )
    assert profiles["small"].video == Video(Codec.H264, 30)
    assert profiles["least"] == Wish("mp4", "copy", "all")
    assert isinstance(profiles["rate"].video, Video)
    assert profiles["rate"].video.quality == Bitrate(4_000_000)


def test_what_is_read_is_written_as_it_could_be_written() -> None:
    shown = write(Everything, load(WHOLE))["profiles"]

    assert shown["library"]["video"]["copy_when"] == {"codec": ["hevc", "av1"], "max_mbit": 12}
    assert "copy_when" not in shown["small"]["video"]
    assert load(yaml.safe_dump({"profiles": shown})) == load(WHOLE)


VIDEO = "profiles:\n  p:\n    container: mkv\n    video:\n      codec: hevc\n      "
MISTAKES = [
    (f"{VIDEO}qualty: 3", "6: profiles.p.video.qualty: unknown key; did you mean quality?"),
    (f"{VIDEO}xyz: 3", "6: profiles.p.video.xyz: unknown key; write codec, quality, depth,"),
    (
        f"{VIDEO}quality: fine",
        "6: profiles.p.video.quality: 'fine' is not possible; write a whole number, or key: value"
        " lines under it (vmaf, between), or key: value lines under it (bitrate)",
    ),
    (
        f"{VIDEO}quality: {{vmaf: 101}}",
        "6: profiles.p.video.quality.vmaf: '101' is out of range; write a number from 0 to 100",
    ),
    (
        f"{VIDEO}quality: {{vmaff: 90, vmaf: 90}}",
        "6: profiles.p.video.quality.vmaff: unknown key; did you mean vmaf?",
    ),
    (
        f"{VIDEO}quality:\n        vmaf: 90\n        between: [1, b]",
        "8: profiles.p.video.quality.between[1]: 'b' is no whole number; write a whole number",
    ),
    (
        f"{VIDEO}quality: {{vmaf: 90, between: [1]}}",
        "6: profiles.p.video.quality.between[1]: is missing; write it (a whole number)",
    ),
    (
        f"{VIDEO}quality: {{bitrate: much}}",
        "6: profiles.p.video.quality.bitrate: 'much' is no size; write bytes as 1GiB, 500MB or 0",
    ),
    (
        f"{VIDEO}depth: 9",
        "6: profiles.p.video.depth: '9' is not possible; write one of keep, 8, 10",
    ),
    (
        f"{VIDEO}copy_when: {{codec: [h264, vp9]}}",
        "6: profiles.p.video.copy_when.codec[1]: 'vp9' is not possible; write one of h264, hevc,",
    ),
    (
        f"{VIDEO}copy_when: {{max_mbit: 0}}",
        "6: profiles.p.video.copy_when.max_mbit: '0' is out of range; write a number above 0",
    ),
    (
        f"{VIDEO}copy_when: h264",
        "6: profiles.p.video.copy_when: 'h264' is no group of keys; write key: value lines under"
        " it (codec, max_mbit)",
    ),
    (
        "profiles: {p: {container: mkv, video: {quality: 3}}}",
        "1: profiles.p.video.codec: is missing; write it (of the output)",
    ),
    (
        "profiles: {p: {container: mkv, video: cpy}}",
        "1: profiles.p.video: 'cpy' is not possible; write key: value lines under it (codec,"
        " quality, depth, copy_when, also_when), or one of copy, none",
    ),
    (
        "profiles: {p: {container: mkv, video: [copy]}}",
        "1: profiles.p.video: a list is not possible; write key: value lines under it (codec,",
    ),
    (
        "profiles: {p: {container: mkv, languages: jpn}}",
        "1: profiles.p.languages: 'jpn' is not possible; write a list, or all",
    ),
    (
        "profiles: {p: {container: mkv, languages: [[jpn]]}}",
        "1: profiles.p.languages[0]: a list is no text; write a text",
    ),
    (
        "profiles: {p: {container: mkv, also: [poster, {sprit: 3}]}}",
        "1: profiles.p.also[1].sprit: unknown key; did you mean sprite?",
    ),
    (
        "profiles: {p: {container: mkv, also: [postr]}}",
        "1: profiles.p.also[0]: 'postr' is not possible; write key: value lines under it (sprite),"
        " or poster",
    ),
    (
        "profiles: {p: {container: mkv, loop: perhaps}}",
        "1: profiles.p.loop: 'perhaps' is neither; write true or false",
    ),
    ("profiles: {a/b: {container: mkv}}", "1: profiles.a/b: cannot name a folder; write a name"),
]


@pytest.mark.parametrize(("text", "expected"), MISTAKES)
def test_a_mistake_at_any_depth_is_told_in_one_line(text: str, expected: str) -> None:
    [line] = complaints(text)

    assert line[: len(expected) + 2] == f"f:{expected}"


def test_every_mistake_of_a_group_in_a_union_is_told() -> None:
    text = "profiles:\n  p:\n    container: avi\n    video:\n      codec: xvid\n      depth: 9\n"

    assert [line.split(";")[0] for line in complaints(text)] == [
        "f:3: profiles.p.container: 'avi' is not possible",
        "f:5: profiles.p.video.codec: 'xvid' is not possible",
        "f:6: profiles.p.video.depth: '9' is not possible",
    ]


VOCABULARY = """p profiles container mkv video copy codec hevc quality vmaf between bitrate 4M int
copy_when literal max_mbit languages all also poster sprite loop [key] Video x 3"""
WORDS = st.sampled_from(VOCABULARY.split())
TREES = st.recursive(
    WORDS | st.integers() | st.none(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(WORDS, TREES, max_size=3))
def test_any_tree_is_a_value_or_sentences_about_places_in_it(tree: dict[str, Any]) -> None:
    text = yaml.safe_dump({"profiles": {"p": {"container": "mkv", **tree}}})
    document = parse(text.encode())
    value, problems = read(Everything, document.values, "/")

    assert (value is None) == bool(problems)
    for problem in problems:
        assert problem.path[:2] == ("profiles", "p")
        assert document.line(problem.path)
        assert re.search(r"; (write|did you mean) |write it \(", problem.text)


def test_the_schema_describes_what_is_nested() -> None:
    described: dict[str, Any] = describe(Everything)
    groups = described["$defs"]

    assert groups["Target"]["properties"]["vmaf"]["maximum"] == 100
    assert groups["Video"]["required"] == ["codec"]
    assert groups["Video"]["properties"]["quality"]["default"] == 22
    assert "default" not in groups["Video"]["properties"]["copy_when"]
    assert groups["Video"]["properties"]["also_when"]["default"]["codec"] == ["av1"]
    assert groups["Wish"]["properties"]["video"]["default"] == "copy"
    assert groups["Sprite"]["properties"]["sprite"] == {
        "default": 10,
        "description": "every so many seconds",
        "maximum": 315360000,
        "minimum": 0,
        "title": "Sprite",
        "type": "number",
    }
    assert groups["Wish"]["additionalProperties"] is False
