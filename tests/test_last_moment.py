"""What happens in the last moment before a file is moved or deleted, and what is left of it."""

from __future__ import annotations

import ctypes
import errno
import os
import threading
from dataclasses import replace
from stat import S_ISREG
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from tests.places import opened
from tests.test_delivery import MTIME_NS, ORIGINAL, OUTPUT, SOURCE, STEPS, Scene, World
from tests.test_policy import JOB
from watchconv.deliver import move
from watchconv.deliver.destination import ToError, order_of
from watchconv.deliver.reports import Reports
from watchconv.model import JobState, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


ANOTHER = b"another film"


class Libc(NamedTuple):
    """The C library with another renameat2."""

    renameat2: Callable[..., int]


@pytest.fixture
def begin(tmp_path: Path) -> Iterator[Callable[[Scene], World]]:
    """Give what makes a world whose job is ready to be delivered."""
    made: list[World] = []

    def make(scene: Scene) -> World:
        STEPS.armed, STEPS.plan, STEPS.taken = False, {}, []
        made.append(world := World(tmp_path, tmp_path, scene))
        while world.job.state is not JobState.DELIVERING:
            world.roll()
            world._refresh()
        return world

    yield make
    STEPS.armed = False
    for world in made:
        world.close()


def before(patch: pytest.MonkeyPatch, room: Any, name: str, act: Callable[[], None]) -> None:
    """Do something just before the original is renamed the first time: _libc is for renameat2."""
    real = getattr(room, name)
    if name == "_libc":
        real = real.renameat2
    original = os.path.basename(SOURCE)
    done: list[str] = []

    def first_act(*arguments: Any, **options: Any) -> Any:
        if {original, original.encode()} & set(arguments) and not done:
            done.append(name)
            act()
        return real(*arguments, **options)

    patch.setattr(room, name, Libc(first_act) if name == "_libc" else first_act)


def deliver(world: World) -> JobState:
    """Deliver until that is done; what was replaced is told once."""
    for _ in range(2):
        try:
            world.roll_forward()
            break
        except OSError as error:
            if "another file was put in its place" not in str(error) or "/proc" in str(error):
                raise
    world._refresh()
    return world.job.state


@pytest.mark.parametrize(
    ("scene", "room", "name"),
    [
        (Scene(), move, "_libc"),
        (Scene(Verdict.FAILED), move, "_libc"),
        (Scene(on_success="delete"), os, "rename"),
    ],
    ids=str,
)
def test_a_file_that_replaces_the_original_in_the_last_moment_stays(
    begin: Callable[[Scene], World],
    monkeypatch: pytest.MonkeyPatch,
    scene: Scene,
    room: Any,
    name: str,
) -> None:
    world = begin(scene)
    path = world.paths["inbox"] / SOURCE

    def act() -> None:
        path.unlink()
        path.write_bytes(ANOTHER)

    before(monkeypatch, room, name, act)

    assert deliver(world) in (JobState.DONE, JobState.FAILED)
    assert path.read_bytes() == ANOTHER
    assert sorted(os.listdir(path.parent)) == [path.name]
    assert ANOTHER not in [p.read_bytes() for p in world.paths["done"].rglob("*") if p.is_file()]


@pytest.mark.parametrize("on_success", ["move", "delete"])
def test_a_link_in_the_place_of_a_folder_leads_no_delivery_elsewhere(
    begin: Callable[[Scene], World],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    on_success: str,
) -> None:
    world = begin(Scene(on_success=on_success))
    folder = (world.paths["inbox"] / SOURCE).parent
    theirs = tmp_path / "theirs" / os.path.basename(SOURCE)
    theirs.parent.mkdir()
    theirs.write_bytes(ORIGINAL)
    os.utime(theirs, ns=(MTIME_NS, MTIME_NS))

    def act() -> None:
        folder.rename(tmp_path / "aside")
        folder.symlink_to(theirs.parent)

    if on_success == "move":
        before(monkeypatch, move, "_libc", act)
    else:
        before(monkeypatch, os, "rename", act)

    assert deliver(world) is JobState.DONE
    assert theirs.read_bytes() == ORIGINAL
    assert os.listdir(tmp_path / "aside") == []


