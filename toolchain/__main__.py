"""The command line of the toolchain: `python3 -m toolchain --help`.

Results go to standard output, progress and errors to standard error.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from lab.versions import default_kubernetes_version, images
from system.errors import exit_code_of
from toolchain import binaries, downloads, engine, image_archive, packages, vm_image
from toolchain import images as image_archives
from toolchain.cache import DAY, UNUSED_AFTER, Cache
from toolchain.store import ArtifactStore


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status."""
    options = _parser().parse_args(arguments)
    command: Callable[[argparse.Namespace], None] = options.command

    def run() -> int:
        command(options)
        return 0

    return exit_code_of(run, "toolchain", interrupted="interrupted; run the same command again to continue")


def _engine(options: argparse.Namespace) -> None:
    print(engine.install(options.pulumi_home, ArtifactStore(Cache(verify=options.verify))))


def _binaries(options: argparse.Namespace) -> None:
    programs = binaries.parse(options.programs)
    for (name, version), binary in binaries.ensure(programs, ArtifactStore(Cache(verify=options.verify))).items():
        print(f"{name}@{version} {binary.sha256} {binary.path}")


def _images(options: argparse.Namespace) -> None:
    for archive in image_archives.ensure(images(), Cache(verify=options.verify)).values():
        print(f"{archive.reference} {archive.sha256} {archive.path}")


def _vm_image(options: argparse.Namespace) -> None:
    cache = Cache(verify=options.verify)
    image = vm_image.ensure_vm_image(vm_image.store_files(options.versions), cache)
    print(f"disk {image.disk}\nkernel {image.kernel}\ninitrd {image.initrd}")


def _cloud_image(options: argparse.Namespace) -> None:
    print(f"disk {vm_image.ensure_cloud_image(options.location, Cache(verify=options.verify)).disk}")


def _download(options: argparse.Namespace) -> None:
    print(downloads.ensure_download(options.location, Cache(verify=options.verify)))


def _image_archive(options: argparse.Namespace) -> None:
    archive = image_archive.ensure(options.name, options.location, Cache(verify=options.verify))
    print(f"{archive.reference} {archive.sha256} {archive.path}")


def _packages(options: argparse.Namespace) -> None:
    required = packages.required_packages(vms=True) | packages.build_packages(options.versions)
    for name, reason in sorted(required.items()):
        print(f"{name}: {reason}")


def _prune(_: argparse.Namespace) -> None:
    pruned = Cache().prune()
    for entry in pruned:
        print(f"{entry.name} {_format_size(entry.size)}")
    if pruned:
        entries = "1 entry" if len(pruned) == 1 else f"{len(pruned)} entries"
        print(f"Removed {entries} and freed {_format_size(sum(entry.size for entry in pruned))}.", file=sys.stderr)
    else:
        days = UNUSED_AFTER / DAY
        print(f"Nothing to remove: every entry was used in the last {days:.0f} days.", file=sys.stderr)


def _format_size(size: int) -> str:
    """Return a number of bytes for people: `1.5 GiB`."""
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size / 2**20:.1f} MiB"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python3 -m toolchain",
        description="Download or build what the lab runs on: the Pulumi engine, node programs, container images and "
        "the VM image. Everything is kept in one cache and reused.",
        epilog="Results go to standard output, progress to standard error. "
        "`python3 -m toolchain COMMAND --help` describes one command.",
    )
    parser.add_argument(
        "--verify",
        action="store_true",
        help="compare the SHA-256 of every cached file that is used, instead of its size and modification time",
    )
    commands = parser.add_subparsers(required=True, title="commands", metavar="COMMAND")

    def command(
        name: str, run: Callable[[argparse.Namespace], None], summary: str, output: str
    ) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=summary, description=f"{summary[0].upper()}{summary[1:]}. {output}")
        sub.set_defaults(command=run)
        return sub

    def add_versions(sub: argparse.ArgumentParser) -> None:
        sub.add_argument(
            "versions",
            nargs="*",
            metavar="KUBERNETES_VERSION",
            help=f"a Kubernetes version that the lab runs (default: {default_kubernetes_version()})",
        )

    sub = command(
        "engine",
        _engine,
        "install the Pulumi engine and its plugins",
        "Print the folder with `pulumi`, for PATH.",
    )
    sub.add_argument(
        "--pulumi-home",
        type=Path,
        required=True,
        metavar="FOLDER",
        help="Pulumi's folder; plugins are installed into it",
    )
    sub = command(
        "binaries",
        _binaries,
        "download or build programs for nodes",
        "Print the name, SHA-256 and path of each.",
    )
    sub.add_argument(
        "programs",
        nargs="*",
        metavar="PROGRAM@VERSION|KUBERNETES_VERSION",
        help="a program, such as kubelet@v1.37.2, or a Kubernetes version for all programs of such a lab "
        f"(default: {default_kubernetes_version()})",
    )
    command(
        "images",
        _images,
        "make the container images for nodes",
        "Print the name, SHA-256 and path of each archive.",
    )
    sub = command(
        "vm-image",
        _vm_image,
        "make the VM image, with all programs and container images of a lab in its store",
        "Print the paths of the disk, the kernel and the initrd.",
    )
    add_versions(sub)
    sub = command(
        "cloud-image",
        _cloud_image,
        "convert a cloud image to a VM image",
        "Print the path of the disk.",
    )
    sub.add_argument("location", help="a path or URL; `#sha256=…` at its end pins the content")
    sub = command(
        "download",
        _download,
        "download a file that the configuration names",
        "Print the path of the file.",
    )
    sub.add_argument("location", help="a URL with `#sha256=…` at its end")
    sub = command(
        "image-archive",
        _image_archive,
        "download or copy an archive of a container image",
        "Print the name of the image, and the SHA-256 and path of the archive.",
    )
    sub.add_argument("name", help="the full name of the image")
    sub.add_argument("location", help="a path, or a URL with `#sha256=…` at its end")
    sub = command(
        "packages",
        _packages,
        "list the Debian packages needed to make or build what is not in the cache",
        "Print the name and the reason for each.",
    )
    add_versions(sub)
    command(
        "prune",
        _prune,
        f"remove cache entries that were not used for {UNUSED_AFTER / DAY:.0f} days",
        "Print the name and size of each.",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
