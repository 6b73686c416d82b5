"""The service that creates the objects of the add-ons in the cluster."""

from collections.abc import Sequence

from lab.node import paths
from lab.node.addons.addon import Object
from lab.node.addons.table import enabled_addons
from lab.node.credentials import KeyPair, authority_file
from lab.node.documents import to_yaml
from lab.node.kubeconfig import with_paths
from lab.node.service import Binary, File, Service
from lab.node.units import unit, unit_path
from lab.pki import ADMIN, Authority, authority_identity, is_rotated
from lab.spec import Node, Spec
from system.errors import HardwayError

OWNERSHIP_LABEL = {"app.kubernetes.io/managed-by": "hardway"}
"""The label of the lab's own objects. `apply-objects` deletes no other object."""

FIRST_KINDS = ("Namespace", "CustomResourceDefinition", "PriorityClass", "StorageClass", "ServiceAccount")

LAST_KINDS = ("APIService", "ValidatingWebhookConfiguration", "MutatingWebhookConfiguration")

RANKS = {
    **{kind: rank for rank, kind in enumerate(FIRST_KINDS)},
    **dict.fromkeys(LAST_KINDS, len(FIRST_KINDS) + 1),
}
"""The position of each kind that is not applied in the order of the files."""


class DuplicateObjectError(HardwayError):
    """A manifest has an object that the lab itself creates."""


def addons(spec: Spec, node: Node) -> Service:
    """Return the service that applies the lab's own objects on a control plane."""
    authority, pair = f"{paths.ADDONS}/ca.crt", KeyPair.of(ADMIN, folder=paths.ADDONS)
    objects = _in_order([document for addon in enabled_addons(spec) for document in addon.objects(spec)])
    return Service(
        name="addons",
        unit="addons.service",
        needs=("kube-apiserver",),
        files={
            unit_path("addons.service"): File(
                content=unit("addons.service", program=f"{paths.PROGRAMS}/apply-objects apply {paths.ADDONS}")
            ),
            **_object_files(objects),
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
        health_timeouts=_health_timeouts(spec),
        drift=f"{paths.PROGRAMS}/apply-objects compare {paths.ADDONS}",
    )


def _health_timeouts(spec: Spec) -> int:
    """Return the number of health timeouts within which the objects must be applied.

    In a rotation of the authority, `apply-objects` waits for the leading controller manager. It may be on the last
    control plane, where it changes after the API servers and controller managers of the others. On the way back to the
    default key, the time of the version before counts: see `assets/node/service`.
    """
    if not is_rotated(spec, authority_identity(Authority.KUBERNETES)):
        return 1
    return 2 * len(spec.control_planes) - 1


def _object_files(objects: Sequence[Object]) -> dict[str, File]:
    """Return the files of the objects. Secrets are in a separate file, which no preview shows."""
    labelled = list(map(_with_ownership_label, objects))
    secrets = [document for document in labelled if _is_secret(document)]
    others = [document for document in labelled if not _is_secret(document)]
    return {
        f"{paths.ADDONS}/manifests.yaml": File(content=to_yaml(*others)),
        **({f"{paths.ADDONS}/secrets.yaml": File(content=to_yaml(*secrets), secret=True)} if secrets else {}),
        f"{paths.ADDONS}/objects": File(content="".join(f"{_reference(document)}\n" for document in objects)),
    }


def _is_secret(document: Object) -> bool:
    return (document["apiVersion"], document["kind"]) == ("v1", "Secret")


def _in_order(objects: Sequence[Object]) -> list[Object]:
    """Return objects in the order in which they are applied: each kind after those that it needs.

    Webhooks and APIs come last, because the API server uses them at once.

    Raises:
        DuplicateObjectError: An object occurs twice.
    """
    references = [_reference(document).replace(" - ", " default ") for document in objects]
    if twice := sorted({reference for reference in references if references.count(reference) > 1}):
        raise DuplicateObjectError(
            f"hardway:manifests: these objects are also objects of the lab's own add-ons: {', '.join(twice)}. Turn the "
            "add-on off, or remove the object from the file."
        )
    return sorted(objects, key=lambda document: RANKS.get(document["kind"], len(FIRST_KINDS)))


def _reference(document: Object) -> str:
    """Return the line that identifies an object in `objects`: kind with version and group, namespace, name."""
    group, _, version = document["apiVersion"].rpartition("/")
    metadata = document["metadata"]
    return f"{document['kind']}.{version}.{group} {metadata.get('namespace', '-')} {metadata['name']}"


def _with_ownership_label(document: Object) -> Object:
    metadata = dict(document["metadata"])
    return document | {"metadata": metadata | {"labels": (metadata.get("labels") or {}) | OWNERSHIP_LABEL}}
