"""The record of drift, and what other checkouts have repaired."""

from __future__ import annotations

from pathlib import Path

import pytest

from host.engine import drift

OLD, NEW = "2026-01-02T03:04:05Z-00000000", "2026-01-03T03:04:05Z-00000000"


@pytest.fixture(autouse=True)
def records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(drift, "RECORDS", tmp_path)
    return tmp_path


def test_repairs_are_read_from_the_state() -> None:
    variables = [
        {"HARDWAY_NODE": "a", "HARDWAY_REPAIR": f"etcd={OLD} kubelet={NEW}"},
        {"HARDWAY_NODE": "b"},
        {"HARDWAY_REPAIR": NEW},
    ]
    resources = [{"inputs": {"environment": each}} for each in variables]
    assert drift.deployed_drift({"resources": [{"type": "x"}, *resources]}) == {
        ("a", "etcd"): OLD,
        ("a", "kubelet"): NEW,
        drift.MACHINE_NETWORK: NEW,
    }
    assert drift.deployed_drift({}) == {}


def test_later_finding_wins() -> None:
    drift.adopt_drift("dev", {("a", "etcd"): OLD, ("a", "kubelet"): NEW})
    drift.adopt_drift("dev", {("a", "etcd"): NEW, ("a", "kubelet"): OLD, ("b", "etcd"): OLD})
    assert drift.recorded_drift("dev") == {("a", "etcd"): NEW, ("a", "kubelet"): NEW, ("b", "etcd"): OLD}


def test_nothing_is_recorded_without_drift(records: Path) -> None:
    drift.adopt_drift("dev", {})
    assert list(records.iterdir()) == []
