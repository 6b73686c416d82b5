"""The nodes confirm a change, with fake programs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from host import environment
from host.engine.confirmation import Unconfirmed, accept, record, recorded
from host.engine.stack import Stack
from host.workspace import Workspace
from system.errors import HostError
from tests.support.fake_programs import put

COMMANDS = {"node-0": "sudo confirm accept", "node-1": "confirm accept"}
OUTPUTS = {
    "apiEndpoint": "",
    "certificateAuthority": "",
    "services": {},
    "sshKey": "",
    "knownHosts": "",
    "nodes": {},
}


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """A checkout with a change on two nodes that is not confirmed. Both would confirm it."""
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    nodes_answer(tmp_path, "")
    workspace = Workspace(tmp_path)
    record(workspace, "dev", Unconfirmed(limit=600, commands=COMMANDS))
    return workspace


def nodes_answer(folder: Path, script: str) -> None:
    """Replace ssh by a script. It logs the name of each node and the command."""
    put(folder, "ssh", f'shift 4\necho "$*" >>{folder}/calls\n{script}')


def calls(workspace: Workspace) -> list[str]:
    """Return the node and the command of each call of ssh."""
    path = workspace.checkout / "calls"
    return sorted(path.read_text().splitlines()) if path.exists() else []


def test_all_nodes_confirm(workspace: Workspace) -> None:
    assert accept(workspace, "dev")
    assert calls(workspace) == [f"{node} {command}" for node, command in COMMANDS.items()]
    assert recorded(workspace, "dev") is None
    assert not accept(workspace, "dev")
    assert len(calls(workspace)) == 2


def test_silent_node_stays_unconfirmed(workspace: Workspace) -> None:
    nodes_answer(workspace.checkout, "if [ $1 = node-1 ]; then echo no route to host >&2; exit 255; fi")
    expected = (
        r"^node-1 has not confirmed .*: no route to host\. .*`\.lab/bin/hardway confirm --stack dev` can try again"
    )
    with pytest.raises(HostError, match=expected):
        accept(workspace, "dev")
    nodes_answer(workspace.checkout, "")
    assert accept(workspace, "dev")


def test_returned_services_are_named(workspace: Workspace) -> None:
    nodes_answer(workspace.checkout, r"if [ $1 = node-0 ]; then printf 'returned\tkubelet\nreturned\tnode-setup\n'; fi")
    expected = r"within 600 s, so these services have returned to the version before: kubelet, node-setup on node-0\."
    with pytest.raises(HostError, match=expected):
        accept(workspace, "dev")
    assert recorded(workspace, "dev")


def stack(workspace: Workspace, engine: str) -> Stack:
    """Return a stack with a fake engine: a line of shell that runs for `pulumi up`."""
    script = f"case \"$*\" in up*) {engine} ;; *output*) echo '{json.dumps(OUTPUTS)}' ;; esac"
    put(workspace.checkout, "engine", script)
    program = workspace.checkout / "engine"
    environment.write(workspace, environment.render(workspace, "dev", "qemu"), {"pulumi": program}, False)
    return Stack(workspace, "dev")


def test_successful_up_confirms(workspace: Workspace) -> None:
    stack(workspace, "echo up >>calls").up()
    assert calls(workspace) == [*(f"{node} {command}" for node, command in COMMANDS.items()), "up"]
    assert recorded(workspace, "dev") is None


def test_failed_up_confirms_nothing(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(HostError):
        stack(workspace, "exit 1").up()
    assert calls(workspace) == []
    assert recorded(workspace, "dev")
    warned = capsys.readouterr().err
    assert "returns to the versions before, 600 s after the last change" in warned
    assert "hardway confirm --stack dev" in warned


def test_command_confirms(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    for printed in ("confirmed on node-0, node-1", "Stack dev has no changes to confirm"):
        stack(workspace, "").confirm()
        assert printed in capsys.readouterr().err
