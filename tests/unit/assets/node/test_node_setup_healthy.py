"""`assets/node/node-setup-healthy` with a folder as the root of the node's file system."""

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.fake_programs import put
from tests.support.node_programs import install

ROUTES = (
    "10.200.1.0/24 via 10.240.0.21 dev enp1s0 \n10.200.2.0/24 via 10.240.0.22 dev enp1s0 \n"
    "unreachable 10.200.0.0/16 metric 4294967295 \n"
)
RULES = "table ip hardway {\n}\n"


@dataclass
class Node:
    """A node in a folder, which has everything at first."""

    folder: Path
    routes: str = ROUTES
    rules: str = RULES

    def __post_init__(self) -> None:
        for name, text in {
            "etc/modules-load.d/kubernetes.conf": "overlay\nbr_netfilter\n",
            "etc/kubernetes/pod-routes": "10.200.1.0/24 10.240.0.21\n10.200.2.0/24 10.240.0.22\n"
            "10.200.0.0/16 unreachable\n",
            "run/hardway/pod-network.nft": RULES,
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

    def unload(self, module: str) -> None:
        self.path(f"sys/module/{module}").rename(self.path(f"sys/module-{module}"))

    def check(self) -> tuple[int, str]:
        """Return the exit code and output."""
        put(self.folder, "ip", f"printf '{self.routes}'")
        put(self.folder, "nft", f"printf '{self.rules}'")
        program = install(self.folder / "node", root=self.folder) / "node-setup-healthy"
        result = subprocess.run(
            [program, self.path("etc/sysctl.d/kubernetes.conf")],
            env={"PATH": f"{self.folder}:/usr/bin:/bin"},
            capture_output=True,
            text=True,
            check=False,
        )
        return result.returncode, result.stdout.strip()


@pytest.fixture
def node(tmp_path: Path) -> Node:
    """A complete node."""
    return Node(tmp_path)


def test_complete_node_is_healthy(node: Node) -> None:
    assert node.check() == (0, "")


def test_missing_module_is_named(node: Node) -> None:
    node.unload("br_netfilter")
    assert node.check() == (1, "Kernel module br_netfilter is not loaded.")


def test_builtin_module_is_not_missing(node: Node) -> None:
    node.unload("overlay")
    put(node.folder, "modprobe", 'echo "builtin $2"')
    assert node.check() == (0, "")


def test_changed_kernel_setting_is_named(node: Node) -> None:
    node.path("proc/sys/net/ipv4/ip_forward").write_text("0\n")
    assert node.check() == (1, "Kernel setting net.ipv4.ip_forward is 0, not 1.")


@pytest.mark.parametrize(
    "routes",
    ["", ROUTES.splitlines(keepends=True)[0], ROUTES.replace("10.240.0.22", "10.240.0.2")],
    ids=["none", "one lost", "by another node"],
)
def test_missing_route_is_named(node: Node, routes: str) -> None:
    node.routes = routes
    code, message = node.check()
    assert code == 1
    assert re.fullmatch(r"The route to pods 10\.200\.\d\.0/24 via 10\.240\.0\.2\d is missing\.", message)


def test_missing_unreachable_route_is_named(node: Node) -> None:
    node.routes = "".join(ROUTES.splitlines(keepends=True)[:2])
    assert node.check() == (1, "The route that rejects traffic to 10.200.0.0/16 is missing.")


@pytest.mark.parametrize("rules", ["", RULES.replace("{", "{\n\tchain another {\n\t}")], ids=["none", "changed"])
def test_changed_rules_are_found(node: Node, rules: str) -> None:
    node.rules = rules
    code, message = node.check()
    assert code == 1
    assert message.startswith("The nftables rules in the table hardway are not those of ")


def test_rules_that_were_never_loaded_are_found(node: Node) -> None:
    node.path("run/hardway/pod-network.nft").unlink()
    assert node.check()[0] == 1
