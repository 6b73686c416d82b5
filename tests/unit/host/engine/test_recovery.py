"""Recovery from a killed engine: what it left, and when `pulumi` in `.lab/bin` removes it."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from host import environment
from host.engine import locks, recovery
from host.engine.drift import REGISTRATION
from host.libvirt import objects
from host.libvirt.objects import KINDS, LibvirtObject
from host.workspace import Workspace
from system.errors import HostError
from system.files import CHECKOUT
from system.processes import Process

PROVIDER = "urn:pulumi:dev::hardway::pulumi:providers:libvirt::libvirt"
DOMAIN, VOLUME, POOL = (f"libvirt:index/{kind}" for kind in ("domain:Domain", "volume:Volume", "pool:Pool"))
UNDEFINE_OPTIONS = "--managed-save --nvram --snapshots-metadata --checkpoints-metadata"
URI = "qemu+ssh://somewhere/system"


def resource(type_: str, name: str, **inputs: object) -> dict[str, Any]:
    urn = f"urn:pulumi:dev::hardway::{type_}::{name}"
    return {"urn": urn, "type": type_, "inputs": {"name": name, **inputs}, "provider": f"{PROVIDER}::1"}


def deployment(resources: list[dict[str, Any]], *pending: tuple[str, dict[str, Any]]) -> Mapping[str, Any]:
    provider = {"urn": PROVIDER, "id": "1", "type": "pulumi:providers:libvirt", "inputs": {"uri": URI}}
    operations = [{"type": type_, "resource": subject} for type_, subject in pending]
    return {"resources": [provider, *resources], "pending_operations": operations}


def test_an_interrupted_creation_is_unfinished() -> None:
    volume = resource(VOLUME, "disk", pool="lab")
    assert recovery.unfinished(deployment([], ("creating", volume))) == [LibvirtObject(VOLUME, "disk", "lab", URI)]


def test_an_interrupted_deletion_is_unfinished() -> None:
    domain = resource(DOMAIN, "node")
    found = recovery.unfinished(deployment([domain], ("deleting", domain)))
    assert found == [LibvirtObject(DOMAIN, "node", "", URI)]


def test_a_creation_finished_later_is_not_unfinished() -> None:
    domain = resource(DOMAIN, "node")
    assert recovery.unfinished(deployment([domain], ("creating", domain))) == []


def test_pools_tell_volumes_apart() -> None:
    existing, interrupted = resource(VOLUME, "disk", pool="one"), resource(VOLUME, "disk", pool="two")
    assert [each.pool for each in recovery.unfinished(deployment([existing], ("creating", interrupted)))] == ["two"]


@pytest.mark.parametrize("operation", ["updating", "reading", "importing"])
def test_other_operations_leave_nothing(operation: str) -> None:
    domain = resource(DOMAIN, "node")
    assert recovery.unfinished(deployment([domain], (operation, domain))) == []


@pytest.mark.parametrize("type_", ["command:remote:Command", "tls:index/privateKey:PrivateKey", "aws:ec2:Instance"])
def test_other_resources_leave_nothing(type_: str) -> None:
    assert recovery.unfinished(deployment([], ("creating", resource(type_, "node")))) == []


def test_complete_stacks_have_nothing_unfinished() -> None:
    assert recovery.unfinished(deployment([resource(DOMAIN, "node")])) == []
    assert recovery.unfinished({}) == []


def test_interrupted_services_are_recorded_as_drift() -> None:
    machines = [resource("hardway:machine:Machine", name) for name in ("node", "node-1")]
    names = ("node-kubelet", "node-1-kube-proxy", "node-1-registration", "node-etcd")
    commands = {name: resource("command:remote:Command", name) for name in names}
    pending = [
        ("updating", commands["node-1-kube-proxy"]),
        ("updating", commands["node-1-registration"]),
        ("deleting", commands["node-kubelet"]),
        ("creating", commands["node-etcd"]),
        ("updating", resource(DOMAIN, "node-1-domain")),
    ]
    found = recovery.interrupted(deployment([*machines, *commands.values()], *pending))
    assert found == [("node", "kubelet"), ("node-1", "kube-proxy"), ("node-1", REGISTRATION)]


def test_an_interrupted_push_is_recorded_as_drift() -> None:
    machine = resource("hardway:machine:Machine", "node-1")
    push, access = (resource("command:local:Command", name) for name in ("node-1-binaries", "access"))
    found = recovery.interrupted(deployment([machine, push, access], ("updating", push), ("updating", access)))
    assert found == [("node-1", "binaries")]


def test_users_are_deleted_before_what_they_use() -> None:
    pending = [("creating", resource(type_, "x", pool="lab")) for type_ in reversed(list(KINDS))]
    kinds = [KINDS[each.type].title for each in recovery.unfinished(deployment([], *pending))]
    assert kinds == ["domain", "volume", "volume", "network", "pool"]


def test_every_kind_of_the_program_is_known() -> None:
    source = (CHECKOUT / "components/hypervisor.py").read_text()
    created = set(re.findall(r"libvirt\.(\w+)\(\n", source)) - {"Provider"}
    nested = {name for name in created if name.endswith("Args")}
    assert created - nested == {type_.rpartition(":")[2] for type_ in KINDS}


VIRSH = """\
#!/bin/sh
echo "$*" >>"$FAKE/calls"
case $3 in
    *list) if [ -e "$FAKE/$3" ]; then cat "$FAKE/$3"; else echo "no connection" >&2; exit 1; fi ;;
    undefine | *-undefine | vol-delete)
        if [ -e "$FAKE/stays" ]; then echo "in use" >&2; exit 1; fi
        for list in list net-list pool-list vol-list; do : >"$FAKE/$list"; done ;;
