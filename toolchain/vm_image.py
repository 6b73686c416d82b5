"""The disk image of new VMs: a Debian that this module makes from packages, or a cloud image that the user configures.

The Debian image is made in two steps, and the cache keeps the result of each. The first step installs the operating
system; it takes minutes and is repeated only when its recipe changes. The second step takes seconds. It makes the disk
from the operating system and a store of node binaries and image archives, so that they need not be copied to a new VM.
"""

from __future__ import annotations

import os
import shlex
import urllib.parse
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from lab import versions
from system import netns
from system.commands import as_root, run
from system.console import note, progress, say
from system.errors import ToolchainError
from system.files import CHECKOUT
from toolchain import binaries, debian, images
from toolchain.cache import Cache, Entry, key, sha256, tree_sha256
from toolchain.release import NotAvailableError, ReleaseHosts

RECIPE = 3
"""Number of the build procedure. Increase it with every change to it, so that older images are not used."""
FILES = Path(__file__).with_name("vm")
"""The files in `root/` are copied into the image before packages are installed. `setup.sh` runs after that."""
NETWORK_FILES = CHECKOUT / "assets" / "network"
"""Network configuration that is copied into the image, too. Existing machines that become nodes get the same files."""
STORE = "var/lib/hardway/store"
"""The folder on a node with the files that its image brought. The name of each is its SHA-256."""
EXCLUDED_PATHS = ("/usr/share/man/*", "/usr/share/info/*", "/usr/share/locale/*", "/usr/share/doc/*")
INCLUDED_PATHS = ("/usr/share/doc/*/copyright",)


@dataclass(frozen=True)
class VmImage:
    """A disk image in the format qcow2.

    Attributes:
        disk: The disk image.
        key: Identifies the operating system. It does not depend on the store.
        kernel: The kernel for direct kernel boot, or None if the disk has a boot loader.
        initrd: The initial RAM disk for direct kernel boot.
        command_line: The kernel's command line for direct kernel boot.
        store: The SHA-256 of each file in the image's store.
    """

    disk: Path
    key: str
    kernel: Path | None = None
    initrd: Path | None = None
    command_line: Mapping[str, str] = field(default_factory=dict)
    store: frozenset[str] = frozenset()


COMMAND_LINE = {
    "root": "/dev/vda",
    "console": "ttyS0",
    "loglevel": "4",
    "systemd.show_status": "false",
}
"""The kernel's command line. The root disk is the first virtio disk."""


def ensure_vm_image(seed: Mapping[str, Path], cache: Cache | None = None) -> VmImage:
    """Return the Debian image, and make it if it is not in the cache.

    Args:
        seed: The files of the image's store, by SHA-256.
        cache: By default the user's cache.

    Raises:
        ToolchainError: The image cannot be made.
    """
    cache = cache or Cache()
    root_key = key(
        "debian",
        recipe=RECIPE,
        suite=versions.debian_suite(),
        packages=sorted(versions.node_packages()),
        left_out=[EXCLUDED_PATHS, INCLUDED_PATHS],
        files=tree_sha256(FILES),
        network_files=tree_sha256(NETWORK_FILES),
    )
    disk_key = key("vm-image", recipe=RECIPE, root=root_key.digest, seed=sorted(seed))
    disk = cache.find(disk_key)
    if disk is None:
        root = cache.make(root_key, _make_root)
        cache.require_intact([root.path("root.tar"), *seed.values()])
        disk = cache.make(disk_key, lambda folder: _make_disk(root, seed, folder))
    return VmImage(
        disk=disk.path("disk.qcow2"),
        kernel=disk.path("kernel"),
        initrd=disk.path("initrd"),
        command_line=COMMAND_LINE,
        key=root_key.digest,
        store=frozenset(seed),
    )


