"""Names as bytes: derived, numbered and cut to length; whatever they hold, shown on one line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watchconv.names import (
    NAME_MAX_BYTES,
    fit,
    numbered,
    printable,
    report_of,
    split_suffix,
    with_suffix,
)

RAW = st.binary(min_size=1, max_size=NAME_MAX_BYTES)
LEGAL = RAW.map(lambda raw: raw.replace(b"/", b"_").replace(b"\0", b"_"))
NAMES = st.one_of(
    LEGAL.map(os.fsdecode),
    st.text("aé中🎬. ()", min_size=1, max_size=80).filter(lambda t: len(t.encode()) <= 255),
).filter(lambda name: name.strip("."))  # what is only dots is hidden, and no file of ours
FOLDERS = st.sampled_from(["", "mp4", "a/b", "/srv/in box"])
SUFFIXES = st.sampled_from([".mp4", ".webm", ".mkv", ".é", ".tar-gz-of-some-length"])


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("a.mp4", ("a", ".mp4")),
        ("a.b.mp4", ("a.b", ".mp4")),
        (".mp4", (".mp4", "")),
        ("..mp4", ("..mp4", "")),
        ("a", ("a", "")),
        ("a.", ("a", ".")),
        ("a." + "x" * 31, ("a", "." + "x" * 31)),
        ("Mr. " + "long " * 8, ("Mr. " + "long " * 8, "")),
        ("a." + "é" * 16, ("a." + "é" * 16, "")),
    ],
)
def test_a_suffix_is_split_off_where_it_is_one(name: str, parts: tuple[str, str]) -> None:

    assert parts == split_suffix(name)


@pytest.mark.parametrize(
    ("path", "number", "expected"),
    [
        ("a.mp4", 0, "a.mp4"),
        ("a.mp4", 1, "a.mp4"),
        ("a.mp4", 2, "a (2).mp4"),
        ("trip.x/a.mp4", 10, "trip.x/a (10).mp4"),
        ("trip.x/noname", 3, "trip.x/noname (3)"),
        (".mp4", 2, ".mp4 (2)"),
        ("x" * 251 + ".mp4", 2, "x" * 247 + " (2).mp4"),
        ("é" * 125 + "x.mp4", 2, "é" * 123 + " (2).mp4"),
    ],
)
def test_a_taken_name_is_numbered_in_its_stem(path: str, number: int, expected: str) -> None:

    assert expected == numbered(path, number)


@pytest.mark.parametrize(
    ("path", "suffix", "expected"),
    [
        ("a.mov", ".mp4", "a.mp4"),
        ("mp4/trip/a.b.mov", ".webm", "mp4/trip/a.b.webm"),
        ("a", ".mp4", "a.mp4"),
        (".mov", ".mp4", ".mov.mp4"),
        ("trip.d/a", ".mp4", "trip.d/a.mp4"),
        ("x" * 255, ".webm", "x" * 250 + ".webm"),
        ("🎬" * 62 + "xyz.mov"[:7], ".webm", "🎬" * 62 + "xy"[:2] + ".webm"),
    ],
)
def test_an_output_keeps_the_path_and_gets_the_suffix(
    path: str, suffix: str, expected: str
) -> None:

    assert expected == with_suffix(path, suffix)


def test_a_report_is_called_by_the_full_name() -> None:

    assert report_of("trip/a.mov") == "trip/a.mov.log"
    assert report_of("x" * 255) == "x" * 251 + ".log"
    assert report_of("é" * 127) == "é" * 125 + ".log"


@given(FOLDERS, NAMES, SUFFIXES, st.integers(0, 10_000))
def test_a_derived_name_fits_keeps_its_folder_and_its_tail(
    folder: str, name: str, suffix: str, number: int
) -> None:
    path = os.path.join(folder, name)
    for derived, tail in [
        (with_suffix(path, suffix), suffix),
        (report_of(path), ".log"),
        (numbered(path, number), split_suffix(name)[1]),
        (numbered(with_suffix(path, suffix), number), suffix),
    ]:
        head, last = os.path.split(derived)

        assert folder == head
        assert 0 < len(os.fsencode(last)) <= NAME_MAX_BYTES
        assert last.endswith(tail)


@given(NAMES, st.integers(1, 500), st.integers(1, 500))
def test_each_number_gives_another_name(name: str, one: int, other: int) -> None:

    assert (one == other) == (numbered(name, one) == numbered(name, other))


@given(NAMES, SUFFIXES)
def test_a_stem_is_cut_between_characters_only(stem: str, tail: str) -> None:
    cut = fit(stem, tail).removesuffix(tail)

    assert stem.startswith(cut)
    assert cut == stem or len(os.fsencode(cut + stem[len(cut)] + tail)) > NAME_MAX_BYTES


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain name (2).mp4", "plain name (2).mp4"),
        ("Ünï 中 🎬", "Ünï 中 🎬"),
        ("a\nb\tc", r"a\nb\tc"),
        ("\x1b[31mred", r"\x1b[31mred"),
        ("gpj\u202e4pm", r"gpj\u202e4pm"),
        ("a\u2028b\u0085c", r"a\u2028b\x85c"),
        (os.fsdecode(b"caf\xe9.mp4"), r"caf\xe9.mp4"),
        ("\ud800", r"\ud800"),
    ],
)
def test_what_a_terminal_trips_over_is_escaped(text: str, expected: str) -> None:

    assert expected == printable(text)


@given(st.one_of(NAMES, st.text(st.characters(), max_size=60)))
def test_anything_is_shown_on_one_line_that_can_be_written(text: str) -> None:
    shown = printable(text)

    assert len(shown.splitlines()) <= 1
    assert not any(unicodedata.category(c) in {"Cc", "Cf", "Cs"} for c in shown)
    assert shown == shown.encode("utf-8").decode("utf-8") == printable(shown)
    assert shown == json.loads(json.dumps(shown, ensure_ascii=False))


def test_a_text_is_made_printable_where_no_module_can_be_loaded() -> None:
    """What ffmpeg says is read by its child's thread, which is confined as the child is."""
    code = (
        "import sys; from watchconv.names import printable; sys.meta_path.clear();"
        " print(printable('a\\tb\\x1b\\udc80\\u2028\\ud800\\U000e0001'))"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )

    assert ended.stdout == "a\\tb\\x1b\\x80\\u2028\\ud800\\U000e0001\n", ended.stderr
