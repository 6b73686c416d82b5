"""The objects of local-path-provisioner and the scripts that make and delete the folders of volumes."""

import json
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from lab.node.addons.local_path import NAME, local_path
from lab.node.addons.table import addon_images
from lab.spec import Spec


def in_folder(spec: Spec, folder: str) -> Spec:
    return replace(spec, addons=replace(spec.addons, volume_folder=folder))


def run_script(spec: Spec, name: str, volume: Path) -> subprocess.CompletedProcess[str]:
    """Run a script of the ConfigMap for a volume."""
    [script] = [each["data"][name] for each in local_path(spec) if each["kind"] == "ConfigMap"]
    return subprocess.run(
        ["sh", "-c", script], env={"VOL_DIR": str(volume), "PATH": "/usr/bin:/bin"}, capture_output=True, text=True
    )


def test_its_storage_class_is_the_default(dev: Spec) -> None:
    [storage_class] = [each for each in local_path(dev) if each["kind"] == "StorageClass"]
    assert storage_class["metadata"]["annotations"]["storageclass.kubernetes.io/is-default-class"] == "true"


def test_volumes_are_in_the_configured_folder(dev: Spec) -> None:
    [data] = [each["data"] for each in local_path(in_folder(dev, "/srv/volumes")) if each["kind"] == "ConfigMap"]
    [entry] = json.loads(data["config.json"])["nodePathMap"]
    assert entry["paths"] == ["/srv/volumes"]


def test_scripts_make_and_delete_a_volume(dev: Spec, tmp_path: Path) -> None:
    spec, volume = in_folder(dev, str(tmp_path)), tmp_path / "pvc-1_default_data"
    run_script(spec, "setup", volume).check_returncode()
    (volume / "file").write_text("data")
    run_script(spec, "teardown", volume).check_returncode()
    assert not volume.exists()


@pytest.mark.parametrize("other", ["", "volumes/", "other/pvc-1"])
def test_nothing_else_is_deleted(dev: Spec, tmp_path: Path, other: str) -> None:
    (tmp_path / "volumes").mkdir()
    (tmp_path / "other/pvc-1").mkdir(parents=True)
    result = run_script(in_folder(dev, str(tmp_path / "volumes")), "teardown", tmp_path / other)
    assert result.returncode == 1
    assert "is not a volume" in result.stderr
    assert (tmp_path / other).is_dir()


def test_only_the_nodes_of_add_ons_hold_its_image(dev: Spec) -> None:
    holders = [node for node in dev.nodes if NAME in {image.name for image in addon_images(dev, node)}]
    assert holders == list(dev.addon_nodes)


def test_nothing_of_it_is_left_without_a_folder(dev: Spec) -> None:
    spec = in_folder(dev, "")
    assert not any(image.name == NAME for node in spec.nodes for image in addon_images(spec, node))
