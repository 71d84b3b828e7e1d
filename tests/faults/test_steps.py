"""Killed before each step on files that it takes, or with that step refused: nothing is lost.

The real daemon with a fake ffmpeg; ``steps`` says how its steps are seen, and how they are named.
Whatever happens to it: the original is in one place with all its bytes, there is one output,
nothing torn is ever under a final name, and nothing is left behind. At each step of each life is
looked whether that holds. A step that is refused costs no attempt either, and the daemon goes on
by itself.

By default a seeded choice of the steps, with each call of each thread among them; with
WATCHCONV_FAULTS=all every single step, and each with every error: for hours.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import os
import random
import re
import shutil
import signal
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.daemon import Place, drop, tiny_clip
from tests.fakes import write_fake
from tests.faults.steps import LOOKS, Answer, Seen, Step, why_unseen
from tests.test_crash import frames_of, leftovers_in
from tests.test_files import on_another_device
from tests.waiting import LONG
from watchconv.deliver.reports import REPORT_MARK
from watchconv.journal.jobs import Journal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

SEED = int(os.environ.get("WATCHCONV_TEST_SEED") or 1)  # another one: other steps
ALL = os.environ.get("WATCHCONV_FAULTS") == "all"
AT_ONCE = len(os.sched_getaffinity(0))
KILLS, PAIRS, REFUSALS, SPELLS = 3, 2, 3, 1  # of each scene, by default, beside one for each call
TRIES = 3  # what the loop's threads do is not always in the same order: a step may not come
ERRORS = (errno.EIO, errno.ENOSPC, errno.EROFS, errno.EXDEV, errno.EMLINK)

SOURCE = "sub dir/a clip.ts"
SETTINGS: dict[str, Any] = {
    "jobs": 1,
    "settle_seconds": 0,
    "settle_network_seconds": 0.2,
    "min_free": 0,
    "profile": "same",
    "profiles": {"same": {"suffix": ".ts", "args": "-c:v libvpx"}},
}
WHOLE_REPORT = re.compile(
    rf".+\n{re.escape(REPORT_MARK)}\[\d+, .+\]\n(command|attempts): (.*\n)*"
    r"(profile: same|Error: this fake fails on order)\n"
)

pytestmark = pytest.mark.timeout(24 * 3600 if ALL else 900)


@dataclass(frozen=True, eq=False)
class Scene:
    """What happens to a file, and where."""

    name: str
    on_success: str = "move"
    fails: bool = False  # the encode does
    asked: str = ""  # what a person has asked for: retry, cancel
    fresh: bool = False  # no daemon has ever run here
    far: bool = False  # done and error are on another device
    lacks: dict[str, int] = field(default_factory=dict)  # what the file system answers to calls

    def __str__(self) -> str:
        return self.name

    @property
    def ends(self) -> str:
        return "failed" if self.fails or self.asked == "cancel" else "done"

    @property
    def result(self) -> set[str]:
        """Name the files that are there in the end."""
        if self.ends == "failed":
            return {f"error/{SOURCE}", f"error/{SOURCE}.log"}
        kept = {"move": {f"done/{SOURCE}"}, "keep": {f"inbox/{SOURCE}"}, "delete": set[str]()}
        return {f"outbox/{SOURCE}"} | kept[self.on_success]

    @property
    def settings(self) -> dict[str, Any]:
        # a crash costs an attempt: none may run out, but where failing once is to be the end
        return {"on_success": self.on_success, "max_attempts": 1 if self.fails else 10}


NO_REPLACE = {"renameat2": errno.EINVAL}
NO_LINKS = {"link": errno.EMLINK, "linkat": errno.EMLINK}
SCENES = [
    Scene("move", fresh=True),
    Scene("delete", on_success="delete"),
    Scene("keep", on_success="keep"),
    Scene("failed", fails=True),
    Scene("retry", asked="retry"),
    Scene("cancel", asked="cancel"),
    Scene("far", far=True),
    Scene("far failed", far=True, fails=True),
    Scene("far retry", far=True, asked="retry"),
    Scene("link", lacks=NO_REPLACE),
    Scene("far link", far=True, lacks=NO_REPLACE),
    Scene("reservation", lacks=NO_REPLACE | NO_LINKS),
    Scene("reservation failed", fails=True, lacks=NO_REPLACE | NO_LINKS),
]


class At:
    """Answers the number-th of the steps that are meant, and a spell of those after it."""

    def __init__(
        self, answer: Answer, meant: Callable[[Step], bool], number: int = 1, spell: int = 0
    ) -> None:
        self.answer, self.meant, self.left, self.spell = answer, meant, number, spell
        self.hit: Step | None = None

    def __call__(self, step: Step) -> Answer:
        """Give the answer when the step's turn has come."""
        if self.hit is None:
            self.left -= self.meant(step)
            if self.left:
                return None
            self.hit = step
        elif self.spell and step.folder == self.hit.folder:
            self.spell -= 1
        else:
            return None
        return self.answer


