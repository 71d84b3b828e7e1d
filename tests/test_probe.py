"""The probe worker, with real children and real clips."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import functools
import json
import os
import select
import signal
import socket
import stat
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, NoReturn, TypeVar, cast

import av
import av.stream
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.clips import FFMPEG, MEDIA, manifest
from watchconv.media.duration import Reader, packets_of, tail_length
from watchconv.media.probe import Limits, ProbeWorker
from watchconv.media.probe_protocol import ProbeFailed, parse_reply
from watchconv.process.sandbox.support import support

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Iterator

    from av.container import InputContainer
    from av.stream import Stream

    from watchconv.model import Content, MediaInfo

T = TypeVar("T")
CLIP = MEDIA / "awesome'movie.mov"
HOSTILE = MEDIA.parent / "hostile" / "make_hostile.py"
STILL_GIF = (
    b"GIF89a\x20\0\x20\0\x80\0\0\0\0\0\xff\xff\xff\x2c\0\0\0\0\1\0\1\0\0\x02\x02\x44\x01\0\x3b"
)
DAEMON = """
import asyncio, os, sys
from watchconv.media.probe import ProbeWorker

async def main():
    worker = ProbeWorker()
    fd = os.open(sys.argv[1], os.O_RDONLY)
    asking = asyncio.create_task(worker.examine(fd, 1))
    while not (worker.pid and sys.argv[1] in links(worker.pid)):
        await asyncio.sleep(0.002)
    print(worker.pid, flush=True)
    await asking

def links(pid):
    folder = f"/proc/{pid}/fd"
    try:
        return [os.readlink(f"{folder}/{fd}") for fd in os.listdir(folder)]
    except OSError:
        return []

asyncio.run(main())
"""


@contextlib.contextmanager
def opened(path: Path) -> Iterator[int]:
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        yield fd
    finally:
        os.close(fd)


@contextlib.asynccontextmanager
async def working(limits: Limits | None = None) -> AsyncIterator[ProbeWorker]:
    worker = ProbeWorker("test-mark", limits)
    try:
        yield worker
    finally:
        await worker.close()


async def probe(worker: ProbeWorker, path: Path) -> MediaInfo:
    with opened(path) as fd:
        return await worker.probe(fd)


async def examine(worker: ProbeWorker, path: Path) -> tuple[Content, ...]:
    with opened(path) as fd:
        return await worker.examine(fd, os.fstat(fd).st_size)


def run(steps: Coroutine[None, None, T]) -> T:
    return asyncio.run(asyncio.wait_for(steps, 60))


async def ended(pid: int, limit_seconds: float = 20) -> bool:
    """Wait, by its pidfd, until a process has ended."""
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        wait = functools.partial(select.select, [pidfd], [], [], limit_seconds)
        readable, _, _ = await asyncio.to_thread(wait)
        return bool(readable)
    finally:
        os.close(pidfd)


async def busy_child(worker: ProbeWorker, path: Path, but_not: int | None = None) -> int:
    """Wait until a child has been handed the file, which only /proc shows."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        pid = worker.pid
        if pid is not None and pid != but_not and holds(pid, path):
            return pid
        await asyncio.sleep(0.002)
    raise AssertionError(f"no child was handed {path}")


def holds(pid: int, path: Path) -> bool:
    with contextlib.suppress(OSError):
        return any(os.path.samefile(fd, path) for fd in Path(f"/proc/{pid}/fd").iterdir())
    return False


def status_of(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}


def environment_of(pid: int) -> bytes:
    return Path(f"/proc/{pid}/environ").read_bytes()


@pytest.fixture
def endless(tmp_path: Path) -> Path:
    """A program stream whose end is so far away that reading there takes minutes."""
    path = tmp_path / "endless.mpg"
    path.write_bytes((MEDIA / "weird_aspect.small.mpg").read_bytes())
    os.truncate(path, 1 << 40)
    return path


