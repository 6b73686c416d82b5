"""Build the spec of a lab from valid values."""

from collections.abc import Mapping
from typing import Any, cast

from lab.config.addons import build_addons
from lab.config.api_server import DOCUMENTS
from lab.config.converters import COMPONENT_KEYS
from lab.config.etcd import build_snapshots
from lab.config.files import files_of
from lab.config.hosts import build_hosts
from lab.config.images import merge_images
from lab.config.issuers import build_issuers
from lab.config.join import build_join
from lab.config.node_paths import build_node_paths
from lab.config.precedence import effective
from lab.config.registries import merge_registries
from lab.config.values import LabValues, NodeValues
from lab.spec import (
    Certificates,
    ControlPlaneFlags,
    DrainLimits,
    Encryption,
    ExistingMachine,
    Folder,
    Networks,
    Node,
    PodNetwork,
    PodRoute,
    Role,
    Spec,
    SystemUser,
    VmSize,
)


def build_spec(lab: LabValues, secrets: frozenset[str] = frozenset()) -> Spec:
    """Build the spec from values that have no problem.

    Args:
        lab: The values.
        secrets: The texts in them that Pulumi holds as secret.
    """
    join = build_join(lab["join"])
    return Spec(
        name=lab["name"],
        kubernetes_version=effective("kubernetesVersion", {}, lab),
        emulated_version=lab["emulate"],
        control_planes=tuple(_node(Role.CONTROL_PLANE, node, lab) for node in lab["controlPlanes"]),
        workers=tuple(_node(Role.WORKER, node, lab) for node in lab["workers"]),
        networks=Networks(
            network_cidr=lab["networkCidr"],
            cluster_cidr=lab["clusterCidr"],
            service_cidr=lab["serviceCidr"],
            cluster_dns=lab["clusterDns"],
            cluster_domain=lab["clusterDomain"],
        ),
        certificates=Certificates(
            authority_validity=lab["certificateAuthorityValidityHours"],
            validity=lab["certificateValidityHours"],
            renewal=lab["certificateRenewalHours"],
            admin_validity=lab["adminCertificateHours"],
            issuers=build_issuers(lab),
        ),
        flags=ControlPlaneFlags(
            etcd=_flags(lab["etcdFlags"]),
            kube_apiserver=_flags(lab["apiServerFlags"]),
            kube_controller_manager=_flags(lab["controllerManagerFlags"]),
            kube_scheduler=_flags(lab["schedulerFlags"]),
        ),
        encryption=cast(Encryption, lab["encryption"]),
        api_server_names=tuple(lab["apiServerNames"]),
        api_server_documents={key: lab[key] for key in DOCUMENTS if lab[key]},
        max_unavailable=lab["maxUnavailable"],
        max_disruption=lab["maxDisruption"],
        drain=DrainLimits(
            grace_period=lab["drainGracePeriodSeconds"],
            timeout=lab["drainTimeoutSeconds"],
            timeout_action=lab["drainTimeoutAction"],
        ),
        health_timeout=lab["healthTimeoutSeconds"],
        canary_command=lab["canaryCommand"],
        on_failure=lab["onFailure"],
        confirm_within=lab["confirmWithin"],
        hosts=build_hosts(lab),
        image=lab["image"],
        addons=build_addons(lab),
        tls_bootstrap=lab["tlsBootstrap"] or bool(join and join.bootstrap_token),
        layout=build_node_paths(lab["layout"]),
        system_user=cast(SystemUser | None, lab["systemUser"]),
        node_folders=tuple(cast(list[Folder], lab["nodeFolders"])),
        api_address=lab["apiAddress"],
        host_routes=lab["hostRoutes"],
        identity_from_user_data=lab["identityFromUserData"],
        join=join,
        network=lab["network"],
        pod_routes=tuple(PodRoute(pod_cidr=route["podCidr"], address=route["address"]) for route in lab["podRoutes"]),
        secrets=secrets,
        versions={COMPONENT_KEYS[key]: version for key, version in lab["versions"].items() if version},
        pod_network=lab["podNetwork"],
        kube_proxy_enabled=lab["kubeProxyEnabled"],
        network_policy=lab["networkPolicy"] and lab["podNetwork"] is PodNetwork.BRIDGE and join is None,
        etcd_snapshots=build_snapshots(lab),
        etcd_restore=lab["etcd"]["restoreFrom"],
    )


def _node(role: Role, node: NodeValues, lab: LabValues) -> Node:
    machine = cast(ExistingMachine | None, node.get("machine"))
    return Node(
        name=node["name"],
        role=role,
        address=node["address"],
        machine=machine or VmSize(vcpus=node["vcpus"], memory=node["memory"], disk=node["disk"]),
        kubernetes_version=effective("kubernetesVersion", node, lab),
        host=None if machine else node["host"] or (None if lab["hosts"] else ""),
        pod_cidr=node["podCidr"],
        labels=node["labels"],
        taints=node["taints"],
        kubelet=effective("kubelet", node, lab),
        kube_proxy=effective("kubeProxy", node, lab),
        containerd=effective("containerd", node, lab),
        cni=effective("cni", node, lab),
        registries=merge_registries(lab["registries"], node["registries"]),
        images=merge_images(lab["images"], node["images"]),
        files=files_of(node, lab),
        sysctls={**lab["sysctls"], **node["sysctls"]},
    )


def _flags(values: Mapping[str, Any]) -> dict[str, str | tuple[str, ...]]:
    """Return flags with their values as text, sorted because the order in a configuration has no meaning.

    The values of a repeated flag keep their order, which can have a meaning.
    """
    return {
        name: tuple(map(_flag_text, value)) if isinstance(value, list) else _flag_text(value)
        for name, value in sorted(values.items())
    }


def _flag_text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
