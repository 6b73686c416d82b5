"""Where the binaries and images that nodes need are on this machine, as the toolchain has fetched or made them."""

from collections.abc import Iterable
from pathlib import Path

from lab.node.service import Binary, Image
from lab.spec import Spec
from toolchain import binaries, images, vm_image
from toolchain.vm_image import VmImage

Thing = Binary | Image


def find(things: Iterable[Thing]) -> dict[Thing, tuple[Path, str]]:
    """The file and SHA-256 of each of `things`; quick once they are in the cache.

    Raises system.errors.ToolchainError for one that can neither be fetched nor made.
    """
    wanted = list(things)
    programs = binaries.ensure((thing.name, thing.version) for thing in wanted if isinstance(thing, Binary))
    archives = images.ensure(thing.name for thing in wanted if isinstance(thing, Image))
    return {
        thing: (found.path, found.sha256)
        for thing in wanted
        for found in [programs[thing.name, thing.version] if isinstance(thing, Binary) else archives[thing.name]]
    }


def digests(things: Iterable[Thing]) -> dict[Thing, str]:
    """The SHA-256 of each of `things`. Raises ToolchainError as `find` does."""
    return {thing: digest for thing, (_, digest) in find(things).items()}


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


def to_line(thing: Thing, digest: str) -> str:
    """A thing as one line of text: kind, name, version, SHA-256."""
    return f"{type(thing).__name__.lower()} {thing.name} {thing.version} {digest}"


def from_line(line: str) -> tuple[Thing, str]:
    """The thing and the SHA-256 of a line that `to_line` made."""
    kind, name, version, digest = line.split()
    return (Binary if kind == "binary" else Image)(name=name, version=version), digest
