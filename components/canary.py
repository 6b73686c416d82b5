"""The user's own check of the first node that changes, before the others follow."""

import asyncio
import os
from collections.abc import Mapping

import pulumi

from system.errors import HardwayError
from system.files import CHECKOUT

TIMEOUT = 1800
"""Seconds that the command may take. `hardway smoke` needs minutes on emulated nodes."""
_QUOTED_LINES = 15


class CanaryError(HardwayError):
    """The command refused the first node."""


class Canary:
    """A shell command on this machine, which must succeed after the first node has changed a service."""

    def __init__(self, command: str) -> None:
        self._command = command

    async def check(self, variables: Mapping[str, str]) -> None:
        """Run the command in the project's folder.

        Args:
            variables: Environment variables in addition to those of this process.

        Raises:
            CanaryError: It failed, or did not end in time. The message quotes the end of its output.
        """
        pulumi.log.info(f"{self._command} checks {variables['HARDWAY_SERVICE']} on {variables['HARDWAY_NODE']}")
        process = await asyncio.create_subprocess_shell(
            self._command,
            cwd=CHECKOUT,
            env={**os.environ, **variables},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            output, _ = await asyncio.wait_for(process.communicate(), TIMEOUT)
        except TimeoutError:
            process.kill()
            await process.wait()
            raise CanaryError(f"`{self._command}` did not end within {TIMEOUT} s") from None
        if process.returncode != 0:
            lines = "\n".join(output.decode(errors="replace").rstrip().splitlines()[-_QUOTED_LINES:])
            raise CanaryError(f"`{self._command}` ended with exit code {process.returncode}:\n{lines}")
