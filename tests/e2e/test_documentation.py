"""The commands in the documentation work on a running lab, in the order of a reader, and print what it shows."""

import re
from collections.abc import Iterator

import pytest
import yaml

from tests.support.documentation import SHELL, Block, blocks
from tests.support.running_lab import RunningLab

SHELL_BLOCKS = [block for block in blocks(SHELL) if not block.covered_by]
ELSEWHERE = re.compile(r"^(hardway (status|verify|smoke|probe|destroy|clean)|\. \./\.lab/env)")
"""Commands that other stages run, and the one that prepares a shell."""
FIRST_CHANGE = next(block for block in SHELL_BLOCKS if "hardway preview" in block.commands)


@pytest.fixture(scope="module", autouse=True)
def original_lab(lab: RunningLab) -> Iterator[None]:
    """Restore the stack file and the lab at the end."""
    with lab.configured():
        yield
    assert lab.up().succeeded


def change_the_stack_file(lab: RunningLab) -> None:
    """Edit the stack file as the README says."""
    (example,) = (block for block in blocks("yaml") if block.document == "README.md")
    (node,) = yaml.safe_load(example.text)
    workers = [node if worker["name"] == node["name"] else worker for worker in lab.configuration["workers"]]
    lab.configure(workers=workers)


@pytest.mark.parametrize("block", SHELL_BLOCKS, ids=str)
def test_documented_commands_succeed(lab: RunningLab, block: Block) -> None:
    commands = [command for command in block.commands if not ELSEWHERE.match(command)]
    if not commands:
        return
    if block == FIRST_CHANGE:
        change_the_stack_file(lab)
    result = lab.shell("\n".join(["set -e", ". ./.lab/env", *commands]))
    assert result.returncode == 0, result.stdout + result.stderr
    assert block.missing_output(result.stdout + result.stderr) == []
