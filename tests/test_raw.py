"""What ``-map auto`` comes to, as tables: tracks, pictures, sounds, texts, metadata."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from watchconv.encode.decision import Action
from watchconv.encode.program import Ability
from watchconv.encode.raw import Chosen, choose
from watchconv.media.facts import Chapter, Chroma, Facts, Track
from watchconv.model import Cause, Rejected, WarningCause

if TYPE_CHECKING:
    from collections.abc import Sequence

VIDEO = Track(0, "video", "h264", 30, 1280, 720, bits=8, chroma=Chroma.HALF, flags=("default",))
HDR = replace(
    VIDEO,
    codec="hevc",
    bits=10,
    primaries="bt2020",
    transfer="smpte2084",
    matrix="bt2020nc",
    mastering=(0.68, 0.32, 0.265, 0.69, 0.15, 0.06, 0.3127, 0.329, 0.0001, 1000.0),
    light_level=(1000, 400),
)
RGB = replace(VIDEO, codec="qtrle", chroma=Chroma.RGB)
AUDIO = Track(1, "audio", "aac", 45, channels=2, layout="stereo", sample_rate=48000)
COVER = Track(2, "video", "mjpeg", 1, 300, 400, attached_picture=True)
OLD = Ability("5.1", (59, 37, 100), demux_time_base="-1", writes_matroska_rotation=False)
OLD = replace(OLD, x265_captions=False)
NEW = Ability("9.0", (63, 1, 102), decoders=frozenset({"libvpx", "libvpx-vp9"}))
X264 = ("-map", "auto", "-c:v", "libx264", "-c:a", "aac")
COPY = ("-map", "auto", "-c", "copy")
EVEN_64 = r"pad=ceil(max(iw\,64)/2)*2:ceil(max(ih\,64)/2)*2,format=yuv420p|yuv420p10le"
VFR = ("-map", "auto", "-fps_mode", "vfr", "-c:v")
RAW = {
    "webm": (*VFR, "libvpx", "-b:v", "1M", "-c:a", "libvorbis"),
    "mp4": (
        *(*VFR, "libx264", "-vf", "pad=ceil(iw/2)*2:ceil(ih/2)*2", "-pix_fmt", "yuv420p"),
        *("-c:a", "aac", "-movflags", "+faststart"),
    ),
    "hevc": (*VFR, "libx265", "-tag:v", "hvc1", "-vf", EVEN_64, "-c:a", "aac"),
    "av1": (
        *(*VFR, "libsvtav1", "-svtav1-params", "fps-num=30:fps-denom=1", "-vf", EVEN_64),
        *("-c:a", "libopus"),
    ),
}
SUFFIX = {"webm": ".webm", "mp4": ".mp4", "hevc": ".mp4", "av1": ".webm"}


def media(*tracks: Track, demuxer: str = "matroska", **more: object) -> Facts:
    return Facts(demuxer, None, tracks, **more)  # type: ignore[arg-type]


def chosen(
    args: Sequence[str], found: Facts, suffix: str = ".mkv", ability: Ability = NEW
) -> Chosen:
    made = choose(args, found, suffix, ability)
    assert isinstance(made, Chosen), made
    assert [d.track for d in made.decisions] == [t.index for t in found.tracks]
    return made


def words(made: Chosen) -> str:
    return " ".join(made.args)


def causes(made: Chosen) -> list[WarningCause]:
    return [warning.cause for warning in made.warnings]


def texts(made: Chosen) -> list[str]:
    return [warning.text for warning in made.warnings]


def text_track(codec: str, index: int = 2) -> Track:
    return Track(index, "subtitle", codec, None, language="eng")


# which tracks


def test_arguments_without_auto_are_not_changed() -> None:
    args = ["-map", "0", "-c", "copy"]
    made = choose(args, media(VIDEO, AUDIO), ".mkv", NEW)

    assert isinstance(made, Chosen)
    assert (made.args, made.decisions, made.warnings) == (args, [], [])


def test_the_maps_stand_where_auto_stood() -> None:
    made = chosen(["-y", *X264], media(VIDEO, AUDIO), ".mp4")

    assert made.args[:7] == ["-y", "-map", "0:0", "-map", "0:1", "-c:v", "libx264"]
    assert made.warnings == []
    assert [(d.action, d.ordinal) for d in made.decisions] == [(Action.ENCODE, 0)] * 2


FILM = replace(VIDEO, index=1, width=160, height=120, flags=())


@pytest.mark.parametrize(
    "other",
    [
        Track(0, "video", "mjpeg", None, 300, 400),  # a cover stored like a film
        Track(0, "video", "png", 1, 3000, 4000),
        Track(0, "video", "h264", 1, 1280, 720),  # one picture
        Track(0, "video", "h264", 0, 1280, 720),  # empty
        Track(0, "video", "h264", 30, 80, 60),  # a small preview
        Track(0, "video", "hevc", 30, 1280, 720, decodable=False),
    ],
)
def test_the_film_is_the_moving_picture_wherever_it_stands(other: Track) -> None:
    made = chosen(X264, media(other, FILM))

    assert made.args[:4] == ["-map", "0:1", "-c:v", "libx264"]
    assert [d.ordinal for d in made.decisions] == [None, 0]


def test_of_two_films_the_default_one_goes() -> None:
    wide = Track(0, "video", "h264", 30, 1920, 1080)

    assert "-map 0:1 -c" in words(chosen(X264, media(wide, replace(FILM, flags=("default",)))))


def test_a_film_that_is_motion_jpeg_goes_without_a_word() -> None:
    made = chosen(X264, media(replace(VIDEO, codec="mjpeg"), AUDIO))

    assert made.warnings == []


def test_one_programme_goes_with_its_own_sounds() -> None:
    tracks = (
        replace(VIDEO, program=1),
        replace(AUDIO, program=1),
        replace(VIDEO, index=2, program=2),
        replace(AUDIO, index=3, program=2),
        replace(AUDIO, index=4),
    )
    made = chosen(X264, media(*tracks, demuxer="mpegts"))

    assert words(made).startswith("-map 0:0 -map 0:1 -map 0:4 -c:v")
    assert causes(made) == [WarningCause.TRACK_LEFT_OUT] * 2
    assert texts(made)[0] == "video track 2 (h264) is left out: it belongs to another programme"


SILENT = Track(1, "audio", "mp3", None)
MUTE = Track(1, "audio", "ac4", None, decodable=False)


def test_a_sound_that_sends_nothing_is_left_out_and_the_film_goes() -> None:
    made = chosen(X264, media(VIDEO, SILENT))

    assert "0:1" not in made.args
    assert causes(made) == [WarningCause.TRACK_LEFT_OUT]


@pytest.mark.parametrize("args", [X264, COPY])
def test_a_film_whose_only_sound_cannot_be_decoded_is_refused_by_its_name(
    args: tuple[str, ...],
) -> None:
    reason = "its only sound cannot be decoded: audio track 1 (ac4)"

    assert choose(args, media(VIDEO, MUTE), ".mkv", NEW) == Rejected(
        reason, cause=Cause.UNSUPPORTED
    )
    beside = chosen(args, media(VIDEO, MUTE, replace(AUDIO, index=2)))
    assert causes(beside) == [WarningCause.TRACK_LEFT_OUT]
    chosen([*args, "-an"], media(VIDEO, MUTE))


def test_what_this_ffmpeg_cannot_decode_is_refused_unless_it_is_copied() -> None:
    found = media(replace(VIDEO, codec="vvc"), AUDIO)
    limited = Ability(decodes=frozenset({"h264", "aac"}))

    assert choose(X264, found, ".mkv", limited) == Rejected(
        "this ffmpeg cannot decode vvc", cause=Cause.UNSUPPORTED
    )
    chosen(COPY, found, ability=limited)


def test_kinds_that_the_user_refuses_are_left_out_in_silence() -> None:
    made = chosen([*X264, "-an", "-sn"], media(VIDEO, AUDIO, text_track("subrip")))

    assert made.args[:2] == ["-map", "0:0"]
    assert "0:1" not in made.args
    assert "0:2" not in made.args
    assert made.warnings == []


@pytest.mark.parametrize(
    ("name", "mime", "cause"),
    [
        ("a.ttf", "application/x-truetype-font", None),
        ("a.otf", "application/vnd.ms-opentype", None),
        ("a.TTF", "application/octet-stream", None),
        ("read.txt", "text/plain", None),
        ("a.ttf", "", WarningCause.FONTS),  # the muxer would refuse it
    ],
)
def test_attachments_stay_in_matroska_by_name_and_type(
    name: str, mime: str, cause: WarningCause | None
) -> None:
    track = Track(2, "attachment", "unknown", None, file_name=name, mime_type=mime)
    made = chosen(COPY, media(VIDEO, AUDIO, track))

    assert causes(made) == ([cause] if cause else [])
    assert ("0:2" in made.args) == (cause is None)


def test_many_fonts_that_do_not_go_are_one_warning() -> None:
    fonts = [Track(n, "attachment", "ttf", None, file_name="a.ttf") for n in range(2, 5)]
    made = chosen(X264, media(VIDEO, AUDIO, *fonts), ".mp4")

    assert made.warnings[0].cause is WarningCause.FONTS
    assert texts(made) == ["attachment tracks 2, 3, 4 (ttf) are left out: mp4 holds no fonts"]


def test_what_is_not_lost_is_not_said_to_be() -> None:
    chapters = Track(2, "data", "bin_data", 3)
    clock = Track(3, "data", "unknown", 1, timecode="01:02:03:04")
    found = media(VIDEO, AUDIO, chapters, clock, demuxer="mov", chapters=(Chapter(0, 1),))

    assert chosen(X264, found, ".mp4").warnings == []
    assert causes(chosen(X264, found, ".mkv")) == [WarningCause.TIMECODE]


@pytest.mark.parametrize(("suffix", "kept"), [(".mp4", True), (".mov", True), (".mkv", False)])
def test_a_cover_is_copied_beside_the_film_where_the_container_holds_it(
    suffix: str, kept: bool
) -> None:
    args = [*X264, "-vf", "hflip", "-pix_fmt", "yuv420p", "-b:v", "1M"]
    made = chosen(args, media(COVER, replace(VIDEO, index=1), replace(AUDIO, index=0)), suffix)

    assert causes(made) == ([] if kept else [WarningCause.COVER])
    assert ("-c:v:1 copy -disposition:v:1 attached_pic" in words(made)) == kept
    if kept:
        assert "-c:v:0 libx264" in words(made)
        assert "-filter:v:0 hflip -pix_fmt:v:0 yuv420p -b:v:0 1M" in words(made)


# pictures


@pytest.mark.parametrize(
    ("args", "suffix", "ability", "base"),
    [
        (RAW["mp4"], ".mp4", NEW, "demux"),
        (RAW["webm"], ".webm", OLD, "-1"),
        (X264, ".mkv", NEW, "demux"),
        (X264, ".avi", NEW, None),
        ((*X264, "-r", "25"), ".mkv", NEW, None),
        ((*X264, "-vf", "fps=25"), ".mkv", NEW, None),
        ((*X264, "-fps_mode", "cfr"), ".mkv", NEW, None),
        (("-map", "auto", "-c:v", "mpeg2video"), ".mkv", NEW, None),
        (("-map", "auto", "-c:v", "h264_nvenc"), ".mkv", NEW, None),
        (COPY, ".mkv", NEW, None),
    ],
)
def test_each_picture_keeps_its_time(
    args: tuple[str, ...], suffix: str, ability: Ability, base: str | None
) -> None:
    made = chosen(args, media(VIDEO), suffix, ability)

    assert (f"-enc_time_base:v:0 {base}" in words(made)) == (base is not None)
    assert made.frame_factor == (1.0 if base or args is COPY else None)


FIELDS = replace(VIDEO, interlaced=True)


@pytest.mark.parametrize(
    ("more", "done"),
    [
        ((), True),
        (("-vf", "hflip"), True),
        (("-vf", "yadif"), False),
        (("-flags", "+ildct+ilme"), False),
        (("-filter_complex", "hflip"), False),
    ],
)
def test_fields_are_made_pictures_unless_the_profile_says_what_to_do(
    more: tuple[str, ...], done: bool
) -> None:
    made = chosen([*X264, *more], media(FIELDS))

    assert ("bwdif=mode=send_frame:deint=interlaced" in words(made)) == done
    assert (WarningCause.DEINTERLACED in causes(made)) == done
    assert made.decisions[0].changes["interlaced"] is (False if done else None)
    assert chosen(COPY, media(FIELDS)).warnings == []


@pytest.mark.parametrize(
    ("track", "profile", "formats", "wanted"),
    [
        (VIDEO, "mp4", "yuv420p", []),
        (replace(VIDEO, bits=10), "hevc", "yuv420p10le", []),
        (replace(VIDEO, bits=10), "av1", "yuv420p10le", []),
        (replace(VIDEO, bits=10), "mp4", "yuv420p", [WarningCause.DEPTH]),
        (replace(VIDEO, bits=12), "hevc", "yuv420p10le", [WarningCause.DEPTH]),
        (replace(VIDEO, chroma=Chroma.WIDE), "hevc", "yuv420p", [WarningCause.CHROMA]),
        (replace(VIDEO, chroma=Chroma.GRAY), "hevc", "yuv420p", []),
        (RGB, "mp4", "yuv420p", [WarningCause.CHROMA]),
        (replace(RGB, alpha=True), "webm", "yuva420p", [WarningCause.CHROMA]),
        (replace(VIDEO, codec="vp9", alpha=True), "webm", "yuva420p", []),
        (replace(VIDEO, alpha=True), "mp4", "yuv420p", [WarningCause.ALPHA]),
        (HDR, "hevc", "yuv420p10le", []),
        (HDR, "webm", "yuv420p", [WarningCause.TONE_MAPPED]),
        (replace(HDR, transfer="arib-std-b67"), "mp4", "yuv420p", [WarningCause.TONE_MAPPED]),
    ],
)
def test_a_picture_gets_the_format_that_loses_least_and_says_what_it_loses(
    track: Track, profile: str, formats: str, wanted: list[WarningCause]
) -> None:
    made = chosen(RAW[profile], media(track), SUFFIX[profile])

    assert f" {formats} " in words(made).replace("-pix_fmt:v:0", "-pix_fmt") + " "
    assert causes(made) == wanted


def test_transparency_needs_a_decoder_that_reads_it() -> None:
    track = replace(VIDEO, codec="vp8", alpha=True)
    webm = RAW["webm"]

    assert chosen(webm, media(track), ".webm").input_args == ["-c:0", "libvpx"]
    assert "-auto-alt-ref:v:0 0" in words(chosen(webm, media(track), ".webm"))
    assert causes(chosen(webm, media(track), ".webm", OLD)) == [WarningCause.ALPHA]


def test_rgb_becomes_bt709_and_says_so_ahead_of_the_profiles_filters() -> None:
    made = chosen(RAW["mp4"], media(RGB), ".mp4")

    assert "-vf scale=out_color_matrix=bt709:out_range=tv,format=yuv420p,setparams=" in words(made)
    assert words(made).count("pad=ceil") == 1
    assert made.decisions[0].changes["matrix"] == "bt709"
    assert "out_color_matrix" not in words(chosen(COPY, media(RGB), ".mov"))


def test_hdr_in_enough_bits_keeps_what_is_said_of_its_display() -> None:
    hevc, av1 = (chosen(RAW[n], media(HDR), SUFFIX[n]) for n in ("hevc", "av1"))

    assert "master-display=G(13250,34500)B(7500,3000)R(34000,16000)" in words(hevc)
    assert "L(10000000,1):max-cll=1000,400" in words(hevc)
    assert "content-light=1000,400:fps-num=30:fps-denom=1" in words(av1)
    assert "tonemap" not in words(hevc) + words(av1)


def test_the_profiles_own_colours_are_left_alone() -> None:
    made = chosen([*X264, "-vf", "zscale=t=bt709,format=yuv420p"], media(HDR))

    assert "tonemap" not in words(made)
    assert made.decisions[0].changes["transfer"] is None


@pytest.mark.parametrize(
    ("encoder", "ability", "lost"),
    [
        ("libx264", OLD, False),
        ("libx265", NEW, False),
        ("libx265", OLD, True),
        ("libvpx", NEW, True),
        ("libsvtav1", NEW, True),
    ],
)
def test_captions_stay_or_their_loss_is_said(encoder: str, ability: Ability, lost: bool) -> None:
    track = replace(VIDEO, captions=True)
    made = chosen(("-map", "auto", "-c:v", encoder), media(track), ability=ability)

    assert (WarningCause.CAPTIONS in causes(made)) == lost
    assert ("-a53cc:v:0 1" in words(made)) == (encoder == "libx265" and not lost)


def test_dolby_vision_is_lost_with_a_word_and_without_a_base_refused() -> None:
    base = replace(HDR, dolby_vision=True, dolby_vision_profile=8, dolby_vision_base=1)
    bare = replace(VIDEO, codec="hevc", dolby_vision=True, dolby_vision_profile=5)

    assert WarningCause.DOLBY_VISION in causes(chosen(RAW["hevc"], media(base), ".mp4"))
    refused = choose(X264, media(bare), ".mkv", NEW)
    assert isinstance(refused, Rejected)
    assert "Dolby Vision" in refused.reason
    assert chosen(COPY, media(bare)).warnings == []


def test_a_size_that_changes_is_fitted_into_the_largest() -> None:
    track = replace(VIDEO, largest=(352, 288), sample_aspect=(12, 11))
    for args in (X264, RAW["mp4"]):
        made = chosen(args, media(track))

        assert "scale=384:288:force_original_aspect_ratio=decrease" in words(made)
        assert causes(made) == [WarningCause.SHAPE]
    assert chosen([*X264, "-vf", "scale=2:2"], media(track)).warnings == []


@pytest.mark.parametrize(
    ("track", "demuxer", "suffix", "ability", "encoder"),
    [
        (replace(VIDEO, discarded=38), "mov", ".mkv", NEW, "libx264"),
        (replace(VIDEO, discarded=38), "mov", ".mp4", NEW, None),
        (replace(VIDEO, rotation=90), "mov", ".mkv", OLD, "libx264"),
        (replace(VIDEO, rotation=90), "mov", ".mkv", NEW, None),
        (replace(VIDEO, rotation=90), "mov", ".mov", OLD, None),
        (replace(HDR, rotation=90), "mov", ".mkv", OLD, "libx265"),
        (RGB, "mov", ".mkv", NEW, "ffv1"),
        (replace(VIDEO, codec="rv40"), "rm", ".mkv", NEW, "libx264"),
        (replace(VIDEO, codec="vp8"), "matroska", ".mp4", NEW, "libx264"),
    ],
)
def test_a_picture_that_a_copy_would_spoil_is_encoded_with_a_word(
    track: Track, demuxer: str, suffix: str, ability: Ability, encoder: str | None
) -> None:
    made = chosen(COPY, media(track, demuxer=demuxer), suffix, ability)

    assert causes(made) == ([WarningCause.TRACK_CONVERTED] if encoder else [])
    assert (f"-c:v:0 {encoder}" in words(made)) == (encoder is not None)
    assert made.decisions[0].action is (Action.ENCODE if encoder else Action.COPY)


# sounds


@pytest.mark.parametrize(
    ("layout", "channels", "encoder", "becomes", "kbit", "whole"),
    [
        ("stereo", 2, "aac", "stereo", "160k", True),
        ("mono", 1, "aac", "mono", "80k", True),
        ("5.1(side)", 6, "aac", "5.1", "480k", True),
        ("5.1", 6, "libopus", "5.1", "384k", True),
        ("2.1", 3, "aac", "2.1", "240k", True),
        ("2.1", 3, "libopus", "5.1", "384k", True),
        ("4.0", 4, "libvorbis", "6.1", None, True),
        ("quad(side)", 4, "libvorbis", "quad", None, True),
        ("7.1(wide)", 8, "libopus", "7.1", "512k", False),
        ("7.1", 8, "ac3", "5.1(side)", None, False),
        ("", 6, "aac", "5.1", "480k", True),
        ("", 10, "aac", "7.1", "640k", False),
        ("stereo", 2, "pcm_s16le", None, None, True),
    ],
)
def test_every_speaker_keeps_its_channel_or_its_loss_is_said(
    layout: str, channels: int, encoder: str, becomes: str | None, kbit: str | None, whole: bool
) -> None:
    track = replace(AUDIO, layout=layout, channels=channels)
    made = chosen(("-map", "auto", "-c:v", "copy", "-c:a", encoder), media(VIDEO, track))

    assert causes(made) == ([] if whole else [WarningCause.LAYOUT])
    assert (f"aformat=channel_layouts={becomes}" in words(made)) == bool(becomes)
    assert (f"-b:a:0 {kbit}" in words(made)) == bool(kbit)


@pytest.mark.parametrize(
    ("more", "absent"),
    [
        (("-b:a", "96k"), "-b:a:0"),
        (("-ab", "96k"), "-b:a:0"),
        (("-q:a", "2"), "-b:a:0"),
        (("-ac", "2"), "aformat"),
        (("-af", "volume=2"), "aformat"),
        (("-ar", "44100"), "sample_rates"),
    ],
)
def test_what_the_profile_says_of_its_sound_holds(more: tuple[str, ...], absent: str) -> None:
    assert absent not in words(chosen([*X264, *more], media(VIDEO, AUDIO)))


def test_of_more_channels_than_can_be_mixed_the_first_ones_go() -> None:
    track = replace(AUDIO, layout="", channels=10)

    assert "-filter:a:0 pan=7.1|c0=c0|c1=c1" in words(chosen(X264, media(VIDEO, track)))


def test_a_rate_that_the_encoder_does_not_take_is_said() -> None:
    track = replace(AUDIO, sample_rate=96000)

    opus = ("-map", "auto", "-c:v", "copy", "-c:a", "libopus")
    assert causes(chosen(opus, media(VIDEO, track))) == [WarningCause.SAMPLE_RATE]
    assert chosen(X264, media(VIDEO, track)).warnings == []


@pytest.mark.parametrize(
    ("codec", "suffix", "becomes"),
    [
        ("pcm_bluray", ".mkv", "flac"),
        ("adpcm_swf", ".mkv", "flac"),
        ("nellymoser", ".mkv", "flac"),
        ("pcm_s16le", ".mkv", None),
        ("ac3", ".mkv", None),
        ("pcm_s16le", ".mp4", "aac"),
        ("aac", ".webm", "libopus"),
        ("opus", ".mov", "pcm_s16le"),
        ("aac", ".ts", None),
    ],
)
def test_a_sound_that_alone_cannot_go_is_converted(
    codec: str, suffix: str, becomes: str | None
) -> None:
    video = replace(VIDEO, codec="vp9") if suffix == ".webm" else VIDEO
    made = chosen(COPY, media(video, replace(AUDIO, codec=codec)), suffix)

    assert causes(made) == ([WarningCause.TRACK_CONVERTED] if becomes else [])
    assert (f"-c:a:0 {becomes}" in words(made)) == bool(becomes)


def test_a_sound_that_was_cut_does_not_come_back_whole() -> None:
    priming, cut = replace(AUDIO, discarded=3), replace(AUDIO, discarded=60)

    assert chosen(COPY, media(VIDEO, priming, demuxer="mov")).warnings == []
    assert causes(chosen(COPY, media(VIDEO, cut, demuxer="mov"))) == [WarningCause.TRACK_CONVERTED]
    assert chosen(COPY, media(VIDEO, cut, demuxer="mov"), ".mp4").warnings == []


# texts


@pytest.mark.parametrize(
    ("codec", "suffix", "becomes", "styled"),
    [
        ("subrip", ".webm", "webvtt", False),
        ("webvtt", ".webm", "copy", False),
        ("ass", ".MP4", "mov_text", True),
        ("mov_text", ".mov", "copy", False),
        ("ssa", ".m4v", "mov_text", True),
        ("ass", ".mkv", "copy", False),
        ("mov_text", ".mkv", "srt", False),
        ("hdmv_pgs_subtitle", ".mkv", "copy", False),
        ("dvd_subtitle", ".mkv", "copy", False),
    ],
)
def test_subtitles_become_what_the_container_takes(
    codec: str, suffix: str, becomes: str, styled: bool
) -> None:
    made = chosen(X264, media(VIDEO, AUDIO, text_track(codec)), suffix)

    assert f"-c:s:0 {becomes}" in words(made)
    assert causes(made) == ([WarningCause.STYLE] if styled else [])


def test_a_text_that_was_to_be_copied_and_is_converted_is_said() -> None:
    made = chosen(COPY, media(VIDEO, AUDIO, text_track("mov_text")))

    assert texts(made) == [
        "subtitle track 2 (mov_text, eng) is converted to subrip: mkv does not hold mov_text"
    ]


def test_picture_subtitles_do_not_fit_into_webm() -> None:
    tracks = (text_track("hdmv_pgs_subtitle"), text_track("ass", 3))
    made = chosen(X264, media(VIDEO, AUDIO, *tracks), ".webm")

    assert "-c:s:0 webvtt" in words(made)
    what = "subtitle track 2 (hdmv_pgs_subtitle, eng) is left out: webm holds no picture subtitles"
    assert what in texts(made)


@pytest.mark.parametrize(("codec", "goes"), [("subrip", True), ("dvd_subtitle", False)])
def test_a_codec_that_the_user_names_for_subtitles_is_not_overruled(codec: str, goes: bool) -> None:
    made = chosen([*X264, "-c:s", "ass"], media(VIDEO, AUDIO, text_track(codec)))

    assert "-c:s:0" not in made.args
    assert ("0:2" in made.args) == goes
    why = "subtitle track 2 (dvd_subtitle, eng) is left out: picture subtitles cannot become ass"
    assert texts(made) == ([] if goes else [why])


# metadata

DATE = ("creation_time", "2019-07-14T10:20:30Z")
PLACE = ("com.apple.quicktime.location.iso6709", "+10.0000+020.0000/")


@pytest.mark.parametrize(
    ("tags", "suffix", "args", "keeps", "lost"),
    [
        ((DATE,), ".mp4", f"-metadata creation_time={DATE[1]}", {"date"}, []),
        ((DATE, PLACE), ".mp4", "-movflags +use_metadata_tags", {"date", "place", "tags"}, []),
        ((DATE, PLACE), ".mkv", "-map_metadata 0", {"date", "place", "tags"}, []),
        ((DATE, PLACE), ".avi", "", set(), [WarningCause.DATE, WarningCause.PLACE]),
        ((("title", "A"), ("mood", "b")), ".mp4", "", set(), [WarningCause.TAGS]),
        ((("make", "A"),), ".mp4", "-movflags +use_metadata_tags", {"tags"}, []),
        ((("title", "A"),), ".mp4", "-map_metadata 0", {"tags"}, []),
        ((("major_brand", "isom"),), ".mp4", "-map_metadata 0", set(), []),
        ((("major_brand", "isom"),), ".mkv", "-metadata major_brand=", set(), []),
    ],
)
def test_dates_places_and_names_go_with_the_film(
    tags: tuple[tuple[str, str], ...],
    suffix: str,
    args: str,
    keeps: set[str],
    lost: list[WarningCause],
) -> None:
    made = chosen(X264, media(VIDEO, tags=tags), suffix)

    assert args in words(made)
    assert made.keeps == keeps
    assert causes(made) == lost


def test_what_the_profile_says_of_metadata_holds() -> None:
    made = chosen([*X264, "-map_metadata", "-1"], media(VIDEO, tags=(DATE,)), ".mp4")
    flags = [*X264, "-movflags", "+faststart"]

    assert "creation_time" not in words(made)
    assert "-movflags +faststart+use_metadata_tags" in words(
        chosen(flags, media(VIDEO, tags=(PLACE,)), ".mp4")
    )


def test_the_names_of_tracks_go_into_mp4_where_players_look_for_them() -> None:
    named = replace(AUDIO, title="Microphone")

    assert "-metadata:s:a:0 title=Microphone -metadata:s:a:0 handler_name=Microphone" in words(
        chosen(X264, media(VIDEO, named), ".mp4")
    )


@pytest.mark.parametrize(
    ("flag", "suffix", "lost"),
    [
        ("comment", ".webm", True),
        ("comment", ".mkv", False),
        ("comment", ".mp4", False),
        ("comment", ".mov", True),
        ("original", ".mp4", True),
        ("forced", ".webm", False),
        ("forced", ".mov", True),
        ("default", ".webm", False),
    ],
)
def test_flags_that_a_container_does_not_hold_are_said(flag: str, suffix: str, lost: bool) -> None:
    made = chosen(RAW["av1"], media(VIDEO, replace(AUDIO, flags=(flag,))), suffix)

    assert causes(made) == ([WarningCause.FLAGS] if lost else [])
    assert made.decisions[1].changes["flags"] == (() if lost else (flag,))
