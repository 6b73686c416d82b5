"""The operation of etcd: its command on a node."""

from tests.support.running_lab import RunningLab

SERVER = "server"


def test_etcdctl_needs_no_options(lab: RunningLab) -> None:
    assert f", started, {SERVER}, " in lab.ssh(SERVER, "etcdctl member list")
