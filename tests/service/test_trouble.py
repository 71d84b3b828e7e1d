"""What a service finds at boot: folders that cannot be used; it is up, says so, and waits."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from tests.clips import MEDIA
from tests.daemon import drop

if TYPE_CHECKING:
    from tests.service.box import Box, Service

pytestmark = pytest.mark.timeout(300)

CLIP = MEDIA / "media-sample_with_chapters.mkv"
REMUX = {"profile": "remux"}


def assert_it_is_up_and_says(service: Service, words: str) -> None:
    service.wait_for(lambda: words in service.status, words)
    assert service.show("ActiveState") == "active"
    assert service.show("NRestarts") == "0"


def mount_at(root: str) -> str:
    """Mount a disk that holds the four folders."""
    owner = "-o watchconv -g watchconv -m 2775"
    return f"""mount -t tmpfs -o size=64m disk {root}
        cd {root}; install -d {owner} inbox outbox done error"""


def exists(box: Box, path: str) -> bool:
    """Look for a file on a disk that only the box has."""
    return box.attempt("test", "-e", path).returncode == 0


def test_an_outbox_that_cannot_be_written_is_told_and_waited_for(box: Box) -> None:
    service = box.service("unwritable", REMUX)
    box.run("chown", "root:root", f"/srv/{service.root.name}/outbox")
    drop(CLIP, service.inbox / "a.mkv")

    service.systemctl("start")
    assert_it_is_up_and_says(service, "outbox cannot be written")
    assert (service.inbox / "a.mkv").exists()

    box.run("chown", "watchconv:watchconv", f"/srv/{service.root.name}/outbox")
    service.wait_for_file(service.done / "a.mkv")
    service.wait_for(lambda: "cannot be written" not in service.status, "all is well")
    service.systemctl("stop")


def test_a_folder_that_is_missing_is_told_and_waited_for(box: Box) -> None:
    service = box.service("missing", REMUX)
    service.outbox.rmdir()
    drop(CLIP, service.inbox / "a.mkv")

    service.systemctl("start")
    assert_it_is_up_and_says(service, "does not exist")

    box.run("systemd-tmpfiles", "--create", "/etc/tmpfiles.d/watchconv-missing.conf")
    service.wait_for_file(service.done / "a.mkv")
    service.systemctl("stop")


def test_without_any_of_its_folders_it_is_up_all_the_same(box: Box) -> None:
    """A missing entry of ReadWritePaths= would end the unit with 226 before our code runs."""
    service = box.service("bare", REMUX)
    root = f"/srv/{service.root.name}"
    shutil.rmtree(service.root)

    service.systemctl("start")
    assert_it_is_up_and_says(service, "does not exist")

    box.shell(f"mkdir {root}; {mount_at(root)}")
    shutil.copy(CLIP, box.srv / "clip.mkv")
    box.run("cp", "/srv/clip.mkv", f"{root}/inbox/a.mkv")
    service.wait_for(lambda: exists(box, f"{root}/done/a.mkv"), "what is on the disk is converted")
    service.systemctl("stop")
    box.run("umount", root)


def test_folders_made_after_the_start_of_a_service_need_another_start(box: Box) -> None:
    service = box.service("late", REMUX)
    shutil.rmtree(service.root)
    service.systemctl("start")
    assert_it_is_up_and_says(service, "does not exist")

    box.run("systemd-tmpfiles", "--create", "/etc/tmpfiles.d/watchconv-late.conf")
    drop(CLIP, service.inbox / "a.mkv")

    assert_it_is_up_and_says(service, "restart")
    service.systemctl("restart")
    service.wait_for_file(service.done / "a.mkv")
    service.systemctl("stop")


def test_a_mount_that_is_missing_is_told_and_waited_for(box: Box) -> None:
    """What lies under the bare mount point is not the inbox, whatever it looks like."""
    service = box.service("unmounted", REMUX)
    root = f"/srv/{service.root.name}"
    box.shell(mount_at(root))
    service.systemctl("start")
    service.systemctl("stop")
    box.run("umount", root)
    drop(CLIP, service.inbox / "bare.mkv")

    service.systemctl("start")
    assert_it_is_up_and_says(service, "is not mounted")
    box.shell(mount_at(root))
    shutil.copy(CLIP, box.srv / "clip.mkv")
    box.run("cp", "/srv/clip.mkv", f"{root}/inbox/mounted.mkv")

    service.wait_for(
        lambda: exists(box, f"{root}/done/mounted.mkv"), "what is on the disk is converted"
    )
    assert (service.inbox / "bare.mkv").exists()
    assert [job["source"] for job in service.jobs()] == ["mounted.mkv"]
    service.systemctl("stop")
    box.run("umount", root)