def decoded() -> list[tuple[str, float]]:
    """List the clips whose decoded length the manifest knows: `30 frames / 1.01 s`."""
    return [
        (row["file"], float(row["decoded_5.1_full"].split()[3]))
        for row in manifest()
        if row["decoded_5.1_full"].endswith(" s")
    ]


def test_a_duration_is_what_decodes_whatever_the_headers_announce() -> None:
    async def durations() -> list[float | None]:
        async with working() as worker:
            return [(await probe(worker, MEDIA / name)).duration_seconds for name, _ in decoded()]

    wrong = [
        (name, length, proven)
        for (name, length), proven in zip(decoded(), run(durations()), strict=True)
        if proven is None or abs(proven - length) > max(0.3, length / 10)
    ]

    assert len(decoded()) > 20
    assert wrong == []


def test_a_stream_that_appears_in_the_middle_does_not_end_the_reading() -> None:
    rest = iter(["first", "of a stream that is new to PyAV", "last"])

    def demux(_: list[Stream]) -> Iterator[str]:
        for packet in rest:
            if "new" in packet:
                raise IndexError
            yield packet

    container = cast("InputContainer", SimpleNamespace(demux=demux))

    assert [str(packet) for packet in packets_of(container, [])] == ["first", "last"]


@pytest.mark.parametrize("demuxer", ["flv", "mpegts"])
@pytest.mark.parametrize("start", [30, 15])
def test_a_large_file_that_ends_before_it_begins_has_no_known_length(
    demuxer: str, start: int
) -> None:
    """Its clock started anew in the middle; the scan of the tail does not see that."""
    video = SimpleNamespace(
        index=0, type="video", time_base=1, disposition=av.stream.Disposition.default
    )
    tail = [SimpleNamespace(dts=s, pts=s, duration=1, stream_index=0) for s in range(5, 15)]
    container = SimpleNamespace(
        start_time=start * av.time_base,
        duration=60 * av.time_base,
        streams=[video],
        seek=lambda _: None,
        demux=lambda _: iter(tail),
    )
    with opened(CLIP) as fd:
        length = tail_length(cast("InputContainer", container), Reader(fd), demuxer)

    assert length is None


def test_streams_carry_the_codecs_own_names() -> None:
    async def codecs(*names: str) -> list[list[str]]:
        async with working() as worker:
            found = [await probe(worker, MEDIA / name) for name in names]
        return [[f"{s.kind}/{s.codec}" for s in media.streams] for media in found]

    assert run(
        codecs("hdr10-av1.mp4", "media-sample.avi", "media-sample_with_pgs_subtitles.mkv")
    ) == [
        ["video/av1", "audio/aac"],
        ["video/mpeg4", "audio/mp3"],
        ["video/h264", "audio/ac3", "subtitle/hdmv_pgs_subtitle"],
    ]


@pytest.mark.parametrize(
    ("name", "demuxer", "samples"),
    [
        ("dolbyVision-hdr.MOV", "mov", [5, 7, 1, 1, 4]),
        ("long_1080p_lowbitrate.mp4", "mov", [10883, 16876]),
        ("media-sample_empty_track.mp4", "mov", [30, 0, 45]),
        ("media-sample.avi", "avi", [96, 170]),
        ("media-sample_fragmented.mp4", "mov", [None, None]),
        ("file-type-fixture2.mkv", "matroska", [None, None]),
        ("PHP-FFMpeg-Test.ogv", "ogg", [None, None]),
    ],
)
def test_samples_are_counted_only_where_the_container_has_a_whole_index(
    name: str, demuxer: str, samples: list[int | None]
) -> None:
    async def media() -> MediaInfo:
        async with working() as worker:
            return await probe(worker, MEDIA / name)

    found = run(media())

    assert found.demuxer == demuxer
    assert [stream.samples for stream in found.streams] == samples


