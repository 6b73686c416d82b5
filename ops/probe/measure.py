"""Measures where the lab's nodes can be reached, and prints the report as JSON. `python3 -m ops.probe` starts it.

It prints the line MEASURING when the measurement begins, and measures until its standard input ends. Everything that it
created in the cluster is deleted afterwards.
"""

import asyncio
import json
import secrets
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from host.access.ssh import Login
from lab.outputs import StackOutputs
from ops.clients import CommandError, Commands, logins, read_outputs
from ops.cluster import kubeconfig_of, nodes_with_pods, remove
from ops.command_line import OK, PROBLEM, parse, parser, report_error
from ops.interruptions import interruptible, uninterruptible
from ops.probe.api import Api
from ops.probe.cluster import ProbedCluster
from ops.probe.measurement import Measured, Plan, measure
from ops.probe.objects import WEB, manifest
from ops.probe.report import document
from ops.probe.services import UNKNOWN_SERVICES, ServiceStart, ages, starts
from system import console
from system.errors import HardwayError

MEASURING = "measuring"


def main(
    arguments: Sequence[str] | None = None,
    commands: Commands | None = None,
    cluster_of: Callable[[Path, str], ProbedCluster] = ProbedCluster,
) -> int:
    """Measure the cluster and return the exit code.

    Args:
        arguments: Command line. None for that of this process.
        commands: Reads the stack and the nodes.
        cluster_of: Returns the cluster of a kubeconfig, limited to a namespace.

    Raises:
        KeyboardInterrupt: The program was interrupted before the measurement. Everything created has been deleted.
    """
    options_parser = parser("probe", "Measures where the lab's nodes can be reached.", "")
    options_parser.add_argument("--rate", type=float, required=True)
    options_parser.add_argument("--timeout", type=float, required=True)
    options = parse(options_parser, arguments)
    commands = commands or Commands()
    removed = True
    try:
        outputs = read_outputs(commands, options.stack)
        nodes = nodes_with_pods(outputs, options.stack)
        kubeconfig = kubeconfig_of(options.stack)
        api, cluster = Api(kubeconfig), cluster_of(kubeconfig, f"hardway-probe-{secrets.token_hex(4)}")
        with interruptible():
            try:
                console.say(f"creating namespace {cluster.namespace}")
                cluster.create(manifest(cluster.namespace, nodes))
                cluster.wait_for_rollout(f"deployment/{WEB}")
                plan = Plan(
                    api=api,
                    namespace=cluster.namespace,
                    targets=cluster.targets({name: node.address for name, node in nodes.items()}),
                    logins={name: login for name, login in logins(outputs).items() if name in nodes},
                    interval=1 / options.rate,
                    timeout=options.timeout,
                )
                _report(asyncio.run(_measure(plan)), options.stack, outputs, commands)
            finally:
                with uninterruptible():
                    removed = _remove(cluster)
    except HardwayError as error:
        return report_error(f"the cluster could not be measured: {error}")
    return OK if removed else PROBLEM


async def _measure(plan: Plan) -> Measured:
    """Measure until standard input ends, or a signal other than Ctrl-C asks to end."""
    loop, stopped = asyncio.get_running_loop(), asyncio.Event()

    def stop() -> None:
        loop.remove_reader(sys.stdin.fileno())
        stopped.set()

    def started() -> None:
        # Ctrl-C at the terminal reaches this process, too. The one that started it decides when to end.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        for number in (signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, stop)
        loop.add_reader(sys.stdin.fileno(), stop)
        print(MEASURING, flush=True)

    return await measure(plan, started, stopped.wait)


def _report(measured: Measured, stack: str, outputs: StackOutputs[str], commands: Commands) -> None:
    with uninterruptible():
        started, unread = _service_starts(outputs, commands, measured.start)
        print(json.dumps(document(stack, measured, started, unread)), flush=True)


def _service_starts(
    outputs: StackOutputs[str], commands: Commands, start: float
) -> tuple[list[ServiceStart], list[str]]:
    """Return the services that started since the start, and a note about each node that did not answer."""
    found: list[ServiceStart] = []
    notes: list[str] = []

    def on_node(name: str, login: Login) -> Mapping[str, float]:
        return ages(commands, login, list(outputs.services.get(name, ())))

    with ThreadPoolExecutor() as pool:
        asked = time.time() - start
        answers = {name: pool.submit(on_node, name, login) for name, login in logins(outputs).items()}
        for name, answer in answers.items():
            try:
                found += starts(name, answer.result(), asked)
            except CommandError as error:
                notes.append(f"{UNKNOWN_SERVICES}{name} are unknown: {error}")
    return sorted(found, key=lambda each: each.at), notes


def _remove(cluster: ProbedCluster) -> bool:
    """Delete the namespace. Return False if it may still exist, which has been printed."""
    try:
        remove(cluster)
    except CommandError:
        return False
    return True


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
