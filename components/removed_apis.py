"""Warnings before an upgrade to a version that no longer serves an API in use."""

from pathlib import Path

import pulumi

from host.engine.readiness import api_server_metrics
from lab.deprecated_apis import METRICS_PATH, requested_apis
from lab.spec import Spec
from lab.upgrade import ApiServerVersion, served_minor


def warn_of_removed_apis(spec: Spec, running: ApiServerVersion | None, kubeconfig: Path) -> None:
    """Warn of each API that clients use and that the configured version removes.

    The metrics of an API server are large, so they are read only if it will serve another minor version.

    Args:
        spec: The lab.
        running: Version of the API server that runs; None if it is not known.
        kubeconfig: An administrator's kubeconfig.
    """
    if running is None or not spec.control_planes or served_minor(spec) == running.served_minor:
        return
    metrics = api_server_metrics(kubeconfig, METRICS_PATH)
    if metrics is None:
        pulumi.warn(
            "The API server does not report its metrics, so the deprecated APIs in use are unknown. "
            f"Check whether something uses an API that v1.{served_minor(spec)} removes."
        )
        return
    for api in requested_apis(metrics):
        if api.removed_minor <= served_minor(spec):
            pulumi.warn(f"Clients use {api}. Move them to another version of the API before `hardway up`.")