def test_tags_that_are_no_utf8_fail_nothing(tmp_path: Path) -> None:
    clip = tmp_path / "a.avi"
    subprocess.run(
        [FFMPEG, "-v", "error", "-f", "lavfi", "-i", "testsrc=size=64x48:rate=10:duration=0.3",
         "-c:v", "mpeg4", "-metadata", b"title=caf\xe9", "-metadata:s:v", b"title=\xff", clip],
        check=True,
    )  # fmt: skip
    assert b"caf\xe9" in clip.read_bytes()

    async def media() -> MediaInfo:
        async with working() as worker:
            return await probe(worker, clip)

    assert [stream.codec for stream in run(media()).streams] == ["mpeg4"]


def test_a_cover_is_no_video() -> None:
    async def media() -> MediaInfo:
        async with working() as worker:
            return await probe(worker, MEDIA / "metadata_gnre.mp4")

    found = run(media())

    assert [s.codec for s in found.videos] == ["h264"]
    assert [s.codec for s in found.streams if s.attached_picture] == ["mjpeg"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "format"),
        (b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n/etc/passwd\n", "format"),
        (b"ffconcat version 1.0\nfile /etc/passwd\n", "format"),
        (STILL_GIF, "still picture"),
    ],
)
def test_what_is_no_video_is_refused_for_good(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "film.mp4"
    path.write_bytes(content)

    async def failure() -> ProbeFailed:
        async with working() as worker:
            with pytest.raises(ProbeFailed, match=reason) as failed:
                await probe(worker, path)
            return failed.value

    assert run(failure()).hopeless


def test_a_gif_that_moves_is_a_video() -> None:
    async def media() -> MediaInfo:
        async with working() as worker:
            return await probe(worker, MEDIA / "restore_previous.gif")

    assert len(run(media()).videos) == 1


@pytest.mark.skipif(not HOSTILE.exists(), reason="the hostile set is not beside the checkout")
def test_no_hostile_file_ends_the_child_or_has_a_neighbour_opened(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, HOSTILE, tmp_path, "--ffmpeg", FFMPEG], check=True, capture_output=True
    )
    canaries = [p for p in (tmp_path / "private").iterdir() if p.is_file()]
    files = [
        entry
        for entry in (tmp_path / "inbox").iterdir()
        if stat.S_ISREG(entry.lstat().st_mode) and entry.name != "hardlink-canary.mp4"
    ]

    async def probe_all() -> int:
        answered = 0
        async with working() as worker:
            worker.warm()
            pid = worker.pid
            for path in files:
                with contextlib.suppress(ProbeFailed):
                    await probe(worker, path)
                answered += worker.pid == pid
        return answered

    with watched(canaries) as unopened:
        answered = run(probe_all())

        assert len(files) > 150
        assert answered == len(files)
        assert unopened()


@contextlib.contextmanager
def watched(paths: list[Path]) -> Iterator[Callable[[], bool]]:
    """Hold write leases, which any opening breaks, and tell whether all are whole."""
    previous = signal.signal(signal.SIGIO, signal.SIG_IGN)
    fds = [os.open(path, os.O_RDONLY) for path in paths]
    try:
        for fd in fds:
            fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_WRLCK)
        yield lambda: all(fcntl.fcntl(fd, fcntl.F_GETLEASE) == fcntl.F_WRLCK for fd in fds)
    finally:
        for fd in fds:
            os.close(fd)
        signal.signal(signal.SIGIO, previous)


def test_the_child_is_confined_and_marked() -> None:
    async def look() -> tuple[dict[str, str], bytes]:
        async with working() as worker:
            await probe(worker, CLIP)
            assert worker.pid is not None
            return status_of(worker.pid), environment_of(worker.pid)

    status, environment = run(look())

    assert status["NoNewPrivs"] == "1"
    assert (status["Seccomp"] == "2") is support().seccomp
    assert b"WATCHCONV_CHILD=test-mark" in environment.split(b"\0")


UNCONFINED = """
import json, socket, sys
channel = socket.socket(fileno=int(sys.argv[1]))
channel.send(json.dumps({"ready": ["No walls here."]}).encode())
request, fds, *_ = socket.recv_fds(channel, 64, 1)
channel.send(json.dumps({"refused": "I have read it"}).encode())
channel.recv(1)
"""


