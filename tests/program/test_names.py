"""A worker whose name has a domain: the name goes whole wherever a node's name goes, and meets no other there."""

import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from host.access import access_files
from lab.config.parse import parse
from lab.node.render import services_of
from lab.spec import Spec
from ops.smoke.objects import manifest
from tests.support.certificates import pair
from tests.support.changes import Values, spec_of
from tests.support.payload import files
from tests.support.recording import Program, Resource, record
from tests.support.ssh_keys import HOST_KEY, PRIVATE_KEY
from tests.support.stacks import configuration

NAME, FIRST, ADDRESS = "node-1.example.com", "node-1", "10.240.0.21"
NETWORK = "libvirt:index/network:Network"


def named(name: str, stack: str = "dev", **changes: Any) -> Spec:
    """A stack whose last worker has another name."""
    values: Values = configuration(stack) | changes
    values["workers"][-1]["name"] = name
    return spec_of(values)


@pytest.fixture(scope="module")
def spec() -> Spec:
    """The default stack with such a worker."""
    return named(NAME)


@pytest.fixture(scope="module")
def run(spec: Spec) -> Program:
    """What is registered for it."""
    return record(spec)


def user_data(run: Program, name: str) -> Values:
    disk = run.by_identity[f"libvirt:index/cloudInitDisk:CloudInitDisk {name}-cloud-init"]
    assert f"local-hostname: {name}\n" in disk.inputs["metaData"]
    document: Values = yaml.safe_load(disk.inputs["userData"])
    return document


def interface(run: Program, name: str) -> Values:
    [found] = run.by_identity[f"libvirt:index/domain:Domain {name}-domain"].inputs["networkInterfaces"]
    return dict(found)


def network(run: Program) -> Resource:
    [found] = run.of_type(NETWORK)
    return found


def test_cloud_init_makes_the_whole_name_the_host_name(run: Program) -> None:
    told = user_data(run, NAME)
    assert (told["hostname"], told["fqdn"], told["prefer_fqdn_over_hostname"]) == (NAME, NAME, True)


def test_the_vm_of_a_node_without_a_domain_stays_as_it_is(run: Program, program: Program) -> None:
    """Other user-data would make it anew, and another network all of them."""
    assert user_data(run, "node-0").keys() == user_data(program, "node-0").keys() == {
        "hostname", "disable_root", "ssh_pwauth", "users", "ssh_keys",
    }  # fmt: skip
    assert interface(program, "node-0")["hostname"] == "node-0"
    assert network(program).inputs["dns"] == {"enabled": True}


def test_the_dns_of_the_network_knows_the_whole_name(run: Program) -> None:
    assert network(run).inputs["dns"] == {"enabled": True, "hosts": [{"hostname": NAME, "ip": ADDRESS}]}


@pytest.mark.parametrize("other", ["node-0.example.com", "node-0-example-com.org"])
def test_no_address_is_reserved_under_the_name_of_another_node(other: str) -> None:
    """dnsmasq takes a name up to its first dot, unless the rest is the domain of the network."""
    run = record(named(other))
    reserved = [interface(run, name)["hostname"].partition(".")[0] for name in ("server", "node-0", other)]
    assert len(set(reserved)) == len(reserved)
    assert interface(run, other)["addresses"] == [ADDRESS]
    assert "." not in interface(run, other)["hostname"]


def test_nodes_that_differ_in_their_domains_alone_have_nothing_in_common() -> None:
    values: Values = configuration("dev")
    for worker, name in zip(values["workers"], ("a.example.com", "a.example.org"), strict=True):
        worker["name"] = name
    run = record(spec_of(values))
    both = [interface(run, name)["hostname"] for name in ("a.example.com", "a.example.org")]
    assert both[0] != both[1]
    assert network(run).inputs["dns"]["hosts"] == [
        {"hostname": "a.example.com", "ip": "10.240.0.20"},
        {"hostname": "a.example.org", "ip": ADDRESS},
    ]


def test_kubelet_and_kube_proxy_are_told_the_whole_name(run: Program) -> None:
    kubelet, kube_proxy = (files(run.command(f"{NAME}-{name}").inputs["stdin"]) for name in ("kubelet", "kube-proxy"))
    assert f"--hostname-override={NAME} \\\n" in kubelet["root/etc/systemd/system/kubelet.service"]
    assert f"user: system:node:{NAME}\n" in kubelet["root/var/lib/kubelet/kubeconfig"]
    assert f"kubelet-healthy {NAME} " in kubelet["health"]
    settings = yaml.safe_load(kube_proxy["root/var/lib/kube-proxy/kube-proxy-config.yaml"])
    assert settings["hostnameOverride"] == NAME


