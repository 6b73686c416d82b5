"""The stack that joins a cluster: its resources, the place of the administrator's work, and secrecy."""

import base64
import json
from typing import Any

import pytest
import yaml

from components import artifacts
from lab.config.parse import parse
from tests.support.certificates import pair
from tests.support.changes import Values
from tests.support.credential_places import BETWEEN_CERTIFICATES, TO_A_MACHINE, flattened, lines
from tests.support.payload import files
from tests.support.program_stack import MAX_CONNECTIONS_OF_A_WORKER, MAX_RESOURCES_OF_A_WORKER
from tests.support.recording import HIDDEN, Program, record
from tests.support.ssh_keys import HOST_KEY, PRIVATE_KEY
from tests.support.stacks import configuration, stack_spec

AUTHORITY, AUTHORITY_KEY = pair("kubernetes-ca")
NEXT_AUTHORITY, INTERMEDIATE = pair("next-ca")[0], pair("intermediate-ca", issuer="kubernetes-ca")[0]
LOCALLY_SIGNED = "tls:index/locallySignedCert:LocallySignedCert"
TOKEN = "abcdef.0123456789abcdef"
KUBECONFIG = yaml.safe_dump({"clusters": [], "users": [{"user": {"token": "the token of someone"}}]})
GIVEN = [
    dict(zip(("certificate", "key"), pair(name), strict=True)) for name in ("system:kube-proxy", "system:node:guest-0")
]
NEW_WORKER = {"name": "guest-1", "address": "10.240.0.31", "podCidr": "10.200.31.0/24"}


def joining(**changes: Any) -> Values:
    """Return the stack's configuration with other credentials."""
    values = configuration("join")
    del values["join"]["caKey"]
    values["join"] |= changes
    return values


@pytest.fixture(scope="module")
def run() -> Program:
    """The unchanged stack, which signs certificates with the authority's key."""
    return record(stack_spec("join"))


@pytest.fixture(scope="module")
def by_token() -> Program:
    """A lab with a bootstrap token and kube-proxy's certificate, and without an administrator."""
    return record(parse(joining(bootstrapToken=TOKEN, certificates=GIVEN[:1])))


@pytest.fixture(scope="module")
def by_certificates() -> Program:
    """A lab with all certificates and an administrator's kubeconfig."""
    return record(parse(joining(certificates=GIVEN, kubeconfig=KUBECONFIG)))


def test_joining_lab_has_no_control_plane_or_network(run: Program) -> None:
    assert not run.of_type("hardway:node:ControlPlane")
    assert not run.of_type("libvirt:index/network:Network")
    assert not run.of_type("tls:index/selfSignedCert:SelfSignedCert")
    assert {resource.name for resource in run.of_type(LOCALLY_SIGNED)} == {
        "admin",
        "kube-proxy",
        "kubelet-guest-0",
    }
    applied = {resource.name for resource in run.of_type("hardway:service:NodeService")}
    assert applied == {f"guest-0-{service}" for service in ("node-setup", "containerd", "kubelet", "kube-proxy")}


def test_vms_use_the_existing_network(run: Program) -> None:
    [domain] = run.of_type("libvirt:index/domain:Domain")
    [interface] = domain.inputs["networkInterfaces"]
    assert interface["networkName"] == "hardway"
    assert "networkId" not in interface
    assert interface["addresses"] == ["10.240.0.30"]


def test_given_authority_signs(run: Program) -> None:
    for certificate in run.of_type(LOCALLY_SIGNED):
        assert certificate.inputs["caPrivateKeyPem"] == AUTHORITY_KEY
        assert certificate.shown["caPrivateKeyPem"] == HIDDEN
        assert certificate.inputs["caCertPem"] == AUTHORITY


