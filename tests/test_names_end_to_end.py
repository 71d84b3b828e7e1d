"""Names are bytes: whatever a file is called, it is converted, or fails with a reason."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.daemon import QUICK, Daemon, Place, tiny_clip
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

NAMES: dict[str, bytes] = {
    "spaces": b"  two  words .mkv",
    "quotes": b'it\'s "so" `called` $HOME.mkv',
    "newlines": b"first\nsecond\r\nthird.mkv",
    "a leading dash": b"-i.mkv",
    "an option": b"--help.mkv",
    "a picture pattern": b"shot%03d.mkv",
    "a glob": b"*?[a-z]{1,2}.mkv",
    "a protocol": b"concat:x.mkv|y.mkv",
    "another protocol": b"file:x.mkv",
    "a pipe's name": b"pipe:0.mkv",
    "backslashes": b"a\\b\\n.mkv",
    "a hash and an ampersand": b"a#b&c;d.mkv",
    "markup": b"[bold red]a[dim] <b>.mkv",
    "invalid UTF-8": b"caf\xe9 \xff\xfe.mkv",
    "half a character": b"\xe2\x82.mkv",
    "NFC": b"\xc3\xa9t\xc3\xa9.mkv",
    "NFD": b"e\xcc\x81te\xcc\x81.mkv",
    "lower case": b"name that differs.mkv",
    "upper case": b"NAME that differs.MKV",
    "control characters": b"bell\x07 tab\t del\x7f.mkv",
    "colours": b"\x1b[31mred\x1b[0m.mkv",
    "C1 control characters": "next\x85line\u2028and\u202e.mkv".encode(),
    "255 bytes": b"x" * 251 + b".mkv",
    "255 bytes of wide characters": "\u20ac".encode() * 83 + b"xx.mkv",
    "252 bytes before a longer suffix": b"y" * 249 + b".ts",
    "several dots": b"a.b..c.tar.mkv",
    "an arrow of the log": "queued\u2192done.mkv".encode(),
    "a number like ours": b"taken (2).mkv",
}
SHAPE = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} \S")


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory, clip: Path) -> Iterator[Daemon]:
    """A daemon that was given every name at once, good videos and bad ones."""
    place = Place(tmp_path_factory.mktemp("names") / "videos", {**QUICK, "profile": "remux"})
    with Daemon(place) as daemon:
        stream = tiny_clip(clip.parent, "tiny.ts")
        for name in NAMES.values():
            put(stream if name.endswith(b".ts") else clip, place, b"good/" + name)
            put(None, place, b"bad/" + name)
        expected = len(NAMES)
        wait_until(
            lambda: (
                (count(place.done / "good"), count(place.error / "bad")) == (expected, 2 * expected)
            ),
            what=daemon.log,
        )
        wait_until(lambda: place.status()["counts"]["done"] == expected)
        wait_until(lambda: place.status()["counts"]["failed"] == expected)
        yield daemon


@pytest.fixture(scope="module")
def jobs(daemon: Daemon) -> dict[bytes, dict[str, Any]]:
    """Give the jobs by their sources."""
    return {os.fsencode(job["source"]): job for job in daemon.place.jobs()}


def put(clip: Path | None, place: Place, name: bytes) -> None:
    """Drop a clip, or a file that is none, under a name of bytes."""
    target = os.path.join(os.fsencode(place.inbox), name)
    hidden = os.path.join(os.fsencode(place.root), b".dropping")
    os.makedirs(os.path.dirname(target), exist_ok=True)
    if clip:
        shutil.copyfile(os.fsencode(clip), hidden)
    else:
        Path(os.fsdecode(hidden)).write_text("no video")
    os.rename(hidden, target)


def count(folder: Path) -> int:
    """Count the files of a folder, those under way not; 0 where it is not there yet."""
    if not folder.exists():
        return 0
    return sum(not name.startswith(".watchconv") for name in os.listdir(folder))


def names(folder: Path) -> list[bytes]:
    return sorted(os.listdir(os.fsencode(folder)))


def test_every_name_is_converted_and_its_original_keeps_the_name(daemon: Daemon) -> None:
    place = daemon.place

    assert names(place.done / "good") == sorted(NAMES.values())
    assert len(names(place.outbox / "good")) == len(NAMES)
    assert names(place.inbox / "good") == []
    assert names(place.inbox / "bad") == []


@pytest.mark.parametrize("kind", NAMES)
def test_an_output_has_the_name_of_its_original_with_another_suffix(
    daemon: Daemon, jobs: dict[bytes, dict[str, Any]], kind: str
) -> None:
    job = jobs[b"good/" + NAMES[kind]]

    assert job["state"] == "done"
    output = os.fsencode(job["output"])
    stem, _ = os.path.splitext(NAMES[kind])
    made_stem, made_suffix = os.path.splitext(os.path.basename(output))
    assert os.path.exists(os.path.join(os.fsencode(daemon.place.outbox), output))
    assert len(os.path.basename(output)) <= 255
    assert made_suffix in (b".mkv", b".mp4")
    assert made_stem == stem or (len(stem + made_suffix) > 255 and stem.startswith(made_stem))


@pytest.mark.parametrize("kind", NAMES)
def test_a_failure_has_a_log_beside_it_whatever_its_name(
    daemon: Daemon, jobs: dict[bytes, dict[str, Any]], kind: str
) -> None:
    folder = os.path.join(os.fsencode(daemon.place.error), b"bad")
    name = NAMES[kind]
    full = name + b".log"
    stem = name if len(full) <= 255 else name[: 255 - len(b".log")]
    logs = [each for each in os.listdir(folder) if each.endswith(b".log")]
    mine = [each for each in logs if stem.startswith(each[:-4]) and len(stem) - len(each) < 0]

    assert os.path.exists(os.path.join(folder, name))
    assert len(mine) == 1, logs
    with open(os.path.join(folder, mine[0]), encoding="utf-8") as lines:
        assert (
            lines.readline().rstrip("\n") == daemon.place.job(os.fsdecode(b"bad/" + name))["reason"]
        )


def test_the_jobs_round_trip_every_name(jobs: dict[bytes, dict[str, Any]]) -> None:
    sources = set(jobs)

    assert sources == {folder + name for folder in (b"good/", b"bad/") for name in NAMES.values()}


def test_the_tables_for_people_show_every_name_without_control_characters(daemon: Daemon) -> None:
    for words in (("jobs",), ("status",)):
        shown = daemon.place.say(*words)

        shown.encode("utf-8")  # no half characters
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u202e]", shown)
    assert "two  words" in daemon.place.say("jobs")


def test_the_log_is_one_line_for_each_record_in_valid_utf8(daemon: Daemon) -> None:
    words = daemon.place.log_file.read_bytes().decode("utf-8")  # raises where it is not
    lines = words.split("\n")

    assert lines.pop() == ""
    assert [line for line in lines if not SHAPE.match(line)] == []
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u202e]", words)


def test_both_unicode_forms_of_a_name_are_two_files(jobs: dict[bytes, dict[str, Any]]) -> None:
    nfc, nfd = (jobs[b"good/" + NAMES[form]] for form in ("NFC", "NFD"))

    assert nfc["id"] != nfd["id"]
    assert nfc["output"] != nfd["output"]


def test_running_jobs_round_trip_their_names_in_status(tmp_path: Path, clip: Path) -> None:
    place = Place(tmp_path / "videos", {**QUICK, "profile": "slow"})
    source = b"a\nb \xff\xe9.mkv"
    with Daemon(place) as daemon:
        put(tiny_clip(clip.parent, "long.mkv", 60), place, source)
        wait_until(daemon.encodes)
        wait_until(lambda: place.status()["running"])

        assert [os.fsencode(job["source"]) for job in place.status()["running"]] == [source]


def test_a_very_deep_path_is_converted(tmp_path: Path, clip: Path) -> None:
    place = Place(tmp_path / "videos", {**QUICK, "profile": "remux"})
    room = 4096 - 700 - len(os.fsencode(place.outbox))
    folders = b"/".join([b"d" * 200] * (min(3000, room) // 201))
    with Daemon(place):
        put(clip, place, folders + b"/a.mkv")
        wait_until((place.done / os.fsdecode(folders) / "a.mkv").exists)

    assert len(folders) > 2000
    assert len(names(place.outbox / os.fsdecode(folders))) == 1


def test_a_path_too_deep_for_the_outbox_fails_or_is_left_and_breaks_nothing(
    tmp_path: Path, clip: Path
) -> None:
    """The system takes no path above 4,096 bytes at once, but lets people make them bit by bit."""
    place = Place(tmp_path / "videos", {**QUICK, "profile": "remux"})
    here = os.open(place.inbox, os.O_RDONLY)
    for _ in range(25):
        os.mkdir(b"d" * 200, dir_fd=here)
        below = os.open(b"d" * 200, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    with os.fdopen(os.open("a.mkv", os.O_WRONLY | os.O_CREAT, 0o644, dir_fd=here), "wb") as writer:
        writer.write(clip.read_bytes())
    os.close(here)
    try:
        with Daemon(place) as daemon:
            put(clip, place, b"good.mkv")
            wait_until((place.done / "good.mkv").exists, what=daemon.log)
            put(clip, place, b"more.mkv")
            wait_until((place.done / "more.mkv").exists, what=daemon.log)

            assert daemon.stop() == 0
    finally:
        shutil.rmtree(place.inbox)  # pytest's own clean-up cannot


def test_names_that_a_suffix_makes_equal_get_numbers(tmp_path: Path, clip: Path) -> None:
    place = Place(tmp_path / "videos", {**QUICK, "profile": "slow"})
    long_stem = b"z" * 251
    with Daemon(place):
        for name in (b"a.mkv", b"a.mp4", b"a.avi", long_stem + b".mkv", long_stem + b".mp4"):
            put(tiny_clip(clip.parent, f"as{os.fsdecode(name[-4:])}"), place, name)
        wait_until(lambda: count(place.done) == 5)

    outputs = names(place.outbox)
    cut = long_stem[: 255 - len(b" (2).webm")] + b" (2).webm"
    assert {b"a.webm", b"a (2).webm", b"a (3).webm", b"z" * 250 + b".webm", cut} == {
        name for name in outputs if name != b".watchconv"
    }


def test_a_failure_named_like_the_log_of_another_overwrites_nothing(tmp_path: Path) -> None:
    place = Place(tmp_path / "videos", {**QUICK, "extensions": "any"})
    with Daemon(place):
        for name in (b"x", b"x.log", b"x.log.log"):
            put(None, place, name)
            place.wait_for(os.fsdecode(name), "failed")

    originals = [job["source"] for job in place.jobs() if job["state"] == "failed"]
    texts = [Path(place.error, name).read_text() for name in os.listdir(place.error)]
    assert sorted(originals) == ["x", "x.log", "x.log.log"]
    assert texts.count("no video") == 3
    assert len(texts) == 6


def test_two_long_failures_whose_logs_are_cut_to_one_name_keep_a_log_each(tmp_path: Path) -> None:
    place = Place(tmp_path / "videos", QUICK)
    long_names = [b"w" * 251 + b".mkv", b"w" * 251 + b".mp4", b"w" * 251 + b".avi"]
    for name in long_names:
        put(None, place, name)
    ended = place.run("run", "--once")

    assert ended.returncode == 1
    kept = names(place.error)
    logs = [name for name in kept if name.endswith(b".log")]
    told = {Path(place.error, os.fsdecode(name)).read_text().split("source: ")[1] for name in logs}
    assert len(kept) - len(logs) == len(long_names)
    assert len(told) == len(long_names)


def test_a_journal_of_odd_names_is_read_by_the_next_daemon(tmp_path: Path, clip: Path) -> None:
    settings = {**QUICK, "profile": "remux", "on_success": "keep"}
    place = Place(tmp_path / "videos", settings)
    for name in (b"\xff\xfe.mkv", b"a\nb.mkv"):
        put(clip, place, name)
    first = place.run("run", "--once")
    second = place.run("run", "--once")

    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    assert {os.fsencode(job["source"]) for job in place.jobs()} == {b"\xff\xfe.mkv", b"a\nb.mkv"}
    assert len(place.jobs()) == 2
