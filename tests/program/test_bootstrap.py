"""The stack whose kubelets use bootstrap tokens: its resources, their order, and the secrecy of the tokens."""

import json

import pytest
import yaml

from lab.config.parse import load
from lab.node.bootstrap import token, token_id
from lab.spec import Spec
from system.files import CHECKOUT
from tests.support.changes import spec_of
from tests.support.payload import files
from tests.support.program_stack import MAX_CONNECTIONS_OF_A_WORKER, MAX_RESOURCES_OF_A_WORKER
from tests.support.recording import Program, record

STACK_FILE = CHECKOUT / "Pulumi.bootstrap.yaml"
NEW_WORKER = {"name": "worker3", "address": "10.241.0.23", "podCidr": "10.244.4.0/24"}


@pytest.fixture(scope="module")
def spec() -> Spec:
    return load(STACK_FILE)


@pytest.fixture(scope="module")
def run(spec: Spec) -> Program:
    return record(spec)


@pytest.fixture(scope="module")
def wider() -> Program:
    """The stack with another worker."""
    declared = yaml.safe_load(STACK_FILE.read_text(encoding="utf-8"))["config"]
    values = {key.removeprefix("hardway:"): value for key, value in declared.items()}
    values["workers"].append(NEW_WORKER)
    return record(spec_of(values))


def tokens(run: Program, spec: Spec) -> dict[str, str]:
    """The token of each node, as the first control plane has it."""
    admission = files(run.command("cp1-bootstrap-tokens").inputs["stdin"])
    return {node.name: admission[f"root/var/lib/bootstrap-tokens/{node.name}"] for node in spec.nodes}


def test_worker_stays_within_limits(run: Program, wider: Program) -> None:
    added = wider.added_since(run)
    assert all(NEW_WORKER["name"] in name for name in added)
    assert len(added) <= MAX_RESOURCES_OF_A_WORKER, sorted(added)
    assert len([name for name in added if wider.by_identity[name].is_command]) <= MAX_CONNECTIONS_OF_A_WORKER


def test_added_worker_changes_only_routes_and_tokens(run: Program, wider: Program, spec: Spec) -> None:
    changed = {name.partition(" ")[2] for name in wider.changed_since(run)}
    assert changed == {"access", "cp1-bootstrap-tokens", *(f"{node.name}-node-setup" for node in spec.nodes)}


def test_node_gets_only_its_own_token(run: Program, spec: Spec) -> None:
    known = tokens(run, spec)
    [key] = {key for key in run.private for node, text in known.items() if token(key, node) == text}
    assert known == {node.name: token(key, node.name) for node in spec.nodes}
    for node in spec.nodes:
        sent = files(run.command(f"{node.name}-kubelet").inputs["stdin"])
        assert sent["root/run/hardway/bootstrap-token"] == known[node.name]
        assert not [other for other in known if other != node.name and known[other] in "".join(sent.values())]


def test_tokens_travel_only_on_standard_input(run: Program, spec: Spec) -> None:
    secrets = [text.partition(".")[2] for text in tokens(run, spec).values()]
    assert len(set(secrets)) == len(spec.nodes)
    assert not [secret for secret in secrets if secret in json.dumps(run.shown_outputs)]
    for resource in run:
        assert not [secret for secret in secrets if secret in json.dumps(resource.shown)], resource
        others = {name: value for name, value in resource.inputs.items() if name != "stdin"}
        assert not [secret for secret in secrets if secret in json.dumps(others)], resource


def test_kubelets_wait_for_bootstrap_tokens(run: Program, spec: Spec) -> None:
    for node in spec.nodes:
        assert "cp1-bootstrap-tokens" in run.needed_by(run.command(f"{node.name}-kubelet"))
    assert "cp1-addons" in run.needed_by(run.command("cp1-bootstrap-tokens"))


def test_registration_revokes_the_token(run: Program, spec: Spec) -> None:
    for node in spec.nodes:
        assert (
            run.command(f"{node.name}-registration")
            .inputs["create"]
            .partition(" #")[0]
            .endswith(f" {token_id(node.name)}")
        )
