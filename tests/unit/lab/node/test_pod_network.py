"""The rules and routes of nodes. `tests/engine/test_pod_network.py` loads them."""

import re
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network

import pytest

from lab.node.pod_network import routes, rules
from lab.spec import PodRoute, Spec
from tests.support.stacks import stack_spec


def untranslated(spec: Spec) -> set[str]:
    """Return the destinations that see the addresses of pods."""
    found = re.search(r"elements = \{ (.*) \}", rules(spec))
    assert found
    return set(found[1].split(", "))


def test_pods_and_nodes_see_the_addresses_of_pods(dev: Spec) -> None:
    assert untranslated(dev) == {"10.200.0.0/16", "224.0.0.0/4", "10.240.0.10", "10.240.0.20", "10.240.0.21"}


def test_nodes_of_other_labs_see_the_addresses_of_pods(dev: Spec) -> None:
    guest = PodRoute(pod_cidr=IPv4Network("10.200.30.0/24"), address=IPv4Address("10.240.0.30"))
    assert untranslated(replace(dev, pod_routes=(guest,))) - untranslated(dev) == {"10.240.0.30"}


def test_address_of_the_load_balancer_sees_the_addresses_of_pods(dev: Spec) -> None:
    assert "10.240.0.9" in untranslated(replace(dev, api_address=IPv4Address("10.240.0.9")))


def test_pods_of_no_node_are_unreachable(dev: Spec) -> None:
    assert routes(dev, dev.workers[0]) == ["10.200.1.0/24 10.240.0.21", "10.200.0.0/16 unreachable"]


def test_network_may_route_the_pods_of_a_joined_cluster() -> None:
    joined = stack_spec("join")
    assert routes(joined, joined.workers[0])[-1] == "10.200.0.0/16 unreachable"
    joined = replace(joined, pod_routes=())
    assert routes(joined, joined.workers[0]) == ["10.200.30.0/24 unreachable"]


@pytest.mark.parametrize(
    ("endpoint", "has_routes", "sees"),
    [
        ("https://10.240.0.10:6443", True, True),
        ("https://10.240.0.10:6443", False, False),
        ("https://192.0.2.1:6443", True, False),
        ("https://api.example:6443", True, False),
    ],
    ids=["routes", "no routes", "another network", "name"],
)
def test_joined_control_plane_with_routes_sees_the_addresses_of_pods(
    endpoint: str, *, has_routes: bool, sees: bool
) -> None:
    spec = stack_spec("join")
    assert spec.join
    spec = replace(spec, join=replace(spec.join, endpoint=endpoint))
    found = untranslated(spec if has_routes else replace(spec, pod_routes=()))
    assert (endpoint.removeprefix("https://").partition(":")[0] in found) is sees
