"""The configuration: every mistake is told, with its line, and nothing else ever escapes."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from dataclasses import FrozenInstanceError, fields, replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.clips import manifest
from tests.waiting import wait_until
from watchconv.config import (
    Config,
    Sandbox,
    config_for_root,
    find_config,
    load_apart,
)
from watchconv.config.load import effective_yaml, load_config
from watchconv.config.profiles import BUILTIN
from watchconv.config.schema import describe
from watchconv.encode.program import find_unusable
from watchconv.errors import ConfigError
from watchconv.intake.filters import BUILTIN_IGNORE
from watchconv.model import OnSuccess, Profile, Verify
from watchconv.names import printable

EXAMPLE = Path(__file__).parents[1] / "config.example.yaml"
KEYS = [key.name for key in fields(Config)]


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)


def load(folder: Path, text: str | bytes) -> Config:
    """Load a configuration that holds this text."""
    path = folder / "config.yaml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return load_config(str(path))


def complaints(folder: Path, text: str | bytes) -> list[str]:
    """Load a bad configuration and give its lines, without the folder's name."""
    with pytest.raises(ConfigError) as caught:
        load(folder, text)
    return str(caught.value).replace(f"{folder}/", "").split("\n")


WHOLE = "no whole number; write a whole number from"
MISTAKES = [
    ("settle_secnds: 3", "settle_secnds: unknown key; did you mean settle_seconds?"),
    ("Settle-Seconds: 3", "Settle-Seconds: unknown key; did you mean settle_seconds?"),
    ("settle: 3", "settle: unknown key; did you mean settle_seconds?"),
    ("qqq: 3", "qqq: unknown key; config.example.yaml names them all"),
    ("jobs: many", f"jobs: 'many' is {WHOLE} 1 to 1024"),
    ("jobs: yes", f"jobs: 'yes' is {WHOLE} 1 to 1024"),
    ("jobs: true", f"jobs: 'true' is {WHOLE} 1 to 1024"),
    ("jobs: 1.5", f"jobs: '1.5' is {WHOLE} 1 to 1024"),
    ("jobs: [1]", f"jobs: a list is {WHOLE} 1 to 1024"),
    ("jobs: 0", "jobs: '0' is out of range; write a whole number from 1 to 1024"),
    ("jobs:", "jobs: has no value; write one, or remove the line"),
    ("inbox: ~", "inbox: has no value; write one, or remove the line"),
    ("nice: -1", "nice: '-1' is out of range; write a whole number from 0 to 19"),
    (
        "settle_seconds: .nan",
        "settle_seconds: '.nan' is no number; write a number from 0 to 315360000",
    ),
    (
        "settle_seconds: nan",
        "settle_seconds: 'nan' is no finite number; write a number from 0 to 315360000",
    ),
    (
        "stall_seconds: 1e999",
        "stall_seconds: '1e999' is no finite number; write a number from 1 to 315360000",
    ),
    (
        "scan_seconds: 0.5",
        "scan_seconds: '0.5' is out of range; write a number from 1 to 315360000",
    ),
    ("inbox: 12", "inbox: '12' is no path without quotes around it; write the path of a folder"),
    ("inbox: [a]", "inbox: a list is no path; write the path of a folder"),
    ('inbox: ""', "inbox: is empty; write the path of a folder"),
    ('inbox: "a\\0b"', "inbox: holds a NUL byte; write the path of a folder"),
    (
        "inbox: ~nobody_has_this/a",
        "inbox: '~nobody_has_this/a': nobody has this home (./~",
    ),
    ("ffmpeg: no-such-program", "ffmpeg: 'no-such-program' is not on PATH; write the path of a"),
    ("sandbox: maybe", "sandbox: 'maybe' is not possible; write one of auto, require, off"),
    ("on_success: false", "on_success: 'false' is not possible; write one of move, delete, keep"),
    ("preserve_mtime: maybe", "preserve_mtime: 'maybe' is neither; write true or false"),
    ("min_free: much", "min_free: 'much' is no size; write bytes as 1GiB, 500MB or 0"),
    ("address_space: 4", "address_space: '4' is too little; write 0 (off) or at least 64MiB"),
    ("mode: 0888", "mode: '0888' is no mode; write octal digits such as 0664, or inherit"),
    (
        "directory_mode: 664",
        "directory_mode: 0664 shuts the owner out of the folder, 0700 is",
    ),
    ("owner: no_such_user_x", "owner: there is no user 'no_such_user_x'; write the name or the"),
    ("group: no_such_group_x", "group: there is no group 'no_such_group_x'; write the name or"),
    (
        "extensions: mp4",
        'extensions: \'mp4\' is no list; write a list such as ["mp4", "mkv"], or any',
    ),
    ("extensions: []", "extensions: is empty, nothing would be converted; write a list: [mp4], or"),
    ('extensions: ["*.mp4"]', "extensions[0]: '*.mp4' is no extension; write one such as mp4"),
    ('extensions: [mp4, ""]', "extensions[1]: is empty; write one such as mp4"),
    ('ignore: ["*.bak", ""]', 'ignore[1]: is empty; write one such as "*.bak"'),
    (f"state: /{'a/' * 250}", "state: is too long for SQLite; write a path of at most 470 bytes"),
    ('ignore: "*.bak"', "ignore: '*.bak' is no list; write a list such as [\"*.bak\"]"),
    ("time_limit: 5", "time_limit: '5' is no group of keys; write key: value lines under it"),
    ("time_limit: {sec: 5}", "time_limit.sec: unknown key; did you mean seconds?"),
    ("time_limit: {hours: 5}", "time_limit.hours: unknown key; write seconds, per_second"),
    ("profile: webmm", "profile: there is no profile 'webmm'; did you mean webm?"),
    ("profile: qq", "profile: there is no profile 'qq'; write one of webm, mp4, hevc, av1, remux"),
    ("profiles: [a]", "profiles: a list is no group of keys; write key: value lines under it"),
    ("profiles: {p: {}}", "profiles.p.suffix: is missing; write it (what outputs end with;"),
    ("profiles: {p: }", "profiles.p: has no value; write one, or remove the line"),
    ("profiles: {p: {suffix: mp4}}", "profiles.p.suffix: 'mp4' is no suffix; write one that"),
    ("profiles: {p: {suffix: ./a}}", "profiles.p.suffix: './a' is no suffix; write one that"),
    ("profiles: {p: {suffix: ..}}", "profiles.p.suffix: '..' is no suffix; write one that"),
    (
        "profiles: {p: {suffix: .%s}}" % ("x" * 32),
        f"profiles.p.suffix: '.{'x' * 32}' is no suffix; write one that starts with a dot, of at",
    ),
    ("profiles: {a/b: {suffix: .x}}", "profiles.a/b: cannot name a folder; write a name"),
    ("profiles: {.a: {suffix: .x}}", "profiles..a: cannot name a folder; write a name"),
    ("profiles: {'..': {suffix: .x}}", "profiles...: cannot name a folder; write a name"),
    (
        "profiles: {%s: {suffix: .x}}" % ("é" * 128),
        f"profiles.{'é' * 128}: cannot name a folder; write a name of at most 255 bytes",
    ),
    (
        "profiles: {p: {suffix: .x, args: -vf 'a}}",
        "profiles.p.args: a quote is not closed, or a \\ is the last character",
    ),
    (
        "profiles: {p: {suffix: .x, args: [[a]]}}",
        "profiles.p.args: a list is no argument; write texts and numbers",
    ),
    (
        'profiles: {p: {suffix: .x, args: ["a\\0b"]}}',
        "profiles.p.args: 'a\\x00b' holds a NUL byte, which no argument can",
    ),
    ("profiles: {p: {suffix: '.mp4 '}}", "profiles.p.suffix: '.mp4 ' is no suffix; write one that"),
    (
        "profiles: {p: {suffix: .mkv.part}}",
        "profiles.p.suffix: '.mkv.part' is how unfinished files",
    ),
    (
        "profiles: {p: {suffix: .x, args: -c copy -map}}",
        "profiles.p.args: -map has no value; write one, or remove it",
    ),
    (
        "profiles: {p: {suffix: .x, args: -c copy extra.mkv}}",
        "profiles.p.args: 'extra.mkv' would be another output; remove it, or write its option",
    ),
    (
        "profiles: {p: {suffix: .x, args: -an extra.mkv -map 0}}",
        "profiles.p.args: 'extra.mkv' would be another output; remove it, or write its option",
    ),
    (
        "profiles: {p: {suffix: .x, args: -map -c:v copy}}",
        "profiles.p.args: 'copy' would be another output; remove it, or write its option",
    ),
    (
        "profiles: {p: {suffix: .x, args: -i /etc/passwd}}",
        "profiles.p.args: -i names another input, and there is one only; remove it",
    ),
    ("? [a]\n: b", "a list or a group cannot be a key; write a word"),
    ("nice: !!python/name:os.system 3", "nice: the tag !!python/name:os.system means nothing"),
]


