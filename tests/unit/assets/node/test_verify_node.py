"""`assets/node/verify-node` with a folder as the state of the node's services."""

import getpass
import grp
import hashlib
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.node_programs import install

OWNER = f"{getpass.getuser()}:{grp.getgrgid(os.getgid()).gr_name}"


@dataclass
class Node:
    """A node with one service, `kubelet`: a file, an image and a unit, all as applied."""

    folder: Path

    @property
    def state(self) -> Path:
        return self.folder / "services/kubelet"

    @property
    def file(self) -> Path:
        return self.folder / "kubelet-config.yaml"

    @property
    def programs(self) -> Path:
        return self.folder / "bin"

    def create(self) -> None:
        """Create the node."""
        self.file.write_text("kind: KubeletConfiguration\n")
        self.file.chmod(0o600)
        self.program("ctr", "echo registry.k8s.io/pause:3.10")
        self.unit("active", "enabled")
        digest = hashlib.sha256(self.file.read_bytes()).hexdigest()
        applied = self.state / "applied"
        applied.mkdir(parents=True)
        (self.state / "lock").touch()
        (applied / "manifest").write_text(
            f"file\trestart\t0600\t{OWNER}\t{digest}\t{self.file}\n"
            f"image\tkeep\t-\t-\t{'0' * 64}\tregistry.k8s.io/pause:3.10\n"
        )
        (applied / "unit").write_text("kubelet.service")
        (applied / "health").write_text("true")

    def program(self, name: str, body: str) -> None:
        """Replace a program of the node by a fake."""
        self.programs.mkdir(exist_ok=True)
        (self.programs / name).write_text(f"#!/bin/sh\n{body}\n")
        (self.programs / name).chmod(0o755)

    def unit(self, active: str, enabled: str, remembered: str = "", importing: str = "dead") -> None:
        """Set the states that systemd reports for the unit.

        Args:
            active: The state.
            enabled: True if the unit is enabled.
            remembered: The outdated enabled state that systemd still reports.
            importing: The sub-state of the unit that imports the images.
        """
        unit = f"Id=kubelet.service\\nActiveState={active}\\nUnitFileState={remembered or enabled}\\n"
        self.program(
            "systemctl",
            f"case $* in *SubState*) echo {importing} ;; show*) printf '{unit}' ;; is-enabled*) echo {enabled} ;; esac",
        )

    def differences(self, rules: str = "") -> list[str]:
        """Run the program and return the differences that it reports.

        Args:
            rules: The rules of nftables.
        """
        return [
            line.removeprefix("difference\tkubelet\t").replace("\t", ": ")
            for line in self.report(rules)
            if line.startswith("difference")
        ]

    def report(self, rules: str = "", **variables: str) -> list[str]:
        """Run the program and return the lines that it prints.

        Args:
            rules: The rules of nftables.
            variables: Other values for variables of `node.env`.
        """
        self.program("sleep", "")
        (self.folder / "rules").write_text(rules)
        self.program("nft", f"cat {self.folder}/rules")
        program = (
            install(self.folder / "node", root=None, SERVICES=str(self.folder / "services"), **variables)
            / "verify-node"
        )
        result = subprocess.run(
            [program],
            env={**os.environ, "PATH": f"{self.programs}:{os.environ['PATH']}"},
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        lines = result.stdout.splitlines()
        digest = hashlib.sha256((self.state / "applied/manifest").read_bytes()).hexdigest()
        assert f"applied\tkubelet\t{digest}" in lines
        assert lines[-1] == "end"
        return lines


@pytest.fixture
def node(tmp_path: Path) -> Node:
    """A node without differences."""
    made = Node(tmp_path)
    made.create()
    return made


def test_unchanged_node_has_no_differences(node: Node) -> None:
    assert node.differences() == []


def test_changed_file_is_found(node: Node) -> None:
    node.file.write_text("kind: Something\n")
    assert node.differences() == [f"{node.file}: content differs"]


def test_transient_file_is_not_missing(node: Node) -> None:
    manifest = node.state / "applied/manifest"
    token = f"file\ttransient\t0600\t{OWNER}\t{'0' * 64}\t{node.folder / 'token'}\n"
    manifest.write_text(f"{manifest.read_text()}{token}")
    assert node.differences() == []


def test_missing_file_is_found(node: Node) -> None:
    node.file.unlink()
    assert node.differences() == [f"{node.file}: missing"]


def test_certificates_are_reported_without_their_keys(node: Node) -> None:
    node.file.write_text("private\n-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\nprivate\n")
    lines = [line for line in node.report() if line.startswith("certificate")]
    assert lines == [f"certificate\tkubelet\t{node.file}\t-----BEGIN CERTIFICATE-----|AAAA|-----END CERTIFICATE-----|"]


def test_changed_mode_is_found(node: Node) -> None:
    node.file.chmod(0o644)
    assert node.differences() == [f"{node.file}: mode is 0644, not 0600"]


def test_changed_owner_is_found(node: Node) -> None:
    manifest = node.state / "applied/manifest"
    manifest.write_text(manifest.read_text().replace(OWNER, "daemon:daemon"))
    assert node.differences() == [f"{node.file}: owner is {OWNER}, not daemon:daemon"]


def test_each_difference_of_a_file_is_found(node: Node) -> None:
    node.file.write_text("kind: Something\n")
    node.file.chmod(0o640)
    assert node.differences() == [f"{node.file}: content differs", f"{node.file}: mode is 0640, not 0600"]


def test_link_in_place_of_a_file_is_found(node: Node) -> None:
    node.file.rename(node.folder / "elsewhere")
    node.file.symlink_to(node.folder / "elsewhere")
    assert node.differences() == [f"{node.file}: is a symbolic link, not a file"]


def test_recently_enabled_unit_is_enabled(node: Node) -> None:
    node.unit("active", "enabled", remembered="disabled")
    assert node.differences() == []


def test_health_of_inactive_unit_is_not_checked(node: Node) -> None:
    node.unit("failed", "enabled")
    (node.state / "applied/health").write_text("false")
    assert node.differences() == ["kubelet.service: is failed, not active"]


@pytest.mark.parametrize("enabled", ["disabled", "masked", "enabled-runtime"])
def test_unit_not_started_at_boot_is_found(node: Node, enabled: str) -> None:
    node.unit("active", enabled)
    assert node.differences() == [f"kubelet.service: is {enabled}, not enabled"]


def test_unknown_unit_is_found(node: Node) -> None:
    node.unit("inactive", "")
    assert node.differences() == [
        "kubelet.service: is inactive, not active",
        "kubelet.service: is unknown, not enabled",
    ]


def test_unhealthy_service_is_reported_on_one_line(node: Node) -> None:
    (node.state / "applied/health").write_text("printf 'no CA\\nat all'; exit 1")
    assert node.differences() == [": is not healthy: no CA at all"]


def test_service_slow_once_is_healthy(node: Node) -> None:
    once = node.folder / "once"
    (node.state / "applied/health").write_text(f"[ -e {once} ] || {{ touch {once}; exit 1; }}")
    assert node.differences() == []


def test_missing_image_is_found(node: Node) -> None:
    node.program("ctr", "echo registry.k8s.io/pause:3.1")
    assert node.differences() == ["image registry.k8s.io/pause:3.10: missing"]


def test_unpinned_image_is_found(node: Node) -> None:
    node.program("ctr", "case $* in *pinned*) ;; *) echo registry.k8s.io/pause:3.10 ;; esac")
    assert node.differences() == ["image registry.k8s.io/pause:3.10: is not pinned, so that the kubelet may remove it"]


def test_image_being_imported_is_not_missing(node: Node) -> None:
    node.program("ctr", "")
    node.unit("active", "enabled", importing="start")
    assert node.differences() == []


def test_image_is_missing_after_a_failed_import(node: Node) -> None:
    node.program("ctr", "")
    node.unit("active", "enabled", importing="auto-restart")
    assert node.differences() == ["image registry.k8s.io/pause:3.10: missing"]


def test_interrupted_change_is_found(node: Node) -> None:
    (node.state / "before").mkdir()
    assert node.differences() == [": an interrupted change must be rolled back or finished"]


def test_rollback_without_restart_is_found(node: Node) -> None:
    (node.state / "unsettled").touch()
    assert node.differences() == [": an interrupted change must be rolled back or finished"]


def test_returned_service_is_found(node: Node) -> None:
    (node.state / "returned").touch()
    expected = "has returned to the version before, because its change was not confirmed in time"
    assert node.differences() == [f": {expected}"]


def test_committed_change_is_not_interrupted(node: Node) -> None:
    (node.state / "before").mkdir()
    (node.state / "before/committed").touch()
    assert node.differences() == []


def test_service_never_applied_is_ignored(node: Node) -> None:
    (node.folder / "services/etcd").mkdir()
    (node.folder / "services/etcd/lock").touch()
    assert node.differences() == []


@pytest.mark.parametrize(("answer", "expected"), [("echo '[{}]'", ["etcd\t[{}]"]), ("echo '[]'; false", [])])
def test_state_of_etcd_is_reported(node: Node, answer: str, expected: list[str]) -> None:
    (node.folder / "etcd.crt").touch()
    node.program("etcdctl", f"echo warning >&2; {answer}")
    lines = node.report(ETCDCTL=str(node.programs / "etcdctl"), ETCD_CONFIGURATION=str(node.folder))
    assert [line for line in lines if line.startswith("etcd")] == expected


def test_changed_object_of_the_cluster_is_found(node: Node) -> None:
    (node.state / "applied/drift").write_text(r"printf 'object Deployment coredns\tcontent differs\n'")
    assert node.differences() == ["object Deployment coredns: content differs"]


def test_firewall_of_others_is_found(node: Node) -> None:
    chain = "table inet filter {\n chain forward {\n  type filter hook forward priority 0; policy drop;\n }\n}"
    [difference] = node.differences(rules=chain)
    assert difference.startswith("difference: : chain forward of table inet filter: drops packets")
