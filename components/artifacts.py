"""Binaries, images, snapshots of etcd and VM images on this machine, which the toolchain has fetched or built."""

from collections.abc import Iterable
from pathlib import Path

from lab.node.service import Artifact, Binary, Image, Snapshot
from lab.spec import Spec
from toolchain import binaries, etcd_snapshot, image_archive, images, vm_image
from toolchain.vm_image import VmImage


def find(artifacts: Iterable[Artifact]) -> dict[Artifact, tuple[Path, str]]:
    """Return the file and SHA-256 of each artifact. This is quick if they are in the cache.

    Raises:
        ToolchainError: An artifact can neither be fetched nor built.
    """
    needed = list(artifacts)
    programs = binaries.ensure((artifact.name, artifact.version) for artifact in needed if isinstance(artifact, Binary))
    container_images = [artifact for artifact in needed if isinstance(artifact, Image)]
    versions = {image.name: image.version for image in container_images if not image.archive}
    own = images.ensure(versions, versions=versions)
    archives = {image: image_archive.ensure(image.name, image.archive) for image in container_images if image.archive}
    snapshots = {
        artifact: etcd_snapshot.ensure(artifact.version) for artifact in needed if isinstance(artifact, Snapshot)
    }
    found: dict[Artifact, tuple[Path, str]] = {}
    for artifact in needed:
        if isinstance(artifact, Binary):
            program = programs[artifact.name, artifact.version]
            found[artifact] = program.path, program.sha256
        elif isinstance(artifact, Snapshot):
            found[artifact] = snapshots[artifact].path, snapshots[artifact].sha256
        else:
            archive = archives.get(artifact) or own[artifact.name]
            found[artifact] = archive.path, archive.sha256
    return found


def digests(artifacts: Iterable[Artifact]) -> dict[Artifact, str]:
    """Return the SHA-256 of each artifact.

    Raises:
        ToolchainError: An artifact can neither be fetched nor built.
    """
    return {artifact: digest for artifact, (_, digest) in find(artifacts).items()}


def base_image(spec: Spec) -> VmImage | None:
    """Return the image that the lab's VMs start from; None for a lab without VMs.

    It is the image that the configuration names, or the lab's own. The lab's own image contains the binaries of the
    default versions, independent of the versions in the spec. Other versions are pushed, so a new version needs no new
    image.

    Raises:
        ToolchainError: The image can neither be fetched nor built.
    """
    if not spec.virtual_machines:
        return None
    if spec.image:
        return vm_image.ensure_cloud_image(spec.image)
    return vm_image.ensure_vm_image(vm_image.store_files())


def to_line(artifact: Artifact, digest: str) -> str:
    """Return an artifact as one line of text: kind, name, version or archive, SHA-256."""
    if isinstance(artifact, Image) and artifact.archive:
        return f"archive {artifact.name} {artifact.archive} {digest}"
    return f"{type(artifact).__name__.lower()} {artifact.name} {artifact.version} {digest}"


def from_line(line: str) -> tuple[Artifact, str]:
    """Return the artifact and the SHA-256 of a line that `to_line` wrote."""
    kind, name, version, digest = line.split()
    if kind == "archive":
        return Image(name=name, archive=version), digest
    if kind == "snapshot":
        return Snapshot(version=version), digest
    return (Binary if kind == "binary" else Image)(name=name, version=version), digest
