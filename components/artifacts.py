"""Where the binaries and images that nodes need are on this machine, as the toolchain has fetched or made them."""

from collections.abc import Iterable
from pathlib import Path

from lab.node.service import Artifact, Binary, Image
from lab.spec import Spec
from toolchain import binaries, images, vm_image
from toolchain.vm_image import VmImage


def find(artifacts: Iterable[Artifact]) -> dict[Artifact, tuple[Path, str]]:
    """The file and SHA-256 of each of `artifacts`; quick once they are in the cache.

    Raises system.errors.ToolchainError for one that can neither be fetched nor made.
    """
    wanted = list(artifacts)
    programs = binaries.ensure((artifact.name, artifact.version) for artifact in wanted if isinstance(artifact, Binary))
    archives = images.ensure(artifact.name for artifact in wanted if isinstance(artifact, Image))
    return {
        artifact: (found.path, found.sha256)
        for artifact in wanted
        for found in [
            programs[artifact.name, artifact.version] if isinstance(artifact, Binary) else archives[artifact.name]
        ]
    }


def digests(artifacts: Iterable[Artifact]) -> dict[Artifact, str]:
    """The SHA-256 of each of `artifacts`. Raises ToolchainError as `find` does."""
    return {artifact: digest for artifact, (_, digest) in find(artifacts).items()}


def base_image(spec: Spec) -> VmImage | None:
    """What the lab's VMs start from: the image that the configuration names, or the lab's own; None without VMs.

    The lab's own is born with the binaries of the default versions, whatever versions the spec asks for: what a node
    lacks is pushed, and a change of a version makes no new image. Raises ToolchainError where it cannot be had.
    """
    if not spec.virtual_machines:
        return None
    if spec.image:
        return vm_image.ensure_cloud_image(spec.image)
    return vm_image.ensure_vm_image(vm_image.seed_of())


def to_line(artifact: Artifact, digest: str) -> str:
    """A artifact as one line of text: kind, name, version, SHA-256."""
    return f"{type(artifact).__name__.lower()} {artifact.name} {artifact.version} {digest}"


def from_line(line: str) -> tuple[Artifact, str]:
    """The artifact and the SHA-256 of a line that `to_line` made."""
    kind, name, version, digest = line.split()
    return (Binary if kind == "binary" else Image)(name=name, version=version), digest
