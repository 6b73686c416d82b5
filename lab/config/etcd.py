"""The settings of etcd in a configuration."""

from collections.abc import Mapping

from lab.config.problems import Problems
from lab.config.schema import Converter
from lab.config.values import Configuration, EtcdValues, LabValues
from lab.spec import EtcdSnapshots

MAX_HOURS = 31 * 24

MAX_SNAPSHOTS = 1000


def _every_hours(value: int) -> int:
    if not 1 <= value <= MAX_HOURS:
        raise ValueError(f"must be from 1 to {MAX_HOURS} hours; to turn snapshots off, set enabled to false")
    return value


def _keep(value: int) -> int:
    if not 1 <= value <= MAX_SNAPSHOTS:
        raise ValueError(f"must be from 1 to {MAX_SNAPSHOTS}; to turn snapshots off, set enabled to false")
    return value


def _restore_from(text: str) -> str:
    if "://" in text or any(character.isspace() for character in text):
        raise ValueError("must be the path of a file on this machine, without spaces")
    return text


CONVERTERS: Mapping[str, Converter] = {
    "etcd.snapshots.everyHours": _every_hours,
    "etcd.snapshots.keep": _keep,
    "etcd.restoreFrom": _restore_from,
}
"""The converter of each key."""


def check_etcd(configuration: Configuration, problems: Problems) -> None:
    """Check that a lab without etcd restores none."""
    restore_from = configuration.lab.get("etcd", EtcdValues()).get("restoreFrom")
    if restore_from and configuration.lab.get("join") is not None:
        problems.add(
            configuration.key("etcd.restoreFrom"),
            "configures control planes, but a lab that joins a cluster has none; remove it",
            restore_from,
        )


def build_snapshots(lab: LabValues) -> EtcdSnapshots | None:
    """Build the regular snapshots of etcd from values that have no problem; None for no snapshots."""
    values = lab["etcd"]["snapshots"]
    if not values["enabled"]:
        return None
    return EtcdSnapshots(every_hours=values["everyHours"], keep=values["keep"])
