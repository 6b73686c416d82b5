"""The problems that the state of a member of etcd shows."""

from typing import Any

import pytest

from ops.etcd.state import EtcdStatus


def problems(**values: Any) -> list[str]:
    """Return the problems of a member with the number 10."""
    return list(EtcdStatus.from_dict({"header": {"member_id": 10}, "version": "3.6.16", **values}).problems)


def test_a_well_member_has_no_problem() -> None:
    assert problems(dbSize=80 * 2**20, dbSizeQuota=100 * 2**20) == []
    assert problems(dbSize=80 * 2**20) == []


def test_an_almost_full_database_is_a_problem() -> None:
    [problem] = problems(dbSize=81 * 2**20, dbSizeQuota=100 * 2**20)
    assert problem.startswith("etcd's database has 81 of 100 MiB. ")


@pytest.mark.parametrize(
    ("error", "problem"),
    [
        ("memberID:10 alarm:NOSPACE ", "etcd has the alarm NOSPACE: its database has reached the quota"),
        ("memberID:11 alarm:CORRUPT", "the etcd member b has the alarm CORRUPT: its data differs"),
        ("memberID:10 alarm:NEW", "etcd has the alarm NEW: see the documentation of etcd"),
        ("etcdserver: no leader", "etcd reports: etcdserver: no leader"),
    ],
)
def test_errors_are_explained(error: str, problem: str) -> None:
    [found] = problems(errors=[error])
    assert found.startswith(problem)
