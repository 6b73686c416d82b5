"""From a stack's configuration to the spec of a lab.

Everything that can be known to be wrong before a VM exists is refused here, all of it in one message.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml

from lab.config import join, machines, node_paths
from lab.config.address_plan import check_address_plan, ipv4_address, ipv4_network
from lab.config.kubernetes_names import dns_label, dns_subdomain, labels, node_name, taint, taints
from lab.config.overrides import check_overrides
from lab.config.problems import ABSENT, ConfigurationError, NodeFields, Problem, Problems
from lab.config.schema import Converter, SchemaKey, Values, decode, project, suggestion, unknown_value
from lab.spec import (
    Certificates,
    ControlPlaneFlags,
    Networks,
    Node,
    PodRoute,
    Role,
    Spec,
    Virtualization,
    VmSize,
    fqdn,
    network_domain,
)
from lab.versions import default_kubernetes_version, kubernetes_versions, minor

__all__ = ["ConfigurationError", "Problem", "load", "parse"]

OLDEST_KUBELET = 3
"""Minor versions that a kubelet or kube-proxy may be older than the API server.

https://kubernetes.io/releases/version-skew-policy/
"""

OLDEST_API_SERVER = 1
"""Minor versions that one API server may be older than another of the same cluster (the same policy)."""

OVERRIDES = {"kubelet": "kubelet", "kube_proxy": "kubeProxy", "containerd": "containerd", "cni": "cni"}
"""The attributes of a node that are fields laid over the lab's, and the keys that they come from."""

KUBELET_KEYS = ("labels", "taints", *OVERRIDES.values())
"""The keys of a node that mean nothing where no kubelet runs."""

HOURS_OF_A_CENTURY = 100 * 366 * 24


def parse(values: Mapping[str, Any], secret: Iterable[str] = (), now: datetime | None = None) -> Spec:
    """The lab that a stack's configuration describes.

    values: configuration keys, with or without the project's namespace, to values as the engine hands them to a
    program (scalars as text, everything else as JSON text) or as YAML has them. Keys of other namespaces are left
    alone; a key that is not there has the default that Pulumi.yaml declares.
    secret: those of the keys whose values the engine holds as secret, wholly or in part.
    now: the time by which given certificates must be valid; None where that is not to be looked at.

    Raises ConfigurationError, which lists every problem found.
    """
    settings, namespace = project().settings, project().name
    problems = Problems({key if ":" in key else f"{namespace}:{key}" for key in secret})
    given = _own(values, namespace, problems)
    decoded = {name: decode(settings[name], value) if name in settings else value for name, value in given.items()}
    fields = Values(CONVERTERS, problems).read(settings, join.with_own_control_planes(decoded), f"{namespace}:")
    control_planes, workers = (
        [(f"{namespace}:{name}[{index}]", node) for index, node in enumerate(fields.get(name, ()))]
        for name in ("controlPlanes", "workers")
    )
    nodes = control_planes + workers
    _check_names(fields, nodes, problems)
    join.check_join(namespace, fields, workers, now, problems)
    check_address_plan(namespace, fields, nodes, problems)
    machines.check_machines(fields, workers, problems)
    check_overrides(namespace, fields, nodes, problems)
    _check_versions(fields, control_planes, workers, problems)
    _check_kubelets(control_planes, settings["controlPlanes"], problems)
    _check_certificates(namespace, fields, problems)
    node_paths.check_paths(namespace, fields, nodes, problems)
    problems.raise_any()
    return _spec(fields)


