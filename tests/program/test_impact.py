"""The level of disruption of changes of the configuration, read from the document of a preview."""

import json
from collections.abc import Mapping, Sequence

import pytest

from components.preview import describe_change
from lab.disruption import Disruption
from lab.node.render import services_of
from lab.spec import Role, Spec
from ops.preview.impact import ChangeKind, Impact, NodeImpact, ServiceImpact, Turn, read_impact
from ops.preview.report import ImpactReport
from tests.support.changes import Values
from tests.support.preview_document import preview_document
from tests.support.program_stack import NEW_WORKER, Change, changed, setting
from tests.support.recording import Program, record

UNKNOWN = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"
"""The value of an unknown input in the engine's document (pulumi, sdk/go/common/resource/plugin, `rpc.go`)."""


def impact_of(
    before: Program, spec: Spec, after: Program, replaced: Mapping[str, Sequence[str]] | None = None
) -> Impact:
    """Return the impact of a change to a spec."""
    services = {node.name: {service.name: service for service in services_of(spec, node)} for node in spec.nodes}
    return read_impact(preview_document(before, after, replaced), spec, services)


def impact(before: Program, *changes: Change, **replaced: Sequence[str]) -> Impact:
    """Return the impact of changes of the default stack. Replaced resources have `_` in place of `-`."""
    spec = changed(*changes)
    names = {name.replace("_", "-"): reasons for name, reasons in replaced.items()}
    return impact_of(before, spec, record(spec), names)


def node_of(impact: Impact, name: str) -> NodeImpact:
    """Return the impact on a node."""
    return next(node for node in impact.nodes if node.name == name)


def worker_removed(values: Values) -> None:
    """Remove the second worker."""
    values["workers"].pop()


def kube_proxy_removed(values: Values) -> None:
    """Leave the Services to a CNI plugin."""
    values["kubeProxyEnabled"] = False


def test_an_unchanged_stack_has_no_impact(program: Program) -> None:
    assert impact(program) == Impact(nodes=(), order=(), other=())
    assert impact(program).disruption is Disruption.NONE


def test_a_changed_kubelet_field_is_a_restart(program: Program) -> None:
    found = impact(program, setting("kubelet", {"maxPods": 50}, 1))
    kubelet = ServiceImpact(
        name="kubelet", kind=ChangeKind.CHANGED, disruption=Disruption.RESTART, causes=("kubelet-config.yaml",)
    )
    assert found.nodes == (NodeImpact(name="node-1", kind=ChangeKind.CHANGED, services=(kubelet,)),)
    assert found.disruption is Disruption.RESTART


def test_the_kubelets_new_minor_version_is_a_drain(program: Program) -> None:
    [node] = impact(program, setting("kubernetesVersion", "v1.35.4", 1)).nodes
    levels = {service.name: service.disruption for service in node.services}
    assert levels == {"kubelet": Disruption.DRAIN, "kube-proxy": Disruption.RESTART}
    assert node.disruption is Disruption.DRAIN
    assert node.other == ("binaries",)


def test_an_added_worker_only_reloads_the_others(program: Program) -> None:
    found = impact(program, lambda values: values["workers"].append(NEW_WORKER))
    assert {node.name: (node.kind, node.disruption) for node in found.nodes} == {
        "server": (ChangeKind.CHANGED, Disruption.RELOAD),
        "node-0": (ChangeKind.CHANGED, Disruption.RELOAD),
        "node-1": (ChangeKind.CHANGED, Disruption.RELOAD),
        "node-2": (ChangeKind.ADDED, Disruption.NONE),
    }
    assert node_of(found, "node-2").services == ()
    assert found.other == tuple(sorted(found.other))
    assert "access" in found.other


def test_a_removed_worker_counts_as_recreated(program: Program) -> None:
    found = impact(program, worker_removed)
    assert node_of(found, "node-1") == NodeImpact(name="node-1", kind=ChangeKind.REMOVED)
    assert node_of(found, "node-1").disruption is Disruption.RECREATE
    assert node_of(found, "node-0").disruption is Disruption.RELOAD
    assert [each.causes for each in found.beyond(Disruption.DRAIN)] == [("removed",)]


def test_a_removed_service_is_a_restart(program: Program) -> None:
    services = node_of(impact(program, kube_proxy_removed), "node-1").services
    assert ServiceImpact(name="kube-proxy", kind=ChangeKind.REMOVED, disruption=Disruption.RESTART) in services


def test_an_added_service_disturbs_nothing(program: Program) -> None:
    found = impact_of(record(changed(kube_proxy_removed)), changed(), program)
    added = ServiceImpact(name="kube-proxy", kind=ChangeKind.ADDED, disruption=Disruption.NONE)
    assert added in node_of(found, "node-1").services


