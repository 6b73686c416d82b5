"""Workers on existing machines: their spec, and refused configurations."""

from ipaddress import IPv4Address
from typing import Any

import pytest

from lab.config.parse import ConfigurationError, parse
from lab.node.render import services_of
from lab.spec import ExistingMachine, Node, Spec
from tests.support.ssh_keys import HOST_KEY, PRIVATE_KEY, private_key
from tests.support.stacks import configuration

MACHINE = {"privateKey": PRIVATE_KEY, "hostKey": HOST_KEY}
LOGIN = "workers[0].machine"
NODE_0 = {"name": "node-0", "address": "10.240.0.20", "podCidr": "10.200.0.0/24"}


def configured(machine: Any = None, *, lab: dict[str, Any] | None = None, **node: Any) -> Spec:
    """Return a lab whose worker is an existing machine."""
    return parse({"workers": [NODE_0 | {"machine": MACHINE if machine is None else machine} | node], **(lab or {})})


def without(key: str) -> dict[str, Any]:
    return {name: value for name, value in MACHINE.items() if name != key}


def test_login_defaults_to_root_at_port_22() -> None:
    [node] = configured().workers
    assert node.machine == ExistingMachine(user="root", port=22, private_key=PRIVATE_KEY, host_key=HOST_KEY)
    [node] = configured(MACHINE | {"user": "debian", "port": 2222}).workers
    assert node.machine == ExistingMachine(user="debian", port=2222, private_key=PRIVATE_KEY, host_key=HOST_KEY)


def test_a_worker_without_machine_is_a_vm() -> None:
    spec = configured(machine={})
    assert spec.virtual_machines == spec.nodes
    assert configured().virtual_machines == spec.control_planes


def test_only_existing_machines_may_have_any_address() -> None:
    route = {"podCidr": "10.200.30.0/24", "address": "192.168.9.10"}
    join = configuration("join")["join"]
    spec = configured(address="192.168.9.9", lab={"join": join, "podRoutes": [route]})
    assert spec.workers[0].address == IPv4Address("192.168.9.9")
    assert spec.pod_routes[0].address == IPv4Address("192.168.9.10")


@pytest.mark.parametrize("text", [PRIVATE_KEY.strip(), PRIVATE_KEY + "\n\n"], ids=["no last newline", "too many"])
def test_a_private_key_ends_with_one_newline(text: str) -> None:
    machine = configured(MACHINE | {"privateKey": text}).workers[0].machine
    assert isinstance(machine, ExistingMachine)
    assert machine.private_key == PRIVATE_KEY


@pytest.mark.parametrize(
    "kind", ["RSA PRIVATE KEY", "EC PRIVATE KEY", "PRIVATE KEY"], ids=lambda kind: str(kind).replace(" ", "-")
)
def test_a_private_key_may_have_any_pem_format(kind: str) -> None:
    text = f"-----BEGIN {kind}-----\nMHcCAQEE\n-----END {kind}-----\n"
    assert configured(MACHINE | {"privateKey": text})


def test_the_comment_of_a_host_key_is_removed() -> None:
    assert configured(MACHINE | {"hostKey": f"{HOST_KEY} root@machine"}) == configured()


