"""The unit on a machine: installed and taken away, judged by systemd-analyze, shut in."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.clips import MEDIA
from tests.daemon import drop
from tests.service.box import ENVIRONMENT, PROGRAM, Service
from watchconv.config.profiles import BUILTIN

if TYPE_CHECKING:
    from tests.service.box import Box

pytestmark = pytest.mark.timeout(300)

CLIP = MEDIA / "media-sample_with_chapters.mkv"
MOST_EXPOSED = 1.5
PLACES = "/etc/systemd/system /etc/sysusers.d /etc/tmpfiles.d /etc/watchconv /srv/watchconv"
SHIPPED = f"{ENVIRONMENT}/lib/python3*/site-packages/watchconv/systemd"


def places(box: Box) -> str:
    """Show all that install may write, with modes and owners."""
    return box.shell(
        f"find {PLACES} -name '*watchconv*' -printf '%p %M %u %g %s\\n' -o -path '*/watchconv/*'"
        " -printf '%p %M %u %g %s\\n' 2>/dev/null | sort || true"
    )


def test_the_only_service_is_installed_runs_and_is_taken_away_but_for_what_is_yours(
    fresh_box: Box,
) -> None:
    box = fresh_box
    before = places(box)
    box.run(PROGRAM, "install", "--dry-run")
    assert places(box) == before

    told = box.run(PROGRAM, "install", "--system")
    service = Service(box)
    made = places(box)
    assert "Nothing was started" in told
    assert service.show("ActiveState") == "inactive"
    assert service.show("UnitFileState") == "disabled"
    assert "sandbox: require " in box.run("cat", service.config)
    for name in ("inbox", "outbox", "done", "error"):
        assert re.search(rf"/srv/watchconv/{name} drwxrwsr-x watchconv watchconv ", made)
    assert box.run(PROGRAM, "install").count("write ") == 0
    assert places(box) == made

    service.configure({"profile": "remux"})
    service.systemctl("enable", "--now")
    drop(CLIP, service.inbox / "a.mkv")
    service.wait_for_file(service.done / "a.mkv")
    assert "warning" not in service.log()
    checked = box.run(PROGRAM, "--config", service.config, "check")
    assert "TROUBLE" not in checked

    (service.outbox / "a.mkv").unlink()
    told = box.run(PROGRAM, "uninstall")
    assert service.show("ActiveState") == "inactive"
    assert service.show("LoadState") == "not-found"
    assert (service.done / "a.mkv").exists()
    assert "stays        /srv/watchconv/done: it holds files" in told
    assert f"stays        {service.config}: it was changed" in told
    assert not service.inbox.exists()
    assert not service.outbox.exists()


def test_an_instance_is_taken_away_without_a_trace_and_leaves_the_other_alone(box: Box) -> None:
    before = places(box)
    one = box.service("gone")
    between = places(box)
    box.run(PROGRAM, "install", "--name", "gone2")

    box.run(PROGRAM, "uninstall", "--name", "gone2")

    assert places(box) == between
    box.run("rm", one.config)
    box.run(PROGRAM, "install", "--name", "gone")
    box.run(PROGRAM, "uninstall", "--name", "gone")
    assert set(places(box).splitlines()) <= set(before.splitlines()) | set(between.splitlines())
    assert "gone" not in places(box)


def test_the_files_do_when_they_are_copied_by_hand(fresh_box: Box) -> None:
    """As the unit's own first lines say."""
    fresh_box.shell(f"""cd {SHIPPED}
        cp watchconv.service /etc/systemd/system
        systemd-sysusers $PWD/watchconv.sysusers
        systemd-tmpfiles --create $PWD/watchconv.tmpfiles
        install -D -m 644 ../config.example.yaml /etc/watchconv/config.yaml""")
    service = Service(fresh_box)
    service.configure({"profile": "remux"})

    service.systemctl("enable", "--now")
    drop(CLIP, service.inbox / "a.mkv")

    service.wait_for_file(service.done / "a.mkv")


def test_what_never_ran_leaves_nothing_at_all(fresh_box: Box) -> None:
    before = places(fresh_box)
    fresh_box.run(PROGRAM, "install")
    fresh_box.run(PROGRAM, "install", "--name", "second")
    fresh_box.run(PROGRAM, "uninstall", "--name", "second")
    assert fresh_box.attempt("id", "watchconv").returncode == 0

    fresh_box.run(PROGRAM, "uninstall")

    assert places(fresh_box) == before
    assert fresh_box.attempt("id", "watchconv").returncode != 0


