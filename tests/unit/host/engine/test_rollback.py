"""A change that fails is rolled back as a whole, with a fake engine."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from host import environment
from host.engine.history import last_successful, record_revert, updates
from host.engine.rollback import Attempt, changed_files, read_events
from host.engine.stack import Stack
from host.workspace import Workspace
from lab.outputs import StackOutputs
from system.errors import HostError

OUTPUTS = {
    "apiEndpoint": "",
    "certificateAuthority": "",
    "services": {},
    "sshKey": "",
    "knownHosts": "",
    "nodes": {},
}
# The first update ends with `attempt`, and leaves its events and its record. The next one ends with `rollback`.
ENGINE = f"""\
#!/bin/sh
case "$*" in
    *stack\\ output*) echo '{json.dumps(OUTPUTS)}' ;;
    config\\ get*) sed -n 's/.*hardway:onFailure: //p' Pulumi.dev.yaml ;;
    up*)
        echo "$HARDWAY_ROLLBACK: $*" >>calls
        if [ -e begun ]; then exit $(cat rollback); fi
        touch begun
        log=${{*##*--event-log }}
        if [ "$log" != "$*" ]; then cp events "$log"; fi
        if [ -e record ]; then cp record .lab/state/.pulumi/history/hardway/dev/dev-3.history.json; fi
        if [ -e interrupted ]; then kill -INT $PPID; fi
        exit $(cat attempt)
        ;;
esac
"""


def urn(name: str) -> str:
    return f"urn:pulumi:dev::hardway::hardway:lab:Lab$command:remote:Command::{name}"


def step(kind: str, name: str, operation: str = "update") -> dict[str, Any]:
    return {kind: {"metadata": {"op": operation, "urn": urn(name)}}}


def error(name: str) -> dict[str, Any]:
    return {"diagnosticEvent": {"severity": "error", "urn": urn(name), "message": "no"}}


CHANGED = [step("resourcePreEvent", "node-0-kubelet"), step("resOutputsEvent", "node-0-kubelet")]
FAILED = [
    step("resourcePreEvent", "node-1-kubelet"),
    error("node-1-kubelet"),
    step("resOpFailedEvent", "node-1-kubelet"),
    {"diagnosticEvent": {"severity": "error", "urn": "urn:pulumi:dev::hardway::pulumi:pulumi:Stack::hardway-dev"}},
    {"diagnosticEvent": {"severity": "error", "message": "update failed"}},
]
OLD, NEW = {"hardway:name": "old", "hardway:token": {"secure": "v1:abc"}}, {"hardway:name": "new"}


def record(workspace: Workspace, number: int, result: str, configuration: Mapping[str, Any], kind: str) -> Path:
    """Add an update to the history of the stack."""
    path = workspace.state / f".pulumi/history/hardway/dev/dev-{number}.history.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    document = {"kind": kind, "result": result, "endTime": 1795904452, "config": configuration}
    path.write_text(json.dumps({**document, "environment": {"git.head": ""}}))
    return path


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """A prepared checkout whose next update fails on node-1, after node-0 has changed."""
    for name in ("PULUMI_BACKEND_URL", "PULUMI_ACCESS_TOKEN", "HARDWAY_LAB", "HARDWAY_BACKEND_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    workspace = Workspace(tmp_path)
    program = tmp_path / "engine"
    program.write_text(ENGINE)
    program.chmod(0o755)
    environment.write(workspace, environment.render(workspace, "dev", "qemu"), {"pulumi": program}, False)
    workspace.stack_file("dev").write_text("config:\n  hardway:onFailure: rollback\n")
    record(workspace, 1, "succeeded", OLD, "update")
    record(workspace, 3, "failed", NEW, "update").rename(tmp_path / "record")
    (tmp_path / "events").write_text("\n".join(map(json.dumps, CHANGED + FAILED)))
    (tmp_path / "attempt").write_text("255")
    (tmp_path / "rollback").write_text("0")
    return workspace


def calls(workspace: Workspace) -> list[str]:
    """Return the updates that the engine has run."""
    return (workspace.checkout / "calls").read_text().splitlines()


def test_failed_change_is_rolled_back(workspace: Workspace) -> None:
    expected = (
        r"^node-1-kubelet failed: `pulumi up` failed \(exit code 255\); the reason is above\. Everything was rolled "
        r"back: the lab has the configuration of 2026-11-28 22:20 UTC again\. Pulumi\.dev\.yaml still has the change"
    )
    with pytest.raises(HostError, match=expected):
        Stack(workspace, "dev").up()
    change, rollback = calls(workspace)
    previous = workspace.previous_configuration("dev")
    assert change.startswith(": up ")
    assert rollback.startswith(f"{previous}: up ")
    assert f" --config-file {previous} " in rollback
    assert json.loads(previous.read_text()) == {"config": OLD}
    assert previous.stat().st_mode & 0o077 == 0


def test_incomplete_rollback_can_be_repeated(workspace: Workspace) -> None:
    (workspace.checkout / "rollback").write_text("1")
    with pytest.raises(HostError, match=r"^The rollback to .* is not complete: .*hardway rollback --stack dev` tries"):
        Stack(workspace, "dev").up()
    (workspace.checkout / "rollback").write_text("0")
    Stack(workspace, "dev").roll_back()
    assert len(calls(workspace)) == 3


def nothing_changed(workspace: Workspace) -> None:
    (workspace.checkout / "events").write_text("\n".join(map(json.dumps, FAILED)))


def never_began(workspace: Workspace) -> None:
    (workspace.checkout / "events").write_text("")
    (workspace.checkout / "record").unlink()


def never_succeeded(workspace: Workspace) -> None:
    record(workspace, 1, "failed", OLD, "update")


def deleted(workspace: Workspace) -> None:
    record(workspace, 2, "succeeded", OLD, "destroy")


def same_configuration(workspace: Workspace) -> None:
    record(workspace, 3, "failed", OLD, "update").rename(workspace.checkout / "record")


def interrupted(workspace: Workspace) -> None:
    (workspace.checkout / "interrupted").touch()


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (nothing_changed, "nothing else was changed"),
        (never_began, "nothing else was changed"),
        (never_succeeded, "no update succeeded before"),
        (deleted, "no update succeeded before"),
        (same_configuration, "the configuration is that of the last successful update"),
        (interrupted, "you interrupted it"),
    ],
)
def test_nothing_is_rolled_back_without_reason(workspace: Workspace, make: Any, reason: str) -> None:
    make(workspace)
    with pytest.raises(HostError, match=f"Nothing was rolled back, because {reason}"):
        Stack(workspace, "dev").up()
    assert len(calls(workspace)) == 1


def test_killed_engine_without_record_is_rolled_back(workspace: Workspace) -> None:
    never_began(workspace)
    killed_while_writing = json.dumps(CHANGED[0]) + '\n{"resOutputsEv'
    (workspace.checkout / "events").write_text(killed_while_writing)
    with pytest.raises(HostError, match="Everything was rolled back"):
        Stack(workspace, "dev").up()


@pytest.mark.parametrize("text", ["hardway:onFailure: stop", "# onFailure: rollback", ""])
def test_failed_change_stays_by_default(workspace: Workspace, text: str) -> None:
    workspace.stack_file("dev").write_text(f"config:\n  {text}\n")
    with pytest.raises(HostError, match=r"^`pulumi up` failed \(exit code 255\); the reason is above\.$"):
        Stack(workspace, "dev").up()
    assert len(calls(workspace)) == 1


def test_node_that_does_not_become_ready_is_rolled_back(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    (workspace.checkout / "attempt").write_text("0")
    (workspace.checkout / "events").write_text("\n".join(map(json.dumps, CHANGED)))
    problems = ["node-0 is not Ready."]

    def fail_once(*_: object) -> StackOutputs[str]:
        if problems:
            raise HostError(problems.pop())
        return StackOutputs.from_dict(OUTPUTS)

    monkeypatch.setattr(Stack, "write_access", fail_once)
    with pytest.raises(HostError, match=r"^node-0 is not Ready\. Everything was rolled back"):
        Stack(workspace, "dev").up()


def test_rollback_needs_a_record_that_can_be_read(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PULUMI_ACCESS_TOKEN", "of a service")
    for command in (Stack.up, Stack.roll_back):
        with pytest.raises(HostError, match="your Pulumi settings keep the state elsewhere"):
            command(Stack(workspace, "dev"))
    assert not (workspace.checkout / "calls").exists()


def test_rollback_needs_an_earlier_update(workspace: Workspace) -> None:
    never_succeeded(workspace)
    with pytest.raises(HostError, match="Stack dev has no successful update to which it could return"):
        Stack(workspace, "dev").roll_back()


def test_last_successful_update_is_found_among_others(workspace: Workspace) -> None:
    record(workspace, 2, "succeeded", NEW, "update")
    record(workspace, 4, "succeeded", {}, "refresh")
    record(workspace, 5, "failed", {}, "update")
    found = last_successful(updates(workspace, "dev"))
    assert found
    assert found.configuration == NEW
    assert last_successful(updates(workspace, "other")) is None


def test_first_error_names_the_failed_resource(tmp_path: Path) -> None:
    log = tmp_path / "events"
    log.write_text(
        "\n".join(map(json.dumps, [*FAILED, error("node-2-kubelet"), step("resourcePreEvent", "a", "same")]))
    )
    assert read_events(log) == Attempt(failed="node-1-kubelet", has_changed=False)
    assert read_events(tmp_path / "missing") == Attempt(failed="", has_changed=False)


def test_changed_files_of_the_project_are_named(workspace: Workspace) -> None:
    folder = workspace.checkout
    before = last_successful(updates(workspace, "dev"))
    assert before
    assert changed_files(folder, before) == ""

    def git(*words: str) -> str:
        command = ["git", "-C", str(folder), "-c", "user.name=n", "-c", "user.email=e", *words]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    git("init", "--quiet")
    names = [f"file-{number}" for number in range(7)]
    for name in [*names, "Pulumi.dev.yaml", "Pulumi.yaml"]:
        (folder / name).write_text("before")
    git("add", *names, "Pulumi.dev.yaml", "Pulumi.yaml")
    git("commit", "--quiet", "--message=all")
    path = next((workspace.state / ".pulumi/history/hardway/dev").iterdir())
    path.write_text(path.read_text().replace('"git.head": ""', f'"git.head": "{git("rev-parse", "HEAD")}"'))
    before = last_successful(updates(workspace, "dev"))
    assert before
    (folder / "Pulumi.dev.yaml").write_text("after")
    assert changed_files(folder, before) == ""
    for name in names:
        (folder / name).write_text("after")
    assert changed_files(folder, before) == "file-0, file-1, file-2, file-3, file-4 and 2 more"


def test_targeted_update_is_no_version_of_the_lab(workspace: Workspace) -> None:
    whole = last_successful(updates(workspace, "dev"))
    path = record(workspace, 9, "succeeded", {"hardway:podCidr": {"v": "10.0.0.0/16"}}, "update")
    path.write_text(json.dumps({**json.loads(path.read_text()), "environment": {"pulumi.flag.target": "[a]"}}))
    assert last_successful(updates(workspace, "dev")) == whole


def test_updates_after_a_snapshot_do_not_outlive_a_revert(workspace: Workspace) -> None:
    workspace.access("dev").mkdir(parents=True)
    before = last_successful(updates(workspace, "dev"))
    assert before
    record(workspace, 2, "succeeded", NEW, "update")
    record_revert(workspace, "dev", before.name)
    assert last_successful(updates(workspace, "dev")) == before
    with pytest.raises(HostError, match="Everything was rolled back"):
        Stack(workspace, "dev").up()
    assert json.loads(workspace.previous_configuration("dev").read_text()) == {"config": OLD}
    record(workspace, 4, "succeeded", {}, "update")
    found = last_successful(updates(workspace, "dev"))
    assert found
    assert found.configuration == {}


def test_revert_to_a_lab_without_a_successful_update(workspace: Workspace) -> None:
    workspace.access("dev").mkdir(parents=True)
    record_revert(workspace, "dev", "")
    assert last_successful(updates(workspace, "dev")) is None


def test_revert_of_a_removed_stack_does_not_count(workspace: Workspace) -> None:
    workspace.access("dev").mkdir(parents=True)
    record_revert(workspace, "dev", "")
    for path in (workspace.state / ".pulumi/history/hardway/dev").iterdir():
        path.unlink()
    record(workspace, 5, "succeeded", NEW, "update")
    found = last_successful(updates(workspace, "dev"))
    assert found
    assert found.configuration == NEW
