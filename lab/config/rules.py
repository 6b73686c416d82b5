"""The rules that check the values of a configuration together."""

from collections.abc import Callable, Iterable
from typing import Literal

from lab.config.addons import check_addons
from lab.config.address_plan import (
    check_addresses,
    check_cluster_dns,
    check_host_routes,
    check_pod_capacity,
    check_pod_cidrs,
    check_ranges,
)
from lab.config.api_server import check_api_server
from lab.config.emulation import check_emulation, served_minor
from lab.config.etcd import check_etcd
from lab.config.files import check_files, check_sysctls
from lab.config.hosts import check_hosts
from lab.config.images import check_images
from lab.config.issuers import check_issuers
from lab.config.join import check_certificate_validity, check_credentials, check_join
from lab.config.machines import check_existing_machines
from lab.config.manifests import check_manifests
from lab.config.node_paths import check_layout, check_node_folders
from lab.config.overrides import (
    check_bind_addresses,
    check_cni_fields,
    check_fields,
    check_flags,
    check_kubelet_addresses,
    check_protected_fields,
    scopes,
)
from lab.config.precedence import effective
from lab.config.problems import Problems
from lab.config.registries import check_registries
from lab.config.schema import project
from lab.config.values import OVERRIDE_KEYS, Configuration, LabValues, NodeEntry
from lab.spec import PodNetwork, fqdn, network_domain
from lab.versions import minor

Rule = Callable[[Configuration, Problems], None]
"""Checks a configuration and adds the problems that it finds. It ignores absent values, which are reported already."""

MAX_KUBELET_SKEW = 3
"""The number of minor versions that a kubelet or kube-proxy may be older than the API server
(https://kubernetes.io/releases/version-skew-policy/)."""

MAX_API_SERVER_SKEW = 1
"""The number of minor versions that the API servers of a cluster may differ by (the same policy)."""

BRIDGE_KEYS: tuple[Literal["hostRoutes", "podRoutes", "identityFromUserData"], ...] = (
    "hostRoutes",
    "podRoutes",
    "identityFromUserData",
)
"""The keys that configure the lab's own pod network, besides the overrides `cni`."""

KUBELET_KEYS = ("labels", "taints", *OVERRIDE_KEYS, "registries", "images")
"""The keys of a node that have no effect without a kubelet."""


def check_node_names(configuration: Configuration, problems: Problems) -> None:
    """Check that no two nodes have the same name, with or without the domain of the VMs' network."""
    domain = network_domain(configuration.lab.get("name", ""))
    owners: dict[str, str] = {}
    for key, node in configuration.nodes:
        if "name" not in node:
            continue
        name = fqdn(node["name"], domain)
        if name in owners:
            problems.add(
                f"{key}.name", f"is already the name of {owners[name]}; every node needs a unique name", node["name"]
            )
        owners.setdefault(name, key)


def check_version_skew(configuration: Configuration, problems: Problems) -> None:
    """Check the nodes' versions by the version skew policy.

    For kubelets, the version counts that the API servers emulate. A lab that joins a cluster does not know the
    cluster's version.
    """
    lab = configuration.lab
    if "kubernetesVersion" not in lab or lab.get("join") is not None:
        return
    control_planes = configuration.control_planes
    api_servers = [version for _, version in _versions(control_planes, lab)] or [
        effective("kubernetesVersion", {}, lab)
    ]
    oldest, newest = min(api_servers, key=minor), max(api_servers, key=minor)
    for key, version in _versions(control_planes, lab):
        if minor(newest) - minor(version) > MAX_API_SERVER_SKEW:
            problems.add(
                key,
                f"is more than {MAX_API_SERVER_SKEW} minor version older than the API server {newest} of another "
                f"control plane; API servers of one cluster may be at most {MAX_API_SERVER_SKEW} minor version apart",
                version,
            )
    served = [served_minor(node, lab) for _, node in control_planes if "kubernetesVersion" in node] or [minor(oldest)]
    emulated = lab.get("emulate")
    nodes_with_kubelet = [*(node for node in control_planes if node.values.get("podCidr")), *configuration.workers]
    for key, version in _versions(nodes_with_kubelet, lab):
        if minor(version) > minor(oldest):
            problems.add(key, f"is newer than the API server {oldest}; a kubelet must not be newer", version)
        elif minor(version) > min(served):
            problems.add(
                key,
                f"is newer than {emulated}, which the API servers emulate; a kubelet must not be newer. Set the newer "
                "kubernetesVersion only for controlPlanes that run no pods",
                version,
            )
        elif max(served) - minor(version) > MAX_KUBELET_SKEW:
            problems.add(
                key,
                f"is too old for the API server {newest}; a kubelet may be at most {MAX_KUBELET_SKEW} minor versions "
                "older",
                version,
            )


