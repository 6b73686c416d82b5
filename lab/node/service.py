"""What stands on a node, as data: files, binaries, images, and the services that are made of them."""

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import yaml

try:
    # PyYAML's own takes ten times as long, at every run of the program.
    from yaml import CSafeDumper as BaseDumper
except ImportError:
    from yaml import SafeDumper as BaseDumper  # type: ignore[assignment]

from lab.versions import image_reference


class Part(StrEnum):
    """What of a credential a file holds: its halves, or the bootstrap token of the node that it names."""

    CERTIFICATE = "certificate"
    KEY = "key"
    TOKEN = "token"


@dataclass(frozen=True, kw_only=True)
class Credential:
    """The content of a file that the PKI makes: a part of what `lab.pki` lists under that identity.

    Files name what they hold instead of holding it, so that rendering needs no secret and no order.
    """

    identity: str
    part: Part


@dataclass(frozen=True, kw_only=True)
class File:
    """A file on a node.

    content: its text, or the credential that it holds.
    mode: permission bits; only root reads by default.
    owner: `user:group`.
    restarts: whether the service must be restarted to see a change of it.
    transient: whether it is there only until the service is healthy, which starts by it and needs it no more then.
    """

    content: str | Credential
    mode: int = 0o600
    owner: str = "root:root"
    restarts: bool = True
    transient: bool = False

    @property
    def effect(self) -> str:
        """What a change of it does, as a manifest says it."""
        return "transient" if self.transient else "restart" if self.restarts else "keep"


@dataclass(frozen=True, kw_only=True)
class Binary:
    """A program of a certain version, by its name in `lab/versions.toml`."""

    name: str
    version: str


@dataclass(frozen=True, kw_only=True)
class Image:
    """A container image that a node is given, by its name in `lab/versions.toml`."""

    name: str
    version: str


@dataclass(frozen=True, kw_only=True)
class Service:
    """A service on a node: all that makes it up, and nothing else.

    name: also the name of its systemd unit, where it has one.
    files: what stands where.
    binaries: path to the program that stands there.
    tools: path to a program that people or shell programs use and the service does not run: it restarts nothing.
    images: what containerd must hold; its unit `NAME-images.service` imports them, and they never restart anything.
    needs: the services of the same node that must be healthy before this one is applied.
    unit: the unit file's name, None for files that other services read by themselves.
    activation: how the unit takes a change: `restart`, or `reload` for a unit that only applies settings.
    check: shell that fails, saying why, where the staged files cannot be right. `$STAGED` is the folder that they
        stand in, under their full paths; `$CHANGED` the paths of those that differ, a space before and after each.
    health: shell that exits 0 once the service does its work, and otherwise says what it lacks on its output; 3 where
        it never will do its work as it is.
    leave: shell that is run on the node before the service is removed from it.
    """

    name: str
    files: Mapping[str, File]
    binaries: Mapping[str, Binary] = field(default_factory=dict)
    tools: Mapping[str, Binary] = field(default_factory=dict)
    images: tuple[Image, ...] = ()
    needs: tuple[str, ...] = ()
    unit: str | None = None
    activation: str = "restart"
    check: str = "true"
    health: str = "true"
    leave: str = ""

    @property
    def artifacts(self) -> tuple[Binary | Image, ...]:
        """What the node's store must hold for this service."""
        return (*self.binaries.values(), *self.tools.values(), *self.images)

    @property
    def visible_files(self) -> dict[str, str]:
        """The files that hold no credential, path to content: what a preview shows."""
        return {path: file.content for path, file in self.files.items() if isinstance(file.content, str)}

    @property
    def credential_files(self) -> dict[str, Credential]:
        """The files that hold a credential, path to which."""
        return {path: file.content for path, file in self.files.items() if isinstance(file.content, Credential)}


def digest(content: str) -> str:
    """The SHA-256 of a text, in hexadecimal."""
    return hashlib.sha256(content.encode()).hexdigest()


def manifest(
    service: Service, credentials: Callable[[Credential], str], binary_digests: Callable[[Binary | Image], str]
) -> str:
    """One line for each artifact that a service is made of: what the node compares, and what the config hash is over.

    credentials: gives the PEM text of a credential.
    binary_digests: gives the SHA-256 of a binary or image archive.

    The fields of a line are separated by tabs: kind, what a change does, mode, owner, SHA-256, path. Lines are
    sorted, so that equal services have equal manifests.
    """
    lines = [
        _line("file", file.effect, f"{file.mode:04o}", file.owner, digest(_text(file, credentials)), path)
        for path, file in service.files.items()
    ]
    lines += [
        _line("binary", effect, "0755", "root:root", binary_digests(binary), path)
        for effect, binaries in (("restart", service.binaries), ("keep", service.tools))
        for path, binary in binaries.items()
    ]
    lines += [
        _line("image", "keep", "-", "-", binary_digests(image), image_reference(image.name)) for image in service.images
    ]
    return "".join(sorted(lines))


def config_hash(manifest_text: str) -> str:
    """The digest over the lines of a manifest whose change restarts the service."""
    return digest("".join(line for line in manifest_text.splitlines(keepends=True) if line.split("\t")[1] == "restart"))


def contents(service: Service, credentials: Callable[[Credential], str]) -> dict[str, str]:
    """Path to content of every file of a service, credentials filled in."""
    return {path: _text(file, credentials) for path, file in service.files.items()}


class _Dumper(BaseDumper):
    """Writes text of several lines as such."""


_OTHER_THAN_TEXT_IN_GO = re.compile(
    r"[yYnN]|[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?0[box][0-9a-fA-F]+"
)
"""What the YAML of Go programs takes for a boolean or a number, and PyYAML in part for text that needs no quotes:
https://github.com/yaml/go-yaml/blob/v2/resolve.go."""


def _represent_text(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    quotes = "'" if _OTHER_THAN_TEXT_IN_GO.fullmatch(text.replace("_", "")) else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else quotes)


_Dumper.add_representer(str, _represent_text)


def to_yaml(*documents: Mapping[str, Any]) -> str:
    """Documents as YAML that a person reads: block style, in the order given."""
    return yaml.dump_all(map(dict, documents), Dumper=_Dumper, sort_keys=False, default_flow_style=False, width=120)


def to_json(document: Mapping[str, Any]) -> str:
    """A configuration document as indented JSON."""
    return json.dumps(document, indent=2) + "\n"


def overlay(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with `over` laid on it: mappings merge key by key, None removes a key, anything else replaces."""
    merged = dict(base)
    # Sorted, so that the text does not depend on where a field was given.
    for key, value in sorted(over.items()):
        below = merged.get(key)
        if value is None:
            merged.pop(key, None)
        elif isinstance(value, Mapping):
            merged[key] = overlay(below if isinstance(below, Mapping) else {}, value)
        else:
            merged[key] = value
    return merged


def _line(*fields: str) -> str:
    return "\t".join(fields) + "\n"


def _text(file: File, credentials: Callable[[Credential], str]) -> str:
    return file.content if isinstance(file.content, str) else credentials(file.content)
