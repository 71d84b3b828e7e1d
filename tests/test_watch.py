"""The events of a real inbox: where to look, never what to do; and a watcher that comes back."""

from __future__ import annotations

import contextlib
import fcntl
import functools
import os
import resource
import shutil
import sys
import threading
from typing import TYPE_CHECKING

import pytest
from watchdog.observers.inotify_c import InotifyConstants, InotifyEvent, WatchDescriptor

from tests.waiting import wait_until
from watchconv.host.files import open_regular
from watchconv.intake.lease import writers
from watchconv.intake.watch import NAMES_PER_FOLDER, Hints, Watcher

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

FENCE = "fence.mov"


class Post:
    """A watcher of a real inbox, and all that it has said so far."""

    def __init__(self, folder: Path) -> None:
        self.inbox = folder / "inbox"
        self.inbox.mkdir()
        self.wakes: list[None] = []
        self.fences = 0
        self.trees: set[str] = set()
        self.folders: set[str] = set()
        self.names: dict[tuple[str, str], bool] = {}
        self.watcher = Watcher(str(self.inbox), self._wake)

    def _wake(self) -> None:
        self.wakes.append(None)
        with self.watcher._lock:
            self.fences += FENCE in self.watcher._hints.names.get("", {})

    def take(self) -> Post:
        """Take the hints, and add them to what is known."""
        hints = self.watcher.take()
        self.trees |= hints.trees
        self.folders |= hints.folders
        for folder, names in hints.names.items():
            for name, appeared in names.items():
                self.names[folder, name] = appeared
        return self

    def settle(self) -> None:
        """Wait until all that was done so far has been heard: events keep their order.

        The fence is moved in: that is one event, and its wake is the last.
        """
        before = self.fences
        outside = self.inbox.with_name(FENCE)
        outside.touch()
        outside.replace(self.inbox / FENCE)
        wait_until(lambda: self.fences > before)
        self.take()
        self.names.pop(("", FENCE), None)

    def knows(self, folder: str, name: str) -> bool:
        """Tell whether the hints lead to a name, in whatever way."""
        within = [folder[:n] for n, c in enumerate(folder + "/") if c == "/"]
        return (
            (folder, name) in self.names
            or folder in self.folders
            or bool(self.trees & {"", *within})
        )


@pytest.fixture
def post(tmp_path: Path) -> Iterator[Post]:
    """A watcher that watches."""
    made = Post(tmp_path.resolve())
    assert made.watcher.start() is None
    wait_until(made.watcher.alive)
    made.settle()
    made.wakes.clear()
    yield made
    made.watcher.close()


# what events hint at


def test_a_name_that_was_renamed_in_appeared(post: Post, tmp_path: Path) -> None:
    (tmp_path / "a.mov").write_bytes(b"x")
    (tmp_path / "a.mov").rename(post.inbox / "a.mov")
    post.settle()

    assert post.names == {("", "a.mov"): True}
    assert len(post.wakes) > 0


def test_a_name_that_was_renamed_within_appeared_under_its_new_name(post: Post) -> None:
    (post.inbox / "a.mov.part").write_bytes(b"x")
    post.settle()
    post.names.clear()
    (post.inbox / "a.mov.part").rename(post.inbox / "a.mov")
    post.settle()

    assert post.names == {("", "a.mov.part"): False, ("", "a.mov"): True}


def test_a_name_that_was_linked_in_appeared(post: Post, tmp_path: Path) -> None:
    (tmp_path / "a.mov").write_bytes(b"x")
    os.link(tmp_path / "a.mov", post.inbox / "a.mov")
    post.settle()

    assert post.names == {("", "a.mov"): True}


@pytest.mark.parametrize("content", [b"", b"x"])
def test_a_name_that_was_created_to_be_written_did_not_appear(post: Post, content: bytes) -> None:
    (post.inbox / "a.mov").write_bytes(content)
    post.settle()

    assert post.names == {("", "a.mov"): False}


def test_a_writers_close_is_heard(post: Post) -> None:
    with (post.inbox / "a.mov").open("wb") as file:
        file.write(b"x")
        post.settle()
        post.names.clear()
        post.wakes.clear()
    post.settle()

    assert post.names == {("", "a.mov"): False}


