"""The objects of the addons service: access to kubelets, and the cluster DNS."""

from dataclasses import replace
from ipaddress import IPv4Address
from typing import Any

import pytest
import yaml

from lab.node.addons.service import OWNERSHIP_LABEL, DuplicateObjectError, addons
from lab.node.addons.table import addon_images
from lab.node.paths import ADDONS
from lab.node.render import services_of
from lab.pki import identities
from lab.spec import DnsAddon, Spec, Taint, TaintEffect
from lab.versions import image_reference

DNS = {
    ("ServiceAccount", "coredns"),
    ("ClusterRole", "system:coredns"),
    ("ClusterRoleBinding", "system:coredns"),
    ("ConfigMap", "coredns"),
    ("Deployment", "coredns"),
    ("Service", "kube-dns"),
}


def objects(spec: Spec) -> dict[tuple[str, str], dict[str, Any]]:
    """Return every object by kind and name."""
    text = addons(spec, spec.control_planes[0]).visible_files[f"{ADDONS}/manifests.yaml"]
    return {(document["kind"], document["metadata"]["name"]): document for document in yaml.safe_load_all(text)}


def test_the_api_server_may_use_kubelets(dev: Spec) -> None:
    found = objects(dev)
    role = found["ClusterRole", "system:kube-apiserver-to-kubelet"]
    assert role["rules"] == [
        {
            "apiGroups": [""],
            "resources": ["nodes/proxy", "nodes/stats", "nodes/log", "nodes/spec", "nodes/metrics"],
            "verbs": ["*"],
        }
    ]
    binding = found["ClusterRoleBinding", "system:kube-apiserver"]
    assert binding["roleRef"]["name"] == role["metadata"]["name"]
    [subject] = binding["subjects"]
    client = identities(dev)["kube-apiserver-kubelet-client"]
    assert (subject["kind"], subject["name"]) == ("User", client.common_name)


def test_every_object_has_the_ownership_label(dev: Spec) -> None:
    for document in objects(dev).values():
        assert document["metadata"]["labels"].items() >= OWNERSHIP_LABEL.items()


def test_the_cluster_dns_can_be_switched_off(dev: Spec) -> None:
    with_dns, without = objects(dev).keys(), objects(replace(dev, addons=replace(dev.addons, dns=None))).keys()
    assert with_dns - without == DNS
    assert without < with_dns


def test_the_dns_service_has_the_configured_address(dev: Spec) -> None:
    moved = replace(dev, networks=replace(dev.networks, cluster_dns=IPv4Address("10.32.0.53")))
    service = objects(moved)["Service", "kube-dns"]["spec"]
    assert service["clusterIP"] == "10.32.0.53"
    assert {(port["port"], port["protocol"]) for port in service["ports"]} == {(53, "UDP"), (53, "TCP")}


def test_the_dns_service_selects_the_dns_pods(dev: Spec) -> None:
    found = objects(dev)
    template = found["Deployment", "coredns"]["spec"]["template"]
    assert found["Service", "kube-dns"]["spec"]["selector"].items() <= template["metadata"]["labels"].items()
    assert template["spec"]["serviceAccountName"] == "coredns"


def test_workers_import_the_dns_image(dev: Spec) -> None:
    [container] = objects(dev)["Deployment", "coredns"]["spec"]["template"]["spec"]["containers"]
    imported = {image.name for one in services_of(dev, dev.workers[0]) for image in one.images}
    assert container["image"] == image_reference("coredns")
    assert "coredns" in imported


def test_the_dns_forwards_other_domains_to_the_node(dev: Spec) -> None:
    other = replace(dev, networks=replace(dev.networks, cluster_domain="lab.example"))
    found = objects(other)
    corefile = [line.strip() for line in found["ConfigMap", "coredns"]["data"]["Corefile"].splitlines()]
    assert "kubernetes lab.example in-addr.arpa ip6.arpa {" in corefile
    assert "forward . /etc/resolv.conf" in corefile
    assert "cluster.local" not in " ".join(corefile)
    # With the policy ClusterFirst it would query itself.
    assert found["Deployment", "coredns"]["spec"]["template"]["spec"]["dnsPolicy"] == "Default"


def test_corefile_braces_are_balanced(dev: Spec) -> None:
    corefile = objects(dev)["ConfigMap", "coredns"]["data"]["Corefile"]
    assert corefile.count("{") == corefile.count("}") > 0


def test_the_dns_may_read_services_and_endpoints(dev: Spec) -> None:
    found = objects(dev)
    allowed = {
        resource
        for rule in found["ClusterRole", "system:coredns"]["rules"]
        for resource in rule["resources"]
        if {"list", "watch"} <= set(rule["verbs"])
    }
    assert {"services", "namespaces", "endpointslices"} <= allowed
    [subject] = found["ClusterRoleBinding", "system:coredns"]["subjects"]
    assert (subject["kind"], subject["name"], subject["namespace"]) == ("ServiceAccount", "coredns", "kube-system")


def test_the_dns_has_two_replicas_if_possible(dev: Spec) -> None:
    def replicas(spec: Spec) -> int:
        return int(objects(spec)["Deployment", "coredns"]["spec"]["replicas"])

    taint = Taint(key="dedicated", value="ingress", effect=TaintEffect.NO_SCHEDULE)
    tainted = replace(dev, workers=(dev.workers[0], replace(dev.workers[1], taints=(taint,))))
    assert (replicas(dev), replicas(tainted)) == (2, 1)
    assert replicas(replace(dev, addons=replace(dev.addons, dns=DnsAddon(replicas=4)))) == 4