def test_an_original_that_was_hidden_to_be_deleted_comes_back_when_that_is_no_longer_wanted(
    begin: Callable[[Scene], World], monkeypatch: pytest.MonkeyPatch
) -> None:
    world = begin(Scene(on_success="delete"))
    unlink = os.unlink

    def refuse(path: Any, **options: Any) -> None:
        if str(path).startswith(".watchconv-"):
            raise OSError(5, "Input/output error", path)
        unlink(path, **options)

    with monkeypatch.context() as patch:
        patch.setattr(os, "unlink", refuse)
        with pytest.raises(OSError, match="Input/output error"):
            world.roll_forward()
    world.scene = Scene(on_success="keep")
    world.recover(armed=False)

    assert deliver(world) is JobState.DONE
    assert (world.paths["inbox"] / SOURCE).read_bytes() == ORIGINAL
    assert SOURCE in world.journal.held([SOURCE])


@pytest.mark.parametrize("verdict", [Verdict.ENCODED, Verdict.FAILED])
def test_a_copy_that_was_begun_of_an_original_that_is_gone_is_removed(
    begin: Callable[[Scene], World], verdict: Verdict
) -> None:
    world = begin(Scene(verdict))
    target = world.paths["done" if verdict is Verdict.ENCODED else "error"]
    hidden = (target / SOURCE).parent / f".watchconv-{world.job.id}.part"
    hidden.parent.mkdir()
    hidden.write_bytes(ORIGINAL[:99])
    (world.paths["inbox"] / SOURCE).unlink()

    assert deliver(world) in (JobState.DONE, JobState.FAILED)
    assert not hidden.exists()


def test_names_that_are_refused_though_they_look_free_are_passed_over(
    begin: Callable[[Scene], World], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a file server does that takes two spellings for one name. It would try one for ever."""
    world = begin(Scene())
    rename = move._libc.renameat2

    def refuse(folder: int, source: bytes, into: int, target: bytes, flags: int) -> int:
        if b"(4)" not in target:
            ctypes.set_errno(errno.EEXIST)
            return -1
        return int(rename(folder, source, into, target, flags))

    monkeypatch.setattr(move, "_libc", Libc(refuse))

    assert deliver(world) is JobState.DONE
    assert world.job.output == "sub dir/a clip (4).webm"
    assert world.job.original == "sub dir/a clip (4).mp4"


def test_an_output_is_synced_with_the_mode_and_times_that_it_is_to_have(
    begin: Callable[[Scene], World], monkeypatch: pytest.MonkeyPatch
) -> None:
    world = begin(Scene())
    (world.paths["outbox"]).chmod(0o770)
    sync, synced = os.fsync, []

    def note(descriptor: int) -> None:
        sync(descriptor)
        stat = os.fstat(descriptor)
        if S_ISREG(stat.st_mode):
            synced.append((stat.st_mode, stat.st_mtime_ns))

    monkeypatch.setattr(os, "fsync", note)

    assert deliver(world) is JobState.DONE
    made = (world.paths["outbox"] / str(world.job.output)).stat()
    assert synced == [(made.st_mode, MTIME_NS)]
    assert (world.paths["outbox"] / str(world.job.output)).read_bytes() == OUTPUT


def test_an_original_that_takes_long_to_bring_holds_up_no_other_report(
    begin: Callable[[Scene], World], tmp_path: Path
) -> None:
    reports, settings = Reports(), begin(Scene()).settings()
    first, second = (
        order_of(replace(JOB, id=n, original=name, reason="why", report="text\n"), settings)
        for n, name in ((1, "a.mov"), (2, "b.mov"))
    )
    assert isinstance(first, ToError)
    assert isinstance(second, ToError)
    other = second
    error = tmp_path / "error"
    free: list[bool] = []

    with opened(error) as folder:

        def file_another() -> None:
            reports.remove_stale(folder, "a.mov")
            free.append(reports.is_free(folder, "a.mov", 2))
            with reports.written(folder, other):
                (error / "b.mov").touch()

        with reports.written(folder, first):
            thread = threading.Thread(target=file_another, daemon=True)
            thread.start()
            thread.join(30)
            assert not thread.is_alive()
            (error / "a.mov").touch()

    assert free == [False]
    assert sorted(os.listdir(error)) == ["a.mov", "a.mov.log", "b.mov", "b.mov.log"]
