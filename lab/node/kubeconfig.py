"""Kubeconfig files: where the API server is, whom to trust, and who one is."""

import base64
from collections.abc import Mapping
from typing import Any

from lab.node.documents import to_yaml


def with_paths(*, server: str, authority: str, certificate: str, key: str, user: str) -> str:
    """A kubeconfig that names the files of its credentials, so that it holds no secret and outlives a renewal.

    server: the URL of the API server; authority, certificate, key: paths on the node; user: a name for the entry.
    """
    return _kubeconfig(
        server,
        {"certificate-authority": authority},
        user,
        {"client-certificate": certificate, "client-key": key},
    )


def with_token_file(*, server: str, authority: str, token: str, user: str) -> str:
    """A kubeconfig that names the file of a token, so that it holds no secret either; arguments as above."""
    return _kubeconfig(server, {"certificate-authority": authority}, user, {"tokenFile": token})


def embedded(*, server: str, texts: Mapping[str, str], user: str, cluster: str) -> str:
    """A kubeconfig that carries its credentials, for use away from the nodes. Secret.

    texts: the PEM texts of `authority`, `certificate` and `key`; cluster, user: names for the entries.
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