esac
"""


@pytest.fixture
def virsh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of a fake virsh: it lists what files contain, empties them on deletion, and records calls."""
    (tmp_path / "virsh").write_text(VIRSH)
    (tmp_path / "virsh").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("FAKE", str(tmp_path))
    return tmp_path


def calls(virsh: Path) -> list[str]:
    return [line.removeprefix(f"--connect {URI} ") for line in (virsh / "calls").read_text().splitlines()]


def changing(virsh: Path) -> list[str]:
    return [call for call in calls(virsh) if not re.match(r"\S*list\b", call)]


@pytest.mark.parametrize(
    ("kind", "listing", "expected"),
    [
        (
            DOMAIN,
            "list",
            ["destroy x", "undefine x --managed-save --nvram --snapshots-metadata --checkpoints-metadata"],
        ),
        ("libvirt:index/network:Network", "net-list", ["net-destroy x", "net-undefine x"]),
        (POOL, "pool-list", ["pool-destroy x", "pool-delete x", "pool-undefine x"]),
    ],
)
def test_an_existing_object_is_deleted(virsh: Path, kind: str, listing: str, expected: list[str]) -> None:
    (virsh / listing).write_text("other\nx\n")
    (virsh / "vol-list").write_text("")
    assert "was deleted" in LibvirtObject(kind, "x", "", URI).delete()
    assert changing(virsh) == expected


def test_a_volume_is_deleted_from_its_pool(virsh: Path) -> None:
    (virsh / "pool-list").write_text("lab\n")
    (virsh / "vol-list").write_text(" Name   Path\n-------------\n x      /images/x\n\n")
    assert "volume x in pool lab was deleted" in LibvirtObject(VOLUME, "x", "lab", URI).delete()
    assert changing(virsh) == ["vol-delete x --pool lab"]


def test_without_its_pool_a_volume_does_not_exist(virsh: Path) -> None:
    (virsh / "pool-list").write_text("other\n")
    assert "did not exist" in LibvirtObject(VOLUME, "x", "lab", URI).delete()


def test_a_missing_object_changes_nothing(virsh: Path) -> None:
    (virsh / "list").write_text("another-x\nx-2\n")
    assert "did not exist" in LibvirtObject(DOMAIN, "x", "", URI).delete()
    assert changing(virsh) == []


def test_a_pool_with_volumes_stays(virsh: Path) -> None:
    (virsh / "pool-list").write_text("x\n")
    (virsh / "vol-list").write_text(" Name   Path\n-------------\n mine   /images/mine\n\n")
    assert "stays, because it has mine" in LibvirtObject(POOL, "x", "", URI).delete()
    assert changing(virsh) == []


