"""Who uses the service: other users of the machine, Samba's, and two services side by side."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from tests.clips import MEDIA
from tests.daemon import CHECKOUT, drop
from tests.service.box import PROGRAM
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.service.box import Box

pytestmark = pytest.mark.timeout(300)

CLIP = MEDIA / "media-sample_with_chapters.mkv"
USER_MANAGER = "/lib/systemd/systemd"
# For an hour no file is touched that the kernel does not prove to be at rest: what is converted
# here was proven, although it belongs to others (CAP_LEASE).
PROVEN = {"profile": "remux", "settle_network_seconds": 3600}


@pytest.fixture(scope="module")
def alice(box: Box) -> str:
    """A user of the machine who is in the group, with the umask that people have."""
    box.run("systemd-sysusers", "-", text='u watchconv - "x"\n')
    box.run("useradd", "--create-home", "--groups", "watchconv", "alice")
    return "alice"


@pytest.fixture
def clip(box: Box) -> Iterator[str]:
    """A clip that everybody in the box can read."""
    path = box.srv / "clip.mkv"
    shutil.copyfile(CLIP, path)
    path.chmod(0o644)
    yield "/srv/clip.mkv"
    path.unlink()


def test_what_other_users_drop_is_converted_and_moved_and_they_may_delete_what_comes_of_it(
    box: Box, alice: str, clip: str
) -> None:
    service = box.service("shared", PROVEN)
    service.systemctl("start")
    root = f"/srv/{service.root.name}"
    as_alice = ("su", alice, "-c")

    box.run(*as_alice, f"umask 022; mkdir {root}/inbox/trip; cp {clip} {root}/inbox/trip/a.mkv")

    service.wait_for_file(service.done / "trip/a.mkv")
    box.run(*as_alice, f"rm -r {root}/outbox/trip {root}/done/trip {root}/inbox/trip")
    group = service.done.stat().st_gid
    assert (service.done.stat().st_mode & 0o7777, service.done.stat().st_gid) == (0o2775, group)
    service.systemctl("stop")


def test_the_folders_of_the_group_go_on_belonging_to_it(box: Box, alice: str, clip: str) -> None:
    """The unit may not set setgid bits: folders inherit them, and their mode is the umask's."""
    service = box.service("grouped", PROVEN)
    service.systemctl("start")
    root = f"/srv/{service.root.name}"
    box.run("su", alice, "-c", f"mkdir {root}/inbox/trip; cp {clip} {root}/inbox/trip/a.mkv")
    service.wait_for_file(service.done / "trip/a.mkv")

    for folder in (service.outbox / "trip", service.done / "trip"):
        assert oct(folder.stat().st_mode & 0o7777) == oct(0o2775)
        assert folder.stat().st_gid == service.inbox.stat().st_gid
    delivered = (service.outbox / "trip/a.mkv").stat()
    assert oct(delivered.st_mode & 0o777) == oct(0o664)
    assert delivered.st_gid == service.inbox.stat().st_gid
    service.systemctl("stop")


@pytest.mark.parametrize("whose", ["group", "owner"])
def test_what_is_delivered_can_be_given_away(box: Box, alice: str, clip: str, whose: str) -> None:
    """To a group that the service is in as it is, to an owner with the right to do so."""
    service = box.service(f"given-{whose}", {**PROVEN, whose: "alice", "mode": "0640"})
    if whose == "owner":
        rights = "CapabilityBoundingSet=CAP_LEASE CAP_CHOWN"
        service.drop_in(rights, rights.replace("CapabilityBoundingSet", "AmbientCapabilities"))
    else:
        service.drop_in("SupplementaryGroups=alice")
    service.systemctl("start")
    box.run("install", "-o", alice, "-g", alice, clip, f"/srv/{service.root.name}/inbox/a.mkv")

    service.wait_for_file(service.done / "a.mkv")

    user, group = (int(box.run("id", kind, alice)) for kind in ("-u", "-g"))
    daemon = int(box.run("id", "-u", "watchconv"))
    stat = (service.outbox / "a.mkv").stat()
    owner = user if whose == "owner" else daemon
    assert (stat.st_uid, oct(stat.st_mode & 0o777)) == (owner, "0o640")
    assert stat.st_gid == group or whose == "owner"
    assert "cannot be given" not in service.log()
    service.systemctl("stop")