@pytest.mark.parametrize(("text", "expected"), MISTAKES)
def test_a_mistake_is_told_in_one_line_that_begins_so(
    tmp_path: Path, text: str, expected: str
) -> None:
    [line] = complaints(tmp_path, f"# a comment\n\n{text}\n")

    assert line[: len(expected) + 15] == f"config.yaml:3: {expected}"


@pytest.mark.parametrize(
    "option", ["-y", "-n", "-v", "-loglevel", "-progress", "-nostdin", "-stdin", "-report"]
)
def test_what_watchconv_sets_itself_is_no_argument_of_a_profile(
    tmp_path: Path, option: str
) -> None:
    lines = complaints(tmp_path, f"profiles:\n  p:\n    suffix: .x\n    args: -an {option} 3\n")

    assert lines == [
        f"config.yaml:4: profiles.p.args: {option} is set by watchconv itself; "
        "remove it (and its value)"
    ]


@pytest.mark.parametrize(
    "args",
    [
        "-map 0 -map -0:s -c copy",
        "-metadata -i -metadata title=-x",
        "-an -sn -c:v libx264 -bitexact",
        "-vn -copyts -map_metadata -1 -shortest",
        "-c:v libx264 -x264-params keyint=30 -nosuchopt 3",
        '-vf "scale=-2:720, fps=25" -b:v 1M',
    ],
)
def test_what_may_be_an_argument_is_one(tmp_path: Path, args: str) -> None:
    text = yaml.safe_dump({"profiles": {"p": {"suffix": ".web.mp4", "args": args}}})
    config = load(tmp_path, text)

    assert config.all_profiles["p"].args == tuple(shlex.split(args))
    assert config.all_profiles["p"].suffix == ".web.mp4"


