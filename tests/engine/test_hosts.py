"""The engine with several libvirt providers, one of which leads to a host that does not answer. No libvirtd runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from host.engine.recorded_hosts import provider_names
from tests.support.pulumi_project import Project

LOST = "qemu+ssh://nobody@127.0.0.1:1/system"
POOL = "libvirt:index/pool:Pool"
EXCLUDED = ("--exclude", "**::*-hypervisor-b-*", "--exclude", "**::node-1-*")

PROGRAM = f"""
import subprocess

options = pulumi.ResourceOptions()
if values["pool"]:
    provider = libvirt.Provider("lab-hypervisor-b-libvirt", uri="{LOST}")
    pool = libvirt.Pool("lab-hypervisor-b-pool", name="lab", type="dir", opts=pulumi.ResourceOptions(provider=provider))
    options = pulumi.ResourceOptions(depends_on=[pool])
for node, its in (("node-0", None), ("node-1", options)):
    command.local.Command(f"{{node}}-kubelet", create="echo " + values["text"], delete="true", opts=its)
exported = subprocess.run(["pulumi", "stack", "export", "--stack", "organization/test/dev"], capture_output=True)
pulumi.export("resources", len(json.loads(exported.stdout)["deployment"].get("resources") or []))
"""

MOVING = """
providers = [command.Provider(name) for name in ("a", "b")]
command.local.Command("disk", create="true", delete="true", triggers=[values["pool"]],
    opts=pulumi.ResourceOptions(provider=providers[values["host"]], delete_before_replace=True))
"""


def state_with_pool(project: Project) -> dict[str, Any]:
    """Return the state of a lab with a pool on a host that does not answer any more."""
    project.write(PROGRAM.replace("    pool = ", "    pool = provider #"), {"pool": True, "text": "old"})
    project.up()
    state = project.export()
    resources = state["deployment"]["resources"]
    [provider] = [each for each in resources if each["type"] == "pulumi:providers:libvirt"]
    [stack] = [each for each in resources if each["type"] == "pulumi:pulumi:Stack"]
    urn = f"urn:pulumi:dev::test::{POOL}::lab-hypervisor-b-pool"
    inputs = {"__defaults": [], "name": "lab", "type": "dir"}
    pool = {
        "urn": urn,
        "custom": True,
        "id": "00000000-0000-0000-0000-000000000001",
        "type": POOL,
        "inputs": inputs,
        "outputs": inputs | {"id": "00000000-0000-0000-0000-000000000001"},
        "parent": stack["urn"],
        "provider": f"{provider['urn']}::{provider['id']}",
    }
    resources.insert(resources.index(provider) + 1, pool)
    for each in resources:
        if each["urn"].endswith("node-1-kubelet"):
            each["dependencies"] = [urn]
    return state


@pytest.fixture(scope="module")
def lost(new_project: Callable[[str], Project]) -> tuple[Project, dict[str, Any]]:
    """A project, and its state with the lost host."""
    project = new_project("lost")
    return project, state_with_pool(project)


@pytest.fixture
def project(lost: tuple[Project, dict[str, Any]]) -> Project:
    project, state = lost
    project.import_state(state)
    project.write(PROGRAM, {"pool": True, "text": "new"})
    return project


@pytest.fixture
def moving(new_project: Callable[[str], Project], request: pytest.FixtureRequest) -> Project:
    """A project with a resource of the first of two providers."""
    project = new_project(request.node.name)
    project.write(MOVING, {"host": 0, "pool": "a"})
    project.up()
    return project


def names(project: Project) -> set[str]:
    """Return the names of the resources in the state."""
    return {each["urn"].rpartition("::")[2] for each in project.export()["deployment"].get("resources", [])}


def test_other_hosts_change_without_the_lost_one(project: Project) -> None:
    assert "lab-hypervisor-b" in project.up(fails=True).output
    # That run may already have changed node-0.
    project.write(PROGRAM, {"pool": True, "text": "newer"})
    assert project.up(*EXCLUDED).steps == [("update", "node-0-kubelet")]
    # The program read the state while the engine worked on it.
    assert project.outputs()["resources"] >= 4


def test_destroy_continues_on_the_other_hosts(project: Project) -> None:
    run = project.run("destroy", "--yes", "--skip-preview", "--continue-on-error")
    assert run.code != 0
    assert names(project) & {"node-0-kubelet", "node-1-kubelet", "lab-hypervisor-b-pool"} == {"lab-hypervisor-b-pool"}


def test_lost_host_is_written_off(project: Project) -> None:
    resources = project.export()["deployment"]["resources"]
    [urn] = [each["urn"] for each in resources if each["type"] == "pulumi:providers:libvirt"]
    project.call("state", "delete", "--yes", "--target-dependents", urn)
    assert {"lab-hypervisor-b-pool", "lab-hypervisor-b-libvirt", "node-1-kubelet"} & names(project) == set()
    project.write(PROGRAM, {"pool": False, "text": "new"})
    assert sorted(project.up().steps) == [("create", "node-1-kubelet"), ("update", "node-0-kubelet")]


def test_provider_alone_replaces_nothing(moving: Project) -> None:
    # So the pools of hosts have different names: see components.hypervisor.
    moving.write(MOVING, {"host": 1, "pool": "a"})
    assert moving.up().steps == []


def test_old_provider_deletes_a_replaced_resource(moving: Project) -> None:
    moving.write(MOVING, {"host": 1, "pool": "b"})
    events = [event.get("resourcePreEvent", {}).get("metadata", {}) for event in moving.up().events]
    providers = {
        each["op"]: each["provider"].split("::")[-2] for each in events if each.get("urn", "").endswith("disk")
    }
    assert (providers["delete-replaced"], providers["create-replacement"]) == ("a", "b")


def test_state_names_the_provider_of_each_vm(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in project.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(project.folder)
    assert provider_names("organization/test/dev") == {}
