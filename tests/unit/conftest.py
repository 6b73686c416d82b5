"""What the unit tests share: the labs of two stacks, and a place for programs that stand for others."""

from pathlib import Path

import pytest

from lab.config.parse import load
from lab.spec import Spec
from system.files import CHECKOUT


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds the option that writes golden files instead of comparing with them."""
    parser.addoption("--update-golden", action="store_true", help="write the golden files anew")


@pytest.fixture(scope="session")
def dev() -> Spec:
    """The spec of the default stack."""
    return load(CHECKOUT / "Pulumi.dev.yaml")


@pytest.fixture(scope="session")
def bootstrap() -> Spec:
    """The spec of the stack whose kubelets join by a bootstrap token."""
    return load(CHECKOUT / "Pulumi.bootstrap.yaml")


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the programs that are found, none but the shell's at first."""
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    return tmp_path
