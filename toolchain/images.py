"""The container images of nodes. They are made on this machine as archives, so that a lab needs no container registry.

An archive is an OCI image layout in a tar file, as `ctr images import` reads it. The same content always gives the same
bytes: an archive does not depend on the time, the machine or the user.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.versions import image_reference, version
from system.commands import run
from system.console import say
from system.errors import ToolchainError
from toolchain import binaries
from toolchain.cache import Cache, key, sha256

RECIPE = 1
"""Number of the build procedure. Increase it with every change to it, so that older archives are not used."""
PAUSE_SOURCE = Path(__file__).parent / "pause/pause.c"
BUSYBOX = Path("/bin/busybox")
NOBODY = "65535:65535"
ELF_MAGIC = b"\x7fELF"
"""The first bytes of a program's file."""

Content = bytes | str
"""The content of a path in a layer: the bytes of a file, or the target of a symbolic link."""


@dataclass(frozen=True)
class ImageArchive:
    """An image for nodes.

    Attributes:
        path: The archive on this machine.
        sha256: The archive's SHA-256.
        reference: The image's name on nodes.
        others: The names of further images in the archive, which nodes import with it.
    """

    path: Path
    sha256: str
    reference: str
    others: frozenset[str] = frozenset()


@dataclass(frozen=True)
class _ImageRecipe:
    """The instructions to make one image.

    Attributes:
        made_from: Returns everything that decides the content of a version, for the key in the cache.
        files: Returns the content of a version by path.
        config: The image's configuration.
    """

    made_from: Callable[[str], Mapping[str, str]]
    files: Callable[[str], Mapping[str, Content]]
    config: Mapping[str, Any]


def ensure(
    names: Iterable[str], cache: Cache | None = None, versions: Mapping[str, str] | None = None
) -> dict[str, ImageArchive]:
    """Return the archives of the named images, and make those that are not in the cache.

    Args:
        names: Names as in `lab/versions.toml`.
        cache: By default the user's cache.
        versions: The version of each image; by default that in `lab/versions.toml`.

    Raises:
        ToolchainError: An image is unknown or cannot be made.
    """
    cache = cache or Cache()
    archives = {}
    for name in names:
        if name not in _RECIPES:
            raise ToolchainError(f"{name}: there is no such image. The known images are {', '.join(_RECIPES)}.")
        archives[name] = _ensure(name, (versions or {}).get(name) or version(name), cache)
    return archives


def _ensure(name: str, version: str, cache: Cache) -> ImageArchive:
    recipe, reference, file = _RECIPES[name], image_reference(name, version), f"{name}.tar"

    def make(folder: Path) -> None:
        say(f"image {reference}: making the archive")
        (folder / file).write_bytes(archive(reference, recipe.files(version), recipe.config))

    made_from = {"recipe": RECIPE, "reference": reference, "config": recipe.config, **recipe.made_from(version)}
    entry = cache.make(key(f"image-{name}", **made_from), make)
    return ImageArchive(entry.path(file), entry.files[file].sha256, reference)


def required_packages() -> dict[str, str]:
    """Return the Debian packages needed to make the images, with the reason for each."""
    return {
        "busybox-static": "the only program of the test image",
        "gcc": "building the only program of the pause image",
        "libc6-dev": "building the only program of the pause image",
    }


def archive(reference: str, files: Mapping[str, Content], config: Mapping[str, Any]) -> bytes:
    """Return an archive of an image with one layer.

    Args:
        reference: The image's full name with its tag.
        files: The content by path. A path that ends with "/" is an empty folder.
        config: The `config` of an OCI image configuration.
    """
    layer = _tar(files)
    blobs: dict[str, bytes] = {}

    def blob(media_type: str, content: bytes) -> dict[str, Any]:
        digest = hashlib.sha256(content).hexdigest()
        blobs[f"blobs/sha256/{digest}"] = content
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(content)}

    layer_descriptor = blob("application/vnd.oci.image.layer.v1.tar", layer)
    configuration = {
        "architecture": "amd64",
        "os": "linux",
        "config": config,
        "rootfs": {"type": "layers", "diff_ids": [layer_descriptor["digest"]]},
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": blob("application/vnd.oci.image.config.v1+json", _json(configuration)),
        "layers": [layer_descriptor],
    }
    index_entry = {
        **blob("application/vnd.oci.image.manifest.v1+json", _json(manifest)),
        "platform": {"architecture": "amd64", "os": "linux"},
        "annotations": {
            "io.containerd.image.name": reference,
            "org.opencontainers.image.ref.name": reference.rpartition(":")[2],
        },
    }
    index = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [index_entry],
    }
    return _tar({"oci-layout": _json({"imageLayoutVersion": "1.0.0"}), "index.json": _json(index), **blobs})