@pytest.mark.parametrize(
    ("mode", "said", "times"),
    [
        ("auto", "I have read it", 1),
        ("off", "I have read it", 0),
        ("require", "require is not met: No walls here", 0),
    ],
)
def test_what_surprisingly_does_not_confine_a_child_is_told_once_and_refused_where_all_is_required(
    mode: str,
    said: str,
    times: int,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr("watchconv.media.probe._BOOT", UNCONFINED)
    all_is_there = replace(support(), missing=())
    monkeypatch.setattr("watchconv.media.probe.support", lambda: all_is_there)

    async def ask() -> None:
        for _ in range(2):
            worker = ProbeWorker(sandbox=lambda: mode)
            with pytest.raises(ProbeFailed, match=said):
                await probe(worker, CLIP)
            await worker.close()

    run(ask())

    assert caplog.messages.count("No walls here.") == times


def test_many_at_once_are_answered_by_one_child() -> None:
    async def crowd() -> tuple[set[float | None], set[int | None]]:
        async with working() as worker:
            pids = set()

            async def one() -> float | None:
                media = await probe(worker, CLIP)
                pids.add(worker.pid)
                return media.duration_seconds

            return set(await asyncio.gather(*(one() for _ in range(20)))), pids

    durations, pids = run(crowd())

    assert len(durations) == 1
    assert len(pids) == 1


def test_the_callers_descriptor_keeps_its_position_and_none_leaks() -> None:
    async def use() -> list[int]:
        counts = []
        async with working() as worker:
            for _ in range(10):
                with opened(CLIP) as fd:
                    os.lseek(fd, 7, os.SEEK_SET)
                    await worker.probe(fd)
                    assert os.lseek(fd, 0, os.SEEK_CUR) == 7
                assert worker.pid is not None
                counts.append(len(os.listdir(f"/proc/{worker.pid}/fd")))
        return counts

    before = len(os.listdir("/proc/self/fd"))
    counts = run(use())

    assert len(set(counts)) == 1
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_child_killed_over_a_file_is_replaced_and_the_file_asked_again() -> None:
    async def kill_one() -> tuple[int, int | None, MediaInfo]:
        async with working() as worker:
            await probe(worker, CLIP)
            first = worker.pid
            assert first is not None
            os.kill(first, signal.SIGSTOP)
            asking = asyncio.create_task(probe(worker, CLIP))
            await asyncio.sleep(0)
            os.kill(first, signal.SIGKILL)
            media = await asking
            return first, worker.pid, media

    first, second, media = run(kill_one())

    assert media.videos
    assert second not in (first, None)
    assert not Path(f"/proc/{first}").exists()


def test_a_file_over_which_two_children_die_is_judged(endless: Path) -> None:
    async def kill_two() -> tuple[ProbeFailed, MediaInfo]:
        async with working() as worker:
            asking = asyncio.create_task(examine(worker, endless))
            first = await busy_child(worker, endless)
            os.kill(first, signal.SIGKILL)
            os.kill(await busy_child(worker, endless, but_not=first), signal.SIGKILL)
            with pytest.raises(ProbeFailed, match="crashed") as failed:
                await asking
            return failed.value, await probe(worker, CLIP)

    failed, media = run(kill_two())

    assert failed.hopeless
    assert media.videos


def test_a_child_that_hangs_is_replaced() -> None:
    async def hang() -> tuple[int, int | None, MediaInfo]:
        async with working(Limits(probe_seconds=2)) as worker:
            await probe(worker, CLIP)
            first = worker.pid
            assert first is not None
            os.kill(first, signal.SIGSTOP)
            media = await probe(worker, CLIP)
            return first, worker.pid, media

    first, second, media = run(hang())

    assert media.videos
    assert second not in (first, None)


def test_a_file_that_takes_for_ever_is_given_up_but_may_be_tried_again(endless: Path) -> None:
    """A disk that wakes up explains it as well as the file does: nothing is proven."""

    async def wait() -> ProbeFailed:
        async with working(Limits(probe_seconds=0.01)) as worker:
            with pytest.raises(ProbeFailed, match="did not finish") as failed:
                await probe(worker, endless)
            return failed.value

    assert not run(wait()).hopeless


def test_a_cancelled_question_leaves_no_answer_for_the_next(endless: Path) -> None:
    async def cancel() -> MediaInfo:
        async with working() as worker:
            asking = asyncio.create_task(examine(worker, endless))
            await busy_child(worker, endless)
            asking.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asking
            return await probe(worker, CLIP)

    assert run(cancel()).videos


def test_closing_fails_what_is_being_asked_without_blaming_the_file(endless: Path) -> None:
    async def close() -> tuple[ProbeFailed, int]:
        async with working() as worker:
            asking = asyncio.create_task(examine(worker, endless))
            pid = await busy_child(worker, endless)
            await worker.close()
            with pytest.raises(ProbeFailed, match="ending") as failed:
                await asking
            return failed.value, pid

    failed, pid = run(close())

    assert not failed.hopeless
    assert not Path(f"/proc/{pid}").exists()


def test_an_idle_child_is_ended_and_the_next_file_finds_a_new_one() -> None:
    async def rest() -> tuple[bool, MediaInfo]:
        async with working(Limits(idle_seconds=0.05)) as worker:
            await probe(worker, CLIP)
            pid = worker.pid
            has_ended = pid is None or await ended(pid)
            return has_ended, await probe(worker, CLIP)

    has_ended, media = run(rest())

    assert has_ended
    assert media.videos


@pytest.mark.parametrize("limits", [Limits(resident_bytes=1), Limits(files=1)])
def test_a_child_that_has_grown_or_seen_enough_is_replaced(limits: Limits) -> None:
    async def grow() -> int | None:
        async with working(limits) as worker:
            await probe(worker, CLIP)
            return worker.pid

    assert run(grow()) is None


def test_a_warm_child_is_the_one_that_answers() -> None:
    async def warm() -> tuple[int | None, int | None]:
        async with working() as worker:
            worker.warm()
            started = worker.pid
            await probe(worker, CLIP)
            return started, worker.pid

    started, answering = run(warm())

    assert started is not None
    assert answering == started


def test_a_closed_worker_is_not_warmed() -> None:
    async def warm() -> int | None:
        async with working() as worker:
            await worker.close()
            worker.warm()
            return worker.pid

    assert run(warm()) is None


def test_a_machine_without_descriptors_is_our_trouble_and_no_files(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def none_left(*_: object) -> NoReturn:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    async def failure() -> ProbeFailed:
        async with working() as worker:
            monkeypatch.setattr(socket, "socketpair", none_left)
            worker.warm()
            with pytest.raises(ProbeFailed, match="Too many open files") as failed:
                await probe(worker, CLIP)
            monkeypatch.undo()
            return failed.value

    assert not run(failure()).hopeless


def test_a_missing_library_is_our_trouble_and_no_files(monkeypatch: pytest.MonkeyPatch) -> None:
    without = [p for p in sys.path if "site-packages" not in p]
    monkeypatch.setattr(sys, "path", [*without, str(Path(__file__).parents[1])])

    async def failure() -> ProbeFailed:
        async with working() as worker:
            with pytest.raises(ProbeFailed, match="No module named 'av'") as failed:
                await probe(worker, CLIP)
            return failed.value

    assert not run(failure()).hopeless


def test_a_busy_child_ends_when_the_daemon_is_killed(endless: Path) -> None:
    daemon = subprocess.Popen(
        [sys.executable, "-c", DAEMON, endless], stdout=subprocess.PIPE, text=True
    )
    with daemon:
        assert daemon.stdout is not None
        child = int(daemon.stdout.readline())

        daemon.kill()

    assert run(ended(child))


def test_every_packet_of_an_output_is_counted_and_its_streams_decode(tmp_path: Path) -> None:
    output = tmp_path / "out.webm"
    subprocess.run(
        [FFMPEG, "-v", "error", "-f", "lavfi", "-i", "testsrc=d=1:r=25:s=160x120",
         "-f", "lavfi", "-i", "sine=d=1", "-c:v", "libvpx", "-c:a", "libvorbis", output],
        check=True,
    )  # fmt: skip

    async def contents() -> tuple[Content, ...]:
        async with working() as worker:
            return await examine(worker, output)

    video, audio = run(contents())

    assert (video.kind, video.codec, video.packets, video.decodes) == ("video", "vp8", 25, True)
    assert (audio.kind, audio.codec, audio.decodes) == ("audio", "vorbis", True)
    assert audio.packets > 30


def test_packets_that_are_garbage_do_not_decode() -> None:
    async def contents() -> tuple[Content, ...]:
        async with working() as worker:
            return await examine(worker, MEDIA / "invalid-bitstream.webm")

    (video,) = run(contents())

    assert video.packets > 0
    assert not video.decodes


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=9) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=20,
)
answers = st.one_of(
    values,
    st.fixed_dictionaries({"contents": st.lists(st.lists(values, min_size=5, max_size=5))}),
    st.fixed_dictionaries({"refused": values}),
    st.fixed_dictionaries(
        {
            "media": st.fixed_dictionaries(
                {
                    "demuxer": st.sampled_from(["mov", "concat", "-i", 7]),
                    "duration": values,
                    "streams": st.lists(st.lists(values, min_size=9, max_size=9)),
                }
            )
        }
    ),
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.binary() | answers.map(lambda answer: json.dumps(answer).encode()))
@example(b"[" * 60_000)
@example(b"1" * 60_000)
@example(b'{"media": {"demuxer": "mov", "duration": NaN, "streams": []}}')
@example(b'{"media": {"demuxer": "concat", "duration": null, "streams": []}}')
@example(b'{"contents": [[true, "video", "vp8", 1, true]]}')
@example(b'{"contents": [[0, "video", "vp8 -i", 1, true]]}')
def test_no_words_of_a_child_do_more_than_fail_the_probe(reply: bytes) -> None:
    try:
        found = parse_reply(reply)
    except ProbeFailed as failed:
        found = ()
        said = str(failed)
    else:
        said = ""

    assert said.isprintable()
    assert isinstance(found, tuple) or found.demuxer == "mov"


