"""The checks and tests of the repository: the command of each, its duration, and the number of tests over all."""

from __future__ import annotations

import os
import re
import subprocess
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from host.prepare import Tools
from host.workspace import Workspace
from lab import versions
from system.commands import run as run_program
from system.errors import HostError
from toolchain import golang

NAMES = ("lint", "unit", "program", "engine", "e2e", "profiles")
"""All checks in the order in which they run, the fastest first."""
NEED_ROOT = ("engine", "e2e", "profiles")
"""The checks that create namespaces and run libvirt in them."""
_BESIDE_EACH_OTHER = ("--numprocesses=2", "--dist=loadfile")

OPTIONS = {
    # Their files do not depend on each other. Those of `engine` wait more than they compute.
    **dict.fromkeys(("unit", "program", "engine"), _BESIDE_EACH_OTHER),
    "e2e": ("--stages=draw",),
}
"""Options of pytest by check."""

DRAW_BY_TIME = ("e2e", "profiles")
"""The checks that draw what they run by the minutes that are left."""

THOROUGH_OPTIONS = OPTIONS | {"e2e": ("--rounds=10",), "profiles": ("--rounds=10", "--stacks=all")}
"""Options of pytest by check, for a thorough run."""

# gofmt exits with 0 even if it lists files that it would change.
_GOFMT = 'unformatted=$("$0" -l "$1") && printf "%s" "$unformatted" && test -z "$unformatted"'


@dataclass
class Count:
    """The number of tests by outcome.

    Attributes:
        passed: Tests that passed.
        failed: Tests that failed, or that could not be collected or set up.
        skipped: Tests that were skipped.
    """

    passed: int = 0
    failed: int = 0
    skipped: int = 0

    def __str__(self) -> str:
        return f"{self.passed} passed, {self.failed} failed" + (f", {self.skipped} skipped" if self.skipped else "")

    def add(self, report: Path) -> None:
        """Add the outcomes of a JUnit report."""
        for suite in ElementTree.parse(report).getroot().iter("testsuite"):
            total, skipped = int(suite.get("tests", 0)), int(suite.get("skipped", 0))
            failed = int(suite.get("failures", 0)) + int(suite.get("errors", 0))
            self.failed += failed
            self.skipped += skipped
            self.passed += max(total - failed - skipped, 0)


def ensure_allowed(names: Sequence[str]) -> None:
    """Check that this user may run the named checks.

    Args:
        names: The checks; none for all of them.

    Raises:
        HostError: One of them needs root, and this is another user.
    """
    refused = [name for name in names or NAMES if name in NEED_ROOT]
    if refused and os.geteuid() != 0:
        raise HostError(
            f"These tests need root because they create namespaces and run libvirt in them: {', '.join(refused)}. "
            "Run `sudo make test` in a separate clone. These checks need no root: make lint test-unit test-program"
        )


def run(
    workspace: Workspace,
    tools: Tools,
    names: Sequence[str],
    *,
    thorough: bool = False,
    deadline: float | None = None,
) -> bool:
    """Run checks, also those after one that fails.

    The last line printed is the number of tests, if any tests ran.

    Args:
        workspace: The checkout to check.
        tools: The programs that the tests use.
        names: The checks to run; none for all of them.
        thorough: Bring up every stack instead of one, and draw more random cases.
        deadline: When all checks must have ended, on the clock `time.monotonic`. Of what is drawn, only what ends in
            time is begun.

    Returns:
        True if all of them succeeded.
    """
    names = names or NAMES
    count = Count()
    failed = []
    for name in names:
        print(f"==> {name}", flush=True)
        started = time.monotonic()
        options = [*(THOROUGH_OPTIONS if thorough else OPTIONS).get(name, ())]
        if deadline is not None and name in DRAW_BY_TIME:
            options.append(f"--minutes={(deadline - started) / 60:.1f}")
        succeeded = _lint(workspace, tools) if name == "lint" else _pytest(workspace, tools, name, count, options)
        print(f"==> {name}: {'ok' if succeeded else 'FAILED'} in {time.monotonic() - started:.1f} s", flush=True)
        if not succeeded:
            failed.append(name)
    print(f"Failed: {', '.join(failed)}" if failed else f"All checks succeeded: {', '.join(names)}")
    if any(name != "lint" for name in names):
        print(count, flush=True)
    return not failed


