"""Upgrades of the stack `ha` by one minor version after the other, while clients work."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import pytest

from lab.versions import kubernetes_versions, minor
from tests.support.cluster import node_objects
from tests.support.profile import EveryLab, brought_up, reduce_ha
from tests.support.restarts import Restart, restarts_since
from tests.support.running_lab import CLOCK_TOLERANCE, Outcome, RunningLab

CONTROL_PLANES = ("control0", "control1", "control2")
WORKERS = ("worker0", "worker1")
OLD, MIDDLE, NEW = sorted(kubernetes_versions(), key=minor)[-3:]
"""Versions of three minor versions in a row."""

OF_CONTROL_PLANES = ("kube-apiserver", "kube-controller-manager", "kube-scheduler")
OF_NODES = ("kubelet", "kube-proxy")
SERVICES = dict.fromkeys(CONTROL_PLANES, (*OF_CONTROL_PLANES, *OF_NODES)) | dict.fromkeys(WORKERS, OF_NODES)
"""The services of the upgrade on each node."""


@dataclass(frozen=True)
class Upgrade:
    """An upgrade of all nodes.

    Attributes:
        version: The version after it.
        preview: The output of `hardway preview` before it.
        report: The report of `hardway probe` during it.
        restarts: The services that restarted, the first one first.
    """

    version: str
    preview: str
    report: dict[str, Any]
    restarts: Sequence[Restart]

    def of(self, service: str, nodes: Sequence[str]) -> list[Restart]:
        """Return the restarts of a service on each of some nodes, the first one first."""
        found = [restart for restart in self.restarts if restart.service == service and restart.node in nodes]
        assert {restart.node for restart in found} == set(nodes), f"{service} did not restart on all of {nodes}\n{self}"
        return found

    def __str__(self) -> str:
        return "\n".join(map(str, self.restarts))


@pytest.fixture(scope="module")
def lab() -> Iterator[RunningLab]:
    """The stack `ha` with the oldest of the three versions."""

    def configure(running: RunningLab) -> None:
        reduce_ha(running)
        running.configure(kubernetesVersion=OLD)

    with brought_up("ha", configure) as running:
        running.wait_until_idle()
        yield running


@pytest.fixture(scope="module", params=[MIDDLE, NEW])
def upgrade(lab: RunningLab, request: pytest.FixtureRequest) -> Upgrade:
    """The upgrade to a version by one `hardway up`. The next one begins where this one ended."""
    lab.configure(kubernetesVersion=request.param)
    previewed = lab.hardway("preview")
    assert previewed.succeeded, previewed.output
    with lab.probe() as report:
        began = time.time()
        up = lab.hardway("up")
    assert up.succeeded, up.output
    return Upgrade(request.param, previewed.output, report, restarts_since(lab, began, SERVICES))


def refused(lab: RunningLab, version: str) -> Outcome:
    """Configure a version that `pulumi up` must refuse, check that nothing has restarted, and return the outcome."""
    outcomes: list[Outcome] = []
    with lab.configured(kubernetesVersion=version):
        assert lab.restarts(lambda: outcomes.append(lab.up())) == set()
    assert not outcomes[0].succeeded
    return outcomes[0]


def test_a_skipped_minor_version_is_refused(lab: RunningLab) -> None:
    output = refused(lab, NEW).output
    assert f"kube-apiserver runs {OLD}, and an upgrade must not skip a minor version" in output
    assert f"Set a version of v1.{minor(MIDDLE)} first" in output


def test_every_node_has_the_version_and_runs_pods(lab: RunningLab, upgrade: Upgrade) -> None:
    nodes = {
        node["metadata"]["name"]: (
            node["status"]["nodeInfo"]["kubeletVersion"],
            node["spec"].get("unschedulable", False),
        )
        for node in node_objects(lab)
    }
    assert nodes == dict.fromkeys((*CONTROL_PLANES, *WORKERS), (upgrade.version, False))


def test_the_preview_announces_the_drains(upgrade: Upgrade) -> None:
    for node in (*CONTROL_PLANES, *WORKERS):
        assert f"kubelet on {node} will restart after the node is drained" in upgrade.preview


@pytest.mark.parametrize("targets", ["API", "Service"])
def test_no_request_fails(upgrade: Upgrade, targets: str) -> None:
    asked = [target for target in upgrade.report["targets"] if target["target"].startswith(targets)]
    assert asked
    assert [target for target in asked if not target["requests"]] == []
    failed = [
        f"{target['target']} from {target['from']}: {target['failures']} of {target['requests']} failed"
        f" ({target['error']}) at {[span['begin'] for span in target['spans'] if span['state'] == 'failed']} s"
        for target in asked
        if target["failures"]
    ]
    assert failed == [], f"The measurement began at {upgrade.report['start']}, services restarted at\n{upgrade}"


@pytest.mark.parametrize(
    ("service", "nodes"),
    [("kube-apiserver", CONTROL_PLANES), ("kubelet", CONTROL_PLANES), ("kubelet", WORKERS)],
    ids=["API servers", "kubelets of control planes", "kubelets of workers"],
)
def test_one_changes_after_the_other(upgrade: Upgrade, service: str, nodes: Sequence[str]) -> None:
    restarts = upgrade.of(service, nodes)
    for earlier, later in pairwise(restarts):
        assert later.stopped >= earlier.started - CLOCK_TOLERANCE, str(upgrade)


def test_an_api_server_changes_before_its_clients_on_the_node(upgrade: Upgrade) -> None:
    api_servers = {restart.node: restart for restart in upgrade.of("kube-apiserver", CONTROL_PLANES)}
    for service in ("kube-controller-manager", "kube-scheduler", "kubelet"):
        for restart in upgrade.of(service, CONTROL_PLANES):
            assert restart.started >= api_servers[restart.node].started, str(upgrade)


def test_all_api_servers_change_before_the_workers(upgrade: Upgrade) -> None:
    last = max(restart.started for restart in upgrade.of("kube-apiserver", CONTROL_PLANES))
    for service in OF_NODES:
        for restart in upgrade.of(service, WORKERS):
            assert restart.stopped >= last - CLOCK_TOLERANCE, str(upgrade)


def test_no_kubelet_is_newer_than_an_api_server(upgrade: Upgrade) -> None:
    # A kubelet reaches any API server behind the address of the load balancer, also that of a control plane.
    last = max(restart.started for restart in upgrade.of("kube-apiserver", CONTROL_PLANES))
    for restart in upgrade.of("kubelet", CONTROL_PLANES):
        assert restart.started >= last - CLOCK_TOLERANCE, str(upgrade)


def test_a_return_is_refused(lab: RunningLab) -> None:
    assert f"kube-apiserver runs {NEW}, and no API server can go back" in refused(lab, MIDDLE).output


class TestLab(EveryLab):
    """The tests of every lab."""
