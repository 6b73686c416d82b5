"""A hook of one resource refuses an update of the real engine before anything else changes."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from system.files import CHECKOUT
from tests.support.pulumi_project import Project

PROGRAM = f"""\
import sys

sys.path.insert(0, {str(CHECKOUT)!r})
from components.gate import Gate

async def refuse(args):
    raise pulumi.RunError("the rotation is out of order")

gate = Gate()
command.local.Command("machine", create=gate.hold(f"echo {{values['machine']}}"))
key = tls.PrivateKey("key", algorithm="ED25519")
hook = pulumi.ResourceHook("rotate", refuse, pulumi.ResourceHookOptions(on_dry_run=True))
options = pulumi.ResourceOptions(depends_on=[key], hooks=pulumi.ResourceHookBinding(before_update=[hook]))
pki = pulumi.ComponentResource("a:b:Pki", "pki", {{"key": values["key"]}}, options)
gate.open_after(pki)
"""


@pytest.fixture(scope="module")
def project(new_project: Callable[[str], Project]) -> Project:
    """A project that is up."""
    project = new_project("gate")
    project.write(PROGRAM, {"machine": "old", "key": "ca-1"})
    project.up()
    return project


@pytest.mark.parametrize("command", [("up", "--yes", "--skip-preview"), ("preview",)])
def test_nothing_changes_if_the_hook_refuses(project: Project, command: tuple[str, ...]) -> None:
    project.write(PROGRAM, {"machine": "new", "key": "ca-2"})
    run = project.run(*command)
    assert run.code != 0
    assert run.operations("machine") == []
    assert run.error("pki").endswith("the rotation is out of order\n"), run.output
    assert "Traceback" not in run.output


def test_held_inputs_change_without_a_refusal(project: Project) -> None:
    project.write(PROGRAM, {"machine": "new", "key": "ca-1"})
    assert project.preview().operations("machine") == ["update"]
