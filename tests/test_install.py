"""A service of systemd's, written by ``watchconv install``: the texts, and a user's own.

What it does on a machine, as root and under a real systemd, is in ``tests/service``.
"""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.daemon import CHECKOUT
from watchconv.cli import main
from watchconv.commands import units
from watchconv.commands.units import Service
from watchconv.config import Config
from watchconv.config.load import load_config
from watchconv.errors import WatchconvError

SYSTEMD = CHECKOUT / "systemd"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of our own, and no systemd to talk to."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr("watchconv.commands.install._BOOTED", str(tmp_path / "no systemd"))
    return tmp_path


def lines_of(unit: str) -> list[str]:
    """Give what counts in a unit: no comments, no blank lines."""
    return [line for line in unit.splitlines() if line and not line.startswith("#")]


def tree(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): path.read_text(encoding="utf-8") if path.is_file() else ""
        for path in sorted(folder.rglob("*"))
    }


# the files that are shipped


def test_an_instance_is_the_plain_unit_but_for_its_name() -> None:
    plain = (SYSTEMD / "watchconv.service").read_text(encoding="utf-8")
    template = (SYSTEMD / "watchconv@.service").read_text(encoding="utf-8")
    expected = (
        plain.replace("/watchconv/config.yaml", "/watchconv/%i.yaml")
        .replace("Description=watchconv:", "Description=watchconv %i:")
        .replace("StateDirectory=watchconv\n", "StateDirectory=watchconv-%i\n")
        .replace("ReadWritePaths=-/srv/watchconv\n", "ReadWritePaths=-/srv/watchconv-%i\n")
    )

    assert lines_of(template) == lines_of(expected)
    assert template.count("%i") == 4 + template.partition("[Unit]")[0].count("%i")


def test_the_service_of_a_user_has_no_line_that_the_one_of_the_system_has_not() -> None:
    system = set(lines_of((SYSTEMD / "watchconv.service").read_text(encoding="utf-8")))
    user = set(lines_of((SYSTEMD / "watchconv-user.service").read_text(encoding="utf-8")))

    assert {line.partition("=")[0] for line in user - system} == {"ExecStart", "WantedBy"}


def test_the_units_systemd_takes_more_time_than_the_stop_ladder_does() -> None:
    unit = (SYSTEMD / "watchconv.service").read_text(encoding="utf-8")
    limit = next(line for line in lines_of(unit) if line.startswith("TimeoutStopSec="))

    assert int(limit.partition("=")[2]) > 3 * Config().stop_grace_seconds


def test_the_files_are_found_in_a_checkout_and_come_with_a_wheel() -> None:
    included = (CHECKOUT / "pyproject.toml").read_text(encoding="utf-8")

    assert "ExecStart=" in units.shipped("systemd/watchconv.service")
    assert '"systemd" = "watchconv/systemd"' in included
    with pytest.raises(WatchconvError, match="install watchconv again"):
        units.shipped("systemd/nothing.service")


# what is filled in


@pytest.mark.parametrize(
    ("folders", "opened"),
    [
        ({}, ["/srv/watchconv"]),
        ({"state": "/var/lib/watchconv"}, ["/srv/watchconv"]),
        ({"state": "/srv/state"}, ["/srv/watchconv", "/srv/state"]),
        ({"error": "/srv/elsewhere/error"}, ["/srv"]),
        (
            {"inbox": "/mnt/a/in"},
            ["/mnt/a/in", "/srv/watchconv/outbox", "/srv/watchconv/done", "/srv/watchconv/error"],
        ),
    ],
)
def test_what_may_be_written_is_the_common_parent_of_the_folders(
    folders: dict[str, Any], opened: list[str]
) -> None:
    """Entries of their own would be mounts of their own: no rename from one to the other."""
    assert units.writable_paths(Service(), Config(**folders), folders) == opened


def test_folders_that_a_service_does_not_see_are_refused() -> None:
    with pytest.raises(WatchconvError, match=r"/home/me/in is below /home.*--user"):
        units.writable_paths(Service(), Config(inbox="/home/me/in"), ["inbox"])


def test_the_unit_names_the_program_and_the_folders_whatever_they_are_called() -> None:
    text = units.unit_text(Service(), '/opt/my "100%"/bin/watchconv', ["/srv/two words"])

    assert 'ExecStart="/opt/my \\"100%%\\"/bin/watchconv" --config ' in text
    assert '\nReadWritePaths="-/srv/two words"\n' in text
    with pytest.raises(WatchconvError, match="no way to write"):
        units.unit_text(Service(), "/opt/a\nb/bin/watchconv", [])


