"""The address plan of a lab: which ranges and addresses can stand beside one another.

The rules get values that are right by themselves, pass over those that are not there, and note what does not go
together.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from ipaddress import AddressValueError, IPv4Address, IPv4Network, NetmaskValueError
from typing import Any

from lab.config.overrides import is_max_pods
from lab.config.problems import NodeFields, Problems
from lab.config.schema import Converter

RESERVED = tuple(
    IPv4Network(text) for text in ("0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "240.0.0.0/4")
)
"""Ranges that no host or pod can have: this network, loopback, link-local, multicast, reserved."""

TAKEN_IN_POD_CIDR = 3
"""Addresses of a pod CIDR that no pod gets: its first, its last, and the bridge's."""

DEFAULT_MAX_PODS = 110
"""The kubelet's own default of maxPods."""


def ipv4_address(text: str) -> IPv4Address:
    """An address such as 10.240.0.10; raises ValueError."""
    try:
        return IPv4Address(text)
    except AddressValueError:
        raise ValueError("must be an IPv4 address, as 10.240.0.10") from None


def ipv4_network(widest: int, narrowest: int, reason: str = "") -> Converter:
    """What reads a range such as 10.240.0.0/24 whose prefix length is between two bounds.

    reason: why the bounds are what they are, where that is not obvious.
    """

    def read(text: str) -> IPv4Network:
        address, slash, length = text.partition("/")
        if not slash or not (length.isascii() and length.isdigit()):
            raise ValueError("must be an IPv4 range with its prefix length, as 10.240.0.0/24")
        try:
            network = IPv4Network(f"{IPv4Address(address)}/{length}", strict=False)
        except (AddressValueError, NetmaskValueError):
            raise ValueError("must be an IPv4 range with its prefix length, as 10.240.0.0/24") from None
        if network.network_address != IPv4Address(address):
            raise ValueError(f"has bits set beyond its prefix length; the range is {network}")
        if not widest <= network.prefixlen <= narrowest:
            raise ValueError(f"must have a prefix length from /{widest} to /{narrowest}{reason}")
        for reserved in RESERVED:
            if network.overlaps(reserved):
                raise ValueError(f"overlaps {reserved}, which is reserved; take a private range, as of 10.0.0.0/8")
        return network

    return read


def check_address_plan(
    namespace: str, fields: Mapping[str, Any], nodes: Sequence[NodeFields], problems: Problems
) -> None:
    """Checks ranges against one another, nodes against the ranges, and nodes against one another."""
    _check_ranges(namespace, fields, problems)
    _check_cluster_dns(namespace, fields, problems)
    routes = [(f"{namespace}:podRoutes[{index}]", route) for index, route in enumerate(fields.get("podRoutes", ()))]
    only_machines = bool(nodes) and all(node.get("machine") is not None for _, node in nodes)
    if "networkCidr" in fields:
        addresses = [(f"{key}.address", address) for key, address in _of_nodes(nodes, "address")]
        answering = [f"{key}.address" for key, _ in [*_of_nodes(nodes, "machine"), *routes]]
        if fields.get("apiAddress"):
            addresses.append((f"{namespace}:apiAddress", fields["apiAddress"]))
        # Through one node there may be several.
        through = {address: (f"{key}.address", address) for key, address in _of_nodes(routes, "address")}
        addresses += through.values()
        _check_addresses(fields, addresses, answering, only_machines, problems)
    _check_pod_cidrs(fields, [*nodes, *routes], problems)
    for key, node in nodes:
        _check_room_for_pods(key, node, fields, problems)
    if fields.get("hostRoutes") and (fields.get("network") or only_machines):
        problems.add(
            f"{namespace}:hostRoutes",
            True,
            "is for a lab with a network of its own; have the lab of that network make the routes, by its podRoutes",
        )


def _check_ranges(namespace: str, fields: Mapping[str, Any], problems: Problems) -> None:
    names = [name for name in ("networkCidr", "clusterCidr", "serviceCidr") if name in fields]
    for index, name in enumerate(names):
        for other in names[:index]:
            if fields[name].overlaps(fields[other]):
                problems.add(
                    f"{namespace}:{name}",
                    str(fields[name]),
                    f"overlaps {other} {fields[other]}; VMs, pods and Services each need a range of their own",
                )