def test_one_authority_signs_and_all_are_trusted(run: Program) -> None:
    values, bundle = configuration("join"), NEXT_AUTHORITY + AUTHORITY
    values["join"]["caCertificate"] = bundle
    several = record(parse(values))
    signed = {certificate.inputs["caCertPem"] for certificate in several.of_type(LOCALLY_SIGNED)}
    assert signed == {AUTHORITY}
    for service in ("kubelet", "kube-proxy"):
        sent = files(several.command(f"guest-0-{service}").inputs["stdin"])
        assert sent[f"root/var/lib/{service}/ca.crt"] == bundle
    [cluster] = yaml.safe_load(several.outputs["kubeconfig"])["clusters"]
    assert base64.b64decode(cluster["cluster"]["certificate-authority-data"]).decode() == bundle
    shown = [
        program.by_identity["hardway:service:NodeService guest-0-kubelet"].inputs["credentials"]
        for program in (run, several)
    ]
    assert [path for path in shown[0] if shown[0][path] != shown[1][path]] == ["/var/lib/kubelet/ca.crt"]


def test_worker_registers_itself_and_leaves_before_its_vm(run: Program) -> None:
    registration = run.command("guest-0-registration")
    assert registration.address == "10.240.0.30"
    program = "/usr/local/lib/hardway/node-registration --kubeconfig-from-stdin"
    assert registration.inputs["create"].partition(" #")[0] == f"{program} join guest-0 worker '' '' 10.200.30.0/24"
    assert registration.inputs["delete"] == f"{program} leave guest-0"
    assert registration.deleted_with == ""
    assert {"guest-0-domain", "guest-0-kubelet", "guest-0-kube-proxy"} <= run.needed_by(registration)
    assert registration.shown["stdin"] == HIDDEN
    assert registration.inputs["stdin"] == run.outputs["kubeconfig"]


def test_other_commands_are_deleted_with_the_vm(run: Program) -> None:
    for command in run.commands:
        if command.name != "guest-0-registration":
            assert run.resources[command.deleted_with].name == "guest-0-domain", command


def test_given_kubeconfig_registers_the_node(by_certificates: Program) -> None:
    assert by_certificates.command("guest-0-registration").inputs["stdin"] == KUBECONFIG
    assert by_certificates.outputs["kubeconfig"] == KUBECONFIG
    assert by_certificates.shown_outputs["kubeconfig"] == HIDDEN
    assert "administrator" not in by_certificates.outputs


def test_administrator_of_another_cluster_needs_no_binding(run: Program) -> None:
    assert run.outputs["administrator"] == {"group": "system:masters", "certificateHours": 12}


def test_without_administrator_nothing_is_registered(by_token: Program) -> None:
    assert "command:remote:Command guest-0-registration" not in by_token.by_identity
    assert by_token.outputs.keys().isdisjoint({"kubeconfig", "administrator"})


def test_worker_gets_given_credentials(by_token: Program, by_certificates: Program) -> None:
    kubelet = files(by_token.command("guest-0-kubelet").inputs["stdin"])
    assert kubelet["root/run/hardway/bootstrap-token"] == TOKEN
    assert kubelet["root/var/lib/kubelet/ca.crt"] == AUTHORITY
    kubelet = files(by_certificates.command("guest-0-kubelet").inputs["stdin"])
    assert (kubelet["root/var/lib/kubelet/kubelet.crt"], kubelet["root/var/lib/kubelet/kubelet.key"]) == pair(
        "system:node:guest-0"
    )
    assert not by_certificates.of_type(LOCALLY_SIGNED)


def test_worker_gets_intermediate_certificates() -> None:
    certificate, key = pair("system:node:guest-0", issuer="intermediate-ca")
    values = joining(certificates=[GIVEN[0], {"certificate": certificate + INTERMEDIATE, "key": key}])
    sent = files(record(parse(values)).command("guest-0-kubelet").inputs["stdin"])
    assert sent["root/var/lib/kubelet/kubelet.crt"] == certificate + INTERMEDIATE


def test_only_the_authority_owner_exports_its_key(run: Program, program: Program) -> None:
    assert "certificateAuthorityKey" not in run.outputs
    assert program.shown_outputs["certificateAuthorityKey"] == HIDDEN
    signing = program.by_identity["tls:index/locallySignedCert:LocallySignedCert admin"]
    assert program.outputs["certificateAuthorityKey"] == signing.inputs["caPrivateKeyPem"]


