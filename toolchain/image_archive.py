"""Archives of container images that the configuration names: files on this machine, or downloads.

The cache keeps a copy, because a file may change between the program's run and the copy to a node.
"""

from __future__ import annotations

import json
import shutil
import tarfile
import urllib.parse
from pathlib import Path
from typing import Any

from system import netns
from system.console import say
from system.errors import ToolchainError
from system.files import CHECKOUT
from toolchain.cache import Cache, Entry, key, sha256
from toolchain.images import ImageArchive
from toolchain.release import NotAvailableError, ReleaseHosts

FILE = "image.tar"
NAMES = "names"
"""The file beside an archive in the cache with the names of its images, because reading a compressed one takes long."""
NAME_ANNOTATION = "io.containerd.image.name"
"""The annotation in the index of an OCI image layout from which containerd takes the full name of an image."""


def ensure(
    reference: str, location: str, cache: Cache | None = None, hosts: ReleaseHosts | None = None
) -> ImageArchive:
    """Return the archive of an image, and download or copy it if it is not in the cache.

    Args:
        reference: The full name of the image, which the archive must contain.
        location: A path, relative to the project's folder; or a URL with `#sha256=…` at its end.
        cache: By default the user's cache.
        hosts: Download the archive.

    Raises:
        ToolchainError: The archive cannot be read, has another SHA-256, or does not contain the image.
    """
    cache = cache or Cache()
    place, _, expected = location.partition("#sha256=")
    is_url = urllib.parse.urlsplit(place).scheme in ("http", "https")
    path = CHECKOUT / Path(place).expanduser()
    if not is_url and not path.is_file():
        raise ToolchainError(f"image {reference}: {path} does not exist. `archive` must be the path or URL of a file.")
    digest = expected if is_url else sha256(path)
    if expected and digest != expected:
        raise ToolchainError(f"image {reference}: the SHA-256 of {path} is {digest}, but {expected} is configured.")
    entry_key = key("image-archive", reference=reference, sha256=digest, names=NAMES)
    entry = cache.find(entry_key)
    # Versions before this one recorded no names. Their URL may be gone, or this machine offline.
    former = cache.find(key("image-archive", reference=reference, sha256=digest)) if entry is None else None
    if entry is None and former is None and is_url and netns.is_inside():
        netns.run_toolchain("image-archive", reference, location)

    def make(folder: Path) -> None:
        if former:
            shutil.copyfile(former.path(FILE), folder / FILE)
        elif is_url:
            _download(reference, place, digest, hosts or ReleaseHosts(), folder / FILE)
        else:
            shutil.copyfile(path, folder / FILE)
        names = image_names(folder / FILE, place)
        if reference not in names:
            contained = ", ".join(sorted(names)) or "no image with a full name"
            raise ToolchainError(
                f"image {reference}: {place} contains {contained}. Set `name` to the name in the archive, or save the "
                "image again under this name with `docker save` or `ctr images export`."
            )
        (folder / NAMES).write_text("".join(f"{name}\n" for name in sorted(names)))

    entry = entry or cache.make(entry_key, make)
    return _archive(entry, reference)


def image_names(archive: Path, place: str) -> set[str]:
    """Return the full names of the images in an archive, as containerd imports them.

    Args:
        archive: An OCI image layout, or the output of `docker save`; compressed or not.
        place: The name of the archive in messages.

    Raises:
        ToolchainError: The file is not such an archive.
    """
    try:
        with tarfile.open(archive, "r:*") as tar:
            index, manifest = _document(tar, "index.json"), _document(tar, "manifest.json")
        if index is None and manifest is None:
            raise ToolchainError(f"{place} is no archive of images: it has neither an index.json nor a manifest.json.")
        annotations = [entry.get("annotations") or {} for entry in (index or {}).get("manifests", [])]
        names = {str(each[NAME_ANNOTATION]) for each in annotations if NAME_ANNOTATION in each}
        return names or {_full_name(tag) for entry in manifest or [] for tag in entry.get("RepoTags") or []}
    except (OSError, tarfile.TarError, ValueError, AttributeError, TypeError) as error:
        raise ToolchainError(f"{place} is no archive of images: {error}") from None


def _document(tar: tarfile.TarFile, name: str) -> Any:
    try:
        file = tar.extractfile(name)
    except KeyError:
        return None
    return json.load(file) if file else None


def _full_name(tag: str) -> str:
    """Return the name that containerd gives to an image of Docker, which omits Docker Hub in names."""
    host, slash, _ = tag.partition("/")
    if slash and (host == "localhost" or set(".:") & set(host)):
        return tag
    return f"docker.io/{tag}" if slash else f"docker.io/library/{tag}"


def _download(reference: str, url: str, digest: str, hosts: ReleaseHosts, target: Path) -> None:
    say(f"image {reference}: downloading {url}")
    try:
        hosts.fetch_pinned(url, digest, target)
    except NotAvailableError as reason:
        raise ToolchainError(
            f"image {reference}: {url}: {reason}. Set `archive` to another URL or to the path of a file."
        ) from None


def _archive(entry: Entry, reference: str) -> ImageArchive:
    names = entry.path(NAMES).read_text().splitlines()
    return ImageArchive(entry.path(FILE), entry.files[FILE].sha256, reference, frozenset(names) - {reference})