def test_everything_wrong_is_told_at_once_in_the_order_of_the_file(tmp_path: Path) -> None:
    text = """\
inbox: in
outbox: in/out
profile: nosuch
jobs: lots
jobs: 2
profiles:
  tv:
    args: -an
    verify: of
settle_secnds: 3
extensions:
  - mp4
  - {}
"""

    assert [line.split("; ")[0] for line in complaints(tmp_path, text)] == [
        "config.yaml:2: outbox: lies inside inbox (in/out, inbox is in)",
        "config.yaml:3: profile: there is no profile 'nosuch'",
        f"config.yaml:4: jobs: 'lots' is {WHOLE}".split("; ", maxsplit=1)[0],
        "config.yaml:5: jobs: is already set in line 4",
        "config.yaml:7: profiles.tv.suffix: is missing",
        "config.yaml:9: profiles.tv.verify: 'of' is not possible",
        "config.yaml:10: settle_secnds: unknown key",
        "config.yaml:13: extensions[1]: a group of keys is no extension",
    ]


def test_a_default_profile_that_is_itself_unsound_is_told_once(tmp_path: Path) -> None:
    [line] = complaints(tmp_path, "profile: tv\nprofiles:\n  tv: {args: -an}\n")

    assert line.startswith("config.yaml:3: profiles.tv.suffix: is missing")


NOT_YAML = [
    ("a: b: c", 1, "text with a colon and a space in it needs quotes"),
    ("ignore:\n  - *.bak", 2, "text that starts with * or & needs quotes"),
    ("ignore: *bak", 1, "text that starts with * or & needs quotes"),
    ("a:\n\t- b", 2, "indent with spaces, not tabs"),
    ("a: 'b", 1, "a quote is not closed"),
    ("a: [b", 1, "a bracket or brace is not closed"),
    ("---\na: 1\n---\nb: 2", 3, "keep one, without a second ---"),
]


