"""The files to reach a lab: their modes, and the configuration that ssh reads from them."""

from __future__ import annotations

import stat
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from host.access import access_files
from host.access.access_files import AccessDetails
from host.workspace import Workspace
from lab.node.kubeconfig import embedded
from tests.support.certificates import pair

OUTPUTS: Mapping[str, Any] = {
    "kubeconfig": "apiVersion: v1\n",
    "sshKey": "a private key\n",
    "knownHosts": "10.240.0.20 ssh-ed25519 AAAA\n",
    "nodes": {"server": {"address": "10.240.0.10"}, "node-0": {"address": "10.240.0.20"}},
}
PAIR = pair("admin", organization="system:masters")


def kubeconfig_with(certificate: str, key: str) -> str:
    texts = {"authority": "an authority", "certificate": certificate, "key": key}
    return embedded(server="https://10.240.0.10:6443", user="admin", cluster="hardway", texts=texts)


SIGNED: dict[str, Any] = {**OUTPUTS, "kubeconfig": kubeconfig_with(*PAIR), "administrator": True}


def write(folder: Path, outputs: Mapping[str, Any] = OUTPUTS, in_lab: Path | None = None) -> None:
    access_files.write_ssh_files(folder, AccessDetails.from_dict(outputs), "python3", in_lab)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "my lab's checkout at 100%h" / "dev"


def effective(config: Path, host: str) -> dict[str, str]:
    """Return the configuration that ssh itself uses for a host."""
    output = subprocess.run(["ssh", "-G", "-F", str(config), host], check=True, capture_output=True, text=True).stdout
    return dict(line.split(" ", 1) for line in output.splitlines() if " " in line)


def test_only_the_owner_can_read_secrets(workspace: Workspace) -> None:
    for _ in range(2):
        access_files.write(workspace, "dev", AccessDetails.from_dict(OUTPUTS))
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in workspace.access("dev").iterdir()}
    assert modes == {"kubeconfig": 0o600, "ssh-key": 0o600, "known_hosts": 0o644, "ssh_config": 0o644}
    assert workspace.kubeconfig("dev").read_text() == "apiVersion: v1\n"


def test_kubeconfig_of_the_lab_holds_no_credentials(workspace: Workspace) -> None:
    access_files.write(workspace, "dev", AccessDetails.from_dict(SIGNED))
    kubeconfig = yaml.safe_load(workspace.kubeconfig("dev").read_text())
    embedded = yaml.safe_load(SIGNED["kubeconfig"])
    assert (kubeconfig["clusters"], kubeconfig["contexts"]) == (embedded["clusters"], embedded["contexts"])
    [user] = kubeconfig["users"]
    assert user["user"].keys() == {"exec"}
    assert user["user"]["exec"]["args"] == ["-P", "-m", "ops.access.credential", "--stack", "dev"]
    [user] = yaml.safe_load(workspace.super_admin_kubeconfig("dev").read_text())["users"]
    assert user["user"]["exec"]["args"][-1] == "--super-admin"
    assert workspace.admin_certificate("dev").read_text() == PAIR[0]
    assert not [path for path in workspace.access("dev").iterdir() if PAIR[1] in path.read_text()]


def test_given_kubeconfig_replaces_that_of_the_lab(workspace: Workspace) -> None:
    access_files.write(workspace, "dev", AccessDetails.from_dict(SIGNED))
    given = {"kubeconfig": SIGNED["kubeconfig"], "administrator": None}
    access_files.write(workspace, "dev", AccessDetails.from_dict(SIGNED | given))
    assert workspace.kubeconfig("dev").read_text() == given["kubeconfig"]
    assert not workspace.super_admin_kubeconfig("dev").exists()
    assert not workspace.admin_certificate("dev").exists()


def test_credential_of_an_earlier_authority_is_dropped(workspace: Workspace) -> None:
    access_files.write(workspace, "dev", AccessDetails.from_dict(SIGNED))
    credential = workspace.admin_credential("dev")
    credential.write_text("{}")
    access_files.write(workspace, "dev", AccessDetails.from_dict(SIGNED))
    assert credential.exists()
    access_files.write(workspace, "dev", AccessDetails.from_dict(SIGNED | {"kubeconfig": kubeconfig_with(*pair("b"))}))
    assert not credential.exists()


