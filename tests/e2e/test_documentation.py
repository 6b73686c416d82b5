"""The commands in the documentation work on a running lab, in the order of a reader."""

import re

import pytest

from tests.support.documentation import SHELL, Block, blocks
from tests.support.running_lab import RunningLab

NOT_HERE = re.compile(r"^(make up|hardway (destroy|clean)|\. \./\.lab/env)")
"""Commands that other stages run: they create or delete the lab, or only set up a shell."""


@pytest.mark.parametrize("block", [block for block in blocks(SHELL) if not block.covered_by], ids=str)
def test_documented_commands_succeed(lab: RunningLab, block: Block) -> None:
    commands = [command for command in block.commands if not NOT_HERE.match(command)]
    if not commands:
        return
    result = lab.shell("\n".join(["set -e", ". ./.lab/env", *commands]))
    assert result.returncode == 0, result.stdout + result.stderr
