"""Snapshots of etcd that a lab restores."""

import hashlib
import io
import stat
from pathlib import Path

import pytest

from system.errors import ToolchainError
from toolchain.cache import Cache
from toolchain.etcd_snapshot import ensure, is_complete

CONTENT = b"keys and values"
SNAPSHOT = CONTENT + hashlib.sha256(CONTENT).digest()


@pytest.mark.parametrize("content", [SNAPSHOT[1:], SNAPSHOT[:-1], SNAPSHOT + b"x", b"", hashlib.sha256().digest()])
def test_only_a_whole_snapshot_is_complete(content: bytes) -> None:
    assert is_complete(io.BytesIO(SNAPSHOT))
    assert not is_complete(io.BytesIO(content))


def test_a_snapshot_is_kept_as_it_was(tmp_path: Path) -> None:
    file = tmp_path / "one.db"
    file.write_bytes(SNAPSHOT)
    found = ensure(str(file), Cache(tmp_path / "cache"))
    file.unlink()
    assert found.path.read_bytes() == SNAPSHOT
    assert found.sha256 == hashlib.sha256(SNAPSHOT).hexdigest()
    assert stat.S_IMODE(found.path.stat().st_mode) == 0o600


def test_a_missing_snapshot_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        ToolchainError, match=r"etcd\.restoreFrom: .*/missing cannot be read: No such file.*remove the key"
    ):
        ensure(str(tmp_path / "missing"), Cache(tmp_path / "cache"))


def test_another_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data.db").write_bytes(CONTENT)
    with pytest.raises(ToolchainError, match="is no complete snapshot of etcd"):
        ensure(str(tmp_path / "data.db"), Cache(tmp_path / "cache"))
