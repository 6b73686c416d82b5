"""The documentation names only things that exist: commands, options, links, files, keys."""

import re
import shlex
from pathlib import Path

import pytest
import yaml
from _pytest.mark import ParameterSet

from hardway.arguments import parse
from lab.config.schema import project
from system.files import CHECKOUT
from tests.support.documentation import DOCUMENTS, SHELL, Block, anchors, blocks, links

SHELL_BLOCKS = list(blocks(SHELL))
TARGETS = set(re.findall(r"^([a-z0-9-]+):", (CHECKOUT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
HISTORY = "CHANGELOG.md"
FOREIGN_MESSAGES = {
    *("virsh domstats --cpu-total", "pulumi up", "kubectl"),
    *("the stack is currently locked", "incorrect passphrase"),
    *("getting credentials: exec: …", 'User "hardway-admin" cannot …'),
    *("network …", "pool …", "already exists", "domain '…' already exists"),
}
"""Commands in the table of docs/troubleshooting.md, and messages of Pulumi, kubectl and libvirt."""


def _commands(program: str) -> list[ParameterSet]:
    """Return every command line of a program in shell blocks and inline code, identified by its place."""
    inline = [
        (str(document.relative_to(CHECKOUT)), text)
        for document in DOCUMENTS
        if document.name != HISTORY
        for text in re.findall(rf"`({program} [^`]+)`", document.read_text(encoding="utf-8"))
    ]
    lines = [(str(block), command) for block in SHELL_BLOCKS for command in block.commands]
    found = [(place, shlex.split(line)[1:]) for place, line in [*inline, *lines] if line.startswith(f"{program} ")]
    return [pytest.param(words, id=f"{place} {' '.join(words)}") for place, words in found]


@pytest.mark.parametrize("words", _commands("hardway"))
def test_every_hardway_command_exists(words: list[str]) -> None:
    parse(words)


@pytest.mark.parametrize("words", _commands("make"))
def test_every_make_target_exists(words: list[str]) -> None:
    assert words[0] in TARGETS


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.name)
def test_every_link_leads_somewhere(document: Path) -> None:
    for link in links(document):
        path, _, anchor = link.partition("#")
        target = (document.parent / path).resolve() if path else document
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.name)
def test_every_key_exists(document: Path) -> None:
    named = re.findall(r"\bhardway:([A-Za-z]+)", document.read_text(encoding="utf-8"))
    assert set(named) - {"maxUnavailabel"} <= set(project().schema)  # the mistake in the example


@pytest.mark.parametrize("block", list(blocks("yaml")), ids=str)
def test_every_yaml_block_parses(block: Block) -> None:
    yaml.safe_load(block.text)


@pytest.mark.parametrize("block", SHELL_BLOCKS, ids=str)
def test_every_command_is_run_by_a_test(block: Block) -> None:
    if block.covered_by:
        assert (CHECKOUT / block.covered_by).exists()
    else:
        assert block.document in ("README.md", "docs/concepts.md", "docs/operations.md")


def quoted_messages() -> list[str]:
    """Return the messages in the first column of the table in docs/troubleshooting.md, without those of others."""
    text = (CHECKOUT / "docs/troubleshooting.md").read_text(encoding="utf-8")
    cells = [line.split("|")[1] for line in text.splitlines() if line.startswith("| ")]
    return [message for cell in cells for message in re.findall(r"`([^`]+)`", cell) if message not in FOREIGN_MESSAGES]


@pytest.mark.parametrize("message", quoted_messages())
def test_every_message_is_printed(message: str) -> None:
    places = [*CHECKOUT.glob("host/**/*.py"), *CHECKOUT.glob("assets/node/*")]
    sources = "".join(path.read_text(encoding="utf-8") for path in places)
    assert [part for part in re.split("…|ADDRESS", message) if part not in sources] == []


def test_the_readme_is_short() -> None:
    assert len((CHECKOUT / "README.md").read_text(encoding="utf-8").splitlines()) <= 150
