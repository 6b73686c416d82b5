"""Waits until a lab works: its clocks are right, its nodes are Ready, and their kubelets report."""

from __future__ import annotations

import contextlib
import json
import subprocess
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime

from host.engine.readiness import is_ready, lacks_only_network, ready_condition
from host.workspace import Workspace, command_line
from lab.outputs import StackOutputs
from system import console
from system.clock import MAX_SKEW, skew
from system.commands import attempt
from system.errors import HostError
from system.files import temporary_file

_TIMEOUT = 600
"""Seconds. As many VMs as a machine can run boot in that time."""
_POLL_INTERVAL = 1.0
"""Seconds."""
_SSH_TIMEOUT = 60.0
"""Seconds in which a node must tell its time."""


@dataclass(frozen=True, kw_only=True)
class _Obstacle:
    """The part of a lab that a command waits for.

    Attributes:
        problem: The part and its problem.
        reason: The reason for the problem.
        advice: The command that shows more.
    """

    problem: str
    reason: str
    advice: str


@dataclass(frozen=True, kw_only=True)
class Waits:
    """Waits for the nodes of a stack, and prints what it waits for.

    Each wait raises HostError if something is missing after the time limit.

    Attributes:
        workspace: The checkout.
        stack: Short name of the stack.
        outputs: The outputs of the stack.
        attempt: Runs a command of `.lab/bin`, which may fail.
    """

    workspace: Workspace
    stack: str
    outputs: StackOutputs[str]
    attempt: Callable[..., subprocess.CompletedProcess[str]]

    def for_ready_nodes(self) -> None:
        """Wait until the nodes are Ready, or lack only a CNI plugin that the user installs later.

        The engine checks only nodes that it changes. VMs that started together with this machine may still be booting.
        """
        self._wait(self._not_ready)

    def for_clocks(self) -> None:
        """Wait until the clocks of all nodes are right."""
        self._wait(self._wrong_clock)

    def for_reports(self, since: float) -> None:
        """Wait until the nodes are Ready, and their kubelets have reported since a time in seconds since the epoch."""
        self._wait(lambda: self._not_ready() or self._old_lease(since))

    def _wait(self, find_obstacle: Callable[[], _Obstacle | None]) -> None:
        """Wait until there is no obstacle, and print what it waits for."""
        deadline, announced = time.monotonic() + _TIMEOUT, ""
        while obstacle := find_obstacle():
            if time.monotonic() > deadline:
                raise HostError(
                    f"{obstacle.problem} after {_TIMEOUT} s ({obstacle.reason}). {obstacle.advice}; then "
                    f"{command_line('up', self.stack)} repairs it."
                )
            if obstacle.problem != announced:
                left = max(0, round(deadline - time.monotonic()))
                console.note(f"waiting up to {left} s: {obstacle.problem} ({obstacle.reason})")
                announced = obstacle.problem
            time.sleep(_POLL_INTERVAL)

    def _wrong_clock(self) -> _Obstacle | None:
        """Return the reason for which clocks are not right. None if they are."""
        nodes = sorted(self.outputs.nodes)
        with ThreadPoolExecutor(max_workers=max(1, min(32, len(nodes)))) as pool:
            skews = dict(zip(nodes, pool.map(self._skew, nodes), strict=True))
        advice = f"{command_line('status', self.stack)} shows the state of the machines and their clocks"
        if silent := [name for name, skew in skews.items() if skew is None]:
            names = " and ".join(silent)
            return _Obstacle(problem=f"no answer over SSH: {names}", reason="its time was asked", advice=advice)
        wrong = {name: skew for name, skew in skews.items() if skew is not None and abs(skew) > MAX_SKEW}
        if not wrong:
            return None
        return _Obstacle(
            problem=f"the clock is wrong: {' and '.join(wrong)}",
            reason=", ".join(f"{name}: {skew:+.0f} s" for name, skew in wrong.items()),
            advice=advice,
        )

    def _skew(self, node: str) -> float | None:
        """Return the skew of a node's clock. None without an answer."""
        ssh_config = self.workspace.access(self.stack) / "ssh_config"
        sent_at = time.time()
        with contextlib.suppress(subprocess.TimeoutExpired, ValueError):
            answer = attempt(
                ["ssh", "-F", ssh_config, "-o", "BatchMode=yes", node, "date", "+%s.%N"], timeout=_SSH_TIMEOUT
            )
            return skew([float(answer.stdout)], sent_at, time.time())
        return None

    def _old_lease(self, since: float) -> _Obstacle | None:
        """Return the nodes whose kubelets have not renewed their leases since a time. None if all have."""
        answer = self._get("leases", "--namespace=kube-node-lease")
        advice = f"{command_line('status', self.stack)} shows the state of the kubelets"
        if answer.returncode != 0:
            return _Obstacle(
                problem="the leases of the nodes cannot be read", reason=_reason(answer.stderr), advice=advice
            )
        renewed = {
            lease["metadata"]["name"]: datetime.fromisoformat(lease["spec"]["renewTime"]).timestamp()
            for lease in json.loads(answer.stdout)["items"]
        }
        old = [name for name in self._kubelets() if renewed.get(name, 0.0) < since - MAX_SKEW]
        if not old:
            return None
        return _Obstacle(
            problem=f"no new report of the kubelet: {' and '.join(old)}",
            reason="each one renews its lease in turn",
            advice=advice,
        )

    def _not_ready(self) -> _Obstacle | None:
        """Return the reason for which the nodes are not Ready, None if they are or lack only a CNI plugin."""
        answer = self._get("nodes")
        if answer.returncode != 0:
            return _Obstacle(
                problem=f"API server {self.outputs.api_endpoint} does not answer",
                reason=_reason(answer.stderr),
                advice=f"{command_line('status', self.stack)} shows the state of its machine and services",
            )
        nodes = {node["metadata"]["name"]: node for node in json.loads(answer.stdout)["items"]}
        reasons = {}
        for name in self._kubelets():
            if name not in nodes:
                reasons[name] = "is not in the cluster"
            elif not is_ready(nodes[name]) and (self.outputs.has_pod_network or not lacks_only_network(nodes[name])):
                reasons[name] = ready_condition(nodes[name]).get("message") or "its kubelet has not reported a reason"
        if not reasons:
            return None
        return _Obstacle(
            problem=f"{' and '.join(reasons)} {'is' if len(reasons) == 1 else 'are'} not Ready",
            reason="; ".join(f"{name}: {reason}" for name, reason in reasons.items()),
            advice=f"{command_line('verify', self.stack)} shows what differs there from the stack",
        )

    def _kubelets(self) -> Sequence[str]:
        return sorted(name for name, node in self.outputs.nodes.items() if node.pod_cidr is not None)

    def _get(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run `kubectl get`, which may fail, with the program's own rights. Those of the user may have ended."""
        assert self.outputs.kubeconfig is not None, "there is nothing to wait for without an administrator"
        with temporary_file(self.outputs.kubeconfig) as kubeconfig:
            return self.attempt(
                "kubectl", "--kubeconfig", kubeconfig, "get", *arguments, "--output=json", "--request-timeout=10s"
            )


def _reason(errors: str) -> str:
    return (errors.strip().splitlines() or ["kubectl printed no reason"])[-1]
