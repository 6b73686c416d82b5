"""The operation of etcd: its command on a node, and its snapshots."""

import re

from tests.support.running_lab import RunningLab

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
