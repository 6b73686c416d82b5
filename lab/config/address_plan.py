"""The address plan of a lab: converters of addresses and ranges, and the rules that they follow together."""

from collections.abc import Iterable, Iterator, Mapping
from ipaddress import AddressValueError, IPv4Address, IPv4Network, NetmaskValueError
from typing import Literal, NamedTuple

from lab.config.overrides import is_max_pods
from lab.config.precedence import effective
from lab.config.problems import Problems
from lab.config.schema import Converter
from lab.config.values import Configuration, NodeEntry, RouteEntry
from lab.spec import MAX_PODS

RESERVED_RANGES = tuple(
    IPv4Network(text) for text in ("0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "240.0.0.0/4")
)
"""Ranges that no host or pod can use: this network, loopback, link-local, multicast, reserved."""

ADDRESSES_WITHOUT_POD = 3
"""The number of addresses of a pod CIDR that no pod gets: the first, the last, and the bridge's."""

KUBELET_DEFAULT_MAX_PODS = 110
"""The kubelet's default of maxPods, which applies if a null removes the lab's value (MAX_PODS)
(https://kubernetes.io/docs/reference/config-api/kubelet-config.v1beta1/)."""


def ipv4_address(text: str) -> IPv4Address:
    """Convert an address such as 10.240.0.10.

    Raises:
        ValueError: The text is not an IPv4 address.
    """
    try:
        return IPv4Address(text)
    except AddressValueError:
        raise ValueError("must be an IPv4 address, such as 10.240.0.10") from None


def ipv4_network(min_length: int, max_length: int, reason: str = "") -> Converter:
    """Return a converter of ranges such as 10.240.0.0/24.

    Args:
        min_length: The shortest prefix length allowed, that of the widest range.
        max_length: The longest prefix length allowed, that of the narrowest range.
        reason: The end of the message about a wrong prefix length, if the reason is not obvious.
    """

    def convert(text: str) -> IPv4Network:
        address, slash, length = text.partition("/")
        if not slash or not (length.isascii() and length.isdigit()):
            raise ValueError("must be an IPv4 range with its prefix length, such as 10.240.0.0/24")
        try:
            network = IPv4Network(f"{IPv4Address(address)}/{length}", strict=False)
        except (AddressValueError, NetmaskValueError):
            raise ValueError("must be an IPv4 range with its prefix length, such as 10.240.0.0/24") from None
        if network.network_address != IPv4Address(address):
            raise ValueError(f"has bits set after its prefix; the range is {network}")
        if not min_length <= network.prefixlen <= max_length:
            raise ValueError(f"must have a prefix length from /{min_length} to /{max_length}{reason}")
        for reserved in RESERVED_RANGES:
            if network.overlaps(reserved):
                raise ValueError(f"overlaps {reserved}, which is reserved; choose a private range, such as 10.0.0.0/16")
        return network

    return convert


def check_ranges(configuration: Configuration, problems: Problems) -> None:
    """Check that the ranges of VMs, pods and Services do not overlap."""
    ranges = _ranges(configuration)
    names = list(ranges)
    for index, name in enumerate(names):
        for other in names[:index]:
            if ranges[name].overlaps(ranges[other]):
                problems.add(
                    configuration.key(name),
                    f"overlaps {other} {ranges[other]}; VMs, pods and Services each need a separate range",
                    str(ranges[name]),
                )


def check_cluster_dns(configuration: Configuration, problems: Problems) -> None:
    """Check that the address of the DNS Service is a free address of the service CIDR."""
    address, network = configuration.lab.get("clusterDns"), configuration.lab.get("serviceCidr")
    if address is None or network is None:
        return
    used = {
        network[0]: "the first address of serviceCidr, which is not usable",
        network[1]: "the API server's address",
        network[-1]: "the last address of serviceCidr, which is not usable",
    }
    if address not in network:
        explanation = f"is outside serviceCidr {network}"
    elif address in used:
        explanation = f"is {used[address]}"
    else:
        return
    choice = f"choose an address from {network[2]} to {network[-2]}"
    problems.add(configuration.key("clusterDns"), f"{explanation}; {choice}", str(address))


class _Use(NamedTuple):
    """A use of an address.

    Attributes:
        owner: The full key of the object that has the address.
        key: The full key of the address.
        address: The address.
        exists: True if an existing machine has the address, so that a user cannot choose another.
    """

    owner: str
    key: str
    address: IPv4Address
    exists: bool


def check_addresses(configuration: Configuration, problems: Problems) -> None:
    """Check that every address is used once, and that it is in the network where its owner is."""
    network = configuration.lab.get("networkCidr")
    if network is None:
        return
    used = {
        network[0]: "is the network address of networkCidr",
        network[1]: "is the host's address in networkCidr",
        network[-1]: "is the broadcast address of networkCidr",
    }
    owners: dict[IPv4Address, str] = {}
    for use in _uses(configuration):
        explanation = "" if use.address in network else _outside(use, network, configuration)
        if use.address in used:
            explanation = used[use.address]
        elif use.address in owners:
            explanation = f"is already the address of {owners[use.address]}"
        if explanation:
            free = f"choose a free address from {network[2]} to {network[-2]}"
            choice = "enter the address at which the machine is reachable" if use.exists else free
            problems.add(use.key, f"{explanation}; {choice}", str(use.address))
        owners.setdefault(use.address, use.owner)


def _uses(configuration: Configuration) -> Iterator[_Use]:
    for node in configuration.nodes:
        if address := node.values.get("address"):
            yield _Use(node.key, f"{node.key}.address", address, node.is_existing_machine)
    if api_address := configuration.lab.get("apiAddress"):
        key = configuration.key("apiAddress")
        yield _Use(key, key, api_address, False)
    # Several routes may use the same node.
    routes = {address: route for route in configuration.routes if (address := route.values.get("address"))}
    for address, route in routes.items():
        yield _Use(route.key, f"{route.key}.address", address, True)


def _outside(use: _Use, network: IPv4Network, configuration: Configuration) -> str:
    """Explain why an address must not be outside the network. Return an empty string if it may be."""
    if not use.exists:
        return f"is outside networkCidr {network}"
    forbidden = {f"{name} {other}": other for name, other in _ranges(configuration).items() if name != "networkCidr"}
    forbidden |= {f"{reserved}, which is reserved": reserved for reserved in RESERVED_RANGES}
    for name, other in forbidden.items():
        if use.address in other:
            return f"is in {name}"
    if configuration.has_only_existing_machines:
        return ""
    # A node's route to the pods of another node uses that node's address as the next hop.
    return f"is outside networkCidr {network}, but nodes route pod traffic only to next hops in the VMs' network"


def check_pod_cidrs(configuration: Configuration, problems: Problems) -> None:
    """Check that every pod CIDR is a part of the cluster CIDR and overlaps no other."""
    cluster = configuration.lab.get("clusterCidr")
    earlier: dict[str, IPv4Network] = {}
    for key, network in _pod_cidrs([*configuration.nodes, *configuration.routes]):
        overlapping = next((owner for owner, other in earlier.items() if other.overlaps(network)), None)
        if cluster and not network.subnet_of(cluster):
            problems.add(f"{key}.podCidr", f"is outside clusterCidr {cluster}; choose a part of it", str(network))
        elif overlapping:
            problems.add(
                f"{key}.podCidr",
                f"overlaps the pod CIDR {earlier[overlapping]} of {overlapping}; every node needs a separate range",
                str(network),
            )
        earlier[key] = network


def check_pod_capacity(configuration: Configuration, problems: Problems) -> None:
    """Check that every pod CIDR has enough addresses for the pods that the kubelet accepts."""
    for node in configuration.nodes:
        network = node.values.get("podCidr")
        if network is None:
            continue
        max_pods = effective("kubelet", node.values, configuration.lab).get("maxPods", MAX_PODS)
        if max_pods is None:
            max_pods = KUBELET_DEFAULT_MAX_PODS
        if not is_max_pods(max_pods):
            continue
        capacity = max(0, network.num_addresses - ADDRESSES_WITHOUT_POD)
        if capacity < max_pods:
            problems.add(
                f"{node.key}.podCidr",
                f"has addresses for {capacity} pods, but the kubelet's maxPods is {max_pods}; choose a wider range, or "
                "reduce kubelet.maxPods",
                str(network),
            )


def check_host_routes(configuration: Configuration, problems: Problems) -> None:
    """Check that the host gets routes to pods only in a lab that has its own network."""
    lab = configuration.lab
    if lab.get("hostRoutes") and (lab.get("network") or configuration.has_only_existing_machines):
        problems.add(
            configuration.key("hostRoutes"),
            "requires a lab with its own network; set podRoutes in the lab that owns the network instead",
            True,
        )


def _ranges(configuration: Configuration) -> Mapping[str, IPv4Network]:
    """Return the valid ranges of VMs, pods and Services by key."""
    names: tuple[Literal["networkCidr", "clusterCidr", "serviceCidr"], ...] = (
        "networkCidr",
        "clusterCidr",
        "serviceCidr",
    )
    return {name: configuration.lab[name] for name in names if name in configuration.lab}


def _pod_cidrs(entries: Iterable[NodeEntry | RouteEntry]) -> Iterator[tuple[str, IPv4Network]]:
    for entry in entries:
        if network := entry.values.get("podCidr"):
            yield entry.key, network