@pytest.mark.parametrize("extra", ["", "hardware.conf"])
def test_systemd_finds_nothing_wrong_with_the_unit_and_little_exposed(box: Box, extra: str) -> None:
    service = box.service("judged", {"profile": "remux"})
    if extra:
        box.shell(f"cp {SHIPPED}/{extra} /etc/systemd/system/{service.unit}.d/")
        box.shell("getent group render || groupadd -r render; systemctl daemon-reload")

    verified = box.attempt("systemd-analyze", "verify", service.unit)
    judged = box.run("systemd-analyze", "security", "--no-pager", service.unit)
    service.systemctl("start")
    drop(CLIP, service.inbox / f"mp4/{extra}a.mkv")
    service.wait_for_file(service.outbox / f"mp4/{extra}a.mp4")
    service.systemctl("stop")

    assert verified.returncode == 0
    assert [line for line in verified.stderr.splitlines() if "watchconv" in line] == []
    exposure = re.search(r"exposure level for \S+: ([\d.]+)", judged)
    assert exposure
    print(f"\nexposure{' with ' + extra if extra else ''}: {exposure[1]}")
    assert extra or float(exposure[1]) <= MOST_EXPOSED


def test_nothing_is_written_outside_of_the_declared_folders(box: Box) -> None:
    """Asked twice: what was written, and what the unit could have written, as its own user."""
    service = box.service("shut", {"max_attempts": 1})
    box.run("touch", "/run/stamp")
    service.systemctl("start")
    drop(CLIP, service.inbox / "remux/a.mkv")
    drop(MEDIA / "media-sample_audio_only.mp4", service.inbox / "no video.mp4")
    service.wait_for_file(service.done / "remux/a.mkv")
    service.wait_for_file(service.error / "no video.mp4.log")

    everywhere = "/etc /var /home /opt /mnt /media /run /tmp /dev/shm /usr/local"
    found = box.shell(f"find {everywhere} -xdev -user watchconv -newer /run/stamp").split()
    assert "/var/lib/watchconv-shut/journal.sqlite" in found
    assert [path for path in found if not path.startswith("/var/lib/watchconv-shut")] == []

    inside = ("nsenter", "-t", str(service.pid), "-m", "--")
    writable = "findmnt --kernel --noheadings --list -o TARGET,OPTIONS"
    mounts = [line.split() for line in box.run(*inside, *writable.split()).splitlines()]
    disks = {target for target, options in mounts if options.split(",")[0] == "rw"}
    kernel = re.compile(r"/(proc|sys|dev|run)(/|$)")
    assert {target for target in disks if not kernel.match(target)} == {
        "/srv/watchconv-shut",
        "/var/lib/watchconv-shut",
        "/etc/watchconv",  # for root: the service's user owns nothing there
        "/tmp",
        "/var/tmp",  # its own, empty ones
    }
    as_user = ("setpriv", "--reuid=watchconv", "--regid=watchconv", "--clear-groups", "touch")
    for place in ("/etc/watchconv/x", "/usr/x", "/var/lib/x", "/srv/x", "/run/x", "/home/x"):
        assert box.attempt(*inside, *as_user, place).returncode != 0, place
    box.run(*inside, *as_user, f"/srv/{service.root.name}/inbox/.x")
    service.systemctl("stop")


@pytest.mark.parametrize("ffmpeg", ["the system's", "the embedded one"])
def test_every_built_in_profile_works_in_there(box: Box, ffmpeg: str) -> None:
    """Confined by the unit and, each ffmpeg once more, by the daemon (``sandbox: require``)."""
    if ffmpeg == "the embedded one":
        found = box.shell(
            f"echo {ENVIRONMENT}/lib/python3*/site-packages/imageio_ffmpeg/binaries/*"
        )
        path = next(word for word in found.split() if "/ffmpeg-" in word)
    else:
        path = "auto"
    service = box.service("profiles", {"ffmpeg": path, "jobs": "auto", "profiles": {}})
    service.systemctl("start")

    for profile in BUILTIN:
        drop(CLIP, service.inbox / profile / "a.mkv")

    for profile in BUILTIN:
        service.wait_for_file(service.done / profile / "a.mkv")
    service.systemctl("stop")
    for profile in BUILTIN:
        (service.done / profile / "a.mkv").unlink()
