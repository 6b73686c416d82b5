"""The upgrades that Kubernetes supports, held against the version that runs."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lab.spec import Spec
from lab.versions import minor
from system.errors import HardwayError

POLICY = "https://kubernetes.io/releases/version-skew-policy/"


class UpgradeError(HardwayError):
    """The cluster cannot get to the configured version in one step. The message names the way."""


@dataclass(frozen=True, kw_only=True)
class ApiServerVersion:
    """The version of an API server that runs.

    Attributes:
        release: The release, such as v1.37.2.
        served_minor: The minor version whose API it serves: the one that it emulates, or that of the release.
    """

    release: str
    served_minor: int

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> "ApiServerVersion":
        """Read the document at /version, which names the emulated version since v1.33."""
        release = str(document["gitVersion"])
        return cls(release=release, served_minor=int(document.get("emulationMinor") or minor(release)))

    @property
    def emulated(self) -> str | None:
        """The earlier minor version that it emulates, such as v1.36. None if it emulates none."""
        return None if self.served_minor == minor(self.release) else f"v1.{self.served_minor}"

    def __str__(self) -> str:
        return f"{self.release}, which emulates {self.emulated}" if self.emulated else self.release


def served_minor(spec: Spec) -> int:
    """Return the minor version whose API the configured API servers serve."""
    return minor(spec.emulated_version or spec.control_planes[0].kubernetes_version)


def ensure_supported(spec: Spec, running: ApiServerVersion | None) -> None:
    """Check that API servers may go from the version that runs to the configured one.

    A new minor version rewrites objects in etcd, which an older one cannot always read. And each minor version only
    knows how to read what the one before it has written. An API server that emulates an earlier minor version stores
    what that version can read, so that version may return.

    Args:
        spec: The lab.
        running: Version of the API server that runs; None if it is not known.

    Raises:
        UpgradeError: They may not.
    """
    if running is None or not spec.control_planes:
        return
    configured = spec.control_planes[0].kubernetes_version
    key, value = ("emulate", spec.emulated_version) if spec.emulated_version else ("kubernetesVersion", configured)
    found = f"hardway:{key} = {value}: kube-apiserver runs {running}"
    difference = served_minor(spec) - running.served_minor
    if difference < 0:
        raise UpgradeError(
            f"{found}, and no API server can go back to an earlier minor version, because it may not read what the "
            f"later one stored. Keep v1.{running.served_minor}, or create another lab. See {POLICY}"
        )
    if minor(configured) - minor(running.release) > 1:
        raise UpgradeError(
            f"{found}, and an upgrade must not skip a minor version. "
            f"Set a version of v1.{minor(running.release) + 1} first, and run `hardway up`. See {POLICY}"
        )
    if difference > 1:
        raise UpgradeError(
            f"{found}, and an upgrade must not skip a minor version. "
            f"Set hardway:emulate = v1.{running.served_minor + 1} first, and run `hardway up`. See {POLICY}"
        )
