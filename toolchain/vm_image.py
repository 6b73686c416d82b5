"""The disk image that nodes start from: a Debian made here from packages, or a cloud image that the user names.

Ours is made in two steps, each kept in the cache. The operating system's root takes minutes and changes with its
recipe alone. The disk is that root with a store of node binaries and image archives, so that a new VM needn't be sent
what it was born with; it takes seconds.
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
from system.console import say
from system.errors import ToolchainError
from system.files import CHECKOUT
from toolchain import binaries, debian, images
from toolchain.cache import Cache, Entry, key, sha256, tree_sha256
from toolchain.release import NotAvailableError, ReleaseHosts

RECIPE = 3
"""To be raised whenever the way of making changes, so that what was made the old way isn't used any more."""
FILES = Path(__file__).with_name("vm")
"""`root/` lies over the image's root before packages are installed, `setup.sh` finishes it."""
NETWORK_FILES = CHECKOUT / "assets" / "network"
"""Network configuration that lies over the image's root, too. Other machines that become nodes get the same files."""
STORE = "var/lib/hardway/store"
"""Where on a node the files stand that it was born with, each under its SHA-256."""
LEFT_OUT = ("/usr/share/man/*", "/usr/share/info/*", "/usr/share/locale/*", "/usr/share/doc/*")
KEPT = ("/usr/share/doc/*/copyright",)


@dataclass(frozen=True)
class VmImage:
    """A disk image in qcow2.

    kernel, initrd: to be started directly, with `command_line`; None where the disk has a boot loader.
    key: of the operating system alone, so without the store.
    store: the SHA-256 of each file that it brings in its store.
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
"""The kernel's. Its root disk is the first virtio disk."""


def ensure_vm_image(seed: Mapping[str, Path], cache: Cache | None = None) -> VmImage:
    """Our Debian image, from the cache or made now.

    seed: the files of its store, by their SHA-256. Raises ToolchainError where it can't be made.
    """
    cache = cache or Cache()
    root_key = key(
        "debian",
        recipe=RECIPE,
        suite=versions.debian_suite(),
        packages=sorted(versions.node_packages()),
        left_out=[LEFT_OUT, KEPT],
        files=tree_sha256(FILES),
        network_files=tree_sha256(NETWORK_FILES),
    )
    disk_key = key("vm-image", recipe=RECIPE, root=root_key.digest, seed=sorted(seed))
    disk = cache.find(disk_key)
    if disk is None:
        root = cache.make(root_key, _make_root)
        cache.expect_whole([root.path("root.tar"), *seed.values()])
        disk = cache.make(disk_key, lambda folder: _make_disk(root, seed, folder))
    return VmImage(
        disk=disk.path("disk.qcow2"),
        kernel=disk.path("kernel"),
        initrd=disk.path("initrd"),
        command_line=COMMAND_LINE,
        key=root_key.digest,
        store=frozenset(seed),
    )


def seed_of(kubernetes_versions: Iterable[str] = ()) -> dict[str, Path]:
    """All that nodes of a lab need of the toolchain, by SHA-256: what a VM image is best born with.

    kubernetes_versions: those that the lab runs; by default the default one. Raises ToolchainError.
    """
    wanted: dict[binaries.Wanted, None] = {}
    for version in list(kubernetes_versions) or [versions.default_kubernetes_version()]:
        wanted |= dict.fromkeys(binaries.programs_of_a_lab(version))
    seed = {binary.sha256: binary.path for binary in binaries.ensure(wanted).values()}
    return seed | {archive.sha256: archive.path for archive in images.ensure(versions.images()).values()}


