"""``check FILE…``: is a file whole, and does all of it decode? Nothing is made or moved."""

from __future__ import annotations

import os
import sys
import tempfile
from contextlib import closing
from typing import TYPE_CHECKING

from watchconv.config import Sandbox
from watchconv.encode.classify import EncodeFacts, classify
from watchconv.encode.ffmpeg_output import ProgressTracker, StderrReader
from watchconv.encode.health import Health, judge, plan_health
from watchconv.encode.plan import refusal
from watchconv.encode.program import choose_program
from watchconv.errors import WatchconvError
from watchconv.host.files import closing as closing_file
from watchconv.host.files import open_regular
from watchconv.host.workdir import readable_name
from watchconv.media.container import Ending
from watchconv.media.holes import file_end
from watchconv.media.probe import ProbeWorker
from watchconv.media.probe_protocol import NoWorker, ProbeFailed
from watchconv.model import Broke, Cause, Rejected
from watchconv.names import printable
from watchconv.process.child import Child, Command
from watchconv.process.sandbox.programs import system_reads
from watchconv.process.sandbox.rules import SandboxRules, confine
from watchconv.process.spawn import Limits, environment

if TYPE_CHECKING:
    import argparse

    from watchconv.config import Config
    from watchconv.media.facts import Facts

_WORDS = {Cause.TRUNCATED: "truncated", Cause.DAMAGED: "damaged", Cause.UNREADABLE: "damaged"}


def examine(config: Config, arguments: argparse.Namespace) -> int:
    """Print what each file is; return 0 where all are whole and sound, else 1."""
    program = choose_program(config, keep=False).path
    faulty = 0
    with closing(ProbeWorker()) as worker:
        for name in arguments.files:
            path = os.path.abspath(name)
            try:
                fault, warnings = _examine_file(config, path, program, worker)
            except (OSError, ProbeFailed, WatchconvError) as error:
                why = (
                    f"it cannot be read: {error.strerror}" if isinstance(error, OSError) else error
                )
                print(printable(f"watchconv: {name}: {why}"), file=sys.stderr)
                faulty += 1
                continue
            faulty += fault is not None
            if fault:
                print(printable(f"{name}: {_WORDS.get(fault.cause, 'refused')}: {fault.reason}"))
            else:
                print(printable(f"{name}: fine"))
            for warning in warnings:
                print(printable(f"    {warning.text}"))
    return int(faulty > 0)


def _examine_file(config: Config, path: str, program: str, worker: ProbeWorker) -> Health:
    """Say what is wrong with a file. Raises OSError, NoWorker, WatchconvError."""
    with closing_file(open_regular(*os.path.split(path))) as descriptor:
        size = os.fstat(descriptor).st_size
        end = file_end(descriptor, size)
        if end.ending is Ending.INCOMPLETE:
            return Health(Rejected(f"it is not whole: {end.detail}", cause=Cause.TRUNCATED))
        try:
            media = worker.probe(descriptor, sandbox=config.sandbox)
            if refused := refusal(media, config.max_pixels):
                return Health(refused)
            reader, fault = _decode(config, path, program, media)
            if fault:
                return Health(fault)
            there = worker.examine(descriptor, size, sandbox=config.sandbox)
        except NoWorker:
            raise
        except ProbeFailed as failed:
            return Health(Rejected(failed.reason, cause=failed.cause))
    return judge(media, reader.counts(), there)


def _decode(
    config: Config, path: str, program: str, media: Facts
) -> tuple[StderrReader, Rejected | Broke | None]:
    """Have a confined ffmpeg decode a file; return what it told, and why it failed."""
    stderr, tracker = StderrReader(), ProgressTracker(media.duration_seconds)

    def prepare() -> None:
        """Confine the child's thread."""
        if config.sandbox is not Sandbox.OFF:
            with closing_file(open_regular(*os.path.split(path))) as opened:
                needed = system_reads(program)
                confine(SandboxRules(read=(opened,), write=(folder,), execute=needed))

    with tempfile.TemporaryDirectory(prefix="watchconv-") as folder:
        source = readable_name(folder, path)
        if source != path:
            os.symlink(path, source)
        plan = plan_health(media, program=program, source=source, max_pixels=config.max_pixels)
        seconds = media.duration_seconds or 0.0
        limit = config.time_limit.seconds + config.time_limit.per_second * seconds
        command = Command(
            argv=plan.argv,
            cwd=folder,
            env=environment("", folder),
            stall_seconds=config.stall_seconds,
            time_limit=lambda: limit,
            grace_seconds=config.stop_grace_seconds,
            limits=Limits(memory_bytes=config.memory_limit or 0),
            prepare=prepare,
        )
        child = Child(command, tracker.feed, stderr.feed)
        try:
            ended = child.start().result()
        finally:
            child.stop(kill=True)
        stderr.close()
        facts = EncodeFacts(
            tail=stderr.tail,
            output_bytes=None,
            had_progress=tracker.progress is not None,
            max_output=0,
            has_all_memory=True,
            run=1,
            attempt=1,
            program=program,
            work=folder,
            outbox=folder,
        )
        outcome = classify(ended, facts)
    return stderr, outcome if isinstance(outcome, Rejected | Broke) else None
