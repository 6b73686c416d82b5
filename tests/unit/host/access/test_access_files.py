"""What reaching the cluster and its nodes takes: who may read it, and how ssh is told."""

from __future__ import annotations

import stat
import subprocess
from pathlib import Path

import pytest

from host.access import access_files
from host.workspace import Workspace

OUTPUTS = {
    "kubeconfig": "apiVersion: v1\n",
    "sshKey": "a private key\n",
    "knownHosts": "10.240.0.20 ssh-ed25519 AAAA\n",
    "nodes": {"server": {"address": "10.240.0.10"}, "node-0": {"address": "10.240.0.20"}},
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "my lab's checkout at 100%h" / "dev"


def effective(config: Path, host: str) -> dict[str, str]:
    """What ssh itself makes of the configuration for this host."""
    output = subprocess.run(["ssh", "-G", "-F", str(config), host], check=True, capture_output=True, text=True).stdout
    return dict(line.split(" ", 1) for line in output.splitlines() if " " in line)


def test_secrets_are_for_their_owner_alone(folder: Path) -> None:
    for _ in range(2):
        access_files.write_into(folder, OUTPUTS, "python3", None)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
    assert modes == {"kubeconfig": 0o600, "ssh-key": 0o600, "known_hosts": 0o644, "ssh_config": 0o644}
    assert (folder / "kubeconfig").read_text() == "apiVersion: v1\n"


def test_a_lab_without_an_administrator_has_no_kubeconfig(folder: Path) -> None:
    access_files.write_into(folder, OUTPUTS, "python3", None)
    access_files.write_into(
        folder, {name: text for name, text in OUTPUTS.items() if name != "kubeconfig"}, "python3", None
    )
    assert {path.name for path in folder.iterdir()} == {"ssh-key", "known_hosts", "ssh_config"}


@pytest.mark.parametrize(
    ("host", "address"), [("node-0", "10.240.0.20"), ("server", "10.240.0.10"), ("10.240.0.20", "10.240.0.20")]
)
def test_ssh_finds_a_node_by_name_and_by_address(folder: Path, host: str, address: str) -> None:
    access_files.write_into(folder, OUTPUTS, "python3", None)
    told = effective(folder / "ssh_config", host)
    assert told["hostname"] == address
    assert told["user"] == "root"
    assert told["stricthostkeychecking"] == "true"
    assert "proxycommand" not in told


def test_a_machine_of_somebody_elses_is_logged_in_to_in_its_own_way(folder: Path) -> None:
    machine = {"address": "192.168.9.9", "user": "debian", "port": 2222}
    outputs = OUTPUTS | {"nodes": {"node-2": machine}, "machineKeys": {"node-2": "its key\n"}}
    access_files.write_into(folder, outputs, "python3", None)
    told = effective(folder / "ssh_config", "node-2")
    assert (told["hostname"], told["user"], told["port"]) == ("192.168.9.9", "debian", "2222")
    assert f'IdentityFile "{folder}/node-2.key"'.replace("%", "%%") in (folder / "ssh_config").read_text()
    assert (folder / "node-2.key").read_text() == "its key\n"
    assert stat.S_IMODE((folder / "node-2.key").stat().st_mode) == 0o600


def test_a_node_that_falls_silent_is_not_waited_for_for_ever(folder: Path) -> None:
    access_files.write_into(folder, OUTPUTS, "python3", None)
    told = effective(folder / "ssh_config", "node-0")
    assert int(told["serveraliveinterval"]) > 0
    assert int(told["serveralivecountmax"]) > 0
    assert told["connecttimeout"] != "none"


def test_a_node_in_a_private_network_is_connected_to_from_inside(folder: Path) -> None:
    access_files.write_into(folder, OUTPUTS, "python3", Path("/my lab/in-lab"))
    told = effective(folder / "ssh_config", "node-0")
    assert told["proxyusefdpass"] == "yes"
    assert told["proxycommand"].startswith("'/my lab/in-lab' python3 ")


def test_the_program_itself_writes_and_removes_them(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    folder = workspace.access("dev")
    access_files.write(workspace, "dev", OUTPUTS)
    assert "ProxyCommand" not in (folder / "ssh_config").read_text()
    workspace.hypervisor.mkdir()
    access_files.write(workspace, "dev", OUTPUTS)
    assert f"ProxyCommand {workspace.bin}/in-lab" in (folder / "ssh_config").read_text()
    for _ in range(2):
        access_files.remove(workspace, "dev")
        assert not folder.exists()
