"""Prepare and clean this machine."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace

import pytest

from host import prepare
from host.engine.stack import EXISTING_MACHINES
from host.libvirt.placement import VmPlacement
from host.libvirt.private import URI
from host.machine import packages, virtualenv
from host.workspace import Workspace
from lab.versions import default_kubernetes_version
from system import console
from system.errors import HostError
from toolchain import binaries, engine, vm_image


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """Return a prepared checkout."""
    workspace = Workspace(tmp_path)
    workspace.lab.mkdir()
    workspace.env.write_text(f"export PULUMI_BACKEND_URL={workspace.state.as_uri()}")
    return workspace


@pytest.fixture
def stacks(monkeypatch: pytest.MonkeyPatch) -> dict[str, set[str]]:
    """Return the deployed stacks with their locations, for the test to fill."""
    found: dict[str, set[str]] = {}
    monkeypatch.setattr(prepare, "deployed", lambda _: list(found))
    monkeypatch.setattr(prepare, "locations", lambda _, stack: found[stack])
    return found


@pytest.fixture
def actions(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the actions on the private libvirt."""
    done: list[str] = []
    monkeypatch.setattr(prepare, "hypervisor", lambda action, *_: done.append(action))
    return done


def on_a_machine_with_systemd(monkeypatch: pytest.MonkeyPatch, *, answers: bool) -> None:
    monkeypatch.setattr(prepare, "system_libvirt_answers", lambda: answers)
    monkeypatch.setattr(packages, "has_systemd", lambda: True)


@pytest.mark.parametrize("places", [{EXISTING_MACHINES}, {URI, EXISTING_MACHINES}, {"qemu+ssh://somewhere/system"}])
def test_clean_refuses_to_orphan_other_nodes(
    workspace: Workspace, stacks: dict[str, set[str]], actions: list[str], places: set[str]
) -> None:
    workspace.hypervisor.mkdir()
    stacks["mine"] = places
    with pytest.raises(HostError, match="hardway destroy --stack mine"):
        prepare.clean(workspace)
    assert workspace.env.exists()
    assert actions == []


def test_clean_deletes_the_private_libvirt_with_its_stacks(
    workspace: Workspace, stacks: dict[str, set[str]], actions: list[str]
) -> None:
    workspace.hypervisor.mkdir()
    stacks["dev"] = {URI}
    prepare.clean(workspace)
    assert not workspace.lab.exists()
    assert actions == ["purge"]


def test_clean_refuses_to_delete_vms_of_remote_states(
    workspace: Workspace, stacks: dict[str, set[str]], actions: list[str]
) -> None:
    workspace.hypervisor.mkdir()
    workspace.env.write_text("export PULUMI_BACKEND_URL=s3://elsewhere")
    stacks["dev"] = {URI}
    with pytest.raises(HostError, match="hardway destroy --stack dev"):
        prepare.clean(workspace)
    assert actions == []


@pytest.mark.parametrize("shares_passphrase", [True, False])
def test_clean_leaves_a_shared_stack_to_other_checkouts(
    workspace: Workspace, stacks: dict[str, set[str]], shares_passphrase: bool
) -> None:
    file = "/known/to/all" if shares_passphrase else workspace.passphrase
    text = f"export PULUMI_BACKEND_URL=s3://elsewhere PULUMI_CONFIG_PASSPHRASE_FILE={file}"
    workspace.env.write_text(text)
    stacks["dev"] = {URI}
    if shares_passphrase:
        prepare.clean(workspace)
        assert not workspace.lab.exists()
    else:
        with pytest.raises(HostError, match=r"encrypted with .*/passphrase\. Save that file elsewhere"):
            prepare.clean(workspace)


def test_clean_keeps_stacks_of_the_systems_libvirtd(workspace: Workspace, stacks: dict[str, set[str]]) -> None:
    stacks["dev"] = {URI}
    with pytest.raises(HostError, match="hardway destroy --stack dev"):
        prepare.clean(workspace)
    assert workspace.env.exists()


def test_a_private_libvirt_stays(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    on_a_machine_with_systemd(monkeypatch, answers=True)
    assert not prepare._is_private(workspace)
    workspace.hypervisor.mkdir()
    assert prepare._is_private(workspace)


def test_a_stack_stays_in_the_systems_libvirtd(
    workspace: Workspace, stacks: dict[str, set[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    on_a_machine_with_systemd(monkeypatch, answers=False)
    stacks["elsewhere"] = {EXISTING_MACHINES}
    assert prepare._is_private(workspace)
    stacks["dev"] = {URI}
    with pytest.raises(HostError, match="dev is in the system's libvirtd, which does not answer"):
        prepare._is_private(workspace)


def test_files_of_another_user_are_reported(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, *_: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(HostError, match=rf"{workspace.lab}/lock is not writable: .* another user's"):
        prepare.prepare_tools(workspace, pulumi_home=workspace.pulumi_home)


@pytest.mark.parametrize("where", VmPlacement)
def test_prepare_numbers_all_of_its_steps(
    where: VmPlacement,
    workspace: Workspace,
    actions: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    version = default_kubernetes_version()
    kubectl = SimpleNamespace(path=Path("/cache/kubectl"))
    monkeypatch.setenv(console.VERBOSITY_VARIABLE, "normal")
    for target, name, value in (
        (packages, "debian_release", 13),
        (packages, "install", []),
        (virtualenv, "ensure", False),
        (prepare, "placement", where),
        (prepare, "required_packages", {}),
        (engine, "install", Path("/cache/engine")),
        (binaries, "ensure", {("kubectl", version): kubectl}),
        (vm_image, "store_files", None),
        (vm_image, "ensure_vm_image", SimpleNamespace(kernel=None)),
        (prepare, "system_libvirt_answers", False),
        (packages, "has_systemd", False),
    ):
        monkeypatch.setattr(target, name, lambda *_, value=value, **__: value)
    prepare.prepare(workspace, "dev")
    numbers = re.findall(r"^==> \[(\d+)/(\d+)\]", capsys.readouterr().err, re.MULTILINE)
    assert numbers == [(str(number), str(prepare.STEPS)) for number in range(1, prepare.STEPS + 1)]
    assert actions == (["start"] if where is VmPlacement.THIS_MACHINE else [])
    virtualization = "qemu" if where is VmPlacement.THIS_MACHINE else "''"
    assert f"export HARDWAY_VIRTUALIZATION={virtualization}\n" in workspace.env.read_text()
