"""The converters of all configuration keys.

A converter checks one value by itself. `rules` checks values together.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lab.config import (
    addons,
    api_server,
    encryption,
    etcd,
    files,
    images,
    issuers,
    join,
    machines,
    node_paths,
    registries,
)
from lab.config.address_plan import ipv4_address, ipv4_network
from lab.config.kubernetes_names import dns_label, dns_subdomain, labels, node_name, taint, taints
from lab.config.manifests import manifest, no_project_files
from lab.config.schema import Converter, optional
from lab.disruption import LEVELS, Disruption
from lab.spec import DrainTimeoutAction, FailureAction, PodNetwork, Virtualization
from lab.versions import node_sources

MAX_VALIDITY_HOURS = 100 * 366 * 24
"""One hundred years."""

MAX_ADMIN_HOURS = 7 * 24
"""A certificate cannot be revoked, so an administrator's is short-lived."""

MAX_MEMORY = 1024 * 1024
"""The maximum memory of a VM in MiB: 1 TiB."""

MIN_CONFIRMATION, MAX_CONFIRMATION = 60, 24 * 3600
"""The shortest and the longest time for a confirmation, in seconds."""

MAX_HOST_VCPUS = 65536
"""The maximum of a host's limit of virtual CPUs."""

MAX_HOST_MEMORY = 1024 * MAX_MEMORY
"""The maximum of a host's limit of memory in MiB: 1 PiB."""


def _range(minimum: int, maximum: int, unit: str = "", reason: str = "") -> Converter:
    """Return a converter of whole numbers within bounds.

    Args:
        minimum: The smallest number allowed.
        maximum: The largest number allowed.
        unit: The unit of the number.
        reason: The end of the message about a wrong number.
    """

    def convert(value: int) -> int:
        if not minimum <= value <= maximum:
            raise ValueError(f"must be from {minimum} to {maximum}{unit and f' {unit}'}{reason}")
        return value

    return convert


def _one_of(choices: Sequence[str], convert: Callable[[str], Any]) -> Converter:
    def convert_choice(value: str) -> Any:
        if value not in choices:
            raise ValueError(f"must be one of {', '.join(choices)}")
        return convert(value)

    return convert_choice


def _version_of(component: str) -> Converter:
    """Return a converter of versions of a component in `lab/versions.toml`. An empty string means the default."""
    source = node_sources()[component]

    def convert(value: str) -> str:
        if not value or source.supports(value):
            return value
        listed, major = ", ".join(source.versions), source.versions[0].partition(".")[0]
        raise ValueError(
            f"is not a version that the lab supports; choose one of {listed}, or another release of {major} from "
            f"{source.minimum} on"
        )

    return convert


def _minor_version(value: str) -> str:
    if re.fullmatch(r"v1\.(0|[1-9][0-9]{0,2})", value):
        return value
    similar = re.fullmatch(r"v?(1\.(0|[1-9][0-9]{0,2}))(\..*)?", value)
    hint = f"did you mean v{similar[1]}?" if similar else "such as v1.36"
    raise ValueError(f"must be a minor version with a v and without a patch version; {hint}")


def _node_name(value: str) -> str:
    """Check the name of a node, and that no program mistakes it for something else.

    - dnsmasq does not support quotes, and its option --dhcp-host accepts a lease time and `ignore` in the place of a
      host name (https://thekelleys.org.uk/dnsmasq/docs/dnsmasq-man.html).
    - Some programs read a name that ends in a number as an address: inet_aton(3).
    - localhost and names that end in it always mean the local machine (https://www.rfc-editor.org/rfc/rfc6761).
    """
    node_name(value)
    if re.fullmatch(r"[0-9]+[smhdw]?|infinite|ignore", value):
        raise ValueError("is a lease time or a keyword for dnsmasq; choose another name, such as node-0")
    if re.fullmatch(r"(.*\.)?(0x[0-9a-f]*|[0-9]+)", value):
        raise ValueError("ends in a number, like an address; choose another name, such as node-0.example.com")
    if re.fullmatch(r"(.*\.)?localhost(\.localdomain)?", value):
        raise ValueError("means the local machine on every machine; choose another name, such as node-0")
    return value


def _control_plane_name(value: str) -> str:
    if _node_name(value) == "ca":
        raise ValueError(
            "gives the certificate of the etcd member the name of the etcd authority's; choose another name, such as "
            "server"
        )
    return value


def _max_unavailable(value: str) -> int | str:
    if re.fullmatch(r"[1-9][0-9]{0,5}", value):
        return int(value)
    if re.fullmatch(r"([1-9][0-9]?|100)%", value):
        return value
    raise ValueError("must be a whole number of workers from 1, or a percentage from 1% to 100%")


def _confirm_within(value: str) -> int:
    """Return the seconds of a duration such as 1h30m."""
    found = re.fullmatch(r"(?:(\d{1,2})h)?(?:(\d{1,4})m)?(?:(\d{1,5})s)?", value)
    hours, minutes, seconds = (int(number or 0) for number in found.groups()) if found else (0, 0, 0)
    total = 3600 * hours + 60 * minutes + seconds
    if not MIN_CONFIRMATION <= total <= MAX_CONFIRMATION:
        raise ValueError("must be a time from 1m to 24h in hours, minutes and seconds, such as 10m or 1h30m")
    return total


