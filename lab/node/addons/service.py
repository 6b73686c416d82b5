"""The service that creates the objects of the add-ons in the cluster."""

from lab.node import paths
from lab.node.addons.addon import Object
from lab.node.addons.table import enabled_addons
from lab.node.credentials import KeyPair, authority_file
from lab.node.documents import to_yaml
from lab.node.kubeconfig import with_paths
from lab.node.service import Binary, File, Service
from lab.node.units import unit, unit_path
from lab.pki import ADMIN
from lab.spec import Node, Spec

OWNERSHIP_LABEL = {"app.kubernetes.io/managed-by": "hardway"}
"""The label of the lab's own objects. `apply-objects` deletes every object with it that is no longer listed."""


def addons(spec: Spec, node: Node) -> Service:
    """Return the service that applies the lab's own objects on a control plane."""
    authority, pair = f"{paths.ADDONS}/ca.crt", KeyPair.of(ADMIN, folder=paths.ADDONS)
    objects = [document for addon in enabled_addons(spec) for document in addon.objects(spec)]
    return Service(
        name="addons",
        unit="addons.service",
        needs=("kube-apiserver",),
        files={
            unit_path("addons.service"): File(
                content=unit("addons.service", program=f"{paths.PROGRAMS}/apply-objects {paths.ADDONS}")
            ),
            f"{paths.ADDONS}/manifests.yaml": File(content=to_yaml(*map(_with_ownership_label, objects))),
            paths.ADMIN_KUBECONFIG: File(
                content=with_paths(
                    server=node.api_server,
                    authority=authority,
                    certificate=pair.certificate,
                    key=pair.key,
                    user="admin",
                )
            ),
            authority: authority_file(),
            **pair.files,
        },
        binaries={paths.KUBECTL: Binary(name="kubectl", version=node.kubernetes_version)},
    )


def _with_ownership_label(document: Object) -> Object:
    metadata = document["metadata"]
    return document | {"metadata": metadata | {"labels": metadata.get("labels", {}) | OWNERSHIP_LABEL}}
