"""Two checkouts take turns on a stack whose state is in an S3 bucket, with the real engine."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml

from host import environment
from host.engine import drift, stack_file, suspension
from host.engine.stack import Stack
from host.workspace import Workspace
from system.errors import HostError
from tests.support import s3_server
from tests.support.waiting import wait_until

# The node is a file with its version. It refuses the version `bad`, and takes its time while another file exists.
PROGRAM = """\
import json
import os
from pathlib import Path

import pulumi
import pulumi_command as command

values, record = pulumi.Config("hardway"), Path(".lab/stacks/dev/repairs.json")
drift = json.loads(record.read_text())["node-0"] if record.exists() else {}
repair = {"HARDWAY_REPAIR": " ".join(f"{service}={token}" for service, token in drift.items())} if drift else {}
binaries = command.local.Command("node-0-binaries", create="true", environment={"HARDWAY_NODE": "node-0", **repair})
command.local.Command(
    "node-0-kubelet",
    create='while [ -e @NODE@.busy ]; do sleep 0.1; done; test "$VERSION" != bad && { cat; echo "$VERSION"; } >@NODE@',
    environment={"VERSION": values.require("version")},
    stdin=values.require_secret("secret"),
    opts=pulumi.ResourceOptions(depends_on=[binaries]),
)
for name in ("apiEndpoint", "certificateAuthority", "sshKey", "knownHosts"):
    pulumi.export(name, values.require_secret("secret"))
for name in ("nodes", "services"):
    pulumi.export(name, {})
"""
PASSPHRASE = "a passphrase that the team knows"


class Lab:
    """A lab whose state is in a bucket, and the checkouts that share it.

    Attributes:
        node: The file that stands for the node.
        busy: While it exists, an update of the node does not end.
        backend: URL of the backend.
    """

    def __init__(self, folder: Path, engine: Path, backend: str) -> None:
        self._folder, self._engine, self.backend = folder, engine, backend
        self.node, self.busy = folder / "node", folder / "node.busy"

    def checkout(self, name: str, passphrase: str = PASSPHRASE) -> Workspace:
        """Prepare a checkout as a user does who names the backend and the passphrase."""
        workspace = self.new_checkout(name)
        self.prepare(workspace, PULUMI_BACKEND_URL=self.backend, PULUMI_CONFIG_PASSPHRASE=passphrase)
        return workspace

    def new_checkout(self, name: str) -> Workspace:
        """Return a checkout with the program."""
        workspace = Workspace(self._folder / name)
        workspace.state.mkdir(parents=True)
        runtime = {"name": "python", "options": {"virtualenv": sys.prefix}}
        (workspace.checkout / "Pulumi.yaml").write_text(json.dumps({"name": "hardway", "runtime": runtime}))
        (workspace.checkout / "__main__.py").write_text(PROGRAM.replace("@NODE@", str(self.node)))
        return workspace

    def prepare(self, workspace: Workspace, **own: str) -> None:
        """Prepare a checkout with a user's own variables."""
        with pytest.MonkeyPatch.context() as variables:
            for name, value in own.items():
                variables.setenv(name, value)
            if environment.record_backend(workspace):
                stack_file.forget_salts(workspace.checkout)
        environment.write(workspace, environment.render(workspace, "dev", "qemu"), {"pulumi": self._engine}, False)

    @contextmanager
    def slow_update(self, workspace: Workspace) -> Iterator[subprocess.Popen[str]]:
        """Run `pulumi up` of a checkout, which does not end in the block. It has the lock of the stack."""
        self.busy.touch()
        program = [str(workspace.bin / "pulumi"), "up", "--yes", "--skip-preview", "--stack=dev", "--non-interactive"]
        update = subprocess.Popen(
            program, cwd=workspace.checkout, env=variables(workspace), stdout=subprocess.PIPE, text=True
        )
        try:
            wait_until(lambda: '"updating"' in pulumi(workspace, "stack", "export"), "the node is changed")
            yield update
        finally:
            self.busy.unlink()
            update.communicate()


def variables(workspace: Workspace) -> dict[str, str]:
    """Return the environment of a checkout."""
    return environment.evaluate(workspace.env.read_text())


