"""Kubeconfig files: the API server's URL, the authority to trust, and the client's credentials."""

import base64
from collections.abc import Mapping
from typing import Any

from lab.node.documents import to_yaml


def with_paths(*, server: str, authority: str, certificate: str, key: str, user: str) -> str:
    """Return a kubeconfig that refers to its credentials by path.

    It holds no secret and stays the same when a certificate is renewed.

    Args:
        server: The URL of the API server.
        authority: The path of the authority's certificate on the node.
        certificate: The path of the client certificate on the node.
        key: The path of the client key on the node.
        user: The name of the user entry.
    """
    return _kubeconfig(
        server,
        {"certificate-authority": authority},
        user,
        {"client-certificate": certificate, "client-key": key},
    )


def with_token_file(*, server: str, authority: str, token: str, user: str) -> str:
    """Return a kubeconfig that refers to a token by path, so that it holds no secret.

    Args:
        server: The URL of the API server.
        authority: The path of the authority's certificate on the node.
        token: The path of the token on the node.
        user: The name of the user entry.
    """
    return _kubeconfig(server, {"certificate-authority": authority}, user, {"tokenFile": token})


def embedded(*, server: str, texts: Mapping[str, str], user: str, cluster: str) -> str:
    """Return a kubeconfig that contains its credentials, for use away from the nodes. Secret.

    Args:
        server: The URL of the API server.
        texts: The PEM texts of `authority`, `certificate` and `key`.
        user: The name of the user entry.
        cluster: The name of the cluster entry and of the context.
    """
    data = {name: base64.b64encode(text.encode()).decode() for name, text in texts.items()}
    return _kubeconfig(
        server,
        {"certificate-authority-data": data["authority"]},
        user,
        {"client-certificate-data": data["certificate"], "client-key-data": data["key"]},
        cluster,
    )


def _kubeconfig(
    server: str, trust: dict[str, str], user: str, credentials: dict[str, str], cluster: str = "kubernetes"
) -> str:
    document: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": cluster, "cluster": {"server": server, **trust}}],
        "users": [{"name": user, "user": credentials}],
        "contexts": [{"name": cluster, "context": {"cluster": cluster, "user": user}}],
        "current-context": cluster,
    }
    return to_yaml(document)
