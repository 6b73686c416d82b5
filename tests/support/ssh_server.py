"""A real sshd on the loopback address, with its own keys."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
from pathlib import Path
from typing import Any

from tests.support.waiting import wait_until

_CONFIG = """\
Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/host_key
HostKey {folder}/other_host_key
AuthorizedKeysFile {folder}/user_key.pub {folder}/encrypted_key.pub
PidFile {folder}/pid
StrictModes no
UsePAM no
PasswordAuthentication no
PermitRootLogin yes
PermitUserEnvironment no
AcceptEnv ACCEPTED PULUMI_COMMAND_*
AllowTcpForwarding yes
MaxStartups 100
LogLevel VERBOSE
Subsystem sftp internal-sftp
ChrootDirectory {root}
"""

KEY_PASSWORD = "a key's password"


class SshServer:
    """An sshd that accepts the current user with either of two keys."""

    def __init__(self, folder: Path, root: Path | None = None) -> None:
        """Start sshd.

        Args:
            folder: A new folder for keys and configuration.
            root: The root folder of sessions. The default is that of this machine.
        """
        self.folder = folder
        folder.mkdir(parents=True)
        self.port = free_port()
        _make_key(folder / "host_key", "ed25519")
        # A client that pins the first key must ask for its type. By default, sshd offers this one.
        _make_key(folder / "other_host_key", "ecdsa")
        _make_key(folder / "user_key", "ed25519")
        _make_key(folder / "encrypted_key", "ed25519", KEY_PASSWORD)
        (folder / "config").write_text(_CONFIG.format(port=self.port, folder=folder, root=root or "none"))
        if os.geteuid() == 0:
            # Debian's sshd requires this folder, and only its service creates it.
            Path("/run/sshd").mkdir(exist_ok=True)
        sshd = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin")
        assert sshd, "sshd is missing: `make test` installs openssh-server"
        self._log = (folder / "log").open("w")
        self._process = subprocess.Popen(
            [sshd, "-D", "-e", "-f", str(folder / "config")], stdin=subprocess.DEVNULL, stderr=self._log
        )
        wait_until(lambda: _answers(self.port), "sshd answers", unless=lambda: self._process.poll() is not None)

    def connection(self, **different: Any) -> dict[str, Any]:
        """Return the properties of a connection to this server, with some replaced."""
        return {
            "host": "127.0.0.1",
            "port": self.port,
            "user": getpass.getuser(),
            "private_key": self.key("user_key"),
            "host_key": self.key("host_key.pub"),
            "dial_error_limit": 3,
            **different,
        }

    def key(self, name: str) -> str:
        """Return the content of a key file."""
        return (self.folder / name).read_text()

    def log(self) -> str:
        """Return the log of sshd."""
        return (self.folder / "log").read_text()

    def stop(self) -> None:
        """End sshd. Open connections continue."""
        self._process.terminate()
        self._process.wait()
        self._log.close()


def free_port() -> int:
    """Return a port of the loopback address on which nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _make_key(path: Path, kind: str, password: str = "") -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", password, "-C", "", "-f", str(path)], check=True)


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0