def _check_cluster_dns(namespace: str, fields: Mapping[str, Any], problems: Problems) -> None:
    address, network = fields.get("clusterDns"), fields.get("serviceCidr")
    if address is None or network is None:
        return
    taken = {network[0]: "the range's own address", network[1]: "the API server's", network[-1]: "the range's last"}
    explanation = ""
    if address not in network:
        explanation = f"is outside serviceCidr {network}"
    elif address in taken:
        explanation = f"is {taken[address]}"
    if explanation:
        problems.add(
            f"{namespace}:clusterDns", str(address), f"{explanation}; choose one from {network[2]} to {network[-2]}"
        )


def _check_addresses(
    fields: Mapping[str, Any],
    addresses: Sequence[tuple[str, IPv4Address]],
    answering: Collection[str],
    only_machines: bool,
    problems: Problems,
) -> None:
    """answering: the keys of addresses that something has already. only_machines: whether the lab makes no VM."""
    network: IPv4Network = fields["networkCidr"]
    elsewhere = {f"{name} {fields[name]}": fields[name] for name in ("clusterCidr", "serviceCidr") if name in fields}
    elsewhere |= {f"{reserved}, which is reserved": reserved for reserved in RESERVED}
    taken = {
        network[0]: "the network's own address",
        network[1]: "the host's address on the network",
        network[-1]: "the network's broadcast address",
    }
    holders: dict[IPv4Address, str] = {}
    for key, address in addresses:
        explanation = ""
        if address not in network and key in answering:
            # The way to a node's pods is by its address, without a router between.
            far = "" if only_machines else f"is outside networkCidr {network}, where nothing is next to the lab's VMs"
            explanation = next((f"is in {name}" for name, other in elsewhere.items() if address in other), far)
        elif address not in network:
            explanation = f"is outside networkCidr {network}"
        if address in taken:
            explanation = f"is {taken[address]}"
        elif address in holders:
            explanation = f"is already the address of {holders[address].removesuffix('.address')}"
        if explanation and key in answering:
            problems.add(key, str(address), f"{explanation}; give the address at which the machine answers")
        elif explanation:
            choice = f"choose a free one from {network[2]} to {network[-2]}"
            problems.add(key, str(address), f"{explanation}; {choice}")
        holders.setdefault(address, key)


def _check_pod_cidrs(fields: Mapping[str, Any], nodes: Sequence[NodeFields], problems: Problems) -> None:
    cluster = fields.get("clusterCidr")
    holders: dict[str, IPv4Network] = {}
    for key, network in _of_nodes(nodes, "podCidr"):
        other = next((other for other, held in holders.items() if held.overlaps(network)), None)
        explanation = ""
        if cluster and not network.subnet_of(cluster):
            explanation = f"is outside clusterCidr {cluster}; choose a part of it"
        elif other:
            explanation = f"overlaps the pod CIDR {holders[other]} of {other}; every node needs one of its own"
        if explanation:
            problems.add(f"{key}.podCidr", str(network), explanation)
        holders[key] = network


def _check_room_for_pods(key: str, node: Mapping[str, Any], fields: Mapping[str, Any], problems: Problems) -> None:
    network = node.get("podCidr")
    overrides = [of["kubelet"] for of in (node, fields) if "kubelet" in of]
    max_pods = next((of["maxPods"] for of in overrides if "maxPods" in of), None)
    if max_pods is None:
        max_pods = DEFAULT_MAX_PODS
    if network is None or not is_max_pods(max_pods):
        return
    room = max(0, network.num_addresses - TAKEN_IN_POD_CIDR)
    if room < max_pods:
        problems.add(
            f"{key}.podCidr",
            str(network),
            f"has addresses for {room} pods and the kubelet's maxPods is {max_pods}; "
            "choose a wider range or set kubelet.maxPods lower",
        )


def _of_nodes(nodes: Sequence[NodeFields], name: str) -> Iterator[tuple[str, Any]]:
    return ((key, node[name]) for key, node in nodes if node.get(name) is not None)
