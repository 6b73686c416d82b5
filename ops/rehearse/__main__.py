"""Rehearses a change in a fork of the lab; see the package for the document."""

import argparse
import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from host.engine import stack_file
from host.libvirt.placement import is_elsewhere
from host.workspace import Workspace
from ops.command_line import OK, PROBLEM, parse, parser, report_error
from ops.interruptions import handled, interruptible, uninterruptible
from ops.rehearse.comparison import compare
from ops.rehearse.report import Rehearsal
from system import console
from system.errors import HardwayError
from system.files import CHECKOUT, write_atomically

REFUSED = 3
"""Exit code of `hardway preview` if the change needs more than the limit."""

# The report of the probe is on standard output.
_ON_STDERR = ("sh", "-c", 'exec "$@" >&2', "sh")


class RehearsalError(HardwayError):
    """The change could not be rehearsed. The message says why."""


class RefusedError(RehearsalError):
    """The change needs more than the limit of the stack."""


def main(arguments: Sequence[str] | None = None, checkout: Path = CHECKOUT) -> int:
    """Rehearse a change and return the exit code.

    Args:
        arguments: Command line. None for that of this process.
        checkout: The checkout of the original.

    Raises:
        KeyboardInterrupt: The program was interrupted. Fork and snapshot have been deleted, unless they are kept.
    """
    options = _options(arguments)
    now = f"{datetime.now(UTC):%Y%m%d-%H%M%S}"
    original = Workspace(checkout)
    # Never a folder or snapshot that exists, because both are deleted.
    fork = Workspace(checkout.with_name(f"{checkout.name}-rehearsal-{now}"))
    snapshot: str = options.snapshot or f"rehearsal-{now}"
    taken = None if options.snapshot else snapshot
    try:
        if options.config is not None and not options.config.is_file():
            raise RehearsalError(f"{options.config} is no file. --config names a stack file.")
        with interruptible():
            try:
                if taken:
                    _require(_hardway(original, options, "snapshot", taken), "the lab gave no snapshot")
                _require(_hardway(original, options, "fork", snapshot, str(fork.checkout)), "the lab was not forked")
                rehearsal = _rehearse(original, fork, snapshot, options)
            finally:
                with uninterruptible():
                    is_clean = _end(original, fork, taken, options)
    except RefusedError as error:
        report_error(str(error))
        return PROBLEM
    except HardwayError as error:
        return report_error(f"the change could not be rehearsed: {error}")
    shown = json.dumps(rehearsal.document(), indent=2) if options.json else rehearsal.text(quiet=options.quiet)
    if shown:
        print(shown, flush=True)
    return OK if rehearsal.as_predicted and is_clean else PROBLEM


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    options_parser = parser(
        "rehearse",
        "Applies a change to a fork of the lab, and compares the predicted impact with the measured one.",
        "Exit code: 0 `hardway up` succeeded with the predicted impact, 1 it did not, 2 it could not be rehearsed.",
    )
    add = options_parser.add_argument
    add("--snapshot", metavar="NAME", help="fork this snapshot (default: a new one of the lab as it is)")
    add("--config", type=Path, metavar="FILE", help="the changed stack file (default: that of this checkout)")
    add("--picture", type=Path, metavar="FILE", help="write a picture of the measurement as SVG")
    add("--keep", action="store_true", help="keep the fork and the snapshot")
    return parse(options_parser, arguments)


def _rehearse(original: Workspace, fork: Workspace, snapshot: str, options: argparse.Namespace) -> Rehearsal:
    """Change the fork, and compare.

    Raises:
        RefusedError: The change needs more than the limit of the stack.
        RehearsalError: There is no preview, or the fork cannot be measured.
    """
    _configure(options.config or original.stack_file(options.stack), fork.stack_file(options.stack))
    if keys := outside(fork.stack_file(options.stack)):
        raise RehearsalError(f"{' and '.join(keys)} would change machines outside of the fork. Rehearse without.")
    console.say("preview of the change")
    preview = _hardway(fork, options, "preview", "--json", captures=True)
    if preview.returncode == REFUSED:
        raise RefusedError("`hardway up` would refuse the change, because it needs more than the limit; see above")
    _require(preview, "there is no preview of the change")
    picture = [f"--picture={options.picture.absolute()}"] if options.picture else []
    up = [*_ON_STDERR, str(fork.bin / "hardway"), "up", "--stack", options.stack]
    # `probe` leaves Ctrl-C to the terminal, and forwards only this signal.
    measured = _hardway(fork, options, "probe", "--json", *picture, "--", *up, captures=True, ending=signal.SIGTERM)
    measurement = _document(measured)
    if measurement is None:
        raise RehearsalError("the fork could not be measured; see above")
    impact = _document(preview) or {}
    return Rehearsal(
        stack=options.stack,
        snapshot=snapshot,
        fork=str(fork.checkout) if options.keep else None,
        exit_code=measured.returncode,
        impact=impact,
        measurement=measurement,
        comparison=compare(impact, measurement),
    )


