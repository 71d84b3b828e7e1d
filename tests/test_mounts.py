"""The four folders: which mount holds them, what is wrong with them, and who has them."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.unprivileged import as_nobody, open_folder
from watchconv.errors import AlreadyRunning, EnvironmentTrouble
from watchconv.host import folders
from watchconv.host import mounts as room
from watchconv.host.folders import Folders, Missing
from watchconv.host.mounts import Mount, is_below, mount_of, mounts_below

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

REPOSITORY = Path(__file__).parents[1]


def line(point: str, fs_type: str) -> str:
    """One line of mountinfo, as the kernel writes it; no mount has that number here."""
    return f"-36 35 98:0 / {point} rw,noatime master:1 - {fs_type} /dev/x rw,errors=continue"


TABLE = "\n".join(
    [
        line("/", "ext4"),
        line("/srv", "xfs"),
        line("/srv/in\\040box", "nfs4"),
        line("/srv/tab\\011back\\134slash\\012line", "cifs"),
        line("/srv/twice", "ext4"),
        line("/srv/twice", "fuse.sshfs"),
        line("/srv/zfs", "zfs"),
        line("/vör", "tmpfs"),
        "37 35 98:0 / /optional rw shared:1 master:2 propagate_from:3 - btrfs none rw",
        "38 35 98:0 / /bare rw - overlay overlay rw",
        "garbage",
        "1 2 3 - ext4",
        "",
    ]
)


@pytest.mark.parametrize(
    ("path", "mount"),
    [
        ("/", Mount("/", "ext4")),
        ("/home/x", Mount("/", "ext4")),
        ("/srv", Mount("/srv", "xfs")),
        ("/srv/a/b", Mount("/srv", "xfs")),
        ("/srvx", Mount("/", "ext4")),
        ("/srv/in box", Mount("/srv/in box", "nfs4")),
        ("/srv/in box/trip", Mount("/srv/in box", "nfs4")),
        ("/srv/in boxes", Mount("/srv", "xfs")),
        ("/srv/tab\tback\\slash\nline/a", Mount("/srv/tab\tback\\slash\nline", "cifs")),
        ("/srv/twice/a", Mount("/srv/twice", "fuse.sshfs")),
        ("/vör/a", Mount("/vör", "tmpfs")),
        ("/optional/a", Mount("/optional", "btrfs")),
        ("/bare", Mount("/bare", "overlay")),
    ],
)
def test_the_longest_and_latest_mount_holds_a_path(path: str, mount: Mount) -> None:
    assert mount_of(path, TABLE) == mount


SERVICE = "\n".join(
    [
        "130 47 0:41 / / ro shared:42 master:1 - ext4 /dev/sda rw",
        "177 130 0:41 /srv/watchconv /srv/watchconv rw shared:93 master:1 - ext4 /dev/sda rw",
        "181 130 0:50 /private/tmp /tmp rw shared:64 - tmpfs tmp rw",
        "182 130 0:41 /data/films /srv/films rw master:1 - ext4 /dev/sda rw",
        "183 130 8:17 / /mnt/disk rw master:2 - xfs /dev/sdb rw",
        "184 183 8:17 /a\\040b /mnt/disk/a\\040b rw master:2 - xfs /dev/sdb rw",
    ]
)


@pytest.mark.parametrize(
    ("path", "point"),
    [
        ("/srv/watchconv/inbox", "/"),
        ("/mnt/disk/a b/inbox", "/mnt/disk"),
        ("/srv/films/inbox", "/srv/films"),  # shows another folder
        ("/tmp/inbox", "/tmp"),
    ],
)
def test_a_mount_that_a_unit_makes_of_a_folder_it_may_write_is_none(path: str, point: str) -> None:
    """ReadWritePaths= is there for the service alone: to a command, its mount would be gone."""
    assert mount_of(path, SERVICE).point == point


def test_the_mounts_below_a_folder_are_those_that_can_be_seen() -> None:
    points = ["/", "/in", "/in/a", "/in/a/deep", "/inner", "/in/b", "/in/a"]
    table = "\n".join(line(point, f"fs{number}") for number, point in enumerate(points))

    assert mounts_below("/in", table) == [Mount("/in/b", "fs5"), Mount("/in/a", "fs6")]
    assert mounts_below("/in/a", table) == []
    assert mounts_below("/in", f"{table}\n{line('/in', 'over')}") == []


def test_without_a_table_the_mount_is_unknown_and_proves_nothing() -> None:
    mount = mount_of("/srv", "")

    assert mount == Mount("/", "unknown")
    assert (mount.proves_writers, mount.has_events) == (False, False)


@pytest.mark.parametrize(
    ("fs_type", "proves_writers", "has_events"),
    [
        *((name, True, True) for name in ("ext4", "xfs", "btrfs", "zfs", "f2fs", "tmpfs")),
        *((name, False, True) for name in ("overlay", "vfat", "exfat")),
        *((name, False, False) for name in ("nfs", "nfs4", "cifs", "smb3", "fuse.sshfs", "9p")),
        *((name, False, False) for name in ("fuseblk", "virtiofs", "vboxsf", "ceph", "unheard-of")),
    ],
)
def test_only_local_file_systems_prove_anything(
    fs_type: str, *, proves_writers: bool, has_events: bool
) -> None:
    mount = mount_of("/srv", line("/srv", fs_type))

    assert (mount.proves_writers, mount.has_events) == (proves_writers, has_events)


@pytest.mark.parametrize(
    ("export", "is_exported"),
    [
        ("/srv/in box", True),
        ("/srv", True),
        ("/", True),
        ("/srv/in box/camera", True),
        ("/srv/in", False),
        ("/home", False),
    ],
)
def test_an_export_of_the_folder_or_above_or_below_it_is_found(
    export: str, is_exported: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = export.replace(" ", "\\040")
    (tmp_path / "etab").write_text(f"/other\t*(rw)\n{shown}\t10.0.0.0/8(rw,sync)\n")
    monkeypatch.setattr(room, "_EXPORTS", str(tmp_path / "etab"))

    assert room.exported_by_nfs("/srv/in box") is is_exported


def test_the_real_table_is_understood() -> None:
    assert mount_of("/proc/self").fs_type == "proc"
    assert mount_of("/proc/self").point == "/proc"


def four(folder: Path) -> Folders:
    return Folders(*(str(folder / name) for name in ("inbox", "outbox", "done", "error")))


@pytest.fixture
def house(tmp_path: Path) -> Iterator[Folders]:
    """Four folders that are well."""
    made = four(tmp_path.resolve())
    made.make()
    (tmp_path / "state").mkdir()
    yield made
    made.unlock()


# what is wrong


def not_mounted(name: str, path: str) -> str:
    """The sentence on a folder that was a mount point."""
    return (
        f"the {name} {path} is not mounted: {path} is gone; mount it again, or,"
        " if it is to be without from now on, watchconv check --forget-mounts"
    )


def test_folders_that_are_made_are_well(house: Folders) -> None:
    assert house.problems() == []
    assert house.work == os.path.join(house.outbox, ".watchconv")
    assert house.free_bytes() > 0

    house.make()

    assert house.problems() == []


def test_each_folder_that_is_missing_is_named_and_heals(house: Folders) -> None:
    for path in house.by_name.values():
        os.rmdir(path)

    assert house.problems() == [
        f"the {name} {path} does not exist: make it, or mount what holds it"
        for name, path in house.by_name.items()
    ]

    house.make()

    assert house.problems() == []


def test_a_file_in_a_folders_place_is_told(house: Folders) -> None:
    os.rmdir(house.done)
    Path(house.done).touch()
    house.make()

    said = f"the done {house.done} is not a folder: something else has its name"
    assert house.problems() == [said]


def test_a_folder_below_a_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    house = four(tmp_path / "a")
    house.make()

    assert house.problems()[0] == f"the inbox {house.inbox} cannot be reached: Not a directory"


@pytest.mark.parametrize("mode", [0o000, 0o555, 0o333])
def test_a_folder_that_may_not_be_used_is_told_with_the_user(mode: int) -> None:
    with open_folder() as folder:
        house = four(folder)
        house.make()
        for path in house.by_name.values():
            os.chmod(path, 0o777)
        os.chmod(house.outbox, mode)
        with as_nobody():
            user, problems = os.geteuid(), house.problems()

    assert problems == [
        f"the outbox {house.outbox} cannot be written by user {user}:"
        " permission denied; change its owner or mode"
    ]


def test_a_folder_that_goes_while_it_is_asked_about_is_told(
    house: Folders, monkeypatch: pytest.MonkeyPatch
) -> None:
    def leave(path: str, mode: int) -> bool:
        os.rmdir(path)
        return False

    monkeypatch.setattr(os, "access", leave)

    assert house.problems() == [
        f"the {name} {path} does not exist: make it, or mount what holds it"
        for name, path in house.by_name.items()
    ]


# mounts that come and go


def mounted(monkeypatch: pytest.MonkeyPatch, *points: str) -> None:
    """Let the kernel's table of mounts be this."""
    table = "\n".join(line(point, "ext4") for point in ("/", *points))
    monkeypatch.setattr(room, "table", lambda: table)


