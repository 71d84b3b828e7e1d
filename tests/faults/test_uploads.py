"""Real clients upload side by side, each in its own way: each file becomes one correct output.

Correct is: it decodes, and holds as many frames as what was uploaded last under that name.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import re
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
import pytest

from tests.clips import FFMPEG
from tests.daemon import Daemon, Place
from tests.faults.clients import Smbd, Sshd, behind_fuse, run
from tests.waiting import LONG, wait_until
from watchconv.host.mounts import mount_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

pytestmark = pytest.mark.timeout(300)

ALL = os.environ.get("WATCHCONV_FAULTS") == "all"
SETTLE_SECONDS = 0.5
PAUSE_SECONDS = 30.0 if ALL else 5.0  # ten times as long as a file must be left alone
BYTES_A_SECOND = 250_000  # so a clip takes a few seconds
KILOBITS = ("-l", str(BYTES_A_SECOND * 8 // 1000))
FRAMES, OTHER_FRAMES = 120, 160
EARLY = "begun before the daemon"
WHILE = "while it is encoded: "
REPLACED = "slow"  # the profile whose encodes last as long as the clip
SETTINGS: dict[str, Any] = {
    "jobs": 6,
    "settle_seconds": SETTLE_SECONDS,
    "settle_network_seconds": 3 * SETTLE_SECONDS,
    "min_free": 0,
    "profile": "quick",
    "profiles": {
        "quick": {"suffix": ".webm", "args": "-c:v libvpx -deadline realtime -b:v 200k"},
        REPLACED: {
            "suffix": ".webm",
            "args": "-vf realtime -c:v libvpx -deadline realtime -b:v 200k",
        },
    },
}


@dataclass
class Stage:
    """What the clients have at hand."""

    place: Place
    clips: dict[str, Path]  # of FRAMES frames, by container
    others: dict[str, Path]  # of OTHER_FRAMES frames
    sshd: Sshd
    smbd: Smbd
    daemon: Daemon | None = None
    written: threading.Event = field(default_factory=threading.Event)  # before the daemon starts

    def remote(self, target: Path) -> str:
        """Name a file of the inbox as a client of Samba does."""
        return str(target.relative_to(self.place.inbox)).replace("/", "\\")

    @contextlib.contextmanager
    def encode_held(self, target: Path) -> Iterator[None]:
        """Wait until a file is read by its encode, and let that rest meanwhile."""
        pid = wait_until(lambda: self._encode_of(target), what=self.place.log)
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(pid, signal.SIGCONT)

    def _encode_of(self, target: Path) -> int:
        assert self.daemon
        for pid in self.daemon.encodes():
            with contextlib.suppress(OSError):
                words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
                has_read = int(Path(f"/proc/{pid}/io").read_text().split()[1])
                if os.fsencode(f"file:{target}") in words and has_read > 200_000:
                    return pid
        return 0


Upload = Callable[[Stage, Path, Path], object]


def halves(clip: Path) -> tuple[bytes, bytes]:
    content = clip.read_bytes()
    return content[: len(content) // 2], content[len(content) // 2 :]


def with_a_pause(clip: Path) -> Iterator[bytes]:
    first, rest = halves(clip)
    yield first
    time.sleep(PAUSE_SECONDS)
    yield rest


def break_off(command: list[str], target: Path, words: str = "") -> None:
    """Start a client, and end it when a part of its file is there."""

    def begun() -> bool:
        for path in (target, *target.parent.glob(f".{target.name}.*")):
            with contextlib.suppress(FileNotFoundError):
                if path.stat().st_size > 100_000:
                    return True
        return False

    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as client:
        assert client.stdin
        client.stdin.write(words.encode())
        client.stdin.close()
        wait_until(begun)
        assert client.poll() is None
        os.killpg(client.pid, signal.SIGTERM)


def slowly(content: bytes, count: int = 20) -> Iterator[tuple[int, bytes]]:
    """Give pieces of a file with their offsets, in a time far longer than it takes to settle."""
    size = -(-len(content) // count)
    for at in range(0, len(content), size):
        time.sleep(6 * SETTLE_SECONDS / count)
        yield at, content[at : at + size]


# Samba


def smb(share: str) -> Upload:
    def upload(stage: Stage, clip: Path, target: Path) -> None:
        stage.smbd.do(f"put {clip} {stage.remote(target)}", share)

    return upload


def smb_with_a_pause(share: str) -> Upload:
    def upload(stage: Stage, clip: Path, target: Path) -> None:
        stage.smbd.feed(stage.remote(target), with_a_pause(clip), share)

    return upload


def smb_renames(stage: Stage, clip: Path, target: Path) -> None:
    name = stage.remote(target)
    stage.smbd.do(f"put {clip} {name}.part; rename {name}.part {name}")


# OpenSSH


def scp(*options: str) -> Upload:
    def upload(stage: Stage, clip: Path, target: Path) -> None:
        stage.sshd.scp(clip, target, *options)

    return upload


def sftp(stage: Stage, clip: Path, target: Path) -> None:
    stage.sshd.sftp(f"put {clip} {target}", options=KILOBITS)


def sftp_links(stage: Stage, clip: Path, target: Path) -> None:
    """As sftp renames where the server speaks no newer word: a hard link, and unlink."""
    part = f"{target}.part"
    stage.sshd.sftp(f"put -p {clip} {part}", f"rename -l {part} {target}")


def sftp_resumes(stage: Stage, clip: Path, target: Path) -> None:
    """It is broken off in the middle, and goes on later where it was."""
    break_off(stage.sshd.sftp_command(*KILOBITS), target, f"put {clip} {target}\n")
    assert 0 < target.stat().st_size < clip.stat().st_size
    time.sleep(4 * SETTLE_SECONDS)
    stage.sshd.sftp(f"reput {clip} {target}")


# rsync


def rsync(*options: str) -> Upload:
    def upload(stage: Stage, clip: Path, target: Path) -> None:
        stage.sshd.rsync(clip, target, f"--bwlimit={BYTES_A_SECOND // 1000}", *options)

    return upload


def rsync_resumes(*options: str) -> Upload:
    """It is broken off in the middle, leaves what it has under the final name, and comes again."""

    def upload(stage: Stage, clip: Path, target: Path) -> None:
        limit = f"--bwlimit={BYTES_A_SECOND // 1000}"
        break_off(stage.sshd.rsync_command(clip, target, limit, *options), target)
        wait_until(target.exists, what="rsync keeps what it has")
        time.sleep(4 * SETTLE_SECONDS)
        stage.sshd.rsync(clip, target, *options)

    return upload


# whole folders


def folder_with(stage: Stage, clip: Path, target: Path) -> Path:
    """Make a folder of the client's own that holds the clip, as it is to lie in the inbox."""
    folder = stage.place.root / "of the client" / target.parent.name
    folder.mkdir(parents=True)
    shutil.copyfile(clip, folder / target.name)
    return folder


