"""The outputs of the stack."""

import base64
import hashlib
import json
from ipaddress import IPv4Address

import yaml

from tests.support.payload import files
from tests.support.program_stack import changed, setting
from tests.support.recording import HIDDEN, Program, record

SECRET = {"kubeconfig", "sshKey", "certificateAuthorityKey"}


def test_only_kubeconfig_and_keys_are_secret(program: Program) -> None:
    assert {name for name, value in program.shown_outputs.items() if value == HIDDEN} == SECRET
    for name in program.outputs.keys() - SECRET:
        assert program.shown_outputs[name] == program.outputs[name]


def test_kubeconfig_embeds_admin_credentials(program: Program) -> None:
    kubeconfig = yaml.safe_load(program.outputs["kubeconfig"])
    cluster, user = kubeconfig["clusters"][0]["cluster"], kubeconfig["users"][0]["user"]
    assert cluster["server"] == program.outputs["apiEndpoint"] == "https://10.240.0.10:6443"
    authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
    assert authority == program.outputs["certificateAuthority"]
    assert base64.b64decode(user["client-key-data"]).decode() in program.private
    admin = files(program.command("server-addons").inputs["stdin"])
    certificate = base64.b64decode(user["client-certificate-data"]).decode()
    assert certificate == admin["root/var/lib/addons/admin.crt"]


def test_kubeconfig_on_this_machine_does_not_wait_for_the_cluster(program: Program) -> None:
    access = program.by_identity["command:local:Command access"]
    assert not program.needed_by(access) & {"server-kube-apiserver", "server-addons"}
    assert json.loads(access.inputs["stdin"])["administrator"] is True


def test_administrators_are_in_a_group_with_a_binding(program: Program) -> None:
    assert program.outputs["administrator"] == {"group": "hardway-cluster-admins", "certificateHours": 12}
    manifests = files(program.command("server-addons").inputs["stdin"])["root/var/lib/addons/manifests.yaml"]
    [binding] = [each for each in yaml.safe_load_all(manifests) if each["metadata"]["name"] == "hardway-cluster-admins"]
    assert (binding["kind"], binding["roleRef"]["name"]) == ("ClusterRoleBinding", "cluster-admin")
    assert [(subject["kind"], subject["name"]) for subject in binding["subjects"]] == [
        ("Group", "hardway-cluster-admins")
    ]


def test_nodes_have_role_address_cidr_and_ssh(program: Program) -> None:
    nodes = program.outputs["nodes"]
    assert {name: (node["role"], node["address"], node.get("podCidr")) for name, node in nodes.items()} == {
        "server": ("control-plane", "10.240.0.10", None),
        "node-0": ("worker", "10.240.0.20", "10.200.0.0/24"),
        "node-1": ("worker", "10.240.0.21", "10.200.1.0/24"),
    }
    for node in nodes.values():
        assert node["ssh"].startswith("ssh ")
        assert node["ssh"].endswith(f"root@{node['address']}")


def test_nodes_have_labels_and_taints() -> None:
    outputs = record(changed(setting("labels", {"disk": "ssd"}, 1), setting("taints", ["lent:NoSchedule"], 1))).outputs
    assert [(node["labels"], node["taints"]) for node in (outputs["nodes"]["node-0"], outputs["nodes"]["node-1"])] == [
        ({}, []),
        ({"disk": "ssd"}, ["lent:NoSchedule"]),
    ]


def test_control_plane_without_kubelet_has_no_labels(program: Program) -> None:
    assert program.outputs["nodes"]["server"].keys().isdisjoint({"labels", "taints", "podCidr"})


def test_known_hosts_match_pinned_host_keys(program: Program) -> None:
    known = dict(line.split(" ", 1) for line in program.outputs["knownHosts"].splitlines())
    for address, key in known.items():
        IPv4Address(address)
        pinned = {
            command.inputs["connection"]["hostKey"].strip()
            for command in program.of_type("command:remote:Command")
            if command.address == address
        }
        assert pinned == {key}
    assert known.keys() == {node["address"] for node in program.outputs["nodes"].values()}


def test_ssh_key_is_the_accepted_key(program: Program) -> None:
    keys = {command.inputs["connection"]["privateKey"] for command in program.of_type("command:remote:Command")}
    assert keys == {program.outputs["sshKey"]}


def test_services_have_manifest_digests(program: Program) -> None:
    digests = program.outputs["services"]
    for component in program.of_type("hardway:service:NodeService"):
        command = program.command(component.name)
        service = command.inputs["create"].partition(" #")[0].rpartition(" ")[2]
        node = component.name.removesuffix(f"-{service}")
        manifest = files(command.inputs["stdin"])["manifest"]
        assert digests[node].pop(service) == hashlib.sha256(manifest.encode()).hexdigest()
    assert not [services for services in digests.values() if services]