def let_pass(_: Step) -> Answer:
    return None


class World:
    """The folders and the journal of one daemon, and what is promised of them."""

    def __init__(self, scene: Scene, place: Place, clip: bytes) -> None:
        self.scene, self.place, self.clip = scene, place, clip
        self.files = {
            place.inbox: "inbox",
            place.outbox: "outbox",
            place.done: "done",
            place.error: "error",
        }
        self.steps: list[Step] = []  # of the last life

    # living

    def live(self, choose: Callable[[Step], Answer] = let_pass) -> int:
        """Let a daemon work off the inbox; return its exit code."""
        return self._live(choose, "run", "--once")

    def stay(self, choose: Callable[[Step], Answer] = let_pass) -> int:
        """Let a daemon run until all is well, then end it as systemd does; return its exit code."""
        return self._live(choose, "run")

    def _live(self, choose: Callable[[Step], Answer], *words: str) -> int:
        place = self.place
        folders = {**self.files, place.state: "state"}
        daemon = Seen((*place.options, *words), folders, place.environment, place.log_file)
        self.steps = daemon.steps
        told = False

        def decide(step: Step) -> Answer:
            self.look()
            return choose(step) or self.scene.lacks.get(step.call)

        def end_when_over() -> None:
            nonlocal told
            if words == ("run",) and not told and self._is_over() and _hears_term(daemon):
                told = True
                daemon.process.send_signal(signal.SIGTERM)

        return daemon.watch(decide, LONG, end_when_over)

    def _is_over(self) -> bool:
        return f"→{self.scene.ends} {SOURCE}" in self.place.log()

    # the promise

    def visible(self, *roots: Path) -> dict[str, bytes]:
        """Read every file that lies under a final name."""
        found = {}
        for root in roots or self.files:
            for folder, folders, names in os.walk(root):
                folders[:] = [name for name in folders if not name.startswith(".")]
                for path in (Path(folder, name) for name in names if not name.startswith(".")):
                    with contextlib.suppress(FileNotFoundError):  # it was moved in this moment
                        name = os.path.join(self.files[root], path.relative_to(root))
                        found[name] = _content(path)
        return found

    def look(self) -> None:
        """Check what holds at every moment: nothing torn, lost or under another name."""
        for last in (False, False, True):  # a file may go where we have looked already
            found = self.visible()
            strange = {n: c[:200] for n, c in found.items() if not self._is_right(n, c)}
            if not strange and self._is_kept(found):
                return
            assert not last, f"torn: {strange}" if strange else f"lost: {sorted(found)}"

    def _is_right(self, name: str, content: bytes) -> bool:
        if self.scene.lacks and not content:
            return True  # where only an empty file can take a name
        if name == f"error/{SOURCE}.log":
            return WHOLE_REPORT.fullmatch(content.decode()) is not None
        return name.partition("/")[2] == SOURCE and content == self.clip

    def _is_kept(self, found: dict[str, bytes]) -> bool:
        homes = ["inbox", "done", "error"] + ["outbox"] * (self.scene.on_success == "delete")
        return any(found.get(f"{home}/{SOURCE}") == self.clip for home in homes)

    def check(self, charged: int | None = None) -> None:
        """Check what holds at the end, and perhaps how many attempts were charged."""
        self.look()
        journal = Journal(str(self.place.state), create=False)
        job = next(journal.jobs())
        journal.close()
        output = None if self.scene.ends == "failed" else SOURCE

        assert self.scene.result == self.visible().keys()
        assert not leftovers_in(self.place)
        assert (self.scene.ends, output) == (job.state, job.output)
        assert charged in (None, job.attempt)
        assert "Traceback" not in self.place.log()