REFUSED: dict[str, tuple[dict[str, Any], str, str]] = {
    "no host key": ({"machine": without("hostKey")}, f"{LOGIN}.hostKey", "`ssh-keyscan -t ed25519 ADDRESS`"),
    "no private key": ({"machine": without("privateKey")}, f"{LOGIN}.privateKey", "is missing"),
    "host key with its address": (
        {"machine": MACHINE | {"hostKey": f"192.168.9.9 {HOST_KEY}"}},
        f"{LOGIN}.hostKey",
        "without an address",
    ),
    "host key of another type": (
        {"machine": MACHINE | {"hostKey": HOST_KEY.replace("ed25519 ", "rsa ")}},
        f"{LOGIN}.hostKey",
        "with its type",
    ),
    "truncated host key": ({"machine": MACHINE | {"hostKey": "ssh-ed25519 AAAAC"}}, f"{LOGIN}.hostKey", "public"),
    "path for a private key": (
        {"machine": MACHINE | {"privateKey": "~/.ssh/id_rsa"}},
        f"{LOGIN}.privateKey",
        "text of",
    ),
    "private key with a passphrase": (
        {"machine": MACHINE | {"privateKey": private_key(b"\0\0\0\x0aaes256-ctr")}},
        f"{LOGIN}.privateKey",
        "without a passphrase",
    ),
    "unknown key": ({"machine": MACHINE | {"usr": "root"}}, f"{LOGIN}.usr", "did you mean user?"),
    "invalid user": ({"machine": MACHINE | {"user": "a b"}}, f"{LOGIN}.user", "must be a user name"),
    "invalid port": ({"machine": MACHINE | {"port": 0}}, f"{LOGIN}.port", "must be from 1 to 65535"),
    "virtual CPUs": ({"vcpus": 4}, "workers[0].vcpus", "sets the size of a VM"),
    "memory": ({"memory": 4096}, "workers[0].memory", "sets the size of a VM"),
    "disk": ({"disk": 20}, "workers[0].disk", "sets the size of a VM"),
    "identity from user-data": ({"lab": {"identityFromUserData": True}}, LOGIN, "remove identityFromUserData"),
    "routes of the host without a VM": (
        {"lab": {"join": configuration("join")["join"], "hostRoutes": True}},
        "hostRoutes",
        "requires a lab with its own network",
    ),
    "address outside the network": (
        {"address": "192.168.9.9"},
        "workers[0].address",
        "is outside networkCidr 10.240.0.0/24",
    ),
    "route outside the network": (
        {"lab": {"podRoutes": [{"podCidr": "10.200.30.0/24", "address": "192.168.9.9"}]}},
        "podRoutes[0].address",
        "only to next hops in the VMs' network",
    ),
    "address of another node": ({"address": "10.240.0.10"}, "workers[0].address", "is already the address of"),
    "address of the host": ({"address": "10.240.0.1"}, "workers[0].address", "is the host's address"),
    "address of a pod": ({"address": "10.200.9.9"}, "workers[0].address", "is in clusterCidr 10.200.0.0/16"),
    "address of a Service": ({"address": "10.32.0.9"}, "workers[0].address", "is in serviceCidr 10.32.0.0/24"),
    "loopback address": ({"address": "127.0.0.1"}, "workers[0].address", "which is reserved"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_invalid_values_are_refused(name: str) -> None:
    changes, key, fragment = REFUSED[name]
    with pytest.raises(ConfigurationError) as caught:
        configured(**changes)
    [problem] = caught.value.problems
    assert problem.key == f"hardway:{key}"
    assert fragment in str(problem)


@pytest.mark.parametrize(
    "values",
    [
        {"machine": MACHINE | {"privateKey": PRIVATE_KEY[:-9]}},
        {"machine": without("privateKey") | {"key": PRIVATE_KEY}},
        {"machine": PRIVATE_KEY},
        {"privateKey": PRIVATE_KEY},
        {"lab": {"workers": {"machine": MACHINE}}},
    ],
    ids=["cut off", "misspelled", "instead of the machine", "beside the machine", "mapping for a list"],
)
def test_messages_show_no_part_of_a_private_key(values: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        configured(**values)
    assert not [line for line in PRIVATE_KEY.splitlines() if line[:12] in str(caught.value)]


def test_machines_get_the_network_settings_of_the_image() -> None:
    """On a node, systemd must not change the addresses of pod interfaces, nor the routes to pods."""
    network_files = {"/etc/systemd/network/10-pods.link", "/etc/systemd/networkd.conf.d/50-routes.conf"}

    def files(spec: Spec, node: Node) -> set[str]:
        return set(services_of(spec, node)[0].files)

    spec, virtual = configured(), configured(machine={})
    assert files(spec, spec.workers[0]) - files(virtual, virtual.workers[0]) == network_files
    assert not files(spec, spec.control_planes[0]) & network_files
    with_cloud_image = configured(machine={}, lab={"image": "/srv/debian.qcow2"})
    assert files(with_cloud_image, with_cloud_image.control_planes[0]) >= network_files
