"""The regular snapshots of etcd on each control plane, and its defragmentation after each of them.

`assets/node/etcd-snapshot` takes the snapshots, and `assets/node/etcd-defragment` defragments.
"""

from lab.node.paths import PROGRAMS
from lab.node.service import File, Service
from lab.node.units import unit, unit_path
from lab.spec import Spec

SERVICE = "etcd-snapshots"
DEFRAGMENTED_SIZE = 100
"""The size in MiB from which a database is defragmented. A smaller one would not give much space back."""


def etcd_snapshots(spec: Spec) -> tuple[Service, ...]:
    """Return the service that takes snapshots; none if the configuration turns it off."""
    if spec.etcd_snapshots is None:
        return ()
    timer, oneshot = f"{SERVICE}.timer", f"{SERVICE}.service"
    program = f"{PROGRAMS}/etcd-snapshot"
    return (
        Service(
            name=SERVICE,
            unit=timer,
            activation="reload",
            needs=("etcd",),
            files={
                unit_path(timer): File(content=unit(timer, hours=str(spec.etcd_snapshots.every_hours))),
                unit_path(oneshot): File(
                    content=unit(
                        oneshot,
                        snapshot=f"{program} take {spec.etcd_snapshots.keep}",
                        defragment=f"{PROGRAMS}/etcd-defragment {DEFRAGMENTED_SIZE}",
                    ),
                    restarts=False,
                ),
            },
            health=f"{program} healthy",
        ),
    )
