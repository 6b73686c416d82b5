"""The engine's document of a preview has what the impact of a change is read from, and the program refuses a change."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Callable
from typing import Any

import pytest

from lab.disruption import Disruption
from lab.node.service import File, Service
from ops.preview.impact import ChangeKind, NodeImpact, ServiceImpact, read_impact
from system.files import CHECKOUT
from tests.support.pulumi_project import Project
from tests.support.stacks import stack_spec

SECRET = "S3cret-4711"
PROGRAM = f"""\
import sys

sys.path.insert(0, {str(CHECKOUT)!r})
from components.preview import RestartAnnouncement
from lab.disruption import Disruption
from lab.node.service import Service

class Component(pulumi.ComponentResource):
    def __init__(self, type_, name, inputs, opts):
        super().__init__(type_, name, inputs, opts)
        self.register_outputs({{}})

limit = Disruption(values["limit"]) if values.get("limit") else None
announcement = RestartAnnouncement(limit)
for name in values["nodes"]:
    machine = Component("hardway:machine:Machine", name, None, None)
    options = pulumi.ResourceOptions(
        parent=machine, replacement_trigger=values.get("address", "a"), delete_before_replace=True,
        hooks=announcement.vm_hooks(f"{{name}}-domain", name),
    )
    # It stands for a VM: another algorithm replaces it.
    vm = tls.PrivateKey(f"{{name}}-domain", algorithm=values.get("memory", "ED25519"), opts=options)
    node = Component("hardway:node:Worker", name, None, None)
    inside = pulumi.ResourceOptions(parent=node)
    payload = pulumi.Output.secret({SECRET!r} + values["pods"])
    applied = command.local.Command(f"{{name}}-kubelet", create="cat >/dev/null", stdin=payload, opts=inside)
    kubelet = Service(name="kubelet", unit="kubelet.service", files={{}})
    hooks = announcement.hooks(f"{{name}}-kubelet", name, kubelet, drains=True)
    inputs = {{
        "files": {{"/etc/kubelet.yaml": values["pods"]}},
        "credentials": {{"/etc/kubelet.crt": vm.public_key_fingerprint_sha256}},
        "settings": {{"unit": "kubelet.service"}},
        "configHash": pulumi.Output.concat(values["pods"], vm.public_key_fingerprint_sha256),
    }}
    if values.get("kubelet", True):
        options = pulumi.ResourceOptions(parent=node, depends_on=[applied], hooks=hooks)
        Component("hardway:service:NodeService", f"{{name}}-kubelet", inputs, options)
"""
VALUES = {"nodes": ["node-0", "node-1"], "pods": "110"}
KUBELET = Service(name="kubelet", unit="kubelet.service", files={"/etc/kubelet.yaml": File(content="")})
SERVICES = {name: {"kubelet": KUBELET} for name in VALUES["nodes"]}


@pytest.fixture(scope="module")
def project(new_project: Callable[[str], Project]) -> Project:
    """A project with two nodes that are up."""
    project = new_project("impact")
    project.write(PROGRAM, VALUES)
    project.up()
    return project


def nodes_of(project: Project, **changes: Any) -> dict[str, NodeImpact]:
    """Return the impact of a change on each node."""
    project.write(PROGRAM, VALUES | changes)
    command = ["pulumi", "preview", "--json", "--non-interactive"]
    environment = os.environ | project.environment
    result = subprocess.run(command, cwd=project.folder, env=environment, capture_output=True, text=True, check=True)
    assert SECRET not in result.stdout
    impact = read_impact(json.loads(result.stdout), stack_spec("dev"), SERVICES)
    return {node.name: node for node in impact.nodes}


def restart(*causes: str) -> ServiceImpact:
    """Return a restart of the kubelet."""
    return ServiceImpact(name="kubelet", kind=ChangeKind.CHANGED, disruption=Disruption.RESTART, causes=causes)


def test_no_change_has_no_node(project: Project) -> None:
    assert nodes_of(project) == {}


def test_a_changed_file_restarts_its_service(project: Project) -> None:
    assert nodes_of(project, pods="50") == {
        name: NodeImpact(name=name, kind=ChangeKind.CHANGED, services=(restart("kubelet.yaml"),))
        for name in ("node-0", "node-1")
    }


@pytest.mark.parametrize(
    ("change", "causes"), [({"memory": "ECDSA"}, ("algorithm",)), ({"address": "b"}, ("address",))]
)
def test_a_replaced_vm_is_a_recreated_node(project: Project, change: dict[str, str], causes: tuple[str, ...]) -> None:
    [node, _] = nodes_of(project, **change).values()
    # The certificate is unknown, so the hash is.
    assert node == NodeImpact(
        name="node-0", kind=ChangeKind.RECREATED, causes=causes, services=(restart("kubelet.crt"),)
    )


def test_nodes_are_added_and_removed(project: Project) -> None:
    nodes = nodes_of(project, nodes=["node-0", "node-2"])
    assert nodes == {
        "node-1": NodeImpact(name="node-1", kind=ChangeKind.REMOVED),
        "node-2": NodeImpact(name="node-2", kind=ChangeKind.ADDED),
    }


def test_a_removed_service_stops(project: Project) -> None:
    removed = ServiceImpact(name="kubelet", kind=ChangeKind.REMOVED, disruption=Disruption.RESTART)
    nodes = nodes_of(project, kubelet=False)
    assert nodes["node-0"].services == nodes["node-1"].services == (removed,)


@pytest.mark.parametrize(
    ("change", "refusal"),
    [
        ({"pods": "50", "limit": "reload"}, "kubelet on node-. will restart: kubelet.yaml"),
        ({"memory": "ECDSA", "limit": "reboot"}, "the VM of node-. will be recreated"),
    ],
)
def test_a_program_with_a_limit_fails_in_its_preview(project: Project, change: dict[str, str], refusal: str) -> None:
    project.write(PROGRAM, VALUES | change)
    preview = project.run("preview")
    assert preview.code != 0
    # The engine stops at the first node that it finds.
    assert re.search(f"hardway:maxDisruption allows at most {change['limit']}, but {refusal}", preview.output)
    assert project.run("up", "--yes").code != 0
    project.write(PROGRAM, VALUES)
    assert project.preview().steps == []


def test_a_program_within_its_limit_succeeds(project: Project) -> None:
    project.write(PROGRAM, VALUES | {"pods": "50", "limit": "restart"})
    assert "kubelet on node-1 will restart: kubelet.yaml" in project.preview().output


def test_the_rest_of_a_targeted_change_is_still_announced(project: Project) -> None:
    project.write(PROGRAM, VALUES)
    project.up()
    project.write(PROGRAM, VALUES | {"pods": "50"})
    applied = project.up("--target", "**::node-0-kubelet")
    assert applied.steps == [("update", "node-0-kubelet")] * 2
    project.run("refresh", "--yes", "--skip-preview")
    preview = project.preview()
    assert preview.steps == [("update", "node-1-kubelet")] * 2
    assert "kubelet on node-1 will restart: kubelet.yaml" in preview.output
    assert "kubelet on node-0" not in preview.output
