"""TLS bootstrap: each kubelet gets its client certificate from the cluster, with a token that is valid for an hour.

See https://kubernetes.io/docs/reference/access-authn-authz/kubelet-tls-bootstrapping/.
"""

import hashlib
from typing import Any

from lab.node.paths import BOOTSTRAP_TOKENS, PROGRAMS
from lab.node.rbac import cluster_role_binding, group
from lab.node.service import Credential, File, Part, Service
from lab.node.units import unit, unit_path
from lab.pki import NODES_GROUP
from lab.spec import Node, Spec

GROUP = "system:bootstrappers:hardway"
"""The group of a kubelet that uses a bootstrap token. Its members may only request a client certificate."""

API_SERVER_FLAGS = {"enable-bootstrap-token-auth": "true"}
"""The API server's flags on a lab with TLS bootstrap."""


def controller_manager_flags(spec: Spec) -> dict[str, str]:
    """Return the controller manager's flags on a lab with TLS bootstrap.

    The controllers delete expired tokens. Certificates that the cluster signs are valid as long as those that the
    lab signs.
    """
    return {
        "controllers": "*,bootstrapsigner,tokencleaner",
        "cluster-signing-duration": f"{spec.certificates.validity}h",
    }


def token_id(node: str) -> str:
    """Return the public part of a node's token, which identifies it."""
    return _digest(f"bootstrap token id of {node}")[:6]


def token(key: str, node: str) -> str:
    """Return a node's token. Secret.

    Args:
        key: The private key from which the tokens of all nodes are derived.
        node: The name of the node.
    """
    return f"{token_id(node)}.{_digest(f'bootstrap token secret of {node} {key}')[:16]}"


def token_file(node: Node, *, transient: bool = False) -> File:
    """Return a file that holds a node's token."""
    return File(content=Credential(identity=node.name, part=Part.TOKEN), transient=transient)


def bootstrap_tokens(spec: Spec) -> tuple[Service, ...]:
    """Return the service that keeps a token valid for each node until the node has joined.

    It runs on the first control plane. A lab without TLS bootstrap has none.
    """
    if not spec.tls_bootstrap:
        return ()
    program = f"{PROGRAMS}/bootstrap-tokens {BOOTSTRAP_TOKENS} {GROUP}"
    return (
        Service(
            name="bootstrap-tokens",
            unit="bootstrap-tokens.service",
            needs=("addons",),
            files={
                unit_path("bootstrap-tokens.service"): File(content=unit("bootstrap-tokens.service", program=program)),
                **{f"{BOOTSTRAP_TOKENS}/{node.name}": token_file(node) for node in spec.kubelets},
            },
        ),
    )


def certificate_access(_: Spec) -> list[dict[str, Any]]:
    """Return the bindings that let kubelets request certificates, and the controller manager approve the requests.

    A kubelet with a token gets its first certificate. A kubelet with a certificate gets the next one.
    """
    bootstrappers, nodes = group(GROUP), group(NODES_GROUP)
    requests = "system:certificates.k8s.io:certificatesigningrequests"
    return [
        cluster_role_binding("hardway:bootstrappers-request-certificates", "system:node-bootstrapper", bootstrappers),
        cluster_role_binding("hardway:first-certificates-are-approved", f"{requests}:nodeclient", bootstrappers),
        cluster_role_binding("hardway:next-certificates-are-approved", f"{requests}:selfnodeclient", nodes),
    ]


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
