"""A service on a node: one mechanism for containerd, kubelet, kube-proxy, etcd and all the others."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pulumi

from components.archive import Link, Packed, archive
from components.connection import Connection
from components.pki import Pki
from components.preview import RestartAnnouncement
from components.rollout import Rollout
from lab.node.paths import PROGRAMS, STORE
from lab.node.service import Binary, Credential, Image, Service, contents, digest, manifest


@dataclass(frozen=True, kw_only=True)
class NodeServiceArgs:
    """node: the node's name. service: what it is made of. timeout: seconds until it must be healthy.

    digests: SHA-256 of each of its binaries and images. rollout: how many nodes at a time may restart it.
    announcer: says in a preview what a change does. repair: changes when the node was found to differ, so that the
    service is applied again. after: what is run before it is applied, and whose successor has it applied again.
    """

    node: str
    service: Service
    connection: Connection
    pki: Pki
    digests: Mapping[Binary | Image, str]
    timeout: int
    announcer: RestartAnnouncement
    rollout: Rollout | None = None
    repair: str = ""
    after: pulumi.CustomResource | None = None
    depends_on: Sequence[pulumi.Resource] = field(default=())


class NodeService(pulumi.ComponentResource):
    """Applies a service to a node by `assets/node/service`, and removes it there when it leaves the program.

    Its inputs are what a person wants to see of a change: the files, the fingerprints of credentials, the versions of
    binaries. What is applied travels with a command beside it, which shows nothing. The component waits for the
    command: what failed is not recorded, and the next preview shows it again.
    """

    def __init__(self, args: NodeServiceArgs, parent: pulumi.Resource) -> None:
        service, name = args.service, f"{args.node}-{args.service.name}"
        credentials = [*dict.fromkeys(service.credential_files.values())]
        texts = pulumi.Output.all(*map(args.pki.text, credentials))

        def listing(texts: Sequence[str]) -> str:
            return manifest(service, _by(credentials, texts), args.digests.__getitem__)

        def payload(texts: Sequence[str]) -> str:
            return _payload(args, listing(texts), contents(service, _by(credentials, texts)))

        self.manifest_digest = pulumi.Output.unsecret(texts.apply(lambda texts: digest(listing(texts))))
        remove = f"{PROGRAMS}/service remove {service.name}"
        self.command = args.connection.run(
            name,
            parent=parent,
            create=f"{PROGRAMS}/service apply {service.name}",
            delete=f"{service.leave} && {remove}" if service.leave else remove,
            after=args.after,
            stdin=pulumi.Output.secret(texts.apply(payload)),
            depends_on=args.depends_on,
            hooks=args.rollout.hooks(name, args.node, service.name) if args.rollout else None,
        )
        super().__init__(
            "hardway:service:NodeService",
            name,
            _visible(args),
            pulumi.ResourceOptions(
                parent=parent, depends_on=[self.command], hooks=args.announcer.hooks(name, args.node, service)
            ),
        )
        self.register_outputs({})


def _visible(args: NodeServiceArgs) -> dict[str, Any]:
    service = args.service
    binaries, tools = (
        {path: f"{binary.version} SHA256:{args.digests[binary]}" for path, binary in group.items()}
        for group in (service.binaries, service.tools)
    )
    images = {image.name: f"{image.version} SHA256:{args.digests[image]}" for image in service.images}
    credentials = {
        path: pulumi.Output.unsecret(args.pki.fingerprint(credential))
        for path, credential in service.credential_files.items()
    }
    modes = {path: f"{file.mode:04o} {file.owner}" for path, file in service.files.items()}
    inputs = {
        "files": service.visible_files,
        "modes": modes,
        "credentials": credentials,
        "binaries": binaries,
        "tools": tools,
        "images": images,
        "settings": _settings(args),
    }
    return {name: value for name, value in inputs.items() if value}


def _settings(args: NodeServiceArgs) -> dict[str, str]:
    """How the service is applied, as opposed to what it is made of; a change of these alone restarts nothing."""
    service = args.service
    return {
        "unit": service.unit or "",
        "activation": service.activation,
        "check": service.check,
        "health": service.health,
        "timeout": str(args.timeout),
        "repair": args.repair,
    }


def _by(credentials: Sequence[Credential], texts: Sequence[str]) -> Callable[[Credential], str]:
    return dict(zip(credentials, texts, strict=True)).__getitem__


def _payload(args: NodeServiceArgs, listing: str, files: Mapping[str, str]) -> str:
    """What `service apply` reads: the manifest, the files, and how to check, activate and ask for health."""
    service = args.service
    return archive(
        {"manifest": Packed(content=listing.encode())}
        | {name: Packed(content=text.encode()) for name, text in _settings(args).items()}
        | {
            f"root{path}": Packed(content=files[path].encode(), mode=file.mode, owner=file.owner)
            for path, file in service.files.items()
        }
        | {
            f"root{path}": Link(target=f"{STORE}/{args.digests[binary]}")
            for path, binary in [*service.binaries.items(), *service.tools.items()]
        }
    )