def test_a_deletion_is_heard(post: Post) -> None:
    (post.inbox / "a.mov").touch()
    post.settle()
    post.names.clear()
    (post.inbox / "a.mov").unlink()
    post.settle()

    assert post.names == {("", "a.mov"): False}


def test_a_file_that_is_moved_out_is_heard(post: Post, tmp_path: Path) -> None:
    (post.inbox / "a.mov").touch()
    post.settle()
    post.names.clear()
    (post.inbox / "a.mov").rename(tmp_path / "a.mov")
    post.settle()
    wait_until(lambda: ("", "a.mov") in post.take().names)  # it is held back a moment

    assert post.names == {("", "a.mov"): False}


def test_a_new_folder_is_looked_into_with_all_that_is_in_it(post: Post) -> None:
    (post.inbox / "trip/deep").mkdir(parents=True)
    (post.inbox / "trip/a.mov").write_bytes(b"x")
    (post.inbox / "trip/deep/b.mov").write_bytes(b"x")
    post.settle()
    wait_until(lambda: post.take().knows("trip/deep", "b.mov"))

    assert post.knows("trip", "a.mov")


def test_a_folder_that_was_moved_in_is_looked_into_and_watched(post: Post, tmp_path: Path) -> None:
    (tmp_path / "trip/deep").mkdir(parents=True)
    (tmp_path / "trip/deep/a.mov").write_bytes(b"x")
    (tmp_path / "trip").rename(post.inbox / "trip")
    post.settle()

    assert post.knows("trip/deep", "a.mov")

    post.trees.clear()
    post.folders.clear()
    post.names.clear()
    (post.inbox / "trip/deep/b.mov").write_bytes(b"x")
    wait_until(lambda: post.take().knows("trip/deep", "b.mov"))


def test_a_folder_that_was_renamed_is_watched_under_its_new_name(post: Post) -> None:
    (post.inbox / "trip").mkdir()
    (post.inbox / "trip/a.mov").write_bytes(b"x")
    post.settle()
    (post.inbox / "trip").rename(post.inbox / "mp4")
    post.settle()

    assert post.knows("mp4", "a.mov")
    assert "trip" in post.trees

    post.trees.clear()
    post.names.clear()
    (post.inbox / "mp4/b.mov").write_bytes(b"x")
    wait_until(lambda: post.take().knows("mp4", "b.mov"))

    assert not post.knows("trip", "b.mov")


def test_a_deleted_folder_is_heard(post: Post) -> None:
    (post.inbox / "trip").mkdir()
    post.settle()
    post.trees.clear()
    (post.inbox / "trip").rmdir()
    post.settle()

    assert "trip" in post.trees


def test_names_are_bytes(post: Post) -> None:
    strange = ["-i.mov", "line\nbreak.mov", "e\u0301.mov", os.fsdecode(b"\xff\xfe.mov")]
    (post.inbox / os.fsdecode(b"\xe9")).mkdir()
    for name in strange:
        (post.inbox / os.fsdecode(b"\xe9") / name).touch()
        (post.inbox / name).touch()
    post.settle()
    for name in strange:
        wait_until(functools.partial(lambda n: post.take().knows("\udce9", n), name))

        assert ("", name) in post.names


# what is not worth a look


FENCE_WAKES = 1


def lease(path: Path) -> None:
    descriptor = open_regular(str(path.parent), path.name)
    writers(descriptor)
    os.close(descriptor)


