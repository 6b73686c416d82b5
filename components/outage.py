"""Repair of parts of a lab that somebody stopped or deleted beside the program, which the engine does not notice."""

import time
from collections.abc import Callable, Collection, Mapping, Set
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

import pulumi

from components import confirmation
from components.hypervisor import pool_name, vm_name
from host.access.access_files import written_nodes
from host.engine import stopped
from host.engine.drift import MACHINE_NETWORK, REGISTRATION, record_drift, recorded_drift, with_drift
from host.engine.readiness import api_server_version, is_ready, registered_nodes
from host.libvirt import observed
from host.libvirt.observed import LibvirtLab, Stopped
from host.libvirt.placement import is_elsewhere
from host.workspace import Workspace
from lab.spec import Host, Spec
from lab.upgrade import ApiServerVersion
from system.errors import HostError

KUBELET = "kubelet"
_NOT_REGISTERED = "is not in the cluster"
_STILL_DRAINED = "is still drained"
_RESTARTED = "was stopped"
_BOOT_TIMEOUT = 300
"""Seconds that the API server may take after its machine has started."""
_DRAINED = "hardway.dev/drained"
"""The annotation of a Node that this program drains: see `assets/node/node-registration`."""

Answer = TypeVar("Answer")


@dataclass(frozen=True, kw_only=True)
class Observation:
    """The lab as it was found before this run.

    Attributes:
        drift: Node and service to a token that changes with each new finding.
        vm_uuids: UUID of each existing VM by its name in libvirt; empty if it was not found.
        command_lines: Kernel command line of each existing VM of the lab that has one, by its name in libvirt.
        kubelet_versions: Version that the kubelet of each node runs. Empty if the API server does not answer.
        ready_nodes: Names of the nodes that are Ready, or were so when the API server last answered: all of them if it
            does not answer.
        api_server_version: Version that the API server runs. None if it does not answer.
    """

    drift: Mapping[tuple[str, str], str]
    vm_uuids: Mapping[str, str]
    command_lines: Mapping[str, str]
    kubelet_versions: Mapping[str, str]
    ready_nodes: Set[str]
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
        HostError: Something could not be started, libvirt on this machine does not answer, or the revert to a snapshot
            has not ended.
    """
    stopped.refuse_partial_revert(workspace, stack)
    existing_nodes = written_nodes(workspace, stack)
    found, has_started = _start(spec)
    if not pulumi.runtime.is_dry_run():
        stopped.remove(workspace, stack)
    nodes, version = _read_cluster(spec, workspace, stack, _BOOT_TIMEOUT if has_started else 0, now)
    if nodes is not None:
        expected = {node.name for node in spec.kubelets} & existing_nodes
        found |= _to_register(expected, nodes)
    found |= confirmation.returned(spec, workspace, stack, existing_nodes)
    if not pulumi.runtime.is_dry_run():
        record_drift(stack, found, now)
    vm_uuids = _existing_vms(spec, existing_nodes)
    _report_lost(spec, existing_nodes, vm_uuids)
    return Observation(
        drift=with_drift(recorded_drift(stack), found, now),
        vm_uuids=vm_uuids,
        command_lines=_command_lines(spec, vm_uuids),
        kubelet_versions={name: node["status"]["nodeInfo"]["kubeletVersion"] for name, node in (nodes or {}).items()},
        ready_nodes=existing_nodes if nodes is None else {name for name, node in nodes.items() if is_ready(node)},
        api_server_version=ApiServerVersion.of(version) if version else None,
    )


def _read_cluster(
    spec: Spec, workspace: Workspace, stack: str, timeout: float, now: datetime
) -> tuple[Mapping[str, Mapping[str, Any]] | None, Mapping[str, Any] | None]:
    """Return the Nodes by name, and the document of the version; None for what the API server does not answer.

    Args:
        spec: The lab.
        workspace: The checkout. It has no kubeconfig if the lab is not up yet.
        stack: Short name of the stack.
        timeout: Seconds to wait for the API server, because its machine has just started.
        now: Current time, in UTC.
    """
    kubeconfig, super_admin = workspace.kubeconfig(stack), workspace.super_admin_kubeconfig(stack)
    if not kubeconfig.exists():
        return None, None
    deadline = time.monotonic() + timeout
    while True:
        with ThreadPoolExecutor() as pool:
            version = pool.submit(api_server_version, kubeconfig)
            nodes = registered_nodes(kubeconfig)
        if nodes is not None:
            return nodes, version.result()
        if version.result() and kubeconfig != super_admin and super_admin.exists():
            # Everybody may read the version, so perhaps the administrator has lost its rights.
            kubeconfig = super_admin
            continue
        if end := _expiry(workspace, stack, now):
            problem, advice = f"The administrator's certificate expired on {end:%Y-%m-%d %H:%M} UTC", _renewal(spec)
            break
        if time.monotonic() > deadline:
            problem = f"API server {spec.api_endpoint} does not answer"
            advice = "`hardway status` shows the state of its machine and services."
            break
        time.sleep(2)
    pulumi.warn(
        f"{problem}, so the versions and nodes of the cluster were not checked, and no node is drained for a new minor "
        f"version. {advice}"
    )
    return None, version.result()


def _expiry(workspace: Workspace, stack: str, now: datetime) -> datetime | None:
    """Return the time at which the administrator's certificate expired; None if it has not.

    If the lab has signed it, those of the API servers have then expired, too.
    """
    # The import takes 25 ms, and only a lab that does not answer needs it.
    from lab.config.x509 import certificates, client_certificate

    path = workspace.admin_certificate(stack)
    certificate = (
        certificates(path.read_text())[0]
        if path.exists()
        else client_certificate(workspace.kubeconfig(stack).read_text())
    )
    return certificate.not_after if certificate and certificate.not_after <= now else None


def _renewal(spec: Spec) -> str:
    if spec.join and spec.join.kubeconfig:
        return "Set a new one in hardway:join.kubeconfig."
    etcd = (
        " The next control plane follows before etcd has a leader, until enough members have theirs."
        if len(spec.control_planes) > 1
        else ""
    )
    canary = (
        " Remove hardway:canaryCommand until then if it needs the API server, because it could not succeed."
        if spec.canary_command
        else ""
    )
    return f"`hardway up` renews every expired certificate that the lab has signed.{etcd}{canary}"


def _existing_vms(spec: Spec, existing_nodes: Set[str]) -> Mapping[str, str]:
    """Return the UUID of each existing VM by name, also of one that leaves its host.

    With `hosts`, a VM that is not found has an empty UUID. It counts as existing, because its host may not answer, or
    may have left the configuration. So not all VMs of that host are recreated at the same time.

    Raises:
        HostError: The only host is this machine, and does not answer.
    """
    if not spec.virtual_machines:
        return {}
    found = _of_each(spec.hosts, lambda host: observed.uuids(host.uri))
    existing: dict[str, str] = {}
    for host, uuids in found.items():
        vms = [node for node in spec.vms_by_host.get(host, ()) if node.name in existing_nodes]
        if host.name:
            existing |= {vm_name(spec, node): "" for node in vms}
        if uuids is not None or not vms:
            continue
        if host.name:
            pulumi.warn(
                f"{host} does not answer, so its VMs were not checked: {', '.join(node.name for node in vms)}. Try "
                f"it: virsh --connect {host.uri} list --all. See docs/hosts.md."
            )
        elif not is_elsewhere(host.uri):
            raise HostError(
                f"{host} does not list the VMs of the lab. Nothing was changed. Try it: virsh --connect {host.uri} "
                "list --all"
            )
    return existing | {name: uuid for uuids in found.values() for name, uuid in (uuids or {}).items()}


def _command_lines(spec: Spec, vm_uuids: Mapping[str, str]) -> dict[str, str]:
    """Return the kernel command line of each existing VM that has one, by its name in libvirt."""

    def of_host(host: Host) -> dict[str, str]:
        names = (vm_name(spec, node) for node in spec.vms_by_host[host])
        return observed.command_lines(host.uri, [name for name in names if vm_uuids.get(name)])

    return {name: line for lines in _of_each(spec.vms_by_host, of_host).values() for name, line in lines.items()}


def _report_lost(spec: Spec, existing_nodes: Set[str], vm_uuids: Mapping[str, str]) -> None:
    """Warn in a preview about VMs that somebody deleted. Before an update, `host.engine.lost` has seen to them."""
    if not pulumi.runtime.is_dry_run():
        return
    hosts = [host for host in spec.vms_by_host if not is_elsewhere(host.uri)]
    nodes = [node for host in hosts for node in spec.vms_by_host[host] if node.name in existing_nodes]
    names = [vm_name(spec, node) for node in nodes]
    if lost := [name for name in names if name not in vm_uuids]:
        pulumi.warn(
            f"VM {' and '.join(lost)} does not exist in libvirt any more. `hardway up` creates it again, with its disk "
            "if that is still there."
        )


def _start(spec: Spec) -> tuple[dict[tuple[str, str], list[str]], bool]:
    """Start what is stopped.

    Returns:
        The drift of this machine's network, and True if anything was started.
    """

    def find(host: Host) -> Stopped | None:
        vms = {vm_name(spec, node): str(node.address) for node in spec.vms_by_host[host]}
        network = spec.network or spec.name
        return observed.find(LibvirtLab(uri=host.uri, network=network, pool=pool_name(spec, host), vms=vms))

    found = {host: parts for host, parts in _of_each(spec.vms_by_host, find).items() if parts is not None}
    if not found:
        return {}, False
    is_preview = pulumi.runtime.is_dry_run()
    for host, parts in found.items():
        where = f" on host {host.name}" if host.name else ""
        if is_preview:
            pulumi.warn(f"{parts}{where}. `hardway up` starts it.")
        else:
            pulumi.log.info(f"{parts}{where}. It is started first.")
    if not is_preview:
        _of_each(found, lambda host: found[host].start())
    has_lost_network = any(parts.network for parts in found.values())
    return {MACHINE_NETWORK: [_RESTARTED]} if has_lost_network else {}, not is_preview


def _of_each(hosts: Collection[Host], read: Callable[[Host], Answer]) -> dict[Host, Answer]:
    """Return the answers of several hosts, which are read at the same time."""
    if not hosts:
        return {}
    with ThreadPoolExecutor(max_workers=len(hosts)) as pool:
        return dict(zip(hosts, pool.map(read, hosts), strict=True))


def _to_register(expected: Set[str], nodes: Mapping[str, Mapping[str, Any]]) -> dict[tuple[str, str], list[str]]:
    """Return what must be applied again for nodes that are not in the cluster any more, or are still drained.

    A kubelet registers its Node only when it starts, and the labels and taints of a new Node are those of the kubelet.
    A node is still drained if a run was interrupted while its kubelet changed.
    """
    found = {(name, part): [_NOT_REGISTERED] for name in expected - nodes.keys() for part in (KUBELET, REGISTRATION)}
    annotations = {name: nodes[name]["metadata"].get("annotations", {}) for name in expected & nodes.keys()}
    return found | {(name, REGISTRATION): [_STILL_DRAINED] for name, each in annotations.items() if _DRAINED in each}