def _network(value: str) -> str:
    if not re.fullmatch(r"[^/\s][^/]*", value):
        raise ValueError("must be the name of a libvirt network, as `virsh net-list` shows it")
    return value


def _libvirt_uri(value: str) -> str:
    if not re.fullmatch(r"qemu(\+[a-z0-9]+)?://[^\s/]*/system(\?\S*)?", value):
        raise ValueError(
            "must be the URI of a system-wide QEMU driver, such as qemu:///system or qemu+ssh://user@host/system"
        )
    return value


def _image(value: str) -> str:
    scheme, separator, _ = value.partition("://")
    if separator and scheme not in ("http", "https", "file"):
        raise ValueError("must be a path, or a URL that begins with http://, https:// or file://")
    return _trimmed(value)


def _trimmed(value: str) -> str:
    if value != value.strip():
        raise ValueError("must not begin or end with spaces")
    return value


COMPONENT_KEYS = {
    "containerd": "containerd",
    "runc": "runc",
    "cniPlugins": "cni-plugins",
    "etcd": "etcd",
    "crictl": "crictl",
    "coreDns": "coredns",
}
"""The keys of `versions`, and the names of the components in `lab/versions.toml`."""

_NODE: Mapping[str, Converter] = {
    "name": _node_name,
    "address": ipv4_address,
    "vcpus": _range(1, 128),
    "disk": _range(4, 16384, "GiB", "; the image and the node's binaries need about 2 GiB"),
    "host": optional(dns_label),
    "kubernetesVersion": _version_of("kubernetes"),
    "labels": labels,
    "taints[]": taint,
    "taints": taints,
}

CONVERTERS: Mapping[str, Converter] = {
    "name": dns_label,
    "kubernetesVersion": _version_of("kubernetes"),
    "emulate": optional(_minor_version),
    **{f"versions.{key}": _version_of(component) for key, component in COMPONENT_KEYS.items()},
    **{f"controlPlanes[].{name}": converter for name, converter in _NODE.items()},
    "controlPlanes[].name": _control_plane_name,
    "controlPlanes[].memory": _range(1024, MAX_MEMORY, "MiB", "; etcd and the API server need at least 1024 MiB"),
    **{f"workers[].{name}": converter for name, converter in _NODE.items()},
    "workers[].memory": _range(512, MAX_MEMORY, "MiB", "; kubelet, kube-proxy and containerd need at least 512 MiB"),
    "controlPlanes[].podCidr": optional(ipv4_network(8, 30)),
    "workers[].machine.user": node_paths.account_name,
    "workers[].machine.port": _range(1, 65535),
    "workers[].machine.privateKey": machines.private_key,
    "workers[].machine.hostKey": machines.host_key,
    "workers[].machine": machines.existing_machine,
    "workers[].podCidr": ipv4_network(8, 30),
    **join.CONVERTERS,
    "podRoutes[].podCidr": ipv4_network(8, 30),
    "podRoutes[].address": ipv4_address,
    "networkCidr": ipv4_network(16, 29, ", because libvirt assigns no addresses in wider ranges"),
    "network": optional(_network),
    "apiAddress": optional(ipv4_address),
    "clusterCidr": ipv4_network(8, 30),
    "serviceCidr": ipv4_network(12, 29, ", because the API server accepts no other"),
    "clusterDns": ipv4_address,
    "clusterDomain": dns_subdomain,
    **addons.CONVERTERS,
    **node_paths.CONVERTERS,
    **registries.CONVERTERS,
    "manifests[]": manifest(no_project_files),
    **images.CONVERTERS,
    **encryption.CONVERTERS,
    **etcd.CONVERTERS,
    **files.CONVERTERS,
    **api_server.CONVERTERS,
    **issuers.CONVERTERS,
    "certificateAuthorityValidityHours": _range(2, MAX_VALIDITY_HOURS, "hours"),
    "certificateValidityHours": _range(2, MAX_VALIDITY_HOURS, "hours"),
    "certificateRenewalHours": _range(1, MAX_VALIDITY_HOURS, "hours"),
    "adminCertificateHours": _range(1, MAX_ADMIN_HOURS, "hours"),
    "maxUnavailable": _max_unavailable,
    "maxDisruption": optional(_one_of(LEVELS, Disruption)),
    "drainGracePeriodSeconds": _range(0, 3600, "seconds"),
    "drainTimeoutSeconds": _range(1, 86400, "seconds"),
    "drainTimeoutAction": _one_of(tuple(DrainTimeoutAction), DrainTimeoutAction),
    "healthTimeoutSeconds": _range(10, 3600, "seconds"),
    "canaryCommand": _trimmed,
    "onFailure": _one_of(tuple(FailureAction), FailureAction),
    "confirmWithin": optional(_confirm_within),
    "podNetwork": _one_of(tuple(PodNetwork), PodNetwork),
    "virtualization": _one_of(tuple(Virtualization), Virtualization),
    "libvirtUri": _libvirt_uri,
    "hosts{}.uri": _libvirt_uri,
    "hosts{}.virtualization": optional(_one_of(tuple(Virtualization), Virtualization)),
    "hosts{}.vcpus": _range(0, MAX_HOST_VCPUS),
    "hosts{}.memory": _range(0, MAX_HOST_MEMORY, "MiB"),
    "image": optional(_image),
}
"""The converter of each key. A key without a converter accepts every value of its type."""
