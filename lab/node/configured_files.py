"""The files that the configuration puts on a node, as files of the services that they belong to."""

from collections.abc import Iterable
from dataclasses import replace

from lab.node import paths
from lab.node.service import File, Service
from lab.spec import Node
from system.errors import HardwayError


class FileConflictError(HardwayError):
    """A configured file has the path of a file of the lab. The message lists all of them."""


def with_configured_files(services: Iterable[Service], node: Node) -> list[Service]:
    """Return the services of a node with the configured files.

    Raises:
        FileConflictError: A path is that of another file, is inside a file, or is a folder of the lab.
    """
    services = list(services)
    owners = {path: service.name for service in services for path in _paths(service)}
    conflicts = [
        f"{path}: {owner} has {other}"
        for path in node.files
        for other, owner in owners.items()
        if f"{path}/".startswith(f"{other}/") or other.startswith(f"{path}/")
    ]
    if conflicts:
        raise FileConflictError(
            f"The lab itself writes these paths on {node.name}, so files of the configuration cannot have them; "
            "nothing was changed. Choose other paths.\n" + "\n".join(f"  - {conflict}" for conflict in conflicts)
        )
    return [_with_files(service, files) if (files := _files(service, node)) else service for service in services]


def _with_files(service: Service, files: dict[str, File]) -> Service:
    """Return a service with further files, which the node refuses in a folder behind a link."""
    check = f"{paths.PROGRAMS}/check-links {' '.join(files)}"
    return replace(
        service,
        files={**service.files, **files},
        check=f"{check} && {{ {service.check}; }}" if service.check else check,
    )


def _paths(service: Service) -> list[str]:
    return [*service.files, *service.binaries, *service.tools]


def _files(service: Service, node: Node) -> dict[str, File]:
    return {
        path: File(content=file.content, mode=file.mode, owner=file.owner, restarts=file.restarts)
        for path, file in node.files.items()
        if file.service == service.name
    }
