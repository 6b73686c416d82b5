"""The checks before a step of a rotation: see `lab.rotation`."""

import asyncio
import contextlib
import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pulumi

from components.connection import Connection, ScriptError
from lab.node.paths import PROGRAMS
from lab.node.render import RenderedLab
from lab.rotation import InUse, NodeFiles, RotationError, ensure_in_order, ensure_proven, node_files, steps
from lab.spec import Node, Spec

PROGRAM = f"{PROGRAMS}/credentials-in-use"


@dataclass(frozen=True, kw_only=True)
class RotationArgs:
    """Arguments of `Rotation`.

    Attributes:
        spec: The lab.
        rendered: Everything that its nodes get.
        connections: Connections to the existing nodes, by node name.
        user_kubeconfigs: The kubeconfigs that `hardway access` has written.
    """

    spec: Spec
    rendered: RenderedLab
    connections: Mapping[str, Connection]
    user_kubeconfigs: Sequence[Path]


class Rotation:
    """Refuses a step of a rotation that is out of order, or for which the nodes are not ready.

    The hooks of the PKI do so before anything changes: see `components.gate`. A preview also reads the nodes. One that
    does not answer then may only be off, so the preview warns and leaves the check to the update.
    """

    def __init__(self, args: RotationArgs) -> None:
        self._args = args
        options = pulumi.ResourceHookOptions(on_dry_run=True)
        self.hooks = pulumi.ResourceHookBinding(before_update=[pulumi.ResourceHook("rotate", self._check, options)])

    async def _check(self, args: pulumi.ResourceHookArgs) -> None:
        spec = self._args.spec
        changes = steps(spec, args.old_inputs or {})
        for step in changes:
            ensure_in_order(step)
        needing_proof = [step for step in changes if step.issues_with or step.dropped]
        if not needing_proof:
            return
        try:
            nodes = await self._read_nodes()
        except ScriptError as error:
            if not pulumi.runtime.is_dry_run():
                raise RotationError(f"{error}\nNothing was changed") from None
            pulumi.warn(f"{error}\n`hardway up` checks the rotation before it changes anything.")
            return
        kubeconfigs = _client_certificates(self._args.user_kubeconfigs)
        for step in needing_proof:
            ensure_proven(spec, step, nodes, kubeconfigs, datetime.now(UTC))

    async def _read_nodes(self) -> dict[str, tuple[NodeFiles, InUse]]:
        """Return the files of each existing node, and its certificates and tokens."""
        existing = [node for node in self._args.spec.nodes if node.name in self._args.connections]
        administrator = self._args.spec.control_planes[0]
        if existing and administrator not in existing:
            raise RotationError(
                f"the first control plane, {administrator.name}, does not exist yet, and the rotation needs its "
                "kubeconfig. Create it with the former keys first, and run `hardway up`"
            )
        found = await asyncio.gather(*(self._read(node) for node in existing))
        return {node.name: each for node, each in zip(existing, found, strict=True)}

    async def _read(self, node: Node) -> tuple[NodeFiles, InUse]:
        spec, rendered = self._args.spec, self._args.rendered
        files = node_files(spec, node, rendered.nodes[node.name].services, rendered.identities)
        scope = "cluster" if node == spec.control_planes[0] else "node"
        try:
            output = await self._args.connections[node.name].execute(shlex.join([PROGRAM, scope, *files.paths]))
        except ScriptError as error:
            raise ScriptError(f"The certificates and tokens in use on {node.name} cannot be read: {error}") from None
        return files, InUse.from_dict(json.loads(output))


def _client_certificates(kubeconfigs: Sequence[Path]) -> dict[str, str]:
    """Return path to client certificate of those kubeconfigs that have one."""
    # Only a step that needs a proof pays for the import.
    from lab.config.x509 import client_certificate

    found = {}
    for path in kubeconfigs:
        with contextlib.suppress(OSError, ValueError):
            if certificate := client_certificate(path.read_text()):
                found[str(path)] = certificate.text
    return found
