"""The Pulumi program records how to confirm changes, and finds services that returned, with a fake ssh."""

from datetime import UTC, datetime
from pathlib import Path

import pulumi
import pytest

from components import confirmation, outage
from host.access.access_files import AccessDetails, NodeAccess, write
from host.engine.confirmation import Unconfirmed, record, recorded
from host.engine.rollback import FAILURE_HANDLED_VARIABLE
from host.libvirt import observed
from host.workspace import Workspace
from lab.spec import Spec
from tests.support.fake_programs import put
from tests.support.program_stack import changed, setting

PROGRAM = "/usr/local/lib/hardway/confirm"


@pytest.fixture
def warnings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The warnings of the program."""
    texts: list[str] = []
    monkeypatch.setattr(pulumi, "warn", texts.append)
    return texts


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, warnings: list[str]) -> Workspace:
    """A checkout whose nodes answer with nothing. An update runs."""
    assert warnings == []
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr(pulumi.runtime, "is_dry_run", lambda: False)
    monkeypatch.delenv(FAILURE_HANDLED_VARIABLE, raising=False)
    nodes_answer(tmp_path, "")
    return Workspace(tmp_path)


def nodes_answer(folder: Path, script: str) -> None:
    """Replace ssh by a script. It logs the name of each node and the command."""
    put(folder, "ssh", f'shift 4\necho "$*" >>{folder}/calls\n{script}')


def calls(workspace: Workspace) -> list[str]:
    """Return the node and the command of each call of ssh."""
    path = workspace.checkout / "calls"
    return sorted(path.read_text().splitlines()) if path.exists() else []


def limited() -> Spec:
    """Return the default lab with a limit."""
    return changed(setting("confirmWithin", "10m"))


@pytest.mark.parametrize("by_hardway", [True, False])
def test_update_records_how_to_confirm(
    workspace: Workspace, warnings: list[str], by_hardway: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if by_hardway:
        monkeypatch.setenv(FAILURE_HANDLED_VARIABLE, "1")
    confirmation.begin(limited(), workspace, "dev")
    commands = dict.fromkeys(["server", "node-0", "node-1"], f"{PROGRAM} accept")
    assert recorded(workspace, "dev") == Unconfirmed(limit=600, commands=commands)
    assert ["hardway confirm --stack dev" in text for text in warnings] == ([] if by_hardway else [True])


def test_preview_records_nothing(workspace: Workspace, warnings: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pulumi.runtime, "is_dry_run", lambda: True)
    confirmation.begin(limited(), workspace, "dev")
    assert recorded(workspace, "dev") is None
    assert warnings == []


def test_without_a_limit_no_node_is_asked(workspace: Workspace) -> None:
    confirmation.begin(changed(), workspace, "dev")
    assert confirmation.returned(changed(), workspace, "dev", {"node-0"}) == {}
    assert recorded(workspace, "dev") is None
    assert calls(workspace) == []


@pytest.mark.parametrize(("is_preview", "verb"), [(True, "report"), (False, "extend")])
def test_returned_services_are_changes_again(
    workspace: Workspace, warnings: list[str], is_preview: bool, verb: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pulumi.runtime, "is_dry_run", lambda: is_preview)
    nodes_answer(workspace.checkout, r"if [ $1 = node-0 ]; then printf 'returned\tkubelet\nreturned\tcontainerd\n'; fi")
    found = confirmation.returned(limited(), workspace, "dev", {"node-0", "server"})
    assert found.keys() == {("node-0", "kubelet"), ("node-0", "containerd")}
    assert calls(workspace) == [f"{node} test ! -x {PROGRAM} || {PROGRAM} {verb}" for node in ("node-0", "server")]
    assert [text.partition(" has returned")[0] for text in warnings] == ["kubelet on node-0", "containerd on node-0"]


def test_nodes_are_asked_while_a_change_is_unconfirmed(workspace: Workspace) -> None:
    record(workspace, "dev", Unconfirmed(limit=600, commands={}))
    confirmation.returned(changed(), workspace, "dev", {"node-0"})
    assert len(calls(workspace)) == 1


def test_silent_node_is_warned_of(workspace: Workspace, warnings: list[str]) -> None:
    nodes_answer(workspace.checkout, "echo no route to host >&2; exit 255")
    assert confirmation.returned(limited(), workspace, "dev", {"node-0"}) == {}
    assert warnings == ["node-0 does not tell if it has returned to the versions before: no route to host"]


def test_returned_service_is_drift_of_the_lab(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = limited()
    monkeypatch.setattr(outage, "_start", lambda _: ({}, False))
    monkeypatch.setattr(outage, "_existing_vms", lambda *_: {})
    monkeypatch.setattr(outage, "record_drift", lambda *_: None)
    monkeypatch.setattr(outage, "recorded_drift", lambda _: {})
    monkeypatch.setattr(observed, "command_lines", lambda *_: {})
    nodes_answer(workspace.checkout, r"printf 'returned\tkubelet\n'")
    nodes = {"node-1": NodeAccess(address="10.240.0.21")}
    write(workspace, "dev", AccessDetails(nodes=nodes, ssh_key="key", known_hosts=""))
    assert outage.recover(spec, workspace, "dev", datetime.now(UTC)).drift.keys() == {("node-1", "kubelet")}
