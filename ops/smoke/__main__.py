"""Tests the basic functions of a running cluster, prints a row for each check, and deletes everything it created.

Exit code: 0 if all checks succeeded, 1 if one failed, 2 if the cluster could not be tested.
"""

import contextlib
import secrets
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from host.workspace import Workspace, command_line
from ops.clients import CommandError, Commands, read_outputs
from ops.command_line import parse, parser, report_error
from ops.smoke.cluster import Cluster
from ops.smoke.objects import manifest
from ops.smoke.rows import Result, Row, SmokeReport
from ops.smoke.trial import run_checks
from system import console
from system.errors import HardwayError
from system.files import CHECKOUT

WORKSPACE = Workspace(CHECKOUT)
INTERRUPTIONS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class NotUpError(HardwayError):
    """The stack has no cluster to test. The message names the next step."""


def main(
    arguments: Sequence[str] | None = None,
    commands: Commands | None = None,
    cluster_of: Callable[[Path, str], Cluster] = Cluster,
) -> int:
    """Test the cluster and return the exit code.

    Args:
        arguments: Command line. None for that of this process.
        commands: Reads the stack.
        cluster_of: Returns the cluster of a kubeconfig, limited to a namespace.

    Raises:
        KeyboardInterrupt: The test was interrupted. Everything that it created has been deleted.
    """
    options_parser = parser(
        "smoke",
        "Tests pods on every node, Services, names, a webhook, logs and commands in pods; leaves nothing behind.",
        "Exit code: 0 all checks succeeded, 1 a check failed, 2 the cluster could not be tested.",
    )
    options = parse(options_parser, arguments)
    try:
        nodes = _nodes_with_pods(commands or Commands(), options.stack)
        cluster = cluster_of(_kubeconfig(options.stack), f"hardway-smoke-{secrets.token_hex(4)}")
        report = _test(cluster, nodes)
    except HardwayError as error:
        return report_error(f"the cluster could not be tested: {error}")
    text = report.json() if options.json else report.text(quiet=options.quiet)
    if text:
        print(text)
    return report.exit_code


def _nodes_with_pods(commands: Commands, stack: str) -> list[str]:
    """Return the nodes of the stack that run pods."""
    nodes = [name for name, node in read_outputs(commands, stack).nodes.items() if node.pod_cidr is not None]
    if not nodes:
        raise NotUpError(f"stack {stack} has no node that runs pods. Bring it up first: {command_line('up', stack)}")
    return nodes


def _kubeconfig(stack: str) -> Path:
    name = stack.rpartition("/")[2]
    path = WORKSPACE.kubeconfig(name)
    if not path.exists():
        raise NotUpError(f"{path} does not exist. Create it: {command_line('access', name)}")
    return path


def _test(cluster: Cluster, nodes: Sequence[str]) -> SmokeReport:
    """Create the objects, run the checks, and delete the objects, also after a failure."""
    with _interruptible():
        try:
            console.say(f"creating namespace {cluster.namespace}")
            cluster.create(manifest(cluster.namespace, nodes))
            rows = run_checks(cluster, nodes)
        finally:
            with _uninterruptible():
                removal = _remove(cluster)
    return SmokeReport((*rows, removal))


def _remove(cluster: Cluster) -> Row:
    """Delete the namespace and return the row about it.

    A failure is also printed at once, because after an interruption there is no table.
    """
    console.say(f"deleting namespace {cluster.namespace}")
    began, target = time.monotonic(), f"namespace {cluster.namespace}"
    try:
        cluster.remove()
    except CommandError as error:
        console.warn(f"hardway: {target} may still exist: {error}")
        return Row(check="removal", target=target, result=Result.FAILED, reason=str(error))
    return Row(check="removal", target=target, seconds=time.monotonic() - began)


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """Let every signal in INTERRUPTIONS raise KeyboardInterrupt, as Ctrl-C does."""
    with _handled(signal.default_int_handler):
        yield


@contextlib.contextmanager
def _uninterruptible() -> Iterator[None]:
    """Ignore the signals in INTERRUPTIONS, because the cleanup must finish."""
    with _handled(signal.SIG_IGN):
        yield


@contextlib.contextmanager
def _handled(handler: Callable[..., None] | signal.Handlers) -> Iterator[None]:
    before = {number: signal.signal(number, handler) for number in INTERRUPTIONS}
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
