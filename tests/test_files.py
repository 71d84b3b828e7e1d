"""The durable file steps on real files and real devices: nothing replaced, nothing torn or lost."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import shutil
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.places import copy, is_copy, make_folder, move, own, publish_text
from watchconv.deliver import move as moving
from watchconv.deliver.move import Expected
from watchconv.deliver.ownership import Ownership
from watchconv.host import files

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CONTENT = bytes(range(256)) * 64
OTHER = b"a stranger's"
PLAIN = Ownership()
PLACES = ("/dev/shm", "/var/tmp", "~", "/tmp")
IS_ROOT = os.geteuid() == 0


class Killed(BaseException):
    """The process ends here: nothing catches it."""


def on_another_device(path: Path) -> Path | None:
    """Make a folder on a file system that is not the one of path."""
    for place in map(os.path.expanduser, PLACES):
        try:
            if os.stat(place).st_dev != path.stat().st_dev:
                return Path(tempfile.mkdtemp(prefix="watchconv-test-", dir=place))
        except OSError:
            continue
    return None


@pytest.fixture
def near(tmp_path: Path) -> Path:
    (tmp_path / "near").mkdir()
    return tmp_path / "near"


@pytest.fixture
def far(tmp_path: Path) -> Iterator[Path]:
    """Give a folder on another device."""
    found = on_another_device(tmp_path)
    if found is None:
        pytest.skip(f"no second writable file system among {', '.join(PLACES)}")
    yield found
    shutil.rmtree(found)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source"
    path.write_bytes(CONTENT)
    os.utime(path, ns=(10**18, 10**18 + 123_456_789))
    return path


class Libc:
    """The C library with another answer for renameat2."""

    def __init__(self, code: int) -> None:
        self.code = code

    def renameat2(self, *_: object) -> int:
        ctypes.set_errno(self.code)
        return -1


def without_no_replace(patch: pytest.MonkeyPatch, code: int = errno.EINVAL) -> None:
    """Act as a file system that knows no RENAME_NOREPLACE."""
    patch.setattr(moving, "_libc", Libc(code))


def without_links(patch: pytest.MonkeyPatch, code: int = errno.EPERM) -> None:
    """Act as a kernel or file system that refuses hard links."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    patch.setattr(os, "link", refuse)


def prepare(how: str, patch: pytest.MonkeyPatch) -> None:
    if how != "renameat2":
        without_no_replace(patch)
    if how == "reservation":
        without_links(patch)


WAYS = pytest.mark.parametrize("how", ["renameat2", "link", "reservation"])


def whole(name: str, folder: int) -> str:
    """Return the path of a name in an open folder."""
    return os.path.join(os.readlink(f"/proc/self/fd/{folder}"), name)