def test_a_unit_is_the_shipped_one_but_for_two_lines() -> None:
    shipped = (SYSTEMD / "watchconv.service").read_text(encoding="utf-8").splitlines()
    text = units.unit_text(Service(), "/opt/w/bin/watchconv", ["/mnt/films"]).splitlines()
    changed = [new for old, new in zip(shipped, text, strict=True) if old != new]

    assert changed == [
        "ExecStart=/opt/w/bin/watchconv --config /etc/watchconv/config.yaml run",
        "ReadWritePaths=-/mnt/films",
    ]


@pytest.mark.parametrize("name", [None, "films"])
def test_the_configuration_is_the_example_with_folders_of_its_own(
    tmp_path: Path, name: str | None
) -> None:
    text = units.config_text(Service(name=name), sandbox="require")
    path = tmp_path / "config.yaml"
    path.write_text(text, encoding="utf-8")
    example = load_config(str(CHECKOUT / "config.example.yaml"))
    written = load_config(str(path))
    tag = f"-{name}" if name else ""
    differ = {
        key.name
        for key in fields(Config)
        if getattr(written, key.name) != getattr(example, key.name)
    }

    assert written.inbox == f"/srv/watchconv{tag}/inbox"
    assert written.state == f"/var/lib/watchconv{tag}"
    assert written.sandbox == "require"
    assert differ == {"sandbox"} | (
        {"inbox", "outbox", "done", "error", "state"} if name else set()
    )
    assert f"\ninbox: /srv/watchconv{tag}/inbox " in text  # plain, for whoever reads it with sed


# refusals


