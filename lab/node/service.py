"""A service on a node as data: its files, binaries and images, its manifest, and its config hash."""

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import ClassVar

from lab.secrets import occurs_in
from lab.versions import image_reference


class Part(StrEnum):
    """The part of a credential that a file holds.

    It is a certificate, its key, the node's bootstrap token, or a key that encrypts objects in etcd. An authority has a
    bundle of all its trusted certificates, and the certificate that issues. Of a key that signs service account tokens,
    there are also the public key and the `kid` that Kubernetes gives it.
    """

    CERTIFICATE = "certificate"
    ISSUING_CERTIFICATE = "issuing certificate"
    KEY = "key"
    PUBLIC_KEY = "public key"
    KEY_ID = "key ID"
    TOKEN = "token"
    ENCRYPTION_KEY = "encryption key"


@dataclass(frozen=True, kw_only=True)
class Credential:
    """The content of a file that holds a secret or a certificate, by name.

    Files name their credentials instead of holding them. So everything renders without a secret, and in any order.

    Attributes:
        identity: A key of `lab.pki.identities` or of `lab.pki.ISSUERS`, one key of an issuer, the name of the node for
            a token, or the name of an encryption key.
        part: The part of the credential that the file holds.
    """

    identity: str
    part: Part


@dataclass(frozen=True, kw_only=True)
class Composition:
    """The content of a file that has credentials in its text, or several of them.

    Attributes:
        parts: Texts and credentials in the order of the file.
    """

    parts: tuple[str | Credential, ...]

    @property
    def credentials(self) -> tuple[Credential, ...]:
        """The credentials in the order of the file."""
        return tuple(part for part in self.parts if isinstance(part, Credential))


@dataclass(frozen=True, kw_only=True)
class File:
    """A file on a node.

    Attributes:
        content: Text, the credential that the file holds, or a composition of both.
        secret: The text is secret. `lab.node.render` sets it for every file that contains a secret of the lab.
        mode: Permission bits. By default, only root can read the file.
        owner: `user:group`.
        restarts: The service must restart to see a change of this file.
        transient: The service needs the file only to start. It is deleted once the service is healthy.
    """

    content: str | Credential | Composition = field(repr=False)
    secret: bool = False
    mode: int = 0o600
    owner: str = "root:root"
    restarts: bool = True
    transient: bool = False

    @property
    def effect(self) -> str:
        """The effect of a change, as a manifest writes it: `transient`, `restart` or `keep`."""
        return "transient" if self.transient else "restart" if self.restarts else "keep"


@dataclass(frozen=True, kw_only=True)
class Binary:
    """A program in one version.

    Attributes:
        name: Its name in `lab/versions.toml`.
        version: The version, for example `v1.37.2`.
        mode: Its permission bits on a node.
    """

    name: str
    version: str
    mode: ClassVar[int] = 0o755


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """A snapshot of etcd, from which a node restores its data.

    Attributes:
        version: The path of the file, relative to the project's folder.
        name: The kind of the artifact.
        mode: Its permission bits on a node.
    """

    version: str
    name: ClassVar[str] = "snapshot"
    mode: ClassVar[int] = 0o600


@dataclass(frozen=True, kw_only=True)
class Image:
    """A container image that a node imports into containerd.

    Attributes:
        name: Its name in `lab/versions.toml`; or its full name, if the configuration names an archive.
        version: The version of the image; empty with an archive.
        archive: The path or URL of the archive that the configuration names; empty if the toolchain makes the image.
    """

    name: str
    version: str = ""
    archive: str = ""

    @property
    def reference(self) -> str:
        """The full name of the image on the node."""
        return self.name if self.archive else image_reference(self.name, self.version)


Artifact = Binary | Snapshot | Image
"""A file that the toolchain provides and a node keeps in its store."""


