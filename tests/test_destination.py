"""What every destination promises, asked of each: the four folders, and the one in memory."""

from __future__ import annotations

import errno
import itertools
import os
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pytest

from tests.fakes_destination import FakeDestination
from tests.test_policy import JOB
from watchconv.deliver import move
from watchconv.deliver.destination import (
    DeliveryOrder,
    DeliveryResult,
    DeliverySettings,
    Destination,
    ToError,
    ToOutbox,
    order_of,
)
from watchconv.deliver.move import Expected
from watchconv.deliver.outbox import LocalFolders
from watchconv.deliver.ownership import Ownership
from watchconv.host.folders import Folders
from watchconv.host.workdir import WorkDirectories
from watchconv.model import JobState, OnSuccess, OutputFile, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from watchconv.model import Intent, Job

SOURCE = "trip/a clip.mov"
ORIGINAL, OTHER, STRANGER = b"original", b"another film", b"a stranger's"
MTIME_NS = 10**18
MADE = {"output.webm": b"the film", "output.vtt": b"its words"}
OUTPUTS = tuple(OutputFile(file, file[6:], len(content)) for file, content in MADE.items())
NAMES = ("trip/a clip.webm", "trip/a clip.vtt")
SECOND = ("trip/a clip (2).webm", "trip/a clip (2).vtt")


class Kit(Protocol):
    """Where a destination's files are, and how to make a step of it fail."""

    destination: Destination

    def put(self, name: str, content: bytes) -> None:
        """Put a file: ``outbox/a.webm``."""
        ...

    def drop(self, name: str) -> None:
        """Take a file or a whole folder away."""
        ...

    def visible(self) -> dict[str, bytes]:
        """Return what lies in the four folders under a final name."""
        ...

    def failing(self, number: int) -> Any:
        """Let the number-th step from now on fail, for a block; gives a list of what failed."""
        ...

    def close(self) -> None:
        """End it."""
        ...


class LocalKit:
    """Four real folders."""

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir(exist_ok=True)
        self.folders = Folders(*(str(root / name) for name in ("inbox", "outbox", "done", "error")))
        self.folders.make()
        self.folders.check(str(root))
        self.work = WorkDirectories(self.folders)
        self.destination: Destination = LocalFolders(self.folders, self.work)

    def _path(self, name: str) -> Path:
        if name.startswith("work/"):
            _, job_id, run, *file = name.split("/")
            return Path(self.work.path(int(job_id), int(run)), *file)
        return self.root / name

    def put(self, name: str, content: bytes) -> None:
        path = self._path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        os.utime(path, ns=(MTIME_NS, MTIME_NS))

    def drop(self, name: str) -> None:
        path = self._path(name)
        if path.is_dir():
            self.work.remove(int(name.split("/")[1]))
        else:
            path.unlink()

    def visible(self) -> dict[str, bytes]:
        found = {}
        for folder in self.folders.by_name.values():
            for path in Path(folder).rglob("*"):
                name = str(path.relative_to(self.root))
                if path.is_file() and "/." not in name:
                    found[name] = path.read_bytes()
        return found

    @contextmanager
    def failing(self, number: int) -> Iterator[list[str]]:
        failed: list[str] = []
        count = itertools.count(1)

        def step(real: Callable[..., Any]) -> Callable[..., Any]:
            def take(*arguments: Any, **options: Any) -> Any:
                if next(count) == number:
                    failed.append(real.__name__)
                    raise OSError(errno.EIO, os.strerror(errno.EIO))
                return real(*arguments, **options)

            return take

        with pytest.MonkeyPatch.context() as patch:
            for name in ("unlink", "mkdir", "rename", "fsync", "utime"):
                patch.setattr(os, name, step(getattr(os, name)))
            patch.setattr(move, "_rename", step(move._rename))
            yield failed

    def close(self) -> None:
        self.folders.unlock()