def test_a_label_disturbs_nothing(program: Program) -> None:
    found = impact(program, setting("labels", {"disk": "ssd"}, 0))
    assert found.nodes == (NodeImpact(name="node-0", kind=ChangeKind.CHANGED, other=("registration",)),)
    assert found.disruption is Disruption.NONE


@pytest.mark.parametrize(
    ("key", "value", "replaced", "causes"),
    [
        ("memory", 4096, {"node_1_domain": ["memory"]}, ("memory",)),
        ("vcpus", 4, {"node_1_domain": ["vcpu"]}, ("vcpus",)),
        ("disk", 20, {"node_1_disk": ["size"], "node_1_domain": ["disks"]}, ("disk",)),
        ("address", "10.240.0.99", {"node_1_disk": [], "node_1_domain": []}, ("address",)),
    ],
)
def test_a_new_vm_is_recreated(
    key: str, value: object, replaced: Mapping[str, Sequence[str]], causes: tuple[str, ...], program: Program
) -> None:
    node = node_of(impact(program, setting(key, value, 1), **replaced), "node-1")
    assert (node.kind, node.disruption, node.causes) == (ChangeKind.RECREATED, Disruption.RECREATE, causes)


def test_resources_that_follow_a_new_vm_do_not_recreate(program: Program) -> None:
    found = impact(program, setting("labels", {"disk": "ssd"}, 0), node_0_registration=["create"])
    assert found.disruption is Disruption.NONE


def test_an_unknown_certificate_is_a_restart(dev: Spec, program: Program) -> None:
    document = preview_document(program, record(dev, renewed=["kubelet-node-1"]))
    [kubelet] = [step for step in document["steps"] if step["urn"].endswith("NodeService::node-1-kubelet")]
    inputs = kubelet["newState"]["inputs"]
    inputs["configHash"] = UNKNOWN
    inputs["credentials"] = dict.fromkeys(inputs["credentials"], UNKNOWN)
    services = {"node-1": {service.name: service for service in services_of(dev, dev.workers[1])}}
    [node] = read_impact(document, dev, services).nodes
    assert node.disruption is Disruption.RESTART
    assert "kubelet.crt" in node.services[0].causes


def test_control_planes_change_before_workers(program: Program) -> None:
    changes = setting("certificateAuthorityValidityHours", 43800), setting("maxUnavailable", 2)
    assert impact(program, *changes).order == (
        Turn(role=Role.CONTROL_PLANE, nodes=("server",), simultaneous=1),
        Turn(role=Role.WORKER, nodes=("node-0", "node-1"), simultaneous=2),
    )


CHANGES = {
    "kubelet": setting("kubelet", {"maxPods": 50}),
    "version": setting("kubernetesVersion", "v1.35.4", 1),
    "add-on": setting("clusterDnsAddon", False),
    "CNI": setting("cni", {"mtu": 1400}, 1),
    "certificates": setting("certificateValidityHours", 4380),
    "another worker": lambda values: values["workers"].append(NEW_WORKER),
}


@pytest.mark.parametrize("name", CHANGES)
def test_levels_and_announcements_agree(name: str, program: Program) -> None:
    spec = changed(CHANGES[name])
    run = record(spec)
    found = impact_of(program, spec, run)
    assert found.nodes
    words = {
        Disruption.NONE: "will change, and nothing restarts",
        Disruption.RELOAD: "will be reloaded",
        Disruption.RESTART: "will restart:",
        Disruption.DRAIN: "will restart after the node is drained",
    }
    for node in spec.nodes:
        for service in services_of(spec, node):
            component = f"hardway:service:NodeService {node.name}-{service.name}"
            if component not in program.by_identity:
                continue
            old, new = (each.by_identity[component].shown for each in (program, run))
            announced = describe_change(node.name, service, old, new)
            levels = [
                each.disruption
                for impact_on_node in found.nodes
                for each in impact_on_node.services
                if (impact_on_node.name, each.name) == (node.name, service.name)
            ]
            assert [level for level in levels if words[level] in announced] == levels
            assert bool(levels) is bool(announced)


def test_the_document_has_names_only(program: Program) -> None:
    found = impact(program, setting("kubelet", {"maxPods": 53}), setting("labels", {"disk": "ssd"}, 0))
    text = json.dumps(ImpactReport(stack="dev", impact=found, limit=None).document())
    assert "kubelet-config.yaml" in text
    assert not [value for value in ("53", "maxPods", "ssd", "[secret]") if value in text]


def test_an_existing_machine_at_a_new_address_is_recreated(program: Program) -> None:
    node = node_of(impact(program, node_1_prepared=["triggers"]), "node-1")
    assert (node.kind, node.causes) == (ChangeKind.RECREATED, ("address",))