def test_the_certificate_is_that_of_the_whole_name(run: Program) -> None:
    request = run.by_identity[f"tls:index/certRequest:CertRequest kubelet-{NAME}"]
    assert request.inputs["subject"] == {"commonName": f"system:node:{NAME}", "organization": "system:nodes"}
    assert (request.inputs["dnsNames"], request.inputs["ipAddresses"]) == ([NAME], [ADDRESS])


def test_the_node_joins_and_leaves_under_the_whole_name(run: Program) -> None:
    membership = run.command(f"{NAME}-membership")
    assert shlex.split(membership.inputs["create"].partition(" #")[0])[1:3] == ["join", NAME]
    assert shlex.split(membership.inputs["delete"])[1:3] == ["leave", NAME]


def test_nothing_anywhere_has_the_name_without_its_domain(run: Program, spec: Spec) -> None:
    cut = [resource.identity for resource in run if FIRST in resource.name.replace(NAME, "")]
    assert not cut
    for service in services_of(spec, spec.workers[1]):
        for text in [*service.visible_files.values(), service.health, service.check]:
            assert FIRST not in text.replace(NAME, "")


def test_resources_of_another_name_are_the_same_but_for_it(run: Program, program: Program) -> None:
    assert {name.replace(NAME, FIRST) for name in run.by_identity} == program.by_identity.keys()
    domain = run.by_identity[f"libvirt:index/domain:Domain {NAME}-domain"]
    assert domain.inputs["name"] == f"hardway-{NAME}"


def test_outputs_and_ssh_have_the_whole_name(run: Program, tmp_path: Path) -> None:
    assert run.outputs["nodes"].keys() == run.outputs["services"].keys() == {"server", "node-0", NAME}
    access_files.write_into(tmp_path, access_files.AccessDetails.from_dict(run.outputs), "python3", None)
    assert f"Host {NAME}\n    HostName {ADDRESS}\n" in (tmp_path / "ssh_config").read_text()


def test_a_pod_is_tried_on_the_node_of_that_name() -> None:
    terms = [
        term
        for document in yaml.safe_load_all(manifest("somewhere", [NAME]))
        if document["kind"] == "DaemonSet"
        for term in document["spec"]["template"]["spec"]["affinity"]["nodeAffinity"][
            "requiredDuringSchedulingIgnoredDuringExecution"
        ]["nodeSelectorTerms"]
    ]
    assert [term["matchFields"][0]["values"] for term in terms] == [[NAME]] * 2


def test_a_bootstrap_token_stands_and_ends_under_the_whole_name() -> None:
    run = record(named(NAME, "bootstrap"))
    admission = files(run.command("cp1-bootstrap-tokens").inputs["stdin"])
    token = admission[f"root/var/lib/bootstrap-tokens/{NAME}"]
    assert files(run.command(f"{NAME}-kubelet").inputs["stdin"])["root/run/hardway/bootstrap-token"] == token
    assert run.command(f"{NAME}-membership").inputs["create"].partition(" #")[0].endswith(token.partition(".")[0])


def test_a_node_reads_its_whole_name_from_its_user_data() -> None:
    run = record(named(NAME, "userdata"))
    assert user_data(run, NAME)["hardway"] == {"name": NAME, "pod-cidr": "172.20.1.0/24"}
    kubelet = files(run.command(f"{NAME}-kubelet").inputs["stdin"])
    assert f"root/var/lib/kubelet/{NAME}-key.pem" in kubelet


def test_certificates_that_are_made_already_are_those_of_the_whole_name() -> None:
    values = configuration("join")
    values["workers"][0]["name"] = NAME
    certificates = [
        pair(user, names=(NAME, values["workers"][0]["address"]))
        for user in ("system:kube-proxy", f"system:node:{NAME}")
    ]
    values["join"]["certificates"] = [{"certificate": certificate, "key": key} for certificate, key in certificates]
    del values["join"]["caKey"]
    run = record(parse(values))
    kubelet = files(run.command(f"{NAME}-kubelet").inputs["stdin"])
    assert kubelet["root/var/lib/kubelet/kubelet.crt"] == certificates[1][0]


def test_the_key_of_a_machine_is_kept_under_the_whole_name(tmp_path: Path) -> None:
    run = record(named(NAME, workers=[*_workers(), _machine()]))
    access_files.write_into(tmp_path, access_files.AccessDetails.from_dict(run.outputs), "python3", None)
    assert (tmp_path / f"{NAME}.key").read_text() == PRIVATE_KEY
    assert f'    IdentityFile "{tmp_path}/{NAME}.key"\n' in (tmp_path / "ssh_config").read_text()


def _workers() -> list[Values]:
    return list(configuration("dev")["workers"])


def _machine() -> Values:
    machine = {"user": "debian", "privateKey": PRIVATE_KEY, "hostKey": HOST_KEY}
    return {"name": "machine", "address": "10.240.0.77", "podCidr": "10.200.7.0/24", "machine": machine}
