"""Upgrades that the version skew policy allows."""

import pytest

from lab.upgrade import UpgradeError, ensure_supported
from tests.support.program_stack import changed, setting


@pytest.mark.parametrize("running", ["v1.35.4", "v1.36.0", "v1.36.9", None])
def test_next_minor_and_every_patch_are_allowed(running: str | None) -> None:
    ensure_supported(changed(setting("kubernetesVersion", "v1.36.3")), running)


def test_skipped_minor_names_the_next_one() -> None:
    with pytest.raises(UpgradeError, match=r"runs v1\.35\.4.*Set a version of v1\.36 first"):
        ensure_supported(changed(setting("kubernetesVersion", "v1.37.2")), "v1.35.4")


def test_earlier_minor_is_refused() -> None:
    with pytest.raises(UpgradeError, match=r"runs v1\.37\.2, and no API server can go back"):
        ensure_supported(changed(setting("kubernetesVersion", "v1.36.3")), "v1.37.2")