def smb_folder(stage: Stage, clip: Path, target: Path) -> None:
    folder = folder_with(stage, clip, target)
    stage.smbd.do(f'lcd "{folder.parent}"; recurse ON; prompt OFF; mput {folder.name}')


def scp_folder(stage: Stage, clip: Path, target: Path) -> None:
    stage.sshd.scp(folder_with(stage, clip, target), stage.place.inbox, "-r", *KILOBITS)


def sftp_folder(stage: Stage, clip: Path, target: Path) -> None:
    folder = folder_with(stage, clip, target)
    stage.sshd.sftp(f'put -R "{folder}" {target.parent}', options=KILOBITS)


def rsync_folder(*options: str) -> Upload:
    def upload(stage: Stage, clip: Path, target: Path) -> None:
        rsync("-r", *options)(stage, folder_with(stage, clip, target), stage.place.inbox)

    return upload


# programs that write where they are


def holds_it_open(stage: Stage, clip: Path, target: Path) -> None:
    with target.open("wb", buffering=0) as writer:
        for piece in with_a_pause(clip):
            writer.write(piece)


def begins_before_the_daemon(stage: Stage, clip: Path, target: Path) -> None:
    first, rest = halves(clip)
    with target.open("wb", buffering=0) as writer:
        writer.write(first)
        stage.written.set()
        wait_until(lambda: stage.place.live().get("waiting"))
        time.sleep(4 * SETTLE_SECONDS)
        writer.write(rest)


