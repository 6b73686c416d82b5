"""`assets/node/machine` with a folder as the machine, and fake programs that record their calls."""

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.node_programs import install

NODE = "node-2 of lab hardway at 192.168.9.9"
RULES = """\
*nat
:POSTROUTING ACCEPT [0:0]
:KUBE-SERVICES - [0:0]
:CNI-0123 - [0:0]
:FOREIGN - [0:0]
-A POSTROUTING -j KUBE-SERVICES
-A POSTROUTING -s 10.200.2.2/32 -j CNI-0123
-A POSTROUTING -j FOREIGN
COMMIT
"""
FOREIGN_RULES = """\
*nat
:POSTROUTING ACCEPT [0:0]
:FOREIGN - [0:0]
-A POSTROUTING -j FOREIGN
COMMIT
"""
FAKE_PROGRAMS = {
    "systemctl": "",
    "swapon": "",
    "umount": "",
    "mountpoint": "exit 1",
    "findmnt": "printf '%s\\n' / $ROOT/var/lib/kubelet/pods/1/volumes/token $ROOT/srv/data",
    "ip": "",
    "iptables": "",
    "iptables-save": "cat $ROOT/rules",
    "iptables-restore": "cat >$ROOT/rules.new; mv $ROOT/rules.new $ROOT/rules",
    "ip6tables": "",
    "ip6tables-save": "",
    "ip6tables-restore": "",
    "nft": "[ \"$1\" != list ] || printf '%s\\n' 'table ip kube-proxy' 'table ip6 kube-proxy' 'table inet filter'",
    "ipvsadm": "",
    "ipset": "[ \"$1\" != list ] || printf '%s\\n' KUBE-CLUSTER-IP foreign",
}
"""The bodies of the fake programs. Each also records its call, and fails at the chosen one."""

NODE_FILES = (
    "var/lib/hardway/services/kubelet/applied/manifest",
    "var/lib/hardway/store/digest",
    "var/lib/kubelet/pods/1/file",
    "var/lib/containerd/io.containerd.metadata.v1.bolt/meta.db",
    "run/containerd/s/socket",
    "run/netns/cni-1",
    "var/lib/cni/networks/bridge/10.200.2.2",
    "var/log/pods/pod/0.log",
    "etc/systemd/logind.conf.d/99-kubelet.conf",
    "etc/iproute2/rt_protos.d/kubernetes.conf",
    "srv/pki/kubelet-client-current.pem",
)
FOREIGN_FILES = ("etc/cni/net.d/87-podman.conflist", "run/netns/foreign", "srv/pki/foreign.pem", "srv/data/file")
EMPTY_FOLDERS = ("etc/kubernetes/pki", "opt/cni/bin", "var/lib/kube-proxy")