def names(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


# moving


@WAYS
def test_a_move_leaves_the_very_file_under_its_new_name_only(
    near: Path, source: Path, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare(how, monkeypatch)
    before = source.stat()
    move(source, near / "a")
    after = (near / "a").stat()

    assert (before.st_ino, before.st_mtime_ns, before.st_mode, 1) == (
        after.st_ino,
        after.st_mtime_ns,
        after.st_mode,
        after.st_nlink,
    )
    assert not source.exists()
    assert names(near) == ["a"]


def put_file(path: Path) -> None:
    path.write_bytes(OTHER)


def put_folder(path: Path) -> None:
    path.mkdir()


def put_dangling_link(path: Path) -> None:
    path.symlink_to("nowhere")


def put_empty_file(path: Path) -> None:
    path.touch()


@WAYS
@pytest.mark.parametrize("put", [put_file, put_empty_file, put_folder, put_dangling_link])
def test_a_move_never_replaces_what_has_the_name(
    near: Path,
    source: Path,
    how: str,
    put: Callable[[Path], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    prepare(how, monkeypatch)
    put(near / "a")
    before = (near / "a").lstat()
    with pytest.raises(FileExistsError):
        move(source, near / "a")

    assert os.path.samestat(before, (near / "a").lstat())
    assert (before.st_size, before.st_mtime_ns) == (
        (near / "a").lstat().st_size,
        (near / "a").lstat().st_mtime_ns,
    )
    assert source.read_bytes() == CONTENT
    assert names(near) == ["a"]


@pytest.mark.parametrize("put", [put_file, put_empty_file, put_folder, put_dangling_link])
def test_a_move_to_another_device_never_replaces_what_has_the_name(
    far: Path, source: Path, put: Callable[[Path], None]
) -> None:
    put(far / "a")
    before = (far / "a").lstat()
    with pytest.raises(FileExistsError):
        move(source, far / "a")

    assert os.path.samestat(before, (far / "a").lstat())
    assert source.read_bytes() == CONTENT


@WAYS
def test_of_two_moves_to_one_name_at_once_one_wins_and_none_is_lost(
    near: Path, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare(how, monkeypatch)
    for round_ in range(20):
        target = near / f"{round_}"
        sources = [near / f"{round_}.{n}" for n in range(4)]
        start = threading.Barrier(len(sources))
        won: list[Path] = []

        def contend(path: Path, start: threading.Barrier, target: Path, won: list[Path]) -> None:
            start.wait(30)
            try:
                move(path, target, job_id=int(path.suffix[1:]))
            except FileExistsError:
                return
            won.append(path)

        for path in sources:
            path.write_text(path.name)
        threads = [
            threading.Thread(target=contend, args=(path, start, target, won)) for path in sources
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)

        assert len(won) == 1
        assert target.read_text() == won[0].name
        assert [path for path in sources if path.exists()] == [p for p in sources if p not in won]


def test_a_move_to_another_device_carries_content_mode_and_times(far: Path, source: Path) -> None:
    source.chmod(0o640)
    before = source.stat()
    move(source, far / "a")
    after = (far / "a").stat()

    assert (far / "a").read_bytes() == CONTENT
    assert (before.st_mode, before.st_mtime_ns) == (after.st_mode, after.st_mtime_ns)
    assert not source.exists()
    assert names(far) == ["a"]


def test_what_people_noted_on_a_file_goes_along_to_another_device(
    far: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    noted: dict[str, bytes] = {}
    monkeypatch.setattr(os, "listxattr", lambda _: ["security.capability", "user.note"])
    monkeypatch.setattr(os, "getxattr", lambda _, name: name.encode())
    monkeypatch.setattr(os, "setxattr", lambda _, name, value: noted.update({name: value}))
    move(source, far / "a")

    assert noted == {"user.note": b"user.note"}


def test_a_file_that_only_looks_like_the_copy_of_before_is_no_copy(
    near: Path, source: Path
) -> None:
    """It is looked at anew each time, not remembered by size and time."""
    copy(source, near / "a")
    before = source.stat()
    assert is_copy(near / "a", source, before)
    (near / "a").write_bytes(CONTENT[::-1])
    os.utime(near / "a", ns=(before.st_atime_ns, before.st_mtime_ns))

    assert not is_copy(near / "a", source, before)


@WAYS
def test_another_file_than_the_one_that_is_meant_goes_back(
    near: Path, source: Path, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare(how, monkeypatch)
    with pytest.raises(OSError, match="another file was put in its place"):
        move(source, near / "a", ours=False, expected=Expected(0, 0))

    assert source.read_bytes() == CONTENT
    assert names(near) == []


def test_a_name_is_given_back_where_the_file_system_keeps_no_modes(
    near: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare("reservation", monkeypatch)
    monkeypatch.setattr(moving, "is_reservation", lambda _: False)

    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "rename", fail)
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        move(source, near / "a")

    assert names(near) == []


def test_an_empty_file_moves_to_another_device(far: Path, source: Path) -> None:
    source.write_bytes(b"")
    move(source, far / "a")

    assert (far / "a").read_bytes() == b""
    assert not source.exists()


def test_a_name_of_any_bytes_moves(near: Path, source: Path) -> None:
    target = near / os.fsdecode(b"\xff -i\n%03d concat:'\"" + b"x" * 200)
    move(source, target)

    assert target.read_bytes() == CONTENT


@pytest.mark.parametrize("code", [errno.EACCES, errno.EIO, errno.ENOSPC, errno.EROFS])
def test_an_error_of_the_kernel_is_handed_on_and_the_source_stays(
    near: Path, source: Path, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_no_replace(monkeypatch, code)
    with pytest.raises(OSError, match=r"source.*a'") as caught:
        move(source, near / "a")

    assert caught.value.errno == code
    assert source.read_bytes() == CONTENT
    assert names(near) == []


@pytest.mark.parametrize("missing", ["source", "folder"])
def test_what_is_not_there_is_said_and_nothing_is_made(
    near: Path, source: Path, missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare("reservation", monkeypatch)
    target = near / "gone" / "a" if missing == "folder" else near / "a"
    if missing == "source":
        source.unlink()
    with pytest.raises(FileNotFoundError):
        move(source, target)

    assert names(near) == []


def test_a_link_that_an_earlier_try_made_is_taken_as_done(
    near: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_no_replace(monkeypatch)
    os.link(source, near / "a")
    move(source, near / "a")

    assert (near / "a").read_bytes() == CONTENT
    assert not source.exists()


def test_what_is_not_of_our_making_is_never_linked(
    near: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_no_replace(monkeypatch)
    monkeypatch.setattr(os, "link", pytest.fail)
    move(source, near / "a", ours=False)

    assert (near / "a").read_bytes() == CONTENT
    assert not source.exists()


def test_without_no_replace_a_copy_that_a_crash_left_is_taken_as_made(
    far: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There the name is taken before the kernel can say that the devices differ."""
    without_no_replace(monkeypatch)
    copy(source, far / "a")
    move(source, far / "a", ours=False)

    assert (far / "a").read_bytes() == CONTENT
    assert not source.exists()


def test_without_no_replace_what_was_dropped_twice_is_kept_twice(
    near: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_no_replace(monkeypatch)
    (near / "a").write_bytes(CONTENT)
    with pytest.raises(FileExistsError):
        move(source, near / "a", ours=False)

    assert source.read_bytes() == CONTENT


def test_a_name_that_an_earlier_try_reserved_is_used_by_a_copy_too(
    far: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reservation could not be taken back when the devices turned out to differ."""
    without_no_replace(monkeypatch)
    unlink = os.unlink

    def refuse(path: str, *, dir_fd: int) -> None:
        if whole(path, dir_fd) == str(far / "a"):
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), path)
        unlink(path, dir_fd=dir_fd)

    monkeypatch.setattr(os, "unlink", refuse)
    move(source, far / "a", ours=False)

    assert (far / "a").read_bytes() == CONTENT
    assert not source.exists()


# a file system whose answer comes after the deed: a server that was slow to say so


def test_a_rename_that_fails_after_its_effect_loses_nothing(
    near: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare("reservation", monkeypatch)
    rename = os.rename

    def late(old: str, new: str, **folders: int) -> None:
        rename(old, new, **folders)
        raise OSError(errno.EIO, os.strerror(errno.EIO), old)

    monkeypatch.setattr(os, "rename", late)
    with pytest.raises(OSError, match="Input/output error"):
        move(source, near / "a")

    assert [p.read_bytes() for p in (source, near / "a") if p.exists()] == [CONTENT]


def test_a_link_that_fails_after_its_effect_is_no_reason_for_a_second_name(
    near: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_no_replace(monkeypatch)
    link = os.link

    def late(old: str, new: str, **options: Any) -> None:
        link(old, new, **options)
        raise OSError(errno.EIO, os.strerror(errno.EIO), old)

    monkeypatch.setattr(os, "link", late)
    with pytest.raises(OSError, match="Input/output error"):
        move(source, near / "a")
    monkeypatch.setattr(os, "link", link)
    move(source, near / "a")

    assert (near / "a").read_bytes() == CONTENT
    assert not source.exists()
    assert names(near) == ["a"]


def test_a_reservation_that_a_crash_left_is_taken_up_again(
    near: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare("reservation", monkeypatch)

    def die(*_: object, **__: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", die)
        with pytest.raises(Killed):
            move(source, near / "a")
    move(source, near / "a")

    assert (near / "a").read_bytes() == CONTENT
    assert names(near) == ["a"]


# across devices, interrupted


COPY_STEPS = ("sendfile", "ftruncate", "fsync", "unlink")


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("step", COPY_STEPS)
def test_a_copy_that_is_cut_short_is_made_whole_by_the_next_try(
    far: Path, source: Path, step: str, after: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(moving, "_COPY_BYTES", 4096)
    real = getattr(os, step)

    def die(*arguments: Any, **options: int) -> object:
        if step == "unlink" and whole(arguments[0], options["dir_fd"]) != str(source):
            return real(*arguments, **options)
        if after:
            real(*arguments, **options)
        raise Killed

    target = far / "a"
    with monkeypatch.context() as patch:
        patch.setattr(os, step, die)
        with pytest.raises(Killed):
            move(source, target)
    torn = [p.name for p in far.iterdir() if p.name == "a" and p.read_bytes() != CONTENT]
    kept = source.exists() or target.exists()
    if source.exists():
        move(source, target)

    assert (torn, kept) == ([], True)
    assert target.read_bytes() == CONTENT
    assert names(far) == ["a"]
    assert not source.exists()


def test_a_copy_is_known_again_where_the_target_keeps_coarse_times(
    far: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A share over SMB keeps 100 ns, exFAT 10 ms, FAT 2 s."""
    utime, unlink = os.utime, os.unlink
    grain = 2 * 10**9

    def coarse(path: int | str, *, ns: tuple[int, int]) -> None:
        utime(path, ns=(ns[0] // grain * grain, ns[1] // grain * grain))

    def die(path: str, *, dir_fd: int) -> None:
        if whole(path, dir_fd) == str(source):
            raise Killed
        unlink(path, dir_fd=dir_fd)

    monkeypatch.setattr(os, "utime", coarse)
    with monkeypatch.context() as patch:
        patch.setattr(os, "unlink", die)
        with pytest.raises(Killed):
            move(source, far / "a")
    move(source, far / "a")

    assert (far / "a").read_bytes() == CONTENT
    assert (far / "a").stat().st_mtime_ns % grain == 0
    assert not source.exists()


def test_a_strangers_file_of_the_same_size_and_time_is_not_taken_for_the_copy(
    far: Path, source: Path
) -> None:
    stranger = bytes(len(CONTENT))
    (far / "a").write_bytes(stranger)
    stat = source.stat()
    os.utime(far / "a", ns=(stat.st_atime_ns, stat.st_mtime_ns))
    with pytest.raises(FileExistsError):
        move(source, far / "a")

    assert (far / "a").read_bytes() == stranger
    assert source.read_bytes() == CONTENT


def test_a_source_that_changes_while_it_is_copied_is_kept_and_its_copy_never_shown(
    far: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sendfile = os.sendfile
    monkeypatch.setattr(moving, "_COPY_BYTES", 4096)

    def meanwhile(out: int, into: int, at: int, count: int) -> int:
        if at:
            with source.open("r+b") as writer:
                writer.seek(8192)
                writer.write(b"changed")
        return sendfile(out, into, at, count)

    monkeypatch.setattr(os, "sendfile", meanwhile)
    with pytest.raises(OSError, match="changed while it was copied"):
        move(source, far / "a")

    assert b"changed" in source.read_bytes()
    assert not (far / "a").exists()


def test_a_source_that_is_cut_while_it_is_copied_ends_the_copy(
    far: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sendfile = os.sendfile
    monkeypatch.setattr(moving, "_COPY_BYTES", 4096)

    def meanwhile(out: int, into: int, at: int, count: int) -> int:
        os.truncate(source, 4096)
        return sendfile(out, into, at, count)

    monkeypatch.setattr(os, "sendfile", meanwhile)
    with pytest.raises(OSError, match="changed while it was copied"):
        move(source, far / "a")

    assert source.read_bytes() == CONTENT[:4096]
    assert not (far / "a").exists()


# copying


def test_holes_stay_holes(tmp_path: Path, source: Path) -> None:
    with source.open("wb") as writer:
        writer.seek(64 << 20)
        writer.write(CONTENT)
        writer.truncate(1 << 30)
    copy(source, tmp_path / "copy")
    copied = (tmp_path / "copy").stat()
    with (tmp_path / "copy").open("rb") as reader:
        assert reader.read(4096) == bytes(4096)
        reader.seek(64 << 20)
        assert reader.read(len(CONTENT)) == CONTENT

    assert copied.st_size == 1 << 30
    assert copied.st_blocks * 512 < 1 << 20


@pytest.mark.parametrize("size", [0, 1, 4095, 4096, 4097, 3 * 4096])
def test_a_copy_of_any_size_is_the_same(
    tmp_path: Path, source: Path, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(moving, "_COPY_BYTES", 4096)
    source.write_bytes(CONTENT[:size])
    copy(source, tmp_path / "copy")

    assert (tmp_path / "copy").read_bytes() == CONTENT[:size]


def test_a_copy_replaces_a_longer_torn_one(tmp_path: Path, source: Path) -> None:
    (tmp_path / "copy").write_bytes(CONTENT * 3)
    copy(source, tmp_path / "copy")

    assert (tmp_path / "copy").read_bytes() == CONTENT


def test_a_planted_link_in_the_place_of_the_scratch_is_not_followed(
    tmp_path: Path, source: Path
) -> None:
    (tmp_path / "private").write_bytes(OTHER)
    (tmp_path / "copy").symlink_to("private")
    with contextlib.suppress(OSError):  # refusing is as good as replacing the link
        copy(source, tmp_path / "copy")

    assert (tmp_path / "private").read_bytes() == OTHER


def test_a_planted_hard_link_in_the_place_of_the_scratch_is_not_written_through(
    tmp_path: Path, source: Path
) -> None:
    (tmp_path / "private").write_bytes(OTHER)
    os.link(tmp_path / "private", tmp_path / "copy")
    with contextlib.suppress(OSError):
        copy(source, tmp_path / "copy")

    assert (tmp_path / "private").read_bytes() == OTHER


def test_a_planted_link_in_the_place_of_a_reports_scratch_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "private").write_bytes(OTHER)
    (tmp_path / ".watchconv-7.part").symlink_to("private")
    with contextlib.suppress(OSError):
        publish_text(tmp_path / "a.log", "text", PLAIN)

    assert (tmp_path / "private").read_bytes() == OTHER


def test_a_link_is_moved_as_a_link(near: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("source")
    move(tmp_path / "link", near / "a")

    assert os.readlink(near / "a") == "source"


def test_a_link_is_not_copied_as_what_it_points_to(far: Path, tmp_path: Path, source: Path) -> None:
    (tmp_path / "link").symlink_to(source)
    with pytest.raises(OSError, match="link"):
        move(tmp_path / "link", far / "a")

    assert not (far / "a").exists()
    assert source.read_bytes() == CONTENT


# reports


def test_a_report_is_written_whole(tmp_path: Path) -> None:
    report = tmp_path / "a.log"
    publish_text(report, "né\udcff\n", PLAIN)

    assert report.read_bytes() == "né".encode() + b"\\udcff\n"
    assert names(tmp_path) == ["a.log"]


def test_a_report_replaces_nothing(tmp_path: Path) -> None:
    report = tmp_path / "a.log"
    report.write_text("an original")
    with pytest.raises(FileExistsError):
        publish_text(report, "text", PLAIN)

    assert report.read_text() == "an original"
    assert names(tmp_path) == ["a.log"]


def test_a_report_that_cannot_be_synced_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = tmp_path / "a.log"

    def fail(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space left"):
        publish_text(report, "new", PLAIN)

    assert not report.exists()


# folders


def test_folders_are_made_below_the_root_and_never_the_root(tmp_path: Path) -> None:
    made = make_folder(tmp_path, "a/b c/d", PLAIN)
    again = make_folder(tmp_path, "a/b c/d", PLAIN)

    assert made == again == str(tmp_path / "a/b c/d")
    assert (tmp_path / "a/b c/d").is_dir()
    assert make_folder(tmp_path, "", PLAIN) == str(tmp_path)
    with pytest.raises(FileNotFoundError):
        make_folder(tmp_path / "unmounted", "a", PLAIN)


def test_a_folder_that_another_delivery_makes_meanwhile_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mkdir = os.mkdir

    def twice(path: str, mode: int = 0o777, **options: int) -> None:
        mkdir(path, mode, **options)
        mkdir(path, mode, **options)

    monkeypatch.setattr(os, "mkdir", twice)

    assert make_folder(tmp_path, "a/b", PLAIN) == str(tmp_path / "a/b")


def test_a_file_where_a_folder_must_be_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(OTHER)
    with pytest.raises(OSError, match="a/b'"):
        make_folder(tmp_path, "a/b", PLAIN)

    assert (tmp_path / "a").read_bytes() == OTHER


# ownership


@pytest.mark.parametrize("folder_mode", [0o755, 0o700, 0o2775, 0o777])
def test_modes_are_those_of_the_folder(tmp_path: Path, folder_mode: int) -> None:
    tmp_path.chmod(folder_mode)
    (tmp_path / "file").touch(0o600)
    own(tmp_path / "file", PLAIN)
    made = Path(make_folder(tmp_path, "folder", PLAIN))

    assert oct((tmp_path / "file").stat().st_mode & 0o7777) == oct(folder_mode & 0o666)
    assert oct(made.stat().st_mode & 0o7777) == oct(folder_mode & 0o2777)


def test_modes_that_are_asked_for_win_over_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        made = Path(make_folder(tmp_path, "a/b", Ownership(mode=0o664, folder_mode=0o2775)))
        (made / "file").touch()
        own(made / "file", Ownership(mode=0o664, folder_mode=0o2775))
    finally:
        os.umask(before)

    assert [oct(p.stat().st_mode & 0o7777) for p in (made.parent, made, made / "file")] == [
        "0o2775",
        "0o2775",
        "0o664",
    ]


@pytest.mark.skipif(not IS_ROOT, reason="only root may give files away")
def test_owner_and_group_are_those_of_the_folder_or_the_ones_asked_for(tmp_path: Path) -> None:
    os.chown(tmp_path, 1234, 2345)
    for name in ("as it is", "asked"):
        (tmp_path / name).touch()
    own(tmp_path / "as it is", PLAIN)
    own(tmp_path / "asked", Ownership(user=77, group=88))
    made = Path(make_folder(tmp_path, "folder", PLAIN))

    assert [
        (p.stat().st_uid, p.stat().st_gid)
        for p in (tmp_path / "as it is", tmp_path / "asked", made)
    ] == [(1234, 2345), (77, 88), (1234, 2345)]


def test_what_may_not_be_given_away_stays_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    (tmp_path / "file").touch(0o600)
    monkeypatch.setattr(os, "chown", refuse)
    monkeypatch.setattr(os, "chmod", refuse)
    own(tmp_path / "file", Ownership(user=77, group=88, mode=0o666))

    assert oct((tmp_path / "file").stat().st_mode & 0o777) == "0o600"


# what is on disk


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """List what is synced, in order."""
    paths: list[str] = []
    fsync = os.fsync

    def note(descriptor: int) -> None:
        paths.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", note)
    return paths


@WAYS
def test_after_a_move_both_folders_are_on_disk(
    near: Path, source: Path, how: str, synced: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare(how, monkeypatch)
    move(source, near / "a")

    assert synced == [str(near), str(source.parent)]


def test_a_copy_is_on_disk_before_it_has_its_name_and_its_name_before_the_source_goes(
    far: Path, source: Path, synced: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    unlink = os.unlink

    def note(path: str, *, dir_fd: int) -> None:
        unlink(path, dir_fd=dir_fd)
        synced.append("unlink")

    monkeypatch.setattr(os, "unlink", note)
    move(source, far / "a")

    assert synced == [
        str(far / ".watchconv-7.part"),
        str(far),
        "unlink",
        str(source.parent),
    ]


def test_new_folders_are_on_disk(tmp_path: Path, synced: list[str]) -> None:
    make_folder(tmp_path, "a/b", PLAIN)

    assert synced == [str(tmp_path), str(tmp_path / "a")]


@pytest.mark.parametrize("code", [errno.EINVAL, errno.EOPNOTSUPP, errno.EBADF, errno.EROFS])
def test_a_file_system_that_cannot_sync_folders_is_left_at_that(
    tmp_path: Path, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", refuse)
    files.sync_folder(str(tmp_path))
    with pytest.raises(OSError, match=os.strerror(code)):
        publish_text(tmp_path / "a.log", "text", PLAIN)


def test_a_folder_that_fails_to_sync_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="Input/output error"):
        files.sync_folder(str(tmp_path))
