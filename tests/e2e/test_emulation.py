"""An upgrade of the control plane with a way back: new programs that emulate the minor version before.

The last test ends the emulation, after which no version can return. So this stage leaves the lab with another version.
"""

import json
from typing import Any

from lab.versions import default_kubernetes_version, kubernetes_versions, minor
from tests.support.cluster import WORKERS, announced_restarts, node_objects
from tests.support.running_lab import Outcome, RunningLab, Service

OLD = default_kubernetes_version()
NEW = next(version for version in kubernetes_versions() if minor(version) == minor(OLD) + 1)
EMULATED = f"v1.{minor(OLD)}"
PROGRAMS = ("kube-apiserver", "kube-controller-manager", "kube-scheduler")


def api_server(lab: RunningLab) -> tuple[str, int]:
    """Return the release of the API server, and the minor version whose API it serves."""
    version = json.loads(lab.kubectl("get", "--raw", "/version"))
    return version["gitVersion"], int(version["emulationMinor"])


def changed(lab: RunningLab, **values: Any) -> set[Service]:
    """Apply values of the stack, and return the services that restarted, which are those of the preview."""
    lab.configure(**values)
    announced = announced_restarts(lab.preview())
    outcomes: list[Outcome] = []
    restarted = lab.restarts(lambda: outcomes.append(lab.up()))
    assert outcomes[0].succeeded, outcomes[0].output
    assert restarted == announced
    assert lab.planned() == {}
    return restarted


def emulate(lab: RunningLab) -> set[Service]:
    """Raise the control plane only, which behaves as before."""
    [server] = lab.configuration["controlPlanes"]
    return changed(lab, emulate=EMULATED, controlPlanes=[server | {"kubernetesVersion": NEW}])


def without_version(lab: RunningLab) -> dict[str, Any]:
    """Return the keys that give the control plane the version of the lab again, and end the emulation."""
    [server] = lab.configuration["controlPlanes"]
    server.pop("kubernetesVersion")
    return {"emulate": None, "controlPlanes": [server]}


def read_everything(lab: RunningLab) -> str:
    """Return the names of all objects, each of which the API server reads from etcd."""
    # An extension API server may be away for a moment, because its pod has moved. Its objects are not in etcd.
    kinds = lab.kubectl("api-resources", "--verbs=list", "--output=name", check=False).split()
    stored = [kind for kind in kinds if not kind.endswith(".metrics.k8s.io")]
    return lab.kubectl("get", ",".join(stored), "--all-namespaces", "--output=name")


def test_a_new_control_plane_emulates_the_version_before(lab: RunningLab) -> None:
    restarted = emulate(lab)
    assert restarted >= {("server", program) for program in PROGRAMS}
    assert {node for node, _ in restarted} == {"server"}
    assert api_server(lab) == (NEW, minor(OLD))
    status = lab.hardway("status")
    assert f"API server {NEW}, which emulates {EMULATED}" in status.output
    lab.kubectl("create", "configmap", "emulated", f"--from-literal=by={NEW}")


def test_the_older_version_returns_and_reads_what_was_stored(lab: RunningLab) -> None:
    restarted = changed(lab, **without_version(lab))
    assert {node for node, _ in restarted} == {"server"}
    assert api_server(lab) == (OLD, minor(OLD))
    assert lab.kubectl("get", "configmap", "emulated", "--output=jsonpath={.data.by}") == NEW
    assert "configmap/emulated" in read_everything(lab)


def test_it_goes_forward_again(lab: RunningLab) -> None:
    emulate(lab)
    assert api_server(lab) == (NEW, minor(OLD))


def test_the_emulation_ends_before_the_workers_are_upgraded(lab: RunningLab) -> None:
    restarted = changed(lab, kubernetesVersion=NEW, **without_version(lab))
    assert restarted >= {*(("server", program) for program in PROGRAMS), *((worker, "kubelet") for worker in WORKERS)}
    assert api_server(lab) == (NEW, minor(NEW))
    versions = {node["metadata"]["name"]: node["status"]["nodeInfo"]["kubeletVersion"] for node in node_objects(lab)}
    assert versions == dict.fromkeys(WORKERS, NEW)
    assert "configmap/emulated" in read_everything(lab)


def test_the_older_version_cannot_return_any_more(lab: RunningLab) -> None:
    before = lab.invocations()
    with lab.configured(kubernetesVersion=OLD):
        outcome = lab.up()
    assert not outcome.succeeded
    assert f"kube-apiserver runs {NEW}, and no API server can go back" in outcome.output
    assert lab.invocations() == before
    assert lab.planned() == {}
