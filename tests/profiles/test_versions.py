"""The default stack works with older versions of Kubernetes, and with one that the table of versions does not list."""

from collections.abc import Iterator
from contextlib import nullcontext

import pytest

from tests.support.cluster import ready
from tests.support.profile import EveryLab, brought_up
from tests.support.release_mirror import mirrored, publish
from tests.support.running_lab import RunningLab

UNLISTED = "v1.35.4"
"""A version that this checkout lists, and the clone of the lab does not. The clone downloads it from a mirror."""
VERSIONS = ("v1.31.0", "v1.32.3", UNLISTED)


@pytest.fixture(scope="module", params=VERSIONS)
def version(request: pytest.FixtureRequest) -> str:
    """The version of Kubernetes in the lab."""
    chosen: str = request.param
    return chosen


@pytest.fixture(scope="module")
def releases(version: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The SHA-256 of each published release by its URL. Listed versions need none."""
    folder = tmp_path_factory.mktemp("releases")
    published = publish(version, folder) if version == UNLISTED else {}
    with mirrored(folder) if published else nullcontext():
        yield published


@pytest.fixture(scope="module")
def lab(version: str, releases: dict[str, str]) -> Iterator[RunningLab]:
    """A lab of that version, with one worker."""

    def configure(running: RunningLab) -> None:
        running.configure(kubernetesVersion=version, workers=running.workers[:1])
        if releases:
            table = running.checkout / "lab/versions.toml"
            text = table.read_text()
            assert f', "{version}"' in text
            table.write_text(text.replace(f', "{version}"', ""))

    with brought_up("dev", configure) as running:
        yield running


def test_only_releases_of_an_unlisted_version_are_recorded(lab: RunningLab, releases: dict[str, str]) -> None:
    lock = lab.checkout / "versions.lock"
    lines = lock.read_text().splitlines() if lock.exists() else []
    recorded = {url: digest for digest, url in (line.split() for line in lines if not line.startswith("#"))}
    assert recorded == releases


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
