"""The probe worker, with real children and real clips."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import select
import shutil
import signal
import socket
import stat
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NoReturn, cast

import av
import av.stream
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import watchconv
from tests.clips import FFMPEG, MEDIA, manifest
from tests.waiting import wait_until
from watchconv.media import DEMUXERS
from watchconv.media.duration import Reader, packets_of, tail_length
from watchconv.media.facts import Chapter, Content, Examined, Facts, Gap, Picture, Track
from watchconv.media.probe import Limits, ProbeWorker
from watchconv.media.probe_protocol import NoWorker, ProbeFailed, parse_reply
from watchconv.media.rows import rows_of
from watchconv.model import Cause
from watchconv.process.sandbox.support import support
from watchconv.process.spawn import spawn
from watchconv.process.stop import Stopped, StopSignal, StopStage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from av.container import InputContainer
    from av.stream import Stream


CLIP = MEDIA / "awesome'movie.mov"
HOSTILE = MEDIA.parent / "hostile" / "make_hostile.py"
STILL_GIF = (
    b"GIF89a\x20\0\x20\0\x80\0\0\0\0\0\xff\xff\xff\x2c\0\0\0\0\1\0\1\0\0\x02\x02\x44\x01\0\x3b"
)
DAEMON = """
import os, sys, threading, time
from watchconv.media.probe import ProbeWorker

def links(pid):
    folder = f"/proc/{pid}/fd"
    try:
        return [os.readlink(f"{folder}/{fd}") for fd in os.listdir(folder)]
    except OSError:
        return []

worker = ProbeWorker()
fd = os.open(sys.argv[1], os.O_RDONLY)
threading.Thread(target=worker.examine, args=(fd, 1)).start()
while not (worker.pid and sys.argv[1] in links(worker.pid)):
    time.sleep(0.002)
