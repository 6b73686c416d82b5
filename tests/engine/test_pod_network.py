"""The rules and routes of nodes and of the host, in network namespaces that are connected like a lab. Needs root."""

from __future__ import annotations

import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from lab.config.parse import load
from lab.node import paths
from lab.node.node_setup import node_setup
from lab.node.units import unit_path
from lab.spec import Spec
from system.files import CHECKOUT
from tests.support.fake_programs import put
from tests.support.node_programs import install

PORT = 8080
SERVE = f"""
import socket
server = socket.create_server(("", {PORT}))
print("listening", flush=True)
while True:
    connection, (address, _) = server.accept()
    connection.sendall(address.encode())
    connection.close()
"""
ASK = "import socket, sys; print(socket.create_connection((sys.argv[1], int(sys.argv[2])), 3).makefile().read())"

HOST, SERVER, NODES = "10.240.0.1", "10.240.0.10", ("10.240.0.20", "10.240.0.21")
GATE, OUTSIDE = "203.0.113.1", "203.0.113.9"
PODS = {"pod-0": "10.200.0.5", "twin-0": "10.200.0.6", "pod-1": "10.200.1.5"}
SERVICE, MISSING_POD = "10.32.0.77", "10.200.99.9"


@dataclass
class Network:
    """Network namespaces that are connected like the machines of the default lab, with a server in each.

    Attributes:
        name: The prefix of the namespaces' names.
        places: The namespaces.
    """

    name: str
    places: list[str] = field(default_factory=list)

    def add(self, place: str) -> None:
        run("ip", "netns", "add", f"{self.name}-{place}")
        self.places.append(place)
        self.run(place, "ip link set lo up; sysctl -q net.ipv4.ip_forward=1")

    def run(self, place: str, script: str) -> str:
        """Run a script of sh in a namespace."""
        return run("ip", "netns", "exec", f"{self.name}-{place}", "sh", "-ec", script)

    def connect(self, place: str, bridge_place: str, bridge: str, address: str, gateway: str) -> None:
        """Connect a namespace to a bridge in another one."""
        port = f"to-{place}"
        self.run(
            bridge_place,
            f"ip link add {port} type veth peer name eth0 netns {self.name}-{place}; "
            f"ip link set {port} master {bridge} up; bridge link set dev {port} hairpin on",
        )
        self.run(place, f"ip link set eth0 up; ip addr add {address} dev eth0; ip route add default via {gateway}")

    def bridge(self, place: str, name: str, address: str) -> None:
        self.run(place, f"ip link add {name} type bridge; ip link set {name} up; ip addr add {address} dev {name}")

    def serve(self, place: str, stack: ExitStack) -> None:
        process = subprocess.Popen(
            ["ip", "netns", "exec", f"{self.name}-{place}", sys.executable, "-c", SERVE],
            stdout=subprocess.PIPE,
            text=True,
        )
        stack.callback(process.wait)
        stack.callback(process.kill)
        assert process.stdout
        process.stdout.readline()

    def ask(self, place: str, address: str) -> str:
        """Return the address that a server sees, or the last line of the error."""
        command = shlex.join([sys.executable, "-c", ASK, address, str(PORT)])
        try:
            return self.run(place, command)
        except subprocess.CalledProcessError as error:
            return str(error.stderr).strip().splitlines()[-1]

    def remove(self) -> None:
        for place in self.places:
            run("ip", "netns", "delete", f"{self.name}-{place}")


def run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture(scope="module")
def spec() -> Spec:
    """The default lab."""
    return load(CHECKOUT / "Pulumi.dev.yaml")


