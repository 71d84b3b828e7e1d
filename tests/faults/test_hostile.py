"""A hostile file gets nowhere: all of ../shared/hostile dropped into the real daemon.

Every case with the embedded ffmpeg and the system's, each once confined and once with
``sandbox: off``: what is refused by content must not need the sandbox. Private files beside the
inbox, named by the cases in every way, are watched for being opened and looked for, as text and as
pictures, in all that the daemon leaves behind; a local port is watched for connections.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import shutil
import socket
import stat
import subprocess
import sys
import time
import unicodedata
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import av
import pytest

from tests.clips import FFMPEG, MEDIA
from tests.daemon import Daemon, Place, descendants, drop, tiny_clip
from tests.test_probe import watched
from tests.waiting import wait_until
from watchconv.config import Config
from watchconv.encode.classify import EncodeFacts, classify, is_disk_full
from watchconv.encode.ffmpeg_output import StderrReader
from watchconv.errors import EnvironmentTrouble
from watchconv.intake.filters import NameFilter
from watchconv.model import Broke
from watchconv.process.child import ChildExit, ExitCause
from watchconv.process.sandbox.programs import system_reads
from watchconv.process.sandbox.rules import SandboxRules, confine
from watchconv.process.sandbox.support import support
from watchconv.process.spawn import find_orphans

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import ModuleType

MAKER = MEDIA.parent / "hostile" / "make_hostile.py"
FFMPEGS = sorted({FFMPEG, shutil.which("ffmpeg") or FFMPEG}, key=lambda path: path != FFMPEG)
SETTINGS: dict[str, Any] = {
    "extensions": "any",  # or the playlists and scripts would not even be tried
    "settle_seconds": 0.2,
    "settle_network_seconds": 1,
    "incomplete_after_seconds": 1,
    "min_free": 0,
    "max_attempts": 1,
    "nice": 0,
    "ionice": "none",
    "jobs": 2,
}
# What make_hostile.py leaves to the name: ordered all the same where any file counts as a video.
NO_VIDEO_BY_NAME = {"ASSETMAP.xml", "neighbour-secret.txt"}
PARTIAL_OR_HIDDEN = {".hidden.mp4", "..mp4", "...mp4", "temp.mp4.part", "x.mp4.tmp"}
# These are the canary's pictures themselves: a neighbour that is a video in its own right, and a
# second name of the private file, which nobody can tell from a file of the inbox.
MAGENTA_BY_RIGHT = {"neighbour-secret.mp4", "hardlink-canary.mp4"}
SECRET = "SECRET-of-the-environment-5b1e"
DAEMON_MB = 100

pytestmark = [
    pytest.mark.skipif(not MAKER.exists(), reason="the hostile set is not beside the checkout"),
    pytest.mark.timeout(300),
]


class Port:
    """A number that is listened on, by TCP and UDP, on the loopback."""

    def __enter__(self) -> Self:
        self._held = contextlib.ExitStack()
        while True:
            self.tcp = self._held.enter_context(socket.create_server(("127.0.0.1", 0)))
            self.number = self.tcp.getsockname()[1]
            self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            self._held.enter_context(self.udp)
            with contextlib.suppress(OSError):
                self.udp.bind(("127.0.0.1", self.number))
                return self

    def __exit__(self, *_: object) -> None:
        self._held.close()

    def was_touched(self) -> list[str]:
        """Say who came: a connection waits to be accepted, a packet to be read."""
        touched = []
        for name, act in (("tcp", self.tcp.accept), ("udp", lambda: self.udp.recv(1))):
            for sock in (self.tcp, self.udp):
                sock.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                act()
                touched.append(name)
        return touched


@dataclass
class Played:
    """What one run over the whole set left behind."""

    place: Place
    cases: list[dict[str, str]]
    ends: dict[str, str]  # of each case: done, failed or ignored
    reasons: dict[str, str]
    outputs: dict[str, str]  # by source
    token: bytes
    unopened: bool
    touched: list[str]
    peak_mb: float
    alive: bool
    exit_code: int
    stayed: dict[str, tuple[int, int]]  # what was no regular file, before the run


def hostile_set(folder: Path, port: int, *, ffmpeg: str = FFMPEG) -> dict[str, Any]:
    """Make the set, with a canary.mp4 that shares nothing with the inbox; give its expectations."""
    subprocess.run(
        [sys.executable, str(MAKER), str(folder), "--ffmpeg", ffmpeg, "--port", str(port)],
        check=True,
        capture_output=True,
    )
    canary = folder / "private" / "canary.mp4"
    shutil.copyfile(canary, folder / "fresh")
    (folder / "fresh").rename(canary)  # hardlink-canary.mp4 keeps the old inode
    expected: dict[str, Any] = json.loads((folder / "expected.json").read_text())
    return expected


@pytest.fixture(
    scope="module",
    params=[(ffmpeg, sandbox) for ffmpeg in FFMPEGS for sandbox in ("auto", "off")],
    ids=lambda param: f"{Path(param[0]).name}-sandbox-{param[1]}",
)
def played(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Played]:
    ffmpeg, sandbox = request.param
    root = tmp_path_factory.mktemp("hostile")
    try:
        with Port() as port:
            yield play(root, port, ffmpeg, sandbox)
    finally:
        shutil.rmtree(root, ignore_errors=True)


def play(root: Path, port: Port, ffmpeg: str, sandbox: str) -> Played:
    expected = hostile_set(root, port.number)
    inbox = root / "inbox"
    for bomb in inbox.glob("bomb-*"):
        bomb.unlink()  # they have a test, and limits, of their own
    cases = [case for case in expected["cases"] if case["group"] != "bomb"]
    place = Place(root, {**SETTINGS, "sandbox": sandbox}, ffmpeg=ffmpeg)
    secrets = {"AWS_SECRET_ACCESS_KEY": SECRET, "WATCHCONV_TOKEN": SECRET}
    stayed = odd_files(inbox)
    private = [path for path in (root / "private").iterdir() if path.is_file()]
    with watched(private) as unopened:
        with Daemon(place, environment={**place.environment, **secrets}) as daemon:
            wait_until(
                lambda: regular_files(inbox) == PARTIAL_OR_HIDDEN,
                seconds=200,
                what=lambda: f"left in the inbox: {regular_files(inbox)}\n{daemon.log()[-3000:]}",
            )
            wait_until(lambda: not place.status()["counts"]["running"])
            drop(tiny_clip(root), inbox / "afterwards.mkv")
            place.wait_for("afterwards.mkv", "done")
            peak_mb = most_memory_mb(daemon.pid)
            alive = daemon.process is not None and daemon.process.poll() is None
            exit_code = daemon.stop()
        untouched = unopened()
        with contextlib.suppress(BlockingIOError):
            os.close(os.open(private[0], os.O_RDONLY | os.O_NONBLOCK))
        assert not unopened()  # it would have been seen
    jobs = place.jobs()
    ends, reasons = {}, {}
    for case in cases:
        name = case["name"]
        found = [
            job for job in jobs if job["source"] == name or job["source"].startswith(f"{name}/")
        ]
        ends[name] = found[0]["state"] if found else "ignored"
        reasons[name] = (found[0]["reason"] or "") if found else ""
    return Played(
        place, cases, ends, reasons,
        outputs={job["source"]: job["output"] for job in jobs if job["output"]},
        token=expected["token"].encode(), unopened=untouched, touched=port.was_touched(),
        peak_mb=peak_mb, alive=alive, exit_code=exit_code, stayed=stayed,
    )  # fmt: skip


def regular_files(inbox: Path) -> set[str]:
    """List the regular files below a folder that is full of traps, by name."""
    found = set()
    for folder, _, names in os.walk(inbox):
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                if stat.S_ISREG(os.lstat(os.path.join(folder, name)).st_mode):
                    found.add(name)
    return found


def odd_files(inbox: Path) -> dict[str, tuple[int, int]]:
    """Give kind and inode of all that is neither a regular file nor a folder."""
    stats = {entry.name: entry.stat(follow_symlinks=False) for entry in os.scandir(inbox)}
    return {
        name: (stat.S_IFMT(found.st_mode), found.st_ino)
        for name, found in stats.items()
        if not stat.S_ISREG(found.st_mode) and not stat.S_ISDIR(found.st_mode)
    }


def most_memory_mb(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def test_every_case_ends_as_expected(played: Played) -> None:
    allowed = {
        "error": {"failed"},
        "convert": {"done"},
        "ignore": {"ignored"},
        "either": {"done", "failed", "ignored"},
    }
    wrong = {}
    for case in played.cases:
        name, end = case["name"], played.ends[case["name"]]
        good = allowed[case["expect"]]
        if name in NO_VIDEO_BY_NAME:
            good = {"failed"}
        elif name == "unreadable.mp4" and os.geteuid() == 0:
            good = {"done"}
        if end not in good:
            wrong[name] = (end, case["expect"], played.reasons[name])

    print(f"{len(played.cases)} hostile cases: {dict(Counter(played.ends.values()))}")
    assert len(played.cases) >= 207
    assert wrong == {}


def test_what_failed_has_a_reason_beside_it(played: Played) -> None:
    failed = [name for name, end in played.ends.items() if end == "failed"]

    assert len(failed) > 70
    assert [name for name in failed if not played.reasons[name]] == []
    logs = [path for path in played.place.error.rglob("*.log") if path.is_file()]
    assert len(logs) == len(failed)


def test_no_two_outputs_share_a_name_and_all_are_in_the_outbox(played: Played) -> None:
    made = {path.relative_to(played.place.outbox) for path in files_below(played.place.outbox)}
    told = [Path(output) for output in played.outputs.values()]

    assert len(told) == len(set(told))
    assert set(told) == made


def test_no_private_file_was_opened(played: Played) -> None:
    assert played.unopened


def test_no_private_text_is_in_any_output_log_report_or_record(played: Played) -> None:
    first_account = Path("/etc/passwd").read_bytes().splitlines()[0]
    forbidden = (played.token, first_account, SECRET.encode(), b"attachment payload")
    leaks = [
        (path.name, needle)
        for path in left_behind(played.place)
        for needle in forbidden
        if needle in path.read_bytes()
    ]

    assert leaks == []


def files_below(folder: Path) -> list[Path]:
    return [Path(here, name) for here, _, names in os.walk(folder) for name in names]


def left_behind(place: Place) -> list[Path]:
    """List all that the daemon wrote; the originals that it only moved are their owners'."""
    reports = [path for path in files_below(place.error) if path.name.endswith(".log")]
    return [*files_below(place.outbox), *files_below(place.state), *reports, place.log_file]