@pytest.mark.parametrize(("text", "line", "hint"), NOT_YAML)
def test_text_that_is_no_yaml_is_one_line_with_a_hint(
    tmp_path: Path, text: str, line: int, hint: str
) -> None:
    [said] = complaints(tmp_path, text)

    assert re.match(rf"config\.yaml:{line}: this is not YAML \(.*\); ", said)
    assert hint in said


BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 9)}]\n"
    for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)
ODD_FILES = [
    (b"", ": holds no keys; config.example.yaml shows them all"),
    (b"# nothing\n", ": holds no keys; config.example.yaml shows them all"),
    (b"~\n", ": holds no keys; config.example.yaml shows them all"),
    (b"- a\n- b\n", ":1: holds no keys, only a list or a word; write key: value"),
    (b"inbox\n", ":1: holds no keys, only a list or a word; write key: value"),
    (b"jobs: 1\ninbox: /caf\xe9\n", ":2: is not text in UTF-8; save it as UTF-8"),
    ("jobs: 1".encode("utf-16"), ":1: is not text in UTF-8; save it as UTF-8"),
    (b"jobs: 1\n\0\0ELF", ":2: holds the control character '\\x00'; is it a text file?"),
    (b"a: " + b"[" * 100_000, ":1: is nested more than 20 levels deep"),
    (b"- " * 100_000, ":1: is nested more than 20 levels deep"),
    (BOMB.encode(), ":5: says too much; are there anchors inside anchors?"),
    (b"ignore: &a [*a]", ":1: says too much; are there anchors inside anchors?"),
    (b"#" * (1 << 20) + b"#", ": is larger than 1048576 bytes; is it a configuration?"),
]


@pytest.mark.parametrize(("content", "expected"), ODD_FILES)
def test_a_file_that_is_no_configuration_is_told_in_one_line(
    tmp_path: Path, content: bytes, expected: str
) -> None:
    assert complaints(tmp_path, content) == [f"config.yaml{expected}"]


def test_a_file_that_cannot_be_opened_is_told_in_one_line(tmp_path: Path) -> None:
    missing, looped = tmp_path / "missing", tmp_path / "loop"
    looped.symlink_to(looped)
    for path, expected in [
        (missing, "there is no such file; name another, or use --root DIR"),
        (tmp_path, "is a folder; name the file in it, or use --root"),
        (looped, "cannot be read (Too many levels of symbolic links); check its name and rights"),
    ]:
        with pytest.raises(ConfigError) as caught:
            load_config(str(path))

        assert str(caught.value) == f"{path}: {expected}"


def test_a_configuration_may_come_through_a_pipe() -> None:
    reading, writing = os.pipe()
    os.write(writing, b"jobs: 3\n")
    os.close(writing)

    assert load_config(f"/dev/fd/{reading}").jobs == 3
    os.close(reading)


