"""`assets/node/etcd-member` with real etcds: joining, leaving and losing data. Needs root."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.support.etcd_members import ADDRESSES, FREE, THREE, Members
from tests.support.waiting import wait_until

EXPIRED = (datetime(2020, 1, 1, tzinfo=UTC), datetime(2021, 1, 1, tzinfo=UTC))


@pytest.fixture
def members(tmp_path: Path) -> Iterator[Members]:
    """Four control planes whose etcds have not started yet."""
    members = Members(tmp_path)
    yield members
    members.close()


def test_new_control_planes_become_members(members: Members) -> None:
    members.create("control2", "control1", "control0")
    assert members.voters() == set(THREE)


def test_later_control_planes_receive_the_data(members: Members) -> None:
    members.create("control0")
    members.put("before")
    members.configure(*THREE)
    members.start("control1", "control2")
    members.await_healthy("control1", "control2")
    assert members.voters() == set(THREE)
    assert members.read("control2") == "before"


def test_cluster_works_after_members_have_left(members: Members) -> None:
    members.create(*THREE)
    members.configure("control0")
    for name in ("control1", "control2"):
        members.leave(name)
        members.leave(name)
        members.await_end(name)
    members.await_healthy("control0")
    assert members.voters() == {"control0"}
    members.put("after")


def test_one_of_two_removes_itself(members: Members) -> None:
    members.create("control0", "control1")
    members.leave("control1", by="control1")
    members.await_end("control1")
    members.configure("control0")
    members.await_healthy("control0")
    members.put("after")


def test_last_member_stays(members: Members) -> None:
    members.create("control0", "control1")
    members.leave("control1", by="control1")
    members.await_end("control1")
    members.leave("control0")
    assert members.voters() == {"control0"}


def test_former_name_does_not_remove_renamed_member(members: Members) -> None:
    members.create("control0", "control1")
    left = members.run("control0", "/programs/etcd-member", "leave", ADDRESSES["control1"], "former")
    assert left.returncode == 0, left.stderr
    assert members.voters() == {"control0", "control1"}


@pytest.mark.parametrize("name", ["control0", "control2"])
def test_member_without_data_joins_again(members: Members, name: str) -> None:
    members.create(*THREE)
    members.put("before")
    members.kill(name)
    members.lose_data(name)
    members.start(name)
    members.await_healthy(*THREE)
    assert members.voters() == set(THREE)
    assert members.read(name) == "before"


def test_first_member_without_data_waits_for_silent_others(members: Members) -> None:
    members.create(*THREE)
    members.put("before")
    for name in THREE:
        members.kill(name)
        members.reboot(name)
    members.lose_data("control0")
    members.start("control0")
    wait_until(lambda: "may have data" in members.log("control0"), "control0 logs the reason why it waits")
    assert members.data("control0") == ""
    members.start("control1", "control2")
    members.await_healthy(*THREE)
    assert members.read("control0") == "before"


def test_single_member_without_data_founds_a_cluster_again(members: Members) -> None:
    members.create("control0")
    former = members.cluster("control0")
    members.kill("control0")
    members.lose_data("control0")
    members.start("control0")
    members.await_healthy("control0")
    assert members.cluster("control0") != former


def test_cluster_id_lasts_as_long_as_the_data(members: Members) -> None:
    members.create(*THREE)
    cluster = members.cluster("control0")
    members.kill("control0")
    members.lose_data("control0")
    members.start("control0")
    members.await_healthy(*THREE)
    assert [members.cluster(name) for name in THREE] == [cluster] * 3


def test_members_refuse_a_second_cluster(members: Members) -> None:
    members.create("control0")
    members.configure(*THREE)
    members.start("control1", "control2")
    members.await_healthy(*THREE)
    members.put("before")
    for name in THREE:
        members.kill(name)
        members.reboot(name)
    members.lose_data("control0")
    members.record_new(*THREE)
    members.start("control0")
    members.await_healthy("control0")
    members.start("control1", "control2")
    wait_until(lambda: "is not the member that" in members.problem("control0"), "control0 reports the difference")
    wait_until(
        lambda: "is not the member that" in members.problem("control1"),
        "control1 reports the difference",
    )
    assert (members.read("control0"), members.read("control1"), members.read("control2")) == ("", "before", "before")


def test_interrupted_join_continues(members: Members) -> None:
    members.create("control0")
    members.configure("control0", "control1")
    for _ in range(2):
        joined = members.member("join", "control1", by="control1")
        assert joined.returncode == 0, joined.stderr
    members.start("control1")
    members.await_healthy("control1")
    assert members.voters() == {"control0", "control1"}


def test_first_start_without_log_is_repeated(members: Members) -> None:
    members.create("control0")
    members.configure("control0", "control1")
    assert members.member("join", "control1", by="control1").returncode == 0
    members.run("control1", "mkdir", "-p", "/var/lib/etcd/member/snap")
    members.reboot("control1")
    members.start("control1")
    members.await_healthy("control1")
    assert members.voters() == {"control0", "control1"}


@pytest.mark.parametrize("removed", [True, False], ids=["and is removed", "and never returns"])
def test_abandoned_join_does_not_block_others(members: Members, removed: bool) -> None:
    members.create("control0")
    members.configure("control0", "control1")
    assert members.member("join", "control1", by="control1").returncode == 0
    members.configure("control0", "control2")
    if removed:
        members.leave("control1")
    members.start("control2")
    members.await_healthy("control2")
    assert members.voters() == {"control0", "control2"}


def test_removed_member_joins_again_with_old_disk(members: Members) -> None:
    members.create(*THREE)
    members.configure("control0", "control1")
    members.leave("control2")
    members.await_end("control2")
    members.put("since")
    members.configure(*THREE)
    members.start("control2")
    members.await_healthy(*THREE)
    assert members.voters() == set(THREE)
    assert members.read("control2") == "since"


def test_dead_member_is_removed_for_a_new_one(members: Members) -> None:
    members.create(*THREE)
    members.kill("control2")
    members.configure("control0", "control1", "control3")
    members.start("control3")
    members.await_healthy("control3")
    assert members.voters() == {"control0", "control1", "control3"}


def test_running_member_stays_until_it_leaves(members: Members) -> None:
    members.create(*THREE)
    members.configure("control0", "control1", "control3")
    members.start("control3")
    members.await_healthy("control3")
    assert members.voters() == {*THREE, "control3"}


@pytest.mark.parametrize("lost", [True, False], ids=["without its data", "with its data"])
def test_member_with_new_address_is_recognised_by_name(members: Members, lost: bool) -> None:
    members.create(*THREE)
    members.put("before")
    members.kill("control2")
    if lost:
        members.lose_data("control2")
    members.move("control2")
    members.configure(*THREE)
    members.start("control2")
    members.await_healthy(*THREE)
    assert members.voters() == set(THREE)
    assert [member["peerURLs"] for member in members.members() if member["name"] == "control2"] == [
        [f"https://{FREE}:2380"]
    ]
    assert members.read("control2") == "before"
    left = members.run("control0", "/programs/etcd-member", "leave", ADDRESSES["control2"], "control2")
    assert left.returncode == 0, left.stderr
    members.kill("control1")
    members.put("by two of three")


def test_only_the_first_control_plane_founds_a_cluster(members: Members) -> None:
    members.configure(*THREE)
    members.start("control1")
    wait_until(lambda: "waiting to become a member" in members.log("control1"), "control1 logs the reason why it waits")
    assert members.data("control1") == ""
    members.record_new(*THREE)
    members.start("control0")
    members.await_healthy("control0", "control1")


def test_members_with_data_start_without_others(members: Members) -> None:
    members.create("control0", "control1")
    members.put("before")
    for name in ("control0", "control1"):
        members.kill(name)
        members.reboot(name)
    joined = members.member("join", "control1", by="control1")
    assert (joined.returncode, joined.stdout) == (0, "")
    members.start("control1")
    wait_until(lambda: "starting a new election" in members.log("control1"), "control1 looks for others")
    members.start("control0")
    members.await_healthy("control0", "control1")
    assert members.read("control0") == "before"


def test_members_with_expired_certificates_come_back_one_after_the_other(members: Members) -> None:
    members.create(*THREE)
    members.put("before")
    for name in THREE:
        members.sign(name, valid=EXPIRED, authority=EXPIRED)
    members.restart(*THREE)
    for name in THREE:
        members.sign(name)
        members.restart(name)
        members.await_healthy(name)
    members.await_healthy(*THREE)
    assert members.voters() == set(THREE)
    assert members.read("control2") == "before"


def test_silent_peers_are_no_excuse(members: Members) -> None:
    members.create(*THREE)
    for name in ("control1", "control2"):
        members.kill(name)
    wait_until(lambda: "readyz" in members.problem("control0"), "control0 reports that it has no leader")
