"""The parts of a daemon without its life: built, asked one thing, and closed.

async def steps(app: App) -> None: ...
with_app(place, steps)                    # all parts, as the daemon builds them

async with Bench(tmp_path) as bench:      # real journal, folders and parts around a stand-in
    bench.drop("a.mkv")                   # a job that is ready
    bench.dispatcher.resize(1)
    bench.start(bench.dispatcher.run())
    begun = await bench.engine.begun()    # what the dispatcher had the engine begin
    begun.finish(Rejected("no video"))
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from pathlib import Path
from typing import TYPE_CHECKING, Self, TypeVar

from tests.fakes_destination import FakeDestination
from watchconv.config.load import load_config
from watchconv.daemon.app import build
from watchconv.daemon.context import Context, CurrentConfig, ScanRequest, Signals
from watchconv.daemon.deliveries import Deliveries
from watchconv.daemon.dispatcher import Dispatcher
from watchconv.daemon.trouble import Troubles
from watchconv.daemon.worker import Worker
from watchconv.encode.engine import Assignment, AttemptLimits, AttemptResult
from watchconv.encode.plan import EncodePlan
from watchconv.encode.program import Ability, Program
from watchconv.host.folders import Folders, make_state
from watchconv.host.status_file import WAKE_DIR
from watchconv.host.workdir import WorkDirectories
from watchconv.intake.watch import Watcher
from watchconv.journal.jobs import Journal
from watchconv.journal.thread import JournalThread
from watchconv.media.facts import Facts
from watchconv.media.probe import ProbeWorker
from watchconv.model import Candidate, Identity, Verify
from watchconv.policy import attempt_end

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Mapping

    from tests.daemon import Place
    from watchconv.config import Config
    from watchconv.daemon.app import App
    from watchconv.daemon.worker import Attempt
    from watchconv.encode.proof import Proof
    from watchconv.model import Job, JobState, Outcome, Profile, Progress, Rejected, Trouble

PROGRAM = Program("/usr/bin/ffmpeg", Ability("0"))
SECONDS = 30.0  # what takes longer hangs
CONTENT = b"moving pictures"  # of each file
T = TypeVar("T")


def with_app(place: Place, steps: Callable[[App], Awaitable[None]]) -> None:
    """Run steps with the parts of a daemon that does not live."""

    async def live() -> None:
        config = load_config(str(place.config))
        folders, journal = open_state(config)
        app = build(config, PROGRAM, folders, journal, None)
        try:
            async with asyncio.timeout(SECONDS):
                await steps(app)
        finally:
            await app.close()
            journal.close()
            folders.unlock()

    asyncio.run(live())


def open_state(config: Config) -> tuple[Folders, JournalThread]:
    """Open what a daemon holds: the locks and the journal."""
    make_state(config.state, WAKE_DIR)
    folders = Folders(config.inbox, config.outbox, config.done, config.error)
    folders.make()
    assert folders.check(config.state).problems == ()
    return folders, JournalThread(config.state)


async def until(condition: Callable[[], object]) -> None:
    """Let the loop turn until something is so."""
    async with asyncio.timeout(SECONDS):
        while not condition():  # noqa: ASYNC110 (what is waited for has no event)
            await asyncio.sleep(0.001)


async def answered(ask: Callable[[], Awaitable[T]]) -> T:
    """Ask again and again until the answer is true; return it."""
    async with asyncio.timeout(SECONDS):
        while not (answer := await ask()):  # noqa: ASYNC110 (what is waited for has no event)
            await asyncio.sleep(0.001)
        return answer


class BegunAttempt:
    """An attempt that a test ends; see ``encode.engine.Running``."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.encoded = asyncio.Event()
        self.result: asyncio.Future[AttemptResult] = asyncio.get_running_loop().create_future()
        self.stops: list[bool] = []  # kill, each time

    def progress(self) -> Progress | None:
        """Say nothing."""

    def stop(self, *, kill: bool = False) -> None:
        """Note it."""
        self.stops.append(kill)

    def pause(self) -> None:
        """Not asked for here."""

    def resume(self) -> None:
        """Not asked for here."""

    def finish(self, outcome: Outcome, proof: Proof | None = None) -> None:
        """End it, encode and proof."""
        self.encoded.set()
        self.result.set_result(AttemptResult(outcome, attempt_end(outcome), proof))


class StandInEngine:
    """An engine whose attempts a test ends. See ``encode.engine.Engine``."""

    def __init__(self) -> None:
        self.size: int | None = None
        self.attempts: list[BegunAttempt] = []
        self.living: dict[int, BegunAttempt] = {}  # from before a restart, by job
        self._seen = 0

    def capacity(self) -> int | None:
        """Return the number that was set."""
        return self.size

    def begin(self, assignment: Assignment) -> BegunAttempt:
        """Begin nothing."""
        self.attempts.append(BegunAttempt(assignment.job))
        return self.attempts[-1]

    def adopt(self, job: Job) -> BegunAttempt | None:
        """Return what was said to live."""
        return self.living.get(job.id)

    async def begun(self) -> BegunAttempt:
        """Return the next attempt that was begun."""
        await until(lambda: len(self.attempts) > self._seen)
        self._seen += 1
        return self.attempts[self._seen - 1]


