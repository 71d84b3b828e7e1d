"""The work directories in the outbox: ``.watchconv/<job>/<run>/``, and a manifest beside the runs.

Each attempt (run) has a directory that no other one ever writes into: an orphan of a dead daemon
cannot touch the work of a newer attempt. The manifest tells what the last proven attempt made, so
that a crash after the proof costs no second encode. All goes through the outbox's descriptor.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, BinaryIO

from watchconv.errors import EnvironmentTrouble
from watchconv.host.files import OpenFolder, sync_folder
from watchconv.host.folders import WORK_DIR
from watchconv.model import JobState, JobWarning, OutputFile, OutputRole, WarningCause
from watchconv.names import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from watchconv.host.folders import Folders
    from watchconv.model import Job

_MANIFEST = "manifest.json"
_JOINED = "joined"  # the parts of an original, behind one another
_NUMBER = re.compile("[1-9][0-9]{0,17}")
_BREAKS = re.compile(r"[\x00-\x1f\x7f\x85\u2028\u2029]")


@dataclass(frozen=True, slots=True)
class Manifest:
    """What the last proven attempt at a job made, and of what: if all is equal, it can be used."""

    source: str
    size: int
    mtime_ns: int
    plan: tuple[str, ...]  # the arguments between input and output
    ffmpeg: str  # path and version
    run: int  # in whose directory the outputs are
    outputs: tuple[OutputFile, ...]
    warnings: tuple[JobWarning, ...] = ()
    is_proven: bool = True
    receipt: str | None = None


class WorkDirectories:
    """The work directories of one outbox. May be used from any thread."""

    def __init__(self, folders: Folders) -> None:
        self._folders, self.outbox = folders, folders.outbox

    def path(self, job_id: int, run: int) -> str:
        """Return the path of an attempt's work directory."""
        return os.path.join(self._folders.work, str(job_id), str(run))

    def open(self, *below: int) -> OpenFolder:
        """Open the folder of all work, of a job, or of an attempt: (job, run).

        Raises FileNotFoundError, EnvironmentTrouble.
        """
        with self._folders.open("outbox") as outbox:
            return outbox.open(os.path.join(WORK_DIR, *map(str, below)), links=False)

    def make(self, job_id: int, run: int, source: str) -> str:
        """Make an attempt's work directory anew and return its path.

        It holds a link to source if that is not to be read by its own name: see ``readable_name``.
        Raises EnvironmentTrouble.
        """
        path = self.path(job_id, run)
        try:
            with self._folders.open("outbox") as outbox:
                with suppress(FileExistsError):
                    os.mkdir(WORK_DIR, 0o700, dir_fd=outbox.descriptor)
                with outbox.open(WORK_DIR, links=False) as root:
                    with suppress(FileExistsError):
                        os.mkdir(str(job_id), 0o700, dir_fd=root.descriptor)
                    with root.open(str(job_id), links=False) as folder:
                        shutil.rmtree(str(run), ignore_errors=True, dir_fd=folder.descriptor)
                        os.mkdir(str(run), 0o700, dir_fd=folder.descriptor)
                        if (name := readable_name(path, source)) != source:
                            link = os.path.join(str(run), os.path.basename(name))
                            os.symlink(source, link, dir_fd=folder.descriptor)
        except OSError as error:
            raise EnvironmentTrouble(
                f"cannot make a work directory in the outbox: {error.strerror} ({printable(path)})"
            ) from error
        return path

    def create_joined(self, job_id: int) -> BinaryIO:
        """Create, anew, the file of a job in which the parts of its original are joined.

        It stays until the job has ended. Raises OSError, EnvironmentTrouble.
        """
        with self._folders.open("outbox") as outbox:
            for folder in (WORK_DIR, os.path.join(WORK_DIR, str(job_id))):
                with suppress(FileExistsError):
                    os.mkdir(folder, 0o700, dir_fd=outbox.descriptor)
            with outbox.open(folder, links=False) as here:
                return here.at(_JOINED).create()

    def joined(self, job_id: int) -> str:
        """Return the path of that file."""
        return os.path.join(self._folders.work, str(job_id), _JOINED)

    def take_over(self, job_id: int, manifest: Manifest, run: int) -> bool:
        """Give an attempt the directory of an earlier one; False where its outputs are not there.

        The job's manifest tells of the new run then. Raises OSError, EnvironmentTrouble.
        """
        with self.open(job_id) as folder:
            here, before, now = folder.descriptor, str(manifest.run), str(run)
            with folder.open(before, links=False) as made:
                for output in manifest.outputs:
                    if made.at(output.file).stat().st_size != output.size:
                        return False
            if before != now:
                shutil.rmtree(now, ignore_errors=True, dir_fd=here)
                os.rename(before, now, src_dir_fd=here, dst_dir_fd=here)
        self.write_manifest(job_id, replace(manifest, run=run))
        return True

    def write_manifest(self, job_id: int, manifest: Manifest) -> None:
        """Write a job's manifest: whole, and on disk. Raises OSError, EnvironmentTrouble."""
        with self.open(job_id) as folder:
            _write(folder.descriptor, _MANIFEST, json.dumps(asdict(manifest)).encode())

    def write(self, job_id: int, run: int, name: str, content: bytes) -> None:
        """Write a file into an attempt's directory: whole, and on disk; it may be there already.

        Raises OSError, EnvironmentTrouble.
        """
        with self.open(job_id, run) as folder:
            _write(folder.descriptor, name, content)

    def read_manifest(self, job_id: int) -> Manifest | None:
        """Return a job's manifest; None where there is none that can be used."""
        with suppress(OSError, EnvironmentTrouble), self.open(job_id) as folder:
            return _read_manifest(folder)
        return None

    def remove(self, job_id: int) -> None:
        """Remove all work on a job, if there is any; what cannot be is left to ``sweep``."""
        with suppress(OSError, EnvironmentTrouble), self.open() as folder:
            shutil.rmtree(str(job_id), ignore_errors=True, dir_fd=folder.descriptor)

    def remove_attempt(self, job_id: int, run: int) -> None:
        """Remove an attempt's work, if there is any, and the manifest that tells of it."""
        with suppress(OSError, EnvironmentTrouble):
            with self.open(job_id) as folder:
                manifest = _read_manifest(folder)
                if manifest and manifest.run == run:
                    os.unlink(_MANIFEST, dir_fd=folder.descriptor)
                shutil.rmtree(str(run), ignore_errors=True, dir_fd=folder.descriptor)
            with self.open() as above:
                os.rmdir(str(job_id), dir_fd=above.descriptor)  # unless something is left in it

    def sweep(self, open_among: Callable[[Collection[int]], Iterable[Job]]) -> int:
        """Remove what crashed attempts, or those whose outbox was away, left. Return how many.

        open_among gives which of some jobs are open: their work still counts. It is called after
        all was listed, so what is begun meanwhile is not touched. Of such a job, the run that its
        manifest tells of stays and, unless it waits for its next one, the last.
        """
        removed = 0
        with suppress(OSError, EnvironmentTrouble), self.open() as root:
            runs: dict[str, list[str]] = {name: [] for name in os.listdir(root.descriptor)}
            numbered = [name for name in runs if _NUMBER.fullmatch(name)]
            for name in numbered:
                with suppress(OSError), root.open(name, links=False) as folder:
                    runs[name] = os.listdir(folder.descriptor)
            jobs = {str(job.id): job for job in open_among([*map(int, numbered)])} if runs else {}
            for name in runs.keys() - jobs.keys():
                shutil.rmtree(name, ignore_errors=True, dir_fd=root.descriptor)
                removed += 1
            for name, job in jobs.items():
                with suppress(OSError), root.open(name, links=False) as folder:
                    manifest = _read_manifest(folder)
                    kept = {_MANIFEST, _JOINED, str(manifest.run if manifest else "")}
                    if job.state is not JobState.QUEUED:
                        kept.add(str(job.run))
                    for other in set(runs[name]) - kept:
                        shutil.rmtree(other, ignore_errors=True, dir_fd=folder.descriptor)
                        removed += 1
        return removed


