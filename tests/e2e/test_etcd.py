"""The operation of etcd: its command on a node, and its snapshots."""

import json
import re
from pathlib import Path

from tests.support.running_lab import RunningLab
from toolchain.etcd_snapshot import is_complete

SERVER = "server"


def test_etcdctl_needs_no_options(lab: RunningLab) -> None:
    assert f", started, {SERVER}, " in lab.ssh(SERVER, "etcdctl member list")


def test_the_unit_takes_a_snapshot(lab: RunningLab) -> None:
    lab.ssh(SERVER, "systemctl start etcd-snapshots.service")
    newest = lab.ssh(SERVER, "/usr/local/lib/hardway/etcd-snapshot list").splitlines()[0]
    assert re.fullmatch(r"[0-9]{8}T[0-9]{6}Z-[0-9]+\.db [0-9]+", newest)
    assert lab.ssh(SERVER, "systemctl show --property ActiveState --value etcd-snapshots.timer").strip() == "active"
    assert lab.verify() == []


def test_a_failed_snapshot_is_reported_until_the_next_one(lab: RunningLab) -> None:
    kept = lab.ssh(SERVER, "ls /var/lib/hardway/etcd-snapshots")
    lab.ssh(SERVER, "mv /usr/local/bin/etcdutl /usr/local/bin/etcdutl.away")
    try:
        lab.ssh(SERVER, "systemctl start etcd-snapshots.service", check=False)
        assert lab.ssh(SERVER, "ls /var/lib/hardway/etcd-snapshots") == kept
        status = lab.hardway("status")
        assert "etcd-snapshots is not healthy: the last snapshot of etcd failed" in status.output
    finally:
        lab.ssh(SERVER, "mv /usr/local/bin/etcdutl.away /usr/local/bin/etcdutl")
    lab.ssh(SERVER, "systemctl start etcd-snapshots.service")
    assert lab.verify() == []


def test_a_snapshot_is_copied_to_this_machine(lab: RunningLab) -> None:
    taken = lab.hardway("etcd", "snapshot", "--json")
    assert taken.succeeded, taken.output
    document = json.loads(taken.stdout)
    assert document["node"] == SERVER
    file = Path(document["file"])
    assert file.parent == lab.workspace.etcd_snapshots(lab.stack)
    assert file.stat().st_mode & 0o777 == 0o600
    with file.open("rb") as content:
        assert is_complete(content)
    listed = lab.hardway("etcd", "list")
    assert listed.succeeded, listed.output
    assert file.name in listed.stdout
    assert re.search(rf"^{SERVER} +[0-9]{{8}}T", listed.stdout, re.MULTILINE)
    file.unlink()


def test_a_small_database_is_not_defragmented_by_the_unit(lab: RunningLab) -> None:
    lab.ssh(SERVER, "systemctl start etcd-snapshots.service")
    journal = "journalctl --unit etcd-snapshots.service --identifier etcd-defragment --output cat --quiet"
    assert lab.ssh(SERVER, journal) == ""
    assert lab.ssh(SERVER, "/usr/local/lib/hardway/etcd-defragment 100") == ""


def test_a_database_is_defragmented(lab: RunningLab) -> None:
    lab.ssh(SERVER, "etcdctl defrag --command-timeout 5m")
    lab.ssh(SERVER, "etcdctl alarm disarm")
    count = "etcdctl get /registry --prefix --keys-only | cut -d / -f 3 | sort | uniq -c | sort -n"
    assert re.search(r"^ +[0-9]+ configmaps$", lab.ssh(SERVER, count), re.MULTILINE)
    assert lab.verify() == []
