"""A worker on an existing machine, which the lab adopts and releases."""

import json
from typing import Any

import pytest

from lab.config.parse import parse
from tests.support.changes import default_configuration
from tests.support.program_stack import NEW_WORKER
from tests.support.recording import HIDDEN, Program, Resource, record
from tests.support.ssh_keys import HOST_KEY, PRIVATE_KEY

ADDRESS = "10.240.0.99"
NODE = NEW_WORKER["name"]


def with_machine(*, lab: dict[str, Any] | None = None, **login: Any) -> Program:
    """Return a run of the default stack with another worker on an existing machine.

    Args:
        lab: Additional keys of the configuration.
        login: Additional keys of the machine.
    """
    machine = {"privateKey": PRIVATE_KEY, "hostKey": HOST_KEY, **login}
    values = default_configuration() | (lab or {})
    values["workers"].append(NEW_WORKER | {"address": ADDRESS, "machine": machine})
    return record(parse(values))


@pytest.fixture(scope="module")
def run() -> Program:
    """The default stack with such a worker and the default login."""
    return with_machine()


def remote(run: Program) -> list[Resource]:
    """Return the commands that run on the machine."""
    return [command for command in run.of_type("command:remote:Command") if command.address == ADDRESS]


def push(run: Program) -> Resource:
    return run.by_identity[f"command:local:Command {NODE}-binaries"]


def test_machine_has_no_vm(program: Program, run: Program) -> None:
    added = run.added_since(program)
    assert f"command:remote:Command {NODE}-kubelet" in added
    assert not [identity for identity in added if identity.startswith("libvirt:") or "host-key" in identity]


def test_connection_uses_configured_login_and_host_key(run: Program) -> None:
    assert remote(run)
    for command in remote(run):
        connection = command.inputs["connection"]
        assert (connection["user"], connection["port"]) == ("root", 22)
        assert (connection["privateKey"], connection["hostKey"]) == (PRIVATE_KEY, HOST_KEY)
    login = {"address": ADDRESS, "key": PRIVATE_KEY, "host_key": HOST_KEY, "user": "root", "port": 22}
    assert json.loads(push(run).inputs["stdin"]) == login


def test_machine_key_is_secret(run: Program) -> None:
    body = PRIVATE_KEY.splitlines()[1]
    for resource in run:
        assert body not in json.dumps(resource.shown), resource
    assert body not in json.dumps(run.shown_outputs)
    assert run.shown_outputs["machineKeys"] == {NODE: HIDDEN}
    assert run.outputs["machineKeys"] == {NODE: PRIVATE_KEY}


def test_commands_are_not_deleted_with_a_vm(run: Program) -> None:
    for command in [*remote(run), push(run)]:
        assert command.deleted_with == "", command


def test_every_command_has_a_delete(run: Program) -> None:
    prepared = run.command(f"{NODE}-prepared")
    assert prepared.inputs["delete"].endswith("/machine release")
    others = [command for command in remote(run) if command != prepared]
    assert {command.inputs["delete"].rpartition("/")[2] for command in others} == {
        f"service remove {service}"
        for service in ("node-setup", "containerd", "kubelet", "kube-proxy", "kube-network-policies")
    }
    for command in others:
        assert prepared.name in run.needed_by(command)


def test_node_leaves_before_its_services_end(run: Program) -> None:
    registration = run.command(f"{NODE}-registration")
    assert f"leave {NODE}" in registration.inputs["delete"]
    assert {command.name for command in remote(run)} <= run.needed_by(registration)


def test_machine_is_adopted_before_it_is_prepared(run: Program) -> None:
    create = run.command(f"{NODE}-prepared").inputs["create"]
    arguments = f"'{NODE} of lab hardway at {ADDRESS}' cnio0 /var/lib/kubelet/pki 10-bridge.conflist"
    assert f"/machine claim {arguments} && " in create
    assert create.index("/machine claim") < create.index("/install-prerequisites")


def test_new_address_is_a_new_machine(run: Program) -> None:
    for command in remote(run):
        assert command.inputs["triggers"] == [ADDRESS]


def test_other_nodes_only_get_routes(program: Program, run: Program) -> None:
    changed = {identity.rpartition(" ")[2] for identity in run.changed_since(program)}
    assert changed == {"access", *(f"{node}-node-setup" for node in ("server", "node-0", "node-1"))}


def test_other_users_use_sudo() -> None:
    run = with_machine(user="debian", port=2222)
    for command in remote(run):
        assert (command.inputs["connection"]["user"], command.inputs["connection"]["port"]) == ("debian", 2222)
        for text in (command.inputs["create"], command.inputs["delete"]):
            assert text.startswith("sudo --non-interactive sh -c '")
    assert json.loads(push(run).inputs["stdin"])["user"] == "debian"


def test_outputs_contain_the_login() -> None:
    outputs = with_machine(user="debian", port=2222).outputs
    node = outputs["nodes"][NODE]
    assert (node["address"], node["user"], node["port"]) == (ADDRESS, "debian", 2222)
    assert node["ssh"].endswith(f"ssh_config {NODE}")
    assert f"[{ADDRESS}]:2222 {HOST_KEY}" in outputs["knownHosts"].splitlines()


def test_default_stack_exports_no_machine_keys(program: Program) -> None:
    assert "machineKeys" not in program.outputs
