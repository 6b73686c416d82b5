"""The signing keys of certificate authorities and of service account tokens in a configuration."""

import re
from collections.abc import Mapping, Sequence
from typing import cast

from lab.config.problems import Problems
from lab.config.schema import Converter, distinct, project
from lab.config.values import Configuration, LabValues
from lab.pki import SERVICE_ACCOUNTS, Authority, authority_identity

AUTHORITIES = {
    "kubernetes": authority_identity(Authority.KUBERNETES),
    "etcd": authority_identity(Authority.ETCD),
    "frontProxy": authority_identity(Authority.FRONT_PROXY),
}
"""The configuration keys below `certificateAuthorities`, and the names of the authorities in `lab.pki.ISSUERS`."""


def _key_name(name: str) -> str:
    if not re.fullmatch(r"[a-z0-9]([-a-z0-9]{0,30}[a-z0-9])?", name):
        raise ValueError(
            "must be a name of at most 32 of a-z, 0-9 and -, such as ca-2. The lab generates the key itself"
        )
    return name


def _key_names(names: Sequence[str]) -> tuple[str, ...]:
    return distinct(names, ", because the lab signs with the first key")


CONVERTERS: Mapping[str, Converter] = {
    **{f"certificateAuthorities.{key}[]": _key_name for key in AUTHORITIES},
    **{f"certificateAuthorities.{key}": _key_names for key in AUTHORITIES},
    "serviceAccountKeys[]": _key_name,
    "serviceAccountKeys": _key_names,
}
"""The converter of each configuration key."""


def check_issuers(configuration: Configuration, problems: Problems) -> None:
    """Check that a lab that joins a cluster has no signing keys, because the cluster signs certificates and tokens."""
    if configuration.lab.get("join") is None:
        return
    lab, schema = configuration.lab, project().schema
    authorities = schema["certificateAuthorities"].properties
    given: dict[str, tuple[object, object]] = {
        f"certificateAuthorities.{key}": (names, authorities[key].default)
        for key, names in lab.get("certificateAuthorities", {}).items()
    }
    given["serviceAccountKeys"] = lab.get("serviceAccountKeys"), schema["serviceAccountKeys"].default
    for key, (names, default) in given.items():
        if isinstance(names, tuple) and list(names) != default:
            problems.add(
                configuration.key(key),
                "configures control planes, but a lab that joins a cluster has none; remove it",
                list(names),
            )


def build_issuers(lab: LabValues) -> dict[str, tuple[str, ...]]:
    """Return the names of the signing keys of each issuer from values that have no problem."""
    authorities = cast(Mapping[str, tuple[str, ...]], lab["certificateAuthorities"])
    return {name: authorities[key] for key, name in AUTHORITIES.items()} | {SERVICE_ACCOUNTS: lab["serviceAccountKeys"]}
