"""Repair of parts of a lab that somebody stopped or deleted beside the program, which the engine does not notice."""

from collections.abc import Mapping, Set
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pulumi

from components.hypervisor import vm_name
from host.access.access_files import written_nodes
from host.engine.drift import MACHINE_NETWORK, REGISTRATION, record_drift, recorded_drift, with_drift
from host.engine.readiness import api_server_version, registered_nodes
from host.libvirt import observed
from host.libvirt.observed import LibvirtLab
from host.workspace import Workspace
from lab.spec import Spec
from lab.upgrade import ApiServerVersion

KUBELET = "kubelet"
_NOT_REGISTERED = "is not in the cluster"
_STILL_DRAINED = "is still drained"
_RESTARTED = "was stopped"
_DRAINED = "hardway.dev/drained"
"""The annotation of a Node that this program drains: see `assets/node/node-registration`."""


@dataclass(frozen=True, kw_only=True)
class Observation:
    """The lab as it was found before this run.

    Attributes:
        drift: Node and service to a token that changes with each new finding.
        vm_uuids: UUID of each existing VM by its name in libvirt.
        command_lines: Kernel command line of each existing VM of the lab that has one, by its name in libvirt.
        kubelet_versions: Version that the kubelet of each node runs. Empty if the API server does not answer.
        api_server_version: Version that the API server runs. None if it does not answer.
    """

    drift: Mapping[tuple[str, str], str]
    vm_uuids: Mapping[str, str]
    command_lines: Mapping[str, str]
    kubelet_versions: Mapping[str, str]
    api_server_version: ApiServerVersion | None


def recover(spec: Spec, workspace: Workspace, stack: str, now: datetime) -> Observation:
    """Start what is stopped, and return the lab as it was found. The resources of this run repair its drift.

    A VM that is off, a stopped network and a Node that somebody deleted change no input, so the engine would
    leave them as they are. A preview only reports them.

    Args:
        spec: The lab.
        workspace: The checkout.
        stack: Short name of the stack.
        now: Current time, in UTC.

    Raises:
        HostError: Something could not be started.
    """
    found = _start(spec)
    kubeconfig = workspace.kubeconfig(stack)
    nodes = version = None
    if kubeconfig.exists():
        with ThreadPoolExecutor() as pool:
            asked = pool.submit(api_server_version, kubeconfig)
            nodes, version = registered_nodes(kubeconfig), asked.result()
        if nodes is None and version is None:
            pulumi.warn(
                f"API server {spec.api_endpoint} does not answer. A step that needs it waits for up to 5 minutes. "
                "`hardway status` shows the state of its machine and services."
            )
    if nodes is not None:
        expected = {node.name for node in spec.kubelets} & written_nodes(workspace, stack)
        found |= _to_register(expected, nodes)
    if not pulumi.runtime.is_dry_run():
        record_drift(stack, found, now)
    vm_uuids = observed.uuids(spec.libvirt_uri) if spec.virtual_machines else {}
    existing = [name for node in spec.virtual_machines if (name := vm_name(spec, node)) in vm_uuids]
    return Observation(
        drift=with_drift(recorded_drift(stack), found, now),
        vm_uuids=vm_uuids,
        command_lines=observed.command_lines(spec.libvirt_uri, existing),
        kubelet_versions={name: node["status"]["nodeInfo"]["kubeletVersion"] for name, node in (nodes or {}).items()},
        api_server_version=ApiServerVersion.of(version) if version else None,
    )


def _start(spec: Spec) -> dict[tuple[str, str], list[str]]:
    """Start what is stopped, and return what must then be applied again on this machine."""
    if not spec.virtual_machines:
        return {}
    found = observed.find(
        LibvirtLab(
            uri=spec.libvirt_uri,
            network=spec.network or spec.name,
            pool=spec.name,
            vms={vm_name(spec, node): str(node.address) for node in spec.virtual_machines},
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


def _to_register(expected: Set[str], nodes: Mapping[str, Mapping[str, Any]]) -> dict[tuple[str, str], list[str]]:
    """Return what must be applied again for nodes that are not in the cluster any more, or are still drained.

    A kubelet registers its Node only when it starts, and the labels and taints of a new Node are those of the kubelet.
    A node is still drained if a run was interrupted while its kubelet changed.
    """
    found = {(name, part): [_NOT_REGISTERED] for name in expected - nodes.keys() for part in (KUBELET, REGISTRATION)}
    annotations = {name: nodes[name]["metadata"].get("annotations", {}) for name in expected & nodes.keys()}
    return found | {(name, REGISTRATION): [_STILL_DRAINED] for name, each in annotations.items() if _DRAINED in each}