def test_a_mount_that_is_gone_is_not_an_empty_folder(
    house: Folders, monkeypatch: pytest.MonkeyPatch
) -> None:
    mounted(monkeypatch, house.inbox)

    assert house.problems() == []

    mounted(monkeypatch)

    assert house.problems() == [not_mounted("inbox", house.inbox)]

    mounted(monkeypatch, house.inbox)

    assert house.problems() == []


def test_a_mount_is_remembered_over_restarts(
    house: Folders, monkeypatch: pytest.MonkeyPatch
) -> None:
    point = os.path.dirname(house.inbox)
    mounted(monkeypatch, point)
    house.problems()
    kept = json.loads(json.dumps(house.remembered()))
    later = Folders(house.inbox, house.outbox, house.done, house.error)
    later.remember(kept)
    mounted(monkeypatch)

    assert kept == dict.fromkeys(house.by_name.values(), point)
    assert len(later.problems()) == 4
    assert later.remembered() == kept


def test_a_folder_in_trouble_is_not_remembered(
    house: Folders, monkeypatch: pytest.MonkeyPatch
) -> None:
    mounted(monkeypatch)
    os.rmdir(house.inbox)
    house.problems()

    assert house.inbox not in house.remembered()


def test_a_mount_that_came_later_is_remembered_as_well(
    house: Folders, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The daemon began before the disk was there, on the bare mount point."""
    mounted(monkeypatch)

    assert house.problems() == []

    mounted(monkeypatch, house.inbox)

    assert house.problems() == []

    mounted(monkeypatch)

    assert house.problems() == [not_mounted("inbox", house.inbox)]


def test_another_mount_further_up_changes_nothing(
    house: Folders, monkeypatch: pytest.MonkeyPatch
) -> None:
    mounted(monkeypatch, house.inbox)
    house.problems()
    mounted(monkeypatch, os.path.dirname(house.inbox), house.inbox)

    assert house.problems() == []


def test_what_lies_on_a_mount_below_the_inbox_is_not_believed_gone_with_it(
    house: Folders, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    camera, state = os.path.join(house.inbox, "camera"), str(tmp_path / "state")
    mounted(monkeypatch, camera)
    house.check(state)

    assert house.inbox_mounts() == [Mount("/", "ext4"), Mount(camera, "ext4")]
    assert house.missing_below() == []
    assert house.why_missing("camera/a.mkv") is Missing.GONE

    mounted(monkeypatch)

    assert house.why_missing("camera/a.mkv") is Missing.UNMOUNTED  # nobody has checked yet

    house.check(state)
    later = Folders(house.inbox, house.outbox, house.done, house.error)
    later.remember(json.loads(json.dumps(house.remembered())))

    for one in (house, later):
        assert one.missing_below() == [camera]
        assert one.why_missing("camera/a.mkv") is Missing.UNMOUNTED

    assert house.why_missing("cameras/a.mkv") is Missing.GONE

    house.forget()

    assert house.why_missing("camera/a.mkv") is Missing.GONE


def test_a_mount_that_is_seen_while_another_thread_asks_disturbs_nobody(
    house: Folders, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A check finds mounts, a delivery asks for one; here in the worst moment."""
    state = str(tmp_path / "state")
    mounted(monkeypatch, f"{house.inbox}/first")
    house.check(state)

    def check_meanwhile(path: str, point: str) -> bool:
        monkeypatch.setattr(folders, "is_below", is_below)
        mounted(monkeypatch, f"{house.inbox}/first", f"{house.inbox}/second")
        house.check(state)
        return is_below(path, point)

    monkeypatch.setattr(folders, "is_below", check_meanwhile)

    assert house.why_missing("a.mkv") is Missing.GONE
    assert f"{house.inbox}/second" in house.remembered()


def test_of_an_inbox_that_is_not_the_one_that_was_locked_nothing_is_believed_gone(
    house: Folders, tmp_path: Path
) -> None:
    state = str(tmp_path / "state")

    assert house.why_missing("a.mkv") is Missing.FOLDERS

    house.check(state)

    assert house.why_missing("a.mkv") is Missing.GONE

    os.rename(house.inbox, tmp_path / "old")

    assert house.why_missing("a.mkv") is Missing.FOLDERS

    os.mkdir(house.inbox)

    assert house.why_missing("a.mkv") is Missing.FOLDERS

    house.check(state)

    assert house.why_missing("a.mkv") is Missing.GONE


def test_a_folder_without_its_mount_is_let_go_of_and_not_locked(
    house: Folders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the disk could not be unmounted for good, and its bare mount point would be held."""
    state = str(tmp_path / "state")
    mounted(monkeypatch, house.inbox)
    house.problems()
    mounted(monkeypatch)
    found = house.check(state)

    assert found.problems == (not_mounted("inbox", house.inbox),)
    assert not opens(house, "inbox")
    assert opens(house, "outbox")

    mounted(monkeypatch, house.inbox)
    again = house.check(state)

    assert again.problems == ()
    assert again.generation > found.generation
    assert opens(house, "inbox")


@pytest.mark.parametrize("name", ["outbox", "done"])
def test_a_bare_mount_point_is_not_opened(
    house: Folders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Neither what was mounted in this life, nor what an earlier one remembers."""
    path, state = house.by_name[name], str(tmp_path / "state")
    house.check(state)
    mounted(monkeypatch)

    assert opens(house, name)

    house.remember({path: path})

    with (
        pytest.raises(EnvironmentTrouble, match=rf"the {name} .* is not mounted"),
        house.open(name),
    ):
        pass

    house.forget()
    house.check(state)

    assert opens(house, name)


def opens(house: Folders, name: str) -> bool:
    """Return whether a folder can be opened, and see that it is closed again."""
    before = os.listdir("/proc/self/fd")
    try:
        with house.open(name) as folder:
            assert os.path.samestat(os.fstat(folder.descriptor), os.stat(house.by_name[name]))
    except EnvironmentTrouble:
        return False
    finally:
        assert os.listdir("/proc/self/fd") == before
    return True


def test_a_folder_is_opened_only_while_it_is_the_one_that_was_checked(
    house: Folders, tmp_path: Path
) -> None:
    state = str(tmp_path / "state")

    assert not opens(house, "outbox")
    assert opens(house, "done")  # held by nobody, so that it can be unmounted

    first = house.check(state).generation

    assert opens(house, "outbox")
    assert house.is_current(first)

    os.rename(house.outbox, tmp_path / "old")

    assert not opens(house, "outbox")
    assert not house.is_current(first)

    os.mkdir(house.outbox)

    assert not opens(house, "outbox")

    second = house.check(state).generation

    assert opens(house, "outbox")
    assert not house.is_current(first)
    assert house.is_current(second)
    assert house.state.generation == second


def test_the_table_of_mounts_is_read_once_by_a_check_and_not_for_what_is_held(
    house: Folders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is asked before each scan and several times for each file."""
    reads, table = [], room.table

    def count() -> str:
        reads.append(1)
        return table()

    house.check(str(tmp_path / "state"))
    monkeypatch.setattr(room, "table", count)
    house.check(str(tmp_path / "state"))

    assert len(reads) == 1

    house.why_missing("a.mkv")
    house.is_current(house.state.generation)
    house.inbox_mounts()
    house.missing_below()
    opens(house, "inbox")
    opens(house, "outbox")

    assert len(reads) == 1


def test_a_check_of_folders_that_are_as_they_were_gives_the_very_answer_of_before(
    house: Folders, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The scan goes by it: nothing is different, mounts below the inbox included."""
    state = str(tmp_path / "state")

    def make_anew() -> None:
        os.rmdir(house.outbox)
        os.mkdir(house.outbox)

    changes: list[Callable[[], object]] = [
        lambda: mounted(monkeypatch, f"{house.inbox}/camera"),
        lambda: mounted(monkeypatch),
        lambda: os.rename(house.inbox, tmp_path / "old inbox"),  # trouble: asked anew each time …
        lambda: os.mkdir(house.inbox),  # … until it is over
        lambda: house.remember({f"{house.inbox}/disk": f"{house.inbox}/disk"}),
        house.forget,
        lambda: os.rename(house.done, tmp_path / "old done"),
        lambda: os.rename(tmp_path / "old done", house.done),
        make_anew,
        lambda: os.rename(state, tmp_path / "elsewhere"),
        lambda: os.mkdir(state),
    ]
    last = house.check(state)
    for number, change in enumerate(changes):
        change()
        now = house.check(state)
        again = house.check(state)

        assert now is not last, number
        assert (again is now) == (not now.problems and os.path.isdir(state)), number
        assert house.state is again
        last = again

    assert last.problems == ()


@pytest.mark.parametrize("name", ["inbox", "outbox", "done", "error"])
def test_a_folder_that_cannot_be_written_any_more_is_told_by_the_next_check(name: str) -> None:
    with open_folder() as folder:
        house = four(folder)
        house.make()
        (folder / "state").mkdir()
        for path in (*house.by_name.values(), str(folder / "state")):
            os.chmod(path, 0o777)
        with as_nobody():
            first = house.check(str(folder / "state"))
            assert house.check(str(folder / "state")) is first
        os.chmod(house.by_name[name], 0o555)
        with as_nobody():
            problems = house.check(str(folder / "state")).problems
        house.unlock()

    assert (first.problems, len(problems)) == ((), 1)
    assert f"the {name} {house.by_name[name]} cannot be written" in problems[0]


def test_a_bare_mount_point_that_a_check_sees_in_the_last_moment_is_not_taken_for_done(
    house: Folders, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The table still has the mount; the folder that is opened lies on the one around it."""
    found = room.identity(house.done)
    assert found
    around = f"{found[0]} 1 98:0 / / rw - ext4 /dev/x rw"
    monkeypatch.setattr(room, "table", lambda: f"{around}\n{line(house.done, 'ext4')}")

    assert house.check(str(tmp_path / "state")).problems == ()

    monkeypatch.setattr(room, "table", lambda: around)

    assert not opens(house, "done")
    assert opens(house, "error")


REAL_MOUNT = """
import os, subprocess, sys
from watchconv.errors import EnvironmentTrouble
from watchconv.host.folders import Folders
root = sys.argv[1]
house = Folders(*(f"{root}/{name}" for name in ("in box", "outbox", "done", "error")))
house.make()
def run(*argv): subprocess.run(argv, check=True)
run("mount", "-t", "tmpfs", "none", house.inbox)
run("mount", "-t", "tmpfs", "none", house.done)
print(house.problems())
run("umount", house.inbox)
run("mount", "-o", "remount,ro", house.done)
print(*house.problems(), sep="|")
run("mount", "-t", "tmpfs", "none", house.inbox)
run("mount", "-o", "remount,rw", house.done)
print(house.problems())

# what is made through the guard never lands on a bare mount point
os.mkdir(f"{root}/state")
run("mount", "-t", "tmpfs", "none", house.outbox)
first = house.check(f"{root}/state").generation
def make(name):
    try:
        with house.open(name) as folder:
            run("umount", "--lazy", house.by_name[name])
            os.mkdir("made", dir_fd=folder.descriptor)
    except EnvironmentTrouble as trouble:
        return str(trouble)
    return os.listdir(house.by_name[name])
print(make("outbox"), make("done"))
print(house.is_current(first), make("outbox"), make("done"), sep="|")
run("mount", "-t", "tmpfs", "none", house.outbox)
print(house.is_current(first), house.check(f"{root}/state").generation > first, make("outbox"))
"""


def test_real_mounts_come_and_go(tmp_path: Path) -> None:
    own = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "-Urm"]
    if subprocess.run([*own, "true"], capture_output=True, check=False).returncode:
        pytest.skip("mounting is not allowed here")
    root = tmp_path.resolve()
    child = subprocess.run(
        [*own, sys.executable, "-c", REAL_MOUNT, str(root)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    user = "by user 0"

    assert child.stdout.splitlines() == [
        "[]",
        not_mounted("inbox", f"{root}/in box")
        + f"|the done {root}/done cannot be written {user}: its file system is mounted read-only",
        "[]",
        "[] []",
        f"False|{not_mounted('outbox', f'{root}/outbox')}|{not_mounted('done', f'{root}/done')}",
        "False True []",
    ]


# locks

HOLD = """
import sys
from watchconv.host.folders import Folders
root, state = sys.argv[1:]
house = Folders(*(f"{root}/{name}" for name in ("inbox", "outbox", "done", "error")))
try:
    house.check(state)
    print("held", flush=True)
    sys.stdin.readline()
except Exception as error:
    print(type(error).__name__, error)
"""


def other_daemon(root: Path, state: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", HOLD, str(root), str(state)],
        cwd=REPOSITORY,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def told_other(root: Path, state: Path) -> str:
    with other_daemon(root, state) as child:
        return child.communicate("\n", timeout=60)[0].strip()


@pytest.mark.parametrize("shared", ["state", "inbox", "outbox"])
def test_a_second_daemon_is_turned_away_by_each_of_the_three(tmp_path: Path, shared: str) -> None:
    one, other = tmp_path.resolve() / "one", tmp_path.resolve() / "other"
    for root in (one, other):
        four(root).make()
        (root / "state").mkdir()
    (other / shared).rmdir()
    (other / shared).symlink_to(one / shared)
    house = four(one)
    house.check(str(one / "state"))

    assert told_other(other, other / "state") == (
        f"AlreadyRunning another watchconv is at work here: it holds {other / shared};"
        " stop it first, or give this one folders and a state of its own"
    )

    house.unlock()
    house.unlock()

    assert told_other(other, other / "state") == "held"


def test_a_daemon_that_was_turned_away_can_let_go_of_what_it_had(
    house: Folders, tmp_path: Path
) -> None:
    with other_daemon(tmp_path, tmp_path / "state") as child:
        assert child.stdout
        assert child.stdout.readline() == "held\n"

        late = four(tmp_path)
        (tmp_path / "state of its own").mkdir()
        with pytest.raises(AlreadyRunning, match=r"it holds .*/inbox;"):
            late.check(str(tmp_path / "state of its own"))
        late.unlock()
        child.kill()

    house.check(str(tmp_path / "state of its own"))


def test_a_killed_daemon_leaves_no_lock_and_no_file(house: Folders, tmp_path: Path) -> None:
    with other_daemon(tmp_path, tmp_path / "state") as child:
        assert child.stdout
        assert child.stdout.readline() == "held\n"

        child.kill()
    house.check(str(tmp_path / "state"))

    assert [os.listdir(path) for path in (house.inbox, house.outbox, tmp_path / "state")] == [
        [],
        [],
        [],
    ]


def test_locks_are_taken_once_however_often_one_asks(house: Folders, tmp_path: Path) -> None:
    house.check(str(tmp_path / "state"))
    before = os.listdir("/proc/self/fd")
    for _ in range(5):
        house.check(str(tmp_path / "state"))

    assert os.listdir("/proc/self/fd") == before


def test_a_folder_that_was_made_anew_is_locked_anew(house: Folders, tmp_path: Path) -> None:
    house.check(str(tmp_path / "state"))
    before = len(os.listdir("/proc/self/fd"))
    os.rmdir(house.inbox)
    os.mkdir(house.inbox)
    (tmp_path / "own").mkdir()
    (tmp_path / "own/outbox").mkdir()
    (tmp_path / "own/inbox").symlink_to(house.inbox)

    house.check(str(tmp_path / "state"))

    assert "it holds" in told_other(tmp_path / "own", tmp_path / "own")
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_folder_that_appears_later_is_locked_then(tmp_path: Path) -> None:
    root = tmp_path.resolve()
    house = four(root)
    (root / "state").mkdir()
    house.check(str(root / "state"))
    house.make()
    house.check(str(root / "state"))
    (root / "own").mkdir()
    told = told_other(root, root / "own")
    house.unlock()

    assert told.startswith("AlreadyRunning another watchconv is at work here: it holds")


def test_status_reads_what_a_daemon_holds(house: Folders, tmp_path: Path) -> None:
    (tmp_path / ".state").mkdir()
    house.check(str(tmp_path / ".state"))
    child = subprocess.run(
        [sys.executable, "-m", "watchconv", "--root", str(tmp_path), "status", "--json"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )

    assert json.loads(child.stdout)["state"] == "stopped"


def test_without_a_descriptor_left_no_folder_is_taken_for_the_one_we_know(
    house: Folders, tmp_path: Path
) -> None:
    generation = house.check(str(tmp_path / "state")).generation
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, before[1]))
    try:
        assert not house.is_current(generation)
        with pytest.raises(EnvironmentTrouble, match="Too many open files"), house.open("outbox"):
            pass
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert house.is_current(generation)


def test_locks_are_not_handed_to_children(house: Folders, tmp_path: Path) -> None:
    house.check(str(tmp_path / "state"))
    with subprocess.Popen(["sleep", "600"], close_fds=False) as child:
        house.unlock()
        told = told_other(tmp_path, tmp_path / "state")
        child.kill()

    assert told == "held"


def test_a_mount_that_held_a_folder_of_before_is_missed_by_nobody(tmp_path: Path) -> None:
    """Where the configuration names other folders than it did, the old ones are not waited for."""
    folders = four(tmp_path)
    below = f"{folders.inbox}/disk"

    folders.remember({"/mnt/old/outbox": "/mnt/old", below: below})

    assert folders.missing_below() == [below]


def test_the_generation_tells_whether_a_folder_is_there_anew(tmp_path: Path) -> None:
    folders = four(tmp_path)
    folders.make()
    first = folders.check(str(tmp_path)).generation

    assert folders.check(str(tmp_path)).generation == first

    (tmp_path / "inbox").rename(tmp_path / "elsewhere")
    away = folders.check(str(tmp_path)).generation
    (tmp_path / "inbox").mkdir()

    assert folders.check(str(tmp_path)).generation > away > first

    (tmp_path / "done").rename(tmp_path / "done before")
    (tmp_path / "done").mkdir()
    again = folders.check(str(tmp_path)).generation

    assert folders.is_current(again)
    folders.unlock()
