"""Clients that upload in earnest: a private sshd and smbd on the loopback, and what speaks to them.

    with Sshd(tmp_path / "ssh") as sshd:
        sshd.sftp(f"put {clip} {inbox}/a.mkv")
    with Smbd(tmp_path / "smb", inbox) as smbd:
        smbd.do(f"put {clip} a.mkv")

Both servers run as this user and need no password; they keep everything in the folder that they are
given, and have ended when the block ends. A tool that this machine lacks skips the test.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Self

import pytest

from tests.waiting import LONG, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

USER = pwd.getpwuid(os.geteuid()).pw_name
TRIES = 5  # for a port that nobody else has taken meanwhile


def tool(name: str) -> str:
    """Find a program, where distributions put servers too."""
    found = shutil.which(name, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin")
    if found is None:
        pytest.skip(f"this machine has no {name}")
    return found


def run(*words: str | os.PathLike[str], feed: bytes | None = None) -> None:
    """Run a client to its good end."""
    ended = subprocess.run(words, input=feed or b"", capture_output=True, timeout=LONG, check=False)
    said = (ended.stdout + ended.stderr).decode(errors="replace")
    assert ended.returncode == 0, f"{words}: {ended.returncode}\n{said}"


class Server:
    """A server in the foreground on a port of its own."""

    def __init__(self, folder: Path) -> None:
        """Take a folder of its own for keys, configuration and state."""
        folder.mkdir()
        self.folder, self.log = folder, folder / "log"
        self.port = 0
        self._process: subprocess.Popen[bytes] | None = None

    def command(self) -> list[str]:
        """Write the configuration for ``port``, and say how it is started."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        """Start it and wait until it answers."""
        for _ in range(TRIES):
            self.port = free_port()
            with self.log.open("ab") as log:
                self._process = subprocess.Popen(
                    self.command(),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            if wait_until(self._begun, what=self._words) == "answers":
                return self
        raise AssertionError(f"it does not start\n{self._words()}")

    def _begun(self) -> str:
        assert self._process
        if self._process.poll() is not None:
            return "ended"
        with socket.socket() as door:
            return "answers" if door.connect_ex(("127.0.0.1", self.port)) == 0 else ""

    def _words(self) -> str:
        return self.log.read_text(errors="replace")

    def __exit__(self, *_: object) -> None:
        """End it, and what it started for its clients."""
        assert self._process
        self._process.terminate()
        try:
            self._process.wait(10)
        finally:
            if self._process.returncode is None:
                os.killpg(self._process.pid, signal.SIGKILL)
                self._process.wait()


def free_port() -> int:
    """Find a port that nobody listens on."""
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        port: int = door.getsockname()[1]
        return port


_SSHD = """\
Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/host
AuthorizedKeysFile {folder}/user.pub
StrictModes no
UsePAM no
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
PidFile none
MaxStartups 100
Subsystem sftp internal-sftp
"""
_SSH = """\
Host *
Port {port}
User {user}
IdentityFile {folder}/user
IdentitiesOnly yes
UserKnownHostsFile {folder}/known
GlobalKnownHostsFile none
StrictHostKeyChecking no
BatchMode yes
LogLevel ERROR
"""


class Sshd(Server):
    """OpenSSH's server, and its clients and rsync on it."""

    def command(self) -> list[str]:
        """Write keys and configuration."""
        program = tool("sshd")
        if os.geteuid() == 0:  # where a service would find it made
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        for name in ("host", "user"):
            if not (self.folder / name).exists():
                run(tool("ssh-keygen"), "-q", "-t", "ed25519", "-N", "", "-f", self.folder / name)
        values = {"port": self.port, "folder": self.folder, "user": USER}
        (self.folder / "sshd_config").write_text(_SSHD.format(**values))
        (self.folder / "ssh_config").write_text(_SSH.format(**values))
        return [program, "-D", "-e", "-f", str(self.folder / "sshd_config")]

    @property
    def _client(self) -> str:
        return str(self.folder / "ssh_config")

    def scp(self, source: Path, target: Path, *options: str) -> None:
        """Copy a file; ``-O`` speaks the legacy protocol."""
        run(tool("scp"), "-F", self._client, *options, source, f"127.0.0.1:{target}")

    def sftp(self, *lines: str, options: Iterable[str] = ()) -> None:
        """Carry out a batch of sftp's commands."""
        batch = "".join(f"{line}\n" for line in lines).encode()
        run(*self.sftp_command(*options), feed=batch)

    def sftp_command(self, *options: str) -> list[str]:
        """Give the argv of an sftp that reads its batch from standard input."""
        return [tool("sftp"), "-F", self._client, *options, "-b", "-", "127.0.0.1"]

    def rsync(self, source: Path, target: Path, *options: str) -> None:
        """Copy a file with rsync over ssh."""
        run(*self.rsync_command(source, target, *options))

    def rsync_command(self, source: Path, target: Path, *options: str) -> list[str]:
        """Give the argv of an rsync over ssh."""
        shell = f"{tool('ssh')} -F {self._client}"
        return [tool("rsync"), "-t", "-e", shell, *options, str(source), f"127.0.0.1:{target}"]