class FakeKit:
    """The destination in memory."""

    def __init__(self, _: Path) -> None:
        self.fake = FakeDestination()
        self.destination: Destination = self.fake

    def put(self, name: str, content: bytes) -> None:
        self.fake.files[name] = (content, MTIME_NS)

    def drop(self, name: str) -> None:
        for key in [key for key in self.fake.files if f"{key}/".startswith(f"{name}/")]:
            del self.fake.files[key]

    def visible(self) -> dict[str, bytes]:
        return {n: c for n, (c, _) in self.fake.files.items() if not n.startswith("work/")}

    @contextmanager
    def failing(self, number: int) -> Iterator[list[str]]:
        failed: list[str] = []
        before = len(self.fake.steps)
        self.fake.fails_at = before + number
        try:
            yield failed
        finally:
            failed += self.fake.steps[before + number - 1 : before + number]
            self.fake.fails_at = 0

    def close(self) -> None:
        pass


@pytest.fixture(params=[LocalKit, FakeKit])
def kit(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Kit]:
    made: Kit = request.param(tmp_path.resolve())
    made.put(f"inbox/{SOURCE}", ORIGINAL)
    yield made
    made.close()


def settings(on_success: OnSuccess = OnSuccess.MOVE) -> DeliverySettings:
    return DeliverySettings(on_success, False, Ownership())


def to_outbox(
    kit: Kit, on_success: OnSuccess = OnSuccess.MOVE, now: OnSuccess | None = None
) -> ToOutbox:
    """Make the work of an attempt, and the order to deliver it."""
    for file, content in MADE.items():
        kit.put(f"work/7/2/{file}", content)
    return ToOutbox(
        job_id=7,
        run=2,
        source=SOURCE,
        expected=Expected(len(ORIGINAL), MTIME_NS),
        settings=settings(now or on_success),
        outputs=OUTPUTS,
        names=NAMES,
        original=SOURCE if on_success is OnSuccess.MOVE else None,
        delete=on_success is OnSuccess.DELETE,
    )


def to_error(kit: Kit) -> ToError:
    return ToError(
        job_id=7,
        run=2,
        source=SOURCE,
        expected=Expected(len(ORIGINAL), MTIME_NS),
        settings=settings(),
        original=SOURCE,
        reason="no video",
        report="what ffmpeg said\n",
    )


ORDERS: dict[str, Callable[[Kit], DeliveryOrder]] = {
    "move": to_outbox,
    "delete": lambda kit: to_outbox(kit, OnSuccess.DELETE),
    "keep": lambda kit: to_outbox(kit, OnSuccess.KEEP),
    "error": to_error,
}
EVERY = pytest.mark.parametrize("what", ORDERS)


def result_of(what: str) -> DeliveryResult:
    if what == "error":
        return DeliveryResult(JobState.FAILED)
    return DeliveryResult(JobState.DONE, held=what == "keep")


class Row:
    """The journal's row of an order: it knows the last names that were committed."""

    def __init__(self, kit: Kit, order: DeliveryOrder) -> None:
        self.kit, self.order, self.renamed = kit, order, 0

    def retarget(self, order: DeliveryOrder) -> None:
        """Commit other names; none of them is used yet, nor is one of before any more."""
        ours = {n: c for n, c in self.kit.visible().items() if c in MADE.values()}
        if order.names != self.order.names:
            assert ours == {}
        self.order, self.renamed = order, self.renamed + 1

    def deliver(self) -> DeliveryResult:
        return self.kit.destination.deliver(self.order, self.retarget)

    def where(self, what: str) -> dict[str, bytes]:
        """Return what must be visible at the end."""
        order = self.order
        if isinstance(order, ToError):
            return {f"error/{order.original}": ORIGINAL}
        made = {f"outbox/{n}": c for n, c in zip(order.names, MADE.values(), strict=True)}
        kept = {"move": f"done/{order.original}", "keep": f"inbox/{SOURCE}"}
        return made | ({kept[what]: ORIGINAL} if what in kept else {})


def seen(kit: Kit) -> dict[str, bytes]:
    """Return what is visible, but for reports, and strangers' files."""
    found = kit.visible()
    return {n: c for n, c in found.items() if not n.endswith(".log") and c != STRANGER}


