"""Strangers' words: whatever a file makes ffmpeg or the probe worker say, it is bounded and quick.

What else is fuzzed lives beside its module: names (test_names), YAML (test_config), progress
(test_progress) and stderr lines (test_stderr_stats), container ends (test_container), the probe's
answers (test_probe), reports (test_report).
"""

from __future__ import annotations

import json
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.test_classify import FACTS, WELL
from watchconv.config.profiles import BUILTIN
from watchconv.encode.classify import SENTENCE_CHARACTERS, failure, is_disk_full, outcome_of
from watchconv.encode.ffmpeg_output import Route, StderrReader, StreamCount, StreamCounts
from watchconv.encode.plan import plan_encode, refusal
from watchconv.encode.program import Ability
from watchconv.encode.timing import time_changer
from watchconv.encode.verify import Asked, verify
from watchconv.intake.filters import NameFilter
from watchconv.media import FORMATS
from watchconv.media.facts import Chapter, Content, Facts, Track
from watchconv.media.probe_protocol import ProbeFailed, parse_reply, read_hello
from watchconv.media.rows import rows_of
from watchconv.model import Broke, Rejected, Verify
from watchconv.names import NAME_MAX_BYTES, with_suffix

if TYPE_CHECKING:
    from collections.abc import Callable

TAIL_BYTES = 32 << 10
LINE_BYTES = 4096

counts = st.integers(0, 2**63 - 1)
small = st.integers(0, 5)
kinds = st.sampled_from(["video", "audio", "subtitle", "data", "attachment"])
words = st.from_regex(r"[A-Za-z0-9_.+-]{0,64}", fullmatch=True)
texts = st.text(max_size=8).filter(str.isprintable)
numbers = st.floats(-1e9, 1e9)
sizes = st.integers(0, 1 << 20)


@st.composite
def tracks(draw: st.DrawFn) -> tuple[Track, ...]:
    """Tracks as a probe worker may tell of them; their indexes count."""
    found = draw(
        st.lists(
            st.builds(
                Track,
                small,
                kinds,
                words,
                st.none() | counts,
                width=counts,
                height=counts,
                rotation=st.sampled_from([0, 90, 180, 270]),
                title=texts,
                language=words,
                layout=words,
                flags=st.lists(words, max_size=3).map(tuple),
                start_seconds=st.none() | numbers,
                sample_aspect=st.tuples(counts, counts),
                mastering=st.just(()) | st.just((0.3,) * 10),
                file_name=texts,
                mime_type=texts,
                channels=sizes,
                sample_rate=sizes,
            ),
            max_size=70,
        )
    )
    return tuple(replace(track, index=place) for place, track in enumerate(found))


facts = st.builds(
    Facts,
    st.sampled_from(FORMATS.split(",")),
    st.none() | st.floats(0, allow_nan=False, allow_infinity=False),
    tracks(),
    st.lists(st.builds(Chapter, numbers, numbers, texts), max_size=5).map(tuple),
    st.lists(st.tuples(texts, texts), max_size=5).map(tuple),
    st.booleans(),
)


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(told=facts)
def test_whatever_a_probe_worker_says_in_good_form_makes_a_sound_command(
    told: Facts,
) -> None:
    media = parse_reply(json.dumps({"facts": rows_of(told)}).encode())
    assert isinstance(media, Facts)
    assert media == told
    refused = refusal(media, 1 << 27)

    assert refused is None or refused.reason.isprintable()
    for profile in BUILTIN.values():
        plan = plan_encode(
            profile,
            media,
            program="ffmpeg",
            ability=Ability(),
            source="/in/a",
            output="/work/o",
            cores=2,
            parallel=2,
            max_pixels=1 << 27,
        )
        if isinstance(plan, Rejected):
            assert plan.reason.isprintable()
            continue
        argv = plan.argv
        assert all(warning.text.isprintable() for warning in plan.warnings)
        assert argv[argv.index("-f") + 1] == told.demuxer
        assert [word for word in argv if ":/" in word] == ["file:/in/a", "file:/work/o"]
        assert not any("\0" in word for word in argv)


@given(st.binary())
def test_no_first_words_of_a_worker_do_more_than_fail_it(hello: bytes) -> None:
    try:
        missing = read_hello(hello)
    except ProbeFailed as failed:
        missing = (failed.reason,)

    assert all(sentence.isprintable() for sentence in missing)


