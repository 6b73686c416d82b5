"""`assets/node/etcd-snapshot` with a real etcd. Needs root."""

from __future__ import annotations

import re
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.node.paths import ETCD_SNAPSHOTS
from ops.etcd.__main__ import is_complete
from tests.support.etcd_members import ADDRESSES, Members

NODE = "control0"
ENVIRONMENT = ("env", f"ETCDCTL_ENDPOINTS=https://{ADDRESSES[NODE]}:2379")
PROGRAM = "/programs/etcd-snapshot"


@pytest.fixture
def members(tmp_path: Path) -> Iterator[Members]:
    """A control plane whose etcd has a key, and others without one."""
    members = Members(tmp_path)
    members.create(NODE)
    members.put("first")
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
    restore = ("/etcd/etcdutl", "snapshot", "restore", f"{ETCD_SNAPSHOTS}/{name}", "--data-dir=/var/lib/etcd")
    url = f"https://{ADDRESSES[NODE]}:2380"
    cluster = (f"--name={NODE}", f"--initial-cluster={NODE}={url}", f"--initial-advertise-peer-urls={url}")
    assert members.run(NODE, *restore, *cluster).returncode == 0
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
    members.replace("ETCDUTL", '/etcd/etcdutl "$@" | sed \'s/"hash":/"hash":1/\'\n')
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


@pytest.mark.parametrize("call", ["snapshot status", "snapshot restore", "hashkv /var"])
def test_a_killed_run_leaves_nothing_that_counts(members: Members, call: str) -> None:
    kept = take(members)
    members.put("second")
    members.replace("ETCDUTL", f'[[ "$*" != "{call}"* ]] || kill -KILL 0\nexec /etcd/etcdutl "$@"\n')
    assert run(members, "take", "1").returncode != 0
    assert listed(members) == [kept]
    members.replace("ETCDUTL", 'exec /etcd/etcdutl "$@"\n')
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