def _write(folder: int, name: str, content: bytes) -> None:
    part = f"{name}.part"
    with suppress(FileNotFoundError):  # a crash's
        os.unlink(part, dir_fd=folder)
    with open(part, "xb", opener=partial(os.open, mode=0o600, dir_fd=folder)) as writer:
        writer.write(content)
        writer.flush()
        os.fsync(writer.fileno())
    os.rename(part, name, src_dir_fd=folder, dst_dir_fd=folder)
    sync_folder(folder)


def _read_manifest(folder: OpenFolder) -> Manifest | None:
    try:
        with open(folder.at(_MANIFEST).open(os.O_RDONLY | os.O_NONBLOCK), "rb") as reader:
            row = json.load(reader)
        row["plan"] = tuple(row["plan"])
        row["outputs"] = tuple(
            OutputFile(made["file"], made["suffix"], made["size"], OutputRole(made["role"]))
            for made in row["outputs"]
        )
        row["warnings"] = tuple(
            JobWarning(WarningCause(cause), text) for cause, text in row["warnings"]
        )
        return Manifest(**row)
    except (FileNotFoundError, ValueError, TypeError, KeyError):
        return None


def output_name(suffix: str) -> str:
    """Return the name of what an attempt makes in its work directory."""
    return f"output{suffix}"


def readable_name(work: str, source: str) -> str:
    """Return the name by which ffmpeg is to read source, once the work directory is made.

    A name with line breaks would forge lines of what ffmpeg says: it gets a link to it.
    """
    return os.path.join(work, "input") if _BREAKS.search(source) else source