def load(stack_file: Path) -> Spec:
    """The lab that a stack file describes, read without the engine.

    Raises ConfigurationError as `parse` does, also where the file cannot be read. Encrypted values cannot be either.
    """
    try:
        document = yaml.safe_load(stack_file.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise _unreadable(stack_file, f"cannot be read: {error}") from error
    configuration = {} if document is None else document
    if isinstance(configuration, dict):
        configuration = configuration.get("config") or {}
    if not isinstance(configuration, dict):
        raise _unreadable(stack_file, "must be a mapping with the key config, whose value is a mapping")
    return parse({str(key): value for key, value in configuration.items()})


def _unreadable(file: Path, explanation: str) -> ConfigurationError:
    return ConfigurationError((Problem(key=str(file), value=ABSENT, explanation=explanation),))


def _own(values: Mapping[str, Any], namespace: str, problems: Problems) -> dict[str, Any]:
    """The values in the project's namespace, by their keys without it."""
    own = {}
    for key, value in values.items():
        before, colon, name = key.partition(":")
        if not colon:
            own[before] = value
        elif before == namespace:
            own[name] = value
        elif suggestion(before, [namespace]).startswith("; did you mean"):
            problems.add(key, unknown_value(value), f"unknown namespace; did you mean {namespace}:{name}?")
    return own


def between(least: int, most: int, unit: str = "", reason: str = "") -> Converter:
    """What reads a whole number within bounds."""

    def read(value: int) -> int:
        if not least <= value <= most:
            raise ValueError(f"must be from {least} to {most}{unit and f' {unit}'}{reason}")
        return value

    return read


def _none_if_empty(reader: Converter) -> Converter:
    """What reads as another does, and an empty text as None."""
    return lambda value: reader(value) if value else None


def _one_of(choices: Sequence[str], convert: Callable[[str], Any] = str) -> Converter:
    def read(value: str) -> Any:
        if value not in choices:
            raise ValueError(f"must be one of {', '.join(choices)}")
        return convert(value)

    return read


def _kubernetes_version(value: str) -> str:
    if not value or value in kubernetes_versions():
        return value
    raise ValueError(f"is not a version that the lab knows; choose one of {', '.join(kubernetes_versions())}")


def _node_name(value: str) -> str:
    """A node's name, which nothing must take for something else.

    dnsmasq has no quotes, and a lease time and `ignore` can stand where a host's name does: --dhcp-host in
    https://thekelleys.org.uk/dnsmasq/docs/dnsmasq-man.html. What ends in a number may be read as an address:
    inet_aton(3). localhost and all that ends in it never leave the machine: https://www.rfc-editor.org/rfc/rfc6761.
    """
    node_name(value)
    if re.fullmatch(r"[0-9]+[smhdw]?|infinite|ignore", value):
        raise ValueError("would be read by dnsmasq as a lease time or a keyword; choose another name, as node-0")
    if re.fullmatch(r"(.*\.)?(0x[0-9a-f]*|[0-9]+)", value):
        raise ValueError("ends in a number, as an address does; choose another name, as node-0.example.com")
    if re.fullmatch(r"(.*\.)?localhost(\.localdomain)?", value):
        raise ValueError("is every machine's own name; choose another, as node-0")
    return value


def _control_plane_name(value: str) -> str:
    if _node_name(value) == "ca":
        raise ValueError("would name its etcd member as the authority of all members; choose another name, as server")
    return value


def _max_unavailable(value: str) -> int | str:
    if re.fullmatch(r"[1-9][0-9]{0,5}", value):
        return int(value)
    if re.fullmatch(r"([1-9][0-9]?|100)%", value):
        return value
    raise ValueError("must be a whole number of workers from 1, or a percentage from 1% to 100%")


def _network(value: str) -> str | None:
    if not re.fullmatch(r"[^/\s][^/]*", value):
        raise ValueError("must be the name of a libvirt network, as `virsh net-list` has it")
    return value


def _libvirt_uri(value: str) -> str:
    if not re.fullmatch(r"qemu(\+[a-z0-9]+)?://[^\s/]*/system(\?\S*)?", value):
        raise ValueError(
            "must be the URI of a system-wide QEMU driver, as qemu:///system or qemu+ssh://user@host/system"
        )
    return value


def _image(value: str) -> str | None:
    scheme, separator, _ = value.partition("://")
    if separator and scheme not in ("http", "https", "file"):
        raise ValueError("must be a path, or a URL that begins with http://, https:// or file://")
    if value != value.strip():
        raise ValueError("must not begin or end with spaces")
    return value or None


_NODE: Mapping[str, Converter] = {
    "name": _node_name,
    "address": ipv4_address,
    "vcpus": between(1, 128),
    "disk": between(4, 16384, "GiB", "; the image and the node's binaries take about 2 GiB"),
    "kubernetesVersion": _kubernetes_version,
    "labels": labels,
    "taints[]": taint,
    "taints": taints,
}

_MOST_MEMORY = 1024 * 1024

CONVERTERS: Mapping[str, Converter] = {
    "name": dns_label,
    "kubernetesVersion": _kubernetes_version,
    **{f"controlPlanes[].{name}": reader for name, reader in _NODE.items()},
    "controlPlanes[].name": _control_plane_name,
    "controlPlanes[].memory": between(1024, _MOST_MEMORY, "MiB", "; etcd and the API server need that much"),
    **{f"workers[].{name}": reader for name, reader in _NODE.items()},
    "workers[].memory": between(512, _MOST_MEMORY, "MiB", "; kubelet, kube-proxy and containerd need that much"),
    "controlPlanes[].podCidr": _none_if_empty(ipv4_network(8, 30)),
    "workers[].machine.user": node_paths.account,
    "workers[].machine.port": between(1, 65535),
    "workers[].machine.privateKey": machines.private_key,
    "workers[].machine.hostKey": machines.host_key,
    "workers[].podCidr": ipv4_network(8, 30),
    **join.CONVERTERS,
    "podRoutes[].podCidr": ipv4_network(8, 30),
    "podRoutes[].address": ipv4_address,
    "networkCidr": ipv4_network(16, 29, ", as libvirt gives out the addresses of no wider one"),
    "network": _none_if_empty(_network),
    "apiAddress": _none_if_empty(ipv4_address),
    "clusterCidr": ipv4_network(8, 30),
    "serviceCidr": ipv4_network(12, 29, ", which is what the API server takes"),
    "clusterDns": ipv4_address,
    "clusterDomain": dns_subdomain,
    **node_paths.CONVERTERS,
    "certificateAuthorityValidityHours": between(2, HOURS_OF_A_CENTURY, "hours"),
    "certificateValidityHours": between(2, HOURS_OF_A_CENTURY, "hours"),
    "certificateRenewalHours": between(1, HOURS_OF_A_CENTURY, "hours"),
    "maxUnavailable": _max_unavailable,
    "drainGracePeriodSeconds": between(0, 3600, "seconds"),
    "healthTimeoutSeconds": between(10, 3600, "seconds"),
    "virtualization": _one_of(tuple(Virtualization), Virtualization),
    "libvirtUri": _libvirt_uri,
    "image": _image,
}
"""What checks and converts the value of each key; a key without one is right once it has its type."""


def _check_names(fields: Mapping[str, Any], nodes: Sequence[NodeFields], problems: Problems) -> None:
    """Refuses a name that two nodes have, be it that one has it by the domain of the VMs' network."""
    domain = network_domain(fields.get("name", ""))
    holders: dict[str, str] = {}
    for key, node in nodes:
        if "name" not in node:
            continue
        whole = fqdn(node["name"], domain)
        if whole in holders:
            problems.add(
                f"{key}.name", node["name"], f"is already the name of {holders[whole]}; every node needs its own"
            )
        holders.setdefault(whole, key)


def _check_versions(
    fields: Mapping[str, Any],
    control_planes: Sequence[NodeFields],
    workers: Sequence[NodeFields],
    problems: Problems,
) -> None:
    """Holds the nodes' versions against the version skew policy; of a cluster that is joined the lab knows none."""
    if "kubernetesVersion" not in fields or fields.get("join"):
        return
    lab = fields["kubernetesVersion"] or default_kubernetes_version()

    def versions(nodes: Sequence[NodeFields]) -> list[tuple[str, str]]:
        return [
            (f"{key}.kubernetesVersion", node["kubernetesVersion"] or lab)
            for key, node in nodes
            if "kubernetesVersion" in node
        ]

    api_servers = [version for _, version in versions(control_planes)] or [lab]
    oldest, newest = min(api_servers, key=minor), max(api_servers, key=minor)
    for key, version in versions(control_planes):
        if minor(newest) - minor(version) > OLDEST_API_SERVER:
            problems.add(
                key,
                version,
                f"is more than {OLDEST_API_SERVER} minor version older than the API server {newest} of another control "
                "plane; API servers of one cluster may be one minor version apart",
            )
    for key, version in versions([*(one for one in control_planes if one[1].get("podCidr")), *workers]):
        if minor(version) > minor(oldest):
            problems.add(key, version, f"is newer than the API server {oldest}; a kubelet may not be newer")
        elif minor(newest) - minor(version) > OLDEST_KUBELET:
            problems.add(
                key,
                version,
                f"is too old for the API server {newest}; "
                f"a kubelet may be at most {OLDEST_KUBELET} minor versions older",
            )


def _check_kubelets(control_planes: Sequence[NodeFields], declared: SchemaKey, problems: Problems) -> None:
    """Refuses what is set of a kubelet on a control plane that has none, where it would do nothing."""
    assert declared.items
    for key, node in control_planes:
        if node.get("podCidr", ABSENT) is not None:
            continue
        for name in KUBELET_KEYS:
            if name not in node:
                continue
            value = [str(taint) for taint in node[name]] if name == "taints" else node[name]
            if value != declared.items.properties[name].default:
                problems.add(
                    f"{key}.{name}",
                    value,
                    "has no effect, for on a control plane without a podCidr no kubelet runs; give it one, or leave "
                    "this out",
                )


def _check_certificates(namespace: str, fields: Mapping[str, Any], problems: Problems) -> None:
    authority = fields.get("certificateAuthorityValidityHours")
    validity = fields.get("certificateValidityHours")
    renewal = fields.get("certificateRenewalHours")
    if authority is not None and validity is not None and validity > authority:
        problems.add(
            f"{namespace}:certificateValidityHours",
            validity,
            f"must be at most certificateAuthorityValidityHours {authority}, as no certificate outlives its authority",
        )
    if validity is not None and renewal is not None and renewal >= validity:
        problems.add(
            f"{namespace}:certificateRenewalHours",
            renewal,
            f"must be less than certificateValidityHours {validity}, or every update would renew every certificate",
        )


def _spec(fields: Mapping[str, Any]) -> Spec:
    version = fields["kubernetesVersion"] or default_kubernetes_version()
    cluster = join.join(fields["join"])
    return Spec(
        name=fields["name"],
        kubernetes_version=version,
        control_planes=tuple(_node(Role.CONTROL_PLANE, node, fields, version) for node in fields["controlPlanes"]),
        workers=tuple(_node(Role.WORKER, node, fields, version) for node in fields["workers"]),
        networks=Networks(
            network_cidr=fields["networkCidr"],
            cluster_cidr=fields["clusterCidr"],
            service_cidr=fields["serviceCidr"],
            cluster_dns=fields["clusterDns"],
            cluster_domain=fields["clusterDomain"],
        ),
        certificates=Certificates(
            authority_validity=fields["certificateAuthorityValidityHours"],
            validity=fields["certificateValidityHours"],
            renewal=fields["certificateRenewalHours"],
        ),
        flags=ControlPlaneFlags(
            etcd=_flags(fields["etcdFlags"]),
            kube_apiserver=_flags(fields["apiServerFlags"]),
            kube_controller_manager=_flags(fields["controllerManagerFlags"]),
            kube_scheduler=_flags(fields["schedulerFlags"]),
        ),
        max_unavailable=fields["maxUnavailable"],
        drain_grace_period=fields["drainGracePeriodSeconds"],
        health_timeout=fields["healthTimeoutSeconds"],
        virtualization=fields["virtualization"],
        libvirt_uri=fields["libvirtUri"],
        image=fields["image"],
        dns_addon=fields["clusterDnsAddon"],
        tls_bootstrap=fields["tlsBootstrap"] or bool(cluster and cluster.bootstrap_token),
        layout=node_paths.layout(fields["layout"]),
        system_user=fields["systemUser"],
        node_folders=tuple(fields["nodeFolders"]),
        api_address=fields["apiAddress"],
        host_routes=fields["hostRoutes"],
        identity_from_user_data=fields["identityFromUserData"],
        join=cluster,
        network=fields["network"],
        pod_routes=tuple(PodRoute(pod_cidr=of["podCidr"], address=of["address"]) for of in fields["podRoutes"]),
    )


def _node(role: Role, node: Mapping[str, Any], lab: Mapping[str, Any], version: str) -> Node:
    return Node(
        name=node["name"],
        role=role,
        address=node["address"],
        machine=machines.existing_machine(node["machine"])
        if node.get("machine")
        else VmSize(vcpus=node["vcpus"], memory=node["memory"], disk=node["disk"]),
        kubernetes_version=node["kubernetesVersion"] or version,
        pod_cidr=node["podCidr"],
        labels=node["labels"],
        taints=node["taints"],
        **{attribute: merged(lab[name], node[name]) for attribute, name in OVERRIDES.items()},
    )


def merged(lab: Mapping[str, Any], node: Mapping[str, Any]) -> dict[str, Any]:
    """A node's fields laid over the lab's: mappings merge key by key, anything else of the node replaces.

    A null stays, because it takes away what the lab sets by default when the result is laid over that.
    """
    both = dict(lab)
    for key, value in node.items():
        below = both.get(key)
        both[key] = merged(below, value) if isinstance(below, Mapping) and isinstance(value, Mapping) else value
    return both


def _flags(given: Mapping[str, Any]) -> dict[str, str]:
    """Flags with their values as they stand on a command line, sorted: the order in which they came means nothing."""
    return {
        name: str(value).lower() if isinstance(value, bool) else str(value) for name, value in sorted(given.items())
    }