def _versions(nodes: Iterable[NodeEntry], lab: LabValues) -> list[tuple[str, str]]:
    return [
        (f"{key}.kubernetesVersion", effective("kubernetesVersion", node, lab))
        for key, node in nodes
        if "kubernetesVersion" in node
    ]


def check_unused_kubelet_keys(configuration: Configuration, problems: Problems) -> None:
    """Check that a control plane without a kubelet has no kubelet settings, because they would have no effect."""
    control_plane_schema = project().schema["controlPlanes"].items
    assert control_plane_schema
    for key, node in configuration.control_planes:
        if "podCidr" not in node or node["podCidr"] is not None:
            continue
        for name in KUBELET_KEYS:
            if name not in node:
                continue
            value = [str(taint) for taint in node["taints"]] if name == "taints" else node.get(name)
            if value != control_plane_schema.properties[name].default:
                problems.add(
                    f"{key}.{name}",
                    "has no effect, because no kubelet runs on a control plane without a podCidr; set a podCidr, or "
                    "remove this key",
                    value,
                )


def check_network_choices(configuration: Configuration, problems: Problems) -> None:
    """Check that no key configures a part of the pods' network that the lab does not have."""
    lab = configuration.lab
    has_bridge = lab.get("podNetwork") is not PodNetwork.NONE
    has_kube_proxy = lab.get("kubeProxyEnabled") is not False
    without_bridge = (
        "cannot be combined with podNetwork none, which leaves the pods' network to you; remove one of the two"
    )
    without_kube_proxy = "has no effect, because kubeProxyEnabled is false; remove one of the two"
    for name in BRIDGE_KEYS:
        if lab.get(name) and not has_bridge:
            problems.add(configuration.key(name), without_bridge, lab[name])
    for prefix, values in scopes(configuration):
        if values.get("cni") and not has_bridge:
            problems.add(f"{prefix}cni", without_bridge, values["cni"])
        if values.get("kubeProxy") and not has_kube_proxy:
            problems.add(f"{prefix}kubeProxy", without_kube_proxy, values["kubeProxy"])


def check_drain_limits(configuration: Configuration, problems: Problems) -> None:
    """Check that a pod may end within the time for all pods of a drained node."""
    grace = configuration.lab.get("drainGracePeriodSeconds")
    timeout = configuration.lab.get("drainTimeoutSeconds")
    if grace is not None and timeout is not None and timeout <= grace:
        problems.add(
            configuration.key("drainTimeoutSeconds"),
            f"must be more than drainGracePeriodSeconds ({grace}), because a pod may take as long to end",
            timeout,
        )


def check_certificate_lifetimes(configuration: Configuration, problems: Problems) -> None:
    """Check that no certificate outlives its authority, and that certificates are not renewed all the time."""
    authority = configuration.lab.get("certificateAuthorityValidityHours")
    validity = configuration.lab.get("certificateValidityHours")
    renewal = configuration.lab.get("certificateRenewalHours")
    if authority is not None and validity is not None and validity > authority:
        problems.add(
            configuration.key("certificateValidityHours"),
            f"must be at most certificateAuthorityValidityHours {authority}, because a certificate must not outlive it",
            validity,
        )
    if validity is not None and renewal is not None and renewal >= validity:
        problems.add(
            configuration.key("certificateRenewalHours"),
            f"must be less than certificateValidityHours {validity}, because otherwise every `pulumi up` would renew "
            "every certificate",
            renewal,
        )


RULES: tuple[Rule, ...] = (
    check_node_names,
    check_join,
    check_credentials,
    check_certificate_validity,
    check_ranges,
    check_cluster_dns,
    check_addons,
    check_manifests,
    check_addresses,
    check_pod_cidrs,
    check_pod_capacity,
    check_host_routes,
    check_existing_machines,
    check_hosts,
    check_protected_fields,
    check_cni_fields,
    check_fields,
    check_flags,
    check_emulation,
    check_version_skew,
    check_unused_kubelet_keys,
    check_network_choices,
    check_certificate_lifetimes,
    check_issuers,
    check_drain_limits,
    check_layout,
    check_node_folders,
    check_registries,
    check_images,
    check_files,
    check_sysctls,
    check_api_server,
    check_etcd,
    check_bind_addresses,
    check_kubelet_addresses,
)
"""All rules, in the order of their problems."""
