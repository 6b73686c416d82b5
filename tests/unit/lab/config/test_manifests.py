"""Manifests: files of Kubernetes objects that the configuration names."""

from collections.abc import Mapping
from typing import Any

import pytest

from lab.config.parse import ConfigurationError, parse
from lab.spec import Spec

FILE = """
apiVersion: v1
kind: ConfigMap
metadata: {name: a, namespace: team}
data: {day: 2026-11-27, flag: "yes"}
---
---
apiVersion: v1
kind: List
items:
- {apiVersion: example.com/v1, kind: Thing, metadata: {name: b}}
"""


def read(files: Mapping[str, str], *places: str, **other: Any) -> Spec:
    """Parse a configuration with manifests."""

    def read_file(place: str) -> str:
        if place not in files:
            raise ValueError("cannot be read: No such file or directory")
        return files[place]

    return parse({"manifests": list(places), **other}, read_file=read_file)


def test_objects_of_all_files_are_read() -> None:
    config_map, thing = read({"a.yaml": FILE}, "a.yaml").addons.manifests
    assert (config_map["kind"], thing["kind"]) == ("ConfigMap", "Thing")
    assert config_map["data"] == {"day": "2026-11-27", "flag": "yes"}


def object_(**fields: Any) -> str:
    return str({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, **fields})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "cannot be read: No such file"),
        ("a: [", "is not YAML in line "),
        ("- a", "in document 1, that is not a mapping"),
        ("---\n" + object_() + "\n---\nkind: Pod\n", "in document 2, that has no apiVersion"),
        (object_(apiVersion=1), "has an invalid apiVersion"),
        (object_(kind="config map"), "has an invalid kind"),
        (object_(metadata={"generateName": "a-"}), "has no metadata.name"),
        (object_(metadata={"name": "a b"}), "has an invalid metadata.name"),
        (f"{object_()}\n---\n{object_()}", "has the object ConfigMap a, which is also in a.yaml"),
    ],
)
def test_nonsense_is_refused(text: str | None, message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        read({} if text is None else {"a.yaml": text}, "a.yaml")
    assert message in str(caught.value)
    assert "manifests[0]" in str(caught.value)
