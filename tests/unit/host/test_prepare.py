"""Which hypervisor a checkout has, and that nothing is removed that is still needed to take a stack down."""

from __future__ import annotations

from pathlib import Path

import pytest

from host import prepare
from host.engine.stack import EXISTING
from host.libvirt.private import URI
from host.machine import packages
from host.workspace import Workspace
from system.errors import HostError


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """A checkout that was prepared."""
    workspace = Workspace(tmp_path)
    workspace.lab.mkdir()
    workspace.env.write_text(f"export PULUMI_BACKEND_URL={workspace.state.as_uri()}")
    return workspace


@pytest.fixture
def stacks(monkeypatch: pytest.MonkeyPatch) -> dict[str, set[str]]:
    """The stacks that are deployed, and what carries each."""
    standing: dict[str, set[str]] = {}
    monkeypatch.setattr(prepare, "deployed", lambda _: list(standing))
    monkeypatch.setattr(prepare, "carriers", lambda _, stack: standing[stack])
    return standing


@pytest.fixture
def as_root(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the private hypervisor was told."""
    told: list[str] = []
    monkeypatch.setattr(prepare, "_as_root", lambda action, *_: told.append(action))
    return told


def on_a_machine_with_systemd(monkeypatch: pytest.MonkeyPatch, *, answers: bool) -> None:
    monkeypatch.setattr(prepare, "system_libvirt_answers", lambda: answers)
    monkeypatch.setattr(packages, "has_systemd", lambda: True)


@pytest.mark.parametrize("carriers", [{EXISTING}, {URI, EXISTING}, {"qemu+ssh://somewhere/system"}])
def test_a_stack_that_is_not_all_in_the_private_hypervisor_keeps_its_state(
    workspace: Workspace, stacks: dict[str, set[str]], as_root: list[str], carriers: set[str]
) -> None:
    workspace.hypervisor.mkdir()
    stacks["mine"] = carriers
    with pytest.raises(HostError, match="make destroy STACK=mine"):
        prepare.clean(workspace)
    assert workspace.env.exists()
    assert as_root == []


def test_a_stack_in_the_private_hypervisor_goes_with_it(
    workspace: Workspace, stacks: dict[str, set[str]], as_root: list[str]
) -> None:
    workspace.hypervisor.mkdir()
    stacks["dev"] = {URI}
    prepare.clean(workspace)
    assert not workspace.lab.exists()
    assert as_root == ["purge"]


def test_a_stack_whose_state_is_elsewhere_is_not_taken_from_under_it(
    workspace: Workspace, stacks: dict[str, set[str]], as_root: list[str]
) -> None:
    workspace.hypervisor.mkdir()
    workspace.env.write_text("export PULUMI_BACKEND_URL=s3://elsewhere")
    stacks["dev"] = {URI}
    with pytest.raises(HostError, match="make destroy STACK=dev"):
        prepare.clean(workspace)
    assert as_root == []


def test_a_stack_in_the_systems_libvirtd_keeps_its_state(workspace: Workspace, stacks: dict[str, set[str]]) -> None:
    stacks["dev"] = {URI}
    with pytest.raises(HostError, match="make destroy STACK=dev"):
        prepare.clean(workspace)
    assert workspace.env.exists()


def test_a_private_hypervisor_stays_when_the_systems_begins_to_answer(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_a_machine_with_systemd(monkeypatch, answers=True)
    assert not prepare._is_private(workspace)
    workspace.hypervisor.mkdir()
    assert prepare._is_private(workspace)


def test_a_stack_in_the_systems_libvirtd_is_not_continued_in_a_private_one(
    workspace: Workspace, stacks: dict[str, set[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    on_a_machine_with_systemd(monkeypatch, answers=False)
    stacks["elsewhere"] = {EXISTING}
    assert prepare._is_private(workspace)
    stacks["dev"] = {URI}
    with pytest.raises(HostError, match="dev is in the system's libvirtd, which does not answer"):
        prepare._is_private(workspace)


def test_a_lab_of_another_user_is_said_to_be_one(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, *_: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(HostError, match=rf"{workspace.lab}/lock may not be written: .* another user's"):
        prepare.prepare_tools(workspace, pulumi_home=workspace.pulumi_home)