@dataclass
class Machine:
    """A machine in a folder."""

    root: Path

    def put(self, *paths: str) -> None:
        for path in paths:
            (self.root / path).parent.mkdir(parents=True, exist_ok=True)
            (self.root / path).write_text("")

    def run(self, *arguments: str, fail_at: int = 0) -> subprocess.CompletedProcess[str]:
        """Run the program.

        Args:
            arguments: The arguments.
            fail_at: The number of the call of a fake program that fails; 0 for none.
        """
        (self.root / "calls").write_text("")
        (self.root / "fail-at").write_text(f"{fail_at}\n")
        program = install(self.root / "programs/node", root=self.root) / "machine"
        return subprocess.run(
            [program, *arguments],
            env={"PATH": f"{self.root}/programs:/usr/bin:/bin", "ROOT": str(self.root)},
            capture_output=True,
            text=True,
            check=False,
        )

    def claim(self, node: str = NODE, bridge: str = "cnio0") -> subprocess.CompletedProcess[str]:
        return self.run("claim", node, bridge, f"{self.root}/srv/pki")

    @property
    def calls(self) -> list[str]:
        return (self.root / "calls").read_text().splitlines()

    @property
    def files(self) -> set[str]:
        """Every file except those of the test itself."""
        own = ("programs", "calls", "fail-at", "sys")
        found = (str(path.relative_to(self.root)) for path in self.root.rglob("*") if path.is_file())
        return {name for name in found if name.partition("/")[0] not in own}


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A machine that somebody also uses for other things."""
    machine = Machine(tmp_path)
    (tmp_path / "programs").mkdir()
    record = 'echo "${0##*/} $*" >>$ROOT/calls; [ $(wc -l <$ROOT/calls) != $(cat $ROOT/fail-at) ] || exit 1'
    for name, body in FAKE_PROGRAMS.items():
        (tmp_path / "programs" / name).write_text(f"#!/bin/sh\n{record}\n{body}\n")
        (tmp_path / "programs" / name).chmod(0o755)
    machine.put(*FOREIGN_FILES)
    for path, text in {"rules": RULES, "etc/fstab": "# off for Kubernetes: UUID=2 none swap sw 0 0\n"}.items():
        (tmp_path / path).write_text(text)
    return machine


@pytest.fixture
def node(machine: Machine) -> Machine:
    """The machine as a node, with all files that services and pods create."""
    assert machine.claim().returncode == 0
    machine.put(*NODE_FILES)
    for path in EMPTY_FOLDERS:
        (machine.root / path).mkdir(parents=True)
    service = machine.root / "usr/local/lib/hardway/service"
    service.parent.mkdir(parents=True)
    service.write_text('#!/bin/sh\necho "service $*" >>$ROOT/calls\nrm -r $ROOT/var/lib/hardway/services/$2\n')
    service.chmod(0o755)
    for group in ("kubepods.slice", "system.slice/containerd.service"):
        machine.put(f"sys/fs/cgroup/{group}/cgroup.kill")
        (machine.root / "sys/fs/cgroup" / group / "cgroup.events").write_text("populated 0\nfrozen 0\n")
    return machine


def test_machine_is_claimed_for_one_node_only(machine: Machine) -> None:
    assert machine.claim().returncode == 0
    assert machine.claim().returncode == 0
    for another in ("node-3 of lab hardway at 192.168.9.9", "node-2 of lab hardway at 192.168.9.8"):
        refused = machine.claim(another)
        assert refused.returncode == 1
        assert f"it is already {NODE}. Remove it from that configuration first." in refused.stderr


@pytest.mark.parametrize("path", ["var/lib/containerd/foreign", "var/lib/kubelet/foreign", "etc/kubernetes/admin"])
def test_machine_with_data_in_use_is_refused(machine: Machine, path: str) -> None:
    machine.put(path)
    refused = machine.claim()
    assert refused.returncode == 1
    assert "something else uses" in refused.stderr
    assert not (machine.root / "var/lib/hardway").exists()
    assert (machine.root / path).exists()


def test_machine_on_which_others_override_the_lab_is_refused(machine: Machine) -> None:
    machine.put("etc/systemd/system/kubelet.service.d/proxy.conf")
    refused = machine.claim()
    assert refused.returncode == 1
    assert "proxy.conf changes kubelet.service; delete it" in refused.stderr
    assert not (machine.root / "var/lib/hardway").exists()


def test_interface_of_the_machine_is_not_used_as_bridge(machine: Machine) -> None:
    (machine.root / "sys/class/net/cnio0").mkdir(parents=True)
    refused = machine.claim()
    assert refused.returncode == 1
    assert "it already has a network interface cnio0" in refused.stderr
    assert machine.claim(bridge="br-pods").returncode == 0
    # Its pods have been connected since.
    (machine.root / "sys/class/net/br-pods").mkdir()
    assert machine.claim(bridge="br-pods").returncode == 0
    assert machine.claim().returncode == 1


def test_machine_with_own_containerd_is_refused(machine: Machine) -> None:
    shutil.copy(machine.root / "programs/ip", machine.root / "programs/containerd")
    assert "it already has " in machine.claim().stderr


def test_unclaimed_machine_is_not_changed(machine: Machine) -> None:
    machine.put("var/lib/kubelet/foreign")
    before = machine.files
    assert machine.run("release").returncode == 0
    assert machine.files == before
    assert machine.calls == []


def test_released_machine_is_as_before(node: Machine) -> None:
    released = node.run("release")
    assert released.returncode == 0, released.stderr
    assert node.files == {*FOREIGN_FILES, "rules", "etc/fstab"}
    for path in ("var/lib/hardway", "var/lib/kubelet", "var/lib/containerd", "run/containerd", *EMPTY_FOLDERS):
        assert not (node.root / path).exists(), path
    assert (node.root / "rules").read_text() == FOREIGN_RULES
    assert (node.root / "etc/fstab").read_text() == "UUID=2 none swap sw 0 0\n"


def test_services_then_pods_then_mounts_are_removed(node: Machine) -> None:
    node.run("release")
    calls = node.calls
    order = [
        "service remove kubelet",
        "systemctl stop kubepods.slice",
        f"umount --lazy {node.root}/run/netns/cni-1",
        f"umount --lazy {node.root}/var/lib/kubelet/pods/1/volumes/token",
    ]
    assert [call for call in calls if call in order] == order
    for group in ("kubepods.slice", "system.slice/containerd.service"):
        assert (node.root / "sys/fs/cgroup" / group / "cgroup.kill").read_text() == "1\n"


def test_network_of_others_stays(node: Machine) -> None:
    assert node.claim(bridge="another").returncode == 0
    node.run("release")
    changes = {call for call in node.calls if re.search("delete|destroy|flush|clear", call)}
    assert changes == {
        "ip link delete cnio0",
        "ip link delete another",
        "ip link delete kube-ipvs0",
        "ip route flush proto 201",
        "nft delete table ip kube-proxy",
        "nft delete table ip6 kube-proxy",
        "ipset destroy KUBE-CLUSTER-IP",
        "ipvsadm --clear",
    }
    assert not [call for call in node.calls if call.startswith("umount") and "foreign" in call]


def test_next_run_finishes_an_interrupted_release(node: Machine) -> None:
    complete = copy_of(node, "complete")
    complete.run("release")
    moments = len(complete.calls)
    assert moments > 10
    for moment in range(1, moments + 1):
        copy = copy_of(node, f"moment-{moment}")
        copy.run("release", fail_at=moment)
        again = copy.run("release")
        assert again.returncode == 0, again.stderr
        assert copy.files == complete.files
        assert (copy.root / "rules").read_text() == FOREIGN_RULES


def test_former_verbs_still_work(node: Machine) -> None:
    assert node.run("take", NODE, "cnio0", f"{node.root}/srv/pki").returncode == 0
    assert node.run("leave").returncode == 0
    assert not (node.root / "var/lib/hardway").exists()


def copy_of(machine: Machine, name: str) -> Machine:
    """Return a copy of the machine."""
    copy = Machine(machine.root.with_name(name))
    shutil.copytree(machine.root, copy.root)
    claim = copy.root / "var/lib/hardway/machine"
    claim.write_text(claim.read_text().replace(str(machine.root), str(copy.root)))
    return copy
