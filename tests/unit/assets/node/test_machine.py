"""A machine is taken for a node and given back: `assets/node/machine` in a folder, over programs that note calls."""

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
:SOMEBODYS - [0:0]
-A POSTROUTING -j KUBE-SERVICES
-A POSTROUTING -s 10.200.2.2/32 -j CNI-0123
-A POSTROUTING -j SOMEBODYS
COMMIT
"""
KEPT = """\
*nat
:POSTROUTING ACCEPT [0:0]
:SOMEBODYS - [0:0]
-A POSTROUTING -j SOMEBODYS
COMMIT
"""
PRETENDERS = {
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
    "ipset": "[ \"$1\" != list ] || printf '%s\\n' KUBE-CLUSTER-IP somebodys",
}
"""What the programs do that stand for the real ones, besides noting their call and failing at the chosen one."""

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
SOMEBODYS_FILES = ("etc/cni/net.d/87-podman.conflist", "run/netns/somebodys", "srv/pki/somebodys.pem", "srv/data/file")
LEFT_EMPTY = ("etc/kubernetes/pki", "opt/cni/bin", "var/lib/kube-proxy")


@dataclass
class Machine:
    """A machine in a folder, on which the program runs as it would on a real one."""

    root: Path

    def put(self, *paths: str) -> None:
        for path in paths:
            (self.root / path).parent.mkdir(parents=True, exist_ok=True)
            (self.root / path).write_text("")

    def run(self, *arguments: str, fail_at: int = 0) -> subprocess.CompletedProcess[str]:
        """Runs the program; with `fail_at`, that call of another program fails."""
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
        """Every file, those of the test itself left out."""
        own = ("programs", "calls", "fail-at", "sys")
        found = (str(path.relative_to(self.root)) for path in self.root.rglob("*") if path.is_file())
        return {name for name in found if name.partition("/")[0] not in own}


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A machine that somebody uses for something else, too."""
    machine = Machine(tmp_path)
    (tmp_path / "programs").mkdir()
    note = 'echo "${0##*/} $*" >>$ROOT/calls; [ $(wc -l <$ROOT/calls) != $(cat $ROOT/fail-at) ] || exit 1'
    for name, body in PRETENDERS.items():
        (tmp_path / "programs" / name).write_text(f"#!/bin/sh\n{note}\n{body}\n")
        (tmp_path / "programs" / name).chmod(0o755)
    machine.put(*SOMEBODYS_FILES)
    for path, text in {"rules": RULES, "etc/fstab": "# off for Kubernetes: UUID=2 none swap sw 0 0\n"}.items():
        (tmp_path / path).write_text(text)
    return machine


@pytest.fixture
def node(machine: Machine) -> Machine:
    """The machine as a node, with all that services and pods leave there."""
    assert machine.claim().returncode == 0
    machine.put(*NODE_FILES)
    for path in LEFT_EMPTY:
        (machine.root / path).mkdir(parents=True)
    service = machine.root / "usr/local/lib/hardway/service"
    service.parent.mkdir(parents=True)
    service.write_text('#!/bin/sh\necho "service $*" >>$ROOT/calls\nrm -r $ROOT/var/lib/hardway/services/$2\n')
    service.chmod(0o755)
    for group in ("kubepods.slice", "system.slice/containerd.service"):
        machine.put(f"sys/fs/cgroup/{group}/cgroup.kill")
        (machine.root / "sys/fs/cgroup" / group / "cgroup.events").write_text("populated 0\nfrozen 0\n")
    return machine


def test_a_machine_is_taken_once_and_for_one_node(machine: Machine) -> None:
    assert machine.claim().returncode == 0
    assert machine.claim().returncode == 0
    for another in ("node-3 of lab hardway at 192.168.9.9", "node-2 of lab hardway at 192.168.9.8"):
        refused = machine.claim(another)
        assert refused.returncode == 1
        assert f"it is already {NODE}. Remove it from that configuration first." in refused.stderr


@pytest.mark.parametrize("path", ["var/lib/containerd/somebodys", "var/lib/kubelet/somebodys", "etc/kubernetes/admin"])
def test_a_machine_whose_data_would_be_lost_is_refused(machine: Machine, path: str) -> None:
    machine.put(path)
    refused = machine.claim()
    assert refused.returncode == 1
    assert "something else uses" in refused.stderr
    assert not (machine.root / "var/lib/hardway").exists()
    assert (machine.root / path).exists()


def test_a_machine_with_a_containerd_of_its_own_is_refused(machine: Machine) -> None:
    shutil.copy(machine.root / "programs/ip", machine.root / "programs/containerd")
    assert "it already has " in machine.claim().stderr


def test_what_is_not_taken_is_not_touched(machine: Machine) -> None:
    machine.put("var/lib/kubelet/somebodys")
    before = machine.files
    assert machine.run("release").returncode == 0
    assert machine.files == before
    assert machine.calls == []


def test_a_machine_that_is_given_back_is_as_it_was(node: Machine) -> None:
    left = node.run("release")
    assert left.returncode == 0, left.stderr
    assert node.files == {*SOMEBODYS_FILES, "rules", "etc/fstab"}
    for path in ("var/lib/hardway", "var/lib/kubelet", "var/lib/containerd", "run/containerd", *LEFT_EMPTY):
        assert not (node.root / path).exists(), path
    assert (node.root / "rules").read_text() == KEPT
    assert (node.root / "etc/fstab").read_text() == "UUID=2 none swap sw 0 0\n"


def test_services_end_before_pods_and_pods_before_what_they_stand_on(node: Machine) -> None:
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


def test_only_what_is_ours_of_the_network_goes(node: Machine) -> None:
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
    assert not [call for call in node.calls if call.startswith("umount") and "somebodys" in call]


def test_what_was_interrupted_is_finished_by_the_next_run(node: Machine) -> None:
    whole = copied(node, "whole")
    whole.run("release")
    moments = len(whole.calls)
    assert moments > 10
    for moment in range(1, moments + 1):
        copy = copied(node, f"moment-{moment}")
        copy.run("release", fail_at=moment)
        again = copy.run("release")
        assert again.returncode == 0, again.stderr
        assert copy.files == whole.files
        assert (copy.root / "rules").read_text() == KEPT


def copied(machine: Machine, name: str) -> Machine:
    """The same machine once more."""
    copy = Machine(machine.root.with_name(name))
    shutil.copytree(machine.root, copy.root)
    taken = copy.root / "var/lib/hardway/machine"
    taken.write_text(taken.read_text().replace(str(machine.root), str(copy.root)))
    return copy
