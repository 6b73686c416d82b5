"""The folder that `python3 -m ops.render` writes."""

import json
from pathlib import Path

import pytest

from lab.node.paths import PROGRAMS_ENVIRONMENT, node_environment
from lab.node.service import Binary, Credential, File, Part, Service
from ops.render.__main__ import main
from ops.render.tree import FolderError, listing, write
from system.files import CHECKOUT

GOLDEN = CHECKOUT / "tests/golden/dev"
SERVICE = Service(
    name="kubelet",
    unit="kubelet.service",
    needs=("containerd",),
    files={
        "/etc/kubelet.yaml": File(content="maxPods: 50\n", mode=0o640, owner="root:adm"),
        "/etc/kubelet.key": File(content=Credential(identity="kubelet-node-0", part=Part.KEY), restarts=False),
    },
    binaries={"/bin/kubelet": Binary(name="kubelet", version="v1.37.2")},
    tools={"/bin/crictl": Binary(name="crictl", version="v1.37.0")},
)


def test_every_golden_file_is_written(tmp_path: Path) -> None:
    assert main([str(tmp_path / "out")]) == 0
    golden = [path for path in GOLDEN.rglob("*") if path.is_file() and path.parent.parent != GOLDEN]
    assert golden
    for path in golden:
        assert (tmp_path / "out" / path.relative_to(GOLDEN)).read_bytes() == path.read_bytes()


def test_node_programs_are_written_executable(tmp_path: Path) -> None:
    main(["node-0", str(tmp_path)])
    program = tmp_path / "node-0/usr/local/lib/hardway/verify-node"
    assert program.read_bytes() == (CHECKOUT / "assets/node/verify-node").read_bytes()
    assert program.stat().st_mode & 0o777 == 0o755
    environment = tmp_path / "node-0" / PROGRAMS_ENVIRONMENT.lstrip("/")
    assert environment.read_text() == node_environment()
    assert environment.stat().st_mode & 0o777 == 0o644


def test_only_the_given_node_is_written(tmp_path: Path) -> None:
    assert main(["node-1", str(tmp_path)]) == 0
    assert {path.name for path in tmp_path.iterdir()} == {"node-1", ".hardway-render"}


def test_files_have_their_modes(tmp_path: Path) -> None:
    write(tmp_path, {"node-0": [SERVICE]})
    assert (tmp_path / "node-0/etc/kubelet.yaml").stat().st_mode & 0o777 == 0o640
    assert (tmp_path / "node-0/etc/kubelet.key").stat().st_mode & 0o777 == 0o600


def test_credentials_are_placeholders(tmp_path: Path) -> None:
    write(tmp_path, {"node-0": [SERVICE]})
    assert (tmp_path / "node-0/etc/kubelet.key").read_text() == "(Placeholder: key of kubelet-node-0)\n"


def test_listing_names_every_part() -> None:
    assert listing([SERVICE]).splitlines()[1:] == [
        "kubelet  unit  kubelet.service (a change restarts it)  needs: containerd",
        "kubelet  file  restart  0640  root:adm  /etc/kubelet.yaml",
        "kubelet  credential  keep  0600  root:root  /etc/kubelet.key  key of kubelet-node-0",
        "kubelet  binary  restart  0755  root:root  /bin/kubelet  kubelet v1.37.2",
        "kubelet  tool  keep  0755  root:root  /bin/crictl  crictl v1.37.0",
    ]


def test_foreign_files_are_kept(tmp_path: Path) -> None:
    (tmp_path / "mine").touch()
    with pytest.raises(FolderError, match=r"holds files that render did not write \(mine\)"):
        write(tmp_path, {"node-0": [SERVICE]})
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_foreign_files_beside_rendered_ones_are_kept(tmp_path: Path) -> None:
    write(tmp_path, {"node-0": [SERVICE]})
    (tmp_path / "mine").touch()
    with pytest.raises(FolderError, match="mine"):
        write(tmp_path, {"node-0": [SERVICE]})
    assert (tmp_path / "node-0/etc/kubelet.yaml").exists()


def test_rendered_folder_is_replaced(tmp_path: Path) -> None:
    write(tmp_path, {"node-0": [SERVICE], "node-9": []})
    (tmp_path / "node-0/etc/old").touch()
    write(tmp_path, {"node-0": [SERVICE]})
    assert {path.name for path in tmp_path.iterdir()} == {"node-0", ".hardway-render"}
    assert not (tmp_path / "node-0/etc/old").exists()


def test_a_file_is_not_replaced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    assert main([str(tmp_path / "file")]) == 2
    assert "cannot be written" in capsys.readouterr().err


def test_unknown_node_suggests_a_known_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["node-2", str(tmp_path / "out")]) == 2
    assert "Stack dev has no node node-2; did you mean node-" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_json_lists_services(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["node-0", str(tmp_path), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["stack"], document["folder"]) == ("dev", str(tmp_path))
    kubelet = next(each for each in document["nodes"]["node-0"]["services"] if each["name"] == "kubelet")
    assert (kubelet["unit"], kubelet["activation"]) == ("kubelet.service", "restart")
    assert {
        "kind": "file",
        "effect": "restart",
        "mode": "0600",
        "owner": "root:root",
        "path": "/var/lib/kubelet/kubelet-config.yaml",
        "source": "",
    } in kubelet["entries"]


def test_quiet_prints_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path), "--quiet"]) == 0
    assert capsys.readouterr().out == ""
