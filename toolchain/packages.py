"""The Debian packages that the toolchain needs on this machine."""

from __future__ import annotations

from collections.abc import Iterable

from lab.versions import default_kubernetes_version
from toolchain import binaries, engine, images, vm_image


def required_packages(*, vms: bool) -> dict[str, str]:
    """Return the packages that every lab's images need, with the reason for each.

    Args:
        vms: The lab creates VMs.
    """
    return images.required_packages() | (vm_image.required_packages() if vms else {})


def build_packages(kubernetes_versions: Iterable[str] = ()) -> dict[str, str]:
    """Return the packages needed to build everything that is not in the cache, with the reason for each.

    Programs whose official release can be downloaded do not need them.

    Args:
        kubernetes_versions: The versions that the lab runs; by default the default version.
    """
    packages = engine.required_packages()
    for version in list(kubernetes_versions) or [default_kubernetes_version()]:
        packages |= binaries.required_packages(binaries.lab_programs(version))
    return packages
