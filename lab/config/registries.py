"""Container registries in a configuration: converters of their keys, and the rules about them."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from lab.certificates import pem_bundle
from lab.config.problems import Problems
from lab.config.schema import Converter, optional, suggestion
from lab.config.values import Configuration, IncompleteObject
from lab.spec import ANY_REGISTRY, Registry

CAPABILITIES = ("pull", "resolve", "push")
"""The capabilities of a mirror that containerd knows and a node can use."""

DOCKER_HUB = "docker.io"
"""The registry of images without a registry in their name."""

DOCKER_HUB_HOSTS = ("index.docker.io", "registry-1.docker.io", "registry.hub.docker.com", "hub.docker.com")
"""Other hosts of Docker Hub. No image name begins with one of them once containerd has completed it."""

_URL = re.compile(r"(?:(?P<scheme>[a-z]+)://)?(?P<host>[^/?#]*)(?P<path>[^?#]*)(?P<rest>.*)")
_HOST = re.compile(r"([a-z0-9]([a-z0-9-]*[a-z0-9])?\.)*[a-z0-9]([a-z0-9-]*[a-z0-9])?(:[0-9]{1,5})?")


def _host(text: str) -> str:
    """Check a registry as it is in the name of an image (https://github.com/distribution/reference)."""
    if text == ANY_REGISTRY:
        return text
    if "/" in text:
        host = _url_part(text, "host")
        hint = f", such as {host}" if _HOST.fullmatch(host) else ""
        raise ValueError(f"must be the part of an image's name before the first slash{hint}")
    if text in DOCKER_HUB_HOSTS:
        raise ValueError(f"is not in the names of images; did you mean {DOCKER_HUB}?")
    if not _HOST.fullmatch(text) or not (text == "localhost" or set(".:") & set(text)):
        raise ValueError(
            f"must be the host of a registry with a dot or a port, such as registry.example.com or mirror:5000, or "
            f'"{ANY_REGISTRY}" for every registry without a separate entry'
        )
    return text


def _mirror(text: str) -> str:
    """Check the URL of a mirror, and remove a slash at its end."""
    host = _url_part(text, "host")
    if "@" in host:
        raise ValueError("must not contain credentials; set username and password instead")
    if _url_part(text, "scheme") not in ("http", "https") or not _HOST.fullmatch(host) or _url_part(text, "rest"):
        raise ValueError("must be a URL without credentials and query, such as https://mirror.example.com:5000")
    if not re.fullmatch(r"[A-Za-z0-9._~/-]*", _url_part(text, "path")):
        raise ValueError("must have a path of letters, digits and . _ ~ - /")
    return text.rstrip("/")


def _url_part(text: str, name: str) -> str:
    """Return a part of a URL: `scheme`, `host` with its port, `path`, or the `rest`. It is empty if it is missing."""
    match = _URL.match(text)
    return (match[name] or "") if match else ""


def _capability(text: str) -> str:
    if text not in CAPABILITIES:
        hint = suggestion(text, CAPABILITIES).replace("the known keys are", "the known ones are")
        raise ValueError(f"is not a capability{hint}")
    return text


def _username(text: str) -> str:
    if ":" in text:
        raise ValueError("must not contain a colon, which separates a user name and a password")
    return text


def _password(text: str) -> str:
    if not text.isprintable():
        raise ValueError("must be one line without control characters; a file may end with a newline that is too much")
    return text


def _certificate_authority(text: str) -> str:
    # Parsing certificates loads a library that most labs do not need.
    from lab.config.x509 import certificates

    return pem_bundle(certificates(text))


def _registry(fields: Mapping[str, Any]) -> Registry:
    """Convert an entry of `registries`, whose fields are valid by themselves."""
    mirrors, authority = fields["mirrors"], fields["certificateAuthority"]
    urls = mirrors or [f"https://{fields['host']}"]
    if fields["host"] == ANY_REGISTRY and not mirrors:
        raise ValueError(f'must have mirrors, because "{ANY_REGISTRY}" is not a single registry')
    if bool(fields["username"]) != bool(fields["password"]):
        raise ValueError("must have both a username and a password, or none of them")
    if authority and fields["skipVerify"]:
        raise ValueError("must not have both certificateAuthority and skipVerify; remove skipVerify")
    if (authority or fields["skipVerify"]) and not any(url.startswith("https:") for url in urls):
        raise ValueError("has no https mirror, so certificateAuthority and skipVerify have no effect; remove them")
    if repeated := _repeated(mirrors):
        raise ValueError(f"has the mirror {repeated} twice; remove one of the two")
    return Registry(
        host=fields["host"],
        mirrors=tuple(mirrors),
        certificate_authority=authority or "",
        username=fields["username"],
        password=fields["password"],
        skip_verify=fields["skipVerify"],
        capabilities=tuple(fields["capabilities"]),
        override_path=fields["overridePath"],
    )


def _repeated(values: Sequence[str]) -> str:
    """Return the first value that occurs twice, or an empty string."""
    return next((value for index, value in enumerate(values) if value in values[:index]), "")


_ENTRY: Mapping[str, Converter] = {
    ".host": _host,
    ".mirrors[]": _mirror,
    ".capabilities[]": _capability,
    ".certificateAuthority": optional(_certificate_authority),
    ".username": _username,
    ".password": _password,
    "": _registry,
}

CONVERTERS: Mapping[str, Converter] = {
    f"{scope}registries[]{key}": converter
    for scope in ("", "controlPlanes[].", "workers[].")
    for key, converter in _ENTRY.items()
}
"""The converters of the keys under `registries`, of the lab and of a node."""


def merge_registries(
    lab: Sequence[Registry | IncompleteObject], node: Sequence[Registry | IncompleteObject]
) -> tuple[Registry, ...]:
    """Return the registries of a node, sorted by host. A node's entry replaces the lab's for the same host."""
    merged = {registry.host: registry for registry in (*lab, *node) if isinstance(registry, Registry)}
    return tuple(registry for _, registry in sorted(merged.items()))


def check_registries(configuration: Configuration, problems: Problems) -> None:
    """Check that no list has two entries for one registry, and that the nodes' containerd reads the entries."""
    scopes = [(configuration.key(""), configuration.lab), *((f"{key}.", node) for key, node in configuration.nodes)]
    for prefix, values in scopes:
        indexes: dict[str, int] = {}
        for index, registry in enumerate(values.get("registries", [])):
            if not isinstance(registry, Registry):
                continue
            if registry.host in indexes:
                problems.add(
                    f"{prefix}registries[{index}].host",
                    f"is also the host of registries[{indexes[registry.host]}]; write both as one entry",
                    registry.host,
                )
            indexes.setdefault(registry.host, index)
        images = values.get("containerd", {}).get("plugins")
        images = images.get("io.containerd.cri.v1.images") if isinstance(images, Mapping) else None
        used = configuration.lab.get("registries") or values.get("registries")
        if used and isinstance(images, Mapping) and "registry" in images:
            problems.add(
                f"{prefix}containerd.plugins.io.containerd.cri.v1.images.registry",
                "has settings of registries, which containerd would use instead of registries; remove one of the two",
            )
