"""A lasting SSH connection to a node, through which requests begin on the node itself.

Nothing is installed there: sshd opens the connections, in the network of the node, where the rules of kube-proxy apply.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path

from host.access.ssh import Login
from host.access.ssh import command as ssh_command
from ops.probe.web import Connection

RETRY_INTERVAL = 1.0
"""Seconds between the end of a connection and the next attempt."""

OPTIONS = {
    "ConnectTimeout": 10,
    "ConnectionAttempts": 1,
    # A node without power must be told apart from a silent target soon.
    "ServerAliveInterval": 2,
    "ServerAliveCountMax": 3,
    "ExitOnForwardFailure": "yes",
    "StreamLocalBindUnlink": "yes",
}
"""Options of ssh_config(5)."""


class Tunnel:
    """An SSH connection to a node, which is opened again whenever it breaks.

    Attributes:
        trouble: Reason why there is no connection. Empty while there is one.
    """

    def __init__(self, folder: Path, login: Login, forwards: Mapping[str, str]) -> None:
        """Prepare the connection.

        Args:
            folder: New folder for the key and the sockets. The caller deletes it.
            login: The node.
            forwards: Name to the `ADDRESS:PORT` that the node connects to.
        """
        folder.mkdir(mode=0o700)
        self._folder = folder
        self.trouble = "ssh is not connected yet"
        self._process: asyncio.subprocess.Process | None = None
        self._echoes: deque[asyncio.Future[bool]] = deque()
        ssh, *arguments = ssh_command(folder, login)
        # ssh uses the first value that it gets for an option.
        options = [f"-o{name}={value}" for name, value in OPTIONS.items()]
        options += [f"-L{folder / name}:{destination}" for name, destination in forwards.items()]
        self._command: Sequence[str] = [ssh, *options, *arguments, "cat"]

    async def run(self) -> None:
        """Keep the connection open until this task is cancelled."""
        while True:
            await self._connect_once()
            await asyncio.sleep(RETRY_INTERVAL)

    async def open(self, name: str) -> Connection:
        """Open a connection through the node to the destination with this name."""
        return await asyncio.open_unix_connection(str(self._folder / name))

    async def answers(self) -> bool:
        """Return True if the node still answers through this connection, False as soon as the connection ends."""
        process = self._process
        if process is None or process.stdin is None or self.trouble:
            return False
        echo: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._echoes.append(echo)
        process.stdin.write(b"\n")
        return await echo

    async def _connect_once(self) -> None:
        """Open the connection and return when it ends. Each line that `cat` on the node echoes is a sign of life."""
        pipe = asyncio.subprocess.PIPE
        # In a separate session Ctrl-C does not reach ssh.
        process = await asyncio.create_subprocess_exec(
            *self._command, stdin=pipe, stdout=pipe, stderr=pipe, start_new_session=True
        )
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        self._process = process
        try:
            process.stdin.write(b"\n")
            if await process.stdout.readline():
                self.trouble = ""
            while await process.stdout.readline():
                self._resolve(alive=True)
            lines = (await process.stderr.read()).decode(errors="replace").strip().splitlines()
            self.trouble = f"ssh: {lines[-1].strip() if lines else 'the connection ended'}"
        finally:
            self.trouble = self.trouble or "ssh is not connected"
            while self._echoes:
                self._resolve(alive=False)
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    def _resolve(self, *, alive: bool) -> None:
        echo = self._echoes.popleft()
        if not echo.done():
            echo.set_result(alive)