def _hears_term(daemon: Seen) -> bool:
    """Tell whether a program has a handler for SIGTERM by now, so that it does not die of it."""
    status = Path(f"/proc/{daemon.process.pid}/status").read_text()
    caught = int(status.partition("SigCgt:")[2].split()[0], 16)
    return bool(caught >> (signal.SIGTERM - 1) & 1)


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except PermissionError:  # it only holds a name, and we are not root
        return b""


class Room:
    """Makes worlds: each a copy of what was prepared once for its scene."""

    def __init__(self, base: Path, fast: Path) -> None:
        self.far, self.near = base, fast
        self.clip = tiny_clip(base, "tiny.ts", 0.5)
        frames = frames_of(self.clip)
        self.copies = write_fake(base / "copies", frames=frames)
        self.fails = write_fake(base / "fails", otherwise="exit:1", frames=frames)
        self._prepared: dict[str, tuple[Path, Path]] = {}
        self._steps: dict[Callable[[World], int], dict[Scene, list[Step]]] = {}

    @contextlib.contextmanager
    def world(self, scene: Scene) -> Iterator[World]:
        """Give a world, and take it away again."""
        near, far = folders = self._folders()
        try:
            for before, folder in zip(self._prepared[scene.name], folders, strict=True):
                fifo = shutil.ignore_patterns("wake.fifo")
                shutil.copytree(before, folder, dirs_exist_ok=True, symlinks=True, ignore=fifo)
            yield World(scene, self._place(scene, near, far), self.clip.read_bytes())
        finally:
            for folder in folders:
                shutil.rmtree(folder)

    def _folders(self) -> tuple[Path, Path]:
        near, far = (Path(tempfile.mkdtemp(dir=parent)) for parent in (self.near, self.far))
        return near.resolve(), far.resolve()

    def _place(self, scene: Scene, near: Path, far: Path) -> Place:
        place = Place(near, self._settings(scene, far))
        if scene.far:
            place.done, place.error = far / "done", far / "error"
            place.done.mkdir(exist_ok=True)
            place.error.mkdir(exist_ok=True)
        return place

    def _settings(self, scene: Scene, far: Path) -> dict[str, Any]:
        away = {"done": str(far / "done"), "error": str(far / "error")} if scene.far else {}
        ffmpeg = self.fails if scene.fails else self.copies
        return {**SETTINGS, **scene.settings, **away, "ffmpeg": ffmpeg}

    def steps(self, live: Callable[[World], int]) -> dict[Scene, list[Step]]:
        """Give the steps of lives without any fault: those that two of them have in common."""

        def steps_of(scene: Scene) -> list[Step]:
            if scene.name not in self._prepared:
                self._prepare(scene)
            seen = []
            for _ in range(2):
                with self.world(scene) as world, told(world, "no fault"):
                    assert live(world) in (0, 1)
                    world.check()
                    seen.append(world.steps)
            return [step for step in seen[0] if step in set(seen[1])]

        if live not in self._steps:
            self._steps[live] = dict(zip(SCENES, at_once(steps_of, SCENES), strict=True))
        return self._steps[live]

    def _prepare(self, scene: Scene) -> None:
        """Do what comes before the daemon that is killed."""
        near, far = self._prepared[scene.name] = self._folders()
        place, settings = self._place(scene, near, far), self._settings(scene, far)
        if scene.asked == "retry":
            place.configure({**settings, "ffmpeg": self.fails, "max_attempts": 1})
            drop(self.clip, place.inbox / SOURCE)
            assert place.run("run", "--once").returncode == 1
            place.configure(settings)
        if not scene.fresh:
            place.say("run", "--once")
        if scene.asked == "retry":
            place.say("retry", 1)
            return
        drop(self.clip, place.inbox / SOURCE)
        if scene.asked == "cancel":
            place.say("pause")
            assert place.run("run", "--once").returncode == 1
            place.say("cancel", 1)
            place.say("resume")


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Room]:
    if reason := why_unseen():
        pytest.skip(reason)
    here = tmp_path_factory.mktemp("steps")
    there = on_another_device(here)
    if there is None:
        pytest.skip("no second writable file system")
    yield Room(here, there)
    shutil.rmtree(there)


