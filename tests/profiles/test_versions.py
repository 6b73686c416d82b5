"""The default stack works with older versions of Kubernetes."""

from collections.abc import Iterator

import pytest

from tests.support.cluster import ready
from tests.support.profile import EveryLab, brought_up
from tests.support.running_lab import RunningLab

VERSIONS = ("v1.31.0", "v1.32.3")


@pytest.fixture(scope="module", params=VERSIONS)
def version(request: pytest.FixtureRequest) -> str:
    """The version of Kubernetes in the lab."""
    chosen: str = request.param
    return chosen


@pytest.fixture(scope="module")
def lab(version: str) -> Iterator[RunningLab]:
    """A lab of that version, with one worker."""

    def configure(running: RunningLab) -> None:
        running.configure(kubernetesVersion=version, workers=running.workers[:1])

    with brought_up("dev", configure) as running:
        yield running


def test_all_programs_have_that_version(lab: RunningLab, version: str) -> None:
    assert ready(lab) == {"node-0"}
    for node, programs in {
        "server": ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl"),
        "node-0": ("kubelet", "kube-proxy"),
    }.items():
        for program in programs:
            command = f"{program} version --client" if program == "kubectl" else f"{program} --version"
            assert version in lab.ssh(node, command)


class TestLab(EveryLab):
    """The tests of every lab."""
