"""Whose is what appears: that of the folder's users, with and without the rights to make it so."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.daemon import Daemon, Place, drop, tiny_clip
from tests.fakes import write_fake
from tests.places import make_folder, own
from tests.unprivileged import as_nobody, as_ourselves, open_folder
from tests.waiting import wait_until
from watchconv.deliver.ownership import Ownership

if TYPE_CHECKING:
    from collections.abc import Iterator

IS_ROOT = os.geteuid() == 0
ONLY_ROOT = pytest.mark.skipif(not IS_ROOT, reason="only root may give files away")
USER, GROUP = 1234, 2345  # of the shared folder; no entries are needed
PLAIN = Ownership()
SET_IDS = 0o6000


@pytest.fixture
def shared() -> Iterator[Path]:
    """A folder that a group shares, as an administrator sets it up."""
    with open_folder() as folder:
        if IS_ROOT:
            os.chown(folder, USER, GROUP)
        folder.chmod(0o2777)  # the others for nobody, who is in no group
        yield folder


@pytest.fixture(params=[0o022, 0o077, 0o000])
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


@pytest.fixture
def restricted(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuse what a unit with RestrictSUIDSGID= refuses, once the shared folder is set up."""
    assert shared.stat().st_mode & SET_IDS
    chmod, mkdir = os.chmod, os.mkdir

    def refuse(path: str, mode: int) -> None:
        if mode & SET_IDS:
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM), path)

    def careful_chmod(path: str, mode: int, **options: Any) -> None:
        refuse(path, mode)
        chmod(path, mode, **options)

    def careful_mkdir(path: str, mode: int = 0o777, **options: Any) -> None:
        refuse(path, mode)
        mkdir(path, mode, **options)

    monkeypatch.setattr(os, "chmod", careful_chmod)
    monkeypatch.setattr(os, "mkdir", careful_mkdir)


def mode_of(path: str | Path) -> str:
    return oct(os.stat(path).st_mode & 0o7777)


def owner_of(path: str | Path) -> tuple[int, int]:
    stat = os.stat(path)
    return stat.st_uid, stat.st_gid


# folders


@pytest.mark.usefixtures("restricted", "umask")
def test_folders_share_as_the_one_they_are_in_although_no_setgid_bit_may_be_set(
    shared: Path,
) -> None:
    made = make_folder(str(shared), "a/b", PLAIN)

    assert [mode_of(Path(made).parent), mode_of(made)] == ["0o2777", "0o2777"]
    assert owner_of(made)[1] == owner_of(shared)[1]


@pytest.mark.usefixtures("restricted", "umask")
def test_a_mode_that_is_asked_for_keeps_the_inherited_setgid(shared: Path) -> None:
    made = make_folder(str(shared), "a/b", Ownership(folder_mode=0o770))

    assert [mode_of(Path(made).parent), mode_of(made)] == ["0o2770", "0o2770"]


@pytest.mark.usefixtures("restricted", "umask")
def test_a_setgid_that_is_asked_for_and_may_not_be_had_costs_no_other_bit(shared: Path) -> None:
    shared.chmod(0o777)  # the patched one, which may do this

    assert mode_of(make_folder(str(shared), "a", Ownership(folder_mode=0o2775))) == "0o775"


@pytest.mark.usefixtures("umask")
def test_who_is_no_member_of_the_group_makes_folders_of_the_group_all_the_same(
    shared: Path,
) -> None:
    """To a chmod by somebody outside of the group the kernel answers by taking setgid away."""
    with as_nobody():
        made = make_folder(str(shared), "a/b", PLAIN)

    assert mode_of(made) == "0o2777"
    assert owner_of(made)[1] == owner_of(shared)[1]


