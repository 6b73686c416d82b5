"""`assets/node/import-images` with a fake `ctr` that keeps images and their labels in a folder."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.support.node_programs import install

PAUSE, COREDNS = "registry.k8s.io/pause:3.10", "registry.k8s.io/coredns/coredns:v1.15.0"
CTR = r"""#!/bin/bash
# A file for each image, named by its reference with _ in the place of /; its content is its pin label.
shift 2
echo "$*" >>"$FOLDER/calls"
file() { echo "$FOLDER/images/${1//\//_}"; }
case "$1 $2" in
  'images list') grep -lx pinned "$FOLDER"/images/* | sed 's|.*/||; s|_|/|g' ;;
  'images label') [ -e "$(file "$3")" ] && echo "${4#*=}" >"$(file "$3")" ;;
  'images import') echo pinned >"$(file "$(cat "${@: -1}")")" ;;
esac
"""


class Node:
    """A node whose kubelet has images. An archive in the store contains the reference of its image."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.state = folder / "services/kubelet"
        for path in (self.state / "applied", folder / "store", folder / "images", folder / "bin"):
            path.mkdir(parents=True)
        (folder / "bin/ctr").write_text(CTR)
        (folder / "bin/ctr").chmod(0o755)
        self.program = (
            install(folder / "node", SERVICES=str(folder / "services"), STORE=str(folder / "store")) / "import-images"
        )

    def apply(self, **images: str) -> None:
        """Set the images of the kubelet: digest to reference."""
        for digest, reference in images.items():
            (self.folder / "store" / digest).write_text(reference)
        lines = [f"image\tkeep\t-\t-\t{digest}\t{reference}\n" for digest, reference in images.items()]
        (self.state / "applied/manifest").write_text("".join(lines))

    def run(self) -> list[str]:
        """Run the program, and return the digests of the archives that it imported."""
        (self.folder / "calls").write_text("")
        path = f"{self.folder / 'bin'}:{os.environ['PATH']}"
        subprocess.run([self.program, "kubelet"], env={"PATH": path, "FOLDER": str(self.folder)}, check=True)
        calls = (self.folder / "calls").read_text().splitlines()
        return [call.rpartition("/")[2] for call in calls if call.startswith("images import")]

    @property
    def pins(self) -> dict[str, str]:
        """The images that containerd has, with their pin label."""
        return {path.name.replace("_", "/"): path.read_text().strip() for path in (self.folder / "images").iterdir()}

    def remove(self, reference: str) -> None:
        (self.folder / "images" / reference.replace("/", "_")).unlink()


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path)


def test_images_are_imported_once_and_pinned(node: Node) -> None:
    node.apply(a=PAUSE, b=COREDNS)
    assert node.run() == ["a", "b"]
    assert node.pins == {PAUSE: "pinned", COREDNS: "pinned"}
    assert node.run() == []


def test_changed_archive_is_imported(node: Node) -> None:
    node.apply(a=PAUSE, b=COREDNS)
    node.run()
    node.apply(a=PAUSE, c=COREDNS)
    assert node.run() == ["c"]


def test_removed_image_is_imported_again(node: Node) -> None:
    node.apply(a=PAUSE, b=COREDNS)
    node.run()
    node.remove(COREDNS)
    assert node.run() == ["b"]


def test_image_of_the_version_before_is_pinned_and_not_imported(node: Node) -> None:
    node.apply(a=PAUSE)
    node.run()
    (node.state / "pinned").rename(node.state / "imported")
    (node.folder / "images" / PAUSE.replace("/", "_")).write_text("\n")
    assert node.run() == []
    assert node.pins == {PAUSE: "pinned"}


def test_image_that_the_node_no_longer_needs_is_unpinned(node: Node) -> None:
    node.apply(a=PAUSE, b=COREDNS)
    node.run()
    node.apply(a=PAUSE)
    assert node.run() == []
    assert node.pins == {PAUSE: "pinned", COREDNS: ""}
    node.apply(a=PAUSE, b=COREDNS)
    assert node.run() == ["b"]