@pytest.fixture
def draw() -> random.Random:
    print(f"seed {SEED}: WATCHCONV_TEST_SEED={SEED} repeats it")
    return random.Random(SEED)


@dataclass(frozen=True)
class Fault:
    """What is done to which step of a life."""

    scene: Scene
    step: Step
    answer: Answer
    then: int = 0  # the next life is killed before so many-eth of the steps of its delivery
    spell: int = 0  # so many more steps on the same folder fail

    def __str__(self) -> str:
        answer = self.answer
        what = "killed" if isinstance(answer, signal.Signals) else errno.errorcode[answer or 0]
        more = f", then at {self.then}" * bool(self.then) + f" and {self.spell} more" * bool(
            self.spell
        )
        return f"{self.scene}: {what} at: {self.step}{more}"

    @property
    def call(self) -> tuple[str, str]:
        return self.step.thread, self.step.call

    def choosers(self) -> list[At]:
        """Give the tries; where the step itself does not come again, a like one will do."""
        meant = [self.step.__eq__] * (TRIES - 1) + [lambda s: (s.thread, s.call) == self.call]
        return [At(self.answer, which, spell=self.spell) for which in meant]


@contextlib.contextmanager
def told(world: World, what: object) -> Iterator[None]:
    """Say with a failure what was done, and what the daemon said."""
    try:
        yield
    except AssertionError as failure:
        failure.add_note(f"{world.scene}: {what}\n{world.place.log()[-4000:]}")
        raise


def at_once(act: Callable[[Any], Any], things: Sequence[Any]) -> list[Any]:
    """Act on all, some at a time; raise what failed at the end."""
    failures: list[Exception] = []
    done = 0

    def try_it(thing: Any) -> Any:
        nonlocal done
        try:
            return act(thing)
        except Exception as failure:
            said = "\n".join([str(failure)[:2000], *getattr(failure, "__notes__", ())])
            print(f"FAILED: {thing}: {said}", flush=True)
            failures.append(failure)
        finally:
            done += 1
            if done % 100 == 0:
                print(f"{done} of {len(things)}, {len(failures)} failed", flush=True)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        answers = list(pool.map(try_it, things))
    if failures:
        raise ExceptionGroup(f"{len(failures)} of {len(things)} failed", failures[:3])
    return answers


def choose(faults: Sequence[Fault], draw: random.Random, of_each_scene: int) -> list[Fault]:
    """Choose one for each call of each thread, and some of each scene on the four folders."""
    mixed = draw.sample(faults, len(faults))
    if ALL:
        return mixed
    chosen = {fault.call: fault for fault in mixed}
    some = [
        f for scene in {f.scene: None for f in mixed} for f in some_of(mixed, scene)[:of_each_scene]
    ]
    return list(dict.fromkeys([*chosen.values(), *some]))


def some_of(faults: Sequence[Fault], scene: Scene) -> list[Fault]:
    return [f for f in faults if f.scene == scene and f.step.folder != "state"]


def show(what: str, faults: Sequence[Fault], hits: Sequence[Step | None], began: float) -> None:
    hit = [step for step in hits if step]
    table = Counter((step.thread, step.call) for step in hit)
    print(f"\n{len(hit)} {what} in {time.monotonic() - began:.0f} s, {len(faults)} tried")
    for (thread, call), count in sorted(table.items()):
        print(f"{count:6} {thread:15} {call}")


def calls_of(faults: Sequence[Fault]) -> set[tuple[str, str]]:
    return {fault.call for fault in faults}


def calls_hit(hits: Sequence[Step | None]) -> set[tuple[str, str]]:
    return {(step.thread, step.call) for step in hits if step}


def test_killed_before_a_step_it_keeps_its_promise(room: Room, draw: random.Random) -> None:
    began = time.monotonic()

    def kill(fault: Fault) -> Step | None:
        for at in fault.choosers():
            with room.world(fault.scene) as world, told(world, fault):
                world.live(at)
                world.look()

                assert world.live() in (0, 1)
                world.check()
            if at.hit:
                return at.hit
        return None

    faults = [
        Fault(scene, step, signal.SIGKILL)
        for scene, steps in room.steps(World.live).items()
        for step in steps
        if step.changes
    ]
    chosen = choose(faults, draw, KILLS)
    hits = at_once(kill, chosen)
    show("kills", chosen, hits, began)

    assert calls_of(faults) == calls_hit(hits)


