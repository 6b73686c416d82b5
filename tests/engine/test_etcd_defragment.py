"""Defragmentation of real etcds by `assets/node/etcd-defragment`. Needs root."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.support.etcd_members import ADDRESSES, THREE, Members
from tests.support.waiting import wait_until

NODE = "control0"
PROGRAM = "/programs/etcd-defragment"
LEAST = 2
"""The size in MiB from which the tests defragment a database."""
FILL = """
set -e
head --bytes 400000 /dev/urandom | base64 --wrap 0 >/tmp/value
for _ in {1..12}; do "$@" put deleted </tmp/value; done
"$@" del deleted
"""


@pytest.fixture
def members(tmp_path: Path) -> Iterator[Members]:
    """Control planes without etcds."""
    members = Members(tmp_path)
    yield members
    members.close()


def create(members: Members, *names: str) -> None:
    """Start etcds whose databases are mostly free."""
    members.create(*names)
    filled = members.run(NODE, "bash", "-c", FILL, "bash", "/etcd/etcdctl", *members.options(NODE))
    assert filled.returncode == 0, filled.stderr
    members.etcdctl(NODE, "compact", str(status(members, NODE)["header"]["revision"]))
    wait_until(lambda: all(_becomes_fragmented(members, name) for name in names), "the deleted data is free space")


def defragment(members: Members, node: str = NODE, least: int = LEAST) -> subprocess.CompletedProcess[str]:
    """Run the program in its own process group."""
    environment = ("env", f"ETCDCTL_ENDPOINTS=https://{ADDRESSES[node]}:2379")
    return members.run(node, "setsid", "--wait", *environment, PROGRAM, str(least))


def defragmented(result: subprocess.CompletedProcess[str]) -> list[str]:
    """Return the names of the members that a run has defragmented, in their order."""
    names = {f"https://{address}:2379": name for name, address in ADDRESSES.items()}
    return [names[line.split(": ")[0]] for line in result.stdout.splitlines() if ": the database had " in line]


def status(members: Members, name: str) -> dict[str, Any]:
    """Return the status of a member."""
    [answer] = json.loads(members.etcdctl(name, "endpoint", "status", "--write-out=json"))
    found: dict[str, Any] = answer["Status"]
    return found


def is_fragmented(members: Members, name: str) -> bool:
    """Return True if a member should be defragmented."""
    found = status(members, name)
    return bool(found["dbSize"] >= LEAST * 1024**2 and found["dbSizeInUse"] * 2 < found["dbSize"])


def _becomes_fragmented(members: Members, name: str) -> bool:
    # etcd counts space as free only after further writes.
    members.put("kept")
    return is_fragmented(members, name)


def leader(members: Members) -> str:
    """Return the name of the leader."""
    [name] = [name for name in THREE if status(members, name)["leader"] == status(members, name)["header"]["member_id"]]
    return name


def locks(members: Members) -> str:
    """Return the keys of the lock."""
    return members.etcdctl(NODE, "get", "--prefix", "hardway-defragment", "--keys-only").strip()


def test_a_single_member_is_defragmented(members: Members) -> None:
    create(members, NODE)
    result = defragment(members)
    assert (result.returncode, defragmented(result)) == (0, [NODE]), result.stderr
    assert not is_fragmented(members, NODE)
    assert members.read(NODE) == "kept"
    assert locks(members) == ""


def test_members_without_much_free_space_are_left_alone(members: Members) -> None:
    create(members, NODE)
    assert defragment(members).returncode == 0
    before = status(members, NODE)["header"]["revision"]
    for least in (LEAST, 0):
        again = defragment(members, least=least)
        assert (again.returncode, again.stdout, again.stderr) == (0, "", "")
    assert status(members, NODE)["header"]["revision"] == before


def test_a_small_database_is_left_alone(members: Members) -> None:
    create(members, NODE)
    result = defragment(members, least=1000)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    assert is_fragmented(members, NODE)


@pytest.mark.parametrize("node", [NODE, "control2"])
def test_the_leader_comes_last_and_hands_over_first(members: Members, node: str) -> None:
    create(members, *THREE)
    first = leader(members)
    result = defragment(members, node)
    assert result.returncode == 0, result.stderr
    assert sorted(defragmented(result)) == sorted(THREE)
    *_, moved, last = result.stdout.splitlines()
    assert moved.startswith("Leadership transferred from ")
    assert last.startswith(f"https://{ADDRESSES[first]}:2379: the database had ")
    assert leader(members) != first
    assert not any(is_fragmented(members, name) for name in THREE)
    assert {members.read(name) for name in THREE} == {"kept"}


def test_nobody_is_defragmented_while_a_member_is_down(members: Members) -> None:
    create(members, *THREE)
    members.kill("control2")
    result = defragment(members)
    assert (result.returncode, result.stdout) == (1, "")
    problem = f"a member does not answer: Failed to get the status of endpoint https://{ADDRESSES['control2']}:2379"
    assert problem in result.stderr
    assert all(is_fragmented(members, name) for name in THREE[:2])


def test_nobody_is_defragmented_while_a_member_joins(members: Members) -> None:
    create(members, NODE)
    members.configure(NODE, "control1")
    result = defragment(members)
    assert result.stderr == "etcd was not defragmented: a control plane is joining or leaving\n"
    assert (result.returncode, is_fragmented(members, NODE)) == (1, True)


def test_a_member_that_goes_down_ends_the_run(members: Members, tmp_path: Path) -> None:
    create(members, *THREE)
    programs = tmp_path / "programs"
    wait = "touch /programs/done; until [ -e /programs/down ]; do sleep 0.1; done"
    members.replace("ETCDCTL", f'/etcd/etcdctl "$@" || exit\n[ "$1" != defrag ] || {{ {wait}; }}\n')
    with ThreadPoolExecutor() as threads:
        run = threads.submit(defragment, members)
        wait_until((programs / "done").exists, "one member is defragmented", unless=run.done)
        members.kill("control2")
        (programs / "down").touch()
        result = run.result()
    assert result.returncode == 1
    assert len(defragmented(result)) <= 1
    assert sum(is_fragmented(members, name) for name in THREE[:2]) >= 1


def test_an_alarm_keeps_everything_as_it_is(members: Members) -> None:
    create(members, NODE)
    certificates = "--cacert /etc/etcd/ca.crt --cert /etc/etcd/etcd.crt --key /etc/etcd/etcd.key"
    alarm = json.dumps({"action": "ACTIVATE", "alarm": "NOSPACE"})
    url = f"https://{ADDRESSES[NODE]}:2379/v3/maintenance/alarm"
    raised = members.run(NODE, "curl", "--silent", "--show-error", *certificates.split(), "--data", alarm, url)
    assert raised.returncode == 0, raised.stderr
    result = defragment(members)
    assert (result.returncode, is_fragmented(members, NODE)) == (1, True)
    assert "Active Alarm(s): NOSPACE" in result.stderr


def test_a_killed_run_keeps_the_lock_only_briefly(members: Members) -> None:
    create(members, *THREE)
    members.replace("ETCDCTL", '[ "$1" != defrag ] || kill -KILL 0\nexec /etcd/etcdctl "$@"\n')
    assert defragment(members).returncode != 0
    assert locks(members) != ""
    members.replace("ETCDCTL", 'exec /etcd/etcdctl "$@"\n')
    wait_until(lambda: locks(members) == "", "the lock is free", timeout=45)
    assert len(defragmented(defragment(members))) == len(THREE)


def test_control_planes_take_turns(members: Members) -> None:
    create(members, *THREE)
    members.replace(
        "ETCDCTL",
        '[ "$1" = defrag ] || exec /etcd/etcdctl "$@"\n'
        'mkdir /programs/busy || exit 1\n/etcd/etcdctl "$@"; code=$?; sleep 1; rmdir /programs/busy; exit "$code"\n',
    )
    with ThreadPoolExecutor() as threads:
        results = list(threads.map(lambda name: defragment(members, name), THREE))
    assert [result.returncode for result in results] == [0, 0, 0], results
    assert sorted(name for result in results for name in defragmented(result)) == sorted(THREE)


def test_a_lost_lock_ends_the_run(members: Members) -> None:
    create(members, *THREE)
    delete = f"/etcd/etcdctl {' '.join(members.options(NODE))} del --prefix hardway-defragment"
    members.replace("ETCDCTL", f'[ "$1" != defrag ] || (unset ${{!ETCDCTL_*}}; {delete})\nexec /etcd/etcdctl "$@"\n')
    result = defragment(members)
    assert (result.returncode, len(defragmented(result))) == (1, 1)
    assert "etcd was not defragmented: the lock was lost" in result.stderr
