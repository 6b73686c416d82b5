"""The documents that the API server reads: their files, flags and versions."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lab.node import paths
from lab.node.documents import to_yaml
from lab.node.service import File
from lab.spec import Node, Spec
from lab.versions import minor

CONFIGURATION_GROUP = "apiserver.config.k8s.io"
POD_SECURITY = {"apiVersion": "pod-security.admission.config.k8s.io/v1", "kind": "PodSecurityConfiguration"}


@dataclass(frozen=True, kw_only=True)
class ApiServerDocument:
    """A document that the API server reads.

    Attributes:
        kind: The kind.
        group: The API group.
        flag: The flag that names the file.
        v1_minor: The first minor version that reads `v1` and not only `v1beta1`.
    """

    kind: str
    group: str
    flag: str
    v1_minor: int = 0

    @property
    def path(self) -> str:
        """The path of the file."""
        return f"{paths.KUBERNETES_CONFIGURATION}/{self.flag.removesuffix('-file')}.yaml"

    def version(self, minor_version: int) -> str:
        """Return the version of the document for a minor version of Kubernetes."""
        return "v1" if minor_version >= self.v1_minor else "v1beta1"


DOCUMENTS: Mapping[str, ApiServerDocument] = {
    "auditPolicy": ApiServerDocument(kind="Policy", group="audit.k8s.io", flag="audit-policy-file"),
    # k8s.io/apiserver, pkg/apis/apiserver/v1/register.go, in each version.
    "authentication": ApiServerDocument(
        kind="AuthenticationConfiguration", group=CONFIGURATION_GROUP, flag="authentication-config", v1_minor=34
    ),
    "authorization": ApiServerDocument(
        kind="AuthorizationConfiguration", group=CONFIGURATION_GROUP, flag="authorization-config", v1_minor=32
    ),
    "admission": ApiServerDocument(
        kind="AdmissionConfiguration", group=CONFIGURATION_GROUP, flag="admission-control-config-file"
    ),
}
"""The documents by their key in `Spec.api_server_documents`."""

REPLACED_FLAGS = {"authorization": ("authorization-mode",)}
"""Key of a document to the lab's flags that it replaces."""


def document_flags(spec: Spec, flags: Mapping[str, str]) -> dict[str, str]:
    """Return the flags of the API server with those of the configured documents.

    Args:
        spec: The lab.
        flags: The lab's other flags.
    """
    configured = spec.api_server_documents
    replaced = {flag for key in configured for flag in REPLACED_FLAGS.get(key, ())}
    if "anonymous" in configured.get("authentication", {}):
        replaced.add("anonymous-auth")
    own = {name: value for name, value in flags.items() if name not in replaced}
    return own | {DOCUMENTS[key].flag: DOCUMENTS[key].path for key in configured}


def document_files(spec: Spec, node: Node) -> dict[str, File]:
    """Return the files of the configured documents by path."""
    return {
        DOCUMENTS[key].path: File(content=to_yaml(_document(key, fields, node)))
        for key, fields in spec.api_server_documents.items()
    }


def _document(key: str, fields: Mapping[str, Any], node: Node) -> dict[str, Any]:
    document = DOCUMENTS[key]
    version = document.version(minor(node.kubernetes_version))
    content = dict(sorted(fields.items()))
    if key == "admission":
        content["plugins"] = [_plugin(plugin) for plugin in fields["plugins"]]
    return {"apiVersion": f"{document.group}/{version}", "kind": document.kind, **content}


def _plugin(plugin: Mapping[str, Any]) -> dict[str, Any]:
    """Return the configuration of an admission plugin. That of PodSecurity gets its version and kind."""
    if plugin["name"] != "PodSecurity":
        return dict(plugin)
    return {**plugin, "configuration": {**POD_SECURITY, **plugin["configuration"]}}
