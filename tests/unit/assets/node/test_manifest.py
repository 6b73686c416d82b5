"""`assets/node/manifest.sh`, the reader of manifests that the programs share."""

import subprocess
from pathlib import Path

from lab.node.service import config_hash
from lab.node.units import ASSETS

MANIFEST = (
    f"binary\tkeep\t0755\troot:root\t{'1' * 64}\t/usr/local/bin/etcdctl\n"
    f"binary\trestart\t0755\troot:root\t{'2' * 64}\t/usr/local/bin/etcd\n"
    f"file\tkeep\t0644\troot:root\t{'3' * 64}\t/etc/a folder/restart\n"
    f"file\trestart\t0600\troot:root\t{'4' * 64}\t/etc/etcd/ca.crt\n"
    f"file\ttransient\t0600\troot:root\t{'5' * 64}\t/run/token\n"
    f"image\tkeep\t-\t-\t{'6' * 64}\tregistry.k8s.io/pause:3.10\n"
)


def run(folder: Path, script: str, manifest: str = MANIFEST) -> subprocess.CompletedProcess[str]:
    """Run shell that sources the reader; `$1` is the manifest."""
    file = folder / "manifest"
    file.write_text(manifest)
    command = ["bash", "-euo", "pipefail", "-c", f"source {ASSETS}/node/manifest.sh\n{script}", "bash", str(file)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_function_gets_every_line_with_its_fields(tmp_path: Path) -> None:
    script = 'show() { local IFS=$\'\\t\'; echo "$*"; }\nfor_each_artifact "$1" show first'
    expected = "".join(f"first\t{line}\n" for line in MANIFEST.splitlines())
    assert run(tmp_path, script).stdout == expected


def test_missing_manifest_has_no_lines(tmp_path: Path) -> None:
    result = run(tmp_path, 'for_each_artifact "$1.missing" echo; manifest_lists "$1.missing" /etc || echo no')
    assert (result.returncode, result.stdout) == (0, "no\n")


def test_config_hash_is_the_one_of_the_program(tmp_path: Path) -> None:
    for manifest in (MANIFEST, ""):
        assert run(tmp_path, 'config_hash "$1"', manifest).stdout == config_hash(manifest)


def test_only_whole_paths_are_listed(tmp_path: Path) -> None:
    for path, code in (("/run/token", 0), ("/etc/a folder/restart", 0), ("/run", 1), ("token", 1)):
        assert run(tmp_path, f'manifest_lists "$1" "{path}"').returncode == code