def store_files(kubernetes_versions: Iterable[str] = ()) -> dict[str, Path]:
    """Return all binaries and image archives that the nodes of a lab need, by SHA-256, for the store of a VM image.

    Args:
        kubernetes_versions: The versions that the lab runs; by default the default version.

    Raises:
        ToolchainError: A binary can be neither downloaded nor built, or an image cannot be made.
    """
    programs: dict[binaries.ProgramVersion, None] = {}
    for version in list(kubernetes_versions) or [versions.default_kubernetes_version()]:
        programs |= dict.fromkeys(binaries.lab_programs(version))
    files = {binary.sha256: binary.path for binary in binaries.ensure(programs).values()}
    return files | {archive.sha256: archive.path for archive in images.ensure(versions.images()).values()}


def ensure_cloud_image(location: str, cache: Cache | None = None, hosts: ReleaseHosts | None = None) -> VmImage:
    """Return a cloud image, and download it and convert it to qcow2 if it is not in the cache.

    Args:
        location: A path or URL. `#sha256=…` at its end pins the content. Without it, the cache keeps the content of
            the first download from a URL.
        cache: By default the user's cache.
        hosts: Download the image.

    Raises:
        ToolchainError: The image cannot be read, or its SHA-256 differs.
    """
    cache = cache or Cache()
    place, _, digest = location.partition("#sha256=")
    if urllib.parse.urlsplit(place).scheme in ("http", "https"):
        image_key = key("cloud-image", url=place, sha256=digest)
        entry = cache.find(image_key)
        if entry is None and netns.is_inside():
            netns.run_toolchain("cloud-image", location)
        entry = cache.make(image_key, lambda folder: _download_disk(place, digest, hosts or ReleaseHosts(), folder))
    else:
        path = Path(place).expanduser()
        if not path.is_file():
            raise ToolchainError(
                f"VM image {place}: there is no such file. `hardway:image` must be the path or URL of a disk image."
            )
        actual = sha256(path)
        if digest and digest != actual:
            raise ToolchainError(f"VM image {place}: the SHA-256 is {actual}, but {digest} is configured.")
        image_key = key("cloud-image", sha256=actual)
        entry = cache.make(image_key, lambda folder: _to_qcow2(path, folder))
    return VmImage(disk=entry.path("disk.qcow2"), key=entry.files["disk.qcow2"].sha256)


def required_packages() -> dict[str, str]:
    """Return the Debian packages needed to make the Debian image, with the reason for each."""
    return {
        "e2fsprogs": "the VM image's file system",
        "mmdebstrap": "the VM image's Debian",
        "qemu-utils": "the VM image's format",
    }


def copy_files(folder: Path) -> str:
    """Return shell code that copies a folder's files over the root in `$1`.

    Modes and owners become those of a system's files, because those of a checkout depend on the user and the umask.
    """
    return (
        f"tar --create --mode=u=rwX,go=rX --owner=0 --group=0 --directory={shlex.quote(str(folder))} . | "
        'tar --extract --preserve-permissions --directory="$1"'
    )


def _make_root(folder: Path) -> None:
    packages = sorted(versions.node_packages())
    say(
        f"VM image, step 1 of 2: installing Debian {versions.debian_suite()} with {len(packages)} packages "
        "(about two minutes)"
    )
    options = [f"--dpkgopt=path-exclude={pattern}" for pattern in EXCLUDED_PATHS]
    options += [f"--dpkgopt=path-include={pattern}" for pattern in INCLUDED_PATHS]
    options += [f"--aptopt={option}" for option in debian.acquire_options()]
    tar = folder / "root.tar"
    run(
        [
            *as_root(),
            *netns.prefix(),
            *("nice", "-n", "5", "mmdebstrap", "--mode=root", "--variant=apt", "--format=tar"),
            f"--include={','.join(packages)}",
            *options,
            f"--setup-hook={copy_files(FILES / 'root')}",
            f"--setup-hook={copy_files(NETWORK_FILES)}",
            '--customize-hook=./setup.sh "$1"',
            *(versions.debian_suite(), tar, "-"),
        ],
        why=f"installing Debian {versions.debian_suite()} for the VM image",
        folder=FILES,
        stdin=debian.sources(versions.debian_suite()),
        on_line=_report_mmdebstrap,
    )
    _take_ownership(tar)


