"""The cluster with the objects of the probe, reached by kubectl before and after the measurement."""

import json
from collections.abc import Mapping
from typing import Any

from ops.cluster import NamespacedCluster
from ops.probe.objects import WEB
from ops.probe.targets import Target, WebServer, web_targets


class ProbedCluster(NamespacedCluster):
    """A cluster with the objects of the probe. Each method runs kubectl once and raises CommandError if that fails."""

    def targets(self, nodes: Mapping[str, str]) -> list[Target]:
        """Return the web servers to ask.

        Args:
            nodes: Addresses of the nodes that run pods, by name.
        """
        items: list[dict[str, Any]] = json.loads(self._kubectl("get", "pods,services", "--output=json"))["items"]
        [service] = [item["spec"] for item in items if item["kind"] == "Service"]
        servers = [
            WebServer(name=item["metadata"]["name"], node=item["spec"]["nodeName"], address=item["status"]["podIP"])
            for item in items
            if item["kind"] == "Pod" and item["metadata"]["labels"]["app"] == WEB
        ]
        servers.sort(key=lambda server: server.node)
        return list(web_targets(nodes, servers, service["clusterIP"], service["ports"][0]["nodePort"]))
