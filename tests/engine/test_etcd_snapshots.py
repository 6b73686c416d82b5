"""Snapshots of a real etcd by `assets/node/etcd-snapshot`, and their restore by `etcd-member`. Needs root."""

from __future__ import annotations

import json
import re
import shutil
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.node.paths import ETCD_RESTORE, ETCD_SNAPSHOTS
from tests.support.etcd_members import ADDRESSES, THREE, Members
from tests.support.waiting import wait_until
from toolchain.etcd_snapshot import is_complete

NODE = "control0"
ENVIRONMENT = ("env", f"ETCDCTL_ENDPOINTS=https://{ADDRESSES[NODE]}:2379")
PROGRAM = "/programs/etcd-snapshot"


@pytest.fixture
def members(tmp_path: Path) -> Iterator[Members]:
    """A control plane whose etcd has a key, and others without one."""
    members = Members(tmp_path)
    members.create(NODE)
    members.put("first")
    # As Kubernetes' events have.
    lease = members.etcdctl(NODE, "lease", "grant", "600").split()[1]
    members.etcdctl(NODE, "put", "leased", "value", f"--lease={lease}")
    yield members
    members.close()


def run(members: Members, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the program in its own process group."""
    return members.run(NODE, "setsid", "--wait", *ENVIRONMENT, PROGRAM, *arguments)


def take(members: Members, keep: int = 5) -> str:
    """Take a snapshot and return its name."""
    result = run(members, "take", str(keep))
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


def listed(members: Members) -> list[str]:
    """Return the names of the snapshots, the newest first."""
    return [line.split()[0] for line in run(members, "list").stdout.splitlines()]


def left_behind(members: Members) -> set[str]:
    """Return the names of all files in the folder of the snapshots."""
    return {path.name for path in members.file(NODE, ETCD_SNAPSHOTS).iterdir()} - {"lock"}


def offer(members: Members, snapshot: Path) -> None:
    """Put a snapshot where the first start of etcd finds it."""
    shutil.copy(snapshot, members.file(NODE, ETCD_RESTORE))


def revision(members: Members) -> int:
    """Return the current revision of etcd."""
    [status] = json.loads(members.etcdctl(NODE, "endpoint", "status", "--write-out=json"))
    return int(status["Status"]["header"]["revision"])


def lose_all(members: Members, *names: str) -> None:
    """Give control planes empty disks."""
    for name in names:
        members.kill(name)
        members.lose_data(name)


def test_a_snapshot_has_the_keys_of_its_time(members: Members) -> None:
    name = take(members)
    members.put("second")
    assert re.fullmatch(r"[0-9]{8}T[0-9]{6}Z-[0-9]+\.db", name)
    assert left_behind(members) == {name}
    file = members.file(NODE, f"{ETCD_SNAPSHOTS}/{name}")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    members.kill(NODE)
    members.lose_data(NODE)
    offer(members, file)
    members.start(NODE)
    members.await_healthy(NODE)
    assert members.read(NODE) == "first"


def test_only_the_newest_snapshots_are_kept(members: Members) -> None:
    names = []
    for value in ("second", "third", "fourth"):
        members.put(value)
        names.append(take(members, keep=2))
    assert listed(members) == names[:0:-1]
    assert left_behind(members) == set(names[1:])


def test_a_new_snapshot_is_kept_by_a_wrong_clock(members: Members) -> None:
    first = take(members)
    future = first.replace("20", "29", 1)
    folder = members.file(NODE, ETCD_SNAPSHOTS)
    (folder / first).rename(folder / future)
    members.put("second")
    assert {future, take(members, keep=2)} == left_behind(members)
    assert {take(members, keep=1)} == left_behind(members)


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        ('printf damage | dd of="$3" bs=1 seek=9000 conv=notrunc', "The snapshot cannot be restored: .*sha256"),
        ('truncate --size=-512 "$3"', "The snapshot cannot be restored: .*sha256"),
        ('truncate --size=-32 "$3"', "The snapshot cannot be restored: .*missing hash"),
        ('truncate --size=4000 "$3"', "The snapshot is damaged"),
    ],
)
def test_a_damaged_snapshot_is_refused(members: Members, damage: str, problem: str) -> None:
    kept = take(members)
    save = '[ "$1 $2" != "snapshot save" ] || { /etcd/etcdctl "$@" && ' + damage + "; exit; }\n"
    members.replace("ETCDCTL", f'{save}exec /etcd/etcdctl "$@"\n')
    result = run(members, "take", "1")
    assert result.returncode == 1
    assert re.search(problem, result.stderr), result.stderr
    assert left_behind(members) == {kept}


def test_a_snapshot_that_differs_from_etcd_is_refused(members: Members) -> None:
    kept = take(members)
    of_restored = '[ "$1" != --endpoints ] || { /etcd/etcdctl "$@" | sed \'s/"hash":/"hash":1/\'; exit; }'
    members.replace("ETCDCTL", f'{of_restored}\nexec /etcd/etcdctl "$@"\n')
    result = run(members, "take", "1")
    assert (result.returncode, left_behind(members)) == (1, {kept})
    assert "The snapshot differs from etcd at revision" in result.stderr


def test_revisions_that_etcd_discards_meanwhile_do_not_matter(members: Members) -> None:
    members.put("second")
    members.put("third")
    once = "[ -e /programs/compacted ] || { touch /programs/compacted; "
    etcdctl = f"/etcd/etcdctl {' '.join(members.options(NODE))}"
    members.replace(
        "ETCDUTL", f'{once}{etcdctl} put other 1 >&2; {etcdctl} compact 5 >&2; }}\nexec /etcd/etcdutl "$@"\n'
    )
    assert {take(members)} == left_behind(members)


@pytest.mark.parametrize(
    ("program", "call"), [("etcdutl", "snapshot status"), ("etcdutl", "snapshot restore"), ("etcd", "--data-dir")]
)
def test_a_killed_run_leaves_nothing_that_counts(members: Members, program: str, call: str) -> None:
    kept = take(members)
    members.put("second")
    members.replace(program.upper(), f'[[ "$*" != "{call}"* ]] || kill -KILL 0\nexec /etcd/{program} "$@"\n')
    assert run(members, "take", "1").returncode != 0
    assert listed(members) == [kept]
    members.replace(program.upper(), f'exec /etcd/{program} "$@"\n')
    assert {take(members, keep=1)} == left_behind(members)


def test_a_full_disk_is_left_as_it_is(members: Members) -> None:
    taken = f"{PROGRAM} take 1; echo code $?; ls -A {ETCD_SNAPSHOTS}"
    mounted = f"mkdir -p {ETCD_SNAPSHOTS} && mount -t tmpfs -o size=8m tmpfs {ETCD_SNAPSHOTS} && "
    refused = members.run(NODE, *ENVIRONMENT, "bash", "-c", mounted + taken)
    assert "but only 8 MiB are free" in refused.stderr
    assert refused.stdout.split() == ["code", "1", "lock"]
    # The space is used up during the run.
    free = "df() { echo; echo 9999999999; }; export -f df; "
    refused = members.run(NODE, *ENVIRONMENT, "bash", "-c", free + mounted + taken)
    assert "no space left on device" in refused.stderr
    assert refused.stdout.split() == ["code", "1", "lock"]


def test_a_snapshot_is_sent_without_being_kept(members: Members) -> None:
    sent = members.run(NODE, *ENVIRONMENT, "bash", "-c", f"{PROGRAM} send > /tmp/db")
    assert sent.returncode == 0, sent.stderr
    assert left_behind(members) == set()
    with members.file(NODE, "/tmp/db").open("rb") as file:
        assert is_complete(file)
    restore = ("/etcd/etcdutl", "snapshot", "restore", "/tmp/db", "--data-dir=/tmp/restored")
    assert members.run(NODE, *restore).returncode == 0


def test_an_etcd_that_does_not_answer_gives_no_snapshot(members: Members) -> None:
    members.kill(NODE)
    members.file(NODE, ETCD_SNAPSHOTS).mkdir(parents=True)
    sent, taken = run(members, "send"), run(members, "take", "1")
    assert (sent.returncode, sent.stdout, left_behind(members)) == (1, "", set())
    assert (taken.returncode, taken.stdout, left_behind(members)) == (1, "", set())
    assert sent.stderr.startswith("etcd is not healthy: ")
    assert taken.stderr.startswith("etcd does not answer: ")


def test_a_restore_raises_the_revision_and_discards_older_ones(members: Members) -> None:
    snapshot = members.file(NODE, f"{ETCD_SNAPSHOTS}/{take(members)}")
    for number in range(20):
        members.put(str(number))
    before = revision(members)
    lose_all(members, NODE)
    offer(members, snapshot)
    members.start(NODE)
    members.await_healthy(NODE)
    assert members.read(NODE) == "first"
    assert revision(members) > before + 10**8
    watch = members.run(
        NODE, "timeout", "20", "/etcd/etcdctl", *members.options(NODE), "watch", "written", f"--rev={before}"
    )
    assert "required revision has been compacted" in watch.stderr


def test_all_control_planes_get_the_restored_data(members: Members) -> None:
    members.configure(*THREE)
    members.record_new(*THREE)
    members.start(*THREE[1:])
    members.await_healthy(*THREE)
    snapshot = members.file(NODE, f"{ETCD_SNAPSHOTS}/{take(members)}")
    members.put("second")
    lose_all(members, *THREE)
    offer(members, snapshot)
    members.record_new(*THREE)
    members.start(*THREE)
    members.await_healthy(*THREE)
    assert members.voters() == set(THREE)
    assert {members.read(name) for name in THREE} == {"first"}
    members.kill(NODE)
    wait_until(lambda: members.problem("control1") == "", "the others elect a leader")
    assert members.read("control1") == "first"


def test_existing_data_is_never_replaced(members: Members) -> None:
    snapshot = members.file(NODE, f"{ETCD_SNAPSHOTS}/{take(members)}")
    members.put("second")
    offer(members, snapshot)
    members.kill(NODE)
    members.reboot(NODE)
    members.start(NODE)
    members.await_healthy(NODE)
    assert members.read(NODE) == "second"


def test_a_member_prefers_data_of_the_others(members: Members) -> None:
    snapshot = members.file(NODE, f"{ETCD_SNAPSHOTS}/{take(members)}")
    members.configure(*THREE)
    members.start(*THREE[1:])
    members.await_healthy(*THREE)
    members.put("second")
    lose_all(members, NODE)
    offer(members, snapshot)
    members.start(NODE)
    members.await_healthy(*THREE)
    assert members.read(NODE) == "second"


def test_an_interrupted_restore_is_repeated(members: Members) -> None:
    snapshot = members.file(NODE, f"{ETCD_SNAPSHOTS}/{take(members)}")
    lose_all(members, NODE)
    offer(members, snapshot)
    members.replace("ETCDUTL", '/etcd/etcdutl "$@"\nkill -KILL 0\n')
    joined = members.run(NODE, "setsid", "--wait", "/programs/etcd-member", "join", ADDRESSES[NODE], NODE)
    assert joined.returncode != 0
    assert members.data(NODE) == "restored\n"
    members.replace("ETCDUTL", 'exec /etcd/etcdutl "$@"\n')
    members.start(NODE)
    members.await_healthy(NODE)
    assert members.read(NODE) == "first"
    assert members.data(NODE) == "member\n"


def test_a_damaged_snapshot_founds_no_cluster(members: Members) -> None:
    members.kill(NODE)
    members.lose_data(NODE)
    members.file(NODE, ETCD_RESTORE).write_bytes(b"no snapshot" * 1000)
    joined = members.member("join", NODE, by=NODE)
    assert joined.returncode == 1
    assert f"etcd cannot be restored from {ETCD_RESTORE}: Error: " in joined.stderr
    assert "member" not in members.data(NODE)
