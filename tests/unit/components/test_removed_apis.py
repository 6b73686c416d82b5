"""Warnings of removed APIs before an upgrade, with a fake kubectl."""

from pathlib import Path

import pulumi
import pytest

from components.removed_apis import warn_of_removed_apis
from lab.spec import Spec
from lab.upgrade import ApiServerVersion
from tests.support.fake_programs import put
from tests.support.program_stack import changed, setting

RUNNING = ApiServerVersion.of({"gitVersion": "v1.36.3"})
REMOVED_IN_37 = "Clients use apps/v1beta1 scales, which v1.37 removes. Move them to another version of the API before"


def metric(release: str) -> str:
    """Return the metric of a deprecated API."""
    labels = f'group="apps",removed_release="{release}",resource="scales",subresource="",version="v1beta1"'
    return f"apiserver_requested_deprecated_apis{{{labels}}} 1"


@pytest.fixture
def warnings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The warnings."""
    texts: list[str] = []
    monkeypatch.setattr(pulumi, "warn", texts.append)
    return texts


@pytest.fixture
def upgraded() -> Spec:
    """A lab whose next version is v1.37."""
    return changed(setting("kubernetesVersion", "v1.37.2"))


def report(programs: Path, *releases: str) -> None:
    """Make the API server report deprecated APIs that some releases remove."""
    put(programs, "kubectl", f"echo \"$@\" >{programs}/called; echo '{chr(10).join(map(metric, releases))}'")


def test_only_apis_that_the_new_version_removes_are_named(programs: Path, warnings: list[str], upgraded: Spec) -> None:
    report(programs, "1.37", "1.38")
    warn_of_removed_apis(upgraded, RUNNING, programs / "kubeconfig")
    assert [text.removesuffix(" `hardway up`.") for text in warnings] == [REMOVED_IN_37]
    called = (programs / "called").read_text()
    assert f"--kubeconfig {programs}/kubeconfig get --raw=/metrics?name[]=apiserver_requested_deprecated_apis" in called


@pytest.mark.parametrize("running", [RUNNING, None])
def test_metrics_are_not_read_without_another_minor(
    programs: Path, warnings: list[str], running: ApiServerVersion | None
) -> None:
    report(programs, "1.36")
    warn_of_removed_apis(changed(setting("kubernetesVersion", "v1.36.0")), running, programs / "kubeconfig")
    assert (warnings, (programs / "called").exists()) == ([], False)


def test_emulated_version_removes_nothing(programs: Path, warnings: list[str]) -> None:
    report(programs, "1.37")
    control_plane = {"name": "server", "address": "10.240.0.10", "kubernetesVersion": "v1.37.2"}
    emulating = changed(setting("emulate", "v1.36"), setting("controlPlanes", [control_plane]))
    warn_of_removed_apis(emulating, RUNNING, programs / "kubeconfig")
    assert warnings == []


def test_silent_api_server_is_reported(programs: Path, warnings: list[str], upgraded: Spec) -> None:
    put(programs, "kubectl", "exit 1")
    warn_of_removed_apis(upgraded, RUNNING, programs / "kubeconfig")
    assert [text.partition(",")[0] for text in warnings] == ["The API server does not report its metrics"]
