"""How a kubelet gets its client certificate from the cluster: by a bootstrap token of its own, valid for an hour
(https://kubernetes.io/docs/reference/access-authn-authz/kubelet-tls-bootstrapping/)."""

import hashlib
from typing import Any

from lab.node.node_setup import PROGRAMS
from lab.node.rbac import cluster_role_binding, group
from lab.node.service import Credential, File, Part, Service
from lab.node.units import unit, unit_path
from lab.pki import NODES_GROUP
from lab.spec import Node, Spec

GROUP = "system:bootstrappers:hardway"
"""The group that a token makes a kubelet a member of: it may ask for a client certificate, and for nothing else."""

TOKEN_FILE = "/run/hardway/bootstrap-token"
"""Where a node's token stands while its kubelet is applied."""

TOKENS = "/var/lib/node-admission"
"""Where the control plane has the token of each node, under the node's name."""

API_SERVER_FLAGS = {"enable-bootstrap-token-auth": "true"}


def controller_manager_flags(spec: Spec) -> dict[str, str]:
    """The flags by which tokens end in time, and certificates live as long as those that the lab signs."""
    return {
        "controllers": "*,bootstrapsigner,tokencleaner",
        "cluster-signing-duration": f"{spec.certificates.validity}h",
    }


def token_id(node: str) -> str:
    """The part of a node's token that it is told apart by; no secret."""
    return _digest(f"bootstrap token id of {node}")[:6]


def token(key: str, node: str) -> str:
    """A node's token; secret. key: the private key that the tokens of all nodes follow from, each in its own way."""
    return f"{token_id(node)}.{_digest(f'bootstrap token secret of {node} {key}')[:16]}"


def token_file(node: Node, *, transient: bool = False) -> File:
    """A file that holds a node's token."""
    return File(content=Credential(identity=node.name, part=Part.TOKEN), transient=transient)


def node_admission(spec: Spec) -> tuple[Service, ...]:
    """What keeps a token valid for each node until it has joined: on the first control plane, where tokens are used."""
    if not spec.tls_bootstrap:
        return ()
    return (
        Service(
            name="node-admission",
            unit="node-admission.service",
            needs=("cluster-objects",),
            files={
                unit_path("node-admission.service"): File(
                    content=unit("node-admission.service", program=f"{PROGRAMS}/node-admission {TOKENS} {GROUP}")
                ),
                **{f"{TOKENS}/{node.name}": token_file(node) for node in spec.kubelets},
            },
        ),
    )


def access() -> list[dict[str, Any]]:
    """The objects by which kubelets with a token get a certificate, and those with a certificate the next one."""
    bootstrappers, nodes = group(GROUP), group(NODES_GROUP)
    requests = "system:certificates.k8s.io:certificatesigningrequests"
    return [
        cluster_role_binding("hardway:bootstrappers-request-certificates", "system:node-bootstrapper", bootstrappers),
        cluster_role_binding("hardway:first-certificates-are-approved", f"{requests}:nodeclient", bootstrappers),
        cluster_role_binding("hardway:next-certificates-are-approved", f"{requests}:selfnodeclient", nodes),
    ]


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
