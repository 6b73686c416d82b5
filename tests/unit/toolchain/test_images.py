"""Image archives: containerd finds the files in them, and the same content gives the same bytes."""

import hashlib
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from lab.versions import version
from system.errors import ToolchainError
from tests.support.damage import flip_a_bit
from toolchain import binaries, images
from toolchain.cache import Cache
from toolchain.images import Content, archive

REFERENCE = "registry.example/folder/name:1.2"
FILES: dict[str, Content] = {
    "bin/program": b"\x7fELF",
    "bin/link": "program",
    "etc/passwd": b"root:x:0:0\n",
    "tmp/": b"",
}
CONFIG = {"Entrypoint": ["/bin/program"]}


def unpack(content: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        found = {member.name: tar.extractfile(member) for member in tar if member.isfile()}
        return {name: file.read() for name, file in found.items() if file}


def blob(files: dict[str, bytes], descriptor: dict[str, Any]) -> bytes:
    content = files["blobs/sha256/" + descriptor["digest"].removeprefix("sha256:")]
    assert hashlib.sha256(content).hexdigest() == descriptor["digest"].removeprefix("sha256:")
    assert len(content) == descriptor["size"]
    return content


def test_archive_is_reproducible() -> None:
    assert archive(REFERENCE, FILES, CONFIG) == archive(REFERENCE, dict(FILES), dict(CONFIG))


def test_archive_links_name_to_files() -> None:
    files = unpack(archive(REFERENCE, FILES, CONFIG))
    (entry,) = json.loads(files["index.json"])["manifests"]
    assert entry["annotations"]["io.containerd.image.name"] == REFERENCE
    manifest = json.loads(blob(files, entry))
    config = json.loads(blob(files, manifest["config"]))
    assert config["config"] == CONFIG
    (layer,) = manifest["layers"]
    assert config["rootfs"]["diff_ids"] == [layer["digest"]]
    assert unpack(blob(files, layer)) == {"bin/program": b"\x7fELF", "etc/passwd": b"root:x:0:0\n"}


def test_layer_has_modes_and_owners_but_no_times() -> None:
    files = unpack(archive(REFERENCE, FILES, CONFIG))
    manifest = json.loads(blob(files, json.loads(files["index.json"])["manifests"][0]))
    with tarfile.open(fileobj=io.BytesIO(blob(files, manifest["layers"][0]))) as tar:
        members = {member.name: member for member in tar}
    assert {name: member.mode for name, member in members.items()} == {
        "bin": 0o755,
        "etc": 0o755,
        "tmp": 0o1777,
        "bin/program": 0o755,
        "bin/link": 0o777,
        "etc/passwd": 0o644,
    }
    assert members["bin/link"].linkname == "program"
    assert {(member.mtime, member.uid, member.gid) for member in members.values()} == {(0, 0, 0)}


def test_damaged_program_makes_no_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def build(folder: Path) -> None:
        (folder / "coredns").write_bytes(b"\x7fELF")

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    (recipe,) = binaries.recipes_for([("coredns", version("coredns"))])
    assert recipe.build_key
    flip_a_bit(Cache().make(recipe.build_key, build).path("coredns"))
    with pytest.raises(ToolchainError, match=r"damaged in the cache, .*: coredns-"):
        images.ensure(["coredns"])
    Cache().make(recipe.build_key, build)
    assert images.ensure(["coredns"])["coredns"].path.exists()
