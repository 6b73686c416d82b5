"""The choices of a lab's network on its nodes: pod network, kube-proxy and NetworkPolicies."""

from dataclasses import replace

import yaml

from lab.node.render import services_of
from lab.node.service import Service
from lab.pki import identities
from lab.spec import Node, PodNetwork, Spec


def services(spec: Spec, node: Node) -> dict[str, Service]:
    return {service.name: service for service in services_of(spec, node)}


def without_network(spec: Spec) -> Spec:
    return replace(spec, pod_network=PodNetwork.NONE, network_policy=False)


def test_without_pod_network_the_lab_writes_no_cni_configuration(dev: Spec) -> None:
    files = services(without_network(dev), dev.workers[0])["node-setup"].files
    assert not [path for path in files if path.startswith("/etc/cni")]
    assert files["/etc/kubernetes/pod-routes"].content == ""
    assert "/etc/crictl.yaml" in files


def test_without_pod_network_there_are_no_packet_filter_rules(dev: Spec) -> None:
    files = services(without_network(dev), dev.workers[0])["node-setup"].visible_files
    assert files["/etc/kubernetes/pod-network.nft"].endswith("table ip hardway {\n}\n")


def test_without_pod_network_the_plugins_remain(dev: Spec) -> None:
    binaries = services(without_network(dev), dev.workers[0])["node-setup"].binaries
    assert {"/opt/cni/bin/host-local", "/opt/cni/bin/loopback", "/opt/cni/bin/bridge"} <= binaries.keys()


def test_without_pod_network_the_kubelet_may_lack_a_cni_plugin(dev: Spec) -> None:
    assert services(without_network(dev), dev.workers[0])["kubelet"].health.endswith(" any-network")
    assert "any-network" not in services(dev, dev.workers[0])["kubelet"].health


def test_pod_network_restarts_no_kubelet(dev: Spec) -> None:
    before, after = (services(spec, dev.workers[0])["kubelet"] for spec in (dev, without_network(dev)))
    assert before.files == after.files


def test_kube_proxy_can_be_left_out(dev: Spec) -> None:
    spec = replace(dev, kube_proxy_enabled=False)
    assert "kube-proxy" not in services(spec, dev.workers[0])
    assert "kube-proxy" not in identities(spec)


def test_kube_proxy_deletes_its_rules_before_it_is_removed(dev: Spec) -> None:
    service = services(dev, dev.workers[0])["kube-proxy"]
    assert service.leave == "/usr/local/lib/hardway/kube-proxy-rules delete /usr/local/bin/kube-proxy"


def test_kube_proxy_first_deletes_rules_of_other_modes(dev: Spec) -> None:
    node = replace(dev.workers[0], kube_proxy={"mode": "ipvs"})
    unit = services(dev, node)["kube-proxy"].visible_files["/etc/systemd/system/kube-proxy.service"]
    assert "ExecStartPre=/usr/local/lib/hardway/kube-proxy-rules prepare /usr/local/bin/kube-proxy ipvs\n" in unit


def test_policies_are_enforced_on_every_node_with_pods(dev: Spec, bootstrap: Spec) -> None:
    for lab in (dev, bootstrap):
        enforcing = [node for node in lab.nodes if "kube-network-policies" in services(lab, node)]
        assert enforcing == list(lab.kubelets)


def test_policies_can_be_ignored(dev: Spec) -> None:
    spec = replace(dev, network_policy=False)
    assert "kube-network-policies" not in services(spec, dev.workers[0])
    assert "kube-network-policies" not in identities(spec)
    manifests = services(spec, spec.control_planes[0])["addons"].visible_files["/var/lib/addons/manifests.yaml"]
    assert "kube-network-policies" not in manifests
    assert (
        "nft_queue"
        not in services(spec, spec.workers[0])["node-setup"]
        .visible_files["/etc/modules-load.d/kubernetes.conf"]
        .split()
    )


def test_policies_need_only_to_list_and_watch(dev: Spec) -> None:
    manifests = services(dev, dev.control_planes[0])["addons"].visible_files["/var/lib/addons/manifests.yaml"]
    [role] = [
        document
        for document in yaml.safe_load_all(manifests)
        if document["kind"] == "ClusterRole" and document["metadata"]["name"] == "kube-network-policies"
    ]
    assert {verb for rule in role["rules"] for verb in rule["verbs"]} == {"list", "watch"}
    assert {resource for rule in role["rules"] for resource in rule["resources"]} == {
        "namespaces",
        "networkpolicies",
        "pods",
    }


def test_policies_keep_their_table_until_they_are_removed(dev: Spec) -> None:
    service = services(dev, dev.workers[0])["kube-network-policies"]
    assert "ExecStop" not in service.visible_files["/etc/systemd/system/kube-network-policies.service"]
    assert "delete table inet kube-network-policies" in service.leave


def test_no_pod_starts_at_boot_before_policies_hold(dev: Spec) -> None:
    files = services(dev, dev.workers[0])["kube-network-policies"].visible_files
    unit = files["/etc/systemd/system/kube-network-policies.service"]
    rules = "/var/lib/kube-network-policies/boot.nft"
    assert "Before=kubelet.service\n" in unit
    assert f"ExecStartPre=/usr/local/lib/hardway/hold-pods {rules}\n" in unit
    assert "ip daddr 10.200.0.0/16 drop" in files[rules]


def test_policies_reread_their_own_certificate(dev: Spec) -> None:
    files = services(dev, dev.workers[0])["kube-network-policies"].files
    restarting = {path for path, file in files.items() if file.restarts}
    assert "/var/lib/kube-network-policies/kube-network-policies.crt" not in restarting
    assert "/var/lib/kube-network-policies/ca.crt" in restarting