def python(workspace: Workspace, tools: Tools, arguments: Sequence[str]) -> int:
    """Run the Python of the tests in their environment.

    Returns:
        Its exit code.
    """
    command = [str(workspace.development_venv / "bin/python"), *arguments]
    return subprocess.run(command, cwd=workspace.checkout, env=environment_of(tools), check=False).returncode


def lint_commands(workspace: Workspace) -> dict[str, list[str]]:
    """Return the argument vector of each check of the sources, by its name."""
    programs = workspace.development_venv / "bin"
    commands: dict[str, list[str]] = {
        "ruff check": [str(programs / "ruff"), "check"],
        "ruff format": [str(programs / "ruff"), "format", "--check"],
        "mypy": [str(programs / "mypy")],
        "codespell": [str(programs / "codespell"), *tracked_files(workspace.checkout)],
        "prose": [str(programs / "python"), "-m", "dev.prose"],
        "shellcheck": ["shellcheck", *shell_programs(workspace.checkout)],
    }
    go = golang.installed(versions.go().minimum)
    if go is not None:
        module = "toolchain/go"
        commands["gofmt"] = ["sh", "-c", _GOFMT, str(go.program.with_name("gofmt")), module]
        # The flags of the build, so that both share Go's build cache.
        commands["go vet"] = ["env", "CGO_ENABLED=0", str(go.program), "-C", module, "vet", "-trimpath", "./..."]
    return commands


def shell_programs(checkout: Path) -> list[str]:
    """Return the paths of the shell programs that Git tracks, recognised by their first line.

    Raises:
        HostError: Git cannot list the files.
    """
    return [name for name in tracked_files(checkout) if is_shell_program(checkout / name)]


def tracked_files(checkout: Path) -> list[str]:
    """Return the paths of all files that Git tracks.

    Raises:
        HostError: Git cannot list the files.
    """
    listed = run_program(
        ["git", "ls-files", "-z"], why=f"listing the files of {checkout}", folder=checkout, error=HostError
    )
    return [name for name in listed.split("\0") if name]


def is_shell_program(path: Path) -> bool:
    """Return True if the first line of a file names sh or bash as its interpreter."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        first = file.readline(64).strip()
    return re.match(rb"#!\s*/\S*/(env\s+)?(ba)?sh\b|# shellcheck shell=", first) is not None


def _lint(workspace: Workspace, tools: Tools) -> bool:
    results = [_command(workspace, tools, name, command) for name, command in lint_commands(workspace).items()]
    return all(results)


def _command(workspace: Workspace, tools: Tools, name: str, command: Sequence[str]) -> bool:
    print(f"  -> {name}", flush=True)
    return subprocess.run(command, cwd=workspace.checkout, env=environment_of(tools), check=False).returncode == 0


def _pytest(workspace: Workspace, tools: Tools, name: str, count: Count, options: Sequence[str]) -> bool:
    report = workspace.lab / "reports" / f"{name}.xml"
    report.unlink(missing_ok=True)
    command = [
        str(workspace.development_venv / "bin/python"),
        "-m",
        "pytest",
        f"tests/{name}",
        f"--junitxml={report}",
        *options,
    ]
    result = subprocess.run(
        command, cwd=workspace.checkout, env=environment_of(tools), stdin=subprocess.DEVNULL, check=False
    )
    if report.exists():
        count.add(report)
    return result.returncode == 0


def environment_of(tools: Tools) -> Mapping[str, str]:
    """Return the environment variables of the tests.

    It has the real programs, not the wrappers of `.lab/bin` that enter the lab's namespaces. The user's own Pulumi
    settings are left out. Python may write bytecode, as it does for most users: without it, each preview would compile
    the whole program again.
    """
    excluded = ("PULUMI_", "PYTHONDONTWRITEBYTECODE")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(excluded)}
    return inherited | {
        "PATH": os.pathsep.join([str(tools.bin), str(tools.kubectl.parent), inherited.get("PATH", os.defpath)]),
        "PULUMI_HOME": str(tools.pulumi_home),
        "PULUMI_SKIP_UPDATE_CHECK": "true",
        "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
        "HARDWAY_VIRTUALIZATION": tools.virtualization,
    }
