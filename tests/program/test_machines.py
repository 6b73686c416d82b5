"""A worker on a machine that is already there: no VM is made for it, and it is given back."""

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
    """A run of the default stack, with keys of the lab's own, and with a worker more, on such a machine."""
    machine = {"privateKey": PRIVATE_KEY, "hostKey": HOST_KEY, **login}
    values = default_configuration() | (lab or {})
    values["workers"].append(NEW_WORKER | {"address": ADDRESS, "machine": machine})
    return record(parse(values))


@pytest.fixture(scope="module")
def run() -> Program:
    """The default stack with such a worker, reached in the usual way."""
    return with_machine()


def remote(run: Program) -> list[Resource]:
    """What is run on the machine."""
    return [command for command in run.of_type("command:remote:Command") if command.address == ADDRESS]


def push(run: Program) -> Resource:
    return run.by_identity[f"command:local:Command {NODE}-binaries"]


def test_no_vm_is_made_for_it(program: Program, run: Program) -> None:
    added = run.added_since(program)
    assert f"command:remote:Command {NODE}-kubelet" in added
    assert not [identity for identity in added if identity.startswith("libvirt:") or "host-key" in identity]


def test_it_is_reached_as_configured_and_must_prove_its_host_key(run: Program) -> None:
    assert remote(run)
    for command in remote(run):
        connection = command.inputs["connection"]
        assert (connection["user"], connection["port"]) == ("root", 22)
        assert (connection["privateKey"], connection["hostKey"]) == (PRIVATE_KEY, HOST_KEY)
    login = {"address": ADDRESS, "key": PRIVATE_KEY, "host_key": HOST_KEY, "user": "root", "port": 22}
    assert json.loads(push(run).inputs["stdin"]) == login


def test_its_key_shows_nowhere(run: Program) -> None:
    body = PRIVATE_KEY.splitlines()[1]
    for resource in run:
        assert body not in json.dumps(resource.shown), resource
    assert body not in json.dumps(run.shown_outputs)
    assert run.shown_outputs["machineKeys"] == {NODE: HIDDEN}
    assert run.outputs["machineKeys"] == {NODE: PRIVATE_KEY}


def test_nothing_of_it_goes_with_a_vm(run: Program) -> None:
    for command in [*remote(run), push(run)]:
        assert command.deleted_with == "", command


def test_all_that_is_done_there_is_undone_and_what_was_first_is_last(run: Program) -> None:
    prepared = run.command(f"{NODE}-prepared")
    assert prepared.inputs["delete"].endswith("/machine release")
    others = [command for command in remote(run) if command != prepared]
    assert {command.inputs["delete"].rpartition("/")[2] for command in others} == {
        f"service remove {service}" for service in ("node-setup", "containerd", "kubelet", "kube-proxy")
    }
    for command in others:
        assert prepared.name in run.needed_by(command)


def test_it_takes_leave_of_the_cluster_before_its_services_end(run: Program) -> None:
    membership = run.command(f"{NODE}-membership")
    assert f"leave {NODE}" in membership.inputs["delete"]
    assert {command.name for command in remote(run)} <= run.needed_by(membership)


def test_it_is_taken_before_anything_is_prepared_there(run: Program) -> None:
    create = run.command(f"{NODE}-prepared").inputs["create"]
    assert f"/machine claim '{NODE} of lab hardway at {ADDRESS}' cnio0 /var/lib/kubelet/pki && " in create
    assert create.index("/machine claim") < create.index("/install-prerequisites")


def test_another_address_is_another_machine(run: Program) -> None:
    for command in remote(run):
        assert command.inputs["triggers"] == [ADDRESS]


def test_the_other_nodes_get_routes_to_its_pods_and_nothing_else(program: Program, run: Program) -> None:
    changed = {identity.rpartition(" ")[2] for identity in run.changed_since(program)}
    assert changed == {"access", *(f"{node}-node-setup" for node in ("server", "node-0", "node-1"))}


def test_another_user_becomes_root_by_sudo() -> None:
    run = with_machine(user="debian", port=2222)
    for command in remote(run):
        assert (command.inputs["connection"]["user"], command.inputs["connection"]["port"]) == ("debian", 2222)
        for text in (command.inputs["create"], command.inputs["delete"]):
            assert text.startswith("sudo --non-interactive sh -c '")
    assert json.loads(push(run).inputs["stdin"])["user"] == "debian"


def test_the_outputs_say_how_to_log_in() -> None:
    outputs = with_machine(user="debian", port=2222).outputs
    node = outputs["nodes"][NODE]
    assert (node["address"], node["user"], node["port"]) == (ADDRESS, "debian", 2222)
    assert node["ssh"].endswith(f"ssh_config {NODE}")
    assert f"[{ADDRESS}]:2222 {HOST_KEY}" in outputs["knownHosts"].splitlines()


def test_a_default_stack_has_no_keys_but_its_own(program: Program) -> None:
    assert "machineKeys" not in program.outputs
