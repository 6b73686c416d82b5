"""Fixtures of all unit tests: the specs of two stacks, and a folder for fake programs."""

from pathlib import Path

import pytest

from lab.config.parse import load
from lab.spec import Spec
from system.console import VERBOSITY_VARIABLE
from system.files import CHECKOUT


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that writes golden files instead of comparing with them."""
    parser.addoption("--update-golden", action="store_true", help="write the golden files")


@pytest.fixture(autouse=True)
def verbosity(monkeypatch: pytest.MonkeyPatch) -> None:
    """Restore the verbosity of this process after each test."""
    monkeypatch.setenv(VERBOSITY_VARIABLE, "normal")


@pytest.fixture(scope="session")
def dev() -> Spec:
    """The spec of the default stack."""
    return load(CHECKOUT / "Pulumi.dev.yaml")


@pytest.fixture(scope="session")
def bootstrap() -> Spec:
    """The spec of the stack whose kubelets join with a bootstrap token."""
    return load(CHECKOUT / "Pulumi.bootstrap.yaml")


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder at the start of PATH. The rest of PATH has only the programs of the system."""
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    return tmp_path
