"""The program that `python3 -m ops.status` sends to a node, run on a folder instead of the node's state."""

import json
import os
import subprocess
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from lab.node.paths import NODE_ENVIRONMENT
from ops.etcd.state import EtcdStatus
from ops.status.node import PROGRAM, EtcdMember, NodeState, parse
from tests.support.certificates import pair

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@dataclass
class Node:
    """A node whose state, programs and files are in a folder."""

    folder: Path

    def service(self, name: str, *, unit: str = "", health: str = "true", files: tuple[Path, ...] = ()) -> None:
        """Put an applied service on the node."""
        applied = self.folder / "services" / name / "applied"
        applied.mkdir(parents=True)
        (applied / "manifest").write_text(
            "".join(f"file\trestart\t0600\troot:root\t{'0' * 64}\t{path}\n" for path in files)
            + f"binary\trestart\t0755\troot:root\t{'0' * 64}\t/bin/{name}\n"
        )
        (applied / "unit").write_text(unit)
        (applied / "health").write_text(health)

    def program(self, name: str, body: str) -> None:
        """Put a program in place of one of the node's."""
        (self.folder / "bin").mkdir(exist_ok=True)
        (self.folder / "bin" / name).write_text(f"#!/bin/sh\n{body}\n")
        (self.folder / "bin" / name).chmod(0o755)

    def systemctl(self, **states: str) -> None:
        """Have systemd report the states of units, all active since one second after the boot."""
        text = "\\n".join(
            f"Id={name}.service\\nActiveState={state}\\nActiveEnterTimestampMonotonic={1000000 if state else 0}\\n"
            for name, state in states.items()
        )
        self.program("systemctl", f"cat >/dev/null; printf '{text}'")

    def text(self) -> str:
        """Run the program and return its output."""
        places = {
            "SERVICES": "services",
            "ETCD_CONFIGURATION": "etcd",
            "ETCDCTL": "bin/etcdctl",
            "CONFIRM_BY": "confirm-by",
        }
        variables = "".join(f"{name}={self.folder}/{place}\n" for name, place in places.items())
        assert PROGRAM.startswith(NODE_ENVIRONMENT)
        program = f"{NODE_ENVIRONMENT}{variables}{PROGRAM.removeprefix(NODE_ENVIRONMENT)}"
        (self.folder / "bin").mkdir(exist_ok=True)
        result = subprocess.run(
            ["bash", "-s"],
            input=program,
            env={**os.environ, "PATH": f"{self.folder / 'bin'}:/usr/bin:/bin"},
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        assert result.stderr == ""
        return result.stdout

    def state(self) -> NodeState:
        """Run the program and return its parsed output."""
        asked = time.time()
        return parse(self.text(), NOW, asked, time.time())


@pytest.fixture
def node(tmp_path: Path) -> Node:
    """Return a node without services."""
    return Node(tmp_path)


def test_right_clock_has_no_skew(node: Node) -> None:
    assert node.text().startswith("clock\t")
    assert node.state().skew == 0


@pytest.mark.parametrize(("seconds", "skew"), [(-60, -60), (60, 59)])
def test_wrong_clock_has_a_skew(seconds: int, skew: int) -> None:
    now = time.time()
    assert round(parse(f"clock\t{now + seconds:.6f}\nend\n", NOW, now, now + 1).skew) == skew


def test_node_without_services(node: Node) -> None:
    assert node.state().services == {}


def test_active_service_is_healthy(node: Node) -> None:
    node.service("kubelet", unit="kubelet.service")
    node.systemctl(kubelet="active")
    service = node.state().services["kubelet"]
    assert (service.unit, service.active, service.healthy, service.reason) == ("kubelet.service", "active", True, "")


def test_time_since_activation_is_relative_to_the_boot(node: Node) -> None:
    node.service("kubelet", unit="kubelet.service")
    node.systemctl(kubelet="active")
    uptime = float(Path("/proc/uptime").read_text().split()[0])
    since = node.state().services["kubelet"].since
    assert since
    assert abs((NOW - since) - timedelta(seconds=uptime - 1)) < timedelta(seconds=30)


def test_unhealthy_service_has_a_reason(node: Node) -> None:
    node.service("kubelet", unit="kubelet.service", health="printf 'not\\tReady\\nat all'; exit 1")
    node.systemctl(kubelet="active")
    service = node.state().services["kubelet"]
    assert (service.healthy, service.reason) == (False, "not Ready at all")


def test_slow_health_program_is_given_up(node: Node) -> None:
    node.service("kubelet", health="sleep 30")
    node.program("timeout", "exit 124")
    assert "had no answer after" in node.state().services["kubelet"].reason


def test_health_of_inactive_service_is_unknown(node: Node) -> None:
    node.service("kubelet", unit="kubelet.service", health="touch called")
    node.systemctl(kubelet="failed")
    service = node.state().services["kubelet"]
    assert (service.active, service.healthy) == ("failed", None)


def test_service_without_unit_has_only_health(node: Node) -> None:
    node.service("token", health="exit 1")
    service = node.state().services["token"]
    assert (service.unit, service.active, service.since, service.healthy) == (None, None, None, False)


def test_silent_systemd_leaves_the_state_unknown(node: Node) -> None:
    node.service("kubelet", unit="kubelet.service")
    node.program("systemctl", "exit 1")
    assert node.state().services["kubelet"].active == "unknown"


def test_programs_do_not_read_the_script(node: Node) -> None:
    node.service("a", health="cat")
    node.service("b", health="cat")
    assert {service.healthy for service in node.state().services.values()} == {True}


def test_service_that_was_never_applied_is_left_out(node: Node) -> None:
    (node.folder / "services/kubelet/next").mkdir(parents=True)
    assert node.state().services == {}


def test_unconfirmed_services_have_the_time_left(node: Node) -> None:
    for name in ("kubelet", "containerd"):
        node.service(name)
    (node.folder / "services/kubelet/unconfirmed.1").mkdir()
    assert node.state().unconfirmed == {}
    deadline = node.folder / "confirm-by"
    deadline.write_text(f"{time.time() + 100:.0f} a-boot\n")
    unconfirmed = node.state().unconfirmed
    assert unconfirmed.keys() == {"kubelet"}
    assert 0 < unconfirmed["kubelet"] <= 101
    deadline.write_text("0 a-boot\n")
    assert node.state().unconfirmed == {"kubelet": 0}


def test_certificates_are_read_without_their_keys(node: Node) -> None:
    certificate, key = pair("system:node:node-0")
    path = node.folder / "kubelet.pem"
    path.write_text(key + certificate)
    node.service("kubelet", files=(path, node.folder / "missing"))
    assert "PRIVATE" not in node.text()
    [found] = node.state().certificates
    assert (found.service, found.path, found.common_name) == ("kubelet", str(path), "system:node:node-0")
    assert found.end == datetime(2120, 1, 1, tzinfo=UTC)


def test_several_certificates_in_a_file(node: Node) -> None:
    path = node.folder / "ca.crt"
    path.write_text(pair("one-ca")[0] + pair("two-ca")[0])
    node.service("kubelet", files=(path,))
    assert [each.common_name for each in node.state().certificates] == ["one-ca", "two-ca"]


def test_certificate_named_by_a_kubeconfig_is_read(node: Node) -> None:
    issued, kubeconfig = node.folder / "current.pem", node.folder / "kubeconfig"
    issued.write_text("".join(pair("issued")))
    kubeconfig.write_text(f"users:\n- user:\n    client-certificate: {issued}\n")
    node.service("kubelet", files=(kubeconfig,))
    assert [(each.path, each.common_name) for each in node.state().certificates] == [(str(issued), "issued")]


def test_shared_certificate_is_printed_once(node: Node) -> None:
    path = node.folder / "ca.crt"
    path.write_text(pair("kubernetes-ca")[0])
    node.service("kubelet", files=(path,))
    node.service("kube-proxy", files=(path,))
    assert len(node.state().certificates) == 1


def test_broken_certificate_is_named(node: Node) -> None:
    path = node.folder / "ca.crt"
    path.write_text("-----BEGIN CERTIFICATE-----\nAAAA\n")
    node.service("kubelet", files=(path,))
    assert node.state().unreadable == (str(path),)


def etcd_node(node: Node) -> None:
    """Make the node a control plane."""
    (node.folder / "etcd").mkdir()
    (node.folder / "etcd/etcd.crt").touch()
    node.service("etcd")


def test_worker_has_no_etcd(node: Node) -> None:
    node.service("kubelet")
    assert node.state().etcd is None


def test_missing_etcdctl(node: Node) -> None:
    etcd_node(node)
    etcd = node.state().etcd
    assert etcd
    assert (etcd.missing, etcd.failure) == ("etcdctl is not on this node", "")


def test_etcd_answers(node: Node) -> None:
    etcd_node(node)
    status = {"header": {"member_id": 3}, "leader": 3, "version": "3.7.3", "dbSize": 9}
    node.program(
        "etcdctl",
        f"""case $* in
  *--cacert*etcd/ca.crt*"endpoint status") echo warning >&2; echo '{json.dumps([{"Status": status}])}' ;;
  *"member list") echo '{{"members": [{{"ID": 3}}]}}' ;;
esac""",
    )
    etcd = node.state().etcd
    assert etcd
    assert etcd.status == EtcdStatus(id=3, leader=3, learner=False, version="3.7.3", database_bytes=9)
    assert etcd.members == (EtcdMember(id=3, name="", peer_urls=(), learner=False),)
    assert etcd.failure == ""


def test_other_output_of_etcdctl_is_a_failure(node: Node) -> None:
    etcd_node(node)
    node.program("etcdctl", "echo '{}'")
    etcd = node.state().etcd
    assert etcd
    assert etcd.failure == "etcdctl printed no members document"


def test_silent_etcd_has_a_reason(node: Node) -> None:
    etcd_node(node)
    node.program("etcdctl", "echo context deadline exceeded >&2; exit 1")
    etcd = node.state().etcd
    assert etcd
    assert etcd.failure == "context deadline exceeded"
