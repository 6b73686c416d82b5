"""A change that fails is rolled back as a whole by the real engine: nodes and state agree, and a preview is true."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from host import environment
from host.engine.history import last_successful, record_revert, updates
from host.engine.rollback import ROLLBACK_VARIABLE
from host.engine.stack import Stack
from host.workspace import Workspace
from system.errors import HostError

# Each node is a file with its version. A node refuses the version `bad`, and keeps its own.
PROGRAM = f"""\
import os
import pulumi
import pulumi_command as command

values = pulumi.Config("hardway")
if previous := os.environ.get({ROLLBACK_VARIABLE!r}):
    assert "secure" in open(previous).read()
after = []
for node in ("node-0", "node-1"):
    after = [command.local.Command(
        f"{{node}}-kubelet",
        create="test $VERSION != bad && cat >$NODE && echo $VERSION $LARGE >>$NODE",
        environment={{"NODE": node, "VERSION": values.require(node), "LARGE": str(values.require_object("large")[0])}},
        stdin=values.require_secret("secret"),
        opts=pulumi.ResourceOptions(depends_on=after),
    )]
for name in ("apiEndpoint", "certificateAuthority", "sshKey", "knownHosts"):
    pulumi.export(name, "")
for name in ("nodes", "services"):
    pulumi.export(name, {{}})
"""
LARGE = 2**53 + 1
"""A number that floating point cannot hold."""
GOOD = {"node-0": f"S3cret v1 {LARGE}", "node-1": f"S3cret v1 {LARGE}"}


@pytest.fixture(scope="module")
def workspace(engine: Path, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A prepared checkout with two nodes that are up. Each test leaves them so."""
    workspace = Workspace(tmp_path_factory.mktemp("checkout"))
    runtime = {"name": "python", "options": {"virtualenv": sys.prefix}}
    (workspace.checkout / "Pulumi.yaml").write_text(json.dumps({"name": "hardway", "runtime": runtime}))
    (workspace.checkout / "__main__.py").write_text(PROGRAM)
    workspace.state.mkdir(parents=True)
    environment.write(workspace, environment.render(workspace, "dev", "qemu"), {"pulumi": engine}, False)
    workspace.stack_file("dev").write_text("config: {}\n")
    configure(workspace, {"node-0": "v1", "node-1": "v1", "onFailure": "rollback", "large": [LARGE]})
    stack = Stack(workspace, "dev")
    stack.select()
    pulumi(stack, "config", "set", "--secret", "hardway:secret", "S3cret ")
    stack.up()
    assert nodes(workspace) == GOOD
    return workspace


def configure(workspace: Workspace, values: Mapping[str, Any]) -> None:
    """Set values in the stack file."""
    file = workspace.stack_file("dev")
    document = yaml.safe_load(file.read_text())
    document["config"] |= {f"hardway:{name}": value for name, value in values.items()}
    file.write_text(yaml.safe_dump(document))


def nodes(workspace: Workspace) -> dict[str, str]:
    """Return the content of each node."""
    return {path.name: path.read_text().strip() for path in workspace.checkout.glob("node-*")}


def pulumi(stack: Stack, *words: str) -> str:
    """Return the output of the engine for the stack."""
    return stack._commands.output("pulumi", *words, "--stack", stack.name, "--non-interactive")


def planned(stack: Stack) -> dict[str, str]:
    """Return the names of the resources that a preview changes, with the operations."""
    steps = json.loads(pulumi(stack, "preview", "--json"))["steps"]
    return {step["urn"].rpartition("::")[2]: step["op"] for step in steps if step["op"] != "same"}


CHANGE = {"node-0-kubelet": "update", "node-1-kubelet": "update"}


def test_failed_change_is_rolled_back_and_shown_again(workspace: Workspace) -> None:
    stack, file = Stack(workspace, "dev"), workspace.stack_file("dev").read_text()
    configure(workspace, {"node-0": "v2", "node-1": "bad"})
    expected = r"^node-1-kubelet failed: .*Everything was rolled back: the lab has the configuration of .* again\."
    with pytest.raises(HostError, match=expected):
        stack.up()
    assert nodes(workspace) == GOOD
    assert planned(stack) == CHANGE
    workspace.stack_file("dev").write_text(file)
    assert planned(stack) == {}


def test_plain_update_is_rolled_back_by_a_command(workspace: Workspace) -> None:
    stack, file = Stack(workspace, "dev"), workspace.stack_file("dev").read_text()
    configure(workspace, {"node-0": "v2", "node-1": "bad"})
    with pytest.raises(HostError):
        pulumi(stack, "up", "--yes", "--skip-preview")
    assert nodes(workspace) == {**GOOD, "node-0": f"S3cret v2 {LARGE}"}
    stack.roll_back()
    assert nodes(workspace) == GOOD
    workspace.stack_file("dev").write_text(file)
    assert planned(stack) == {}


def test_rollback_after_a_revert_drops_later_updates(workspace: Workspace) -> None:
    stack, file = Stack(workspace, "dev"), workspace.stack_file("dev").read_text()
    before = last_successful(updates(workspace, "dev"))
    assert before
    configure(workspace, {"node-0": "v2", "node-1": "v2"})
    stack.up()
    record_revert(workspace, "dev", before.name)
    stack.roll_back()
    assert nodes(workspace) == GOOD
    workspace.stack_file("dev").write_text(file)
    assert planned(stack) == {}
