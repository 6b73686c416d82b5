"""The resources that a change of the configuration changes."""

import pytest

from components.connection import state_changes
from components.preview import describe_change
from host.engine.drift import REGISTRATION, deployed_drift
from lab.node.render import services_of
from lab.node.service import Artifact, Service, config_hash
from lab.spec import Node, Spec
from tests.support.changes import Values, predict
from tests.support.payload import files
from tests.support.program_stack import NEW_WORKER, Change, changed, setting
from tests.support.recording import ACCESS, Program, record, sha256

COMPONENT, COMMAND = "hardway:service:NodeService", "command:remote:Command"
PUSH = "command:local:Command"


def applied(*services: str) -> set[str]:
    """Return the resources that show and apply services such as `node-1-kubelet`."""
    return {f"{kind} {service}" for service in services for kind in (COMPONENT, COMMAND)}


def pushed(*nodes: str) -> set[str]:
    """Return the resources that push binaries to nodes."""
    return {f"{PUSH} {node}-binaries" for node in nodes}


WORKERS = ("node-0", "node-1")

ROWS: dict[str, tuple[list[Change], set[str]]] = {
    "nothing": ([], set()),
    "a kubelet field of one worker": ([setting("kubelet", {"maxPods": 50}, 1)], applied("node-1-kubelet")),
    "a kubelet field for all": (
        [setting("kubelet", {"maxPods": 50})],
        applied(*(f"{node}-kubelet" for node in WORKERS)),
    ),
    "a label of one worker": ([setting("labels", {"disk": "ssd"}, 0)], {f"{COMMAND} node-0-registration"}),
    "a taint of one worker": (
        [setting("taints", ["dedicated=ingress:NoSchedule"], 0)],
        # The pods of add-ons move to the other worker, so this one no longer holds their images.
        applied("node-0-kubelet", "server-addons") | pushed("node-0") | {f"{COMMAND} node-0-registration"},
    ),
    "a kube-proxy field of one worker": (
        [setting("kubeProxy", {"configSyncPeriod": "10m"}, 1)],
        applied("node-1-kube-proxy"),
    ),
    "a kube-proxy mode that wants other kernel modules": (
        [setting("kubeProxy", {"mode": "ipvs"}, 1)],
        applied("node-1-kube-proxy", "node-1-node-setup"),
    ),
    "a containerd field of one worker": ([setting("containerd", {"oom_score": -500}, 1)], applied("node-1-containerd")),
    "a containerd field for all": (
        [setting("containerd", {"oom_score": -500})],
        applied(*(f"{node}-containerd" for node in WORKERS)),
    ),
    "the CNI configuration": ([setting("cni", {"mtu": 1400}, 1)], applied("node-1-node-setup")),
    "a time for confirmations": (
        [setting("confirmWithin", "10m")],
        applied(*(f"{node}-node-setup" for node in ("server", *WORKERS))),
    ),
    "a flag of the API server": (
        [setting("apiServerFlags", {"max-requests-inflight": 500})],
        applied("server-kube-apiserver"),
    ),
    "a flag of the scheduler": ([setting("schedulerFlags", {"v": 4})], applied("server-kube-scheduler")),
    "the Kubernetes version of one worker": (
        [setting("kubernetesVersion", "v1.35.4", 1)],
        pushed("node-1") | applied("node-1-kubelet", "node-1-kube-proxy"),
    ),
    # The kubelets no longer import the image, which restarts nothing.
    "the cluster DNS add-on": (
        [setting("clusterDnsAddon", False)],
        applied("server-addons", "node-0-kubelet", "node-1-kubelet") | pushed(*WORKERS),
    ),
    "metrics-server": (
        [setting("addons", {"metricsServer": {"enabled": False}})],
        applied("server-addons", "node-0-kubelet", "node-1-kubelet") | pushed(*WORKERS),
    ),
    "how many workers may be unavailable": ([setting("maxUnavailable", "50%")], set()),
}


@pytest.mark.parametrize("row", ROWS)
def test_change_reaches_exactly_its_resources(row: str, program: Program) -> None:
    changes, expected = ROWS[row]
    run = record(changed(*changes))
    assert run.changed_since(program) == expected
    assert run.by_identity.keys() == program.by_identity.keys()


