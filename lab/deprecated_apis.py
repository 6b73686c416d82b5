"""The deprecated APIs that clients request, from the metrics of the API server."""

import re
from dataclasses import dataclass

METRIC = "apiserver_requested_deprecated_apis"

METRICS_PATH = f"/metrics?name[]={METRIC}"
"""The path of the metric. API servers before v1.37 ignore the name, and answer with some MB of all their metrics."""


@dataclass(frozen=True, order=True, kw_only=True)
class DeprecatedApi:
    """A deprecated API that somebody requested since the API server started.

    Attributes:
        removed_minor: The minor version that no longer serves it, such as 37.
        name: The group, version and resource, such as `resource.k8s.io/v1beta1 resourceclaims`.
    """

    removed_minor: int
    name: str

    def __str__(self) -> str:
        return f"{self.name}, which v1.{self.removed_minor} removes"


def requested_apis(metrics: str) -> list[DeprecatedApi]:
    """Return the deprecated APIs in an API server's metrics, those that are removed first at the beginning.

    APIs that no version removes are left out: the control plane itself uses some of them, such as Endpoints.

    Args:
        metrics: The metrics in the text format of Prometheus.
    """
    found = set()
    for line in metrics.splitlines():
        if not line.startswith(f"{METRIC}{{"):
            continue
        labels = dict(re.findall(r'(\w+)="([^"]*)"', line))
        _, _, minor = labels["removed_release"].partition(".")
        if minor:
            version = "/".join(filter(None, (labels["group"], labels["version"])))
            resource = "/".join(filter(None, (labels["resource"], labels["subresource"])))
            found.add(DeprecatedApi(removed_minor=int(minor), name=f"{version} {resource}"))
    return sorted(found)
