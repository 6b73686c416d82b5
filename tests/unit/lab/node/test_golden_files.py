"""The files of each node of each stack, checked in under tests/golden/ for people to read."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.node.render import services_of
from lab.node.service import Composition, Credential, Service
from lab.spec import Spec
from ops.render.tree import text_of
from system.files import CHECKOUT
from tests.support.stacks import NAMES, stack_spec

GOLDEN = CHECKOUT / "tests/golden"


def rendered(spec: Spec) -> Iterator[tuple[Path, str]]:
    """Yield every file of every node under its path, and a summary of each service."""
    for node in spec.nodes:
        for service in services_of(spec, node):
            yield Path(node.name, f"{service.name}.txt"), _summary(service)
            for path, file in service.files.items():
                if not isinstance(file.content, Credential):
                    yield Path(node.name, path.lstrip("/")), text_of(file)


def _summary(service: Service) -> str:
    lines = [
        f"unit        {service.unit}",
        f"activation  {service.activation}",
        f"needs       {', '.join(service.needs)}",
        f"check       {service.check}",
        f"health      {service.health}",
        "",
        *(f"{file.mode:04o} {file.owner} {path}{_credential(file.content)}" for path, file in service.files.items()),
        *(f"0755 root:root {path}  <- {binary.name} {binary.version}" for path, binary in service.binaries.items()),
        *(
            f"{tool.mode:04o} root:root {path}  <- tool {tool.name} {tool.version}"
            for path, tool in service.tools.items()
        ),
        *(f"image {image.name} {image.version}" for image in service.images),
    ]
    return "".join(f"{line.rstrip()}\n" for line in lines)


def _credential(content: str | Credential | Composition) -> str:
    return f"  <- {content.part} of {content.identity}" if isinstance(content, Credential) else ""


@pytest.mark.parametrize("stack", NAMES)
def test_rendered_files_match_the_golden_files(stack: str, request: pytest.FixtureRequest) -> None:
    expected = GOLDEN / stack
    files = dict(rendered(stack_spec(stack)))
    if request.config.getoption("--update-golden"):
        for path, text in files.items():
            (expected / path).parent.mkdir(parents=True, exist_ok=True)
            (expected / path).write_text(text)
        for path in expected.rglob("*"):
            if path.is_file() and path.relative_to(expected) not in files:
                path.unlink()
    existing = {path.relative_to(expected): path.read_text() for path in expected.rglob("*") if path.is_file()}
    assert existing == files, "Run pytest with --update-golden and review the changes."