def ensure_cloud_image(location: str, cache: Cache | None = None, hosts: ReleaseHosts | None = None) -> VmImage:
    """A cloud image that the user names, converted to qcow2 once.

    location: a path, or a URL. `#sha256=…` after it pins its content; for a URL without it, what was there at the
    first time is kept. Raises ToolchainError where it can't be had.
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
            raise ToolchainError(f"VM image {place}: there is no such file. Name a disk image by its path or URL.")
        found = sha256(path)
        if digest and digest != found:
            raise ToolchainError(f"VM image {place}: its SHA-256 is {found}, but {digest} is asked for.")
        image_key = key("cloud-image", sha256=found)
        entry = cache.make(image_key, lambda folder: _to_qcow2(path, folder))
    return VmImage(disk=entry.path("disk.qcow2"), key=entry.files["disk.qcow2"].sha256)


def required_packages() -> dict[str, str]:
    """The Debian packages that making our image needs, with the reason for each."""
    return {
        "e2fsprogs": "the VM image's file system",
        "mmdebstrap": "the VM image's Debian",
        "qemu-utils": "the VM image's format",
    }


def lay_over(folder: Path) -> str:
    """Return shell code that copies a folder's files over the root in `$1`.

    Modes and owners become those of a system's files, because those of a checkout depend on the user and the umask.
    """
    return (
        f"tar --create --mode=u=rwX,go=rX --owner=0 --group=0 --directory={shlex.quote(str(folder))} . | "
        'tar --extract --preserve-permissions --directory="$1"'
    )


def _make_root(folder: Path) -> None:
    packages = sorted(versions.node_packages())
    say(f"VM image: installing Debian {versions.debian_suite()} with {len(packages)} packages (two minutes or so)")
    options = [f"--dpkgopt=path-exclude={pattern}" for pattern in LEFT_OUT]
    options += [f"--dpkgopt=path-include={pattern}" for pattern in KEPT]
    options += [f"--aptopt={option}" for option in debian.acquire_options()]
    tar = folder / "root.tar"
    run(
        [
            *as_root(),
            *netns.prefix(),
            *("nice", "-n", "5", "mmdebstrap", "--mode=root", "--variant=apt", "--format=tar"),
            f"--include={','.join(packages)}",
            *options,
            f"--setup-hook={lay_over(FILES / 'root')}",
            f"--setup-hook={lay_over(NETWORK_FILES)}",
            '--customize-hook=./setup.sh "$1"',
            *(versions.debian_suite(), tar, "-"),
        ],
        why=f"installing Debian {versions.debian_suite()} for the VM image",
        folder=FILES,
        stdin=debian.sources(versions.debian_suite()),
    )
    _own(tar)


def _make_disk(root: Entry, seed: Mapping[str, Path], folder: Path) -> None:
    say(f"VM image: making the disk, with {len(seed)} files in its store")
    with _folder_of_root(folder) as work:
        tree, raw = work / "root", work / "disk.raw"
        run([*as_root(), "mkdir", tree], why="unpacking the VM image's Debian")
        run(
            [*as_root(), "tar", "--extract", "--numeric-owner", "--file", root.path("root.tar"), "--directory", tree],
            why="unpacking the VM image's Debian",
        )
        for digest, path in sorted(seed.items()):
            target = tree / STORE / digest
            command: list[str | Path] = ["install", "-o", "0", "-g", "0", "-m", "0755", path, target]
            run([*as_root(), *command], why="filling the VM image's store")
        # A node tells by this time that nobody wrote to what it stored; see assets/node/service.
        run([*as_root(), "find", tree / STORE, "-type", "f", "-exec", "touch", "-d", "@1", "{}", "+"], why="dating it")
        for name in ("kernel", "initrd"):
            source = tree / {"kernel": "vmlinuz", "initrd": "initrd.img"}[name]
            run([*as_root(), "cp", "--dereference", source, folder / name], why=f"copying the VM image's {name}")
            _own(folder / name)
        measured = run([*as_root(), "du", "--summarize", "--block-size=1M", tree], why="measuring the VM image")
        size = int(measured.split()[0]) * 3 // 2
        # Half as much again: the file system's own tables, and room to work in until it grows to the disk's size.
        run(
            [*as_root(), "mke2fs", "-q", "-F", "-t", "ext4", "-L", "hardway", "-d", tree, raw, f"{size}M"],
            why="making the VM image's file system",
        )
        run(
            [*as_root(), "qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, folder / "disk.qcow2"],
            why="converting the VM image",
        )
        _own(folder / "disk.qcow2")


def _download_disk(url: str, digest: str, hosts: ReleaseHosts, folder: Path) -> None:
    say(f"VM image: downloading {url}")
    target = folder / "download"
    try:
        if digest:
            hosts.fetch_pinned(url, digest, target)
        else:
            hosts.fetch_unchecked(url, target)
    except NotAvailableError as reason:
        raise ToolchainError(f"VM image {url}: {reason}. Give another URL, or the path of a file.") from None
    _to_qcow2(target, folder)
    target.unlink()


def _to_qcow2(image: Path, folder: Path) -> None:
    say(f"VM image: converting {image.name}")
    run(["qemu-img", "convert", "-O", "qcow2", image, folder / "disk.qcow2"], why=f"reading the disk image {image}")


@contextmanager
def _folder_of_root(beside: Path) -> Iterator[Path]:
    """A temporary folder that root's files may be put into, and which is removed with them.

    It has the same name whenever the same entry of the cache is made: what a killed run left goes first.
    """
    work = beside.with_suffix(".disk")
    remove: list[str | Path] = ["rm", "-rf", "--one-file-system", work]
    run([*as_root(), *remove], why="cleaning up")
    work.mkdir(mode=0o700)
    try:
        yield work
    finally:
        run([*as_root(), *remove], why="cleaning up")


def _own(path: Path) -> None:
    """Gives to the caller what root made."""
    if as_root():
        run([*as_root(), "chown", str(os.getuid()), path], why="taking over what root made")
