"""A service on a node: the same mechanism for containerd, kubelet, kube-proxy, etcd and all others."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import pulumi

from components.archive import Link, Packed, archive
from components.connection import Connection, Script
from components.drain import Drain
from components.pki import Pki
from components.preview import CONFIG_HASH, STATE_FILES, RestartAnnouncement
from components.rollout import Rollout
from lab.node.paths import PROGRAMS, STORE
from lab.node.service import (
    Artifact,
    Composition,
    Part,
    Service,
    config_hash,
    contents,
    digest,
    manifest,
)
from lab.secrets import hidden_texts, keyed_fingerprint, occurs_in


@dataclass(frozen=True, kw_only=True)
class NodeServiceArgs:
    """Arguments of `NodeService`.

    Attributes:
        node: Name of the node.
        service: The service.
        connection: Connection to the node.
        pki: Gives the credentials of the service.
        digests: SHA-256 of each binary and image of the service.
        fingerprint_key: Key of the fingerprints of everything that contains a secret; secret.
        timeout: Seconds within which the service must be healthy.
        announcement: Reports in a preview what a change does.
        rollout: Limits how many nodes restart the service at a time; None for no limit.
        drain: Drains the node during a change that its pods do not survive; None if the pods always stay.
        repair: A new value applies the service again, because it differs on the node.
        cluster: ID of the etcd cluster, for a service that follows it; None if the lab does not know it.
        after: Command that runs before the service is applied. When it is recreated, the service is applied again.
        depends_on: Resources that must exist before the service is applied.
    """

    node: str
    service: Service
    connection: Connection
    pki: Pki
    digests: Mapping[Artifact, str]
    fingerprint_key: pulumi.Output[str]
    timeout: int
    announcement: RestartAnnouncement
    rollout: Rollout | None = None
    drain: Drain | None = None
    repair: str = ""
    cluster: pulumi.Output[str] | None = None
    after: pulumi.CustomResource | None = None
    depends_on: Sequence[pulumi.Resource] = field(default=())


class NodeService(pulumi.ComponentResource):
    """Applies a service with `assets/node/service`, and removes it from the node when it leaves the program.

    The inputs of the component are for people: files, fingerprints of credentials, versions of binaries. The payload
    travels in the command beside it, which shows nothing. The component waits for the command, so that a failed
    change is not recorded and the next preview shows it again.

    Attributes:
        manifest_digest: SHA-256 of the manifest, or its keyed fingerprint if a file contains a secret.
        command: Command that applies the service.
    """

    def __init__(self, name: str, args: NodeServiceArgs, opts: pulumi.ResourceOptions) -> None:
        service = args.service
        sealed, state_files = _seal(args), _shown_state_files(args)
        self.manifest_digest = pulumi.Output.unsecret(sealed.apply(lambda each: each.digest))
        remove = f"{PROGRAMS}/service remove {service.name}"
        hooks = args.rollout.hooks(name, args.node, service, args.drain) if args.rollout else None
        self.command = args.connection.run(
            name,
            Script(
                create=service.apply or f"{PROGRAMS}/service apply {service.name}",
                delete=f"{service.leave} && {remove}" if service.leave else remove,
                stdin=pulumi.Output.secret(_payload(args, sealed)),
                after=args.after,
                state=pulumi.Output.json_dumps(state_files).apply(digest) if state_files else "",
            ),
            pulumi.ResourceOptions.merge(opts, pulumi.ResourceOptions(depends_on=args.depends_on, hooks=hooks)),
        )
        if args.rollout:
            args.rollout.add(service, self.command)
        announce = args.announcement.hooks(name, args.node, service, drains=args.drain is not None)
        super().__init__(
            "hardway:service:NodeService",
            name,
            _visible_inputs(args)
            | ({STATE_FILES: state_files} if state_files else {})
            | {CONFIG_HASH: pulumi.Output.unsecret(sealed.apply(lambda each: each.config_hash))},
            pulumi.ResourceOptions.merge(opts, pulumi.ResourceOptions(depends_on=[self.command], hooks=announce)),
        )
        self.register_outputs({})


def _visible_inputs(args: NodeServiceArgs) -> dict[str, Any]:
    service = args.service
    binaries, tools = (
        {path: f"{binary.version} SHA256:{args.digests[binary]}" for path, binary in group.items()}
        for group in (service.binaries, service.tools)
    )
    inputs = {
        "files": service.visible_files
        | {path: _shown(content, args.pki) for path, content in service.composed_files.items()},
        "modes": {path: f"{file.mode:04o} {file.owner}" for path, file in service.files.items()},
        "credentials": {path: args.pki.fingerprint(credential) for path, credential in service.credential_files.items()}
        | {path: _fingerprint(args, text) for path, text in service.secret_files.items()},
        "binaries": binaries,
        "tools": tools,
        "images": {
            image.name: f"{image.version or image.archive} SHA256:{args.digests[image]}" for image in service.images
        },
        "settings": _settings(args) | ({"cluster": args.cluster} if args.cluster is not None else {}),
    }
    return {name: value for name, value in inputs.items() if value}


def _shown(content: Composition, pki: Pki) -> pulumi.Output[str]:
    """Return the text of a composition with the fingerprints of its credentials in their place; not secret."""
    return pulumi.Output.concat(*(part if isinstance(part, str) else pki.fingerprint(part) for part in content.parts))


def _shown_state_files(args: NodeServiceArgs) -> dict[str, pulumi.Input[str]]:
    """Return the settings of each state file, or their keyed fingerprint if they contain a secret."""
    service = args.service
    return {
        path: _fingerprint(args, settings) if any(occurs_in(each, settings) for each in service.secrets) else settings
        for path, settings in service.state_files.items()
    }


def _settings(args: NodeServiceArgs) -> dict[str, str]:
    """Return the settings of how the service is applied. A change of them restarts nothing."""
    service = args.service
    return {
        "unit": service.unit or "",
        "activation": service.activation,
        "check": service.check,
        "health": service.health,
        "drift": service.drift,
        "timeout": str(args.timeout),
        "repair": args.repair,
    }


@dataclass(frozen=True, kw_only=True)
class _Sealed:
    """The digests and the payload of a service, which need the texts of its credentials.

    Attributes:
        digest: SHA-256 of the manifest. Keyed like `config_hash` if a file contains a secret, because the state shows
            both.
        config_hash: The config hash.
        parts: Parts of the payload; secret.
    """

    digest: str
    config_hash: str
    parts: Mapping[str, Packed | Link]


def _seal(args: NodeServiceArgs) -> pulumi.Output[_Sealed]:
    """Return the digests and the payload of a service, once its credentials are known."""
    credentials = args.service.credentials
    starts = [args.pki.valid_from(each) for each in credentials if each.part is Part.CERTIFICATE]
    key = [args.fingerprint_key] if args.service.secret_files else []

    def seal(values: Sequence[str]) -> _Sealed:
        texts, values = values[: len(credentials)], values[len(credentials) :]
        starts_of_validity, keys = values[: len(starts)], values[len(starts) :]
        credential_text = dict(zip(credentials, texts, strict=True)).__getitem__
        listing = manifest(args.service, credential_text, args.digests.__getitem__)
        hashed = config_hash(listing)
        files = contents(args.service, credential_text)
        parts = _parts(args, listing, hashed, files, valid_from=max(map(_seconds, starts_of_validity), default=0))
        shown = [digest(listing), hashed]
        for fingerprint_key in keys:
            shown = [keyed_fingerprint(fingerprint_key, text) for text in shown]
        return _Sealed(digest=shown[0], config_hash=shown[1], parts=parts)

    return pulumi.Output.all(*map(args.pki.text, credentials), *starts, *key).apply(seal)


def _seconds(time: str) -> int:
    """Return a time in the format of RFC 3339 as seconds since 1970; 0 for an empty text."""
    return int(datetime.fromisoformat(time).timestamp()) if time else 0


def _fingerprint(args: NodeServiceArgs, text: str) -> pulumi.Output[str]:
    return pulumi.Output.unsecret(args.fingerprint_key.apply(lambda key: keyed_fingerprint(key, text)))


def _payload(args: NodeServiceArgs, sealed: pulumi.Output[_Sealed]) -> pulumi.Output[str]:
    """Return the standard input of `service apply`.

    In a preview that recreates a control plane, the ID of the cluster is unknown, but not the rest.
    """
    if args.cluster is None:
        return sealed.apply(lambda each: archive(each.parts))
    return pulumi.Output.all(sealed, args.cluster).apply(
        lambda known: archive({**known[0].parts, "cluster": Packed(content=known[1].encode())})
    )


def _parts(
    args: NodeServiceArgs, listing: str, hashed: str, files: Mapping[str, str], valid_from: int
) -> dict[str, Packed | Link]:
    """Return the parts of the payload that do not depend on the cluster.

    They are the manifest, the config hash, settings, the time from which the certificates are valid, the settings of
    state files, texts that no message shows, files and links to binaries.
    """
    service = args.service
    return (
        {"manifest": Packed(content=listing.encode()), "config-hash": Packed(content=hashed.encode())}
        | {name: Packed(content=text.encode()) for name, text in _settings(args).items()}
        | {"valid-from": Packed(content=str(valid_from).encode())}
        | (
            {"state-files": Packed(content=_lines(map("\t".join, service.state_files.items())))}
            if service.state_files
            else {}
        )
        | ({"secrets": Packed(content=_lines(hidden_texts(service.secrets)))} if service.secrets else {})
        | {
            f"root{path}": Packed(content=files[path].encode(), mode=file.mode, owner=file.owner)
            for path, file in service.files.items()
        }
        | {
            f"root{path}": Link(target=f"{STORE}/{args.digests[binary]}")
            for path, binary in [*service.binaries.items(), *service.tools.items()]
        }
    )


def _lines(texts: Iterable[str]) -> bytes:
    return "".join(f"{text}\n" for text in texts).encode()