def allocates_first(stage: Stage, clip: Path, target: Path) -> None:
    content = clip.read_bytes()
    with target.open("wb", buffering=0) as writer:
        os.posix_fallocate(writer.fileno(), 0, len(content))
        for at, piece in slowly(content):
            os.pwrite(writer.fileno(), piece, at)


def fills_a_hole_from_its_end(stage: Stage, clip: Path, target: Path) -> None:
    content = clip.read_bytes()
    with target.open("wb", buffering=0) as writer:
        writer.truncate(len(content))
        for at, piece in reversed(list(slowly(content))):
            os.pwrite(writer.fileno(), piece, at)
            time.sleep(0.05)


def fills_a_map_of_a_closed_file(stage: Stage, clip: Path, target: Path) -> None:
    content = clip.read_bytes()
    with target.open("w+b", buffering=0) as writer:
        writer.truncate(len(content))
        memory = mmap.mmap(writer.fileno(), len(content))
    with memory:
        for at, piece in slowly(content):
            memory[at : at + len(piece)] = piece


def allocates_and_comes_back(stage: Stage, clip: Path, target: Path) -> None:
    first, rest = halves(clip)
    with target.open("wb") as writer:
        writer.truncate(len(first + rest))
        writer.write(first)
    time.sleep(4 * SETTLE_SECONDS)
    with target.open("r+b") as writer:
        writer.seek(len(first))
        writer.write(rest)


def comes_back_to_append(stage: Stage, clip: Path, target: Path) -> None:
    first, rest = halves(clip)
    target.write_bytes(first)
    time.sleep(4 * SETTLE_SECONDS)
    with target.open("ab") as writer:
        writer.write(rest)


# what changes while it is encoded


def appends(stage: Stage, clip: Path, target: Path) -> None:
    first, rest = halves(clip)
    target.write_bytes(first)
    with stage.encode_held(target), target.open("ab") as writer:
        writer.write(rest)


def replaced(by: Upload) -> Upload:
    def upload(stage: Stage, clip: Path, target: Path) -> None:
        move(stage, stage.others[clip.suffix], target)
        with stage.encode_held(target):
            by(stage, clip, target)

    return upload


def move(stage: Stage, clip: Path, target: Path) -> None:
    staged = target.with_name(f".{target.name}")
    shutil.copyfile(clip, staged)
    staged.rename(target)


def overwrite_with_its_size_and_time(stage: Stage, clip: Path, target: Path) -> None:
    """Leave a file that only its ctime tells from the one before."""
    before = target.stat()
    assert before.st_size == clip.stat().st_size
    with target.open("r+b") as writer:
        writer.write(clip.read_bytes())
    os.utime(target, ns=(before.st_atime_ns, before.st_mtime_ns))


# an upload's name: how it is done, and the container; .ts says nothing of its end, the others do