# what is delivered


@EVERY
def test_an_order_is_carried_out_and_again_changes_nothing(kit: Kit, what: str) -> None:
    row = Row(kit, ORDERS[what](kit))

    assert row.deliver() == result_of(what)

    found = kit.visible()

    assert seen(kit) == row.where(what)
    assert row.deliver() == result_of(what)
    assert kit.visible() == found

    kit.destination.clear(replace(JOB, id=7, run=2))

    assert row.deliver() == result_of(what)
    assert kit.visible() == found
    assert row.renamed == 0


def test_a_report_lies_beside_what_failed(kit: Kit) -> None:
    Row(kit, to_error(kit)).deliver()

    report = kit.visible()[f"error/{SOURCE}.log"].decode()
    assert report.startswith("no video\n")
    assert report.endswith("what ffmpeg said\n")


def test_an_original_that_is_not_to_be_deleted_any_more_stays(kit: Kit) -> None:
    row = Row(kit, to_outbox(kit, OnSuccess.DELETE, now=OnSuccess.MOVE))

    assert row.deliver() == DeliveryResult(JobState.DONE, held=True)
    assert seen(kit) == row.where("keep")


@EVERY
@pytest.mark.parametrize("taken", [(), (f"outbox/{NAMES[1]}", f"done/{SOURCE}", f"error/{SOURCE}")])
def test_it_can_be_repeated_from_any_step(
    kit: Kit, what: str, taken: tuple[str, ...], tmp_path: Path
) -> None:
    for number in itertools.count(1):
        fresh: Kit = type(kit)(tmp_path.resolve() / f"{number}")  # type: ignore[call-arg]
        fresh.put(f"inbox/{SOURCE}", ORIGINAL)
        for name in taken:
            fresh.put(name, STRANGER)
        row = Row(fresh, ORDERS[what](fresh))
        with fresh.failing(number) as failed:
            try:
                result = row.deliver()
            except OSError as error:
                assert error.errno == errno.EIO  # noqa: PT017 (not every step that fails counts)
                result = None
        if result is None:
            result = row.deliver()
        fresh.close()

        assert result == result_of(what), (number, failed)
        assert seen(fresh) == row.where(what), (number, failed)
        assert all(fresh.visible()[name] == STRANGER for name in taken)
        if not failed:
            break

    assert number > 1


# names that are taken


@pytest.mark.parametrize("taken", [[0], [1], [0, 1]], ids=str)
def test_of_a_set_of_outputs_all_get_another_number_when_one_name_is_taken(
    kit: Kit, taken: list[int]
) -> None:
    row = Row(kit, to_outbox(kit))
    for n in taken:
        kit.put(f"outbox/{NAMES[n]}", STRANGER)

    assert row.deliver() == DeliveryResult(JobState.DONE)
    assert row.order.names == SECOND
    assert seen(kit) == row.where("move")
    assert all(kit.visible()[f"outbox/{NAMES[n]}"] == STRANGER for n in taken)


def test_what_was_published_of_a_set_is_taken_back_when_a_name_was_taken_meanwhile(
    kit: Kit,
) -> None:
    row = Row(kit, to_outbox(kit))
    kit.drop(f"work/7/2/{OUTPUTS[0].file}")
    kit.put(f"outbox/{NAMES[0]}", MADE["output.webm"])  # so far it came before a crash
    kit.put(f"outbox/{NAMES[1]}", STRANGER)

    assert row.deliver() == DeliveryResult(JobState.DONE)
    assert row.order.names == SECOND
    assert seen(kit) == row.where("move")
    assert kit.visible()[f"outbox/{NAMES[1]}"] == STRANGER


@pytest.mark.parametrize("what", ["move", "error"])
def test_an_original_never_replaces_another(kit: Kit, what: str) -> None:
    row = Row(kit, ORDERS[what](kit))
    place = f"{'error' if what == 'error' else 'done'}/{SOURCE}"
    kit.put(place, STRANGER)

    assert row.deliver() == result_of(what)
    assert row.order.original == "trip/a clip (2).mov"
    assert seen(kit) == row.where(what)
    assert kit.visible()[place] == STRANGER


