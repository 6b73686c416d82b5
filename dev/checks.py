"""The checks and tests: what each runs, how long it took, and the count over all of them."""

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
from system.errors import HostError
from toolchain import golang

# In the order they run: what is quick to fail comes first.
NAMES = ("lint", "unit", "program", "engine", "e2e", "profiles")
ROOTS = ("engine", "e2e", "profiles")
"""Those that make namespaces and run libvirt in them."""
THOROUGH = {"e2e": ("--rounds=10",), "profiles": ("--rounds=10", "--stacks=all")}
"""What each is told where there is time."""

# gofmt lists what it would change and calls that a success.
_GOFMT = 'unformatted=$("$0" -l "$1") && printf "%s" "$unformatted" && test -z "$unformatted"'


@dataclass
class Count:
    """How many tests ended how, over all runs so far."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0

    def __str__(self) -> str:
        return f"{self.passed} passed, {self.failed} failed" + (f", {self.skipped} skipped" if self.skipped else "")

    def add(self, report: Path) -> None:
        """Adds what a JUnit report says. A test that could not be set up or collected counts as failed."""
        for suite in ElementTree.parse(report).getroot().iter("testsuite"):
            total, skipped = int(suite.get("tests", 0)), int(suite.get("skipped", 0))
            failed = int(suite.get("failures", 0)) + int(suite.get("errors", 0))
            self.failed += failed
            self.skipped += skipped
            self.passed += max(total - failed - skipped, 0)


def ensure_allowed(names: Sequence[str]) -> None:
    """Raises HostError where one of the named checks, none for all, needs root and this is another user."""
    needing = [name for name in names or NAMES if name in ROOTS]
    if needing and os.geteuid() != 0:
        raise HostError(
            f"The tests {', '.join(needing)} make namespaces and run libvirt in them, which takes root: "
            "sudo make test, in a clone of its own. Without: make lint test-unit test-program"
        )


def run(workspace: Workspace, tools: Tools, names: Sequence[str], *, thorough: bool = False) -> bool:
    """Runs the named checks, all of them even where one fails, and says whether all were well.

    names: none for all. thorough: every other stack instead of one of them, and more random draws.

    The last line printed is the count of tests, where any was asked for.
    """
    names = names or NAMES
    count = Count()
    failed = []
    for name in names:
        print(f"==> {name}", flush=True)
        started = time.monotonic()
        well = (
            _lint(workspace, tools)
            if name == "lint"
            else _pytest(workspace, tools, name, count, THOROUGH.get(name, ()) if thorough else ())
        )
        print(f"==> {name}: {'ok' if well else 'FAILED'} in {time.monotonic() - started:.1f} s", flush=True)
        if not well:
            failed.append(name)
    print(f"Failed: {', '.join(failed)}" if failed else f"All well: {', '.join(names)}")
    if any(name != "lint" for name in names):
        print(count, flush=True)
    return not failed


def python(workspace: Workspace, tools: Tools, arguments: Sequence[str]) -> int:
    """Runs the Python of the tests with the given arguments, in their environment; returns its exit code."""
    command = [str(workspace.development_venv / "bin/python"), *arguments]
    return subprocess.run(command, cwd=workspace.checkout, env=environment_of(tools), check=False).returncode


def lint_commands(workspace: Workspace) -> dict[str, list[str]]:
    """Name and argument vector of each check of the sources."""
    programs = workspace.development_venv / "bin"
    commands: dict[str, list[str]] = {
        "ruff check": [str(programs / "ruff"), "check"],
        "ruff format": [str(programs / "ruff"), "format", "--check"],
        "mypy": [str(programs / "mypy")],
        "shellcheck": ["shellcheck", *shell_programs(workspace.checkout)],
    }
    go = golang.installed(versions.go().minimum)
    if go is not None:
        module = "toolchain/go"
        commands["gofmt"] = ["sh", "-c", _GOFMT, str(go.program.with_name("gofmt")), module]
        # With the flags of the build, whose cache then has all that is imported.
        commands["go vet"] = ["env", "CGO_ENABLED=0", str(go.program), "-C", module, "vet", "-trimpath", "./..."]
    return commands


def shell_programs(checkout: Path) -> list[str]:
    """The paths of the shell programs among the files that Git knows, told by their first line.

    Raises HostError where Git refuses.
    """
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=checkout, capture_output=True, text=True, check=False)
    if listed.returncode != 0:
        raise HostError(f"`git ls-files` in {checkout} failed:\n{listed.stderr.strip()}")
    return [name for name in listed.stdout.split("\0") if name and _is_shell_program(checkout / name)]


def _is_shell_program(path: Path) -> bool:
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
    """The tests' environment: real programs instead of those that enter the lab's namespaces, no Pulumi of the user.

    Python keeps what it has compiled, as it does for most users; each preview would compile the whole program anew.
    """
    left_out = ("PULUMI_", "PYTHONDONTWRITEBYTECODE")
    own = {name: value for name, value in os.environ.items() if not name.startswith(left_out)}
    return own | {
        "PATH": os.pathsep.join([str(tools.bin), str(tools.kubectl.parent), own.get("PATH", os.defpath)]),
        "PULUMI_HOME": str(tools.pulumi_home),
        "PULUMI_SKIP_UPDATE_CHECK": "true",
        "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
        "HARDWAY_VIRTUALIZATION": tools.virtualization,
    }