@pytest.mark.parametrize("way", ["run", "by_token", "by_certificates"])
def test_given_secrets_travel_only_on_standard_input(way: str, request: pytest.FixtureRequest) -> None:
    program: Program = request.getfixturevalue(way)
    secrets = [
        line for key in (AUTHORITY_KEY, *(given["key"] for given in GIVEN), *program.private) for line in lines(key)
    ]
    secrets += [TOKEN, TOKEN.partition(".")[2], "the token of someone"]
    assert not [secret for secret in secrets if secret in json.dumps(program.shown_outputs)]
    for resource in program:
        assert not [secret for secret in secrets if secret in json.dumps(resource.shown)], resource
        packed = resource.shown.get("stdin", HIDDEN)
        assert packed == HIDDEN or not [secret for secret in secrets if secret in json.dumps(files(packed))], resource
        places = {place for place, value in flattened(resource.inputs) if any(secret in value for secret in secrets)}
        assert places <= TO_A_MACHINE | (BETWEEN_CERTIFICATES if resource.type.startswith("tls:") else set()), resource
    for service in program.of_type("hardway:service:NodeService"):
        assert service.shown == service.inputs
        assert all(text.startswith("SHA256:") for text in service.shown.get("credentials", {}).values())


def test_added_worker_stays_within_limits(run: Program) -> None:
    values = configuration("join")
    values["workers"].append(NEW_WORKER)
    wider = record(parse(values))
    added = wider.added_since(run)
    assert all(NEW_WORKER["name"] in name for name in added)
    assert len(added) <= MAX_RESOURCES_OF_A_WORKER, sorted(added)
    assert len([name for name in added if wider.by_identity[name].is_command]) <= MAX_CONNECTIONS_OF_A_WORKER
    assert {name.partition(" ")[2] for name in wider.changed_since(run)} == {"access", "guest-0-node-setup"}


# A worker on an existing machine


def on_a_machine(**changes: Any) -> Program:
    """Return a run of the stack with its only worker on an existing machine."""
    values = configuration("join")
    del values["network"]
    machine = {"user": "debian", "privateKey": PRIVATE_KEY, "hostKey": HOST_KEY}
    values["workers"][0] |= {"address": "192.168.9.9", "machine": machine} | changes
    values["podRoutes"] = [{"podCidr": "10.200.0.0/24", "address": "192.168.9.8"}]
    spec = parse(values)
    return record(spec, image=artifacts.base_image(spec))


@pytest.fixture(scope="module")
def machine() -> Program:
    """The stack without a VM."""
    return on_a_machine()


def test_lab_without_vms_has_no_hypervisor(machine: Program) -> None:
    assert machine.of_type("hardway:machine:Machine")
    assert not [resource for resource in machine if "libvirt" in resource.type or "hypervisor" in resource.type]


def test_machine_and_vm_get_the_same_commands(run: Program, machine: Program) -> None:
    assert {resource.name for resource in machine.commands} == {resource.name for resource in run.commands}
    routes = files(machine.command("guest-0-node-setup").inputs["stdin"])["root/etc/kubernetes/pod-routes"]
    assert routes == "10.200.0.0/24 192.168.9.8\n10.200.0.0/16 unreachable\n"


def test_machine_leaves_before_its_services_end(machine: Program) -> None:
    registration = machine.command("guest-0-registration")
    assert registration.address == "192.168.9.9"
    assert "node-registration --kubeconfig-from-stdin leave guest-0" in registration.inputs["delete"]
    assert registration.inputs["delete"].startswith("sudo ")
    assert registration.inputs["stdin"] == machine.outputs["kubeconfig"]
    others = {command.name for command in machine.commands} - {registration.name}
    assert others <= machine.needed_by(registration)
    assert not [command for command in machine.commands if command.deleted_with]


def test_moved_node_stays_in_the_cluster(machine: Program) -> None:
    # At its replacement, the command would delete the Node object, which already belongs to the new machine.
    moved = on_a_machine(address="192.168.9.10")
    for command in moved.of_type("command:remote:Command"):
        before = machine.command(command.name)
        replaced = command.inputs.get("triggers") != before.inputs.get("triggers")
        assert replaced is (command.name != "guest-0-registration")