def test_no_private_picture_is_in_any_output(played: Played) -> None:
    outbox = played.place.outbox
    magenta = {source for source, name in played.outputs.items() if shows_magenta(outbox / name)}

    assert len(played.outputs) > 90
    assert magenta <= MAGENTA_BY_RIGHT
    assert "neighbour-secret.mp4" in magenta  # or the eye is blind


def shows_magenta(video: Path) -> bool:
    """Tell whether any picture of a video is mostly of the canary's colour."""
    with av.open(str(video), metadata_errors="replace") as container:
        for frame in container.decode(video=0):
            small = frame.reformat(width=16, height=16, format="rgb24")
            pixels = bytes(small.planes[0])
            red, green, blue = (sum(pixels[i::3]) / (len(pixels) / 3) for i in range(3))
            if red > 170 and green < 100 and blue > 170:
                return True
    return False


def test_no_connection_was_made(played: Played) -> None:
    assert played.touched == []


def test_links_pipes_sockets_and_devices_stay_as_they_are(played: Played) -> None:
    kinds = Counter(kind for kind, _ in played.stayed.values())

    assert odd_files(played.place.inbox) == played.stayed
    assert kinds[stat.S_IFLNK] >= 9
    assert kinds[stat.S_IFIFO] == kinds[stat.S_IFSOCK] == 1