@pytest.fixture(scope="module")
def network(spec: Spec, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    """The network of the default lab, in which `node-setup` has run on every node."""
    network = Network(f"hw{tmp_path_factory.getbasetemp().name[-8:]}")
    with ExitStack() as stack:
        stack.callback(network.remove)
        for place in ("outside", "host", "server", "node-0", "node-1", *PODS):
            network.add(place)
        # The host: a bridge with libvirt's rule, filtered as with br_netfilter, and a way out.
        network.bridge("host", "virbr0", f"{HOST}/24")
        network.run("host", "ip link add out type veth peer name eth0 netns " + f"{network.name}-outside")
        for place, link, address in (("host", "out", GATE), ("outside", "eth0", OUTSIDE)):
            network.run(place, f"ip link set {link} up; ip addr add {address}/24 dev {link}")
        for place, gateway in (("host", OUTSIDE), ("outside", GATE)):
            network.run(place, f"ip route add default via {gateway}")
        # A stranger answers at every address of these ranges.
        network.run("outside", "ip route add local 10.0.0.0/8 dev lo")
        filtered = "/proc/sys/net/bridge/bridge-nf-call-iptables"
        network.run("host", f"[ ! -e {filtered} ] || echo 1 >{filtered}")
        network.run("host", "iptables -t nat -A POSTROUTING -s 10.240.0.0/24 ! -d 10.240.0.0/24 -j MASQUERADE")
        for place, address in (("server", SERVER), ("node-0", NODES[0]), ("node-1", NODES[1])):
            network.connect(place, "host", "virbr0", f"{address}/24", HOST)
        for number in (0, 1):
            network.bridge(f"node-{number}", "cnio0", f"10.200.{number}.1/24")
        for pod, address in PODS.items():
            network.connect(pod, f"node-{pod[-1]}", "cnio0", f"{address}/24", f"10.200.{pod[-1]}.1")
        for node in spec.nodes:
            set_up(network, spec, node.name, tmp_path_factory.mktemp(node.name))
        ranges = [HOST, "10.240.0.0/24", "10.200.0.0/16", "10.32.0.0/24"]
        network.run("host", shlex.join([f"{CHECKOUT}/assets/host/pod-traffic", "keep", "hardway-dev", *ranges]))
        for place in network.places:
            network.serve(place, stack)
        yield network


def set_up(network: Network, spec: Spec, name: str, folder: Path) -> None:
    """Run `node-setup` and its health check as on the node, without kernel modules, kernel settings and the clock."""
    [node] = [node for node in spec.nodes if node.name == name]
    for path, content in node_setup(spec, node).visible_files.items():
        place = folder / path.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(content)
    (folder / unit_path("clock.service").lstrip("/")).unlink()
    (folder / paths.KERNEL_MODULES.lstrip("/")).write_text("")
    (folder / "settings").write_text("")
    # The name of the route protocol is unknown outside of the folder.
    programs = install(folder / "programs", root=folder, ROUTE_PROTOCOL=str(paths.ROUTE_PROTOCOL_NUMBER))
    for _ in range(2):
        network.run(name, f"{programs}/node-setup {folder}/settings")
    assert network.run(name, f"{programs}/node-setup-healthy {folder}/settings") == ""
    put(folder, "healthy", f"exec {programs}/node-setup-healthy {folder}/settings")


@pytest.mark.parametrize(
    ("client", "server", "seen"),
    [
        ("pod-0", PODS["pod-1"], PODS["pod-0"]),
        ("pod-0", PODS["twin-0"], PODS["pod-0"]),
        ("node-0", PODS["pod-1"], NODES[0]),
        ("server", PODS["pod-1"], SERVER),
        ("pod-0", NODES[1], PODS["pod-0"]),
        ("pod-0", NODES[0], PODS["pod-0"]),
        ("pod-0", SERVER, PODS["pod-0"]),
    ],
    ids=["pod to pod", "same node", "node to pod", "control plane to pod", "pod to node", "to its node", "to the API"],
)
def test_addresses_are_not_translated_in_the_cluster(network: Network, client: str, server: str, seen: str) -> None:
    assert network.ask(client, server) == seen


def test_leaving_traffic_has_the_address_of_the_node(network: Network) -> None:
    assert network.ask("pod-0", HOST) == NODES[0]
    # The host translates it again.
    assert network.ask("pod-0", OUTSIDE) == GATE


@pytest.mark.parametrize("client", ["pod-0", "node-0", "server"])
def test_service_address_that_nobody_serves_is_refused(network: Network, client: str) -> None:
    assert "Connection refused" in network.ask(client, SERVICE)


@pytest.mark.parametrize("client", ["pod-0", "node-0", "server"])
def test_pod_address_of_no_node_is_unreachable(network: Network, client: str) -> None:
    assert "No route to host" in network.ask(client, MISSING_POD)


@pytest.mark.parametrize("address", [SERVICE, MISSING_POD])
def test_host_sends_no_such_address_away(network: Network, address: str) -> None:
    network.add("stray")
    network.connect("stray", "host", "virbr0", "10.240.0.99/24", HOST)
    try:
        assert network.ask("stray", OUTSIDE) == GATE
        assert "Connection refused" in network.ask("stray", address)
    finally:
        run("ip", "netns", "delete", f"{network.name}-stray")
        network.places.remove("stray")


def test_service_of_kube_proxy_reaches_the_pod(network: Network) -> None:
    """A rule as kube-proxy has it: it replaces the address of a Service before the lab's rules see it."""
    rule = f"-d {SERVICE} -p tcp --dport {PORT} -j DNAT --to-destination {PODS['pod-1']}:{PORT}"
    for chain in ("PREROUTING", "OUTPUT"):
        network.run("node-0", f"iptables -t nat -A {chain} {rule}")
    try:
        assert network.ask("pod-0", SERVICE) == PODS["pod-0"]
        assert network.ask("node-0", SERVICE) == NODES[0]
    finally:
        for chain in ("PREROUTING", "OUTPUT"):
            network.run("node-0", f"iptables -t nat -D {chain} {rule}")


def test_rules_of_an_earlier_version_are_removed(network: Network, spec: Spec, tmp_path: Path) -> None:
    chain, other = "CNI-0123456789abcdef01234567", "CNI-HOSTPORT-MASQ"
    network.run(
        "node-0",
        f"iptables -t nat -N {other}; iptables -t nat -A POSTROUTING -j {other}; iptables -t nat -N {chain};"
        f"iptables -t nat -A {chain} -d 10.200.0.0/24 -j ACCEPT; iptables -t nat -A {chain} -j MASQUERADE;"
        f'iptables -t nat -A POSTROUTING -s {PODS["pod-0"]} -m comment --comment \'name: "bridge" id: "1"\' -j {chain}',
    )
    assert network.ask("pod-0", PODS["pod-1"]) == NODES[0]
    set_up(network, spec, "node-0", tmp_path)
    assert network.ask("pod-0", PODS["pod-1"]) == PODS["pod-0"]
    rules = network.run("node-0", "iptables-save -t nat")
    assert chain not in rules
    assert f"-A POSTROUTING -j {other}" in rules


def test_changed_rules_and_lost_routes_are_found(network: Network, spec: Spec, tmp_path: Path) -> None:
    set_up(network, spec, "node-1", tmp_path)
    network.run("node-1", "nft delete chain ip hardway output")
    assert "not those of" in network.run("node-1", f"{tmp_path}/healthy || true")
    set_up(network, spec, "node-1", tmp_path)
    network.run("node-1", "ip route delete unreachable 10.200.0.0/16 metric 4294967295")
    assert "10.200.0.0/16 is missing" in network.run("node-1", f"{tmp_path}/healthy || true")
    set_up(network, spec, "node-1", tmp_path)


def test_host_keeps_nothing_after_release(network: Network) -> None:
    program = f"{CHECKOUT}/assets/host/pod-traffic"
    network.run("host", f"{program} keep hardway-other {HOST} 10.240.0.0/24 10.201.0.0/16 10.33.0.0/24")
    for _ in range(2):
        network.run("host", f"{program} release hardway-other")
    assert network.run("host", "nft list tables ip | grep hardway") == "table ip hardway-dev"
