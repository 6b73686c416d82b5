"""`assets/node/check-pod-network` with a folder as the root of the node's file system."""

import json
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from lab.node.paths import POD_CIDR_PLACEHOLDER
from tests.support.node_programs import install

POD_CIDR = "10.200.0.0/24"


def bridge(pod_cidr: str = POD_CIDR, **fields: str) -> dict[str, Any]:
    """Return a CNI configuration with a single plugin."""
    ipam = {"type": "host-local", "ranges": [[{"subnet": pod_cidr}]]}
    return {"name": "bridge", "type": "bridge", "bridge": "cnio0", "ipam": ipam, **fields}


def as_list(plugin: dict[str, Any]) -> dict[str, Any]:
    """Return a CNI configuration with a list of plugins."""
    name = plugin.pop("name")
    return {"name": name, "plugins": [plugin, {"type": "portmap"}]}


@dataclass
class Node:
    """A node in a folder.

    Attributes:
        folder: The root of its file system.
        current: The CNI configuration in place, by file name.
        pods: The addresses that pods have.
        applied: The files that the lab wrote last; None for a node that is new.
    """

    folder: Path
    current: dict[str, dict[str, Any]] = field(default_factory=lambda: {"10-bridge.conf": bridge()})
    pods: tuple[str, ...] = ("10.200.0.5",)
    applied: tuple[str, ...] | None = None

    def check(self, new: dict[str, Any] | None, folder: str = "etc/cni/net.d") -> tuple[int, str]:
        """Check a new configuration. Return the exit code and output."""
        for name, content in self.current.items():
            self._write(f"etc/cni/net.d/{name}", json.dumps(content))
        self._write("etc/cni/net.d/99-loopback.conf", json.dumps({"name": "lo", "type": "loopback"}))
        for name in ("lock", "last_reserved_ip.0", *self.pods):
            self._write(f"var/lib/cni/networks/bridge/{name}", "")
        staged = self.folder / "staged"
        # The staged folder has the full paths, which the programs below find under the root.
        if new is not None:
            self._write(f"staged{self.folder}/{folder}/10-bridge.conflist", json.dumps(new))
        if self.applied is not None:
            lines = [f"file\tkeep\t0600\troot:root\t0\t{self.folder}{path}\n" for path in self.applied]
            self._write("var/lib/hardway/services/node-setup/applied/manifest", "".join(lines))
        program = install(self.folder / "node", root=self.folder) / "check-pod-network"
        result = subprocess.run(
            [program], env={"PATH": "/usr/bin:/bin", "STAGED": str(staged)}, capture_output=True, text=True, check=False
        )
        return result.returncode, result.stdout.strip() + result.stderr

    def _write(self, path: str, content: str) -> None:
        place = self.folder / path.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(content)


@pytest.fixture
def node(tmp_path: Path) -> Node:
    """A node with a pod."""
    return Node(tmp_path)


def test_same_network_in_another_form_is_accepted(node: Node) -> None:
    assert node.check(as_list(bridge(mtu="1400"))) == (0, "")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "pods"}, "The name of the CNI network (cni.name) cannot change from bridge to pods"),
        ({"bridge": "br9"}, "The bridge of the pods (cni.bridge) cannot change from cnio0 to br9"),
    ],
    ids=["name", "bridge"],
)
def test_change_is_refused_while_pods_run(node: Node, change: dict[str, str], message: str) -> None:
    code, output = node.check(as_list(bridge(**change)))
    assert code == 1
    assert output.startswith(message)
    node.pods = ()
    for path in (node.folder / "var/lib/cni/networks/bridge").glob("1*"):
        path.unlink()
    assert node.check(as_list(bridge(**change))) == (0, "")


@pytest.mark.parametrize("current", [{}, {"10-bridge.conf": bridge()}], ids=["new", "existing"])
def test_another_interface_is_no_bridge(node: Node, current: dict[str, dict[str, Any]]) -> None:
    node.current, node.pods = current, ()
    interface = node.folder / "sys/class/net/eth0"
    interface.mkdir(parents=True)
    code, output = node.check(as_list(bridge(bridge="eth0")))
    assert code == 1
    assert output.startswith("The bridge of the pods (cni.bridge) cannot be eth0, which is another network interface")
    (interface / "bridge").mkdir()
    assert node.check(as_list(bridge(bridge="eth0"))) == (0, "")


def test_pod_cidr_never_changes(node: Node) -> None:
    node.pods = ()
    code, output = node.check(as_list(bridge("10.200.7.0/24")))
    assert code == 1
    assert output.startswith("The pod CIDR cannot change from 10.200.0.0/24 to 10.200.7.0/24")


def test_template_without_pod_cidr_is_compared(node: Node) -> None:
    folder = "etc/kubernetes/templates"
    assert node.check(as_list(bridge(POD_CIDR_PLACEHOLDER)), folder) == (0, "")
    assert node.check(as_list(bridge(POD_CIDR_PLACEHOLDER, bridge="br9")), folder)[0] == 1


def test_new_node_is_accepted(node: Node) -> None:
    node.current = {}
    assert node.check(as_list(bridge())) == (0, "")


def test_own_network_is_left_only_without_pods(node: Node) -> None:
    node.applied = ("/etc/cni/net.d/10-bridge.conf",)
    code, output = node.check(None)
    assert code == 1
    assert output.startswith("podNetwork cannot change from bridge to none while the node has pods. Drain the node")
    node.pods = ()
    (node.folder / "var/lib/cni/networks/bridge/10.200.0.5").unlink()
    assert node.check(None) == (0, "")


def test_bridge_of_the_user_does_not_concern_the_lab(node: Node) -> None:
    node.current = {"10-kuberouter.conflist": as_list({**bridge(), "ipam": {"type": "host-local"}})}
    node.applied = ("/etc/crictl.yaml",)
    assert node.check(None) == (0, "")
    code, output = node.check(as_list(bridge()))
    assert code == 1
    assert output.startswith("podNetwork cannot change from none to bridge while the node has pods")


def test_existing_bridge_without_ranges_has_no_pod_cidr(node: Node) -> None:
    node.current = {"10-x.conflist": as_list({**bridge(name="x"), "ipam": {"type": "host-local"}})}
    assert node.check(as_list(bridge())) == (0, "")