def test_the_umask_of_the_process_is_as_before_whatever_happens_at_once(shared: Path) -> None:
    before = os.umask(0o027)
    try:
        threads = [
            threading.Thread(target=make_folder, args=(str(shared), f"{n}/a/b", PLAIN))
            for n in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        with pytest.raises(FileNotFoundError):
            make_folder(str(shared / "gone"), "a", PLAIN)
    finally:
        after = os.umask(before)

    assert oct(after) == "0o27"
    assert {mode_of(path) for path in shared.rglob("*")} == {"0o2777"}


# files


@pytest.mark.usefixtures("restricted", "umask")
def test_bits_that_may_not_be_set_cost_no_other_bit_of_a_file(shared: Path) -> None:
    (shared / "a").touch(0o600)
    own(str(shared / "a"), Ownership(mode=0o2664))

    assert mode_of(shared / "a") == "0o664"


@ONLY_ROOT
def test_a_file_has_its_mode_before_it_is_given_away(
    shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With CAP_CHOWN alone nobody may change the mode of what is no longer his."""
    chmod = os.chmod

    def only_ours(path: str, mode: int) -> None:
        if os.stat(path).st_uid != 0:
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM), path)
        chmod(path, mode)

    monkeypatch.setattr(os, "chmod", only_ours)
    (shared / "a").touch(0o600)
    own(str(shared / "a"), PLAIN)

    assert (mode_of(shared / "a"), owner_of(shared / "a")) == ("0o666", (USER, GROUP))


# what may not be


def test_who_may_not_give_files_away_says_so() -> None:
    with as_nobody():
        us = os.geteuid()
        said = Ownership(user=us + 1, group=54321).lacks()
        ours = Ownership(user=us, group=os.getegid()).lacks() + PLAIN.lacks()

    assert [sentence.partition(":")[0] for sentence in said] == ["owner", "group"]
    assert "root or CAP_CHOWN" in said[0]
    assert "no member" in said[1]
    assert ours == []


@ONLY_ROOT
def test_who_may_give_files_away_says_nothing() -> None:
    assert Ownership(user=USER, group=GROUP).lacks() == []
    with as_nobody(), as_ourselves():
        assert Ownership(user=USER, group=GROUP).lacks() == []


# the whole program


def place(folder: Path, **settings: object) -> Place:
    eager = {"settle_seconds": 0.1, "settle_network_seconds": 0.3, "min_free": 0, "max_attempts": 1}
    profiles = {"copy": {"suffix": ".mkv", "args": "-c copy", "verify": "off"}}
    ffmpeg = write_fake(folder / "fake", {"bad*": "exit:1"}, frames=2)
    given = {**eager, "profiles": profiles, "profile": "copy", "ffmpeg": ffmpeg, **settings}
    return Place(folder / "videos", given)


@ONLY_ROOT
@pytest.mark.usefixtures("umask")
def test_who_shares_the_folders_may_delete_all_that_appears_there() -> None:
    """The others are shut out here: what counts is the group."""
    with open_folder() as folder:
        here = place(folder)
        folders = [here.inbox, here.outbox, here.done, here.error]
        here.root.chmod(0o755)
        for path in folders:
            os.chown(path, USER, GROUP)
            path.chmod(0o2770)
        clip = tiny_clip(folder)
        with Daemon(here):
            drop(clip, here.inbox / "sub/good.mkv")
            drop(clip, here.inbox / "sub/bad.mkv")
            here.wait_for("sub/good.mkv", "done")
            here.wait_for("sub/bad.mkv", "failed")

        for path in (here.outbox / "sub", here.error / "sub"):
            assert (owner_of(path), mode_of(path)) == ((USER, GROUP), "0o2770")
        for path in (here.outbox / "sub/good.mkv", here.error / "sub/bad.mkv.log"):
            assert (owner_of(path), mode_of(path)) == ((USER, GROUP), "0o660")
        subprocess.run(
            ["rm", "-r", *(str(path / "sub") for path in folders[1:])],
            user=4321,
            group=GROUP,
            extra_groups=[],
            check=True,
        )
        assert [list(path.glob("sub*")) for path in folders[1:]] == [[], [], []]


@ONLY_ROOT
def test_what_is_asked_for_is_given(tmp_path: Path) -> None:
    here = place(tmp_path, owner=77, group=88, mode="0640", directory_mode="2750")
    with Daemon(here):
        drop(tiny_clip(tmp_path), here.inbox / "sub/a.mkv")
        here.wait_for("sub/a.mkv", "done")

    for path in (here.outbox / "sub", here.done / "sub"):
        assert (owner_of(path), mode_of(path)) == ((77, 88), "0o2750")
        assert (owner_of(path / "a.mkv"), mode_of(path / "a.mkv")) == ((77, 88), "0o640")


@ONLY_ROOT
def test_a_daemon_without_the_right_to_chown_says_so_and_delivers_all_the_same(
    tmp_path: Path,
) -> None:
    if shutil.which("setpriv") is None:
        pytest.skip("needs setpriv")
    here = place(tmp_path, owner=77, group=88)
    usual = here.command
    less = ["setpriv", "--inh-caps=-all", "--bounding-set=-chown", "--"]
    here.command = lambda *words: [*less, *usual(*words)]  # type: ignore[method-assign]
    checked = subprocess.run(
        here.command("check"), env=here.environment, capture_output=True, text=True, check=False
    )
    with Daemon(here):
        wait_until(lambda: "owner: what is delivered cannot be given to user 77" in here.log())
        assert "group: what is delivered cannot be given to group 88" in here.log()
        drop(tiny_clip(tmp_path), here.inbox / "a.mkv")
        here.wait_for("a.mkv", "done")

    assert checked.returncode == 1
    assert "TROUBLE owner: what is delivered" in checked.stdout
    assert owner_of(here.outbox / "a.mkv")[0] == os.geteuid()


def test_what_lands_in_a_folder_that_is_everybody_s_is_not(tmp_path: Path) -> None:
    """So is /tmp: who may put a file there may not change those of others."""
    tmp_path.chmod(0o1777)
    (tmp_path / "a").touch(mode=0o600)

    own(str(tmp_path / "a"), Ownership())

    assert (tmp_path / "a").stat().st_mode & 0o7777 == 0o644
