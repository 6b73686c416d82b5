"""What a node finds of itself: the program of `assets/node` itself, over a folder that stands for the node's state."""

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
    """A node with one service, `kubelet`: a file, an image and a unit, all as they were applied."""

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

    def make(self) -> None:
        """Makes the node."""
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
        """Puts a program in place of one of the node's."""
        self.programs.mkdir(exist_ok=True)
        (self.programs / name).write_text(f"#!/bin/sh\n{body}\n")
        (self.programs / name).chmod(0o755)

    def unit(self, active: str, enabled: str, remembered: str = "", importing: str = "dead") -> None:
        """Has systemd say this of the unit; `remembered` is what it goes on saying of whether it is enabled.

        importing: what it says of the unit that brings the images in.
        """
        said = f"Id=kubelet.service\\nActiveState={active}\\nUnitFileState={remembered or enabled}\\n"
        self.program(
            "systemctl",
            f"case $* in *SubState*) echo {importing} ;; show*) printf '{said}' ;; is-enabled*) echo {enabled} ;; esac",
        )

    def differences(self) -> list[str]:
        """What the program finds."""
        self.program("sleep", "")
        program = install(self.folder / "node", SERVICES=str(self.folder / "services")) / "verify-node"
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
        return [
            line.removeprefix("difference\tkubelet\t").replace("\t", ": ")
            for line in lines
            if line.startswith("difference")
        ]


@pytest.fixture
def node(tmp_path: Path) -> Node:
    """A node where nothing differs."""
    made = Node(tmp_path)
    made.make()
    return made


def test_nothing_differs_where_all_is_as_it_was_applied(node: Node) -> None:
    assert node.differences() == []


def test_a_changed_file_is_found(node: Node) -> None:
    node.file.write_text("kind: Something\n")
    assert node.differences() == [f"{node.file}: content differs"]


def test_what_is_there_only_for_a_start_is_not_missed(node: Node) -> None:
    manifest = node.state / "applied/manifest"
    token = f"file\ttransient\t0600\t{OWNER}\t{'0' * 64}\t{node.folder / 'token'}\n"
    manifest.write_text(f"{manifest.read_text()}{token}")
    assert node.differences() == []


def test_a_missing_file_is_found(node: Node) -> None:
    node.file.unlink()
    assert node.differences() == [f"{node.file}: missing"]


def test_a_changed_mode_is_found(node: Node) -> None:
    node.file.chmod(0o644)
    assert node.differences() == [f"{node.file}: mode is 0644, not 0600"]


def test_a_changed_owner_is_found(node: Node) -> None:
    manifest = node.state / "applied/manifest"
    manifest.write_text(manifest.read_text().replace(OWNER, "daemon:daemon"))
    assert node.differences() == [f"{node.file}: owner is {OWNER}, not daemon:daemon"]


def test_each_difference_of_a_file_is_found(node: Node) -> None:
    node.file.write_text("kind: Something\n")
    node.file.chmod(0o640)
    assert node.differences() == [f"{node.file}: content differs", f"{node.file}: mode is 0640, not 0600"]


def test_a_link_in_place_of_a_file_is_found(node: Node) -> None:
    node.file.rename(node.folder / "elsewhere")
    node.file.symlink_to(node.folder / "elsewhere")
    assert node.differences() == [f"{node.file}: is a symbolic link, not a file"]


def test_a_unit_that_was_enabled_since_systemd_looked_is_enabled(node: Node) -> None:
    node.unit("active", "enabled", remembered="disabled")
    assert node.differences() == []


def test_a_unit_that_does_not_run_is_found_and_not_asked_for_its_health(node: Node) -> None:
    node.unit("failed", "enabled")
    (node.state / "applied/health").write_text("false")
    assert node.differences() == ["kubelet.service: is failed, not active"]


@pytest.mark.parametrize("enabled", ["disabled", "masked", "enabled-runtime"])
def test_a_unit_that_would_not_run_after_a_reboot_is_found(node: Node, enabled: str) -> None:
    node.unit("active", enabled)
    assert node.differences() == [f"kubelet.service: is {enabled}, not enabled"]


def test_a_unit_that_systemd_does_not_know_is_found(node: Node) -> None:
    node.unit("inactive", "")
    assert node.differences() == [
        "kubelet.service: is inactive, not active",
        "kubelet.service: is unknown, not enabled",
    ]


def test_an_unhealthy_service_is_found_with_its_reason_on_one_line(node: Node) -> None:
    (node.state / "applied/health").write_text("printf 'no CA\\nat all'; exit 1")
    assert node.differences() == [": is not healthy: no CA at all"]


def test_a_service_that_is_late_once_is_healthy(node: Node) -> None:
    once = node.folder / "once"
    (node.state / "applied/health").write_text(f"[ -e {once} ] || {{ touch {once}; exit 1; }}")
    assert node.differences() == []


def test_a_missing_image_is_found(node: Node) -> None:
    node.program("ctr", "echo registry.k8s.io/pause:3.1")
    assert node.differences() == ["image registry.k8s.io/pause:3.10: missing"]


def test_an_image_that_is_being_brought_in_is_not_missing(node: Node) -> None:
    node.program("ctr", "")
    node.unit("active", "enabled", importing="start")
    assert node.differences() == []


def test_an_image_that_could_not_be_brought_in_is_missing_while_that_waits_to_be_tried_again(node: Node) -> None:
    node.program("ctr", "")
    node.unit("active", "enabled", importing="auto-restart")
    assert node.differences() == ["image registry.k8s.io/pause:3.10: missing"]


def test_an_interrupted_change_is_found(node: Node) -> None:
    (node.state / "before").mkdir()
    assert node.differences() == [": an interrupted change must be rolled back or finished"]


def test_a_change_that_was_undone_without_a_restart_since_is_found(node: Node) -> None:
    (node.state / "unsettled").touch()
    assert node.differences() == [": an interrupted change must be rolled back or finished"]


def test_a_change_that_was_interrupted_after_its_end_is_none(node: Node) -> None:
    (node.state / "before").mkdir()
    (node.state / "before/committed").touch()
    assert node.differences() == []


def test_a_service_that_was_never_applied_is_not_there(node: Node) -> None:
    (node.folder / "services/etcd").mkdir()
    (node.folder / "services/etcd/lock").touch()
    assert node.differences() == []
