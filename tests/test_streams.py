"""The choice of streams, as tables."""

from __future__ import annotations

import pytest

from watchconv.encode.streams import choose_streams
from watchconv.model import MediaInfo, Stream

VIDEO = Stream(0, "video", "h264", 30)
AUDIO = Stream(1, "audio", "aac", 45)
COVER = Stream(2, "video", "mjpeg", 1, attached_picture=True)
AUTO = ["-map", "auto", "-c:v", "libx264"]


def media(*streams: Stream) -> MediaInfo:
    return MediaInfo("matroska", None, streams)


def subtitle(codec: str) -> Stream:
    return Stream(2, "subtitle", codec, None, language="eng")


def test_arguments_without_auto_are_not_changed() -> None:
    args = ["-map", "0", "-c", "copy"]

    assert choose_streams(args, media(VIDEO, AUDIO), ".mkv") == (args, [])


def test_the_maps_stand_where_auto_stood() -> None:
    args, losses = choose_streams(["-y", *AUTO], media(VIDEO, AUDIO), ".mp4")

    assert args == ["-y", "-map", "0:0", "-map", "0:1", "-c:v", "libx264"]
    assert losses == []


def test_the_cover_the_empty_track_and_data_are_left_out_with_a_word() -> None:
    empty = Stream(3, "video", "h264", 0)
    data = Stream(4, "data", "unknown", 9)

    args, losses = choose_streams(AUTO, media(COVER, empty, VIDEO, data), ".mp4")

    assert args == ["-map", "0:0", "-c:v", "libx264"]
    assert losses == [
        "video track 2 (mjpeg): a cover picture is not kept",
        "video track 3 (h264): it is empty",
        "data track 4 (unknown): data does not go into .mp4",
    ]


def test_a_second_video_is_left_out_and_every_audio_is_kept() -> None:
    second = Stream(2, "video", "h264", 30)
    other = Stream(3, "audio", "ac3", None)
    odd = Stream(4, "audio", "unknown", None)

    args, losses = choose_streams(AUTO, media(VIDEO, AUDIO, second, other, odd), ".mp4")

    assert args[:6] == ["-map", "0:0", "-map", "0:1", "-map", "0:3"]
    assert losses == [
        "video track 2 (h264): only the first video is kept",
        "audio track 4 (unknown): this codec is unknown",
    ]


@pytest.mark.parametrize(
    ("codec", "suffix", "becomes"),
    [
        ("subrip", ".webm", "webvtt"),
        ("webvtt", ".webm", "copy"),
        ("ass", ".MP4", "mov_text"),
        ("mov_text", ".mov", "copy"),
        ("ssa", ".m4v", "mov_text"),
        ("ass", ".mkv", "copy"),
        ("mov_text", ".mkv", "srt"),
        ("hdmv_pgs_subtitle", ".mkv", "copy"),
        ("dvd_subtitle", ".mkv", "copy"),
    ],
)
def test_subtitles_become_what_the_container_takes(codec: str, suffix: str, becomes: str) -> None:
    args, losses = choose_streams(AUTO, media(VIDEO, subtitle(codec)), suffix)

    assert args[-2:] == ["-c:s:0", becomes]
    assert losses == []


def test_picture_subtitles_do_not_fit_into_webm() -> None:
    args, losses = choose_streams(AUTO, media(VIDEO, subtitle("hdmv_pgs_subtitle")), ".webm")

    assert args == ["-map", "0:0", "-c:v", "libx264"]
    assert losses == ["subtitle track 2 (hdmv_pgs_subtitle, eng): webm holds no picture subtitles"]


def test_subtitles_are_numbered_among_those_kept() -> None:
    tracks = (subtitle("dvd_subtitle"), Stream(3, "subtitle", "ass", None))

    args, _ = choose_streams(AUTO, media(VIDEO, *tracks), ".webm")

    assert args[-2:] == ["-c:s:0", "webvtt"]


def test_a_codec_that_the_user_names_is_not_overruled() -> None:
    args, _ = choose_streams([*AUTO, "-c:s", "ass"], media(VIDEO, subtitle("subrip")), ".mkv")

    assert args[-2:] == ["-c:s", "ass"]


def test_picture_subtitles_cannot_become_the_text_that_the_user_names() -> None:
    tracks = media(VIDEO, subtitle("dvd_subtitle"))

    args, losses = choose_streams([*AUTO, "-c:s", "ass"], tracks, ".mkv")

    assert "0:2" not in args
    assert losses == ["subtitle track 2 (dvd_subtitle, eng): picture subtitles cannot become ass"]


def test_kinds_that_the_user_refuses_are_left_out_in_silence() -> None:
    tracks = media(VIDEO, AUDIO, subtitle("subrip"))

    args, losses = choose_streams([*AUTO, "-an", "-sn"], tracks, ".mkv")

    assert args == ["-map", "0:0", "-c:v", "libx264", "-an", "-sn"]
    assert losses == []


def test_fonts_stay_in_matroska_and_other_attachments_do_not() -> None:
    font, text = Stream(3, "attachment", "ttf", None), Stream(4, "attachment", "unknown", None)

    args, losses = choose_streams(["-map", "auto", "-c", "copy"], media(VIDEO, font, text), ".mkv")

    assert args == ["-map", "0:0", "-map", "0:3", "-c", "copy"]
    assert losses == ["attachment track 4 (unknown): attachments of this kind do not go into .mkv"]
