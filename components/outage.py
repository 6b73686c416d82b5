"""Repair of parts of a lab that somebody stopped or deleted beside the program, which the engine does not notice."""

from collections.abc import Mapping
from datetime import datetime

import pulumi

from host.access.access_files import written_nodes
from host.engine.drift import MACHINE_NETWORK, REGISTRATION, record_drift, recorded_drift, with_drift
from host.engine.readiness import registered_nodes
from host.libvirt import stopped
from host.libvirt.stopped import LibvirtLab
from host.workspace import Workspace
from lab.spec import Spec

KUBELET = "kubelet"
_NOT_REGISTERED = "is not in the cluster"
_RESTARTED = "was stopped"


def recover(spec: Spec, workspace: Workspace, stack: str, now: datetime) -> Mapping[tuple[str, str], str]:
    """Start what is stopped, and return the drift of the nodes, which the resources of this run repair.

    A VM that is off, a stopped network and a Node that somebody deleted change no input, so the engine would
    leave them as they are. A preview only reports them.

    Args:
        spec: The lab.
        workspace: The checkout.
        stack: Short name of the stack.
        now: Current time, in UTC.

    Returns:
        Node and service to a token that changes with each new finding.

    Raises:
        HostError: Something could not be started.
    """
    found = {**_start(spec), **_unregistered(spec, workspace, stack)}
    if not pulumi.runtime.is_dry_run():
        record_drift(stack, found, now)
    return with_drift(recorded_drift(stack), found, now)


def _start(spec: Spec) -> dict[tuple[str, str], list[str]]:
    """Start what is stopped, and return what must then be applied again on this machine."""
    if not spec.virtual_machines:
        return {}
    found = stopped.find(
        LibvirtLab(
            uri=spec.libvirt_uri,
            network=spec.network or spec.name,
            pool=spec.name,
            vms={f"{spec.name}-{node.name}": str(node.address) for node in spec.virtual_machines},
        )
    )
    if found is None:
        return {}
    if pulumi.runtime.is_dry_run():
        pulumi.warn(f"{found}. `hardway up` starts it.")
    else:
        pulumi.log.info(f"{found}. It is started first.")
        found.start()
    return {MACHINE_NETWORK: [_RESTARTED]} if found.network else {}


def _unregistered(spec: Spec, workspace: Workspace, stack: str) -> dict[tuple[str, str], list[str]]:
    """Return what must be applied again for nodes of the last `up` that are not in the cluster any more.

    A kubelet registers its Node only when it starts, and the labels and taints of a new Node are those of the kubelet.
    """
    kubeconfig = workspace.kubeconfig(stack)
    expected = {node.name for node in spec.kubelets} & written_nodes(workspace, stack)
    registered = registered_nodes(kubeconfig) if expected and kubeconfig.exists() else None
    if registered is None:
        return {}
    return {
        (name, part): [_NOT_REGISTERED] for name in sorted(expected - registered) for part in (KUBELET, REGISTRATION)
    }
