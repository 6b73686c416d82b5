"""The registries that containerd pulls images from: a folder with a `hosts.toml` for each.

containerd reads the folder at every pull, so a change restarts nothing:
https://github.com/containerd/containerd/blob/main/docs/hosts.md.
"""

import base64
from typing import Any

import tomli_w

from lab.node import paths
from lab.node.service import File
from lab.spec import ANY_REGISTRY, Registry

DOCKER_HUB = "docker.io"
"""Docker Hub in the names of images."""

DOCKER_HUB_SERVER = "https://registry-1.docker.io"
"""The URL of Docker Hub, the only registry whose host differs from its name."""

AUTHORITY = "ca.crt"
"""The name of the file with the authorities of a registry, in the registry's folder."""


def registry_files(registries: tuple[Registry, ...]) -> dict[str, File]:
    """Return the files of all registries by path."""
    files = {}
    for registry in registries:
        host = "_default" if registry.host == ANY_REGISTRY else registry.host
        folder = f"{paths.CONTAINERD_REGISTRIES}/{host}"
        # Secret even if the configuration has the password in plain text.
        files[f"{folder}/hosts.toml"] = File(
            content=tomli_w.dumps(_hosts(registry)), restarts=False, secret=bool(registry.password)
        )
        if registry.certificate_authority:
            files[f"{folder}/{AUTHORITY}"] = File(content=registry.certificate_authority, mode=0o644, restarts=False)
    return files


def _hosts(registry: Registry) -> dict[str, Any]:
    """Return the content of `hosts.toml`: the mirrors before the registry itself, or only settings of the registry."""
    settings: dict[str, Any] = {"capabilities": list(registry.capabilities)}
    if registry.certificate_authority:
        settings["ca"] = AUTHORITY
    if registry.skip_verify:
        settings["skip_verify"] = True
    if registry.override_path:
        settings["override_path"] = True
    if registry.username:
        # hosts.toml has no field for credentials. containerd also sends the header to a registry's token server.
        credentials = base64.b64encode(f"{registry.username}:{registry.password}".encode()).decode()
        settings["header"] = {"Authorization": f"Basic {credentials}"}
    if not registry.mirrors:
        server = DOCKER_HUB_SERVER if registry.host == DOCKER_HUB else f"https://{registry.host}"
        return {"server": server, **settings}
    return {"host": dict.fromkeys(registry.mirrors, settings)}