def lock_folder(path: Path) -> None:
    descriptor = os.open(path.parent, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    os.close(descriptor)


@pytest.mark.parametrize(
    "deed",
    [
        lambda path: path.read_bytes(),
        lambda path: path.chmod(0o600),
        lambda path: os.listdir(path.parent),
        os.utime,
        lease,
        lock_folder,
    ],
)
def test_our_own_reads_wake_nobody(post: Post, deed: Callable[[Path], object]) -> None:
    path = post.inbox / "a.mov"
    path.write_bytes(b"x")
    post.settle()
    post.names.clear()
    post.wakes.clear()
    deed(path)
    post.settle()

    assert post.names == {}
    assert len(post.wakes) == FENCE_WAKES


def test_bytes_that_arrive_wake_nobody_until_the_writer_closes(post: Post) -> None:
    with (post.inbox / "a.mov").open("wb") as file:
        post.settle()
        post.wakes.clear()
        for _ in range(50):
            file.write(b"x" * 1000)
            file.flush()
        post.settle()

        assert len(post.wakes) == FENCE_WAKES


# too many, or nobody there


def test_too_many_names_become_a_look_at_their_folder(post: Post) -> None:
    (post.inbox / "trip").mkdir()
    post.settle()
    post.trees.clear()
    for n in range(NAMES_PER_FOLDER + 10):
        (post.inbox / "trip" / f"{n}.mov").touch()
    post.settle()

    assert post.folders == {"trip"}


def test_hints_hold_no_more_than_their_limit() -> None:
    hints = Hints()
    for n in range(NAMES_PER_FOLDER):
        hints.add_name(f"trip/{n}")

    assert hints.folders == set()

    hints.add_name("trip/one more")
    hints.add_name("trip/and another", appeared=True)

    assert (hints.folders, hints.names) == ({"trip"}, {})


def test_an_appearance_is_not_forgotten_by_a_later_event() -> None:
    hints = Hints()
    hints.add_name("a", appeared=True)
    hints.add_name("a")

    assert hints.names == {"": {"a": True}}


def test_hints_are_taken_that_no_event_gave(tmp_path: Path) -> None:
    watcher = Watcher(str(tmp_path), lambda: None)
    watcher.add_hint("trip/a.mov")
    watcher.add_trees({"closed"})

    assert watcher.take() == Hints(trees={"closed"}, names={"trip": {"a.mov": False}})


def test_hints_are_taken_once(post: Post) -> None:
    (post.inbox / "a.mov").touch()
    wait_until(lambda: post.watcher.has_hints)
    post.settle()

    assert not post.watcher.has_hints
    assert not post.watcher.take()


def test_lost_events_are_told_and_what_was_made_meanwhile_is_watched(post: Post) -> None:
    events = post.watcher._events
    assert events
    (post.inbox / "trip").mkdir()
    post.settle()
    post.wakes.clear()
    events.handle_event(InotifyEvent(WatchDescriptor(-1), InotifyConstants.IN_Q_OVERFLOW, 0, b""))

    assert post.watcher.overflowed.is_set()
    assert len(post.wakes) == 1
    assert post.watcher.alive()

    (post.inbox / "trip/a.mov").touch()
    wait_until(lambda: ("trip", "a.mov") in post.take().names)


def test_a_folder_that_the_kernel_does_not_watch_is_told(
    post: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("watchdog.observers.inotify_c.InotifyFD._add_callback", refuse)
    (post.inbox / "trip").mkdir()
    wait_until(lambda: post.watcher.limited)

    assert "fs.inotify.max_user_watches" in str(post.watcher.limited)
    assert post.watcher.alive()


def test_an_inbox_that_was_made_anew_is_not_the_one_that_is_watched(post: Post) -> None:
    shutil.rmtree(post.inbox)

    assert not post.watcher.alive()

    post.inbox.mkdir()
    wait_until(lambda: not post.watcher.alive())  # it may have the inode of the one before

    assert post.watcher.start() is None
    assert post.watcher.alive()

    (post.inbox / "a.mov").touch()
    wait_until(lambda: post.take().knows("", "a.mov"))


def test_an_inbox_that_somebody_holds_open_is_missed_when_it_is_deleted(post: Post) -> None:
    """The daemon does: then the kernel reports no deletion of the folder itself."""
    held = os.open(post.inbox, os.O_RDONLY)
    for turn in range(2):
        post.wakes.clear()
        post.inbox.rmdir() if turn else shutil.rmtree(post.inbox)
        wait_until(lambda: post.wakes)
        post.wakes.clear()
        post.inbox.mkdir()
        wait_until(lambda: post.wakes)

        assert not post.watcher.alive()
        assert post.watcher.start() is None
    os.close(held)


def test_one_thread_watches(post: Post) -> None:
    before = threading.active_count()
    post.watcher.close()

    assert threading.active_count() == before - 1


def test_what_is_watched_is_counted(post: Post) -> None:
    before = post.watcher.watched
    (post.inbox / "a/b").mkdir(parents=True)
    wait_until(lambda: post.watcher.watched == before + 2)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_the_death_of_the_thread_that_reads_events_is_noticed_and_healed(
    post: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: object) -> None:
        raise RuntimeError("a bug")

    assert not post.watcher.died()

    monkeypatch.setattr("watchdog.observers.inotify_c.InotifyFD.handle_event", die)
    (post.inbox / "b.mov").touch()
    wait_until(post.watcher.died)
    monkeypatch.undo()

    assert not post.watcher.alive()
    assert post.watcher.start() is None
    assert post.watcher.alive()

    (post.inbox / "a.mov").touch()
    wait_until(lambda: post.take().knows("", "a.mov"))


def test_an_inbox_that_was_replaced_is_noticed(post: Post, tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    post.inbox.rename(tmp_path / "old")

    assert not post.watcher.alive()

    (tmp_path / "new").rename(post.inbox)

    assert not post.watcher.alive()


def test_without_an_inbox_there_are_no_events_until_it_is_there(tmp_path: Path) -> None:
    post = Post(tmp_path.resolve())
    post.inbox.rmdir()

    assert post.watcher.start() == "no events from the inbox: No such file or directory"
    assert not post.watcher.alive()

    post.inbox.mkdir()

    assert not post.watcher.alive()
    assert post.watcher.start() is None
    assert post.watcher.alive()

    post.watcher.close()


# limits, and what is left behind


def test_no_watches_left_is_a_sentence_with_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("watchdog.observers.inotify_c.InotifyFD._create_inotify_fd", refuse)
    post = Post(tmp_path.resolve())
    problem = post.watcher.start()
    post.watcher.close()

    assert problem
    assert "fs.inotify.max_user_watches" in problem
    assert not post.watcher.alive()


def test_a_watchdog_that_is_not_known_costs_the_events_and_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its private modules are used, and may be moved by any new version."""
    monkeypatch.delitem(sys.modules, "watchconv.intake.inotify", raising=False)
    monkeypatch.setitem(sys.modules, "watchdog.observers.inotify_move_event_grouper", None)
    before = resources()
    post = Post(tmp_path.resolve())
    problem = post.watcher.start()

    assert problem
    assert "pip install 'watchdog~=7.1'" in problem
    assert not post.watcher.alive()

    post.watcher.close()

    assert wait_until(lambda: resources() == before)


def resources() -> tuple[list[str], list[str]]:
    """List the threads and the open descriptors of this process."""
    fds = []
    for fd in os.listdir("/proc/self/fd"):
        try:
            fds.append(os.readlink(f"/proc/self/fd/{fd}").split(":")[0])
        except FileNotFoundError:
            continue
    return sorted(thread.name for thread in threading.enumerate()), sorted(fds)


def test_a_watcher_that_stopped_leaves_nothing_behind(tmp_path: Path) -> None:
    before = resources()
    post = Post(tmp_path.resolve())
    for _ in range(3):
        assert post.watcher.start() is None
        (post.inbox / "a.mov").touch()
        post.settle()
    post.watcher.close()
    post.watcher.close()

    assert not post.watcher.alive()
    assert wait_until(lambda: resources() == before)


def test_a_watcher_that_could_not_start_leaves_nothing_behind(tmp_path: Path) -> None:
    before = resources()
    post = Post(tmp_path.resolve())
    post.inbox.rmdir()
    for _ in range(3):
        assert post.watcher.start()
    post.watcher.close()

    assert wait_until(lambda: resources() == before)


@contextlib.contextmanager
def room_for_descriptors(count: int) -> Iterator[None]:
    """Let no more than so many be opened."""
    free = [os.dup(0) for _ in range(count + 1)]
    for descriptor in free:
        os.close(descriptor)
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free[-1], before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.parametrize("count", range(3))
def test_too_few_descriptors_leave_nothing_behind_of_a_watch(tmp_path: Path, count: int) -> None:
    before = resources()
    watcher = Watcher(str(tmp_path.resolve()), lambda: None)
    with room_for_descriptors(count):
        assert watcher.start()
    watcher.close()

    assert wait_until(lambda: resources() == before, 10, lambda: (before, resources()))


def test_a_watch_that_is_closed_while_it_begins_is_closed(tmp_path: Path) -> None:
    """A daemon that is told to stop at once closes on one thread what begins on another."""
    before = set(threading.enumerate())
    for _ in range(150):
        watcher = Watcher(str(tmp_path), lambda: None)
        beginning = threading.Thread(target=watcher.start)
        beginning.start()
        watcher.close()
        beginning.join()

    assert set(threading.enumerate()) <= before