@dataclass(frozen=True, kw_only=True)
class Service:
    """A service on a node: everything that it consists of, and nothing else.

    Attributes:
        name: The name of the service, and of its systemd unit if it has one.
        files: Path on the node to file.
        binaries: Path on the node to a program that the service runs.
        tools: Path on the node to a program that only people or shell programs use, or to a snapshot of etcd. A change
            restarts nothing.
        images: Container images that containerd must hold. The unit `NAME-images.service` imports them. A change
            restarts nothing.
        needs: Services of the same node that must be healthy before this one is applied.
        unit: The name of the unit file. None if other services read the files by themselves.
        activation: The way in which the unit applies a change: `restart`, or `reload` for a unit that only applies
            settings.
        check: Shell code that checks the staged files. If they are wrong, it prints the reason and fails.
            `$STAGED` is the folder of the staged files, each under its full path. `$CHANGED` lists the paths of the
            changed files, each with a space before and after it.
        health: Shell code that succeeds if the service is healthy. Otherwise it prints the reason. Exit code 3 means
            that the service cannot become healthy.
        health_timeouts: The number of health timeouts within which the service must be healthy. More than one if it
            waits for services on other nodes, which change in turn.
        drift: Shell code that prints the differences of what the service manages beyond the node's files: a subject, a
            tab and the difference, one a line. `verify-node` runs it.
        follows_cluster: The service keeps what it has read from the API server, so it restarts if the cluster is a new
            one. A kubelet registers its Node only when it starts, and a watch that continues at a revision of the
            former cluster misses everything until the new cluster has reached that revision.
        state_files: Path of a file that the service writes, to the settings under which it writes the file. A service
            that finds its file of other settings does not start. So the node is drained before a change, and the file
            is deleted before the start. A service with default settings has none.
        apply: The command that applies the service, with the payload on its standard input. Empty means
            `assets/node/service apply NAME`.
        leave: Shell code that runs on the node before the service is removed from it.
        secrets: The texts in the files that the node must not show in a message.
    """

    name: str
    files: Mapping[str, File]
    binaries: Mapping[str, Binary] = field(default_factory=dict)
    tools: Mapping[str, Binary | Snapshot] = field(default_factory=dict)
    images: tuple[Image, ...] = ()
    needs: tuple[str, ...] = ()
    unit: str | None = None
    activation: str = "restart"
    check: str = "true"
    health: str = "true"
    health_timeouts: int = 1
    drift: str = ""
    follows_cluster: bool = False
    state_files: Mapping[str, str] = field(default_factory=dict)
    apply: str = ""
    leave: str = ""
    secrets: frozenset[str] = field(default=frozenset(), repr=False)

    @property
    def artifacts(self) -> tuple[Artifact, ...]:
        """The binaries, snapshots and images that the node's store must hold for this service."""
        return (*self.binaries.values(), *self.tools.values(), *self.images)

    @property
    def visible_files(self) -> dict[str, str]:
        """Path to content of the files without a credential or a secret. A preview shows them."""
        return {path: text for path, text in self._texts.items() if not self.files[path].secret}

    @property
    def secret_files(self) -> dict[str, str]:
        """Path to content of the files with a secret text. Secret."""
        return {path: text for path, text in self._texts.items() if self.files[path].secret}

    @property
    def _texts(self) -> dict[str, str]:
        return {path: file.content for path, file in self.files.items() if isinstance(file.content, str)}

    @property
    def credential_files(self) -> dict[str, Credential]:
        """Path to credential of the files that hold only one."""
        return {path: file.content for path, file in self.files.items() if isinstance(file.content, Credential)}

    @property
    def composed_files(self) -> dict[str, Composition]:
        """Path to content of the files that are composed. A preview shows fingerprints in place of the credentials."""
        return {path: file.content for path, file in self.files.items() if isinstance(file.content, Composition)}

    @property
    def credentials(self) -> tuple[Credential, ...]:
        """All credentials in the files, each once."""
        composed = (credential for content in self.composed_files.values() for credential in content.credentials)
        return tuple(dict.fromkeys([*self.credential_files.values(), *composed]))


def hide_secrets(service: Service, secrets: Iterable[str]) -> Service:
    """Return the service with every file marked that contains one of the secret texts."""
    found: set[str] = set()
    files = dict(service.files)
    for path, file in service.files.items():
        inside = {secret for secret in secrets if isinstance(file.content, str) and occurs_in(secret, file.content)}
        if inside:
            files[path] = replace(file, secret=True)
            found |= inside
    return replace(service, files=files, secrets=service.secrets | found) if found else service


def digest(content: str) -> str:
    """Return the SHA-256 of a text, in hexadecimal."""
    return hashlib.sha256(content.encode()).hexdigest()


def manifest(
    service: Service, credential_text: Callable[[Credential], str], artifact_digest: Callable[[Artifact], str]
) -> str:
    """List everything that a service consists of, one line each.

    A line has six fields, separated by tabs: kind, effect of a change, mode, owner, SHA-256, path. Lines are sorted,
    so that equal services have equal manifests. The node compares manifests, and the config hash is computed from one.

    Args:
        service: The service.
        credential_text: Returns the text of a credential: PEM, a bootstrap token, or an encryption key in base64.
        artifact_digest: Returns the SHA-256 of a binary or an image archive.
    """
    lines = [
        _line("file", file.effect, f"{file.mode:04o}", file.owner, digest(_text(file, credential_text)), path)
        for path, file in service.files.items()
    ]
    lines += [
        _line("binary", effect, f"{binary.mode:04o}", "root:root", artifact_digest(binary), path)
        for effect, path, binary in [
            *(("restart", *entry) for entry in service.binaries.items()),
            *(("keep", *entry) for entry in service.tools.items()),
        ]
    ]
    lines += [_line("image", "keep", "-", "-", artifact_digest(image), image.reference) for image in service.images]
    return "".join(sorted(lines))


def config_hash(manifest_text: str) -> str:
    """Return the digest of the manifest lines whose change restarts the service."""
    return digest("".join(line for line in manifest_text.splitlines(keepends=True) if line.split("\t")[1] == "restart"))


def contents(service: Service, credential_text: Callable[[Credential], str]) -> dict[str, str]:
    """Return path to content of every file of a service, with the texts of its credentials. Secret."""
    return {path: _text(file, credential_text) for path, file in service.files.items()}


def _line(*fields: str) -> str:
    return "\t".join(fields) + "\n"


def _text(file: File, credential_text: Callable[[Credential], str]) -> str:
    parts = file.content.parts if isinstance(file.content, Composition) else (file.content,)
    return "".join(part if isinstance(part, str) else credential_text(part) for part in parts)
