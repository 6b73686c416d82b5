"""`assets/node/conflicts` with a folder as the machine."""

import subprocess
from pathlib import Path

import pytest

from lab.node.paths import WORKER_UNITS
from lab.node.render import services_of
from lab.spec import Spec
from tests.support.fake_programs import put
from tests.support.node_programs import install

ACCEPTING = """
table ip filter {
  chain FORWARD {
    type filter hook forward priority filter; policy accept;
    counter jump KUBE-FORWARD
    ip daddr 10.32.0.0/24 reject
  }
  chain KUBE-FIREWALL {
    drop
  }
}
table ip6 filter {
  chain FORWARD {
    type filter hook forward priority filter; policy drop;
  }
}
"""
DROPPING = ACCEPTING.replace("filter; policy accept", "filter; policy drop")
REJECTING = ACCEPTING.replace("ip daddr 10.32.0.0/24 reject", "counter reject with icmpx admin-prohibited")


class Machine:
    """A machine in a folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.rules(ACCEPTING)
        put(root, "systemctl", "exit 1")

    def put(self, path: str, text: str = "") -> None:
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).write_text(text)

    def rules(self, text: str) -> None:
        """Set the rules of nftables."""
        (self.root / "rules").write_text(text)
        put(self.root, "nft", f"cat {self.root}/rules")

    def apply(self) -> None:
        """Make the machine a node with two services."""
        services = "var/lib/hardway/services"
        self.put(
            f"{services}/node-setup/applied/manifest",
            f"file\tkeep\t0600\troot:root\t0\t{self.root}/etc/cni/net.d/10-bridge.conflist\n"
            f"file\tkeep\t0600\troot:root\t0\t{self.root}/etc/cni/net.d/99-loopback.conf\n",
        )
        self.put(f"{services}/node-setup/applied/unit", "node-setup.service")
        self.put(
            f"{services}/kubelet/applied/manifest",
            f"file\tkeep\t0600\troot:root\t0\t{self.root}/etc/systemd/system/kubelet.service.d/20-lab.conf\n",
        )
        self.put(f"{services}/kubelet/applied/unit", "kubelet.service")
        for name in ("cni/net.d/10-bridge.conflist", "cni/net.d/99-loopback.conf"):
            self.put(f"etc/{name}")
        for name in ("kubelet.service", "kubelet-images.service"):
            self.put(f"etc/systemd/system/{name}")

    def conflicts(self, *arguments: str) -> list[str]:
        """Run the program and return its lines, as sentences without the machine's folder."""
        result = subprocess.run(
            [install(self.root / "programs", root=self.root) / "conflicts", *arguments],
            env={"PATH": f"{self.root}:/usr/bin:/bin"},
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        return result.stdout.replace(f"{self.root}/", "/").replace("\t", " ").splitlines()


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A machine that is not a node."""
    return Machine(tmp_path)


@pytest.fixture
def node(machine: Machine) -> Machine:
    """A node."""
    machine.apply()
    return machine


def test_undisturbed_machines_have_no_conflicts(machine: Machine) -> None:
    assert machine.conflicts("claim", "10-bridge.conflist") == []
    machine.apply()
    assert machine.conflicts("node") == []


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("etc/cni/net.d/05-x.conflist", "/etc/cni/net.d/05-x.conflist is used instead of 10-bridge.conflist"),
        ("etc/cni/net.d/10-Calico.conflist", "/etc/cni/net.d/10-Calico.conflist is used instead of 10-bridge.conflist"),
        ("etc/systemd/system/kubelet.service.d/10-x.conf", "10-x.conf changes kubelet.service; delete it, and run"),
        ("run/systemd/system/kubelet.service.d/x.conf", "/run/systemd/system/kubelet.service.d/x.conf changes kubelet"),
        ("usr/lib/systemd/system/kubelet.service.d/x.conf", "x.conf changes kubelet.service"),
        ("etc/systemd/system/service.d/x.conf", "changes kubelet.service kubelet-images.service node-setup.service"),
        ("etc/systemd/system/kubelet-.service.d/x.conf", "x.conf changes kubelet-images.service; delete it, and run"),
        ("etc/systemd/system.control/kubelet.service", "is used instead of /etc/systemd/system/kubelet.service"),
    ],
)
def test_file_of_others_is_found(node: Machine, path: str, line: str) -> None:
    node.put(path)
    [found] = node.conflicts("node")
    assert line in found


def test_files_that_change_nothing_are_ignored(node: Machine) -> None:
    node.put("etc/cni/net.d/87-podman.conflist")
    node.put("etc/cni/net.d/05-readme.txt")
    node.put("etc/systemd/system/ssh.service.d/x.conf")
    node.put("etc/systemd/system/kube-.service.d/x.conf")
    node.put("etc/systemd/system/timer.d/x.conf")
    node.put("etc/systemd/system/kubelet.service.d/20-lab.conf")
    assert node.conflicts("node") == []


def test_masked_unit_is_found(node: Machine) -> None:
    unit = node.root / "etc/systemd/system/kubelet.service"
    unit.unlink()
    unit.symlink_to("/dev/null")
    [found] = node.conflicts("node")
    assert found.startswith("/etc/systemd/system/kubelet.service masks kubelet.service; delete it")


def test_cni_configuration_of_the_user_is_no_conflict(machine: Machine) -> None:
    machine.put("etc/cni/net.d/05-cilium.conflist")
    assert machine.conflicts("claim") == []
    assert len(machine.conflicts("claim", "10-bridge.conflist")) == 1
    machine.put("var/lib/hardway/services/node-setup/applied/manifest")
    assert machine.conflicts("node") == []


@pytest.mark.parametrize("rules", [DROPPING, REJECTING])
@pytest.mark.parametrize("verb", ["firewall", "claim", "node"])
def test_firewall_that_drops_forwarded_packets_is_found(machine: Machine, rules: str, verb: str) -> None:
    machine.rules(rules)
    [found] = machine.conflicts(verb)
    assert found.startswith("chain FORWARD of table ip filter drops")


def test_drop_in_over_a_future_unit_is_found(machine: Machine) -> None:
    machine.put("etc/systemd/system/containerd.service.d/proxy.conf")
    [found] = machine.conflicts("claim")
    assert "proxy.conf changes containerd.service" in found


LOCAL = "search a.example\nnameserver 127.0.0.1\nnameserver ::1\n"


@pytest.mark.parametrize(
    ("files", "arguments", "named"),
    [
        ({"etc/resolv.conf": LOCAL}, (), "etc/resolv.conf"),
        ({"etc/resolv.conf": LOCAL, "run/systemd/resolve/resolv.conf": LOCAL}, (), "run/systemd/resolve/resolv.conf"),
        ({"etc/pods.conf": f"{LOCAL}nameserver 192.0.2.1\n"}, ("etc/pods.conf",), "etc/pods.conf"),
    ],
    ids=["only loopback", "systemd-resolved", "the user's"],
)
def test_nameservers_that_pods_cannot_reach_are_found(
    machine: Machine, files: dict[str, str], arguments: tuple[str, ...], named: str
) -> None:
    for path, text in files.items():
        machine.put(path, text)
    [found] = machine.conflicts("claim", "", *(f"{machine.root}/{path}" for path in arguments))
    assert found.startswith(f"/{named} has nameservers on loopback, which pods cannot reach")


@pytest.mark.parametrize(
    ("files", "arguments"),
    [
        ({"etc/resolv.conf": f"{LOCAL}nameserver 192.0.2.1\n"}, ()),
        ({"etc/resolv.conf": "nameserver ::1:2\n"}, ()),
        ({"etc/resolv.conf": LOCAL, "run/systemd/resolve/resolv.conf": "nameserver 192.0.2.1\n"}, ()),
        ({"etc/resolv.conf": LOCAL, "etc/pods.conf": "nameserver 192.0.2.1\n"}, ("etc/pods.conf",)),
    ],
    ids=["another one", "IPv6", "systemd-resolved", "the user's"],
)
def test_nameservers_that_pods_can_reach_are_accepted(
    machine: Machine, files: dict[str, str], arguments: tuple[str, ...]
) -> None:
    for path, text in files.items():
        machine.put(path, text)
    assert machine.conflicts("claim", "", *(f"{machine.root}/{path}" for path in arguments)) == []


def test_drop_in_over_several_units_is_found_once(machine: Machine) -> None:
    machine.put("etc/systemd/system/kube-.service.d/x.conf")
    [found] = machine.conflicts("claim")
    assert found.endswith("systemctl restart kube-proxy.service kube-network-policies.service")
    machine.put("etc/systemd/system/kube-network-.service.d/x.conf")
    assert len(machine.conflicts("claim")) == 2


def test_units_of_a_worker_are_known(dev: Spec) -> None:
    units = {service.unit for service in services_of(dev, dev.workers[0])}
    assert units <= set(WORKER_UNITS.split())
