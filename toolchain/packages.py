"""The Debian packages that the toolchain's steps need."""

from __future__ import annotations

from collections.abc import Iterable

from lab.versions import default_kubernetes_version
from toolchain import binaries, engine, images, vm_image


def required_packages(kubernetes_versions: Iterable[str] = ()) -> dict[str, str]:
    """The packages needed to make what isn't in the cache yet, with the reason for each.

    kubernetes_versions: those that the lab will run; by default the default one.
    """
    needed = images.required_packages() | vm_image.required_packages() | engine.required_packages()
    for version in list(kubernetes_versions) or [default_kubernetes_version()]:
        needed |= binaries.required_packages(binaries.programs_of_a_lab(version))
    return needed
