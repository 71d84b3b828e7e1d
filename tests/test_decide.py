"""What a declared profile makes of a file, as tables over kinds: picture, sound, text, the rest."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest

from watchconv.config.schema import read
from watchconv.config.wish import Wish
from watchconv.encode.decide import Decided, decide
from watchconv.encode.decide.encoders import lacks
from watchconv.encode.decision import Action
from watchconv.encode.program import Ability
from watchconv.media.facts import Chapter, Chroma, Facts, Track
from watchconv.model import Cause, Rejected, WarningCause

PICTURE = Track(
    0, "video", "h264", 100, 1280, 720, "yuv420p", bits=8, chroma=Chroma.HALF,
    primaries="bt709", transfer="bt709", matrix="bt709", frame_rate=25.0, bit_rate=3_000_000,
)  # fmt: skip
SOUND = Track(1, "audio", "aac", 90, channels=2, layout="stereo", sample_rate=48000)
HDR = replace(
    PICTURE, codec="hevc", bits=10, pixel_format="yuv420p10le", transfer="smpte2084",
    primaries="bt2020", matrix="bt2020nc", light_level=(1000, 400),
    mastering=(0.7, 0.3, 0.2, 0.7, 0.1, 0.1, 0.3, 0.3, 0, 1000),
)  # fmt: skip
NEW = Ability(libavcodec=(63, 1, 0))
OLD = Ability(
    libavcodec=(59, 37, 100),
    demux_time_base="-1",
    writes_matroska_rotation=False,
    has_vmaf=False,
    x265_captions=False,
    x265_dolby_vision=False,
    svtav1_dolby_vision=False,
)


def wish(container: str = "mkv", **keys: object) -> Wish:
    made, problems = read(Wish, {"container": container, **keys}, "/")
    assert made, problems
    return made


def decided(wanted: Wish, *tracks: Track, ability: Ability = NEW, **facts: object) -> Decided:
    found = Facts("matroska", 4.0, tracks)
    made = decide(replace(found, **facts), wanted, ability)  # type: ignore[arg-type]
    assert isinstance(made, Decided), made
    return made


def option(made: Decided, name: str) -> str | None:
    return dict(pairwise(made.args)).get(name)


def causes(made: Decided) -> set[WarningCause]:
    return {warning.cause for warning in made.warnings}


# pictures

VP9 = replace(PICTURE, codec="vp9")
COPIES = {"codec": ["h264"], "max_mbit": 8, "max_height": 1080}
HEVC_COPIES = {"codec": "hevc", "hdr": "keep", "copy_when": {"codec": ["hevc"]}}


@pytest.mark.parametrize(
    ("track", "video", "why"),
    [
        (PICTURE, {"codec": "h264", "copy_when": COPIES}, None),
        (PICTURE, {"codec": "h264"}, "the profile never copies it"),
        (VP9, {"codec": "h264", "copy_when": COPIES}, "it is vp9"),
        (
            replace(PICTURE, bit_rate=9_100_000),
            {"codec": "h264", "copy_when": COPIES},
            "it has 9.1 Mbit/s",
        ),
        (
            replace(PICTURE, bit_rate=None),
            {"codec": "h264", "copy_when": COPIES},
            "its bit rate is not known",
        ),
        (
            replace(PICTURE, width=1440, height=2560),
            {"codec": "h264", "copy_when": COPIES},
            "its shorter side has 1440 lines",
        ),
        (
            PICTURE,
            {"codec": "h264", "max_height": 480, "copy_when": COPIES},
            "its shorter side has 720 lines",
        ),
        (
            replace(PICTURE, frame_rate=59.94),
            {"codec": "h264", "max_fps": 30, "copy_when": COPIES},
            "it has 59.94 frames a second",
        ),
        (
            replace(PICTURE, interlaced=True),
            {"codec": "h264", "copy_when": COPIES},
            "it is interlaced",
        ),
        (
            replace(PICTURE, chroma=Chroma.WIDE),
            {"codec": "h264", "copy_when": COPIES},
            "its colours are 422",
        ),
        (
            replace(PICTURE, bits=12),
            {"codec": "h264", "copy_when": COPIES},
            "it has 12 bits",
        ),
        (HDR, HEVC_COPIES, None),
        (HDR, {**HEVC_COPIES, "hdr": "tonemap"}, "it is HDR"),
    ],
)
def test_a_picture_is_copied_only_where_all_that_is_wished_holds(
    track: Track, video: dict[str, object], why: str | None
) -> None:
    made = decided(wish(video=video), track)

    decision = made.decisions[0]
    assert decision.action is (Action.ENCODE if why else Action.COPY)
    assert (why or "it is right already") in decision.why
    encoder = {"h264": "libx264", "hevc": "libx265"}[str(video["codec"])]
    assert option(made, "-c:v:0") == (encoder if why else "copy")


TURNED = replace(PICTURE, rotation=90)


@pytest.mark.parametrize(
    ("track", "container", "ability", "hindrance"),
    [
        (TURNED, "mkv", NEW, None),
        (TURNED, "mkv", OLD, "turned"),
        (TURNED, "mp4", OLD, None),
        (replace(PICTURE, discarded=38), "mkv", NEW, "cut away"),
        (replace(PICTURE, discarded=38), "mp4", NEW, None),
        (replace(PICTURE, codec="vp8"), "mp4", NEW, "does not hold vp8"),
    ],
)
def test_what_cannot_be_copied_is_encoded_where_the_profile_may_and_refused_else(
    track: Track, container: str, ability: Ability, hindrance: str | None
) -> None:
    video = {"codec": "hevc", "copy_when": {"codec": ["h264", "vp8"]}}
    either = decided(wish(container, video=video), track, ability=ability, demuxer="mov")
    only = decide(Facts("mov", 4.0, (track,)), wish(container, video="copy"), ability)

    if hindrance is None:
        assert either.decisions[0].action is Action.COPY
        assert isinstance(only, Decided)
    else:
        assert either.decisions[0].action is Action.ENCODE
        assert hindrance in either.decisions[0].why
        assert isinstance(only, Rejected)
        assert only.cause is Cause.UNSUPPORTED
        assert hindrance in only.reason


def test_colours_that_nothing_shows_are_refused() -> None:
    track = replace(HDR, transfer="", dolby_vision=True, dolby_vision_profile=5)

    made = decide(Facts("mov", 4.0, (track,)), wish(video={"codec": "hevc"}), NEW)

    assert isinstance(made, Rejected)
    assert "Dolby Vision" in made.reason


def test_what_this_ffmpeg_cannot_decode_is_refused_unless_it_is_copied() -> None:
    facts = Facts("mov", 4.0, (replace(PICTURE, codec="vvc"),))
    limited = replace(NEW, decodes=frozenset({"h264"}))

    assert decide(facts, wish(video={"codec": "hevc"}), limited) == Rejected(
        "this ffmpeg cannot decode vvc", cause=Cause.UNSUPPORTED
    )
    assert isinstance(decide(facts, wish(video="copy"), limited), Decided)


@pytest.mark.parametrize(
    ("track", "video", "options", "changes", "warned"),
    [
        (PICTURE, {"codec": "h264"}, {"-crf:v:0": "21", "-pix_fmt:v:0": "yuv420p"}, {}, set()),
        (PICTURE, {"codec": "hevc", "quality": 20}, {"-crf:v:0": "20"}, {"codec": "hevc"}, set()),
        (
            PICTURE,
            {"codec": "hevc", "quality": {"libx265": 19}},
            {"-crf:v:0": "19"},
            {"width": 1280},
            set(),
        ),
        (PICTURE, {"codec": "av1", "bitrate": "2M"}, {"-b:v:0": "2000000"}, {"bits": 8}, set()),
        (
            PICTURE,
            {"codec": "av1", "depth": "10"},
            {"-pix_fmt:v:0": "yuv420p10le"},
            {"bits": 10},
            set(),
        ),
        (
            PICTURE,
            {"codec": "vp9", "preset": "5"},
            {"-cpu-used:v:0": "5", "-b:v:0": "0"},
            {},
            set(),
        ),
        (
            PICTURE,
            {"codec": "prores", "preset": "proxy"},
            {"-profile:v:0": "proxy", "-pix_fmt:v:0": "yuv422p10le"},
            {"bits": 10},
            set(),
        ),
        (
            PICTURE,
            {"codec": "dnxhr", "preset": "lb"},
            {"-profile:v:0": "dnxhr_lb", "-pix_fmt:v:0": "yuv422p"},
            {"codec": "dnxhd"},
            set(),
        ),
        (
            replace(PICTURE, width=3840, height=2160),
            {"codec": "h264", "max_height": 1080},
            {"-filter:v:0": "scale=1920:1080:flags=lanczos,pad=ceil(iw/2)*2:ceil(ih/2)*2"},
            {"width": 1920, "height": 1080},
            set(),
        ),
        (
            replace(TURNED, width=1920, height=1080),
            {"codec": "h264", "max_height": 720},
            {"-filter:v:0": "scale=720:1280:flags=lanczos,pad=ceil(iw/2)*2:ceil(ih/2)*2"},
            {"width": 720, "height": 1280, "rotation": 0},
            set(),
        ),
        (
            replace(PICTURE, width=641, height=361),
            {"codec": "h264", "max_height": 1080},
            {"-filter:v:0": "pad=ceil(iw/2)*2:ceil(ih/2)*2"},
            {"width": 642, "height": 362},
            set(),
        ),
        (HDR, {"codec": "hevc"}, {"-pix_fmt:v:0": "yuv420p10le"}, {"bits": 10}, set()),
        (
            HDR,
            {"codec": "h264"},
            {"-pix_fmt:v:0": "yuv420p"},
            {"transfer": "bt709", "mastering": ()},
            {WarningCause.TONE_MAPPED},
        ),
        (
            HDR,
            {"codec": "hevc", "hdr": "tonemap", "depth": "8"},
            {"-pix_fmt:v:0": "yuv420p"},
            {"transfer": "bt709", "light_level": None},
            {WarningCause.TONE_MAPPED},
        ),
        (
            replace(PICTURE, bits=10),
            {"codec": "h264"},
            {"-pix_fmt:v:0": "yuv420p"},
            {"bits": 8},
            {WarningCause.DEPTH},
        ),
        (
            replace(PICTURE, chroma=Chroma.FULL),
            {"codec": "hevc"},
            {"-pix_fmt:v:0": "yuv420p"},
            {"chroma": Chroma.HALF},
            {WarningCause.CHROMA},
        ),
        (
            replace(PICTURE, alpha=True),
            {"codec": "hevc"},
            {"-pix_fmt:v:0": "yuv420p"},
            {"alpha": False},
            {WarningCause.ALPHA},
        ),
        (
            replace(PICTURE, alpha=True),
            {"codec": "vp9"},
            {"-pix_fmt:v:0": "yuva420p", "-auto-alt-ref:v:0": "0"},
            {},
            set(),
        ),
        (
            replace(PICTURE, alpha=True),
            {"codec": "vp9", "alpha": "drop"},
            {"-pix_fmt:v:0": "yuv420p"},
            {"alpha": False},
            {WarningCause.ALPHA},
        ),
        (
            replace(PICTURE, interlaced=True),
            {"codec": "h264", "deinterlace": "off"},
            {"-filter:v:0": "pad=ceil(iw/2)*2:ceil(ih/2)*2"},
            {"interlaced": None},
            set(),
        ),
    ],
)  # fmt: skip
def test_a_picture_is_encoded_as_it_is_wished(
    track: Track,
    video: dict[str, object],
    options: dict[str, str],
    changes: dict[str, object],
    warned: set[WarningCause],
) -> None:
    made = decided(wish(video=video), track)

    assert {name: option(made, name) for name in options} == options
    found = made.decisions[0].changes
    assert {name: found[name] for name in changes} == changes
    assert causes(made) == warned


@pytest.mark.parametrize(
    ("video", "filters", "factor"),
    [
        ({"codec": "h264"}, "bwdif=mode=send_frame:deint=interlaced", 1.0),
        ({"codec": "h264", "deinterlace": "double"}, "bwdif=mode=send_field:deint=interlaced", 2.0),
        (
            {"codec": "h264", "max_height": 360},
            "bwdif=mode=send_frame:deint=interlaced,scale=640:360:flags=lanczos",
            1.0,
        ),
        ({"codec": "h264", "max_fps": 10}, "bwdif=mode=send_frame:deint=interlaced,fps=10", None),
    ],
)
def test_fields_are_made_pictures_before_anything_else(
    video: dict[str, object], filters: str, factor: float | None
) -> None:
    made = decided(wish(video=video), replace(PICTURE, interlaced=True))

    chain = option(made, "-filter:v:0") or ""
    assert chain.startswith(f"{filters},pad=")
    assert made.frame_factor == factor
    assert causes(made) == {WarningCause.DEINTERLACED}
    assert made.decisions[0].changes["interlaced"] is False


@pytest.mark.parametrize(
    ("ability", "encoder", "kept"),
    [(NEW, "hevc", True), (NEW, "av1", True), (OLD, "hevc", False), (NEW, "vp9", False)],
)
def test_dolby_vision_stays_where_the_encoder_can(
    ability: Ability, encoder: str, kept: bool
) -> None:
    track = replace(HDR, dolby_vision=True, dolby_vision_profile=8, dolby_vision_base=4)

    made = decided(wish(video={"codec": encoder}), track, ability=ability)

    assert made.decisions[0].changes["dolby_vision"] is kept
    assert (WarningCause.DOLBY_VISION in causes(made)) is not kept
    assert (option(made, "-dolbyvision:v:0") == "1") is kept


def test_the_decoder_that_sees_transparency_is_named() -> None:
    ability = replace(NEW, decoders=frozenset({"libvpx-vp9"}))
    track = replace(VP9, alpha=True)

    made = decided(wish("webm", video={"codec": "vp9"}), track, ability=ability)

    assert made.input_args == ["-c:0", "libvpx-vp9"]


@pytest.mark.parametrize(
    ("there", "turn", "encoder"),
    [
        ((), 0, "hevc_nvenc"),
        ((), 1, "libx265"),
        ((), 7, "libx265"),
        (("libx265",), 0, "libx265"),
        (("libx265", "hevc_nvenc"), 0, "hevc_nvenc"),
    ],
)
def test_the_encoders_of_a_profile_have_their_turn(
    there: tuple[str, ...], turn: int, encoder: str
) -> None:
    video = {"codec": "hevc", "encoders": ["hevc_nvenc", "libx265"]}
    ability = replace(NEW, encoders=frozenset(there))

    made = decide(Facts("mov", 4.0, (PICTURE,)), wish(video=video), ability, turn)

    assert isinstance(made, Decided)
    assert option(made, "-c:v:0") == encoder
    assert causes(made) == ({WarningCause.FALLBACK} if encoder == "libx265" else set())


# sounds


def sound(
    index: int, language: str = "", *flags: str, codec: str = "aac", channels: int = 2
) -> Track:
    layout = {1: "mono", 2: "stereo", 6: "5.1(side)", 8: "7.1"}[channels]
    return Track(
        index, "audio", codec, 90, language=language, flags=flags, channels=channels,
        layout=layout, sample_rate=48000,
    )  # fmt: skip


OPUS = {"codec": "opus", "kbit_per_channel": 64}


@pytest.mark.parametrize(
    ("audio", "tracks", "order"),
    [
        ("copy", [sound(1), sound(2)], [1, 2]),
        ("none", [sound(1), sound(2)], []),
        (OPUS, [sound(1), sound(2)], [1, 2]),
        (
            {**OPUS, "languages": ["jpn", "eng"]},
            [sound(1, "eng"), sound(2, "fra"), sound(3), sound(4, "jpn")],
            [4, 1, 3],
        ),
        ({**OPUS, "languages": ["jpn"]}, [sound(1, "eng"), sound(2, "fra")], [1, 2]),
        ({**OPUS, "commentary": "drop"}, [sound(1, "eng", "comment"), sound(2, "eng")], [2]),
        ({**OPUS, "commentary": "drop"}, [sound(1, "eng", "comment")], [1]),
    ],
)
def test_the_wished_sounds_go_in_the_wished_order(
    audio: object, tracks: list[Track], order: list[int]
) -> None:
    made = decided(wish(video="copy", audio=audio), PICTURE, *tracks)

    maps = [value for option, value in pairwise(made.args) if option == "-map"]
    assert maps == ["0:0", *(f"0:{index}" for index in order)]
    kept = {
        d.ordinal: d.track for d in made.decisions if d.kind == "audio" and d.ordinal is not None
    }
    assert [kept[n] for n in sorted(kept)] == order
    assert causes(made) == set()


@pytest.mark.parametrize(
    ("container", "audio", "track", "options", "warned"),
    [
        ("mkv", "copy", sound(1), {"-c:a:0": "copy"}, set()),
        ("webm", "copy", sound(1), {"-c:a:0": "libopus"}, {WarningCause.TRACK_CONVERTED}),
        ("mkv", {**OPUS, "copy_when": {"codec": ["aac"]}}, sound(1), {"-c:a:0": "copy"}, set()),
        (
            "webm",
            {**OPUS, "copy_when": {"codec": ["aac"]}},
            sound(1),
            {"-c:a:0": "libopus", "-b:a:0": "128k"},
            set(),
        ),
        (
            "mkv",
            {**OPUS, "max_channels": 2, "copy_when": {"codec": ["aac"]}},
            sound(1, channels=6),
            {"-c:a:0": "libopus", "-b:a:0": "128k"},
            set(),
        ),
        (
            "mkv",
            OPUS,
            sound(1, channels=6),
            {"-b:a:0": "384k", "-mapping_family:a:0": "1"},
            set(),
        ),
        (
            "mov",
            {"codec": "pcm"},
            sound(1, codec="pcm_s24le"),
            {"-c:a:0": "pcm_s24le"},
            set(),
        ),
        ("mkv", {"codec": "mp3"}, sound(1, channels=6), {"-b:a:0": "192k"}, {WarningCause.LAYOUT}),
    ],
)
def test_a_sound_is_copied_or_encoded_as_it_is_wished(
    container: str,
    audio: object,
    track: Track,
    options: dict[str, str],
    warned: set[WarningCause],
) -> None:
    video = {"codec": "vp9"} if container == "webm" else {"codec": "h264"}
    made = decided(wish(container, video=video, audio=audio), PICTURE, track)

    assert {name: option(made, name) for name in options} == options
    assert causes(made) == warned


def test_a_stereo_sound_is_added_beside_one_of_more_channels() -> None:
    audio = {**OPUS, "also_stereo": {"codec": "aac", "kbit_per_channel": 80}}

    made = decided(wish(video="copy", audio=audio), PICTURE, sound(1, channels=6), sound(2))

    assert [option(made, f"-c:a:{n}") for n in range(3)] == ["libopus", "aac", "libopus"]
    assert option(made, "-b:a:1") == "160k"
    assert [d.ordinal for d in made.decisions if d.track == 1] == [0, 1]


def test_a_film_whose_only_sound_nothing_decodes_is_refused() -> None:
    dumb = replace(sound(1), codec="ac4", decodable=False, channels=0, sample_rate=0)

    made = decide(Facts("mpegts", 4.0, (PICTURE, dumb)), wish(video="copy", audio=OPUS), NEW)

    assert isinstance(made, Rejected)
    assert "ac4" in made.reason


# subtitles and the rest


def text(codec: str, language: str = "eng") -> Track:
    return Track(2, "subtitle", codec, None, language=language)


@pytest.mark.parametrize(
    ("container", "subtitles", "track", "becomes", "warned"),
    [
        ("mkv", {}, text("ass"), "copy", set()),
        ("mkv", {"text": "convert"}, text("ass"), "srt", {WarningCause.STYLE}),
        ("mkv", {"text": "convert"}, text("subrip"), "copy", set()),
        ("mp4", {}, text("ass"), "mov_text", {WarningCause.STYLE}),
        ("mp4", {}, text("mov_text"), "copy", set()),
        ("webm", {}, text("subrip"), "webvtt", set()),
        ("mkv", {}, text("hdmv_pgs_subtitle"), "copy", set()),
        ("mp4", {}, text("hdmv_pgs_subtitle"), None, {WarningCause.TRACK_LEFT_OUT}),
        ("mp4", {"bitmap": "drop"}, text("hdmv_pgs_subtitle"), None, set()),
        ("mkv", {"text": "drop"}, text("ass"), None, set()),
        ("mkv", {"languages": ["jpn"]}, text("ass"), None, set()),
        ("mkv", {"languages": ["jpn"]}, text("ass", ""), "copy", set()),
    ],
)
def test_subtitles_go_as_they_are_wished_and_held(
    container: str,
    subtitles: object,
    track: Track,
    becomes: str | None,
    warned: set[WarningCause],
) -> None:
    video = {"codec": "av1"}
    made = decided(wish(container, video=video, subtitles=subtitles), PICTURE, track)

    assert option(made, "-c:s:0") == becomes
    assert causes(made) == warned


PLACE = (("title", "a"), ("location", "+1+2/"), ("creation_time", "2019-07-14T10:20:30Z"))
FONT = Track(3, "attachment", "ttf", None, file_name="a.ttf", mime_type="font/ttf")
COVER = Track(4, "video", "mjpeg", 1, 300, 300, attached_picture=True)


@pytest.mark.parametrize(
    ("out", "gone", "left"),
    [
        ("place", {"location="}, {"date", "tags"}),
        ("date", {"creation_time="}, {"place", "tags"}),
        ("tags", {"title="}, {"date", "place"}),
    ],
)
def test_what_is_not_to_be_kept_is_removed(out: str, gone: set[str], left: set[str]) -> None:
    keep = [word for word in ("chapters", "tags", "date", "place", "cover", "fonts") if word != out]

    made = decided(wish("mp4", video="copy", keep=keep), PICTURE, tags=PLACE, demuxer="mov")

    assert gone <= set(made.args)
    assert set(made.keeps) == left
    assert ("creation_time=2019-07-14T10:20:30Z" in made.args) is (out != "date")


def test_cover_fonts_and_chapters_are_kept_unless_that_is_not_wished() -> None:
    chapters = (Chapter(0, 2),)
    kept = decided(wish(video="copy"), PICTURE, FONT, chapters=chapters)
    none = decided(wish(video="copy", keep=["tags"]), PICTURE, FONT, chapters=chapters)
    cover = decided(wish("mp4", video={"codec": "h264"}), PICTURE, COVER)
    bare = decided(wish("mp4", video={"codec": "h264"}, keep=["tags"]), PICTURE, COVER)

    assert option(kept, "-c:t:0") == "copy"
    assert "chapters" in kept.keeps
    assert option(none, "-c:t:0") is None
    assert option(none, "-map_chapters") == "-1"
    assert "chapters" not in none.keeps
    assert option(cover, "-disposition:v:1") == "attached_pic"
    assert option(bare, "-disposition:v:1") is None
    assert causes(none) | causes(bare) == set()


def test_own_arguments_come_last_and_time_that_they_change_is_not_counted() -> None:
    made = decided(wish(video={"codec": "h264"}, args="-tune grain -r 5"), PICTURE)

    assert made.args[-4:] == ["-tune", "grain", "-r", "5"]
    assert made.frame_factor is None


def test_another_suffix_than_the_containers_does_not_choose_another_one() -> None:
    made = decided(wish(suffix=".video", video="copy"), PICTURE)

    assert option(made, "-f") == "matroska"


@pytest.mark.parametrize(
    ("keys", "lacking"),
    [
        ({"video": "copy"}, []),
        ({"video": {"codec": "h264"}}, []),
        ({"video": {"codec": "hevc"}}, ["video.codec"]),
        ({"video": {"codec": "h264", "encoders": ["h264_nvenc", "libx264"]}}, []),
        ({"video": {"codec": "h264", "encoders": ["h264_nvenc"]}}, ["video.encoders"]),
        ({"video": {"codec": "h264"}, "audio": {"codec": "opus"}}, ["audio.codec"]),
        ({"video": {"codec": "h264"}, "audio": {"codec": "aac"}}, []),
    ],
)
def test_what_an_ffmpeg_lacks_is_told_at_its_key(
    keys: dict[str, object], lacking: list[str]
) -> None:
    ability = replace(OLD, encoders=frozenset({"libx264", "aac"}))

    assert [key for key, _ in lacks(wish(**keys), ability)] == lacking  # type: ignore[arg-type]
