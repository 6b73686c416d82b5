"""What a node finds lost of what it was set up with: `assets/node/node-setup-healthy`, a folder for its root."""

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from lab.node.units import ASSETS
from tests.support.fake_programs import put

ROUTES = "10.200.1.0/24 via 10.240.0.21 dev enp1s0 \n10.200.2.0/24 via 10.240.0.22 dev enp1s0 \n"


@dataclass
class Node:
    """A node in a folder, at first with all that it was set up with."""

    folder: Path
    routes: str = ROUTES

    def __post_init__(self) -> None:
        for name, text in {
            "etc/modules-load.d/kubernetes.conf": "overlay\nbr_netfilter\n",
            "etc/kubernetes/pod-routes": "10.200.1.0/24 10.240.0.21\n10.200.2.0/24 10.240.0.22\n",
            "etc/sysctl.d/kubernetes.conf": "net.ipv4.ip_forward = 1\nvm.panic_on_oom = 0\n",
            "proc/sys/net/ipv4/ip_forward": "1\n",
            "proc/sys/vm/panic_on_oom": "0\n",
            "sys/module/overlay/refcnt": "0\n",
            "sys/module/br_netfilter/refcnt": "0\n",
        }.items():
            self.path(name).parent.mkdir(parents=True, exist_ok=True)
            self.path(name).write_text(text)
        put(self.folder, "modprobe", "echo insmod of it")

    def path(self, name: str) -> Path:
        return self.folder / name

    def lose(self, module: str) -> None:
        self.path(f"sys/module/{module}").rename(self.path(f"sys/module-{module}"))

    def ask(self) -> tuple[int, str]:
        """The exit code and what is said."""
        put(self.folder, "ip", f"printf '{self.routes}'")
        program = re.sub("/(proc|sys|etc)/", rf"{self.folder}/\1/", (ASSETS / "node/node-setup-healthy").read_text())
        result = subprocess.run(
            ["bash", "-c", program, "node-setup-healthy", self.path("etc/sysctl.d/kubernetes.conf")],
            env={"PATH": f"{self.folder}:/usr/bin:/bin"},
            capture_output=True,
            text=True,
            check=False,
        )
        return result.returncode, result.stdout.strip()


@pytest.fixture
def node(tmp_path: Path) -> Node:
    """A node that has lost nothing."""
    return Node(tmp_path)


def test_a_node_that_has_all_that_it_was_set_up_with_is_healthy(node: Node) -> None:
    assert node.ask() == (0, "")


def test_a_lost_module_is_named(node: Node) -> None:
    node.lose("br_netfilter")
    assert node.ask() == (1, "kernel module br_netfilter is not loaded")


def test_a_module_that_is_a_part_of_the_kernel_is_not_missed(node: Node) -> None:
    node.lose("overlay")
    put(node.folder, "modprobe", 'echo "builtin $2"')
    assert node.ask() == (0, "")


def test_a_changed_kernel_setting_is_named(node: Node) -> None:
    node.path("proc/sys/net/ipv4/ip_forward").write_text("0\n")
    assert node.ask() == (1, "kernel setting net.ipv4.ip_forward is 0, not 1")


@pytest.mark.parametrize(
    "routes",
    ["", ROUTES.splitlines(keepends=True)[0], ROUTES.replace("10.240.0.22", "10.240.0.2")],
    ids=["none", "one lost", "by another node"],
)
def test_a_lost_route_is_named(node: Node, routes: str) -> None:
    node.routes = routes
    code, said = node.ask()
    assert code == 1
    assert re.fullmatch(r"there is no route to pods 10\.200\.\d\.0/24 via 10\.240\.0\.2\d", said)