def test_replicas_of_the_dns_are_on_different_nodes(dev: Spec) -> None:
    pod = objects(dev)["Deployment", "coredns"]["spec"]["template"]["spec"]
    [spread] = pod["topologySpreadConstraints"]
    assert (spread["topologyKey"], spread["whenUnsatisfiable"]) == ("kubernetes.io/hostname", "DoNotSchedule")
    # The first node of a new cluster gets one replica, although no other node is there yet.
    assert (spread["maxSkew"], spread["minDomains"]) == (1, 2)
    # An update may use both nodes again.
    assert spread["matchLabelKeys"] == ["pod-template-hash"]


def test_only_nodes_that_run_pods_of_addons_hold_their_images(dev: Spec) -> None:
    workers = tuple(replace(dev.workers[0], name=f"node-{number}") for number in range(5))
    many = replace(dev, workers=workers)
    holders = [node.name for node in workers if addon_images(many, node)]
    affinity = objects(many)["Deployment", "coredns"]["spec"]["template"]["spec"]["affinity"]["nodeAffinity"]
    terms = affinity["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    assert holders == [term["matchFields"][0]["values"][0] for term in terms] == ["node-0", "node-1"]


def test_stub_domains_and_forwarders_are_in_the_corefile(dev: Spec) -> None:
    dns = DnsAddon(forward=("10.0.0.1",), stub_domains={"corp.example": ("10.0.0.2", "10.0.0.3")}, corefile=("log",))
    text = objects(replace(dev, addons=replace(dev.addons, dns=dns)))["ConfigMap", "coredns"]["data"]["Corefile"]
    main, stub = text.split("corp.example:53 {")
    assert "    log\n" in main
    assert "    forward . 10.0.0.1\n" in main
    assert "    forward . 10.0.0.2 10.0.0.3\n" in stub


def test_metrics_server_checks_the_certificates_of_kubelets(dev: Spec) -> None:
    pod = objects(dev)["Deployment", "metrics-server"]["spec"]["template"]["spec"]
    [container] = pod["containers"]
    [flag] = [flag for flag in container["args"] if "authority" in flag]
    mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    folder, _, file = flag.partition("=")[2].rpartition("/")
    assert (volumes[mounts[folder]]["configMap"]["name"], file) == ("kube-root-ca.crt", "ca.crt")
    assert not any("insecure" in flag for flag in container["args"])


def test_metrics_server_can_be_switched_off(dev: Spec) -> None:
    without = replace(dev, addons=replace(dev.addons, metrics_server=False))
    assert ("APIService", "v1beta1.metrics.k8s.io") in objects(dev)
    assert not any("metrics" in name for _, name in objects(without))
    assert "metrics-server" not in {image.name for image in addon_images(without, dev.workers[0])}


def test_the_api_of_metrics_server_leads_to_its_pods(dev: Spec) -> None:
    found = objects(dev)
    reference = found["APIService", "v1beta1.metrics.k8s.io"]["spec"]["service"]
    service = found["Service", reference["name"]]["spec"]
    template = found["Deployment", "metrics-server"]["spec"]["template"]
    assert service["selector"].items() <= template["metadata"]["labels"].items()
    assert service["ports"][0]["port"] == reference["port"]
    assert service["ports"][0]["targetPort"] in {port["name"] for port in template["spec"]["containers"][0]["ports"]}


def with_manifests(spec: Spec, *manifests: dict[str, Any]) -> Spec:
    return replace(spec, addons=replace(spec.addons, manifests=manifests))


def manifest(kind: str, name: str, version: str = "v1", **fields: Any) -> dict[str, Any]:
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name, "namespace": "team"}, **fields}


def test_objects_come_after_those_that_they_need(dev: Spec) -> None:
    kinds = ("ValidatingWebhookConfiguration", "Thing", "CustomResourceDefinition", "Namespace")
    spec = with_manifests(dev, *(manifest(kind, "a") for kind in kinds))
    listed = addons(spec, spec.control_planes[0]).visible_files[f"{ADDONS}/objects"].splitlines()
    positions = {line.partition(".")[0]: number for number, line in enumerate(listed)}
    assert sorted(kinds, key=positions.__getitem__) == [*reversed(kinds)]
    assert listed[0] == "Namespace.v1. team a"


def test_secrets_of_manifests_are_in_no_preview(dev: Spec) -> None:
    spec = with_manifests(dev, manifest("Secret", "login", stringData={"password": "geheim"}))
    service = addons(spec, spec.control_planes[0])
    assert "geheim" not in str(service.visible_files)
    [document] = yaml.safe_load_all(service.secret_files[f"{ADDONS}/secrets.yaml"])
    assert document["metadata"]["labels"] == OWNERSHIP_LABEL
    assert "Secret.v1. team login\n" in service.visible_files[f"{ADDONS}/objects"]


def test_a_manifest_cannot_replace_an_object_of_the_lab(dev: Spec) -> None:
    mine = manifest("Deployment", "coredns", "apps/v1")
    mine["metadata"]["namespace"] = "kube-system"
    with pytest.raises(DuplicateObjectError, match="coredns"):
        objects(with_manifests(dev, mine))
