"""The keys of the configuration that encrypt objects in etcd."""

import re
from collections.abc import Mapping, Sequence

from lab.config.schema import Converter, distinct
from lab.spec import ENCRYPTABLE_RESOURCES, Encryption


def _key_name(name: str) -> str:
    """Check the name of a key. In etcd, a colon ends it."""
    if not re.fullmatch(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", name):
        raise ValueError(
            "must be a name of a-z, 0-9 and -, such as key-2. The lab generates the key itself. identity means no "
            "encryption"
        )
    return name


def _resource(name: str) -> str:
    if name not in ENCRYPTABLE_RESOURCES:
        raise ValueError(f"must be one of {', '.join(ENCRYPTABLE_RESOURCES)}")
    return name


def _distinct(values: Sequence[str]) -> tuple[str, ...]:
    return distinct(values, ". To store objects without encryption, set `keys` to [identity]")


CONVERTERS: Mapping[str, Converter] = {
    "encryption.keys[]": _key_name,
    "encryption.keys": _distinct,
    "encryption.resources[]": _resource,
    "encryption.resources": _distinct,
    "encryption": lambda fields: Encryption(**fields),
}
"""The converter of each key."""
