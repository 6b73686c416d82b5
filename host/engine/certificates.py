"""The certificates of a stack that can be renewed before their time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from host.engine.urns import resource_name
from system.errors import HostError

SIGNED = "tls:index/locallySignedCert:LocallySignedCert"
"""The type of the certificates that the lab signs."""
_OWN = ("etcd", "kubelet")
"""The services whose certificate is that of one node. `lab.pki` names it after both."""


def renewable(deployment: Mapping[str, Any], nodes: Sequence[str]) -> list[str]:
    """Return the URNs of certificates that the lab has signed, except those of authorities.

    Args:
        deployment: The state of the stack, as `pulumi stack export` prints it.
        nodes: Names of nodes, for the certificates that only one of them has. Empty for all certificates.

    Raises:
        HostError: There is no such certificate.
    """
    urns = {
        resource_name(resource["urn"]): resource["urn"]
        for resource in deployment.get("resources") or ()
        if resource["type"] == SIGNED
    }
    if not urns:
        raise HostError("The stack has no certificate that the lab has signed, so there is nothing to renew.")
    if not nodes:
        return list(urns.values())
    found = {node: [urns[name] for service in _OWN if (name := f"{service}-{node}") in urns] for node in nodes}
    if without := [node for node, own in found.items() if not own]:
        having = sorted({name.partition("-")[2] for name in urns if name.partition("-")[0] in _OWN})
        raise HostError(
            f"The lab has signed no certificate only for {' and '.join(without)}. Nodes with such a certificate: "
            f"{', '.join(having) or 'none'}. Without names, --renew renews every certificate."
        )
    return [urn for own in found.values() for urn in own]
