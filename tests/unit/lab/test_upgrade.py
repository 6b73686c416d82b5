"""Upgrades that the version skew policy allows."""

import pytest

from lab.spec import Spec
from lab.upgrade import ApiServerVersion, UpgradeError, ensure_supported
from tests.support.program_stack import changed, setting


def runs(release: str, emulated: str = "") -> ApiServerVersion:
    """Return the version of an API server. It emulates a minor version such as 36, or none."""
    return ApiServerVersion.of({"gitVersion": release, **({"emulationMinor": emulated} if emulated else {})})


def configured(version: str, emulated: str = "") -> Spec:
    """Return a lab with a version of its control plane. Its kubelets are old enough for every emulated version."""

    def change(values: dict[str, object]) -> None:
        values["kubernetesVersion"], values["emulate"] = "v1.35.4", emulated
        values["controlPlanes"] = [{"name": "server", "address": "10.240.0.10", "kubernetesVersion": version}]

    return changed(change)


@pytest.mark.parametrize("running", ["v1.35.4", "v1.36.0", "v1.36.9"])
def test_next_minor_and_every_patch_are_allowed(running: str) -> None:
    ensure_supported(changed(setting("kubernetesVersion", "v1.36.3")), runs(running))


def test_new_lab_may_have_every_version() -> None:
    ensure_supported(configured("v1.37.2"), None)


def test_skipped_minor_names_the_next_one() -> None:
    with pytest.raises(UpgradeError, match=r"runs v1\.35\.4,.*Set a version of v1\.36 first"):
        ensure_supported(configured("v1.37.2"), runs("v1.35.4", "35"))


def test_earlier_minor_is_refused() -> None:
    with pytest.raises(UpgradeError, match=r"runs v1\.37\.2, and no API server can go back"):
        ensure_supported(configured("v1.36.3"), runs("v1.37.2", "37"))


@pytest.mark.parametrize(("version", "emulated"), [("v1.37.2", "v1.36"), ("v1.36.3", "v1.36"), ("v1.36.3", "")])
def test_emulated_version_may_be_kept_and_return(version: str, emulated: str) -> None:
    ensure_supported(configured(version, emulated), runs("v1.37.2", "36"))


def test_emulation_may_begin_with_the_upgrade_and_end_after_it() -> None:
    ensure_supported(configured("v1.37.2", "v1.36"), runs("v1.36.3", "36"))
    ensure_supported(configured("v1.37.2"), runs("v1.37.2", "36"))


def test_version_before_the_emulated_one_is_refused() -> None:
    with pytest.raises(UpgradeError, match=r"runs v1\.37\.2, which emulates v1\.36, and no .* Keep v1\.36"):
        ensure_supported(configured("v1.35.4"), runs("v1.37.2", "36"))


def test_emulation_cannot_begin_after_the_upgrade() -> None:
    with pytest.raises(UpgradeError, match=r"hardway:emulate = v1\.36: .* runs v1\.37\.2, and no .* Keep v1\.37"):
        ensure_supported(configured("v1.37.2", "v1.36"), runs("v1.37.2", "37"))


def test_emulated_version_does_not_skip_a_minor() -> None:
    with pytest.raises(UpgradeError, match=r"emulates v1\.35, .*Set hardway:emulate = v1\.36 first"):
        ensure_supported(configured("v1.37.2"), runs("v1.37.2", "35"))


def test_programs_do_not_skip_a_minor_that_they_emulate() -> None:
    with pytest.raises(UpgradeError, match=r"Set a version of v1\.36 first"):
        ensure_supported(configured("v1.37.2", "v1.35"), runs("v1.35.4", "35"))