UPLOADS: dict[str, tuple[Upload, str]] = {
    "smb": (smb("plain"), ".ts"),
    "smb with kernel oplocks": (smb("leased"), ".ts"),
    "smb that allocates": (smb("allocated"), ".ts"),
    "smb renames": (smb_renames, ".ts"),
    "smb with a pause": (smb_with_a_pause("plain"), ".ts"),
    "smb with kernel oplocks and a pause": (smb_with_a_pause("leased"), ".ts"),
    "smb that allocates with a pause": (smb_with_a_pause("allocated"), ".ts"),
    "scp": (scp(*KILOBITS), ".ts"),
    "scp -p": (scp("-p", *KILOBITS), ".mkv"),
    "scp -O": (scp("-O", *KILOBITS), ".ts"),
    "scp -O -p": (scp("-O", "-p", *KILOBITS), ".mp4"),
    "sftp put": (sftp, ".ts"),
    "sftp put and rename by link": (sftp_links, ".ts"),
    "sftp broken off and reput": (sftp_resumes, ".mkv"),
    "rsync": (rsync(), ".ts"),
    "rsync --inplace": (rsync("--inplace"), ".ts"),
    "rsync --inplace --preallocate": (rsync("--inplace", "--preallocate"), ".ts"),
    "rsync --partial broken off and resumed": (rsync_resumes("--partial"), ".mkv"),
    "rsync --inplace broken off and resumed": (rsync_resumes("--inplace"), ".mp4"),
    "rsync --partial --append broken off": (rsync_resumes("--partial", "--append"), ".mp4"),
    "smb: a folder": (smb_folder, ".ts"),
    "scp: a folder": (scp_folder, ".ts"),
    "sftp: a folder": (sftp_folder, ".ts"),
    "rsync: a folder": (rsync_folder(), ".ts"),
    "rsync --inplace: a folder": (rsync_folder("--inplace"), ".ts"),
    "rsync --delay-updates: a folder": (rsync_folder("--delay-updates"), ".ts"),
    EARLY: (begins_before_the_daemon, ".mp4"),
    "a pause in the middle": (holds_it_open, ".ts"),
    "allocates the full size first": (allocates_first, ".ts"),
    "fills a hole from its end": (fills_a_hole_from_its_end, ".ts"),
    "fills a map of a closed file": (fills_a_map_of_a_closed_file, ".ts"),
    "allocates, closes and comes back": (allocates_and_comes_back, ".mp4"),
    "closes and comes back to append": (comes_back_to_append, ".mkv"),
}
CHANGES: dict[str, tuple[Upload, str]] = {
    "appends": (appends, ".ts"),
    "moves another over it": (replaced(move), ".ts"),
    "overwrites all but size and mtime": (replaced(overwrite_with_its_size_and_time), ".ts"),
    "rsync": (replaced(rsync()), ".ts"),
    "rsync --inplace": (replaced(rsync("--inplace", "--whole-file")), ".mkv"),
    "smb": (replaced(smb("plain")), ".mp4"),
}

EVERYBODY = UPLOADS | {f"{WHILE}{name}": how for name, how in CHANGES.items()}
# Whose files are whole when they get their name, or say themselves that they are not.
UNPROVEN = [
    EARLY,
    "smb renames",
    "scp -p",
    "scp -O -p",
    "sftp put and rename by link",
    "sftp broken off and reput",
    "rsync",
    "rsync --partial broken off and resumed",
    "rsync --inplace broken off and resumed",
    "rsync --delay-updates: a folder",
    "rsync --partial --append broken off",
    "allocates, closes and comes back",
    "closes and comes back to append",
    f"{WHILE}moves another over it",
]


def target_of(place: Place, name: str) -> Path:
    _, suffix = EVERYBODY[name]
    slug = re.sub(r"\W+", "-", name)
    folder = REPLACED if name.startswith(WHILE) else slug if name.endswith(" a folder") else ""
    return place.inbox / folder / (slug + suffix)


def make_clip(path: Path, frames: int, quality: int = 1) -> Path:
    """Make a clip of much noise: about a megabyte, which takes a client a while."""
    noise = f"testsrc=size=96x64:rate=20:duration={frames / 20},noise=alls=80:allf=t"
    coding = ("-c:v", "mpeg4", "-q:v", str(quality), "-threads", "1")
    run(FFMPEG, "-v", "error", "-f", "lavfi", "-i", noise, *coding, path)
    return path


def pad(clip: Path, size: int) -> None:
    """Make a transport stream as large as another, with packets that hold nothing."""
    missing = (size - clip.stat().st_size) // 188
    with clip.open("ab") as stream:
        stream.write((b"\x47\x1f\xff\x10".ljust(188, b"\xff")) * missing)


