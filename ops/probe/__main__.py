"""Measures how the cluster stays available while a command runs, or for some time, and prints a report.

The command runs as if it had been started without the probe: in this folder, with this terminal, and outside of the
lab's network. `ops.probe.measure` measures inside.

Exit code: that of the command if it failed, 1 if a target was less available than allowed, 2 if the cluster could not
be measured, else 0.
"""

import argparse
import contextlib
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from host.workspace import Workspace
from ops.clients import NOT_FOUND
from ops.command_line import NOT_CHECKED, OK, PROBLEM, parse, parser, report_error
from ops.interruptions import handled, interruptible, uninterruptible
from ops.probe.measure import MEASURING
from ops.probe.picture import picture
from ops.probe.report import problems, text
from system import console
from system.files import CHECKOUT

RATE = 10.0
"""Requests to a target in a second."""

EMULATED_RATE = 2.0
"""The same for emulated nodes. Web servers start a process for each request, and with ten requests in a second to each
target, the probe was seen to take so much CPU from emulated nodes that it measured mostly itself."""

TIMEOUT = 5.0
"""Seconds until an answer counts as missing."""


def main(arguments: Sequence[str] | None = None, program: Sequence[str] | None = None) -> int:
    """Measure and return the exit code.

    Args:
        arguments: Command line. None for that of this process.
        program: Command line of `ops.probe.measure` without its options. None for that of the lab.

    Raises:
        KeyboardInterrupt: The program was interrupted before the measurement began. Nothing is left behind.
    """
    options = _options(arguments)
    if options.command and shutil.which(options.command[0]) is None:
        report_error(f"{options.command[0]} is not on PATH")
        return NOT_FOUND
    words = ["--stack", options.stack, f"--rate={options.rate}", f"--timeout={options.timeout}"]
    measurement = subprocess.Popen(
        [*(program or _program()), *words], cwd=CHECKOUT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert measurement.stdout is not None
    with interruptible():
        try:
            is_measuring = measurement.stdout.readline().strip() == MEASURING
        except KeyboardInterrupt:
            measurement.terminate()
            with uninterruptible():
                measurement.wait()
            raise
    if not is_measuring:
        return measurement.wait() or NOT_CHECKED
    code = _run(options.command) if options.command else _wait(measurement, options.seconds)
    with uninterruptible():
        report = _end(measurement)
        if report is None:
            return code or NOT_CHECKED
        problem = _show(report, options) or measurement.returncode
    return code or problem


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    options_parser = parser(
        "probe",
        "Measures how the API server, a Service and its pods stay available while COMMAND runs, and what restarts.",
        "Exit code: that of COMMAND if it failed, 1 a target was less available than allowed, 2 the cluster could not "
        "be measured, else 0.",
    )
    options_parser.usage = "hardway probe [OPTIONS] [-- COMMAND ARG…]"
    add = options_parser.add_argument
    add("--picture", type=Path, metavar="FILE", help="write a picture of the whole time as SVG")
    add("--seconds", type=_positive, help="end after this time, without COMMAND (default: until Ctrl-C)")
    add("--max-failures", type=int, metavar="N", help="exit with 1 if a target had more failed requests")
    add("--max-gap", type=float, metavar="SECONDS", help="exit with 1 if a target had a longer gap")
    add(
        "--rate",
        type=_positive,
        default=EMULATED_RATE if os.environ.get("HARDWAY_VIRTUALIZATION") == "qemu" else RATE,
        help=f"requests to a target in a second (default: {RATE:g}, for emulated nodes {EMULATED_RATE:g})",
    )
    add("--timeout", type=_positive, default=TIMEOUT, help=f"seconds to wait for an answer (default: {TIMEOUT:g})")
    add("command", nargs="*", metavar="COMMAND", help="after --: a command to run and its arguments")
    options = parse(options_parser, arguments)
    if options.command and options.seconds is not None:
        options_parser.error("--seconds is for a measurement without COMMAND, which ends the measurement itself")
    return options


def _positive(word: str) -> float:
    value = float(word)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError("must be greater than 0")
    return value


def _program() -> list[str]:
    return [str(Workspace(CHECKOUT).bin / "in-lab"), sys.executable, "-P", "-m", "ops.probe.measure"]


def _run(command: Sequence[str]) -> int:
    """Run a command and return its exit code, as a shell does for one that a signal ended."""
    process = subprocess.Popen(command)

    def forward(number: int, _: Any) -> None:
        # Ctrl-C at the terminal reaches the command without help. It decides what to do, and the report follows.
        if number != signal.SIGINT:
            process.send_signal(number)

    with handled(forward):
        code = process.wait()
    return code if code >= 0 else 128 - code


def _wait(measurement: subprocess.Popen[str], seconds: float | None) -> int:
    """Wait for some seconds, or until an interruption."""
    with interruptible(), contextlib.suppress(subprocess.TimeoutExpired, KeyboardInterrupt):
        console.say("measuring" if seconds else "measuring until Ctrl-C")
        measurement.wait(timeout=seconds)
    return OK


def _end(measurement: subprocess.Popen[str]) -> dict[str, Any] | None:
    """End the measurement and return its report, None if it failed. Its own errors have been printed."""
    assert measurement.stdin is not None
    assert measurement.stdout is not None
    measurement.stdin.close()
    printed = measurement.stdout.read()
    measurement.wait()
    report: dict[str, Any] | None = json.loads(printed) if printed else None
    return report


def _show(report: dict[str, Any], options: argparse.Namespace) -> int:
    shown = json.dumps(report, indent=2) if options.json else text(report, quiet=options.quiet)
    if shown:
        print(shown, flush=True)
    if options.picture:
        command = f", `{shlex.join(options.command)}`" if options.command else ""
        title = f"Availability of stack {report['stack']}{command}, {report['start']}"
        options.picture.write_text(picture(report, title), encoding="utf-8")
    found = problems(report, options.max_failures, options.max_gap)
    for problem in found:
        console.warn(f"hardway: {problem}")
    return PROBLEM if found else OK


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