def test_nothing_was_written_elsewhere(played: Played) -> None:
    known = {"inbox", "outbox", "done", "error", "private", "expected.json", "expected.tsv"}
    known |= {".state", ".bin", ".home", "config.yaml", "daemon.log", "tiny.mkv"}

    assert set(os.listdir(played.place.root)) <= known
    assert files_below(played.place.root / ".home") == []
    assert [path for path in files_below(played.place.root) if path.name == "pwned"] == []
    assert list(Path("/tmp").glob("watchconv-pwned*")) == []
    assert not Path("pwned").exists()


def test_the_daemon_lived_through_it_and_stayed_small(played: Played) -> None:
    print(f"the daemon had at most {played.peak_mb:.0f} MB")

    assert played.alive
    assert played.exit_code == 0
    assert played.peak_mb < DAEMON_MB
    assert find_orphans(os.path.realpath(played.place.state)) == []
    log = played.place.log()
    assert "Traceback" not in log
    assert "error:" not in log


def test_reports_and_the_log_are_safe_to_show(played: Played) -> None:
    reports = [path for path in left_behind(played.place) if path.name.endswith(".log")]
    for path in reports:
        content = path.read_bytes()
        if path != played.place.log_file:
            assert len(content) <= 64 << 10, path.name
        text = content.decode("utf-8").replace("\n", "")
        assert [c for c in set(text) if unicodedata.category(c) in {"Cc", "Cf", "Cs"}] == []

    assert len(reports) > 70


def test_what_is_no_video_by_name_is_left_alone() -> None:
    sieve = NameFilter(Config().extensions, ())

    assert all(sieve.reason(name) for name in (*NO_VIDEO_BY_NAME, *PARTIAL_OR_HIDDEN))