def test_two_services_side_by_side_mind_their_own_business(box: Box) -> None:
    one, two = box.service("one", {"profile": "remux"}), box.service("two", {"profile": "mp4"})
    one.systemctl("start")
    two.systemctl("start")
    drop(CLIP, one.inbox / "a.mkv")
    drop(CLIP, two.inbox / "a.mkv")

    one.wait_for_file(one.done / "a.mkv")
    two.wait_for_file(two.done / "a.mkv")

    assert (one.outbox / "a.mkv").exists()
    assert (two.outbox / "a.mp4").exists()
    assert one.pid != two.pid
    assert [len(service.jobs()) for service in (one, two)] == [1, 1]
    one.systemctl("stop")
    assert two.show("ActiveState") == "active"
    two.systemctl("stop")


def test_the_share_of_the_snippet_takes_films_and_gives_them_back(
    box: Box, alice: str, clip: str
) -> None:
    if not shutil.which("smbd") or not shutil.which("smbclient"):
        pytest.skip("no smbd or smbclient on this machine")
    service = box.service("samba", PROVEN)
    service.systemctl("start")
    snippet = (CHECKOUT / "systemd/samba.conf").read_text(encoding="utf-8")
    share = snippet.replace("/srv/watchconv", f"/srv/{service.root.name}")
    box.write("/etc/samba/smb.conf", f"[global]\ninterfaces = lo\n{share}")
    box.run("smbpasswd", "-s", "-a", alice, text="secret\nsecret\n")
    box.run("systemd-run", "--unit=smbd-test", "smbd", "-F", "--no-process-group")
    client = ("smbclient", "//127.0.0.1/films", "-U", f"{alice}%secret", "-c")
    service.wait_for(lambda: box.attempt(*client, "ls").returncode == 0, "smbd answers")

    box.run(*client, f"mkdir inbox/trip; put {clip} inbox/trip/a.mkv")

    service.wait_for_file(service.outbox / "trip/a.mkv")
    service.wait_for_file(service.done / "trip/a.mkv")
    listed = box.run(*client, "recurse; ls outbox/*")
    assert "a.mkv" in listed
    assert ".watchconv" not in listed
    box.run(*client, "del outbox/trip/a.mkv; rmdir outbox/trip; del done/trip/a.mkv")
    assert not (service.outbox / "trip").exists()
    assert not (service.done / "trip/a.mkv").exists()
    box.run("systemctl", "stop", "smbd-test")
    service.systemctl("stop")


def test_a_user_has_a_service_of_their_own_without_root(box: Box, clip: str) -> None:
    box.shell(f"""useradd --create-home bob
        install -d -o bob -g bob -m 700 /run/user/bob
        systemd-run --unit=bob -p User=bob -p Delegate=yes -E XDG_RUNTIME_DIR=/run/user/bob \
            {USER_MANAGER} --user""")
    environment = ("env", "HOME=/home/bob", "XDG_RUNTIME_DIR=/run/user/bob")
    as_bob = ("setpriv", "--reuid=bob", "--regid=bob", "--clear-groups", *environment)
    wait_until(lambda: box.attempt(*as_bob, "systemctl", "--user", "is-system-running").stdout)

    told = box.run(*as_bob, PROGRAM, "install")
    assert "Nothing was started" in told
    config = "/home/bob/.config/watchconv/config.yaml"
    quick = "s/^min_free: .*/min_free: 0/; s/^settle_network_seconds: .*/settle_network_seconds: 1/"
    box.run("sed", "-i", f"{quick}; s/^profile: .*/profile: remux/", config)
    box.run(*as_bob, "systemctl", "--user", "enable", "--now", "watchconv")
    box.run(*as_bob, "cp", clip, "/home/bob/watchconv/inbox/a.mkv")
    done = ("test", "-e", "/home/bob/watchconv/done/a.mkv")
    log = ("journalctl", "-o", "cat", "_COMM=watchconv")
    wait_until(lambda: box.attempt(*done).returncode == 0, what=lambda: box.attempt(*log).stdout)

    told = box.run(*as_bob, PROGRAM, "uninstall")
    assert "stays        /home/bob/watchconv/done: it holds files" in told
    assert box.attempt(*done).returncode == 0
    assert "watchconv" not in box.run("find", "/home/bob/.config/systemd")
    box.run("systemctl", "stop", "bob")
