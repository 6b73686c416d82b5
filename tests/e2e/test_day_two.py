"""Changes of kubelets that need more than a restart: a canary's consent, and a drained node."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.versions import image_reference
from tests.support.cluster import WORKERS, announced_restarts
from tests.support.running_lab import Outcome, RunningLab, Service, wait_for

NODE = WORKERS[0]
APP = "pinned"


@pytest.fixture
def _restored(lab: RunningLab) -> Iterator[None]:
    """Restore the configuration and the lab in the end."""
    with lab.configured():
        yield
    assert lab.up().succeeded


def applied(lab: RunningLab) -> tuple[Outcome, set[Service]]:
    """Run `pulumi up`, and return its outcome and the services that it restarted."""
    outcomes: list[Outcome] = []
    restarted = lab.restarts(lambda: outcomes.append(lab.up()))
    return outcomes[0], restarted


@pytest.mark.usefixtures("_restored")
def test_other_nodes_wait_for_the_canary(lab: RunningLab, tmp_path: Path) -> None:
    log = tmp_path / "canary"
    note = f'echo "$HARDWAY_SERVICE $HARDWAY_NODE $HARDWAY_STACK" >>{log}'
    lab.configure(kubelet={"containerLogMaxFiles": 6}, canaryCommand=f"{note}; echo The canary is ill.; exit 7")
    outcome, restarted = applied(lab)
    assert not outcome.succeeded
    assert "The canary is ill." in outcome.output
    assert "exit code 7" in outcome.output
    assert len(restarted) == 1, outcome.output
    [(first, _)] = restarted
    assert restarted == {(first, "kubelet")}
    assert log.read_text() == f"kubelet {first} {lab.stack}\n"

    lab.configure(canaryCommand=note)
    outcome, restarted = applied(lab)
    assert outcome.succeeded, outcome.output
    assert restarted == {(worker, "kubelet") for worker in WORKERS if worker != first}
    asked = log.read_text().splitlines()[1:]
    assert asked in ([f"kubelet {worker} {lab.stack}"] for worker in WORKERS)
    assert lab.planned() == {}


@pytest.fixture
def pinned(lab: RunningLab) -> Iterator[str]:
    """A Deployment whose pod can only run on one node. The value is the UID of the pod."""
    container = {
        "name": "wait",
        "image": image_reference("busybox"),
        "imagePullPolicy": "IfNotPresent",
        "command": ["sleep", "100000"],
    }
    pod = {
        "nodeSelector": {"kubernetes.io/hostname": NODE},
        "terminationGracePeriodSeconds": 1,
        "containers": [container],
    }
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": APP},
        "spec": {
            "selector": {"matchLabels": {"app": APP}},
            "template": {"metadata": {"labels": {"app": APP}}, "spec": pod},
        },
    }
    lab.kubectl("apply", "--filename=-", stdin=json.dumps(deployment))
    yield running_pod(lab, unlike="")
    lab.kubectl("delete", "deployment", APP)


def running_pod(lab: RunningLab, unlike: str) -> str:
    """Wait until another pod of the Deployment is ready, and return its UID."""
    uids: list[str] = []

    def is_ready() -> bool:
        items = json.loads(lab.kubectl("get", "pods", f"--selector=app={APP}", "--output=json"))["items"]
        uids[:] = [
            item["metadata"]["uid"]
            for item in items
            for condition in item["status"].get("conditions", ())
            if (condition["type"], condition["status"]) == ("Ready", "True")
            and "deletionTimestamp" not in item["metadata"]
        ]
        return bool(uids) and uids != [unlike]

    wait_for(f"the pod on {NODE} is ready", is_ready)
    return uids[0]


@pytest.mark.usefixtures("_restored")
def test_a_node_is_drained_before_it_assigns_cpus_otherwise(lab: RunningLab, pinned: str) -> None:
    text = lab.stack_file.read_text()
    first, *others = lab.workers
    lab.configure(workers=[first | {"kubelet": {"cpuManagerPolicy": "static", "reservedSystemCPUs": "0"}}, *others])
    pod = assigned(lab, "static", pinned)
    lab.stack_file.write_text(text)
    assigned(lab, "none", pod)
    assert lab.verify() == []


def assigned(lab: RunningLab, policy: str, pod: str) -> str:
    """Apply another policy of the CPU manager, and check that the pod leaves the node and returns.

    Args:
        lab: The lab.
        policy: The policy.
        pod: The UID of the pod before.

    Returns:
        The UID of the pod afterwards.
    """
    preview = lab.preview()
    assert f"kubelet on {NODE} will restart after the node is drained" in preview
    assert announced_restarts(preview) == {(NODE, "kubelet")}
    outcome, restarted = applied(lab)
    assert outcome.succeeded, outcome.output
    assert restarted == {(NODE, "kubelet")}
    assert f"{NODE} is drained before its kubelet assigns CPUs or memory under other settings" in outcome.output
    state = "cat /var/lib/kubelet/cpu_manager_state"
    wait_for(f"CPU policy {policy}", lambda: f'"policyName":"{policy}"' in lab.ssh(NODE, state, check=False))
    assert lab.kubectl("get", "node", NODE, "--output=jsonpath={.spec.unschedulable}") == ""
    assert lab.planned() == {}
    return running_pod(lab, unlike=pod)
