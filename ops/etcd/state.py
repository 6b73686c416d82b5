"""The state of a member of etcd, and the problems that it shows."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

MAX_USE = 0.8
"""The part of the quota that a database may have."""

ALARMS = {
    "NOSPACE": "its database has reached the quota, so that it refuses to write. "
    "See docs/operations.md, A full database",
    "CORRUPT": "its data differs from that of another member. Recreate that control plane",
}
"""The alarms of etcd, and what they mean."""


@dataclass(frozen=True, kw_only=True)
class EtcdStatus:
    """The state of a member of etcd, as it reports it itself.

    Attributes:
        id: Number of the member.
        leader: Number of the leader, 0 if there is none.
        learner: True if it has no vote yet.
        version: Version such as `3.7.3`.
        database_bytes: Size of its database.
        quota_bytes: Size that its database may have; 0 if unknown.
        errors: Problems that it reports, such as alarms.
    """

    id: int
    leader: int
    learner: bool
    version: str
    database_bytes: int
    quota_bytes: int = 0
    errors: tuple[str, ...] = ()

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "EtcdStatus":
        """Return the status in the output of `etcdctl endpoint status --write-out json`."""
        return cls(
            id=int(values["header"]["member_id"]),
            leader=int(values.get("leader", 0)),
            learner=bool(values.get("isLearner")),
            version=str(values["version"]),
            database_bytes=int(values.get("dbSize", 0)),
            quota_bytes=int(values.get("dbSizeQuota", 0)),
            errors=tuple(map(str, values.get("errors") or ())),
        )

    @property
    def problems(self) -> Iterator[str]:
        """Everything about the member that is not well, with the alarms of all members."""
        for error in self.errors:
            alarm = re.match(r"memberID:([0-9]+) alarm:(\w+)", error)
            if alarm is None:
                yield f"etcd reports: {error.strip()}"
            else:
                member = "etcd" if int(alarm[1]) == self.id else f"the etcd member {int(alarm[1]):x}"
                yield f"{member} has the alarm {alarm[2]}: {ALARMS.get(alarm[2], 'see the documentation of etcd')}"
        if self.quota_bytes and self.database_bytes > MAX_USE * self.quota_bytes:
            used, quota = (size / 2**20 for size in (self.database_bytes, self.quota_bytes))
            yield (
                f"etcd's database has {used:.0f} of {quota:.0f} MiB. At the quota, etcd refuses to write. "
                "See docs/operations.md, A full database"
            )