def _configure(source: Path, target: Path) -> None:
    """Give the fork a stack file. Its salt stays, because the state of the fork is encrypted with it."""
    if source.exists():
        salt = stack_file.salt_of(target.read_text(encoding="utf-8"))
        write_atomically(target, stack_file.with_salt(source.read_text(encoding="utf-8"), salt))


def outside(file: Path) -> list[str]:
    """Return the parts of a stack file that reach machines outside of the network of the lab.

    Encrypted values are not read. The Pulumi program reports invalid ones.
    """
    try:
        config = yaml.safe_load(file.read_text(encoding="utf-8"))["config"]
        values = {str(key).rpartition(":")[2]: value for key, value in config.items()}
    except (ValueError, TypeError, KeyError, AttributeError, yaml.YAMLError):
        return []
    workers = values.get("workers")
    machines = [
        f"machine of worker {worker.get('name')}"
        for worker in (workers if isinstance(workers, list) else ())
        if isinstance(worker, dict) and worker.get("machine")
    ]
    join = ["join"] if values.get("join") else []
    return machines + join + (["libvirtUri"] if is_elsewhere(str(values.get("libvirtUri"))) else [])


def _end(original: Workspace, fork: Workspace, taken: str | None, options: argparse.Namespace) -> bool:
    """Delete the fork and the snapshot that was taken for it, or print where they are.

    Returns:
        False if something could not be deleted, which has been printed.
    """
    has_snapshot = taken is not None and (original.snapshots(options.stack) / taken).exists()
    if options.keep:
        if fork.checkout.exists():
            console.warn(f"The fork is kept in {fork.checkout}. Delete it there with `hardway destroy` and `clean`.")
        if has_snapshot:
            console.warn(f"Snapshot {taken} is kept. Delete it with `hardway snapshot {taken} --delete`.")
        return True
    is_clean = not fork.checkout.exists()
    if not is_clean:
        console.say("deleting the fork")
        is_clean = (fork.bin / "hardway").exists() and _clean_up(fork, options, "clean")
        if is_clean:
            shutil.rmtree(fork.checkout)
        else:
            console.warn(f"hardway: the fork in {fork.checkout} could not be deleted; see above")
    if has_snapshot:
        assert taken is not None
        is_clean &= _clean_up(original, options, "snapshot", taken, "--delete")
    return is_clean


def _hardway(
    workspace: Workspace,
    options: argparse.Namespace,
    *words: str,
    captures: bool = False,
    ending: signal.Signals = signal.SIGINT,
) -> "subprocess.CompletedProcess[str]":
    """Run a command of `hardway` in a checkout. After Ctrl-C, wait until it has cleaned up behind itself.

    Args:
        workspace: The checkout.
        options: The options of this program.
        words: The command.
        captures: Return its standard output, instead of printing it on standard error.
        ending: The signal that makes it end, if another process asks this one to.

    Raises:
        KeyboardInterrupt: This program was interrupted.
    """
    command = _command(workspace, options, words)
    received: list[int] = []
    process = subprocess.Popen(
        command, cwd=workspace.checkout, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE if captures else 2, text=True
    )

    def forward(number: int, _: Any) -> None:
        received.append(number)
        # Ctrl-C at the terminal reaches the command without help.
        if number != signal.SIGINT:
            process.send_signal(ending)

    with handled(forward):
        output, _ = process.communicate()
    if received:
        raise KeyboardInterrupt
    return subprocess.CompletedProcess(command, process.returncode, output or "")


def _clean_up(workspace: Workspace, options: argparse.Namespace, *words: str) -> bool:
    """Run a command of `hardway` that nothing interrupts. Return True if it succeeded."""
    command = _command(workspace, options, words)
    return (
        subprocess.run(command, cwd=workspace.checkout, stdin=subprocess.DEVNULL, stdout=2, check=False).returncode == 0
    )


def _command(workspace: Workspace, options: argparse.Namespace, words: Sequence[str]) -> list[str]:
    separator = words.index("--") if "--" in words else len(words)
    program = str(workspace.bin / "hardway")
    return [program, *words[:separator], "--stack", options.stack, *words[separator:]]


def _document(result: "subprocess.CompletedProcess[str]") -> dict[str, Any] | None:
    document: dict[str, Any] | None = json.loads(result.stdout) if result.stdout.strip() else None
    return document


def _require(result: "subprocess.CompletedProcess[str]", problem: str) -> None:
    if result.returncode != 0:
        raise RehearsalError(f"{problem}; see above")


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
