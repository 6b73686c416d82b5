"""Manifests in a configuration: files of Kubernetes objects."""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import yaml

from lab.config.problems import Problems
from lab.config.schema import Converter
from lab.config.values import Configuration, Manifest

try:
    # PyYAML's own loader needs ten times as long as libyaml.
    from yaml import CSafeLoader as BaseLoader
except ImportError:
    from yaml import SafeLoader as BaseLoader  # type: ignore[assignment]


class _Loader(BaseLoader):
    """A YAML loader that reads a date as text, as Kubernetes does."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith(":timestamp")]
    for first, resolvers in BaseLoader.yaml_implicit_resolvers.items()
}


def no_project_files(_: str) -> str:
    """Refuse to read a file of the project, because this package reads none.

    Raises:
        ValueError: Always.
    """
    raise ValueError("cannot be read here")


def manifest(read_file: Callable[[str], str]) -> Converter:
    """Return a converter of the place of a manifest into its objects.

    Args:
        read_file: Returns the text of a file. Raises ValueError with an explanation.
    """

    def convert(place: str) -> Manifest:
        return Manifest(place=place, objects=tuple(_objects(read_file(place))))

    return convert


def _objects(text: str) -> Iterator[dict[str, Any]]:
    try:
        documents = list(yaml.load_all(text, Loader=_Loader))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f" in line {mark.line + 1}" if mark else ""
        raise ValueError(f"is not YAML{place}: {getattr(error, 'problem', None) or error}") from None
    for number, document in enumerate(documents, start=1):
        if document is None:
            continue
        is_list = isinstance(document, dict) and document.get("kind") == "List"
        for item in document.get("items") or [] if is_list else [document]:
            if explanation := _object_problem(item):
                raise ValueError(f"has an object, in document {number}, that {explanation}")
            yield item


def _object_problem(document: Any) -> str:
    """Explain why a document is no object with a name. Return an empty string if it is one."""
    if not isinstance(document, dict):
        return "is not a mapping"
    for field, pattern in (("apiVersion", r"([a-z0-9.-]+/)?v[a-z0-9]+"), ("kind", r"[A-Z][A-Za-z0-9]*")):
        if field not in document:
            return f"has no {field}"
        if not isinstance(document[field], str) or not re.fullmatch(pattern, document[field]):
            return f"has an invalid {field}"
    metadata = document.get("metadata")
    if not isinstance(metadata, dict) or not metadata.get("name"):
        return "has no metadata.name"
    for field in ("name", "namespace"):
        value = metadata.get(field, "default")
        if not isinstance(value, str) or not re.fullmatch(r"[^\s/%]+", value):
            return f"has an invalid metadata.{field}"
    if not isinstance(metadata.get("labels", {}), dict):
        return "has labels that are not a mapping"
    return ""


def identity(document: Mapping[str, Any]) -> tuple[str, str, str, str]:
    """Return what identifies an object: the group and kind, the namespace, and the name."""
    metadata = document["metadata"]
    group = document["apiVersion"].rpartition("/")[0]
    return group, document["kind"], metadata.get("namespace", ""), metadata["name"]


def check_manifests(configuration: Configuration, problems: Problems) -> None:
    """Check that no object is in two manifests, and that the lab has its own cluster for them."""
    manifests = configuration.lab.get("manifests", [])
    if manifests and configuration.lab.get("join"):
        problems.add(
            configuration.key("manifests"),
            "has no effect, because the lab joins a cluster; create the objects from the cluster's own lab",
        )
    owners: dict[tuple[str, ...], str] = {}
    for index, each in enumerate(manifests):
        if not isinstance(each, Manifest):
            continue
        for document in each.objects:
            found = identity(document)
            if found in owners:
                problems.add(
                    configuration.key(f"manifests[{index}]"),
                    f"has the object {describe(document)}, which is also in {owners[found]}",
                    each.place,
                )
            owners.setdefault(found, each.place)


def describe(document: Mapping[str, Any]) -> str:
    """Return the kind and name of an object for a message."""
    metadata = document["metadata"]
    namespace = f" in {metadata['namespace']}" if "namespace" in metadata else ""
    return f"{document['kind']} {metadata['name']}{namespace}"