PLAN = EncodePlan((), (), ".mkv", Verify.OFF, None, uses_hardware=False)


class StandInWorker(Worker):
    """Prepares everything, but for what is to end at once."""

    def __init__(
        self, context: Context, work: WorkDirectories, engine: StandInEngine, deliveries: Deliveries
    ) -> None:
        self.counted = CountedProbe()
        super().__init__(context, PROGRAM, self.counted, work, engine, deliveries)
        self.ends: dict[str, Outcome | Exception] = {}  # by source

    def _prepare(self, attempt: Attempt) -> Assignment | Outcome:
        job = attempt.job
        if end := self.ends.get(job.source):
            if isinstance(end, Exception):
                raise end
            return end
        media = Facts("matroska", 1.0, ())
        limits = AttemptLimits(0, 0, 0, 0, 0, True, 0, 0, 0, "none", "off")
        identity = Identity(0, 0, job.size, job.mtime_ns, 0)
        return Assignment(job, job.source, identity, media, PLAN, limits)

    def _plan(
        self, attempt: Attempt, profile: Profile, media: Facts, original: str
    ) -> EncodePlan | Rejected:
        return PLAN


class CountedProbe(ProbeWorker):
    """A probe that is only asked to be warm."""

    warmed = 0

    def warm(self) -> None:
        """Count it."""
        self.warmed += 1


class Bench:
    """Real parts around an engine, a preparation and a destination that do as they are told."""

    def __init__(self, folder: Path, settings: Mapping[str, object] | None = None) -> None:
        self._folder = folder.resolve()
        self._settings = {"min_free": 0, **(settings or {})}
        self._tasks: list[asyncio.Task[None]] = []
        self.recorded: list[tuple[Trouble, str, bool]] = []

    async def __aenter__(self) -> Self:
        """Open the state, and make the parts."""
        names = ("inbox", "outbox", "done", "error", "state")
        text = "".join(f"{name}: {self._folder / name}\n" for name in names)
        text += "".join(f"{key}: {value}\n" for key, value in self._settings.items())
        (self._folder / "config.yaml").write_text(text, encoding="utf-8")
        self.config = load_config(str(self._folder / "config.yaml"))
        self.folders, self.journal = open_state(self.config)
        due, self.signals = asyncio.Event(), Signals()
        self.request = ScanRequest(Watcher(self.config.inbox, lambda: None), due)
        self.troubles = Troubles(lambda *told: self.recorded.append(told))
        self.context = Context(
            CurrentConfig(self.config),
            self.folders,
            self.journal,
            self.troubles,
            self.signals,
            self.request,
        )
        self.work = WorkDirectories(self.folders)
        self.engine, self.destination = StandInEngine(), FakeDestination()
        self.deliveries = Deliveries(self.context, self.destination, self.work)
        self.worker = StandInWorker(self.context, self.work, self.engine, self.deliveries)
        self.dispatcher = Dispatcher(self.context, self.worker)
        return self

    async def __aexit__(self, *_: object) -> None:
        """End what was started, and close."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for begun in [*self.engine.attempts, *self.engine.living.values()]:
            if not begun.result.done():
                begun.result.cancel()
        for attempt in asyncio.all_tasks() - {asyncio.current_task()}:
            attempt.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await attempt
        self.journal.close()
        self.folders.unlock()

    def start(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        """Run a part until the end."""
        task = asyncio.create_task(work)
        self._tasks.append(task)
        return task

    async def dispatch(self, jobs: int) -> None:
        """Run the dispatcher with so many slots."""
        self.dispatcher.resize(jobs)
        self.start(self.dispatcher.run())

    async def add(self, *sources: str) -> list[Job]:
        """Queue jobs of files that lie in the inbox."""
        candidates = [self._settled(source) for source in sources]
        added = await self.journal.ask(Journal.add, candidates, time.time())
        self.signals.changed(work=True)
        return added

    def _settled(self, source: str) -> Candidate:
        path = Path(self.config.inbox, source)
        path.write_bytes(CONTENT)
        found = path.stat()
        self.destination.files[f"inbox/{source}"] = (CONTENT, found.st_mtime_ns)
        return Candidate(source, found.st_size, found.st_mtime_ns, "webm")

    async def claimed(self, source: str) -> Job:
        """Queue one job and claim it, as an earlier daemon did."""
        await self.add(source)
        job = await self.journal.ask(Journal.claim, time.time())
        assert job
        return job

    async def state(self, job_id: int) -> JobState:
        """Return the state of a job."""
        job = await self.journal.ask(Journal.get, job_id)
        assert job
        return job.state

    async def wait_for(self, job_id: int, state: JobState) -> Job:
        """Wait until a job is in a state."""

        async def ask() -> Job | None:
            job = await self.journal.ask(Journal.get, job_id)
            return job if job and job.state is state else None

        job = await answered(ask)
        assert job
        return job
