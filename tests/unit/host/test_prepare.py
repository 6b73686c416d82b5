"""Which hypervisor a checkout has, and that nothing is removed that is still needed to take a stack down."""

from __future__ import annotations

from pathlib import Path

import pytest

from host import prepare
from host.engine.stack import EXISTING
from host.libvirt.private import URI
from host.machine import packages
from host.workspace import Layout
from system.errors import HostError


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """A checkout that was prepared."""
    layout = Layout(tmp_path)
    layout.lab.mkdir()
    layout.env.write_text(f"export PULUMI_BACKEND_URL={layout.state.as_uri()}")
    return layout


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
    layout: Layout, stacks: dict[str, set[str]], as_root: list[str], carriers: set[str]
) -> None:
    layout.hypervisor.mkdir()
    stacks["mine"] = carriers
    with pytest.raises(HostError, match="make destroy STACK=mine"):
        prepare.clean(layout)
    assert layout.env.exists()
    assert as_root == []


def test_a_stack_in_the_private_hypervisor_goes_with_it(
    layout: Layout, stacks: dict[str, set[str]], as_root: list[str]
) -> None:
    layout.hypervisor.mkdir()
    stacks["dev"] = {URI}
    prepare.clean(layout)
    assert not layout.lab.exists()
    assert as_root == ["purge"]


def test_a_stack_whose_state_is_elsewhere_is_not_taken_from_under_it(
    layout: Layout, stacks: dict[str, set[str]], as_root: list[str]
) -> None:
    layout.hypervisor.mkdir()
    layout.env.write_text("export PULUMI_BACKEND_URL=s3://elsewhere")
    stacks["dev"] = {URI}
    with pytest.raises(HostError, match="make destroy STACK=dev"):
        prepare.clean(layout)
    assert as_root == []


def test_a_stack_in_the_systems_libvirtd_keeps_its_state(layout: Layout, stacks: dict[str, set[str]]) -> None:
    stacks["dev"] = {URI}
    with pytest.raises(HostError, match="make destroy STACK=dev"):
        prepare.clean(layout)
    assert layout.env.exists()


def test_a_private_hypervisor_stays_when_the_systems_begins_to_answer(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_a_machine_with_systemd(monkeypatch, answers=True)
    assert not prepare._is_private(layout)
    layout.hypervisor.mkdir()
    assert prepare._is_private(layout)


def test_a_stack_in_the_systems_libvirtd_is_not_continued_in_a_private_one(
    layout: Layout, stacks: dict[str, set[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    on_a_machine_with_systemd(monkeypatch, answers=False)
    stacks["elsewhere"] = {EXISTING}
    assert prepare._is_private(layout)
    stacks["dev"] = {URI}
    with pytest.raises(HostError, match="dev is in the system's libvirtd, which does not answer"):
        prepare._is_private(layout)


def test_a_lab_of_another_user_is_said_to_be_one(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, *_: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(HostError, match=rf"{layout.lab}/lock may not be written: .* another user's"):
        prepare.prepare_tools(layout, pulumi_home=layout.pulumi_home)
