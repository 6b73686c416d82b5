"""Run other programs: quietly while they succeed, with their output quoted when they fail."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from system import console
from system.errors import HardwayError, HostError, ToolchainError

MAX_QUOTED_LINES = 25
"""Number of lines of a failed program's output that its error quotes."""


def run(
    arguments: Sequence[str | Path],
    *,
    why: str,
    folder: Path | None = None,
    environment: Mapping[str, str] | None = None,
    stdin: str | None = None,
    error: type[HardwayError] = ToolchainError,
    on_line: Callable[[str], None] | None = None,
) -> str:
    """Run a program to its end and return its standard output.

    Args:
        arguments: The program and its arguments.
        why: Purpose of the program; the error message starts with it.
        folder: Working directory.
        environment: Variables to set in addition to those of this process.
        stdin: Standard input. Default: empty.
        error: The exception to raise.
        on_line: Called with each line of standard error while the program runs, for progress.

    Raises:
        HardwayError: The program cannot be started or fails. The message quotes the end of its output.
    """
    command = [str(argument) for argument in arguments]
    console.detail(shlex.join(command))
    try:
        if on_line is None:
            result = attempt(command, folder=folder, environment=environment, stdin=stdin)
        else:
            result = _attempt_by_line(command, folder, environment, stdin, on_line)
    except OSError as reason:
        raise error(f"{why}: {command[0]} cannot be run: {reason.strerror}") from None
    if result.returncode != 0:
        raise error(f"{why}: `{shlex.join(command)[:200]}` failed ({result.returncode}):\n{quote(result)}")
    return result.stdout


def run_visibly(
    arguments: Sequence[str | Path],
    *,
    failure: str,
    folder: Path | None = None,
    environment: Mapping[str, str] | None = None,
    stdin: str | None = None,
    error: type[HardwayError] = HostError,
) -> None:
    """Run a program whose output, all of it progress, appears on this process's standard error.

    Args:
        arguments: The program and its arguments.
        failure: Message of the error; the reason is in the output above it.
        folder: Working directory.
        environment: Variables to set in addition to those of this process.
        stdin: Standard input. Default: empty.
        error: The exception to raise.

    Raises:
        HardwayError: The program fails.
    """
    command = [str(argument) for argument in arguments]
    console.detail(shlex.join(command))
    result = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, **(environment or {})},
        input=stdin or "",
        text=True,
        stdout=2,  # standard error
        check=False,
    )
    if result.returncode != 0:
        raise error(failure)


def attempt(
    arguments: Sequence[str | Path],
    *,
    folder: Path | None = None,
    environment: Mapping[str, str] | None = None,
    stdin: str | None = None,
    timeout: float | None = None,
    own_session: bool = False,
) -> subprocess.CompletedProcess[str]:
    """Run a program that may fail. Its output is captured, and nothing is printed.

    Args:
        arguments: The program and its arguments.
        folder: Working directory.
        environment: Variables to set in addition to those of this process.
        stdin: Standard input. Default: empty.
        timeout: Seconds after which the program is killed.
        own_session: Run the program in a separate session, so that Ctrl-C at the terminal does not reach it.

    Raises:
        OSError: The program cannot be started.
        subprocess.TimeoutExpired: The program did not end in time.
    """
    return subprocess.run(
        [str(argument) for argument in arguments],
        cwd=folder,
        env={**os.environ, **(environment or {})},
        input=stdin or "",
        capture_output=True,
        text=True,
        errors="replace",
        timeout=timeout,
        check=False,
        start_new_session=own_session,
    )


def quote(result: subprocess.CompletedProcess[str]) -> str:
    """Return the last lines of a failed program's errors, or of its output if it printed no errors."""
    text = result.stderr.strip() or result.stdout.strip()
    return "\n".join(text.splitlines()[-MAX_QUOTED_LINES:])


def as_root(*, may_ask: bool | None = None) -> list[str]:
    """Return the words to put before a command that only root may run: none for root, else sudo.

    Args:
        may_ask: True if sudo may ask for a password on the terminal. Default: only if standard error is a terminal.
            In a run of Pulumi it is not one, because Pulumi has the terminal to itself.

    Raises:
        HostError: There is no sudo, or it needs a password and must not ask for it.
    """
    if os.geteuid() == 0:
        return []
    if shutil.which("sudo") is None:
        raise HostError("This step needs root. Run it as root, or install sudo and allow yourself to use it.")
    if sys.stderr.isatty() if may_ask is None else may_ask:
        return ["sudo"]
    command = ["sudo", "--non-interactive"]
    result = attempt([*command, "true"])
    if result.returncode != 0:
        raise HostError(f"{quote(result)}\nThis step needs root. Run `sudo -v`, then the same command again.")
    return command


def _attempt_by_line(
    command: list[str],
    folder: Path | None,
    environment: Mapping[str, str] | None,
    stdin: str | None,
    on_line: Callable[[str], None],
) -> subprocess.CompletedProcess[str]:
    # Files instead of pipes for input and output, so that reading only the errors can never block the program.
    with tempfile.TemporaryFile("w+") as given, tempfile.TemporaryFile("w+", errors="replace") as output:
        given.write(stdin or "")
        given.seek(0)
        process = subprocess.Popen(
            command,
            cwd=folder,
            env={**os.environ, **(environment or {})},
            stdin=given,
            stdout=output,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
        )
        lines = []
        try:
            assert process.stderr is not None
            for line in process.stderr:
                lines.append(line)
                on_line(line.rstrip("\n"))
            process.wait()
        except BaseException:
            process.kill()
            process.wait()
            raise
        finally:
            if process.stderr is not None:
                process.stderr.close()
        output.seek(0)
        return subprocess.CompletedProcess(command, process.returncode, output.read(), "".join(lines))
