"""`assets/node/conflicts` with a folder as the machine."""

import subprocess
from pathlib import Path

import pytest

from lab.node.paths import UNITS, WORKER_UNITS
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
        """Make the machine a node with three services."""
        units = "etc/systemd/system"
        cni = ("etc/cni/net.d/10-bridge.conflist", "etc/cni/net.d/99-loopback.conf")
        for service, files in {
            "node-setup": (*cni, f"{units}/node-setup.service", f"{units}/clock.service"),
            "containerd": ("etc/containerd/config.toml", "etc/containerd/certs.d/example.com/hosts.toml"),
            "kubelet": (
                *(f"{units}/kubelet.service", f"{units}/kubelet-images.service", "var/lib/kubelet/config.yaml"),
                f"{units}/kubelet.service.d/20-lab.conf",
            ),
        }.items():
            lines = [f"file\tkeep\t0600\troot:root\t0\t{self.root}/{path}\n" for path in files]
            lines.append(f"binary\trestart\t0755\troot:root\t0\t{self.root}/{units}/binary.service\n")
            self.put(f"var/lib/hardway/services/{service}/applied/manifest", "".join(lines))
            for path in files:
                self.put(path)
        self.put("etc/containerd/config.toml", f'config_path = "{self.root}/etc/containerd/certs.d"\n')
        self.resolve("kind: KubeletConfiguration\nresolvConf: {root}/etc/pods.conf\n", "nameserver 192.0.2.1\n")

    def resolve(self, configuration: str, nameservers: str) -> None:
        """Set the kubelet's configuration and the file `/etc/pods.conf`."""
        self.put("var/lib/kubelet/config.yaml", configuration.replace("{root}", str(self.root)))
        self.put("etc/pods.conf", nameservers)

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
        ("etc/systemd/system/clock.service.d/x.conf", "x.conf changes clock.service; delete it, and run"),
        (
            "etc/systemd/system/service.d/x.conf",
            "kubelet-images.service node-setup.service clock.service; delete",
        ),
        ("etc/containerd/certs.d/example.com/client.pem", "client.pem changes where images come from; delete it"),
        (
            "etc/containerd/certs.d/_default/hosts.toml",
            "hosts.toml changes where images come from; delete it",
        ),
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


@pytest.mark.parametrize("configuration", ["resolvConf: {root}/etc/pods.conf\n", "kind: KubeletConfiguration\n"])
def test_nameservers_that_somebody_changed_are_found(node: Machine, configuration: str) -> None:
    """In the file of the kubelet, or in its default one."""
    node.resolve(f"kind: KubeletConfiguration\n{configuration}", LOCAL)
    node.put("etc/resolv.conf", LOCAL)
    [found] = node.conflicts("node")
    assert found.partition(" ")[0] == ("/etc/pods.conf" if "pods" in configuration else "/etc/resolv.conf")
    node.resolve("kind: KubeletConfiguration\nresolvConf: ''\n", LOCAL)
    assert node.conflicts("node") == []


@pytest.mark.parametrize(("staged", "accepted"), [("nameserver 192.0.2.1\n", True), (LOCAL, False), ("", False)])
def test_configured_nameservers_are_checked_before_they_are_used(machine: Machine, staged: str, accepted: bool) -> None:
    machine.put("etc/pods.conf", LOCAL)
    if staged:
        machine.put(f"staged{machine.root}/etc/pods.conf", staged)
    program = install(machine.root / "programs", root=machine.root) / "conflicts"
    result = subprocess.run(
        [program, "nameservers", f"{machine.root}/etc/pods.conf"],
        env={"PATH": f"{machine.root}:/usr/bin:/bin", "STAGED": f"{machine.root}/staged"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (result.returncode == 0, result.stdout == "") == (accepted, accepted)


def test_deleted_rules_of_policies_are_found(node: Machine) -> None:
    node.put("rules", ACCEPTING)
    put(node.root, "nft", f'[ "$1 $2" != "list table" ] || exit 1; cat {node.root}/rules')
    assert node.conflicts("node") == []
    node.put("var/lib/hardway/services/kube-network-policies/applied/manifest")
    [found] = node.conflicts("node")
    assert found.startswith("table inet kube-network-policies of nftables was deleted, so no NetworkPolicy is enforced")
    node.rules(ACCEPTING)
    assert node.conflicts("node") == []


def test_drop_in_over_several_units_is_found_once(machine: Machine) -> None:
    machine.put("etc/systemd/system/kube-.service.d/x.conf")
    [found] = machine.conflicts("claim")
    assert found.endswith("systemctl restart kube-proxy.service kube-network-policies.service")
    machine.put("etc/systemd/system/kube-network-.service.d/x.conf")
    assert len(machine.conflicts("claim")) == 2


def test_units_of_a_worker_are_known(dev: Spec) -> None:
    """All of an existing machine. It has no clock.service, because it keeps its own time."""
    paths = {path for service in services_of(dev, dev.workers[0]) for path in service.files}
    units = {path.removeprefix(f"{UNITS}/") for path in paths if path.startswith(f"{UNITS}/")}
    assert units - {"clock.service"} == set(WORKER_UNITS.split())