def name_of(intent: Intent) -> str | None:
    return intent.outputs[0].name if intent.outputs else None


def test_names_are_planned_that_are_free_now(kit: Kit) -> None:
    job = replace(JOB, id=7, run=2, source=SOURCE, size=len(ORIGINAL), mtime_ns=MTIME_NS)
    one = OUTPUTS[:1]
    for name in (f"outbox/{NAMES[0]}", f"error/{SOURCE}"):
        kit.put(name, STRANGER)
    made = kit.destination.plan(job, Verdict.ENCODED, one, settings())
    kept = kit.destination.plan(job, Verdict.ENCODED, one, settings(OnSuccess.KEEP))
    failed = kit.destination.plan(job, Verdict.FAILED, (), settings())

    assert (name_of(made), made.original, made.on_success) == (SECOND[0], SOURCE, OnSuccess.MOVE)
    assert (name_of(kept), kept.original, kept.on_success) == (SECOND[0], None, OnSuccess.KEEP)
    assert (name_of(failed), failed.original) == (None, "trip/a clip (2).mov")
    assert kit.visible().keys() == {
        f"inbox/{SOURCE}",
        f"outbox/{NAMES[0]}",
        f"error/{SOURCE}",
    }


# what changed meanwhile


def test_an_original_whose_work_is_lost_is_made_anew(kit: Kit) -> None:
    row = Row(kit, to_outbox(kit))
    kit.drop("work/7/2")

    assert row.deliver() == DeliveryResult(JobState.SUPERSEDED)
    assert seen(kit) == {f"inbox/{SOURCE}": ORIGINAL}


@EVERY
@pytest.mark.parametrize("gone", [True, False], ids=["gone", "another"])
def test_another_file_under_the_name_of_the_original_is_left_alone(
    kit: Kit, what: str, gone: bool
) -> None:
    order = ORDERS[what](kit)
    kit.drop(f"inbox/{SOURCE}")
    if not gone:
        kit.put(f"inbox/{SOURCE}", OTHER)
    row = Row(kit, order)

    assert row.deliver() == result_of(what)

    outputs = {name: c for name, c in row.where(what).items() if c != ORIGINAL}
    assert kit.visible() == outputs | ({} if gone else {f"inbox/{SOURCE}": OTHER})


# the orders


@pytest.mark.parametrize("on_success", OnSuccess)
def test_an_order_holds_what_the_row_intends(on_success: OnSuccess) -> None:
    job: Job = replace(
        JOB,
        verdict=Verdict.ENCODED,
        outputs=(OutputFile("output.webm", ".webm", 1, name="trip/a (2).webm"),),
        original="trip/a.mov" if on_success is OnSuccess.MOVE else None,
        on_success=on_success,
    )
    order = order_of(job, settings())

    assert isinstance(order, ToOutbox)
    assert order.names == ("trip/a (2).webm",)
    assert [(o.file, o.suffix) for o in order.outputs] == [("output.webm", ".webm")]
    assert (order.original is not None) == (on_success is OnSuccess.MOVE)
    assert order.delete == (on_success is OnSuccess.DELETE)


@pytest.mark.parametrize("verdict", [Verdict.FAILED, Verdict.CANCELLED])
def test_an_order_to_the_error_folder_is_whole_whatever_the_row_lacks(verdict: Verdict) -> None:
    bare = order_of(replace(JOB, verdict=verdict), settings())
    full = replace(JOB, verdict=verdict, original="b (2).mov", reason="why", report="long")
    order = order_of(full, settings())

    assert isinstance(bare, ToError)
    assert (bare.original, bare.reason, bare.report) == (JOB.source, "", "")
    assert isinstance(order, ToError)
    assert (order.original, order.reason, order.report) == ("b (2).mov", "why", "long")
    assert order.expected == (JOB.size, JOB.mtime_ns)
