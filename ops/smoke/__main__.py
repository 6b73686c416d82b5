"""Tests the basic functions of a running cluster, prints a row for each check, and deletes everything it created.

Exit code: 0 if all checks succeeded, 1 if one failed, 2 if the cluster could not be tested.
"""

import secrets
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from ops import junit
from ops.clients import CommandError, Commands, read_outputs
from ops.cluster import kubeconfig_of, nodes_with_pods, remove
from ops.command_line import add_junit, parse, parser, report_error
from ops.interruptions import interruptible, uninterruptible
from ops.smoke.cluster import Cluster
from ops.smoke.objects import manifest
from ops.smoke.rows import Result, Row, SmokeReport
from ops.smoke.trial import run_checks
from system import console
from system.errors import HardwayError


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
    add_junit(options_parser)
    options = parse(options_parser, arguments)
    try:
        outputs = read_outputs(commands or Commands(), options.stack)
        nodes = list(nodes_with_pods(outputs, options.stack))
        cluster = cluster_of(kubeconfig_of(options.stack), f"hardway-smoke-{secrets.token_hex(4)}")
        report = _test(cluster, nodes)
    except HardwayError as error:
        return report_error(f"the cluster could not be tested: {error}")
    if options.junit:
        junit.write(options.junit, "smoke", report.test_cases())
    text = report.json() if options.json else report.text(quiet=options.quiet)
    if text:
        print(text)
    return report.exit_code


def _test(cluster: Cluster, nodes: Sequence[str]) -> SmokeReport:
    """Create the objects, run the checks, and delete the objects, also after a failure."""
    with interruptible():
        try:
            console.say(f"creating namespace {cluster.namespace}")
            cluster.create(manifest(cluster.namespace, nodes))
            rows = run_checks(cluster, nodes)
        finally:
            with uninterruptible():
                removal = _remove(cluster)
    return SmokeReport((*rows, removal), tuple(cluster.retries))


def _remove(cluster: Cluster) -> Row:
    """Delete the namespace and return the row about it."""
    began, target = time.monotonic(), f"namespace {cluster.namespace}"
    try:
        remove(cluster)
    except CommandError as error:
        return Row(check="removal", target=target, result=Result.FAILED, reason=str(error))
    return Row(check="removal", target=target, seconds=time.monotonic() - began)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
