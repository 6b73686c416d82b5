"""Run the program without engine, plugins or nodes, and record every resource that it registers."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pulumi
from google.protobuf import json_format, struct_pb2
from pulumi.runtime import mocks, settings
from pulumi.runtime.proto import resource_pb2

from components.lab import Lab, LabArgs
from lab.node.render import render
from lab.node.service import Artifact
from lab.spec import Spec
from toolchain.vm_image import VmImage

SIGNATURE, SECRET = "4dabf18193072939515e22adb298388d", "1b47061264138c4ac30d75fd1eb44270"
"""Key and value that mark a secret in the engine's protocol (pulumi, sdk/proto, `resource.proto`)."""

HIDDEN = "[secret]"

ACCESS = "command:local:Command access"
"""Identity of the command that writes the access files."""

IMAGE = VmImage(
    disk=Path("disk.qcow2"),
    key="image",
    kernel=Path("kernel"),
    initrd=Path("initrd"),
    command_line={"root": "/dev/vda"},
)

Values = dict[str, Any]


@dataclass(frozen=True, kw_only=True, eq=False)
class Resource:
    """A resource as the program registered it.

    Attributes:
        inputs: Inputs with secrets in plain text.
        shown: Inputs with secrets hidden, as the engine shows them.
        other_types: Types of its aliases.
        other_names: Names of its aliases.
        parent: URN.
        provider: URN and ID of its provider; empty for the default one.
        dependencies: URNs.
        deleted_with: URN.
        replace_with: URNs.
    """

    urn: str
    type: str
    name: str
    custom: bool
    inputs: Values = field(repr=False)
    shown: Values = field(repr=False)
    other_types: frozenset[str]
    other_names: frozenset[str]
    parent: str
    provider: str
    dependencies: frozenset[str] = field(repr=False)
    deleted_with: str
    ignore_changes: frozenset[str]
    delete_before_replace: bool
    replacement_trigger: str
    replace_with: frozenset[str]
    hooks: frozenset[str]

    @property
    def identity(self) -> str:
        """Type and name, which identify the resource independent of its parents."""
        return f"{self.type} {self.name}"

    @property
    def is_command(self) -> bool:
        """True for a command, on this machine or on a node."""
        return self.type.startswith("command:")

    @property
    def of_node(self) -> str:
        """The node of a command: its address, or its name if it runs here. Empty for other resources."""
        return self.address or str(self.inputs.get("environment", {}).get("HARDWAY_NODE", ""))

    @property
    def address(self) -> str:
        """The address of the node that a remote command runs on; empty for other resources."""
        return str(self.inputs["connection"]["host"]) if self.type == "command:remote:Command" else ""


@dataclass(frozen=True, eq=False)
class Program:
    """Everything that one run of the program registered.

    Attributes:
        resources: Resources by URN.
        outputs: Outputs of the stack with secrets in plain text.
        shown_outputs: Outputs of the stack with secrets hidden.
        private: Every private key that was created.
    """

    resources: Mapping[str, Resource]
    outputs: Values
    shown_outputs: Values
    private: frozenset[str]

    def __iter__(self) -> Iterator[Resource]:
        return iter(self.resources.values())

    @cached_property
    def by_identity(self) -> dict[str, Resource]:
        """Every resource by its type and name."""
        return {resource.identity: resource for resource in self}

    @property
    def commands(self) -> list[Resource]:
        """Commands for a node, on this machine or on the node."""
        return [resource for resource in self if resource.is_command and resource.of_node]

    @property
    def pushes(self) -> list[Resource]:
        """Commands for a node that run on this machine."""
        return [command for command in self.commands if not command.address]

    def command(self, name: str) -> Resource:
        """Return the remote command with a name."""
        return self.by_identity[f"command:remote:Command {name}"]

    def of_type(self, type_: str) -> list[Resource]:
        """Return the resources of a type."""
        return [resource for resource in self if resource.type == type_]

    def needed_by(self, resource: Resource) -> set[str]:
        """Return the names of all resources that must exist before a resource, directly or indirectly."""
        seen: set[str] = set()
        waiting = [resource.urn]
        while waiting:
            for urn in self.resources[waiting.pop()].dependencies - seen:
                seen.add(urn)
                waiting.append(urn)
        return {self.resources[urn].name for urn in seen}

    def changed_since(self, earlier: Program) -> set[str]:
        """Return the identities of resources whose inputs differ from those of an earlier program."""
        both = self.by_identity.keys() & earlier.by_identity.keys()
        return {name for name in both if _compared(self.by_identity[name]) != _compared(earlier.by_identity[name])}

    def added_since(self, earlier: Program) -> set[str]:
        """Return the identities of resources that an earlier program does not have."""
        return self.by_identity.keys() - earlier.by_identity.keys()