print(worker.pid, flush=True)
"""


@contextlib.contextmanager
def opened(path: Path) -> Iterator[int]:
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        yield fd
    finally:
        os.close(fd)


def working(limits: Limits | None = None) -> contextlib.closing[ProbeWorker]:
    return contextlib.closing(ProbeWorker("test-tag", limits))


def probe(worker: ProbeWorker, path: Path, **options: Any) -> Facts:
    with opened(path) as fd:
        return worker.probe(fd, **options)


def examine(worker: ProbeWorker, path: Path, **options: Any) -> Examined:
    with opened(path) as fd:
        return worker.examine(fd, os.fstat(fd).st_size, **options)


def media_of(path: Path) -> Facts:
    with working() as worker:
        return probe(worker, path)


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    """Threads that may wait for a worker; their test sees to it that they come back."""
    with ThreadPoolExecutor(20) as threads:
        yield threads


def ended(pid: int, limit_seconds: float = 20) -> bool:
    """Wait, by its pidfd, until a process has ended."""
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        readable, _, _ = select.select([pidfd], [], [], limit_seconds)
        return bool(readable)
    finally:
        os.close(pidfd)


def pid_of(worker: ProbeWorker) -> int:
    """Wait until a child is started."""
    return wait_until(lambda: worker.pid) or 0


def busy_child(worker: ProbeWorker, path: Path, but_not: int | None = None) -> int:
    """Wait until a child has been handed the file, which only /proc shows."""

    def pid() -> int | None:
        found = worker.pid
        return found if found and found != but_not and holds(found, path) else None

    return wait_until(pid) or 0


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
    with working() as worker:
        durations = [probe(worker, MEDIA / name).duration_seconds for name, _ in decoded()]

    wrong = [
        (name, length, proven)
        for (name, length), proven in zip(decoded(), durations, strict=True)
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
    tail = [SimpleNamespace(dts=s, pts=s, duration=1, stream_index=0, size=1) for s in range(5, 15)]
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
    names = ("hdr10-av1.mp4", "media-sample.avi", "media-sample_with_pgs_subtitles.mkv")
    found = [media_of(MEDIA / name) for name in names]

    assert [[f"{s.kind}/{s.codec}" for s in media.tracks] for media in found] == [
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
    found = media_of(MEDIA / name)

    assert found.demuxer == demuxer
    assert [stream.samples for stream in found.tracks] == samples


def test_tags_that_are_no_utf8_fail_nothing(tmp_path: Path) -> None:
    clip = tmp_path / "a.avi"
    subprocess.run(
        [FFMPEG, "-v", "error", "-f", "lavfi", "-i", "testsrc=size=64x48:rate=10:duration=0.3",
         "-c:v", "mpeg4", "-metadata", b"title=caf\xe9", "-metadata:s:v", b"title=\xff", clip],
        check=True,
    )  # fmt: skip
    assert b"caf\xe9" in clip.read_bytes()

    assert [stream.codec for stream in media_of(clip).tracks] == ["mpeg4"]


def test_a_cover_is_no_video() -> None:
    found = media_of(MEDIA / "metadata_gnre.mp4")

    assert [s.codec for s in found.videos] == ["h264"]
    assert [s.codec for s in found.tracks if s.attached_picture] == ["mjpeg"]


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

    with pytest.raises(ProbeFailed, match=reason) as failed:
        media_of(path)

    assert failed.value.hopeless
    assert failed.value.cause is Cause.NOT_VIDEO


@pytest.mark.parametrize("ask", [probe, examine])
def test_a_file_that_cannot_be_read_is_not_to_blame(
    tmp_path: Path, ask: Callable[[ProbeWorker, Path], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """So it is where a disk fails; here the descriptor is one to write with only."""
    path = tmp_path / "a.mov"
    path.write_bytes(CLIP.read_bytes())
    monkeypatch.setattr(os, "O_RDONLY", os.O_WRONLY)
    with working() as worker:
        with pytest.raises(ProbeFailed, match="reading it failed: Bad file") as failed:
            ask(worker, path)
        assert not failed.value.hopeless
        assert worker.pid is not None


def test_a_gif_that_moves_is_a_video() -> None:
    assert len(media_of(MEDIA / "restore_previous.gif").videos) == 1


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

    answered = 0
    with watched(canaries) as unopened, working() as worker:
        worker.warm()
        pid = pid_of(worker)
        for path in files:
            with contextlib.suppress(ProbeFailed):
                probe(worker, path)
            answered += worker.pid == pid

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


def test_the_child_is_confined_and_tagged() -> None:
    with working() as worker:
        probe(worker, CLIP)
        status, environment = status_of(worker.pid or 0), environment_of(worker.pid or 0)

    assert status["NoNewPrivs"] == "1"
    assert (status["Seccomp"] == "2") is support().seccomp
    assert b"WATCHCONV_CHILD=test-tag" in environment.split(b"\0")


def test_the_child_writes_no_compiled_modules_into_the_installation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = Path(watchconv.__file__).parent
    ignored = shutil.ignore_patterns("__pycache__")
    installation = shutil.copytree(source, tmp_path / "watchconv", ignore=ignored)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])

    assert media_of(CLIP).videos
    assert list(installation.rglob("*.pyc")) == []


UNCONFINED = """
import json, socket, sys
channel = socket.socket(fileno=0)
channel.send(json.dumps({"ready": ["No walls here."]}).encode())
request, fds, *_ = socket.recv_fds(channel, 64, 1)
channel.send(json.dumps({"refused": "I have read it", "cause": "unreadable"}).encode())
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

    for _ in range(2):
        with working() as worker, pytest.raises(ProbeFailed, match=said):
            probe(worker, CLIP, sandbox=mode)

    assert caplog.messages.count("No walls here.") == times


