"""The container images that nodes are given, made here as archives, since no container registry may be reachable.

An archive is an OCI image layout in a tar file, which `ctr images import` takes. The same content gives the same
bytes: nothing in it depends on time, place or user.
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
PAUSE_SOURCE = Path(__file__).parent / "pause/pause.c"
BUSYBOX = Path("/bin/busybox")
NOBODY = "65535:65535"
PROGRAM = b"\x7fELF"
"""How a program's file begins."""

Content = bytes | str
"""What a layer holds at a path: a file's bytes, or the target of a symbolic link."""


@dataclass(frozen=True)
class ImageArchive:
    """An image for nodes: its archive on this machine, the archive's SHA-256, and the name it gets when imported."""

    path: Path
    sha256: str
    reference: str


@dataclass(frozen=True)
class _Recipe:
    """made_from: what decides the content. files: makes the content. config: the image's configuration."""

    made_from: Callable[[], Mapping[str, str]]
    files: Callable[[], Mapping[str, Content]]
    config: Mapping[str, Any]


def ensure(names: Iterable[str], cache: Cache | None = None) -> dict[str, ImageArchive]:
    """The archives of the named images (see lab/versions.toml), from the cache or made now.

    Raises ToolchainError for an image that isn't known, and where one can't be made.
    """
    cache = cache or Cache()
    archives = {}
    for name in names:
        if name not in _RECIPES:
            raise ToolchainError(f"{name}: no such image is known; known are {', '.join(_RECIPES)}.")
        recipe, reference = _RECIPES[name], image_reference(name)

        def make(folder: Path, name: str = name, recipe: _Recipe = recipe, reference: str = reference) -> None:
            say(f"image {reference}: making its archive")
            (folder / f"{name}.tar").write_bytes(archive(reference, recipe.files(), recipe.config))

        made_from = {"recipe": RECIPE, "reference": reference, "config": recipe.config, **recipe.made_from()}
        entry = cache.make(key(f"image-{name}", **made_from), make)
        file = f"{name}.tar"
        archives[name] = ImageArchive(entry.path(file), entry.files[file].sha256, reference)
    return archives


def required_packages() -> dict[str, str]:
    """The Debian packages that making images needs, with the reason for each."""
    return {
        "busybox-static": "the test image's only program",
        "gcc": "building the pause image's only program",
        "libc6-dev": "building the pause image's only program",
    }


def archive(reference: str, files: Mapping[str, Content], config: Mapping[str, Any]) -> bytes:
    """An image of one layer as an archive.

    reference: the image's whole name with its tag. config: the `config` of an OCI image configuration.
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


def _pause() -> dict[str, Content]:
    def build(folder: Path) -> None:
        say("pause: building it from toolchain/pause/pause.c")
        command: list[str | Path] = [
            "gcc",
            "-static",
            "-Os",
            "-s",
            "-Wall",
            "-Werror",
            "-o",
            folder / "pause",
            PAUSE_SOURCE,
        ]
        run(command, why="building the pause program")

    entry = Cache().make(key("pause", recipe=RECIPE, source=sha256(PAUSE_SOURCE)), build)
    return {"pause": _whole(entry.path("pause"))}


def _busybox() -> dict[str, Content]:
    applets = run([BUSYBOX, "--list"], why="asking busybox for its programs").split()
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
        raise ToolchainError(f"{BUSYBOX} isn't there. Install Debian's package busybox-static.") from None


def _coredns_binary() -> binaries.Binary:
    wanted = ("coredns", version("coredns"))
    return binaries.ensure([wanted])[wanted]


def _whole(path: Path) -> bytes:
    Cache().expect_whole([path])
    return path.read_bytes()


_RECIPES = {
    "pause": _Recipe(
        made_from=lambda: {"source": sha256(PAUSE_SOURCE)},
        files=_pause,
        config={"Entrypoint": ["/pause"], "User": NOBODY, "WorkingDir": "/"},
    ),
    "busybox": _Recipe(
        made_from=lambda: {"busybox": _busybox_digest()},
        files=_busybox,
        config={"Cmd": ["sh"], "Env": ["PATH=/bin"], "WorkingDir": "/"},
    ),
    "coredns": _Recipe(
        made_from=lambda: {"coredns": _coredns_binary().sha256},
        files=lambda: {"coredns": _whole(_coredns_binary().path)},
        config={"Entrypoint": ["/coredns"], "WorkingDir": "/"},
    ),
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
                info.size, info.mode = len(content), 0o755 if content.startswith(PROGRAM) else 0o644
                tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def _folders(paths: Iterable[str]) -> list[str]:
    found = {str(parent) for path in paths for parent in Path(path).parents if str(parent) != "."}
    return sorted(found | {path.rstrip("/") for path in paths if path.endswith("/")})


def _json(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
