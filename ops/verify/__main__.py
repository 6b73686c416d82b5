"""Compares each node of a stack with what the stack says, prints what differs, and has `pulumi up` set that right.

Its exit code: 0 where nothing differs, 1 where something does, 2 where not all could be looked at.
"""

import argparse
import sys
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

from host.engine.drift import record_repairs
from ops.clients import CommandError, Commands
from ops.verify import cluster, node, stack
from ops.verify.findings import Finding, Verdict

API_SERVER = "the API server"


def main(arguments: Sequence[str] | None = None, commands: Commands | None = None) -> int:
    """Runs the comparison and returns the exit code.

    commands: what the stack, the nodes and the API server are asked through.
    """
    parser = argparse.ArgumentParser(
        prog="python3 -m ops.verify",
        description="Compares each node of the lab with what the stack says, and prints what differs.",
        epilog="Exit code: 0 nothing differs, 1 something does, 2 not all could be looked at.",
    )
    parser.add_argument("--stack", help="the stack (default: the one selected)")
    parser.add_argument("--json", action="store_true", help="print a JSON document")
    options = parser.parse_args(arguments)
    commands = commands or Commands()
    try:
        name = options.stack or commands.selected_stack()
        expected = stack.parse(commands.outputs(name))
    except (CommandError, stack.StackError) as error:
        print(f"hardway: the stack could not be read: {error}", file=sys.stderr)
        return 2
    verdict = look(expected, commands)
    print(verdict.json() if options.json else verdict.text())
    record_repairs(name.rpartition("/")[2], repairable(verdict.findings, expected), datetime.now(UTC))
    return verdict.exit_code


def look(expected: stack.Stack, commands: Commands) -> Verdict:
    """Compares the nodes, side by side, and the cluster with what is expected."""
    findings: list[Finding] = []
    unseen: dict[str, str] = {}
    seen: list[str] = []
    with ThreadPoolExecutor(max_workers=len(expected.nodes) + 1) as pool:
        listed = pool.submit(commands.nodes, expected.kubeconfig)
        reports = {name: pool.submit(commands.report, each.login) for name, each in expected.nodes.items()}
        for name, report in reports.items():
            try:
                told = node.parse(report.result())
            except (CommandError, node.ReportError) as error:
                unseen[name] = str(error)
            else:
                findings += node.differences(name, expected.nodes[name].services, told)
                seen.append(name)
        try:
            findings += cluster.differences(expected.nodes, listed.result())
        except CommandError as error:
            unseen[API_SERVER] = str(error)
    return Verdict(
        nodes=len(seen),
        services=sum(len(expected.nodes[name].services) for name in seen),
        findings=tuple(sorted(findings)),
        unseen=unseen,
    )


def repairable(findings: Iterable[Finding], expected: stack.Stack) -> dict[tuple[str, str], list[str]]:
    """What `pulumi up` can set right: node and service to what was found there."""
    found: dict[tuple[str, str], list[str]] = {}
    for finding in findings:
        services = expected.nodes[finding.node].services if finding.node in expected.nodes else ()
        if finding.service in services or (services and finding.service == cluster.MEMBERSHIP):
            found.setdefault((finding.node, finding.service), []).append(str(finding))
    return found


if __name__ == "__main__":
    sys.exit(main())
