"""The hosts of existing and of new VMs, with a recorded state."""

from collections.abc import Mapping

import pulumi
import pytest

from components import vm_hosts
from components.vm_hosts import with_hosts
from lab.spec import Spec
from tests.support.program_stack import changed, on_hosts

PLACES = {"server": "a", "node-0": "a", "node-1": "b"}


@pytest.fixture
def messages(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The messages of a preview."""
    found: list[str] = []
    monkeypatch.setattr(pulumi.runtime, "is_dry_run", lambda: True)
    monkeypatch.setattr(pulumi.log, "info", found.append)
    return found


def record(monkeypatch: pytest.MonkeyPatch, providers: Mapping[str, str]) -> None:
    monkeypatch.setattr(vm_hosts, "provider_names", lambda _: providers)


def places(spec: Spec) -> dict[str, str | None]:
    return {node.name: node.host for node in with_hosts(spec).nodes}


def test_preview_reports_the_hosts_of_new_vms(monkeypatch: pytest.MonkeyPatch, messages: list[str]) -> None:
    record(monkeypatch, {"server": "hardway-hypervisor-b-libvirt", "node-0": "hardway-hypervisor-b-libvirt"})
    assert places(changed(on_hosts({}))) == {"server": "b", "node-0": "b", "node-1": "a"}
    assert messages == ["the VM of node-1 will be created on host a (qemu+ssh://root@a.example/system)"]


def test_state_is_not_read_if_every_node_has_a_host(monkeypatch: pytest.MonkeyPatch, messages: list[str]) -> None:
    monkeypatch.setattr(vm_hosts, "provider_names", lambda _: pytest.fail("the state was read"))
    assert places(changed(on_hosts(PLACES))) == PLACES
    assert places(changed()) == {"server": "", "node-0": "", "node-1": ""}
    assert messages == []


def test_vm_of_another_provider_is_new(monkeypatch: pytest.MonkeyPatch, messages: list[str]) -> None:
    record(monkeypatch, dict.fromkeys(("server", "node-0", "node-1"), "hardway-hypervisor-libvirt"))
    assert set(places(changed(on_hosts({}))).values()) == {"a", "b", "c"}
    assert len(messages) == 3