def test_a_file_that_is_read_apart_says_the_same(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("jobs: 3\nprofiles: {p: {suffix: .mp4}}\n")
    assert load_apart(str(path)) == load_config(str(path))

    path.write_text("jobs: 0\nprofil: x\n")
    with pytest.raises(ConfigError) as apart:
        load_apart(str(path))
    with pytest.raises(ConfigError) as here:
        load_config(str(path))
    assert str(apart.value) == str(here.value)


def test_a_configuration_that_is_read_apart_may_come_through_a_pipe() -> None:
    reading, writing = os.pipe()
    os.set_inheritable(reading, True)  # as a shell's <(command) gives it
    os.write(writing, b"jobs: 3\n")
    os.close(writing)

    assert load_apart(f"/dev/fd/{reading}").jobs == 3
    os.close(reading)


def test_a_file_that_does_not_answer_is_told_and_leaves_no_child(tmp_path: Path) -> None:
    """As one below a dead mount."""
    path = tmp_path / "config.yaml"
    os.mkfifo(path)
    with pytest.raises(ConfigError, match=r"cannot be read: no answer within 1 s"):
        load_apart(str(path), seconds=1)

    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def test_an_ffmpeg_that_does_not_answer_ends_with_the_child_that_asks_it(tmp_path: Path) -> None:
    path, program, pid = tmp_path / "config.yaml", tmp_path / "ffmpeg", tmp_path / "pid"
    program.write_text(f"#!/bin/sh\necho $$ > {pid}\nexec sleep 1000\n")
    program.chmod(0o755)
    path.write_text(f"ffmpeg: {program}\n")
    with pytest.raises(ConfigError, match=r"cannot be read: no answer within 3 s"):
        load_apart(str(path), find_unusable, seconds=3)

    asked = int(pid.read_text())
    wait_until(lambda: not os.path.exists(f"/proc/{asked}") or is_zombie(asked))


def is_zombie(pid: int) -> bool:
    """Where nobody reaps orphans."""
    return ") Z " in Path(f"/proc/{pid}/stat").read_text()


def test_a_byte_order_mark_is_no_part_of_the_first_key(tmp_path: Path) -> None:
    assert load(tmp_path, b"\xef\xbb\xbfjobs: 3\r\n").jobs == 3


WORDS = st.sampled_from([*KEYS, "seconds", "suffix", "args", "verify", "auto", "~x"])
SCALARS = st.one_of(
    WORDS, st.text(max_size=9), st.integers(), st.floats(), st.booleans(), st.none(), st.dates()
)
NESTED = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=6,
)
ANY = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def try_to_load(folder: Path, text: str | bytes) -> None:
    """Load; a refusal must be lines of the right form."""
    try:
        load(folder, text)
    except ConfigError as error:
        for line in str(error).split("\n"):
            assert re.match(rf"{re.escape(str(folder))}/config\.yaml(:\d+)?: .*\S", line), line
            assert printable(line) == line


@ANY
@given(st.text() | st.text(alphabet="abc:-[]{}&*!|>'\"#%@~?, \n\t01.", max_size=60))
def test_any_text_is_a_configuration_or_an_error_of_it(tmp_path: Path, text: str) -> None:
    try_to_load(tmp_path, text.encode("utf-8", "surrogateescape"))


@ANY
@given(st.binary(max_size=80))
def test_any_bytes_are_a_configuration_or_an_error_of_it(tmp_path: Path, content: bytes) -> None:
    try_to_load(tmp_path, content)


@ANY
@given(st.dictionaries(WORDS | st.text(max_size=5), NESTED, max_size=5))
def test_any_structure_is_a_configuration_or_an_error_of_it(
    tmp_path: Path, values: dict[str, Any]
) -> None:
    try_to_load(tmp_path, yaml.safe_dump(values, allow_unicode=True))


@ANY
@given(st.sampled_from(KEYS), NESTED)
def test_any_value_of_a_key_is_a_configuration_or_an_error_of_it(
    tmp_path: Path, key: str, value: object
) -> None:
    try_to_load(tmp_path, yaml.safe_dump({key: value}))


def test_a_key_named_as_pydantic_names_its_own_is_told_as_any_other(tmp_path: Path) -> None:
    [line] = complaints(tmp_path, "'[key]': 1\n")

    assert line == "config.yaml:1: [key]: unknown key; config.example.yaml names them all"


def test_the_example_is_valid_and_equals_the_defaults_key_by_key() -> None:
    example, default = load_config(str(EXAMPLE)), Config()

    assert example.state == os.path.realpath("/var/lib/watchconv")
    for key in set(KEYS) - {"state"}:
        assert getattr(example, key) == getattr(default, key), key


def test_the_example_names_every_built_in_pattern() -> None:
    _, _, after = EXAMPLE.read_text(encoding="utf-8").partition("# Built in: ")
    said = after.partition("\nignore:")[0].replace("\n# ", " ")
    assert set(shlex.split(said)) == set(BUILTIN_IGNORE)


def test_the_example_names_every_key_and_no_other() -> None:
    named = re.findall(r"^(\w+):", EXAMPLE.read_text(encoding="utf-8"), re.MULTILINE)

    assert named == KEYS


