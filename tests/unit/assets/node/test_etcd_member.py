"""`assets/node/etcd-member healthy` when etcd has no leader, with fake answers of the peers."""

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.support.fake_programs import put
from tests.support.node_programs import install

ANSWERS = {
    "valid": "exit 0",
    "expired": 'echo "curl: (60) SSL certificate problem: certificate has expired" >&2; exit 60',
    "silent": 'echo "curl: (7) Failed to connect" >&2; exit 7',
}


def is_healthy(folder: Path, own: str, peers: Sequence[str]) -> bool:
    """Return True if an etcd without a leader counts as healthy.

    Args:
        folder: An empty folder.
        own: Key in ANSWERS of the etcd itself.
        peers: Keys in ANSWERS of the other members.
    """
    states = {f"192.0.2.{number}": state for number, state in enumerate([own, *peers], start=1)}
    members = folder / "members"
    members.write_text("".join(f"{address}\n" for address in states))
    cases = " ".join(f"*{address}:2380*) {ANSWERS[state]} ;;" for address, state in states.items())
    put(folder, "curl", f'case "$*" in {cases} *) exit 1 ;; esac')
    put(folder, "timeout", "exit 1")
    program = install(folder / "programs", ETCD_MEMBERS=str(members)) / "etcd-member"
    result = subprocess.run(
        [program, "healthy", "192.0.2.1", "control0", "http://127.0.0.1:2381"],
        env={**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (result.returncode == 0) is (result.stdout == ""), result
    return result.returncode == 0


@pytest.mark.parametrize(
    ("own", "peers", "healthy"),
    [
        ("valid", ["expired", "expired"], True),
        ("valid", ["expired", "silent"], True),
        ("valid", ["expired"], True),
        ("valid", ["valid", "expired", "expired", "expired"], True),
        ("valid", ["valid", "expired"], False),
        ("valid", ["valid", "valid", "expired", "expired"], False),
        ("valid", ["silent", "silent"], False),
        ("expired", ["expired", "expired"], False),
        ("silent", ["expired", "expired"], False),
        ("valid", [], False),
    ],
)
def test_only_expired_certificates_of_peers_are_an_excuse(
    tmp_path: Path, own: str, peers: Sequence[str], healthy: bool
) -> None:
    assert is_healthy(tmp_path, own, peers) is healthy
