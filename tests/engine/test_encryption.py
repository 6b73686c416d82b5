"""Encryption keys of objects in etcd, with a real etcd and real API servers. Needs root."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from lab.versions import default_kubernetes_version, version
from tests.support.control_planes import ControlPlanes, KilledError
from toolchain import binaries


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with etcd, etcdctl, kube-apiserver and kubectl."""
    kubernetes = default_kubernetes_version()
    wanted = [("etcd", version("etcd")), ("etcdctl", version("etcd"))]
    wanted += [("kube-apiserver", kubernetes), ("kubectl", kubernetes)]
    folder = tmp_path_factory.mktemp("programs")
    for (name, _), found in binaries.ensure(wanted).items():
        os.link(found.path, folder / name)
    return folder


@pytest.fixture
def create(tmp_path: Path, programs: Path) -> Iterator[Callable[[int], ControlPlanes]]:
    """A function that creates control planes."""
    created = []

    def create(count: int) -> ControlPlanes:
        created.append(ControlPlanes(tmp_path, programs, count))
        return created[0]

    yield create
    for control_planes in created:
        control_planes.close()


def assert_all_readable(lab: ControlPlanes) -> None:
    """Assert that every API server reads what every API server writes."""
    for name in lab.names:
        lab.write(name, f"by-{name}", "text")
    for name in lab.names:
        assert {f"by-{other}" for other in lab.names} <= lab.read(name)


def test_existing_objects_are_encrypted_at_an_upgrade(create: Callable[[int], ControlPlanes]) -> None:
    lab = create(2)
    lab.up_without_encryption()
    assert_all_readable(lab)
    assert set(lab.keys_in_etcd().values()) == {"identity"}
    keys = ["key-1", "identity"]
    for step in (lab.apply, lab.finish):
        for name in lab.names:
            step(keys, names=[name])
            assert_all_readable(lab)
    lab.rewrite(keys)
    assert set(lab.keys_in_etcd().values()) == {"key-1"}
    lab.up(["key-1"])
    assert_all_readable(lab)
    lab.apply(["key-2", "key-1"])
    assert_all_readable(lab)
    assert set(lab.keys_in_etcd().values()) == {"key-1"}
    with pytest.raises(AssertionError, match="all new secrets are encrypted with the key key-1"):
        lab.apply(["key-2"])


def test_unsafe_changes_are_refused_before_anything_changes(
    create: Callable[[int], ControlPlanes], monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = create(1)
    (name,) = lab.names
    both = ["secrets", "configmaps"]
    lab.up(["a"])
    lab.write(name, "kept", "text")
    running = lab.running(name)
    with pytest.raises(AssertionError, match="all new secrets are encrypted with the key a"):
        lab.apply(["b"])
    with pytest.raises(AssertionError, match="all new configmaps are not encrypted"):
        lab.apply(["a"], both)
    with monkeypatch.context() as patch:
        patch.setattr("tests.support.control_planes.MASTER_KEY", "of another stack")
        with pytest.raises(AssertionError, match="the key a has another value"):
            lab.apply(["b", "a"])
    assert lab.running(name) == running
    lab.up(["a", "identity"], both)
    assert set(lab.keys_in_etcd("configmaps").values()) == {"a"}
    with pytest.raises(AssertionError, match="all new configmaps are encrypted with the key a"):
        lab.apply(["a", "identity"])
    lab.up(["identity", "a"], both)
    assert {*lab.keys_in_etcd().values(), *lab.keys_in_etcd("configmaps").values()} == {"identity"}
    lab.up(["identity"])
    assert lab.read(name) == {"kept"}


def test_an_interrupted_change_loses_nothing_and_continues(create: Callable[[int], ControlPlanes]) -> None:
    lab = create(1)
    (name,) = lab.names
    lab.up(["key-0"])
    lab.write(name, "kept", "text")
    lab.kill_at(name, None)
    lab.up(["key-1", "key-0"])
    calls = len(lab.calls(name))
    assert calls > len(MOMENTS)
    killed = 0
    for number, moment in enumerate(MOMENTS, start=2):
        keys = [f"key-{number}", f"key-{number - 1}"]
        lab.kill_at(name, int(moment * calls))
        killed += is_killed(lab, keys)
        lab.kill_at(name, None)
        if lab.is_running(name):
            assert lab.read(name) == {"kept"}
        lab.up(keys)
        assert lab.read(name) == {"kept"}
        assert lab.keys_in_etcd() == {"kept": keys[0]}
    assert killed > len(MOMENTS) / 2


def test_an_interrupted_change_can_be_reverted(create: Callable[[int], ControlPlanes]) -> None:
    lab = create(1)
    (name,) = lab.names
    lab.up(["old"])
    lab.write(name, "kept", "text")
    lab.kill_at(name, None)
    lab.up(["new", "old"])
    calls = len(lab.calls(name))
    lab.up(["old", "new"])
    killed = 0
    for moment in MOMENTS[::2]:
        lab.up(["old"])
        lab.kill_at(name, int(moment * calls))
        killed += is_killed(lab, ["new", "old"])
        lab.kill_at(name, None)
        revert(lab)
        assert lab.read(name) == {"kept"}
        assert lab.keys_in_etcd() == {"kept": "old"}
    assert killed > 1


def is_killed(lab: ControlPlanes, keys: Sequence[str]) -> bool:
    """Bring up a configuration. Return False if it ended before the call at which it would have been killed.

    A faster start of the API server needs fewer calls that wait for it than the run that was counted.
    """
    try:
        lab.up(keys)
    except KilledError:
        return True
    return False


def revert(lab: ControlPlanes) -> None:
    """Go back to the old key, as the refusal says if objects have the new one already."""
    try:
        lab.up(["old"])
    except AssertionError as refused:
        if "Keep new as the last of encryption.keys" not in str(refused):
            raise
        lab.up(["old", "new"])
        lab.up(["old"])


MOMENTS = (0.1, 0.25, 0.4, 0.55, 0.7, 0.85, 0.97)
"""The parts of a change after which it is killed."""


def test_a_new_control_plane_reads_and_writes_like_the_others(create: Callable[[int], ControlPlanes]) -> None:
    lab = create(2)
    first, second = lab.names
    lab.apply(["a"], names=[first])
    lab.write(first, "before", "text")
    for name in (second, first):
        lab.apply(["b", "a"], names=[name])
        lab.write(name, f"by-{name}", "text")
        assert lab.keys_in_etcd()[f"by-{name}"] == "a"
    lab.finish(["b", "a"])
    with pytest.raises(AssertionError, match="secrets in etcd are encrypted with the key a"):
        lab.apply(["b"])
    lab.rewrite(["b", "a"])
    assert set(lab.keys_in_etcd().values()) == {"b"}
    assert_all_readable(lab)


def test_anonymous_requests_are_refused_and_secrets_are_logged_without_content(
    create: Callable[[int], ControlPlanes],
) -> None:
    lab = create(1)
    (name,) = lab.names
    lab.up(["a"])
    certificate = ("--cert", "/var/lib/addons/admin.crt", "--key", "/var/lib/addons/admin.key")
    assert [lab.status_code(name, path) for path in ("/healthz", "/readyz", "/version")] == ["401"] * 3
    assert lab.status_code(name, "/readyz", *certificate) == "200"
    lab.write(name, "logged", "hidden-text")
    log = lab.file(name, "/var/log/kubernetes/audit.log").read_text()
    assert '"name":"logged"' in log
    assert "hidden-text" not in log
