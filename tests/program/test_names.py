"""A worker whose name has a domain: the whole name is used everywhere, and collides with no other."""

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
    """Return the spec of a stack whose last worker has another name."""
    values: Values = configuration(stack) | changes
    values["workers"][-1]["name"] = name
    return spec_of(values)


@pytest.fixture(scope="module")
def spec() -> Spec:
    """The default stack with a worker whose name has a domain."""
    return named(NAME)


@pytest.fixture(scope="module")
def run(spec: Spec) -> Program:
    """A run of that stack."""
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


def test_fqdn_is_the_host_name(run: Program) -> None:
    document = user_data(run, NAME)
    assert (document["hostname"], document["fqdn"], document["prefer_fqdn_over_hostname"]) == (NAME, NAME, True)


def test_vm_of_a_short_name_is_unchanged(run: Program, program: Program) -> None:
    # Changed user-data would replace the VM, and a changed network would replace all VMs.
    assert user_data(run, "node-0").keys() == user_data(program, "node-0").keys() == {
        "hostname", "disable_root", "ssh_pwauth", "users", "ssh_keys",
    }  # fmt: skip
    assert interface(program, "node-0")["hostname"] == "node-0"
    assert network(program).inputs["dns"] == {"enabled": True}


def test_network_dns_knows_the_fqdn(run: Program) -> None:
    assert network(run).inputs["dns"] == {"enabled": True, "hosts": [{"hostname": NAME, "ip": ADDRESS}]}


@pytest.mark.parametrize("other", ["node-0.example.com", "node-0-example-com.org"])
def test_reserved_names_do_not_collide(other: str) -> None:
    # dnsmasq cuts a name at its first dot, unless the rest is the domain of the network.
    run = record(named(other))
    reserved = [interface(run, name)["hostname"].partition(".")[0] for name in ("server", "node-0", other)]
    assert len(set(reserved)) == len(reserved)
    assert interface(run, other)["addresses"] == [ADDRESS]
    assert "." not in interface(run, other)["hostname"]


def test_nodes_may_differ_only_in_their_domain() -> None:
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


def test_kubelet_and_kube_proxy_use_the_fqdn(run: Program) -> None:
    kubelet, kube_proxy = (files(run.command(f"{NAME}-{name}").inputs["stdin"]) for name in ("kubelet", "kube-proxy"))
    assert f"--hostname-override={NAME} \\\n" in kubelet["root/etc/systemd/system/kubelet.service"]
    assert f"user: system:node:{NAME}\n" in kubelet["root/var/lib/kubelet/kubeconfig"]
    assert f"kubelet-healthy {NAME} " in kubelet["health"]
    settings = yaml.safe_load(kube_proxy["root/var/lib/kube-proxy/kube-proxy-config.yaml"])
    assert settings["hostnameOverride"] == NAME


def test_certificate_has_the_fqdn(run: Program) -> None:
    request = run.by_identity[f"tls:index/certRequest:CertRequest kubelet-{NAME}"]
    assert request.inputs["subject"] == {"commonName": f"system:node:{NAME}", "organization": "system:nodes"}
    assert (request.inputs["dnsNames"], request.inputs["ipAddresses"]) == ([NAME], [ADDRESS])


def test_registration_uses_the_fqdn(run: Program) -> None:
    registration = run.command(f"{NAME}-registration")
    assert shlex.split(registration.inputs["create"].partition(" #")[0])[1:3] == ["join", NAME]
    assert shlex.split(registration.inputs["delete"])[1:3] == ["leave", NAME]


def test_short_name_appears_nowhere(run: Program, spec: Spec) -> None:
    cut = [resource.identity for resource in run if FIRST in resource.name.replace(NAME, "")]
    assert not cut
    for service in services_of(spec, spec.workers[1]):
        for text in [*service.visible_files.values(), service.health, service.check]:
            assert FIRST not in text.replace(NAME, "")


def test_resources_differ_only_in_the_name(run: Program, program: Program) -> None:
    assert {name.replace(NAME, FIRST) for name in run.by_identity} == program.by_identity.keys()
    domain = run.by_identity[f"libvirt:index/domain:Domain {NAME}-domain"]
    assert domain.inputs["name"] == f"hardway-{NAME}"


def test_outputs_and_ssh_use_the_fqdn(run: Program, tmp_path: Path) -> None:
    assert run.outputs["nodes"].keys() == run.outputs["services"].keys() == {"server", "node-0", NAME}
    access_files.write_ssh_files(tmp_path, access_files.AccessDetails.from_dict(run.outputs), "python3", None)
    assert f"Host {NAME}\n    HostName {ADDRESS}\n" in (tmp_path / "ssh_config").read_text()


def test_smoke_pods_select_the_fqdn() -> None:
    terms = [
        term
        for document in yaml.safe_load_all(manifest("somewhere", [NAME]))
        if document["kind"] == "DaemonSet"
        for term in document["spec"]["template"]["spec"]["affinity"]["nodeAffinity"][
            "requiredDuringSchedulingIgnoredDuringExecution"
        ]["nodeSelectorTerms"]
    ]
    assert [term["matchFields"][0]["values"] for term in terms] == [[NAME]] * 3


def test_bootstrap_token_uses_the_fqdn() -> None:
    run = record(named(NAME, "bootstrap"))
    admission = files(run.command("cp1-bootstrap-tokens").inputs["stdin"])
    token = admission[f"root/var/lib/bootstrap-tokens/{NAME}"]
    assert files(run.command(f"{NAME}-kubelet").inputs["stdin"])["root/run/hardway/bootstrap-token"] == token
    assert run.command(f"{NAME}-registration").inputs["create"].partition(" #")[0].endswith(token.partition(".")[0])


def test_user_data_has_the_fqdn() -> None:
    run = record(named(NAME, "userdata"))
    assert user_data(run, NAME)["hardway"] == {"name": NAME, "pod-cidr": "172.20.1.0/24"}
    kubelet = files(run.command(f"{NAME}-kubelet").inputs["stdin"])
    assert f"root/var/lib/kubelet/{NAME}-key.pem" in kubelet


def test_given_certificates_match_the_fqdn() -> None:
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


def test_machine_key_file_has_the_fqdn(tmp_path: Path) -> None:
    run = record(named(NAME, workers=[*_workers(), _machine()]))
    access_files.write_ssh_files(tmp_path, access_files.AccessDetails.from_dict(run.outputs), "python3", None)
    assert (tmp_path / f"{NAME}.key").read_text() == PRIVATE_KEY
    assert f'    IdentityFile "{tmp_path}/{NAME}.key"\n' in (tmp_path / "ssh_config").read_text()


def _workers() -> list[Values]:
    return list(configuration("dev")["workers"])


def _machine() -> Values:
    machine = {"user": "debian", "privateKey": PRIVATE_KEY, "hostKey": HOST_KEY}
    return {"name": "machine", "address": "10.240.0.77", "podCidr": "10.200.7.0/24", "machine": machine}