@contextlib.contextmanager
def uploaded(folder: Path, names: Iterable[str], disk: Path | None = None) -> Iterator[Place]:
    """Let all of these upload, side by side, until all is converted; disk: behind FUSE."""
    place = Place(folder / "videos", SETTINGS)
    suffixes = (".ts", ".mkv", ".mp4")
    clips = {suffix: make_clip(folder / f"clip{suffix}", FRAMES) for suffix in suffixes}
    others = {suffix: make_clip(folder / f"other{suffix}", OTHER_FRAMES, 4) for suffix in suffixes}
    pad(others[".ts"], clips[".ts"].stat().st_size)
    with contextlib.ExitStack() as stack:
        if disk:
            stack.enter_context(behind_fuse(place.inbox, disk))
        (place.inbox / REPLACED).mkdir()
        sshd = stack.enter_context(Sshd(folder / "ssh"))
        smbd = stack.enter_context(Smbd(folder / "smb", place.inbox))
        stage = Stage(place, clips, others, sshd, smbd)
        threads = stack.enter_context(ThreadPoolExecutor(len(EVERYBODY)))

        def begin(name: str) -> Future[object]:
            upload, suffix = EVERYBODY[name]
            return threads.submit(upload, stage, clips[suffix], target_of(place, name))

        early = [begin(EARLY)]
        assert stage.written.wait(LONG)
        stage.daemon = daemon = stack.enter_context(Daemon(place))
        for upload in early + [begin(name) for name in names if name != EARLY]:
            upload.result(LONG + 2 * PAUSE_SECONDS)
        wait_until(lambda: is_through(place), what=daemon.log)

        assert daemon.stop() == 0
        yield place


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """Everybody has uploaded."""
    with uploaded(tmp_path_factory.mktemp("uploads"), EVERYBODY) as place:
        yield place


@pytest.fixture(scope="module")
def unproven(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """Those have uploaded who need no kernel that proves who writes."""
    folder = tmp_path_factory.mktemp("unproven")
    with uploaded(folder, UNPROVEN, folder / "disk") as place:
        yield place


def is_through(place: Place) -> bool:
    """Tell whether nothing is left to do."""
    left = [path for path in place.inbox.rglob("*") if path.is_file()]
    counts = place.status()["counts"]
    return not left and not counts["queued"] + counts["running"] + counts["waiting"]


@pytest.mark.parametrize("name", EVERYBODY)
def test_an_upload_becomes_exactly_one_correct_output(place: Place, name: str) -> None:
    assert mount_of(str(place.inbox)).proves_writers
    check(place, name)


@pytest.mark.parametrize("name", UNPROVEN)
def test_an_upload_through_fuse_becomes_exactly_one_correct_output(
    unproven: Place, name: str
) -> None:
    check(unproven, name)


def check(place: Place, name: str) -> None:
    target = target_of(place, name)
    source = target.relative_to(place.inbox)
    outputs = [p for p in place.outbox.rglob(f"{target.stem}[. ]*") if ".watchconv" not in p.parts]
    originals = list(place.done.rglob(f"{target.stem}[. ]*"))
    states = sorted(job["state"] for job in place.jobs() if job["source"] == str(source))

    assert outputs == [place.outbox / source.with_suffix(".webm")]
    assert originals == [place.done / source]
    assert set(states) <= {"done", "superseded"}
    assert states.count("done") == 1
    assert frames_of(outputs[0]) == frames_of(originals[0]) == FRAMES


def frames_of(path: Path) -> int:
    with av.open(str(path)) as video:
        return sum(1 for _ in video.decode(video=0))


@pytest.mark.parametrize("name", UPLOADS)
def test_no_encode_of_an_upload_is_begun_before_its_end(place: Place, name: str) -> None:
    source = str(target_of(place, name).relative_to(place.inbox))
    jobs = [job for job in place.jobs() if job["source"] == source]

    assert [(job["state"], job["attempt"]) for job in jobs] == [("done", 1)]


@pytest.mark.parametrize("name", CHANGES)
def test_what_was_made_of_a_file_that_changed_is_dropped(place: Place, name: str) -> None:
    source = str(target_of(place, f"{WHILE}{name}").relative_to(place.inbox))
    states = {job["state"] for job in place.jobs() if job["source"] == source}

    assert states == {"done", "superseded"}


def test_nothing_else_is_left(place: Place) -> None:
    assert len(list(place.done.rglob("*.*"))) == len(EVERYBODY)
    for folder in (place.error, place.inbox, place.outbox / ".watchconv"):
        assert [path for path in folder.rglob("*") if path.is_file()] == []