def pulumi(workspace: Workspace, *words: str) -> str:
    """Return the output of the engine for the stack."""
    command = [str(workspace.bin / "pulumi"), *words, "--stack", "dev", "--non-interactive"]
    result = subprocess.run(
        command, cwd=workspace.checkout, env=variables(workspace), check=False, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def configure(workspace: Workspace, **values: str) -> None:
    """Set values in the stack file."""
    file = workspace.stack_file("dev")
    document = yaml.safe_load(file.read_text())
    document["config"] |= {f"hardway:{name}": value for name, value in values.items()}
    file.write_text(yaml.safe_dump(document))


def commit(source: Workspace, target: Workspace) -> None:
    """Bring the stack file of a checkout to another one by Git, which keeps the salt out."""
    lines = source.stack_file("dev").read_text().splitlines(keepends=True)
    target.stack_file("dev").write_text("".join(line for line in lines if not line.startswith("encryptionsalt:")))


def planned(workspace: Workspace) -> dict[str, str]:
    """Return the names of the resources that a preview changes, with the operations."""
    steps = json.loads(pulumi(workspace, "preview", "--json"))["steps"]
    return {step["urn"].rpartition("::")[2]: step["op"] for step in steps if step["op"] != "same"}


def stack(workspace: Workspace) -> Stack:
    """Return the stack in a checkout, whose record of drift is used from then on."""
    drift.RECORDS = workspace.lab / "stacks"
    return Stack(workspace, "dev")


@pytest.fixture(scope="module")
def lab(engine: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with s3_server.serving() as backend, pytest.MonkeyPatch.context() as own:
        for name, value in s3_server.VARIABLES.items():
            own.setenv(name, value)
        for name in ("PULUMI_BACKEND_URL", "PULUMI_CONFIG_PASSPHRASE", "PULUMI_CONFIG_PASSPHRASE_FILE"):
            own.delenv(name, raising=False)
        own.setattr(drift, "RECORDS", drift.RECORDS)  # restored at the end
        yield Lab(tmp_path_factory.mktemp("lab"), engine, backend)


@pytest.fixture(scope="module")
def first(lab: Lab) -> Workspace:
    """The checkout that has created the lab. Each test leaves its version in both stack files."""
    workspace = lab.checkout("first")
    workspace.stack_file("dev").write_text("config:\n  hardway:version: v1\n")
    stack(workspace).select()
    pulumi(workspace, "config", "set", "--secret", "hardway:secret", "S3cret ")
    stack(workspace).up()
    return workspace


@pytest.fixture(scope="module")
def second(lab: Lab, first: Workspace) -> Workspace:
    """Another checkout, which has brought the lab up to date."""
    workspace = lab.checkout("second")
    commit(first, workspace)
    return workspace


def test_passphrase_is_only_in_private_files(first: Workspace) -> None:
    holding = [path for path in first.lab.rglob("*") if path.is_file() and PASSPHRASE in path.read_text("latin1")]
    assert [(path.name, path.stat().st_mode & 0o077) for path in holding] == [("passphrase", 0)]


def test_another_checkout_sees_the_same_state(second: Workspace) -> None:
    stack(second).select()
    assert (second.access("dev") / "ssh_config").exists()
    assert planned(second) == {}


def test_checkouts_take_turns(first: Workspace, second: Workspace, lab: Lab) -> None:
    for number, (one, other) in enumerate(((second, first), (first, second))):
        configure(one, version=f"turn {number}")
        assert planned(one) == {"node-0-kubelet": "update"}
        stack(one).up()
        assert lab.node.read_text() == f"S3cret turn {number}\n"
        commit(one, other)
        assert planned(other) == {}


def test_concurrent_change_is_refused_with_the_name_of_the_holder(
    first: Workspace, second: Workspace, lab: Lab
) -> None:
    configure(first, version="slow")
    commit(first, second)
    with lab.slow_update(first) as update:
        holder = rf"Stack dev is locked by \S+@{re.escape(socket.gethostname())} \(PID {update.pid}\) since "
        for command in (stack(second).up, stack(second).destroy, stack(second).roll_back):
            with pytest.raises(HostError, match=holder):
                command()
        with pytest.raises(HostError, match=holder), suspension.exclusive(second, "dev"):
            pass
    assert update.returncode == 0
    stack(second).up()
    assert planned(first) == {}


def test_own_checkout_removes_the_lock_of_a_killed_engine(
    first: Workspace, second: Workspace, lab: Lab, capfd: pytest.CaptureFixture[str]
) -> None:
    configure(first, version="killed")
    commit(first, second)
    with lab.slow_update(first) as update:
        update.send_signal(signal.SIGKILL)
        update.wait()
        with pytest.raises(HostError, match=r"No such process runs on this machine.*pulumi cancel dev"):
            stack(second).up()
    stack(first).up()
    assert "1 interrupted operation(s) cleared from the state" in capfd.readouterr().err
    assert lab.node.read_text() == "S3cret killed\n"
    assert planned(second) == {}


def test_lock_of_a_killed_engine_is_removed_by_hand(
    first: Workspace, second: Workspace, lab: Lab, capfd: pytest.CaptureFixture[str]
) -> None:
    configure(first, version="killed again")
    commit(first, second)
    with lab.slow_update(first) as update:
        update.send_signal(signal.SIGKILL)
        update.wait()
    pulumi(second, "cancel", "--yes")
    stack(second).up()
    assert "1 interrupted operation(s) cleared from the state" in capfd.readouterr().err
    assert planned(first) == {}


def test_wrong_passphrase_is_explained(first: Workspace, lab: Lab) -> None:
    other = lab.checkout("other", passphrase="guessed")
    commit(first, other)
    for command in (stack(other).up, stack(other).write_access):
        with pytest.raises(HostError, match=r"does not open the state of stack dev in s3://team/labs\. .*prepare"):
            command()
    assert "encryptionsalt" not in other.stack_file("dev").read_text()


def test_failed_change_of_another_checkout_is_rolled_back(first: Workspace, second: Workspace, lab: Lab) -> None:
    configure(first, version="good", onFailure="rollback")
    stack(first).up()
    commit(first, second)
    configure(second, version="bad")
    with pytest.raises(HostError, match=r"Everything was rolled back|Nothing was rolled back, because nothing else"):
        stack(second).up()
    stack(second).roll_back()
    assert lab.node.read_text() == "S3cret good\n"
    assert planned(first) == {}
    commit(first, second)


def test_rollback_without_the_earlier_configuration_is_refused(first: Workspace, second: Workspace) -> None:
    configure(first, version="bad", onFailure="stop")
    with pytest.raises(HostError):
        stack(first).up()
    with pytest.raises(HostError, match=r"This checkout does not know the configuration of .* UTC, because another"):
        stack(second).roll_back()
    stack(first).roll_back()
    commit(second, first)
    assert planned(first) == {}


def test_repairs_of_one_checkout_are_no_changes_in_another(first: Workspace, second: Workspace) -> None:
    drift.RECORDS = first.lab / "stacks"
    drift.record_drift("dev", {("node-0", "kubelet"): ["a file differs"]}, datetime.now(UTC))
    assert planned(first) == {"node-0-binaries": "update"}
    stack(first).up()
    assert planned(second) == {"node-0-binaries": "update"}
    stack(second).write_access()
    assert planned(second) == {}


def test_stack_moves_to_a_backend_with_its_secrets(lab: Lab) -> None:
    moved = lab.new_checkout("moved")
    lab.prepare(moved)
    moved.stack_file("dev").write_text("config:\n  hardway:version: v1\n")
    stack(moved).select()
    pulumi(moved, "config", "set", "--secret", "hardway:secret", "S3cret ")
    stack(moved).up()
    backend = lab.backend.replace("/labs", "/moved")
    lab.prepare(moved, PULUMI_BACKEND_URL=backend, PULUMI_CONFIG_PASSPHRASE_FILE=str(moved.passphrase))
    migrate = [str(moved.bin / "pulumi"), "stack", "migrate", moved.state.as_uri(), "dev", "--yes"]
    subprocess.run(migrate, cwd=moved.checkout, env=variables(moved), check=True)
    stack(moved).select()
    assert planned(moved) == {}
