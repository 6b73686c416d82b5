"""Image archives in a configuration: converters of their keys, and the rules about them."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from lab.config.problems import Problems
from lab.config.schema import Converter
from lab.config.values import Configuration, IncompleteObject
from lab.spec import GivenImage
from lab.versions import image_reference, images

_COMPONENT = r"[a-z0-9]+([._-]+[a-z0-9]+)*"
_NAME = re.compile(
    rf"(?P<host>[a-z0-9][a-z0-9.-]*(:[0-9]+)?)/(?P<path>{_COMPONENT}(/{_COMPONENT})*):[A-Za-z0-9_][A-Za-z0-9_.-]{{0,127}}"
)

VERSION_KEYS = {"coredns": "coreDns"}
"""The key under `versions` for each image whose version can be configured."""


def _name(text: str) -> str:
    """Check the full name of an image, with registry and tag (https://github.com/distribution/reference)."""
    if _is_full_name(text):
        return text
    hub = "docker.io" if "/" in text else "docker.io/library"
    completed = next(filter(_is_full_name, (f"{hub}/{text}", f"{text}:latest")), "")
    hint = f"; did you mean {completed}?" if completed else ", such as docker.io/library/nginx:1.29"
    raise ValueError(f"must be the full name of an image with its registry and tag{hint}")


def _is_full_name(text: str) -> bool:
    match = _NAME.fullmatch(text)
    return bool(match and (match["host"] == "localhost" or set(".:") & set(match["host"])))


def _archive(text: str) -> str:
    place, separator, digest = text.partition("#sha256=")
    scheme, is_url, _ = place.partition("://")
    if not place or re.search(r"\s", text):
        raise ValueError("must be a path or URL without spaces")
    if is_url and scheme not in ("http", "https"):
        raise ValueError("must be a path, or a URL that begins with http:// or https://")
    if separator and not re.fullmatch(r"[0-9a-f]{64}", digest):
        raise ValueError("must have 64 hexadecimal digits after #sha256=, as `sha256sum` prints them")
    if is_url and not separator:
        raise ValueError("must have #sha256=… at its end, so that every node gets the same image")
    return text


def _image(fields: Mapping[str, Any]) -> GivenImage:
    return GivenImage(name=fields["name"], archive=fields["archive"])


_ENTRY: Mapping[str, Converter] = {".name": _name, ".archive": _archive, "": _image}

CONVERTERS: Mapping[str, Converter] = {
    f"{scope}images[]{key}": converter
    for scope in ("", "controlPlanes[].", "workers[].")
    for key, converter in _ENTRY.items()
}
"""The converters of the keys under `images`, of the lab and of a node."""


def merge_images(
    lab: Sequence[GivenImage | IncompleteObject], node: Sequence[GivenImage | IncompleteObject]
) -> tuple[GivenImage, ...]:
    """Return the images of a node, sorted by name. A node's image replaces the lab's with the same name."""
    merged = {image.name: image for image in (*lab, *node) if isinstance(image, GivenImage)}
    return tuple(image for _, image in sorted(merged.items()))


def check_images(configuration: Configuration, problems: Problems) -> None:
    """Check that no list has an image twice, and that no image replaces one that the lab itself brings."""
    versions = configuration.lab.get("versions", {})
    own = {image_reference(name, versions.get(VERSION_KEYS.get(name, ""), "")) for name in images()}
    scopes = [(configuration.key(""), configuration.lab), *((f"{key}.", node) for key, node in configuration.nodes)]
    for prefix, values in scopes:
        indexes: dict[str, int] = {}
        for index, image in enumerate(values.get("images", [])):
            if not isinstance(image, GivenImage):
                continue
            key = f"{prefix}images[{index}].name"
            if image.name in own:
                problems.add(key, "is the name of an image that the lab itself brings; choose another name", image.name)
            if image.name in indexes:
                problems.add(
                    key, f"is also the name of images[{indexes[image.name]}]; remove one of the two", image.name
                )
            indexes.setdefault(image.name, index)
