"""The user's own check of the first node."""

import asyncio
from pathlib import Path

import pulumi
import pytest

from components import canary
from components.canary import Canary, CanaryError

VARIABLES = {"HARDWAY_NODE": "node-0", "HARDWAY_SERVICE": "kubelet"}


@pytest.fixture(autouse=True)
def _project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(canary, "CHECKOUT", tmp_path)
    monkeypatch.setattr(pulumi.log, "info", lambda _: None)


def test_command_runs_in_the_project_and_knows_the_node(tmp_path: Path) -> None:
    asyncio.run(Canary('echo "$HARDWAY_SERVICE on $HARDWAY_NODE" >seen').check(VARIABLES))
    assert (tmp_path / "seen").read_text() == "kubelet on node-0\n"


def test_failed_command_is_quoted() -> None:
    with pytest.raises(CanaryError, match=r"(?s)`echo no; exit 3` ended with exit code 3:.no"):
        asyncio.run(Canary("echo no; exit 3").check(VARIABLES))


def test_command_that_does_not_end_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(canary, "TIMEOUT", 0.1)
    with pytest.raises(CanaryError, match=r"`exec sleep 1000` did not end within 0\.1 s"):
        asyncio.run(Canary("exec sleep 1000").check(VARIABLES))