@pytest.mark.parametrize("name", [name for name, (_, expected) in ROWS.items() if expected])
def test_preview_shows_every_applied_service(name: str, program: Program) -> None:
    # The inputs of a component are for people; the command beside it applies the change.
    run = record(changed(*ROWS[name][0]))
    touched = run.changed_since(program)
    shown = {identity.removeprefix(COMPONENT) for identity in touched if identity.startswith(COMPONENT)}
    run_on_nodes = {identity.removeprefix(COMMAND) for identity in touched if identity.startswith(COMMAND)}
    assert shown == {name for name in run_on_nodes if not name.endswith("-registration")}


@pytest.mark.parametrize("name", ROWS)
def test_announced_restarts_match_the_spec(name: str, dev: Spec, program: Program) -> None:
    spec = changed(*ROWS[name][0])
    run = record(spec)
    announced = {
        (node.name, service.name)
        for node in spec.nodes
        for service in services_of(spec, node)
        if "will restart"
        in describe_change(node.name, service, *(_shown(each, node, service) for each in (program, run)))
    }
    assert announced == predict(dev, spec)


def test_config_hash_is_that_of_the_payload(program: Program) -> None:
    for component in program.of_type(COMPONENT):
        sent = files(program.command(component.name).inputs["stdin"])
        assert component.shown["configHash"] == sent["config-hash"] == config_hash(sent["manifest"])


def test_policy_of_the_kubelet_drains_its_node(program: Program) -> None:
    policy = {"cpuManagerPolicy": "static"}
    run = record(changed(setting("kubelet", policy, 0)))
    before, after = (each.command("node-0-kubelet").inputs for each in (program, run))
    assert state_changes(before, after)
    assert "static" in files(after["stdin"])["state-files"]
    assert "state-files" not in files(before["stdin"])
    other = record(changed(setting("kubelet", {**policy, "maxPods": 50}, 0)))
    assert not state_changes(after, other.command("node-0-kubelet").inputs)


def _shown(run: Program, node: Node, service: Service) -> Values:
    return run.by_identity[f"{COMPONENT} {node.name}-{service.name}"].shown


def test_added_worker_changes_only_routes_elsewhere(program: Program, wider: Program) -> None:
    changed_too = applied(*(f"{node}-node-setup" for node in ("server", *WORKERS))) | {ACCESS}
    assert wider.changed_since(program) == changed_too
    for node in ("server", *WORKERS):
        before, after = (files(run.command(f"{node}-node-setup").inputs["stdin"]) for run in (program, wider))
        different = {path for path in before.keys() | after.keys() if before.get(path) != after.get(path)}
        network = {"root/etc/kubernetes/pod-routes", "root/etc/kubernetes/pod-network.nft"}
        assert different == {"manifest", "config-hash", *network}
        assert f"{NEW_WORKER['podCidr']} {NEW_WORKER['address']}" in after["root/etc/kubernetes/pod-routes"]


def test_removed_worker_changes_only_routes_elsewhere(program: Program, wider: Program) -> None:
    changed_too = applied(*(f"{node}-node-setup" for node in ("server", *WORKERS))) | {ACCESS}
    assert program.changed_since(wider) == changed_too


def test_only_the_added_worker_is_created(program: Program, wider: Program) -> None:
    assert all(NEW_WORKER["name"] in name for name in wider.added_since(program))


def second_control_plane(values: Values) -> None:
    """Add a control plane."""
    values["controlPlanes"].append({"name": "server-1", "address": "10.240.0.11"})


def reversed_control_planes(values: Values) -> None:
    """List the control planes in another order."""
    values["controlPlanes"].reverse()


def test_another_control_plane_removes_an_etcd_member(dev: Spec) -> None:
    spec = changed(second_control_plane)
    assert ("server", "etcd") not in predict(dev, spec)
    run = record(spec)
    for node, other in (spec.control_planes, reversed(spec.control_planes)):
        membership = run.command(f"{node.name}-etcd-membership")
        assert membership.address == str(other.address)
        leave = f"/usr/local/lib/hardway/etcd-member leave {node.address} {node.name}"
        assert membership.inputs["delete"] == f"test ! -e /usr/local/lib/hardway/etcd-member || {leave}"
        assert run.resources[membership.deleted_with].name == f"{other.name}-domain"


def test_interrupted_etcd_member_is_removed() -> None:
    run = record(changed(second_control_plane))
    membership, etcd = run.command("server-1-etcd-membership"), run.command("server-1-etcd")
    assert membership.urn in etcd.dependencies
    assert "server-1-domain" in run.needed_by(membership), "it would not be deleted before"
    assert "server-etcd" in run.needed_by(etcd), "it would not leave before"