all_counts = st.builds(
    StreamCounts,
    inputs=st.lists(
        st.builds(StreamCount, small, small, kinds, counts, st.none() | counts, counts)
    ).map(tuple),
    outputs=st.lists(
        st.builds(StreamCount, small, small, kinds, counts, st.none() | counts), min_size=1
    ).map(tuple),
    routes=st.lists(
        st.builds(Route, st.tuples(small, small), st.none() | st.tuples(small, small))
    ).map(tuple),
    duplicated=counts,
    dropped=counts,
)
contents = st.lists(st.builds(Content, small, kinds, words, counts, st.booleans())).map(tuple)


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.none() | all_counts, contents, st.sampled_from(Verify), st.lists(st.text(max_size=12)))
def test_all_counts_get_a_verdict(
    said: StreamCounts | None, outputs: tuple[Content, ...], level: Verify, args: list[str]
) -> None:
    media, changer = Facts("mov", None, ()), time_changer(args)

    fault, _ = verify(said, media, outputs, Asked(level, changer))

    assert fault is None or fault.reason


lines = st.lists(
    st.text(max_size=60)
    | st.sampled_from(
        [
            "[mov,mp4 @ 0x1] moov atom not found",
            "  Stream #0:0: Video: none (abcd / 0x1)",
            "Decoder (codec none) not found",
            "Unknown encoder '{}'",
            "Unknown encoder '",
            "[" * 50,
            "x: No space left on device",
        ]
    )
)


@given(lines, st.integers(-70, 255))
def test_any_last_words_give_a_bounded_reason(said: list[str], status: int) -> None:
    tail = "\n".join(said)

    found = failure(status, tail)

    assert found.reason
    assert len(found.reason) <= SENTENCE_CHARACTERS + 40
    assert isinstance(found, Broke) or not is_disk_full(tail)
    assert outcome_of(WELL, replace(FACTS, tail=tail)) is None


def filled(line: str) -> str:
    """Repeat a line until the tail that is kept of ffmpeg's words is full."""
    return ((line + "\n") * (TAIL_BYTES // (len(line) + 1) + 1))[:TAIL_BYTES]


def long(word: str) -> str:
    return (word * (LINE_BYTES // len(word) + 1))[:LINE_BYTES]


# Made of what the patterns look for, so that a careless one goes back and forth over it.
EVIL = {
    "streams": filled("  Stream #0:0[0x1](und): Video: none, 1 frame (vvc1 / 0x31637676), 320x180"),
    "contexts": filled(long("[png @ 0x1] ")),
    "open contexts": filled("["),
    "long open contexts": filled(long("[")),
    "errors": filled(long("Error opening input")),
    "files": filled(long("file:")),
    "failures": filled("Decod"),
    "empty lines": filled(""),
    "quotes": filled(long("Unknown encoder '")),
}


@pytest.mark.parametrize("tail", EVIL.values(), ids=EVIL)
def test_no_last_words_keep_the_daemon_busy(tail: str) -> None:
    """The interpreter is held meanwhile: the whole daemon would stand still."""
    questions: list[Callable[[], object]] = [
        lambda: failure(1, tail),
        lambda: is_disk_full(tail),
        lambda: outcome_of(WELL, replace(FACTS, tail=tail)),
    ]
    begin = time.thread_time()
    for ask in questions:
        ask()

    assert time.thread_time() - begin < 1


@pytest.mark.parametrize("tail", EVIL.values(), ids=EVIL)
def test_no_flood_of_words_keeps_the_daemon_busy(tail: str) -> None:
    reader = StderrReader()
    begin = time.thread_time()
    for _ in range(32):  # 1 MiB
        reader.feed(tail.encode())
    reader.close()

    assert time.thread_time() - begin < 5
    assert len(reader.tail.encode()) <= TAIL_BYTES


paths = st.lists(
    st.text(st.characters(exclude_characters="/\0", exclude_categories=()), min_size=1, max_size=90)
    | st.binary(min_size=1, max_size=255)
    .filter(lambda name: not {0, 47} & set(name))
    .map(lambda name: name.decode("utf-8", "surrogateescape")),
    min_size=1,
    max_size=4,
).map("/".join)


@given(paths)
def test_any_path_is_sifted_and_has_a_place_in_the_outbox(source: str) -> None:
    try:
        encoded = source.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return  # no file system gives such a name
    output = with_suffix(source, ".webm")
    reason = NameFilter(["mp4"], []).reason(source.rpartition("/")[2])

    assert reason is None or reason.isprintable()
    assert output.rpartition("/")[0] == source.rpartition("/")[0]
    assert len(output.rpartition("/")[2].encode("utf-8", "surrogateescape")) <= NAME_MAX_BYTES
    assert output.endswith(".webm")
    assert b"\0" not in encoded
