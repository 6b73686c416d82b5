"""The API server of a kubeconfig, reached without kubectl: to start a program for each request is too slow."""

import asyncio
import base64
import json
import ssl
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from ops.clients import output
from ops.cluster import NotUpError
from ops.probe.web import Connection, WebClient

MERGE_PATCH = "application/merge-patch+json"


class Api:
    """The API server. It is reached at the address in the kubeconfig, which may be that of a load balancer."""

    def __init__(self, kubeconfig: Path) -> None:
        """Read the kubeconfig.

        Raises:
            CommandError: Its credential plugin fails.
            NotUpError: It is not a kubeconfig with a client certificate, as the lab writes it.
        """
        try:
            document = yaml.safe_load(kubeconfig.read_text())
            cluster, user = document["clusters"][0]["cluster"], document["users"][0]["user"]
            server = urlsplit(cluster["server"])
            authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
            pair = _client_certificate(user)
        except (OSError, ValueError, LookupError, TypeError, yaml.YAMLError) as error:
            raise NotUpError(f"{kubeconfig} has no server with a client certificate: {error!r}") from None
        self._address, self._port = server.hostname or "", server.port or 443
        # It checks the authority and the address. Python's default context also wants extensions that a cluster's own
        # authority need not have.
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._tls.load_verify_locations(cadata=authority)
        # Python reads a client certificate only from a file.
        with tempfile.NamedTemporaryFile(prefix="hardway-probe-") as file:
            file.write(pair.encode())
            file.flush()
            self._tls.load_cert_chain(file.name)

    def client(self) -> WebClient:
        """Return a client with its own connections."""
        return WebClient(self._connect, f"{self._address}:{self._port}")

    async def _connect(self) -> Connection:
        return await asyncio.open_connection(self._address, self._port, ssl=self._tls)


def _client_certificate(user: Mapping[str, Any]) -> str:
    """Return the certificate and key of a user of a kubeconfig, PEM; secret."""
    if plugin := user.get("exec"):
        environment = [f"{variable['name']}={variable['value']}" for variable in plugin["env"]]
        status = json.loads(output(["env", *environment, plugin["command"], *plugin["args"]]))["status"]
        return f"{status['clientCertificateData']}\n{status['clientKeyData']}"
    return "\n".join(base64.b64decode(user[f"client-{name}-data"]).decode() for name in ("certificate", "key"))


async def get_items(client: WebClient, path: str) -> list[dict[str, Any]]:
    """Return the objects of a list in the API."""
    items: list[dict[str, Any]] = json.loads(await client.request("GET", path))["items"]
    return items