def _compared(resource: Resource) -> Values:
    return {name: value for name, value in resource.inputs.items() if name not in resource.ignore_changes}


def record(
    spec: Spec,
    *,
    image: VmImage | None = IMAGE,
    digest: Callable[[Artifact], str] | None = None,
    drift: Mapping[tuple[str, str], str] | None = None,
    renewed: Collection[str] = (),
    rolls_back: bool = False,
    **observed: Any,
) -> Program:
    """Return everything that the program registers for a spec.

    Args:
        spec: The lab.
        image: Image that VMs start from.
        digest: Returns the SHA-256 of a binary or image. By default it is derived from name and version.
        drift: Node and service to a value that changes when the service was found to differ.
        renewed: Names of certificates that are signed again, and of commands that print something else.
        rolls_back: True if the program returns to an earlier configuration.
        **observed: Further arguments of the lab: what was observed before the run.
    """
    digest = digest or (lambda artifact: sha256(f"{type(artifact).__name__} {artifact.name} {artifact.version}"))
    asyncio.set_event_loop(asyncio.new_event_loop())
    monitor = Monitor(renewed)
    mocks.set_mocks(monitor.mocks, project="hardway", stack="test", preview=False, monitor=monitor)
    settings.SETTINGS.callbacks = Hooks()
    rendered = render(spec)
    args = LabArgs(
        spec=spec,
        rendered=rendered,
        image=image,
        digests={artifact: digest(artifact) for artifact in rendered.artifacts},
        drift=drift or {},
        rolls_back=rolls_back,
        **observed,
    )
    pulumi.runtime.test(lambda: _run(spec.name, args))()  # type: ignore[no-untyped-call]
    return monitor.program()


def _run(name: str, args: LabArgs) -> None:
    Lab(name, args)


def sha256(text: str) -> str:
    """Return the SHA-256 of a text, in hexadecimal."""
    return hashlib.sha256(text.encode()).hexdigest()


class Hooks:
    """Replaces the server on which the engine calls hooks."""

    def register_resource_hook(self, hook: pulumi.ResourceHook) -> None:
        """Accept a hook that is never called."""

    def register_error_hook(self, hook: pulumi.ErrorHook) -> None:
        """Accept a hook that is never called."""


class Provider(mocks.Mocks):
    """Replaces the plugins. Equal inputs give equal outputs."""

    def __init__(self, renewed: Collection[str]) -> None:
        self._renewed = renewed
        self.private: set[str] = set()

    def call(self, args: mocks.MockCallArgs) -> tuple[dict[Any, Any], list[tuple[str, str]] | None]:
        """Fail, because the program calls no function of a plugin."""
        raise AssertionError(f"unexpected call of {args.token}")

    def new_resource(self, args: mocks.MockResourceArgs) -> tuple[str, dict[Any, Any]]:
        """Return the ID and the outputs of a resource."""
        return f"{args.name}-id", args.inputs | self._outputs(args)

    def _outputs(self, args: mocks.MockResourceArgs) -> Values:
        if args.typ == "tls:index/privateKey:PrivateKey":
            return self._key(args.name)
        if args.typ == "tls:index/certRequest:CertRequest":
            return {"certRequestPem": pem("CERTIFICATE REQUEST", _text(args.inputs))}
        if args.typ in ("tls:index/selfSignedCert:SelfSignedCert", "tls:index/locallySignedCert:LocallySignedCert"):
            return {"certPem": pem("CERTIFICATE", f"{_text(args.inputs)} {args.name in self._renewed}")}
        if args.typ == "command:remote:Command":
            return {"stdout": sha256(f"{_text(args.inputs)} {args.name in self._renewed}")}
        return {}

    def _key(self, name: str) -> Values:
        texts = {
            "privateKeyPem": pem("PRIVATE KEY", f"{name} pem"),
            "privateKeyPemPkcs8": pem("PRIVATE KEY", f"{name} pkcs8"),
            "privateKeyOpenssh": pem("OPENSSH PRIVATE KEY", f"{name} openssh"),
        }
        self.private.update(texts.values())
        return texts | {
            "publicKeyPem": pem("PUBLIC KEY", name),
            "publicKeyOpenssh": f"ssh-ed25519 {sha256(name)}\n",
            "publicKeyFingerprintSha256": f"SHA256:{sha256(name)}",
        }