def test_killed_twice_while_it_delivers_it_keeps_its_promise(
    room: Room, draw: random.Random
) -> None:
    began = time.monotonic()

    def kill_twice(fault: Fault) -> Step | None:
        with room.world(fault.scene) as world, told(world, fault):
            world.live(At(signal.SIGKILL, fault.step.__eq__))
            again = At(signal.SIGKILL, delivers, fault.then)
            world.live(again)
            world.look()

            assert world.live() in (0, 1)
            world.check()
        return again.hit

    def kill_at_each(fault: Fault) -> list[Step | None]:
        if fault.then:
            return [kill_twice(fault)]
        hits: list[Step | None] = []
        while not hits or hits[-1]:
            hits.append(kill_twice(dataclasses.replace(fault, then=len(hits) + 1)))
        return hits

    faults = [
        [
            Fault(scene, step, signal.SIGKILL, 0 if ALL else draw.randint(1, left))
            for left, step in enumerate(filter(delivers, reversed(steps)), 1)
        ]
        for scene, steps in room.steps(World.live).items()
    ]
    chosen = [f for some in faults for f in (some if ALL else draw.sample(some, PAIRS))]
    hits = [hit for hits in at_once(kill_at_each, chosen) for hit in hits]
    show("pairs of kills", chosen, hits, began)

    assert sum(map(bool, hits)) > len(chosen) / 2


def delivers(step: Step) -> bool:
    return step.changes and step.thread == "deliver"


def test_a_step_that_fails_costs_no_attempt_and_is_made_up_for(
    room: Room, draw: random.Random
) -> None:
    began = time.monotonic()
    faults = [
        Fault(scene, step, error)
        for scene, steps in room.steps(World.stay).items()
        for step in steps
        for error in ERRORS
    ]
    chosen = choose(faults, draw, REFUSALS)
    hits = at_once(partial(refuse, room), chosen)
    show("errors", chosen, hits, began)

    assert calls_of(faults) == calls_hit(hits)


def test_a_spell_of_errors_costs_no_attempt_and_is_made_up_for(
    room: Room, draw: random.Random
) -> None:
    """A disk is gone for a while."""
    began = time.monotonic()
    faults = [
        Fault(scene, step, draw.choice(ERRORS), spell=draw.randint(2, 30))
        for scene, steps in room.steps(World.stay).items()
        for step in (steps if ALL else draw.sample(steps, SPELLS))
    ]
    hits = at_once(partial(refuse, room), faults)
    show("spells of errors", faults, hits, began)

    assert sum(map(bool, hits)) > len(faults) / 2


def test_a_report_that_cannot_be_read_for_a_while_is_ours_all_the_same(room: Room) -> None:
    """Else the original got another name, and a second report."""
    scene = next(scene for scene in room.steps(World.stay) if scene.name == "failed")
    # the first three are for the report
    to_move = Step("deliver", LOOKS, ("error/sub dir",), 4)

    assert refuse(room, Fault(scene, to_move, errno.EIO, spell=5)) == to_move


def refuse(room: Room, fault: Fault) -> Step | None:
    """Refuse a step, and see that the daemon makes up for it by itself."""
    for at in fault.choosers():
        with room.world(fault.scene) as world, told(world, fault):
            codes = [world.stay(at)]
            world.look()
            while (
                codes[-1] and at.hit and at.hit.folder == "state" and len(codes) <= fault.spell + 1
            ):
                codes.append(world.stay(at))  # it did not start: systemd starts it again

            assert codes == [1] * (len(codes) - 1) + [0]
            assert len(codes) > 1 or not said_again(world.place.log())
            if leftovers_in(world.place):
                world.live()  # what could not be removed is removed at the next start
            world.check(charged=int(fault.scene.asked != "cancel"))
        if at.hit:
            return at.hit
    return None


def said_again(log: str) -> list[str]:
    """List the troubles that were told again although they were not over."""
    told: set[str] = set()
    again = []
    for line in log.splitlines():
        words = line.split(" ", 2)[-1]
        if words.startswith("over: "):
            told.discard(words.removeprefix("over: "))
        elif not words.startswith("job="):
            again += [words] * (words in told)
            told.add(words)
    return again