_SMBD = """\
[global]
server role = standalone server
smb ports = {port}
interfaces = lo
bind interfaces only = yes
disable netbios = yes
load printers = no
disable spoolss = yes
server min protocol = SMB2
map to guest = Bad User
guest account = {user}
log file = {folder}/smbd.log
private dir = {folder}/private
lock directory = {folder}/lock
state directory = {folder}/state
cache directory = {folder}/cache
pid directory = {folder}/pid
ncalrpc dir = {folder}/ncalrpc
"""
_SHARE = """
[{name}]
path = {path}
read only = no
guest ok = yes
guest only = yes
{more}
"""
SHARES = {
    "plain": "",
    "leased": "kernel oplocks = yes",  # Samba holds a lease of the kernel on what a client writes
    "allocated": "strict allocate = yes",
}


class Smbd(Server):
    """Samba's server with the shares above, all of one folder, and its client."""

    def __init__(self, folder: Path, shared: Path) -> None:
        """Take the folder to share as well."""
        super().__init__(folder)
        self._shared = shared

    def command(self) -> list[str]:
        """Write the configuration."""
        program = tool("smbd")
        values = {"port": self.port, "folder": self.folder, "user": USER}
        text = _SMBD.format(**values)
        for name, more in SHARES.items():
            text += _SHARE.format(name=name, path=self._shared, more=more)
        for name in ("private", "lock", "state", "cache", "pid", "ncalrpc"):
            (self.folder / name).mkdir(exist_ok=True)
        self._config.write_text(text)
        return [program, "--foreground", "--no-process-group", f"--configfile={self._config}"]

    @property
    def _config(self) -> Path:
        return self.folder / "smb.conf"

    def client_command(self, share: str, words: str) -> list[str]:
        """Give the argv of an smbclient that carries out some commands."""
        service = f"//127.0.0.1/{share}"
        options = ["-s", str(self._config), "-N", "-p", str(self.port)]
        return [tool("smbclient"), *options, service, "-c", words]

    def do(self, words: str, share: str = "plain") -> None:
        """Carry out some of smbclient's commands."""
        run(*self.client_command(share, words))

    def feed(self, name: str, pieces: Iterable[bytes], share: str = "plain") -> None:
        """Upload what comes piece by piece, in the time that it takes to come."""
        command = self.client_command(share, f"put - {name}")
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        ) as client:
            assert client.stdin
            assert client.stdout
            for piece in pieces:
                client.stdin.write(piece)
                client.stdin.flush()
            client.stdin.close()
            said = client.stdout.read().decode(errors="replace")
        assert client.returncode == 0, said


@contextlib.contextmanager
def behind_fuse(folder: Path, disk: Path) -> Iterator[None]:
    """Show another folder's files in this one through FUSE, where no lease proves anything."""
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        pytest.skip("this user may not mount with FUSE")
    disk.mkdir()
    with subprocess.Popen([tool("bindfs"), "-f", str(disk), str(folder)]) as mount:
        try:
            wait_until(folder.is_mount)
            yield
        finally:
            subprocess.run([tool("fusermount3"), "-u", "-z", str(folder)], check=False)
            mount.terminate()