def pem(kind: str, text: str) -> str:
    """Return something that looks like PEM and is derived from a text."""
    return f"-----BEGIN {kind}-----\n{base64.b64encode(sha256(text).encode()).decode()}\n-----END {kind}-----\n"


def _text(inputs: Values) -> str:
    return repr(sorted(inputs.items()))


class Monitor(mocks.MockMonitor):
    """The engine's side of the protocol. Unlike the SDK's mock, it keeps secrets secret, as the engine does."""

    def __init__(self, renewed: Collection[str]) -> None:
        self._provider = Provider(renewed)
        super().__init__(self._provider)
        self._registered: dict[str, Resource] = {}
        self._outputs: dict[str, struct_pb2.Struct] = {}

    def program(self) -> Program:
        """Return everything that was registered."""
        lab = next(resource for resource in self._registered.values() if resource.type == "hardway:lab:Lab")
        outputs = _plain(self._outputs[lab.urn])
        return Program(
            self._registered,
            _without_secrets(outputs, reveal=True),
            _without_secrets(outputs, reveal=False),
            frozenset(self._provider.private),
        )

    def RegisterResource(  # noqa: N802 - the protocol's name
        self, request: resource_pb2.RegisterResourceRequest
    ) -> resource_pb2.RegisterResourceResponse:
        """Record a resource and return its outputs."""
        response: resource_pb2.RegisterResourceResponse = super().RegisterResource(request)  # type: ignore[no-untyped-call]
        if request.type == "pulumi:pulumi:Stack":
            return response
        inputs = _plain(request.object)
        resource = Resource(
            urn=response.urn,
            type=request.type,
            name=request.name,
            custom=request.custom,
            inputs=_without_secrets(inputs, reveal=True),
            shown=_without_secrets(inputs, reveal=False),
            other_types=frozenset(alias.spec.type for alias in request.aliases if alias.spec.type),
            other_names=frozenset(alias.spec.name for alias in request.aliases if alias.spec.name),
            parent=request.parent,
            provider=request.provider,
            dependencies=frozenset(request.dependencies)
            | {urn for dependencies in request.propertyDependencies.values() for urn in dependencies.urns},
            deleted_with=request.deletedWith,
            ignore_changes=frozenset(request.ignoreChanges),
            delete_before_replace=request.deleteBeforeReplace,
            replacement_trigger=request.replacement_trigger.string_value,
            replace_with=frozenset(request.replace_with),
            hooks=frozenset(
                name
                for kind in ("before_create", "before_update", "after_update")
                for name in getattr(request.hooks, kind)
            ),
        )
        assert resource.urn not in self._registered, f"two resources are {resource.urn}"
        self._registered[resource.urn] = resource
        secret = set(request.additionalSecretOutputs) | {
            name for name, value in inputs.items() if _without_secrets(value, reveal=False) != _without_secrets(value)
        }
        answer = _plain(response.object)
        response.object.CopyFrom(
            json_format.ParseDict(
                {name: _as_secret(value) if name in secret else value for name, value in answer.items()},
                struct_pb2.Struct(),
            )
        )
        return response

    def RegisterResourceOutputs(  # noqa: N802 - the protocol's name
        self, request: resource_pb2.RegisterResourceOutputsRequest
    ) -> Any:
        """Record the outputs of a component."""
        self._outputs[request.urn] = request.outputs
        return super().RegisterResourceOutputs(request)  # type: ignore[no-untyped-call]


def _plain(struct: struct_pb2.Struct) -> Values:
    return dict(json_format.MessageToDict(struct))


def _as_secret(value: Any) -> Values:
    return {SIGNATURE: SECRET, "value": value}


def _without_secrets(value: Any, *, reveal: bool = True) -> Any:
    """Return a value with its secrets in plain text, or hidden."""
    if isinstance(value, dict):
        if value.get(SIGNATURE) == SECRET:
            return _without_secrets(value["value"], reveal=reveal) if reveal else HIDDEN
        return {name: _without_secrets(item, reveal=reveal) for name, item in value.items()}
    if isinstance(value, list):
        return [_without_secrets(item, reveal=reveal) for item in value]
    return value