@pytest.mark.parametrize("name", ["", "a/b", "../x", "a b", "config", "-x", "a@b", "ä"])
def test_a_name_that_no_unit_can_have_is_refused(
    home: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    assert main(["install", "--user", f"--name={name}"]) == 1
    assert "is no name for a service" in capsys.readouterr().err
    assert tree(home) == {}


def test_a_system_service_of_an_environment_below_a_home_is_refused(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """ProtectHome= hides it from the service, which then could not even start."""
    program = home / "venv/bin/python"
    program.parent.mkdir(parents=True)
    (program.parent / "watchconv").touch(mode=0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    monkeypatch.setattr(units, "HIDDEN", (str(home),))

    assert main(["install", "--system", "--dry-run"]) == 1
    said = capsys.readouterr()
    assert "which a system service does not see" in said.err
    assert "python3 -m venv /opt/watchconv" in said.err
    assert said.out == ""


def test_a_program_that_is_not_installed_is_no_service(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "executable", str(home / "python"))

    assert main(["install", "--user"]) == 1
    assert "is missing: a service needs an environment" in capsys.readouterr().err
    assert tree(home) == {}


def test_a_system_service_is_for_root(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)

    assert main(["install", "--system"]) == 1
    assert "use sudo, or --user" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        ["install", "--user", "--system"],
        ["--config", "/etc/x.yaml", "install", "--user"],
        ["--root", "/srv/x", "uninstall", "--user"],
    ],
)
def test_what_does_not_go_together_is_usage(home: Path, words: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2
    assert tree(home) == {}


# a service of one user


def test_a_dry_run_tells_everything_and_does_nothing(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["install", "--user", "--dry-run"]) == 0
    told = capsys.readouterr().out

    assert tree(home) == {}
    for path in (".config/watchconv/config.yaml", ".config/systemd/user/watchconv.service"):
        assert f"write        {home}/{path}" in told
    assert f"make         {home}/watchconv/inbox" in told


def test_a_service_of_a_user_is_made_can_be_made_again_and_is_taken_away(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["install", "--user"]) == 0
    made = tree(home)
    told = capsys.readouterr().out
    written = load_config(str(home / ".config/watchconv/config.yaml"))

    assert written.inbox == f"{home}/watchconv/inbox"
    assert written.state == f"{home}/.local/state/watchconv"
    unit = made[".config/systemd/user/watchconv.service"]
    program = Path(sys.executable).parent / "watchconv"
    assert f"\nExecStart={program} --config %h/.config/watchconv/config.yaml run\n" in unit
    assert "Nothing was started" in told
    assert "systemctl --user enable --now watchconv.service" in told

    assert main(["install", "--user"]) == 0
    assert tree(home) == made
    assert "write " not in capsys.readouterr().out

    assert main(["uninstall", "--user", "--dry-run"]) == 0
    assert tree(home) == made
    announced = capsys.readouterr().out
    assert main(["uninstall", "--user"]) == 0
    assert capsys.readouterr().out == announced
    assert [path for path in home.rglob("*") if path.is_file()] == []
    assert not (home / "watchconv").exists()
    assert main(["uninstall", "--user"]) == 0  # nothing is left to do


def test_a_configuration_that_was_changed_and_folders_with_files_stay(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["install", "--user"]) == 0
    path = home / ".config/watchconv/config.yaml"
    changed = path.read_text(encoding="utf-8") + "# mine\n"
    path.write_text(changed, encoding="utf-8")
    (home / "watchconv/outbox/film.webm").touch()

    assert main(["install", "--user"]) == 0
    assert path.read_text(encoding="utf-8") == changed
    capsys.readouterr()
    assert main(["uninstall", "--user"]) == 0

    told = capsys.readouterr().out
    assert path.read_text(encoding="utf-8") == changed
    assert f"stays        {path}: it was changed" in told
    assert f"stays        {home}/watchconv/outbox: it holds files" in told
    assert (home / "watchconv/outbox/film.webm").exists()
    assert not (home / "watchconv/inbox").exists()
    assert not (home / ".config/systemd/user/watchconv.service").exists()


def test_a_configuration_of_ones_own_is_used_and_its_folders_are_not_made(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """They may be on a disk that is not mounted now."""
    path = home / ".config/watchconv/config.yaml"
    path.parent.mkdir(parents=True)
    own = {name: f"{home}/films/{name}" for name in ("inbox", "outbox", "done", "error")}
    path.write_text(yaml.safe_dump(own), encoding="utf-8")

    assert main(["install", "--user"]) == 0

    told = capsys.readouterr().out
    assert not (home / "films").exists()
    assert not (home / "watchconv").exists()
    assert f"{home}/films/inbox does not exist yet" in told


def test_a_broken_configuration_is_told_before_anything_is_written(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = home / ".config/watchconv/config.yaml"
    path.parent.mkdir(parents=True)
    path.write_text("inbx: /a\n", encoding="utf-8")
    before = tree(home)

    assert main(["install", "--user"]) == 78
    assert "did you mean inbox?" in capsys.readouterr().err
    assert tree(home) == before


def test_what_cannot_be_written_is_told_and_done_by_the_next_install(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (home / ".config").touch()

    assert main(["install", "--user"]) == 1
    assert "watchconv.service: Not a directory. What is told" in capsys.readouterr().err
    (home / ".config").unlink()
    assert main(["install", "--user"]) == 0
    assert (home / ".config/watchconv/config.yaml").exists()


def test_the_unit_of_several_instances_goes_with_the_last(home: Path) -> None:
    unit = home / ".config/systemd/user/watchconv@.service"
    for name in ("a", "b"):
        assert main(["install", "--user", "--name", name]) == 0
    assert "/.config/watchconv/%i.yaml" in unit.read_text(encoding="utf-8")

    assert main(["uninstall", "--user", "--name", "a"]) == 0
    assert unit.exists()
    assert not (home / "watchconv-a").exists()
    assert main(["uninstall", "--user", "--name", "b"]) == 0
    assert not unit.exists()


def test_the_shipped_units_are_fine_to_systemd(home: Path) -> None:
    """Where systemd is: the whole system's verdict is in ``tests/service``."""
    from shutil import which

    if which("systemd-analyze") is None:
        pytest.skip("no systemd-analyze on this machine")
    assert main(["install", "--user"]) == 0
    unit = home / ".config/systemd/user/watchconv.service"
    said = subprocess.run(
        ["systemd-analyze", "--user", "verify", str(unit)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "XDG_RUNTIME_DIR": str(home)},
    )

    assert [line for line in said.stderr.splitlines() if "watchconv" in line] == []


@pytest.mark.parametrize(
    ("line", "other"),
    [
        ("sandbox: auto   ", "sandbox:  auto   "),
        ("state: /var/lib/watchconv", "state: /var/lib/elsewhere"),
        ("inbox: /srv/watchconv/", "inbox: /srv/"),
    ],
)
def test_an_example_in_which_a_line_is_not_found_makes_no_configuration(
    line: str, other: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a service would go without the sandbox that it is to require."""
    text = units.shipped("config.example.yaml")
    assert line in text
    monkeypatch.setattr(units, "shipped", lambda _: text.replace(line, other))

    with pytest.raises(WatchconvError, match="example that comes with watchconv"):
        units.config_text(Service(), sandbox="require")