def test_etcd_leaves_before_it_is_removed() -> None:
    etcd = record(changed(second_control_plane)).command("server-1-etcd")
    programs = "/usr/local/lib/hardway"
    assert (
        etcd.inputs["delete"] == f"{programs}/etcd-member leave 10.240.0.11 server-1 && {programs}/service remove etcd"
    )


def test_new_membership_applies_etcd_again() -> None:
    assert (
        "server-1-etcd-membership-id" in record(changed(second_control_plane)).command("server-1-etcd").inputs["create"]
    )


@pytest.mark.parametrize(
    "changes",
    [
        ([], [second_control_plane]),
        ([second_control_plane], [second_control_plane, reversed_control_planes]),
        ([second_control_plane], []),
    ],
    ids=["one becomes two", "two in another order", "two become one"],
)
def test_etcd_membership_lasts_as_long_as_control_plane(
    changes: tuple[list[Change], list[Change]],
) -> None:
    before, after = (changed(*edits) for edits in changes)
    both = {node.name for node in before.control_planes} & {node.name for node in after.control_planes}
    made = [{record(spec).command(f"{name}-etcd-membership").urn for name in both} for spec in (before, after)]
    assert made[0] == made[1]


def test_new_member_is_announced_once_per_disk() -> None:
    run = record(changed(second_control_plane))
    membership = run.command("server-1-etcd-membership")
    assert membership.inputs["create"].startswith("/usr/local/lib/hardway/etcd-member new 10.240.0.11 server-1 #")
    assert membership.inputs["update"] == "true"
    assert {run.resources[urn].name for urn in membership.replace_with} == {"server-1-disk"}
    assert membership.delete_before_replace
    assert "server-1-prepared" in run.needed_by(run.command("server-etcd"))


def test_renewed_kubelet_certificate_changes_one_kubelet(dev: Spec, program: Program) -> None:
    renewed = record(dev, renewed=["kubelet-node-1"])
    assert renewed.changed_since(program) == applied("node-1-kubelet")


def test_renewed_shared_certificate_changes_every_reader(dev: Spec, program: Program) -> None:
    renewed = record(dev, renewed=["kube-proxy"])
    assert renewed.changed_since(program) == applied("node-0-kube-proxy", "node-1-kube-proxy")


def test_another_cluster_reaches_the_services_that_follow_it(dev: Spec, program: Program) -> None:
    followers = ("kubelet", "kube-proxy", "kube-network-policies")
    run = record(dev, renewed=["server-cluster"])
    assert run.changed_since(program) == applied(*(f"{node}-{name}" for node in WORKERS for name in followers))


def test_other_control_planes_do_not_identify_the_cluster() -> None:
    run = record(changed(second_control_plane))
    assert [name for name in (each.name for each in run.of_type(COMMAND)) if name.endswith("-cluster")] == [
        "server-cluster"
    ]


def test_rebuilt_binary_changes_services_that_run_it(dev: Spec, program: Program) -> None:
    def digest(artifact: Artifact) -> str:
        suffix = " rebuilt" if artifact.name == "runc" else ""
        return sha256(f"{type(artifact).__name__} {artifact.name} {artifact.version}{suffix}")

    run = record(dev, digest=digest)
    assert run.changed_since(program) == pushed(*WORKERS) | applied("node-0-containerd", "node-1-containerd")


def test_repair_reaches_only_the_service_that_differs(dev: Spec, program: Program) -> None:
    run = record(dev, drift={("node-1", "kubelet"): "1"})
    assert run.changed_since(program) == pushed("node-1") | applied("node-1-kubelet")


@pytest.mark.parametrize("name", [REGISTRATION, "membership"])
def test_drift_registers_a_node_again(dev: Spec, program: Program, name: str) -> None:
    run = record(dev, drift={("node-1", name): "1"})
    assert run.changed_since(program) == pushed("node-1") | {f"{COMMAND} node-1-registration"}


def test_drift_is_read_back_from_the_state(dev: Spec) -> None:
    drift = {("node-1", "kubelet"): "1", ("node-1", REGISTRATION): "2", ("server", "etcd"): "3"}
    run = record(dev, drift=drift)
    assert deployed_drift({"resources": [{"inputs": each.shown} for each in run.by_identity.values()]}) == drift


def test_equal_configurations_register_equal_resources(dev: Spec, program: Program) -> None:
    again = record(dev)
    assert again.changed_since(program) == set()
    assert again.by_identity.keys() == program.by_identity.keys()
    assert again.outputs == program.outputs