def test_snapshots_of_etcd_outlive_the_stack(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    folder, snapshots = workspace.access("dev"), workspace.etcd_snapshots("dev")
    write(folder)
    snapshots.mkdir()
    (snapshots / "one.db").write_text("keys")
    access_files.remove(workspace, "dev")
    assert [path for path in folder.rglob("*") if path.is_file()] == [snapshots / "one.db"]
    (snapshots / "one.db").unlink()
    access_files.remove(workspace, "dev")
    assert not folder.exists()


def test_without_an_administrator_there_is_no_kubeconfig(workspace: Workspace) -> None:
    access_files.write(workspace, "dev", AccessDetails.from_dict(SIGNED))
    outputs = {name: text for name, text in OUTPUTS.items() if name != "kubeconfig"}
    access_files.write(workspace, "dev", AccessDetails.from_dict(outputs))
    assert {path.name for path in workspace.access("dev").iterdir()} == {"ssh-key", "known_hosts", "ssh_config"}


@pytest.mark.parametrize(
    ("host", "address"), [("node-0", "10.240.0.20"), ("server", "10.240.0.10"), ("10.240.0.20", "10.240.0.20")]
)
def test_ssh_knows_a_node_by_name_and_address(folder: Path, host: str, address: str) -> None:
    write(folder)
    options = effective(folder / "ssh_config", host)
    assert options["hostname"] == address
    assert options["user"] == "root"
    assert options["stricthostkeychecking"] == "true"
    assert "proxycommand" not in options


def test_existing_machines_have_their_own_login(folder: Path) -> None:
    machine = {"address": "192.168.9.9", "user": "debian", "port": 2222}
    outputs = dict(OUTPUTS) | {"nodes": {"node-2": machine}, "machineKeys": {"node-2": "its key\n"}}
    write(folder, outputs)
    options = effective(folder / "ssh_config", "node-2")
    assert (options["hostname"], options["user"], options["port"]) == ("192.168.9.9", "debian", "2222")
    assert f'IdentityFile "{folder}/node-2.key"'.replace("%", "%%") in (folder / "ssh_config").read_text()
    assert (folder / "node-2.key").read_text() == "its key\n"
    assert stat.S_IMODE((folder / "node-2.key").stat().st_mode) == 0o600


def test_ssh_gives_up_on_a_silent_node(folder: Path) -> None:
    write(folder)
    options = effective(folder / "ssh_config", "node-0")
    assert int(options["serveraliveinterval"]) > 0
    assert int(options["serveralivecountmax"]) > 0
    assert options["connecttimeout"] != "none"


def test_connections_are_made_inside_a_private_network(folder: Path) -> None:
    write(folder, in_lab=Path("/my lab/in-lab"))
    options = effective(folder / "ssh_config", "node-0")
    assert options["proxyusefdpass"] == "yes"
    assert options["proxycommand"].startswith("'/my lab/in-lab' python3 ")


def test_files_of_a_stack_are_written_and_removed(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    folder = workspace.access("dev")
    access_files.write(workspace, "dev", AccessDetails.from_dict(OUTPUTS))
    assert "ProxyCommand" not in (folder / "ssh_config").read_text()
    workspace.hypervisor.mkdir()
    access_files.write(workspace, "dev", AccessDetails.from_dict(OUTPUTS))
    assert f"ProxyCommand {workspace.bin}/in-lab" in (folder / "ssh_config").read_text()
    for _ in range(2):
        access_files.remove(workspace, "dev")
        assert not folder.exists()


def test_snapshots_of_the_lab_stay(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    access_files.write(workspace, "dev", AccessDetails.from_dict(OUTPUTS))
    description = workspace.snapshots("dev") / "before/snapshot.json"
    description.parent.mkdir(parents=True)
    description.write_text("{}")
    access_files.remove(workspace, "dev")
    assert [path for path in workspace.access("dev").rglob("*") if path.is_file()] == [description]
