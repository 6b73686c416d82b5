"""The encryption of objects in etcd, and the life of its keys. `assets/node/encryption` explains the steps.

See https://kubernetes.io/docs/tasks/administer-cluster/encrypt-data/.
"""

import base64
import hmac
import re

from lab.node.documents import to_json
from lab.node.paths import PROGRAMS
from lab.node.service import Composition, Credential, File, Part, Service
from lab.node.units import unit, unit_path
from lab.spec import PLAIN_TEXT, Encryption, Spec

SERVICE = "encryption"
"""The name of the service that encrypts existing objects again. It waits for all API servers."""


def encryption_key(master: str, name: str) -> str:
    """Return a key of 32 bytes in base64. Secret.

    Args:
        master: The private key from which all encryption keys of the lab are derived.
        name: The name of the key.
    """
    return base64.b64encode(hmac.digest(master.strip().encode(), f"encryption key {name}".encode(), "sha256")).decode()


def encryption_configuration(encryption: Encryption) -> Composition:
    """Return the API server's EncryptionConfiguration.

    It is JSON, because programs on the node read it with jq.
    """
    document = {
        "apiVersion": "apiserver.config.k8s.io/v1",
        "kind": "EncryptionConfiguration",
        "resources": [
            {"resources": list(encryption.resources), "providers": [_provider(name) for name in encryption.keys]}
        ],
    }
    parts = re.split("@(.*)@", to_json(document))
    return Composition(
        parts=tuple(
            Credential(identity=part, part=Part.ENCRYPTION_KEY) if index % 2 else part
            for index, part in enumerate(parts)
        )
    )


def _provider(name: str) -> dict[str, object]:
    if name == PLAIN_TEXT:
        return {"identity": {}}
    return {"secretbox": {"keys": [{"name": name, "secret": f"@{name}@"}]}}


def encryption_command(verb: str, spec: Spec, *arguments: str) -> str:
    """Return a command of `assets/node/encryption`."""
    prefix = str(spec.flags.kube_apiserver.get("etcd-prefix", "/registry"))
    return " ".join((f"{PROGRAMS}/encryption", verb, f"/{prefix.strip('/')}", *arguments))


def finish_command(spec: Spec) -> str:
    """Return the command that ends a change of the keys on a control plane. It differs whenever the keys do."""
    keys, resources = " ".join(spec.encryption.keys), " ".join(spec.encryption.resources)
    return f"{encryption_command('finish', spec)} # {resources}: {keys}"


def encryption(spec: Spec) -> Service:
    """Return the service that encrypts all objects with the first key, and proves that by reading etcd."""
    wanted = (spec.encryption.keys[0], *spec.encryption.resources)
    return Service(
        name=SERVICE,
        unit="encryption.service",
        needs=("addons",),
        files={
            unit_path("encryption.service"): File(
                content=unit("encryption.service", program=encryption_command("rewrite", spec, *wanted))
            )
        },
        health=encryption_command("prove", spec, *wanted),
    )
