"""The upgrades that Kubernetes supports, held against the version that runs."""

from lab.spec import Spec
from lab.versions import minor
from system.errors import HardwayError

POLICY = "https://kubernetes.io/releases/version-skew-policy/"


class UpgradeError(HardwayError):
    """The cluster cannot get to the configured version in one step. The message names the way."""


def ensure_supported(spec: Spec, running: str | None) -> None:
    """Check that API servers may go from the version that runs to the configured one.

    A new minor version rewrites objects in etcd, which an older one cannot always read. And each minor version only
    knows how to read what the one before it has written.

    Args:
        spec: The lab.
        running: Version of the API server that runs; None if it is not known.

    Raises:
        UpgradeError: They may not.
    """
    if running is None or not spec.control_planes:
        return
    configured = spec.control_planes[0].kubernetes_version
    difference = minor(configured) - minor(running)
    if difference < 0:
        raise UpgradeError(
            f"hardway:kubernetesVersion = {configured}: kube-apiserver runs {running}, and no API server can go back "
            "to an earlier minor version, because it may not read what the later one stored. "
            f"Keep v1.{minor(running)}, or create another lab. See {POLICY}"
        )
    if difference > 1:
        raise UpgradeError(
            f"hardway:kubernetesVersion = {configured}: kube-apiserver runs {running}, and an upgrade must not skip a "
            f"minor version. Set a version of v1.{minor(running) + 1} first, and run `hardway up`. See {POLICY}"
        )
