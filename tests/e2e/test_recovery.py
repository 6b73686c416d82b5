"""Nodes that come back after somebody stopped or deleted them, and that are recreated."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab.versions import image_reference
from tests.support.cluster import WORKERS, announced_restarts, busybox_pod, ready
from tests.support.expired_certificates import expire
from tests.support.running_lab import Outcome, RunningLab, wait_for

ROLE = "node-role.kubernetes.io/worker"
LABEL = {"disk": "ssd"}
BUMP = 1_000_000_000
"""The number by which a restore raises the revision of etcd."""


def node(lab: RunningLab, name: str) -> dict[str, Any]:
    """Return a Node."""
    found: dict[str, Any] = json.loads(lab.kubectl("get", "node", name, "--output=json"))
    return found


def registered_since(lab: RunningLab) -> dict[str, str]:
    """Return the UID of every Node, which changes when it registers again."""
    nodes = json.loads(lab.kubectl("get", "nodes", "--output=json"))["items"]
    return {each["metadata"]["name"]: each["metadata"]["uid"] for each in nodes}


def vm_ids(lab: RunningLab) -> dict[str, str]:
    """Return the UUID of every VM."""
    lines = lab.run("virsh", "list", "--all", "--uuid", "--name").stdout.split("\n")
    return {name: uuid for uuid, name in (line.split() for line in lines if line)}


def test_deleted_node_returns_with_its_labels(lab: RunningLab) -> None:
    workers = lab.workers
    workers[1]["labels"] = LABEL
    with lab.configured(workers=workers):
        assert lab.up().succeeded
        before = registered_since(lab)["node-1"]
        lab.kubectl("delete", "node", "node-1")
        assert "kubelet on node-1 will be repaired" in lab.preview()
        outcomes: list[Outcome] = []
        restarted = lab.restarts(lambda: outcomes.append(lab.up()))
        assert outcomes[0].succeeded, outcomes[0].output
        assert restarted == {("node-1", "kubelet")}
        found = node(lab, "node-1")["metadata"]
        assert found["uid"] != before
        assert found["labels"].items() >= {ROLE: "", **LABEL}.items()
        assert lab.planned() == {}
        assert lab.verify() == []
    assert lab.up().succeeded


@pytest.mark.parametrize("command", [("destroy",), ("suspend",)], ids=["shut off", "paused"])
def test_stopped_vm_runs_again(lab: RunningLab, command: tuple[str, ...]) -> None:
    lab.run("virsh", *command, "hardway-node-1")
    assert "VM hardway-node-1 is " in lab.preview()
    outcome = lab.hardway("up")
    assert outcome.succeeded, outcome.output
    assert ready(lab) >= {"node-1"}
    assert lab.planned() == {}


@pytest.mark.parametrize("loses_disk", [False, True], ids=["disk stays", "disk is lost"])
def test_undefined_vm_is_created_again(lab: RunningLab, loses_disk: bool) -> None:
    before = vm_ids(lab)
    lab.run("virsh", "destroy", "hardway-node-1")
    lab.run("virsh", "undefine", "hardway-node-1", *(["--remove-all-storage"] if loses_disk else []))
    assert "VM hardway-node-1 does not exist in libvirt any more" in lab.preview()
    outcome = lab.hardway("up")
    assert outcome.succeeded, outcome.output
    assert {name for name, uuid in vm_ids(lab).items() if uuid != before[name]} == {"hardway-node-1"}
    assert ready(lab) == set(WORKERS)
    assert lab.planned() == {}
    assert lab.verify() == []


def test_node_is_drained_before_its_vm_is_recreated(lab: RunningLab) -> None:
    workers = lab.workers
    workers[1]["memory"] = 2300
    lab.kubectl("apply", "--filename=-", stdin=yaml.safe_dump_all(guarded_pod()))
    try:
        wait_for("the pod runs", lambda: "Running" in lab.kubectl("get", "pod", "guarded"))
        vms = vm_ids(lab)
        with lab.configured(workers=workers, drainGracePeriodSeconds=5, drainTimeoutSeconds=20):
            outcome = lab.up()
            assert not outcome.succeeded
            assert "disruption budget" in outcome.output
            assert "node-1 was not drained within 20 s." in outcome.output
            assert vm_ids(lab) == vms
            assert not node(lab, "node-1")["spec"].get("unschedulable")
        lab.kubectl("delete", "poddisruptionbudget", "guarded")
        # The default limits count at once, although the last run recorded others.
        with lab.configured(workers=workers):
            outcome = lab.up()
            assert outcome.succeeded, outcome.output
            assert {name for name, uuid in vm_ids(lab).items() if uuid != vms[name]} == {"hardway-node-1"}
            assert not node(lab, "node-1")["spec"].get("unschedulable")
            assert ready(lab) == set(WORKERS)
            assert lab.planned() == {}
    finally:
        lab.kubectl("delete", "pod,poddisruptionbudget", "guarded", "--ignore-not-found", "--wait=false")
    assert lab.up().succeeded


def guarded_pod() -> list[dict[str, Any]]:
    """Return a pod on node-1, and a PodDisruptionBudget that lets nobody evict it."""
    labels = {"app": "guarded"}
    container = {
        "name": "wait",
        "image": image_reference("busybox"),
        "imagePullPolicy": "IfNotPresent",
        "command": ["sleep", "100000"],
    }
    return [
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "guarded", "labels": labels},
            "spec": {"nodeName": "node-1", "terminationGracePeriodSeconds": 1, "containers": [container]},
        },
        {
            "apiVersion": "policy/v1",
            "kind": "PodDisruptionBudget",
            "metadata": {"name": "guarded"},
            "spec": {"minAvailable": 1, "selector": {"matchLabels": labels}},
        },
    ]


@pytest.fixture(scope="module")
def original(lab: RunningLab) -> Iterator[dict[str, Any]]:
    """The configuration before the control plane is recreated, which is restored in the end."""
    with lab.configured():
        yield lab.configuration
    assert lab.up().succeeded


def disk(lab: RunningLab, size: int) -> list[dict[str, Any]]:
    """Return the control planes with a disk of another size in GiB, which recreates the VM."""
    return [{**lab.configuration["controlPlanes"][0], "disk": size}]


@pytest.mark.usefixtures("original")
def test_workers_return_to_a_recreated_control_plane(lab: RunningLab) -> None:
    before = registered_since(lab)
    lab.configure(controlPlanes=disk(lab, 11))
    recreate_control_plane(lab)
    assert registered_since(lab) == before


@pytest.mark.usefixtures("original")
def test_a_snapshot_is_restored(lab: RunningLab, monkeypatch: pytest.MonkeyPatch) -> None:
    before = registered_since(lab)
    lab.kubectl("create", "configmap", "earlier", "--from-literal=by=etcd")
    earlier = config_maps(lab)["earlier"]
    revision = stored_revision(lab)
    taken = lab.hardway("etcd", "snapshot", "--json")
    assert taken.succeeded, taken.output
    file = Path(json.loads(taken.stdout)["file"])

    lab.kubectl("delete", "configmap", "earlier")
    lab.kubectl("create", "configmap", "later", "--from-literal=by=etcd")
    start_pod(lab, "later", "node-1")
    lab.configure(controlPlanes=disk(lab, 12), etcd={"restoreFrom": str(file)})
    monkeypatch.setenv("HARDWAY_LOSE_DATA", "yes")
    recreate_control_plane(lab)
    monkeypatch.delenv("HARDWAY_LOSE_DATA")

    assert config_maps(lab)["earlier"]["metadata"] == earlier["metadata"]
    assert "later" not in config_maps(lab)
    assert stored_revision(lab) >= revision + BUMP
    assert registered_since(lab) == before
    assert lab.kubectl("get", "pod", "later", "--ignore-not-found") == ""
    pods = "crictl pods --name '^later$' --state ready --quiet"
    wait_for("node-1 ends the pod that the snapshot lacks", lambda: lab.ssh("node-1", pods) == "")
    # The snapshot has the Nodes as they were, so that they are Ready proves nothing.
    for worker in WORKERS:
        start_pod(lab, f"new-{worker}", worker)
        lab.kubectl("delete", "pod", f"new-{worker}")

    lab.configure(etcd=None)
    assert announced_restarts(lab.preview()) == set()
    outcomes: list[Outcome] = []
    assert lab.restarts(lambda: outcomes.append(lab.up())) == set()
    assert outcomes[0].succeeded, outcomes[0].output
    assert lab.planned() == {}
    lab.kubectl("delete", "configmap", "earlier")
    file.unlink()


def config_maps(lab: RunningLab) -> dict[str, dict[str, Any]]:
    """Return the ConfigMaps that the API server serves from its cache."""
    path = "/api/v1/namespaces/default/configmaps?resourceVersion=0"
    items = json.loads(lab.kubectl("get", "--raw", path))["items"]
    return {each["metadata"]["name"]: each for each in items}


def stored_revision(lab: RunningLab) -> int:
    """Return the revision of etcd."""
    [endpoint] = json.loads(lab.ssh("server", "etcdctl endpoint status --write-out json"))
    return int(endpoint["Status"]["header"]["revision"])


def start_pod(lab: RunningLab, name: str, worker: str) -> None:
    """Run a pod on a worker, and wait until it runs."""
    pod = busybox_pod(name, worker, "exec sleep 100000", {"exec": {"command": ["true"]}})
    lab.kubectl("apply", "--filename=-", stdin=json.dumps(pod))
    wait_for(f"{name} runs on {worker}", lambda: "Running" in lab.kubectl("get", "pod", name))


def test_workers_join_an_empty_cluster(
    lab: RunningLab, original: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = registered_since(lab)
    # The tests before have changed the disk.
    lab.configure_all(original)
    monkeypatch.setenv("HARDWAY_LOSE_DATA", "yes")
    recreate_control_plane(lab)
    after = registered_since(lab)
    assert after.keys() == before.keys()
    assert not after.items() & before.items()


def recreate_control_plane(lab: RunningLab) -> None:
    """Bring up a configuration that recreates the control plane, and check that the lab is complete."""
    outcome = lab.hardway("up")
    assert outcome.succeeded, outcome.output
    assert ready(lab) == set(WORKERS)
    assert all(ROLE in node(lab, name)["metadata"]["labels"] for name in WORKERS)
    lab.wait_until_idle()
    assert lab.planned() == {}
    assert lab.verify() == []


def test_lab_whose_certificates_have_expired_comes_back(lab: RunningLab) -> None:
    expire(lab)
    assert "The administrator's certificate expired on" in lab.preview()
    outcome = lab.up()
    assert outcome.succeeded, outcome.output
    wait_for("all nodes are Ready", lambda: ready(lab) == set(WORKERS))
    assert lab.planned() == {}
    assert lab.verify() == []
