"""The image archives of a configuration: the images of the nodes, and refused configurations."""

from typing import Any

import pytest

from lab.config.parse import ConfigurationError, parse
from lab.node.render import services_of
from lab.node.service import Image
from lab.spec import Spec

NGINX = {"name": "docker.io/library/nginx:1.29", "archive": "images/nginx.tar"}
URL = f"https://files.example/app.tar#sha256={'0' * 64}"
NODE_0 = {"name": "node-0", "address": "10.240.0.20", "podCidr": "10.200.0.0/24"}
NODE_1 = {"name": "node-1", "address": "10.240.0.21", "podCidr": "10.200.1.0/24"}


def archives(spec: Spec, node: str) -> dict[str, str]:
    """Return the images that a node gets from archives: full name to archive."""
    [worker] = [worker for worker in spec.workers if worker.name == node]
    images: list[Image] = [image for service in services_of(spec, worker) for image in service.images if image.archive]
    return {image.reference: image.archive for image in images}


def problems(*images: dict[str, Any]) -> str:
    with pytest.raises(ConfigurationError) as error:
        parse({"images": list(images)})
    return str(error.value)


def test_nodes_have_the_labs_images_and_their_own() -> None:
    app = {"name": "registry.example/app:2", "archive": URL}
    spec = parse({"images": [NGINX], "workers": [NODE_0 | {"images": [app]}, NODE_1]})
    assert archives(spec, "node-0") == {NGINX["name"]: "images/nginx.tar", "registry.example/app:2": URL}
    assert archives(spec, "node-1") == {NGINX["name"]: "images/nginx.tar"}


def test_an_image_of_a_node_replaces_that_of_the_lab() -> None:
    spec = parse({"images": [NGINX], "workers": [NODE_0 | {"images": [NGINX | {"archive": "other.tar"}]}]})
    assert archives(spec, "node-0") == {NGINX["name"]: "other.tar"}


@pytest.mark.parametrize(
    ("image", "message"),
    [
        ({"name": "nginx:1.29"}, 'images[0].name = "nginx:1.29": must be the full name of an image with its registry'),
        ({"name": "nginx:1.29"}, "did you mean docker.io/library/nginx:1.29?"),
        ({"name": "bitnami/nginx:1"}, "did you mean docker.io/bitnami/nginx:1?"),
        ({"name": "ghcr.io/a/b"}, "did you mean ghcr.io/a/b:latest?"),
        ({"name": "no name"}, "such as docker.io/library/nginx:1.29"),
        ({"name": "registry.k8s.io/pause:3.10"}, "is the name of an image that the lab itself brings"),
        ({"archiv": "a.tar"}, "is an unknown key; did you mean archive?"),
        ({"archive": "https://files.example/app.tar"}, "must have #sha256=… at its end"),
        ({"archive": "https://files.example/app.tar#sha256=12"}, "must have 64 hexadecimal digits"),
        ({"archive": "ftp://files.example/app.tar"}, "must be a path, or a URL that begins with http:// or https://"),
        ({"archive": "my file.tar"}, "without spaces"),
    ],
)
def test_wrong_images_are_refused(image: dict[str, Any], message: str) -> None:
    assert message in problems(NGINX | image)


def test_a_name_has_one_archive() -> None:
    message = problems(NGINX, NGINX | {"archive": "other.tar"})
    assert "hardway:images[1].name" in message
    assert "is also the name of images[0]" in message


def test_names_of_the_labs_images_have_the_configured_versions() -> None:
    image = NGINX | {"name": "registry.k8s.io/coredns/coredns:v1.14.0"}
    assert parse({"images": [image]})
    with pytest.raises(ConfigurationError, match="is the name of an image that the lab itself brings"):
        parse({"images": [image], "versions": {"coreDns": "v1.14.0"}})
