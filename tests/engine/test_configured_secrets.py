"""A configured secret in a real state: the engine exports it only encrypted."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from system.files import CHECKOUT
from tests.support.pulumi_project import Project

SECRET = "S3cret-4711"
PROGRAM = f"""\
import sys

sys.path.insert(0, {str(CHECKOUT)!r})
from components.preview import RestartAnnouncement
from components.service import NodeService, NodeServiceArgs
from lab.config.parse import parse
from lab.node.render import render

class Connection:
    def run(self, name, script, opts):
        return command.local.Command(name, create="cat >/dev/null", stdin=script.stdin, opts=opts)

class Pki:
    text = fingerprint = lambda self, credential: pulumi.Output.from_input(str(credential))

processor = {{"path": "/x", "env": ["PASSWORD=" + values["secret"]]}}
spec = parse({{"containerd": {{"stream_processors": {{"x": processor}}}}}}, ["containerd"])
[service] = [service for service in render(spec).nodes["node-0"].services if service.name == "containerd"]
args = NodeServiceArgs(
    node="node-0", service=service, connection=Connection(), pki=Pki(), timeout=1,
    digests={{artifact: "0" * 64 for artifact in service.artifacts}},
    fingerprint_key=pulumi.Output.secret("the key"), announcement=RestartAnnouncement(),
)
applied = NodeService("node-0-containerd", args, pulumi.ResourceOptions())
pulumi.export("digest", applied.manifest_digest)
"""


@pytest.fixture(scope="module")
def project(new_project: Callable[[str], Project]) -> Project:
    """A project with a program that applies containerd."""
    return new_project("configured-secrets")


def test_state_and_output_hold_no_secret(project: Project) -> None:
    project.write(PROGRAM, {"secret": SECRET})
    created = project.up()
    project.write(PROGRAM, {"secret": f"{SECRET}-new"})
    preview = project.preview("--diff")
    changed = project.up("--diff")
    assert preview.operations("node-0-containerd") == ["update", "update"]
    texts = [run.output + json.dumps(run.events) for run in (created, preview, changed)]
    texts += [path.read_text(errors="replace") for path in project.state.rglob("*") if path.is_file()]
    assert "containerd on node-0 will restart: config.toml" in preview.output
    assert not [text for text in [*texts, json.dumps(project.export())] if SECRET in text]
    assert project.outputs()["digest"].startswith("HMAC-SHA256:")