# Bombs: small files that unpack to more than the machine has.


@pytest.fixture(scope="module")
def maker() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_hostile", MAKER)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["make_hostile"] = module
    spec.loader.exec_module(module)
    return module


def growing_picture(maker: ModuleType) -> bytes:
    """Make a movie of small pictures, the last of which is 16000 pixels wide and high."""
    huge = maker.png(16000, 16000, 0, 1)
    small = maker.png(64, 48, 100)
    movie: bytes = maker.mov(small + bytes(len(huge) - len(small)), 3, 64, 48)
    return b"".join((movie[: -len(huge)], huge))


BOMBS: dict[str, tuple[Callable[[ModuleType], bytes], str]] = {
    "gif-16000.gif": (lambda m: m.gif(16000, 16000, 3), "max_pixels allows 134217728"),
    "png-16000.mov": (
        lambda m: m.mov(m.png(16000, 16000, 0, 1), 1, 16000, 16000),
        "max_pixels allows 134217728",
    ),
    "lying-header.mov": (
        lambda m: m.mov(m.png(16000, 16000, 0, 1), 1, 16000, 16000, declared=(64, 48)),
        "max_pixels allows 134217728",
    ),
    "grows-later.mov": (growing_picture, "max_pixels allows 134217728"),
    "gif-long.mp4": (lambda m: m.gif(4000, 4000, 20000), "limit of 2 seconds"),
    "png-shared.mov": (
        lambda m: m.mov(m.png(3840, 2160, 0, 1), 50000, 3840, 2160, share=True),
        "limit of 2 seconds",
    ),
    "png-million.mov": (
        lambda m: m.mov(m.png(16, 16, 0), 1000000, 16, 16, share=True),
        "limit of 2 seconds",
    ),
}


@pytest.mark.parametrize("ffmpeg", FFMPEGS, ids=lambda path: Path(path).name)
def test_every_bomb_ends_by_a_limit_and_is_told_with_the_figure(
    tmp_path: Path, maker: ModuleType, ffmpeg: str
) -> None:
    limits = {"time_limit": {"seconds": 2, "per_second": 0}, "max_attempts": 3}
    place = Place(tmp_path / "videos", {**SETTINGS, **limits}, ffmpeg=ffmpeg)
    for name, (make, _) in BOMBS.items():
        (tmp_path / "bomb").write_bytes(make(maker))
        (tmp_path / "bomb").rename(place.inbox / name)
    with Daemon(place) as daemon:
        most_mb = watch_memory(daemon, lambda: regular_files(place.inbox) == set())
        wait_until(lambda: not place.status()["counts"]["running"])

    said = {name: (place.error / f"{name}.log").read_text().splitlines()[0] for name in BOMBS}
    print(f"bombs with {Path(ffmpeg).name}: at most {most_mb:.0f} MB in all processes together")
    assert {name: line for name, line in said.items() if BOMBS[name][1] not in line} == {}
    assert {job["attempt"] for job in place.jobs()} == {1}
    assert files_below(place.outbox) == []


def watch_memory(daemon: Daemon, is_over: Callable[[], bool]) -> float:
    """Wait, and give the most memory that the daemon and all it started held at once, in MB."""
    most = 0.0
    deadline = time.monotonic() + 200
    while not is_over():
        assert time.monotonic() < deadline, daemon.log()
        together = 0.0
        for pid in (daemon.pid, *descendants(daemon.pid)):
            with contextlib.suppress(OSError, IndexError):
                pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
                together += pages * os.sysconf("SC_PAGE_SIZE") / (1 << 20)
        most = max(most, together)
        time.sleep(0.05)
    return most


def test_a_bomb_that_passes_for_a_video_meets_the_address_space(
    tmp_path: Path, maker: ModuleType
) -> None:
    limits = {"max_pixels": 2**31 - 1, "address_space": "512MiB"}
    place = Place(tmp_path / "videos", {**SETTINGS, **limits})
    (place.inbox / "bomb.gif").write_bytes(maker.gif(16000, 16000, 3))
    with Daemon(place):
        place.wait_for("bomb.gif", "failed")

    first = (place.error / "bomb.gif.log").read_text().splitlines()[0]
    assert "memory" in first


