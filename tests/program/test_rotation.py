"""The resources that each step of a rotation changes, and the services that restart."""

from itertools import pairwise
from typing import Any

import pytest

from components.preview import describe_change
from lab.config.parse import parse
from lab.node.render import services_of
from lab.node.service import Service
from lab.spec import Node, Spec
from tests.support.payload import files
from tests.support.program_stack import changed, setting
from tests.support.recording import Program, record
from tests.support.stacks import configuration

COMPONENT = "hardway:service:NodeService"
PKI = "hardway:pki:Pki hardway-pki"
ALL = ("kubernetes", "etcd", "frontProxy")


def stack(*keys: str, authorities: tuple[str, ...] = ALL, accounts: tuple[str, ...] = ()) -> Spec:
    """Return the default stack with keys of authorities, and of service account tokens."""
    names = [f"ca-{key}" for key in keys]
    changes = [setting("certificateAuthorities", dict.fromkeys(authorities, names))]
    if accounts:
        changes.append(setting("serviceAccountKeys", [f"key-{key}" for key in accounts]))
    return changed(*changes)


@pytest.fixture(scope="module")
def sequence(program: Program) -> list[tuple[Spec, Program]]:
    """The steps of the rotation of all authorities."""
    specs = [stack("1", "2"), stack("2", "1"), stack("2")]
    return [(changed(), program), *((spec, record(spec)) for spec in specs)]


def restarted(before: Program, spec: Spec, after: Program) -> set[str]:
    """Return the services that restart, as the preview announces them."""
    return {
        f"{node.name}-{service.name}"
        for node in spec.nodes
        for service in services_of(spec, node)
        if "will restart"
        in describe_change(node.name, service, *(_shown(each, node, service) for each in (before, after)))
    }


def _shown(run: Program, node: Node, service: Service) -> dict[str, Any]:
    return run.by_identity[f"{COMPONENT} {node.name}-{service.name}"].shown


READERS = {
    *(f"server-{name}" for name in ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "addons")),
    *(f"{node}-{name}" for node in ("node-0", "node-1") for name in ("kubelet", "kube-proxy", "kube-network-policies")),
}
RELOADS = {f"{node}-{name}" for node in ("node-0", "node-1") for name in ("kubelet", "kube-network-policies")}
"""The services that reread their certificate, but not those that they trust."""


@pytest.mark.parametrize(("number", "expected"), [(1, READERS), (2, READERS - RELOADS), (3, READERS)])
def test_services_that_restart_in_each_step(
    number: int, expected: set[str], sequence: list[tuple[Spec, Program]]
) -> None:
    (_, before), (spec, after) = sequence[number - 1], sequence[number]
    assert restarted(before, spec, after) == expected


def test_existing_resources_keep_their_names(program: Program, sequence: list[tuple[Spec, Program]]) -> None:
    both = sequence[1][1]
    kinds = ("tls:index/privateKey:PrivateKey", "tls:index/selfSignedCert:SelfSignedCert")
    added = {f"{kind} {name}-ca/ca-2" for kind in kinds for name in ("kubernetes", "etcd", "front-proxy")}
    assert both.added_since(program) == added
    assert program.by_identity.keys() <= both.by_identity.keys()


def test_certificates_are_issued_again_only_by_another_first_key(sequence: list[tuple[Spec, Program]]) -> None:
    runs = [run for _, run in sequence]
    signed = {one.identity for one in runs[0].of_type("tls:index/locallySignedCert:LocallySignedCert")}
    changes = [signed & after.changed_since(before) for before, after in pairwise(runs)]
    assert changes == [set(), signed, set()]


def test_a_bundle_does_not_change_when_another_key_issues(sequence: list[tuple[Spec, Program]]) -> None:
    texts = [files(run.command("node-0-kubelet").inputs["stdin"])["root/var/lib/kubelet/ca.crt"] for _, run in sequence]
    assert texts[1] == texts[2]
    assert [text.count("BEGIN CERTIFICATE") for text in texts] == [1, 2, 2, 1]
    assert texts[0] != texts[3]