def test_every_convertible_clip_is_a_video_by_name() -> None:
    extensions = Config().extensions
    assert extensions is not None
    good = [row["file"] for row in manifest() if row["expected"] == "yes"]

    assert len(good) > 10
    assert [name for name in good if name.rpartition(".")[2].lower() not in extensions] == []


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("12345", 12345),
        ("134_217_728", 134217728),
        ("1KiB", 1024),
        ("1kb", 1000),
        ("1k", 1024),
        ("1Gi", 1 << 30),
        ("4GiB", 4 << 30),
        ("4G", 4 << 30),
        ("500 MB", 500_000_000),
        ("1.5GiB", 3 << 29),
        ("100B", 100),
        ("1TiB", 1 << 40),
        ('"1GiB"', 1 << 30),
    ],
)
def test_sizes_are_read_as_people_write_them(tmp_path: Path, text: str, size: int) -> None:
    assert load(tmp_path, f"min_free: {text}").min_free == size


@pytest.mark.parametrize("text", ["-1", "1XB", "1GiBit", "GiB", "true", "0x10", "9000PiB", ".inf"])
def test_what_is_no_size_is_refused(tmp_path: Path, text: str) -> None:
    [line] = complaints(tmp_path, f"min_free: {text}")

    assert line.startswith("config.yaml:1: min_free: ")


@pytest.mark.parametrize(
    ("text", "mode"),
    [
        ("0664", 0o664),
        ("664", 0o664),
        ("'0664'", 0o664),
        ('"664"', 0o664),
        ("0o664", 0o664),
        ("2775", 0o2775),
        ("inherit", None),
    ],
)
def test_a_mode_is_octal_in_whichever_way_it_is_written(
    tmp_path: Path, text: str, mode: int | None
) -> None:
    assert load(tmp_path, f"mode: {text}").mode == mode


@pytest.mark.parametrize("text", ["rw-r--r--", "-664", "77777", "6.4", "true", "0x1b4"])
def test_what_is_no_mode_is_refused(tmp_path: Path, text: str) -> None:
    [line] = complaints(tmp_path, f"mode: {text}")

    assert line.startswith("config.yaml:1: mode: ")


def test_words_that_yaml_takes_for_truth_values_stay_words(tmp_path: Path) -> None:
    config = load(
        tmp_path,
        "sandbox: off\npreserve_mtime: no\nprofile: 1080\n"
        "profiles: {1080: {suffix: .mp4, verify: off}, on: {suffix: .mkv}}",
    )

    assert config.sandbox is Sandbox.OFF
    assert config.preserve_mtime is False
    assert config.all_profiles["1080"] == Profile("1080", ".mp4", (), Verify.OFF)
    assert config.all_profiles["on"].suffix == ".mkv"


def test_a_key_that_keeps_nothing_but_comments_is_as_good_as_absent(tmp_path: Path) -> None:
    config = load(tmp_path, "jobs: 2\nprofiles:\n  # phone:\nignore:\n")

    assert (config.profiles, config.ignore) == ({}, ())


def test_extensions_lose_their_dots_their_case_and_their_doubles(tmp_path: Path) -> None:
    assert load(tmp_path, "extensions: [.MP4, mp4, 264]").extensions == ("mp4", "264")
    assert load(tmp_path, "extensions: any").extensions is None


def test_owner_and_group_are_names_or_numbers(tmp_path: Path) -> None:
    config = load(tmp_path, "owner: root\ngroup: 54321")

    assert (config.owner, config.group) == (0, 54321)


def test_configured_profiles_join_the_built_in_ones_and_replace_equal_names(
    tmp_path: Path,
) -> None:
    config = load(
        tmp_path,
        "profiles:\n"
        "  webm: {suffix: .mkv, args: [-crf, 20, -vf, scale=1280:-2]}\n"
        "  phone: {suffix: .mp4, args: \"-metadata 'title=a # b' -an\"}\n",
    )

    assert config.all_profiles == {
        **BUILTIN,
        "webm": Profile("webm", ".mkv", ("-crf", "20", "-vf", "scale=1280:-2")),
        "phone": Profile("phone", ".mp4", ("-metadata", "title=a # b", "-an")),
    }


def test_auto_jobs_are_the_processors_that_this_process_may_use(tmp_path: Path) -> None:
    code = (
        "import os, sys; from watchconv.config.load import load_config; "
        "os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); "
        "print(load_config(sys.argv[1]).jobs)"
    )
    (tmp_path / "config.yaml").write_text("jobs: auto")
    ran = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "config.yaml")],
        capture_output=True,
        check=True,
        text=True,
    )

    assert ran.stdout == "1\n"


