"""The file tree of the nodes: each file of each service with its mode, and a listing of the services."""

import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lab.node.paths import PROGRAMS, PROGRAMS_ENVIRONMENT, node_environment
from lab.node.service import Composition, Credential, File, Service
from system.errors import HardwayError
from system.files import CHECKOUT

MARKER = ".hardway-render"
"""Name of the file that lists the entries that this program wrote into the folder."""

LISTING = "services"
"""Name of the file in a node's folder that lists the node's services."""

NODE_PROGRAMS = CHECKOUT / "assets" / "node"


class FolderError(HardwayError):
    """The folder cannot be written. The message says why and what to do."""


@dataclass(frozen=True)
class ServicePart:
    """A part of a service.

    Attributes:
        kind: `file`, `secret`, `credential`, `composition`, `binary`, `tool` or `image`.
        effect: Effect of a change, see `lab.node.service.File.effect`.
        mode: Permission bits in octal, `-` for an image.
        owner: `user:group`, `-` for an image.
        path: Path on the node, or the reference of an image.
        source: The credentials, or the program or image with its version. Empty for a plain file.
    """

    kind: str
    effect: str
    mode: str
    owner: str
    path: str
    source: str = ""


def entries(service: Service) -> Iterator[ServicePart]:
    """Yield every file, binary, tool and image of a service."""
    for path, file in service.files.items():
        kind, source = ("secret", "text with a secret") if file.secret else ("file", "")
        if isinstance(file.content, Credential):
            kind, source = "credential", _source(file.content)
        elif isinstance(file.content, Composition):
            kind, source = "composition", ", ".join(map(_source, file.content.credentials))
        yield ServicePart(kind, file.effect, f"{file.mode:04o}", file.owner, path, source)
    for kind, effect, programs in (("binary", "restart", service.binaries), ("tool", "keep", service.tools)):
        for path, binary in programs.items():
            yield ServicePart(kind, effect, f"{binary.mode:04o}", "root:root", path, f"{binary.name} {binary.version}")
    for image in service.images:
        yield ServicePart("image", "keep", "-", "-", image.reference, f"{image.name} {image.version}".strip())


def _source(credential: Credential) -> str:
    return f"{credential.part} of {credential.identity}"


def describe(service: Service) -> dict[str, Any]:
    """Return a service as the JSON document of this program shows it."""
    return {
        "name": service.name,
        "unit": service.unit,
        "activation": service.activation,
        "needs": list(service.needs),
        "entries": [asdict(entry) for entry in entries(service)],
    }


def text_of(file: File) -> str:
    """Return the content of a file with the names of credentials in their place, or a line that says it is secret."""
    if file.secret:
        return "(Placeholder: text with a secret)\n"
    if isinstance(file.content, Composition):
        return "".join(map(_part_text, file.content.parts))
    return _part_text(file.content) if isinstance(file.content, str) else f"{_part_text(file.content)}\n"


def _part_text(part: str | Credential) -> str:
    return part if isinstance(part, str) else f"(Placeholder: {_source(part)})"


def listing(services: Iterable[Service]) -> str:
    """Return a node's services as text: per service one line about its unit and one line for each part.

    Each line starts with the service's name, so that grep finds all of it.
    """
    lines = ["# SERVICE  KIND  EFFECT  MODE  OWNER  PATH  SOURCE"]
    for service in services:
        effect = f"a change {'reloads' if service.activation == 'reload' else 'restarts'} it"
        unit = f"{service.unit} ({effect})" if service.unit else "none"
        lines.append(f"{service.name}  unit  {unit}  needs: {', '.join(service.needs) or 'nothing'}")
        lines += ["  ".join((service.name, *filter(None, asdict(entry).values()))) for entry in entries(service)]
    return "\n".join(lines) + "\n"


def write(folder: Path, nodes: Mapping[str, Iterable[Service]]) -> None:
    """Write the files of the nodes, each node in a subfolder of its name.

    Args:
        folder: New or empty folder, or one that this function wrote, whose contents are replaced.
        nodes: Services by node.

    Raises:
        FolderError: The folder holds files that this function did not write, or cannot be written.
    """
    try:
        _clear(folder)
        folder.mkdir(parents=True, exist_ok=True)
        # Written first, so that an interrupted run can be repeated.
        (folder / MARKER).write_text("".join(f"{name}\n" for name in nodes))
        for name, services in nodes.items():
            _write_node(folder / name, list(services))
    except OSError as error:
        raise FolderError(f"{error.filename or folder} cannot be written: {error.strerror}") from None


def _clear(folder: Path) -> None:
    if folder.is_dir():
        existing = {path.name for path in folder.iterdir()}
        marker = folder / MARKER
        written = {MARKER, *marker.read_text().splitlines()} if marker.is_file() else set()
        others = sorted(existing - written)
        if others:
            shown = ", ".join(others[:3]) + (", ..." if len(others) > 3 else "")
            raise FolderError(
                f"{folder} holds files that render did not write ({shown}). Choose a new or an empty folder."
            )
        for name in existing - {MARKER}:
            shutil.rmtree(folder / name)


def _write_node(folder: Path, services: list[Service]) -> None:
    for service in services:
        for path, file in service.files.items():
            _write_file(folder / path.lstrip("/"), text_of(file).encode(), file.mode)
    for path, content in _node_programs().items():
        _write_file(folder / path.lstrip("/"), content, 0o755 if content.startswith(b"#!") else 0o644)
    _write_file(folder / LISTING, listing(services).encode(), 0o644)


def _node_programs() -> dict[str, bytes]:
    """Return the shell programs that every node gets, and the file with the constants that they use, by path."""
    programs = {f"{PROGRAMS}/{program.name}": program.read_bytes() for program in sorted(NODE_PROGRAMS.iterdir())}
    return {**programs, PROGRAMS_ENVIRONMENT: node_environment().encode()}


def _write_file(path: Path, content: bytes, mode: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # Two services may share a file, and its mode may forbid writing.
    path.unlink(missing_ok=True)
    path.write_bytes(content)
    path.chmod(mode)