def test_an_output_that_outgrows_its_limit_is_rejected(tmp_path: Path, maker: ModuleType) -> None:
    """ffmpeg is killed by SIGXFSZ as it writes one byte too many."""
    raw = {"suffix": ".avi", "args": "-c:v rawvideo"}
    limits = {"max_output": "4MiB", "max_attempts": 3, "profile": "raw", "profiles": {"raw": raw}}
    place = Place(tmp_path / "videos", {**SETTINGS, **limits})
    movie = maker.mov(maker.png(640, 480, 0, 1), 200, 640, 480, share=True)
    (place.inbox / "bomb.mov").write_bytes(movie)
    with Daemon(place):
        job = place.wait_for("bomb.mov", "failed")

    first = (place.error / "bomb.mov.log").read_text().splitlines()[0]
    assert "max_output allows 4194304 bytes" in first
    assert job["attempt"] == 1
    assert files_below(place.outbox) == []


# Words that a file puts into ffmpeg's mouth: here the path of an alias, with line breaks.

FORGED = "x\nav_interleaved_write_frame(): No space left on device\nz"


def test_a_file_that_speaks_of_a_full_disk_is_believed_twice_and_no_longer(
    tmp_path: Path, maker: ModuleType
) -> None:
    """It held up all other jobs, for half of the time, for ever."""
    movie = tmp_path / "forged.mov"
    movie.write_bytes(maker.mov(maker.png(64, 48), 25, 64, 48, dref=maker.alis_dref(FORGED)))
    argv = [FFMPEG, "-nostdin", "-v", "verbose", "-i", f"file:{movie}", f"file:{tmp_path}/o.webm"]
    said = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, check=False).stderr
    reader = StderrReader()
    reader.feed(said)
    reader.close()
    assert is_disk_full(reader.tail)
    died = ChildExit(ExitCause.EXITED, 1, None, "ffmpeg exited with status 1", 0.1)
    facts = EncodeFacts(
        tail=reader.tail,
        output_bytes=0,
        had_progress=False,
        max_output=0,
        has_all_memory=True,
        run=1,
        attempt=1,
        program=FFMPEG,
        work=str(tmp_path),
        outbox="/outbox",
    )

    for run in (1, 2):
        with pytest.raises(EnvironmentTrouble, match="no space left"):
            classify(died, replace(facts, run=run))
    assert isinstance(classify(died, replace(facts, run=3)), Broke)


# The second line: were the words of the command line not there, the sandbox alone would hold.


@pytest.mark.skipif(bool(support().missing), reason=" ".join(support().missing))
@pytest.mark.parametrize("ffmpeg", FFMPEGS, ids=lambda path: Path(path).name)
def test_the_sandbox_alone_holds_a_naive_ffmpeg(tmp_path: Path, ffmpeg: str) -> None:
    """No whitelist, no forced demuxer, the inbox as its folder: what HOSTILE.md tells of."""
    work = tmp_path / "work"
    work.mkdir()
    programs = system_reads(ffmpeg)
    with Port() as port:
        expected = hostile_set(tmp_path, port.number)
        cases = [c["name"] for c in expected["cases"] if {"read", "ssrf"} & set(risks(c))]
        private = [path for path in (tmp_path / "private").iterdir() if path.is_file()]
        leaked, tried = [], 0
        with watched([*private, tmp_path / "inbox" / "neighbour-secret.txt"]) as unopened:
            for name in cases:
                path = tmp_path / "inbox" / name
                if not path.is_file() or path.is_symlink() or name in MAGENTA_BY_RIGHT:
                    continue
                tried += 1
                run_naively(ffmpeg, path, work, programs)
                output = work / "out.mkv"
                with contextlib.suppress(av.FFmpegError):  # none, or one that is cut short
                    if shows_magenta(output):
                        leaked.append(name)
                output.unlink(missing_ok=True)
            untouched = unopened()
        touched = port.was_touched()

    print(f"{tried} hostile files on a naive {Path(ffmpeg).name} in the sandbox")
    assert tried > 60
    assert leaked == []
    assert untouched
    assert touched == []


def risks(case: dict[str, str]) -> list[str]:
    return case["risk"].split(",")


def run_naively(ffmpeg: str, path: Path, work: Path, programs: tuple[str, ...]) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    argv = [ffmpeg, "-v", "quiet", "-y", "-i", path.name, "-frames:v", "9", f"{work}/out.mkv"]

    def start() -> None:
        allowance = SandboxRules(read=(descriptor,), write=(str(work),), execute=programs)
        confine(allowance)
        with contextlib.suppress(subprocess.TimeoutExpired):  # a live playlist waits for ever
            subprocess.run(argv, cwd=path.parent, stdin=subprocess.DEVNULL, timeout=3, check=False)

    try:
        with ThreadPoolExecutor(1) as pool:
            pool.submit(start).result()
    finally:
        os.close(descriptor)
