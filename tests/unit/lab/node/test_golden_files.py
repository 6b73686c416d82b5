"""What stands on each node of each stack, as files that a person can read: tests/golden/."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.node.render import services_of
from lab.node.service import Credential, Service
from lab.spec import Spec
from system.files import CHECKOUT
from tests.support.stacks import NAMES, stack_spec

GOLDEN = CHECKOUT / "tests/golden"


def rendered(spec: Spec) -> Iterator[tuple[Path, str]]:
    """Every file of every node under its path, and for each service a list of all that it is made of."""
    for node in spec.nodes:
        for service in services_of(spec, node):
            yield Path(node.name, f"{service.name}.txt"), _summary(service)
            for path, text in service.visible_files.items():
                yield Path(node.name, path.lstrip("/")), text


def _summary(service: Service) -> str:
    lines = [
        f"unit        {service.unit}",
        f"activation  {service.activation}",
        f"needs       {', '.join(service.needs)}",
        f"check       {service.check}",
        f"health      {service.health}",
        "",
        *(f"{file.mode:04o} {file.owner} {path}{_holds(file.content)}" for path, file in service.files.items()),
        *(f"0755 root:root {path}  <- {binary.name} {binary.version}" for path, binary in service.binaries.items()),
        *(f"image {image.name} {image.version}" for image in service.images),
    ]
    return "".join(f"{line.rstrip()}\n" for line in lines)


def _holds(content: str | Credential) -> str:
    return "" if isinstance(content, str) else f"  <- {content.part} of {content.identity}"


@pytest.mark.parametrize("stack", NAMES)
def test_each_node_gets_exactly_the_files_that_are_checked_in(stack: str, request: pytest.FixtureRequest) -> None:
    expected = GOLDEN / stack
    files = dict(rendered(stack_spec(stack)))
    if request.config.getoption("--update-golden"):
        for path, text in files.items():
            (expected / path).parent.mkdir(parents=True, exist_ok=True)
            (expected / path).write_text(text)
        for path in expected.rglob("*"):
            if path.is_file() and path.relative_to(expected) not in files:
                path.unlink()
    there = {path.relative_to(expected): path.read_text() for path in expected.rglob("*") if path.is_file()}
    assert there == files, "run pytest with --update-golden, and read what changed"