def _report_mmdebstrap(line: str) -> None:
    """Print the steps that mmdebstrap announces, such as `I: installing essential packages...`."""
    if line.startswith("I: ") and line.endswith("..."):
        note(line.removeprefix("I: ").removesuffix("..."))


def _make_disk(root: Entry, seed: Mapping[str, Path], folder: Path) -> None:
    say(f"VM image, step 2 of 2: making the disk with {len(seed)} files in its store")
    with _root_owned_folder(folder) as work:
        tree, raw = work / "root", work / "disk.raw"
        run([*as_root(), "mkdir", tree], why="unpacking the VM image's Debian")
        run(
            [*as_root(), "tar", "--extract", "--numeric-owner", "--file", root.path("root.tar"), "--directory", tree],
            why="unpacking the VM image's Debian",
        )
        with progress("VM image: copying files to the store", len(seed)) as task:
            for digest, path in sorted(seed.items()):
                command: list[str | Path] = ["install", "-o", "0", "-g", "0", "-m", "0755", path, tree / STORE / digest]
                run([*as_root(), *command], why="copying files to the VM image's store")
                task.advance()
        # A node recognises by this modification time that nobody changed a stored file; see assets/node/service.
        run(
            [*as_root(), "find", tree / STORE, "-type", "f", "-exec", "touch", "-d", "@1", "{}", "+"],
            why="setting the modification times in the VM image's store",
        )
        for name in ("kernel", "initrd"):
            source = tree / {"kernel": "vmlinuz", "initrd": "initrd.img"}[name]
            run([*as_root(), "cp", "--dereference", source, folder / name], why=f"copying the VM image's {name}")
            _take_ownership(folder / name)
        measured = run([*as_root(), "du", "--summarize", "--block-size=1M", tree], why="measuring the VM image")
        # Half as much again is for the file system's tables, and for the first files of a VM: the file system grows to
        # the size of the VM's disk only at boot.
        size = int(measured.split()[0]) * 3 // 2
        note("creating the file system")
        run(
            [*as_root(), "mke2fs", "-q", "-F", "-t", "ext4", "-L", "hardway", "-d", tree, raw, f"{size}M"],
            why="creating the VM image's file system",
        )
        note("converting the disk to qcow2")
        run(
            [*as_root(), "qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, folder / "disk.qcow2"],
            why="converting the VM image",
        )
        _take_ownership(folder / "disk.qcow2")


def _download_disk(url: str, digest: str, hosts: ReleaseHosts, folder: Path) -> None:
    say(f"VM image: downloading {url}")
    target = folder / "download"
    try:
        if digest:
            hosts.fetch_pinned(url, digest, target)
        else:
            hosts.fetch_unchecked(url, target)
    except NotAvailableError as reason:
        raise ToolchainError(
            f"VM image {url}: {reason}. Set `hardway:image` to another URL or to the path of a file."
        ) from None
    _to_qcow2(target, folder)
    target.unlink()


def _to_qcow2(image: Path, folder: Path) -> None:
    say(f"VM image: converting {image.name}")
    run(["qemu-img", "convert", "-O", "qcow2", image, folder / "disk.qcow2"], why=f"reading the disk image {image}")


@contextmanager
def _root_owned_folder(beside: Path) -> Iterator[Path]:
    """Create a temporary folder for files that root owns, and remove it with them.

    Its name depends only on the key of the entry `beside`, so the folder that a killed run left is removed first.
    """
    work = beside.with_suffix(".disk")
    remove: list[str | Path] = ["rm", "-rf", "--one-file-system", work]
    run([*as_root(), *remove], why="removing the leftovers of an interrupted run")
    work.mkdir(mode=0o700)
    try:
        yield work
    finally:
        run([*as_root(), *remove], why="removing temporary files")


def _take_ownership(path: Path) -> None:
    """Make this user the owner of a file that root made."""
    if as_root():
        run([*as_root(), "chown", str(os.getuid()), path], why=f"changing the owner of {path}")
