"""The packet filter rules and routes by which a node treats the addresses of pods and Services."""

from ipaddress import IPv4Address, IPv4Network

from lab.spec import Node, PodNetwork, Spec

RULES_TABLE = "hardway"
"""The nftables table of the rules."""

_MULTICAST = IPv4Network("224.0.0.0/4")

_TABLE = """\
# Loaded by node-setup, which replaces the whole table in one step.
add table ip {table}
delete table ip {table}
table ip {table} {{
{chains}}}
"""

_CHAINS = """\
	# Destinations that see the address of a pod: pods, and nodes that have a route to it.
	set untranslated {{
		type ipv4_addr
		flags interval
		auto-merge
		elements = {{ {untranslated} }}
	}}

	# Traffic of pods that leaves the cluster gets the address of the node.
	chain postrouting {{
		type nat hook postrouting priority srcnat; policy accept;
		ip saddr {pods} ip daddr != @untranslated masquerade fully-random
	}}

	# kube-proxy has replaced the addresses of Services before these chains, or with ipvs it has taken the packets away.
	# Nothing serves the rest, and it must not leave by the default route.
	chain forward {{
		type filter hook forward priority filter; policy accept;
		ip daddr {services} reject
	}}
	chain output {{
		type filter hook output priority filter; policy accept;
		ip daddr {services} reject
	}}
"""


def rules(spec: Spec) -> str:
    """Return the nftables rules of a node. They are the same on every node of a lab.

    Pods and nodes reach each other without address translation. The CNI plugin cannot do that. It would masquerade
    everything outside its own node's pod CIDR. Without the lab's pod network there are no rules.
    """
    if spec.pod_network is not PodNetwork.BRIDGE:
        return _TABLE.format(table=RULES_TABLE, chains="")
    networks = spec.networks
    addresses = {node.address for node in spec.nodes} | {route.address for route in spec.pod_routes}
    if spec.api_address:
        addresses.add(spec.api_address)
    addresses |= _joined_control_plane(spec)
    untranslated = [networks.cluster_cidr, _MULTICAST, *sorted(addresses)]
    chains = _CHAINS.format(
        untranslated=", ".join(map(str, untranslated)), pods=networks.cluster_cidr, services=networks.service_cidr
    )
    return _TABLE.format(table=RULES_TABLE, chains=chains)


def routes(spec: Spec, node: Node) -> list[str]:
    """Return the lines of the file of pod routes: a destination, and the next hop or `unreachable`.

    The last route applies to pods that no node has, which therefore do not leave by the default route. If the lab joins
    a cluster and has no `podRoutes`, the network must route the pods of the cluster. Only the pods of the node itself
    are known then. A CNI plugin of the user makes all routes itself.
    """
    if spec.pod_network is not PodNetwork.BRIDGE:
        return []
    lines = [route.text for route in spec.routes if route.address != node.address]
    rest = node.pod_cidr if spec.join and not spec.pod_routes else spec.networks.cluster_cidr
    return [*lines, f"{rest} unreachable"] if rest else lines


def _joined_control_plane(spec: Spec) -> set[IPv4Address]:
    """Return the address of the API server that the lab joins, if its node has routes to the pods of this lab.

    `podRoutes` are set on both sides. An API server with a name, or in another network, may lack the routes.
    """
    if not (spec.join and spec.pod_routes):
        return set()
    try:
        address = IPv4Address(spec.join.endpoint.removeprefix("https://").rpartition(":")[0])
    except ValueError:
        return set()
    return {address} if address in spec.networks.network_cidr else set()