def test_a_failed_deletion_is_reported(virsh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (virsh / "list").write_text("x\n")
    (virsh / "stays").touch()
    monkeypatch.setattr(objects, "_DELETE_TIMEOUT", 0.0)
    with pytest.raises(HostError, match=r"domain x .* in use"):
        LibvirtObject(DOMAIN, "x", "", URI).delete()


def test_an_unreachable_libvirt_is_an_error(virsh: Path) -> None:
    with pytest.raises(HostError, match="no connection"):
        LibvirtObject(DOMAIN, "x", "", URI).delete()
    assert changing(virsh) == []


def test_a_held_stack_has_an_engine_lock(tmp_path: Path) -> None:
    with locks.held(tmp_path, "hardway", "dev") as held:
        assert held
        (lock,) = (tmp_path / ".pulumi/locks/organization/hardway/dev").iterdir()
        assert json.loads(lock.read_text())["pid"] == os.getpid()
    assert list(lock.parent.iterdir()) == []


def test_a_stack_with_a_running_engine_is_not_held(tmp_path: Path) -> None:
    other = tmp_path / ".pulumi/locks/organization/hardway/dev/other.json"
    other.parent.mkdir(parents=True)
    other.write_text(json.dumps({"pid": os.getpid(), "hostname": socket.gethostname()}))
    with locks.held(tmp_path, "hardway", "dev") as held:
        assert not held
    assert other.exists()


ENGINE = """\
#!/bin/sh
echo "$*" >>"$0.calls"
if [ "$2" = export ]; then echo '{"deployment": {}}'; fi
echo "$HARDWAY_ENGINE" >"$0.run"
"""


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """Return a prepared checkout with a stack, the lock of a killed engine, and a fake engine."""
    workspace = Workspace(tmp_path / "my lab's $HOME")
    workspace.checkout.mkdir()
    program = workspace.checkout / "engine"
    program.write_text(ENGINE)
    program.chmod(0o755)
    environment.write(workspace, environment.render(workspace, "dev", "qemu"), {"pulumi": program}, private=False)
    with subprocess.Popen(["true"]) as ended:
        ended.wait()
    lock(workspace).parent.mkdir(parents=True)
    lock(workspace).write_text(json.dumps({"pid": ended.pid, "hostname": socket.gethostname()}))
    stack = workspace.state / ".pulumi/stacks/hardway/dev.json"
    stack.parent.mkdir(parents=True)
    stack.write_text("{}")
    return workspace


def lock(workspace: Workspace) -> Path:
    return workspace.state / ".pulumi/locks/organization/hardway/dev/lock.json"


def pulumi(workspace: Workspace, *arguments: str, backend: str = "") -> list[str]:
    """Run `pulumi` of .lab/bin and return the calls of the engine."""
    variables = os.environ | {"PULUMI_BACKEND_URL": backend or workspace.state.as_uri()}
    subprocess.run([workspace.bin / "pulumi", *arguments], env=variables, check=True)
    return (workspace.checkout / "engine.calls").read_text().splitlines()


@pytest.mark.parametrize("command", ["up", "destroy", "refresh"])
def test_a_changing_run_finds_no_abandoned_lock(workspace: Workspace, command: str) -> None:
    assert pulumi(workspace, command, "--yes") == ["stack export --stack dev", f"{command} --yes"]
    assert not lock(workspace).exists()


def test_a_reading_run_recovers_nothing(workspace: Workspace) -> None:
    assert pulumi(workspace, "stack", "output") == ["stack output"]
    assert lock(workspace).exists()


def test_other_backends_are_left_alone(workspace: Workspace) -> None:
    assert pulumi(workspace, "up", backend="file:///elsewhere") == ["up"]
    assert lock(workspace).exists()


def test_engines_that_change_another_backend_are_recorded(workspace: Workspace) -> None:
    pulumi(workspace, "up")
    pulumi(workspace, "stack", "ls", backend="s3://elsewhere")
    assert not workspace.engines.exists()
    pulumi(workspace, "up", backend="s3://elsewhere")
    [record] = workspace.engines.iterdir()
    assert record.read_text() == (workspace.checkout / "engine.run").read_text()
    assert record.name == record.read_text().split()[0]


def test_without_leftovers_only_the_engine_runs(workspace: Workspace) -> None:
    lock(workspace).unlink()
    assert pulumi(workspace, "up") == ["up"]


@pytest.mark.parametrize("command", ["up", "preview"])
def test_engine_finds_the_salt_that_a_stack_file_has_lost(workspace: Workspace, command: str) -> None:
    lock(workspace).unlink()
    provider = {"type": "passphrase", "state": {"salt": "v1:abc"}}
    state = workspace.state / ".pulumi/stacks/hardway/dev.json"
    state.write_text(json.dumps({"checkpoint": {"latest": {"secrets_providers": provider}}}))
    workspace.stack_file("dev").write_text("config: {}\n")
    assert pulumi(workspace, command) == [command]
    assert workspace.stack_file("dev").read_text() == "config: {}\nencryptionsalt: v1:abc\n"


@pytest.mark.parametrize("arguments", [("stack", "select", "--create", "dev"), ("stack", "init", "dev"), ("cancel",)])
@pytest.mark.parametrize("content", [None, '{"pid":'])
def test_an_interrupted_stack_can_be_created(
    workspace: Workspace, arguments: tuple[str, ...], content: str | None
) -> None:
    shutil.rmtree(workspace.state / ".pulumi/stacks")
    left = lock(workspace)
    if content is not None:
        left = left.rename(left.with_name("lock.json.18ea.tmp"))
        left.write_text(content)
        os.utime(left, (0, 0))
    assert pulumi(workspace, *arguments) == [" ".join(arguments)]
    assert not left.exists()


def test_creating_a_stack_recovers_no_other(workspace: Workspace) -> None:
    assert pulumi(workspace, "stack", "select", "--create", "mine") == ["stack select --create mine"]


def test_a_torn_backend_file_stops_no_command(workspace: Workspace) -> None:
    attributes = workspace.state / ".pulumi/meta.yaml.attrs"
    attributes.touch()
    assert pulumi(workspace, "stack", "ls") == ["stack ls"]
    assert not attributes.exists()


@pytest.mark.parametrize("arguments", [("stack", "ls"), ("stack", "select", "dev"), ("up",)])
def test_a_torn_state_file_stops_no_command(workspace: Workspace, arguments: tuple[str, ...]) -> None:
    lock(workspace).unlink()
    attributes = workspace.state / ".pulumi/stacks/hardway/dev.json.attrs"
    attributes.touch()
    assert pulumi(workspace, *arguments)[-1] == " ".join(arguments)
    assert not attributes.exists()


def test_files_of_a_running_engine_stay(workspace: Workspace) -> None:
    lock(workspace).write_text(json.dumps({"pid": os.getpid(), "hostname": socket.gethostname()}))
    attributes = workspace.state / ".pulumi/stacks/hardway/dev.json.attrs"
    attributes.touch()
    pulumi(workspace, "stack", "ls")
    assert attributes.exists()


def test_complete_and_foreign_files_stay(workspace: Workspace) -> None:
    complete = workspace.state / ".pulumi/stacks/hardway/dev.json.attrs"
    complete.write_text("{}")
    other = workspace.state / ".pulumi/stacks/other/dev.json.attrs"
    other.parent.mkdir()
    other.touch()
    pulumi(workspace, "up")
    assert complete.exists()
    assert other.exists()


def test_a_killed_engines_draft_is_removed(workspace: Workspace) -> None:
    draft = lock(workspace).with_name("lock.json.18ea.tmp")
    lock(workspace).rename(draft)
    pulumi(workspace, "up")
    assert not draft.exists()


@pytest.mark.parametrize(("age", "stays"), [(0, True), (60, False)])
def test_an_incomplete_draft_is_removed_later(workspace: Workspace, age: int, stays: bool) -> None:
    lock(workspace).unlink()
    draft = lock(workspace).with_name("lock.json.18ea.tmp")
    draft.write_text('{"pid":')
    os.utime(draft, (draft.stat().st_mtime - age,) * 2)
    pulumi(workspace, "up")
    assert draft.exists() == stays


def test_pending_operations_are_recovered_without_a_lock(workspace: Workspace) -> None:
    lock(workspace).unlink()
    stack = workspace.state / ".pulumi/stacks/hardway/dev.json"
    stack.write_text('{"checkpoint":{"latest":{"pending_operations":[{"type":"creating"}]}}}')
    assert pulumi(workspace, "up") == ["stack export --stack dev", "up"]


def test_only_processes_of_a_killed_engine_are_ended(workspace: Workspace) -> None:
    backend = workspace.state.as_uri()
    pulumi(workspace, "version")
    ended = (workspace.checkout / "engine.run").read_text().strip()
    running = str(Process.of(os.getpid())).strip()
    sleepers = {
        name: subprocess.Popen(["sleep", "600"], env=os.environ | variables)
        for name, variables in {
            "of the killed engine": {"HARDWAY_ENGINE": ended, "PULUMI_BACKEND_URL": backend},
            "of a running engine": {"HARDWAY_ENGINE": running, "PULUMI_BACKEND_URL": backend},
            "of another lab": {"HARDWAY_ENGINE": ended, "PULUMI_BACKEND_URL": "file:///elsewhere"},
            "of no engine": {"PULUMI_BACKEND_URL": backend},
        }.items()
    }
    try:
        pulumi(workspace, "up")
        assert {name for name, each in sleepers.items() if each.poll() is not None} == {"of the killed engine"}
    finally:
        for each in sleepers.values():
            each.kill()
            each.wait()