def test_the_cluster_signs_with_one_certificate(sequence: list[tuple[Spec, Program]]) -> None:
    found = []
    for _, run in sequence[1:]:
        sent = files(run.command("server-kube-controller-manager").inputs["stdin"])
        found.append(sent["root/var/lib/kube-controller-manager/issuing-ca.crt"])
    assert [text.count("BEGIN CERTIFICATE") for text in found] == [1, 1, 1]
    assert found[0] != found[1] == found[2]


def test_pods_of_addons_start_again_with_other_trusted_certificates(sequence: list[tuple[Spec, Program]]) -> None:
    sent = [
        files(run.command("server-addons").inputs["stdin"])["root/var/lib/addons/manifests.yaml"] for _, run in sequence
    ]
    trusted = [text.count("hardway.dev/trusted-authorities: ca-1 ca-2") for text in sent]
    assert trusted == [0, 3, 3, 0]
    assert sent[1] == sent[2]
    assert sent[3].count("hardway.dev/trusted-authorities: ca-2\n") == 3


@pytest.mark.parametrize(("keys", "timeouts"), [(("1",), 1), (("1", "2"), 5)])
def test_addons_wait_for_the_controller_managers_of_all_control_planes(keys: tuple[str, ...], timeouts: int) -> None:
    spec = parse(configuration("ha") | {"certificateAuthorities": {"kubernetes": [f"ca-{key}" for key in keys]}})
    run = record(spec)
    timeout, other = (
        int(files(run.command(f"{spec.control_planes[0].name}-{name}").inputs["stdin"])["timeout"])
        for name in ("addons", "kube-scheduler")
    )
    assert timeout == timeouts * other


def test_the_state_records_the_keys(sequence: list[tuple[Spec, Program]]) -> None:
    recorded = [run.by_identity[PKI].inputs for _, run in sequence]
    assert recorded[0] == {}
    assert [each["issuers"]["etcd-ca"] for each in recorded[1:]] == [["ca-1", "ca-2"], ["ca-2", "ca-1"], ["ca-2"]]
    assert "rotate" in "".join(sequence[0][1].by_identity[PKI].hooks)


def test_nothing_changes_before_the_rotation_is_checked(program: Program) -> None:
    order = list(program)
    first = order[: order.index(program.by_identity[PKI])]
    kinds = {resource.type for resource in first if resource.custom}
    assert kinds == {"tls:index/privateKey:PrivateKey", "pulumi:providers:libvirt"}


def test_another_etcd_authority_restarts_only_etcd_and_its_client(program: Program) -> None:
    spec = stack("1", "2", authorities=("etcd",))
    assert restarted(program, spec, record(spec)) == {"server-etcd", "server-kube-apiserver"}


def test_another_service_account_key_restarts_only_who_reads_it(program: Program) -> None:
    runs = [(changed(), program)]
    for keys in (("1", "2"), ("2", "1"), ("2",)):
        spec = stack("1", authorities=(), accounts=keys)
        runs.append((spec, record(spec)))
    steps = [restarted(runs[n][1], *runs[n + 1]) for n in range(3)]
    api_server, both = {"server-kube-apiserver"}, {"server-kube-apiserver", "server-kube-controller-manager"}
    assert steps == [api_server, both, api_server]


def test_public_keys_have_their_names_and_no_private_key() -> None:
    spec = stack("1", authorities=(), accounts=("2", "1"))
    text = files(record(spec).command("server-kube-apiserver").inputs["stdin"])[
        "root/var/lib/kubernetes/service-accounts.pub"
    ]
    assert [line.split()[0] for line in text.splitlines() if line.startswith("key-")] == ["key-1", "key-2"]
    assert text.count("BEGIN PUBLIC KEY") == 2
    assert "PRIVATE" not in text
