"""How the engine is run for a stack: with the lab's environment, and left to end in its own way."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from host import environment
from host.engine.stack import EXISTING, Stack, carriers, deployed
from host.workspace import Workspace
from system.errors import HostError
from system.files import CHECKOUT

# Stands for an engine that, told to stop, still has to write its state.
SLOW_TO_STOP = """\
#!/bin/sh
[ "$1" = preview ] || exit 0
trap 'sleep 1; echo state written; exit 1' INT TERM
echo running
while :; do sleep 0.05; done
"""


def prepared(checkout: Path, engine: str, *, private: bool = False) -> Workspace:
    """A checkout that is prepared, with the given program for an engine."""
    workspace = Workspace(checkout)
    program = checkout / "engine"
    program.write_text(engine)
    program.chmod(0o755)
    environment.write(workspace, environment.render(workspace, "dev", "qemu"), {"pulumi": program}, private)
    return workspace


def test_a_machine_that_is_not_prepared_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(HostError, match="make prepare"):
        Stack(Workspace(tmp_path), "dev")


def test_only_stacks_with_resources_are_deployed(tmp_path: Path) -> None:
    listed = '[{"name": "dev", "resourceCount": 3}, {"name": "empty", "resourceCount": 0}, {"name": "new"}]'
    assert deployed(prepared(tmp_path, f"#!/bin/sh\necho '{listed}'\n")) == ["dev"]


NODES = {name: {"address": f"10.0.0.{last}", "podCidr": "10.1.0.0/24"} for last, name in enumerate(("a", "b"))}
OUTPUTS = {
    "kubeconfig": "secret",
    "sshKey": "secret",
    "knownHosts": "",
    "nodes": {**NODES, "c": {"address": "10.0.0.9"}},
}


def brought_up(checkout: Path, kubectl: str) -> None:
    """Brings up a stack in which nothing is to be done, with the given shell program for kubectl."""
    workspace = prepared(checkout, f"#!/bin/sh\ncase \"$*\" in *output*) echo '{json.dumps(OUTPUTS)}' ;; esac\n")
    program = workspace.bin / "kubectl"
    program.write_text(f"#!/bin/sh\n{kubectl}\n")
    program.chmod(0o755)
    Stack(workspace, "dev").up()


def told(**ready: str) -> str:
    """What kubectl prints of nodes, to whether they are Ready."""
    items = [
        {"metadata": {"name": name}, "status": {"conditions": [{"type": "Ready", "status": status}]}}
        for name, status in ready.items()
    ]
    return json.dumps({"items": items})


def test_up_ends_once_its_nodes_are_ready_even_where_nothing_was_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("host.engine.stack._PAUSE", 0)
    kubectl = f"""
case "$*" in *wide*) echo the table; exit ;; esac
echo asked >>asked
case $(wc -l <asked) in
    1) echo no route to host >&2; exit 1 ;;
    2) echo '{told(a="True", b="Unknown", other="False")}' ;;
    *) echo '{told(a="True", b="True", other="False")}' ;;
esac"""
    brought_up(tmp_path, kubectl)
    printed = capfd.readouterr()
    assert "Waiting until a and b is Ready.\nthe table\n" in printed.out
    assert "no route" not in printed.err
    assert (tmp_path / "asked").read_text() == "asked\n" * 3


def test_up_says_which_node_is_not_ready_and_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("host.engine.stack._PATIENCE", -1)
    with pytest.raises(HostError, match=r"^b did not become Ready .*make verify"):
        brought_up(tmp_path, f"echo '{told(a='True', b='False')}'")


LIBVIRT = {"urn": "libvirt", "type": "pulumi:providers:libvirt", "inputs": {"uri": "qemu:///system"}}
MACHINE = {"urn": "machine", "type": "hardway:machine:Machine"}
DOMAIN = {"urn": "domain", "type": "libvirt:index/domain:Domain", "parent": "machine"}
PREPARED = {"urn": "prepared", "type": "command:remote:Command", "parent": "machine"}
INSIDE = {**PREPARED, "deletedWith": "domain"}


@pytest.mark.parametrize(
    ("resources", "pending", "expected"),
    [
        ([LIBVIRT, MACHINE, DOMAIN, INSIDE], [], {"qemu:///system"}),
        ([LIBVIRT, MACHINE], [DOMAIN], {"qemu:///system"}),
        ([LIBVIRT | {"inputs": {"uri": "qemu+ssh://there/system"}}, MACHINE], [], {"qemu+ssh://there/system"}),
        ([MACHINE, PREPARED], [], {EXISTING}),
        ([LIBVIRT, MACHINE], [PREPARED], {"qemu:///system", EXISTING}),
        ([MACHINE], [], set()),
    ],
    ids=["a VM", "a VM being made", "elsewhere", "a machine", "a machine being taken", "nothing yet"],
)
def test_a_stack_is_carried_by_libvirt_and_by_the_machines_that_it_took(
    tmp_path: Path, resources: list[dict[str, object]], pending: list[dict[str, object]], expected: set[str]
) -> None:
    operations = [{"type": "creating", "resource": resource} for resource in pending]
    exported = json.dumps({"deployment": {"resources": resources, "pending_operations": operations}})
    assert carriers(prepared(tmp_path, f"#!/bin/sh\necho '{exported}'\n"), "dev") == expected


def test_what_stacks_there_are_is_known_where_the_hypervisor_cannot_be_started(tmp_path: Path) -> None:
    workspace = prepared(tmp_path, "#!/bin/sh\necho '[]'\n", private=True)
    workspace.hypervisor.write_text("no folder")
    assert deployed(workspace) == []


def test_an_engine_that_fails_is_named_with_its_exit_code(tmp_path: Path) -> None:
    with pytest.raises(HostError, match=r"`pulumi stack` failed \(exit code 4\)"):
        Stack(prepared(tmp_path, "#!/bin/sh\nexit 4\n"), "dev").preview()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_waits_for_the_engine_to_write_its_state(tmp_path: Path, number: signal.Signals) -> None:
    prepared(tmp_path, SLOW_TO_STOP)
    program = "import sys; from pathlib import Path; from host import workspace; from host.engine.stack import Stack"
    program += "; Stack(workspace.Workspace(Path(sys.argv[1])), 'dev').preview()"
    command = [sys.executable, "-c", program, str(tmp_path)]
    with subprocess.Popen(
        command, cwd=CHECKOUT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "running\n"
        if number == signal.SIGINT:
            # As a terminal does: to the whole group.
            subprocess.run(["kill", "-INT", "--", f"-{process.pid}"], check=True)
        else:
            process.send_signal(number)
        assert process.stdout.read() == "state written\n"
        assert process.wait() != 0
