"""Draining a node before a change that its pods do not survive."""

import shlex
from dataclasses import dataclass

import pulumi

from components.connection import Connection
from lab.node.paths import PROGRAMS
from lab.spec import DrainLimits


@dataclass(frozen=True, kw_only=True)
class DrainArgs:
    """Arguments of `Drain`.

    Attributes:
        node: Name of the node.
        connection: Connection to the node that does the administrator's work: see `NodeRegistrationArgs`.
        kubeconfig: Administrator's kubeconfig if the lab joins a cluster; secret. None if the control plane has one.
        limits: The limits.
    """

    node: str
    connection: Connection
    kubeconfig: pulumi.Output[str] | None
    limits: DrainLimits


class Drain:
    """Moves the pods of a node away during a change, and lets pods run there again afterwards.

    The kubelet's documentation asks for it before a new minor version:
    https://kubernetes.io/releases/version-skew-policy/#kubelet. If the program is interrupted in between, an
    annotation of the Node makes the next run finish: see `components.outage`.
    """

    def __init__(self, args: DrainArgs) -> None:
        self._args = args

    async def begin(self) -> None:
        """Drain the node.

        Raises:
            ScriptError: A pod did not end in time. Pods may run on the node again.
        """
        pulumi.log.info(f"{self._args.node} is drained before its kubelet gets another minor version")
        await self._run("drain", *self._args.limits.arguments)

    async def end(self) -> None:
        """Let pods run on the node again, if `begin` stopped that.

        Raises:
            ScriptError: The API server does not answer.
        """
        await self._run("uncordon")

    async def _run(self, verb: str, *arguments: str) -> None:
        from_stdin = ["--kubeconfig-from-stdin"] if self._args.kubeconfig is not None else []
        command = [f"{PROGRAMS}/node-registration", *from_stdin, verb, self._args.node, *arguments]
        await self._args.connection.execute(shlex.join(command), stdin=self._args.kubeconfig or "")
