"""The Debian packages that the toolchain's steps need."""

from __future__ import annotations

from collections.abc import Iterable

from lab.versions import default_kubernetes_version
from toolchain import binaries, engine, images, vm_image


def required_packages(*, vms: bool) -> dict[str, str]:
    """The packages needed for what is made for every lab, with the reason for each.

    vms: whether it has VMs.
    """
    return images.required_packages() | (vm_image.required_packages() if vms else {})


def build_packages(kubernetes_versions: Iterable[str] = ()) -> dict[str, str]:
    """The packages needed to build what isn't in the cache yet, should none of it be had from its release.

    kubernetes_versions: those that the lab will run; by default the default one.
    """
    needed = engine.required_packages()
    for version in list(kubernetes_versions) or [default_kubernetes_version()]:
        needed |= binaries.required_packages(binaries.programs_of_a_lab(version))
    return needed