def test_paths_are_absolute_resolved_and_relative_to_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, real = tmp_path / "home", tmp_path / "real"
    real.mkdir()
    (tmp_path / "link").symlink_to(real)
    monkeypatch.chdir("/")
    config = load(
        tmp_path, "inbox: link/in\noutbox: ../out\ndone: ~/done\nffmpeg: link/ffmpeg\nerror: e//"
    )

    assert config.inbox == str(real / "in")
    assert config.outbox == str(tmp_path.parent / "out")
    assert config.done == str(home / "done")
    assert config.error == str(tmp_path / "e")
    assert config.ffmpeg == str(tmp_path / "link" / "ffmpeg")


def test_folders_whose_names_are_no_utf8_keep_their_bytes(tmp_path: Path) -> None:
    folder = os.path.join(os.fsencode(tmp_path), b"caf\xe9")
    os.mkdir(folder)
    path = os.path.join(os.fsdecode(folder), "config.yaml")
    Path(path).write_text("inbox: in\noutbox: out\n")

    assert os.fsencode(load_config(path).inbox) == folder + b"/in"
    assert os.fsencode(config_for_root(os.fsdecode(folder)).error) == folder + b"/error"

    Path(path).write_text("jobs: no")
    with pytest.raises(ConfigError, match=r"caf\\xe9/config.yaml:1: jobs"):
        load_config(path)


def test_state_is_where_systemd_says_or_in_the_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert Config().state == str(tmp_path / "home/.local/state/watchconv")
    monkeypatch.setenv("STATE_DIRECTORY", "/var/lib/no-such-a:/var/lib/b")

    assert Config().state == "/var/lib/no-such-a"


def test_a_state_without_any_home_is_told_to_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STATE_DIRECTORY", "~nobody_has_this/state")
    lines = complaints(tmp_path, "jobs: 0")

    assert len(lines) == 2
    assert lines[1].startswith("config.yaml: state: '~nobody_has_this/state': nobody has this home")


NESTED_FOLDERS = [
    ("inbox: in\noutbox: in", "2: outbox: is the same folder as inbox"),
    ("inbox: in\noutbox: in/deep/out", "2: outbox: lies inside inbox"),
    ("inbox: a/in\ndone: a", "2: done: contains inbox"),
    ("outbox: out\nerror: link/out/x", "2: error: lies inside outbox"),
    ("inbox: /", "outbox: lies inside inbox"),
    ("inbox: in\nstate: in/state", "2: state: lies inside inbox"),
    ("done: d\nstate: d", "2: state: is the same folder as done"),
    ("inbox: in\noutbox: alias", "2: outbox: is the same folder as inbox"),
]


@pytest.mark.parametrize(("text", "expected"), NESTED_FOLDERS)
def test_folders_inside_one_another_are_refused(tmp_path: Path, text: str, expected: str) -> None:
    (tmp_path / "link").symlink_to(".")
    (tmp_path / "in").mkdir()
    (tmp_path / "alias").symlink_to("in")

    assert any(expected in line for line in complaints(tmp_path, text))


def test_folders_beside_one_another_and_a_state_above_them_are_fine(tmp_path: Path) -> None:
    config = load(tmp_path, "inbox: v/in\noutbox: v/in2\ndone: v/in-done\nerror: v/error\nstate: v")

    assert config.state == str(tmp_path / "v")


@pytest.mark.parametrize(
    ("bound", "expected"),
    [
        ("in", "outbox: is the same folder as inbox"),
        ("in/sub", "outbox: lies inside inbox"),
        (".", "outbox: contains inbox"),
    ],
)
def test_folders_inside_one_another_through_a_bind_mount_are_refused(
    tmp_path: Path, bound: str, expected: str
) -> None:
    (tmp_path / "in" / "sub").mkdir(parents=True)
    (tmp_path / "elsewhere" / "a b").mkdir(parents=True)
    (tmp_path / "config.yaml").write_text("inbox: in\noutbox: elsewhere/a b\n")
    script = f"mount --bind '{bound}' 'elsewhere/a b' || exit 99; exec '{sys.executable}' -c \"$0\""
    code = "from watchconv.config.load import load_config; load_config('config.yaml')"
    ran = subprocess.run(
        ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script, code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(EXAMPLE.parent)},
        capture_output=True,
        check=False,
        text=True,
    )
    if ran.returncode == 99 or "unshare" in ran.stderr:
        pytest.skip(f"no mount namespace here: {ran.stderr}")

    assert f"config.yaml:2: {expected}" in ran.stderr


