"""Draining a node before a change that its pods do not survive."""

import asyncio
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pulumi

from components.connection import Connection, ScriptError, state_changes
from lab.node.paths import PROGRAMS
from lab.spec import DrainLimits


@dataclass(frozen=True, kw_only=True)
class DrainArgs:
    """Arguments of `Drain`.

    Attributes:
        node: Name of the node.
        connection: Connection to the first control plane, or to the node itself if the lab joins a cluster.
        kubeconfig: Administrator's kubeconfig if the lab joins a cluster; secret. None if the control plane has one.
        limits: The limits.
        is_new_minor_version: The node's kubelet gets another minor version.
        api_servers: Returns the commands of all API servers of the lab, which must not be older than the kubelet. It is
            called once all resources are registered.
    """

    node: str
    connection: Connection
    kubeconfig: pulumi.Output[str] | None
    limits: DrainLimits
    is_new_minor_version: bool
    api_servers: Callable[[], Sequence[pulumi.Resource]]


class Drain:
    """Moves the pods of a node away during a change, and lets pods run there again afterwards.

    The kubelet's documentation asks for it before a new minor version, see
    https://kubernetes.io/releases/version-skew-policy/#kubelet, and before other settings of how the kubelet assigns
    CPUs and memory: see `lab.node.worker`. If the program is interrupted in between, an
    annotation of the Node makes the next run finish: see `components.outage`.
    """

    def __init__(self, args: DrainArgs) -> None:
        self._args = args
        self._begun = False

    async def begin(self, old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
        """Drain the node, if its pods do not survive the change.

        Args:
            old: The former inputs of the command that changes the kubelet.
            new: The new ones.

        Raises:
            ScriptError: A pod did not end in time, or an API server failed. Pods may run on the node.
        """
        if self._args.is_new_minor_version:
            await self._wait_for_api_servers()
            reason = "gets another minor version"
        elif state_changes(old, new):
            reason = "assigns CPUs or memory under other settings"
        else:
            return
        pulumi.log.info(f"{self._args.node} is drained before its kubelet {reason}")
        self._begun = True
        await self._run("drain", *self._args.limits.arguments)

    async def end(self) -> None:
        """Let pods run on the node again, if `begin` stopped that.

        Raises:
            ScriptError: The API server does not answer.
        """
        if self._begun:
            await self._run("uncordon")

    async def _wait_for_api_servers(self) -> None:
        """Wait until no API server is older than the kubelet, which may reach any of them through the load balancers.

        A dependency would also make a control plane that is created again wait for the others.
        """
        try:
            await asyncio.gather(*(command.urn.future() for command in self._args.api_servers()))
        except Exception:
            # The engine reports it.
            raise ScriptError("an API server does not have the new version") from None

    async def _run(self, verb: str, *arguments: str) -> None:
        command = registration_command(self._args.kubeconfig, verb, self._args.node, *arguments)
        await self._args.connection.execute(command, stdin=self._args.kubeconfig or "")


def registration_command(kubeconfig: pulumi.Output[str] | None, verb: str, node: str, *arguments: str) -> str:
    """Return a command of assets/node/node-registration.

    Args:
        kubeconfig: Administrator's kubeconfig, which the command gets by standard input. None if the node has one.
        verb: The verb.
        node: Name of the node that it is about.
        arguments: Arguments of the verb.
    """
    from_stdin = ["--kubeconfig-from-stdin"] if kubeconfig is not None else []
    return shlex.join([f"{PROGRAMS}/node-registration", *from_stdin, verb, node, *arguments])
