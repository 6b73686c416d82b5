"""Compares each node of a stack with the stack, prints the differences, and has `pulumi up` correct them.

Exit code: 0 if nothing differs, 1 if something differs, 2 if not everything could be compared.
"""

import sys
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from datetime import UTC, datetime

from host.access.ssh import Login
from host.engine.drift import REGISTRATION, record_drift
from lab.outputs import StackOutputs
from lab.spec import Spec
from ops import clock, junit
from ops.certificates import expiry, upcoming_renewal
from ops.clients import CommandError, Commands, logins, read_outputs
from ops.command_line import add_junit, parse, parser, report_error
from ops.stack_file import read_spec
from ops.verify import cluster, node
from ops.verify.differences import Difference, ExpiringCertificate, VerifyReport
from system import console
from system.clock import skew
from system.errors import HardwayError

API_SERVER = "the API server"

REPORT_TIMEOUT = 20.0
"""Seconds that the API server may take to answer, and a node to report again: a kubelet reports every 10 seconds.

After an API server was away for long, its nodes count as lost until they have.
"""
POLL_INTERVAL = 2.0
"""Seconds."""

_Found = tuple[list[Difference], list[ExpiringCertificate], list[str]]
"""The differences, the expiring certificates, and the nodes of other labs."""


def main(arguments: Sequence[str] | None = None, commands: Commands | None = None) -> int:
    """Compare a stack and return the exit code.

    Args:
        arguments: Command line. None for that of this process.
        commands: Reads the stack, the nodes and the API server.
    """
    options_parser = parser(
        "verify",
        "Compares each node of the lab with the stack, and prints the differences.",
        "Exit code: 0 nothing differs, 1 something differs, 2 not everything could be compared.",
    )
    add_junit(options_parser)
    options = parse(options_parser, arguments)
    commands = commands or Commands()
    try:
        outputs = read_outputs(commands, options.stack)
        reached_by = logins(outputs)
    except HardwayError as error:
        return report_error(f"the stack could not be read: {error}")
    report = compare(outputs, reached_by, read_spec(options.stack, commands=commands), commands)
    if options.junit:
        junit.write(options.junit, "verify", report.test_cases())
    text = report.json() if options.json else report.text(quiet=options.quiet, verbose=options.verbose)
    if text:
        print(text)
    record_drift(options.stack.rpartition("/")[2], correctable(report.differences, outputs), datetime.now(UTC))
    return report.exit_code


def compare(
    outputs: StackOutputs[str],
    reached_by: dict[str, Login],
    spec: Spec | str,
    commands: Commands,
) -> VerifyReport:
    """Compare the nodes and the cluster with the stack, all nodes at the same time.

    Args:
        outputs: Outputs of the stack.
        reached_by: Login of each node.
        spec: The lab that the configuration describes, or the reason why that cannot be read.
        commands: Reads the nodes and the API server.
    """
    found: dict[str, list[Difference]] = {}
    expiring: list[ExpiringCertificate] = []
    joined: list[str] = []
    unseen: dict[str, str] = {}
    with ThreadPoolExecutor(max_workers=len(reached_by) + 1) as pool:
        parts: dict[Future[_Found], str] = {
            pool.submit(_compare_node, name, login, outputs, spec, commands): name for name, login in reached_by.items()
        }
        parts[pool.submit(_compare_cluster, outputs, commands)] = API_SERVER
        for count, part in enumerate(as_completed(parts), start=1):
            name = parts[part]
            try:
                found[name], certificates, guests = part.result()
                expiring += certificates
                joined += guests
                number = len(found[name])
                outcome = f"{number or 'no'} difference{'s' if number > 1 else ''}"
            except HardwayError as error:
                unseen[name] = str(error)
                outcome = f"could not be compared: {error}"
            console.say(f"{name}: {outcome} ({count} of {len(parts)})")
    compared = found.keys() - {API_SERVER}
    different = {(each.node, each.service) for differences in found.values() for each in differences}
    services = [
        (name, service) for name in outputs.nodes if name in compared for service in outputs.services.get(name, {})
    ]
    return VerifyReport(
        nodes=len(compared),
        services=len(services),
        differences=tuple(sorted(difference for each in found.values() for difference in each)),
        unseen={name: unseen[name] for name in parts.values() if name in unseen},
        unchanged=tuple(pair for pair in services if pair not in different),
        certificates=tuple(sorted(expiring)),
        joined=tuple(joined),
    )


def correctable(differences: Iterable[Difference], outputs: StackOutputs[str]) -> dict[tuple[str, str], list[str]]:
    """Return the differences that `pulumi up` can correct, as text, by node and service."""
    found: dict[tuple[str, str], list[str]] = {}
    for difference in differences:
        services = outputs.services.get(difference.node, {})
        if difference.service in services or (services and difference.service == REGISTRATION):
            found.setdefault((difference.node, difference.service), []).append(str(difference))
    return found


def _compare_node(name: str, login: Login, outputs: StackOutputs[str], spec: Spec | str, commands: Commands) -> _Found:
    services, sent_at = outputs.services.get(name, {}), time.time()
    report = node.parse(commands.report(login))
    found = list(node.differences(name, services, report, outputs.ssh_key))
    is_vm = name not in outputs.machine_keys
    service = clock.SERVICE if is_vm else ""
    seconds = skew(report.times, sent_at, time.time())
    if problem := clock.problem(seconds, is_corrected=is_vm):
        found.append(Difference(name, service, "", problem))
    now = datetime.now(UTC)
    expiring = [
        ExpiringCertificate(name, each.service, each.path, text)
        for each in report.certificates
        if (text := expiry(each, spec, now) or upcoming_renewal(each, spec, now))
    ]
    return found, expiring, []


def _compare_cluster(outputs: StackOutputs[str], commands: Commands) -> _Found:
    deadline = time.monotonic() + REPORT_TIMEOUT
    while True:
        is_last = time.monotonic() >= deadline
        try:
            node_list = commands.nodes(outputs.kubeconfig)
            if is_last or not cluster.lost(outputs, node_list):
                return list(cluster.differences(outputs, node_list)), [], cluster.joined(outputs, node_list)
        except CommandError as error:
            if is_last or not error.is_transient:
                raise
        time.sleep(POLL_INTERVAL)


if __name__ == "__main__":
    sys.exit(main())