def _pause(_: str) -> dict[str, Content]:
    def build(folder: Path) -> None:
        say("pause: building from toolchain/pause/pause.c")
        flags = ["-static", "-Os", "-s", "-Wall", "-Werror"]
        run(["gcc", *flags, "-o", folder / "pause", PAUSE_SOURCE], why="building the pause program")

    entry = Cache().make(key("pause", recipe=RECIPE, source=sha256(PAUSE_SOURCE)), build)
    return {"pause": _read_intact(entry.path("pause"))}


def _busybox(_: str) -> dict[str, Content]:
    applets = run([BUSYBOX, "--list"], why="listing the programs in busybox").split()
    return {
        "bin/busybox": BUSYBOX.read_bytes(),
        **{f"bin/{applet}": "busybox" for applet in applets if applet != "busybox"},
        "etc/passwd": b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n",
        "etc/group": b"root:x:0:\nnobody:x:65534:\n",
        "tmp/": b"",
    }


def _busybox_digest() -> str:
    try:
        return sha256(BUSYBOX)
    except OSError:
        raise ToolchainError(f"{BUSYBOX} does not exist. Install Debian's package busybox-static.") from None


def _binary(name: str, version: str) -> binaries.BinaryFile:
    program = (name, version)
    return binaries.ensure([program])[program]


def _program_recipe(name: str) -> _ImageRecipe:
    """Return the recipe of an image that contains only a program of the same name."""
    return _ImageRecipe(
        made_from=lambda version: {name: _binary(name, version).sha256},
        files=lambda version: {name: _read_intact(_binary(name, version).path)},
        config={"Entrypoint": [f"/{name}"], "WorkingDir": "/"},
    )


def _read_intact(path: Path) -> bytes:
    Cache().require_intact([path])
    return path.read_bytes()


_RECIPES = {
    "pause": _ImageRecipe(
        made_from=lambda _: {"source": sha256(PAUSE_SOURCE)},
        files=_pause,
        config={"Entrypoint": ["/pause"], "User": NOBODY, "WorkingDir": "/"},
    ),
    "busybox": _ImageRecipe(
        made_from=lambda _: {"busybox": _busybox_digest()},
        files=_busybox,
        config={"Cmd": ["sh"], "Env": ["PATH=/bin"], "WorkingDir": "/"},
    ),
    "coredns": _program_recipe("coredns"),
    "metrics-server": _program_recipe("metrics-server"),
    "local-path-provisioner": _program_recipe("local-path-provisioner"),
}


def _tar(files: Mapping[str, Content]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for path in _folders(files):
            folder = tarfile.TarInfo(path)
            folder.type, folder.mode = tarfile.DIRTYPE, 0o1777 if path == "tmp" else 0o755
            tar.addfile(folder)
        for path, content in files.items():
            if path.endswith("/"):
                continue
            info = tarfile.TarInfo(path)
            if isinstance(content, str):
                info.type, info.linkname, info.mode = tarfile.SYMTYPE, content, 0o777
                tar.addfile(info)
            else:
                info.size, info.mode = len(content), 0o755 if content.startswith(ELF_MAGIC) else 0o644
                tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def _folders(paths: Iterable[str]) -> list[str]:
    parents = {str(parent) for path in paths for parent in Path(path).parents if str(parent) != "."}
    return sorted(parents | {path.rstrip("/") for path in paths if path.endswith("/")})


def _json(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