@pytest.mark.parametrize("reply", [b"", b"{}", b'{"contents": [[true, "video", "vp8", 1, true]]}'])
def test_an_answer_that_makes_no_sense_is_refused(reply: bytes) -> None:
    with pytest.raises(ProbeFailed, match="no sense"):
        parse_reply(reply)


@pytest.mark.parametrize("codec", ["libx264", "mpeg4", "rawvideo"])
def test_an_index_whose_last_pictures_are_zeros_is_a_cut_file(tmp_path: Path, codec: str) -> None:
    """So looks an upload that got its final size before its content, index first, and ended."""
    clip = tmp_path / ("a.mp4" if codec != "rawvideo" else "a.mov")
    picture = "testsrc2=size=64x48:rate=10:duration=2,format=yuv420p"
    subprocess.run(
        [
            FFMPEG,
            "-v",
            "error",
            "-f",
            "lavfi",
            "-i",
            picture,
            "-c:v",
            codec,
            "-movflags",
            "+faststart",
            str(clip),
        ],
        check=True,
    )
    content = clip.read_bytes()
    clip.write_bytes(content[: len(content) * 2 // 3].ljust(len(content), b"\0"))

    async def ask() -> str:
        async with working() as worker:
            try:
                return (await probe(worker, clip)).demuxer
            except ProbeFailed as failed:
                return failed.reason

    cut = "the file is truncated: zeros stand where its last pictures should be"
    assert run(ask()) == ("mov" if codec == "rawvideo" else cut)
