"""What every engine promises, asked of each: ffmpeg children, and the machines in memory."""

from __future__ import annotations

import asyncio
import os
import pickle
import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.clips import FFMPEG
from tests.daemon import tiny_clip
from tests.fake_engine import FakeEngine, FakeMachines, Script
from tests.fakes import write_fake
from tests.test_policy import JOB
from tests.waiting import LONG
from watchconv.encode.engine import Assignment, AttemptLimits, AttemptResult, LocalEngine
from watchconv.encode.plan import EncodePlan, plan_encode
from watchconv.encode.program import Ability, Program, version_of
from watchconv.errors import EnvironmentTrouble
from watchconv.host.folders import WORK_DIR, Folders
from watchconv.host.workdir import Manifest, WorkDirectories, output_name
from watchconv.media.facts import Facts, Track
from watchconv.media.probe import ProbeWorker
from watchconv.model import (
    AttemptOutcome,
    Broke,
    Cause,
    Encoded,
    Gone,
    Identity,
    Interrupted,
    JobWarning,
    Outcome,
    OutputFile,
    Profile,
    Rejected,
    Stale,
    Verify,
    WarningCause,
    mtime_ns,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

    from watchconv.encode.engine import Engine, Running
    from watchconv.model import Progress

FRAMES = 20
NEVER = 300.0
PROFILE = Profile("p", ".mkv", ("-c:v", "libvpx"), Verify.FULL)
WARNED = JobWarning(WarningCause.TRACK_LEFT_OUT, "left out: a track")
MEDIA = Facts("matroska", 2.0, (Track(0, "video", "mpeg4", None),))
LIMITS = AttemptLimits(
    stall_seconds=NEVER,
    time_limit_seconds=NEVER,
    time_limit_per_second=0.0,
    grace_seconds=0.3,
    memory=0,
    has_all_memory=True,
    address_space=0,
    max_output=0,
    nice=0,
    ionice="none",
    sandbox="off",  # the fake ffmpeg looks for its gates
)


class Kit:
    """An engine over four real folders. What happens to a file is in its name."""

    def __init__(self, root: Path, clip: Path) -> None:
        self.root, self.clip = root, clip
        self.folders = Folders(*(str(root / name) for name in ("inbox", "outbox", "done", "error")))
        self.folders.make()
        self.folders.check(str(root))
        self.work = WorkDirectories(self.folders)
        self.program = Program("/usr/bin/ffmpeg", Ability("1"))
        self.engine: Engine

    def let_go(self, source: str) -> None:
        """Let the encode of a file whose name begins with "gate" come to its end."""
        raise NotImplementedError

    def assignment(
        self,
        source: str = "clip.mkv",
        *,
        run: int = 1,
        profile: Profile = PROFILE,
        media: Facts = MEDIA,
        **limits: Any,
    ) -> Assignment:
        """Put a file into the inbox, if it is not there yet, and assign an attempt at it."""
        original = self.root / "inbox" / source
        if not original.exists():
            shutil.copyfile(self.clip, original)
        stat = original.lstat()
        job = replace(JOB, source=source, size=stat.st_size, mtime_ns=mtime_ns(stat), run=run)
        output = os.path.join(self.work.path(job.id, run), output_name(profile.suffix))
        plan = plan_encode(
            profile,
            media,
            program=self.program.path,
            ability=self.program.ability,
            source=str(original),
            output=output,
            cores=2,
            parallel=1,
            max_pixels=1 << 27,
        )
        assert isinstance(plan, EncodePlan), plan
        identity = Identity.of(stat)
        return Assignment(job, str(original), identity, media, plan, replace(LIMITS, **limits))

    def made(self, run: int = 1) -> dict[str, bytes]:
        """Return what lies in an attempt's work directory."""
        folder = Path(self.work.path(JOB.id, run))
        return {path.name: path.read_bytes() for path in folder.glob("*")}


class LocalKit(Kit):
    """ffmpeg children of the fake ffmpeg; or of a real one."""

    def __init__(self, root: Path, clip: Path, reader: ProbeWorker, ffmpeg: str = "") -> None:
        super().__init__(root, clip)
        self.reader, self.gates = reader, root / "gates"
        self.gates.mkdir()
        gate = f"gate:{self.gates}"
        behaviour = {"gate*": gate, "fails*": "exit:3", "endless*": "hang", "stubborn*": "stubborn"}
        path = ffmpeg or write_fake(
            root / "bin", {**behaviour, "slow*": "slow:0.4", "half*": "truncated"}, frames=FRAMES
        )
        self.program = Program(path, Ability(version_of(path)))
        self.engine = self.engine_of(self.program)

    def engine_of(self, program: Program) -> LocalEngine:
        """Return an engine as the next daemon makes it."""
        return LocalEngine(program, self.reader, self.work, owner_tag=str(self.root))

    def let_go(self, source: str) -> None:
        (self.gates / source).touch()


class FakeKit(Kit):
    """Machines in memory."""

    def __init__(self, root: Path, clip: Path) -> None:
        super().__init__(root, clip)
        too_long = Rejected("it takes too long", cause=Cause.TIMEOUT)
        scripts = {
            "gate*": Script(gated=True),
            "fails*": Script(Broke("ffmpeg ended with status 3", cause=Cause.FFMPEG)),
            "endless*": Script(too_long, seconds=0.3),
            "stubborn*": Script(seconds=NEVER, stubborn=True),
            "slow*": Script(seconds=0.4),
            "half*": Script(Broke("the output is not whole", cause=Cause.OUTPUT)),
            "away*": Script(trouble="its machine does not answer"),
            "warned*": Script(
                warnings=(JobWarning(WarningCause.TRACK_LEFT_OUT, "left out: a track"),)
            ),
        }
        self.machines = FakeMachines(scripts, capacity=1)
        self.engine = FakeEngine(self.work, self.machines)

    def let_go(self, source: str) -> None:
        self.machines.let_go.add(source)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_clip(tmp_path_factory.mktemp("clip"), seconds=FRAMES / 10)


@pytest.fixture(scope="module")
def reader() -> Iterator[ProbeWorker]:
    worker = ProbeWorker()
    yield worker
    worker.close()


@pytest.fixture(params=["local", "fake"])
def kit(
    request: pytest.FixtureRequest, tmp_path: Path, clip: Path, reader: ProbeWorker
) -> Iterator[Kit]:
    made = LocalKit(tmp_path, clip, reader) if request.param == "local" else FakeKit(tmp_path, clip)
    yield made
    made.folders.unlock()


@pytest.fixture
def local(tmp_path: Path, clip: Path, reader: ProbeWorker) -> Iterator[LocalKit]:
    made = LocalKit(tmp_path, clip, reader)
    yield made
    made.folders.unlock()


@pytest.fixture
def fake(tmp_path: Path, clip: Path) -> Iterator[FakeKit]:
    made = FakeKit(tmp_path, clip)
    yield made
    made.folders.unlock()


async def ended(running: Running) -> AttemptResult:
    """Wait for an attempt's end; by then its encode has ended, too."""
    result = await asyncio.wait_for(asyncio.shield(running.result), LONG)
    assert running.encoded.is_set()
    return result


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(LONG):
        while not condition():  # noqa: ASYNC110 (nothing tells)
            await asyncio.sleep(0.005)


def run(
    kit: Kit,
    assignment: Assignment,
    meanwhile: Callable[[Running], Coroutine[Any, Any, None]] | None = None,
) -> AttemptResult:
    """Make an attempt to its end, and do something meanwhile."""

    async def main() -> AttemptResult:
        running = kit.engine.begin(assignment)
        assert not running.result.done()
        if meanwhile:
            await meanwhile(running)
        return await ended(running)

    return asyncio.run(main())


# from the beginning to the end


def test_an_output_lies_in_the_work_directory_with_the_size_that_it_says(kit: Kit) -> None:
    result = run(kit, kit.assignment(run=7))

    assert isinstance(result.outcome, Encoded)
    assert result.outcome.outputs
    for output in result.outcome.outputs:
        assert output.suffix == ".mkv"
        assert len(kit.made(run=7)[output.file]) == output.size > 0
    assert result.end.outcome is AttemptOutcome.ENCODED
    assert result.end.cause is None
    assert result.end.seconds > 0
    assert result.end.media_seconds == MEDIA.duration_seconds


def test_an_attempt_is_encoded_at_the_latest_when_it_ends(kit: Kit) -> None:
    seen = []

    async def let_go(running: Running) -> None:
        running.result.add_done_callback(lambda _: seen.append(running.encoded.is_set()))
        assert not running.encoded.is_set()
        kit.let_go("gate.mkv")
        await asyncio.wait_for(running.encoded.wait(), LONG)

    assert isinstance(run(kit, kit.assignment("gate.mkv"), let_go).outcome, Encoded)
    assert seen == [True]


def test_progress_only_grows(kit: Kit) -> None:
    seen: list[Progress] = []

    async def watch(running: Running) -> None:
        while not running.result.done():
            if progress := running.progress():
                seen.append(progress)
            await asyncio.sleep(0.01)

    run(kit, kit.assignment("slow.mkv"), watch)

    fractions = [progress.fraction or 0.0 for progress in seen]
    assert len(set(fractions)) > 3
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0


def test_an_assignment_is_plain_data(kit: Kit) -> None:
    assignment = kit.assignment()

    copy = pickle.loads(pickle.dumps(assignment))

    assert copy == assignment
    assert isinstance(run(kit, copy).outcome, Encoded)


def test_an_engine_may_say_how_much_it_can_do_at_once(kit: Kit) -> None:
    assert kit.engine.capacity() in (None, 1)


def test_an_attempt_that_nobody_knows_is_not_adopted(kit: Kit) -> None:
    async def adopt() -> Running | None:
        return kit.engine.adopt(replace(JOB, id=99))

    assert asyncio.run(adopt()) is None


# stop, pause


@pytest.mark.parametrize("kill", [False, True])
@pytest.mark.parametrize("source", ["gate.mkv", "stubborn.mkv"])
def test_a_stop_ends_an_encode_within_its_grace(kit: Kit, source: str, kill: bool) -> None:
    async def stop(running: Running) -> None:
        await until(lambda: running.progress() is not None)
        running.stop(kill=kill)
        running.stop(kill=kill)  # and again

    assert isinstance(run(kit, kit.assignment(source), stop).outcome, Interrupted)


def test_a_kill_does_not_wait_for_the_grace(kit: Kit) -> None:
    async def stop(running: Running) -> None:
        await until(lambda: running.progress() is not None)
        running.stop()
        running.stop(kill=True)

    result = run(kit, kit.assignment("stubborn.mkv", grace_seconds=NEVER), stop)

    assert isinstance(result.outcome, Interrupted)


@pytest.mark.parametrize("kill", [False, True])
def test_a_stop_may_come_before_the_encode_begins(kit: Kit, kill: bool) -> None:
    async def stop(running: Running) -> None:
        running.stop(kill=kill)

    result = run(kit, kit.assignment("gate.mkv"), stop)

    assert isinstance(result.outcome, Interrupted)
    assert result.end.outcome is AttemptOutcome.INTERRUPTED


def test_a_stop_after_the_end_changes_nothing(kit: Kit) -> None:
    async def main() -> tuple[AttemptResult, AttemptResult]:
        running = kit.engine.begin(kit.assignment())
        result = await ended(running)
        running.stop()
        running.stop(kill=True)
        running.pause()
        running.resume()
        return result, await ended(running)

    before, after = asyncio.run(main())

    assert isinstance(before.outcome, Encoded)
    assert after == before


def test_a_pause_holds_an_encode_until_it_is_resumed(kit: Kit) -> None:
    async def pause(running: Running) -> None:
        running.pause()
        running.pause()
        await asyncio.sleep(0.9)  # twice what it takes
        assert not running.encoded.is_set()
        running.resume()
        running.resume()

    assert isinstance(run(kit, kit.assignment("slow.mkv"), pause).outcome, Encoded)


def test_a_paused_encode_can_be_stopped(kit: Kit) -> None:
    async def stop(running: Running) -> None:
        running.pause()
        running.stop()

    assert isinstance(run(kit, kit.assignment("gate.mkv"), stop).outcome, Interrupted)


# what goes wrong


@pytest.mark.parametrize(
    ("source", "kind", "cause", "outcome"),
    [
        ("fails.mkv", Broke, Cause.FFMPEG, AttemptOutcome.BROKE),
        ("half.mkv", Broke, Cause.OUTPUT, AttemptOutcome.BROKE),
        ("endless.mkv", Rejected, Cause.TIMEOUT, AttemptOutcome.REJECTED),
    ],
)
def test_a_failure_is_a_value_with_a_cause_and_a_report(
    kit: Kit, source: str, kind: type[Outcome], cause: Cause, outcome: AttemptOutcome
) -> None:
    limit = 1.0 if source == "endless.mkv" else NEVER
    result = run(kit, kit.assignment(source, time_limit_seconds=limit))

    assert isinstance(result.outcome, Rejected | Broke)
    assert isinstance(result.outcome, kind)
    assert result.outcome.cause is cause
    assert result.outcome.reason
    assert source in result.outcome.report
    assert (result.end.outcome, result.end.cause) == (outcome, cause)


@pytest.mark.parametrize("source", ["gate.mkv", "gate-fails.mkv"])
def test_what_was_made_of_an_original_that_changed_counts_for_nothing(
    kit: Kit, source: str
) -> None:
    async def change(_: Running) -> None:
        os.utime(kit.root / "inbox" / source, ns=(1, 1))
        kit.let_go(source)

    assert run(kit, kit.assignment(source), change).outcome == Stale()


def test_an_original_that_goes_is_gone(kit: Kit) -> None:
    async def remove(running: Running) -> None:
        await until(lambda: running.progress() is not None)
        (kit.root / "inbox" / "gate.mkv").unlink()
        kit.let_go("gate.mkv")

    assert run(kit, kit.assignment("gate.mkv"), remove).outcome == Gone()


def test_an_attempt_that_is_stopped_because_its_original_is_gone_says_so(kit: Kit) -> None:
    async def stop(running: Running) -> None:
        (kit.root / "inbox" / "gate.mkv").unlink()
        running.stop(kill=True)

    assert run(kit, kit.assignment("gate.mkv"), stop).outcome == Gone()


def test_an_outbox_that_is_away_is_no_fault_of_the_file(kit: Kit) -> None:
    assignment, outbox = kit.assignment(), kit.root / "outbox"
    outbox.rename(kit.root / "away")
    outbox.mkdir()  # the bare mount point

    async def main() -> None:
        running = kit.engine.begin(assignment)
        with pytest.raises(EnvironmentTrouble, match="outbox"):
            await ended(running)
        assert running.encoded.is_set()

    asyncio.run(main())

    assert list(outbox.iterdir()) == []


# the machines in memory


def test_attempts_outlive_the_daemon_that_began_them(fake: FakeKit) -> None:
    assignment = fake.assignment("gate.mkv")

    async def first() -> None:
        fake.engine.begin(assignment)
        await asyncio.sleep(0.02)

    async def second() -> AttemptResult:
        running = FakeEngine(fake.work, fake.machines).adopt(assignment.job)
        assert running
        assert running.progress()
        assert not running.encoded.is_set()
        fake.let_go("gate.mkv")
        return await ended(running)

    asyncio.run(first())
    result = asyncio.run(second())

    assert isinstance(result.outcome, Encoded)
    assert fake.made() == {"output.mkv": b"the film"}
    assert fake.machines.begun == ["gate.mkv"]


def test_an_attempt_that_ended_while_no_daemon_was_there_is_fetched(fake: FakeKit) -> None:
    assignment = fake.assignment("warned.mkv")

    async def first() -> None:
        fake.engine.begin(assignment)

    async def second() -> AttemptResult:
        await until(fake.machines.attempts[1, 1].is_over)
        running = FakeEngine(fake.work, fake.machines).adopt(assignment.job)
        assert running
        return await ended(running)

    asyncio.run(first())
    outcome = asyncio.run(second()).outcome

    assert isinstance(outcome, Encoded)
    assert [warning.cause for warning in outcome.warnings] == [WarningCause.TRACK_LEFT_OUT]


def test_the_machines_take_no_more_than_they_can(fake: FakeKit) -> None:
    async def main() -> None:
        first = fake.engine.begin(fake.assignment("gate.mkv"))
        with pytest.raises(AssertionError, match="2 of 1"):
            fake.engine.begin(fake.assignment("gate.mkv", run=2))
        first.stop()
        await ended(first)

    assert fake.engine.capacity() == 1
    asyncio.run(main())


def test_a_machine_that_fails_is_to_blame_itself(fake: FakeKit) -> None:
    with pytest.raises(EnvironmentTrouble, match="does not answer"):
        run(fake, fake.assignment("away.mkv"))


# ffmpeg children


def test_a_real_ffmpeg_encodes_in_its_sandbox(
    tmp_path: Path, clip: Path, reader: ProbeWorker
) -> None:
    kit = LocalKit(tmp_path, clip, reader, FFMPEG)
    profile = Profile("p", ".mp4", ("-map", "auto", "-c:v", "mpeg4"), Verify.FULL)
    with (clip).open("rb") as file:
        media = reader.probe(file.fileno())

    result = run(kit, kit.assignment(profile=profile, media=media, sandbox="auto"))

    assert isinstance(result.outcome, Encoded)
    assert result.outcome.outputs[0].suffix == ".mp4"
    assert result.end.cpu_seconds is not None
    kit.folders.unlock()


def test_the_machine_is_to_blame_where_its_ffmpeg_is_gone(local: LocalKit) -> None:
    assignment = local.assignment()
    os.unlink(local.program.path)

    with pytest.raises(EnvironmentTrouble, match="ffmpeg"):
        run(local, assignment)


def failing(kit: LocalKit) -> None:
    """Let every encode fail from now on, with the same ffmpeg as far as anybody can tell."""
    write_fake(kit.root / "bin", otherwise="exit:3")


def test_what_was_proven_is_used_again(local: LocalKit) -> None:
    """A crash between the proof and the journal's intent costs no second encode."""
    first = run(local, local.assignment()).outcome
    assert isinstance(first, Encoded)
    failing(local)

    second = run(local, local.assignment(run=2))

    assert second.outcome == first
    assert second.end.outcome is AttemptOutcome.ENCODED
    assert second.end.media_seconds == MEDIA.duration_seconds
    assert len(local.made(run=2)["output.mkv"]) == first.outputs[0].size
    assert local.made(run=1) == {}
    kept = local.work.read_manifest(JOB.id)
    assert kept
    assert kept.run == 2

    assert run(local, local.assignment(run=3)).outcome == first


def grow_output(kit: LocalKit) -> None:
    with open(os.path.join(kit.work.path(JOB.id, 1), "output.mkv"), "ab") as output:
        output.write(b"more")


def remove_output(kit: LocalKit) -> None:
    os.unlink(os.path.join(kit.work.path(JOB.id, 1), "output.mkv"))


def remove_run(kit: LocalKit) -> None:
    shutil.rmtree(kit.work.path(JOB.id, 1))


def break_manifest(kit: LocalKit) -> None:
    (kit.root / "outbox" / WORK_DIR / str(JOB.id) / "manifest.json").write_text("{")


@pytest.mark.parametrize("change", [grow_output, remove_output, remove_run, break_manifest])
def test_what_is_left_of_a_proven_output_is_not_used(
    local: LocalKit, change: Callable[[LocalKit], None]
) -> None:
    run(local, local.assignment())
    change(local)
    failing(local)

    assert isinstance(run(local, local.assignment(run=2)).outcome, Broke)


@pytest.mark.parametrize(
    "profile",
    [
        replace(PROFILE, args=("-c:v", "libx264")),
        replace(PROFILE, suffix=".webm"),
        replace(PROFILE, verify=Verify.STREAMS),
    ],
    ids=["args", "suffix", "verify"],
)
def test_what_was_proven_of_another_plan_is_not_used(local: LocalKit, profile: Profile) -> None:
    run(local, local.assignment())
    failing(local)

    assert isinstance(run(local, local.assignment(run=2, profile=profile)).outcome, Broke)


def test_what_another_ffmpeg_has_made_is_not_used(local: LocalKit) -> None:
    run(local, local.assignment())
    failing(local)
    local.engine = local.engine_of(replace(local.program, ability=Ability("2")))

    assert isinstance(run(local, local.assignment(run=2)).outcome, Broke)


def test_what_was_made_of_another_file_is_not_used(local: LocalKit) -> None:
    run(local, local.assignment())
    failing(local)
    os.utime(local.root / "inbox" / "clip.mkv", ns=(1, 1))

    assert isinstance(run(local, local.assignment(run=2)).outcome, Broke)


def test_a_proven_output_of_a_file_that_changed_since_is_stale(local: LocalKit) -> None:
    run(local, local.assignment())
    assignment = local.assignment(run=2)
    os.utime(local.root / "inbox" / "clip.mkv", ns=(1, 1))

    assert run(local, assignment).outcome == Stale()


def test_an_output_that_is_not_proven_has_no_manifest(local: LocalKit) -> None:
    run(local, local.assignment("half.mkv"))

    assert local.work.read_manifest(JOB.id) is None


def test_a_manifest_tells_what_was_made_of_what(local: LocalKit) -> None:
    assignment = local.assignment()
    outcome = run(local, assignment).outcome

    kept = local.work.read_manifest(JOB.id)

    assert isinstance(outcome, Encoded)
    assert isinstance(kept, Manifest)
    assert (
        kept.outputs == outcome.outputs == (OutputFile("output.mkv", ".mkv", kept.outputs[0].size),)
    )
    assert (kept.source, kept.size, kept.run) == ("clip.mkv", assignment.job.size, 1)
    assert kept.plan[:2] == assignment.plan.args