def test_a_child_whose_confinement_lacks_anything_is_refused_from_the_moment_all_is_required(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("watchconv.media.probe._BOOT", UNCONFINED)
    with working() as worker:
        with pytest.raises(ProbeFailed, match="I have read it"):
            probe(worker, CLIP, sandbox="off")
        with pytest.raises(NoWorker, match="require is not met"):
            probe(worker, CLIP, sandbox="require")


def test_many_threads_at_once_are_answered_by_one_child(pool: ThreadPoolExecutor) -> None:
    with working() as worker:

        def one(_: int) -> tuple[float | None, int | None]:
            return probe(worker, CLIP).duration_seconds, worker.pid

        answers = set(pool.map(one, range(20)))

    assert len(answers) == 1


def test_the_callers_descriptor_keeps_its_position_and_none_leaks() -> None:
    before = os.listdir("/proc/self/fd")
    counts = set()
    with working() as worker:
        for _ in range(10):
            with opened(CLIP) as fd:
                os.lseek(fd, 7, os.SEEK_SET)
                worker.probe(fd)
                assert os.lseek(fd, 0, os.SEEK_CUR) == 7
            counts.add(len(os.listdir(f"/proc/{worker.pid}/fd")))

    assert len(counts) == 1
    assert os.listdir("/proc/self/fd") == before


def test_a_child_killed_over_a_file_is_replaced_and_the_file_asked_again(
    endless: Path, pool: ThreadPoolExecutor
) -> None:
    with working(Limits(examine_seconds=60)) as worker:
        asking = pool.submit(examine, worker, endless)
        first = busy_child(worker, endless)
        os.kill(first, signal.SIGKILL)
        second = busy_child(worker, endless, but_not=first)

        assert not Path(f"/proc/{first}").exists()
        assert not asking.done()
        os.kill(second, signal.SIGKILL)
        with pytest.raises(ProbeFailed, match="crashed, 2 times") as failed:
            asking.result(20)
        assert failed.value.hopeless
        assert probe(worker, CLIP).videos


def test_a_child_that_hangs_is_replaced() -> None:
    with working(Limits(probe_seconds=2)) as worker:
        probe(worker, CLIP)
        first = pid_of(worker)
        os.kill(first, signal.SIGSTOP)

        assert probe(worker, CLIP).videos
        assert worker.pid not in (first, None)


def test_a_file_that_takes_for_ever_is_given_up_but_may_be_tried_again(endless: Path) -> None:
    """A disk that wakes up explains it as well as the file does: nothing is proven."""
    limits = Limits(probe_seconds=0.01)
    with working(limits) as worker, pytest.raises(ProbeFailed, match="did not finish") as failed:
        probe(worker, endless)

    assert not failed.value.hopeless
    assert failed.value.cause is Cause.TIMEOUT


def test_a_stopped_question_leaves_no_answer_for_the_next(
    endless: Path, pool: ThreadPoolExecutor
) -> None:
    with working() as worker:
        stop = StopSignal()
        asking = pool.submit(examine, worker, endless, stop=stop)
        pid = busy_child(worker, endless)
        stop.request(StopStage.TERMINATING)

        with pytest.raises(Stopped):
            asking.result(20)
        assert ended(pid)
        assert probe(worker, CLIP).videos


def test_a_caller_in_line_is_stopped_while_another_is_answered(
    endless: Path, pool: ThreadPoolExecutor
) -> None:
    with working() as worker:
        first = pool.submit(examine, worker, endless)
        busy_child(worker, endless)
        stops = [StopSignal() for _ in range(3)]
        rest = [pool.submit(probe, worker, CLIP, stop=stop) for stop in stops]
        for stop, asking in list(zip(stops, rest, strict=True))[::-1]:
            stop.request(StopStage.TERMINATING)
            with pytest.raises(Stopped):
                asking.result(20)

        assert not first.done()


def test_a_caller_that_was_stopped_before_it_came_starts_nothing() -> None:
    stop = StopSignal()
    stop.request(StopStage.KILLED)
    with working() as worker:
        with pytest.raises(Stopped):
            probe(worker, CLIP, stop=stop)
        assert worker.pid is None


def test_closing_fails_what_is_being_asked_without_blaming_the_file(
    endless: Path, pool: ThreadPoolExecutor, caplog: pytest.LogCaptureFixture
) -> None:
    with working() as worker:
        asking = [pool.submit(examine, worker, endless) for _ in range(3)]
        pid = busy_child(worker, endless)
        worker.close()
        for one in asking:
            with pytest.raises(ProbeFailed, match="ending") as failed:
                one.result(20)
            assert not failed.value.hopeless
        with pytest.raises(ProbeFailed, match="ending"):
            probe(worker, CLIP)

    assert not Path(f"/proc/{pid}").exists()
    assert caplog.messages == []


def test_closing_does_not_wait_for_a_child_that_starts() -> None:
    worker = ProbeWorker()
    worker.warm()
    worker.close()

    assert worker.pid is None


def test_an_idle_child_ends_by_itself_and_that_is_no_loss(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with working(Limits(idle_seconds=0.05)) as worker:
        for _ in range(3):
            assert probe(worker, CLIP).videos
            if pid := worker.pid:
                assert ended(pid)
            wait_until(lambda: worker.pid is None)
            wait_until(lambda: "watchconv-probe" not in {t.name for t in threading.enumerate()})

    assert caplog.messages == []


# Says that it is ready, and ends by itself at the first request: so looks one whose time without
# work is over just when there is some. The second child, by a file in its work folder, answers.
FALLS_ASLEEP = """
import json, os, socket
channel = socket.socket(fileno=0)
channel.send(json.dumps({{"ready": []}}).encode())
request, fds, *_ = socket.recv_fds(channel, 64, 1)
try:
    os.mkdir({folder!r})
except FileExistsError:
    channel.send(json.dumps({{"refused": "I have read it", "cause": "unreadable"}}).encode())
    channel.recv(1)
"""


def test_a_child_that_falls_asleep_over_a_file_costs_it_no_try(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    boot = FALLS_ASLEEP.format(folder=str(tmp_path / "again"))
    monkeypatch.setattr("watchconv.media.probe._BOOT", boot)
    with working() as worker, pytest.raises(ProbeFailed, match="I have read it"):
        probe(worker, CLIP)

    assert caplog.messages == []


def test_a_child_that_always_falls_asleep_is_not_asked_for_ever(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    boot = FALLS_ASLEEP.format(folder="/").replace("os.mkdir", "pass; os.stat")
    monkeypatch.setattr("watchconv.media.probe._BOOT", boot)
    with working() as worker, pytest.raises(ProbeFailed, match="ended, 2 times in a row") as failed:
        probe(worker, CLIP)

    assert failed.value.hopeless
    assert len(caplog.messages) == 2


@pytest.mark.parametrize("limits", [Limits(resident_bytes=1), Limits(files=1)])
def test_a_child_that_has_grown_or_seen_enough_is_replaced(limits: Limits) -> None:
    with working(limits) as worker:
        probe(worker, CLIP)

        assert worker.pid is None


def test_a_warm_child_is_the_one_that_answers() -> None:
    with working() as worker:
        worker.warm()
        started = pid_of(worker)
        worker.warm()
        probe(worker, CLIP)

        assert worker.pid == started


def test_warming_waits_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    may_start = threading.Event()

    def slow(*words: Any, **options: Any) -> subprocess.Popen[bytes]:
        may_start.wait(60)
        return spawn(*words, **options)

    monkeypatch.setattr("watchconv.media.probe.spawn", slow)
    with working() as worker:
        worker.warm()
        assert worker.pid is None
        may_start.set()

        assert pid_of(worker) > 0


def test_a_caller_that_is_stopped_while_the_child_starts_leaves_it_to_the_next(
    monkeypatch: pytest.MonkeyPatch, pool: ThreadPoolExecutor
) -> None:
    may_start, starts = threading.Event(), list[int]()

    def slow(*words: Any, **options: Any) -> subprocess.Popen[bytes]:
        may_start.wait(60)
        process = spawn(*words, **options)
        starts.append(process.pid)
        return process

    monkeypatch.setattr("watchconv.media.probe.spawn", slow)
    with working() as worker:
        stop = StopSignal()
        asking = pool.submit(probe, worker, CLIP, stop=stop)
        stop.request(StopStage.TERMINATING)
        with pytest.raises(Stopped):
            asking.result(20)
        worker.warm()
        may_start.set()

        assert probe(worker, CLIP).videos
        assert starts == [worker.pid]


def test_closing_does_not_wait_for_ever_for_a_child_that_does_not_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    may_start, started = threading.Event(), list[int]()

    def slow(*words: Any, **options: Any) -> subprocess.Popen[bytes]:
        may_start.wait(60)
        process = spawn(*words, **options)
        started.append(process.pid)
        return process

    monkeypatch.setattr("watchconv.media.probe.spawn", slow)
    monkeypatch.setattr("watchconv.media.probe.END_SECONDS", 0.1)
    worker = ProbeWorker()
    worker.warm()
    worker.close()
    assert started == []
    may_start.set()

    assert ended(wait_until(lambda: started)[0])


def test_a_closed_worker_is_not_warmed() -> None:
    with working() as worker:
        worker.close()
        worker.warm()

        assert worker.pid is None


@pytest.mark.parametrize("scarce", ["socketpair", "eventfd", "spawn", "thread"])
def test_a_machine_without_descriptors_or_threads_is_our_trouble_and_no_files(
    monkeypatch: pytest.MonkeyPatch, scarce: str
) -> None:
    def none_left(*_: object, **__: object) -> NoReturn:
        if scarce == "thread":
            raise RuntimeError("can't start new thread")
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    with working() as worker:
        with monkeypatch.context() as patch:
            match scarce:
                case "socketpair":
                    patch.setattr(socket, "socketpair", none_left)
                case "eventfd":
                    patch.setattr(os, "eventfd", none_left)
                case "spawn":
                    patch.setattr("watchconv.media.probe.spawn", none_left)
                case "thread":
                    patch.setattr(threading.Thread, "start", none_left)
            worker.warm()
            with pytest.raises(NoWorker, match=r"Too many open files|new thread") as failed:
                probe(worker, CLIP)
        assert not failed.value.hopeless
        assert probe(worker, CLIP).videos


def test_a_missing_library_is_our_trouble_and_no_files(monkeypatch: pytest.MonkeyPatch) -> None:
    without = [p for p in sys.path if "site-packages" not in p]
    monkeypatch.setattr(sys, "path", [*without, str(Path(__file__).parents[1])])
    with working() as worker, pytest.raises(NoWorker, match="No module named 'av'"):
        probe(worker, CLIP)


def test_a_busy_child_ends_when_the_daemon_is_killed(endless: Path) -> None:
    daemon = subprocess.Popen(
        [sys.executable, "-c", DAEMON, endless], stdout=subprocess.PIPE, text=True
    )
    with daemon:
        assert daemon.stdout is not None
        child = int(daemon.stdout.readline())

        daemon.kill()

    assert ended(child)


def test_every_packet_of_an_output_is_counted_and_its_streams_decode(tmp_path: Path) -> None:
    output = tmp_path / "out.webm"
    subprocess.run(
        [FFMPEG, "-v", "error", "-f", "lavfi", "-i", "testsrc=d=1:r=25:s=160x120",
         "-f", "lavfi", "-i", "sine=d=1", "-c:v", "libvpx", "-c:a", "libvorbis", output],
        check=True,
    )  # fmt: skip

    with working() as worker:
        video, audio = examine(worker, output).contents

    assert (video.kind, video.codec, video.packets, video.decodes) == ("video", "vp8", 25, True)
    assert (audio.kind, audio.codec, audio.decodes) == ("audio", "vorbis", True)
    assert audio.packets > 30


def test_packets_that_are_garbage_do_not_decode() -> None:
    with working() as worker:
        (video,) = examine(worker, MEDIA / "invalid-bitstream.webm").contents

    assert video.packets > 0
    assert not video.decodes


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=9) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=20,
)
TRACK = Track(0, "video", "vp8", 1, title="caf\xe9", sample_aspect=(4, 3), mastering=(0.5,) * 10)
FACTS = Facts("mov", 1.0, (TRACK,), (Chapter(0.0, 1.0, "one"),), (("title", "a film"),))
EXAMINED = Examined(
    FACTS, (Content(0, "video", "vp8", 1, True, -0.02, 1.0, (Gap(0.5, 0.25),)),), ((0, 1 << 16),)
)
PICTURES = ((Picture(0.5, bytes(range(256)) * 3),),)
REPLIES = {"facts": FACTS, "examined": EXAMINED, "pictures": PICTURES}


def said(name: str, row: object) -> bytes:
    return json.dumps({name: row}).encode()


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A right answer in which one value, somewhere, is another."""
    name = draw(st.sampled_from([*REPLIES]))
    answer = {name: rows_of(REPLIES[name])}
    spots: list[tuple[Any, Any]] = []
    rest: list[Any] = [answer]
    while rest:
        node = rest.pop()
        for key in [*node] if isinstance(node, dict) else range(len(node)):
            spots.append((node, key))
            if isinstance(node[key], list):
                rest.append(node[key])
    node, key = draw(st.sampled_from(spots))
    node[key] = draw(values)
    return json.dumps(answer).encode()


@pytest.mark.parametrize("name", [*REPLIES])
def test_what_a_child_says_in_good_form_is_understood_as_it_was_meant(name: str) -> None:
    assert parse_reply(said(name, rows_of(REPLIES[name]))) == REPLIES[name]


answers = st.one_of(
    values.map(lambda answer: json.dumps(answer).encode()),
    st.fixed_dictionaries({"refused": values, "cause": st.just("truncated") | values}).map(
        lambda answer: json.dumps(answer).encode()
    ),
    mutated(),
)


def row_with(track: int, value: object) -> bytes:
    row: Any = rows_of(FACTS)
    row[2][0][track] = value
    return said("facts", row)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.binary() | answers)
@example(b"[" * 60_000)
@example(b"1" * 60_000)
@example(said("facts", ["mov", float("nan"), [], [], [], False, 0]))
@example(said("facts", ["concat", None, [], [], [], False, 0]))
@example(row_with(0, True))
@example(row_with(2, "vp8\0"))
def test_no_words_of_a_child_do_more_than_fail_the_probe(reply: bytes) -> None:
    try:
        found: object = parse_reply(reply)
    except ProbeFailed as failed:
        found = str(failed)

    match found:
        case str():
            assert found.isprintable()
        case Facts():
            assert found.demuxer in DEMUXERS
        case _:
            assert isinstance(found, (tuple, Examined))


@pytest.mark.parametrize(
    "reply",
    [
        b"",
        b"{}",
        b'{"refused": "for no cause"}',
        b'{"refused": "for one that is not its own to give", "cause": "cancelled"}',
        said("facts", []),
        said("facts", ["concat", None, [], [], [], False, 0]),
        said("facts", ["mov", float("nan"), [], [], [], False, 0]),
        said("facts", ["mov", -1.0, [], [], [], False, 0]),
        said("facts", ["mov", None, [], [], [["a", "b"]] * 100_001, False, 0]),
        row_with(0, True),
        row_with(0, 1),
        row_with(1, "film"),
        row_with(2, "vp8\0"),
        row_with(4, -1),
        row_with(5, 1 << 63),
        row_with(9, "a title\nof two lines"),
        row_with(9, "x" * 301),
        said("examined", [rows_of(FACTS), [], []]),
        said("pictures", [[[0.5, "00"]]]),
    ],
)
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

    if codec == "rawvideo":
        assert media_of(clip).demuxer == "mov"
        return
    with pytest.raises(ProbeFailed) as failed:
        media_of(clip)

    cut = "the file is truncated: zeros stand where its last pictures should be"
    assert (failed.value.reason, failed.value.cause) == (cut, Cause.TRUNCATED)
