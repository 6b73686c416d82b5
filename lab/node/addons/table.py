"""The table of all add-ons."""

from collections.abc import Iterator

from lab.node import bootstrap
from lab.node.addons.addon import Addon
from lab.node.addons.cluster_admins import cluster_admins
from lab.node.addons.cluster_dns import cluster_dns
from lab.node.addons.kubelet_access import kubelet_access
from lab.node.addons.local_path import local_path
from lab.node.addons.metrics_server import metrics_server
from lab.node.addons.network_policy_access import network_policy_access
from lab.node.service import Image
from lab.spec import Node, Spec

ADDONS = (
    Addon(objects=cluster_admins),
    Addon(objects=kubelet_access),
    Addon(objects=network_policy_access, enabled=lambda spec: spec.network_policy),
    Addon(objects=bootstrap.certificate_access, enabled=lambda spec: spec.tls_bootstrap),
    Addon(objects=cluster_dns, enabled=lambda spec: spec.addons.dns is not None, images=("coredns",)),
    Addon(objects=metrics_server, enabled=lambda spec: spec.addons.metrics_server, images=("metrics-server",)),
    Addon(objects=local_path, enabled=lambda spec: spec.addons.volume_folder != "", images=("local-path-provisioner",)),
    # The objects of the user come last, because they may need those of the lab.
    Addon(objects=lambda spec: [dict(document) for document in spec.addons.manifests]),
)
"""All add-ons, in the order in which their objects are created."""


def enabled_addons(spec: Spec) -> Iterator[Addon]:
    """Yield the add-ons of a lab. A lab that joins a cluster has none, because the cluster has its own."""
    return (addon for addon in ADDONS if spec.control_planes and addon.enabled(spec))


def addon_images(spec: Spec, node: Node) -> tuple[Image, ...]:
    """Return the images of add-ons that a node holds."""
    return tuple(
        Image(name=image, version=spec.version(image))
        for addon in enabled_addons(spec)
        if node in addon.nodes(spec)
        for image in addon.images
    )