def test_root_makes_five_folders_of_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    config = config_for_root("~")

    assert config.inbox == str(tmp_path / "~" / "inbox")
    assert config.state == str(tmp_path / "~" / ".state")
    expected: dict[str, Any] = {
        key: str(tmp_path / "~" / key) for key in ("inbox", "outbox", "done", "error")
    }
    assert replace(config, state=Config().state) == Config(**expected)


def test_a_root_that_is_a_file_or_holds_folders_in_folders_is_refused(tmp_path: Path) -> None:
    (tmp_path / "inbox").mkdir()
    (tmp_path / "outbox").symlink_to("inbox")
    with pytest.raises(ConfigError, match=r"^[^\n]*: outbox: is the same folder as inbox"):
        config_for_root(str(tmp_path))

    with pytest.raises(ConfigError, match="is not a folder"):
        config_for_root(str(EXAMPLE))


def test_the_configuration_is_searched_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    etc = str(tmp_path / "etc.yaml")
    places = ("config.yaml", "~/.config/watchconv/config.yaml", etc)
    environ = {"HOME": str(tmp_path / "home")}
    personal = tmp_path / "home/.config/watchconv/config.yaml"

    Path(etc).touch()
    assert find_config(environ, places) == etc
    personal.parent.mkdir(parents=True)
    personal.touch()
    assert find_config(environ, places) == str(personal)
    (tmp_path / "config.yaml").touch()
    assert find_config(environ, places) == "config.yaml"
    assert find_config({**environ, "WATCHCONV_CONFIG": str(etc)}, places) == str(etc)
    with pytest.raises(ConfigError, match=r"\$WATCHCONV_CONFIG names /nope, and there is no such"):
        find_config({**environ, "WATCHCONV_CONFIG": "/nope"}, places)


def test_no_configuration_is_told_with_every_place_and_the_way_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    if os.path.exists("/etc/watchconv/config.yaml"):
        pytest.skip("this machine has a configuration")
    with pytest.raises(ConfigError) as caught:
        find_config({"HOME": str(tmp_path)})

    for place in [
        "$WATCHCONV_CONFIG",
        "./config.yaml",
        "~/.config/watchconv/config.yaml",
        "/etc/watchconv/config.yaml",
        "--root",
    ]:
        assert place in str(caught.value)


def test_the_effective_configuration_can_be_loaded_again(tmp_path: Path) -> None:
    config = load(
        tmp_path,
        "inbox: a b\njobs: 3\non_success: keep\nmode: 0640\nsettle_seconds: 0.25\n"
        "extensions: any\nignore: ['*.bak', 'no', '1']\nmin_free: 1500\nscan_seconds: 60\n"
        "owner: 12\nsandbox: off\ntime_limit: {seconds: 9}\nprofile: phöne\n"
        "profiles: {phöne: {suffix: .mp4, args: '-vf \"a, b\" -metadata c=', verify: off}}\n",
    )
    shown = effective_yaml(config)

    assert load(tmp_path, shown) == config
    assert config.on_success is OnSuccess.KEEP
    assert list(yaml.safe_load(shown)) == KEYS


def test_the_schema_describes_every_key_with_its_default_as_people_write_it() -> None:
    described = describe(Config)
    properties = described["properties"]

    assert list(properties) == KEYS
    assert described["additionalProperties"] is False
    assert all(key["description"] for key in properties.values())
    assert properties["jobs"]["default"] == "auto"
    assert properties["mode"]["default"] == "inherit"
    assert (properties["nice"]["minimum"], properties["nice"]["maximum"]) == (0, 19)
    assert [key for key, value in properties.items() if value.get("default", 0) is None] == []


def test_a_configuration_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        Config().jobs = 3  # type: ignore[misc]


def test_importing_the_configuration_brings_nothing_heavy() -> None:
    heavy = ["rich", "av", "asyncio", "pydantic", "yaml"]
    code = f"import sys, watchconv.config; print(*{{*sys.modules}} & {{*{heavy}}})"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)

    assert ran.stdout == "\n"
