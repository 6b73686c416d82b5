"""The configuration of etcd's regular snapshots, and their service."""

from typing import Any

import pytest

from lab.config.parse import ConfigurationError, parse
from lab.node.control_plane import etcd
from lab.node.etcd_snapshots import etcd_snapshots
from lab.node.render import render
from lab.node.service import Snapshot, config_hash, manifest
from lab.spec import EtcdSnapshots


def snapshots(**values: Any) -> EtcdSnapshots | None:
    """Return the snapshots of a lab."""
    return parse({"etcd": {"snapshots": values}}).etcd_snapshots


def test_snapshots_are_on_by_default() -> None:
    assert parse({}).etcd_snapshots == snapshots() == EtcdSnapshots(every_hours=6, keep=5)


def test_snapshots_can_be_turned_off() -> None:
    spec = parse({"etcd": {"snapshots": {"enabled": False}}})
    services = [service.name for node in render(spec).nodes.values() for service in node.services]
    assert "etcd" in services
    assert "etcd-snapshots" not in services


def test_snapshots_are_taken_as_configured() -> None:
    (service,) = etcd_snapshots(parse({"etcd": {"snapshots": {"everyHours": 12, "keep": 3}}}))
    assert "\nOnUnitActiveSec=12h\n" in service.visible_files["/etc/systemd/system/etcd-snapshots.timer"]
    oneshot = service.visible_files["/etc/systemd/system/etcd-snapshots.service"]
    assert "\nExecStart=/usr/local/lib/hardway/etcd-snapshot take 3\n" in oneshot


def test_a_failed_defragmentation_does_not_fail_the_snapshot() -> None:
    (service,) = etcd_snapshots(parse({}))
    oneshot = service.visible_files["/etc/systemd/system/etcd-snapshots.service"]
    assert "\nExecStartPost=-/usr/local/lib/hardway/etcd-defragment 100\n" in oneshot


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"everyHours": 0}, "everyHours = 0: must be from 1 to 744 hours; to turn snapshots off, set enabled to false"),
        ({"everyHours": 745}, "everyHours = 745: must be from 1 to 744 hours"),
        ({"everyHours": "6h"}, 'everyHours = "6h": must be a whole number'),
        ({"keep": 0}, "keep = 0: must be from 1 to 1000; to turn snapshots off, set enabled to false"),
        ({"keep": 1001}, "keep = 1001: must be from 1 to 1000"),
        ({"every": 6}, "every = 6: is an unknown key; did you mean everyHours?"),
    ],
)
def test_wrong_values_are_refused(values: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigurationError) as error:
        snapshots(**values)
    assert f"hardway:etcd.snapshots.{problem}" in str(error.value)


def test_only_the_first_control_plane_gets_the_snapshot_to_restore() -> None:
    nodes = [{"name": name, "address": f"10.240.0.1{number}"} for number, name in enumerate(("a", "b"))]
    spec = parse({"controlPlanes": nodes, "etcd": {"restoreFrom": "backup/one.db"}})
    first, second = (etcd(spec, node) for node in spec.control_planes)
    assert first.tools["/etc/etcd/restore.db"] == Snapshot(version="backup/one.db")
    assert "/etc/etcd/restore.db" not in second.tools


def test_a_snapshot_to_restore_restarts_nothing() -> None:
    hashes = set()
    for path in ("", "one.db", "two.db"):
        spec = parse({"etcd": {"restoreFrom": path}})
        service = etcd(spec, spec.control_planes[0])
        hashes.add(config_hash(manifest(service, lambda _: "", lambda artifact: artifact.version)))
    assert len(hashes) == 1


@pytest.mark.parametrize("path", ["https://host/one.db", "my file.db"])
def test_a_snapshot_to_restore_is_a_local_file(path: str) -> None:
    with pytest.raises(ConfigurationError, match=r"etcd\.restoreFrom = .*: must be the path of a file on this machine"):
        parse({"etcd": {"restoreFrom": path}})


def test_snapshots_must_be_an_object() -> None:
    with pytest.raises(ConfigurationError, match=r"etcd\.snapshots = false: must be a mapping"):
        parse({"etcd": {"snapshots": False}})
