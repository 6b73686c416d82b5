"""The command line of the toolchain: `python3 -m toolchain --help`. Progress goes to standard error."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from lab.versions import default_kubernetes_version, images
from system.errors import HardwayError
from toolchain import binaries, engine, packages, vm_image
from toolchain import images as image_archives
from toolchain.cache import Cache
from toolchain.store import ArtifactStore


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command and returns its exit status."""
    options = _parser().parse_args(arguments)
    command: Callable[[argparse.Namespace], None] = options.command
    try:
        command(options)
    except HardwayError as error:
        print(f"toolchain: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"toolchain: {error.filename or 'this machine'}: {error.strerror or error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("toolchain: interrupted; run it again to go on", file=sys.stderr)
        return 130
    return 0


def _engine(options: argparse.Namespace) -> None:
    print(engine.install(options.pulumi_home, ArtifactStore(Cache(verify=options.verify))))


def _binaries(options: argparse.Namespace) -> None:
    wanted = binaries.parse(options.what)
    for (name, version), binary in binaries.ensure(wanted, ArtifactStore(Cache(verify=options.verify))).items():
        print(f"{name}@{version} {binary.sha256} {binary.path}")


def _images(options: argparse.Namespace) -> None:
    for archive in image_archives.ensure(images(), Cache(verify=options.verify)).values():
        print(f"{archive.reference} {archive.sha256} {archive.path}")


def _vm_image(options: argparse.Namespace) -> None:
    cache = Cache(verify=options.verify)
    image = vm_image.ensure_vm_image(vm_image.seed_of(options.versions), cache)
    print(f"disk {image.disk}\nkernel {image.kernel}\ninitrd {image.initrd}")


def _cloud_image(options: argparse.Namespace) -> None:
    print(f"disk {vm_image.ensure_cloud_image(options.location, Cache(verify=options.verify)).disk}")


def _packages(options: argparse.Namespace) -> None:
    needed = packages.required_packages(vms=True) | packages.build_packages(options.versions)
    for name, reason in sorted(needed.items()):
        print(f"{name}: {reason}")


def _prune(_: argparse.Namespace) -> None:
    for name in Cache().prune():
        print(name)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python3 -m toolchain", description="Fetches or builds what the lab runs on.")
    parser.add_argument("--verify", action="store_true", help="compare the digests of all that is used from the cache")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, run: Callable[[argparse.Namespace], None], description: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=description, description=description)
        sub.set_defaults(command=run)
        return sub

    default = default_kubernetes_version()
    sub = command("engine", _engine, "the engine and its plugins; prints the folder for PATH")
    sub.add_argument("--pulumi-home", type=Path, required=True, help="Pulumi's folder, where plugins are installed")
    sub = command("binaries", _binaries, "programs for nodes; prints name, SHA-256 and path of each")
    sub.add_argument(
        "what",
        nargs="*",
        metavar="PROGRAM@VERSION|KUBERNETES_VERSION",
        help=f"a program, or all of a lab's ({default})",
    )
    command("images", _images, "container images for nodes; prints name, SHA-256 and path of each archive")
    sub = command("vm-image", _vm_image, "the VM image, with all that a lab needs in its store; prints its files")
    sub.add_argument("versions", nargs="*", metavar="KUBERNETES_VERSION", help=f"what the lab runs ({default})")
    sub = command("cloud-image", _cloud_image, "a cloud image as VM image; prints its file")
    sub.add_argument("location", help="path or URL, with #sha256=… after it to pin its content")
    sub = command("packages", _packages, "the Debian packages that are needed to make or build what isn't there yet")
    sub.add_argument("versions", nargs="*", metavar="KUBERNETES_VERSION", help=f"what the lab runs ({default})")
    command("prune", _prune, "drops what was not used for 30 days from the cache; prints what")
    return parser


if __name__ == "__main__":
    sys.exit(main())
