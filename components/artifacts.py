"""Binaries, images, snapshots of etcd and VM images on this machine, which the toolchain has fetched or built."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from lab.node.service import Artifact, Binary, Image, Snapshot
from lab.spec import Spec
from system.errors import ToolchainError
from toolchain import binaries, etcd_snapshot, image_archive, images, vm_image
from toolchain.binaries import BinaryFile
from toolchain.etcd_snapshot import SnapshotFile
from toolchain.images import ImageArchive
from toolchain.vm_image import VmImage


def find(artifacts: Iterable[Artifact]) -> dict[Artifact, tuple[Path, str]]:
    """Return the file and SHA-256 of each artifact. This is quick if they are in the cache.

    Raises:
        ToolchainError: An artifact can neither be fetched nor built.
    """
    return {artifact: (file.path, file.sha256) for artifact, file in _files(artifacts).items()}


def digests(nodes: Iterable[Iterable[Artifact]]) -> dict[Artifact, str]:
    """Return the SHA-256 of each artifact.

    Args:
        nodes: The artifacts of each node.

    Raises:
        ToolchainError: An artifact can neither be fetched nor built, or an archive would replace another image.
    """
    # Most nodes have the same artifacts.
    groups = list(dict.fromkeys(map(frozenset, nodes)))
    files = _files(frozenset().union(*groups))
    for group in groups:
        _check_names({image: file for image in group if isinstance(file := files[image], ImageArchive)})
    return {artifact: file.sha256 for artifact, file in files.items()}


def _files(artifacts: Iterable[Artifact]) -> dict[Artifact, BinaryFile | ImageArchive | SnapshotFile]:
    needed = list(artifacts)
    programs = binaries.ensure((artifact.name, artifact.version) for artifact in needed if isinstance(artifact, Binary))
    versions = {image.name: image.version for image in needed if isinstance(image, Image) and not image.archive}
    made = images.ensure(versions, versions=versions)

    def file_of(artifact: Artifact) -> BinaryFile | ImageArchive | SnapshotFile:
        if isinstance(artifact, Binary):
            return programs[artifact.name, artifact.version]
        if isinstance(artifact, Snapshot):
            return etcd_snapshot.ensure(artifact.version)
        return image_archive.ensure(artifact.name, artifact.archive) if artifact.archive else made[artifact.name]

    return {artifact: file_of(artifact) for artifact in needed}


def _check_names(archives: Mapping[Artifact, ImageArchive]) -> None:
    """Check that no archive contains an image that its node gets from elsewhere, because it imports all of an archive.

    Args:
        archives: The images of one node and their archives, which the configuration names or the toolchain makes.

    Raises:
        ToolchainError: An archive contains such an image, which would silently replace the other one.
    """
    given = {image: archive for image, archive in archives.items() if isinstance(image, Image) and image.archive}
    places = {archive.reference: "the lab itself" for image, archive in archives.items() if image not in given}
    places |= {image.name: image.archive for image in given}
    digests = {image.name: archive.sha256 for image, archive in given.items()}
    for image, archive in given.items():
        for other in sorted(archive.others & places.keys()):
            if digests.get(other) != archive.sha256:
                raise ToolchainError(
                    f"image {image.name}: {image.archive} also contains {other}, which nodes get from {places[other]}. "
                    f"Nodes import every image of an archive, so it would replace that one. Save only {image.name}, "
                    "for example with `docker save` or `ctr images export`."
                )


def base_image(spec: Spec) -> VmImage | None:
    """Return the image that the lab's VMs start from; None for a lab without VMs.

    It is the image that the configuration names, or the lab's own. The lab's own image contains the binaries of the
    default versions, also if the spec has others. Those are pushed, so a new version needs no new image.

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
